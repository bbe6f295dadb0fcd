//! Ferrocket: a NameServer and a Broker that take the place of Apache RocketMQ's, process for
//! process.
//!
//! This page is the map. Modules stand in dependency order: each uses only those above it, and
//! `tests/tidy.rs` holds them to that.
//!
//! | module | what it is |
//! |---|---|
//! | [`base`] | errors, limits, clock, named threads, logs, JSON, files kept safely |
//! | [`sys`] | libc behind `io::Result`; sixteen bytes compared at once |
//! | [`config`] | every key as a row: key, default, unit, documentation; properties files |
//! | [`message`] | records, properties, ids, batches, filters: bytes in, structs out |
//! | [`protocol`] | the wire: codes, frames, both header codecs, headers, bodies |
//! | [`net`] | reactors, connections, servers, clients: frames, not meanings |
//! | [`dispatch`] | from a request to the pool that handles it; every refusal in one place |
//! | [`store`] | commit log, consume queues, index, flush, recovery |
//! | [`namesrv`] | the NameServer; `namesrv/requests.rs` is its table of requests |
//! | [`broker`] | the Broker; `broker/requests.rs` is its table of requests |
//! | [`client`] | a blocking producer, consumers and admin client |
//! | [`admin`], [`bench`] | mqadmin and mqbench |
//! | [`cli`] | command lines of the daemons |
//!
//! `namesrv`, `broker` and `admin` never see each other; only `broker` sees `store` and `dispatch`
//! together.
//!
//! # One send, from socket to disk and back
//!
//! 1. `net/reactor.rs`: a wake-up reads the socket, `net/input.rs` cuts all complete frames, and
//!    `Service::requests` gets them as one batch.
//! 2. `dispatch/mod.rs`: `Dispatcher::admit` finds the row of the code, refuses the request or
//!    queues it in the row's pool. A connection that crowds the pool is not read for a while.
//! 3. `dispatch/pool.rs`: a worker of the send pool calls the handler, corked, so that the replies
//!    to one batch leave together. What little a turn has brought the reactor's thread does itself;
//!    should it be stuck there, its spare thread goes on reading (`net/lead.rs`).
//! 4. `broker/send.rs`: `message` decodes the header, checks topic and queue, builds the stored
//!    properties.
//! 5. `store/put.rs`: `Store::put` encodes what stands around the body, its CRC among it, outside
//!    any lock and looks up the queue.
//! 6. `store/commit_log.rs`: under the put lock the record gets its offsets and is copied into the
//!    mapped file, its body straight from the request, which makes it readable. With SYNC_FLUSH,
//!    `store/durable.rs` keeps the rest of the work until the flush thread has passed the record;
//!    no thread waits.
//! 7. `net/conn.rs`: the reply goes into the outbox and, by the worker itself, to the socket; only
//!    when the socket is full does the reactor continue.
//!
//! Behind it the reput thread (`store/reput.rs`) reads the new record, appends to its consume queue
//! and the index. While pulls wait for messages, the worker does that as soon as its replies have
//! left, and answers them.
//!
//! # One pull
//!
//! The same three steps to the worker; then
//!
//! 4. `broker/pull.rs`: `message` checks group, topic and subscription and asks the store for
//!    what passes its filter (`broker/filters.rs`: tags, or an expression of `message/sql.rs`).
//! 5. `store/read.rs`: `Store::get` walks the consume queue (`store/consume_queue.rs`) and returns
//!    slices of the mapped log, neighbours merged, nothing copied.
//! 6. `net/conn.rs`: header and slices leave in one `writev`; the slices keep their file mapped.
//!
//! Messages that are not in memory: the cold pool has them read first (`store/cold.rs`), and what
//! the same consumer will ask for next.
//!
//! Nothing there yet: `broker/hold.rs` parks the request and looks at the offset once more. Whoever
//! dispatches its message answers it; when one message wakes many, the pull pool does.
//!
//! # Threads
//!
//! | thread | owns | waits on | stopped by |
//! |---|---|---|---|
//! | acceptor | the listeners | epoll | waker |
//! | reactor-i, client-i | a `Poll`, connections, their input | epoll | waker, after a flush |
//! | reactor-i-spare | nothing | a reactor stuck in a request | its reactor's end |
//! | send-i, pull-i, … | nothing | the gate of its pool | close, after what is queued |
//! | watch | nothing | 10 ms while there is work | stop |
//! | allocate | the next file of the log | a condvar | stop |
//! | flush, flush-queues | how far is flushed | waiters or an interval | stop, after a last flush |
//! | reput | nothing | a put's wake-up, or 1 ms after the last | stop, after catching up |
//! | clean, store-watch | nothing | an interval | stop |
//! | delay | offsets of the delay levels | the next due time | stop |
//! | delay-offsets | nothing | an interval | stop |
//! | txn-check | ends of transactions that came late | an interval | stop |
//! | hold | parked pulls | the next deadline | stop |
//! | register | what one NameServer knows | an interval or a change | stop, unregisters |
//! | offsets, sweep, protect | nothing | an interval | stop |
//! | log | the log files | its queue | end of the process |
//!
//! # Locks
//!
//! Taken in this order, never the other way round: the round of `store/reput.rs`, under which what
//! is dispatched looks into hold and filters; topics, groups, offsets, clients, hold, filters;
//! then, in the store, the put lock, then the waiters of `durable`. Nothing is locked across a
//! system call that can block on the disk, except the commit log while it rolls to its next file,
//! the round while it appends, and the file of a table while it is written (`base/persist.rs`). A
//! connection's output lock is the innermost of all.
//!
//! # Unsafe code
//!
//! Denied, except in [`sys`] (system calls, vector instructions) and `store/mapped.rs` (mapped
//! files).
#![deny(unsafe_code)]

pub mod base;
pub mod sys;

pub mod config;
pub mod message;

pub mod protocol;

pub mod net;

pub mod dispatch;

pub mod store;

pub mod namesrv;

pub mod broker;

pub mod client;

pub mod admin;

#[cfg(feature = "bench")]
pub mod bench;

pub mod cli;
