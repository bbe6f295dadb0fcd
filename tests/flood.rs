//! Many connections and much memory asked for: servers stay small and serve whoever behaves.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ferrocket::base::thread::{self, Handle, Stop};
use ferrocket::message::record;
use ferrocket::protocol::code::request as codes;
use ferrocket::protocol::{Command, frame};
use ferrocket::sys::process;

use crate::child::{Daemon, broker_config};
use crate::common::{Pull, number, request, send_v2, wait_until};
use crate::peer::Peer;

/// Connections that do nothing, and as many that send a byte now and then, where the system lets
/// this process have so many.
const EACH: usize = 1500;

/// A client that asks one thing after the other and checks every answer.
pub struct Steady {
    stop: Arc<Stop>,
    done: Arc<AtomicUsize>,
    thread: Handle,
}

impl Steady {
    fn start(mut work: impl FnMut(usize) + Send + 'static) -> Steady {
        let (stop, done) = (Stop::new(), Arc::<AtomicUsize>::default());
        let (stopped, count) = (stop.clone(), done.clone());
        let run = move || {
            while !stopped.wait(Duration::from_millis(2)) {
                work(count.load(Ordering::Relaxed));
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        Steady { stop, done, thread: thread::spawn("steady", run).unwrap() }
    }

    /// Sends and reads it back.
    pub fn of_broker(addr: SocketAddr) -> Steady {
        let mut peer = Peer::connect(addr);
        Steady::start(move |n| {
            let body = format!("steady {n}").into_bytes();
            let reply = peer.ask(&send_v2("Steady", 0, "", &body));
            assert_eq!((reply.code, reply.remark.as_deref()), (0, None));
            assert_eq!(number(&reply, "queueOffset"), n as i64);
            let message = loop {
                let reply = peer.ask(&Pull::new("Steady", 0, n as i64).command());
                match record::decode_all(&reply.body).unwrap().pop() {
                    Some(message) => break message,
                    None => assert_eq!(reply.code, 19, "{:?}", reply.remark),
                }
            };
            assert_eq!((message.queue_offset, message.body), (n as i64, body));
        })
    }

    /// Registers a topic of its own and looks it up.
    pub fn of_namesrv(addr: SocketAddr) -> Steady {
        let mut peer = Peer::connect(addr);
        let fields = [
            ("brokerName", "steady"),
            ("clusterName", "S"),
            ("brokerAddr", "127.0.0.1:10911"),
            ("haServerAddr", "127.0.0.1:10912"),
            ("brokerId", "0"),
        ];
        let mut register = request(codes::REGISTER_BROKER, &fields);
        register.body = br#"{"topicConfigSerializeWrapper":{"topicConfigTable":{"Steady":{
            "perm":6,"readQueueNums":4,"topicName":"Steady","writeQueueNums":4}}}}"#
            .to_vec();
        Steady::start(move |n| {
            if n % 8 == 0 {
                assert_eq!(peer.ask(&register).code, 0);
            }
            let route = request(codes::GET_ROUTEINFO_BY_TOPIC, &[("topic", "Steady")]);
            let reply = peer.ask(&route);
            let text = String::from_utf8(reply.body).unwrap();
            assert_eq!((reply.code, reply.remark), (0, None));
            assert!(text.contains("\"brokerAddrs\":{\"0\":\"127.0.0.1:10911\"}"), "{text}");
        })
    }

    /// Waits until some more has been answered.
    pub fn wait_for_more(&self) {
        let goal = self.done.load(Ordering::Relaxed) + 20;
        wait_until("a well-behaved client", || {
            assert!(!self.thread.is_finished(), "it got a wrong answer");
            self.done.load(Ordering::Relaxed) >= goal
        });
    }

    pub fn stop(self) {
        self.wait_for_more();
        self.stop.set();
        self.thread.join();
    }
}

fn flood(server: &Daemon, steady: Steady) {
    let files = process::raise_open_files().unwrap();
    let each = EACH.min((files / 8) as usize);
    let open = || (0..each).map(|_| TcpStream::connect(server.addr()).unwrap());
    let idle: Vec<_> = open().collect();
    steady.wait_for_more();
    let mut dripping: Vec<_> = open().collect();
    let bytes = frame::encode(&request(9999, &[]));
    // All but the last byte of a request, one at a time.
    for byte in bytes[..bytes.len() - 1].chunks(bytes.len() / 12) {
        for stream in &mut dripping {
            stream.write_all(byte).unwrap();
        }
        steady.wait_for_more();
    }
    // They were all being listened to.
    for stream in dripping {
        let mut peer = Peer::over(stream);
        peer.stream.write_all(&bytes[bytes.len() - 1..]).unwrap();
        assert_eq!(peer.receive().code, 3);
    }
    let resident = server.resident_mib();
    assert!(resident < 300, "{resident} MiB for {} connections", 2 * each);
    drop(idle);
    steady.stop();
}

#[test]
fn thousands_of_connections_at_a_name_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Daemon::namesrv(dir.path());
    flood(&server, Steady::of_namesrv(server.addr()));
}

#[test]
fn thousands_of_connections_at_a_broker() {
    let dir = tempfile::tempdir().unwrap();
    let server = Daemon::broker(dir.path(), &broker_config(dir.path(), ""));
    flood(&server, Steady::of_broker(server.addr()));
}

fn create_topic(topic: &str) -> Command {
    let fields = [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
    ];
    request(codes::UPDATE_AND_CREATE_TOPIC, &fields)
}

/// More connections than the process may have files: some are kept for the store.
#[test]
fn connections_leave_files_for_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let few = ["sh", "-c", "ulimit -n 256 && exec \"$@\"", "sh"].map(str::to_owned);
    let server = Daemon::broker_within(&few, dir.path(), &broker_config(dir.path(), ""));
    let mut peer = server.peer();
    let mut put = |n: i64| {
        let reply = peer.ask(&send_v2("Files", (n % 4) as i32, "", &[n as u8; 100_000]));
        assert_eq!((n, reply.code, reply.remark), (n, 0, None));
    };
    put(0);
    let others: Vec<_> = (0..400).map(|_| TcpStream::connect(server.addr()).unwrap()).collect();
    // The log goes on over some new files.
    (1..40).for_each(&mut put);
    assert_eq!(peer.ask(&create_topic("FilesToo")).code, 0);
    drop(others);
    wait_until("room for another connection", || {
        let stream = TcpStream::connect(server.addr()).unwrap();
        Peer::over(stream).try_ask(&request(9999, &[])).is_some()
    });
    let log = server.stop();
    assert!(!log.contains(" ERROR "), "{log}");
}

/// Frames of 15 MiB that never end: what is held for them is bounded.
#[test]
fn half_frames_do_not_fill_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let server = Daemon::broker(dir.path(), &broker_config(dir.path(), ""));
    let steady = Steady::of_broker(server.addr());
    let mut long = request(9999, &[]);
    long.body = vec![1; 15 << 20];
    let bytes = frame::encode(&long);
    let mut most = 0;
    let half: Vec<_> = (0..160)
        .map(|n| {
            let mut stream = TcpStream::connect(server.addr()).unwrap();
            // The server may have closed it by now.
            let _ = stream.write_all(&bytes[..5 << 20]);
            if n % 16 == 0 {
                most = most.max(server.resident_mib());
            }
            stream
        })
        .collect();
    steady.wait_for_more();
    most = most.max(server.resident_mib());
    assert!(most < 600, "{most} MiB for {} half frames of 5 MiB", half.len());
    // The last of them can still be completed.
    let mut last = half.into_iter().next_back().unwrap();
    last.write_all(&bytes[5 << 20..]).unwrap();
    assert_eq!(Peer::over(last).receive().code, 3);
    steady.stop();
}

/// Long requests for a pool whose only thread is stuck: what waits for it is bounded.
#[test]
fn queued_requests_do_not_fill_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let namesrv = Daemon::namesrv(dir.path());
    let lines = format!(
        "adminBrokerThreadPoolNums=1\nregisterBrokerTimeoutMills=20000\nnamesrvAddr={}",
        namesrv.addr()
    );
    let server = Daemon::broker(dir.path(), &broker_config(dir.path(), &lines));
    let steady = Steady::of_broker(server.addr());
    steady.wait_for_more();
    // The answer to a new topic waits for the NameServer, which says no word any more.
    namesrv.signal("-STOP");
    let mut peer = server.peer();
    let mut most = 0;
    let mut refused = 0;
    for n in 0..60 {
        let mut command = create_topic(&format!("Slow{n}"));
        command.body = vec![1; 15 << 20];
        peer.send(&command);
        most = most.max(server.resident_mib());
    }
    while refused < 30 {
        let reply = peer.receive();
        if reply.code == 2 {
            let remark = "[OVERLOAD]system busy, start flow control for a while";
            assert_eq!(reply.remark.as_deref(), Some(remark));
            refused += 1;
        }
    }
    steady.wait_for_more();
    most = most.max(server.resident_mib());
    assert!(most < 600, "{most} MiB for queued requests");
    steady.stop();
}
