//! Configuration: rows that describe every key, and the structs that hold the values.
//!
//! A row is the one home of a key: its default, unit, doc and what a change does. The printed lists
//! (`-p`, `-m`), the answers to codes 26 and 319, etc/ and the manual pages all come from the rows.

pub mod broker;
mod live;
mod load;
pub mod namesrv;
pub mod properties;
pub mod remoting;
pub mod row;
mod settle;
pub mod store;
mod update;
mod value;

pub use broker::BrokerConfig;
pub use live::Live;
pub use load::{Loaded, dump, items, load, printed};
pub use namesrv::NamesrvConfig;
pub use remoting::{ClientConfig, ServerConfig};
pub use row::{Config, Effect, Origin, Row, Section};
pub use store::{BrokerRole, FlushDiskType, StoreConfig};
pub use update::{Change, applied, update};

/// A non-empty environment variable.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A path below the user's home folder.
fn in_home(path: &str) -> String {
    format!("{}/{path}", env("HOME").unwrap_or_default())
}
