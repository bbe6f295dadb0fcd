//! The KV configuration: namespace, key, value. The only state of the NameServer that outlives it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::base::limits;
use crate::base::{Error, Result, json, persist};
use crate::protocol::code::response;

/// The namespace the server itself reads: topic to `brokerName:queues;...`.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

type Namespace = BTreeMap<String, String>;

/// The file: `{"configTable":{namespace:{key:value}}}`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Tables {
    config_table: BTreeMap<String, Namespace>,
}

/// The table and its file. Readers never wait for the disk.
pub struct KvConfig {
    path: PathBuf,
    tables: RwLock<Arc<Tables>>,
    /// Held while a change is made durable: changes reach the file in the order they were made.
    writing: Mutex<()>,
}

impl KvConfig {
    /// Reads the file; a missing one is an empty table. Fails when it is there and cannot be read.
    pub fn load(path: &Path) -> Result<KvConfig> {
        let tables = match persist::load(path)? {
            Some(text) => json::from_slice(text.as_bytes())
                .map_err(|error| Error::Corrupt(format!("{}: {error}", path.display())))?,
            None => Tables::default(),
        };
        Ok(KvConfig {
            path: path.to_owned(),
            tables: RwLock::new(Arc::new(tables)),
            writing: Mutex::new(()),
        })
    }

    /// The value, or `None`.
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.snapshot().config_table.get(namespace)?.get(key).cloned()
    }

    /// All keys and values of a namespace, or `None` when it was never put into.
    pub fn namespace(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.snapshot().config_table.get(namespace).cloned()
    }

    /// Stores a value and makes it durable; refused when a limit or the disk forbids it.
    pub fn put(&self, namespace: &str, key: &str, value: &str) -> Result<()> {
        for (what, text, max) in [
            ("namespace", namespace, limits::NAMESRV_NAME_BYTES_MAX),
            ("key", key, limits::NAMESRV_NAME_BYTES_MAX),
            ("value", value, limits::KV_VALUE_BYTES_MAX),
        ] {
            if text.len() > max {
                let remark = format!("the {what} has {} bytes, at most {max} fit", text.len());
                return Err(Error::refused(response::SYSTEM_ERROR, remark));
            }
        }
        self.change(|tables| {
            let space = tables.config_table.entry(namespace.to_owned()).or_default();
            space.insert(key.to_owned(), value.to_owned());
        })
    }

    /// Removes a value; the namespace stays, and an absent key is fine.
    pub fn delete(&self, namespace: &str, key: &str) -> Result<()> {
        if self.get(namespace, key).is_none() {
            return Ok(());
        }
        self.change(|tables| {
            if let Some(space) = tables.config_table.get_mut(namespace) {
                space.remove(key);
            }
        })
    }

    /// Number of values, over all namespaces.
    pub fn values(&self) -> usize {
        self.snapshot().config_table.values().map(Namespace::len).sum()
    }

    fn change(&self, change: impl FnOnce(&mut Tables)) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Tables::clone(&self.snapshot());
        change(&mut next);
        let text = json::to_string(&next);
        if text.len() > limits::KV_BYTES_MAX {
            let remark =
                format!("the KV configuration would exceed {} bytes", limits::KV_BYTES_MAX);
            return Err(Error::refused(response::SYSTEM_ERROR, remark));
        }
        persist::save(&self.path, &text)?;
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    fn snapshot(&self) -> Arc<Tables> {
        Arc::clone(&self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = dir.path().join("namesrv/kvConfig.json");
        (dir, path)
    }

    #[test]
    fn values_survive_a_restart_in_java_form() {
        let (_dir, path) = file();
        let kv = KvConfig::load(&path).expect("no file");
        kv.put(ORDER_TOPIC_CONFIG, "TopicA", "broker-a:4").expect("put");
        let text = std::fs::read_to_string(&path).expect("written");
        assert_eq!(text, r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"TopicA":"broker-a:4"}}}"#);
        let kv = KvConfig::load(&path).expect("read again");
        assert_eq!(kv.get(ORDER_TOPIC_CONFIG, "TopicA").as_deref(), Some("broker-a:4"));
        assert_eq!(kv.values(), 1);
    }

    #[test]
    fn an_emptied_namespace_stays() {
        let (_dir, path) = file();
        let kv = KvConfig::load(&path).expect("no file");
        assert_eq!(kv.namespace("n"), None);
        kv.delete("n", "k").expect("a delete of nothing");
        kv.put("n", "k", "v").expect("put");
        kv.delete("n", "k").expect("delete");
        assert_eq!(kv.namespace("n"), Some(BTreeMap::new()));
        assert_eq!(kv.get("n", "k"), None);
        let backup = std::fs::read_to_string(path.with_extension("json.bak")).expect("a backup");
        assert_eq!(backup, r#"{"configTable":{"n":{"k":"v"}}}"#);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let (_dir, path) = file();
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
        std::fs::write(&path, "{\"configTable\":").expect("write");
        let Err(error) = KvConfig::load(&path) else { panic!("damaged") };
        assert!(error.to_string().contains("kvConfig.json"), "{error}");
    }

    #[test]
    fn a_value_that_cannot_be_stored_is_not_there() {
        let (_dir, path) = file();
        let kv = KvConfig::load(&path).expect("no file");
        kv.put("n", "k", &"v".repeat(limits::KV_VALUE_BYTES_MAX + 1)).expect_err("too long");
        std::fs::write(path.parent().expect("a parent"), "a file, not a directory").expect("write");
        kv.put("n", "k", "v").expect_err("nowhere to write");
        assert_eq!(kv.get("n", "k"), None);
    }
}
