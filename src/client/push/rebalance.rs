//! Which queues this member has: its share of every subscribed topic, computed as every member
//! does.

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::{Result, limits};
use crate::client::instance::lock;
use crate::protocol::Command;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::client::ConsumerIdList;
use crate::protocol::code::request;
use crate::protocol::headers::client::GetConsumerList;

use super::Inner;
use super::allocate;
use super::process_queue::ProcessQueue;
use super::pulling::Event;

/// At once, then in every period and whenever a broker says that the group has changed.
pub fn run(inner: &Arc<Inner>) {
    loop {
        let mut changed = false;
        for topic in inner.subscriptions.keys() {
            match inner.rebalance(topic) {
                Ok(moved) => changed |= moved,
                Err(error) => log::debug!(target: "client", "queues of {topic}: {error}"),
            }
        }
        if changed {
            inner.instance.heartbeat();
        }
        if inner.rebalance.wait(inner.settings.rebalance_period) {
            return;
        }
    }
}

impl Inner {
    /// Whether queues came or went. On failure everything stays as it was.
    fn rebalance(&self, topic: &str) -> Result<bool> {
        let route = self.instance.route(topic)?;
        let share = if self.is_clustering() {
            let members = self.members(topic)?;
            allocate::average(&route.subscribe, &members, &self.instance.client_id)
        } else {
            route.subscribe.clone()
        };
        let share: HashSet<MessageQueue> = share.into_iter().collect();
        let mut changed = self.release(topic, &share);
        for queue in share {
            changed |= self.take(queue);
        }
        Ok(changed)
    }

    /// The client ids of the group, from any broker of the topic.
    fn members(&self, topic: &str) -> Result<Vec<String>> {
        let route = self.instance.route(topic)?;
        let mut last = None;
        for group in &route.data.broker_datas {
            let mut ask = Command::request(request::GET_CONSUMER_LIST_BY_GROUP);
            GetConsumerList { consumer_group: &self.group }.encode(&mut ask);
            let address = self.instance.any_address(&group.broker_name, topic)?;
            match self.instance.call(&address, ask, self.instance.settings.timeout) {
                Ok(reply) => {
                    return Ok(ConsumerIdList::from_slice(&reply.body)?.consumer_id_list);
                }
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(Vec::new()), Err)
    }

    /// Gives back the queues of `topic` that are not in `share` or have become unusable.
    fn release(&self, topic: &str, share: &HashSet<MessageQueue>) -> bool {
        let mut gone = Vec::new();
        lock(&self.assigned).retain(|queue, process_queue| {
            let keep = queue.topic != topic || share.contains(queue) && !process_queue.is_dropped();
            if !keep {
                gone.push(Arc::clone(process_queue));
            }
            keep
        });
        for process_queue in &gone {
            process_queue.drop_it();
            self.commit(process_queue, true);
        }
        !gone.is_empty()
    }

    /// Begins with a queue unless it is ours already or its start cannot be found out now.
    fn take(&self, queue: MessageQueue) -> bool {
        {
            let assigned = lock(&self.assigned);
            let full = assigned.len() >= limits::CLIENT_ASSIGNED_QUEUES_MAX;
            if full || assigned.contains_key(&queue) {
                return false;
            }
        }
        let offset = match self.start_offset(&queue) {
            Ok(offset) => offset,
            Err(error) => {
                log::warn!(target: "client", "start of {queue:?}: {error}");
                return false;
            }
        };
        self.begin(queue, offset);
        true
    }

    /// Consumes a queue from `offset` on.
    pub fn begin(&self, queue: MessageQueue, offset: i64) {
        let process_queue = Arc::new(ProcessQueue::new(queue.clone(), offset));
        lock(&self.assigned).insert(queue, Arc::clone(&process_queue));
        self.tell(Event::Begin(process_queue));
    }

    /// An event that finds no room has its queue taken anew by the next rebalance.
    pub fn tell(&self, event: Event) {
        if let Err(error) = self.events.try_send(event) {
            error.into_inner().process_queue().drop_it();
        }
    }
}
