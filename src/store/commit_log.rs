//! The commit log: all messages of the broker in the order of their arrival.
//!
//! Records come encoded, that of a message without its body; under the put lock they only get their
//! offsets and their store time and are copied into the map. Nothing allocates or enters the kernel
//! under the lock, except at the roll to the next file, which the allocate thread has made ready.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::allocate::Allocate;
use super::consume_queue::Queue;
use super::mapped::MappedFile;
use super::multi;
use super::segments::Segments;
use super::status::{Busy, PutStatus};
use super::transient_pool::{Staged, TransientStorePool};
use crate::base::error::IoContext;
use crate::base::{self, clock};
use crate::message::record::{self, BLANK_BYTES, Encoded};

/// Longest wait for a next file that is not ready.
const NEXT_FILE_WAIT: Duration = Duration::from_secs(5);

/// Where records went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record in the log.
    pub physical_offset: i64,
    /// Offset of the first record in its queue.
    pub queue_offset: i64,
    /// Bytes of all records together.
    pub size: i32,
    /// How many records.
    pub count: i64,
    /// The time written into each record, in ms.
    pub store_timestamp: i64,
}

impl Appended {
    /// Offset in the log just past the last record.
    pub fn end(&self) -> i64 {
        self.physical_offset + i64::from(self.size)
    }
}

/// The segments and the lock of their end.
pub struct CommitLog {
    segments: Arc<Segments>,
    allocate: Arc<Allocate>,
    /// Where records go first, if not straight to the file.
    pool: Option<TransientStorePool>,
    tail: Mutex<Tail>,
    /// When the put lock was taken, in ms; 0 while it is free.
    held_since: AtomicI64,
    /// Who holds it changes to the next file.
    changing: AtomicBool,
    /// Store time of the newest record.
    store_timestamp: AtomicI64,
}

/// What the put lock guards.
struct Tail {
    /// The file appended to; none before the first append.
    file: Option<Arc<MappedFile>>,
    /// In place of which a buffer is appended to.
    staged: Option<Arc<Staged>>,
    /// Nothing is appended any more.
    closed: bool,
}

impl Tail {
    /// What is appended to, and how many bytes it has left.
    fn room(&self) -> Option<(&MappedFile, usize)> {
        let into = match &self.staged {
            Some(staged) if staged.is_sealed() => return None,
            Some(staged) => staged.buffer(),
            None => self.file.as_deref()?,
        };
        Some((into, into.size() - into.wrote()))
    }
}

/// Why nothing was appended.
enum Full {
    /// The file that begins here is not ready.
    Next(i64),
    /// No disk blocks under the current file, or another failure of it.
    Refused(PutStatus),
}

impl CommitLog {
    /// A log that goes on where `segments` end; `store_timestamp` is that of its last record. Its
    /// next files are written to by way of the `pool`.
    pub fn new(
        segments: Arc<Segments>,
        allocate: Arc<Allocate>,
        store_timestamp: i64,
        pool: Option<TransientStorePool>,
    ) -> CommitLog {
        let tail = Tail { file: segments.last(), staged: None, closed: false };
        CommitLog {
            segments,
            allocate,
            pool,
            tail: Mutex::new(tail),
            held_since: AtomicI64::new(0),
            changing: AtomicBool::new(false),
            store_timestamp: AtomicI64::new(store_timestamp),
        }
    }

    /// Says how much is made ready at a time ahead of flushes that usually write so much.
    pub fn expect_flushes(&self, bytes: i64) {
        self.allocate.expect_flushes(bytes);
    }

    /// Appends encoded records, all of one queue, whose next offset `queue` they take and advance.
    /// Without `queue` (PREPARED and ROLLBACK records) their queue offset is 0. They stay in one
    /// file. A single record may have further queues, `others`.
    pub fn append(
        &self,
        mut records: Encoded<'_>,
        queue: Option<&AtomicI64>,
        others: &[Arc<Queue>],
    ) -> Result<Appended, PutStatus> {
        let bare = records.bytes.len();
        let longest = records.size() + multi::offsets_bytes_max(others);
        if longest + BLANK_BYTES > self.segments.size() {
            return Err(PutStatus::MessageIllegal);
        }
        let mut give_up = None;
        loop {
            let (result, rolled) = self.try_append(&mut records, bare, queue, others);
            match result {
                Ok(done) => {
                    // What a pool has is written, and needs no pages made ready.
                    if rolled || self.pool.is_none() {
                        self.allocate.appended(done.end(), rolled);
                    }
                    if rolled && let Some(pool) = &self.pool {
                        pool.begun();
                    }
                    return Ok(done);
                }
                Err(Full::Refused(status)) => return Err(status),
                Err(Full::Next(start)) => {
                    let until = *give_up.get_or_insert_with(|| Instant::now() + NEXT_FILE_WAIT);
                    self.allocate.wait_for(start, until)?;
                }
            }
        }
    }

    /// One try under the put lock. Also says whether a file was taken from the allocate thread.
    fn try_append(
        &self,
        records: &mut Encoded<'_>,
        bare: usize,
        queue: Option<&AtomicI64>,
        others: &[Arc<Queue>],
    ) -> (Result<Appended, Full>, bool) {
        let (mut tail, store_timestamp) = self.lock();
        if !others.is_empty() {
            multi::add_offsets(records, bare, others);
        }
        let (start, file, rolled) = match self.room(&mut tail, records.size()) {
            Ok(found) => found,
            Err(full) => return (Err(full), false),
        };
        let physical_offset = start + file.wrote() as i64;
        let queue_offset = queue.map_or(0, |next| next.load(Ordering::Relaxed));
        let numbered = queue.map(|_| queue_offset);
        let count = number(records.bytes, numbered, physical_offset, store_timestamp);
        match file.append_pieces(records.pieces()) {
            Ok(true) => {}
            Ok(false) => unreachable!("room was checked under the put lock"),
            Err(e) => return (Err(refused("append to", file, &e)), rolled),
        }
        if let Some(next) = queue {
            next.store(queue_offset + count, Ordering::Release);
        }
        multi::advance(others);
        match &self.pool {
            Some(pool) => pool.appended(store_timestamp),
            None => self.store_timestamp.store(store_timestamp, Ordering::Release),
        }
        let size = records.size() as i32;
        (Ok(Appended { physical_offset, queue_offset, size, count, store_timestamp }), rolled)
    }

    /// Where the file begins to which `len` bytes may be appended, and what they are appended to:
    /// the current file, or the next after sealing the current. Also whether it is the next.
    fn room<'a>(
        &self,
        tail: &'a mut Tail,
        len: usize,
    ) -> Result<(i64, &'a MappedFile, bool), Full> {
        if tail.closed {
            return Err(Full::Refused(PutStatus::ServiceNotAvailable));
        }
        let full = tail.room().is_none_or(|(_, left)| len + BLANK_BYTES > left);
        if full {
            self.changing.store(true, Ordering::Relaxed);
            let changed = self.change_file(tail);
            self.changing.store(false, Ordering::Relaxed);
            changed?;
        }
        let start = tail.file.as_ref().expect("a file with room").start();
        Ok((start, tail.room().expect("a file with room").0, full))
    }

    /// Seals the current file and takes the next one.
    fn change_file(&self, tail: &mut Tail) -> Result<(), Full> {
        let start = tail.file.as_ref().map_or(self.segments.max_offset(), |file| file.end());
        // Sealing must not fail any more once the next file is taken: nobody makes it again.
        if let Some(file) = &tail.file {
            file.reserve_all().map_err(|e| refused("seal", file, &e))?;
        }
        if let (Some(staged), Some((buffer, _))) = (&tail.staged, tail.room()) {
            // At once: its buffer may be the one that the next file waits for.
            end(buffer).map_err(|e| refused("seal", buffer, &e))?;
            staged.seal();
        }
        if self.pool.as_ref().is_some_and(|pool| pool.refuses()) {
            return Err(Full::Refused(PutStatus::CreateMapedFileFailed));
        }
        let next = self.allocate.take(start).ok_or(Full::Next(start))?;
        if let (None, Some(file)) = (&tail.staged, &tail.file) {
            end(file).map_err(|e| refused("seal", file, &e))?;
            file.set_wrote(file.size());
        }
        self.segments.push(next.clone());
        tail.staged = self.pool.as_ref().and_then(|pool| pool.stage(&next));
        tail.file = Some(next);
        Ok(())
    }

    /// Copies what a pool has into the files, the last of them only when that is so many pages or
    /// more. Whether the log has become longer.
    pub fn commit(&self, least_pages: i32) -> base::Result<bool> {
        let Some(pool) = &self.pool else { return Ok(false) };
        let done =
            pool.commit(least_pages).what(|| "commit the transient store pool".to_owned())?;
        if let Some(time) = done.store_timestamp {
            self.store_timestamp.store(time, Ordering::Release);
        }
        Ok(done.moved)
    }

    /// Takes no more records, and has all that there are in its files.
    pub fn close(&self) -> base::Result<()> {
        self.lock().0.closed = true;
        self.pool.iter().for_each(|pool| pool.stop());
        self.commit(0).map(|_| ())
    }

    /// The pool that records go to first.
    pub fn pool(&self) -> Option<&TransientStorePool> {
        self.pool.as_ref()
    }

    /// Takes the put lock and the time.
    fn lock(&self) -> (PutLock<'_>, i64) {
        let tail = self.tail.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = clock::now_ms();
        self.held_since.store(now, Ordering::Relaxed);
        (PutLock { tail, held_since: &self.held_since }, now)
    }

    /// For how many ms the put lock has been held without a break; 0 when it is free.
    pub fn lock_held_ms(&self) -> i64 {
        match self.held_since.load(Ordering::Relaxed) {
            0 => 0,
            since => (clock::now_ms() - since).max(0),
        }
    }

    /// Holds the put lock as if it had been taken `ms` ago.
    #[cfg(test)]
    pub fn hold(&self, ms: i64, changing: bool) -> impl Drop + '_ {
        let (lock, now) = self.lock();
        self.held_since.store(now - ms, Ordering::Relaxed);
        self.changing.store(changing, Ordering::Relaxed);
        lock
    }

    /// What holds the put lock, should it be held.
    pub fn doing(&self) -> Busy {
        match self.changing.load(Ordering::Relaxed) {
            true => Busy::FileChange,
            false => Busy::PageCache,
        }
    }

    /// Store time of the newest record in ms; 0 without one.
    pub fn store_timestamp(&self) -> i64 {
        self.store_timestamp.load(Ordering::Acquire)
    }

    /// The files.
    pub fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// Offset just past the last record.
    pub fn max_offset(&self) -> i64 {
        self.segments.max_offset()
    }
}

/// The put lock, which notes when it is held.
struct PutLock<'a> {
    tail: MutexGuard<'a, Tail>,
    held_since: &'a AtomicI64,
}

impl Drop for PutLock<'_> {
    fn drop(&mut self) {
        self.held_since.store(0, Ordering::Relaxed);
    }
}

impl Deref for PutLock<'_> {
    type Target = Tail;

    fn deref(&self) -> &Tail {
        &self.tail
    }
}

impl DerefMut for PutLock<'_> {
    fn deref_mut(&mut self) -> &mut Tail {
        &mut self.tail
    }
}

fn refused(what: &str, file: &MappedFile, error: &std::io::Error) -> Full {
    log::error!(target: "store", "{what} {}: {error}", file.path().display());
    Full::Refused(PutStatus::ServiceNotAvailable)
}

/// Writes offsets and store time into each record; one that is alone may lack its body. Returns how
/// many there are.
fn number(
    records: &mut [u8],
    queue_offset: Option<i64>,
    physical_offset: i64,
    store_timestamp: i64,
) -> i64 {
    let mut at = 0;
    let mut count = 0;
    while at < records.len() {
        let queue_offset = queue_offset.map_or(0, |first| first + count);
        let physical_offset = physical_offset + at as i64;
        at += record::patch(&mut records[at..], queue_offset, physical_offset, store_timestamp);
        count += 1;
    }
    count
}

/// Ends a file with a blank record, which sends readers to the next one.
fn end(file: &MappedFile) -> std::io::Result<()> {
    let left = file.size() - file.wrote();
    // Less than a blank record is left only by a foreign writer.
    if left >= BLANK_BYTES {
        file.append(&record::blank(left as i32))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
