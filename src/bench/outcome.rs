//! What a run measured: counts and histograms, one set a thread, added up in the end.

use hdrhistogram::Histogram;

use super::check::{Faults, Stored};
use crate::base::{Error, Result};

/// Longest latency told apart: one minute in ns. Longer ones count as this.
const LATENCY_MAX_NS: u64 = 60_000_000_000;
/// Significant digits of the latencies of a run and of a window.
const DIGITS: u8 = 3;
const WINDOW_DIGITS: u8 = 2;
/// The windows that a run is divided into for the picture over time: not more than this, and none
/// shorter.
const WINDOWS: u64 = 120;
const WINDOW_NS_MIN: u64 = 100_000_000;

/// A histogram of nanoseconds.
pub type Latencies = Histogram<u64>;

/// No latency yet.
pub fn latencies() -> Result<Latencies> {
    histogram(DIGITS)
}

fn histogram(digits: u8) -> Result<Latencies> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, digits)
        .map_err(|error| Error::Config(error.to_string()))
}

/// A short part of a run.
pub struct Window {
    pub messages: u64,
    pub latency: Latencies,
}

/// What was measured.
pub struct Outcome {
    pub seconds: f64,
    /// Messages sent, pulled or delivered with success.
    pub messages: u64,
    /// Body bytes of a send, bytes of stored records of a pull.
    pub bytes: u64,
    pub refused: u64,
    /// Code of the last refused request.
    pub refused_code: i32,
    /// Nanoseconds from request to answer, of e2e from producer to consumer; successful ones only.
    /// In an open loop they begin when the request was meant to be sent.
    pub latency: Latencies,
    /// The same to the answer to the producer (e2e).
    pub acks: Latencies,
    /// The same to a refusal.
    pub refusals: Latencies,
    pub windows: Vec<Window>,
    /// Length of a window in nanoseconds.
    pub window_ns: u64,
    /// Requests without an answer long after the end.
    pub unanswered: u64,
    /// Messages that were acknowledged and not delivered (e2e).
    pub undelivered: u64,
    /// Answers that were checked.
    pub verified: u64,
    pub faults: Faults,
    /// Requests of an open loop that were not sent, for want of a window.
    pub given_up: u64,
    /// What each queue stored.
    pub stored: Vec<Stored>,
}

impl Outcome {
    /// Nothing measured yet, in a run of `seconds` on so many `queues`.
    pub fn new(seconds: f64, queues: usize) -> Result<Outcome> {
        Ok(Outcome {
            seconds: 0.0,
            messages: 0,
            bytes: 0,
            refused: 0,
            refused_code: 0,
            latency: latencies()?,
            acks: latencies()?,
            refusals: latencies()?,
            windows: Vec::new(),
            window_ns: ((seconds * 1e9) as u64 / WINDOWS).max(WINDOW_NS_MIN),
            unanswered: 0,
            undelivered: 0,
            verified: 0,
            faults: Faults::default(),
            given_up: 0,
            stored: vec![Stored::default(); queues],
        })
    }

    /// The window `since_start` nanoseconds into the measurement.
    pub fn window(&mut self, since_start: u64) -> Result<&mut Window> {
        let index = ((since_start / self.window_ns) as usize).min(WINDOWS as usize);
        while self.windows.len() <= index {
            self.windows.push(Window { messages: 0, latency: histogram(WINDOW_DIGITS)? });
        }
        Ok(&mut self.windows[index])
    }

    /// Adds what another thread, or another run, measured; `seconds` stays.
    pub fn add(&mut self, part: &Outcome) -> Result<()> {
        self.messages += part.messages;
        self.bytes += part.bytes;
        self.refused += part.refused;
        if part.refused > 0 {
            self.refused_code = part.refused_code;
        }
        add(&mut self.latency, &part.latency)?;
        add(&mut self.acks, &part.acks)?;
        add(&mut self.refusals, &part.refusals)?;
        for (index, window) in part.windows.iter().enumerate() {
            let mine = self.window(index as u64 * self.window_ns)?;
            mine.messages += window.messages;
            add(&mut mine.latency, &window.latency)?;
        }
        self.unanswered += part.unanswered;
        self.undelivered += part.undelivered;
        self.verified += part.verified;
        self.faults.merge(&part.faults);
        self.given_up += part.given_up;
        for (mine, theirs) in self.stored.iter_mut().zip(&part.stored) {
            mine.merge(theirs);
        }
        Ok(())
    }

    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds.max(1e-9)
    }

    /// A latency in microseconds; `quantile` 1 is the longest.
    pub fn micros(&self, quantile: f64) -> f64 {
        micros(&self.latency, quantile)
    }

    /// The windows of which the whole time was measured.
    pub fn whole_windows(&self) -> &[Window] {
        let whole = (self.seconds * 1e9 / self.window_ns as f64) as usize;
        // A run longer than expected has all of its rest in the one behind the last.
        &self.windows[..whole.min(self.windows.len()).min(WINDOWS as usize)]
    }
}

/// A latency in microseconds; `quantile` 1 is the longest.
pub fn micros(latencies: &Latencies, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile).min(latencies.max()) as f64 / 1000.0
}

fn add(to: &mut Latencies, from: &Latencies) -> Result<()> {
    to.add(from).map_err(|error| Error::Config(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_two_threads_are_those_of_all_their_latencies() {
        let mut all = Outcome::new(10.0, 1).unwrap();
        all.seconds = 2.0;
        for half in 0..2u64 {
            let mut part = Outcome::new(10.0, 1).unwrap();
            for latency in 1..=10_000u64 {
                if latency % 2 == half {
                    part.latency.saturating_record(latency * 1000);
                    part.messages += 1;
                }
            }
            part.window(1_050_000_000).unwrap().messages = 7;
            all.add(&part).unwrap();
        }
        for (quantile, micros) in [(0.5, 5000.0), (0.99, 9900.0), (0.9999, 9999.0), (1.0, 10000.0)]
        {
            let found = all.micros(quantile);
            assert!((found - micros).abs() <= micros / 1000.0, "{quantile}: {found}");
        }
        assert_eq!((all.messages, all.rate()), (10_000, 5000.0));
        assert_eq!(all.windows.len(), 11);
        assert_eq!(all.windows[10].messages, 14);
    }

    #[test]
    fn a_long_run_has_no_more_windows() {
        let mut outcome = Outcome::new(86_400.0, 1).unwrap();
        outcome.window(u64::MAX).unwrap().messages += 1;
        assert!(outcome.windows.len() <= 121);
        assert_eq!(outcome.window_ns, 720_000_000_000);
    }
}
