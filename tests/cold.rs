//! Messages that only the disk has: a broker whose files the kernel was told to forget.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use ferrocket::message::{Message, record};
use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;

use crate::child::{Daemon, broker_config};
use crate::common::{Pull, create_topic, number, query, request, send_v2};
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

/// What a request finds.
fn found(peer: &mut Peer, ask: &Command) -> Vec<Message> {
    let reply = peer.ask(ask);
    assert_eq!(reply.code, 0, "{}: {:?}", ask.code, reply.remark);
    record::decode_all(&reply.body).unwrap()
}

fn by_key(peer: &mut Peer, key: &str, unique: bool) -> Vec<Message> {
    found(peer, &query("T", key, 10, 0, unique))
}

fn by_time(peer: &mut Peer, time: i64) -> i64 {
    let time = time.to_string();
    let fields = [("topic", "T"), ("queueId", "0"), ("timestamp", time.as_str())];
    number(&peer.ask(&request(codes::SEARCH_OFFSET_BY_TIMESTAMP, &fields)), "offset")
}

fn by_offset(peer: &mut Peer, offset: i64, max: i32) -> Vec<Message> {
    let reply = peer.ask(&Pull { max, ..Pull::new("T", 0, offset) }.command());
    assert_eq!((reply.code, reply.remark.as_deref()), (0, Some("FOUND")));
    record::decode_all(&reply.body).unwrap()
}

#[test]
fn each_way_to_a_message_is_the_same_cold_and_hot() {
    let dir = tempfile::tempdir().unwrap();
    let config = broker_config(dir.path(), "");
    let broker = Daemon::broker(dir.path(), &config);
    let mut peer = broker.peer();
    assert_eq!(peer.ask(&create_topic("T", 1, 6)).code, 0);
    for n in 0..MESSAGES {
        let properties = format!("KEYS\u{1}all k{n}\u{2}UNIQ_KEY\u{1}u{n}");
        assert_eq!(peer.ask(&send_v2("T", 0, &properties, &body(n))).code, 0);
        // Each message in a millisecond of its own, with an empty one on either side.
        std::thread::sleep(std::time::Duration::from_millis(4));
    }
    let sent: Vec<Message> =
        (0..i64::from(MESSAGES)).flat_map(|offset| by_offset(&mut peer, offset, 1)).collect();
    assert_eq!(sent.len(), usize::from(MESSAGES));
    broker.stop();
    forget(&dir.path().join("store"));

    let broker = Daemon::broker(dir.path(), &config);
    let mut peer = broker.peer();
    // Cold, each way to messages that no other looked at, and then once more.
    for _ in 0..2 {
        for n in [0, 7, 14] {
            assert_eq!(by_offset(&mut peer, n, 1), sent[n as usize..][..1]);
        }
        for n in [3usize, 10, 17] {
            let stored = sent[n].store_timestamp;
            let found = [stored - 1, stored, stored + 1].map(|time| by_time(&mut peer, time));
            assert_eq!(found, [n as i64; 3]);
        }
        assert_eq!(by_time(&mut peer, 0), 0);
        assert_eq!(by_time(&mut peer, i64::MAX), i64::from(MESSAGES) - 1);
        for n in [5usize, 12, 19] {
            assert_eq!(by_key(&mut peer, &format!("k{n}"), false), sent[n..=n]);
        }
        for n in [6usize, 13, 20] {
            assert_eq!(by_key(&mut peer, &format!("u{n}"), true), sent[n..=n]);
        }
        for n in [1usize, 8, 15] {
            let offset = sent[n].physical_offset.to_string();
            let view = request(codes::VIEW_MESSAGE_BY_ID, &[("offset", &offset)]);
            assert_eq!(found(&mut peer, &view), sent[n..=n]);
        }
    }
    broker.stop();
}
