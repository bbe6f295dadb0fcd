//! Wall clock time as RocketMQ counts it, and its calendar form.

use std::time::{SystemTime, UNIX_EPOCH};

pub use crate::sys::time::{LocalTime, local_time};

/// Milliseconds since 1970-01-01 00:00 UTC. A clock set before that reads 0.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_has_a_calendar_form() {
        let now = now_ms();
        assert!(now > 1_700_000_000_000);
        let local = local_time(now);
        assert!(local.year >= 2023, "{local:?}");
        assert_eq!(local.millisecond as i64, now % 1000);
    }

    #[test]
    fn times_before_1970_have_one_too() {
        let local = local_time(-1);
        assert_eq!(local.millisecond, 999);
        assert!((1969..=1970).contains(&local.year));
    }
}
