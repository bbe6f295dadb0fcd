//! What every module may use and which knows nothing of messages.

pub mod bytes;
pub mod clock;
pub mod error;
pub mod json;
pub mod limits;
pub mod log;
pub mod persist;
pub mod progress;
pub mod slice;
pub mod thread;

pub use error::{Error, Result};
