//! Checking a store that no broker has open, without changing a byte of it.
//!
//! The log is read once from front to back; each record is looked up in its queue. Then the queues
//! are read for entries that no record stands behind, then the index, checkpoint and JSON files.
//! Files are read, not mapped: a bad sector is one more fault.

mod index_files;
mod log_files;
mod queue_files;
mod state_files;

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::layout;
use super::lock::StoreLock;
use crate::base::error::IoContext;
use crate::base::limits::CHECK_FAULTS_SHOWN;
use crate::base::{Error, Result};
use crate::config::StoreConfig;
use crate::sys;

/// Bytes read at a time.
const STEP_BYTES: usize = 4 << 20;

/// What is checked, and against which lengths of files.
pub struct Plan {
    root: PathBuf,
    log_dirs: Vec<PathBuf>,
    /// `None`: each queue of files has the length of its first one.
    log_file_bytes: Option<u64>,
    queue_file_bytes: Option<u64>,
    index_slots: i32,
    index_entries: i32,
}

impl Plan {
    /// The store in `root`. With the broker's own configuration, its lengths and log folders count;
    /// otherwise the log is below `root`, and only index files must have their usual length.
    pub fn new(root: &Path, config: Option<&StoreConfig>) -> Plan {
        let usual = StoreConfig::new();
        let sizes = config.unwrap_or(&usual);
        let named = config.map(|config| {
            let named = config.store_path_commit_log.is_some();
            let dirs = match named {
                true => config.writable_commit_log_dirs(),
                false => vec![root.join("commitlog")],
            };
            dirs.into_iter().chain(config.read_only_commit_log_dirs()).collect::<Vec<_>>()
        });
        let queue_bytes = sizes.mapped_file_size_consume_queue.max(1) as u64;
        Plan {
            root: root.to_owned(),
            log_dirs: named.unwrap_or_else(|| vec![root.join("commitlog")]),
            log_file_bytes: config.map(|config| config.mapped_file_size_commit_log.max(0) as u64),
            queue_file_bytes: config.map(|_| queue_bytes.next_multiple_of(20)),
            index_slots: sizes.max_hash_slot_num.max(1),
            index_entries: sizes.max_index_num.max(2),
        }
    }
}

/// Checks the store, and writes to `out` a line for each fault and the counts. Returns the number
/// of faults. Refuses a folder that holds no store, and a store that a broker has open.
pub fn check(plan: &Plan, out: &mut dyn Write) -> Result<u64> {
    let here = layout::consume_queue_dir(&plan.root).is_dir()
        || plan.log_dirs.iter().any(|dir| dir.is_dir());
    if !here {
        let root = plan.root.display();
        return Err(Error::Config(format!("{root}: no commitlog and no consumequeue in it")));
    }
    let _lock = StoreLock::share(&plan.root)?;
    let mut report = Report { out, faults: 0, of_part: 0 };
    let crashed = layout::abort_file(&plan.root).exists();
    if crashed {
        report.say("not stopped in order (abort is there): the next start finds the log's end");
    }
    let topics = state_files::topics(&plan.root);
    let mut queues = queue_files::Queues::find(plan, topics, &mut report);
    report.part();
    let log = log_files::walk(plan, &mut queues, &mut report)?;
    report.part();
    queues.walk(&log, crashed, &mut report)?;
    report.part();
    index_files::walk(plan, &log, &mut report)?;
    report.part();
    state_files::walk(&plan.root, &log, &queues, &mut report);
    report.part();
    match report.faults {
        0 => report.say("no faults"),
        1 => report.say("1 fault"),
        n => report.say(format!("{n} faults")),
    }
    Ok(report.faults)
}

/// Where the findings go.
struct Report<'a> {
    out: &'a mut dyn Write,
    faults: u64,
    /// Faults of this part of the store.
    of_part: u64,
}

impl Report<'_> {
    /// A fault, in bytes from the beginning of the file.
    fn fault_at(&mut self, path: &Path, at: u64, what: impl Display) {
        self.fault(path, format_args!("at {at}: {what}"));
    }

    fn fault(&mut self, path: &Path, what: impl Display) {
        self.faults += 1;
        self.of_part += 1;
        if self.of_part <= CHECK_FAULTS_SHOWN {
            self.say(format_args!("fault: {}: {what}", path.display()));
        }
    }

    /// What a folder holds; that it cannot be read is a fault.
    fn entries(&mut self, dir: &Path) -> Vec<fs::DirEntry> {
        entries(dir).unwrap_or_else(|e| {
            self.fault(dir, e);
            Vec::new()
        })
    }

    /// A line that is no fault. Who does not listen does not stop the check.
    fn say(&mut self, text: impl Display) {
        let _ = writeln!(self.out, "{text}");
    }

    /// Ends a part of the store.
    fn part(&mut self) {
        let hidden = self.of_part.saturating_sub(CHECK_FAULTS_SHOWN);
        if hidden > 0 {
            self.say(format_args!("{hidden} more faults like these"));
        }
        self.of_part = 0;
    }
}

/// A file of a queue of files.
struct Segment {
    path: PathBuf,
    /// Offset of its first byte.
    start: i64,
    bytes: u64,
}

impl Segment {
    fn end(&self) -> i64 {
        self.start.saturating_add_unsigned(self.bytes)
    }
}

/// The files of all `dirs` together, in order. Each must be as long as `bytes` says, or as the
/// first one, and follow the one before it; an empty last file is one that a crash left.
fn segments(dirs: &[PathBuf], bytes: Option<u64>, report: &mut Report) -> Vec<Segment> {
    let mut found = Vec::new();
    for dir in dirs {
        for entry in report.entries(dir) {
            let path = entry.path();
            let meta = fs::metadata(&path);
            match entry.file_name().to_str().and_then(layout::parse_segment) {
                Some(start) => match meta {
                    Ok(meta) if meta.is_file() => {
                        found.push(Segment { path, start, bytes: meta.len() });
                    }
                    Ok(_) => report.fault(&path, "not a file"),
                    Err(e) => report.fault(&path, e),
                },
                None if meta.is_ok_and(|meta| meta.is_dir()) => {}
                None => report.fault(&path, "not the name of a segment"),
            }
        }
    }
    found.sort_by_key(|segment| segment.start);
    if found.last().is_some_and(|last| last.bytes == 0) {
        found.pop();
    }
    let expected = bytes.or_else(|| found.first().map(|first| first.bytes)).unwrap_or(0);
    let mut before: Option<i64> = None;
    for segment in &found {
        let Segment { path, start, bytes } = segment;
        if *bytes != expected {
            report.fault(path, format_args!("{bytes} bytes long, expected {expected}"));
        }
        if before.is_some_and(|end| end != *start) {
            report.fault(path, "does not follow the file before it");
        }
        before = Some(segment.end());
    }
    found
}

/// What a folder holds, sorted by name; nothing when it is not there.
fn entries(dir: &Path) -> Result<Vec<fs::DirEntry>> {
    let mut found = sys::file::entries(dir).what(|| format!("read directory {}", dir.display()))?;
    found.sort_by_key(fs::DirEntry::file_name);
    Ok(found)
}

/// A file read from front to back, a large piece at a time.
struct Window {
    file: File,
    bytes: u64,
    start: u64,
    held: Vec<u8>,
}

impl Window {
    fn open(path: &Path) -> io::Result<Window> {
        let file = sys::file::open_now(path)?;
        let bytes = file.metadata()?.len();
        Ok(Window { file, bytes, start: 0, held: Vec::new() })
    }

    /// At least `want` bytes from `at` on, fewer only at the end of the file.
    fn get(&mut self, at: u64, want: usize) -> io::Result<&[u8]> {
        let want = (want as u64).min(self.bytes.saturating_sub(at));
        let holds = self.start..=self.start + self.held.len() as u64;
        if !holds.contains(&at) || !holds.contains(&(at + want)) {
            let len = want.max(STEP_BYTES as u64).min(self.bytes - at);
            self.held.resize(len as usize, 0);
            self.start = at;
            if let Err(e) = self.file.read_exact_at(&mut self.held, at) {
                self.held.clear();
                return Err(e);
            }
        }
        Ok(&self.held[(at - self.start) as usize..])
    }
}

#[cfg(test)]
mod tests;
