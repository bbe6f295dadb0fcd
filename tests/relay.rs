//! What a broker passes on to consumers: 307, 309, 222 with 220, 223 with 221.

use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;

use crate::common::*;

const CPP: u8 = 1;

/// A consumer of `T` in group `g`.
fn consumer(cluster: &Cluster, client: &str) -> Peer {
    consumer_like(cluster, client, |_| {})
}

fn consumer_like(cluster: &Cluster, client: &str, change: impl FnOnce(&mut Command)) -> Peer {
    let mut peer = cluster.peer();
    let mut beat = heart_beat(client, "g", "T", "*", 1);
    change(&mut beat);
    peer.ask_among(&beat);
    peer
}

/// The next request of the broker that is no notice of a changed group.
fn asked(peer: &mut Peer) -> Command {
    loop {
        let command = peer.receive();
        if command.code != codes::NOTIFY_CONSUMER_IDS_CHANGED {
            return command;
        }
    }
}

fn running_info(client: &str) -> Command {
    let fields = [
        ("consumerGroup", "g"),
        ("clientId", client),
        ("jstackEnable", "true"),
        ("AccessKey", "operator"),
        ("Signature", "s"),
    ];
    request(codes::GET_CONSUMER_RUNNING_INFO, &fields)
}

fn refused(reply: &Command) -> (i32, &str) {
    (reply.code, reply.remark.as_deref().unwrap())
}

#[test]
fn running_info_is_passed_on_as_the_consumer_says_it() {
    let cluster = Cluster::start();
    let (_other, mut second) = (consumer(&cluster, "c1"), consumer(&cluster, "c2"));
    let mut tool = cluster.peer();
    let ask = binary(running_info("c2"));
    tool.send(&ask);
    let relayed = asked(&mut second);
    assert_eq!(relayed.code, codes::GET_CONSUMER_RUNNING_INFO);
    let fields: Vec<_> = relayed.fields.as_ref().unwrap().iter().collect();
    let expected = [("consumerGroup", "g"), ("clientId", "c2"), ("jstackEnable", "true")];
    assert_eq!(fields, expected, "and not who asks");
    let mut answer = relayed.reply(0);
    answer.body = b"{ \"jstack\":'no JSON of ours' }".to_vec();
    (answer.language, answer.version) = (9, 317);
    answer.remark = Some("said".to_owned());
    second.send(&answer);
    let reply = tool.receive();
    assert_eq!((reply.code, reply.opaque, reply.remark.as_deref()), (0, ask.opaque, Some("said")));
    assert_eq!((reply.language, reply.version, reply.body), (9, 317, answer.body));

    tool.send(&running_info("c2"));
    let relayed = asked(&mut second);
    second.send(&relayed.refusal(1, "The Consumer Group <g> not exist in this consumer"));
    let remark = "The Consumer Group <g> not exist in this consumer";
    assert_eq!(refused(&tool.receive()), (1, remark));
}

#[test]
fn consumers_that_cannot_be_asked_are_named() {
    let cluster = Cluster::start();
    let mut tool = cluster.peer();
    let absent = tool.ask(&running_info("c1"));
    assert_eq!(refused(&absent), (1, "The Consumer <g> <c1> not online"));
    let _old = consumer_like(&cluster, "old", |beat| beat.version = 61);
    let old = tool.ask(&running_info("old"));
    let remark = "The Consumer <old> Version <61> too low to finish, please upgrade it to \
                  V3_1_8_SNAPSHOT";
    assert_eq!(refused(&old), (1, remark));
    let mut leaving = consumer(&cluster, "c1");
    tool.send(&running_info("c1"));
    asked(&mut leaving);
    drop(leaving);
    let left = tool.receive();
    let (code, remark) = refused(&left);
    assert_eq!(code, 1);
    assert!(remark.starts_with("invoke consumer <g> <c1> Exception: "), "{remark}");
    let missing = tool.ask(&request(codes::GET_CONSUMER_RUNNING_INFO, &[("consumerGroup", "g")]));
    assert_eq!(missing.code, 1);
}

#[test]
fn a_consumer_that_does_not_answer_costs_no_thread() {
    let cluster = Cluster::with(|config| config.admin_broker_thread_pool_nums = 1);
    let mut silent = consumer(&cluster, "c1");
    let mut tool = cluster.peer();
    tool.stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let waits = running_info("c1");
    tool.send(&waits);
    asked(&mut silent);
    assert_eq!(max_offset(&cluster, "T", 0), 0, "the one thread is free");
    let late = tool.receive();
    assert_eq!(late.opaque, waits.opaque);
    let (code, remark) = refused(&late);
    assert_eq!(code, 207);
    assert!(remark.starts_with("consumer <g> <c1> Timeout: "), "{remark}");
}

#[test]
fn a_message_is_consumed_directly() {
    let cluster = Cluster::start();
    let mut consumer = consumer(&cluster, "c1");
    let sent = cluster.peer().ask(&send_v2("T", 0, "KEYS\u{1}k", b"body"));
    let id = sent.field("msgId").unwrap().to_owned();
    let ask = |id: &str| {
        let fields = [
            ("consumerGroup", "g"),
            ("clientId", "c1"),
            ("msgId", id),
            ("brokerName", "elsewhere"),
        ];
        request(codes::CONSUME_MESSAGE_DIRECTLY, &fields)
    };
    let mut tool = cluster.peer();
    tool.send(&ask(&id));
    let relayed = asked(&mut consumer);
    assert_eq!(relayed.code, codes::CONSUME_MESSAGE_DIRECTLY);
    assert_eq!(relayed.field("brokerName"), Some(cluster.config.broker_name.as_str()));
    assert_eq!(relayed.fields.as_ref().unwrap().len(), 4);
    let message = &ferrocket::message::record::decode_all(&relayed.body).unwrap()[0];
    assert_eq!((message.topic.as_str(), message.body.as_slice()), ("T", &b"body"[..]));
    let mut answer = relayed.reply(0);
    answer.body = br#"{"autoCommit":true,"consumeResult":0,"order":false}"#.to_vec();
    consumer.send(&answer);
    assert_eq!(tool.receive().body, answer.body);

    for (id, remark) in [
        ("", "msgId [] is no offset message id"),
        ("nonsense", "msgId [nonsense] is no offset message id"),
        ("7F00000100002A9F0000000000FFFFFF", "can not find message by the offset, 16777215"),
        ("7F00000100002A9FFFFFFFFFFFFFFFFF", "can not find message by the offset, -1"),
    ] {
        assert_eq!(refused(&tool.ask(&ask(id))), (1, remark));
    }
}

fn reset(time: i64, force: bool) -> Command {
    let fields = [
        ("topic", "T"),
        ("group", "g"),
        ("timestamp", &*time.to_string()),
        ("isForce", if force { "true" } else { "false" }),
    ];
    request(codes::INVOKE_BROKER_TO_RESET_OFFSET, &fields)
}

/// `T` with two queues, three messages in the first, one in the second.
fn two_queues(cluster: &Cluster) {
    cluster.create_topic("T", 2, 6);
    for (queue_id, count) in [(0, 3), (1, 1)] {
        for _ in 0..count {
            put(cluster, "T", queue_id, "", b"x");
        }
    }
}

fn table(cluster: &Cluster, first: i64, second: i64) -> String {
    let name = &cluster.config.broker_name;
    let queue = |id| format!(r#"{{"brokerName":"{name}","queueId":{id},"topic":"T"}}"#);
    format!("{{{}:{first},{}:{second}}}", queue(0), queue(1))
}

#[test]
fn a_reset_is_refused_while_it_cannot_be_done() {
    let cluster = Cluster::start();
    let mut tool = cluster.peer();
    let remark = "[reset-offset] reset offset failed, no topic in this broker. topic=T";
    assert_eq!(refused(&tool.ask(&reset(-1, true))), (1, remark));
    two_queues(&cluster);
    commit(&cluster, "T", "g", 0, 2);
    let remark = "THe consumer group <g> not exist";
    assert_eq!(refused(&tool.ask(&reset(-1, true))), (1, remark));
    commit(&cluster, "T", "g", 1, 1);
    let remark = "Consumer not online, so can not reset offset, Group: g Topic: T Timestamp: 5";
    assert_eq!(refused(&tool.ask(&reset(5, true))), (206, remark));
    let mut new = consumer(&cluster, "new");
    let _old = consumer_like(&cluster, "old", |beat| beat.version = 27);
    let remark = "the client does not support this feature. version=27";
    assert_eq!(refused(&tool.ask(&reset(5, true))), (1, remark));
    tool.send(&running_info("new"));
    assert_eq!(asked(&mut new).code, codes::GET_CONSUMER_RUNNING_INFO, "nobody was told");
}

#[test]
fn a_reset_reaches_every_client_of_the_group() {
    let cluster = Cluster::start();
    two_queues(&cluster);
    commit(&cluster, "T", "g", 0, 1);
    commit(&cluster, "T", "g", 1, 1);
    let mut java = consumer(&cluster, "java");
    let mut cpp = consumer_like(&cluster, "cpp", |beat| beat.language = CPP);
    let mut tool = cluster.peer();
    for (time, force, first, second) in
        [(-1, true, 3, 1), (-1, false, 1, 1), (0, true, 0, 0), (0, false, 0, 0)]
    {
        let reply = tool.ask(&reset(time, force));
        let expected = format!(r#"{{"offsetTable":{}}}"#, table(&cluster, first, second));
        assert_eq!((reply.code, String::from_utf8_lossy(&reply.body)), (0, expected.into()));
        let told = asked(&mut java);
        assert_eq!((told.code, told.is_oneway()), (codes::RESET_CONSUMER_CLIENT_OFFSET, true));
        let fields: Vec<_> = told.fields.as_ref().unwrap().iter().collect();
        let time = time.to_string();
        let expected =
            [("topic", "T"), ("group", "g"), ("timestamp", &*time), ("isForce", "false")];
        assert_eq!(fields, expected);
        assert_eq!(told.body, reply.body);
        let list = String::from_utf8(asked(&mut cpp).body).unwrap();
        let name = &cluster.config.broker_name;
        let first =
            format!(r#"{{"brokerName":"{name}","offset":{first},"queueId":0,"topic":"T"}}"#);
        assert!(list.starts_with(&format!(r#"{{"offsetTable":[{first},{{"#)), "{list}");
    }
    let mut from_cpp = reset(0, true);
    from_cpp.language = CPP;
    assert_eq!(tool.ask(&from_cpp).code, 0);
    assert!(asked(&mut java).body.starts_with(br#"{"offsetTable":[{"#));
    let fields = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0")];
    let kept = tool.ask(&request(codes::QUERY_CONSUMER_OFFSET, &fields));
    assert_eq!(number(&kept, "offset"), 1, "the clients commit, not the broker");
}

#[test]
fn a_reset_to_a_time_finds_the_message() {
    let cluster = Cluster::start();
    two_queues(&cluster);
    commit(&cluster, "T", "g", 0, 3);
    commit(&cluster, "T", "g", 1, 1);
    let mut consumer = consumer(&cluster, "c1");
    let stored = messages(&cluster, "T", 0);
    let time = stored[1].store_timestamp;
    let first = stored.iter().position(|m| m.store_timestamp == time).unwrap();
    assert_eq!(cluster.peer().ask(&reset(time, false)).code, 0);
    let told = String::from_utf8(asked(&mut consumer).body).unwrap();
    let expected = format!(r#""queueId":0,"topic":"T"}}:{first}"#);
    assert!(told.contains(&expected), "{told}");
}

fn status(client: &str) -> Command {
    let fields = [("topic", "T"), ("group", "g"), ("clientAddr", client)];
    request(codes::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &fields)
}

#[test]
fn the_offsets_in_the_clients_are_collected() {
    let cluster = Cluster::start();
    let mut tool = cluster.peer();
    let remark = "No Any Consumer online in the consumer group: [g]";
    assert_eq!(refused(&tool.ask(&status(""))), (1, remark));
    let mut first = consumer(&cluster, "c1");
    let mut second = consumer(&cluster, "c2");
    let mut third = consumer(&cluster, "c3");
    let unknown = tool.ask(&status("c9"));
    let empty = r#"{"consumerTable":{},"messageQueueTable":{}}"#;
    assert_eq!((unknown.code, unknown.body), (0, empty.as_bytes().to_vec()));

    let answer = |peer: &mut Peer, first: i64| {
        let ask = asked(peer);
        assert_eq!(ask.code, codes::GET_CONSUMER_STATUS_FROM_CLIENT);
        assert_eq!((ask.field("topic"), ask.field("group")), (Some("T"), Some("g")));
        let mut answer = ask.reply(0);
        let table = table(&cluster, first, 7);
        answer.body = format!(r#"{{"messageQueueTable":{table}}}"#).into_bytes();
        peer.send(&answer);
    };
    tool.send(&status(""));
    answer(&mut second, 6);
    answer(&mut first, 5);
    let ask = asked(&mut third);
    third.send(&ask.refusal(1, "no"));
    let all = tool.receive();
    let (c1, c2) = (table(&cluster, 5, 7), table(&cluster, 6, 7));
    let expected =
        format!(r#"{{"consumerTable":{{"c1":{c1},"c2":{c2}}},"messageQueueTable":{{}}}}"#);
    assert_eq!((all.code, String::from_utf8(all.body).unwrap()), (0, expected));

    tool.send(&status("c2"));
    answer(&mut second, 8);
    let one = String::from_utf8(tool.receive().body).unwrap();
    assert!(one.contains("c2") && !one.contains("c1"), "{one}");
    tool.send(&status("c3"));
    asked(&mut third);
    drop(third);
    assert_eq!(tool.receive().body, empty.as_bytes());
    let _old = consumer_like(&cluster, "old", |beat| beat.version = 27);
    let remark = "the client does not support this feature. version=27";
    assert_eq!(refused(&tool.ask(&status(""))), (1, remark));
}
