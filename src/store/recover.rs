//! Where the log really ends, found at start.
//!
//! Records are read from a file that is surely on disk; the first bytes that are no record are the
//! end. Records whose queue entries may be missing are dispatched again from `dispatch_from`.

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

/// After a normal stop this many files are read.
const FILES_AFTER_STOP: usize = 3;
/// How far is told after so many bytes.
const PROGRESS_STEP: usize = 4 << 20;

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

/// Finds the end of the log and cuts the files there. `clean`: the last run stopped in order.
pub fn recover(
    segments: &Segments,
    checkpoint_ms: i64,
    clean: bool,
    check_crc: bool,
) -> Result<Recovered> {
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
    let mut reading = Reading {
        check_crc,
        clean,
        progress: Progress::new("recovery of the log", total),
        done: 0,
    };
    for file in &files[first..] {
        let at = read_file(file, &mut reading, &mut found.store_timestamp)?;
        reading.done += file.size() as u64;
        found.end = file.start() + at as i64;
        if at < file.size() {
            break;
        }
    }
    report(&files, &found, clean);
    segments.truncate(found.end)?;
    if !clean && let Some(file) = segments.find(found.end) {
        clear_stale(&file)?;
    }
    Ok(found)
}

/// How records are read, and how far that has come.
struct Reading {
    check_crc: bool,
    /// The last run stopped in order.
    clean: bool,
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

/// Reads records; returns the position of the first byte that is none, the size when the file is
/// good to its end. Refuses a file of another layout.
fn read_file(file: &MappedFile, how: &mut Reading, store_timestamp: &mut i64) -> Result<usize> {
    let bytes = file.bytes(0, file.size()).unwrap_or_default();
    let (mut at, mut told) = (0, 0);
    while at < bytes.len() {
        if at - told >= PROGRESS_STEP {
            told = at;
            how.progress.reached(how.done + at as u64);
        }
        refuse_foreign(file, &bytes[at..], at)?;
        match RecordView::parse(&bytes[at..], how.check_crc) {
            // A record of another place is left over from what the file held before.
            Checked::Record(record)
                if record.physical_offset() == file.start() + at as i64
                    && (how.clean || !is_torn(&record, at)) =>
            {
                *store_timestamp = record.store_timestamp();
                at += record.total_size() as usize;
            }
            Checked::Blank(_) => return Ok(bytes.len()),
            _ => break,
        }
    }
    Ok(at)
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

/// What RocketMQ 4.9 would take for the end of the log, and cut off: records of version 5's second
/// format, and files that begin with a magic of some other program. (Of a head that a crash tore
/// apart, bytes are missing, that is zero. What follows a record may be anything after a crash.)
fn refuse_foreign(file: &MappedFile, bytes: &[u8], at: usize) -> Result<()> {
    let Some(&magic) = bytes.get(4..).and_then(<[u8]>::first_chunk::<4>) else { return Ok(()) };
    let why = match i32::from_be_bytes(magic) {
        record::MAGIC_V1 | record::MAGIC_BLANK => return Ok(()),
        record::MAGIC_V2 => "a record of RocketMQ 5's V2 format, which is not written here",
        _ if at == 0 && !magic.contains(&0) => "the magic of no RocketMQ record",
        _ => return Ok(()),
    };
    let offset = file.start() + at as i64;
    Err(Error::Corrupt(format!("{}: at offset {offset} {why}", file.path().display())))
}

fn report(files: &[std::sync::Arc<MappedFile>], found: &Recovered, clean: bool) {
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

/// The record that the unit of a queue names, when it is one of that queue. Its offset may be a
/// higher one than the unit's where RocketMQ closed a gap.
pub fn stands(
    segments: &Segments,
    topic: &str,
    queue_id: i32,
    offset: i64,
    unit: Unit,
) -> Option<()> {
    let file = segments.find(unit.physical_offset)?;
    let position = usize::try_from(unit.physical_offset - file.start()).ok()?;
    let bytes = file.bytes(position, usize::try_from(unit.size).ok()?)?;
    let record = RecordView::new(bytes)?;
    let whole = record.bytes().len() == bytes.len();
    let here = record.physical_offset() == unit.physical_offset;
    let ours =
        record.topic() == topic && record.queue_id() == queue_id && record.queue_offset() >= offset;
    (whole && here && (ours || also_in(&record, topic))).then_some(())
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
