//! `mqbroker --check-store`: exit statuses, what it refuses, and that it changes nothing.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::child::{Daemon, broker_config};
use crate::common::send_v2;

const SENT: usize = 50;

/// Exit status and everything printed.
fn check(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqbroker"));
    let output = command.args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn times(store: &Path) -> Vec<std::time::SystemTime> {
    let names = ["commitlog/00000000000000000000", "lock", "checkpoint", "config/topics.json"];
    names.map(|name| fs::metadata(store.join(name)).unwrap().modified().unwrap()).into()
}

#[test]
fn a_store_is_checked_when_no_broker_has_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let config = broker_config(dir.path(), "");
    let path = dir.path().join("check.conf");
    fs::write(&path, &config).unwrap();
    let store = dir.path().join("store");
    let arguments = ["-c", path.to_str().unwrap(), "--check-store", store.to_str().unwrap()];
    assert_eq!(check(&arguments).0, 2, "no store yet");

    let broker = Daemon::broker(dir.path(), &config);
    let mut peer = broker.peer();
    for n in 0..SENT {
        assert_eq!(peer.ask(&send_v2("Checked", 0, "", &[n as u8; 500])).code, 0);
    }
    let (status, text) = check(&arguments);
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("a running broker has this store open"), "{text}");
    broker.stop();

    let before = times(&store);
    let (status, text) = check(&arguments);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains(&format!(" {SENT} records of ")), "{text}");
    assert!(text.ends_with("no faults\n"), "{text}");
    assert_eq!(times(&store), before);

    let log = File::options().write(true).open(store.join("commitlog/00000000000000000000"));
    log.unwrap().write_all_at(&[0xee], 100).unwrap();
    let (status, text) = check(&arguments);
    assert_eq!(status, 1, "{text}");
    let says = "00000000000000000000: at 0: the body does not have the record's CRC\n";
    assert!(text.contains(says) && text.ends_with("1 fault\n"), "{text}");
}

#[test]
fn usage_has_a_status_of_its_own() {
    for arguments in [&["--check-store"][..], &["--check-store", ".", "--nonsense"]] {
        let (status, text) = check(arguments);
        assert_eq!(status, 2, "{text}");
        assert!(text.contains("\nusage: mqbroker "), "{text}");
    }
    let (status, text) = check(&["--check-store", "/nonexistent", "-c", "/nonexistent/c"]);
    assert_eq!(status, 2, "{text}");
}
