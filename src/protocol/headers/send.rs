//! Sending: 10, 310, 320, 324, 325, and 36.

use crate::protocol::Command;
use crate::protocol::header::{Value, headers};

headers! {
    /// 10 and 324 with long names, 310, 320 and 325 with one-letter names.
    SendMessage<'a> {
        producer_group: &'a str, "producerGroup" | "a";
        topic: &'a str, "topic" | "b";
        /// The topic after which `topic` may be created.
        default_topic: &'a str, "defaultTopic" | "c";
        default_topic_queue_nums: i32, "defaultTopicQueueNums" | "d";
        /// Negative: the broker picks one.
        queue_id: i32, "queueId" | "e";
        /// `message::flags`.
        sys_flag: i32, "sysFlag" | "f";
        born_timestamp: i64, "bornTimestamp" | "g";
        flag: i32, "flag" | "h";
        properties: Option<&'a str>, "properties" | "i";
        reconsume_times: Option<i32>, "reconsumeTimes" | "j";
        unit_mode: bool = false, "unitMode" | "k";
        max_reconsume_times: Option<i32>, "maxReconsumeTimes" | "l";
        /// The body is a batch, whatever the code says.
        batch: bool = false, "batch" | "m";
        broker_name: Option<&'a str>, "bname" | "n";
    }

    /// Answer to the five of them.
    SendMessageReply<'a> {
        /// Offset message ids, joined with commas for a batch.
        msg_id: &'a str, "msgId";
        queue_id: i32, "queueId";
        /// That of the first message of a batch.
        queue_offset: i64, "queueOffset";
        transaction_id: Option<&'a str>, "transactionId";
    }

    /// 36 CONSUMER_SEND_MSG_BACK.
    ConsumerSendMsgBack<'a> {
        /// CommitLog offset.
        offset: i64, "offset";
        group: &'a str, "group";
        delay_level: i32, "delayLevel";
        origin_msg_id: Option<&'a str>, "originMsgId";
        origin_topic: Option<&'a str>, "originTopic";
        unit_mode: bool = false, "unitMode";
        max_reconsume_times: Option<i32>, "maxReconsumeTimes";
        broker_name: Option<&'a str>, "bname";
    }

    /// 326 PUSH_REPLY_MESSAGE_TO_CLIENT.
    PushReplyMessage<'a> {
        producer_group: &'a str, "producerGroup";
        topic: &'a str, "topic";
        default_topic: &'a str, "defaultTopic";
        default_topic_queue_nums: i32, "defaultTopicQueueNums";
        queue_id: i32, "queueId";
        sys_flag: i32, "sysFlag";
        born_timestamp: i64, "bornTimestamp";
        flag: i32, "flag";
        properties: Option<&'a str>, "properties";
        reconsume_times: Option<i32>, "reconsumeTimes";
        unit_mode: bool = false, "unitMode";
        /// `ip:port`
        born_host: &'a str, "bornHost";
        /// `ip:port`
        store_host: &'a str, "storeHost";
        store_timestamp: i64, "storeTimestamp";
    }
}

impl SendMessage<'_> {
    /// Adds the ext fields under their one-letter names: 310, 320, 325.
    pub fn encode_short(&self, command: &mut Command) {
        let fields = command.fields_mut();
        self.producer_group.write("a", fields);
        self.topic.write("b", fields);
        self.default_topic.write("c", fields);
        self.default_topic_queue_nums.write("d", fields);
        self.queue_id.write("e", fields);
        self.sys_flag.write("f", fields);
        self.born_timestamp.write("g", fields);
        self.flag.write("h", fields);
        self.properties.write("i", fields);
        self.reconsume_times.write("j", fields);
        self.unit_mode.write("k", fields);
        self.max_reconsume_times.write("l", fields);
        self.batch.write("m", fields);
        self.broker_name.write("n", fields);
    }
}
