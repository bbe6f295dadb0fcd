//! Asks producers about half messages that nobody committed or rolled back.
//!
//! A round walks the queue of half messages from where the last one ended. What an op message says
//! is done with is passed. Of the rest each is stored again at the end of the queue and its
//! producer is asked (CHECK_TRANSACTION_STATE); the first that is too young ends the round. So
//! nothing stays behind, and both queues can be deleted up to the offsets kept for the group
//! CID_RMQ_SYS_TRANS.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::clients::Clients;
use super::offsets::Offsets;
use super::register::{Addresses, Register};
use super::topics::Topics;
use super::txn::{QUEUE, put_half, target};
use crate::base::limits::{TXN_LATE_MAX, TXN_WINDOW_MAX};
use crate::base::slice::Slice;
use crate::base::thread::{self, Handle, Stop};
use crate::base::{Result, clock};
use crate::config::{BrokerConfig, Live};
use crate::message::record::{self, RecordView};
use crate::message::{MessageRef, id, property, topic};
use crate::net::Conn;
use crate::protocol::Command;
use crate::protocol::code::request;
use crate::protocol::command::FLAG_ONEWAY;
use crate::protocol::headers::txn::CheckTransactionState;
use crate::store::{Put, PutStatus, Store};

/// The group whose consumer offsets say how far the rounds are.
pub const GROUP: &str = "CID_RMQ_SYS_TRANS";
/// Longest round; the next one goes on where it ended.
const ROUND_TIME: Duration = Duration::from_secs(60);
/// Tag of the op messages that say that a half message is done with.
const DONE_TAG: &str = "d";
const HOUR_MS: i64 = 3_600_000;

/// What the thread works with.
pub struct Parts {
    pub config: Arc<Live<BrokerConfig>>,
    pub store: Arc<Store>,
    pub offsets: Arc<Offsets>,
    pub topics: Arc<Topics>,
    pub register: Arc<Register>,
    pub clients: Arc<Clients<Arc<Conn>>>,
    pub addresses: Arc<OnceLock<Addresses>>,
}

/// Starts the thread.
pub fn start(parts: Parts, stop: Arc<Stop>) -> Result<Handle> {
    let mut check = Check { parts, stop, turn: AtomicUsize::new(0), late: HashMap::new() };
    thread::spawn("txn-check", move || {
        while !check.stop.wait(check.interval()) {
            check.round();
        }
    })
}

struct Check {
    parts: Parts,
    stop: Arc<Stop>,
    /// Whose turn it is among the producers of a group.
    turn: AtomicUsize,
    /// Half messages that were ended after they had been stored again → end of the queue then. The
    /// copy, which stands before that, is done with as well.
    late: HashMap<i64, i64>,
}

impl Check {
    fn interval(&self) -> Duration {
        let ms = self.parts.config.get().transaction_check_interval;
        Duration::from_millis(ms.max(1) as u64)
    }

    fn round(&mut self) {
        let parts = &self.parts;
        if parts.topics.ensure(topic::TRANS_HALF, 1, 0).is_some_and(|found| found.created) {
            parts.register.announce();
        }
        let (half, op) = (parts.progress(topic::TRANS_HALF), parts.progress(topic::TRANS_OP_HALF));
        let mut round = Round {
            config: parts.config.get(),
            parts,
            stop: &self.stop,
            turn: &self.turn,
            began_ms: clock::now_ms(),
            half,
            op,
            done: Done::new(half, std::mem::take(&mut self.late)),
            put_back: 0,
        };
        round.run();
        round.save(half, op);
        self.late = round.done.late;
        let end = round.half;
        self.late.retain(|_, queue_end| *queue_end > end);
    }
}

impl Parts {
    /// The offset a round begins at.
    fn progress(&self, topic: &str) -> i64 {
        let min = self.store.min_offset_in_queue(topic, QUEUE);
        let max = self.store.max_offset_in_queue(topic, QUEUE);
        self.offsets.get(topic, GROUP, QUEUE).unwrap_or(min).clamp(min, max.max(min))
    }

    fn half_end(&self) -> i64 {
        self.store.max_offset_in_queue(topic::TRANS_HALF, QUEUE)
    }
}

/// Half messages that are done with, by what ops say.
struct Done {
    /// The round began here.
    base: i64,
    /// A bit for each half message from `base` on.
    bits: Vec<u64>,
    late: HashMap<i64, i64>,
}

impl Done {
    fn new(base: i64, late: HashMap<i64, i64>) -> Done {
        Done { base, bits: Vec::new(), late }
    }

    /// `end` is that of the queue of half messages.
    fn insert(&mut self, half: i64, end: i64) {
        let Some(index) = half.checked_sub(self.base).and_then(|n| usize::try_from(n).ok()) else {
            if self.late.len() < TXN_LATE_MAX {
                self.late.insert(half, end);
            }
            return;
        };
        if half >= end || index >= TXN_WINDOW_MAX {
            return;
        }
        if index / 64 >= self.bits.len() {
            self.bits.resize(index / 64 + 1, 0);
        }
        self.bits[index / 64] |= 1 << (index % 64);
    }

    fn contains(&self, half: i64) -> bool {
        let index = usize::try_from(half - self.base).unwrap_or(usize::MAX);
        self.bits.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }
}

/// What is to be done about a half message that nobody ended.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It is too young, and so are those behind it.
    TooYoung,
    /// It asked for more time than the others have.
    Immune,
    Ask,
}

/// `age_ms` by the producer's clock: negative when that is ahead. `immunity` is the property
/// CHECK_IMMUNITY_TIME_IN_SECONDS.
fn verdict(age_ms: i64, immunity: Option<&str>, time_out_ms: i64) -> Verdict {
    match immunity.map(str::parse::<i64>) {
        None if (0..time_out_ms).contains(&age_ms) => Verdict::TooYoung,
        None => Verdict::Ask,
        Some(seconds) => {
            let ms = match seconds {
                Ok(-1) | Err(_) => time_out_ms,
                Ok(seconds) => seconds.saturating_mul(1000),
            };
            if age_ms < ms { Verdict::Immune } else { Verdict::Ask }
        }
    }
}

/// What follows a look at one half message.
#[derive(PartialEq, Eq)]
enum Step {
    Next,
    EndOfRound,
}

struct Round<'a> {
    config: Arc<BrokerConfig>,
    parts: &'a Parts,
    stop: &'a Stop,
    turn: &'a AtomicUsize,
    began_ms: i64,
    /// The next half message and op message to look at.
    half: i64,
    op: i64,
    done: Done,
    /// Half messages stored again.
    put_back: u64,
}

impl Round<'_> {
    /// What is stored while it runs is left to the next round, so it ends.
    fn run(&mut self) {
        let until = Instant::now() + ROUND_TIME;
        let window = self.done.base.saturating_add(TXN_WINDOW_MAX as i64);
        let end = self.parts.half_end().min(window);
        // Also those that end nothing any more: they are not kept for long.
        let goes_on = self.read_ops();
        while goes_on && self.half < end && Instant::now() < until && self.step() == Step::Next {
            self.half += 1;
        }
    }

    fn step(&mut self) -> Step {
        let at = self.half;
        if self.done.contains(at) {
            return Step::Next;
        }
        if !self.read_ops() {
            return Step::EndOfRound;
        }
        if self.done.contains(at) {
            return Step::Next;
        }
        let record = self.parts.store.record_in_queue(topic::TRANS_HALF, QUEUE, at);
        match record.as_ref().and_then(view) {
            Some(half) => self.unended(&half),
            None => {
                log::error!(target: "transaction", "half message {at} cannot be read, passed");
                Step::Next
            }
        }
    }

    /// Reads the op messages that have come since the last time. False when the broker stops.
    fn read_ops(&mut self) -> bool {
        let store = &self.parts.store;
        // In this order: the half messages of these ops are before `half_end`.
        let end = store.max_offset_in_queue(topic::TRANS_OP_HALF, QUEUE);
        let half_end = self.parts.half_end();
        while self.op < end {
            if self.op % 1024 == 0 && self.stop.is_set() {
                return false;
            }
            let record = store.record_in_queue(topic::TRANS_OP_HALF, QUEUE, self.op);
            for half in record.as_ref().and_then(view).iter().flat_map(ended_by) {
                self.done.insert(half, half_end);
            }
            self.op += 1;
        }
        !self.stop.is_set()
    }

    /// A half message that no op message ends.
    fn unended(&mut self, half: &RecordView) -> Step {
        let properties = half.properties();
        let number = |name| property::get(properties, name).and_then(|text| text.parse().ok());
        let first = number(property::TRAN_PREPARED_QUEUE_OFFSET);
        if first.is_some_and(|first| self.done.late.remove(&first).is_some()) {
            return Step::Next;
        }
        let times = number(property::TRANSACTION_CHECK_TIMES).unwrap_or(0);
        let age_ms = self.began_ms.saturating_sub(half.born_timestamp());
        let kept_ms = i64::from(self.config.store.file_reserved_time).saturating_mul(HOUR_MS);
        if times >= i64::from(self.config.transaction_check_max) || age_ms > kept_ms {
            return self.give_up(half);
        }
        if half.store_timestamp() >= self.began_ms {
            return Step::EndOfRound;
        }
        let immunity = property::get(properties, property::CHECK_IMMUNITY_TIME_IN_SECONDS);
        match verdict(age_ms, immunity, self.config.transaction_time_out) {
            Verdict::TooYoung => Step::EndOfRound,
            Verdict::Immune => self.put_back(half, times, None),
            Verdict::Ask => {
                let producer = self.producer(properties);
                // One that takes no more is asked in the next round, and that does not count.
                let full = producer.as_ref().is_some_and(|conn| conn.is_choked());
                let times = if full { times } else { times + 1 };
                self.put_back(half, times, producer.filter(|_| !full))
            }
        }
    }

    /// A producer of the message's group, another one every time.
    fn producer(&self, properties: &str) -> Option<Arc<Conn>> {
        let group = property::get(properties, property::PGROUP)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let clients = &self.parts.clients;
        let free = |conn: &Arc<Conn>| !conn.is_closed() && !conn.is_choked();
        clients.producer(group, turn, free).or_else(|| clients.producer(group, turn, |_| true))
    }

    /// Stores a half message again, asked about `times` times, and asks a producer about the copy.
    fn put_back(&mut self, half: &RecordView, times: i64, producer: Option<Arc<Conn>>) -> Step {
        let Some(addresses) = self.parts.addresses.get() else { return Step::EndOfRound };
        let mut text = half.properties().to_owned();
        if times > 0 {
            property::set(&mut text, property::TRANSACTION_CHECK_TIMES, &times.to_string());
        }
        if property::get(&text, property::TRAN_PREPARED_QUEUE_OFFSET).is_none() {
            let offset = half.queue_offset().to_string();
            property::push(&mut text, property::TRAN_PREPARED_QUEUE_OFFSET, &offset);
        }
        let put = put_half(&self.parts.store, half, &text, addresses.store_host);
        match put.status {
            PutStatus::PutOk => {}
            // It would be refused in every round to come.
            PutStatus::MessageIllegal | PutStatus::PropertiesSizeExceeded => {
                return self.give_up(half);
            }
            _ => return Step::EndOfRound,
        }
        self.put_back += 1;
        if let Some(producer) = producer {
            match question(half, &text, &put, addresses) {
                Some(command) => producer.send(command),
                None => {
                    let at = half.queue_offset();
                    log::warn!(target: "transaction", "half message {at} names no topic or queue");
                }
            }
        }
        Step::Next
    }

    /// Moves a half message to the topic of those that nobody is asked about any more.
    fn give_up(&mut self, half: &RecordView) -> Step {
        let name = topic::TRANS_CHECK_MAX_TIME;
        match self.parts.topics.ensure(name, 1, 0) {
            Some(found) if found.created => self.parts.register.announce(),
            Some(_) => {}
            None => return Step::EndOfRound,
        }
        let copy = MessageRef { topic: name, queue_id: 0, ..half.message() };
        let status = self.parts.store.put(&copy).status;
        let at = half.queue_offset();
        match status {
            PutStatus::PutOk => {
                log::warn!(target: "transaction", "half message {at} given up, now in {name}");
                Step::Next
            }
            PutStatus::MessageIllegal | PutStatus::PropertiesSizeExceeded => {
                log::error!(target: "transaction", "half message {at}: {}, passed", status.name());
                Step::Next
            }
            _ => Step::EndOfRound,
        }
    }

    /// Keeps how far the round came: of the op messages those whose half messages are all behind.
    fn save(&self, half_before: i64, op_before: i64) {
        let Parts { offsets, store, .. } = self.parts;
        let half_end = self.parts.half_end();
        let waits = |op: &i64| {
            let record = store.record_in_queue(topic::TRANS_OP_HALF, QUEUE, *op);
            let pending = |half: i64| (self.half..half_end).contains(&half);
            record.as_ref().and_then(view).is_some_and(|op| ended_by(&op).any(pending))
        };
        let op = (op_before..self.op).find(waits).unwrap_or(self.op);
        if self.half != half_before {
            offsets.commit(topic::TRANS_HALF, GROUP, QUEUE, self.half);
        }
        if op != op_before {
            offsets.commit(topic::TRANS_OP_HALF, GROUP, QUEUE, op);
        }
        // After a crash what is stored again would otherwise be stored again once more.
        if self.put_back > 0
            && let Err(error) = offsets.persist()
        {
            log::error!(target: "transaction", "offsets not saved: {error}");
        }
    }
}

fn view(record: &Slice) -> Option<RecordView<'_>> {
    RecordView::new(record.as_bytes())
}

/// The half messages an op message ends. RocketMQ 5 puts several into one, each with a comma.
fn ended_by<'a>(op: &RecordView<'a>) -> impl Iterator<Item = i64> + use<'a> {
    let is_done = property::get(op.properties(), property::TAGS) == Some(DONE_TAG);
    let text = std::str::from_utf8(op.body()).ok().filter(|_| is_done).unwrap_or_default();
    text.split(',').filter_map(|offset| offset.trim().parse().ok())
}

/// CHECK_TRANSACTION_STATE about the copy of a half message; its body is the message as it will be
/// when it is committed.
fn question(half: &RecordView, text: &str, put: &Put, addresses: &Addresses) -> Option<Command> {
    let (topic, queue_id) = target(text)?;
    let host = addresses.store_host;
    let message =
        MessageRef { topic, queue_id, store_host: host, properties: text, ..half.message() };
    let unique = property::get(text, property::UNIQ_KEY);
    let offset_id = id::offset_id(host, put.physical_offset);
    let header = CheckTransactionState {
        tran_state_table_offset: put.queue_offset,
        commit_log_offset: put.physical_offset,
        msg_id: unique,
        transaction_id: unique,
        offset_msg_id: Some(&offset_id),
        broker_name: None,
    };
    let mut command = Command::request(request::CHECK_TRANSACTION_STATE);
    command.flag = FLAG_ONEWAY;
    header.encode(&mut command);
    // The store has taken it, so it is no longer than may be.
    record::encode(&message, usize::MAX, &mut command.body).ok()?;
    record::patch(&mut command.body, put.queue_offset, put.physical_offset, put.store_timestamp);
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_young_wait_and_the_immune_longer() {
        assert_eq!(verdict(0, None, 6000), Verdict::TooYoung);
        assert_eq!(verdict(5999, None, 6000), Verdict::TooYoung);
        assert_eq!(verdict(6000, None, 6000), Verdict::Ask);
        assert_eq!(verdict(-1, None, 6000), Verdict::Ask);
        assert_eq!(verdict(9999, Some("10"), 6000), Verdict::Immune);
        assert_eq!(verdict(10_000, Some("10"), 6000), Verdict::Ask);
        for no_time in ["-1", "x", ""] {
            assert_eq!(verdict(5999, Some(no_time), 6000), Verdict::Immune);
            assert_eq!(verdict(6000, Some(no_time), 6000), Verdict::Ask);
        }
        assert_eq!(verdict(1 << 40, Some("9223372036854775807"), 6000), Verdict::Immune);
    }

    #[test]
    fn ops_are_kept_by_half_message() {
        let mut done = Done::new(100, HashMap::new());
        for half in [100, 163, 164, 1000] {
            done.insert(half, 2000);
        }
        let found: Vec<i64> = (90..1100).filter(|&half| done.contains(half)).collect();
        assert_eq!(found, [100, 163, 164, 1000]);
        // Behind the end of the queue there is no half message; before the round, an earlier one.
        done.insert(5000, 2000);
        done.insert(i64::MAX, 2000);
        done.insert(i64::MIN, 2000);
        done.insert(7, 2000);
        assert!(!done.contains(5000) && !done.contains(7));
        assert_eq!(done.bits.len(), 900 / 64 + 1);
        assert_eq!(done.late.get(&7), Some(&2000));
    }
}
