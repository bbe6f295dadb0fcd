//! What the commands print: RocketMQ's text of things, and the way out to the terminal.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

use crate::base::clock;
use crate::base::console::complain;
use crate::client::{MessageExt, MessageQueue, SendResult};
use crate::message::property;
use crate::protocol::body::client::ConsumeMessageDirectlyResult;

/// Exit code when nobody reads the output any more: that of a program ended by SIGPIPE.
const READER_GONE: i32 = 141;

/// Writes to standard output. The program ends when that cannot be done: `mqadmin … | head` must
/// not end in a panic.
pub fn put(text: Arguments) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(READER_GONE);
        }
        complain(format_args!("mqadmin: write: {error}"));
        std::process::exit(1);
    }
}

/// `print!` for the commands.
macro_rules! out {
    ($($text:tt)*) => { $crate::admin::text::put(format_args!($($text)*)) };
}

/// `println!` for the commands.
macro_rules! outln {
    ($form:literal $($text:tt)*) => {
        $crate::admin::text::out!("{}\n", format_args!($form $($text)*))
    };
}

pub(super) use {out, outln};

/// At most the first `max` characters.
pub fn cut(text: &str, max: usize) -> &str {
    text.char_indices().nth(max).map_or(text, |(at, _)| &text[..at])
}

/// `yyyy-MM-dd HH:mm:ss,SSS` in local time.
pub fn human_time(ms: i64) -> String {
    clock::local_text(ms, ' ', ',')
}

/// A value that may be absent, as Java prints it.
pub fn or_null(value: Option<&str>) -> &str {
    value.unwrap_or("null")
}

/// `{K=V, K2=V2}`; RocketMQ's tools print them in the order of a Java hash table.
pub fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// As `MessageQueue.toString` in Java.
pub fn message_queue(queue: &MessageQueue) -> String {
    format!(
        "MessageQueue [topic={}, brokerName={}, queueId={}]",
        queue.topic, queue.broker_name, queue.queue_id
    )
}

/// As `SendResult.toString` in Java.
pub fn send_result(sent: &SendResult) -> String {
    format!(
        "SendResult [sendStatus={}, msgId={}, offsetMsgId={}, messageQueue={}, queueOffset={}]",
        sent.status,
        sent.msg_id,
        sent.offset_msg_id,
        message_queue(&sent.queue),
        sent.queue_offset
    )
}

/// As `ConsumeMessageDirectlyResult.toString` in Java.
pub fn consumed_directly(result: &ConsumeMessageDirectlyResult) -> String {
    format!(
        "ConsumeMessageDirectlyResult [order={}, autoCommit={}, consumeResult={}, remark={}, \
         spentTimeMills={}]",
        result.order,
        result.auto_commit,
        or_null(result.consume_result.map(|result| result.name())),
        or_null(result.remark.as_deref()),
        result.spent_time_mills
    )
}

/// A pulled message; `found_in` are the first and the next offset of its queue at the pull, which
/// RocketMQ's consumers add to the properties.
pub fn message(message: &MessageExt, found_in: (i64, i64)) -> String {
    let record = &message.message;
    let (min, max) = (found_in.0.to_string(), found_in.1.to_string());
    let added = [(property::MIN_OFFSET, min.as_str()), (property::MAX_OFFSET, max.as_str())];
    let properties = map(added.into_iter().chain(property::iter(&record.properties)));
    let half = property::is_true(&record.properties, property::TRAN_MSG);
    let transaction = message.get(property::UNIQ_KEY).filter(|_| half);
    format!(
        "MessageExt [brokerName={}, queueId={}, storeSize={}, queueOffset={}, sysFlag={}, \
         bornTimestamp={}, bornHost=/{}, storeTimestamp={}, storeHost=/{}, msgId={}, \
         commitLogOffset={}, bodyCRC={}, reconsumeTimes={}, preparedTransactionOffset={}, \
         toString()=Message{{topic='{}', flag={}, properties={properties}, body={:?}, \
         transactionId='{}'}}]",
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
        message.body().iter().map(|&byte| byte as i8).collect::<Vec<_>>(),
        or_null(transaction),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_characters() {
        assert_eq!(cut("abcdef", 3), "abc");
        assert_eq!(cut("äbc", 2), "äb");
        assert_eq!(cut("a", 2), "a");
    }

    #[test]
    fn objects_read_as_in_java() {
        let result = ConsumeMessageDirectlyResult::default();
        assert_eq!(
            consumed_directly(&result),
            "ConsumeMessageDirectlyResult [order=false, autoCommit=false, consumeResult=null, \
             remark=null, spentTimeMills=0]"
        );
        assert_eq!(map([("K", "V"), ("L", "W")]), "{K=V, L=W}");
    }
}
