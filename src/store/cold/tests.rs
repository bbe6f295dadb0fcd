use std::fs;
use std::path::{Path, PathBuf};

use super::super::fixture::*;
use super::super::read::GetResult;
use super::*;
use crate::config::BrokerConfig;

const KB: i64 = 1024;

fn unit(physical_offset: i64, size: i32) -> Unit {
    Unit { physical_offset, size, tags_code: 0 }
}

#[test]
fn neighbours_are_one_piece_and_bytes_are_bounded() {
    let mut pieces = Pieces::default();
    assert!(pieces.add(unit(1000, 5000), 1), "the first one always");
    assert!(pieces.add(Unit::BLANK, 1), "nothing to read");
    assert!(!pieces.add(unit(6000, 100), 5099));
    assert!(pieces.add(unit(6000, 100), 5100));
    // The gap is read as well, and counts.
    assert!(!pieces.add(unit(6200, 100), 5200));
    assert!(pieces.add(unit(6200, 100), 5300));
    let far = 6300 + GAP_BYTES + 1;
    assert!(!pieces.add(unit(far, 50), 5340));
    assert!(pieces.add(unit(far, 50), 5350));
    // A damaged unit that goes back.
    assert!(pieces.add(unit(10, 10), 6000));
    assert_eq!(pieces.ranges, [1000..6300, far..far + 50, 10..20]);
    assert_eq!(pieces.bytes, 5360);
}

#[test]
fn each_reader_has_the_next_messages_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    put(&store, &message("T", 0, b"x"));
    put(&store, &message("T", 1, b"x"));
    let (queue, other) = (store.queues.get("T", 0).unwrap(), store.queues.get("T", 1).unwrap());
    let cold = Cold::default();
    assert_eq!(cold.next(&queue, 0), None, "nobody has read");
    cold.has_read(&queue, 0..100);
    cold.has_read(&queue, 1000..1100);
    assert_eq!((cold.next(&queue, 49), cold.next(&other, 50)), (None, None));
    assert_eq!((cold.next(&queue, 50), cold.next(&queue, 60)), (Some(100), None));
    assert_eq!((cold.next(&queue, 1050), cold.next(&queue, 1051)), (Some(1100), None));
    cold.has_read(&queue, 100..200);
    assert_eq!((cold.next(&queue, 90), cold.next(&queue, 150)), (None, Some(200)));
    assert_eq!(cold.readers().len(), 2);
    for n in 0..2 * COLD_READERS_MAX as i64 {
        cold.has_read(&other, n * 1000..n * 1000 + 100);
    }
    assert_eq!(cold.readers().len(), COLD_READERS_MAX);
    assert_eq!(cold.next(&queue, 1050), None, "forgotten");
    store.stop();
}

/// Files large enough for pages of their own to be cold.
fn config_of_pages(root: &Path) -> BrokerConfig {
    let mut config = config(root);
    config.store.mapped_file_size_commit_log = 1024 * KB as i32;
    config.store.max_transfer_bytes_on_message_in_memory = 10_000;
    config
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![path] };
    entries.flat_map(below).collect()
}

/// Has the kernel forget the pages of a stopped store's log and queues; false where it keeps them,
/// as a file system in memory does.
fn forget(root: &Path) -> bool {
    for path in
        [root.join("commitlog"), root.join("consumequeue")].iter().flat_map(|p| files_below(p))
    {
        let size = fs::metadata(&path).unwrap().len() as usize;
        crate::sys::file::forget(&fs::File::open(&path).unwrap()).unwrap();
        let file = MappedFile::open(&path, 0, size).unwrap();
        if file.is_resident(0..1) {
            return false;
        }
    }
    true
}

/// A store of 800 messages of 10 KiB, eight files of the log, in which nothing is in memory except
/// the last three, which the start reads.
fn cold_store(root: &Path) -> Option<Arc<Store>> {
    let store = open_with(config_of_pages(root), |_| ());
    store.start().unwrap();
    for n in 0..800u32 {
        let body = vec![n as u8; 10 * KB as usize];
        put(&store, &message("T", 0, &body));
    }
    settle(&store);
    store.stop();
    drop(store);
    if !forget(root) {
        return None;
    }
    let store = open_with(config_of_pages(root), |_| ());
    store.start().unwrap();
    Some(store)
}

#[test]
fn a_get_does_not_wait_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = cold_store(dir.path()) else { return };
    let pass = Pass { tags: &all, ext: None, properties: None };
    let now = |offset| -> Option<GetResult> { store.get_now("T", 0, offset, 1, &pass) };
    assert!(now(0).is_none(), "on the disk only");
    store.warm("T", 0, 0, &all).unwrap();
    let read = |offset: i64| {
        let got = now(offset).expect("in memory");
        assert_eq!((offsets(&got), got.next_begin_offset), (vec![offset], offset + 1));
        got.ahead
    };
    // So much was read, and no more.
    let records = COLD_READ_BYTES / (10 * KB + 91);
    let first = (0..records).find_map(&read).unwrap();
    assert!((records - 1..=records + 1).contains(&first), "{first} of {records}");
    assert!(store.cold.next(&store.queues.get("T", 0).unwrap(), records - 1).is_none());
    assert!(now(first + 1).is_none());
    store.warm("T", 0, first, &all).unwrap();
    assert_eq!(read(first), None);
    // Nobody waits for what nobody has.
    assert_eq!(now(800).map(|got| got.status), Some(crate::store::GetStatus::OffsetOverflowOne));
    store.warm("T", 0, 800, &all).unwrap();
    store.warm("T", 9, 0, &all).unwrap();
    store.stop();
}

#[test]
fn what_was_just_written_is_not_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    put(&store, &message("T", 0, b"x"));
    settle(&store);
    let pass = Pass { tags: &all, ext: None, properties: None };
    let got = store.get_now("T", 0, 0, 1, &pass).unwrap();
    assert_eq!((offsets(&got), got.ahead), (vec![0], None));
    store.stop();
}
