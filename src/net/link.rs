//! A connection as its reactor sees it: what is read from it, and since when something waits.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::input::{Input, Turn};
use super::reactor::{Limits, Seat};
use super::{Conn, Request, Service, cork};
use crate::base::Result;
use crate::protocol::{Command, frame};
use crate::sys;

/// What a turn leaves for `Service::work`.
#[derive(Default)]
pub struct Work {
    /// A thread is there to lead on meanwhile.
    pub may_leave: bool,
    pub left: bool,
    /// Requests that were taken in since the last wait.
    pub requests: usize,
}

/// Bytes that wait in a socket, and since when at least.
pub struct Mark {
    left: usize,
    pub since: Instant,
}

/// A connection as its reactor sees it.
pub struct Link {
    pub conn: Arc<Conn>,
    socket: Arc<TcpStream>,
    pub input: Input,
    /// Reading waits until the outbox has emptied.
    pub paused: bool,
    /// It crowds the service and is not read.
    pub resting: bool,
    /// It has something to read, and was left alone for one of the two.
    pub held_up: bool,
    /// What had arrived and was not read when it was last looked at.
    pub mark: Option<Mark>,
    /// The peer's end may stand right behind what is read, and will not be announced again: a read
    /// that empties the socket is followed by another.
    pub ending: bool,
    /// It is among those whose peer has gone.
    pub ended: bool,
    /// Last time bytes came or went.
    active: Instant,
    /// Last time the peer took bytes, or nothing waited for it.
    taking: Instant,
    _seat: Option<Seat>,
}

impl Link {
    pub fn new(conn: Arc<Conn>, socket: Arc<TcpStream>, seat: Option<Seat>) -> Link {
        let (input, now) = (Input::default(), Instant::now());
        Link {
            conn,
            socket,
            input,
            paused: false,
            resting: false,
            held_up: false,
            mark: None,
            ending: true,
            ended: false,
            active: now,
            taking: now,
            _seat: seat,
        }
    }

    /// Reads once, gives responses to who waits for them and the requests to the service.
    /// `work` becomes true when some of these are left for `Service::work`, as it may. `refusing`:
    /// the service may turn them away.
    pub fn read(
        &mut self,
        shared: &mut [u8],
        now: Instant,
        service: &dyn Service,
        work: &mut Work,
        refusing: bool,
    ) -> Result<Turn> {
        self.active = now;
        let _cork = cork();
        let mut batch = Vec::new();
        let conn = &self.conn;
        let mut source = Counted { socket: &self.socket, count: 0 };
        let turn = self.input.read(&mut source, shared, now, |bytes| {
            if refusing && service.turns_away(&frame::decode_head(bytes)?, conn) {
                return Ok(());
            }
            let command = frame::decode(bytes)?;
            if command.is_response() {
                respond(conn, command);
            } else {
                batch.push(Request::arrived_at(command, conn.clone(), now));
            }
            Ok(())
        });
        let count = source.count;
        self.mark = self.mark.take().filter(|mark| count > 0 && count < mark.left);
        self.mark.iter_mut().for_each(|mark| mark.left -= count);
        if !batch.is_empty() {
            work.requests += batch.len();
            let taken = service.requests(batch, work.may_leave);
            work.left |= taken.left;
            self.resting = taken.crowds && !refusing;
        }
        turn
    }

    /// Remembers what waits in the socket, unless it still waits for what was there before. Nothing
    /// counts too when there is `news`: the peer has gone.
    pub fn look(&mut self, now: Instant, news: bool) {
        if self.mark.is_none() {
            let left = sys::net::unread(&*self.socket).unwrap_or(0);
            self.mark = (left > 0 || news).then_some(Mark { left, since: now });
        }
    }

    /// Whether something has waited in the socket for so long.
    pub fn is_late(&self, now: Instant, limit: Duration) -> bool {
        self.mark.as_ref().is_some_and(|mark| now.saturating_duration_since(mark.since) >= limit)
    }

    /// Why it has to be closed now, if it has.
    pub fn overdue(&mut self, now: Instant, limits: &Limits) -> Option<&'static str> {
        let (wrote, blocked) = self.conn.take_progress();
        if wrote {
            self.active = now;
        }
        if wrote || !blocked {
            self.taking = now;
        }
        let over = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        if !self.held_up && self.input.since().is_some_and(|since| over(since, limits.frame)) {
            return Some("a frame was not complete in time");
        }
        if over(self.taking, limits.stall) {
            return Some("the peer does not read");
        }
        (over(self.active, limits.idle) || self.conn.is_closed()).then_some("idle")
    }
}

/// Counts what is read from a socket.
struct Counted<'a> {
    socket: &'a TcpStream,
    count: usize,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(into)?;
        self.count += count;
        Ok(count)
    }
}

fn respond(conn: &Arc<Conn>, response: Command) {
    match conn.pending().take(response.opaque) {
        Some(waiter) => waiter.complete(response),
        None => log::debug!(
            target: "remoting", "{}: nobody waits for response {}", conn.peer(), response.opaque
        ),
    }
}
