//! The accepting side: listeners on a thread of their own, connections spread over the reactors.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::pending::{Done, Permits, Waiter};
use super::reactor::{Limits, Reactors, Seat};
use super::{Conn, Port, Service};
use crate::base::error::IoContext;
use crate::base::limits::{ACCEPT_PAUSE, COMPLAINT_PERIOD, FILES_KEPT};
use crate::base::{Result, thread};
use crate::config::ServerConfig;
use crate::protocol::Command;
use crate::protocol::command::FLAG_ONEWAY;
use crate::sys;

/// RocketMQ's default of `serverSelectorThreads`. It stands for a number that fits the machine.
const SELECTOR_THREADS_DEFAULT: i32 = 3;

/// Listens, accepts, and serves its connections until `stop`.
pub struct Server {
    locals: Vec<(Port, SocketAddr)>,
    reactors: Arc<Reactors>,
    acceptor: Mutex<Option<thread::Handle>>,
    stopping: Arc<AtomicBool>,
    waker: Waker,
    permits: Arc<Permits>,
}

impl Server {
    /// Listens on every address; port 0 takes any free port. Fails when an address cannot be taken,
    /// naming it.
    pub fn start(
        config: &ServerConfig,
        listen: &[(SocketAddr, Port)],
        service: Arc<dyn Service>,
    ) -> Result<Server> {
        let mut limits = Limits::new(config.server_channel_max_idle_time_seconds);
        limits.connections = limits.connections.min(connections_each(listen.len())?);
        limits.spin = spin(config);
        Server::start_limited(config, listen, service, limits)
    }

    /// `start` with other limits than the program's.
    pub(super) fn start_limited(
        config: &ServerConfig,
        listen: &[(SocketAddr, Port)],
        service: Arc<dyn Service>,
        limits: Limits,
    ) -> Result<Server> {
        let poll = Poll::new().what(|| "create the acceptor".to_string())?;
        let mut listeners = Vec::new();
        for &(address, port) in listen {
            let listener = Listener::open(&poll, listeners.len(), address, port, config)
                .what(|| format!("listen on {address}"))?;
            listeners.push(listener);
        }
        let locals = listeners.iter().map(|listener| (listener.port, listener.local)).collect();
        let waker = Waker::new(poll.registry(), Token(listeners.len()))
            .what(|| "create the acceptor".to_string())?;
        let count = reactor_count(config);
        let reactors = Arc::new(Reactors::start("reactor", count, limits, service)?);
        let stopping = Arc::new(AtomicBool::new(false));
        let acceptor = Acceptor {
            poll,
            listeners,
            reactors: reactors.clone(),
            stopping: stopping.clone(),
            buffers: (config.server_socket_snd_buf_size, config.server_socket_rcv_buf_size),
            connections: limits.connections,
            complained: None,
        };
        let thread = thread::spawn("acceptor", move || acceptor.run())?;
        Ok(Server {
            locals,
            reactors,
            acceptor: Mutex::new(Some(thread)),
            stopping,
            waker,
            permits: Permits::new(limits.calls),
        })
    }

    /// The address of a listener. Panics when the server has none for this port.
    pub fn local_addr(&self, port: Port) -> SocketAddr {
        let local = self.locals.iter().find(|(of, _)| *of == port);
        local.map(|(_, address)| *address).expect("a listener for each port that is asked for")
    }

    /// Asks the client at the other end of a connection. `done` gets the response, or an error
    /// after `timeout`, or at once when `CLIENT_CALLS_MAX` calls are under way. Never waits.
    pub fn call(&self, conn: &Arc<Conn>, command: Command, timeout: Duration, done: Done) {
        let deadline = Some(Instant::now() + timeout);
        match self.permits.acquire(Duration::ZERO) {
            Ok(permit) => conn.call(command, Waiter { done, deadline, permit }),
            Err(error) => done(Err(error)),
        }
    }

    /// Tells the client at the other end of a connection something. Does not wait: what a peer does
    /// not read is bounded by the limits of its connection.
    pub fn oneway(&self, conn: &Arc<Conn>, mut command: Command) {
        command.flag |= FLAG_ONEWAY;
        conn.send(command);
    }

    /// Accepts no more, reads no more, has the service answer what it has been given, sends these
    /// answers for a bounded time and closes everything. Returns when all its threads have ended.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        if let Err(error) = self.waker.wake() {
            log::error!(target: "remoting", "wake the acceptor: {error}");
        }
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = acceptor {
            thread.join();
            self.reactors.stop();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `serverSelectorThreads`; left at RocketMQ's default it means half the cores, at most 8.
fn reactor_count(config: &ServerConfig) -> usize {
    match config.server_selector_threads {
        SELECTOR_THREADS_DEFAULT => (sys::host::processors() / 2).clamp(1, 8) as usize,
        count => usize::try_from(count).unwrap_or(0).max(1),
    }
}

/// `serverSelectorSpinMicros`; a processor alone is left to the clients.
fn spin(config: &ServerConfig) -> Duration {
    match sys::host::processors() {
        1 => Duration::ZERO,
        _ => Duration::from_micros(config.server_selector_spin_micros.unsigned_abs().into()),
    }
}

/// Connections that each of some listeners may have, so that files can be opened beside them.
fn connections_each(listeners: usize) -> Result<usize> {
    let files = sys::process::open_files_max().what(|| "read the limit of files".to_string())?;
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let left = files - FILES_KEPT.min(files / 4);
    Ok((left / listeners.max(1)).max(1))
}

struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    port: Port,
    /// Connections that came through it and are open.
    taken: Arc<AtomicUsize>,
}

impl Listener {
    fn open(
        poll: &Poll,
        index: usize,
        address: SocketAddr,
        port: Port,
        config: &ServerConfig,
    ) -> io::Result<Listener> {
        let socket = sys::net::listen(address, config.server_socket_backlog.max(1))?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        let mut socket = TcpListener::from_std(socket);
        poll.registry().register(&mut socket, Token(index), Interest::READABLE)?;
        Ok(Listener { socket, local, port, taken: Arc::default() })
    }
}

struct Acceptor {
    poll: Poll,
    listeners: Vec<Listener>,
    reactors: Arc<Reactors>,
    stopping: Arc<AtomicBool>,
    /// Sizes of the kernel's buffers, send and receive; 0: its own choice.
    buffers: (i32, i32),
    /// Connections a listener may have.
    connections: usize,
    complained: Option<Instant>,
}

impl Acceptor {
    fn run(mut self) {
        let mut events = Events::with_capacity(8);
        let mut pause = None;
        loop {
            match self.poll.poll(&mut events, pause) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::error!(target: "remoting", "no connection is accepted any more: {error}");
                    return;
                }
            }
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            pause = None;
            for index in 0..self.listeners.len() {
                if !self.accept_all(index) {
                    pause = Some(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Accepts what waits. False when the system refuses: try again after a pause.
    fn accept_all(&mut self, index: usize) -> bool {
        loop {
            let listener = &self.listeners[index];
            match listener.socket.accept() {
                Ok((socket, peer)) => {
                    let port = listener.port;
                    match Seat::take(&listener.taken, self.connections) {
                        Some(seat) => self.place(socket, peer, port, seat),
                        None => {
                            let limit = self.connections;
                            self.complain(format!("{peer} refused: {limit} connections are open"));
                        }
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return true,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        self.complain(format!("accept: {error}"));
                        return false;
                    }
                },
            }
        }
    }

    fn place(&mut self, socket: TcpStream, peer: SocketAddr, port: Port, seat: Seat) {
        let (send, receive) = self.buffers;
        let placed = socket
            .set_nodelay(true)
            .and_then(|()| sys::net::set_buffers(&socket, send, receive))
            .and_then(|()| self.reactors.adopt(socket, peer, port, Some(seat)));
        if let Err(error) = placed {
            self.complain(format!("{peer}: {error}"));
        }
    }

    fn complain(&mut self, text: String) {
        let now = Instant::now();
        let silent = self.complained.is_some_and(|at| now - at < COMPLAINT_PERIOD);
        if !silent {
            self.complained = Some(now);
            log::warn!(target: "remoting", "{text}");
        }
    }
}
