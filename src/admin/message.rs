//! Commands on messages: queryMsgById, queryMsgByKey, sendMessage.

use std::path::{Path, PathBuf};

use super::options::{Args, Opt};
use super::text::{self, or_null, out, outln};
use super::track::tracks;
use crate::base::console::complain;
use crate::base::error::IoContext;
use crate::base::{Error, Result, clock};
use crate::client::{
    Admin, KeyQuery, Message, MessageExt, MessageQueue, Producer, ProducerSettings, SendResult,
    Settings, code,
};
use crate::message::property;

/// Where queryMsgById leaves the bodies, as RocketMQ's tool does.
const BODY_DIRECTORY: &str = "/tmp/rocketmq/msgbodys";
/// Most messages asked of one broker by key.
const QUERY_MAX: i32 = 64;

/// Options of queryMsgById.
pub const QUERY_BY_ID: &[Opt] = &[
    Opt::value("i", "msgId", "Message Id").required(),
    Opt::value("g", "consumerGroup", "consumer group name"),
    Opt::value("d", "clientId", "The consumer's client id"),
    Opt::value("s", "sendMessage", "resend message"),
    Opt::value("u", "unitName", "unit name"),
    Opt::value("t", "topic", "Topic name; not needed, accepted as in RocketMQ 5"),
];

/// Options of queryMsgByKey.
pub const QUERY_BY_KEY: &[Opt] = &[
    Opt::value("t", "topic", "topic name").required(),
    Opt::value("k", "msgKey", "Message Key").required(),
];

/// Options of sendMessage.
pub const SEND: &[Opt] = &[
    Opt::value("t", "topic", "Topic name").required(),
    Opt::value("p", "body", "UTF-8 string format of the message body").required(),
    Opt::value("k", "key", "Message keys"),
    Opt::value("c", "tags", "Message tags"),
    Opt::value("b", "broker", "Send message to target broker"),
    Opt::value("i", "qid", "Send message to target queue"),
    Opt::value("m", "msgTraceEnable", "Message Trace Enable, Default: false"),
];

/// Prints messages by their offset ids, a comma between; with `-g` and `-d` has a client consume
/// them once more, with `-s true` sends them once more.
pub fn query_by_id(admin: &Admin, args: &Args) -> Result<()> {
    let ids = args.required("i").split(',').map(str::trim).filter(|id| !id.is_empty());
    if let (Some(group), Some(client_id)) = (args.get("g"), args.get("d")) {
        for id in ids {
            let result = admin.consume_directly(group, client_id, &admin.view_message(id)?)?;
            out!("{}", text::consumed_directly(&result));
        }
        Ok(())
    } else if args.has("s") {
        resend(admin, args, ids)
    } else {
        for id in ids {
            query_one(admin, id)?;
        }
        Ok(())
    }
}

fn query_one(admin: &Admin, id: &str) -> Result<()> {
    let message = admin.view_message(id)?;
    let path = save_body(Path::new(BODY_DIRECTORY), file_name(&message), message.body())?;
    out!("{}", block(&message, &path));
    match tracks(admin, &message) {
        Ok(tracks) if tracks.is_empty() => out!("\n\nWARN: No Consumer"),
        Ok(tracks) => {
            out!("\n\n");
            tracks.iter().for_each(|track| out!("{track}"));
        }
        Err(error) => complain(format_args!("consumers of {}: {error}", message.topic())),
    }
    Ok(())
}

fn resend<'a>(admin: &Admin, args: &Args, ids: impl Iterator<Item = &'a str>) -> Result<()> {
    if !args.is_true("s") {
        return Ok(());
    }
    let unit = args.get("u").map(|unit| format!("{}@{unit}", clock::now_ms()));
    with_producer(admin, "ReSendMsgById", unit, |producer| {
        for id in ids {
            let message = admin.view_message(id)?;
            out!("prepare resend msg. originalMsgId={id}");
            out!("{}", text::send_result(&producer.send(&message.to_message())?));
        }
        Ok(())
    })
}

/// The message's unique key, which comes from its sender, when it is fit to be a file's name.
fn file_name(message: &MessageExt) -> &str {
    if is_file_name(message.msg_id()) { message.msg_id() } else { &message.offset_msg_id }
}

fn is_file_name(id: &str) -> bool {
    id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn save_body(directory: &Path, id: &str, body: &[u8]) -> Result<PathBuf> {
    std::fs::create_dir_all(directory).what(|| format!("make {}", directory.display()))?;
    let path = directory.join(id);
    std::fs::write(&path, body).what(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn block(message: &MessageExt, path: &Path) -> String {
    let record = &message.message;
    let list = |value: Option<&str>| format!("[{}]", or_null(value));
    let lines = [
        ("OffsetID:", message.offset_msg_id.clone()),
        ("Topic:", record.topic.clone()),
        ("Tags:", list(message.tags())),
        ("Keys:", list(message.keys())),
        ("Queue ID:", record.queue_id.to_string()),
        ("Queue Offset:", record.queue_offset.to_string()),
        ("CommitLog Offset:", record.physical_offset.to_string()),
        ("Reconsume Times:", record.reconsume_times.to_string()),
        ("Born Timestamp:", text::human_time(record.born_timestamp)),
        ("Store Timestamp:", text::human_time(record.store_timestamp)),
        ("Born Host:", record.born_host.to_string()),
        ("Store Host:", record.store_host.to_string()),
        ("System Flag:", record.sys_flag.to_string()),
        ("Properties:", text::map(property::iter(&record.properties))),
        ("Message Body Path:", path.display().to_string()),
    ];
    lines.iter().map(|(name, value)| format!("{name:<20} {value}\n")).collect()
}

/// Prints ids and places of the messages of a key.
pub fn query_by_key(admin: &Admin, args: &Args) -> Result<()> {
    let line = |[id, queue, offset]: [&str; 3]| outln!("{id:<50} {queue:>4} {offset:>40}");
    let query = KeyQuery {
        topic: args.required("t"),
        key: args.required("k"),
        is_unique_key: false,
        max: QUERY_MAX,
        begin: 0,
        end: i64::MAX,
    };
    let found = admin.query_message(&query)?;
    line(["#Message ID", "#QID", "#Offset"]);
    for message in found {
        line([
            message.msg_id(),
            &message.message.queue_id.to_string(),
            &message.queue_offset().to_string(),
        ]);
    }
    Ok(())
}

/// Sends one message and prints where it went.
pub fn send(admin: &Admin, args: &Args) -> Result<()> {
    let line = |[broker, queue, result, id]: [&str; 4]| {
        outln!("{broker:<32}  {queue:<4}  {result:<20}    {id}");
    };
    if args.is_true("m") {
        return Err(Error::Config("-m true: message tracing is not built yet".into()));
    }
    if args.has("i") && !args.has("b") {
        out!("Broker name must be set if the queue is chosen!");
        return Ok(());
    }
    let queue_id = args.number_if_given("i")?;
    let mut message = Message::new(args.required("t"), args.required("p"));
    for (option, property) in [("c", property::TAGS), ("k", property::KEYS)] {
        message = message.property(property, args.get_or(option, ""));
    }
    let group = clock::now_ms().to_string();
    let sent = with_producer(admin, &group, None, |producer| match args.get("b") {
        None => producer.send(&message),
        Some(broker) => send_to(producer, &message, broker, queue_id),
    })?;
    line(["#Broker Name", "#QID", "#Send Result", "#MsgId"]);
    let queue_id = sent.queue.queue_id.to_string();
    line([&sent.queue.broker_name, &queue_id, sent.status.name(), &sent.msg_id]);
    Ok(())
}

/// Sends to one queue of a broker, without an id to any.
fn send_to(
    producer: &Producer,
    message: &Message,
    broker: &str,
    queue_id: Option<i32>,
) -> Result<SendResult> {
    if let Some(queue_id) = queue_id {
        return producer.send_to(message, &MessageQueue::new(message.topic(), broker, queue_id));
    }
    let mut queues = producer.queues(message.topic())?;
    queues.retain(|queue| queue.broker_name == broker);
    if queues.is_empty() {
        return Err(Error::refused(
            code::BROKER_NOT_EXIST,
            format!("The broker[{broker}] not exist, or not with a queue to send to"),
        ));
    }
    let any = clock::now_ms() as usize % queues.len();
    producer.send_to(message, &queues[any])
}

/// Runs a producer on the name servers of `admin`.
fn with_producer<T>(
    admin: &Admin,
    group: &str,
    instance_name: Option<String>,
    work: impl FnOnce(&Producer) -> Result<T>,
) -> Result<T> {
    let namesrv = Settings::namesrv(admin.namesrv_addresses().join(";"));
    let common = Settings { instance_name, ..namesrv };
    let settings = ProducerSettings { common, ..ProducerSettings::default() };
    let producer = Producer::start(group, settings)?;
    let outcome = work(&producer);
    producer.shutdown();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_key_does_not_choose_where_a_body_is_written() {
        assert!(is_file_name("C0000202724AB50885C67924506C0000"));
        for key in ["../../etc/passwd", "a/b", ".", &"A".repeat(65)] {
            assert!(!is_file_name(key), "{key}");
        }
    }
}
