//! Topics: name → configuration (`topics.json`), automatic creation, what is a system topic.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use super::stats::{Item, Readers};
use crate::base::limits::{TOPIC_CHANGES_MAX, TOPICS_MAX};
use crate::base::persist::{self, VersionedFile};
use crate::base::{Error, HotMap, Result, clock, json};
use crate::config::BrokerConfig;
use crate::message::flags::{PERM_INHERIT, PERM_READ, PERM_WRITE, TOPIC_UNIT, TOPIC_UNIT_SUB};
use crate::message::topic;
use crate::protocol::body::group::SubscriptionGroupConfig;
use crate::protocol::body::topic::{DataVersion, TopicConfig, TopicConfigTable};
use crate::protocol::code::response;
use crate::store::QueuesAtHand;
use crate::sys::vector;

const RW: i32 = PERM_READ | PERM_WRITE;

/// Queues of the topic named like the cluster: the default of a topic configuration.
const CLUSTER_TOPIC_QUEUES: i32 = 16;
const BENCHMARK_TOPIC_QUEUES: i32 = 1024;

/// A topic, and what each send to it needs besides: all are found with one look-up.
pub struct Topic {
    config: TopicConfig,
    /// `None` for a light topic, which is made for each request.
    at_hand: Option<AtHand>,
}

/// What else there is of a topic.
pub struct AtHand {
    /// Of `Stats`.
    pub puts: OnceLock<Arc<Item>>,
    /// Of `Stats`, by group.
    pub gets: Readers,
    /// Of the store.
    pub queues: QueuesAtHand,
}

impl AtHand {
    /// Has the processor load what a send will need.
    pub fn prefetch_put(&self, queue_id: i32) {
        self.puts.get().map(Arc::as_ptr).into_iter().for_each(vector::prefetch_all);
        self.queues.prefetch(queue_id);
    }

    /// Has the processor load where a queue and the counters are found.
    fn prefetch_places(&self, queue_id: i32, gets: bool) {
        match gets {
            true => self.gets.prefetch_all(),
            false => self.puts.get().map(Arc::as_ptr).into_iter().for_each(vector::prefetch_all),
        }
        self.queues.prefetch_place(queue_id);
    }

    /// Has the processor load what a pull by this group will need.
    pub fn prefetch_get(&self, group: &Arc<SubscriptionGroupConfig>, queue_id: i32) {
        self.gets.prefetch(group);
        self.queues.prefetch_units(queue_id);
    }
}

impl Topic {
    fn stored(config: TopicConfig) -> Arc<Topic> {
        let queues = QueuesAtHand::new(usize::try_from(config.write_queue_nums).unwrap_or(0));
        let at_hand = AtHand { puts: OnceLock::new(), gets: Readers::default(), queues };
        Arc::new(Topic { config, at_hand: Some(at_hand) })
    }

    /// What else there is of it, if it is in the table.
    pub fn at_hand(&self) -> Option<&AtHand> {
        self.at_hand.as_ref()
    }
}

impl Deref for Topic {
    type Target = TopicConfig;

    fn deref(&self) -> &TopicConfig {
        &self.config
    }
}

struct State {
    table: HotMap<String, Arc<Topic>>,
    version: DataVersion,
    /// The newest changes, oldest first: the version's counter and the topic, `None` for a change
    /// of no single topic.
    changes: VecDeque<(i64, Option<String>)>,
}

/// The topic table and its file.
pub struct Topics {
    file: VersionedFile,
    state: RwLock<State>,
    /// Held while a topic is created, so that two sends do not create it twice.
    creating: Mutex<()>,
    system: HashSet<String>,
    /// `enableLmq`: light queues need no configuration.
    lmq: bool,
    /// No file was there, or none that could be read.
    pub is_new: bool,
}

/// A topic, and whether the call that returned it created it.
pub struct Found {
    pub config: Arc<Topic>,
    pub created: bool,
}

/// What a send says about a topic that does not exist yet.
pub struct Wanted<'a> {
    pub topic: &'a str,
    /// The topic to take the configuration of, mostly `TBW102`.
    pub default_topic: &'a str,
    pub queue_nums: i32,
    pub unit_mode: bool,
    /// `autoCreateTopicEnable`.
    pub auto_create: bool,
}

impl Topics {
    /// The topics of `path` over those every broker has.
    pub fn load(path: &Path, config: &BrokerConfig) -> Result<Topics> {
        let (mut table, system) = built_in(config);
        let cost = "topics with messages are made again, their settings are lost";
        let stored = persist::load_or_keep_aside(path, cost, |text| {
            json::from_slice::<TopicConfigTable>(text.as_bytes())
        })?;
        let is_new = stored.is_none();
        let mut version = DataVersion { timestamp: clock::now_ms(), ..DataVersion::default() };
        if let Some(stored) = stored {
            version = stored.data_version;
            for (name, mut config) in stored.topic_config_table {
                config.topic_name.clone_from(&name);
                table.insert(name, Topic::stored(config));
            }
        }
        let file = VersionedFile::new(path, version.counter);
        let state = RwLock::new(State { table, version, changes: VecDeque::new() });
        let (creating, lmq) = (Mutex::new(()), config.store.enable_lmq);
        Ok(Topics { file, state, creating, system, lmq, is_new })
    }

    /// Makes the topics that have `queues` in the store and are not known, with `least` queues or
    /// as many as there are: for a table that was lost.
    pub fn make_again(&self, queues: impl IntoIterator<Item = (Arc<str>, i32)>, least: i32) {
        let wanted = queues.into_iter().filter(|(name, _)| topic::check(name).is_ok());
        let made = wanted.filter_map(|(name, queues)| {
            let plain = !topic::is_of_group(&name) && !self.is_system(&name);
            let queues = if plain { queues.max(least) } else { queues };
            self.add(&name, queues, 0).filter(|found| found.created)
        });
        let made = made.count();
        if made > 0 {
            log::error!(target: "broker", "{made} topics had no configuration and are made again \
                for the queues they have, with default settings");
            self.persist();
        }
    }

    fn is_light(&self, name: &str) -> bool {
        self.lmq && topic::is_lmq(name)
    }

    /// The configuration of a topic.
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        if self.is_light(name) {
            return Some(Arc::new(Topic { config: new_topic(name, 1, RW, 0), at_hand: None }));
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let topic = state.table.get(name)?;
        // Counting a reference makes the processor wait for what it has under way: all at once.
        vector::prefetch_all(Arc::as_ptr(topic));
        Some(topic.clone())
    }

    /// Has the processor load what sends to these queues (or `gets`: pulls) will need, by topic and
    /// queue id: step by step for all of them.
    pub fn prefetch(&self, places: &[(&str, i32)], gets: bool) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let topic = |&(name, queue_id): &(&str, i32)| {
            let topic = state.table.get(name)?;
            vector::prefetch_all(Arc::as_ptr(topic));
            Some((topic, queue_id))
        };
        let topics: Vec<_> = places.iter().filter_map(topic).collect();
        let at_hand = || topics.iter().filter_map(|(topic, id)| Some((topic.at_hand()?, *id)));
        at_hand().for_each(|(topic, queue_id)| topic.prefetch_places(queue_id, gets));
        at_hand().for_each(|(topic, queue_id)| topic.queues.prefetch(queue_id));
        if gets {
            at_hand().for_each(|(topic, queue_id)| topic.queues.prefetch_units(queue_id));
        }
    }

    /// Whether the table has it: light queues are in none.
    pub fn is_stored(&self, name: &str) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).table.contains_key(name)
    }

    /// Whether clients may not change or delete it.
    pub fn is_system(&self, name: &str) -> bool {
        self.system.contains(name) || topic::is_system(name)
    }

    /// The names of the system topics, sorted.
    pub fn system_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.system.iter().cloned().collect();
        names.sort_unstable();
        names
    }

    /// The topic a send names, created after `default_topic` when it does not exist and may be.
    /// A retry topic is created with one queue when all else fails.
    pub fn get_or_create(&self, wanted: &Wanted) -> Option<Found> {
        if let Some(config) = self.get(wanted.topic) {
            return Some(Found { config, created: false });
        }
        let creating = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = self.get(wanted.topic) {
            return Some(Found { config, created: false });
        }
        let config = match self.inherited(wanted) {
            Some(config) => config,
            None if wanted.topic.starts_with(topic::RETRY_PREFIX) => {
                let sys_flag = if wanted.unit_mode { TOPIC_UNIT_SUB } else { 0 };
                new_topic(wanted.topic, 1, RW, sys_flag)
            }
            None => return None,
        };
        let config = self.insert_new(config)?;
        drop(creating);
        self.persist();
        Some(Found { config, created: true })
    }

    /// The configuration a new topic takes over, when its default topic exists and passes it on.
    fn inherited(&self, wanted: &Wanted) -> Option<TopicConfig> {
        let default = self.get(wanted.default_topic)?;
        let passes_on = default.perm & PERM_INHERIT != 0
            && (wanted.auto_create || wanted.default_topic != topic::AUTO_CREATE);
        if !passes_on {
            return None;
        }
        let queues = wanted.queue_nums.min(default.write_queue_nums).max(0);
        let sys_flag = match (wanted.unit_mode, wanted.topic.starts_with(topic::RETRY_PREFIX)) {
            (false, _) => 0,
            (true, false) => TOPIC_UNIT,
            (true, true) => TOPIC_UNIT_SUB,
        };
        let mut config = new_topic(wanted.topic, queues, default.perm & !PERM_INHERIT, sys_flag);
        config.topic_filter_type = default.topic_filter_type;
        Some(config)
    }

    /// A retry or dead-letter topic (readable and writable), created when it does not exist.
    pub fn ensure(&self, name: &str, queues: i32, sys_flag: i32) -> Option<Found> {
        let found = self.add(name, queues, sys_flag)?;
        if found.created {
            self.persist();
        }
        Some(found)
    }

    /// As `ensure`, without writing the file: when the topic is new, the caller has to `persist`
    /// before it answers. So many topics cost one write.
    pub fn add(&self, name: &str, queues: i32, sys_flag: i32) -> Option<Found> {
        if let Some(config) = self.get(name) {
            return Some(Found { config, created: false });
        }
        let _creating = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = self.get(name) {
            return Some(Found { config, created: false });
        }
        let config = self.insert_new(new_topic(name, queues, RW, sys_flag))?;
        Some(Found { config, created: true })
    }

    fn insert_new(&self, config: TopicConfig) -> Option<Arc<Topic>> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.table.len() >= TOPICS_MAX {
            log::warn!(target: "broker", "topic {} refused: {TOPICS_MAX} exist", config.topic_name);
            return None;
        }
        log::info!(target: "broker", "new topic {config}");
        Some(state.insert(config))
    }

    /// Creates or replaces a topic as an operator says.
    pub fn put(&self, config: TopicConfig) -> Result<()> {
        if self.is_light(&config.topic_name) {
            return Ok(());
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.table.len() >= TOPICS_MAX && !state.table.contains_key(&config.topic_name) {
            let remark = format!("this broker has {TOPICS_MAX} topics, no more are created");
            return Err(Error::refused(response::SYSTEM_ERROR, remark));
        }
        log::info!(target: "broker", "topic set {config}");
        state.insert(config);
        drop(state);
        self.persist();
        Ok(())
    }

    /// Forgets a topic; false when there was none.
    pub fn remove(&self, name: &str) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.table.remove(name).is_none() {
            return false;
        }
        state.next_version([None]);
        drop(state);
        log::info!(target: "broker", "topic {name} deleted");
        self.persist();
        true
    }

    /// Takes over the NameServer's order table: the topics in it are ordered, all others are not.
    /// True when that changed something.
    pub fn set_ordered(&self, ordered: impl Fn(&str) -> bool) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        for (name, config) in &mut state.table {
            let order = ordered(name);
            if config.order != order {
                *config = Topic::stored(TopicConfig { order, ..config.config.clone() });
                changed.push(name.clone());
            }
        }
        if changed.is_empty() {
            return false;
        }
        state.next_version(changed.into_iter().map(Some));
        drop(state);
        self.persist();
        true
    }

    /// A new version without a change of a topic, so that the NameServers take all of them anew.
    pub fn bump_version(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).next_version([None]);
        self.persist();
    }

    /// All topics and their version.
    pub fn snapshot(&self) -> (Vec<Arc<Topic>>, DataVersion) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.table.values().cloned().collect(), state.version.clone())
    }

    /// The topics changed after a version, and the version that holds them. `None` when that cannot
    /// be told any more, or the change was one of no single topic.
    pub fn changes_since(&self, before: &DataVersion) -> Option<(Vec<Arc<Topic>>, DataVersion)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut newer = state.changes.iter().filter(|(counter, _)| *counter > before.counter);
        let complete = state.changes.front().is_some_and(|(first, _)| *first <= before.counter + 1);
        let names: Option<BTreeSet<&String>> =
            newer.try_fold(BTreeSet::new(), |mut names, (_, name)| {
                names.insert(name.as_ref()?);
                Some(names)
            });
        let names = names.filter(|_| complete)?;
        let topics = names.into_iter().filter_map(|name| state.table.get(name).cloned());
        Some((topics.collect(), state.version.clone()))
    }

    /// All topics as the body of GET_ALL_TOPIC_CONFIG, also the form of the file.
    pub fn table(&self) -> TopicConfigTable {
        let (topics, data_version) = self.snapshot();
        TopicConfigTable { data_version, topic_config_table: by_name(&topics) }
    }

    /// Writes the file unless it has this version already.
    pub fn persist(&self) {
        self.file.save(|| self.versioned());
    }

    /// Writes the file if that failed the last time.
    pub fn retry_persist(&self) {
        self.file.retry(|| self.versioned());
    }

    fn versioned(&self) -> (i64, TopicConfigTable) {
        let table = self.table();
        (table.data_version.counter, table)
    }
}

impl State {
    fn insert(&mut self, config: TopicConfig) -> Arc<Topic> {
        let config = Topic::stored(config);
        self.table.insert(config.topic_name.clone(), config.clone());
        self.next_version([Some(config.topic_name.clone())]);
        config
    }

    fn next_version(&mut self, changed: impl IntoIterator<Item = Option<String>>) {
        self.version.next(clock::now_ms());
        self.changes.extend(changed.into_iter().map(|name| (self.version.counter, name)));
        while self.changes.len() > TOPIC_CHANGES_MAX {
            self.changes.pop_front();
        }
    }
}

fn new_topic(name: &str, queues: i32, perm: i32, sys_flag: i32) -> TopicConfig {
    TopicConfig { topic_sys_flag: sys_flag, ..TopicConfig::new(name, queues, perm) }
}

/// Topics as the bodies and the file have them.
pub fn by_name(topics: &[Arc<Topic>]) -> BTreeMap<String, TopicConfig> {
    let entry = |topic: &Arc<Topic>| (topic.topic_name.clone(), topic.config.clone());
    topics.iter().map(entry).collect()
}

/// The topics every broker has, and the names that count as system topics.
fn built_in(config: &BrokerConfig) -> (HotMap<String, Arc<Topic>>, HashSet<String>) {
    let wide = |enabled: bool| PERM_INHERIT | if enabled { RW } else { 0 };
    let reply = topic::reply(&config.broker_cluster_name);
    let mut topics = vec![
        (topic::SELF_TEST.to_owned(), 1, RW),
        (topic::BENCHMARK.to_owned(), BENCHMARK_TOPIC_QUEUES, RW),
        (
            config.broker_cluster_name.clone(),
            CLUSTER_TOPIC_QUEUES,
            wide(config.cluster_topic_enable),
        ),
        (config.broker_name.clone(), 1, wide(config.broker_topic_enable)),
        (topic::OFFSET_MOVED_EVENT.to_owned(), 1, RW),
        (topic::SCHEDULE.to_owned(), 18, RW),
        (reply, 1, RW),
    ];
    if config.auto_create_topic_enable {
        let queues = config.default_topic_queue_nums;
        topics.push((topic::AUTO_CREATE.to_owned(), queues, wide(true)));
    }
    if config.trace_topic_enable {
        topics.push((config.msg_trace_topic_name.clone(), 1, RW));
    }
    let mut system: HashSet<String> = topic::SYSTEM.iter().map(|&name| name.to_owned()).collect();
    let mut table = HotMap::default();
    for (name, queues, perm) in topics {
        system.insert(name.clone());
        table.insert(name.clone(), Topic::stored(new_topic(&name, queues, perm, 0)));
    }
    (table, system)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> (tempfile::TempDir, BrokerConfig, Topics) {
        let dir = tempfile::tempdir().unwrap();
        let config = BrokerConfig::for_test(dir.path());
        let topics = Topics::load(&dir.path().join("topics.json"), &config).unwrap();
        (dir, config, topics)
    }

    fn wanted<'a>(topic: &'a str, default_topic: &'a str) -> Wanted<'a> {
        Wanted { topic, default_topic, queue_nums: 4, unit_mode: false, auto_create: true }
    }

    #[test]
    fn every_broker_has_the_system_topics() {
        let (_dir, config, topics) = topics();
        let shape = |name: &str| topics.get(name).map(|t| (t.write_queue_nums, t.perm));
        assert_eq!(shape("TBW102"), Some((8, 7)));
        assert_eq!(shape("SCHEDULE_TOPIC_XXXX"), Some((18, 6)));
        assert_eq!(shape("BenchmarkTest"), Some((1024, 6)));
        assert_eq!(shape(&config.broker_cluster_name), Some((16, 7)));
        assert_eq!(shape(&config.broker_name), Some((1, 7)));
        assert_eq!(shape(&format!("{}_REPLY_TOPIC", config.broker_cluster_name)), Some((1, 6)));
        assert!(topics.is_system("RMQ_SYS_TRANS_HALF_TOPIC"));
        assert!(topics.is_system("rmq_sys_anything"));
        assert!(topics.is_system(&config.broker_name));
        assert!(!topics.is_system("TopicA"));
    }

    #[test]
    fn a_new_topic_takes_after_its_default_topic() {
        let (_dir, _config, topics) = topics();
        let found = topics.get_or_create(&wanted("A", "TBW102")).unwrap();
        assert!(found.created);
        assert_eq!((found.config.read_queue_nums, found.config.perm), (4, 6));
        assert!(!topics.get_or_create(&wanted("A", "TBW102")).unwrap().created);
        assert!(topics.get_or_create(&wanted("B", "nothing")).is_none());
        assert!(topics.get_or_create(&wanted("B", "BenchmarkTest")).is_none());
        let retry = topics.get_or_create(&wanted("%RETRY%g", "nothing")).unwrap();
        assert_eq!((retry.config.write_queue_nums, retry.config.perm), (1, 6));
        let strict = Wanted { auto_create: false, ..wanted("B", "TBW102") };
        assert!(topics.get_or_create(&strict).is_none());
        let many = Wanted { queue_nums: 99, unit_mode: true, ..wanted("C", "TBW102") };
        let many = topics.get_or_create(&many).unwrap().config;
        assert_eq!((many.write_queue_nums, many.topic_sys_flag), (8, TOPIC_UNIT));
    }

    #[test]
    fn what_is_looked_ahead_for_need_not_be_there() {
        let (_dir, _config, topics) = topics();
        topics.get_or_create(&wanted("A", "TBW102")).unwrap();
        let places = [("A", 0), ("A", 4), ("A", -1), ("none", 0), ("", i32::MAX)];
        [false, true].iter().for_each(|gets| topics.prefetch(&places, *gets));
        assert!(!topics.is_stored("none") && topics.is_stored("A"));
    }

    #[test]
    fn changes_survive_a_restart() {
        let (dir, config, topics) = topics();
        topics.get_or_create(&wanted("A", "TBW102")).unwrap();
        topics.put(new_topic("B", 3, PERM_READ, 0)).unwrap();
        let version = topics.snapshot().1;
        assert_eq!(version.counter, 2);

        let again = Topics::load(&dir.path().join("topics.json"), &config).unwrap();
        assert_eq!(again.snapshot().1, version);
        assert_eq!(again.get("B").unwrap().write_queue_nums, 3);
        assert!(again.changes_since(&version).is_none(), "this process has seen no change");
        assert!(again.remove("B"));
        assert!(!again.remove("B"));
        assert!(again.get("B").is_none());
    }

    #[test]
    fn lost_topics_are_made_again_from_their_queues() {
        let (_dir, _config, topics) = topics();
        assert!(topics.is_new);
        topics.put(new_topic("Known", 3, PERM_READ, 0)).unwrap();
        let queues = [("Known", 9), ("A", 2), ("B", 12), ("%RETRY%g", 1), ("no name!", 1)];
        topics.make_again(queues.map(|(name, queues)| (Arc::from(name), queues)), 8);
        let shape = |name: &str| topics.get(name).map(|t| (t.write_queue_nums, t.perm));
        assert_eq!(shape("Known"), Some((3, PERM_READ)));
        assert_eq!((shape("A"), shape("B")), (Some((8, RW)), Some((12, RW))));
        assert_eq!((shape("%RETRY%g"), shape("no name!")), (Some((1, RW)), None));
    }

    #[test]
    fn changes_are_told_from_a_version_on() {
        let (_dir, _config, topics) = topics();
        let at = |topics: &Topics| topics.snapshot().1;
        let names = |before: &DataVersion| {
            let (changed, version) = topics.changes_since(before)?;
            assert_eq!(version, at(&topics));
            Some(changed.iter().map(|topic| topic.topic_name.clone()).collect::<Vec<_>>())
        };
        let start = at(&topics);
        topics.get_or_create(&wanted("B", "TBW102")).unwrap();
        let middle = at(&topics);
        topics.get_or_create(&wanted("A", "TBW102")).unwrap();
        assert_eq!(names(&start).unwrap(), ["A", "B"]);
        assert_eq!(names(&middle).unwrap(), ["A"]);
        topics.remove("A");
        assert_eq!(names(&start), None, "a deletion concerns the whole table");
        let after = at(&topics);
        let change = || topics.state.write().unwrap().insert(new_topic("C", 1, 6, 0));
        (0..TOPIC_CHANGES_MAX).for_each(|_| drop(change()));
        assert_eq!(names(&after).unwrap(), ["C"]);
        change();
        assert_eq!(names(&after), None, "forgotten");
    }

    #[test]
    fn the_order_table_sets_and_clears_the_flag() {
        let (_dir, _config, topics) = topics();
        topics.get_or_create(&wanted("A", "TBW102")).unwrap();
        topics.set_ordered(|name| name == "A");
        let version = topics.snapshot().1;
        assert!(topics.get("A").unwrap().order);
        topics.set_ordered(|name| name == "A");
        assert_eq!(topics.snapshot().1, version);
        topics.set_ordered(|_| false);
        assert!(!topics.get("A").unwrap().order);
    }
}
