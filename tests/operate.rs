//! What tools ask a broker to show or to clean: 43, 45, 303, 306, 308, 314, 316, 317, 321, 328,
//! 329, 351.

use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;

use crate::common::*;

fn ask(cluster: &Cluster, code: i32, fields: &[(&str, &str)]) -> Command {
    cluster.peer().ask(&request(code, fields))
}

fn text(reply: &Command) -> String {
    assert_eq!((reply.code, reply.remark.as_deref()), (0, None));
    String::from_utf8(reply.body.clone()).unwrap()
}

fn offsets(cluster: &Cluster) -> String {
    text(&ask(cluster, codes::GET_ALL_CONSUMER_OFFSET, &[]))
}

#[test]
fn all_offsets_are_shown() {
    let cluster = Cluster::start();
    assert_eq!(offsets(&cluster), r#"{"offsetTable":{}}"#);
    commit(&cluster, "T", "g", 10, 5);
    commit(&cluster, "T", "g", 9, 4);
    commit(&cluster, "T", "h", 0, 1);
    assert_eq!(offsets(&cluster), r#"{"offsetTable":{"T@g":{9:4,10:5},"T@h":{0:1}}}"#);
    let delays = || text(&ask(&cluster, codes::GET_ALL_DELAY_OFFSET, &[]));
    assert_eq!(delays(), r#"{"offsetTable":{}}"#);
    let sent = cluster.peer().ask(&send_v2("T", 0, "DELAY\u{1}1", b"later"));
    assert_eq!(sent.code, 0);
    wait_until("delivered", || delays() == r#"{"offsetTable":{1:1}}"#);
}

#[test]
fn offsets_are_copied_to_another_group() {
    let cluster = Cluster::start();
    let clone = |topic: &str, to: &str, offline: &str| {
        let fields = [("srcGroup", "g"), ("destGroup", to), ("topic", topic), ("offline", offline)];
        ask(&cluster, codes::CLONE_GROUP_OFFSET, &fields)
    };
    cluster.create_topic("T", 2, 6);
    cluster.create_topic("U", 2, 6);
    for (topic, queue_id, offset) in [("T", 0, 5), ("T", 1, 6), ("U", 0, 7), ("gone", 0, 8)] {
        commit(&cluster, topic, "g", queue_id, offset);
    }
    assert_eq!(clone("T", "one", "false").code, 0);
    assert_eq!(clone("", "all", "false").code, 0);
    let table = offsets(&cluster);
    for entry in [r#""T@one":{0:5,1:6}"#, r#""T@all":{0:5,1:6}"#, r#""U@all":{0:7}"#] {
        assert!(table.contains(entry), "{table}");
    }
    assert!(!table.contains("U@one") && !table.contains("gone@all"), "{table}");
    let mut member = cluster.peer();
    assert_eq!(member.ask_among(&heart_beat("c", "g", "T", "*", 1)).code, 0);
    assert_eq!(clone("", "online", "false").code, 0);
    assert_eq!(clone("", "forced", "true").code, 0);
    let table = offsets(&cluster);
    assert!(table.contains("T@online") && !table.contains("U@online"), "{table}");
    assert!(table.contains("U@forced"), "{table}");
    assert_eq!(clone("", "a/../b", "true").code, 1);
    assert_eq!(ask(&cluster, codes::CLONE_GROUP_OFFSET, &[("srcGroup", "g")]).code, 1);
}

#[test]
fn the_lowest_offset_of_other_groups_is_found() {
    let cluster = Cluster::start();
    let correction = |filter: &str, compare: &str| {
        let fields = [("filterGroups", filter), ("compareGroup", compare), ("topic", "T")];
        text(&ask(&cluster, codes::QUERY_CORRECTION_OFFSET, &fields))
    };
    assert_eq!(correction("", "g"), r#"{"correctionOffsets":{}}"#);
    for (group, queue_id, offset) in
        [("a", 0, 5), ("a", 1, 9), ("b", 0, 7), ("b", 1, 8), ("c", 0, 1), ("c", 2, 1)]
    {
        commit(&cluster, "T", group, queue_id, offset);
    }
    assert_eq!(correction("", "x"), r#"{"correctionOffsets":{0:1,1:8,2:1}}"#);
    assert_eq!(correction("c, y", "x"), r#"{"correctionOffsets":{0:5,1:8}}"#);
    let behind = r#"{"correctionOffsets":{0:9223372036854775807,1:8}}"#;
    assert_eq!(correction("c", "c"), behind);
    assert!(offsets(&cluster).contains("T@c"), "nothing is deleted");
}

#[test]
fn time_spans_of_a_group_are_shown() {
    let cluster = Cluster::start();
    let fields = [("topic", "T"), ("group", "g")];
    let unknown = ask(&cluster, codes::QUERY_CONSUME_TIME_SPAN, &fields);
    assert_eq!((unknown.code, unknown.remark.as_deref()), (17, Some("topic[T] not exist")));
    cluster.create_topic("T", 2, 6);
    put(&cluster, "T", 0, "", b"x");
    put(&cluster, "T", 0, "", b"x");
    commit(&cluster, "T", "g", 0, 1);
    let span = text(&ask(&cluster, codes::QUERY_CONSUME_TIME_SPAN, &fields));
    let span: serde_json::Value = serde_json::from_str(&span).unwrap();
    let spans = span["consumeTimeSpanSet"].as_array().unwrap();
    let stored = messages(&cluster, "T", 0);
    assert_eq!(spans[0]["minTimeStamp"], stored[0].store_timestamp);
    assert_eq!(spans[0]["maxTimeStamp"], stored[1].store_timestamp);
    assert_eq!(spans[0]["consumeTimeStamp"], stored[0].store_timestamp);
    assert!(spans[0]["delayTime"].as_i64().unwrap() >= 0);
    assert_eq!(spans[0]["minTimeStampStr"].as_str().unwrap().len(), 23);
    assert_eq!(spans[1]["maxTimeStamp"], -1);
    assert_eq!(
        (&spans[1]["delayTime"], &spans[1]["messageQueue"]["queueId"]),
        (&0.into(), &1.into())
    );
}

#[test]
fn every_group_s_progress_is_shown() {
    let cluster = Cluster::start();
    cluster.create_topic("T", 1, 6);
    put(&cluster, "T", 0, "", b"x");
    put(&cluster, "T", 0, "", b"x");
    let mut member = cluster.peer();
    assert_eq!(member.ask_among(&heart_beat("c", "g", "T", "*", 1)).code, 0);
    commit(&cluster, "T", "g", 0, 1);
    commit(&cluster, "gone", "g", 0, 1);
    let stats = |order: &str| {
        let reply = ask(&cluster, codes::GET_BROKER_CONSUME_STATS, &[("isOrder", order)]);
        text(&reply)
    };
    let all = stats("false");
    let port = cluster.broker.local_addr().unwrap().port();
    assert!(all.starts_with(&format!(r#"{{"brokerAddr":"127.0.0.1:{port}","#)), "{all}");
    assert!(all.contains(r#"{"g":[{"consumeTps":"#), "{all}");
    assert!(all.contains(r#""brokerOffset":2,"consumerOffset":1,"#), "{all}");
    assert!(all.ends_with(r#""totalDiff":1}"#), "{all}");
    let ordered = stats("true");
    assert!(ordered.contains(r#"{"g":[]}"#) && ordered.ends_with(r#""totalDiff":0}"#), "{ordered}");
}

#[test]
fn units_of_a_queue_are_shown() {
    let cluster = Cluster::start();
    put(&cluster, "T", 0, "TAGS\u{1}a", b"x");
    put(&cluster, "T", 0, "TAGS\u{1}b", b"y");
    let show = |queue: &str, index: &str, group: &[(&str, &str)]| {
        let mut fields = vec![("topic", "T"), ("queueId", queue), ("index", index), ("count", "9")];
        fields.extend(group);
        ask(&cluster, codes::QUERY_CONSUME_QUEUE, &fields)
    };
    let second = text(&show("0", "1", &[]));
    let size = messages(&cluster, "T", 0)[1].physical_offset;
    let unit =
        format!(r#"[{{"eval":false,"physicOffset":{size},"physicSize":{size},"tagsCode":98}}]"#);
    let expected = format!(r#"{{"maxQueueIndex":2,"minQueueIndex":0,"queueData":{unit}}}"#);
    assert_eq!(second, expected);
    let absent = show("7", "0", &[]);
    assert_eq!((absent.code, absent.remark.as_deref()), (1, Some("7@T is not exist!")));
    for index in ["2", "-1", "9223372036854775807"] {
        let beyond = show("0", index, &[]);
        let remark = format!("Index {index} of 0@T is not exist!");
        assert_eq!((beyond.code, beyond.remark, beyond.body.len()), (0, Some(remark), 0));
    }
    let offline = text(&show("0", "0", &[("consumerGroup", "g")]));
    assert!(offline.contains(r#""filterData":"g@T is not online!""#), "{offline}");
    let mut member = cluster.peer();
    assert_eq!(member.ask_among(&heart_beat("c", "g", "T", "a", 1)).code, 0);
    let online = text(&show("0", "0", &[("consumerGroup", "g")]));
    assert!(online.contains(r#""subscriptionData":{"#) && online.contains(r#""subString":"a""#));
}

#[test]
fn all_producers_are_shown() {
    let cluster = Cluster::start();
    let producers = || text(&ask(&cluster, codes::GET_ALL_PRODUCER_INFO, &[]));
    assert_eq!(producers(), r#"{"data":{}}"#);
    let mut member = cluster.peer();
    assert_eq!(member.ask_among(&heart_beat("c", "g", "T", "*", 1)).code, 0);
    let shown: serde_json::Value = serde_json::from_str(&producers()).unwrap();
    let one = &shown["data"]["producers"][0];
    assert_eq!((&one["clientId"], &one["language"]), (&"c".into(), &"JAVA".into()));
    assert_eq!(one["remoteIP"], format!("/{}", member.stream.local_addr().unwrap()));
    assert_eq!(one["version"], 409);
    assert!(one["lastUpdateTimestamp"].as_i64().unwrap() > 0);
}

#[test]
fn queues_without_a_topic_are_cleaned() {
    let cluster = Cluster::start();
    put(&cluster, "T", 0, "", b"x");
    put(&cluster, "U", 0, "", b"x");
    cluster.broker.topics.remove("U");
    assert_eq!(ask(&cluster, codes::CLEAN_UNUSED_TOPIC, &[]).code, 0);
    assert_eq!((max_offset(&cluster, "T", 0), max_offset(&cluster, "U", 0)), (1, 0));
    assert_eq!(ask(&cluster, codes::CLEAN_EXPIRED_CONSUMEQUEUE, &[]).code, 0);
    assert_eq!(ask(&cluster, codes::DELETE_EXPIRED_COMMITLOG, &[]).code, 0);
    assert_eq!(messages(&cluster, "T", 0).len(), 1);
}

#[test]
fn one_topic_is_shown() {
    let cluster = Cluster::start();
    let get = |topic: &str| ask(&cluster, codes::GET_TOPIC_CONFIG, &[("topic", topic)]);
    let unknown = get("T");
    let remark = "No topic in this broker. topic: T";
    assert_eq!((unknown.code, unknown.remark.as_deref()), (17, Some(remark)));
    cluster.create_topic("T", 3, 6);
    let shown = text(&get("T"));
    assert!(shown.starts_with(r#"{"order":false,"perm":6,"readQueueNums":3,"#), "{shown}");
    assert!(shown.ends_with(r#""topicName":"T","topicSysFlag":0,"writeQueueNums":3}"#), "{shown}");
}
