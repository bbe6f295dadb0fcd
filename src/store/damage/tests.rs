//! A store whose files are damaged at random places: it starts, serves no wrong body, and loses
//! only what the damaged bytes held. `scripts/fuzz-store` runs any number of cases.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::super::ends::EndsFile;
use super::super::fixture::*;
use super::super::{Store, layout};
use crate::base::clock;
use crate::config::BrokerConfig;
use crate::message::record::{self, RecordView};
use crate::message::{MessageRef, property};

const CASES: u64 = 1000;
const TOPICS: [&str; 3] = ["A", "B", "%RETRY%C"];
const QUEUES: i32 = 2;
const MESSAGES: usize = 360;

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Numbers {
        let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        numbers.below(1);
        numbers
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end.max(1)
    }

    fn range(&mut self, len: usize) -> Range<usize> {
        let from = self.below(len);
        let more = 1 << self.below(12);
        from..(from + 1 + self.below(more)).min(len)
    }
}

fn tiny(root: &Path) -> BrokerConfig {
    let mut config = config(root);
    config.store.mapped_file_size_commit_log = 16 * 1024;
    config.store.mapped_file_size_consume_queue = 20 * 40;
    config.store.max_hash_slot_num = 20;
    config.store.max_index_num = 100;
    config
}

/// The same, with what may stand beside the queues.
fn tiny_or_ext(root: &Path, ext: bool) -> BrokerConfig {
    let mut config = tiny(root);
    config.store.enable_consume_queue_ext = ext;
    config.store.mapped_file_size_consume_queue_ext = 4096;
    config
}

/// Where a message was stored, and what.
struct Stored {
    body: Vec<u8>,
    key: String,
    /// Its record in the log.
    bytes: Range<usize>,
}

type Place = (&'static str, i32, i64);
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A store as a stop in order, and as a crash leaves it.
struct Original {
    messages: BTreeMap<Place, Stored>,
    clean: Files,
    crashed: Files,
    /// The log was known to be on disk up to here when it crashed.
    on_disk: usize,
    ext: bool,
}

fn read_files(root: &Path) -> Files {
    let mut files = Files::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false => {
                    let name = path.strip_prefix(root).unwrap().to_owned();
                    files.insert(name, fs::read(&path).unwrap());
                }
            }
        }
    }
    files
}

fn save(files: &Files, root: &Path) {
    for (name, bytes) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn original(ext: bool) -> Original {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(tiny_or_ext(dir.path(), ext), |_| ());
    store.start().unwrap();
    put(&store, &message("Deleted", 0, b"before"));
    settle(&store);
    store.delete_topic_queues("Deleted").unwrap();
    let mut numbers = Numbers::new(1);
    let mut messages = BTreeMap::new();
    let mut on_disk = 0;
    for n in 0..MESSAGES {
        if n == MESSAGES * 2 / 3 {
            settle(&store);
            store.flush().round(0);
            on_disk = store.flushed_offset() as usize;
            store.flush_queues().round(0).unwrap();
        }
        let topic = TOPICS[numbers.below(TOPICS.len())];
        let queue_id = numbers.below(QUEUES as usize) as i32;
        let body = format!("{n}.").repeat(1 + numbers.below(60)).into_bytes();
        let key = format!("key{n}");
        let mut properties = String::new();
        property::push(&mut properties, property::KEYS, &key);
        let put =
            put(&store, &MessageRef { properties: &properties, ..message(topic, queue_id, &body) });
        let from = put.physical_offset as usize;
        let bytes = from..from + put.size as usize;
        messages.insert((topic, queue_id, put.queue_offset), Stored { body, key, bytes });
    }
    settle(&store);
    let crashed = read_files(dir.path());
    store.stop();
    Original { messages, clean: read_files(dir.path()), crashed, on_disk, ext }
}

/// Changes some bytes; returns which of the file's former ones are not what they were.
fn damage(numbers: &mut Numbers, bytes: &mut Vec<u8>) -> (String, Vec<Range<usize>>) {
    let len = bytes.len();
    let range = numbers.range(len);
    let text = |what: &str| format!("{what} {range:?}");
    match numbers.below(6) {
        0 => {
            bytes.truncate(range.start);
            let cut = range.start..len;
            (format!("truncate at {}", range.start), Vec::from([cut]))
        }
        1 => {
            bytes[range.clone()].fill(0);
            (text("zero"), vec![range])
        }
        2 => {
            bytes[range.start] ^= 1 << numbers.below(8);
            let flipped = range.start..range.start + 1;
            (text("flip at the start of"), Vec::from([flipped]))
        }
        3 => {
            let more = 1 + numbers.below(5000);
            bytes.extend((0..more).map(|_| numbers.below(256) as u8));
            (format!("extend by {more}"), Vec::new())
        }
        4 => {
            let to = numbers.below(len - range.len() + 1);
            let other = to..to + range.len();
            let (one, two) = (bytes[range.clone()].to_vec(), bytes[other.clone()].to_vec());
            bytes[range.clone()].copy_from_slice(&two);
            bytes[other.clone()].copy_from_slice(&one);
            (format!("swap {range:?} with {other:?}"), vec![range, other])
        }
        _ => {
            bytes[range.clone()].iter_mut().for_each(|byte| *byte = numbers.below(256) as u8);
            (text("garbage"), vec![range])
        }
    }
}

/// Damages one file, or exchanges two; returns what was done, and the bytes of the log concerned.
fn damage_one(numbers: &mut Numbers, files: &mut Files) -> (String, Vec<Range<usize>>) {
    const FOLDERS: [&str; 4] = ["commitlog/", "consumequeue/", "consumequeue_ext/", "index/"];
    let named = |kind: &str| {
        let is = |name: &&PathBuf| name.to_string_lossy().starts_with(kind);
        files.keys().filter(is).cloned().collect::<Vec<_>>()
    };
    let mut kinds =
        [&FOLDERS[..], &["checkpoint", "storeEnds.json", "deletedTopics.json"]].concat();
    kinds.retain(|kind| !named(kind).is_empty());
    let kind = kinds[numbers.below(kinds.len())];
    let names = named(kind);
    let name = names[numbers.below(names.len())].clone();
    let start = |name: &Path| {
        let name = name.file_name().unwrap().to_str().unwrap();
        if kind == "commitlog/" { layout::parse_segment(name).unwrap() as usize } else { 0 }
    };
    if FOLDERS.contains(&kind) && numbers.below(8) == 0 {
        let other = names[numbers.below(names.len())].clone();
        let (one, two) = (files[&name].clone(), files[&other].clone());
        let lost = [(&name, one.len()), (&other, two.len())];
        let lost = lost.map(|(name, len)| start(name)..start(name) + len).to_vec();
        files.insert(name.clone(), two);
        files.insert(other.clone(), one);
        let same = name == other || kind != "commitlog/";
        let text = format!("exchange {} with {}", name.display(), other.display());
        return (text, if same { Vec::new() } else { lost });
    }
    let (text, ranges) = damage(numbers, files.get_mut(&name).unwrap());
    let at = start(&name);
    let ranges = match kind {
        "commitlog/" => ranges.into_iter().map(|range| at + range.start..at + range.end).collect(),
        _ => Vec::new(),
    };
    (format!("{}: {text}", name.display()), ranges)
}

/// All messages of a queue by offset.
fn served(store: &Store, topic: &str, queue_id: i32) -> BTreeMap<i64, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut offset = store.min_offset_in_queue(topic, queue_id);
    while offset < store.max_offset_in_queue(topic, queue_id) {
        let result = store.get(topic, queue_id, offset, 32, &all);
        for message in record::decode_all(&bytes(&result)).unwrap() {
            found.insert(message.queue_offset, message.body);
        }
        assert!(result.next_begin_offset > offset, "no way on from {offset}");
        offset = result.next_begin_offset;
    }
    found
}

fn check(store: &Store, original: &Original, damaged: &[Range<usize>], index_is_whole: bool) {
    let is_hit = |stored: &Stored| {
        let bytes = &stored.bytes;
        damaged.iter().any(|range| range.start < bytes.end && bytes.start < range.end)
    };
    for topic in TOPICS {
        for queue_id in 0..QUEUES {
            let served = served(store, topic, queue_id);
            let range = (topic, queue_id, 0)..(topic, queue_id, i64::MAX);
            for ((_, _, offset), stored) in original.messages.range(range) {
                match served.get(offset) {
                    Some(body) => assert!(
                        *body == stored.body,
                        "{topic}@{queue_id} {offset}: wrong body {:?}",
                        String::from_utf8_lossy(body)
                    ),
                    None => assert!(is_hit(stored), "{topic}@{queue_id} {offset}: lost"),
                }
            }
        }
    }
    let is_changed = |stored: &&Stored| {
        let mut known = damaged.iter().filter(|range| range.end != usize::MAX);
        known.any(|r| r.start < stored.bytes.end && stored.bytes.start < r.end)
    };
    let changed: Vec<_> = original.messages.values().filter(is_changed).map(|s| &s.body).collect();
    for ((topic, ..), stored) in &original.messages {
        let found = store.query(topic, &stored.key, 32, 0, i64::MAX);
        let bodies = found
            .slices
            .iter()
            .map(|slice| RecordView::new(slice.as_bytes()).unwrap().body().to_vec());
        let bodies: Vec<_> = bodies.collect();
        // No sum covers the properties: a damaged record may name another's key.
        let may = |body: &Vec<u8>| *body == stored.body || changed.contains(&body);
        assert!(bodies.iter().all(may), "{}: wrong body", stored.key);
        assert!(!bodies.is_empty() || is_hit(stored) || !index_is_whole, "{} lost", stored.key);
    }
}

fn case(original: &Original, seed: u64) {
    let mut numbers = Numbers::new(seed);
    let crashed = numbers.below(2) == 1;
    let mut files = if crashed { original.crashed.clone() } else { original.clean.clone() };
    let (what, mut damaged) = damage_one(&mut numbers, &mut files);
    // After a crash the first bad bytes are the end of what was written, unless they were on disk.
    let torn = damaged.iter().filter(|range| range.end > original.on_disk);
    if crashed && let Some(first) = torn.map(|range| range.start).min() {
        damaged.push(first..usize::MAX);
    }
    let dir = in_memory();
    save(&files, dir.path());
    let work = std::panic::AssertUnwindSafe(|| {
        let store = open_with(tiny_or_ext(dir.path(), original.ext), |_| ());
        check(&store, original, &damaged, !what.contains("index/"));
        if seed % 8 < 2 {
            store.start().unwrap();
            let put = put(&store, &message("A", 0, b"after"));
            settle(&store);
            let served = served(&store, "A", 0);
            assert_eq!(served.get(&put.queue_offset).map(Vec::as_slice), Some(&b"after"[..]));
            store.stop();
        }
    });
    if let Err(panic) = std::panic::catch_unwind(work) {
        eprintln!("seed {seed}: {what}");
        std::panic::resume_unwind(panic);
    }
}

/// A store that crashed with twelve messages: four of one time and four of another on disk.
fn crashed_with_twelve(root: &Path) -> (Files, Vec<usize>) {
    const NOW: i64 = 1_700_000_000_000;
    clock::set_present(NOW);
    let store = open_with(tiny(root), |_| ());
    store.set_abort().unwrap();
    let mut starts = Vec::new();
    for n in 0..12u8 {
        clock::set_present(NOW + i64::from(n / 4) * 10);
        store.allocate.make_next();
        starts.push(put(&store, &message("A", 0, &[n; 50])).physical_offset as usize);
        store.reput.catch_up();
        if n < 8 {
            store.flush().round(0);
            store.flush_queues().round(0).unwrap();
        }
    }
    (read_files(root), starts)
}

#[test]
fn after_a_crash_damage_of_what_was_on_disk_costs_that_alone() {
    const BODY: usize = 88;
    let ends = PathBuf::from("storeEnds.json");
    let dir = tempfile::tempdir().unwrap();
    let (whole, starts) = crashed_with_twelve(dir.path());
    for (damaged, start) in starts.iter().enumerate() {
        // Without that file the checkpoint tells, but not of messages of its very time.
        for (knows_ends, on_disk) in [(true, 8), (false, 3)] {
            let mut files = whole.clone();
            files.get_mut(Path::new("commitlog/00000000000000000000")).unwrap()[start + BODY] ^= 1;
            if !knows_ends {
                files.retain(|name, _| !name.to_string_lossy().starts_with("storeEnds"));
            }
            assert_eq!(files.contains_key(&ends), knows_ends);
            let dir = in_memory();
            save(&files, dir.path());
            let store = open_with(tiny(dir.path()), |_| ());
            let found: Vec<usize> =
                served(&store, "A", 0).values().map(|body| usize::from(body[0])).collect();
            let left = if damaged < on_disk { starts.len() } else { damaged };
            let expected: Vec<usize> = (0..left).filter(|n| *n != damaged).collect();
            assert_eq!(found, expected, "{damaged} damaged, {knows_ends}");
        }
    }
}

/// A crash cuts a record off that was on the disk in part; what comes in its place is lost by the
/// next crash, but for the record behind it. What was on the disk there says nothing of that, nor
/// does the unit that its queue had.
#[test]
fn what_is_lost_where_the_log_was_cut_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(tiny(dir.path()), |_| ());
    store.set_abort().unwrap();
    store.allocate.make_next();
    let starts = [0, 1, 2].map(|n| put(&store, &message("A", 0, &[n; 500])).physical_offset);
    store.reput.catch_up();
    store.flush().round(0);
    store.flush_queues().round(0).unwrap();
    // The files of a crash, of the log these bytes are zeros.
    let crash = |root: &Path, lost: Range<i64>| {
        let mut files = read_files(root);
        let log = files.get_mut(Path::new("commitlog/00000000000000000000")).unwrap();
        log[lost.start as usize..lost.end as usize].fill(0);
        let dir = in_memory();
        save(&files, dir.path());
        dir
    };
    let torn = crash(dir.path(), starts[2] + 200..store.max_physical_offset());
    let store = open_with(tiny(torn.path()), |_| ());
    assert_eq!(store.max_physical_offset(), starts[2]);
    let known = EndsFile::load(&layout::ends_file(torn.path()));
    assert_eq!((known.ends().log, known.ends().queues["A"][&0]), (starts[2], 2));
    store.set_abort().unwrap();
    put(&store, &message("A", 0, b"short"));
    let last = put(&store, &message("A", 0, b"long"));
    assert!(last.physical_offset < starts[2] + 500, "begins where bytes were on the disk");
    let again = crash(torn.path(), starts[2]..last.physical_offset);
    let store = open_with(tiny(again.path()), |_| ());
    assert_eq!(store.max_physical_offset(), starts[2]);
    assert_eq!(served(&store, "A", 0).len(), 2);
}

/// Every bit of a record that no sum covers, up to the body, flipped before a start after a crash:
/// with the queues as the crash left them, and without. Only that record may be lost.
#[test]
fn one_bit_of_a_record_s_head_costs_that_record_alone() {
    const HEAD: Range<usize> = 0..88;
    const QUEUE_OFFSET: Range<usize> = 20..28;
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(tiny(dir.path()), |_| ());
    store.set_abort().unwrap();
    store.allocate.make_next();
    let mut starts = Vec::new();
    for n in 0..12u8 {
        let put = put(&store, &message("A", i32::from(n % 2), &[n; 50]));
        starts.push(put.physical_offset as usize);
    }
    store.reput.catch_up();
    store.flush().round(0);
    store.flush_queues().round(0).unwrap();
    let whole = read_files(dir.path());
    let log = PathBuf::from("commitlog/00000000000000000000");
    let bare: Files = whole
        .iter()
        .filter(|(name, _)| !name.starts_with("consumequeue"))
        .map(|(name, bytes)| (name.clone(), bytes.clone()))
        .collect();
    for (files, bytes) in [(&whole, HEAD), (&bare, QUEUE_OFFSET)] {
        for (damaged, bit) in [0, 1, 5, 10].into_iter().flat_map(|n| {
            bytes.clone().flat_map(move |byte| (0..8).map(move |bit| (n, byte * 8 + bit)))
        }) {
            let mut files = files.clone();
            files.get_mut(&log).unwrap()[starts[damaged] + bit / 8] ^= 1 << (bit % 8);
            let dir = in_memory();
            save(&files, dir.path());
            let store = open_with(tiny(dir.path()), |_| ());
            for queue in 0..2 {
                let served = served(&store, "A", queue);
                for (n, offset) in (queue as usize..12).step_by(2).zip(0..) {
                    let body = served.get(&offset).map(|body| usize::from(body[0]));
                    let lost = n == damaged && body.is_none();
                    assert!(lost || body == Some(n), "{n} is {body:?}: bit {bit} of {damaged}");
                }
            }
        }
    }
}

#[test]
fn what_is_met_damaged_is_counted() {
    const BODY: usize = 88;
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(tiny(dir.path()), |_| ());
    store.start().unwrap();
    let starts = [0, 1, 2, 3].map(|n| put(&store, &message("A", 0, &[n; 50])).physical_offset);
    settle(&store);
    store.stop();
    drop(store);
    let change = |name: &str, at: usize, byte: u8| {
        let path = dir.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= byte;
        fs::write(&path, bytes).unwrap();
    };
    change("consumequeue/A/0/00000000000000000000", 20 + 11, 2);
    change("commitlog/00000000000000000000", starts[2] as usize + BODY, 1);
    let store = open_with(tiny(dir.path()), |_| ());
    let counted = || {
        let (repaired, damaged) = (&store.stats.repaired_units, &store.stats.damaged_messages);
        [repaired, damaged].map(|count| count.load(std::sync::atomic::Ordering::Relaxed))
    };
    assert_eq!(counted(), [0, 0]);
    for times in 1..3 {
        let found: Vec<i64> = served(&store, "A", 0).into_keys().collect();
        assert_eq!((found, counted()), (vec![0, 1, 3], [1, times]));
    }
    let text = format!("{:?}", store.stats.runtime_info());
    for row in ["(\"damagedMessagesMet\", \"2\")", "(\"queueUnitsRepaired\", \"1\")"] {
        assert!(text.contains(row), "{text}");
    }
}

/// A reader may be at the last message of a file while that is deleted.
#[test]
fn a_message_deleted_with_its_file_is_not_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(tiny(dir.path()), |_| ());
    store.start().unwrap();
    let starts: Vec<i64> =
        (0..12).map(|n| put(&store, &message("A", 0, &[n; 3000])).physical_offset).collect();
    settle(&store);
    store.stop();
    drop(store);
    let store = open_with(tiny(dir.path()), |_| ());
    let queue = store.queue("A", 0).unwrap();
    store.log.segments().remove_oldest().unwrap();
    let min = store.log.segments().min_offset().unwrap();
    for (offset, start) in (0..).zip(starts) {
        let unit = queue.unit(offset).unwrap();
        assert_eq!(store.checked(&queue, offset, unit).is_some(), start >= min, "{offset}");
    }
    let (repaired, damaged) = (&store.stats.repaired_units, &store.stats.damaged_messages);
    let counted = [repaired, damaged].map(|n| n.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(counted, [0, 0]);
}

#[test]
fn without_its_check_a_start_takes_a_body_that_no_consumer_gets() {
    const BODY: usize = 88;
    let dir = tempfile::tempdir().unwrap();
    let (files, starts) = crashed_with_twelve(dir.path());
    for (check, end) in [(true, starts[11]), (false, starts[11] + starts[1])] {
        let mut files = files.clone();
        files.get_mut(Path::new("commitlog/00000000000000000000")).unwrap()[starts[11] + BODY] ^= 1;
        let dir = in_memory();
        save(&files, dir.path());
        let mut config = tiny(dir.path());
        config.store.check_crc_on_recover = check;
        let store = open_with(config, |_| ());
        assert_eq!(store.max_physical_offset() as usize, end, "checkCRCOnRecover={check}");
        assert!(served(&store, "A", 0).into_keys().eq(0..11));
    }
}

#[test]
fn damaged_stores_start_and_lie_not() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("FUZZ_SEED").unwrap_or(1);
    let count = number("FUZZ_CASES").unwrap_or(CASES);
    let originals = [false, true].map(original);
    let next = std::sync::atomic::AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    case(&originals[seed as usize % 2], seed);
                }
            });
        }
    });
}
