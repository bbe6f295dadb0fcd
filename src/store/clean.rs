//! Deleting old messages: whole commit-log files, oldest first, then what pointed into them.

use std::fs::{File, OpenOptions};
use std::sync::atomic::Ordering::*;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::Store;
use super::consume_queue::{Queue, Unit};
use super::disk::{Disk, Need};
use super::index::Index;
use super::mapped::MappedFile;
use super::queues::QueueTable;
use super::reput::Reput;
use super::segments::{self, Segments};
use super::stats::Stats;
use crate::base::Result;
use crate::base::clock;
use crate::base::error::IoContext;
use crate::base::thread::{self, Handle, Stop};
use crate::config::{BrokerConfig, Live, StoreConfig};
use crate::sys;

/// The first round after a start comes this late.
const FIRST: Duration = Duration::from_secs(60);
/// Space of a removed file is given back so much at a time: a file system that frees a GiB at once
/// holds up those who write to it, and the kernel lets no other thread have the processor then.
const STEP_BYTES: u64 = 4 << 20;
/// The same while the disk needs the space.
const URGENT_STEP_BYTES: u64 = 64 << 20;
const STEP_PAUSE: Duration = Duration::from_millis(1);
/// How often removed files are looked at whose readers are not done.
const LEAVING_PERIOD: Duration = Duration::from_secs(1);

/// So many rounds delete expired files when an operator asks for it.
const ASKED_ROUNDS: u32 = 20;

/// Of a topic and queue: the offset up to which everyone who consumes it has done so. `None` when
/// nobody does.
pub type Consumed = Box<dyn Fn(&str, i32) -> Option<i64> + Send + Sync>;

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
    pub consumed: Arc<OnceLock<Consumed>>,
    pub stats: Arc<Stats>,
    pub stop: Arc<Stop>,
}

/// What lives from round to round.
#[derive(Default)]
struct Rounds {
    /// The log's minimum that queues and index were cleaned to.
    cleaned_to: i64,
    leaving: Vec<Leaving>,
    /// The disk refused to remove a file; not tried again before.
    not_before: Option<Instant>,
}

/// A file without a name, whose blocks are to be given back when nobody reads it any more.
struct Leaving {
    file: Arc<MappedFile>,
    handle: File,
    since: Instant,
}

impl Clean {
    /// Starts the thread.
    pub fn start(self) -> Result<Handle> {
        thread::spawn("clean", move || {
            let mut rounds = Rounds::default();
            let mut pause = FIRST;
            while !self.stop.wait(pause) {
                let config = self.config.get();
                if let Err(e) = self.round(&config.store, &mut rounds) {
                    log::error!(target: "store", "cleaning: {e}");
                }
                pause = millis(config.store.clean_resource_interval);
                if !rounds.leaving.is_empty() {
                    pause = pause.min(LEAVING_PERIOD);
                }
            }
        })
    }

    fn round(&self, store: &StoreConfig, rounds: &mut Rounds) -> Result<()> {
        self.give_back(store, rounds);
        let hour = clock::local_time(clock::now_ms()).hour;
        let need = self.disk.need(store);
        let asked = self.asked.rounds.fetch_update(AcqRel, Acquire, |left| left.checked_sub(1));
        let now = is_hour(&store.delete_when, hour) || asked.is_ok();
        let mut deleted = Ok(());
        if (now || need > Need::None) && rounds.not_before.is_none_or(|at| Instant::now() >= at) {
            deleted = self.delete_log_files(store, rounds);
            let pause = millis(store.redelete_hanged_file_interval);
            rounds.not_before = deleted.is_err().then(|| Instant::now() + pause);
        }
        let min = self.segments.min_offset().unwrap_or(0);
        if self.asked.queues.swap(false, AcqRel) || min > rounds.cleaned_to {
            self.follow(store, min, rounds)?;
            rounds.cleaned_to = min;
        }
        deleted
    }

    /// Deletes files that are old enough, or while the disk needs it any, but no file that is being
    /// written or not dispatched yet.
    fn delete_log_files(&self, store: &StoreConfig, rounds: &mut Rounds) -> Result<()> {
        let reserved = Duration::from_secs(store.file_reserved_time.max(0) as u64 * 3600);
        for _ in 0..store.delete_file_batch_max.max(1) {
            let files = self.segments.files();
            let [first, _, ..] = &files[..] else { return Ok(()) };
            let forced = self.disk.need(store) == Need::Any;
            let dispatched = first.end() <= self.reput.position();
            if !dispatched || !(forced || is_older(first, reserved)) {
                return Ok(());
            }
            let unconsumed = self.unconsumed_bytes(first);
            let path = first.path().display();
            if unconsumed > 0 && !store.delete_unconsumed_messages {
                log::warn!(target: "store",
                    "{path} not deleted: {unconsumed} bytes of it are yet to be consumed");
                return Ok(());
            }
            self.delete(first, rounds)?;
            let why = if forced { "the disk is full" } else { "its time is over" };
            log::info!(target: "store", "{path} deleted: {why}");
            if unconsumed > 0 {
                self.stats.unconsumed_deleted_bytes.fetch_add(unconsumed, Relaxed);
                log::warn!(target: "store", "{unconsumed} bytes of it had yet to be consumed");
            }
            drop(files);
            self.give_back(store, rounds);
            if self.stop.wait(millis(store.delete_commit_log_files_interval)) {
                return Ok(());
            }
            if forced {
                self.disk.look();
            }
        }
        Ok(())
    }

    /// Takes the oldest file away; its space is given back later.
    fn delete(&self, first: &Arc<MappedFile>, rounds: &mut Rounds) -> Result<()> {
        let open = sys::file::open(first.path(), OpenOptions::new().write(true));
        let handle = open.what(|| format!("open {}", first.path().display()))?;
        if let Some(file) = self.segments.remove_oldest()? {
            // Or after a power cut the name may be there again, and the file shorter.
            segments::sync_dir_of(&file)?;
            rounds.leaving.push(Leaving { file, handle, since: Instant::now() });
        }
        Ok(())
    }

    /// Gives back the space of removed files that nobody reads any more.
    fn give_back(&self, store: &StoreConfig, rounds: &mut Rounds) {
        let limit = millis(store.destroy_maped_file_interval_forcibly);
        for leaving in std::mem::take(&mut rounds.leaving) {
            // Nobody can come to hold it again: it is in no queue.
            if Arc::strong_count(&leaving.file) == 1 {
                let urgent = self.disk.need(store) == Need::Any;
                self.truncate(leaving, if urgent { URGENT_STEP_BYTES } else { STEP_BYTES });
            } else if leaving.since.elapsed() < limit {
                rounds.leaving.push(leaving);
            } else {
                log::warn!(target: "store",
                    "{} is still read {limit:?} after it was deleted; its space comes back later",
                    leaving.file.path().display());
            }
        }
    }

    fn truncate(&self, leaving: Leaving, step: u64) {
        let Leaving { file, handle, .. } = leaving;
        let (path, size) = (file.path().to_owned(), file.size());
        for at in (0..size).step_by(step as usize) {
            file.take_out(at..at.saturating_add(step as usize));
            if self.stop.wait(STEP_PAUSE) {
                return;
            }
        }
        drop(file);
        let mut left = size as u64;
        while left > 0 {
            left = left.saturating_sub(step);
            // When this fails, closing the file frees what is left.
            let cut = sys::file::set_len(&handle, &path, left);
            if cut.is_err() || (left > 0 && self.stop.wait(STEP_PAUSE)) {
                return;
            }
        }
    }

    /// Bytes of the file's records that some group, or the delivery of delayed messages, has not
    /// come to yet. Queues that nobody consumes do not count.
    fn unconsumed_bytes(&self, file: &MappedFile) -> i64 {
        let Some(consumed) = self.consumed.get() else { return 0 };
        let mut bytes = 0;
        for queue in self.queues.all() {
            let Some(consumed) = consumed(queue.topic(), queue.queue_id()) else { continue };
            let mut offset = consumed.max(queue.min_offset());
            'queue: while let Some(units) = queue.units(offset) {
                for unit in units.iter() {
                    if unit.physical_offset >= file.end() {
                        break 'queue;
                    }
                    if unit.physical_offset >= file.start() && unit != Unit::BLANK {
                        bytes += i64::from(unit.size);
                    }
                    offset += 1;
                }
            }
        }
        bytes
    }

    /// Deletes queue and index files that only point below `min_physical`.
    fn follow(&self, store: &StoreConfig, min_physical: i64, rounds: &mut Rounds) -> Result<()> {
        for queue in self.queues.all() {
            while queue.delete_oldest(min_physical)? {
                if self.stop.wait(millis(store.delete_consume_queue_files_interval)) {
                    return Ok(());
                }
            }
            queue.correct_min_offset(min_physical);
        }
        let deleted = self.index.delete_expired(min_physical)?;
        let since = Instant::now();
        let leaving = deleted.into_iter().map(|(file, handle)| Leaving { file, handle, since });
        rounds.leaving.extend(leaving);
        self.give_back(store, rounds);
        Ok(())
    }
}

impl Store {
    /// Deletes a topic's queues, in memory and on disk. Its records stay in the log until that is
    /// cleaned.
    pub fn delete_topic_queues(&self, topic: &str) -> Result<()> {
        let segments = self.log.segments();
        let (begin, end) = (segments.min_offset().unwrap_or(0), segments.max_offset());
        if let Err(e) = self.deleted.add(topic, begin, end) {
            log::warn!(target: "store", "queues rebuilt from the log will have what was deleted \
                of {topic}: {e}");
        }
        self.queues.delete_topic(topic)
    }

    /// Tells cleaning how far messages are consumed; once, before `start`.
    pub fn set_consumed(&self, consumed: Consumed) {
        let _ = self.consumed.set(consumed);
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
