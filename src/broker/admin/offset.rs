//! Offsets of queues and of groups: 29 to 32, 208.

use std::sync::Arc;

use crate::base::Result;
use crate::broker::Broker;
use crate::dispatch::Outcome;
use crate::net::Request;
use crate::protocol::Command;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::stats::{ConsumeStats, OffsetWrapper};
use crate::protocol::code::response;
use crate::protocol::headers::consumer::{OffsetReply, QueueOffset, SearchOffset, StoreTimeReply};
use crate::protocol::headers::topic::GetConsumeStats;

/// SEARCH_OFFSET_BY_TIMESTAMP.
pub fn by_time(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = SearchOffset::decode(&request.command)?;
    let (topic, queue_id) = (header.topic, header.queue_id);
    offset(&request.command, broker.store.offset_by_time(topic, queue_id, header.timestamp))
}

/// GET_MAX_OFFSET.
pub fn max(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = QueueOffset::decode(&request.command)?;
    offset(&request.command, broker.store.max_offset_in_queue(header.topic, header.queue_id))
}

/// GET_MIN_OFFSET.
pub fn min(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = QueueOffset::decode(&request.command)?;
    offset(&request.command, broker.store.min_offset_in_queue(header.topic, header.queue_id))
}

fn offset(command: &Command, offset: i64) -> Result<Outcome> {
    let mut reply = command.reply(response::SUCCESS);
    OffsetReply { offset }.encode(&mut reply);
    Ok(Outcome::Reply(reply))
}

/// GET_EARLIEST_MSG_STORETIME: −1 of a queue without messages.
pub fn earliest_time(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = QueueOffset::decode(&request.command)?;
    let time = broker.store.earliest_store_time(header.topic, header.queue_id);
    let mut reply = request.command.reply(response::SUCCESS);
    StoreTimeReply { timestamp: time.unwrap_or(-1) }.encode(&mut reply);
    Ok(Outcome::Reply(reply))
}

/// GET_CONSUME_STATS: how far a group is in one topic, or in all it has offsets for.
pub fn consume_stats(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = GetConsumeStats::decode(&request.command)?;
    let group = header.consumer_group;
    let topics = match header.topic {
        Some(topic) if !topic.trim().is_empty() => vec![topic.to_owned()],
        _ => broker.offsets.topics_of(group),
    };
    let mut stats = ConsumeStats::default();
    for topic in topics {
        let subscribed = broker.clients.consumers(group, |consumers| {
            let topics = &consumers.subscriptions;
            topics.is_empty() || topics.contains_key(&topic)
        });
        if subscribed.unwrap_or(true) {
            add_topic(broker, group, &topic, &mut stats);
        }
    }
    let mut reply = request.command.reply(response::SUCCESS);
    reply.body = stats.to_vec();
    Ok(Outcome::Reply(reply))
}

fn add_topic(broker: &Broker, group: &str, topic: &str, stats: &mut ConsumeStats) {
    let Some(config) = broker.topics.get(topic) else { return };
    let broker_name = &broker.config.get().broker_name;
    for queue_id in 0..config.read_queue_nums {
        let committed = broker.offsets.get(topic, group, queue_id).unwrap_or(-1).max(0);
        let consumed_at = match committed {
            0 => None,
            offset => broker.store.store_time_at(topic, queue_id, offset - 1),
        };
        let queue = MessageQueue::new(topic, broker_name, queue_id);
        let offset = OffsetWrapper {
            broker_offset: broker.store.max_offset_in_queue(topic, queue_id),
            consumer_offset: committed,
            last_timestamp: consumed_at.unwrap_or(0),
        };
        stats.offset_table.insert(queue, offset);
    }
    stats.consume_tps += broker.stats.consume_tps(topic, group);
}
