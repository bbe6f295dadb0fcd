//! What a process spent, read from `/proc`.

use std::fs;

use crate::base::error::IoContext;
use crate::base::{Error, Result};

/// Clock ticks a second of the figures in `/proc/PID/stat`: 100 on every Linux in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// Totals of one process since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU seconds in user and in kernel mode.
    pub user: f64,
    pub system: f64,
    /// Page faults served without I/O.
    pub minor_faults: u64,
    /// Resident memory in bytes, now.
    pub resident: u64,
}

impl Usage {
    /// The totals of `pid`; zeros when there is none to look at.
    pub fn of(pid: Option<u32>) -> Result<Usage> {
        let Some(pid) = pid else { return Ok(Usage::default()) };
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).what(|| format!("read {path}"))?;
        parse(&text).ok_or_else(|| Error::Corrupt(format!("{path}: not in the form of proc(5)")))
    }

    /// What was spent since `before`; `resident` stays the newer figure.
    pub fn minus(self, before: Usage) -> Usage {
        Usage {
            user: self.user - before.user,
            system: self.system - before.system,
            minor_faults: self.minor_faults.saturating_sub(before.minor_faults),
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

/// Field numbers of proc(5), counted behind the command name, which may hold blanks.
fn parse(text: &str) -> Option<Usage> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Usage {
        minor_faults: field(10)?,
        user: field(14)? as f64 / TICKS_PER_SECOND,
        system: field(15)? as f64 / TICKS_PER_SECOND,
        resident: field(24)? * 4096,
    })
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
        assert_eq!(usage.minor_faults, 10);
        assert_eq!((usage.user, usage.system), (0.14, 0.15));
        assert_eq!(usage.resident, 24 * 4096);
    }

    #[test]
    fn sees_this_process() {
        assert!(Usage::of(Some(std::process::id())).unwrap().resident > 0);
    }
}
