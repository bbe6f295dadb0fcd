//! PULL_MESSAGE: the decision table, filters, long polling, offsets that moved.

use std::io::Write;
use std::time::{Duration, Instant};

use ferrocket::base::limits::{HELD_PULLS_BYTES_MAX, HELD_PULLS_PER_TOPIC_MAX};
use ferrocket::message::record;
use ferrocket::protocol::code::request as codes;
use ferrocket::protocol::{Command, frame};

use crate::common::*;

fn bodies(reply: &Command) -> Vec<Vec<u8>> {
    record::decode_all(&reply.body).unwrap().into_iter().map(|message| message.body).collect()
}

/// Offsets of an answer: next, min, max.
fn offsets(reply: &Command) -> (i64, i64, i64) {
    assert_eq!(number(reply, "suggestWhichBrokerId"), 0);
    let of = |name| number(reply, name);
    (of("nextBeginOffset"), of("minOffset"), of("maxOffset"))
}

#[test]
fn messages_come_in_order_and_as_many_as_asked_for() {
    let cluster = Cluster::start();
    for n in 0..5u8 {
        put(&cluster, "T", 0, "", &[n]);
    }
    let mut peer = cluster.peer();
    let reply = peer.ask(&Pull { max: 3, ..Pull::new("T", 0, 1) }.command());
    assert_eq!((reply.code, reply.remark.as_deref()), (0, Some("FOUND")));
    assert_eq!(bodies(&reply), [[1], [2], [3]]);
    assert_eq!(offsets(&reply), (4, 0, 5));
    let reply = peer.ask(&binary(Pull::new("T", 0, 4).command()));
    assert_eq!((bodies(&reply), offsets(&reply)), (vec![vec![4]], (5, 0, 5)));
    let reply = peer.ask(&Pull::new("T", 0, 5).command());
    assert_eq!((reply.code, reply.remark.as_deref()), (19, Some("OFFSET_OVERFLOW_ONE")));
    assert_eq!((offsets(&reply), reply.body.len()), ((5, 0, 5), 0));
    let mut lite = Pull::new("T", 0, 4).command();
    lite.code = codes::LITE_PULL_MESSAGE;
    assert_eq!(bodies(&peer.ask(&lite)), [[4]]);
}

#[test]
fn refusals_come_in_rocketmq_s_order() {
    let cluster = Cluster::with(|config| config.auto_create_subscription_group = false);
    cluster.create_topic("T", 2, 6);
    cluster.create_topic("WriteOnly", 2, 2);
    let mut peer = cluster.peer();
    let group = |name: &str, enable: bool| {
        let mut command = Command::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
        let text = format!(r#"{{"groupName":"{name}","consumeEnable":{enable}}}"#);
        command.body = text.into_bytes();
        assert_eq!(cluster.peer().ask(&command).code, 0);
    };
    group("consumers", true);
    group("closed", false);
    let pull = || Pull::new("T", 0, 0);
    let cases = [
        (
            Pull { group: "unknown", ..pull() },
            26,
            "subscription group [unknown] does not exist, \n",
        ),
        (Pull { group: "closed", ..pull() }, 16, "subscription group no permission, closed"),
        (Pull { topic: "None", ..pull() }, 17, "topic[None] not exist, apply first please! \n"),
        (Pull { topic: "WriteOnly", ..pull() }, 16, "the topic[WriteOnly] pulling message is"),
        (
            Pull { queue_id: 2, ..pull() },
            1,
            "queueId[2] is illegal, topic:[T] topicConfig.readQueueNums:[2] consumer:[/127.0.0.1",
        ),
        (Pull { queue_id: -1, ..pull() }, 1, "queueId[-1] is illegal"),
        (Pull { subscription: "||", ..pull() }, 23, "parse the consumer's subscription failed"),
        (Pull { kind: "XPATH", ..pull() }, 1, "The broker does not support consumer to filter"),
        (Pull { kind: "SQL92", subscription: "", ..pull() }, 23, "parse the consumer's"),
        (
            Pull { kind: "SQL92", subscription: "a > 1", ..pull() },
            1,
            "The broker does not support consumer to filter message by SQL92",
        ),
        (Pull { sys_flag: 0, ..pull() }, 24, "the consumer's group info not exist\nSee http"),
    ];
    for (pull, code, remark) in cases {
        let reply = peer.ask(&pull.command());
        let found = reply.remark.unwrap_or_default();
        assert_eq!(reply.code, code, "{found}");
        assert!(found.starts_with(remark), "{found}");
    }
    let closed = Cluster::with(|config| config.broker_permission = 2);
    let reply = closed.peer().ask(&Pull::new("T", 0, 0).command());
    assert_eq!(reply.code, 16);
    assert_eq!(reply.remark.unwrap(), "the broker[127.0.0.1] pulling message is forbidden");
}

#[test]
fn the_heartbeat_s_subscription_counts_when_the_pull_has_none() {
    let cluster = Cluster::start();
    for tag in ["a", "b"] {
        put(&cluster, "T", 0, &properties(&[("TAGS", tag)]), tag.as_bytes());
    }
    let mut client = cluster.peer();
    client.send(&heart_beat("c1", "consumers", "T", "b", 100));
    assert_eq!(client.receive().code, codes::NOTIFY_CONSUMER_IDS_CHANGED);
    assert_eq!(client.receive().code, 0);
    let mut peer = cluster.peer();
    let pull = |version, topic| Pull { sys_flag: 0, version, ..Pull::new(topic, 0, 0) }.command();
    let reply = peer.ask(&pull(100, "T"));
    assert_eq!((reply.code, bodies(&reply)), (0, vec![b"b".to_vec()]));
    assert_eq!(peer.ask(&pull(101, "T")).code, 25);
    cluster.create_topic("Other", 1, 6);
    let reply = peer.ask(&pull(100, "Other"));
    assert_eq!(reply.code, 24);
    assert!(reply.remark.unwrap().starts_with("the consumer's subscription not exist\nSee"));
}

#[test]
fn tags_are_filtered_here() {
    let cluster = Cluster::start();
    for tag in ["a", "b", "c", "a"] {
        put(&cluster, "T", 0, &properties(&[("TAGS", tag)]), tag.as_bytes());
    }
    let mut peer = cluster.peer();
    let mut pull =
        |subscription: &str| peer.ask(&Pull { subscription, ..Pull::new("T", 0, 0) }.command());
    let reply = pull("a || c");
    assert_eq!((bodies(&reply).concat(), offsets(&reply)), (b"aca".to_vec(), (4, 0, 4)));
    let reply = pull("z");
    assert_eq!((reply.code, reply.remark.as_deref()), (20, Some("NO_MATCHED_MESSAGE")));
    assert_eq!((offsets(&reply), reply.body.len()), ((4, 0, 4), 0));
}

#[test]
fn an_offset_that_is_not_there_is_told() {
    let cluster = Cluster::start();
    cluster.create_topic("Empty", 1, 6);
    let mut peer = cluster.peer();
    let mut pull = |topic: &str, offset| peer.ask(&Pull::new(topic, 0, offset).command());
    let reply = pull("Empty", 0);
    assert_eq!((reply.code, offsets(&reply)), (19, (0, 0, 0)));
    let reply = pull("Empty", 9);
    assert_eq!((reply.code, offsets(&reply)), (21, (0, 0, 0)));
    put(&cluster, "T", 0, "", b"x");
    let reply = pull("T", 7);
    assert_eq!((reply.code, reply.remark.as_deref()), (21, Some("OFFSET_OVERFLOW_BADLY")));
    assert_eq!(offsets(&reply), (1, 0, 1));
    let reply = pull("T", -3);
    assert_eq!((reply.code, reply.remark.as_deref()), (21, Some("OFFSET_TOO_SMALL")));
    assert_eq!(offsets(&reply), (0, 0, 1));
    wait_until("events", || max_offset(&cluster, "OFFSET_MOVED_EVENT", 0) == 3);
    let event = &messages(&cluster, "OFFSET_MOVED_EVENT", 0)[1];
    assert_eq!(event.property("TAGS"), Some("consumers"));
    assert_eq!(event.property("DELAY"), Some("0"));
    assert_eq!(
        String::from_utf8(event.body.clone()).unwrap(),
        r#"{"consumerGroup":"consumers","messageQueue":{"brokerName":"broker-a","queueId":0,"#
            .to_owned()
            + r#""topic":"T"},"offsetNew":1,"offsetRequest":7}"#
    );
}

/// A pull that waits for up to a minute.
fn waiting<'a>(topic: &'a str, offset: i64, subscription: &'a str) -> Pull<'a> {
    let sys_flag = SUSPEND | SUBSCRIPTION;
    Pull { sys_flag, suspend: 60_000, subscription, ..Pull::new(topic, 0, offset) }
}

#[test]
fn a_waiting_pull_is_woken_by_its_message_only() {
    let cluster = Cluster::start();
    cluster.create_topic("T", 2, 6);
    let (mut all, mut tagged) = (cluster.peer(), cluster.peer());
    all.send(&waiting("T", 0, "*").command());
    tagged.send(&waiting("T", 0, "b").command());
    let mut producer = cluster.peer();
    let mut send = |queue, tag| {
        let text = properties(&[("TAGS", tag)]);
        assert_eq!(producer.ask(&send_v2("T", queue, &text, tag.as_bytes())).code, 0);
    };
    send(1, "b");
    send(0, "a");
    let reply = all.receive();
    assert_eq!((reply.code, bodies(&reply), offsets(&reply)), (0, vec![b"a".to_vec()], (1, 0, 1)));
    send(0, "b");
    let reply = tagged.receive();
    assert_eq!((reply.code, bodies(&reply), offsets(&reply)), (0, vec![b"b".to_vec()], (2, 0, 2)));
}

#[test]
fn many_waits_on_one_connection_are_answered_each() {
    let cluster = Cluster::start();
    for name in ["T0", "T1", "T2"] {
        cluster.create_topic(name, 1, 6);
    }
    let mut consumer = cluster.peer();
    let pulls = ["T0", "T1", "T2"].map(|name| waiting(name, 0, "*").command());
    pulls.iter().for_each(|pull| consumer.send(pull));
    for index in [2, 0, 1] {
        let text = format!("{index}");
        put(&cluster, &format!("T{index}"), 0, "", text.as_bytes());
        let reply = consumer.receive();
        assert_eq!(reply.opaque, pulls[index].opaque);
        assert_eq!(bodies(&reply), [text.into_bytes()]);
    }
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let cluster = Cluster::start();
    cluster.create_topic("T", 1, 6);
    let begun = Instant::now();
    let pull = Pull { suspend: 300, ..waiting("T", 0, "*") };
    let reply = cluster.peer().ask(&pull.command());
    assert_eq!((reply.code, offsets(&reply)), (19, (0, 0, 0)));
    assert!(begun.elapsed() >= Duration::from_millis(300));

    let short = Cluster::with(|config| {
        config.long_polling_enable = false;
        config.short_polling_time_mills = 50;
    });
    short.create_topic("T", 1, 6);
    assert_eq!(short.peer().ask(&waiting("T", 0, "*").command()).code, 19);
}

#[test]
fn a_wait_without_a_match_ends_with_the_offset_to_go_on_at() {
    let cluster = Cluster::start();
    cluster.create_topic("T", 1, 6);
    let mut consumer = cluster.peer();
    consumer.send(&Pull { suspend: 2000, ..waiting("T", 0, "b") }.command());
    put(&cluster, "T", 0, &properties(&[("TAGS", "a")]), b"a");
    let reply = consumer.receive();
    assert_eq!((reply.code, offsets(&reply)), (20, (1, 0, 1)));
}

#[test]
fn a_pull_commits_on_its_way_even_when_it_waits() {
    let cluster = Cluster::start();
    put(&cluster, "T", 0, "", b"x");
    let committed = || {
        let fields = [("consumerGroup", "consumers"), ("topic", "T"), ("queueId", "0")];
        number(&cluster.peer().ask(&request(codes::QUERY_CONSUMER_OFFSET, &fields)), "offset")
    };
    let pull = Pull { sys_flag: SUBSCRIPTION | COMMIT, commit: 1, ..Pull::new("T", 0, 0) };
    assert_eq!(cluster.peer().ask(&pull.command()).code, 0);
    assert_eq!(committed(), 1);
    let mut consumer = cluster.peer();
    let sys_flag = SUBSCRIPTION | COMMIT | SUSPEND;
    consumer.send(&Pull { sys_flag, commit: 5, ..waiting("T", 1, "*") }.command());
    wait_until("committed", || committed() == 5);
}

#[test]
fn a_pull_that_waited_is_checked_once_more() {
    let cluster = Cluster::start();
    put(&cluster, "T", 0, "", b"x");
    let mut peer = cluster.peer();
    peer.send(&Pull { group: "g", ..waiting("T", 1, "*") }.command());
    wait_until("it waits", || cluster.broker.held_pulls() == 1);
    let mut off = Command::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    off.body = br#"{"groupName":"g","consumeEnable":false}"#.to_vec();
    assert_eq!(cluster.peer().ask(&off).code, 0);
    put(&cluster, "T", 0, "", b"y");
    let reply = peer.receive();
    let remark = "subscription group no permission, g";
    assert_eq!((reply.code, reply.remark.as_deref()), (16, Some(remark)));
}

#[test]
fn waits_end_with_their_connection_and_with_the_broker() {
    let cluster = Cluster::start();
    cluster.create_topic("T", 1, 6);
    let mut consumer = cluster.peer();
    consumer.send(&waiting("T", 0, "*").command());
    wait_until("parked", || cluster.broker.held_pulls() == 1);
    drop(consumer);
    wait_until("dropped", || cluster.broker.held_pulls() == 0);
    let mut consumer = cluster.peer();
    consumer.send(&waiting("T", 0, "*").command());
    wait_until("parked", || cluster.broker.held_pulls() == 1);
    cluster.broker.stop();
    consumer.expect_close(&[]);
}

#[test]
fn what_waiting_pulls_bring_is_bounded() {
    let cluster = Cluster::start();
    cluster.create_topic("Long", 1, 6);
    let mut peer = cluster.peer();
    let tag = "t".repeat(30_000);
    let pull = frame::encode(&waiting("Long", 0, &tag).command());
    let most = HELD_PULLS_BYTES_MAX / (tag.len() * 16);
    for n in 1..=most {
        peer.stream.write_all(&pull).unwrap();
        wait_until("held", || cluster.broker.held_pulls() == n);
    }
    let refused = peer.ask(&waiting("Long", 0, &tag).command());
    assert_eq!(refused.code, 2, "{:?}", refused.remark);
    assert_eq!(cluster.broker.held_pulls(), most);
}

#[test]
fn the_waits_of_a_topic_are_bounded_and_the_others_go_on() {
    let cluster = Cluster::start();
    cluster.create_topic("Full", 1, 6);
    cluster.create_topic("Free", 1, 6);
    let mut flood = cluster.peer();
    let pull = frame::encode(&waiting("Full", 0, "*").command());
    // No more at once than the pull pool takes on a busy machine, too.
    let some = HELD_PULLS_PER_TOPIC_MAX / 40;
    for n in 1..=40 {
        flood.stream.write_all(&pull.repeat(some)).unwrap();
        wait_until("held", || cluster.broker.held_pulls() == n * some);
    }
    let mut other = cluster.peer();
    let reply = other.ask(&waiting("Full", 0, "*").command());
    let remark = "[OVERLOAD]too many pulls wait for messages";
    assert_eq!((reply.code, reply.remark.as_deref()), (2, Some(remark)));
    let pull = waiting("Free", 0, "*").command();
    other.send(&pull);
    put(&cluster, "Free", 0, "", b"x");
    let reply = other.receive();
    assert_eq!((reply.code, reply.opaque, bodies(&reply)), (0, pull.opaque, vec![b"x".to_vec()]));
    drop(flood);
    wait_until("dropped", || cluster.broker.held_pulls() == 0);
}
