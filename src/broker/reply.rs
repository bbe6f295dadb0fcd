//! Request-reply: SEND_REPLY_MESSAGE (324) and its V2 (325), handed on as
//! PUSH_REPLY_MESSAGE_TO_CLIENT (326) to the client that waits for the reply.
//!
//! A request is an ordinary message whose properties say who waits for the reply. The reply is
//! stored, too, unless `storeReplyMessageEnable` says otherwise; that has no part in its success.

use std::sync::Arc;
use std::time::Duration;

use super::{Broker, send};
use crate::base::{Result, clock};
use crate::config::BrokerConfig;
use crate::dispatch::Outcome;
use crate::message::{id, property};
use crate::net::{Request, Responder};
use crate::protocol::Command;
use crate::protocol::code::{request as codes, response};
use crate::protocol::headers::send::{PushReplyMessage, SendMessage};
use crate::store::{Put, PutStatus, delay};

/// How long the client may take to say that it has the reply.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Stores a reply and hands it to the client that waits; answered when that has said so.
pub fn message(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let config = broker.config.get();
    let outcome = SendMessage::decode(&request.command)
        .and_then(|header| accept(broker, &config, request, &header));
    Ok(outcome.unwrap_or_else(|error| send::refused(&request.command, &config, error)))
}

fn accept(
    broker: &Arc<Broker>,
    config: &BrokerConfig,
    request: &Request,
    header: &SendMessage,
) -> Result<Outcome> {
    let topic = send::check(broker, config, request, header)?;
    let queue_id = send::queue_of(&topic, header.queue_id)?;
    let stores = config.store_reply_message_enable;
    let mut answer = Answer {
        broker: broker.clone(),
        responder: request.responder(),
        reply: request.command.reply(response::SUCCESS),
        queue_id,
        stored: stores.then(|| store(broker, request, header, queue_id)),
    };
    send::add_trace(&mut answer.reply, config);
    let given = header.properties.unwrap_or_default();
    let Some(client_id) = property::get(given, property::REPLY_TO_CLIENT) else {
        answer.finish(Err("reply message properties[REPLY_TO_CLIENT] is null".to_owned()));
        return Ok(Outcome::Later);
    };
    let Some(channel) = broker.clients.client(client_id) else {
        let remark = format!("push reply message fail, channel of <{client_id}> not found.");
        answer.finish(Err(remark));
        return Ok(Outcome::Later);
    };
    let failed = format!("push reply message to {client_id}fail.");
    let command = push(broker, request, header);
    broker.call_client(&channel.conn, command, PUSH_TIMEOUT, move |heard| {
        let taken = heard.is_ok_and(|heard| heard.code == response::SUCCESS);
        answer.finish(if taken { Ok(()) } else { Err(failed) });
    });
    Ok(Outcome::Later)
}

/// What the client gets.
fn push(broker: &Broker, request: &Request, header: &SendMessage) -> Command {
    let now = clock::now_ms();
    let mut properties = header.properties.unwrap_or_default().to_owned();
    property::push(&mut properties, property::PUSH_REPLY_TIME, &now.to_string());
    let fields = PushReplyMessage {
        producer_group: header.producer_group,
        topic: header.topic,
        default_topic: header.default_topic,
        default_topic_queue_nums: header.default_topic_queue_nums,
        queue_id: header.queue_id,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        flag: header.flag,
        properties: Some(&properties),
        reconsume_times: header.reconsume_times,
        unit_mode: header.unit_mode,
        born_host: &request.conn.peer().to_string(),
        store_host: &broker.store_host().to_string(),
        store_timestamp: now,
    };
    let mut command = Command::request(codes::PUSH_REPLY_MESSAGE_TO_CLIENT);
    fields.encode(&mut command);
    command.body = request.command.body.clone();
    command
}

/// Stores the reply with its properties as they came.
fn store(broker: &Broker, request: &Request, header: &SendMessage, queue_id: i32) -> Stored {
    let given = header.properties.unwrap_or_default();
    let mut text = given.to_owned();
    let delay = property::get(given, property::DELAY).and_then(|level| level.parse().ok());
    let level = delay::level_of(delay.unwrap_or(0), header.sys_flag, &broker.levels);
    let place = match level {
        Some(level) => delay::park(&mut text, level, header.topic, queue_id),
        None => (header.topic, queue_id),
    };
    let message = send::received(broker, request, header, place, header.sys_flag, &text);
    let put = broker.store.put(&message);
    let put = if property::waits(given) { put } else { put.without_waiting() };
    Stored { topic: place.0.to_owned(), put }
}

/// A reply in the store, or why it is not.
struct Stored {
    topic: String,
    put: Put,
}

/// The answer to the sender of a reply, while the client is asked.
struct Answer {
    broker: Arc<Broker>,
    responder: Responder,
    reply: Command,
    queue_id: i32,
    stored: Option<Stored>,
}

impl Answer {
    /// Answers when the stored reply is as durable as the sender wants.
    fn finish(mut self, pushed: std::result::Result<(), String>) {
        let wait = self.stored.as_mut().and_then(|stored| stored.put.wait.take());
        let Some(wait) = wait else { return self.send(pushed, PutStatus::PutOk) };
        let store = self.broker.store.clone();
        store.when_durable(wait, Box::new(move |status| self.send(pushed, status)));
    }

    fn send(mut self, pushed: std::result::Result<(), String>, flushed: PutStatus) {
        let id = self.stored.as_ref().and_then(|stored| self.account(stored, flushed));
        // A client reads these fields of every success.
        let id = id.or_else(|| pushed.is_ok().then(|| ("0".to_owned(), 0)));
        if let Some((message_id, queue_offset)) = id {
            let fields = self.reply.fields_mut();
            fields.push("msgId", &message_id);
            fields.push_display("queueId", self.queue_id);
            fields.push_display("queueOffset", queue_offset);
        }
        if let Err(remark) = pushed {
            self.reply.code = response::SYSTEM_ERROR;
            self.reply.remark = Some(remark);
        }
        self.responder.send(self.reply);
    }

    /// Counts a stored reply; its message id and queue offset, `None` when it is not stored.
    fn account(&self, stored: &Stored, flushed: PutStatus) -> Option<(String, i64)> {
        let status = stored.put.status_after(flushed);
        if send::stored_code(status).is_none() {
            log::warn!(target: "broker", "reply to {} not stored: {}", stored.topic, status.name());
            return None;
        }
        self.broker.stats.put(&stored.topic, 1, u64::from(stored.put.size.unsigned_abs()));
        let id = id::offset_id(self.broker.store_host(), stored.put.physical_offset);
        Some((id, stored.put.queue_offset))
    }
}
