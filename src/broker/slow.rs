//! Groups that read too slowly and are stopped for it: `disableConsumeIfConsumerReadSlowly`.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Broker;
use crate::base::limits::STATS_ITEMS_MAX;
use crate::config::BrokerConfig;
use crate::store::GetResult;

/// How often `Broker::stop_slow_groups` is to be called.
pub const PERIOD: Duration = Duration::from_secs(180);

/// Queues whose last read was too far behind the end of the log, by group.
#[derive(Default)]
pub struct Slow {
    queues: Mutex<HashSet<(String, String, i32)>>,
}

impl Slow {
    fn lock(&self) -> MutexGuard<'_, HashSet<(String, String, i32)>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group has read a queue.
    pub fn read(&self, config: &BrokerConfig, group: &str, queue: (&str, i32), got: &GetResult) {
        let (Some(behind), true) = (got.behind_bytes, is_watched(config)) else { return };
        let key = (group.to_owned(), queue.0.to_owned(), queue.1);
        let mut queues = self.lock();
        if behind <= config.consumer_fallbehind_threshold {
            queues.remove(&key);
        } else if queues.len() < STATS_ITEMS_MAX {
            queues.insert(key);
        }
    }
}

fn is_watched(config: &BrokerConfig) -> bool {
    config.disable_consume_if_consumer_read_slowly && config.store.disk_fall_recorded
}

impl Broker {
    /// Groups that have read any queue too slowly may consume no more until an operator enables
    /// them.
    pub fn stop_slow_groups(&self) {
        let mut queues = self.slow.lock();
        if !is_watched(&self.config.get()) {
            return queues.clear();
        }
        let groups: BTreeSet<String> = queues.iter().map(|queue| queue.0.clone()).collect();
        drop(queues);
        groups.iter().for_each(|group| self.groups.disable(group));
    }
}
