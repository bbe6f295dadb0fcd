//! JSON as fastjson reads and writes it, which every RocketMQ peer and file relies on.
//!
//! Reading takes what fastjson takes: comments, single quotes, names without quotes, commas that
//! separate nothing, numbers where texts are wanted and the reverse, names in another case, objects
//! as map keys (texts that hold the key's JSON), bytes that are not UTF-8. A null member is absent.
//! Writing leaves out nulls, and has fastjson's forms for integer and object keys.

use std::borrow::Cow;

use super::bytes::{is_simple, text};

mod read;
mod scan;
mod write;

pub use read::{from_slice, from_str};
pub use scan::{JSON_DEPTH_MAX, Scanner, same_name};
pub use write::{to_pretty, to_string, to_vec, to_vec_strict};

/// Bytes as text, U+FFFD in place of what is no UTF-8.
pub fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    // The lossy one takes ASCII byte by byte.
    match text(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// The decimal form of a number, in `buffer`.
pub fn decimal(value: i64, buffer: &mut [u8; 20]) -> &str {
    std::str::from_utf8(digits(value, buffer)).unwrap_or_default()
}

/// Appends the decimal form of a number.
pub fn push_number(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(digits(value, &mut [0; 20]));
}

fn digits(value: i64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    let mut rest = value.unsigned_abs();
    while rest >= 10 {
        let pair = DIGIT_PAIRS[(rest % 100) as usize];
        rest /= 100;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&pair);
    }
    if rest > 0 || value == 0 {
        at -= 1;
        buffer[at] = b'0' + rest as u8;
    }
    if value < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

/// `00` to `99`.
const DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Appends the characters of `text` as they stand between the quotes of a JSON text.
pub fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    if is_simple(bytes) {
        return out.extend_from_slice(bytes);
    }
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !NEEDS_LOOK[usize::from(byte)] {
            continue;
        }
        let width = match byte {
            0xE2 if bytes[at..].starts_with(b"\xE2\x80\xA8") => 3,
            0xE2 if bytes[at..].starts_with(b"\xE2\x80\xA9") => 3,
            0xE2 => continue,
            _ => 1,
        };
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + width;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            0xE2 => push_unicode(out, 0x2000 | u16::from(bytes[at + 2] & 0x3F)),
            _ => push_unicode(out, u16::from(byte)),
        }
    }
    out.extend_from_slice(&bytes[plain..]);
}

/// The same in ASCII, `/` escaped too: the strict form.
fn push_escaped_ascii(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        match character {
            '/' => out.extend_from_slice(b"\\/"),
            '\0'..='\u{7f}' => push_escaped(out, character.encode_utf8(&mut [0; 4])),
            _ => {
                for &unit in character.encode_utf16(&mut [0; 2]).iter() {
                    push_unicode(out, unit);
                }
            }
        }
    }
}

/// The bytes that are escaped, or begin what may be.
const NEEDS_LOOK: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte < 0x20 || matches!(byte as u8, b'"' | b'\\' | 0x7F | 0xE2);
        byte += 1;
    }
    table
};

/// `\uXXXX`
fn push_unicode(out: &mut Vec<u8>, unit: u16) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(DIGITS[usize::from(unit >> shift & 15)]);
    }
}

#[cfg(test)]
mod tests;
