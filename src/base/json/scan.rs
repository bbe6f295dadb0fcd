//! The tokens of lenient JSON, one pass over the text, never reading behind its end.

use std::borrow::Cow;
use std::ops::Range;

use crate::base::bytes::find_either;
use crate::base::{Error, Result};
use crate::sys::vector::either;

/// How deep objects and lists may be nested.
pub const JSON_DEPTH_MAX: u32 = 64;

/// Bytes that are looked at, and copied, together.
const CHUNK: usize = 16;

const _: () = assert!(JSON_DEPTH_MAX <= u64::BITS);

/// Whether fastjson takes `found` for the member `name`: but for case and underscores.
pub fn same_name(found: &str, name: &str) -> bool {
    fn folded(text: &str) -> impl Iterator<Item = u8> {
        text.bytes().filter(|&byte| byte != b'_').map(|byte| byte.to_ascii_lowercase())
    }
    found == name || folded(found).eq(folded(name))
}

/// A position in a JSON text.
#[derive(Clone)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At the beginning of `text`; a byte order mark is skipped.
    pub fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: if text.starts_with('\u{feff}') { 3 } else { 0 } }
    }

    /// An error at this position.
    pub fn error(&self, what: &str) -> Error {
        Error::Protocol(format!("JSON: {what} at byte {}", self.at))
    }

    /// All of the text.
    pub fn all(&self) -> &'a str {
        self.text
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.byte_at(self.at)
    }

    #[inline]
    fn byte_at(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// The next byte behind blanks and comments.
    #[inline]
    pub fn peek(&mut self) -> Result<Option<u8>> {
        match self.byte() {
            Some(byte) if byte > b' ' && byte != b'/' => Ok(Some(byte)),
            _ => self.peek_behind(),
        }
    }

    #[cold]
    fn peek_behind(&mut self) -> Result<Option<u8>> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\r' | b'\t' | 8 | 12) => self.at += 1,
                Some(b'/') => self.comment()?,
                other => return Ok(other),
            }
        }
    }

    fn comment(&mut self) -> Result<()> {
        let rest = &self.text[self.at..];
        let end = if rest.starts_with("//") {
            rest.find('\n').map_or(rest.len(), |at| at + 1)
        } else if let Some(inside) = rest.strip_prefix("/*") {
            inside.find("*/").ok_or_else(|| self.error("comment without end"))? + 4
        } else {
            return Err(self.error("unexpected /"));
        };
        self.at += end;
        Ok(())
    }

    /// Takes `byte`, which must be the next one behind blanks.
    #[inline]
    pub fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek()? == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.error(&format!("expected {}", byte as char)))
        }
    }

    /// Inside an object or list: skips commas; whether `close` came, which is taken.
    #[inline]
    pub fn closes(&mut self, close: u8) -> Result<bool> {
        loop {
            match self.peek()? {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(true);
                }
                Some(_) => return Ok(false),
                None => return Err(self.error("ends too early")),
            }
        }
    }

    /// Nothing but blanks may follow.
    pub fn end(&mut self) -> Result<()> {
        match self.peek()? {
            None => Ok(()),
            Some(_) => Err(self.error("text behind the end")),
        }
    }

    /// Appends a quoted text, which must be next, to `out`.
    pub fn push_text(&mut self, out: &mut String) -> Result<()> {
        let quote = self.quote()?;
        loop {
            let stop = self.push_plain(quote, out)?;
            if stop == quote {
                return Ok(());
            }
            match self.control() {
                Some(control) => out.push(control.into()),
                None => self.escape(out)?,
            }
        }
    }

    /// Appends the characters up to the next quote or backslash, which is taken and returned.
    #[inline]
    fn push_plain(&mut self, quote: u8, out: &mut String) -> Result<u8> {
        // A copy of a fixed length is cheaper than one that fits, as long as it cuts no character.
        while let Some(chunk) = self.text.get(self.at..self.at + CHUNK)
            && let Some(bytes) = chunk.as_bytes().first_chunk()
        {
            let stops = either(bytes, quote, b'\\');
            out.push_str(chunk);
            if stops != 0 {
                let len = stops.trailing_zeros() as usize;
                out.truncate(out.len() - CHUNK + len);
                self.at += len + 1;
                return Ok(bytes[len]);
            }
            self.at += CHUNK;
        }
        let (plain, stop) = self.plain(quote)?;
        out.push_str(plain);
        Ok(stop)
    }

    /// A quoted text, which must be next; borrowed when nothing in it is escaped.
    pub fn text(&mut self) -> Result<Cow<'a, str>> {
        let start = self.at;
        let quote = self.quote()?;
        let (plain, stop) = self.plain(quote)?;
        if stop == quote {
            return Ok(Cow::Borrowed(plain));
        }
        self.at = start;
        let mut out = String::new();
        self.push_text(&mut out)?;
        Ok(Cow::Owned(out))
    }

    #[inline]
    fn quote(&mut self) -> Result<u8> {
        match self.peek()? {
            Some(quote @ (b'"' | b'\'')) => {
                self.at += 1;
                Ok(quote)
            }
            _ => Err(self.error("expected a text")),
        }
    }

    /// The characters up to the next quote or backslash, which is taken and returned too.
    #[inline]
    fn plain(&mut self, quote: u8) -> Result<(&'a str, u8)> {
        let rest = &self.text[self.at..];
        match find_either(rest.as_bytes(), quote, b'\\') {
            Some(len) => {
                self.at += len + 1;
                Ok((&rest[..len], rest.as_bytes()[len]))
            }
            None => Err(self.error("text without end")),
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, out: &mut String) -> Result<()> {
        let Some(kind) = self.byte() else { return Err(self.error("text without end")) };
        self.at += 1;
        out.push(match kind {
            b'"' | b'\'' | b'/' | b'\\' => kind as char,
            b'b' => '\u{8}',
            b't' => '\t',
            b'n' => '\n',
            b'v' => '\u{b}',
            b'f' | b'F' => '\u{c}',
            b'r' => '\r',
            b'0'..=b'7' => (kind - b'0') as char,
            b'x' => self.hex(2)? as u8 as char,
            b'u' => self.unicode()?,
            _ => return Err(self.error("unknown escape")),
        });
        Ok(())
    }

    fn hex(&mut self, digits: usize) -> Result<u16> {
        let text = self.text.as_bytes().get(self.at..self.at + digits);
        let value = text.and_then(|text| {
            let digit = |&byte: &u8| (byte as char).to_digit(16);
            text.iter().try_fold(0, |value, byte| Some((value << 4) | digit(byte)? as u16))
        });
        let value = value.ok_or_else(|| self.error("bad escape"))?;
        self.at += digits;
        Ok(value)
    }

    /// The character of `u00hh`, a control character as in every property string.
    #[inline]
    fn control(&mut self) -> Option<u8> {
        let text = self.text.as_bytes().get(self.at..)?;
        let &[b'u', b'0', b'0', high @ b'0'..=b'1', low, ..] = text else { return None };
        let low = match low {
            b'0'..=b'9' => low - b'0',
            b'A'..=b'F' => low - b'A' + 10,
            b'a'..=b'f' => low - b'a' + 10,
            _ => return None,
        };
        self.at += 5;
        Some((high - b'0') << 4 | low)
    }

    /// A UTF-16 unit, or two that make a character; half of a pair reads as U+FFFD.
    fn unicode(&mut self) -> Result<char> {
        let first = self.hex(4)?;
        if let Some(character) = char::from_u32(u32::from(first)) {
            return Ok(character);
        }
        let second = self.clone();
        if self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let pair = [first, self.hex(4)?];
            if let Some(Ok(character)) = char::decode_utf16(pair).next() {
                return Ok(character);
            }
        }
        *self = second;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    /// A word without quotes: a number, `true`, `null`, a name. Not empty.
    pub fn word(&mut self) -> Result<&'a str> {
        self.peek()?;
        let rest = &self.text[self.at..];
        let is_end = |byte: u8| {
            matches!(byte, 0..=b' ' | b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"' | b'\'' | b'/')
        };
        let len = rest.bytes().position(is_end).unwrap_or(rest.len());
        if len == 0 {
            return Err(self.error("expected a value"));
        }
        self.at += len;
        Ok(&rest[..len])
    }

    /// A member's name and the colon: a text, a word, or an object, which is taken as text.
    #[inline]
    pub fn name(&mut self) -> Result<Cow<'a, str>> {
        match self.plain_name() {
            Some(name) => Ok(Cow::Borrowed(&self.text[name])),
            None => self.any_name(),
        }
    }

    /// Where a name stands in the form that machines write, `"name":`, which is taken.
    #[inline]
    pub fn plain_name(&mut self) -> Option<Range<usize>> {
        let name = self.plain_text(self.at)?;
        if self.byte_at(name.end + 1) != Some(b':') {
            return None;
        }
        self.at = name.end + 2;
        Some(name)
    }

    fn any_name(&mut self) -> Result<Cow<'a, str>> {
        let name = match self.peek()? {
            Some(b'"' | b'\'') => self.text()?,
            Some(b'{') => Cow::Borrowed(self.raw()?),
            _ => Cow::Borrowed(self.word()?),
        };
        self.expect(b':')?;
        Ok(name)
    }

    /// Takes members as long as they have the form that machines write, `"name":"value"` with
    /// nothing escaped and nothing but commas in between; `each` is told where name and value
    /// stand.
    #[inline]
    pub fn plain_members(&mut self, mut each: impl FnMut(Range<usize>, Range<usize>)) {
        let mut at = self.at;
        loop {
            at += usize::from(self.byte_at(at) == Some(b','));
            self.at = at;
            let Some(name) = self.short_text(at) else { return };
            if self.byte_at(name.end + 1) != Some(b':') {
                return;
            }
            let Some(value) = self.short_text(name.end + 2) else { return };
            at = value.end + 1;
            each(name, value);
        }
    }

    /// Takes a number of at most ten digits that a comma or bracket follows, if it fits.
    #[inline]
    pub fn plain_number(&mut self) -> Option<i32> {
        let mut value = 0;
        for (len, &byte) in self.text.as_bytes()[self.at..].iter().enumerate().take(11) {
            match byte {
                b'0'..=b'9' => value = value * 10 + i64::from(byte - b'0'),
                b',' | b'}' if len > 0 => {
                    let value = i32::try_from(value).ok()?;
                    self.at += len;
                    return Some(value);
                }
                _ => return None,
            }
        }
        None
    }

    /// `plain_text` where it most often is a single character: names of a V2 header, small numbers.
    #[inline(always)]
    fn short_text(&self, at: usize) -> Option<Range<usize>> {
        match self.text.as_bytes().get(at..)? {
            [b'"', one, b'"', ..] if !matches!(one, b'"' | b'\\') => Some(at + 1..at + 2),
            _ => self.plain_text(at),
        }
    }

    /// Where the text stands whose opening quote is at `at`, when nothing in it is escaped.
    #[inline(always)]
    fn plain_text(&self, at: usize) -> Option<Range<usize>> {
        let [b'"', text @ ..] = self.text.as_bytes().get(at..)? else { return None };
        let len = find_either(text, b'"', b'\\')?;
        (text[len] == b'"').then_some(at + 1..at + 1 + len)
    }

    /// Skips a value of any kind; returns it as it stands in the text.
    pub fn raw(&mut self) -> Result<&'a str> {
        self.peek()?;
        let start = self.at;
        let mut nesting = Nesting::default();
        loop {
            match self.peek()? {
                Some(b'"' | b'\'') => self.skip_text()?,
                Some(open @ (b'{' | b'[')) => {
                    self.at += 1;
                    nesting.open(open).map_err(|what| self.error(what))?;
                }
                Some(close @ (b'}' | b']')) => {
                    nesting.close(close).map_err(|what| self.error(what))?;
                    self.at += 1;
                }
                Some(b',' | b':') if nesting.depth > 0 => {
                    self.at += 1;
                    continue;
                }
                Some(_) => {
                    self.word()?;
                }
                None => return Err(self.error("ends too early")),
            }
            if nesting.depth == 0 {
                return Ok(&self.text[start..self.at]);
            }
        }
    }

    fn skip_text(&mut self) -> Result<()> {
        let quote = self.quote()?;
        while self.plain(quote)?.1 != quote {
            if self.byte().is_none() {
                return Err(self.error("text without end"));
            }
            // An escaped character may be wider than a byte; only that it is no quote counts.
            self.at += self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        }
        Ok(())
    }
}

/// The brackets that are open, one bit each.
#[derive(Default)]
struct Nesting {
    depth: u32,
    lists: u64,
}

impl Nesting {
    fn open(&mut self, bracket: u8) -> std::result::Result<(), &'static str> {
        if self.depth == JSON_DEPTH_MAX {
            return Err("nested too deep");
        }
        self.depth += 1;
        self.lists = self.lists << 1 | u64::from(bracket == b'[');
        Ok(())
    }

    fn close(&mut self, bracket: u8) -> std::result::Result<(), &'static str> {
        if self.depth == 0 || (self.lists & 1 == 1) != (bracket == b']') {
            return Err("unexpected bracket");
        }
        self.depth -= 1;
        self.lists >>= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Result<String> {
        let mut scanner = Scanner::new(json);
        let text = scanner.text()?.into_owned();
        scanner.end()?;
        Ok(text)
    }

    #[test]
    fn texts_with_every_escape() {
        assert_eq!(text(r#" "a" "#).unwrap(), "a");
        assert_eq!(text(r#"'a"\'b'"#).unwrap(), "a\"'b");
        assert_eq!(
            text(r#""\b\t\n\v\f\F\r\"\'\/\\\0\7\x41""#).unwrap(),
            "\u{8}\t\n\u{b}\u{c}\u{c}\r\"'/\\\0\u{7}A"
        );
        assert_eq!(text(r#""\u4E2d\uD83D\uDE00""#).unwrap(), "中\u{1F600}");
        assert_eq!(text(r#""\uD83D\u0041\uD83D""#).unwrap(), "\u{fffd}A\u{fffd}");
        for bad in ["", "\"", "\"\\", "'a\"", r#""\u12"#, r#""\u+123""#, r#""\q""#, r#""\u12中""#]
        {
            assert!(text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_of_any_kind_are_skipped() {
        for value in ["1", "\"a}\\\"\"", "{a:[1,{'b':\"]\"},/* } */null,]}", "-1.5e3", "[]"] {
            let json = format!(" {value} , x");
            let mut scanner = Scanner::new(&json);
            assert_eq!(scanner.raw().unwrap(), value);
            assert_eq!(scanner.peek().unwrap(), Some(b','));
        }
        for bad in ["", "}", "{]", "[", "{\"a", ",", "[\"\\", "/* ", "/"] {
            assert!(Scanner::new(bad).raw().is_err(), "{bad}");
        }
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Scanner::new(&nested(64)).raw().is_ok());
        assert!(Scanner::new(&nested(65)).raw().is_err());
        assert!(Scanner::new(&"[{a:".repeat(60_000)).raw().is_err());
    }

    #[test]
    fn names_are_matched_leniently() {
        assert!(same_name("client_ID", "clientId"));
        assert!(!same_name("clientIdx", "clientId"));
        let json = "{ 'a' : 1,, b:2 // x\n {\"c\":1}:3 }";
        let mut scanner = Scanner::new(json);
        scanner.expect(b'{').unwrap();
        let mut names = Vec::new();
        while !scanner.closes(b'}').unwrap() {
            names.push(scanner.name().unwrap().into_owned());
            scanner.word().unwrap();
        }
        assert_eq!(names, ["a", "b", "{\"c\":1}"]);
        scanner.end().unwrap();
    }
}
