//! Java's properties syntax: `key = value` lines, `#` and `!` comments, backslash escapes, lines
//! that go on after a backslash.
//!
//! RocketMQ reads files as ISO-8859-1. Here text that is valid UTF-8 is read as that: the two
//! differ only beyond ASCII, where RocketMQ would show garbage.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::base::error::IoContext;
use crate::base::limits::CONFIG_BYTES_MAX;
use crate::base::{Error, Result};

/// One `key = value`, unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: String,
    /// First of its lines, from 1.
    pub line: usize,
    /// How many lines it takes.
    lines: usize,
}

/// Reads a file. Errors name it, and the line.
pub fn read_file(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).what(|| format!("open {}", path.display()))?;
    file.take(CONFIG_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .what(|| format!("read {}", path.display()))?;
    if bytes.len() > CONFIG_BYTES_MAX {
        let text = format!("{}: longer than {CONFIG_BYTES_MAX} bytes", path.display());
        return Err(Error::Config(text));
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|e| e.as_bytes().iter().map(|byte| char::from(*byte)).collect()))
}

/// The entries in the order of the text, keys that come twice included. The only possible error is
/// a broken `\uXXXX`; it begins with the line number.
pub fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let mut logical = first.trim_start_matches(BLANKS).to_string();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        let mut count = 1;
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANKS));
            count += 1;
        }
        let (key, value) = split(&logical);
        let broken = |e: &str| Error::Config(format!("{}: {e}", index + 1));
        entries.push(Entry {
            key: unescape(key).map_err(broken)?,
            value: unescape(value).map_err(broken)?,
            line: index + 1,
            lines: count,
        });
    }
    Ok(entries)
}

const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

/// Whether a line ends with an odd number of backslashes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The key ends at the first `=`, `:` or blank that has no backslash before it.
fn split(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = logical.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || BLANKS.contains(&c));
        escaped = !escaped && c == '\\';
        ends
    });
    let Some(end) = end else { return (logical, "") };
    let rest = logical[end..].trim_start_matches(BLANKS);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&logical[..end], value.trim_start_matches(BLANKS))
}

fn unescape(text: &str) -> std::result::Result<String, &'static str> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = if c != '\\' {
            c
        } else {
            match chars.next() {
                None => break,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => {
                    units.push(hex_unit(&mut chars).ok_or("broken \\uXXXX escape")?);
                    continue;
                }
                Some(other) => other,
            }
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    // A character beyond 16 bits is two escapes; half of one becomes U+FFFD.
    Ok(String::from_utf16_lossy(&units))
}

fn hex_unit(chars: &mut std::str::Chars) -> Option<u16> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit * 16 + chars.next()?.to_digit(16)? as u16;
    }
    Some(unit)
}

/// `key=value` as `parse` reads it back; ordinary values stay as they are.
pub fn line(key: &str, value: &str) -> String {
    let mut out = String::with_capacity(key.len() + value.len() + 1);
    escape(key, true, &mut out);
    out.push('=');
    escape(value, false, &mut out);
    out
}

fn escape(text: &str, is_key: bool, out: &mut String) {
    for (index, c) in text.chars().enumerate() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\x0c' => out.push_str("\\f"),
            '\\' => out.push_str("\\\\"),
            ' ' if is_key || index == 0 => out.push_str("\\ "),
            '=' | ':' if is_key => out.extend(['\\', c]),
            '#' | '!' if is_key && index == 0 => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04X}"));
                }
            }
        }
    }
}

/// `text` with these keys set: the last entry of a key is changed where it stands, a new key is
/// added at the end, everything else, comments included, stays. `text` must be what `parse` takes.
pub fn edit(text: &str, changes: &[(String, String)]) -> Result<String> {
    let entries = parse(text)?;
    let mut lines: Vec<Option<String>> = text.lines().map(|l| Some(l.to_string())).collect();
    for (key, value) in changes {
        match entries.iter().rfind(|entry| entry.key == *key) {
            Some(entry) => {
                let at = entry.line - 1;
                lines[at..at + entry.lines].fill(None);
                lines[at] = Some(line(key, value));
            }
            None => lines.push(Some(line(key, value))),
        }
    }
    Ok(lines.into_iter().flatten().fold(String::new(), |text, line| text + &line + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        parse(text).unwrap().into_iter().map(|e| (e.key, e.value, e.line)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let entry = parse(text).unwrap().remove(0);
        (entry.key, entry.value)
    }

    #[test]
    fn java_takes_many_forms() {
        let text = "# c\n! c\n\n a = b \r\nc:d\ne f\n\tg\nh==i\nj=k\\\n   l\nlast = ";
        let found = pairs(text);
        let expected = [
            ("a", "b ", 4),
            ("c", "d", 5),
            ("e", "f", 6),
            ("g", "", 7),
            ("h", "=i", 8),
            ("j", "kl", 9),
            ("last", "", 11),
        ];
        let expected = expected.map(|(k, v, l)| (k.to_string(), v.to_string(), l));
        assert_eq!(found, expected);
    }

    #[test]
    fn escapes() {
        let (key, value) = one(r"a\ b\=c = x\ty\\z\q\u0041\u00e9\uD83D\uDE00");
        assert_eq!(key, "a b=c");
        assert_eq!(value, "x\ty\\zqA\u{e9}\u{1f600}");
        assert_eq!(one("a=b\\").1, "b");
        assert_eq!(one("a=b\\\\\nc").1, "b\\");
        assert_eq!(one("a=\\uD83D").1, "\u{fffd}");
        for broken in ["a=\\u12", "a=\\u12g4", "a=1\nb=\\u"] {
            let text = parse(broken).unwrap_err().to_string();
            assert!(text.ends_with(": broken \\uXXXX escape"), "{text}");
        }
    }

    #[test]
    fn edit_changes_only_what_it_must() {
        let text = "# why\na = 1\na=2\nb = x\\\n  y\n\nc=3\n";
        let changes = [("a", "9"), ("b", "z"), ("d", " 1")];
        let changes = changes.map(|(k, v)| (k.to_string(), v.to_string()));
        let edited = edit(text, &changes).unwrap();
        assert_eq!(edited, "# why\na = 1\na=9\nb=z\n\nc=3\nd=\\ 1\n");
        assert_eq!(edit("", &changes[..1]).unwrap(), "a=9\n");
    }

    #[test]
    fn a_file_that_is_not_utf8_is_latin1() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        fs::write(&path, b"a=\xe9").unwrap();
        assert_eq!(read_file(&path).unwrap(), "a=\u{e9}");
        fs::write(&path, vec![b'#'; CONFIG_BYTES_MAX + 1]).unwrap();
        let text = read_file(&path).unwrap_err().to_string();
        assert!(text.contains("/c: longer than"), "{text}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(key in "\\PC{1,8}", value in any::<String>()) {
            prop_assert_eq!(one(&line(&key, &value)), (key, value));
        }

        #[test]
        fn any_text_is_taken_or_refused(text in any::<String>()) {
            let _ = parse(&text);
            let _ = edit(&text, &[("k".to_string(), "v".to_string())]);
        }
    }
}
