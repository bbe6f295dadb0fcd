//! A server that only reads frames and answers each at once with the same reply: what loopback,
//! the kernel and one thread of a broker can do at most.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::base::error::IoContext;
use crate::base::{Error, Result, thread};
use crate::bench::answer::{Scanner, Wanted, find, frame_len};
use crate::bench::template::OPAQUE_BASE;
use crate::protocol::{Codec, Command, frame};

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 1024 * 1024;
const TICK: Duration = Duration::from_millis(20);

/// A running server.
pub struct Echo {
    pub address: SocketAddr,
    /// Where `/proc` counts the CPU time of its thread.
    schedstat: String,
    stop: Arc<AtomicBool>,
    handle: thread::Handle,
}

impl Echo {
    /// Starts one that answers with `reply`.
    pub fn start(reply: &Command) -> Result<Echo> {
        let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())
            .what(|| "listen on the loopback device".into())?;
        let address = listener.local_addr().what(|| "find a free port".into())?;
        let poll = Poll::new().what(|| "make an epoll".into())?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .what(|| "register a listener".into())?;
        let mut server = Server::new(poll, listener, reply)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (said, heard) = crossbeam::channel::bounded(1);
        let handle = thread::spawn("echo", move || {
            let link = std::fs::read_link("/proc/thread-self");
            let _ = said.send(link.map(|link| format!("/proc/{}/schedstat", link.display())));
            if let Err(error) = server.run(&stopped) {
                log::warn!("limits: {error}");
            }
        })?;
        let schedstat = match heard.recv() {
            Ok(Ok(path)) => path,
            _ => return Err(Error::Timeout("the thread of limits does not say its number".into())),
        };
        Ok(Echo { address, schedstat, stop, handle })
    }

    /// CPU seconds of the server up to now.
    pub fn cpu(&self) -> f64 {
        let text = std::fs::read_to_string(&self.schedstat).unwrap_or_default();
        let nanos = text.split(' ').next().and_then(|text| text.parse::<u64>().ok());
        nanos.unwrap_or(0) as f64 / 1e9
    }

    /// Ends it.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.handle.join();
    }
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    connections: Vec<Peer>,
    reply: Reply,
    buffer: Vec<u8>,
}

struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
    out: Vec<u8>,
}

/// The reply and where its opaque stands.
struct Reply {
    bytes: Vec<u8>,
    opaque: usize,
    codec: Codec,
    scanner: Scanner,
}

impl Server {
    fn new(poll: Poll, listener: TcpListener, reply: &Command) -> Result<Server> {
        let mut reply = reply.clone();
        reply.opaque = OPAQUE_BASE;
        let bytes = frame::encode(&reply);
        let opaque = match reply.codec {
            Codec::Json => find(&bytes, OPAQUE_BASE.to_string().as_bytes(), 0),
            Codec::Binary => find(&bytes, &OPAQUE_BASE.to_be_bytes(), 0),
        };
        let opaque = opaque.ok_or_else(|| Error::Protocol("the reply lost its mark".into()))?.start;
        let (codec, scanner) = (reply.codec, Scanner::default());
        let reply = Reply { bytes, opaque, codec, scanner };
        let (connections, buffer) = (Vec::new(), vec![0; READ_BYTES]);
        Ok(Server { poll, listener, connections, reply, buffer })
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        while !stop.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(TICK)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.what(|| "wait for requests".into())?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(index) => {
                        let (peer, reply) = (&mut self.connections[index], &mut self.reply);
                        if event.is_readable() {
                            peer.read(&mut self.buffer, reply)?;
                        }
                        peer.write()?;
                    }
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let what = || "take a connection".to_string();
            stream.set_nodelay(true).what(what)?;
            let (token, both) = (Token(self.connections.len()), Interest::READABLE);
            let both = both | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, token, both).what(what)?;
            self.connections.push(Peer { stream, received: Vec::new(), out: Vec::new() });
        }
        Ok(())
    }
}

impl Peer {
    /// A peer that left is not an error: the load ends before the server.
    fn read(&mut self, buffer: &mut [u8], reply: &mut Reply) -> Result<()> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(count) if count > 0 => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                _ => return Ok(()),
            };
            self.received.extend_from_slice(&buffer[..count]);
            let mut used = 0;
            while let Some(len) = frame_len(&self.received[used..]) {
                reply.write(&self.received[used..used + len], &mut self.out)?;
                used += len;
            }
            self.received.drain(..used);
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    fn write(&mut self) -> Result<()> {
        let mut done = 0;
        while done < self.out.len() {
            match self.stream.write(&self.out[done..]) {
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => done = self.out.len(),
            }
        }
        self.out.drain(..done);
        Ok(())
    }
}

impl Reply {
    fn write(&mut self, request: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let opaque = OPAQUE_BASE + self.scanner.scan(request, Wanted::Nothing)?.slot as i32;
        let at = out.len() + self.opaque;
        out.extend_from_slice(&self.bytes);
        match self.codec {
            Codec::Json => out[at..at + 10].copy_from_slice(opaque.to_string().as_bytes()),
            Codec::Binary => out[at..at + 4].copy_from_slice(&opaque.to_be_bytes()),
        }
        Ok(())
    }
}
