//! A disk without a free block: sends are refused as RocketMQ refuses them, reads go on, and all is
//! well by itself when there is room again.
//!
//! The disk is a small tmpfs in a mount namespace of its own, which ends with the process that
//! holds it; from outside it is reached through that process's root.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ferrocket::message::record;
use ferrocket::protocol::Command as Frame;
use ferrocket::protocol::code::request as codes;

use crate::child::{Daemon, broker_config};
use crate::common::{Pull, number, properties, query, request, send_v2, wait_until};
use crate::peer::Peer;

const TOPIC: &str = "Full";
const DISK_MIB: usize = 16;
/// Taken by something else from the beginning.
const OTHERS_MIB: usize = 8;
const BODY_BYTES: usize = 30_000;
const SERVICE_NOT_AVAILABLE: i32 = 14;
const REMARK: &str = "service not available now. It may be caused by one of the following reasons: \
                      the broker's disk is full [CL: ";

/// A disk of `DISK_MIB`, empty.
struct Disk {
    holder: Child,
    /// Words that run a command where it is mounted.
    inside: Vec<String>,
    /// Where it is seen from outside.
    root: PathBuf,
}

impl Disk {
    /// Mounts it on `dir`, as root, or as anyone where the system lets anyone have namespaces.
    fn mount(dir: &Path) -> Disk {
        let script = format!(
            "mount -t tmpfs -o size={DISK_MIB}m tmpfs {} && echo mounted && exec sleep 1000",
            dir.display()
        );
        let mut output = String::new();
        for flags in [&["-m"][..], &["-r", "-m"]] {
            let mut command = Command::new("unshare");
            command.args(flags).args(["sh", "-c", &script]).stdout(Stdio::piped());
            let mut holder = command.spawn().expect("unshare (Debian: util-linux) is there");
            BufReader::new(holder.stdout.take().unwrap()).read_line(&mut output).unwrap();
            if output == "mounted\n" {
                let pid = holder.id().to_string();
                let mut inside = vec!["nsenter".to_owned(), "-t".to_owned(), pid.clone()];
                inside.extend(["-m".to_owned()]);
                if flags.len() > 1 {
                    inside.extend(["-U".to_owned(), "--preserve-credentials".to_owned()]);
                }
                let root = Path::new("/proc").join(pid).join("root");
                let root = root.join(dir.strip_prefix("/").unwrap());
                fs::write(root.join("filler"), vec![1; OTHERS_MIB << 20]).unwrap();
                return Disk { holder, inside, root };
            }
            let _ = holder.wait();
        }
        panic!("this test mounts a tmpfs: it needs root, or unprivileged user namespaces");
    }

    /// Takes every block that is left.
    fn fill(&self) {
        let mut file = File::options().append(true).create(true).open(self.filler()).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    /// Gives back what is not the broker's.
    fn empty(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.root.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Messages of one queue as acknowledged.
#[derive(Default)]
struct Sent {
    /// Message id and length of the body.
    all: Vec<(String, usize)>,
}

fn body(offset: usize, len: usize) -> Vec<u8> {
    format!("message {offset} ").into_bytes().into_iter().cycle().take(len).collect()
}

impl Sent {
    /// Sends one more message. The answer, when it was refused.
    fn send(&mut self, peer: &mut Peer, len: usize) -> Option<Frame> {
        let next = self.all.len();
        let keys = properties(&[("KEYS", &format!("key{next}"))]);
        let reply = peer.ask(&send_v2(TOPIC, 0, &keys, &body(next, len)));
        if reply.code != 0 {
            return Some(reply);
        }
        assert_eq!(number(&reply, "queueOffset"), next as i64, "an offset was left out");
        self.all.push((reply.field("msgId").unwrap().to_owned(), len));
        None
    }

    fn body(&self, offset: usize) -> Vec<u8> {
        body(offset, self.all[offset].1)
    }

    /// Reads `count` messages by queue, the last ones also by id and key.
    fn check(&self, peer: &mut Peer, count: usize) {
        let mut offset = 0;
        while offset < count {
            let reply = peer.ask(&Pull::new(TOPIC, 0, offset as i64).command());
            assert_eq!(reply.code, 0, "{:?} at {offset}", reply.remark);
            for message in record::decode_all(&reply.body).unwrap() {
                assert_eq!(message.queue_offset, offset as i64);
                assert!(message.body == self.body(offset), "body of {offset}");
                offset += 1;
            }
        }
        for offset in count.saturating_sub(40)..count {
            let physical = i64::from_str_radix(&self.all[offset].0[16..], 16).unwrap().to_string();
            let reply = peer.ask(&request(codes::VIEW_MESSAGE_BY_ID, &[("offset", &physical)]));
            assert!(record::decode(&reply.body).unwrap().body == self.body(offset), "{physical}");
            if offset + 1 == count {
                // It was the queue's turn, the index may have found the disk full.
                continue;
            }
            let reply = peer.ask(&query(TOPIC, &format!("key{offset}"), 10, 0, false));
            assert!(record::decode(&reply.body).unwrap().body == self.body(offset), "{offset}");
        }
    }

    /// How many have reached their queue. The rest of what was acknowledged waits for the disk.
    fn dispatched(&self, peer: &mut Peer) -> usize {
        let max = request(codes::GET_MAX_OFFSET, &[("topic", TOPIC), ("queueId", "0")]);
        number(&peer.ask(&max), "offset") as usize
    }
}

fn assert_refused(reply: &Frame) {
    assert_eq!(reply.code, SERVICE_NOT_AVAILABLE, "{:?}", reply.remark);
    let remark = reply.remark.as_deref().unwrap();
    assert!(remark.starts_with(REMARK), "{remark}");
}

/// Sends until the broker refuses, then takes the last block.
fn send_until_full(disk: &Disk, peer: &mut Peer, sent: &mut Sent) {
    let refused = loop {
        if let Some(refused) = sent.send(peer, BODY_BYTES) {
            break refused;
        }
        assert!(sent.all.len() * BODY_BYTES < DISK_MIB << 20, "more than the disk can hold");
    };
    assert_refused(&refused);
    disk.fill();
}

/// Commits an offset of group `full`.
fn commit(peer: &mut Peer, offset: usize) {
    let fields = [
        ("consumerGroup", "full"),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("commitOffset", &offset.to_string()),
    ];
    assert_eq!(peer.ask(&request(codes::UPDATE_CONSUMER_OFFSET, &fields)).code, 0);
}

/// Sends are refused, unless they fit into what the broker has of the disk already; reads go on.
fn check_full(peer: &mut Peer, sent: &mut Sent) {
    for _ in 0..400 {
        if let Some(refused) = sent.send(peer, 20) {
            assert_refused(&refused);
        }
    }
    assert_refused(&peer.ask(&send_v2("Another", 0, "", &[7; BODY_BYTES])));
    let dispatched = sent.dispatched(peer);
    sent.check(peer, dispatched);
}

#[test]
fn a_full_disk_refuses_sends_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = dir.path().join("disk");
    fs::create_dir(&mounted).unwrap();
    let disk = Disk::mount(&mounted);
    // The index rolls over every 50 keys, so that it, too, meets the end of the disk.
    let config = broker_config(dir.path(), "maxIndexNum=50\ncleanFileForciblyEnable=false")
        + &format!("storePathRootDir={}\n", mounted.display());
    let start = || Daemon::broker_within(&disk.inside, dir.path(), &config);
    let mut sent = Sent::default();

    let broker = start();
    let mut peer = broker.peer();
    send_until_full(&disk, &mut peer, &mut sent);
    check_full(&mut peer, &mut sent);
    assert!(!broker.log().contains("panicked"), "{}", broker.log());
    // It starts on the full disk, too, and serves what it has.
    broker.kill();
    let broker = start();
    let mut peer = broker.peer();
    check_full(&mut peer, &mut sent);
    disk.empty();
    wait_until("sends are accepted", || sent.send(&mut peer, BODY_BYTES).is_none());
    wait_until("dispatch", || sent.dispatched(&mut peer) == sent.all.len());
    // Again and again.
    for _ in 0..3 {
        disk.fill();
        send_until_full(&disk, &mut peer, &mut sent);
        check_full(&mut peer, &mut sent);
        disk.empty();
        wait_until("sends are accepted", || sent.send(&mut peer, BODY_BYTES).is_none());
    }
    wait_until("dispatch", || sent.dispatched(&mut peer) == sent.all.len());
    sent.check(&mut peer, sent.all.len());
    // A stop finds space for what it has to write.
    commit(&mut peer, 4711);
    disk.fill();
    let log = broker.stop();
    assert!(!log.contains("panicked"), "{log}");
    let offsets = fs::read_to_string(disk.root.join("config/consumerOffset.json")).unwrap();
    assert!(offsets.contains("0:4711"), "{offsets}\n{log}");
    assert!(!disk.root.join("abort").exists(), "{log}");
}
