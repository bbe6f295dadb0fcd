//! The flush threads: the commit log, for a group of waiters or by time, and the consume queues.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::checkpoint::Checkpoint;
use super::commit_log::CommitLog;
use super::durable::Durable;
use super::ends::{Ends, EndsFile};
use super::index::Index;
use super::mapped::PAGE_BYTES;
use super::queues::QueueTable;
use super::running::{Refusal, RunningFlags};
use super::status::PutStatus;
use crate::base::limits::QUEUE_FILES_IDLE;
use crate::base::thread::{self, Handle, Stop};
use crate::base::{Error, Result};
use crate::config::{BrokerConfig, FlushDiskType, Live};

/// Longest pause in which those who wait are gathered.
const GATHER_MAX: Duration = Duration::from_millis(2);
/// Flushes over which what is usual is averaged.
const USUAL_OF: i64 = 16;
/// What is written at once while no send waits for it: the kernel lets no other thread have the
/// processor meanwhile, and a reactor that is woken there waits as long.
const STEP_BYTES: i64 = 128 * 1024;
/// So many steps at most, which get longer: who is behind is not to fall back further.
const STEPS_MAX: i64 = 64;
const STEP_PAUSE: Duration = Duration::from_millis(1);

/// What the flush thread of the commit log works on.
pub struct Flush {
    pub log: Arc<CommitLog>,
    pub durable: Arc<Durable>,
    pub checkpoint: Arc<Checkpoint>,
    pub flags: Arc<RunningFlags>,
    pub config: Arc<Live<BrokerConfig>>,
}

impl Flush {
    /// Starts the thread; `Durable::stop` ends it after a last flush.
    pub fn start(self) -> Result<Handle> {
        thread::spawn("flush", move || self.run())
    }

    fn run(&self) {
        let mut last_thorough = Instant::now();
        let mut took = Duration::ZERO;
        let mut usual_bytes = 0;
        loop {
            let store = &self.config.get().store;
            let going_on = self.durable.wait(millis(store.flush_interval_commit_log));
            self.durable.gather((took / 2).min(GATHER_MAX));
            self.durable.take_group();
            let (began, from) = (Instant::now(), self.durable.flushed());
            let each = millis(store.flush_commit_log_thorough_interval);
            let thorough = !going_on
                || store.flush_disk_type == FlushDiskType::SyncFlush
                || last_thorough.elapsed() >= each;
            if thorough {
                last_thorough = Instant::now();
            }
            let least_pages = store.flush_commit_log_least_pages;
            self.round(if thorough { 0 } else { least_pages.max(1) });
            took = began.elapsed();
            if store.flush_disk_type == FlushDiskType::SyncFlush {
                usual_bytes += (self.durable.flushed() - from - usual_bytes) / USUAL_OF;
                self.log.expect_flushes(usual_bytes);
            }
            if !going_on {
                return;
            }
        }
    }

    /// Flushes and completes the group that waits for it.
    pub(super) fn round(&self, least_pages: i32) {
        let status = match self.flush(least_pages) {
            Ok(()) => PutStatus::PutOk,
            Err(e) => {
                // What it covered may be lost, and the kernel will not say so again.
                self.flags.give_up(&e);
                PutStatus::FlushDiskTimeout
            }
        };
        self.durable.complete_group(status);
    }

    /// Flushes what is new: whole pages when there are at least `least_pages`, or with 0
    /// everything.
    fn flush(&self, least_pages: i32) -> Result<()> {
        if self.flags.has(Refusal::NotWriteable) {
            return Err(Error::Corrupt("an earlier flush failed".to_owned()));
        }
        // Read before the end of the log: so the record of this time is below that end.
        let store_timestamp = self.log.store_timestamp();
        let from = self.durable.flushed();
        let mut to = self.log.max_offset();
        if least_pages > 0 {
            // The page being written stays out: flushing it would cost its writer a page fault.
            to -= to % PAGE_BYTES as i64;
            if to - from < i64::from(least_pages) * PAGE_BYTES as i64 {
                return Ok(());
            }
        }
        if from >= to {
            return Ok(());
        }
        self.flush_steps(from, to)?;
        if least_pages == 0 && store_timestamp > 0 {
            self.checkpoint.physic.store(store_timestamp, Ordering::Release);
        }
        Ok(())
    }

    /// Flushes these bytes: with sends that wait at once, otherwise step by step.
    fn flush_steps(&self, from: i64, to: i64) -> Result<()> {
        // Those who are waited for do not wait for the other processors as well, page by page.
        let (step, unmap) = match self.config.get().store.flush_disk_type {
            FlushDiskType::SyncFlush => (to - from, true),
            FlushDiskType::AsyncFlush => (STEP_BYTES.max((to - from) / STEPS_MAX), false),
        };
        let mut at = from;
        while at < to {
            let end = match at + step {
                // No page twice.
                end if end < to => end - end % PAGE_BYTES as i64,
                _ => to,
            };
            if unmap {
                let parts = self.log.segments().parts(at, end);
                parts.into_iter().for_each(|(file, range)| file.unmap(range));
            }
            self.log.segments().flush(at, end)?;
            self.durable.set_flushed(end);
            at = end;
            // Not when stopping.
            if at < to {
                self.durable.wait(STEP_PAUSE);
            }
        }
        Ok(())
    }
}

/// What the thread that flushes consume queues by time works on: with the thorough flush it also
/// writes the checkpoint. Index files are only flushed when they are full.
pub struct FlushQueues {
    pub queues: Arc<QueueTable>,
    pub index: Arc<Index>,
    pub checkpoint: Arc<Checkpoint>,
    pub durable: Arc<Durable>,
    pub ends: Arc<Mutex<EndsFile>>,
    pub config: Arc<Live<BrokerConfig>>,
    pub stop: Arc<Stop>,
}

impl FlushQueues {
    /// Starts the thread.
    pub fn start(self) -> Result<Handle> {
        thread::spawn("flush-queues", move || self.run())
    }

    fn run(&self) {
        let mut last_thorough = Instant::now();
        let mut last_idle = Instant::now();
        loop {
            let store = &self.config.get().store;
            if self.stop.wait(millis(store.flush_interval_consume_queue)) {
                return;
            }
            let each = millis(store.flush_consume_queue_thorough_interval);
            let thorough = last_thorough.elapsed() >= each;
            let pages = if thorough { 0 } else { store.flush_consume_queue_least_pages.max(1) };
            if thorough {
                last_thorough = Instant::now();
            }
            if let Err(e) = self.round(pages) {
                log::error!(target: "store", "consume queues and index: {e}");
            }
            if last_idle.elapsed() >= QUEUE_FILES_IDLE {
                last_idle = Instant::now();
                self.queues.close_idle();
            }
        }
    }

    /// Flushes queues that have this many new pages, and index files that are full; with 0 all
    /// queues, and the checkpoint.
    pub(super) fn round(&self, least_pages: i32) -> Result<()> {
        // Read before: what is dispatched meanwhile is not flushed.
        let logics = self.checkpoint.dispatched();
        // What a full disk does not take waits on: nothing is lost with that.
        let written = if least_pages == 0 { self.queues.write_out() } else { Ok(()) };
        let flushed = self.queues.flush(least_pages.into()).and_then(|()| self.flush_index());
        flushed.inspect_err(|_| self.checkpoint.distrust())?;
        written?;
        if least_pages == 0 {
            self.checkpoint.flush(logics)?;
        }
        if least_pages == 0 || self.queues.has_forgotten() {
            save_ends(&self.queues, &self.index, &self.durable, &self.ends, false)?;
        }
        Ok(())
    }

    fn flush_index(&self) -> Result<()> {
        if let Some(reached) = self.index.flush_full()? {
            self.checkpoint.index.store(reached, Ordering::Release);
        }
        Ok(())
    }
}

/// Says how much of queues, index and log is on disk; `whole`: of the index everything is.
pub fn save_ends(
    queues: &QueueTable,
    index: &Index,
    durable: &Durable,
    ends: &Mutex<EndsFile>,
    whole: bool,
) -> Result<()> {
    let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
    let again = ends.ends().index_again_from.filter(|_| !whole);
    ends.save(Ends {
        queues: queues.ends(),
        index: index.flushed_ends(),
        log: durable.flushed(),
        index_again_from: again,
    })
}

/// A configured interval; what is not positive counts as 1 ms.
pub(super) fn millis(value: i32) -> Duration {
    Duration::from_millis(value.max(1) as u64)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Store, fixture, layout};
    use super::*;
    use crate::message::MessageRef;
    use crate::sys::faults::{self, Change};

    /// Puts messages with keys, enough to fill an index file, and flushes the log.
    fn put_some(store: &Store) {
        let properties = fixture::properties("", "a b c d e f");
        for _ in 0..10 {
            store.allocate.make_next();
            let message = fixture::message("T", 0, b"body");
            fixture::put(store, &MessageRef { properties: &properties, ..message });
        }
        store.reput.catch_up();
        store.flush().round(0);
    }

    #[test]
    fn the_log_is_flushed_in_steps_unless_sends_wait_for_it() {
        for (kind, steps) in [(FlushDiskType::AsyncFlush, 3), (FlushDiskType::SyncFlush, 1)] {
            let dir = tempfile::tempdir().unwrap();
            let mut config = fixture::config(dir.path());
            config.store.mapped_file_size_commit_log = 4 * STEP_BYTES as i32;
            config.store.flush_disk_type = kind;
            let store = fixture::open_with(config, |_| ());
            store.allocate.make_next();
            let body = vec![1; STEP_BYTES as usize / 4];
            for _ in 0..10 {
                fixture::put(&store, &fixture::message("T", 0, &body));
            }
            faults::record();
            store.flush().round(0);
            let synced: Vec<_> = faults::recording()
                .into_iter()
                .filter_map(|change| match change {
                    Change::Sync(_, range) => Some(range.start as i64..range.end as i64),
                    _ => None,
                })
                .collect();
            let end = store.max_physical_offset();
            assert_eq!((synced.len(), synced[0].start, synced[steps - 1].end), (steps, 0, end));
            assert!(synced.windows(2).all(|two| two[0].end == two[1].start), "{synced:?}");
            assert_eq!(store.flushed_offset(), end);
        }
    }

    #[test]
    fn after_a_failed_flush_of_queues_or_index_the_checkpoint_stays() {
        for failing in ["Msync consumequeue 5", "FsyncDir consumequeue 5", "Msync index 5"] {
            let dir = tempfile::tempdir().unwrap();
            let mut config = fixture::config(dir.path());
            config.store.max_hash_slot_num = 20;
            config.store.max_index_num = 20;
            let store = fixture::open_with(config.clone(), |_| ());
            store.set_abort().unwrap();
            let files = || {
                let files = [layout::checkpoint_file(dir.path()), layout::ends_file(dir.path())];
                files.map(|path| fs::read(path).unwrap())
            };
            put_some(&store);
            store.flush_queues().round(0).unwrap();
            let before = files();
            assert!(before[0][..24].chunks(8).all(|time| time != [0; 8]), "{before:?}");
            crate::base::clock::set_present(crate::base::clock::now_ms() + 60_000);
            put_some(&store);
            if failing.contains("FsyncDir") {
                // Of a new queue, whose directory is to be synced.
                fixture::put(&store, &fixture::message("U", 0, b"body"));
                store.reput.catch_up();
            }
            faults::fail(failing);
            store.flush_queues().round(0).unwrap_err();
            // The kernel says it once: that the next call succeeds means nothing.
            faults::fail("");
            for pages in [1, 0, 0] {
                let _ = store.flush_queues().round(pages);
                assert!(files() == before, "{failing}: moved");
            }
            store.stop();
            assert!(files() == before, "{failing}: moved by the stop");
            assert!(layout::abort_file(dir.path()).exists(), "the next start would trust it");
            drop(store);
            let store = fixture::open_with(config, |_| ());
            assert_eq!(store.max_offset_in_queue("T", 0), 20);
            store.flush_queues().round(0).unwrap();
            assert!(files() != before, "trusted again after a start");
        }
    }
}
