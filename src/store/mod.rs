//! The message store: RocketMQ's files, written and read in place. Knows nothing of connections.
//!
//! A put encodes its record and appends it to the commit log (`put`, `commit_log`); dispatch reads
//! the log and feeds consume queues and index; reads go by a consume queue into the log. The log is
//! the truth, everything else can be made from it again (`recover`).

pub mod allocate;
pub mod check;
pub mod checkpoint;
mod clean;
mod cold;
pub mod commit_log;
pub mod consume_queue;
pub mod consume_queue_ext;
mod damage;
pub mod delay;
mod deleted;
pub mod disk;
pub mod durable;
mod ends;
pub mod flush;
mod foreign;
mod handed;
pub mod index;
mod kept_units;
pub mod layout;
mod lock;
pub mod mapped;
mod multi;
mod peek;
mod put;
mod query;
mod queue_files;
mod queue_scan;
pub mod queues;
mod read;
pub mod recover;
pub mod reput;
pub mod running;
pub mod segments;
pub mod stats;
pub mod status;
pub mod transient_pool;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::base::error::IoContext;
use crate::base::thread::{self, Handle, Stop};
use crate::base::{Error, Result, persist};
use crate::config::{BrokerConfig, FlushDiskType, Live, StoreConfig};
use crate::sys;

use allocate::Allocate;
use checkpoint::Checkpoint;
use clean::{Asked, Clean, Consumed};
use cold::Cold;
use commit_log::CommitLog;
use consume_queue::Unit;
use deleted::DeletedTopics;
use disk::Disk;
use durable::Durable;
use ends::{Ends, EndsFile};
use flush::{Flush, FlushQueues};
use index::Index;
use lock::StoreLock;
use queue_scan::LogView;
use queues::{ExtFiles, QueueTable};
use recover::OnDisk;
use reput::{Begin, Derived, Reput};
use running::{Refusal, RunningFlags};
use segments::Segments;
use stats::Stats;
use transient_pool::{Commit, TransientStorePool};

pub use consume_queue_ext::ExtUnit;
pub use durable::{Done, GroupHook, WaitFor};
pub use put::Put;
pub use query::QueryResult;
pub use queues::QueuesAtHand;
pub use read::{GetResult, Pass};
pub use reput::{Arrival, Listener};
pub use status::{Busy, GetStatus, PutStatus};

/// How often rates are sampled.
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);
/// The disks are looked at with every tenth sample.
const SAMPLES_PER_DISK_CHECK: u32 = 10;
/// How late a waiter learns that its deadline has passed, at most.
const EXPIRE_PERIOD: Duration = Duration::from_millis(250);

/// The store of one broker.
pub struct Store {
    config: Arc<Live<BrokerConfig>>,
    root: PathBuf,
    /// Offset in the log from which on its records were written by this store.
    written_from: i64,
    log: Arc<CommitLog>,
    allocate: Arc<Allocate>,
    durable: Arc<Durable>,
    checkpoint: Arc<Checkpoint>,
    ends: Arc<Mutex<EndsFile>>,
    queues: Arc<QueueTable>,
    deleted: Arc<DeletedTopics>,
    index: Arc<Index>,
    reput: Arc<Reput>,
    flags: Arc<RunningFlags>,
    disk: Arc<Disk>,
    asked: Arc<Asked>,
    consumed: Arc<OnceLock<Consumed>>,
    stats: Arc<Stats>,
    cold: Cold,
    /// No puts any more.
    stopping: AtomicBool,
    /// Of the threads that work by time.
    stop: Arc<Stop>,
    threads: Mutex<Vec<Handle>>,
    lock: Mutex<Option<StoreLock>>,
}

impl Store {
    /// Takes the folder of a store, made when missing, before anything in it is read: what another
    /// broker writes until it ends would be read too soon. Refuses a store that another broker has
    /// open, and what RocketMQ 5 alone knows, naming it.
    pub fn claim(root: &Path) -> Result<StoreLock> {
        sys::file::make_dirs_durably(root).what(|| format!("create {}", root.display()))?;
        let lock = StoreLock::take(root)?;
        foreign::refuse(root)?;
        Ok(lock)
    }

    /// Opens the store, or makes a new one: finds the end of the log, brings the consume queues up
    /// to it. Refuses files of another layout, naming them. `lock` is the claim on its folder. Once
    /// started, `listener` is told of each new message.
    pub fn open(
        config: Arc<Live<BrokerConfig>>,
        lock: StoreLock,
        listener: Listener,
    ) -> Result<Arc<Store>> {
        let now = config.get();
        let root = now.store.root();
        let clean = !layout::abort_file(&root).exists();
        let checkpoint = Arc::new(Checkpoint::open(&layout::checkpoint_file(&root))?);
        let segments = Arc::new(load_log(&now.store)?);
        let queue_dir = layout::consume_queue_dir(&root);
        let mut ends = EndsFile::load(&layout::ends_file(&root));
        let found = recover_log(&now.store, &segments, &checkpoint, clean, ends.ends())?;
        let deleted = Arc::new(DeletedTopics::load(&layout::deleted_file(&root), &queue_dir));
        let loaded = load_derived(&now.store, &segments, &found, clean, &mut ends, &deleted)?;
        let Loaded { queues, index, begin } = loaded;
        let flags = Arc::<RunningFlags>::default();
        let durable = Durable::default();
        durable.set_flushed(if clean { found.end } else { found.from });
        let allocate =
            Allocate::new(segments.clone(), now.store.flush_disk_type, warm_ahead(&now.store));
        let pool = TransientStorePool::new(&now.store, segments.size())?;
        let log_dirs = now.store.writable_commit_log_dirs();
        let disk = Arc::new(Disk::new(log_dirs, &queue_dir, &layout::index_dir(&root)));
        let log = Arc::new(CommitLog::new(segments, allocate.clone(), found.store_timestamp, pool));
        let derived = Derived {
            queues: queues.clone(),
            deleted: deleted.clone(),
            index: index.clone(),
            checkpoint: checkpoint.clone(),
            flags: flags.clone(),
        };
        let reput = Reput::new(log.clone(), derived, config.clone(), listener, begin)?;
        reput.catch_up();
        let store = Store {
            written_from: found.end,
            log,
            allocate,
            durable: Arc::new(durable),
            checkpoint,
            ends: Arc::new(Mutex::new(ends)),
            queues,
            deleted,
            index,
            reput: Arc::new(reput),
            flags,
            disk,
            asked: Arc::default(),
            consumed: Arc::default(),
            stats: Arc::default(),
            cold: Cold::default(),
            stopping: AtomicBool::new(false),
            stop: Stop::new(),
            threads: Mutex::default(),
            lock: Mutex::new(Some(lock)),
            root,
            config,
        };
        Ok(Arc::new(store))
    }

    /// Starts the threads. From here on a crash is noticed by the next start.
    pub fn start(&self) -> Result<()> {
        self.set_abort()?;
        self.log.segments().files().iter().for_each(|file| cold::advise(file));
        let clean = Clean {
            segments: self.log.segments().clone(),
            queues: self.queues.clone(),
            index: self.index.clone(),
            reput: self.reput.clone(),
            disk: self.disk.clone(),
            config: self.config.clone(),
            asked: self.asked.clone(),
            consumed: self.consumed.clone(),
            stats: self.stats.clone(),
            stop: self.stop.clone(),
        };
        let mut threads = self.threads.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        threads.push(self.allocate.start()?);
        threads.push(self.flush().start()?);
        threads.push(self.reput.start()?);
        threads.push(self.flush_queues().start()?);
        if let Some(pool) = self.log.pool() {
            threads.push(self.commit().start(pool)?);
        }
        threads.push(clean.start()?);
        threads.push(self.start_watch()?);
        Ok(())
    }

    /// Makes the file that says that this run has not stopped in order.
    fn set_abort(&self) -> Result<()> {
        let abort = layout::abort_file(&self.root);
        persist::make_room(&abort)?;
        sys::file::create(&abort)
            .and_then(|_| sys::file::sync_dir(&self.root))
            .what(|| format!("create {}", abort.display()))
    }

    fn flush(&self) -> Flush {
        Flush {
            log: self.log.clone(),
            durable: self.durable.clone(),
            checkpoint: self.checkpoint.clone(),
            flags: self.flags.clone(),
            config: self.config.clone(),
        }
    }

    fn commit(&self) -> Commit {
        Commit {
            log: self.log.clone(),
            reput: self.reput.clone(),
            flags: self.flags.clone(),
            config: self.config.clone(),
        }
    }

    fn flush_queues(&self) -> FlushQueues {
        FlushQueues {
            queues: self.queues.clone(),
            index: self.index.clone(),
            checkpoint: self.checkpoint.clone(),
            durable: self.durable.clone(),
            ends: self.ends.clone(),
            config: self.config.clone(),
            stop: self.stop.clone(),
        }
    }

    /// The thread that samples rates, looks at the disks and ends waits that took too long.
    fn start_watch(&self) -> Result<Handle> {
        let (stats, disk, flags) = (self.stats.clone(), self.disk.clone(), self.flags.clone());
        let (durable, reput) = (self.durable.clone(), self.reput.clone());
        let segments = self.log.segments().clone();
        let config = self.config.clone();
        let sync = self.config.get().store.flush_disk_type == FlushDiskType::SyncFlush;
        let period = if sync { EXPIRE_PERIOD } else { SAMPLE_PERIOD };
        let root = self.root.clone();
        let mut next_sample = Instant::now();
        let mut samples = 0u32;
        thread::every("store-watch", self.stop.clone(), Duration::ZERO, period, move || {
            let now = Instant::now();
            durable.expire(now);
            if now >= next_sample {
                next_sample += SAMPLE_PERIOD;
                stats.dispatch_max_behind.fetch_max(reput.behind_bytes(), Ordering::Relaxed);
                stats.sample();
                if samples.is_multiple_of(SAMPLES_PER_DISK_CHECK) {
                    let store = &config.get().store;
                    disk.check(&flags, store);
                    segments.set_full(disk.full_log_dirs(store));
                    if !flags.has(Refusal::DiskFull) {
                        disk::keep_reserve(&root);
                    }
                }
                samples = samples.wrapping_add(1);
            }
        })
    }

    /// Refuses puts from now on and writes everything to the disk. The abort file goes only when
    /// all of that succeeded. Returns the lock, for as long as files beside the store are still to
    /// be written. Does nothing the second time.
    pub fn stop(&self) -> Option<StoreLock> {
        if self.stopping.swap(true, Ordering::AcqRel) {
            return None;
        }
        let all = self.log.close();
        self.stop.set();
        self.reput.stop();
        self.allocate.stop();
        self.durable.stop();
        let threads = self.threads.lock().map(|mut threads| std::mem::take(&mut *threads));
        for thread in threads.unwrap_or_default() {
            thread.join();
        }
        match all.and_then(|()| self.close()) {
            Ok(()) => log::info!(target: "store", "stopped in order"),
            Err(e) => log::error!(target: "store", "{e}; the next start checks the store"),
        }
        self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    /// Flushes what the threads left, and says that the store is whole by removing the abort file.
    fn close(&self) -> Result<()> {
        let logics = self.checkpoint.dispatched();
        self.queues.write_out()?;
        self.queues.flush(0)?;
        // The last file is still written to: a crash of a later run may break its chains, so that
        // the checkpoint goes on to speak of full files only.
        self.index.flush()?;
        self.checkpoint.flush(logics)?;
        let whole = self.dispatch_behind_bytes() == 0;
        flush::save_ends(&self.queues, &self.index, &self.durable, &self.ends, whole)?;
        if self.flags.has(Refusal::NotWriteable) || self.durable.flushed() < self.log.max_offset() {
            return Err(Error::Corrupt("the commit log is not all on disk".to_owned()));
        }
        if !whole {
            return Err(Error::Corrupt("the commit log is not all dispatched".to_owned()));
        }
        let abort = layout::abort_file(&self.root);
        sys::file::remove_if_there(&abort).what(|| format!("remove {}", abort.display()))
    }

    /// Offset in the log of its oldest byte; -1 when there is no log.
    pub fn min_physical_offset(&self) -> i64 {
        self.log.segments().min_offset().unwrap_or(-1)
    }

    /// Offset in the log just past its newest record.
    pub fn max_physical_offset(&self) -> i64 {
        self.log.max_offset()
    }

    /// The log is on disk up to here.
    pub fn flushed_offset(&self) -> i64 {
        self.durable.flushed()
    }

    /// Bytes of the log that queues and index do not know yet.
    pub fn dispatch_behind_bytes(&self) -> i64 {
        self.reput.behind_bytes()
    }

    /// Whether the queues have what the log had at the start: until then they may end too early.
    pub fn is_dispatched(&self) -> bool {
        self.reput.position() >= self.written_from
    }

    /// Used shares, 0 to 1, of the disks of commit log, consume queues and index; -1 = unknown.
    pub fn disk_ratios(&self) -> [f64; 3] {
        self.disk.ratios()
    }

    /// Where messages go first under `transientStorePoolEnable`.
    pub fn transient_pool(&self) -> Option<&TransientStorePool> {
        self.log.pool()
    }

    /// Why puts may be refused.
    pub fn flags(&self) -> &RunningFlags {
        &self.flags
    }

    /// Why puts are refused, or will be when the present file is full; empty while all is well.
    pub fn trouble(&self) -> Vec<String> {
        self.flags.reasons().into_iter().chain(self.allocate.failure()).collect()
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A store that was never started has changed nothing that needs a stop in order.
        self.reput.stop();
        self.allocate.stop();
        self.durable.stop();
        self.stop.set();
        self.log.pool().iter().for_each(|pool| pool.stop());
    }
}

/// Finds the end of the log.
fn recover_log(
    config: &StoreConfig,
    segments: &Segments,
    checkpoint: &Checkpoint,
    clean: bool,
    ends: &Ends,
) -> Result<recover::Recovered> {
    let index_too = config.message_index_enable && config.message_index_safe;
    let trusted = recover::trusted_ms(checkpoint, index_too);
    if !clean && checkpoint.min_timestamp() == 0 && !segments.is_empty() {
        let path = layout::checkpoint_file(&config.root());
        log::warn!(target: "store", "{} does not say what was on disk: all {} files of the log are \
            read", path.display(), segments.len());
    }
    let on_disk = match clean {
        true => OnDisk::All,
        false => OnDisk::Before { ms: checkpoint.physic.load(Ordering::Acquire), offset: ends.log },
    };
    let found = recover::recover(segments, trusted, on_disk, config.check_crc_on_recover)?;
    if found.end < ends.log {
        log::error!(target: "store", "the log ends at {}, but was on disk up to {}: {} bytes of it \
            are lost", found.end, ends.log, ends.log - found.end);
    }
    Ok(found)
}

/// Consume queues and index as found, and from where on dispatch makes them complete.
struct Loaded {
    queues: Arc<QueueTable>,
    index: Arc<Index>,
    begin: Begin,
}

fn load_derived(
    config: &StoreConfig,
    segments: &Segments,
    found: &recover::Recovered,
    clean: bool,
    ends: &mut EndsFile,
    deleted: &DeletedTopics,
) -> Result<Loaded> {
    let root = config.root();
    let min = segments.min_offset().unwrap_or(0);
    let known = if clean { Default::default() } else { ends.ends().queues.clone() };
    let known_end = |topic: &str, id| known.get(topic).and_then(|queues| queues.get(&id));
    // The offsets of records that were deleted stay given away. After a crash a unit of such a one
    // may be older than what was cut off there, unless it is known to be on the disk.
    let is_gone = |topic: &str, id, offset, unit: Unit| {
        let trusted = || clean || known_end(topic, id).is_some_and(|end| offset < *end);
        let was_deleted = || deleted.has(topic, unit.physical_offset, i64::MIN);
        unit.physical_offset < min && trusted() && !was_deleted()
    };
    // A crash may bring the files of a deleted topic back.
    let stands = |topic: &str, id, offset, unit: Unit| {
        let stands = recover::stands(segments, topic, id, offset, unit)
            .is_some_and(|named| !deleted.has(topic, unit.physical_offset, named.store_timestamp));
        stands || is_gone(topic, id, offset, unit)
    };
    let queue_bytes = config.mapped_file_size_consume_queue.max(1) as usize;
    let mapped = config.consume_queue_files_mapped_max.max(1) as usize;
    let (dir, ext) = (layout::consume_queue_dir(&root), ext_files(config, &root));
    // What is read of the log after a crash is dispatched again anyway. Units are kept all the
    // same, for they know the places of records whose own are damaged; but not without what stands
    // beside them, which may not have come to the disk.
    let end = if clean || ext.is_none() { found.end } else { found.from };
    let unsure_from = if clean { i64::MAX } else { found.from };
    let view = LogView { min, end, unsure_from, stands: &stands };
    let (queues, mut damaged_from) = QueueTable::load(&dir, queue_bytes, mapped, ext, &view)?;
    if segments.is_empty() {
        queues.destroy_all()?;
    }
    // After a stop in order they still tell what is missing, should this start be interrupted.
    let queue_end = |topic: &str, id| match clean {
        true => i64::MAX,
        false => queues.get(topic, id).map_or(0, |queue| queue.max_offset()),
    };
    ends.cut(found.end, queue_end);
    let (slots, entries) = (config.max_hash_slot_num, config.max_index_num);
    let mut index = Index::load(&layout::index_dir(&root), slots, entries)?;
    index.cut(found.end);
    let again = ends.ends().index_again_from.unwrap_or(i64::MAX);
    let known = ends.ends().clone();
    let before = |from| ends.index_again(again.min(from));
    let index_from = again.min(index.mend(&known.index, &view, clean, before)?);
    if clean {
        damaged_from = damaged_from.min(queues.lacks_from(&known, &view));
    }
    damaged_from = damaged_from.min(index_from);
    let from = recover::dispatch_from(found, clean, queues.max_physical(), min).min(damaged_from);
    let index_unsure = !clean || index_from < i64::MAX;
    let begin = Begin { from, end: found.end, index_unsure };
    Ok(Loaded { queues: Arc::new(queues), index: Arc::new(index), begin })
}

/// How much of the log ahead of the writer is kept in memory: with `warmMapedFileEnable` all of the
/// file being written.
fn warm_ahead(config: &StoreConfig) -> i64 {
    let file = if config.warm_maped_file_enable { config.mapped_file_size_commit_log } else { 0 };
    config.commit_log_warm_ahead_bytes.max(file).into()
}

fn load_log(config: &StoreConfig) -> Result<Segments> {
    let dirs = config.writable_commit_log_dirs();
    if dirs.is_empty() {
        let why = "storePathCommitLog names no directory that may be written";
        return Err(Error::Config(why.to_owned()));
    }
    Segments::load_spread(dirs, config.read_only_commit_log_dirs(), file_bytes(config)?)
}

fn ext_files(config: &StoreConfig, root: &Path) -> Option<ExtFiles> {
    config.enable_consume_queue_ext.then(|| ExtFiles {
        dir: layout::consume_queue_ext_dir(root),
        file_bytes: config.mapped_file_size_consume_queue_ext.max(1) as usize,
    })
}

fn file_bytes(config: &StoreConfig) -> Result<usize> {
    let bytes = config.mapped_file_size_commit_log;
    if bytes < mapped::PAGE_BYTES as i32 {
        return Err(Error::Config(format!(
            "mappedFileSizeCommitLog = {bytes}: at least {} bytes",
            mapped::PAGE_BYTES
        )));
    }
    Ok(bytes as usize)
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
