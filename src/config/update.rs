//! Changes at run time: codes 25 and 318.

use std::path::PathBuf;

use super::load::set;
use super::{Config, Effect, Live, properties};
use crate::base::limits::CONFIG_BYTES_MAX;
use crate::base::{Error, Result, persist};

/// Response codes of refusals, as `protocol::code::response` has them: that is a layer above this
/// one.
const SYSTEM_ERROR: i32 = 1;
const NO_PERMISSION: i32 = 16;

/// RocketMQ closes this one although no row has it.
const ALWAYS_CLOSED: &str = "brokerConfigPath";

/// One key that got another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub value: String,
    /// Whether it acts at once; otherwise at the next start, or never.
    pub at_once: bool,
}

/// Applies the text of a request (properties syntax) and writes the changed keys to the
/// configuration file, whose other lines stay. All or nothing: a closed key is refused with
/// NO_PERMISSION, a bad value or syntax with SYSTEM_ERROR, and then nothing is changed. Unknown
/// keys are passed over, as RocketMQ does. Answers what changed.
pub fn update<C: Config>(live: &Live<C>, text: &str) -> Result<Vec<Change>> {
    live.update(|config| {
        let (config, changes) = applied(config, text)?;
        if !changes.is_empty() {
            save(&config, &changes)?;
        }
        Ok((config, changes))
    })
}

/// What `text` makes of `config`, and what it changes.
pub fn applied<C: Config>(config: &C, text: &str) -> Result<(C, Vec<Change>)> {
    if text.len() > CONFIG_BYTES_MAX {
        let remark = format!("update of more than {CONFIG_BYTES_MAX} bytes");
        return Err(Error::refused(SYSTEM_ERROR, remark));
    }
    let entries = properties::parse(text)
        .map_err(|_| Error::refused(SYSTEM_ERROR, "string2Properties error"))?;
    if entries.iter().any(|entry| is_closed(config, &entry.key)) {
        return Err(Error::refused(NO_PERMISSION, "Can not update config in black list."));
    }
    let mut new = config.clone();
    for entry in &entries {
        let (key, value) = (&entry.key, &entry.value);
        match set(&mut new, key, value) {
            Ok(Some(_)) => (),
            Ok(None) => {
                let unknown = &mut new.origin_mut().unknown;
                if let Some(known) = unknown.iter_mut().find(|(known, _)| known == key) {
                    known.1 = value.clone();
                }
            }
            Err(expected) => {
                let remark = format!("{key}: {value:?} is not {expected}");
                return Err(Error::refused(SYSTEM_ERROR, remark));
            }
        }
    }
    let changes = difference(config, &new);
    Ok((new, changes))
}

/// Keys that no request may change: those of rows that are not mutable (they move paths or could
/// run code), and those that the operator listed.
fn is_closed<C: Config>(config: &C, key: &str) -> bool {
    let sections = config.sections();
    let mut rows = sections.iter().flat_map(|section| section.rows());
    key == ALWAYS_CLOSED
        || config.black_list().split(';').any(|closed| closed.trim() == key)
        || rows.any(|row| !row.mutable && (row.key == key || row.listed == key))
}

fn difference<C: Config>(old: &C, new: &C) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for (old, new) in old.sections().iter().zip(new.sections()) {
        for (index, row) in old.rows().iter().enumerate() {
            let value = new.get(index);
            if value != old.get(index) && changes.iter().all(|change| change.key != row.key) {
                changes.push(Change {
                    key: row.key.to_string(),
                    value: value.unwrap_or_default(),
                    at_once: row.effect == Effect::AtOnce,
                });
            }
        }
    }
    for (key, value) in &new.origin().unknown {
        if !old.origin().unknown.iter().any(|(k, v)| k == key && v == value) {
            let (key, value) = (key.clone(), value.clone());
            changes.push(Change { key, value, at_once: false });
        }
    }
    changes
}

fn save<C: Config>(config: &C, changes: &[Change]) -> Result<()> {
    let path: PathBuf = config.origin().path.clone().unwrap_or_else(|| config.default_store());
    let text = if path.exists() { properties::read_file(&path)? } else { String::new() };
    let changes: Vec<_> = changes.iter().map(|c| (c.key.clone(), c.value.clone())).collect();
    let text = properties::edit(&text, &changes)?;
    // A longer file would not be read again.
    if text.len() > CONFIG_BYTES_MAX {
        let remark = format!("{} would have more than {CONFIG_BYTES_MAX} bytes", path.display());
        return Err(Error::refused(SYSTEM_ERROR, remark));
    }
    persist::save(&path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerConfig, NamesrvConfig};
    use std::fs;

    fn refusal(text: &str) -> (i32, String) {
        let dir = tempfile::tempdir().unwrap();
        match applied(&BrokerConfig::for_test(dir.path()), text) {
            Err(Error::Refused { code, remark }) => (code, remark),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn changed_keys_are_told_and_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.conf");
        fs::write(&path, "# mine\nbrokerPermission = 6\nmine = 1\n").unwrap();
        let mut config = BrokerConfig::for_test(dir.path());
        config.origin.path = Some(path.clone());
        config.origin.unknown.push(("mine".to_string(), "1".to_string()));
        let live = Live::new(config);
        let text = "brokerPermission=4\ntraceOn=true\nmine=2\nother=3\nlistenPort=1\n";
        let changes = update(&live, text).unwrap();
        let told: Vec<_> = changes.iter().map(|c| (c.key.as_str(), c.at_once)).collect();
        assert_eq!(told, [("brokerPermission", true), ("listenPort", false), ("mine", false)]);
        assert_eq!(live.get().broker_permission, 4);
        let saved = fs::read_to_string(&path).unwrap();
        assert_eq!(saved, "# mine\nbrokerPermission=4\nmine=2\nlistenPort=1\n");
        assert!(dir.path().join("broker.conf.bak").exists());
        assert_eq!(update(&live, text).unwrap(), []);
    }

    #[test]
    fn the_file_stays_short_enough_to_be_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.conf");
        let mut config = BrokerConfig::for_test(dir.path());
        config.origin.path = Some(path.clone());
        let live = Live::new(config);
        let long = "a".repeat(CONFIG_BYTES_MAX / 2);
        update(&live, &format!("regionId={long}")).unwrap();
        let saved = fs::read_to_string(&path).unwrap();
        assert!(update(&live, &format!("msgTraceTopicName={long}")).is_err());
        assert_ne!(live.get().msg_trace_topic_name, long);
        assert_eq!(fs::read_to_string(&path).unwrap(), saved);
    }

    #[test]
    fn closed_keys_and_bad_values_change_nothing() {
        let closed = (NO_PERMISSION, "Can not update config in black list.".to_string());
        for key in ["configBlackList", "brokerConfigPath", "rocketmqHome", "storePathRootDir"] {
            assert_eq!(refusal(&format!("traceOn=false\n{key}=x")), closed, "{key}");
        }
        assert_eq!(refusal("a=\\u1").1, "string2Properties error");
        let bad = refusal("fileReservedTime=soon");
        assert_eq!(bad.1, "fileReservedTime: \"soon\" is not a whole number, at least 0");
        let (code, _) = refusal(&"#".repeat(CONFIG_BYTES_MAX + 1));
        assert_eq!(code, SYSTEM_ERROR);
    }

    #[test]
    fn the_operator_closes_more_keys() {
        let mut config = NamesrvConfig {
            config_black_list: "a; orderMessageEnable".into(),
            ..NamesrvConfig::new()
        };
        assert!(applied(&config, "orderMessageEnable=true").is_err());
        config.config_black_list.clear();
        assert!(applied(&config, "orderMessageEnable=true").unwrap().0.order_message_enable);
        assert!(applied(&config, "kvConfigPath=/etc/passwd").is_err());
    }
}
