//! Multi dispatch and light queues: `enableMultiDispatch`, `enableLmq`.

use ferrocket::message::{Message, property, record};
use ferrocket::protocol::code::request as codes;

use crate::common::*;

fn light() -> Cluster {
    Cluster::with(|config| {
        config.store.enable_lmq = true;
        config.store.enable_multi_dispatch = true;
        config.store.max_lmq_consume_queue_num = 3;
        config.store.message_delay_level = "1s".into();
    })
}

fn further(names: &str) -> String {
    properties(&[("INNER_MULTI_DISPATCH", names), ("TAGS", "x")])
}

fn offsets(message: &Message) -> &str {
    property::get(&message.properties, property::INNER_MULTI_QUEUE_OFFSET).unwrap_or_default()
}

/// Bodies and offsets in further queues of the messages of a light queue.
fn seen(cluster: &Cluster, queue: &str) -> Vec<(String, String)> {
    let mut peer = cluster.peer();
    let reply = peer.ask(&Pull::new(queue, 0, 0).command());
    let body = |m: &Message| String::from_utf8(m.body.clone()).unwrap();
    let all = record::decode_all(&reply.body).unwrap();
    all.iter().map(|message| (body(message), offsets(message).to_owned())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(body, offsets)| ((*body).into(), (*offsets).into())).collect()
}

#[test]
fn a_message_is_in_every_queue_that_it_names() {
    let mut cluster = light();
    cluster.create_topic("T", 4, 6);
    put(&cluster, "T", 2, &further("%LMQ%a,%LMQ%b"), b"one");
    put(&cluster, "T", 1, &further("%LMQ%b"), b"two");
    // What a client makes up does not count.
    let mut text = further("%LMQ%a,%LMQ%b");
    property::push(&mut text, property::INNER_MULTI_QUEUE_OFFSET, "77,78");
    put(&cluster, "T", 2, &text, b"three");
    wait_until("in the light queues", || max_offset(&cluster, "%LMQ%b", 0) == 3);
    assert_eq!(seen(&cluster, "%LMQ%a"), pairs(&[("one", "0,0"), ("three", "1,2")]));
    let b = [("one", "0,0"), ("two", "1"), ("three", "1,2")];
    assert_eq!(seen(&cluster, "%LMQ%b"), pairs(&b));
    assert_eq!(messages(&cluster, "T", 2).len(), 2);
    cluster.restart();
    put(&cluster, "T", 0, &further("%LMQ%b,U"), b"four");
    assert_eq!(seen(&cluster, "%LMQ%b").last(), pairs(&[("four", "3,0")]).last());
    // Of the queues that it names, it may be in the first and not yet in the next.
    wait_until("in the last queue", || max_offset(&cluster, "U", 0) == 1);
    assert_eq!(max_offset(&cluster, "%LMQ%a", 0), 2);
}

#[test]
fn a_pull_waits_at_a_light_queue_and_its_group_has_one_offset() {
    let mut cluster = light();
    let mut peer = cluster.peer();
    let sys_flag = SUSPEND | SUBSCRIPTION | COMMIT;
    let wait = Pull { group: "%LMQ%g", sys_flag, suspend: 60_000, ..Pull::new("%LMQ%a", 0, 0) };
    peer.send(&wait.command());
    wait_until("held", || cluster.broker.held_pulls() == 1);
    put(&cluster, "T", 3, &further("%LMQ%a"), b"news");
    let reply = peer.receive();
    assert_eq!((reply.code, record::decode_all(&reply.body).unwrap().len()), (0, 1));
    let commit = |queue: &str, offset: &str| {
        let fields = [("consumerGroup", "%LMQ%g"), ("topic", "%LMQ%a"), ("queueId", queue)];
        let mut command = request(codes::UPDATE_CONSUMER_OFFSET, &fields);
        command.fields_mut().push("commitOffset", offset);
        command
    };
    assert_eq!(peer.ask(&commit("5", "1")).code, 0);
    cluster.restart();
    let file = cluster.config.store.root().join("config/lmqConsumerOffset.json");
    assert!(std::fs::read_to_string(file).unwrap().contains("%LMQ%a@%LMQ%g"));
    let fields = [("consumerGroup", "%LMQ%g"), ("topic", "%LMQ%a"), ("queueId", "0")];
    let reply = cluster.peer().ask(&request(codes::QUERY_CONSUMER_OFFSET, &fields));
    assert_eq!((reply.code, number(&reply, "offset")), (0, 1));
    // Neither has a configuration that is kept.
    let topics = cluster.peer().ask(&request(codes::GET_ALL_TOPIC_CONFIG, &[]));
    assert!(!String::from_utf8(topics.body).unwrap().contains("%LMQ%"));
}

#[test]
fn a_delayed_message_gets_there_once_when_its_time_has_come() {
    let cluster = light();
    let mut text = further("%LMQ%a");
    property::push(&mut text, property::DELAY, "1");
    let reply = cluster.peer().ask(&send_v2("T", 0, &text, b"later"));
    assert_eq!(reply.code, 0);
    wait_until("parked", || max_offset(&cluster, "SCHEDULE_TOPIC_XXXX", 0) == 1);
    put(&cluster, "T", 1, &further("%LMQ%b"), b"after it in the log");
    wait_until("delivered", || max_offset(&cluster, "T", 0) == 1);
    assert_eq!(seen(&cluster, "%LMQ%a"), pairs(&[("later", "0")]));
}

#[test]
fn queues_that_may_not_be_named_are_refused() {
    let cluster = light();
    cluster.create_topic("T", 4, 6);
    let mut peer = cluster.peer();
    let many = vec!["%LMQ%a"; 1001].join(",");
    for names in ["SCHEDULE_TOPIC_XXXX", "%RETRY%g", "a/../../b", "%LMQ%a,,%LMQ%b", "T", &many] {
        let reply = peer.ask(&send_v2("T", 1, &further(names), b"x"));
        assert_eq!(reply.code, 13, "{names:.20} {:?}", reply.remark);
    }
    put(&cluster, "T", 0, &further("%LMQ%a,%LMQ%b,%LMQ%c"), b"x");
    let reply = peer.ask(&send_v2("T", 0, &further("%LMQ%d"), b"x"));
    let remark = reply.remark.unwrap();
    assert!(reply.code == 1 && remark.starts_with("[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]"), "{remark}");
    put(&cluster, "T", 0, &further("%LMQ%c"), b"x");
    assert_eq!(max_offset(&cluster, "T", 0), 2, "what is refused is not stored");
}

#[test]
fn the_property_says_nothing_when_multi_dispatch_is_off() {
    let cluster = Cluster::start();
    put(&cluster, "T", 0, &further("%LMQ%a"), b"x");
    assert_eq!(max_offset(&cluster, "%LMQ%a", 0), 0);
    assert_eq!(offsets(&messages(&cluster, "T", 0)[0]), "");
    assert_eq!(cluster.peer().ask(&Pull::new("%LMQ%a", 0, 0).command()).code, 17);
}
