//! Messages as an application writes and receives them.

use crate::base::{Error, Result, limits};
use crate::message::{batch, flags, property, record, topic};
use crate::protocol::body::MessageQueue;
use crate::protocol::code::response;

use super::body;
use super::identity;

/// A message to be sent.
#[derive(Debug, Clone, Default)]
pub struct Message {
    topic: String,
    body: Vec<u8>,
    flag: i32,
    /// RocketMQ's property string.
    properties: String,
}

impl Message {
    /// A message without tags, keys or other properties.
    pub fn new(topic: impl Into<String>, body: impl Into<Vec<u8>>) -> Message {
        Message { topic: topic.into(), body: body.into(), ..Message::default() }
    }

    /// The tag consumers select by.
    pub fn tags(self, tags: &str) -> Message {
        self.property(property::TAGS, tags)
    }

    /// Keys to find it by, separated by blanks.
    pub fn keys(self, keys: &str) -> Message {
        self.property(property::KEYS, keys)
    }

    /// Deliver after the time of a delay level, from 1 on.
    pub fn delay_level(self, level: i32) -> Message {
        self.property(property::DELAY, &level.to_string())
    }

    /// Whether the broker answers only when it is stored as durably as configured; it does by
    /// default.
    pub fn wait_store(self, wait: bool) -> Message {
        self.property(property::WAIT, if wait { "true" } else { "false" })
    }

    /// The application's own flag, stored as it is.
    pub fn flag(mut self, flag: i32) -> Message {
        self.flag = flag;
        self
    }

    /// Any property; an empty value removes it.
    pub fn property(mut self, name: &str, value: &str) -> Message {
        if value.is_empty() {
            property::remove(&mut self.properties, name);
        } else {
            property::set(&mut self.properties, name, value);
        }
        self
    }

    /// The topic it goes to.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        property::get(&self.properties, name)
    }
}

/// A message made ready once for all attempts to send it.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub topic: String,
    pub body: Vec<u8>,
    pub flag: i32,
    pub sys_flag: i32,
    pub properties: String,
    /// UNIQ_KEY, for a batch all of them joined by commas.
    pub unique_key: String,
    pub batch: bool,
}

/// The largest body and the length from which on it is compressed, both in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub max: usize,
    pub compress_from: usize,
}

impl Outgoing {
    /// Checks a message, gives it its unique key, and compresses a long body.
    pub fn single(message: &Message, limits: BodyLimits) -> Result<Outgoing> {
        check(message, limits)?;
        let (properties, unique_key) = with_unique_key(message);
        let mut outgoing = Outgoing {
            topic: message.topic.clone(),
            body: message.body.clone(),
            flag: message.flag,
            sys_flag: 0,
            properties,
            unique_key,
            batch: false,
        };
        if outgoing.body.len() >= limits.compress_from {
            outgoing.body = body::compress(&outgoing.body)?;
            outgoing.sys_flag |= flags::COMPRESSED | flags::COMPRESSION_ZLIB;
        }
        Ok(outgoing)
    }

    /// Checks messages of one topic and packs them into one body.
    pub fn batch(messages: &[Message], limits: BodyLimits) -> Result<Outgoing> {
        let Some(first) = messages.first() else { return Err(bad("a batch of no messages")) };
        let mut body = Vec::new();
        let mut keys = Vec::with_capacity(messages.len());
        for message in messages {
            check(message, limits)?;
            check_batch(first, message)?;
            let (properties, key) = with_unique_key(message);
            batch::push(&mut body, message.flag, &message.body, &properties)?;
            keys.push(key);
        }
        if body.len() > limits.max {
            return Err(bad(format!("a batch of {} bytes, at most {}", body.len(), limits.max)));
        }
        let wait = if property::waits(&first.properties) { "true" } else { "false" };
        let properties = property::from_pairs([(property::WAIT, wait)]);
        Ok(Outgoing {
            topic: first.topic.clone(),
            body,
            flag: first.flag,
            sys_flag: 0,
            properties,
            unique_key: keys.join(","),
            batch: true,
        })
    }
}

fn with_unique_key(message: &Message) -> (String, String) {
    let mut properties = message.properties.clone();
    if let Some(key) = property::get(&properties, property::UNIQ_KEY) {
        let key = key.to_owned();
        return (properties, key);
    }
    let key = identity::unique_key();
    property::set(&mut properties, property::UNIQ_KEY, &key);
    (properties, key)
}

fn bad(remark: impl Into<String>) -> Error {
    Error::refused(response::MESSAGE_ILLEGAL, remark)
}

fn check(message: &Message, limits: BodyLimits) -> Result<()> {
    topic::check(&message.topic).map_err(bad)?;
    if !topic::is_sendable(&message.topic) {
        return Err(bad(format!("Sending message to topic[{}] is forbidden.", message.topic)));
    }
    if message.body.is_empty() {
        return Err(bad("the message body length is zero"));
    }
    if message.body.len() > limits.max {
        return Err(bad(format!("the message body size over max value, MAX: {}", limits.max)));
    }
    if message.properties.len() > limits::PROPERTIES_BYTES_MAX {
        return Err(bad(format!("{} bytes of properties", message.properties.len())));
    }
    Ok(())
}

fn check_batch(first: &Message, message: &Message) -> Result<()> {
    if message.topic != first.topic {
        return Err(bad("The topic of the messages in one batch should be the same"));
    }
    if topic::retry_group(&message.topic).is_some() {
        return Err(bad("Retry Group is not supported for batching"));
    }
    if message.get(property::DELAY).is_some() {
        return Err(bad("TimeDelayLevel is not supported for batching"));
    }
    if property::waits(&message.properties) != property::waits(&first.properties) {
        return Err(bad("The waitStoreMsgOK of the messages in one batch should be the same"));
    }
    Ok(())
}

/// A message that was received: the stored record and where it lies. Its body is decompressed.
#[derive(Debug, Clone)]
pub struct MessageExt {
    /// The queue it was in; the broker name is that of the broker asked.
    pub queue: MessageQueue,
    /// The record; `message.body` is what the sender gave.
    pub message: crate::message::Message,
    /// The message id by which the stored record is found: broker address and commit log offset.
    pub offset_msg_id: String,
}

impl MessageExt {
    /// The id its sender saw: the unique key, or the offset id when it has none.
    pub fn msg_id(&self) -> &str {
        self.get(property::UNIQ_KEY).unwrap_or(&self.offset_msg_id)
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        &self.message.topic
    }

    /// Its body.
    pub fn body(&self) -> &[u8] {
        &self.message.body
    }

    /// Its tag.
    pub fn tags(&self) -> Option<&str> {
        self.get(property::TAGS)
    }

    /// Its keys, separated by blanks.
    pub fn keys(&self) -> Option<&str> {
        self.get(property::KEYS)
    }

    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        property::get(&self.message.properties, name)
    }

    /// The message to be sent once more, with all its properties: its unique key stays.
    pub fn to_message(&self) -> Message {
        Message {
            topic: self.message.topic.clone(),
            body: self.message.body.clone(),
            flag: self.message.flag,
            properties: self.message.properties.clone(),
        }
    }

    /// How often it was consumed before without success.
    pub fn reconsume_times(&self) -> i32 {
        self.message.reconsume_times
    }

    /// Its place in its queue.
    pub fn queue_offset(&self) -> i64 {
        self.message.queue_offset
    }
}

/// The records of an answer, one behind the other, as messages of `broker_name`.
pub(crate) fn decode_records(bytes: &[u8], broker_name: &str) -> Result<Vec<MessageExt>> {
    let records = record::decode_all(bytes)?;
    records.into_iter().map(|message| received(message, broker_name)).collect()
}

fn received(mut message: crate::message::Message, broker_name: &str) -> Result<MessageExt> {
    message.body = body::decompress(std::mem::take(&mut message.body), message.sys_flag)?;
    let queue = MessageQueue {
        topic: message.topic.clone(),
        broker_name: broker_name.to_owned(),
        queue_id: message.queue_id,
    };
    let offset_msg_id = message.offset_id();
    Ok(MessageExt { queue, message, offset_msg_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BodyLimits = BodyLimits { max: 10_000, compress_from: 4096 };

    #[test]
    fn a_message_keeps_its_unique_key() {
        let outgoing = Outgoing::single(&Message::new("T", "x").tags("A"), LIMITS).expect("good");
        assert_eq!(outgoing.unique_key.len(), 32);
        let key = property::get(&outgoing.properties, property::UNIQ_KEY);
        assert_eq!(key, Some(outgoing.unique_key.as_str()));
        assert_eq!(property::get(&outgoing.properties, property::TAGS), Some("A"));
        let again = Message::new("T", "x").property(property::UNIQ_KEY, "mine");
        assert_eq!(Outgoing::single(&again, LIMITS).expect("good").unique_key, "mine");
    }

    #[test]
    fn long_bodies_are_compressed() {
        let outgoing = Outgoing::single(&Message::new("T", vec![7; 4096]), LIMITS).expect("good");
        assert_eq!(outgoing.sys_flag & flags::COMPRESSED, flags::COMPRESSED);
        let body = body::decompress(outgoing.body, outgoing.sys_flag).expect("readable");
        assert_eq!(body, vec![7; 4096]);
        let outgoing = Outgoing::single(&Message::new("T", vec![7; 4095]), LIMITS).expect("good");
        assert_eq!((outgoing.sys_flag, outgoing.body.len()), (0, 4095));
    }

    #[test]
    fn messages_the_broker_would_refuse_do_not_leave() {
        for (message, why) in [
            (Message::new("T T", "x"), "illegal characters"),
            (Message::new("T", ""), "zero"),
            (Message::new("T", vec![0; 10_001]), "MAX: 10000"),
            (Message::new("SCHEDULE_TOPIC_XXXX", "x"), "forbidden"),
        ] {
            let error = Outgoing::single(&message, LIMITS).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn batches_are_of_one_kind() {
        let plain = Message::new("T", "x");
        let outgoing = Outgoing::batch(&[plain.clone(), plain.clone()], LIMITS).expect("good");
        assert!(outgoing.batch);
        assert_eq!(outgoing.unique_key.split(',').count(), 2);
        for odd in
            [Message::new("U", "x"), plain.clone().delay_level(3), plain.clone().wait_store(false)]
        {
            Outgoing::batch(&[plain.clone(), odd], LIMITS).expect_err("of another kind");
        }
        let retried = Message::new("%RETRY%g", "x");
        Outgoing::batch(&[retried.clone(), retried], LIMITS).expect_err("a retry topic");
        Outgoing::batch(&[], LIMITS).expect_err("empty");
    }

    #[test]
    fn damaged_answers_are_errors() {
        for bytes in [&[0u8, 0][..], &[0, 0, 0, 0], &[0, 0, 0, 200, 1], &[0xFF; 8]] {
            decode_records(bytes, "b").expect_err("damaged");
        }
        assert!(decode_records(&[], "b").expect("empty").is_empty());
    }
}
