//! consumeMessage: prints what stands in a topic without committing anything.

use super::message::timestamp;
use super::options::{Args, Opt};
use super::topic::number;
use crate::base::{Result, clock};
use crate::client::{Admin, MessageExt, MessageQueue, PullConsumer, PullStatus, Settings};
use crate::message::property;

pub const CONSUME: &[Opt] = &[
    Opt::value("t", "topic", "Topic name").required(),
    Opt::value("b", "brokerName", "Broker name"),
    Opt::value("i", "queueId", "Queue Id"),
    Opt::value("o", "offset", "Queue offset"),
    Opt::value("g", "consumerGroup", "Consumer group name"),
    Opt::value(
        "s",
        "beginTimestamp ",
        "Begin timestamp[currentTimeMillis|yyyy-MM-dd#HH:mm:ss:SSS]",
    ),
    Opt::value("e", "endTimestamp ", "End timestamp[currentTimeMillis|yyyy-MM-dd#HH:mm:ss:SSS]"),
    Opt::value("c", "MessageNumber", "Number of message to be consumed"),
];

/// Messages asked for in one pull.
const PULL_MAX: i64 = 32;

/// What is printed: of which queues, from when to when, how much.
struct Wanted {
    broker: Option<String>,
    queue_id: Option<i32>,
    offset: Option<i64>,
    begin: Option<i64>,
    end: Option<i64>,
    count: i64,
}

/// Prints messages of a topic, of one of its brokers, or of one queue.
pub fn consume(admin: &Admin, args: &Args) -> Result<()> {
    let wanted = Wanted {
        broker: args.get("b").map(str::to_string),
        queue_id: args.get("i").map(|_| number(args, "i", 0)).transpose()?,
        offset: args.get("o").map(|_| number(args, "o", 0)).transpose()?,
        begin: timestamp(args, "s")?,
        end: timestamp(args, "e")?,
        count: number(args, "c", 128)?,
    };
    if let Some(complaint) = complaint(&wanted, clock::now_ms()) {
        println!("{complaint}");
        return Ok(());
    }
    let settings = Settings::namesrv(admin.namesrv_addresses().join(";"));
    let consumer = PullConsumer::start(args.get_or("g", "TOOLS_CONSUMER"), settings)?;
    let outcome = consume_queues(&consumer, args.required("t"), &wanted);
    consumer.shutdown();
    outcome
}

fn complaint(wanted: &Wanted, now: i64) -> Option<&'static str> {
    if wanted.count <= 0 {
        Some("Please input a positive messageNumber!")
    } else if wanted.queue_id.is_some() && wanted.broker.is_none() {
        Some("Please set the brokerName before queueId!")
    } else if wanted.offset.is_some() && wanted.queue_id.is_none() {
        Some("Please set queueId before offset!")
    } else if wanted.begin.is_some_and(|begin| begin > now) {
        Some("Please set the beginTimestamp before now!")
    } else if wanted.end.is_some_and(|end| end > now) {
        Some("Please set the endTimestamp before now!")
    } else if matches!((wanted.begin, wanted.end), (Some(begin), Some(end)) if begin > end) {
        Some("Please make sure that the beginTimestamp is less than or equal to the endTimestamp")
    } else {
        None
    }
}

fn consume_queues(consumer: &PullConsumer, topic: &str, wanted: &Wanted) -> Result<()> {
    let mut budget = wanted.count;
    for queue in consumer.queues(topic)? {
        let other_broker = wanted.broker.as_ref().is_some_and(|name| *name != queue.broker_name);
        if other_broker || wanted.queue_id.is_some_and(|id| id != queue.queue_id) {
            continue;
        }
        if budget == 0 {
            break;
        }
        budget -= consume_queue(consumer, &queue, wanted, budget)?;
    }
    Ok(())
}

/// Prints at most `budget` messages of one queue, the older ones, and returns how many.
fn consume_queue(
    consumer: &PullConsumer,
    queue: &MessageQueue,
    wanted: &Wanted,
    budget: i64,
) -> Result<i64> {
    let (mut from, mut until) = range(consumer, queue, wanted)?;
    if let Some(offset) = wanted.offset {
        if offset > until {
            println!("{} no matched msg, offset={offset}", describe(queue));
            return Ok(0);
        }
        from = from.max(offset);
    }
    if until - from > budget {
        match wanted.queue_id {
            None => {
                println!(
                    "The older {budget} message of the {} queue will be provided",
                    queue.queue_id
                )
            }
            Some(_) => println!("The oldler {budget} message will be provided"),
        }
        until = from + budget;
    }
    let begin = from;
    while from < until {
        let pulled = consumer.pull(queue, "*", from, (until - from).min(PULL_MAX) as i32)?;
        match pulled.status {
            PullStatus::Found => {
                println!("Consume ok");
                pulled.messages.iter().for_each(print_message);
            }
            PullStatus::NoMatchedMsg => {
                let status = pulled.status.name();
                println!("{} no matched msg. status={status}, offset={from}", describe(queue));
            }
            PullStatus::NoNewMsg | PullStatus::OffsetIllegal => {
                let status = pulled.status.name();
                println!("{} print msg finished. status={status}, offset={from}", describe(queue));
                break;
            }
        }
        from = pulled.next_begin_offset;
    }
    Ok((from - begin).clamp(0, budget))
}

/// First offset, and the one after the last.
fn range(consumer: &PullConsumer, queue: &MessageQueue, wanted: &Wanted) -> Result<(i64, i64)> {
    let from = match wanted.begin {
        Some(begin) => consumer.search_offset(queue, begin)?,
        None => consumer.min_offset(queue)?,
    };
    let until = match wanted.end {
        Some(end) => consumer.search_offset(queue, end)?,
        None => consumer.max_offset(queue)?,
    };
    Ok((from, until))
}

fn describe(queue: &MessageQueue) -> String {
    format!(
        "MessageQueue [topic={}, brokerName={}, queueId={}]",
        queue.topic, queue.broker_name, queue.queue_id
    )
}

fn print_message(message: &MessageExt) {
    let record = &message.message;
    let properties: Vec<String> =
        property::iter(&record.properties).map(|(name, value)| format!("{name}={value}")).collect();
    println!(
        "MSGID: {} MessageExt [brokerName={}, queueId={}, storeSize={}, queueOffset={}, \
         sysFlag={}, bornTimestamp={}, bornHost=/{}, storeTimestamp={}, storeHost=/{}, msgId={}, \
         commitLogOffset={}, bodyCRC={}, reconsumeTimes={}, preparedTransactionOffset={}, \
         toString()=Message{{topic='{}', flag={}, properties={{{}}}, body={:?}, \
         transactionId='{}'}}] BODY: {}",
        message.msg_id(),
        message.queue.broker_name,
        record.queue_id,
        record.store_size,
        record.queue_offset,
        record.sys_flag,
        record.born_timestamp,
        record.born_host,
        record.store_timestamp,
        record.store_host,
        message.offset_msg_id,
        record.physical_offset,
        record.body_crc,
        record.reconsume_times,
        record.prepared_transaction_offset,
        record.topic,
        record.flag,
        properties.join(", "),
        message.body().iter().map(|&byte| byte as i8).collect::<Vec<_>>(),
        message.get(property::UNIQ_KEY).unwrap_or("null"),
        String::from_utf8_lossy(message.body()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_that_cannot_be_are_refused() {
        let wanted = |broker: Option<&str>, queue_id, offset, begin, end, count| Wanted {
            broker: broker.map(str::to_string),
            queue_id,
            offset,
            begin,
            end,
            count,
        };
        let said = |wanted: Wanted| complaint(&wanted, 100).unwrap_or("");
        assert_eq!(said(wanted(None, None, None, None, None, 1)), "");
        assert!(said(wanted(None, None, None, None, None, 0)).contains("positive"));
        assert!(said(wanted(None, Some(1), None, None, None, 1)).contains("brokerName"));
        assert!(said(wanted(Some("b"), None, Some(1), None, None, 1)).contains("queueId before"));
        assert!(said(wanted(None, None, None, Some(101), None, 1)).contains("beginTimestamp"));
        assert!(said(wanted(None, None, None, None, Some(101), 1)).contains("endTimestamp"));
        assert!(said(wanted(None, None, None, Some(9), Some(8), 1)).contains("less than"));
    }
}
