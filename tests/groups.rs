//! Many groups on one topic: each has its own progress, whatever the others do.

use std::fs;

use ferrocket::message::record;
use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;

use crate::common::*;

const GROUPS: usize = 2000;

fn group(n: usize) -> String {
    format!("group-{n}")
}

/// A heartbeat of one client that is in all groups, half of them broadcasting.
fn beat() -> Command {
    let consumer = |n: usize| {
        let model = if n.is_multiple_of(2) { "CLUSTERING" } else { "BROADCASTING" };
        format!(
            r#"{{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY",
            "groupName":"{}","messageModel":"{model}","subscriptionDataSet":[
            {{"expressionType":"TAG","subString":"*","subVersion":1,"topic":"Many"}}]}}"#,
            group(n)
        )
    };
    let consumers: Vec<_> = (0..GROUPS).map(consumer).collect();
    let mut command = Command::request(codes::HEART_BEAT);
    command.body =
        format!(r#"{{"clientID":"all","consumerDataSet":[{}]}}"#, consumers.join(",")).into();
    command
}

#[test]
fn thousands_of_groups_have_a_progress_each() {
    let cluster = Cluster::start();
    for n in 0..4 {
        put(&cluster, "Many", 0, "", n.to_string().as_bytes());
    }
    let mut peer = cluster.peer();
    let written = |file: &str, name: &str| {
        let path = cluster.dir.path().join("config").join(file);
        let text = fs::read_to_string(path).unwrap_or_default();
        text.matches(&format!("\"{name}group-")).count()
    };
    let groups = |file: &str| written(file, "groupName\":\"");
    let topics = |file: &str| written(file, "topicName\":\"%RETRY%");
    assert_eq!(peer.ask_among(&beat()).code, 0);
    // All are in the files, by one write: the files before it have none of them.
    assert_eq!((groups("subscriptionGroup.json"), topics("topics.json")), (GROUPS, GROUPS));
    assert_eq!((groups("subscriptionGroup.json.bak"), topics("topics.json.bak")), (0, 0));
    for n in 0..GROUPS {
        let group = group(n);
        // One and the same log serves them: a pull of any group reads the same messages.
        let from = (n % 4) as i64;
        let flags = SUBSCRIPTION | COMMIT;
        let pull =
            Pull { group: &group, sys_flag: flags, commit: from, ..Pull::new("Many", 0, from) };
        let reply = peer.ask_among(&pull.command());
        let all = record::decode_all(&reply.body).unwrap();
        assert_eq!((reply.code, all.len()), (0, 4 - n % 4), "{group}");
    }
    let table = peer.ask_among(&request(codes::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", "Many")]));
    assert_eq!(String::from_utf8_lossy(&table.body).matches("\"group-").count(), GROUPS);
    for n in 0..GROUPS {
        let group = group(n);
        let fields = [("consumerGroup", group.as_str()), ("topic", "Many"), ("queueId", "0")];
        let reply = peer.ask_among(&request(codes::QUERY_CONSUMER_OFFSET, &fields));
        assert_eq!(number(&reply, "offset"), (n % 4) as i64, "{group}");
    }
}
