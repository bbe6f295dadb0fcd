//! The chain of records, and what it says of the queues.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::queue_files::{Entry, Queues};
use super::{Plan, Report, STEP_BYTES, Segment, Window, segments};
use crate::base::limits::{CHECK_QUEUES_MAX, CHECK_RECORD_BYTES_MAX};
use crate::base::progress::Progress;
use crate::base::{Result, error::IoContext};
use crate::message::record::{self, Checked, RecordView};
use crate::message::{flags, property};
use crate::sys;

/// The log as it was found.
pub(super) struct Log {
    files: Vec<(Segment, File)>,
    pub min: i64,
    /// Just past the last record.
    pub end: i64,
    /// Store time of the last record in ms.
    pub newest_ms: i64,
    records: u64,
    bytes: u64,
    /// Keys that an index knows, or should know.
    pub keys: u64,
    v2: u64,
    /// Records whose queue is not there.
    pub without_queue: HashMap<(String, i32), u64>,
}

impl Log {
    /// Reads the whole record at a physical offset, the body left out; `None` when none begins
    /// there.
    pub fn record_at(&self, offset: i64, out: &mut Vec<u8>) -> io::Result<bool> {
        let index = self.files.partition_point(|(segment, _)| segment.end() <= offset);
        let Some((segment, file)) = self.files.get(index) else { return Ok(false) };
        let Ok(at) = u64::try_from(offset - segment.start) else { return Ok(false) };
        if offset >= self.end || segment.bytes - at < 8 {
            return Ok(false);
        }
        let mut head = [0; 8];
        file.read_exact_at(&mut head, at)?;
        let Some(total) = length(&head, segment.bytes - at) else { return Ok(false) };
        out.resize(total, 0);
        file.read_exact_at(out, at)?;
        Ok(RecordView::new(out).is_some_and(|record| record.physical_offset() == offset))
    }
}

/// Length of the record that begins with `head`, when it can be one.
fn length(head: &[u8], left: u64) -> Option<usize> {
    let word = |at: usize| head[at..at + 4].try_into().map_or(0, i32::from_be_bytes);
    let good = matches!(word(4), record::MAGIC_V1 | record::MAGIC_V2);
    let total = usize::try_from(word(0)).ok().filter(|total| good && *total >= 8)?;
    (total as u64 <= left && total <= CHECK_RECORD_BYTES_MAX).then_some(total)
}

/// Reads the log from front to back.
pub(super) fn walk(plan: &Plan, queues: &mut Queues, report: &mut Report) -> Result<Log> {
    let found = segments(&plan.log_dirs, plan.log_file_bytes, report);
    let total = found.iter().map(|segment| segment.bytes).sum();
    let mut files = Vec::with_capacity(found.len());
    for segment in found {
        let file = sys::file::open_now(&segment.path)
            .what(|| format!("open {}", segment.path.display()))?;
        files.push((segment, file));
    }
    let min = files.first().map_or(0, |(segment, _)| segment.start);
    let log = Log {
        min,
        end: min,
        newest_ms: 0,
        records: 0,
        bytes: 0,
        keys: 0,
        v2: 0,
        without_queue: HashMap::new(),
        files: Vec::new(),
    };
    let mut walk = Walk { log, queues, report, progress: Progress::new("log", total), done: 0 };
    let mut ended: Option<String> = None;
    for index in 0..files.len() {
        let (segment, _) = &files[index];
        if let Some(why) = &ended {
            if !walk.begins_with_record(segment) {
                continue;
            }
            let (before, _) = &files[index - 1];
            let at = (walk.log.end - before.start).max(0) as u64;
            let path = if walk.log.end < before.end() { &before.path } else { &segment.path };
            walk.report.fault_at(path, at, format_args!("{why}; the log goes on in a later file"));
        }
        ended = walk.file(segment);
        walk.done += segment.bytes;
    }
    let Walk { mut log, .. } = walk;
    log.files = files;
    let Log { records, bytes, min, end, .. } = log;
    let count = log.files.len();
    report.say(format_args!(
        "commit log: {count} files, {records} records of {bytes} bytes, offsets {min} to {end}"
    ));
    if log.v2 > 0 {
        let count = log.v2;
        report.say(format_args!(
            "{count} of the records have RocketMQ 5's V2 format, which a 4.9 broker cannot read"
        ));
    }
    Ok(log)
}

struct Walk<'a, 'b> {
    log: Log,
    queues: &'a mut Queues,
    report: &'a mut Report<'b>,
    progress: Progress,
    /// Bytes of the files before this one.
    done: u64,
}

impl Walk<'_, '_> {
    fn begins_with_record(&self, segment: &Segment) -> bool {
        let Ok(mut window) = Window::open(&segment.path) else { return false };
        record_at(segment, &mut window, 0).is_some()
    }

    /// Reads one file. `Some`: the log ends in it, and what stands there instead of a record.
    fn file(&mut self, segment: &Segment) -> Option<String> {
        let mut window = match Window::open(&segment.path) {
            Ok(window) => window,
            Err(e) => {
                self.report.fault(&segment.path, e);
                return Some("not readable".to_owned());
            }
        };
        let mut at = 0;
        while at < window.bytes {
            self.progress.reached(self.done + at);
            self.log.end = segment.start + at as i64;
            match self.step(segment, &mut window, at) {
                Ok(size) => at += size,
                Err(Bad::Filler) => at = window.bytes,
                Err(Bad::NoRecord(why)) => {
                    let Some(next) = self.next_record(segment, &mut window, at + 1) else {
                        return Some(why);
                    };
                    let lost = next - at;
                    let what = format_args!("{why}; {lost} bytes to the next record are lost");
                    self.report.fault_at(&segment.path, at, what);
                    at = next;
                }
            }
        }
        self.log.end = segment.end();
        None
    }

    /// Looks at what stands at `at`; the size of the record.
    fn step(
        &mut self,
        segment: &Segment,
        window: &mut Window,
        at: u64,
    ) -> std::result::Result<u64, Bad> {
        let left = window.bytes - at;
        let no_record = |why: String| Bad::NoRecord(why);
        let unreadable = |e: io::Error| Bad::NoRecord(e.to_string());
        let head = window.get(at, 8).map_err(unreadable)?;
        let Some(head) = head.first_chunk::<8>().copied() else {
            return Err(no_record("no room for a record or a filler".to_owned()));
        };
        let word = |at: usize| head[at..at + 4].try_into().map_or(0, i32::from_be_bytes);
        if word(4) == record::MAGIC_BLANK {
            if u64::try_from(word(0)).ok() != Some(left) {
                let what = format_args!("the filler says {} bytes, {left} are left", word(0));
                self.report.fault_at(&segment.path, at, what);
            }
            return Err(Bad::Filler);
        }
        let Some(total) = length(&head, left) else {
            let (total, magic) = (word(0), word(4));
            return Err(no_record(format!("no record: length {total}, magic {magic:#010x}")));
        };
        let bytes = window.get(at, total).map_err(unreadable)?;
        let record = match RecordView::parse(&bytes[..total], false) {
            Checked::Record(record) => record,
            _ => return Err(no_record("the parts of a record do not add up".to_owned())),
        };
        let place = segment.start + at as i64;
        if record.physical_offset() != place {
            let says = record.physical_offset();
            return Err(no_record(format!("a record that says it stands at offset {says}")));
        }
        self.record(segment, at, &record);
        Ok(total as u64)
    }

    fn record(&mut self, segment: &Segment, at: u64, record: &RecordView<'_>) {
        self.log.records += 1;
        self.log.bytes += record.bytes().len() as u64;
        self.log.newest_ms = record.store_timestamp();
        self.log.v2 += u64::from(record.bytes()[4..8] == record::MAGIC_V2.to_be_bytes());
        let body = record.body();
        if !body.is_empty() && record::body_crc(body) != record.body_crc() {
            self.report.fault_at(&segment.path, at, "the body does not have the record's CRC");
        }
        let transaction = flags::transaction(record.sys_flag());
        if transaction != flags::TRANSACTION_ROLLBACK {
            let keys = property::iter(record.properties()).map(|(name, value)| match name {
                property::UNIQ_KEY => 1,
                property::KEYS => value.split(' ').filter(|key| !key.is_empty()).count(),
                _ => 0,
            });
            self.log.keys += keys.sum::<usize>() as u64;
        }
        let queued = matches!(transaction, 0 | flags::TRANSACTION_COMMIT);
        if queued && self.queues.compare(record, self.report) == Entry::NoQueue {
            let without = &mut self.log.without_queue;
            let key = (record.topic().to_owned(), record.queue_id());
            if without.len() < CHECK_QUEUES_MAX || without.contains_key(&key) {
                *without.entry(key).or_default() += 1;
            }
        }
    }

    /// The next place at or behind `from` where a record stands that says so, and that is no
    /// leftover: its queue knows it, or is not there.
    fn next_record(&mut self, segment: &Segment, window: &mut Window, from: u64) -> Option<u64> {
        let magic = record::MAGIC_V1.to_be_bytes();
        let mut at = from;
        while at + 8 <= window.bytes {
            self.progress.reached(self.done + at);
            // After a bad sector the search goes on behind it.
            let Ok(bytes) = window.get(at, STEP_BYTES) else {
                at += 4096;
                continue;
            };
            let held = bytes.len();
            let Some(found) = find_magic(bytes, &magic) else {
                at += held.saturating_sub(7).max(1) as u64;
                continue;
            };
            at += found as u64;
            if self.stands_at(segment, window, at) {
                return Some(at);
            }
            at += 1;
        }
        None
    }

    fn stands_at(&mut self, segment: &Segment, window: &mut Window, at: u64) -> bool {
        record_at(segment, window, at).is_some_and(|r| self.queues.entry(&r) != Entry::Other)
    }
}

/// The record at a position of a file, when one stands there that says so.
fn record_at<'w>(segment: &Segment, window: &'w mut Window, at: u64) -> Option<RecordView<'w>> {
    let head = window.get(at, 8).ok()?.first_chunk::<8>().copied()?;
    let total = length(&head, window.bytes - at)?;
    let record = RecordView::new(window.get(at, total).ok()?.get(..total)?)?;
    (record.physical_offset() == segment.start + at as i64).then_some(record)
}

/// What stands where a record was expected.
enum Bad {
    /// The filler at the end of the file.
    Filler,
    NoRecord(String),
}

/// Position of the first record head, by its magic, of which 8 bytes are there.
fn find_magic(bytes: &[u8], magic: &[u8; 4]) -> Option<usize> {
    let mut at = 0;
    while at + 8 <= bytes.len() {
        // Most of what is searched is zeros.
        let zeros = bytes[at..].first_chunk::<64>().is_some_and(|chunk| *chunk == [0; 64]);
        if zeros {
            at += 57;
        } else if bytes[at + 4..at + 8] == *magic {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}
