//! Sockets: connections, the threads that read from them, requests and their answers. Knows frames,
//! not what they mean.
//!
//! A reactor reads from its connections, cuts frames and hands the requests of each over to a
//! `Service`; whoever has a reply writes it to the connection. Server and client side share all of
//! that and differ in who makes the connection.

mod client;
mod conn;
mod input;
mod lead;
mod link;
mod outbox;
mod pending;
mod reactor;
mod server;
mod spin;
#[cfg(test)]
mod tests;

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use reactor::on_reactor;

pub use client::Client;
pub use conn::{Conn, Cork, cork};
pub use lead::Relief;
pub use pending::Done;
pub use server::Server;

use crate::protocol::code::response::SYSTEM_ERROR;
use crate::protocol::command::FLAG_RESPONSE;
use crate::protocol::{Codec, Command};

/// Which listener of a broker a connection came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// `listenPort`.
    Main,
    /// `listenPort` − 2, the "VIP channel".
    Fast,
}

/// What a server, or a client, does with what arrives. All calls come on reactor threads: they must
/// not wait for anything.
pub trait Service: Send + Sync {
    /// The requests that one read has brought on one connection, at least one, in their order.
    /// Some may be left for `work` if `may_leave`.
    fn requests(&self, batch: Vec<Request>, may_leave: bool) -> Taken;

    /// Whether so much waits that connections which have brought much are to rest on.
    fn is_crowded(&self) -> bool {
        false
    }

    /// Refuses a request, of which only the head is known, if there are too many like it; false:
    /// it is to be read whole. Asked for what has waited in the sockets of connections that rest.
    fn turns_away(&self, _head: &Command, _conn: &Arc<Conn>) -> bool {
        false
    }

    /// Whether requests are ever left for `work`.
    fn works(&self) -> bool {
        false
    }

    /// Sees to what `requests` has left, on the thread that has read it. The only call beside
    /// `drain` that may wait: `relief` has another thread go on reading.
    fn work(&self, _relief: &Arc<Relief>) {}

    /// A connection has been made.
    fn connected(&self, _conn: &Arc<Conn>) {}

    /// A connection has gone; comes once for every `connected`.
    fn closed(&self, _conn: &Arc<Conn>) {}

    /// The server stops and reads no more: answer what has been handed over, within seconds. The
    /// replies are sent before connections are closed.
    fn drain(&self) {}
}

/// What a service has done with requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Some are left for `Service::work`.
    pub left: bool,
    /// They were many and are among too many: their connection is to rest, which is to say that it
    /// is not read while `Service::is_crowded` holds, but for what waits in its socket for
    /// `CROWDED_REST`: that is turned away, in a small share of the time.
    pub crowds: bool,
}

impl AddAssign for Taken {
    fn add_assign(&mut self, other: Taken) {
        self.left |= other.left;
        self.crowds |= other.crowds;
    }
}

/// A request that has arrived.
pub struct Request {
    pub command: Command,
    pub conn: Arc<Conn>,
    pub arrived: Instant,
    /// Somebody has its responder.
    taken: AtomicBool,
}

impl Request {
    /// A request that arrives now.
    pub fn new(command: Command, conn: Arc<Conn>) -> Request {
        Request::arrived_at(command, conn, Instant::now())
    }

    pub(crate) fn arrived_at(command: Command, conn: Arc<Conn>, arrived: Instant) -> Request {
        Request { command, conn, arrived, taken: AtomicBool::new(false) }
    }

    /// The duty to answer, for whoever does that later.
    pub fn responder(&self) -> Responder {
        self.taken.store(true, Ordering::Relaxed);
        Responder {
            conn: self.conn.clone(),
            opaque: self.command.opaque,
            codec: self.command.codec,
            wanted: !self.command.is_oneway(),
        }
    }

    /// Answers on the spot, as `Responder::send` does.
    pub fn answer(&self, reply: Command) {
        if !self.command.is_oneway() {
            send_reply(&self.conn, self.command.opaque, self.command.codec, reply);
        }
    }

    /// Whether `responder` was called: its holder answers.
    pub fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }
}

/// Answers one request exactly once. Dropped without a word it answers SYSTEM_ERROR. A one-way
/// request is never answered.
pub struct Responder {
    conn: Arc<Conn>,
    opaque: i32,
    codec: Codec,
    wanted: bool,
}

impl Responder {
    /// Sends the reply, made one of this request whatever its opaque, flag and codec say.
    pub fn send(mut self, reply: Command) {
        self.answer(reply);
    }

    /// Leaves the request without an answer.
    pub fn silent(mut self) {
        self.wanted = false;
    }

    /// The connection that waits for the answer.
    pub fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    fn answer(&mut self, reply: Command) {
        if std::mem::take(&mut self.wanted) {
            send_reply(&self.conn, self.opaque, self.codec, reply);
        }
    }
}

fn send_reply(conn: &Arc<Conn>, opaque: i32, codec: Codec, mut reply: Command) {
    reply.opaque = opaque;
    reply.codec = codec;
    reply.flag |= FLAG_RESPONSE;
    conn.send(reply);
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.wanted {
            let remark = Some("the request was dropped without an answer".to_string());
            let version = crate::protocol::command::VERSION;
            self.answer(Command { code: SYSTEM_ERROR, version, remark, ..Command::default() });
        }
    }
}
