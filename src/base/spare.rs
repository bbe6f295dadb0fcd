//! Buffers that are done with, kept for those who will need some.
//!
//! What a reactor allocates for a request a worker would free: the system's allocator then takes a
//! lock on both sides, and they wait for each other. So buffers go back, many at a time.

use std::cell::RefCell;
use std::sync::LazyLock;
use std::thread::LocalKey;

use crossbeam::queue::ArrayQueue;

use super::limits::SPARE_BUNDLES_MAX;

/// Buffers that change threads in one go.
const BUNDLE: usize = 32;

/// What one thread has of them.
pub type Own<T> = RefCell<Vec<T>>;

/// Spare buffers of one kind: each thread has some of its own, at most two bundles, and those that
/// have too many leave bundles for those that have none.
pub struct Spares<T: 'static> {
    own: &'static LocalKey<Own<T>>,
    bundles: LazyLock<ArrayQueue<Vec<T>>>,
}

impl<T: Default> Spares<T> {
    /// Of the kind that each thread keeps in `own`.
    pub const fn new(own: &'static LocalKey<Own<T>>) -> Spares<T> {
        Spares { own, bundles: LazyLock::new(|| ArrayQueue::new(SPARE_BUNDLES_MAX)) }
    }

    /// A buffer as it was given, or a new one.
    pub fn take(&self) -> T {
        self.own.with_borrow_mut(|own| {
            if own.is_empty()
                && let Some(bundle) = self.bundles.pop()
            {
                *own = bundle;
            }
            own.pop().unwrap_or_default()
        })
    }

    /// Keeps a buffer, unless there are enough.
    pub fn give(&self, buffer: T) {
        self.own.with_borrow_mut(|own| {
            if own.len() == 2 * BUNDLE {
                let _too_many = self.bundles.push(own.split_off(BUNDLE));
            }
            own.push(buffer);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::thread;

    #[test]
    fn buffers_come_back_from_other_threads_and_are_bounded() {
        thread_local!(static OWN: Own<Vec<u8>> = const { RefCell::new(Vec::new()) });
        static SPARES: Spares<Vec<u8>> = Spares::new(&OWN);
        let give = |count: usize| (0..count).for_each(|i| SPARES.give(vec![i as u8]));
        let taken = || std::iter::repeat_with(|| SPARES.take()).take_while(|b| !b.is_empty());
        let elsewhere = |count: usize| thread::spawn("giver", move || give(count)).unwrap().join();

        assert_eq!(taken().count(), 0, "a new one is empty");
        give(2);
        assert_eq!(taken().collect::<Vec<_>>(), [[1], [0]], "its own, the last one first");
        elsewhere(2 * BUNDLE);
        assert_eq!(taken().count(), 0, "the other thread may want them itself");
        elsewhere(2 * BUNDLE + 1);
        assert_eq!(taken().count(), BUNDLE);
        elsewhere((SPARE_BUNDLES_MAX + 9) * BUNDLE);
        assert_eq!(taken().count(), SPARE_BUNDLES_MAX * BUNDLE);
    }
}
