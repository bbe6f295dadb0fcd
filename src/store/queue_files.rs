//! The files of one consume queue: known by name, mapped only while they are used.
//!
//! A broker has as many queues as its topics ask for, of which few are busy at a time. A file is
//! mapped when it is first read or appended to, while there is room. When as many are mapped as the
//! limit allows, one that is not is opened, read or written, and closed: mapping it for one use
//! costs several times that. Only when it is used again before long, it is mapped in the place of
//! one not used for longest (second chance). Those idle for a while are unmapped in any case.
//!
//! Of files that are not mapped some units are kept in memory (`kept_units`): a reader at the
//! queue's end opens no file, and what is appended is written when a few units have gathered, or
//! with `write_out`, before a flush counts it.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use memmap2::Advice;

use super::consume_queue::UNIT_BYTES;
use super::kept_units::{KEPT_BYTES, Kept, STEP_BYTES};
use super::layout;
use super::mapped::MappedFile;
use super::peek::{Peek, Source};
use crate::base::Result;
use crate::base::error::IoContext;
use crate::sys::{self, vector};

/// So many files in use are passed over before one of them is unmapped all the same.
const CHANCES: usize = 64;

/// So many files are looked at for one whose kept units can be given up.
const KEPT_CHANCES: usize = 8;

/// A file is mapped for its second use when there were not more of others that are not mapped
/// between the two than this part of the limit.
const SOON: u32 = 64;

/// For the file that is written: behind the end of the queue there are only zeros, of which the
/// kernel would read ahead as much as the disk is set to, megabytes for the first unit.
const PAGE_BY_PAGE: Advice = Advice::Random;

/// One file.
struct Slot {
    start: i64,
    map: RwLock<Option<Arc<MappedFile>>>,
    /// Since somebody last looked for files to unmap.
    used: AtomicBool,
    /// Number of its last use without being mapped; 0 = none.
    far: AtomicU32,
    /// Units of the file while it is not mapped. Locked after `map`.
    kept: Mutex<Option<Box<Kept>>>,
    /// Units were written anew: none that were read before are kept.
    repaired: AtomicBool,
}

impl Slot {
    fn new(start: i64, map: Option<Arc<MappedFile>>) -> Arc<Slot> {
        let (map, used) = (RwLock::new(map), AtomicBool::new(true));
        let (far, kept, repaired) = (AtomicU32::new(0), Mutex::default(), AtomicBool::new(false));
        Arc::new(Slot { start, map, used, far, kept, repaired })
    }

    fn kept(&self) -> MutexGuard<'_, Option<Box<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes are not in the file yet.
    fn waiting(&self) -> i64 {
        self.kept().as_ref().map_or(0, |kept| kept.waiting().1.len() as i64)
    }

    /// Gives up what is kept, unless some of it waits or somebody works with it; whether nothing is
    /// kept then.
    fn forget(&self) -> bool {
        let Ok(mut kept) = self.kept.try_lock() else { return false };
        if kept.as_ref().is_some_and(|kept| !kept.waiting().1.is_empty()) {
            return false;
        }
        *kept = None;
        true
    }

    fn mark_used(&self) {
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    /// Unmaps the file unless somebody works with it; whether it is not mapped then. The last units
    /// are kept if they are to be.
    fn close(self: &Arc<Self>, keeps: Option<&Maps>) -> bool {
        let Ok(mut map) = self.map.try_write() else { return false };
        if map.as_ref().is_some_and(|file| Arc::strong_count(file) > 1) {
            return false;
        }
        if let (Some(file), Some(maps)) = (map.take(), keeps) {
            self.keep_end(&file, maps);
        }
        true
    }

    fn keep_end(self: &Arc<Self>, file: &MappedFile, maps: &Maps) {
        let end = file.wrote();
        let begin = if end <= KEPT_BYTES { 0 } else { end - STEP_BYTES };
        if end > 0
            && !file.is_full()
            && !self.repaired.load(Relaxed)
            && let Some(bytes) = file.bytes(begin, end - begin)
            && let Ok(mut kept) = self.kept.try_lock()
            && maps.may_keep(self)
        {
            kept.get_or_insert_with(Kept::new).replace(begin, bytes);
        }
    }

    fn map(&self) -> RwLockReadGuard<'_, Option<Arc<MappedFile>>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which files of all queues are mapped, and of which others units are kept.
pub struct Maps {
    limit: usize,
    /// At most so many files that are not mapped have units kept.
    kept_limit: usize,
    /// In the order in which they were mapped or spared.
    ring: Mutex<VecDeque<Arc<Slot>>>,
    /// How many these are.
    mapped: AtomicUsize,
    /// Uses of files that are not mapped, counted.
    far: AtomicU32,
    /// Those with units kept, in the order in which they got some or were spared.
    kept: Mutex<VecDeque<Arc<Slot>>>,
}

impl Maps {
    /// At most `limit` files, those in use at the moment not counted; units kept of at most
    /// `kept_limit` others.
    pub fn new(limit: usize, kept_limit: usize) -> Arc<Maps> {
        let (mapped, far) = (AtomicUsize::new(0), AtomicU32::new(0));
        let (ring, kept) = (Mutex::default(), Mutex::default());
        Arc::new(Maps { limit, kept_limit, ring, mapped, far, kept })
    }

    /// Whether there is room to keep units of this file; another one's may be given up for it.
    fn may_keep(&self, slot: &Arc<Slot>) -> bool {
        let mut kept = self.kept();
        for _ in 0..KEPT_CHANCES {
            if kept.len() < self.kept_limit {
                break;
            }
            let Some(other) = kept.pop_front() else { break };
            // What is kept of this one was given up, by a map or a repair.
            let is_this = Arc::ptr_eq(&other, slot);
            if !is_this && (other.used.swap(false, Relaxed) || !other.forget()) {
                kept.push_back(other);
            }
        }
        let room = kept.len() < self.kept_limit;
        if room {
            kept.push_back(slot.clone());
        }
        room
    }

    /// Whether a file that is not mapped is to be used without that, this time.
    fn leaves(&self, slot: &Slot) -> bool {
        if self.mapped.load(Relaxed) < self.limit {
            return false;
        }
        let now = self.far.fetch_add(1, Relaxed).wrapping_add(1);
        let last = slot.far.swap(now, Relaxed);
        last == 0 || now.wrapping_sub(last) > (self.limit as u32 / SOON).max(1)
    }

    /// A file was mapped: another one may have to go.
    fn opened(&self, slot: Arc<Slot>) {
        let mut ring = self.ring();
        ring.push_back(slot);
        for look in 0..2 * CHANCES {
            if ring.len() <= self.limit {
                break;
            }
            let Some(slot) = ring.pop_front() else { break };
            let spared = look < CHANCES && slot.used.swap(false, Relaxed);
            if spared || !slot.close(Some(self)) {
                ring.push_back(slot);
            }
        }
        self.mapped.store(ring.len(), Relaxed);
    }

    /// Unmaps the files that nobody used since the last call, and keeps no units of such.
    pub fn close_idle(&self) {
        self.kept().retain(|slot| slot.used.swap(false, Relaxed) || !slot.forget());
        let mut ring = self.ring();
        ring.retain(|slot| slot.used.swap(false, Relaxed) || !slot.close(None));
        self.mapped.store(ring.len(), Relaxed);
    }

    /// How many files are mapped.
    pub fn mapped(&self) -> usize {
        self.mapped.load(Relaxed)
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Slot>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Arc<Slot>>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an append will look at one after the other, as addresses: of the last file's place in the
/// list, the file, its map or what is kept of it, and the bytes behind its end there. They may be
/// of something that is gone.
#[derive(Default)]
struct Near([AtomicUsize; 4]);

impl Near {
    fn set(&self, last: &Arc<Slot>, holder: usize, bytes: usize) {
        let place = std::ptr::from_ref(last).addr();
        let found = [place, Arc::as_ptr(last).addr(), holder, bytes];
        self.0.iter().zip(found).for_each(|(near, found)| near.store(found, Relaxed));
    }

    fn set_mapped(&self, last: &Arc<Slot>, file: &Arc<MappedFile>) {
        self.set(last, Arc::as_ptr(file).addr(), file.address(file.wrote()));
    }

    fn set_kept(&self, last: &Arc<Slot>, kept: &Kept) {
        self.set(last, std::ptr::from_ref(kept).addr(), kept.end_address());
    }

    fn prefetch(&self) {
        let [place, slot, holder, bytes] = [0, 1, 2, 3].map(|which| self.0[which].load(Relaxed));
        vector::prefetch(bytes);
        vector::prefetch(place);
        vector::prefetch_all(std::ptr::without_provenance::<Slot>(slot));
        // Of what is kept no more is needed than of a map: its beginning.
        vector::prefetch_all(std::ptr::without_provenance::<MappedFile>(holder));
    }
}

/// Contiguous files of `size` bytes each, oldest first. The directory is made when the first file
/// is.
pub struct QueueFiles {
    dir: Box<Path>,
    size: usize,
    maps: Arc<Maps>,
    slots: RwLock<VecDeque<Arc<Slot>>>,
    /// Bytes published, counted from the queue's beginning.
    end: AtomicI64,
    /// The same with those not published yet. Moved while the last file stays mapped or not.
    written: AtomicI64,
    /// Names of files may not be on the disk yet.
    new_names: AtomicBool,
    near: Near,
}

impl QueueFiles {
    /// The files in `dir` that begin at `starts`, which must follow one another, and end at `end`.
    pub fn new(dir: PathBuf, size: usize, maps: Arc<Maps>, starts: &[i64], end: i64) -> QueueFiles {
        let slots = starts.iter().map(|start| Slot::new(*start, None)).collect();
        let dir = dir.into_boxed_path();
        QueueFiles {
            dir,
            size,
            maps,
            slots: RwLock::new(slots),
            end: AtomicI64::new(end),
            written: AtomicI64::new(end),
            new_names: AtomicBool::new(true),
            near: Near::default(),
        }
    }

    /// Length of each file in bytes.
    pub fn size(&self) -> i64 {
        self.size as i64
    }

    /// Bytes published, counted from the queue's beginning.
    pub fn end(&self) -> i64 {
        self.end.load(Acquire)
    }

    /// Moves the published end, whose bytes must be there.
    pub fn set_end(&self, end: i64) {
        self.written.store(end, Release);
        self.end.store(end, Release);
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Where the first file begins.
    pub fn first_start(&self) -> Option<i64> {
        self.read().front().map(|slot| slot.start)
    }

    /// Where the last file ends.
    pub fn last_end(&self) -> Option<i64> {
        self.read().back().map(|slot| slot.start + self.size())
    }

    /// The published bytes of one file from `offset` on. If it is not mapped, `bytes_max` of them
    /// are read, and with `now` only from memory. A failure is logged.
    pub fn look(&self, offset: i64, bytes_max: usize, now: bool) -> Option<Look> {
        let slot = self.slot(offset)?;
        slot.mark_used();
        let position = usize::try_from(offset - slot.start).ok()?;
        if let Some(file) = &*slot.map() {
            return Look::of(file.clone(), position);
        }
        let len = (self.end() - offset).clamp(0, self.size() - position as i64) as usize;
        let range = position..position + len.min(bytes_max);
        let mut waiting = Vec::new();
        let mut in_file = range.end;
        if let Some(kept) = &*slot.kept() {
            if let Some(bytes) = kept.get(range.clone()) {
                return Some(Look::Read(bytes.into()));
            }
            let (from, bytes) = kept.waiting();
            if !bytes.is_empty() && from < range.end {
                waiting.extend_from_slice(&bytes[..range.end - from]);
                in_file = from;
            }
        }
        if self.maps.leaves(&slot) {
            match self.read_far(&slot, position..in_file, now) {
                Ok(Look::Read(bytes)) => return Some(Look::Read([bytes, waiting].concat())),
                Ok(look) => return Some(look),
                // The disk or descriptors: with a map those who wait for it are told.
                Err(e) => log::debug!(target: "store", "{}: {e}", self.dir.display()),
            }
        }
        Look::of(self.map_logged(&slot)?, position)
    }

    /// The published unit at `offset`. Most often the next one will be asked for: `prefetch` has
    /// that loaded.
    pub fn unit_in_turn(&self, offset: i64) -> Option<[u8; UNIT_BYTES]> {
        let slots = self.read();
        let slot = slots.get(self.place(&slots, offset)?)?;
        slot.mark_used();
        let position = usize::try_from(offset - slot.start).ok()?;
        let next = position + UNIT_BYTES;
        if let Some(file) = &*slot.map() {
            self.near.set(slot, Arc::as_ptr(file).addr(), file.address(next));
            return file.bytes(position, UNIT_BYTES)?.first_chunk().copied();
        }
        if let Some(kept) = &*slot.kept()
            && let Some(bytes) = kept.get(position..next)
        {
            let next = bytes.as_ptr().addr() + UNIT_BYTES;
            self.near.set(slot, std::ptr::from_ref::<Kept>(kept).addr(), next);
            return bytes.first_chunk().copied();
        }
        drop(slots);
        self.look(offset, UNIT_BYTES, false)?.bytes().first_chunk().copied()
    }

    /// Reads bytes that are in the file; when they are few, also those around them, which are kept.
    fn read_far(&self, slot: &Arc<Slot>, range: Range<usize>, now: bool) -> io::Result<Look> {
        let begin = range.start - range.start % STEP_BYTES;
        let few = range.end - begin <= KEPT_BYTES;
        let file_end = (self.end() - slot.start - slot.waiting()).clamp(0, self.size()) as usize;
        let read = match few {
            true => begin..(begin + KEPT_BYTES).min(file_end).max(range.end),
            false => range.clone(),
        };
        let file = File::open(self.path(slot.start))?;
        let mut bytes = vec![0; read.len()];
        if !now {
            file.read_exact_at(&mut bytes, read.start as u64)?;
        } else if !sys::file::read_now(&file, &mut bytes, read.start as u64)? {
            return Ok(Look::OnDisk);
        }
        if few {
            self.keep(slot, begin, &bytes);
        }
        bytes.truncate(range.end - read.start);
        Ok(Look::Read(bytes.split_off(range.start - read.start)))
    }

    fn keep(&self, slot: &Arc<Slot>, begin: usize, bytes: &[u8]) {
        let mut kept = slot.kept();
        if slot.repaired.load(Relaxed) || (kept.is_none() && !self.maps.may_keep(slot)) {
            return;
        }
        kept.get_or_insert_with(Kept::new).replace(begin, bytes);
    }

    fn slot(&self, offset: i64) -> Option<Arc<Slot>> {
        let slots = self.read();
        slots.get(self.place(&slots, offset)?).cloned()
    }

    /// Which of the files has the byte at `offset`, or would have it.
    fn place(&self, slots: &VecDeque<Arc<Slot>>, offset: i64) -> Option<usize> {
        let first = slots.front()?.start;
        Some(usize::try_from(offset.checked_sub(first)?).ok()? / self.size)
    }

    fn map_logged(&self, slot: &Arc<Slot>) -> Option<Arc<MappedFile>> {
        self.map(slot)
            .map_err(|e| log::error!(target: "store", "consume queue not readable: {e}"))
            .ok()
    }

    /// Maps the file if nobody has.
    fn map(&self, slot: &Arc<Slot>) -> Result<Arc<MappedFile>> {
        let mut map = slot.map.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*map {
            return Ok(file.clone());
        }
        let mut kept = slot.kept();
        self.write_kept(slot, &mut kept)?;
        *kept = None;
        drop(kept);
        let file = Arc::new(MappedFile::open(&self.path(slot.start), slot.start, self.size)?);
        // Nobody appends meanwhile: for that `map` is locked.
        let written = self.written.load(Acquire);
        if written <= slot.start + self.size() {
            advise(&file, PAGE_BY_PAGE);
        }
        file.set_wrote((written - slot.start).clamp(0, self.size()) as usize);
        *map = Some(file.clone());
        drop(map);
        self.maps.opened(slot.clone());
        Ok(file)
    }

    /// Has the processor load what `append` will need.
    pub fn prefetch(&self) {
        self.near.prefetch();
    }

    /// Appends to the last file, in which the bytes must have room. They are not published yet, and
    /// may not be in the file before `write_out`.
    pub fn append(&self, bytes: &[u8]) -> Result<()> {
        let slots = self.read();
        let last = slots.back().expect("a queue appended to has files");
        last.mark_used();
        let map = last.map();
        let at = self.written.load(Relaxed);
        let end = at + bytes.len() as i64;
        debug_assert!(end <= last.start + self.size(), "a unit never spans files");
        match &*map {
            Some(file) => {
                append_to(file, bytes)?;
                self.near.set_mapped(last, file);
            }
            None if self.append_far(last, (at - last.start) as usize, bytes)? => {}
            None => {
                drop(map);
                let file = self.map(last)?;
                append_to(&file, bytes)?;
                // Not unmapped before, while this is held.
                self.written.store(end, Release);
                return Ok(());
            }
        }
        self.written.store(end, Release);
        Ok(())
    }

    /// Appends to a file that is not mapped; false when it is to be mapped.
    fn append_far(&self, slot: &Arc<Slot>, position: usize, bytes: &[u8]) -> Result<bool> {
        let mut kept = slot.kept();
        if let Some(kept) = &mut *kept
            && kept.push(position, bytes)
        {
            self.near.set_kept(slot, kept);
            return Ok(true);
        }
        if !self.maps.leaves(slot) {
            return Ok(false);
        }
        self.write_kept(slot, &mut kept)?;
        if kept.is_none() && self.maps.may_keep(slot) {
            *kept = Some(Kept::new());
        }
        if let Some(kept) = &mut *kept {
            kept.make_room(position);
            if kept.push(position, bytes) {
                return Ok(true);
            }
        }
        self.write_far(slot, position, bytes).map(|()| true)
    }

    /// Writes what waits.
    fn write_kept(&self, slot: &Slot, kept: &mut Option<Box<Kept>>) -> Result<()> {
        let Some(kept) = kept else { return Ok(()) };
        let (position, bytes) = kept.waiting();
        if !bytes.is_empty() {
            self.write_far(slot, position, bytes)?;
            kept.written();
        }
        Ok(())
    }

    /// Writes `bytes` to a file that is not mapped.
    fn write_far(&self, slot: &Slot, position: usize, bytes: &[u8]) -> Result<()> {
        let path = self.path(slot.start);
        sys::file::open(&path, OpenOptions::new().write(true))
            .and_then(|file| sys::file::write_at(&file, &path, bytes, position as u64))
            .what(|| format!("extend {}", path.display()))
    }

    /// Writes to the last file what waits for that.
    pub fn write_out(&self) -> Result<()> {
        let Some(last) = self.read().back().cloned() else { return Ok(()) };
        let mut kept = last.kept();
        self.write_kept(&last, &mut kept)
    }

    /// Bytes published that are in the files, counted from the queue's beginning.
    pub fn file_end(&self) -> i64 {
        let end = self.end();
        end - self.read().back().map_or(0, |last| last.waiting())
    }

    /// Writes published bytes anew, by way of the file: whoever reads them at this moment sees some
    /// old and some new ones, which no check lets pass.
    pub fn overwrite(&self, offset: i64, bytes: &[u8]) -> Result<()> {
        let Some(slot) = self.slot(offset) else { return Ok(()) };
        let path = self.path(slot.start);
        let mut kept = slot.kept();
        slot.repaired.store(true, Relaxed);
        self.write_kept(&slot, &mut kept)?;
        *kept = None;
        drop(kept);
        sys::file::open(&path, OpenOptions::new().write(true))
            .and_then(|file| {
                sys::file::write_at(&file, &path, bytes, (offset - slot.start) as u64)?;
                sys::file::sync_data(&file, &path)
            })
            .what(|| format!("repair {}", path.display()))
    }

    /// Makes the next file. `start` counts only when there are none: the offset to begin with,
    /// rounded down to a multiple of the file size.
    pub fn roll(&self, start: i64) -> Result<i64> {
        self.write_out()?;
        let last_end = self.last_end();
        let made = sys::file::make_dirs(&self.dir);
        let made = made.what(|| format!("create {}", self.dir.display()))?;
        if last_end.is_none() && made.is_empty() {
            remove_segments(&self.dir)?;
        }
        let start = last_end.unwrap_or(start - start % self.size());
        let file = Arc::new(MappedFile::create(&self.path(start), start, self.size)?);
        // Not before, or a flush at this moment could take it for done.
        self.new_names.store(true, Release);
        advise(&file, PAGE_BY_PAGE);
        let slot = Slot::new(start, Some(file));
        let mut slots = self.write();
        let full = slots.back().and_then(|last| last.map().clone());
        slots.push_back(slot.clone());
        drop(slots);
        if let Some(full) = full {
            advise(&full, Advice::Normal);
        }
        self.maps.opened(slot);
        Ok(start)
    }

    /// Deletes the oldest file but never the last one; readers keep what they hold. When the disk
    /// refuses, it stays. Only one thread may do this at a time.
    pub fn drop_oldest(&self) -> Result<bool> {
        let slots = self.read();
        if slots.len() < 2 {
            return Ok(false);
        }
        let slot = slots[0].clone();
        drop(slots);
        self.remove(&slot)?;
        let mut slots = self.write();
        if slots.front().is_some_and(|front| Arc::ptr_eq(front, &slot)) {
            slots.pop_front();
        }
        Ok(true)
    }

    /// Deletes every file.
    pub fn clear(&self) -> Result<()> {
        let slots = std::mem::take(&mut *self.write());
        slots.iter().try_for_each(|slot| self.remove(slot))
    }

    /// Deletes every file and the directory.
    pub fn destroy(&self) -> Result<()> {
        self.clear()?;
        // What somebody else put there stays.
        sys::file::remove_dir_if_empty(&self.dir).what(|| format!("remove {}", self.dir.display()))
    }

    fn remove(&self, slot: &Slot) -> Result<()> {
        let path = self.path(slot.start);
        slot.map.write().unwrap_or_else(PoisonError::into_inner).take();
        slot.kept().take();
        sys::file::remove_if_there(&path).what(|| format!("remove {}", path.display()))
    }

    /// Writes the bytes `from..to`, which are in the files, to the disk, and the names of files
    /// that may be new.
    pub fn flush(&self, from: i64, to: i64) -> Result<()> {
        let mut at = from.max(self.first_start().unwrap_or(to));
        while at < to {
            let Some(slot) = self.slot(at) else { break };
            let end = (slot.start + self.size()).min(to);
            let range = (at - slot.start) as usize..(end - slot.start) as usize;
            let (file, path) = (slot.map().clone(), self.path(slot.start));
            match file {
                Some(file) => file.flush(range.start, range.end),
                None => File::open(&path).and_then(|file| sys::file::sync_data(&file, &path)),
            }
            .what(|| format!("flush {}", path.display()))?;
            at = end;
        }
        self.sync_names()
    }

    /// Whether names of files may not be on the disk yet.
    pub fn set_new_names(&self, new: bool) {
        self.new_names.store(new, Release);
    }

    /// Names may be new of this run, or of one that a crash ended: those of the files, and of the
    /// directories up to the store's (`<store>/consumequeue/<topic>/<queueId>`).
    fn sync_names(&self) -> Result<()> {
        if !self.new_names.swap(false, AcqRel) {
            return Ok(());
        }
        for dir in self.dir.ancestors().take(4) {
            match sys::file::sync_dir(dir) {
                // A topic that was deleted meanwhile.
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    self.new_names.store(true, Release);
                    return Err(e).what(|| format!("sync directory {}", dir.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Looks at the first file without mapping it for that.
    pub fn first(&self) -> Option<Peek> {
        let slot = self.read().front()?.clone();
        let mapped = slot.map().clone();
        let start = slot.start;
        let source = match mapped {
            Some(file) => Source::Map(file),
            None => Source::File(Rc::new(File::open(self.path(start)).ok()?)),
        };
        let end = self.end();
        let bytes = (end - start).clamp(0, self.size()) - slot.waiting();
        let bytes = bytes.max(0);
        Some(Peek { source, start, units: bytes as usize / UNIT_BYTES })
    }

    fn path(&self, start: i64) -> PathBuf {
        self.dir.join(layout::segment_name(start))
    }

    fn read(&self) -> RwLockReadGuard<'_, VecDeque<Arc<Slot>>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, VecDeque<Arc<Slot>>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deletes the files that a queue left whose deletion the disk refused: nobody knows them.
pub fn remove_segments(dir: &Path) -> Result<()> {
    for entry in sys::file::entries(dir).what(|| format!("read directory {}", dir.display()))? {
        if entry.file_name().to_str().and_then(layout::parse_segment).is_some() {
            let path = entry.path();
            log::warn!(target: "store", "{}: left of a deleted queue, removed", path.display());
            sys::file::remove_if_there(&path).what(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn append_to(file: &MappedFile, bytes: &[u8]) -> Result<()> {
    let room = file.append(bytes).what(|| format!("extend {}", file.path().display()))?;
    debug_assert!(room, "a unit never spans files");
    Ok(())
}

fn advise(file: &MappedFile, advice: Advice) {
    if let Err(e) = file.advise(advice) {
        log::debug!(target: "store", "advice on {}: {e}", file.path().display());
    }
}

/// Bytes of one file from some place on.
pub enum Look {
    /// All that were published.
    Map(Arc<MappedFile>, Range<usize>),
    /// Some that were.
    Read(Vec<u8>),
    /// They are not in memory.
    OnDisk,
}

impl Look {
    fn of(file: Arc<MappedFile>, position: usize) -> Option<Look> {
        let end = file.wrote();
        (position <= end).then_some(Look::Map(file, position..end))
    }

    /// What there is.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Look::Map(file, range) => file.bytes(range.start, range.len()).unwrap_or_default(),
            Look::Read(bytes) => bytes,
            Look::OnDisk => &[],
        }
    }
}
