//! What reads bytes that may be anything: one function for each kind. None may panic, and what it
//! makes of good bytes must hold together.
//!
//! `cargo test fuzz` gives each some thousand changed samples; scripts/fuzz any number of inputs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ferrocket::base::json;
use ferrocket::broker::bloom::Bloom;
use ferrocket::broker::filters::Filters;
use ferrocket::broker::groups::Groups;
use ferrocket::broker::offsets::Offsets;
use ferrocket::broker::topics::Topics;
use ferrocket::config::{BrokerConfig, Live};
use ferrocket::message::filter::Subscription;
use ferrocket::message::record::{self, Checked, RecordView};
use ferrocket::message::{MessageRef, NO_HOST, batch, property, topic};
use ferrocket::namesrv::kv::KvConfig;
use ferrocket::protocol::body::group::SubscriptionGroupTable;
use ferrocket::protocol::body::offset::ConsumerOffsetTable;
use ferrocket::protocol::body::topic::TopicConfigTable;
use ferrocket::store::delay::{DelayLevels, Delivery};
use ferrocket::store::{Listener, PutStatus, Store, recover};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// One kind of bytes.
pub struct Entry {
    pub name: &'static str,
    pub read: fn(&[u8]),
    /// Good bytes to begin with.
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// All kinds.
pub const ENTRIES: [Entry; 5] = [
    Entry { name: "record", read: record, samples: record_samples },
    Entry { name: "properties", read: properties, samples: properties_samples },
    Entry { name: "batch", read: batch, samples: batch_samples },
    Entry { name: "index", read: index, samples: index_samples },
    Entry { name: "json", read: json_files, samples: json_samples },
];

const TEXT: &str = "TAGS\u{1}a\u{2}KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}u\u{2}DELAY\u{1}3";

fn message<'a>(body: &'a [u8], properties: &'a str) -> MessageRef<'a> {
    MessageRef {
        topic: "T",
        queue_id: 0,
        flag: 1,
        sys_flag: 0,
        born_timestamp: 2,
        born_host: NO_HOST,
        store_timestamp: 0,
        store_host: NO_HOST,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties,
    }
}

/// A piece of the log.
pub fn record(bytes: &[u8]) {
    for check_crc in [false, true] {
        let Checked::Record(record) = RecordView::parse(bytes, check_crc) else { continue };
        assert_eq!(record.bytes(), &bytes[..record.total_size() as usize]);
        let message = record.to_message();
        let same = RecordView::new(record.bytes()).map(|record| record.to_message());
        assert_eq!(same.as_ref(), Some(&message));
        properties(record.properties().as_bytes());
        written_again(&message.as_ref());
    }
    let _ = record::decode_all(bytes);
    if let Some(at) = recover::next_record(bytes, 0, 0, usize::MAX) {
        let found = RecordView::new(&bytes[at..]).expect("a record");
        assert_eq!(found.physical_offset(), at as i64);
    }
}

/// What can be stored comes back as it was.
fn written_again(message: &MessageRef<'_>) {
    let mut out = Vec::new();
    if record::encode(message, usize::MAX, &mut out).is_err() {
        return;
    }
    let back = record::decode(&out).expect("what was just written");
    assert_eq!((back.body.as_slice(), &*back.topic), (message.body, message.topic));
    assert_eq!(back.properties, message.properties);
    assert_eq!(back.born_host, message.born_host);
}

fn record_samples() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (body, properties) in [(&b"body"[..], TEXT), (b"", ""), (&[7; 300], "A\u{1}b\u{2}")] {
        let at = all.len();
        record::encode(&message(body, properties), 1000, &mut all).unwrap();
        record::patch(&mut all[at..], 5, at as i64, 9);
    }
    let first = RecordView::new(&all).unwrap().bytes().to_vec();
    let v6 = MessageRef { born_host: "[2001:db8::1]:9".parse().unwrap(), ..message(b"6", "") };
    let mut sixth = Vec::new();
    let sys_flag = ferrocket::message::flags::BORN_HOST_V6;
    record::encode(&MessageRef { sys_flag, ..v6 }, 1000, &mut sixth).unwrap();
    vec![all, first, sixth, record::blank(8).to_vec()]
}

/// A property string, and what is made of its parts.
pub fn properties(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let map = property::to_map(&text);
    for (name, value) in &map {
        assert_eq!(property::get(&text, name), Some(value.as_str()));
        let mut without = String::new();
        property::copy_without(&text, name, &mut without);
        assert_eq!(property::get(&without, name), None, "{name:?} of {text:?}");
        let mut others = property::to_map(&text);
        others.remove(name);
        assert_eq!(property::to_map(&without), others, "{name:?} of {text:?}");
    }
    let pairs = map.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    assert_eq!(property::to_map(&property::from_pairs(pairs)), map);
    property::waits(&text);
    topic::tags_code(property::get(&text, property::TAGS));
    let _ = Subscription::parse("T", &text, None);
}

fn properties_samples() -> Vec<Vec<u8>> {
    let odd = "\u{2}A\u{1}\u{2}\u{1}b\u{2}A\u{1}1\u{1}2\u{2}A\u{1}3\u{2}";
    [TEXT, odd, "", "a || b"].map(|text| text.as_bytes().to_vec()).to_vec()
}

/// The body of a batch.
pub fn batch(bytes: &[u8]) {
    let mut again = Vec::new();
    let mut whole = true;
    for inner in batch::Messages::new(bytes) {
        let Ok(inner) = inner else {
            whole = false;
            break;
        };
        let Ok(text) = str::from_utf8(inner.properties) else { return };
        batch::push(&mut again, inner.flag, inner.body, text).expect("what was just read");
    }
    let inner = |body| batch::Messages::new(body).flatten().map(|inner| inner.body.to_vec());
    assert!(inner(&again).eq(inner(bytes)));
    let mut out = Vec::new();
    match record::encode_batch(&message(bytes, "CLUSTER\u{1}c"), usize::MAX, &mut out) {
        Ok(count) => {
            let messages = record::decode_all(&out).expect("what was just written");
            assert_eq!(messages.len(), count);
            assert!(whole && messages.into_iter().map(|message| message.body).eq(inner(bytes)));
        }
        Err(_) => assert!(out.is_empty()),
    }
}

fn batch_samples() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (flag, body, properties) in
        [(0, &b"one"[..], TEXT), (7, b"", ""), (1, &[9; 200], "A\u{1}b")]
    {
        batch::push(&mut all, flag, body, properties).unwrap();
    }
    vec![all]
}

/// Files by their path below a folder.
type Files = BTreeMap<PathBuf, Vec<u8>>;

const SLOTS: i32 = 20;
const ENTRIES_OF_FILE: i32 = 60;
const KEYS: usize = 24;

fn config(root: &Path) -> BrokerConfig {
    let mut config = BrokerConfig::for_test(root);
    config.store.mapped_file_size_commit_log = 16 * 1024;
    config.store.mapped_file_size_consume_queue = 20 * 40;
    config.store.max_hash_slot_num = SLOTS;
    config.store.max_index_num = ENTRIES_OF_FILE;
    config
}

fn open(root: &Path) -> Arc<Store> {
    let listener = Listener {
        waiting: Arc::default(),
        arrived: Box::new(|_| ()),
        done: Box::new(|| ()),
        bit_map: Box::new(|_, _, _| ()),
    };
    let config = config(root);
    let lock = Store::claim(&config.store.root()).expect("a folder of its own");
    Store::open(Arc::new(Live::new(config)), lock, listener).expect("a start")
}

/// In memory, where the system has that.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// The files of a store with a full and a last index file, after a stop in order.
fn stored() -> &'static Files {
    static STORED: OnceLock<Files> = OnceLock::new();
    STORED.get_or_init(|| {
        let dir = folder();
        let store = open(dir.path());
        store.start().unwrap();
        for n in 0..KEYS {
            let properties = format!("KEYS\u{1}key{n} all\u{2}UNIQ_KEY\u{1}unique{n}");
            let put = store.put(&message(format!("body {n}").as_bytes(), &properties));
            assert_eq!(put.status, PutStatus::PutOk);
        }
        store.stop();
        let mut files = Files::new();
        let mut folders = vec![dir.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(dir.path()).unwrap().to_path_buf();
                    files.insert(name, fs::read(path).unwrap());
                }
            }
        }
        files
    })
}

fn write(root: &Path, name: &Path, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn index_files() -> impl Iterator<Item = (&'static PathBuf, &'static Vec<u8>)> {
    stored().iter().filter(|(name, _)| name.to_string_lossy().contains("index/"))
}

/// An index file of a store: its last one when the first byte is even, otherwise the first.
pub fn index(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let mut names = index_files();
    let (first, good) = names.next().expect("an index file");
    let last = names.last().map_or(first, |(name, _)| name);
    let mut bytes = bytes.to_vec();
    // Of another length it is not read at all.
    bytes.resize(good.len(), 0);
    let dir = folder();
    for (name, whole) in stored() {
        let changed = name == if which % 2 == 0 { last } else { first };
        write(dir.path(), name, if changed { &bytes } else { whole });
    }
    let store = open(dir.path());
    for n in 0..KEYS {
        let found = store.query("T", &format!("key{n}"), 32, 0, i64::MAX);
        for slice in found.slices {
            let record = RecordView::new(slice.as_bytes()).expect("a record");
            assert_eq!(record.body(), format!("body {n}").as_bytes());
        }
    }
    store.query("T", "all", 32, 0, i64::MAX);
    store.stop();
}

fn index_samples() -> Vec<Vec<u8>> {
    let marked = |which: u8, bytes: &[u8]| [&[which], bytes].concat();
    let all: Vec<_> = index_files().map(|(_, bytes)| bytes).collect();
    vec![marked(1, all[0]), marked(0, all[all.len() - 1])]
}

/// The same text as each of the JSON files of the daemons.
pub fn json_files(bytes: &[u8]) {
    round_trip::<TopicConfigTable>(bytes);
    round_trip::<SubscriptionGroupTable>(bytes);
    round_trip::<ConsumerOffsetTable>(bytes);
    let dir = folder();
    let config = config(dir.path());
    let file = |name: &str| {
        write(dir.path(), Path::new(name), bytes);
        dir.path().join(name)
    };
    if let Ok(topics) = Topics::load(&file("topics.json"), &config) {
        topics.table();
    }
    if let Ok(groups) = Groups::load(&file("subscriptionGroup.json")) {
        groups.table();
    }
    file("consumerOffset.json");
    file("lmqConsumerOffset.json");
    for light in [false, true] {
        if let Ok(offsets) = Offsets::load(dir.path(), light) {
            offsets.table();
        }
    }
    let bloom = Bloom::new(20, 32);
    if let Ok(filters) = Filters::load(&file("consumerFilter.json"), bloom) {
        filters.bit_map("T", TEXT, &mut Vec::new());
    }
    if let Ok(config) = KvConfig::load(&file("kvConfig.json")) {
        config.namespace("ORDER_TOPIC_CONFIG");
    }
    file("storeEnds.json");
    file("deletedTopics.json");
    let store = open(dir.path());
    let levels = Arc::new(DelayLevels::parse("1s 5s").unwrap());
    if let Ok(delivery) = Delivery::load(store.clone(), levels, &file("delayOffset.json")) {
        delivery.progress();
    }
    store.stop();
}

/// What was understood is written so that it is understood in the same way.
fn round_trip<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = json::from_slice::<T>(bytes) {
        let text = json::to_pretty(&value);
        assert_eq!(json::from_str::<T>(&text).expect("what was just written"), value);
    }
}

fn json_samples() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"dataVersion":{"counter":3,"timestamp":1700000000000},"topicConfigTable":{"T":{
            "order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG",
            "topicName":"T","topicSysFlag":0,"writeQueueNums":4}}}"#,
        r#"{"dataVersion":{"counter":1},"subscriptionGroupTable":{"g":{"brokerId":0,
            "consumeEnable":true,"groupName":"g","retryMaxTimes":16,"retryQueueNums":1}}}"#,
        r#"{"lmqOffsetTable":{"%LMQ%a@%LMQ%g":4},"offsetTable":{"T@g":{0:17,1:9}}}"#,
        r#"{"offsetTable":{1:5,18:9223372036854775807}}"#,
        r#"{"filterDataByTopic":{"T":{"topic":"T","groupFilterData":{"g":{"consumerGroup":"g",
            "topic":"T","expression":"a > 1","expressionType":"SQL92","bornTime":1,"deadTime":0,
            "clientVersion":1,"bloomFilterData":{"bitPos":[1,2,3],"bitNum":112}}}}}}"#,
        r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"}}}"#,
        r#"{"queues":{"T":{"0":12}},"index":{"20260101000000000":7}}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}
