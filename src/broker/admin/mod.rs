//! The codes of operators and tools, by what they touch.

pub mod config;
pub mod conn;
pub mod consume;
pub mod group;
pub mod group_offset;
pub mod lock;
pub mod offset;
pub mod runtime;
pub mod store;
pub mod topic;

use super::{Broker, system_error};
use crate::base::Result;
use crate::config::BrokerRole;

/// The topic of a request about a group's offsets, or all that the group has offsets for.
fn offset_topics(broker: &Broker, topic: Option<&str>, group: &str) -> Vec<String> {
    match topic.filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => vec![topic.to_owned()],
        None => broker.offsets.topics_of(group),
    }
}

/// Topics and groups of a slave are its master's.
fn refuse_on_slave(broker: &Broker) -> Result<()> {
    if broker.config.get().store.broker_role != BrokerRole::Slave {
        return Ok(());
    }
    let remark = "Can't modify topic or subscription group from slave broker, \
                  please execute it from master broker.";
    Err(system_error(remark))
}
