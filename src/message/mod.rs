//! Messages: records of the CommitLog, properties, ids, names, filters.
//! Pure: bytes in, structs out.

pub mod batch;
pub mod filter;
pub mod flags;
pub mod id;
pub mod property;
pub mod record;
pub mod sql;
pub mod sql_eval;
mod sql_token;
pub mod topic;

use std::net::{Ipv4Addr, SocketAddr};

/// A message to be stored: everything borrowed, so that building one allocates nothing.
///
/// For a batch `body` holds the encoded messages (`batch`) and `properties` those of all of it.
#[derive(Clone, Copy, Debug)]
pub struct MessageRef<'a> {
    /// Topic under which it is stored.
    pub topic: &'a str,
    /// Queue within the topic.
    pub queue_id: i32,
    /// The application's own flag.
    pub flag: i32,
    /// `flags`: the two host bits are set from the hosts when encoding.
    pub sys_flag: i32,
    /// Client's clock, ms.
    pub born_timestamp: i64,
    /// Where it came from.
    pub born_host: SocketAddr,
    /// Broker's clock, ms; patched again under the put lock.
    pub store_timestamp: i64,
    /// The broker's own address.
    pub store_host: SocketAddr,
    /// How often it was consumed in vain.
    pub reconsume_times: i32,
    /// CommitLog offset of the half message, of a commit or rollback.
    pub prepared_transaction_offset: i64,
    /// Body as received: what is compressed stays compressed.
    pub body: &'a [u8],
    /// Property string (`property`).
    pub properties: &'a str,
}

/// A message read from a record, with its own memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic under which it is stored.
    pub topic: String,
    /// Queue within the topic.
    pub queue_id: i32,
    /// The application's own flag.
    pub flag: i32,
    /// `flags`.
    pub sys_flag: i32,
    /// Client's clock, ms.
    pub born_timestamp: i64,
    /// Where it came from.
    pub born_host: SocketAddr,
    /// Broker's clock, ms.
    pub store_timestamp: i64,
    /// The broker that stored it.
    pub store_host: SocketAddr,
    /// How often it was consumed in vain.
    pub reconsume_times: i32,
    /// CommitLog offset of the half message, of a commit or rollback.
    pub prepared_transaction_offset: i64,
    /// Position in its queue.
    pub queue_offset: i64,
    /// Position in the CommitLog.
    pub physical_offset: i64,
    /// Size of the whole record in bytes.
    pub store_size: i32,
    /// CRC field of the record.
    pub body_crc: i32,
    /// Body as stored: maybe compressed (`flags::COMPRESSED`).
    pub body: Vec<u8>,
    /// Property string (`property`).
    pub properties: String,
}

impl Message {
    /// The message as one to be stored again.
    pub fn as_ref(&self) -> MessageRef<'_> {
        MessageRef {
            topic: &self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_timestamp: self.store_timestamp,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: &self.body,
            properties: &self.properties,
        }
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        property::get(&self.properties, name)
    }

    /// The offset message id: store host and physical offset.
    pub fn offset_id(&self) -> String {
        id::offset_id(self.store_host, self.physical_offset)
    }
}

/// Address of a host that is not known: 0.0.0.0:0.
pub const NO_HOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
