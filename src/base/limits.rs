//! Every cap of the program: what a peer, a file or an operator can make grow, and how far.

use std::time::Duration;

/// Largest frame, its length word included (`com.rocketmq.remoting.frameMaxLength`).
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest topic name in bytes.
pub const TOPIC_BYTES_MAX: usize = 127;
/// Longest group name in bytes.
pub const GROUP_BYTES_MAX: usize = 255;
/// How much longer than `maxMessageSize` a whole record may be.
pub const RECORD_OVERHEAD_MAX: usize = 64 * 1024;
/// Longest registration body of a broker once it is uncompressed.
pub const REGISTER_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest property string of a message in bytes.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;
/// A sparse file gets disk blocks for at most this much ahead of its writer at a time.
pub const RESERVE_STEP_BYTES: usize = 1024 * 1024;
/// Longest topic name that becomes a directory: what a file system takes.
pub const TOPIC_DIR_BYTES_MAX: usize = 255;
/// Files of consume queues that are not mapped of which up to 32 units are kept in memory, 0.7 KB
/// each.
pub const QUEUE_FILES_KEPT_MAX: usize = 131_072;
/// Queues of one topic that its sends find without the table: 16 bytes each.
pub const QUEUES_AT_HAND_MAX: usize = 1024;
/// Queues of records that are not dispatched yet which puts hand to dispatch: 16 bytes each.
pub const QUEUES_HANDED_MAX: usize = 4096;
/// Groups whose counters one topic has at hand: 24 bytes each.
pub const READERS_AT_HAND_MAX: usize = 4;
/// Files of consume queues that nobody used for this long are unmapped.
pub const QUEUE_FILES_IDLE: Duration = Duration::from_secs(120);
/// Threads that read old messages from the disk.
pub const COLD_READ_THREADS: i32 = 4;
/// Reads that wait for such a thread; further ones are answered SYSTEM_BUSY.
pub const COLD_READS_MAX: i32 = 10_000;
/// Bytes of the log that such a thread has the disk read at a time: what is asked for, and what the
/// same reader will ask for next. A longer message is read whole.
pub const COLD_READ_BYTES: i64 = 2 * 1024 * 1024;
/// Messages that are looked at for that.
pub const COLD_READ_UNITS: usize = 4096;
/// Bytes of old messages that are read from the disk a second while messages are sent, or twice
/// what these bring, should that be more.
pub const COLD_READ_SPEED: i64 = 256 * 1024 * 1024;
/// Bytes of messages sent a second from which on reads of old messages heed them.
pub const COLD_SENDS_BYTES: i64 = 1024 * 1024;
/// A read of old messages waits no longer than this for its turn.
pub const COLD_PAUSE_MAX: Duration = Duration::from_millis(100);
/// Time over which is measured how much is sent beside reads of old messages.
pub const COLD_PACE: Duration = Duration::from_millis(100);
/// Messages that were read from the disk, or found in memory, so long ago may be gone from there.
pub const COLD_READ_KEPT: Duration = Duration::from_secs(5);
/// Readers of old messages whose places are remembered, so that the disk works ahead of them.
pub const COLD_READERS_MAX: usize = 256;
/// Bytes of the log that are read to find the record of one damaged queue unit.
pub const REPAIR_READ_BYTES_MAX: i64 = 256 * 1024 * 1024;
/// Log lines that may wait for the writer; more are dropped and counted.
pub const LOG_QUEUE_LINES: usize = 10_000;
/// Longest message of a log line in bytes; the rest is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// Elements of all arrays in one JSON text: in memory each may be fifty times as long as its text.
pub const JSON_ELEMENTS_MAX: usize = 1_000_000;
/// Largest configuration file or update text in bytes.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// Records in the answer to one query by key, in bytes; the first is returned whatever its size.
pub const QUERY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Faults of one part of a store (log, queues, index, the rest) that a check names; further ones
/// are counted.
pub const CHECK_FAULTS_SHOWN: u64 = 1000;
/// Longest record that a check takes for one.
pub const CHECK_RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest JSON file that a check reads.
pub const CHECK_JSON_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Queue and ext files that a check has open at a time.
pub const CHECK_FILES_OPEN: usize = 512;
/// Queues that are not there, but that records belong to: a check counts them one by one up to
/// this many.
pub const CHECK_QUEUES_MAX: usize = 1_000_000;
/// Largest JSON file of state that a start reads.
pub const STATE_FILE_BYTES_MAX: u64 = 1 << 30;
/// Disk space kept for state files, at most; less on a disk of less than 64 times that.
pub const DISK_RESERVE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of zeros behind the end of a crashed log after which nothing stale is expected.
pub const STALE_GAP_BYTES: usize = 1024 * 1024;

/// Connections of one listener; further ones are closed as they are accepted. Fewer where the
/// system lets the process have fewer files.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Files that a process may have open and that connections leave to the rest of it; a quarter of
/// them where it may have few.
pub const FILES_KEPT: usize = 256;
/// Bytes waiting to leave on a connection from which on no more requests are read from it.
pub const OUTBOX_SOFT_BYTES: usize = 1024 * 1024;
/// Memory that waiting bytes of one connection may take (mapped bodies take none): beyond, it is
/// closed.
pub const OUTBOX_HARD_BYTES: usize = 64 * 1024 * 1024;
/// Mapped bytes that may wait on one connection: beyond, it is closed.
pub const OUTBOX_MAPPED_BYTES: usize = 1024 * 1024 * 1024;
/// Memory for what waits to leave, over all connections of a server: beyond, the connection that
/// needs more is closed.
pub const OUTBOXES_BYTES: usize = 512 * 1024 * 1024;
/// A connection whose peer takes no byte of what waits for it is closed after this long.
pub const OUTBOX_STALL: Duration = Duration::from_secs(60);
/// A frame must be complete this long after its first byte, or its connection is closed.
pub const FRAME_TIME: Duration = Duration::from_secs(60);
/// Memory for frames that are not complete, over all connections of a server: beyond, the
/// connection with the oldest such frame is closed.
pub const HALF_FRAMES_BYTES: usize = 256 * 1024 * 1024;
/// How long no connection is accepted after the system has refused one (no descriptors left).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The same complaint about connections is logged once in this time.
pub const COMPLAINT_PERIOD: Duration = Duration::from_secs(10);
/// Connections that a corked thread leaves unflushed.
pub const CORK_CONNECTIONS: usize = 64;
/// Requests that wait in a pool from which on connections that bring many at a time rest: what they
/// send waits in their sockets, since a long queue does not stay in the processor's cache.
pub const CROWDED_QUEUE: usize = 1024;
/// What connections that rest have sent is refused when it has waited in the socket for this long,
/// so that the answer comes in time.
pub const CROWDED_REST: Duration = Duration::from_millis(80);
/// How long a server that stops goes on sending replies.
pub const STOP_FLUSH: Duration = Duration::from_secs(2);
/// Memory for requests that wait in one pool, those of `LONG_REQUEST_BYTES` and more: beyond,
/// requests are answered SYSTEM_BUSY. Of shorter ones the pool's capacity bounds the number.
pub const POOL_BYTES_MAX: usize = 256 * 1024 * 1024;
/// From this size on a request counts for `POOL_BYTES_MAX`.
pub const LONG_REQUEST_BYTES: usize = 16 * 1024;
/// Bundles of 32 spare buffers of requests, of each kind, that wait for a thread in need of some.
pub const SPARE_BUNDLES_MAX: usize = 32;
/// A buffer that grew longer is freed instead.
pub const SPARE_BYTES_MAX: usize = 8 * 1024;
/// How long a pool that stops waits for what its workers have begun.
pub const POOL_STOP_TIME: Duration = Duration::from_secs(5);
/// Requests that wait in a name server; further ones are answered SYSTEM_BUSY.
pub const NAMESRV_REQUESTS_MAX: usize = 10_000;
/// Brokers, broker addresses and clusters a name server holds, each.
pub const NAMESRV_BROKERS_MAX: usize = 10_000;
/// Largest body of an answer: a frame holds it together with its header.
pub const REPLY_BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - 64 * 1024;
/// Pairs of topic and broker a name server holds.
pub const NAMESRV_QUEUE_ENTRIES_MAX: usize = 2_000_000;
/// Longest name (topic, broker, cluster, address, KV key) a name server takes in, in bytes.
pub const NAMESRV_NAME_BYTES_MAX: usize = 1024;
/// Filter servers in one registration.
pub const FILTER_SERVERS_MAX: usize = 100;
/// Bytes of their addresses.
pub const FILTER_SERVERS_BYTES_MAX: usize = 16 * 1024;
/// Longest value of the KV configuration in bytes.
pub const KV_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Largest KV configuration in bytes of its JSON: one namespace must fit the answer to a
/// registration.
pub const KV_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Queues of one broker that a client works out from a route.
pub const CLIENT_QUEUES_PER_BROKER_MAX: i32 = 65_536;
/// Queues that one consumer takes.
pub const CLIENT_ASSIGNED_QUEUES_MAX: usize = 16_384;
/// Calls of the listener that wait for a consume thread.
pub const CLIENT_CONSUME_JOBS_MAX: usize = 1024;
/// Asynchronous sends of one producer under way.
pub const CLIENT_ASYNC_SENDS_MAX: usize = 65_535;
/// Largest message body after inflating.
pub const INFLATED_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Topics of one broker, those made automatically included.
pub const TOPICS_MAX: usize = 200_000;
/// Changes of topics that are remembered; a NameServer that missed more gets the whole table.
pub const TOPIC_CHANGES_MAX: usize = 1024;
/// Deleted topics whose place in the log is kept.
pub const DELETED_TOPICS_MAX: usize = 20_000;
/// Read or write queues of one topic.
pub const TOPIC_QUEUES_MAX: i32 = 65_536;
/// Subscription groups of one broker, those made automatically included.
pub const GROUPS_MAX: usize = 100_000;
/// Pairs of topic and group that consumer offsets are kept for.
pub const OFFSET_GROUPS_MAX: usize = 1_000_000;
/// Queues of one such pair.
pub const OFFSET_QUEUES_MAX: usize = TOPIC_QUEUES_MAX as usize;
/// Groups with connected consumers, and as many with connected producers.
pub const CLIENT_GROUPS_MAX: usize = 100_000;
/// Memberships of connected clients: one a client and group.
pub const CLIENT_MEMBERS_MAX: usize = 1_000_000;
/// Longest client id in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 1024;
/// Longest name of a topic or a broker, in bytes, that is remembered for a client: in locks of
/// queues and filters.
pub const CLIENT_NAME_BYTES_MAX: usize = 1024;
/// Topics that one group subscribes.
pub const SUBSCRIPTIONS_MAX: usize = 20_000;
/// Memory for the subscriptions of all groups.
pub const SUBSCRIPTIONS_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Longest expression over tags in bytes.
pub const TAGS_BYTES_MAX: usize = 32 * 1024;
/// Queue locks of orderly consumers.
pub const QUEUE_LOCKS_MAX: usize = 1_000_000;
/// Pulls that wait for messages.
pub const HELD_PULLS_MAX: usize = 200_000;
/// Those of one topic.
pub const HELD_PULLS_PER_TOPIC_MAX: usize = 20_000;
/// Memory for the expressions that waiting pulls have brought, about.
pub const HELD_PULLS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long a pull may wait, in ms, whatever it asks for.
pub const HELD_PULL_MS_MAX: i64 = 300_000;
/// Longest SQL filter expression in bytes.
pub const SQL_BYTES_MAX: usize = 32 * 1024;
/// How deep signs, NOTs and parentheses of one are nested.
pub const SQL_DEPTH_MAX: usize = 100;
/// Operators of one.
pub const SQL_OPERATIONS_MAX: usize = 1000;
/// Different properties that one names.
pub const SQL_VARIABLES_MAX: usize = 64;
/// Further queues that one message is dispatched to.
pub const MULTI_DISPATCH_QUEUES_MAX: usize = 1000;
/// SQL filters of consumer groups that a broker keeps, those of groups that left included.
pub const FILTERS_MAX: usize = 10_000;
/// Calls to clients under way: a relay or a push that would be one more fails at once.
pub const CLIENT_CALLS_MAX: i32 = 65_536;
/// Units of a consume queue that one request shows.
pub const SHOWN_UNITS_MAX: usize = 50_000;
/// Half messages that one round of transaction checks looks at, each a bit of memory.
pub const TXN_WINDOW_MAX: usize = 1 << 29;
/// Transactions remembered that were ended after their producer had been asked.
pub const TXN_LATE_MAX: usize = 100_000;
/// Keys of each kind of statistics.
pub const STATS_ITEMS_MAX: usize = 1_000_000;

const _: () = assert!(POOL_BYTES_MAX >= FRAME_BYTES_MAX);
const _: () = assert!(HELD_PULLS_PER_TOPIC_MAX <= HELD_PULLS_MAX);
const _: () = assert!(TOPIC_BYTES_MAX <= i8::MAX as usize);
const _: () = assert!(KV_BYTES_MAX < FRAME_BYTES_MAX / 2 + 1);
