//! Reads of an answer only what the load needs: the generator must cost far less than the server.

use std::ops::Range;

use super::template::OPAQUE_BASE;
use crate::base::{Error, Result};
use crate::protocol::Codec;

/// What the load needs of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub slot: usize,
    pub code: i32,
    /// The offset asked for: `nextBeginOffset` of a pull, `queueOffset` of a send.
    pub offset: Option<u64>,
    /// `queueId` of a send.
    pub queue: Option<u64>,
    /// Where the body stands in the frame.
    pub body: Range<usize>,
}

/// Fields to look for, besides code and opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Nothing,
    NextOffset,
    Stored,
}

/// Length of the frame at the head of `bytes`, when it is there whole.
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize + 4;
    (bytes.len() >= len).then_some(len)
}

/// Reads frames, and remembers where in the last header things stood.
#[derive(Debug, Default)]
pub struct Scanner {
    code: usize,
    opaque: usize,
    offset: usize,
    queue: usize,
}

impl Scanner {
    /// Reads a whole frame.
    pub fn scan(&mut self, frame: &[u8], wanted: Wanted) -> Result<Answer> {
        self.header(frame, wanted)
            .ok_or_else(|| Error::Protocol("an answer that cannot be read".into()))
    }

    fn header(&mut self, frame: &[u8], wanted: Wanted) -> Option<Answer> {
        let word = u32::from_be_bytes(frame.get(4..8)?.try_into().ok()?);
        let body = 8 + (word & 0xFF_FFFF) as usize;
        let header = frame.get(8..body)?;
        let codec = if word >> 24 == 0 { Codec::Json } else { Codec::Binary };
        let (code, opaque) = match codec {
            Codec::Json => (
                leading_number(after(header, b"\"code\":", &mut self.code)?)?,
                leading_number(after(header, b"\"opaque\":", &mut self.opaque)?)?,
            ),
            Codec::Binary => {
                let code = i16::from_be_bytes(header.get(..2)?.try_into().ok()?);
                let opaque = i32::from_be_bytes(header.get(5..9)?.try_into().ok()?);
                (i64::from(code), i64::from(opaque))
            }
        };
        let offset = match wanted {
            Wanted::Nothing => None,
            Wanted::NextOffset => field(header, codec, "nextBeginOffset", &mut self.offset),
            Wanted::Stored => field(header, codec, "queueOffset", &mut self.offset),
        };
        let queue = match wanted {
            Wanted::Stored => field(header, codec, "queueId", &mut self.queue),
            _ => None,
        };
        Some(Answer {
            slot: usize::try_from(opaque - i64::from(OPAQUE_BASE)).ok()?,
            code: i32::try_from(code).ok()?,
            offset,
            queue,
            body: body..frame.len(),
        })
    }
}

/// The number of an extension field.
fn field(header: &[u8], codec: Codec, name: &str, hint: &mut usize) -> Option<u64> {
    let mut value = after(header, name.as_bytes(), hint)?;
    value = match codec {
        Codec::Json => value.strip_prefix(b"\":")?,
        // Behind the name stands the length of the value.
        Codec::Binary => value.get(4..)?,
    };
    u64::try_from(leading_number(value.strip_prefix(b"\"").unwrap_or(value))?).ok()
}

/// What follows `name`, which is looked for where it stood last time first.
fn after<'a>(header: &'a [u8], name: &[u8], hint: &mut usize) -> Option<&'a [u8]> {
    if let Some(rest) = header.get(*hint..).and_then(|rest| rest.strip_prefix(name)) {
        return Some(rest);
    }
    let found = find(header, name, 0)?;
    *hint = found.start;
    Some(&header[found.end..])
}

/// The first place of `wanted` at or behind `from`.
pub fn find(bytes: &[u8], wanted: &[u8], from: usize) -> Option<Range<usize>> {
    let rest = bytes.get(from..)?;
    let at = rest.windows(wanted.len()).position(|window| window == wanted)? + from;
    Some(at..at + wanted.len())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Command, frame};

    fn reply(codec: Codec, slot: i32, offset: u64) -> Vec<u8> {
        let mut reply = Command::request(0).reply(0);
        reply.opaque = OPAQUE_BASE + slot;
        reply.codec = codec;
        let fields = reply.fields_mut();
        fields.push("msgId", "7F00000100002A9F0000000000000000");
        fields.push_display("nextBeginOffset", offset);
        fields.push("queueId", "3");
        fields.push_display("queueOffset", offset + 1);
        reply.body = b"body".to_vec();
        frame::encode(&reply)
    }

    #[test]
    fn an_answer_is_read_in_both_codecs() {
        for codec in [Codec::Json, Codec::Binary] {
            let mut scanner = Scanner::default();
            // The second answer is longer, so that what stands behind the offset moves.
            for (slot, offset) in [(5, 42), (6, 123_456_789_012)] {
                let bytes = reply(codec, slot, offset);
                assert_eq!(frame_len(&bytes), Some(bytes.len()));
                assert_eq!(frame_len(&bytes[..bytes.len() - 1]), None);
                let answer = scanner.scan(&bytes, Wanted::NextOffset).unwrap();
                assert_eq!((answer.slot, answer.code), (slot as usize, 0));
                assert_eq!((answer.offset, answer.queue), (Some(offset), None));
                assert_eq!(&bytes[answer.body], b"body");
                let answer = scanner.scan(&bytes, Wanted::Stored).unwrap();
                assert_eq!((answer.offset, answer.queue), (Some(offset + 1), Some(3)));
                assert_eq!(scanner.scan(&bytes, Wanted::Nothing).unwrap().offset, None);
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let mut scanner = Scanner::default();
        for bytes in [&b""[..], b"\0\0\0\x04\0\0\0\x09", b"\0\0\0\x06\0\0\0\x02{}"] {
            assert!(scanner.scan(bytes, Wanted::Nothing).is_err());
        }
        let mut foreign = reply(Codec::Binary, 0, 0);
        foreign[13..17].copy_from_slice(&1i32.to_be_bytes());
        assert!(scanner.scan(&foreign, Wanted::Nothing).is_err());
    }
}
