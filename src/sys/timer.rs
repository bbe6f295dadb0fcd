//! A timer that epoll can wait for, finer than epoll's own timeout of whole milliseconds.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::cvt;

/// A timer whose descriptor becomes readable when its time has passed.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// Not set yet.
    pub fn new() -> io::Result<Timer> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: numbers in, a descriptor out, which is owned at once.
        let fd = unsafe {
            OwnedFd::from_raw_fd(cvt(libc::timerfd_create(libc::CLOCK_MONOTONIC, flags))?)
        };
        Ok(Timer(fd))
    }

    /// Runs out once, after this time; what it was set to before is forgotten.
    pub fn set(&self, after: Duration) -> io::Result<()> {
        // Zero would turn it off.
        let after = after.max(Duration::from_nanos(1));
        let value = libc::timespec {
            tv_sec: libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: after.subsec_nanos() as libc::c_long,
        };
        let once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = libc::itimerspec { it_interval: once, it_value: value };
        // SAFETY: reads the struct, which lives through the call; a null pointer means that the old
        // setting is not wanted.
        cvt(unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &spec, std::ptr::null_mut()) })?;
        Ok(())
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;

    #[test]
    fn becomes_readable_once() {
        let timer = Timer::new().unwrap();
        let mut file = File::from(timer.0.try_clone().unwrap());
        let mut count = [0; 8];
        assert_eq!(file.read(&mut count).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        timer.set(Duration::ZERO).unwrap();
        while file.read(&mut count).is_err() {
            std::thread::yield_now();
        }
        assert_eq!(u64::from_ne_bytes(count), 1);
        timer.set(Duration::from_secs(3600)).unwrap();
        assert_eq!(file.read(&mut count).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
