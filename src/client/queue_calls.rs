//! Calls about one queue: its offsets, and what a group has consumed of it.

use std::time::Duration;

use crate::base::{Error, Result};
use crate::protocol::Command;
use crate::protocol::body::MessageQueue;
use crate::protocol::code::{request, response};
use crate::protocol::headers::consumer::{
    OffsetReply, QueryConsumerOffset, QueueOffset, SearchOffset, StoreTimeReply,
    UpdateConsumerOffset,
};

use super::instance::Instance;

/// For calls on offsets.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Instance {
    /// The offset the next message of the queue will get.
    pub fn max_offset(&self, queue: &MessageQueue) -> Result<i64> {
        let reply = self.ask_master(queue, about(queue, request::GET_MAX_OFFSET))?;
        Ok(OffsetReply::decode(&reply)?.offset)
    }

    /// The offset of the oldest message there is.
    pub fn min_offset(&self, queue: &MessageQueue) -> Result<i64> {
        let reply = self.ask_master(queue, about(queue, request::GET_MIN_OFFSET))?;
        Ok(OffsetReply::decode(&reply)?.offset)
    }

    /// When the oldest message was stored, in ms; -1 when there is none.
    pub fn earliest_store_time(&self, queue: &MessageQueue) -> Result<i64> {
        let reply = self.ask_master(queue, about(queue, request::GET_EARLIEST_MSG_STORETIME))?;
        Ok(StoreTimeReply::decode(&reply)?.timestamp)
    }

    /// The offset of the first message stored at or after `timestamp`, in ms.
    pub fn search_offset(&self, queue: &MessageQueue, timestamp: i64) -> Result<i64> {
        let mut ask = Command::request(request::SEARCH_OFFSET_BY_TIMESTAMP);
        let header = SearchOffset {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            timestamp,
            boundary_type: None,
            broker_name: Some(&queue.broker_name),
        };
        header.encode(&mut ask);
        Ok(OffsetReply::decode(&self.ask_master(queue, ask)?)?.offset)
    }

    /// The offset a group consumes next, `None` when it never committed one.
    pub fn committed_offset(&self, group: &str, queue: &MessageQueue) -> Result<Option<i64>> {
        let mut ask = Command::request(request::QUERY_CONSUMER_OFFSET);
        let header = QueryConsumerOffset {
            consumer_group: group,
            topic: &queue.topic,
            queue_id: queue.queue_id,
            broker_name: Some(&queue.broker_name),
        };
        header.encode(&mut ask);
        let address = self.any_address(&queue.broker_name, &queue.topic)?;
        match self.call(&address, ask, TIMEOUT) {
            Ok(reply) => Ok(Some(OffsetReply::decode(&reply)?.offset)),
            Err(Error::Refused { code: response::QUERY_NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Commits what a group consumes next; waits for the answer.
    pub fn commit_offset(&self, group: &str, queue: &MessageQueue, offset: i64) -> Result<()> {
        let address = self.any_address(&queue.broker_name, &queue.topic)?;
        self.call(&address, commit(group, queue, offset), TIMEOUT).map(drop)
    }

    /// Commits what a group consumes next, and never learns whether it arrived.
    pub fn commit_offset_oneway(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<()> {
        let address = self.any_address(&queue.broker_name, &queue.topic)?;
        self.net.oneway(&address, commit(group, queue, offset))
    }

    fn ask_master(&self, queue: &MessageQueue, ask: Command) -> Result<Command> {
        let address = self.master_address(&queue.broker_name, &queue.topic)?;
        self.call(&address, ask, TIMEOUT)
    }
}

fn commit(group: &str, queue: &MessageQueue, offset: i64) -> Command {
    let mut ask = Command::request(request::UPDATE_CONSUMER_OFFSET);
    let header = UpdateConsumerOffset {
        consumer_group: group,
        topic: &queue.topic,
        queue_id: queue.queue_id,
        commit_offset: offset,
        broker_name: Some(&queue.broker_name),
    };
    header.encode(&mut ask);
    ask
}

fn about(queue: &MessageQueue, code: i32) -> Command {
    let mut ask = Command::request(code);
    let (topic, broker_name) = (&queue.topic, Some(queue.broker_name.as_str()));
    QueueOffset { topic, queue_id: queue.queue_id, broker_name }.encode(&mut ask);
    ask
}
