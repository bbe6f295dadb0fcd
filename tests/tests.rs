//! The only test target: a module per subject.

/// mqadmin: output and exit codes of every command.
mod admin;
/// Bad input at the sockets: frames, headers, fields, bodies.
mod bad_frames;
/// Bad input with a meaning: names, places, ends and retries of what is not there.
mod bad_input;
/// mqbench: what it counts, prints and refuses.
mod bench;
/// The broker's check of a store that is not in use.
mod check_store;
/// Daemons as processes of their own, to be killed, starved and watched.
mod child;
/// The client library: every way of sending and receiving.
mod client;
/// Clients and groups, offsets, locks, topics, queries, what tools ask a broker.
mod client_mgmt;
/// Messages that only the disk has.
mod cold;
/// A cluster in this process, and requests as clients make them.
mod common;
/// Rows, etc/, man/ and the printed lists agree; files load, and bad ones are refused precisely.
mod config;
/// What the store promises: kill -9 under load, a store in use, a store of another layout.
mod crash;
/// The daemons as an operator sees them: what they print, signals, exit statuses, logs.
mod daemon;
/// Delayed messages over kills and damage.
mod delay;
/// A disk without a free block: sends refused, reads served, recovery.
mod disk_full;
/// Calls that change the disk and fail: answers, reasons, recovery.
mod faults;
/// SQL92 filters: carried by a pull or by heartbeats, on reads and for pulls that wait.
mod filters;
/// Many connections and much memory asked for.
mod flood;
/// How much a pull brings, from whom, whom a message wakes; the topic for traces.
mod flow;
/// Bytes from peers and disks, changed at random.
mod fuzz;
/// Many groups on one topic.
mod groups;
/// Multi dispatch and light queues.
mod light_queues;
/// Memory that cannot be locked or made ready.
mod locked_memory;
/// Very many queues: what they keep open, over restarts, and what deleted ones leave.
mod many_queues;
/// Random sequences of everything clients do, restarts and kills, against a model in memory.
mod model;
/// Valid requests of every code, changed at random.
mod mutants;
/// The NameServer: all its requests, bad input.
mod namesrv;
/// What tools have a broker show or clean.
mod operate;
/// A connection that speaks raw frames.
mod peer;
/// Pulling: the decision table, filters, long polling.
mod pull;
/// What a broker passes on to consumers: running info, direct consumption, resets, status.
mod relay;
/// Request-reply.
mod reply;
/// Sending: all forms and refusals, batches, delays, dead letters, sync flush.
mod send;
/// The JSON files of a broker: unreadable, missing, of another time than the store.
mod state_files;
/// The house rules of the source: sizes, unsafe places, import directions.
mod tidy;
/// Messages by way of the transient store pool.
mod transient_pool;
/// Transactions: half messages, their end, questions to producers.
mod txn;
