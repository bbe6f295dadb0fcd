//! Where every call that changes a disk passes (feature `faults`): it can be made to fail by name,
//! and what it changed can be recorded. Without the feature both are nothing.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Open,
    Mmap,
    Write,
    /// ftruncate.
    Size,
    /// fallocate.
    Allocate,
    /// mlock2.
    Mlock,
    /// madvise that is to make memory ready.
    Madvise,
    Msync,
    /// Of a file: fsync, fdatasync.
    Fsync,
    /// fsync of a directory.
    FsyncDir,
    Rename,
    Link,
    Unlink,
    Mkdir,
    Statvfs,
}

/// What a call, or a store into a map, has changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// A file came to be, empty.
    Create(PathBuf),
    /// A file has this length now.
    Size(PathBuf, u64),
    /// Bytes stand at this position, by a write or a store into a map.
    Write(PathBuf, u64, Vec<u8>),
    /// These bytes, and the length, are on the disk.
    Sync(PathBuf, Range<u64>),
    /// All names in this directory are.
    SyncDir(PathBuf),
    Rename(PathBuf, PathBuf),
    /// The first has the second as one more name.
    Link(PathBuf, PathBuf),
    /// Of a file.
    Unlink(PathBuf),
    Mkdir(PathBuf),
    Rmdir(PathBuf),
}

#[cfg(not(feature = "faults"))]
mod here {
    use super::*;

    /// Nothing fails.
    #[inline(always)]
    pub fn check(_: Call, _: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Nothing is recorded.
    #[inline(always)]
    pub fn done(_: impl FnOnce() -> Change) {}

    /// Never.
    #[inline(always)]
    pub fn is_recording() -> bool {
        false
    }
}

#[cfg(feature = "faults")]
mod here {
    use super::*;

    use std::cell::RefCell;
    use std::sync::OnceLock;

    /// Names the file that says what fails in this process: see `failing`.
    const CONTROL: &str = "FERROCKET_FAULTS";

    thread_local! {
        static RECORD: RefCell<Option<Vec<Change>>> = const { RefCell::new(None) };
        static FAILING: RefCell<String> = const { RefCell::new(String::new()) };
    }

    /// Before a call: the error that it is to fail with.
    pub fn check(call: Call, path: &Path) -> io::Result<()> {
        static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
        let mut found = FAILING.with_borrow(|text| failing(text, call, path));
        if let Some(file) = FILE.get_or_init(|| std::env::var_os(CONTROL).map(PathBuf::from)) {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            found = found.or_else(|| failing(&text, call, path));
        }
        found.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    /// The error number of the first line, `Msync commitlog 5`, that names the call and a part of
    /// the path.
    fn failing(text: &str, call: Call, path: &Path) -> Option<i32> {
        let path = path.to_string_lossy();
        text.lines().find_map(|line| {
            let mut words = line.split(' ');
            let named = words.next()? == format!("{call:?}") && path.contains(words.next()?);
            named.then(|| words.next()?.parse().ok()).flatten()
        })
    }

    /// What fails on this thread from now on, in the form of the file.
    pub fn fail(lines: &str) {
        FAILING.with_borrow_mut(|text| lines.clone_into(text));
    }

    /// After a change.
    pub fn done(change: impl FnOnce() -> Change) {
        RECORD.with_borrow_mut(|record| record.as_mut().map(|all| all.push(change())));
    }

    /// Whether this thread's changes are recorded.
    pub fn is_recording() -> bool {
        RECORD.with_borrow(Option::is_some)
    }

    /// Records this thread's changes from now on.
    pub fn record() {
        RECORD.with_borrow_mut(|record| *record = Some(Vec::new()));
    }

    /// How many changes there are by now.
    pub fn recorded() -> usize {
        RECORD.with_borrow(|record| record.as_ref().map_or(0, Vec::len))
    }

    /// Ends the recording.
    pub fn recording() -> Vec<Change> {
        RECORD.take().unwrap_or_default()
    }
}

pub use here::*;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file;

    #[test]
    fn calls_fail_by_name_and_place() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["file.a", "file.b"].map(|name| dir.path().join(name));
        fail("Rename file.a 5\nUnlink file.a 28");
        std::fs::write(&a, "").unwrap();
        assert_eq!(file::remove(&a).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        file::rename(&a, &b).unwrap();
        assert_eq!(file::rename(&b, &a).unwrap_err().raw_os_error(), Some(libc::EIO));
        fail("");
        file::rename(&b, &a).unwrap();
        file::remove(&a).unwrap();
    }

    #[test]
    fn changes_are_recorded_when_they_have_happened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d/f");
        record();
        assert!(file::remove(&path).is_err());
        file::make_dirs(path.parent().unwrap()).unwrap();
        let made = file::create(&path).unwrap();
        file::write_at(&made, &path, b"abc", 1).unwrap();
        file::sync_data(&made, &path).unwrap();
        assert_eq!(recorded(), 5);
        let all = recording();
        assert!(!is_recording());
        assert!(matches!(&all[0], Change::Mkdir(dir) if *dir == path.parent().unwrap()));
        assert!(matches!(&all[1], Change::Create(file) if *file == path));
        assert!(matches!(&all[2], Change::Size(_, 0)));
        assert!(matches!(&all[3], Change::Write(_, 1, bytes) if bytes == b"abc"));
        assert!(matches!(&all[4], Change::Sync(_, range) if *range == (0..u64::MAX)));
    }
}
