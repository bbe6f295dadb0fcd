//! Offsets: 14, 15, 29 to 32.

use crate::protocol::header::headers;

headers! {
    /// 14 QUERY_CONSUMER_OFFSET.
    QueryConsumerOffset<'a> {
        consumer_group: &'a str, "consumerGroup";
        topic: &'a str, "topic";
        queue_id: i32, "queueId";
        broker_name: Option<&'a str>, "bname";
    }

    /// Answer to 14, 29, 30, 31.
    OffsetReply {
        offset: i64, "offset";
    }

    /// 15 UPDATE_CONSUMER_OFFSET.
    UpdateConsumerOffset<'a> {
        consumer_group: &'a str, "consumerGroup";
        topic: &'a str, "topic";
        queue_id: i32, "queueId";
        commit_offset: i64, "commitOffset";
        broker_name: Option<&'a str>, "bname";
    }

    /// 29 SEARCH_OFFSET_BY_TIMESTAMP.
    SearchOffset<'a> {
        topic: &'a str, "topic";
        queue_id: i32, "queueId";
        /// ms
        timestamp: i64, "timestamp";
        /// 5.x: `upper` or `lower` in any case; lower when absent.
        boundary_type: Option<&'a str>, "boundaryType";
        broker_name: Option<&'a str>, "bname";
    }

    /// 30 GET_MAX_OFFSET, 31 GET_MIN_OFFSET, 32 GET_EARLIEST_MSG_STORETIME.
    QueueOffset<'a> {
        topic: &'a str, "topic";
        queue_id: i32, "queueId";
        broker_name: Option<&'a str>, "bname";
    }

    /// Answer to 32.
    StoreTimeReply {
        /// ms
        timestamp: i64, "timestamp";
    }
}
