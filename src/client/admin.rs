//! What tools ask of brokers and name servers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, Result};
use crate::message::{id, property, topic};
use crate::protocol::Command;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::client::{ConsumeMessageDirectlyResult, ConsumerConnection};
use crate::protocol::body::cluster::{ClusterInfo, KvTable};
use crate::protocol::body::route::{BrokerData, TopicRouteData};
use crate::protocol::body::stats::{ConsumeStats, TopicStats};
use crate::protocol::body::topic::{GroupList, TopicConfig, TopicList};
use crate::protocol::code::{request, response};
use crate::protocol::headers::client::{ConsumeMessageDirectly, GetConsumerConnectionList};
use crate::protocol::headers::namesrv::{
    DeleteTopic, GetKvConfigReply, KvKey, PutKvConfig, TopicsByCluster,
};
use crate::protocol::headers::pull::{QueryMessage, ViewMessage};
use crate::protocol::headers::topic::{CreateTopic, GetConsumeStats, TopicName};

use super::inbound::Refuse;
use super::instance::Instance;
use super::message::{MessageExt, decode_records};
use super::settings::Settings;

/// For a call of a tool.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For a request that a broker passes on to a client, and for statistics of many queues.
const RELAY_TIMEOUT: Duration = Duration::from_secs(15);
/// For a search through an index.
const QUERY_TIMEOUT: Duration = Duration::from_secs(18);

/// An admin client. Its calls wait for the answer; an answer other than SUCCESS is `Error::Refused`
/// with the code and remark of the peer.
pub struct Admin {
    instance: Arc<Instance>,
}

/// What a search by key asks for.
#[derive(Debug, Clone, Copy)]
pub struct KeyQuery<'a> {
    pub topic: &'a str,
    /// One of the keys, or the unique key.
    pub key: &'a str,
    pub is_unique_key: bool,
    /// Most messages from one broker.
    pub max: i32,
    /// Stored from and until, in ms.
    pub begin: i64,
    pub end: i64,
}

impl Admin {
    /// An admin client of these name servers, `host:port;host:port`. Opens no connection yet.
    pub fn start(namesrv: &str) -> Result<Admin> {
        let instance = Instance::new(Settings::namesrv(namesrv), Arc::new(Refuse))?;
        Ok(Admin { instance })
    }

    /// Closes the connections.
    pub fn shutdown(&self) {
        self.instance.shutdown();
    }

    /// Any request to any address.
    pub fn call(&self, addr: &str, request: Command) -> Result<Command> {
        self.instance.call(addr, request, TIMEOUT)
    }

    /// Any request to one of the name servers.
    pub fn call_namesrv(&self, request: &Command) -> Result<Command> {
        self.instance.call_namesrv(request, TIMEOUT)
    }

    /// The name servers.
    pub fn namesrv_addresses(&self) -> &[String] {
        self.instance.namesrv_addresses()
    }

    /// Who serves a topic; code 17 when nobody does.
    pub fn topic_route(&self, topic: &str) -> Result<TopicRouteData> {
        self.instance.fetch_route(topic)
    }

    /// All brokers and clusters.
    pub fn cluster_info(&self) -> Result<ClusterInfo> {
        let ask = Command::request(request::GET_BROKER_CLUSTER_INFO);
        ClusterInfo::from_slice(&self.call_namesrv(&ask)?.body)
    }

    /// The masters of a cluster by broker name; an error when there is no such cluster.
    pub fn masters_of(&self, cluster: &str) -> Result<Vec<String>> {
        let info = self.cluster_info()?;
        let names = info.cluster_addr_table.get(cluster).ok_or_else(|| {
            Error::Config(format!("cluster {cluster} is not known to the name server"))
        })?;
        let groups = names.iter().filter_map(|name| info.broker_addr_table.get(name));
        Ok(groups.filter_map(|group| group.broker_addrs.get(&0).cloned()).collect())
    }

    /// All topics.
    pub fn topic_list(&self) -> Result<Vec<String>> {
        let ask = Command::request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
        Ok(TopicList::from_slice(&self.call_namesrv(&ask)?.body)?.topic_list)
    }

    /// The topics on any broker of a cluster.
    pub fn topics_of_cluster(&self, cluster: &str) -> Result<Vec<String>> {
        let mut ask = Command::request(request::GET_TOPICS_BY_CLUSTER);
        TopicsByCluster { cluster }.encode(&mut ask);
        Ok(TopicList::from_slice(&self.call_namesrv(&ask)?.body)?.topic_list)
    }

    /// Creates or changes a topic on one broker.
    pub fn update_topic(&self, broker: &str, topic: &TopicConfig) -> Result<()> {
        let mut ask = Command::request(request::UPDATE_AND_CREATE_TOPIC);
        let header = CreateTopic {
            topic: &topic.topic_name,
            default_topic: topic::AUTO_CREATE,
            read_queue_nums: topic.read_queue_nums,
            write_queue_nums: topic.write_queue_nums,
            perm: topic.perm,
            topic_filter_type: topic.topic_filter_type.name(),
            topic_sys_flag: Some(topic.topic_sys_flag),
            order: topic.order,
        };
        header.encode(&mut ask);
        self.call(broker, ask).map(drop)
    }

    /// Deletes a topic on one broker; the name servers still have to be told.
    pub fn delete_topic_in_broker(&self, broker: &str, topic: &str) -> Result<()> {
        let mut ask = Command::request(request::DELETE_TOPIC_IN_BROKER);
        TopicName { topic }.encode(&mut ask);
        self.call(broker, ask).map(drop)
    }

    /// Deletes a topic in every name server, for one cluster or all.
    pub fn delete_topic_in_namesrv(&self, topic: &str, cluster: Option<&str>) -> Result<()> {
        for namesrv in self.namesrv_addresses() {
            let mut ask = Command::request(request::DELETE_TOPIC_IN_NAMESRV);
            DeleteTopic { topic, cluster_name: cluster }.encode(&mut ask);
            self.call(namesrv, ask)?;
        }
        Ok(())
    }

    /// Offsets of every queue of a topic.
    pub fn topic_stats(&self, topic: &str) -> Result<TopicStats> {
        let mut all = TopicStats::default();
        for group in self.topic_route(topic)?.broker_datas {
            let Some(address) = replica(&group) else { continue };
            let mut ask = Command::request(request::GET_TOPIC_STATS_INFO);
            TopicName { topic }.encode(&mut ask);
            let stats = TopicStats::from_slice(&self.call(address, ask)?.body)?;
            all.offset_table.extend(stats.offset_table);
        }
        Ok(all)
    }

    /// The groups that consume a topic now or did before, of all its brokers, sorted.
    pub fn consumers_of(&self, topic: &str) -> Result<Vec<String>> {
        let mut groups = BTreeSet::new();
        for broker in self.topic_route(topic)?.broker_datas {
            let Some(address) = replica(&broker) else { continue };
            let mut ask = Command::request(request::QUERY_TOPIC_CONSUME_BY_WHO);
            TopicName { topic }.encode(&mut ask);
            groups.extend(GroupList::from_slice(&self.call(address, ask)?.body)?.group_list);
        }
        Ok(groups.into_iter().collect())
    }

    /// The clients of a consumer group and what they subscribe, from the first of its brokers
    /// that has any; code 206 when nobody is online.
    pub fn consumer_connection(&self, group: &str) -> Result<ConsumerConnection> {
        let mut trouble = None;
        for broker in self.topic_route(&topic::retry(group))?.broker_datas {
            let Some(address) = replica(&broker) else { continue };
            let mut ask = Command::request(request::GET_CONSUMER_CONNECTION_LIST);
            GetConsumerConnectionList { consumer_group: group }.encode(&mut ask);
            match self.call(address, ask) {
                Ok(reply) => return ConsumerConnection::from_slice(&reply.body),
                Err(error) => trouble = Some(error),
            }
        }
        Err(trouble.unwrap_or_else(|| not_online(group)))
    }

    /// How far a consumer group got in every queue of its topics; code 206 when nowhere.
    pub fn consume_stats(&self, group: &str) -> Result<ConsumeStats> {
        let mut all = ConsumeStats::default();
        for broker in self.topic_route(&topic::retry(group))?.broker_datas {
            let Some(address) = replica(&broker) else { continue };
            let mut ask = Command::request(request::GET_CONSUME_STATS);
            GetConsumeStats { consumer_group: group, topic: None }.encode(&mut ask);
            let reply = self.instance.call(address, ask, RELAY_TIMEOUT)?;
            let stats = ConsumeStats::from_slice(&reply.body)?;
            all.consume_tps += stats.consume_tps;
            all.offset_table.extend(stats.offset_table);
        }
        if all.offset_table.is_empty() { Err(not_online(group)) } else { Ok(all) }
    }

    /// Has the broker that stores a message hand it to one client of a consumer group once more.
    pub fn consume_directly(
        &self,
        group: &str,
        client_id: &str,
        message: &MessageExt,
    ) -> Result<ConsumeMessageDirectlyResult> {
        let mut ask = Command::request(request::CONSUME_MESSAGE_DIRECTLY);
        let header = ConsumeMessageDirectly {
            consumer_group: group,
            client_id: Some(client_id),
            msg_id: Some(&message.offset_msg_id),
            broker_name: None,
        };
        header.encode(&mut ask);
        let address = message.message.store_host.to_string();
        let reply = self.instance.call(&address, ask, RELAY_TIMEOUT)?;
        ConsumeMessageDirectlyResult::from_slice(&reply.body)
    }

    /// The run-time figures of a broker by name.
    pub fn runtime_info(&self, broker: &str) -> Result<KvTable> {
        let ask = Command::request(request::GET_BROKER_RUNTIME_INFO);
        KvTable::from_slice(&self.call(broker, ask)?.body)
    }

    /// Stores a value of the KV configuration in every name server.
    pub fn put_kv(&self, namespace: &str, key: &str, value: &str) -> Result<()> {
        for namesrv in self.namesrv_addresses() {
            let mut ask = Command::request(request::PUT_KV_CONFIG);
            PutKvConfig { namespace, key, value }.encode(&mut ask);
            self.call(namesrv, ask)?;
        }
        Ok(())
    }

    /// A value of the KV configuration; code 22 when there is none.
    pub fn get_kv(&self, namespace: &str, key: &str) -> Result<String> {
        let mut ask = Command::request(request::GET_KV_CONFIG);
        KvKey { namespace, key }.encode(&mut ask);
        let reply = self.call_namesrv(&ask)?;
        Ok(GetKvConfigReply::decode(&reply)?.value.unwrap_or_default().to_owned())
    }

    /// The message of an offset id, from the broker that the id names; code 208 when it is no such
    /// id.
    pub fn view_message(&self, offset_msg_id: &str) -> Result<MessageExt> {
        let Some((host, offset)) = id::decode_offset_id(offset_msg_id) else {
            let remark = format!("{offset_msg_id} is no offset message id");
            return Err(Error::refused(response::NO_MESSAGE, remark));
        };
        let mut ask = Command::request(request::VIEW_MESSAGE_BY_ID);
        ViewMessage { offset }.encode(&mut ask);
        let reply = self.call(&host.to_string(), ask)?;
        let message = decode_records(&reply.body, "")?.pop();
        message.ok_or_else(|| Error::refused(response::NO_MESSAGE, "the answer holds no message"))
    }

    /// Messages by key from every broker of the topic, oldest first; code 208 when there are none.
    /// Keys that only collide in the index are left out.
    pub fn query_message(&self, query: &KeyQuery) -> Result<Vec<MessageExt>> {
        let mut found = Vec::new();
        let mut trouble = None;
        for group in self.topic_route(query.topic)?.broker_datas {
            let Some(address) = replica(&group) else { continue };
            match self.query_broker(address, &group.broker_name, query) {
                Ok(messages) => found.extend(messages),
                Err(Error::Refused { code: response::QUERY_NOT_FOUND, .. }) => (),
                Err(error) => trouble = Some(error),
            }
        }
        match (found.is_empty(), trouble) {
            (true, Some(error)) => Err(error),
            (true, None) => {
                let remark = "query message by key finished, but no message.";
                Err(Error::refused(response::NO_MESSAGE, remark))
            }
            (false, _) => {
                found.sort_by_key(|message| message.message.store_timestamp);
                Ok(found)
            }
        }
    }

    fn query_broker(
        &self,
        address: &str,
        broker_name: &str,
        query: &KeyQuery,
    ) -> Result<Vec<MessageExt>> {
        let mut ask = Command::request(request::QUERY_MESSAGE);
        let header = QueryMessage {
            topic: query.topic,
            key: query.key,
            max_num: query.max,
            begin_timestamp: query.begin,
            end_timestamp: query.end,
            unique_key: query.is_unique_key,
        };
        header.encode(&mut ask);
        let reply = self.instance.call(address, ask, QUERY_TIMEOUT)?;
        let mut messages = decode_records(&reply.body, broker_name)?;
        messages.retain(|message| message.topic() == query.topic && has_key(message, query));
        Ok(messages)
    }

    /// The offset the next message of the queue will get.
    pub fn max_offset(&self, queue: &MessageQueue) -> Result<i64> {
        self.instance.max_offset(queue)
    }

    /// The oldest offset of the queue.
    pub fn min_offset(&self, queue: &MessageQueue) -> Result<i64> {
        self.instance.min_offset(queue)
    }

    /// When the oldest message of the queue was stored, in ms; -1 when there is none.
    pub fn earliest_store_time(&self, queue: &MessageQueue) -> Result<i64> {
        self.instance.earliest_store_time(queue)
    }
}

/// The master, or another replica when there is none.
fn replica(broker: &BrokerData) -> Option<&String> {
    broker.broker_addrs.values().next()
}

fn not_online(group: &str) -> Error {
    let remark = format!("the consumer group[{group}] not online, its offset table is empty");
    Error::refused(response::CONSUMER_NOT_ONLINE, remark)
}

fn has_key(message: &MessageExt, query: &KeyQuery) -> bool {
    if query.is_unique_key {
        return message.get(property::UNIQ_KEY) == Some(query.key);
    }
    message.keys().is_some_and(|keys| keys.split(' ').any(|key| key == query.key))
}
