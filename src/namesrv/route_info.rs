//! Route information: which broker serves which topic, and at which addresses. In memory only;
//! brokers register again every 30 s.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::base::limits;
use crate::base::{Error, Result};
use crate::message::flags;
use crate::protocol::body::cluster::ClusterInfo;
use crate::protocol::body::route::{BrokerData, QueueData, TopicRouteData};
use crate::protocol::body::topic::{DataVersion, TopicConfig};
use crate::protocol::code::response;

/// The broker id of a master; every other id is a slave.
pub const MASTER_ID: i64 = 0;

/// A connection by its identity: a newer connection of the same broker is another one.
pub type ConnId = u64;

/// What one broker says of itself.
#[derive(Debug, Clone)]
pub struct Registration {
    pub cluster: String,
    pub broker_name: String,
    /// 0 is the master.
    pub broker_id: i64,
    /// `ip:port` for clients.
    pub address: String,
    /// `ip:port` for slaves of this broker.
    pub ha_address: String,
    pub version: DataVersion,
    /// By name.
    pub topics: BTreeMap<String, TopicConfig>,
    pub filter_servers: Vec<String>,
    pub conn: ConnId,
}

/// What a slave learns of its master; both unset for a master.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Registered {
    pub master_address: Option<String>,
    pub ha_address: Option<String>,
}

/// Topics selected by their unit flags, for the three list requests of unit mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitTopics {
    /// The unit flag is set.
    Unit,
    /// The subscription flag is set.
    UnitSub,
    /// The subscription flag is set and the unit flag is not.
    UnitSubOnly,
}

/// The queues of one topic on one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Queues {
    broker: Arc<str>,
    read: i32,
    write: i32,
    perm: i32,
    sys_flag: i32,
}

#[derive(Debug)]
struct Broker {
    /// Of its first registration.
    cluster: String,
    addresses: BTreeMap<i64, String>,
}

#[derive(Debug)]
struct Live {
    updated_ms: i64,
    version: DataVersion,
    conn: ConnId,
    ha_address: String,
    filter_servers: Vec<String>,
}

/// All tables; one lock around the whole.
#[derive(Debug, Default)]
pub struct RouteInfo {
    /// Topic to its queues, sorted by broker name, never empty.
    topics: HashMap<String, Vec<Queues>>,
    /// Number of `Queues` in `topics`.
    queue_entries: usize,
    /// Broker name to its addresses, never empty.
    brokers: BTreeMap<Arc<str>, Broker>,
    /// Cluster to its broker names, never empty.
    clusters: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// Broker address to its last registration.
    live: HashMap<String, Live>,
}

impl RouteInfo {
    /// Takes in a registration at `now_ms`. Refused as a whole, nothing changed, when it would
    /// exceed a limit.
    pub fn register(&mut self, now_ms: i64, what: &Registration) -> Result<Registered> {
        self.check_room(what)?;
        let name: Arc<str> = match self.brokers.get_key_value(what.broker_name.as_str()) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(what.broker_name.as_str()),
        };
        self.clusters.entry(what.cluster.clone()).or_default().insert(Arc::clone(&name));
        let first = self.put_address(&name, what);
        let known = self.live.get(&what.address);
        let changed = known.is_none_or(|live| live.version != what.version);
        if what.broker_id == MASTER_ID && (first || changed) {
            for (name_of_topic, topic) in &what.topics {
                self.put_queues(name_of_topic, topic, &name);
            }
        }
        self.put_live(now_ms, what);
        Ok(self.master_of(what))
    }

    /// Removes the address from the group when it has another id there (a slave became master, or
    /// the reverse), then puts it under its id. Whether the id is new.
    fn put_address(&mut self, name: &Arc<str>, what: &Registration) -> bool {
        let broker = self.brokers.entry(Arc::clone(name)).or_insert_with(|| Broker {
            cluster: what.cluster.clone(),
            addresses: BTreeMap::new(),
        });
        broker.addresses.retain(|id, address| *id == what.broker_id || *address != what.address);
        broker.addresses.insert(what.broker_id, what.address.clone()).is_none()
    }

    fn put_queues(&mut self, name: &str, topic: &TopicConfig, broker: &Arc<str>) {
        let queues = Queues {
            broker: Arc::clone(broker),
            read: topic.read_queue_nums,
            write: topic.write_queue_nums,
            perm: topic.perm,
            sys_flag: topic.topic_sys_flag,
        };
        let Some(entries) = self.topics.get_mut(name) else {
            self.topics.insert(name.to_owned(), vec![queues]);
            self.queue_entries += 1;
            return;
        };
        match entries.binary_search_by(|entry| entry.broker.cmp(broker)) {
            Ok(at) => entries[at] = queues,
            Err(at) => {
                entries.insert(at, queues);
                self.queue_entries += 1;
            }
        }
    }

    fn put_live(&mut self, now_ms: i64, what: &Registration) {
        let live = Live {
            updated_ms: now_ms,
            version: what.version.clone(),
            conn: what.conn,
            ha_address: what.ha_address.clone(),
            filter_servers: what.filter_servers.clone(),
        };
        self.live.insert(what.address.clone(), live);
    }

    fn master_of(&self, what: &Registration) -> Registered {
        if what.broker_id == MASTER_ID {
            return Registered::default();
        }
        let group = self.brokers.get(what.broker_name.as_str());
        let master = group.and_then(|broker| broker.addresses.get(&MASTER_ID));
        let live = master.and_then(|address| self.live.get(address));
        match (master, live) {
            (Some(address), Some(live)) => Registered {
                master_address: Some(address.clone()),
                ha_address: Some(live.ha_address.clone()),
            },
            _ => Registered::default(),
        }
    }

    fn check_room(&self, what: &Registration) -> Result<()> {
        let full = |what: &str, max: usize| {
            let remark = format!("the name server holds at most {max} {what}");
            Err(Error::refused(response::SYSTEM_ERROR, remark))
        };
        let group = self.brokers.get(what.broker_name.as_str());
        let new_slot = !group.is_some_and(|group| group.addresses.contains_key(&what.broker_id));
        if new_slot {
            let slots: usize = self.brokers.values().map(|group| group.addresses.len()).sum();
            if slots >= limits::NAMESRV_BROKERS_MAX {
                return full("brokers", limits::NAMESRV_BROKERS_MAX);
            }
        }
        if !self.live.contains_key(&what.address) && self.live.len() >= limits::NAMESRV_BROKERS_MAX
        {
            return full("broker addresses", limits::NAMESRV_BROKERS_MAX);
        }
        if !self.clusters.contains_key(&what.cluster)
            && self.clusters.len() >= limits::NAMESRV_BROKERS_MAX
        {
            return full("clusters", limits::NAMESRV_BROKERS_MAX);
        }
        if self.queue_entries + what.topics.len() <= limits::NAMESRV_QUEUE_ENTRIES_MAX {
            return Ok(());
        }
        let new = what.topics.keys().filter(|topic| !self.has_queues(topic, &what.broker_name));
        if self.queue_entries + new.count() > limits::NAMESRV_QUEUE_ENTRIES_MAX {
            return full("topic entries", limits::NAMESRV_QUEUE_ENTRIES_MAX);
        }
        Ok(())
    }

    fn has_queues(&self, topic: &str, broker: &str) -> bool {
        let entries = self.topics.get(topic);
        entries.is_some_and(|entries| entries.iter().any(|entry| &*entry.broker == broker))
    }

    /// The data version `address` registered last.
    pub fn data_version(&self, address: &str) -> Option<&DataVersion> {
        self.live.get(address).map(|live| &live.version)
    }

    /// Counts as a sign of life of `address`, when it is registered.
    pub fn touch(&mut self, now_ms: i64, address: &str) {
        if let Some(live) = self.live.get_mut(address) {
            live.updated_ms = now_ms;
        }
    }

    /// Removes a broker by its group and id, and the live entry of `address`. Unknown names are
    /// fine.
    pub fn unregister(&mut self, broker_name: &str, broker_id: i64, address: &str) {
        self.live.remove(address);
        let Some(broker) = self.brokers.get_mut(broker_name) else { return };
        broker.addresses.remove(&broker_id);
        if broker.addresses.is_empty() {
            self.remove_brokers(&HashSet::from([Arc::from(broker_name)]));
        }
    }

    /// Removes every broker whose last registration came over `conn`; their addresses.
    pub fn remove_conn(&mut self, conn: ConnId) -> Vec<String> {
        self.remove_live(|live| live.conn == conn).into_iter().map(|(address, _)| address).collect()
    }

    /// Removes every broker silent for longer than `silence_ms`; their addresses and connections.
    pub fn expire(&mut self, now_ms: i64, silence_ms: i64) -> Vec<(String, ConnId)> {
        self.remove_live(|live| live.updated_ms.saturating_add(silence_ms) < now_ms)
    }

    fn remove_live(&mut self, due: impl Fn(&Live) -> bool) -> Vec<(String, ConnId)> {
        let mut gone = HashMap::new();
        self.live.retain(|address, live| {
            let due = due(live);
            if due {
                gone.insert(address.clone(), live.conn);
            }
            !due
        });
        if gone.is_empty() {
            return Vec::new();
        }
        let mut empty = HashSet::new();
        for (name, broker) in &mut self.brokers {
            broker.addresses.retain(|_, address| !gone.contains_key(address));
            if broker.addresses.is_empty() {
                empty.insert(Arc::clone(name));
            }
        }
        self.remove_brokers(&empty);
        gone.into_iter().collect()
    }

    /// Removes broker names without addresses, from their clusters and topics too.
    fn remove_brokers(&mut self, gone: &HashSet<Arc<str>>) {
        if gone.is_empty() {
            return;
        }
        self.brokers.retain(|name, _| !gone.contains(name));
        self.clusters.retain(|_, names| {
            names.retain(|name| !gone.contains(name));
            !names.is_empty()
        });
        let mut removed = 0;
        self.topics.retain(|_, entries| {
            let before = entries.len();
            entries.retain(|entry| !gone.contains(&entry.broker));
            removed += before - entries.len();
            !entries.is_empty()
        });
        self.queue_entries -= removed;
    }

    /// Removes a topic: entirely, or on the brokers of one cluster.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(entries) = self.topics.get_mut(topic) else { return };
        let before = entries.len();
        match cluster {
            None => entries.clear(),
            Some(cluster) => {
                let Some(names) = self.clusters.get(cluster) else { return };
                entries.retain(|entry| !names.contains(&entry.broker));
            }
        }
        self.queue_entries -= before - entries.len();
        if entries.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// Changes the permission of every topic on one broker; how many topics that is.
    pub fn change_perm(&mut self, broker_name: &str, change: impl Fn(i32) -> i32) -> i32 {
        let mut touched = 0;
        for entries in self.topics.values_mut() {
            for entry in entries.iter_mut().filter(|entry| &*entry.broker == broker_name) {
                entry.perm = change(entry.perm);
                touched += 1;
            }
        }
        touched
    }

    /// Brokers and queues of a topic, sorted by broker name; `None` when nobody serves it.
    pub fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let entries = self.topics.get(topic)?;
        let mut route = TopicRouteData::default();
        for entry in entries {
            route.queue_datas.push(entry.to_data());
            let Some(broker) = self.brokers.get(&entry.broker) else { continue };
            for address in broker.addresses.values() {
                let Some(live) = self.live.get(address) else { continue };
                if !live.filter_servers.is_empty() {
                    let list = live.filter_servers.clone();
                    route.filter_server_table.insert(address.clone(), list);
                }
            }
            route.broker_datas.push(broker.to_data(&entry.broker));
        }
        (!route.broker_datas.is_empty()).then_some(route)
    }

    /// All brokers and clusters.
    pub fn cluster_info(&self) -> ClusterInfo {
        let mut info = ClusterInfo::default();
        for (name, broker) in &self.brokers {
            info.broker_addr_table.insert(name.to_string(), broker.to_data(name));
        }
        for (cluster, names) in &self.clusters {
            let names = names.iter().map(|name| name.to_string()).collect();
            info.cluster_addr_table.insert(cluster.clone(), names);
        }
        info
    }

    /// All topics, sorted.
    pub fn topics(&self) -> Vec<String> {
        self.topics_where(|_| true)
    }

    /// Topics on any broker of `cluster`, sorted.
    pub fn topics_of_cluster(&self, cluster: &str) -> Vec<String> {
        let Some(names) = self.clusters.get(cluster) else { return Vec::new() };
        self.topics_where(|entries| entries.iter().any(|entry| names.contains(&entry.broker)))
    }

    /// Topics by unit flags, sorted; the first broker's flags decide.
    pub fn topics_of_unit(&self, which: UnitTopics) -> Vec<String> {
        self.topics_where(|entries| {
            let set = entries[0].sys_flag;
            let unit = set & flags::TOPIC_UNIT != 0;
            let unit_sub = set & flags::TOPIC_UNIT_SUB != 0;
            match which {
                UnitTopics::Unit => unit,
                UnitTopics::UnitSub => unit_sub,
                UnitTopics::UnitSubOnly => unit_sub && !unit,
            }
        })
    }

    fn topics_where(&self, wanted: impl Fn(&[Queues]) -> bool) -> Vec<String> {
        let found = self.topics.iter().filter(|(_, entries)| wanted(entries));
        let mut names: Vec<String> = found.map(|(topic, _)| topic.clone()).collect();
        names.sort_unstable();
        names
    }

    /// The names every cluster and broker has a topic of its own for, and an address to ask for the
    /// rest.
    pub fn system_topics(&self) -> (Vec<String>, Option<String>) {
        let clusters = self.clusters.keys().cloned();
        let names: BTreeSet<String> =
            clusters.chain(self.brokers.keys().map(|name| name.to_string())).collect();
        let address = self.brokers.values().flat_map(|broker| broker.addresses.values()).next();
        (names.into_iter().collect(), address.cloned())
    }
}

impl Queues {
    fn to_data(&self) -> QueueData {
        QueueData {
            broker_name: self.broker.to_string(),
            read_queue_nums: self.read,
            write_queue_nums: self.write,
            perm: self.perm,
            topic_sys_flag: self.sys_flag,
        }
    }
}

impl Broker {
    fn to_data(&self, name: &str) -> BrokerData {
        BrokerData {
            cluster: self.cluster.clone(),
            broker_name: name.to_owned(),
            broker_addrs: self.addresses.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
