//! Calling the listener, and what follows from its answer.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Receiver;

use crate::base::Result;
use crate::client::message::MessageExt;
use crate::message::property;
use crate::protocol::Command;
use crate::protocol::code::request;
use crate::protocol::headers::send::ConsumerSendMsgBack;

use super::process_queue::ProcessQueue;
use super::{ConsumeStatus, Inner};

/// For giving a message back to its broker.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Until messages that could not be given back are consumed here again.
const AGAIN: Duration = Duration::from_secs(5);
/// A message consumed in vain so often goes to the dead-letter queue.
const MAX_RECONSUME_TIMES: i32 = 16;

/// Messages of one queue, for one call of the listener.
pub struct Job {
    pub queue: Arc<ProcessQueue>,
    pub messages: Vec<MessageExt>,
}

/// A consume thread: calls the listener for each job until there are no more senders.
pub fn run(inner: &Arc<Inner>, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        inner.consume(job);
    }
}

impl Inner {
    fn consume(&self, job: Job) {
        let queue = job.queue;
        let mut messages: Vec<MessageExt> = job.messages.into_iter().map(with_real_topic).collect();
        while !messages.is_empty() && !queue.is_dropped() && !self.stop.is_set() {
            let status = (self.listener)(&messages);
            let offsets: Vec<i64> = messages.iter().map(MessageExt::queue_offset).collect();
            // Broadcasting has no retry: what failed is passed over.
            if status == ConsumeStatus::ReconsumeLater && self.is_clustering() {
                messages.retain(|message| !self.given_back(message));
            } else {
                messages.clear();
            }
            let kept = |offset: &i64| messages.iter().any(|m| m.queue_offset() == *offset);
            queue.remove(offsets.into_iter().filter(|offset| !kept(offset)));
            if !messages.is_empty() {
                self.stop.wait(AGAIN);
            }
        }
    }

    fn given_back(&self, message: &MessageExt) -> bool {
        let result = self.send_back(message);
        if let Err(error) = &result {
            log::warn!(target: "client", "giving {} back: {error}", message.msg_id());
        }
        result.is_ok()
    }

    /// The broker delivers the message again later, or moves it to the dead-letter queue.
    fn send_back(&self, message: &MessageExt) -> Result<()> {
        let max = match self.settings.max_reconsume_times {
            -1 => MAX_RECONSUME_TIMES,
            max => max,
        };
        let header = ConsumerSendMsgBack {
            offset: message.message.physical_offset,
            group: &self.group,
            delay_level: 0,
            origin_msg_id: Some(message.msg_id()),
            origin_topic: Some(message.topic()),
            unit_mode: false,
            max_reconsume_times: Some(max),
            broker_name: Some(&message.queue.broker_name),
        };
        let mut ask = Command::request(request::CONSUMER_SEND_MSG_BACK);
        header.encode(&mut ask);
        let queue = &message.queue;
        let address = self.instance.master_address(&queue.broker_name, &queue.topic)?;
        self.instance.call(&address, ask, TIMEOUT).map(drop)
    }
}

/// A message of the retry topic shows the topic it was first sent to.
fn with_real_topic(mut message: MessageExt) -> MessageExt {
    if let Some(topic) = message.get(property::RETRY_TOPIC) {
        message.message.topic = topic.to_owned();
    }
    message
}
