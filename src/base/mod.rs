//! What every module may use and which knows nothing of messages.

pub mod error;
pub mod limits;
pub mod slice;

pub use error::{Error, Result};
