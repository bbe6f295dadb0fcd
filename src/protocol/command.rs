//! RemotingCommand: what one frame says, request or response, independent of the header codec.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicI32, Ordering};

use crate::base::json;
use crate::base::slice::Slice;

/// The RocketMQ version this program speaks as: V4_9_8.
pub const VERSION: i32 = 409;

/// Bit 0 of `flag`: this is a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Bit 1 of `flag`: no response is wanted.
pub const FLAG_ONEWAY: i32 = 2;

/// How the header of a frame is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// Serialize type 0.
    #[default]
    Json,
    /// Serialize type 1, RocketMQ's own binary form.
    Binary,
}

/// LanguageCode of RocketMQ: the number of the binary form; names in `language_name`.
pub const LANGUAGE_JAVA: u8 = 0;
/// A language whose name is not known.
pub const LANGUAGE_OTHER: u8 = 7;

const LANGUAGES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP",
    "OMS", "RUST", "NODE_JS",
];

/// The name of a LanguageCode.
pub fn language_name(code: u8) -> &'static str {
    LANGUAGES.get(usize::from(code)).unwrap_or(&"OTHER")
}

/// The LanguageCode of a number, if there is one.
pub fn language_of_number(number: i64) -> Option<u8> {
    u8::try_from(number).ok().filter(|&code| usize::from(code) < LANGUAGES.len())
}

/// The LanguageCode of a name in any case; `LANGUAGE_OTHER` when there is none.
pub fn language_of_name(name: &str) -> u8 {
    let index = LANGUAGES.iter().position(|known| json::same_name(name, known));
    index.map_or(LANGUAGE_OTHER, |index| index as u8)
}

/// The ext fields of a header: name and value pairs in the order of arrival, in one allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    text: String,
    /// End of the name and end of the value in `text`; an entry begins where the one before ended.
    ends: Vec<(u32, u32)>,
}

impl Fields {
    /// An empty set.
    pub fn new() -> Fields {
        Fields::default()
    }

    /// Adds a pair; a later pair of the same name hides an earlier one.
    pub fn push(&mut self, name: &str, value: &str) {
        self.text.push_str(name);
        let name_end = self.text.len() as u32;
        self.text.push_str(value);
        self.ends.push((name_end, self.text.len() as u32));
    }

    /// Adds a pair whose value is written by `Display`.
    pub fn push_display(&mut self, name: &str, value: impl Display) {
        self.text.push_str(name);
        let name_end = self.text.len() as u32;
        let _ = write!(self.text, "{value}");
        self.ends.push((name_end, self.text.len() as u32));
    }

    /// Adds a pair whose value is a number.
    pub fn push_number(&mut self, name: &str, value: i64) {
        self.push(name, json::decimal(value, &mut [0; 20]));
    }

    /// Makes room for the pairs of a header of `bytes` bytes.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.text.reserve(bytes);
        self.ends.reserve(16);
    }

    /// Adds a pair as `write` appends it to the text: the name, whose end it returns, then the
    /// value; `None` to add nothing after all.
    pub(super) fn push_with<E>(
        &mut self,
        write: impl FnOnce(&mut String) -> Result<Option<usize>, E>,
    ) -> Result<(), E> {
        let start = self.text.len();
        match write(&mut self.text)? {
            Some(name_end) => self.ends.push((name_end as u32, self.text.len() as u32)),
            None => self.text.truncate(start),
        }
        Ok(())
    }

    /// The value of `name`; the last one when it occurs more than once.
    pub fn get(&self, name: &str) -> Option<&str> {
        for index in (0..self.ends.len()).rev() {
            let (key, value) = self.pair(index);
            if key == name {
                return Some(value);
            }
        }
        None
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        (0..self.ends.len()).map(|index| self.pair(index))
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn pair(&self, index: usize) -> (&str, &str) {
        let start = if index == 0 { 0 } else { self.ends[index - 1].1 as usize };
        let (name_end, value_end) = (self.ends[index].0 as usize, self.ends[index].1 as usize);
        (&self.text[start..name_end], &self.text[name_end..value_end])
    }
}

/// One request or response.
#[derive(Clone, Default)]
pub struct Command {
    /// Request code or response code (`protocol::code`).
    pub code: i32,
    /// LanguageCode of the sender; 7 (OTHER) when its name is unknown.
    pub language: u8,
    /// MQVersion ordinal of the sender.
    pub version: i32,
    /// Matches a response to its request.
    pub opaque: i32,
    /// `FLAG_RESPONSE`, `FLAG_ONEWAY`.
    pub flag: i32,
    /// Text, mostly of errors.
    pub remark: Option<String>,
    /// The header fields; `None` differs from empty for some clients.
    pub fields: Option<Fields>,
    /// The body, or its beginning.
    pub body: Vec<u8>,
    /// Further body bytes, sent after `body` without being copied. Empty in what was received.
    pub slices: Vec<Slice>,
    /// The header codec it came in, or is to be sent in.
    pub codec: Codec,
}

static NEXT_OPAQUE: AtomicI32 = AtomicI32::new(1);

impl Command {
    /// A request of this process with a fresh opaque, JSON header, no fields.
    pub fn request(code: i32) -> Command {
        let opaque = NEXT_OPAQUE.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        Command { code, version: VERSION, opaque, ..Command::default() }
    }

    /// A response to `self`: its opaque and codec, the given code, no remark, no fields, no body.
    pub fn reply(&self, code: i32) -> Command {
        Command {
            code,
            version: VERSION,
            opaque: self.opaque,
            flag: FLAG_RESPONSE,
            codec: self.codec,
            ..Command::default()
        }
    }

    /// A response to `self` that says why it failed.
    pub fn refusal(&self, code: i32, remark: impl Into<String>) -> Command {
        let mut reply = self.reply(code);
        reply.remark = Some(remark.into());
        reply
    }

    /// Whether this is a response.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether the sender wants no response.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// The value of an ext field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.as_ref().and_then(|fields| fields.get(name))
    }

    /// The ext fields, made empty first when there were none.
    pub fn fields_mut(&mut self) -> &mut Fields {
        // Room for the fields of most replies: one allocation each for texts and ends.
        self.fields.get_or_insert_with(|| Fields {
            text: String::with_capacity(192),
            ends: Vec::with_capacity(8),
        })
    }

    /// Bytes of memory that its texts and its body take.
    pub fn held_bytes(&self) -> usize {
        let fields = self.fields.as_ref().map_or(0, |fields| fields.text.len());
        self.body.len() + fields + self.remark.as_ref().map_or(0, String::len)
    }

    /// Body length in bytes, slices included.
    pub fn body_len(&self) -> usize {
        self.body.len() + self.slices.iter().map(Slice::len).sum::<usize>()
    }
}
