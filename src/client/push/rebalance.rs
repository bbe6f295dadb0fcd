//! Which queues this member has: its share of every subscribed topic, computed as every member
//! does.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

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

/// From a failed attempt to the next; doubles with every failure up to the ordinary period.
const AGAIN: Duration = Duration::from_secs(1);

/// At once, then in every period and whenever a broker says that the group has changed.
pub fn run(inner: &Arc<Inner>) {
    let mut again = AGAIN;
    loop {
        let (mut changed, mut failed) = (false, false);
        for topic in inner.subscriptions.keys() {
            match inner.rebalance(topic) {
                Ok(moved) => changed |= moved,
                Err(error) => {
                    log::debug!(target: "client", "queues of {topic}: {error}");
                    failed = true;
                }
            }
        }
        if changed {
            inner.instance.heartbeat();
        }
        let period = inner.settings.rebalance_period;
        let pause = if failed { again.min(period) } else { period };
        again = if failed { pause * 2 } else { AGAIN };
        if inner.rebalance.wait(pause) {
            return;
        }
    }
}

impl Inner {
    /// Whether queues came or went. Fails when the share is not known, then all stays as it was, or
    /// when not every queue of it could be begun.
    fn rebalance(&self, topic: &str) -> Result<bool> {
        let route = self.instance.route(topic)?;
        let share = if self.is_clustering() {
            let members = self.members_with_us(topic)?;
            allocate::average(&route.subscribe, &members, &self.instance.client_id)
        } else {
            route.subscribe.clone()
        };
        let share: HashSet<MessageQueue> = share.into_iter().collect();
        let mut result = Ok(self.release(topic, &share));
        for queue in share {
            match self.take(queue) {
                Ok(taken) => result = result.map(|changed| changed | taken),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// The members of the group. A broker that does not know us as one learns it first: it was
    /// started, or its topic looked up, after the last heartbeat.
    fn members_with_us(&self, topic: &str) -> Result<Vec<String>> {
        let is_us = |id: &String| *id == self.instance.client_id;
        if let Ok(members) = self.members(topic)
            && members.iter().any(is_us)
        {
            return Ok(members);
        }
        self.instance.heartbeat();
        self.members(topic)
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

    /// Begins with a queue unless it is ours already.
    fn take(&self, queue: MessageQueue) -> Result<bool> {
        {
            let assigned = lock(&self.assigned);
            let full = assigned.len() >= limits::CLIENT_ASSIGNED_QUEUES_MAX;
            if full || assigned.contains_key(&queue) {
                return Ok(false);
            }
        }
        let offset = self.start_offset(&queue)?;
        self.begin(queue, offset);
        Ok(true)
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
