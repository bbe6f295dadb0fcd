//! The delay levels of `messageDelayLevel`.

use crate::base::{Error, Result};

/// Delay of each level, the first one being level 1.
#[derive(Debug)]
pub struct DelayLevels {
    ms: Vec<i64>,
}

impl DelayLevels {
    /// Reads a list such as `1s 5s 1m 2h 1d`. The error names the item that is no duration.
    pub fn parse(text: &str) -> Result<DelayLevels> {
        let ms = text.split_whitespace().map(|item| {
            duration_ms(item).ok_or_else(|| {
                Error::Config(format!("messageDelayLevel: {item:?} is no number with s, m, h or d"))
            })
        });
        Ok(DelayLevels { ms: ms.collect::<Result<_>>()? })
    }

    /// The highest level.
    pub fn max_level(&self) -> i32 {
        self.ms.len() as i32
    }

    /// When a message of `level`, lowered to the highest there is, is delivered.
    pub fn deliver_at(&self, level: i32, store_timestamp: i64) -> i64 {
        let index = level.min(self.max_level()) - 1;
        let delay = usize::try_from(index).ok().and_then(|index| self.ms.get(index));
        store_timestamp.saturating_add(delay.copied().unwrap_or(1000))
    }
}

fn duration_ms(item: &str) -> Option<i64> {
    let unit = match item.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    item[..item.len() - 1].parse::<i64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_the_default_list() {
        let text = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
        let levels = DelayLevels::parse(text).unwrap();
        assert_eq!(levels.max_level(), 18);
        assert_eq!(levels.deliver_at(1, 1_795_214_752_107), 1_795_214_753_107);
        assert_eq!(levels.deliver_at(5, 0), 60_000);
        assert_eq!(levels.deliver_at(18, 0), 7_200_000);
        assert_eq!(levels.deliver_at(99, 0), 7_200_000);
        assert_eq!(levels.deliver_at(0, 0), 1_000);
        assert_eq!(DelayLevels::parse("2d").unwrap().deliver_at(1, 0), 172_800_000);
    }

    #[test]
    fn what_is_no_level_is_named() {
        for bad in ["1", "s", "1x", "1.5s", "9223372036854775807d"] {
            let text = DelayLevels::parse(&format!("1s {bad}")).unwrap_err().to_string();
            assert!(text.contains(bad), "{text}");
        }
        assert_eq!(DelayLevels::parse("").unwrap().deliver_at(1, 7), 1_007);
    }
}
