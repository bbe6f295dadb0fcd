//! The threads that load a broker, and what they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::outcome::Outcome;
use super::settings::{Kind, Settings};
use super::worker::Worker;
use crate::base::{Error, Result, thread};

/// How often a thread without answers looks whether the run has ended.
pub const TICK: Duration = Duration::from_millis(50);
/// How long answers, and deliveries, are awaited after the end.
const DRAIN: Duration = Duration::from_secs(5);

/// What the threads share.
pub struct Shared {
    epoch: Instant,
    /// The measurement in ns since `epoch`.
    start: AtomicU64,
    end: AtomicU64,
    pub stop: AtomicBool,
    /// The number of the next message.
    pub sequence: AtomicU64,
    /// Threads with work left; without any the run ends early.
    pub working: AtomicUsize,
    /// Threads whose producers may still get answers.
    pub producing: AtomicUsize,
    /// Messages acknowledged, and delivered, since the start of the load (e2e).
    pub acknowledged: AtomicU64,
    pub delivered: AtomicU64,
    /// Tells the messages of this run from others in the topic.
    pub run: u64,
    /// Where the consumers begin in each queue (e2e).
    pub offsets: Vec<u64>,
}

impl Shared {
    /// Nanoseconds since the load began.
    pub fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// How far `at` lies in the measurement, when it does.
    pub fn measured(&self, at: u64) -> Option<u64> {
        let start = self.start.load(Ordering::Relaxed);
        let end = self.end.load(Ordering::Relaxed);
        (start..end).contains(&at).then(|| at - start)
    }

    /// A thread has nothing left to do; the last one ends the measurement.
    pub fn has_ended_one(&self) {
        if self.working.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.end_at(self.now());
        }
    }

    fn end_at(&self, now: u64) {
        let order = Ordering::Relaxed;
        // Only the first end counts.
        let _ = self.end.compare_exchange(u64::MAX, now, order, order);
    }

    /// Whether, so long after the end, nothing is waited for.
    pub fn drained(&self, now: u64) -> bool {
        let end = self.end.load(Ordering::Relaxed);
        end != u64::MAX && now.saturating_sub(end) > DRAIN.as_nanos() as u64
    }
}

/// Running load.
pub struct Load {
    shared: Arc<Shared>,
    handles: Vec<thread::Handle>,
    results: crossbeam::channel::Receiver<Result<Outcome>>,
    settings: Settings,
    seconds: f64,
}

impl Load {
    /// Connects and begins to send, not yet measuring. `offsets` is where the consumers of e2e
    /// begin in each queue.
    pub fn start(settings: &Settings, offsets: Vec<u64>) -> Result<Load> {
        let shared = Arc::new(Shared {
            epoch: Instant::now(),
            start: AtomicU64::new(if settings.warmup == 0.0 { 0 } else { u64::MAX }),
            end: AtomicU64::new(u64::MAX),
            stop: AtomicBool::new(false),
            sequence: AtomicU64::new(0),
            working: AtomicUsize::new(settings.threads),
            producing: AtomicUsize::new(settings.threads),
            acknowledged: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            run: crate::base::clock::now_ms() as u64 ^ u64::from(std::process::id()) << 44,
            offsets,
        });
        let (sender, results) = crossbeam::channel::bounded(settings.threads);
        let mut handles = Vec::new();
        for index in 0..settings.threads {
            let (settings, shared, sender) = (settings.clone(), shared.clone(), sender.clone());
            handles.push(thread::spawn(&format!("load-{index}"), move || {
                let outcome = Worker::new(&settings, &shared, index).and_then(Worker::run);
                let _ = sender.send(outcome);
            })?);
        }
        Ok(Load { shared, handles, results, settings: settings.clone(), seconds: 0.0 })
    }

    /// Lets the load run for the time of its settings and begins to measure. Without a warm-up it
    /// measures from the start.
    pub fn warm_up(&self) {
        if self.settings.warmup > 0.0 {
            self.wait(Instant::now() + Duration::from_secs_f64(self.settings.warmup));
            self.shared.start.store(self.shared.now(), Ordering::Relaxed);
        }
    }

    /// Measures for the time of its settings, or until a thread failed or all had nothing left to
    /// do.
    pub fn measure(&mut self) {
        self.wait(Instant::now() + Duration::from_secs_f64(self.settings.seconds));
        self.shared.end_at(self.shared.now());
        let start = self.shared.start.load(Ordering::Relaxed);
        let end = self.shared.end.load(Ordering::Relaxed);
        self.seconds = end.saturating_sub(start) as f64 / 1e9;
    }

    fn wait(&self, end: Instant) {
        while Instant::now() < end
            && self.results.is_empty()
            && self.shared.working.load(Ordering::Relaxed) > 0
        {
            std::thread::sleep(TICK.min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// Ends the load and adds up.
    pub fn finish(self) -> Result<Outcome> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut total = Outcome::new(self.settings.expected_seconds(), self.settings.places())?;
        total.seconds = self.seconds;
        let mut failed = None;
        for _ in &self.handles {
            match self.results.recv() {
                Ok(Ok(part)) => total.add(&part)?,
                Ok(Err(error)) => failed = failed.or(Some(error)),
                Err(_) => {
                    failed =
                        Some(Error::Timeout("a load thread ended without a result".to_string()));
                    break;
                }
            }
        }
        for handle in self.handles {
            handle.join();
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if self.settings.kind == Kind::E2e {
            let acknowledged = self.shared.acknowledged.load(Ordering::Relaxed);
            let delivered = self.shared.delivered.load(Ordering::Relaxed);
            total.undelivered = acknowledged.saturating_sub(delivered);
        }
        if self.settings.verify {
            check_offsets(&self.settings, &mut total);
        }
        Ok(total)
    }
}

/// Whether each queue gave every offset once.
fn check_offsets(settings: &Settings, total: &mut Outcome) {
    for (place, stored) in total.stored.iter().enumerate() {
        if !stored.is_continuous(settings.per_request() as u64) {
            let (topic, queue) = settings.topic_and_queue(place);
            let topic = settings.topic_name(topic);
            total.faults.add(|| {
                format!(
                    "the offsets of {topic} {queue} are not continuous (has it another producer?)"
                )
            });
        }
    }
}
