//! Counters of puts and gets, and their rates, printed by runtime info under RocketMQ's names.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::*};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::status::Busy;
use crate::base::clock;

/// Upper bounds in ms of the buckets of `putMessageDistributeTime`, and their names.
const DISTRIBUTION: [(u64, &str); 13] = [
    (0, "[<=0ms]"),
    (10, "[0~10ms]"),
    (50, "[10~50ms]"),
    (100, "[50~100ms]"),
    (200, "[100~200ms]"),
    (500, "[200~500ms]"),
    (1_000, "[500ms~1s]"),
    (2_000, "[1~2s]"),
    (3_000, "[2~3s]"),
    (4_000, "[3~4s]"),
    (5_000, "[4~5s]"),
    (10_000, "[5~10s]"),
    (u64::MAX, "[10s~]"),
];
/// Latency buckets: 8 to each power of two of microseconds, up to about 2 minutes.
const LATENCY_BUCKETS: usize = 27 * 8;
/// One sample a second for the rates over 10, 60 and 600 s.
const SAMPLES_MAX: usize = 601;
const WINDOWS: [usize; 3] = [10, 60, 600];
/// Seconds of one window of the distributions.
const DISTRIBUTION_WINDOW: u32 = 60;

/// What puts and gets did since start.
#[derive(Default)]
pub struct Stats {
    pub put_times: AtomicI64,
    pub put_bytes: AtomicI64,
    pub put_failed: AtomicI64,
    put_longest_ms: AtomicU64,
    /// Pulls that found messages, and how many messages they took along.
    pub get_found: AtomicI64,
    pub get_missed: AtomicI64,
    pub get_transferred: AtomicI64,
    pub get_longest_ms: AtomicU64,
    /// Longest distance in bytes between the log's end and dispatch.
    pub dispatch_max_behind: AtomicI64,
    /// Bytes of messages that were deleted before all who consume them had.
    pub unconsumed_deleted_bytes: AtomicI64,
    /// Reads that met a message whose record is damaged, and was passed over.
    pub damaged_messages: AtomicI64,
    /// How often old messages were read from the disk, ahead of a reader or for one that waits.
    pub cold_reads: AtomicI64,
    /// Bytes of the log that these wanted in memory.
    pub cold_bytes: AtomicI64,
    /// Units of consume queues that were damaged and made again.
    pub repaired_units: AtomicI64,
    refused: [AtomicI64; Cause::ALL.len()],
    distribution: [AtomicI64; DISTRIBUTION.len()],
    latency: Latency,
    windows: Mutex<Windows>,
}

/// Why puts are refused, other than for what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// See `Busy`.
    PageCache,
    FileChange,
    StorePool,
    /// The next file of the log could not be made in time.
    NoNextFile,
    DiskFull,
    /// Something could not be written: the log, a queue, the index.
    DiskError,
}

impl Cause {
    const ALL: [Cause; 6] = [
        Cause::PageCache,
        Cause::FileChange,
        Cause::StorePool,
        Cause::NoNextFile,
        Cause::DiskFull,
        Cause::DiskError,
    ];

    /// In runtime info; not RocketMQ's.
    fn key(self) -> &'static str {
        match self {
            Cause::PageCache => "putsRefusedPageCacheBusy",
            Cause::FileChange => "putsRefusedFileChange",
            Cause::StorePool => "putsRefusedStorePool",
            Cause::NoNextFile => "putsRefusedNoNextFile",
            Cause::DiskFull => "putsRefusedDiskFull",
            Cause::DiskError => "putsRefusedDiskError",
        }
    }
}

impl From<Busy> for Cause {
    fn from(busy: Busy) -> Cause {
        match busy {
            Busy::PageCache => Cause::PageCache,
            Busy::FileChange => Cause::FileChange,
            Busy::StorePool => Cause::StorePool,
        }
    }
}

struct Latency([AtomicI64; LATENCY_BUCKETS]);

impl Default for Latency {
    fn default() -> Latency {
        Latency(std::array::from_fn(|_| AtomicI64::new(0)))
    }
}

#[derive(Default)]
struct Windows {
    samples: VecDeque<Sample>,
    seconds: u32,
    /// Of the last completed window.
    distribution: Option<[i64; DISTRIBUTION.len()]>,
    p99_ms: f64,
    p999_ms: f64,
}

#[derive(Clone, Copy)]
struct Sample {
    at_ms: i64,
    put: i64,
    found: i64,
    missed: i64,
    transferred: i64,
}

impl Stats {
    /// Counts one append of `count` messages.
    pub fn put(&self, count: i64, bytes: i64, took: Duration) {
        self.put_times.fetch_add(count, Relaxed);
        self.put_bytes.fetch_add(bytes, Relaxed);
        let micros = took.as_micros().min(u64::MAX.into()) as u64;
        let ms = micros / 1000;
        if ms > self.put_longest_ms.load(Relaxed) {
            self.put_longest_ms.fetch_max(ms, Relaxed);
        }
        let bucket = DISTRIBUTION.iter().position(|(bound, _)| ms <= *bound).unwrap_or(0);
        self.distribution[bucket].fetch_add(count, Relaxed);
        self.latency.0[latency_bucket(micros)].fetch_add(count, Relaxed);
    }

    /// Counts one get that found `count` messages.
    pub fn get(&self, count: i64, took: Duration) {
        if count > 0 {
            self.get_found.fetch_add(1, Relaxed);
            self.get_transferred.fetch_add(count, Relaxed);
        } else {
            self.get_missed.fetch_add(1, Relaxed);
        }
        let took = took.as_millis() as u64;
        if took > self.get_longest_ms.load(Relaxed) {
            self.get_longest_ms.fetch_max(took, Relaxed);
        }
    }

    /// Takes the sample of this second.
    pub fn sample(&self) {
        let mut windows = self.windows();
        if windows.samples.len() == SAMPLES_MAX {
            windows.samples.pop_front();
        }
        windows.samples.push_back(self.now());
        windows.seconds += 1;
        if windows.seconds.is_multiple_of(DISTRIBUTION_WINDOW) {
            windows.distribution =
                Some(std::array::from_fn(|i| self.distribution[i].swap(0, Relaxed)));
            let counts: Vec<i64> =
                self.latency.0.iter().map(|count| count.swap(0, Relaxed)).collect();
            windows.p99_ms = percentile_ms(&counts, 0.99);
            windows.p999_ms = percentile_ms(&counts, 0.999);
        }
    }

    fn now(&self) -> Sample {
        Sample {
            at_ms: clock::now_ms(),
            put: self.put_times.load(Relaxed),
            found: self.get_found.load(Relaxed),
            missed: self.get_missed.load(Relaxed),
            transferred: self.get_transferred.load(Relaxed),
        }
    }

    /// Rows of runtime info: RocketMQ's key, text.
    pub fn runtime_info(&self) -> Vec<(&'static str, String)> {
        let windows = self.windows();
        let times = self.put_times.load(Relaxed).max(1);
        let bytes = self.put_bytes.load(Relaxed);
        let rate = |of: fn(&Sample) -> i64| rates(&windows.samples, of);
        let mut rows = vec![
            ("putMessageEntireTimeMax", self.put_longest_ms.load(Relaxed).to_string()),
            ("getMessageEntireTimeMax", self.get_longest_ms.load(Relaxed).to_string()),
            ("putMessageTimesTotal", times.to_string()),
            ("putMessageFailedTimes", self.put_failed.load(Relaxed).to_string()),
            ("putMessageSizeTotal", bytes.to_string()),
            ("putMessageDistributeTime", distribution_text(&windows)),
            ("putMessageAverageSize", format!("{:?}", bytes as f64 / times as f64)),
            ("dispatchMaxBuffer", self.dispatch_max_behind.load(Relaxed).to_string()),
            ("putTps", rate(|sample| sample.put)),
            ("getFoundTps", rate(|sample| sample.found)),
            ("getMissTps", rate(|sample| sample.missed)),
            ("getTotalTps", rate(|sample| sample.found + sample.missed)),
            ("getTransferedTps", rate(|sample| sample.transferred)),
            ("damagedMessagesMet", self.damaged_messages.load(Relaxed).to_string()),
            ("coldReads", self.cold_reads.load(Relaxed).to_string()),
            ("coldReadBytes", self.cold_bytes.load(Relaxed).to_string()),
            ("queueUnitsRepaired", self.repaired_units.load(Relaxed).to_string()),
            ("putLatency99", format!("{:.2}", windows.p99_ms)),
            ("putLatency999", format!("{:.2}", windows.p999_ms)),
        ];
        rows.extend(
            Cause::ALL
                .map(|cause| (cause.key(), self.refused[cause as usize].load(Relaxed).to_string())),
        );
        rows
    }

    /// A put was refused.
    pub fn refused(&self, cause: Cause) {
        self.refused[cause as usize].fetch_add(1, Relaxed);
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Events per second over each window. A younger store counts from its first sample.
fn rates(samples: &VecDeque<Sample>, of: fn(&Sample) -> i64) -> String {
    let rate = |window: usize| {
        let last = samples.back()?;
        let first = samples.get(samples.len().saturating_sub(window + 1))?;
        let seconds = (last.at_ms - first.at_ms) as f64 / 1000.0;
        (seconds > 0.0).then(|| (of(last) - of(first)) as f64 / seconds)
    };
    WINDOWS.map(|window| format!("{:?}", rate(window).unwrap_or(0.0))).join(" ")
}

fn distribution_text(windows: &Windows) -> String {
    let Some(counts) = windows.distribution else { return "null".to_owned() };
    let row = |((_, name), count): (&(u64, &str), i64)| format!("{name}:{count} ");
    DISTRIBUTION.iter().zip(counts).map(row).collect()
}

/// 0 to 7 µs one each, then 8 to each power of two.
fn latency_bucket(micros: u64) -> usize {
    if micros < 8 {
        return micros as usize;
    }
    let power = micros.ilog2() as usize;
    let eighth = (micros >> (power - 3)) as usize & 7;
    ((power - 2) * 8 + eighth).min(LATENCY_BUCKETS - 1)
}

/// Upper bound of a bucket in microseconds.
fn bucket_bound(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    let power = bucket / 8 + 2;
    ((bucket as u64 % 8 + 9) << (power - 3)) - 1
}

fn percentile_ms(counts: &[i64], share: f64) -> f64 {
    let total: i64 = counts.iter().sum();
    let wanted = (total as f64 * share).ceil() as i64;
    let mut seen = 0;
    for (bucket, count) in counts.iter().enumerate() {
        seen += count;
        if seen >= wanted && total > 0 {
            return bucket_bound(bucket) as f64 / 1000.0;
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_buckets_are_narrow_and_ordered() {
        for micros in [0, 1, 7, 8, 9, 15, 16, 17, 100, 999, 1_000, 65_535, 10_000_000] {
            let bucket = latency_bucket(micros);
            let bound = bucket_bound(bucket);
            assert!(bound >= micros && bound <= micros + micros / 8, "{micros} in {bound}");
            assert!(bucket == 0 || bucket_bound(bucket - 1) < micros);
        }
        assert_eq!(latency_bucket(u64::MAX), LATENCY_BUCKETS - 1);
    }

    #[test]
    fn prints_from_the_start() {
        let stats = Stats::default();
        let get = |stats: &Stats, key: &str| {
            stats.runtime_info().into_iter().find(|(k, _)| *k == key).unwrap().1
        };
        assert_eq!(get(&stats, "putTps"), "0.0 0.0 0.0");
        assert_eq!(get(&stats, "putMessageDistributeTime"), "null");
        assert_eq!(get(&stats, "putMessageTimesTotal"), "1");
        stats.put(3, 300, Duration::from_millis(20));
        assert_eq!(get(&stats, "putMessageAverageSize"), "100.0");
        for _ in 0..DISTRIBUTION_WINDOW {
            stats.sample();
        }
        let text = get(&stats, "putMessageDistributeTime");
        assert!(text.starts_with("[<=0ms]:0 [0~10ms]:0 [10~50ms]:3 "), "{text}");
        assert_eq!(get(&stats, "putLatency99"), "20.48");
    }

    #[test]
    fn rates_over_what_there_is() {
        let sample = |second: i64| Sample {
            at_ms: second * 1000,
            put: second * 100,
            found: 0,
            missed: 0,
            transferred: 0,
        };
        let samples: VecDeque<Sample> = (0..30).map(sample).collect();
        assert_eq!(rates(&samples, |sample| sample.put), "100.0 100.0 100.0");
    }
}
