//! Very many queues: no descriptor for any, no file mapped that is not used, and nothing left of
//! those that are deleted. tests/bench has 100,000 of them.

use std::fs;
use std::io::Write;
use std::path::Path;

use ferrocket::message::record;
use ferrocket::protocol::code::request as codes;
use ferrocket::protocol::frame;

use crate::child::{Daemon, broker_config};
use crate::common::{Pull, create_topic, number, request, send_v2, wait_until};
use crate::peer::Peer;

const TOPICS: usize = 12;
const QUEUES: i32 = 64;
const ALL: usize = TOPICS * QUEUES as usize;

fn topic(n: usize) -> String {
    format!("Many{n}")
}

fn places() -> impl Iterator<Item = (String, i32)> {
    (0..TOPICS).flat_map(|n| (0..QUEUES).map(move |id| (topic(n), id)))
}

fn descriptors(broker: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap().count()
}

/// Queue files that are mapped.
fn mapped(broker: &Daemon) -> usize {
    let maps = fs::read_to_string(format!("/proc/{}/maps", broker.pid())).unwrap();
    maps.lines().filter(|line| line.contains("/consumequeue/")).count()
}

/// One more message in each queue.
fn send_to_all(peer: &mut Peer, body: &[u8]) {
    let frames = places().flat_map(|(topic, id)| frame::encode(&send_v2(&topic, id, "", body)));
    let frames: Vec<u8> = frames.collect();
    peer.stream.write_all(&frames).unwrap();
    for _ in 0..ALL {
        let reply = peer.receive();
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
    }
}

fn end(peer: &mut Peer, topic: &str, id: i32) -> i64 {
    let fields = [("topic", topic), ("queueId", &*id.to_string())];
    number(&peer.ask(&request(codes::GET_MAX_OFFSET, &fields)), "offset")
}

fn wait_for_all(peer: &mut Peer, count: i64) {
    wait_until("all queues", || places().all(|(topic, id)| end(peer, &topic, id) == count));
}

fn bodies(peer: &mut Peer, topic: &str, id: i32) -> Vec<Vec<u8>> {
    let reply = peer.ask(&Pull::new(topic, id, 0).command());
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    record::decode_all(&reply.body).unwrap().into_iter().map(|message| message.body).collect()
}

/// Within a hundred: what else a broker opens and closes in the meantime.
fn none_kept(broker: &Daemon, before: usize) {
    let now = descriptors(broker);
    assert!(now < before + 100, "{before} descriptors before, {now} now");
}

fn folders(root: &Path) -> usize {
    fs::read_dir(root.join("store/consumequeue")).unwrap().count()
}

#[test]
fn many_queues_keep_nothing_open_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let config = broker_config(dir.path(), "flushConsumeQueueThoroughInterval=200");
    let broker = Daemon::broker(dir.path(), &config);
    let before = descriptors(&broker);
    let mut peer = broker.peer();
    for n in 0..TOPICS {
        assert_eq!(peer.ask(&create_topic(&topic(n), QUEUES, 6)).code, 0);
    }
    assert_eq!(mapped(&broker), 0);
    send_to_all(&mut peer, b"first");
    wait_for_all(&mut peer, 1);
    assert_eq!((mapped(&broker), folders(dir.path())), (ALL, TOPICS));
    none_kept(&broker, before);
    broker.kill();

    let broker = Daemon::broker(dir.path(), &config);
    let mut peer = broker.peer();
    wait_for_all(&mut peer, 1);
    send_to_all(&mut peer, b"second");
    wait_for_all(&mut peer, 2);
    none_kept(&broker, before);
    let log = broker.stop();
    assert!(!log.contains("panicked"), "{log}");

    let broker = Daemon::broker(dir.path(), &config);
    let mut peer = broker.peer();
    wait_for_all(&mut peer, 2);
    assert_eq!(mapped(&broker), 0, "nobody has read a queue yet");
    assert_eq!(bodies(&mut peer, &topic(3), 5), [b"first".to_vec(), b"second".to_vec()]);
    assert_eq!(mapped(&broker), 1);
    send_to_all(&mut peer, b"third");
    wait_for_all(&mut peer, 3);
    none_kept(&broker, before);
    for n in 1..TOPICS {
        let delete = request(codes::DELETE_TOPIC_IN_BROKER, &[("topic", &topic(n))]);
        assert_eq!(peer.ask(&delete).code, 0);
    }
    assert_eq!((mapped(&broker), folders(dir.path())), (QUEUES as usize, 1));
    assert_eq!(bodies(&mut peer, &topic(0), 63).len(), 3);
    let log = broker.stop();
    assert!(!log.contains("panicked"), "{log}");
}
