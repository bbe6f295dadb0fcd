//! The message store: RocketMQ's files, written and read in place.

pub mod checkpoint;
pub mod consume_queue;
pub mod delay;
pub mod durable;
pub mod index;
pub mod layout;
pub mod mapped;
pub mod queues;
pub mod running;
pub mod segments;
pub mod status;

pub use status::{GetStatus, PutStatus};
