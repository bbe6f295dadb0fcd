//! Transactions at the wire: half messages, their end, and what a broker asks producers.

use ferrocket::base::clock::now_ms;
use ferrocket::config::{BrokerConfig, BrokerRole};
use ferrocket::message::{Message, MessageRef, NO_HOST, property, record};
use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;
use ferrocket::protocol::command::FLAG_ONEWAY;

use crate::common::*;

const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const OP: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
const GIVEN_UP: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
const GROUP: &str = "CID_RMQ_SYS_TRANS";
const COMMIT: &str = "8";
const ROLLBACK: &str = "12";

/// What the answer to a half message says of it.
#[derive(Clone, Debug)]
struct Half {
    queue_offset: String,
    log_offset: String,
}

fn send_half(peer: &mut Peer, body: &str, more: &[(&str, &str)]) -> Half {
    let mut text = vec![("TRAN_MSG", "true"), ("PGROUP", "producers"), ("UNIQ_KEY", body)];
    text.extend(more);
    let mut command = send_v2("T", 1, &properties(&text), body.as_bytes());
    command.fields_mut().push("g", &now_ms().to_string());
    let reply = peer.ask_among(&command);
    assert_eq!((reply.code, reply.remark.as_deref(), number(&reply, "queueId")), (0, None, 1));
    Half {
        queue_offset: reply.field("queueOffset").unwrap().to_owned(),
        log_offset: log_offset(&reply).to_string(),
    }
}

fn end(half: &Half, decision: &str) -> Command {
    let fields = [
        ("producerGroup", "producers"),
        ("tranStateTableOffset", half.queue_offset.as_str()),
        ("commitLogOffset", half.log_offset.as_str()),
        ("commitOrRollback", decision),
        ("fromTransactionCheck", "false"),
    ];
    request(codes::END_TRANSACTION, &fields)
}

/// A cluster with a topic T of two queues, where rounds are short and nobody is asked in time.
fn patient(change: impl FnOnce(&mut BrokerConfig)) -> Cluster {
    let cluster = Cluster::with(|config| {
        config.transaction_check_interval = 20;
        config.transaction_time_out = 600_000;
        change(config);
    });
    cluster.create_topic("T", 2, 6);
    cluster
}

/// One that asks soon.
fn asking(change: impl FnOnce(&mut BrokerConfig)) -> Cluster {
    patient(|config| {
        config.transaction_time_out = 50;
        change(config);
    })
}

/// A producer of the group, known to the broker.
fn producer(cluster: &Cluster) -> Peer {
    let mut peer = cluster.peer();
    assert_eq!(peer.ask_among(&heart_beat("client", "others", "Other", "*", 1)).code, 0);
    peer
}

/// The next CHECK_TRANSACTION_STATE, and its message.
fn asked(peer: &mut Peer) -> (Half, Command, Message) {
    loop {
        let command = peer.receive();
        if command.code != codes::CHECK_TRANSACTION_STATE || command.is_response() {
            continue;
        }
        assert!(command.is_oneway());
        let half = Half {
            queue_offset: command.field("tranStateTableOffset").unwrap().to_owned(),
            log_offset: command.field("commitLogOffset").unwrap().to_owned(),
        };
        let message = record::decode(&command.body).unwrap();
        return (half, command, message);
    }
}

fn progress(cluster: &Cluster, topic: &str) -> Option<i64> {
    let fields = [("consumerGroup", GROUP), ("topic", topic), ("queueId", "0")];
    let reply = cluster.peer().ask(&request(codes::QUERY_CONSUMER_OFFSET, &fields));
    (reply.code == 0).then(|| number(&reply, "offset"))
}

/// What is in a topic that clients do not know, or not before the first round.
fn stored(cluster: &Cluster, topic: &str) -> Vec<Message> {
    let store = &cluster.broker.store;
    (0..max_offset(cluster, topic, 0))
        .filter_map(|offset| store.record_in_queue(topic, 0, offset))
        .map(|record| record::decode(record.as_bytes()).unwrap())
        .collect()
}

/// Nothing is left to look at in either queue.
fn all_done(cluster: &Cluster) {
    for topic in [HALF, OP] {
        wait_until(topic, || progress(cluster, topic) == Some(max_offset(cluster, topic, 0)));
    }
}

#[test]
fn a_committed_message_is_the_half_message_where_it_belongs() {
    let cluster = patient(|_| {});
    let mut peer = cluster.peer();
    let half = send_half(&mut peer, "one", &[("TAGS", "a"), ("WAIT", "true")]);
    wait_until("held", || max_offset(&cluster, HALF, 0) == 1);
    assert_eq!(max_offset(&cluster, "T", 1), 0);
    let held = &stored(&cluster, HALF)[0];
    assert_eq!(held.sys_flag & 0xC, 0);
    let value = |name| held.property(name);
    assert_eq!((value("REAL_TOPIC"), value("REAL_QID")), (Some("T"), Some("1")));

    let reply = peer.ask_among(&end(&half, COMMIT));
    assert_eq!((reply.code, reply.remark), (0, None));
    wait_until("committed", || max_offset(&cluster, "T", 1) == 1);
    let committed = &messages(&cluster, "T", 1)[0];
    assert_eq!(committed.sys_flag & 0xC, 8);
    assert_eq!(committed.prepared_transaction_offset.to_string(), half.log_offset);
    assert_eq!((committed.body.as_slice(), committed.flag), (&b"one"[..], 7));
    assert_eq!((&committed.properties, committed.born_host), (&held.properties, held.born_host));
    wait_until("an op", || max_offset(&cluster, OP, 0) == 1);
    let op = &stored(&cluster, OP)[0];
    assert_eq!((op.body.as_slice(), op.sys_flag), (&b"0"[..], 0));
    assert_eq!(op.properties, "WAIT\u{1}true\u{2}TAGS\u{1}d");
    assert_eq!(op.born_host, op.store_host);
    all_done(&cluster);
}

#[test]
fn a_rolled_back_message_goes_nowhere_and_all_are_passed() {
    let cluster = patient(|_| {});
    let mut peer = cluster.peer();
    let halves: Vec<Half> = (0..100).map(|n| send_half(&mut peer, &n.to_string(), &[])).collect();
    for (n, half) in halves.iter().enumerate().rev() {
        let reply = peer.ask_among(&end(half, if n % 2 == 0 { COMMIT } else { ROLLBACK }));
        assert_eq!(reply.code, 0);
    }
    wait_until("committed", || max_offset(&cluster, "T", 1) == 50);
    all_done(&cluster);
    assert!(messages(&cluster, "T", 1).iter().all(|m| m.body.last().unwrap() % 2 == 0));
}

#[test]
fn one_way_and_unknown_get_no_answer() {
    let cluster = patient(|_| {});
    let mut peer = cluster.peer();
    let half = send_half(&mut peer, "one", &[]);
    peer.send(&end(&half, "0"));
    let mut one_way = end(&half, COMMIT);
    one_way.flag = FLAG_ONEWAY;
    peer.send(&one_way);
    assert_eq!(peer.ask_among(&end(&half, "7")).code, 1);
    wait_until("committed", || max_offset(&cluster, "T", 1) == 1);
}

#[test]
fn ends_that_point_elsewhere_are_refused_and_store_nothing() {
    let cluster = patient(|_| {});
    let mut peer = cluster.peer();
    let half = send_half(&mut peer, "one", &[]);
    let other = send_half(&mut peer, "two", &[]);
    let plain = peer.ask_among(&send_v2("T", 0, &properties(&[("PGROUP", "producers")]), b"plain"));
    let plain = log_offset(&plain);
    let with = |name: &str, value: &str| {
        let mut command = end(&half, COMMIT);
        command.fields_mut().push(name, value);
        command
    };
    let not_found = "Find prepared transaction message failed";
    let plain = plain.to_string();
    let cases = [
        (with("producerGroup", "thieves"), "The producer group wrong"),
        (with("tranStateTableOffset", "7"), "The transaction state table offset wrong"),
        (with("commitLogOffset", &other.log_offset), "The transaction state table offset wrong"),
        (with("commitLogOffset", &plain), not_found),
        (with("commitLogOffset", "1"), not_found),
        (with("commitLogOffset", "-1"), not_found),
        (with("commitLogOffset", "9223372036854775807"), not_found),
        (with("commitOrRollback", "4"), "commitOrRollback field wrong"),
        (with("commitLogOffset", "x"), "commitLogOffset"),
    ];
    let before = cluster.broker.store.max_physical_offset();
    for (command, remark) in cases {
        let reply = peer.ask_among(&command);
        let found = reply.remark.unwrap_or_default();
        assert!(reply.code == 1 && found.contains(remark), "{found}");
    }
    assert_eq!(cluster.broker.store.max_physical_offset(), before);
}

#[test]
fn a_second_commit_stores_the_message_again_as_with_java() {
    let cluster = patient(|_| {});
    let mut peer = cluster.peer();
    let half = send_half(&mut peer, "one", &[]);
    assert_eq!(peer.ask_among(&end(&half, COMMIT)).code, 0);
    assert_eq!(peer.ask_among(&end(&half, COMMIT)).code, 0);
    wait_until("committed twice", || max_offset(&cluster, "T", 1) == 2);
    all_done(&cluster);
}

#[test]
fn a_producer_is_asked_about_what_it_left_open() {
    let cluster = asking(|_| {});
    let mut peer = producer(&cluster);
    let first = send_half(&mut peer, "open", &[("TAGS", "a")]);
    let (copy, command, message) = asked(&mut peer);
    assert_ne!(copy.queue_offset, first.queue_offset);
    assert_eq!((message.topic.as_str(), message.queue_id), ("T", 1));
    assert_eq!((message.body.as_slice(), message.property("TAGS")), (&b"open"[..], Some("a")));
    assert_eq!(message.property("TRANSACTION_CHECK_TIMES"), Some("1"));
    assert_eq!(message.queue_offset.to_string(), copy.queue_offset);
    assert_eq!(message.physical_offset.to_string(), copy.log_offset);
    assert_eq!(command.field("msgId"), Some("open"));
    assert_eq!(command.field("transactionId"), Some("open"));
    assert_eq!(command.field("offsetMsgId"), Some(message.offset_id().as_str()));

    let mut answer = end(&copy, COMMIT);
    answer.flag = FLAG_ONEWAY;
    peer.send(&answer);
    wait_until("committed", || max_offset(&cluster, "T", 1) >= 1);
    all_done(&cluster);
}

#[test]
fn an_end_that_comes_after_the_question_counts_for_the_copy() {
    let cluster = asking(|config| config.transaction_check_interval = 300);
    let mut peer = producer(&cluster);
    let first = send_half(&mut peer, "slow", &[]);
    asked(&mut peer);
    peer.send(&end(&first, COMMIT));
    all_done(&cluster);
    assert_eq!(max_offset(&cluster, HALF, 0), 2);
    assert_eq!(messages(&cluster, "T", 1).len(), 1);
}

#[test]
fn who_is_gone_is_not_asked_but_another_of_the_group() {
    let cluster = asking(|config| config.transaction_time_out = 300);
    let mut gone = producer(&cluster);
    send_half(&mut gone, "one", &[]);
    send_half(&mut gone, "two", &[]);
    drop(gone);
    let mut other = producer(&cluster);
    let mut bodies = [asked(&mut other).2.body, asked(&mut other).2.body];
    bodies.sort();
    assert_eq!(bodies, [b"one", b"two"]);
}

#[test]
fn what_is_never_ended_is_given_up_and_can_be_resumed() {
    let mut cluster = asking(|config| config.transaction_check_max = 2);
    let mut peer = producer(&cluster);
    send_half(&mut peer, "open", &[]);
    let times = |message: Message| message.property("TRANSACTION_CHECK_TIMES").map(str::to_owned);
    assert_eq!(times(asked(&mut peer).2).as_deref(), Some("1"));
    assert_eq!(times(asked(&mut peer).2).as_deref(), Some("2"));
    wait_until("given up", || max_offset(&cluster, GIVEN_UP, 0) == 1);
    wait_until("passed", || progress(&cluster, HALF) == Some(3));
    assert_eq!(max_offset(&cluster, HALF, 0), 3);
    let given_up = &messages(&cluster, GIVEN_UP, 0)[0];
    assert_eq!(given_up.body, b"open");

    let resume = |id: &str| request(codes::RESUME_CHECK_HALF_MESSAGE, &[("msgId", id)]);
    let refused = cluster.peer().ask(&resume("x"));
    let remark = "Exception was thrown when putting message back to RMQ_SYS_TRANS_HALF_TOPIC.";
    assert!(refused.code == 1 && refused.remark.unwrap().starts_with(remark));
    assert_eq!(cluster.peer().ask(&resume(&given_up.offset_id())).code, 0);
    let (copy, _, message) = asked(&mut peer);
    assert_eq!(times(message).as_deref(), Some("1"));
    assert_eq!(peer.ask_among(&end(&copy, ROLLBACK)).code, 0);
    cluster.restart();
    all_done(&cluster);
}

#[test]
fn only_half_messages_are_resumed() {
    let cluster = patient(|_| {});
    let mut peer = cluster.peer();
    let half = send_half(&mut peer, "one", &[]);
    assert_eq!(peer.ask_among(&end(&half, COMMIT)).code, 0);
    wait_until("committed", || max_offset(&cluster, "T", 1) == 1);
    let id = messages(&cluster, "T", 1)[0].offset_id();
    let reply = peer.ask_among(&request(codes::RESUME_CHECK_HALF_MESSAGE, &[("msgId", &id)]));
    assert!(reply.code == 1 && reply.remark.unwrap().ends_with("that is not a half message"));
    all_done(&cluster);
    assert_eq!(max_offset(&cluster, HALF, 0), 1);
}

#[test]
fn a_restart_changes_nothing() {
    let mut cluster = patient(|_| {});
    let mut peer = cluster.peer();
    let open = send_half(&mut peer, "open", &[]);
    let ended = send_half(&mut peer, "ended", &[]);
    assert_eq!(peer.ask_among(&end(&ended, ROLLBACK)).code, 0);
    cluster.restart();
    assert_eq!(cluster.peer().ask(&end(&open, COMMIT)).code, 0);
    all_done(&cluster);
    assert_eq!(messages(&cluster, "T", 1)[0].body, b"open");

    // Unended across a restart: asked afterwards.
    send_half(&mut cluster.peer(), "later", &[]);
    cluster.config.transaction_time_out = 50;
    cluster.restart();
    assert_eq!(asked(&mut producer(&cluster)).2.body, b"later");
}

#[test]
fn an_immune_message_lets_others_pass_and_is_not_asked_about() {
    let cluster = asking(|_| {});
    let mut peer = producer(&cluster);
    let immune = send_half(&mut peer, "slow", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "3600")]);
    send_half(&mut peer, "open", &[]);
    let (copy, _, message) = asked(&mut peer);
    assert_eq!(message.body, b"open");
    peer.send(&end(&copy, ROLLBACK));
    wait_until("put back", || max_offset(&cluster, HALF, 0) >= 10);
    peer.send(&end(&immune, COMMIT));
    all_done(&cluster);
    assert_eq!(messages(&cluster, "T", 1).len(), 1);
    let copies = stored(&cluster, HALF);
    let last = copies.iter().rfind(|message| message.body == b"slow").unwrap();
    let first = last.property(property::TRAN_PREPARED_QUEUE_OFFSET);
    assert_eq!(first, Some(immune.queue_offset.as_str()));
    assert_eq!(last.property(property::TRANSACTION_CHECK_TIMES), None);
}

#[test]
fn a_half_message_without_its_properties_stalls_nobody() {
    let cluster = asking(|config| config.transaction_check_max = 1);
    for text in ["", "PGROUP\u{1}producers", "TRANSACTION_CHECK_TIMES\u{1}x\u{2}REAL_QID\u{1}x"] {
        let bad = MessageRef {
            topic: HALF,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: now_ms(),
            born_host: NO_HOST,
            store_timestamp: 0,
            store_host: NO_HOST,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"bad",
            properties: text,
        };
        cluster.broker.store.put(&bad);
    }
    let mut peer = producer(&cluster);
    // So long that a count of checks no longer fits.
    let used = properties(&[("TRAN_MSG", "true"), ("PGROUP", "producers")]).len()
        + "\u{2}UNIQ_KEY\u{1}long\u{2}K\u{1}\u{2}CLUSTER\u{1}DefaultCluster".len()
        + "\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}1".len();
    send_half(&mut peer, "long", &[("K", &"v".repeat(32_767 - used))]);
    send_half(&mut peer, "good", &[]);
    let (copy, _, message) = asked(&mut peer);
    assert_eq!(message.body, b"good");
    assert_eq!(peer.ask_among(&end(&copy, COMMIT)).code, 0);
    wait_until("given up", || max_offset(&cluster, GIVEN_UP, 0) == 4);
}

#[test]
fn a_delay_counts_from_the_commit_on() {
    let cluster = patient(|_| {});
    let mut peer = cluster.peer();
    let half = send_half(&mut peer, "later", &[("DELAY", "1")]);
    assert_eq!(peer.ask_among(&end(&half, COMMIT)).code, 0);
    wait_until("parked", || max_offset(&cluster, "SCHEDULE_TOPIC_XXXX", 0) == 1);
    wait_until("delivered", || max_offset(&cluster, "T", 1) == 1);
    assert_eq!(messages(&cluster, "T", 1)[0].body, b"later");
}

#[test]
fn who_may_not_has_no_transactions() {
    let cluster = patient(|config| config.reject_transaction_message = true);
    let text = properties(&[("TRAN_MSG", "true"), ("PGROUP", "producers")]);
    let reply = cluster.peer().ask(&send_v2("T", 0, &text, b"x"));
    let remark = "the broker[127.0.0.1] sending transaction message is forbidden";
    assert_eq!((reply.code, reply.remark.as_deref()), (16, Some(remark)));

    let slave = Cluster::with(|config| config.store.broker_role = BrokerRole::Slave);
    let half = Half { queue_offset: "0".to_owned(), log_offset: "0".to_owned() };
    assert_eq!(slave.peer().ask(&end(&half, COMMIT)).code, 11);
}
