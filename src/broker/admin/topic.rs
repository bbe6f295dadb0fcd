//! Topics: 17, 21, 202, 215, 300, 305, 351.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::refuse_on_slave;
use crate::base::limits::TOPIC_QUEUES_MAX;
use crate::base::{Error, Result};
use crate::broker::Broker;
use crate::dispatch::Outcome;
use crate::message::topic;
use crate::net::Request;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::stats::{TopicOffset, TopicStats};
use crate::protocol::body::topic::{GroupList, TopicConfig, TopicFilterType, TopicList};
use crate::protocol::code::response;
use crate::protocol::headers::topic::{CreateTopic, TopicName};

/// UPDATE_AND_CREATE_TOPIC: answered when the NameServers know the topic.
pub fn update(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    refuse_on_slave(broker)?;
    let header = CreateTopic::decode(&request.command)?;
    check(broker, header.topic)?;
    let queues = [header.read_queue_nums, header.write_queue_nums];
    if queues.iter().any(|queues| !(0..=TOPIC_QUEUES_MAX).contains(queues)) {
        let remark = format!("queue numbers must be from 0 to {TOPIC_QUEUES_MAX}");
        return Err(Error::refused(response::SYSTEM_ERROR, remark));
    }
    let Some(topic_filter_type) = TopicFilterType::from_text(header.topic_filter_type) else {
        let remark = format!("topicFilterType = [{}] value invalid", header.topic_filter_type);
        return Err(Error::refused(response::SYSTEM_ERROR, remark));
    };
    broker.topics.put(TopicConfig {
        topic_name: header.topic.to_owned(),
        read_queue_nums: header.read_queue_nums,
        write_queue_nums: header.write_queue_nums,
        perm: header.perm,
        topic_filter_type,
        topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
        ..TopicConfig::default()
    })?;
    let timeout = broker.config.get().register_broker_timeout_mills;
    broker.register.announce_and_wait(Duration::from_millis(timeout.max(0) as u64));
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// DELETE_TOPIC_IN_BROKER: the topic and its consume queues; its messages stay in the log.
pub fn delete(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    refuse_on_slave(broker)?;
    let header = TopicName::decode(&request.command)?;
    check(broker, header.topic)?;
    broker.topics.remove(header.topic);
    broker.store.delete_topic_queues(header.topic)?;
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

fn check(broker: &Broker, name: &str) -> Result<()> {
    topic::check(name).map_err(|remark| Error::refused(response::SYSTEM_ERROR, remark))?;
    if broker.topics.is_system(name) {
        let remark = format!("The topic[{name}] is conflict with system topic.");
        return Err(Error::refused(response::SYSTEM_ERROR, remark));
    }
    Ok(())
}

/// GET_ALL_TOPIC_CONFIG.
pub fn all(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    Outcome::body(request, broker.topics.table().to_vec())
}

/// GET_TOPIC_CONFIG: one topic.
pub fn get(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = TopicName::decode(&request.command)?;
    let Some(config) = broker.topics.get(header.topic) else {
        let remark = format!("No topic in this broker. topic: {}", header.topic);
        return Err(Error::refused(response::TOPIC_NOT_EXIST, remark));
    };
    Outcome::body(request, config.to_vec())
}

/// GET_SYSTEM_TOPIC_LIST_FROM_BROKER.
pub fn system(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let topic_list = broker.topics.system_names();
    Outcome::body(request, TopicList { topic_list, ..TopicList::default() }.to_vec())
}

/// GET_TOPIC_STATS_INFO: offsets and time of the newest message, by write queue.
pub fn stats(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = TopicName::decode(&request.command)?;
    let name = header.topic;
    let Some(config) = broker.topics.get(name) else {
        let remark = format!("topic[{name}] not exist");
        return Err(Error::refused(response::TOPIC_NOT_EXIST, remark));
    };
    let broker_name = &broker.config.get().broker_name;
    let mut stats = TopicStats::default();
    for queue_id in 0..config.write_queue_nums {
        let max_offset = broker.store.max_offset_in_queue(name, queue_id);
        let newest = broker.store.store_time_at(name, queue_id, max_offset - 1);
        let queue = MessageQueue::new(name, broker_name, queue_id);
        let offset = TopicOffset {
            min_offset: broker.store.min_offset_in_queue(name, queue_id),
            max_offset,
            last_update_timestamp: newest.unwrap_or(0),
        };
        stats.offset_table.insert(queue, offset);
    }
    Outcome::body(request, stats.to_vec())
}

/// QUERY_TOPIC_CONSUME_BY_WHO: the groups that subscribe a topic now or left offsets in it, sorted.
pub fn consumed_by(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let topic = TopicName::decode(&request.command)?.topic;
    let mut groups: BTreeSet<String> = broker.clients.subscribers(topic).into_iter().collect();
    groups.extend(broker.offsets.groups_of(topic));
    Outcome::body(request, GroupList { group_list: groups.into_iter().collect() }.to_vec())
}
