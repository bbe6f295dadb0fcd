//! Sending messages.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::base::{Error, Result, clock, limits};
use crate::message::topic;
use crate::protocol::Command;
use crate::protocol::body::MessageQueue;
use crate::protocol::code::{request, response};
use crate::protocol::headers::send::{SendMessage, SendMessageReply};

use super::identity::random;
use super::inbound::Refuse;
use super::instance::{Instance, NOT_FOUND_TOPIC};
use super::message::{BodyLimits, Message, Outgoing};
use super::select::RoundRobin;
use super::settings::Settings;
use super::topic_route::TopicRoute;

/// Answers of a broker after which another one is tried.
const RETRYABLE: [i32; 6] = [
    response::TOPIC_NOT_EXIST,
    response::SERVICE_NOT_AVAILABLE,
    response::SYSTEM_ERROR,
    response::NO_PERMISSION,
    response::NO_BUYER_ID,
    response::NOT_IN_CURRENT_UNIT,
];

/// How a producer sends; `ProducerSettings::default()` is RocketMQ's.
#[derive(Debug, Clone)]
pub struct ProducerSettings {
    /// Common to all clients.
    pub common: Settings,
    /// For a whole send, retries included.
    pub send_timeout: Duration,
    /// Further attempts after the first.
    pub retries: u32,
    /// Whether an answer that is not SEND_OK is tried again on another broker.
    pub retry_not_ok: bool,
    /// Bodies of at least so many bytes are compressed.
    pub compress_from: usize,
    /// Largest body in bytes.
    pub body_max: usize,
    /// The topic a new one is created from, and how many queues it gets.
    pub create_topic_from: String,
    pub default_topic_queues: i32,
}

impl Default for ProducerSettings {
    fn default() -> ProducerSettings {
        ProducerSettings {
            common: Settings::default(),
            send_timeout: Duration::from_secs(3),
            retries: 2,
            retry_not_ok: false,
            compress_from: 4096,
            body_max: 4 * 1024 * 1024,
            create_topic_from: topic::AUTO_CREATE.to_owned(),
            default_topic_queues: 4,
        }
    }
}

/// How safely a message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendStatus {
    /// As safely as configured.
    SendOk,
    /// Stored; the flush to disk was not confirmed in time.
    FlushDiskTimeout,
    /// Stored; a slave did not confirm in time.
    FlushSlaveTimeout,
    /// Stored; there is no slave.
    SlaveNotAvailable,
}

impl SendStatus {
    fn of(code: i32) -> Option<SendStatus> {
        match code {
            response::SUCCESS => Some(SendStatus::SendOk),
            response::FLUSH_DISK_TIMEOUT => Some(SendStatus::FlushDiskTimeout),
            response::FLUSH_SLAVE_TIMEOUT => Some(SendStatus::FlushSlaveTimeout),
            response::SLAVE_NOT_AVAILABLE => Some(SendStatus::SlaveNotAvailable),
            _ => None,
        }
    }

    /// RocketMQ's name.
    pub fn name(self) -> &'static str {
        match self {
            SendStatus::SendOk => "SEND_OK",
            SendStatus::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
            SendStatus::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
            SendStatus::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
        }
    }
}

impl fmt::Display for SendStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a message went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendResult {
    pub status: SendStatus,
    /// Its unique key; of a batch all, with commas between.
    pub msg_id: String,
    /// Its offset id; of a batch all, with commas between.
    pub offset_msg_id: String,
    pub queue: MessageQueue,
    /// Its place in the queue; of a batch that of the first.
    pub queue_offset: i64,
    pub transaction_id: Option<String>,
}

/// A producer; may be used by many threads at once. `shutdown` says goodbye to the brokers.
pub struct Producer {
    inner: Arc<Inner>,
}

struct Inner {
    group: String,
    settings: ProducerSettings,
    instance: Arc<Instance>,
    turn: RoundRobin,
    /// Asynchronous sends under way.
    under_way: AtomicUsize,
}

impl Producer {
    /// Starts a producer of a group. No name server needs to be there yet.
    pub fn start(group: &str, settings: ProducerSettings) -> Result<Producer> {
        topic::check_group(group).map_err(|text| Error::Config(text.to_owned()))?;
        let instance = Instance::new(settings.common.clone(), Arc::new(Refuse))?;
        instance.announce_producer(group);
        instance.start_timer()?;
        let turn = RoundRobin::new(random() as usize);
        let group = group.to_owned();
        let under_way = AtomicUsize::new(0);
        Ok(Producer { inner: Arc::new(Inner { group, settings, instance, turn, under_way }) })
    }

    /// Ends heartbeats, tells the brokers, closes the connections. Sends still under way fail.
    pub fn shutdown(&self) {
        self.inner.instance.shutdown();
    }

    /// Sends to the next queue; on failure again to another broker, up to `retries` times.
    pub fn send(&self, message: &Message) -> Result<SendResult> {
        let outgoing = Outgoing::single(message, self.inner.body_limits())?;
        self.inner.send_somewhere(&outgoing)
    }

    /// Sends messages of one topic as one; all are stored or none.
    pub fn send_batch(&self, messages: &[Message]) -> Result<SendResult> {
        let outgoing = Outgoing::batch(messages, self.inner.body_limits())?;
        self.inner.send_somewhere(&outgoing)
    }

    /// Sends to this queue, once.
    pub fn send_to(&self, message: &Message, queue: &MessageQueue) -> Result<SendResult> {
        let outgoing = Outgoing::single(message, self.inner.body_limits())?;
        self.inner.publish_route(message.topic())?;
        self.inner.attempt(&outgoing, queue, self.inner.settings.send_timeout)
    }

    /// Sends to the queue that `select` picks of all, once.
    pub fn send_selected(
        &self,
        message: &Message,
        select: impl FnOnce(&[MessageQueue]) -> usize,
    ) -> Result<SendResult> {
        let queues = self.queues(message.topic())?;
        let queue = queues.get(select(&queues)).ok_or_else(|| {
            Error::Config(format!("the selected queue is none of the {} queues", queues.len()))
        })?;
        self.send_to(message, queue)
    }

    /// Sends without waiting. `done` runs on an I/O thread and must not block; retries follow only
    /// what never reached a broker. The route of a new topic is looked up before this returns.
    pub fn send_async(
        &self,
        message: &Message,
        done: impl FnOnce(Result<SendResult>) + Send + 'static,
    ) -> Result<()> {
        let outgoing = Outgoing::single(message, self.inner.body_limits())?;
        let route = self.inner.publish_route(message.topic())?;
        let task = AsyncSend {
            inner: Arc::clone(&self.inner),
            outgoing,
            route,
            until: Instant::now() + self.inner.settings.send_timeout,
            attempts: 0,
            failed: None,
            done: Box::new(done),
        };
        if self.inner.under_way.fetch_add(1, Ordering::AcqRel) >= limits::CLIENT_ASYNC_SENDS_MAX {
            self.inner.under_way.fetch_sub(1, Ordering::AcqRel);
            let max = limits::CLIENT_ASYNC_SENDS_MAX;
            return Err(Error::refused(
                response::SYSTEM_BUSY,
                format!("{max} asynchronous sends are under way"),
            ));
        }
        task.go();
        Ok(())
    }

    /// Sends and never learns whether it arrived.
    pub fn send_oneway(&self, message: &Message) -> Result<()> {
        let outgoing = Outgoing::single(message, self.inner.body_limits())?;
        let route = self.inner.publish_route(message.topic())?;
        let queue = self.inner.choose(&route, None)?;
        let address = self.inner.address(queue)?;
        self.inner.instance.net.oneway(&address, self.inner.request(&outgoing, queue))
    }

    /// The queues of a topic one may send to.
    pub fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>> {
        Ok(self.inner.publish_route(topic)?.publish.clone())
    }
}

impl Inner {
    fn body_limits(&self) -> BodyLimits {
        BodyLimits { max: self.settings.body_max, compress_from: self.settings.compress_from }
    }

    /// The known route, the name server's, or for an unknown topic that of the topic it is created
    /// from.
    fn publish_route(&self, topic: &str) -> Result<Arc<TopicRoute>> {
        let known = self.instance.cached_route(topic);
        if let Some(route) = known.filter(|route| !route.publish.is_empty()) {
            return Ok(route);
        }
        let route = match self.instance.update_route(topic) {
            Err(Error::Refused { code: response::TOPIC_NOT_EXIST, .. }) => {
                let from = &self.settings.create_topic_from;
                let queues = self.settings.default_topic_queues;
                self.instance.fallback_route(topic, from, queues)
            }
            other => other,
        };
        match route {
            Ok(route) if !route.publish.is_empty() => Ok(route),
            Ok(_) | Err(Error::Refused { code: response::TOPIC_NOT_EXIST, .. }) => {
                Err(no_route(topic))
            }
            Err(error) => Err(error),
        }
    }

    fn choose<'a>(&self, route: &'a TopicRoute, failed: Option<&str>) -> Result<&'a MessageQueue> {
        self.turn.next(&route.publish, failed).ok_or_else(|| no_route("of this message"))
    }

    fn address(&self, queue: &MessageQueue) -> Result<String> {
        self.instance.master_address(&queue.broker_name, &queue.topic)
    }

    fn send_somewhere(&self, outgoing: &Outgoing) -> Result<SendResult> {
        let begin = Instant::now();
        let route = self.publish_route(&outgoing.topic)?;
        let mut failed: Vec<String> = Vec::new();
        let mut last = None;
        for _ in 0..=self.settings.retries {
            let left = self.settings.send_timeout.saturating_sub(begin.elapsed());
            if left.is_zero() {
                break;
            }
            let queue = self.choose(&route, failed.last().map(String::as_str))?;
            match self.attempt(outgoing, queue, left) {
                Ok(result) if result.status != SendStatus::SendOk && self.settings.retry_not_ok => {
                    last = Some(Ok(result));
                }
                Ok(result) => return Ok(result),
                Err(error) if is_retryable(&error) => {
                    log::debug!(target: "client", "send to {}: {error}", queue.broker_name);
                    last = Some(Err(error));
                }
                Err(error) => return Err(error),
            }
            failed.push(queue.broker_name.clone());
        }
        let topic = &outgoing.topic;
        match last {
            Some(Ok(result)) => Ok(result),
            Some(Err(error)) => Err(all_failed(error, topic, &failed, begin.elapsed())),
            None => Err(Error::Timeout("sendDefaultImpl call timeout".into())),
        }
    }

    fn attempt(
        &self,
        outgoing: &Outgoing,
        queue: &MessageQueue,
        timeout: Duration,
    ) -> Result<SendResult> {
        let address = self.address(queue)?;
        let reply = self.instance.net.call(&address, self.request(outgoing, queue), timeout)?;
        send_result(reply, outgoing, queue)
    }

    fn request(&self, outgoing: &Outgoing, queue: &MessageQueue) -> Command {
        let code =
            if outgoing.batch { request::SEND_BATCH_MESSAGE } else { request::SEND_MESSAGE_V2 };
        let mut command = Command::request(code);
        let header = SendMessage {
            producer_group: &self.group,
            topic: &outgoing.topic,
            default_topic: &self.settings.create_topic_from,
            default_topic_queue_nums: self.settings.default_topic_queues,
            queue_id: queue.queue_id,
            sys_flag: outgoing.sys_flag,
            born_timestamp: clock::now_ms(),
            flag: outgoing.flag,
            properties: Some(&outgoing.properties),
            reconsume_times: Some(0),
            unit_mode: false,
            max_reconsume_times: None,
            batch: outgoing.batch,
            broker_name: Some(&queue.broker_name),
        };
        header.encode_short(&mut command);
        command.body = outgoing.body.clone();
        command
    }
}

/// Another broker may do better: what was never answered, and answers of some codes.
fn is_retryable(error: &Error) -> bool {
    match error {
        Error::Refused { code, .. } => RETRYABLE.contains(code),
        _ => true,
    }
}

fn no_route(topic: &str) -> Error {
    Error::refused(NOT_FOUND_TOPIC, format!("No route info of this topic: {topic}"))
}

fn all_failed(last: Error, topic: &str, brokers: &[String], cost: Duration) -> Error {
    let text = format!(
        "Send [{}] times, still failed, cost [{}]ms, Topic: {topic}, \
         BrokersSent: {brokers:?}: {last}",
        brokers.len(),
        cost.as_millis()
    );
    match last {
        Error::Refused { code, .. } => Error::refused(code, text),
        Error::Io { source, .. } => Error::Io { what: text, source },
        _ => Error::Timeout(text),
    }
}

fn send_result(reply: Command, outgoing: &Outgoing, queue: &MessageQueue) -> Result<SendResult> {
    let Some(status) = SendStatus::of(reply.code) else {
        return Err(Error::refused(reply.code, reply.remark.unwrap_or_default()));
    };
    let header = SendMessageReply::decode(&reply)?;
    Ok(SendResult {
        status,
        msg_id: outgoing.unique_key.clone(),
        offset_msg_id: header.msg_id.to_owned(),
        queue: MessageQueue { queue_id: header.queue_id, ..queue.clone() },
        queue_offset: header.queue_offset,
        transaction_id: header.transaction_id.map(str::to_owned),
    })
}

/// One asynchronous send and its retries.
struct AsyncSend {
    inner: Arc<Inner>,
    outgoing: Outgoing,
    route: Arc<TopicRoute>,
    until: Instant,
    attempts: u32,
    /// The broker that failed last.
    failed: Option<String>,
    done: Box<dyn FnOnce(Result<SendResult>) + Send>,
}

impl AsyncSend {
    fn go(mut self) {
        self.attempts += 1;
        let inner = Arc::clone(&self.inner);
        let route = Arc::clone(&self.route);
        let chosen = inner.choose(&route, self.failed.as_deref());
        let target = chosen.and_then(|queue| Ok((queue, known_master(&route, queue)?)));
        let (queue, address) = match target {
            Ok(target) => target,
            Err(error) => return self.finish(Err(error)),
        };
        let request = inner.request(&self.outgoing, queue);
        let left = self.until.saturating_duration_since(Instant::now());
        let queue = queue.clone();
        let answered = move |answer| self.answered(answer, queue);
        inner.instance.net.call_async(&address, request, left, Box::new(answered));
    }

    fn answered(mut self, answer: Result<Command>, queue: MessageQueue) {
        let time_left = Instant::now() < self.until;
        match answer {
            Ok(reply) => {
                let result = send_result(reply, &self.outgoing, &queue);
                self.finish(result);
            }
            Err(_) if time_left && self.attempts <= self.inner.settings.retries => {
                self.failed = Some(queue.broker_name);
                self.go();
            }
            Err(error) => self.finish(Err(error)),
        }
    }

    fn finish(self, result: Result<SendResult>) {
        self.inner.under_way.fetch_sub(1, Ordering::AcqRel);
        (self.done)(result);
    }
}

/// The master of a queue as its route has it: an I/O thread must not look routes up.
fn known_master(route: &TopicRoute, queue: &MessageQueue) -> Result<String> {
    let address = route.addresses(&queue.broker_name).and_then(|all| all.get(&0).cloned());
    address.ok_or_else(|| super::instance::broker_missing(&queue.broker_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_statuses() {
        let name = |code| SendStatus::of(code).map(SendStatus::name);
        assert_eq!(name(0), Some("SEND_OK"));
        assert_eq!(name(10), Some("FLUSH_DISK_TIMEOUT"));
        assert_eq!(name(11), Some("SLAVE_NOT_AVAILABLE"));
        assert_eq!(name(12), Some("FLUSH_SLAVE_TIMEOUT"));
        assert_eq!(name(13), None);
    }

    #[test]
    fn rocketmq_s_codes_are_retried() {
        for code in [17, 14, 1, 16, 204, 205] {
            assert!(is_retryable(&Error::refused(code, "")), "{code}");
        }
        assert!(is_retryable(&Error::Timeout(String::new())));
        for code in [2, 13] {
            assert!(!is_retryable(&Error::refused(code, "")), "{code}");
        }
    }

    #[test]
    fn a_producer_without_a_name_server_says_so() {
        let mut settings = ProducerSettings::default();
        settings.common.namesrv = String::new();
        let producer = Producer::start("g", settings).expect("started");
        let error = producer.send(&Message::new("T", "x")).expect_err("nowhere to ask");
        assert_eq!(error.to_string(), "CODE: 10004  DESC: No name server address");
        producer.shutdown();
        assert!(Producer::start("a b", ProducerSettings::default()).is_err());
    }
}
