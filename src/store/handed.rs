//! The queues of records that were just put. Whoever puts a record has its queue at hand; dispatch,
//! which comes to it soon, would have to look it up by its name.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::consume_queue::Queue;
use crate::base::limits::QUEUES_HANDED_MAX;

/// Queues by the physical offsets of their records, ascending.
pub type ByPosition = VecDeque<(i64, Arc<Queue>)>;

/// What puts hand to dispatch.
#[derive(Default)]
pub struct Handed {
    wanted: AtomicBool,
    queues: Mutex<Vec<(i64, Arc<Queue>)>>,
}

impl Handed {
    /// The record at `position` is of this queue. Forgotten unless dispatch wants it, and when it
    /// is far behind: it must be able to do without.
    pub fn give(&self, position: i64, queue: &Arc<Queue>) {
        if !self.wanted.load(Relaxed) {
            return;
        }
        let mut queues = self.queues();
        if queues.len() < QUEUES_HANDED_MAX {
            queues.push((position, queue.clone()));
        }
    }

    /// Whether dispatch wants to know: it meets too many queues to remember them.
    pub fn want(&self, wanted: bool) {
        if self.wanted.load(Relaxed) != wanted {
            self.wanted.store(wanted, Relaxed);
            self.queues().clear();
        }
    }

    /// Whether it does.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// Adds what was given since the last call. Puts give in about the order of their records;
    /// those that come too late for that are left out. Puts go on with the memory of `given`, which
    /// is empty before and afterwards.
    pub fn take(&self, given: &mut Vec<(i64, Arc<Queue>)>, ahead: &mut ByPosition) {
        std::mem::swap(&mut *self.queues(), given);
        given.sort_unstable_by_key(|(position, _)| *position);
        let after = ahead.back().map_or(-1, |(position, _)| *position);
        ahead.extend(given.drain(..).filter(|(position, _)| *position > after));
    }

    fn queues(&self) -> MutexGuard<'_, Vec<(i64, Arc<Queue>)>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn what_puts_give_is_bounded_and_comes_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let store = fixture::open(dir.path());
        let queue = store.queues.get_or_create("T", 0).unwrap();
        let (handed, mut ahead, mut given) = (Handed::default(), ByPosition::new(), Vec::new());
        handed.give(0, &queue);
        handed.take(&mut given, &mut ahead);
        assert!(ahead.is_empty(), "not wanted");
        handed.want(true);
        [30, 10, 20].iter().for_each(|position| handed.give(*position, &queue));
        handed.take(&mut given, &mut ahead);
        [25, 40].iter().for_each(|position| handed.give(*position, &queue));
        handed.take(&mut given, &mut ahead);
        let positions = |ahead: &ByPosition| ahead.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!(positions(&ahead), [10, 20, 30, 40], "25 came too late");
        (0..5000).for_each(|n| handed.give(50 + n, &queue));
        handed.take(&mut given, &mut ahead);
        assert_eq!(positions(&ahead)[4..], (50..50 + 4096).collect::<Vec<_>>());
        handed.give(9000, &queue);
        handed.want(false);
        drop(ahead);
        assert!(!handed.is_wanted());
        assert_eq!(Arc::strong_count(&queue), 2, "the table's and ours");
    }
}
