//! Ready frames with digits patched into them, and a scanner that reads only what is needed of an
//! answer: the load generator must cost far less than the server it loads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

use super::{Kind, Settings};
use crate::base::error::IoContext;
use crate::base::{Error, Result};
use crate::protocol::{Codec, Command, frame};

/// The opaque of slot 0: ten digits, so that every slot's text is equally long.
pub const OPAQUE_BASE: i32 = 1_000_000_000;
/// Stands for the digits of a pull offset until they are patched.
const OFFSET_MARK: &str = "8888888888888888888";
/// Stands for the changing half of a unique key: 16 hexadecimal digits.
const UNIQUE_MARK: &str = "EEEEEEEEEEEEEEEE";
/// How long the broker may take for the one request that makes the topic.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);

const SEND_MESSAGE_V2: i32 = 310;
const PULL_MESSAGE: i32 = 11;
const UPDATE_AND_CREATE_TOPIC: i32 = 17;
/// SUBSCRIPTION: the request brings its own tag expression.
const PULL_SYS_FLAG: &str = "4";

/// A frame of one queue.
pub struct Template {
    frame: Vec<u8>,
    opaque: Range<usize>,
    number: Range<usize>,
    codec: Codec,
    kind: Kind,
}

impl Template {
    /// The request of `settings.kind` to queue `queue`.
    pub fn new(settings: &Settings, queue: usize) -> Result<Template> {
        let mut command = match settings.kind {
            Kind::Send => send_request(settings, queue),
            Kind::Pull => pull_request(settings, queue),
        };
        command.opaque = OPAQUE_BASE;
        command.codec = settings.codec;
        let mut bytes = Vec::new();
        frame::encode_head(&command, &mut bytes);
        let mark = if settings.kind == Kind::Send { UNIQUE_MARK } else { OFFSET_MARK };
        let opaque = match settings.codec {
            Codec::Json => find(&bytes, OPAQUE_BASE.to_string().as_bytes()),
            Codec::Binary => find(&bytes, &OPAQUE_BASE.to_be_bytes()),
        };
        match (opaque, find(&bytes, mark.as_bytes())) {
            (Some(opaque), Some(number)) => Ok(Template {
                frame: bytes,
                opaque,
                number,
                codec: settings.codec,
                kind: settings.kind,
            }),
            _ => Err(Error::Protocol("the request to send lost its marks".into())),
        }
    }

    /// Appends the request with the opaque of `slot`; `number` is the message's number in a send
    /// and the queue offset in a pull.
    pub fn write(&self, out: &mut Vec<u8>, slot: usize, number: u64) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        let opaque = OPAQUE_BASE + slot as i32;
        match self.codec {
            Codec::Json => write_digits(&mut frame[self.opaque.clone()], opaque as u64, 10),
            Codec::Binary => frame[self.opaque.clone()].copy_from_slice(&opaque.to_be_bytes()),
        }
        let radix = if self.kind == Kind::Send { 16 } else { 10 };
        write_digits(&mut frame[self.number.clone()], number, radix);
    }
}

/// What the load needs of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub slot: usize,
    pub code: i32,
    /// `nextBeginOffset` of a pull.
    pub next_offset: Option<u64>,
    /// Where the body stands in the frame.
    pub body: Range<usize>,
}

/// Length of the frame at the head of `bytes`, when it is there whole.
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize + 4;
    (bytes.len() >= len).then_some(len)
}

/// Reads a whole frame.
pub fn scan(frame: &[u8]) -> Result<Answer> {
    scan_header(frame).ok_or_else(|| Error::Protocol("an answer that cannot be read".into()))
}

fn scan_header(frame: &[u8]) -> Option<Answer> {
    let word = u32::from_be_bytes(frame.get(4..8)?.try_into().ok()?);
    let body = 8 + (word & 0xFF_FFFF) as usize;
    let header = frame.get(8..body)?;
    let (code, opaque) = if word >> 24 == 0 {
        (number_after(header, b"\"code\":")?, number_after(header, b"\"opaque\":")?)
    } else {
        let code = i16::from_be_bytes(header.get(..2)?.try_into().ok()?);
        let opaque = i32::from_be_bytes(header.get(5..9)?.try_into().ok()?);
        (i64::from(code), i64::from(opaque))
    };
    let next_offset = match word >> 24 {
        0 => number_after(header, b"\"nextBeginOffset\":\""),
        _ => find(header, b"nextBeginOffset")
            .and_then(|found| header.get(found.end + 4..))
            .and_then(leading_number),
    };
    Some(Answer {
        slot: usize::try_from(opaque - i64::from(OPAQUE_BASE)).ok()?,
        code: code as i32,
        next_offset: next_offset.and_then(|offset| u64::try_from(offset).ok()),
        body: body..frame.len(),
    })
}

/// Number of stored records in the body of a pull answer.
pub fn count_records(mut body: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(size) = body.get(..4) {
        let size = u32::from_be_bytes(size.try_into().unwrap_or_default()) as usize;
        match body.get(size..) {
            Some(rest) if size >= 4 => body = rest,
            _ => break,
        }
        count += 1;
    }
    count
}

/// Makes the topic with the queues of the run.
pub fn prepare_topic(settings: &Settings) -> Result<()> {
    let queues = settings.queues.to_string();
    let mut command = Command::request(UPDATE_AND_CREATE_TOPIC);
    let fields = command.fields_mut();
    for (name, value) in [
        ("topic", settings.topic.as_str()),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", &queues),
        ("writeQueueNums", &queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ] {
        fields.push(name, value);
    }
    let reply = call(settings, &command)?;
    match reply.code {
        0 => Ok(()),
        code => Err(Error::refused(code, reply.remark.unwrap_or_default())),
    }
}

fn call(settings: &Settings, command: &Command) -> Result<Command> {
    let what = || format!("ask {} for topic {}", settings.broker, settings.topic);
    let mut stream = TcpStream::connect_timeout(&settings.broker, SETUP_TIMEOUT).what(what)?;
    stream.set_read_timeout(Some(SETUP_TIMEOUT)).what(what)?;
    let mut bytes = Vec::new();
    frame::encode_head(command, &mut bytes);
    stream.write_all(&bytes).what(what)?;
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(len) = frame::cut(&received)? {
            return frame::decode(&received[..len]);
        }
        let count = stream.read(&mut chunk).what(what)?;
        if count == 0 {
            return Err(Error::Protocol(format!("{} closed the connection", settings.broker)));
        }
        received.extend_from_slice(&chunk[..count]);
    }
}

/// As a Java producer writes it: V2 names, unique key, tag, WAIT.
fn send_request(settings: &Settings, queue: usize) -> Command {
    let mut command = Command::request(SEND_MESSAGE_V2);
    let now = crate::base::clock::now_ms();
    let properties = format!(
        "UNIQ_KEY\u{1}7F000001{:08X}{UNIQUE_MARK}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA",
        (now as u32) & !0xF // ends in 0, so that the mark begins where it is put
    );
    let fields = command.fields_mut();
    fields.push("a", "mqbench");
    fields.push("b", &settings.topic);
    fields.push("c", "TBW102");
    fields.push("d", "4");
    fields.push_display("e", queue);
    fields.push("f", "0");
    fields.push_display("g", now);
    fields.push("h", "0");
    fields.push("i", &properties);
    fields.push("j", "0");
    fields.push("k", "false");
    fields.push("m", "false");
    command.body = (0..settings.size).map(|at| b'a' + (at % 26) as u8).collect();
    command
}

fn pull_request(settings: &Settings, queue: usize) -> Command {
    let mut command = Command::request(PULL_MESSAGE);
    let fields = command.fields_mut();
    fields.push("consumerGroup", "mqbench");
    fields.push("topic", &settings.topic);
    fields.push_display("queueId", queue);
    fields.push("queueOffset", OFFSET_MARK);
    fields.push_display("maxMsgNums", settings.batch);
    fields.push("sysFlag", PULL_SYS_FLAG);
    fields.push("commitOffset", "0");
    fields.push("suspendTimeoutMillis", "0");
    fields.push("subscription", "*");
    fields.push("subVersion", "0");
    fields.push("expressionType", "TAG");
    command
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<Range<usize>> {
    let first = wanted[0];
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|&byte| byte == first) {
        let start = from + at;
        if bytes[start..].starts_with(wanted) {
            return Some(start..start + wanted.len());
        }
        from = start + 1;
    }
    None
}

fn number_after(header: &[u8], name: &[u8]) -> Option<i64> {
    find(header, name).and_then(|found| leading_number(&header[found.end..]))
}

fn leading_number(text: &[u8]) -> Option<i64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    text[..digits]
        .iter()
        .try_fold(0i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')))
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

    fn settings(args: &[&str]) -> Settings {
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        Settings::parse(&args).unwrap().unwrap()
    }

    #[test]
    fn a_patched_frame_decodes_to_what_was_patched() {
        for codec in ["json", "binary"] {
            let send = Template::new(&settings(&["send", "--codec", codec]), 3).unwrap();
            let mut bytes = Vec::new();
            send.write(&mut bytes, 12, 0xABC);
            let command = frame::decode(&bytes).unwrap();
            assert_eq!(command.opaque, OPAQUE_BASE + 12);
            assert_eq!(command.field("e"), Some("3"));
            assert!(command.field("i").unwrap().contains("0000000000000ABC\u{2}WAIT"));
            assert_eq!(command.body.len(), 1024);

            let pull = Template::new(&settings(&["pull", "--codec", codec]), 0).unwrap();
            bytes.clear();
            pull.write(&mut bytes, 1, 77);
            let command = frame::decode(&bytes).unwrap();
            assert_eq!(command.field("queueOffset").unwrap().parse::<i64>().unwrap(), 77);
        }
    }

    #[test]
    fn an_answer_is_read_in_both_codecs() {
        for codec in [Codec::Json, Codec::Binary] {
            let mut reply = Command::request(0).reply(0);
            reply.opaque = OPAQUE_BASE + 5;
            reply.codec = codec;
            reply.fields_mut().push("nextBeginOffset", "42");
            reply.body = b"body".to_vec();
            let mut bytes = Vec::new();
            frame::encode_head(&reply, &mut bytes);
            assert_eq!(frame_len(&bytes), Some(bytes.len()));
            assert_eq!(frame_len(&bytes[..bytes.len() - 1]), None);
            let answer = scan(&bytes).unwrap();
            assert_eq!((answer.slot, answer.code, answer.next_offset), (5, 0, Some(42)));
            assert_eq!(&bytes[answer.body], b"body");
        }
    }

    #[test]
    fn counts_records_by_their_sizes() {
        let body = [0, 0, 0, 5, 9, 0, 0, 0, 4, 0, 0, 0, 9];
        assert_eq!(count_records(&body), 2);
    }
}
