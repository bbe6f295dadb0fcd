//! Many connections and much memory asked for: servers stay small and serve whoever behaves.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ferrocket::base::thread::{self, Handle, Stop};
use ferrocket::message::record;
use ferrocket::protocol::code::request as codes;
use ferrocket::protocol::frame;
use ferrocket::sys::process;

use crate::child::{Daemon, broker_config, wait_for};
use crate::common::{Pull, number, request, send_v2};
use crate::peer::Peer;

/// Connections that do nothing, and as many that send a byte now and then, where the system lets
/// this process have so many.
const EACH: usize = 1500;

/// A client that asks one thing after the other and checks every answer.
struct Steady {
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
    fn of_broker(addr: SocketAddr) -> Steady {
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

    /// Writes a value and reads it back.
    fn of_namesrv(addr: SocketAddr) -> Steady {
        let mut peer = Peer::connect(addr);
        Steady::start(move |n| {
            let value = n.to_string();
            let fields = [("namespace", "steady"), ("key", "n"), ("value", &value)];
            assert_eq!(peer.ask(&request(codes::PUT_KV_CONFIG, &fields)).code, 0);
            let reply = peer.ask(&request(codes::GET_KV_CONFIG, &fields));
            assert_eq!(reply.field("value"), Some(&*value));
        })
    }

    /// Waits until some more has been answered.
    fn wait_for_more(&self) {
        let goal = self.done.load(Ordering::Relaxed) + 20;
        wait_for("a well-behaved client", || {
            assert!(!self.thread.is_finished(), "it got a wrong answer");
            self.done.load(Ordering::Relaxed) >= goal
        });
    }

    fn stop(self) {
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
    let created = request(
        codes::UPDATE_AND_CREATE_TOPIC,
        &[
            ("topic", "FilesToo"),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
        ],
    );
    assert_eq!(peer.ask(&created).code, 0);
    drop(others);
    wait_for("room for another connection", || {
        let stream = TcpStream::connect(server.addr()).unwrap();
        Peer::over(stream).try_ask(&request(9999, &[])).is_some()
    });
    let log = server.stop();
    assert!(!log.contains(" ERROR "), "{log}");
}
