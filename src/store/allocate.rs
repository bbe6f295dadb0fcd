//! The allocate thread: makes the next commit-log file before it is needed and keeps the pages just
//! ahead of the writer in memory, so that an append meets neither a missing file nor a page fault.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::cold;
use super::mapped::MappedFile;
use super::segments::Segments;
use super::status::PutStatus;
use crate::base::error::IoContext;
use crate::base::thread::{self, Handle};
use crate::base::{Error, Result, persist};
use crate::config::FlushDiskType;
use crate::sys;

/// Pause before a file that could not be made is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// What is made ready at once in single pages: more would keep a processor from other threads.
const PAGES_STEP_BYTES: i64 = 128 * 1024;
/// What is made ready at once in large folios: one of them.
const FOLIO_STEP_BYTES: i64 = 2 * 1024 * 1024;
/// A writer that goes on by more bytes a second than this gets large folios: a sixth of the time
/// for the same bytes, but milliseconds without a break where the memory is new to the machine.
const FAST_BYTES: i64 = 64 * 1024 * 1024;
/// Time over which a writer's speed is measured.
const PACE: Duration = Duration::from_millis(100);
/// Flushes that write less are small: large folios would have them write more than is new.
const SMALL_FLUSH_BYTES: i64 = 256 * 1024;

/// The next file, and how far the log is warm.
pub struct Allocate {
    segments: Arc<Segments>,
    state: Mutex<State>,
    /// The thread waits here for something to do.
    work: Condvar,
    /// Appends wait here for a file.
    ready: Condvar,
    /// The thread has been asked to look and has not begun to.
    asked: AtomicBool,
    /// Offset in the log up to which pages are in memory.
    warm: AtomicI64,
    /// What a flush that sends wait for usually writes; without such flushes the highest number.
    flush_bytes: AtomicI64,
    /// How much ahead of the writer is kept warm.
    window: i64,
    /// How much is made ready at once.
    step: AtomicI64,
}

#[derive(Default)]
struct State {
    next: Option<Arc<MappedFile>>,
    /// End of the file taken last, which its taker may not have added to the segments yet.
    taken_end: i64,
    /// What to answer to who needs the next file, while it cannot be made, and why.
    failed: Option<(PutStatus, String)>,
    stop: bool,
}

impl Allocate {
    /// For the log that goes on where `segments` end, with `window` bytes ahead of the writer warm.
    pub fn new(segments: Arc<Segments>, flush: FlushDiskType, window: i64) -> Arc<Allocate> {
        let warm = AtomicI64::new(segments.max_offset());
        Arc::new(Allocate {
            segments,
            state: Mutex::default(),
            work: Condvar::new(),
            ready: Condvar::new(),
            asked: AtomicBool::new(false),
            warm,
            flush_bytes: AtomicI64::new(match flush {
                FlushDiskType::SyncFlush => 0,
                FlushDiskType::AsyncFlush => i64::MAX,
            }),
            window,
            step: AtomicI64::new(PAGES_STEP_BYTES),
        })
    }

    /// Starts the thread, which at once makes the next file.
    pub fn start(self: &Arc<Self>) -> Result<Handle> {
        let allocate = self.clone();
        thread::spawn("allocate", move || allocate.run())
    }

    /// Ends the thread and removes the file that no one used.
    pub fn stop(&self) {
        self.state().stop = true;
        self.work.notify_all();
        self.ready.notify_all();
    }

    /// The file that begins at `start`, if it is ready. Called under the put lock: only a lock that
    /// no one holds for long.
    pub fn take(&self, start: i64) -> Option<Arc<MappedFile>> {
        let mut state = self.state();
        let file = state.next.take_if(|next| next.start() == start)?;
        state.taken_end = file.end();
        Some(file)
    }

    /// Waits until the file that begins at `start` may be ready, or says why there is none.
    pub fn wait_for(&self, start: i64, until: Instant) -> std::result::Result<(), PutStatus> {
        let mut state = self.state();
        loop {
            let taken = self.segments.last().is_some_and(|last| last.start() >= start);
            if taken || state.next.is_some() {
                return Ok(());
            }
            if state.stop {
                return Err(PutStatus::ServiceNotAvailable);
            }
            if let Some((status, _)) = &state.failed {
                return Err(*status);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(PutStatus::CreateMapedFileFailed);
            }
            state = self.ready.wait_timeout(state, left).unwrap_or_else(|p| p.into_inner()).0;
        }
    }

    /// Why there is no next file, while it cannot be made.
    pub fn failure(&self) -> Option<String> {
        self.state().failed.as_ref().map(|(_, why)| why.clone())
    }

    /// Told after each append, outside the put lock: where the log ends now, and whether the next
    /// file was taken.
    pub fn appended(&self, end: i64, took: bool) {
        let step = self.step.load(Ordering::Relaxed);
        let near = end + self.window - step > self.warm.load(Ordering::Relaxed);
        if (took || near) && !self.asked.swap(true, Ordering::AcqRel) {
            drop(self.state());
            self.work.notify_one();
        }
    }

    /// Told what a flush that sends wait for usually writes.
    pub fn expect_flushes(&self, bytes: i64) {
        self.flush_bytes.store(bytes, Ordering::Relaxed);
    }

    fn run(&self) {
        let mut locked = Locked::default();
        let mut pace = Pace { since: Instant::now(), from: self.segments.max_offset() };
        let mut written = self.segments.last().map_or(0, |last| last.start());
        loop {
            let asked = self.asked.swap(false, Ordering::AcqRel);
            self.make_next();
            self.leave(&mut written);
            if asked {
                self.warm(&mut locked, &mut pace);
            }
            let mut state = self.state();
            while !state.stop && !self.asked.load(Ordering::Acquire) {
                if state.failed.is_none() {
                    state = self.work.wait(state).unwrap_or_else(|p| p.into_inner());
                } else {
                    state =
                        self.work.wait_timeout(state, RETRY).unwrap_or_else(|p| p.into_inner()).0;
                    break;
                }
            }
            if state.stop {
                if let Some(unused) = state.next.take()
                    && let Err(e) = unused.destroy()
                {
                    log::warn!(target: "store", "{e}");
                }
                return;
            }
        }
    }

    /// Makes the next file unless it is there.
    pub(super) fn make_next(&self) {
        let taken_end = {
            let state = self.state();
            if state.next.is_some() {
                return;
            }
            state.taken_end
        };
        let start = self.segments.last().map_or(0, |last| last.end()).max(taken_end);
        let made = self.create(start);
        let mut state = self.state();
        match made {
            Ok(file) => {
                if state.failed.take().is_some() {
                    let path = file.path().display();
                    log::info!(target: "store", "next file {path} could be made");
                }
                state.next = Some(Arc::new(file));
            }
            Err(e) => {
                let failed = Some((status_of(&e), format!("next commit-log file: {e}")));
                if state.failed != failed {
                    log::error!(target: "store", "next commit-log file: {e}");
                    state.failed = failed;
                }
            }
        }
        self.ready.notify_all();
    }

    /// Files that the writer has left are read by the page from now on. `written`: where the file
    /// begins that was written to last time.
    fn leave(&self, written: &mut i64) {
        let writer = self.segments.last().map_or(0, |last| last.start());
        while *written < writer {
            let file = self.segments.find(*written);
            file.iter().for_each(|file| file.read_by_page());
            *written = file.map_or(writer, |file| file.end());
        }
    }

    /// A file with all its disk blocks, durable in its directory.
    fn create(&self, start: i64) -> Result<MappedFile> {
        let path = self.segments.path(start);
        let dir = path.parent().unwrap_or(Path::new("."));
        sys::file::make_dirs_durably(dir).what(|| format!("create {}", dir.display()))?;
        let file = MappedFile::create(&path, start, self.segments.size())?;
        cold::advise(&file);
        let durable = || file.sync_length().and_then(|()| sys::file::sync_dir(dir));
        let ready = file.reserve_all().and_then(|()| durable());
        if let Err(e) = ready {
            file.destroy()?;
            return Err(e).what(|| format!("reserve {}", path.display()));
        }
        Ok(file)
    }

    /// Prefaults and locks the window ahead of the writer, unlocks what is behind it.
    fn warm(&self, locked: &mut Locked, pace: &mut Pace) {
        let writer = self.segments.max_offset();
        let goal = writer + self.window;
        let mut at = self.warm.load(Ordering::Relaxed).max(writer);
        let small_flushes = self.flush_bytes.load(Ordering::Relaxed) < SMALL_FLUSH_BYTES;
        if let Some(speed) = pace.measure(writer) {
            let folios = !small_flushes && speed > FAST_BYTES;
            let step = if folios { FOLIO_STEP_BYTES } else { PAGES_STEP_BYTES };
            self.step.store(step, Ordering::Relaxed);
        }
        let step = self.step.load(Ordering::Relaxed);
        while at < goal && !self.state().stop {
            let Some(file) = self.segments.find(at).or_else(|| self.state().next.clone()) else {
                break;
            };
            let from = (at - file.start()).max(0) as usize;
            if from >= file.size() {
                break;
            }
            locked.add(&file);
            let to = (from + 1).next_multiple_of(step as usize).min(file.size());
            let ready =
                file.reserve(to).and_then(|()| file.prefault(from..to, step < FOLIO_STEP_BYTES));
            if let Err(e) = ready {
                locked.unready(&file, &e);
                break;
            }
            locked.unready = false;
            at = file.start() + to as i64;
            self.warm.store(at, Ordering::Relaxed);
        }
        // Also when not all could be warmed: or each append would ask again.
        self.warm.fetch_max(goal, Ordering::Relaxed);
        locked.release_before(writer);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Where the writer was at some time.
struct Pace {
    since: Instant,
    from: i64,
}

impl Pace {
    /// Bytes a second since the last measurement, if that is long enough ago.
    fn measure(&mut self, writer: i64) -> Option<i64> {
        let elapsed = self.since.elapsed();
        if elapsed < PACE {
            return None;
        }
        let speed = (writer - self.from) as f64 / elapsed.as_secs_f64();
        *self = Pace { since: Instant::now(), from: writer };
        Some(speed as i64)
    }
}

fn status_of(error: &Error) -> PutStatus {
    if persist::is_full(error) {
        PutStatus::ServiceNotAvailable
    } else {
        PutStatus::CreateMapedFileFailed
    }
}

/// What of the log is locked in memory: from some way behind the writer on.
#[derive(Default)]
struct Locked {
    /// Each with the position from which it is locked, in the order of the log.
    files: VecDeque<(Arc<MappedFile>, usize)>,
    refused: bool,
    /// Pages could not be made ready the last time.
    unready: bool,
}

impl Locked {
    /// Locks the pages that will be used of `file`.
    fn add(&mut self, file: &Arc<MappedFile>) {
        let have = self.files.back().is_some_and(|(last, _)| last.start() >= file.start());
        if have || self.refused {
            return;
        }
        match file.lock() {
            Ok(()) => self.files.push_back((file.clone(), 0)),
            Err(e) => {
                self.refused = true;
                log::warn!(target: "store", "the commit log is not locked in memory: {e}; \
                    this takes CAP_IPC_LOCK or a memlock limit (ulimit -l) of {} KiB",
                    2 * file.size() / 1024);
            }
        }
    }

    /// Says once that pages could not be made ready.
    fn unready(&mut self, file: &MappedFile, error: &io::Error) {
        if !std::mem::replace(&mut self.unready, true) {
            log::warn!(target: "store", "{}: no pages are made ready ahead of sends: {error}; this \
                takes Linux 5.14, memory and disk", file.path().display());
        }
    }

    /// Unlocks what the writer has left behind, whole large folios only: in the middle of one the
    /// kernel would take it out of the page table, and the writer would meet a fault for each of
    /// its pages.
    fn release_before(&mut self, writer: i64) {
        while let Some((file, from)) = self.files.front_mut() {
            let behind = (writer - file.start()).clamp(0, file.size() as i64);
            let until = match behind as usize {
                all if all == file.size() => all,
                part => part - part % FOLIO_STEP_BYTES as usize,
            };
            if until <= *from {
                return;
            }
            if let Err(e) = file.unlock(*from..until) {
                log::debug!(target: "store", "munlock {}: {e}", file.path().display());
            }
            *from = until;
            if until == file.size() {
                self.files.pop_front();
            } else {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_writer_has_left_is_unlocked_by_whole_folios() {
        const FOLIO: i64 = FOLIO_STEP_BYTES;
        let dir = tempfile::tempdir().unwrap();
        let mut locked = Locked::default();
        // No more than a process may lock without a privilege.
        for (name, start) in [("a", FOLIO), ("b", FOLIO + 3 * FOLIO / 2)] {
            let size = 3 * FOLIO as usize / 2;
            locked.add(&Arc::new(MappedFile::create(&dir.path().join(name), start, size).unwrap()));
        }
        let mut left = |written: i64| {
            locked.release_before(FOLIO + written);
            locked.files.iter().map(|(_, from)| *from as i64).collect::<Vec<_>>()
        };
        assert_eq!(left(FOLIO - 1), [0, 0]);
        assert_eq!(left(FOLIO + 5000), [FOLIO, 0]);
        assert_eq!(left(3 * FOLIO / 2 - 1), [FOLIO, 0]);
        // The last of a file may be half a one.
        assert_eq!(left(3 * FOLIO / 2), [0]);
        assert_eq!(left(5 * FOLIO / 2), [FOLIO]);
        assert_eq!(left(3 * FOLIO), [0; 0]);
    }
}
