//! When an open loop sends, whatever the broker does.

use std::time::Duration;

/// Evenly spaced moments since the start of the run, one for each request.
#[derive(Debug)]
pub struct Schedule {
    /// Requests a second.
    rate: f64,
    next: u64,
}

impl Schedule {
    /// `rate` requests a second, the first one at once.
    pub fn new(rate: f64) -> Schedule {
        Schedule { rate, next: 0 }
    }

    /// When the next request is to be sent. Counted from the start, not from the request before, so
    /// that no rounding adds up.
    pub fn due(&self) -> Duration {
        Duration::from_secs_f64(self.next as f64 / self.rate)
    }

    /// The moment of the next request when it has come; the request is then taken as sent. After a
    /// delay the moments that went by follow one by one, each with the time it was meant for.
    pub fn take(&mut self, now: Duration) -> Option<Duration> {
        let due = self.due();
        (due <= now).then(|| {
            self.next += 1;
            due
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(schedule: &mut Schedule, now: Duration) -> Vec<Duration> {
        std::iter::from_fn(|| schedule.take(now)).collect()
    }

    #[test]
    fn keeps_the_rate_over_hours() {
        let mut schedule = Schedule::new(3.0);
        let hour = Duration::from_secs(3600);
        assert_eq!(taken(&mut schedule, hour).len(), 3 * 3600 + 1);
        assert_eq!(taken(&mut schedule, hour).len(), 0);
        assert_eq!(schedule.due() - hour, Duration::from_nanos(333_333_333));
    }

    #[test]
    fn a_delay_does_not_move_what_was_meant() {
        let mut schedule = Schedule::new(1000.0);
        assert_eq!(taken(&mut schedule, Duration::ZERO), [Duration::ZERO]);
        // The client or the broker stood still for 5 ms: the five requests count from their times.
        let late: Vec<u128> = taken(&mut schedule, Duration::from_millis(5))
            .iter()
            .map(|due| due.as_micros())
            .collect();
        assert_eq!(late, [1000, 2000, 3000, 4000, 5000]);
    }
}
