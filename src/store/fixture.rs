//! Stores for the tests of dispatch, reads and cleaning.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{Arrival, GetResult, Listener, Put, PutStatus, Store, layout};
use crate::config::{BrokerConfig, Live};
use crate::message::{MessageRef, NO_HOST, property, record};

/// Bytes of a commit-log file.
pub const LOG_FILE: usize = 64 * 1024;
/// Units of a consume-queue file.
pub const QUEUE_FILE: i64 = 1000;

pub fn config(root: &Path) -> BrokerConfig {
    let mut config = BrokerConfig::for_test(root);
    config.store.mapped_file_size_commit_log = LOG_FILE as i32;
    config.store.mapped_file_size_consume_queue = 20 * QUEUE_FILE as i32;
    config
}

/// A listener that nobody waits with.
pub fn listener(arrived: impl Fn(&Arrival<'_>) + Send + Sync + 'static) -> Listener {
    Listener {
        waiting: Arc::default(),
        arrived: Box::new(arrived),
        done: Box::new(|| ()),
        bit_map: Box::new(|_, _, _| ()),
    }
}

pub fn open_with(
    config: BrokerConfig,
    arrived: impl Fn(&Arrival<'_>) + Send + Sync + 'static,
) -> Arc<Store> {
    let lock = Store::claim(&config.store.root()).unwrap();
    Store::open(Arc::new(Live::new(config)), lock, listener(arrived)).unwrap()
}

/// Opened, not started: nothing but recovery happened.
pub fn open(root: &Path) -> Arc<Store> {
    open_with(config(root), |_| ())
}

pub fn start(root: &Path) -> Arc<Store> {
    let store = open(root);
    store.start().unwrap();
    store
}

pub fn message<'a>(topic: &'a str, queue_id: i32, body: &'a [u8]) -> MessageRef<'a> {
    MessageRef {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: NO_HOST,
        store_timestamp: 0,
        store_host: NO_HOST,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: "",
    }
}

pub fn put(store: &Store, message: &MessageRef<'_>) -> Put {
    let put = store.put(message);
    assert_eq!(put.status, PutStatus::PutOk);
    put
}

/// Property string with tags and keys, each left out when empty.
pub fn properties(tags: &str, keys: &str) -> String {
    let mut text = String::new();
    for (name, value) in [(property::TAGS, tags), (property::KEYS, keys)] {
        if !value.is_empty() {
            property::push(&mut text, name, value);
        }
    }
    text
}

/// Waits for dispatch.
pub fn settle(store: &Store) {
    while store.dispatch_behind_bytes() > 0 {
        std::thread::yield_now();
    }
}

pub fn all(_: i64) -> bool {
    true
}

/// All records of a result.
pub fn bytes(result: &GetResult) -> Vec<u8> {
    result.slices.iter().flat_map(|slice| slice.as_bytes()).copied().collect()
}

/// Queue offsets of the messages of a result.
pub fn offsets(result: &GetResult) -> Vec<i64> {
    let messages = record::decode_all(&bytes(result)).unwrap();
    assert_eq!((messages.len() as i32, bytes(result).len()), (result.count, result.bytes));
    messages.iter().map(|message| message.queue_offset).collect()
}

/// A commit log as another broker may have left it.
pub struct Written {
    bytes: Vec<u8>,
}

impl Written {
    pub fn new() -> Written {
        Written { bytes: Vec::new() }
    }

    /// Adds a record; returns its physical offset.
    pub fn add(&mut self, message: &MessageRef<'_>, queue_offset: i64, stored: i64) -> i64 {
        let at = self.bytes.len();
        record::encode(message, LOG_FILE, &mut self.bytes).unwrap();
        record::patch(&mut self.bytes[at..], queue_offset, at as i64, stored);
        at as i64
    }

    /// Adds bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Fills the present file up.
    pub fn blank(&mut self) {
        let left = LOG_FILE - self.bytes.len() % LOG_FILE;
        let end = self.bytes.len() + left;
        self.bytes.extend_from_slice(&record::blank(left as i32));
        self.bytes.resize(end, 0);
    }

    /// Writes the files below `root`.
    pub fn save(&self, root: &Path) {
        let dir = root.join("commitlog");
        fs::create_dir_all(&dir).unwrap();
        for (number, chunk) in self.bytes.chunks(LOG_FILE).enumerate() {
            let mut file = chunk.to_vec();
            file.resize(LOG_FILE, 0);
            let name = layout::segment_name((number * LOG_FILE) as i64);
            fs::write(dir.join(name), file).unwrap();
        }
    }
}

/// A directory in memory, where the system has that: for tests that build very many disks.
pub fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}
