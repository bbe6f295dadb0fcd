//! Clients, groups, offsets, locks, topics, and what tools ask a broker.

use std::net::TcpStream;
use std::time::Duration;

use ferrocket::base::limits::TOPIC_QUEUES_MAX;
use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;
use serde_json::{Value, json};

use crate::common::*;

fn body(reply: &Command) -> Value {
    assert_eq!((reply.code, reply.remark.as_deref()), (0, None));
    serde_json::from_slice(&reply.body).unwrap()
}

/// A body with objects or bare numbers as keys, as text.
fn text(reply: &Command) -> String {
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    String::from_utf8(reply.body.clone()).unwrap()
}

fn with_body(code: i32, value: Value) -> Command {
    let mut command = Command::request(code);
    command.body = serde_json::to_vec(&value).unwrap();
    command
}

/// The next frame must be a notice that the members of this group changed.
fn expect_notice(peer: &mut Peer, group: &str) {
    let notice = peer.receive();
    assert_eq!((notice.code, notice.is_oneway()), (codes::NOTIFY_CONSUMER_IDS_CHANGED, true));
    assert_eq!(notice.field("consumerGroup"), Some(group));
}

fn is_silent(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let silent = stream.peek(&mut [0]).is_err();
    stream.set_nonblocking(false).unwrap();
    silent
}

#[test]
fn members_of_a_group_hear_of_each_other() {
    let cluster = Cluster::start();
    let (mut first, mut second) = (cluster.peer(), cluster.peer());
    let beat = |peer: &mut Peer, client: &str, version| {
        let command = heart_beat(client, "g", "T", "a", version);
        peer.send(&command);
        command.opaque
    };
    let list = |peer: &mut Peer| {
        let command = request(codes::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", "g")]);
        peer.ask(&command)
    };
    let mut tool = cluster.peer();
    let nobody = list(&mut tool);
    assert_eq!(nobody.code, 1);
    assert_eq!(nobody.remark.unwrap(), "no consumer for this group, g");

    beat(&mut first, "c1", 1);
    expect_notice(&mut first, "g");
    let reply = first.receive();
    assert_eq!((reply.code, reply.version, reply.body.len()), (0, 409, 0));
    beat(&mut first, "c1", 2);
    assert_eq!(first.receive().code, 0, "a newer version alone is no change");
    beat(&mut second, "c2", 2);
    expect_notice(&mut first, "g");
    expect_notice(&mut second, "g");
    assert_eq!(second.receive().code, 0);
    assert_eq!(body(&list(&mut tool)), json!({"consumerIdList": ["c1", "c2"]}));

    let leave = [("clientID", "c2"), ("consumerGroup", "g"), ("producerGroup", "producers")];
    second.send(&request(codes::UNREGISTER_CLIENT, &leave));
    assert_eq!(second.receive().code, 0);
    expect_notice(&mut first, "g");
    assert_eq!(body(&list(&mut tool)), json!({"consumerIdList": ["c1"]}));

    beat(&mut second, "c2", 2);
    expect_notice(&mut first, "g");
    drop(second);
    expect_notice(&mut first, "g");
    assert!(is_silent(&first.stream));
    assert_eq!(body(&list(&mut tool)), json!({"consumerIdList": ["c1"]}));
}

#[test]
fn no_notice_when_the_group_or_the_broker_wants_none() {
    let cluster = Cluster::start();
    let quiet = json!({"groupName": "g", "notifyConsumerIdsChangedEnable": false});
    let command = with_body(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, quiet);
    assert_eq!(cluster.peer().ask(&command).code, 0);
    assert_eq!(cluster.peer().ask(&heart_beat("c", "g", "T", "*", 1)).code, 0);
    let off = Cluster::with(|config| config.notify_consumer_ids_changed_enable = false);
    assert_eq!(off.peer().ask(&heart_beat("c", "g", "T", "*", 1)).code, 0);
}

#[test]
fn the_retry_topic_is_routed_when_a_heartbeat_is_answered() {
    let cluster = Cluster::start();
    let mut client = cluster.peer();
    client.send(&heart_beat("c", "fresh", "T", "*", 1));
    expect_notice(&mut client, "fresh");
    assert_eq!(client.receive().code, 0);
    let fields = [("topic", "%RETRY%fresh")];
    let route = cluster.namesrv_peer().ask(&request(codes::GET_ROUTEINFO_BY_TOPIC, &fields));
    assert!(text(&route).contains(r#""writeQueueNums":1"#));
}

#[test]
fn connections_are_shown() {
    let cluster = Cluster::start();
    let mut client = cluster.peer();
    client.send(&heart_beat("c1", "g", "T", "a || b", 7));
    expect_notice(&mut client, "g");
    client.receive();
    let mut tool = cluster.peer();
    let consumers = |tool: &mut Peer, group: &str| {
        let fields = [("consumerGroup", group)];
        tool.ask(&request(codes::GET_CONSUMER_CONNECTION_LIST, &fields))
    };
    let found = body(&consumers(&mut tool, "g"));
    let addr = client.stream.local_addr().unwrap().to_string();
    let connection =
        json!({"clientAddr": addr, "clientId": "c1", "language": "JAVA", "version": 409});
    assert_eq!(found["connectionSet"], json!([connection]));
    assert_eq!(found["consumeType"], "CONSUME_PASSIVELY");
    assert_eq!(found["messageModel"], "CLUSTERING");
    assert_eq!(found["consumeFromWhere"], "CONSUME_FROM_LAST_OFFSET");
    assert_eq!(found["subscriptionTable"]["T"]["subString"], "a || b");
    assert_eq!(found["subscriptionTable"]["T"]["subVersion"], 7);
    let absent = consumers(&mut tool, "h");
    assert_eq!(absent.code, 206);
    assert_eq!(absent.remark.unwrap(), "the consumer group[h] not online");

    let mut producers = |group: &str| {
        let fields = [("producerGroup", group)];
        tool.ask(&request(codes::GET_PRODUCER_CONNECTION_LIST, &fields))
    };
    assert_eq!(body(&producers("producers")), json!({"connectionSet": [connection]}));
    let absent = producers("nobody");
    assert_eq!(absent.code, 1);
    assert_eq!(absent.remark.unwrap(), "the producer group[nobody] not exist");
}

#[test]
fn a_subscription_can_be_checked() {
    let cluster = Cluster::start();
    let mut peer = cluster.peer();
    let mut check = |kind: &str| {
        let data = json!({"topic": "T", "subString": "a > 1", "expressionType": kind});
        let value = json!({"clientId": "c", "group": "g", "subscriptionData": data});
        peer.ask(&with_body(codes::CHECK_CLIENT_CONFIG, value))
    };
    assert_eq!(check("TAG").code, 0);
    let reply = check("SQL92");
    assert_eq!(reply.code, 1);
    let remark = "The broker does not support consumer to filter message by SQL92";
    assert_eq!(reply.remark.unwrap(), remark);
}

#[test]
fn garbage_bodies_are_refused_and_the_connection_lives() {
    let cluster = Cluster::start();
    let mut peer = cluster.peer();
    for code in [codes::HEART_BEAT, codes::LOCK_BATCH_MQ, codes::CHECK_CLIENT_CONFIG] {
        for garbage in [&b"{"[..], b"\xff\xfe", b"[1,2", b"nonsense"] {
            let mut command = Command::request(code);
            command.body = garbage.to_vec();
            assert_eq!(peer.ask(&command).code, 1, "{code} {garbage:?}");
        }
    }
    for nameless in [
        json!({"clientID": "c", "consumerDataSet": [{}]}),
        json!({"clientID": "c", "producerDataSet": [{}]}),
        json!({"producerDataSet": [{"groupName": "producers"}]}),
    ] {
        assert_eq!(peer.ask(&with_body(codes::HEART_BEAT, nameless)).code, 1);
    }
    let (long_id, long_group) = ("c".repeat(1025), "g".repeat(256));
    for (client, group, said) in [(&long_id[..], "g", "clientID"), ("c", &long_group, "groupName")]
    {
        let reply = peer.ask(&heart_beat(client, group, "T", "*", 1));
        assert_eq!(reply.code, 1);
        assert!(reply.remark.unwrap().contains(&format!("{said} is longer than")));
    }
    let members = request(codes::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", "g")]);
    assert_eq!(peer.ask(&members).code, 1, "nothing of them was entered");
    assert_eq!(peer.ask(&send_v2("T", 0, "", b"x")).code, 0);
}

#[test]
fn a_refused_heartbeat_leaves_nothing_behind() {
    let cluster = Cluster::start();
    let mut peer = cluster.peer();
    let topics: Vec<_> = (0..20_001).map(|n| json!({"topic": format!("T{n}")})).collect();
    let groups = json!([
        {"groupName": "good", "subscriptionDataSet": [{"topic": "T"}]},
        {"groupName": "greedy", "subscriptionDataSet": topics},
    ]);
    let beat = json!({"clientID": "c", "consumerDataSet": groups,
        "producerDataSet": [{"groupName": "producers"}]});
    let reply = peer.ask(&with_body(codes::HEART_BEAT, beat));
    assert_eq!(reply.code, 1);
    assert_eq!(reply.remark.unwrap(), "a group subscribes at most 20000 topics");
    let members = request(codes::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", "good")]);
    assert_eq!(peer.ask(&members).code, 1);
    let topics = text(&peer.ask(&Command::request(codes::GET_ALL_TOPIC_CONFIG)));
    assert!(topics.contains("TBW102") && !topics.contains("%RETRY%good"));
    let groups = text(&peer.ask(&Command::request(codes::GET_ALL_SUBSCRIPTIONGROUP_CONFIG)));
    assert!(!groups.contains(r#""good""#));
}

fn query_offset(cluster: &Cluster, group: &str, topic: &str) -> Command {
    let fields = [("consumerGroup", group), ("topic", topic), ("queueId", "0")];
    cluster.peer().ask(&request(codes::QUERY_CONSUMER_OFFSET, &fields))
}

#[test]
fn offsets_are_kept_over_a_restart() {
    let mut cluster = Cluster::start();
    put(&cluster, "T", 0, "", b"x");
    assert_eq!(number(&query_offset(&cluster, "g", "T"), "offset"), 0, "a young topic");
    commit(&cluster, "T", "g", 0, 8);
    commit(&cluster, "T", "g", 0, 1);
    commit(&cluster, "nowhere", "h", 0, 3);
    cluster.restart();
    assert_eq!(number(&query_offset(&cluster, "g", "T"), "offset"), 1);
    assert_eq!(number(&query_offset(&cluster, "h", "nowhere"), "offset"), 3);
    let file = cluster.dir.path().join("config/consumerOffset.json");
    let stored = std::fs::read_to_string(&file).unwrap();
    assert!(stored.contains("\"T@g\":{0:1\n"), "{stored}");
    std::fs::write(&file, r#"{"offsetTable":{}}"#).unwrap();
    cluster.restart();
    assert_eq!(number(&query_offset(&cluster, "g", "T"), "offset"), 1, "over a foreign file");
}

#[test]
fn a_new_group_starts_at_0_only_while_message_0_is_in_memory() {
    let cluster = Cluster::start();
    put(&cluster, "T", 0, "", b"x");
    commit(&cluster, "T", "old", 0, 1);
    assert_eq!(number(&query_offset(&cluster, "new", "T"), "offset"), 0);
    cluster.set("accessMessageInMemoryMaxRatio", "0");
    let unknown = query_offset(&cluster, "new", "T");
    let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
    assert_eq!((unknown.code, unknown.remark.as_deref()), (22, Some(remark)));
    assert_eq!(unknown.field("offset"), None);
    assert_eq!(number(&query_offset(&cluster, "old", "T"), "offset"), 1);
}

/// Half of the topic's messages go with their file.
#[test]
fn a_new_group_has_no_offset_where_messages_were_deleted() {
    let mut cluster = Cluster::start();
    let body = vec![0; 100_000];
    for _ in 0..20 {
        put(&cluster, "T", 0, "", &body);
    }
    commit(&cluster, "T", "old", 0, 1);
    cluster.broker.stop();
    let log = cluster.config.store.root().join("commitlog");
    std::fs::remove_file(log.join("0".repeat(20))).unwrap();
    cluster.restart();
    let fields = [("topic", "T"), ("queueId", "0")];
    let min = cluster.peer().ask(&request(codes::GET_MIN_OFFSET, &fields));
    assert_eq!(number(&min, "offset"), 10);
    assert_eq!(query_offset(&cluster, "new", "T").code, 22);
    assert_eq!(number(&query_offset(&cluster, "old", "T"), "offset"), 10, "moved at start");
    let mut pull = Pull::new("T", 0, 1);
    pull.group = "old";
    let moved = cluster.peer().ask(&pull.command());
    assert_eq!((moved.code, number(&moved, "nextBeginOffset")), (21, 10));
}

#[test]
fn groups_of_a_topic_are_those_online_and_those_with_offsets() {
    let cluster = Cluster::start();
    let who = |topic: &str| {
        let fields = [("topic", topic)];
        body(&cluster.peer().ask(&request(codes::QUERY_TOPIC_CONSUME_BY_WHO, &fields)))
    };
    assert_eq!(who("T"), json!({"groupList": []}));
    let mut client = cluster.peer();
    client.send(&heart_beat("c1", "online", "T", "*", 1));
    expect_notice(&mut client, "online");
    client.receive();
    commit(&cluster, "T", "away", 0, 1);
    commit(&cluster, "T", "online", 0, 1);
    commit(&cluster, "U", "other", 0, 1);
    assert_eq!(who("T"), json!({"groupList": ["away", "online"]}));
    assert_eq!(who("U"), json!({"groupList": ["other"]}));
    let missing = cluster.peer().ask(&request(codes::QUERY_TOPIC_CONSUME_BY_WHO, &[]));
    assert_eq!(missing.code, 1);
}

#[test]
fn a_queue_is_locked_by_one_client() {
    let cluster = Cluster::start();
    let mut peer = cluster.peer();
    let queue = |id: i32| json!({"brokerName": "broker-a", "queueId": id, "topic": "T"});
    let value = |client: &str, ids: &[i32]| {
        let queues: Vec<_> = ids.iter().map(|&id| queue(id)).collect();
        json!({"clientId": client, "consumerGroup": "g", "mqSet": queues})
    };
    let mut lock = |client: &str, ids: &[i32]| {
        body(&peer.ask(&with_body(codes::LOCK_BATCH_MQ, value(client, ids))))["lockOKMQSet"].take()
    };
    assert_eq!(lock("a", &[0, 1]), json!([queue(0), queue(1)]));
    assert_eq!(lock("b", &[1, 2, 2]), json!([queue(2)]));
    let unlock = with_body(codes::UNLOCK_BATCH_MQ, value("a", &[1, 2]));
    assert_eq!(cluster.peer().ask(&unlock).code, 0);
    assert_eq!(lock("b", &[0, 1, 2]), json!([queue(1), queue(2)]));
}

#[test]
fn topics_are_created_shown_and_deleted() {
    let mut cluster = Cluster::start();
    cluster.create_topic("T", 3, 6);
    let mut peer = cluster.peer();
    let all = body(&peer.ask(&Command::request(codes::GET_ALL_TOPIC_CONFIG)));
    let topic = json!({"order": false, "perm": 6, "readQueueNums": 3, "topicName": "T",
        "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "writeQueueNums": 3});
    assert_eq!(all["topicConfigTable"]["T"], topic);
    assert_eq!(all["dataVersion"]["counter"], 1);
    assert_eq!(all["topicConfigTable"]["TBW102"]["perm"], 7);
    let system = body(&peer.ask(&Command::request(codes::GET_SYSTEM_TOPIC_LIST_FROM_BROKER)));
    let system = system["topicList"].as_array().unwrap();
    assert!(system.contains(&json!("SCHEDULE_TOPIC_XXXX")) && system.contains(&json!("broker-a")));

    put(&cluster, "T", 1, "", b"x");
    let stats = |cluster: &Cluster| {
        cluster.peer().ask(&request(codes::GET_TOPIC_STATS_INFO, &[("topic", "T")]))
    };
    let found = text(&stats(&cluster));
    let stored = messages(&cluster, "T", 1)[0].store_timestamp;
    let row = format!(
        "{{\"brokerName\":\"broker-a\",\"queueId\":1,\"topic\":\"T\"}}:\
         {{\"lastUpdateTimestamp\":{stored},\"maxOffset\":1,\"minOffset\":0}}"
    );
    assert!(found.contains(&row), "{found}");
    assert_eq!(found.matches("queueId").count(), 3);

    cluster.restart();
    let delete = |name: &str| {
        cluster.peer().ask(&request(codes::DELETE_TOPIC_IN_BROKER, &[("topic", name)]))
    };
    assert_eq!((delete("T").code, delete("Unknown").code), (0, 0));
    let gone = stats(&cluster);
    assert_eq!((gone.code, gone.remark.as_deref()), (17, Some("topic[T] not exist")));
    assert_eq!(put(&cluster, "T", 1, "", b"again"), 0, "the queue began anew");
    let conflict = delete("TBW102");
    assert_eq!(conflict.code, 1);
    assert_eq!(conflict.remark.unwrap(), "The topic[TBW102] is conflict with system topic.");
}

#[test]
fn topics_that_cannot_be_are_refused() {
    let cluster = Cluster::start();
    let good = [
        ("topic", "T"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "4"),
        ("writeQueueNums", "4"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
    ];
    let cases = [
        ("topic", "a b", "illegal characters"),
        ("topic", "SELF_TEST_TOPIC", "is conflict with system topic."),
        ("readQueueNums", "-1", "queue numbers"),
        ("writeQueueNums", "2147483647", "queue numbers"),
        ("topicFilterType", "NO_TAG", "topicFilterType"),
        ("perm", "rw", "perm"),
    ];
    for (name, value, remark) in cases {
        let mut command = request(codes::UPDATE_AND_CREATE_TOPIC, &good);
        command.fields_mut().push(name, value);
        let reply = cluster.peer().ask(&command);
        let found = reply.remark.unwrap_or_default();
        assert!(reply.code == 1 && found.contains(remark), "{} {found}", reply.code);
    }
}

#[test]
fn groups_are_created_shown_and_deleted() {
    let cluster = Cluster::start();
    let mut peer = cluster.peer();
    let config = json!({"groupName": "g", "retryMaxTimes": 2, "retryQueueNums": 3});
    let update = with_body(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, config);
    assert_eq!(peer.ask(&update).code, 0);
    let many = json!({"groupName": "many", "retryQueueNums": TOPIC_QUEUES_MAX + 1});
    let many = peer.ask(&with_body(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, many));
    assert_eq!(many.code, 1, "its retry topic would have more queues than a topic may");
    let mut all = || body(&peer.ask(&Command::request(codes::GET_ALL_SUBSCRIPTIONGROUP_CONFIG)));
    let found = all();
    assert!(found["subscriptionGroupTable"]["many"].is_null());
    let group = &found["subscriptionGroupTable"]["g"];
    assert_eq!((&group["retryMaxTimes"], &group["retryQueueNums"]), (&json!(2), &json!(3)));
    assert_eq!(group["consumeEnable"], true);
    assert!(found["subscriptionGroupTable"]["TOOLS_CONSUMER"].is_object());
    assert_eq!(found["dataVersion"]["counter"], 1);
    commit(&cluster, "T", "g", 0, 3);
    let fields = [("groupName", "g"), ("removeOffset", "true")];
    let delete = request(codes::DELETE_SUBSCRIPTIONGROUP, &fields);
    assert_eq!(cluster.peer().ask(&delete).code, 0);
    assert!(all()["subscriptionGroupTable"]["g"].is_null());
    assert_eq!(number(&query_offset(&cluster, "g", "T"), "offset"), 0);
}

#[test]
fn queues_tell_their_offsets_and_times() {
    let cluster = Cluster::start();
    for n in 0..3u8 {
        put(&cluster, "T", 0, "", &[n]);
        std::thread::sleep(Duration::from_millis(3));
    }
    let stored: Vec<i64> = messages(&cluster, "T", 0).iter().map(|m| m.store_timestamp).collect();
    let ask = |code, topic: &str, time: i64| {
        let time = time.to_string();
        let fields = [("topic", topic), ("queueId", "0"), ("timestamp", time.as_str())];
        cluster.peer().ask(&request(code, &fields))
    };
    assert_eq!(number(&ask(codes::GET_MAX_OFFSET, "T", 0), "offset"), 3);
    assert_eq!(number(&ask(codes::GET_MIN_OFFSET, "T", 0), "offset"), 0);
    assert_eq!(number(&ask(codes::GET_MAX_OFFSET, "None", 0), "offset"), 0);
    for (offset, time) in stored.iter().enumerate() {
        let found = number(&ask(codes::SEARCH_OFFSET_BY_TIMESTAMP, "T", *time), "offset");
        assert_eq!(found, offset as i64);
    }
    let earliest = ask(codes::GET_EARLIEST_MSG_STORETIME, "T", 0);
    assert_eq!(number(&earliest, "timestamp"), stored[0]);
    let none = ask(codes::GET_EARLIEST_MSG_STORETIME, "None", 0);
    assert_eq!(number(&none, "timestamp"), -1);

    commit(&cluster, "T", "g", 0, 2);
    let fields = [("consumerGroup", "g")];
    let stats = text(&cluster.peer().ask(&request(codes::GET_CONSUME_STATS, &fields)));
    let row = format!(
        "\"queueId\":0,\"topic\":\"T\"}}:\
         {{\"brokerOffset\":3,\"consumerOffset\":2,\"lastTimestamp\":{}}}",
        stored[1]
    );
    assert!(stats.contains(&row), "{stats}");
}

#[test]
fn messages_are_found_by_key_and_by_id() {
    let cluster = Cluster::start();
    put(&cluster, "T", 0, &properties(&[("KEYS", "k1 k2"), ("UNIQ_KEY", "U1")]), b"one");
    put(&cluster, "T", 1, &properties(&[("KEYS", "k2")]), b"two");
    let found = |key: &str, unique| cluster.peer().ask(&query("T", key, 10, 0, unique));
    let count =
        |reply: &Command| ferrocket::message::record::decode_all(&reply.body).unwrap().len();
    wait_until("indexed", || found("k2", false).code == 0);
    assert_eq!(count(&found("k1", false)), 1);
    wait_until("both", || count(&found("k2", false)) == 2);
    assert_eq!(count(&found("U1", true)), 1);
    let reply = found("k1", false);
    assert!(number(&reply, "indexLastUpdateTimestamp") > 0);
    let none = found("k9", false);
    assert_eq!(none.code, 22);
    assert_eq!(none.remark.as_deref(), Some("can not find message, maybe time range not correct"));
    assert_eq!(none.field("indexLastUpdatePhyoffset"), Some("0"));

    let view = |offset: i64| {
        let offset = offset.to_string();
        cluster.peer().ask(&request(codes::VIEW_MESSAGE_BY_ID, &[("offset", offset.as_str())]))
    };
    let two = &messages(&cluster, "T", 1)[0];
    let reply = view(two.physical_offset);
    assert_eq!((reply.code, count(&reply)), (0, 1));
    for wrong in [two.physical_offset + 1, -5, i64::MAX] {
        let reply = view(wrong);
        let remark = format!("can not find message by the offset, {wrong}");
        assert_eq!((reply.code, reply.remark), (1, Some(remark)));
    }
}

#[test]
fn as_many_are_found_as_asked_for_and_allowed() {
    let cluster = Cluster::with(|config| {
        config.store.max_msgs_num_batch = 6;
        config.store.default_query_max_num = 3;
    });
    for _ in 0..8 {
        put(&cluster, "T", 0, &properties(&[("KEYS", "k"), ("UNIQ_KEY", "U")]), b"x");
    }
    let count = |ask: Command| {
        let reply = cluster.peer().ask(&ask);
        ferrocket::message::record::decode_all(&reply.body).unwrap().len()
    };
    wait_until("indexed", || count(query("T", "k", 32, 0, false)) == 6);
    let (four, one) = (query("T", "k", 4, 0, false), query("T", "U", 1, 0, true));
    assert_eq!((count(four), count(one)), (4, 3));
    let late = query("T", "k", 4, i64::MAX - 1, false);
    assert_eq!(count(late), 0, "a span of time without any");
}

#[test]
fn configuration_is_shown_and_changed() {
    let cluster = Cluster::with(|config| {
        let root = config.store.root();
        config.origin.path = Some(root.join("broker.conf"));
    });
    let mut peer = cluster.peer();
    let mut get = || peer.ask(&Command::request(codes::GET_BROKER_CONFIG));
    let reply = get();
    assert!(text(&reply).contains("\nbrokerName=broker-a\n"));
    let version: Value = serde_json::from_str(reply.field("version").unwrap()).unwrap();
    assert_eq!(version["counter"], 0);
    let update = |lines: &str| {
        let mut command = Command::request(codes::UPDATE_BROKER_CONFIG);
        command.body = lines.as_bytes().to_vec();
        cluster.peer().ask(&command)
    };
    assert_eq!(update("traceOn=false\n").code, 0);
    let reply = get();
    assert!(text(&reply).contains("\ntraceOn=false\n"));
    let version: Value = serde_json::from_str(reply.field("version").unwrap()).unwrap();
    assert_eq!(version["counter"], 1);
    let sent = cluster.peer().ask(&send_v2("T", 0, "", b"x"));
    assert_eq!(sent.field("TRACE_ON"), Some("false"));
    assert_eq!(update("traceOn=true\nrocketmqHome=/tmp/x\n").code, 16);
    assert!(text(&get()).contains("\ntraceOn=false\n"), "nothing of it was applied");
}

#[test]
fn runtime_information_is_complete_from_the_start() {
    let cluster = Cluster::start();
    let table = |cluster: &Cluster| {
        body(&cluster.peer().ask(&Command::request(codes::GET_BROKER_RUNTIME_INFO)))["table"].take()
    };
    let found = table(&cluster);
    for key in [
        "putTps",
        "getTotalTps",
        "runtime",
        "bootTimestamp",
        "commitLogDiskRatio",
        "consumeQueueDiskRatio",
        "sendThreadPoolQueueCapacity",
        "pullThreadPoolQueueHeadWaitTimeMills",
        "dispatchBehindBytes",
        "remainHowManyDataToFlush",
        "commitLogDirCapacity",
        "msgGetTotalTodayMorning",
        "earliestMessageTimeStamp",
    ] {
        assert!(found[key].is_string(), "{key}: {found}");
    }
    assert_eq!(found["brokerVersionDesc"], "V4_9_8");
    put(&cluster, "T", 0, "", b"x");
    messages(&cluster, "T", 0);
    let found = table(&cluster);
    assert_eq!(
        (&found["msgPutTotalTodayNow"], &found["msgGetTotalTodayNow"]),
        (&json!("1"), &json!("1"))
    );
    let fields = [("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "T")];
    let stats = body(&cluster.peer().ask(&request(codes::VIEW_BROKER_STATS_DATA, &fields)));
    assert!(stats["statsMinute"]["sum"].is_number());
    let fields = [("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "U")];
    let reply = cluster.peer().ask(&request(codes::VIEW_BROKER_STATS_DATA, &fields));
    let remark = "The stats <TOPIC_PUT_NUMS> <U> not exist".to_owned();
    assert_eq!((reply.code, reply.remark), (1, Some(remark)));
}

fn send_back(cluster: &Cluster, offset: i64, level: i32) -> Command {
    let (offset, level) = (offset.to_string(), level.to_string());
    let fields = [
        ("offset", offset.as_str()),
        ("group", "g"),
        ("delayLevel", level.as_str()),
        ("originMsgId", "id"),
        ("originTopic", "T"),
        ("maxReconsumeTimes", "2"),
    ];
    cluster.peer().ask(&request(codes::CONSUMER_SEND_MSG_BACK, &fields))
}

#[test]
fn a_message_sent_back_comes_again_and_is_given_up_in_the_end() {
    let cluster = Cluster::start();
    put(&cluster, "T", 0, &properties(&[("TAGS", "a"), ("UNIQ_KEY", "U")]), b"x");
    let first = messages(&cluster, "T", 0).remove(0);
    assert_eq!(send_back(&cluster, first.physical_offset, 1).code, 0);
    wait_until("a first retry", || max_offset(&cluster, "%RETRY%g", 0) == 1);
    let second = messages(&cluster, "%RETRY%g", 0).remove(0);
    assert_eq!((second.body.as_slice(), second.reconsume_times), (&b"x"[..], 1));
    assert_eq!(second.property("RETRY_TOPIC"), Some("T"));
    assert_eq!(second.property("ORIGIN_MESSAGE_ID"), Some(first.offset_id().as_str()));
    assert_eq!((second.property("UNIQ_KEY"), second.property("TAGS")), (Some("U"), Some("a")));
    assert_eq!(second.born_timestamp, first.born_timestamp);

    assert_eq!(send_back(&cluster, second.physical_offset, 1).code, 0);
    wait_until("a second retry", || max_offset(&cluster, "%RETRY%g", 0) == 2);
    let third = messages(&cluster, "%RETRY%g", 0).remove(1);
    assert_eq!(third.reconsume_times, 2);
    assert_eq!(third.property("ORIGIN_MESSAGE_ID"), Some(first.offset_id().as_str()));
    assert_eq!(send_back(&cluster, third.physical_offset, 1).code, 0);
    wait_until("given up", || max_offset(&cluster, "%DLQ%g", 0) == 1);
    let dead = messages(&cluster, "%DLQ%g", 0).remove(0);
    assert_eq!((dead.reconsume_times, dead.property("RETRY_TOPIC")), (3, Some("T")));
    assert_eq!(send_back(&cluster, first.physical_offset, -1).code, 0);
    wait_until("given up at once", || max_offset(&cluster, "%DLQ%g", 0) == 2);

    let missing = send_back(&cluster, 999_999, 0);
    assert_eq!(missing.code, 1);
    assert_eq!(missing.remark.unwrap(), "look message by offset failed, 999999");
}

#[test]
fn without_a_level_the_delay_grows_with_each_failure() {
    let cluster = Cluster::start();
    put(&cluster, "T", 0, "", b"x");
    let first = messages(&cluster, "T", 0).remove(0);
    assert_eq!(send_back(&cluster, first.physical_offset, 0).code, 0);
    wait_until("parked for 10 s", || max_offset(&cluster, "SCHEDULE_TOPIC_XXXX", 2) == 1);
    let parked = messages(&cluster, "SCHEDULE_TOPIC_XXXX", 2).remove(0);
    assert_eq!(parked.property("REAL_TOPIC"), Some("%RETRY%g"));
    assert_eq!((parked.property("DELAY"), parked.property("WAIT")), (Some("3"), Some("false")));
}

#[test]
fn a_stopped_broker_is_no_longer_in_the_cluster() {
    let mut cluster = Cluster::start();
    let brokers = |cluster: &Cluster| {
        text(&cluster.namesrv_peer().ask(&Command::request(codes::GET_BROKER_CLUSTER_INFO)))
    };
    let addr = format!("127.0.0.1:{}", cluster.broker.local_addr().unwrap().port());
    assert!(brokers(&cluster).contains(&addr));
    let gone = std::sync::Arc::downgrade(&cluster.broker);
    cluster.broker.stop();
    assert!(!brokers(&cluster).contains("broker-a"));
    cluster.restart();
    assert_eq!(gone.strong_count(), 0, "a stopped broker leaves nothing behind");
    assert!(brokers(&cluster).contains("broker-a"));
}

#[test]
fn ordered_topics_of_the_name_server_are_taken_over() {
    let mut cluster = Cluster::start();
    cluster.create_topic("T", 1, 6);
    let fields = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T"), ("value", "broker-a:1")];
    assert_eq!(cluster.namesrv_peer().ask(&request(codes::PUT_KV_CONFIG, &fields)).code, 0);
    cluster.config.broker_permission = 4;
    cluster.restart();
    let ordered = |topic: &str| {
        let all = Command::request(codes::GET_ALL_TOPIC_CONFIG);
        body(&cluster.peer().ask(&all))["topicConfigTable"][topic]["order"].take()
    };
    wait_until("taken over", || ordered("T") == json!(true));
    assert_eq!(ordered("TBW102"), json!(false));
    let reply = cluster.peer().ask(&send_v2("T", 0, "", b"x"));
    assert_eq!(reply.code, 16);
    assert_eq!(reply.remark.unwrap(), "the broker[127.0.0.1] sending message is forbidden");
}

#[test]
fn a_topic_reaches_every_name_server_that_answers() {
    let dir = tempfile::tempdir().unwrap();
    let second = ferrocket::config::NamesrvConfig::for_test(dir.path());
    let second = ferrocket::namesrv::NameServer::start(second).unwrap();
    let port = second.local_addr().port();
    let cluster = Cluster::with(|config| {
        let first = config.namesrv_addr.take().unwrap();
        config.namesrv_addr = Some(format!("{first};127.0.0.1:{port};127.0.0.1:1"));
    });
    cluster.create_topic("A", 1, 6);
    cluster.create_topic("B", 1, 6);
    let route = |peer: &mut Peer, topic: &str| {
        peer.ask(&request(codes::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)])).code
    };
    let mut peers = [cluster.namesrv_peer(), Peer::connect(([127, 0, 0, 1], port).into())];
    for peer in &mut peers {
        assert_eq!((route(peer, "A"), route(peer, "B"), route(peer, "C")), (0, 0, 17));
    }
    second.stop();
}

#[test]
fn a_broker_that_cannot_start_says_why_and_leaves_nothing_running() {
    let cluster = Cluster::start();
    let error = |config| ferrocket::broker::Broker::start(config).err().unwrap().to_string();
    let text = error(cluster.config.clone());
    assert!(text.contains(cluster.dir.path().to_str().unwrap()), "the store is taken: {text}");

    let dir = tempfile::tempdir().unwrap();
    let mut config = ferrocket::config::BrokerConfig::for_test(dir.path());
    let port = cluster.broker.local_addr().unwrap().port();
    config.server.listen_port = i32::from(port);
    let text = error(config.clone());
    assert!(text.contains(&port.to_string()), "the port is taken: {text}");
    config.server.listen_port = 0;
    config.broker_ip1 = "no.such.host.invalid".to_owned();
    let text = error(config.clone());
    assert!(text.contains("no.such.host.invalid"), "{text}");
    config.broker_ip1 = "127.0.0.1".to_owned();
    ferrocket::broker::Broker::start(config).unwrap().stop();
}
