//! The closed loop: every connection keeps a number of requests under way.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::template::{self, Template};
use super::{Kind, Settings};
use crate::base::error::IoContext;
use crate::base::{Error, Result, thread};

/// How often a thread without answers looks whether the run has ended.
const TICK: Duration = Duration::from_millis(50);
const READ_BYTES: usize = 1024 * 1024;
/// Longest latency told apart: one minute in ns. Longer ones count as this.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// What was measured, all threads together.
pub struct Outcome {
    pub seconds: f64,
    /// Messages sent or received with success.
    pub messages: u64,
    /// Body bytes of a send, bytes of stored records of a pull.
    pub bytes: u64,
    pub refused: u64,
    /// Code of the last refused request.
    pub refused_code: i32,
    /// Nanoseconds from request to answer, successful requests only.
    pub latency: Histogram<u64>,
}

struct Shared {
    measuring: AtomicBool,
    stop: AtomicBool,
    sequence: AtomicU64,
}

/// Running load.
pub struct Load {
    shared: Arc<Shared>,
    handles: Vec<thread::Handle>,
    results: crossbeam::channel::Receiver<Result<Outcome>>,
    threads: usize,
    started: std::cell::Cell<Option<Instant>>,
    seconds: std::cell::Cell<f64>,
}

impl Load {
    /// Connects and begins to send, not yet measuring.
    pub fn start(settings: &Settings) -> Result<Load> {
        let shared = Arc::new(Shared {
            measuring: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sequence: AtomicU64::new(0),
        });
        let (sender, results) = crossbeam::channel::bounded(settings.threads);
        let mut handles = Vec::new();
        for index in 0..settings.threads {
            let (settings, shared, sender) = (settings.clone(), shared.clone(), sender.clone());
            handles.push(thread::spawn(&format!("load-{index}"), move || {
                let outcome = Worker::new(&settings, &shared, index).and_then(Worker::run);
                let _ = sender.send(outcome);
            })?);
        }
        let threads = settings.threads;
        let (started, seconds) = (Default::default(), Default::default());
        Ok(Load { shared, handles, results, threads, started, seconds })
    }

    /// Lets the load run for a while and begins to measure.
    pub fn measure_after(&self, warmup: Duration) {
        std::thread::sleep(warmup);
        self.started.set(Some(Instant::now()));
        self.shared.measuring.store(true, Ordering::Relaxed);
    }

    /// Measures for a while, or until a thread failed.
    pub fn run_for(&self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end && self.results.is_empty() {
            std::thread::sleep(TICK.min(end.saturating_duration_since(Instant::now())));
        }
        self.shared.measuring.store(false, Ordering::Relaxed);
        if let Some(started) = self.started.get() {
            self.seconds.set(started.elapsed().as_secs_f64());
        }
    }

    /// Ends the load and adds up.
    pub fn finish(self) -> Result<Outcome> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut total = Outcome::new()?;
        total.seconds = self.seconds.get();
        for _ in 0..self.threads {
            let part = self
                .results
                .recv()
                .map_err(|_| Error::Timeout("a load thread ended without a result".into()))??;
            total.add(&part)?;
        }
        for handle in self.handles {
            handle.join();
        }
        Ok(total)
    }
}

impl Outcome {
    fn new() -> Result<Outcome> {
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3)
            .map_err(|error| Error::Config(error.to_string()))?;
        Ok(Outcome { seconds: 0.0, messages: 0, bytes: 0, refused: 0, refused_code: 0, latency })
    }

    fn add(&mut self, part: &Outcome) -> Result<()> {
        self.messages += part.messages;
        self.bytes += part.bytes;
        self.refused += part.refused;
        if part.refused > 0 {
            self.refused_code = part.refused_code;
        }
        self.latency.add(&part.latency).map_err(|error| Error::Config(error.to_string()))
    }
}

/// One thread and its connections.
struct Worker<'a> {
    settings: &'a Settings,
    shared: &'a Shared,
    poll: Poll,
    connections: Vec<Connection>,
    templates: Vec<Template>,
    outcome: Outcome,
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    out: Vec<u8>,
    /// When the request of each slot was written.
    sent: Vec<Instant>,
    /// The queue each slot works on, and its next offset.
    queue: Vec<usize>,
    offset: Vec<u64>,
}

impl<'a> Worker<'a> {
    fn new(settings: &'a Settings, shared: &'a Shared, index: usize) -> Result<Worker<'a>> {
        let poll = Poll::new().what(|| "make an epoll".into())?;
        let mut connections = Vec::new();
        for number in (index..settings.connections).step_by(settings.threads) {
            connections.push(Connection::open(settings, number)?);
            let token = Token(connections.len() - 1);
            let stream = &mut connections[token.0].stream;
            poll.registry()
                .register(stream, token, Interest::READABLE | Interest::WRITABLE)
                .what(|| "register a connection".into())?;
        }
        let templates = (0..settings.queues)
            .map(|queue| Template::new(settings, queue))
            .collect::<Result<_>>()?;
        let outcome = Outcome::new()?;
        let buffer = vec![0; READ_BYTES];
        Ok(Worker { settings, shared, poll, connections, templates, outcome, buffer })
    }

    fn run(mut self) -> Result<Outcome> {
        for index in 0..self.connections.len() {
            for slot in 0..self.settings.inflight {
                self.request(index, slot);
            }
            self.connections[index].write()?;
        }
        let mut events = Events::with_capacity(1024);
        while !self.shared.stop.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(TICK)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.what(|| "wait for answers".into())?,
            }
            for event in &events {
                let index = event.token().0;
                if event.is_readable() {
                    self.read(index)?;
                }
                self.connections[index].write()?;
            }
        }
        Ok(self.outcome)
    }

    fn request(&mut self, index: usize, slot: usize) {
        let connection = &mut self.connections[index];
        let queue = connection.queue[slot];
        let number = match self.settings.kind {
            Kind::Send => {
                connection.queue[slot] = (queue + 1) % self.settings.queues;
                self.shared.sequence.fetch_add(1, Ordering::Relaxed)
            }
            Kind::Pull => connection.offset[slot],
        };
        self.templates[queue].write(&mut connection.out, slot, number);
        connection.sent[slot] = Instant::now();
    }

    fn read(&mut self, index: usize) -> Result<()> {
        loop {
            let count = match self.connections[index].stream.read(&mut self.buffer) {
                Ok(0) => return Err(Error::Protocol("the broker closed a connection".into())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).what(|| "read from the broker".into()),
            };
            let mut received = std::mem::take(&mut self.connections[index].received);
            received.extend_from_slice(&self.buffer[..count]);
            let used = self.answers(index, &received)?;
            received.drain(..used);
            self.connections[index].received = received;
            if count < self.buffer.len() {
                return Ok(());
            }
        }
    }

    /// Handles the whole frames at the head of `received` and returns how long they are.
    fn answers(&mut self, index: usize, received: &[u8]) -> Result<usize> {
        let measuring = self.shared.measuring.load(Ordering::Relaxed);
        let mut used = 0;
        while let Some(len) = template::frame_len(&received[used..]) {
            let frame = &received[used..used + len];
            let answer = template::scan(frame)?;
            if answer.slot >= self.settings.inflight {
                return Err(Error::Protocol("an answer to a request that was not sent".into()));
            }
            let body = &frame[answer.body.clone()];
            let (messages, bytes) = self.advance(index, &answer, body);
            if measuring {
                self.count(index, &answer, messages, bytes);
            }
            self.request(index, answer.slot);
            used += len;
        }
        Ok(used)
    }

    /// Moves a pull on; returns the messages and bytes the answer stands for.
    fn advance(&mut self, index: usize, answer: &template::Answer, body: &[u8]) -> (u64, u64) {
        if self.settings.kind == Kind::Send {
            return (1, self.settings.size as u64);
        }
        let connection = &mut self.connections[index];
        match answer.next_offset {
            Some(next) if answer.code == 0 => {
                connection.offset[answer.slot] = next;
                (template::count_records(body), body.len() as u64)
            }
            _ => {
                // The end of the queue: begin again.
                connection.offset[answer.slot] = 0;
                (0, 0)
            }
        }
    }

    fn count(&mut self, index: usize, answer: &template::Answer, messages: u64, bytes: u64) {
        const PULL_NOT_FOUND: i32 = 19;
        const PULL_OFFSET_MOVED: i32 = 21;
        let end_of_queue = self.settings.kind == Kind::Pull
            && matches!(answer.code, PULL_NOT_FOUND..=PULL_OFFSET_MOVED);
        if answer.code == 0 {
            let elapsed = self.connections[index].sent[answer.slot].elapsed().as_nanos() as u64;
            self.outcome.latency.saturating_record(elapsed);
            self.outcome.messages += messages;
            self.outcome.bytes += bytes;
        } else if !end_of_queue {
            self.outcome.refused += 1;
            self.outcome.refused_code = answer.code;
        }
    }
}

impl Connection {
    fn open(settings: &Settings, number: usize) -> Result<Connection> {
        let what = || format!("connect to {}", settings.broker);
        let stream = std::net::TcpStream::connect(settings.broker).what(what)?;
        stream.set_nodelay(true).what(what)?;
        stream.set_nonblocking(true).what(what)?;
        let slots = settings.inflight;
        // Neighbouring connections and slots begin on different queues.
        let queue = (0..slots).map(|slot| (number + slot) % settings.queues).collect();
        Ok(Connection {
            stream: TcpStream::from_std(stream),
            received: Vec::new(),
            out: Vec::new(),
            sent: vec![Instant::now(); slots],
            queue,
            offset: vec![0; slots],
        })
    }

    /// Writes what it can; the rest waits for the next event.
    fn write(&mut self) -> Result<()> {
        let mut done = 0;
        while done < self.out.len() {
            match self.stream.write(&self.out[done..]) {
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).what(|| "write to the broker".into()),
            }
        }
        self.out.drain(..done);
        Ok(())
    }
}
