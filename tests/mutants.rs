//! Valid requests of every code, changed at random (the same in every run): nothing panics, every
//! server goes on, other connections get right answers.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;

use ferrocket::broker::requests;
use ferrocket::message::batch;
use ferrocket::namesrv;
use ferrocket::protocol::code::request as codes;
use ferrocket::protocol::{Codec, Command, frame};

use crate::bad_frames::needy;
use crate::child::{Daemon, Numbers, broker_config};
use crate::common::{heart_beat, request, wait_until};
use crate::flood::Steady;
use crate::peer::Peer;

/// How many mutants each server gets of fields and bodies, and how many of bytes.
const MEANINGS: usize = 4000;
const BYTES: usize = 3000;
/// Mutants written before the server must have dealt with them.
const BATCH: usize = 25;

/// Bodies of codes that have one.
fn broker_bodies() -> BTreeMap<i32, Vec<u8>> {
    let lock = br#"{"clientId":"c","consumerGroup":"g","mqSet":[
        {"brokerName":"broker-a","queueId":0,"topic":"Bad"}]}"#;
    let check = br#"{"clientId":"c","group":"g","subscriptionData":{"classFilterMode":false,
        "codeSet":[1],"expressionType":"TAG","subString":"a || b","subVersion":1,
        "tagsSet":["a"],"topic":"Bad"}}"#;
    let group = br#"{"brokerId":0,"consumeEnable":true,"consumeFromMinEnable":true,
        "groupName":"g","retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#;
    let mut messages = Vec::new();
    for n in 0..3 {
        batch::push(&mut messages, n, &[b'm'; 50], "TAGS\u{1}a\u{2}KEYS\u{1}k").unwrap();
    }
    BTreeMap::from([
        (codes::SEND_MESSAGE, b"a message".to_vec()),
        (codes::SEND_MESSAGE_V2, b"another message".to_vec()),
        (codes::SEND_BATCH_MESSAGE, messages),
        (codes::HEART_BEAT, heart_beat("c", "g", "Bad", "a || b", 7).body),
        (codes::CHECK_CLIENT_CONFIG, check.to_vec()),
        (codes::LOCK_BATCH_MQ, lock.to_vec()),
        (codes::UNLOCK_BATCH_MQ, lock.to_vec()),
        (codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, group.to_vec()),
        (codes::UPDATE_BROKER_CONFIG, b"traceOn=true\nregionId=R".to_vec()),
    ])
}

/// Fields beside the needed ones that some code of the broker looks at.
const MORE_FIELDS: [(&str, &str); 14] = [
    ("properties", "TAGS\u{1}a\u{2}KEYS\u{1}k l\u{2}DELAY\u{1}1\u{2}WAIT\u{1}true"),
    ("reconsumeTimes", "3"),
    ("maxReconsumeTimes", "2"),
    ("unitMode", "true"),
    ("batch", "false"),
    ("subscription", "a || b"),
    ("expressionType", "TAG"),
    ("originMsgId", "7F0000010000000000000000"),
    ("originTopic", "Bad"),
    ("topicSysFlag", "1"),
    ("order", "true"),
    ("removeOffset", "true"),
    ("_UNIQUE_KEY_QUERY", "true"),
    ("producerGroup", "g"),
];

/// One good request for each code of the broker.
fn broker_requests() -> Vec<Command> {
    let needed: BTreeMap<_, _> = needy().into_iter().collect();
    let bodies = broker_bodies();
    let codes = requests::rows().into_iter().map(|row| row.code);
    let all = codes.map(|code| {
        let mut command = request(code, needed.get(&code).map_or(&[], Vec::as_slice));
        MORE_FIELDS.iter().for_each(|(name, value)| command.fields_mut().push(name, value));
        command.body = bodies.get(&code).cloned().unwrap_or_default();
        command
    });
    all.collect()
}

/// One good request for each code of the NameServer.
fn namesrv_requests() -> Vec<Command> {
    let fields = [
        ("namespace", "n"),
        ("key", "k"),
        ("value", "v"),
        ("brokerName", "broker-b"),
        ("brokerAddr", "127.0.0.1:1"),
        ("clusterName", "C"),
        ("haServerAddr", "127.0.0.1:2"),
        ("brokerId", "0"),
        ("compressed", "false"),
        ("bodyCrc32", "0"),
        ("topic", "T"),
        ("acceptStandardJsonOnly", "true"),
        ("cluster", "C"),
    ];
    let register = br#"{"filterServerList":[],"topicConfigSerializeWrapper":{
        "dataVersion":{"counter":1,"timestamp":1700000000000},"topicConfigTable":{"T":{
        "order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG",
        "topicName":"T","topicSysFlag":0,"writeQueueNums":4}}}}"#;
    let all = namesrv::served().map(|code| {
        let mut command = request(code, &fields);
        command.body = match code {
            codes::REGISTER_BROKER => register.to_vec(),
            codes::QUERY_DATA_VERSION => br#"{"counter":1,"timestamp":1}"#.to_vec(),
            codes::UPDATE_NAMESRV_CONFIG => b"orderMessageEnable=true".to_vec(),
            _ => Vec::new(),
        };
        command
    });
    all.collect()
}

/// Values that someone may not have thought of.
const VALUES: [&str; 26] = [
    "",
    "0",
    "-1",
    "1",
    "7",
    "31",
    "32",
    "255",
    "65535",
    "65536",
    "2147483647",
    "-2147483648",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "1e309",
    "NaN",
    "null",
    "true",
    "\u{0}",
    "\u{1}\u{2}",
    "../../etc/passwd",
    "%RETRY%g",
    "SCHEDULE_TOPIC_XXXX",
    "\u{1F600}é",
    "(a || ",
];

/// Changes what a request says: fields, flags, some of its body.
fn mutate_meaning(numbers: &mut Numbers, command: &mut Command) {
    let pairs: Vec<(String, String)> = command
        .fields
        .take()
        .iter()
        .flat_map(|fields| fields.iter())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let victim = numbers.below(pairs.len() + 1);
    for (index, (name, value)) in pairs.iter().enumerate() {
        let fields = command.fields_mut();
        match numbers.below(6) {
            0 if index == victim => {}
            1 if index == victim => fields.push(name, &value.repeat(1 + numbers.below(5000))),
            2 if index == victim => fields.push(value, name),
            _ if index == victim => fields.push(name, VALUES[numbers.below(VALUES.len())]),
            _ => fields.push(name, value),
        }
    }
    match numbers.below(8) {
        0 => command.flag = numbers.below(8) as i32 & !1,
        1 => command.version = numbers.below(1 << 20) as i32 - 500,
        2 => command.language = numbers.below(14) as u8,
        3 => command.codec = Codec::Binary,
        _ => mutate_bytes(numbers, &mut command.body),
    }
}

/// Flips, cuts, repeats or inserts bytes.
pub fn mutate_bytes(numbers: &mut Numbers, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    for _ in 0..1 + numbers.below(3) {
        let at = numbers.below(bytes.len().max(1));
        match numbers.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, numbers.below(256) as u8),
            2 => bytes.extend_from_within(at..),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
        }
    }
}

/// Sends what `make` makes, a few at a time, and a good request behind them, to which the server
/// comes by answering that, or, `bytes` being no frames any more, by closing the connection.
fn send_all(
    addr: SocketAddr,
    count: usize,
    good: &Command,
    may_close: bool,
    mut make: impl FnMut(usize) -> Vec<u8>,
) {
    for batch in 0..count / BATCH {
        let mut peer = Peer::connect(addr);
        let last = Command { opaque: batch as i32, ..good.clone() };
        let mut bytes: Vec<u8> = (0..BATCH).flat_map(|n| make(batch * BATCH + n)).collect();
        bytes.extend(frame::encode(&last));
        if may_close {
            peer.finish_with(&bytes);
        } else {
            peer.stream.write_all(&bytes).unwrap();
            while peer.receive().opaque != last.opaque {}
        }
    }
}

/// A request goes behind the mutants to the end of the queue that most of them wait in: so they
/// never are more than a queue holds.
fn soak(server: &Daemon, seed: u64, requests: &[Command], good: &Command, steady: Steady) {
    let mut numbers = Numbers::new(seed);
    send_all(server.addr(), MEANINGS, good, false, |n| {
        let mut command = requests[n % requests.len()].clone();
        mutate_meaning(&mut numbers, &mut command);
        frame::encode(&command)
    });
    steady.wait_for_more();
    send_all(server.addr(), BYTES, good, true, |n| {
        let mut command = requests[n % requests.len()].clone();
        if numbers.below(2) == 0 {
            command.codec = Codec::Binary;
        }
        let mut bytes = frame::encode(&command);
        mutate_bytes(&mut numbers, &mut bytes);
        bytes
    });
    steady.stop();
    wait_until("an answer on a new connection", || {
        server.peer().ask(&request(9999, &[])).code == 3
    });
}

#[test]
fn a_name_server_survives_mutants() {
    let dir = tempfile::tempdir().unwrap();
    let server = Daemon::namesrv(dir.path());
    let good = request(codes::GET_BROKER_CLUSTER_INFO, &[]);
    soak(&server, 11, &namesrv_requests(), &good, Steady::of_namesrv(server.addr()));
    let log = server.stop();
    assert!(!log.contains("panic"), "{log}");
}

#[test]
fn a_broker_survives_mutants() {
    let dir = tempfile::tempdir().unwrap();
    let config = broker_config(dir.path(), "");
    let server = Daemon::broker(dir.path(), &config);
    let good = request(codes::GET_MIN_OFFSET, &[("topic", "Good"), ("queueId", "0")]);
    soak(&server, 12, &broker_requests(), &good, Steady::of_broker(server.addr()));
    let log = server.stop();
    assert!(!log.contains("panic"), "{log}");
    // What they have left behind does not stop it either.
    let server = Daemon::broker(dir.path(), &config);
    assert!(!server.stop().contains("panic"));
}
