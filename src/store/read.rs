//! Reading messages: by queue offset, by physical offset, by time. Replies are slices of the
//! mapped log; no body is copied.

use std::sync::Arc;
use std::time::Instant;

use super::Store;
use super::cold::{Place, Wanted};
use super::commit_log::CommitLog;
use super::consume_queue::{Queue, Unit};
use super::consume_queue_ext::{self, ExtUnit};
use super::mapped::MappedFile;
use super::queues::QueuesAtHand;
use super::status::GetStatus;
use crate::base::slice::Slice;
use crate::config::{BrokerConfig, BrokerRole, StoreConfig};
use crate::message::record::{self, Checked, RecordView};
use crate::sys;

/// A get looks at this many units at least before it gives up on finding a match.
const SCAN_UNITS_MIN: usize = 800;
/// So many damaged messages in a row are passed over in a search by time.
const DAMAGED_UNITS_MAX: i64 = 1000;
/// Bytes of a record up to and with the field that says where it stands.
const HEAD_BYTES: usize = 36;

/// What a queue gave from some offset on.
pub struct GetResult {
    pub status: GetStatus,
    /// Queue offset to ask for next.
    pub next_begin_offset: i64,
    /// Oldest offset of the queue.
    pub min_offset: i64,
    /// Offset of the queue's next message.
    pub max_offset: i64,
    /// The records, back to back over all slices.
    pub slices: Vec<Slice>,
    /// Their bytes.
    pub bytes: usize,
    /// Their number.
    pub count: i32,
    /// The messages are so old that a slave should serve them.
    pub suggest_slave: bool,
    /// Bytes from the last record looked at to the end of the log; `None` when it looked at none.
    pub behind_bytes: Option<i64>,
    /// A reader of old messages will soon be at this queue offset, from which on the disk has not
    /// been asked yet: `Store::warm` wants to be called there. Set by `get_now`.
    pub ahead: Option<i64>,
}

impl GetResult {
    fn empty(status: GetStatus, next_begin_offset: i64, queue: (i64, i64)) -> GetResult {
        GetResult {
            status,
            next_begin_offset,
            min_offset: queue.0,
            max_offset: queue.1,
            slices: Vec::new(),
            bytes: 0,
            count: 0,
            suggest_slave: false,
            behind_bytes: None,
            ahead: None,
        }
    }
}

impl Store {
    /// Messages of a queue from `offset` on whose tags code passes `filter`: at most `max_count`
    /// and what the transfer limits of the configuration allow, but the first one always.
    pub fn get(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        max_count: i32,
        filter: &dyn Fn(i64) -> bool,
    ) -> GetResult {
        let pass = Pass { tags: filter, ext: None, properties: None };
        self.get_where(topic, queue_id, offset, max_count, &pass)
    }

    /// The same, of those that pass all of `pass`.
    pub fn get_where(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        max_count: i32,
        pass: &Pass,
    ) -> GetResult {
        let began = Instant::now();
        let queue = self.queues.get(topic, queue_id);
        let result = self.look_up(queue.as_ref(), offset, max_count, pass, true);
        let result = result.expect("a get that may wait has a result");
        self.stats.get(result.count.into(), began.elapsed());
        result
    }

    /// The same without waiting for the disk: `None` when something has to be read from there, by
    /// `warm` on a thread that may wait. From one of the queues at hand if its caller has them.
    pub fn get_now(
        &self,
        topic: &str,
        queue_id: i32,
        at_hand: Option<&QueuesAtHand>,
        offset: i64,
        max_count: i32,
        pass: &Pass,
    ) -> Option<GetResult> {
        let began = Instant::now();
        let found;
        let queue = match at_hand.and_then(|queues| queues.get(queue_id)) {
            Some(queue) => Some(queue),
            None => {
                found = self.queues.get(topic, queue_id);
                found.iter().for_each(|queue| at_hand.iter().for_each(|all| all.keep(queue)));
                found.as_ref()
            }
        };
        let result = self.look_up(queue, offset, max_count, pass, false)?;
        self.stats.get(result.count.into(), began.elapsed());
        Some(result)
    }

    /// `None`: this has to wait for the disk, and may not.
    fn look_up(
        &self,
        queue: Option<&Arc<Queue>>,
        offset: i64,
        max_count: i32,
        pass: &Pass,
        may_wait: bool,
    ) -> Option<GetResult> {
        let config = self.config.get();
        let at_master = |next| if keeps_offset(&config) { offset } else { next };
        let nothing = |status, next, range| Some(GetResult::empty(status, at_master(next), range));
        let Some(queue) = queue else {
            return nothing(GetStatus::NoMessageInQueue, 0, (0, 0));
        };
        if offset >= queue.max_offset() {
            self.reput.dispatch();
        }
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let refused = match offset {
            _ if max == 0 => Some((GetStatus::NoMessageInQueue, 0)),
            _ if offset < min => Some((GetStatus::OffsetTooSmall, min)),
            _ if offset == max => Some((GetStatus::OffsetOverflowOne, offset)),
            _ if offset > max => Some((GetStatus::OffsetOverflowBadly, max)),
            _ => None,
        };
        if let Some((status, next)) = refused {
            return nothing(status, next, (min, max));
        }
        let limits = Limits::new(&config.store, max_count, &self.log);
        let units = match may_wait {
            true => queue.units(offset),
            false => queue.units_now(offset, limits.units()),
        };
        let Some(units) = units else {
            let next = queue.next_file_offset(offset);
            return nothing(GetStatus::OffsetFoundNull, next, (min, max));
        };
        let check_below = limits.cold_below.max(self.written_from);
        let mut ahead = None;
        if !may_wait {
            let wanted = Wanted { queue, offset, units: &units, limits: &limits, pass };
            match self.place(&wanted, check_below) {
                Place::Memory { ahead: next } => ahead = next,
                Place::Disk => return None,
            }
        }
        let check = |offset, unit: Unit| match unit.physical_offset < check_below {
            true => self.checked(queue, offset, unit),
            false => Some(unit),
        };
        let mut scan = Scan::new(&self.log, queue, &limits);
        let mut scanned = 0;
        for unit in units.iter().take(limits.units()) {
            if !scan.unit(unit, pass, |unit| check(offset + scanned, unit)) {
                break;
            }
            scanned += 1;
        }
        Some(GetResult { ahead, ..scan.result(offset + scanned, (min, max)) })
    }

    /// Offset of the queue's next message; 0 for a queue that is not there.
    pub fn max_offset_in_queue(&self, topic: &str, queue_id: i32) -> i64 {
        self.reput.dispatch();
        self.queues.get(topic, queue_id).map_or(0, |queue| queue.max_offset())
    }

    /// Oldest offset of the queue; 0 for a queue that is not there.
    pub fn min_offset_in_queue(&self, topic: &str, queue_id: i32) -> i64 {
        self.queues.get(topic, queue_id).map_or(0, |queue| queue.min_offset())
    }

    /// The offset whose message was stored at `time` (ms), or nearest to it; of two equally near,
    /// the earlier. 0 for a queue without messages.
    pub fn offset_by_time(&self, topic: &str, queue_id: i32, time: i64) -> i64 {
        let Some(queue) = self.queues.get(topic, queue_id) else { return 0 };
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let log_min = self.min_physical_offset();
        // A damaged message counts as the next whole one.
        let stored = |offset: i64| {
            let gone = |unit: Unit| unit != Unit::BLANK && unit.physical_offset < log_min;
            let whole = |at| self.stored_at(&queue, at);
            whole(offset).or_else(|| match queue.unit(offset).is_none_or(gone) {
                true => None,
                false => (offset + 1..max.min(offset + DAMAGED_UNITS_MAX)).find_map(whole),
            })
        };
        // The first message stored at or after `time`. What is gone is old, so it counts as before.
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            if stored(middle).is_none_or(|at| at < time) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let right = Some(low).filter(|at| *at < max).and_then(stored);
        let left = Some(low - 1).filter(|at| *at >= min).and_then(stored);
        match (left, right) {
            (Some(left), Some(right))
                if time.saturating_sub(left) <= right.saturating_sub(time) =>
            {
                low - 1
            }
            (_, Some(_)) => low,
            (Some(_), None) => low - 1,
            (None, None) => min,
        }
    }

    /// Store time of the message at a queue offset.
    pub fn store_time_at(&self, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        self.stored_at(&*self.queues.get(topic, queue_id)?, offset)
    }

    /// Store time of the queue's oldest message.
    pub fn earliest_store_time(&self, topic: &str, queue_id: i32) -> Option<i64> {
        let queue = self.queues.get(topic, queue_id)?;
        self.stored_at(&queue, queue.min_offset())
    }

    fn stored_at(&self, queue: &Queue, offset: i64) -> Option<i64> {
        let unit = queue.unit(offset)?;
        let record = self.record_at(unit.physical_offset)?;
        RecordView::new(record.as_bytes()).map(|record| record.store_timestamp())
    }

    /// The whole record that begins at a physical offset; `None` when none begins there, or it is
    /// damaged.
    pub fn record_at(&self, physical_offset: i64) -> Option<Slice> {
        let file = self.log.segments().find(physical_offset)?;
        let position = usize::try_from(physical_offset - file.start()).ok()?;
        let rest = file.bytes(position, file.wrote().checked_sub(position)?)?;
        let Checked::Record(record) = RecordView::parse(rest, true) else { return None };
        if record.physical_offset() != physical_offset {
            return None;
        }
        file.slice(position, record.bytes().len())
    }

    /// The whole record at a queue offset; `None` when it is not there, or not whole.
    pub fn record_in_queue(&self, topic: &str, queue_id: i32, offset: i64) -> Option<Slice> {
        let queue = self.queues.get(topic, queue_id)?;
        let unit = self.checked(&queue, offset, queue.unit(offset)?)?;
        let record = self.record_at(unit.physical_offset)?;
        let view = RecordView::new(record.as_bytes())?;
        (view.topic() == topic && view.queue_offset() == offset).then_some(record)
    }

    /// Physical offset from which on records are taken to be in memory, if this process wrote them.
    pub(super) fn recent_from(&self) -> i64 {
        Limits::new(&self.config.get().store, 1, &self.log).cold_below
    }

    /// Whether the message at a queue offset is young enough to be in the page cache. So is one
    /// that is not there.
    pub fn is_in_memory(&self, topic: &str, queue_id: i32, offset: i64) -> bool {
        let unit = self.queues.get(topic, queue_id).and_then(|queue| queue.unit(offset));
        let limits = Limits::new(&self.config.get().store, 1, &self.log);
        unit.is_none_or(|unit| !limits.is_old(unit.physical_offset))
    }
}

/// A slave that does not check offsets leaves the judgement about them to its master.
fn keeps_offset(config: &BrokerConfig) -> bool {
    config.store.broker_role == BrokerRole::Slave && !config.store.offset_check_in_slave
}

/// How much one get may return.
pub(super) struct Limits {
    count: usize,
    hot: (usize, usize),
    cold: (usize, usize),
    /// Records below this physical offset are taken to be on disk only.
    cold_below: i64,
    /// The end of the log.
    end: i64,
}

impl Limits {
    fn new(store: &StoreConfig, max_count: i32, log: &CommitLog) -> Limits {
        let limit = |value: i32| usize::try_from(value).unwrap_or(0);
        let ratio = i64::from(store.access_message_in_memory_max_ratio);
        let memory = i64::try_from(memory_bytes()).unwrap_or(i64::MAX);
        let end = log.max_offset();
        Limits {
            count: limit(max_count),
            hot: (
                limit(store.max_transfer_bytes_on_message_in_memory),
                limit(store.max_transfer_count_on_message_in_memory),
            ),
            cold: (
                limit(store.max_transfer_bytes_on_message_in_disk),
                limit(store.max_transfer_count_on_message_in_disk),
            ),
            cold_below: end.saturating_sub((memory / 100).saturating_mul(ratio)),
            end,
        }
    }

    fn is_old(&self, physical_offset: i64) -> bool {
        physical_offset < self.cold_below
    }

    /// Most messages and bytes of an answer with a record at this physical offset.
    pub(super) fn at(&self, physical_offset: i64) -> (usize, usize) {
        let old = self.is_old(physical_offset);
        let (bytes, count) = if old { self.cold } else { self.hot };
        (self.count.min(count), bytes)
    }

    /// Most messages of any answer.
    pub(super) fn count(&self) -> usize {
        self.count.min(self.hot.1.max(self.cold.1))
    }

    /// How many units a get looks at, at most.
    pub(super) fn units(&self) -> usize {
        SCAN_UNITS_MIN.max(self.count)
    }
}

fn memory_bytes() -> u64 {
    static BYTES: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *BYTES.get_or_init(sys::host::memory_bytes)
}

/// What a get returns of what it looks at.
pub struct Pass<'a> {
    /// By tags code; one whose code is lost passes.
    pub tags: &'a dyn Fn(i64) -> bool,
    /// By what stands beside the queue, before the record is looked at.
    pub ext: Option<&'a dyn Fn(&ExtUnit<'_>) -> bool>,
    /// By the properties of the record.
    pub properties: Option<&'a dyn Fn(&str) -> bool>,
}

impl Pass<'_> {
    pub(super) fn unit(&self, queue: &Queue, tags_code: i64) -> bool {
        if !consume_queue_ext::is_address(tags_code) {
            return (self.tags)(tags_code);
        }
        let ext = |unit: ExtUnit<'_>| {
            (self.tags)(unit.tags_code) && self.ext.is_none_or(|passes| passes(&unit))
        };
        queue.ext(tags_code, ext).unwrap_or(true)
    }
}

/// Walks units and collects their records.
struct Scan<'a> {
    log: &'a CommitLog,
    queue: &'a Queue,
    limits: &'a Limits,
    /// File of the last record.
    file: Option<Arc<MappedFile>>,
    /// Collected and not yet in `slices`: position in `file` and length of adjacent records.
    open: (usize, usize),
    slices: Vec<Slice>,
    bytes: usize,
    count: usize,
    /// Units of records below are passed over: their file is gone.
    gone_below: i64,
    was_removing: bool,
    last_physical: i64,
}

impl<'a> Scan<'a> {
    fn new(log: &'a CommitLog, queue: &'a Queue, limits: &'a Limits) -> Scan<'a> {
        Scan {
            log,
            queue,
            limits,
            file: None,
            open: (0, 0),
            slices: Vec::new(),
            bytes: 0,
            count: 0,
            gone_below: i64::MIN,
            was_removing: false,
            last_physical: 0,
        }
    }

    /// Looks at the next unit, which `check` may replace; false when the result is full without it.
    fn unit(&mut self, unit: Unit, pass: &Pass, check: impl Fn(Unit) -> Option<Unit>) -> bool {
        self.last_physical = unit.physical_offset;
        if unit.physical_offset < self.gone_below {
            return true;
        }
        let size = usize::try_from(unit.size).unwrap_or(0);
        if self.is_full(unit.physical_offset, size) {
            return false;
        }
        if !pass.unit(self.queue, unit.tags_code) {
            return true;
        }
        let checked = check(unit);
        let size = checked.map_or(size, |unit| usize::try_from(unit.size).unwrap_or(0));
        match checked.and_then(|unit| self.position(unit.physical_offset, size)) {
            Some(position) if !self.passes(position, size, pass) => {}
            Some(position) => {
                if position != self.open.0 + self.open.1 {
                    self.close_slice();
                    self.open.0 = position;
                }
                self.open.1 += size;
                self.bytes += size;
                self.count += 1;
            }
            None => self.was_removing = true,
        }
        true
    }

    /// Whether the record at this place of `file` has properties that are wanted.
    fn passes(&self, position: usize, size: usize, pass: &Pass) -> bool {
        let Some(wanted) = pass.properties else { return true };
        let bytes = self.file.as_ref().and_then(|file| file.bytes(position, size));
        bytes.and_then(RecordView::new).is_some_and(|record| wanted(record.properties()))
    }

    fn is_full(&self, physical_offset: i64, size: usize) -> bool {
        let (count, bytes) = self.limits.at(physical_offset);
        self.count > 0 && (self.count >= count || self.bytes.saturating_add(size) > bytes)
    }

    /// Where in `file`, which is changed when necessary, the unit's record begins; `None` when it
    /// is not there, or what is there is not that record.
    fn position(&mut self, physical_offset: i64, size: usize) -> Option<usize> {
        let inside = |file: &MappedFile| (file.start()..file.end()).contains(&physical_offset);
        if !self.file.as_deref().is_some_and(inside) {
            self.close_slice();
            self.file = self.log.segments().find(physical_offset);
        }
        let Some(file) = &self.file else {
            let first = self.log.segments().min_offset().unwrap_or(i64::MAX);
            self.gone_below = self.gone_below.max(first);
            return None;
        };
        let position = usize::try_from(physical_offset - file.start()).ok()?;
        let bytes = file.bytes(position, size)?;
        stands_at(bytes, physical_offset).then_some(position)
    }

    fn close_slice(&mut self) {
        let (position, len) = std::mem::take(&mut self.open);
        if len > 0
            && let Some(slice) = self.file.as_ref().and_then(|file| file.slice(position, len))
        {
            self.slices.push(slice);
        }
    }

    fn result(mut self, next_begin_offset: i64, queue: (i64, i64)) -> GetResult {
        self.close_slice();
        let status = match self.count {
            0 if self.was_removing => GetStatus::MessageWasRemoving,
            0 => GetStatus::NoMatchedMessage,
            _ => GetStatus::Found,
        };
        GetResult {
            slices: self.slices,
            bytes: self.bytes,
            count: self.count as i32,
            suggest_slave: self.limits.is_old(self.last_physical),
            behind_bytes: Some(self.limits.end - self.last_physical),
            ..GetResult::empty(status, next_begin_offset, queue)
        }
    }
}

/// Whether `bytes` are the record that was written at this physical offset, as far as its head
/// says.
fn stands_at(bytes: &[u8], physical_offset: i64) -> bool {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return false };
    let word = |at: usize| head[at..at + 4].try_into().map_or(0, i32::from_be_bytes);
    let offset = head[28..].try_into().map_or(-1, i64::from_be_bytes);
    word(0) as usize == bytes.len()
        && matches!(word(4), record::MAGIC_V1 | record::MAGIC_V2)
        && offset == physical_offset
}

#[cfg(test)]
mod tests;
