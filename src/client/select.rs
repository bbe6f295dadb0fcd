//! Choosing the queue of a send: round robin, and on a retry another broker than the one that
//! failed.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::protocol::body::MessageQueue;

/// A counter over queues; starts anywhere.
pub(crate) struct RoundRobin(AtomicUsize);

impl RoundRobin {
    /// Begins with the queue of this number.
    pub fn new(start: usize) -> RoundRobin {
        RoundRobin(AtomicUsize::new(start))
    }

    /// The next queue; one on another broker than `failed` when there is one. `None`: no queues.
    pub fn next<'a>(
        &self,
        queues: &'a [MessageQueue],
        failed: Option<&str>,
    ) -> Option<&'a MessageQueue> {
        for _ in 0..queues.len() {
            let queue = self.any(queues)?;
            if failed != Some(queue.broker_name.as_str()) {
                return Some(queue);
            }
        }
        self.any(queues)
    }

    fn any<'a>(&self, queues: &'a [MessageQueue]) -> Option<&'a MessageQueue> {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        queues.get(count.checked_rem(queues.len())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(brokers: &[&str]) -> Vec<MessageQueue> {
        let queue = |(id, name): (usize, &&str)| MessageQueue {
            topic: "T".into(),
            broker_name: (*name).into(),
            queue_id: id as i32,
        };
        brokers.iter().enumerate().map(queue).collect()
    }

    #[test]
    fn takes_turns() {
        let (all, turn) = (queues(&["a", "a", "b"]), RoundRobin::new(usize::MAX));
        let ids: Vec<_> =
            (0..6).map(|_| turn.next(&all, None).expect("a queue").queue_id).collect();
        assert_eq!(ids[1..], [0, 1, 2, 0, 1]);
    }

    #[test]
    fn a_retry_avoids_the_broker_that_failed() {
        let (all, turn) = (queues(&["a", "a", "b"]), RoundRobin::new(0));
        for _ in 0..4 {
            assert_eq!(turn.next(&all, Some("a")).expect("a queue").broker_name, "b");
        }
        let one = queues(&["a", "a"]);
        assert_eq!(turn.next(&one, Some("a")).expect("the only broker").broker_name, "a");
        assert!(turn.next(&[], Some("a")).is_none());
    }
}
