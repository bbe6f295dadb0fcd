//! Dispatchers behind a real server, asked over raw sockets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};

use super::*;
use crate::base::limits::CROWDED_QUEUE;
use crate::config::ServerConfig;
use crate::net::{Responder, Server};
use crate::protocol::command::FLAG_ONEWAY;
use crate::protocol::frame;

/// Longer than anything here may take: a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(20);

const ECHO: i32 = 1;
/// Waits until the test opens the door.
const BLOCK: i32 = 2;
const PANIC: i32 = 3;
const FAIL: i32 = 4;
const LATER: i32 = 5;
const SILENT: i32 = 6;
const REFUSED: i32 = 7;
const MAIN_ONLY: i32 = 8;
/// Takes its responder, then panics.
const PANIC_LATER: i32 = 9;
const OTHER_POOL: i32 = 10;
/// Answers with the name of the thread.
const WHERE: i32 = 11;

#[derive(Clone, Copy)]
enum Of {
    Send,
    Other,
}

impl PoolId for Of {
    fn index(self) -> usize {
        self as usize
    }
}

/// What the handlers share with the test.
struct Stage {
    /// Tells the test that a blocking handler has begun.
    begun: Mutex<Sender<()>>,
    /// One blocking handler goes on for each message.
    door: Mutex<Receiver<()>>,
    parked: Mutex<Vec<Responder>>,
}

fn echo(_: &Arc<Stage>, request: &Request) -> Result<Outcome> {
    let mut reply = request.command.reply(0);
    reply.body = request.command.body.clone();
    Ok(Outcome::Reply(reply))
}

fn where_it_runs(_: &Arc<Stage>, request: &Request) -> Result<Outcome> {
    let mut reply = request.command.reply(0);
    reply.remark = std::thread::current().name().map(str::to_owned);
    Ok(Outcome::Reply(reply))
}

fn block(stage: &Arc<Stage>, request: &Request) -> Result<Outcome> {
    stage.begun.lock().unwrap().send(()).unwrap();
    stage.door.lock().unwrap().recv_timeout(LONG).unwrap();
    echo(stage, request)
}

fn panics(_: &Arc<Stage>, _: &Request) -> Result<Outcome> {
    panic!("on purpose")
}

fn panics_later(_: &Arc<Stage>, request: &Request) -> Result<Outcome> {
    let _responder = request.responder();
    panic!("on purpose")
}

fn fails(_: &Arc<Stage>, request: &Request) -> Result<Outcome> {
    match request.command.body.first() {
        Some(_) => Err(Error::refused(17, "no such topic")),
        None => Err(Error::Corrupt("torn".to_string())),
    }
}

fn later(stage: &Arc<Stage>, request: &Request) -> Result<Outcome> {
    stage.parked.lock().unwrap().push(request.responder());
    Ok(Outcome::Later)
}

fn silent(_: &Arc<Stage>, _: &Request) -> Result<Outcome> {
    Ok(Outcome::Silent)
}

fn rows() -> Vec<Row<Stage, Of>> {
    let row = |code, handler: Handler<Stage>| Row {
        code,
        pool: if code == OTHER_POOL { Of::Other } else { Of::Send },
        handler,
        ports: if code == MAIN_ONLY { Ports::Main } else { Ports::Both },
        guard: Guard::None,
    };
    vec![
        row(OTHER_POOL, echo),
        row(ECHO, echo),
        row(BLOCK, block),
        row(PANIC, panics),
        row(FAIL, fails),
        row(LATER, later),
        row(SILENT, silent),
        row(REFUSED, echo),
        row(MAIN_ONLY, echo),
        row(WHERE, where_it_runs),
        row(PANIC_LATER, panics_later),
    ]
}

fn refuse(_: &Stage, row: &Row<Stage, Of>, request: &Request) -> Option<Command> {
    (row.code == REFUSED).then(|| request.command.refusal(SYSTEM_BUSY, "[REJECTREQUEST]"))
}

/// A server whose Send pool is as the test wants it.
struct Scene {
    stage: Arc<Stage>,
    dispatcher: Arc<Dispatcher<Stage, Of>>,
    server: Server,
    begun: Receiver<()>,
    door: Sender<()>,
}

impl Scene {
    fn new(threads: usize, capacity: usize, wait_limit_ms: Option<u64>) -> Scene {
        let ((begin, begun), (door, closed_door)) = (mpsc::channel(), mpsc::channel());
        let stage = Arc::new(Stage {
            begun: Mutex::new(begin),
            door: Mutex::new(closed_door),
            parked: Mutex::default(),
        });
        let wait_limit = wait_limit_ms.map(Duration::from_millis);
        let pools = vec![
            PoolSpec { name: "send", threads, helped: threads > 1, capacity, wait_limit },
            PoolSpec { name: "other", threads: 1, helped: false, capacity: 100, wait_limit: None },
        ];
        let dispatcher = Dispatcher::new(stage.clone(), rows(), pools, refuse, |_, _| ()).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listen = [(any, Port::Main), (any, Port::Fast)];
        let server = Server::start(&ServerConfig::new(0), &listen, dispatcher.clone()).unwrap();
        Scene { stage, dispatcher, server, begun, door }
    }

    fn connect(&self, port: Port) -> Peer {
        let socket = TcpStream::connect(self.server.local_addr(port)).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        Peer { socket, sent: BTreeMap::new() }
    }

    /// Waits until a blocking handler runs.
    fn blocked(&self) {
        self.begun.recv_timeout(LONG).unwrap();
    }

    fn open_door(&self) {
        self.door.send(()).unwrap();
    }

    fn queued(&self) -> usize {
        self.dispatcher.pool_stats("send").unwrap().queued
    }
}

struct Peer {
    socket: TcpStream,
    /// Opaque → place in the order of sending.
    sent: BTreeMap<i32, usize>,
}

impl Peer {
    /// Sends requests in one write; bodies tell them apart.
    fn send(&mut self, codes: &[i32]) {
        let mut bytes = Vec::new();
        for code in codes {
            let mut command = Command::request(*code);
            command.body = vec![b'a'; 1];
            self.sent.insert(command.opaque, self.sent.len());
            frame::encode_head(&command, &mut bytes);
        }
        self.socket.write_all(&bytes).unwrap();
    }

    /// The next answer, with the place of its request.
    fn answer(&mut self) -> (usize, Command) {
        let mut word = [0; 4];
        self.socket.read_exact(&mut word).unwrap();
        let mut bytes = word.to_vec();
        bytes.resize(4 + u32::from_be_bytes(word) as usize, 0);
        self.socket.read_exact(&mut bytes[4..]).unwrap();
        let reply = frame::decode(&bytes).unwrap();
        assert!(reply.is_response());
        (self.sent[&reply.opaque], reply)
    }

    fn ask(&mut self, code: i32) -> Command {
        self.send(&[code]);
        let (place, reply) = self.answer();
        assert_eq!(place, self.sent.len() - 1);
        reply
    }
}

fn remark(reply: &Command) -> &str {
    reply.remark.as_deref().unwrap_or_default()
}

fn eventually(mut what: impl FnMut() -> bool) {
    for _ in 0..LONG.as_millis() / 5 {
        if what() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it never came about");
}

#[test]
fn codes_go_where_the_rows_say() {
    let scene = Scene::new(1, 100, None);
    let (mut main, mut fast) = (scene.connect(Port::Main), scene.connect(Port::Fast));
    assert_eq!(main.ask(ECHO).body, b"a");
    assert_eq!(main.ask(OTHER_POOL).body, b"a");
    assert_eq!((main.ask(MAIN_ONLY).code, fast.ask(ECHO).code), (0, 0));
    let unknown = main.ask(99);
    assert_eq!((unknown.code, remark(&unknown)), (3, " request type 99 not supported"));
    let hidden = fast.ask(MAIN_ONLY);
    assert_eq!((hidden.code, remark(&hidden)), (3, " request type 8 not supported"));
    let refused = main.ask(REFUSED);
    assert_eq!((refused.code, remark(&refused)), (2, "[REJECTREQUEST]"));
}

#[test]
fn a_mixed_batch_is_answered_whole() {
    let scene = Scene::new(1, 100, None);
    let mut peer = scene.connect(Port::Main);
    peer.send(&[ECHO, ECHO, OTHER_POOL, 99, ECHO, REFUSED, OTHER_POOL, ECHO]);
    let mut codes = [9; 8];
    for _ in 0..8 {
        let (place, reply) = peer.answer();
        codes[place] = reply.code;
    }
    assert_eq!(codes, [0, 0, 0, 3, 0, 2, 0, 0]);
}

#[test]
fn errors_and_panics_are_answered_and_the_worker_lives() {
    let scene = Scene::new(1, 100, None);
    let mut peer = scene.connect(Port::Main);
    let refused = peer.ask(FAIL);
    assert_eq!((refused.code, remark(&refused)), (17, "no such topic"));
    let panicked = peer.ask(PANIC);
    assert_eq!((panicked.code, remark(&panicked)), (SYSTEM_ERROR, "panic: on purpose"));
    let dropped = peer.ask(PANIC_LATER);
    assert_eq!(dropped.code, SYSTEM_ERROR);
    assert_eq!(peer.ask(ECHO).code, 0, "and not a second answer to the one before");
}

#[test]
fn what_is_answered_later_is_answered_once() {
    let scene = Scene::new(1, 100, None);
    let mut peer = scene.connect(Port::Main);
    peer.send(&[LATER, LATER, SILENT, ECHO]);
    assert_eq!(peer.answer().0, 3);
    let mut parked: Vec<Responder> = scene.stage.parked.lock().unwrap().drain(..).collect();
    drop(parked.pop());
    let (place, reply) = peer.answer();
    assert_eq!((place, reply.code), (1, SYSTEM_ERROR));
    let responder = parked.pop().unwrap();
    scene.dispatcher.resubmit(
        Of::Send,
        Box::new(move || responder.send(Command { code: 19, ..Command::default() })),
    );
    let (place, reply) = peer.answer();
    assert_eq!((place, reply.code), (0, 19));
}

#[test]
fn a_full_pool_refuses_by_count_of_requests() {
    let scene = Scene::new(1, 3, None);
    let mut peer = scene.connect(Port::Main);
    peer.send(&[BLOCK]);
    scene.blocked();
    peer.send(&[ECHO, ECHO, ECHO, ECHO, ECHO]);
    for expected in [3 + 1, 4 + 1] {
        let (place, reply) = peer.answer();
        assert_eq!((place, reply.code), (expected, SYSTEM_BUSY));
        assert_eq!(remark(&reply), "[OVERLOAD]system busy, start flow control for a while");
    }
    assert_eq!(scene.queued(), 3);
    let mut oneway = Command::request(ECHO);
    oneway.flag = FLAG_ONEWAY;
    let mut bytes = Vec::new();
    frame::encode_head(&oneway, &mut bytes);
    peer.socket.write_all(&bytes).unwrap();
    scene.open_door();
    let places: Vec<usize> = (0..4).map(|_| peer.answer().0).collect();
    assert_eq!(places, [0, 1, 2, 3]);
    assert_eq!(peer.ask(ECHO).code, 0);
}

#[test]
fn a_pool_is_crowded_before_it_is_full() {
    let scene = Scene::new(1, 8, None);
    let mut peer = scene.connect(Port::Main);
    peer.send(&[BLOCK]);
    scene.blocked();
    peer.send(&[ECHO; 6]);
    eventually(|| scene.queued() == 6);
    assert!(!scene.dispatcher.is_crowded());
    peer.send(&[ECHO; 4]);
    eventually(|| scene.queued() == 8);
    assert!(scene.dispatcher.is_crowded(), "and the one that is behind this rests");
    peer.send(&[ECHO]);
    for expected in [9, 10, 11] {
        let (place, reply) = peer.answer();
        assert_eq!((place, reply.code), (expected, SYSTEM_BUSY));
    }
    scene.open_door();
    assert_eq!((0..9).map(|_| peer.answer().1.code).sum::<i32>(), 0);
    assert!(!scene.dispatcher.is_crowded());
}

#[test]
fn a_long_queue_is_crowded_though_there_is_room() {
    let scene = Scene::new(1, 10 * CROWDED_QUEUE, None);
    let mut peer = scene.connect(Port::Main);
    peer.send(&[BLOCK]);
    scene.blocked();
    peer.send(&[ECHO; CROWDED_QUEUE]);
    eventually(|| scene.queued() == CROWDED_QUEUE);
    assert!(!scene.dispatcher.is_crowded());
    peer.send(&[ECHO]);
    eventually(|| scene.dispatcher.is_crowded());
    scene.open_door();
    assert_eq!((0..CROWDED_QUEUE + 2).map(|_| peer.answer().1.code).sum::<i32>(), 0);
    assert!(!scene.dispatcher.is_crowded());
}

#[test]
fn who_crowds_a_pool_is_turned_away_and_others_find_room() {
    let scene = Scene::new(1, 100, None);
    let (mut many, mut few) = (scene.connect(Port::Main), scene.connect(Port::Main));
    many.send(&[BLOCK]);
    scene.blocked();
    many.send(&[ECHO; 70]);
    eventually(|| scene.queued() == 70);
    many.send(&[ECHO; 9]);
    eventually(|| scene.queued() == 79);
    // This one rests now. What it sends next waits, and is refused when it has waited in vain.
    many.send(&[ECHO, OTHER_POOL, 99, ECHO]);
    let mut answers: Vec<(usize, i32)> =
        (0..4).map(|_| many.answer()).map(|(at, reply)| (at, reply.code)).collect();
    answers.sort_unstable();
    assert_eq!(
        answers,
        [(80, SYSTEM_BUSY), (81, 0), (82, REQUEST_CODE_NOT_SUPPORTED), (83, SYSTEM_BUSY)]
    );
    few.send(&[ECHO; 3]);
    eventually(|| scene.queued() == 82);
    scene.open_door();
    assert_eq!((0..80).map(|_| many.answer().1.code).sum::<i32>(), 0);
    assert_eq!((0..3).map(|_| few.answer().1.code).sum::<i32>(), 0);
}

#[test]
fn who_waits_too_long_is_answered_though_the_worker_is_stuck() {
    let scene = Scene::new(1, 100, Some(50));
    let mut peer = scene.connect(Port::Main);
    // The first two are one job: the reply of one is held back by, the other queued behind, the
    // stuck.
    peer.send(&[ECHO, BLOCK, ECHO, ECHO]);
    scene.blocked();
    assert_eq!(peer.answer().0, 0);
    for expected in [2, 3] {
        let (place, reply) = peer.answer();
        assert_eq!((place, reply.code), (expected, SYSTEM_BUSY));
        let text = "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, \
                    period in queue: ";
        let rest = remark(&reply).strip_prefix(text).unwrap();
        let (waited, size) = rest.split_once("ms, size of queue: ").unwrap();
        assert!(waited.parse::<u64>().unwrap() >= 50, "{rest}");
        assert_eq!(size, (3 - expected).to_string());
    }
    assert_eq!(scene.queued(), 0);
    scene.open_door();
    assert_eq!(peer.answer().1.code, 0, "what has begun is finished");
}

#[test]
fn workers_are_added_while_others_are_stuck() {
    let scene = Scene::new(7, 100, None);
    let mut peer = scene.connect(Port::Main);
    peer.send(&[BLOCK, BLOCK, BLOCK, BLOCK, BLOCK, BLOCK, ECHO]);
    assert_eq!(peer.answer().0, 6);
    (0..6).for_each(|_| scene.open_door());
    let mut places: Vec<usize> = (0..6).map(|_| peer.answer().0).collect();
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_reactor_does_small_work_and_is_relieved_when_stuck() {
    let scene = Scene::new(2, 100, None);
    let mut peer = scene.connect(Port::Main);
    let on_reactor = |peer: &mut Peer| remark(&peer.ask(WHERE)).starts_with("reactor-");
    eventually(|| on_reactor(&mut peer));
    let mut stuck = scene.connect(Port::Main);
    stuck.send(&[BLOCK]);
    scene.blocked();
    assert_eq!(remark(&peer.ask(WHERE)), "send-0", "nobody else is there to lead");
    assert_eq!(scene.connect(Port::Main).ask(ECHO).code, 0);
    scene.open_door();
    assert_eq!(stuck.answer().1.code, 0);
    eventually(|| on_reactor(&mut peer));
}

#[test]
fn a_busy_pool_is_cleaned() {
    let scene = Scene::new(1, 100, None);
    let busy = Arc::new(AtomicBool::new(false));
    let says = busy.clone();
    scene.dispatcher.clean_when(Of::Send, move || says.load(Ordering::SeqCst));
    let mut peer = scene.connect(Port::Main);
    peer.send(&[BLOCK]);
    scene.blocked();
    peer.send(&[ECHO, ECHO]);
    eventually(|| scene.queued() == 2);
    let stats = scene.dispatcher.pool_stats("send").unwrap();
    assert_eq!((stats.queued, stats.capacity), (2, 100));
    eventually(|| scene.dispatcher.pool_stats("send").unwrap().head_wait_ms > 0);
    busy.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let reply = peer.answer().1;
        assert!(
            remark(&reply).starts_with("[PCBUSY_CLEAN_QUEUE]broker busy"),
            "{:?}",
            reply.remark
        );
    }
    scene.open_door();
    peer.answer();
}

#[test]
fn requests_are_shown_a_few_at_once_before_they_are_handled() {
    let scene = Scene::new(1, 100, None);
    let shown = Arc::new(Mutex::new(Vec::new()));
    let look = shown.clone();
    scene.dispatcher.look_ahead(Of::Send, move |requests| {
        look.lock().unwrap().push(requests.map(|request| request.command.opaque).collect());
    });
    let mut peer = scene.connect(Port::Main);
    peer.send(&[ECHO; 40]);
    (0..40).for_each(|_| assert_eq!(peer.answer().1.code, 0));
    let shown: Vec<Vec<i32>> = shown.lock().unwrap().clone();
    assert!(shown.iter().all(|some| some.len() <= 16), "{shown:?}");
    let all: std::collections::BTreeSet<i32> = shown.into_iter().flatten().collect();
    assert_eq!(all.len(), 40);
}

#[test]
fn stopping_answers_what_is_queued() {
    let scene = Scene::new(1, 100, None);
    let mut peer = scene.connect(Port::Main);
    peer.send(&[BLOCK]);
    scene.blocked();
    peer.send(&[ECHO, ECHO, ECHO]);
    eventually(|| scene.queued() == 3);
    scene.open_door();
    scene.server.stop();
    let places: Vec<usize> = (0..4).map(|_| peer.answer().0).collect();
    assert_eq!(places, [0, 1, 2, 3]);
    assert_eq!(peer.socket.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(scene.dispatcher.pool_stats("other").unwrap().queued, 0);
    assert!(scene.dispatcher.pool_stats("none").is_none());
}
