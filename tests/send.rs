//! SEND_MESSAGE in all its forms, at the wire.

use std::thread;

use ferrocket::config::{BrokerRole, FlushDiskType};
use ferrocket::message::batch;
use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;

use crate::common::*;

#[test]
fn a_message_is_stored_as_it_was_sent() {
    let cluster = Cluster::start();
    let mut peer = cluster.peer();
    let text = properties(&[("KEYS", "k1 k2"), ("WAIT", "true"), ("TAGS", "a")]);
    let fields = [
        ("producerGroup", "producers"),
        ("topic", "T"),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "3"),
        ("queueId", "2"),
        ("sysFlag", "0"),
        ("bornTimestamp", "1700000000000"),
        ("flag", "9"),
        ("properties", &text),
        ("reconsumeTimes", "0"),
    ];
    let mut command = request(codes::SEND_MESSAGE, &fields);
    command.body = b"first".to_vec();
    let reply = peer.ask(&command);
    assert_eq!((reply.code, reply.remark.as_deref()), (0, None));
    assert_eq!((number(&reply, "queueId"), number(&reply, "queueOffset")), (2, 0));
    assert_eq!(reply.field("MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(reply.field("TRACE_ON"), Some("true"));
    let port = cluster.broker.local_addr().unwrap().port();
    assert_eq!(reply.field("msgId").unwrap(), format!("7F000001{port:08X}{:016X}", 0));

    let reply = peer.ask(&binary(send_v2("T", 2, &text, b"second")));
    assert_eq!((reply.code, number(&reply, "queueOffset")), (0, 1));
    wait_until("both are dispatched", || max_offset(&cluster, "T", 2) == 2);
    let stored = messages(&cluster, "T", 2);
    let bodies: Vec<_> = stored.iter().map(|m| m.body.as_slice()).collect();
    assert_eq!(bodies, [&b"first"[..], b"second"]);
    let first = &stored[0];
    assert_eq!((first.topic.as_str(), first.queue_id, first.flag), ("T", 2, 9));
    assert_eq!((first.born_timestamp, first.reconsume_times), (1_700_000_000_000, 0));
    assert_eq!(first.born_host, peer.stream.local_addr().unwrap());
    assert_eq!(first.store_host.to_string(), format!("127.0.0.1:{port}"));
    assert_eq!(
        first.properties,
        properties(&[("KEYS", "k1 k2"), ("TAGS", "a"), ("CLUSTER", "DefaultCluster")])
    );
    assert_eq!(stored[1].flag, 7);
}

#[test]
fn a_new_topic_has_the_queues_asked_for_and_is_routed() {
    let cluster = Cluster::start();
    put(&cluster, "Fresh", 0, "", b"x");
    let route = |topic: &str| {
        cluster.namesrv_peer().ask(&request(codes::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)]))
    };
    wait_until("routed", || route("Fresh").code == 0);
    let body = String::from_utf8(route("Fresh").body).unwrap();
    assert!(body.contains(r#""readQueueNums":4"#) && body.contains(r#""perm":6"#), "{body}");
    let addr = format!("127.0.0.1:{}", cluster.broker.local_addr().unwrap().port());
    assert!(body.contains(&addr), "{body}");
}

#[test]
fn any_queue_means_one_of_the_topic() {
    let cluster = Cluster::start();
    let mut peer = cluster.peer();
    let mut seen = [false; 4];
    for _ in 0..64 {
        let reply = peer.ask(&send_v2("T", -1, "", b""));
        assert_eq!(reply.code, 0);
        seen[number(&reply, "queueId") as usize] = true;
    }
    assert_eq!(seen, [true; 4]);
}

/// A field of a V2 send replaced.
fn with(name: &str, value: &str, mut command: Command) -> Command {
    command.fields_mut().push(name, value);
    command
}

#[test]
fn refusals_have_rocketmq_s_code_and_remark() {
    let cluster = Cluster::start();
    cluster.create_topic("Known", 2, 6);
    let plain = || send_v2("Known", 0, "", b"x");
    let long = "x".repeat(128);
    let cases = [
        (with("b", " ", plain()), 1, "The specified topic is blank."),
        (
            with("b", "a/../b", plain()),
            1,
            "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
        ),
        (with("b", &long, plain()), 1, "The specified topic is longer than topic max length."),
        (
            with("b", "SCHEDULE_TOPIC_XXXX", plain()),
            16,
            "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden.",
        ),
        (
            with("c", "BenchmarkTest", with("b", "Unknown", plain())),
            17,
            "topic[Unknown] not exist, apply first please!\nSee http://rocketmq.apache.org",
        ),
        (with("e", "2", plain()), 1, "request queueId[2] is illegal, TopicConfig [topicName=Known"),
        (with("e", "two", plain()), 1, "queueId"),
        (with("i", &properties(&[("DELAY", "x")]), plain()), 1, "DELAY"),
        (
            with("i", &format!("K\u{1}{}", "v".repeat(32_767)), plain()),
            13,
            "the message is illegal",
        ),
    ];
    for (command, code, remark) in cases {
        let reply = cluster.peer().ask(&command);
        let found = reply.remark.clone().unwrap_or_default();
        assert_eq!(reply.code, code, "{found}");
        assert!(found.contains(remark), "{found}");
        assert_eq!(reply.field("MSG_REGION"), Some("DefaultRegion"), "{found}");
        assert_eq!(reply.field("TRACE_ON"), Some("true"));
        assert_eq!(reply.field("msgId"), None);
    }
    assert_eq!(max_offset(&cluster, "Known", 0), 0);
    let missing = cluster.peer().ask(&request(codes::SEND_MESSAGE_V2, &[("b", "Known")]));
    assert_eq!(missing.code, 1);
    assert!(missing.remark.unwrap().contains("producerGroup"));
}

#[test]
fn the_broker_s_own_rules_refuse_too() {
    let cluster = Cluster::with(|config| {
        config.auto_create_topic_enable = false;
        config.store.max_message_size = 100;
    });
    let reply = cluster.peer().ask(&send_v2("Unknown", 0, "", b"x"));
    assert_eq!(reply.code, 17);
    cluster.create_topic("T", 1, 6);
    let reply = cluster.peer().ask(&send_v2("T", 0, "", &[0; 101]));
    assert_eq!(reply.code, 13);
    assert!(reply.remark.unwrap().contains("msg body length limit 100B"));
    assert_eq!(cluster.peer().ask(&send_v2("T", 0, "", &[0; 100])).code, 0);

    let later = Cluster::with(|config| {
        config.start_accept_send_request_time_stamp = i64::MAX / 1_000_000;
    });
    let reply = later.peer().ask(&send_v2("T", 0, "", b"x"));
    assert_eq!(reply.code, 1);
    assert!(reply.remark.unwrap().starts_with("broker unable to service, until "));
}

fn batch_body(bodies: &[(&[u8], &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (body, text) in bodies {
        batch::push(&mut out, 3, body, text).unwrap();
    }
    out
}

#[test]
fn a_batch_becomes_messages_of_their_own() {
    let cluster = Cluster::start();
    let body = batch_body(&[(b"one", "TAGS\u{1}a"), (b"two", ""), (b"three", "KEYS\u{1}k\u{2}")]);
    let mut command = send_v2("T", 1, "WAIT\u{1}true", &body);
    command.code = codes::SEND_BATCH_MESSAGE;
    let reply = cluster.peer().ask(&command);
    assert_eq!((reply.code, number(&reply, "queueOffset")), (0, 0));
    let ids = reply.field("msgId").unwrap().to_owned();
    wait_until("dispatched", || max_offset(&cluster, "T", 1) == 3);
    let stored = messages(&cluster, "T", 1);
    let found: Vec<_> = stored.iter().map(|m| m.offset_id()).collect();
    assert_eq!(found.join(","), ids);
    let bodies: Vec<_> = stored.iter().map(|m| m.body.as_slice()).collect();
    assert_eq!(bodies, [&b"one"[..], b"two", b"three"]);
    assert!(stored.iter().all(|m| m.property("CLUSTER") == Some("DefaultCluster") && m.flag == 3));
    assert_eq!((stored[0].property("TAGS"), stored[2].property("KEYS")), (Some("a"), Some("k")));

    // By 310 with batch=true; 10 with batch=1, which is not true, is one message.
    let reply = cluster.peer().ask(&with("m", "TRUE", send_v2("T", 1, "", &body)));
    assert_eq!((reply.code, number(&reply, "queueOffset")), (0, 3));
    let reply = cluster.peer().ask(&with("m", "1", send_v2("T", 1, "", &body)));
    assert_eq!((reply.code, number(&reply, "queueOffset")), (0, 6));
    wait_until("dispatched", || max_offset(&cluster, "T", 1) == 7);
    assert_eq!(messages(&cluster, "T", 1)[6].body, body);

    // That a retry topic takes no batch is what clients of 4.9 hold themselves to.
    let mut retried = send_v2("%RETRY%producers", 0, "", &body);
    retried.code = codes::SEND_BATCH_MESSAGE;
    assert_eq!(cluster.peer().ask(&retried).code, 0);
    wait_until("dispatched", || max_offset(&cluster, "%RETRY%producers", 0) == 3);
}

#[test]
fn batches_that_cannot_be_are_refused() {
    let cluster = Cluster::start();
    let good = batch_body(&[(b"one", "")]);
    let delay = properties(&[("DELAY", "1")]);
    let (none, half) = ("0", "4");
    let cases = [(delay.as_str(), none, &good[..]), ("", half, &good), ("", none, &good[1..])];
    for (text, sys_flag, body) in cases {
        let mut command = with("f", sys_flag, send_v2("T", 0, text, body));
        command.code = codes::SEND_BATCH_MESSAGE;
        assert_eq!(cluster.peer().ask(&command).code, 13);
    }
    let mut long = send_v2("T", 0, "", &batch_body(&[(&[7; 3 << 20], ""), (&[7; 3 << 20], "")]));
    long.code = codes::SEND_BATCH_MESSAGE;
    assert_eq!(cluster.peer().ask(&long).code, 13, "longer than maxMessageSize");
    assert_eq!(max_offset(&cluster, "T", 0), 0);
}

#[test]
fn a_message_consumed_too_often_goes_to_the_dead_letters() {
    let cluster = Cluster::start();
    let retry = |times: &str, max: &str| {
        let command = with("j", times, send_v2("%RETRY%g", 0, "", b"x"));
        cluster.peer().ask(&with("l", max, command))
    };
    assert_eq!(retry("15", "16").code, 0);
    wait_until("kept", || max_offset(&cluster, "%RETRY%g", 0) == 1);
    assert_eq!(retry("16", "16").code, 0);
    assert_eq!(retry("2", "2").code, 0);
    wait_until("given up", || max_offset(&cluster, "%DLQ%g", 0) == 2);
    let dead = messages(&cluster, "%DLQ%g", 0);
    assert_eq!((dead[0].reconsume_times, dead[1].reconsume_times), (16, 2));
}

#[test]
fn a_delayed_message_arrives_when_its_time_has_come() {
    let cluster = Cluster::start();
    cluster.create_topic("T", 2, 6);
    let text = properties(&[("DELAY", "1"), ("TAGS", "a")]);
    let reply = cluster.peer().ask(&send_v2("T", 1, &text, b"later"));
    assert_eq!((reply.code, number(&reply, "queueId"), number(&reply, "queueOffset")), (0, 1, 0));
    wait_until("parked", || max_offset(&cluster, "SCHEDULE_TOPIC_XXXX", 0) == 1);
    assert_eq!(max_offset(&cluster, "T", 1), 0);
    wait_until("delivered", || max_offset(&cluster, "T", 1) == 1);
    let message = &messages(&cluster, "T", 1)[0];
    let parked = &messages(&cluster, "SCHEDULE_TOPIC_XXXX", 0)[0];
    assert!(message.store_timestamp >= parked.store_timestamp + 1000);
    assert_eq!((message.body.as_slice(), message.property("TAGS")), (&b"later"[..], Some("a")));
    assert_eq!(
        (message.property("REAL_TOPIC"), message.property("REAL_QID")),
        (Some("T"), Some("1"))
    );
}

#[test]
fn a_level_beyond_the_last_is_the_last() {
    let cluster = Cluster::start();
    let reply = cluster.peer().ask(&send_v2("T", 0, &properties(&[("DELAY", "99")]), b"x"));
    assert_eq!(reply.code, 0);
    wait_until("parked", || max_offset(&cluster, "SCHEDULE_TOPIC_XXXX", 17) == 1);
    let parked = &messages(&cluster, "SCHEDULE_TOPIC_XXXX", 17)[0];
    assert_eq!(parked.property("DELAY"), Some("18"));
}

#[test]
fn sync_flush_answers_every_pipelined_send() {
    let cluster = Cluster::with(|config| {
        config.store.flush_disk_type = FlushDiskType::SyncFlush;
    });
    let mut peer = cluster.peer();
    let wait = properties(&[("WAIT", "true")]);
    let no_wait = properties(&[("WAIT", "false")]);
    let sent: Vec<Command> = (0..100)
        .map(|n| send_v2("T", 0, if n % 2 == 0 { &wait } else { &no_wait }, b"x"))
        .collect();
    sent.iter().for_each(|command| peer.send(command));
    let mut answered: Vec<(i32, i32)> =
        sent.iter().map(|_| peer.receive()).map(|reply| (reply.opaque, reply.code)).collect();
    answered.sort_unstable();
    let expected: Vec<(i32, i32)> = sent.iter().map(|command| (command.opaque, 0)).collect();
    assert_eq!(answered, expected);
}

#[test]
fn a_stop_answers_what_it_stores() {
    let mut cluster = Cluster::with(|config| {
        config.store.flush_disk_type = FlushDiskType::SyncFlush;
    });
    put(&cluster, "T", 0, "", b"first");
    let mut stored = 1;
    for _ in 0..3 {
        let peers: Vec<Peer> = (0..16).map(|_| cluster.peer()).collect();
        let send_until_gone = |mut peer: Peer| {
            let mut answered = 0;
            while let Some(reply) = peer.try_ask(&send_v2("T", 0, "", &[b'x'; 20_000])) {
                // A slow machine refuses some, or is late with the disk.
                let (ok, flush_disk_timeout) = (0, 10);
                answered += i64::from([ok, flush_disk_timeout].contains(&reply.code));
            }
            answered
        };
        stored += thread::scope(|scope| {
            let send = |peer| scope.spawn(move || send_until_gone(peer));
            let senders: Vec<_> = peers.into_iter().map(send).collect();
            wait_until("under load", || max_offset(&cluster, "T", 0) > stored + 32);
            cluster.broker.stop();
            senders.into_iter().map(|sender| sender.join().unwrap()).sum::<i64>()
        });
        cluster.restart();
        assert_eq!(max_offset(&cluster, "T", 0), stored);
    }
}

#[test]
fn a_sync_master_without_a_slave_says_so() {
    for flush in [FlushDiskType::AsyncFlush, FlushDiskType::SyncFlush] {
        let cluster = Cluster::with(|config| {
            config.store.broker_role = BrokerRole::SyncMaster;
            config.store.flush_disk_type = flush;
        });
        let mut peer = cluster.peer();
        let slave_not_available = 11;
        assert_eq!(peer.ask(&send_v2("T", 0, "", b"x")).code, slave_not_available);
        let no_wait = properties(&[("WAIT", "false")]);
        assert_eq!(peer.ask(&send_v2("T", 0, &no_wait, b"x")).code, 0);
    }
}

#[test]
fn the_fast_port_serves_sends_but_no_pulls() {
    let cluster = Cluster::start();
    let mut fast = cluster.fast_peer();
    assert_eq!(fast.ask(&send_v2("T", 0, "", b"x")).code, 0);
    let reply = fast.ask(&Pull::new("T", 0, 0).command());
    assert_eq!((reply.code, reply.remark.as_deref()), (3, Some(" request type 11 not supported")));
}

#[test]
fn a_code_that_is_not_served_names_itself() {
    let cluster = Cluster::start();
    for code in [codes::QUERY_BROKER_OFFSET, codes::SUSPEND_CONSUMER, 200_050, 99_999] {
        let reply = cluster.peer().ask(&Command::request(code));
        let remark = format!(" request type {code} not supported");
        assert_eq!((reply.code, reply.remark), (3, Some(remark)));
    }
}

#[test]
fn messages_survive_a_restart() {
    let mut cluster = Cluster::start();
    for n in 0..10 {
        put(&cluster, "T", 0, &properties(&[("TAGS", "a")]), format!("{n}").as_bytes());
    }
    cluster.restart();
    let bodies: Vec<_> = messages(&cluster, "T", 0).into_iter().map(|m| m.body).collect();
    let expected: Vec<_> = (0..10).map(|n| format!("{n}").into_bytes()).collect();
    assert_eq!(bodies, expected);
    assert_eq!(put(&cluster, "T", 0, "", b"next"), 10);
}
