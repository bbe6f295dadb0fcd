//! What the files of a consume queue hold, found at start without mapping them.
//!
//! The log is the truth: a unit counts when it can be one, follows the unit before it and its
//! record ends within the log; the last one must name a record of this queue. What follows is cut
//! off. When that was damage, not just the work of a crash, the queue is dispatched again.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::consume_queue::{UNIT_BYTES, Unit};
use super::layout;
use super::mapped::PAGE_BYTES;
use super::peek::Peek;
use crate::base::Result;
use crate::base::error::IoContext;
use crate::base::limits::STALE_GAP_BYTES;
use crate::base::persist;
use crate::sys;

/// At least so many files at the end of a queue are read.
const FILES_READ: usize = 3;
/// Bytes of the first read of a file, most often of all that it holds, and of the others.
const FIRST_READ: usize = PAGE_BYTES;
const NEXT_READS: usize = 13_000 * UNIT_BYTES;

/// What a disk writes in one piece.
const SECTOR: i64 = 512;

/// What the log says about units.
pub struct LogView<'a> {
    /// Offset of its first byte.
    pub min: i64,
    /// Units of records that end behind this offset do not count.
    pub end: i64,
    /// Units of records from this offset on may not be on disk after a crash, and the last one,
    /// when it lies in two sectors, may be torn.
    pub unsure_from: i64,
    /// Whether the unit of this topic, queue and offset names a record of that queue.
    pub stands: &'a (dyn Fn(&str, i32, i64, Unit) -> bool + Sync),
}

/// What a queue has.
#[derive(Debug, Default)]
pub struct Found {
    /// Offsets in the queue of the first bytes of its files.
    pub starts: Vec<i64>,
    /// Bytes, counted from the queue's beginning: the first one kept, and the end.
    pub min: i64,
    pub end: i64,
    /// Where those begin that may not be on disk.
    pub flushed: i64,
    /// Physical offset after the last record it knows.
    pub max_physical: i64,
    /// The damage after which the queue lacks units.
    pub broken: Option<String>,
    /// The file from whose end units were cleared. It is to be synced, or another crash could bring
    /// them back.
    pub cleared: Option<PathBuf>,
}

/// The files of one queue while they are looked at.
struct Scan<'a> {
    dir: &'a Path,
    size: usize,
    found: Found,
    /// There may be something behind the end.
    rest: bool,
    /// The file read last: most queues have one, which is so opened once.
    open: RefCell<Option<Open>>,
}

/// A file of the queue.
struct Open {
    start: i64,
    file: Rc<File>,
    /// Its first bytes, as far as they were read, before anything was cut off.
    head: Vec<u8>,
}

/// Looks at the queue in `dir`, whose files should have `size` bytes, and cuts off what does not
/// count; see `Found::cleared`. Fails only when that cannot be done.
pub fn find(dir: &Path, size: usize, topic: &str, id: i32, log: &LogView<'_>) -> Result<Found> {
    let found = Found::default();
    let mut scan = Scan { dir, size, found, rest: false, open: RefCell::default() };
    scan.list(log.min)?;
    scan.walk();
    scan.back_to(log, |offset, unit| (log.stands)(topic, id, offset, unit));
    scan.cut()?;
    scan.set_min(log.min);
    Ok(scan.found)
}

impl Scan<'_> {
    fn path(&self, start: i64) -> PathBuf {
        self.dir.join(layout::segment_name(start))
    }

    fn file(&self, start: i64) -> io::Result<Rc<File>> {
        let mut open = self.open.borrow_mut();
        if let Some(open) = open.as_ref().filter(|open| open.start == start) {
            return Ok(open.file.clone());
        }
        let file = Rc::new(File::open(self.path(start))?);
        *open = Some(Open { start, file: file.clone(), head: Vec::new() });
        Ok(file)
    }

    /// Finds the units of a file that is read from its beginning.
    fn walk_file(&self, start: i64, after: i64) -> io::Result<Walked> {
        let file = self.file(start)?;
        let mut head = vec![0; FIRST_READ.min(self.size)];
        file.read_exact_at(&mut head, 0)?;
        let walked = walk_file(&file, &head, self.size, after);
        self.open.borrow_mut().iter_mut().for_each(|open| open.head = std::mem::take(&mut head));
        walked
    }

    fn broken(&mut self, path: &Path, why: impl std::fmt::Display) {
        let text = || format!("{}: {why}", path.display());
        self.found.broken.get_or_insert_with(text);
    }

    /// Finds the files that follow one another and have the right length; deletes the others.
    fn list(&mut self, log_min: i64) -> Result<()> {
        let what = || format!("read directory {}", self.dir.display());
        let mut starts = Vec::new();
        for entry in fs::read_dir(self.dir).what(what)? {
            let name = entry.what(what)?.file_name();
            match name.to_str().and_then(layout::parse_segment) {
                Some(start) => starts.push(start),
                None => log::warn!(target: "store", "{}: not the name of a queue file, left alone",
                    self.dir.join(&name).display()),
            }
        }
        starts.sort_unstable();
        let count = starts.len();
        let mut good = (0..count).take_while(|index| self.fits(&starts, *index)).count();
        if let Some(first) =
            starts[..good].first().filter(|first| self.lacks_front(**first, log_min))
        {
            self.broken(&self.path(*first), "the files before it are missing");
            good = 0;
        }
        for start in starts.drain(good..) {
            let path = self.path(start);
            if path.is_dir() {
                persist::keep_aside(&path)?;
            } else {
                sys::file::remove(&path).what(|| format!("remove {}", path.display()))?;
            }
        }
        self.found.starts = starts;
        Ok(())
    }

    /// Whether files are missing before the first one. Of a log that was never cleaned all are
    /// there, but where its first records were damaged when the queue was made from them.
    fn lacks_front(&self, first: i64, log_min: i64) -> bool {
        let begins = |unit: Unit| unit.is_valid() && unit != Unit::BLANK;
        log_min == 0 && first > 0 && self.unit(first).is_some_and(begins)
    }

    fn fits(&mut self, starts: &[i64], index: usize) -> bool {
        let (start, size) = (starts[index], self.size as i64);
        let path = self.path(start);
        let place = match index.checked_sub(1) {
            Some(before) => starts[before] + size == start,
            None => start % size == 0 && start.checked_add(size).is_some(),
        };
        let length = fs::metadata(&path).ok().filter(|meta| meta.is_file());
        match length.map(|meta| meta.len()) {
            // Left by a crash while it was being made.
            Some(0) if index + 1 == starts.len() && place => return false,
            Some(length) if length == size as u64 && place => return true,
            Some(_) if !place => self.broken(&path, "does not follow the file before it"),
            Some(length) => {
                self.broken(&path, format_args!("{length} bytes long, expected {size}"));
            }
            None => self.broken(&path, "not a readable file"),
        }
        false
    }

    /// Finds the end of the units that can be some.
    fn walk(&mut self) {
        let count = self.found.starts.len();
        let mut from = count.saturating_sub(FILES_READ);
        let mut after = 0;
        while from > 0 {
            let last = self.unit(self.found.starts[from] - UNIT_BYTES as i64);
            match last.filter(|unit| unit.is_valid()) {
                Some(unit) => {
                    after = if unit == Unit::BLANK { 0 } else { unit.end() };
                    break;
                }
                None => from -= 1,
            }
        }
        self.found.end = self.found.starts.get(from).copied().unwrap_or(0);
        for index in from..count {
            let start = self.found.starts[index];
            let path = self.path(start);
            let walked = self.walk_file(start, after).unwrap_or_else(|e| {
                self.broken(&path, e);
                Walked { units: 0, after, rest: false }
            });
            after = walked.after;
            self.found.end = start + (walked.units * UNIT_BYTES) as i64;
            if walked.units * UNIT_BYTES < self.size {
                let end = self.found.end;
                let more = self
                    .found
                    .starts
                    .get(index + 1)
                    .is_some_and(|next| self.unit(*next).is_some_and(|unit| unit.is_valid()));
                self.rest = walked.rest;
                if walked.rest || more {
                    self.broken(&path, format_args!("no unit at {end}, but more behind it"));
                }
                break;
            }
        }
    }

    /// Moves the end back to the last unit whose record ends within the log and is this queue's.
    /// The one that may be torn does not count either.
    fn back_to(&mut self, log: &LogView<'_>, stands: impl Fn(i64, Unit) -> bool) {
        let first = self.found.starts.first().copied().unwrap_or(0) / UNIT_BYTES as i64;
        let end = self.found.end / UNIT_BYTES as i64;
        let at = |offset: i64| self.unit(offset * UNIT_BYTES as i64);
        let in_log = |offset| at(offset).is_some_and(|unit| unit.is_in_log(log.end));
        let good =
            |offset| at(offset).is_some_and(|unit| unit != Unit::BLANK && stands(offset, unit));
        // After a stop in order nothing is read for that.
        let all_sure = log.unsure_from == i64::MAX;
        let is_sure = |offset| {
            all_sure || at(offset).is_some_and(|unit| unit.physical_offset < log.unsure_from)
        };
        let torn = |last: i64| {
            let in_sector = last * UNIT_BYTES as i64 % SECTOR;
            in_sector + UNIT_BYTES as i64 > SECTOR && !is_sure(last)
        };
        let mut kept = last_of(first, end, in_log);
        if kept > first && torn(kept - 1) {
            kept -= 1;
        }
        let whole = last_of(first, kept, good);
        let sure = last_of(first, whole, is_sure);
        let last = whole.checked_sub(1).filter(|last| *last >= first).and_then(at);
        if whole < kept {
            let place = self.path(self.start_of(whole * UNIT_BYTES as i64));
            self.broken(&place, format_args!("from unit {whole} on not of this queue's messages"));
        }
        self.rest |= whole < end;
        self.found.end = if last.is_some() { whole * UNIT_BYTES as i64 } else { 0 };
        self.found.max_physical = last.map_or(0, Unit::end);
        self.found.flushed = self.found.end.min(sure * UNIT_BYTES as i64);
    }

    /// Start of the file that holds the byte `at`, or would.
    fn start_of(&self, at: i64) -> i64 {
        at - at % self.size as i64
    }

    /// The unit that begins at byte `at` of the queue.
    fn unit(&self, at: i64) -> Option<Unit> {
        let start = self.start_of(at);
        let position = usize::try_from(at - start).ok()?;
        let open = self.open.borrow();
        let head = open.as_ref().filter(|open| open.start == start).map(|open| &open.head);
        if let Some(bytes) = head.and_then(|head| head.get(position..position + UNIT_BYTES)) {
            return Some(Unit::from_bytes(bytes));
        }
        drop(open);
        let mut bytes = [0; UNIT_BYTES];
        self.file(start).ok()?.read_exact_at(&mut bytes, position as u64).ok()?;
        Some(Unit::from_bytes(&bytes))
    }

    /// Makes the files end where the units do: zeros behind them, no further file.
    fn cut(&mut self) -> Result<()> {
        let end = self.found.end;
        let mut keep = self.found.starts.iter().take_while(|start| **start < end).count();
        // The first file goes on empty: ext4 searches long for an inode for a new one while very
        // many were just removed.
        if keep == 0 && self.found.starts.first() == Some(&0) {
            keep = 1;
            self.rest = true;
        }
        for start in self.found.starts.split_off(keep) {
            let path = self.path(start);
            sys::file::remove(&path).what(|| format!("remove {}", path.display()))?;
        }
        let last = self.found.starts.last().filter(|_| self.rest);
        let Some(&start) = last else { return Ok(()) };
        let path = self.path(start);
        let position = (end - start) as u64;
        let clear = || -> io::Result<bool> {
            let file = sys::file::open(&path, OpenOptions::new().read(true).write(true))?;
            let has_rest = has_bytes(&file, position, self.size as u64)?;
            if has_rest {
                sys::file::set_len(&file, &path, position)?;
                sys::file::set_len(&file, &path, self.size as u64)?;
            }
            Ok(has_rest)
        };
        let cleared = clear().what(|| format!("clear the end of {}", path.display()))?;
        self.found.cleared = cleared.then_some(path);
        Ok(())
    }

    /// Finds the first unit whose record the log still has.
    fn set_min(&mut self, log_min: i64) {
        let Some(&start) = self.found.starts.first() else { return };
        let bytes = (self.found.end - start).min(self.size as i64);
        let Ok(file) = self.file(start) else { return };
        let peek = Peek::of(file, start, bytes as usize / UNIT_BYTES);
        self.found.min = start + (peek.before(log_min) * UNIT_BYTES) as i64;
    }
}

/// The end of the good ones among `first..end`, where those before a good one are taken to be good
/// too: looked for backwards in growing steps.
fn last_of(first: i64, end: i64, good: impl Fn(i64) -> bool) -> i64 {
    let (mut bad, mut step) = (end, 1);
    let mut low = loop {
        if bad <= first {
            return first;
        }
        let look = (bad - step).max(first);
        if good(look) {
            break look;
        }
        bad = look;
        step *= 2;
    };
    while low + 1 < bad {
        let middle = low + (bad - low) / 2;
        if good(middle) {
            low = middle;
        } else {
            bad = middle;
        }
    }
    low + 1
}

/// How far a file holds units.
struct Walked {
    units: usize,
    /// Physical offset after the last one's record.
    after: i64,
    /// There is something behind them.
    rest: bool,
}

/// `head` is what the file begins with.
fn walk_file(file: &File, head: &[u8], size: usize, mut after: i64) -> io::Result<Walked> {
    let mut at = 0;
    let mut read = Vec::new();
    while at < size {
        let bytes = match at {
            0 => head,
            _ => {
                read.resize(NEXT_READS.min(size - at), 0);
                file.read_exact_at(&mut read, at as u64)?;
                &read
            }
        };
        for unit in bytes.chunks_exact(UNIT_BYTES) {
            let unit_of = Unit::from_bytes(unit);
            let blank = unit_of == Unit::BLANK;
            if !unit_of.is_valid() || (!blank && unit_of.physical_offset < after) {
                let in_head = head.get(at..).unwrap_or_default();
                let rest = in_head.iter().any(|byte| *byte != 0)
                    || has_bytes(file, at.max(head.len()) as u64, size as u64)?;
                return Ok(Walked { units: at / UNIT_BYTES, after, rest });
            }
            if !blank {
                after = unit_of.end();
            }
            at += UNIT_BYTES;
        }
    }
    Ok(Walked { units: size / UNIT_BYTES, after, rest: false })
}

/// Whether there is a byte that is not zero from `from` on, as far as one is expected.
fn has_bytes(file: &File, from: u64, size: u64) -> io::Result<bool> {
    const STEP: u64 = PAGE_BYTES as u64;
    let mut at = from;
    let mut read = 0;
    let mut bytes = [0; STEP as usize];
    while at < size && read < STALE_GAP_BYTES as u64 {
        match sys::file::next_data(file, at)? {
            Some(data) => at = data,
            None => return Ok(false),
        }
        let len = (STEP - at % STEP).min(size.saturating_sub(at));
        file.read_exact_at(&mut bytes[..len as usize], at)?;
        if bytes[..len as usize].iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        at += len;
        read += len;
    }
    Ok(false)
}
