//! What this process, or another one, has used.

use std::fs;
use std::time::Duration;

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
}
