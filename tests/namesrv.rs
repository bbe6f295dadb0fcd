//! The NameServer over a socket: every request it serves, and bad input.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrocket::config::NamesrvConfig;
use ferrocket::namesrv::NameServer;
use ferrocket::protocol::{Codec, Command};

use crate::peer::{Peer, request};

const SUCCESS: i32 = 0;
const SYSTEM_ERROR: i32 = 1;
const NOT_SUPPORTED: i32 = 3;
const NO_PERMISSION: i32 = 16;
const TOPIC_NOT_EXIST: i32 = 17;
const QUERY_NOT_FOUND: i32 = 22;

struct Fixture {
    server: Arc<NameServer>,
    _root: Option<tempfile::TempDir>,
}

impl Fixture {
    fn start() -> Fixture {
        let root = tempfile::tempdir().expect("a scratch directory");
        let server = start_in(root.path());
        Fixture { server, _root: Some(root) }
    }

    fn connect(&self) -> Peer {
        Peer::connect(self.server.local_addr())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.server.stop();
    }
}

fn start_in(root: &Path) -> Arc<NameServer> {
    NameServer::start(NamesrvConfig::for_test(root)).expect("a name server")
}

fn loopback(server: &NameServer) -> Peer {
    Peer::connect(server.local_addr())
}

/// REGISTER_BROKER of broker-a in C1; the data version has this counter.
fn register(id: &str, addr: &str, counter: i32, topics: &str) -> Command {
    let mut command = request(
        103,
        &[
            ("brokerName", "broker-a"),
            ("clusterName", "C1"),
            ("brokerAddr", addr),
            ("brokerId", id),
            ("haServerAddr", "127.0.0.1:10912"),
        ],
    );
    let version = format!("{{\"counter\":{counter},\"timestamp\":1700000000000}}");
    command.body = format!(
        "{{\"filterServerList\":[],\"topicConfigSerializeWrapper\":\
         {{\"dataVersion\":{version},\"topicConfigTable\":{{{topics}}}}}}}"
    )
    .into_bytes();
    command
}

fn topic(name: &str, sys_flag: i32) -> String {
    format!(
        "\"{name}\":{{\"order\":false,\"perm\":6,\"readQueueNums\":4,\"topicFilterType\":\
         \"SINGLE_TAG\",\"topicName\":\"{name}\",\"topicSysFlag\":{sys_flag},\"writeQueueNums\":4}}"
    )
}

fn master(counter: i32) -> Command {
    register("0", "127.0.0.1:10911", counter, &topic("TopicA", 0))
}

fn slave() -> Command {
    register("1", "127.0.0.1:20911", 1, &topic("TopicA", 0))
}

fn route(topic: &str) -> Command {
    request(105, &[("topic", topic)])
}

fn text(command: &Command) -> &str {
    std::str::from_utf8(&command.body).expect("UTF-8")
}

fn ok(peer: &mut Peer, command: &Command) -> Command {
    let reply = peer.ask(command);
    assert_eq!(reply.code, SUCCESS, "{} {:?}", command.code, reply.remark);
    reply
}

/// Asks until the answer has this code.
fn until(peer: &mut Peer, ask: impl Fn() -> Command, code: i32) -> Command {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let reply = peer.ask(&ask());
        if reply.code == code {
            return reply;
        }
        assert!(Instant::now() < deadline, "still {} {:?}", reply.code, reply.remark);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_broker_registers_and_clients_find_it() {
    let fixture = Fixture::start();
    let (mut broker, mut client) = (fixture.connect(), fixture.connect());
    let reply = client.ask(&route("TopicA"));
    assert_eq!(reply.code, TOPIC_NOT_EXIST);
    assert_eq!(
        reply.remark.as_deref(),
        Some(
            "No topic route info in name server for the topic: TopicA\n\
             See http://rocketmq.apache.org/docs/faq/ for further details."
        )
    );
    let reply = ok(&mut broker, &master(1));
    assert!(reply.fields.as_ref().is_some_and(|fields| fields.is_empty()));
    assert!(reply.body.is_empty());
    let reply = ok(&mut broker, &slave());
    assert_eq!(reply.field("masterAddr"), Some("127.0.0.1:10911"));
    assert_eq!(reply.field("haServerAddr"), Some("127.0.0.1:10912"));

    let queues = "\"filterServerTable\":{},\"queueDatas\":[{\"brokerName\":\"broker-a\",\
        \"perm\":6,\"readQueueNums\":4,\"topicSysFlag\":0,\"writeQueueNums\":4}]}";
    let reply = ok(&mut client, &route("TopicA"));
    let strict = "{\"brokerDatas\":[{\"brokerAddrs\":{\"0\":\"127.0.0.1:10911\",\
        \"1\":\"127.0.0.1:20911\"},\"brokerName\":\"broker-a\",\"cluster\":\"C1\"}],";
    assert_eq!(text(&reply), format!("{strict}{queues}"));
    let legacy = strict.replace("\"0\"", "0").replace("\"1\"", "1");
    let reply = ok(&mut client, &Command { version: 317, ..route("TopicA") });
    assert_eq!(text(&reply), format!("{legacy}{queues}"));
    let mut asked = request(105, &[("topic", "TopicA"), ("acceptStandardJsonOnly", "true")]);
    asked.version = 317;
    assert_eq!(text(&ok(&mut client, &asked)), format!("{strict}{queues}"));

    let reply = ok(&mut client, &request(106, &[]));
    assert_eq!(
        text(&reply),
        "{\"brokerAddrTable\":{\"broker-a\":{\"brokerAddrs\":{0:\"127.0.0.1:10911\",\
         1:\"127.0.0.1:20911\"},\"brokerName\":\"broker-a\",\"cluster\":\"C1\"}},\
         \"clusterAddrTable\":{\"C1\":[\"broker-a\"]}}"
    );
}

#[test]
fn the_binary_header_serves_as_well() {
    let fixture = Fixture::start();
    let mut peer = fixture.connect();
    let reply = ok(&mut peer, &Command { codec: Codec::Binary, ..master(1) });
    assert_eq!(reply.codec, Codec::Binary);
    let reply = ok(&mut peer, &Command { codec: Codec::Binary, ..route("TopicA") });
    assert_eq!(reply.codec, Codec::Binary);
}

#[test]
fn closing_the_connection_removes_its_broker() {
    let fixture = Fixture::start();
    let (mut first, mut second) = (fixture.connect(), fixture.connect());
    let mut client = fixture.connect();
    ok(&mut first, &master(1));
    ok(&mut second, &slave());
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(10);
    while text(&ok(&mut client, &route("TopicA"))).contains("10911\",\"1\"") {
        assert!(Instant::now() < deadline, "the master stays");
        std::thread::sleep(Duration::from_millis(5));
    }
    let reply = ok(&mut second, &slave());
    assert_eq!(reply.field("masterAddr"), None);
    drop(second);
    until(&mut client, || route("TopicA"), TOPIC_NOT_EXIST);
    let reply = ok(&mut client, &request(106, &[]));
    assert_eq!(text(&reply), "{\"brokerAddrTable\":{},\"clusterAddrTable\":{}}");
}

#[test]
fn a_second_connection_takes_the_broker_over() {
    let fixture = Fixture::start();
    let (mut old, mut new) = (fixture.connect(), fixture.connect());
    ok(&mut old, &master(1));
    ok(&mut new, &master(1));
    // A broker of its own on the old connection tells when that connection's close was seen.
    let mut marker = register("0", "127.0.0.1:1", 1, &topic("Marker", 0));
    marker.fields_mut().push("brokerName", "marker");
    ok(&mut old, &marker);
    drop(old);
    until(&mut new, || route("Marker"), TOPIC_NOT_EXIST);
    ok(&mut new, &route("TopicA"));
}

const BROKER: [(&str, &str); 4] = [
    ("brokerName", "broker-a"),
    ("brokerAddr", "127.0.0.1:10911"),
    ("clusterName", "C1"),
    ("brokerId", "0"),
];

#[test]
fn data_versions_are_compared() {
    let fixture = Fixture::start();
    let mut peer = fixture.connect();
    let ask = |counter: i32| {
        let mut command = request(322, &BROKER);
        command.body =
            format!("{{\"counter\":{counter},\"timestamp\":1700000000000}}").into_bytes();
        command
    };
    let reply = ok(&mut peer, &ask(1));
    assert_eq!((reply.field("changed"), reply.body.len()), (Some("true"), 0));
    ok(&mut peer, &master(1));
    let reply = ok(&mut peer, &ask(1));
    assert_eq!(reply.field("changed"), Some("false"));
    assert_eq!(text(&reply), "{\"counter\":1,\"timestamp\":1700000000000}");
    assert_eq!(ok(&mut peer, &ask(2)).field("changed"), Some("true"));
    assert_eq!(peer.ask(&request(322, &BROKER)).code, SYSTEM_ERROR);
}

#[test]
fn a_broker_unregisters() {
    let fixture = Fixture::start();
    let mut peer = fixture.connect();
    ok(&mut peer, &request(104, &BROKER));
    ok(&mut peer, &master(1));
    ok(&mut peer, &request(104, &BROKER));
    assert_eq!(peer.ask(&route("TopicA")).code, TOPIC_NOT_EXIST);
}

#[test]
fn compressed_and_old_registrations_are_read() {
    let fixture = Fixture::start();
    let mut peer = fixture.connect();
    // Java's own bytes: data version {1, 2}, topic T.
    let hex = "78da63606090ae564ace2fcd2b492d52b232d4512ac9cc4d2d2e49cc2d50b232aa656060600462a1100\
        51320345308f6f473f7718d0f7174078a3245c70200f9d90eaf";
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let mut command = master(1);
    command.body = digits.chunks(2).map(byte).collect();
    command.fields_mut().push("compressed", "true");
    command.fields_mut().push("bodyCrc32", "1");
    let reply = peer.ask(&command);
    assert_eq!((reply.code, reply.remark.as_deref()), (SYSTEM_ERROR, Some("crc32 not match")));
    command.fields_mut().push("bodyCrc32", "132025591");
    ok(&mut peer, &command);
    ok(&mut peer, &route("T"));

    let mut old = master(2);
    old.version = 36;
    old.body = format!("{{\"topicConfigTable\":{{{}}}}}", topic("Old", 0)).into_bytes();
    ok(&mut peer, &old);
    ok(&mut peer, &route("Old"));
}

#[test]
fn write_permission_goes_and_comes() {
    let fixture = Fixture::start();
    let mut peer = fixture.connect();
    ok(&mut peer, &master(1));
    let broker = [("brokerName", "broker-a")];
    let perm = |peer: &mut Peer| {
        let reply = ok(peer, &route("TopicA"));
        let at = text(&reply).find("\"perm\":").expect("perm") + 7;
        text(&reply)[at..=at].parse::<i32>().expect("a digit")
    };
    assert_eq!(ok(&mut peer, &request(205, &broker)).field("wipeTopicCount"), Some("1"));
    assert_eq!(perm(&mut peer), 4);
    ok(&mut peer, &master(1));
    assert_eq!(perm(&mut peer), 4);
    assert_eq!(ok(&mut peer, &request(327, &broker)).field("addTopicCount"), Some("1"));
    assert_eq!(perm(&mut peer), 6);
    ok(&mut peer, &request(205, &broker));
    ok(&mut peer, &master(2));
    assert_eq!(perm(&mut peer), 6);
    let reply = ok(&mut peer, &request(205, &[("brokerName", "nobody")]));
    assert_eq!(reply.field("wipeTopicCount"), Some("0"));
    assert_eq!(peer.ask(&request(205, &[])).code, SYSTEM_ERROR);
}

#[test]
fn topics_are_listed_and_deleted() {
    let fixture = Fixture::start();
    let mut peer = fixture.connect();
    let empty = "{\"topicList\":[]}";
    assert_eq!(text(&ok(&mut peer, &request(304, &[]))), empty);
    let topics = [topic("Plain", 0), topic("Unit", 1), topic("Sub", 2), topic("Both", 3)].join(",");
    ok(&mut peer, &register("0", "127.0.0.1:10911", 1, &topics));
    let list = |peer: &mut Peer, code, fields: &[(&str, &str)]| {
        text(&ok(peer, &request(code, fields))).to_owned()
    };
    let all = "{\"topicList\":[\"Both\",\"Plain\",\"Sub\",\"Unit\"]}";
    assert_eq!(list(&mut peer, 206, &[]), all);
    assert_eq!(list(&mut peer, 224, &[("cluster", "C1")]), all);
    assert_eq!(list(&mut peer, 224, &[("cluster", "C2")]), empty);
    assert_eq!(list(&mut peer, 311, &[]), "{\"topicList\":[\"Both\",\"Unit\"]}");
    assert_eq!(list(&mut peer, 312, &[]), "{\"topicList\":[\"Both\",\"Sub\"]}");
    assert_eq!(list(&mut peer, 313, &[]), "{\"topicList\":[\"Sub\"]}");
    assert_eq!(
        list(&mut peer, 304, &[]),
        "{\"brokerAddr\":\"127.0.0.1:10911\",\"topicList\":[\"C1\",\"broker-a\"]}"
    );
    ok(&mut peer, &request(216, &[("topic", "Plain"), ("clusterName", "C2")]));
    ok(&mut peer, &request(216, &[("topic", "Both"), ("clusterName", "C1")]));
    ok(&mut peer, &request(216, &[("topic", "Sub")]));
    assert_eq!(list(&mut peer, 206, &[]), "{\"topicList\":[\"Plain\",\"Unit\"]}");
}

#[test]
fn kv_configuration_survives_a_restart() {
    let root = tempfile::tempdir().expect("a scratch directory");
    let server = start_in(root.path());
    let mut peer = loopback(&server);
    let entry = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "TopicA"), ("value", "broker-a:4")];
    ok(&mut peer, &request(100, &entry));
    let empty = [("namespace", ""), ("key", ""), ("value", "")];
    ok(&mut peer, &request(100, &empty));
    assert_eq!(ok(&mut peer, &request(101, &empty)).field("value"), Some(""));
    server.stop();
    let server = start_in(root.path());
    let mut peer = loopback(&server);
    assert_eq!(ok(&mut peer, &request(101, &entry)).field("value"), Some("broker-a:4"));
    let table = "{\"table\":{\"TopicA\":\"broker-a:4\"}}";
    assert_eq!(text(&ok(&mut peer, &request(219, &entry))), table);
    assert_eq!(text(&ok(&mut peer, &master(1))), table);

    assert!(!text(&ok(&mut peer, &route("TopicA"))).contains("orderTopicConf"));
    let mut change = request(318, &[]);
    change.body = b"orderMessageEnable=true".to_vec();
    ok(&mut peer, &change);
    let reply = ok(&mut peer, &route("TopicA"));
    assert!(text(&reply).contains("\"orderTopicConf\":\"broker-a:4\""), "{}", text(&reply));

    ok(&mut peer, &request(102, &entry));
    let reply = peer.ask(&request(101, &entry));
    assert_eq!(reply.code, QUERY_NOT_FOUND);
    let remark = "No config item, Namespace: ORDER_TOPIC_CONFIG Key: TopicA";
    assert_eq!(reply.remark.as_deref(), Some(remark));
    assert_eq!(text(&ok(&mut peer, &request(219, &entry))), "{\"table\":{}}");
    let reply = peer.ask(&request(219, &[("namespace", "none")]));
    assert_eq!(reply.code, QUERY_NOT_FOUND);
    assert_eq!(reply.remark.as_deref(), Some("No config item, Namespace: none"));
    let reply = peer.ask(&request(100, &[("namespace", "n")]));
    assert_eq!(reply.remark.as_deref(), Some("namespace or key is null"));
    server.stop();
}

#[test]
fn configuration_is_shown_and_guarded() {
    let fixture = Fixture::start();
    let mut peer = fixture.connect();
    let shown = ok(&mut peer, &request(319, &[]));
    for line in ["orderMessageEnable=false", "serverWorkerThreads=8", "productEnvName=center"] {
        assert!(text(&shown).lines().any(|shown| shown == line), "{line}: {}", text(&shown));
    }
    ok(&mut peer, &request(318, &[]));
    for (body, code) in [
        ("kvConfigPath=/tmp/x\norderMessageEnable=true", NO_PERMISSION),
        ("rocketmqHome=/tmp", NO_PERMISSION),
        ("configStorePath=/tmp/x", NO_PERMISSION),
        ("configBlackList=", NO_PERMISSION),
        ("a=\\u12", SYSTEM_ERROR),
        ("nobodyKnowsThis=1", SUCCESS),
    ] {
        let mut change = request(318, &[]);
        change.body = body.into();
        assert_eq!(peer.ask(&change).code, code, "{body}");
    }
    assert_eq!(text(&ok(&mut peer, &request(319, &[]))), text(&shown));
}

#[test]
fn bad_requests_are_refused_and_served_on() {
    let fixture = Fixture::start();
    let mut peer = fixture.connect();
    let reply = peer.ask(&request(9999, &[]));
    assert_eq!(reply.code, NOT_SUPPORTED);
    assert_eq!(reply.remark.as_deref(), Some(" request type 9999 not supported"));
    for code in [100, 101, 102, 103, 104, 205, 216, 219, 224, 322, 327] {
        assert_eq!(peer.ask(&request(code, &[])).code, SYSTEM_ERROR, "{code}");
    }
    assert_eq!(peer.ask(&request(105, &[])).code, TOPIC_NOT_EXIST);
    let mut nameless = master(1);
    nameless.fields = None;
    nameless.fields_mut().push("clusterName", "C1");
    let reply = peer.ask(&nameless);
    assert!(
        reply.remark.as_deref().is_some_and(|r| r.contains("brokerName")),
        "{:?}",
        reply.remark
    );
    for body in ["{", "[]", "{\"topicConfigSerializeWrapper\":3}", "\u{1}"] {
        let broken = Command { body: body.into(), ..master(1) };
        assert_eq!(peer.ask(&broken).code, SYSTEM_ERROR, "{body}");
    }
    for id in ["", "x", "99999999999999999999"] {
        assert_eq!(peer.ask(&register(id, "h:1", 1, "")).code, SYSTEM_ERROR, "{id}");
    }
    assert_eq!(peer.ask(&register("0", &"h".repeat(2000), 1, "")).code, SYSTEM_ERROR);
    assert_eq!(text(&ok(&mut peer, &request(206, &[]))), "{\"topicList\":[]}");
}

#[test]
fn garbage_closes_its_own_connection_only() {
    let fixture = Fixture::start();
    let mut served = fixture.connect();
    ok(&mut served, &master(1));
    let half_open: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(fixture.server.local_addr()).expect("connect"))
        .collect();
    for garbage in [
        &[0xFF; 8][..],
        &[0, 0, 0, 3, 0, 0, 0, 0],
        &[0, 0, 0, 8, 0, 0xFF, 0xFF, 0xFF],
        &[0, 0, 0, 6, 7, 0, 0, 2, b'{', b'}'],
        &[0, 0, 0, 6, 0, 0, 0, 2, b'{', b'x'],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        fixture.connect().expect_close(garbage);
        ok(&mut served, &route("TopicA"));
    }
    drop(half_open);
}

#[test]
fn a_port_in_use_is_named() {
    let fixture = Fixture::start();
    let root = tempfile::tempdir().expect("a scratch directory");
    let mut config = NamesrvConfig::for_test(root.path());
    let port = fixture.server.local_addr().port();
    config.server.listen_port = i32::from(port);
    let Err(error) = NameServer::start(config) else { panic!("two on one port") };
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}
