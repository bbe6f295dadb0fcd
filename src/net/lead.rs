//! Who leads a reactor: one of two threads.
//!
//! The one that leads may lend itself to the service for the little that a turn has brought, which
//! costs less than to wake a worker. Should that take long, the other goes on leading.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Takes a reactor away from a thread that is lent for too long.
#[derive(Default)]
pub struct Relief {
    state: Mutex<State>,
    called: Condvar,
    /// A thread waits to lead.
    spare: AtomicBool,
}

#[derive(Default)]
struct State {
    /// The reactor is in `Lead::idle`.
    lent: bool,
    /// A waiting thread is to lead.
    call: bool,
    ended: bool,
}

impl Relief {
    /// Has the spare thread lead, if the leading one is lent.
    pub fn take_over(&self) {
        let mut state = self.lock();
        if state.lent {
            state.call = true;
            self.called.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reactor `R` and who leads it.
pub struct Lead<R> {
    /// The reactor while no thread leads it.
    idle: Mutex<Option<R>>,
    relief: Arc<Relief>,
}

impl<R> Lead<R> {
    /// The first thread that calls `wait` is to lead.
    pub fn new(reactor: R) -> Arc<Lead<R>> {
        let relief = Arc::<Relief>::default();
        relief.lock().call = true;
        relief.lock().lent = true;
        Arc::new(Lead { idle: Mutex::new(Some(reactor)), relief })
    }

    /// Who can end a lending.
    pub fn relief(&self) -> &Arc<Relief> {
        &self.relief
    }

    /// Waits until this thread is to lead; `None`: never any more.
    pub fn wait(&self) -> Option<R> {
        let mut state = self.relief.lock();
        self.relief.spare.store(true, Ordering::Relaxed);
        while !state.call && !state.ended {
            state = self.relief.called.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended {
            return None;
        }
        self.relief.spare.store(false, Ordering::Relaxed);
        self.take(&mut state)
    }

    /// Whether another thread waits to lead.
    pub fn has_spare(&self) -> bool {
        self.relief.spare.load(Ordering::Relaxed)
    }

    /// The leading thread does something else, until `take_back`.
    pub fn lend(&self, reactor: R) {
        let mut state = self.relief.lock();
        state.lent = true;
        *self.idle() = Some(reactor);
    }

    /// Leads on, unless another thread has been called to do that.
    pub fn take_back(&self) -> Option<R> {
        let mut state = self.relief.lock();
        if state.lent { self.take(&mut state) } else { None }
    }

    /// The reactor has ended.
    pub fn end(&self) {
        self.relief.lock().ended = true;
        self.relief.called.notify_all();
    }

    /// Ends the reactor when this thread panics, so that nobody waits for it in vain.
    pub fn end_on_panic(&self) -> EndOnPanic<'_, R> {
        EndOnPanic(self)
    }

    /// Waits for `end`; a thread that is lent is not waited for.
    pub fn wait_end(&self) {
        self.relief.take_over();
        let mut state = self.relief.lock();
        while !state.ended {
            state = self.relief.called.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn take(&self, state: &mut State) -> Option<R> {
        state.lent = false;
        state.call = false;
        self.idle().take()
    }

    fn idle(&self) -> MutexGuard<'_, Option<R>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See `Lead::end_on_panic`.
pub struct EndOnPanic<'a, R>(&'a Lead<R>);

impl<R> Drop for EndOnPanic<'_, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_threads_leads() {
        let lead = Lead::new("reactor");
        assert_eq!(lead.wait(), Some("reactor"));
        assert!(!lead.has_spare());
        lead.lend("reactor");
        assert_eq!(lead.take_back(), Some("reactor"), "nobody was called");
        lead.relief().take_over();
        lead.lend("reactor");
        assert_eq!(lead.take_back(), Some("reactor"), "a call while it led does not count");
        lead.lend("reactor");
        lead.relief().take_over();
        assert_eq!(lead.wait(), Some("reactor"), "another leads on");
        assert_eq!(lead.take_back(), None);
        let theirs = lead.clone();
        let dies = crate::base::thread::spawn("unlucky", move || {
            let _ends = theirs.end_on_panic();
            panic!("on purpose");
        });
        dies.unwrap().join();
        lead.wait_end();
        assert_eq!(lead.wait(), None);
    }
}
