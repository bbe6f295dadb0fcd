//! A blocking client: what mqadmin and the tests use, laid out as a library for others.
//!
//! ```no_run
//! use ferrocket::client::{Message, Producer, ProducerSettings, Settings};
//!
//! # fn main() -> ferrocket::base::Result<()> {
//! let common = Settings::namesrv("127.0.0.1:9876");
//! let settings = ProducerSettings { common, ..ProducerSettings::default() };
//! let producer = Producer::start("my_group", settings)?;
//! let sent = producer.send(&Message::new("TopicTest", "hello").tags("TagA"))?;
//! println!("{} {}", sent.status, sent.msg_id);
//! producer.shutdown();
//! # Ok(())
//! # }
//! ```
//!
//! Each client owns its connections (`instance.rs`): a route cache refreshed every 30 s and
//! heartbeats. Errors are `base::Error`: `Refused` with the code of a broker or one of `code`,
//! `Timeout`, `Io`.

mod admin;
mod body;
mod identity;
mod inbound;
mod instance;
mod message;
mod namesrv;
mod producer;
mod pull;
mod push;
mod queue_calls;
mod select;
mod settings;
mod topic_route;

pub use crate::protocol::body::MessageQueue;
pub use crate::protocol::body::heartbeat::MessageModel;
pub use admin::{Admin, KeyQuery};
pub use message::{Message, MessageExt};
pub use producer::{Producer, ProducerSettings, SendResult, SendStatus};
pub use pull::{PullConsumer, PullResult, PullStatus};
pub use push::{ConsumeFrom, ConsumeStatus, ConsumerSettings, PushConsumer};
pub use settings::Settings;
pub use topic_route::TopicRoute;

/// Codes of `Error::Refused` that come from this client, not from a broker: RocketMQ's own numbers.
pub mod code {
    pub use super::instance::{BROKER_NOT_EXIST, NOT_FOUND_TOPIC};
    pub use super::namesrv::NO_NAME_SERVER;
}
