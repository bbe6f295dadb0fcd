//! The broker: takes messages, keeps them, hands them out.
//!
//! `requests` is the table of what it serves; a file beside it holds the handlers of one family of
//! requests, or one kind of state with its lock. `start` is the order of start and stop.

pub mod admin;
mod ahead;
pub mod bloom;
pub mod client;
pub mod clients;
pub mod consumer;
pub mod filters;
pub mod groups;
pub mod hold;
pub mod locks;
pub mod notify;
pub mod offsets;
pub mod pull;
pub mod query;
pub mod register;
pub mod relay;
pub mod reply;
pub mod requests;
pub mod send;
pub mod send_back;
pub mod slow;
pub mod start;
pub mod stats;
pub mod topics;
pub mod txn;
mod txn_check;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::base::{Error, clock};
use crate::config::{BrokerConfig, Live};
use crate::message::topic;
use crate::net::Conn;
use crate::protocol::body::group::SubscriptionGroupConfig;
use crate::protocol::body::topic::DataVersion;
use crate::protocol::code::response;
use crate::store::Store;
use crate::store::delay::DelayLevels;

/// All parts of a broker. Handlers get this; threads get only the parts they need.
pub struct Broker {
    pub config: Arc<Live<BrokerConfig>>,
    pub store: Arc<Store>,
    pub topics: Arc<topics::Topics>,
    pub groups: Arc<groups::Groups>,
    pub offsets: Arc<offsets::Offsets>,
    pub clients: Arc<clients::Clients<Arc<Conn>>>,
    pub locks: Arc<locks::Locks>,
    pub filters: Arc<filters::Filters>,
    pub hold: Arc<hold::Hold<pull::Held>>,
    pub stats: Arc<stats::Stats>,
    pub slow: slow::Slow,
    pub register: Arc<register::Register>,
    pub levels: Arc<DelayLevels>,
    /// When this broker was started, in milliseconds.
    pub boot_ms: i64,
    /// Counts changes of the configuration.
    config_version: Mutex<DataVersion>,
    /// Known as soon as the ports are open.
    addresses: Arc<OnceLock<register::Addresses>>,
    /// Itself, for threads that are older than it.
    this: Arc<OnceLock<Weak<Broker>>>,
    running: start::Running,
}

impl Broker {
    /// A group's configuration, created when the configuration of the broker allows it.
    pub fn group(&self, name: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        let (group, added) = self.group_or_added(name)?;
        if added {
            self.groups.persist();
        }
        Some(group)
    }

    /// As `group`; true for a new one that the caller has to `persist`.
    fn group_or_added(&self, name: &str) -> Option<(Arc<SubscriptionGroupConfig>, bool)> {
        if let Some(group) = self.groups.get(name) {
            return Some((group, false));
        }
        let config = self.config.get();
        if config.store.enable_lmq && topic::is_lmq(name) {
            return Some((Arc::new(SubscriptionGroupConfig::new(name)), false));
        }
        self.groups.get_or_add(name, config.auto_create_subscription_group)
    }

    /// The version of the configuration.
    fn config_version(&self) -> DataVersion {
        self.config_version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The configuration was changed.
    fn config_changed(&self) {
        let mut version = self.config_version.lock().unwrap_or_else(PoisonError::into_inner);
        version.next(clock::now_ms());
    }

    /// `brokerIP1:port`, as clients reach it.
    fn address(&self) -> String {
        self.addresses.wait().broker.clone()
    }

    /// `brokerIP1` and the port, as stored in every message.
    pub fn store_host(&self) -> SocketAddr {
        self.addresses.wait().store_host
    }
}

/// Code and remark that answer an error.
fn answer_to(error: Error) -> (i32, String) {
    match error {
        Error::Refused { code, remark } => (code, remark),
        error => (response::SYSTEM_ERROR, error.to_string()),
    }
}

/// The refusal with SYSTEM_ERROR.
fn system_error(remark: impl Into<String>) -> Error {
    Error::refused(response::SYSTEM_ERROR, remark)
}
