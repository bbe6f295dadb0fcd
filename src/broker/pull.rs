//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361), which differ in nothing.
//!
//! A pull that finds nothing new may wait in `hold`. It is run once more when a message arrived or
//! its time is over, then without waiting and without committing an offset. One whose messages only
//! the disk has goes on in the cold pool, so that no other waits behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::filters::{self, Filter, Registered};
use super::hold::Waiting;
use super::requests::Pool;
use super::send::{FAQ, forbidden_broker};
use super::topics::{AtHand, Topic};
use super::{Broker, answer_to, system_error};
use crate::base::limits::HELD_PULL_MS_MAX;
use crate::base::{Error, Result, clock, json};
use crate::config::{BrokerConfig, BrokerRole};
use crate::dispatch::Outcome;
use crate::message::filter::{ALL, Subscription};
use crate::message::flags::{PERM_READ, PULL_COMMIT_OFFSET, PULL_SUBSCRIPTION, PULL_SUSPEND};
use crate::message::sql::Invalid;
use crate::message::{MessageRef, property, topic};
use crate::net::{Conn, Request, Responder};
use crate::protocol::Command;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::group::SubscriptionGroupConfig;
use crate::protocol::body::heartbeat::MessageModel;
use crate::protocol::code::response;
use crate::protocol::command::{FLAG_RESPONSE, VERSION};
use crate::protocol::headers::pull::{PullMessage, PullMessageReply};
use crate::store::{ExtUnit, GetResult, GetStatus, Pass};

/// Pulls that whoever dispatches their messages answers himself: a hop to the pull pool costs more.
const ANSWERED_HERE: usize = 4;
/// Of more pulls so many are one piece of work for the pull pool: their answers leave together.
const ANSWERED_AT_ONCE: usize = 16;

/// An expression takes about so many times its length in memory when it is parsed.
const PARSED_FACTOR: usize = 16;

const NO_PARSE: &str = "parse the consumer's subscription failed";

/// What a pull wants, checked.
struct Wanted<'a> {
    topic: &'a str,
    /// What else there is of the topic, if it was looked up.
    at_hand: Option<&'a AtHand>,
    group: &'a Arc<SubscriptionGroupConfig>,
    queue_id: i32,
    offset: i64,
    max: i32,
    /// `None`: every message.
    filter: Option<&'a Filter>,
}

impl Wanted<'_> {
    /// Calls `work` with what passes the filter.
    fn with_pass<R>(&self, work: impl FnOnce(&Pass) -> R) -> R {
        let filter = self.filter;
        let tags = |code: i64| filter.is_none_or(|filter| filter.matches_code(code));
        let ext = |unit: &ExtUnit<'_>| filter.is_none_or(|filter| filter.matches_ext(unit));
        let properties = |text: &str| filter.is_none_or(|filter| filter.matches(text));
        work(&Pass {
            tags: &tags,
            ext: filter.filter(|filter| filter.asks_ext()).map(|_| &ext as _),
            properties: filter.filter(|filter| filter.asks_properties()).map(|_| &properties as _),
        })
    }
}

/// A pull that waits.
pub struct Held {
    topic: Arc<str>,
    group: Arc<SubscriptionGroupConfig>,
    queue_id: i32,
    offset: i64,
    max: i32,
    filter: Option<Filter>,
    /// See `Waiting`.
    filter_bytes: usize,
    responder: Responder,
}

impl Held {
    /// Drops the pull without an answer: nobody is there to read it.
    pub fn silent(self) {
        self.responder.silent();
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            topic: &self.topic,
            at_hand: None,
            group: &self.group,
            queue_id: self.queue_id,
            offset: self.offset,
            max: self.max,
            filter: self.filter.as_ref(),
        }
    }
}

/// Answers a pull, or parks it.
pub fn message(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let config = broker.config.get();
    let header = PullMessage::decode(&request.command)?;
    let (group, topic, filter) = check(broker, &config, request, &header)?;
    let wanted = Wanted {
        topic: header.topic,
        at_hand: topic.at_hand(),
        group: &group,
        queue_id: header.queue_id,
        offset: header.queue_offset,
        max: header.max_msg_nums,
        filter: filter.as_ref(),
    };
    let is_slave = config.store.broker_role == BrokerRole::Slave;
    if header.sys_flag & PULL_COMMIT_OFFSET != 0 && !is_slave {
        let (group, queue_id) = (header.consumer_group, header.queue_id);
        broker.offsets.commit(header.topic, group, queue_id, header.commit_offset);
    }
    let got = wanted.with_pass(|pass| {
        let queues = wanted.at_hand.map(|at_hand| &at_hand.queues);
        let Wanted { topic, queue_id, offset, max, .. } = wanted;
        broker.store.get_now(topic, queue_id, queues, offset, max, pass)
    });
    let wait =
        (header.sys_flag & PULL_SUSPEND != 0).then(|| wait(&config, header.suspend_timeout_millis));
    let is_cold = got.is_none();
    if let Some(got) = got {
        if code_of(&got, &wanted) != response::PULL_NOT_FOUND || wait.is_none() {
            read_ahead(broker, &wanted, &got);
            return Ok(Outcome::Reply(answer(broker, &config, &wanted, got)));
        }
    } else {
        broker.refuse_if_cold_is_full()?;
    }
    let held = Held {
        topic: header.topic.into(),
        queue_id: header.queue_id,
        offset: header.queue_offset,
        max: header.max_msg_nums,
        filter,
        filter_bytes: filter_bytes(&header),
        group,
        responder: request.responder(),
    };
    match wait {
        Some(wait) if !is_cold => park(broker, held, wait),
        wait => {
            let (mine, arrived) = (broker.clone(), request.arrived);
            broker.resubmit(Pool::Cold, Box::new(move || cold(&mine, held, wait, arrived)));
        }
    }
    Ok(Outcome::Later)
}

/// How long a pull may wait that asks for `millis`.
fn wait(config: &BrokerConfig, millis: i64) -> Duration {
    let millis = match config.long_polling_enable {
        true => millis,
        false => config.short_polling_time_mills,
    };
    Duration::from_millis(millis.clamp(0, HELD_PULL_MS_MAX) as u64)
}

/// A pull whose messages only the disk has, in the cold pool. One that finds nothing may still be
/// parked.
fn cold(broker: &Broker, held: Held, wait: Option<Duration>, arrived: Instant) {
    if held.responder.conn().is_closed() {
        return held.silent();
    }
    let config = broker.config.get();
    let waited = arrived.elapsed().as_millis() as i64;
    if config.broker_fast_failure_enable && waited > config.wait_time_mills_in_pull_queue {
        let remark = format!(
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: \
             {waited}ms, waiting for the disk"
        );
        return held.responder.send(refusal(response::SYSTEM_BUSY, remark));
    }
    let wanted = held.wanted();
    let tags = |code: i64| wanted.filter.is_none_or(|filter| filter.matches_code(code));
    if let Err(error) = broker.store.warm(&held.topic, held.queue_id, held.offset, &tags) {
        log::error!(target: "broker", "a pull of {}: {error}", held.topic);
        return held.responder.send(refusal(response::SYSTEM_ERROR, error.to_string()));
    }
    let got = read(broker, &wanted);
    match wait {
        Some(wait) if code_of(&got, &wanted) == response::PULL_NOT_FOUND => {
            park(broker, held, wait);
        }
        _ => {
            let reply = answer(broker, &config, &wanted, got);
            held.responder.send(reply);
        }
    }
}

/// Has the cold pool read what the reader of old messages will ask for next.
fn read_ahead(broker: &Arc<Broker>, wanted: &Wanted, got: &GetResult) {
    let Some(from) = got.ahead else { return };
    let (topic, queue_id) = (wanted.topic.to_owned(), wanted.queue_id);
    let (mine, filter) = (broker.clone(), wanted.filter.cloned());
    let read = move || {
        let tags = |code: i64| filter.as_ref().is_none_or(|filter| filter.matches_code(code));
        if let Err(error) = mine.store.warm(&topic, queue_id, from, &tags) {
            log::error!(target: "broker", "read ahead of pulls of {topic}: {error}");
        }
    };
    broker.resubmit(Pool::Cold, Box::new(read));
}

/// Runs a pull that waited, unless it is refused by now.
pub fn again(broker: &Broker, held: Held) {
    let conn = held.responder.conn();
    if conn.is_closed() {
        return held.silent();
    }
    let (config, name) = (broker.config.get(), &held.group.group_name);
    let (group, topic) = match allowed(broker, &config, conn, name, (&held.topic, held.queue_id)) {
        Ok(allowed) => allowed,
        Err(error) => {
            let (code, remark) = answer_to(error);
            return held.responder.send(refusal(code, remark));
        }
    };
    let wanted = Wanted { group: &group, at_hand: topic.at_hand(), ..held.wanted() };
    let got = read(broker, &wanted);
    let reply = answer(broker, &config, &wanted, got);
    held.responder.send(reply);
}

/// Answers pulls that were woken: a few here and now, more in the pull pool.
pub fn resume(broker: &Arc<Broker>, woken: Vec<Held>) {
    let mut woken = woken.into_iter();
    for held in woken.by_ref().take(ANSWERED_HERE) {
        again(broker, held);
    }
    loop {
        let some: Vec<Held> = woken.by_ref().take(ANSWERED_AT_ONCE).collect();
        if some.is_empty() {
            return;
        }
        let mine = broker.clone();
        let work = move || some.into_iter().for_each(|held| again(&mine, held));
        broker.resubmit(Pool::Pull, Box::new(work));
    }
}

/// Everything that refuses a pull, in RocketMQ's order; then its group, topic and filter.
fn check(
    broker: &Broker,
    config: &BrokerConfig,
    request: &Request,
    header: &PullMessage,
) -> Result<(Arc<SubscriptionGroupConfig>, Arc<Topic>, Option<Filter>)> {
    let PullMessage { consumer_group, topic, queue_id, .. } = *header;
    let queue = (topic, queue_id);
    let (group, topic) = allowed(broker, config, &request.conn, consumer_group, queue)?;
    if let Some(at_hand) = topic.at_hand() {
        at_hand.prefetch_get(&group, queue_id);
    }
    let filter = filter_of(broker, config, header, &group)?;
    Ok((group, topic, filter))
}

/// The group and the topic, if it may read this queue, which is given as topic and queue id.
fn allowed(
    broker: &Broker,
    config: &BrokerConfig,
    conn: &Conn,
    name: &str,
    queue: (&str, i32),
) -> Result<(Arc<SubscriptionGroupConfig>, Arc<Topic>)> {
    if config.broker_permission & PERM_READ == 0 {
        return Err(forbidden_broker(config, "pulling"));
    }
    let Some(group) = broker.group(name) else {
        let remark = format!("subscription group [{name}] does not exist, {FAQ}");
        return Err(Error::refused(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    };
    if !group.consume_enable {
        let remark = format!("subscription group no permission, {name}");
        return Err(Error::refused(response::NO_PERMISSION, remark));
    }
    let (name, queue_id) = queue;
    let Some(topic) = broker.topics.get(name) else {
        let remark = format!("topic[{name}] not exist, apply first please! {FAQ}");
        return Err(Error::refused(response::TOPIC_NOT_EXIST, remark));
    };
    if topic.perm & PERM_READ == 0 {
        let remark = format!("the topic[{name}] pulling message is forbidden");
        return Err(Error::refused(response::NO_PERMISSION, remark));
    }
    if queue_id < 0 || queue_id >= topic.read_queue_nums {
        let remark = format!(
            "queueId[{queue_id}] is illegal, topic:[{name}] topicConfig.readQueueNums:[{}] \
             consumer:[/{}]",
            topic.read_queue_nums,
            conn.peer()
        );
        return Err(system_error(remark));
    }
    Ok((group, topic))
}

/// The answer to filters over properties.
pub fn no_expressions(kind: &str) -> Error {
    let remark = format!("The broker does not support consumer to filter message by {kind}");
    Error::refused(response::SYSTEM_ERROR, remark)
}

/// What the pull lets pass; `None`: every message.
fn filter_of(
    broker: &Broker,
    config: &BrokerConfig,
    header: &PullMessage,
    group: &SubscriptionGroupConfig,
) -> Result<Option<Filter>> {
    let carried = header.sys_flag & PULL_SUBSCRIPTION != 0;
    let subscription = if carried { parsed(header)? } else { subscribed(broker, header, group)? };
    let subscription = match subscription {
        Some(found) if !found.is_tag() => {
            let registered = if carried { None } else { Some(registered(broker, header)?) };
            if !config.enable_property_filter {
                return Err(no_expressions(&found.expression_type));
            }
            let filter = match registered {
                Some(registered) => Filter::registered(registered, broker.filters.bloom()),
                None => Filter::expression(Arc::new(
                    filters::compile(&found.expression_type, &found.sub_string)
                        .map_err(bad_expression)?,
                )),
            };
            return Ok((!found.class_filter_mode).then_some(filter));
        }
        tags => tags,
    };
    match topic::retry_group(header.topic) {
        Some(group) if config.filter_support_retry => {
            Ok(Some(Filter::origin(subscription, broker.filters.clone(), group)))
        }
        _ => Ok(subscription.map(Filter::tags)),
    }
}

/// The memory of the filter that a pull has brought with it, about.
fn filter_bytes(header: &PullMessage) -> usize {
    let own = header.subscription.filter(|_| header.sys_flag & PULL_SUBSCRIPTION != 0);
    own.map_or(0, |text| text.len() * PARSED_FACTOR)
}

/// The expression of the group's heartbeats.
fn registered(broker: &Broker, header: &PullMessage) -> Result<Arc<Registered>> {
    let Some(found) = broker.filters.find(header.topic, header.consumer_group) else {
        let remark = "The broker's consumer filter data is not exist!Your expression may be wrong!";
        return Err(Error::refused(response::FILTER_DATA_NOT_EXIST, remark));
    };
    if found.version < header.sub_version {
        let remark = "the consumer's consumer filter data not latest";
        return Err(Error::refused(response::FILTER_DATA_NOT_LATEST, remark));
    }
    Ok(found)
}

/// The subscription of the group's newest heartbeat; `None`: every message.
fn subscribed(
    broker: &Broker,
    header: &PullMessage,
    group: &SubscriptionGroupConfig,
) -> Result<Option<Arc<Subscription>>> {
    let not_exist = |what: &str| {
        let remark = format!("the consumer's {what} not exist{FAQ}");
        Error::refused(response::SUBSCRIPTION_NOT_EXIST, remark)
    };
    let found = broker.clients.consumers(header.consumer_group, |consumers| {
        let broadcasting = consumers.data.message_model == Some(MessageModel::Broadcasting);
        if !group.consume_broadcast_enable && broadcasting {
            let name = header.consumer_group;
            let remark = format!("the consumer group[{name}] can not consume by broadcast way");
            return Err(Error::refused(response::NO_PERMISSION, remark));
        }
        let subscribed = consumers.subscriptions.get(header.topic);
        let subscribed = subscribed.ok_or_else(|| not_exist("subscription"))?;
        if subscribed.data.sub_version < header.sub_version {
            let remark = "the consumer's subscription not latest";
            return Err(Error::refused(response::SUBSCRIPTION_NOT_LATEST, remark));
        }
        subscribed.filter.clone().ok_or_else(no_parse)
    });
    let filter = found.unwrap_or_else(|| Err(not_exist("group info")))?;
    Ok((filter.sub_string != ALL).then_some(filter))
}

/// The subscription that the request carries; `None`: every message.
fn parsed(header: &PullMessage) -> Result<Option<Arc<Subscription>>> {
    let expression = header.subscription.unwrap_or_default();
    let kind = header.expression_type;
    let is_tag = kind.is_none_or(|kind| kind.is_empty() || kind == "TAG");
    if is_tag && (expression.is_empty() || expression == ALL) {
        return Ok(None);
    }
    let filter = Subscription::parse(header.topic, expression, kind).map_err(|_| no_parse())?;
    Ok(Some(Arc::new(filter)))
}

/// The answer to a subscription that does not parse.
fn no_parse() -> Error {
    Error::refused(response::SUBSCRIPTION_PARSE_FAILED, NO_PARSE)
}

/// The answer to an expression that does not parse: the place and what is wrong there.
pub fn bad_expression(why: Invalid) -> Error {
    Error::refused(response::SUBSCRIPTION_PARSE_FAILED, format!("{NO_PARSE}: {why}"))
}

/// What the pull wants, by a get that may wait for the disk.
fn read(broker: &Broker, wanted: &Wanted) -> GetResult {
    let Wanted { topic, queue_id, offset, max, .. } = *wanted;
    wanted.with_pass(|pass| broker.store.get_where(topic, queue_id, offset, max, pass))
}

fn code_of(got: &GetResult, wanted: &Wanted) -> i32 {
    match got.status {
        GetStatus::Found => response::SUCCESS,
        GetStatus::NoMatchedMessage | GetStatus::MessageWasRemoving => {
            response::PULL_RETRY_IMMEDIATELY
        }
        GetStatus::OffsetFoundNull | GetStatus::OffsetOverflowOne => response::PULL_NOT_FOUND,
        GetStatus::NoMatchedLogicQueue | GetStatus::NoMessageInQueue if wanted.offset == 0 => {
            response::PULL_NOT_FOUND
        }
        GetStatus::NoMatchedLogicQueue
        | GetStatus::NoMessageInQueue
        | GetStatus::OffsetOverflowBadly
        | GetStatus::OffsetTooSmall => response::PULL_OFFSET_MOVED,
    }
}

/// The answer to a read; messages go as slices of the log.
fn answer(broker: &Broker, config: &BrokerConfig, wanted: &Wanted, got: GetResult) -> Command {
    let group = wanted.group;
    broker.slow.read(config, &group.group_name, (wanted.topic, wanted.queue_id), &got);
    let mut code = code_of(&got, wanted);
    let mut suggest = match (config.slave_read_enable, got.suggest_slave) {
        (false, _) => 0,
        (true, true) => group.which_broker_when_consume_slowly,
        (true, false) => group.broker_id,
    };
    if code == response::PULL_OFFSET_MOVED {
        let is_slave = config.store.broker_role == BrokerRole::Slave;
        if is_slave && !config.store.offset_check_in_slave {
            code = response::PULL_RETRY_IMMEDIATELY;
            suggest = group.broker_id;
        } else {
            tell_offset_moved(broker, config, wanted, &got);
        }
    }
    let mut reply = refusal(code, got.status.name().to_owned());
    let fields = PullMessageReply {
        suggest_which_broker_id: suggest,
        next_begin_offset: got.next_begin_offset,
        min_offset: got.min_offset,
        max_offset: got.max_offset,
    };
    fields.encode(&mut reply);
    if got.status == GetStatus::Found {
        let (count, bytes) = (got.count as u64, got.bytes as u64);
        match wanted.at_hand {
            Some(AtHand { gets, .. }) => {
                broker.stats.got_by(gets, wanted.topic, group, count, bytes);
            }
            None => broker.stats.got(wanted.topic, &group.group_name, count, bytes),
        }
        reply.slices = got.slices;
    }
    reply
}

/// A reply; the responder gives it the opaque and codec of its request.
fn refusal(code: i32, remark: String) -> Command {
    Command {
        code,
        version: VERSION,
        flag: FLAG_RESPONSE,
        remark: Some(remark),
        ..Command::default()
    }
}

/// Parks a pull that found nothing, and looks at its queue once more: a message that arrived in
/// between would wake nobody.
fn park(broker: &Broker, held: Held, wait: Duration) {
    let (topic, queue_id, offset) = (held.topic.clone(), held.queue_id, held.offset);
    let conn = held.responder.conn().clone();
    let waiting = Waiting {
        topic: topic.clone(),
        queue_id,
        offset,
        filter: held.filter.clone(),
        filter_bytes: held.filter_bytes,
        conn: conn.id(),
        deadline: Instant::now() + wait,
        pull: held,
    };
    match broker.hold.park(waiting) {
        Ok(ticket) => {
            let arrived = broker.store.max_offset_in_queue(&topic, queue_id) > offset;
            if (arrived || conn.is_closed())
                && let Some(held) = broker.hold.take(ticket)
            {
                again(broker, held);
            }
        }
        Err(refused) => {
            let remark = "[OVERLOAD]too many pulls wait for messages".to_owned();
            refused.pull.responder.send(refusal(response::SYSTEM_BUSY, remark));
        }
    }
}

/// Body of a message of OFFSET_MOVED_EVENT.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OffsetMoved<'a> {
    consumer_group: &'a str,
    message_queue: MessageQueue,
    offset_new: i64,
    offset_request: i64,
}

/// Stores a message that tells of a consumer whose offset is not there.
fn tell_offset_moved(broker: &Broker, config: &BrokerConfig, wanted: &Wanted, got: &GetResult) {
    let group = &wanted.group.group_name;
    let event = OffsetMoved {
        consumer_group: group,
        message_queue: MessageQueue::new(wanted.topic, &config.broker_name, wanted.queue_id),
        offset_new: got.next_begin_offset,
        offset_request: wanted.offset,
    };
    let mut properties = String::new();
    property::push(&mut properties, property::TAGS, group);
    property::push(&mut properties, property::KEYS, group);
    property::push(&mut properties, property::DELAY, "0");
    let put = broker.store.put(&MessageRef {
        topic: topic::OFFSET_MOVED_EVENT,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: clock::now_ms(),
        born_host: broker.store_host(),
        store_timestamp: 0,
        store_host: broker.store_host(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: json::to_string(&event).as_bytes(),
        properties: &properties,
    });
    log::warn!(
        target: "broker",
        "offset moved: group {group} topic {} queue {} from {} to {}, event {}",
        wanted.topic,
        wanted.queue_id,
        wanted.offset,
        got.next_begin_offset,
        put.status.name()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{COLD_READ_THREADS, COLD_READS_MAX};

    #[test]
    fn so_many_wait_for_the_disk_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(BrokerConfig::for_test(dir.path())).unwrap();
        assert!(broker.refuse_if_cold_is_full().is_ok());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        for _ in 0..COLD_READ_THREADS {
            let held = held.clone();
            let wait = move || drop(held.lock().map(|held| held.recv()));
            broker.resubmit(Pool::Cold, Box::new(wait));
        }
        for _ in 0..COLD_READS_MAX {
            broker.resubmit(Pool::Cold, Box::new(|| ()));
        }
        let (code, remark) = answer_to(broker.refuse_if_cold_is_full().unwrap_err());
        assert_eq!(code, response::SYSTEM_BUSY);
        assert_eq!(remark, "[OVERLOAD]too many requests wait for the disk");
        drop(release);
        while broker.pool("cold").is_some_and(|pool| pool.queued > 0) {
            std::thread::yield_now();
        }
        assert!(broker.refuse_if_cold_is_full().is_ok());
        broker.stop();
    }

    #[test]
    fn no_pull_waits_for_ever() {
        let mut config = BrokerConfig::default();
        for (millis, expected) in [(15_000, 15), (i64::MAX, 300), (300_001, 300), (-1, 0)] {
            assert_eq!(wait(&config, millis), Duration::from_secs(expected), "{millis}");
        }
        config.long_polling_enable = false;
        assert_eq!(wait(&config, i64::MAX), Duration::from_secs(1));
        config.short_polling_time_mills = i64::MAX;
        assert_eq!(wait(&config, 0), Duration::from_secs(300));
    }
}
