//! How full the disks are, looked at by time and never on the send path.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering::Relaxed};

use super::layout;
use super::running::{Refusal, RunningFlags};
use crate::base::limits::DISK_RESERVE_BYTES_MAX;
use crate::base::persist;
use crate::config::StoreConfig;
use crate::sys;
use crate::sys::file::Space;

/// Space of a file system, as `sys::file::space` tells it.
type SpaceOf = dyn Fn(&Path) -> io::Result<Space> + Send + Sync;

/// A file system below the store, or several that hold one thing together.
struct Place {
    paths: Vec<PathBuf>,
    /// Used percent of the one that is least full; -1 = unknown.
    percent: AtomicI32,
    /// Bytes that the broker may still use of the one that has most; `i64::MAX` = unknown.
    free: AtomicI64,
}

/// What the file systems below the store have left.
pub struct Disk {
    places: [Place; 3],
    space_of: Box<SpaceOf>,
}

/// How much need there is to delete files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    None,
    /// Expired files go at any hour.
    Expired,
    /// The oldest files go, however young.
    Any,
}

impl Disk {
    /// Of the directories of commit log, consume queues and index.
    pub fn new(commit_log: Vec<PathBuf>, queues: &Path, index: &Path) -> Disk {
        let mut disk = Disk::told_by([queues, queues, index], Box::new(sys::file::space));
        disk.places[0].paths = commit_log;
        disk
    }

    /// The same, with the space that `space_of` tells.
    pub(super) fn told_by(paths: [&Path; 3], space_of: Box<SpaceOf>) -> Disk {
        let place = |path: &Path| Place {
            paths: vec![path.to_path_buf()],
            percent: AtomicI32::new(-1),
            free: AtomicI64::new(i64::MAX),
        };
        Disk { places: paths.map(place), space_of }
    }

    /// Looks again.
    pub fn look(&self) {
        for place in &self.places {
            let spaces: Vec<Space> = place.paths.iter().filter_map(|p| self.space(p)).collect();
            let free = spaces.iter().map(|space| space.available).max();
            let free = free.map_or(i64::MAX, |free| i64::try_from(free).unwrap_or(i64::MAX));
            let percent = spaces.iter().map(Space::used_percent).min().unwrap_or(-1);
            place.percent.store(percent, Relaxed);
            place.free.store(free, Relaxed);
        }
    }

    fn space(&self, path: &Path) -> Option<Space> {
        // The nearest existing parent stands for a directory that is not there yet.
        let existing = path.ancestors().find(|path| path.exists())?;
        (self.space_of)(existing).ok()
    }

    /// Of several directories of the commit log those that are to get no file.
    pub fn full_log_dirs(&self, store: &StoreConfig) -> Vec<PathBuf> {
        let dirs = &self.places[0].paths;
        if dirs.len() < 2 {
            return Vec::new();
        }
        let most = forcibly_percent(store);
        let is_full = |dir: &&PathBuf| self.space(dir).is_some_and(|s| s.used_percent() > most);
        dirs.iter().filter(is_full).cloned().collect()
    }

    /// Looks again, and sets or clears `DiskFull` by the commit log's.
    pub fn check(&self, flags: &RunningFlags, store: &StoreConfig) {
        self.look();
        let Place { paths, percent, free } = &self.places[0];
        let (used, free) = (percent.load(Relaxed), free.load(Relaxed));
        let path = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        let path = path.join(", ");
        if used > warning_percent(store) || free < store.disk_warning_free_bytes {
            let why = format!("disk of {path} is {used} % full, {free} bytes are free");
            if flags.set(Refusal::DiskFull, &why) {
                log::error!(target: "store", "{why}: puts are refused");
            }
        } else if flags.clear(Refusal::DiskFull) {
            log::info!(target: "store",
                "disk of {path} is {used} % full, {free} bytes are free: puts are accepted again");
        }
    }

    /// What the disks of commit log and consume queues ask for.
    pub fn need(&self, store: &StoreConfig) -> Need {
        let any = forcibly_percent(store);
        let expired = store.disk_max_used_space_ratio.clamp(10, 95);
        let need = |place: &Place| {
            let (used, free) = (place.percent.load(Relaxed), place.free.load(Relaxed));
            if used > any || free < store.disk_clean_forcibly_free_bytes {
                Need::Any
            } else if used > expired || used < 0 || free < store.disk_clean_free_bytes {
                Need::Expired
            } else {
                Need::None
            }
        };
        let need = need(&self.places[0]).max(need(&self.places[1]));
        if store.clean_file_forcibly_enable { need } else { need.min(Need::Expired) }
    }

    /// Used shares, 0 to 1, of the disks of commit log, consume queues and index; -1 = unknown.
    pub fn ratios(&self) -> [f64; 3] {
        self.places.each_ref().map(|place| match place.percent.load(Relaxed) {
            -1 => -1.0,
            percent => f64::from(percent) / 100.0,
        })
    }
}

/// Above this used percent puts are refused; within RocketMQ's bounds.
fn warning_percent(store: &StoreConfig) -> i32 {
    store.disk_space_warning_level_ratio.clamp(35, 90)
}

/// Above this used percent files are deleted however young.
fn forcibly_percent(store: &StoreConfig) -> i32 {
    store.disk_space_clean_forcibly_ratio.clamp(30, 85).min(warning_percent(store))
}

/// Keeps a little space of the disk of `root` for the state files, when there is some.
pub fn keep_reserve(root: &Path) {
    let Ok(space) = sys::file::space(root) else { return };
    let bytes = DISK_RESERVE_BYTES_MAX.min(space.total / 64);
    if let Err(e) = persist::keep_reserve(&layout::reserve_file(root), bytes) {
        log::debug!(target: "store", "no space can be kept for state files: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_disk_of_a_directory_to_come() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(vec![dir.path().join("a/b")], dir.path(), Path::new(""));
        assert_eq!(disk.ratios(), [-1.0; 3]);
        let flags = RunningFlags::default();
        flags.set(Refusal::DiskFull, "full");
        disk.check(&flags, &StoreConfig::new());
        let [log, queues, index] = disk.ratios();
        assert!(log == queues && (0.0..=1.0).contains(&log) && index == -1.0);
        assert_eq!(flags.has(Refusal::DiskFull), log > 0.9);
    }

    #[test]
    fn full_folders_of_the_log_get_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = ["a", "b", "c"].map(|name| dir.path().join(name));
        dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        let used = std::sync::Arc::new([86, 85, 30].map(AtomicI64::new));
        let (told, known) = (used.clone(), dirs.clone());
        let space_of = move |path: &Path| {
            let number = known.iter().position(|dir| dir == path);
            let free = number.map_or(100, |number| 100 - told[number].load(Relaxed)) as u64;
            Ok(Space { total: 100, free, available: free })
        };
        let mut disk = Disk::told_by([Path::new("/"); 3], Box::new(space_of));
        let (flags, store) = (RunningFlags::default(), StoreConfig::new());
        let full = |disk: &Disk| {
            disk.check(&flags, &store);
            let dirs = disk.full_log_dirs(&store);
            let names = dirs.iter().map(|dir| dir.file_name().unwrap().to_str().unwrap());
            (names.collect::<String>(), disk.need(&store), flags.has(Refusal::DiskFull))
        };
        disk.places[0].paths = vec![dirs[0].clone()];
        assert_eq!(full(&disk), (String::new(), Need::Any, false), "there is no other folder");
        disk.places[0].paths = dirs.to_vec();
        assert_eq!(full(&disk), ("a".into(), Need::None, false));
        used[1].store(99, Relaxed);
        assert_eq!(full(&disk), ("ab".into(), Need::None, false));
        used[2].store(80, Relaxed);
        assert_eq!(full(&disk), ("ab".into(), Need::Expired, false));
        used[2].store(86, Relaxed);
        assert_eq!(full(&disk), ("abc".into(), Need::Any, false), "the least full counts");
        used.iter().for_each(|used| used.store(91, Relaxed));
        assert_eq!(full(&disk), ("abc".into(), Need::Any, true));
        used[0].store(10, Relaxed);
        assert_eq!(full(&disk), ("bc".into(), Need::None, false));
    }

    #[test]
    fn shares_and_bytes_say_what_is_needed() {
        let left = std::sync::Arc::new(AtomicI64::new(0));
        let told = left.clone();
        let space_of = move |_: &Path| {
            let available = told.load(Relaxed) as u64;
            Ok(Space { total: 1000, free: available, available })
        };
        let disk = Disk::told_by([Path::new("/"); 3], Box::new(space_of));
        let mut store = StoreConfig::new();
        let flags = RunningFlags::default();
        assert_eq!(disk.need(&store), Need::Expired, "nothing is known");
        let found = |free, store: &StoreConfig| {
            left.store(free, Relaxed);
            disk.check(&flags, store);
            (disk.need(store), flags.has(Refusal::DiskFull))
        };
        assert_eq!(found(250, &store), (Need::None, false));
        assert_eq!(found(249, &store), (Need::Expired, false));
        assert_eq!(found(150, &store), (Need::Expired, false));
        assert_eq!(found(149, &store), (Need::Any, false));
        assert_eq!(found(99, &store), (Need::Any, true));
        assert_eq!(found(100, &store), (Need::Any, false));
        store.clean_file_forcibly_enable = false;
        assert_eq!(found(99, &store), (Need::Expired, true));
        store.clean_file_forcibly_enable = true;
        store.disk_clean_free_bytes = 600;
        store.disk_clean_forcibly_free_bytes = 500;
        store.disk_warning_free_bytes = 400;
        assert_eq!(found(600, &store), (Need::None, false));
        assert_eq!(found(599, &store), (Need::Expired, false));
        assert_eq!(found(499, &store), (Need::Any, false));
        assert_eq!(found(399, &store), (Need::Any, true));
    }
}
