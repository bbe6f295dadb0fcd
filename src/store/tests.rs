//! The write side as a whole: put, flush, stop, crash, recovery.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;

use super::fixture::listener;
use super::*;
use crate::message::record::{self, Checked, RecordView};
use crate::message::{MessageRef, batch};

const FILE: i32 = 64 * 1024;

fn message<'a>(topic: &'a str, queue_id: i32, body: &'a [u8]) -> MessageRef<'a> {
    let host: SocketAddr = "127.0.0.1:1000".parse().unwrap();
    MessageRef {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_timestamp: 0,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: "a\u{1}b",
    }
}

/// One encoded record without offsets.
pub(super) fn record(topic: &str, queue_id: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    record::encode(&message(topic, queue_id, body), usize::MAX, &mut out).unwrap();
    out
}

fn config(root: &Path) -> BrokerConfig {
    let mut config = BrokerConfig::for_test(root);
    config.store.mapped_file_size_commit_log = FILE;
    config
}

fn open_with(config: BrokerConfig) -> Result<Arc<Store>> {
    let lock = Store::claim(&config.store.root())?;
    Store::open(Arc::new(Live::new(config)), lock, listener(|_| ()))
}

fn open(root: &Path) -> Arc<Store> {
    open_with(config(root)).unwrap()
}

fn started(root: &Path) -> Arc<Store> {
    let store = open(root);
    store.start().unwrap();
    store
}

fn put(store: &Store, body: &[u8]) -> Put {
    let put = store.put(&message("T", 0, body));
    assert_eq!(put.status, PutStatus::PutOk);
    put
}

fn commit_log_dir(root: &Path) -> PathBuf {
    root.join("commitlog")
}

/// Bodies of all records in the log, in order.
fn bodies(store: &Store) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for file in store.log.segments().files() {
        let bytes = file.bytes(0, file.wrote()).unwrap();
        let mut at = 0;
        while let Some(Checked::Record(record)) =
            (at < bytes.len()).then(|| RecordView::parse(&bytes[at..], true))
        {
            found.push(record.body().to_vec());
            at += record.total_size() as usize;
        }
    }
    found
}

/// What a crash at this moment would leave: a copy of the directory. The page cache survives the
/// process, so files are what the maps hold.
fn crashed_copy(root: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                fs::create_dir(&target).unwrap();
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let copy_of = tempfile::tempdir().unwrap();
    copy(root, copy_of.path());
    copy_of
}

fn numbered(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("{i:05}").repeat(100 + i % 7).into_bytes()).collect()
}

#[test]
fn an_abort_that_is_no_file_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = started(dir.path());
    put(&store, b"body");
    store.stop();
    let abort = layout::abort_file(dir.path());
    fs::create_dir(&abort).unwrap();
    let store = started(dir.path());
    assert!(abort.is_file() && dir.path().join("abort.unreadable").is_dir());
    assert_eq!(bodies(&store), [b"body"]);
    store.stop();
    assert!(!abort.exists());
}

#[test]
fn reopens_many_times() {
    let dir = tempfile::tempdir().unwrap();
    let all = numbered(300);
    for (round, some) in all.chunks(30).enumerate() {
        let store = started(dir.path());
        assert!(bodies(&store) == all[..round * 30], "round {round}");
        for body in some {
            put(&store, body);
        }
        assert!(layout::abort_file(dir.path()).exists());
        store.stop();
        store.stop();
        assert!(!layout::abort_file(dir.path()).exists());
        assert_eq!(store.put(&message("T", 0, b"x")).status, PutStatus::ServiceNotAvailable);
        assert_eq!(store.flushed_offset(), store.max_physical_offset());
    }
    let found = open(dir.path());
    assert!(bodies(&found) == all);
    assert_eq!(found.min_physical_offset(), 0);
}

#[test]
fn a_crash_loses_nothing_answered() {
    let dir = tempfile::tempdir().unwrap();
    let store = started(dir.path());
    let all = numbered(250);
    for (i, body) in all.iter().enumerate() {
        put(&store, body);
        if i % 23 == 0 {
            let copy = crashed_copy(dir.path());
            let again = started(copy.path());
            assert!(bodies(&again) == all[..=i], "after {i}");
            put(&again, b"more");
            again.stop();
            assert_eq!(bodies(&open(copy.path())).len(), i + 2);
        }
    }
    store.stop();
}

#[test]
fn a_torn_end_is_cut_at_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let store = started(dir.path());
    let all = numbered(20);
    let ends: Vec<i64> = all
        .iter()
        .map(|body| put(&store, body))
        .map(|put| put.physical_offset + i64::from(put.size))
        .collect();
    let name = commit_log_dir(dir.path()).join(layout::segment_name(0));
    for cut in (0..ends[3]).step_by(37).chain(ends[2] - 8..ends[2] + 9) {
        let copy = crashed_copy(dir.path());
        let name = copy.path().join(name.strip_prefix(dir.path()).unwrap());
        let mut bytes = fs::read(&name).unwrap();
        bytes[cut as usize..].fill(0);
        // What follows the hole is of a later write that did reach the disk.
        bytes[ends[9] as usize..ends[12] as usize].fill(b'z');
        fs::write(&name, &bytes).unwrap();
        let again = started(copy.path());
        // The format has no check on the properties, here the last 3 bytes.
        let whole = ends.iter().take_while(|end| **end - 3 <= cut).count();
        assert!(bodies(&again) == all[..whole], "cut at {cut}");
        assert!(
            fs::read(&name).unwrap()[again.max_physical_offset() as usize..]
                .iter()
                .all(|b| *b == 0)
        );
        put(&again, b"more");
        again.stop();
    }
    store.stop();
}

#[test]
fn garbage_after_a_stop_in_order_ends_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = started(dir.path());
    let end = put(&store, b"one").size as usize;
    put(&store, b"two");
    store.stop();
    drop(store);
    let name = commit_log_dir(dir.path()).join(layout::segment_name(0));
    let mut bytes = fs::read(&name).unwrap();
    bytes[end + 88] ^= 1;
    fs::write(&name, &bytes).unwrap();
    assert_eq!(bodies(&open(dir.path())), [b"one"]);
}

#[test]
fn a_second_store_on_the_same_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let text = open_with(config(dir.path())).err().unwrap().to_string();
    assert!(text.starts_with("Lock failed,MQ already started"), "{text}");
    drop(store);
    open(dir.path());
    assert_eq!(fs::read(layout::lock_file(dir.path())).unwrap(), b"lock");
}

#[test]
fn foreign_layouts_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = started(dir.path());
    let end = put(&store, b"one").size as usize;
    put(&store, b"two");
    store.stop();
    drop(store);
    let name = commit_log_dir(dir.path()).join(layout::segment_name(0));
    let mut bytes = fs::read(&name).unwrap();
    // The second format: a topic's length has 2 bytes.
    let topic_len = end + 88 + "two".len();
    bytes.insert(topic_len, 0);
    bytes.pop();
    bytes[end + 3] += 1;
    bytes[end + 4..end + 8].copy_from_slice(&record::MAGIC_V2.to_be_bytes());
    fs::write(&name, &bytes).unwrap();
    let text = open_with(config(dir.path())).err().unwrap().to_string();
    assert!(
        text.contains("/00000000000000000000: at offset 98 a record of RocketMQ 5's V2 format"),
        "{text}"
    );
    let mut other = config(dir.path());
    other.store.mapped_file_size_commit_log = 2 * FILE;
    let text = open_with(other).err().unwrap().to_string();
    assert!(text.ends_with("/00000000000000000000: 65536 bytes long, expected 131072"), "{text}");
}

#[test]
fn sync_flush_answers_when_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.store.flush_disk_type = FlushDiskType::SyncFlush;
    let store = open_with(config).unwrap();
    store.start().unwrap();
    let (send, receive) = mpsc::sync_channel(100);
    let mut ends = Vec::new();
    for body in numbered(100) {
        let wait = put(&store, &body).wait.unwrap();
        let (send, theirs) = (send.clone(), store.clone());
        ends.push(wait.offset);
        let done = move |status| send.send((wait.offset, theirs.flushed_offset(), status)).unwrap();
        store.when_durable(wait, Box::new(done));
    }
    let mut answered: Vec<i64> = (0..100)
        .map(|_| {
            let (offset, flushed, status) = receive.recv().unwrap();
            assert!(flushed >= offset && status == PutStatus::PutOk);
            offset
        })
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, ends);
    store.stop();
}

#[test]
fn a_batch_is_stored_as_its_messages() {
    let dir = tempfile::tempdir().unwrap();
    let store = started(dir.path());
    put(&store, b"before");
    let mut body = Vec::new();
    for one in ["one", "two", "three"] {
        batch::push(&mut body, 0, one.as_bytes(), "c\u{1}d").unwrap();
    }
    let put = store.put_batch(&message("T", 0, &body));
    assert_eq!((put.status, put.queue_offset), (PutStatus::PutOk, 1));
    assert_eq!(bodies(&store)[1..], [&b"one"[..], b"two", b"three"]);
    let mut next = put.physical_offset;
    for offset in &put.batch_offsets {
        assert_eq!(*offset, next);
        let bytes = store.record_at(next).unwrap();
        let record = RecordView::new(bytes.as_bytes()).unwrap();
        assert_eq!(record.properties(), "c\u{1}d\u{2}a\u{1}b");
        next += i64::from(record.total_size());
    }
    assert_eq!((put.batch_offsets.len(), next), (3, store.max_physical_offset()));
    let broken = store.put_batch(&message("T", 0, &body[1..]));
    assert_eq!(broken.status, PutStatus::MessageIllegal);
    assert!(broken.batch_offsets.is_empty());
    store.stop();
}

#[test]
fn refuses_what_is_too_long_or_not_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = started(dir.path());
    let status = |message: &MessageRef<'_>| store.put(message).status;
    assert_eq!(status(&message(&"t".repeat(128), 0, b"x")), PutStatus::MessageIllegal);
    assert_eq!(status(&message("T", 0, &vec![0; FILE as usize])), PutStatus::MessageIllegal);
    let long = "é".repeat(20_000);
    let too_long = MessageRef { properties: &long, ..message("T", 0, b"x") };
    assert_eq!(status(&too_long), PutStatus::PropertiesSizeExceeded);
    store.flags().set(Refusal::DiskFull, "full");
    assert_eq!(status(&message("T", 0, b"x")), PutStatus::ServiceNotAvailable);
    store.flags().clear(Refusal::DiskFull);
    assert_eq!(status(&message("T", 0, b"x")), PutStatus::PutOk);
    store.stop();
    let mut config = config(dir.path());
    config.store.broker_role = crate::config::BrokerRole::Slave;
    drop(store);
    let slave = open_with(config).unwrap();
    assert_eq!(slave.put(&message("T", 0, b"x")).status, PutStatus::ServiceNotAvailable);
}

#[test]
fn what_holds_the_log_for_too_long_is_told_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = fixture::start(dir.path());
    let put = || store.put(&message("T", 0, b"x")).status;
    let counted = |name: &str| {
        let info = store.stats().runtime_info();
        info.into_iter().find(|(key, _)| *key == name).unwrap().1
    };
    assert_eq!(put(), PutStatus::PutOk);
    let limit = store.config.get().store.os_page_cache_busy_time_out_mills;
    let held = store.log.hold(limit + 500, false);
    assert_eq!(put(), PutStatus::OsPageCacheBusy(Busy::PageCache));
    assert_eq!(store.refused_as_busy(), Some(Busy::PageCache));
    drop(held);
    let held = store.log.hold(limit + 500, true);
    assert_eq!(put(), PutStatus::OsPageCacheBusy(Busy::FileChange));
    drop(held);
    assert_eq!(store.busy(), None);
    store.flags.set(Refusal::DiskFull, "full");
    assert_eq!(put(), PutStatus::ServiceNotAvailable);
    store.flags.clear(Refusal::DiskFull);
    store.flags.set(Refusal::QueueError, "broken");
    assert_eq!(put(), PutStatus::ServiceNotAvailable);
    let names = ["PageCacheBusy", "FileChange", "NoNextFile", "DiskFull", "DiskError"];
    let counts = names.map(|name| counted(&format!("putsRefused{name}")));
    assert_eq!(counts, ["2", "1", "0", "1", "1"]);
    assert_eq!(counted("putMessageFailedTimes"), "0");
    store.flags.clear(Refusal::QueueError);
    let long = vec![b'x'; fixture::LOG_FILE];
    assert_eq!(store.put(&message("T", 0, &long)).status, PutStatus::MessageIllegal);
    assert_eq!(counted("putMessageFailedTimes"), "1");
    store.stop();
}

#[test]
fn the_log_lies_in_several_directories() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let list = |names: &[&str]| {
        let paths: Vec<_> = names.iter().map(|name| path(name).display().to_string()).collect();
        Some(paths.join(","))
    };
    let mut config = config(&path("store"));
    config.store.store_path_commit_log = list(&["b", "a", "old"]);
    let all = numbered(600);
    let count = |name: &str| fs::read_dir(path(name)).map_or(0, Iterator::count);
    let mut old = 0;
    for (round, some) in all.chunks(300).enumerate() {
        let store = open_with(config.clone()).unwrap();
        store.start().unwrap();
        assert!(bodies(&store) == all[..round * 300]);
        some.iter().for_each(|body| drop(put(&store, body)));
        store.stop();
        assert!(!path("store/commitlog").exists());
        let counts = ["a", "b", "old"].map(count);
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        if round > 0 {
            assert_eq!(counts[2], old, "a file was made where there should be none");
        }
        old = counts[2];
        // From now on files are only read there.
        config.store.read_only_commit_log_store_paths = list(&["old"]);
    }
    assert_eq!(config.store.writable_commit_log_dirs(), [path("b"), path("a")]);
    let store = open_with(config.clone()).unwrap();
    assert!(bodies(&store) == all);
    config.store.store_path_commit_log = list(&["old"]);
    drop(store);
    let error = open_with(config).err().unwrap().to_string();
    assert!(error.contains("storePathCommitLog"), "{error}");
}

#[test]
fn queues_at_hand_end_with_their_topic() {
    let dir = tempfile::tempdir().unwrap();
    let store = fixture::open(dir.path());
    let config = store.config.get();
    let at_hand = QueuesAtHand::new(2);
    let put = |queue_id| {
        store.allocate.make_next();
        let message = fixture::message("T", queue_id, b"body");
        let put = store.put_undispatched(&config, &message, Some(&at_hand));
        store.reput.catch_up();
        assert_eq!(put.status, PutStatus::PutOk);
        put.queue_offset
    };
    // Queue 2 is none of those that can be kept.
    for queue_id in [0, 1, 2] {
        assert_eq!([put(queue_id), put(queue_id)], [0, 1]);
    }
    store.delete_topic_queues("T").unwrap();
    for queue_id in [0, 1, 2] {
        assert_eq!([put(queue_id), put(queue_id)], [0, 1]);
        assert_eq!(store.max_offset_in_queue("T", queue_id), 2);
    }
}

#[test]
fn a_file_is_warmed_whole_when_asked_for() {
    for whole in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = fixture::config(dir.path());
        config.store.mapped_file_size_commit_log = 16 << 20;
        config.store.commit_log_warm_ahead_bytes = 1 << 20;
        config.store.warm_maped_file_enable = whole;
        let store = fixture::open_with(config, |_| ());
        store.start().unwrap();
        fixture::put(&store, &message("T", 0, b"x"));
        let file = store.log.segments().first().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !file.is_resident(0..1 << 20) && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        // The thread that warms looks for the stop after each step: wait for it where it goes on.
        while whole && !file.is_resident(0..16 << 20) && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        store.stop();
        assert!(file.is_resident(0..1 << 20));
        assert_eq!(file.is_resident(0..16 << 20), whole);
    }
}
