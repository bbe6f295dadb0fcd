use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::fixture::*;
use super::*;
use crate::message::{MessageRef, topic};

fn get(store: &Store, offset: i64, max_count: i32) -> GetResult {
    store.get("T", 0, offset, max_count, &all)
}

fn seen(result: &GetResult) -> (GetStatus, i64, i64, i64) {
    (result.status, result.next_begin_offset, result.min_offset, result.max_offset)
}

#[test]
fn each_status_of_a_get() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    assert_eq!(seen(&get(&store, 7, 1)), (GetStatus::NoMessageInQueue, 0, 0, 0));
    for n in 0..20 {
        put(&store, &message("T", 0, &[n; 10_000]));
    }
    settle(&store);
    assert_eq!(seen(&get(&store, 3, 2)), (GetStatus::Found, 5, 0, 20));
    assert_eq!(seen(&get(&store, 20, 2)), (GetStatus::OffsetOverflowOne, 20, 0, 20));
    assert_eq!(seen(&get(&store, 21, 2)), (GetStatus::OffsetOverflowBadly, 20, 0, 20));
    assert_eq!(seen(&get(&store, -1, 2)), (GetStatus::OffsetTooSmall, 0, 0, 20));
    let none = store.get("T", 0, 3, 2, &|_| false);
    assert_eq!(seen(&none), (GetStatus::NoMatchedMessage, 20, 0, 20));
    assert!(none.slices.is_empty());
    // The log loses its first file of six messages; the queue has not followed yet.
    store.log.segments().drop_oldest(1).unwrap();
    assert_eq!(seen(&store.get("T", 0, 0, 2, &|_| true)), (GetStatus::Found, 8, 0, 20));
    assert_eq!(offsets(&get(&store, 2, 32)), (6..20).collect::<Vec<_>>());
    store.queues.get("T", 0).unwrap().correct_min_offset(LOG_FILE as i64);
    assert_eq!(seen(&get(&store, 5, 2)), (GetStatus::OffsetTooSmall, 6, 6, 20));
    store.log.segments().drop_oldest(9).unwrap();
    assert_eq!(seen(&get(&store, 6, 1)), (GetStatus::Found, 19, 6, 20));
    store.stop();
}

#[test]
fn records_that_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    for n in 0..14 {
        put(&store, &message("T", n / 7, &[1; 10_000]));
    }
    settle(&store);
    let held = get(&store, 0, 32);
    let before = bytes(&held);
    store.log.segments().drop_oldest(1).unwrap();
    assert_eq!(seen(&get(&store, 0, 32)), (GetStatus::Found, 7, 0, 7));
    assert_eq!(seen(&get(&store, 0, 1)), (GetStatus::Found, 7, 0, 7));
    store.log.segments().drop_oldest(1).unwrap();
    assert_eq!(seen(&get(&store, 0, 32)), (GetStatus::MessageWasRemoving, 7, 0, 7));
    assert_eq!(bytes(&held), before, "readers keep what they hold");
    store.stop();
}

#[test]
fn a_get_stops_at_the_end_of_a_queue_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.store.mapped_file_size_consume_queue = 200;
    let store = open_with(config, |_| ());
    store.start().unwrap();
    for _ in 0..25 {
        put(&store, &message("T", 0, b"x"));
    }
    settle(&store);
    assert_eq!(offsets(&get(&store, 4, 32)), (4..10).collect::<Vec<_>>());
    assert_eq!(get(&store, 4, 32).next_begin_offset, 10);
    assert_eq!(offsets(&get(&store, 10, 4)), (10..14).collect::<Vec<_>>());
    let queue = store.queues.get("T", 0).unwrap();
    queue.delete_oldest(i64::MAX).unwrap();
    assert_eq!(seen(&get(&store, 9, 4)), (GetStatus::OffsetTooSmall, 10, 10, 25));
    store.stop();
}

#[test]
fn adjacent_records_are_one_slice() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    for n in 0..40u8 {
        put(&store, &message("T", 0, &[n; 3000]));
    }
    for n in 0..10 {
        put(&store, &message("U", n % 2, b"x"));
    }
    settle(&store);
    // A file takes 21 of them.
    let result = get(&store, 10, 32);
    assert_eq!(result.slices.len(), 2);
    assert_eq!(offsets(&result), (10..40).collect::<Vec<_>>());
    assert_eq!(store.get("U", 1, 0, 32, &all).slices.len(), 5);
    let skip = std::cell::Cell::new(0);
    let every_third = |_| skip.replace(skip.get() + 1) % 3 != 0;
    let result = store.get("T", 0, 0, 32, &every_third);
    assert_eq!((result.count, result.slices.len()), (26, 13));
    store.stop();
}

#[test]
fn limits_of_a_get() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.store.max_transfer_bytes_on_message_in_memory = 10_000;
    config.store.max_transfer_count_on_message_in_memory = 6;
    config.store.max_transfer_bytes_on_message_in_disk = 5_000;
    config.store.max_transfer_count_on_message_in_disk = 3;
    let live = Arc::new(crate::config::Live::new(config.clone()));
    let lock = Store::claim(&config.store.root()).unwrap();
    let store = Store::open(live.clone(), lock, listener(|_| ())).unwrap();
    store.start().unwrap();
    for n in 0..10 {
        put(&store, &message("T", 0, &vec![0; if n < 8 { 10 } else { 9_950 }]));
    }
    settle(&store);
    let counts = |offset| {
        let counts = [0, 1, 5, 32, i32::MAX].map(|max| get(&store, offset, max).count);
        assert_eq!(get(&store, offset, -1).count, 1);
        counts
    };
    assert_eq!(counts(0), [1, 1, 5, 6, 6]);
    assert_eq!(counts(6), [1, 1, 2, 2, 2], "the large one would be too much");
    assert_eq!(counts(8), [1, 1, 1, 1, 1], "the first one comes however large");
    assert!(!get(&store, 0, 1).suggest_slave && store.is_in_memory("T", 0, 0));
    config.store.access_message_in_memory_max_ratio = 0;
    live.update(|_| Ok::<_, ()>((config.clone(), ()))).unwrap();
    assert_eq!(counts(0), [1, 1, 3, 3, 3]);
    assert!(get(&store, 0, 1).suggest_slave && !store.is_in_memory("T", 0, 0));
    assert!(store.is_in_memory("T", 0, 99) && store.is_in_memory("none", 0, 0));
    store.stop();
}

#[test]
fn a_filter_scans_800_units_or_as_many_as_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    let tagged = properties("b", "");
    for n in 0..950 {
        let properties = if n == 850 { &tagged } else { "" };
        put(&store, &MessageRef { properties, ..message("T", 0, b"") });
    }
    settle(&store);
    let code = topic::tags_code(Some("b"));
    let get = |max| store.get("T", 0, 0, max, &|tags| tags == code);
    assert_eq!(seen(&get(32)), (GetStatus::NoMatchedMessage, 800, 0, 950));
    assert_eq!(seen(&get(900)), (GetStatus::Found, 900, 0, 950));
    assert_eq!(offsets(&get(900)), [850]);
    // An address of an ext unit is a code like any other.
    let queue = store.queues.get("T", 0).unwrap();
    let unit = Unit { tags_code: i64::MIN + 5, ..queue.unit(0).unwrap() };
    let elsewhere = store.queues.get_or_create("E", 0).unwrap();
    store.queues.append(&elsewhere, 0, unit, None).unwrap();
    assert_eq!(store.get("E", 0, 0, 1, &all).status, GetStatus::Found);
    store.stop();
}

#[test]
fn a_slave_keeps_the_asked_offset() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.store.broker_role = BrokerRole::Slave;
    let store = open_with(config.clone(), |_| ());
    assert_eq!(get(&store, 7, 1).next_begin_offset, 7);
    drop(store);
    config.store.offset_check_in_slave = true;
    assert_eq!(get(&open_with(config, |_| ()), 7, 1).next_begin_offset, 0);
}

#[test]
fn units_that_lie_give_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    let one = put(&store, &message("T", 0, &[0; 500]));
    let two = put(&store, &message("T", 0, &[0; 500]));
    settle(&store);
    let queue = store.queues.get_or_create("L", 0).unwrap();
    let good = Unit { physical_offset: two.physical_offset, size: two.size, tags_code: 0 };
    let lies = [
        Unit { size: good.size - 1, ..good },
        Unit { size: good.size + 1, ..good },
        Unit { size: 7, physical_offset: good.physical_offset + 1, ..good },
        Unit { size: i32::MAX, ..good },
        Unit { size: -5, physical_offset: good.physical_offset + 100, ..good },
        Unit { physical_offset: i64::MAX - 5_000, ..good },
    ];
    for (offset, unit) in lies.into_iter().enumerate() {
        let queue = store.queues.get_or_create("L", offset as i32).unwrap();
        store.queues.append(&queue, 0, unit, None).unwrap();
        let result = store.get("L", offset as i32, 0, 32, &all);
        let lost = (GetStatus::MessageWasRemoving, 1, 0, 1);
        assert!(queue.max_offset() == 0 || seen(&result) == lost, "{unit:?}");
    }
    assert_eq!(queue.queue_id(), 0);
    assert!(store.record_at(one.physical_offset).is_some());
    store.stop();
}

#[test]
fn a_record_is_found_by_its_own_offset_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    let inner = put(&store, &message("T", 0, &[0; 700]));
    // A body that looks like a record.
    let copy = store.record_at(inner.physical_offset).unwrap().as_bytes().to_vec();
    let outer = put(&store, &message("T", 0, &copy));
    let end = store.max_physical_offset();
    for offset in -200..end + 200 {
        let found = store.record_at(offset).map(|slice| slice.len() as i32);
        let expected = match offset {
            o if o == inner.physical_offset => Some(inner.size),
            o if o == outer.physical_offset => Some(outer.size),
            _ => None,
        };
        assert_eq!(found, expected, "{offset}");
    }
    assert!(store.record_at(i64::MAX).is_none() && store.record_at(i64::MIN).is_none());
    store.stop();
}

#[test]
fn offsets_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Written::new();
    for (offset, stored) in [1000, 2000, 2000, 2000, 3001, 9000].into_iter().enumerate() {
        log.add(&message("T", 0, b"x"), offset as i64, stored);
        log.add(&message("one", 0, b"x"), offset as i64, 5000 + offset as i64 / 5);
    }
    log.save(dir.path());
    let store = open(dir.path());
    let cases = [
        (i64::MIN, 0),
        (-1, 0),
        (999, 0),
        (1000, 0),
        (1500, 0),
        (1501, 1),
        (2000, 1),
        (2001, 3),
        (2500, 3),
        (2501, 4),
        (3001, 4),
        (6000, 4),
        (6001, 5),
        (9000, 5),
        (9001, 5),
        (i64::MAX, 5),
    ];
    for (time, offset) in cases {
        assert_eq!(store.offset_by_time("T", 0, time), offset, "at {time}");
    }
    assert_eq!(store.offset_by_time("none", 0, 5), 0);
    assert_eq!(store.store_time_at("T", 0, 4), Some(3001));
    assert_eq!(store.store_time_at("T", 0, 6), None);
    assert_eq!(store.earliest_store_time("T", 0), Some(1000));
    assert_eq!(store.earliest_store_time("none", 0), None);
    assert_eq!((store.max_offset_in_queue("T", 0), store.min_offset_in_queue("T", 0)), (6, 0));
    assert_eq!((store.max_offset_in_queue("T", 1), store.min_offset_in_queue("T", 1)), (0, 0));
}

#[test]
fn what_is_gone_counts_as_old() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Written::new();
    for offset in 0..12 {
        log.add(&message("T", 0, &[0; 10_000]), offset, 1000 + offset);
        if offset == 5 {
            log.blank();
        }
    }
    log.save(dir.path());
    let store = open(dir.path());
    store.log.segments().drop_oldest(1).unwrap();
    assert_eq!(store.offset_by_time("T", 0, 1002), 6);
    assert_eq!(store.offset_by_time("T", 0, 1008), 8);
    assert_eq!(store.earliest_store_time("T", 0), None);
}

#[test]
fn messages_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Written::new();
    for n in 0..100 {
        let properties = properties("", &format!("k{} all", n % 10));
        let properties = &format!("{properties}\u{2}UNIQ_KEY\u{1}u{n}");
        log.add(&MessageRef { properties, ..message("T", 0, b"x") }, n, 1000 * (n + 1));
    }
    log.save(dir.path());
    let store = open(dir.path());
    let query = |key, max, begin, end| {
        let result = store.query("T", key, max, begin, end);
        let views = result.slices.iter().filter_map(|s| RecordView::new(s.as_bytes()));
        views.map(|view| view.queue_offset()).collect::<Vec<_>>()
    };
    assert_eq!(query("u42", 32, 0, i64::MAX), [42]);
    assert_eq!(query("k7", 32, 0, i64::MAX), (0..10).map(|n| n * 10 + 7).collect::<Vec<_>>());
    assert_eq!(query("k7", 3, 0, 50_000), [27, 37, 47]);
    assert_eq!(query("k7", 32, 28_000, 38_999), [27, 37]);
    assert_eq!(query("all", i32::MAX, 0, i64::MAX).len(), 64);
    assert_eq!(query("all", -1, 0, i64::MAX), [0i64; 0]);
    assert_eq!(query("none", 32, 0, i64::MAX), [0i64; 0]);
    let result = store.query("T", "u1", 1, 0, i64::MAX);
    assert_eq!(result.last_update_timestamp, 100_000);
    assert!(store.record_at(result.last_update_offset).is_some());
}

#[test]
fn gets_run_beside_puts() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for queue in 0..2 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let mut next = 0;
                loop {
                    let last = done.load(Ordering::Acquire) && store.dispatch_behind_bytes() == 0;
                    let result = store.get("T", queue, next, 32, &all);
                    for offset in offsets(&result) {
                        assert_eq!(offset, next);
                        next += 1;
                    }
                    if result.status == GetStatus::Found {
                        assert_eq!(result.next_begin_offset, next);
                    } else if last {
                        break;
                    }
                }
                assert_eq!(next, 1500);
            });
        }
        for n in 0..3000 {
            put(&store, &message("T", n % 2, &[7; 300]));
        }
        done.store(true, Ordering::Release);
    });
    store.stop();
}

/// What one `get` must say, from a plain list of (size, tags code).
fn model(list: &[(i32, i64)], offset: i64, max: i32, code: i64) -> (GetStatus, i64, Vec<i64>) {
    let end = list.len() as i64;
    if end == 0 {
        return (GetStatus::NoMessageInQueue, 0, vec![]);
    }
    match offset {
        o if o < 0 => return (GetStatus::OffsetTooSmall, 0, vec![]),
        o if o == end => return (GetStatus::OffsetOverflowOne, o, vec![]),
        o if o > end => return (GetStatus::OffsetOverflowBadly, end, vec![]),
        _ => {}
    }
    let (mut next, mut bytes, mut found) = (offset, 0, vec![]);
    // A file holds 16 units.
    while next < end.min(offset / 16 * 16 + 16) {
        let (size, tags) = list[next as usize];
        let count = found.len() as i32;
        if count > 0 && (count >= max.min(8) || bytes + size > 2000) {
            break;
        }
        if tags == code || code == 0 {
            bytes += size;
            found.push(next);
        }
        next += 1;
    }
    let none = found.is_empty();
    (if none { GetStatus::NoMatchedMessage } else { GetStatus::Found }, next, found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn get_is_as_the_model(
        sent in prop::collection::vec((0usize..700, 0usize..3, 0i32..2), 0..120),
        asked in prop::collection::vec((-2i64..130, 0i32..12, 0usize..3), 40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.store.mapped_file_size_commit_log = 8192;
        config.store.mapped_file_size_consume_queue = 16 * 20;
        config.store.max_transfer_bytes_on_message_in_memory = 2000;
        config.store.max_transfer_count_on_message_in_memory = 8;
        let store = open_with(config, |_| ());
        store.start().unwrap();
        let tags = ["", "a", "b"];
        let codes = tags.map(|tag| topic::tags_code(Some(tag)));
        let mut lists = [vec![], vec![]];
        for (len, tag, queue) in sent {
            let properties = &properties(tags[tag], "");
            let body = vec![1; len];
            let put = put(&store, &MessageRef { properties, ..message("T", queue, &body) });
            prop_assert_eq!(put.queue_offset, lists[queue as usize].len() as i64);
            lists[queue as usize].push((put.size, codes[tag]));
        }
        settle(&store);
        for (offset, max, tag) in asked {
            for (queue, list) in lists.iter().enumerate() {
                let (status, next, found) = model(list, offset, max, codes[tag]);
                let filter = |code| tag == 0 || code == codes[tag];
                let result = store.get("T", queue as i32, offset, max, &filter);
                prop_assert_eq!(result.status, status);
                prop_assert_eq!(result.next_begin_offset, next);
                prop_assert_eq!(offsets(&result), found);
            }
        }
        store.stop();
    }
}
