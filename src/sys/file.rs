//! Files: changes, space, durability, locks. Whatever the program keeps is changed through here, so
//! that tests can make each call fail and see what it did (`faults`); files of its log are not.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::cvt;
use super::faults::{self, Call, Change, check, done};

/// Opens a file, with `options` that do not cut it.
pub fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    check(Call::Open, path)?;
    let is_new = faults::is_recording() && !path.exists();
    let file = options.open(path)?;
    if is_new {
        done(|| Change::Create(path.into()));
    }
    Ok(file)
}

/// Opens a file for writing, empty, which is made when there is none.
pub fn create(path: &Path) -> io::Result<File> {
    let file = open(path, OpenOptions::new().write(true).create(true).truncate(false))?;
    set_len(&file, path, 0)?;
    Ok(file)
}

/// Cuts or extends a file. `path`, here and below, is where `file` was opened.
pub fn set_len(file: &File, path: &Path, len: u64) -> io::Result<()> {
    check(Call::Size, path)?;
    file.set_len(len)?;
    done(|| Change::Size(path.into(), len));
    Ok(())
}

/// Writes all of `bytes` at a position.
pub fn write_at(file: &File, path: &Path, bytes: &[u8], at: u64) -> io::Result<()> {
    check(Call::Write, path)?;
    file.write_all_at(bytes, at)?;
    done(|| Change::Write(path.into(), at, bytes.into()));
    Ok(())
}

/// Fills `bytes` from a position if the kernel has all of them in memory; false when it would have
/// to wait for the disk. Where the file system cannot tell, it may wait.
pub fn read_now(file: &File, bytes: &mut [u8], at: u64) -> io::Result<bool> {
    let part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: one part, which is `bytes`; the kernel writes no more than its length.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, at as i64, libc::RWF_NOWAIT) };
    if read >= 0 {
        return Ok(read as usize == bytes.len());
    }
    match io::Error::last_os_error() {
        e if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        e if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
            file.read_exact_at(bytes, at).map(|()| true)
        }
        e => Err(e),
    }
}

/// Opens a file to look at it only. What is no file does not make this wait, as a pipe would.
pub fn open_now(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// fsync: returns when content and length are on the disk. The name is not: see `sync_dir`.
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    check(Call::Fsync, path)?;
    file.sync_all()?;
    done(|| Change::Sync(path.into(), 0..u64::MAX));
    Ok(())
}

/// fdatasync: as `sync` without times of the file.
pub fn sync_data(file: &File, path: &Path) -> io::Result<()> {
    check(Call::Fsync, path)?;
    file.sync_data()?;
    done(|| Change::Sync(path.into(), 0..u64::MAX));
    Ok(())
}

/// Makes new, renamed and removed names in `dir` survive a power cut.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    check(Call::FsyncDir, dir)?;
    File::open(dir)?.sync_all()?;
    done(|| Change::SyncDir(dir.into()));
    Ok(())
}

/// Renames within a directory.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    check(Call::Rename, to)?;
    fs::rename(from, to)?;
    done(|| Change::Rename(from.into(), to.into()));
    Ok(())
}

/// Gives the file `from` the name `to` as well.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    check(Call::Link, to)?;
    fs::hard_link(from, to)?;
    done(|| Change::Link(from.into(), to.into()));
    Ok(())
}

/// Removes a file.
pub fn remove(path: &Path) -> io::Result<()> {
    check(Call::Unlink, path)?;
    fs::remove_file(path)?;
    done(|| Change::Unlink(path.into()));
    Ok(())
}

/// Removes an empty directory.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    check(Call::Unlink, path)?;
    fs::remove_dir(path)?;
    done(|| Change::Rmdir(path.into()));
    Ok(())
}

/// Removes a file, unless it is not there.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match remove(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes a directory, unless it is not there or something is in it.
pub fn remove_dir_if_empty(dir: &Path) -> io::Result<()> {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match remove_dir(dir) {
        Err(e) if matches!(e.kind(), NotFound | DirectoryNotEmpty) => Ok(()),
        result => result,
    }
}

/// What a directory holds, in no order; nothing when it is not there.
pub fn entries(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect(),
    }
}

/// Makes a directory and those above it that are missing; returns the directories in which one was
/// made, which `sync_dir` makes durable.
pub fn make_dirs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.is_dir()).collect();
    if missing.last().is_some_and(|last| last.as_os_str().is_empty()) {
        missing.pop();
    }
    let mut changed = Vec::new();
    for dir in missing.into_iter().rev() {
        check(Call::Mkdir, dir)?;
        match fs::create_dir(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => return Err(e),
            _ => done(|| Change::Mkdir(dir.into())),
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        changed.push(parent.unwrap_or(Path::new(".")).to_owned());
    }
    Ok(changed)
}

/// As `make_dirs`; the directories are on the disk then.
pub fn make_dirs_durably(dir: &Path) -> io::Result<()> {
    make_dirs(dir)?.iter().try_for_each(|changed| sync_dir(changed))
}

/// Gives disk blocks to the bytes `from..from + len`, so that writing them cannot fail for want of
/// space. The file grows to hold them.
pub fn reserve(file: &File, path: &Path, from: u64, len: u64) -> io::Result<()> {
    check(Call::Allocate, path)?;
    // SAFETY: a descriptor and numbers; the kernel checks them.
    cvt(unsafe { libc::fallocate(file.as_raw_fd(), 0, from as i64, len as i64) })?;
    Ok(())
}

/// Takes the exclusive lock on the first byte of a file, as Java's `FileLock` of a RocketMQ store
/// does, so that the two programs see each other's. `Ok(false)`: someone else has it, in this
/// process or another. It ends with the last descriptor of this `File`.
pub fn try_lock(file: &File) -> io::Result<bool> {
    lock_first_byte(file, libc::F_WRLCK)
}

/// Takes the same lock beside others who do this, and only then; the file may be open for reading
/// only.
pub fn try_lock_shared(file: &File) -> io::Result<bool> {
    lock_first_byte(file, libc::F_RDLCK)
}

fn lock_first_byte(file: &File, kind: libc::c_int) -> io::Result<bool> {
    // SAFETY: `flock` is plain data for which zeros are valid.
    let mut want: libc::flock = unsafe { std::mem::zeroed() };
    want.l_type = kind as libc::c_short;
    want.l_whence = libc::SEEK_SET as libc::c_short;
    want.l_len = 1;
    // The lock of an open file, not of the process: two brokers in one process exclude each other
    // too, and closing another descriptor of the file does not give it up.
    // SAFETY: F_OFD_SETLK reads the struct, which lives through the call.
    match cvt(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &want) }) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Position of the first byte from `from` on that the file system has a block for; `None` when only
/// a hole follows. A file system that does not know says `from`.
pub fn next_data(file: &File, from: u64) -> io::Result<Option<u64>> {
    // SAFETY: a descriptor and numbers; the kernel checks them.
    let at = unsafe { libc::lseek(file.as_raw_fd(), from as i64, libc::SEEK_DATA) };
    if at >= 0 {
        return Ok(Some(at as u64));
    }
    match io::Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        e if e.raw_os_error() == Some(libc::EINVAL) => Ok(Some(from)),
        e => Err(e),
    }
}

/// Writes everything of the file system that `path` lies on to its disk: cheaper than one call a
/// file when there are very many.
pub fn sync_all_of(path: &Path) -> io::Result<()> {
    check(Call::Fsync, path)?;
    let file = File::open(path)?;
    // SAFETY: a descriptor.
    cvt(unsafe { libc::syncfs(file.as_raw_fd()) })?;
    Ok(())
}

/// Has the kernel forget the pages of a file, for tests of what has to come from the disk. Those
/// that are mapped, or that the file system has nowhere else, stay.
#[cfg(test)]
pub fn forget(file: &File) -> io::Result<()> {
    file.sync_all()?;
    // SAFETY: a descriptor and numbers.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    /// Free for root.
    pub free: u64,
    /// Free for this process (blocks kept for root are not).
    pub available: u64,
}

impl Space {
    /// The part in use, 0 to 100, of what this process may use: rounded up, as `df` and Java's
    /// broker show it.
    pub fn used_percent(&self) -> i32 {
        let used = self.total.saturating_sub(self.free);
        match u128::from(used) + u128::from(self.available) {
            0 => 0,
            all => (u128::from(used) * 100).div_ceil(all) as i32,
        }
    }
}

/// The file system that `path`, which must exist, lies on.
pub fn space(path: &Path) -> io::Result<Space> {
    check(Call::Statvfs, path)?;
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `name` ends with a zero; `stat` is plain data that the call fills.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        cvt(libc::statvfs(name.as_ptr(), &mut stat))?;
        stat
    };
    let block = stat.f_frsize as u64;
    let bytes = |blocks: u64| blocks * block;
    Ok(Space {
        total: bytes(stat.f_blocks as u64),
        free: bytes(stat.f_bfree as u64),
        available: bytes(stat.f_bavail as u64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("a/b"));
        assert_eq!(make_dirs(&b).unwrap(), [dir.path().to_owned(), a]);
        assert_eq!(make_dirs(&b).unwrap(), [] as [PathBuf; 0]);
        let file = b.join("f");
        create(&file).unwrap();
        assert!(make_dirs(&file.join("c")).is_err());
        make_dirs_durably(&b.join("d/e")).unwrap();
        assert!(b.join("d/e").is_dir());
    }

    #[test]
    fn space_of_a_folder_and_of_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let space = super::space(dir.path()).unwrap();
        assert!(space.total >= space.available && space.total > 0, "{space:?}");
        assert!((0..=100).contains(&space.used_percent()));
        assert!(super::space(&dir.path().join("no")).is_err());
        assert!(super::space(Path::new("a\0b")).is_err());
    }

    #[test]
    fn what_is_not_in_memory_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all_at(b"bytes", 4096).unwrap();
        let mut bytes = [0; 3];
        assert!(read_now(&file, &mut bytes, 4097).unwrap());
        assert_eq!(&bytes, b"yte");
        // Behind the end there is nothing to wait for.
        assert!(!read_now(&file, &mut bytes, 4100).unwrap());
        forget(&file).unwrap();
        let there = read_now(&file, &mut bytes, 4096).unwrap();
        assert!(!there || &bytes == b"byt", "a file system in memory forgets nothing");
        file.read_exact_at(&mut bytes, 4096).unwrap();
        assert!(read_now(&file, &mut bytes, 4096).unwrap());
    }

    #[test]
    fn data_is_found_behind_a_hole() {
        use std::os::unix::fs::FileExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 24).unwrap();
        file.write_all_at(b"x", 1 << 23).unwrap();
        let data = next_data(&file, 0).unwrap().unwrap();
        assert!(data <= 1 << 23);
        assert_eq!(next_data(&file, 1 << 24).unwrap(), None);
        sync_all_of(&path).unwrap();
    }

    #[test]
    fn used_is_rounded_up_without_what_is_kept_for_root() {
        let used = |total, free, available| Space { total, free, available }.used_percent();
        assert_eq!(used(100, 60, 55), 43);
        assert_eq!((used(100, 100, 95), used(100, 0, 0), used(0, 0, 0)), (0, 100, 0));
    }

    #[test]
    fn one_lock_holder_for_each_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = File::create(&path).unwrap();
        assert!(try_lock(&first).unwrap());
        let second = File::options().write(true).open(&path).unwrap();
        assert!(!try_lock(&second).unwrap());
        let reader = File::open(&path).unwrap();
        assert!(!try_lock_shared(&reader).unwrap());
        drop(first);
        assert!(try_lock_shared(&reader).unwrap());
        assert!(try_lock_shared(&File::open(&path).unwrap()).unwrap());
        assert!(!try_lock(&second).unwrap());
        drop(reader);
        assert!(try_lock(&second).unwrap());
    }

    #[test]
    fn reserving_grows_the_file() {
        let file = tempfile::tempfile().unwrap();
        reserve(&file, Path::new("x"), 0, 10_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10_000);
        assert!(try_lock(&file).unwrap());
        assert!(try_lock(&file).unwrap(), "a process may lock again what it holds");
    }
}
