//! Flow control of pulls: transfer limits of messages in memory and on disk, whom to pull from
//! next, pulls that wait elsewhere. And the topic for traces.

use ferrocket::message::record;
use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;

use crate::common::*;

/// Number of messages of a pull from the beginning, and the broker to pull from next.
fn pulled(cluster: &Cluster, group: &str, max: i32) -> (usize, i64) {
    let reply = cluster.peer().ask(&Pull { group, max, ..Pull::new("T", 0, 0) }.command());
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    let count = record::decode_all(&reply.body).unwrap().len();
    assert_eq!(number(&reply, "nextBeginOffset"), count as i64);
    (count, number(&reply, "suggestWhichBrokerId"))
}

#[test]
fn an_answer_is_as_long_as_memory_or_disk_allow() {
    let cluster = Cluster::with(|config| {
        config.store.max_transfer_count_on_message_in_memory = 6;
        config.store.max_transfer_bytes_on_message_in_disk = 3000;
    });
    for _ in 0..12 {
        put(&cluster, "T", 0, "", &[7; 1000]);
    }
    let count = |max| pulled(&cluster, "g", max).0;
    assert_eq!((count(32), count(4)), (6, 4));
    cluster.set("maxTransferCountOnMessageInMemory", "32");
    cluster.set("maxTransferBytesOnMessageInMemory", "5000");
    assert_eq!((count(32), count(2)), (4, 2));
    cluster.set("maxTransferBytesOnMessageInMemory", "1");
    assert_eq!(count(32), 1, "the first message goes whatever its length");
    // From here on every message counts as on disk.
    cluster.set("accessMessageInMemoryMaxRatio", "0");
    assert_eq!(count(32), 2);
    cluster.set("maxTransferBytesOnMessageInDisk", "65536");
    assert_eq!(count(32), 8);
    cluster.set("maxTransferCountOnMessageInDisk", "5");
    assert_eq!((count(32), count(3)), (5, 3));
}

#[test]
fn a_group_that_reads_slowly_is_sent_to_the_broker_it_is_told() {
    let cluster = Cluster::with(|config| config.store.access_message_in_memory_max_ratio = 40);
    put(&cluster, "T", 0, "", b"old");
    put(&cluster, "T", 0, "", b"new");
    let mut group = Command::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    group.body = br#"{"groupName":"g","brokerId":5,"whichBrokerWhenConsumeSlowly":7}"#.to_vec();
    assert_eq!(cluster.peer().ask(&group).code, 0);
    let next = |group| pulled(&cluster, group, 1).1;
    assert_eq!(next("g"), 0, "slaves may not be read from");
    cluster.set("slaveReadEnable", "true");
    assert_eq!((next("g"), next("another")), (5, 0));
    cluster.set("accessMessageInMemoryMaxRatio", "0");
    assert_eq!((next("g"), next("another")), (7, 1));
    cluster.set("slaveReadEnable", "false");
    assert_eq!(next("g"), 0);
}

#[test]
fn a_group_too_far_behind_is_stopped_until_it_is_enabled() {
    let cluster = Cluster::with(|config| config.consumer_fallbehind_threshold = 1000);
    for _ in 0..3 {
        put(&cluster, "T", 0, "", &[7; 500]);
    }
    let pull = |group, max| {
        let reply = cluster.peer().ask(&Pull { group, max, ..Pull::new("T", 0, 0) }.command());
        (reply.code, reply.remark.unwrap())
    };
    assert_eq!((pull("slow", 1).0, pull("fast", 3).0), (0, 0));
    cluster.broker.stop_slow_groups();
    assert_eq!(pull("slow", 1).0, 0, "nobody asked for that");
    cluster.set("disableConsumeIfConsumerReadSlowly", "true");
    assert_eq!(pull("slow", 1).0, 0);
    assert_eq!((pull("late", 1).0, pull("late", 3).0, pull("fast", 2).0), (0, 0, 0));
    cluster.broker.stop_slow_groups();
    assert_eq!((pull("late", 3).0, pull("fast", 3).0), (0, 0));
    let stopped = (16, "subscription group no permission, slow".to_owned());
    assert_eq!(pull("slow", 3), stopped);
    let mut enable = Command::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    enable.body = br#"{"groupName":"slow","consumeEnable":true}"#.to_vec();
    assert_eq!(cluster.peer().ask(&enable).code, 0);
    assert_eq!(pull("slow", 3).0, 0);
    cluster.broker.stop_slow_groups();
    assert_eq!(pull("slow", 1).0, 0, "it has caught up");
}

#[test]
fn a_message_wakes_only_those_who_wait_at_its_queue() {
    let cluster = Cluster::start();
    put(&cluster, "T", 0, "", b"makes the topic");
    put(&cluster, "U", 0, "", b"makes the topic");
    let mut peers = Vec::new();
    for (topic, queue_id, offset) in [("T", 1, 0), ("T", 2, 0), ("T", 0, 1), ("U", 1, 0)] {
        let mut peer = cluster.peer();
        let sys_flag = SUSPEND | SUBSCRIPTION;
        let pull = Pull { sys_flag, suspend: 60_000, ..Pull::new(topic, queue_id, offset) };
        peer.send(&pull.command());
        peers.push(peer);
    }
    wait_until("all are held", || cluster.broker.held_pulls() == 4);
    put(&cluster, "T", 2, "", b"wakes one");
    let reply = peers[1].receive();
    assert_eq!((reply.code, record::decode_all(&reply.body).unwrap()[0].queue_id), (0, 2));
    assert_eq!(cluster.broker.held_pulls(), 3);
}

#[test]
fn traces_have_a_topic_when_asked_for() {
    let shape = |cluster: &Cluster, name: &str| {
        let reply = cluster.peer().ask(&request(codes::GET_TOPIC_CONFIG, &[("topic", name)]));
        (reply.code, String::from_utf8(reply.body).unwrap().contains(r#""writeQueueNums":1"#))
    };
    let plain = Cluster::start();
    assert_eq!(shape(&plain, "RMQ_SYS_TRACE_TOPIC").0, 17);
    let standard = Cluster::with(|config| config.trace_topic_enable = true);
    assert_eq!(shape(&standard, "RMQ_SYS_TRACE_TOPIC"), (0, true));
    put(&standard, "RMQ_SYS_TRACE_TOPIC", 0, &properties(&[("KEYS", "id1 k1")]), b"Pub\x01");
    let trace = query("RMQ_SYS_TRACE_TOPIC", "id1", 9, 0, false);
    let mut peer = standard.peer();
    wait_until("found by key", || peer.ask(&trace).code == 0);
    let custom = Cluster::with(|config| {
        config.trace_topic_enable = true;
        config.msg_trace_topic_name = "traces".into();
        config.trace_on = false;
    });
    assert_eq!(shape(&custom, "traces"), (0, true));
    assert_eq!(shape(&custom, "RMQ_SYS_TRACE_TOPIC").0, 17);
    let delete = request(codes::DELETE_TOPIC_IN_BROKER, &[("topic", "traces")]);
    assert_eq!(custom.peer().ask(&delete).code, 1);
    let reply = custom.peer().ask(&send_v2("traces", 0, "", b"x"));
    assert_eq!((reply.code, reply.field("TRACE_ON")), (0, Some("false")));
}
