//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320).

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::topics::{AtHand, Topic, Wanted};
use super::{Broker, answer_to, system_error, txn};
use crate::base::{Error, Result, clock};
use crate::config::BrokerConfig;
use crate::dispatch::Outcome;
use crate::message::flags::{self, PERM_WRITE};
use crate::message::{MessageRef, id, property, topic};
use crate::net::Request;
use crate::protocol::Command;
use crate::protocol::body::topic::{TopicConfig, TopicFilterType};
use crate::protocol::code::{request as codes, response};
use crate::protocol::headers::send::SendMessage;
use crate::store::{Put, PutStatus, delay};

/// From this version on a request's `maxReconsumeTimes` counts: V3_4_9.
pub const VERSION_MAX_RECONSUME_TIMES: i32 = 121;

/// How long a send that made its topic waits until the NameServers have it: far less than a request
/// may wait in the queue behind it.
const NEW_TOPIC_ROUTED: Duration = Duration::from_millis(100);

/// Ends remarks that Java points to its FAQ with.
pub const FAQ: &str = "\nSee http://rocketmq.apache.org/docs/faq/ for further details.";

/// Stores what a producer sends. Answers, refusals too, carry MSG_REGION and TRACE_ON.
pub fn message(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let config = broker.config.get();
    let command = &request.command;
    let outcome = SendMessage::decode(command).and_then(|header| {
        let topic = check(broker, &config, request, &header)?;
        let queue_id = queue_of(&topic, header.queue_id)?;
        if let Some(at_hand) = topic.at_hand() {
            at_hand.prefetch_put(queue_id);
        }
        if header.batch || command.code == codes::SEND_BATCH_MESSAGE {
            batch(broker, &config, request, &header, &topic, queue_id)
        } else {
            single(broker, &config, request, &header, &topic, queue_id)
        }
    });
    Ok(outcome.unwrap_or_else(|error| refused(command, &config, error)))
}

/// The answer to a send that is refused.
pub fn refused(command: &Command, config: &BrokerConfig, error: Error) -> Outcome {
    let (code, remark) = answer_to(error);
    let mut reply = command.refusal(code, remark);
    add_trace(&mut reply, config);
    Outcome::Reply(reply)
}

/// What an answer says of a stored message.
#[derive(Clone, Copy)]
struct Sent<'a> {
    /// The topic it was stored under.
    topic: &'a str,
    /// What else there is of it, if it was looked up.
    at_hand: Option<&'a AtHand>,
    queue_id: i32,
    messages: u64,
}

/// What a send's properties say to the broker.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    /// The producer wants to wait for flush and replication.
    wait: bool,
    /// A half message of a transaction.
    transaction: bool,
    /// Delay level; 0: none.
    delay: i32,
    /// WAIT is among them.
    names_wait: bool,
}

/// Reads a property string once. A timer message of RocketMQ 5 is refused as a broker refuses it
/// whose timers are off: stored as any other it would be delivered at once. A delay level goes
/// before its time.
fn facts(properties: &str) -> Result<Facts> {
    let mut is_timer = false;
    let mut facts = Facts { wait: true, transaction: false, delay: 0, names_wait: false };
    for (name, value) in property::iter(properties) {
        match name {
            property::WAIT => {
                facts.wait = value.eq_ignore_ascii_case("true");
                facts.names_wait = true;
            }
            property::TRAN_MSG => facts.transaction = value.eq_ignore_ascii_case("true"),
            property::DELAY => {
                facts.delay = value
                    .parse()
                    .map_err(|_| system_error(format!("DELAY is not a number: {value}")))?;
            }
            property::TIMER_DELAY_SEC | property::TIMER_DELAY_MS | property::TIMER_DELIVER_MS => {
                is_timer = true;
            }
            _ => {}
        }
    }
    if is_timer && facts.delay <= 0 {
        let remark = "accurate timer message is not enabled, timerWheelEnable is false";
        return Err(system_error(remark));
    }
    Ok(facts)
}

fn single(
    broker: &Arc<Broker>,
    config: &BrokerConfig,
    request: &Request,
    header: &SendMessage,
    topic: &Topic,
    queue_id: i32,
) -> Result<Outcome> {
    let given = header.properties.unwrap_or_default();
    let facts = facts(given)?;
    // Old clients send a committed message that is to be retried with all its properties.
    let is_retry = header.reconsume_times.unwrap_or(0) > 0 && facts.delay > 0;
    let is_half = facts.transaction && !is_retry;
    if is_half && config.reject_transaction_message {
        return Err(forbidden_broker(config, "sending transaction"));
    }
    let mut sys_flag = sys_flag(header, topic);
    let dead_letter = dead_letter(broker, request, header)?;
    let (real_topic, real_queue) = match &dead_letter {
        Some(topic) => (topic.as_str(), 0),
        None => (header.topic, queue_id),
    };
    let mut text = String::with_capacity(given.len() + 64);
    let level = delay::level_of(facts.delay, sys_flag, &broker.levels);
    let is_elsewhere = is_half || level.is_some() || dead_letter.is_some();
    let at_hand = topic.at_hand().filter(|_| !is_elsewhere);
    let (topic, stored_queue) = match level {
        // A delay counts from the commit on.
        _ if is_half => {
            sys_flag &= !flags::TRANSACTION_MASK;
            text.push_str(given);
            txn::hold(&mut text, real_topic, real_queue)
        }
        Some(level) => {
            text.push_str(given);
            delay::park(&mut text, level, real_topic, real_queue)
        }
        None if facts.names_wait => {
            property::copy_without(given, property::WAIT, &mut text);
            (real_topic, real_queue)
        }
        None => {
            text.push_str(given);
            (real_topic, real_queue)
        }
    };
    property::push(&mut text, property::CLUSTER, &config.broker_cluster_name);
    let place = (topic, stored_queue);
    let message = received(broker, request, header, place, sys_flag, &text);
    let put = broker.store.put_undispatched(config, &message, at_hand.map(|topic| &topic.queues));
    let put = if facts.wait { put } else { put.without_waiting() };
    let sent = Sent { topic, at_hand, queue_id, messages: 1 };
    Ok(finish(broker, config, request, put, sent))
}

fn batch(
    broker: &Arc<Broker>,
    config: &BrokerConfig,
    request: &Request,
    header: &SendMessage,
    topic: &Topic,
    queue_id: i32,
) -> Result<Outcome> {
    let given = header.properties.unwrap_or_default();
    let Facts { wait, delay, .. } = facts(given)?;
    if header.sys_flag & flags::TRANSACTION_MASK != 0 || delay > 0 {
        return Err(illegal(config));
    }
    let mut text = String::with_capacity(given.len() + 64);
    text.push_str(given);
    property::push(&mut text, property::CLUSTER, &config.broker_cluster_name);
    let (place, sys_flag) = ((header.topic, queue_id), sys_flag(header, topic));
    let put = broker.store.put_batch(&received(broker, request, header, place, sys_flag, &text));
    let put = if wait { put } else { put.without_waiting() };
    let messages = put.batch_offsets.len() as u64;
    let sent = Sent { topic: header.topic, at_hand: topic.at_hand(), queue_id, messages };
    Ok(finish(broker, config, request, put, sent))
}

/// The message of a request, to be stored in `place` (topic and queue) with these properties.
pub fn received<'a>(
    broker: &Broker,
    request: &'a Request,
    header: &SendMessage,
    place: (&'a str, i32),
    sys_flag: i32,
    properties: &'a str,
) -> MessageRef<'a> {
    MessageRef {
        topic: place.0,
        queue_id: place.1,
        flag: header.flag,
        sys_flag,
        born_timestamp: header.born_timestamp,
        born_host: request.conn.peer(),
        store_timestamp: 0,
        store_host: broker.store_host(),
        reconsume_times: header.reconsume_times.unwrap_or(0),
        prepared_transaction_offset: 0,
        body: &request.command.body,
        properties,
    }
}

/// The checks of every send, in RocketMQ's order; the topic, created when it may be.
pub fn check(
    broker: &Broker,
    config: &BrokerConfig,
    request: &Request,
    header: &SendMessage,
) -> Result<Arc<Topic>> {
    let opens = config.start_accept_send_request_time_stamp;
    if opens > 0 && clock::now_ms() < opens {
        let when = clock::local_text(opens, ' ', ',');
        return Err(system_error(format!("broker unable to service, until {when}")));
    }
    let name = header.topic;
    let known = broker.topics.get(name);
    let ordered = known.as_ref().is_some_and(|topic| topic.order);
    if config.broker_permission & PERM_WRITE == 0 && ordered {
        return Err(forbidden_broker(config, "sending"));
    }
    topic::check(name).map_err(system_error)?;
    if !topic::is_sendable(name) {
        let remark = format!("Sending message to topic[{name}] is forbidden.");
        return Err(Error::refused(response::NO_PERMISSION, remark));
    }
    let topic = match known {
        Some(topic) => topic,
        None => create(broker, config, header)?,
    };
    if header.queue_id >= topic.write_queue_nums.max(topic.read_queue_nums) {
        let remark = format!(
            "request queueId[{}] is illegal, {} Producer: {}",
            header.queue_id,
            **topic,
            request.conn.peer()
        );
        return Err(system_error(remark));
    }
    Ok(topic)
}

fn create(broker: &Broker, config: &BrokerConfig, header: &SendMessage) -> Result<Arc<Topic>> {
    let wanted = Wanted {
        topic: header.topic,
        default_topic: header.default_topic,
        queue_nums: header.default_topic_queue_nums,
        unit_mode: header.unit_mode,
        auto_create: config.auto_create_topic_enable,
    };
    match broker.topics.get_or_create(&wanted) {
        Some(found) => {
            if found.created {
                // Whoever learns of the send finds the topic routed, as with RocketMQ.
                broker.register.announce_and_wait(NEW_TOPIC_ROUTED);
            }
            Ok(found.config)
        }
        None => {
            let remark = format!("topic[{}] not exist, apply first please!{FAQ}", header.topic);
            Err(Error::refused(response::TOPIC_NOT_EXIST, remark))
        }
    }
}

/// For a message to a retry topic: its dead-letter topic when it was consumed too often.
fn dead_letter(broker: &Broker, request: &Request, header: &SendMessage) -> Result<Option<String>> {
    let Some(group) = header.topic.strip_prefix(topic::RETRY_PREFIX) else { return Ok(None) };
    let Some(config) = broker.group(group) else {
        return Err(no_group(group));
    };
    let max = match header.max_reconsume_times {
        Some(max) if request.command.version >= VERSION_MAX_RECONSUME_TIMES => max,
        _ => config.retry_max_times,
    };
    if header.reconsume_times.unwrap_or(0) < max {
        return Ok(None);
    }
    ensure_dead_letter(broker, group).map(Some)
}

/// The dead-letter topic of a group, created when it does not exist.
pub fn ensure_dead_letter(broker: &Broker, group: &str) -> Result<String> {
    let name = topic::dlq(group);
    match broker.topics.ensure(&name, 1, 0) {
        Some(found) => {
            if found.created {
                broker.register.announce();
            }
            Ok(name)
        }
        None => Err(system_error(format!("topic[{name}] not exist"))),
    }
}

/// Answers a put, at once or when it is as durable as the producer wants.
fn finish(
    broker: &Arc<Broker>,
    config: &BrokerConfig,
    request: &Request,
    put: Put,
    sent: Sent,
) -> Outcome {
    let mut reply = request.command.reply(response::SUCCESS);
    let status = put.status_after(PutStatus::PutOk);
    answer(broker, config, &mut reply, status, &put, sent);
    let Some(wait) = put.wait else { return Outcome::Reply(reply) };
    // Written here in full: all answers pass through one thread then.
    let responder = request.responder();
    broker.store.when_durable(
        wait,
        Box::new(move |flush| {
            if let Some(code) = stored_code(put.status_after(flush)) {
                reply.code = code;
            }
            responder.send(reply);
        }),
    );
    Outcome::Later
}

/// Fills an answer in and counts what was stored.
fn answer(
    broker: &Broker,
    config: &BrokerConfig,
    reply: &mut Command,
    status: PutStatus,
    put: &Put,
    sent: Sent,
) {
    match stored_code(status) {
        Some(code) => {
            reply.code = code;
            let fields = reply.fields_mut();
            fields.push_with("msgId", |text| push_message_ids(text, broker.store_host(), put));
            fields.push_number("queueId", sent.queue_id.into());
            fields.push_number("queueOffset", put.queue_offset);
            let size = put.size as u64;
            match sent.at_hand {
                Some(topic) => broker.stats.put_to(&topic.puts, sent.topic, sent.messages, size),
                None => broker.stats.put(sent.topic, sent.messages, size),
            }
        }
        None => {
            let (code, remark) = refusal(broker, config, status);
            reply.code = code;
            reply.remark = Some(remark);
        }
    }
    add_trace(reply, config);
}

/// Appends the offset message id, or those of a batch joined with commas.
fn push_message_ids(text: &mut String, host: SocketAddr, put: &Put) {
    let one = [put.physical_offset];
    let offsets = if put.batch_offsets.is_empty() { &one } else { &put.batch_offsets[..] };
    text.reserve(offsets.len() * 33);
    for (index, &offset) in offsets.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        id::push_offset_id(text, host, offset);
    }
}

/// The response code of a message that is in the log; `None` when it is not.
pub fn stored_code(status: PutStatus) -> Option<i32> {
    match status {
        PutStatus::PutOk => Some(response::SUCCESS),
        PutStatus::FlushDiskTimeout => Some(response::FLUSH_DISK_TIMEOUT),
        PutStatus::FlushSlaveTimeout => Some(response::FLUSH_SLAVE_TIMEOUT),
        PutStatus::SlaveNotAvailable => Some(response::SLAVE_NOT_AVAILABLE),
        _ => None,
    }
}

/// Code and remark of a message that is not in the log.
fn refusal(broker: &Broker, config: &BrokerConfig, status: PutStatus) -> (i32, String) {
    match status {
        PutStatus::CreateMapedFileFailed => (
            response::SYSTEM_ERROR,
            "create mapped file failed, server is busy or broken.".to_owned(),
        ),
        PutStatus::MessageIllegal | PutStatus::PropertiesSizeExceeded => {
            (response::MESSAGE_ILLEGAL, illegal_text(config))
        }
        PutStatus::ServiceNotAvailable => {
            let [log, queue, index] = broker.store.disk_ratios();
            let remark = format!(
                "service not available now. It may be caused by one of the following reasons: the \
                 broker's disk is full [CL: {log:5.2} CQ: {queue:5.2} INDEX: {index:5.2}], \
                 messages are put to the slave, message store has been shut down, etc."
            );
            (response::SERVICE_NOT_AVAILABLE, remark)
        }
        PutStatus::OsPageCacheBusy(busy) => {
            let remark = "[PC_SYNCHRONIZED]broker busy, start flow control for a while";
            (response::SYSTEM_ERROR, format!("{remark}, {}", busy.text()))
        }
        PutStatus::LmqConsumeQueueNumExceeded => (
            response::SYSTEM_ERROR,
            "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]broker config enableLmq and enableMultiDispatch, lmq \
             consumeQueue num exceed maxLmqConsumeQueueNum config num, default limit 2w."
                .to_owned(),
        ),
        PutStatus::UnknownError => (response::SYSTEM_ERROR, "UNKNOWN_ERROR".to_owned()),
        _ => (response::SYSTEM_ERROR, "UNKNOWN_ERROR DEFAULT".to_owned()),
    }
}

fn illegal(config: &BrokerConfig) -> Error {
    Error::refused(response::MESSAGE_ILLEGAL, illegal_text(config))
}

fn illegal_text(config: &BrokerConfig) -> String {
    format!(
        "the message is illegal, maybe msg body or properties length not matched. \
         msg body length limit {}B, msg properties length limit 32KB.",
        config.store.max_message_size
    )
}

/// What every answer to a send says, refusals too.
pub fn add_trace(reply: &mut Command, config: &BrokerConfig) {
    let fields = reply.fields_mut();
    fields.push("MSG_REGION", &config.region_id);
    fields.push("TRACE_ON", if config.trace_on { "true" } else { "false" });
}

fn sys_flag(header: &SendMessage, topic: &TopicConfig) -> i32 {
    let multi_tag = topic.topic_filter_type == TopicFilterType::MultiTag;
    header.sys_flag | if multi_tag { flags::MULTI_TAGS } else { 0 }
}

/// The queue asked for, or a random one.
pub fn queue_of(topic: &TopicConfig, queue_id: i32) -> Result<i32> {
    if queue_id >= 0 {
        return Ok(queue_id);
    }
    match u32::try_from(topic.write_queue_nums) {
        Ok(queues) if queues > 0 => Ok((random() % queues) as i32),
        _ => Err(system_error(format!("topic[{}] has no write queue", topic.topic_name))),
    }
}

/// A number good enough to spread messages over queues.
pub fn random() -> u32 {
    thread_local!(static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0) | 1));
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        (x >> 32) as u32
    })
}

/// `what` is `sending`, `sending transaction` or `pulling`.
pub fn forbidden_broker(config: &BrokerConfig, what: &str) -> Error {
    let remark = format!("the broker[{}] {what} message is forbidden", config.broker_ip1);
    Error::refused(response::NO_PERMISSION, remark)
}

/// The answer to a group that does not exist and may not be created.
pub fn no_group(group: &str) -> Error {
    let remark = format!("subscription group not exist, {group} {FAQ}");
    Error::refused(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_in_one_pass() {
        let plain = facts("KEYS\u{1}a b\u{2}TAGS\u{1}x").unwrap();
        assert_eq!(plain, Facts { wait: true, transaction: false, delay: 0, names_wait: false });
        let all = facts("WAIT\u{1}false\u{2}DELAY\u{1}3\u{2}TRAN_MSG\u{1}true\u{2}").unwrap();
        assert_eq!(all, Facts { wait: false, transaction: true, delay: 3, names_wait: true });
        assert!(facts("DELAY\u{1}soon").is_err());
        assert_eq!(facts("TIMER_DELAY_SEC\u{1}9\u{2}DELAY\u{1}2").unwrap().delay, 2);
    }

    #[test]
    fn random_numbers_reach_every_queue() {
        let mut hits = [0; 4];
        (0..400).for_each(|_| hits[(random() % 4) as usize] += 1);
        assert!(hits.iter().all(|&n| n > 20), "{hits:?}");
    }
}
