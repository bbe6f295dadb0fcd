//! Ready frames with digits patched into them: nothing is encoded while the load runs.

use std::ops::Range;

use super::answer::find;
use super::settings::Settings;
use crate::base::{Error, Result, clock};
use crate::message::{batch, flags};
use crate::protocol::code::request;
use crate::protocol::{Codec, Command, frame};

/// The opaque of slot 0: ten digits, so that every slot's text is equally long.
pub const OPAQUE_BASE: i32 = 1_000_000_000;
/// Requests under way on one connection of an open loop. What is due beyond them waits, and its
/// latency grows.
pub const SLOTS_MAX: usize = 100_000;
/// Topics of one run: as many as the digits behind their name allow for, and then some room.
pub const TOPICS_MAX: usize = 50_000;
/// Stands for the number of the topic, as topic `TOPIC_MARK`.
const TOPIC_MARK: usize = 77_777;
/// Bytes at the head of a body of e2e: which run sent it, and when it was meant to be sent.
pub const STAMP_BYTES: usize = 16;
/// Stands for the digits of a pull offset until they are patched.
const OFFSET_MARK: &str = "8888888888888888888";
/// Stands for the changing half of a unique key: 16 hexadecimal digits.
const UNIQUE_MARK: &str = "EEEEEEEEEEEEEEEE";
/// Stands for the stamp in a body.
const STAMP_MARK: &[u8; STAMP_BYTES] = b"STAMPSTAMPSTAMPS";
/// How long the broker holds a request of a consumer when there is nothing.
const SUSPEND_MS: &str = "15000";

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Send,
    Batch,
    /// An answer at once, of messages or of none.
    Pull,
    /// An answer as soon as there are messages.
    Poll,
}

/// What is patched into one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patch {
    pub slot: usize,
    pub topic: usize,
    /// The number of the (first) message of a send, the queue offset of a pull.
    pub number: u64,
    /// Which run sends, and when it was meant to.
    pub stamp: (u64, u64),
}

/// A frame to one queue of each topic.
pub struct Template {
    frame: Vec<u8>,
    opaque: Range<usize>,
    /// Digits of the topic's number, when there are several.
    topic: Option<Range<usize>>,
    numbers: Vec<Range<usize>>,
    stamp: Option<Range<usize>>,
    codec: Codec,
    radix: u64,
}

impl Template {
    /// The request of this form to queue `queue`; `stamped`: its body carries a stamp.
    pub fn new(settings: &Settings, form: Form, queue: usize, stamped: bool) -> Result<Template> {
        let mut command = match form {
            Form::Send => send(settings, queue, stamped),
            Form::Batch => batch_of(settings, queue)?,
            Form::Pull | Form::Poll => pull(settings, queue, form),
        };
        command.opaque = OPAQUE_BASE;
        command.codec = settings.codec;
        let bytes = frame::encode(&command);
        let opaque = match settings.codec {
            Codec::Json => find(&bytes, OPAQUE_BASE.to_string().as_bytes(), 0),
            Codec::Binary => find(&bytes, &OPAQUE_BASE.to_be_bytes(), 0),
        };
        let (mark, radix, count) = match form {
            Form::Send => (UNIQUE_MARK, 16, 1),
            Form::Batch => (UNIQUE_MARK, 16, settings.batch),
            Form::Pull | Form::Poll => (OFFSET_MARK, 10, 1),
        };
        let numbers = all(&bytes, mark.as_bytes());
        let stamp = find(&bytes, STAMP_MARK, 0);
        let name = settings.topic_name(TOPIC_MARK);
        let topic = find(&bytes, name.as_bytes(), 0).filter(|_| settings.topics > 1);
        let topic = topic.map(|found| found.end - TOPIC_MARK.to_string().len()..found.end);
        let complete = numbers.len() == count
            && stamp.is_some() == stamped
            && topic.is_some() == (settings.topics > 1);
        match opaque {
            Some(opaque) if complete => {
                let (frame, codec) = (bytes, settings.codec);
                Ok(Template { frame, opaque, topic, numbers, stamp, codec, radix })
            }
            _ => Err(Error::Protocol("the request to send lost its marks".into())),
        }
    }

    /// Appends the request.
    pub fn write(&self, out: &mut Vec<u8>, patch: Patch) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        let opaque = OPAQUE_BASE + patch.slot as i32;
        match self.codec {
            Codec::Json => write_digits(&mut frame[self.opaque.clone()], opaque as u64, 10),
            Codec::Binary => frame[self.opaque.clone()].copy_from_slice(&opaque.to_be_bytes()),
        }
        if let Some(place) = &self.topic {
            write_digits(&mut frame[place.clone()], patch.topic as u64, 10);
        }
        for (place, number) in self.numbers.iter().zip(patch.number..) {
            write_digits(&mut frame[place.clone()], number, self.radix);
        }
        if let Some(place) = &self.stamp {
            let stamp = &mut frame[place.clone()];
            stamp[..8].copy_from_slice(&patch.stamp.0.to_be_bytes());
            stamp[8..].copy_from_slice(&patch.stamp.1.to_be_bytes());
        }
    }
}

/// Run and time of a body that carries a stamp.
pub fn stamp_of(body: &[u8]) -> Option<(u64, u64)> {
    let (run, rest) = body.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*run), u64::from_be_bytes(*rest.first_chunk::<8>()?)))
}

/// Letters.
pub fn body(size: usize) -> Vec<u8> {
    (0..size).map(|at| b'a' + (at % 26) as u8).collect()
}

/// As a Java producer writes them.
pub fn properties() -> String {
    let now = (clock::now_ms() as u32) & !0xF; // ends in 0: the mark begins where it is put
    format!("UNIQ_KEY\u{1}7F000001{now:08X}{UNIQUE_MARK}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA")
}

/// As a Java producer writes it: V2 names, unique key, tag, WAIT.
fn send(settings: &Settings, queue: usize, stamped: bool) -> Command {
    let mut command = send_header(request::SEND_MESSAGE_V2, settings, queue);
    let fields = command.fields_mut();
    fields.push("i", &properties());
    fields.push("m", "false");
    command.body = body(settings.size);
    if stamped {
        command.body[..STAMP_BYTES].copy_from_slice(STAMP_MARK);
    }
    command
}

fn batch_of(settings: &Settings, queue: usize) -> Result<Command> {
    let mut command = send_header(request::SEND_BATCH_MESSAGE, settings, queue);
    let fields = command.fields_mut();
    fields.push("i", "WAIT\u{1}true");
    fields.push("m", "true");
    let (one, properties) = (body(settings.size), properties());
    for _ in 0..settings.batch {
        batch::push(&mut command.body, 0, &one, &properties)?;
    }
    Ok(command)
}

fn send_header(code: i32, settings: &Settings, queue: usize) -> Command {
    let mut command = Command::request(code);
    let fields = command.fields_mut();
    fields.push("a", "mqbench");
    fields.push("b", &settings.topic_name(TOPIC_MARK));
    fields.push("c", "TBW102");
    fields.push("d", "4");
    fields.push_display("e", queue);
    fields.push("f", "0");
    fields.push_display("g", clock::now_ms());
    fields.push("h", "0");
    fields.push("j", "0");
    fields.push("k", "false");
    command
}

fn pull(settings: &Settings, queue: usize, form: Form) -> Command {
    let mut command = Command::request(request::PULL_MESSAGE);
    let (sys_flag, suspend) = match form {
        Form::Poll => (flags::PULL_SUBSCRIPTION | flags::PULL_SUSPEND, SUSPEND_MS),
        _ => (flags::PULL_SUBSCRIPTION, "0"),
    };
    let fields = command.fields_mut();
    fields.push("consumerGroup", "mqbench");
    fields.push("topic", &settings.topic_name(TOPIC_MARK));
    fields.push_display("queueId", queue);
    fields.push("queueOffset", OFFSET_MARK);
    fields.push_display("maxMsgNums", settings.batch);
    fields.push_display("sysFlag", sys_flag);
    fields.push("commitOffset", "0");
    fields.push("suspendTimeoutMillis", suspend);
    fields.push("subscription", "*");
    fields.push("subVersion", "0");
    fields.push("expressionType", "TAG");
    command
}

fn all(bytes: &[u8], mark: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    while let Some(place) =
        find(bytes, mark, found.last().map_or(0, |last: &Range<usize>| last.end))
    {
        found.push(place);
    }
    found
}

fn write_digits(place: &mut [u8], mut value: u64, radix: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(value % radix) as usize];
        value /= radix;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str, form: Form, queue: usize, stamped: bool, patch: Patch) -> Command {
        let args: Vec<String> = line.split(' ').map(String::from).collect();
        let settings = Settings::parse(&args).unwrap().unwrap();
        let template = Template::new(&settings, form, queue, stamped).unwrap();
        let mut bytes = Vec::new();
        template.write(&mut bytes, patch);
        frame::decode(&bytes).unwrap()
    }

    #[test]
    fn a_patched_frame_decodes_to_what_was_patched() {
        for codec in ["json", "binary"] {
            let patch = Patch { slot: 12, topic: 0, number: 0xABC, stamp: (1, 2) };
            let line = format!("send --codec {codec}");
            let command = written(&line, Form::Send, 3, false, patch);
            assert_eq!(command.opaque, OPAQUE_BASE + 12);
            assert_eq!(command.field("e"), Some("3"));
            assert!(command.field("i").unwrap().contains("0000000000000ABC\u{2}WAIT"));
            assert_eq!(command.body, body(1024));

            let command = written(&line, Form::Send, 3, true, patch);
            assert_eq!(stamp_of(&command.body), Some((1, 2)));
            assert_eq!(command.body[STAMP_BYTES..], body(1024)[STAMP_BYTES..]);

            let patch = Patch { slot: 1, number: 77, ..Patch::default() };
            let command = written(&format!("pull --codec {codec}"), Form::Pull, 0, false, patch);
            assert_eq!(command.field("queueOffset").unwrap().parse::<i64>().unwrap(), 77);
        }
    }

    #[test]
    fn the_topics_number_is_patched() {
        for codec in ["json", "binary"] {
            let patch = Patch { slot: 1, topic: 42, number: 7, ..Patch::default() };
            for (kind, form, field) in [
                ("send", Form::Send, "b"),
                ("batch", Form::Batch, "b"),
                ("hold", Form::Poll, "topic"),
            ] {
                let line = format!("{kind} --codec {codec} -t T --topics 100 --pid 1");
                let command = written(&line, form, 3, false, patch);
                assert_eq!(command.field(field), Some("T-00042"), "{line}");
            }
        }
    }

    #[test]
    fn each_message_of_a_batch_has_its_number() {
        let patch = Patch { number: 0x1F, ..Patch::default() };
        let command = written("batch --batch 3 --size 5", Form::Batch, 0, false, patch);
        assert_eq!(command.field("m"), Some("true"));
        let messages: Vec<_> = batch::Messages::new(&command.body).map(Result::unwrap).collect();
        let keys: Vec<&[u8]> = messages.iter().map(|message| &message.properties[25..41]).collect();
        assert_eq!(keys, [b"000000000000001F", b"0000000000000020", b"0000000000000021"]);
        assert!(messages.iter().all(|message| message.body == b"abcde"));
    }
}
