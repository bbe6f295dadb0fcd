//! All consume queues, by topic and queue id.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use super::consume_queue::{Queue, UNIT_BYTES, Unit};
use super::consume_queue_ext::{Ext, ExtUnit};
use super::ends::Ends;
use super::handed::Handed;
use super::queue_files::{Maps, QueueFiles, remove_segments};
use super::queue_scan::{self, Found, LogView};
use crate::base::error::IoContext;
use crate::base::limits::{QUEUE_FILES_KEPT_MAX, QUEUES_AT_HAND_MAX, TOPIC_DIR_BYTES_MAX};
use crate::base::{Error, HotMap, Result};
use crate::message::topic;
use crate::sys::{self, vector};

/// The queues of one topic in the order of their ids.
type Topics = HotMap<Arc<str>, Vec<Arc<Queue>>>;

/// From so many queues with new units on, all of the file system is flushed at once.
const FLUSH_ALL_FROM: usize = 512;

/// Where what stands beside the queues is, below `dir` as the queues are, and the length of each
/// file.
pub struct ExtFiles {
    pub dir: PathBuf,
    pub file_bytes: usize,
}

/// Queues of one topic, kept by whoever sends to it often: they need no look-up in the table.
pub struct QueuesAtHand {
    count: usize,
    queues: OnceLock<Box<[OnceLock<Arc<Queue>>]>>,
}

impl QueuesAtHand {
    /// Of a topic with so many queues; none is at hand yet.
    pub fn new(count: usize) -> QueuesAtHand {
        QueuesAtHand { count: count.min(QUEUES_AT_HAND_MAX), queues: OnceLock::new() }
    }

    /// The queue, unless its topic was deleted since.
    pub(super) fn get(&self, queue_id: i32) -> Option<&Arc<Queue>> {
        let queue = self.any(queue_id)?;
        (!queue.is_deleted()).then_some(queue)
    }

    fn any(&self, queue_id: i32) -> Option<&Arc<Queue>> {
        self.queues.get()?.get(usize::try_from(queue_id).ok()?)?.get()
    }

    /// Has the processor load where the queue is noted.
    pub fn prefetch_place(&self, queue_id: i32) {
        let place = self.queues.get().and_then(|all| all.get(usize::try_from(queue_id).ok()?));
        place.into_iter().for_each(|place| vector::prefetch(std::ptr::from_ref(place).addr()));
    }

    /// Has the processor load the queue, which is not looked at.
    pub fn prefetch(&self, queue_id: i32) {
        self.any(queue_id).map(Arc::as_ptr).into_iter().for_each(vector::prefetch_all);
    }

    /// The same, and what a read near its end will need.
    pub fn prefetch_units(&self, queue_id: i32) {
        self.prefetch(queue_id);
        self.any(queue_id).into_iter().for_each(|queue| queue.prefetch());
    }

    pub(super) fn keep(&self, queue: &Arc<Queue>) {
        let all = self.queues.get_or_init(|| vec![OnceLock::new(); self.count].into());
        if let Some(place) = usize::try_from(queue.queue_id()).ok().and_then(|id| all.get(id)) {
            // Of a deleted topic, whose name has another one now: each is looked up then.
            let _ = place.set(queue.clone());
        }
    }
}

/// topic → queue id → queue. A look-up takes a shared lock and allocates nothing.
pub struct QueueTable {
    dir: PathBuf,
    file_bytes: usize,
    ext: Option<ExtFiles>,
    maps: Arc<Maps>,
    topics: RwLock<Topics>,
    /// Held while a topic's files are deleted, and to add a queue: the files of a new queue are
    /// those of a deleted one, by name. Taken before `topics`.
    deleting: Mutex<()>,
    /// A topic was deleted.
    forgotten: AtomicBool,
    /// From puts to dispatch.
    pub(super) handed: Handed,
    /// Queues with units that may not be on disk yet, each once.
    dirty: Mutex<Vec<Arc<Queue>>>,
}

/// So few queues are looked at by one thread.
const LOAD_ALONE_MAX: usize = 64;

/// What looking at some queues has shown.
struct Looked {
    /// Physical offset from which the log must be dispatched again.
    from: i64,
    /// Files to sync.
    cleared: Vec<PathBuf>,
}

impl QueueTable {
    /// The queues found below `dir` as `<topic>/<queueId>/`, as far as the log has their messages.
    /// `file_bytes` is the length of each file, rounded up to whole units; at most `mapped` are
    /// mapped. Also says from which physical offset on the log must be dispatched again for queues
    /// that were damaged.
    pub fn load(
        dir: &Path,
        file_bytes: usize,
        mapped: usize,
        ext: Option<ExtFiles>,
        log: &LogView<'_>,
    ) -> Result<(QueueTable, i64)> {
        let table = QueueTable {
            dir: dir.to_path_buf(),
            ext,
            file_bytes: file_bytes.max(1).next_multiple_of(UNIT_BYTES),
            maps: Maps::new(mapped_max(mapped), QUEUE_FILES_KEPT_MAX),
            topics: RwLock::default(),
            deleting: Mutex::default(),
            forgotten: AtomicBool::new(false),
            handed: Handed::default(),
            dirty: Mutex::default(),
        };
        let mut places = Vec::new();
        for topic in sub_directories(dir)? {
            for id in sub_directories(&dir.join(&topic))? {
                match id.parse::<i32>() {
                    Ok(queue_id) if queue_id.to_string() == id => {
                        places.push((topic.clone(), queue_id));
                    }
                    _ => continue,
                }
            }
        }
        let looked = match places.len() {
            ..=LOAD_ALONE_MAX => table.load_some(&places, log)?,
            _ => table.load_by_all(&places, log)?,
        };
        table.sync_cleared(&looked.cleared)?;
        Ok((table, looked.from))
    }

    /// One thread a processor looks at a part each.
    fn load_by_all(&self, places: &[(String, i32)], log: &LogView<'_>) -> Result<Looked> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = places.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let work = |places| scope.spawn(move || self.load_some(places, log));
            let workers: Vec<_> = places.chunks(share).map(work).collect();
            let mut all = Looked { from: i64::MAX, cleared: Vec::new() };
            for worker in workers {
                let joined = worker.join();
                let some = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                all.from = all.from.min(some.from);
                all.cleared.extend(some.cleared);
            }
            Ok(all)
        })
    }

    fn load_some(&self, places: &[(String, i32)], log: &LogView<'_>) -> Result<Looked> {
        let mut looked = Looked { from: i64::MAX, cleared: Vec::new() };
        for (topic, queue_id) in places {
            let dir = self.queue_dir(topic, *queue_id);
            let found = queue_scan::find(&dir, self.file_bytes, topic, *queue_id, log)?;
            if let Some(why) = &found.broken {
                let begin = found.max_physical.max(log.min);
                log::warn!(target: "store", "{why}: {topic}@{queue_id} kept up to message {}, \
                    dispatched again from {begin}, {} bytes of the log",
                    found.end / UNIT_BYTES as i64, (log.end - begin).max(0));
                looked.from = looked.from.min(begin);
            }
            let ext = self.ext_of(topic, *queue_id)?;
            let queue = self.insert(topic, *queue_id, &found, ext);
            queue.recover_ext()?;
            if found.flushed < found.end {
                self.to_flush(&queue);
            }
            looked.cleared.extend(found.cleared);
        }
        Ok(looked)
    }

    /// Syncs each file, or the whole file system when there are very many.
    fn sync_cleared(&self, files: &[PathBuf]) -> Result<()> {
        if files.len() >= FLUSH_ALL_FROM {
            return self.sync_all();
        }
        files.iter().try_for_each(|path| {
            sys::file::open(path, OpenOptions::new().write(true))
                .and_then(|file| sys::file::sync_data(&file, path))
                .what(|| format!("sync {}", path.display()))
        })
    }

    fn sync_all(&self) -> Result<()> {
        sys::file::sync_all_of(&self.dir)
            .what(|| format!("flush the disk of {}", self.dir.display()))
    }

    fn queue_dir(&self, topic: &str, queue_id: i32) -> PathBuf {
        self.dir.join(topic).join(queue_id.to_string())
    }

    /// The queue, when there is one.
    pub fn get(&self, topic: &str, queue_id: i32) -> Option<Arc<Queue>> {
        let topics = self.read();
        let queues = topics.get(topic)?;
        Some(queues[place(queues, queue_id).ok()?].clone())
    }

    /// The queues of some messages by topic and number, where there are such. Step by step for all
    /// of them, so that the processor loads what one needs while it works on others.
    pub fn get_all(&self, places: &[(&str, i32)]) -> Vec<Option<Arc<Queue>>> {
        let topics = self.read();
        let of_topic = |(topic, id): &(&str, i32)| {
            let queues = topics.get(*topic)?;
            vector::prefetch(queues.as_ptr().addr() + *id as usize * size_of::<Arc<Queue>>());
            Some((queues, *id))
        };
        let found: Vec<_> = places.iter().map(of_topic).collect();
        for (queues, id) in found.iter().flatten() {
            if let Some(queue) = queues.get(*id as usize) {
                vector::prefetch_all(Arc::as_ptr(queue));
            }
        }
        let found = found.into_iter().map(|found| {
            let (queues, id) = found?;
            let queue: &Arc<Queue> = &queues[place(queues, id).ok()?];
            queue.prefetch();
            Some(queue)
        });
        // Counting a reference makes the processor wait for all it has under way: not before.
        let found: Vec<_> = found.collect();
        found.into_iter().map(Option::<&Arc<Queue>>::cloned).collect()
    }

    /// The queue, made in memory when there is none; its files come with its first message.
    /// Fails only for a topic that cannot be a directory's name.
    pub fn get_or_create(&self, topic: &str, queue_id: i32) -> Result<Arc<Queue>> {
        if let Some(queue) = self.get(topic, queue_id) {
            return Ok(queue);
        }
        if !is_file_name(topic) {
            return Err(Error::Corrupt(format!("topic {topic:?} cannot name a directory")));
        }
        let _none_deleting = self.deleting();
        let ext = self.ext_of(topic, queue_id)?;
        Ok(self.insert(topic, queue_id, &Found::default(), ext))
    }

    fn ext_of(&self, topic: &str, queue_id: i32) -> Result<Option<Ext>> {
        let load = |of: &ExtFiles| {
            Ext::load(&of.dir.join(topic).join(queue_id.to_string()), of.file_bytes)
        };
        self.ext.as_ref().map(load).transpose()
    }

    fn insert(&self, topic: &str, queue_id: i32, found: &Found, ext: Option<Ext>) -> Arc<Queue> {
        let (dir, size) = (self.queue_dir(topic, queue_id), self.file_bytes);
        let files = QueueFiles::new(dir, size, self.maps.clone(), &found.starts, found.end);
        let mut topics = self.write();
        let name = match topics.get_key_value(topic) {
            Some((name, _)) => name.clone(),
            None => Arc::from(topic),
        };
        let queues = topics.entry(name.clone()).or_default();
        match place(queues, queue_id) {
            Ok(index) => queues[index].clone(),
            Err(index) => {
                let queue = Arc::new(Queue::new(name, queue_id, files, found, ext));
                queues.insert(index, queue.clone());
                queue
            }
        }
    }

    /// Ids of the topic's queues, ascending.
    pub fn queues_of(&self, topic: &str) -> Vec<i32> {
        let topics = self.read();
        topics.get(topic).map_or(Vec::new(), |queues| queues.iter().map(|q| q.queue_id()).collect())
    }

    /// Names of the topics that have queues.
    pub fn topics(&self) -> Vec<Arc<str>> {
        self.read().keys().cloned().collect()
    }

    /// How many light queues there are.
    pub fn light_queues(&self) -> usize {
        self.read().keys().filter(|topic| topic::is_lmq(topic)).count()
    }

    /// All queues.
    pub fn all(&self) -> Vec<Arc<Queue>> {
        self.read().values().flatten().cloned().collect()
    }

    /// Appends to a queue and remembers that it is to be flushed; see `Queue::append`.
    pub fn append(
        &self,
        queue: &Arc<Queue>,
        offset: i64,
        unit: Unit,
        ext: Option<&ExtUnit<'_>>,
    ) -> Result<bool> {
        let added = queue.append(offset, unit, ext)?;
        if added {
            self.to_flush(queue);
        }
        Ok(added)
    }

    /// Remembers that the queue has new units.
    pub fn to_flush(&self, queue: &Arc<Queue>) {
        if !queue.dirty.swap(true, AcqRel) {
            self.dirty().push(queue.clone());
        }
    }

    /// Writes to their files the units that wait for that.
    pub fn write_out(&self) -> Result<()> {
        let queues = self.dirty().clone();
        let mut result = Ok(());
        for queue in &queues {
            result = result.and(queue.write_out());
        }
        result
    }

    /// Writes to disk the queues that have at least `least_pages` new pages (0: any new unit).
    pub fn flush(&self, least_pages: i64) -> Result<()> {
        let queues = std::mem::take(&mut *self.dirty());
        let mut later = Vec::new();
        let mut result = Ok(());
        if least_pages == 0 && queues.len() >= FLUSH_ALL_FROM {
            let ends: Vec<i64> = queues.iter().map(|queue| queue.end_and_names()).collect();
            result = self.sync_all();
            for (queue, end) in queues.iter().zip(ends) {
                match result {
                    Ok(()) => queue.set_flushed(end),
                    Err(_) => queue.names_may_be_new(),
                }
            }
        }
        for queue in queues {
            queue.dirty.store(false, Release);
            let clean = if queue.is_deleted() { Ok(true) } else { queue.flush(least_pages) };
            if !matches!(clean, Ok(true)) && !queue.dirty.swap(true, AcqRel) {
                later.push(queue);
            }
            if let Err(e) = clean {
                result = Err(e);
            }
        }
        self.dirty().append(&mut later);
        result
    }

    /// Deletes the topic's queues, in memory and on disk; readers keep what they hold. When the
    /// disk refuses, they are gone from memory all the same, and the next call deletes what is
    /// left.
    pub fn delete_topic(&self, topic: &str) -> Result<()> {
        if !is_file_name(topic) {
            return Ok(());
        }
        let _deleting = self.deleting();
        if let Some(queues) = self.write().remove(topic) {
            self.forgotten.store(true, Release);
            // All of them, or dispatch could append to one that nobody finds any more.
            let mut result = Ok(());
            for queue in &queues {
                result = result.and(queue.destroy());
            }
            result?;
        }
        let beside = self.ext.as_ref().map(|ext| ext.dir.join(topic));
        [Some(self.dir.join(topic)), beside].iter().flatten().try_for_each(|dir| {
            for id in sub_directories(dir)?.iter().filter(|id| id.parse::<i32>().is_ok()) {
                let dir = dir.join(id);
                remove_segments(&dir)?;
                remove_dir(&dir)?;
            }
            remove_dir(dir)
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Topics> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn deleting(&self) -> MutexGuard<'_, ()> {
        self.deleting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dirty(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the start and the flush thread do.
impl QueueTable {
    /// Offset after the last unit on disk, of every queue that has one.
    pub fn ends(&self) -> BTreeMap<String, BTreeMap<i32, i64>> {
        let topics = self.read();
        let ends = topics.iter().map(|(topic, queues)| {
            let ends = queues.iter().map(|queue| (queue.queue_id(), queue.flushed_offset()));
            (topic.to_string(), ends.filter(|(_, end)| *end > 0).collect())
        });
        ends.filter(|(_, queues): &(_, BTreeMap<_, _>)| !queues.is_empty()).collect()
    }

    /// The lowest physical offset from which on a queue lacks units that were on disk; the highest
    /// number when none does.
    pub fn lacks_from(&self, known: &Ends, log: &LogView<'_>) -> i64 {
        let mut from = i64::MAX;
        let all = known.queues.iter().flat_map(|(topic, queues)| {
            queues.iter().map(move |(id, end)| (topic.as_str(), *id, *end))
        });
        for (topic, id, end) in all {
            let queue = self.get(topic, id);
            let has = queue.as_ref().map_or(0, |queue| queue.max_offset());
            let begin = queue.map_or(0, |queue| queue.max_physical()).max(log.min);
            if has < end && begin < log.end {
                let cost = log.end - begin;
                log::warn!(target: "store", "{topic}@{id}: {} messages are missing from {has} on, \
                    dispatched again from {begin}, {cost} bytes of the log", end - has);
                from = from.min(begin);
            }
        }
        from
    }

    /// Whether a topic was deleted since the last call.
    pub fn has_forgotten(&self) -> bool {
        self.forgotten.swap(false, AcqRel)
    }

    /// Deletes every queue: the log they point into is not there.
    pub fn destroy_all(&self) -> Result<()> {
        self.topics().iter().try_for_each(|topic| self.delete_topic(topic))
    }

    /// The highest physical offset that any queue knows: where dispatch goes on.
    pub fn max_physical(&self) -> i64 {
        self.all().iter().map(|queue| queue.max_physical()).max().unwrap_or(0)
    }

    /// Unmaps the files that nobody used since the last call.
    pub fn close_idle(&self) {
        self.maps.close_idle();
    }

    /// How many files are mapped.
    pub fn mapped(&self) -> usize {
        self.maps.mapped()
    }
}

/// Has the processor load what an append to each of these will need: step by step for all of them.
pub(super) fn prefetch<'a>(queues: impl Iterator<Item = &'a Arc<Queue>> + Clone) {
    queues.clone().for_each(|queue| vector::prefetch_all(Arc::as_ptr(queue)));
    queues.for_each(|queue| queue.prefetch());
}

/// How many files may be mapped of those that the configuration allows.
fn mapped_max(allowed: usize) -> usize {
    sys::host::maps_max().map_or(allowed, |system| allowed.min(system / 2))
}

/// Where a queue is among those of its topic, or would be: at its own number when none is missing.
fn place(queues: &[Arc<Queue>], queue_id: i32) -> std::result::Result<usize, usize> {
    let number = queue_id as usize;
    match queues.get(number) {
        Some(queue) if queue.queue_id() == queue_id => Ok(number),
        _ => queues.binary_search_by_key(&queue_id, |queue| queue.queue_id()),
    }
}

/// Whether the name is one path component and no longer than a file name may be.
fn is_file_name(name: &str) -> bool {
    let plain = !name.is_empty() && name != "." && name != "..";
    plain && name.len() <= TOPIC_DIR_BYTES_MAX && !name.bytes().any(|b| b == b'/' || b == 0)
}

/// What somebody else put there stays.
fn remove_dir(dir: &Path) -> Result<()> {
    sys::file::remove_dir_if_empty(dir).what(|| format!("remove {}", dir.display()))
}

/// Names of the directories in `dir`; none when it does not exist.
fn sub_directories(dir: &Path) -> Result<Vec<String>> {
    let what = || format!("read directory {}", dir.display());
    let mut names = Vec::new();
    for entry in sys::file::entries(dir).what(what)? {
        if entry.file_type().what(what)?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}
