//! CONSUMER_SEND_MSG_BACK (36): a consumer failed, the message comes again later or is given up.

use std::sync::Arc;

use super::requests::Pool;
use super::send::{
    VERSION_MAX_RECONSUME_TIMES, ensure_dead_letter, forbidden_broker, no_group, random,
};
use super::{Broker, answer_to};
use crate::base::{Error, Result};
use crate::dispatch::Outcome;
use crate::message::flags::{PERM_WRITE, TOPIC_UNIT_SUB};
use crate::message::{Message, MessageRef, property, record, topic};
use crate::net::Request;
use crate::protocol::Command;
use crate::protocol::body::group::SubscriptionGroupConfig;
use crate::protocol::code::response;
use crate::protocol::headers::send::ConsumerSendMsgBack;
use crate::store::{PutStatus, delay};

/// Level of the first retry; each further one is a level longer.
const FIRST_RETRY_LEVEL: i32 = 3;

/// Stores a copy under the group's retry topic, to be delivered after its delay, or under its
/// dead-letter topic. A message that only the disk has is read by the cold pool.
pub fn message(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let offset = ConsumerSendMsgBack::decode(&request.command)?.offset;
    if !broker.store.is_on_disk(offset) {
        return store_again(broker, &request.command).map(Outcome::Reply);
    }
    broker.refuse_if_cold_is_full()?;
    let (mine, command) = (broker.clone(), request.command.clone());
    let responder = request.responder();
    let work = move || {
        let stored = mine.store.warm_record(offset).and_then(|()| store_again(&mine, &command));
        responder.send(stored.unwrap_or_else(|error| {
            let (code, remark) = answer_to(error);
            command.refusal(code, remark)
        }));
    };
    broker.resubmit(Pool::Cold, Box::new(work));
    Ok(Outcome::Later)
}

fn store_again(broker: &Arc<Broker>, command: &Command) -> Result<Command> {
    let config = broker.config.get();
    let header = ConsumerSendMsgBack::decode(command)?;
    let Some(group) = broker.group(header.group) else {
        return Err(no_group(header.group));
    };
    if config.broker_permission & PERM_WRITE == 0 {
        return Err(forbidden_broker(&config, "sending"));
    }
    let done = || command.reply(response::SUCCESS);
    if group.retry_queue_nums <= 0 {
        return Ok(done());
    }
    let retry_topic = ensure_retry(broker, &header, &group)?;
    let message = read(broker, header.offset)?;
    let max = match header.max_reconsume_times {
        Some(max) if command.version >= VERSION_MAX_RECONSUME_TIMES => max,
        _ => group.retry_max_times,
    };
    let again = if message.reconsume_times >= max || header.delay_level < 0 {
        Again { topic: ensure_dead_letter(broker, header.group)?, queue_id: 0, level: 0 }
    } else {
        let level = match header.delay_level {
            0 => FIRST_RETRY_LEVEL.saturating_add(message.reconsume_times),
            level => level,
        };
        let queue_id = (random() % group.retry_queue_nums as u32) as i32;
        Again { topic: retry_topic, queue_id, level }
    };
    match put_again(broker, &message, &again) {
        PutStatus::PutOk => {
            let origin = message.property(property::RETRY_TOPIC).unwrap_or(&message.topic);
            broker.stats.sent_back(origin, header.group);
            Ok(done())
        }
        status => Err(Error::refused(response::SYSTEM_ERROR, status.name())),
    }
}

/// Where a message goes once more; level 0: at once.
struct Again {
    topic: String,
    queue_id: i32,
    level: i32,
}

fn put_again(broker: &Broker, message: &Message, again: &Again) -> PutStatus {
    let mut text = message.properties.clone();
    if message.property(property::RETRY_TOPIC).is_none() {
        property::push(&mut text, property::RETRY_TOPIC, &message.topic);
    }
    if message.property(property::ORIGIN_MESSAGE_ID).is_none() {
        property::push(&mut text, property::ORIGIN_MESSAGE_ID, &message.offset_id());
    }
    property::set(&mut text, property::WAIT, "false");
    property::set(&mut text, property::DELAY, &again.level.to_string());
    let level = delay::level_of(again.level, message.sys_flag, &broker.levels);
    let (topic, queue_id) = match level {
        Some(level) => delay::park(&mut text, level, &again.topic, again.queue_id),
        None => (again.topic.as_str(), again.queue_id),
    };
    let copy = MessageRef {
        topic,
        queue_id,
        reconsume_times: message.reconsume_times.saturating_add(1),
        properties: &text,
        ..message.as_ref()
    };
    let put = broker.store.put(&copy);
    if put.status == PutStatus::PutOk && level.is_some() {
        broker.stats.put(topic, 1, u64::from(put.size.unsigned_abs()));
    }
    put.status
}

fn ensure_retry(
    broker: &Broker,
    header: &ConsumerSendMsgBack,
    group: &SubscriptionGroupConfig,
) -> Result<String> {
    let name = topic::retry(header.group);
    let sys_flag = if header.unit_mode { TOPIC_UNIT_SUB } else { 0 };
    let Some(found) = broker.topics.ensure(&name, group.retry_queue_nums, sys_flag) else {
        return Err(Error::refused(response::SYSTEM_ERROR, format!("topic[{name}] not exist")));
    };
    if found.created {
        broker.register.announce();
    }
    if found.config.perm & PERM_WRITE == 0 {
        let remark = format!("the topic[{name}] sending message is forbidden");
        return Err(Error::refused(response::NO_PERMISSION, remark));
    }
    Ok(name)
}

/// The message a consumer was given. Nobody is given what waits for its delay or its transaction:
/// a copy in the retry topic would be delivered in spite of them.
fn read(broker: &Broker, offset: i64) -> Result<Message> {
    let record = broker.store.record_at(offset);
    let message = record.and_then(|record| record::decode(record.as_bytes()).ok());
    let waits = |topic: &str| [topic::SCHEDULE, topic::TRANS_HALF].contains(&topic);
    message.filter(|message| !waits(&message.topic)).ok_or_else(|| {
        let remark = format!("look message by offset failed, {offset}");
        Error::refused(response::SYSTEM_ERROR, remark)
    })
}
