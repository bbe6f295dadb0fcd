use super::*;

fn open(dir: &tempfile::TempDir, slots: i32, capacity: i32) -> Index {
    Index::load(dir.path(), slots, capacity).unwrap()
}

fn keyed<'a>(keys: &'a str, physical_offset: i64, store_timestamp: i64) -> Keyed<'a> {
    Keyed { topic: "T", unique: None, keys: Some(keys), physical_offset, store_timestamp }
}

fn find(index: &Index, key: &str) -> Vec<i64> {
    index.query("T", key, 64, 0, i64::MAX).offsets
}

fn only_file(dir: &tempfile::TempDir) -> PathBuf {
    names(dir.path()).unwrap().remove(0)
}

#[test]
fn hashes_are_javas() {
    assert_eq!(key_hash("TopicA", "k1"), 1_903_240_649);
    assert_eq!(key_hash("TopicA", "k2"), 1_903_240_648);
    assert_eq!(key_hash("TopicA", "kbatch0"), 296_651_248);
    let unique = "FD00000000000000000000000000000276855FFD2B2766BB50F30000";
    assert_eq!(key_hash("TopicA", unique), 465_619_577);
}

#[test]
fn bytes_are_javas() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 1000, 4000);
    let first = Keyed {
        topic: "TopicA",
        unique: Some(
            index.expect("TopicA", "FD00000000000000000000000000000276855FFD2B2766BB50F30000"),
        ),
        keys: Some("k1 k2"),
        physical_offset: 0,
        store_timestamp: 0x1a1_fb23_3917,
    };
    index.put(&first).unwrap();
    let bytes = std::fs::read(only_file(&dir)).unwrap();
    assert_eq!(bytes.len(), 84_040);
    let begin = 0x1a1_fb23_3917i64.to_be_bytes();
    assert_eq!([&bytes[..8], &bytes[8..16]], [&begin, &begin]);
    assert_eq!(bytes[16..32], [0; 16]);
    assert_eq!(bytes[32..40], [0, 0, 0, 3, 0, 0, 0, 4]);
    let entry = |n: usize| &bytes[4040 + 20 * n..4060 + 20 * n];
    assert_eq!(entry(0), [0; 20]);
    assert_eq!(entry(1)[..4], [0x1b, 0xc0, 0xca, 0x79]);
    assert_eq!(entry(2)[..4], [0x71, 0x71, 0x25, 0xc9]);
    assert_eq!(entry(1)[4..], [0; 16]);
    let slot = 40 + 4 * (0x1bc0_ca79 % 1000);
    assert_eq!(bytes[slot..slot + 4], [0, 0, 0, 1]);
    // Three seconds later in an occupied slot.
    let store_timestamp = first.store_timestamp + 3999;
    let later = Keyed { unique: None, keys: Some("k1"), physical_offset: 2670, ..first };
    index.put(&Keyed { store_timestamp, ..later }).unwrap();
    let mut entry = [0; 20];
    entry[..4].copy_from_slice(&[0x71, 0x71, 0x25, 0xc9]);
    entry[10..12].copy_from_slice(&2670u16.to_be_bytes());
    entry[15] = 3;
    entry[19] = 2;
    assert_eq!(std::fs::read(only_file(&dir)).unwrap()[4120..4140], entry);
}

#[test]
fn collisions_share_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 1, 100);
    for n in 0..30 {
        index.put(&keyed(&format!("k{}", n % 3), n, 1000 + n)).unwrap();
    }
    assert_eq!(find(&index, "k1"), (0..10).map(|n| n * 3 + 1).collect::<Vec<_>>());
    assert_eq!(index.query("T", "k1", 4, 0, i64::MAX).offsets, [19, 22, 25, 28]);
    assert!(find(&index, "k9").is_empty());
    assert!(index.query("U", "k1", 64, 0, i64::MAX).offsets.is_empty());
    // "Aa" and "BB" have one hash: both are found, the reader of the records tells them apart.
    index.put(&keyed("Aa", 50, 2000)).unwrap();
    index.put(&keyed("BB", 51, 2000)).unwrap();
    assert_eq!(find(&index, "Aa"), [50, 51]);
}

#[test]
fn keys_are_split_at_spaces() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 10, 100);
    index.put(&keyed("  a  b ", 7, 1)).unwrap();
    index
        .put(&Keyed { keys: None, unique: Some(key_hash("T", "u v")), ..keyed("", 8, 1) })
        .unwrap();
    index.put(&keyed("", 9, 1)).unwrap();
    assert_eq!((find(&index, "a"), find(&index, "b")), (vec![7], vec![7]));
    assert_eq!((find(&index, "u v"), find(&index, "")), (vec![8], vec![]));
    index.put(&keyed("a a", 10, 1)).unwrap();
    assert_eq!(find(&index, "a"), [7, 10]);
}

#[test]
fn times_bound_a_query() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 10, 100);
    for n in 0..10 {
        index.put(&keyed("k", n, 5_000 + n * 1000)).unwrap();
    }
    let query = |begin, end| index.query("T", "k", 64, begin, end).offsets;
    assert_eq!(query(7_000, 9_000), [2, 3, 4]);
    // Entries know their second only.
    assert_eq!(query(7_500, 7_600), [2]);
    assert_eq!(query(0, 4_999), [0i64; 0]);
    assert_eq!(query(14_001, i64::MAX), [0i64; 0]);
    assert_eq!(query(i64::MIN, i64::MAX).len(), 10);
}

#[test]
fn a_name_taken_by_a_file_that_cannot_be_used_is_left() {
    let dir = tempfile::tempdir().unwrap();
    clock::set_present(1_700_000_000_000);
    let taken = dir.path().join(format!("{:017}", file_name(clock::now_ms())));
    std::fs::write(&taken, "torn").unwrap();
    let index = open(&dir, 10, 5);
    index.put(&keyed("a", 7, 1)).unwrap();
    assert_eq!(find(&index, "a"), [7]);
    assert_eq!(names(dir.path()).unwrap().len(), 2);
}

/// The first file goes with the log that it knew, and not without that.
#[test]
fn a_first_file_that_is_missing_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 10, 5);
    (0..12).for_each(|n| index.put(&keyed("k", n, 1000 + n)).unwrap());
    let ends = index.flush().map(|_| index.flushed_ends()).unwrap();
    drop(index);
    std::fs::remove_file(&names(dir.path()).unwrap()[0]).unwrap();
    let log = |min| LogView { min, end: 100, unsure_from: i64::MAX, stands: &|_, _, _, _| false };
    for (min, from) in [(4, i64::MAX), (0, 0)] {
        let mended = open(&dir, 10, 5).mend(&ends, &log(min), true, |_| Ok(())).unwrap();
        assert_eq!(mended, from);
    }
}

/// After a crash older records that a file lacks are added to the last one.
#[test]
fn what_recovery_added_to_a_damaged_file_is_indexed_again() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 10, 5);
    (10..16).for_each(|n| index.put(&keyed("k", n, 1000)).unwrap());
    index.put_missing(&keyed("late", 3, 500)).unwrap();
    let ends = index.flush().map(|_| index.flushed_ends()).unwrap();
    drop(index);
    let last = names(dir.path()).unwrap().pop().unwrap();
    let log = LogView { min: 0, end: 100, unsure_from: i64::MAX, stands: &|_, _, _, _| false };
    assert_eq!(open(&dir, 10, 5).mend(&ends, &log, true, |_| Ok(())).unwrap(), i64::MAX);
    let file = std::fs::OpenOptions::new().write(true).open(&last).unwrap();
    // The physical offset where the header says that it ends.
    std::os::unix::fs::FileExt::write_at(&file, &[0x7f; 8], 24).unwrap();
    let mut index = open(&dir, 10, 5);
    assert_eq!(index.mend(&ends, &log, true, |_| Ok(())).unwrap(), 3);
    assert!(!last.exists());
    // A file of which nothing was on disk is no damage.
    std::fs::write(&last, "torn").unwrap();
    let ends = index.flush().map(|_| index.flushed_ends()).unwrap();
    assert_eq!(open(&dir, 10, 5).mend(&ends, &log, true, |_| Ok(())).unwrap(), i64::MAX);
}

#[test]
fn a_full_file_is_followed_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 4, 5);
    assert_eq!(index.flush_full().unwrap(), None);
    for n in 0..10 {
        index.put(&keyed("k", n, 1_000 * (n + 1))).unwrap();
    }
    assert_eq!(names(dir.path()).unwrap().len(), 3);
    assert_eq!(find(&index, "k"), (0..10).collect::<Vec<_>>());
    assert_eq!(index.query("T", "k", 3, 0, i64::MAX).offsets, [7, 8, 9]);
    assert_eq!(index.query("T", "k", 64, 0, 3_000).offsets, [0, 1, 2]);
    assert_eq!(index.flush_full().unwrap(), Some(8_999), "the next one begins at 9,000");
    assert_eq!(index.flush_full().unwrap(), None);
    index.flush().unwrap();
    let again = open(&dir, 4, 5);
    assert_eq!(find(&again, "k"), (0..10).collect::<Vec<_>>());
    let hits = again.query("T", "none", 64, 0, i64::MAX);
    assert_eq!((hits.last_timestamp, hits.last_physical), (10_000, 9));
    // One that the disk keeps goes the next time.
    crate::sys::faults::fail("Unlink 0 5");
    assert!(again.delete_expired(4).is_err());
    crate::sys::faults::fail("");
    again.delete_expired(4).unwrap();
    assert_eq!(names(dir.path()).unwrap().len(), 2);
    assert_eq!(find(&again, "k"), (4..10).collect::<Vec<_>>());
    again.delete_expired(i64::MAX).unwrap();
    assert_eq!(find(&again, "k"), [8, 9]);
}

#[test]
fn the_last_record_met_again_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 4, 100);
    (0..3).for_each(|n| index.put(&keyed("k other", n, n)).unwrap());
    let bytes = std::fs::read(only_file(&dir)).unwrap();
    index.put(&keyed("k other", 2, 2)).unwrap();
    assert!(std::fs::read(only_file(&dir)).unwrap() == bytes);
    index.put(&keyed("k other late", 2, 2)).unwrap();
    assert_eq!(find(&index, "late"), [2], "what an error kept out");
}

#[test]
fn records_met_again_are_not_added_twice() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 4, 100);
    for n in 0..5 {
        index.put(&keyed("k", n, n)).unwrap();
    }
    index.put(&keyed("late", 3, 3)).unwrap();
    assert!(find(&index, "late").is_empty(), "below what is indexed");
    for n in 0..8 {
        index.put_missing(&keyed("k late", n, n)).unwrap();
    }
    assert_eq!(find(&index, "k"), (0..8).collect::<Vec<_>>());
    assert_eq!(find(&index, "late"), (0..8).collect::<Vec<_>>());
    assert_eq!(index.last().unwrap().next.load(Relaxed), 1 + 8 + 8);
}

#[test]
fn an_entry_may_be_there_twice() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 1, 5000);
    for n in 0..2000 {
        index.put(&keyed("k", n, n)).unwrap();
    }
    index.put_missing(&keyed("k", 1500, 1500)).unwrap();
    assert_eq!(index.last().unwrap().next.load(Relaxed), 2001);
    index.put_missing(&keyed("k", 500, 500)).unwrap();
    assert_eq!(index.last().unwrap().next.load(Relaxed), 2002);
    let found = index.query("T", "k", 5000, 0, i64::MAX).offsets;
    assert_eq!(found, (0..2000).collect::<Vec<_>>());
}

#[test]
fn a_key_of_very_many_messages_is_met_again_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 4, 2000);
    (0..5000).for_each(|n| index.put(&keyed("k other", n, n)).unwrap());
    let entries = |index: &Index| -> i32 {
        index.files().iter().map(|file| file.next.load(Relaxed) - 1).sum()
    };
    let index = open(&dir, 4, 2000);
    (1000..5000).for_each(|n| index.put_missing(&keyed("k other", n, n)).unwrap());
    assert_eq!(entries(&index), 10_000);
    // Also when it was not complete.
    (5000..7000).for_each(|n| index.put_missing(&keyed("k other", n, n)).unwrap());
    assert_eq!(entries(&index), 14_000);
}

#[test]
fn an_entry_that_no_slot_leads_to_is_added_again() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 4, 100);
    (0..10).for_each(|n| index.put(&keyed("k", n, n)).unwrap());
    drop(index);
    // The page with the slots did not come to the disk.
    let file = std::fs::OpenOptions::new().write(true).open(only_file(&dir)).unwrap();
    let slots = [0; 4 * SLOT_BYTES];
    std::os::unix::fs::FileExt::write_at(&file, &slots, HEADER_BYTES as u64).unwrap();
    let index = open(&dir, 4, 100);
    assert!(find(&index, "k").is_empty());
    (3..10).for_each(|n| index.put_missing(&keyed("k", n, n)).unwrap());
    assert_eq!(find(&index, "k"), (3..10).collect::<Vec<_>>());
}

#[test]
fn what_a_full_file_has_lost_is_not_on_disk_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let put = |index: &Index, n| index.put_missing(&keyed(&format!("k{n}"), n, n * 1000)).unwrap();
    let index = open(&dir, 4, 5);
    (0..4).for_each(|n| put(&index, n));
    drop(index);
    let file = std::fs::OpenOptions::new().write(true).open(only_file(&dir)).unwrap();
    let third = HEADER_BYTES + 4 * SLOT_BYTES + 3 * ENTRY_BYTES;
    std::os::unix::fs::FileExt::write_at(&file, &[0; ENTRY_BYTES], third as u64).unwrap();
    let index = open(&dir, 4, 5);
    (0..4).for_each(|n| put(&index, n));
    assert_eq!(find(&index, "k2"), [2]);
    assert_eq!(index.flush_full().unwrap(), Some(1_999), "the third is in the next file");
    (4..8).for_each(|n| put(&index, n));
    assert_eq!(index.flush_full().unwrap(), Some(6_999));
}

#[test]
fn an_older_message_added_by_recovery_does_not_hide_newer_ones() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 10, 100);
    (10..15).for_each(|n| index.put(&keyed("k", n, n * 1000)).unwrap());
    index.put_missing(&keyed("late", 3, 3000)).unwrap();
    let hits = index.query("T", "k", 64, 14_000, i64::MAX);
    assert_eq!((hits.offsets, hits.last_timestamp, hits.last_physical), (vec![14], 14_000, 14));
    assert_eq!(find(&index, "late"), [3]);
}

#[test]
fn what_follows_a_cut_of_the_log_is_indexed() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 4, 100);
    (0..10).for_each(|n| index.put(&keyed("k", n * 10, n)).unwrap());
    let index = open(&dir, 4, 100);
    index.cut(50);
    index.put(&keyed("new", 40, 11)).unwrap();
    assert!(find(&index, "new").is_empty(), "one that it knew");
    index.put(&keyed("new", 50, 11)).unwrap();
    index.put(&keyed("new", 70, 12)).unwrap();
    assert_eq!(find(&index, "new"), [50, 70]);
}

#[test]
fn damage_costs_entries_only() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 4, 10);
    for n in 0..20 {
        index.put(&keyed("a b", n, n)).unwrap();
    }
    std::fs::write(dir.path().join("20200101000000000"), b"short").unwrap();
    let path = only_file(&dir);
    let good = std::fs::read(&path).unwrap();
    let mut seed = 1u32;
    for _ in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..8 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (seed >> 8) as usize % bytes.len();
            bytes[at] = seed as u8;
        }
        std::fs::write(&path, &bytes).unwrap();
        let index = open(&dir, 4, 10);
        find(&index, "a");
        index.query("T", "b", 64, -1, 7);
        index.put(&keyed("c", i64::MAX, i64::MAX)).unwrap();
        index.put_missing(&keyed("a", 3, i64::MIN)).unwrap();
    }
}

#[test]
fn queries_run_beside_dispatch() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir, 2, 300);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < 1000 {
                    let found = index.query("T", "k", usize::MAX, 0, i64::MAX).offsets;
                    assert!(found.iter().copied().eq(0..found.len() as i64), "{found:?}");
                    assert!(found.len() >= seen);
                    seen = found.len();
                }
            });
        }
        for n in 0..1000 {
            index.put(&keyed("k other", n, n)).unwrap();
        }
    });
}
