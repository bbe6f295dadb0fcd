//! Long work as an operator watches it: lines in the log, a bar on a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Work that is done sooner says nothing in the log.
const LINE_PERIOD: Duration = Duration::from_secs(5);
const BAR_PERIOD: Duration = Duration::from_millis(200);
/// The clock is looked at after so many bytes.
const STEP_BYTES: u64 = 4 << 20;
const BAR_COLUMNS: u64 = 30;
const MIB: f64 = 1_048_576.0;

/// Bytes done of some work, and how that goes on.
pub struct Progress {
    what: &'static str,
    total: u64,
    began: Instant,
    /// Less than this many bytes done is not worth a look at the clock.
    next_look: u64,
    next_line: Instant,
    next_bar: Instant,
    on_terminal: bool,
    drawn: bool,
    logged: bool,
}

impl Progress {
    /// Begins work on `total` bytes.
    pub fn new(what: &'static str, total: u64) -> Progress {
        let began = Instant::now();
        Progress {
            what,
            total,
            began,
            next_look: STEP_BYTES,
            next_line: began + LINE_PERIOD,
            next_bar: began + BAR_PERIOD,
            on_terminal: std::io::stderr().is_terminal(),
            drawn: false,
            logged: false,
        }
    }

    /// So many bytes are done. May be called for every few of them.
    pub fn reached(&mut self, done: u64) {
        if done < self.next_look {
            return;
        }
        self.next_look = done + STEP_BYTES;
        let now = Instant::now();
        if self.on_terminal && now >= self.next_bar {
            self.next_bar = now + BAR_PERIOD;
            self.drawn = true;
            let filled = share(done, self.total, BAR_COLUMNS) as usize;
            let bar = "#".repeat(filled) + &" ".repeat(BAR_COLUMNS as usize - filled);
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r[{bar}] {}\x1b[K", self.line(done, now));
            let _ = stderr.flush();
        }
        if now >= self.next_line {
            self.next_line = now + LINE_PERIOD;
            self.logged = true;
            log::info!(target: "store", "{}", self.line(done, now));
        }
    }

    fn line(&self, done: u64, now: Instant) -> String {
        line(self.what, done, self.total, now.duration_since(self.began))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        if self.logged {
            let seconds = self.began.elapsed().as_secs_f64();
            log::info!(target: "store", "{}: done in {seconds:.1} s", self.what);
        }
    }
}

fn share(done: u64, total: u64, whole: u64) -> u64 {
    let done = u128::from(done.min(total)) * u128::from(whole);
    done.checked_div(u128::from(total)).map_or(whole, |part| part as u64)
}

fn line(what: &str, done: u64, total: u64, taken: Duration) -> String {
    let rate = done as f64 / taken.as_secs_f64().max(0.001);
    let left = match rate > 0.0 {
        true => format!("{:.0} s left", total.saturating_sub(done) as f64 / rate),
        false => "time left unknown".to_owned(),
    };
    format!("{what}: {} %, {:.0} MiB/s, {left}", share(done, total, 100), rate / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_how_fast_and_how_long() {
        let text = |done, total, seconds| line("x", done, total, Duration::from_secs(seconds));
        assert_eq!(text(100 << 20, 400 << 20, 2), "x: 25 %, 50 MiB/s, 6 s left");
        assert_eq!(text(0, 100, 3), "x: 0 %, 0 MiB/s, time left unknown");
        assert_eq!(text(9, 0, 1), "x: 100 %, 0 MiB/s, 0 s left");
        assert_eq!(share(u64::MAX, u64::MAX, 30), 30);
    }
}
