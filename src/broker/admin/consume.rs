//! How far groups are: 208, 303, 317.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::offset_topics;
use crate::base::{Error, Result, clock};
use crate::broker::Broker;
use crate::dispatch::Outcome;
use crate::net::Request;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::stats::{
    BrokerConsumeStats, ConsumeStats, ConsumeTimeSpan, OffsetWrapper, QueueTimeSpan,
};
use crate::protocol::code::response;
use crate::protocol::headers::admin::GetBrokerConsumeStats;
use crate::protocol::headers::topic::{GetConsumeStats, QueryConsumeTimeSpan};

/// GET_CONSUME_STATS: how far a group is in one topic, or in all it has offsets for.
pub fn stats(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = GetConsumeStats::decode(&request.command)?;
    let group = header.consumer_group;
    let mut stats = ConsumeStats::default();
    for topic in offset_topics(broker, header.topic, group) {
        if let Some(config) = broker.topics.get(&topic)
            && broker.clients.may_consume(group, &topic)
        {
            add_topic(broker, group, &topic, config.read_queue_nums, &mut stats);
        }
    }
    Outcome::body(request, stats.to_vec())
}

/// GET_BROKER_CONSUME_STATS: the same of every group, one by one for each topic it has offsets for.
pub fn broker_stats(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = GetBrokerConsumeStats::decode(&request.command)?;
    let mut topics = broker.offsets.topics_by_group();
    let mut found = BrokerConsumeStats { broker_addr: broker.address(), ..Default::default() };
    for group in broker.groups.names() {
        let mut of_group = Vec::new();
        for topic in topics.remove(&group).unwrap_or_default() {
            let Some(config) = broker.topics.get(&topic) else { continue };
            let wanted = config.order || !header.is_order;
            if wanted && broker.clients.may_consume(&group, &topic) {
                let mut stats = ConsumeStats::default();
                add_topic(broker, &group, &topic, config.write_queue_nums, &mut stats);
                let offsets = stats.offset_table.values();
                found.total_diff +=
                    offsets.map(|o| o.broker_offset - o.consumer_offset).sum::<i64>();
                of_group.push(stats);
            }
        }
        found.consume_stats_list.push(BTreeMap::from([(group, of_group)]));
    }
    Outcome::body(request, found.to_vec())
}

fn add_topic(broker: &Broker, group: &str, topic: &str, queues: i32, stats: &mut ConsumeStats) {
    let broker_name = &broker.config.get().broker_name;
    for queue_id in 0..queues {
        let committed = broker.offsets.get(topic, group, queue_id).unwrap_or(-1).max(0);
        let consumed_at = match committed {
            0 => None,
            offset => broker.store.store_time_at(topic, queue_id, offset - 1),
        };
        let queue = MessageQueue::new(topic, broker_name, queue_id);
        let offset = OffsetWrapper {
            broker_offset: broker.store.max_offset_in_queue(topic, queue_id),
            consumer_offset: committed,
            last_timestamp: consumed_at.unwrap_or(0),
        };
        stats.offset_table.insert(queue, offset);
    }
    stats.consume_tps += broker.stats.consume_tps(topic, group);
}

/// QUERY_CONSUME_TIME_SPAN: times of a topic's oldest and newest message, of the last one that a
/// group consumed, and the age of the next.
pub fn time_span(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = QueryConsumeTimeSpan::decode(&request.command)?;
    let Some(config) = broker.topics.get(header.topic) else {
        let remark = format!("topic[{}] not exist", header.topic);
        return Err(Error::refused(response::TOPIC_NOT_EXIST, remark));
    };
    let spans = (0..config.write_queue_nums).map(|queue_id| span(broker, &header, queue_id));
    Outcome::body(request, ConsumeTimeSpan { consume_time_span_set: spans.collect() }.to_vec())
}

fn span(broker: &Broker, header: &QueryConsumeTimeSpan, queue_id: i32) -> QueueTimeSpan {
    let (store, topic) = (&broker.store, header.topic);
    let text = |ms| clock::local_text(ms, '#', ':');
    let stored_at = |offset| store.store_time_at(topic, queue_id, offset);
    let min = store.earliest_store_time(topic, queue_id).unwrap_or(-1);
    let max = stored_at(store.max_offset_in_queue(topic, queue_id) - 1).unwrap_or(-1);
    let next = broker.offsets.get(topic, header.group, queue_id).unwrap_or(0).max(0);
    let consumed = if next == 0 { min } else { stored_at(next - 1).unwrap_or(-1) };
    QueueTimeSpan {
        consume_time_stamp: consumed,
        consume_time_stamp_str: text(consumed),
        delay_time: stored_at(next).map_or(0, |at| (clock::now_ms() - at).max(0)),
        max_time_stamp: max,
        max_time_stamp_str: text(max),
        message_queue: MessageQueue::new(topic, &broker.config.get().broker_name, queue_id),
        min_time_stamp: min,
        min_time_stamp_str: text(min),
    }
}
