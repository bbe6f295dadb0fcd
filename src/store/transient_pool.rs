//! The pool of `transientStorePoolEnable`: records go to locked memory first, and to the log's file
//! when the commit thread copies them there. Sends then never wait for the page cache.
//!
//! RocketMQ's TransientStorePool. A file of the log that is begun gets a buffer of its length for
//! as long as it is written to. What is in a buffer only is not in the log yet for anyone who reads
//! it, dispatch and flush included, and is lost when the process is killed. Without a free buffer a
//! file is written to directly.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::commit_log::CommitLog;
use super::flush::millis;
use super::mapped::{MappedFile, PAGE_BYTES};
use super::reput::Reput;
use super::running::RunningFlags;
use crate::base::Result;
use crate::base::error::IoContext;
use crate::base::thread::{self, Handle, Stop};
use crate::config::{BrokerConfig, BrokerRole, FlushDiskType, Live, StoreConfig};

/// Buffers, each as long as a file of the log, and the files whose last bytes are in one.
pub struct TransientStorePool {
    free: Mutex<Vec<Arc<MappedFile>>>,
    /// In the order of the log.
    staged: Mutex<VecDeque<Arc<Staged>>>,
    /// Only one commits at a time.
    committing: Mutex<()>,
    /// Store time of the newest record, in a buffer or not.
    store_timestamp: AtomicI64,
    /// Of the commit thread, which is woken when a buffer is full.
    stop: Arc<Stop>,
    fail_fast: bool,
}

/// A file whose records are appended to a buffer.
pub struct Staged {
    file: Arc<MappedFile>,
    buffer: Arc<MappedFile>,
    /// The buffer has the last record of the file.
    sealed: AtomicBool,
}

impl Staged {
    /// What records are appended to, at the same positions as in the file.
    pub fn buffer(&self) -> &MappedFile {
        &self.buffer
    }

    /// Whether nothing is appended any more.
    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Nothing is appended any more: the rest of the file stays as it is.
    pub fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }
}

/// How far a commit has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The log has become longer.
    pub moved: bool,
    /// Store time of a record that is in the log by now with all before it.
    pub store_timestamp: Option<i64>,
}

impl TransientStorePool {
    /// The pool that is configured, if one is, its memory there and locked as far as the system
    /// permits. As in RocketMQ there is none under SYNC_FLUSH, nor at a slave.
    pub fn new(config: &StoreConfig, file_bytes: usize) -> Result<Option<TransientStorePool>> {
        if !config.transient_store_pool_enable
            || config.flush_disk_type == FlushDiskType::SyncFlush
            || config.broker_role == BrokerRole::Slave
        {
            return Ok(None);
        }
        let (began, count) = (Instant::now(), config.transient_store_pool_size.max(0));
        let what = || format!("transientStorePoolSize = {count} buffers of {file_bytes} bytes");
        let (mut free, mut unready, mut unlocked) = (Vec::new(), None, None);
        for _ in 0..count {
            let buffer = MappedFile::in_memory("a buffer of the transient store pool", file_bytes);
            let buffer = buffer.what(what)?;
            match buffer.prefault(0..file_bytes, false) {
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => unready = Some(e),
                ready => ready.what(what)?,
            }
            unlocked = buffer.lock().err().or(unlocked);
            free.push(Arc::new(buffer));
        }
        if let Some(e) = unready {
            log::warn!(target: "store", "the transient store pool gets its memory when it is used: \
                {e}; this takes Linux 5.14");
        }
        if let Some(e) = unlocked {
            log::warn!(target: "store", "the transient store pool is not locked in memory: {e}; \
                this takes CAP_IPC_LOCK or a memlock limit (ulimit -l) of {} KiB more",
                free.len() * file_bytes / 1024);
        }
        log::info!(target: "store", "{} made ready in {} ms", what(), began.elapsed().as_millis());
        Ok(Some(TransientStorePool {
            free: Mutex::new(free),
            staged: Mutex::default(),
            committing: Mutex::default(),
            store_timestamp: AtomicI64::new(0),
            stop: Stop::new(),
            fail_fast: config.fast_fail_if_no_buffer_in_store_pool,
        }))
    }

    /// Buffers that no file has: RocketMQ's `remainTransientStoreBufferNumbs`.
    pub fn free(&self) -> usize {
        lock(&self.free).len()
    }

    /// Whether no file may be begun: `fastFailIfNoBufferInStorePool`.
    pub fn refuses(&self) -> bool {
        self.fail_fast && self.free() == 0
    }

    /// Whether all buffers are in use and full ones among them: the disk is behind.
    pub fn is_behind(&self) -> bool {
        self.free() == 0 && lock(&self.staged).iter().any(|staged| staged.is_sealed())
    }

    /// A buffer for a file that is begun; `None`: it is to be written to directly. Under the put
    /// lock.
    pub fn stage(&self, file: &Arc<MappedFile>) -> Option<Arc<Staged>> {
        let buffer = lock(&self.free).pop()?;
        let staged = Staged { file: file.clone(), buffer, sealed: AtomicBool::new(false) };
        let staged = Arc::new(staged);
        lock(&self.staged).push_back(staged.clone());
        Some(staged)
    }

    /// Bytes that are in a buffer only.
    pub fn uncommitted(&self) -> usize {
        let staged = lock(&self.staged);
        staged.iter().map(|one| one.buffer.wrote().saturating_sub(one.file.wrote())).sum()
    }

    /// A file was begun, so that the one before it is complete.
    pub fn begun(&self) {
        self.stop.wake();
    }

    /// Ends the commit thread.
    pub fn stop(&self) {
        self.stop.set();
    }

    /// A record of this time was appended.
    pub fn appended(&self, store_timestamp: i64) {
        self.store_timestamp.store(store_timestamp, Ordering::Release);
    }

    /// Copies what has been appended into the files; of the last one only when it is so many pages
    /// or more.
    pub fn commit(&self, least_pages: i32) -> io::Result<Committed> {
        let _one = lock(&self.committing);
        let mut done = Committed::default();
        // Before the lengths: the record of this time is within them.
        let newest = self.store_timestamp.load(Ordering::Acquire);
        loop {
            let Some(staged) = lock(&self.staged).front().cloned() else { break };
            let sealed = staged.is_sealed();
            let (from, to) = (staged.file.wrote(), staged.buffer.wrote());
            let pages = to / PAGE_BYTES - from / PAGE_BYTES;
            if !sealed && least_pages > 0 && pages < least_pages as usize {
                return Ok(done);
            }
            if let Some(bytes) = staged.buffer.bytes(from, to - from).filter(|_| from < to) {
                staged.file.append_by_write(bytes)?;
                done.moved = true;
            }
            if !sealed {
                break;
            }
            staged.file.set_wrote(staged.file.size());
            lock(&self.staged).pop_front();
            staged.buffer.set_wrote(0);
            lock(&self.free).push(staged.buffer.clone());
            done.moved = true;
        }
        done.store_timestamp = Some(newest).filter(|time| *time > 0);
        Ok(done)
    }
}

/// What the commit thread works on.
pub struct Commit {
    pub log: Arc<CommitLog>,
    pub reput: Arc<Reput>,
    pub flags: Arc<RunningFlags>,
    pub config: Arc<Live<BrokerConfig>>,
}

impl Commit {
    /// Starts the thread; `CommitLog::close` ends it and commits the rest.
    pub fn start(self, pool: &TransientStorePool) -> Result<Handle> {
        let stop = pool.stop.clone();
        thread::spawn("commit", move || self.run(&stop))
    }

    fn run(&self, stop: &Stop) {
        let mut last_thorough = Instant::now();
        loop {
            let store = &self.config.get().store;
            if stop.wait(millis(store.commit_interval_commit_log)) {
                return;
            }
            let each = millis(store.commit_commit_log_thorough_interval);
            let thorough = last_thorough.elapsed() >= each;
            if thorough {
                last_thorough = Instant::now();
            }
            let pages = if thorough { 0 } else { store.commit_commit_log_least_pages };
            match self.log.commit(pages) {
                Ok(true) => {
                    self.reput.appended();
                    self.reput.dispatch_waited();
                }
                Ok(false) => {}
                // What was appended cannot be stored: no more of it.
                Err(e) => self.flags.give_up(&e),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
