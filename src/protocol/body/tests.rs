use std::collections::BTreeMap;

use super::client::{ConsumeMessageDirectlyResult, ConsumeResult, ConsumerConnection};
use super::cluster::ClusterInfo;
use super::group::SubscriptionGroupConfig;
use super::heartbeat::{ConsumeFromWhere, ConsumeType, HeartbeatData, MessageModel};
use super::lock::{LockBatchReply, LockBatchRequest};
use super::offset::{ConsumerOffsetTable, ConsumerStatusBody, ResetOffsetBody};
use super::register::{RegisterBrokerBody, body_crc};
use super::route::{BrokerData, QueueData, TopicRouteData};
use super::stats::{BrokerConsumeStats, ConsumeStats, TopicStats};
use super::topic::{TopicConfig, TopicFilterType};
use super::*;
use crate::protocol::Command;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_heartbeat_is_read_and_written_as_java_does() {
    let java = concat!(
        r#"{"clientID":"10.0.0.1@1","consumerDataSet":[{"#,
        r#""consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","#,
        r#""groupName":"cg","messageModel":"CLUSTERING","subscriptionDataSet":[{"#,
        r#""classFilterMode":false,"codeSet":[2598919,2598920],"expressionType":"TAG","#,
        r#""subString":"TagA || TagB","subVersion":1795214250612,"tagsSet":["TagA","TagB"],"#,
        r#""topic":"TopicA"}],"unitMode":false}],"producerDataSet":[{"groupName":"pg"}]}"#
    );
    let beat = HeartbeatData::from_slice(java.as_bytes()).unwrap();
    assert_eq!(text(beat.to_vec()), java);
    let consumer = &beat.consumer_data_set[0];
    assert_eq!(consumer.consume_type, Some(ConsumeType::Passively));
    assert!(consumer.subscription_data_set[0].matches_code(2598920));
}

#[test]
fn heartbeats_of_other_clients_are_read() {
    let go = r#"{"clientID":"x","consumerDataSet":[{"groupName":"g",
        "consumeType":"consume_passively","messageModel":1,"consumeFromWhere":"NOWHERE","subscriptionDataSet":[{"topic":"T",
        "codeSet":["1","2"],"tagsSet":null,"subString":"a||b"}]}],"heartbeatFingerprint":0}
"#;
    let beat = HeartbeatData::from_slice(go.as_bytes()).unwrap();
    let consumer = &beat.consumer_data_set[0];
    assert_eq!(consumer.consume_type, Some(ConsumeType::Passively));
    assert_eq!(consumer.message_model, Some(MessageModel::Clustering));
    assert_eq!(consumer.consume_from_where, None);
    let subscription = &consumer.subscription_data_set[0];
    assert_eq!(subscription.code_set, [1, 2]);
    assert_eq!(subscription.expression_type, "TAG");
    assert!(beat.producer_data_set.is_empty());
    assert_eq!(ConsumeFromWhere::ALL.len(), 6);
    for bad in ["", "[]", "{\"clientID\":\"x\"", "{\"consumerDataSet\":[1]}"] {
        assert!(matches!(HeartbeatData::from_slice(bad.as_bytes()), Err(Error::Refused { .. })));
    }
}

#[test]
fn routes_have_two_forms() {
    let addrs = [(0, "127.0.0.1:10911".to_string()), (1, "127.0.0.1:20911".to_string())];
    let broker = BrokerData {
        broker_addrs: BTreeMap::from(addrs),
        broker_name: "broker-a".to_string(),
        cluster: "C1".to_string(),
    };
    let queues = QueueData {
        broker_name: "broker-a".to_string(),
        perm: 6,
        read_queue_nums: 4,
        topic_sys_flag: 0,
        write_queue_nums: 4,
    };
    let route = TopicRouteData {
        broker_datas: vec![broker.clone()],
        queue_datas: vec![queues],
        ..TopicRouteData::default()
    };
    let rest = concat!(
        r#""brokerName":"broker-a","cluster":"C1"}],"filterServerTable":{},"queueDatas":[{"#,
        r#""brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"#,
        r#""writeQueueNums":4}]}"#
    );
    let head = r#"{"brokerDatas":[{"brokerAddrs":"#;
    let strict = format!(r#"{head}{{"0":"127.0.0.1:10911","1":"127.0.0.1:20911"}},{rest}"#);
    let legacy = format!(r#"{head}{{0:"127.0.0.1:10911",1:"127.0.0.1:20911"}},{rest}"#);
    let request = |version| Command { version, ..Command::request(105) };
    assert_eq!(text(route.to_vec_for(&request(409), false)), strict);
    assert_eq!(text(route.to_vec_for(&request(317), true)), strict);
    assert_eq!(text(route.to_vec_for(&request(317), false)), legacy);
    for form in [strict, legacy] {
        assert_eq!(TopicRouteData::from_slice(form.as_bytes()).unwrap(), route);
    }

    let clusters = ClusterInfo {
        broker_addr_table: BTreeMap::from([("broker-a".to_string(), broker)]),
        cluster_addr_table: BTreeMap::from([("C1".to_string(), vec!["broker-a".to_string()])]),
    };
    let expected = concat!(
        r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"127.0.0.1:10911","#,
        r#"1:"127.0.0.1:20911"},"brokerName":"broker-a","cluster":"C1"}},"#,
        r#""clusterAddrTable":{"C1":["broker-a"]}}"#
    );
    assert_eq!(text(clusters.to_vec()), expected);
    let empty = r#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#;
    assert_eq!(text(ClusterInfo::default().to_vec()), empty);
}

#[test]
fn registrations_of_every_version_are_read() {
    let plain = concat!(
        r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"#,
        r#""timestamp":2},"topicConfigTable":{"T":{"order":false,"perm":6,"readQueueNums":4,"#,
        r#""topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":4}}}}"#
    );
    let body = RegisterBrokerBody::decode(plain.as_bytes(), 409, false).unwrap();
    assert_eq!(text(body.encode(false)), plain);
    let wrapper = body.topic_config_serialize_wrapper.to_vec();
    assert_eq!(RegisterBrokerBody::decode(&wrapper, 36, true).unwrap(), body);
    let compressed = body.encode(true);
    assert_eq!(RegisterBrokerBody::decode(&compressed, 409, true).unwrap(), body);
    let none = RegisterBrokerBody::decode(b"", 409, true).unwrap();
    assert_eq!(none, RegisterBrokerBody::default());

    // What Java sends for the same topic.
    let java = "78da63606090ae564ace2fcd2b492d52b232d4512ac9cc4d2d2e49cc2d50b232aa656060600462\
        a110051320345308f6f473f7718d0f7174078a3245c70200f9d90eaf";
    let byte = |at| u8::from_str_radix(&java[at..at + 2], 16).unwrap();
    let java: Vec<u8> = (0..java.len()).step_by(2).map(byte).collect();
    assert_eq!(body_crc(&java), 132025591);
    assert_eq!(RegisterBrokerBody::decode(&java, 409, true).unwrap(), body);
    assert_eq!(body_crc(b"a"), 1756872259);
    for end in 1..compressed.len() {
        assert!(RegisterBrokerBody::decode(&compressed[..end], 409, true).is_err());
    }
    assert!(RegisterBrokerBody::decode(b"{", 409, false).is_err());
}

#[test]
fn maps_with_queues_as_keys() {
    let queue = MessageQueue::new("TopicA", "broker-a", 3);
    let mut stats = TopicStats::default();
    stats.offset_table.insert(queue.clone(), Default::default());
    let key = r#"{"brokerName":"broker-a","queueId":3,"topic":"TopicA"}"#;
    let expected = format!(
        r#"{{"offsetTable":{{{key}:{{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}}}}}}"#
    );
    assert_eq!(text(stats.to_vec()), expected);
    assert_eq!(TopicStats::from_slice(expected.as_bytes()).unwrap(), stats);

    let mut stats = ConsumeStats { consume_tps: 1.5, ..ConsumeStats::default() };
    stats.offset_table.entry(queue.clone()).or_default().broker_offset = 10;
    let value = r#"{"brokerOffset":10,"consumerOffset":0,"lastTimestamp":0}"#;
    let inner = format!(r#"{{"consumeTps":1.5,"offsetTable":{{{key}:{value}}}}}"#);
    assert_eq!(text(stats.to_vec()), inner);
    let all = BrokerConsumeStats {
        broker_addr: "x".to_string(),
        consume_stats_list: vec![BTreeMap::from([("cg".to_string(), vec![stats])])],
        total_diff: 0,
    };
    let expected =
        format!(r#"{{"brokerAddr":"x","consumeStatsList":[{{"cg":[{inner}]}}],"totalDiff":0}}"#);
    assert_eq!(text(all.to_vec()), expected);
    assert_eq!(BrokerConsumeStats::from_slice(expected.as_bytes()).unwrap(), all);

    let reset = ResetOffsetBody { offset_table: BTreeMap::from([(queue.clone(), 5)]) };
    assert_eq!(text(reset.to_vec()), format!(r#"{{"offsetTable":{{{key}:5}}}}"#));
    let status = format!(r#"{{"messageQueueTable":{{{key}:5}}}}"#);
    let status = ConsumerStatusBody::from_slice(status.as_bytes()).unwrap();
    assert_eq!(status.message_queue_table[&queue], 5);
}

#[test]
fn offsets_locks_and_groups() {
    let offsets = r#"{"offsetTable":{"topic@group":{0:5,1:9}}}"#;
    let table = ConsumerOffsetTable::from_slice(offsets.as_bytes()).unwrap();
    assert_eq!(table.offset_table["topic@group"][&1], 9);
    assert_eq!(text(table.to_vec()), offsets);

    let lock = concat!(
        r#"{"clientId":"c","consumerGroup":"g","onlyThisBroker":false,"#,
        r#""mqSet":[{"topic":"T","brokerName":"b","queueId":1}]}"#
    );
    let lock = LockBatchRequest::from_slice(lock.as_bytes()).unwrap();
    let reply = text(LockBatchReply { lock_ok_mq_set: lock.mq_set }.to_vec());
    assert_eq!(reply, r#"{"lockOKMQSet":[{"brokerName":"b","queueId":1,"topic":"T"}]}"#);

    let group = SubscriptionGroupConfig::from_slice(b"{\"groupName\":\"g\"}").unwrap();
    assert_eq!(group, SubscriptionGroupConfig::new("g"));
    let topic = TopicConfig::from_slice(b"{topicName:'T','topicFilterType':'x'}").unwrap();
    assert_eq!((topic.perm, topic.topic_filter_type), (6, TopicFilterType::SingleTag));
    let result = ConsumeMessageDirectlyResult::from_slice(b"{\"consumeResult\":1}").unwrap();
    assert_eq!(result.consume_result, Some(ConsumeResult::Later));
    let names = text(ConsumerConnection::default().to_vec());
    assert_eq!(names, r#"{"connectionSet":[],"subscriptionTable":{}}"#);
}

#[test]
fn a_topic_reads_as_in_java() {
    assert_eq!(
        TopicConfig::new("T", 8, 6).to_string(),
        "TopicConfig [topicName=T, readQueueNums=8, writeQueueNums=8, perm=RW-, \
         topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false]"
    );
}
