//! What every client stands on: its connections, its routes, its heartbeats.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::base::thread::{self, Handle, Stop};
use crate::base::{Error, Result};
use crate::config::ClientConfig;
use crate::net::{Client, Service};
use crate::protocol::Command;
use crate::protocol::body::heartbeat::{ConsumerData, HeartbeatData, ProducerData};
use crate::protocol::body::route::TopicRouteData;
use crate::protocol::code::{request, response};
use crate::protocol::headers::client::UnregisterClient;
use crate::protocol::headers::namesrv::GetRouteInfo;

use super::identity::{self, random};
use super::namesrv::NameServers;
use super::settings::Settings;
use super::topic_route::{MASTER_ID, TopicRoute};

/// The client error for a topic nobody knows, RocketMQ's own number.
pub const NOT_FOUND_TOPIC: i32 = 10005;
/// The client error for a broker without a known address, RocketMQ's own number.
pub const BROKER_NOT_EXIST: i32 = 10003;

/// From start to the first heartbeat of the timer.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(1);

/// The part every client owns one of.
pub(crate) struct Instance {
    pub settings: Settings,
    pub client_id: String,
    pub net: Client,
    namesrv: NameServers,
    routes: RwLock<HashMap<String, Arc<TopicRoute>>>,
    /// What the heartbeat announces.
    announced: Mutex<Announced>,
    stop: Arc<Stop>,
    /// A heartbeat is to be sent before its time.
    beat_soon: AtomicBool,
    timer: Mutex<Option<Handle>>,
}

#[derive(Default, Clone)]
struct Announced {
    producer_group: Option<String>,
    consumer: Option<ConsumerData>,
}

impl Instance {
    /// Opens no connection yet. `service` gets what brokers ask of this client.
    pub fn new(settings: Settings, service: Arc<dyn Service>) -> Result<Arc<Instance>> {
        let namesrv = NameServers::new(&settings.namesrv, random() as usize % 1000);
        Ok(Arc::new(Instance {
            client_id: identity::client_id(settings.instance_name.as_deref()),
            net: Client::start(&ClientConfig::default(), service)?,
            namesrv,
            routes: RwLock::default(),
            announced: Mutex::default(),
            stop: Stop::new(),
            beat_soon: AtomicBool::new(false),
            timer: Mutex::new(None),
            settings,
        }))
    }

    /// Begins refreshing routes and sending heartbeats.
    pub fn start_timer(self: &Arc<Instance>) -> Result<()> {
        let instance = Arc::clone(self);
        let timer = thread::spawn("client-timer", move || instance.run_timer())?;
        *lock(&self.timer) = Some(timer);
        Ok(())
    }

    fn run_timer(&self) {
        let mut poll = Instant::now() + self.settings.poll_period;
        let mut beat = Instant::now() + FIRST_HEARTBEAT;
        loop {
            let pause = poll.min(beat).saturating_duration_since(Instant::now());
            if self.stop.wait(pause) {
                return;
            }
            if Instant::now() >= poll {
                self.refresh_routes();
                poll = Instant::now() + self.settings.poll_period;
            }
            let soon = self.beat_soon.swap(false, Ordering::AcqRel);
            if soon || Instant::now() >= beat {
                self.heartbeat();
                beat = Instant::now() + self.settings.heartbeat_period;
            }
        }
    }

    /// Ends the timer, says goodbye to every broker, closes the connections.
    pub fn shutdown(&self) {
        self.stop.set();
        if let Some(timer) = lock(&self.timer).take() {
            timer.join();
        }
        self.unregister();
        self.net.stop();
    }

    /// Announces a producer group in heartbeats from now on.
    pub fn announce_producer(&self, group: &str) {
        lock(&self.announced).producer_group = Some(group.to_owned());
    }

    /// Announces a consumer group and its subscriptions in heartbeats from now on.
    pub fn announce_consumer(&self, consumer: ConsumerData) {
        lock(&self.announced).consumer = Some(consumer);
    }

    /// Asks a broker, or any address; an answer other than SUCCESS is an error with its code.
    pub fn call(&self, addr: &str, request: Command, timeout: Duration) -> Result<Command> {
        success(self.net.call(addr, request, timeout)?)
    }

    /// Asks a name server; an answer other than SUCCESS is an error with its code.
    pub fn call_namesrv(&self, request: &Command, timeout: Duration) -> Result<Command> {
        success(self.namesrv.call(&self.net, request, timeout)?)
    }

    /// Every name server.
    pub fn namesrv_addresses(&self) -> &[String] {
        self.namesrv.addresses()
    }

    /// The route of a topic as the name server has it; code 17 when nobody serves it.
    pub fn fetch_route(&self, topic: &str) -> Result<TopicRouteData> {
        let mut request = Command::request(request::GET_ROUTEINFO_BY_TOPIC);
        let header = GetRouteInfo { topic: Some(topic), accept_standard_json_only: Some(true) };
        header.encode(&mut request);
        let reply = self.call_namesrv(&request, self.settings.timeout)?;
        TopicRouteData::from_slice(&reply.body)
    }

    /// The known route of a topic, or the one the name server has.
    pub fn route(&self, topic: &str) -> Result<Arc<TopicRoute>> {
        match self.cached_route(topic) {
            Some(route) => Ok(route),
            None => self.update_route(topic),
        }
    }

    /// The route found last, however old.
    pub fn cached_route(&self, topic: &str) -> Option<Arc<TopicRoute>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }

    /// Looks the route up anew.
    pub fn update_route(&self, topic: &str) -> Result<Arc<TopicRoute>> {
        let data = self.fetch_route(topic)?;
        Ok(self.keep_route(topic, TopicRoute::new(topic, data)?))
    }

    /// The route of a topic that does not exist yet: that of `create_from`, with at most `queues`
    /// queues on each broker. The next refresh replaces it.
    pub fn fallback_route(
        &self,
        topic: &str,
        create_from: &str,
        queues: i32,
    ) -> Result<Arc<TopicRoute>> {
        let data = self.fetch_route(create_from)?;
        Ok(self.keep_route(topic, TopicRoute::fallback(topic, data, queues)?))
    }

    fn keep_route(&self, topic: &str, route: TopicRoute) -> Arc<TopicRoute> {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = routes.get(topic).filter(|known| ***known == route) {
            return Arc::clone(known);
        }
        let route = Arc::new(route);
        routes.insert(topic.to_owned(), Arc::clone(&route));
        route
    }

    /// A topic that can no longer be looked up keeps the route it had.
    fn refresh_routes(&self) {
        let topics: Vec<String> = {
            let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            routes.keys().cloned().collect()
        };
        for topic in topics {
            if let Err(error) = self.update_route(&topic) {
                log::debug!(target: "client", "route of {topic}: {error}");
            }
        }
    }

    /// The addresses of a broker name, from any known route.
    pub fn broker_addresses(&self, broker_name: &str) -> Option<BTreeMap<i64, String>> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.values().find_map(|route| route.addresses(broker_name)).cloned()
    }

    /// The address of a master; looks the route of `topic` up once more when it is not known.
    pub fn master_address(&self, broker_name: &str, topic: &str) -> Result<String> {
        let known =
            |instance: &Instance| instance.broker_addresses(broker_name)?.get(&MASTER_ID).cloned();
        if let Some(address) = known(self) {
            return Ok(address);
        }
        self.update_route(topic)?;
        known(self).ok_or_else(|| broker_missing(broker_name))
    }

    /// The address of a master, or of any other replica when there is none.
    pub fn any_address(&self, broker_name: &str, topic: &str) -> Result<String> {
        if self.broker_addresses(broker_name).is_none() {
            self.update_route(topic)?;
        }
        let addresses = self.broker_addresses(broker_name).unwrap_or_default();
        let address = addresses.get(&MASTER_ID).or_else(|| addresses.values().next());
        address.cloned().ok_or_else(|| broker_missing(broker_name))
    }

    /// Every address a heartbeat goes to: with a consumer all replicas, else the masters.
    fn heartbeat_addresses(&self, all: bool) -> BTreeSet<String> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let groups = routes.values().flat_map(|route| &route.data.broker_datas);
        let addresses = groups.flat_map(|group| &group.broker_addrs);
        addresses.filter(|(id, _)| all || **id == MASTER_ID).map(|(_, a)| a.clone()).collect()
    }

    /// Announces this client's groups to every known broker; failures are only logged.
    pub fn heartbeat(&self) {
        let announced = lock(&self.announced).clone();
        let body = HeartbeatData {
            client_id: self.client_id.clone(),
            producer_data_set: announced
                .producer_group
                .map(|group_name| ProducerData { group_name })
                .into_iter()
                .collect(),
            consumer_data_set: announced.consumer.into_iter().collect(),
        };
        if body.producer_data_set.is_empty() && body.consumer_data_set.is_empty() {
            return;
        }
        for address in self.heartbeat_addresses(!body.consumer_data_set.is_empty()) {
            let mut request = Command::request(request::HEART_BEAT);
            request.body = body.to_vec();
            if let Err(error) = self.call(&address, request, self.settings.timeout) {
                log::warn!(target: "client", "heartbeat to {address}: {error}");
            }
        }
    }

    /// Has the timer send a heartbeat now.
    pub fn heartbeat_soon(&self) {
        self.beat_soon.store(true, Ordering::Release);
        self.stop.wake();
    }

    fn unregister(&self) {
        let announced = lock(&self.announced).clone();
        let consumer_group = announced.consumer.map(|consumer| consumer.group_name);
        if announced.producer_group.is_none() && consumer_group.is_none() {
            return;
        }
        let all = consumer_group.is_some();
        let header = UnregisterClient {
            client_id: &self.client_id,
            producer_group: announced.producer_group.as_deref(),
            consumer_group: consumer_group.as_deref(),
        };
        for address in self.heartbeat_addresses(all) {
            let mut request = Command::request(request::UNREGISTER_CLIENT);
            header.encode(&mut request);
            if let Err(error) = self.call(&address, request, self.settings.timeout) {
                log::debug!(target: "client", "unregister from {address}: {error}");
            }
        }
    }
}

pub(crate) fn broker_missing(name: &str) -> Error {
    Error::refused(BROKER_NOT_EXIST, format!("The broker[{name}] not exist"))
}

/// The answer itself when its code is SUCCESS, else an error with its code and remark.
pub(crate) fn success(reply: Command) -> Result<Command> {
    match reply.code {
        response::SUCCESS => Ok(reply),
        code => Err(Error::refused(code, reply.remark.unwrap_or_default())),
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
