//! What a broker asks consumers on behalf of an operator: 307 and 309 are passed on as they are,
//! 222 pushes new offsets (220), 223 asks for offsets (221). No thread waits for a consumer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clients::Channel;
use super::requests::Pool;
use super::{Broker, system_error};
use crate::base::limits::REPLY_BODY_BYTES_MAX;
use crate::base::slice::Slice;
use crate::base::{Error, Result};
use crate::dispatch::Outcome;
use crate::message::id;
use crate::net::{Conn, Request, Responder};
use crate::protocol::Command;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::offset::{
    ConsumerStatusBody, QueueOffset, ResetOffsetBody, ResetOffsetList,
};
use crate::protocol::code::{request as codes, response};
use crate::protocol::command::{FLAG_ONEWAY, LANGUAGE_CPP};
use crate::protocol::headers::client::{
    ConsumeMessageDirectly, GetConsumerRunningInfo, GetConsumerStatus, ResetOffset,
};

/// How long a consumer may take to answer 307 and 309.
const RELAY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to answer 221.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// Consumers know 307 and 309 from this version on: V3_1_8_SNAPSHOT.
const VERSION_RELAYS: i32 = 62;
/// Consumers know 220 and 221 from this version on: V3_0_7_SNAPSHOT.
const VERSION_OFFSETS: i32 = 28;
/// Who asks is not the consumer's business.
const NOT_RELAYED: [&str; 3] = ["AccessKey", "Signature", "SecurityToken"];

/// GET_CONSUMER_RUNNING_INFO.
pub fn running_info(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = GetConsumerRunningInfo::decode(&request.command)?;
    let channel = online(broker, header.consumer_group, header.client_id)?;
    let mut ask = Command::request(request.command.code);
    copy_fields(&request.command, &mut ask, &[]);
    ask.body = request.command.body.clone();
    relay(broker, request, header.consumer_group, &channel, ask);
    Ok(Outcome::Later)
}

/// CONSUME_MESSAGE_DIRECTLY: the message goes along, as it is stored.
pub fn consume_directly(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = ConsumeMessageDirectly::decode(&request.command)?;
    let record = record_of(broker, header.msg_id.unwrap_or_default())?;
    let client_id = header.client_id.unwrap_or("null");
    let channel = online(broker, header.consumer_group, client_id)?;
    let mut ask = Command::request(request.command.code);
    copy_fields(&request.command, &mut ask, &["brokerName"]);
    ask.fields_mut().push("brokerName", &broker.config.get().broker_name);
    ask.slices = vec![record];
    relay(broker, request, header.consumer_group, &channel, ask);
    Ok(Outcome::Later)
}

fn record_of(broker: &Broker, msg_id: &str) -> Result<Slice> {
    let Some((_, offset)) = id::decode_offset_id(msg_id) else {
        return Err(system_error(format!("msgId [{msg_id}] is no offset message id")));
    };
    let record = broker.store.record_at(offset);
    record.ok_or_else(|| system_error(format!("can not find message by the offset, {offset}")))
}

fn copy_fields(from: &Command, to: &mut Command, except: &[&str]) {
    let Some(fields) = &from.fields else { return };
    for (name, value) in fields.iter() {
        if !NOT_RELAYED.contains(&name) && !except.contains(&name) {
            to.fields_mut().push(name, value);
        }
    }
}

/// A consumer that can be asked.
fn online(broker: &Broker, group: &str, client_id: &str) -> Result<Channel<Arc<Conn>>> {
    let found = broker.clients.consumers(group, |group| {
        group.channels.values().find(|channel| channel.client_id == client_id).cloned()
    });
    let Some(channel) = found.flatten() else {
        return Err(system_error(format!("The Consumer <{group}> <{client_id}> not online")));
    };
    if channel.version < VERSION_RELAYS {
        return Err(system_error(format!(
            "The Consumer <{client_id}> Version <{}> too low to finish, please upgrade it to \
             V3_1_8_SNAPSHOT",
            channel.version
        )));
    }
    Ok(channel)
}

/// Asks, and passes on what the consumer answers: language, version, code, remark, fields, body.
fn relay(
    broker: &Broker,
    request: &Request,
    group: &str,
    channel: &Channel<Arc<Conn>>,
    ask: Command,
) {
    let responder = request.responder();
    let mut failed = request.command.reply(response::SYSTEM_ERROR);
    let consumer = format!("consumer <{group}> <{}>", channel.client_id);
    broker.call_client(&channel.conn, ask, RELAY_TIMEOUT, move |heard| match heard {
        Ok(answer) => responder.send(answer),
        Err(Error::Timeout(error)) => {
            failed.code = response::CONSUME_MSG_TIMEOUT;
            failed.remark = Some(format!("{consumer} Timeout: {error}"));
            responder.send(failed);
        }
        Err(error) => {
            failed.remark = Some(format!("invoke {consumer} Exception: {error}"));
            responder.send(failed);
        }
    });
}

/// INVOKE_BROKER_TO_RESET_OFFSET: tells the clients of a group where to go on. They commit that
/// themselves; the broker's own table stays as it is.
pub fn reset_offset(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = ResetOffset::decode(&request.command)?;
    let body = ResetOffsetBody { offset_table: new_offsets(broker, &header)? };
    let channels = broker.clients.consumer_channels(header.group);
    if channels.is_empty() {
        let remark = format!(
            "Consumer not online, so can not reset offset, Group: {} Topic: {} Timestamp: {}",
            header.group, header.topic, header.timestamp
        );
        return Err(Error::refused(response::CONSUMER_NOT_ONLINE, remark));
    }
    channels.iter().try_for_each(knows_offsets)?;
    let bytes = body.to_vec();
    for channel in &channels {
        let listed = [request.command.language, channel.language].contains(&LANGUAGE_CPP);
        let mut push = Command::request(codes::RESET_CONSUMER_CLIENT_OFFSET);
        push.flag |= FLAG_ONEWAY;
        ResetOffset { is_force: false, ..header }.encode(&mut push);
        push.body = if listed { as_list(&body) } else { bytes.clone() };
        channel.conn.send(push);
    }
    let (topic, group, count) = (header.topic, header.group, channels.len());
    log::info!(target: "broker", "offsets of {group} in {topic} reset at {count} clients");
    let mut reply = request.command.reply(response::SUCCESS);
    reply.body = bytes;
    Ok(Outcome::Reply(reply))
}

/// Where the group is to go on in every write queue. Unless forced it only goes back.
fn new_offsets(broker: &Broker, header: &ResetOffset) -> Result<BTreeMap<MessageQueue, i64>> {
    let Some(config) = broker.topics.get(header.topic) else {
        return Err(system_error(format!(
            "[reset-offset] reset offset failed, no topic in this broker. topic={}",
            header.topic
        )));
    };
    let broker_name = &broker.config.get().broker_name;
    let mut offsets = BTreeMap::new();
    for queue_id in 0..config.write_queue_nums {
        let committed = broker.offsets.get(header.topic, header.group, queue_id);
        let Some(committed) = committed.filter(|offset| *offset != -1) else {
            let remark = format!("THe consumer group <{}> not exist", header.group);
            return Err(system_error(remark));
        };
        let target = match header.timestamp {
            -1 => broker.store.max_offset_in_queue(header.topic, queue_id),
            time => broker.store.offset_by_time(header.topic, queue_id, time),
        };
        let queue = MessageQueue::new(header.topic, broker_name, queue_id);
        offsets.insert(queue, if header.is_force { target } else { target.min(committed) });
    }
    Ok(offsets)
}

/// The form of 220 that C++ clients read.
fn as_list(body: &ResetOffsetBody) -> Vec<u8> {
    let entry = |(queue, offset): (&MessageQueue, &i64)| QueueOffset {
        broker_name: queue.broker_name.clone(),
        offset: *offset,
        queue_id: queue.queue_id,
        topic: queue.topic.clone(),
    };
    ResetOffsetList { offset_table: body.offset_table.iter().map(entry).collect() }.to_vec()
}

fn knows_offsets(channel: &Channel<Arc<Conn>>) -> Result<()> {
    if channel.version >= VERSION_OFFSETS {
        return Ok(());
    }
    let version = channel.version;
    Err(system_error(format!("the client does not support this feature. version={version}")))
}

/// INVOKE_BROKER_TO_GET_CONSUMER_STATUS: the offsets that the clients of a group, or one of them,
/// have in memory. A client that does not answer is left out.
pub fn consumer_status(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = GetConsumerStatus::decode(&request.command)?;
    let mut channels = broker.clients.consumer_channels(header.group);
    if channels.is_empty() {
        let remark = format!("No Any Consumer online in the consumer group: [{}]", header.group);
        return Err(system_error(remark));
    }
    channels.iter().try_for_each(knows_offsets)?;
    if let Some(wanted) = header.client_addr.filter(|wanted| !wanted.trim().is_empty()) {
        channels.retain(|channel| channel.client_id == wanted);
        channels.truncate(1);
    }
    let poll = Arc::new(Poll {
        broker: broker.clone(),
        state: Mutex::new(State {
            left: channels.len(),
            heard: Vec::new(),
            bytes: 0,
            responder: Some((request.responder(), request.command.reply(response::SUCCESS))),
        }),
    });
    if channels.is_empty() {
        poll.answer();
    }
    for channel in channels {
        let mut ask = Command::request(codes::GET_CONSUMER_STATUS_FROM_CLIENT);
        GetConsumerStatus { client_addr: None, ..header }.encode(&mut ask);
        let poll = poll.clone();
        let client_id = channel.client_id;
        broker.call_client(&channel.conn, ask, STATUS_TIMEOUT, move |heard| {
            poll.heard(client_id, heard);
        });
    }
    Ok(Outcome::Later)
}

/// Several clients are asked at once; the last one to answer ends it.
struct Poll {
    broker: Arc<Broker>,
    state: Mutex<State>,
}

struct State {
    /// Clients that have not answered.
    left: usize,
    /// By client id.
    heard: Vec<(String, Command)>,
    /// Of their bodies.
    bytes: usize,
    responder: Option<(Responder, Command)>,
}

impl Poll {
    fn heard(self: &Arc<Poll>, client_id: String, heard: Result<Command>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.left -= 1;
        match heard {
            Ok(answer) if answer.code == response::SUCCESS => {
                state.bytes += answer.body.len();
                if state.bytes <= REPLY_BODY_BYTES_MAX {
                    state.heard.push((client_id, answer));
                }
            }
            Ok(answer) => {
                log::warn!(target: "broker", "status of {client_id}: {:?}", answer.remark)
            }
            Err(error) => log::warn!(target: "broker", "status of {client_id}: {error}"),
        }
        let last = state.left == 0;
        drop(state);
        if last {
            // This is a reactor: a pool reads the bodies.
            let poll = self.clone();
            self.broker.resubmit(Pool::Admin, Box::new(move || poll.answer()));
        }
    }

    fn answer(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = std::mem::take(&mut state.heard);
        let Some((responder, mut reply)) = state.responder.take() else { return };
        let too_much = state.bytes > REPLY_BODY_BYTES_MAX;
        drop(state);
        let mut status = ConsumerStatusBody::default();
        for (client_id, answer) in heard {
            match ConsumerStatusBody::from_slice(&answer.body) {
                Ok(body) => {
                    status.consumer_table.insert(client_id, body.message_queue_table);
                }
                Err(error) => log::warn!(target: "broker", "status of {client_id}: {error}"),
            }
        }
        reply.body = status.to_vec();
        if too_much || reply.body.len() > REPLY_BODY_BYTES_MAX {
            reply.code = response::SYSTEM_ERROR;
            reply.remark = Some("the clients' offsets are too much for one answer".to_owned());
            reply.body = Vec::new();
        }
        responder.send(reply);
    }
}
