//! Who is connected: consumers and producers by group and connection.
//!
//! `C` is the handle of a connection; this table only keeps and returns it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::base::limits::{CLIENT_GROUPS_MAX, CLIENT_MEMBERS_MAX, SUBSCRIPTIONS_MAX};
use crate::base::{Error, Result};
use crate::message::filter::Subscription;
use crate::protocol::body::heartbeat::{ConsumerData, SubscriptionData};
use crate::protocol::code::response;

/// A client that sent no heartbeat for so long is taken off and its connection closed.
pub const CLIENT_EXPIRED: Duration = Duration::from_secs(120);

/// One client of a group.
#[derive(Clone)]
pub struct Channel<C> {
    pub conn: C,
    pub client_id: String,
    /// LanguageCode and MQVersion ordinal of its heartbeat.
    pub language: u8,
    pub version: i32,
    pub peer: SocketAddr,
    pub last_update_ms: i64,
}

/// A topic a group subscribes, as the newest heartbeat says.
#[derive(Clone)]
pub struct Subscribed {
    pub data: SubscriptionData,
    /// `None` when its expression does not parse.
    pub filter: Option<Arc<Subscription>>,
}

/// A consumer group with at least one client. Its attributes are those of the newest heartbeat.
pub struct Consumers<C> {
    /// What the heartbeat says of the group; its subscriptions are in `subscriptions`.
    pub data: ConsumerData,
    pub subscriptions: BTreeMap<String, Subscribed>,
    pub channels: BTreeMap<u64, Channel<C>>,
}

struct Tables<C> {
    consumers: HashMap<String, Consumers<C>>,
    producers: HashMap<String, BTreeMap<u64, Channel<C>>>,
    /// Client id → the connection on which it said last that it is a producer.
    by_client: HashMap<String, u64>,
    /// Connection → the groups it is in: consumer groups and producer groups.
    groups_of: HashMap<u64, (BTreeSet<String>, BTreeSet<String>)>,
    /// Channels in `consumers` and `producers`.
    members: usize,
}

/// All clients of this broker.
pub struct Clients<C> {
    tables: RwLock<Tables<C>>,
}

impl<C> Default for Clients<C> {
    fn default() -> Clients<C> {
        let tables = Tables {
            consumers: HashMap::new(),
            producers: HashMap::new(),
            by_client: HashMap::new(),
            groups_of: HashMap::new(),
            members: 0,
        };
        Clients { tables: RwLock::new(tables) }
    }
}

impl<C: Clone> Clients<C> {
    /// Enters a consumer under connection `id`; true when the group's members or topics changed.
    pub fn register_consumer(
        &self,
        id: u64,
        channel: Channel<C>,
        mut data: ConsumerData,
    ) -> Result<bool> {
        let subscribed = std::mem::take(&mut data.subscription_data_set);
        if subscribed.len() > SUBSCRIPTIONS_MAX {
            let remark = format!("a group subscribes at most {SUBSCRIPTIONS_MAX} topics");
            return Err(Error::refused(response::SYSTEM_ERROR, remark));
        }
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let name = data.group_name.clone();
        let group = tables.consumers.get(&name);
        if group.is_none() && tables.consumers.len() >= CLIENT_GROUPS_MAX {
            return Err(too_many_groups());
        }
        let joins = group.is_none_or(|group| !group.channels.contains_key(&id));
        tables.count_member(joins)?;
        tables.groups_of.entry(id).or_default().0.insert(name.clone());
        let group = tables.consumers.entry(name).or_insert_with(|| Consumers {
            data: data.clone(),
            subscriptions: BTreeMap::new(),
            channels: BTreeMap::new(),
        });
        group.data = data;
        group.channels.insert(id, channel);
        Ok(group.subscribe(subscribed) | joins)
    }

    /// Enters a producer under connection `id`.
    pub fn register_producer(&self, id: u64, channel: Channel<C>, group: &str) -> Result<()> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let channels = tables.producers.get(group);
        if channels.is_none() && tables.producers.len() >= CLIENT_GROUPS_MAX {
            return Err(too_many_groups());
        }
        let joins = channels.is_none_or(|channels| !channels.contains_key(&id));
        tables.count_member(joins)?;
        tables.groups_of.entry(id).or_default().1.insert(group.to_owned());
        tables.by_client.insert(channel.client_id.clone(), id);
        let old = tables.producers.entry(group.to_owned()).or_default().insert(id, channel);
        if let Some(old) = old {
            tables.forget_client(id, &old.client_id);
        }
        Ok(())
    }

    /// Takes a consumer off; true when it was there.
    pub fn unregister_consumer(&self, id: u64, group: &str) -> bool {
        self.tables.write().unwrap_or_else(PoisonError::into_inner).remove_consumer(id, group)
    }

    /// Takes a producer off.
    pub fn unregister_producer(&self, id: u64, group: &str) {
        self.tables.write().unwrap_or_else(PoisonError::into_inner).remove_producer(id, group);
    }

    /// Forgets a connection; returns the consumer groups it was in.
    pub fn closed(&self, id: u64) -> Vec<String> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let Some((consumers, producers)) = tables.groups_of.get(&id).cloned() else {
            return Vec::new();
        };
        for group in &producers {
            tables.remove_producer(id, group);
        }
        for group in &consumers {
            tables.remove_consumer(id, group);
        }
        consumers.into_iter().collect()
    }

    /// The connections with a client silent for `CLIENT_EXPIRED`: the caller closes them.
    pub fn expired(&self, now_ms: i64) -> Vec<C> {
        let oldest = now_ms - CLIENT_EXPIRED.as_millis() as i64;
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let mut seen = HashSet::new();
        let consumers = tables.consumers.values().map(|group| &group.channels);
        consumers
            .chain(tables.producers.values())
            .flatten()
            .filter(|(id, channel)| channel.last_update_ms < oldest && seen.insert(**id))
            .map(|(_, channel)| channel.conn.clone())
            .collect()
    }

    /// Looks at a consumer group; `None` when it has no client.
    pub fn consumers<R>(&self, group: &str, look: impl FnOnce(&Consumers<C>) -> R) -> Option<R> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.consumers.get(group).map(look)
    }

    /// Whether a group consumes a topic, for all this broker knows: it subscribes it, or says
    /// nothing of subscriptions, or nobody of it is here to say so.
    pub fn may_consume(&self, group: &str, topic: &str) -> bool {
        let says = self.consumers(group, |group| {
            group.subscriptions.is_empty() || group.subscriptions.contains_key(topic)
        });
        says.unwrap_or(true)
    }

    /// The consumer groups with a client that subscribe a topic.
    pub fn subscribers(&self, topic: &str) -> Vec<String> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let groups = tables.consumers.iter();
        let subscribing = groups.filter(|(_, group)| group.subscriptions.contains_key(topic));
        subscribing.map(|(name, _)| name.clone()).collect()
    }

    /// The producers of a group in the order of their connections; `None` when there are none.
    pub fn producers(&self, group: &str) -> Option<Vec<Channel<C>>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.producers.get(group).map(|channels| channels.values().cloned().collect())
    }

    /// All producers by group, in the order of their connections.
    pub fn all_producers(&self) -> BTreeMap<String, Vec<Channel<C>>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let groups = tables.producers.iter();
        groups.map(|(name, group)| (name.clone(), group.values().cloned().collect())).collect()
    }

    /// A client by its id; every client's heartbeat names a producer group, if only an inner one.
    pub fn client(&self, client_id: &str) -> Option<Channel<C>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let id = tables.by_client.get(client_id)?;
        tables.channel(*id, client_id).cloned()
    }

    /// The clients of a consumer group in the order of their connections.
    pub fn consumer_channels(&self, group: &str) -> Vec<Channel<C>> {
        self.consumers(group, |group| group.channels.values().cloned().collect())
            .unwrap_or_default()
    }

    /// A producer of a group that `suits`, looked for from the `turn`th one on.
    pub fn producer(&self, group: &str, turn: usize, suits: impl Fn(&C) -> bool) -> Option<C> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let channels = tables.producers.get(group)?;
        let (first, count) = (turn.checked_rem(channels.len())?, channels.len());
        let conns = channels.values().map(|channel| &channel.conn);
        conns.cycle().skip(first).take(count).find(|conn| suits(conn)).cloned()
    }

    /// The connections of a consumer group.
    pub fn connections(&self, group: &str) -> Vec<C> {
        self.consumers(group, |group| group.channels.values().map(|c| c.conn.clone()).collect())
            .unwrap_or_default()
    }
}

fn too_many_groups() -> Error {
    let remark = format!("clients of {CLIENT_GROUPS_MAX} groups are connected, no more are served");
    Error::refused(response::SYSTEM_ERROR, remark)
}

impl<C> Consumers<C> {
    /// Takes over the subscriptions of a heartbeat; true when topics came or went. A newer version
    /// of the same topic's subscription replaces the old one and is not a change.
    fn subscribe(&mut self, subscribed: Vec<SubscriptionData>) -> bool {
        let before = self.subscriptions.len();
        let topics: HashSet<&str> = subscribed.iter().map(|data| data.topic.as_str()).collect();
        self.subscriptions.retain(|topic, _| topics.contains(topic.as_str()));
        let mut changed = self.subscriptions.len() != before;
        for data in subscribed {
            match self.subscriptions.get(&data.topic) {
                Some(old) if old.data.sub_version >= data.sub_version => continue,
                Some(_) => {}
                None => changed = true,
            }
            let filter = filter_of(&data);
            self.subscriptions.insert(data.topic.clone(), Subscribed { data, filter });
        }
        changed
    }
}

/// The codes are computed anew: some clients send wrong ones.
fn filter_of(data: &SubscriptionData) -> Option<Arc<Subscription>> {
    let kind = Some(data.expression_type.as_str());
    let filter = Subscription::parse(&data.topic, &data.sub_string, kind).ok()?;
    Some(Arc::new(Subscription { class_filter_mode: data.class_filter_mode, ..filter }))
}

impl<C> Tables<C> {
    /// Counts a client that joins a group; refused when there are too many.
    fn count_member(&mut self, joins: bool) -> Result<()> {
        if joins && self.members >= CLIENT_MEMBERS_MAX {
            let remark = format!("clients have {CLIENT_MEMBERS_MAX} memberships of groups in all");
            return Err(Error::refused(response::SYSTEM_ERROR, remark));
        }
        self.members += usize::from(joins);
        Ok(())
    }

    fn remove_consumer(&mut self, id: u64, name: &str) -> bool {
        let Some(group) = self.consumers.get_mut(name) else { return false };
        let was_there = group.channels.remove(&id).is_some();
        self.members -= usize::from(was_there);
        if group.channels.is_empty() {
            self.consumers.remove(name);
        }
        if let Some(groups) = self.groups_of.get_mut(&id) {
            groups.0.remove(name);
        }
        self.forget_if_idle(id);
        was_there
    }

    fn remove_producer(&mut self, id: u64, name: &str) {
        let mut left = None;
        if let Some(channels) = self.producers.get_mut(name) {
            left = channels.remove(&id);
            if channels.is_empty() {
                self.producers.remove(name);
            }
        }
        if let Some(groups) = self.groups_of.get_mut(&id) {
            groups.1.remove(name);
        }
        if let Some(channel) = left {
            self.members -= 1;
            self.forget_client(id, &channel.client_id);
        }
        self.forget_if_idle(id);
    }

    /// A producer of connection `id` by its client id.
    fn channel(&self, id: u64, client_id: &str) -> Option<&Channel<C>> {
        let mut channels = self.groups_of.get(&id)?.1.iter().filter_map(|group| {
            let channel = self.producers.get(group)?.get(&id)?;
            (channel.client_id == client_id).then_some(channel)
        });
        channels.next()
    }

    /// Forgets a client id that connection `id` had, unless it has it still.
    fn forget_client(&mut self, id: u64, client_id: &str) {
        if self.by_client.get(client_id) == Some(&id) && self.channel(id, client_id).is_none() {
            self.by_client.remove(client_id);
        }
    }

    fn forget_if_idle(&mut self, id: u64) {
        if let Some((consumers, producers)) = self.groups_of.get(&id)
            && consumers.is_empty()
            && producers.is_empty()
        {
            self.groups_of.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(id: u64, now_ms: i64) -> Channel<u64> {
        Channel {
            conn: id,
            client_id: format!("client{id}"),
            language: 0,
            version: 409,
            peer: "127.0.0.1:1".parse().unwrap(),
            last_update_ms: now_ms,
        }
    }

    fn group(topics: &[(&str, i64)]) -> ConsumerData {
        let subscription = |&(topic, sub_version): &(&str, i64)| SubscriptionData {
            topic: topic.into(),
            sub_string: "*".into(),
            sub_version,
            ..SubscriptionData::default()
        };
        ConsumerData {
            group_name: "g".into(),
            subscription_data_set: topics.iter().map(subscription).collect(),
            ..ConsumerData::default()
        }
    }

    #[test]
    fn members_and_topics_change_a_group_versions_do_not() {
        let clients = Clients::default();
        let beat = |id, topics: &[(&str, i64)]| {
            clients.register_consumer(id, channel(id, 0), group(topics)).unwrap()
        };
        assert!(beat(1, &[("A", 1)]));
        assert!(!beat(1, &[("A", 1)]));
        assert!(!beat(1, &[("A", 2)]));
        assert!(beat(1, &[("A", 2), ("B", 2)]));
        assert!(beat(1, &[("B", 2)]));
        assert!(beat(2, &[("B", 2)]));
        assert_eq!(clients.connections("g"), [1, 2]);
        assert_eq!(clients.subscribers("B"), ["g"]);
        assert!(clients.subscribers("A").is_empty());
        let version = clients.consumers("g", |g| g.subscriptions["B"].data.sub_version);
        assert_eq!(version, Some(2));
    }

    #[test]
    fn closing_a_connection_takes_it_off_everywhere() {
        let clients = Clients::default();
        clients.register_consumer(1, channel(1, 0), group(&[("A", 1)])).unwrap();
        clients.register_consumer(2, channel(2, 0), group(&[("A", 1)])).unwrap();
        clients.register_producer(1, channel(1, 0), "p").unwrap();
        assert_eq!(clients.closed(1), ["g"]);
        assert!(clients.closed(1).is_empty());
        assert!(clients.producers("p").is_none());
        assert_eq!(clients.connections("g"), [2]);
        assert!(clients.unregister_consumer(2, "g"));
        assert!(!clients.unregister_consumer(2, "g"));
        assert!(clients.consumers("g", |_| ()).is_none());
        assert!(clients.tables.read().unwrap().groups_of.is_empty());
    }

    #[test]
    fn clients_are_found_by_id() {
        let clients = Clients::default();
        let at = |id: &str| clients.client(id).map(|channel| channel.conn);
        clients.register_producer(1, channel(1, 0), "p").unwrap();
        clients.register_producer(1, channel(1, 0), "q").unwrap();
        clients.unregister_producer(1, "p");
        assert_eq!((at("client1"), at("client2")), (Some(1), None));
        let again = Channel { client_id: "client1".into(), ..channel(2, 0) };
        clients.register_producer(2, again, "q").unwrap();
        clients.closed(1);
        assert_eq!(at("client1"), Some(2), "it came back before its old connection was closed");
        clients.register_producer(2, channel(2, 0), "q").unwrap();
        assert_eq!((at("client1"), at("client2")), (None, Some(2)), "renamed");
        clients.closed(2);
        assert!(clients.tables.read().unwrap().by_client.is_empty());
    }

    #[test]
    fn memberships_are_counted_and_bounded() {
        let clients = Clients::default();
        let members = || clients.tables.read().unwrap().members;
        for _ in 0..2 {
            clients.register_consumer(1, channel(1, 0), group(&[])).unwrap();
            clients.register_producer(1, channel(1, 0), "p").unwrap();
            clients.register_producer(2, channel(2, 0), "p").unwrap();
        }
        assert_eq!(members(), 3, "a second heartbeat joins nothing");
        clients.unregister_producer(2, "q");
        clients.unregister_producer(2, "p");
        assert_eq!(members(), 2);

        clients.tables.write().unwrap().members = CLIENT_MEMBERS_MAX;
        clients.register_producer(1, channel(1, 9), "p").expect("a member already");
        clients.register_consumer(1, channel(1, 9), group(&[])).expect("a member already");
        for group in ["p", "new"] {
            clients.register_producer(2, channel(2, 0), group).expect_err("one too many");
        }
        clients.register_consumer(2, channel(2, 0), group(&[])).expect_err("one too many");
        assert_eq!(clients.connections("g"), [1]);
        assert!(clients.producers("new").is_none());
        clients.closed(1);
        assert_eq!(members(), CLIENT_MEMBERS_MAX - 2);
        clients.register_producer(2, channel(2, 0), "p").expect("there is room again");
    }

    #[test]
    fn producers_take_turns() {
        let clients = Clients::default();
        for id in 1..=3 {
            clients.register_producer(id, channel(id, 0), "p").unwrap();
        }
        let turn = |turn, without| clients.producer("p", turn, |&conn| conn != without);
        assert_eq!([turn(0, 0), turn(4, 0), turn(2, 3)], [Some(1), Some(2), Some(1)]);
        assert_eq!(clients.producer("p", 0, |_| false), None);
        assert_eq!(clients.producer("q", 0, |_| true), None);
    }

    #[test]
    fn silent_clients_expire() {
        let clients = Clients::default();
        clients.register_consumer(1, channel(1, 0), group(&[])).unwrap();
        clients.register_producer(1, channel(1, 0), "p").unwrap();
        clients.register_producer(2, channel(2, 90_000), "p").unwrap();
        assert!(clients.expired(120_000).is_empty());
        assert_eq!(clients.expired(120_001), [1]);
    }
}
