//! Wall clock time as RocketMQ counts it, and its calendar form.

use std::time::{SystemTime, UNIX_EPOCH};

pub use crate::sys::time::{LocalTime, local_time};

use crate::sys::time::from_local;

/// Milliseconds since 1970-01-01 00:00 UTC. A clock set before that reads 0.
pub fn now_ms() -> i64 {
    #[cfg(test)]
    if let Some(ms) = PRESENT.get() {
        return ms;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
thread_local! {
    static PRESENT: std::cell::Cell<Option<i64>> = const { std::cell::Cell::new(None) };
}

/// Sets what `now_ms` says on this thread.
#[cfg(test)]
pub fn set_present(ms: i64) {
    PRESENT.set(Some(ms));
}

/// `yyyy-MM-dd HH:mm:ss,SSS` in local time, with these signs behind the date and the seconds.
pub fn local_text(ms: i64, date_end: char, second_end: char) -> String {
    let time = local_time(ms);
    format!("{}{second_end}{:03}", seconds_text(&time, date_end), time.millisecond)
}

/// `yyyy-MM-dd HH:mm:ss`, with this sign behind the date.
pub fn seconds_text(time: &LocalTime, date_end: char) -> String {
    let LocalTime { year, month, day, hour, minute, second, .. } = time;
    format!("{year:04}-{month:02}-{day:02}{date_end}{hour:02}:{minute:02}:{second:02}")
}

/// Reads `yyyy-MM-dd#HH:mm:ss:SSS` in local time, RocketMQ's form on command lines, as ms.
pub fn parse_local(text: &str) -> Option<i64> {
    let numbers: Vec<i32> =
        text.split(['-', '#', ':']).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [year, month, day, hour, minute, second, millisecond] = numbers[..] else { return None };
    if !(0..10_000).contains(&year) {
        return None;
    }
    from_local(LocalTime { year, month, day, hour, minute, second, millisecond })
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

    #[test]
    fn local_times_are_read_back() {
        let ms = parse_local("2026-11-20#22:28:06:783").unwrap();
        let local = local_time(ms);
        assert_eq!((local.year, local.month, local.day), (2026, 11, 20));
        assert_eq!((local.hour, local.second, local.millisecond), (22, 6, 783));
        assert_eq!(local_text(ms, '#', ':'), "2026-11-20#22:28:06:783");
        assert_eq!(local_text(ms, ' ', ','), "2026-11-20 22:28:06,783");
        for text in ["", "now", "2026-11-20", "2026-13-20#22:28:06:783", "2026-02-30#00:00:00:000"]
        {
            assert_eq!(parse_local(text), None, "{text}");
        }
    }
}
