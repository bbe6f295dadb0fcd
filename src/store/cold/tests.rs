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
    let next = |queue, offset| cold.known(queue, offset).and_then(|known| known.next);
    assert_eq!(cold.known(&queue, 0), None, "nobody has read");
    cold.has_read(&queue, 0..100, true);
    cold.has_read(&queue, 1000..1100, true);
    assert_eq!((next(&queue, 49), next(&other, 50)), (None, None));
    assert_eq!((next(&queue, 50), next(&queue, 60)), (Some(100), None));
    assert_eq!((next(&queue, 1050), next(&queue, 1051)), (Some(1100), None));
    cold.has_read(&queue, 100..200, true);
    assert_eq!((next(&queue, 90), next(&queue, 150)), (None, Some(200)));
    assert_eq!(cold.readers().len(), 2);
    for n in 0..2 * COLD_READERS_MAX as i64 {
        cold.has_read(&other, n * 1000..n * 1000 + 100, true);
    }
    assert_eq!(cold.readers().len(), COLD_READERS_MAX);
    assert_eq!(cold.known(&queue, 1050), None, "forgotten");
    store.stop();
}

#[test]
fn what_was_read_is_in_memory_for_some_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    put(&store, &message("T", 0, b"x"));
    let queue = store.queues.get("T", 0).unwrap();
    let cold = Cold::default();
    let end = |offset| cold.known(&queue, offset).map(|known| known.end);
    cold.has_read(&queue, 100..200, true);
    assert_eq!([99, 100, 199, 200, 201].map(end), [None, Some(200), Some(200), Some(200), None]);
    cold.has_read(&queue, 150..250, false);
    assert_eq!(end(160), Some(160), "some were left out");
    cold.has_read(&queue, 250..300, true);
    cold.readers().iter_mut().for_each(|reader| {
        let earlier = |since: Instant| since.checked_sub(COLD_READ_KEPT);
        reader.whole = reader.whole.and_then(|(start, since)| Some((start, earlier(since)?)));
    });
    assert_eq!(end(260), Some(260), "too long ago");
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
    let now = |offset| -> Option<GetResult> { store.get_now("T", 0, None, offset, 1, &pass) };
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
    let queue = store.queues.get("T", 0).unwrap();
    assert!(store.cold.known(&queue, records - 1).is_some_and(|known| known.next.is_none()));
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
    let got = store.get_now("T", 0, None, 0, 1, &pass).unwrap();
    assert_eq!((offsets(&got), got.ahead), (vec![0], None));
    store.stop();
}

/// What the kernel notes of each mapping of a file of the log, in its own abbreviations.
fn flags_of(path: &Path) -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut of_file = false;
    let mut found = Vec::new();
    for line in maps.lines() {
        // What stands before the values of a mapping, of whatever kind.
        if !line.split(' ').next().is_some_and(|word| word.ends_with(':')) {
            of_file = line.ends_with(path.to_str().unwrap());
        } else if of_file && let Some(flags) = line.strip_prefix("VmFlags:") {
            found.push(flags.to_owned());
        }
    }
    found
}

#[test]
fn files_that_the_writer_has_left_are_read_by_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    let body = vec![b'x'; LOG_FILE / 3];
    while store.log.segments().len() < 3 {
        put(&store, &message("T", 0, &body));
    }
    let is_by_page = |flags: &String| {
        let has = |flag| flags.split(' ').any(|found| found == flag);
        has("rr") && !has("hg")
    };
    for file in &store.log.segments().files()[..2] {
        let mut flags = flags_of(file.path());
        while !flags.iter().all(is_by_page) {
            std::thread::yield_now();
            flags = flags_of(file.path());
        }
        assert!(!flags.is_empty());
    }
    store.stop();
}

#[test]
fn a_filter_of_properties_looks_only_at_what_is_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = cold_store(dir.path()) else { return };
    let nothing = |_: &str| false;
    let looks_in = Pass { tags: &all, ext: None, properties: Some(&nothing) };
    let by_code = Pass { tags: &all, ext: None, properties: None };
    let is_there = |pass: &Pass| store.get_now("T", 0, None, 0, 1, pass).is_some();
    store.warm("T", 0, 0, &all).unwrap();
    assert!(is_there(&by_code));
    assert!(!is_there(&looks_in), "it goes through all 800 messages");
    for offset in (0..800).step_by(100) {
        store.warm("T", 0, offset, &all).unwrap();
    }
    assert!(is_there(&looks_in));
    store.stop();
}

#[test]
fn a_reader_of_what_is_in_memory_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let config = || config_of_pages(dir.path());
    let store = open_with(config(), |_| ());
    store.start().unwrap();
    (0..800).for_each(|_| drop(put(&store, &message("T", 0, &[b'x'; 4000]))));
    store.stop();
    drop(store);
    let store = open_with(config(), |_| ());
    store.start().unwrap();
    let pass = Pass { tags: &all, ext: None, properties: None };
    let read = |offset| {
        let got = store.get_now("T", 0, None, offset, 2, &pass).expect("in memory");
        assert_eq!((got.next_begin_offset, got.ahead), (offset + 2, None));
        let readers = store.cold.readers();
        let reader = readers.back().unwrap();
        (readers.len(), reader.whole.map_or(0, |_| reader.read.end - offset - 2))
    };
    assert_eq!(read(0), (1, 0), "one get is no reader");
    let messages = COLD_READ_BYTES / 4091;
    let (readers, known) = read(2);
    assert!(readers == 1 && (messages - 4..=messages).contains(&known), "{known} of {messages}");
    // What comes next is known before it is there.
    for offset in (4..600).step_by(2) {
        let (readers, known) = read(offset);
        assert!(readers == 1 && known > messages / 3, "{known} at {offset}");
    }
    store.stop();
}

#[test]
fn reads_beside_sends_are_paced() {
    let mut pace = Pace::default();
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let read = |pace: &mut Pace, ms| pace.has_read(at(ms), COLD_READ_SPEED / 100);
    let sends = COLD_SENDS_BYTES * 2;
    let pause = |pace: &mut Pace, ms, put| pace.pause(at(ms), put).as_secs_f64() * 1000.0;
    assert_eq!(pause(&mut pace, 0, 1_000_000).round(), 0.0);
    read(&mut pace, 0);
    assert_eq!(pause(&mut pace, 1, 1_000_000).round(), 0.0, "no sends known yet");
    assert_eq!(pause(&mut pace, 1000, 1_000_000 + sends).round(), 0.0, "that is paid for");
    read(&mut pace, 1000);
    read(&mut pace, 1000);
    assert_eq!(pause(&mut pace, 1005, 1_000_000 + sends).round(), 15.0);
    (0..20).for_each(|_| read(&mut pace, 1005));
    assert_eq!(pause(&mut pace, 1005, 1_000_000 + sends).round(), 100.0);
    assert_eq!(pause(&mut pace, 2005, 1_000_000 + sends).round(), 0.0, "no more sends");
    // Those who send much do not leave a reader behind.
    let fast = COLD_READ_SPEED;
    pace.pause(at(3005), 1_000_000 + sends + fast);
    read(&mut pace, 3005);
    assert_eq!(pause(&mut pace, 3005, 1_000_000 + sends + fast).round(), 5.0);
}
