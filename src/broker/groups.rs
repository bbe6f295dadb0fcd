//! Subscription groups: name → configuration (`subscriptionGroup.json`), automatic creation.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use crate::base::limits::GROUPS_MAX;
use crate::base::persist::{self, VersionedFile};
use crate::base::{Error, HotMap, Result, clock, json};
use crate::message::topic;
use crate::protocol::body::group::{SubscriptionGroupConfig, SubscriptionGroupTable};
use crate::protocol::body::topic::DataVersion;
use crate::protocol::code::response;

/// Groups so named are created whatever `autoCreateSubscriptionGroup` says.
const SYSTEM_PREFIX: &str = "CID_RMQ_SYS_";

struct State {
    table: HotMap<String, Arc<SubscriptionGroupConfig>>,
    version: DataVersion,
}

/// The group table and its file.
pub struct Groups {
    /// No file was there, or none that could be read.
    pub is_new: bool,
    file: VersionedFile,
    state: RwLock<State>,
}

impl Groups {
    /// The groups of `path` over those every broker has.
    pub fn load(path: &Path) -> Result<Groups> {
        let built_in = topic::SYSTEM_GROUPS
            .map(|name| (name.to_owned(), Arc::new(SubscriptionGroupConfig::new(name))));
        let mut table: HotMap<_, _> = built_in.into_iter().collect();
        let cost = "groups with a retry topic are made again, their settings are lost";
        let stored = persist::load_or_keep_aside(path, cost, |text| {
            json::from_slice::<SubscriptionGroupTable>(text.as_bytes())
        })?;
        let is_new = stored.is_none();
        let mut version = DataVersion { timestamp: clock::now_ms(), ..DataVersion::default() };
        if let Some(stored) = stored {
            version = stored.data_version;
            for (name, mut config) in stored.subscription_group_table {
                config.group_name.clone_from(&name);
                table.insert(name, Arc::new(config));
            }
        }
        let file = VersionedFile::new(path, version.counter);
        let state = RwLock::new(State { table, version });
        Ok(Groups { is_new, file, state })
    }

    /// The configuration of a group.
    pub fn get(&self, name: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.table.get(name).cloned()
    }

    /// The configuration of a group, created with the defaults when `autoCreateSubscriptionGroup`
    /// or its name allows that. The name of a retry or dead-letter topic never does: a retry of
    /// what is retried would go round for ever. True with a new group: the caller has to `persist`
    /// before it answers, once for all it has added.
    pub fn get_or_add(
        &self,
        name: &str,
        auto: bool,
    ) -> Option<(Arc<SubscriptionGroupConfig>, bool)> {
        if let Some(config) = self.get(name) {
            return Some((config, false));
        }
        let allowed = auto || name.starts_with(SYSTEM_PREFIX);
        if !allowed || topic::check_group(name).is_err() || topic::is_of_group(name) {
            return None;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = state.table.get(name) {
            return Some((config.clone(), false));
        }
        if state.table.len() >= GROUPS_MAX {
            log::warn!(target: "broker", "group {name} refused: {GROUPS_MAX} exist");
            return None;
        }
        let config = state.insert(SubscriptionGroupConfig::new(name));
        drop(state);
        log::info!(target: "broker", "new subscription group {name}");
        Some((config, true))
    }

    /// Makes groups that are not known: for a table that was lost.
    pub fn make_again<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let made = names.into_iter().filter_map(|name| self.get_or_add(name, true));
        let made = made.filter(|(_, added)| *added).count();
        if made > 0 {
            log::error!(target: "broker", "{made} groups had no configuration and are made again, \
                with default settings");
            self.persist();
        }
    }

    /// Creates or replaces a group as an operator says.
    pub fn put(&self, config: SubscriptionGroupConfig) -> Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.table.len() >= GROUPS_MAX && !state.table.contains_key(&config.group_name) {
            let remark = format!("this broker has {GROUPS_MAX} groups, no more are created");
            return Err(Error::refused(response::SYSTEM_ERROR, remark));
        }
        log::info!(target: "broker", "subscription group set {}", config.group_name);
        state.insert(config);
        drop(state);
        self.persist();
        Ok(())
    }

    /// Lets a group consume no more. The file has that with the next change only, as with RocketMQ.
    pub fn disable(&self, name: &str) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let Some(group) = state.table.get_mut(name).filter(|group| group.consume_enable) else {
            return;
        };
        Arc::make_mut(group).consume_enable = false;
        state.next_version();
        drop(state);
        log::warn!(target: "broker", "group {name} consumes too slowly, it is disabled");
    }

    /// Forgets a group; an unknown one is fine.
    pub fn remove(&self, name: &str) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.table.remove(name).is_some() {
            state.next_version();
            drop(state);
            log::info!(target: "broker", "subscription group {name} deleted");
            self.persist();
        }
    }

    /// Names of all groups, sorted.
    pub fn names(&self) -> Vec<String> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = state.table.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// All groups as the body of GET_ALL_SUBSCRIPTIONGROUP_CONFIG, also the form of the file.
    pub fn table(&self) -> SubscriptionGroupTable {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let groups = state.table.iter();
        let subscription_group_table =
            groups.map(|(name, group)| (name.clone(), SubscriptionGroupConfig::clone(group)));
        SubscriptionGroupTable {
            data_version: state.version.clone(),
            subscription_group_table: subscription_group_table.collect(),
        }
    }

    /// Writes the file unless it has this version already.
    pub fn persist(&self) {
        self.file.save(|| self.versioned());
    }

    /// Writes the file if that failed the last time.
    pub fn retry_persist(&self) {
        self.file.retry(|| self.versioned());
    }

    fn versioned(&self) -> (i64, SubscriptionGroupTable) {
        let table = self.table();
        (table.data_version.counter, table)
    }
}

impl State {
    fn insert(&mut self, config: SubscriptionGroupConfig) -> Arc<SubscriptionGroupConfig> {
        let config = Arc::new(config);
        self.table.insert(config.group_name.clone(), config.clone());
        self.next_version();
        config
    }

    fn next_version(&mut self) {
        self.version.next(clock::now_ms());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(dir: &Path) -> Groups {
        Groups::load(&dir.join("subscriptionGroup.json")).unwrap()
    }

    #[test]
    fn unknown_groups_are_created_when_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let groups = load(dir.path());
        assert!(groups.get("g").is_none());
        let (group, added) = groups.get_or_add("g", true).unwrap();
        assert!(added && !groups.get_or_add("g", true).unwrap().1);
        assert_eq!((group.retry_queue_nums, group.retry_max_times), (1, 16));
        assert!(groups.get_or_add("../etc", true).is_none());
        assert!(groups.get_or_add("", true).is_none());
        assert!(groups.get_or_add("h", false).is_none());
        assert!(groups.get_or_add("CID_RMQ_SYS_TRANS", false).is_some());

        assert!(load(dir.path()).get("g").is_none());
        groups.persist();
        let again = load(dir.path());
        assert!(again.get("g").is_some());
        assert!(again.get("TOOLS_CONSUMER").is_some());
    }

    #[test]
    fn an_operator_changes_and_deletes() {
        let dir = tempfile::tempdir().unwrap();
        let groups = load(dir.path());
        let config =
            SubscriptionGroupConfig { retry_max_times: 3, ..SubscriptionGroupConfig::new("g") };
        groups.put(config).unwrap();
        assert_eq!(load(dir.path()).get("g").unwrap().retry_max_times, 3);
        groups.remove("g");
        groups.remove("g");
        assert_eq!(groups.table().data_version.counter, 2);
        assert!(load(dir.path()).get("g").is_none());
    }
}
