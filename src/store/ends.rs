//! What the log, the consume queues and index files were known to hold, kept beside them.
//!
//! A queue whose last units were lost looks like one that never had them. So with each thorough
//! flush, and at the end, a file says how many units and entries are on disk: a queue or an index
//! file that has fewer at the start is damaged, and dispatched again. Likewise bytes of the log
//! that were on disk and are no record are damage, not the end of what a crash has left of it.
//! RocketMQ does not know the file; what it adds makes the numbers too low, which says nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::{Result, json, persist};

/// The numbers, all of them lower bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Ends {
    /// Topic, queue id, offset after the last unit.
    pub queues: BTreeMap<String, BTreeMap<i32, i64>>,
    /// Name of an index file, number of its next entry.
    pub index: BTreeMap<String, i32>,
    /// Offset in the log just past what is on disk.
    pub log: i64,
    /// Files of the index were damaged: it is made again from this offset in the log, and may not
    /// be on disk before a stop in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index_again_from: Option<i64>,
}

/// The file.
pub struct EndsFile {
    path: PathBuf,
    saved: Ends,
}

impl EndsFile {
    /// Reads the file; one that is missing or damaged says nothing.
    pub fn load(path: &Path) -> EndsFile {
        let parse = |text: &str| json::from_str(text);
        let saved = persist::load_with_bak(path, parse).unwrap_or_else(|e| {
            log::warn!(target: "store", "not used: {e}: units that a queue has lost at its \
                end may go unnoticed");
            None
        });
        EndsFile { path: path.to_owned(), saved: saved.unwrap_or_default() }
    }

    /// What it said.
    pub fn ends(&self) -> &Ends {
        &self.saved
    }

    /// Says, before files of the index are deleted, from where on it is to be made again.
    pub fn index_again(&mut self, from: i64) -> Result<()> {
        self.save(Ends { index_again_from: Some(from), ..self.saved.clone() })
    }

    /// Log and queues were found to end there: what follows is not on disk, whatever was before.
    /// An error costs that after one more crash lost bytes may count as damaged ones.
    pub fn cut(&mut self, log: i64, queue_end: impl Fn(&str, i32) -> i64) {
        let mut ends = self.saved.clone();
        ends.log = ends.log.min(log);
        for (topic, queues) in &mut ends.queues {
            queues.iter_mut().for_each(|(id, end)| *end = queue_end(topic, *id).min(*end));
        }
        if let Err(e) = self.save(ends) {
            log::warn!(target: "store", "{e}");
        }
    }

    /// Writes the numbers when they are others.
    pub fn save(&mut self, ends: Ends) -> Result<()> {
        if self.saved != ends {
            persist::save(&self.path, &json::to_string(&ends))?;
            self.saved = ends;
        }
        Ok(())
    }
}
