//! A store under random work, on one thread, so that a seed says all that happens; and what it was
//! told is done at which moment of the recording.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disk::Numbers;
use crate::base::{clock, persist};
use crate::config::{BrokerConfig, FlushDiskType, Live};
use crate::message::{MessageRef, batch, flags, property, topic};
use crate::store::delay::DelayLevels;
use crate::store::fixture::{listener, message};
use crate::store::segments::sync_dir_of;
use crate::store::{Put, PutStatus, Store};
use crate::sys::faults;

/// How long a run goes on.
const STEPS: usize = 50;
const QUEUES: usize = 3;
const LOG_FILE: i32 = 16 * 1024;
/// More than one page.
const QUEUE_FILE: i32 = 20 * 300;
pub const LEVELS: &str = "1s 5s";

/// A message as it was put.
#[derive(Clone)]
pub struct Sent {
    pub topic: String,
    pub queue_id: i32,
    /// −1 of a message that goes into no queue.
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub end: i64,
    pub body: Vec<u8>,
    pub properties: String,
    /// What its unit has.
    pub tags_code: i64,
    /// Its topic was deleted: from before that until after it.
    pub deleted: Option<Range<usize>>,
}

impl Sent {
    /// Whether its topic was deleted by that moment; `None`: the cut came amid that.
    pub fn is_deleted(&self, moment: usize) -> Option<bool> {
        match &self.deleted {
            Some(during) if during.contains(&moment) => None,
            Some(during) => Some(during.end <= moment),
            None => Some(false),
        }
    }
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sent { topic, queue_id, queue_offset, physical_offset, end, properties, .. } = self;
        write!(f, "{topic}@{queue_id}:{queue_offset} at {physical_offset}..{end} {properties:?}")
    }
}

/// Something that was so from a moment of the recording on.
pub type Since<T> = (usize, T);

/// What the store was told and what it has answered.
#[derive(Clone, Default)]
pub struct Told {
    /// All that may be in the log, in its order.
    pub sent: Vec<Sent>,
    /// The log was said to be on disk up to here.
    pub durable: Vec<Since<i64>>,
    /// The log may be cleaned up to here.
    pub cleaned: Vec<Since<i64>>,
    /// Topics of which a cut has left what it liked.
    pub unsure: BTreeSet<String>,
    /// Contents of the JSON file, from before it was saved, and from after that.
    pub saving: Vec<Since<i64>>,
    pub saved: Vec<Since<i64>>,
}

impl Told {
    /// The newest that was so at a moment.
    pub fn at(list: &[Since<i64>], moment: usize) -> i64 {
        let until = list.iter().take_while(|(since, _)| *since <= moment);
        until.map(|(_, value)| *value).last().unwrap_or(0)
    }

    /// Also those that the cut of that moment has left so.
    pub fn unsure_at(&self, moment: usize) -> BTreeSet<String> {
        let amid = self.sent.iter().filter(|sent| sent.is_deleted(moment).is_none());
        amid.map(|sent| sent.topic.clone()).chain(self.unsure.iter().cloned()).collect()
    }
}

pub fn config(root: &Path, sync: bool, index_safe: bool) -> BrokerConfig {
    let mut config = BrokerConfig::for_test(root);
    let store = &mut config.store;
    store.mapped_file_size_commit_log = LOG_FILE;
    store.mapped_file_size_consume_queue = QUEUE_FILE;
    store.max_hash_slot_num = 20;
    store.max_index_num = 40;
    store.message_delay_level = LEVELS.to_owned();
    store.message_index_safe = index_safe;
    if sync {
        store.flush_disk_type = FlushDiskType::SyncFlush;
    }
    config
}

pub fn open(config: BrokerConfig) -> crate::base::Result<Arc<Store>> {
    let lock = Store::claim(&config.store.root())?;
    Store::open(Arc::new(Live::new(config)), lock, listener(|_| ()))
}

/// A file that the broker keeps beside the store.
pub fn json(root: &Path) -> std::path::PathBuf {
    root.join("config/consumerOffset.json")
}

pub fn load_json(root: &Path) -> i64 {
    let number =
        |text: &str| text.trim().parse().map_err(|_| crate::base::Error::Corrupt(text.to_owned()));
    persist::load_with_bak(&json(root), number).unwrap().unwrap_or(0)
}

/// One run of a store.
pub struct Run<'a> {
    root: &'a Path,
    config: BrokerConfig,
    store: Arc<Store>,
    numbers: &'a mut Numbers,
    pub told: Told,
    now: i64,
    /// Topics by number; of those that are deleted every other one is made again.
    topics: [usize; 2],
    next_topic: usize,
    count: usize,
}

impl<'a> Run<'a> {
    /// Opens the store at `root`, which holds what `told` says.
    pub fn open(
        root: &'a Path,
        config: BrokerConfig,
        numbers: &'a mut Numbers,
        told: Told,
        now: i64,
    ) -> Run<'a> {
        clock::set_present(now);
        let store = open(config.clone()).unwrap();
        store.set_abort().unwrap();
        let names = told.sent.iter().map(|sent| &sent.topic).chain(&told.unsure);
        let known = names.filter_map(|name| name.strip_prefix('T')?.parse().ok());
        let next_topic = known.max().map_or(0, |topic: usize| topic + 1).max(2);
        let mut run = Run {
            root,
            config,
            store,
            numbers,
            count: told.sent.len() * 7,
            told,
            now,
            topics: [next_topic - 2, next_topic - 1],
            next_topic,
        };
        for which in 0..run.topics.len() {
            if run.told.unsure.contains(&format!("T{}", run.topics[which])) {
                run.use_next(which);
            }
        }
        // What the store starts with counts as being on disk.
        run.durable();
        run
    }

    /// Works, and stops in order at times. Returns the time at the end.
    pub fn work(&mut self) -> i64 {
        for _ in 0..STEPS {
            self.now += self.numbers.below(1500) as i64;
            clock::set_present(self.now);
            match self.numbers.below(100) {
                0..45 => self.put(),
                45..52 => self.put_batch(),
                52..66 => self.store.reput.catch_up(),
                66..77 => self.flush(),
                77..84 => {
                    let pages = self.numbers.below(2) as i32;
                    self.store.flush_queues().round(pages).unwrap();
                }
                84..90 => self.save(),
                90..95 => self.clean(),
                95..98 => self.delete(),
                _ => self.restart(),
            }
        }
        self.now
    }

    fn put(&mut self) {
        self.count += 1;
        let mut text = format!("KEYS\u{1}k{}\u{2}TAGS\u{1}t{}\u{2}", self.count, self.count % 5);
        let mut topic = self.topic();
        let mut queue_id = self.numbers.below(QUEUES) as i32;
        let mut sys_flag = 0;
        let mut level = 0;
        match self.numbers.below(12) {
            0 => sys_flag = flags::TRANSACTION_PREPARED,
            1 => {
                level = 1 + self.numbers.below(2) as i32;
                let (schedule, queue) =
                    crate::store::delay::park(&mut text, level, &topic, queue_id);
                topic = schedule.to_owned();
                queue_id = queue;
            }
            _ => {}
        }
        let body = self.body(2500);
        let message =
            MessageRef { sys_flag, properties: &text, ..message(&topic, queue_id, &body) };
        self.store.allocate.make_next();
        let put = self.store.put(&message);
        assert_eq!(put.status, PutStatus::PutOk);
        let mut sent = sent(&put, &message, put.physical_offset, put.queue_offset);
        sent.end = put.physical_offset + i64::from(put.size);
        if level > 0 {
            let levels = DelayLevels::parse(LEVELS).unwrap();
            sent.tags_code = levels.deliver_at(level, put.store_timestamp);
        }
        self.told.sent.push(sent);
        self.wait(put);
    }

    fn put_batch(&mut self) {
        let (topic, queue_id) = (self.topic(), self.numbers.below(QUEUES) as i32);
        let mut encoded = Vec::new();
        let parts: Vec<(Vec<u8>, String)> = (0..1 + self.numbers.below(5))
            .map(|_| {
                self.count += 1;
                (self.body(900), format!("KEYS\u{1}k{}", self.count))
            })
            .collect();
        for (body, text) in &parts {
            batch::push(&mut encoded, 0, body, text).unwrap();
        }
        self.store.allocate.make_next();
        let put = self.store.put_batch(&message(&topic, queue_id, &encoded));
        assert_eq!(put.status, PutStatus::PutOk);
        let ends = put.batch_offsets[1..].iter().copied();
        let ends: Vec<i64> = ends.chain([put.physical_offset + i64::from(put.size)]).collect();
        for (index, (body, text)) in parts.iter().enumerate() {
            let message = MessageRef { properties: text, ..message(&topic, queue_id, body) };
            let queue_offset = put.queue_offset + index as i64;
            let sent = sent(&put, &message, put.batch_offsets[index], queue_offset);
            self.told.sent.push(Sent { end: ends[index], ..sent });
        }
        self.wait(put);
    }

    /// Under SYNC_FLUSH mostly flushes at once; the answer must not come before that.
    fn wait(&mut self, put: Put) {
        let Some(wait) = put.wait else { return };
        let done = Arc::new(AtomicBool::new(false));
        let said = done.clone();
        self.store.when_durable(
            wait,
            Box::new(move |status| said.store(status == PutStatus::PutOk, Ordering::Relaxed)),
        );
        if self.numbers.one_in(4) {
            assert!(!done.load(Ordering::Relaxed), "answered before the flush");
            return;
        }
        self.store.durable.take_group();
        self.store.flush().round(0);
        assert!(done.load(Ordering::Relaxed), "not answered after the flush");
        self.durable();
    }

    fn flush(&mut self) {
        let pages = self.numbers.below(2) as i32;
        self.store.durable.take_group();
        self.store.flush().round(pages);
        self.durable();
    }

    fn durable(&mut self) {
        self.told.durable.push((faults::recorded(), self.store.flushed_offset()));
    }

    fn save(&mut self) {
        let next = self.told.saving.last().map_or(0, |(_, value)| *value) + 1;
        self.told.saving.push((faults::recorded(), next));
        persist::save(&json(self.root), &next.to_string()).unwrap();
        self.told.saved.push((faults::recorded(), next));
    }

    /// Deletes the oldest log file that is dispatched, and what points into it.
    fn clean(&mut self) {
        let segments = self.store.log.segments();
        let Some(first) = segments.first() else { return };
        let done = self.store.reput.position().min(self.store.flushed_offset());
        if segments.len() < 2 || first.end() > done {
            return;
        }
        self.told.cleaned.push((faults::recorded(), first.end()));
        segments.drop_oldest(1).unwrap();
        sync_dir_of(&first).unwrap();
        let min = segments.min_offset().unwrap();
        for queue in self.store.queues.all() {
            while queue.delete_oldest(min).unwrap() {}
            queue.correct_min_offset(min);
        }
        self.store.index.delete_expired(min).unwrap();
    }

    fn delete(&mut self) {
        let which = self.numbers.below(self.topics.len());
        let name = format!("T{}", self.topics[which]);
        let before = faults::recorded();
        self.store.delete_topic_queues(&name).unwrap();
        let during = before..faults::recorded();
        let all = self.told.sent.iter_mut().filter(|sent| sent.topic == name);
        for sent in all.filter(|sent| sent.deleted.is_none()) {
            sent.deleted = Some(during.clone());
        }
        if self.numbers.one_in(2) {
            self.use_next(which);
        }
    }

    fn use_next(&mut self, which: usize) {
        self.topics[which] = self.next_topic;
        self.next_topic += 1;
    }

    /// A stop in order and a start.
    fn restart(&mut self) {
        self.store.reput.catch_up();
        self.store.durable.take_group();
        self.store.flush().round(0);
        self.store.stop();
        assert!(!crate::store::layout::abort_file(self.root).exists(), "not stopped in order");
        self.durable();
        self.store = open(self.config.clone()).unwrap();
        self.store.set_abort().unwrap();
        let end = self.told.sent.last().map_or(0, |sent| sent.end);
        assert!(self.store.max_physical_offset() >= end, "lost by a stop in order");
    }

    fn topic(&mut self) -> String {
        format!("T{}", self.topics[self.numbers.below(self.topics.len())])
    }

    fn body(&mut self, most: usize) -> Vec<u8> {
        let text = format!("message {} of this run ", self.count);
        let len = self.numbers.below(most);
        text.bytes().chain(text.bytes().cycle().map(|byte| byte ^ 0x55).take(len)).collect()
    }
}

fn sent(put: &Put, message: &MessageRef<'_>, physical_offset: i64, queue_offset: i64) -> Sent {
    let queued = message.sys_flag & flags::TRANSACTION_MASK == 0;
    Sent {
        topic: message.topic.to_owned(),
        queue_id: message.queue_id,
        queue_offset: if queued { queue_offset } else { -1 },
        physical_offset,
        end: put.physical_offset,
        body: message.body.to_vec(),
        properties: message.properties.to_owned(),
        tags_code: topic::tags_code(property::get(message.properties, property::TAGS)),
        deleted: None,
    }
}
