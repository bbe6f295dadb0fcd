//! Where the log really ends, found at start.
//!
//! Records are read from a file that is surely on disk; where no record follows any more is the
//! end. Damaged bytes between records are passed over: RocketMQ would end the log there. Records
//! whose queue entries may be missing are dispatched again from `dispatch_from`.

use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::consume_queue::Unit;
use super::mapped::MappedFile;
use super::segments::Segments;
use crate::base::error::IoContext;
use crate::base::limits::STALE_GAP_BYTES;
use crate::base::progress::Progress;
use crate::base::{Error, Result};
use crate::message::property;
use crate::message::record::{self, Checked, RecordView};

/// No record is expected behind so many zeros, more than a record's body has.
const DAMAGE_GAP_BYTES: usize = 8 * 1024 * 1024;
/// After a normal stop this many files are read.
const FILES_AFTER_STOP: usize = 3;

/// What the log was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Offset of the first byte read: what lies before is whole and on disk.
    pub from: i64,
    /// Offset just past the last record.
    pub end: i64,
    /// Store time of the last record, in ms; 0 without one.
    pub store_timestamp: i64,
}

/// What of the log was on disk when the last run ended: bytes there that are no record are damage,
/// behind them they are the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OnDisk {
    /// It stopped in order.
    All,
    /// A crash: what was stored before this time, and below this offset.
    Before { ms: i64, offset: i64 },
}

impl OnDisk {
    /// Of a record that follows those of before.
    fn has(self, record: &RecordView<'_>) -> bool {
        match self {
            OnDisk::All => true,
            OnDisk::Before { ms, offset } => {
                let end = record.physical_offset() + i64::from(record.total_size());
                record.store_timestamp() < ms || end <= offset
            }
        }
    }

    /// Whether bytes before this record are on disk.
    fn reaches(self, record: &RecordView<'_>) -> bool {
        let begins_within = |at| matches!(self, OnDisk::Before { offset, .. } if at <= offset);
        self.has(record) || begins_within(record.physical_offset())
    }
}

/// Finds the end of the log and cuts the files there.
pub fn recover(
    segments: &Segments,
    checkpoint_ms: i64,
    on_disk: OnDisk,
    check_crc: bool,
) -> Result<Recovered> {
    let clean = on_disk == OnDisk::All;
    let files = segments.files();
    let first = if clean {
        files.len().saturating_sub(FILES_AFTER_STOP)
    } else {
        files.iter().rposition(|file| surely_durable(file, checkpoint_ms)).unwrap_or(0)
    };
    let Some(file) = files.get(first) else {
        return Ok(Recovered { from: 0, end: 0, store_timestamp: 0 });
    };
    let mut found = Recovered { from: file.start(), end: file.start(), store_timestamp: 0 };
    let total = files[first..].iter().map(|file| file.size() as u64).sum();
    let mut told = Told { progress: Progress::new("recovery of the log", total), done: 0 };
    for (index, file) in files.iter().enumerate().skip(first) {
        let more = files[index + 1..].iter().any(|file| begins_on_disk(file, on_disk));
        let alone = found.store_timestamp == 0;
        let read = Reading { file, more, check_crc, on_disk, alone };
        let at = read.to_end(&mut told, &mut found.store_timestamp)?;
        told.done += file.size() as u64;
        found.end = file.start() + at as i64;
        if at < file.size() {
            break;
        }
    }
    report(&files, &found, clean);
    segments.truncate(found.end)?;
    if let Some(file) = segments.find(found.end) {
        clear_stale(&file)?;
    }
    Ok(found)
}

/// How far reading has come.
struct Told {
    progress: Progress,
    /// Bytes of the files before.
    done: u64,
}

/// Whether the first record was on disk by the time of the checkpoint.
fn surely_durable(file: &MappedFile, checkpoint_ms: i64) -> bool {
    let bytes = file.bytes(0, file.size()).unwrap_or_default();
    match RecordView::parse(bytes, false) {
        Checked::Record(record) => {
            let stored = record.store_timestamp();
            record.physical_offset() == file.start() && stored != 0 && stored <= checkpoint_ms
        }
        _ => false,
    }
}

/// Whether the file begins with a record, which was on disk.
fn begins_on_disk(file: &MappedFile, on_disk: OnDisk) -> bool {
    let bytes = file.bytes(0, file.size()).unwrap_or_default();
    matches!(RecordView::parse(bytes, true), Checked::Record(record)
        if record.physical_offset() == file.start() && on_disk.reaches(&record))
}

/// One file being read.
struct Reading<'a> {
    file: &'a MappedFile,
    /// A later file begins with a record that was on disk.
    more: bool,
    check_crc: bool,
    on_disk: OnDisk,
    /// No record was met before this file.
    alone: bool,
}

impl Reading<'_> {
    /// Returns the position of the first byte behind the records, the size when the log goes on in
    /// the next file. Refuses a file of another layout.
    fn to_end(&self, told: &mut Told, store_timestamp: &mut i64) -> Result<usize> {
        let bytes = self.file.bytes(0, self.file.size()).unwrap_or_default();
        let mut at = 0;
        while at < bytes.len() {
            told.progress.reached(told.done + at as u64);
            match RecordView::parse(&bytes[at..], self.check_crc) {
                // A record of another place is left over from what the file held before.
                Checked::Record(record) if self.is_here(&record, at) => {
                    self.refuse_newer(bytes, at)?;
                    *store_timestamp = record.store_timestamp();
                    at += record.total_size() as usize;
                }
                Checked::Blank(left) if fills(left, bytes.len() - at) => return Ok(bytes.len()),
                _ => {
                    self.refuse_newer(bytes, at)?;
                    match self.behind_damage(bytes, at, *store_timestamp) {
                        Some(next) => at = next,
                        None => {
                            self.refuse_foreign(bytes, at)?;
                            return Ok(if self.more { bytes.len() } else { at });
                        }
                    }
                }
            }
        }
        Ok(at)
    }

    fn is_here(&self, record: &RecordView<'_>, at: usize) -> bool {
        record.physical_offset() == self.file.start() + at as i64
            && (self.on_disk.has(record) || !is_torn(record, at))
    }

    /// The next record behind bytes that are none, if those were on disk. In the last file only
    /// one that was stored after those before: what RocketMQ has cut off stays in the file, and is
    /// older than what follows.
    fn behind_damage(&self, bytes: &[u8], at: usize, stored: i64) -> Option<usize> {
        let gap = if self.more { usize::MAX } else { DAMAGE_GAP_BYTES };
        let next = next_record(bytes, at, self.file.start(), gap)?;
        let view = RecordView::new(&bytes[next..])?;
        if !self.more && (view.store_timestamp() < stored || !self.on_disk.reaches(&view)) {
            return None;
        }
        log::error!(target: "store", "{}: {} bytes from {at} on are damaged and passed over",
            self.file.path().display(), next - at);
        Some(next)
    }

    /// Records of RocketMQ 5's second format, which RocketMQ 4.9 would take for the end.
    fn refuse_newer(&self, bytes: &[u8], at: usize) -> Result<()> {
        match magic_at(bytes, at) {
            Some(record::MAGIC_V2) => {
                self.refuse(at, "a record of RocketMQ 5's V2 format, which is not written here")
            }
            _ => Ok(()),
        }
    }

    /// A log that begins with the magic of some other program and has no record. (Of a head that a
    /// crash tore apart, bytes are missing, that is zero.)
    fn refuse_foreign(&self, bytes: &[u8], at: usize) -> Result<()> {
        let magic = magic_at(bytes, at).filter(|_| at == 0 && self.alone && !self.more);
        match magic.map(i32::to_be_bytes) {
            Some(magic) if !magic.contains(&0) && !is_ours(i32::from_be_bytes(magic)) => {
                self.refuse(at, "the magic of no RocketMQ record")
            }
            _ => Ok(()),
        }
    }

    fn refuse(&self, at: usize, why: &str) -> Result<()> {
        let offset = self.file.start() + at as i64;
        let path = self.file.path().display();
        Err(Error::Corrupt(format!("{path}: at offset {offset} {why}")))
    }
}

/// Whether topic and properties, which no sum covers, end in a sector that was never written.
fn is_torn(record: &RecordView<'_>, at: usize) -> bool {
    const SECTOR: usize = 512;
    let bytes = record.bytes();
    let names = bytes.len() - record.properties_bytes() - record.topic().len();
    let first = (at + names).next_multiple_of(SECTOR) - at;
    let mut sectors = (first..bytes.len()).step_by(SECTOR);
    sectors.any(|from| bytes[from..bytes.len().min(from + SECTOR)].iter().all(|byte| *byte == 0))
}

fn is_ours(magic: i32) -> bool {
    matches!(magic, record::MAGIC_V1 | record::MAGIC_BLANK)
}

fn magic_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at + 4..).and_then(<[u8]>::first_chunk).copied().map(i32::from_be_bytes)
}

/// Whether a blank record that says so fills the bytes left of its file.
pub fn fills(says: i32, left: usize) -> bool {
    usize::try_from(says) == Ok(left)
}

/// Position of the first whole record after `at` that says it stands there; `start` is the offset
/// of the file. Given up after so many zeros.
pub fn next_record(bytes: &[u8], at: usize, start: i64, zeros_max: usize) -> Option<usize> {
    const STEP: usize = 64 * 1024;
    let magic = record::MAGIC_V1.to_be_bytes();
    let mut from = at + 5;
    let mut zeros = 0;
    while from + 4 <= bytes.len() {
        let until = (from + STEP).min(bytes.len() - 3);
        let block = &bytes[from..until + 3];
        let empty = block.iter().all(|byte| *byte == 0);
        zeros = if empty { zeros + STEP } else { 0 };
        if zeros > zeros_max {
            return None;
        }
        let mut places = block.windows(4).enumerate().filter(|(_, word)| !empty && **word == magic);
        let found = places.find(|(index, _)| {
            let place = from + index - 4;
            matches!(RecordView::parse(&bytes[place..], true), Checked::Record(record)
                if record.physical_offset() == start + place as i64)
        });
        if let Some((index, _)) = found {
            return Some(from + index - 4);
        }
        from = until;
    }
    None
}

fn report(files: &[Arc<MappedFile>], found: &Recovered, clean: bool) {
    let lost = files.iter().filter(|file| file.start() > found.end).filter(
        |file| matches!(file.bytes(0, 8), Some(head) if head.iter().any(|byte| *byte != 0)),
    );
    for file in lost {
        log::error!(target: "store", "{}: removed, the log ends at {} before it",
            file.path().display(), found.end);
    }
    let how = if clean { "in order" } else { "by a crash" };
    log::info!(target: "store", "commit log: stopped {how}, read from {}, ends at {}",
        found.from, found.end);
}

/// Zeroes what a crash left behind the end, or records of before could follow new ones one day.
fn clear_stale(file: &MappedFile) -> Result<()> {
    const STEP: usize = 64 * 1024;
    let mut zero_until = file.wrote() + STALE_GAP_BYTES;
    let (mut at, mut cleared) = (file.wrote(), 0);
    let mut bytes = vec![0; STEP];
    while at < zero_until.min(file.size()) {
        let len = STEP.min(file.size() - at);
        file.read_at(at, &mut bytes[..len]);
        if bytes[..len].iter().any(|byte| *byte != 0) {
            bytes[..len].fill(0);
            file.write_at(at, &bytes[..len])
                .what(|| format!("clear the end of {}", file.path().display()))?;
            cleared = at + len;
            zero_until = cleared + STALE_GAP_BYTES;
        }
        at += len;
    }
    // On the disk, or another crash could bring it back.
    file.flush(file.wrote(), cleared).what(|| format!("flush {}", file.path().display()))
}

/// A record that a unit of a queue names.
pub struct Named {
    file: Arc<MappedFile>,
    position: usize,
    len: usize,
    pub store_timestamp: i64,
}

impl Named {
    /// Whether its body has the CRC that it says.
    pub fn is_whole(&self) -> bool {
        let bytes = self.file.bytes(self.position, self.len).unwrap_or_default();
        matches!(RecordView::parse(bytes, true), Checked::Record(_))
    }
}

/// The record that the unit at `offset` of a queue names, when it is the one of that place.
pub fn stands(
    segments: &Segments,
    topic: &str,
    queue_id: i32,
    offset: i64,
    unit: Unit,
) -> Option<Named> {
    let file = segments.find(unit.physical_offset)?;
    let position = usize::try_from(unit.physical_offset - file.start()).ok()?;
    let len = usize::try_from(unit.size).ok()?;
    let record = RecordView::new(file.bytes(position, len)?)?;
    let here = record.bytes().len() == len && record.physical_offset() == unit.physical_offset;
    let place = (record.topic(), record.queue_id(), record.queue_offset());
    if !here || !(place == (topic, queue_id, offset) || also_in(&record, topic)) {
        return None;
    }
    let store_timestamp = record.store_timestamp();
    Some(Named { position, len, file, store_timestamp })
}

/// Whether the record was put into this queue beside its own (light message queues).
fn also_in(record: &RecordView<'_>, topic: &str) -> bool {
    let queues = property::get(record.properties(), property::INNER_MULTI_DISPATCH);
    queues.is_some_and(|queues| queues.split(',').any(|queue| queue == topic))
}

/// Where dispatch begins: what the queues know is not done again after a stop in order; after a
/// crash everything read is, since each queue knows what it has.
pub fn dispatch_from(found: &Recovered, clean: bool, queues_end: i64, min_offset: i64) -> i64 {
    let from = if clean { queues_end } else { queues_end.min(found.from) };
    from.clamp(min_offset, found.end)
}

/// The time that an abnormal start trusts.
pub fn trusted_ms(checkpoint: &Checkpoint, index_too: bool) -> i64 {
    if index_too { checkpoint.min_timestamp_index() } else { checkpoint.min_timestamp() }
}
