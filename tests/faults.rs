//! Calls that fail under a broker at work: what clients are answered, what an operator is told, and
//! whether the broker goes on when the calls succeed again. The daemon reads the file named by
//! FERROCKET_FAULTS before each call that changes the disk (feature `faults`).

use std::fs;
use std::path::Path;

use ferrocket::base::json;
use ferrocket::message::record;
use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;

use crate::child::{Daemon, broker_config};
use crate::common::{Pull, create_topic, number, request, send_v2, wait_until};
use crate::peer::Peer;

const TOPIC: &str = "Faults";
const BODY_BYTES: usize = 30_000;
const EIO: i32 = 5;
const ENOMEM: i32 = 12;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EDQUOT: i32 = 122;
const SERVICE_NOT_AVAILABLE: i32 = 14;
const SYSTEM_ERROR: i32 = 1;
const FLUSH_DISK_TIMEOUT: i32 = 10;

/// From now on the broker of `dir` has these calls fail.
fn fail(dir: &Path, lines: &str) {
    // Whole or not at all.
    fs::write(dir.join("faults.new"), lines).unwrap();
    fs::rename(dir.join("faults.new"), dir.join("faults")).unwrap();
}

/// Messages that were acknowledged as stored and, if it was asked for, as flushed.
#[derive(Default)]
struct Sent(Vec<Vec<u8>>);

impl Sent {
    /// Sends the next message; the answer unless it is SUCCESS.
    fn send(&mut self, peer: &mut Peer) -> Option<Command> {
        let text = format!("message {} ", self.0.len());
        let body: Vec<u8> = text.bytes().cycle().take(BODY_BYTES).collect();
        let reply = peer.ask(&send_v2(TOPIC, 0, "KEYS\u{1}k", &body));
        if reply.code != 0 {
            return Some(reply);
        }
        assert_eq!(number(&reply, "queueOffset"), self.0.len() as i64, "an offset was left out");
        self.0.push(body);
        None
    }

    /// Sends until the broker refuses: the refusal.
    fn send_until_refused(&mut self, peer: &mut Peer) -> Command {
        (0..100).find_map(|_| self.send(peer)).expect("a refusal")
    }

    /// Everything acknowledged is served.
    fn check(&self, peer: &mut Peer) {
        let max = request(codes::GET_MAX_OFFSET, &[("topic", TOPIC), ("queueId", "0")]);
        wait_until("dispatch", || number(&peer.ask(&max), "offset") >= self.0.len() as i64);
        let mut offset = 0;
        while offset < self.0.len() {
            let reply = peer.ask(&Pull::new(TOPIC, 0, offset as i64).command());
            assert_eq!(reply.code, 0, "{:?} at {offset}", reply.remark);
            for message in record::decode_all(&reply.body).unwrap() {
                // Behind these may be one that was not acknowledged.
                if let Some(body) = self.0.get(offset) {
                    assert!(message.body == *body, "body of {offset}");
                }
                offset += 1;
            }
        }
    }
}

/// What the broker says about why it refuses messages; empty when it does not.
fn reason(peer: &mut Peer) -> String {
    let reply = peer.ask(&request(codes::GET_BROKER_RUNTIME_INFO, &[]));
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    body["table"]["putMessageRefusedReason"].as_str().unwrap_or_default().to_owned()
}

fn start(dir: &Path, lines: &str) -> Daemon {
    fail(dir, "");
    Daemon::broker(dir, &broker_config(dir, lines))
}

fn no_panic(log: &str) {
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn after_a_failed_flush_nothing_is_written_until_restart() {
    for (how, refused) in
        [("SYNC_FLUSH", FLUSH_DISK_TIMEOUT), ("ASYNC_FLUSH", SERVICE_NOT_AVAILABLE)]
    {
        let dir = tempfile::tempdir().unwrap();
        let lines = format!("flushDiskType={how}\nflushCommitLogThoroughInterval=50");
        let broker = start(dir.path(), &lines);
        let mut peer = broker.peer();
        let mut sent = Sent::default();
        (0..3).for_each(|_| assert!(sent.send(&mut peer).is_none()));
        fail(dir.path(), &format!("Msync commitlog {EIO}"));
        let mut first = None;
        wait_until("a refusal", || {
            first = sent.send(&mut peer);
            first.is_some()
        });
        assert_eq!(first.unwrap().code, refused);
        // The kernel has said it once; the next flush would succeed and mean nothing.
        fail(dir.path(), "");
        for _ in 0..3 {
            assert_eq!(sent.send(&mut peer).unwrap().code, SERVICE_NOT_AVAILABLE);
        }
        let why = reason(&mut peer);
        assert!(why.contains("/commitlog/00000000000000000000: Input/output error"), "{why}");
        assert!(why.ends_with("takes no more messages until restart"), "{why}");
        wait_until(&why, || broker.log().contains(&why));
        sent.check(&mut peer);
        no_panic(&broker.stop());
        assert!(dir.path().join("store/abort").exists(), "the next start would trust the log");
        let broker = start(dir.path(), &lines);
        let mut peer = broker.peer();
        assert_eq!(reason(&mut peer), "");
        sent.check(&mut peer);
        let reply = peer.ask(&send_v2(TOPIC, 1, "", b"again"));
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
        no_panic(&broker.stop());
        assert!(!dir.path().join("store/abort").exists());
    }
}

#[test]
fn without_a_next_file_sends_are_refused_and_go_on_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "");
    let mut peer = broker.peer();
    let mut sent = Sent::default();
    let faults = [
        ("Open", EMFILE, SYSTEM_ERROR),
        ("Open", EROFS, SYSTEM_ERROR),
        ("Size", EIO, SYSTEM_ERROR),
        ("Mmap", ENOMEM, SYSTEM_ERROR),
        ("Allocate", ENOSPC, SERVICE_NOT_AVAILABLE),
        ("Allocate", EDQUOT, SERVICE_NOT_AVAILABLE),
        ("Fsync", EIO, SYSTEM_ERROR),
        ("FsyncDir", EIO, SYSTEM_ERROR),
    ];
    for (call, errno, code) in faults {
        fail(dir.path(), &format!("{call} commitlog {errno}"));
        let refused = sent.send_until_refused(&mut peer);
        assert_eq!(refused.code, code, "{call}: {:?}", refused.remark);
        if code == SYSTEM_ERROR {
            let remark = "create mapped file failed, server is busy or broken.";
            assert!(refused.remark.unwrap().contains(remark));
        }
        let why = reason(&mut peer);
        assert!(why.contains("next commit-log file: "), "{call}: {why}");
        assert!(why.contains(&format!("(os error {errno})")), "{call}: {why}");
        sent.check(&mut peer);
        fail(dir.path(), "");
        wait_until("sends are accepted", || sent.send(&mut peer).is_none());
        wait_until("nothing is wrong", || reason(&mut peer).is_empty());
    }
    sent.check(&mut peer);
    no_panic(&broker.stop());
    assert!(!dir.path().join("store/abort").exists());
}

#[test]
fn when_queues_or_index_cannot_be_written_sends_wait_for_them() {
    let dir = tempfile::tempdir().unwrap();
    // A queue file has 200 units, an index file 50 entries.
    let broker = start(dir.path(), "maxIndexNum=50");
    let mut peer = broker.peer();
    let mut sent = Sent::default();
    let faults = [
        ("Mkdir consumequeue", EROFS, "Another"),
        ("Open consumequeue", EMFILE, "Another2"),
        ("Mmap consumequeue", ENOMEM, "Another3"),
        ("Allocate consumequeue", ENOSPC, "Another4"),
        ("Open index", EIO, TOPIC),
        ("Allocate index", EDQUOT, TOPIC),
    ];
    for (what, errno, topic) in faults {
        fail(dir.path(), &format!("{what} {errno}"));
        // The first that needs the file is stored, and told only when it is in its queue.
        let refused = (0..100).find_map(|_| match topic {
            TOPIC => sent.send(&mut peer),
            _ => Some(peer.ask(&send_v2(topic, 0, "", b"x"))).filter(|reply| reply.code != 0),
        });
        let refused = refused.unwrap_or_else(|| panic!("{what}: no refusal"));
        assert_eq!(refused.code, SERVICE_NOT_AVAILABLE, "{what}: {:?}", refused.remark);
        let why = reason(&mut peer);
        assert!(why.contains("dispatch stands at "), "{what}: {why}");
        assert!(why.contains(&format!("(os error {errno})")), "{what}: {why}");
        fail(dir.path(), "");
        wait_until("sends are accepted", || sent.send(&mut peer).is_none());
    }
    sent.check(&mut peer);
    assert_eq!(reason(&mut peer), "");
    no_panic(&broker.stop());
}

#[test]
fn a_topic_whose_files_could_not_be_deleted_comes_again_and_is_deleted_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "");
    let mut peer = broker.peer();
    let delete = request(codes::DELETE_TOPIC_IN_BROKER, &[("topic", "Gone")]);
    let folder = dir.path().join("store/consumequeue/Gone");
    for round in 0..3 {
        assert_eq!(peer.ask(&create_topic("Gone", 4, 6)).code, 0);
        for (queue, offset) in [(0, 0), (0, 1), (1, 0)] {
            let body = format!("{round} {queue} {offset}");
            let reply = peer.ask(&send_v2("Gone", queue, "", body.as_bytes()));
            assert_eq!((reply.code, number(&reply, "queueOffset")), (0, offset));
            let end = request(
                codes::GET_MAX_OFFSET,
                &[("topic", "Gone"), ("queueId", &queue.to_string())],
            );
            wait_until("dispatch", || number(&peer.ask(&end), "offset") == offset + 1);
            let reply = peer.ask(&Pull::new("Gone", queue, offset).command());
            assert_eq!(record::decode_all(&reply.body).unwrap()[0].body, body.as_bytes());
        }
        fail(dir.path(), &format!("Unlink consumequeue/Gone {EIO}"));
        assert_eq!(peer.ask(&delete).code, SYSTEM_ERROR);
        fail(dir.path(), "");
        assert!(folder.exists());
    }
    assert_eq!(peer.ask(&delete).code, 0);
    assert!(!folder.exists());
    assert_eq!(reason(&mut peer), "");
    no_panic(&broker.stop());
}

#[test]
fn what_cannot_be_flushed_but_the_log_stops_no_send() {
    let lines = "flushIntervalConsumeQueue=10\nflushConsumeQueueThoroughInterval=50";
    for (call, trusted) in
        [("Msync consumequeue", false), ("Write checkpoint", true), ("Fsync checkpoint", true)]
    {
        let dir = tempfile::tempdir().unwrap();
        let broker = start(dir.path(), lines);
        let mut peer = broker.peer();
        let mut sent = Sent::default();
        fail(dir.path(), &format!("{call} {EIO}"));
        wait_until(call, || {
            assert!(sent.send(&mut peer).is_none());
            let told = |line: &str| line.contains("index: ") && line.contains("(os error 5)");
            broker.log().lines().any(told)
        });
        fail(dir.path(), "");
        (0..3).for_each(|_| assert!(sent.send(&mut peer).is_none()));
        sent.check(&mut peer);
        assert_eq!(reason(&mut peer), "");
        no_panic(&broker.stop());
        // What a failed flush covered may be lost, though the next one succeeds.
        assert_eq!(!dir.path().join("store/abort").exists(), trusted, "{call}");
        let broker = start(dir.path(), lines);
        sent.check(&mut broker.peer());
        no_panic(&broker.stop());
        assert!(!dir.path().join("store/abort").exists(), "{call}");
    }
}

/// The topics of the file on disk.
fn saved(dir: &Path) -> String {
    fs::read_to_string(dir.join("store/config/topics.json")).unwrap_or_default()
}

#[test]
fn a_table_that_cannot_be_saved_keeps_its_file_and_is_saved_when_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "flushConsumerOffsetInterval=1000");
    let mut peer = broker.peer();
    let create = |peer: &mut Peer, topic: &str| {
        assert_eq!(peer.ask(&create_topic(topic, 4, 6)).code, 0);
    };
    create(&mut peer, "T0");
    let faults = [
        ("Open", EROFS),
        ("Size", EIO),
        ("Write", ENOSPC),
        ("Fsync", EIO),
        ("Unlink", EIO),
        ("Rename", EIO),
        ("Rename", EDQUOT),
    ];
    for (number, (call, errno)) in faults.into_iter().enumerate() {
        let before = saved(dir.path());
        assert!(before.contains(&format!("\"T{number}\"")), "{before}");
        fail(dir.path(), &format!("{call} topics.json {errno}"));
        let lost = format!("Lost{number}");
        create(&mut peer, &lost);
        let error = format!("(os error {errno})");
        let told = |line: &str| line.contains("topics.json not saved") && line.contains(&error);
        wait_until(call, || broker.log().lines().any(told));
        assert_eq!(saved(dir.path()), before, "{call}");
        // It is there nevertheless.
        assert_eq!(peer.ask(&send_v2(&lost, 0, "", b"x")).code, 0);
        fail(dir.path(), "");
        let is_saved = || saved(dir.path()).contains(&format!("\"{lost}\""));
        if number % 2 == 0 {
            wait_until("saved without a change", is_saved);
        }
        create(&mut peer, &format!("T{}", number + 1));
        assert!(is_saved(), "{call}");
    }
    // Links are done without.
    fail(dir.path(), &format!("Link topics.json {EIO}"));
    create(&mut peer, "T100");
    assert!(saved(dir.path()).contains("\"T100\""));
    json::from_str::<serde::de::IgnoredAny>(&saved(dir.path())).unwrap();
    // The stop is not too late.
    fail(dir.path(), &format!("Write topics.json {EIO}"));
    create(&mut peer, "Last");
    fail(dir.path(), "");
    no_panic(&broker.stop());
    assert!(saved(dir.path()).contains("\"Last\""));
}

#[test]
fn a_disk_that_cannot_be_looked_at_counts_as_unknown() {
    let dir = tempfile::tempdir().unwrap();
    fail(dir.path(), "");
    fs::write(dir.path().join("faults"), format!("Statvfs store {EIO}")).unwrap();
    let broker = Daemon::broker(dir.path(), &broker_config(dir.path(), ""));
    let mut peer = broker.peer();
    let mut sent = Sent::default();
    assert!(sent.send(&mut peer).is_none());
    let reply = peer.ask(&request(codes::GET_BROKER_RUNTIME_INFO, &[]));
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["table"]["commitLogDiskRatio"], "-1.0");
    assert_eq!(body["table"].get("commitLogDirCapacity"), None);
    sent.check(&mut peer);
    no_panic(&broker.stop());
}
