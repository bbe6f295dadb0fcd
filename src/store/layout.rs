//! Names below the store's root directory, RocketMQ's.

use std::path::{Path, PathBuf};

/// Digits of a segment's name.
const SEGMENT_DIGITS: usize = 20;

/// The name of the segment whose first byte has this offset.
pub fn segment_name(start: i64) -> String {
    format!("{start:020}")
}

/// The offset that a segment's name stands for.
pub fn parse_segment(name: &str) -> Option<i64> {
    let digits = name.len() == SEGMENT_DIGITS && name.bytes().all(|b| b.is_ascii_digit());
    if digits { name.parse().ok() } else { None }
}

/// Segments of consume queues: `<root>/consumequeue/<topic>/<queueId>/`.
pub fn consume_queue_dir(root: &Path) -> PathBuf {
    root.join("consumequeue")
}

/// What is kept beside them, in the same way.
pub fn consume_queue_ext_dir(root: &Path) -> PathBuf {
    root.join("consumequeue_ext")
}

/// Index files.
pub fn index_dir(root: &Path) -> PathBuf {
    root.join("index")
}

/// Three timestamps that say how far things were on disk.
pub fn checkpoint_file(root: &Path) -> PathBuf {
    root.join("checkpoint")
}

/// How much of the queues and the index is on disk; see `ends`.
pub fn ends_file(root: &Path) -> PathBuf {
    root.join("storeEnds.json")
}

/// Where topics were deleted; see `deleted`.
pub fn deleted_file(root: &Path) -> PathBuf {
    root.join("deletedTopics.json")
}

/// Exists while a broker runs.
pub fn abort_file(root: &Path) -> PathBuf {
    root.join("abort")
}

/// Keeps space for the state files of a broker whose disk is full.
pub fn reserve_file(root: &Path) -> PathBuf {
    root.join("reserve")
}

/// Locked while a broker runs; stays.
pub fn lock_file(root: &Path) -> PathBuf {
    root.join("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names() {
        assert_eq!(segment_name(1_073_741_824), "00000000001073741824");
        assert_eq!(parse_segment("00000000001073741824"), Some(1_073_741_824));
        assert_eq!(parse_segment("99999999999999999999"), None);
        assert_eq!(parse_segment("+0000000001073741824"), None);
        assert_eq!(parse_segment("1073741824"), None);
    }
}
