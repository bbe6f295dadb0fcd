//! Multi dispatch: a message goes to its own queue and to those that its property
//! INNER_MULTI_DISPATCH names, separated by commas. The log holds it once, with its offsets in the
//! further queues as INNER_MULTI_QUEUE_OFFSET, in the same order.
//!
//! The name of a light queue begins with `%LMQ%`; it is queue 0 of the topic of that name. Other
//! names are topics, of which the queue with the message's own number is meant.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::consume_queue::Queue;
use super::queues::QueueTable;
use super::status::PutStatus;
use crate::base::limits::MULTI_DISPATCH_QUEUES_MAX;
use crate::config::StoreConfig;
use crate::message::property::{INNER_MULTI_DISPATCH, INNER_MULTI_QUEUE_OFFSET};
use crate::message::record::Encoded;
use crate::message::{MessageRef, property, topic};

/// Between names, and between offsets.
const SEPARATOR: char = ',';
/// Bytes that an offset in the property takes at most.
const OFFSET_BYTES_MAX: usize = 20;

/// The queue's number that a name stands for, of a message in queue `queue_id`.
pub fn queue_id(store: &StoreConfig, name: &str, queue_id: i32) -> i32 {
    if store.enable_lmq && topic::is_lmq(name) { 0 } else { queue_id }
}

/// The further queues of a message. What waits for something else, a delay, a commit or another
/// try, gets into them when that is over, as in RocketMQ 5; 4.9 puts it there each time.
pub fn queues(
    store: &StoreConfig,
    message: &MessageRef<'_>,
    table: &QueueTable,
) -> Result<Vec<Arc<Queue>>, PutStatus> {
    let names = property::get(message.properties, INNER_MULTI_DISPATCH);
    let Some(names) = names.filter(|_| goes_on(message.topic)) else { return Ok(Vec::new()) };
    let names = names.trim_end_matches(SEPARATOR);
    if names.split(SEPARATOR).count() > MULTI_DISPATCH_QUEUES_MAX {
        return Err(PutStatus::MessageIllegal);
    }
    let queue = |name: &str| {
        let id = queue_id(store, name, message.queue_id);
        if !goes_on(name) || (name, id) == (message.topic, message.queue_id) {
            return Err(PutStatus::MessageIllegal);
        }
        let most = usize::try_from(store.max_lmq_consume_queue_num).unwrap_or(0);
        let is_light = store.enable_lmq && topic::is_lmq(name);
        if is_light && table.get(name, id).is_none() && table.light_queues() >= most {
            return Err(PutStatus::LmqConsumeQueueNumExceeded);
        }
        table.get_or_create(name, id).map_err(|_| PutStatus::MessageIllegal)
    };
    names.split(SEPARATOR).map(queue).collect()
}

fn goes_on(name: &str) -> bool {
    topic::retry_group(name).is_none() && !topic::is_system(name)
}

/// Adds the offsets in the further queues to an encoded record, whose bytes but for the body are
/// `bare` without them. Under the put lock.
pub fn add_offsets(record: &mut Encoded<'_>, bare: usize, queues: &[Arc<Queue>]) {
    let mut text = String::with_capacity(queues.len() * OFFSET_BYTES_MAX);
    for (index, queue) in queues.iter().enumerate() {
        if index > 0 {
            text.push(SEPARATOR);
        }
        text.push_str(&queue.next_offset.load(Relaxed).to_string());
    }
    record.add_property(bare, INNER_MULTI_QUEUE_OFFSET, &text);
}

/// The most bytes that `add_offsets` adds.
pub fn offsets_bytes_max(queues: &[Arc<Queue>]) -> usize {
    match queues.len() {
        0 => 0,
        count => INNER_MULTI_QUEUE_OFFSET.len() + 2 + count * (OFFSET_BYTES_MAX + 1),
    }
}

/// The record is in the log. A queue named twice has it once.
pub fn advance(queues: &[Arc<Queue>]) {
    let nexts: Vec<i64> = queues.iter().map(|queue| queue.next_offset.load(Acquire) + 1).collect();
    for (queue, next) in queues.iter().zip(nexts) {
        queue.next_offset.store(next, Release);
    }
}

/// Names and offsets of a record's further queues; none unless both properties fit together.
pub fn entries<'a>(
    names: Option<&'a str>,
    offsets: Option<&'a str>,
) -> impl Iterator<Item = (&'a str, i64)> {
    names.zip(offsets).into_iter().flat_map(|(names, offsets)| {
        let names = names.trim_end_matches(SEPARATOR);
        let alike = names.split(SEPARATOR).count() == offsets.split(SEPARATOR).count();
        let pairs = names.split(SEPARATOR).zip(offsets.split(SEPARATOR)).filter(move |_| alike);
        pairs.filter_map(|(name, offset)| Some((name, offset.parse().ok()?)))
    })
}
