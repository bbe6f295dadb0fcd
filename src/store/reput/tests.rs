use std::fs;
use std::path::Path;
use std::sync::Mutex;

use super::super::fixture::*;
use super::super::{GetStatus, PutStatus, Store, layout};
use super::*;
use crate::message::{MessageRef, record};

/// What the hook heard: topic, queue, offset, tags code, properties.
type Heard = Arc<Mutex<Vec<(String, i32, i64, i64, String)>>>;

fn hook() -> (Heard, impl Fn(&Arrival<'_>)) {
    let heard = Heard::default();
    let theirs = heard.clone();
    let hook = move |a: &Arrival<'_>| {
        assert!(a.store_timestamp > 0);
        let (topic, properties) = (a.topic.to_owned(), a.properties.to_owned());
        theirs.lock().unwrap().push((topic, a.queue_id, a.queue_offset, a.tags_code, properties));
    };
    (heard, hook)
}

/// As if the last run had not been stopped, and the queue T@0 had lost some of its units.
fn crashed_without(root: &Path, units: std::ops::Range<usize>) {
    fs::write(layout::abort_file(root), "").unwrap();
    let queue = layout::consume_queue_dir(root).join("T/0/00000000000000000000");
    let mut bytes = fs::read(&queue).unwrap();
    bytes[20 * units.start..20 * units.end].fill(0);
    fs::write(&queue, bytes).unwrap();
}

/// Files of all queues, by path below the store.
fn queue_files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut todo = vec![layout::consume_queue_dir(root)];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                files.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

fn get_all(store: &Store, topic: &str) -> Vec<i64> {
    offsets(&store.get(topic, 0, store.min_offset_in_queue(topic, 0), 32, &all))
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| b.is_ascii_hexdigit()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn each_message_is_announced_after_it_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (heard, hook) = hook();
    let store = open_with(config(dir.path()), hook);
    store.start().unwrap();
    let tags = &properties("tagA", "");
    for n in 0..5 {
        put(&store, &MessageRef { properties: tags, ..message("T", n % 2, b"x") });
    }
    settle(&store);
    store.stop();
    let heard = heard.lock().unwrap();
    let places: Vec<_> = heard.iter().map(|h| (h.1, h.2)).collect();
    assert_eq!(places, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]);
    assert!(heard.iter().all(|h| h.0 == "T" && h.3 == 3_552_231 && h.4 == *tags));
}

#[test]
fn a_panicking_listener_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(config(dir.path()), |_| panic!("on purpose"));
    store.start().unwrap();
    for _ in 0..3 {
        put(&store, &message("T", 0, b"x"));
    }
    settle(&store);
    assert_eq!(store.max_offset_in_queue("T", 0), 3);
    store.stop();
}

#[test]
fn javas_record_is_dispatched_as_java_does() {
    let dir = tempfile::tempdir().unwrap();
    let record = hex(
        "000000cb daa320a7 3610a686 00000003 00000007 0000000000000000 0000000000000000 00000000
         000001a1fb2338f3 7f0000010000df10 000001a1fb233917 7f00000100002a9f 00000000
         0000000000000000 00000005 68656c6c6f 06 546f70696341 0065
         75017602 4b455953016b31206b3202 554e49515f4b455901
         4644303030303030303030303030303030303030303030303030303030303032373638353546464432423237
         363642423530463330303030 02
         434c5553544552014331 02 544147530174616741",
    );
    assert_eq!(record.len(), 203);
    let mut log = Written::new();
    log.raw(&record);
    log.save(dir.path());
    let store = open(dir.path());
    let result = store.get("TopicA", 3, 0, 32, &|code| code == 3_552_231);
    assert_eq!(result.status, GetStatus::Found);
    assert_eq!(bytes(&result), record);
    let unique = "FD00000000000000000000000000000276855FFD2B2766BB50F30000";
    for key in ["k1", "k2", unique] {
        let found = store.query("TopicA", key, 32, 0, i64::MAX);
        assert_eq!(found.slices.iter().map(|s| s.len()).collect::<Vec<_>>(), [203]);
        assert_eq!(found.last_update_timestamp, 0x1a1_fb23_3917);
    }
    let unit = fs::read(dir.path().join("consumequeue/TopicA/3/00000000000000000000")).unwrap();
    assert_eq!(unit[..20], hex("0000000000000000 000000cb 0000000000363 3e7")[..]);
}

#[test]
fn transactions_and_delays_have_their_rules() {
    let dir = tempfile::tempdir().unwrap();
    let (heard, hook) = hook();
    let store = open_with(config(dir.path()), hook);
    store.start().unwrap();
    let keyed = &properties("", "k");
    for sys_flag in [0, flags::TRANSACTION_PREPARED, flags::TRANSACTION_ROLLBACK, 8] {
        put(&store, &MessageRef { sys_flag, properties: keyed, ..message("T", 0, b"x") });
    }
    let delayed: Vec<i64> =
        ["DELAY\u{1}3\u{2}TAGS\u{1}a", "DELAY\u{1}0", "DELAY\u{1}x\u{2}TAGS\u{1}d"]
            .map(|text| {
                let message = message(topic::SCHEDULE, 2, b"x");
                put(&store, &MessageRef { properties: text, ..message }).store_timestamp
            })
            .into();
    settle(&store);
    assert_eq!(store.max_offset_in_queue("T", 0), 2, "only the first and the committed one");
    assert_eq!(store.query("T", "k", 32, 0, i64::MAX).slices.len(), 3, "all but the last half");
    let codes: Vec<i64> = heard.lock().unwrap().iter().map(|h| h.3).collect();
    assert_eq!(codes, [0, 0, delayed[0] + 10_000, 0, 100]);
    store.stop();
}

#[test]
fn queues_and_index_are_made_again_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    for n in 0..300 {
        let properties = properties(&format!("t{n}"), &format!("k{n}"));
        let message = message(if n % 3 == 0 { "A" } else { "B" }, n % 2, &[1; 600]);
        put(&store, &MessageRef { properties: &properties, ..message });
    }
    settle(&store);
    store.stop();
    drop(store);
    let before = queue_files(dir.path());
    assert_eq!(before.len(), 4);
    fs::remove_dir_all(layout::consume_queue_dir(dir.path())).unwrap();
    fs::remove_dir_all(layout::index_dir(dir.path())).unwrap();
    let store = open(dir.path());
    assert_eq!(store.dispatch_behind_bytes(), 0);
    assert!(queue_files(dir.path()) == before);
    assert_eq!(store.query("A", "k297", 32, 0, i64::MAX).slices.len(), 1);
    assert_eq!(store.queues.get("A", 1).unwrap().next_offset.load(Relaxed), 50);
}

#[test]
fn a_crash_neither_loses_nor_doubles() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    let keyed = &properties("", "k");
    for n in 0..30 {
        put(&store, &MessageRef { properties: keyed, ..message("T", 0, &[n; 100]) });
    }
    settle(&store);
    store.stop();
    drop(store);
    crashed_without(dir.path(), 17..30);
    // The index lost its last entries.
    let index =
        fs::read_dir(layout::index_dir(dir.path())).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&index).unwrap();
    bytes[39] = 20;
    fs::write(&index, bytes).unwrap();
    for _ in 0..2 {
        let (heard, hook) = hook();
        let store = open_with(config(dir.path()), hook);
        assert_eq!(get_all(&store, "T"), (0..30).collect::<Vec<_>>());
        assert_eq!(store.query("T", "k", 64, 0, i64::MAX).slices.len(), 30);
        assert_eq!(store.queues.get("T", 0).unwrap().next_offset.load(Relaxed), 30);
        assert!(heard.lock().unwrap().is_empty(), "no one waits for old messages");
    }
}

#[test]
fn a_topic_made_again_is_whole_after_a_crash() {
    for (first, second) in [(5, 3), (3, 5)] {
        let dir = tempfile::tempdir().unwrap();
        let store = start(dir.path());
        (0..first).for_each(|_| drop(put(&store, &message("T", 0, b"deleted"))));
        settle(&store);
        store.delete_topic_queues("T").unwrap();
        (0..second).for_each(|_| drop(put(&store, &message("T", 0, b"new"))));
        settle(&store);
        store.stop();
        drop(store);
        crashed_without(dir.path(), second - 1..second);
        for _ in 0..2 {
            let store = open(dir.path());
            let all = bytes_of(&store, second as i64);
            assert!(all.iter().all(|body| body == b"new"), "{all:?}");
            assert_eq!((all.len(), store.max_offset_in_queue("T", 0)), (second, second as i64));
        }
    }
}

#[test]
fn a_topic_made_again_is_whole_when_its_queues_are_rebuilt() {
    for crashed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = start(dir.path());
        (0..5).for_each(|_| drop(put(&store, &message("T", 0, b"deleted"))));
        (0..2).for_each(|_| drop(put(&store, &message("gone", 0, b"deleted"))));
        settle(&store);
        store.delete_topic_queues("T").unwrap();
        store.delete_topic_queues("gone").unwrap();
        (0..3).for_each(|_| drop(put(&store, &message("T", 0, b"new"))));
        settle(&store);
        store.stop();
        drop(store);
        fs::remove_dir_all(layout::consume_queue_dir(dir.path())).unwrap();
        if crashed {
            fs::write(layout::abort_file(dir.path()), "").unwrap();
        }
        for _ in 0..2 {
            let store = open(dir.path());
            assert_eq!(bytes_of(&store, 3), [b"new", b"new", b"new"]);
            assert_eq!(store.max_offset_in_queue("T", 0), 3);
            assert_eq!(store.topics_with_queues().len(), 1);
        }
    }
}

fn bytes_of(store: &Store, count: i64) -> Vec<Vec<u8>> {
    let found = bytes(&store.get("T", 0, 0, count as i32, &all));
    record::decode_all(&found).unwrap().into_iter().map(|message| message.body).collect()
}

#[test]
fn bad_regions_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Written::new();
    for n in 0..3 {
        log.add(&message("T", 0, b"before"), n, 1000);
    }
    log.raw(&[0; 100]);
    log.add(&message("T", 0, b"zeros"), 3, 1000);
    let mut stale = Written::new();
    stale.add(&message("T", 0, b"of another place"), 77, 1000);
    log.raw(&hex("daa320a7daa320a7daa320a7"));
    stale.add(&message("T", 0, b"of another place"), 78, 1000);
    log.raw(&[0xff; 9]);
    log.add(&message("T", 0, b"garbage"), 4, 1000);
    log.raw(&hex("00000010 daa320a7"));
    log.blank();
    // Recovery reads three files: the damage is in an older one.
    for n in 5..30 {
        log.add(&message("T", 0, &[0; 12_000]), n, 1000);
        if n % 5 == 4 {
            log.blank();
        }
    }
    log.save(dir.path());
    let store = open(dir.path());
    assert_eq!(store.dispatch_behind_bytes(), 0);
    assert_eq!(get_all(&store, "T"), (0..26).collect::<Vec<_>>());
    assert_eq!(store.max_offset_in_queue("T", 0), 30);
}

#[test]
fn what_the_disk_refuses_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (heard, hook) = hook();
    let store = open_with(config(dir.path()), hook);
    store.start().unwrap();
    put(&store, &message("ok", 0, b"x"));
    settle(&store);
    // A file where the topic's directory belongs.
    let in_the_way = layout::consume_queue_dir(dir.path()).join("T");
    fs::write(&in_the_way, "").unwrap();
    put(&store, &message("T", 0, b"x"));
    while !store.flags().has(Refusal::QueueError) {
        std::thread::yield_now();
    }
    assert_eq!(store.put(&message("ok", 0, b"x")).status, PutStatus::ServiceNotAvailable);
    assert_eq!(get_all(&store, "ok"), [0]);
    assert!(store.dispatch_behind_bytes() > 0);
    fs::remove_file(&in_the_way).unwrap();
    settle(&store);
    while !store.flags().is_writeable() {
        std::thread::yield_now();
    }
    put(&store, &message("T", 0, b"x"));
    settle(&store);
    assert_eq!(get_all(&store, "T"), [0, 1]);
    store.stop();
    assert_eq!(heard.lock().unwrap().len(), 3);
    assert!(!layout::abort_file(dir.path()).exists());
}

#[test]
fn a_stop_while_the_disk_refuses_is_no_stop_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let in_the_way = layout::consume_queue_dir(dir.path()).join("T");
    fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
    fs::write(&in_the_way, "").unwrap();
    let store = start(dir.path());
    put(&store, &message("T", 0, b"one"));
    while store.flags().is_writeable() {
        std::thread::yield_now();
    }
    store.stop();
    drop(store);
    assert!(layout::abort_file(dir.path()).exists());
    // Still refused at the next start: reads are served, puts are not, and later ones go on in
    // order.
    let store = open(dir.path());
    assert_eq!(store.put(&message("T", 0, b"x")).status, PutStatus::ServiceNotAvailable);
    fs::remove_file(&in_the_way).unwrap();
    store.start().unwrap();
    while !store.flags().is_writeable() {
        std::thread::yield_now();
    }
    assert_eq!(put(&store, &message("T", 0, b"two")).queue_offset, 1);
    settle(&store);
    assert_eq!(get_all(&store, "T"), [0, 1]);
    store.stop();
}

#[test]
fn deleting_a_topic_under_dispatch_and_readers() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2000 {
                put(&store, &message("T", 0, &[1; 50]));
            }
        });
        scope.spawn(|| {
            for _ in 0..2000 {
                let offset = store.max_offset_in_queue("T", 0) - 3;
                bytes(&store.get("T", 0, offset, 32, &all));
            }
        });
        for _ in 0..200 {
            store.delete_topic_queues("T").unwrap();
        }
    });
    settle(&store);
    store.delete_topic_queues("T").unwrap();
    assert!(!layout::consume_queue_dir(dir.path()).join("T").exists());
    assert!(store.queues_of("T").is_empty());
    assert_eq!(put(&store, &message("T", 0, b"x")).queue_offset, 0);
    settle(&store);
    assert_eq!(get_all(&store, "T"), [0]);
    store.stop();
}

#[test]
fn a_put_wakes_a_sleeping_dispatch_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    for n in 0..2000 {
        put(&store, &message("T", 0, b"x"));
        settle(&store);
        assert_eq!(store.max_offset_in_queue("T", 0), n + 1);
    }
    store.stop();
}

#[test]
fn records_of_ever_other_queues_come_into_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let topics: Vec<String> = (0..50).map(|number| format!("T{number}")).collect();
    let put_to_all = || {
        store.allocate.make_next();
        topics.iter().for_each(|topic| drop(put(&store, &message(topic, 3, b"body"))));
        store.reput.catch_up();
    };
    (0..6).for_each(|_| put_to_all());
    // Those of the last records were looked up; this one must not be used any more.
    store.delete_topic_queues("T49").unwrap();
    put_to_all();
    for topic in &topics {
        let count = if topic == "T49" { 1 } else { 7 };
        let found = offsets(&store.get(topic, 3, 0, 32, &all));
        assert_eq!(found, (0..count).collect::<Vec<_>>(), "{topic}");
    }
}

#[test]
fn many_queues_in_turn_get_their_messages_whether_puts_hand_them_on_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let (heard, hook) = hook();
    let store = open_with(config(dir.path()), hook);
    store.start().unwrap();
    let handed = &store.queues.handed;
    let names: Vec<String> = (0..40).map(|n| format!("T{n}")).collect();
    let each = || names.iter().for_each(|name| drop(put(&store, &message(name, 0, b"x"))));
    let rounds = |count: i64| (0..count).for_each(|_| each());
    // Nothing is dispatched meanwhile, so that many records wait together.
    let paused = |work: &dyn Fn()| {
        let round = store.reput.lock();
        work();
        drop(round);
        settle(&store);
    };
    paused(&|| rounds(3));
    paused(&|| {
        handed.want(true);
        rounds(2);
        // Some that nobody gave, and a topic that went and came back.
        let (mut given, mut memory) = (ByPosition::new(), Vec::new());
        handed.take(&mut memory, &mut given);
        assert_eq!(given.len(), 80, "each put gave its queue");
        given.iter().step_by(2).for_each(|(position, queue)| handed.give(*position, queue));
        rounds(1);
    });
    store.delete_topic_queues("T7").unwrap();
    paused(&|| {
        handed.want(true);
        rounds(2);
    });
    for name in &names {
        let end = if name == "T7" { 2 } else { 8 };
        assert_eq!(get_all(&store, name), (0..end).collect::<Vec<_>>(), "{name}");
    }
    assert_eq!(heard.lock().unwrap().len(), 40 * 8);
    store.stop();
}
