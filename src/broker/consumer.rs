//! What consumers ask about their group: members (38) and offsets (14, 15).

use std::sync::Arc;

use super::{Broker, system_error};
use crate::base::{Error, Result};
use crate::dispatch::Outcome;
use crate::message::topic;
use crate::net::Request;
use crate::protocol::body::client::ConsumerIdList;
use crate::protocol::code::response;
use crate::protocol::headers::client::GetConsumerList;
use crate::protocol::headers::consumer::{OffsetReply, QueryConsumerOffset, UpdateConsumerOffset};

/// GET_CONSUMER_LIST_BY_GROUP: client ids in the order of their connections.
pub fn list(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = GetConsumerList::decode(&request.command)?;
    let ids = broker.clients.consumers(header.consumer_group, |group| {
        group.channels.values().map(|channel| channel.client_id.clone()).collect::<Vec<_>>()
    });
    let Some(consumer_id_list) = ids else {
        let remark = format!("no consumer for this group, {}", header.consumer_group);
        return Err(system_error(remark));
    };
    Outcome::body(request, ConsumerIdList { consumer_id_list }.to_vec())
}

/// QUERY_CONSUMER_OFFSET. A group without an offset starts at 0 while message 0 is still in memory.
pub fn query_offset(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = QueryConsumerOffset::decode(&request.command)?;
    let (topic, queue_id) = (header.topic, header.queue_id);
    let stored = broker.offsets.get(topic, header.consumer_group, queue_id);
    let offset = stored.filter(|&offset| offset >= 0).or_else(|| {
        let young = broker.store.min_offset_in_queue(topic, queue_id) <= 0;
        (young && broker.store.is_in_memory(topic, queue_id, 0)).then_some(0)
    });
    let Some(offset) = offset else {
        let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
        return Err(Error::refused(response::QUERY_NOT_FOUND, remark));
    };
    let mut reply = request.command.reply(response::SUCCESS);
    OffsetReply { offset }.encode(&mut reply);
    Ok(Outcome::Reply(reply))
}

/// UPDATE_CONSUMER_OFFSET: unconditional, but for names that are none: `a@b` would be another
/// topic's group in the file of offsets.
pub fn update_offset(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let h = UpdateConsumerOffset::decode(&request.command)?;
    topic::check(h.topic)
        .and_then(|()| topic::check_group(h.consumer_group))
        .map_err(system_error)?;
    if !broker.offsets.commit(h.topic, h.consumer_group, h.queue_id, h.commit_offset) {
        let remark = "the table of consumer offsets is full";
        return Err(system_error(remark));
    }
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}
