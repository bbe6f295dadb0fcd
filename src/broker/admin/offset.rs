//! Offsets of queues: 29 to 32.

use std::sync::Arc;

use crate::base::Result;
use crate::broker::Broker;
use crate::dispatch::Outcome;
use crate::net::Request;
use crate::protocol::Command;
use crate::protocol::code::response;
use crate::protocol::headers::consumer::{OffsetReply, QueueOffset, SearchOffset, StoreTimeReply};

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
