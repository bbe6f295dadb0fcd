//! What the store promises: a broker killed at any moment has everything that it acknowledged; a
//! store in use, or of another layout, is refused and left as it is.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ferrocket::message::{Message, batch, record};
use ferrocket::protocol::code::request as codes;

use crate::child::{Daemon, Numbers, broker_config, seed};
use crate::common::{Pull, number, properties, query, request, send_v2, wait_until};
use crate::peer::Peer;

const TOPIC: &str = "Crash";
const QUEUES: usize = 4;
const SENDERS: u64 = 4;
/// So many messages at least are stored before a kill: several files of each kind in all rounds.
const STORED_A_ROUND: usize = 150;
/// Answers of a message that is in the store: SUCCESS and FLUSH_DISK_TIMEOUT.
const STORED: [i32; 2] = [0, 10];

/// What a broker has acknowledged.
#[derive(Clone)]
struct Acked {
    queue_id: i32,
    offset: i64,
    msg_id: String,
    key: String,
    body: Vec<u8>,
}

/// The body of message `key`: tells it from all others, byte by byte.
fn body(key: &str, len: usize) -> Vec<u8> {
    key.bytes().chain(key.bytes().cycle().map(|byte| byte ^ 0x55).take(len)).collect()
}

/// Sends single messages and batches until the broker is gone.
fn send_until_gone(
    addr: SocketAddr,
    mut numbers: Numbers,
    name: String,
    stored: &AtomicUsize,
) -> Vec<Acked> {
    let mut acked = Vec::new();
    let Ok(stream) = TcpStream::connect(addr) else { return acked };
    let mut peer = Peer::over(stream);
    for round in 0.. {
        let queue_id = numbers.below(QUEUES) as i32;
        let count = if numbers.below(8) == 0 { 1 + numbers.below(5) } else { 1 };
        let keys: Vec<String> = (0..count).map(|n| format!("{name}.{round}.{n}")).collect();
        let bodies: Vec<_> = keys.iter().map(|key| body(key, numbers.below(6000))).collect();
        let mut command = send_v2(TOPIC, queue_id, "", b"");
        if count == 1 {
            command = send_v2(TOPIC, queue_id, &properties(&[("KEYS", &keys[0])]), &bodies[0]);
        } else {
            command.code = codes::SEND_BATCH_MESSAGE;
            command.fields_mut().push("m", "true");
            for (key, body) in keys.iter().zip(&bodies) {
                batch::push(&mut command.body, 0, body, &properties(&[("KEYS", key)])).unwrap();
            }
        }
        let Some(reply) = peer.try_ask(&command) else { return acked };
        assert!(STORED.contains(&reply.code), "{} {:?}", reply.code, reply.remark);
        let first = number(&reply, "queueOffset");
        let ids = reply.field("msgId").unwrap().split(',').map(str::to_owned);
        for (n, ((key, body), msg_id)) in keys.into_iter().zip(bodies).zip(ids).enumerate() {
            acked.push(Acked { queue_id, offset: first + n as i64, msg_id, key, body });
        }
        stored.fetch_add(count, Ordering::Relaxed);
    }
    acked
}

/// Loads the broker and kills it at some moment once it has stored enough.
fn kill_under_load(broker: Daemon, numbers: &mut Numbers, round: usize) -> Vec<Acked> {
    let addr = broker.addr();
    let stored = AtomicUsize::new(0);
    let seeds = numbers.below(1 << 30) as u64;
    thread::scope(|scope| {
        let start = |id| {
            let numbers = Numbers::new(seeds + id);
            let stored = &stored;
            scope.spawn(move || send_until_gone(addr, numbers, format!("{round}.{id}"), stored))
        };
        let senders: Vec<_> = (0..SENDERS).map(start).collect();
        wait_until("the load", || stored.load(Ordering::Relaxed) >= STORED_A_ROUND);
        thread::sleep(Duration::from_millis(numbers.below(400) as u64));
        broker.kill();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    })
}

/// Every message of every queue, by queue and offset.
fn pull_all(peer: &mut Peer) -> BTreeMap<(i32, i64), Message> {
    let mut all = BTreeMap::new();
    for queue_id in 0..QUEUES as i32 {
        let mut offset = 0;
        loop {
            let reply = peer.ask(&Pull::new(TOPIC, queue_id, offset).command());
            if reply.code != 0 {
                assert_eq!(reply.code, 19, "{:?} at {offset}", reply.remark);
                assert_eq!(number(&reply, "maxOffset"), offset, "the queue has a gap");
                break;
            }
            for message in record::decode_all(&reply.body).unwrap() {
                assert_eq!((message.queue_id, message.queue_offset), (queue_id, offset));
                all.insert((queue_id, offset), message);
                offset += 1;
            }
        }
    }
    all
}

fn by_id(peer: &mut Peer, acked: &Acked) -> Message {
    let offset = i64::from_str_radix(&acked.msg_id[16..], 16).unwrap().to_string();
    let reply = peer.ask(&request(codes::VIEW_MESSAGE_BY_ID, &[("offset", &offset)]));
    assert_eq!((reply.code, reply.remark), (0, None), "{}", acked.key);
    record::decode(&reply.body).unwrap()
}

fn by_key(peer: &mut Peer, key: &str) -> Vec<Message> {
    let reply = peer.ask(&query(TOPIC, key, 64, 0, false));
    if reply.code == 0 { record::decode_all(&reply.body).unwrap() } else { Vec::new() }
}

/// What was acknowledged is there, in queues, log and index; nothing is there twice.
fn check(broker: &Daemon, acked: &[Acked]) {
    let mut peer = broker.peer();
    let all = pull_all(&mut peer);
    let mut seen = HashMap::new();
    for (place, message) in &all {
        let key = message.property("KEYS").unwrap().to_owned();
        let other = seen.insert(key, *place);
        assert_eq!(other, None, "one message at two places, {place:?} is the other");
    }
    for acked in acked {
        let place = (acked.queue_id, acked.offset);
        let message = all.get(&place).unwrap_or_else(|| panic!("{} lost: {place:?}", acked.key));
        assert!(message.body == acked.body, "{place:?} is not the body of {}", acked.key);
        assert!(by_id(&mut peer, acked).body == acked.body, "{}", acked.key);
    }
    // Each seventh by its key, the newest of all among them.
    for acked in acked.iter().rev().step_by(7) {
        let found = by_key(&mut peer, &acked.key);
        let bodies = found.iter().filter(|message| message.body == acked.body).count();
        assert_eq!(bodies, 1, "{} in the index", acked.key);
    }
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

fn survives_kills(seed: u64, rounds: usize, config: &str) {
    let dir = tempfile::tempdir().unwrap();
    let config = broker_config(dir.path(), config);
    let mut numbers = Numbers::new(seed);
    let mut acked = Vec::new();
    for round in 0..rounds {
        let broker = Daemon::broker(dir.path(), &config);
        if round > 0 {
            check(&broker, &acked);
        }
        acked.extend(kill_under_load(broker, &mut numbers, round));
    }
    let broker = Daemon::broker(dir.path(), &config);
    check(&broker, &acked);
    let store = dir.path().join("store");
    assert!(files(&store.join("commitlog")) > 2, "the log never rolled over");
    assert!(files(&store.join("consumequeue").join(TOPIC).join("0")) > 1, "no queue rolled over");
    broker.stop();
    assert!(!store.join("abort").exists());
    // After a stop in order the same is there.
    let broker = Daemon::broker(dir.path(), &config);
    check(&broker, &acked);
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    survives_kills(seed(1), 12, "flushDiskType=ASYNC_FLUSH");
}

#[test]
fn what_was_acknowledged_after_a_flush_survives_kill_9() {
    survives_kills(seed(2), 8, "flushDiskType=SYNC_FLUSH");
}

/// Puts some messages and returns what was acknowledged.
fn fill(broker: &Daemon, count: usize) -> Vec<Acked> {
    let mut peer = broker.peer();
    let put = |n: usize| {
        let key = format!("fill.{n}");
        let body = body(&key, 20_000);
        let queue_id = (n % QUEUES) as i32;
        let reply = peer.ask(&send_v2(TOPIC, queue_id, &properties(&[("KEYS", &key)]), &body));
        assert_eq!((reply.code, reply.remark.as_deref()), (0, None));
        let msg_id = reply.field("msgId").unwrap().to_owned();
        Acked { queue_id, offset: number(&reply, "queueOffset"), msg_id, key, body }
    };
    (0..count).map(put).collect()
}

#[test]
fn a_second_broker_on_the_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = broker_config(dir.path(), "");
    let broker = Daemon::broker(dir.path(), &config);
    let mut acked = fill(&broker, 20);
    let topics = dir.path().join("store/config/topics.json");
    let whole = fs::read(&topics).unwrap();
    for _ in 0..2 {
        // Not even what cannot be read is touched without the lock.
        fs::write(&topics, "no JSON").unwrap();
        let refused = Daemon::refused(dir.path(), &config, "the lock");
        assert_eq!(fs::read_to_string(&topics).unwrap(), "no JSON");
        fs::write(&topics, &whole).unwrap();
        assert_eq!(refused.status, Some(255), "{}", refused.text);
        let lock = dir.path().join("store/lock");
        let wanted = format!("Lock failed,MQ already started: {}", lock.display());
        assert!(refused.text.contains(&wanted), "{}", refused.text);
    }
    wait_until("dispatch", || pull_all(&mut broker.peer()).len() == acked.len());
    check(&broker, &acked);
    acked.truncate(10);
    broker.kill();
    // The lock goes with its holder, however that ends.
    check(&Daemon::broker(dir.path(), &config), &acked);
}

#[test]
fn a_damaged_checkpoint_is_named_and_costs_reading_alone() {
    let dir = tempfile::tempdir().unwrap();
    let lines = "flushIntervalConsumeQueue=10\nflushConsumeQueueThoroughInterval=20";
    let config = broker_config(dir.path(), lines);
    let checkpoint = dir.path().join("store/checkpoint");
    let broker = Daemon::broker(dir.path(), &config);
    let acked = fill(&broker, 40);
    let written = || fs::read(&checkpoint).is_ok_and(|bytes| bytes[8..16] != [0; 8]);
    wait_until("the checkpoint", written);
    broker.kill();
    type Damage = fn(Vec<u8>) -> Option<Vec<u8>>;
    let ways: [(&str, Damage); 5] = [
        ("", |_| None),
        ("", |_| Some(Vec::new())),
        ("", |bytes| Some(vec![0; bytes.len()])),
        ("11 bytes long, not 4096", |bytes| Some(bytes[..11].to_vec())),
        (" at 0 counts for nothing", |mut bytes| {
            bytes[0] ^= 1;
            Some(bytes)
        }),
    ];
    for (why, damage) in ways {
        match damage(fs::read(&checkpoint).unwrap()) {
            Some(bytes) => fs::write(&checkpoint, bytes).unwrap(),
            None => fs::remove_file(&checkpoint).unwrap(),
        }
        let broker = Daemon::broker(dir.path(), &config);
        check(&broker, &acked);
        let log = broker.log();
        let named = |what: &str| {
            let path = checkpoint.display().to_string();
            log.lines().filter(|line| line.contains(&path) && line.contains(what)).count()
        };
        assert_eq!((named(why) > 0, named("files of the log are read")), (true, 1), "{why}: {log}");
        wait_until("the checkpoint", written);
        broker.kill();
    }
}

/// Every file below `dir` with its content.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                all.insert(path, content);
            }
        }
    }
    all
}

/// Overwrites the magic of the first record.
fn overwrite(path: &Path, magic: [u8; 4]) {
    let mut content = fs::read(path).unwrap();
    content[4..8].copy_from_slice(&magic);
    fs::write(path, content).unwrap();
}

/// The same, in a store whose broker did not stop in order.
fn overwrite_crashed(store: &Path, name: &str, magic: [u8; 4]) {
    overwrite(&store.join(name), magic);
    fs::write(store.join("abort"), "").unwrap();
}

#[test]
fn a_store_of_another_layout_is_refused_and_left_alone() {
    let source = tempfile::tempdir().unwrap();
    let broker = Daemon::broker(source.path(), &broker_config(source.path(), ""));
    fill(&broker, 40);
    broker.stop();
    let original = snapshot(&source.path().join("store"));

    const LAST: &str = "commitlog/00000000000000786432";
    const NEWER: [u8; 4] = (-626_843_477_i32).to_be_bytes();
    type Change = fn(&Path);
    let changes: [(Change, &str, &str); 4] = [
        (
            |s| fs::write(s.join("commitlog/0.data"), "x").unwrap(),
            "commitlog/0.data",
            "not the name of a segment",
        ),
        (
            |s| fs::remove_file(s.join("commitlog/00000000000000262144")).unwrap(),
            "commitlog/00000000000000524288",
            "does not follow the file before it",
        ),
        (|s| overwrite(&s.join(LAST), NEWER), LAST, "V2 format"),
        (|s| overwrite_crashed(s, LAST, NEWER), LAST, "V2 format"),
    ];
    for (change, named, why) in changes {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        for (path, content) in &original {
            let copy = store.join(path.strip_prefix(source.path().join("store")).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::write(copy, content).unwrap();
        }
        change(&store);
        let before = snapshot(&store);
        let refused = Daemon::refused(dir.path(), &broker_config(dir.path(), ""), why);
        assert_eq!(refused.status, Some(253), "{why}: {}", refused.text);
        let mut lines = refused.text.lines();
        assert!(lines.any(|l| l.contains(named) && l.contains(why)), "{why}: {}", refused.text);
        let after = snapshot(&store);
        for (path, content) in &before {
            assert!(after.get(path) == Some(content), "{why}: {} changed", path.display());
        }
        assert!(before.keys().eq(after.keys()), "{why}: files came or went");
    }
}
