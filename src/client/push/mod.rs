//! Receiving messages by group: queues are shared among the members, messages handed to a listener,
//! progress committed.
//!
//! Four kinds of threads: `rebalance` assigns queues, `pull` keeps one pull under way for each and
//! caches what arrives, `consume-i` call the listener, `commit` tells the brokers how far the group
//! is.

mod allocate;
mod consume;
mod offsets;
mod process_queue;
mod pulling;
mod rebalance;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender};

use crate::base::thread::{self, Handle, Stop};
use crate::base::{Error, Result, clock, limits};
use crate::message::filter::{self, Subscription};
use crate::message::topic;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::heartbeat::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel};

use super::inbound::Notify;
use super::instance::{Instance, lock};
use super::message::MessageExt;
use super::pull;
use super::settings::Settings;

use offsets::LocalOffsets;
use process_queue::ProcessQueue;
use pulling::Event;

/// Where a group begins that has not consumed of a queue before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumeFrom {
    LastOffset,
    FirstOffset,
    /// Messages stored from this time on, in ms.
    Timestamp(i64),
}

/// What a listener says of the messages it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumeStatus {
    Success,
    /// All of them are to be consumed again later.
    ReconsumeLater,
}

/// How a consumer receives; `ConsumerSettings::default()` is RocketMQ's.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Common to all clients.
    pub common: Settings,
    pub model: MessageModel,
    pub from: ConsumeFrom,
    /// Threads that call the listener.
    pub threads: usize,
    /// Most messages in one call of the listener.
    pub consume_batch: usize,
    /// Most messages in one pull.
    pub pull_batch: i32,
    /// Consumed in vain so often, a message goes to the dead-letter queue; -1 leaves it to the
    /// broker.
    pub max_reconsume_times: i32,
    /// A queue with more messages, bytes, or a longer span of offsets waiting is not pulled.
    pub cached_messages_max: usize,
    pub cached_bytes_max: usize,
    pub cached_span_max: i64,
    /// How long a broker holds a pull that finds nothing.
    pub long_poll: Duration,
    pub rebalance_period: Duration,
    pub commit_period: Duration,
    /// Where offsets of a broadcasting consumer are kept; by default `$HOME/.rocketmq_offsets`.
    pub offset_dir: Option<PathBuf>,
}

impl Default for ConsumerSettings {
    fn default() -> ConsumerSettings {
        ConsumerSettings {
            common: Settings::default(),
            model: MessageModel::Clustering,
            from: ConsumeFrom::LastOffset,
            threads: 20,
            consume_batch: 1,
            pull_batch: 32,
            max_reconsume_times: -1,
            cached_messages_max: 1000,
            cached_bytes_max: 100 * 1024 * 1024,
            cached_span_max: 2000,
            long_poll: Duration::from_secs(15),
            rebalance_period: Duration::from_secs(20),
            commit_period: Duration::from_secs(5),
            offset_dir: None,
        }
    }
}

type Listener = dyn Fn(&[MessageExt]) -> ConsumeStatus + Send + Sync;

/// A running consumer. `shutdown` commits and says goodbye to the brokers.
pub struct PushConsumer {
    inner: Arc<Inner>,
    /// In the order in which they are joined.
    threads: Mutex<Vec<Handle>>,
}

struct Inner {
    group: String,
    settings: ConsumerSettings,
    instance: Arc<Instance>,
    /// By topic.
    subscriptions: BTreeMap<String, Subscription>,
    listener: Box<Listener>,
    assigned: Mutex<HashMap<MessageQueue, Arc<ProcessQueue>>>,
    /// To the pull thread.
    events: Sender<Event>,
    /// Of a broadcasting consumer.
    local_offsets: Option<LocalOffsets>,
    stop: Arc<Stop>,
    rebalance: Arc<Stop>,
    commit: Arc<Stop>,
}

impl PushConsumer {
    /// Starts a consumer of a group: `subscriptions` are pairs of topic and tag expression (`*`,
    /// `TagA || TagB`). The listener is called by several threads at once.
    pub fn start(
        group: &str,
        settings: ConsumerSettings,
        subscriptions: &[(&str, &str)],
        listener: impl Fn(&[MessageExt]) -> ConsumeStatus + Send + Sync + 'static,
    ) -> Result<PushConsumer> {
        topic::check_group(group).map_err(|text| Error::Config(text.to_owned()))?;
        let (events, heard) = channel::bounded(2 * limits::CLIENT_ASSIGNED_QUEUES_MAX);
        let rebalance = Stop::new();
        let service = Arc::new(Notify { rebalance: Arc::clone(&rebalance) });
        let instance = Instance::new(common(&settings), service)?;
        let inner = Arc::new(Inner {
            group: group.to_owned(),
            subscriptions: subscribe(group, &settings, subscriptions)?,
            local_offsets: LocalOffsets::open(&settings, &instance.client_id, group)?,
            settings,
            instance,
            listener: Box::new(listener),
            assigned: Mutex::default(),
            events,
            stop: Stop::new(),
            rebalance,
            commit: Stop::new(),
        });
        let consumer = PushConsumer { inner, threads: Mutex::default() };
        match consumer.run(heard) {
            Ok(()) => Ok(consumer),
            Err(error) => {
                consumer.shutdown();
                Err(error)
            }
        }
    }

    fn run(&self, heard: Receiver<Event>) -> Result<()> {
        let inner = &self.inner;
        let (jobs, work) = channel::bounded(limits::CLIENT_CONSUME_JOBS_MAX);
        self.thread("pull", move |inner| pulling::run(inner, &heard, &jobs))?;
        for n in 0..inner.settings.threads.max(1) {
            let work = work.clone();
            self.thread(&format!("consume-{n}"), move |inner| consume::run(inner, &work))?;
        }
        inner.introduce();
        self.thread("rebalance", rebalance::run)?;
        self.thread("commit", offsets::run)?;
        inner.instance.start_timer()
    }

    fn thread(&self, name: &str, work: impl FnOnce(&Arc<Inner>) + Send + 'static) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        lock(&self.threads).push(thread::spawn(name, move || work(&inner))?);
        Ok(())
    }

    /// Stops pulling, waits for the listener calls under way, commits, leaves the group. A second
    /// call does nothing.
    pub fn shutdown(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        if threads.is_empty() {
            return;
        }
        self.inner.stop.set();
        self.inner.rebalance.set();
        self.inner.commit.set();
        threads.into_iter().for_each(Handle::join);
        self.inner.commit_all();
        self.inner.instance.shutdown();
    }

    /// The queues this member has now.
    pub fn assigned(&self) -> Vec<MessageQueue> {
        let mut queues: Vec<_> = lock(&self.inner.assigned).keys().cloned().collect();
        queues.sort_unstable();
        queues
    }
}

/// The instance name of a broadcasting consumer does not change, so that it finds its offsets
/// again.
fn common(settings: &ConsumerSettings) -> Settings {
    let mut common = settings.common.clone();
    if settings.model == MessageModel::Broadcasting {
        common.instance_name.get_or_insert_with(|| "DEFAULT".to_owned());
    }
    common
}

fn subscribe(
    group: &str,
    settings: &ConsumerSettings,
    wanted: &[(&str, &str)],
) -> Result<BTreeMap<String, Subscription>> {
    let mut subscriptions = BTreeMap::new();
    let retry = topic::retry(group);
    let clustering = settings.model == MessageModel::Clustering;
    let retries = clustering.then_some((retry.as_str(), filter::ALL));
    for (topic, expression) in wanted.iter().copied().chain(retries) {
        topic::check(topic).map_err(|text| Error::Config(text.to_owned()))?;
        let mut subscription = pull::subscription(topic, expression)?;
        subscription.sub_version = clock::now_ms();
        subscriptions.insert(topic.to_owned(), subscription);
    }
    Ok(subscriptions)
}

impl Inner {
    /// Tells every broker of the subscribed topics before the first queue is asked for.
    fn introduce(&self) {
        self.instance.announce_consumer(self.consumer_data());
        for topic in self.subscriptions.keys() {
            if let Err(error) = self.instance.update_route(topic) {
                log::debug!(target: "client", "route of {topic}: {error}");
            }
        }
        self.instance.heartbeat();
    }

    fn consumer_data(&self) -> ConsumerData {
        let from = match self.settings.from {
            ConsumeFrom::LastOffset => ConsumeFromWhere::LastOffset,
            ConsumeFrom::FirstOffset => ConsumeFromWhere::FirstOffset,
            ConsumeFrom::Timestamp(_) => ConsumeFromWhere::Timestamp,
        };
        ConsumerData {
            consume_from_where: Some(from),
            consume_type: Some(ConsumeType::Passively),
            group_name: self.group.clone(),
            message_model: Some(self.settings.model),
            subscription_data_set: self.subscriptions.values().cloned().collect(),
            unit_mode: false,
        }
    }

    fn is_clustering(&self) -> bool {
        self.settings.model == MessageModel::Clustering
    }
}
