//! One pool: a bounded queue of requests and the threads that handle them.
//!
//! A job is what one wake-up of one connection has brought for this pool, so that a hop between
//! threads is paid once for all of it. Everything else counts requests: the capacity, the numbers
//! shown, the limit of the wait; and of long ones their memory. The watch (`Dispatcher`) tends
//! every pool each few milliseconds: it answers requests that have waited too long even if all
//! workers are stuck, takes what a stuck worker has not begun away from it, and adds workers.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::queue::SegQueue;

use super::gate::Gate;
use super::{PoolSpec, PoolStats, TICK};
use crate::base::limits::{CROWDED_QUEUE, LONG_REQUEST_BYTES, POOL_BYTES_MAX, POOL_STOP_TIME};
use crate::base::thread;
use crate::net::{self, Conn, Relief, Request, Taken};
use crate::protocol::code::response::SYSTEM_BUSY;
use crate::sys;

/// What a pool does with a request; answers it.
pub type Work = Box<dyn Fn(Request) + Send + Sync>;

/// What is done for the requests that a worker will handle next, at most `AHEAD`.
pub type LookAhead = Box<dyn Fn(&mut dyn Iterator<Item = &Request>) + Send + Sync>;

enum Job {
    /// Requests of one connection, in their order.
    Requests(VecDeque<Request>),
    /// A piece of work, and since when it waits.
    Task(Box<dyn FnOnce() + Send>, Instant),
}

/// A bounded queue of requests and the workers that take from it.
pub struct Pool {
    spec: PoolSpec,
    work: Work,
    /// Lazily allocated, so that a large capacity costs nothing; bounded by `queued`.
    queue: SegQueue<Job>,
    /// Jobs older than all in `queue`, where the watch can look at them.
    front: Mutex<VecDeque<Job>>,
    /// Length of `front`.
    fronted: AtomicUsize,
    /// Jobs in `queue` and `front`.
    jobs: AtomicUsize,
    /// Requests accepted and not begun.
    queued: AtomicUsize,
    /// Memory of the long ones among them.
    bytes: AtomicUsize,
    closed: AtomicBool,
    gate: Gate,
    workers: Mutex<Workers>,
    /// Says that all queued requests are to be refused.
    busy: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
    /// Called before the requests of a batch are handled.
    ahead: OnceLock<LookAhead>,
    /// Called when the replies to a batch have left.
    after: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Requests that wait for a pool whose reactor does them itself, at most: for more, waking a worker
/// pays.
const LEFT_MAX: usize = 8;
/// From so many requests in one read on, a connection is one that can crowd a pool.
const CROWD_BATCH: usize = 4;
/// So many requests of a batch are looked at before the first of them is handled.
pub const AHEAD: usize = 16;
/// Jobs that a reactor does in one go.
const HELP_JOBS: usize = 8;

#[derive(Default)]
struct Workers {
    seats: Vec<Arc<Seat>>,
    threads: Vec<thread::Handle>,
    /// Of the reactors that help.
    helpers: Vec<Arc<Seat>>,
}

/// What one worker has at hand.
#[derive(Default)]
struct Seat {
    batch: Mutex<Batch>,
    /// Of a reactor: has another thread go on reading.
    relief: Option<Arc<Relief>>,
}

#[derive(Default)]
struct Batch {
    rest: VecDeque<Request>,
    /// It is at work on a job.
    busy: bool,
    /// Whose requests they are.
    conn: Option<Arc<Conn>>,
    /// Requests and tasks begun so far, and how many the watch has seen.
    begun: u64,
    seen: u64,
}

impl Pool {
    /// Workers are started as work comes.
    pub fn new(spec: PoolSpec, work: Work) -> Arc<Pool> {
        Arc::new(Pool {
            spec,
            work,
            queue: SegQueue::new(),
            front: Mutex::default(),
            fronted: AtomicUsize::new(0),
            jobs: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            gate: Gate::default(),
            workers: Mutex::default(),
            busy: OnceLock::new(),
            ahead: OnceLock::new(),
            after: OnceLock::new(),
        })
    }

    /// What it was made with.
    pub fn spec(&self) -> &PoolSpec {
        &self.spec
    }

    /// Queues requests of one connection. Gives back those that have no place, and what became of
    /// the others; they are left for `help` only if `may_leave`.
    pub fn push(
        self: &Arc<Self>,
        mut batch: VecDeque<Request>,
        may_leave: bool,
    ) -> (VecDeque<Request>, Taken) {
        let queued = self.queued.fetch_add(batch.len(), Ordering::SeqCst);
        let much = self.is_crowded() && is_much(&batch);
        let closed = self.closed.load(Ordering::SeqCst);
        let room = if closed { 0 } else { self.spec.capacity.saturating_sub(queued) };
        let refused = batch.split_off(self.fitting(&batch, room));
        self.queued.fetch_sub(refused.len(), Ordering::SeqCst);
        let crowds = much || !refused.is_empty();
        if batch.is_empty() {
            return (refused, Taken { left: false, crowds });
        }
        let left = may_leave && self.spec.helped && queued + batch.len() <= LEFT_MAX;
        self.add(Job::Requests(batch));
        if !left {
            self.wake();
        }
        (refused, Taken { left, crowds })
    }

    /// Whether so many wait, or three quarters of its room are taken, that who brings many is to
    /// rest.
    pub fn is_crowded(&self) -> bool {
        let most = CROWDED_QUEUE.min(self.spec.capacity - self.spec.capacity / 4);
        self.queued.load(Ordering::SeqCst) > most
            || self.bytes.load(Ordering::Relaxed) > POOL_BYTES_MAX / 4 * 3
    }

    /// How many of these requests, at most `room`, the queue has memory for; takes it.
    fn fitting(&self, batch: &VecDeque<Request>, room: usize) -> usize {
        let mut fitting = 0;
        for request in batch.iter().take(room) {
            let bytes = long_bytes(request);
            if bytes > 0 && self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > POOL_BYTES_MAX
            {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                break;
            }
            fitting += 1;
        }
        fitting
    }

    /// A request leaves the queue; how many it leaves behind.
    fn leaves(&self, request: &Request) -> usize {
        let bytes = long_bytes(request);
        if bytes > 0 {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.queued.fetch_sub(1, Ordering::SeqCst) - 1
    }

    /// Queues a piece of work that is not a request any more, whatever the capacity.
    pub fn push_task(self: &Arc<Self>, task: Box<dyn FnOnce() + Send>) {
        self.queued.fetch_add(1, Ordering::SeqCst);
        self.add(Job::Task(task, Instant::now()));
        self.wake();
    }

    fn add(&self, job: Job) {
        self.jobs.fetch_add(1, Ordering::SeqCst);
        self.queue.push(job);
    }

    /// Sees to it that a worker comes.
    fn wake(self: &Arc<Self>) {
        if self.gate.has_sleepers() {
            self.gate.call();
        } else {
            self.grow(cores());
        }
    }

    /// Starts a worker unless there are `limit` of them, or as many as are configured.
    fn grow(self: &Arc<Self>, limit: usize) {
        let mut workers = lock(&self.workers);
        let count = workers.seats.len();
        if count >= limit.min(self.spec.threads.max(1)) || self.closed.load(Ordering::SeqCst) {
            return;
        }
        let (pool, seat) = (self.clone(), Arc::<Seat>::default());
        let own = seat.clone();
        let name = format!("{}-{count}", self.spec.name);
        match thread::spawn(&name, move || pool.run(&own)) {
            Ok(thread) => {
                workers.seats.push(seat);
                workers.threads.push(thread);
            }
            Err(error) => log::error!(target: "remoting", "{error}"),
        }
    }

    /// The life of a worker.
    fn run(&self, seat: &Seat) {
        while let Some(job) = self.next() {
            self.work(seat, job);
        }
    }

    /// Does what `push` has left, on a reactor's thread; what is too much is for a worker.
    pub fn help(self: &Arc<Self>, relief: &Arc<Relief>) {
        if !self.spec.helped || self.jobs.load(Ordering::SeqCst) == 0 {
            return;
        }
        let seat = self.helper(relief);
        for _ in 0..HELP_JOBS {
            let Some(job) = self.pop() else { return };
            self.work(&seat, job);
        }
        if self.jobs.load(Ordering::SeqCst) > 0 {
            self.wake();
        }
    }

    /// The seat of a reactor.
    fn helper(&self, relief: &Arc<Relief>) -> Arc<Seat> {
        let helpers = &mut lock(&self.workers).helpers;
        let is_its = |seat: &&Arc<Seat>| {
            seat.relief.as_ref().is_some_and(|known| Arc::ptr_eq(known, relief))
        };
        if let Some(seat) = helpers.iter().find(is_its) {
            return seat.clone();
        }
        let seat = Arc::new(Seat { relief: Some(relief.clone()), ..Seat::default() });
        helpers.push(seat.clone());
        seat
    }

    fn work(&self, seat: &Seat, job: Job) {
        let cork = net::cork();
        match job {
            Job::Requests(batch) => self.handle(seat, batch),
            Job::Task(task, _) => {
                seat.begin(VecDeque::new());
                self.queued.fetch_sub(1, Ordering::SeqCst);
                if catch_unwind(AssertUnwindSafe(task)).is_err() {
                    log::error!(target: "remoting", "a task of {} panicked", self.spec.name);
                }
            }
        }
        drop(cork);
        if let Some(after) = self.after.get() {
            after();
        }
        seat.end();
    }

    fn handle(&self, seat: &Seat, batch: VecDeque<Request>) {
        let late = batch.front().is_some_and(|request| self.is_late(request));
        seat.begin(batch);
        let ahead = self.ahead.get().filter(|_| !late);
        for handled in 0usize.. {
            if let Some(ahead) = ahead.filter(|_| handled.is_multiple_of(AHEAD)) {
                ahead(&mut lock(&seat.batch).rest.iter().take(AHEAD));
            }
            let Some(request) = seat.next() else { break };
            let queued = self.leaves(&request);
            if late {
                refuse(&request, "[TIMEOUT_CLEAN_QUEUE]", queued);
            } else {
                (self.work)(request);
            }
        }
    }

    /// The oldest job; waits for one. `None` when the pool is closed and empty.
    fn next(&self) -> Option<Job> {
        loop {
            if let Some(job) = self.take() {
                return Some(job);
            }
            let closed = || self.closed.load(Ordering::SeqCst);
            let empty = || self.jobs.load(Ordering::SeqCst) == 0;
            if closed() && empty() {
                return None;
            }
            self.gate.sleep_while(|| empty() && !closed());
        }
    }

    fn take(&self) -> Option<Job> {
        let job = self.pop()?;
        if self.jobs.load(Ordering::SeqCst) > 0 {
            self.gate.call();
        }
        Some(job)
    }

    fn pop(&self) -> Option<Job> {
        // The last look is for a job that `peek` moves just now: it was in neither.
        let queued = || self.queue.pop().or_else(|| self.take_front());
        let job = self.take_front().or_else(queued)?;
        self.jobs.fetch_sub(1, Ordering::SeqCst);
        Some(job)
    }

    fn take_front(&self) -> Option<Job> {
        if self.fronted.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut front = lock(&self.front);
        let job = front.pop_front();
        self.fronted.store(front.len(), Ordering::SeqCst);
        job
    }

    /// `front` with the oldest job in it, if there is any.
    fn peek(&self) -> MutexGuard<'_, VecDeque<Job>> {
        let mut front = lock(&self.front);
        if front.is_empty() {
            // Before the job is out of the queue: whoever finds neither would think there is none.
            self.fronted.store(1, Ordering::SeqCst);
            front.extend(self.queue.pop());
            self.fronted.store(front.len(), Ordering::SeqCst);
        }
        front
    }

    /// Since when the oldest queued job waits.
    fn oldest(&self) -> Option<Instant> {
        match self.peek().front() {
            Some(Job::Requests(batch)) => batch.front().map(|request| request.arrived),
            Some(Job::Task(_, since)) => Some(*since),
            None => None,
        }
    }

    fn is_late(&self, request: &Request) -> bool {
        self.spec.wait_limit.is_some_and(|limit| request.arrived.elapsed() >= limit)
    }

    /// What the watch does for a pool. False when there was nothing to look after.
    pub fn tend(self: &Arc<Self>) -> bool {
        let active = self.relieve();
        if self.jobs.load(Ordering::SeqCst) == 0 {
            return active;
        }
        self.refuse_queued("[PCBUSY_CLEAN_QUEUE]", |_| self.busy.get().is_some_and(|busy| busy()));
        self.refuse_queued("[TIMEOUT_CLEAN_QUEUE]", |request| self.is_late(request));
        if self.oldest().is_some_and(|since| since.elapsed() >= TICK) {
            // Those that sleep were not called for what a reactor was to do, which may be stuck.
            match self.gate.has_sleepers() {
                true => self.gate.call(),
                false => self.grow(usize::MAX),
            }
        }
        true
    }

    /// Whether nothing is queued and no worker is busy.
    pub fn is_idle(&self) -> bool {
        self.jobs.load(Ordering::SeqCst) == 0
            && self.seats().iter().all(|seat| !lock(&seat.batch).busy)
    }

    fn seats(&self) -> Vec<Arc<Seat>> {
        let workers = lock(&self.workers);
        workers.seats.iter().chain(&workers.helpers).cloned().collect()
    }

    /// Takes from workers that have begun nothing since the last tick what they have not begun, and
    /// sends the replies they hold back. False when no worker is busy.
    fn relieve(&self) -> bool {
        let mut active = false;
        for seat in self.seats() {
            let mut batch = lock(&seat.batch);
            if !batch.busy {
                continue;
            }
            active = true;
            let stuck = batch.seen == batch.begun;
            batch.seen = batch.begun;
            if stuck {
                let (rest, conn) = (std::mem::take(&mut batch.rest), batch.conn.clone());
                drop(batch);
                self.put_front(rest);
                conn.inspect(|conn| conn.flush());
                seat.relief.iter().for_each(|relief| relief.take_over());
            }
        }
        active
    }

    fn put_front(&self, requests: VecDeque<Request>) {
        if requests.is_empty() {
            return;
        }
        self.jobs.fetch_add(requests.len(), Ordering::SeqCst);
        let mut front = lock(&self.front);
        for request in requests.into_iter().rev() {
            front.push_front(Job::Requests(VecDeque::from([request])));
        }
        self.fronted.store(front.len(), Ordering::SeqCst);
        drop(front);
        self.gate.call();
    }

    /// Answers queued requests, oldest first, while `hopeless` holds.
    fn refuse_queued(&self, prefix: &str, hopeless: impl Fn(&Request) -> bool) {
        let _cork = net::cork();
        loop {
            let mut front = self.peek();
            let Some(Job::Requests(batch)) = front.front_mut() else { return };
            if !batch.front().is_some_and(&hopeless) {
                return;
            }
            let Some(request) = batch.pop_front() else { return };
            if batch.is_empty() {
                front.pop_front();
                self.fronted.store(front.len(), Ordering::SeqCst);
                self.jobs.fetch_sub(1, Ordering::SeqCst);
            }
            drop(front);
            let queued = self.leaves(&request);
            refuse(&request, prefix, queued);
        }
    }

    /// From now on all queued requests are refused whenever `busy` holds.
    pub fn clean_when(&self, busy: Box<dyn Fn() -> bool + Send + Sync>) {
        if self.busy.set(busy).is_err() {
            log::error!(target: "remoting", "{}: cleaned by two rules", self.spec.name);
        }
    }

    /// From now on `ahead` is shown the requests of a batch, a few at once, before they are
    /// handled.
    pub fn look_ahead(&self, ahead: LookAhead) {
        if self.ahead.set(ahead).is_err() {
            log::error!(target: "remoting", "{}: looks ahead in two ways", self.spec.name);
        }
    }

    /// From now on `after` is called on the worker when the replies to a batch have left.
    pub fn call_after(&self, after: Box<dyn Fn() + Send + Sync>) {
        if self.after.set(after).is_err() {
            log::error!(target: "remoting", "{}: two things to do after a batch", self.spec.name);
        }
    }

    /// How full it is, and how long its oldest request waits.
    pub fn stats(&self) -> PoolStats {
        let head_wait = self.oldest().map_or(Duration::ZERO, |since| since.elapsed());
        PoolStats {
            queued: self.queued.load(Ordering::SeqCst),
            capacity: self.spec.capacity,
            head_wait_ms: i64::try_from(head_wait.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// Takes nothing more, handles what is queued and ends the workers; after a bounded time
    /// without waiting for those that are stuck.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.gate.call_all();
        let threads = std::mem::take(&mut lock(&self.workers).threads);
        let until = Instant::now() + POOL_STOP_TIME;
        for thread in threads {
            thread.join_until(until);
        }
        while !self.is_idle() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Seat {
    fn begin(&self, requests: VecDeque<Request>) {
        let mut batch = lock(&self.batch);
        batch.busy = true;
        batch.begun += 1;
        batch.conn = requests.front().map(|request| request.conn.clone());
        batch.rest = requests;
    }

    fn end(&self) {
        let mut batch = lock(&self.batch);
        batch.busy = false;
        batch.conn = None;
    }

    fn next(&self) -> Option<Request> {
        let mut batch = lock(&self.batch);
        batch.begun += 1;
        batch.rest.pop_front()
    }
}

/// What a request counts for `POOL_BYTES_MAX`.
fn long_bytes(request: &Request) -> usize {
    Some(request.command.held_bytes()).filter(|bytes| *bytes >= LONG_REQUEST_BYTES).unwrap_or(0)
}

/// Whether a read that brought this can crowd a pool.
fn is_much(batch: &VecDeque<Request>) -> bool {
    batch.len() >= CROWD_BATCH || batch.iter().any(|request| long_bytes(request) > 0)
}

/// RocketMQ's answer to a request that nobody will handle; it comes for one-way requests as well.
fn refuse(request: &Request, prefix: &str, queued: usize) {
    let waited = request.arrived.elapsed().as_millis();
    let remark = format!(
        "{prefix}broker busy, start flow control for a while, period in queue: {waited}ms, \
         size of queue: {queued}"
    );
    request.conn.send(request.command.refusal(SYSTEM_BUSY, remark));
}

fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| sys::host::processors() as usize)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn pool() -> Arc<Pool> {
        let spec = PoolSpec { name: "p", threads: 1, helped: true, capacity: 9, wait_limit: None };
        Pool::new(spec, Box::new(|_| {}))
    }

    fn task(task: impl FnOnce() + Send + 'static) -> Job {
        Job::Task(Box::new(task), Instant::now())
    }

    /// What a stuck reactor was to do next waited for it though a worker slept.
    #[test]
    fn a_worker_does_what_a_stuck_reactor_leaves() {
        let (pool, (done, is_done)) = (pool(), mpsc::channel());
        pool.push_task(Box::new(|| {}));
        while !pool.gate.has_sleepers() {
            std::thread::yield_now();
        }
        let tended = pool.clone();
        let tend = move || {
            while !tended.closed.load(Ordering::SeqCst) {
                tended.tend();
                std::thread::sleep(TICK);
            }
        };
        let watch = thread::spawn("tend", tend).unwrap();
        let (stuck, result) = mpsc::channel();
        pool.add(task(move || stuck.send(is_done.recv_timeout(POOL_STOP_TIME)).unwrap()));
        pool.add(task(move || done.send(()).unwrap()));
        pool.help(&Arc::default());
        let result = result.recv().unwrap();
        pool.close();
        watch.join();
        assert_eq!(result, Ok(()));
    }

    /// A reactor that found no job left one behind for good: the watch was just looking at it.
    #[test]
    fn a_job_is_found_while_the_watch_looks() {
        let pool = pool();
        let watched = pool.clone();
        let look = move || {
            while !watched.closed.load(Ordering::SeqCst) {
                watched.oldest();
            }
        };
        let watch = thread::spawn("look", look).unwrap();
        let found = |_| {
            pool.add(task(|| {}));
            pool.pop().is_some()
        };
        let all = (0..300_000).all(found);
        pool.close();
        watch.join();
        assert!(all);
    }
}
