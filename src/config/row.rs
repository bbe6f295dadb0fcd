//! What a key is, and the macro that makes a struct of values and its rows from one list.

use std::path::PathBuf;

/// One configuration key.
#[derive(Debug)]
pub struct Row {
    /// As it is written in a file.
    pub key: &'static str,
    /// Name of its field in the struct.
    pub field: &'static str,
    /// As it is listed by `-p`, `-m` and codes 26 and 319, where RocketMQ's field has another name.
    pub listed: &'static str,
    /// Words for a default that depends on the machine; otherwise the default is its value.
    pub default: Option<&'static str>,
    /// Of a number: "ms", "bytes", "" when it counts or is no number.
    pub unit: &'static str,
    /// Smallest and largest number taken.
    pub range: Option<(i64, i64)>,
    /// Shown by `-m` (RocketMQ's mark).
    pub important: bool,
    /// Whether codes 25 and 318 may change it.
    pub mutable: bool,
    pub effect: Effect,
    /// One or two plain sentences.
    pub doc: &'static str,
}

/// What setting a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A change over the wire acts at once.
    AtOnce,
    /// Read at start.
    Restart,
    /// Accepted and shown; what it is for is not built yet.
    NotYet,
    /// Accepted and shown for compatibility; nothing here depends on it.
    Never,
}

impl Effect {
    /// A short phrase for etc/ and the manual pages.
    pub fn words(self) -> &'static str {
        match self {
            Effect::AtOnce => "takes effect at once when changed at run time",
            Effect::Restart => "read at start",
            Effect::NotYet => "accepted, no effect yet",
            Effect::Never => "accepted for compatibility, no effect",
        }
    }
}

impl Row {
    pub(super) const fn new(key: &'static str, field: &'static str, doc: &'static str) -> Row {
        Row {
            key,
            field,
            listed: key,
            default: None,
            unit: "",
            range: None,
            important: false,
            mutable: true,
            effect: Effect::Restart,
            doc,
        }
    }

    pub(super) const fn unit(self, unit: &'static str) -> Row {
        Row { unit, ..self }
    }

    pub(super) const fn within(self, from: i64, to: i64) -> Row {
        Row { range: Some((from, to)), ..self }
    }

    pub(super) const fn at_least(self, from: i64) -> Row {
        self.within(from, i64::MAX)
    }

    pub(super) const fn usually(self, words: &'static str) -> Row {
        Row { default: Some(words), ..self }
    }

    pub(super) const fn listed_as(self, listed: &'static str) -> Row {
        Row { listed, ..self }
    }

    pub(super) const fn star(self) -> Row {
        Row { important: true, ..self }
    }

    pub(super) const fn fixed(self) -> Row {
        Row { mutable: false, ..self }
    }

    pub(super) const fn live(self) -> Row {
        Row { effect: Effect::AtOnce, ..self }
    }

    pub(super) const fn later(self) -> Row {
        Row { effect: Effect::NotYet, ..self }
    }

    pub(super) const fn unused(self) -> Row {
        Row { effect: Effect::Never, ..self }
    }
}

/// A struct of values together with its rows; `index` is a position in `rows`.
pub trait Section {
    fn rows(&self) -> &'static [Row];
    /// The text of a value; `None` is RocketMQ's null.
    fn get(&self, index: usize) -> Option<String>;
    /// False: `text` is not what `expected` says, nothing changed.
    fn set(&mut self, index: usize, text: &str) -> bool;
    /// What the text of a value must be.
    fn expected(&self, index: usize) -> String;
}

/// All of a daemon's configuration.
pub trait Config: Clone + Default {
    /// Name in messages and of the sample file: "broker", "namesrv".
    const NAME: &'static str;
    /// In the order in which RocketMQ lists them. A key may be in more than one.
    fn sections(&self) -> Vec<&dyn Section>;
    /// Hands the same sections to `visit`, one after the other.
    fn sections_mut(&mut self, visit: &mut dyn FnMut(&mut dyn Section));
    fn origin(&self) -> &Origin;
    fn origin_mut(&mut self) -> &mut Origin;
    /// The keys that the operator closed to codes 25 and 318, `;` between them.
    fn black_list(&self) -> &str;
    /// Where an update is written when there was no `-c`.
    fn default_store(&self) -> PathBuf;
}

/// Where a configuration came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file of `-c`; updates at run time are written there.
    pub path: Option<PathBuf>,
    /// Keys of the file that no row knows, with their values: shown by codes 26 and 319.
    pub unknown: Vec<(String, String)>,
}

/// Makes a struct of values with `new`, and its rows. After the default come the key and the row's
/// builder methods; the doc comment is both rustdoc and the row's text.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty = $default:expr,
                $key:literal $($word:ident $(($($argument:expr),*))?)*;
            )*
        }
        $(parts { $($(#[$part_meta:meta])* $part:ident: $part_type:ty = $part_default:expr;)* })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)*
            $($($(#[$part_meta])* pub $part: $part_type,)*)?
        }

        impl $name {
            /// The defaults on this machine.
            fn defaults() -> $name {
                $name {
                    $($field: $default,)*
                    $($($part: $part_default,)*)?
                }
            }

            const ROWS: &'static [$crate::config::Row] = &[
                $($crate::config::Row::new($key, stringify!($field), concat!($($doc),+))
                    $(.$word($($($argument),*)?))*),*
            ];
            const GET: &'static [fn(&$name) -> Option<String>] =
                &[$(|s| $crate::config::value::Value::show(&s.$field)),*];
            const SET: &'static [fn(&mut $name, &str, &$crate::config::Row) -> Option<()>] =
                &[$(|s, text, row| {
                    s.$field = $crate::config::value::Value::parse(text, row)?;
                    Some(())
                }),*];
            const EXPECTED: &'static [fn(&$crate::config::Row) -> String] =
                &[$(<$type as $crate::config::value::Value>::expected),*];
        }

        impl $crate::config::Section for $name {
            fn rows(&self) -> &'static [$crate::config::Row] {
                Self::ROWS
            }

            fn get(&self, index: usize) -> Option<String> {
                Self::GET[index](self)
            }

            fn set(&mut self, index: usize, text: &str) -> bool {
                Self::SET[index](self, text, &Self::ROWS[index]).is_some()
            }

            fn expected(&self, index: usize) -> String {
                Self::EXPECTED[index](&Self::ROWS[index])
            }
        }
    };
}
pub(super) use section;
