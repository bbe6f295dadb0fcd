//! Subscription groups: 200, 201, 207.

use std::sync::Arc;

use super::refuse_on_slave;
use crate::base::Result;
use crate::base::limits::TOPIC_QUEUES_MAX;
use crate::broker::{Broker, system_error};
use crate::dispatch::Outcome;
use crate::message::topic;
use crate::net::Request;
use crate::protocol::body::group::SubscriptionGroupConfig;
use crate::protocol::code::response;
use crate::protocol::headers::topic::DeleteSubscriptionGroup;

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP. No body changes nothing.
pub fn update(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    refuse_on_slave(broker)?;
    let text = &request.command.body;
    if !text.is_empty() {
        let config = SubscriptionGroupConfig::from_slice(text)?;
        topic::check_group(&config.group_name).map_err(system_error)?;
        if config.retry_queue_nums > TOPIC_QUEUES_MAX {
            return Err(system_error(format!("retryQueueNums must be at most {TOPIC_QUEUES_MAX}")));
        }
        broker.groups.put(config)?;
    }
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
pub fn all(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    Outcome::body(request, broker.groups.table().to_vec())
}

/// DELETE_SUBSCRIPTIONGROUP; with `removeOffset` its offsets go, too.
pub fn delete(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    refuse_on_slave(broker)?;
    let header = DeleteSubscriptionGroup::decode(&request.command)?;
    broker.groups.remove(header.group_name);
    if header.remove_offset {
        broker.offsets.remove_group(header.group_name);
    }
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}
