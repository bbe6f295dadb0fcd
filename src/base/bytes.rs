//! Bytes looked at many at a time.

use crate::sys::vector::{either, unprintable};

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
