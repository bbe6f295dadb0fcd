//! One consume queue: for each message of a topic@queue, in order, where its record is.
//!
//! A unit is 20 bytes: physical offset i64, record size i32, tags code i64, big-endian. The unit
//! of queue offset `q` stands at byte `q * 20` of the queue's files. Only dispatch appends; any
//! number of threads read up to the published end.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::mapped::{MappedFile, PAGE_BYTES};
use super::segments::Segments;
use crate::base::Result;
use crate::base::error::IoContext;

/// Bytes of a unit.
pub const UNIT_BYTES: usize = 20;
const UNIT: i64 = UNIT_BYTES as i64;
const PAGE: i64 = PAGE_BYTES as i64;

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

    fn is_valid(self) -> bool {
        self.physical_offset >= 0 && self.size > 0
    }

    /// Whether the record lies below `min_physical`, or there never was one.
    fn is_before(self, min_physical: i64) -> bool {
        self.physical_offset < min_physical || self == Unit::BLANK
    }

    /// Physical offset after the record.
    fn end(self) -> i64 {
        self.physical_offset.saturating_add(i64::from(self.size))
    }
}

/// The units of one file from some offset on, as far as published.
pub struct Units {
    file: Arc<MappedFile>,
    position: usize,
    len: usize,
}

impl Units {
    /// In order of queue offset.
    pub fn iter(&self) -> impl Iterator<Item = Unit> + '_ {
        let bytes = self.file.bytes(self.position, self.len).unwrap_or_default();
        bytes.chunks_exact(UNIT_BYTES).map(Unit::from_bytes)
    }
}

/// The consume queue of one topic@queue.
pub struct Queue {
    topic: Arc<str>,
    queue_id: i32,
    /// Queue offset of the next message put; read and raised under the put lock only.
    pub next_offset: AtomicI64,
    files: Segments,
    /// First readable byte.
    min: AtomicI64,
    /// Bytes published.
    end: AtomicI64,
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
    /// The queue of these files; `recover` finds its end.
    pub(super) fn new(topic: Arc<str>, queue_id: i32, files: Segments) -> Queue {
        Queue {
            topic,
            queue_id,
            next_offset: AtomicI64::new(0),
            min: AtomicI64::new(files.min_offset().unwrap_or(0)),
            end: AtomicI64::new(0),
            flushed: AtomicI64::new(0),
            max_physical: AtomicI64::new(0),
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
        self.end.load(Acquire) / UNIT
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

    /// The units from queue offset `offset` to the end of their file; `None` below the minimum,
    /// at or above the maximum.
    pub fn units(&self, offset: i64) -> Option<Units> {
        let at = offset.checked_mul(UNIT)?;
        if at < self.min.load(Acquire) || at >= self.end.load(Acquire) {
            return None;
        }
        let file = self.files.find(at)?;
        let position = usize::try_from(at - file.start()).ok()?;
        let len = file.wrote().checked_sub(position)?;
        Some(Units { file, position, len })
    }

    /// The unit at queue offset `offset`.
    pub fn unit(&self, offset: i64) -> Option<Unit> {
        let units = self.units(offset)?;
        units.file.bytes(units.position, UNIT_BYTES).map(Unit::from_bytes)
    }

    fn file_bytes(&self) -> i64 {
        self.files.size() as i64
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the unit of the message at queue offset `offset`; false when the queue has it
    /// already. Errors: no file, or no disk space for it; nothing was appended then.
    pub fn append(&self, offset: i64, unit: Unit) -> Result<bool> {
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
        let file = self.file_to_append(at)?;
        let current = file.start() + file.wrote() as i64;
        if offset != 0 && at < current {
            return Ok(false);
        }
        if offset != 0 && at > current {
            log::warn!(target: "store", "{self}: unit of {offset} comes at {}", current / UNIT);
        }
        append(&file, &unit.to_bytes())?;
        self.max_physical.store(unit.end(), Release);
        self.end.store(current + UNIT, Release);
        Ok(true)
    }

    /// The file with room for the next unit. The first file of a queue that begins above 0 is
    /// filled with blank units below `at`.
    fn file_to_append(&self, at: i64) -> Result<Arc<MappedFile>> {
        let last = self.files.last();
        let file = match last.filter(|file| !file.is_full()) {
            Some(file) => file,
            None => self.files.roll(at)?,
        };
        let below = at - file.start();
        if below > 0 && file.wrote() == 0 && self.files.len() == 1 && below < self.file_bytes() {
            append(&file, &Unit::BLANK.to_bytes().repeat((below / UNIT) as usize))?;
            self.flushed.store(at, Release);
            self.min.store(at, Release);
            self.end.store(at, Release);
        }
        Ok(file)
    }
}

fn append(file: &MappedFile, bytes: &[u8]) -> Result<()> {
    let room = file.append(bytes).what(|| format!("extend {}", file.path().display()))?;
    debug_assert!(room, "a unit never spans files");
    Ok(())
}

/// All units a file has room for, or all that are published.
fn units_of(file: &MappedFile, bytes: usize) -> impl ExactSizeIterator<Item = Unit> + Clone + '_ {
    let bytes = file.bytes(0, bytes).unwrap_or_default();
    bytes.chunks_exact(UNIT_BYTES).map(Unit::from_bytes)
}

/// Recovery: the end is where the units stop being valid, or where the log ends.
impl Queue {
    /// Finds the end by walking the last three files; returns the physical offset after the last
    /// record known.
    pub(super) fn recover(&self) -> Result<i64> {
        let files = self.files.files();
        let mut end = files.first().map_or(0, |file| file.start());
        let mut max_physical = 0;
        for file in &files[files.len().saturating_sub(3)..] {
            let units = units_of(file, file.size());
            let count = units.clone().take_while(|unit| unit.is_valid()).count();
            let last = count.checked_sub(1).and_then(|index| units.clone().nth(index));
            max_physical = last.filter(|u| *u != Unit::BLANK).map_or(max_physical, Unit::end);
            end = file.start() + count as i64 * UNIT;
            if count < units.len() {
                break;
            }
        }
        self.set_end(end, max_physical)?;
        Ok(max_physical)
    }

    /// Drops every unit of a record at or above physical offset `physical`.
    pub(super) fn truncate(&self, physical: i64) -> Result<()> {
        let mut end = 0;
        let mut max_physical = physical;
        for file in self.files.files().iter().rev() {
            let units = units_of(file, file.wrote());
            let keep = units.clone().enumerate().take_while(|(index, unit)| {
                let inside = unit.physical_offset < physical;
                inside && (*index == 0 || unit.is_valid())
            });
            let Some((index, last)) = keep.last() else { continue };
            end = file.start() + (index as i64 + 1) * UNIT;
            max_physical = if last == Unit::BLANK { physical } else { last.end() };
            break;
        }
        self.set_end(end, max_physical)
    }

    fn set_end(&self, end: i64, max_physical: i64) -> Result<()> {
        self.files.truncate(end)?;
        self.flushed.store(end, Release);
        self.end.store(end, Release);
        self.max_physical.store(max_physical, Release);
        let min = self.min.load(Acquire).min(end);
        self.min.store(min, Release);
        Ok(())
    }
}

/// Cleaning and flushing.
impl Queue {
    /// Moves the minimum to the first unit whose record is at or above `min_physical`.
    pub fn correct_min_offset(&self, min_physical: i64) {
        let Some(first) = self.files.first() else { return };
        let bytes = first.bytes(0, first.wrote()).unwrap_or_default();
        let (units, _) = bytes.as_chunks::<UNIT_BYTES>();
        let gone = units.partition_point(|unit| Unit::from_bytes(unit).is_before(min_physical));
        let min = first.start() + gone as i64 * UNIT;
        self.min.fetch_max(min, AcqRel);
    }

    /// Deletes at most one file, never the last, whose records are all below `min_physical`;
    /// whether it did.
    pub fn delete_oldest(&self, min_physical: i64) -> Result<bool> {
        let files = self.files.files();
        let [first, _, ..] = &files[..] else { return Ok(false) };
        if !units_of(first, first.wrote()).last().is_some_and(|unit| unit.is_before(min_physical)) {
            return Ok(false);
        }
        self.min.fetch_max(first.start() + first.size() as i64, AcqRel);
        Ok(self.files.drop_oldest(1)? == 1)
    }

    /// Writes to disk what is new when that is at least `least_pages` pages (0: anything);
    /// whether everything is on disk then.
    pub(super) fn flush(&self, least_pages: i64) -> Result<bool> {
        let (from, to) = (self.flushed.load(Acquire), self.end.load(Acquire));
        if from >= to {
            return Ok(true);
        }
        if to / PAGE - from / PAGE < least_pages {
            return Ok(false);
        }
        self.files.flush(from, to)?;
        self.flushed.fetch_max(to, AcqRel);
        Ok(true)
    }

    /// Ends the queue: its files are deleted; those who still read keep what they hold.
    pub(super) fn destroy(&self) -> Result<()> {
        let _writing = self.writing();
        self.deleted.store(true, Release);
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
