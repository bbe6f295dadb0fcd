//! The store's files: 306, 316, 321, 329.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::base::limits::SHOWN_UNITS_MAX;
use crate::base::{Result, json};
use crate::broker::clients::Subscribed;
use crate::broker::filters::Filter;
use crate::broker::{Broker, bloom, system_error};
use crate::dispatch::Outcome;
use crate::message::topic;
use crate::net::Request;
use crate::protocol::body::stats::{ConsumeQueueUnit, QueryConsumeQueueBody};
use crate::protocol::code::response;
use crate::protocol::headers::admin::QueryConsumeQueue;
use crate::store::consume_queue::{Queue, Unit};
use crate::store::consume_queue_ext;

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
    let group = header.consumer_group;
    let subscribed = group.and_then(|group| {
        broker.clients.consumers(group, |consumers| consumers.subscriptions.get(topic).cloned())
    });
    let subscribed = subscribed.flatten();
    let filter_data = group.map(|group| match subscribed {
        Some(_) => broker.filters.shown(topic, group),
        None => format!("{group}@{topic} is not online!"),
    });
    let filter = subscribed.as_ref().zip(group);
    let filter = filter.map(|(subscribed, group)| filter_of(broker, subscribed, topic, group));
    let shown_unit = |unit| shown_unit(&queue, unit, filter.as_ref());
    let shown = QueryConsumeQueueBody {
        max_queue_index: queue.max_offset(),
        min_queue_index: queue.min_offset(),
        queue_data: units.iter().take(count).map(shown_unit).collect(),
        subscription_data: subscribed.map(|subscribed| subscribed.data),
        filter_data,
    };
    Outcome::body(request, shown.to_vec())
}

/// What a group lets pass; `None`: every message.
fn filter_of(broker: &Broker, subscribed: &Subscribed, topic: &str, group: &str) -> Option<Filter> {
    let filter = subscribed.filter.clone().filter(|filter| !filter.class_filter_mode)?;
    if filter.is_tag() {
        return Some(Filter::tags(filter));
    }
    let registered = broker.filters.find(topic, group)?;
    Some(Filter::registered(registered, broker.filters.bloom()))
}

/// What stands beside the queue for a unit as fastjson writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownExt {
    filter_bit_map: Option<String>,
    msg_store_time: i64,
    size: usize,
    tags_code: i64,
}

/// `filter` is the group's, `None` without a group.
fn shown_unit(queue: &Queue, unit: Unit, filter: Option<&Option<Filter>>) -> ConsumeQueueUnit {
    let mut shown = ConsumeQueueUnit {
        physic_offset: unit.physical_offset,
        physic_size: unit.size,
        tags_code: unit.tags_code,
        ..ConsumeQueueUnit::default()
    };
    if !queue.has_ext() || !consume_queue_ext::is_address(unit.tags_code) {
        return shown;
    }
    let found = queue.ext(unit.tags_code, |ext| {
        let bit_map = Some(ext.bit_map).filter(|bits| !bits.is_empty());
        shown.extend_data_json = Some(json::to_string(&ShownExt {
            filter_bit_map: bit_map.map(|bits| STANDARD.encode(bits)),
            msg_store_time: ext.store_timestamp,
            size: ext.size(),
            tags_code: ext.tags_code,
        }));
        shown.bit_map = bit_map.map(bloom::text);
        let passes = |f: &Filter| f.matches_code(ext.tags_code) && f.matches_ext(&ext);
        shown.eval = filter.is_some_and(|filter| filter.as_ref().is_none_or(passes));
    });
    if found.is_none() {
        shown.msg = Some(format!("Cq extend not exist!addr: {}", unit.tags_code));
    }
    shown
}
