//! Connections of a group: 203, 204, 328.

use std::sync::Arc;

use crate::base::{Error, Result};
use crate::broker::Broker;
use crate::broker::clients::Channel;
use crate::dispatch::Outcome;
use crate::net::Request;
use crate::protocol::body::client::{
    Connection, ConsumerConnection, ProducerConnection, ProducerInfo, ProducerTable,
};
use crate::protocol::code::response;
use crate::protocol::command::language_name;
use crate::protocol::headers::client::{GetConsumerConnectionList, GetProducerConnectionList};

/// GET_CONSUMER_CONNECTION_LIST.
pub fn consumers(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let group = GetConsumerConnectionList::decode(&request.command)?.consumer_group;
    let found = broker.clients.consumers(group, |consumers| ConsumerConnection {
        connection_set: consumers.channels.values().map(connection).collect(),
        subscription_table: consumers
            .subscriptions
            .iter()
            .map(|(topic, subscribed)| (topic.clone(), subscribed.data.clone()))
            .collect(),
        consume_type: consumers.data.consume_type,
        message_model: consumers.data.message_model,
        consume_from_where: consumers.data.consume_from_where,
    });
    let Some(found) = found else {
        let remark = format!("the consumer group[{group}] not online");
        return Err(Error::refused(response::CONSUMER_NOT_ONLINE, remark));
    };
    Outcome::body(request, found.to_vec())
}

/// GET_PRODUCER_CONNECTION_LIST.
pub fn producers(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let group = GetProducerConnectionList::decode(&request.command)?.producer_group;
    let Some(channels) = broker.clients.producers(group) else {
        let remark = format!("the producer group[{group}] not exist");
        return Err(Error::refused(response::SYSTEM_ERROR, remark));
    };
    let connection_set = channels.iter().map(connection).collect();
    Outcome::body(request, ProducerConnection { connection_set }.to_vec())
}

/// GET_ALL_PRODUCER_INFO.
pub fn all_producers(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let groups = broker.clients.all_producers().into_iter();
    let data = groups.map(|(name, group)| (name, group.iter().map(producer).collect())).collect();
    Outcome::body(request, ProducerTable { data }.to_vec())
}

fn producer<C>(channel: &Channel<C>) -> ProducerInfo {
    ProducerInfo {
        client_id: channel.client_id.clone(),
        language: language_name(channel.language).to_owned(),
        last_update_timestamp: channel.last_update_ms,
        remote_ip: format!("/{}", channel.peer),
        version: channel.version,
    }
}

fn connection<C>(channel: &Channel<C>) -> Connection {
    Connection {
        client_id: channel.client_id.clone(),
        client_addr: channel.peer.to_string(),
        language: language_name(channel.language).to_owned(),
        version: channel.version,
    }
}
