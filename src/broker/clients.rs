//! Who is connected: consumers and producers by group and connection.
//!
//! `C` is the handle of a connection; this table only keeps and returns it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::base::limits::{
    CLIENT_GROUPS_MAX, CLIENT_MEMBERS_MAX, SUBSCRIPTIONS_BYTES_MAX, SUBSCRIPTIONS_MAX,
};
use crate::base::{Error, Result};
use crate::message::filter::Subscription;
use crate::protocol::body::heartbeat::{ConsumerData, HeartbeatData, SubscriptionData};
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

/// Of each subscription of a group in a heartbeat, in their order, what is new.
type News = Vec<Option<Subscribed>>;

/// A consumer group with at least one client. Its attributes are those of the newest heartbeat.
pub struct Consumers<C> {
    /// What the heartbeat says of the group; its subscriptions are in `subscriptions`.
    pub data: ConsumerData,
    pub subscriptions: BTreeMap<String, Subscribed>,
    pub channels: BTreeMap<u64, Channel<C>>,
    /// Memory of `subscriptions`, about.
    bytes: usize,
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
    /// Memory of all subscriptions, about.
    subscribed_bytes: usize,
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
            subscribed_bytes: 0,
        };
        Clients { tables: RwLock::new(tables) }
    }
}

impl<C: Clone> Clients<C> {
    /// Enters connection `id` in all groups of a heartbeat, or in none: it stays in those it is in
    /// then. Says of each consumer group whether its members or topics changed.
    pub fn register(
        &self,
        id: u64,
        channel: &Channel<C>,
        beat: &HeartbeatData,
    ) -> Result<Vec<bool>> {
        let news = self.news(beat);
        self.enter(id, channel, beat, news)
    }

    /// What a heartbeat subscribes anew, parsed; `None` for what is known. Expressions that take
    /// long must not keep other clients waiting, so they are parsed before the table is locked.
    fn news(&self, beat: &HeartbeatData) -> Result<Vec<News>> {
        let consumers = &beat.consumer_data_set;
        let mut topics = consumers.iter().map(|data| data.subscription_data_set.len());
        if topics.any(|topics| topics > SUBSCRIPTIONS_MAX) {
            return Err(refused(format!("a group subscribes at most {SUBSCRIPTIONS_MAX} topics")));
        }
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let is_news = |data: &ConsumerData| {
            let group = tables.consumers.get(&data.group_name);
            let all = data.subscription_data_set.iter();
            all.map(|data| group.is_none_or(|group| group.is_news(data))).collect::<Vec<_>>()
        };
        let are_news: Vec<_> = consumers.iter().map(is_news).collect();
        drop(tables);
        let parse = |(data, are_news): (&ConsumerData, Vec<bool>)| {
            let all = data.subscription_data_set.iter().zip(are_news);
            all.map(|(data, is_news)| is_news.then(|| Subscribed::new(data))).collect()
        };
        Ok(consumers.iter().zip(are_news).map(parse).collect())
    }

    /// Enters connection `id` in the groups of a heartbeat with the news that it had a moment ago.
    fn enter(
        &self,
        id: u64,
        channel: &Channel<C>,
        beat: &HeartbeatData,
        news: Result<Vec<News>>,
    ) -> Result<Vec<bool>> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let checked = news.and_then(|news| tables.check(id, beat, &news).map(|()| news));
        let news = match checked {
            Ok(news) => news,
            Err(refused) => {
                tables.touch(id, channel.last_update_ms);
                return Err(refused);
            }
        };
        for producer in &beat.producer_data_set {
            tables.enter_producer(id, channel.clone(), &producer.group_name);
        }
        let consumers = beat.consumer_data_set.iter().zip(news);
        Ok(consumers
            .map(|(data, news)| tables.enter_consumer(id, channel.clone(), data, news))
            .collect())
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

impl Subscribed {
    /// The codes are computed anew: some clients send wrong ones.
    fn new(data: &SubscriptionData) -> Subscribed {
        let kind = Some(data.expression_type.as_str());
        let filter = Subscription::parse(&data.topic, &data.sub_string, kind).ok().map(|filter| {
            Arc::new(Subscription { class_filter_mode: data.class_filter_mode, ..filter })
        });
        Subscribed { data: data.clone(), filter }
    }

    /// The memory it takes, about.
    fn bytes(&self) -> usize {
        let filter = self.filter.as_ref().map_or(0, |filter| filter.bytes());
        self.data.topic.len() + self.data.bytes() + filter
    }
}

impl<C> Consumers<C> {
    fn new(data: ConsumerData) -> Consumers<C> {
        Consumers { data, subscriptions: BTreeMap::new(), channels: BTreeMap::new(), bytes: 0 }
    }

    /// Whether a heartbeat says of a topic what is not known yet: a newer version counts.
    fn is_news(&self, data: &SubscriptionData) -> bool {
        let known = self.subscriptions.get(&data.topic);
        known.is_none_or(|known| known.data.sub_version < data.sub_version)
    }

    /// Takes over the subscriptions of a heartbeat; true when topics came or went. A newer version
    /// of the same topic's subscription replaces the old one and is not a change.
    fn subscribe(&mut self, all: &[SubscriptionData], news: News) -> bool {
        let topics: HashSet<&str> = all.iter().map(|data| data.topic.as_str()).collect();
        let Consumers { subscriptions, bytes, .. } = self;
        let before = subscriptions.len();
        subscriptions.retain(|topic, old| {
            let stays = topics.contains(topic.as_str());
            *bytes -= if stays { 0 } else { old.bytes() };
            stays
        });
        let mut changed = subscriptions.len() != before;
        for (data, new) in all.iter().zip(news) {
            // Of a topic that the heartbeat names twice the newer version counts, too. What was
            // known a moment ago may have left with its group since.
            if self.is_news(data) {
                let new = new.unwrap_or_else(|| Subscribed::new(data));
                self.bytes += new.bytes();
                let old = self.subscriptions.insert(new.data.topic.clone(), new);
                self.bytes -= old.as_ref().map_or(0, Subscribed::bytes);
                changed |= old.is_none();
            }
        }
        changed
    }
}

fn refused(remark: String) -> Error {
    Error::refused(response::SYSTEM_ERROR, remark)
}

impl<C> Tables<C> {
    /// Refuses a heartbeat that would make too much of anything.
    fn check(&self, id: u64, beat: &HeartbeatData, news: &[News]) -> Result<()> {
        let HeartbeatData { consumer_data_set, producer_data_set, .. } = beat;
        let consumers = (consumer_data_set.iter())
            .map(|data| Some(&self.consumers.get(&data.group_name)?.channels));
        let producers = producer_data_set.iter().map(|data| self.producers.get(&data.group_name));
        let groups = [
            self.consumers.len() + consumers.clone().filter(Option::is_none).count(),
            self.producers.len() + producers.clone().filter(Option::is_none).count(),
        ];
        if groups.into_iter().any(|groups| groups > CLIENT_GROUPS_MAX) {
            let max = CLIENT_GROUPS_MAX;
            let remark = format!("clients of {max} groups are connected, no more are served");
            return Err(refused(remark));
        }
        let joined = consumers
            .chain(producers)
            .filter(|channels| channels.is_none_or(|channels| !channels.contains_key(&id)));
        if self.members + joined.count() > CLIENT_MEMBERS_MAX {
            let max = CLIENT_MEMBERS_MAX;
            return Err(refused(format!("clients have {max} memberships of groups in all")));
        }
        // What they replace is not set off: that matters near the limit only.
        let bytes: usize = news.iter().flatten().flatten().map(Subscribed::bytes).sum();
        if self.subscribed_bytes + bytes > SUBSCRIPTIONS_BYTES_MAX {
            let max = SUBSCRIPTIONS_BYTES_MAX;
            return Err(refused(format!("the subscriptions of all groups have {max} bytes")));
        }
        Ok(())
    }

    /// Enters a consumer; true when the group's members or topics changed.
    fn enter_consumer(
        &mut self,
        id: u64,
        channel: Channel<C>,
        data: &ConsumerData,
        news: News,
    ) -> bool {
        let name = &data.group_name;
        self.groups_of.entry(id).or_default().0.insert(name.clone());
        let about =
            ConsumerData { group_name: name.clone(), subscription_data_set: Vec::new(), ..*data };
        let group =
            self.consumers.entry(name.clone()).or_insert_with(|| Consumers::new(about.clone()));
        group.data = about;
        let joins = group.channels.insert(id, channel).is_none();
        self.members += usize::from(joins);
        let before = group.bytes;
        let changed = group.subscribe(&data.subscription_data_set, news);
        self.subscribed_bytes = self.subscribed_bytes - before + group.bytes;
        changed | joins
    }

    /// The client of a connection is alive.
    fn touch(&mut self, id: u64, now_ms: i64) {
        let Some((consumers, producers)) = self.groups_of.get(&id) else { return };
        for name in consumers {
            let channel =
                self.consumers.get_mut(name).and_then(|group| group.channels.get_mut(&id));
            channel.into_iter().for_each(|channel| channel.last_update_ms = now_ms);
        }
        for name in producers {
            let channel = self.producers.get_mut(name).and_then(|group| group.get_mut(&id));
            channel.into_iter().for_each(|channel| channel.last_update_ms = now_ms);
        }
    }

    /// Enters a producer.
    fn enter_producer(&mut self, id: u64, channel: Channel<C>, name: &str) {
        self.groups_of.entry(id).or_default().1.insert(name.to_owned());
        self.by_client.insert(channel.client_id.clone(), id);
        let old = self.producers.entry(name.to_owned()).or_default().insert(id, channel);
        match old {
            Some(old) => self.forget_client(id, &old.client_id),
            None => self.members += 1,
        }
    }

    fn remove_consumer(&mut self, id: u64, name: &str) -> bool {
        let Some(group) = self.consumers.get_mut(name) else { return false };
        let was_there = group.channels.remove(&id).is_some();
        self.members -= usize::from(was_there);
        if group.channels.is_empty() {
            self.subscribed_bytes -= group.bytes;
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
    use crate::protocol::body::heartbeat::ProducerData;

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

    fn consumer(
        clients: &Clients<u64>,
        channel: Channel<u64>,
        data: ConsumerData,
    ) -> Result<Vec<bool>> {
        let beat = HeartbeatData { consumer_data_set: vec![data], ..HeartbeatData::default() };
        clients.register(channel.conn, &channel, &beat)
    }

    fn producer(clients: &Clients<u64>, channel: Channel<u64>, name: &str) -> Result<Vec<bool>> {
        let producer_data_set = vec![ProducerData { group_name: name.into() }];
        let beat = HeartbeatData { producer_data_set, ..HeartbeatData::default() };
        clients.register(channel.conn, &channel, &beat)
    }

    #[test]
    fn members_and_topics_change_a_group_versions_do_not() {
        let clients = Clients::default();
        let beat = |id, topics: &[(&str, i64)]| {
            consumer(&clients, channel(id, 0), group(topics)).unwrap()[0]
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
        consumer(&clients, channel(1, 0), group(&[("A", 1)])).unwrap();
        consumer(&clients, channel(2, 0), group(&[("A", 1)])).unwrap();
        producer(&clients, channel(1, 0), "p").unwrap();
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
        producer(&clients, channel(1, 0), "p").unwrap();
        producer(&clients, channel(1, 0), "q").unwrap();
        clients.unregister_producer(1, "p");
        assert_eq!((at("client1"), at("client2")), (Some(1), None));
        let again = Channel { client_id: "client1".into(), ..channel(2, 0) };
        producer(&clients, again, "q").unwrap();
        clients.closed(1);
        assert_eq!(at("client1"), Some(2), "it came back before its old connection was closed");
        producer(&clients, channel(2, 0), "q").unwrap();
        assert_eq!((at("client1"), at("client2")), (None, Some(2)), "renamed");
        clients.closed(2);
        assert!(clients.tables.read().unwrap().by_client.is_empty());
    }

    #[test]
    fn memberships_are_counted_and_bounded() {
        let clients = Clients::default();
        let members = || clients.tables.read().unwrap().members;
        for _ in 0..2 {
            consumer(&clients, channel(1, 0), group(&[])).unwrap();
            producer(&clients, channel(1, 0), "p").unwrap();
            producer(&clients, channel(2, 0), "p").unwrap();
        }
        assert_eq!(members(), 3, "a second heartbeat joins nothing");
        clients.unregister_producer(2, "q");
        clients.unregister_producer(2, "p");
        assert_eq!(members(), 2);

        clients.tables.write().unwrap().members = CLIENT_MEMBERS_MAX;
        producer(&clients, channel(1, 9), "p").expect("a member already");
        consumer(&clients, channel(1, 9), group(&[])).expect("a member already");
        for group in ["p", "new"] {
            producer(&clients, channel(2, 0), group).expect_err("one too many");
        }
        consumer(&clients, channel(2, 0), group(&[])).expect_err("one too many");
        assert_eq!(clients.connections("g"), [1]);
        assert!(clients.producers("new").is_none());
        clients.closed(1);
        assert_eq!(members(), CLIENT_MEMBERS_MAX - 2);
        producer(&clients, channel(2, 0), "p").expect("there is room again");
    }

    #[test]
    fn a_heartbeat_is_entered_whole_or_not_at_all() {
        let clients = Clients::default();
        producer(&clients, channel(1, 0), "p").unwrap();
        let many: Vec<_> = (0..=SUBSCRIPTIONS_MAX).map(|n| n.to_string()).collect();
        let many: Vec<_> = many.iter().map(|topic| (topic.as_str(), 1)).collect();
        let mut beat = HeartbeatData {
            consumer_data_set: vec![
                group(&[("A", 1)]),
                ConsumerData { group_name: "h".into(), ..group(&many) },
            ],
            producer_data_set: vec![ProducerData { group_name: "q".into() }],
            ..HeartbeatData::default()
        };
        clients.register(1, &channel(1, 130_000), &beat).expect_err("a topic too many");
        assert!(clients.consumers("g", |_| ()).is_none() && clients.producers("q").is_none());
        assert_eq!(clients.tables.read().unwrap().members, 1);
        assert!(clients.expired(150_000).is_empty(), "it stays in the group it was in");

        beat.consumer_data_set[1].subscription_data_set.pop();
        let changed = clients.register(1, &channel(1, 130_000), &beat).unwrap();
        assert_eq!(changed, [true, true]);
        assert_eq!(clients.tables.read().unwrap().members, 4);
    }

    #[test]
    fn what_was_known_may_leave_before_a_heartbeat_is_entered() {
        let clients = Clients::default();
        let of = |topics: &[(&str, i64)]| HeartbeatData {
            consumer_data_set: vec![group(topics)],
            ..HeartbeatData::default()
        };
        consumer(&clients, channel(1, 0), group(&[("A", 1)])).unwrap();
        let beat = of(&[("A", 1), ("B", 2)]);
        let news = clients.news(&beat);
        clients.closed(1);
        clients.enter(2, &channel(2, 0), &beat, news).unwrap();
        let topics = clients.consumers("g", |g| g.subscriptions.len());
        assert_eq!(topics, Some(2));

        let news = clients.news(&of(&[("A", 2), ("B", 2)]));
        consumer(&clients, channel(2, 0), group(&[("A", 3), ("B", 2)])).unwrap();
        clients.enter(2, &channel(2, 0), &of(&[("A", 2), ("B", 2)]), news).unwrap();
        let version = clients.consumers("g", |g| g.subscriptions["A"].data.sub_version);
        assert_eq!(version, Some(3), "what came meanwhile is newer");
    }

    #[test]
    fn subscriptions_are_bounded_in_bytes() {
        let clients = Clients::default();
        let bytes = || clients.tables.read().unwrap().subscribed_bytes;
        consumer(&clients, channel(1, 0), group(&[("A", 1), ("B", 1)])).unwrap();
        let two = bytes();
        consumer(&clients, channel(1, 0), group(&[("A", 1)])).unwrap();
        let one = bytes();
        assert_eq!(two, 2 * one);
        let twice = group(&[("A", 3), ("A", 2), ("A", 4)]);
        consumer(&clients, channel(1, 0), twice).unwrap();
        assert_eq!(bytes(), one, "one subscription a topic, the newest");

        clients.tables.write().unwrap().subscribed_bytes = SUBSCRIPTIONS_BYTES_MAX;
        consumer(&clients, channel(1, 0), group(&[("A", 4)])).expect("nothing new");
        consumer(&clients, channel(2, 0), group(&[("A", 4), ("B", 1)])).expect_err("too much");
        assert_eq!(clients.connections("g"), [1]);
        clients.closed(1);
        assert_eq!(bytes(), SUBSCRIPTIONS_BYTES_MAX - one);
        consumer(&clients, channel(2, 0), group(&[("A", 1)])).expect("there is room again");
    }

    #[test]
    fn producers_take_turns() {
        let clients = Clients::default();
        for id in 1..=3 {
            producer(&clients, channel(id, 0), "p").unwrap();
        }
        let turn = |turn, without| clients.producer("p", turn, |&conn| conn != without);
        assert_eq!([turn(0, 0), turn(4, 0), turn(2, 3)], [Some(1), Some(2), Some(1)]);
        assert_eq!(clients.producer("p", 0, |_| false), None);
        assert_eq!(clients.producer("q", 0, |_| true), None);
    }

    #[test]
    fn silent_clients_expire() {
        let clients = Clients::default();
        consumer(&clients, channel(1, 0), group(&[])).unwrap();
        producer(&clients, channel(1, 0), "p").unwrap();
        producer(&clients, channel(2, 90_000), "p").unwrap();
        assert!(clients.expired(120_000).is_empty());
        assert_eq!(clients.expired(120_001), [1]);
    }
}
