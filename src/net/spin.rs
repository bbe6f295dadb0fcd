//! When a reactor looks for news for a moment before it sleeps.
//!
//! Waking a thread on a processor that has gone idle takes tens of microseconds, most of all on a
//! virtual machine. A client that waits for each answer pays for it with each request; one that
//! sends at a rate of its own gains nothing from a reactor that stays awake. Which it is shows by
//! trial: rounds of sleeping and of looking take turns, and the reactor looks until the next trial
//! if requests came faster that way.

use std::time::{Duration, Instant};

/// Waits of one round of a trial.
const ROUND_WAITS: u32 = 16;
/// Rounds of a trial, sleeping and looking in turn.
const ROUNDS: usize = 6;
/// From one verdict to the next trial.
const TRIAL_PERIOD: Duration = Duration::from_secs(1);
/// By so much requests must come faster.
const GAIN: f64 = 1.3;
/// Of the last 32 times that it looked, it must have found news this often.
const FOUND_MIN: u32 = 16;

/// What one reactor does before it sleeps.
pub struct Spin {
    /// It looks for so long at most; zero turns it off.
    pub limit: Duration,
    state: State,
    waits: u32,
    requests: usize,
    began: Instant,
    /// Whether it found news, a bit for each of the last 32 times that it looked.
    found: u32,
}

enum State {
    Settled {
        looks: bool,
    },
    /// Seconds a request took in the rounds so far.
    Trial {
        rounds: [f64; ROUNDS],
        round: usize,
    },
}

impl Spin {
    pub fn new(limit: Duration, now: Instant) -> Spin {
        let state = State::Settled { looks: false };
        Spin { limit, state, waits: 0, requests: 0, began: now, found: 0 }
    }

    /// Whether to look before the wait that follows, after a turn that began at `now` and brought
    /// so many requests.
    pub fn looks(&mut self, now: Instant, requests: usize) -> bool {
        if self.limit.is_zero() {
            return false;
        }
        self.waits += 1;
        self.requests += requests;
        let passed = now.saturating_duration_since(self.began);
        match &mut self.state {
            State::Settled { .. } if passed >= TRIAL_PERIOD => {
                self.state = State::Trial { rounds: [0.0; ROUNDS], round: 0 };
                self.begin(now);
            }
            State::Trial { rounds, round } if self.waits >= ROUND_WAITS => {
                rounds[*round] = passed.as_secs_f64() / self.requests.max(1) as f64;
                *round += 1;
                if *round == ROUNDS {
                    self.state = State::Settled { looks: pays(rounds) };
                }
                self.begin(now);
            }
            _ => {}
        }
        match self.state {
            State::Settled { looks } => looks,
            State::Trial { round, .. } => round % 2 == 1,
        }
    }

    /// What came of it. There is no use in looking where there is mostly nothing to find.
    pub fn looked(&mut self, now: Instant, found: bool) {
        self.found = self.found << 1 | u32::from(found);
        if self.found.count_ones() < FOUND_MIN {
            self.state = State::Settled { looks: false };
            self.began = now;
        }
    }

    fn begin(&mut self, now: Instant) {
        (self.waits, self.requests, self.began, self.found) = (0, 0, now, u32::MAX);
    }
}

/// Whether requests came enough faster in the rounds in which the reactor looked, by the medians.
fn pays(rounds: &[f64; ROUNDS]) -> bool {
    let median = |first: usize| {
        let mut times = [rounds[first], rounds[first + 2], rounds[first + 4]];
        times.sort_by(f64::total_cmp);
        times[1]
    };
    median(1) * GAIN <= median(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(40);

    /// How often a reactor looks in so many waits, each of which brings a request after so many
    /// microseconds, asleep and awake.
    fn looks(spin: &mut Spin, now: &mut Instant, waits: u32, asleep: u64, awake: u64) -> u32 {
        let mut count = 0;
        for _ in 0..waits {
            let looks = spin.looks(*now, 1);
            *now += Duration::from_micros(if looks { awake } else { asleep });
            if looks {
                spin.looked(*now, awake < 40);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn it_looks_where_requests_come_faster() {
        let mut now = Instant::now();
        let mut spin = Spin::new(LIMIT, now);
        // A second passes before the first trial.
        assert_eq!(looks(&mut spin, &mut now, 10_000, 70, 30), 0);
        let waits = 50_000;
        let found = looks(&mut spin, &mut now, waits, 70, 30);
        assert!(found > waits * 8 / 10, "{found}");
        // A client of a rate of its own gains nothing.
        looks(&mut spin, &mut now, waits, 30, 30);
        let found = looks(&mut spin, &mut now, waits, 30, 30);
        assert!(found > 0 && found < waits / 50, "{found}");
    }

    #[test]
    fn it_sleeps_where_there_is_nothing_to_find() {
        let mut now = Instant::now();
        let mut spin = Spin::new(LIMIT, now);
        assert!(looks(&mut spin, &mut now, 50_000, 70, 30) > 0);
        // It looks in the rounds of 25 trials, no more.
        let tried = ROUND_WAITS * ROUNDS as u32 / 2 * 26;
        assert!(looks(&mut spin, &mut now, 50_000, 500, 500) <= tried);
        let mut off = Spin::new(Duration::ZERO, now);
        assert_eq!(looks(&mut off, &mut now, 50_000, 70, 30), 0);
    }
}
