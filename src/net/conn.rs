//! One connection as all threads see it: replies leave here, without a detour where possible.
//!
//! Who has a reply encodes it into the outbox and writes to the socket itself. Only when the socket
//! takes no more does the connection count as blocked, and its reactor continues once there is
//! room. A corked thread leaves its replies in the outbox until it is uncorked, so that those to
//! one connection leave in one `writev`.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::net::TcpStream;

use super::Port;
use super::outbox::Outbox;
use super::pending::{self, Pending, Waiter};
use super::reactor::Remote;
use crate::base::limits::{
    CORK_CONNECTIONS, OUTBOX_HARD_BYTES, OUTBOX_MAPPED_BYTES, OUTBOX_SOFT_BYTES, OUTBOXES_BYTES,
};
use crate::protocol::Command;

/// A corked connection is flushed all the same when this much waits.
const CORK_BYTES: usize = 64 * 1024;

/// One connection, shared by whoever has something to say on it.
pub struct Conn {
    id: u64,
    peer: SocketAddr,
    port: Port,
    closed: AtomicBool,
    /// The socket takes no more: the reactor flushes when it does.
    blocked: AtomicBool,
    /// So much waits that no more requests are read.
    choked: AtomicBool,
    /// Bytes have left since the reactor looked.
    wrote: AtomicBool,
    output: Mutex<Output>,
    pending: Pending,
    remote: Arc<Remote>,
}

struct Output {
    /// `None` once the reactor has let go of the connection.
    socket: Option<Arc<TcpStream>>,
    outbox: Outbox,
    /// The cork that will flush what waits; 0: none.
    corked_by: u64,
    /// Part of the reactor's account of waiting bytes.
    accounted: usize,
    reason: &'static str,
}

impl Conn {
    /// A connection that has been made, before its reactor reads from it.
    pub(super) fn new(
        id: u64,
        peer: SocketAddr,
        port: Port,
        socket: Arc<TcpStream>,
        remote: Arc<Remote>,
    ) -> Arc<Conn> {
        let outbox = Outbox::default();
        let output =
            Output { socket: Some(socket), outbox, corked_by: 0, accounted: 0, reason: "" };
        Arc::new(Conn {
            id,
            peer,
            port,
            closed: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            choked: AtomicBool::new(false),
            wrote: AtomicBool::new(false),
            output: Mutex::new(output),
            pending: Pending::default(),
            remote,
        })
    }

    /// The address at the other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// A number that no other connection of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The listener it came through; `Port::Main` for a connection that this side made.
    pub fn port(&self) -> Port {
        self.port
    }

    /// Whether nothing said here can arrive any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Sends a frame: at once, or behind what waits already, or with the rest when this thread is
    /// uncorked. Never waits for the peer. On a closed connection the frame is dropped.
    pub fn send(self: &Arc<Self>, command: Command) {
        let mut out = self.lock();
        if out.socket.is_none() {
            return;
        }
        out.outbox.push(command);
        if self.blocked.load(Ordering::Relaxed) {
            self.check_limits(&mut out);
            return;
        }
        if out.outbox.left() < CORK_BYTES
            && let Some(cork) = CORKS.with_borrow(Corks::current)
        {
            if out.corked_by != cork {
                out.corked_by = cork;
                drop(out);
                touch(self.clone());
            }
            return;
        }
        self.write(&mut out);
    }

    /// Sends a request of ours; `waiter` gets the response.
    pub(super) fn call(self: &Arc<Self>, command: Command, waiter: Waiter) {
        let timed = waiter.deadline.is_some();
        if let Err(waiter) = self.pending.insert(command.opaque, waiter) {
            waiter.fail(pending::closed(self.peer));
            return;
        }
        if timed {
            self.remote.watch_deadlines();
        }
        self.send(command);
    }

    /// The requests of ours that wait for a response.
    pub(super) fn pending(&self) -> &Pending {
        &self.pending
    }

    /// Closes the connection soon, without sending what waits.
    pub fn close(&self) {
        self.close_because("closed by this side");
    }

    pub(super) fn close_because(&self, reason: &'static str) {
        self.close_output(&mut self.lock(), reason);
    }

    /// The reactor sees the shutdown as an event and lets go of the connection.
    fn close_output(&self, out: &mut Output, reason: &'static str) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            out.reason = reason;
        }
        if let Some(socket) = &out.socket {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Writes what waits, unless the reactor is to do that.
    pub(crate) fn flush(&self) {
        let mut out = self.lock();
        if !self.blocked.load(Ordering::Relaxed) {
            self.write(&mut out);
        }
    }

    /// The reactor's turn: the socket takes bytes again.
    pub(super) fn writable(&self) {
        if self.blocked.load(Ordering::SeqCst) {
            self.write(&mut self.lock());
        }
    }

    /// Writes until nothing waits or the socket takes no more. After that it tries once more with
    /// `blocked` set: the reactor ignores an event that comes before it is.
    fn write(&self, out: &mut Output) {
        out.corked_by = 0;
        let Some(socket) = &out.socket else { return };
        let before = out.outbox.left();
        let drained = loop {
            match out.outbox.write_to(&mut &**socket) {
                Ok(false) if !self.blocked.swap(true, Ordering::SeqCst) => {}
                Ok(drained) => break drained,
                Err(_) => return self.close_output(out, "the peer takes no more bytes"),
            }
        };
        if out.outbox.left() < before && !self.wrote.load(Ordering::Relaxed) {
            self.wrote.store(true, Ordering::Relaxed);
        }
        if !drained {
            self.check_limits(out);
        } else if self.blocked.load(Ordering::Relaxed) {
            self.blocked.store(false, Ordering::SeqCst);
            self.choked.store(false, Ordering::Release);
            self.account(out, 0);
        }
    }

    /// For a blocked connection: stops reading, or ends it, when too much waits.
    fn check_limits(&self, out: &mut Output) {
        let (left, held) = (out.outbox.left(), out.outbox.held());
        if left > OUTBOX_SOFT_BYTES {
            self.choked.store(true, Ordering::Release);
        } else if left < OUTBOX_SOFT_BYTES / 2 {
            self.choked.store(false, Ordering::Release);
        }
        let waiting = self.account(out, held);
        if held > OUTBOX_HARD_BYTES || left.saturating_sub(held) > OUTBOX_MAPPED_BYTES {
            self.close_output(out, "too much waits for a slow reader");
        } else if waiting > OUTBOXES_BYTES / self.remote.share() {
            self.close_output(out, "too much waits for all slow readers");
        }
    }

    /// Brings the reactor's account of waiting bytes up to date and returns it.
    fn account(&self, out: &mut Output, held: usize) -> usize {
        let was = std::mem::replace(&mut out.accounted, held);
        self.remote.account(was, held)
    }

    /// Whether the outbox is too full for more requests to be read.
    pub fn is_choked(&self) -> bool {
        self.choked.load(Ordering::Acquire)
    }

    /// Whether bytes have left since the last call, and whether more wait for the peer.
    pub(super) fn take_progress(&self) -> (bool, bool) {
        (self.wrote.swap(false, Ordering::Relaxed), self.blocked.load(Ordering::Relaxed))
    }

    /// Whether anything waits to leave.
    pub(super) fn has_output(&self) -> bool {
        !self.lock().outbox.is_empty()
    }

    /// Lets go of the socket and of all that waits. Returns why it was closed, `reason` unless this
    /// side had another.
    pub(super) fn release(&self, reason: &'static str) -> &'static str {
        let mut out = self.lock();
        self.close_output(&mut out, reason);
        out.socket = None;
        out.outbox = Outbox::default();
        self.account(&mut out, 0);
        let reason = out.reason;
        drop(out);
        self.pending.close(self.peer);
        reason
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The corks of one thread, one inside the other.
#[derive(Default)]
struct Corks {
    depth: usize,
    id: u64,
    touched: Vec<Arc<Conn>>,
}

impl Corks {
    fn current(&self) -> Option<u64> {
        (self.depth > 0).then_some(self.id)
    }
}

thread_local! {
    static CORKS: RefCell<Corks> = RefCell::default();
}

static NEXT_CORK: AtomicU64 = AtomicU64::new(1);

/// While it lives, what this thread sends waits; each connection is flushed once when it goes.
pub struct Cork {
    /// It belongs to its thread.
    _here: PhantomData<*const ()>,
}

/// Corks this thread until the guard is dropped.
#[must_use = "the cork is pulled when this is dropped"]
pub fn cork() -> Cork {
    CORKS.with_borrow_mut(|corks| {
        if corks.id == 0 {
            corks.id = NEXT_CORK.fetch_add(1, Ordering::Relaxed);
        }
        corks.depth += 1;
    });
    Cork { _here: PhantomData }
}

impl Drop for Cork {
    fn drop(&mut self) {
        let last = CORKS.with_borrow_mut(|corks| {
            corks.depth -= 1;
            corks.depth == 0
        });
        if last {
            flush_touched();
        }
    }
}

fn touch(conn: Arc<Conn>) {
    let many = CORKS.with_borrow_mut(|corks| {
        corks.touched.push(conn);
        corks.touched.len() >= CORK_CONNECTIONS
    });
    if many {
        flush_touched();
    }
}

fn flush_touched() {
    let mut touched = CORKS.with_borrow_mut(|corks| std::mem::take(&mut corks.touched));
    touched.drain(..).for_each(|conn| conn.flush());
    CORKS.with_borrow_mut(|corks| corks.touched = touched);
}
