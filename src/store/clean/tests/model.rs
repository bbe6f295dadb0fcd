//! Cleaning against a model: random messages, ages, fullness of the disk, commits, hours, requests
//! of an operator, readers and restarts, all from a seed.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::store::status::GetStatus;

const SEEDS: u64 = 5;
const STEPS: usize = 50;
const QUEUES: i32 = 3;
const EVERY_HOUR: &str = "0;1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;20;21;22;23";

/// A message that was stored.
struct Stored {
    physical: i64,
    bytes: i64,
    queue: i32,
    offset: i64,
}

struct Model {
    seed: u64,
    store: Arc<Store>,
    clean: Clean,
    rounds: Rounds,
    config: StoreConfig,
    others: Arc<AtomicU64>,
    consumed: Arc<std::sync::Mutex<HashMap<i32, i64>>>,
    messages: Vec<Stored>,
    /// Starts of the files that were made old.
    aged: HashSet<i64>,
    asked: u32,
    lost: i64,
    held: Option<(crate::store::GetResult, Vec<u8>)>,
}

impl Model {
    fn new(dir: &Path, seed: u64) -> Model {
        let store = open_small(dir);
        store.start().unwrap();
        let others = Arc::<AtomicU64>::default();
        let clean = cleaner(&store, others.clone());
        let config = clean.config.get().store.clone();
        let mut model = Model {
            seed,
            store,
            clean,
            rounds: Rounds::default(),
            config,
            others,
            consumed: Arc::default(),
            messages: Vec::new(),
            aged: HashSet::new(),
            asked: 0,
            lost: 0,
            held: None,
        };
        model.tell();
        model
    }

    fn tell(&mut self) {
        let consumed = self.consumed.clone();
        let told = move |_: &str, queue: i32| consumed.lock().unwrap().get(&queue).copied();
        self.store.set_consumed(Box::new(told));
    }

    fn below(&mut self, end: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 16) % end
    }

    fn step(&mut self) {
        match self.below(8) {
            0..=2 => self.put(),
            3 => self.age(),
            4 => {
                let others = [10, 60, 72, 80, 84, 90][self.below(6) as usize];
                self.others.store(others, Relaxed);
                self.config.delete_unconsumed_messages = self.below(2) == 0;
                self.config.delete_file_batch_max = 1 + self.below(4) as i32;
                let hours = if self.below(3) == 0 { EVERY_HOUR } else { "" };
                self.config.delete_when = hours.to_owned();
            }
            5 => self.commit(),
            6 => self.hold(),
            _ if self.below(3) == 0 => {
                self.store.delete_expired_files();
                self.asked = ASKED_ROUNDS;
            }
            _ => self.round(),
        }
    }

    fn put(&mut self) {
        for _ in 0..1 + self.below(20) {
            let (queue, len) = (self.below(QUEUES as u64) as i32, self.below(12_000) as usize);
            let properties = &properties("", &format!("k{}", self.messages.len()));
            let body = &vec![1; len][..];
            let message = crate::message::MessageRef { properties, ..message("T", queue, body) };
            let put = put(&self.store, &message);
            let physical = put.physical_offset;
            let bytes = self.store.record_at(physical).unwrap().len() as i64;
            let offset = self.messages.iter().filter(|m| m.queue == queue).count() as i64;
            assert_eq!(put.queue_offset, offset);
            self.messages.push(Stored { physical, bytes, queue, offset });
        }
        settle(&self.store);
    }

    fn age(&mut self) {
        let count = self.below(3) as usize;
        age(&self.clean, count, 72);
        self.aged.extend(self.clean.segments.files().iter().take(count).map(|file| file.start()));
    }

    fn commit(&mut self) {
        let queue = self.below(QUEUES as u64) as i32;
        let max = self.store.max_offset_in_queue("T", queue) as u64;
        let offset = self.below(max + 1) as i64;
        self.consumed.lock().unwrap().insert(queue, offset);
    }

    /// A pull whose answer is under way until the next one.
    fn hold(&mut self) {
        let queue = self.below(QUEUES as u64) as i32;
        let from = self.store.min_offset_in_queue("T", queue);
        let result = self.store.get("T", queue, from, 32, &all);
        let text = bytes(&result);
        self.held = Some((result, text));
    }

    fn need(&self, files: usize) -> Need {
        match self.others.load(Relaxed) + FILE_UNITS * files as u64 {
            used if used > 85 => Need::Any,
            used if used > 75 => Need::Expired,
            _ => Need::None,
        }
    }

    /// Starts of the files that a round has to leave, and the unconsumed bytes that go.
    fn expected(&mut self) -> (Vec<i64>, i64) {
        let files = self.clean.segments.files();
        let mut left: Vec<i64> = files.iter().map(|file| file.start()).collect();
        let (mut need, mut lost) = (self.need(left.len()), 0);
        let asked = self.asked > 0;
        self.asked = self.asked.saturating_sub(1);
        if need == Need::None && !asked && self.config.delete_when.is_empty() {
            return (left, 0);
        }
        for _ in 0..self.config.delete_file_batch_max {
            let forced = need == Need::Any;
            if left.len() < 2 || !(forced || self.aged.contains(&left[0])) {
                break;
            }
            let consumed = self.consumed.lock().unwrap();
            let of_file = self.messages.iter().filter(|m| (left[0]..left[1]).contains(&m.physical));
            let unread = of_file.filter(|m| consumed.get(&m.queue).is_some_and(|c| m.offset >= *c));
            let unread: i64 = unread.map(|message| message.bytes).sum();
            if unread > 0 && !self.config.delete_unconsumed_messages {
                break;
            }
            lost += unread;
            left.remove(0);
            if forced {
                need = self.need(left.len());
            }
        }
        (left, lost)
    }

    fn round(&mut self) {
        let (left, lost) = self.expected();
        self.lost += lost;
        self.clean.disk.look();
        self.clean.round(&self.config, &mut self.rounds).unwrap();
        let files = self.clean.segments.files();
        assert_eq!(files.iter().map(|file| file.start()).collect::<Vec<_>>(), left);
        assert_eq!(self.store.stats.unconsumed_deleted_bytes.load(Relaxed), self.lost);
        if let Some((held, text)) = &self.held {
            assert_eq!(bytes(held), *text);
        }
        if self.below(4) == 0 {
            self.held = None;
            self.restart();
        }
        self.check(left.first().copied().unwrap_or(0));
    }

    fn restart(&mut self) {
        self.store.stop();
        let root = self.store.root.clone();
        self.rounds = Rounds::default();
        // The old one keeps the log mapped, but not the lock.
        self.store = open_small(&root);
        self.store.start().unwrap();
        self.clean = cleaner(&self.store, self.others.clone());
        self.asked = 0;
        self.lost = 0;
        self.tell();
    }

    /// The queues begin at the first message left, and nothing older is found in any way.
    fn check(&self, min: i64) {
        for queue in 0..QUEUES {
            let of_queue: Vec<_> = self.messages.iter().filter(|m| m.queue == queue).collect();
            let max = of_queue.len() as i64;
            let there = of_queue.iter().find(|message| message.physical >= min);
            let first = there.map_or(max, |message| message.offset);
            assert_eq!(self.store.max_offset_in_queue("T", queue), max);
            assert_eq!(self.store.min_offset_in_queue("T", queue), first, "of {queue}");
            if first > 0 {
                let below = self.store.get("T", queue, first - 1, 32, &all);
                let told = (below.status, below.next_begin_offset);
                assert_eq!(told, (GetStatus::OffsetTooSmall, first));
            }
            let result = self.store.get("T", queue, first, 32, &all);
            if there.is_some() {
                assert_eq!(result.status, GetStatus::Found);
                assert_eq!(offsets(&result)[0], first);
            } else if max > 0 {
                assert_eq!(result.status, GetStatus::OffsetOverflowOne);
            }
        }
        for number in [0, self.messages.len() / 2, self.messages.len().saturating_sub(1)] {
            let Some(message) = self.messages.get(number) else { continue };
            let found = self.store.query("T", &format!("k{number}"), 32, 0, i64::MAX).slices;
            assert_eq!(found.len(), usize::from(message.physical >= min), "k{number}");
            assert_eq!(self.store.record_at(message.physical).is_some(), message.physical >= min);
        }
    }
}

#[test]
fn what_remains_is_what_the_model_says() {
    for seed in 1..=SEEDS {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::new(dir.path(), seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for _ in 0..STEPS {
            model.step();
        }
        model.round();
        model.store.stop();
        println!("seed {seed}: {} files left", model.clean.segments.len());
    }
}
