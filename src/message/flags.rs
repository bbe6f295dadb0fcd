//! Flag bits: of a message, of a pull request, of a topic.

/// The body is compressed; the algorithm is in `COMPRESSION_MASK`.
pub const COMPRESSED: i32 = 0x1;
/// The topic's filter type is MULTI_TAG.
pub const MULTI_TAGS: i32 = 0x2;
/// A half message.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// A committed message of a transaction.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// A rolled back half message.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The bits of the three above; zero is an ordinary message.
pub const TRANSACTION_MASK: i32 = 0xC;
/// The born host takes 20 bytes instead of 8.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host takes 20 bytes instead of 8.
pub const STORE_HOST_V6: i32 = 0x20;
/// 5.x: must be unwrapped by the reader.
pub const NEED_UNWRAP: i32 = 0x40;
/// 5.x: the body is a batch.
pub const INNER_BATCH: i32 = 0x80;
/// Compression algorithm; zero means zlib, as of old clients.
pub const COMPRESSION_MASK: i32 = 0x700;
/// LZ4 frame format.
pub const COMPRESSION_LZ4: i32 = 0x100;
/// Zstandard frame format.
pub const COMPRESSION_ZSTD: i32 = 0x200;
/// RFC 1950.
pub const COMPRESSION_ZLIB: i32 = 0x300;

/// The transaction bits of a sysFlag.
pub fn transaction(sys_flag: i32) -> i32 {
    sys_flag & TRANSACTION_MASK
}

/// Pull: commit `commitOffset` on the way.
pub const PULL_COMMIT_OFFSET: i32 = 0x1;
/// Pull: wait for messages when there are none.
pub const PULL_SUSPEND: i32 = 0x2;
/// Pull: the subscription is in the request.
pub const PULL_SUBSCRIPTION: i32 = 0x4;
/// Pull: class filter.
pub const PULL_CLASS_FILTER: i32 = 0x8;
/// Pull: lite pull.
pub const PULL_LITE: i32 = 0x10;

/// Topic permission: priority, without meaning in 4.x.
pub const PERM_PRIORITY: i32 = 8;
/// Topic permission: read.
pub const PERM_READ: i32 = 4;
/// Topic permission: write.
pub const PERM_WRITE: i32 = 2;
/// Topic permission: topics may be created after this one.
pub const PERM_INHERIT: i32 = 1;

/// topicSysFlag: unit topic.
pub const TOPIC_UNIT: i32 = 1;
/// topicSysFlag: has unit subscriptions.
pub const TOPIC_UNIT_SUB: i32 = 2;

/// The text form of permission bits, `RWX` with `-` for what is missing.
pub fn perm_text(perm: i32) -> String {
    [(PERM_READ, 'R'), (PERM_WRITE, 'W'), (PERM_INHERIT, 'X')]
        .iter()
        .map(|&(bit, letter)| if perm & bit != 0 { letter } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn perm_text_shows_each_bit() {
        assert_eq!(super::perm_text(6), "RW-");
        assert_eq!(super::perm_text(1), "--X");
        assert_eq!(super::perm_text(15), "RWX");
    }
}
