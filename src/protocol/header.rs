//! `headers!`: the ext fields of a request or reply, declared as a struct.
//!
//! The structs borrow their texts from the `Command` they are read from (or from whoever fills them
//! in to be sent): reading one allocates nothing. The type of a field says what its absence means:
//! `&str`, `i32`, `i64`, `bool` are required, `Option<…>` is optional, `= value` is the value when
//! absent. A name behind `|` is the one-letter name of SEND_MESSAGE_V2; both are read.

use crate::base::{Error, Result};
use crate::protocol::code::response::SYSTEM_ERROR;
use crate::protocol::command::Fields;

/// A type that an ext field can have.
pub trait Value<'a>: Sized {
    /// From the text of the field; `None` when it is absent.
    fn read(name: &str, text: Option<&'a str>) -> Result<Self>;
    /// Adds the field, unless there is nothing to say.
    fn write(&self, name: &str, fields: &mut Fields);
}

fn missing(name: &str) -> Error {
    Error::refused(SYSTEM_ERROR, format!("the custom field <{name}> is null"))
}

impl<'a> Value<'a> for &'a str {
    fn read(name: &str, text: Option<&'a str>) -> Result<Self> {
        text.ok_or_else(|| missing(name))
    }

    fn write(&self, name: &str, fields: &mut Fields) {
        fields.push(name, self);
    }
}

impl<'a> Value<'a> for Option<&'a str> {
    fn read(_: &str, text: Option<&'a str>) -> Result<Self> {
        Ok(text)
    }

    fn write(&self, name: &str, fields: &mut Fields) {
        if let Some(text) = self {
            fields.push(name, text);
        }
    }
}

impl<'a> Value<'a> for bool {
    fn read(name: &str, text: Option<&'a str>) -> Result<Self> {
        // Java: any case of `true` is true, whatever else is false.
        Ok(text.ok_or_else(|| missing(name))?.eq_ignore_ascii_case("true"))
    }

    fn write(&self, name: &str, fields: &mut Fields) {
        fields.push(name, if *self { "true" } else { "false" });
    }
}

impl<'a> Value<'a> for Option<bool> {
    fn read(_: &str, text: Option<&'a str>) -> Result<Self> {
        Ok(text.map(|text| text.eq_ignore_ascii_case("true")))
    }

    fn write(&self, name: &str, fields: &mut Fields) {
        if let Some(value) = self {
            value.write(name, fields);
        }
    }
}

macro_rules! number {
    ($($type:ty)*) => {$(
        impl<'a> Value<'a> for $type {
            fn read(name: &str, text: Option<&'a str>) -> Result<Self> {
                let text = text.ok_or_else(|| missing(name))?;
                text.parse().map_err(|_| {
                    let remark = format!("the custom field <{name}> is no number: {text:.40}");
                    Error::refused(SYSTEM_ERROR, remark)
                })
            }

            fn write(&self, name: &str, fields: &mut Fields) {
                fields.push_number(name, i64::from(*self));
            }
        }

        impl<'a> Value<'a> for Option<$type> {
            // What is no number counts as absent, as in Java.
            fn read(_: &str, text: Option<&'a str>) -> Result<Self> {
                Ok(text.and_then(|text| text.parse().ok()))
            }

            fn write(&self, name: &str, fields: &mut Fields) {
                if let Some(value) = self {
                    value.write(name, fields);
                }
            }
        }
    )*};
}
number!(i32 i64);

/// Declares header structs with `decode(&Command)` and `encode(&mut Command)`.
macro_rules! headers {
    ($(
        $(#[$doc:meta])*
        $header:ident $(<$life:lifetime>)? {
            $($(#[$note:meta])* $field:ident: $type:ty $(= $default:expr)?,
                $name:literal $(| $short:literal)?;)*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $header $(<$life>)? {
            $($(#[$note])* #[doc = concat!("`", $name, "`")] pub $field: $type,)*
        }

        impl $(<$life>)? $header $(<$life>)? {
            /// Reads the ext fields of a command; `Refused` names a required one that is missing
            /// or no number.
            #[allow(unused_mut, unused_variables, non_upper_case_globals)]
            pub fn decode(
                command: &$($life)? $crate::protocol::Command,
            ) -> $crate::base::Result<Self> {
                // Patterns of bytes: told apart by length and byte, not text after text.
                mod long {
                    $(pub const $field: &[u8] = $name.as_bytes();)*
                }
                mod short {
                    $($(pub const $field: &[u8] = $short.as_bytes();)?)*
                }
                $(let mut $field = None;)*
                for (name, value) in command.fields.iter().flat_map(|fields| fields.iter()) {
                    match name.as_bytes() {
                        $(long::$field $(
                            | $crate::protocol::header::headers!(@short $short, short::$field)
                        )? => $field = Some(value),)*
                        _ => {}
                    }
                }
                Ok(Self {
                    $($field: $crate::protocol::header::headers!(
                        @read $type, $name, $field $(, $default)?
                    ),)*
                })
            }

            /// Adds the ext fields to a command, which then has some, even if none.
            #[allow(unused_variables)]
            pub fn encode(&self, command: &mut $crate::protocol::Command) {
                let fields = command.fields_mut();
                $($crate::protocol::header::Value::write(&self.$field, $name, fields);)*
            }
        }
    )*};
    (@short $short:literal, $pattern:pat) => { $pattern };
    (@read $type:ty, $name:literal, $field:ident) => {
        <$type as $crate::protocol::header::Value>::read($name, $field)?
    };
    (@read $type:ty, $name:literal, $field:ident, $default:expr) => {
        match <Option<$type> as $crate::protocol::header::Value>::read($name, $field)? {
            Some(value) => value,
            None => $default,
        }
    };
}
pub(crate) use headers;
