use super::super::fixture::*;
use super::*;
use std::fs::{File, FileTimes};
use std::path::Path;
use std::sync::atomic::AtomicU64;

use crate::sys::faults::{self, Change};
use crate::sys::file::Space;

fn open_small(dir: &Path) -> Arc<Store> {
    let mut config = config(dir);
    config.store.mapped_file_size_consume_queue = 20 * 4;
    config.store.max_index_num = 8;
    config.store.delete_when = String::new();
    config.store.delete_commit_log_files_interval = 0;
    config.store.delete_consume_queue_files_interval = 0;
    open_with(config, |_| ())
}

/// A disk of 100 units: what others use, set by the test, and two for each file of the log.
const FILE_UNITS: u64 = 2;

fn cleaner(store: &Store, others: Arc<AtomicU64>) -> Clean {
    let segments = store.log.segments().clone();
    let of_log = segments.clone();
    let space_of = move |_: &Path| {
        let used = others.load(Relaxed) + FILE_UNITS * of_log.len() as u64;
        let free = 100_u64.saturating_sub(used);
        Ok(Space { total: 100, free, available: free })
    };
    Clean {
        segments,
        queues: store.queues.clone(),
        index: store.index.clone(),
        reput: store.reput.clone(),
        disk: Arc::new(Disk::told_by([&store.root; 3], Box::new(space_of))),
        config: store.config.clone(),
        asked: store.asked.clone(),
        consumed: store.consumed.clone(),
        stats: store.stats.clone(),
        stop: Stop::new(),
    }
}

/// Three full files and a bit, six messages each, and the cleaner of that store.
fn filled(dir: &Path) -> (Arc<Store>, Clean) {
    let store = open_small(dir);
    store.start().unwrap();
    for n in 0..20 {
        let properties = &properties("", &format!("k{n}"));
        put(&store, &crate::message::MessageRef { properties, ..message("T", 0, &[0; 10_000]) });
    }
    settle(&store);
    let clean = cleaner(&store, Arc::default());
    (store, clean)
}

/// The same on a disk that is full whatever is deleted.
fn filled_up(dir: &Path) -> (Arc<Store>, Clean) {
    let (store, _) = filled(dir);
    let clean = cleaner(&store, Arc::new(AtomicU64::new(90)));
    clean.disk.look();
    (store, clean)
}

/// Makes the oldest `count` commit-log files this old.
fn age(clean: &Clean, count: usize, hours: u64) {
    for file in clean.segments.files().iter().take(count) {
        let then = SystemTime::now() - Duration::from_secs(hours * 3600 + 60);
        let handle = File::options().write(true).open(file.path()).unwrap();
        handle.set_times(FileTimes::new().set_modified(then)).unwrap();
    }
}

fn starts(clean: &Clean) -> Vec<i64> {
    clean.segments.files().iter().map(|file| file.start() / LOG_FILE as i64).collect()
}

#[test]
fn hours_to_delete_in() {
    assert!(is_hour("04", 4) && is_hour("2;04; 23", 23) && is_hour("0", 0));
    assert!(!is_hour("04", 14) && !is_hour("", 0) && !is_hour("x;24", 4));
}

#[test]
fn files_go_when_their_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clean) = filled(dir.path());
    let store_config = clean.config.get().store.clone();
    let rounds = &mut Rounds::default();
    clean.delete_log_files(&store_config, rounds).unwrap();
    assert_eq!(starts(&clean), [0, 1, 2, 3]);
    age(&clean, 2, 71);
    clean.delete_log_files(&store_config, rounds).unwrap();
    assert_eq!(starts(&clean), [0, 1, 2, 3]);
    age(&clean, 2, 72);
    clean.delete_log_files(&store_config, rounds).unwrap();
    assert_eq!(starts(&clean), [2, 3]);
    age(&clean, 9, 1000);
    clean.delete_log_files(&store_config, rounds).unwrap();
    assert_eq!(starts(&clean), [3], "the last file stays");
    store.stop();
}

#[test]
fn an_operator_need_not_wait_for_the_hour() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clean) = filled(dir.path());
    let config = clean.config.get();
    age(&clean, 1, 72);
    clean.disk.look();
    let rounds = &mut Rounds::default();
    clean.round(&config.store, rounds).unwrap();
    assert_eq!(starts(&clean), [0, 1, 2, 3]);
    store.delete_expired_files();
    store.clean_expired_queues();
    for _ in 0..ASKED_ROUNDS {
        clean.round(&config.store, rounds).unwrap();
    }
    assert_eq!(starts(&clean), [1, 2, 3]);
    age(&clean, 1, 72);
    clean.round(&config.store, rounds).unwrap();
    assert_eq!(starts(&clean), [1, 2, 3], "the rounds are over");
    store.stop();
}

#[test]
fn queues_and_index_follow() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clean) = filled_up(dir.path());
    let config = clean.config.get();
    let held = store.get("T", 0, 0, 32, &all);
    let before = bytes(&held);
    let rounds = &mut Rounds::default();
    store.flush_queues().round(0).unwrap();
    faults::record();
    clean.round(&config.store, rounds).unwrap();
    let emptied = |change: &Change| match change {
        Change::Size(path, 0) => path.parent() == Some(&store.root.join("index")),
        _ => false,
    };
    let changes = faults::recording();
    assert_eq!(changes.iter().filter(|change| emptied(change)).count(), 2, "{changes:?}");
    assert_eq!(starts(&clean), [3]);
    let cleaned_to = rounds.cleaned_to;
    assert_eq!(cleaned_to, 3 * LOG_FILE as i64);
    assert_eq!(rounds.leaving.len(), 1, "one is read, its space has to wait");
    assert_eq!(store.min_offset_in_queue("T", 0), 18);
    assert_eq!(offsets(&store.get("T", 0, 18, 32, &all)), [18, 19]);
    let files = |dir: &str| std::fs::read_dir(store.root.join(dir)).unwrap().count();
    assert_eq!(files("consumequeue/T/0"), 1);
    assert_eq!(files("index"), 1);
    assert_eq!(store.query("T", "k19", 32, 0, i64::MAX).slices.len(), 1);
    assert!(store.query("T", "k3", 32, 0, i64::MAX).slices.is_empty());
    assert_eq!(bytes(&held), before);
    drop(held);
    clean.round(&config.store, rounds).unwrap();
    assert!(rounds.leaving.is_empty());
    store.stop();
    drop((store, clean));
    let again = open_small(dir.path());
    assert_eq!((again.min_physical_offset(), again.dispatch_behind_bytes()), (cleaned_to, 0));
    assert_eq!(again.min_offset_in_queue("T", 0), 18);
}

/// A store that was stopped in order; all three messages of the queue Old@0 were cleaned away.
fn lose_all_of_old(dir: &Path) {
    let store = open_small(dir);
    store.start().unwrap();
    (0..3).for_each(|_| drop(put(&store, &message("Old", 0, &[0; 100]))));
    settle(&store);
    store.stop();
    drop(store);
    let (store, clean) = filled_up(dir);
    clean.round(&clean.config.get().store, &mut Rounds::default()).unwrap();
    assert_eq!((starts(&clean), store.min_offset_in_queue("Old", 0)), (vec![3], 3));
    store.stop();
    drop((store, clean));
}

#[test]
fn a_queue_whose_messages_are_all_gone_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    lose_all_of_old(dir.path());
    let store = open_small(dir.path());
    store.start().unwrap();
    assert_eq!(store.max_offset_in_queue("Old", 0), 3);
    assert_eq!(put(&store, &message("Old", 0, b"next")).queue_offset, 3);
    settle(&store);
    assert_eq!(offsets(&store.get("Old", 0, 3, 32, &all)), [3]);
    store.stop();
}

#[test]
fn so_it_does_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    lose_all_of_old(dir.path());
    std::fs::write(crate::store::layout::abort_file(dir.path()), b"").unwrap();
    let store = open_small(dir.path());
    assert_eq!((store.min_offset_in_queue("Old", 0), store.max_offset_in_queue("Old", 0)), (3, 3));
    store.start().unwrap();
    assert_eq!(put(&store, &message("Old", 0, b"next")).queue_offset, 3);
    settle(&store);
    assert_eq!(offsets(&store.get("Old", 0, 3, 32, &all)), [3]);
    store.stop();
}

#[test]
fn readers_hold_what_is_deleted_under_them() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clean) = filled_up(dir.path());
    let config = clean.config.get();
    let mut rounds = Rounds::default();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut next = 0;
            while next < 20 {
                let result = store.get("T", 0, next, 3, &all);
                offsets(&result);
                next = result.next_begin_offset.max(next + 1);
            }
        });
        while !reader.is_finished() {
            clean.round(&config.store, &mut rounds).unwrap();
        }
    });
    store.stop();
}

#[test]
fn a_reader_that_stays_keeps_its_bytes_and_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clean) = filled_up(dir.path());
    let mut config = clean.config.get().store.clone();
    config.destroy_maped_file_interval_forcibly = 0;
    let held = store.get("T", 0, 0, 32, &all);
    let before = bytes(&held);
    let rounds = &mut Rounds::default();
    clean.round(&config, rounds).unwrap();
    while !rounds.leaving.is_empty() {
        clean.round(&config, rounds).unwrap();
    }
    assert_eq!((starts(&clean), bytes(&held)), (vec![3], before));
    store.stop();
}

#[test]
fn unconsumed_messages_are_counted_or_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clean) = filled_up(dir.path());
    store.set_consumed(Box::new(|topic, queue| (topic == "T" && queue == 0).then_some(8)));
    let mut config = clean.config.get().store.clone();
    config.delete_unconsumed_messages = false;
    let rounds = &mut Rounds::default();
    clean.round(&config, rounds).unwrap();
    assert_eq!(starts(&clean), [1, 2, 3], "messages 8 to 11 of the second file are to be read");
    config.delete_unconsumed_messages = true;
    clean.round(&config, rounds).unwrap();
    assert_eq!(starts(&clean), [3]);
    let size = store.record_at(3 * LOG_FILE as i64).unwrap().len() as i64;
    let lost = store.stats.unconsumed_deleted_bytes.load(Relaxed);
    assert!((10 * (size - 1)..=10 * size).contains(&lost), "8 to 17: {lost}, {size} each");
    store.stop();
}

#[test]
fn what_the_disk_refuses_is_tried_again_later() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clean) = filled_up(dir.path());
    let config = clean.config.get();
    // What has the name of the oldest file cannot be removed as a file.
    let path = clean.segments.first().unwrap().path().to_owned();
    std::fs::rename(&path, dir.path().join("kept")).unwrap();
    std::fs::create_dir(&path).unwrap();
    let rounds = &mut Rounds::default();
    clean.round(&config.store, rounds).unwrap_err();
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(dir.path().join("kept"), &path).unwrap();
    clean.round(&config.store, rounds).unwrap();
    assert_eq!(starts(&clean), [0, 1, 2, 3], "the pause is not over");
    rounds.not_before = Some(Instant::now());
    clean.round(&config.store, rounds).unwrap();
    assert_eq!(starts(&clean), [3]);
    store.stop();
}

#[test]
fn the_space_of_a_long_file_comes_back_in_steps() {
    for (others, step) in [(0, STEP_BYTES), (90, URGENT_STEP_BYTES)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open_small(dir.path());
        let clean = cleaner(&store, Arc::new(AtomicU64::new(others)));
        clean.disk.look();
        let path = dir.path().join("long");
        let size = 2 * step + step / 2;
        let file = Arc::new(MappedFile::create(&path, 0, size as usize).unwrap());
        let handle = OpenOptions::new().write(true).open(&path).unwrap();
        faults::record();
        let leaving = vec![Leaving { file, handle, since: Instant::now() }];
        let mut rounds = Rounds { leaving, ..Rounds::default() };
        clean.give_back(&clean.config.get().store, &mut rounds);
        let sizes: Vec<u64> = faults::recording()
            .into_iter()
            .map(|change| match change {
                Change::Size(_, size) => size,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sizes, [step + step / 2, step / 2, 0]);
    }
}

mod model;
