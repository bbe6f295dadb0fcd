//! Text to value and back, with words for what is expected.

use super::Row;

/// A type that a key can have.
pub trait Value: Sized {
    /// What the text of a value must be, for messages and manual pages: "a whole number".
    fn expected(row: &Row) -> String;
    /// `None`: the text is not what `expected` says.
    fn parse(text: &str, row: &Row) -> Option<Self>;
    /// The text that `parse` reads; `None` is RocketMQ's null.
    fn show(&self) -> Option<String>;
}

macro_rules! number {
    ($type:ty) => {
        impl Value for $type {
            fn expected(row: &Row) -> String {
                match row.range {
                    None => "a whole number".to_string(),
                    Some((from, i64::MAX)) => format!("a whole number, at least {from}"),
                    Some((from, to)) => format!("a whole number from {from} to {to}"),
                }
            }

            fn parse(text: &str, row: &Row) -> Option<$type> {
                let number: $type = text.trim().parse().ok()?;
                let (from, to) = row.range.unwrap_or((i64::MIN, i64::MAX));
                (from..=to).contains(&i64::from(number)).then_some(number)
            }

            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    };
}

number!(i32);
number!(i64);

impl Value for bool {
    fn expected(_: &Row) -> String {
        "true or false".to_string()
    }

    fn parse(text: &str, _: &Row) -> Option<bool> {
        text.trim().to_ascii_lowercase().parse().ok()
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for String {
    fn expected(_: &Row) -> String {
        "text".to_string()
    }

    fn parse(text: &str, _: &Row) -> Option<String> {
        Some(text.to_string())
    }

    fn show(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Value for Option<String> {
    fn expected(_: &Row) -> String {
        "text, or nothing".to_string()
    }

    fn parse(text: &str, _: &Row) -> Option<Option<String>> {
        Some(Some(text.to_string()).filter(|text| !text.is_empty()))
    }

    fn show(&self) -> Option<String> {
        self.clone()
    }
}

/// An enum whose variants bear RocketMQ's names.
macro_rules! names {
    (
        $(#[$meta:meta])*
        pub enum $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal),* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type { $($(#[$doc])* $variant),* }

        impl $type {
            /// RocketMQ's name.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name),* }
            }
        }

        impl $crate::config::value::Value for $type {
            fn expected(_: &$crate::config::Row) -> String {
                format!("one of {}", [$($name),*].join(", "))
            }

            fn parse(text: &str, _: &$crate::config::Row) -> Option<$type> {
                match text.trim() { $($name => Some($type::$variant),)* _ => None }
            }

            fn show(&self) -> Option<String> {
                Some(self.name().to_string())
            }
        }
    };
}
pub(super) use names;
