//! Delayed messages: their order over kills, levels whose queue has entries that are wrong.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ferrocket::base::clock::now_ms;
use ferrocket::broker::Broker;
use ferrocket::message::{Message, record};

use crate::child::{Daemon, broker_config};
use crate::common::*;

const SCHEDULE: &str = "SCHEDULE_TOPIC_XXXX";

/// Sends to queue 0 with a level; returns the physical offset.
fn send(peer: &mut Peer, level: &str, body: &str) -> i64 {
    let reply = peer.ask(&send_v2("Late", 0, &properties(&[("DELAY", level)]), body.as_bytes()));
    assert_eq!((reply.code, reply.remark.as_deref()), (0, None));
    log_offset(&reply)
}

fn delivered(peer: &mut Peer) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::new();
    loop {
        let reply = peer.ask(&Pull::new("Late", 0, all.len() as i64).command());
        if reply.code != 0 {
            return all;
        }
        all.extend(record::decode_all(&reply.body).unwrap());
    }
}

#[test]
fn each_level_keeps_its_order_over_kills() {
    const COUNT: usize = 400;
    let dir = tempfile::tempdir().unwrap();
    let lines = "messageDelayLevel=1s 2s\nflushDelayOffsetInterval=20";
    let config = broker_config(dir.path(), lines);
    let mut broker = Daemon::broker(dir.path(), &config);
    let mut peer = broker.peer();
    let mut sent = Vec::new();
    for n in 0..COUNT {
        sent.push(now_ms());
        // The third level is none: it is the second.
        send(&mut peer, ["1", "2", "3"][n % 3], &n.to_string());
    }
    // While the first level is delivered, between the two, and while the second one is.
    for least in [1, COUNT / 3, COUNT / 3 + 1] {
        wait_until("some messages", || delivered(&mut broker.peer()).len() >= least);
        broker.kill();
        broker = Daemon::broker(dir.path(), &config);
    }
    let bodies = |messages: &[Message]| -> Vec<usize> {
        let number = |m: &Message| std::str::from_utf8(&m.body).unwrap().parse().unwrap();
        messages.iter().map(number).collect()
    };
    let mut all = Vec::new();
    wait_until("all messages", || {
        all = delivered(&mut broker.peer());
        BTreeSet::from_iter(bodies(&all)).len() == COUNT
    });
    for (level, ms) in [("1", 1000), ("2", 2000)] {
        let of_level: Vec<_> =
            all.iter().filter(|m| m.property("DELAY") == Some(level)).cloned().collect();
        let mut seen = BTreeSet::new();
        let first: Vec<_> = bodies(&of_level).into_iter().filter(|n| seen.insert(*n)).collect();
        assert!(first.is_sorted(), "level {level}: {first:?}");
        for (message, n) in of_level.iter().zip(bodies(&of_level)) {
            assert!(message.store_timestamp >= sent[n] + ms, "level {level} too early");
        }
    }
}

/// Runs `change` on the files of the levels' queues while the broker is stopped.
fn restart_changed(cluster: &mut Cluster, change: impl FnOnce(&Path)) {
    cluster.broker.stop();
    change(&cluster.dir.path().join("consumequeue").join(SCHEDULE));
    cluster.broker = Broker::start(cluster.config.clone()).unwrap();
}

const FILE: &str = "00000000000000000000";

fn levels(list: &str) -> Cluster {
    Cluster::with(|config| config.store.message_delay_level = list.to_owned())
}

/// Entries that look right to a start.
#[test]
fn entries_that_are_wrong_never_stop_their_level() {
    let mut cluster = levels("2s");
    let mut peer = cluster.peer();
    let mut at: Vec<i64> = (0..3).map(|n| send(&mut peer, "1", &n.to_string())).collect();
    let half = properties(&[("TRAN_MSG", "true"), ("PGROUP", "producers")]);
    let reply = peer.ask(&send_v2("Late", 0, &half, b"half"));
    let half = log_offset(&reply);
    at.extend((3..6).map(|n| send(&mut peer, "1", &n.to_string())));
    wait_until("parked", || max_offset(&cluster, SCHEDULE, 0) == 6);
    restart_changed(&mut cluster, |queues| {
        let path = queues.join("0").join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        let mut overwrite = |unit: usize, at: usize, value: &[u8]| {
            bytes[unit * 20 + at..][..value.len()].copy_from_slice(value);
        };
        overwrite(0, 12, &(-1i64).to_be_bytes()); // due since ever
        overwrite(1, 12, &i64::MAX.to_be_bytes()); // never due
        overwrite(2, 0, &half.to_be_bytes()); // a half message: this would commit it
        overwrite(4, 0, &(at[4] + 7).to_be_bytes()); // the middle of a record
        overwrite(4, 8, &50i32.to_be_bytes());
        fs::write(&path, &bytes).unwrap();
    });
    wait_until("the last one", || {
        delivered(&mut cluster.peer()).iter().any(|message| message.body == b"5")
    });
    let bodies: Vec<_> = delivered(&mut cluster.peer()).into_iter().map(|m| m.body).collect();
    assert_eq!(bodies, [b"0", b"1", b"3", b"5"]);
}

#[test]
fn a_level_whose_queue_is_damaged_is_whole_again() {
    let mut cluster = levels("2s");
    let mut peer = cluster.peer();
    for n in 0..6 {
        send(&mut peer, "1", &n.to_string());
    }
    wait_until("parked", || max_offset(&cluster, SCHEDULE, 0) == 6);
    restart_changed(&mut cluster, |queues| {
        let path = queues.join("0").join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        bytes[20..60].fill(0);
        fs::write(&path, &bytes).unwrap();
    });
    send(&mut cluster.peer(), "1", "6");
    wait_until("all messages", || delivered(&mut cluster.peer()).len() == 7);
    let bodies: Vec<_> = delivered(&mut cluster.peer()).into_iter().map(|m| m.body).collect();
    assert_eq!(bodies, [b"0", b"1", b"2", b"3", b"4", b"5", b"6"]);
}

#[test]
fn a_level_whose_files_are_deleted_goes_on() {
    let mut cluster = levels("1s 1h");
    let mut peer = cluster.peer();
    for n in 0..6 {
        send(&mut peer, "1", &n.to_string());
    }
    wait_until("delivered", || delivered(&mut cluster.peer()).len() == 6);
    restart_changed(&mut cluster, |queues| fs::remove_dir_all(queues.join("0")).unwrap());
    // The level had come further than its queue reaches now.
    for n in 6..9 {
        send(&mut cluster.peer(), "1", &n.to_string());
    }
    wait_until("what came since", || delivered(&mut cluster.peer()).len() >= 9);
    let bodies: Vec<_> = delivered(&mut cluster.peer()).into_iter().map(|m| m.body).collect();
    assert_eq!(bodies[6..], [b"6", b"7", b"8"]);
}
