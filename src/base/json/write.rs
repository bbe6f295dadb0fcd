//! serde to JSON in fastjson's three forms.

use std::fmt::Display;

use serde::Serialize;
use serde::ser::{
    Error as _, Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple,
    SerializeTupleStruct, Serializer,
};

use super::{decimal, push_escaped, push_escaped_ascii};
use crate::base::{Error, Result};

/// Largest integer that every JSON reader keeps exact.
const SAFE_INTEGER: i64 = 9_007_199_254_740_991;

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One line; integer keys without quotes, object keys as objects.
    Compact,
    /// One line of standard JSON in ASCII; large integers quoted, `/` escaped.
    Strict,
    /// A member per line, indented by tabs; integer keys without quotes and on one line.
    Pretty,
}

/// Compact JSON, as bodies are written; nulls left out, integer keys not quoted.
///
/// Structs are to declare their fields in alphabetical order. Panics for what JSON cannot be made
/// of: enum variants with content.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write(value, Form::Compact)
}

/// `to_vec` as text.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> String {
    text(to_vec(value))
}

/// The standard form that a route is written in for clients since 4.9.4.
pub fn to_vec_strict<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write(value, Form::Strict)
}

/// The form of RocketMQ's files, without a newline at the end.
pub fn to_pretty<T: Serialize + ?Sized>(value: &T) -> String {
    text(write(value, Form::Pretty))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

fn write<T: Serialize + ?Sized>(value: &T, form: Form) -> Vec<u8> {
    let mut writer = Writer { out: Vec::with_capacity(256), form, depth: 0, in_key: false };
    if let Err(error) = value.serialize(&mut writer) {
        panic!("{error}");
    }
    writer.out
}

impl serde::ser::Error for Error {
    fn custom<M: Display>(message: M) -> Error {
        Error::Protocol(format!("JSON: {message}"))
    }
}

struct Writer {
    out: Vec<u8>,
    form: Form,
    depth: usize,
    /// What is written now is the key of a map.
    in_key: bool,
}

impl Writer {
    fn integer(&mut self, value: i64) {
        let quoted = self.form == Form::Strict
            && (self.in_key || !(-SAFE_INTEGER..=SAFE_INTEGER).contains(&value));
        if quoted {
            self.out.push(b'"');
        }
        self.out.extend_from_slice(decimal(value, &mut [0; 20]).as_bytes());
        if quoted {
            self.out.push(b'"');
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push(b'"');
        match self.form {
            Form::Strict => push_escaped_ascii(&mut self.out, text),
            _ => push_escaped(&mut self.out, text),
        }
        self.out.push(b'"');
    }

    fn new_line(&mut self) {
        self.out.push(b'\n');
        self.out.resize(self.out.len() + self.depth, b'\t');
    }
}

/// The inside of an object.
struct Members<'w> {
    writer: &'w mut Writer,
    empty: bool,
    /// Length of the output before the key that waits for its value, and behind it.
    key: (usize, usize),
}

impl<'w> Members<'w> {
    fn open(writer: &'w mut Writer) -> Members<'w> {
        writer.out.push(b'{');
        writer.depth += 1;
        Members { writer, empty: true, key: (0, 0) }
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        let start = self.writer.out.len();
        if !self.empty {
            self.writer.out.push(b',');
        }
        if self.writer.form == Form::Pretty {
            self.writer.new_line();
        }
        let key_at = self.writer.out.len();
        let outer = std::mem::replace(&mut self.writer.in_key, true);
        key.serialize(&mut *self.writer)?;
        self.writer.in_key = outer;
        let quoted = self.writer.out.get(key_at) == Some(&b'"');
        if self.writer.form == Form::Pretty && !quoted {
            self.writer.out.drain(start + usize::from(!self.empty)..key_at);
        }
        self.writer.out.push(b':');
        self.key = (start, self.writer.out.len());
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let outer = std::mem::replace(&mut self.writer.in_key, false);
        value.serialize(&mut *self.writer)?;
        self.writer.in_key = outer;
        let (before, behind) = self.key;
        if &self.writer.out[behind..] == b"null" {
            self.writer.out.truncate(before);
        } else {
            self.empty = false;
        }
        Ok(())
    }

    fn close(self) {
        self.writer.depth -= 1;
        if self.writer.form == Form::Pretty && !self.empty {
            self.writer.new_line();
        }
        self.writer.out.push(b'}');
    }
}

impl SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.value(value)
    }

    fn end(self) -> Result<()> {
        self.close();
        Ok(())
    }
}

impl SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<()> {
        self.key(key)?;
        self.value(value)
    }

    fn end(self) -> Result<()> {
        self.close();
        Ok(())
    }
}

/// The inside of a list.
struct Items<'w> {
    writer: &'w mut Writer,
    /// Each item on a line of its own.
    lines: bool,
    empty: bool,
}

impl<'w> Items<'w> {
    fn open(writer: &'w mut Writer, is_array: bool) -> Items<'w> {
        writer.out.push(b'[');
        writer.depth += 1;
        let lines = writer.form == Form::Pretty && !is_array;
        Items { writer, lines, empty: true }
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        if !self.empty {
            self.writer.out.push(b',');
        }
        if self.lines {
            self.writer.new_line();
        }
        self.empty = false;
        value.serialize(&mut *self.writer)
    }

    fn close(self) -> Result<()> {
        self.writer.depth -= 1;
        if self.lines && !self.empty {
            self.writer.new_line();
        }
        self.writer.out.push(b']');
        Ok(())
    }
}

impl SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.item(value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

impl SerializeTuple for Items<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.item(value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

impl SerializeTupleStruct for Items<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.item(value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

macro_rules! integers {
    ($($method:ident $type:ty),*) => {$(
        fn $method(self, value: $type) -> Result<()> {
            self.integer(i64::from(value));
            Ok(())
        }
    )*};
}

impl<'w> Serializer for &'w mut Writer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'w>;
    type SerializeTuple = Items<'w>;
    type SerializeTupleStruct = Items<'w>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Members<'w>;
    type SerializeStruct = Members<'w>;
    type SerializeStructVariant = Impossible<(), Error>;

    integers!(serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
              serialize_u8 u8, serialize_u16 u16, serialize_u32 u32);

    fn serialize_u64(self, value: u64) -> Result<()> {
        self.integer(i64::try_from(value).unwrap_or(i64::MAX));
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<()> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        self.out.extend_from_slice(java_double(value).as_bytes());
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.text(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<()> {
        self.text(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<()> {
        self.serialize_str(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<()> {
        Err(no_content(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'w>> {
        Ok(Items::open(self, false))
    }

    /// As Java's arrays of numbers.
    fn serialize_tuple(self, _: usize) -> Result<Items<'w>> {
        Ok(Items::open(self, true))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items<'w>> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        Err(no_content(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'w>> {
        Ok(Members::open(self))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'w>> {
        Ok(Members::open(self))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant> {
        Err(no_content(variant))
    }
}

fn no_content(variant: &str) -> Error {
    Error::custom(format!("the enum variant {variant} has content"))
}

/// Double.toString of Java; NaN and infinities are null.
fn java_double(value: f64) -> String {
    if !value.is_finite() {
        return "null".to_string();
    }
    let plain = (1e-3..1e7).contains(&value.abs()) || value == 0.0;
    if plain {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}
