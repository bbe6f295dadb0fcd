//! Registration with all NameServers: every 30 s, and at once when a topic changed.
//!
//! Each NameServer has a thread of its own: one that does not answer delays nobody. After a change
//! it is first asked which version it has (QUERY_DATA_VERSION): if it has everything before the
//! change it gets the changed topics only, if it missed something or was restarted the whole table.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::topics::{Topic, Topics, by_name};
use crate::base::thread::{self, Handle};
use crate::base::{Error, Result};
use crate::config::{BrokerConfig, Live};
use crate::message::flags::{PERM_READ, PERM_WRITE};
use crate::net::Client;
use crate::protocol::Command;
use crate::protocol::body::cluster::KvTable;
use crate::protocol::body::register::{RegisterBrokerBody, body_crc};
use crate::protocol::body::topic::{DataVersion, TopicConfigTable};
use crate::protocol::code::{request, response};
use crate::protocol::headers::namesrv;

/// Bounds of `registerNameServerPeriod`.
const PERIOD_MIN: Duration = Duration::from_secs(10);
const PERIOD_MAX: Duration = Duration::from_secs(60);
/// How long the stop waits for a NameServer to take the broker off.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(3);

/// Where this broker can be reached.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// `brokerIP1` and the port, as stored in every message.
    pub store_host: SocketAddr,
    /// `brokerIP1:listenPort`.
    pub broker: String,
    /// `brokerIP2:haListenPort`.
    pub ha: String,
}

/// The registration of this broker.
pub struct Register {
    config: Arc<Live<BrokerConfig>>,
    topics: Arc<Topics>,
    client: Client,
    addresses: Arc<OnceLock<Addresses>>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Rounds are numbered; a NameServer's thread does the newest one that is wanted.
#[derive(Default)]
struct State {
    wanted: u64,
    /// The newest round that is to send everything.
    wanted_full: u64,
    stopping: bool,
    names: HashMap<String, Name>,
    threads: Vec<Handle>,
}

/// One NameServer.
#[derive(Default)]
struct Name {
    done: u64,
    /// It did not answer the last time: nobody waits for it.
    failing: bool,
}

impl Register {
    /// Nothing is sent before `start`.
    pub fn new(
        config: Arc<Live<BrokerConfig>>,
        topics: Arc<Topics>,
        client: Client,
        addresses: Arc<OnceLock<Addresses>>,
    ) -> Arc<Register> {
        let (state, changed) = Default::default();
        Arc::new(Register { config, topics, client, addresses, state, changed })
    }

    /// Registers everywhere, and waits for those that answer.
    pub fn start(self: &Arc<Register>) -> Result<()> {
        self.follow()?;
        self.state().wanted_full = 1;
        self.announce_and_wait(timeout_of(&self.config.get()));
        Ok(())
    }

    /// Starts a thread for each NameServer that is new in `namesrvAddr`; those of others end.
    pub fn follow(self: &Arc<Register>) -> Result<()> {
        let names = names(&self.config.get());
        let mut state = self.state();
        state.names.retain(|name, _| names.contains(name));
        for name in names {
            if state.stopping || state.names.contains_key(&name) {
                continue;
            }
            state.names.insert(name.clone(), Name::default());
            let register = self.clone();
            state.threads.push(thread::spawn("register", move || register.run(&name))?);
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Topics changed: registers soon.
    pub fn announce(&self) {
        self.state().wanted += 1;
        self.changed.notify_all();
    }

    /// Something that concerns every topic changed: registers all of them soon.
    pub fn announce_all(&self) {
        let mut state = self.state();
        state.wanted += 1;
        state.wanted_full = state.wanted;
        drop(state);
        self.changed.notify_all();
    }

    /// As `announce`, and waits until the NameServers that answer have the change.
    pub fn announce_and_wait(&self, timeout: Duration) {
        let mut state = self.state();
        state.wanted += 1;
        let mine = state.wanted;
        self.changed.notify_all();
        let pending = |state: &mut State| {
            let waiting = |name: &Name| name.done < mine && !name.failing;
            !state.stopping && state.names.values().any(waiting)
        };
        drop(self.changed.wait_timeout_while(state, timeout, pending));
    }

    /// Takes the broker off every NameServer that answers in time; the threads end.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        self.changed.notify_all();
        threads.into_iter().for_each(Handle::join);
        self.client.stop();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread of one NameServer.
    fn run(&self, name: &str) {
        let mut known = None;
        while let Some((round, full)) = self.next(name) {
            let result = self.register(name, full, known.as_ref());
            if let Err(error) = &result {
                log::warn!(target: "broker", "register at {name}: {error}");
            }
            if let Some(entry) = self.state().names.get_mut(name) {
                entry.done = round;
                entry.failing = result.is_err();
            }
            self.changed.notify_all();
            known = result.ok();
        }
        if let Err(error) = self.unregister(name) {
            log::warn!(target: "broker", "unregister at {name}: {error}");
        }
    }

    /// Sleeps until a round is wanted or due: its number, and whether it sends everything. `None`
    /// when the thread is to end.
    fn next(&self, name: &str) -> Option<(u64, bool)> {
        let until = Instant::now() + period_of(&self.config.get());
        let mut state = self.state();
        loop {
            let done = state.names.get(name).map(|name| name.done)?;
            let left = until.saturating_duration_since(Instant::now());
            if state.stopping {
                return None;
            }
            if state.wanted > done || left.is_zero() {
                return Some((state.wanted, state.wanted_full > done || left.is_zero()));
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// One round with one NameServer, which had version `known`; returns the version it has now.
    fn register(&self, name: &str, full: bool, known: Option<&DataVersion>) -> Result<DataVersion> {
        let config = self.config.get();
        let (mut topics, mut version) = self.topics.snapshot();
        if !(full || known.is_none()) || !config.force_register {
            let before = known.unwrap_or(&version);
            let has_it = self.has(name, before)?;
            if has_it && *before == version {
                return Ok(version);
            }
            if has_it && let Some(changes) = self.topics.changes_since(before) {
                (topics, version) = changes;
            }
        }
        let answer = self.call(name, self.registration(&config, &topics, &version))?;
        if full && self.leads(name) {
            self.take_order(&answer);
        }
        Ok(version)
    }

    /// QUERY_DATA_VERSION: whether a NameServer has this version. It counts as a sign of life.
    fn has(&self, name: &str, version: &DataVersion) -> Result<bool> {
        let config = self.config.get();
        let mut command = Command::request(request::QUERY_DATA_VERSION);
        let header = namesrv::QueryDataVersion {
            broker_addr: &self.addresses.wait().broker,
            broker_name: &config.broker_name,
            cluster_name: &config.broker_cluster_name,
            broker_id: config.broker_id,
        };
        header.encode(&mut command);
        command.body = version.to_vec();
        let answer = self.call(name, command)?;
        Ok(!namesrv::QueryDataVersionReply::decode(&answer)?.changed)
    }

    fn registration(
        &self,
        config: &BrokerConfig,
        topics: &[Arc<Topic>],
        version: &DataVersion,
    ) -> Command {
        let mut command = Command::request(request::REGISTER_BROKER);
        command.body = body(config, topics, version);
        let header = namesrv::RegisterBroker {
            broker_name: &config.broker_name,
            broker_addr: &self.addresses.wait().broker,
            cluster_name: &config.broker_cluster_name,
            ha_server_addr: &self.addresses.wait().ha,
            broker_id: config.broker_id,
            compressed: config.compressed_register,
            body_crc32: body_crc(&command.body),
        };
        header.encode(&mut command);
        command
    }

    fn unregister(&self, name: &str) -> Result<()> {
        let config = self.config.get();
        let mut command = Command::request(request::UNREGISTER_BROKER);
        let header = namesrv::UnregisterBroker {
            cluster_name: &config.broker_cluster_name,
            broker_addr: &self.addresses.wait().broker,
            broker_name: &config.broker_name,
            broker_id: config.broker_id,
        };
        header.encode(&mut command);
        accepted(self.client.call(name, command, UNREGISTER_TIMEOUT)?).map(drop)
    }

    fn call(&self, name: &str, command: Command) -> Result<Command> {
        accepted(self.client.call(name, command, timeout_of(&self.config.get()))?)
    }

    /// Whether this is the first NameServer that answers: its order table counts.
    fn leads(&self, name: &str) -> bool {
        let names = names(&self.config.get());
        let state = self.state();
        let answers = |other: &String| state.names.get(other).is_some_and(|name| !name.failing);
        names.iter().find(|other| answers(other)).is_none_or(|first| first == name)
    }

    /// The body of an answer is the table of ordered topics; without one nothing changes.
    fn take_order(&self, answer: &Command) {
        if answer.body.is_empty() {
            return;
        }
        match KvTable::from_slice(&answer.body) {
            Ok(table) => {
                if self.topics.set_ordered(|topic| table.table.contains_key(topic)) {
                    self.announce();
                }
            }
            Err(error) => log::warn!(target: "broker", "order table: {error}"),
        }
    }
}

/// The addresses of `namesrvAddr`.
fn names(config: &BrokerConfig) -> Vec<String> {
    let list = config.namesrv_addr.as_deref().unwrap_or_default();
    let names = list.split(';').map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn period_of(config: &BrokerConfig) -> Duration {
    let millis = u64::try_from(config.register_name_server_period).unwrap_or(0);
    Duration::from_millis(millis).clamp(PERIOD_MIN, PERIOD_MAX)
}

fn timeout_of(config: &BrokerConfig) -> Duration {
    Duration::from_millis(u64::try_from(config.register_broker_timeout_mills).unwrap_or(0))
}

/// RegisterBrokerBody. A broker that may not be read or not be written says so of every topic.
fn body(config: &BrokerConfig, topics: &[Arc<Topic>], version: &DataVersion) -> Vec<u8> {
    let rw = PERM_READ | PERM_WRITE;
    let restricted = config.broker_permission & rw != rw;
    let mut topic_config_table = by_name(topics);
    if restricted {
        topic_config_table.values_mut().for_each(|topic| topic.perm = config.broker_permission);
    }
    let body = RegisterBrokerBody {
        filter_server_list: Vec::new(),
        topic_config_serialize_wrapper: TopicConfigTable {
            data_version: version.clone(),
            topic_config_table,
        },
    };
    body.encode(config.compressed_register)
}

fn accepted(answer: Command) -> Result<Command> {
    if answer.code == response::SUCCESS {
        return Ok(answer);
    }
    Err(Error::refused(answer.code, answer.remark.unwrap_or_default()))
}
