//! What RocketMQ 5 may have left in a store that this broker cannot go on with. Its log, queues,
//! index and JSON files are read as they are; the rest is refused by its name, and not touched.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::layout;
use crate::base::{Error, Result};

/// Bytes at the beginning of a timer log that are looked at: of a record, its length and the
/// position of the one before.
const TIMER_HEAD_BYTES: usize = 12;

/// Refuses a store with such things.
pub fn refuse(root: &Path) -> Result<()> {
    let queues = layout::consume_queue_dir(root);
    let holds = |name: &str| has_entries(&root.join(name));
    let rocks = |dir: &Path| dir.join("CURRENT").is_file();
    let found = [
        (rocks(&queues), "consumequeue", "consume queues in RocksDB (storeType)"),
        (holds("batchconsumequeue"), "batchconsumequeue", "queues of batches (queue.type=BatchCQ)"),
        (
            holds("compaction/compactionLog"),
            "compaction",
            "compacted topics (cleanup.policy=COMPACTION)",
        ),
        (has_timers(root), "timerlog", "timer messages, which nobody would deliver"),
        (holds("config/rdb"), "config/rdb", "topics, groups and offsets in RocksDB"),
        (rocks(&root.join("config/topics")), "config/topics", "topics in RocksDB"),
        (
            rocks(&root.join("config/consumerOffsets")),
            "config/consumerOffsets",
            "consumer offsets in RocksDB",
        ),
        (
            rocks(&root.join("config/subscriptionGroups")),
            "config/subscriptionGroups",
            "groups in RocksDB",
        ),
    ];
    match found.into_iter().find(|(is_there, ..)| *is_there) {
        Some((_, name, what)) => Err(Error::Corrupt(format!(
            "{}: {what}: RocketMQ 5 wrote this, and it is not served here",
            root.join(name).display()
        ))),
        None => Ok(()),
    }
}

fn has_entries(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

/// Whether a timer message was ever stored. RocketMQ 5 makes empty files for them at every start.
fn has_timers(root: &Path) -> bool {
    let Ok(files) = fs::read_dir(root.join("timerlog")) else { return false };
    files.flatten().any(|file| {
        let mut head = [0; TIMER_HEAD_BYTES];
        let read = File::open(file.path()).and_then(|mut file| file.read_exact(&mut head));
        read.is_ok() && head != [0; TIMER_HEAD_BYTES]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str, content: &[u8]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        let root = format!("{}/", dir.path().display());
        refuse(dir.path()).err().map(|e| e.to_string().replace(&root, ""))
    }

    #[test]
    fn what_rocketmq_5_alone_knows_is_refused_by_its_name() {
        let says = |path: &str, text: &str| {
            let refused = refused(path, &[0, 0, 0, 52, 0, 0, 0, 0, 0, 0, 0, 0, 1]).unwrap();
            assert!(refused.starts_with(text), "{refused}");
        };
        says("consumequeue/CURRENT", "consumequeue: consume queues in RocksDB");
        says("batchconsumequeue/T/0/00000000000000000000", "batchconsumequeue: queues of batches");
        says("compaction/compactionLog/T/0/1", "compaction: compacted topics");
        says("timerlog/00000000000000000000", "timerlog: timer messages");
        says("config/rdb/CURRENT", "config/rdb: topics, groups and offsets in RocksDB");
        says("config/topics/CURRENT", "config/topics: topics in RocksDB");
        says("config/consumerOffsets/CURRENT", "config/consumerOffsets: consumer offsets");
        says("config/subscriptionGroups/CURRENT", "config/subscriptionGroups: groups");
    }

    #[test]
    fn what_it_makes_for_nothing_is_not() {
        for path in ["timerlog/00000000000000000000", "timerwheel", "config/timercheck"] {
            assert_eq!(refused(path, &[0; 4096]), None, "{path}");
        }
        assert_eq!(refused("consumequeue/T/0/00000000000000000000", &[1; 20]), None);
    }
}
