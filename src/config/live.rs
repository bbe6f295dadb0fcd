//! A value that is read often and replaced whole.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Holds a configuration that codes 25 and 318 change while everyone reads it.
#[derive(Debug)]
pub struct Live<T> {
    now: RwLock<Arc<T>>,
    /// No two values of a process have the same number.
    number: AtomicU64,
    /// Held through an update, so that none is lost.
    updating: Mutex<()>,
}

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

fn next_number() -> u64 {
    NEXT_NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// The value that a thread has seen last, with its number.
pub struct Seen<T> {
    number: u64,
    value: Arc<T>,
}

impl<T> Live<T> {
    pub fn new(value: T) -> Live<T> {
        let (now, number) = (RwLock::new(Arc::new(value)), AtomicU64::new(next_number()));
        Live { now, number, updating: Mutex::new(()) }
    }

    /// The value of this moment; it does not change while it is held.
    pub fn get(&self) -> Arc<T> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same for a thread that asks for every message: as long as the value is the one it has
    /// `seen`, of this or another `Live`, it writes to nothing that other threads write to.
    pub fn get_seen(&self, seen: Option<Seen<T>>) -> Seen<T> {
        let number = self.number.load(Ordering::Acquire);
        // A value newer than its number is only looked at once more.
        seen.filter(|seen| seen.number == number)
            .unwrap_or_else(|| Seen { number, value: self.get() })
    }

    /// Replaces the value by what `change` makes of it, unless that fails. Readers never wait for
    /// `change`, which may be slow (it may write a file); updates wait for each other.
    pub fn update<R, E>(&self, change: impl FnOnce(&T) -> Result<(T, R), E>) -> Result<R, E> {
        let _one = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, result) = change(&self.get())?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
        self.number.store(next_number(), Ordering::Release);
        Ok(result)
    }
}

impl<T> Deref for Seen<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_stays_and_a_failed_update_changes_nothing() {
        let live = Live::new(1);
        let before = live.get();
        assert_eq!(live.update(|n| Ok::<_, ()>((n + 1, "done"))), Ok("done"));
        assert_eq!(live.update(|_| Err::<(i32, ()), _>("no")), Err("no"));
        assert_eq!((*before, *live.get()), (1, 2));
    }

    #[test]
    fn what_was_seen_counts_until_it_changes() {
        let (live, other) = (Live::new(1), Live::new(7));
        let seen = live.get_seen(None);
        let before: *const i32 = &*seen;
        let seen = live.get_seen(Some(seen));
        assert!(*seen == 1 && std::ptr::eq(before, &*seen));
        assert_eq!(live.update(|_| Err::<(i32, ()), _>("no")), Err("no"));
        let seen = live.get_seen(Some(seen));
        assert!(std::ptr::eq(before, &*seen));
        live.update(|n| Ok::<_, ()>((n + 1, ()))).unwrap();
        let seen = live.get_seen(Some(seen));
        assert_eq!(*seen, 2);
        assert_eq!(*other.get_seen(Some(seen)), 7);
    }
}
