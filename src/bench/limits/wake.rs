//! How late this machine lets a thread go on that has nothing but slept.

use std::time::{Duration, Instant};

use crate::base::Result;
use crate::bench::outcome::{Latencies, latencies};

/// As short as the pause between two requests of an open loop of 20,000 a second.
const NAP: Duration = Duration::from_micros(50);

/// How much longer than asked for a thread sleeps while the machine does nothing else: what the
/// kernel, its own threads and a virtual machine's host add to the tail of any server.
pub fn lateness(time: Duration) -> Result<Latencies> {
    let mut found = latencies()?;
    let began = Instant::now();
    while began.elapsed() < time {
        let start = Instant::now();
        std::thread::sleep(NAP);
        found.saturating_record(start.elapsed().saturating_sub(NAP).as_nanos() as u64);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_is_never_early() {
        let found = lateness(Duration::from_millis(5)).unwrap();
        assert!(!found.is_empty() && found.min() > 0);
    }
}
