//! A NameServer and a Broker in this process, and requests as a client makes them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrocket::broker::Broker;
use ferrocket::config::{BrokerConfig, NamesrvConfig};
use ferrocket::message::{Message, id, record};
use ferrocket::namesrv::NameServer;
use ferrocket::protocol::code::request as codes;
use ferrocket::protocol::{Codec, Command};
use tempfile::TempDir;

pub use crate::peer::{Peer, request};

/// A broker registered with a NameServer, everything in a folder that goes with it.
pub struct Cluster {
    pub dir: TempDir,
    pub namesrv: Arc<NameServer>,
    pub broker: Arc<Broker>,
    pub config: BrokerConfig,
}

impl Cluster {
    pub fn start() -> Cluster {
        Cluster::with(|_| {})
    }

    /// With a configuration changed by `change`.
    pub fn with(change: impl FnOnce(&mut BrokerConfig)) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let namesrv = NameServer::start(NamesrvConfig::for_test(dir.path())).unwrap();
        let mut config = BrokerConfig::for_test(dir.path());
        let port = namesrv.local_addr().port();
        config.namesrv_addr = Some(format!("127.0.0.1:{port}"));
        change(&mut config);
        let broker = Broker::start(config.clone()).unwrap();
        Cluster { dir, namesrv, broker, config }
    }

    /// The same store under a new broker process, so to speak.
    pub fn restart(&mut self) {
        self.broker.stop();
        self.broker = Broker::start(self.config.clone()).unwrap();
    }

    pub fn peer(&self) -> Peer {
        Peer::connect(loopback(self.broker.local_addr().unwrap()))
    }

    pub fn fast_peer(&self) -> Peer {
        Peer::connect(loopback(self.broker.fast_addr().unwrap()))
    }

    pub fn namesrv_peer(&self) -> Peer {
        Peer::connect(loopback(self.namesrv.local_addr()))
    }

    /// Creates a topic as mqadmin does.
    pub fn create_topic(&self, topic: &str, queues: i32, perm: i32) {
        let reply = self.peer().ask(&create_topic(topic, queues, perm));
        assert_eq!((reply.code, reply.remark), (0, None));
    }

    /// Sets a key of the running broker.
    pub fn set(&self, key: &str, value: &str) {
        let mut command = Command::request(codes::UPDATE_BROKER_CONFIG);
        command.body = format!("{key}={value}\n").into_bytes();
        let reply = self.peer().ask(&command);
        assert_eq!((reply.code, reply.remark), (0, None), "{key}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.broker.stop();
        self.namesrv.stop();
    }
}

fn loopback(addr: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], addr.port()))
}

/// Fails the test when this does not come true within a minute, not counting times in which this
/// process is stopped.
pub fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    for _ in 0..30_000 {
        if is_true() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("waited in vain: {what}");
}

/// A property string.
pub fn properties(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(n, v)| format!("{n}\u{1}{v}")).collect();
    pairs.join("\u{2}")
}

/// UPDATE_AND_CREATE_TOPIC as mqadmin sends it.
pub fn create_topic(topic: &str, queues: i32, perm: i32) -> Command {
    let queues = queues.to_string();
    let fields = [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", &queues),
        ("writeQueueNums", &queues),
        ("perm", &perm.to_string()),
        ("topicFilterType", "SINGLE_TAG"),
    ];
    request(codes::UPDATE_AND_CREATE_TOPIC, &fields)
}

/// SEND_MESSAGE_V2 as a Java client sends it.
pub fn send_v2(topic: &str, queue_id: i32, properties: &str, body: &[u8]) -> Command {
    let fields = [
        ("a", "producers"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", &queue_id.to_string()),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "7"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ];
    let mut command = request(codes::SEND_MESSAGE_V2, &fields);
    command.body = body.to_vec();
    command
}

/// Sends and returns the queue offset; the message is in its queue then.
pub fn put(cluster: &Cluster, topic: &str, queue_id: i32, properties: &str, body: &[u8]) -> i64 {
    let reply = cluster.peer().ask(&send_v2(topic, queue_id, properties, body));
    assert_eq!((reply.code, reply.remark.as_deref()), (0, None));
    let offset: i64 = reply.field("queueOffset").unwrap().parse().unwrap();
    wait_until("dispatched", || max_offset(cluster, topic, queue_id) > offset);
    offset
}

pub fn max_offset(cluster: &Cluster, topic: &str, queue_id: i32) -> i64 {
    let fields = [("topic", topic), ("queueId", &queue_id.to_string())];
    let reply = cluster.peer().ask(&request(codes::GET_MAX_OFFSET, &fields));
    reply.field("offset").unwrap().parse().unwrap()
}

/// UPDATE_CONSUMER_OFFSET, accepted.
pub fn commit(cluster: &Cluster, topic: &str, group: &str, queue_id: i32, offset: i64) {
    let fields = [
        ("consumerGroup", group),
        ("topic", topic),
        ("queueId", &*queue_id.to_string()),
        ("commitOffset", &*offset.to_string()),
    ];
    assert_eq!(cluster.peer().ask(&request(codes::UPDATE_CONSUMER_OFFSET, &fields)).code, 0);
}

/// What a pull asks for; the defaults are those of a pull consumer that does not wait.
pub struct Pull<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub queue_id: i32,
    pub offset: i64,
    pub max: i32,
    pub sys_flag: i32,
    pub commit: i64,
    pub suspend: i64,
    pub subscription: &'a str,
    pub version: i64,
    pub kind: &'a str,
}

pub const COMMIT: i32 = 1;
pub const SUSPEND: i32 = 2;
pub const SUBSCRIPTION: i32 = 4;

impl<'a> Pull<'a> {
    pub fn new(topic: &'a str, queue_id: i32, offset: i64) -> Pull<'a> {
        Pull {
            group: "consumers",
            topic,
            queue_id,
            offset,
            max: 32,
            sys_flag: SUBSCRIPTION,
            commit: 0,
            suspend: 0,
            subscription: "*",
            version: 0,
            kind: "TAG",
        }
    }

    pub fn command(&self) -> Command {
        let fields = [
            ("consumerGroup", self.group),
            ("topic", self.topic),
            ("queueId", &self.queue_id.to_string()),
            ("queueOffset", &self.offset.to_string()),
            ("maxMsgNums", &self.max.to_string()),
            ("sysFlag", &self.sys_flag.to_string()),
            ("commitOffset", &self.commit.to_string()),
            ("suspendTimeoutMillis", &self.suspend.to_string()),
            ("subscription", self.subscription),
            ("subVersion", &self.version.to_string()),
            ("expressionType", self.kind),
        ];
        request(codes::PULL_MESSAGE, &fields)
    }
}

/// All messages of a queue.
pub fn messages(cluster: &Cluster, topic: &str, queue_id: i32) -> Vec<Message> {
    let mut peer = cluster.peer();
    let mut all = Vec::new();
    loop {
        let offset = all.last().map_or(0, |last: &Message| last.queue_offset + 1);
        let reply = peer.ask(&Pull::new(topic, queue_id, offset).command());
        if reply.code != 0 {
            assert_eq!(reply.code, 19, "{:?}", reply.remark);
            return all;
        }
        all.extend(record::decode_all(&reply.body).unwrap());
    }
}

/// A number among the ext fields.
pub fn number(reply: &Command, name: &str) -> i64 {
    reply.field(name).unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// Where in the log the message of a send is.
pub fn log_offset(reply: &Command) -> i64 {
    id::decode_offset_id(reply.field("msgId").unwrap()).unwrap().1
}

/// QUERY_MESSAGE for messages stored from `begin` on.
pub fn query(topic: &str, key: &str, max: i32, begin: i64, unique: bool) -> Command {
    let fields = [
        ("topic", topic),
        ("key", key),
        ("maxNum", &max.to_string()),
        ("beginTimestamp", &begin.to_string()),
        ("endTimestamp", &i64::MAX.to_string()),
        ("_UNIQUE_KEY_QUERY", &unique.to_string()),
    ];
    request(codes::QUERY_MESSAGE, &fields)
}

/// HEART_BEAT of one consumer group.
pub fn heart_beat(
    client: &str,
    group: &str,
    topic: &str,
    expression: &str,
    version: i64,
) -> Command {
    let mut command = Command::request(codes::HEART_BEAT);
    command.body = format!(
        r#"{{"clientID":"{client}","consumerDataSet":[{{
        "consumeFromWhere":"CONSUME_FROM_LAST_OFFSET",
        "consumeType":"CONSUME_PASSIVELY","groupName":"{group}","messageModel":"CLUSTERING",
        "subscriptionDataSet":[{{"classFilterMode":false,"codeSet":["12"],"expressionType":"TAG",
        "subString":"{expression}","subVersion":{version},"tagsSet":[],"topic":"{topic}"}}],
        "unitMode":false}}],"producerDataSet":[{{"groupName":"producers"}}]}}"#
    )
    .into_bytes();
    command
}

/// The same request in the binary header form.
pub fn binary(mut command: Command) -> Command {
    command.codec = Codec::Binary;
    command
}
