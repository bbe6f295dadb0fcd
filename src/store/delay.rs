//! Delayed messages: the levels of `messageDelayLevel`, the schedule topic, and the delivery.
//!
//! A delayed message is stored in the queue of its level in the schedule topic, whose consume queue
//! keeps the time of delivery in place of a tags code. When that comes the message is stored once
//! more, under its real topic. How far each level is, is kept in `delayOffset.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::consume_queue::{Queue, Unit};
use super::{PutStatus, Store, WaitFor};
use crate::base::thread::{self, Handle, Stop};
use crate::base::{Error, Result, clock, json, persist};
use crate::message::record::{self, RecordView};
use crate::message::{Message, MessageRef, flags, property, topic};

/// Messages of a level delivered before the next level has its turn: under a millisecond's work, so
/// that one with much to deliver makes the others late by little.
const TURN: usize = 100;
/// Pause when nothing is due, at most; never more than the shortest delay.
const PAUSE_MAX_MS: i64 = 1000;
/// Pause after a put that failed, and the shortest one at all.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// How long a turn waits for the disk under SYNC_FLUSH before it is done again.
const DURABLE_WAIT: Duration = Duration::from_secs(10);

/// Delay of each level, the first one being level 1.
#[derive(Debug)]
pub struct DelayLevels {
    ms: Vec<i64>,
}

impl DelayLevels {
    /// Reads a list such as `1s 5s 1m 2h 1d`. The error names the item that is no duration.
    pub fn parse(text: &str) -> Result<DelayLevels> {
        let ms = text.split_whitespace().map(|item| {
            duration_ms(item).ok_or_else(|| {
                Error::Config(format!("messageDelayLevel: {item:?} is no number with s, m, h or d"))
            })
        });
        Ok(DelayLevels { ms: ms.collect::<Result<_>>()? })
    }

    /// The highest level.
    pub fn max_level(&self) -> i32 {
        self.ms.len() as i32
    }

    /// Delay of the shortest level in ms.
    fn shortest_ms(&self) -> i64 {
        self.ms.iter().copied().min().unwrap_or(PAUSE_MAX_MS)
    }

    /// When a message of `level`, lowered to the highest there is, is delivered.
    pub fn deliver_at(&self, level: i32, store_timestamp: i64) -> i64 {
        let index = level.min(self.max_level()) - 1;
        let delay = usize::try_from(index).ok().and_then(|index| self.ms.get(index));
        store_timestamp.saturating_add(delay.copied().unwrap_or(1000))
    }
}

fn duration_ms(item: &str) -> Option<i64> {
    let unit = match item.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    item[..item.len() - 1].parse::<i64>().ok()?.checked_mul(unit)
}

/// The level a message has to wait for: `delay` lowered to the highest one. `None`: none, as of
/// half and rolled back messages.
pub fn level_of(delay: i32, sys_flag: i32, levels: &DelayLevels) -> Option<i32> {
    let transaction = flags::transaction(sys_flag);
    let counts = transaction == 0 || transaction == flags::TRANSACTION_COMMIT;
    (counts && delay > 0 && levels.max_level() > 0).then(|| delay.min(levels.max_level()))
}

/// Writes into a property string what a delayed message is to become; returns the topic and queue
/// it is stored in until then.
pub fn park(text: &mut String, level: i32, topic: &str, queue_id: i32) -> (&'static str, i32) {
    let digits = level.to_string();
    if property::get(text, property::DELAY) != Some(digits.as_str()) {
        property::set(text, property::DELAY, &digits);
    }
    property::set(text, property::REAL_TOPIC, topic);
    property::set(text, property::REAL_QID, &queue_id.to_string());
    (topic::SCHEDULE, level - 1)
}

/// Stores messages under their real topic when their delay is over.
pub struct Delivery {
    store: Arc<Store>,
    levels: Arc<DelayLevels>,
    path: PathBuf,
    /// Level → next offset in its queue.
    offsets: Mutex<BTreeMap<i32, i64>>,
    saved: Mutex<BTreeMap<i32, i64>>,
}

/// The file.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Stored {
    /// Level → next offset in its queue.
    pub offset_table: BTreeMap<i32, i64>,
}

/// How a turn of a level ended.
enum Turn {
    /// More may be due.
    More,
    /// Nothing is due before this time in ms.
    NotBefore(i64),
    /// A put was refused.
    Failed,
}

impl Delivery {
    /// Goes on where `path` (`delayOffset.json`) says, or at the nearest place that a queue has.
    pub fn load(store: Arc<Store>, levels: Arc<DelayLevels>, path: &Path) -> Result<Arc<Delivery>> {
        let cost = "delayed messages that are still there are delivered, maybe once more";
        let saved = persist::load_or_keep_aside(path, cost, parse)?.unwrap_or_default();
        let mut offsets = saved.clone();
        for (level, offset) in &mut offsets {
            let queue_id = level.saturating_sub(1);
            let min = store.min_offset_in_queue(topic::SCHEDULE, queue_id);
            // Of a queue that lost messages: what comes now stands below, and is to be delivered.
            let max = match store.is_dispatched() {
                true => store.max_offset_in_queue(topic::SCHEDULE, queue_id).max(min),
                false => i64::MAX,
            };
            let nearest = (*offset).clamp(min, max);
            if nearest != *offset {
                log::warn!(target: "store", "delay level {level}: offset {offset} is outside of \
                    {min} to {max}, set to {nearest}");
                *offset = nearest;
            }
        }
        let delivery = Delivery {
            store,
            levels,
            path: path.to_owned(),
            saved: Mutex::new(saved),
            offsets: Mutex::new(offsets),
        };
        // At once: the next start would find an offset beyond the end inside a queue that has
        // grown, and pass over what came between.
        delivery.persist();
        Ok(Arc::new(delivery))
    }

    /// Starts the thread. Somebody else has to `persist`: nothing that is due waits for that.
    pub fn start(self: &Arc<Delivery>, stop: Arc<Stop>) -> Result<Handle> {
        let delivery = self.clone();
        thread::spawn("delay", move || while !stop.wait(delivery.round()) {})
    }

    /// Next offset to deliver and end of the queue, of each level that was ever used.
    pub fn progress(&self) -> Vec<(i32, i64, i64)> {
        let offsets = self.offsets().clone();
        let end = |level| self.store.max_offset_in_queue(topic::SCHEDULE, level - 1);
        offsets.into_iter().map(|(level, offset)| (level, offset, end(level))).collect()
    }

    /// Next offset to deliver of a level, once it was used.
    pub fn next_offset(&self, level: i32) -> Option<i64> {
        self.offsets().get(&level).copied()
    }

    fn offsets(&self) -> MutexGuard<'_, BTreeMap<i32, i64>> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives each level a turn; returns the pause until the next round.
    fn round(&self) -> Duration {
        let mut pause = PAUSE_MAX_MS.min(self.levels.shortest_ms());
        let mut more = false;
        for level in 1..=self.levels.max_level() {
            match self.turn(level) {
                Turn::More => more = true,
                Turn::NotBefore(due) => pause = pause.min(due - clock::now_ms()),
                Turn::Failed => pause = pause.min(PAUSE_MIN.as_millis() as i64),
            }
        }
        match more {
            true => Duration::ZERO,
            // A level without delay would keep it from sleeping at all.
            false => Duration::from_millis(pause.max(1) as u64),
        }
    }

    /// Delivers what is due of a level, as far as one turn goes.
    fn turn(&self, level: i32) -> Turn {
        let Some(queue) = self.store.queues.get(topic::SCHEDULE, level - 1) else {
            return Turn::NotBefore(i64::MAX);
        };
        let begin = self.offsets().get(&level).copied().unwrap_or(0);
        // What is to come there again was delivered.
        if begin > queue.max_offset() && !self.store.is_dispatched() {
            return Turn::NotBefore(i64::MAX);
        }
        let mut offset = begin.clamp(queue.min_offset(), queue.max_offset());
        let mut wait = None;
        let mut turn = Turn::More;
        for _ in 0..TURN {
            let Some(unit) = queue.unit(offset) else {
                turn = Turn::NotBefore(i64::MAX);
                break;
            };
            let asked = self.asked(&queue, &unit, level);
            // A time further away than the delay means that the clock was set back: the time is
            // looked at after the unit, which may have come just now.
            let now = clock::now_ms();
            let due = asked.min(self.levels.deliver_at(level, now));
            if due > now && due == asked {
                turn = Turn::NotBefore(due);
                break;
            }
            // Those that wait longest are old, and stand scattered over the log.
            if self.store.is_on_disk(unit.physical_offset)
                && let Err(e) = self.store.warm(topic::SCHEDULE, level - 1, offset, &|_| true)
            {
                log::error!(target: "store", "a delayed message: {e}");
                turn = Turn::Failed;
                break;
            }
            match self.deliver(level, unit) {
                Ok(put) => wait = put.or(wait),
                Err(status) => {
                    log::warn!(target: "store", "delayed message not stored: {}", status.name());
                    turn = Turn::Failed;
                    break;
                }
            }
            offset += 1;
        }
        if let Some(wait) = wait
            && !self.durable(wait)
        {
            return Turn::Failed;
        }
        if offset != begin {
            self.offsets().insert(level, offset);
        }
        turn
    }

    /// When a message is to be delivered. Where that is lost, its store time tells; so where a hash
    /// of tags stands in its place, which RocketMQ writes when a crash has it dispatch again.
    fn asked(&self, queue: &Queue, unit: &Unit, level: i32) -> i64 {
        let time = queue.tags_code(unit).filter(|code| i32::try_from(*code).is_err());
        time.unwrap_or_else(|| {
            let record = self.store.record_at(unit.physical_offset);
            let view = record.as_ref().and_then(|record| RecordView::new(record.as_bytes()));
            view.map_or(0, |record| self.levels.deliver_at(level, record.store_timestamp()))
        })
    }

    /// Stores one message under its real topic. One that cannot be read is passed over, and one
    /// that does not wait here: a damaged unit must not deliver some other message.
    fn deliver(&self, level: i32, unit: Unit) -> std::result::Result<Option<WaitFor>, PutStatus> {
        let record = self.store.record_at(unit.physical_offset);
        let message = record.and_then(|record| record::decode(record.as_bytes()).ok());
        let waits_here = |m: &Message| m.topic == topic::SCHEDULE && m.queue_id == level - 1;
        let message = message.filter(waits_here);
        let Some((message, target)) = message.as_ref().and_then(|m| Some((m, target(m)?))) else {
            let at = unit.physical_offset;
            log::error!(target: "store", "delayed message at {at} cannot be delivered, passed");
            return Ok(None);
        };
        let put =
            self.store.put(&MessageRef { topic: target.0, queue_id: target.1, ..message.as_ref() });
        match put.status {
            PutStatus::PutOk => Ok(put.wait),
            // Refused whenever it is tried again, too.
            PutStatus::MessageIllegal | PutStatus::PropertiesSizeExceeded => Ok(None),
            status => Err(status),
        }
    }

    /// Waits for the disk: what is delivered must not be forgotten.
    fn durable(&self, wait: WaitFor) -> bool {
        let (said, heard) = sync_channel(1);
        let done = Box::new(move |status| {
            let _ = said.send(status);
        });
        self.store.when_durable(wait, done);
        heard.recv_timeout(DURABLE_WAIT) == Ok(PutStatus::PutOk)
    }

    /// Writes the file, if there is anything new. One thread at a time.
    pub fn persist(&self) {
        let offsets = self.offsets().clone();
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if *saved == offsets {
            return;
        }
        match persist::save(&self.path, &text(&offsets)) {
            Ok(()) => *saved = offsets,
            Err(error) => log::error!(target: "store", "delay offsets not saved: {error}"),
        }
    }
}

/// Real topic and queue of a delayed message. A half message is never delivered so.
fn target(message: &Message) -> Option<(&str, i32)> {
    let real_topic = message.property(property::REAL_TOPIC)?;
    let queue_id = message.property(property::REAL_QID)?.parse().ok()?;
    (real_topic != topic::TRANS_HALF).then_some((real_topic, queue_id))
}

fn text(offsets: &BTreeMap<i32, i64>) -> String {
    json::to_pretty(&Stored { offset_table: offsets.clone() })
}

fn parse(text: &str) -> Result<BTreeMap<i32, i64>> {
    json::from_str::<Stored>(text).map(|stored| stored.offset_table)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::sys::faults;

    #[test]
    fn levels_of_the_default_list() {
        let text = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
        let levels = DelayLevels::parse(text).unwrap();
        assert_eq!(levels.max_level(), 18);
        assert_eq!(levels.deliver_at(1, 1_795_214_752_107), 1_795_214_753_107);
        assert_eq!(levels.deliver_at(5, 0), 60_000);
        assert_eq!(levels.deliver_at(18, 0), 7_200_000);
        assert_eq!(levels.deliver_at(99, 0), 7_200_000);
        assert_eq!(levels.deliver_at(0, 0), 1_000);
        assert_eq!(DelayLevels::parse("2d").unwrap().deliver_at(1, 0), 172_800_000);
    }

    #[test]
    fn only_ordinary_and_committed_messages_wait() {
        let levels = DelayLevels::parse("1s 5s").unwrap();
        assert_eq!(level_of(0, 0, &levels), None);
        assert_eq!(level_of(1, 0, &levels), Some(1));
        assert_eq!(level_of(9, flags::TRANSACTION_COMMIT, &levels), Some(2));
        assert_eq!(level_of(1, flags::TRANSACTION_PREPARED, &levels), None);
        assert_eq!(level_of(1, 0, &DelayLevels::parse("").unwrap()), None);
    }

    #[test]
    fn a_parked_message_knows_where_it_goes() {
        let mut text = String::from("DELAY\u{1}9\u{2}TAGS\u{1}x");
        assert_eq!(park(&mut text, 2, "T", 3), (topic::SCHEDULE, 1));
        let value = |name| property::get(&text, name);
        assert_eq!((value("DELAY"), value("TAGS")), (Some("2"), Some("x")));
        assert_eq!((value("REAL_TOPIC"), value("REAL_QID")), (Some("T"), Some("3")));
    }

    #[test]
    fn the_offsets_have_java_s_form() {
        let offsets = BTreeMap::from([(1, 100), (3, 7)]);
        assert_eq!(text(&offsets), "{\n\t\"offsetTable\":{1:100,3:7\n\t}\n}");
        assert_eq!(text(&BTreeMap::new()), "{\n\t\"offsetTable\":{}\n}");
        assert_eq!(parse(&text(&offsets)).unwrap(), offsets);
        assert_eq!(parse("{\"offsetTable\":{\"2\":5}}").unwrap(), BTreeMap::from([(2, 5)]));
        assert!(parse("{\"offsetTable\":{\"x\":5}}").is_err());
    }

    #[test]
    fn an_offset_outside_of_its_queue_is_moved_to_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        let store = fixture::open(dir.path());
        let queue = store.queues.get_or_create(topic::SCHEDULE, 2).unwrap();
        let unit = Unit { physical_offset: 5000, size: 100, tags_code: 0 };
        assert!(queue.append(10, unit, None).unwrap());
        assert_eq!((queue.min_offset(), queue.max_offset()), (10, 11));
        let path = dir.path().join("delayOffset.json");
        for (said, nearest) in [(-1, 10), (0, 10), (9, 10), (10, 10), (11, 11), (12, 11)] {
            persist::save(&path, &text(&BTreeMap::from([(3, said)]))).unwrap();
            let levels = Arc::new(DelayLevels::parse("1s 5s 10s").unwrap());
            let delivery = Delivery::load(store.clone(), levels, &path).unwrap();
            assert_eq!(delivery.next_offset(3), Some(nearest), "{said}");
            let saved = persist::load(&path).unwrap().unwrap();
            assert_eq!(parse(&saved).unwrap(), BTreeMap::from([(3, nearest)]), "{said}");
        }
    }

    /// Stores one of level 2, in its queue when this returns.
    fn put_delayed(store: &Store) {
        let mut text = fixture::properties("A", "");
        let (topic, queue_id) = park(&mut text, 2, "T", 0);
        let message = MessageRef { properties: &text, ..fixture::message(topic, queue_id, b"b") };
        fixture::put(store, &message);
        fixture::settle(store);
    }

    /// A start whose dispatch the disk refuses knows the end of no queue that is made again.
    #[test]
    fn what_was_delivered_is_not_again_while_its_queue_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = fixture::start(dir.path());
        (0..3).for_each(|_| put_delayed(&store));
        store.stop();
        std::fs::remove_dir_all(dir.path().join("consumequeue")).unwrap();
        let path = dir.path().join("delayOffset.json");
        persist::save(&path, &text(&BTreeMap::from([(2, 3)]))).unwrap();
        faults::fail("Open consumequeue 28");
        let store = fixture::open(dir.path());
        assert!(!store.is_dispatched());
        let levels = Arc::new(DelayLevels::parse("1s 5s").unwrap());
        let delivery = Delivery::load(store.clone(), levels, &path).unwrap();
        delivery.round();
        assert_eq!(delivery.next_offset(2), Some(3));
        faults::fail("");
        store.reput.catch_up();
        assert!(store.is_dispatched());
        delivery.round();
        assert_eq!(delivery.progress(), [(2, 3, 3)]);
    }

    #[test]
    fn a_time_of_delivery_that_is_none_is_told_by_the_store_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = fixture::start(dir.path());
        put_delayed(&store);
        let (topic, queue_id) = (topic::SCHEDULE, 1);
        let queue = store.queue(topic, queue_id).unwrap();
        let unit = queue.unit(0).unwrap();
        let due = store.store_time_at(topic, queue_id, 0).unwrap() + 5_000;
        let levels = Arc::new(DelayLevels::parse("1s 5s").unwrap());
        let path = dir.path().join("delayOffset.json");
        let delivery = Delivery::load(store.clone(), levels, &path).unwrap();
        // The last two are the hashes of "A" and of no tags.
        for code in [unit.tags_code, 65, 0] {
            assert_eq!(delivery.asked(&queue, &Unit { tags_code: code, ..unit }, 2), due, "{code}");
        }
    }

    #[test]
    fn what_is_no_level_is_named() {
        for bad in ["1", "s", "1x", "1.5s", "9223372036854775807d"] {
            let text = DelayLevels::parse(&format!("1s {bad}")).unwrap_err().to_string();
            assert!(text.contains(bad), "{text}");
        }
        assert_eq!(DelayLevels::parse("").unwrap().deliver_at(1, 7), 1_007);
    }
}
