//! Old messages, which only the disk may have: a get that would wait for it gives up (`get_now`),
//! and whoever may wait has it read (`warm`).
//!
//! More is read than was asked for, so that who reads on finds the next messages in memory. Which
//! ones these are the units of the queue tell, be its records side by side or scattered over the
//! log; the kernel, which cannot know, is told to read nothing ahead by itself.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::Advice;

use super::Store;
use super::commit_log::CommitLog;
use super::consume_queue::{Queue, Unit, Units};
use super::mapped::MappedFile;
use super::read::{Limits, Pass};
use super::segments::Segments;
use crate::base::Result;
use crate::base::error::IoContext;
use crate::base::limits::{
    CHECK_RECORD_BYTES_MAX, COLD_READ_BYTES, COLD_READ_UNITS, COLD_READERS_MAX,
};

/// Records with a gap of so many bytes between them are read in one piece.
const GAP_BYTES: i64 = 64 * 1024;

/// Where a get would find what it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Written lately by this process: in memory for certain.
    Recent,
    /// Old, and in memory.
    Resident,
    /// Not all in memory.
    OnDisk,
}

/// What a get is going to look at.
pub struct Wanted<'a> {
    pub queue: &'a Queue,
    pub units: &'a Units,
    pub limits: &'a Limits,
    pub pass: &'a Pass<'a>,
}

impl Wanted<'_> {
    /// Where it is; records from `recent` on were written lately.
    pub fn state(&self, log: &CommitLog, recent: i64) -> State {
        if !self.units.are_resident(self.limits.units()) {
            return State::OnDisk;
        }
        // Those behind it were written later.
        if self.units.iter().next().is_some_and(|unit| unit.physical_offset >= recent) {
            return State::Recent;
        }
        let mut pieces = Pieces::default();
        let mut found = 0;
        for unit in self.units.iter().take(self.limits.units()) {
            if !self.pass.unit(self.queue, unit.tags_code) {
                continue;
            }
            let (count, bytes) = self.limits.at(unit.physical_offset);
            let enough = found >= count && self.pass.properties.is_none();
            if enough || !pieces.add(unit, bytes as i64) {
                break;
            }
            found += 1;
        }
        let segments = log.segments();
        let resident = |file: &MappedFile, range| Ok(file.is_resident(range));
        match pieces.ranges.iter().all(|range| each(segments, range, resident).unwrap_or(true)) {
            true => State::Resident,
            false => State::OnDisk,
        }
    }
}

/// Pieces of the log.
#[derive(Default)]
struct Pieces {
    ranges: Vec<Range<i64>>,
    bytes: i64,
}

impl Pieces {
    /// Adds a record; false when this would make it more than so many bytes. The first one fits.
    fn add(&mut self, unit: Unit, bytes_max: i64) -> bool {
        if unit == Unit::BLANK || !unit.is_valid() {
            return true;
        }
        let (start, end) = (unit.physical_offset, unit.end());
        if let Some(last) = self.ranges.last_mut()
            && (last.start..=last.end + GAP_BYTES).contains(&start)
        {
            let more = (end - last.end).max(0);
            if self.bytes + more > bytes_max {
                return false;
            }
            self.bytes += more;
            last.end = last.end.max(end);
            return true;
        }
        if !self.ranges.is_empty() && self.bytes + (end - start) > bytes_max {
            return false;
        }
        self.bytes += end - start;
        self.ranges.push(start..end);
        true
    }
}

/// Has the kernel read nothing but what it is asked for from files that were read from begin to end
/// until now, at the start.
pub fn advise(segments: &Segments) {
    for file in segments.files() {
        if let Err(e) = file.advise(Advice::Random) {
            log::warn!(target: "store", "advise on {}: {e}", file.path().display());
        }
    }
}

/// Calls `work` with each file that a piece lies in, and where, until it says false.
fn each(
    segments: &Segments,
    range: &Range<i64>,
    mut work: impl FnMut(&MappedFile, Range<usize>) -> Result<bool>,
) -> Result<bool> {
    let mut at = range.start;
    while at < range.end {
        let Some(file) = segments.find(at) else { break };
        let end = file.end().min(range.end);
        if !work(&file, (at - file.start()) as usize..(end - file.start()) as usize)? {
            return Ok(false);
        }
        at = end;
    }
    Ok(true)
}

/// Waits until all of `range` is in memory.
fn read_in(file: &MappedFile, range: Range<usize>) -> Result<bool> {
    file.will_need(range.clone())
        .and_then(|()| file.read_in(range))
        .what(|| format!("read {}", file.path().display()))?;
    Ok(true)
}

/// Who reads old messages, and how far ahead of them the disk has been asked.
#[derive(Default)]
pub struct Cold {
    readers: Mutex<VecDeque<Reader>>,
}

struct Reader {
    /// Address of the queue. A hint, nothing is read through it.
    queue: usize,
    /// Queue offsets that were read into memory last.
    read: Range<i64>,
    /// The next ones have been asked for.
    asked: bool,
}

impl Cold {
    /// A get at `offset` found what it wanted in memory. Where the next messages are to be read
    /// from, once, when it has come half through those read last.
    pub fn next(&self, queue: &Arc<Queue>, offset: i64) -> Option<i64> {
        let queue = Arc::as_ptr(queue) as usize;
        let mut readers = self.readers();
        let reader = readers
            .iter_mut()
            .find(|reader| reader.queue == queue && reader.read.contains(&offset))?;
        let half = reader.read.start + (reader.read.end - reader.read.start) / 2;
        let due = offset >= half && !reader.asked;
        reader.asked |= due;
        due.then_some(reader.read.end)
    }

    /// These messages have been read, for a reader that is among them or just before.
    fn has_read(&self, queue: &Arc<Queue>, read: Range<i64>) {
        let queue = Arc::as_ptr(queue) as usize;
        let mut readers = self.readers();
        let before = readers.iter().position(|reader| {
            let goes_on = reader.read.end == read.start || reader.read.contains(&read.start);
            reader.queue == queue && goes_on
        });
        if let Some(index) = before {
            readers.remove(index);
        }
        readers.push_back(Reader { queue, read, asked: false });
        if readers.len() > COLD_READERS_MAX {
            readers.pop_front();
        }
    }

    fn readers(&self) -> MutexGuard<'_, VecDeque<Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Whether `record_at` of this physical offset would wait for the disk.
    pub fn is_on_disk(&self, physical_offset: i64) -> bool {
        if physical_offset >= self.written_from.max(self.recent_from()) {
            return false;
        }
        self.record_pieces(physical_offset, |file, range| Ok(file.is_resident(range)))
            .is_ok_and(|resident| !resident)
    }

    /// Reads a record into memory, waiting for the disk, and nothing ahead.
    pub fn warm_record(&self, physical_offset: i64) -> Result<()> {
        self.record_pieces(physical_offset, read_in).map(drop)
    }

    /// Calls `work` with the page in which a record begins, and then with all of the record.
    fn record_pieces(
        &self,
        physical_offset: i64,
        mut work: impl FnMut(&MappedFile, Range<usize>) -> Result<bool>,
    ) -> Result<bool> {
        const LENGTH_BYTES: usize = 4;
        let Some(file) = self.log.segments().find(physical_offset) else { return Ok(true) };
        let at = (physical_offset - file.start()) as usize;
        if !work(&file, at..at + LENGTH_BYTES)? {
            return Ok(false);
        }
        let size = file.bytes(at, LENGTH_BYTES).and_then(<[u8]>::first_chunk).copied();
        let size = size.map_or(0, i32::from_be_bytes).clamp(0, CHECK_RECORD_BYTES_MAX as i32);
        work(&file, at..at + size as usize)
    }

    /// Reads into memory, waiting for the disk, what a get from `offset` of a queue on will
    /// return, and what those after it will, as far as `tags` lets pass. An error: the disk cannot
    /// give it, and a get would end the process.
    pub fn warm(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        tags: &dyn Fn(i64) -> bool,
    ) -> Result<()> {
        let Some(queue) = self.queues.get(topic, queue_id) else { return Ok(()) };
        let Some(units) = queue.units(offset) else { return Ok(()) };
        units.read_in(COLD_READ_UNITS).what(|| format!("read {queue}"))?;
        let pass = Pass { tags, ext: None, properties: None };
        let mut pieces = Pieces::default();
        let mut end = offset;
        for unit in units.iter().take(COLD_READ_UNITS) {
            if pass.unit(&queue, unit.tags_code) && !pieces.add(unit, COLD_READ_BYTES) {
                break;
            }
            end += 1;
        }
        let segments = self.log.segments();
        // All is asked for before the first is waited for.
        let ask = |file: &MappedFile, range| Ok(file.will_need(range).is_ok());
        pieces.ranges.iter().try_for_each(|range| each(segments, range, ask).map(drop))?;
        pieces.ranges.iter().try_for_each(|range| each(segments, range, read_in).map(drop))?;
        self.stats.cold_reads.fetch_add(1, Ordering::Relaxed);
        self.stats.cold_bytes.fetch_add(pieces.bytes, Ordering::Relaxed);
        self.cold.has_read(&queue, offset..end);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
