//! Request-reply: 324 and 325 from the one who replies, 326 to the one who waits.

use ferrocket::protocol::Command;
use ferrocket::protocol::code::request as codes;

use crate::common::*;

const TOPIC: &str = "DefaultCluster_REPLY_TOPIC";

/// A client that waits for replies.
fn waiting(cluster: &Cluster, client: &str) -> Peer {
    let mut peer = cluster.peer();
    let mut beat = Command::request(codes::HEART_BEAT);
    beat.body = format!(
        r#"{{"clientID":"{client}","producerDataSet":[{{"groupName":"CLIENT_INNER_PRODUCER"}}]}}"#
    )
    .into_bytes();
    assert_eq!(peer.ask(&beat).code, 0);
    peer
}

fn to_client(client: &str) -> String {
    properties(&[
        ("MSG_TYPE", "reply"),
        ("CORRELATION_ID", "c-1"),
        ("REPLY_TO_CLIENT", client),
        ("TTL", "3000"),
    ])
}

fn reply_v2(properties: &str, body: &[u8]) -> Command {
    let mut command = send_v2(TOPIC, 0, properties, body);
    command.code = codes::SEND_REPLY_MESSAGE_V2;
    command
}

#[test]
fn a_reply_reaches_the_client_that_waits() {
    let cluster = Cluster::start();
    let mut waiting = waiting(&cluster, "c1");
    let mut replying = cluster.peer();
    let sent = reply_v2(&to_client("c1"), b"answer");
    replying.send(&sent);
    let pushed = waiting.receive();
    assert_eq!(pushed.code, codes::PUSH_REPLY_MESSAGE_TO_CLIENT);
    assert!(!pushed.is_oneway());
    assert_eq!(pushed.body, b"answer");
    for (name, value) in [
        ("producerGroup", "producers"),
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "1700000000000"),
        ("flag", "7"),
        ("reconsumeTimes", "0"),
        ("unitMode", "false"),
        ("bornHost", &replying.stream.local_addr().unwrap().to_string()),
        ("storeHost", &format!("127.0.0.1:{}", cluster.broker.local_addr().unwrap().port())),
    ] {
        assert_eq!(pushed.field(name), Some(value), "{name}");
    }
    let time = number(&pushed, "storeTimestamp");
    let expected = format!("{}\u{2}PUSH_REPLY_TIME\u{1}{time}", to_client("c1"));
    assert_eq!(pushed.field("properties"), Some(expected.as_str()));

    waiting.send(&pushed.reply(0));
    let answer = replying.receive();
    assert_eq!((answer.code, answer.remark.as_deref()), (0, None));
    assert_eq!(answer.opaque, sent.opaque);
    assert_eq!((number(&answer, "queueId"), number(&answer, "queueOffset")), (0, 0));
    assert_eq!(answer.field("msgId").unwrap().len(), 32);
    assert_eq!(answer.field("MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(answer.field("TRACE_ON"), Some("true"));
    wait_until("stored", || max_offset(&cluster, TOPIC, 0) == 1);
    let stored = &messages(&cluster, TOPIC, 0)[0];
    assert_eq!(
        (stored.body.as_slice(), stored.properties.as_str()),
        (&b"answer"[..], &*to_client("c1"))
    );
}

#[test]
fn the_long_form_and_binary_headers_serve_too() {
    let cluster = Cluster::start();
    let mut waiting = waiting(&cluster, "c1");
    let mut replying = cluster.fast_peer();
    let fields = [
        ("producerGroup", "producers"),
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "-1"),
        ("sysFlag", "1"),
        ("bornTimestamp", "1700000000000"),
        ("flag", "0"),
        ("properties", &to_client("c1")),
    ];
    let sent = binary(request(codes::SEND_REPLY_MESSAGE, &fields));
    replying.send(&sent);
    let pushed = waiting.receive();
    assert_eq!((pushed.field("queueId"), pushed.field("sysFlag")), (Some("-1"), Some("1")));
    waiting.send(&pushed.reply(0));
    assert_eq!(replying.receive().code, 0);
}

#[test]
fn a_reply_need_not_be_stored() {
    let cluster = Cluster::with(|config| config.store_reply_message_enable = false);
    let mut waiting = waiting(&cluster, "c1");
    let mut replying = cluster.peer();
    replying.send(&reply_v2(&to_client("c1"), b"answer"));
    let pushed = waiting.receive();
    waiting.send(&pushed.reply(0));
    let answer = replying.receive();
    assert_eq!((answer.code, answer.field("msgId")), (0, Some("0")));
    assert_eq!((number(&answer, "queueId"), number(&answer, "queueOffset")), (0, 0));
    let refused = replying.ask(&reply_v2(&to_client("nobody"), b"answer"));
    assert_eq!((refused.code, refused.field("msgId")), (1, None));
    assert_eq!(max_offset(&cluster, TOPIC, 0), 0);
}

#[test]
fn a_reply_to_nobody_is_stored_and_refused() {
    let cluster = Cluster::start();
    let mut replying = cluster.peer();
    let nowhere = replying.ask(&reply_v2("MSG_TYPE\u{1}reply", b"x"));
    assert_eq!(nowhere.code, 1);
    let remark = "reply message properties[REPLY_TO_CLIENT] is null";
    assert_eq!(nowhere.remark.as_deref(), Some(remark));
    let gone = replying.ask(&reply_v2(&to_client("c9"), b"x"));
    assert_eq!(gone.code, 1);
    let remark = "push reply message fail, channel of <c9> not found.";
    assert_eq!(gone.remark.as_deref(), Some(remark));
    assert_eq!(number(&gone, "queueOffset"), 1);
    wait_until("both are stored", || max_offset(&cluster, TOPIC, 0) == 2);

    let mut waiting = waiting(&cluster, "c1");
    drop(cluster.peer());
    replying.send(&reply_v2(&to_client("c1"), b"x"));
    let pushed = waiting.receive();
    waiting.send(&pushed.refusal(1, "nobody waits"));
    let refused = replying.receive();
    assert_eq!(
        (refused.code, refused.remark.as_deref()),
        (1, Some("push reply message to c1fail."))
    );
    replying.send(&reply_v2(&to_client("c1"), b"x"));
    waiting.receive();
    drop(waiting);
    let lost = replying.receive();
    assert_eq!((lost.code, lost.remark.as_deref()), (1, Some("push reply message to c1fail.")));
}

#[test]
fn a_reply_is_checked_like_a_send() {
    let cluster = Cluster::start();
    let mut peer = cluster.peer();
    let mut unknown = send_v2("a b", 0, &to_client("c1"), b"x");
    unknown.code = codes::SEND_REPLY_MESSAGE_V2;
    let reply = peer.ask(&unknown);
    assert_eq!((reply.code, reply.field("TRACE_ON")), (1, Some("true")));
    let mut queue = send_v2(TOPIC, 7, &to_client("c1"), b"x");
    queue.code = codes::SEND_REPLY_MESSAGE_V2;
    let reply = peer.ask(&queue);
    assert!(reply.remark.unwrap().starts_with("request queueId[7] is illegal"));
    assert_eq!(peer.ask(&request(codes::SEND_REPLY_MESSAGE_V2, &[("a", "g")])).code, 1);
    assert_eq!(max_offset(&cluster, TOPIC, 0), 0);
}
