//! Start and stop of a broker, each in one readable order.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use super::bloom::Bloom;
use super::clients::Clients;
use super::filters::Filters;
use super::groups::Groups;
use super::hold::Hold;
use super::locks::Locks;
use super::offsets::Offsets;
use super::pull::{self, Held};
use super::register::{Addresses, Register};
use super::requests::{self, Pool};
use super::stats::{SAMPLE_PERIOD, Stats};
use super::topics::Topics;
use super::{Broker, ahead, client, slow, txn_check};
use crate::base::limits::TOPIC_QUEUES_MAX;
use crate::base::thread::{self, Handle, Stop};
use crate::base::{Error, Result, clock};
use crate::config::{BrokerConfig, BrokerRole, Live};
use crate::dispatch::{Dispatcher, PoolStats};
use crate::message::topic::{SCHEDULE, retry_group};
use crate::net::{self, Client, Conn, Port, Request, Server, Service, Taken};
use crate::protocol::Command;
use crate::protocol::body::topic::DataVersion;
use crate::protocol::code::response;
use crate::store::delay::{DelayLevels, Delivery};
use crate::store::{Arrival, Listener, Store};

/// Offsets are saved this long after the start for the first time.
const FIRST_SAVE: Duration = Duration::from_secs(10);

/// What runs between start and stop, as far as it was started. Server and dispatcher hold the
/// broker, so the stop takes them out.
#[derive(Default)]
pub struct Running {
    server: RwLock<Option<Arc<Server>>>,
    dispatcher: RwLock<Option<Arc<Dispatcher<Broker, Pool>>>>,
    delivery: OnceLock<Arc<Delivery>>,
    stop: Arc<Stop>,
    threads: Mutex<Vec<Handle>>,
}

/// The NameServers' side of the broker's connections: they ask nothing.
struct NoRequests;

impl Service for NoRequests {
    fn requests(&self, _: Vec<Request>, _: bool) -> Taken {
        Taken::default()
    }
}

impl Broker {
    /// Starts a broker: reads its state, recovers its store, opens its ports, registers. A broker
    /// that cannot start leaves nothing running.
    pub fn start(config: BrokerConfig) -> Result<Arc<Broker>> {
        let broker = Broker::load(config)?;
        let _ = broker.this.set(Arc::downgrade(&broker));
        match broker.run() {
            Ok(()) => Ok(broker),
            Err(error) => {
                broker.stop();
                Err(error)
            }
        }
    }

    /// Claims the store's folder, reads the state files, opens the store; nothing runs yet.
    fn load(config: BrokerConfig) -> Result<Arc<Broker>> {
        let root = config.store.root();
        let lock = Store::claim(&root)?;
        let dir = root.join("config");
        let topics = Arc::new(Topics::load(&dir.join("topics.json"), &config)?);
        let groups = Arc::new(Groups::load(&dir.join("subscriptionGroup.json"))?);
        let offsets = Arc::new(Offsets::load(&dir, config.store.enable_lmq)?);
        let bloom = Bloom::new(
            config.max_error_rate_of_bloom_filter,
            config.expect_consumer_num_use_filter,
        );
        let filters = Arc::new(Filters::load(&dir.join("consumerFilter.json"), bloom)?);
        let levels = Arc::new(DelayLevels::parse(&config.store.message_delay_level)?);
        let client = Client::start(&config.client, Arc::new(NoRequests))?;
        let config = Arc::new(Live::new(config));
        let hold = Arc::new(Hold::default());
        let this = Arc::new(OnceLock::new());
        let listener = listener(hold.clone(), filters.clone(), this.clone());
        let store = Store::open(config.clone(), lock, listener)?;
        agree(&store, &topics, &groups, &offsets, &config.get());
        let addresses = Arc::new(OnceLock::new());
        let register = Register::new(config.clone(), topics.clone(), client, addresses.clone());
        let boot_ms = clock::now_ms();
        Ok(Arc::new(Broker {
            config,
            store,
            topics,
            groups,
            offsets,
            clients: Arc::new(Clients::default()),
            locks: Arc::new(Locks::default()),
            filters,
            hold,
            stats: Arc::new(Stats::default()),
            slow: slow::Slow::default(),
            register,
            levels,
            boot_ms,
            config_version: Mutex::new(DataVersion { timestamp: boot_ms, ..Default::default() }),
            addresses,
            this,
            running: Running::default(),
        }))
    }

    fn run(self: &Arc<Broker>) -> Result<()> {
        let config = self.config.get();
        self.store.set_group_hook(Box::new(|complete| {
            let _cork = net::cork();
            complete();
        }));
        // Before anything is opened, so that a host that does not exist is an error at once.
        addresses(&config, 0)?;
        let (offsets, broker) = (self.offsets.clone(), Arc::downgrade(self));
        self.store.set_consumed(Box::new(move |topic, queue_id| match topic {
            SCHEDULE => broker.upgrade()?.running.delivery.get()?.next_offset(queue_id + 1),
            _ => offsets.slowest(topic, queue_id),
        }));
        self.store.start()?;
        self.start_threads(&config)?;
        let dispatcher = Dispatcher::new(
            self.clone(),
            requests::rows(),
            requests::pools(&config),
            requests::refuse,
            client::closed,
        )?;
        let store = self.store.clone();
        dispatcher.clean_when(Pool::Send, move || store.refused_as_busy().is_some());
        let store = self.store.clone();
        dispatcher.settle_by(move |deadline| store.settle(deadline));
        let store = self.store.clone();
        dispatcher.call_after(Pool::Send, move || store.dispatch_waited());
        for (pool, gets) in [(Pool::Send, false), (Pool::Pull, true)] {
            let topics = self.topics.clone();
            dispatcher.look_ahead(pool, move |requests| ahead::look(&topics, requests, gets));
        }
        self.running.set_dispatcher(Some(dispatcher.clone()));
        let server = Server::start(&config.server, &listen(&config)?, dispatcher)?;
        let port = server.local_addr(Port::Main).port();
        self.running.set_server(Some(Arc::new(server)));
        let _ = self.addresses.set(addresses(&config, port)?);
        self.register.start()
    }

    /// The threads that work by time.
    fn start_threads(&self, config: &BrokerConfig) -> Result<()> {
        let running = &self.running;
        let (offsets, filters) = (self.offsets.clone(), self.filters.clone());
        let (topics, groups) = (self.topics.clone(), self.groups.clone());
        let (live, stop) = (self.config.clone(), running.stop.clone());
        let period = millis(config.flush_consumer_offset_interval.into());
        running.keep(thread::every("offsets", stop, FIRST_SAVE, period, move || {
            if let Err(error) = offsets.persist() {
                log::error!(target: "broker", "consumer offsets not saved: {error}");
            }
            save_filters(&filters, &live.get());
            topics.retry_persist();
            groups.retry_persist();
        })?);
        let (clients, locks) = (self.clients.clone(), self.locks.clone());
        let (stats, stop) = (self.stats.clone(), running.stop.clone());
        running.keep(thread::every("sweep", stop, SAMPLE_PERIOD, SAMPLE_PERIOD, move || {
            let now = clock::now_ms();
            clients.expired(now).iter().for_each(|conn| conn.close());
            locks.sweep(now);
            stats.sample(now);
        })?);
        let (hold, broker) = (self.hold.clone(), self.this.clone());
        running.keep(thread::spawn("hold", move || {
            while let Some(due) = hold.wait_due()
                && let Some(broker) = broker.get().and_then(Weak::upgrade)
            {
                pull::resume(&broker, due);
            }
        })?);
        let (broker, stop) = (self.this.clone(), running.stop.clone());
        running.keep(thread::every("protect", stop, slow::PERIOD, slow::PERIOD, move || {
            if let Some(broker) = broker.get().and_then(Weak::upgrade) {
                broker.stop_slow_groups();
            }
        })?);
        if config.store.broker_role != BrokerRole::Slave {
            self.start_delivery(config)?;
            let parts = txn_check::Parts {
                config: self.config.clone(),
                store: self.store.clone(),
                offsets: self.offsets.clone(),
                topics: self.topics.clone(),
                register: self.register.clone(),
                clients: self.clients.clone(),
                addresses: self.addresses.clone(),
            };
            running.keep(txn_check::start(parts, running.stop.clone())?);
        }
        Ok(())
    }

    /// Delayed messages are delivered by a master.
    fn start_delivery(&self, config: &BrokerConfig) -> Result<()> {
        let path = config.store.root().join("config/delayOffset.json");
        let delivery = Delivery::load(self.store.clone(), self.levels.clone(), &path)?;
        let save = millis(config.store.flush_delay_offset_interval);
        self.running.keep(delivery.start(self.running.stop.clone())?);
        let (saved, stop) = (delivery.clone(), self.running.stop.clone());
        self.running
            .keep(thread::every("delay-offsets", stop, save, save, move || saved.persist())?);
        let _ = self.running.delivery.set(delivery);
        Ok(())
    }

    /// Stops in order: clients go elsewhere, what was taken is answered, everything is on disk.
    pub fn stop(&self) {
        let running = &self.running;
        self.register.stop();
        self.hold.stop().into_iter().for_each(Held::silent);
        if let Some(server) = running.set_server(None) {
            server.stop();
        }
        if let Some(dispatcher) = running.set_dispatcher(None) {
            dispatcher.stop();
        }
        running.stop.set();
        let threads = std::mem::take(&mut *running.threads());
        threads.into_iter().for_each(Handle::join);
        // Held until all is saved: the next broker reads it as soon as it has the lock.
        let _lock = self.store.stop();
        if let Some(delivery) = running.delivery.get() {
            delivery.persist();
        }
        if let Err(error) = self.offsets.save() {
            log::error!(target: "broker", "consumer offsets not saved: {error}");
        }
        save_filters(&self.filters, &self.config.get());
        self.topics.retry_persist();
        self.groups.retry_persist();
        log::info!(target: "broker", "broker stopped");
    }

    /// Where the main port listens; `None` after the stop.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.running.server().map(|server| server.local_addr(Port::Main))
    }

    /// Where the fast port listens.
    pub fn fast_addr(&self) -> Option<SocketAddr> {
        self.running.server().map(|server| server.local_addr(Port::Fast))
    }

    /// Number of pulls that wait for messages.
    pub fn held_pulls(&self) -> usize {
        self.hold.len()
    }

    /// Queue and age of a pool; `None` before the ports are open.
    pub(super) fn pool(&self, name: &str) -> Option<PoolStats> {
        self.running.dispatcher().and_then(|dispatcher| dispatcher.pool_stats(name))
    }

    /// Refuses what would be one more to wait for the disk.
    pub(super) fn refuse_if_cold_is_full(&self) -> Result<()> {
        if self.pool("cold").is_some_and(|pool| pool.queued >= pool.capacity) {
            let remark = "[OVERLOAD]too many requests wait for the disk";
            return Err(Error::refused(response::SYSTEM_BUSY, remark));
        }
        Ok(())
    }

    /// Has a pool do some work of the broker's own.
    pub(super) fn resubmit(&self, pool: Pool, work: Box<dyn FnOnce() + Send>) {
        if let Some(dispatcher) = self.running.dispatcher() {
            dispatcher.resubmit(pool, work);
        }
    }

    /// Asks a client something, without waiting. `done` gets the answer, or an error after
    /// `timeout`; it runs on a reactor and must not block.
    pub(super) fn call_client(
        &self,
        conn: &Arc<Conn>,
        command: Command,
        timeout: Duration,
        done: impl FnOnce(Result<Command>) + Send + 'static,
    ) {
        match self.running.server() {
            Some(server) => server.call(conn, command, timeout, Box::new(done)),
            None => done(Err(Error::Timeout("the broker stops".to_owned()))),
        }
    }

    /// How far the delivery of delayed messages is, by level.
    pub(super) fn delay_progress(&self) -> Vec<(i32, i64, i64)> {
        self.running.delivery.get().map(|delivery| delivery.progress()).unwrap_or_default()
    }
}

impl Running {
    fn keep(&self, thread: Handle) {
        self.threads().push(thread);
    }

    fn server(&self) -> Option<Arc<Server>> {
        self.server.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the one before.
    fn set_server(&self, server: Option<Arc<Server>>) -> Option<Arc<Server>> {
        let mut place = self.server.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, server)
    }

    fn dispatcher(&self) -> Option<Arc<Dispatcher<Broker, Pool>>> {
        self.dispatcher.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the one before.
    fn set_dispatcher(
        &self,
        dispatcher: Option<Arc<Dispatcher<Broker, Pool>>>,
    ) -> Option<Arc<Dispatcher<Broker, Pool>>> {
        let mut place = self.dispatcher.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, dispatcher)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<Handle>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes what was read of topics, groups and offsets agree with what the store has.
fn agree(
    store: &Store,
    topics: &Topics,
    groups: &Groups,
    offsets: &Offsets,
    config: &BrokerConfig,
) {
    if topics.is_new {
        let queues = store.topics_with_queues().into_iter().map(|topic| {
            let highest = store.queues_of(&topic).into_iter().max().unwrap_or(0);
            (topic, highest.saturating_add(1).clamp(1, TOPIC_QUEUES_MAX))
        });
        topics.make_again(queues, config.default_topic_queue_nums);
    }
    if groups.is_new {
        let (known, _) = topics.snapshot();
        groups.make_again(known.iter().filter_map(|topic| retry_group(&topic.topic_name)));
        // Of a retry topic without messages nothing is left with the topics.
        if topics.is_new {
            groups.make_again(offsets.topics_by_group().keys().map(String::as_str));
        }
    }
    if !store.is_dispatched() {
        return;
    }
    // A queue that has no file yet has no message: its first one has offset 0.
    offsets.clamp(|topic, queue_id| match store.queue(topic, queue_id) {
        Some(queue) => Some((queue.min_offset(), queue.max_offset())),
        None => topics.is_stored(topic).then_some((0, 0)),
    });
    // At once: the next start would find an offset beyond the end inside a queue that has grown.
    if let Err(error) = offsets.persist() {
        log::error!(target: "broker", "consumer offsets not saved: {error}");
    }
}

fn save_filters(filters: &Filters, config: &BrokerConfig) {
    if let Err(error) = filters.persist(clock::now_ms(), config.filter_data_clean_time_span) {
        log::error!(target: "broker", "filters of consumers not saved: {error}");
    }
}

/// Wakes the pulls that wait for a message, on the thread that dispatches it.
fn listener(
    hold: Arc<Hold<Held>>,
    filters: Arc<Filters>,
    broker: Arc<OnceLock<Weak<Broker>>>,
) -> Listener {
    let (waiting, told) = (hold.count(), hold.clone());
    let arrived = move |arrival: &Arrival| {
        let Arrival { topic, queue_id, queue_offset, tags_code, properties, .. } = *arrival;
        told.arrived(topic, queue_id, queue_offset + 1, tags_code, properties);
    };
    let done = move || {
        let woken = hold.woken();
        if !woken.is_empty()
            && let Some(broker) = broker.get().and_then(Weak::upgrade)
        {
            pull::resume(&broker, woken);
        }
    };
    let bit_map = move |topic: &str, properties: &str, out: &mut Vec<u8>| {
        filters.bit_map(topic, properties, out);
    };
    Listener {
        waiting,
        arrived: Box::new(arrived),
        done: Box::new(done),
        bit_map: Box::new(bit_map),
    }
}

/// The main port and the fast one, two below; port 0 lets the system choose both.
fn listen(config: &BrokerConfig) -> Result<Vec<(SocketAddr, Port)>> {
    let port = config.server.listen_port;
    let fast = if port == 0 { 0 } else { port - 2 };
    let addr = |port: i32| match u16::try_from(port) {
        Ok(port) => Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        Err(_) => Err(Error::Config(format!(
            "listenPort = {}: from 3 to 65535",
            config.server.listen_port
        ))),
    };
    Ok(vec![(addr(port)?, Port::Main), (addr(fast)?, Port::Fast)])
}

fn addresses(config: &BrokerConfig, port: u16) -> Result<Addresses> {
    let host = (config.broker_ip1.trim_matches(['[', ']']), port).to_socket_addrs();
    let store_host = host
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| Error::Config(format!("brokerIP1 = {}: no such host", config.broker_ip1)))?;
    Ok(Addresses {
        store_host,
        broker: format!("{}:{port}", config.broker_ip1),
        ha: format!("{}:{}", config.broker_ip2, u32::from(port) + 1),
    })
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.max(1) as u64)
}
