use std::path::Path;

use super::super::{Busy, PutStatus, Store, fixture};
use super::*;
use crate::store::GetStatus;
use crate::sys::faults;

fn config(root: &Path, buffers: i32) -> BrokerConfig {
    let mut config = fixture::config(root);
    config.store.transient_store_pool_enable = true;
    config.store.transient_store_pool_size = buffers;
    config
}

/// Opened with a pool, and the next files of the log made by hand.
fn open(root: &Path, buffers: i32) -> Arc<Store> {
    fixture::open_with(config(root, buffers), |_| ())
}

fn pool(store: &Store) -> &TransientStorePool {
    store.transient_pool().unwrap()
}

/// Puts as many messages of 1 KiB; the status of the last.
fn put(store: &Store, count: usize) -> PutStatus {
    let mut last = PutStatus::PutOk;
    for _ in 0..count {
        store.allocate.make_next();
        last = store.put(&fixture::message("T", 0, &[b'x'; 1024])).status;
    }
    last
}

/// Commits and dispatches; how many messages the queue has.
fn commit(store: &Store) -> i64 {
    store.log.commit(0).unwrap();
    store.reput.catch_up();
    store.max_offset_in_queue("T", 0)
}

/// Reads every message of the queue.
fn check_all(store: &Store, count: i64) {
    let mut offset = 0;
    while offset < count {
        let got = store.get("T", 0, offset, 32, &fixture::all);
        assert_eq!(got.status, GetStatus::Found, "at {offset}");
        let offsets = fixture::offsets(&got);
        assert_eq!(offsets, (offset..offset + got.count as i64).collect::<Vec<_>>());
        offset += got.count as i64;
    }
}

#[test]
fn messages_are_seen_when_they_are_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 3);
    assert_eq!(put(&store, 10), PutStatus::PutOk);
    assert_eq!((store.max_physical_offset(), store.log.store_timestamp()), (0, 0));
    assert!(pool(&store).uncommitted() > 10 * 1024);
    // Less than 4 pages of 4 KiB, then more.
    assert!(!store.log.commit(4).unwrap());
    assert_eq!(put(&store, 10), PutStatus::PutOk);
    assert!(store.log.commit(4).unwrap());
    assert!(store.log.store_timestamp() > 0);
    assert_eq!((commit(&store), pool(&store).uncommitted()), (20, 0));
    check_all(&store, 20);
    // Over several files, of which two are full and one is not when they are committed.
    assert_eq!(put(&store, 130), PutStatus::PutOk);
    assert_eq!(pool(&store).free(), 0);
    assert_eq!((commit(&store), pool(&store).free()), (150, 2));
    check_all(&store, 150);
    drop(store);
    let store = fixture::open(dir.path());
    assert_eq!(store.max_offset_in_queue("T", 0), 150);
    check_all(&store, 150);
}

#[test]
fn what_is_not_committed_is_lost_with_the_process_and_kept_at_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 3);
    store.set_abort().unwrap();
    put(&store, 70);
    assert_eq!(commit(&store), 70);
    put(&store, 70);
    // As if it had been killed.
    drop(store);
    let store = open(dir.path(), 3);
    assert_eq!(commit(&store), 70);
    put(&store, 70);
    assert!(pool(&store).uncommitted() > 0);
    store.stop();
    assert_eq!(pool(&store).uncommitted(), 0);
    assert_eq!(put(&store, 1), PutStatus::ServiceNotAvailable);
    drop(store);
    let store = fixture::open(dir.path());
    assert_eq!(store.max_offset_in_queue("T", 0), 140);
    check_all(&store, 140);
}

#[test]
fn what_the_disk_did_not_take_is_committed_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 3);
    put(&store, 10);
    faults::fail("Write commitlog 5");
    store.log.commit(0).unwrap_err();
    assert_eq!(store.max_physical_offset(), 0);
    put(&store, 10);
    faults::fail("");
    assert_eq!((commit(&store), pool(&store).uncommitted()), (20, 0));
    check_all(&store, 20);
}

#[test]
fn files_without_a_buffer_are_written_to_directly_and_seen_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1);
    put(&store, 50);
    assert_eq!(store.refused_as_busy(), None, "the buffer is in use as it should");
    // The second file has no buffer.
    put(&store, 20);
    assert_eq!(store.max_physical_offset(), 0);
    assert_eq!(store.refused_as_busy(), Some(Busy::StorePool));
    assert_eq!(commit(&store), 70);
    assert_eq!((store.refused_as_busy(), pool(&store).free()), (None, 1));
    put(&store, 10);
    assert_eq!(commit(&store), 80, "no commit is needed");
    check_all(&store, 80);
}

#[test]
fn sends_fail_fast_without_a_buffer_when_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), 1);
    config.store.fast_fail_if_no_buffer_in_store_pool = true;
    let store = fixture::open_with(config, |_| ());
    assert_eq!(put(&store, 70), PutStatus::CreateMapedFileFailed);
    let kept = commit(&store);
    assert!(kept < 60);
    assert_eq!(put(&store, 1), PutStatus::PutOk, "the buffer came back");
    assert_eq!(commit(&store), kept + 1);
    check_all(&store, kept + 1);
}

#[test]
fn many_senders_and_the_thread_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), 2);
    config.store.commit_interval_commit_log = 1;
    config.store.commit_commit_log_thorough_interval = 1;
    let store = fixture::open_with(config, |_| ());
    store.start().unwrap();
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            let send = move || {
                for _ in 0..500 {
                    let put = store.put(&fixture::message("T", 0, &[b'x'; 1024]));
                    assert_eq!(put.status, PutStatus::PutOk);
                }
            };
            thread::spawn("sender", send).unwrap()
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join());
    store.stop();
    drop(store);
    let store = fixture::open(dir.path());
    assert_eq!(store.max_offset_in_queue("T", 0), 2000);
    check_all(&store, 2000);
}

#[test]
fn there_is_none_under_sync_flush() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), 1);
    config.store.flush_disk_type = FlushDiskType::SyncFlush;
    assert!(fixture::open_with(config, |_| ()).transient_pool().is_none());
}
