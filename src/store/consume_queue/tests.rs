use std::fs;
use std::path::Path;

use super::super::queue_files::Maps;
use super::super::queue_scan::LogView;
use super::super::queues::{ExtFiles, QueueTable};
use super::*;
use crate::sys::faults;
use proptest::prelude::*;

/// 10 units a file.
const FILE: usize = 200;
const MAPPED: usize = 1000;

/// With a log from `min` to `end` that has every record.
fn load(dir: &Path, min: i64, end: i64) -> (QueueTable, i64) {
    let stands: &(dyn Fn(&str, i32, i64, Unit) -> bool + Sync) = &|_, _, _, _| true;
    let view = LogView { min, end, unsure_from: i64::MAX, stands };
    QueueTable::load(dir, FILE, MAPPED, None, &view).unwrap()
}

fn open(dir: &tempfile::TempDir) -> (QueueTable, Arc<Queue>) {
    let (table, damaged_from) = load(dir.path(), 0, i64::MAX);
    assert_eq!(damaged_from, i64::MAX);
    let queue = table.get_or_create("T", 0).unwrap();
    (table, queue)
}

/// Record `n` of a log of 100-byte records.
fn unit(n: i64) -> Unit {
    Unit { physical_offset: n * 100, size: 100, tags_code: n }
}

fn fill(queue: &Queue, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        assert!(queue.append(offset, unit(offset), None).unwrap());
    }
}

fn read(queue: &Queue, offset: i64) -> Vec<i64> {
    queue.units(offset).map_or(Vec::new(), |units| units.iter().map(|u| u.tags_code).collect())
}

#[test]
fn units_have_javas_bytes() {
    let unit = Unit { physical_offset: 680, size: 222, tags_code: -791_160_896 };
    let java = [0, 0, 0, 0, 0, 0, 2, 0xa8, 0, 0, 0, 0xde];
    assert_eq!(unit.to_bytes()[..12], java);
    assert_eq!(unit.to_bytes()[12..], [0xff, 0xff, 0xff, 0xff, 0xd0, 0xd7, 0xd7, 0xc0]);
    assert_eq!(Unit::from_bytes(&unit.to_bytes()), unit);
    let delayed = Unit { physical_offset: 422, size: 258, tags_code: 1_795_214_753_107 };
    assert_eq!(delayed.to_bytes()[12..], [0, 0, 1, 0xa1, 0xfb, 0x23, 0x3d, 0x53]);
}

#[test]
fn an_empty_queue_is_in_memory_only() {
    let dir = tempfile::tempdir().unwrap();
    let (table, queue) = open(&dir);
    assert_eq!((queue.min_offset(), queue.max_offset()), (0, 0));
    assert!(queue.units(0).is_none() && queue.unit(-1).is_none());
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
    assert!(table.get("T", 1).is_none() && table.get("U", 0).is_none());
    for name in ["", ".", "..", "a/b", "a\0b"] {
        assert!(table.get_or_create(name, 0).is_err(), "{name:?}");
    }
}

#[test]
fn reads_stop_at_the_file_end_and_go_on_in_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (_table, queue) = open(&dir);
    fill(&queue, 0..25);
    assert_eq!(read(&queue, 0), (0..10).collect::<Vec<_>>());
    assert_eq!(read(&queue, 9), [9]);
    assert_eq!(read(&queue, 10), (10..20).collect::<Vec<_>>());
    assert_eq!(read(&queue, 23), [23, 24]);
    assert_eq!(read(&queue, 25), [0i64; 0]);
    assert_eq!((queue.next_file_offset(0), queue.next_file_offset(19)), (10, 20));
    assert_eq!((queue.max_offset(), queue.max_physical()), (25, 2500));
    assert_eq!(queue.unit(i64::MAX), None);
}

#[test]
fn appending_again_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_table, queue) = open(&dir);
    fill(&queue, 0..5);
    assert!(!queue.append(4, unit(4), None).unwrap());
    assert!(!queue.append(0, unit(0), None).unwrap());
    // Known by its offset, though the record is a later one.
    assert!(!queue.append(3, unit(7), None).unwrap());
    assert!(!queue.append(-1, unit(8), None).unwrap());
    assert!(!queue.append(i64::MAX, unit(8), None).unwrap());
    assert_eq!(queue.max_offset(), 5);
    // Between records 4 and 9 the log has room for four messages that were lost.
    assert!(queue.append(9, unit(9), None).unwrap());
    assert_eq!(read(&queue, 5), [0, 0, 0, 0, 9]);
    assert_eq!((queue.unit(7), queue.max_offset()), (Some(Unit::BLANK), 10));
    // Not for so many: RocketMQ appends such a unit where the queue ends.
    assert!(queue.append(100_000, unit(10), None).unwrap());
    assert_eq!(queue.unit(10), Some(unit(10)));
}

#[test]
fn a_queue_that_begins_in_the_middle_is_filled_below() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (_table, queue) = open(&dir);
        fill(&queue, 23..32);
        assert_eq!((queue.min_offset(), queue.max_offset()), (23, 32));
        assert!(queue.units(22).is_none());
        assert_eq!(read(&queue, 23), (23..30).collect::<Vec<_>>());
        let bytes = fs::read(dir.path().join("T/0/00000000000000000400")).unwrap();
        assert_eq!(bytes[40..60], Unit::BLANK.to_bytes());
        assert_eq!(bytes[60..80], unit(23).to_bytes());
    }
    let (_table, queue) = open(&dir);
    assert_eq!((queue.min_offset(), queue.max_offset()), (23, 32));
    assert_eq!((queue.next_offset.load(Relaxed), queue.max_physical()), (32, 3200));
}

#[test]
fn recovery_finds_the_end() {
    for count in [0, 1, 9, 10, 11, 20, 45] {
        let dir = tempfile::tempdir().unwrap();
        {
            let (table, queue) = open(&dir);
            fill(&queue, 0..count);
            table.flush(0).unwrap();
        }
        let (table, queue) = open(&dir);
        assert_eq!((queue.max_offset(), queue.max_physical()), (count, count * 100));
        assert_eq!(table.max_physical(), count * 100);
        fill(&queue, count..count + 12);
        assert_eq!(queue.unit(count + 11), Some(unit(count + 11)));
    }
}

#[test]
fn recovery_stops_at_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (_table, queue) = open(&dir);
        fill(&queue, 0..25);
    }
    let path = dir.path().join("T/0/00000000000000000200");
    let mut bytes = fs::read(&path).unwrap();
    bytes[60..80].fill(0);
    fs::write(&path, bytes).unwrap();
    let (table, damaged_from) = load(dir.path(), 0, i64::MAX);
    let queue = table.get("T", 0).unwrap();
    assert_eq!((queue.max_offset(), queue.max_physical(), damaged_from), (13, 1300, 1300));
    assert!(!dir.path().join("T/0/00000000000000000400").exists());
    assert!(fs::read(&path).unwrap()[60..].iter().all(|byte| *byte == 0));
    fill(&queue, 13..25);
    assert_eq!(read(&queue, 20), (20..25).collect::<Vec<_>>());
}

/// Of a file the first page is read at once, and what follows in greater pieces.
#[test]
fn recovery_finds_an_end_anywhere_in_a_long_file() {
    const LONG: usize = 600 * UNIT_BYTES;
    for end in [1, 203, 204, 205, 206, 409, 410, 411, 598] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("T/0/00000000000000000000");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for left in [None, Some(end * UNIT_BYTES + UNIT_BYTES - 1), Some(end * UNIT_BYTES + 39)] {
            let mut bytes = vec![0; LONG];
            for n in 0..end {
                bytes[n * 20..][..20].copy_from_slice(&unit(n as i64).to_bytes());
            }
            left.into_iter().for_each(|at| bytes[at] = 1);
            fs::write(&path, bytes).unwrap();
            let stands: &(dyn Fn(&str, i32, i64, Unit) -> bool + Sync) = &|_, _, _, _| true;
            let view = LogView { min: 0, end: i64::MAX, unsure_from: 0, stands };
            let (table, from) = QueueTable::load(dir.path(), LONG, MAPPED, None, &view).unwrap();
            let queue = table.get("T", 0).unwrap();
            // Units that lie in two sectors may be torn.
            let kept = end as i64 - i64::from((end - 1) * UNIT_BYTES % 512 + UNIT_BYTES > 512);
            assert_eq!((queue.max_offset(), queue.max_physical()), (kept, kept * 100), "{end}");
            assert_eq!(from, if left.is_some() { kept * 100 } else { i64::MAX }, "{end} {left:?}");
            let mut bytes = fs::read(&path).unwrap();
            assert!(bytes.split_off(kept as usize * UNIT_BYTES).iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn truncation_drops_units_of_lost_records() {
    for end in [0, 1, 9, 10, 11, 19, 20, 24, 25, 26] {
        let dir = tempfile::tempdir().unwrap();
        {
            let (_table, queue) = open(&dir);
            fill(&queue, 0..25);
        }
        let (table, damaged_from) = load(dir.path(), 0, end * 100);
        let queue = table.get("T", 0).unwrap();
        let kept = end.min(25);
        assert_eq!(queue.max_offset(), kept, "log ends after record {end}");
        assert_eq!((queue.next_offset.load(Relaxed), damaged_from), (kept, i64::MAX));
        fill(&queue, end.max(kept)..30);
    }
}

/// A wrong file takes those behind it along, and nothing else.
#[test]
fn wrong_files_are_cut_off() {
    let damages: [fn(&Path) -> std::io::Result<()>; 7] = [
        |path| fs::write(path, [1; 150]),
        |path| fs::write(path, [1; 250]),
        |path| fs::remove_file(path),
        |path| fs::write(path, [0; 200]),
        |path| fs::write(path, [0xff; 200]),
        |path| fs::write(path, b""),
        |path| fs::remove_file(path).and_then(|()| fs::create_dir_all(path.join("more"))),
    ];
    for (case, damage) in damages.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        {
            let (table, queue) = open(&dir);
            fill(&queue, 0..25);
            fill(&table.get_or_create("U", 3).unwrap(), 0..15);
        }
        damage(&dir.path().join("T/0/00000000000000000200")).unwrap();
        fs::write(dir.path().join("T/0/notes"), b"left alone").unwrap();
        let (table, damaged_from) = load(dir.path(), 0, 2500);
        let (queue, other) = (table.get("T", 0).unwrap(), table.get("U", 3).unwrap());
        assert_eq!((queue.max_offset(), damaged_from), (10, 1000), "case {case}");
        assert_eq!(other.max_offset(), 15);
        fill(&queue, 10..25);
        assert_eq!((read(&queue, 20), read(&other, 10)), ((20..25).collect(), (10..15).collect()));
        assert!(dir.path().join("T/0/notes").exists());
    }
}

/// Of a log that has its first byte all files of a queue are there, or the queue is made again.
#[test]
fn files_missing_at_the_front_are_noticed() {
    for (removed, log_min, is_damage) in [(1, 0, true), (2, 0, true), (1, 100, false)] {
        let dir = tempfile::tempdir().unwrap();
        {
            let (_table, queue) = open(&dir);
            fill(&queue, 0..25);
        }
        for number in 0..removed {
            fs::remove_file(dir.path().join(format!("T/0/{:020}", number * FILE))).unwrap();
        }
        let (table, damaged_from) = load(dir.path(), log_min, 2500);
        let queue = table.get("T", 0).unwrap();
        if is_damage {
            assert_eq!((queue.max_offset(), damaged_from), (0, 0));
            fill(&queue, 0..25);
        }
        assert_eq!(read(&queue, 20), (20..25).collect::<Vec<_>>());
        // A queue that was made of damaged records begins in the middle of a file.
        let late = table.get_or_create("U", 0).unwrap();
        late.append(13, unit(13), None).unwrap();
        drop((table, queue, late));
        let (table, damaged_from) = load(dir.path(), log_min, 2500);
        assert_eq!(damaged_from, i64::MAX);
        assert_eq!(read(&table.get("U", 0).unwrap(), 13), [13]);
    }
}

#[test]
fn the_last_unit_names_a_record_of_its_queue() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (_table, queue) = open(&dir);
        fill(&queue, 0..25);
    }
    for good in (0..25).rev() {
        let stands: &(dyn Fn(&str, i32, i64, Unit) -> bool + Sync) = &|topic, id, offset, unit| {
            (topic, id) == ("T", 0) && unit.tags_code < good && offset < good
        };
        let view = LogView { min: 0, end: i64::MAX, unsure_from: i64::MAX, stands };
        let (table, damaged_from) =
            QueueTable::load(dir.path(), FILE, MAPPED, None, &view).unwrap();
        assert_eq!(damaged_from, good * 100);
        assert_eq!(table.get("T", 0).unwrap().max_offset(), good);
    }
}

/// Queues of one table's files, `limit` of which may be mapped, and units kept of `kept` others.
fn limited(dir: &Path, count: i32, limit: usize, kept: usize) -> (Arc<Maps>, Vec<Queue>) {
    let maps = Maps::new(limit, kept);
    let queue = |id: i32| {
        let files = QueueFiles::new(dir.join(id.to_string()), FILE, maps.clone(), &[], 0);
        Queue::new(Arc::from("T"), id, files, &Found::default(), None)
    };
    let queues = (0..count).map(queue).collect();
    (maps, queues)
}

#[test]
fn a_file_beyond_the_limit_is_mapped_when_it_is_used_again_soon() {
    let dir = tempfile::tempdir().unwrap();
    let (maps, queues) = limited(dir.path(), 40, 8, 0);
    let is_mapped = |queue: &Queue, offset| {
        let units = queue.units(offset).unwrap();
        assert_eq!(units.iter().next(), Some(unit(offset)));
        matches!(units.look, Look::Map(..))
    };
    queues.iter().for_each(|queue| fill(queue, 0..5));
    // In turn: each pushes none out.
    for offset in 0..5 {
        let mapped = queues.iter().filter(|queue| is_mapped(queue, offset)).count();
        assert!((1..=9).contains(&mapped), "{mapped}");
        assert!(maps.mapped() <= 9);
    }
    let far = queues.iter().find(|queue| !is_mapped(queue, 0)).unwrap();
    assert!(is_mapped(far, 1) && is_mapped(far, 2));
    // What was appended without a map is there when it is mapped, and the other way round.
    let far = queues.iter().find(|queue| !is_mapped(queue, 0)).unwrap();
    let held = far.units(0).unwrap();
    for (offset, queue) in (5..30).flat_map(|offset| queues.iter().map(move |one| (offset, one))) {
        fill(queue, offset..offset + 1);
        assert_eq!(queue.unit(offset), Some(unit(offset)), "{offset}");
    }
    assert_eq!(held.iter().count(), 5);
    for queue in &queues {
        let all = (0..3).flat_map(|file| read(queue, file * 10));
        assert_eq!(all.collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
    }
}

#[test]
fn units_of_files_that_are_not_mapped_gather_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    // The first takes the only map.
    let (_maps, queues) = limited(dir.path(), 6, 1, 2);
    let path = |id: usize, start: i64| dir.path().join(format!("{id}/{start:020}"));
    let in_file = |id, start| {
        let bytes = fs::read(path(id, start)).unwrap();
        bytes.chunks(UNIT_BYTES).filter(|unit| Unit::from_bytes(unit).is_valid()).count()
    };
    // Each made with its first unit, which is written by a map.
    queues.iter().for_each(|queue| fill(queue, 0..1));
    for offset in 1..5 {
        queues.iter().for_each(|queue| fill(queue, offset..offset + 1));
    }
    let waits: Vec<_> = (0..6).filter(|id| in_file(*id, 0) == 1).collect();
    assert_eq!(waits.len(), 2, "no more are kept, the others are in their files");
    let waiting = &queues[waits[0]];
    let all = |queue| (0..5).all(|offset| read(queue, offset).iter().copied().eq(offset..5));
    assert!(queues.iter().all(all), "wherever they are");
    assert!(!waiting.flush(0).unwrap() && waiting.flushed_offset() == 1, "not on disk");
    assert_eq!(waiting.end_and_names(), UNIT);
    // What the disk does not take waits on.
    fill(waiting, 5..8);
    faults::fail(&format!("Write {}/ 28", waits[0]));
    assert!(waiting.write_out().is_err());
    assert_eq!(read(waiting, 3), [3, 4, 5, 6, 7]);
    faults::fail("");
    waiting.write_out().unwrap();
    assert!(waiting.flush(0).unwrap() && waiting.flushed_offset() == 8);
    assert_eq!(in_file(waits[0], 0), 8);
    // A repair of one that is in the file, and of one that waits.
    fill(waiting, 8..9);
    let other = |n| Unit { tags_code: 100 + n, ..unit(n) };
    [0, 8].into_iter().for_each(|offset| waiting.repair(offset, other(offset)).unwrap());
    assert_eq!(read(waiting, 0), [100, 1, 2, 3, 4, 5, 6, 7, 108]);
    // Across the end of the file.
    fill(waiting, 9..25);
    assert_eq!((in_file(waits[0], 0), in_file(waits[0], 200)), (10, 10));
    let files = (0..3).flat_map(|file| read(waiting, file * 10));
    assert!(files.eq((0..25).map(|n| if n % 8 == 0 && n < 9 { n + 100 } else { n })));
    queues.iter().for_each(|queue| queue.destroy().unwrap());
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
}

#[test]
fn the_last_units_of_a_file_that_is_unmapped_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (_maps, queues) = limited(dir.path(), 3, 1, 3);
    queues.iter().for_each(|queue| fill(queue, 0..5));
    // It is not opened.
    fs::remove_file(dir.path().join(format!("0/{:020}", 0))).unwrap();
    assert_eq!(read(&queues[0], 0), [0, 1, 2, 3, 4]);
    fill(&queues[0], 5..6);
    assert_eq!(read(&queues[0], 0), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn readers_and_a_writer_of_files_that_come_and_go() {
    [0, 2, 9].into_iter().for_each(readers_and_a_writer);
}

fn readers_and_a_writer(kept: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (maps, queues) = limited(dir.path(), 4, 1, kept);
    queues.iter().for_each(|queue| fill(queue, 0..1));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for offset in 1..2000 {
                queues.iter().for_each(|queue| fill(queue, offset..offset + 1));
                maps.close_idle();
            }
        });
        scope.spawn(|| {
            while queues.iter().any(|queue| !queue.flush(0).unwrap() || queue.max_offset() < 2000) {
                queues.iter().for_each(|queue| queue.write_out().unwrap());
            }
        });
        for first in 0..2 {
            let queues = &queues;
            scope.spawn(move || {
                for number in (first..).step_by(3) {
                    let queue: &Queue = &queues[number % 4];
                    let last = queue.max_offset() - 1;
                    assert_eq!(queue.unit(last), Some(unit(last)));
                    if last == 1999 {
                        break;
                    }
                }
            });
        }
    });
    for queue in &queues {
        let all = (0..200).flat_map(|file| read(queue, file * 10));
        assert!(all.eq(0..2000));
    }
}

#[test]
fn few_files_are_mapped_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (maps, queues) = limited(dir.path(), 40, 8, 9);
    let reader = {
        fill(&queues[0], 0..5);
        queues[0].units(0).unwrap()
    };
    for round in 0..25 {
        for queue in &queues[1..] {
            fill(queue, round..round + 1);
        }
        assert!(maps.mapped() <= 9, "{} files are mapped", maps.mapped());
    }
    for queue in &queues[1..] {
        queue.write_out().unwrap();
        assert!(queue.flush(0).unwrap());
        assert_eq!(read(queue, 10), (10..20).collect::<Vec<_>>());
        assert!(queue.delete_oldest(1000).unwrap());
        queue.correct_min_offset(1250);
        assert_eq!((queue.min_offset(), queue.unit(24)), (13, Some(unit(24))));
    }
    // What somebody holds stays what it is.
    fill(&queues[0], 5..9);
    assert_eq!((reader.iter().count(), read(&queues[0], 0).len()), (5, 9));
    drop(reader);
    maps.close_idle();
    maps.close_idle();
    assert_eq!(maps.mapped(), 0);
    fill(&queues[0], 9..12);
    assert_eq!(read(&queues[0], 8), [8, 9]);
    queues.iter().for_each(|queue| queue.destroy().unwrap());
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
}

#[test]
fn a_flush_waits_for_pages_unless_asked_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let (table, queue) = open(&dir);
    fill(&queue, 0..1);
    table.append(&queue, 1, unit(1), None).unwrap();
    assert!(queue.dirty.load(Relaxed));
    table.flush(2).unwrap();
    assert!(queue.dirty.load(Relaxed));
    table.flush(0).unwrap();
    assert!(!queue.dirty.load(Relaxed));
    assert_eq!(queue.flushed.load(Relaxed), 40);
    assert!(queue.flush(0).unwrap());
}

#[test]
fn names_that_a_flush_of_all_has_synced_are_not_synced_again() {
    let dir = tempfile::tempdir().unwrap();
    let (table, first) = open(&dir);
    let add = |offset| {
        for id in 0..600 {
            let queue = table.get_or_create("T", id).unwrap();
            table.append(&queue, offset, unit(offset), None).unwrap();
        }
    };
    add(0);
    faults::fail("FsyncDir T 5");
    table.flush(0).unwrap();
    table.append(&first, 1, unit(1), None).unwrap();
    table.flush(0).unwrap();
    // A new file, which the disk refuses to sync with all others.
    (2..11).for_each(add);
    faults::fail("FsyncDir T 5\nFsync . 5\nFsync / 5");
    table.flush(0).unwrap_err();
    faults::fail("FsyncDir T 5");
    table.append(&first, 11, unit(11), None).unwrap();
    let dirty = std::mem::take(&mut *table.dirty());
    dirty.iter().for_each(|queue| assert!(queue.flush(0).is_err()));
    faults::fail("");
    dirty.iter().for_each(|queue| assert!(queue.flush(0).unwrap()));
}

#[test]
fn cleaning_follows_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (_table, queue) = open(&dir);
    fill(&queue, 0..25);
    queue.correct_min_offset(350);
    assert_eq!(queue.min_offset(), 4);
    assert!(!queue.delete_oldest(900).unwrap());
    let reader = queue.units(4).unwrap();
    assert!(queue.delete_oldest(1000).unwrap());
    assert!(!queue.delete_oldest(1000).unwrap());
    assert_eq!(queue.min_offset(), 10);
    assert!(queue.units(9).is_none());
    assert_eq!(reader.iter().count(), 6);
    queue.correct_min_offset(1750);
    assert_eq!(queue.min_offset(), 18);
    assert!(queue.delete_oldest(9000).unwrap());
    assert!(!queue.delete_oldest(9000).unwrap(), "the last file stays");
    queue.correct_min_offset(9000);
    assert_eq!((queue.min_offset(), queue.max_offset()), (25, 25));
    fill(&queue, 25..40);
    assert_eq!(read(&queue, 30), (30..40).collect::<Vec<_>>());
}

#[test]
fn a_queue_that_a_crash_emptied_goes_on_in_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (table, queue) = open(&dir);
    fill(&queue, 0..15);
    drop((table, queue));
    let names = || {
        let entries = fs::read_dir(dir.path().join("T/0")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.map(|name| name.parse::<i64>().unwrap()).collect::<Vec<_>>()
    };
    for (first, file) in [(3, 0), (25, 400)] {
        let (table, _) = load(dir.path(), 0, 0);
        let queue = table.get("T", 0).unwrap();
        assert_eq!((queue.max_offset(), names()), (0, vec![0]));
        fill(&queue, first..first + 2);
        assert_eq!((queue.min_offset(), queue.max_offset()), (first, first + 2));
        assert_eq!(read(&queue, first), [first, first + 1]);
        assert_eq!(names(), [file]);
    }
}

#[test]
fn a_file_that_the_disk_keeps_goes_the_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let (_table, queue) = open(&dir);
    fill(&queue, 0..25);
    faults::fail("Unlink 00000000000000000000 5");
    assert!(queue.delete_oldest(1000).is_err());
    faults::fail("");
    assert!(queue.delete_oldest(1000).unwrap());
    assert_eq!(read(&queue, 10), (10..20).collect::<Vec<_>>());
    let names: Vec<_> = fs::read_dir(dir.path().join("T/0")).unwrap().collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_deleted_topic_can_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let (table, old) = open(&dir);
    table.get_or_create("T", 7).unwrap();
    assert_eq!(table.queues_of("T"), [0, 7]);
    fill(&old, 0..15);
    let reader = old.units(3).unwrap();
    table.delete_topic("T").unwrap();
    assert!(table.get("T", 0).is_none() && table.queues_of("T").is_empty());
    assert!(!dir.path().join("T").exists());
    assert_eq!(reader.iter().count(), 7);
    assert!(!old.append(15, unit(15), None).unwrap(), "a late writer changes nothing");
    let new = table.get_or_create("T", 0).unwrap();
    fill(&new, 0..2);
    assert_eq!(table.get("T", 0).unwrap().max_offset(), 2);
}

#[test]
fn a_topic_that_the_disk_keeps_can_come_again_or_be_deleted_again() {
    for again in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (table, old) = open(&dir);
        let second = table.get_or_create("T", 1).unwrap();
        fill(&old, 0..25);
        fill(&second, 0..1);
        faults::fail("Unlink T/0/00000000000000000200 5");
        assert!(table.delete_topic("T").is_err());
        assert!(old.is_deleted() && second.is_deleted());
        faults::fail("");
        assert!(dir.path().join("T/0/00000000000000000200").exists());
        if again {
            table.delete_topic("T").unwrap();
            assert!(!dir.path().join("T").exists());
        }
        let new = table.get_or_create("T", 0).unwrap();
        fill(&new, 0..15);
        assert_eq!(read(&new, 10), (10..15).collect::<Vec<_>>());
        drop(table);
        let (table, damaged_from) = load(dir.path(), 0, i64::MAX);
        assert_eq!((table.get("T", 0).unwrap().max_offset(), damaged_from), (15, i64::MAX));
    }
}

#[test]
fn readers_see_whole_units_while_dispatch_appends() {
    let dir = tempfile::tempdir().unwrap();
    let (_table, queue) = open(&dir);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut next = 0;
                while next < 500 {
                    for code in read(&queue, next) {
                        assert_eq!(code, next);
                        next += 1;
                    }
                }
            });
        }
        fill(&queue, 0..500);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any bytes as queue files: recovery finds an end, and appending goes on from there.
    #[test]
    fn any_bytes_are_a_queue(bytes in prop::collection::vec(0u8..3, 400), cut in 0i64..700) {
        let dir = tempfile::tempdir().unwrap();
        let queue_dir = dir.path().join("T/0");
        fs::create_dir_all(&queue_dir).unwrap();
        fs::write(queue_dir.join("00000000000000000000"), &bytes[..200]).unwrap();
        fs::write(queue_dir.join("00000000000000000200"), &bytes[200..]).unwrap();
        let (table, _) = load(dir.path(), cut, cut);
        let queue = table.get("T", 0).unwrap();
        let end = queue.max_offset();
        prop_assert!(queue.min_offset() <= end && end <= 20);
        let far = Unit { physical_offset: i64::MAX - 200, size: 100, tags_code: 1 };
        let added = queue.append(end, far, None).unwrap();
        prop_assert!(added || queue.max_physical() > i64::MAX - 200);
    }
}

#[test]
fn a_queue_made_while_it_is_deleted_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (table, _) = open(&dir);
    std::thread::scope(|scope| {
        let making = scope.spawn(|| {
            for n in 0..1500 {
                let queue = table.get_or_create("T", n as i32 % 8).unwrap();
                table.append(&queue, 0, unit(n), None).unwrap();
            }
        });
        while !making.is_finished() {
            table.delete_topic("T").unwrap();
        }
    });
}

fn with_ext(dir: &Path, min: i64, end: i64) -> (QueueTable, Arc<Queue>) {
    let ext = ExtFiles { dir: dir.join("ext"), file_bytes: 4 * 34 + 4 };
    let stands: &(dyn Fn(&str, i32, i64, Unit) -> bool + Sync) = &|_, _, _, _| true;
    let view = LogView { min, end, unsure_from: i64::MAX, stands };
    let (table, _) = QueueTable::load(&dir.join("queue"), FILE, MAPPED, Some(ext), &view).unwrap();
    let queue = table.get_or_create("T", 0).unwrap();
    (table, queue)
}

fn append_with_ext(queue: &Queue, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        let ext = ExtUnit { tags_code: offset, store_timestamp: 1, bit_map: &[offset as u8; 14] };
        assert!(queue.append(offset, Unit { tags_code: -7, ..unit(offset) }, Some(&ext)).unwrap());
    }
}

/// Tags codes of all units, and the bit map's first byte of those that have one.
fn read_ext(queue: &Queue) -> Vec<(Option<i64>, Option<u8>)> {
    let units = (queue.min_offset()..queue.max_offset()).map(|at| queue.unit(at).unwrap());
    let bits = |unit: &Unit| queue.ext(unit.tags_code, |ext| ext.bit_map[0]);
    units.map(|unit| (queue.tags_code(&unit), bits(&unit))).collect()
}

fn both(offsets: std::ops::Range<i64>) -> Vec<(Option<i64>, Option<u8>)> {
    offsets.map(|at| (Some(at), Some(at as u8))).collect()
}

#[test]
fn what_stands_beside_a_queue_is_cut_and_cleaned_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (table, queue) = with_ext(dir.path(), 0, 0);
    append_with_ext(&queue, 0..25);
    assert_eq!(read_ext(&queue), both(0..25));
    assert_eq!(queue.unit(5).unwrap().tags_code, i64::MIN + 140 + 34);
    table.flush(0).unwrap();
    drop((table, queue));
    let (table, queue) = with_ext(dir.path(), 0, 1700);
    assert_eq!(read_ext(&queue), both(0..17));
    append_with_ext(&queue, 17..22);
    assert_eq!(read_ext(&queue), both(0..22));
    assert!(queue.delete_oldest(1300).unwrap());
    queue.correct_min_offset(1300);
    assert_eq!(read_ext(&queue), both(13..22));
    let names = fs::read_dir(dir.path().join("ext/T/0")).unwrap();
    let mut names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names[0].to_str(), Some("00000000000000000420"));
    drop((table, queue));
    // Without `enableConsumeQueueExt` for a while.
    let (plain, _) = load(&dir.path().join("queue"), 1300, i64::MAX);
    let queue = plain.get("T", 0).unwrap();
    assert!(!queue.has_ext());
    fill(&queue, 22..24);
    assert_eq!((queue.tags_code(&queue.unit(21).unwrap()), queue.max_offset()), (None, 24));
    drop((plain, queue));
    let (table, queue) = with_ext(dir.path(), 1300, i64::MAX);
    append_with_ext(&queue, 24..26);
    let plain = [(Some(22), None), (Some(23), None)];
    assert_eq!(read_ext(&queue), [&both(13..22)[..], &plain, &both(24..26)].concat());
    table.delete_topic("T").unwrap();
    assert!(!dir.path().join("ext/T").exists() && !dir.path().join("queue/T").exists());
}
