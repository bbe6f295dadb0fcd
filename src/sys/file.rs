//! Files: space, durability, locks.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::cvt;

/// Gives disk blocks to the bytes `from..from + len`, so that writing them cannot fail for want of
/// space. The file grows to hold them.
pub fn reserve(file: &File, from: u64, len: u64) -> io::Result<()> {
    // SAFETY: a descriptor and numbers; the kernel checks them.
    cvt(unsafe { libc::fallocate(file.as_raw_fd(), 0, from as i64, len as i64) })?;
    Ok(())
}

/// Takes the exclusive lock on the first byte of a file, as Java's `FileLock` of a RocketMQ store
/// does, so that the two programs see each other's. `Ok(false)`: someone else has it, in this
/// process or another. It ends with the last descriptor of this `File`.
pub fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: `flock` is plain data for which zeros are valid.
    let mut want: libc::flock = unsafe { std::mem::zeroed() };
    want.l_type = libc::F_WRLCK as libc::c_short;
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
    fn space_of_a_folder_and_of_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let space = super::space(dir.path()).unwrap();
        assert!(space.total >= space.available && space.total > 0, "{space:?}");
        assert!((0..=100).contains(&space.used_percent()));
        assert!(super::space(&dir.path().join("no")).is_err());
        assert!(super::space(Path::new("a\0b")).is_err());
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
        drop(first);
        assert!(try_lock(&second).unwrap());
    }

    #[test]
    fn reserving_grows_the_file() {
        let file = tempfile::tempfile().unwrap();
        reserve(&file, 0, 10_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10_000);
        assert!(try_lock(&file).unwrap());
        assert!(try_lock(&file).unwrap(), "a process may lock again what it holds");
    }
}
