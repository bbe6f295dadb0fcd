//! The message store: RocketMQ's files, written and read in place.

pub mod layout;
pub mod mapped;
pub mod segments;
pub mod status;

pub use status::{GetStatus, PutStatus};
