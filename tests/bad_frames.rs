//! Bad input at the sockets of NameServer and Broker: a precise error, or that one connection
//! closed; memory bounded; everyone else served meanwhile.

use std::io::Write;

use ferrocket::protocol::code::request as codes;
use ferrocket::protocol::{Command, frame};

use crate::common::{Cluster, binary, request};
use crate::peer::Peer;

const SYSTEM_ERROR: i32 = 1;
const NOT_SUPPORTED: i32 = 3;

/// Both servers of a cluster: how to connect to each.
fn servers(cluster: &Cluster) -> [(&'static str, Peer); 2] {
    [("NameServer", cluster.namesrv_peer()), ("Broker", cluster.peer())]
}

/// A request that each server answers: NOT_SUPPORTED or the like is as good as any answer.
fn ping() -> Command {
    request(9999, &[])
}

/// A frame around a header.
fn framed(codec: u8, header: &[u8]) -> Vec<u8> {
    let len = header.len() as u32;
    let mut out = (len + 4).to_be_bytes().to_vec();
    out.extend_from_slice(&len.to_be_bytes());
    out[4] = codec;
    out.extend_from_slice(header);
    out
}

fn json(header: &str) -> Vec<u8> {
    framed(0, header.as_bytes())
}

/// Eight bytes with these lengths, and some more.
fn lengths(frame: i32, header: u32) -> Vec<u8> {
    [&frame.to_be_bytes()[..], &header.to_be_bytes(), &[b'{'; 64]].concat()
}

/// What no server takes for a frame.
fn no_frames() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for length in [i32::MIN, -1, 0, 1, 3, i32::MAX, 16 << 20, (16 << 20) - 3] {
        all.push(lengths(length, 2));
    }
    for (length, header) in [(4, 1), (20, 17), (20, 0xFF_FFFF), (1000, 997)] {
        all.push(lengths(length, header));
    }
    for codec in [2, 7, 0x7F, 0xFF] {
        all.push(framed(codec, b"{}"));
    }
    let nested = |open: &str| format!("{{\"x\":{}", open.repeat(60_000));
    for header in [
        "",
        "{",
        "}",
        "[]",
        "null",
        "7",
        "\"code\"",
        "{\"code\"",
        "{\"code\":}",
        "{}{}",
        "{\"code\":1e99}",
        "{\"code\":\"ten\"}",
        "{\"code\":{}}",
        "{\"code\":99999999999}",
        "{\"opaque\":[1]}",
        "{\"flag\":\"x\"}",
        "{\"extFields\":7}",
        "{\"extFields\":[]}",
        "{\"extFields\":{\"a\"}}",
        "{\"extFields\":{\"a\":\"b}",
        "{\"remark\":\"\\u12\"}",
        "{\"a\":\"\u{1}",
        "\u{0}\u{0}",
        "{\"language\":99}",
        "{/*",
        "{\"a\":[}",
    ] {
        all.push(json(header));
    }
    all.extend(["[", "{\"y\":", "[{\"z\":"].map(|open| json(&nested(open))));
    all.push(json(&format!("{{\"extFields\":{{\"a\":{}", "[".repeat(60_000))));
    all.push(framed(0, &[0xFF, 0xFE, 0x80, b'{']));
    let whole = frame::encode(&binary(request(30, &[("topic", "T"), ("queueId", "0")])));
    for end in 8..whole.len() {
        all.push(framed(1, &whole[8..end]));
    }
    for at in [13, 17] {
        for length in [-1, i32::MIN, i32::MAX, 1000] {
            let mut header = whole[8..].to_vec();
            header[at..at + 4].copy_from_slice(&i32::to_be_bytes(length));
            all.push(framed(1, &header));
        }
    }
    all.push(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec());
    all.push([&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3][..], &[0x5A; 200]].concat());
    all
}

#[test]
fn what_is_no_frame_closes_its_own_connection_only() {
    let cluster = Cluster::start();
    for (_, mut served) in servers(&cluster) {
        let addr = served.stream.peer_addr().unwrap();
        for bytes in no_frames() {
            // A good request before it is answered all the same.
            let mut bad = Peer::connect(addr);
            assert_eq!(bad.ask(&ping()).code, NOT_SUPPORTED);
            bad.expect_close(&bytes);
            assert_eq!(served.ask(&ping()).code, NOT_SUPPORTED);
        }
    }
}

#[test]
fn odd_headers_are_served() {
    let cluster = Cluster::start();
    for (server, mut peer) in servers(&cluster) {
        let pad = "x".repeat(4 << 20);
        for mut command in
            [request(9999, &[("pad", &pad)]), binary(request(9999, &[("pad", &pad)]))]
        {
            command.remark = Some("r".repeat(1000));
            let reply = peer.ask(&command);
            assert_eq!((reply.code, reply.codec), (NOT_SUPPORTED, command.codec), "{server}");
        }
        let deep = format!("{}{}", "[".repeat(50), "]".repeat(50));
        for header in [
            "{\"code\":9999,\"opaque\":5}\n",
            "{'code':'9999','opaque':5.0,'extFields':{'a':1,'b':true,'c':null,'d':{'e':[2]}}}",
            "{code:9999,opaque:5,extFields:null,language:'KLINGON',unknown:[1,{a:2}]}",
            &format!("{{\"code\":9999,\"opaque\":5,\"x\":{deep},\"extFields\":{{\"a\":{deep}}}}}"),
        ] {
            peer.stream.write_all(&json(header)).unwrap();
            let reply = peer.receive();
            assert_eq!((reply.code, reply.opaque), (NOT_SUPPORTED, 5), "{server}: {header}");
            let remark = reply.remark.as_deref();
            assert_eq!(remark, Some(" request type 9999 not supported"), "{server}");
        }
    }
}

#[test]
fn a_code_without_a_handler_is_answered_3() {
    let cluster = Cluster::start();
    for (server, mut peer) in servers(&cluster) {
        for code in [i32::MIN, -1, 0, 1, 9, 999, 32_768, i32::MAX] {
            for command in [request(code, &[]), binary(request(code, &[]))] {
                let reply = peer.ask(&command);
                let remark = format!(" request type {code} not supported");
                assert_eq!((reply.code, reply.remark), (NOT_SUPPORTED, Some(remark)), "{server}");
            }
        }
    }
}

/// Requests that need fields: code, and the needed fields with good values.
pub fn needy() -> Vec<(i32, Vec<(&'static str, &'static str)>)> {
    let send = || {
        let names = ["producerGroup", "topic", "defaultTopic", "defaultTopicQueueNums", "queueId"];
        let names = names.into_iter().chain(["sysFlag", "bornTimestamp", "flag"]);
        names.zip(["g", "Bad", "TBW102", "4", "0", "0", "0", "0"]).collect::<Vec<_>>()
    };
    let queue = || vec![("topic", "Bad"), ("queueId", "0")];
    let group_queue = || [vec![("consumerGroup", "g")], queue()].concat();
    let more = |fields: Vec<_>, more: &[_]| [fields, more.to_vec()].concat();
    let numbers = ["queueOffset", "maxMsgNums", "sysFlag", "commitOffset", "suspendTimeoutMillis"];
    let pull: Vec<_> = numbers.into_iter().chain(["subVersion"]).map(|name| (name, "0")).collect();
    let create = ["topic", "defaultTopic", "readQueueNums", "writeQueueNums", "perm"];
    let create = create.into_iter().chain(["topicFilterType"]);
    let create = create.zip(["Bad", "TBW102", "1", "1", "6", "SINGLE_TAG"]).collect();
    let times = [("maxNum", "1"), ("beginTimestamp", "0"), ("endTimestamp", "0")];
    vec![
        (codes::SEND_MESSAGE, send()),
        (codes::SEND_MESSAGE_V2, send()),
        (codes::SEND_BATCH_MESSAGE, send()),
        (codes::CONSUMER_SEND_MSG_BACK, vec![("offset", "0"), ("group", "g"), ("delayLevel", "0")]),
        (codes::PULL_MESSAGE, more(group_queue(), &pull)),
        (codes::LITE_PULL_MESSAGE, more(group_queue(), &pull)),
        (codes::QUERY_MESSAGE, more(vec![("topic", "Bad"), ("key", "k")], &times)),
        (codes::VIEW_MESSAGE_BY_ID, vec![("offset", "0")]),
        (codes::UNREGISTER_CLIENT, vec![("clientID", "c")]),
        (codes::GET_CONSUMER_LIST_BY_GROUP, vec![("consumerGroup", "g")]),
        (codes::QUERY_CONSUMER_OFFSET, group_queue()),
        (codes::UPDATE_CONSUMER_OFFSET, more(group_queue(), &[("commitOffset", "0")])),
        (codes::SEARCH_OFFSET_BY_TIMESTAMP, more(queue(), &[("timestamp", "0")])),
        (codes::GET_MAX_OFFSET, queue()),
        (codes::GET_MIN_OFFSET, queue()),
        (codes::GET_EARLIEST_MSG_STORETIME, queue()),
        (codes::GET_CONSUME_STATS, vec![("consumerGroup", "g")]),
        (codes::UPDATE_AND_CREATE_TOPIC, create),
        (codes::DELETE_TOPIC_IN_BROKER, vec![("topic", "Bad")]),
        (codes::GET_TOPIC_STATS_INFO, vec![("topic", "Bad")]),
        (codes::DELETE_SUBSCRIPTIONGROUP, vec![("groupName", "g")]),
        (codes::GET_CONSUMER_CONNECTION_LIST, vec![("consumerGroup", "g")]),
        (codes::GET_PRODUCER_CONNECTION_LIST, vec![("producerGroup", "g")]),
        (codes::VIEW_BROKER_STATS_DATA, vec![("statsName", "s"), ("statsKey", "k")]),
    ]
}

/// Fields that are numbers: also refused, by name, when they are something else.
fn is_number(value: &str) -> bool {
    value.parse::<i64>().is_ok()
}

#[test]
fn a_missing_or_mistyped_field_is_named() {
    let cluster = Cluster::start();
    let mut peer = cluster.peer();
    let refused = |peer: &mut Peer, code, fields: &[(&str, &str)], name: &str| {
        for command in [request(code, fields), binary(request(code, fields))] {
            let reply = peer.ask(&command);
            let remark = reply.remark.unwrap_or_default();
            assert_eq!(reply.code, SYSTEM_ERROR, "{code} without {name}: {remark}");
            assert!(remark.contains(name), "{code} without {name}: {remark}");
        }
    };
    for (code, fields) in needy() {
        for (index, (name, value)) in fields.iter().enumerate() {
            let mut rest = fields.clone();
            rest.remove(index);
            refused(&mut peer, code, &rest, name);
            let bad = ["", "x", "1.5", "0x10", "99999999999999999999", "\u{661}"];
            for bad in bad.into_iter().filter(|_| is_number(value)) {
                rest.insert(index, (name, bad));
                refused(&mut peer, code, &rest, name);
                rest.remove(index);
            }
        }
    }
}

#[test]
fn a_garbage_body_is_refused() {
    let cluster = Cluster::start();
    let mut peer = cluster.peer();
    let deep = "{\"a\":[".repeat(60_000);
    for code in [
        codes::HEART_BEAT,
        codes::CHECK_CLIENT_CONFIG,
        codes::LOCK_BATCH_MQ,
        codes::UNLOCK_BATCH_MQ,
        codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
    ] {
        for body in ["{", "[", "nothing", "{\"clientID\":\"c}", "\u{0}\u{1}", &deep] {
            let mut command = request(code, &[]);
            command.body = body.as_bytes().to_vec();
            let reply = peer.ask(&command);
            let remark = reply.remark.unwrap_or_default();
            assert_eq!(reply.code, SYSTEM_ERROR, "{code} {body:.20}: {remark}");
            assert!(remark.contains("JSON: "), "{code} {body:.20}: {remark}");
        }
    }
}

#[test]
fn the_end_right_behind_a_request_is_seen() {
    let cluster = Cluster::start();
    for (_, peer) in servers(&cluster) {
        let addr = peer.stream.peer_addr().unwrap();
        for _ in 0..300 {
            // Waits for the close.
            Peer::connect(addr).finish_with(&frame::encode(&ping()));
        }
    }
}
