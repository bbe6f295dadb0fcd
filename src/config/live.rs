//! A value that is read often and replaced whole.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Holds a configuration that codes 25 and 318 change while everyone reads it.
#[derive(Debug)]
pub struct Live<T> {
    now: RwLock<Arc<T>>,
    /// Held through an update, so that none is lost.
    updating: Mutex<()>,
}

impl<T> Live<T> {
    /// Begins with this value.
    pub fn new(value: T) -> Live<T> {
        Live { now: RwLock::new(Arc::new(value)), updating: Mutex::new(()) }
    }

    /// The value of this moment; it does not change while it is held.
    pub fn get(&self) -> Arc<T> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the value by what `change` makes of it, unless that fails. Readers never wait for
    /// `change`, which may be slow (it may write a file); updates wait for each other.
    pub fn update<R, E>(&self, change: impl FnOnce(&T) -> Result<(T, R), E>) -> Result<R, E> {
        let _one = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, result) = change(&self.get())?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
        Ok(result)
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
}
