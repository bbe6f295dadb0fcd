//! Configuration: rows that describe every key, and the structs that hold the values.
//!
//! A row is the one home of a key: its default, unit, doc and what a change does. The printed lists
//! (`-p`, `-m`), the answers to codes 26 and 319, etc/ and the manual pages all come from the rows.

pub mod broker;
mod live;
pub mod namesrv;
pub mod remoting;
pub mod row;
pub mod store;
mod value;

pub use broker::BrokerConfig;
pub use live::Live;
pub use namesrv::NamesrvConfig;
pub use remoting::{ClientConfig, ServerConfig};
pub use row::{Config, Effect, Origin, Row, Section};
pub use store::{BrokerRole, FlushDiskType, StoreConfig};

/// A non-empty environment variable.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A path below the user's home folder.
fn in_home(path: &str) -> String {
    format!("{}/{path}", env("HOME").unwrap_or_default())
}
