//! What every module may use and which knows nothing of messages.

pub mod bytes;
pub mod clock;
pub mod console;
pub mod error;
pub mod json;
pub mod limits;
pub mod log;
pub mod persist;
pub mod progress;
pub mod slice;
pub mod spare;
pub mod thread;

pub use error::{Error, Result};

/// A map looked up for every message, by names that clients choose but whose number is bounded: its
/// hash is fast, and keyed by this process.
pub type HotMap<K, V> = std::collections::HashMap<K, V, foldhash::quality::RandomState>;
