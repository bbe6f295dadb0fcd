//! From a file to a configuration, and back to text.

use std::path::Path;

use super::properties::{self, Entry};
use super::{Config, Effect, Origin, Row};
use crate::base::{Error, Result};

/// A configuration and what its reader should be told.
#[derive(Debug)]
pub struct Loaded<C> {
    pub config: C,
    /// Sentences that name file and line.
    pub warnings: Vec<String>,
}

/// The defaults changed by a properties file. Errors name file, line, key and what was expected.
/// Unknown keys are warned about and kept.
pub fn load<C: Config>(path: &Path) -> Result<Loaded<C>> {
    let file = path.display();
    let text = properties::read_file(path)?;
    let entries = properties::parse(&text).map_err(|e| Error::Config(format!("{file}:{e}")))?;
    let mut config = C::default();
    let mut unknown: Vec<(String, String)> = Vec::new();
    let mut warnings = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let Entry { key, value, line, .. } = entry;
        if let Some(later) = entries[index + 1..].iter().find(|e| e.key == *key) {
            warnings.push(format!("{file}:{line}: {key}: set again in line {}", later.line));
        }
        match set(&mut config, key, value) {
            Err(expected) => {
                let text = format!("{file}:{line}: {key}: {value:?} is not {expected}");
                return Err(Error::Config(text));
            }
            Ok(None) => {
                warnings.push(format!("{file}:{line}: {key}: unknown key, kept without effect"));
                unknown.retain(|(known, _)| known != key);
                unknown.push((key.clone(), value.clone()));
            }
            Ok(Some(row)) => warnings
                .extend(remark(row, value).map(|remark| format!("{file}:{line}: {key}: {remark}"))),
        }
    }
    *config.origin_mut() = Origin { path: Some(path.to_path_buf()), unknown };
    Ok(Loaded { config, warnings })
}

fn remark(row: &Row, value: &str) -> Option<&'static str> {
    if row.effect == Effect::NotYet {
        Some("accepted, but what it is for is not built yet")
    } else if value.ends_with([' ', '\t']) {
        Some("the blanks at the end are part of the value")
    } else {
        None
    }
}

/// Sets a key in every section that has it. `Ok(None)`: none has. The error is what was expected.
pub(super) fn set<C: Config>(
    config: &mut C,
    key: &str,
    value: &str,
) -> std::result::Result<Option<&'static Row>, String> {
    let mut result = Ok(None);
    config.sections_mut(&mut |section| {
        let names = |row: &Row| row.key == key || row.listed == key;
        let Some(index) = section.rows().iter().position(names) else { return };
        if section.set(index, value) {
            if result.is_ok() {
                result = Ok(Some(&section.rows()[index]));
            }
        } else {
            result = Err(section.expected(index));
        }
    });
    result
}

/// Every row with its value, in RocketMQ's order; `None` is its null.
pub fn items<C: Config>(config: &C) -> Vec<(&'static Row, Option<String>)> {
    let sections = config.sections();
    let items = sections.iter().flat_map(|section| {
        section.rows().iter().enumerate().map(|(index, row)| (row, section.get(index)))
    });
    items.collect()
}

/// The lines of `-p`, or of `-m` when `important`: `name=value`, nothing behind `=` for null.
pub fn printed<C: Config>(config: &C, important: bool) -> String {
    let mut text = String::new();
    for (row, value) in items(config) {
        if row.important || !important {
            text += &format!("{}={}\n", row.listed, value.unwrap_or_default());
        }
    }
    text
}

/// The body that answers codes 26 and 319: each key once, without escapes and without nulls;
/// unknown keys of the file too.
pub fn dump<C: Config>(config: &C) -> String {
    let mut seen = std::collections::HashSet::new();
    let mut text = String::new();
    for (row, value) in items(config) {
        if let Some(value) = value.filter(|_| seen.insert(row.listed)) {
            text += &format!("{}={value}\n", row.listed);
        }
    }
    for (key, value) in &config.origin().unknown {
        text += &format!("{key}={value}\n");
    }
    text
}
