//! SQL filters of consumer groups, as their heartbeats say (`consumerFilter.json`), and what a pull
//! lets pass.
//!
//! A filter outlives its clients: it is dead then, still serves pulls, and is forgotten
//! `filterDataCleanTimeSpan` later.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::ser::{SerializeTuple, Serializer};
use serde::{Deserialize, Serialize};

use super::bloom::{self, Bloom};
use crate::base::limits::{CLIENT_NAME_BYTES_MAX, FILTERS_MAX};
use crate::base::{Result, clock, json, persist};
use crate::message::filter::{SQL92, Subscription};
use crate::message::property;
use crate::message::sql::{Expression, Invalid};
use crate::protocol::body::heartbeat::SubscriptionData;
use crate::store::ExtUnit;

/// Filters of a file are taken to have died this long before it was read, in ms.
const DEAD_BEFORE_LOAD_MS: i64 = 30_000;

/// What a pull lets pass.
#[derive(Clone)]
pub struct Filter {
    /// Tags; `None` for all.
    tags: Option<Arc<Subscription>>,
    test: Test,
}

#[derive(Clone)]
enum Test {
    None,
    Expression(Arc<Expression>),
    /// An expression of a heartbeat, which dispatch has held messages to as well.
    Registered(Arc<Registered>, Bloom),
    /// The group's filter on the topic a retried message came from.
    Origin(Arc<Filters>, Arc<str>),
}

impl Filter {
    /// By tags.
    pub fn tags(subscription: Arc<Subscription>) -> Filter {
        Filter { tags: Some(subscription), test: Test::None }
    }

    /// By an expression over properties.
    pub fn expression(expression: Arc<Expression>) -> Filter {
        Filter { tags: None, test: Test::Expression(expression) }
    }

    /// By the expression of the group's heartbeats.
    pub fn registered(registered: Arc<Registered>, bloom: Bloom) -> Filter {
        Filter { tags: None, test: Test::Registered(registered, bloom) }
    }

    /// For a retry topic: by tags, and by what its group asks of the topics it came from.
    pub fn origin(tags: Option<Arc<Subscription>>, filters: Arc<Filters>, group: &str) -> Filter {
        Filter { tags, test: Test::Origin(filters, group.into()) }
    }

    /// Whether a ConsumeQueue unit's tags code may belong to a message that is wanted.
    pub fn matches_code(&self, tags_code: i64) -> bool {
        self.tags.as_ref().is_none_or(|tags| tags.matches_code(tags_code))
    }

    /// Whether `matches_ext` has a say.
    pub fn asks_ext(&self) -> bool {
        matches!(self.test, Test::Registered(..))
    }

    /// Whether a message may be wanted, by the bit map that was made when it was dispatched. Bit
    /// maps know nothing of filters that came later.
    pub fn matches_ext(&self, unit: &ExtUnit) -> bool {
        match &self.test {
            Test::Registered(registered, bloom) if unit.store_timestamp > registered.born_ms => {
                bloom.holds(unit.bit_map, &registered.positions)
            }
            _ => true,
        }
    }

    /// Whether `matches` has a say.
    pub fn asks_properties(&self) -> bool {
        !matches!(self.test, Test::None)
    }

    /// Whether a message with these properties is wanted.
    pub fn matches(&self, properties: &str) -> bool {
        match &self.test {
            Test::None => true,
            Test::Expression(expression) => expression.matches(properties),
            Test::Registered(registered, _) => registered.compiled.matches(properties),
            Test::Origin(filters, group) => property::get(properties, property::RETRY_TOPIC)
                .and_then(|topic| filters.find(topic, group))
                .is_none_or(|found| found.compiled.matches(properties)),
        }
    }
}

/// A group's filter on a topic.
#[derive(Clone, Debug)]
pub struct Registered {
    pub compiled: Arc<Expression>,
    /// Version of the subscription it came with.
    pub version: i64,
    expression: String,
    /// Its place in bit maps.
    positions: Arc<[i32]>,
    born_ms: i64,
    /// Dead when not before `born_ms`.
    dead_ms: i64,
}

impl Registered {
    fn is_dead(&self) -> bool {
        self.dead_ms >= self.born_ms
    }

    /// Whether a subscription has the same expression.
    fn says(&self, data: &SubscriptionData) -> bool {
        self.expression == data.sub_string && data.expression_type == SQL92
    }
}

type Compiled = std::result::Result<Expression, Invalid>;

fn compile_of(data: &SubscriptionData) -> Compiled {
    compile(&data.expression_type, &data.sub_string)
}

/// Parses an expression of a type.
pub fn compile(kind: &str, expression: &str) -> Compiled {
    match kind {
        SQL92 => Expression::parse(expression),
        _ => Err(Invalid { at: 1, what: format!("no expression of type {kind} is known") }),
    }
}

/// Group → topic → filter.
type Table = HashMap<String, BTreeMap<String, Arc<Registered>>>;

/// Topic → filters on it, each with its place in bit maps.
type Index = HashMap<String, Vec<(Arc<Expression>, Arc<[i32]>)>>;

struct State {
    bloom: Bloom,
    table: Table,
    /// Of `table`.
    index: Index,
    count: usize,
    changed: bool,
}

/// The filters of all groups and their file.
pub struct Filters {
    path: PathBuf,
    bloom: Bloom,
    state: RwLock<State>,
    saving: Mutex<()>,
}

impl Filters {
    /// Reads the filters of `path`, or begins without any: those whose bits are of another shape
    /// are forgotten, since bit maps say nothing about them.
    pub fn load(path: &Path, bloom: Bloom) -> Result<Filters> {
        let cost = "filters are known again with their consumers' next heartbeats";
        let stored = persist::load_or_keep_aside(path, cost, json::from_str::<Stored>)?;
        let stored = stored.unwrap_or_default();
        let table = if stored.is_of(bloom) {
            stored.table(clock::now_ms())
        } else {
            log::info!(target: "broker", "filters of consumers forgotten: now {bloom:?}");
            Table::new()
        };
        let state = RwLock::new(State::new(bloom, table));
        Ok(Filters { path: path.to_owned(), bloom, state, saving: Mutex::new(()) })
    }

    /// The shape of bit maps.
    pub fn bloom(&self) -> Bloom {
        self.bloom
    }

    /// Adds the bit map of a message to `out`; nothing when there is no filter on its topic.
    pub fn bit_map(&self, topic: &str, properties: &str, out: &mut Vec<u8>) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let Some(filters) = state.index.get(topic) else { return };
        out.resize(self.bloom.bytes(), 0);
        for (expression, positions) in filters {
            if expression.matches(properties) {
                bloom::set(out, positions);
            }
        }
    }

    /// The filter of a group on a topic.
    pub fn find(&self, topic: &str, group: &str) -> Option<Arc<Registered>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.table.get(group)?.get(topic).cloned()
    }

    /// A group's filter on a topic as its file has it, pretty; `null` when there is none.
    pub fn shown(&self, topic: &str, group: &str) -> String {
        let registered = self.find(topic, group);
        let stored = registered.map(|found| StoredFilter::new(topic, group, &found, self.bloom));
        stored.map_or_else(|| "null".to_owned(), |stored| json::to_pretty(&stored))
    }

    /// Takes over the subscriptions of a heartbeat; filters on other topics are dead. `now` is read
    /// once dispatch is kept out: a message stored after a filter's birth has met it.
    pub fn register(&self, group: &str, subscribed: &[SubscriptionData], now: impl Fn() -> i64) {
        let is_sql = |data: &&SubscriptionData| {
            !data.is_tag()
                && !data.sub_string.is_empty()
                && data.topic.len() <= CLIENT_NAME_BYTES_MAX
        };
        let wanted: Vec<&SubscriptionData> = subscribed.iter().filter(is_sql).collect();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_empty() && !state.table.contains_key(group) {
            return;
        }
        // Compiled before dispatch and pulls are kept out.
        let is_needed: Vec<_> = wanted.iter().map(|data| state.needs(group, data)).collect();
        drop(state);
        let compiled = wanted.into_iter().zip(is_needed);
        let compiled: Vec<_> =
            compiled.map(|(data, needed)| (data, needed.then(|| compile_of(data)))).collect();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let now_ms = now();
        for (data, compiled) in compiled {
            state.register(group, data, compiled, now_ms);
        }
        let is_gone = |topic: &str| subscribed.iter().all(|data| data.topic != topic);
        state.bury(group, now_ms, is_gone);
    }

    /// A group has no client any more.
    pub fn unregister(&self, group: &str, now_ms: i64) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let is_known = state.table.contains_key(group);
        drop(state);
        if is_known {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.bury(group, now_ms, |_| true);
        }
    }

    /// Forgets what has been dead for `keep_ms`, and writes the file when something has changed.
    pub fn persist(&self, now_ms: i64, keep_ms: i64) -> Result<()> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.forget(now_ms, keep_ms);
        if !std::mem::take(&mut state.changed) {
            return Ok(());
        }
        let table = state.table.clone();
        drop(state);
        let text = json::to_pretty(&Stored::new(&table, self.bloom));
        let saved = persist::save(&self.path, &text);
        if saved.is_err() {
            self.state.write().unwrap_or_else(PoisonError::into_inner).changed = true;
        }
        saved
    }
}

impl State {
    fn new(bloom: Bloom, table: Table) -> State {
        let mut state =
            State { bloom, table: Table::new(), index: Index::new(), count: 0, changed: false };
        for (group, topics) in table {
            for (topic, registered) in topics {
                state.add(&group, topic, registered);
            }
        }
        state
    }

    /// Whether `register` needs the expression compiled.
    fn needs(&self, group: &str, data: &SubscriptionData) -> bool {
        let old = self.table.get(group).and_then(|topics| topics.get(&data.topic));
        match old {
            Some(old) => old.version < data.sub_version && !old.says(data),
            None => self.count < FILTERS_MAX,
        }
    }

    /// Takes over one subscription; `compiled` is its expression, or `None` where none was needed
    /// when that was looked for.
    fn register(
        &mut self,
        group: &str,
        data: &SubscriptionData,
        compiled: Option<Compiled>,
        now_ms: i64,
    ) {
        let topics = self.table.get_mut(group);
        if let Some(old) = topics.and_then(|topics| topics.get_mut(&data.topic)) {
            let old = Arc::make_mut(old);
            let revives = old.is_dead() && data.sub_version == old.version;
            if data.sub_version < old.version || data.sub_version == old.version && !revives {
                return;
            }
            if revives || old.says(data) {
                self.changed |= old.is_dead() || old.version != data.sub_version;
                old.version = data.sub_version;
                old.dead_ms = 0;
                return;
            }
            self.remove(group, &data.topic);
        }
        if self.count >= FILTERS_MAX {
            log::warn!(target: "broker", "{FILTERS_MAX} filters are kept, none for {group}");
            return;
        }
        match compiled.unwrap_or_else(|| compile_of(data)) {
            Ok(compiled) => {
                let registered = Registered {
                    compiled: Arc::new(compiled),
                    version: data.sub_version,
                    expression: data.sub_string.clone(),
                    positions: positions(self.bloom, group, &data.topic),
                    born_ms: now_ms,
                    dead_ms: 0,
                };
                self.add(group, data.topic.clone(), Arc::new(registered));
                self.changed = true;
            }
            Err(error) => {
                let topic = &data.topic;
                log::warn!(target: "broker", "filter of group {group} on {topic}: {error}");
            }
        }
    }

    /// Adds a filter where the group has none.
    fn add(&mut self, group: &str, topic: String, registered: Arc<Registered>) {
        let filter = (registered.compiled.clone(), registered.positions.clone());
        self.index.entry(topic.clone()).or_default().push(filter);
        self.table.entry(group.to_owned()).or_default().insert(topic, registered);
        self.count += 1;
    }

    fn remove(&mut self, group: &str, topic: &str) {
        let Some(topics) = self.table.get_mut(group) else { return };
        let Some(removed) = topics.remove(topic) else { return };
        if topics.is_empty() {
            self.table.remove(group);
        }
        if let Some(filters) = self.index.get_mut(topic) {
            filters.retain(|(expression, _)| !Arc::ptr_eq(expression, &removed.compiled));
            if filters.is_empty() {
                self.index.remove(topic);
            }
        }
        self.count -= 1;
        self.changed = true;
    }

    /// The group's filters on these topics are dead from now on.
    fn bury(&mut self, group: &str, now_ms: i64, is_gone: impl Fn(&str) -> bool) {
        for (topic, registered) in self.table.get_mut(group).into_iter().flatten() {
            if !registered.is_dead() && is_gone(topic) {
                Arc::make_mut(registered).dead_ms = now_ms;
                self.changed = true;
            }
        }
    }

    fn forget(&mut self, now_ms: i64, keep_ms: i64) {
        let mut dead = Vec::new();
        for (group, topics) in &self.table {
            for (topic, registered) in topics {
                if registered.is_dead() && now_ms.saturating_sub(registered.dead_ms) >= keep_ms {
                    dead.push((group.clone(), topic.clone()));
                }
            }
        }
        dead.iter().for_each(|(group, topic)| self.remove(group, topic));
    }
}

fn positions(bloom: Bloom, group: &str, topic: &str) -> Arc<[i32]> {
    bloom.positions(&format!("{group}#{topic}")).into()
}

/// `consumerFilter.json`.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stored {
    filter_data_by_topic: BTreeMap<String, StoredTopic>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StoredTopic {
    group_filter_data: BTreeMap<String, StoredFilter>,
    topic: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StoredFilter {
    bloom_filter_data: StoredBloom,
    born_time: i64,
    client_version: i64,
    consumer_group: String,
    dead: bool,
    dead_time: i64,
    expression: String,
    expression_type: String,
    topic: String,
}

/// Where the filter stands in bit maps.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StoredBloom {
    bit_num: i32,
    #[serde(serialize_with = "array")]
    bit_pos: Vec<i32>,
}

fn array<S: Serializer>(items: &[i32], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let mut array = serializer.serialize_tuple(items.len())?;
    items.iter().try_for_each(|item| array.serialize_element(item))?;
    array.end()
}

impl StoredFilter {
    fn new(topic: &str, group: &str, registered: &Registered, bloom: Bloom) -> StoredFilter {
        StoredFilter {
            bloom_filter_data: StoredBloom {
                bit_num: bloom.bits,
                bit_pos: registered.positions.to_vec(),
            },
            born_time: registered.born_ms,
            client_version: registered.version,
            consumer_group: group.to_owned(),
            dead: registered.is_dead(),
            dead_time: registered.dead_ms,
            expression: registered.expression.clone(),
            expression_type: SQL92.to_owned(),
            topic: topic.to_owned(),
        }
    }
}

impl Stored {
    fn new(table: &Table, bloom: Bloom) -> Stored {
        let mut stored = Stored::default();
        for (group, topics) in table {
            for (topic, registered) in topics {
                let by_topic = stored.filter_data_by_topic.entry(topic.clone()).or_default();
                by_topic.topic.clone_from(topic);
                let filter = StoredFilter::new(topic, group, registered, bloom);
                by_topic.group_filter_data.insert(group.clone(), filter);
            }
        }
        stored
    }

    /// Whether every filter's bits are those of `bloom`.
    fn is_of(&self, bloom: Bloom) -> bool {
        let mut all =
            self.filter_data_by_topic.values().flat_map(|of| of.group_filter_data.values());
        all.all(|filter| {
            let StoredBloom { bit_num, bit_pos } = &filter.bloom_filter_data;
            bloom.is_valid(*bit_num, bit_pos)
        })
    }

    /// What was alive is dead until its clients come again.
    fn table(self, now_ms: i64) -> Table {
        let mut table = Table::new();
        let by_topic = self.filter_data_by_topic.into_iter();
        let all = by_topic.flat_map(|(topic, of)| {
            of.group_filter_data.into_iter().map(move |(group, f)| (topic.clone(), group, f))
        });
        for (topic, group, filter) in all.take(FILTERS_MAX) {
            let compiled = match compile(&filter.expression_type, &filter.expression) {
                Ok(compiled) => Arc::new(compiled),
                Err(error) => {
                    log::warn!(target: "broker", "filter of {group} on {topic} not kept: {error}");
                    continue;
                }
            };
            let dead_ms = match filter.dead_time {
                0 => filter.born_time.max(now_ms - DEAD_BEFORE_LOAD_MS),
                dead => dead,
            };
            let registered = Registered {
                compiled,
                version: filter.client_version,
                expression: filter.expression,
                positions: filter.bloom_filter_data.bit_pos.into(),
                born_ms: filter.born_time,
                dead_ms,
            };
            table.entry(group).or_default().insert(topic, Arc::new(registered));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(dir: &tempfile::TempDir) -> Filters {
        Filters::load(&dir.path().join("consumerFilter.json"), Bloom::new(20, 64)).unwrap()
    }

    fn sql(topic: &str, expression: &str, version: i64) -> SubscriptionData {
        SubscriptionData {
            topic: topic.into(),
            sub_string: expression.into(),
            expression_type: SQL92.into(),
            sub_version: version,
            ..SubscriptionData::default()
        }
    }

    /// Whether the filter is dead, its version, and whether `a = 1` matches.
    fn look(filters: &Filters, topic: &str) -> Option<(bool, i64, bool)> {
        let found = filters.find(topic, "g")?;
        Some((found.is_dead(), found.version, found.compiled.matches("a\u{1}1")))
    }

    #[test]
    fn versions_decide_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let filters = filters(&dir);
        let beat = |data: &[SubscriptionData]| filters.register("g", data, || 1000);
        beat(&[sql("T", "a = 1", 5), SubscriptionData::default()]);
        assert_eq!(look(&filters, "T"), Some((false, 5, true)));
        beat(&[sql("T", "a = 2", 5)]);
        beat(&[sql("T", "a = 2", 4)]);
        assert_eq!(look(&filters, "T"), Some((false, 5, true)));
        beat(&[sql("T", "a = 2", 6)]);
        assert_eq!(look(&filters, "T"), Some((false, 6, false)));
        beat(&[sql("U", "a = 1", 1)]);
        assert_eq!(look(&filters, "T"), Some((true, 6, false)));
        beat(&[sql("T", "a = 2", 6), sql("U", "a = 1", 7)]);
        assert_eq!(look(&filters, "T"), Some((false, 6, false)));
        assert_eq!(look(&filters, "U"), Some((false, 7, true)));
        filters.unregister("g", 1000);
        assert_eq!(look(&filters, "U"), Some((true, 7, true)));
        beat(&[sql("T", "a = = 2", 9), sql("U", "a = 1", 8)]);
        assert_eq!(look(&filters, "T"), None);
        assert_eq!(look(&filters, "U"), Some((false, 8, true)));
        beat(&[
            sql("V", "", 9),
            SubscriptionData { expression_type: "X".into(), ..sql("W", "a", 1) },
        ]);
        assert_eq!((look(&filters, "V"), look(&filters, "W")), (None, None));
    }

    #[test]
    fn an_expression_is_compiled_when_it_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let filters = filters(&dir);
        let needs = |data: &SubscriptionData| filters.state.read().unwrap().needs("g", data);
        assert!(needs(&sql("T", "a = 1", 5)));
        filters.register("g", &[sql("T", "a = 1", 5)], || 1000);
        assert!(!needs(&sql("T", "a = 2", 5)), "no newer version");
        assert!(!needs(&sql("T", "a = 1", 6)), "the same expression");
        assert!(needs(&sql("T", "a = 2", 6)));
        // What was known a moment ago is gone when the subscription is taken over.
        let mut state = filters.state.write().unwrap();
        state.remove("g", "T");
        state.register("g", &sql("T", "a = 1", 6), None, 1000);
        drop(state);
        assert_eq!(look(&filters, "T"), Some((false, 6, true)));
    }

    #[test]
    fn a_topic_that_cannot_be_gets_no_filter() {
        let dir = tempfile::tempdir().unwrap();
        let filters = filters(&dir);
        let longest = "t".repeat(CLIENT_NAME_BYTES_MAX);
        let longer = format!("{longest}t");
        filters.register("g", &[sql(&longest, "a = 1", 5), sql(&longer, "a = 1", 5)], || 1000);
        assert!(look(&filters, &longest).is_some());
        assert!(look(&filters, &longer).is_none());
    }

    #[test]
    fn the_file_is_java_s_and_the_dead_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let kept = filters(&dir);
        kept.register("CG1", &[sql("TopicA", "a > 5", 7)], || 1000);
        kept.persist(1000, 100).unwrap();
        let path = dir.path().join("consumerFilter.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = r#"{"filterDataByTopic":{"TopicA":{"groupFilterData":{"CG1":{
            "bloomFilterData":{"bitNum":216,"bitPos":[143,123,80]},"bornTime":1000,
            "clientVersion":7,"consumerGroup":"CG1","dead":false,"deadTime":0,
            "expression":"a > 5","expressionType":"SQL92","topic":"TopicA"}},"topic":"TopicA"}}}"#;
        let dense = |text: &str| text.replace(['\n', '\t', ' '], "");
        assert_eq!(dense(&text), dense(expected));
        let again = filters(&dir);
        let found = again.find("TopicA", "CG1").unwrap();
        assert!(found.is_dead() && found.version == 7 && found.compiled.matches("a\u{1}6"));
        again.persist(clock::now_ms(), 3_600_000).unwrap();
        assert!(again.find("TopicA", "CG1").is_some());
        again.persist(clock::now_ms(), 0).unwrap();
        assert!(again.find("TopicA", "CG1").is_none());
        assert!(!std::fs::read_to_string(&path).unwrap().contains("TopicA"));
    }

    #[test]
    fn bit_maps_are_those_of_the_filters_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let kept = filters(&dir);
        let bits = |filters: &Filters, properties: &str| {
            let mut map = Vec::new();
            filters.bit_map("T", properties, &mut map);
            map
        };
        let of = |groups: &[&str]| {
            let mut map = vec![0; kept.bloom.bytes()];
            groups
                .iter()
                .for_each(|group| bloom::set(&mut map, &positions(kept.bloom, group, "T")));
            map
        };
        assert!(bits(&kept, "a\u{1}1").is_empty());
        kept.register("g", &[sql("T", "a = 1", 5)], || 1000);
        kept.register("h", &[sql("T", "a < 9", 5)], || 1000);
        assert_eq!(bits(&kept, "a\u{1}1"), of(&["g", "h"]));
        kept.register("g", &[sql("T", "a = 2", 6)], || 1000);
        assert_eq!(bits(&kept, "a\u{1}1"), of(&["h"]));
        assert_eq!(bits(&kept, "a\u{1}2"), of(&["g", "h"]));
        kept.persist(1000, 100).unwrap();
        assert_eq!(bits(&filters(&dir), "a\u{1}2"), of(&["g", "h"]));
        kept.unregister("h", 2000);
        kept.persist(2100, 100).unwrap();
        assert_eq!(bits(&kept, "a\u{1}2"), of(&["g"]));
        kept.unregister("g", 2200);
        kept.persist(2300, 100).unwrap();
        assert!(bits(&kept, "a\u{1}2").is_empty());
    }

    #[test]
    fn retried_messages_are_held_to_the_filter_of_their_topic() {
        let dir = tempfile::tempdir().unwrap();
        let filters = Arc::new(filters(&dir));
        filters.register("g", &[sql("T", "a = 1", 5)], || 1000);
        let filter = Filter::origin(None, filters, "g");
        assert!(filter.asks_properties() && filter.matches_code(7));
        assert!(filter.matches("RETRY_TOPIC\u{1}T\u{2}a\u{1}1"));
        assert!(!filter.matches("RETRY_TOPIC\u{1}T\u{2}a\u{1}2"));
        assert!(filter.matches("RETRY_TOPIC\u{1}U\u{2}a\u{1}2") && filter.matches("a\u{1}2"));
    }
}
