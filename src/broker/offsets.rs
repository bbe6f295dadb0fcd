//! Consumer offsets: topic, group and queue → the next offset to consume (`consumerOffset.json`).
//!
//! A commit is stored as it comes, also backwards, and for topics and groups nobody knows.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use crate::base::limits::{OFFSET_GROUPS_MAX, OFFSET_QUEUES_MAX};
use crate::base::{Result, json, persist};
use crate::message::topic;
use crate::protocol::body::offset::ConsumerOffsetTable;

/// How many offsets that are changed at the start the log names.
const CHANGES_NAMED: usize = 10;

type Queues = Mutex<BTreeMap<i32, i64>>;

/// Topic → group → queues. Nested, so that a lookup need not build the key `topic@group`.
type Table = HashMap<String, HashMap<String, Queues>>;

/// The offset table and its file.
pub struct Offsets {
    path: PathBuf,
    table: RwLock<Table>,
    changed: AtomicBool,
    saving: Mutex<()>,
    lmq: bool,
}

impl Offsets {
    /// Reads the table in `dir`, or begins an empty one. With `lmq` (`enableLmq`) it is in
    /// `lmqConsumerOffset.json`, and until that exists in the other file.
    pub fn load(dir: &Path, lmq: bool) -> Result<Offsets> {
        let plain = dir.join("consumerOffset.json");
        let path = if lmq { dir.join("lmqConsumerOffset.json") } else { plain.clone() };
        let cost = "groups begin where a new one would";
        let found = match persist::load_or_keep_aside(&path, cost, parse)? {
            None if lmq => persist::load_or_keep_aside(&plain, cost, parse)?,
            found => found,
        };
        let table = found.unwrap_or_default();
        Ok(Offsets {
            path,
            lmq,
            table: RwLock::new(table),
            changed: AtomicBool::new(false),
            saving: Mutex::new(()),
        })
    }

    /// Whether a group reads light queues: it has one offset in each topic.
    fn is_light(&self, group: &str) -> bool {
        self.lmq && topic::is_lmq(group)
    }

    /// The committed offset, `None` when there never was a commit.
    pub fn get(&self, topic: &str, group: &str, queue_id: i32) -> Option<i64> {
        let queue_id = if self.is_light(group) { 0 } else { queue_id };
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let queues = table.get(topic)?.get(group)?;
        queues.lock().unwrap_or_else(PoisonError::into_inner).get(&queue_id).copied()
    }

    /// Stores a commit; false when the table is full (`OFFSET_GROUPS_MAX`, `OFFSET_QUEUES_MAX`).
    pub fn commit(&self, topic: &str, group: &str, queue_id: i32, offset: i64) -> bool {
        let queue_id = if self.is_light(group) { 0 } else { queue_id };
        let kept = self.enter(topic, group, queue_id, offset);
        // Behind the change: a save that runs meanwhile may have looked before it.
        self.changed.store(true, Ordering::Release);
        kept
    }

    fn enter(&self, topic: &str, group: &str, queue_id: i32, offset: i64) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(queues) = table.get(topic).and_then(|groups| groups.get(group)) {
            return put(queues, queue_id, offset);
        }
        drop(table);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let entries: usize = table.values().map(HashMap::len).sum();
        if entries >= OFFSET_GROUPS_MAX {
            return false;
        }
        let groups = table.entry(topic.to_owned()).or_default();
        put(groups.entry(group.to_owned()).or_default(), queue_id, offset)
    }

    /// The topics a group has offsets for, sorted.
    pub fn topics_of(&self, group: &str) -> Vec<String> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let of_group = table.iter().filter(|(_, groups)| groups.contains_key(group));
        let mut topics: Vec<String> = of_group.map(|(topic, _)| topic.clone()).collect();
        topics.sort_unstable();
        topics
    }

    /// Every group with the topics it has offsets for, sorted.
    pub fn topics_by_group(&self) -> HashMap<String, Vec<String>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        for (topic, groups) in table.iter() {
            for group in groups.keys() {
                found.entry(group.clone()).or_default().push(topic.clone());
            }
        }
        found.values_mut().for_each(|topics| topics.sort_unstable());
        found
    }

    /// The offsets of a group in a topic, by queue id.
    pub fn queues(&self, topic: &str, group: &str) -> BTreeMap<i32, i64> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let queues = table.get(topic).and_then(|groups| groups.get(group));
        queues
            .map(|queues| queues.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }

    /// Commits the offsets of one group in a topic for another; false when the table is full.
    pub fn copy(&self, topic: &str, from: &str, to: &str) -> bool {
        let queues = self.queues(topic, from);
        queues.into_iter().all(|(queue_id, offset)| self.commit(topic, to, queue_id, offset))
    }

    /// Offset of the group that is furthest back in a queue; `None` when no group has one there.
    pub fn slowest(&self, topic: &str, queue_id: i32) -> Option<i64> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let of_group = |queues: &Queues| {
            queues.lock().unwrap_or_else(PoisonError::into_inner).get(&queue_id).copied()
        };
        table.get(topic)?.values().filter_map(of_group).min()
    }

    /// The groups that have offsets for a topic.
    pub fn groups_of(&self, topic: &str) -> Vec<String> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(topic).map(|groups| groups.keys().cloned().collect()).unwrap_or_default()
    }

    /// Forgets all offsets of a group.
    pub fn remove_group(&self, group: &str) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, groups| {
            groups.remove(group);
            !groups.is_empty()
        });
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Brings offsets that are no places of their queue any more to the nearest one that is;
    /// `range` gives lowest and next offset of a queue, `None` of one that is not here. For the
    /// start: what a crash took from a queue is written anew, and a group beyond that would never
    /// see it.
    pub fn clamp(&self, range: impl Fn(&str, i32) -> Option<(i64, i64)>) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let (mut changes, mut below, mut beyond) = (Vec::new(), 0, 0);
        for (topic, groups) in table.iter() {
            for (group, queues) in groups {
                let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
                for (id, offset) in queues.iter_mut() {
                    let Some((min, max)) = range(topic, *id) else { continue };
                    let nearest = (*offset).clamp(min, max.max(min));
                    if nearest == *offset {
                        continue;
                    }
                    *(if *offset < min { &mut below } else { &mut beyond }) += 1;
                    if changes.len() < CHANGES_NAMED {
                        changes.push(format!("{topic}@{group} queue {id} {offset} to {nearest}"));
                    }
                    *offset = nearest;
                }
            }
        }
        if below + beyond > 0 {
            self.changed.store(true, Ordering::Relaxed);
            log::warn!(target: "broker", "consumer offsets: {below} below the queue's begin, \
                {beyond} beyond its end, set to the nearest there is: {}, …", changes.join(", "));
        }
    }

    /// Writes the file when something was committed since the last time.
    pub fn persist(&self) -> Result<()> {
        match self.changed.load(Ordering::Relaxed) {
            true => self.save(),
            false => Ok(()),
        }
    }

    /// Writes the file. At the end it is written even without a change: a second broker of Java's
    /// that finds the store in use ends with writing its own table, an older one, over it.
    pub fn save(&self) -> Result<()> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.swap(false, Ordering::AcqRel);
        let saved = persist::save(&self.path, &self.text());
        if saved.is_err() {
            self.changed.store(true, Ordering::Relaxed);
        }
        saved
    }

    fn text(&self) -> String {
        json::to_pretty(&self.table())
    }

    /// All offsets as the body of GET_ALL_CONSUMER_OFFSET, also the form of the file.
    pub fn table(&self) -> ConsumerOffsetTable {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut stored = ConsumerOffsetTable::default();
        let mut light = BTreeMap::new();
        for (topic, groups) in table.iter() {
            for (group, queues) in groups {
                let queues = queues.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let key = format!("{topic}@{group}");
                match queues.get(&0) {
                    Some(offset) if self.is_light(group) => {
                        light.insert(key, *offset);
                    }
                    _ => {
                        stored.offset_table.insert(key, queues);
                    }
                }
            }
        }
        stored.lmq_offset_table = self.lmq.then_some(light);
        stored
    }
}

fn put(queues: &Queues, queue_id: i32, offset: i64) -> bool {
    let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
    if queues.len() >= OFFSET_QUEUES_MAX && !queues.contains_key(&queue_id) {
        return false;
    }
    if let Some(old) = queues.insert(queue_id, offset)
        && old > offset
    {
        log::debug!(target: "broker", "offset of queue {queue_id} goes back: {old} to {offset}");
    }
    true
}

fn parse(text: &str) -> Result<Table> {
    let stored: ConsumerOffsetTable = json::from_str(text)?;
    let mut table = Table::new();
    let light = stored.lmq_offset_table.unwrap_or_default().into_iter();
    let light = light.map(|(key, offset)| (key, BTreeMap::from([(0, offset)])));
    for (key, queues) in stored.offset_table.into_iter().chain(light) {
        if let Some((topic, group)) = key.split_once('@') {
            let groups = table.entry(topic.to_owned()).or_default();
            groups.insert(group.to_owned(), Mutex::new(queues));
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> (tempfile::TempDir, Offsets) {
        let dir = tempfile::tempdir().unwrap();
        let offsets = Offsets::load(dir.path(), false).unwrap();
        (dir, offsets)
    }

    #[test]
    fn a_commit_is_unconditional() {
        let (_dir, offsets) = empty();
        assert_eq!(offsets.get("T", "g", 0), None);
        assert!(offsets.commit("T", "g", 0, 9));
        assert!(offsets.commit("T", "g", 0, 3));
        assert_eq!(offsets.get("T", "g", 0), Some(3));
        assert_eq!(offsets.get("T", "g", 1), None);
        assert_eq!(offsets.get("T", "h", 0), None);
    }

    #[test]
    fn a_commit_that_waits_for_a_save_is_not_forgotten() {
        let (_dir, offsets) = empty();
        // The table as it is written, while the first commit of a group waits to enter it.
        let written = offsets.table.read().unwrap();
        std::thread::scope(|scope| {
            let commit = scope.spawn(|| offsets.commit("T", "g", 0, 9));
            std::thread::sleep(std::time::Duration::from_millis(20));
            offsets.changed.store(false, Ordering::Relaxed);
            drop(written);
            assert!(commit.join().unwrap());
        });
        assert!(offsets.changed.load(Ordering::Relaxed));
    }

    #[test]
    fn the_file_is_java_s() {
        let (dir, offsets) = empty();
        assert_eq!(offsets.text(), "{\n\t\"offsetTable\":{}\n}");
        offsets.commit("TopicA", "CG1", 1, 7);
        offsets.commit("TopicA", "CG1", 0, 5);
        offsets.persist().unwrap();
        let path = dir.path().join("consumerOffset.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\n\t\"offsetTable\":{\n\t\t\"TopicA@CG1\":{0:5,1:7\n\t\t}\n\t}\n}");
        let again = Offsets::load(dir.path(), false).unwrap();
        assert_eq!(again.get("TopicA", "CG1", 1), Some(7));
        assert_eq!(again.topics_of("CG1"), ["TopicA"]);
        assert_eq!(again.groups_of("TopicA"), ["CG1"]);
        assert!(again.groups_of("TopicB").is_empty());
    }

    #[test]
    fn groups_of_light_queues_have_one_offset_and_another_file() {
        let (dir, plain) = empty();
        plain.commit("T", "g", 1, 7);
        plain.commit("%LMQ%q", "%LMQ%g", 3, 9);
        plain.persist().unwrap();
        assert_eq!(plain.get("%LMQ%q", "%LMQ%g", 0), None);
        let light = Offsets::load(dir.path(), true).unwrap();
        assert_eq!(light.get("T", "g", 1), Some(7));
        light.commit("%LMQ%q", "%LMQ%g", 5, 12);
        light.save().unwrap();
        let text = std::fs::read_to_string(dir.path().join("lmqConsumerOffset.json")).unwrap();
        let dense = text.replace(['\n', '\t'], "");
        assert!(dense.contains(r#""lmqOffsetTable":{"%LMQ%q@%LMQ%g":12}"#), "{dense}");
        assert!(dense.contains(r#""offsetTable":{"T@g":{1:7}}"#), "{dense}");
        let again = Offsets::load(dir.path(), true).unwrap();
        assert_eq!(again.get("%LMQ%q", "%LMQ%g", 2), Some(12));
    }

    #[test]
    fn quoted_keys_are_read_and_groups_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("consumerOffset.json");
        std::fs::write(&path, r#"{"offsetTable":{"T@g":{"3":4},"U@g":{0:1},"T@h":{1:2}}}"#)
            .unwrap();
        let offsets = Offsets::load(dir.path(), false).unwrap();
        assert_eq!(offsets.get("T", "g", 3), Some(4));
        offsets.remove_group("g");
        assert_eq!(offsets.get("T", "g", 3), None);
        assert_eq!(offsets.get("T", "h", 1), Some(2));
        assert!(offsets.topics_of("g").is_empty());
    }

    #[test]
    fn offsets_outside_their_queue_go_to_the_nearest_inside() {
        let (_dir, offsets) = empty();
        for (queue_id, offset) in [(0, -1), (1, 4), (2, 5), (3, 9), (4, 10), (5, i64::MAX)] {
            offsets.commit("T", "g", queue_id, offset);
        }
        offsets.commit("Elsewhere", "g", 0, 99);
        offsets.clamp(|topic, queue_id| (topic == "T" && queue_id < 6).then_some((5, 9)));
        let now: Vec<i64> = offsets.queues("T", "g").into_values().collect();
        assert_eq!(now, [5, 5, 5, 9, 9, 9]);
        assert_eq!(offsets.get("Elsewhere", "g", 0), Some(99));
    }
}
