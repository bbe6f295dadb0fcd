//! Checkpoint and JSON files.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Report;
use super::log_files::Log;
use super::queue_files::Queues;
use crate::base::limits::CHECK_JSON_BYTES_MAX;
use crate::base::{Error, Result, error::IoContext, json};
use crate::message::topic;
use crate::store::checkpoint::FILE_BYTES;
use crate::store::{delay, layout};
use crate::sys;

/// Bytes of the checkpoint that RocketMQ 5 uses; the rest is zero.
const CHECKPOINT_FIELDS: usize = 40;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Topics {
    topic_config_table: BTreeMap<String, IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConsumerOffsets {
    offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// The names in `topics.json`; `None` when it cannot be read.
pub(super) fn topics(root: &Path) -> Option<HashSet<String>> {
    let text = read(&root.join("config/topics.json")).ok()?;
    let topics: Topics = json::from_slice(&text).ok()?;
    Some(topics.topic_config_table.into_keys().collect())
}

/// Checks the checkpoint and what is in `config/`.
pub(super) fn walk(root: &Path, log: &Log, queues: &Queues, report: &mut Report) {
    let path = layout::checkpoint_file(root);
    if let Err(e) = checkpoint(&path, log, report) {
        report.fault(&path, e);
    }
    let dir = root.join("config");
    let mut count = 0;
    let of_store = report.entries(root);
    for entry in report.entries(&dir).into_iter().chain(of_store) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if !name.ends_with(".json") && !name.ends_with(".json.bak") {
            continue;
        }
        count += u64::from(path.starts_with(&dir));
        let parsed = read(&path).and_then(|bytes| match &*name {
            "consumerOffset.json" => json::from_slice(&bytes).map(|o| consumer(&path, &o, report)),
            "delayOffset.json" => json::from_slice(&bytes).map(|offsets| {
                delayed(&path, &offsets, queues, report);
            }),
            "topics.json" => json::from_slice::<Topics>(&bytes).map(|_| ()),
            _ => json::from_slice::<IgnoredAny>(&bytes).map(|_| ()),
        });
        if let Err(e) = parsed {
            report.fault(&path, e);
        }
    }
    report.say(format_args!("config: {count} JSON files"));
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let what = || format!("read {}", path.display());
    let meta = fs::metadata(path).what(what)?;
    if !meta.is_file() {
        return Err(Error::Corrupt("not a file".to_owned()));
    }
    let bytes = meta.len();
    if bytes > CHECK_JSON_BYTES_MAX {
        return Err(Error::Corrupt(format!("{bytes} bytes long, more than this check reads")));
    }
    let text = fs::read(path).what(what)?;
    match text.iter().all(u8::is_ascii_whitespace) {
        true => Err(Error::Corrupt("empty".to_owned())),
        false => Ok(text),
    }
}

fn consumer(path: &Path, offsets: &ConsumerOffsets, report: &mut Report) {
    for (group, queues) in &offsets.offset_table {
        for (queue, offset) in queues.iter().filter(|(_, offset)| **offset < 0) {
            report.fault(path, format_args!("{group}: queue {queue} is at {offset}"));
        }
    }
}

fn delayed(path: &Path, offsets: &delay::Stored, queues: &Queues, report: &mut Report) {
    for (level, offset) in &offsets.offset_table {
        let max = queues.max_offset(topic::SCHEDULE, level - 1).unwrap_or(0);
        if *offset < 0 || *offset > max {
            let what = format_args!("level {level} is at {offset}, its queue ends at {max}");
            report.fault(path, what);
        }
    }
}

fn checkpoint(path: &Path, log: &Log, report: &mut Report) -> Result<()> {
    let what = || format!("read {}", path.display());
    let file = match sys::file::open_now(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && log.newest_ms == 0 => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            report.fault(path, "not there");
            return Ok(());
        }
        file => file.what(what)?,
    };
    let meta = file.metadata().what(what)?;
    if !meta.is_file() {
        return Err(Error::Corrupt("not a file".to_owned()));
    }
    let bytes = meta.len();
    if bytes != FILE_BYTES {
        report.fault(path, format_args!("{bytes} bytes long, expected {FILE_BYTES}"));
        return Ok(());
    }
    let mut text = [0; FILE_BYTES as usize];
    file.read_exact_at(&mut text, 0).what(what)?;
    let long = |at: usize| text[at..at + 8].try_into().map_or(0, i64::from_be_bytes);
    for (at, name) in [(0, "log"), (8, "consume queues"), (16, "index")] {
        let time = long(at);
        if time < 0 || time > log.newest_ms {
            let newest = log.newest_ms;
            let what = format_args!("{name} up to time {time}, the newest record is of {newest}");
            report.fault_at(path, at as u64, what);
        }
    }
    if let Some(at) = text[CHECKPOINT_FIELDS..].iter().position(|byte| *byte != 0) {
        report.fault_at(path, (CHECKPOINT_FIELDS + at) as u64, "not zero");
    }
    report.say(format_args!("checkpoint: times {}, {}, {}", long(0), long(8), long(16)));
    Ok(())
}
