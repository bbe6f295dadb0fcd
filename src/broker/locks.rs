//! Queue locks of orderly consumers: group and queue → the one client that may consume it.
//!
//! In memory only. A lock belongs to a client id, not to a connection: a client that died keeps
//! its queues until the lock expires.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::limits::QUEUE_LOCKS_MAX;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::lock::LockBatchRequest;

/// `rocketmq.broker.rebalance.lockMaxLiveTime`: a lock not refreshed for so long is free.
pub const LOCK_LIVE: Duration = Duration::from_secs(60);

struct Lock {
    client_id: String,
    refreshed_ms: i64,
}

impl Lock {
    fn expired(&self, now_ms: i64) -> bool {
        now_ms - self.refreshed_ms > LOCK_LIVE.as_millis() as i64
    }
}

#[derive(Default)]
struct Table {
    groups: HashMap<String, HashMap<MessageQueue, Lock>>,
    count: usize,
}

/// All queue locks of this broker.
#[derive(Default)]
pub struct Locks {
    table: Mutex<Table>,
}

impl Locks {
    /// LOCK_BATCH_MQ: takes or refreshes what it can and returns the queues the client holds now.
    /// Beyond `QUEUE_LOCKS_MAX` locks nothing new is granted.
    pub fn lock(&self, request: &LockBatchRequest, now_ms: i64) -> Vec<MessageQueue> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = table.count;
        let group = table.groups.entry(request.consumer_group.clone()).or_default();
        let mut granted = Vec::with_capacity(request.mq_set.len());
        let mut seen = HashSet::with_capacity(request.mq_set.len());
        for queue in request.mq_set.iter().filter(|&queue| seen.insert(queue)) {
            match group.get_mut(queue) {
                Some(held) if held.client_id == request.client_id || held.expired(now_ms) => {
                    held.client_id.clone_from(&request.client_id);
                    held.refreshed_ms = now_ms;
                }
                Some(_) => continue,
                None if count >= QUEUE_LOCKS_MAX => continue,
                None => {
                    let client_id = request.client_id.clone();
                    group.insert(queue.clone(), Lock { client_id, refreshed_ms: now_ms });
                    count += 1;
                }
            }
            granted.push(queue.clone());
        }
        if group.is_empty() {
            table.groups.remove(&request.consumer_group);
        }
        table.count = count;
        granted
    }

    /// UNLOCK_BATCH_MQ: gives up the queues the client holds; others are left alone.
    pub fn unlock(&self, request: &LockBatchRequest) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(group) = table.groups.get_mut(&request.consumer_group) else { return };
        let before = group.len();
        for queue in &request.mq_set {
            if group.get(queue).is_some_and(|held| held.client_id == request.client_id) {
                group.remove(queue);
            }
        }
        let freed = before - group.len();
        if group.is_empty() {
            table.groups.remove(&request.consumer_group);
        }
        table.count -= freed;
    }

    /// Forgets locks that expired.
    pub fn sweep(&self, now_ms: i64) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.groups.retain(|_, group| {
            group.retain(|_, held| !held.expired(now_ms));
            !group.is_empty()
        });
        table.count = table.groups.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(client: &str, queues: &[i32]) -> LockBatchRequest {
        let queue = |&queue_id| MessageQueue::new("T", "b", queue_id);
        LockBatchRequest {
            consumer_group: "g".into(),
            client_id: client.into(),
            mq_set: queues.iter().map(queue).collect(),
        }
    }

    fn ids(queues: &[MessageQueue]) -> Vec<i32> {
        queues.iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn a_queue_belongs_to_one_client_until_it_expires() {
        let locks = Locks::default();
        assert_eq!(ids(&locks.lock(&request("a", &[0, 1]), 0)), [0, 1]);
        assert_eq!(ids(&locks.lock(&request("b", &[1, 2]), 30_000)), [2]);
        assert_eq!(ids(&locks.lock(&request("a", &[0]), 40_000)), [0]);
        assert_eq!(ids(&locks.lock(&request("b", &[0, 1]), 60_001)), [1]);
        assert_eq!(ids(&locks.lock(&request("b", &[0]), 100_000)), [] as [i32; 0]);
        assert_eq!(ids(&locks.lock(&request("b", &[0]), 100_001)), [0]);
    }

    #[test]
    fn only_the_holder_unlocks() {
        let locks = Locks::default();
        locks.lock(&request("a", &[0, 1]), 0);
        locks.unlock(&request("b", &[0]));
        assert!(locks.lock(&request("b", &[0]), 1).is_empty());
        locks.unlock(&request("a", &[0]));
        assert_eq!(ids(&locks.lock(&request("b", &[0, 1]), 1)), [0]);
    }

    #[test]
    fn a_group_without_locks_is_not_kept() {
        let locks = Locks::default();
        locks.lock(&request("a", &[]), 0);
        assert!(locks.table.lock().unwrap().groups.is_empty());
    }

    #[test]
    fn sweep_forgets_the_expired() {
        let locks = Locks::default();
        locks.lock(&request("a", &[0, 1]), 0);
        locks.lock(&request("a", &[1]), 50_000);
        locks.sweep(70_000);
        assert_eq!(locks.table.lock().unwrap().count, 1);
        locks.sweep(200_000);
        assert!(locks.table.lock().unwrap().groups.is_empty());
    }
}
