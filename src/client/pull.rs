//! Pulling messages queue by queue, the application keeping its own place.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, Result};
use crate::message::filter::Subscription;
use crate::message::{flags, topic};
use crate::protocol::Command;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::heartbeat::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel};
use crate::protocol::code::{request, response};
use crate::protocol::headers::pull::{PullMessage, PullMessageReply};

use super::inbound::Refuse;
use super::instance::Instance;
use super::message::{MessageExt, decode_records};
use super::settings::Settings;

/// For a pull that does not wait for messages.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What a waiting pull gets beyond the time the broker holds it.
const TIMEOUT_BEYOND_SUSPEND: Duration = Duration::from_secs(10);

/// What a pull found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullStatus {
    /// Messages.
    Found,
    /// Nothing at this offset yet.
    NoNewMsg,
    /// Messages, but none that the expression wants.
    NoMatchedMsg,
    /// The queue has no such offset; `next_begin_offset` is one it has.
    OffsetIllegal,
}

impl PullStatus {
    fn of(code: i32) -> Option<PullStatus> {
        match code {
            response::SUCCESS => Some(PullStatus::Found),
            response::PULL_NOT_FOUND => Some(PullStatus::NoNewMsg),
            response::PULL_RETRY_IMMEDIATELY => Some(PullStatus::NoMatchedMsg),
            response::PULL_OFFSET_MOVED => Some(PullStatus::OffsetIllegal),
            _ => None,
        }
    }

    /// RocketMQ's name.
    pub fn name(self) -> &'static str {
        match self {
            PullStatus::Found => "FOUND",
            PullStatus::NoNewMsg => "NO_NEW_MSG",
            PullStatus::NoMatchedMsg => "NO_MATCHED_MSG",
            PullStatus::OffsetIllegal => "OFFSET_ILLEGAL",
        }
    }
}

/// The answer to a pull.
#[derive(Debug, Clone)]
pub struct PullResult {
    pub status: PullStatus,
    /// Where to go on.
    pub next_begin_offset: i64,
    /// The oldest offset of the queue.
    pub min_offset: i64,
    /// One after the newest offset of the queue.
    pub max_offset: i64,
    /// The replica the broker would rather be asked next time.
    pub suggested_broker_id: i64,
    /// What was found and is wanted.
    pub messages: Vec<MessageExt>,
}

/// One pull request.
#[derive(Debug, Clone)]
pub(crate) struct Pull<'a> {
    pub group: &'a str,
    pub queue: &'a MessageQueue,
    pub offset: i64,
    pub max: i32,
    pub subscription: &'a Subscription,
    /// Whether the subscription is sent along; otherwise the broker takes that of the heartbeat.
    pub send_subscription: bool,
    /// How long the broker may hold the request when there is nothing.
    pub suspend: Option<Duration>,
    /// Commits this offset on the way.
    pub commit: Option<i64>,
}

impl Pull<'_> {
    /// The request frame, and how long to wait for its answer.
    pub fn request(&self) -> (Command, Duration) {
        let mut sys_flag = 0;
        let mut set = |bit, wanted| sys_flag |= if wanted { bit } else { 0 };
        set(flags::PULL_COMMIT_OFFSET, self.commit.is_some());
        set(flags::PULL_SUSPEND, self.suspend.is_some());
        set(flags::PULL_SUBSCRIPTION, self.send_subscription);
        let suspend = self.suspend.unwrap_or_default();
        let subscription = self.subscription;
        let header = PullMessage {
            consumer_group: self.group,
            topic: &self.queue.topic,
            queue_id: self.queue.queue_id,
            queue_offset: self.offset,
            max_msg_nums: self.max,
            sys_flag,
            commit_offset: self.commit.unwrap_or_default(),
            suspend_timeout_millis: suspend.as_millis() as i64,
            subscription: self.send_subscription.then_some(subscription.sub_string.as_str()),
            sub_version: subscription.sub_version,
            expression_type: Some(&subscription.expression_type),
            broker_name: Some(&self.queue.broker_name),
        };
        let mut command = Command::request(request::PULL_MESSAGE);
        header.encode(&mut command);
        let beyond = if self.suspend.is_some() { TIMEOUT_BEYOND_SUSPEND } else { TIMEOUT };
        (command, suspend + beyond)
    }

    /// What the answer says; another code than the four of `PullStatus` is an error.
    pub fn result(&self, reply: &Command) -> Result<PullResult> {
        pull_result(reply, self.queue, self.subscription)
    }
}

/// Reads the answer to a pull of `queue`, leaving out messages whose tag only collides by hash.
pub(crate) fn pull_result(
    reply: &Command,
    queue: &MessageQueue,
    subscription: &Subscription,
) -> Result<PullResult> {
    let Some(status) = PullStatus::of(reply.code) else {
        return Err(Error::refused(reply.code, reply.remark.clone().unwrap_or_default()));
    };
    let header = PullMessageReply::decode(reply)?;
    let mut messages = match status {
        PullStatus::Found => decode_records(&reply.body, &queue.broker_name)?,
        _ => Vec::new(),
    };
    let tags = &subscription.tags_set;
    if subscription.is_tag() && !tags.is_empty() {
        messages.retain(|message| {
            message.tags().is_some_and(|tag| tags.iter().any(|wanted| wanted == tag))
        });
    }
    Ok(PullResult {
        status,
        next_begin_offset: header.next_begin_offset,
        min_offset: header.min_offset,
        max_offset: header.max_offset,
        suggested_broker_id: header.suggest_which_broker_id,
        messages,
    })
}

/// A subscription, checked.
pub(crate) fn subscription(topic: &str, expression: &str) -> Result<Subscription> {
    Subscription::parse(topic, expression, None).map_err(|text| Error::Config(text.to_owned()))
}

/// A consumer without queues of its own: the application names queue and offset. May be used by
/// many threads at once.
pub struct PullConsumer {
    group: String,
    instance: Arc<Instance>,
}

impl PullConsumer {
    /// Starts a pull consumer of a group. No name server needs to be there yet.
    pub fn start(group: &str, settings: Settings) -> Result<PullConsumer> {
        topic::check_group(group).map_err(|text| Error::Config(text.to_owned()))?;
        let instance = Instance::new(settings, Arc::new(Refuse))?;
        instance.announce_consumer(ConsumerData {
            group_name: group.to_owned(),
            consume_type: Some(ConsumeType::Actively),
            message_model: Some(MessageModel::Clustering),
            consume_from_where: Some(ConsumeFromWhere::LastOffset),
            ..ConsumerData::default()
        });
        instance.start_timer()?;
        Ok(PullConsumer { group: group.to_owned(), instance })
    }

    /// Ends heartbeats, tells the brokers, closes the connections.
    pub fn shutdown(&self) {
        self.instance.shutdown();
    }

    /// The queues of a topic one may receive from.
    pub fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>> {
        Ok(self.instance.route(topic)?.subscribe.clone())
    }

    /// At most `max` messages from `offset` on whose tag `expression` wants (`*`, `TagA || TagB`).
    /// Comes back at once.
    pub fn pull(
        &self,
        queue: &MessageQueue,
        expression: &str,
        offset: i64,
        max: i32,
    ) -> Result<PullResult> {
        self.pull_within(queue, expression, offset, max, None)
    }

    /// As `pull`; when there is nothing waits up to `wait` for messages to arrive.
    pub fn pull_wait(
        &self,
        queue: &MessageQueue,
        expression: &str,
        offset: i64,
        max: i32,
        wait: Duration,
    ) -> Result<PullResult> {
        self.pull_within(queue, expression, offset, max, Some(wait))
    }

    fn pull_within(
        &self,
        queue: &MessageQueue,
        expression: &str,
        offset: i64,
        max: i32,
        suspend: Option<Duration>,
    ) -> Result<PullResult> {
        let subscription = subscription(&queue.topic, expression)?;
        let pull = Pull {
            group: &self.group,
            queue,
            offset,
            max,
            subscription: &subscription,
            send_subscription: true,
            suspend,
            commit: None,
        };
        let (request, timeout) = pull.request();
        let address = self.instance.any_address(&queue.broker_name, &queue.topic)?;
        pull.result(&self.instance.net.call(&address, request, timeout)?)
    }

    /// The oldest offset of a queue.
    pub fn min_offset(&self, queue: &MessageQueue) -> Result<i64> {
        self.instance.min_offset(queue)
    }

    /// One after the newest offset of a queue.
    pub fn max_offset(&self, queue: &MessageQueue) -> Result<i64> {
        self.instance.max_offset(queue)
    }

    /// The first offset stored at or after `timestamp`, in ms.
    pub fn search_offset(&self, queue: &MessageQueue, timestamp: i64) -> Result<i64> {
        self.instance.search_offset(queue, timestamp)
    }

    /// Where the group goes on, `None` when it never committed.
    pub fn committed_offset(&self, queue: &MessageQueue) -> Result<Option<i64>> {
        self.instance.committed_offset(&self.group, queue)
    }

    /// Has the group go on at `offset`.
    pub fn commit_offset(&self, queue: &MessageQueue, offset: i64) -> Result<()> {
        self.instance.commit_offset(&self.group, queue, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_is_asked() {
        let queue = MessageQueue { topic: "T".into(), broker_name: "b".into(), queue_id: 3 };
        let subscription = subscription("T", "A || B").expect("an expression");
        let mut pull = Pull {
            group: "g",
            queue: &queue,
            offset: 7,
            max: 32,
            subscription: &subscription,
            send_subscription: true,
            suspend: None,
            commit: None,
        };
        let (request, timeout) = pull.request();
        assert_eq!((request.field("sysFlag"), timeout), (Some("4"), TIMEOUT));
        assert_eq!(request.field("subscription"), Some("A || B"));
        (pull.suspend, pull.commit) = (Some(Duration::from_secs(15)), Some(7));
        pull.send_subscription = false;
        let (request, timeout) = pull.request();
        assert_eq!(request.field("sysFlag"), Some("3"));
        assert_eq!(request.field("suspendTimeoutMillis"), Some("15000"));
        assert_eq!((request.field("subscription"), timeout), (None, Duration::from_secs(25)));
    }

    #[test]
    fn codes_become_statuses() {
        let name = |code| PullStatus::of(code).map(PullStatus::name);
        assert_eq!(name(0), Some("FOUND"));
        assert_eq!(name(19), Some("NO_NEW_MSG"));
        assert_eq!(name(20), Some("NO_MATCHED_MSG"));
        assert_eq!(name(21), Some("OFFSET_ILLEGAL"));
        assert_eq!(name(24), None);
    }
}
