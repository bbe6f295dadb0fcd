//! Where in the log topics were deleted: their records before belong to no queue any more.
//!
//! A deleted topic's records stay in the log until that is cleaned. A topic that was made again
//! begins at queue offset 0 once more, and queues that are rebuilt from the log would meet the old
//! records first and take the new ones for repeated, as RocketMQ does. So a file that RocketMQ does
//! not know says where, and when, each such topic was deleted: a log that lost its end in a crash
//! may have new records below that place, but none of that time.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering::*};
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::base::limits::DELETED_TOPICS_MAX;
use crate::base::{Result, clock, json, persist};
use crate::sys;

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Deletion {
    /// End of the log then.
    offset: i64,
    /// ms since 1970.
    timestamp: i64,
}

type Topics = BTreeMap<String, Deletion>;

/// The deletions that the log still has records of.
pub struct DeletedTopics {
    path: PathBuf,
    /// Folder of the consume queues.
    queue_dir: PathBuf,
    topics: RwLock<Topics>,
    /// No record from here on was deleted.
    end: AtomicI64,
}

impl DeletedTopics {
    /// Reads the file; one that is missing or damaged says nothing.
    pub fn load(path: &Path, queue_dir: &Path) -> DeletedTopics {
        let parse = |text: &str| json::from_str::<Topics>(text);
        let topics = persist::load_with_bak(path, parse).unwrap_or_else(|e| {
            log::warn!(target: "store", "not used: {e}: queues made again from the log will have \
                what was deleted of topics");
            None
        });
        let topics = topics.unwrap_or_default();
        let end = topics.values().map(|deletion| deletion.offset).max().unwrap_or(0);
        DeletedTopics {
            path: path.to_owned(),
            queue_dir: queue_dir.to_owned(),
            topics: RwLock::new(topics),
            end: end.into(),
        }
    }

    /// Notes, durably, that `topic` is deleted now that the log goes from `begin` to `end`.
    /// Forgotten are deletions of which the log has no records left, once no crash can bring their
    /// queues back, and of more than `DELETED_TOPICS_MAX` the first ones.
    pub fn add(&self, topic: &str, begin: i64, end: i64) -> Result<()> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if topics.values().any(|deletion| deletion.offset <= begin) {
            match sys::file::sync_dir(&self.queue_dir) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    log::warn!(target: "store", "sync {}: {e}", self.queue_dir.display());
                }
                _ => topics.retain(|_, deletion| deletion.offset > begin),
            }
        }
        topics.insert(topic.to_owned(), Deletion { offset: end, timestamp: clock::now_ms() });
        while topics.len() > DELETED_TOPICS_MAX {
            let first = topics.iter().min_by_key(|(_, deletion)| deletion.offset);
            let Some(first) = first.map(|(topic, _)| topic.clone()) else { break };
            topics.remove(&first);
        }
        self.end.fetch_max(end, AcqRel);
        persist::save(&self.path, &json::to_string(&*topics))
    }

    /// Whether a record at `position`, stored then, was one of `topic` when that was deleted.
    pub fn has(&self, topic: &str, position: i64, store_timestamp: i64) -> bool {
        if position >= self.end.load(Acquire) {
            return false;
        }
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(topic).is_some_and(|deletion| {
            position < deletion.offset && store_timestamp <= deletion.timestamp
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::faults::{self, Change};

    fn load(dir: &Path) -> DeletedTopics {
        DeletedTopics::load(&dir.join("deletedTopics.json"), &dir.join("consumequeue"))
    }

    fn loaded() -> (tempfile::TempDir, DeletedTopics) {
        let dir = tempfile::tempdir().unwrap();
        let deleted = load(dir.path());
        (dir, deleted)
    }

    #[test]
    fn records_of_before_are_known_by_place_and_time() {
        let (dir, deleted) = loaded();
        assert!(!deleted.has("T", 0, 0));
        deleted.add("T", 0, 1000).unwrap();
        let now = clock::now_ms();
        for deleted in [deleted, load(dir.path())] {
            assert!(deleted.has("T", 999, now - 60_000));
            assert!(!deleted.has("T", 1000, now - 60_000), "behind the place");
            assert!(!deleted.has("T", 999, now + 1), "the log had lost its end");
            assert!(!deleted.has("U", 999, now - 60_000), "another topic");
        }
    }

    #[test]
    fn no_more_are_kept_than_needed() {
        let (_dir, deleted) = loaded();
        let all = (0..DELETED_TOPICS_MAX)
            .map(|n| (format!("{n}"), Deletion { offset: 10 + n as i64, timestamp: 1 }));
        *deleted.topics.write().unwrap() = all.collect();
        deleted.add("more", 0, 100_000).unwrap();
        assert_eq!(deleted.topics.read().unwrap().len(), DELETED_TOPICS_MAX);
        assert!(!deleted.has("0", 0, 1) && deleted.has("1", 0, 1));
        deleted.add("cleaned", 99_999, 200_000).unwrap();
        assert_eq!(deleted.topics.read().unwrap().len(), 2);
    }

    /// Units of a queue that comes back would stand for those of the topic that was made again.
    #[test]
    fn none_is_forgotten_while_a_crash_may_bring_its_queues_back() {
        let (dir, deleted) = loaded();
        let queues = dir.path().join("consumequeue");
        std::fs::create_dir(&queues).unwrap();
        deleted.add("T", 0, 1000).unwrap();
        faults::fail("FsyncDir consumequeue 5");
        deleted.add("U", 1000, 2000).unwrap();
        assert!(deleted.has("T", 999, 0) && deleted.has("U", 1999, 0));
        faults::fail("");
        faults::record();
        deleted.add("V", 1000, 3000).unwrap();
        assert!(matches!(&faults::recording()[0], Change::SyncDir(dir) if *dir == queues));
        assert!(!deleted.has("T", 999, 0) && deleted.has("U", 1999, 0));
    }

    #[test]
    fn a_damaged_file_says_nothing() {
        let (dir, deleted) = loaded();
        deleted.add("T", 0, 1000).unwrap();
        std::fs::write(dir.path().join("deletedTopics.json"), "{\"T\": 7").unwrap();
        assert!(!load(dir.path()).has("T", 0, 0));
    }
}
