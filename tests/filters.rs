//! SQL92 filters: carried by a pull or by heartbeats, on reads and for pulls that wait, refusals.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use ferrocket::message::record;
use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;

use crate::common::*;

fn filtering() -> Cluster {
    Cluster::with(|config| config.enable_property_filter = true)
}

fn bodies(reply: &Command) -> Vec<u8> {
    record::decode_all(&reply.body).unwrap().into_iter().flat_map(|message| message.body).collect()
}

/// Messages whose body and property `a` are 0 to 9; odd ones have a property `odd`.
fn put_ten(cluster: &Cluster) {
    for n in 0..10u8 {
        let number = n.to_string();
        let all = [("a", number.as_str()), ("odd", "yes")];
        put(cluster, "T", 0, &properties(&all[..1 + usize::from(n % 2)]), number.as_bytes());
    }
}

fn sql(expression: &str, offset: i64) -> Command {
    let pull = Pull { kind: "SQL92", subscription: expression, ..Pull::new("T", 0, offset) };
    pull.command()
}

fn beat(topic: &str, expression: &str, version: i64) -> Command {
    let mut command = heart_beat("c1", "consumers", topic, expression, version);
    let text = String::from_utf8(command.body).unwrap();
    command.body = text.replace(r#""TAG""#, r#""SQL92""#).into_bytes();
    command
}

/// Sends a heartbeat; the notice that the group has changed may come before its answer.
fn accepted(peer: &mut Peer, beat: &Command) {
    let answer = peer.ask_among(beat);
    assert_eq!((answer.code, answer.remark), (0, None));
}

#[test]
fn a_pull_gets_what_its_expression_matches() {
    let cluster = filtering();
    put_ten(&cluster);
    let mut peer = cluster.peer();
    for (expression, expected) in [
        ("a > 6", "789"),
        ("a BETWEEN 2 AND 4 OR a = '9'", "2349"),
        ("odd IS NULL AND a <> 4", "0268"),
        ("odd IN ('yes', 'no') AND NOT (a < 5)", "579"),
        ("a >= 0", "0123456789"),
    ] {
        let reply = peer.ask(&sql(expression, 0));
        assert_eq!((reply.code, reply.remark.as_deref()), (0, Some("FOUND")), "{expression}");
        assert_eq!(bodies(&reply), expected.as_bytes(), "{expression}");
        assert_eq!(number(&reply, "nextBeginOffset"), 10);
    }
    let reply = peer.ask(&sql("a > 2.5", 4));
    assert_eq!((reply.code, bodies(&reply)), (0, b"456789".to_vec()));
    let reply = peer.ask(&sql("a = 'x' OR odd > 1", 3));
    assert_eq!((reply.code, reply.remark.as_deref()), (20, Some("NO_MATCHED_MESSAGE")));
    assert_eq!((number(&reply, "nextBeginOffset"), reply.body.len()), (10, 0));
}

#[test]
fn expressions_that_do_not_parse_are_refused_with_the_place() {
    let cluster = filtering();
    put_ten(&cluster);
    let mut peer = cluster.peer();
    let deep = format!("{}a = 1", "(".repeat(5000));
    for (expression, why) in [
        ("a >", "a value is missing at character 4"),
        ("a = 'x", "' stands where a word or a sign is expected at character 5"),
        (&deep, "nested deeper than"),
    ] {
        let reply = peer.ask(&sql(expression, 0));
        let remark = reply.remark.unwrap();
        let expected = format!("parse the consumer's subscription failed: {why}");
        assert!(reply.code == 23 && remark.starts_with(&expected), "{} {remark}", reply.code);
    }
    let unknown = Pull { kind: "XPATH", subscription: "a", ..Pull::new("T", 0, 0) };
    assert_eq!(peer.ask(&unknown.command()).code, 23);
    assert_eq!(bodies(&peer.ask(&sql("a = 3", 0))), b"3");
    let reply = peer.ask(&sql("", 0));
    let remark = "parse the consumer's subscription failed";
    assert_eq!((reply.code, reply.remark.as_deref()), (23, Some(remark)));
    // What cannot continue a complete expression is ignored: this asks for the property `a`.
    assert_eq!(peer.ask(&sql("a LIKE 'x'", 0)).code, 20);
}

#[test]
fn the_heartbeats_filter_counts_when_the_pull_has_none() {
    let mut cluster = filtering();
    put_ten(&cluster);
    let mut client = cluster.peer();
    let pull = |version| Pull { sys_flag: 0, version, ..Pull::new("T", 0, 0) }.command();
    accepted(&mut client, &beat("T", "a > 6", 100));
    let reply = client.ask(&pull(100));
    assert_eq!((reply.code, bodies(&reply)), (0, b"789".to_vec()));
    assert_eq!(client.ask(&pull(101)).code, 25);
    accepted(&mut client, &beat("T", "a < 2", 99));
    assert_eq!(bodies(&client.ask(&pull(99))), b"789");
    accepted(&mut client, &beat("T", "a < 2", 101));
    assert_eq!(bodies(&client.ask(&pull(101))), b"01");
    accepted(&mut client, &beat("T", "a < < 2", 102));
    let reply = client.ask(&pull(102));
    assert_eq!(reply.code, 27);
    let remark = "The broker's consumer filter data is not exist!Your expression may be wrong!";
    assert_eq!(reply.remark.unwrap(), remark);
    accepted(&mut client, &beat("T", "a = 5", 103));
    cluster.restart();
    let file = cluster.config.store.root().join("config/consumerFilter.json");
    assert!(std::fs::read_to_string(file).unwrap().contains("a = 5"));
    let mut client = cluster.peer();
    assert_eq!(client.ask(&pull(103)).code, 24);
    accepted(&mut client, &beat("T", "a = 5", 103));
    assert_eq!(bodies(&client.ask(&pull(103))), b"5");
}

#[test]
fn a_pull_waits_for_a_message_that_matches() {
    let cluster = filtering();
    put_ten(&cluster);
    let mut waiting = cluster.peer();
    let expression = "a = 11 AND odd IS NOT NULL";
    let flags = SUBSCRIPTION | SUSPEND;
    let suspend = 60_000;
    let pull = Pull { sys_flag: flags, suspend, ..Pull::new("T", 0, 10) };
    waiting.send(&Pull { kind: "SQL92", subscription: expression, ..pull }.command());
    wait_until("held", || cluster.broker.held_pulls() == 1);
    put(&cluster, "T", 0, &properties(&[("a", "11")]), b"x");
    put(&cluster, "T", 0, &properties(&[("a", "word"), ("odd", "yes")]), b"x");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(cluster.broker.held_pulls(), 1);
    put(&cluster, "T", 0, &properties(&[("a", "11"), ("odd", "yes")]), b"y");
    let reply = waiting.receive();
    assert_eq!((reply.code, bodies(&reply)), (0, b"y".to_vec()));
    assert_eq!(number(&reply, "nextBeginOffset"), 13);
}

#[test]
fn retried_messages_are_filtered_again_when_configured() {
    let cluster = Cluster::with(|config| {
        config.enable_property_filter = true;
        config.filter_support_retry = true;
    });
    let mut client = cluster.peer();
    accepted(&mut client, &beat("T", "a > 6", 100));
    for (topic, a) in [("T", "7"), ("T", "6"), ("U", "6")] {
        let properties = properties(&[("RETRY_TOPIC", topic), ("a", a)]);
        put(&cluster, "%RETRY%consumers", 0, &properties, [topic, a].concat().as_bytes());
    }
    let pull = Pull::new("%RETRY%consumers", 0, 0).command();
    assert_eq!(bodies(&client.ask(&pull)), b"T7U6");
}

#[test]
fn a_client_may_ask_whether_its_filter_is_served() {
    let check = |kind: &str, expression: &str| {
        let mut command = Command::request(codes::CHECK_CLIENT_CONFIG);
        let text = format!(
            r#"{{"clientId":"c1","group":"g","subscriptionData":{{"topic":"T",
            "expressionType":"{kind}","subString":"{expression}","subVersion":1}}}}"#
        );
        command.body = text.into_bytes();
        command
    };
    let cluster = filtering();
    let mut peer = cluster.peer();
    for (kind, expression, code) in [
        ("TAG", "a || b", 0),
        ("SQL92", "a > 1 AND b IN ('x')", 0),
        ("SQL92", "a > 'x'", 23),
        ("SQL92", "", 23),
        ("XPATH", "a", 23),
    ] {
        assert_eq!(peer.ask(&check(kind, expression)).code, code, "{kind} {expression}");
    }
    let cluster = Cluster::start();
    let reply = cluster.peer().ask(&check("SQL92", "a > 1"));
    let remark = "The broker does not support consumer to filter message by SQL92";
    assert_eq!((reply.code, reply.remark.as_deref()), (1, Some(remark)));
    assert_eq!(cluster.peer().ask(&check("TAG", "a")).code, 0);
    let reply = cluster.peer().ask(&sql("a > > 1", 0));
    assert_eq!(reply.code, 17);
}

/// Zeroes the bit map of the n-th unit of a queue, in the file that the broker has mapped.
fn clear_bits(cluster: &Cluster, n: u64) {
    let file = "consumequeue_ext/T/0/00000000000000000000";
    let path = cluster.config.store.root().join(file);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut unit = [0; 34];
    file.read_exact_at(&mut unit, n * 34).unwrap();
    assert_eq!(unit[..2], [0, 34]);
    assert!(unit[20..].iter().any(|byte| *byte != 0), "message {n} passes a filter");
    file.write_all_at(&[0; 14], n * 34 + 20).unwrap();
}

#[test]
fn bit_maps_are_looked_at_before_properties() {
    let mut cluster = Cluster::with(|config| {
        config.enable_property_filter = true;
        config.enable_calc_filter_bit_map = true;
        config.store.enable_consume_queue_ext = true;
    });
    cluster.create_topic("T", 1, 6);
    let mut client = cluster.peer();
    accepted(&mut client, &beat("T", "a > 6", 100));
    // A message of the same millisecond as the filter's birth is held to its properties.
    std::thread::sleep(Duration::from_millis(2));
    put_ten(&cluster);
    let registered = |version| Pull { sys_flag: 0, version, ..Pull::new("T", 0, 0) }.command();
    assert_eq!(bodies(&client.ask(&registered(100))), b"789");
    clear_bits(&cluster, 8);
    assert_eq!(bodies(&client.ask(&registered(100))), b"79");
    cluster.restart();
    let mut client = cluster.peer();
    accepted(&mut client, &beat("T", "a > 6", 100));
    assert_eq!(bodies(&client.ask(&registered(100))), b"79");
    // Neither a filter that the pull brings nor one that came later is in the bit maps.
    assert_eq!(bodies(&client.ask(&sql("a > 6", 0))), b"789");
    accepted(&mut client, &beat("T", "a > 5", 101));
    assert_eq!(bodies(&client.ask(&registered(101))), b"6789");
}

#[test]
fn filters_whose_bits_have_another_shape_are_forgotten() {
    let mut cluster = filtering();
    put_ten(&cluster);
    let mut client = cluster.peer();
    accepted(&mut client, &beat("T", "a > 6", 100));
    let pull = Pull { sys_flag: 0, version: 100, ..Pull::new("T", 0, 0) }.command();
    assert_eq!(bodies(&client.ask(&pull)), b"789");
    cluster.config.max_error_rate_of_bloom_filter = 5;
    cluster.restart();
    let file = cluster.config.store.root().join("config/consumerFilter.json");
    assert!(std::fs::read_to_string(file).unwrap().contains("a > 6"));
    let mut client = cluster.peer();
    // The same version would wake a filter that is remembered.
    accepted(&mut client, &beat("T", "a > 7", 100));
    assert_eq!(bodies(&client.ask(&pull)), b"89");
}
