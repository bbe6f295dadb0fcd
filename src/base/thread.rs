//! Named threads that are joined, and the flag that stops them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Result;
use super::error::IoContext;

/// A running thread.
#[derive(Debug)]
pub struct Handle {
    name: String,
    inner: std::thread::JoinHandle<()>,
}

impl Handle {
    /// Waits for the end of the thread. A panic in it is logged, not passed on.
    pub fn join(self) {
        if self.inner.join().is_err() {
            log::error!("thread {} ended by a panic", self.name);
        }
    }

    /// Waits for the end of the thread, but not beyond `until`; then it is left behind.
    pub fn join_until(self, until: Instant) {
        while !self.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        match self.is_finished() {
            true => self.join(),
            false => log::error!("thread {} does not stop", self.name),
        }
    }

    /// Whether the thread has ended, so that `join` would not wait.
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }
}

/// Starts a thread. The name shows in logs and in `top -H` (its first 15 bytes). Fails when the
/// operating system refuses another thread.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<Handle> {
    let inner = std::thread::Builder::new()
        .name(name.to_string())
        .spawn(work)
        .what(|| format!("start thread {name}"))?;
    Ok(Handle { name: name.to_string(), inner })
}

/// Starts a thread that calls `work` after `first` and then with `period` between two calls, sooner
/// after `stop.wake()`, until `stop.set()`.
pub fn every(
    name: &str,
    stop: Arc<Stop>,
    first: Duration,
    period: Duration,
    mut work: impl FnMut() + Send + 'static,
) -> Result<Handle> {
    spawn(name, move || {
        let mut pause = first;
        while !stop.wait(pause) {
            work();
            pause = period;
        }
    })
}

/// Tells one thread, or several, to stop; also wakes one early from its pause.
#[derive(Debug, Default)]
pub struct Stop {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    woken: bool,
}

impl Stop {
    /// Not stopping yet.
    pub fn new() -> Arc<Stop> {
        Arc::new(Stop::default())
    }

    /// Pauses for `pause`, or until `wake` or `set`. True when stopping. A `wake` that came before
    /// the pause ends it at once; of several threads that wait, one takes a `wake`.
    pub fn wait(&self, pause: Duration) -> bool {
        let until = Instant::now().checked_add(pause);
        let mut state = self.lock();
        while !state.stopping && !state.woken {
            let left = match until {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None => Duration::MAX,
            };
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.woken = false;
        state.stopping
    }

    /// Ends the present pause, or the next one when nobody pauses.
    pub fn wake(&self) {
        self.lock().woken = true;
        self.changed.notify_one();
    }

    /// Stops everyone who waits here, now and from now on.
    pub fn set(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Whether `set` was called.
    pub fn is_set(&self) -> bool {
        self.lock().stopping
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    #[test]
    fn stop_ends_a_long_pause() {
        let stop = Stop::new();
        let theirs = stop.clone();
        let thread = spawn("sleeper", move || while !theirs.wait(Duration::from_secs(3600)) {});
        stop.set();
        thread.unwrap().join();
        assert!(stop.is_set());
        assert!(stop.wait(Duration::from_secs(3600)));
    }

    #[test]
    fn a_wake_before_the_pause_is_not_lost() {
        let stop = Stop::new();
        stop.wake();
        assert!(!stop.wait(Duration::from_secs(3600)));
        assert!(!stop.wait(Duration::ZERO));
        assert!(!stop.is_set());
    }

    #[test]
    fn every_repeats_until_stopped() {
        let (stop, count) = (Stop::new(), Arc::new(AtomicUsize::new(0)));
        let (said, heard) = mpsc::channel();
        let counted = count.clone();
        let thread = every("tick", stop.clone(), Duration::ZERO, Duration::ZERO, move || {
            if counted.fetch_add(1, Ordering::Relaxed) == 2 {
                said.send(()).unwrap();
            }
        });
        heard.recv().unwrap();
        stop.set();
        thread.unwrap().join();
        assert!(count.load(Ordering::Relaxed) >= 3);
    }

    #[test]
    fn a_panic_stays_in_its_thread() {
        let thread = spawn("unlucky", || panic!("on purpose")).unwrap();
        thread.join();
    }
}
