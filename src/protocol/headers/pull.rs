//! Reading messages: 11 (and 361), 12, 33.

use crate::protocol::header::headers;

headers! {
    /// 11 PULL_MESSAGE, 361 LITE_PULL_MESSAGE.
    PullMessage<'a> {
        consumer_group: &'a str, "consumerGroup";
        topic: &'a str, "topic";
        queue_id: i32, "queueId";
        queue_offset: i64, "queueOffset";
        max_msg_nums: i32, "maxMsgNums";
        /// `message::flags::PULL_…`
        sys_flag: i32, "sysFlag";
        commit_offset: i64, "commitOffset";
        suspend_timeout_millis: i64, "suspendTimeoutMillis";
        subscription: Option<&'a str>, "subscription";
        sub_version: i64, "subVersion";
        /// Nothing means `TAG`.
        expression_type: Option<&'a str>, "expressionType";
        broker_name: Option<&'a str>, "bname";
    }

    /// Answer to 11.
    PullMessageReply {
        /// Broker id to pull from next time.
        suggest_which_broker_id: i64, "suggestWhichBrokerId";
        next_begin_offset: i64, "nextBeginOffset";
        min_offset: i64, "minOffset";
        max_offset: i64, "maxOffset";
    }

    /// 12 QUERY_MESSAGE.
    QueryMessage<'a> {
        topic: &'a str, "topic";
        key: &'a str, "key";
        max_num: i32, "maxNum";
        begin_timestamp: i64, "beginTimestamp";
        end_timestamp: i64, "endTimestamp";
        /// The key is a unique key: `maxNum` is the broker's default then.
        unique_key: bool = false, "_UNIQUE_KEY_QUERY";
    }

    /// Answer to 12, also when nothing was found.
    QueryMessageReply {
        index_last_update_timestamp: i64, "indexLastUpdateTimestamp";
        index_last_update_phyoffset: i64, "indexLastUpdatePhyoffset";
    }

    /// 33 VIEW_MESSAGE_BY_ID.
    ViewMessage {
        /// CommitLog offset.
        offset: i64, "offset";
    }
}
