//! The store's files: 306, 316, 321, 329.

use std::sync::Arc;

use super::body;
use crate::base::Result;
use crate::base::limits::SHOWN_UNITS_MAX;
use crate::broker::{Broker, system_error};
use crate::dispatch::Outcome;
use crate::message::topic;
use crate::net::Request;
use crate::protocol::body::stats::{ConsumeQueueUnit, QueryConsumeQueueBody};
use crate::protocol::code::response;
use crate::protocol::headers::admin::QueryConsumeQueue;
use crate::store::consume_queue::Unit;

/// CLEAN_EXPIRED_CONSUMEQUEUE: the next round of cleaning deletes queue files whose messages are
/// gone. The last file of a queue stays, so that its offsets go on.
pub fn clean_queues(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    broker.store.clean_expired_queues();
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// CLEAN_UNUSED_TOPIC: deletes the queues of topics that are not there any more.
pub fn clean_topics(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    for name in broker.store.topics_with_queues() {
        if broker.topics.get(&name).is_none() && !topic::is_system(&name) && !topic::is_lmq(&name) {
            log::info!(target: "broker", "queues of {name} deleted: there is no such topic");
            broker.store.delete_topic_queues(&name)?;
        }
    }
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// DELETE_EXPIRED_COMMITLOG: the next rounds of cleaning delete what is old enough, whatever
/// `deleteWhen` says.
pub fn delete_expired(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    broker.store.delete_expired_files();
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// QUERY_CONSUME_QUEUE: units of a queue, and what a group subscribes of it.
pub fn show_queue(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = QueryConsumeQueue::decode(&request.command)?;
    let (topic, queue_id) = (header.topic.unwrap_or_default(), header.queue_id);
    let count = usize::try_from(header.count).unwrap_or(0).min(SHOWN_UNITS_MAX);
    let Some(queue) = broker.store.queue(topic, queue_id) else {
        return Err(system_error(format!("{queue_id}@{topic} is not exist!")));
    };
    let Some(units) = queue.units(header.index) else {
        let mut reply = request.command.reply(response::SUCCESS);
        let index = header.index;
        reply.remark = Some(format!("Index {index} of {queue_id}@{topic} is not exist!"));
        return Ok(Outcome::Reply(reply));
    };
    let mut shown = QueryConsumeQueueBody {
        max_queue_index: queue.max_offset(),
        min_queue_index: queue.min_offset(),
        queue_data: units.iter().take(count).map(shown_unit).collect(),
        ..QueryConsumeQueueBody::default()
    };
    if let Some(group) = header.consumer_group {
        let subscribed = broker.clients.consumers(group, |consumers| {
            consumers.subscriptions.get(topic).map(|subscribed| subscribed.data.clone())
        });
        shown.subscription_data = subscribed.flatten();
        if shown.subscription_data.is_none() {
            shown.filter_data = Some(format!("{group}@{topic} is not online!"));
        }
    }
    body(&request.command, shown.to_vec())
}

fn shown_unit(unit: Unit) -> ConsumeQueueUnit {
    ConsumeQueueUnit {
        physic_offset: unit.physical_offset,
        physic_size: unit.size,
        tags_code: unit.tags_code,
        ..ConsumeQueueUnit::default()
    }
}
