//! Transactions: END_TRANSACTION (37) and RESUME_CHECK_HALF_MESSAGE (323).
//!
//! A half message stands in the half topic and says in its properties where it belongs. Its
//! producer commits it, and a copy is stored there, or rolls it back. Either way an op message with
//! the half message's queue offset says that it is done with; `txn_check` asks producers about
//! those without one. All as RocketMQ stores it, so that either broker continues the other's.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Broker, system_error};
use crate::base::slice::Slice;
use crate::base::{Error, Result, clock};
use crate::config::{BrokerConfig, BrokerRole};
use crate::dispatch::Outcome;
use crate::message::flags::{TRANSACTION_COMMIT, TRANSACTION_MASK, TRANSACTION_ROLLBACK};
use crate::message::record::{Checked, RecordView};
use crate::message::{MessageRef, id, property, topic};
use crate::net::Request;
use crate::protocol::code::response;
use crate::protocol::headers::txn::{EndTransaction, ResumeCheckHalfMessage};
use crate::store::{Put, PutStatus, Store, delay};

/// The queue of half messages, and that of op messages, in their topics.
pub const QUEUE: i32 = 0;
/// Stored properties of an op message: those of a new message, and the tag `d`.
const OP_PROPERTIES: &str = "WAIT\u{1}true\u{2}TAGS\u{1}d";

/// Writes into a property string where a half message belongs; returns the topic and queue it is
/// stored in.
pub fn hold(text: &mut String, topic: &str, queue_id: i32) -> (&'static str, i32) {
    property::set(text, property::REAL_TOPIC, topic);
    property::set(text, property::REAL_QID, &queue_id.to_string());
    (topic::TRANS_HALF, QUEUE)
}

/// Where a half message belongs; `None` when its properties do not say so.
pub fn target(properties: &str) -> Option<(&str, i32)> {
    let queue_id = property::get(properties, property::REAL_QID)?.parse().ok()?;
    property::get(properties, property::REAL_TOPIC).map(|topic| (topic, queue_id))
}

/// Stores a half message once more, at the end of its queue.
pub fn put_half(store: &Store, half: &RecordView, properties: &str, host: SocketAddr) -> Put {
    let copy = MessageRef {
        topic: topic::TRANS_HALF,
        queue_id: QUEUE,
        sys_flag: half.sys_flag() & !TRANSACTION_MASK,
        store_host: host,
        properties,
        ..half.message()
    };
    store.put(&copy).without_waiting()
}

/// Commits or rolls back a half message. The unknown state gets no answer at all.
pub fn end(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = EndTransaction::decode(&request.command)?;
    let config = broker.config.get();
    if config.store.broker_role == BrokerRole::Slave {
        let remark = "Message store is slave mode, so end transaction is forbidden.";
        return Err(Error::refused(response::SLAVE_NOT_AVAILABLE, remark));
    }
    match header.commit_or_rollback {
        0 => return Ok(Outcome::Silent),
        TRANSACTION_COMMIT | TRANSACTION_ROLLBACK => {}
        _ => return Err(system_error("commitOrRollback field wrong")),
    }
    let record = broker.store.record_at(header.commit_log_offset);
    let half = half_at(record.as_ref(), &header)?;
    if header.commit_or_rollback == TRANSACTION_COMMIT {
        commit(broker, &config, &half)?;
    }
    let op = put_op(&broker.store, half.queue_offset(), broker.store_host());
    if op != PutStatus::PutOk {
        // The producer will be asked again, as with RocketMQ.
        let (offset, status) = (half.queue_offset(), op.name());
        log::error!(target: "transaction", "no op message for half message {offset}: {status}");
    }
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// The half message an END_TRANSACTION names, when all that it says of it is true.
fn half_at<'a>(record: Option<&'a Slice>, header: &EndTransaction) -> Result<RecordView<'a>> {
    let parsed = record.map(|record| RecordView::parse(record.as_bytes(), true));
    let half = match parsed {
        Some(Checked::Record(half)) if half.topic() == topic::TRANS_HALF => half,
        _ => return Err(system_error("Find prepared transaction message failed")),
    };
    let group = property::get(half.properties(), property::PGROUP);
    if group != Some(header.producer_group) {
        return Err(system_error("The producer group wrong"));
    }
    if half.queue_offset() != header.tran_state_table_offset {
        return Err(system_error("The transaction state table offset wrong"));
    }
    if half.physical_offset() != header.commit_log_offset {
        return Err(system_error("The commit log offset wrong"));
    }
    Ok(half)
}

/// Stores the message where it belongs, or for its delay first. Its properties stay as they are.
fn commit(broker: &Broker, config: &BrokerConfig, half: &RecordView) -> Result<()> {
    let properties = half.properties();
    let Some((real_topic, real_queue)) = target(properties) else {
        return Err(system_error("the half message does not say its topic and queue"));
    };
    let sys_flag = half.sys_flag() & !TRANSACTION_MASK | TRANSACTION_COMMIT;
    let delay = property::get(properties, property::DELAY).and_then(|text| text.parse().ok());
    let mut text = properties.to_owned();
    let (topic, queue_id) = match delay::level_of(delay.unwrap_or(0), sys_flag, &broker.levels) {
        Some(level) => delay::park(&mut text, level, real_topic, real_queue),
        None => (real_topic, real_queue),
    };
    let message = MessageRef {
        topic,
        queue_id,
        sys_flag,
        prepared_transaction_offset: half.physical_offset(),
        properties: &text,
        ..half.message()
    };
    match broker.store.put(&message).status {
        PutStatus::PutOk => Ok(()),
        status => Err(refusal(config, status)),
    }
}

fn put_op(store: &Store, half_offset: i64, host: SocketAddr) -> PutStatus {
    let body = half_offset.to_string();
    let op = MessageRef {
        topic: topic::TRANS_OP_HALF,
        queue_id: QUEUE,
        flag: 0,
        sys_flag: 0,
        born_timestamp: clock::now_ms(),
        born_host: host,
        store_timestamp: 0,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.as_bytes(),
        properties: OP_PROPERTIES,
    };
    store.put(&op).status
}

/// The answer when the committed message is not in the log: the half message is still there.
fn refusal(config: &BrokerConfig, status: PutStatus) -> Error {
    let (code, remark) = match status {
        PutStatus::CreateMapedFileFailed => {
            (response::SYSTEM_ERROR, "Create mapped file failed.".to_owned())
        }
        PutStatus::MessageIllegal | PutStatus::PropertiesSizeExceeded => {
            let remark = format!(
                "The message is illegal, maybe msg body or properties length not matched. \
                 msg body length limit {}B, msg properties length limit 32KB.",
                config.store.max_message_size
            );
            (response::MESSAGE_ILLEGAL, remark)
        }
        PutStatus::ServiceNotAvailable => {
            (response::SERVICE_NOT_AVAILABLE, "Service not available now.".to_owned())
        }
        PutStatus::OsPageCacheBusy(_) => {
            let remark = "OS page cache busy, please try another machine";
            (response::SYSTEM_ERROR, remark.to_owned())
        }
        _ => (response::SYSTEM_ERROR, "UNKNOWN_ERROR".to_owned()),
    };
    Error::refused(code, remark)
}

/// Puts a half message, mostly one that was asked about too often, back to be asked about anew.
pub fn resume_check(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let header = ResumeCheckHalfMessage::decode(&request.command)?;
    let refused = |why: &str| {
        let what = "Exception was thrown when putting message back to RMQ_SYS_TRANS_HALF_TOPIC.";
        system_error(format!("{what} {why}"))
    };
    let Some((_, offset)) = header.msg_id.and_then(id::decode_offset_id) else {
        return Err(refused("msgId is not an offset message id"));
    };
    let record = broker.store.record_at(offset);
    let parsed = record.as_ref().map(|record| RecordView::parse(record.as_bytes(), true));
    let Some(Checked::Record(half)) = parsed else {
        return Err(refused("there is no message at that offset"));
    };
    // A committed message has the same properties: it would be delivered once more.
    let is_half = [topic::TRANS_HALF, topic::TRANS_CHECK_MAX_TIME].contains(&half.topic());
    if !is_half || target(half.properties()).is_none() {
        return Err(refused("that is not a half message"));
    }
    let mut text = half.properties().to_owned();
    property::set(&mut text, property::TRANSACTION_CHECK_TIMES, "0");
    let put = put_half(&broker.store, &half, &text, broker.store_host());
    if put.status != PutStatus::PutOk {
        return Err(system_error("Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed."));
    }
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_message_knows_where_it_belongs() {
        let mut text = String::from("REAL_TOPIC\u{1}forged\u{2}TRAN_MSG\u{1}true");
        assert_eq!(hold(&mut text, "T", 3), (topic::TRANS_HALF, 0));
        assert_eq!(target(&text), Some(("T", 3)));
        assert_eq!(target("REAL_TOPIC\u{1}T"), None);
        assert_eq!(target("REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}x"), None);
    }
}
