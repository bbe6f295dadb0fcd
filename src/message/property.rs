//! The property string of a message: `name 0x01 value 0x02 name 0x01 value …`.
//!
//! A trailing 0x02 may be there or not. A segment without 0x01, or with an empty name or value, is
//! skipped; of several with one name the last counts. Written here without the trailing 0x02,
//! as 4.9 does.

use std::collections::BTreeMap;

use crate::base::bytes::{self, Places, places};

/// Between name and value.
pub const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// Between properties.
pub const SEPARATOR: char = '\u{2}';
/// `SEPARATOR` as a byte.
pub const SEPARATOR_BYTE: u8 = 2;

/// Set by some producers; without a meaning here.
pub const BUYER_ID: &str = "BUYER_ID";
/// Seconds in which a half message is not checked.
pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
/// Name of the cluster, added by the broker.
pub const CLUSTER: &str = "CLUSTER";
/// When a consumer began with the message, ms; never stored.
pub const CONSUME_START_TIME: &str = "CONSUME_START_TIME";
/// Matches a reply message to its request.
pub const CORRELATION_ID: &str = "CORRELATION_ID";
/// Delay level.
pub const DELAY: &str = "DELAY";
/// Further queues that get the message, separated by commas.
pub const INNER_MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
/// Its offsets in these queues.
pub const INNER_MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";
/// Namespace instance.
pub const INSTANCE_ID: &str = "INSTANCE_ID";
/// Keys for queries, separated by blanks.
pub const KEYS: &str = "KEYS";
/// End of the queue at the pull; added by the consumer.
pub const MAX_OFFSET: &str = "MAX_OFFSET";
/// How often it may be consumed in vain.
pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
/// Begin of the queue at the pull; added by the consumer.
pub const MIN_OFFSET: &str = "MIN_OFFSET";
/// The broker's region.
pub const MSG_REGION: &str = "MSG_REGION";
/// `reply` for a reply message.
pub const MSG_TYPE: &str = "MSG_TYPE";
/// Offset message id of the message that is retried.
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
/// Producer group of a half message.
pub const PGROUP: &str = "PGROUP";
/// When a reply was handed to the client, ms.
pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
/// Queue that a delayed or half message is for.
pub const REAL_QID: &str = "REAL_QID";
/// Topic that a delayed or half message is for.
pub const REAL_TOPIC: &str = "REAL_TOPIC";
/// How often it was consumed in vain.
pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
/// Client id that waits for the reply.
pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
/// Topic of the message that is retried.
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
/// Tag for filters.
pub const TAGS: &str = "TAGS";
/// Delay of a timer message of RocketMQ 5 in ms.
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
/// Its delay in seconds.
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
/// Its time of delivery, ms since the epoch.
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
/// Whether traces are wanted.
pub const TRACE_ON: &str = "TRACE_ON";
/// How often the producer was asked.
pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// Set when a message was moved; without a meaning here.
pub const TRANSFER_FLAG: &str = "TRANSFER_FLAG";
/// `true` for a half message.
pub const TRAN_MSG: &str = "TRAN_MSG";
/// Queue offset of the first copy of a half message.
pub const TRAN_PREPARED_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
/// How long a request waits for its reply, ms.
pub const TTL: &str = "TTL";
/// The client's id of the message.
pub const UNIQ_KEY: &str = "UNIQ_KEY";
/// Whether the producer waits for flush and replication.
pub const WAIT: &str = "WAIT";

/// Goes through the pairs of a property string.
pub struct Pairs<'a> {
    properties: &'a str,
    separators: Places<'a>,
    /// Where the next segment begins.
    start: usize,
}

/// The pairs in order, those that are skipped left out. Looks at each byte once.
#[inline(always)]
pub fn iter(properties: &str) -> Pairs<'_> {
    let separators = places(properties.as_bytes(), NAME_VALUE_SEPARATOR as u8, SEPARATOR_BYTE);
    Pairs { properties, separators, start: 0 }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    #[inline(always)]
    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let text = self.properties;
        while self.start < text.len() {
            let mut at = self.separators.next().unwrap_or(text.len());
            let (name, middle) = (self.start, at);
            while text.as_bytes().get(at) == Some(&(NAME_VALUE_SEPARATOR as u8)) {
                at = self.separators.next().unwrap_or(text.len());
            }
            self.start = at + 1;
            if name < middle && middle + 1 < at {
                return Some((&text[name..middle], &text[middle + 1..at]));
            }
        }
        None
    }
}

/// What stands between the separators, empty segments left out.
fn segments(properties: &str) -> impl Iterator<Item = &str> {
    let mut rest = properties;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = find(rest, SEPARATOR_BYTE).unwrap_or(rest.len());
            let segment = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            if !segment.is_empty() {
                return Some(segment);
            }
        }
        None
    })
}

/// Position of an ASCII character.
fn find(text: &str, byte: u8) -> Option<usize> {
    bytes::find(text.as_bytes(), byte)
}

fn pair(segment: &str) -> Option<(&str, &str)> {
    let middle = find(segment, NAME_VALUE_SEPARATOR as u8)?;
    let (name, value) = (&segment[..middle], &segment[middle + 1..]);
    (!name.is_empty() && !value.is_empty()).then_some((name, value))
}

/// The value of a property.
pub fn get<'a>(properties: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = properties;
    loop {
        let start = memrchr(SEPARATOR_BYTE, rest.as_bytes()).map_or(0, |at| at + 1);
        match pair(&rest[start..]) {
            Some((found, value)) if found == name => return Some(value),
            _ if start == 0 => return None,
            _ => rest = &rest[..start - 1],
        }
    }
}

fn memrchr(byte: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|&b| b == byte)
}

/// Whether a property has the value `true`, in any case of letters.
pub fn is_true(properties: &str, name: &str) -> bool {
    get(properties, name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Whether the producer waits for flush and replication: WAIT absent, or `true`.
pub fn waits(properties: &str) -> bool {
    get(properties, WAIT).is_none_or(|value| value.eq_ignore_ascii_case("true"))
}

/// Adds a property behind the others; a former one of the same name no longer counts.
pub fn push(properties: &mut String, name: &str, value: &str) {
    if !properties.is_empty() && !properties.ends_with(SEPARATOR) {
        properties.push(SEPARATOR);
    }
    properties.push_str(name);
    properties.push(NAME_VALUE_SEPARATOR);
    properties.push_str(value);
}

/// Gives a property a value, in place of any former one.
pub fn set(properties: &mut String, name: &str, value: &str) {
    remove(properties, name);
    push(properties, name, value);
}

/// Takes a property out.
pub fn remove(properties: &mut String, name: &str) {
    if get(properties, name).is_some() {
        let mut rest = String::with_capacity(properties.len());
        copy_without(properties, name, &mut rest);
        *properties = rest;
    }
}

/// Appends the property string to `out` without one property, otherwise as it is: a send on its way
/// into the store drops WAIT so.
pub fn copy_without(properties: &str, name: &str, out: &mut String) {
    let start = out.len();
    let mut found = false;
    for segment in segments(properties) {
        let is_named = segment.as_bytes().get(name.len()) == Some(&(NAME_VALUE_SEPARATOR as u8))
            && segment.starts_with(name);
        if is_named && segment.len() > name.len() + 1 {
            found = true;
            continue;
        }
        if !out.is_empty() {
            out.push(SEPARATOR);
        }
        out.push_str(segment);
    }
    if !found && !properties.contains(name) {
        out.truncate(start);
        out.push_str(properties);
    }
}

/// The pairs by name.
pub fn to_map(properties: &str) -> BTreeMap<String, String> {
    iter(properties).map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// The property string of pairs.
pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut properties = String::new();
    for (name, value) in pairs {
        push(&mut properties, name, value);
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_with_and_without_trailing_separator() {
        let text = "u\u{1}v\u{2}TAGS\u{1}a\u{2}";
        assert_eq!(get(text, "TAGS"), Some("a"));
        assert_eq!(get(text, "u"), Some("v"));
        assert_eq!(get(text, "x"), None);
        assert_eq!(get("", "x"), None);
        assert_eq!(iter(text).count(), 2);
    }

    #[test]
    fn skips_broken_segments_and_the_last_name_wins() {
        let text = "a\u{1}\u{2}\u{1}b\u{2}c\u{2}k\u{1}1\u{2}k\u{1}2\u{2}v\u{1}x\u{1}y";
        assert_eq!(get(text, "a"), None);
        assert_eq!(get(text, "k"), Some("2"));
        assert_eq!(get(text, "v"), Some("x\u{1}y"));
        assert_eq!(iter(text).count(), 3);
        assert_eq!(to_map(text).len(), 2);
    }

    #[test]
    fn pairs_are_those_of_the_segments() {
        let parts = ["\u{1}", "\u{2}", "a", "name", "\u{e9}", "a value that is somewhat longer"];
        for seed in 0..6_usize.pow(5) {
            let pick = |at: u32| parts[seed / 6_usize.pow(at % 5) % 6];
            let text: String = (0..12).map(|at| pick(at * at + at / 5)).collect();
            let wanted: Vec<_> = segments(&text).filter_map(pair).collect();
            assert_eq!(iter(&text).collect::<Vec<_>>(), wanted, "{text:?}");
        }
    }

    #[test]
    fn changes_keep_the_rest() {
        let mut text = String::from("a\u{1}1\u{2}WAIT\u{1}true\u{2}b\u{1}2\u{2}");
        remove(&mut text, WAIT);
        assert_eq!(text, "a\u{1}1\u{2}b\u{1}2");
        set(&mut text, "a", "3");
        assert_eq!(text, "b\u{1}2\u{2}a\u{1}3");
        let mut copy = String::from("x");
        copy_without("b\u{1}2\u{2}\u{2}", WAIT, &mut copy);
        copy_without("b\u{1}WAIT\u{2}WAIT\u{1}\u{2}WAIT\u{1}a\u{2}", WAIT, &mut copy);
        assert_eq!(copy, "xb\u{1}2\u{2}\u{2}\u{2}b\u{1}WAIT\u{2}WAIT\u{1}");
        remove(&mut text, "b");
        remove(&mut text, "a");
        assert_eq!(text, "");
        set(&mut text, "x", "y");
        assert_eq!(text, "x\u{1}y");
        assert_eq!(from_pairs([("a", "1"), ("b", "2")]), "a\u{1}1\u{2}b\u{1}2");
    }

    #[test]
    fn wait_is_true_unless_said_otherwise() {
        assert!(waits("") && waits("WAIT\u{1}true") && !waits("WAIT\u{1}false"));
        assert!(is_true("TRAN_MSG\u{1}True", TRAN_MSG) && !is_true("", TRAN_MSG));
    }
}
