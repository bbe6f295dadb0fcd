//! The checkpoint file: how far, in store time, things were on disk. Recovery starts from it.
//!
//! 4096 bytes; i64 at 0: commit log, at 8: consume queues, at 16: index files. The rest is zero
//! here and kept as found (RocketMQ 5 has two more fields).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::base::error::IoContext;
use crate::base::{Error, Result, clock, persist};
use crate::sys;

/// Length of the file.
pub(super) const FILE_BYTES: u64 = 4096;
/// Recovery starts this much before the checkpoint, in ms.
const SLACK_MS: i64 = 3000;
/// A clock may have been set back by so much.
const AHEAD_MS: i64 = 3_600_000;

/// Three store times in ms; 0 = nothing known.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: File,
    /// Of the newest record that is on disk.
    pub physic: AtomicI64,
    /// Of the newest record that is in its consume queue.
    pub logics: AtomicI64,
    /// Of the newest record in an index file that is complete and on disk.
    pub index: AtomicI64,
    /// A flush of queues or index failed: what the times say would not be so.
    distrusted: AtomicBool,
}

impl Checkpoint {
    /// Opens the file, making or completing it as necessary. A time that cannot be one counts for
    /// nothing: one ahead of the clock would have a start trust what never came to the disk.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let what = || format!("open {}", path.display());
        persist::make_room(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = sys::file::open(path, &options).what(what)?;
        let bytes = file.metadata().what(what)?.len();
        if bytes != FILE_BYTES {
            if bytes != 0 {
                log::warn!(target: "store", "{}: {bytes} bytes long, not {FILE_BYTES}: what is \
                    missing counts for nothing", path.display());
            }
            sys::file::set_len(&file, path, FILE_BYTES).what(what)?;
        }
        let mut fields = [0; 24];
        file.read_exact_at(&mut fields, 0).what(what)?;
        let latest = clock::now_ms() + AHEAD_MS;
        let field = |at: usize| {
            let value = i64::from_be_bytes(fields[at..at + 8].try_into().expect("8 bytes"));
            if (0..=latest).contains(&value) {
                return AtomicI64::new(value);
            }
            log::warn!(target: "store", "{}: the time {value} at {at} counts for nothing",
                path.display());
            AtomicI64::new(0)
        };
        Ok(Checkpoint {
            physic: field(0),
            logics: field(8),
            index: field(16),
            distrusted: AtomicBool::new(false),
            file,
            path: path.into(),
        })
    }

    /// Store time of the newest record that was dispatched; read before the queues are flushed, it
    /// is what `flush` is to write.
    pub fn dispatched(&self) -> i64 {
        self.logics.load(Ordering::Acquire)
    }

    /// No more times until restart: what a failed flush covered may be lost, and the kernel will
    /// not say so again.
    pub fn distrust(&self) {
        self.distrusted.store(true, Ordering::Release);
    }

    /// Writes the times to the disk; records up to `logics` are in consume queues on the disk.
    pub fn flush(&self, logics: i64) -> Result<()> {
        if self.distrusted.load(Ordering::Acquire) {
            let why = "no checkpoint is written: an earlier flush of queues or index failed";
            return Err(Error::Corrupt(why.to_owned()));
        }
        let mut fields = [0; 24];
        let (physic, index) = (&self.physic, &self.index);
        let values = [physic.load(Ordering::Acquire), logics, index.load(Ordering::Acquire)];
        for (at, value) in values.into_iter().enumerate() {
            fields[at * 8..at * 8 + 8].copy_from_slice(&value.to_be_bytes());
        }
        sys::file::write_at(&self.file, &self.path, &fields, 0)
            .and_then(|()| sys::file::sync_data(&self.file, &self.path))
            .what(|| format!("write {}", self.path.display()))
    }

    /// Records stored before this time are on disk and in their queues.
    pub fn min_timestamp(&self) -> i64 {
        let physic = self.physic.load(Ordering::Acquire);
        (physic.min(self.logics.load(Ordering::Acquire)) - SLACK_MS).max(0)
    }

    /// The same, with the index files.
    pub fn min_timestamp_index(&self) -> i64 {
        self.min_timestamp().min(self.index.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let damages: [fn(&Path); 2] = [
            |path| std::fs::create_dir(path).unwrap(),
            |path| std::os::unix::fs::symlink("nowhere", path).unwrap(),
        ];
        for damage in damages {
            damage(&path);
            assert_eq!(Checkpoint::open(&path).unwrap().min_timestamp(), 0);
            assert!(path.is_file());
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn keeps_times_in_the_java_layout() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.min_timestamp(), 0);
        checkpoint.physic.store(10_000, Ordering::Relaxed);
        checkpoint.logics.store(9_000, Ordering::Relaxed);
        checkpoint.flush(9_000).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(
            (bytes.len(), &bytes[..16]),
            (4096, &[10_000i64, 9_000].map(i64::to_be_bytes).concat()[..])
        );
        let again = Checkpoint::open(&path).unwrap();
        assert_eq!((again.min_timestamp(), again.min_timestamp_index()), (6_000, 0));
    }

    #[test]
    fn a_damaged_file_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        std::fs::write(&path, [0xff; 11]).unwrap();
        assert_eq!(Checkpoint::open(&path).unwrap().min_timestamp(), 0);
        let now = clock::now_ms();
        for (time, counts) in
            [(now, now), (now + 60_000, now + 60_000), (now | 1 << 42, 0), (-1, 0)]
        {
            let mut bytes = [0; FILE_BYTES as usize];
            bytes[..8].copy_from_slice(&time.to_be_bytes());
            bytes[8..16].copy_from_slice(&now.to_be_bytes());
            std::fs::write(&path, bytes).unwrap();
            let found = Checkpoint::open(&path).unwrap();
            let times = [&found.physic, &found.logics].map(|time| time.load(Ordering::Relaxed));
            assert_eq!(times, [counts, now]);
        }
    }
}
