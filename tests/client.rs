//! The client library against a cluster in this process.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferrocket::base::Error;
use ferrocket::broker::Broker;
use ferrocket::client::{
    Admin, ConsumeFrom, ConsumeStatus, ConsumerSettings, KeyQuery, Message, MessageExt,
    MessageModel, MessageQueue, Producer, ProducerSettings, PullConsumer, PullStatus, PushConsumer,
    SendStatus, Settings, code,
};
use ferrocket::config::BrokerConfig;
use ferrocket::protocol::body::topic::TopicConfig;

use crate::common::{Cluster, wait_until};

/// What consumers got: body, topic, times consumed in vain.
type Got = Arc<Mutex<Vec<(String, String, i32)>>>;

fn note(got: &Got, messages: &[MessageExt]) {
    let seen = messages.iter().map(|message| {
        let body = String::from_utf8_lossy(message.body()).into_owned();
        (body, message.topic().to_owned(), message.reconsume_times())
    });
    got.lock().unwrap().extend(seen);
}

fn bodies(got: &Got) -> Vec<String> {
    let mut bodies: Vec<_> = got.lock().unwrap().iter().map(|seen| seen.0.clone()).collect();
    bodies.sort();
    bodies
}

/// Delays between retries are short here.
fn start() -> Cluster {
    Cluster::with(|config| {
        config.broker_cluster_name = "C1".to_string();
        config.store.message_delay_level = "1s 1s 1s 1s 1s".to_string();
    })
}

fn address(cluster: &Cluster) -> String {
    format!("127.0.0.1:{}", cluster.namesrv.local_addr().port())
}

fn producer(cluster: &Cluster) -> Producer {
    let common = Settings::namesrv(address(cluster));
    let settings = ProducerSettings { common, ..ProducerSettings::default() };
    Producer::start("producers", settings).expect("a producer")
}

fn settings(cluster: &Cluster, model: MessageModel) -> ConsumerSettings {
    let common = Settings::namesrv(address(cluster));
    let from = ConsumeFrom::FirstOffset;
    ConsumerSettings { common, model, from, threads: 2, ..ConsumerSettings::default() }
}

fn consumer(cluster: &Cluster, topic: &str, expression: &str, got: &Got) -> PushConsumer {
    let (settings, got) = (settings(cluster, MessageModel::Clustering), Arc::clone(got));
    let listen = move |messages: &[MessageExt]| {
        note(&got, messages);
        ConsumeStatus::Success
    };
    PushConsumer::start("consumers", settings, &[(topic, expression)], listen).expect("a consumer")
}

#[test]
fn every_way_of_sending_arrives() {
    let cluster = start();
    let producer = producer(&cluster);
    let got = Got::default();
    let message = |body: &str| Message::new("Ways", body).tags("A");
    let sent = producer.send(&message("sync")).expect("sent");
    assert_eq!((sent.status, sent.queue_offset), (SendStatus::SendOk, 0));
    let consumer = consumer(&cluster, "Ways", "A || B", &got);
    let (said, heard) = mpsc::channel();
    let answer = move |result| said.send(result).expect("somebody waits");
    producer.send_async(&message("async"), answer).expect("on its way");
    assert_eq!(heard.recv().expect("an answer").expect("sent").status, SendStatus::SendOk);
    producer.send_oneway(&message("oneway")).expect("on its way");
    let batch = ["batch1", "batch2"].map(message);
    let sent = producer.send_batch(&batch).expect("sent");
    assert_eq!(sent.msg_id.split(',').count(), 2);
    assert_eq!(sent.offset_msg_id.split(',').count(), 2);
    let sent = producer.send_selected(&message("selected"), |queues| queues.len() - 1);
    assert_eq!(sent.expect("sent").queue.queue_id, 3);
    producer.send(&Message::new("Ways", "other tag").tags("C")).expect("sent");
    let long = "x".repeat(100_000);
    producer.send(&message(&long)).expect("sent");
    wait_until("seven messages", || bodies(&got).len() == 7);
    let mut wanted = ["sync", "async", "oneway", "batch1", "batch2", "selected", &long];
    wanted.sort();
    assert_eq!(bodies(&got), wanted);
    consumer.shutdown();
    producer.shutdown();
}

#[test]
fn two_consumers_share_and_go_on_where_they_were() {
    let cluster = start();
    let producer = producer(&cluster);
    producer.send(&Message::new("Shared", "0")).expect("sent");
    let got = Got::default();
    let first = consumer(&cluster, "Shared", "*", &got);
    wait_until("all queues", || first.assigned().len() == 5);
    let second = consumer(&cluster, "Shared", "*", &got);
    // Four queues and the retry topic's one.
    wait_until("a share each", || {
        let sizes = (first.assigned().len(), second.assigned().len());
        sizes == (3, 2) || sizes == (2, 3)
    });
    for n in 1..40 {
        producer.send(&Message::new("Shared", n.to_string())).expect("sent");
    }
    wait_until("all messages", || bodies(&got).len() >= 40);
    second.shutdown();
    wait_until("all queues again", || first.assigned().len() == 5);
    first.shutdown();
    let again = consumer(&cluster, "Shared", "*", &got);
    producer.send(&Message::new("Shared", "last")).expect("sent");
    wait_until("the last one", || bodies(&got).iter().any(|body| body == "last"));
    again.shutdown();
    let mut distinct = bodies(&got);
    distinct.dedup();
    assert_eq!(distinct.len(), 41);
    producer.shutdown();
}

#[test]
fn what_is_consumed_in_vain_comes_again() {
    let cluster = start();
    let producer = producer(&cluster);
    producer.send(&Message::new("Again", "once more")).expect("sent");
    let got = Got::default();
    let noted = Arc::clone(&got);
    let listen = move |messages: &[MessageExt]| {
        note(&noted, messages);
        match messages[0].reconsume_times() {
            0 => ConsumeStatus::ReconsumeLater,
            _ => ConsumeStatus::Success,
        }
    };
    let settings = settings(&cluster, MessageModel::Clustering);
    let consumer = PushConsumer::start("consumers", settings, &[("Again", "*")], listen);
    wait_until("the second time", || bodies(&got).len() == 2);
    let text = |text: &str| text.to_owned();
    let seen = |times| (text("once more"), text("Again"), times);
    assert_eq!(*got.lock().unwrap(), [seen(0), seen(1)]);
    consumer.expect("a consumer").shutdown();
    producer.shutdown();
}

#[test]
fn broadcasting_members_get_everything_once() {
    let cluster = start();
    let producer = producer(&cluster);
    for n in 0..10 {
        producer.send(&Message::new("All", n.to_string())).expect("sent");
    }
    let offsets = tempfile::tempdir().expect("a scratch directory");
    let start = |name: &str, got: &Got| {
        let mut settings = settings(&cluster, MessageModel::Broadcasting);
        settings.common.instance_name = Some(name.to_owned());
        settings.offset_dir = Some(offsets.path().to_owned());
        let got = Arc::clone(got);
        let listen = move |messages: &[MessageExt]| {
            note(&got, messages);
            ConsumeStatus::Success
        };
        PushConsumer::start("consumers", settings, &[("All", "*")], listen).expect("a consumer")
    };
    let (one, two) = (Got::default(), Got::default());
    let (first, second) = (start("one", &one), start("two", &two));
    wait_until("everything twice", || bodies(&one).len() == 10 && bodies(&two).len() == 10);
    first.shutdown();
    second.shutdown();
    producer.send(&Message::new("All", "new")).expect("sent");
    let first = start("one", &one);
    wait_until("the new one", || bodies(&one).len() > 10);
    assert_eq!(bodies(&one).len(), 11);
    first.shutdown();
    producer.shutdown();
}

#[test]
fn pulls_and_offsets() {
    let cluster = start();
    let producer = producer(&cluster);
    let mut queue = MessageQueue::new("Pulled", "broker-a", 1);
    for n in 0..5 {
        let tag = if n % 2 == 0 { "even" } else { "odd" };
        let message = Message::new("Pulled", n.to_string()).tags(tag);
        producer.send_to(&message, &queue).expect("sent");
    }
    let consumer =
        PullConsumer::start("pullers", Settings::namesrv(address(&cluster))).expect("a consumer");
    wait_until("the route", || consumer.queues("Pulled").is_ok_and(|queues| queues.len() == 4));
    wait_until("all are there", || consumer.max_offset(&queue).is_ok_and(|max| max == 5));
    assert_eq!(consumer.min_offset(&queue).expect("min"), 0);
    assert_eq!(consumer.search_offset(&queue, 0).expect("found"), 0);
    let found = consumer.pull(&queue, "odd", 0, 32).expect("an answer");
    assert_eq!((found.status, found.next_begin_offset), (PullStatus::Found, 5));
    let texts: Vec<_> = found.messages.iter().map(MessageExt::body).collect();
    assert_eq!(texts, [b"1", b"3"]);
    let pull = |expression, offset| consumer.pull(&queue, expression, offset, 32);
    assert_eq!(pull("none", 0).expect("an answer").status, PullStatus::NoMatchedMsg);
    assert_eq!(pull("*", 5).expect("an answer").status, PullStatus::NoNewMsg);
    let beyond = pull("*", 1000).expect("an answer");
    assert_eq!((beyond.status, beyond.next_begin_offset), (PullStatus::OffsetIllegal, 5));
    let wait = Duration::from_millis(100);
    let waited = consumer.pull_wait(&queue, "*", 5, 32, wait).expect("an answer");
    assert_eq!(waited.status, PullStatus::NoNewMsg);
    consumer.commit_offset(&queue, 3).expect("committed");
    assert_eq!(consumer.committed_offset(&queue).expect("an answer"), Some(3));
    queue.broker_name = "nobody".into();
    let error = consumer.max_offset(&queue).expect_err("no such broker");
    assert!(matches!(error, Error::Refused { code: code::BROKER_NOT_EXIST, .. }), "{error}");
    consumer.shutdown();
    producer.shutdown();
}

#[test]
fn tools_find_topics_and_messages() {
    let cluster = start();
    let admin = Admin::start(&address(&cluster)).expect("an admin client");
    let masters = admin.masters_of("C1").expect("the cluster");
    admin.update_topic(&masters[0], &TopicConfig::new("Tools", 2, 6)).expect("created");
    assert!(admin.topic_list().expect("a list").iter().any(|topic| topic == "Tools"));
    assert_eq!(admin.topic_route("Tools").expect("a route").queue_datas[0].read_queue_nums, 2);
    let producer = producer(&cluster);
    let sent = producer.send(&Message::new("Tools", "found").keys("k1 k2")).expect("sent");
    let viewed = admin.view_message(&sent.offset_msg_id).expect("the message");
    assert_eq!((viewed.body(), viewed.msg_id()), (&b"found"[..], sent.msg_id.as_str()));
    let query = |key: &str, is_unique_key| {
        let (begin, end) = (0, i64::MAX);
        let topic = "Tools";
        admin.query_message(&KeyQuery { topic, key, is_unique_key, max: 32, begin, end })
    };
    wait_until("the key", || query("k2", false).is_ok_and(|found| found.len() == 1));
    assert_eq!(query(&sent.msg_id, true).expect("the message").len(), 1);
    assert!(matches!(query("k3", false), Err(Error::Refused { code: 208, .. })));
    assert_eq!(admin.topic_stats("Tools").expect("stats").offset_table.len(), 2);
    admin.delete_topic_in_broker(&masters[0], "Tools").expect("deleted");
    admin.delete_topic_in_namesrv("Tools", Some("C1")).expect("deleted");
    assert!(matches!(admin.topic_route("Tools"), Err(Error::Refused { code: 17, .. })));
    admin.shutdown();
    producer.shutdown();
}

#[test]
fn another_broker_takes_what_one_cannot() {
    let cluster = start();
    let other = tempfile::tempdir().expect("a scratch directory");
    let mut config = BrokerConfig::for_test(other.path());
    config.broker_name = "broker-b".to_string();
    config.broker_cluster_name = "C1".to_string();
    config.namesrv_addr = Some(address(&cluster));
    let other = Broker::start(config).expect("a second broker");
    let admin = Admin::start(&address(&cluster)).expect("an admin client");
    for master in admin.masters_of("C1").expect("the cluster") {
        admin.update_topic(&master, &TopicConfig::new("Both", 1, 6)).expect("created");
    }
    let producer = producer(&cluster);
    assert_eq!(producer.queues("Both").expect("a route").len(), 2);
    cluster.broker.stop();
    for _ in 0..4 {
        let sent = producer.send(&Message::new("Both", "x")).expect("sent to the other");
        assert_eq!(sent.queue.broker_name, "broker-b");
    }
    let (said, heard) = mpsc::channel();
    for _ in 0..4 {
        let said = said.clone();
        let answer = move |result| said.send(result).expect("somebody waits");
        producer.send_async(&Message::new("Both", "x"), answer).expect("on its way");
        let sent = heard.recv().expect("an answer").expect("sent to the other");
        assert_eq!(sent.queue.broker_name, "broker-b");
    }
    other.stop();
    let error = producer.send(&Message::new("Both", "x")).expect_err("nobody is left");
    assert!(error.to_string().starts_with("Send [3] times, still failed"), "{error}");
    producer.shutdown();
    admin.shutdown();
}

#[test]
fn an_unknown_topic_that_nobody_creates() {
    let cluster = Cluster::with(|config| config.auto_create_topic_enable = false);
    let producer = producer(&cluster);
    let error = producer.send(&Message::new("Nowhere", "x")).expect_err("no route");
    assert!(matches!(error, Error::Refused { code: code::NOT_FOUND_TOPIC, .. }), "{error}");
    producer.shutdown();
}

#[test]
fn a_consumer_that_is_there_before_its_topic() {
    let cluster = start();
    let got = Got::default();
    let consumer = consumer(&cluster, "Later", "*", &got);
    let producer = producer(&cluster);
    producer.send(&Message::new("Later", "x")).expect("sent");
    wait_until("the message", || bodies(&got) == ["x"]);
    consumer.shutdown();
    producer.shutdown();
}
