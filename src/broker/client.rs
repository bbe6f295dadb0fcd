//! Clients come and go: HEART_BEAT (34), UNREGISTER_CLIENT (35), CHECK_CLIENT_CONFIG (46).

use std::sync::Arc;
use std::time::Duration;

use super::clients::Channel;
use super::filters;
use super::pull::{bad_expression, no_expressions};
use super::{Broker, notify};
use crate::base::limits::{CLIENT_ID_BYTES_MAX, GROUP_BYTES_MAX};
use crate::base::{Error, Result, clock};
use crate::dispatch::Outcome;
use crate::message::flags::TOPIC_UNIT_SUB;
use crate::message::topic;
use crate::net::{Conn, Request};
use crate::protocol::body::heartbeat::{CheckClientConfig, ConsumerData, HeartbeatData};
use crate::protocol::code::response;
use crate::protocol::headers::client::UnregisterClient;

/// How long the answer to a heartbeat waits for the NameServers to know a new retry topic: a client
/// that asks for its route too early would look again only after 30 s.
const RETRY_TOPIC_ROUTED: Duration = Duration::from_secs(1);

/// HEART_BEAT: enters the groups of a client.
pub fn heart_beat(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let beat = HeartbeatData::from_slice(&request.command.body)?;
    check_names(&beat)?;
    let channel = Channel {
        conn: request.conn.clone(),
        client_id: beat.client_id.clone(),
        language: request.command.language,
        version: request.command.version,
        peer: request.conn.peer(),
        last_update_ms: clock::now_ms(),
    };
    let changed = broker.clients.register(request.conn.id(), &channel, &beat)?;
    let new_topics = enter_consumers(broker, &beat.consumer_data_set, &changed);
    // Closed meanwhile: the close event may have come before the entries, or between them.
    if request.conn.is_closed() {
        closed(broker, &request.conn);
        beat.consumer_data_set.iter().for_each(|data| forget_filters(broker, &data.group_name));
    }
    if new_topics {
        broker.register.announce_and_wait(RETRY_TOPIC_ROUTED);
    }
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// Without their names neither a client nor its groups can be entered. Each membership keeps the
/// client id once more, so its length is bounded as their number is.
fn check_names(beat: &HeartbeatData) -> Result<()> {
    let groups: Vec<_> = (beat.consumer_data_set.iter().map(|data| &data.group_name))
        .chain(beat.producer_data_set.iter().map(|data| &data.group_name))
        .collect();
    if beat.client_id.len() > CLIENT_ID_BYTES_MAX {
        let remark = format!("the clientID is longer than {CLIENT_ID_BYTES_MAX} bytes");
        return Err(Error::refused(response::SYSTEM_ERROR, remark));
    }
    if groups.iter().any(|name| name.len() > GROUP_BYTES_MAX) {
        let remark = format!("a groupName is longer than {GROUP_BYTES_MAX} bytes");
        return Err(Error::refused(response::SYSTEM_ERROR, remark));
    }
    let missing = match groups.iter().any(|name| name.is_empty()) {
        true => "groupName",
        false if beat.client_id.is_empty() && !groups.is_empty() => "clientID",
        false => return Ok(()),
    };
    Err(Error::refused(response::SYSTEM_ERROR, format!("heartbeat without {missing}")))
}

/// What a heartbeat has added to the tables, not in their files yet.
#[derive(Default)]
struct Added {
    groups: bool,
    topics: bool,
}

/// What else there must be for the consumer groups of a heartbeat; true when a retry topic is new.
/// However many are new, each file is written once.
fn enter_consumers(broker: &Broker, consumers: &[ConsumerData], changed: &[bool]) -> bool {
    let mut added = Added::default();
    for (consumer, changed) in consumers.iter().zip(changed) {
        enter_consumer(broker, consumer, *changed, &mut added);
    }
    if added.groups {
        broker.groups.persist();
    }
    if added.topics {
        broker.topics.persist();
    }
    added.topics
}

fn enter_consumer(broker: &Broker, consumer: &ConsumerData, changed: bool, added: &mut Added) {
    let name = &consumer.group_name;
    let group = broker.group_or_added(name).map(|(group, new)| {
        added.groups |= new;
        group
    });
    if let Some(group) = &group {
        let sys_flag = if consumer.unit_mode { TOPIC_UNIT_SUB } else { 0 };
        let found = broker.topics.add(&topic::retry(name), group.retry_queue_nums, sys_flag);
        added.topics |= found.is_some_and(|found| found.created);
    }
    broker.filters.register(name, &consumer.subscription_data_set, clock::now_ms);
    let wants_notice = group.is_none_or(|group| group.notify_consumer_ids_changed_enable);
    if changed && wants_notice {
        notify_changed(broker, name);
    }
}

/// UNREGISTER_CLIENT: takes a client off its groups; its connection says which one it is.
pub fn unregister(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = UnregisterClient::decode(&request.command)?;
    let id = request.conn.id();
    if let Some(group) = header.producer_group {
        broker.clients.unregister_producer(id, group);
    }
    if let Some(group) = header.consumer_group
        && broker.clients.unregister_consumer(id, group)
    {
        let config = broker.groups.get(group);
        forget_filters(broker, group);
        if config.is_none_or(|config| config.notify_consumer_ids_changed_enable) {
            notify_changed(broker, group);
        }
    }
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// CHECK_CLIENT_CONFIG: whether this broker can filter as a consumer wants.
pub fn check_config(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let body = CheckClientConfig::from_slice(&request.command.body)?;
    if let Some(data) = body.subscription_data
        && !data.is_tag()
    {
        if !broker.config.get().enable_property_filter {
            return Err(no_expressions(&data.expression_type));
        }
        filters::compile(&data.expression_type, &data.sub_string).map_err(bad_expression)?;
    }
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// A connection is gone: its clients leave their groups, its pulls are dropped.
pub fn closed(broker: &Broker, conn: &Arc<Conn>) {
    for held in broker.hold.closed(conn.id()) {
        held.silent();
    }
    for group in broker.clients.closed(conn.id()) {
        forget_filters(broker, &group);
        notify_changed(broker, &group);
    }
}

/// The filters of a group without clients are dead.
fn forget_filters(broker: &Broker, group: &str) {
    if broker.clients.consumers(group, |_| ()).is_none() {
        broker.filters.unregister(group, clock::now_ms());
    }
}

fn notify_changed(broker: &Broker, group: &str) {
    if broker.config.get().notify_consumer_ids_changed_enable {
        notify::consumer_ids_changed(&broker.clients, group);
    }
}
