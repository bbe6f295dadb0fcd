//! The message store: RocketMQ's files, written and read in place.

pub mod status;

pub use status::{GetStatus, PutStatus};
