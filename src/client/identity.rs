//! Who this client is: its address, its client id, the unique keys of its messages.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};

use crate::base::clock;
use crate::message::id::UniqueKeys;
use crate::sys::host;

use super::instance::lock;

/// A number that differs between processes and calls.
pub(crate) fn random() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one(CALLS.fetch_add(1, Ordering::Relaxed))
}

/// `address@name`; the name is unique to this call unless given.
pub(crate) fn client_id(name: Option<&str>) -> String {
    let unique = || format!("{}#{:x}", std::process::id(), random());
    let name = name.map_or_else(unique, str::to_owned);
    format!("{}@{name}", *OWN_ADDRESS)
}

/// IPv6 stands in brackets.
static OWN_ADDRESS: LazyLock<String> = LazyLock::new(|| host::advertised().address);

/// The next UNIQ_KEY of this process.
pub(crate) fn unique_key() -> String {
    static KEYS: LazyLock<UniqueKeys> = LazyLock::new(|| {
        let ip = OWN_ADDRESS.trim_matches(['[', ']']).parse();
        let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        UniqueKeys::new(ip, std::process::id(), random() as u32)
    });
    /// Start of the month last seen, and of the one after.
    static MONTH: Mutex<(i64, i64)> = Mutex::new((0, 0));
    let now = clock::now_ms();
    let mut month = lock(&MONTH);
    if !(month.0..month.1).contains(&now) {
        let start = month_start(now);
        *month = (start, month_start(start + 32 * DAY_MS));
    }
    let start = month.0;
    drop(month);
    KEYS.create(now, start)
}

const DAY_MS: i64 = 24 * 3600 * 1000;

/// When the local month that `ms` is in began.
fn month_start(ms: i64) -> i64 {
    let since_midnight = |ms| {
        let time = clock::local_time(ms);
        let seconds = (time.hour * 60 + time.minute) * 60 + time.second;
        i64::from(seconds) * 1000 + i64::from(time.millisecond)
    };
    let days = i64::from(clock::local_time(ms).day - 1);
    let near = ms - days * DAY_MS - since_midnight(ms);
    // The clocks may have been changed since: `near` is then an hour early or late.
    match since_midnight(near) {
        late if late < DAY_MS / 2 => near - late,
        early => near + DAY_MS - early,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_at_local_midnight() {
        let now = clock::now_ms();
        for ms in (0..24).map(|n| now + n * 20 * DAY_MS) {
            let start = month_start(ms);
            let (time, month) = (clock::local_time(start), clock::local_time(ms).month);
            assert_eq!((time.day, time.hour, time.month), (1, 0, month), "{time:?}");
        }
    }

    #[test]
    fn keys_and_names_differ() {
        assert_ne!(unique_key(), unique_key());
        assert_ne!(client_id(None), client_id(None));
        assert!(client_id(Some("x")).ends_with("@x"));
    }
}
