//! How far the group, or a broadcasting member, has come in each queue.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::base::{Result, persist};
use crate::client::instance::lock;
use crate::message::topic;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::heartbeat::MessageModel;
use crate::protocol::body::offset::ResetOffsetBody;

use super::process_queue::ProcessQueue;
use super::{ConsumeFrom, ConsumerSettings, Inner};

/// Commits what has changed, in every period.
pub fn run(inner: &Arc<Inner>) {
    while !inner.commit.wait(inner.settings.commit_period) {
        inner.commit_changed(false);
    }
}

impl Inner {
    /// Where to begin with a queue: after what was committed, else where the settings say.
    pub fn start_offset(&self, queue: &MessageQueue) -> Result<i64> {
        let committed = match &self.local_offsets {
            Some(local) => local.get(queue),
            None => self.instance.committed_offset(&self.group, queue)?,
        };
        if let Some(offset) = committed.filter(|offset| *offset >= 0) {
            return Ok(offset);
        }
        let retry = topic::retry_group(&queue.topic).is_some();
        match self.settings.from {
            ConsumeFrom::FirstOffset => Ok(0),
            ConsumeFrom::LastOffset if retry => Ok(0),
            ConsumeFrom::LastOffset => self.instance.max_offset(queue),
            ConsumeFrom::Timestamp(_) if retry => self.instance.max_offset(queue),
            ConsumeFrom::Timestamp(ms) => self.instance.search_offset(queue, ms),
        }
    }

    /// Commits everything and waits for the answers.
    pub fn commit_all(&self) {
        self.commit_changed(true);
    }

    fn commit_changed(&self, wait: bool) {
        let queues: Vec<_> = lock(&self.assigned).values().cloned().collect();
        for queue in queues {
            self.commit(&queue, wait);
        }
        if let Some(local) = &self.local_offsets
            && let Err(error) = local.save()
        {
            log::warn!(target: "client", "offsets are not saved: {error}");
        }
    }

    /// Commits one queue unless nothing has changed; failures are logged and made good by the next.
    pub fn commit(&self, queue: &ProcessQueue, wait: bool) {
        let offset = queue.commit_offset();
        let before = queue.committed.load(Ordering::Relaxed);
        if before == offset {
            return;
        }
        let result = match &self.local_offsets {
            Some(local) => {
                local.set(&queue.queue, offset);
                Ok(())
            }
            None if wait => self.instance.commit_offset(&self.group, &queue.queue, offset),
            None => self.instance.commit_offset_oneway(&self.group, &queue.queue, offset),
        };
        match result {
            Ok(()) => queue.committed.store(offset, Ordering::Relaxed),
            Err(error) => {
                log::warn!(target: "client", "commit of {:?} at {offset}: {error}", queue.queue);
            }
        }
    }
}

/// The offsets of a broadcasting consumer, in a file of RocketMQ's form: that of the body of 220.
pub struct LocalOffsets {
    path: PathBuf,
    table: Mutex<BTreeMap<MessageQueue, i64>>,
}

impl LocalOffsets {
    /// Nothing for a clustering consumer. A file and a `.bak` of which none can be understood are
    /// kept under other names.
    pub fn open(
        settings: &ConsumerSettings,
        client_id: &str,
        group: &str,
    ) -> Result<Option<LocalOffsets>> {
        if settings.model == MessageModel::Clustering {
            return Ok(None);
        }
        let dir = settings.offset_dir.clone().unwrap_or_else(default_dir);
        let path = dir.join(client_id).join(group).join("offsets.json");
        LocalOffsets::load(&path).map(Some)
    }

    fn load(path: &Path) -> Result<LocalOffsets> {
        let read = |text: &str| ResetOffsetBody::from_slice(text.as_bytes());
        let cost = "the consumer begins where a new one would";
        let table = persist::load_or_keep_aside(path, cost, read)?.unwrap_or_default().offset_table;
        Ok(LocalOffsets { path: path.to_owned(), table: Mutex::new(table) })
    }

    fn get(&self, queue: &MessageQueue) -> Option<i64> {
        lock(&self.table).get(queue).copied()
    }

    fn set(&self, queue: &MessageQueue, offset: i64) {
        lock(&self.table).insert(queue.clone(), offset);
    }

    fn save(&self) -> Result<()> {
        let table = ResetOffsetBody { offset_table: lock(&self.table).clone() };
        let text = String::from_utf8_lossy(&table.to_vec()).into_owned();
        persist::save(&self.path, &text)
    }
}

fn default_dir() -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".rocketmq_offsets")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_offsets_survive_a_restart() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = dir.path().join("c/g/offsets.json");
        let queue = MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id: 0 };
        let offsets = LocalOffsets::load(&path).expect("no file");
        assert_eq!(offsets.get(&queue), None);
        offsets.set(&queue, 5);
        offsets.save().expect("saved");
        let text = std::fs::read_to_string(&path).expect("written");
        assert_eq!(text, r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:5}}"#);
        let offsets = LocalOffsets::load(&path).expect("read again");
        assert_eq!(offsets.get(&queue), Some(5));
    }

    #[test]
    fn unreadable_local_offsets_are_kept_aside() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let named = |suffix: &str| dir.path().join(format!("offsets.json{suffix}"));
        let queue = MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id: 0 };
        let offsets = LocalOffsets::load(&named("")).expect("no file");
        for offset in [5, 6] {
            offsets.set(&queue, offset);
            offsets.save().expect("saved");
        }
        std::fs::write(named(""), "{").expect("damaged");
        let offsets = LocalOffsets::load(&named("")).expect("the other copy");
        assert_eq!(offsets.get(&queue), Some(5));
        std::fs::write(named(".bak"), "}").expect("damaged");
        let offsets = LocalOffsets::load(&named("")).expect("both are put aside");
        assert_eq!(offsets.get(&queue), None);
        let text = |suffix: &str| std::fs::read_to_string(named(suffix)).expect("kept");
        assert_eq!((&*text(".unreadable"), &*text(".bak.unreadable")), ("{", "}"));
        offsets.set(&queue, 7);
        offsets.save().expect("saved");
        let offsets = LocalOffsets::load(&named("")).expect("read again");
        assert_eq!(offsets.get(&queue), Some(7));
    }
}
