//! Dispatch ("reput"): reads new records off the commit log, in order, and tells the consume
//! queues, the index and whoever waits for messages.
//!
//! One thread. It sleeps only when the log has nothing new; a put wakes it with one load when it
//! is awake and one futex call when it sleeps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::*, fence};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use super::checkpoint::Checkpoint;
use super::commit_log::CommitLog;
use super::consume_queue::{Queue, Unit};
use super::delay::DelayLevels;
use super::index::{Index, Keyed};
use super::mapped::MappedFile;
use super::queues::QueueTable;
use super::running::{Refusal, RunningFlags};
use crate::base::thread::{self, Handle};
use crate::base::{Error, Result};
use crate::config::{BrokerConfig, BrokerRole, Live};
use crate::message::record::{self, Checked, RecordView};
use crate::message::{flags, property, topic};

/// Pause before dispatch tries again what the disk refused.
const RETRY: Duration = Duration::from_millis(500);

/// A message that can be pulled now.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    pub topic: &'a str,
    pub queue_id: i32,
    /// Of the message itself.
    pub queue_offset: i64,
    pub tags_code: i64,
    pub store_timestamp: i64,
    /// The property string.
    pub properties: &'a str,
}

/// Told about each message after it is in its queue, on the dispatch thread.
pub type OnArrival = Arc<dyn Fn(&Arrival<'_>) + Send + Sync>;

/// Where dispatch begins after a start.
pub struct Begin {
    /// Physical offset of the first record to dispatch.
    pub from: i64,
    /// End of the log at the start. Records below are dispatched without telling anyone.
    pub end: i64,
    /// The last run did not stop in order: what a queue or index knows is not sure.
    pub crashed: bool,
}

/// What dispatch writes to.
pub struct Derived {
    pub queues: Arc<QueueTable>,
    pub index: Arc<Index>,
    pub checkpoint: Arc<Checkpoint>,
    pub flags: Arc<RunningFlags>,
}

/// The dispatch loop and its position.
pub struct Reput {
    log: Arc<CommitLog>,
    derived: Derived,
    delays: DelayLevels,
    config: Arc<Live<BrokerConfig>>,
    on_arrival: OnArrival,
    begin: Begin,
    /// Physical offset of the next record to dispatch.
    position: AtomicI64,
    sleeping: AtomicBool,
    stopping: AtomicBool,
    sleeper: OnceLock<Thread>,
}

/// What a record says about itself, as far as dispatch cares.
#[derive(Default)]
struct Properties<'a> {
    tags: Option<&'a str>,
    delay: Option<&'a str>,
    unique_key: Option<&'a str>,
    keys: Option<&'a str>,
}

impl<'a> Properties<'a> {
    fn read(text: &'a str) -> Properties<'a> {
        let mut found = Properties::default();
        for (name, value) in property::iter(text) {
            match name {
                property::TAGS => found.tags = Some(value),
                property::DELAY => found.delay = Some(value),
                property::UNIQ_KEY => found.unique_key = Some(value),
                property::KEYS => found.keys = Some(value),
                _ => {}
            }
        }
        found
    }
}

/// What lives through one run of the loop.
struct Round {
    /// The queue of the record before: most often the queue of this one too.
    queue: Option<Arc<Queue>>,
    config: Arc<BrokerConfig>,
}

impl Round {
    fn is_slave(&self) -> bool {
        self.config.store.broker_role == BrokerRole::Slave
    }
}

impl Reput {
    /// Nothing dispatched yet. Fails when `messageDelayLevel` cannot be read.
    pub fn new(
        log: Arc<CommitLog>,
        derived: Derived,
        config: Arc<Live<BrokerConfig>>,
        on_arrival: OnArrival,
        begin: Begin,
    ) -> Result<Reput> {
        Ok(Reput {
            delays: DelayLevels::parse(&config.get().store.message_delay_level)?,
            log,
            derived,
            config,
            on_arrival,
            position: AtomicI64::new(begin.from),
            begin,
            sleeping: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            sleeper: OnceLock::new(),
        })
    }

    /// Dispatches what the log holds at the start. When the disk refuses, puts are refused until
    /// the thread, which tries again, has done it.
    pub fn catch_up(&self) {
        let mut round = self.new_round();
        while self.round(&mut round) == Ok(true) {}
    }

    /// Starts the thread.
    pub fn start(self: &Arc<Self>) -> Result<Handle> {
        let this = self.clone();
        thread::spawn("reput", move || this.run())
    }

    /// Ends the thread after it has dispatched everything that the disk takes.
    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.sleeping.store(false, SeqCst);
        if let Some(thread) = self.sleeper.get() {
            thread.unpark();
        }
    }

    /// To be called after bytes were published in the log.
    pub fn wake(&self) {
        // Either this load sees that the thread sleeps, or the thread sees the new end of the log.
        fence(SeqCst);
        if self.sleeping.load(Relaxed)
            && self.sleeping.swap(false, AcqRel)
            && let Some(thread) = self.sleeper.get()
        {
            thread.unpark();
        }
    }

    /// Physical offset up to which records are dispatched.
    pub fn position(&self) -> i64 {
        self.position.load(Acquire)
    }

    /// Bytes of the log not dispatched yet.
    pub fn behind_bytes(&self) -> i64 {
        (self.log.max_offset() - self.position()).max(0)
    }

    fn run(&self) {
        let _ = self.sleeper.set(std::thread::current());
        let mut round = self.new_round();
        loop {
            let end = self.log.max_offset();
            match self.round(&mut round) {
                Ok(true) => {}
                _ if self.stopping.load(SeqCst) => return,
                Ok(false) => {
                    self.accept();
                    round.queue = None;
                    self.sleep(end);
                }
                Err(Stalled) => std::thread::park_timeout(RETRY),
            }
        }
    }

    fn new_round(&self) -> Round {
        Round { queue: None, config: self.config.get() }
    }

    /// Until the log ends beyond `end`, or `stop`.
    fn sleep(&self, end: i64) {
        self.sleeping.store(true, SeqCst);
        fence(SeqCst);
        if self.log.max_offset() > end || self.stopping.load(SeqCst) {
            self.sleeping.store(false, SeqCst);
        }
        while self.sleeping.load(SeqCst) {
            std::thread::park();
        }
    }

    /// Dispatches what is published of the present file; whether it moved.
    fn round(&self, round: &mut Round) -> std::result::Result<bool, Stalled> {
        round.config = self.config.get();
        let segments = self.log.segments();
        let from = self.position().max(segments.min_offset().unwrap_or(0));
        self.position.store(from, Release);
        let Some(file) = segments.find(from) else { return Ok(false) };
        let start = (from - file.start()) as usize;
        let bytes = file.bytes(0, file.wrote()).unwrap_or_default();
        let mut at = start;
        while at < bytes.len() {
            let position = file.start() + at as i64;
            at = match RecordView::parse(&bytes[at..], false) {
                Checked::Record(record) if record.physical_offset() == position => {
                    self.record(&record, position, round)?;
                    at + record.total_size() as usize
                }
                Checked::Blank(_) => file.size(),
                bad => match self.after_bad(&file, at, &bad, round) {
                    Some(next) => next,
                    None => break,
                },
            };
            self.position.store(file.start() + at as i64, Release);
        }
        Ok(at > start)
    }

    /// Where to go on after bytes that are no record: at the next record of this file. `None`: a
    /// slave waits for the rest of what its master sends.
    fn after_bad(
        &self,
        file: &MappedFile,
        at: usize,
        bad: &Checked<'_>,
        round: &Round,
    ) -> Option<usize> {
        if round.is_slave() && !file.is_full() {
            return None;
        }
        let bytes = file.bytes(0, file.wrote()).unwrap_or_default();
        let next = next_record(bytes, at, file.start()).unwrap_or(bytes.len());
        let why = match bad {
            Checked::WrongSize(size) => format!("a record whose size is not its {size} bytes"),
            Checked::Record(_) => "a record of another place".to_owned(),
            _ => "no record".to_owned(),
        };
        log::error!(target: "store", "{}: {why} at {at}; {} bytes are not dispatched",
            file.path().display(), next - at);
        Some(next)
    }

    fn record(
        &self,
        record: &RecordView<'_>,
        position: i64,
        round: &mut Round,
    ) -> std::result::Result<(), Stalled> {
        let text = record.properties();
        let properties = Properties::read(text);
        let transaction = flags::transaction(record.sys_flag());
        let rolled_back = transaction == flags::TRANSACTION_ROLLBACK;
        let mut tags_code = 0;
        let queued = !rolled_back && transaction != flags::TRANSACTION_PREPARED;
        if queued {
            tags_code = self.tags_code(record, &properties);
            self.enqueue(record, position, tags_code, round)
                .map_err(|e| self.refuse(Refusal::QueueError, position, &e))?;
        }
        if !rolled_back && round.config.store.message_index_enable {
            let keyed = Keyed {
                topic: record.topic(),
                unique_key: properties.unique_key,
                keys: properties.keys,
                physical_offset: position,
                store_timestamp: record.store_timestamp(),
            };
            let again = self.begin.crashed && position < self.begin.end;
            let index = &self.derived.index;
            let put = if again { index.put_missing(&keyed) } else { index.put(&keyed) };
            put.map_err(|e| self.refuse(Refusal::IndexError, position, &e))?;
        }
        if queued && position >= self.begin.end {
            self.announce(&Arrival {
                topic: record.topic(),
                queue_id: record.queue_id(),
                queue_offset: record.queue_offset(),
                tags_code,
                store_timestamp: record.store_timestamp(),
                properties: text,
            });
        }
        Ok(())
    }

    /// A listener that panics must not end dispatch.
    fn announce(&self, arrival: &Arrival<'_>) {
        if catch_unwind(AssertUnwindSafe(|| (self.on_arrival)(arrival))).is_err() {
            log::error!(target: "store", "the listener of arrivals panicked at {arrival:?}");
        }
    }

    fn enqueue(
        &self,
        record: &RecordView<'_>,
        position: i64,
        tags_code: i64,
        round: &mut Round,
    ) -> Result<()> {
        let (topic, id) = (record.topic(), record.queue_id());
        let size = record.total_size();
        let unit = Unit { physical_offset: position, size, tags_code };
        let usable =
            |q: &&Arc<Queue>| q.queue_id() == id && **q.topic() == *topic && !q.is_deleted();
        let queues = &self.derived.queues;
        let queue = match round.queue.as_ref().filter(usable) {
            Some(queue) => queue,
            None => match queues.get_or_create(topic, id) {
                Ok(queue) => round.queue.insert(queue),
                Err(e) => {
                    log::error!(target: "store", "record at {position} not dispatched: {e}");
                    return Ok(());
                }
            },
        };
        queues.append(queue, record.queue_offset(), unit)?;
        if position < self.begin.end {
            queue.next_offset.fetch_max(queue.max_offset(), AcqRel);
        }
        let checkpoint = &self.derived.checkpoint;
        checkpoint.logics.store(record.store_timestamp(), Release);
        if round.is_slave() {
            checkpoint.physic.store(record.store_timestamp(), Release);
        }
        Ok(())
    }

    fn tags_code(&self, record: &RecordView<'_>, properties: &Properties<'_>) -> i64 {
        if record.topic() == topic::SCHEDULE
            && let Some(level) = properties.delay.and_then(|level| level.parse::<i32>().ok())
            && level > 0
        {
            return self.delays.deliver_at(level, record.store_timestamp());
        }
        topic::tags_code(properties.tags)
    }

    /// No more puts while their messages cannot be delivered.
    fn refuse(&self, refusal: Refusal, position: i64, error: &Error) -> Stalled {
        if self.derived.flags.set(refusal) {
            log::error!(
                target: "store",
                "dispatch stands at {position}, puts are refused: {error}"
            );
        }
        Stalled
    }

    /// Everything is dispatched: what `refuse` said is over.
    fn accept(&self) {
        for refusal in [Refusal::QueueError, Refusal::IndexError] {
            if self.derived.flags.has(refusal) && self.derived.flags.clear(refusal) {
                log::info!(target: "store", "dispatch goes on, all done up to {}", self.position());
            }
        }
    }
}

/// The disk refused; the same record is tried again.
#[derive(Debug, PartialEq, Eq)]
struct Stalled;

/// Position of the first whole record after `at` that says it stands there.
fn next_record(bytes: &[u8], at: usize, start: i64) -> Option<usize> {
    let magic = record::MAGIC_V1.to_be_bytes();
    let candidates = bytes.get(at + 5..)?.windows(4).enumerate();
    candidates.filter(|(_, word)| **word == magic).map(|(index, _)| at + 1 + index).find(|at| {
        matches!(RecordView::parse(&bytes[*at..], true), Checked::Record(record)
            if record.physical_offset() == start + *at as i64)
    })
}

#[cfg(test)]
mod tests;
