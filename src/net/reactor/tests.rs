//! In which order a reactor sees to its connections, by a clock that the tests set.

use std::io::Write;
use std::net::TcpListener;

use super::*;
use crate::base::limits::OUTBOX_SOFT_BYTES;
use crate::net::{Request, Taken};
use crate::protocol::Command;

/// Tells which connection's turn it was.
#[derive(Default)]
struct Crowd {
    crowded: AtomicBool,
    read: Mutex<Vec<usize>>,
    refused: Mutex<Vec<usize>>,
    gone: AtomicUsize,
}

impl Service for Crowd {
    fn requests(&self, batch: Vec<Request>, _: bool) -> Taken {
        self.read.lock().unwrap().push(batch[0].conn.id() as usize);
        Taken { left: false, crowds: self.is_crowded() }
    }

    fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::SeqCst)
    }

    fn turns_away(&self, _: &Command, conn: &Arc<Conn>) -> bool {
        self.refused.lock().unwrap().push(conn.id() as usize);
        true
    }

    fn closed(&self, _: &Arc<Conn>) {
        self.gone.fetch_add(1, Ordering::SeqCst);
    }
}

/// A reactor that no thread leads, with connections 0, 1 ... and their other ends.
struct Stage {
    reactor: Reactor,
    service: Arc<Crowd>,
    sockets: Vec<Arc<TcpStream>>,
    peers: Vec<std::net::TcpStream>,
    began: Instant,
}

impl Stage {
    fn new(connections: usize) -> Stage {
        let (remote, poll) = Remote::new(1).unwrap();
        let (remote, service) = (Arc::new(remote), Arc::<Crowd>::default());
        let limits = Limits::new(120);
        let mut reactor = Reactor::new(poll, remote.clone(), limits, service.clone());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut sockets, mut peers) = (Vec::new(), Vec::new());
        for id in 0..connections {
            peers.push(std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let (socket, peer) = listener.accept().unwrap();
            socket.set_nonblocking(true).unwrap();
            let socket = Arc::new(TcpStream::from_std(socket));
            let conn = Conn::new(id as u64, peer, Port::Main, socket.clone(), remote.clone());
            remote.load.fetch_add(1, Ordering::Relaxed);
            reactor.links.insert(Token(id), Link::new(conn, socket.clone(), None));
            sockets.push(socket);
        }
        let began = reactor.now;
        Stage { reactor, service, sockets, peers, began }
    }

    /// All of them rest, with nothing in their sockets.
    fn crowded(connections: usize) -> Stage {
        let mut stage = Stage::new(connections);
        stage.service.crowded.store(true, Ordering::SeqCst);
        (0..connections).for_each(|id| stage.reactor.rest(Token(id)));
        stage
    }

    fn at(&mut self, ms: u64) -> &mut Reactor {
        self.reactor.now = self.began + Duration::from_millis(ms);
        &mut self.reactor
    }

    /// A request comes on a connection, and the reactor is told.
    fn comes(&mut self, id: usize, ms: u64) {
        let mut bytes = Vec::new();
        crate::protocol::frame::encode_head(&Command::request(1), &mut bytes);
        self.part_comes(id, &bytes, ms);
    }

    /// Bytes come on a connection, and the reactor is told.
    fn part_comes(&mut self, id: usize, bytes: &[u8], ms: u64) {
        self.peers[id].write_all(bytes).unwrap();
        // That the socket has it may take the kernel a moment.
        while crate::sys::net::unread(&*self.sockets[id]).unwrap() < bytes.len() {
            std::thread::yield_now();
        }
        self.at(ms).read(Token(id), false);
    }

    fn read(&self) -> Vec<usize> {
        self.service.read.lock().unwrap().clone()
    }

    fn refused(&self) -> Vec<usize> {
        self.service.refused.lock().unwrap().clone()
    }
}

#[test]
fn a_frame_that_is_not_read_need_not_be_complete() {
    let mut stage = Stage::new(1);
    stage.reactor.limits.stall = Duration::from_secs(1000);
    let frame = FRAME_TIME.as_millis() as u64;
    let mut bytes = Vec::new();
    crate::protocol::frame::encode_head(&Command::request(1), &mut bytes);
    let (first, rest) = bytes.split_at(20);
    stage.part_comes(0, first, 0);

    let conn = stage.reactor.links[&Token(0)].conn.clone();
    let mut answer = Command::request(1);
    answer.body = vec![0; OUTBOX_SOFT_BYTES];
    while !conn.is_choked() {
        conn.send(answer.clone());
    }
    stage.part_comes(0, rest, 1);
    stage.at(frame + 1).sweep();
    assert_eq!(stage.reactor.links.len(), 1, "it is this side that does not read");

    let mut peer = stage.peers[0].try_clone().unwrap();
    let reads = thread::spawn("peer", move || {
        std::io::copy(&mut peer, &mut std::io::sink()).unwrap();
    })
    .unwrap();
    while conn.has_output() {
        conn.writable();
    }
    stage.at(frame + 2).read(Token(0), false);
    assert_eq!(stage.read(), [0]);
    stage.part_comes(0, first, frame + 3);
    stage.at(frame * 2 + 2).sweep();
    assert_eq!(stage.reactor.links.len(), 1, "it has had less than its time");
    stage.reactor.next_sweep = stage.began;
    stage.at(frame * 2 + 3).sweep();
    assert!(stage.reactor.links.is_empty(), "now it is the peer that does not send");
    reads.join();
}

#[test]
fn what_has_waited_longest_is_read_first() {
    let mut stage = Stage::crowded(4);
    for (id, ms) in [(2, 1), (0, 2), (1, 3)] {
        stage.comes(id, ms);
    }
    stage.at(4).end_rests();
    assert!(stage.read().is_empty(), "it is crowded");
    stage.service.crowded.store(false, Ordering::SeqCst);
    stage.at(5).end_rests();
    assert_eq!(stage.read(), [2, 0, 1]);
}

#[test]
fn what_has_waited_too_long_is_refused_the_longest_first() {
    let mut stage = Stage::crowded(4);
    for (id, ms) in [(2, 10), (0, 20), (1, 30)] {
        stage.comes(id, ms);
    }
    let rest = CROWDED_REST.as_millis() as u64;
    stage.at(rest + 9).end_rests();
    assert!(stage.refused().is_empty(), "none is late");
    stage.at(rest + 15).end_rests();
    assert_eq!(stage.refused(), [2]);
    // However long each has taken, the time without refusals is over.
    for ms in [100_000, 200_000, 300_000] {
        stage.at(ms).end_rests();
    }
    assert_eq!(stage.refused(), [2, 0, 1]);
    assert!(stage.read().is_empty());
}

#[test]
fn who_is_late_is_found_among_many_at_rest() {
    let many = LOOKS * 2 + 1;
    let mut stage = Stage::crowded(many);
    stage.comes(many - 1, 1);
    for turn in 0..3 {
        stage.at(1000 + turn).end_rests();
    }
    assert_eq!(stage.refused(), [many - 1]);
}

#[test]
fn one_is_refused_and_then_none_for_a_while() {
    let mut stage = Stage::crowded(2);
    stage.comes(0, 1);
    stage.comes(1, 2);
    // Nothing is to be made up for.
    stage.reactor.refuse_at = stage.began + Duration::from_secs(100);
    stage.at(99_999).end_rests();
    assert!(stage.refused().is_empty());
    stage.at(100_000).end_rests();
    assert_eq!(stage.refused(), [0]);
    stage.at(100_000).end_rests();
    assert_eq!(stage.refused(), [0], "no time has passed");
    stage.reactor.now = stage.reactor.refuse_at;
    stage.reactor.end_rests();
    assert_eq!(stage.refused(), [0, 1]);
}

#[test]
fn connections_that_have_gone_are_let_go_of_in_turns() {
    let count = ENDS_PER_TURN * 2 + 1;
    let mut stage = Stage::new(count);
    stage.peers.clear();
    for socket in &stage.sockets {
        while !matches!(socket.peek(&mut [0]), Ok(0)) {
            std::thread::yield_now();
        }
    }
    stage.reactor.ends = (0..count).map(Token).collect();
    let gone = stage.service.clone();
    let gone = || gone.gone.load(Ordering::SeqCst);
    stage.reactor.see_ends();
    assert_eq!(gone(), ENDS_PER_TURN);
    // No time has passed, so it is not over yet, however short this turn was.
    stage.reactor.see_ends();
    assert_eq!(gone(), ENDS_PER_TURN, "others come first");
    let pause = stage.reactor.ends_at - stage.reactor.now;
    stage.reactor.now += pause - Duration::from_nanos(1);
    stage.reactor.see_ends();
    assert_eq!(gone(), ENDS_PER_TURN);
    for turns in 2..=3 {
        stage.reactor.now = stage.reactor.ends_at;
        stage.reactor.see_ends();
        assert_eq!(gone(), count.min(ENDS_PER_TURN * turns));
    }
}
