//! The messages of one queue that were pulled and not yet consumed: how many, and up to where one
//! may commit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::client::instance::lock;
use crate::client::topic_route::MASTER_ID;
use crate::protocol::body::MessageQueue;

/// The `committed` of a queue of which nothing was committed yet.
pub(crate) const NEVER: i64 = -1;

/// One assigned queue. Lives from one rebalance that assigned it to one that took it away.
pub(crate) struct ProcessQueue {
    pub queue: MessageQueue,
    /// Where the next pull begins; the pull thread's own.
    pub next_pull: AtomicI64,
    /// The replica to pull from.
    pub broker_id: AtomicI64,
    /// The offset last committed.
    pub committed: AtomicI64,
    dropped: AtomicBool,
    cached: Mutex<Cached>,
}

struct Cached {
    /// Queue offset to body bytes, of messages not yet consumed.
    messages: BTreeMap<i64, usize>,
    bytes: usize,
    /// One after the highest offset ever cached.
    end: i64,
    /// What may be committed; only grows.
    commit: i64,
}

/// How much waits to be consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub messages: usize,
    pub bytes: usize,
    /// From the lowest cached offset to the highest.
    pub span: i64,
}

impl ProcessQueue {
    /// A queue consumed from `offset` on.
    pub fn new(queue: MessageQueue, offset: i64) -> ProcessQueue {
        let cached = Cached { messages: BTreeMap::new(), bytes: 0, end: offset, commit: offset };
        ProcessQueue {
            queue,
            next_pull: AtomicI64::new(offset),
            broker_id: AtomicI64::new(MASTER_ID),
            committed: AtomicI64::new(NEVER),
            dropped: AtomicBool::new(false),
            cached: Mutex::new(cached),
        }
    }

    /// Takes in pulled messages as offset and body bytes.
    pub fn put(&self, messages: impl Iterator<Item = (i64, usize)>) {
        let mut cached = self.lock();
        for (offset, bytes) in messages {
            if cached.messages.insert(offset, bytes).is_none() {
                cached.bytes += bytes;
            }
            cached.end = cached.end.max(offset + 1);
        }
    }

    /// Nothing was found before `offset`: when nothing waits either, it may be committed.
    pub fn skip_to(&self, offset: i64) {
        let mut cached = self.lock();
        if cached.messages.is_empty() {
            cached.end = cached.end.max(offset);
            cached.commit = cached.commit.max(offset);
        }
    }

    /// Takes out consumed messages.
    pub fn remove(&self, offsets: impl Iterator<Item = i64>) {
        let mut cached = self.lock();
        for offset in offsets {
            if let Some(bytes) = cached.messages.remove(&offset) {
                cached.bytes -= bytes;
            }
        }
        let done = cached.messages.first_key_value().map_or(cached.end, |(first, _)| *first);
        cached.commit = cached.commit.max(done);
    }

    /// Every message before this offset was consumed.
    pub fn commit_offset(&self) -> i64 {
        self.lock().commit
    }

    /// What waits.
    pub fn backlog(&self) -> Backlog {
        let cached = self.lock();
        let first = cached.messages.first_key_value().map(|(first, _)| *first);
        let last = cached.messages.last_key_value().map(|(last, _)| *last);
        let span = first.zip(last).map_or(0, |(first, last)| last - first);
        Backlog { messages: cached.messages.len(), bytes: cached.bytes, span }
    }

    /// The queue is no longer ours: results no longer count.
    pub fn drop_it(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    /// Whether it was taken away.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Cached> {
        lock(&self.cached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started_at(offset: i64) -> ProcessQueue {
        let queue = MessageQueue { topic: "T".into(), broker_name: "b".into(), queue_id: 0 };
        ProcessQueue::new(queue, offset)
    }

    #[test]
    fn commits_stop_before_the_first_unfinished_message() {
        let queue = started_at(10);
        queue.put([(10, 5), (11, 5), (12, 5), (15, 5)].into_iter());
        assert_eq!(queue.backlog(), Backlog { messages: 4, bytes: 20, span: 5 });
        queue.remove([11, 12].into_iter());
        assert_eq!(queue.commit_offset(), 10);
        queue.remove([10].into_iter());
        assert_eq!(queue.commit_offset(), 15);
        queue.remove([15].into_iter());
        assert_eq!(queue.commit_offset(), 16);
        assert_eq!(queue.backlog(), Backlog { messages: 0, bytes: 0, span: 0 });
    }

    #[test]
    fn gaps_are_skipped_only_when_nothing_waits() {
        let queue = started_at(0);
        queue.put([(0, 1)].into_iter());
        queue.skip_to(9);
        assert_eq!(queue.commit_offset(), 0);
        queue.remove([0].into_iter());
        assert_eq!(queue.commit_offset(), 1);
        queue.skip_to(9);
        assert_eq!(queue.commit_offset(), 9);
        queue.skip_to(3);
        assert_eq!(queue.commit_offset(), 9);
    }
}
