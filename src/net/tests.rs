//! Server and client against each other and against raw sockets, on free ports of loopback.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::reactor::Limits;
use super::{Client, Conn, Port, Request, Server, Service, Taken, cork};
use crate::base::Error;
use crate::config::{ClientConfig, ServerConfig};
use crate::protocol::command::FLAG_ONEWAY;
use crate::protocol::{Command, frame};

/// Longer than anything here may take: a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(20);

/// The body comes back.
const ECHO: i32 = 1;
/// A reply of as many bytes as the remark says.
const BIG: i32 = 2;
/// Kept without an answer.
const KEEP: i32 = 3;
/// Dropped without an answer.
const DROP: i32 = 4;
/// Answered with the number of connections that have gone.
const GONE: i32 = 5;

/// Answers on the reactor thread and tells what happened.
#[derive(Default)]
struct Echo {
    batches: Mutex<Vec<usize>>,
    open: AtomicUsize,
    told: Mutex<Option<Sender<Arc<Conn>>>>,
    kept: Mutex<Vec<super::Responder>>,
    closed: Mutex<HashSet<u64>>,
    crowded: AtomicBool,
    /// The first connection that goes keeps the reactor until something comes here.
    door: Mutex<Option<Receiver<()>>>,
}

impl Service for Echo {
    fn requests(&self, batch: Vec<Request>, _: bool) -> Taken {
        let crowds = self.is_crowded() && batch.len() > 1;
        self.batches.lock().unwrap().push(batch.len());
        for request in batch {
            let mut reply = request.command.reply(0);
            match request.command.code {
                ECHO => reply.body = request.command.body.clone(),
                BIG => {
                    let len = request.command.remark.as_deref().unwrap_or("0");
                    reply.body = vec![b'x'; len.parse().unwrap()];
                }
                KEEP => {
                    self.kept.lock().unwrap().push(request.responder());
                    continue;
                }
                DROP => {
                    drop(request.responder());
                    continue;
                }
                GONE => reply.body = vec![self.closed.lock().unwrap().len() as u8],
                other => panic!("code {other}"),
            }
            request.responder().send(reply);
        }
        Taken { left: false, crowds }
    }

    fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::SeqCst)
    }

    fn connected(&self, conn: &Arc<Conn>) {
        self.open.fetch_add(1, Ordering::SeqCst);
        if let Some(told) = &*self.told.lock().unwrap() {
            let _ = told.send(conn.clone());
        }
    }

    fn closed(&self, conn: &Arc<Conn>) {
        assert!(conn.is_closed());
        if let Some(door) = self.door.lock().unwrap().take() {
            door.recv_timeout(LONG).unwrap();
        }
        assert!(self.closed.lock().unwrap().insert(conn.id()), "closed told twice");
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Echo {
    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    fn connections(&self) -> Receiver<Arc<Conn>> {
        let (said, heard) = mpsc::channel();
        *self.told.lock().unwrap() = Some(said);
        heard
    }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn start() -> (Arc<Echo>, Server) {
    let echo = Arc::new(Echo::default());
    let config = ServerConfig::new(0);
    let server = Server::start(&config, &[(any_port(), Port::Main)], echo.clone()).unwrap();
    (echo, server)
}

fn start_limited(change: impl Fn(&mut Limits)) -> (Arc<Echo>, Server) {
    let echo = Arc::new(Echo::default());
    let mut limits = Limits::new(120);
    change(&mut limits);
    let (config, listen) = (ServerConfig::new(0), [(any_port(), Port::Main)]);
    let server = Server::start_limited(&config, &listen, echo.clone(), limits).unwrap();
    (echo, server)
}

fn client(config: &ClientConfig) -> (Arc<Echo>, Client) {
    let echo = Arc::new(Echo::default());
    let client = Client::start(config, echo.clone()).unwrap();
    (echo, client)
}

fn connect(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(server.local_addr(Port::Main)).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn request(code: i32, body: &[u8]) -> Command {
    let mut command = Command::request(code);
    command.body = body.to_vec();
    command
}

fn encode(command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode_head(command, &mut bytes);
    bytes
}

/// The next frame; `None` at the end of the stream.
fn receive(socket: &mut TcpStream) -> Option<Command> {
    let mut bytes = vec![0; 4];
    let mut have = 0;
    loop {
        match socket.read(&mut bytes[have..]) {
            Ok(0) => return None,
            Ok(count) => have += count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
        if have == 4 {
            let len = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            bytes.resize(len + 4, 0);
        } else if have == bytes.len() {
            return Some(frame::decode(&bytes).unwrap());
        }
    }
}

fn ask(socket: &mut TcpStream, command: &Command) -> Command {
    socket.write_all(&encode(command)).unwrap();
    let reply = receive(socket).expect("a reply");
    assert!(reply.is_response());
    assert_eq!(reply.opaque, command.opaque);
    reply
}

/// Waits until `what` holds; fails after `LONG`.
fn eventually(what: impl Fn() -> bool) {
    for _ in 0..LONG.as_millis() / 5 {
        if what() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it never came about");
}

#[test]
fn a_request_is_answered() {
    let (_, server) = start();
    let mut socket = connect(&server);
    assert_eq!(ask(&mut socket, &request(ECHO, b"hello")).body, b"hello");
}

#[test]
fn a_reactor_that_looks_before_it_sleeps_misses_nothing() {
    let (_, server) = start_limited(|limits| limits.spin = Duration::from_micros(200));
    let mut socket = connect(&server);
    // Through the second before the first trial, and the trial.
    let began = Instant::now();
    for n in 0u32.. {
        assert_eq!(ask(&mut socket, &request(ECHO, &n.to_be_bytes())).body, n.to_be_bytes());
        if began.elapsed() > Duration::from_millis(1300) {
            break;
        }
    }
    let mut other = connect(&server);
    assert_eq!(ask(&mut other, &request(ECHO, b"other")).body, b"other");
}

#[test]
fn a_byte_at_a_time_is_enough() {
    let (echo, server) = start();
    let mut socket = connect(&server);
    for byte in encode(&request(ECHO, b"slow")) {
        socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(receive(&mut socket).unwrap().body, b"slow");
    assert_eq!(*echo.batches.lock().unwrap(), [1]);
}

#[test]
fn what_comes_together_is_handed_over_together() {
    let (echo, server) = start();
    let mut socket = connect(&server);
    let requests: Vec<Command> = (0..50).map(|i| request(ECHO, &[i; 100])).collect();
    let bytes: Vec<u8> = requests.iter().flat_map(encode).collect();
    socket.write_all(&bytes).unwrap();
    for request in &requests {
        let reply = receive(&mut socket).unwrap();
        assert_eq!((reply.opaque, reply.body), (request.opaque, request.body.clone()));
    }
    let batches = echo.batches.lock().unwrap();
    assert_eq!(batches.iter().sum::<usize>(), 50);
    assert!(batches.len() < 50, "{batches:?}");
}

#[test]
fn long_frames_pass_both_ways() {
    let (_, server) = start();
    let mut socket = connect(&server);
    let body: Vec<u8> = (0..5_000_000u32).map(|i| (i / 7) as u8).collect();
    assert!(ask(&mut socket, &request(ECHO, &body)).body == body);
}

#[test]
fn a_oneway_request_has_no_answer_and_a_dropped_one_has() {
    let (_, server) = start();
    let mut socket = connect(&server);
    for code in [ECHO, DROP] {
        let mut oneway = request(code, b"x");
        oneway.flag = FLAG_ONEWAY;
        socket.write_all(&encode(&oneway)).unwrap();
    }
    let reply = ask(&mut socket, &request(DROP, b""));
    assert_eq!((reply.code, reply.remark.is_some()), (1, true));
}

#[test]
fn garbage_closes_its_own_connection() {
    let (echo, server) = start();
    let mut good = connect(&server);
    let bad: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 64],
        &[0; 64],
        &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 2, b'{', b'}'],
        &[0, 0, 0, 6, 0, 0, 0, 2, b'{', b'{'],
        &[0, 0, 0, 6, 0, 0, 1, 2, b'{', b'}'],
    ];
    for bytes in bad {
        let mut socket = connect(&server);
        socket.write_all(bytes).unwrap();
        assert!(receive(&mut socket).is_none(), "{bytes:?}");
        assert_eq!(ask(&mut good, &request(ECHO, b"still")).body, b"still");
    }
    eventually(|| echo.open() == 1);
}

#[test]
fn a_panic_closes_its_own_connection() {
    let (_, server) = start();
    let (mut good, mut bad) = (connect(&server), connect(&server));
    bad.write_all(&encode(&request(99, b""))).unwrap();
    assert!(receive(&mut bad).is_none());
    assert_eq!(ask(&mut good, &request(ECHO, b"still")).body, b"still");
}

#[test]
fn who_does_not_read_is_not_read_from() {
    let (echo, server) = start();
    let conns = echo.connections();
    let mut socket = connect(&server);
    let conn = conns.recv_timeout(LONG).unwrap();
    let mut writer = socket.try_clone().unwrap();
    let body = vec![7; 200_000];
    let frame = encode(&request(ECHO, &body));
    let writing = crate::base::thread::spawn("writer", move || {
        (0..150).for_each(|_| writer.write_all(&frame).unwrap());
    })
    .unwrap();
    eventually(|| conn.is_choked());
    let handled = || echo.batches.lock().unwrap().iter().sum::<usize>();
    assert!(handled() < 150);
    for _ in 0..150 {
        assert!(receive(&mut socket).unwrap().body == body);
    }
    writing.join();
    assert!(!conn.is_choked() && !conn.has_output());
}

#[test]
fn who_asks_for_too_much_and_does_not_read_is_closed() {
    let (echo, server) = start();
    let conns = echo.connections();
    let mut socket = connect(&server);
    let conn = conns.recv_timeout(LONG).unwrap();
    let mut big = request(BIG, b"");
    big.remark = Some("2000000".to_string());
    socket.write_all(&encode(&big).repeat(50)).unwrap();
    eventually(|| echo.open() == 0);
    assert!(conn.is_closed() && !conn.has_output());
    conn.send(request(ECHO, b"into the void"));
}

#[test]
fn who_takes_nothing_is_closed_in_time() {
    let (echo, server) = start_limited(|limits| limits.stall = Duration::from_millis(300));
    let mut socket = connect(&server);
    let mut big = request(BIG, b"");
    big.remark = Some("10000000".to_string());
    socket.write_all(&encode(&big)).unwrap();
    eventually(|| echo.closed.lock().unwrap().len() == 1);
}

#[test]
fn idle_connections_are_closed() {
    let mut config = ServerConfig::new(0);
    config.server_channel_max_idle_time_seconds = 1;
    let echo = Arc::new(Echo::default());
    let server = Server::start(&config, &[(any_port(), Port::Main)], echo.clone()).unwrap();
    let (mut idle, mut used) = (connect(&server), connect(&server));
    assert_eq!(ask(&mut used, &request(ECHO, b"1")).body, b"1");
    assert!(receive(&mut idle).is_none());
    assert!(receive(&mut used).is_none());
    eventually(|| echo.open() == 0);
}

#[test]
fn a_dripping_frame_is_closed_in_time() {
    let (echo, server) = start_limited(|limits| limits.frame = Duration::from_millis(300));
    let mut socket = connect(&server);
    for byte in encode(&request(ECHO, &[0; 10_000])) {
        if socket.write_all(&[byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    eventually(|| echo.closed.lock().unwrap().len() == 1);
    assert!(echo.batches.lock().unwrap().is_empty());
}

#[test]
fn half_frames_are_bounded_at_the_cost_of_the_oldest() {
    let (echo, server) = start_limited(|limits| limits.half_frames = 1_000_000);
    let half = encode(&request(ECHO, &[0; 10_000_000]));
    let mut sockets = Vec::new();
    for open in 1..=10 {
        let mut socket = connect(&server);
        socket.write_all(&half[..100_000]).unwrap();
        sockets.push(socket);
        eventually(|| echo.open() + echo.closed.lock().unwrap().len() == open);
    }
    let mut young = connect(&server);
    assert_eq!(ask(&mut young, &request(ECHO, b"served")).body, b"served");
    for _ in 0..10 {
        let _ = young.write_all(&half[..900_000]);
        sockets.push(std::mem::replace(&mut young, connect(&server)));
    }
    assert!(receive(&mut sockets[0]).is_none());
    assert_eq!(ask(&mut young, &request(ECHO, b"served")).body, b"served");
}

#[test]
fn connections_over_the_limit_are_closed_at_once() {
    let (echo, server) = start_limited(|limits| limits.connections = 2);
    let (mut one, two) = (connect(&server), connect(&server));
    eventually(|| echo.open() == 2);
    assert!(receive(&mut connect(&server)).is_none());
    assert_eq!(ask(&mut one, &request(ECHO, b"x")).body, b"x");
    drop(two);
    eventually(|| echo.open() == 1);
    assert_eq!(ask(&mut connect(&server), &request(ECHO, b"y")).body, b"y");
}

#[test]
fn thousands_of_idle_connections_cost_little() {
    let (echo, server) = start();
    let mut sockets: Vec<TcpStream> = (0..2000).map(|_| connect(&server)).collect();
    for socket in &mut sockets {
        assert_eq!(ask(socket, &request(ECHO, &[1; 3000])).body.len(), 3000);
    }
    assert_eq!(echo.open(), 2000);
    let all = size_of::<super::link::Link>() + size_of::<Conn>();
    assert!(all < 1024, "{all} bytes and no buffer for each");
    drop(sockets);
    eventually(|| echo.open() == 0);
}

#[test]
fn who_is_there_does_not_wait_for_all_who_go() {
    let (echo, server) = start();
    let mut stays = connect(&server);
    let go: Vec<TcpStream> = (0..100).map(|_| connect(&server)).collect();
    eventually(|| echo.open() == 101);
    let (open, door) = mpsc::channel();
    *echo.door.lock().unwrap() = Some(door);
    drop(go);
    let question = request(GONE, b"");
    stays.write_all(&encode(&question)).unwrap();
    open.send(()).unwrap();
    let gone = receive(&mut stays).unwrap().body[0];
    assert!(gone < 50, "{gone} before a request that came meanwhile");
    eventually(|| echo.open() == 1);
}

#[test]
fn an_address_in_use_is_named() {
    let (_, server) = start();
    let taken = server.local_addr(Port::Main);
    let again = Server::start(
        &ServerConfig::new(0),
        &[(any_port(), Port::Main), (taken, Port::Fast)],
        Arc::new(Echo::default()),
    );
    let error = again.err().expect("refused").to_string();
    assert!(error.contains(&taken.to_string()), "{error}");
}

#[test]
fn stopping_sends_what_waits_and_frees_the_port() {
    let (echo, server) = start();
    let address = server.local_addr(Port::Main);
    let mut socket = connect(&server);
    let mut big = request(BIG, b"");
    big.remark = Some("8000000".to_string());
    socket.write_all(&encode(&big)).unwrap();
    eventually(|| !echo.batches.lock().unwrap().is_empty());
    let reading = std::thread::scope(|scope| {
        let reader = scope.spawn(|| receive(&mut socket).unwrap().body.len());
        server.stop();
        reader.join().unwrap()
    });
    assert_eq!(reading, 8_000_000);
    assert_eq!(echo.open(), 0);
    assert!(TcpStream::connect(address).is_err());
    server.stop();
}

#[test]
fn a_corked_thread_sends_at_the_end() {
    let (echo, server) = start();
    let conns = echo.connections();
    let mut socket = connect(&server);
    let conn = conns.recv_timeout(LONG).unwrap();
    {
        let _outer = cork();
        {
            let _inner = cork();
            (0..3).for_each(|_| conn.send(request(ECHO, b"x")));
        }
        assert!(conn.has_output());
    }
    assert!(!conn.has_output());
    (0..3).for_each(|_| assert_eq!(receive(&mut socket).unwrap().body, b"x"));
}

#[test]
fn a_client_calls_and_is_called() {
    let (served, server) = start();
    let conns = served.connections();
    let (told, client) = client(&ClientConfig::new());
    let address = format!("localhost:{}", server.local_addr(Port::Main).port());
    let reply = client.call(&address, request(ECHO, b"there"), LONG).unwrap();
    assert_eq!(reply.body, b"there");
    client.oneway(&address, request(ECHO, b"")).unwrap();

    let conn = conns.recv_timeout(LONG).unwrap();
    let (said, heard) = mpsc::channel();
    server.oneway(&conn, request(ECHO, b""));
    let done = Box::new(move |result| said.send(result).unwrap());
    server.call(&conn, request(ECHO, b"and back"), LONG, done);
    assert_eq!(heard.recv_timeout(LONG).unwrap().unwrap().body, b"and back");
    eventually(|| told.batches.lock().unwrap().iter().sum::<usize>() == 2);
    assert_eq!(served.open(), 1, "one connection for all");
    client.stop();
    eventually(|| served.open() == 0);
    assert_eq!(told.open(), 0);
}

#[test]
fn calls_of_both_sides_may_share_an_opaque() {
    let (echo, server) = start();
    let conns = echo.connections();
    let mut socket = connect(&server);
    let conn = conns.recv_timeout(LONG).unwrap();
    let ours = request(KEEP, b"");
    socket.write_all(&encode(&ours)).unwrap();
    eventually(|| echo.kept.lock().unwrap().len() == 1);
    let mut theirs = request(ECHO, b"");
    theirs.opaque = ours.opaque;
    let (said, heard) = mpsc::channel();
    server.call(&conn, theirs, LONG, Box::new(move |result| said.send(result).unwrap()));
    let asked = receive(&mut socket).unwrap();
    assert!(!asked.is_response() && asked.opaque == ours.opaque);
    socket.write_all(&encode(&asked.reply(42))).unwrap();
    assert_eq!(heard.recv_timeout(LONG).unwrap().unwrap().code, 42);
    socket.write_all(&encode(&asked.reply(43))).unwrap();
    echo.kept.lock().unwrap().pop().unwrap().send(Command { code: 7, ..Command::default() });
    let reply = receive(&mut socket).unwrap();
    assert!(reply.is_response() && reply.code == 7 && reply.opaque == ours.opaque);
}

#[test]
fn calls_time_out_and_fail_with_their_connection() {
    let (echo, server) = start();
    let address = server.local_addr(Port::Main).to_string();
    let (_, client) = client(&ClientConfig::new());
    let (said, heard) = mpsc::channel();
    let ask = |ms| {
        let said = said.clone();
        let done = Box::new(move |result| said.send(result).unwrap());
        client.call_async(&address, request(KEEP, b""), Duration::from_millis(ms), done);
    };
    ask(50);
    assert!(matches!(heard.recv_timeout(LONG).unwrap(), Err(Error::Timeout(_))));
    ask(60_000);
    eventually(|| echo.kept.lock().unwrap().len() == 2);
    let late = client.call(&address, request(KEEP, b""), Duration::from_millis(50));
    assert!(matches!(late, Err(Error::Timeout(_))));
    let failed = heard.recv_timeout(LONG).unwrap();
    assert!(
        matches!(failed, Err(Error::Io { .. })),
        "a timeout closes: clientCloseSocketIfTimeout"
    );
    let reply = client.call(&address, request(ECHO, b"anew"), LONG).unwrap();
    assert_eq!(reply.body, b"anew");
}

#[test]
fn a_client_finds_a_server_that_came_back() {
    let (_, first) = start();
    let address = first.local_addr(Port::Main);
    let (told, client) = client(&ClientConfig::new());
    let ask = || client.call(&address.to_string(), request(ECHO, b"x"), LONG);
    assert!(ask().is_ok());
    first.stop();
    eventually(|| told.open() == 0);
    let refused = ask().err().expect("nobody listens").to_string();
    assert!(refused.contains(&address.to_string()), "{refused}");
    let config = ServerConfig::new(0);
    let listen = [(address, Port::Main)];
    let _second = Server::start(&config, &listen, Arc::new(Echo::default())).unwrap();
    assert!(ask().is_ok());
    assert!(client.call("no.such.host.invalid:1", request(ECHO, b""), LONG).is_err());
}

#[test]
fn calls_of_a_server_are_limited() {
    let (echo, server) = start_limited(|limits| limits.calls = 1);
    let conns = echo.connections();
    let mut socket = connect(&server);
    let conn = conns.recv_timeout(LONG).unwrap();
    let (said, heard) = mpsc::channel();
    let ask = || {
        let said = said.clone();
        server.call(&conn, request(ECHO, b""), LONG, Box::new(move |r| said.send(r).unwrap()));
    };
    ask();
    ask();
    assert!(matches!(heard.recv_timeout(LONG).unwrap(), Err(Error::Timeout(_))));
    let asked = receive(&mut socket).unwrap();
    socket.write_all(&encode(&asked.reply(0))).unwrap();
    assert_eq!(heard.recv_timeout(LONG).unwrap().unwrap().code, 0);
}

/// Two requests in one read, and so that it is one.
fn send_two(socket: &mut TcpStream) {
    let two: Vec<u8> = (0..2).flat_map(|_| encode(&request(ECHO, b"two"))).collect();
    socket.write_all(&two).unwrap();
}

#[test]
fn who_crowds_a_service_rests_until_there_is_room() {
    let (echo, server) = start_limited(|limits| limits.rest = LONG * 10);
    let (mut many, mut few) = (connect(&server), connect(&server));
    echo.crowded.store(true, Ordering::SeqCst);
    send_two(&mut many);
    assert_eq!((0..2).filter(|_| receive(&mut many).is_some()).count(), 2);
    send_two(&mut many);
    for _ in 0..20 {
        assert_eq!(ask(&mut few, &request(ECHO, b"few")).body, b"few");
    }
    assert_eq!(echo.batches.lock().unwrap().iter().sum::<usize>(), 22, "many is not read");
    echo.crowded.store(false, Ordering::SeqCst);
    assert_eq!((0..2).filter(|_| receive(&mut many).is_some()).count(), 2);
}

#[test]
fn a_rest_ends_though_there_is_no_room() {
    let (echo, server) = start_limited(|limits| limits.rest = Duration::from_millis(5));
    let mut many = connect(&server);
    echo.crowded.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        send_two(&mut many);
        assert_eq!((0..2).filter(|_| receive(&mut many).is_some()).count(), 2);
    }
    drop(many);
    eventually(|| echo.open() == 0);
}
