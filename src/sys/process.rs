//! What this process, or another one, has used.

use std::fs;
use std::io;
use std::time::Duration;

use super::cvt;

/// Processor time, user and system together, of process `pid`; `None` when there is no such
/// process.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in brackets and may hold blanks; utime is field 14, stime 15.
    let rest = &stat[stat.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_nanos(ticks * 1_000_000_000 / clock_ticks()))
}

/// Resident memory in bytes of process `pid`; `None` when there is no such process.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    Some(kib_line(&format!("/proc/{pid}/status"), "VmRSS:")? * 1024)
}

/// The number of a line `label  N kB` of a file under /proc.
pub(super) fn kib_line(path: &str, label: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// How many files and sockets this process may have open.
pub fn open_files_max() -> io::Result<u64> {
    Ok(open_files_limit()?.rlim_cur)
}

/// Raises that as far as the system lets this process; returns what it is then.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = open_files_limit()?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the call reads a struct that lives through it.
        cvt(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    }
    Ok(limit.rlim_cur)
}

fn open_files_limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call fills a struct that lives through it.
    cvt(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    Ok(limit)
}

fn clock_ticks() -> u64 {
    // SAFETY: sysconf only reads.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let me = std::process::id();
        assert!(resident_bytes(me).unwrap() > 100_000);
        assert!(cpu_time(me).is_some());
        assert_eq!(cpu_time(u32::MAX), None);
        assert!(super::super::host::memory_bytes() > 1 << 20);
    }

    #[test]
    fn the_number_of_open_files_is_raised() {
        let most = raise_open_files().unwrap();
        assert!(most > 0 && open_files_max().unwrap() == most);
        assert_eq!(raise_open_files().unwrap(), most);
    }
}
