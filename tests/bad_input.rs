//! Bad input with a meaning: names that are none, places that are not there, ends and retries of
//! what is not the client's. Refused with RocketMQ's code and a remark that names what is wrong;
//! nothing is stored, nothing is lost.

use std::fs;
use std::path::Path;

use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;

use crate::bad_frames::needy;
use crate::common::*;

/// Every file and directory below `dir`.
fn files(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        }
        all.push(path.display().to_string());
    }
    all.sort();
    all
}

/// What a bad request must leave as it is: the end of the log, topics, groups, offsets, files.
fn state(cluster: &Cluster) -> (i64, Vec<String>, Vec<String>) {
    let tables = [
        codes::GET_ALL_TOPIC_CONFIG,
        codes::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
        codes::GET_ALL_CONSUMER_OFFSET,
    ];
    let table = |code| cluster.peer().ask(&Command::request(code)).body;
    let tables = tables.map(|code| String::from_utf8(table(code)).unwrap());
    let end = cluster.broker.store.max_physical_offset();
    (end, tables.to_vec(), files(cluster.dir.path()))
}

/// A topic with a message, and a group that has consumed it.
fn known() -> Cluster {
    let cluster = Cluster::start();
    put(&cluster, "Known", 0, "", b"x");
    let pull = Pull { group: "g", ..Pull::new("Known", 0, 0) };
    assert_eq!(cluster.peer().ask(&pull.command()).code, 0);
    commit(&cluster, "Known", "g", 0, 1);
    cluster
}

/// Codes that only look: they find nothing under such a name, and say so in their own way.
const LOOK: [i32; 7] = [
    codes::QUERY_CONSUMER_OFFSET,
    codes::SEARCH_OFFSET_BY_TIMESTAMP,
    codes::GET_MAX_OFFSET,
    codes::GET_MIN_OFFSET,
    codes::GET_EARLIEST_MSG_STORETIME,
    codes::GET_CONSUME_STATS,
    codes::QUERY_MESSAGE,
];

#[test]
fn names_that_are_none_are_refused_by_every_request() {
    let cluster = known();
    let before = state(&cluster);
    let long = "x".repeat(300);
    for bad in ["..", "../../etc", "/", "a/b", "a b", "a@b", "a\u{0}b", "ä", &long] {
        for (code, fields) in needy() {
            for name in ["topic", "group", "consumerGroup", "groupName"] {
                // Deleting a group that is not there is done, as with RocketMQ.
                if !fields.iter().any(|field| field.0 == name) || name == "groupName" {
                    continue;
                }
                let value = |&(field, value): &(&'static str, &'static str)| match field {
                    _ if field == name => (field, bad),
                    "topic" => (field, "Known"),
                    _ => (field, value),
                };
                let fields: Vec<_> = fields.iter().map(value).collect();
                let reply = cluster.peer().ask(&request(code, &fields));
                let remark = reply.remark.unwrap_or_default();
                let named = [bad, "illegal characters", "longer than"];
                let named = named.iter().any(|part| remark.contains(part));
                let refused = reply.code != 0 && named;
                assert!(refused || LOOK.contains(&code), "{code} {name} {bad}: {remark}");
            }
        }
        let escaped = bad.replace('\0', "\\u0000");
        // A member comes, but nothing is made for it.
        let mut member = cluster.peer();
        member.ask_among(&heart_beat("c", &escaped, &escaped, "*", 1));
        let group = format!(r#"{{"groupName":"{escaped}"}}"#);
        let mut create = Command::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
        create.body = group.into_bytes();
        assert_ne!(cluster.peer().ask(&create).code, 0, "{bad}");
    }
    assert_eq!(state(&cluster), before);
}

/// CONSUMER_SEND_MSG_BACK of the record at `offset`.
fn send_back(cluster: &Cluster, group: &str, offset: i64) -> (i32, String) {
    let offset = offset.to_string();
    let fields = [("offset", offset.as_str()), ("group", group), ("delayLevel", "-1")];
    let reply = cluster.peer().ask(&request(codes::CONSUMER_SEND_MSG_BACK, &fields));
    (reply.code, reply.remark.unwrap_or_default())
}

fn offset_of(cluster: &Cluster, topic: &str, text: &str) -> i64 {
    let reply = cluster.peer().ask(&send_v2(topic, 0, text, b"waits"));
    assert_eq!(reply.code, 0);
    log_offset(&reply)
}

#[test]
fn a_retry_of_retries_is_no_group_s() {
    let cluster = known();
    let before = state(&cluster);
    for group in ["%RETRY%g", "%DLQ%g", "%RETRY%%RETRY%g"] {
        let (code, remark) = send_back(&cluster, group, 0);
        assert_eq!(code, 26);
        assert!(remark.contains(&format!("subscription group not exist, {group}")), "{remark}");
        // A member comes, but nothing is made for it.
        let beat = heart_beat("c", group, "Known", "*", 1);
        let mut peer = cluster.peer();
        peer.ask_among(&beat);
    }
    assert_eq!(state(&cluster), before);
    // A send makes its topic before it is refused, as with RocketMQ.
    let reply = cluster.peer().ask(&send_v2("%RETRY%%RETRY%g", 0, "", b"round"));
    assert_eq!(reply.code, 26);
    assert_eq!(cluster.broker.store.max_physical_offset(), before.0);
}

#[test]
fn what_was_never_delivered_is_not_sent_back() {
    let cluster = known();
    let delayed = offset_of(&cluster, "Known", &properties(&[("DELAY", "18")]));
    let half = properties(&[("TRAN_MSG", "true"), ("PGROUP", "producers")]);
    let half = offset_of(&cluster, "Known", &half);
    let end = cluster.broker.store.max_physical_offset();
    for offset in [delayed, half, 1, -1, i64::MIN, end, end + 1_000_000, i64::MAX] {
        let (code, remark) = send_back(&cluster, "g", offset);
        assert_eq!((code, remark), (1, format!("look message by offset failed, {offset}")));
    }
    assert_eq!(cluster.broker.store.max_physical_offset(), end);
    assert_eq!(max_offset(&cluster, "%RETRY%g", 0) + max_offset(&cluster, "%DLQ%g", 0), 0);
    assert_eq!(send_back(&cluster, "g", 0).0, 0);
}

#[test]
fn offsets_beyond_the_end_and_below_the_begin() {
    let cluster = known();
    put(&cluster, "Known", 0, "", b"y");
    // PULL_OFFSET_MOVED and the offset to go on at.
    for (offset, goes_on) in [(3, 2), (i64::MAX, 2), (-1, 0), (i64::MIN, 0)] {
        let reply = cluster.peer().ask(&Pull::new("Known", 0, offset).command());
        assert_eq!((reply.code, number(&reply, "nextBeginOffset")), (21, goes_on), "{offset}");
    }
    for (topic, queue_id) in [("Known", 99), ("Known", -1), ("Known", i32::MAX)] {
        let reply = cluster.peer().ask(&Pull::new(topic, queue_id, 0).command());
        let remark = reply.remark.unwrap();
        assert!(reply.code == 1 && remark.contains(&format!("[{queue_id}]")), "{remark}");
    }
    // Stored as it comes, as with RocketMQ; below 0 is no offset.
    for (offset, found) in [(77, 77), (i64::MAX, i64::MAX), (-5, 0)] {
        commit(&cluster, "Known", "g", 0, offset);
        let fields = [("topic", "Known"), ("consumerGroup", "g"), ("queueId", "0")];
        let reply = cluster.peer().ask(&request(codes::QUERY_CONSUMER_OFFSET, &fields));
        assert_eq!((reply.code, number(&reply, "offset")), (0, found), "{offset}");
    }
    for offset in ["-1", "1", "9223372036854775807", "-9223372036854775808"] {
        let reply = cluster.peer().ask(&request(codes::VIEW_MESSAGE_BY_ID, &[("offset", offset)]));
        let remark = reply.remark.unwrap();
        assert!(reply.code == 1 && remark.contains(offset), "{remark}");
    }
    assert_eq!(messages(&cluster, "Known", 0).len(), 2);
}

#[test]
fn locks_of_queues_that_are_not_there_make_nothing() {
    let cluster = known();
    let before = state(&cluster);
    let body = |client: &str| {
        let of_5_x = if client == "c1" { r#""onlyThisBroker":true,"# } else { "" };
        format!(
            r#"{{"clientId":"{client}","consumerGroup":"nobody",{of_5_x}"mqSet":[
            {{"brokerName":"other","queueId":-7,"topic":"../x"}},
            {{"brokerName":"broker-a","queueId":2147483647,"topic":"Nothing"}}]}}"#
        )
    };
    let ask = |code, client: &str| {
        let mut command = Command::request(code);
        command.body = body(client).into_bytes();
        let reply = cluster.peer().ask(&command);
        assert_eq!(reply.code, 0);
        String::from_utf8(reply.body).unwrap().matches("queueId").count()
    };
    // Granted as by RocketMQ, which does not look whether they are there.
    assert_eq!(ask(codes::LOCK_BATCH_MQ, "c1"), 2);
    assert_eq!(ask(codes::LOCK_BATCH_MQ, "c2"), 0);
    ask(codes::UNLOCK_BATCH_MQ, "c1");
    assert_eq!(ask(codes::LOCK_BATCH_MQ, "c2"), 2);
    assert_eq!(state(&cluster), before);
    // What is locked is kept, so its names are not of any length.
    let long = |name: &str, length: usize| {
        let queue = format!(r#"{{"queueId":1,"{name}":"{}"}}"#, "x".repeat(length));
        format!(r#"{{"clientId":"c","consumerGroup":"g","mqSet":[{queue}]}}"#)
    };
    let client = format!(r#"{{"clientId":"{}","mqSet":[]}}"#, "x".repeat(1025));
    let group = format!(r#"{{"consumerGroup":"{}","mqSet":[]}}"#, "x".repeat(256));
    let long = [client, group, long("topic", 1025), long("brokerName", 1025)];
    let bad = ["", "null", "[]", r#"{"mqSet":[{"queueId":1e99}]}"#, r#"{"mqSet":7}"#];
    for bad in bad.into_iter().chain(long.iter().map(String::as_str)) {
        let mut command = Command::request(codes::LOCK_BATCH_MQ);
        command.body = bad.as_bytes().to_vec();
        assert_eq!(cluster.peer().ask(&command).code, 1, "{bad}");
    }
}

#[test]
fn a_timer_message_is_refused_and_not_delivered_at_once() {
    let cluster = known();
    let end = cluster.broker.store.max_physical_offset();
    for name in ["TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"] {
        let reply = cluster.peer().ask(&send_v2("Known", 0, &properties(&[(name, "9")]), b"x"));
        let remark = "accurate timer message is not enabled, timerWheelEnable is false";
        assert_eq!((reply.code, reply.remark.as_deref()), (1, Some(remark)));
    }
    assert_eq!(cluster.broker.store.max_physical_offset(), end);
    let both = properties(&[("TIMER_DELAY_SEC", "9"), ("DELAY", "18")]);
    assert_eq!(cluster.peer().ask(&send_v2("Known", 0, &both, b"x")).code, 0);
}
