//! Commands on messages: queryMsgById, queryMsgByKey, sendMessage.

use std::path::{Path, PathBuf};

use super::options::{Args, Opt};
use super::table::{self, Column};
use super::topic::{consumers, number};
use crate::base::error::IoContext;
use crate::base::{Error, Result, clock};
use crate::client::{
    Admin, KeyQuery, Message, MessageExt, MessageQueue, Producer, ProducerSettings, Settings,
};
use crate::message::property;

/// Where queryMsgById leaves the bodies, as RocketMQ's tool does.
const BODY_DIRECTORY: &str = "/tmp/rocketmq/msgbodys";
/// Most messages asked of one broker by key.
const QUERY_MAX: i32 = 64;

pub const QUERY_BY_ID: &[Opt] = &[
    Opt::value("i", "msgId", "Message Id").required(),
    Opt::value("t", "topic", "Topic name; not needed, accepted as in RocketMQ 5"),
];

pub const QUERY_BY_KEY: &[Opt] = &[
    Opt::value("t", "topic", "topic name").required(),
    Opt::value("k", "msgKey", "Message Key").required(),
];

pub const SEND: &[Opt] = &[
    Opt::value("t", "topic", "Topic name").required(),
    Opt::value("p", "body", "UTF-8 string format of the message body").required(),
    Opt::value("k", "key", "Message keys"),
    Opt::value("c", "tags", "Message tags"),
    Opt::value("b", "broker", "Send message to target broker"),
    Opt::value("i", "qid", "Send message to target queue"),
];

/// Prints messages by their offset ids, a comma between.
pub fn query_by_id(admin: &Admin, args: &Args) -> Result<()> {
    for id in args.required("i").split(',').map(str::trim).filter(|id| !id.is_empty()) {
        let message = admin.view_message(id)?;
        let path = save_body(Path::new(BODY_DIRECTORY), id, message.body())?;
        print!("{}", block(&message, &path));
        let consumers = consumers(admin, message.topic()).unwrap_or_default();
        if consumers.is_empty() {
            println!("\n\nWARN: No Consumer");
        } else {
            println!("\n\nConsumer groups of the topic: {}", consumers.join(", "));
        }
    }
    Ok(())
}

fn save_body(directory: &Path, id: &str, body: &[u8]) -> Result<PathBuf> {
    std::fs::create_dir_all(directory).what(|| format!("make {}", directory.display()))?;
    let path = directory.join(id);
    std::fs::write(&path, body).what(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn block(message: &MessageExt, path: &Path) -> String {
    let record = &message.message;
    let properties: Vec<String> =
        property::iter(&record.properties).map(|(name, value)| format!("{name}={value}")).collect();
    let list = |value: Option<&str>| format!("[{}]", value.unwrap_or("null"));
    let lines = [
        ("OffsetID:", message.offset_msg_id.clone()),
        ("Topic:", record.topic.clone()),
        ("Tags:", list(message.tags())),
        ("Keys:", list(message.keys())),
        ("Queue ID:", record.queue_id.to_string()),
        ("Queue Offset:", record.queue_offset.to_string()),
        ("CommitLog Offset:", record.physical_offset.to_string()),
        ("Reconsume Times:", record.reconsume_times.to_string()),
        ("Born Timestamp:", table::human_time(record.born_timestamp)),
        ("Store Timestamp:", table::human_time(record.store_timestamp)),
        ("Born Host:", record.born_host.to_string()),
        ("Store Host:", record.store_host.to_string()),
        ("System Flag:", record.sys_flag.to_string()),
        ("Properties:", format!("{{{}}}", properties.join(", "))),
        ("Message Body Path:", path.display().to_string()),
    ];
    lines.iter().map(|(name, value)| format!("{name:<20} {value}\n")).collect()
}

/// Prints ids and places of the messages of a key.
pub fn query_by_key(admin: &Admin, args: &Args) -> Result<()> {
    const COLUMNS: [Column; 3] = [Column::Left(50), Column::Right(4), Column::Right(40)];
    let query = KeyQuery {
        topic: args.required("t"),
        key: args.required("k"),
        is_unique_key: false,
        max: QUERY_MAX,
        begin: 0,
        end: i64::MAX,
    };
    let found = admin.query_message(&query)?;
    let line = |cells: &[&str]| println!("{}", table::row(&COLUMNS, &[1; 2], cells));
    line(&["#Message ID", "#QID", "#Offset"]);
    for message in found {
        line(&[
            message.msg_id(),
            &message.message.queue_id.to_string(),
            &message.queue_offset().to_string(),
        ]);
    }
    Ok(())
}

/// Sends one message and prints where it went.
pub fn send(admin: &Admin, args: &Args) -> Result<()> {
    const COLUMNS: [Column; 4] =
        [Column::Left(32), Column::Left(4), Column::Left(20), Column::Free];
    const GAPS: [usize; 3] = [2, 2, 4];
    let mut message = Message::new(args.required("t"), args.required("p"));
    if let Some(tags) = args.get("c") {
        message = message.tags(tags);
    }
    if let Some(keys) = args.get("k") {
        message = message.keys(keys);
    }
    if args.has("i") && !args.has("b") {
        println!("Broker name must be set if the queue is chosen!");
        return Ok(());
    }
    let common = Settings::namesrv(admin.namesrv_addresses().join(";"));
    let settings = ProducerSettings { common, ..ProducerSettings::default() };
    let producer = Producer::start(&clock::now_ms().to_string(), settings)?;
    let sent = match args.get("i") {
        None => producer.send(&message),
        Some(_) => {
            let queue = MessageQueue {
                topic: args.required("t").to_string(),
                broker_name: args.required("b").to_string(),
                queue_id: number(args, "i", 0)?,
            };
            producer.send_to(&message, &queue)
        }
    };
    producer.shutdown();
    let sent = sent?;
    let line = |cells: &[&str]| println!("{}", table::row(&COLUMNS, &GAPS, cells));
    line(&["#Broker Name", "#QID", "#Send Result", "#MsgId"]);
    let queue_id = sent.queue.queue_id.to_string();
    line(&[&sent.queue.broker_name, &queue_id, sent.status.name(), &sent.msg_id]);
    Ok(())
}

/// A time among the options, in ms: a number, or `yyyy-MM-dd#HH:mm:ss:SSS` in local time.
pub fn timestamp(args: &Args, short: &str) -> Result<Option<i64>> {
    let Some(text) = args.get(short) else { return Ok(None) };
    if let Ok(ms) = text.parse() {
        return Ok(Some(ms));
    }
    clock::parse_local(text).map(Some).ok_or_else(|| {
        Error::Config(format!("-{short} {text}: expected ms or yyyy-MM-dd#HH:mm:ss:SSS"))
    })
}
