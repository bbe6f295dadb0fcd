//! One I/O thread: it waits for its sockets, reads from them and lets go of them.
//!
//! A turn of the loop takes the new connections in, reads from every socket that has something to
//! read, cuts all complete frames and hands the requests of each connection over in one batch.
//! Replies do not pass here, except those of connections whose socket was full (`Conn`).

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use super::input::Turn;
use super::lead::Lead;
use super::link::{Link, Work};
use super::spin::Spin;
use super::{Conn, Port, Service};
use crate::base::error::IoContext;
use crate::base::limits::{
    CLIENT_CALLS_MAX, CONNECTIONS_MAX, CROWDED_REST, FRAME_TIME, HALF_FRAMES_BYTES, OUTBOX_STALL,
    STOP_FLUSH,
};
use crate::base::{Error, Result, thread};

/// The buffer that all connections of a reactor are read into.
const READ_BYTES: usize = 128 * 1024;
/// Reads from one connection before the others get their turn.
const READS_PER_TURN: usize = 8;
/// New connections that are taken in before the others get their turn.
const NEW_PER_TURN: usize = 64;
/// Connections whose peer has gone that are seen to before the others get their turn.
const ENDS_PER_TURN: usize = 8;
/// Connections that rest of which the one is found that has waited longest.
const LOOKS: usize = 16;
/// How often deadlines of our own requests are looked at while there are any.
const DEADLINE_PERIOD: Duration = Duration::from_millis(100);
/// How often a stopping reactor looks whether everything has left.
const STOP_PERIOD: Duration = Duration::from_millis(10);
/// Seeing to them is followed by so many times as long without it.
const ENDS_PAUSE: u32 = 4;
/// How often it is looked at whether connections have rested enough, and are to be let go of.
const REST_PERIOD: Duration = Duration::from_millis(1);
/// Reading from connections that rest, to refuse what they send, is followed by so many times as
/// long without it.
const REFUSING_PAUSE: u32 = 12;
/// The same when there is no room at all: then nothing else needs the time.
const STUCK_PAUSE: u32 = 1;
/// For so long the time in which nothing was refused is made up for.
const REFUSING_CREDIT: Duration = Duration::from_millis(10);
/// How long threads may take to end once their reactor has ended.
const STUCK_TIME: Duration = Duration::from_secs(1);
/// The token of the waker; connections use their ids, which begin at 1.
const WAKER: Token = Token(0);

/// What one server or client allows its peers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A connection is closed when nothing came and nothing went for so long.
    pub idle: Duration,
    /// It is closed when a frame is not complete so long after it has begun.
    pub frame: Duration,
    /// It is closed when bytes wait and the peer takes none for so long.
    pub stall: Duration,
    /// What connections that rest have sent is refused when it has waited for so long.
    pub rest: Duration,
    /// Memory for incomplete frames over all connections.
    pub half_frames: usize,
    /// Connections of one listener.
    pub connections: usize,
    /// Calls of a server to its clients that are under way.
    pub calls: i32,
    /// A reactor looks for news for so long before it sleeps, while that pays; zero: never.
    pub spin: Duration,
}

impl Limits {
    /// The program's limits, and the configured idle time in seconds.
    pub fn new(idle_seconds: i32) -> Limits {
        let seconds = u64::try_from(idle_seconds).unwrap_or(0).max(1);
        Limits {
            idle: Duration::from_secs(seconds),
            frame: FRAME_TIME,
            stall: OUTBOX_STALL,
            rest: CROWDED_REST,
            half_frames: HALF_FRAMES_BYTES,
            connections: CONNECTIONS_MAX,
            calls: CLIENT_CALLS_MAX,
            spin: Duration::ZERO,
        }
    }
}

/// How far a reactor has got with stopping.
mod phase {
    pub const RUN: u8 = 0;
    /// Nothing is read any more.
    pub const QUIET: u8 = 1;
    /// What waits is sent, then everything is closed.
    pub const END: u8 = 2;
}

/// What other threads know of a reactor.
pub struct Remote {
    waker: Waker,
    registry: Registry,
    /// Connections to take in; `None` when the reactor has ended.
    inbox: Mutex<Option<Vec<Link>>>,
    phase: AtomicU8,
    /// Connections it has.
    load: AtomicUsize,
    /// It looks at deadlines.
    ticking: AtomicBool,
    /// Bytes of memory held for what waits to leave.
    waiting: AtomicUsize,
    /// Reactors that share the limits.
    share: usize,
}

impl Remote {
    pub fn new(share: usize) -> io::Result<(Remote, Poll)> {
        let poll = Poll::new()?;
        let remote = Remote {
            waker: Waker::new(poll.registry(), WAKER)?,
            registry: poll.registry().try_clone()?,
            inbox: Mutex::new(Some(Vec::new())),
            phase: AtomicU8::new(phase::RUN),
            load: AtomicUsize::new(0),
            ticking: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            share,
        };
        Ok((remote, poll))
    }

    /// Makes sure that deadlines are looked at.
    pub fn watch_deadlines(&self) {
        if !self.ticking.swap(true, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Replaces `was` by `is` in the account of bytes that wait; returns their sum.
    pub fn account(&self, was: usize, is: usize) -> usize {
        if was == is {
            return self.waiting.load(Ordering::Relaxed);
        }
        let before = self.waiting.fetch_add(is.wrapping_sub(was), Ordering::Relaxed);
        before.wrapping_add(is).wrapping_sub(was)
    }

    /// Reactors that share the limits with this one.
    pub fn share(&self) -> usize {
        self.share
    }

    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!(target: "remoting", "wake a reactor: {error}");
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Option<Vec<Link>>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the connections of a listener.
pub struct Seat {
    taken: Arc<AtomicUsize>,
}

impl Seat {
    /// A place if one of `limit` is free.
    pub fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Option<Seat> {
        let seat = Seat { taken: taken.clone() };
        (taken.fetch_add(1, Ordering::Relaxed) < limit).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The reactors of a server or a client.
pub struct Reactors {
    remotes: Vec<Arc<Remote>>,
    leads: Vec<Arc<Lead<Box<Reactor>>>>,
    threads: Mutex<Vec<thread::Handle>>,
    service: Arc<dyn Service>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Reactors {
    /// Starts `count` threads named after `name`.
    pub fn start(
        name: &str,
        count: usize,
        limits: Limits,
        service: Arc<dyn Service>,
    ) -> Result<Reactors> {
        let threads = Mutex::default();
        let mut reactors = Reactors { remotes: Vec::new(), leads: Vec::new(), threads, service };
        for index in 0..count {
            let (remote, poll) = Remote::new(count).what(|| "create a reactor".to_string())?;
            let remote = Arc::new(remote);
            let reactor = Reactor::new(poll, remote.clone(), limits, reactors.service.clone());
            let lead = Lead::new(Box::new(reactor));
            reactors.remotes.push(remote);
            for spare in ["", "-spare"].iter().take(1 + usize::from(reactors.service.works())) {
                let own = lead.clone();
                let thread = thread::spawn(&format!("{name}-{index}{spare}"), move || run(&own))?;
                reactors.threads().push(thread);
                // Once, and only when a thread is there that will end it.
                if spare.is_empty() {
                    reactors.leads.push(lead.clone());
                }
            }
        }
        Ok(reactors)
    }

    /// Takes a connected socket in, on the reactor that has the fewest.
    pub fn adopt(
        &self,
        mut socket: TcpStream,
        peer: SocketAddr,
        port: Port,
        seat: Option<Seat>,
    ) -> io::Result<Arc<Conn>> {
        let load = |remote: &&Arc<Remote>| remote.load.load(Ordering::Relaxed);
        let Some(remote) = self.remotes.iter().min_by_key(load) else {
            return Err(ErrorKind::NotConnected.into());
        };
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        // Both interests for good: a full socket announces itself when it has room again.
        let interest = Interest::READABLE | Interest::WRITABLE;
        remote.registry.register(&mut socket, Token(id as usize), interest)?;
        let socket = Arc::new(socket);
        let conn = Conn::new(id, peer, port, socket.clone(), remote.clone());
        let link = Link::new(conn.clone(), socket, seat);
        match remote.inbox().as_mut() {
            Some(inbox) => inbox.push(link),
            None => return Err(ErrorKind::NotConnected.into()),
        }
        remote.load.fetch_add(1, Ordering::Relaxed);
        remote.wake();
        Ok(conn)
    }

    /// Reads no more, lets the service answer what it has, sends that and closes everything.
    pub fn stop(&self) {
        self.remotes.iter().for_each(|remote| remote.enter(phase::QUIET));
        self.service.drain();
        self.remotes.iter().for_each(|remote| remote.enter(phase::END));
        let threads = std::mem::take(&mut *self.threads());
        if threads.is_empty() {
            return;
        }
        self.leads.iter().for_each(|lead| lead.wait_end());
        // One that is stuck in what it was lent for is left behind, as the stuck workers are.
        let until = Instant::now() + STUCK_TIME;
        threads.into_iter().for_each(|thread| thread.join_until(until));
    }

    fn threads(&self) -> MutexGuard<'_, Vec<thread::Handle>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reactors {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The life of a thread that leads a reactor, or waits until it has to.
fn run(lead: &Lead<Box<Reactor>>) {
    let _ends = lead.end_on_panic();
    let mut events = Events::with_capacity(1024);
    while let Some(mut reactor) = lead.wait() {
        loop {
            ON_REACTOR.set(true);
            reactor.work.may_leave = lead.has_spare();
            reactor.work.left = false;
            if !reactor.turn(&mut events) {
                reactor.close_all();
                return lead.end();
            }
            if !reactor.work.left {
                continue;
            }
            let service = reactor.service.clone();
            ON_REACTOR.set(false);
            lead.lend(reactor);
            service.work(lead.relief());
            match lead.take_back() {
                Some(back) => reactor = back,
                None => break,
            }
        }
    }
}

thread_local! {
    static ON_REACTOR: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is a reactor, which must not wait for anything.
pub fn on_reactor() -> bool {
    ON_REACTOR.get()
}

struct Reactor {
    poll: Poll,
    remote: Arc<Remote>,
    service: Arc<dyn Service>,
    limits: Limits,
    links: HashMap<Token, Link>,
    buffer: Vec<u8>,
    /// Bytes held for incomplete frames.
    held: usize,
    /// Connections whose socket may not be empty yet.
    again: Vec<Token>,
    /// Those whose peer has gone: when thousands go at once, the others do not wait for that.
    ends: VecDeque<Token>,
    /// When some of them may be seen to.
    ends_at: Instant,
    /// Those that rest, the one that has rested longest first.
    resting: VecDeque<Token>,
    /// When there was room for them.
    room_at: Instant,
    /// When what they send may be refused again.
    refuse_at: Instant,
    work: Work,
    now: Instant,
    next_expire: Instant,
    next_sweep: Instant,
    end_by: Option<Instant>,
    spin: Spin,
}

impl Reactor {
    fn new(poll: Poll, remote: Arc<Remote>, limits: Limits, service: Arc<dyn Service>) -> Reactor {
        let now = Instant::now();
        Reactor {
            poll,
            remote,
            service,
            limits,
            links: HashMap::new(),
            buffer: vec![0; READ_BYTES],
            held: 0,
            again: Vec::new(),
            ends: VecDeque::new(),
            ends_at: now,
            resting: VecDeque::new(),
            room_at: now,
            refuse_at: now,
            work: Work::default(),
            now,
            next_expire: now,
            next_sweep: now,
            end_by: None,
            spin: Spin::new(limits.spin, now),
        }
    }

    /// Waits for news and sees to all of it. False when the reactor has ended.
    fn turn(&mut self, events: &mut Events) -> bool {
        match self.wait(events) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) => {
                log::error!(target: "remoting", "a reactor ends: poll: {error}");
                return false;
            }
        }
        self.now = Instant::now();
        self.take_in();
        let again = std::mem::take(&mut self.again);
        // Before those that have rested less or not at all.
        self.end_rests();
        events.iter().for_each(|event| self.ready(event));
        again.into_iter().for_each(|token| self.read(token, false));
        self.see_ends();
        self.expire();
        self.sweep();
        !self.ended()
    }

    /// Waits for news, awake at first if that pays.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let pause = self.pause();
        let requests = std::mem::take(&mut self.work.requests);
        if self.spin.looks(self.now, requests) && pause != Some(Duration::ZERO) {
            let began = Instant::now();
            while began.elapsed() < self.spin.limit {
                self.poll.poll(events, Some(Duration::ZERO))?;
                if !events.is_empty() {
                    self.spin.looked(self.now, true);
                    return Ok(());
                }
                // The client may be about to run here.
                std::thread::yield_now();
            }
            self.spin.looked(self.now, false);
        }
        self.poll.poll(events, pause)
    }

    /// How long there is nothing to do unless a socket has news.
    fn pause(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        if !(self.resting.is_empty() && self.ends.is_empty()) {
            return Some(REST_PERIOD);
        }
        if self.remote.phase.load(Ordering::SeqCst) == phase::END {
            return Some(STOP_PERIOD);
        }
        if self.remote.ticking.load(Ordering::SeqCst) {
            return Some(self.next_expire.saturating_duration_since(self.now));
        }
        (!self.links.is_empty()).then(|| self.next_sweep.saturating_duration_since(self.now))
    }

    /// Takes in what `Reactors::adopt` has left, of a burst only the first. News may have come
    /// before: it reads at once.
    fn take_in(&mut self) {
        let new: Vec<Link> = match self.remote.inbox().as_mut() {
            Some(inbox) if !inbox.is_empty() => {
                let more = inbox.split_off(NEW_PER_TURN.min(inbox.len()));
                if !more.is_empty() {
                    self.remote.wake();
                }
                std::mem::replace(inbox, more)
            }
            _ => return,
        };
        for link in new {
            let token = Token(link.conn.id() as usize);
            self.service.connected(&link.conn);
            link.conn.writable();
            self.links.insert(token, link);
            self.read(token, false);
        }
    }

    fn ready(&mut self, event: &Event) {
        let Some(link) = self.links.get_mut(&event.token()) else { return };
        if event.is_writable() {
            link.conn.writable();
        }
        link.ending |= event.is_read_closed();
        let resume = link.paused && !link.conn.is_choked();
        if link.paused && !resume && (event.is_error() || event.is_write_closed()) {
            self.close(event.token(), "reset by the peer");
        } else if event.is_read_closed() && !std::mem::replace(&mut link.ended, true) {
            self.ends.push_back(event.token());
        } else if resume || event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(event.token(), false);
        }
    }

    /// Lets go of some whose peer has gone, and then of none for a while: others may need the
    /// processor, which the kernel would take away only after milliseconds.
    fn see_ends(&mut self) {
        if self.ends.is_empty() || self.now < self.ends_at {
            return;
        }
        let began = Instant::now();
        for token in self.ends.drain(..ENDS_PER_TURN.min(self.ends.len())).collect::<Vec<_>>() {
            self.read(token, false);
        }
        self.ends_at = self.now + began.elapsed() * ENDS_PAUSE;
    }

    /// Reads from those that rest, what has waited longest first, as long as there is room; to
    /// refuse what they send if that has waited for too long, and if it leaves enough time for the
    /// others' requests.
    fn end_rests(&mut self) {
        let (now, rest) = (self.now, self.limits.rest);
        let stuck = now.saturating_duration_since(self.room_at) >= rest;
        let pause = if stuck { STUCK_PAUSE } else { REFUSING_PAUSE };
        for _ in 0..self.resting.len() {
            let refusing = self.service.is_crowded();
            if !refusing {
                self.room_at = now;
            } else if self.refuse_at > now {
                return;
            }
            let Some(token) = self.waits_longest() else { return };
            let Some(link) = self.links.get_mut(&token) else { continue };
            if refusing && !link.is_late(now, rest) {
                // The next look is at others.
                self.resting.push_front(token);
                return self.resting.rotate_left(LOOKS.min(self.resting.len()));
            }
            link.resting = false;
            let began = Instant::now();
            self.read(token, refusing);
            if refusing {
                let made_up = now.checked_sub(REFUSING_CREDIT).unwrap_or(now);
                self.refuse_at = self.refuse_at.max(made_up) + began.elapsed() * pause;
            }
        }
    }

    /// Takes one out of those that rest: of the first of them the one that has waited longest.
    fn waits_longest(&mut self) -> Option<Token> {
        let since = |token: &Token| {
            let link = self.links.get(token)?;
            Some(link.mark.as_ref().map_or(self.now, |mark| mark.since))
        };
        let first = self.resting.iter().take(LOOKS).enumerate();
        let (at, _) = first.min_by_key(|(_, token)| since(token))?;
        self.resting.remove(at)
    }

    /// A connection rests.
    fn rest(&mut self, token: Token) {
        if let Some(link) = self.links.get_mut(&token) {
            link.resting = true;
            link.held_up = true;
            link.look(self.now, false);
        }
        self.resting.push_back(token);
    }

    /// Reads until the socket is empty, the outbox is full, the connection is to rest or others
    /// must have their turn.
    fn read(&mut self, token: Token, refusing: bool) {
        for _ in 0..READS_PER_TURN {
            let Some(link) = self.links.get_mut(&token) else { return };
            let quiet = self.remote.phase.load(Ordering::Relaxed) != phase::RUN;
            link.paused = quiet || link.conn.is_choked();
            if link.resting {
                link.look(self.now, true);
            }
            if link.paused || link.resting {
                link.held_up = true;
                return;
            }
            if std::mem::take(&mut link.held_up) {
                link.input.reads_on(self.now);
            }
            let before = link.input.held();
            let turn = catch_unwind(AssertUnwindSafe(|| {
                link.read(&mut self.buffer, self.now, &*self.service, &mut self.work, refusing)
            }));
            self.held = self.held + link.input.held() - before;
            match turn {
                Ok(Ok(Turn::More | Turn::Drained)) if link.resting => {
                    if self.resting.is_empty() {
                        self.room_at = self.now;
                    }
                    self.rest(token);
                    return self.check_held();
                }
                Ok(Ok(Turn::More)) if refusing && !link.is_late(self.now, self.limits.rest) => {
                    break;
                }
                Ok(Ok(Turn::More)) => {}
                Ok(Ok(Turn::Drained)) if std::mem::take(&mut link.ending) => {}
                Ok(Ok(Turn::Drained)) => return self.check_held(),
                Ok(Ok(Turn::End)) => return self.close(token, "closed by the peer"),
                Ok(Err(Error::Protocol(text))) => {
                    log::warn!(target: "remoting", "{}: {text}", link.conn.peer());
                    return self.close(token, "what it sends is no frame");
                }
                Ok(Err(_)) => return self.close(token, "reset by the peer"),
                Err(_) => return self.close(token, "a panic"),
            }
        }
        match refusing {
            true => self.rest(token),
            false => self.again.push(token),
        }
        self.check_held();
    }

    /// Keeps the memory of incomplete frames bounded, at the cost of the slowest sender.
    fn check_held(&mut self) {
        while self.held > self.limits.half_frames / self.remote.share {
            let halves = self.links.iter().filter(|(_, link)| link.input.since().is_some());
            let oldest = halves.min_by_key(|(_, link)| link.input.since());
            let Some(token) = oldest.map(|(token, _)| *token) else { return };
            self.close(token, "too much memory for frames that are not complete");
        }
    }

    /// Fails requests of ours that have waited too long.
    fn expire(&mut self) {
        if self.now < self.next_expire || !self.remote.ticking.load(Ordering::SeqCst) {
            return;
        }
        self.next_expire = self.now + DEADLINE_PERIOD;
        // First the flag, then the tables: what is added meanwhile sets it again.
        self.remote.ticking.store(false, Ordering::SeqCst);
        let mut more = false;
        for link in self.links.values() {
            more |= link.conn.pending().expire(self.now, link.conn.peer());
        }
        if more {
            self.remote.ticking.store(true, Ordering::SeqCst);
        }
    }

    /// Closes what has been idle, stuck or half open for too long.
    fn sweep(&mut self) {
        if self.now < self.next_sweep {
            return;
        }
        let shortest = self.limits.idle.min(self.limits.frame).min(self.limits.stall);
        let period = (shortest / 16).clamp(Duration::from_millis(50), Duration::from_secs(5));
        self.next_sweep = self.now + period;
        let mut doomed = Vec::new();
        for (token, link) in &mut self.links {
            if let Some(reason) = link.overdue(self.now, &self.limits) {
                doomed.push((*token, reason));
            }
        }
        doomed.into_iter().for_each(|(token, reason)| self.close(token, reason));
    }

    /// Whether the reactor has stopped and everything has left, or has had its time.
    fn ended(&mut self) -> bool {
        if self.remote.phase.load(Ordering::SeqCst) != phase::END {
            return false;
        }
        let end_by = *self.end_by.get_or_insert(self.now + STOP_FLUSH);
        self.links.values().for_each(|link| link.conn.writable());
        self.now >= end_by || !self.links.values().any(|link| link.conn.has_output())
    }

    fn close(&mut self, token: Token, reason: &'static str) {
        let Some(link) = self.links.remove(&token) else { return };
        self.held -= link.input.held();
        self.remote.load.fetch_sub(1, Ordering::Relaxed);
        let reason = link.conn.release(reason);
        log::debug!(target: "remoting", "connection {} closed: {reason}", link.conn.peer());
        self.service.closed(&link.conn);
    }

    fn close_all(mut self) {
        let late = self.remote.inbox().take();
        for link in late.into_iter().flatten() {
            link.conn.release("this side stops");
        }
        let tokens: Vec<Token> = self.links.keys().copied().collect();
        tokens.into_iter().for_each(|token| self.close(token, "this side stops"));
    }
}

#[cfg(test)]
mod tests;
