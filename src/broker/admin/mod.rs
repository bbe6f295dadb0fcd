//! The codes of operators and tools, by what they touch.

pub mod config;
pub mod conn;
pub mod group;
pub mod lock;
pub mod offset;
pub mod runtime;
pub mod topic;

use super::Broker;
use crate::base::{Error, Result};
use crate::config::BrokerRole;
use crate::protocol::code::response;

/// Topics and groups of a slave are its master's.
fn refuse_on_slave(broker: &Broker) -> Result<()> {
    if broker.config.get().store.broker_role != BrokerRole::Slave {
        return Ok(());
    }
    let remark = "Can't modify topic or subscription group from slave broker, \
                  please execute it from master broker.";
    Err(Error::refused(response::SYSTEM_ERROR, remark))
}
