//! The index files: the chain of each slot, and the record behind each entry.

use std::fs;
use std::path::PathBuf;

use super::log_files::Log;
use super::{Plan, Report, Window};
use crate::base::progress::Progress;
use crate::base::{Result, error::IoContext};
use crate::message::flags;
use crate::message::property;
use crate::message::record::RecordView;
use crate::store::index::{ENTRY_BYTES, HEADER_BYTES, SLOT_BYTES, file_bytes, int, key_hash, long};
use crate::store::layout;

/// Checks every file.
pub(super) fn walk(plan: &Plan, log: &Log, report: &mut Report) -> Result<()> {
    let mut files = Vec::new();
    let expected = file_bytes(plan.index_slots, plan.index_entries) as u64;
    for entry in report.entries(&layout::index_dir(&plan.root)) {
        let path = entry.path();
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(e) => {
                report.fault(&path, e);
                continue;
            }
        };
        let digits = entry.file_name().to_str().is_some_and(|name| name.parse::<u64>().is_ok());
        if meta.is_dir() && !digits {
            continue;
        } else if !meta.is_file() {
            report.fault(&path, "not a file");
        } else if !digits {
            report.fault(&path, "not the name of an index file");
        } else if meta.len() != expected {
            let bytes = meta.len();
            report.fault(&path, format_args!("{bytes} bytes long, expected {expected}"));
        } else {
            files.push(path);
        }
    }
    let total = files.len() as u64 * expected;
    let mut progress = Progress::new("index", total);
    let (count, mut known, mut all) = (files.len(), 0, 0);
    for (number, path) in files.into_iter().enumerate() {
        let window = Window::open(&path).what(|| format!("open {}", path.display()))?;
        let mut file = IndexFile { plan, log, path, window, record: Vec::new(), at: i64::MIN };
        let before = number as u64 * expected;
        match file.walk(&mut known, report, &mut |at| progress.reached(before + at)) {
            Ok(entries) => all += entries,
            Err(e) => report.fault(&file.path, e),
        }
    }
    report.say(format_args!(
        "index: {count} files, {all} entries, {known} for the {} keys in the log",
        log.keys
    ));
    Ok(())
}

struct IndexFile<'a> {
    plan: &'a Plan,
    log: &'a Log,
    path: PathBuf,
    window: Window,
    /// The record that was read last, and its physical offset.
    record: Vec<u8>,
    at: i64,
}

struct Header {
    first: i64,
    last: i64,
    used: i32,
    next: i32,
}

impl IndexFile<'_> {
    /// Checks the file; returns the number of its entries. `known` counts those in the log.
    fn walk(
        &mut self,
        known: &mut u64,
        report: &mut Report,
        reached: &mut dyn FnMut(u64),
    ) -> std::io::Result<u64> {
        let slots = self.plan.index_slots;
        let Some(header) = self.header(report)? else { return Ok(0) };
        let entries_at = HEADER_BYTES + slots as usize * SLOT_BYTES;
        // What the slots must hold in the end.
        let mut newest = vec![0_i32; slots as usize];
        let mut highest = i64::MIN;
        for number in 1..header.next {
            let at = (entries_at + number as usize * ENTRY_BYTES) as u64;
            reached(at);
            let entry = self.window.get(at, ENTRY_BYTES)?[..ENTRY_BYTES].to_vec();
            let (hash, physical, previous) = (int(&entry, 0), long(&entry, 4), int(&entry, 16));
            let Some(slot) = newest.get_mut((hash % slots) as usize).filter(|_| hash >= 0) else {
                report.fault_at(&self.path, at, format_args!("entry {number} has hash {hash}"));
                continue;
            };
            if previous != *slot {
                let what = format_args!("entry {number} names entry {previous}, not {slot}");
                report.fault_at(&self.path, at, what);
            }
            *slot = number;
            highest = highest.max(physical);
            // What a recovery added may be older than what was there.
            let last = if header.last == highest { physical } else { header.last };
            let ends = [(1, 16, header.first), (header.next - 1, 24, last)];
            for (_, at, says) in
                ends.into_iter().filter(|(n, _, says)| *n == number && *says != physical)
            {
                let what = format_args!("offset {says}, that of entry {number} is {physical}");
                report.fault_at(&self.path, at, what);
            }
            if physical >= self.log.min {
                *known += 1;
                if !self.is_keyed(physical, hash)? {
                    let what = format_args!("entry {number}: no record with its key at {physical}");
                    report.fault_at(&self.path, at, what);
                }
            }
        }
        self.slots(&newest, header.used, report)?;
        Ok(u64::from(header.next.unsigned_abs()) - 1)
    }

    /// `None` when the number of entries, without which nothing else can be looked at, is wrong.
    fn header(&mut self, report: &mut Report) -> std::io::Result<Option<Header>> {
        let header = self.window.get(0, HEADER_BYTES)?;
        let (begin_ms, end_ms) = (long(header, 0), long(header, 8));
        let header = Header {
            first: long(header, 16),
            last: long(header, 24),
            used: int(header, 32),
            next: int(header, 36),
        };
        // A new file has the end of the one before as its begin and end.
        if begin_ms > end_ms || begin_ms < 0 {
            let what = format_args!("times {begin_ms} to {end_ms}");
            report.fault_at(&self.path, 0, what);
        }
        let capacity = self.plan.index_entries;
        let good = (0..=capacity).contains(&header.next);
        if !good {
            let what = format_args!("{} entries of {capacity}", header.next);
            report.fault_at(&self.path, 36, what);
        }
        Ok(good.then_some(Header { next: header.next.max(1), ..header }))
    }

    fn slots(&mut self, newest: &[i32], used: i32, report: &mut Report) -> std::io::Result<()> {
        for (slot, expected) in newest.iter().enumerate() {
            let at = (HEADER_BYTES + slot * SLOT_BYTES) as u64;
            let found = int(self.window.get(at, SLOT_BYTES)?, 0);
            if found != *expected {
                let what = format_args!("slot {slot} names entry {found}, not {expected}");
                report.fault_at(&self.path, at, what);
            }
        }
        let filled = newest.iter().filter(|entry| **entry != 0).count();
        if usize::try_from(used).ok() != Some(filled) {
            let what = format_args!("{used} slots are said to be used, {filled} are");
            report.fault_at(&self.path, 32, what);
        }
        Ok(())
    }

    /// Whether a key of the record at `physical` has this hash.
    fn is_keyed(&mut self, physical: i64, hash: i32) -> std::io::Result<bool> {
        if self.at != physical {
            if !self.log.record_at(physical, &mut self.record)? {
                return Ok(false);
            }
            self.at = physical;
        }
        Ok(RecordView::new(&self.record).is_some_and(|record| has_key(&record, hash)))
    }
}

fn has_key(record: &RecordView<'_>, hash: i32) -> bool {
    if flags::transaction(record.sys_flag()) == flags::TRANSACTION_ROLLBACK {
        return false;
    }
    property::iter(record.properties()).any(|(name, value)| match name {
        property::UNIQ_KEY => key_hash(record.topic(), value) == hash,
        property::KEYS => value.split(' ').any(|key| key_hash(record.topic(), key) == hash),
        _ => false,
    })
}
