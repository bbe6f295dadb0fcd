//! Administration of a broker: 26, 315, 317, 321.

use crate::protocol::header::headers;

headers! {
    /// Answer to 26 GET_BROKER_CONFIG.
    GetBrokerConfigReply<'a> {
        /// DataVersion as JSON.
        version: &'a str, "version";
    }

    /// 315 VIEW_BROKER_STATS_DATA.
    ViewBrokerStatsData<'a> {
        stats_name: &'a str, "statsName";
        stats_key: &'a str, "statsKey";
    }

    /// 317 GET_BROKER_CONSUME_STATS.
    GetBrokerConsumeStats {
        is_order: bool, "isOrder";
    }

    /// 321 QUERY_CONSUME_QUEUE.
    QueryConsumeQueue<'a> {
        topic: Option<&'a str>, "topic";
        queue_id: i32 = 0, "queueId";
        /// First unit.
        index: i64 = 0, "index";
        count: i32 = 0, "count";
        consumer_group: Option<&'a str>, "consumerGroup";
    }
}
