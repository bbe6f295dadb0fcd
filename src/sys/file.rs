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

/// Takes the exclusive lock on a whole file that Java's `FileChannel.tryLock` takes (fcntl), so that
/// the two programs see each other's. `Ok(false)`: another process has it. It ends with the process,
/// or when any descriptor of the file is closed.
pub fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: `flock` is plain data for which zeros are valid.
    let mut want: libc::flock = unsafe { std::mem::zeroed() };
    want.l_type = libc::F_WRLCK as libc::c_short;
    want.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: F_SETLK reads the struct, which lives through the call.
    match cvt(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &want) }) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    /// Free for this process (blocks kept for root are not).
    pub available: u64,
}

impl Space {
    /// The part in use as Java computes it from total and usable space: 0.0 to 1.0.
    pub fn used_ratio(&self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        self.total.saturating_sub(self.available) as f64 / self.total as f64
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
    Ok(Space { total: stat.f_blocks as u64 * block, available: stat.f_bavail as u64 * block })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_of_a_folder_and_of_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let space = super::space(dir.path()).unwrap();
        assert!(space.total >= space.available && space.total > 0, "{space:?}");
        assert!((0.0..=1.0).contains(&space.used_ratio()));
        assert!(super::space(&dir.path().join("no")).is_err());
        assert!(super::space(Path::new("a\0b")).is_err());
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
