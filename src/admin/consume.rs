//! consumeMessage: prints what stands in a topic without committing anything.

use super::options::{Args, Opt};
use super::text::{self, out, outln};
use crate::base::{Result, clock};
use crate::client::{Admin, MessageQueue, PullConsumer, PullStatus, Settings};

/// Options of consumeMessage.
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
        queue_id: args.number_if_given("i")?,
        offset: args.number_if_given("o")?,
        begin: args.timestamp("s")?,
        end: args.timestamp("e")?,
        count: args.number("c", 128)?,
    };
    if let Some(complaint) = complaint(&wanted, clock::now_ms()) {
        out!("{complaint}");
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
    if let (Some(broker), Some(queue_id)) = (&wanted.broker, wanted.queue_id) {
        let queue = MessageQueue::new(topic, broker, queue_id);
        return consume_queue(consumer, &queue, wanted, wanted.count).map(drop);
    }
    let mut budget = wanted.count;
    for queue in consumer.queues(topic)? {
        let is_of_broker = wanted.broker.as_ref().is_none_or(|name| *name == queue.broker_name);
        if is_of_broker && budget > 0 {
            budget -= consume_queue(consumer, &queue, wanted, budget)?;
        }
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
    let name = text::message_queue(queue);
    let (mut from, mut last) = range(consumer, queue, wanted)?;
    if let Some(offset) = wanted.offset {
        if offset > last {
            outln!("{name} no matched msg, offset={offset}");
            return Ok(0);
        }
        from = from.max(offset);
    }
    if last - from > budget {
        match wanted.queue_id {
            None => {
                let id = queue.queue_id;
                outln!("The older {budget} message of the {id} queue will be provided");
            }
            Some(_) => outln!("The oldler {budget} message will be provided"),
        }
        last = from + budget - 1;
    }
    let mut printed = 0;
    while from <= last {
        let pulled = consumer.pull(queue, "*", from, (last - from + 1).min(PULL_MAX) as i32)?;
        from = pulled.next_begin_offset;
        let status = pulled.status.name();
        match pulled.status {
            PullStatus::Found => {
                outln!("Consume ok");
                printed += pulled.messages.len() as i64;
                for message in &pulled.messages {
                    let whole = text::message(message, (pulled.min_offset, pulled.max_offset));
                    let body = String::from_utf8_lossy(message.body());
                    outln!("MSGID: {} {whole} BODY: {body}", message.msg_id());
                }
            }
            PullStatus::NoMatchedMsg => {
                outln!("{name} no matched msg. status={status}, offset={from}");
            }
            PullStatus::NoNewMsg | PullStatus::OffsetIllegal => {
                outln!("{name} print msg finished. status={status}, offset={from}");
                break;
            }
        }
    }
    Ok(printed)
}

/// First offset, and the last one to pull: without `-e` that of the message to come, so that the
/// end of the queue is told.
fn range(consumer: &PullConsumer, queue: &MessageQueue, wanted: &Wanted) -> Result<(i64, i64)> {
    let from = match wanted.begin {
        Some(begin) => consumer.search_offset(queue, begin)?,
        None => consumer.min_offset(queue)?,
    };
    let last = match wanted.end {
        Some(end) => consumer.search_offset(queue, end)?,
        None => consumer.max_offset(queue)?,
    };
    Ok((from, last))
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
