use super::super::fixture::*;
use super::*;
use std::fs::{File, FileTimes};
use std::path::Path;

fn open_small(dir: &Path) -> Arc<Store> {
    let mut config = config(dir);
    config.store.mapped_file_size_consume_queue = 20 * 4;
    config.store.max_index_num = 8;
    config.store.delete_when = String::new();
    config.store.delete_commit_log_files_interval = 0;
    config.store.delete_consume_queue_files_interval = 0;
    open_with(config, |_| ())
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
    let clean = Clean {
        segments: store.log.segments().clone(),
        queues: store.queues.clone(),
        index: store.index.clone(),
        reput: store.reput.clone(),
        disk: Arc::new(Disk::new(dir, dir, dir)),
        config: store.config.clone(),
        asked: store.asked.clone(),
        stop: Stop::new(),
    };
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
    clean.delete_log_files(&store_config, false).unwrap();
    assert_eq!(starts(&clean), [0, 1, 2, 3]);
    age(&clean, 2, 71);
    clean.delete_log_files(&store_config, false).unwrap();
    assert_eq!(starts(&clean), [0, 1, 2, 3]);
    age(&clean, 2, 72);
    clean.delete_log_files(&store_config, false).unwrap();
    assert_eq!(starts(&clean), [2, 3]);
    age(&clean, 9, 1000);
    clean.delete_log_files(&store_config, false).unwrap();
    assert_eq!(starts(&clean), [3], "the last file stays");
    store.stop();
}

#[test]
fn an_operator_need_not_wait_for_the_hour() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clean) = filled(dir.path());
    let config = clean.config.get();
    age(&clean, 1, 72);
    clean.disk.check(store.flags());
    let mut cleaned_to = 0;
    clean.round(&config.store, &mut cleaned_to).unwrap();
    let before = starts(&clean);
    store.delete_expired_files();
    store.clean_expired_queues();
    for _ in 0..ASKED_ROUNDS {
        clean.round(&config.store, &mut cleaned_to).unwrap();
    }
    assert_eq!(starts(&clean), [1, 2, 3]);
    age(&clean, 1, 72);
    clean.round(&config.store, &mut cleaned_to).unwrap();
    assert!(starts(&clean) == [1, 2, 3] || before.len() < 4, "20 rounds, or a full disk here");
    store.stop();
}

#[test]
fn queues_and_index_follow() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clean) = filled(dir.path());
    let config = clean.config.get();
    let held = store.get("T", 0, 0, 32, &all);
    let before = bytes(&held);
    clean.delete_log_files(&config.store, true).unwrap();
    assert_eq!(starts(&clean), [3]);
    let mut cleaned_to = 0;
    clean.round(&config.store, &mut cleaned_to).unwrap();
    assert_eq!(cleaned_to, 3 * LOG_FILE as i64);
    assert_eq!(store.min_offset_in_queue("T", 0), 18);
    assert_eq!(offsets(&store.get("T", 0, 18, 32, &all)), [18, 19]);
    let files = |dir: &str| std::fs::read_dir(store.root.join(dir)).unwrap().count();
    assert_eq!(files("consumequeue/T/0"), 1);
    assert_eq!(files("index"), 1);
    assert_eq!(store.query("T", "k19", 32, 0, i64::MAX).slices.len(), 1);
    assert!(store.query("T", "k3", 32, 0, i64::MAX).slices.is_empty());
    assert_eq!(bytes(&held), before);
    store.stop();
    drop((store, clean, held));
    let again = open_small(dir.path());
    assert_eq!((again.min_physical_offset(), again.dispatch_behind_bytes()), (cleaned_to, 0));
    assert_eq!(again.min_offset_in_queue("T", 0), 18);
}

#[test]
fn readers_hold_what_is_deleted_under_them() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clean) = filled(dir.path());
    let config = clean.config.get();
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
            clean.delete_log_files(&config.store, true).unwrap();
            clean.follow(&config.store, clean.segments.min_offset().unwrap()).unwrap();
        }
    });
    store.stop();
}
