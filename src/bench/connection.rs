//! One connection of the load and the requests under way on it.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::template::Form;
use crate::base::error::IoContext;
use crate::base::{Error, Result};

/// A place for one request under way; its number is in the request's opaque.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    /// When the request was sent or, in an open loop, meant to be; ns since the start.
    pub sent: u64,
    /// Its queue among those of all topics and, of a pull, its offset.
    pub place: usize,
    pub offset: u64,
    /// Whether an answer is awaited.
    pub busy: bool,
}

/// A connection, which only ever sends one form of request.
pub struct Connection {
    pub form: Form,
    pub stream: TcpStream,
    pub slots: Vec<Slot>,
    /// Slots without a request (open loop).
    pub free: Vec<usize>,
    /// Bytes to be written, and how many of them have been.
    pub out: Vec<u8>,
    written: usize,
    /// The socket takes no more until it says so.
    full: bool,
    received: Vec<u8>,
    /// Whether it is in the list of those to be written to.
    pub touched: bool,
}

impl Connection {
    /// Connects.
    pub fn open(broker: SocketAddr, form: Form, slots: Vec<Slot>) -> Result<Connection> {
        let what = || format!("connect to {broker}");
        let stream = std::net::TcpStream::connect(broker).what(what)?;
        stream.set_nodelay(true).what(what)?;
        stream.set_nonblocking(true).what(what)?;
        Ok(Connection {
            form,
            stream: TcpStream::from_std(stream),
            slots,
            free: Vec::new(),
            out: Vec::new(),
            written: 0,
            full: false,
            received: Vec::new(),
            touched: false,
        })
    }

    /// Bytes still to be written.
    pub fn waiting(&self) -> usize {
        self.out.len() - self.written
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self) {
        self.full = false;
    }

    /// Writes what it can; the rest waits for the next event.
    pub fn write(&mut self) -> Result<()> {
        while !self.full && self.waiting() > 0 {
            match self.stream.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.full = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).what(|| "write to the broker".into()),
            }
        }
        // Seldom more than is moved, so that megabytes that wait are not moved for each request.
        if self.written >= self.waiting() {
            self.out.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    /// Reads once into `buffer`; `None` when there is nothing.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(Error::Protocol("the broker closed a connection".into())),
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).what(|| "read from the broker".into()),
            }
        }
    }

    /// What was read before and is not yet a whole frame; `put_back` returns it.
    pub fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Keeps the rest of what was read.
    pub fn put_back(&mut self, received: Vec<u8>) {
        self.received = received;
    }
}
