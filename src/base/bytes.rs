//! Bytes looked at eight at a time.

const LOW: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// The lowest bit set marks the first byte of the word that is zero.
#[inline]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & HIGH
}

/// Position of the first of two bytes.
#[inline]
pub fn find_either(bytes: &[u8], one: u8, other: u8) -> Option<usize> {
    let (ones, others) = (LOW * u64::from(one), LOW * u64::from(other));
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ ones) | zeros(word ^ others);
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let start = bytes.len() - tail.len();
    tail.iter().position(|&byte| byte == one || byte == other).map(|at| start + at)
}

/// Position of the first such byte.
#[inline]
pub fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    let wanted = LOW * u64::from(byte);
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = zeros(u64::from_le_bytes(*word) ^ wanted);
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let start = bytes.len() - tail.len();
    tail.iter().position(|&b| b == byte).map(|at| start + at)
}

/// Whether all bytes are characters of ASCII that stand for themselves in JSON and in most other
/// notations: no control characters, no `"`, no `\`.
#[inline]
pub fn is_simple(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<8>();
    let odd = |word: u64| {
        let control = word.wrapping_sub(LOW * 0x20) | zeros(word ^ (LOW * 0x7F));
        (control | zeros(word ^ (LOW * 0x22)) | zeros(word ^ (LOW * 0x5C)) | word) & HIGH
    };
    words.iter().all(|word| odd(u64::from_le_bytes(*word)) == 0)
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
    }
}
