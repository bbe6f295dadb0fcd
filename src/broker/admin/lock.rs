//! Queue locks of orderly consumers: LOCK_BATCH_MQ (41), UNLOCK_BATCH_MQ (42).

use std::sync::Arc;

use crate::base::{Result, clock};
use crate::broker::Broker;
use crate::dispatch::Outcome;
use crate::net::Request;
use crate::protocol::body::lock::{LockBatchReply, LockBatchRequest};
use crate::protocol::code::response;

/// Takes or refreshes the locks it can; the answer lists them.
pub fn lock(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let wanted = LockBatchRequest::from_slice(&request.command.body)?;
    let lock_ok_mq_set = broker.locks.lock(&wanted, clock::now_ms());
    Outcome::body(request, LockBatchReply { lock_ok_mq_set }.to_vec())
}

/// Gives up the locks the client holds.
pub fn unlock(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    broker.locks.unlock(&LockBatchRequest::from_slice(&request.command.body)?);
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}
