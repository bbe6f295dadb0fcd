//! The JSON bodies, with RocketMQ's member names, declared in the order in which Java writes them.
//!
//! `from_slice` takes all that fastjson takes; a body that cannot be read is refused with
//! SYSTEM_ERROR, the connection lives on. Missing and null members have Java's defaults.

/// Gives types `from_slice` and `to_vec`.
macro_rules! bodies {
    ($($body:ty),* $(,)?) => {$(
        impl $body {
            /// Reads a body; `Refused` when it is none.
            pub fn from_slice(bytes: &[u8]) -> $crate::base::Result<Self> {
                $crate::protocol::body::read(bytes, stringify!($body))
            }

            /// Writes the body.
            pub fn to_vec(&self) -> Vec<u8> {
                $crate::base::json::to_vec(self)
            }
        }
    )*};
}

/// Declares an enum that Java writes by name, and reads by name in any case or by number.
///
/// A name that is not known reads as the first member's, or as `None` through `lenient`.
macro_rules! java_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $member:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$note])* #[doc = concat!("`", $text, "`")] $member,)*
        }

        impl $name {
            /// The members in Java's order, with their names.
            pub const ALL: &[($name, &str)] = &[$(($name::$member, $text),)*];

            /// Java's name.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$member => $text,)*
                }
            }

            /// By name in any case, or by number.
            pub fn from_text(text: &str) -> Option<$name> {
                let by_name = Self::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
                let number = || text.parse().ok().and_then(|index: usize| Self::ALL.get(index));
                by_name.or_else(number).map(|(member, _)| *member)
            }

            /// For serde: a name that is not known is none.
            #[allow(dead_code)]
            pub(crate) fn lenient<'de, D: serde::Deserializer<'de>>(
                from: D,
            ) -> std::result::Result<Option<$name>, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(from)?;
                Ok($name::from_text(&text))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(
                &self,
                to: S,
            ) -> std::result::Result<S::Ok, S::Error> {
                to.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(
                from: D,
            ) -> std::result::Result<Self, D::Error> {
                Ok($name::lenient(from)?.unwrap_or(Self::ALL[0].0))
            }
        }
    };
}

pub mod client;
pub mod cluster;
pub mod group;
pub mod heartbeat;
pub mod lock;
pub mod offset;
pub mod register;
pub mod route;
pub mod stats;
pub mod topic;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::{Error, Result, json};
use crate::protocol::code::response::SYSTEM_ERROR;

fn read<T: DeserializeOwned>(bytes: &[u8], name: &str) -> Result<T> {
    json::from_slice(bytes)
        .map_err(|error| Error::refused(SYSTEM_ERROR, format!("body is no {name}: {error}")))
}

/// A queue of a topic on a broker: a member of many bodies, and the key of some of their maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    pub broker_name: String,
    pub queue_id: i32,
    pub topic: String,
}

impl MessageQueue {
    /// A queue of a topic on a broker.
    pub fn new(topic: &str, broker_name: &str, queue_id: i32) -> MessageQueue {
        MessageQueue { broker_name: broker_name.to_string(), queue_id, topic: topic.to_string() }
    }
}

#[cfg(test)]
mod tests;
