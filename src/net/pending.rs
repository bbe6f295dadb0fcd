//! Requests of ours that wait for their response: opaque → waiter, one table per connection.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::{Error, Result};
use crate::protocol::Command;

/// Gets the response, or why there is none. Runs on a reactor: it must not block.
pub type Done = Box<dyn FnOnce(Result<Command>) + Send>;

/// One request that was sent.
pub struct Waiter {
    pub done: Done,
    /// When the reactor gives up on it; `None`: who waits looks at the clock itself.
    pub deadline: Option<Instant>,
    /// Given back when the waiter goes.
    pub permit: Permit,
}

/// The requests sent on one connection. The peer's own requests carry opaques of another count:
/// they never meet these, since only responses are looked up here.
#[derive(Default)]
pub struct Pending {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    closed: bool,
    waiters: HashMap<i32, Waiter>,
}

impl Pending {
    /// Takes note of a request before it is sent. Gives the waiter back when the connection has
    /// been closed or the opaque is in use.
    pub fn insert(&self, opaque: i32, waiter: Waiter) -> std::result::Result<(), Waiter> {
        let mut table = self.lock();
        if table.closed || table.waiters.contains_key(&opaque) {
            return Err(waiter);
        }
        table.waiters.insert(opaque, waiter);
        Ok(())
    }

    /// Who waits for a response with this opaque; each waiter is given out once.
    pub fn take(&self, opaque: i32) -> Option<Waiter> {
        self.lock().waiters.remove(&opaque)
    }

    /// Fails the requests whose deadline has passed. False when no other has a deadline.
    pub fn expire(&self, now: Instant, peer: SocketAddr) -> bool {
        let mut table = self.lock();
        let late = |waiter: &Waiter| waiter.deadline.is_some_and(|deadline| deadline <= now);
        let expired: Vec<_> = table.waiters.extract_if(|_, waiter| late(waiter)).collect();
        let more = table.waiters.values().any(|waiter| waiter.deadline.is_some());
        drop(table);
        expired.into_iter().for_each(|(_, waiter)| waiter.fail(timed_out(peer)));
        more
    }

    /// Fails everything that waits, and whatever would come later.
    pub fn close(&self, peer: SocketAddr) {
        let waiters = {
            let mut table = self.lock();
            table.closed = true;
            std::mem::take(&mut table.waiters)
        };
        waiters.into_values().for_each(|waiter| waiter.fail(closed(peer)));
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Tells that there will be no response.
    pub fn fail(self, error: Error) {
        drop(self.permit);
        (self.done)(Err(error));
    }

    /// Hands the response over.
    pub fn complete(self, response: Command) {
        drop(self.permit);
        (self.done)(Ok(response));
    }
}

/// The error of a request whose connection has gone.
pub fn closed(peer: SocketAddr) -> Error {
    let source = io::Error::from(ErrorKind::ConnectionAborted);
    Error::Io { what: format!("connection to {peer}"), source }
}

/// The error of a request without a response in time.
pub fn timed_out(peer: SocketAddr) -> Error {
    Error::Timeout(format!("no response from {peer} in time"))
}

/// So many requests may wait for their response at once.
pub struct Permits {
    free: Mutex<usize>,
    freed: Condvar,
}

/// The right to have one request under way.
pub struct Permit {
    permits: Arc<Permits>,
}

impl Permits {
    /// `count` permits, at least one.
    pub fn new(count: i32) -> Arc<Permits> {
        let free = usize::try_from(count).unwrap_or(0).max(1);
        Arc::new(Permits { free: Mutex::new(free), freed: Condvar::new() })
    }

    /// One of them; waits for it up to `wait`.
    pub fn acquire(self: &Arc<Self>, wait: Duration) -> Result<Permit> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_timeout_while(free, wait, |free| *free == 0);
        let mut free = waited.unwrap_or_else(PoisonError::into_inner).0;
        if *free == 0 {
            return Err(Error::Timeout("too many requests are waiting for a response".to_string()));
        }
        *free -= 1;
        Ok(Permit { permits: self.clone() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.permits.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.permits.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const PEER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

    fn waiter(permits: &Arc<Permits>, ms: u64) -> (Waiter, mpsc::Receiver<Result<Command>>) {
        let (said, heard) = mpsc::channel();
        let done: Done = Box::new(move |result| said.send(result).unwrap());
        let deadline = Some(Instant::now() + Duration::from_millis(ms));
        let permit = permits.acquire(Duration::ZERO).unwrap();
        (Waiter { done, deadline, permit }, heard)
    }

    #[test]
    fn a_response_goes_to_its_waiter_once() {
        let (pending, permits) = (Pending::default(), Permits::new(2));
        let (first, heard) = waiter(&permits, 1000);
        assert!(pending.insert(7, first).is_ok());
        assert!(pending.take(8).is_none());
        pending.take(7).unwrap().complete(Command::request(3));
        assert_eq!(heard.recv().unwrap().unwrap().code, 3);
        assert!(pending.take(7).is_none());
    }

    #[test]
    fn an_opaque_in_use_is_refused_and_permits_come_back() {
        let (pending, permits) = (Pending::default(), Permits::new(2));
        assert!(pending.insert(7, waiter(&permits, 1000).0).is_ok());
        assert!(pending.insert(7, waiter(&permits, 1000).0).is_err());
        let _second = permits.acquire(Duration::ZERO).unwrap();
        assert!(permits.acquire(Duration::from_millis(1)).is_err());
        drop(pending.take(7));
        assert!(permits.acquire(Duration::ZERO).is_ok());
    }

    #[test]
    fn deadlines_and_closing_fail_what_waits() {
        let (pending, permits) = (Pending::default(), Permits::new(9));
        let (short, heard_short) = waiter(&permits, 10);
        let (long, heard_long) = waiter(&permits, 100_000);
        assert!(pending.insert(1, short).is_ok() && pending.insert(2, long).is_ok());
        assert!(pending.expire(Instant::now() + Duration::from_secs(1), PEER));
        assert!(matches!(heard_short.recv().unwrap(), Err(Error::Timeout(_))));
        assert_eq!(pending.lock().waiters.len(), 1);
        pending.close(PEER);
        assert!(matches!(heard_long.recv().unwrap(), Err(Error::Io { .. })));
        assert!(pending.insert(3, waiter(&permits, 10).0).is_err());
    }
}
