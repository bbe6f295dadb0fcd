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
use std::time::{Duration, Instant};

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
    CHECK_RECORD_BYTES_MAX, COLD_PACE, COLD_PAUSE_MAX, COLD_READ_BYTES, COLD_READ_KEPT,
    COLD_READ_SPEED, COLD_READ_UNITS, COLD_READERS_MAX, COLD_SENDS_BYTES,
};

/// Records with a gap of so many bytes between them are read in one piece.
const GAP_BYTES: i64 = 64 * 1024;

/// Where a get finds what it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In memory. A reader of old messages will soon be `ahead`, should that be an offset, and the
    /// disk has not been asked yet for what is there.
    Memory { ahead: Option<i64> },
    /// Not all in memory.
    Disk,
}

/// What a get is going to look at.
pub struct Wanted<'a> {
    pub queue: &'a Arc<Queue>,
    /// The queue offset asked for.
    pub offset: i64,
    /// From there on.
    pub units: &'a Units,
    pub limits: &'a Limits,
    pub pass: &'a Pass<'a>,
}

impl Wanted<'_> {
    /// Whether its units are the queue's last page, and its records were written lately: from
    /// `recent` on. Then all is in memory.
    fn is_newest(&self, recent: i64) -> bool {
        self.queue.max_physical() > recent
            && self.units.are_last_page(self.offset, self.queue)
            && self.units.iter().next().is_some_and(|unit| unit.physical_offset >= recent)
    }

    /// Whether it is all in memory.
    fn is_resident(&self, log: &CommitLog) -> bool {
        if !self.units.are_resident(self.limits.units()) {
            return false;
        }
        // Where properties are asked for, all records are looked at until enough of them pass.
        let looks_in = self.pass.properties.is_some();
        let mut pieces = Pieces::default();
        let mut found = 0;
        for unit in self.units.iter().take(self.limits.units()) {
            if !self.pass.unit(self.queue, unit.tags_code) {
                continue;
            }
            let (count, bytes) = self.limits.at(unit.physical_offset);
            let bytes_max = if looks_in { i64::MAX } else { bytes as i64 };
            if (found >= count && !looks_in) || !pieces.add(unit, bytes_max) {
                break;
            }
            found += 1;
        }
        pieces.are_resident(log.segments())
    }

    /// Queue offset before which it has ended.
    fn end(&self) -> i64 {
        let units = match self.pass.properties {
            Some(_) => self.limits.units(),
            None => self.limits.count(),
        };
        self.offset.saturating_add(units as i64)
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

    fn are_resident(&self, segments: &Segments) -> bool {
        let resident = |file: &MappedFile, range| Ok(file.is_resident(range));
        self.ranges.iter().all(|range| each(segments, range, resident).unwrap_or(true))
    }
}

/// Has the kernel read nothing but what it is asked for from a file that nobody reads from begin to
/// end any more.
pub fn advise(file: &MappedFile) {
    if let Err(e) = file.advise(Advice::Random) {
        log::warn!(target: "store", "advise on {}: {e}", file.path().display());
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
    pace: Mutex<Pace>,
}

/// How fast old messages are read while messages are sent.
#[derive(Default)]
struct Pace {
    /// When what was read so far is paid for.
    free: Option<Instant>,
    /// Bytes put until then, and when they were looked at; speed of the puts before in bytes a
    /// second.
    put: i64,
    looked: Option<Instant>,
    speed: i64,
}

impl Pace {
    /// How long to wait before the next read, when `put` bytes have been put so far.
    fn pause(&mut self, now: Instant, put: i64) -> Duration {
        let since = self.looked.map_or(COLD_PACE, |looked| now - looked);
        if since >= COLD_PACE {
            let bytes = self.looked.map_or(0, |_| put - self.put);
            self.speed = (bytes as f64 / since.as_secs_f64()) as i64;
            (self.put, self.looked) = (put, Some(now));
        }
        match self.free {
            Some(free) if self.speed >= COLD_SENDS_BYTES => free.saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }

    /// So much has been read. A reader is always faster than the writers.
    fn has_read(&mut self, now: Instant, bytes: i64) {
        let speed = COLD_READ_SPEED.max(self.speed.saturating_mul(2));
        let cost = Duration::from_secs_f64(bytes as f64 / speed as f64);
        let free = self.free.map_or(now, |free| free.max(now)) + cost;
        self.free = Some(free.min(now + COLD_PAUSE_MAX));
    }
}

struct Reader {
    /// Address of the queue. A hint, nothing is read through it.
    queue: usize,
    /// Queue offsets that were read last.
    read: Range<i64>,
    /// All messages from this queue offset to the end of `read` are in memory, or were at that
    /// time; `None`: some may not have been.
    whole: Option<(i64, Instant)>,
    /// The next ones have been asked for.
    asked: bool,
}

/// What is remembered of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// Queue offset before which messages are in memory.
    end: i64,
    /// Where the next messages are to be read from, once, when it has come half through those read
    /// last.
    next: Option<i64>,
}

impl Cold {
    /// What is known of who reads at `offset`.
    fn known(&self, queue: &Arc<Queue>, offset: i64) -> Option<Known> {
        let queue = Arc::as_ptr(queue) as usize;
        let mut readers = self.readers();
        let reader = readers.iter_mut().find(|reader| reader.is_at(queue, offset))?;
        let whole = reader
            .whole
            .is_some_and(|(start, since)| start <= offset && since.elapsed() < COLD_READ_KEPT);
        let half = reader.read.start + (reader.read.end - reader.read.start) / 2;
        let due = offset >= half && !reader.asked;
        reader.asked |= due;
        Some(Known {
            end: if whole { reader.read.end } else { offset },
            next: due.then_some(reader.read.end),
        })
    }

    /// These messages have been read, for a reader that is among them or just before; `whole`: all
    /// of them are in memory.
    fn has_read(&self, queue: &Arc<Queue>, read: Range<i64>, whole: bool) {
        let queue = Arc::as_ptr(queue) as usize;
        let mut readers = self.readers();
        let mut whole = whole.then(|| (read.start, Instant::now()));
        if let Some(index) = readers.iter().position(|reader| reader.is_at(queue, read.start))
            && let Some(before) = readers.remove(index)
            && let Some((start, _)) = &mut whole
        {
            // The reader has yet to come through the rest of what was read before.
            *start = before.whole.map_or(*start, |(earlier, _)| earlier.max(before.read.start));
        }
        readers.push_back(Reader { queue, read, whole, asked: false });
        if readers.len() > COLD_READERS_MAX {
            readers.pop_front();
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, VecDeque<Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Whether this is who reads on at an offset of a queue.
    fn is_at(&self, queue: usize, offset: i64) -> bool {
        let start = self.whole.map_or(self.read.start, |(start, _)| start);
        self.queue == queue && (start..=self.read.end).contains(&offset)
    }
}

/// What is read ahead at once.
struct Ahead {
    pieces: Pieces,
    /// Queue offset after it.
    end: i64,
    /// No message before that is left out.
    whole: bool,
}

impl Ahead {
    /// Of these units, which begin at `offset`, those that pass.
    fn of(units: &Units, offset: i64, passes: impl Fn(Unit) -> bool) -> Ahead {
        let mut ahead = Ahead { pieces: Pieces::default(), end: offset, whole: true };
        for unit in units.iter().take(COLD_READ_UNITS) {
            match passes(unit) {
                true if !ahead.pieces.add(unit, COLD_READ_BYTES) => break,
                passes => ahead.whole &= passes,
            }
            ahead.end += 1;
        }
        ahead
    }
}

impl Store {
    /// Where a get finds what it wants; records from `recent` on were written lately. The kernel is
    /// asked about each message once at most, as long as a reader goes on.
    pub(super) fn place(&self, wanted: &Wanted, recent: i64) -> Place {
        if wanted.is_newest(recent) {
            return Place::Memory { ahead: None };
        }
        let (queue, offset, end) = (wanted.queue, wanted.offset, wanted.end());
        let known = self.cold.known(queue, offset);
        let sure = known.is_some_and(|known| known.end >= end);
        if !sure && !wanted.is_resident(&self.log) {
            return Place::Disk;
        }
        let Some(known) = known else {
            self.cold.has_read(queue, offset..end, false);
            return Place::Memory { ahead: None };
        };
        if sure && known.next.is_none() {
            return Place::Memory { ahead: None };
        }
        let from = if sure { known.end } else { offset };
        match self.next_resident(wanted, from) {
            Some(end) => self.cold.has_read(queue, from..end, true),
            None => {
                let ahead = known.next.filter(|next| *next < queue.max_offset());
                return Place::Memory { ahead };
            }
        }
        Place::Memory { ahead: None }
    }

    /// The end of what would be read ahead from a queue offset on, if it is in memory already, and
    /// every message before passes.
    fn next_resident(&self, wanted: &Wanted, from: i64) -> Option<i64> {
        let units = wanted.queue.units_now(from, COLD_READ_UNITS)?;
        let passes = |unit: Unit| wanted.pass.unit(wanted.queue, unit.tags_code);
        if !units.are_resident(COLD_READ_UNITS) || !units.iter().next().is_some_and(passes) {
            return None;
        }
        let ahead = Ahead::of(&units, from, passes);
        let resident = ahead.whole && ahead.pieces.are_resident(self.log.segments());
        resident.then_some(ahead.end)
    }

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

    /// Waits until the next read beside sends is due.
    fn pause_reads(&self) {
        let put = self.stats.put_bytes.load(Ordering::Relaxed);
        let pause = self.cold.pace().pause(Instant::now(), put);
        if !pause.is_zero() && !self.stopping.load(Ordering::Relaxed) {
            std::thread::sleep(pause);
        }
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
        self.pause_reads();
        units.read_in(COLD_READ_UNITS).what(|| format!("read {queue}"))?;
        let pass = Pass { tags, ext: None, properties: None };
        let ahead = Ahead::of(&units, offset, |unit| pass.unit(&queue, unit.tags_code));
        let segments = self.log.segments();
        // All is asked for before the first is waited for.
        let ask = |file: &MappedFile, range| Ok(file.will_need(range).is_ok());
        let ranges = &ahead.pieces.ranges;
        ranges.iter().try_for_each(|range| each(segments, range, ask).map(drop))?;
        ranges.iter().try_for_each(|range| each(segments, range, read_in).map(drop))?;
        self.stats.cold_reads.fetch_add(1, Ordering::Relaxed);
        self.stats.cold_bytes.fetch_add(ahead.pieces.bytes, Ordering::Relaxed);
        self.cold.pace().has_read(Instant::now(), ahead.pieces.bytes);
        self.cold.has_read(&queue, offset..ahead.end, ahead.whole);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
