//! How full the disks are, looked at by time and never on the send path.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};

use super::running::{Refusal, RunningFlags};
use crate::sys;

/// Above this share of the disk under the commit log, puts are refused.
pub const WARNING_PERCENT: i32 = 90;

/// Used percents of the file systems below the store; -1 = unknown.
#[derive(Debug)]
pub struct Disk {
    places: [(PathBuf, AtomicI32); 3],
}

impl Disk {
    /// Of the directories of commit log, consume queues and index.
    pub fn new(commit_log: &Path, queues: &Path, index: &Path) -> Disk {
        let place = |path: &Path| (path.to_path_buf(), AtomicI32::new(-1));
        Disk { places: [place(commit_log), place(queues), place(index)] }
    }

    /// Looks again, and sets or clears `DiskFull` by the commit log's.
    pub fn check(&self, flags: &RunningFlags) {
        for (path, percent) in &self.places {
            percent.store(used_percent(path).unwrap_or(-1), Ordering::Relaxed);
        }
        let used = self.places[0].1.load(Ordering::Relaxed);
        if used > WARNING_PERCENT {
            if flags.set(Refusal::DiskFull) {
                log::error!(target: "store", "disk of {} is {used} % full: puts are refused",
                    self.places[0].0.display());
            }
        } else if flags.clear(Refusal::DiskFull) {
            log::info!(target: "store", "disk of {} is {used} % full: puts are accepted again",
                self.places[0].0.display());
        }
    }

    /// Used shares, 0 to 1, of the disks of commit log, consume queues and index; -1 = unknown.
    pub fn ratios(&self) -> [f64; 3] {
        self.places.each_ref().map(|(_, percent)| match percent.load(Ordering::Relaxed) {
            -1 => -1.0,
            percent => f64::from(percent) / 100.0,
        })
    }
}

/// The nearest existing parent stands for a directory that is not there yet.
fn used_percent(path: &Path) -> Option<i32> {
    let existing = path.ancestors().find(|path| path.exists())?;
    sys::file::space(existing).ok().map(|space| space.used_percent())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_disk_of_a_directory_to_come() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(&dir.path().join("a/b"), dir.path(), Path::new(""));
        assert_eq!(disk.ratios(), [-1.0; 3]);
        let flags = RunningFlags::default();
        flags.set(Refusal::DiskFull);
        disk.check(&flags);
        let [log, queues, index] = disk.ratios();
        assert!(log == queues && (0.0..=1.0).contains(&log) && index == -1.0);
        assert_eq!(flags.has(Refusal::DiskFull), log > 0.9);
    }
}
