//! Dispatch ("reput"): reads new records off the commit log, in order, and tells the consume
//! queues, the index and whoever waits for messages.
//!
//! One thread at a time: the reput thread, or one that must not wait for it (`dispatch`). As long
//! as messages come and nobody waits for them, the reput thread looks once in `NAP` and puts wake
//! it with no more than a load. While somebody waits, messages are dispatched at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering::*, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::checkpoint::Checkpoint;
use super::commit_log::CommitLog;
use super::consume_queue::{Queue, Unit};
use super::consume_queue_ext::ExtUnit;
use super::delay::DelayLevels;
use super::deleted::DeletedTopics;
use super::handed::ByPosition;
use super::index::{Index, Keyed};
use super::mapped::MappedFile;
use super::multi;
use super::queues::{self, QueueTable};
use super::recover::{fills, next_record, stands};
use super::running::{Refusal, RunningFlags};
use crate::base::progress::Progress;
use crate::base::thread::{self, Handle};
use crate::base::{Error, Result};
use crate::config::{BrokerConfig, BrokerRole, Live};
use crate::message::record::{Checked, RecordView};
use crate::message::{flags, property, topic};

/// Pause before dispatch tries again what the disk refused.
const RETRY: Duration = Duration::from_millis(500);

/// How long the thread lets messages gather that nobody waits for.
const NAP: Duration = Duration::from_millis(1);
/// Messages that are announced before those who wait for them are told.
const ANNOUNCED_MAX: usize = 32;

/// Queues that a round keeps at hand.
const QUEUES_KEPT: usize = 16;

/// So many records are looked at together.
const AHEAD: usize = 16;

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

/// Adds the bit map of the filters that a message passes, by its topic and property string, to a
/// buffer; nothing when no filter is on its topic.
pub type BitMap = Box<dyn Fn(&str, &str, &mut Vec<u8>) + Send + Sync>;

/// Who waits for messages, and how he learns of them: on whichever thread dispatches them.
pub struct Listener {
    /// How many wait. Raised with sequential consistency before the queue is looked at.
    pub waiting: Arc<AtomicUsize>,
    /// Told about each message after it is in its queue.
    pub arrived: Box<dyn Fn(&Arrival<'_>) + Send + Sync>,
    /// Told when a few have arrived, and after the last one.
    pub done: Box<dyn Fn() + Send + Sync>,
    pub bit_map: BitMap,
}

/// Where dispatch begins after a start.
pub struct Begin {
    /// Physical offset of the first record to dispatch.
    pub from: i64,
    /// End of the log at the start. Records below are dispatched without telling anyone.
    pub end: i64,
    /// What the index has of records below is not sure: after a crash, or when it lost files.
    pub index_unsure: bool,
}

/// What dispatch writes to.
pub struct Derived {
    pub queues: Arc<QueueTable>,
    pub deleted: Arc<DeletedTopics>,
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
    listener: Listener,
    begin: Begin,
    /// Physical offset of the next record to dispatch; moved by who holds `round`.
    position: AtomicI64,
    round: Mutex<Round>,
    /// What the thread does; see `rest`.
    rest: AtomicU8,
    stopping: AtomicBool,
    thread: OnceLock<Thread>,
}

/// What the reput thread does.
mod rest {
    /// It looks at the log, or is about to.
    pub const NONE: u8 = 0;
    /// It will look soon by itself.
    pub const NAP: u8 = 1;
    /// It waits to be woken.
    pub const SLEEP: u8 = 2;
}

/// What a record says about itself, as far as dispatch cares.
#[derive(Default)]
struct Properties<'a> {
    tags: Option<&'a str>,
    delay: Option<&'a str>,
    unique_key: Option<&'a str>,
    keys: Option<&'a str>,
    /// Further queues, and the offsets there.
    further: (Option<&'a str>, Option<&'a str>),
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
                property::INNER_MULTI_DISPATCH => found.further.0 = Some(value),
                property::INNER_MULTI_QUEUE_OFFSET => found.further.1 = Some(value),
                _ => {}
            }
        }
        found
    }
}

/// A record that is dispatched next, looked at once.
struct Met<'a> {
    position: i64,
    record: RecordView<'a>,
    /// Its property string, and what that says.
    text: &'a str,
    properties: Properties<'a>,
    /// Whether its keys go to the index, and the hash of its UNIQ_KEY there.
    indexed: bool,
    unique: Option<i32>,
}

/// What lives from one round of dispatch to the next.
struct Round {
    /// The queues of the records before, by the last bits of their numbers: most often the queue of
    /// the next one is among them.
    queues: [Option<Arc<Queue>>; QUEUES_KEPT],
    /// Of how many of the last records the queue was not there.
    missed: usize,
    /// Queues of the next records, by the positions of these.
    ahead: ByPosition,
    /// Buffer for what puts give.
    given: Vec<(i64, Arc<Queue>)>,
    config: Arc<BrokerConfig>,
    /// Buffer for bit maps.
    bit_map: Vec<u8>,
}

impl Round {
    fn is_slave(&self) -> bool {
        self.config.store.broker_role == BrokerRole::Slave
    }

    fn forget_before(&mut self, position: i64) {
        while self.ahead.front().is_some_and(|(at, _)| *at < position) {
            self.ahead.pop_front();
        }
    }

    /// The queue of the record at `position`, if it was looked up ahead.
    fn ahead_at(&mut self, position: i64) -> Option<Arc<Queue>> {
        self.forget_before(position);
        let is_next = self.ahead.front().is_some_and(|(at, _)| *at == position);
        is_next.then(|| self.ahead.pop_front())?.map(|(_, queue)| queue)
    }
}

impl Reput {
    /// Nothing dispatched yet. Fails when `messageDelayLevel` cannot be read.
    pub fn new(
        log: Arc<CommitLog>,
        derived: Derived,
        config: Arc<Live<BrokerConfig>>,
        listener: Listener,
        begin: Begin,
    ) -> Result<Reput> {
        let round = Round {
            queues: Default::default(),
            missed: 0,
            ahead: ByPosition::new(),
            given: Vec::new(),
            config: config.get(),
            bit_map: Vec::new(),
        };
        Ok(Reput {
            delays: DelayLevels::parse(&config.get().store.message_delay_level)?,
            log,
            derived,
            config,
            listener,
            position: AtomicI64::new(begin.from),
            begin,
            round: Mutex::new(round),
            rest: AtomicU8::new(rest::NONE),
            stopping: AtomicBool::new(false),
            thread: OnceLock::new(),
        })
    }

    /// Dispatches what the log holds at the start. When the disk refuses, puts are refused until
    /// the thread, which tries again, has done it.
    pub fn catch_up(&self) {
        let mut round = self.lock();
        let (from, end) = (self.position(), self.begin.end);
        let reached = |position: i64| u64::try_from(position - from).unwrap_or(0);
        let mut progress = Progress::new("dispatch of what the log has", reached(end));
        while self.round(&mut round) == Ok(true) {
            progress.reached(reached(self.position()));
        }
    }

    /// Starts the thread.
    pub fn start(self: &Arc<Self>) -> Result<Handle> {
        let this = self.clone();
        thread::spawn("reput", move || this.run())
    }

    /// Ends the thread after it has dispatched everything that the disk takes.
    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.wake();
    }

    /// To be called after bytes were published in the log.
    pub fn appended(&self) {
        // Either these loads see who rests or waits, or he sees the new end of the log.
        fence(SeqCst);
        match self.rest.load(Relaxed) {
            rest::NONE => {}
            rest::NAP if self.listener.waiting.load(Relaxed) == 0 => {}
            _ => self.wake(),
        }
    }

    /// `appended` some time ago: dispatches here if somebody waits for messages.
    pub fn dispatch_waited(&self) {
        fence(SeqCst);
        match self.listener.waiting.load(Relaxed) {
            0 => self.appended(),
            _ => self.dispatch(),
        }
    }

    fn wake(&self) {
        if self.rest.swap(rest::NONE, SeqCst) != rest::NONE
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Dispatches here what the thread has not come to, unless somebody is just doing it. For
    /// those who would otherwise miss a message that is stored.
    pub fn dispatch(&self) {
        fence(SeqCst);
        while self.behind_bytes() > 0 && self.thread.get().is_some() {
            let mut round = match self.round.try_lock() {
                Ok(round) => round,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // He looks once more after he has given the lock back.
                Err(TryLockError::WouldBlock) => return,
            };
            let from = self.position();
            while self.round(&mut round) == Ok(true) {}
            drop(round);
            if self.position() == from {
                return self.wake();
            }
            fence(SeqCst);
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
        let _ = self.thread.set(std::thread::current());
        let mut busy = false;
        loop {
            let end = self.log.max_offset();
            let mut round = self.lock();
            let moved = self.round(&mut round);
            if moved == Ok(false) {
                self.accept();
                round.queues = Default::default();
                round.ahead.clear();
                if !busy {
                    self.derived.queues.handed.want(false);
                }
            }
            drop(round);
            match moved {
                Ok(true) => busy = true,
                _ if self.stopping.load(SeqCst) => return,
                Ok(false) => self.rest(std::mem::take(&mut busy), end),
                Err(Stalled) => std::thread::park_timeout(RETRY),
            }
        }
    }

    /// Until the log ends beyond `end`, or `stop`; when there was something to do just now and
    /// nobody waits for more, at most for `NAP`.
    fn rest(&self, busy: bool, end: i64) {
        let nap = busy && self.listener.waiting.load(SeqCst) == 0;
        self.rest.store(if nap { rest::NAP } else { rest::SLEEP }, SeqCst);
        fence(SeqCst);
        let waited = !nap || self.listener.waiting.load(SeqCst) > 0;
        if (waited && self.log.max_offset() > end) || self.stopping.load(SeqCst) {
            self.rest.store(rest::NONE, SeqCst);
        }
        let until = Instant::now() + NAP;
        while self.rest.load(SeqCst) != rest::NONE {
            if !nap {
                std::thread::park();
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.rest.store(rest::NONE, SeqCst);
            } else {
                std::thread::park_timeout(left);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut announced = 0usize;
        let mut met = Vec::with_capacity(AHEAD);
        while at < bytes.len() {
            let position = file.start() + at as i64;
            let bad = self.meet(&bytes[at..], position, round, &mut met);
            if let Some(bad) = bad.filter(|_| met.is_empty()) {
                at = match bad {
                    Checked::Blank(left) if fills(left, file.size() - at) => file.size(),
                    bad => match self.after_bad(&file, at, &bad, round) {
                        Some(next) => next,
                        None => break,
                    },
                };
                self.position.store(file.start() + at as i64, Release);
                continue;
            }
            if self.meets_many(announced == 0, round) {
                self.look_ahead(&met, round);
            }
            for met in met.drain(..) {
                self.record(&met, round)?;
                at += met.record.total_size() as usize;
                self.position.store(file.start() + at as i64, Release);
                announced += 1;
                if announced.is_multiple_of(ANNOUNCED_MAX) {
                    self.tell(&*self.listener.done);
                }
            }
        }
        self.tell(&*self.listener.done);
        Ok(at > start)
    }

    /// Whether most records are of queues that are not at hand, to go by the last ones, or by what
    /// was when dispatch rested.
    fn meets_many(&self, rested: bool, round: &mut Round) -> bool {
        let handed = &self.derived.queues.handed;
        let many = std::mem::take(&mut round.missed) > AHEAD / 2 || rested && handed.is_wanted();
        handed.want(many);
        many
    }

    /// Adds to `met` the records, at most `AHEAD`, that stand here, at `position` of the log. Has
    /// the processor load where their unique keys go in the index: each is elsewhere. What ends
    /// them, if they are fewer and something stands there, is no record of this place.
    fn meet<'a>(
        &self,
        bytes: &'a [u8],
        position: i64,
        round: &Round,
        met: &mut Vec<Met<'a>>,
    ) -> Option<Checked<'a>> {
        let mut at = 0;
        while met.len() < AHEAD && at < bytes.len() {
            let position = position + at as i64;
            let record = match RecordView::parse(&bytes[at..], false) {
                Checked::Record(record) if record.physical_offset() == position => record,
                bad => return Some(bad),
            };
            at += record.total_size() as usize;
            let text = record.properties();
            let properties = Properties::read(text);
            let transaction = flags::transaction(record.sys_flag());
            let indexed = transaction != flags::TRANSACTION_ROLLBACK
                && round.config.store.message_index_enable;
            let unique = properties.unique_key.filter(|_| indexed);
            let unique = unique.map(|key| self.derived.index.expect(record.topic(), key));
            met.push(Met { position, record, text, properties, indexed, unique });
        }
        None
    }

    /// Finds the queues of these records and has the processor load what they need. One after the
    /// other each would wait for memory several times.
    fn look_ahead(&self, met: &[Met<'_>], round: &mut Round) {
        let Some((first, last)) = met.first().zip(met.last()) else { return };
        round.forget_before(first.position);
        if round.ahead.len() < met.len() {
            self.derived.queues.handed.take(&mut round.given, &mut round.ahead);
        }
        let of_these = |(position, _): &&(i64, Arc<Queue>)| *position <= last.position;
        let known = round.ahead.iter().take_while(of_these).count();
        if known > met.len() / 2 {
            return queues::prefetch(round.ahead.iter().take(known).map(|(_, queue)| queue));
        }
        let places = met.iter().map(|met| (met.record.topic(), met.record.queue_id()));
        let found = self.derived.queues.get_all(&places.collect::<Vec<_>>());
        round.ahead.drain(..known);
        for (met, queue) in met.iter().zip(found).rev() {
            queue.into_iter().for_each(|queue| round.ahead.push_front((met.position, queue)));
        }
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
        let next = next_record(bytes, at, file.start(), usize::MAX).unwrap_or(bytes.len());
        let why = match bad {
            Checked::WrongSize(size) => format!("a record whose size is not its {size} bytes"),
            Checked::Record(_) => "a record of another place".to_owned(),
            _ => "no record".to_owned(),
        };
        log::error!(target: "store", "{}: {why} at {at}; {} bytes are not dispatched",
            file.path().display(), next - at);
        Some(next)
    }

    fn record(&self, met: &Met<'_>, round: &mut Round) -> std::result::Result<(), Stalled> {
        let Met { position, record, text, properties, indexed, unique } = met;
        let position = *position;
        let transaction = flags::transaction(record.sys_flag());
        let rolled_back = transaction == flags::TRANSACTION_ROLLBACK;
        let mut tags_code = 0;
        let queued = !rolled_back && transaction != flags::TRANSACTION_PREPARED;
        if queued {
            tags_code = self.tags_code(record, properties);
            self.enqueue(record, position, tags_code, round)
                .and_then(|()| self.enqueue_further(record, properties, tags_code, round))
                .map_err(|e| self.refuse(Refusal::QueueError, position, &e))?;
        }
        if *indexed {
            let keyed = Keyed {
                topic: record.topic(),
                unique: *unique,
                keys: properties.keys,
                physical_offset: position,
                store_timestamp: record.store_timestamp(),
            };
            let again = self.begin.index_unsure && position < self.begin.end;
            let index = &self.derived.index;
            let put = if again { index.put_missing(&keyed) } else { index.put(&keyed) };
            put.map_err(|e| self.refuse(Refusal::IndexError, position, &e))?;
        }
        if queued && position >= self.begin.end {
            let arrival = Arrival {
                topic: record.topic(),
                queue_id: record.queue_id(),
                queue_offset: record.queue_offset(),
                tags_code,
                store_timestamp: record.store_timestamp(),
                properties: text,
            };
            self.tell(|| (self.listener.arrived)(&arrival));
            for (topic, queue_id, queue_offset) in further(properties, record, round) {
                let arrival = Arrival { topic, queue_id, queue_offset, ..arrival };
                self.tell(|| (self.listener.arrived)(&arrival));
            }
        }
        Ok(())
    }

    /// A listener that panics must not end dispatch.
    fn tell(&self, what: impl Fn()) {
        if catch_unwind(AssertUnwindSafe(what)).is_err() {
            log::error!(target: "store", "the listener panicked at {}", self.position());
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
        if self.derived.deleted.has(topic, position, record.store_timestamp()) {
            return Ok(());
        }
        let size = record.total_size();
        let unit = Unit { physical_offset: position, size, tags_code };
        let usable =
            |q: &&Arc<Queue>| q.queue_id() == id && **q.topic() == *topic && !q.is_deleted();
        let at = id as usize % QUEUES_KEPT;
        // First what is found by the position: that compares names only once.
        if let Some(ahead) = round.ahead_at(position).filter(|queue| usable(&queue)) {
            if !round.queues[at].as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &ahead)) {
                round.missed += 1;
                round.queues[at] = Some(ahead);
            }
        } else if round.queues[at].as_ref().filter(usable).is_none() {
            round.missed += 1;
            match self.derived.queues.get_or_create(topic, id) {
                Ok(queue) => round.queues[at] = Some(queue),
                Err(e) => {
                    log::error!(target: "store", "record at {position} not dispatched: {e}");
                    return Ok(());
                }
            }
        }
        let Some(queue) = &round.queues[at] else { return Ok(()) };
        let ext = queue.has_ext().then(|| {
            round.bit_map.clear();
            if round.config.enable_calc_filter_bit_map {
                (self.listener.bit_map)(topic, record.properties(), &mut round.bit_map);
            }
            let store_timestamp = record.store_timestamp();
            ExtUnit { tags_code, store_timestamp, bit_map: &round.bit_map }
        });
        self.append(queue, record.queue_offset(), unit, ext.as_ref())?;
        let checkpoint = &self.derived.checkpoint;
        checkpoint.logics.store(record.store_timestamp(), Release);
        if round.is_slave() {
            checkpoint.physic.store(record.store_timestamp(), Release);
        }
        Ok(())
    }

    /// Appends to the queues that the message names besides its own.
    fn enqueue_further(
        &self,
        record: &RecordView<'_>,
        properties: &Properties<'_>,
        tags_code: i64,
        round: &Round,
    ) -> Result<()> {
        let position = record.physical_offset();
        for (name, queue_id, offset) in further(properties, record, round) {
            if self.derived.deleted.has(name, position, record.store_timestamp()) {
                continue;
            }
            let Ok(queue) = self.derived.queues.get_or_create(name, queue_id) else { continue };
            let unit = Unit { physical_offset: position, size: record.total_size(), tags_code };
            self.append(&queue, offset, unit, None)?;
        }
        Ok(())
    }

    fn append(
        &self,
        queue: &Arc<Queue>,
        offset: i64,
        unit: Unit,
        ext: Option<&ExtUnit<'_>>,
    ) -> Result<()> {
        let queues = &self.derived.queues;
        if unit.physical_offset >= self.begin.end {
            return queues.append(queue, offset, unit, ext).map(|_| ());
        }
        let segments = self.log.segments();
        let (topic, id) = (queue.topic(), queue.queue_id());
        let wrong = |there| stands(segments, topic, id, offset, there).is_none();
        let whole = segments.min_offset() == Some(0);
        if queue.append_again(offset, unit, ext, whole, wrong)? {
            queues.to_flush(queue);
        }
        queue.next_offset.fetch_max(queue.max_offset(), AcqRel);
        Ok(())
    }

    /// The unit of a record at `position` of the log.
    pub fn unit(&self, record: &RecordView<'_>, position: i64) -> Unit {
        let tags_code = self.tags_code(record, &Properties::read(record.properties()));
        Unit { physical_offset: position, size: record.total_size(), tags_code }
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
        let why = format!("dispatch stands at {position}: {error}");
        if self.derived.flags.set(refusal, &why) {
            log::error!(target: "store", "puts are refused, {why}");
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

/// Name, number and offset of each queue that a message goes to besides its own.
fn further<'a>(
    properties: &Properties<'a>,
    record: &RecordView<'_>,
    round: &Round,
) -> impl Iterator<Item = (&'a str, i32, i64)> {
    let (names, offsets) = properties.further;
    let names = names.filter(|_| round.config.store.enable_multi_dispatch);
    let (store, id) = (&round.config.store, record.queue_id());
    let place = move |(name, offset)| (name, multi::queue_id(store, name, id), offset);
    multi::entries(names, offsets).map(place)
}

/// The disk refused; the same record is tried again.
#[derive(Debug, PartialEq, Eq)]
struct Stalled;

#[cfg(test)]
mod tests;
