//! One consume queue: for each message of a topic@queue, in order, where its record is.
//!
//! A unit is 20 bytes: physical offset i64, record size i32, tags code i64, big-endian. The unit
//! of queue offset `q` stands at byte `q * 20` of the queue's files. Only dispatch appends; any
//! number of threads read up to the published end.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::consume_queue_ext::{self, Ext, ExtUnit};
use super::mapped::PAGE_BYTES;
use super::queue_files::{Look, QueueFiles};
use super::queue_scan::Found;
use crate::base::Result;
use crate::base::limits::COLD_READ_UNITS;
use crate::sys::vector;

/// Bytes of a unit.
pub const UNIT_BYTES: usize = 20;
const UNIT: i64 = UNIT_BYTES as i64;
const PAGE: i64 = PAGE_BYTES as i64;
/// So many units from the end are looked at for an ext address.
const EXT_LOOKED_FOR: usize = 1000;
/// Bytes of the shortest record.
const RECORD_BYTES_MIN: i64 = 91;

/// Where one message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Of the record in the commit log.
    pub physical_offset: i64,
    /// Of the record in bytes.
    pub size: i32,
    /// Hash of the tag, delivery time of a delayed message, or address of an ext unit.
    pub tags_code: i64,
}

impl Unit {
    /// Fills the place of units that were never there, below a queue's first one.
    pub const BLANK: Unit = Unit { physical_offset: 0, size: i32::MAX, tags_code: 0 };

    /// From the first 20 bytes of `bytes`, which must be that long.
    pub fn from_bytes(bytes: &[u8]) -> Unit {
        let at = |from: usize| bytes[from..from + 8].try_into().map_or(0, i64::from_be_bytes);
        let size = bytes[8..12].try_into().map_or(0, i32::from_be_bytes);
        Unit { physical_offset: at(0), size, tags_code: at(12) }
    }

    /// As it stands in the file.
    pub fn to_bytes(self) -> [u8; UNIT_BYTES] {
        let mut out = [0; UNIT_BYTES];
        out[..8].copy_from_slice(&self.physical_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.size.to_be_bytes());
        out[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        out
    }

    /// Whether it can be a unit.
    pub(super) fn is_valid(self) -> bool {
        self.physical_offset >= 0 && self.size > 0
    }

    /// Whether the record lies below `min_physical`, or there never was one.
    pub(super) fn is_before(self, min_physical: i64) -> bool {
        self.physical_offset < min_physical || self == Unit::BLANK
    }

    /// Whether the record ends at or before the log does, or there never was one.
    pub(super) fn is_in_log(self, log_end: i64) -> bool {
        self == Unit::BLANK || self.end() <= log_end
    }

    /// Physical offset after the record.
    pub(super) fn end(self) -> i64 {
        self.physical_offset.saturating_add(i64::from(self.size))
    }
}

/// The units of one file from some offset on, as far as published.
pub struct Units {
    look: Look,
}

impl Units {
    /// In order of queue offset.
    pub fn iter(&self) -> impl Iterator<Item = Unit> + '_ {
        self.look.bytes().chunks_exact(UNIT_BYTES).map(Unit::from_bytes)
    }

    /// Whether the first `count` of them are in memory.
    pub(super) fn are_resident(&self, count: usize) -> bool {
        match &self.look {
            Look::Map(file, range) => file.is_resident(first(range, count)),
            Look::Read(_) => true,
            Look::OnDisk => false,
        }
    }

    /// Whether these, which begin at queue offset `offset`, are the last page of the queue.
    pub(super) fn are_last_page(&self, offset: i64, queue: &Queue) -> bool {
        let begin = offset * UNIT % queue.file_bytes();
        let len = self.look.bytes().len() as i64;
        offset + len / UNIT == queue.max_offset()
            && begin / PAGE == (begin + len).saturating_sub(1) / PAGE
    }

    /// Reads the first `count` of them into memory.
    pub(super) fn read_in(&self, count: usize) -> io::Result<()> {
        let Look::Map(file, range) = &self.look else { return Ok(()) };
        let range = first(range, count);
        file.will_need(range.clone())?;
        file.read_in(range)
    }
}

/// Where the first `count` units of those in a range of bytes are.
fn first(range: &Range<usize>, count: usize) -> Range<usize> {
    range.start..range.start + range.len().min(count.saturating_mul(UNIT_BYTES))
}

/// The consume queue of one topic@queue.
pub struct Queue {
    topic: Arc<str>,
    queue_id: i32,
    /// What more is kept of each message.
    ext: Option<Box<Ext>>,
    /// Queue offset of the next message put; read and raised under the put lock only.
    pub next_offset: AtomicI64,
    files: QueueFiles,
    /// First readable byte.
    min: AtomicI64,
    flushed: AtomicI64,
    /// Physical offset after the last dispatched record.
    max_physical: AtomicI64,
    /// Already in the table's list of queues to flush.
    pub(super) dirty: AtomicBool,
    /// The topic was deleted: whoever still holds the queue appends nothing.
    deleted: AtomicBool,
    /// Held while appending or deleting.
    writing: Mutex<()>,
}

impl Queue {
    /// The queue of these files, as they were found.
    pub(super) fn new(
        topic: Arc<str>,
        queue_id: i32,
        files: QueueFiles,
        found: &Found,
        ext: Option<Ext>,
    ) -> Queue {
        Queue {
            topic,
            queue_id,
            ext: ext.map(Box::new),
            next_offset: AtomicI64::new(found.end / UNIT),
            min: AtomicI64::new(found.min),
            flushed: AtomicI64::new(found.flushed),
            max_physical: AtomicI64::new(found.max_physical),
            dirty: AtomicBool::new(false),
            deleted: AtomicBool::new(false),
            writing: Mutex::new(()),
            files,
        }
    }

    /// The topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The queue's number in its topic.
    pub fn queue_id(&self) -> i32 {
        self.queue_id
    }

    /// Queue offset after the last message.
    pub fn max_offset(&self) -> i64 {
        self.files.end() / UNIT
    }

    /// Queue offset of the oldest message still there.
    pub fn min_offset(&self) -> i64 {
        self.min.load(Acquire) / UNIT
    }

    /// Physical offset after the last record this queue knows.
    pub fn max_physical(&self) -> i64 {
        self.max_physical.load(Acquire)
    }

    /// Queue offset of the first unit in the file after the one of `offset`.
    pub fn next_file_offset(&self, offset: i64) -> i64 {
        let units = self.file_bytes() / UNIT;
        offset.saturating_add(units - offset % units)
    }

    /// The units from queue offset `offset` on, as many as are looked at together, at most to the
    /// end of their file; `None` below the minimum, at or above the maximum.
    pub fn units(&self, offset: i64) -> Option<Units> {
        self.look(offset, COLD_READ_UNITS, false)
    }

    /// The same, so many at least if there are; none of them when that would mean to wait for the
    /// disk and the file is not mapped. Of one that is, see `Units::are_resident`.
    pub(super) fn units_now(&self, offset: i64, count: usize) -> Option<Units> {
        self.look(offset, count, true)
    }

    fn look(&self, offset: i64, count: usize, now: bool) -> Option<Units> {
        let at = offset.checked_mul(UNIT)?;
        if at < self.min.load(Acquire) || at >= self.files.end() {
            return None;
        }
        let look = self.files.look(at, count.saturating_mul(UNIT_BYTES), now)?;
        Some(Units { look })
    }

    /// The unit at queue offset `offset`.
    pub fn unit(&self, offset: i64) -> Option<Unit> {
        self.look(offset, 1, false)?.iter().next()
    }

    /// Shows `look` what stands beside the queue for a unit that holds an address in place of its
    /// tags code; `None` when it is not there.
    pub fn ext<R>(&self, address: i64, look: impl FnOnce(ExtUnit<'_>) -> R) -> Option<R> {
        self.ext.as_ref()?.get(address, look)
    }

    /// Whether `append` takes a unit to stand beside the queue.
    pub fn has_ext(&self) -> bool {
        self.ext.is_some()
    }

    /// The tags code of a unit; `None` when it is lost.
    pub fn tags_code(&self, unit: &Unit) -> Option<i64> {
        match consume_queue_ext::is_address(unit.tags_code) {
            true => self.ext(unit.tags_code, |ext| ext.tags_code),
            false => Some(unit.tags_code),
        }
    }

    fn file_bytes(&self) -> i64 {
        self.files.size()
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the processor load what `append` and who looks at the name will need.
    pub(super) fn prefetch(&self) {
        vector::prefetch(self.topic.as_ptr().addr());
        self.files.prefetch();
    }

    /// Appends the unit of the message at queue offset `offset`; false when the queue has it
    /// already. Where the queue has such files, `ext` is kept beside it. Errors: no file, or no
    /// disk space for it; nothing was appended then.
    pub fn append(&self, offset: i64, unit: Unit, ext: Option<&ExtUnit<'_>>) -> Result<bool> {
        if unit.end() <= self.max_physical() {
            return Ok(false);
        }
        let Some(at) = offset.checked_mul(UNIT).filter(|at| *at >= 0) else {
            log::warn!(target: "store", "{self}: impossible queue offset {offset}, {unit:?}");
            return Ok(false);
        };
        let _writing = self.writing();
        if self.is_deleted() {
            return Ok(false);
        }
        let current = self.make_room(at)?;
        if offset != 0 && at < current {
            return Ok(false);
        }
        let tags_code = self.put_ext(ext).unwrap_or(unit.tags_code);
        let unit = Unit { tags_code, ..unit };
        if offset != 0 && at > current {
            return self.append_behind_gap(at, current, unit).map(|()| true);
        }
        self.add(unit, current)?;
        Ok(true)
    }

    /// `append` of a record that the log held at the start, where damage may have given one another
    /// place. A place that is empty, or whose unit comes after the next one's record or is `wrong`,
    /// is given to the unit that the log has for it now. `whole`: the log begins at 0, and so does
    /// the queue.
    pub fn append_again(
        &self,
        offset: i64,
        unit: Unit,
        ext: Option<&ExtUnit<'_>>,
        whole: bool,
        wrong: impl Fn(Unit) -> bool,
    ) -> Result<bool> {
        if self.files.end() == 0 && offset > 0 {
            if whole {
                return self.append_first(offset, unit);
            }
            if offset > unit.physical_offset / RECORD_BYTES_MIN {
                log::error!(target: "store", "{self}: impossible queue offset {offset}, {unit:?}");
                return Ok(false);
            }
        }
        Ok(self.append(offset, unit, ext)? || self.settle(offset, unit, wrong)?)
    }

    /// The first unit, where the queue has lost all before.
    fn append_first(&self, offset: i64, unit: Unit) -> Result<bool> {
        let _writing = self.writing();
        if self.is_deleted() {
            return Ok(false);
        }
        let current = self.make_room(0)?;
        self.append_behind_gap(offset.saturating_mul(UNIT), current, unit).map(|()| true)
    }

    fn settle(&self, offset: i64, unit: Unit, wrong: impl Fn(Unit) -> bool) -> Result<bool> {
        let _writing = self.writing();
        let at = offset.saturating_mul(UNIT);
        let begin = self.files.first_start().unwrap_or(i64::MAX);
        if self.is_deleted() || at < begin || at >= self.files.end() {
            return Ok(false);
        }
        let unit_at = |at: i64| self.files.unit_in_turn(at).map(|bytes| Unit::from_bytes(&bytes));
        let Some(there) = unit_at(at) else { return Ok(false) };
        if there.physical_offset == unit.physical_offset {
            return Ok(false);
        }
        let before = (at > begin).then(|| unit_at(at - UNIT)).flatten();
        let late = before.is_some_and(|before| {
            before == Unit::BLANK || before.physical_offset > there.physical_offset
        });
        if !(there == Unit::BLANK || late || wrong(there)) {
            return Ok(false);
        }
        log::error!(target: "store", "{self}: {unit:?} takes the place {offset} of {there:?}");
        self.files.overwrite(at, &unit.to_bytes())?;
        self.min.fetch_min(at, AcqRel);
        Ok(true)
    }

    /// The address of the ext unit, stored; `None`: the tags code itself must do.
    fn put_ext(&self, unit: Option<&ExtUnit<'_>>) -> Option<i64> {
        self.ext.as_ref()?.put(unit?).unwrap_or_else(|e| {
            log::warn!(target: "store", "{self}: only the tags code is kept: {e}");
            None
        })
    }

    fn add(&self, unit: Unit, at: i64) -> Result<()> {
        self.files.append(&unit.to_bytes())?;
        if unit != Unit::BLANK {
            self.max_physical.store(unit.end(), Release);
        }
        self.files.set_end(at + UNIT);
        Ok(())
    }

    /// The messages before were lost with damaged bytes of the log: blank units take their places,
    /// so that this one has the offset that its record says. When the log has no room for so many,
    /// that offset is wrong, and the unit comes where the queue ends, as RocketMQ has it.
    fn append_behind_gap(&self, at: i64, mut current: i64, unit: Unit) -> Result<()> {
        let lost = (at - current) / UNIT;
        let room = unit.physical_offset.saturating_sub(self.max_physical()) / RECORD_BYTES_MIN;
        if lost > room {
            log::warn!(target: "store", "{self}: unit of {} comes at {}",
                at / UNIT, current / UNIT);
            return self.add(unit, current);
        }
        log::error!(target: "store", "{self}: {lost} messages from {} on are not in the log",
            current / UNIT);
        let nothing_before = self.min.load(Acquire) == current;
        while current < at {
            self.add(Unit::BLANK, current)?;
            current = self.make_room(at)?;
        }
        if nothing_before {
            self.min.store(at, Release);
        }
        self.add(unit, current)
    }

    /// Sees to a last file with room; returns where the next unit goes. The first file of a queue
    /// that begins above 0 is filled with blank units below `at`.
    fn make_room(&self, at: i64) -> Result<i64> {
        let last = self.files.last_end();
        if last.is_none_or(|last| self.files.end() >= last) {
            let start = self.files.roll(at)?;
            if last.is_none() {
                self.flushed.store(start, Release);
                self.begin_at(start);
            }
        }
        let end = self.files.end();
        if at <= end {
            return Ok(end);
        }
        if self.files.len() != 1 || self.files.first_start() != Some(end) {
            return Ok(end);
        }
        if at - end >= self.file_bytes() {
            // An empty file that recovery left, for messages that are not there any more.
            self.files.clear()?;
            return self.make_room(at);
        }
        self.files.append(&Unit::BLANK.to_bytes().repeat(((at - end) / UNIT) as usize))?;
        self.begin_at(at);
        Ok(at)
    }

    /// The first unit goes here.
    fn begin_at(&self, at: i64) {
        self.min.store(at, Release);
        self.files.set_end(at);
    }
}

/// Cleaning and flushing.
impl Queue {
    /// Moves the minimum to the first unit whose record is at or above `min_physical`.
    pub fn correct_min_offset(&self, min_physical: i64) {
        let Some(first) = self.files.first() else { return };
        let min = first.start + first.before(min_physical) as i64 * UNIT;
        self.min.fetch_max(min, AcqRel);
        if let Some(ext) = &self.ext
            && let Some(unit) = self.unit(self.min_offset())
            && let Err(e) = ext.drop_before(unit.tags_code)
        {
            log::warn!(target: "store", "{self}: {e}");
        }
    }

    /// Finds the end of what stands beside the queue.
    pub(super) fn recover_ext(&self) -> Result<()> {
        let Some(ext) = &self.ext else { return Ok(()) };
        let end = self.max_offset();
        let last = (self.min_offset()..end).rev().take(EXT_LOOKED_FOR);
        let mut codes = last.map_while(|at| self.unit(at)).map(|unit| unit.tags_code);
        ext.recover(codes.find(|code| consume_queue_ext::is_address(*code)))
    }

    /// Deletes at most one file, never the last, whose records are all below `min_physical`;
    /// whether it did.
    pub fn delete_oldest(&self, min_physical: i64) -> Result<bool> {
        let Some(first) = self.files.first().filter(|_| self.files.len() > 1) else {
            return Ok(false);
        };
        let last = first.units.checked_sub(1).and_then(|index| first.unit(index));
        if !last.is_some_and(|unit| unit.is_before(min_physical)) {
            return Ok(false);
        }
        self.min.fetch_max(first.start + self.file_bytes(), AcqRel);
        self.files.drop_oldest()
    }

    /// Writes to disk what is new when that is at least `least_pages` pages (0: anything);
    /// whether everything is on disk then.
    pub(super) fn flush(&self, least_pages: i64) -> Result<bool> {
        let (from, to) = (self.flushed.load(Acquire), self.files.end());
        if from >= to {
            return Ok(true);
        }
        if to / PAGE - from / PAGE < least_pages {
            return Ok(false);
        }
        if let Some(ext) = &self.ext {
            ext.flush()?;
        }
        let in_files = self.files.file_end();
        self.files.flush(from, in_files)?;
        self.set_flushed(in_files);
        Ok(in_files >= to)
    }

    /// Writes to its file what waits for that.
    pub(super) fn write_out(&self) -> Result<()> {
        self.files.write_out()
    }

    /// Puts a unit in the place of a damaged one.
    pub(super) fn repair(&self, offset: i64, unit: Unit) -> Result<()> {
        let _writing = self.writing();
        if self.is_deleted() || !(self.min_offset()..self.max_offset()).contains(&offset) {
            return Ok(());
        }
        self.files.overwrite(offset * UNIT, &unit.to_bytes())
    }

    /// Offset after the last unit on disk.
    pub(super) fn flushed_offset(&self) -> i64 {
        self.flushed.load(Acquire) / UNIT
    }

    /// Everything up to `end` is on disk.
    pub(super) fn set_flushed(&self, end: i64) {
        self.flushed.fetch_max(end, AcqRel);
    }

    /// Bytes published that are in the files, counted from the queue's beginning. The caller syncs
    /// them, and the names of all files.
    pub(super) fn end_and_names(&self) -> i64 {
        self.files.set_new_names(false);
        self.files.file_end()
    }

    /// He could not.
    pub(super) fn names_may_be_new(&self) {
        self.files.set_new_names(true);
    }

    /// Ends the queue: its files are deleted; those who still read keep what they hold.
    pub(super) fn destroy(&self) -> Result<()> {
        let _writing = self.writing();
        self.deleted.store(true, Release);
        if let Some(ext) = &self.ext {
            ext.destroy()?;
        }
        self.files.destroy()
    }

    /// Whether `destroy` was called.
    pub(super) fn is_deleted(&self) -> bool {
        self.deleted.load(Acquire)
    }
}

impl std::fmt::Display for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "queue {}@{}", self.topic, self.queue_id)
    }
}

#[cfg(test)]
mod tests;
