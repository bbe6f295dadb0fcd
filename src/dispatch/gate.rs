//! Where idle workers of a pool sleep, and how they are called.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Workers are called one at a time: one that has been called calls the next when it has found work
/// and sees more. So a burst of jobs costs few wake-ups, and none while all are busy.
#[derive(Default)]
pub struct Gate {
    lock: Mutex<()>,
    call: Condvar,
    sleeping: AtomicUsize,
    /// A worker has been called and has not come yet.
    called: AtomicBool,
}

impl Gate {
    /// Sleeps until called, as long as `idle` holds. Who makes `idle` false must do so with
    /// sequential consistency and call afterwards.
    pub fn sleep_while(&self, idle: impl Fn() -> bool) {
        let mut guard = self.lock();
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        // A call that found nobody asleep must not keep others from being made.
        self.called.store(false, Ordering::SeqCst);
        while idle() {
            guard = self.call.wait(guard).unwrap_or_else(PoisonError::into_inner);
            self.called.store(false, Ordering::SeqCst);
        }
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes a worker if one sleeps and none is on its way.
    pub fn call(&self) {
        if self.has_sleepers() && !self.called.swap(true, Ordering::SeqCst) {
            drop(self.lock());
            self.call.notify_one();
        }
    }

    /// Wakes all.
    pub fn call_all(&self) {
        drop(self.lock());
        self.call.notify_all();
    }

    /// Whether a worker sleeps.
    pub fn has_sleepers(&self) -> bool {
        self.sleeping.load(Ordering::SeqCst) > 0
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
