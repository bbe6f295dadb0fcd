//! What a process and the whole machine spent, read from `/proc`.

use std::fs;
use std::time::Instant;

use crate::base::error::IoContext;
use crate::base::{Error, Result};

/// Clock ticks a second of the figures in `/proc`: 100 on every Linux in use.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;
/// The parent of all threads of the kernel.
const KTHREADD: u64 = 2;

/// Totals of one process since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU seconds in user and in kernel mode.
    pub user: f64,
    pub system: f64,
    /// Page faults served without and with I/O.
    pub minor_faults: u64,
    pub major_faults: u64,
    /// Context switches of the threads that live: because they waited, because they were pushed
    /// aside.
    pub voluntary: u64,
    pub involuntary: u64,
    /// System calls of the read and write families, as `/proc/PID/io` counts them (recv and send
    /// are not among them); `None` when it may not be read.
    pub calls: Option<u64>,
    /// Resident memory in bytes, now.
    pub resident: u64,
}

impl Usage {
    /// The totals of `pid`; zeros when there is none to look at.
    pub fn of(pid: Option<u32>) -> Result<Usage> {
        let Some(pid) = pid else { return Ok(Usage::default()) };
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).what(|| format!("read {path}"))?;
        let mut usage = parse(&text)
            .ok_or_else(|| Error::Corrupt(format!("{path}: not in the form of proc(5)")))?;
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            // A thread may end between the two reads.
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            usage.voluntary += line(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            usage.involuntary += line(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        usage.calls = fs::read_to_string(format!("/proc/{pid}/io"))
            .ok()
            .and_then(|text| Some(line(&text, "syscr:")? + line(&text, "syscw:")?));
        Ok(usage)
    }

    /// What was spent since `before`; `resident` stays the newer figure.
    pub fn minus(self, before: Usage) -> Usage {
        Usage {
            user: self.user - before.user,
            system: self.system - before.system,
            minor_faults: self.minor_faults.saturating_sub(before.minor_faults),
            major_faults: self.major_faults.saturating_sub(before.major_faults),
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
            calls: self.calls.zip(before.calls).map(|(now, then)| now.saturating_sub(then)),
            resident: self.resident,
        }
    }

    /// CPU seconds of both modes.
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// The difference, when a process was looked at.
pub fn spent(before: Usage, after: Usage) -> Option<Usage> {
    (after.resident > 0).then(|| after.minus(before))
}

/// CPU seconds of the whole machine since it started.
#[derive(Clone, Debug)]
pub struct Machine {
    at: Instant,
    /// Spent by processes and threads of the kernel, interrupts aside.
    busy: f64,
    /// Spent by threads of the kernel: write-back and the like, which the server caused.
    kernel: f64,
    /// Wanted but given to others by the host.
    steal: f64,
    /// Milliseconds that each disk had something to do.
    disks: Vec<(String, u64)>,
}

/// Part of the machine, in percent of all its processors, that the time between two looks went to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// Neither the server, nor mqbench, nor the kernel.
    pub foreign: f64,
    pub kernel: f64,
    pub steal: f64,
    /// Time that the busiest disk had something to do, in percent of the run.
    pub disk: f64,
    /// The server and mqbench.
    pub known: f64,
}

impl Machine {
    /// The totals now.
    pub fn now() -> Result<Machine> {
        let text = fs::read_to_string("/proc/stat").what(|| "read /proc/stat".into())?;
        let (busy, steal) =
            parse_machine(&text).ok_or_else(|| Error::Corrupt("/proc/stat: no cpu line".into()))?;
        let disks = fs::read_to_string("/proc/diskstats").map_or_else(|_| vec![], |t| disks(&t));
        Ok(Machine { at: Instant::now(), busy, kernel: kernel_threads(), steal, disks })
    }

    /// Where the time since `before` went, when server and mqbench together spent `known` seconds.
    pub fn shares(&self, before: &Machine, known: f64) -> Shares {
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let time = (self.at - before.at).as_secs_f64().max(1e-9);
        let all = time * processors;
        let percent = |seconds: f64| (seconds / all * 100.0).clamp(0.0, 100.0);
        let kernel = self.kernel - before.kernel;
        Shares {
            foreign: percent(self.busy - before.busy - known - kernel),
            kernel: percent(kernel),
            steal: percent(self.steal - before.steal),
            disk: self.disk_busy(before) / time * 100.0,
            known: percent(known),
        }
    }

    /// Seconds since `before` that the busiest disk had something to do.
    fn disk_busy(&self, before: &Machine) -> f64 {
        let busy = |(name, now): &(String, u64)| {
            let then = before.disks.iter().find(|(other, _)| other == name)?.1;
            Some(now.saturating_sub(then))
        };
        self.disks.iter().filter_map(busy).max().unwrap_or(0) as f64 / 1000.0
    }
}

/// Name and busy milliseconds of each line of `/proc/diskstats`.
fn disks(text: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(2);
            let name = fields.next()?.to_string();
            Some((name, fields.nth(9)?.parse().ok()?))
        })
        .collect()
}

/// CPU seconds of the threads of the kernel that live.
fn kernel_threads() -> f64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| {
            entry.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit())
        })
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|text| field(text, 4) == Some(KTHREADD))
        .filter_map(|text| parse(&text))
        .map(|usage| usage.cpu())
        .sum()
}

/// Processes' CPU seconds and stolen ones of `/proc/stat`. Interrupts are left out: those of the
/// loopback device are the load itself.
fn parse_machine(text: &str) -> Option<(f64, f64)> {
    let cpu = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<f64> = cpu.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let busy = fields.get(..3)?.iter().sum::<f64>();
    Some((busy / TICKS_PER_SECOND, fields.get(7).copied().unwrap_or(0.0) / TICKS_PER_SECOND))
}

/// Field `number` of proc(5), counted behind the command name, which may hold blanks.
fn field(stat: &str, number: usize) -> Option<u64> {
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(number - 3)?.parse().ok()
}

fn parse(text: &str) -> Option<Usage> {
    Some(Usage {
        minor_faults: field(text, 10)?,
        major_faults: field(text, 12)?,
        user: field(text, 14)? as f64 / TICKS_PER_SECOND,
        system: field(text, 15)? as f64 / TICKS_PER_SECOND,
        resident: field(text, 24)? * PAGE_BYTES,
        ..Usage::default()
    })
}

/// The number of a line `label  N`.
fn line(text: &str, label: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(label))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stat_with_a_strange_command_name() {
        let mut text = String::from("7 (a) b) S");
        for number in 4..=52 {
            text.push_str(&format!(" {number}"));
        }
        let usage = parse(&text).unwrap();
        assert_eq!((usage.minor_faults, usage.major_faults), (10, 12));
        assert_eq!((usage.user, usage.system), (0.14, 0.15));
        assert_eq!(usage.resident, 24 * 4096);
    }

    #[test]
    fn sees_this_process() {
        let usage = Usage::of(Some(std::process::id())).unwrap();
        assert!(usage.resident > 0 && usage.voluntary + usage.involuntary > 0, "{usage:?}");
        assert!(Usage::of(Some(u32::MAX)).is_err());
    }

    #[test]
    fn what_neither_server_nor_bench_nor_kernel_spent_is_foreign() {
        let (busy, steal) = parse_machine("cpu  100 20 30 999 5 7 8 9 0 0\ncpu0 1").unwrap();
        assert_eq!((busy, steal), (1.5, 0.09));
        let line = |ms| disks(&format!(" 254 0 vda 1 2 3 4 5 6 7 8 9 {ms} 11 12\n 7 0 loop0 0"));
        let disks = line(100);
        let before = Machine { at: Instant::now(), busy, kernel: 0.25, steal, disks };
        let processors = std::thread::available_parallelism().unwrap().get() as f64;
        let after = Machine {
            at: before.at + std::time::Duration::from_secs(1),
            busy: busy + 0.5 * processors,
            kernel: 0.25 + 0.125 * processors,
            steal: steal + 0.25 * processors,
            disks: line(600),
        };
        let shares = after.shares(&before, 0.125 * processors);
        assert_eq!(shares.foreign.round(), 25.0);
        assert_eq!((shares.kernel, shares.steal.round()), (12.5, 25.0));
        assert_eq!((shares.disk.round(), shares.known), (50.0, 12.5));
    }
}
