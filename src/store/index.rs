//! Index files: from a message key to the physical offsets of records that carry it.
//!
//! A file is a header of 40 bytes, `slots` × i32 and entries of 20 bytes, all big-endian. The
//! hash of `topic#key` picks a slot, the slot names the newest entry, each entry the one before.
//! Only dispatch writes. Queries run beside it: an entry never changes once `next` has passed it,
//! and a slot names it only after that.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use memmap2::Advice;

use super::mapped::MappedFile;
use super::queue_scan::LogView;
use crate::base::Result;
use crate::base::clock;
use crate::base::error::IoContext;
use crate::message::topic::{java_hash, java_hash_on};
use crate::sys::{self, vector};

/// Digits of a file's name.
const NAME_DIGITS: usize = 17;
pub(super) const HEADER_BYTES: usize = 40;
pub(super) const SLOT_BYTES: usize = 4;
pub(super) const ENTRY_BYTES: usize = 20;
/// How many entries of a chain are looked at for one that may be there already.
const AGAIN_STEPS_MAX: usize = 1000;

/// What an index entry is made of.
#[derive(Clone, Copy, Debug)]
pub struct Keyed<'a> {
    pub topic: &'a str,
    /// Hash of property UNIQ_KEY, by `Index::expect`.
    pub unique: Option<i32>,
    /// Property KEYS: keys separated by spaces.
    pub keys: Option<&'a str>,
    pub physical_offset: i64,
    pub store_timestamp: i64,
}

impl Keyed<'_> {
    /// Hashes of all keys.
    fn each(&self) -> impl Iterator<Item = i32> {
        let keys = self.keys.into_iter().flat_map(|keys| keys.split(' '));
        let keys = keys.filter(|key| !key.is_empty()).map(|key| key_hash(self.topic, key));
        self.unique.into_iter().chain(keys)
    }
}

/// What a query found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Physical offsets, ascending. Hash collisions are among them.
    pub offsets: Vec<i64>,
    /// Store time of the last message indexed at all; 0 without index files.
    pub last_timestamp: i64,
    /// Its physical offset.
    pub last_physical: i64,
}

/// All index files, oldest first.
pub struct Index {
    dir: PathBuf,
    slots: i32,
    /// Entries of a file, the unused entry 0 included.
    capacity: i32,
    files: RwLock<Vec<Arc<IndexFile>>>,
    /// Where in memory the slots of the last one are, or were.
    newest_slots: AtomicUsize,
    /// Files that are full but not on disk yet, each with the store time up to which the index is
    /// on disk with it.
    full: Mutex<Vec<(Arc<IndexFile>, i64)>>,
    /// Files from before the start but the last: of a run that a crash ended they may not be on
    /// disk either, nor complete, until the last one, which gets what they lack, is full.
    old: Mutex<Vec<Arc<IndexFile>>>,
    /// Where the entries of the next record that recovery meets again should be, once one was met.
    again: Mutex<Option<Place>>,
    /// Files that cannot be used.
    unusable: Vec<PathBuf>,
}

/// An entry: its file and its number there.
type Place = (Arc<IndexFile>, i32);

impl Index {
    /// The files in `dir` that have the length for `slots` and `capacity`; see `mend` for others.
    /// An index is derived data and never stops a start.
    pub fn load(dir: &Path, slots: i32, capacity: i32) -> Result<Index> {
        let mut index = Index {
            dir: dir.to_path_buf(),
            slots: slots.max(1),
            capacity: capacity.max(2),
            files: RwLock::default(),
            newest_slots: AtomicUsize::new(0),
            full: Mutex::default(),
            old: Mutex::default(),
            again: Mutex::default(),
            unusable: Vec::new(),
        };
        let mut files = Vec::new();
        for path in names(dir)? {
            match IndexFile::open(&path, index.slots, index.capacity) {
                Ok(file) => files.push(Arc::new(file)),
                Err(e) => {
                    log::warn!(target: "store", "index file not used: {e}");
                    index.unusable.push(path);
                }
            }
        }
        index.old = Mutex::new(files[..files.len().saturating_sub(1)].to_vec());
        index.files = RwLock::new(files);
        Ok(index)
    }

    /// Deletes the first file that is damaged and those after it: one that has fewer entries than
    /// `known` says, or cannot be used, or has a header that cannot be. Returns the physical offset
    /// from which on messages must be indexed again, the highest number when there is no damage.
    /// `before` hears it before anything is deleted: should that be interrupted, nothing tells any
    /// more. After a crash an index may reach beyond the log.
    pub fn mend(
        &mut self,
        known: &BTreeMap<String, i32>,
        log: &LogView<'_>,
        clean: bool,
        before: impl FnOnce(i64) -> Result<()>,
    ) -> Result<i64> {
        let files = self.files();
        let found = files.iter().find(|file| !file.is_sound(known, log.end, clean));
        let bad = found.map(|file| file.file.path().to_owned());
        // One older than all others was deleted with the log that it knew, if any of that was.
        let oldest = files.first().map(|file| file.file.path().to_owned());
        let mut missing = known.keys().map(|name| self.dir.join(name));
        let missing =
            missing.find(|path| !path.is_file() && (log.min == 0 || Some(path) > oldest.as_ref()));
        // What a crash leaves of a file being made was never on disk: the next one has its entries.
        let was_on_disk = |name: &str| known.is_empty() || known.contains_key(name);
        let mut unusable = self.unusable.iter();
        let unusable = unusable.find(|path| index_name(path).is_some_and(was_on_disk)).cloned();
        let Some(first) = [bad, missing, unusable].into_iter().flatten().min() else {
            return Ok(i64::MAX);
        };
        let (kept, gone): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.file.path() < &*first);
        let last = kept.last().map_or(0, |file| file.end_physical.load(Relaxed));
        // Recovery from a crash adds older records that a file lacks to the last one.
        let from = gone.iter().fold(last, |from, file| from.min(file.lowest_physical()));
        let from = from.max(log.min);
        log::warn!(target: "store", "{}: damaged, messages are indexed again from {from}, {} bytes \
            of the log", first.display(), log.end - from);
        before(from)?;
        let names = names(&self.dir)?;
        for path in names.iter().filter(|path| **path >= first && index_name(path).is_some()) {
            sys::file::remove(path).what(|| format!("remove {}", path.display()))?;
        }
        self.old = Mutex::new(kept[..kept.len().saturating_sub(1)].to_vec());
        self.files = RwLock::new(kept);
        Ok(from)
    }

    /// The log ends here: of records from here on, which a crash took, the index knows none.
    pub fn cut(&self, log_end: i64) {
        for file in self.files() {
            file.end_physical.fetch_min(log_end, Relaxed);
        }
    }

    /// Number of the next entry of each file that is on disk.
    pub fn flushed_ends(&self) -> BTreeMap<String, i32> {
        let files = self.files();
        let on_disk = |file: &&Arc<IndexFile>| file.flushed_next.load(Acquire) > 1;
        let ends = files.iter().filter(on_disk).filter_map(|file| {
            let name = file.file.path().file_name()?.to_str()?;
            Some((name.to_owned(), file.flushed_next.load(Acquire)))
        });
        ends.collect()
    }

    /// The hash of a key that will be put soon. Has the processor load its slot, which is in no
    /// cache most often.
    pub fn expect(&self, topic: &str, key: &str) -> i32 {
        let hash = key_hash(topic, key);
        vector::prefetch(self.newest_slots.load(Relaxed) + slot_of(hash, self.slots));
        hash
    }

    /// Adds the message's keys unless this part of the log is indexed already. On an error (no
    /// file, disk full) some keys may be in: the call can be repeated.
    pub fn put(&self, message: &Keyed<'_>) -> Result<()> {
        let mut last = self.last();
        let known = last.as_ref().map_or(i64::MIN, |file| file.end_physical.load(Relaxed));
        match message.physical_offset.cmp(&known) {
            Less => Ok(()),
            // A start meets the last message again, and must not write before `abort` is there.
            Equal => {
                let absent = absent(&self.read(), message, &[]);
                self.put_all(absent, &mut last, message)
            }
            Greater => self.put_all(message.each(), &mut last, message),
        }
    }

    /// Adds the message's keys that are not there: for records met again in recovery, in the order
    /// of the log. Entries are in that order too, but for those that an earlier recovery added: of
    /// a key that very many messages share such a one may come to be there twice, which queries
    /// allow for.
    pub fn put_missing(&self, message: &Keyed<'_>) -> Result<()> {
        let files = self.read();
        let there = self.hashes_next(&files, message.physical_offset);
        let absent = absent(&files, message, &there);
        drop(files);
        match absent.is_empty() {
            true => Ok(()),
            false => self.put_all(absent, &mut self.last(), message),
        }
    }

    /// The hashes of the entries of a record, where they are if all are in the order of the log.
    fn hashes_next(&self, files: &[Arc<IndexFile>], physical_offset: i64) -> Vec<i32> {
        let mut again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = again.take().or_else(|| {
            let begins =
                |file: &&Arc<IndexFile>| file.begin_physical.load(Relaxed) <= physical_offset;
            let file = files.iter().rev().find(begins).or(files.first())?;
            Some((file.clone(), file.chained_from(file.first_from(physical_offset))))
        });
        let mut hashes = Vec::new();
        while let Some((file, number)) = &mut place {
            if file.valid(*number).is_none() {
                // Goes on at the end of the last one, where entries may come.
                let at = files.iter().position(|other| Arc::ptr_eq(other, file));
                let Some(next) = at.and_then(|at| files.get(at + 1)) else { break };
                place = Some((next.clone(), next.chained_from(1)));
                continue;
            }
            let entry = file.entry(*number);
            match entry.physical_offset.cmp(&physical_offset) {
                // The next record's come behind these; this one may be met once more.
                Equal => hashes.push(entry.hash),
                Greater => break,
                Less => {}
            }
            *number += 1;
        }
        *again = place;
        hashes
    }

    fn put_all(
        &self,
        hashes: impl IntoIterator<Item = i32>,
        last: &mut Option<Arc<IndexFile>>,
        message: &Keyed<'_>,
    ) -> Result<()> {
        hashes.into_iter().try_for_each(|hash| self.put_key(last, message, hash))
    }

    /// `last` is the last file, here moved on to a new one when it is full.
    fn put_key(
        &self,
        last: &mut Option<Arc<IndexFile>>,
        message: &Keyed<'_>,
        hash: i32,
    ) -> Result<()> {
        let file = match last {
            Some(file) if !file.is_full() => file,
            _ => last.insert(self.roll(message.store_timestamp)?),
        };
        self.newest_slots.store(file.file.address(HEADER_BYTES), Relaxed);
        file.put(hash, message.physical_offset, message.store_timestamp)
    }

    /// Adds a file that continues the last one, which goes to the list of files to flush. It begins
    /// with a message of time `begin`; those of the log before it are in the files so far. Their
    /// own times would say more than that: in recovery the next file gets what they have lost.
    fn roll(&self, begin: i64) -> Result<Arc<IndexFile>> {
        let last = self.last();
        sys::file::make_dirs(&self.dir).what(|| format!("create {}", self.dir.display()))?;
        // Names sort by age, even when the clock was set back.
        let taken = last.as_ref().and_then(|file| file.file.path().file_name()?.to_str());
        let after = taken
            .and_then(|name| name.parse::<u64>().ok())
            .map_or(0, |name| name.saturating_add(1));
        // One that cannot be used may have the name, as a crash left it.
        let mut name = file_name(clock::now_ms()).max(after);
        let path = |name| self.dir.join(format!("{name:017}"));
        while path(name).exists() {
            name += 1;
        }
        let file = IndexFile::create(&path(name), self.slots, self.capacity, last.as_deref())?;
        let file = Arc::new(file);
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.extend(last.map(|last| (last, begin - 1)));
        drop(full);
        self.files.write().unwrap_or_else(PoisonError::into_inner).push(file.clone());
        Ok(file)
    }

    /// Physical offsets of messages with this key stored from `begin` to `end` (ms), at most
    /// `max`, the newest ones.
    pub fn query(&self, topic: &str, key: &str, max: usize, begin: i64, end: i64) -> Hits {
        let hash = key_hash(topic, key);
        let files = self.files();
        let mut hits = Hits::default();
        if let Some(last) = files.last() {
            hits.last_timestamp = last.end_timestamp.load(Relaxed);
            hits.last_physical = last.end_physical.load(Relaxed);
        }
        for file in files.iter().rev() {
            file.collect(hash, begin, end, max, &mut hits.offsets);
            if hits.offsets.len() >= max || file.begin_timestamp.load(Relaxed) < begin {
                break;
            }
        }
        hits.offsets.sort_unstable();
        hits
    }

    /// Writes full files to disk; the store time up to which the index is on disk then, when
    /// that moved.
    pub fn flush_full(&self) -> Result<Option<i64>> {
        let old = std::mem::take(&mut *self.old.lock().unwrap_or_else(PoisonError::into_inner));
        self.flush_all(&old)?;
        let full = std::mem::take(&mut *self.full.lock().unwrap_or_else(PoisonError::into_inner));
        let (full, reached): (Vec<_>, Vec<_>) = full.into_iter().unzip();
        self.flush_all(&full)?;
        Ok(reached.last().copied())
    }

    /// Writes all files to disk, for the end.
    pub fn flush(&self) -> Result<()> {
        self.flush_all(&self.files())
    }

    fn flush_all(&self, files: &[Arc<IndexFile>]) -> Result<()> {
        for file in files {
            let next = file.next.load(Acquire);
            file.file
                .flush(0, file.file.size())
                .what(|| format!("flush {}", file.file.path().display()))?;
            file.flushed_next.store(next, Release);
        }
        if !files.is_empty() {
            // Their names, and that of the directory.
            for dir in self.dir.ancestors().take(2) {
                sys::file::sync_dir(dir).what(|| format!("sync directory {}", dir.display()))?;
            }
        }
        Ok(())
    }

    /// Deletes the oldest files, never the last, that only know records below `min_physical`, and
    /// returns them open. One that the disk refuses to remove stays, for the next time.
    pub fn delete_expired(&self, min_physical: i64) -> Result<Vec<(Arc<MappedFile>, File)>> {
        let mut deleted = Vec::new();
        let files = self.files();
        let (_, older) = files.split_last().unzip();
        let expired = |file: &&Arc<IndexFile>| file.end_physical.load(Relaxed) < min_physical;
        for first in older.unwrap_or_default().iter().take_while(expired) {
            let path = first.file.path();
            let open = sys::file::open(path, OpenOptions::new().write(true));
            let handle = open.what(|| format!("open {}", path.display()))?;
            first.file.destroy()?;
            self.files.write().unwrap_or_else(PoisonError::into_inner).remove(0);
            deleted.push((first.file.clone(), handle));
        }
        Ok(deleted)
    }

    fn files(&self) -> Vec<Arc<IndexFile>> {
        self.read().clone()
    }

    fn last(&self) -> Option<Arc<IndexFile>> {
        self.read().last().cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<IndexFile>>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One file. The header's fields are kept here and stored into the map with each put.
struct IndexFile {
    file: Arc<MappedFile>,
    slots: i32,
    capacity: i32,
    begin_timestamp: AtomicI64,
    end_timestamp: AtomicI64,
    begin_physical: AtomicI64,
    end_physical: AtomicI64,
    slots_used: AtomicI32,
    /// Number of the entry to write next.
    next: AtomicI32,
    /// What it was when all of the file was last written to disk.
    flushed_next: AtomicI32,
}

struct Entry {
    hash: i32,
    physical_offset: i64,
    /// Seconds after the file's begin.
    seconds: i32,
    previous: i32,
}

impl IndexFile {
    fn create(path: &Path, slots: i32, capacity: i32, last: Option<&IndexFile>) -> Result<Self> {
        let file = Arc::new(MappedFile::create(path, 0, file_bytes(slots, capacity))?);
        if let Err(e) = reserve_slots(&file, slots) {
            file.destroy()?;
            return Err(e);
        }
        // Dense, so in folios of 2 MiB, and without the megabytes that the kernel may read ahead.
        let _ = [Advice::Random, Advice::HugePage].map(|advice| file.advise(advice));
        let end = |field: fn(&IndexFile) -> &AtomicI64| last.map_or(0, |l| field(l).load(Relaxed));
        let (timestamp, physical) = (end(|f| &f.end_timestamp), end(|f| &f.end_physical));
        Ok(IndexFile {
            file,
            slots,
            capacity,
            begin_timestamp: AtomicI64::new(timestamp),
            end_timestamp: AtomicI64::new(timestamp),
            begin_physical: AtomicI64::new(physical),
            end_physical: AtomicI64::new(physical),
            slots_used: AtomicI32::new(0),
            next: AtomicI32::new(1),
            flushed_next: AtomicI32::new(1),
        })
    }

    fn open(path: &Path, slots: i32, capacity: i32) -> Result<IndexFile> {
        let file = Arc::new(MappedFile::open(path, 0, file_bytes(slots, capacity))?);
        reserve_slots(&file, slots)?;
        let mut header = [0; HEADER_BYTES];
        file.read_at(0, &mut header);
        Ok(IndexFile {
            file,
            slots,
            capacity,
            begin_timestamp: AtomicI64::new(long(&header, 0)),
            end_timestamp: AtomicI64::new(long(&header, 8)),
            begin_physical: AtomicI64::new(long(&header, 16)),
            end_physical: AtomicI64::new(long(&header, 24)),
            slots_used: AtomicI32::new(int(&header, 32)),
            next: AtomicI32::new(int(&header, 36).max(1)),
            flushed_next: AtomicI32::new(int(&header, 36).max(1)),
        })
    }

    /// Whether the header can be one. (Records that recovery found to be missing make the last one
    /// of a file older than the first, and than those of the file before.)
    fn is_sound(&self, known: &BTreeMap<String, i32>, log_end: i64, clean: bool) -> bool {
        let name = self.file.path().file_name().and_then(|name| name.to_str());
        let least = name.and_then(|name| known.get(name)).copied().unwrap_or(1);
        let next = self.next.load(Relaxed);
        let long = |field: &AtomicI64| field.load(Relaxed);
        let (begin, end) = (long(&self.begin_physical), long(&self.end_physical));
        (least..=self.capacity).contains(&next)
            && (0..next).contains(&self.slots_used.load(Relaxed))
            && (next == 1 || (begin >= 0 && (end < log_end || !clean)))
    }

    /// The lowest physical offset of its entries; those never written say nothing.
    fn lowest_physical(&self) -> i64 {
        let entries = (1..self.next.load(Relaxed).min(self.capacity)).filter_map(|number| {
            let mut entry = [0; ENTRY_BYTES];
            self.file.read_at(self.entry_at(number), &mut entry);
            (entry != [0; ENTRY_BYTES]).then(|| long(&entry, 4))
        });
        entries.min().unwrap_or(i64::MAX)
    }

    fn is_full(&self) -> bool {
        self.next.load(Relaxed) >= self.capacity
    }

    fn slot_at(&self, hash: i32) -> usize {
        HEADER_BYTES + slot_of(hash, self.slots)
    }

    fn entry_at(&self, number: i32) -> usize {
        HEADER_BYTES + self.slots as usize * SLOT_BYTES + number as usize * ENTRY_BYTES
    }

    fn entry(&self, number: i32) -> Entry {
        let mut bytes = [0; ENTRY_BYTES];
        self.file.read_at(self.entry_at(number), &mut bytes);
        Entry {
            hash: int(&bytes, 0),
            physical_offset: long(&bytes, 4),
            seconds: int(&bytes, 12),
            previous: int(&bytes, 16),
        }
    }

    /// The number of the first entry of a record at this offset or behind it, if all are in the
    /// order of the log.
    fn first_from(&self, physical_offset: i64) -> i32 {
        let (mut low, mut high) = (1, self.next.load(Acquire).min(self.capacity));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle).physical_offset < physical_offset {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// This number when the entries from it on are all found by their slots, or else, as a crash
    /// may have torn them from their slots, that of the next one to write.
    fn chained_from(&self, first: i32) -> i32 {
        let end = self.next.load(Acquire).min(self.capacity);
        let mut newest = vec![0; self.slots as usize];
        let slot = |entry: &Entry| (entry.hash.max(0) % self.slots) as usize;
        for number in first..end {
            let entry = self.entry(number);
            let before = std::mem::replace(&mut newest[slot(&entry)], number);
            if entry.hash < 0 || (before != 0 && before != entry.previous) {
                return end;
            }
        }
        let found = |number: i32| {
            let entry = self.entry(number);
            self.file.load_i32(self.slot_at(entry.hash)) == newest[slot(&entry)]
        };
        if (first..end).all(found) { first } else { end }
    }

    /// The entry that a slot or an entry names, when it can be one.
    fn valid(&self, number: i32) -> Option<i32> {
        let next = self.next.load(Acquire).min(self.capacity);
        Some(number).filter(|n| *n > 0 && *n < next)
    }

    fn put(&self, hash: i32, physical_offset: i64, store_timestamp: i64) -> Result<()> {
        let what = || format!("write {}", self.file.path().display());
        let number = self.next.load(Relaxed);
        let slot = self.slot_at(hash);
        let previous = self.valid(self.file.load_i32(slot)).unwrap_or(0);
        let begin = self.begin_timestamp.load(Relaxed);
        let seconds = if begin <= 0 { 0 } else { store_timestamp.saturating_sub(begin) / 1000 };
        let mut entry = [0; ENTRY_BYTES];
        entry[..4].copy_from_slice(&hash.to_be_bytes());
        entry[4..12].copy_from_slice(&physical_offset.to_be_bytes());
        let seconds = seconds.clamp(0, i64::from(i32::MAX)) as i32;
        entry[12..16].copy_from_slice(&seconds.to_be_bytes());
        entry[16..].copy_from_slice(&previous.to_be_bytes());
        self.file.write_at(self.entry_at(number), &entry).what(what)?;
        if number == 1 {
            // A new file has the end of the one before as its begin and end.
            self.begin_physical.store(physical_offset, Relaxed);
            self.begin_timestamp.store(store_timestamp, Relaxed);
            self.end_physical.store(physical_offset, Relaxed);
            self.end_timestamp.store(store_timestamp, Relaxed);
        }
        if previous == 0 {
            self.slots_used.fetch_add(1, Relaxed);
        }
        // What recovery adds may be older than what is there.
        self.end_physical.fetch_max(physical_offset, Relaxed);
        self.end_timestamp.fetch_max(store_timestamp, Relaxed);
        self.next.store(number + 1, Release);
        self.write_header().what(what)?;
        self.file.store_i32(slot, number);
        Ok(())
    }

    fn write_header(&self) -> std::io::Result<()> {
        let mut header = [0; HEADER_BYTES];
        let longs =
            [&self.begin_timestamp, &self.end_timestamp, &self.begin_physical, &self.end_physical];
        for (out, field) in header.chunks_exact_mut(8).zip(longs) {
            out.copy_from_slice(&field.load(Relaxed).to_be_bytes());
        }
        header[32..36].copy_from_slice(&self.slots_used.load(Relaxed).to_be_bytes());
        header[36..].copy_from_slice(&self.next.load(Relaxed).to_be_bytes());
        self.file.write_at(0, &header)
    }

    /// Entries of the hash's slot, newest first. Numbers fall, so that a damaged chain ends.
    fn chain(&self, hash: i32) -> impl Iterator<Item = Entry> + '_ {
        let mut number = self.valid(self.file.load_i32(self.slot_at(hash)));
        std::iter::from_fn(move || {
            let current = number?;
            let entry = self.entry(current);
            number = self.valid(entry.previous).filter(|previous| *previous < current);
            Some(entry)
        })
    }

    /// Appends the offsets of matching entries; entry times are known to the second only.
    fn collect(&self, hash: i32, begin: i64, end: i64, max: usize, offsets: &mut Vec<i64>) {
        let first = self.begin_timestamp.load(Relaxed);
        if first > end || self.end_timestamp.load(Relaxed) < begin {
            return;
        }
        for entry in self.chain(hash) {
            let time = first.saturating_add(i64::from(entry.seconds) * 1000);
            if offsets.len() >= max || time.saturating_add(999) < begin {
                break;
            }
            let physical = entry.physical_offset;
            if entry.hash == hash && time <= end && !offsets.contains(&physical) {
                offsets.push(physical);
            }
        }
    }
}

/// The hashes of a message's keys that no chain leads to; these are `there`.
fn absent(files: &[Arc<IndexFile>], message: &Keyed<'_>, there: &[i32]) -> Vec<i32> {
    let found = |hash: i32| {
        let entries = files.iter().rev().flat_map(|file| file.chain(hash));
        let mut entries = entries.take(AGAIN_STEPS_MAX);
        entries.any(|e| e.hash == hash && e.physical_offset == message.physical_offset)
    };
    message.each().filter(|hash| !there.contains(hash) && !found(*hash)).collect()
}

/// Where among the slots that of a hash is.
fn slot_of(hash: i32, slots: i32) -> usize {
    (hash % slots) as usize * SLOT_BYTES
}

/// The local time as a number of seventeen digits: `yyyyMMddHHmmssSSS`.
fn file_name(ms: i64) -> u64 {
    let t = clock::local_time(ms);
    let parts = [t.month, t.day, t.hour, t.minute, t.second];
    let seconds = parts.iter().fold(t.year as u64, |name, part| name * 100 + *part as u64);
    seconds * 1000 + t.millisecond as u64
}

/// Gives disk blocks to header and slots, which are read before they are written: on a full tmpfs
/// even reading where there is no block ends the process.
fn reserve_slots(file: &MappedFile, slots: i32) -> Result<()> {
    let end = HEADER_BYTES + slots as usize * SLOT_BYTES;
    file.reserve(end.min(file.size())).what(|| format!("reserve {}", file.path().display()))
}

pub(super) fn file_bytes(slots: i32, capacity: i32) -> usize {
    HEADER_BYTES + slots as usize * SLOT_BYTES + capacity as usize * ENTRY_BYTES
}

/// Java's `abs(("topic#key").hashCode())`, where the abs of the smallest integer is 0.
pub(super) fn key_hash(topic: &str, key: &str) -> i32 {
    let topic = java_hash_on(java_hash(topic), "#");
    java_hash_on(topic, key).checked_abs().unwrap_or(0)
}

/// `bytes` must reach 8 bytes beyond `at`.
pub(super) fn long(bytes: &[u8], at: usize) -> i64 {
    bytes[at..at + 8].try_into().map_or(0, i64::from_be_bytes)
}

/// `bytes` must reach 4 bytes beyond `at`.
pub(super) fn int(bytes: &[u8], at: usize) -> i32 {
    bytes[at..at + 4].try_into().map_or(0, i32::from_be_bytes)
}

/// The name of an index file; others are none of ours.
fn index_name(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let ours = name.len() == NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    ours.then_some(name)
}

/// Paths of the files in `dir`, sorted by name; none when it does not exist.
fn names(dir: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("read directory {}", dir.display());
    let mut paths = Vec::new();
    for entry in sys::file::entries(dir).what(what)? {
        if entry.file_type().what(what)?.is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

#[cfg(test)]
mod tests;
