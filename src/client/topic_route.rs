//! What a client makes of a route: the queues it may send to and receive from, and the brokers'
//! addresses.

use std::collections::BTreeMap;

use crate::base::{Error, Result};
use crate::message::flags;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::route::TopicRouteData;
use crate::protocol::code::response;

/// The broker id of a master.
pub(crate) const MASTER_ID: i64 = 0;

/// The route of one topic, as this client uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicRoute {
    /// What the name server said.
    pub data: TopicRouteData,
    /// Queues to send to.
    pub publish: Vec<MessageQueue>,
    /// Queues to receive from.
    pub subscribe: Vec<MessageQueue>,
}

impl TopicRoute {
    /// Works the queues out. Fails when the order configuration of the topic is malformed.
    pub(crate) fn new(topic: &str, data: TopicRouteData) -> Result<TopicRoute> {
        let ordered = data.order_topic_conf.as_deref().filter(|conf| !conf.is_empty());
        let publish = match ordered {
            Some(conf) => order_queues(topic, conf)?,
            None => publish_queues(topic, &data),
        };
        let subscribe = subscribe_queues(topic, &data);
        Ok(TopicRoute { data, publish, subscribe })
    }

    /// The route of an unknown topic, made of that of the topic it would be created from: at most
    /// `queues` queues on each broker.
    pub(crate) fn fallback(
        topic: &str,
        mut data: TopicRouteData,
        queues: i32,
    ) -> Result<TopicRoute> {
        for queue in &mut data.queue_datas {
            let count = queue.read_queue_nums.min(queues);
            (queue.read_queue_nums, queue.write_queue_nums) = (count, count);
        }
        TopicRoute::new(topic, data)
    }

    /// The addresses of a broker name by broker id.
    pub fn addresses(&self, broker_name: &str) -> Option<&BTreeMap<i64, String>> {
        let group = self.data.broker_datas.iter().find(|group| group.broker_name == broker_name)?;
        Some(&group.broker_addrs)
    }
}

/// `brokerName:queues;brokerName:queues`: exactly these queues, in that order.
fn order_queues(topic: &str, conf: &str) -> Result<Vec<MessageQueue>> {
    let mut queues = Vec::new();
    for part in conf.split(';').filter(|part| !part.is_empty()) {
        let parsed = part.split_once(':').and_then(|(name, n)| Some((name, n.parse().ok()?)));
        let Some((name, count)) = parsed else {
            let remark =
                format!("order configuration {conf:?} of topic {topic} is not name:number");
            return Err(Error::refused(response::SYSTEM_ERROR, remark));
        };
        push_queues(&mut queues, topic, name, count);
    }
    Ok(queues)
}

fn publish_queues(topic: &str, data: &TopicRouteData) -> Vec<MessageQueue> {
    let mut writable: Vec<_> =
        data.queue_datas.iter().filter(|queue| queue.perm & flags::PERM_WRITE != 0).collect();
    writable.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    let mut queues = Vec::new();
    for queue in writable {
        let group = data.broker_datas.iter().find(|group| group.broker_name == queue.broker_name);
        if group.is_some_and(|group| group.broker_addrs.contains_key(&MASTER_ID)) {
            push_queues(&mut queues, topic, &queue.broker_name, queue.write_queue_nums);
        }
    }
    queues
}

fn subscribe_queues(topic: &str, data: &TopicRouteData) -> Vec<MessageQueue> {
    let mut queues = Vec::new();
    for queue in data.queue_datas.iter().filter(|queue| queue.perm & flags::PERM_READ != 0) {
        push_queues(&mut queues, topic, &queue.broker_name, queue.read_queue_nums);
    }
    queues.sort_unstable();
    queues
}

/// A route of a peer cannot make this process allocate more than this for one broker.
const QUEUES_PER_BROKER_MAX: i32 = crate::base::limits::CLIENT_QUEUES_PER_BROKER_MAX;

fn push_queues(queues: &mut Vec<MessageQueue>, topic: &str, broker: &str, count: i32) {
    queues.extend((0..count.min(QUEUES_PER_BROKER_MAX)).map(|queue_id| MessageQueue {
        topic: topic.to_owned(),
        broker_name: broker.to_owned(),
        queue_id,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::body::route::{BrokerData, QueueData};

    fn data(brokers: &[(&str, i64, i32, i32)]) -> TopicRouteData {
        let mut data = TopicRouteData::default();
        for (name, id, queues, perm) in brokers {
            data.broker_datas.push(BrokerData {
                cluster: "C".into(),
                broker_name: (*name).into(),
                broker_addrs: BTreeMap::from([(*id, format!("{name}:1"))]),
            });
            data.queue_datas.push(QueueData {
                broker_name: (*name).into(),
                read_queue_nums: *queues,
                write_queue_nums: *queues,
                perm: *perm,
                topic_sys_flag: 0,
            });
        }
        data
    }

    fn names(queues: &[MessageQueue]) -> Vec<String> {
        queues.iter().map(|queue| format!("{}{}", queue.broker_name, queue.queue_id)).collect()
    }

    #[test]
    fn sends_need_a_master_and_permission() {
        let brokers = [("b", 0, 2, 6), ("slave", 1, 1, 6), ("ro", 0, 1, 4), ("a", 0, 1, 2)];
        let route = TopicRoute::new("T", data(&brokers)).expect("a route");
        assert_eq!(names(&route.publish), ["a0", "b0", "b1"]);
        assert_eq!(names(&route.subscribe), ["b0", "b1", "ro0", "slave0"]);
        assert_eq!(route.addresses("b").expect("known")[&0], "b:1");
        assert!(route.addresses("x").is_none());
    }

    #[test]
    fn an_order_configuration_decides_alone() {
        let mut ordered = data(&[("a", 0, 8, 6)]);
        ordered.order_topic_conf = Some("z:1;a:2".into());
        let route = TopicRoute::new("T", ordered.clone()).expect("a route");
        assert_eq!(names(&route.publish), ["z0", "a0", "a1"]);
        ordered.order_topic_conf = Some("z".into());
        TopicRoute::new("T", ordered).expect_err("malformed");
    }

    #[test]
    fn an_unknown_topic_gets_few_queues() {
        let route = TopicRoute::fallback("T", data(&[("a", 0, 8, 7)]), 2).expect("a route");
        assert_eq!(names(&route.publish), ["a0", "a1"]);
        assert_eq!(route.publish[0].topic, "T");
    }
}
