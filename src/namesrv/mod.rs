//! The NameServer: brokers register here, clients look routes up. Knows no other NameServer.
//!
//! `requests.rs` is the table of what it serves; `route_info.rs` and `kv.rs` are its whole state.

mod config;
pub mod kv;
mod kv_requests;
mod register;
mod requests;
mod route;
mod route_info;
mod sweep;
mod topics;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::base::thread::{Handle, Stop};
use crate::base::{Error, Result};
use crate::config::{Live, NamesrvConfig};
use crate::dispatch::Dispatcher;
use crate::net::{Conn, Port, Server};

use kv::KvConfig;
use route_info::{ConnId, RouteInfo};

use requests::Pool;

pub use requests::served;

/// A running NameServer.
pub struct NameServer {
    state: Arc<State>,
    server: Server,
    dispatcher: Arc<Dispatcher<State, Pool>>,
    stop: Arc<Stop>,
    sweep: Mutex<Option<Handle>>,
}

/// What the handlers work on.
pub(crate) struct State {
    config: Arc<Live<NamesrvConfig>>,
    kv: KvConfig,
    routes: RwLock<RouteInfo>,
    registrars: Mutex<Registrars>,
    stop: Arc<Stop>,
}

/// The connections that registered a broker.
#[derive(Default)]
struct Registrars {
    open: HashMap<ConnId, Arc<Conn>>,
    /// Closed, and their brokers not yet removed; the sweep thread does that.
    closed: Vec<ConnId>,
}

impl NameServer {
    /// Loads the KV configuration, listens, and serves. Fails when either cannot be done.
    pub fn start(config: NamesrvConfig) -> Result<Arc<NameServer>> {
        let kv = KvConfig::load(Path::new(&config.kv_config_path))?;
        log::info!(target: "namesrv", "{} values of KV configuration", kv.values());
        let server_config = config.server.clone();
        let stop = Stop::new();
        let state = Arc::new(State {
            config: Arc::new(Live::new(config)),
            kv,
            routes: RwLock::default(),
            registrars: Mutex::default(),
            stop: Arc::clone(&stop),
        });
        let dispatcher = requests::dispatcher(Arc::clone(&state), &server_config)?;
        let port = u16::try_from(server_config.listen_port)
            .map_err(|_| Error::Config(format!("listenPort {}", server_config.listen_port)))?;
        let listen = SocketAddr::from(([0, 0, 0, 0], port));
        let server = Server::start(&server_config, &[(listen, Port::Main)], dispatcher.clone())?;
        let sweep = sweep::start(Arc::clone(&state), Arc::clone(&stop))?;
        let sweep = Mutex::new(Some(sweep));
        Ok(Arc::new(NameServer { state, server, dispatcher, stop, sweep }))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr(Port::Main)
    }

    /// The configuration as changed while running.
    pub fn config(&self) -> Arc<NamesrvConfig> {
        self.state.config.get()
    }

    /// Stops listening, answers what was accepted, ends its threads. A second call does nothing.
    pub fn stop(&self) {
        self.stop.set();
        self.dispatcher.stop();
        self.server.stop();
        let sweep = self.sweep.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sweep) = sweep {
            sweep.join();
        }
    }
}

impl State {
    fn routes(&self) -> RwLockReadGuard<'_, RouteInfo> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes_mut(&self) -> RwLockWriteGuard<'_, RouteInfo> {
        self.routes.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn registrars(&self) -> MutexGuard<'_, Registrars> {
        self.registrars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection closed: when brokers registered over it, the sweep thread is to remove them.
    fn closed(&self, conn: &Conn) {
        let mut registrars = self.registrars();
        if registrars.open.remove(&conn.id()).is_some() {
            registrars.closed.push(conn.id());
            drop(registrars);
            self.stop.wake();
        }
    }
}
