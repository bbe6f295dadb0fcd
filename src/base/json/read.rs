//! serde from lenient JSON, straight from the text.

use std::borrow::Cow;
use std::fmt::Display;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::lossy;
use super::scan::{JSON_DEPTH_MAX, Scanner, same_name};
use crate::base::limits::JSON_ELEMENTS_MAX;
use crate::base::{Error, Result};

/// A value of a JSON text; `Error::Protocol` says what is wrong at which byte.
///
/// Members of structs are found by name but for case and underscores, the first of several counts.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    from_str(&lossy(bytes))
}

/// The same of text.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T> {
    let mut reader = Reader { scanner: Scanner::new(text), depth: 0, elements: 0 };
    let value = T::deserialize(&mut reader)?;
    reader.scanner.end()?;
    Ok(value)
}

impl serde::de::Error for Error {
    fn custom<M: Display>(message: M) -> Error {
        Error::Protocol(format!("JSON: {message}"))
    }
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    depth: u32,
    /// Elements of arrays so far.
    elements: usize,
}

impl<'a> Reader<'a> {
    fn is_text(&mut self) -> Result<bool> {
        Ok(matches!(self.scanner.peek()?, Some(b'"' | b'\'')))
    }

    /// A text, or the JSON of anything else.
    fn scalar(&mut self) -> Result<Cow<'a, str>> {
        if self.is_text()? { self.scanner.text() } else { Ok(Cow::Borrowed(self.scanner.raw()?)) }
    }

    /// Takes `null` when it is next.
    fn null(&mut self) -> Result<bool> {
        if self.scanner.peek()? != Some(b'n') {
            return Ok(false);
        }
        let mut ahead = self.scanner.clone();
        let null = ahead.word()? == "null";
        if null {
            self.scanner = ahead;
        }
        Ok(null)
    }

    fn open(&mut self, bracket: u8) -> Result<()> {
        self.scanner.expect(bracket)?;
        self.depth += 1;
        if self.depth > JSON_DEPTH_MAX {
            return Err(self.scanner.error("nested too deep"));
        }
        Ok(())
    }

    fn object<'de, V: Visitor<'de>>(
        &mut self,
        visitor: V,
        fields: &'static [&'static str],
    ) -> Result<V::Value> {
        self.open(b'{')?;
        let value = visitor.visit_map(Members { reader: self, fields, seen: 0 })?;
        self.depth -= 1;
        Ok(value)
    }
}

/// An integer of a text that may be a decimal fraction, empty, or a boolean.
fn integer(text: &str) -> Option<i64> {
    match text {
        "" | "null" | "false" => Some(0),
        "true" => Some(1),
        _ => text.parse().ok().or_else(|| {
            let float = text.parse::<f64>().ok()?.trunc();
            (float.abs() < 9.0e15).then_some(float as i64)
        }),
    }
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            let here = self.scanner.clone();
            match integer(&self.scalar()?) {
                Some(value) => visitor.visit_i64(value),
                None => Err(here.error("expected an integer")),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.scanner.peek()? {
            Some(b'"' | b'\'') => visitor.visit_str(&self.scanner.text()?),
            Some(b'{') => self.object(visitor, &[]),
            Some(b'[') => self.deserialize_seq(visitor),
            _ => match self.scanner.word()? {
                "null" => visitor.visit_unit(),
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                word => match (word.parse::<i64>(), word.parse::<f64>()) {
                    (Ok(value), _) => visitor.visit_i64(value),
                    (_, Ok(value)) => visitor.visit_f64(value),
                    _ => Err(self.scanner.error("expected a value")),
                },
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let here = self.scanner.clone();
        let text = self.scalar()?;
        if ["true", "1", "y", "t"].iter().any(|yes| text.eq_ignore_ascii_case(yes)) {
            visitor.visit_bool(true)
        } else if ["false", "0", "n", "f", "", "null"]
            .iter()
            .any(|no| text.eq_ignore_ascii_case(no))
        {
            visitor.visit_bool(false)
        } else {
            Err(here.error("expected true or false"))
        }
    }

    integers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
              deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64);

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let here = self.scanner.clone();
        let text = self.scalar()?;
        let value = if text.is_empty() { Ok(0.0) } else { text.parse() };
        visitor.visit_f64(value.map_err(|_| here.error("expected a number"))?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_str(&self.scalar()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.null()? { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.open(b'[')?;
        let value = visitor.visit_seq(Items { reader: self })?;
        self.depth -= 1;
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.object(visitor, &[])
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.object(visitor, fields)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let text = self.scalar()?;
        let name: StrDeserializer<'_, Error> = text.as_ref().into_deserializer();
        visitor.visit_enum(name)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.scanner.raw()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

/// The items of a list; nulls are skipped.
struct Items<'r, 'a> {
    reader: &'r mut Reader<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        while !self.reader.scanner.closes(b']')? {
            if !self.reader.null()? {
                self.reader.elements += 1;
                if self.reader.elements > JSON_ELEMENTS_MAX {
                    return Err(self.reader.scanner.error("too many elements of arrays"));
                }
                return seed.deserialize(&mut *self.reader).map(Some);
            }
        }
        Ok(None)
    }
}

/// The members of an object; null ones are skipped, for a struct also unknown and repeated ones.
struct Members<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// Names of a struct's fields; empty for a map.
    fields: &'static [&'static str],
    /// The fields read already, a bit each.
    seen: u64,
}

impl Members<'_, '_> {
    /// Index of the field that is wanted next of all, if it is.
    fn field(&mut self, name: &str) -> Option<usize> {
        let exact = self.fields.iter().position(|field| *field == name);
        let index =
            exact.or_else(|| self.fields.iter().position(|field| same_name(name, field)))?;
        let bit = 1_u64.checked_shl(index as u32)?;
        let first = self.seen & bit == 0;
        self.seen |= bit;
        first.then_some(index)
    }
}

impl<'de> MapAccess<'de> for Members<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        while !self.reader.scanner.closes(b'}')? {
            let name = self.reader.scanner.name()?;
            if self.reader.null()? {
                continue;
            }
            if self.fields.is_empty() {
                return seed.deserialize(Key { name, depth: self.reader.depth }).map(Some);
            }
            match self.field(&name) {
                Some(index) => {
                    let known: StrDeserializer<'_, Error> = self.fields[index].into_deserializer();
                    return seed.deserialize(known).map(Some);
                }
                None => {
                    self.reader.scanner.raw()?;
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(&mut *self.reader)
    }
}

/// The key of a map: a text that may hold a number or an object.
struct Key<'a> {
    name: Cow<'a, str>,
    depth: u32,
}

impl<'de> Deserializer<'de> for Key<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_str(&self.name)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.name.parse() {
            Ok(value) => visitor.visit_i64(value),
            Err(_) => Err(Error::Protocol(format!("JSON: key {:.40} is no number", self.name))),
        }
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let mut reader =
            Reader { scanner: Scanner::new(&self.name), depth: self.depth, elements: 0 };
        reader.object(visitor, fields)
    }

    forward_to_deserialize_any! {
        bool i8 i16 u8 u16 u32 u64 i128 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
