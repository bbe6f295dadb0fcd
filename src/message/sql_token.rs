//! Words and signs of SQL92 filter expressions, cut one by one: what stands behind the end of an
//! expression is never looked at.

use super::sql::Invalid;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    End,
    Name,
    Text,
    Integer,
    Float,
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Open,
    Close,
    Comma,
    Plus,
    Minus,
}

/// Reserved words, in any case of letters.
const WORDS: [(&str, Kind); 9] = [
    ("NOT", Kind::Not),
    ("AND", Kind::And),
    ("OR", Kind::Or),
    ("BETWEEN", Kind::Between),
    ("IN", Kind::In),
    ("TRUE", Kind::True),
    ("FALSE", Kind::False),
    ("NULL", Kind::Null),
    ("IS", Kind::Is),
];

/// The longer ones first.
const SIGNS: [(&str, Kind); 11] = [
    ("<>", Kind::NotEqual),
    (">=", Kind::GreaterOrEqual),
    ("<=", Kind::LessOrEqual),
    ("=", Kind::Equal),
    (">", Kind::Greater),
    ("<", Kind::Less),
    ("(", Kind::Open),
    (")", Kind::Close),
    (",", Kind::Comma),
    ("+", Kind::Plus),
    ("-", Kind::Minus),
];

/// How much of a token an error shows, in characters.
const SHOWN_CHARS: usize = 32;

impl Kind {
    /// For errors.
    pub(super) fn words(self) -> &'static str {
        let table = WORDS.iter().chain(&SIGNS).find(|(_, kind)| *kind == self);
        match (self, table) {
            (_, Some((word, _))) => word,
            (Kind::Text, _) => "a string",
            _ => "a value",
        }
    }
}

/// The tokens of a text.
pub(super) struct Tokens<'a> {
    text: &'a str,
    /// The last token taken: its range.
    last: (usize, usize),
    /// The token after it, when it was looked at: its kind and range.
    next: Option<(Kind, usize, usize)>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Tokens<'a> {
        Tokens { text, last: (0, 0), next: None }
    }

    /// The kind of the next token.
    pub(super) fn peek(&mut self) -> Result<Kind, Invalid> {
        if let Some((kind, ..)) = self.next {
            return Ok(kind);
        }
        let start = self.skip_blanks(self.last.1);
        let Some((kind, len)) = token(&self.text[start..]) else {
            let end = self.text[start..].char_indices().nth(1).map_or(self.text.len(), |c| c.0);
            self.last = (start, if end == self.text.len() { end } else { start + end });
            return Err(self.unexpected("a word or a sign"));
        };
        self.next = Some((kind, start, start + len));
        Ok(kind)
    }

    /// Takes the next token.
    pub(super) fn next(&mut self) -> Result<&'a str, Invalid> {
        self.peek()?;
        if let Some((_, start, end)) = self.next.take() {
            self.last = (start, end);
        }
        Ok(self.last())
    }

    /// The text of the last token taken.
    pub(super) fn last(&self) -> &'a str {
        &self.text[self.last.0..self.last.1]
    }

    /// The last token taken is wrong, or what it completes.
    pub(super) fn wrong(&self, what: &str) -> Invalid {
        let at = self.text[..self.last.0].chars().count() + 1;
        Invalid { at, what: what.to_owned() }
    }

    /// Another token was expected than the last one taken.
    pub(super) fn unexpected(&self, expected: &str) -> Invalid {
        let found: String = self.last().chars().take(SHOWN_CHARS).collect();
        match found.is_empty() {
            true => self.wrong(&format!("{expected} is missing")),
            false => self.wrong(&format!("{found} stands where {expected} is expected")),
        }
    }

    /// Where the first token from `at` on begins.
    fn skip_blanks(&self, mut at: usize) -> usize {
        loop {
            let rest = &self.text[at..];
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            at += rest.len() - trimmed.len();
            match comment(trimmed) {
                Some(len) => at += len,
                None => return at,
            }
        }
    }
}

/// Length of the comment that a text begins with. One that is not closed is none.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("--") {
        return text.find(['\n', '\r']);
    }
    let inner = text.strip_prefix("/*")?;
    inner.find("*/").map(|at| at + 4)
}

/// Kind and length of the token that a text begins with; `None`: none begins so.
fn token(text: &str) -> Option<(Kind, usize)> {
    let bytes = text.as_bytes();
    let Some(&first) = bytes.first() else { return Some((Kind::End, 0)) };
    if first == b'\'' {
        return string(bytes).map(|len| (Kind::Text, len));
    }
    if first.is_ascii_digit() || first == b'.' {
        return number(bytes);
    }
    if is_name(first) {
        let len = count(bytes, |byte| is_name(byte) || byte.is_ascii_digit());
        let word = &text[..len];
        let reserved = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
        return Some((reserved.map_or(Kind::Name, |(_, kind)| *kind), len));
    }
    SIGNS.iter().find(|(sign, _)| text.starts_with(sign)).map(|(sign, kind)| (*kind, sign.len()))
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$'
}

fn count(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| belongs(**byte)).count()
}

/// Length of a quoted string; two quotes within stand for one.
fn string(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += bytes[at..].iter().position(|byte| *byte == b'\'')? + 1;
        if bytes.get(at) != Some(&b'\'') {
            return Some(at);
        }
        at += 1;
    }
}

/// `0`, `12`, `12L`, `1.`, `1.5`, `.5`, `1e3`, `.5E-3`: whichever is longest.
fn number(bytes: &[u8]) -> Option<(Kind, usize)> {
    let digits = |at: usize| at + count(&bytes[at..], |byte| byte.is_ascii_digit());
    let whole = digits(0);
    let mut end = whole;
    if bytes.get(whole) == Some(&b'.') {
        end = digits(whole + 1);
        if end == 1 {
            return None;
        }
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let start = end + 1 + sign;
        if bytes.get(start).is_some_and(u8::is_ascii_digit) {
            end = digits(start);
        }
    }
    if end > whole {
        return Some((Kind::Float, end));
    }
    if bytes[0] == b'0' {
        return Some((Kind::Integer, 1));
    }
    let long = usize::from(matches!(bytes.get(whole), Some(b'l' | b'L')));
    Some((Kind::Integer, whole + long))
}
