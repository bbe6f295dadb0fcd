//! Small state files (JSON tables, configuration): replaced whole, never torn, the old one kept.
//!
//! `x` is the file, `x.tmp` the one being written, `x.bak` the one before: RocketMQ's names, so
//! either program reads what the other left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::error::IoContext;
use super::limits::STATE_FILE_BYTES_MAX;
use super::{Error, Result, json};
use crate::sys::file;

/// Files that hold space for `save`.
static RESERVES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Makes the file `path`, which takes `bytes` of its disk until a save finds no space: saves go on
/// then, and the last one of a stop above all. Does nothing while the file is there.
pub fn keep_reserve(path: &Path, bytes: u64) -> io::Result<()> {
    let mut reserves = RESERVES.lock().unwrap_or_else(PoisonError::into_inner);
    if !path.exists() {
        let reserved = file::create(path).and_then(|made| file::reserve(&made, path, 0, bytes));
        if let Err(e) = reserved {
            let _ = file::remove(path);
            return Err(e);
        }
    }
    if !reserves.iter().any(|known| known == path) {
        reserves.push(path.to_owned());
    }
    Ok(())
}

/// Gives the reserves up; whether there were any.
fn release_reserves() -> bool {
    let reserves = std::mem::take(&mut *RESERVES.lock().unwrap_or_else(PoisonError::into_inner));
    let removed = reserves.iter().filter(|path| file::remove(path).is_ok());
    let count = removed.inspect(|path| log::warn!("the disk is full: {} removed", path.display()));
    count.count() > 0
}

/// Whether an error says that the disk has no space for more.
pub fn is_full(error: &Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    let Error::Io { source, .. } = error else { return false };
    matches!(source.kind(), StorageFull | QuotaExceeded)
}

/// Replaces the content of `path`: after a crash at any moment the old or the new text is there
/// complete. Missing folders are made. Two threads must not save the same path at once. On a full
/// disk the reserves are taken (`keep_reserve`).
pub fn save(path: &Path, text: &str) -> Result<()> {
    match replace(path, text) {
        Err(e) if is_full(&e) && release_reserves() => replace(path, text),
        result => result,
    }
}

fn replace(path: &Path, text: &str) -> Result<()> {
    let dir = parent(path);
    file::make_dirs_durably(dir).what(|| format!("make folder {}", dir.display()))?;
    let tmp = with_suffix(path, ".tmp");
    write_synced(&tmp, text).what(|| format!("write {}", tmp.display()))?;
    keep_old(path).what(|| format!("keep {} as .bak", path.display()))?;
    file::rename(&tmp, path).what(|| format!("rename {}", tmp.display()))?;
    file::sync_dir(dir).what(|| format!("sync folder {}", dir.display()))
}

/// The text of a file, `None` when there is none. Bytes that are not UTF-8 are an error, and what
/// is no file, or longer than any state is.
pub fn load(path: &Path) -> Result<Option<String>> {
    // To open a pipe would wait for its other end; some devices never end.
    let corrupt = |why: &str| Err(Error::Corrupt(format!("{}: {why}", path.display())));
    match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return corrupt("not a file"),
        Ok(meta) if meta.len() > STATE_FILE_BYTES_MAX => {
            return corrupt(&format!("{} bytes long", meta.len()));
        }
        _ => {}
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            Err(Error::Corrupt(format!("{}: not UTF-8 text", path.display())))
        }
        Err(e) => Err(e).what(|| format!("read {}", path.display())),
    }
}

/// What `parse` makes of a file, or of its `.bak` when the file is missing, empty or unreadable.
/// `None`: neither exists. An error is that of the last one tried and names it.
pub fn load_with_bak<T>(path: &Path, parse: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
    let trouble = match load_parsed(path, &parse) {
        Ok(Some(value)) => return Ok(Some(value)),
        Ok(None) => None,
        Err(e) => {
            log::warn!("{e}; the .bak beside it is tried");
            Some(e)
        }
    };
    match (load_parsed(&with_suffix(path, ".bak"), &parse), trouble) {
        (Ok(Some(value)), _) => Ok(Some(value)),
        (Ok(None), None) => Ok(None),
        // A disk that does not read says nothing about the text.
        (_, Some(e @ Error::Io { .. })) | (Ok(None), Some(e)) | (Err(e), _) => Err(e),
    }
}

/// As `load_with_bak`, for what a start can do without: copies of which none can be read are kept
/// under other names, and the log says so, with what that costs. `None`: as if there was no file.
pub fn load_or_keep_aside<T>(
    path: &Path,
    cost: &str,
    parse: impl Fn(&str) -> Result<T>,
) -> Result<Option<T>> {
    let copies = [path.to_owned(), with_suffix(path, ".bak")];
    let why = match load_with_bak(path, parse) {
        Err(Error::Corrupt(why)) => why,
        // A crash of RocketMQ's broker can leave both so.
        Ok(None) => match copies.iter().find(|copy| copy.exists()) {
            Some(copy) => format!("{}: empty", copy.display()),
            None => return Ok(None),
        },
        result => return result,
    };
    let mut kept = Vec::new();
    for copy in &copies {
        if copy.exists() {
            kept.push(keep_aside(copy)?.display().to_string());
        }
    }
    let dir = parent(path);
    file::sync_dir(dir).what(|| format!("sync folder {}", dir.display()))?;
    log::error!("{why}; no copy can be read, kept as {}: {cost}", kept.join(" and "));
    Ok(None)
}

/// Gives what cannot be read another name, and returns that.
pub fn keep_aside(path: &Path) -> Result<PathBuf> {
    let aside = unused_name(path);
    file::rename(path, &aside).what(|| format!("rename {}", path.display()))?;
    Ok(aside)
}

/// Keeps aside what stands in the place of a file and is none.
pub fn make_room(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() && !path.is_file() {
        let kept = keep_aside(path)?;
        log::warn!("{}: not a file, kept as {}", path.display(), kept.display());
    }
    Ok(())
}

/// A name for a file that cannot be read.
fn unused_name(path: &Path) -> PathBuf {
    let mut name = with_suffix(path, ".unreadable");
    let mut number = 1;
    while name.exists() {
        number += 1;
        name = with_suffix(path, &format!(".unreadable-{number}"));
    }
    name
}

/// `None` for a missing or empty file.
fn load_parsed<T>(path: &Path, parse: &impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
    match load(path)? {
        Some(text) if !text.trim().is_empty() => match parse(&text) {
            Ok(value) => Ok(Some(value)),
            Err(e) => Err(Error::Corrupt(format!("{}: {e}", path.display()))),
        },
        _ => Ok(None),
    }
}

/// A JSON state file that is written once for each version of what it holds.
pub struct VersionedFile {
    path: PathBuf,
    /// The version in the file; also keeps two threads from writing at once.
    saved: Mutex<i64>,
    /// The last save failed.
    failed: AtomicBool,
}

impl VersionedFile {
    /// The file at `path`, which holds version `saved`.
    pub fn new(path: &Path, saved: i64) -> VersionedFile {
        VersionedFile {
            path: path.to_owned(),
            saved: Mutex::new(saved),
            failed: AtomicBool::new(false),
        }
    }

    /// Writes what `current` gives with its version, unless that version or a newer one is already
    /// in the file. A failure is logged: what is in memory is valid, and the next change or `retry`
    /// writes it again.
    pub fn save<T: Serialize>(&self, current: impl FnOnce() -> (i64, T)) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, state) = current();
        if *saved >= version {
            return;
        }
        match save(&self.path, &json::to_pretty(&state)) {
            Ok(()) => {
                *saved = version;
                self.failed.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
                log::error!("{} not saved: {error}", self.path.display());
            }
        }
    }

    /// Saves once more if the last time failed.
    pub fn retry<T: Serialize>(&self, current: impl FnOnce() -> (i64, T)) {
        if self.failed.load(Ordering::Relaxed) {
            self.save(current);
        }
    }
}

/// `path` with `suffix` behind its whole name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let file = file::create(path)?;
    file::write_at(&file, path, text.as_bytes(), 0)?;
    file::sync(&file, path)
}

/// Gives the present file the name `.bak` as a second name, so that `path` is never missing. A file
/// system without links gets the rename that RocketMQ does.
fn keep_old(path: &Path) -> io::Result<()> {
    let bak = with_suffix(path, ".bak");
    if !path.exists() {
        return Ok(());
    }
    file::remove_if_there(&bak)?;
    file::link(path, &bak).or_else(|_| file::rename(path, &bak))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::faults;

    fn number(text: &str) -> Result<i32> {
        text.trim().parse().map_err(|_| Error::Config(format!("not a number: {text}")))
    }

    #[test]
    fn saves_keep_the_text_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/topics.json");
        assert_eq!(load(&path).unwrap(), None);
        for text in ["1", "2", "3"] {
            save(&path, text).unwrap();
            assert_eq!(load(&path).unwrap().unwrap(), text);
        }
        assert_eq!(load(&with_suffix(&path, ".bak")).unwrap().unwrap(), "2");
        assert!(!with_suffix(&path, ".tmp").exists());
    }

    #[test]
    fn a_save_without_space_takes_the_reserve() {
        let dir = tempfile::tempdir().unwrap();
        let (path, reserve) = (dir.path().join("table"), dir.path().join("reserve"));
        let [eio, enospc, erofs, edquot] = [5, 28, 30, 122];
        for (errno, no_space) in [(eio, false), (erofs, false), (enospc, true), (edquot, true)] {
            keep_reserve(&reserve, 4096).unwrap();
            assert_eq!(fs::metadata(&reserve).unwrap().len(), 4096);
            faults::fail(&format!("Write table {errno}"));
            let refused = save(&path, "1").unwrap_err();
            faults::fail("");
            assert_eq!((is_full(&refused), reserve.exists()), (no_space, !no_space), "{refused}");
            save(&path, "2").unwrap();
            assert_eq!(load(&path).unwrap().unwrap(), "2");
        }
    }

    #[test]
    fn the_bak_steps_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert_eq!(load_with_bak(&path, number).unwrap(), None);
        save(&path, "1").unwrap();
        save(&path, "2").unwrap();
        assert_eq!(load_with_bak(&path, number).unwrap(), Some(2));
        for broken in ["", "  \n", "two"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(load_with_bak(&path, number).unwrap(), Some(1), "{broken:?}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(load_with_bak(&path, number).unwrap(), Some(1));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "two").unwrap();
        let text = load_with_bak(&path, number).unwrap_err().to_string();
        assert!(text.ends_with("/x: not a number: two"), "{text}");
        fs::write(with_suffix(&path, ".bak"), [0xff, 0xfe]).unwrap();
        let text = load_with_bak(&path, number).unwrap_err().to_string();
        assert!(text.ends_with("/x.bak: not UTF-8 text"), "{text}");
    }

    #[test]
    fn what_no_copy_has_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let load = || load_or_keep_aside(&path, "nothing", number);
        let kept = |suffix: &str| fs::read_to_string(with_suffix(&path, suffix)).ok();
        assert_eq!(load().unwrap(), None);
        let texts = [("x", "y", ""), ("X", "Y", "-2"), ("", "", "-3")];
        for (text, older, aside) in texts {
            fs::write(&path, text).unwrap();
            fs::write(with_suffix(&path, ".bak"), older).unwrap();
            assert_eq!(load().unwrap(), None);
            assert!(!path.exists() && kept(".bak").is_none());
            assert_eq!(kept(&format!(".unreadable{aside}")).as_deref(), Some(text));
            assert_eq!(kept(&format!(".bak.unreadable{aside}")).as_deref(), Some(older));
        }
        std::os::unix::fs::symlink("x", &path).unwrap();
        fs::write(with_suffix(&path, ".bak"), "z").unwrap();
        assert!(matches!(load(), Err(Error::Io { .. })), "a disk that does not read");
        assert_eq!(kept(".bak").as_deref(), Some("z"));
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let load = || load_or_keep_aside(&path, "nothing", number);
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(load().unwrap(), None);
        fs::create_dir(&path).unwrap();
        assert_eq!(load().unwrap(), None);
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert_eq!(load().unwrap(), None);
        let sparse = fs::File::create(&path).unwrap();
        sparse.set_len(STATE_FILE_BYTES_MAX + 1).unwrap();
        assert_eq!(load().unwrap(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "each is kept");
        drop(socket);
    }
}
