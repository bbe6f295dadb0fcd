//! The connecting side: one connection per address, made when it is first needed.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel;

use super::pending::{self, Done, Permits, Waiter};
use super::reactor::{Limits, Reactors};
use super::{Conn, Port, Service, on_reactor};
use crate::base::error::IoContext;
use crate::base::{Error, Result};
use crate::config::ClientConfig;
use crate::protocol::Command;
use crate::protocol::command::FLAG_ONEWAY;
use crate::sys;

/// Sends requests to addresses (`host:port`) and receives what the other ends ask on its own.
pub struct Client {
    reactors: Reactors,
    config: ClientConfig,
    permits: Arc<Permits>,
    peers: Mutex<HashMap<String, Arc<Peer>>>,
}

/// The connection to one address. Whoever makes it holds the lock; others wait for the outcome.
#[derive(Default)]
struct Peer {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    conn: Option<Arc<Conn>>,
    /// When connecting failed last, and why.
    failed: Option<(Instant, ErrorKind, String)>,
}

impl Client {
    /// A client without connections. `service` gets the requests of the other ends, and is told of
    /// connections that are made and that go.
    pub fn start(config: &ClientConfig, service: Arc<dyn Service>) -> Result<Client> {
        let count = config.client_worker_threads.min(sys::host::processors() / 2).max(1) as usize;
        let limits = Limits::new(config.client_channel_max_idle_time_seconds);
        Ok(Client {
            reactors: Reactors::start("client", count, limits, service)?,
            config: config.clone(),
            permits: Permits::new(config.client_async_semaphore_value),
            peers: Mutex::default(),
        })
    }

    /// Asks and waits for the response, for `timeout` in all. An address that cannot be reached, a
    /// connection that breaks, no response in time: an error. Not for reactor threads.
    pub fn call(&self, addr: &str, command: Command, timeout: Duration) -> Result<Command> {
        debug_assert!(!on_reactor(), "a blocking call would stop its own reactor");
        let until = Instant::now() + timeout;
        let conn = self.conn(addr, until)?;
        let permit = self.permits.acquire(left(until))?;
        let (said, heard) = channel::bounded(1);
        let done: Done = Box::new(move |result| {
            let _ = said.send(result);
        });
        let opaque = command.opaque;
        conn.call(command, Waiter { done, deadline: None, permit });
        match heard.recv_deadline(until) {
            Ok(result) => result,
            Err(_) => {
                // Without a waiter the response has just come.
                if conn.pending().take(opaque).is_none()
                    && let Ok(result) = heard.recv_timeout(timeout)
                {
                    return result;
                }
                if self.config.client_close_socket_if_timeout {
                    conn.close();
                }
                Err(pending::timed_out(conn.peer()))
            }
        }
    }

    /// Asks; `done` gets the response or the error, on a reactor thread or on this one. Waits only
    /// for the connection to be made.
    pub fn call_async(&self, addr: &str, command: Command, timeout: Duration, done: Done) {
        let until = Instant::now() + timeout;
        let ready = self.conn(addr, until).and_then(|conn| {
            let wait = if on_reactor() { Duration::ZERO } else { left(until) };
            Ok((conn, self.permits.acquire(wait)?))
        });
        match ready {
            Ok((conn, permit)) => {
                conn.call(command, Waiter { done, deadline: Some(until), permit });
            }
            Err(error) => done(Err(error)),
        }
    }

    /// Tells, without a response. An error only when there is no connection.
    pub fn oneway(&self, addr: &str, mut command: Command) -> Result<()> {
        command.flag |= FLAG_ONEWAY;
        self.conn(addr, Instant::now() + self.connect_timeout())?.send(command);
        Ok(())
    }

    /// The connection to an address, made if there is none: for a pipeline of requests without a
    /// lookup for each.
    pub fn connect(&self, addr: &str) -> Result<Arc<Conn>> {
        self.conn(addr, Instant::now() + self.connect_timeout())
    }

    /// Sends what waits, for a bounded time, and closes all connections; waiting calls fail.
    pub fn stop(&self) {
        self.reactors.stop();
    }

    fn connect_timeout(&self) -> Duration {
        let millis = u64::try_from(self.config.connect_timeout_millis).unwrap_or(0).max(1);
        Duration::from_millis(millis)
    }

    /// The connection to `addr`. The time until `until` bounds the wait for another thread's
    /// attempt only as far as a failed attempt is shared; one's own takes up to
    /// `connectTimeoutMillis`.
    fn conn(&self, addr: &str, until: Instant) -> Result<Arc<Conn>> {
        let began = Instant::now();
        let peer = self.peer(addr);
        let mut state = lock(&peer.state);
        if let Some(conn) = state.conn.as_ref().filter(|conn| !conn.is_closed()) {
            return Ok(conn.clone());
        }
        if let Some((at, kind, text)) = &state.failed
            && *at >= began
        {
            return Err(io::Error::new(*kind, text.clone())).what(|| format!("connect to {addr}"));
        }
        if left(until).is_zero() {
            return Err(Error::Timeout(format!("no connection to {addr} in time")));
        }
        match self.open(addr, self.connect_timeout().min(left(until))) {
            Ok(conn) => {
                state.conn = Some(conn.clone());
                Ok(conn)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.kind(), error.to_string()));
                Err(error).what(|| format!("connect to {addr}"))
            }
        }
    }

    fn peer(&self, addr: &str) -> Arc<Peer> {
        let mut peers = lock(&self.peers);
        if let Some(peer) = peers.get(addr) {
            return peer.clone();
        }
        // Addresses nobody talks to any more: in use by no thread, and not connected.
        peers.retain(|_, peer| {
            Arc::strong_count(peer) > 1
                || lock(&peer.state).conn.as_ref().is_some_and(|conn| !conn.is_closed())
        });
        let peer = Arc::<Peer>::default();
        peers.insert(addr.to_string(), peer.clone());
        peer
    }

    /// Connects to the first address of the host that answers, IPv4 before IPv6.
    fn open(&self, addr: &str, timeout: Duration) -> io::Result<Arc<Conn>> {
        let until = Instant::now() + timeout;
        let mut addresses: Vec<SocketAddr> = addr.to_socket_addrs()?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            let left = left(until);
            if left.is_zero() {
                last = ErrorKind::TimedOut.into();
                break;
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(socket) => return self.adopt(socket, address),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn adopt(&self, socket: TcpStream, peer: SocketAddr) -> io::Result<Arc<Conn>> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let (send, receive) =
            (self.config.client_socket_snd_buf_size, self.config.client_socket_rcv_buf_size);
        sys::net::set_buffers(&socket, send, receive)?;
        self.reactors.adopt(mio::net::TcpStream::from_std(socket), peer, Port::Main, None)
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
