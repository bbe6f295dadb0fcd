//! One pull under way for every assigned queue that has room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};

use crate::base::{Error, Result};
use crate::client::instance::lock;
use crate::client::pull::{Pull, PullResult, PullStatus, pull_result};
use crate::client::topic_route::MASTER_ID;
use crate::protocol::Command;
use crate::protocol::code::response;

use super::Inner;
use super::consume::Job;
use super::process_queue::ProcessQueue;

/// Until a queue with too much waiting is looked at again.
const FLOW_CONTROL: Duration = Duration::from_millis(50);
/// After the broker asked for patience.
const BROKER_FLOW_CONTROL: Duration = Duration::from_millis(20);
/// After any other failure.
const FAILURE: Duration = Duration::from_secs(1);
/// Longest pause of the pull thread, so that it sees a stop.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What happens to a queue.
pub enum Event {
    /// It is ours from now on.
    Begin(Arc<ProcessQueue>),
    /// Its pull was answered.
    Answer(Arc<ProcessQueue>, Result<Command>),
}

impl Event {
    /// The queue it happens to.
    pub fn process_queue(&self) -> &ProcessQueue {
        match self {
            Event::Begin(queue) | Event::Answer(queue, _) => queue,
        }
    }
}

/// When which queue is to be pulled.
#[derive(Default)]
struct Schedule {
    due: BTreeMap<(Instant, u64), Arc<ProcessQueue>>,
    count: u64,
}

impl Schedule {
    fn add(&mut self, queue: Arc<ProcessQueue>, after: Duration) {
        self.count += 1;
        self.due.insert((Instant::now() + after, self.count), queue);
    }

    fn take_due(&mut self) -> Option<Arc<ProcessQueue>> {
        let entry = self.due.first_entry()?;
        (entry.key().0 <= Instant::now()).then(|| entry.remove())
    }

    fn pause(&self) -> Duration {
        let first = self.due.first_key_value().map(|((at, _), _)| *at);
        first.map_or(PAUSE_MAX, |at| at.saturating_duration_since(Instant::now()).min(PAUSE_MAX))
    }
}

/// The pull thread: pulls each queue when its time has come, until the consumer stops.
pub fn run(inner: &Arc<Inner>, events: &Receiver<Event>, jobs: &Sender<Job>) {
    let mut schedule = Schedule::default();
    while !inner.stop.is_set() {
        match events.recv_timeout(schedule.pause()) {
            Ok(Event::Begin(queue)) => schedule.add(queue, Duration::ZERO),
            Ok(Event::Answer(queue, answer)) if !queue.is_dropped() => {
                if let Some(after) = inner.take_answer(&queue, answer, jobs) {
                    schedule.add(queue, after);
                }
            }
            _ => (),
        }
        while let Some(queue) = schedule.take_due() {
            if let Some(after) = inner.pull(&queue) {
                schedule.add(queue, after);
            }
        }
    }
}

impl Inner {
    /// Sends a pull, or says after which time to try again. Nothing for a queue that is no longer
    /// ours.
    fn pull(self: &Arc<Inner>, queue: &Arc<ProcessQueue>) -> Option<Duration> {
        if queue.is_dropped() {
            return None;
        }
        let backlog = queue.backlog();
        if backlog.messages > self.settings.cached_messages_max
            || backlog.bytes > self.settings.cached_bytes_max
            || backlog.span > self.settings.cached_span_max
        {
            return Some(FLOW_CONTROL);
        }
        let name = &queue.queue;
        let replicas = self.instance.broker_addresses(&name.broker_name).unwrap_or_default();
        let wanted = queue.broker_id.load(Ordering::Relaxed);
        let replica = replicas.get_key_value(&wanted).or_else(|| replicas.first_key_value());
        let Some((broker_id, address)) = replica else { return Some(FAILURE) };
        let done = queue.commit_offset();
        let commit = self.is_clustering() && *broker_id == MASTER_ID && done > 0;
        let ask = Pull {
            group: &self.group,
            queue: name,
            offset: queue.next_pull.load(Ordering::Relaxed),
            max: self.settings.pull_batch,
            subscription: self.subscriptions.get(&name.topic)?,
            send_subscription: false,
            suspend: Some(self.settings.long_poll),
            commit: commit.then_some(done),
        };
        let (request, timeout) = ask.request();
        let (inner, queue) = (Arc::clone(self), Arc::clone(queue));
        let answered = move |answer| inner.tell(Event::Answer(queue, answer));
        self.instance.net.call_async(address, request, timeout, Box::new(answered));
        None
    }

    /// After which time to pull again; nothing when the queue was begun anew elsewhere.
    fn take_answer(
        &self,
        queue: &Arc<ProcessQueue>,
        answer: Result<Command>,
        jobs: &Sender<Job>,
    ) -> Option<Duration> {
        let subscription = self.subscriptions.get(&queue.queue.topic)?;
        match answer.and_then(|reply| pull_result(&reply, &queue.queue, subscription)) {
            Ok(result) => self.take_result(queue, result, jobs),
            Err(Error::Refused { code: response::FLOW_CONTROL, .. }) => Some(BROKER_FLOW_CONTROL),
            Err(error) => {
                log::debug!(target: "client", "pull of {:?}: {error}", queue.queue);
                if matches!(error, Error::Refused { code: response::SUBSCRIPTION_NOT_EXIST, .. }) {
                    // The broker was restarted: it does not know us yet.
                    self.instance.heartbeat_soon();
                }
                Some(FAILURE)
            }
        }
    }

    fn take_result(
        &self,
        queue: &Arc<ProcessQueue>,
        result: PullResult,
        jobs: &Sender<Job>,
    ) -> Option<Duration> {
        queue.broker_id.store(result.suggested_broker_id, Ordering::Relaxed);
        if result.status == PullStatus::OffsetIllegal {
            let (name, next) = (&queue.queue, result.next_begin_offset);
            log::warn!(target: "client", "{name:?} goes on at {next}: there is no such offset");
            queue.drop_it();
            if lock(&self.assigned).contains_key(name) {
                self.begin(name.clone(), next);
            }
            return None;
        }
        queue.next_pull.store(result.next_begin_offset, Ordering::Relaxed);
        if result.messages.is_empty() {
            queue.skip_to(result.next_begin_offset);
            return Some(Duration::ZERO);
        }
        let sizes = result.messages.iter().map(|m| (m.queue_offset(), m.body().len()));
        queue.put(sizes);
        let mut messages = result.messages.into_iter().peekable();
        while messages.peek().is_some() {
            let batch = messages.by_ref().take(self.settings.consume_batch.max(1)).collect();
            // Waits while all consume threads are busy.
            jobs.send(Job { queue: Arc::clone(queue), messages: batch }).ok()?;
        }
        Some(Duration::ZERO)
    }
}
