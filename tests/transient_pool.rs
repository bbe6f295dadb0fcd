//! `transientStorePoolEnable`: what clients and operators see of the pool, over a kill and a stop.

use ferrocket::message::record;
use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;

use crate::child::{Daemon, broker_config};
use crate::common::{
    Pull, SUBSCRIPTION, SUSPEND, create_topic, number, request, send_v2, wait_until,
};
use crate::peer::Peer;

/// More buffers than there are ever files.
const POOL: &str = "transientStorePoolEnable=true\ntransientStorePoolSize=20";
/// More than three files of the log.
const MESSAGES: i64 = 200;
const BODY_BYTES: usize = 4000;

fn body(n: i64) -> Vec<u8> {
    format!("{n:08}").repeat(BODY_BYTES / 8).into_bytes()
}

fn send_some(peer: &mut Peer, from: i64) {
    for n in from..from + MESSAGES {
        assert_eq!(peer.ask(&send_v2("T", 0, "", &body(n))).code, 0, "{n}");
    }
}

fn max_offset(peer: &mut Peer) -> i64 {
    let fields = [("topic", "T"), ("queueId", "0")];
    number(&peer.ask(&request(codes::GET_MAX_OFFSET, &fields)), "offset")
}

fn check_all(peer: &mut Peer, count: i64) {
    let mut next = 0;
    while next < count {
        let reply = peer.ask(&Pull::new("T", 0, next).command());
        assert_eq!(reply.code, 0, "{:?} at {next}", reply.remark);
        for message in record::decode_all(&reply.body).unwrap() {
            assert_eq!(message.queue_offset, next);
            assert!(message.body == body(next), "{next}");
            next += 1;
        }
    }
}

fn info(peer: &mut Peer, name: &str) -> String {
    let reply = peer.ask(&Command::request(codes::GET_BROKER_RUNTIME_INFO));
    let info: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    info["table"][name].as_str().unwrap_or_default().to_owned()
}

#[test]
fn messages_come_by_the_pool_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let config = broker_config(dir.path(), POOL);
    let broker = Daemon::broker(dir.path(), &config);
    let mut peer = broker.peer();
    assert_eq!(peer.ask(&create_topic("T", 1, 6)).code, 0);
    assert_eq!(info(&mut peer, "remainTransientStoreBufferNumbs"), "20");
    send_some(&mut peer, 0);
    wait_until("the commit of all", || max_offset(&mut peer) == MESSAGES);
    assert_eq!(info(&mut peer, "remainTransientStoreBufferNumbs"), "19");
    assert_eq!(info(&mut peer, "remainHowManyDataToCommit"), "0 B");
    check_all(&mut peer, MESSAGES);

    // A pull that waits hears of a message that is committed.
    let wait =
        Pull { sys_flag: SUBSCRIPTION | SUSPEND, suspend: 30_000, ..Pull::new("T", 0, MESSAGES) };
    let mut waiting = broker.peer();
    waiting.send(&wait.command());
    send_some(&mut peer, MESSAGES);
    assert_eq!(waiting.receive().code, 0);
    wait_until("the commit of all", || max_offset(&mut peer) == 2 * MESSAGES);

    // What was to be seen stays, also when the process is killed.
    broker.kill();
    let broker = Daemon::broker(dir.path(), &config);
    let mut peer = broker.peer();
    assert_eq!(max_offset(&mut peer), 2 * MESSAGES);
    check_all(&mut peer, 2 * MESSAGES);

    // A stop keeps everything that was acknowledged, and another broker needs no pool to read it.
    send_some(&mut peer, 2 * MESSAGES);
    broker.stop();
    let broker = Daemon::broker(dir.path(), &broker_config(dir.path(), ""));
    let mut peer = broker.peer();
    assert_eq!(max_offset(&mut peer), 3 * MESSAGES);
    check_all(&mut peer, 3 * MESSAGES);
    assert_eq!(info(&mut peer, "remainTransientStoreBufferNumbs"), i32::MAX.to_string());
}
