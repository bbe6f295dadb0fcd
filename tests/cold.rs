//! Messages that only the disk has: a broker whose files the kernel was told to forget.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use ferrocket::message::record;
use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;

use crate::child::{Daemon, broker_config};
use crate::common::{Pull, create_topic, number, send_v2};
use crate::peer::Peer;

const BODY_BYTES: usize = 60_000;
const MESSAGES: u8 = 40;

fn body(n: u8) -> Vec<u8> {
    vec![n; BODY_BYTES]
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![path] };
    entries.flat_map(below).collect()
}

/// Has the kernel forget the pages of all files in `dir`, which nobody has mapped.
fn forget(dir: &Path) {
    for path in files_below(dir) {
        let file = format!("if={}", path.display());
        let mut dd = Process::new("dd");
        dd.args([&file, "of=/dev/null", "iflag=nocache", "count=0", "status=none"]);
        assert!(dd.status().unwrap().success());
    }
}

/// Whether `dir` lies on a disk, from the kernel's point of view.
fn is_on_disk(dir: &Path) -> bool {
    let told = Process::new("stat").args(["-f", "-c", "%T"]).arg(dir).output().unwrap();
    ["ext2/ext3", "xfs", "btrfs"].contains(&String::from_utf8(told.stdout).unwrap().trim())
}

fn counter(peer: &mut Peer, name: &str) -> i64 {
    let reply = peer.ask(&Command::request(codes::GET_BROKER_RUNTIME_INFO));
    let info: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    info["table"][name].as_str().unwrap().parse().unwrap()
}

#[test]
fn cold_messages_are_read_beside_the_pull_pool() {
    let dir = tempfile::tempdir().unwrap();
    let config = broker_config(dir.path(), "");
    let broker = Daemon::broker(dir.path(), &config);
    let mut peer = broker.peer();
    assert_eq!(peer.ask(&create_topic("T", 1, 6)).code, 0);
    for n in 0..MESSAGES {
        let tags = if n % 2 == 0 { "TAGS\u{1}even" } else { "TAGS\u{1}odd" };
        assert_eq!(peer.ask(&send_v2("T", 0, tags, &body(n))).code, 0);
    }
    broker.stop();
    forget(&dir.path().join("store"));

    // The start reads the last three of ten files.
    let broker = Daemon::broker(dir.path(), &config);
    let mut peer = broker.peer();
    let mut next = 0;
    while next < i64::from(MESSAGES) {
        let reply =
            peer.ask(&Pull { max: 4, subscription: "odd", ..Pull::new("T", 0, next) }.command());
        assert_eq!((reply.code, reply.remark.as_deref()), (0, Some("FOUND")));
        for message in record::decode_all(&reply.body).unwrap() {
            assert!(message.queue_offset >= next && message.queue_offset % 2 == 1);
            assert!(message.body == body(message.queue_offset as u8), "{}", message.queue_offset);
        }
        next = number(&reply, "nextBeginOffset");
    }
    if is_on_disk(dir.path()) {
        assert!(counter(&mut peer, "coldReads") > 0);
        assert!(counter(&mut peer, "coldReadBytes") >= 7 * 2 * BODY_BYTES as i64);
    }
    broker.stop();
}
