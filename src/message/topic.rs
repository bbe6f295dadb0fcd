//! Topic and group names, and the hash that Java gives to strings.

use crate::base::limits::{GROUP_BYTES_MAX, TOPIC_BYTES_MAX};

/// The topic after which others are created automatically.
pub const AUTO_CREATE: &str = "TBW102";
/// Holds messages until their delay is over.
pub const SCHEDULE: &str = "SCHEDULE_TOPIC_XXXX";
/// For benchmarks.
pub const BENCHMARK: &str = "BenchmarkTest";
/// Holds half messages.
pub const TRANS_HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Holds what was decided about half messages.
pub const TRANS_OP_HALF: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Holds half messages that were checked in vain too often.
pub const TRANS_CHECK_MAX_TIME: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Holds message traces.
pub const TRACE: &str = "RMQ_SYS_TRACE_TOPIC";
/// The broker's own test.
pub const SELF_TEST: &str = "SELF_TEST_TOPIC";
/// Tells of pulls at offsets that are gone.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";

/// Begins the retry topic of a group.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Begins the dead-letter topic of a group.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Begins the names of light queues, and of groups that read them.
pub const LMQ_PREFIX: &str = "%LMQ%";
/// Ends the reply topic of a cluster.
pub const REPLY_POSTFIX: &str = "_REPLY_TOPIC";
/// Begins the names of further system topics.
pub const SYSTEM_PREFIX: &str = "rmq_sys_";

/// Topics that belong to every broker.
pub const SYSTEM: [&str; 9] = [
    AUTO_CREATE,
    SCHEDULE,
    BENCHMARK,
    TRANS_HALF,
    TRACE,
    TRANS_OP_HALF,
    TRANS_CHECK_MAX_TIME,
    SELF_TEST,
    OFFSET_MOVED_EVENT,
];

/// Topics that clients may not send to.
pub const NOT_SENDABLE: [&str; 6] =
    [SCHEDULE, TRANS_HALF, TRANS_OP_HALF, TRANS_CHECK_MAX_TIME, SELF_TEST, OFFSET_MOVED_EVENT];

/// Groups that belong to every broker.
pub const SYSTEM_GROUPS: [&str; 7] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
];

/// Whether `topic` is in `SYSTEM` or has the system prefix. Names of cluster and broker are the
/// broker's to know.
pub fn is_system(topic: &str) -> bool {
    topic.starts_with(SYSTEM_PREFIX) || SYSTEM.contains(&topic)
}

/// Whether this names a light queue, or a group that reads such.
pub fn is_lmq(name: &str) -> bool {
    name.starts_with(LMQ_PREFIX)
}

/// Whether clients may send to `topic`.
pub fn is_sendable(topic: &str) -> bool {
    !NOT_SENDABLE.contains(&topic)
}

/// The retry topic of a group.
pub fn retry(group: &str) -> String {
    [RETRY_PREFIX, group].concat()
}

/// The dead-letter topic of a group.
pub fn dlq(group: &str) -> String {
    [DLQ_PREFIX, group].concat()
}

/// The group whose retry topic this is.
pub fn retry_group(topic: &str) -> Option<&str> {
    topic.strip_prefix(RETRY_PREFIX)
}

/// Whether `topic` is a group's retry or dead-letter topic.
pub fn is_of_group(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX)
}

/// The topic for replies to requests, of a cluster.
pub fn reply(cluster: &str) -> String {
    [cluster, REPLY_POSTFIX].concat()
}

/// Whether `topic` can be the name of one; `Err` is the remark of RocketMQ's answer.
pub fn check(topic: &str) -> Result<(), &'static str> {
    if topic.trim().is_empty() {
        Err("The specified topic is blank.")
    } else if !topic.bytes().all(is_name_byte) {
        Err("The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")
    } else if topic.len() > TOPIC_BYTES_MAX {
        Err("The specified topic is longer than topic max length.")
    } else {
        Ok(())
    }
}

/// Whether `group` can be the name of a producer or consumer group.
pub fn check_group(group: &str) -> Result<(), &'static str> {
    if group.trim().is_empty() {
        Err("The specified group is blank.")
    } else if group.len() > GROUP_BYTES_MAX {
        Err("The specified group is longer than group max length.")
    } else if !group.bytes().all(is_name_byte) {
        Err("The specified group contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")
    } else {
        Ok(())
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')
}

/// String.hashCode of Java, over UTF-16 units.
pub fn java_hash(text: &str) -> i32 {
    java_hash_on(0, text)
}

/// The hash of a text that begins with one whose hash is `hash` and goes on with `text`.
pub fn java_hash_on(hash: i32, text: &str) -> i32 {
    let step = |hash: i32, unit: i32| hash.wrapping_mul(31).wrapping_add(unit);
    if !text.is_ascii() {
        return text.encode_utf16().fold(hash, |hash, unit| step(hash, i32::from(unit)));
    }
    let (words, tail) = text.as_bytes().as_chunks::<8>();
    let hash = words.iter().fold(hash, |hash, word| {
        hash.wrapping_mul(31_i32.wrapping_pow(8)).wrapping_add(java_hash_of_8(*word))
    });
    tail.iter().fold(hash, |hash, byte| step(hash, i32::from(*byte)))
}

/// The hash of eight characters of ASCII: of four pairs, of two fours, of all, each in a part of
/// one number wide enough for it. One by one each step would wait for the one before.
fn java_hash_of_8(characters: [u8; 8]) -> i32 {
    const PAIRS: u64 = 0x00FF_00FF_00FF_00FF;
    const FOURS: u64 = 0x0000_FFFF_0000_FFFF;
    let word = u64::from_le_bytes(characters);
    let pairs = (word & PAIRS) * 31 + (word >> 8 & PAIRS);
    let fours = (pairs & FOURS) * 31_u64.pow(2) + (pairs >> 16 & FOURS);
    (fours as i32).wrapping_mul(31_i32.pow(4)).wrapping_add((fours >> 32) as i32)
}

/// The tags code of a ConsumeQueue unit: the hash of the TAGS property, 0 without tags.
pub fn tags_code(tags: Option<&str>) -> i64 {
    tags.map_or(0, |tags| i64::from(java_hash(tags)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_java_s() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("d"), 100);
        assert_eq!(java_hash("tagA"), 3552231);
        assert_eq!(java_hash("tagBatch"), -791160896);
        assert_eq!(java_hash("TopicA#k1"), -1903240649);
        assert_eq!(java_hash("TopicA#kbatch0"), 296651248);
        let unique = "TopicA#FD00000000000000000000000000000276855FFD2B2766BB50F30000";
        assert_eq!(java_hash(unique), 465619577);
        let long: String = (0..100).map(|i| char::from(i % 64 + 0x40)).collect();
        for len in 0..long.len() {
            let units = long[..len].bytes().map(i32::from);
            let hash = units.fold(7_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit));
            assert_eq!(java_hash_on(7, &long[..len]), hash);
        }
        // Two UTF-16 units.
        assert_eq!(java_hash("\u{1F600}"), 0xD83D * 31 + 0xDE00);
        assert_eq!(tags_code(None), 0);
        assert_eq!(tags_code(Some("tagBatch")), 0xffff_ffff_d0d7_d7c0_u64 as i64);
    }

    #[test]
    fn names_are_checked_as_java_does() {
        assert!(check("%RETRY%a|b_c-d0").is_ok());
        assert_eq!(check(" "), Err("The specified topic is blank."));
        assert!(check("a.b").is_err());
        assert!(check("主题").is_err());
        assert!(check(&"a".repeat(127)).is_ok());
        assert!(check(&"a".repeat(128)).is_err());
        assert!(check_group(&"a".repeat(255)).is_ok());
        assert!(check_group(&"a".repeat(256)).is_err());
        assert!(check_group("").is_err());
    }

    #[test]
    fn names_tell_what_a_topic_is() {
        assert_eq!(retry_group(&retry("g")), Some("g"));
        assert_eq!(retry_group("T"), None);
        assert_eq!(dlq("g"), "%DLQ%g");
        assert_eq!(reply("C1"), "C1_REPLY_TOPIC");
        assert!(is_system("rmq_sys_x") && is_system("TBW102") && !is_system("T"));
        assert!(is_sendable("TBW102") && !is_sendable(SCHEDULE));
    }
}
