//! QUERY_MESSAGE (12) and VIEW_MESSAGE_BY_ID (33).

use std::sync::Arc;

use super::Broker;
use crate::base::{Error, Result};
use crate::dispatch::Outcome;
use crate::net::Request;
use crate::protocol::code::response;
use crate::protocol::headers::pull::{QueryMessage, QueryMessageReply, ViewMessage};

/// Messages of a topic by key within a span of time.
pub fn by_key(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let command = &request.command;
    let header = QueryMessage::decode(command)?;
    let max = match header.unique_key {
        true => broker.config.get().store.default_query_max_num,
        false => header.max_num,
    };
    let (begin, end) = (header.begin_timestamp, header.end_timestamp);
    let found = broker.store.query(header.topic, header.key, max, begin, end);
    let mut reply = command.reply(response::SUCCESS);
    let fields = QueryMessageReply {
        index_last_update_timestamp: found.last_update_timestamp,
        index_last_update_phyoffset: found.last_update_offset,
    };
    fields.encode(&mut reply);
    if found.slices.is_empty() {
        reply.code = response::QUERY_NOT_FOUND;
        reply.remark = Some("can not find message, maybe time range not correct".to_owned());
    }
    reply.slices = found.slices;
    Ok(Outcome::Reply(reply))
}

/// One message by its offset in the log.
pub fn by_offset(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = ViewMessage::decode(&request.command)?;
    let Some(record) = broker.store.record_at(header.offset) else {
        let remark = format!("can not find message by the offset, {}", header.offset);
        return Err(Error::refused(response::SYSTEM_ERROR, remark));
    };
    let mut reply = request.command.reply(response::SUCCESS);
    reply.slices = vec![record];
    Ok(Outcome::Reply(reply))
}
