//! Who waits for the disk: completions by log offset. A waiter is a closure, never a thread.
//!
//! The flush thread takes all waiters as one group, flushes once and completes them. A waiter whose
//! deadline passes meanwhile is completed by the watcher, even if the disk hangs in that flush.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use super::status::PutStatus;

/// With fewer waiters than this, none waits for others.
const GATHER_FROM: usize = 8;

/// What a put must wait for before it is answered.
#[derive(Clone, Copy, Debug)]
pub struct WaitFor {
    /// The log must be on disk up to here.
    pub offset: i64,
    /// After this the answer is FLUSH_DISK_TIMEOUT.
    pub deadline: Instant,
}

/// Told what became of a put.
pub type Done = Box<dyn FnOnce(PutStatus) + Send>;

/// Called with the work of completing one group, which it must run: lets the answers of a group
/// leave together.
pub type GroupHook = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

/// The waiters, and how far the log is on disk.
#[derive(Default)]
pub struct Durable {
    state: Mutex<State>,
    wake: Condvar,
    flushed: AtomicI64,
    hook: OnceLock<GroupHook>,
}

#[derive(Default)]
struct State {
    /// Not yet looked at by the flush thread.
    waiting: Vec<Waiter>,
    /// The group being flushed.
    flushing: Vec<Waiter>,
    /// Groups whose completions are being run.
    completing: usize,
    /// How many waited when the last group was done, it included.
    recent: usize,
    /// The flush thread sleeps until so many wait; 0 while it does not sleep.
    wanted: usize,
    stop: bool,
    /// The disk failed: nothing will be durable any more.
    failed: bool,
}

struct Waiter {
    wait: WaitFor,
    done: Done,
}

impl Durable {
    /// The log is on disk up to here.
    pub fn flushed(&self) -> i64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// Moves `flushed`: forward after a flush, anywhere in recovery.
    pub fn set_flushed(&self, offset: i64) {
        self.flushed.store(offset, Ordering::Release);
    }

    /// Sets the wrapper of group completions, once and before the first group.
    pub fn set_group_hook(&self, hook: GroupHook) {
        let _ = self.hook.set(hook);
    }

    /// Calls `done` when the wait is over, on the flush thread, or here and now if it is over
    /// already.
    pub fn when(&self, wait: WaitFor, done: Done) {
        if wait.offset <= self.flushed() {
            return done(PutStatus::PutOk);
        }
        let mut state = self.state();
        if state.failed || state.stop {
            drop(state);
            return done(PutStatus::FlushDiskTimeout);
        }
        state.waiting.push(Waiter { wait, done });
        if state.wanted > 0 && state.waiting.len() >= state.wanted {
            state.wanted = 0;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Sleeps until someone waits, `interval` has passed, or `stop`. Returns false when stopping.
    /// For the flush thread.
    pub fn wait(&self, interval: Duration) -> bool {
        self.wait_for(self.state(), 1, interval)
    }

    /// When many wait, those just answered are likely to come again at once: sleeps until as many
    /// wait as lately, `pause` has passed, or `stop`. One flush for all is cheaper than two that
    /// take turns. For the flush thread.
    pub fn gather(&self, pause: Duration) {
        let state = self.state();
        let wanted = state.recent;
        if wanted >= GATHER_FROM && !state.waiting.is_empty() {
            self.wait_for(state, wanted, pause);
        }
    }

    fn wait_for(&self, mut state: MutexGuard<'_, State>, wanted: usize, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.waiting.len() >= wanted || state.stop || left.is_zero() {
                return !state.stop;
            }
            state.wanted = wanted;
            state = self.wake.wait_timeout(state, left).unwrap_or_else(|p| p.into_inner()).0;
            state.wanted = 0;
        }
    }

    /// Makes those who wait the group to flush.
    pub fn take_group(&self) {
        let state = &mut *self.state();
        state.flushing.append(&mut state.waiting);
    }

    /// Waits until everyone has been completed, until `deadline` at most. False when it has passed.
    pub fn settle(&self, deadline: Instant) -> bool {
        let is_settled = |state: &State| {
            state.waiting.is_empty() && state.flushing.is_empty() && state.completing == 0
        };
        while !is_settled(&self.state()) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Completes the group: all of it with `status`.
    pub fn complete_group(&self, status: PutStatus) {
        let group = {
            let mut state = self.state();
            if status != PutStatus::PutOk {
                state.failed = true;
                let state = &mut *state;
                state.flushing.append(&mut state.waiting);
            }
            state.recent = state.flushing.len() + state.waiting.len();
            state.completing += 1;
            std::mem::take(&mut state.flushing)
        };
        self.complete(group, status);
    }

    /// Completes everyone whose deadline has passed with FLUSH_DISK_TIMEOUT.
    pub fn expire(&self, now: Instant) {
        let late = {
            let state = &mut *self.state();
            let late = |waiter: &mut Waiter| waiter.wait.deadline <= now;
            let mut gone: Vec<Waiter> = state.flushing.extract_if(.., late).collect();
            gone.extend(state.waiting.extract_if(.., late));
            state.completing += 1;
            gone
        };
        self.complete(late, PutStatus::FlushDiskTimeout);
    }

    /// Makes `wait` return false.
    pub fn stop(&self) {
        self.state().stop = true;
        self.wake.notify_all();
    }

    fn complete(&self, group: Vec<Waiter>, status: PutStatus) {
        if !group.is_empty() {
            self.run(group, status);
        }
        self.state().completing -= 1;
    }

    fn run(&self, group: Vec<Waiter>, status: PutStatus) {
        let mut group = group.into_iter();
        let mut run = || {
            for waiter in group.by_ref() {
                // A completion that panics must not take the flush thread along.
                if catch_unwind(AssertUnwindSafe(|| (waiter.done)(status))).is_err() {
                    log::error!(target: "store", "the completion of a put panicked");
                }
            }
        };
        match self.hook.get() {
            Some(hook) => hook(&mut run),
            None => run(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;
    use crate::base::thread;

    fn wait(offset: i64) -> WaitFor {
        WaitFor { offset, deadline: Instant::now() + Duration::from_secs(60) }
    }

    fn watched(durable: &Durable, offset: i64) -> mpsc::Receiver<PutStatus> {
        let (send, receive) = mpsc::sync_channel(1);
        durable.when(wait(offset), Box::new(move |status| send.send(status).unwrap()));
        receive
    }

    #[test]
    fn a_group_is_completed_together() {
        let durable = Durable::default();
        let groups = Arc::new(AtomicUsize::new(0));
        let count = groups.clone();
        durable.set_group_hook(Box::new(move |run| {
            count.fetch_add(1, Ordering::Relaxed);
            run();
        }));
        let (a, b) = (watched(&durable, 10), watched(&durable, 20));
        durable.take_group();
        let c = watched(&durable, 30);
        durable.set_flushed(20);
        durable.complete_group(PutStatus::PutOk);
        assert_eq!((a.try_recv(), b.try_recv()), (Ok(PutStatus::PutOk), Ok(PutStatus::PutOk)));
        assert!(c.try_recv().is_err());
        assert_eq!(watched(&durable, 20).try_recv(), Ok(PutStatus::PutOk));
        assert_eq!(groups.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn as_many_as_lately_are_gathered() {
        let durable = Arc::new(Durable::default());
        let group = |count| (0..count).for_each(|_| durable.when(wait(10), Box::new(|_| ())));
        group(GATHER_FROM);
        durable.take_group();
        group(2);
        durable.complete_group(PutStatus::PutOk);
        let sleeper = durable.clone();
        let gather = move || sleeper.gather(Duration::from_secs(600));
        let thread = thread::spawn("gather", gather).unwrap();
        while durable.state().wanted == 0 {
            std::thread::yield_now();
        }
        assert_eq!(durable.state().wanted, GATHER_FROM + 2);
        group(GATHER_FROM);
        thread.join();
        for count in [0, 1] {
            group(count);
            durable.take_group();
            durable.complete_group(PutStatus::PutOk);
        }
        group(1);
        durable.gather(Duration::from_secs(600));
    }

    #[test]
    fn settling_waits_for_the_completions() {
        let durable = Arc::new(Durable::default());
        assert!(durable.settle(Instant::now()));
        let (send, receive) = mpsc::sync_channel(0);
        durable.when(wait(10), Box::new(move |status| send.send(status).unwrap()));
        assert!(!durable.settle(Instant::now()));
        durable.take_group();
        assert!(!durable.settle(Instant::now()));
        let completing = durable.clone();
        let complete = move || completing.complete_group(PutStatus::PutOk);
        let thread = thread::spawn("complete", complete).unwrap();
        while durable.state().completing == 0 {
            std::thread::yield_now();
        }
        assert!(!durable.settle(Instant::now()));
        assert_eq!(receive.recv(), Ok(PutStatus::PutOk));
        assert!(durable.settle(Instant::now() + Duration::from_secs(60)));
        thread.join();
    }

    #[test]
    fn failure_is_final_and_panics_are_contained() {
        let durable = Durable::default();
        let a = watched(&durable, 10);
        durable.when(wait(10), Box::new(|_| panic!("test")));
        durable.take_group();
        let b = watched(&durable, 20);
        durable.complete_group(PutStatus::FlushDiskTimeout);
        assert_eq!(a.try_recv(), Ok(PutStatus::FlushDiskTimeout));
        assert_eq!(b.try_recv(), Ok(PutStatus::FlushDiskTimeout));
        assert_eq!(watched(&durable, 30).try_recv(), Ok(PutStatus::FlushDiskTimeout));
    }

    #[test]
    fn deadlines_pass_even_while_flushing() {
        let durable = Durable::default();
        let (a, b) = (watched(&durable, 10), watched(&durable, 20));
        durable.take_group();
        let c = watched(&durable, 30);
        durable.expire(Instant::now());
        assert!(a.try_recv().is_err() && c.try_recv().is_err());
        durable.expire(Instant::now() + Duration::from_secs(61));
        for late in [a, b, c] {
            assert_eq!(late.try_recv(), Ok(PutStatus::FlushDiskTimeout));
        }
        durable.complete_group(PutStatus::PutOk);
        durable.stop();
        assert!(!durable.wait(Duration::from_secs(60)));
    }
}
