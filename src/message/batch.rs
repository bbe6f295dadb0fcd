//! The body of a batch: messages back to back, unpacked by the broker into records of their own.
//!
//! Each: total size i32 · magic i32 · body CRC i32 · flag i32 · body length i32 · body ·
//! properties length i16 · properties. Total size, magic and CRC are not looked at, as in Java.

use crate::base::limits::PROPERTIES_BYTES_MAX;
use crate::base::{Error, Result};

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner<'a> {
    /// The application's own flag.
    pub flag: i32,
    /// Body.
    pub body: &'a [u8],
    /// Property string, as it came.
    pub properties: &'a [u8],
}

/// Iterates over the messages of a batch body; ends after the first `Err`.
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// `body` of a batch.
    pub fn new(body: &'a [u8]) -> Messages<'a> {
        Messages { rest: body }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Inner<'a>>;

    fn next(&mut self) -> Option<Result<Inner<'a>>> {
        if self.rest.is_empty() {
            return None;
        }
        match split(self.rest) {
            Some((inner, rest)) => {
                self.rest = rest;
                Some(Ok(inner))
            }
            None => {
                self.rest = &[];
                Some(Err(Error::Protocol("batch body: lengths beyond its end".to_string())))
            }
        }
    }
}

fn split(bytes: &[u8]) -> Option<(Inner<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<20>()?;
    let flag = i32::from_be_bytes(*head[12..].first_chunk()?);
    let body_len = i32::from_be_bytes(*head[16..].first_chunk()?);
    let (body, rest) = rest.split_at_checked(usize::try_from(body_len).ok()?)?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let properties_len = usize::try_from(i16::from_be_bytes(*len)).ok()?;
    let (properties, rest) = rest.split_at_checked(properties_len)?;
    Some((Inner { flag, body, properties }, rest))
}

/// Appends one message to a batch body; `Err` when body or properties are too long.
pub fn push(out: &mut Vec<u8>, flag: i32, body: &[u8], properties: &str) -> Result<()> {
    let total = i32::try_from(22 + body.len() + properties.len());
    let (Ok(total), true) = (total, properties.len() <= PROPERTIES_BYTES_MAX) else {
        return Err(Error::Protocol("batch message: body or properties too long".to_string()));
    };
    out.extend_from_slice(&total.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&flag.to_be_bytes());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(&(properties.len() as u16).to_be_bytes());
    out.extend_from_slice(properties.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a Java client writes it: body "body", properties WAIT=true, TAGS=TagA.
    const JAVA: &[u8] =
        b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04body\0\x13WAIT\x01true\x02TAGS\x01TagA";

    #[test]
    fn writes_what_java_writes() {
        let mut body = Vec::new();
        push(&mut body, 0, b"body", "WAIT\u{1}true\u{2}TAGS\u{1}TagA").unwrap();
        assert_eq!(body, JAVA);
    }

    #[test]
    fn reads_several() {
        let mut body = JAVA.to_vec();
        push(&mut body, 7, b"", "").unwrap();
        let all: Vec<_> = Messages::new(&body).map(Result::unwrap).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].flag, all[0].body), (0, &b"body"[..]));
        assert_eq!(all[0].properties, b"WAIT\x01true\x02TAGS\x01TagA");
        assert_eq!(all[1], Inner { flag: 7, body: b"", properties: b"" });
    }

    #[test]
    fn refuses_lengths_beyond_the_end() {
        for cut in 1..JAVA.len() {
            assert!(Messages::new(&JAVA[..cut]).last().unwrap().is_err());
        }
        let mut negative = JAVA.to_vec();
        negative[16] = 0xff;
        assert!(Messages::new(&negative).next().unwrap().is_err());
        assert!(push(&mut Vec::new(), 0, b"", &"x".repeat(32768)).is_err());
    }
}
