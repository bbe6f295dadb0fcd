//! From a request to the thread that handles it: rows say which code goes where, pools handle.
//!
//! `Dispatcher::admit` is the one place where a request is refused or let in.

mod gate;
mod pool;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use self::pool::Pool;
use crate::base::limits::{POOL_STOP_TIME, REPLY_BODY_BYTES_MAX};
use crate::base::thread::{self, Stop};
use crate::base::{Error, Result};
use crate::net::{Conn, Port, Relief, Request, Service, Taken, cork};
use crate::protocol::Command;
use crate::protocol::code::response::{
    REQUEST_CODE_NOT_SUPPORTED, SUCCESS, SYSTEM_BUSY, SYSTEM_ERROR,
};

/// What a request is told for which there is no room.
const OVERLOAD: &str = "[OVERLOAD]system busy, start flow control for a while";
/// How often the watch tends the pools while there is work.
const TICK: Duration = Duration::from_millis(10);
/// Ticks without work after which it sleeps until there is some.
const QUIET_TICKS: u32 = 100;

/// What a handler leaves its caller to do.
pub enum Outcome {
    /// Send this, as the reply to the request whatever its opaque.
    Reply(Command),
    /// Nothing: the handler has taken the `Responder`.
    Later,
    /// Nothing: the request is not answered.
    Silent,
}

impl Outcome {
    /// The answer that consists of `body`; refused with SYSTEM_ERROR when no frame can hold it.
    pub fn body(request: &Request, body: Vec<u8>) -> Result<Outcome> {
        let max = REPLY_BODY_BYTES_MAX;
        if body.len() > max {
            let remark = format!("the answer has {} bytes, a frame holds {max}", body.len());
            return Err(Error::refused(SYSTEM_ERROR, remark));
        }
        let mut reply = request.command.reply(SUCCESS);
        reply.body = body;
        Ok(Outcome::Reply(reply))
    }
}

/// Handles one request on a worker thread. `Error::Refused` becomes that answer, any other error
/// SYSTEM_ERROR with its text.
pub type Handler<S> = fn(&Arc<S>, &Request) -> Result<Outcome>;

/// On which listeners a code is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    Both,
    /// Not on the fast port.
    Main,
}

/// What the sender of a request must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing in particular.
    None,
    /// Read the topic or group that the request names.
    Read,
    /// Write to the topic that the request names.
    Write,
    /// Administer the broker.
    Admin,
}

/// The pools of a service, numbered from 0 in the order of their `PoolSpec`s.
pub trait PoolId: Copy + Send + Sync + 'static {
    fn index(self) -> usize;
}

/// Where requests of one code go.
pub struct Row<S, P> {
    pub code: i32,
    pub pool: P,
    pub handler: Handler<S>,
    pub ports: Ports,
    pub guard: Guard,
}

/// One pool as configured.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// Begins the names of its threads.
    pub name: &'static str,
    /// Most threads; they are started as work needs them.
    pub threads: usize,
    /// A reactor may do small work of this pool itself, beside the threads.
    pub helped: bool,
    /// Most requests that wait; further ones are answered SYSTEM_BUSY.
    pub capacity: usize,
    /// A request that has waited so long is answered SYSTEM_BUSY instead of being handled.
    pub wait_limit: Option<Duration>,
}

/// One pool as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Requests waiting.
    pub queued: usize,
    pub capacity: usize,
    /// How long the first of them has waited.
    pub head_wait_ms: i64,
}

/// Refuses a request before it is queued, with the answer given. Runs on a reactor: no waiting.
pub type Refuse<S, P> = fn(&S, &Row<S, P>, &Request) -> Option<Command>;

/// Hands the requests of a server to the pools of a service.
pub struct Dispatcher<S, P> {
    core: Arc<Core<S, P>>,
    pools: Vec<Arc<Pool>>,
    refuse: Refuse<S, P>,
    on_closed: fn(&S, &Arc<Conn>),
    watch: Arc<Watch>,
    watching: Mutex<Option<thread::Handle>>,
    settle: OnceLock<Box<dyn Fn(Instant) + Send + Sync>>,
}

/// What workers need.
struct Core<S, P> {
    service: Arc<S>,
    /// By code.
    rows: Vec<Row<S, P>>,
}

/// The thread that tends the pools; it sleeps while there is nothing to do.
struct Watch {
    stop: Arc<Stop>,
    asleep: AtomicBool,
}

impl<S: Send + Sync + 'static, P: PoolId> Dispatcher<S, P> {
    /// Panics when two rows have one code or a row names a pool that is not there.
    pub fn new(
        service: Arc<S>,
        mut rows: Vec<Row<S, P>>,
        pools: Vec<PoolSpec>,
        refuse: Refuse<S, P>,
        on_closed: fn(&S, &Arc<Conn>),
    ) -> Result<Arc<Dispatcher<S, P>>> {
        rows.sort_by_key(|row| row.code);
        assert!(rows.windows(2).all(|pair| pair[0].code < pair[1].code), "a code has two rows");
        assert!(rows.iter().all(|row| row.pool.index() < pools.len()), "a row without a pool");
        let core = Arc::new(Core { service, rows });
        let pool = |spec: PoolSpec| {
            let core = core.clone();
            Pool::new(
                spec,
                Box::new(move |request| {
                    core.handle(&request);
                    request.command.reuse();
                }),
            )
        };
        let pools: Vec<Arc<Pool>> = pools.into_iter().map(pool).collect();
        let watch = Arc::new(Watch { stop: Stop::new(), asleep: AtomicBool::new(false) });
        let (own, tended) = (watch.clone(), pools.clone());
        let watching = thread::spawn("watch", move || own.run(&tended))?;
        let watching = Mutex::new(Some(watching));
        let settle = OnceLock::new();
        Ok(Arc::new(Dispatcher { core, pools, refuse, on_closed, watch, watching, settle }))
    }

    /// The row of a code on a port.
    pub fn row(&self, code: i32, port: Port) -> Option<&Row<S, P>> {
        let row = self.core.row(code)?;
        (row.ports == Ports::Both || port == Port::Main).then_some(row)
    }

    /// The state of the pool with this name.
    pub fn pool_stats(&self, name: &str) -> Option<PoolStats> {
        self.pools.iter().find(|pool| pool.spec().name == name).map(|pool| pool.stats())
    }

    /// Has a worker of the pool run `task`: the rest of a request that was parked. The capacity
    /// does not matter, whoever parks requests has a limit of his own.
    pub fn resubmit(&self, pool: P, task: Box<dyn FnOnce() + Send>) {
        self.pools[pool.index()].push_task(task);
        self.watch.alert();
    }

    /// Whenever `busy` holds while requests wait in this pool, all of them are answered SYSTEM_BUSY
    /// `[PCBUSY_CLEAN_QUEUE]`. Once per pool.
    pub fn clean_when(&self, pool: P, busy: impl Fn() -> bool + Send + Sync + 'static) {
        self.pools[pool.index()].clean_when(Box::new(busy));
    }

    /// Has the workers of this pool show `ahead` a few requests at once before they handle them.
    /// Once per pool.
    pub fn look_ahead(
        &self,
        pool: P,
        ahead: impl Fn(&mut dyn Iterator<Item = &Request>) + Send + Sync + 'static,
    ) {
        self.pools[pool.index()].look_ahead(Box::new(ahead));
    }

    /// Has the workers of this pool call `after` whenever the replies to a batch have left. Once
    /// per pool.
    pub fn call_after(&self, pool: P, after: impl Fn() + Send + Sync + 'static) {
        self.pools[pool.index()].call_after(Box::new(after));
    }

    /// Sets what waits, until a time at most, for answers that handlers left to others. Called at
    /// the stop, before the connections close. Once.
    pub fn settle_by(&self, settle: impl Fn(Instant) + Send + Sync + 'static) {
        if self.settle.set(Box::new(settle)).is_err() {
            log::error!(target: "remoting", "settled in two ways");
        }
    }

    /// Handles what is queued, refuses what comes, and ends the threads, within a bounded time.
    pub fn stop(&self) {
        self.pools.iter().for_each(|pool| pool.close());
        self.watch.stop.set();
        let watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = watching {
            thread.join();
        }
    }

    /// The pool that is to handle a request, or `None` when it has been refused:
    /// 1. nobody serves its code on its port; 2. the service has no use for it now;
    /// 3. (`enqueue`) its pool is full; 4. (`Pool`) it has waited there for too long.
    ///
    /// `turns_away` comes before all that, for connections that crowd a pool.
    fn admit(&self, request: &Request) -> Option<usize> {
        let command = &request.command;
        let Some(row) = self.row(command.code, request.conn.port()) else {
            let remark = format!(" request type {} not supported", command.code);
            request.conn.send(command.refusal(REQUEST_CODE_NOT_SUPPORTED, remark));
            return None;
        };
        if let Some(refusal) = (self.refuse)(&self.core.service, row, request) {
            request.conn.send(refusal);
            return None;
        }
        Some(row.pool.index())
    }

    fn enqueue(&self, pool: usize, batch: VecDeque<Request>, may_leave: bool) -> Taken {
        let (refused, taken) = self.pools[pool].push(batch, may_leave);
        self.watch.alert();
        for request in refused {
            request.responder().send(request.command.refusal(SYSTEM_BUSY, OVERLOAD));
        }
        taken
    }
}

impl<S: Send + Sync + 'static, P: PoolId> Service for Dispatcher<S, P> {
    fn requests(&self, batch: Vec<Request>, may_leave: bool) -> Taken {
        let _cork = cork();
        let mut run = VecDeque::with_capacity(batch.len());
        let (mut of, mut taken) = (0, Taken::default());
        for request in batch {
            let Some(pool) = self.admit(&request) else { continue };
            if pool != of && !run.is_empty() {
                taken += self.enqueue(of, std::mem::take(&mut run), may_leave);
            }
            of = pool;
            run.push_back(request);
        }
        if !run.is_empty() {
            taken += self.enqueue(of, run, may_leave);
        }
        taken
    }

    fn is_crowded(&self) -> bool {
        self.pools.iter().any(|pool| pool.is_crowded())
    }

    fn turns_away(&self, head: &Command, conn: &Arc<Conn>) -> bool {
        let Some(row) = self.row(head.code, conn.port()).filter(|_| !head.is_response()) else {
            return false;
        };
        let crowded = self.pools[row.pool.index()].is_crowded();
        if crowded && !head.is_oneway() {
            conn.send(head.refusal(SYSTEM_BUSY, OVERLOAD));
        }
        crowded
    }

    fn works(&self) -> bool {
        self.pools.iter().any(|pool| pool.spec().helped)
    }

    fn work(&self, relief: &Arc<Relief>) {
        self.pools.iter().for_each(|pool| pool.help(relief));
    }

    fn closed(&self, conn: &Arc<Conn>) {
        (self.on_closed)(&self.core.service, conn);
    }

    fn drain(&self) {
        self.stop();
        if let Some(settle) = self.settle.get() {
            settle(Instant::now() + POOL_STOP_TIME);
        }
    }
}

impl<S, P> Core<S, P> {
    fn row(&self, code: i32) -> Option<&Row<S, P>> {
        let index = self.rows.binary_search_by_key(&code, |row| row.code).ok()?;
        Some(&self.rows[index])
    }

    /// Calls the handler and sees to it that the request is answered.
    fn handle(&self, request: &Request) {
        let Some(row) = self.row(request.command.code) else { return };
        let call = || (row.handler)(&self.service, request);
        let reply = match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(Outcome::Reply(reply))) => reply,
            Ok(Ok(Outcome::Later | Outcome::Silent)) => return,
            Ok(Err(Error::Refused { code, remark })) => request.command.refusal(code, remark),
            Ok(Err(error)) => request.command.refusal(SYSTEM_ERROR, error.to_string()),
            Err(panic) => {
                let text = panic_text(&*panic);
                log::error!(target: "remoting", "request {} panicked: {text}", row.code);
                request.command.refusal(SYSTEM_ERROR, format!("panic: {text}"))
            }
        };
        if !request.is_taken() {
            request.answer(reply);
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

impl Watch {
    fn run(&self, pools: &[Arc<Pool>]) {
        let mut quiet = 0;
        loop {
            let mut pause = TICK;
            if quiet >= QUIET_TICKS {
                // First the flag, then the look: work that comes meanwhile gives the alarm.
                self.asleep.store(true, Ordering::SeqCst);
                if pools.iter().all(|pool| pool.is_idle()) {
                    pause = Duration::MAX;
                }
            }
            if self.stop.wait(pause) {
                return;
            }
            self.asleep.store(false, Ordering::SeqCst);
            let mut active = false;
            pools.iter().for_each(|pool| active |= pool.tend());
            quiet = if active { 0 } else { quiet + 1 };
        }
    }

    /// There is work.
    fn alert(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.stop.wake();
        }
    }
}
