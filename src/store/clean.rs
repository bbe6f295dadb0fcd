//! Deleting old messages: whole commit-log files, oldest first, then what pointed into them.

use std::sync::Arc;
use std::sync::atomic::Ordering::*;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::{Duration, SystemTime};

use super::Store;
use super::consume_queue::Queue;
use super::disk::Disk;
use super::index::Index;
use super::mapped::MappedFile;
use super::queues::QueueTable;
use super::reput::Reput;
use super::segments::Segments;
use crate::base::Result;
use crate::base::clock;
use crate::base::thread::{self, Handle, Stop};
use crate::config::{BrokerConfig, Live, StoreConfig};

/// The first round after a start comes this late.
const FIRST: Duration = Duration::from_secs(60);
/// A round deletes at most this many commit-log files.
const FILES_PER_ROUND: usize = 10;
/// Used share of a disk above which files are deleted however young they are.
const FORCE_RATIO: f64 = 0.85;

/// So many rounds delete expired files when an operator asks for it.
const ASKED_ROUNDS: u32 = 20;

/// What an operator wants of the next rounds.
#[derive(Default)]
pub struct Asked {
    /// Rounds that delete commit-log files at any hour.
    rounds: AtomicU32,
    /// Queue files that are not needed any more are looked for once more.
    queues: AtomicBool,
}

/// The cleaning thread's view of the store.
pub struct Clean {
    pub segments: Arc<Segments>,
    pub queues: Arc<QueueTable>,
    pub index: Arc<Index>,
    pub reput: Arc<Reput>,
    pub disk: Arc<Disk>,
    pub config: Arc<Live<BrokerConfig>>,
    pub asked: Arc<Asked>,
    pub stop: Arc<Stop>,
}

impl Clean {
    /// Starts the thread.
    pub fn start(self) -> Result<Handle> {
        thread::spawn("clean", move || {
            let mut cleaned_to = 0;
            let mut pause = FIRST;
            while !self.stop.wait(pause) {
                let config = self.config.get();
                if let Err(e) = self.round(&config.store, &mut cleaned_to) {
                    log::error!(target: "store", "cleaning: {e}");
                }
                pause = millis(config.store.clean_resource_interval);
            }
        })
    }

    /// One round. `cleaned_to` is the log's minimum that queues and index were cleaned to.
    fn round(&self, store: &StoreConfig, cleaned_to: &mut i64) -> Result<()> {
        let hour = clock::local_time(clock::now_ms()).hour;
        let [log, queues, _] = self.disk.ratios();
        let used = log.max(queues);
        let forced = store.clean_file_forcibly_enable && used > FORCE_RATIO;
        let limit = f64::from(store.disk_max_used_space_ratio.clamp(10, 95)) / 100.0;
        let asked = self.asked.rounds.fetch_update(AcqRel, Acquire, |left| left.checked_sub(1));
        let now = is_hour(&store.delete_when, hour) || asked.is_ok();
        if forced || used > limit || used < 0.0 || now {
            self.delete_log_files(store, forced)?;
        }
        let min = self.segments.min_offset().unwrap_or(0);
        if self.asked.queues.swap(false, AcqRel) || min > *cleaned_to {
            self.follow(store, min)?;
            *cleaned_to = min;
        }
        Ok(())
    }

    /// Deletes files that are old enough, or with `forced` any, but no file that is being written
    /// or not dispatched yet.
    fn delete_log_files(&self, store: &StoreConfig, forced: bool) -> Result<()> {
        let reserved = Duration::from_secs(store.file_reserved_time.max(0) as u64 * 3600);
        for _ in 0..FILES_PER_ROUND {
            let files = self.segments.files();
            let [first, _, ..] = &files[..] else { return Ok(()) };
            let dispatched = first.end() <= self.reput.position();
            if !dispatched || !(forced || is_older(first, reserved)) {
                return Ok(());
            }
            self.segments.drop_oldest(1)?;
            let why = if forced { "the disk is full" } else { "its time is over" };
            log::info!(target: "store", "{} deleted: {why}", first.path().display());
            if self.stop.wait(millis(store.delete_commit_log_files_interval)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Deletes queue and index files that only point below `min_physical`.
    fn follow(&self, store: &StoreConfig, min_physical: i64) -> Result<()> {
        for queue in self.queues.all() {
            while queue.delete_oldest(min_physical)? {
                if self.stop.wait(millis(store.delete_consume_queue_files_interval)) {
                    return Ok(());
                }
            }
            queue.correct_min_offset(min_physical);
        }
        self.index.delete_expired(min_physical)
    }
}

impl Store {
    /// Deletes a topic's queues, in memory and on disk. Its records stay in the log until that is
    /// cleaned.
    pub fn delete_topic_queues(&self, topic: &str) -> Result<()> {
        self.queues.delete_topic(topic)
    }

    /// Has the next rounds of cleaning, 20 at most, delete what is old enough whatever the hour.
    pub fn delete_expired_files(&self) {
        self.asked.rounds.store(ASKED_ROUNDS, Release);
    }

    /// Has the next round of cleaning delete queue files whose messages are gone.
    pub fn clean_expired_queues(&self) {
        self.asked.queues.store(true, Release);
    }

    /// Names of the topics that have queues.
    pub fn topics_with_queues(&self) -> Vec<Arc<str>> {
        self.queues.topics()
    }

    /// A consume queue.
    pub fn queue(&self, topic: &str, queue_id: i32) -> Option<Arc<Queue>> {
        self.queues.get(topic, queue_id)
    }

    /// Ids of the topic's queues that ever had a message, ascending.
    pub fn queues_of(&self, topic: &str) -> Vec<i32> {
        self.queues.queues_of(topic)
    }
}

/// Whether `deleteWhen`, hours separated by `;`, names this hour.
fn is_hour(delete_when: &str, hour: i32) -> bool {
    delete_when.split(';').any(|item| item.trim().parse() == Ok(hour))
}

fn is_older(file: &MappedFile, age: Duration) -> bool {
    let modified = std::fs::metadata(file.path()).and_then(|meta| meta.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|since| since >= age))
}

fn millis(value: i32) -> Duration {
    Duration::from_millis(value.max(1) as u64)
}

#[cfg(test)]
mod tests;
