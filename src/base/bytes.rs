//! Bytes looked at many at a time.

use std::str::Utf8Error;
use std::string::FromUtf8Error;

use crate::sys::vector::{ascii, either, into_ascii, unprintable};

/// Position of the first of two bytes.
#[inline]
pub fn find_either(bytes: &[u8], one: u8, other: u8) -> Option<usize> {
    let mut start = 0;
    while let Some(chunk) = bytes[start..].first_chunk() {
        let found = either(chunk, one, other);
        if found != 0 {
            return Some(start + found.trailing_zeros() as usize);
        }
        start += chunk.len();
    }
    let tail = &bytes[start..];
    tail.iter().position(|&byte| byte == one || byte == other).map(|at| start + at)
}

/// Position of the first such byte.
#[inline]
pub fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    find_either(bytes, byte, byte)
}

/// Positions of all bytes that are one of two, which are not 0.
pub struct Places<'a> {
    bytes: &'a [u8],
    either: [u8; 2],
    start: usize,
    /// Of those in the sixty-four bytes from `start` on the ones still to come.
    left: u64,
}

/// Positions of all bytes that are one of the two, which are not 0.
#[inline(always)]
pub fn places(bytes: &[u8], one: u8, other: u8) -> Places<'_> {
    Places { bytes, either: [one, other], start: 0, left: either_of_64(bytes, one, other) }
}

impl Iterator for Places<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.left == 0 {
            if self.bytes.len() - self.start <= 64 {
                return None;
            }
            self.start += 64;
            let [one, other] = self.either;
            self.left = either_of_64(&self.bytes[self.start..], one, other);
        }
        let at = self.start + self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        Some(at)
    }
}

/// Bit i is set when byte i is one of the two, which are not 0; of the first sixty-four.
fn either_of_64(bytes: &[u8], one: u8, other: u8) -> u64 {
    let mut last = [0; 64];
    let block = bytes.first_chunk().unwrap_or_else(|| {
        last[..bytes.len()].copy_from_slice(bytes);
        &last
    });
    let bits = block.as_chunks().0.iter().rev();
    bits.fold(0, |bits, chunk| bits << 16 | u64::from(either(chunk, one, other)))
}

/// How many `"` there are among bytes that otherwise are `simple`; `None` when they are not.
#[inline]
pub fn quotes_of_simple(bytes: &[u8]) -> Option<usize> {
    let (chunks, tail) = bytes.as_chunks();
    let mut last = [b' '; 16];
    last[..tail.len()].copy_from_slice(tail);
    let mut quotes = 0;
    for chunk in chunks.iter().chain([&last]) {
        let escaped = either(chunk, b'"', b'\\') | unprintable(chunk);
        if escaped != 0 {
            let quoted = either(chunk, b'"', b'"');
            if quoted != escaped {
                return None;
            }
            quotes += quoted.count_ones() as usize;
        }
    }
    Some(quotes)
}

/// The bytes as text; most often all are ASCII, which takes a fifth of the time to find out.
#[inline]
pub fn text(bytes: &[u8]) -> Result<&str, Utf8Error> {
    match ascii(bytes) {
        Some(text) => Ok(text),
        None => std::str::from_utf8(bytes),
    }
}

/// The same for bytes of one's own.
#[inline]
pub fn into_text(bytes: Vec<u8>) -> Result<String, FromUtf8Error> {
    into_ascii(bytes).or_else(String::from_utf8)
}

/// Whether all bytes are characters of ASCII that stand for themselves in JSON and in most other
/// notations: no control characters, no `"`, no `\`.
#[inline]
pub fn is_simple(bytes: &[u8]) -> bool {
    let (chunks, tail) = bytes.as_chunks();
    chunks.iter().all(|chunk| either(chunk, b'"', b'\\') | unprintable(chunk) == 0)
        && tail.iter().all(|byte| matches!(byte, 0x20..=0x7E) && !matches!(byte, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_bytes_is_found() {
        for len in 0..40 {
            let mut bytes = vec![0xDC_u8; len];
            assert_eq!(find_either(&bytes, b'"', b'\\'), None);
            for at in 0..len {
                bytes[at..].fill(b'\\' + 1);
                bytes[at] = if at % 2 == 0 { b'"' } else { b'\\' };
                assert_eq!(find_either(&bytes, b'"', b'\\'), Some(at));
                let here = find(&bytes, b'"').or(find(&bytes, b'\\'));
                assert_eq!(here, Some(at));
                bytes[at] = 0x21;
            }
        }
    }

    #[test]
    fn all_places_are_found() {
        for len in [0, 1, 15, 16, 63, 64, 65, 127, 128, 129, 200] {
            for step in 1..20 {
                let mut bytes = vec![0; len];
                let wanted: Vec<usize> = (0..len).filter(|at| at % step == step / 2).collect();
                wanted.iter().for_each(|at| bytes[*at] = 1 + (at % 2) as u8);
                assert_eq!(places(&bytes, 1, 2).collect::<Vec<_>>(), wanted, "{len} {step}");
            }
        }
    }

    #[test]
    fn text_is_what_utf_8_allows() {
        assert_eq!(text(b"a"), Ok("a"));
        assert_eq!(text("a long text, and \u{e9}".as_bytes()), Ok("a long text, and \u{e9}"));
        assert_eq!(text(b"a long text, and \xe9").unwrap_err().valid_up_to(), 17);
    }

    #[test]
    fn simple_is_what_json_leaves_alone() {
        for byte in 0..=255_u8 {
            let simple = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            for (len, at) in [(1, 0), (8, 0), (8, 7), (16, 8), (19, 3), (19, 18)] {
                let mut bytes = vec![b' '; len];
                bytes[at] = byte;
                assert_eq!(is_simple(&bytes), simple, "{byte} at {at} of {len}");
            }
        }
        assert!(is_simple(b""));
        for len in 0..40 {
            let mut bytes = vec![b'"'; len];
            bytes.extend_from_slice(b"a~ \"z");
            assert_eq!(quotes_of_simple(&bytes), Some(len + 1));
            bytes.insert(len / 2, 0x80);
            assert_eq!(quotes_of_simple(&bytes), None);
        }
    }
}
