use super::super::consume_queue::Unit;
use super::super::fixture::*;
use super::*;
use crate::message::topic::SCHEDULE;
use crate::message::{MessageRef, property};

const BODY_BYTES: usize = 9000;
const PER_QUEUE: i64 = 10;
/// Of a record in these stores: where its body begins, both hosts being IPv4.
const BODY_AT: usize = 88;

/// Three files of log, two queues, delayed messages, an index, and files in config/.
fn written() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    let body = [7; BODY_BYTES];
    for n in 0..2 * PER_QUEUE {
        let properties = &properties("tag", &format!("k{n} again"));
        put(&store, &MessageRef { properties, ..message("T", (n % 2) as i32, &body) });
    }
    let mut properties = String::new();
    property::push(&mut properties, "DELAY", "3");
    put(&store, &MessageRef { properties: &properties, ..message(SCHEDULE, 2, b"later") });
    settle(&store);
    store.stop();
    let config = dir.path().join("config");
    fs::create_dir(&config).unwrap();
    let text = "{\"topicConfigTable\":{\"T\":{\"perm\":6},\"SCHEDULE_TOPIC_XXXX\":{}}}";
    fs::write(config.join("topics.json"), text).unwrap();
    fs::write(config.join("consumerOffset.json"), "{\"offsetTable\":{\"T@g\":{0:3}}}").unwrap();
    fs::write(config.join("delayOffset.json"), "{\"offsetTable\":{3:1}}").unwrap();
    dir
}

/// The lines that the check prints, without the path of the store.
fn lines_of(root: &Path) -> Vec<String> {
    let config = config(root);
    let mut text = Vec::new();
    let faults = check(&Plan::new(root, Some(&config.store)), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap().replace(&format!("{}/", root.display()), "");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let named = lines.iter().filter(|line| line.starts_with("fault: ")).count();
    assert_eq!(named as u64, faults, "{text}");
    lines
}

fn faults(root: &Path) -> Vec<String> {
    let lines = lines_of(root).into_iter();
    lines.filter_map(|line| line.strip_prefix("fault: ").map(str::to_owned)).collect()
}

fn log_file(number: usize) -> String {
    format!("commitlog/{}", layout::segment_name((number * LOG_FILE) as i64))
}

fn queue_file(topic: &str, id: i32) -> String {
    format!("consumequeue/{topic}/{id}/{}", layout::segment_name(0))
}

fn index_file(root: &Path) -> String {
    let entry = fs::read_dir(root.join("index")).unwrap().next().unwrap().unwrap();
    format!("index/{}", entry.file_name().to_str().unwrap())
}

fn change(root: &Path, name: &str, at: usize, bytes: &[u8]) {
    let path = root.join(name);
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, at as u64).unwrap();
}

fn read(root: &Path, name: &str, at: usize, len: usize) -> Vec<u8> {
    fs::read(root.join(name)).unwrap()[at..at + len].to_vec()
}

/// Where the record of an entry of queue 0 stands: file and position.
fn place(root: &Path, entry: usize) -> (String, usize) {
    let bytes = read(root, &queue_file("T", 0), entry * 20, 8);
    let physical = i64::from_be_bytes(bytes.try_into().unwrap()) as usize;
    (log_file(physical / LOG_FILE), physical % LOG_FILE)
}

/// One fault in a fresh store, and what is to be said of it.
fn planted(change: impl FnOnce(&Path) -> Vec<String>) {
    let dir = written();
    let expected = change(dir.path());
    let found = faults(dir.path());
    assert_eq!(found.len(), expected.len(), "{found:#?} for {expected:#?}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!(found.starts_with(expected.as_str()), "{found} for {expected}");
    }
}

#[test]
fn a_whole_store_is_counted_and_not_touched() {
    let dir = written();
    let before = snapshot(dir.path());
    let lines = lines_of(dir.path());
    let has = |start: &str| assert!(lines.iter().any(|line| line.starts_with(start)), "{lines:#?}");
    has("commit log: 3 files, 21 records of ");
    has("consume queues: 3 of 2 topics, 21 entries, 0 of them");
    has("index: 1 files, 40 entries, 40 for the 40 keys in the log");
    has("checkpoint: times 1");
    has("config: 3 JSON files");
    assert_eq!(lines.last().unwrap(), "no faults");
    assert_eq!(snapshot(dir.path()), before);
    // Another broker's store, whose lengths nobody told.
    let mut text = Vec::new();
    assert_eq!(check(&Plan::new(dir.path(), None), &mut text).unwrap(), 1);
    assert!(String::from_utf8(text).unwrap().contains("bytes long, expected 420000040"));
}

fn snapshot(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut folders, mut found) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in entries(&folder).unwrap() {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => found.push((entry.path(), fs::read(entry.path()).unwrap())),
            }
        }
    }
    found
}

#[test]
fn a_store_in_use_and_no_store_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new(dir.path(), None);
    let refusal = || check(&plan, &mut io::sink()).unwrap_err().to_string();
    assert!(refusal().ends_with("no commitlog and no consumequeue in it"));
    assert!(entries(dir.path()).unwrap().is_empty());
    let store = start(dir.path());
    put(&store, &message("T", 0, b"x"));
    assert!(refusal().starts_with("a running broker has this store open: "));
    store.stop();
    check(&plan, &mut io::sink()).unwrap();
}

#[test]
fn faults_of_the_log() {
    planted(|root| {
        let (file, at) = place(root, 4);
        change(root, &file, at + BODY_AT + 5, &[8]);
        vec![format!("{file}: at {at}: the body does not have the record's CRC")]
    });
    // A lost page: the record that stood there is gone, its neighbours are not.
    planted(|root| {
        let (file, at) = place(root, 4);
        change(root, &file, at, &[0; 512]);
        let index = index_file(root);
        vec![
            format!("{file}: at {at}: no record: length 0, magic 0x00000000; "),
            format!("{}: at 80: no record of this entry at offset ", queue_file("T", 0)),
            index.clone() + ": at ",
            index + ": at ",
        ]
    });
    planted(|root| {
        let (file, at) = place(root, 4);
        change(root, &file, at, &[0x7f, 0, 0, 0]);
        let mut expected = vec![format!("{file}: at {at}: no record: length 2130706432")];
        expected.push(queue_file("T", 0));
        expected.extend([index_file(root), index_file(root)]);
        expected
    });
    planted(|root| {
        let (file, at) = place(root, 4);
        change(root, &file, at + 28 + 7, &[1]);
        let mut expected = vec![format!("{file}: at {at}: a record that says it stands at")];
        expected.push(queue_file("T", 0));
        expected.extend([index_file(root), index_file(root)]);
        expected
    });
    planted(|root| {
        let bytes = fs::read(root.join(log_file(0))).unwrap();
        let magic = crate::message::record::MAGIC_BLANK.to_be_bytes();
        let at = bytes.windows(4).rposition(|word| *word == magic).unwrap() - 4;
        change(root, &log_file(0), at, &[0, 0, 0, 9]);
        let left = LOG_FILE - at;
        vec![format!("{}: at {at}: the filler says 9 bytes, {left} are left", log_file(0))]
    });
}

#[test]
fn faults_of_the_logs_files() {
    planted(|root| {
        fs::write(root.join("commitlog/notes"), "x").unwrap();
        vec!["commitlog/notes: not the name of a segment".to_owned()]
    });
    let dir = written();
    fs::remove_file(dir.path().join(log_file(1))).unwrap();
    let found = faults(dir.path());
    assert_eq!(found[0], format!("{}: does not follow the file before it", log_file(2)));
    let wrong = "at 80: no record of this entry";
    assert!(found.iter().any(|f| f.starts_with(&queue_file("T", 0)) && f.contains(wrong)));
    let dir = written();
    let file = File::options().write(true).open(dir.path().join(log_file(1))).unwrap();
    file.set_len(LOG_FILE as u64 - 100).unwrap();
    let expected = format!("{}: {} bytes long, expected {LOG_FILE}", log_file(1), LOG_FILE - 100);
    assert_eq!(faults(dir.path())[0], expected);
    // The second half of a file is gone, with the whole start of the next one known.
    let dir = written();
    change(dir.path(), &log_file(1), LOG_FILE / 2, &[0; LOG_FILE / 2]);
    let found = faults(dir.path());
    let expected = format!("{}: at ", log_file(1));
    assert!(found[0].starts_with(&expected), "{found:#?}");
    assert!(found[0].ends_with("; the log goes on in a later file"), "{found:#?}");
}

#[test]
fn faults_of_the_queues() {
    let file = &queue_file("T", 1);
    let unit = |root: &Path, at: usize, bytes: &[u8]| change(root, file, at, bytes);
    planted(|root| {
        unit(root, 60 + 8, &1234_i32.to_be_bytes());
        vec![format!("{file}: at 60: the entry says 1234 bytes, the record has 9")]
    });
    planted(|root| {
        unit(root, 60 + 19, &[1]);
        vec![format!("{file}: at 60: ")]
    });
    planted(|root| {
        let physical = i64::from_be_bytes(read(root, file, 60, 8).try_into().unwrap());
        unit(root, 60, &(physical + 1).to_be_bytes());
        let place = physical + 1;
        vec![format!("{file}: at 60: no record of this entry at offset {place}")]
    });
    planted(|root| {
        unit(root, 60, &[0; 20]);
        vec!["consumequeue/T/1: 1 records have no entry, the last one at ".to_owned()]
    });
    planted(|root| {
        unit(root, 9 * 20, &[0; 20]);
        vec!["consumequeue/T/1: 1 records have no entry, the last one at ".to_owned()]
    });
    planted(|root| {
        unit(
            root,
            10 * 20,
            &Unit::to_bytes(Unit { physical_offset: 1 << 40, size: 9, tags_code: 0 }),
        );
        vec![format!("{file}: at 200: 1 entries point behind the end of the log")]
    });
    planted(|root| {
        let (third, fourth) = (read(root, file, 60, 20), read(root, file, 80, 20));
        unit(root, 60, &fourth);
        unit(root, 80, &third);
        let at = |at| format!("{file}: at {at}: ");
        vec![at(80), at(60), at(80)]
    });
    planted(|root| {
        fs::remove_dir_all(root.join("consumequeue/T/1")).unwrap();
        vec!["consumequeue/T/1: no such queue, 10 records belong there".to_owned()]
    });
    planted(|root| {
        change(root, &queue_file(SCHEDULE, 2), 12, &7_i64.to_be_bytes());
        vec![format!("{}: at 0: 7 is not the record's tags code", queue_file(SCHEDULE, 2))]
    });
}

/// Nothing is waited for, nothing ends the check, and links are followed.
#[test]
fn what_is_no_file_is_a_fault() {
    let makers: [fn(&Path); 4] = [
        |path| fs::create_dir(path).unwrap(),
        |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        |path| std::os::unix::fs::symlink("nowhere", path).unwrap(),
        |path| std::os::unix::fs::symlink(path, path).unwrap(),
    ];
    let names: [fn(&Path) -> String; 6] = [
        |_| queue_file("T", 1),
        |_| log_file(2),
        |root| index_file(root),
        |_| "checkpoint".to_owned(),
        |_| "config/topics.json".to_owned(),
        |_| "storeEnds.json".to_owned(),
    ];
    for (name, make) in names.into_iter().flat_map(|name| makers.map(|make| (name, make))) {
        let dir = written();
        let name = name(dir.path());
        fs::remove_file(dir.path().join(&name)).unwrap();
        make(&dir.path().join(&name));
        let found = faults(dir.path());
        assert!(found.iter().any(|fault| fault.starts_with(&name)), "{name}: {found:#?}");
    }
    for name in ["consumequeue/T/1", "consumequeue", "index"] {
        let dir = written();
        fs::remove_dir_all(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name), "").unwrap();
        let found = faults(dir.path());
        assert!(found.iter().any(|fault| fault.starts_with(name)), "{name}: {found:#?}");
    }
    for name in names.map(|name| name(written().path())) {
        let dir = written();
        let path = dir.path().join(&name);
        let Ok(()) = fs::rename(&path, dir.path().join("moved")) else { continue };
        std::os::unix::fs::symlink(dir.path().join("moved"), path).unwrap();
        assert_eq!(faults(dir.path()), [""; 0], "{name}");
    }
}

#[test]
fn files_missing_at_the_front_are_named() {
    let dir = written();
    let begin = dir.path().join(queue_file("T", 1));
    let bytes = fs::metadata(&begin).unwrap().len() as i64;
    fs::rename(&begin, begin.with_file_name(layout::segment_name(bytes))).unwrap();
    let found = faults(dir.path());
    let says = "consumequeue/T/1: 10 records are older than its files, the last one at ";
    assert!(found.iter().any(|fault| fault.starts_with(says)), "{found:#?}");
}

#[test]
fn what_a_crash_leaves_is_no_fault() {
    let dir = written();
    let root = dir.path();
    fs::write(root.join("abort"), "").unwrap();
    change(root, &queue_file("T", 1), 9 * 20, &[0; 20]);
    let ahead = Unit { physical_offset: 1 << 40, size: 9, tags_code: 0 };
    change(root, &queue_file("T", 0), 10 * 20, &ahead.to_bytes());
    let lines = lines_of(root);
    assert!(lines[0].starts_with("not stopped in order"), "{lines:#?}");
    let both = "1 records wait for their entries, 1 entries for the next start, which removes them";
    assert!(lines.iter().any(|line| line == both), "{lines:#?}");
    assert_eq!(lines.last().unwrap(), "no faults", "{lines:#?}");
}

#[test]
fn deleted_topics_and_cleaned_logs_are_no_fault() {
    let dir = written();
    let root = dir.path();
    fs::remove_dir_all(root.join("consumequeue/T")).unwrap();
    fs::write(root.join("config/topics.json"), "{\"topicConfigTable\":{}}").unwrap();
    let lines = lines_of(root);
    assert!(lines.iter().any(|l| l.starts_with("20 records are of topics deleted")), "{lines:#?}");
    assert_eq!(lines.last().unwrap(), "no faults", "{lines:#?}");
    let dir = written();
    fs::remove_file(dir.path().join(log_file(0))).unwrap();
    let lines = lines_of(dir.path());
    assert!(
        lines.iter().any(|line| line.contains("21 entries, 7 of them of records")),
        "{lines:#?}"
    );
    assert_eq!(lines.last().unwrap(), "no faults", "{lines:#?}");
}

#[test]
fn a_log_in_several_folders_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut config = config(dir.path());
    config.store.store_path_commit_log =
        Some(format!("{},{}", path("a").display(), path("b").display()));
    let store = open_with(config.clone(), |_| ());
    store.start().unwrap();
    for _ in 0..2 * PER_QUEUE {
        put(&store, &message("T", 0, &[7; BODY_BYTES]));
    }
    settle(&store);
    store.stop();
    fs::create_dir(path("old")).unwrap();
    let first = layout::segment_name(0);
    fs::rename(path("a").join(&first), path("old").join(&first)).unwrap();
    // Java takes one that both keys name for one that is only read.
    let old = path("old").display().to_string();
    config.store.store_path_commit_log.as_mut().unwrap().push_str(&format!(",{old}"));
    config.store.read_only_commit_log_store_paths = Some(old);
    let lines = || {
        let mut text = Vec::new();
        check(&Plan::new(dir.path(), Some(&config.store)), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    };
    let whole = lines();
    assert!(whole.starts_with("commit log: 3 files, 20 records of "), "{whole}");
    assert!(whole.ends_with("no faults\n"), "{whole}");
    let second = path("b").join(layout::segment_name(LOG_FILE as i64));
    let mut bytes = fs::read(&second).unwrap();
    bytes[BODY_AT] ^= 1;
    fs::write(&second, bytes).unwrap();
    let found = format!("fault: {}: at 0: the body does not have", second.display());
    assert!(lines().contains(&found), "{}", lines());
    fs::rename(&second, path("moved")).unwrap();
    let third = path("a").join(layout::segment_name(2 * LOG_FILE as i64));
    let found = format!("fault: {}: does not follow the file before it", third.display());
    assert!(lines().contains(&found), "{}", lines());
}

#[test]
fn lists_of_further_queues_that_do_not_fit_are_left_alone_as_by_dispatch() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    put(&store, &message("A", 0, b"own"));
    for (names, offsets) in [("A,B", "1"), ("A", "1,2"), ("A", "many")] {
        let mut properties = String::new();
        property::push(&mut properties, property::INNER_MULTI_DISPATCH, names);
        property::push(&mut properties, property::INNER_MULTI_QUEUE_OFFSET, offsets);
        put(&store, &MessageRef { properties: &properties, ..message("T", 0, b"x") });
    }
    settle(&store);
    store.stop();
    assert_eq!(faults(dir.path()), [""; 0]);
}

#[test]
fn faults_of_the_index() {
    let entries_at = 40 + 4 * 1000;
    let entry = |number: usize| entries_at + number * 20;
    let plant = |at: usize, bytes: &[u8], says: &[&str]| {
        planted(|root| {
            let file = index_file(root);
            change(root, &file, at, bytes);
            says.iter().map(|text| format!("{file}: {text}")).collect()
        });
    };
    let at = entry(5);
    plant(
        at,
        &[0xff; 4],
        &[
            &format!("at {at}: entry 5 has hash -1"),
            "at 1824: slot 446 names entry 5, not 0",
            "at 32: 21",
        ],
    );
    let says = &format!("at {}: entry 5: no record with its key at ", entry(5));
    plant(entry(5) + 4 + 7, &[3], &[says]);
    plant(entry(5) + 19, &[4], &[&format!("at {at}: entry 5 names entry 4, not 0")]);
    plant(36, &[0, 1, 0, 0], &["at 36: 65536 entries of 4000"]);
    plant(32, &[0, 0, 0, 1], &["at 32: 1 slots are said to be used, "]);
    plant(24, &[0; 8], &["at 24: offset 0, that of entry 40 is "]);
    plant(0, &[0x7f; 8], &["at 0: times "]);
    planted(|root| {
        let file = index_file(root);
        let slot = (0..1000).find(|slot| read(root, &file, 40 + slot * 4, 4) == [0; 4]).unwrap();
        change(root, &file, 40 + slot * 4, &[0, 0, 0, 2]);
        vec![format!("{file}: at {}: slot {slot} names entry 2, not 0", 40 + slot * 4)]
    });
    planted(|root| {
        fs::write(root.join("index/20260101000000000"), "x").unwrap();
        vec!["index/20260101000000000: 1 bytes long, expected ".to_owned()]
    });
}

#[test]
fn faults_of_checkpoint_and_json() {
    planted(|root| {
        change(root, "checkpoint", 8, &[0x7f; 8]);
        vec!["checkpoint: at 8: consume queues up to time 9187201950435737471".to_owned()]
    });
    planted(|root| {
        change(root, "checkpoint", 4000, &[1]);
        vec!["checkpoint: at 4000: not zero".to_owned()]
    });
    planted(|root| {
        fs::write(root.join("checkpoint"), "x").unwrap();
        vec!["checkpoint: 1 bytes long, expected 4096".to_owned()]
    });
    planted(|root| {
        fs::remove_file(root.join("checkpoint")).unwrap();
        vec!["checkpoint: not there".to_owned()]
    });
    let files = [
        ("topics.json", "{\"topicConfigTable\":{", "JSON: "),
        ("subscriptionGroup.json.bak", "x{", "JSON: "),
        ("consumerFilter.json", " \n", "empty"),
        ("consumerOffset.json", "{\"offsetTable\":{\"T@g\":{0:-3}}}", "T@g: queue 0 is at -3"),
        ("delayOffset.json", "{\"offsetTable\":{3:2}}", "level 3 is at 2, its queue ends at 1"),
    ];
    for (name, text, says) in files {
        planted(|root| {
            fs::write(root.join("config").join(name), text).unwrap();
            vec![format!("config/{name}: {says}")]
        });
    }
}
