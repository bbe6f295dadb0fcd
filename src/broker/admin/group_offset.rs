//! Offsets of groups as a whole: 43, 45, 308, 314.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::offset_topics;
use crate::base::Result;
use crate::broker::{Broker, system_error};
use crate::dispatch::Outcome;
use crate::message::topic;
use crate::net::Request;
use crate::protocol::body::offset::{CorrectionOffsets, DelayOffsetTable};
use crate::protocol::code::response;
use crate::protocol::headers::topic::{CloneGroupOffset, QueryCorrectionOffset};

/// GET_ALL_CONSUMER_OFFSET: what a slave takes over.
pub fn all(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    Outcome::body(request, broker.offsets.table().to_vec())
}

/// GET_ALL_DELAY_OFFSET: how far the delivery of each delay level is, for a slave.
pub fn delays(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let levels = broker.delay_progress().into_iter();
    let offset_table = levels.map(|(level, offset, _)| (level, offset)).collect();
    Outcome::body(request, DelayOffsetTable { offset_table }.to_vec())
}

/// CLONE_GROUP_OFFSET: the offsets of one group, in one topic or all, become those of another.
pub fn copy(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = CloneGroupOffset::decode(&request.command)?;
    let (from, to) = (header.src_group, header.dest_group);
    topic::check_group(to).map_err(system_error)?;
    for topic in offset_topics(broker, header.topic, from) {
        let known = broker.topics.get(&topic).is_some();
        if known && (header.offline || broker.clients.may_consume(from, &topic)) {
            let copied = broker.offsets.copy(&topic, from, to);
            if !copied {
                return Err(system_error("this broker keeps no offsets of more groups"));
            }
        }
    }
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// QUERY_CORRECTION_OFFSET: for each queue of a topic the lowest offset that a group, those to
/// filter not counted, is still to consume; the end of time where the group to compare is behind
/// all of them.
pub fn correction(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = QueryCorrectionOffset::decode(&request.command)?;
    let topic = header.topic;
    let left_out: Vec<&str> =
        header.filter_groups.unwrap_or_default().split(',').map(str::trim).collect();
    let mut lowest: BTreeMap<i32, i64> = BTreeMap::new();
    for group in broker.offsets.groups_of(topic) {
        if left_out.contains(&group.as_str()) {
            continue;
        }
        for (queue_id, offset) in broker.offsets.queues(topic, &group) {
            if offset >= broker.store.min_offset_in_queue(topic, queue_id) {
                let lowest = lowest.entry(queue_id).or_insert(offset);
                *lowest = offset.min(*lowest);
            }
        }
    }
    for (queue_id, offset) in broker.offsets.queues(topic, header.compare_group) {
        if let Some(lowest) = lowest.get_mut(&queue_id).filter(|lowest| **lowest > offset) {
            *lowest = i64::MAX;
        }
    }
    Outcome::body(request, CorrectionOffsets { correction_offsets: lowest }.to_vec())
}
