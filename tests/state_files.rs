//! The JSON files of a broker: no damage of them stops a start, and what can be made again is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ferrocket::broker::Broker;
use ferrocket::message::record;
use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;
use ferrocket::store::Store;

use crate::child::Numbers;
use crate::common::*;

const FILES: [&str; 5] = [
    "topics.json",
    "subscriptionGroup.json",
    "consumerOffset.json",
    "consumerFilter.json",
    "delayOffset.json",
];

type Ways = [(&'static str, fn(&mut Vec<u8>)); 6];

/// Each leaves nothing that can be read.
const WAYS: Ways = [
    ("torn", |bytes| bytes.truncate(bytes.len() / 2)),
    ("zeroed", |bytes| bytes.fill(0)),
    ("its first bit flipped", |bytes| bytes[0] ^= 1),
    ("no text", |bytes| bytes.fill(0xff)),
    ("too long", |bytes| bytes.extend_from_slice(b"}{")),
    ("another file", |bytes| *bytes = b"[1,2,3]".to_vec()),
];

/// A broker that has something in each file, stopped; and the files.
fn stopped() -> (Cluster, BTreeMap<PathBuf, Vec<u8>>) {
    let mut cluster = Cluster::with(|config| {
        config.auto_create_subscription_group = false;
        config.store.message_delay_level = "1s 1h".to_owned();
        config.enable_property_filter = true;
    });
    let mut group = Command::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    group.body = br#"{"groupName":"g","consumeEnable":true,"retryMaxTimes":3}"#.to_vec();
    assert_eq!(cluster.peer().ask(&group).code, 0);
    cluster.create_topic("T", 12, 6);
    let mut beat = heart_beat("c", "g", "T", "a > 1", 2);
    beat.body = String::from_utf8(beat.body).unwrap().replace("TAG", "SQL92").into_bytes();
    assert_eq!(cluster.peer().ask_among(&beat).code, 0);
    for n in 0..9 {
        put(&cluster, "T", n % 3, "", format!("body {n}").as_bytes());
    }
    put(&cluster, "T", 11, "", b"body 9");
    for level in ["1", "2"] {
        let delayed = send_v2("T", 0, &properties(&[("DELAY", level)]), b"late");
        assert_eq!(cluster.peer().ask(&delayed).code, 0);
    }
    wait_until("delivered", || max_offset(&cluster, "T", 0) == 4);
    commit(&cluster, "T", "g", 1, 2);
    // A second version of each, so that there are copies.
    cluster.restart();
    cluster.create_topic("U", 12, 6);
    let mut group = Command::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    group.body = br#"{"groupName":"h","consumeEnable":true}"#.to_vec();
    assert_eq!(cluster.peer().ask(&group).code, 0);
    commit(&cluster, "T", "g", 2, 1);
    cluster.broker.stop();
    let dir = cluster.dir.path().join("config");
    let mut files = BTreeMap::new();
    for name in FILES {
        let bytes = fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        files.insert(dir.join(format!("{name}.bak")), bytes.clone());
        files.insert(dir.join(name), bytes);
    }
    (cluster, files)
}

/// Starts on these files and no others.
fn start(cluster: &mut Cluster, files: &BTreeMap<PathBuf, Vec<u8>>, context: &str) {
    let dir = cluster.dir.path().join("config");
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    for (path, bytes) in files {
        fs::write(path, bytes).unwrap();
    }
    cluster.broker =
        Broker::start(cluster.config.clone()).unwrap_or_else(|e| panic!("{context}: {e}"));
}

fn offset(cluster: &Cluster, queue_id: i32) -> Option<i64> {
    let id = queue_id.to_string();
    let fields = [("consumerGroup", "g"), ("topic", "T"), ("queueId", &*id)];
    let reply = cluster.peer().ask(&request(codes::QUERY_CONSUMER_OFFSET, &fields));
    reply.field("offset").filter(|_| reply.code == 0).map(|text| text.parse().unwrap())
}

/// All messages are there for the group, and what `lost` does not hold is as it was.
fn check(cluster: &Cluster, lost: &str, context: &str) {
    let mut bodies = Vec::new();
    for queue_id in [0, 1, 2, 11] {
        let pull = Pull { group: "g", ..Pull::new("T", queue_id, 0) };
        let reply = cluster.peer().ask(&pull.command());
        assert_eq!((reply.code, reply.remark.as_deref()), (0, Some("FOUND")), "{context}");
        let found = record::decode_all(&reply.body).unwrap();
        bodies.extend(found.into_iter().map(|m| String::from_utf8(m.body).unwrap()));
    }
    bodies.sort_unstable();
    bodies.dedup();
    let sent = (0..10).map(|n| format!("body {n}")).chain(["late".to_owned()]);
    assert_eq!(bodies, sent.collect::<Vec<_>>(), "{context}");
    if lost != "consumerOffset.json" {
        assert_eq!((offset(cluster, 1), offset(cluster, 2)), (Some(2), Some(1)), "{context}");
    }
    if lost != "delayOffset.json" {
        let waiting = max_offset(cluster, "SCHEDULE_TOPIC_XXXX", 0);
        assert_eq!((waiting, max_offset(cluster, "T", 0)), (1, 4), "{context}");
    }
}

fn aside(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.unreadable", path.display()))
}

#[test]
fn a_stopping_broker_keeps_its_lock_until_all_is_saved() {
    let cluster = Cluster::start();
    cluster.create_topic("T", 4, 6);
    put(&cluster, "T", 1, "", b"body");
    commit(&cluster, "T", "g", 1, 1);
    let root = cluster.config.store.root();
    let end = Instant::now() + Duration::from_secs(20);
    let read_by_the_next = || loop {
        if let Ok(_lock) = Store::claim(&root) {
            return fs::read_to_string(root.join("config/consumerOffset.json")).unwrap();
        }
        assert!(Instant::now() < end, "the lock is not given back");
    };
    std::thread::scope(|scope| {
        let next = scope.spawn(read_by_the_next);
        cluster.broker.stop();
        let text = next.join().unwrap();
        assert!(text.contains("\"T@g\""), "{text}");
    });
}

#[test]
fn no_damage_of_json_files_stops_a_start() {
    let (mut cluster, whole) = stopped();
    let dir = cluster.dir.path().join("config");
    for name in FILES {
        for (what, damage) in WAYS {
            let mut files = whole.clone();
            let copies = [dir.join(name), dir.join(format!("{name}.bak"))];
            copies.iter().for_each(|path| damage(files.get_mut(path).unwrap()));
            let context = format!("{name} is {what}");
            start(&mut cluster, &files, &context);
            check(&cluster, name, &context);
            cluster.broker.stop();
            for path in copies {
                let kept = fs::read(aside(&path)).unwrap_or_else(|e| panic!("{context}: {e}"));
                assert!(kept == files[&path], "{context}: not what it was");
            }
        }
        for (what, bytes) in [("missing", None), ("empty", Some(Vec::new()))] {
            let mut files = whole.clone();
            for path in [dir.join(name), dir.join(format!("{name}.bak"))] {
                files.remove(&path);
                bytes.clone().map(|bytes| files.insert(path, bytes));
            }
            let context = format!("{name} is {what}");
            start(&mut cluster, &files, &context);
            check(&cluster, name, &context);
            cluster.broker.stop();
        }
    }
}

/// Bytes changed at random may be read as something else: it starts, and bodies are true.
#[test]
fn json_files_damaged_at_random_do_no_harm() {
    let (mut cluster, whole) = stopped();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("FUZZ_SEED").unwrap_or(1);
    for seed in first..first + number("FUZZ_CASES").unwrap_or(40) {
        let mut numbers = Numbers::new(seed);
        let mut files = whole.clone();
        let count = 1 + numbers.below(3);
        for _ in 0..count {
            let name = FILES[numbers.below(FILES.len())];
            for (path, bytes) in &mut files {
                let at = numbers.below(bytes.len());
                let until = (at + 1 + numbers.below(20)).min(bytes.len());
                if !path.to_string_lossy().contains(name) {
                    continue;
                }
                match numbers.below(4) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes[at] ^= 1 << numbers.below(8),
                    2 => bytes[at..until].fill(b'9'),
                    _ => bytes.extend_from_within(at..until),
                }
            }
        }
        let context = format!("seed {seed}");
        start(&mut cluster, &files, &context);
        let pull = Pull { group: "h", ..Pull::new("T", 11, 0) };
        let reply = cluster.peer().ask(&pull.command());
        if reply.code == 0 {
            let found = record::decode_all(&reply.body).unwrap();
            assert_eq!(found[0].body, b"body 9", "{context}");
        }
        cluster.broker.stop();
    }
}

#[test]
fn offsets_are_brought_inside_their_queues_at_the_start() {
    let mut cluster = Cluster::start();
    cluster.create_topic("T", 4, 6);
    for queue_id in [0, 0, 0, 1] {
        put(&cluster, "T", queue_id, "", b"body");
    }
    for (queue_id, offset) in [(0, 2), (1, 5), (2, 7), (9, 3)] {
        commit(&cluster, "T", "g", queue_id, offset);
    }
    commit(&cluster, "Elsewhere", "g", 0, 8);
    cluster.restart();
    let now: Vec<_> = [0, 1, 2].map(|queue_id| offset(&cluster, queue_id)).into();
    assert_eq!(now, [Some(2), Some(1), Some(0)]);
    // In the file too, should the broker be killed once its queues have grown.
    let path = cluster.config.store.root().join("config/consumerOffset.json");
    let text: String = fs::read_to_string(path).unwrap().split_whitespace().collect();
    assert!(text.contains("\"T@g\":{0:2,1:1,2:0,9:0}"), "{text}");
    let fields = [("consumerGroup", "g"), ("topic", "Elsewhere"), ("queueId", "0")];
    let reply = cluster.peer().ask(&request(codes::QUERY_CONSUMER_OFFSET, &fields));
    assert_eq!(reply.field("offset"), Some("8"), "a topic that is not here");
    // What comes now is consumed.
    put(&cluster, "T", 1, "", b"new");
    assert_eq!(offset(&cluster, 1), Some(1));
}
