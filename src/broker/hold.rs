//! Long polling: pulls that found nothing wait here by topic and queue.
//!
//! An arrival wakes the pulls of its queue whose filter lets it pass; a deadline ends a wait; a
//! closed connection drops its waits. Nothing polls: the thread of `wait_due` sleeps until the
//! earliest deadline. `P` is what is kept of a pull, to be run again.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::filters::Filter;
use crate::base::limits::{HELD_PULLS_BYTES_MAX, HELD_PULLS_MAX, HELD_PULLS_PER_TOPIC_MAX};

/// Deadlines are met this late, so that waits that end at about the same time end together.
const LATE: Duration = Duration::from_millis(10);

/// A pull that waits.
pub struct Waiting<P> {
    pub topic: Arc<str>,
    pub queue_id: i32,
    /// The first offset it has not seen.
    pub offset: i64,
    /// `None`: every message.
    pub filter: Option<Filter>,
    /// Memory of what of that is its own, about.
    pub filter_bytes: usize,
    /// `Conn::id` of the connection it came from.
    pub conn: u64,
    pub deadline: Instant,
    pub pull: P,
}

#[derive(Default)]
struct OfTopic {
    queues: HashMap<i32, BTreeSet<u64>>,
    count: usize,
}

struct Table<P> {
    next_id: u64,
    waiting: HashMap<u64, Waiting<P>>,
    /// `filter_bytes` of all of them.
    filter_bytes: usize,
    topics: HashMap<Arc<str>, OfTopic>,
    deadlines: BTreeSet<(Instant, u64)>,
    conns: HashMap<u64, BTreeSet<u64>>,
    /// Taken out by `arrived`, for `woken`.
    woken: Vec<P>,
    /// When the thread of `wait_due` looks again by itself.
    looks_at: Option<Instant>,
    stopping: bool,
}

/// All waiting pulls.
pub struct Hold<P> {
    /// Number of `Table::waiting`, read without the lock: most arrivals find nobody waiting.
    count: Arc<AtomicUsize>,
    /// `Table::woken` is not empty.
    any_woken: AtomicBool,
    table: Mutex<Table<P>>,
    earlier: Condvar,
}

impl<P> Default for Hold<P> {
    fn default() -> Hold<P> {
        let table = Table {
            next_id: 0,
            waiting: HashMap::new(),
            filter_bytes: 0,
            topics: HashMap::new(),
            deadlines: BTreeSet::new(),
            conns: HashMap::new(),
            woken: Vec::new(),
            looks_at: None,
            stopping: false,
        };
        Hold {
            count: Arc::default(),
            any_woken: AtomicBool::new(false),
            table: Mutex::new(table),
            earlier: Condvar::new(),
        }
    }
}

impl<P> Hold<P> {
    /// Parks a pull and returns its ticket for `take`; gives it back when too many wait.
    pub fn park(&self, waiting: Waiting<P>) -> Result<u64, Waiting<P>> {
        let mut table = self.lock();
        let of_topic = table.topics.get(&waiting.topic).map_or(0, |of_topic| of_topic.count);
        let full = of_topic >= HELD_PULLS_PER_TOPIC_MAX
            || table.waiting.len() >= HELD_PULLS_MAX
            || table.filter_bytes + waiting.filter_bytes > HELD_PULLS_BYTES_MAX;
        if full || table.stopping {
            return Err(waiting);
        }
        let looks_at = waiting.deadline + LATE;
        let id = table.insert(waiting);
        // Before the caller looks at the queue once more: an arrival after that look sees it.
        self.count.store(table.waiting.len(), Ordering::SeqCst);
        if table.looks_at.is_none_or(|at| looks_at < at) {
            self.earlier.notify_one();
        }
        Ok(id)
    }

    /// Takes a pull back, when nothing woke it meanwhile.
    pub fn take(&self, id: u64) -> Option<P> {
        let mut table = self.lock();
        let taken = table.remove(id);
        self.count.store(table.waiting.len(), Ordering::SeqCst);
        taken.map(|waiting| waiting.pull)
    }

    /// A message is in a queue: takes out the pulls that wait for it, for `woken`. `next_offset` is
    /// one beyond the message, `tags_code` its consume-queue tags code, `properties` its property
    /// string.
    pub fn arrived(
        &self,
        topic: &str,
        queue_id: i32,
        next_offset: i64,
        tags_code: i64,
        properties: &str,
    ) {
        if self.is_empty() {
            return;
        }
        let mut table = self.lock();
        let Some(ids) = table.topics.get(topic).and_then(|t| t.queues.get(&queue_id)) else {
            return;
        };
        let woken: Vec<u64> = ids
            .iter()
            .filter(|id| {
                let waiting = &table.waiting[*id];
                let passes =
                    |filter: &Filter| filter.matches_code(tags_code) && filter.matches(properties);
                next_offset > waiting.offset && waiting.filter.as_ref().is_none_or(passes)
            })
            .copied()
            .collect();
        for id in woken {
            let pull = table.remove(id).map(|waiting| waiting.pull);
            table.woken.extend(pull);
            self.any_woken.store(true, Ordering::SeqCst);
        }
        self.count.store(table.waiting.len(), Ordering::SeqCst);
    }

    /// The pulls that messages have arrived for since the last call.
    pub fn woken(&self) -> Vec<P> {
        if !self.any_woken.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let mut table = self.lock();
        self.any_woken.store(false, Ordering::SeqCst);
        std::mem::take(&mut table.woken)
    }

    /// `len`, for who has to know at once when one begins to wait.
    pub fn count(&self) -> Arc<AtomicUsize> {
        self.count.clone()
    }

    /// Number of pulls that wait.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops the pulls of a connection.
    pub fn closed(&self, conn: u64) -> Vec<P> {
        let mut table = self.lock();
        let ids = table.conns.get(&conn).cloned().unwrap_or_default();
        let dropped = ids.into_iter().filter_map(|id| table.remove(id)).collect::<Vec<_>>();
        self.count.store(table.waiting.len(), Ordering::SeqCst);
        dropped.into_iter().map(|waiting| waiting.pull).collect()
    }

    /// Sleeps until deadlines have passed and takes those pulls out; `None` after `stop`.
    pub fn wait_due(&self) -> Option<Vec<P>> {
        let mut table = self.lock();
        loop {
            if table.stopping {
                return None;
            }
            let Some(&(first, _)) = table.deadlines.first() else {
                table.looks_at = None;
                table = self.earlier.wait(table).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (now, looks_at) = (Instant::now(), first + LATE);
            if looks_at <= now {
                let due = table.take_due(now);
                self.count.store(table.waiting.len(), Ordering::SeqCst);
                return Some(due);
            }
            table.looks_at = Some(looks_at);
            let waited = self.earlier.wait_timeout(table, looks_at - now);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends `wait_due`, refuses further pulls and takes out those that wait.
    pub fn stop(&self) -> Vec<P> {
        let mut table = self.lock();
        table.stopping = true;
        self.earlier.notify_all();
        self.count.store(0, Ordering::SeqCst);
        table.topics.clear();
        table.deadlines.clear();
        table.conns.clear();
        table.waiting.drain().map(|(_, waiting)| waiting.pull).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table<P>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Table<P> {
    fn insert(&mut self, waiting: Waiting<P>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.deadlines.insert((waiting.deadline, id));
        self.conns.entry(waiting.conn).or_default().insert(id);
        let of_topic = self.topics.entry(waiting.topic.clone()).or_default();
        of_topic.count += 1;
        self.filter_bytes += waiting.filter_bytes;
        of_topic.queues.entry(waiting.queue_id).or_default().insert(id);
        self.waiting.insert(id, waiting);
        id
    }

    fn remove(&mut self, id: u64) -> Option<Waiting<P>> {
        let waiting = self.waiting.remove(&id)?;
        self.filter_bytes -= waiting.filter_bytes;
        self.deadlines.remove(&(waiting.deadline, id));
        forget(&mut self.conns, &waiting.conn, id);
        if let Some(of_topic) = self.topics.get_mut(&waiting.topic) {
            forget(&mut of_topic.queues, &waiting.queue_id, id);
            of_topic.count -= 1;
            if of_topic.count == 0 {
                self.topics.remove(&waiting.topic);
            }
        }
        Some(waiting)
    }

    fn take_due(&mut self, now: Instant) -> Vec<P> {
        let mut due = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            due.extend(self.remove(id).map(|waiting| waiting.pull));
        }
        due
    }
}

/// Removes `id` from the set of `key`, and the set when it is empty then.
fn forget<K: Eq + std::hash::Hash>(sets: &mut HashMap<K, BTreeSet<u64>>, key: &K, id: u64) {
    if let Some(ids) = sets.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            sets.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::filter::Subscription;
    use crate::message::sql::Expression;

    fn waiting(
        name: &'static str,
        queue_id: i32,
        offset: i64,
        tags: &str,
    ) -> Waiting<&'static str> {
        Waiting {
            topic: "T".into(),
            queue_id,
            offset,
            filter: Some(Filter::tags(Arc::new(Subscription::parse("T", tags, None).unwrap()))),
            filter_bytes: 0,
            conn: 1,
            deadline: Instant::now() + Duration::from_secs(3600),
            pull: name,
        }
    }

    /// The pulls that a message of queue 0 wakes.
    fn arrived(
        hold: &Hold<&'static str>,
        topic: &str,
        next_offset: i64,
        tags_code: i64,
        properties: &str,
    ) -> Vec<&'static str> {
        hold.arrived(topic, 0, next_offset, tags_code, properties);
        hold.woken()
    }

    fn code(tag: &str) -> i64 {
        i64::from(crate::message::topic::java_hash(tag))
    }

    #[test]
    fn an_arrival_wakes_the_pulls_it_is_for() {
        let hold = Hold::default();
        for pull in [
            waiting("all", 0, 5, "*"),
            waiting("a", 0, 5, "a || c"),
            waiting("b", 0, 5, "b"),
            waiting("later", 0, 6, "*"),
            waiting("other queue", 1, 5, "*"),
        ] {
            assert!(hold.park(pull).is_ok());
        }
        assert!(arrived(&hold, "T", 5, code("a"), "").is_empty());
        assert!(arrived(&hold, "U", 9, code("a"), "").is_empty());
        assert_eq!(arrived(&hold, "T", 6, code("a"), ""), ["all", "a"]);
        assert_eq!(arrived(&hold, "T", 7, code("b"), ""), ["b", "later"]);
        assert_eq!(hold.closed(1), ["other queue"]);
        assert!(hold.lock().topics.is_empty() && hold.lock().conns.is_empty());
        assert!(hold.lock().deadlines.is_empty());
    }

    #[test]
    fn an_expression_is_held_to_the_properties() {
        let hold = Hold::default();
        let expression = Arc::new(Expression::parse("a > 1").unwrap());
        let filter = Some(Filter::expression(expression));
        assert!(hold.park(Waiting { filter, ..waiting("sql", 0, 5, "*") }).is_ok());
        assert!(arrived(&hold, "T", 6, 0, "a\u{1}1").is_empty());
        assert_eq!(arrived(&hold, "T", 7, 0, "a\u{1}2"), ["sql"]);
    }

    #[test]
    fn a_ticket_is_good_once() {
        let hold = Hold::default();
        let id = hold.park(waiting("a", 0, 5, "*")).ok().unwrap();
        assert_eq!(hold.take(id), Some("a"));
        assert_eq!(hold.take(id), None);
        assert!(arrived(&hold, "T", 9, 0, "").is_empty());
    }

    #[test]
    fn a_deadline_ends_a_wait_and_stop_ends_all() {
        let hold = Arc::new(Hold::default());
        let expired = Waiting { deadline: Instant::now(), ..waiting("due", 0, 5, "*") };
        hold.park(waiting("long", 0, 5, "*")).ok().unwrap();
        hold.park(expired).ok().unwrap();
        assert_eq!(hold.wait_due(), Some(vec!["due"]));
        assert_eq!(hold.stop(), ["long"]);
        assert_eq!(hold.wait_due(), None);
        assert!(hold.park(waiting("late", 0, 5, "*")).is_err());
    }

    #[test]
    fn the_waits_of_a_topic_are_bounded() {
        let hold = Hold::default();
        let mut tickets = Vec::new();
        for _ in 0..HELD_PULLS_PER_TOPIC_MAX {
            tickets.push(hold.park(waiting("a", 0, 5, "*")).ok().unwrap());
        }
        assert!(hold.park(waiting("b", 1, 5, "*")).is_err());
        hold.take(tickets[0]);
        assert!(hold.park(waiting("b", 1, 5, "*")).is_ok());
    }

    #[test]
    fn what_pulls_bring_is_bounded() {
        let hold = Hold::default();
        let long = |filter_bytes| Waiting { filter_bytes, ..waiting("a", 0, 5, "*") };
        let first = hold.park(long(HELD_PULLS_BYTES_MAX - 1)).ok().unwrap();
        assert!(hold.park(long(2)).is_err());
        assert!(hold.park(long(1)).is_ok());
        hold.take(first);
        assert!(hold.park(long(HELD_PULLS_BYTES_MAX - 1)).is_ok());
        assert_eq!(hold.closed(1).len(), 2);
        assert_eq!(hold.lock().filter_bytes, 0);
    }

    #[test]
    fn all_waits_are_bounded() {
        let hold = Hold::default();
        let topics: Vec<Arc<str>> = (0..16).map(|n| format!("T{n}").into()).collect();
        let of = |n: usize| Waiting { topic: topics[n % 16].clone(), ..waiting("a", 0, 5, "*") };
        let tickets: Vec<_> = (0..HELD_PULLS_MAX).map(|n| hold.park(of(n)).ok().unwrap()).collect();
        assert!(hold.park(waiting("other topic", 0, 5, "*")).is_err());
        hold.take(tickets[0]);
        assert!(hold.park(waiting("other topic", 0, 5, "*")).is_ok());
        assert_eq!(hold.len(), HELD_PULLS_MAX);
    }
}
