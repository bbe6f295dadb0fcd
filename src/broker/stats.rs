//! Counters per topic and group, sampled over the last minute, hour and day.
//!
//! A message costs two or three relaxed additions on the item of its topic and nothing shared by
//! all topics: the broker's totals are summed when somebody asks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use crate::base::limits::{READERS_AT_HAND_MAX, STATS_ITEMS_MAX};
use crate::base::{HotMap, clock};
use crate::message::topic;
use crate::protocol::body::group::SubscriptionGroupConfig;
use crate::sys::vector;

/// How often `Stats::sample` is to be called.
pub const SAMPLE_PERIOD: Duration = Duration::from_secs(10);

/// Samples in a window: ten seconds, ten minutes and an hour apart.
const MINUTE_SAMPLES: usize = 7;
const HOUR_SAMPLES: usize = 7;
const DAY_SAMPLES: usize = 25;
const SAMPLES_PER_HOUR_SAMPLE: u64 = 60;
const SAMPLES_PER_DAY_SAMPLE: u64 = 360;

#[derive(Clone, Copy, Default)]
struct Sample {
    time_ms: i64,
    nums: u64,
    size: u64,
    times: u64,
}

#[derive(Default)]
struct Windows {
    minute: VecDeque<Sample>,
    hour: VecDeque<Sample>,
    day: VecDeque<Sample>,
}

/// Messages, bytes and calls of one key.
#[derive(Default)]
pub struct Item {
    nums: AtomicU64,
    size: AtomicU64,
    times: AtomicU64,
    windows: Mutex<Windows>,
}

/// What happened within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    pub sum: u64,
    /// Per second.
    pub tps: f64,
    /// Per call.
    pub average: f64,
}

/// The three windows of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    pub minute: Window,
    pub hour: Window,
    pub day: Window,
}

/// Which number of an item.
#[derive(Clone, Copy)]
enum Number {
    Nums,
    Size,
}

/// A group as it is configured, and the counters of what it takes of a topic.
type Reader = (Arc<SubscriptionGroupConfig>, Arc<Item>);

/// The groups that were first to take messages of one topic: they need no look-up in `Stats`. One
/// that is configured anew is another one here.
#[derive(Default)]
pub struct Readers([OnceLock<Reader>; READERS_AT_HAND_MAX]);

impl Readers {
    fn get(&self, group: &Arc<SubscriptionGroupConfig>) -> Option<&Arc<Item>> {
        let known = self.0.iter().map_while(OnceLock::get);
        known.filter(|(known, _)| Arc::ptr_eq(known, group)).map(|(_, item)| item).next()
    }

    /// Unless there are as many already.
    fn keep(&self, group: &Arc<SubscriptionGroupConfig>, item: Arc<Item>) {
        let mut reader = (group.clone(), item);
        for place in &self.0 {
            match place.set(reader) {
                Ok(()) => return,
                Err(not_kept) => reader = not_kept,
            }
        }
    }

    /// Has the processor load the counters of all groups at hand.
    pub fn prefetch_all(&self) {
        let known = self.0.iter().map_while(OnceLock::get);
        known.for_each(|(_, item)| vector::prefetch_all(Arc::as_ptr(item)));
    }

    /// Has the processor load the counters of a group.
    pub fn prefetch(&self, group: &Arc<SubscriptionGroupConfig>) {
        self.get(group).map(Arc::as_ptr).into_iter().for_each(vector::prefetch_all);
    }
}

type Items = HotMap<Box<str>, Arc<Item>>;

/// The counters of topics by group.
#[derive(Default)]
struct Nested {
    topics: HotMap<Box<str>, Items>,
    /// Of all of them.
    count: usize,
}

impl Nested {
    fn get(&self, topic: &str, group: &str) -> Option<&Arc<Item>> {
        self.topics.get(topic)?.get(group)
    }

    fn items(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.topics.values().flat_map(HotMap::values)
    }
}

/// The counters of this broker.
#[derive(Default)]
pub struct Stats {
    topic_puts: RwLock<Items>,
    group_gets: RwLock<Nested>,
    send_backs: RwLock<Nested>,
    samples: AtomicU64,
    days: Mutex<Days>,
}

/// Totals at the local midnights: messages put and got.
#[derive(Clone, Copy, Default)]
pub struct Days {
    today: i64,
    pub yesterday_morning: (u64, u64),
    pub today_morning: (u64, u64),
}

impl Item {
    fn add(&self, nums: u64, size: u64) {
        self.nums.fetch_add(nums, Ordering::Relaxed);
        self.size.fetch_add(size, Ordering::Relaxed);
        self.times.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self, time_ms: i64) -> Sample {
        Sample {
            time_ms,
            nums: self.nums.load(Ordering::Relaxed),
            size: self.size.load(Ordering::Relaxed),
            times: self.times.load(Ordering::Relaxed),
        }
    }

    fn sample(&self, now_ms: i64, round: u64) {
        let now = self.now(now_ms);
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let period = SAMPLE_PERIOD.as_millis() as i64;
        push(&mut windows.minute, now, MINUTE_SAMPLES, period);
        if round.is_multiple_of(SAMPLES_PER_HOUR_SAMPLE) {
            let period = period * SAMPLES_PER_HOUR_SAMPLE as i64;
            push(&mut windows.hour, now, HOUR_SAMPLES, period);
        }
        if round.is_multiple_of(SAMPLES_PER_DAY_SAMPLE) {
            let period = period * SAMPLES_PER_DAY_SAMPLE as i64;
            push(&mut windows.day, now, DAY_SAMPLES, period);
        }
    }

    fn view(&self, number: Number) -> View {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        View {
            minute: window(&windows.minute, number),
            hour: window(&windows.hour, number),
            day: window(&windows.day, number),
        }
    }
}

/// The first sample comes after a zero one period earlier, so that what was counted before counts.
fn push(samples: &mut VecDeque<Sample>, now: Sample, max: usize, period_ms: i64) {
    if samples.is_empty() {
        samples.push_back(Sample { time_ms: now.time_ms - period_ms, ..Sample::default() });
    }
    if samples.len() == max {
        samples.pop_front();
    }
    samples.push_back(now);
}

fn window(samples: &VecDeque<Sample>, number: Number) -> Window {
    let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
        return Window::default();
    };
    let sum = match number {
        Number::Nums => last.nums - first.nums,
        Number::Size => last.size - first.size,
    };
    let (millis, times) = (last.time_ms - first.time_ms, last.times - first.times);
    let tps = if millis > 0 { sum as f64 * 1000.0 / millis as f64 } else { 0.0 };
    let average = if times > 0 { sum as f64 / times as f64 } else { 0.0 };
    Window { sum, tps, average }
}

/// All light queues, and all groups that read them, are counted as one.
fn counted(name: &str) -> &str {
    if topic::is_lmq(name) { topic::LMQ_PREFIX } else { name }
}

impl Stats {
    /// A stored send: TOPIC_PUT_NUMS, TOPIC_PUT_SIZE, BROKER_PUT_NUMS.
    pub fn put(&self, topic: &str, messages: u64, bytes: u64) {
        self.put_to(&OnceLock::new(), topic, messages, bytes);
    }

    /// The same, with the counters at hand from the second time on.
    pub fn put_to(&self, item: &OnceLock<Arc<Item>>, topic: &str, messages: u64, bytes: u64) {
        if let Some(item) = item.get() {
            item.add(messages, bytes);
        } else if let Some(found) = find_or_create(&self.topic_puts, counted(topic)) {
            found.add(messages, bytes);
            let _ = item.set(found);
        }
    }

    /// A pull that found something: GROUP_GET_NUMS, GROUP_GET_SIZE, BROKER_GET_NUMS.
    pub fn got(&self, topic: &str, group: &str, messages: u64, bytes: u64) {
        let (topic, group) = (counted(topic), counted(group));
        if let Some(item) = find_or_create_nested(&self.group_gets, topic, group) {
            item.add(messages, bytes);
        }
    }

    /// The same, with the counters at hand from the second time on.
    pub fn got_by(
        &self,
        readers: &Readers,
        topic: &str,
        group: &Arc<SubscriptionGroupConfig>,
        messages: u64,
        bytes: u64,
    ) {
        if let Some(item) = readers.get(group) {
            return item.add(messages, bytes);
        }
        let (topic, name) = (counted(topic), counted(&group.group_name));
        if let Some(item) = find_or_create_nested(&self.group_gets, topic, name) {
            item.add(messages, bytes);
            readers.keep(group, item);
        }
    }

    /// A message sent back and stored: SNDBCK_PUT_NUMS.
    pub fn sent_back(&self, topic: &str, group: &str) {
        let (topic, group) = (counted(topic), counted(group));
        if let Some(item) = find_or_create_nested(&self.send_backs, topic, group) {
            item.add(1, 0);
        }
    }

    /// To be called every `SAMPLE_PERIOD`.
    pub fn sample(&self, now_ms: i64) {
        let round = self.samples.fetch_add(1, Ordering::Relaxed);
        let puts = self.topic_puts.read().unwrap_or_else(PoisonError::into_inner);
        puts.values().for_each(|item| item.sample(now_ms, round));
        for nested in [&self.group_gets, &self.send_backs] {
            let nested = nested.read().unwrap_or_else(PoisonError::into_inner);
            nested.items().for_each(|item| item.sample(now_ms, round));
        }
        drop(puts);
        self.roll_day(local_day(now_ms));
    }

    fn roll_day(&self, today: i64) {
        let totals = (self.total_put(), self.total_got());
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        if days.today != today {
            let first = days.today == 0;
            days.today = today;
            if !first {
                days.yesterday_morning = days.today_morning;
                days.today_morning = totals;
            }
        }
    }

    /// The totals at the last two midnights.
    pub fn days(&self) -> Days {
        *self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages stored by sends since the start.
    pub fn total_put(&self) -> u64 {
        let puts = self.topic_puts.read().unwrap_or_else(PoisonError::into_inner);
        puts.values().map(|item| item.nums.load(Ordering::Relaxed)).sum()
    }

    /// Messages handed to consumers since the start.
    pub fn total_got(&self) -> u64 {
        let gets = self.group_gets.read().unwrap_or_else(PoisonError::into_inner);
        gets.items().map(|item| item.nums.load(Ordering::Relaxed)).sum()
    }

    /// Messages a second that a group took of a topic in the last minute.
    pub fn consume_tps(&self, topic: &str, group: &str) -> f64 {
        let gets = self.group_gets.read().unwrap_or_else(PoisonError::into_inner);
        gets.get(topic, group).map_or(0.0, |item| item.view(Number::Nums).minute.tps)
    }

    /// A statistic by RocketMQ's name and key (`topic`, `topic@group`); `None` when unknown.
    pub fn view(&self, name: &str, key: &str) -> Option<View> {
        let topic_puts = |number| {
            let puts = self.topic_puts.read().unwrap_or_else(PoisonError::into_inner);
            puts.get(key).map(|item| item.view(number))
        };
        let nested = |table: &RwLock<Nested>, number| {
            let (topic, group) = key.rsplit_once('@')?;
            let table = table.read().unwrap_or_else(PoisonError::into_inner);
            table.get(topic, group).map(|item| item.view(number))
        };
        match name {
            "TOPIC_PUT_NUMS" => topic_puts(Number::Nums),
            "TOPIC_PUT_SIZE" => topic_puts(Number::Size),
            "GROUP_GET_NUMS" => nested(&self.group_gets, Number::Nums),
            "GROUP_GET_SIZE" => nested(&self.group_gets, Number::Size),
            "SNDBCK_PUT_NUMS" => nested(&self.send_backs, Number::Nums),
            _ => None,
        }
    }
}

fn find_or_create(items: &RwLock<Items>, key: &str) -> Option<Arc<Item>> {
    if let Some(item) = items.read().unwrap_or_else(PoisonError::into_inner).get(key) {
        return Some(item.clone());
    }
    let mut items = items.write().unwrap_or_else(PoisonError::into_inner);
    if items.len() >= STATS_ITEMS_MAX && !items.contains_key(key) {
        return None;
    }
    Some(items.entry(key.into()).or_default().clone())
}

fn find_or_create_nested(nested: &RwLock<Nested>, topic: &str, group: &str) -> Option<Arc<Item>> {
    let table = nested.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(item) = table.get(topic, group) {
        return Some(item.clone());
    }
    drop(table);
    let table = &mut *nested.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(item) = table.get(topic, group) {
        return Some(item.clone());
    }
    // Counted here: to count them each time would take longer with each topic.
    if table.count >= STATS_ITEMS_MAX {
        return None;
    }
    table.count += 1;
    let item = Arc::<Item>::default();
    table.topics.entry(topic.into()).or_default().insert(group.into(), item.clone());
    Some(item)
}

/// A number that differs between local days.
fn local_day(now_ms: i64) -> i64 {
    let time = clock::local_time(now_ms);
    i64::from(time.year) * 10_000 + i64::from(time.month) * 100 + i64::from(time.day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_what_was_counted_in_them() {
        let stats = Stats::default();
        stats.put("T", 3, 300);
        stats.put("T", 1, 100);
        stats.sample(1_000_000);
        let view = stats.view("TOPIC_PUT_NUMS", "T").unwrap();
        assert_eq!(view.minute, Window { sum: 4, tps: 0.4, average: 2.0 });
        assert_eq!(view.day.sum, 4);
        for round in 1..=6 {
            stats.sample(1_000_000 + round * 10_000);
        }
        let view = stats.view("TOPIC_PUT_SIZE", "T").unwrap();
        assert_eq!((view.minute.sum, view.hour.sum), (0, 400));
        assert_eq!(stats.view("TOPIC_PUT_SIZE", "U"), None);
        assert_eq!(stats.view("NO_SUCH_NAME", "T"), None);
        assert_eq!(stats.total_put(), 4);
    }

    #[test]
    fn gets_and_send_backs_are_kept_by_topic_and_group() {
        let stats = Stats::default();
        stats.got("T", "g", 32, 3200);
        stats.got("T", "h", 1, 100);
        stats.sent_back("T", "g");
        stats.sample(1_000_000);
        assert!((stats.consume_tps("T", "g") - 3.2).abs() < 1e-9);
        assert_eq!(stats.view("GROUP_GET_SIZE", "T@h").unwrap().minute.sum, 100);
        assert_eq!(stats.view("SNDBCK_PUT_NUMS", "T@g").unwrap().minute.sum, 1);
        assert_eq!(stats.total_got(), 33);
    }

    #[test]
    fn groups_at_hand_are_counted_with_all_others() {
        let (stats, readers) = (Stats::default(), Readers::default());
        let group = |name: String| Arc::new(SubscriptionGroupConfig::new(&name));
        let groups: Vec<_> = (0..READERS_AT_HAND_MAX + 2).map(|n| group(format!("g{n}"))).collect();
        for _ in 0..3 {
            groups.iter().for_each(|group| stats.got_by(&readers, "T", group, 2, 200));
        }
        let at_hand = groups.iter().filter(|group| readers.get(group).is_some());
        assert_eq!(at_hand.count(), READERS_AT_HAND_MAX);
        // Configured anew, and one that is not at hand.
        stats.got_by(&readers, "T", &group("g0".to_owned()), 1, 100);
        stats.got("T", "g1", 1, 100);
        stats.sample(1_000_000);
        let sum = |key: &str| stats.view("GROUP_GET_NUMS", key).unwrap().minute.sum;
        assert_eq!((sum("T@g0"), sum("T@g1"), sum("T@g2"), sum("T@g5")), (7, 7, 6, 6));
        assert_eq!(stats.group_gets.read().unwrap().count, groups.len());
    }

    #[test]
    fn mornings_move_on_at_midnight() {
        let stats = Stats::default();
        stats.roll_day(1);
        stats.put("T", 5, 0);
        stats.roll_day(1);
        assert_eq!(stats.days().today_morning, (0, 0));
        stats.roll_day(2);
        assert_eq!(stats.days().today_morning, (5, 0));
        stats.put("T", 1, 0);
        stats.roll_day(3);
        assert_eq!(stats.days().yesterday_morning, (5, 0));
        assert_eq!(stats.days().today_morning, (6, 0));
    }
}
