//! One thread of the load: an event loop over its connections.

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::answer::{self, Answer, Scanner, Wanted};
use super::check::{self, Asked};
use super::connection::{Connection, Slot};
use super::load::{Shared, TICK};
use super::outcome::Outcome;
use super::schedule::Schedule;
use super::settings::{Kind, Settings};
use super::template::{self, Form, Patch, SLOTS_MAX, Template};
use crate::base::error::IoContext;
use crate::base::{Error, Result};
use crate::protocol::code::response;
use crate::sys::timer::Timer;

const READ_BYTES: usize = 1024 * 1024;
const TIMER: Token = Token(usize::MAX);
/// Requests an open loop sends between two looks at the answers.
const BURST_MAX: usize = 256;
/// With a window, what could not be sent for so long is given up: it is mqbench that is late then,
/// and no figure of the broker's.
const LATE_MAX: Duration = Duration::from_millis(10);
/// From the first topic of one slot to that of the next: a prime.
const TOPIC_STRIDE: usize = 7919;
/// Bytes that a connection of an open loop holds back when the broker does not read.
const OUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Paces an open loop.
struct Pace {
    schedule: Schedule,
    /// When it began, in ns of `Shared::now`.
    start: u64,
    timer: Timer,
    /// What the timer is set to, in ns of `Shared::now`.
    armed: u64,
    /// The connection that is next, and the queue.
    connection: usize,
    place: usize,
}

/// One thread and its connections.
pub struct Worker<'a> {
    settings: &'a Settings,
    shared: &'a Shared,
    poll: Poll,
    /// Those that send or pull, then the consumers.
    connections: Vec<Connection>,
    senders: usize,
    templates: Vec<Template>,
    polls: Vec<Template>,
    pace: Option<Pace>,
    scanner: Scanner,
    outcome: Outcome,
    /// Requests under way, those of consumers aside.
    awaited: usize,
    touched: Vec<usize>,
    /// Times of the messages of one delivery.
    stamps: Vec<u64>,
    /// The run is over; nothing is left to do; no answer to a send will come.
    stopping: bool,
    idle: bool,
    silent: bool,
}

impl<'a> Worker<'a> {
    /// Thread `index` of the load with its connections open.
    pub fn new(settings: &'a Settings, shared: &'a Shared, index: usize) -> Result<Worker<'a>> {
        let poll = Poll::new().what(|| "make an epoll".into())?;
        let (form, stamped) = match settings.kind {
            Kind::Batch => (Form::Batch, false),
            Kind::Pull => (Form::Pull, false),
            kind => (Form::Send, kind == Kind::E2e),
        };
        let templates = |form, stamped| -> Result<Vec<Template>> {
            (0..settings.queues)
                .map(|queue| Template::new(settings, form, queue, stamped))
                .collect()
        };
        let mut connections = Vec::new();
        for number in (index..settings.senders()).step_by(settings.threads) {
            let slots = sender_slots(settings, number);
            connections.push(Connection::open(settings.broker, form, slots)?);
        }
        let senders = connections.len();
        for number in (index..settings.pollers()).step_by(settings.threads) {
            let slots = consumer_slots(settings, shared, number);
            connections.push(Connection::open(settings.broker, Form::Poll, slots)?);
        }
        for (token, connection) in connections.iter_mut().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut connection.stream, Token(token), interest)
                .what(|| "register a connection".into())?;
        }
        let polls = if settings.pollers() > 0 { templates(Form::Poll, false)? } else { vec![] };
        Ok(Worker {
            settings,
            shared,
            pace: Pace::new(settings, shared, &poll)?,
            poll,
            connections,
            senders,
            templates: templates(form, stamped)?,
            polls,
            scanner: Scanner::default(),
            outcome: Outcome::new(settings.expected_seconds(), settings.places())?,
            awaited: 0,
            touched: Vec::new(),
            stamps: Vec::new(),
            stopping: false,
            idle: false,
            silent: false,
        })
    }

    /// Loads the broker until the run is over and everything has been answered.
    pub fn run(mut self) -> Result<Outcome> {
        for index in 0..self.connections.len() {
            if self.pace.is_none() || index >= self.senders {
                for slot in 0..self.connections[index].slots.len() {
                    self.request(index, slot, self.shared.now());
                }
            }
        }
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_BYTES];
        while !self.done() {
            self.send_due()?;
            self.write_touched()?;
            match self.poll.poll(&mut events, Some(TICK)) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.what(|| "wait for answers".into())?,
            }
            for event in &events {
                let Token(index) = event.token();
                if event.token() == TIMER {
                    continue;
                }
                if event.is_readable() {
                    self.read(index, &mut buffer)?;
                }
                if event.is_writable() {
                    self.connections[index].writable();
                }
                self.connections[index].write()?;
            }
        }
        self.count_unanswered();
        Ok(self.outcome)
    }

    /// Whether this thread may end; also tells the others how far it is.
    fn done(&mut self) -> bool {
        self.stopping = self.shared.stop.load(Ordering::Relaxed);
        let all_sent = self.awaited == 0 && self.pace.is_none() && self.senders > 0;
        if all_sent && !self.idle {
            self.idle = true;
            self.shared.has_ended_one();
        }
        if !self.stopping {
            return false;
        }
        if self.awaited == 0 && !self.silent {
            self.silent = true;
            self.shared.producing.fetch_sub(1, Ordering::Relaxed);
        }
        let consumed = self.connections.len() == self.senders
            || (self.shared.producing.load(Ordering::Relaxed) == 0
                && self.shared.delivered.load(Ordering::Relaxed)
                    >= self.shared.acknowledged.load(Ordering::Relaxed));
        (self.awaited == 0 && consumed) || self.shared.drained(self.shared.now())
    }

    /// Open loop: sends what is due and sets the timer to the next.
    fn send_due(&mut self) -> Result<()> {
        let Some(mut pace) = self.pace.take() else { return Ok(()) };
        let mut blocked = self.stopping;
        for _ in 0..BURST_MAX {
            let now = Duration::from_nanos(self.shared.now() - pace.start);
            if blocked || pace.schedule.due() > now {
                break;
            }
            let late = now.saturating_sub(pace.schedule.due()) > LATE_MAX;
            let slot = match late && self.settings.window.is_some() {
                true => None,
                false => self.free_slot(&mut pace),
            };
            match slot {
                Some((index, slot)) => {
                    if let Some(due) = pace.schedule.take(now) {
                        self.connections[index].slots[slot].place = pace.place;
                        pace.place = next_place(self.settings, pace.place);
                        self.request(index, slot, pace.start + due.as_nanos() as u64);
                    }
                }
                None if self.settings.window.is_some() => {
                    let due = pace.schedule.take(now).unwrap_or(now);
                    if self.shared.measured(pace.start + due.as_nanos() as u64).is_some() {
                        self.outcome.given_up += 1;
                    }
                }
                None => blocked = true,
            }
        }
        if !blocked {
            pace.arm(self.shared.now())?;
        }
        self.pace = Some(pace);
        Ok(())
    }

    /// The next connection that can take a request, and a slot of it.
    fn free_slot(&mut self, pace: &mut Pace) -> Option<(usize, usize)> {
        for _ in 0..self.senders {
            let index = pace.connection;
            pace.connection = (index + 1) % self.senders;
            let connection = &mut self.connections[index];
            if connection.waiting() > OUT_BYTES_MAX {
                continue;
            }
            if let Some(slot) = connection.free.pop() {
                return Some((index, slot));
            }
            if connection.slots.len() < self.settings.window.unwrap_or(SLOTS_MAX) {
                connection.slots.push(Slot::default());
                return Some((index, connection.slots.len() - 1));
            }
        }
        None
    }

    /// Puts a request into the output of its connection.
    fn request(&mut self, index: usize, slot: usize, sent: u64) {
        let connection = &mut self.connections[index];
        let place = &mut connection.slots[slot];
        (place.sent, place.busy) = (sent, true);
        let number = match connection.form {
            Form::Send | Form::Batch => {
                let count = self.settings.per_request() as u64;
                self.shared.sequence.fetch_add(count, Ordering::Relaxed)
            }
            Form::Pull | Form::Poll => place.offset,
        };
        let templates = match connection.form {
            Form::Poll => &self.polls,
            _ => &self.templates,
        };
        let (topic, queue) = self.settings.topic_and_queue(place.place);
        let patch = Patch { slot, topic, number, stamp: (self.shared.run, sent) };
        templates[queue].write(&mut connection.out, patch);
        if connection.form != Form::Poll {
            self.awaited += 1;
        }
        if !connection.touched {
            connection.touched = true;
            self.touched.push(index);
        }
    }

    fn write_touched(&mut self) -> Result<()> {
        for index in self.touched.drain(..) {
            let connection = &mut self.connections[index];
            connection.touched = false;
            connection.write()?;
        }
        Ok(())
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) -> Result<()> {
        while let Some(count) = self.connections[index].read(buffer)? {
            let now = self.shared.now();
            let mut received = self.connections[index].take_received();
            if received.is_empty() {
                let used = self.answers(index, &buffer[..count], now)?;
                received.extend_from_slice(&buffer[used..count]);
            } else {
                received.extend_from_slice(&buffer[..count]);
                let used = self.answers(index, &received, now)?;
                received.drain(..used);
            }
            self.connections[index].put_back(received);
            if count < buffer.len() {
                break;
            }
        }
        Ok(())
    }

    /// Handles the whole frames at the head of `received` and returns how long they are.
    fn answers(&mut self, index: usize, received: &[u8], now: u64) -> Result<usize> {
        let mut used = 0;
        while let Some(len) = answer::frame_len(&received[used..]) {
            self.answered(index, &received[used..used + len], now)?;
            used += len;
        }
        Ok(used)
    }

    fn answered(&mut self, index: usize, frame: &[u8], now: u64) -> Result<()> {
        let form = self.connections[index].form;
        let wanted = match form {
            Form::Pull | Form::Poll => Wanted::NextOffset,
            _ if self.settings.verify => Wanted::Stored,
            _ => Wanted::Nothing,
        };
        let answer = self.scanner.scan(frame, wanted)?;
        let slot = self.connections[index].slots.get_mut(answer.slot).filter(|slot| slot.busy);
        let Some(slot) = slot else {
            return Err(Error::Protocol("an answer to a request that was not sent".into()));
        };
        slot.busy = false;
        let slot = *slot;
        let body = &frame[answer.body.clone()];
        if form != Form::Poll {
            self.awaited -= 1;
        }
        let again = match form {
            Form::Send | Form::Batch => self.sent(index, &answer, slot, now)?,
            Form::Pull => self.pulled(index, &answer, slot, body, now)?,
            Form::Poll => self.delivered(index, &answer, slot, body, now)?,
        };
        if again {
            self.request(index, answer.slot, now);
        }
        Ok(())
    }

    /// The answer to a send. Each of these returns whether the slot asks again.
    fn sent(&mut self, index: usize, answer: &Answer, slot: Slot, now: u64) -> Result<bool> {
        let count = self.settings.per_request() as u64;
        if self.settings.verify {
            self.outcome.verified += 1;
            let outcome = &mut self.outcome;
            let (_, queue) = self.settings.topic_and_queue(slot.place);
            check::send(answer, queue, &mut outcome.stored[slot.place], &mut outcome.faults);
        }
        if answer.code != response::SUCCESS {
            self.refused(answer, slot, now);
        } else if self.settings.kind == Kind::E2e {
            self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            if self.shared.measured(slot.sent).is_some() {
                self.outcome.acks.saturating_record(now - slot.sent);
            }
        } else {
            self.succeeded(slot, now, count, count * self.settings.size as u64)?;
        }
        let connection = &mut self.connections[index];
        if self.pace.is_some() {
            connection.free.push(answer.slot);
            return Ok(false);
        }
        let place = &mut connection.slots[answer.slot].place;
        *place = next_place(self.settings, *place);
        let sent = self.shared.sequence.load(Ordering::Relaxed);
        let enough = self.settings.messages.is_some_and(|messages| sent >= messages);
        Ok(!self.stopping && !enough)
    }

    fn pulled(
        &mut self,
        index: usize,
        answer: &Answer,
        slot: Slot,
        body: &[u8],
        now: u64,
    ) -> Result<bool> {
        let mut next = answer.offset.filter(|next| *next > slot.offset);
        match answer.code {
            response::SUCCESS => {
                let count = match self.settings.verify {
                    true => self.check_records(answer, slot, body, |_| ()),
                    false => check::count_records(body),
                };
                self.succeeded(slot, now, count, body.len() as u64)?;
            }
            response::PULL_OFFSET_MOVED | response::PULL_RETRY_IMMEDIATELY => {}
            response::PULL_NOT_FOUND => next = None,
            _ => {
                self.refused(answer, slot, now);
                next = Some(slot.offset);
            }
        }
        let slot = &mut self.connections[index].slots[answer.slot];
        if self.settings.in_turn {
            slot.place = next_place(self.settings, slot.place);
            next = None;
        }
        // Without a next offset it was the end of the queue.
        slot.offset = next.unwrap_or(0);
        Ok(!self.stopping && (next.is_some() || !self.settings.once))
    }

    fn delivered(
        &mut self,
        index: usize,
        answer: &Answer,
        slot: Slot,
        body: &[u8],
        now: u64,
    ) -> Result<bool> {
        match answer.code {
            response::SUCCESS => {
                let run = self.shared.run;
                let mut sent = std::mem::take(&mut self.stamps);
                let each = |body: &[u8]| {
                    sent.extend(template::stamp_of(body).filter(|of| of.0 == run).map(|of| of.1));
                };
                match self.settings.verify {
                    true => self.check_records(answer, slot, body, each),
                    false => check::bodies(body, each),
                };
                self.shared.delivered.fetch_add(sent.len() as u64, Ordering::Relaxed);
                for sent in sent.drain(..) {
                    let slot = Slot { sent: sent.min(now), ..slot };
                    self.succeeded(slot, now, 1, self.settings.size as u64)?;
                }
                self.stamps = sent;
            }
            response::PULL_NOT_FOUND
            | response::PULL_RETRY_IMMEDIATELY
            | response::PULL_OFFSET_MOVED => {}
            _ => self.refused(answer, slot, now),
        }
        if let Some(next) = answer.offset {
            self.connections[index].slots[answer.slot].offset = next;
        }
        Ok(true)
    }

    fn check_records(
        &mut self,
        answer: &Answer,
        slot: Slot,
        body: &[u8],
        each: impl FnMut(&[u8]),
    ) -> u64 {
        self.outcome.verified += 1;
        let (topic, queue) = self.settings.topic_and_queue(slot.place);
        let topic = &self.settings.topic_name(topic);
        let asked = Asked { topic, queue, offset: slot.offset };
        check::records(body, &asked, answer.offset, &mut self.outcome.faults, each)
    }

    /// Throughput counts by when the answer came, latency by when the request was sent or meant to
    /// be: what hangs at the end of the measurement is not left out.
    fn succeeded(&mut self, slot: Slot, now: u64, messages: u64, bytes: u64) -> Result<()> {
        if let Some(at) = self.shared.measured(now) {
            self.outcome.messages += messages;
            self.outcome.bytes += bytes;
            self.outcome.window(at)?.messages += messages;
        }
        if let Some(at) = self.shared.measured(slot.sent) {
            self.outcome.latency.saturating_record(now - slot.sent);
            self.outcome.window(at)?.latency.saturating_record(now - slot.sent);
        }
        Ok(())
    }

    fn refused(&mut self, answer: &Answer, slot: Slot, now: u64) {
        if self.shared.measured(slot.sent).is_some() {
            self.outcome.refused += 1;
            self.outcome.refused_code = answer.code;
            self.outcome.refusals.saturating_record(now - slot.sent);
        }
    }

    /// What got no answer until the end took at least as long as that.
    fn count_unanswered(&mut self) {
        let now = self.shared.now();
        for connection in &self.connections[..self.senders] {
            for slot in connection.slots.iter().filter(|slot| slot.busy) {
                self.outcome.unanswered += 1;
                if self.shared.measured(slot.sent).is_some() {
                    self.outcome.latency.saturating_record(now - slot.sent);
                }
            }
        }
    }
}

impl Pace {
    /// None in a closed loop.
    fn new(settings: &Settings, shared: &Shared, poll: &Poll) -> Result<Option<Pace>> {
        let Some(rate) = settings.rate else { return Ok(None) };
        let timer = Timer::new().what(|| "make a timer".into())?;
        poll.registry()
            .register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)
            .what(|| "register a timer".into())?;
        let requests = rate / settings.per_request() as f64 / settings.threads as f64;
        let (schedule, start) = (Schedule::new(requests), shared.now());
        Ok(Some(Pace { schedule, start, timer, armed: 0, connection: 0, place: 0 }))
    }

    /// Has epoll wake the thread when the next request is due.
    fn arm(&mut self, now: u64) -> Result<()> {
        let due = self.start + self.schedule.due().as_nanos() as u64;
        if due == self.armed {
            return Ok(());
        }
        self.armed = due;
        let after = Duration::from_nanos(due.saturating_sub(now));
        self.timer.set(after).what(|| "set a timer".into())
    }
}

/// Slots of a connection that sends or pulls: none yet in an open loop. Neighbouring connections
/// and slots begin on different queues, and far from each other on different topics.
fn sender_slots(settings: &Settings, number: usize) -> Vec<Slot> {
    let count = if settings.rate.is_some() { 0 } else { settings.inflight };
    let place = |slot: usize| {
        let topic = (number * count + slot) * TOPIC_STRIDE % settings.topics;
        topic * settings.queues + (number + slot) % settings.queues
    };
    (0..count).map(|slot| Slot { place: place(slot), ..Slot::default() }).collect()
}

/// The next queue, of the next topic if there are several.
fn next_place(settings: &Settings, place: usize) -> usize {
    (place + settings.queues + 1) % settings.places()
}

/// One slot for each queue of consumer `number`.
fn consumer_slots(settings: &Settings, shared: &Shared, number: usize) -> Vec<Slot> {
    (number..settings.places())
        .step_by(settings.pollers())
        .map(|place| Slot { place, offset: shared.offsets[place], ..Slot::default() })
        .collect()
}
