//! Topics and groups of a broker: 17, 202, 207, 208, 215, 300, 303, 308, 314.

use crate::protocol::header::headers;

headers! {
    /// 17 UPDATE_AND_CREATE_TOPIC.
    CreateTopic<'a> {
        topic: &'a str, "topic";
        default_topic: &'a str, "defaultTopic";
        read_queue_nums: i32, "readQueueNums";
        write_queue_nums: i32, "writeQueueNums";
        /// `message::flags::PERM_…`
        perm: i32, "perm";
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: &'a str, "topicFilterType";
        topic_sys_flag: Option<i32>, "topicSysFlag";
        order: bool = false, "order";
    }

    /// 202 GET_TOPIC_STATS_INFO, 215 DELETE_TOPIC_IN_BROKER, 300 QUERY_TOPIC_CONSUME_BY_WHO.
    TopicName<'a> {
        topic: &'a str, "topic";
    }

    /// 207 DELETE_SUBSCRIPTIONGROUP.
    DeleteSubscriptionGroup<'a> {
        group_name: &'a str, "groupName";
        /// 5.x says `cleanOffset`.
        remove_offset: bool = false, "removeOffset" | "cleanOffset";
    }

    /// 208 GET_CONSUME_STATS.
    GetConsumeStats<'a> {
        consumer_group: &'a str, "consumerGroup";
        /// Nothing: all topics of the group.
        topic: Option<&'a str>, "topic";
    }

    /// 303 QUERY_CONSUME_TIME_SPAN.
    QueryConsumeTimeSpan<'a> {
        topic: &'a str, "topic";
        group: &'a str, "group";
    }

    /// 308 QUERY_CORRECTION_OFFSET.
    QueryCorrectionOffset<'a> {
        /// Groups, separated by commas.
        filter_groups: Option<&'a str>, "filterGroups";
        compare_group: &'a str, "compareGroup";
        topic: &'a str, "topic";
    }

    /// 314 CLONE_GROUP_OFFSET.
    CloneGroupOffset<'a> {
        src_group: &'a str, "srcGroup";
        dest_group: &'a str, "destGroup";
        /// Nothing: all topics of the group.
        topic: Option<&'a str>, "topic";
        offline: bool = false, "offline";
    }
}
