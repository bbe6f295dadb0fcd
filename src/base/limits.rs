//! Every cap of the program: what a peer, a file or an operator can make grow, and how far.

/// Largest frame, its length word included (`com.rocketmq.remoting.frameMaxLength`).
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest topic name in bytes.
pub const TOPIC_BYTES_MAX: usize = 127;
/// Longest group name in bytes.
pub const GROUP_BYTES_MAX: usize = 255;
/// How much longer than `maxMessageSize` a whole record may be.
pub const RECORD_OVERHEAD_MAX: usize = 64 * 1024;
/// Longest property string of a message in bytes.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;
/// A sparse file gets disk blocks for at most this much ahead of its writer at a time.
pub const RESERVE_STEP_BYTES: usize = 1024 * 1024;
/// Longest topic name that becomes a directory: what a file system takes.
pub const TOPIC_DIR_BYTES_MAX: usize = 255;
/// The commit log is kept prefaulted and locked in memory for this much ahead of its writer.
pub const WARM_WINDOW_BYTES: usize = 32 * 1024 * 1024;
/// Log lines that may wait for the writer; more are dropped and counted.
pub const LOG_QUEUE_LINES: usize = 10_000;
/// Longest message of a log line in bytes; the rest is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// Largest configuration file or update text in bytes.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// Records in the answer to one query by key, in bytes; the first is returned whatever its size.
pub const QUERY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of zeros behind the end of a crashed log after which nothing stale is expected.
pub const STALE_GAP_BYTES: usize = 1024 * 1024;

const _: () = assert!(TOPIC_BYTES_MAX <= i8::MAX as usize);
