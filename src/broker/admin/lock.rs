//! Queue locks of orderly consumers: LOCK_BATCH_MQ (41), UNLOCK_BATCH_MQ (42).

use std::sync::Arc;

use crate::base::limits::{CLIENT_ID_BYTES_MAX, CLIENT_NAME_BYTES_MAX, GROUP_BYTES_MAX};
use crate::base::{Result, clock};
use crate::broker::{Broker, system_error};
use crate::dispatch::Outcome;
use crate::net::Request;
use crate::protocol::body::lock::{LockBatchReply, LockBatchRequest};
use crate::protocol::code::response;

/// Takes or refreshes the locks it can; the answer lists them.
pub fn lock(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let wanted = LockBatchRequest::from_slice(&request.command.body)?;
    check(&wanted).map_err(system_error)?;
    let lock_ok_mq_set = broker.locks.lock(&wanted, clock::now_ms());
    Outcome::body(request, LockBatchReply { lock_ok_mq_set }.to_vec())
}

/// What is locked is kept, and the client id with each queue.
fn check(wanted: &LockBatchRequest) -> std::result::Result<(), &'static str> {
    let LockBatchRequest { client_id, consumer_group, mq_set } = wanted;
    let is_long = |name: &String| name.len() > CLIENT_NAME_BYTES_MAX;
    if client_id.len() > CLIENT_ID_BYTES_MAX || consumer_group.len() > GROUP_BYTES_MAX {
        return Err("clientId or consumerGroup is too long");
    }
    if mq_set.iter().any(|queue| is_long(&queue.topic) || is_long(&queue.broker_name)) {
        return Err("a topic or brokerName is too long");
    }
    Ok(())
}

/// Gives up the locks the client holds.
pub fn unlock(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    broker.locks.unlock(&LockBatchRequest::from_slice(&request.command.body)?);
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}
