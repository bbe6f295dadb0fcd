//! RemotingCommand: what one frame says, request or response, independent of the header codec.

use std::cell::RefCell;
use std::fmt::{Display, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::base::bytes::{into_text, quotes_of_simple};
use crate::base::json;
use crate::base::limits::SPARE_BYTES_MAX;
use crate::base::slice::Slice;
use crate::base::spare::{Own, Spares};

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
/// LanguageCode of C++ clients.
pub const LANGUAGE_CPP: u8 = 1;
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

/// The ext fields of a header: name and value pairs in the order of arrival.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// All names and values, with anything in between. When they were pushed, and not received, as
    /// they stand in a JSON header: `"name":"value","name":"value"`, but nothing escaped.
    text: String,
    pairs: Vec<Pair>,
    received: bool,
}

/// Where a name and a value stand in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    name: Span,
    value: Span,
}

/// Start and end of a text in that of all.
#[derive(Clone, Copy, Debug)]
struct Span(u32, u32);

impl Pair {
    pub(super) fn new(name: Range<usize>, value: Range<usize>) -> Pair {
        let span = |range: Range<usize>| Span(range.start as u32, range.end as u32);
        Pair { name: span(name), value: span(value) }
    }
}

impl Span {
    fn range(self) -> Range<usize> {
        self.0 as usize..self.1 as usize
    }
}

/// Text of the fields of most replies.
const REPLY_TEXT_BYTES: usize = 192;
/// Pairs that the fields of most headers consist of, at most.
const PAIRS: usize = 16;

thread_local! {
    static OWN_BODIES: Own<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OWN_FIELDS: Own<Fields> = const { RefCell::new(Vec::new()) };
}

/// Empty ones.
static BODIES: Spares<Vec<u8>> = Spares::new(&OWN_BODIES);
static FIELDS: Spares<Fields> = Spares::new(&OWN_FIELDS);

/// A copy of `bytes` for a body.
pub(super) fn body_of(bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let mut body = BODIES.take();
    body.reserve_exact(bytes.len());
    body.extend_from_slice(bytes);
    body
}

impl Fields {
    /// An empty set.
    pub fn new() -> Fields {
        Fields::default()
    }

    /// An empty set with room for so much text, and for the pairs of most headers.
    fn with_room(text: usize) -> Fields {
        let mut fields = FIELDS.take();
        fields.text.reserve(text);
        fields.pairs.reserve(PAIRS);
        fields
    }

    /// An empty set that will have pairs out of `text`, and some that are appended.
    pub(super) fn out_of(text: &str) -> Fields {
        let mut fields = Fields::with_room(text.len() + text.len() / 2);
        fields.text.push_str(text);
        fields.received = true;
        fields
    }

    /// Empty buffers for `found`.
    pub(super) fn buffers(text: usize) -> (Vec<u8>, Vec<Pair>) {
        let Fields { text, pairs, .. } = Fields::with_room(text);
        (text.into_bytes(), pairs)
    }

    /// Keeps the memory for others.
    fn reuse(mut self) {
        if self.text.capacity() <= SPARE_BYTES_MAX && self.pairs.capacity() <= 2 * PAIRS {
            self.text.clear();
            self.pairs.clear();
            self.received = false;
            FIELDS.give(self);
        }
    }

    /// Pairs that stand in `text`, between bytes of ASCII; U+FFFD in place of what is no UTF-8.
    pub(super) fn found(text: Vec<u8>, pairs: Vec<Pair>) -> Fields {
        match into_text(text) {
            Ok(text) => Fields { text, pairs, received: true },
            Err(error) => {
                let mut fields = Fields::new();
                let text = |span: Span| json::lossy(&error.as_bytes()[span.range()]);
                pairs.iter().for_each(|pair| fields.push(&text(pair.name), &text(pair.value)));
                fields
            }
        }
    }

    /// Adds a pair that stands in the text of `out_of`, or was appended to it.
    #[inline]
    pub(super) fn push_found(&mut self, name: Range<usize>, value: Range<usize>) {
        self.pairs.push(Pair::new(name, value));
    }

    /// Appends to the text; tells where that stands.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut String)) -> Range<usize> {
        let start = self.text.len();
        write(&mut self.text);
        start..self.text.len()
    }

    /// Adds a pair; a later pair of the same name hides an earlier one.
    #[inline]
    pub fn push(&mut self, name: &str, value: &str) {
        self.push_with(name, |text| text.push_str(value));
    }

    /// Adds a pair whose value `write` appends to the text.
    #[inline]
    pub fn push_with(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        self.text.push_str(if self.pairs.is_empty() { "\"" } else { ",\"" });
        let name = self.append(|text| text.push_str(name));
        self.text.push_str("\":\"");
        let value = self.append(write);
        self.text.push('"');
        self.push_found(name, value);
    }

    /// Adds a pair whose value is written by `Display`.
    pub fn push_display(&mut self, name: &str, value: impl Display) {
        self.push_with(name, |text| _ = write!(text, "{value}"));
    }

    /// Adds a pair whose value is a number.
    pub fn push_number(&mut self, name: &str, value: i64) {
        self.push(name, json::decimal(value, &mut [0; 20]));
    }

    /// The value of `name`; the last one when it occurs more than once.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().rev().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|pair| (&self.text[pair.name.range()], &self.text[pair.value.range()]))
    }

    /// The pairs as they stand in a JSON header, if they are at hand so.
    pub(super) fn as_json(&self) -> Option<&str> {
        let plain =
            !self.received && quotes_of_simple(self.text.as_bytes()) == Some(4 * self.len());
        plain.then_some(&self.text)
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Fields) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

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
        self.fields.get_or_insert_with(|| Fields::with_room(REPLY_TEXT_BYTES))
    }

    /// Done with: keeps the memory for commands to come.
    pub fn reuse(mut self) {
        self.fields.into_iter().for_each(Fields::reuse);
        if (1..=SPARE_BYTES_MAX).contains(&self.body.capacity()) {
            self.body.clear();
            BODIES.give(self.body);
        }
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
