//! Request and response codes of RocketMQ 4.9, and those of 5.x that clients send by default.

macro_rules! codes {
    ($(#[$about:meta])* $module:ident { $($(#[$doc:meta])* $name:ident = $code:literal,)* }) => {
        $(#[$about])*
        pub mod $module {
            $($(#[$doc])* pub const $name: i32 = $code;)*

            /// Every code with its name, ascending.
            pub const ALL: &[(i32, &str)] = &[$(($code, stringify!($name)),)*];

            /// The name of a code.
            pub fn name(code: i32) -> Option<&'static str> {
                let index = ALL.binary_search_by_key(&code, |row| row.0).ok()?;
                Some(ALL[index].1)
            }
        }
    };
}

codes! {
    /// What a request asks for.
    request {
        /// Stores one message, or a batch; long field names.
        SEND_MESSAGE = 10,
        /// Reads messages of a queue from an offset on.
        PULL_MESSAGE = 11,
        /// Finds messages by key.
        QUERY_MESSAGE = 12,
        /// Reserved.
        QUERY_BROKER_OFFSET = 13,
        /// Where a group stands in a queue.
        QUERY_CONSUMER_OFFSET = 14,
        /// Sets where a group stands in a queue.
        UPDATE_CONSUMER_OFFSET = 15,
        /// Creates or changes a topic.
        UPDATE_AND_CREATE_TOPIC = 17,
        /// All topics of a broker.
        GET_ALL_TOPIC_CONFIG = 21,
        /// Reserved.
        GET_TOPIC_CONFIG_LIST = 22,
        /// Reserved.
        GET_TOPIC_NAME_LIST = 23,
        /// Changes configuration while running.
        UPDATE_BROKER_CONFIG = 25,
        /// The configuration in force.
        GET_BROKER_CONFIG = 26,
        /// Reserved.
        TRIGGER_DELETE_FILES = 27,
        /// Counters and states of a broker.
        GET_BROKER_RUNTIME_INFO = 28,
        /// The queue offset at a time.
        SEARCH_OFFSET_BY_TIMESTAMP = 29,
        /// The offset of a queue's next message.
        GET_MAX_OFFSET = 30,
        /// The offset of a queue's oldest message.
        GET_MIN_OFFSET = 31,
        /// When a queue's oldest message was stored.
        GET_EARLIEST_MSG_STORETIME = 32,
        /// One message by its CommitLog offset.
        VIEW_MESSAGE_BY_ID = 33,
        /// A client's groups and subscriptions.
        HEART_BEAT = 34,
        /// A client leaves its groups.
        UNREGISTER_CLIENT = 35,
        /// Sends a message to its group's retry or dead-letter topic.
        CONSUMER_SEND_MSG_BACK = 36,
        /// Commits or rolls back a half message.
        END_TRANSACTION = 37,
        /// The client ids of a group.
        GET_CONSUMER_LIST_BY_GROUP = 38,
        /// Broker asks a producer about a half message.
        CHECK_TRANSACTION_STATE = 39,
        /// Broker tells consumers to rebalance.
        NOTIFY_CONSUMER_IDS_CHANGED = 40,
        /// Locks queues for orderly consumption.
        LOCK_BATCH_MQ = 41,
        /// Unlocks them.
        UNLOCK_BATCH_MQ = 42,
        /// All group offsets, for slaves.
        GET_ALL_CONSUMER_OFFSET = 43,
        /// Offsets of the delay levels, for slaves.
        GET_ALL_DELAY_OFFSET = 45,
        /// Checks a subscription before use.
        CHECK_CLIENT_CONFIG = 46,
        /// Sets an account.
        UPDATE_AND_CREATE_ACL_CONFIG = 50,
        /// Deletes an account.
        DELETE_ACL_CONFIG = 51,
        /// Versions of the accounts.
        GET_BROKER_CLUSTER_ACL_INFO = 52,
        /// Sets the addresses that need no account.
        UPDATE_GLOBAL_WHITE_ADDRS_CONFIG = 53,
        /// The accounts (4.9.7).
        GET_BROKER_CLUSTER_ACL_CONFIG = 54,
        /// Sets a value in a namespace of the name server.
        PUT_KV_CONFIG = 100,
        /// Reads it.
        GET_KV_CONFIG = 101,
        /// Deletes it.
        DELETE_KV_CONFIG = 102,
        /// A broker with its topics.
        REGISTER_BROKER = 103,
        /// A broker leaves.
        UNREGISTER_BROKER = 104,
        /// Brokers and queues of a topic.
        GET_ROUTEINFO_BY_TOPIC = 105,
        /// All brokers by cluster.
        GET_BROKER_CLUSTER_INFO = 106,
        /// Creates or changes a consumer group.
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200,
        /// All consumer groups of a broker.
        GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201,
        /// Offsets of a topic's queues.
        GET_TOPIC_STATS_INFO = 202,
        /// Connections of a consumer group.
        GET_CONSUMER_CONNECTION_LIST = 203,
        /// Connections of a producer group.
        GET_PRODUCER_CONNECTION_LIST = 204,
        /// Takes a broker out of the routes for senders.
        WIPE_WRITE_PERM_OF_BROKER = 205,
        /// All topic names.
        GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206,
        /// Deletes a consumer group.
        DELETE_SUBSCRIPTIONGROUP = 207,
        /// Offsets of a group in its queues.
        GET_CONSUME_STATS = 208,
        /// Reserved.
        SUSPEND_CONSUMER = 209,
        /// Reserved.
        RESUME_CONSUMER = 210,
        /// Reserved.
        RESET_CONSUMER_OFFSET_IN_CONSUMER = 211,
        /// Reserved.
        RESET_CONSUMER_OFFSET_IN_BROKER = 212,
        /// Reserved.
        ADJUST_CONSUMER_THREAD_POOL = 213,
        /// Reserved.
        WHO_CONSUME_THE_MESSAGE = 214,
        /// Deletes a topic of a broker.
        DELETE_TOPIC_IN_BROKER = 215,
        /// Deletes a topic's routes.
        DELETE_TOPIC_IN_NAMESRV = 216,
        /// All values of a namespace.
        GET_KVLIST_BY_NAMESPACE = 219,
        /// Broker tells consumers their new offsets.
        RESET_CONSUMER_CLIENT_OFFSET = 220,
        /// Broker asks a consumer for its offsets.
        GET_CONSUMER_STATUS_FROM_CLIENT = 221,
        /// Resets a group's offsets to a time.
        INVOKE_BROKER_TO_RESET_OFFSET = 222,
        /// Offsets as the consumers see them.
        INVOKE_BROKER_TO_GET_CONSUMER_STATUS = 223,
        /// Topic names of a cluster.
        GET_TOPICS_BY_CLUSTER = 224,
        /// Groups that consume a topic.
        QUERY_TOPIC_CONSUME_BY_WHO = 300,
        /// Reserved.
        REGISTER_FILTER_SERVER = 301,
        /// Reserved.
        REGISTER_MESSAGE_FILTER_CLASS = 302,
        /// Times of a group's queues.
        QUERY_CONSUME_TIME_SPAN = 303,
        /// Cluster and broker names, which are topics too.
        GET_SYSTEM_TOPIC_LIST_FROM_NS = 304,
        /// System topics of a broker.
        GET_SYSTEM_TOPIC_LIST_FROM_BROKER = 305,
        /// Deletes queue files without messages.
        CLEAN_EXPIRED_CONSUMEQUEUE = 306,
        /// State of one consumer.
        GET_CONSUMER_RUNNING_INFO = 307,
        /// Offsets of a topic under several groups.
        QUERY_CORRECTION_OFFSET = 308,
        /// Has a consumer consume one message.
        CONSUME_MESSAGE_DIRECTLY = 309,
        /// SEND_MESSAGE with one-letter field names.
        SEND_MESSAGE_V2 = 310,
        /// Unit topics.
        GET_UNIT_TOPIC_LIST = 311,
        /// Topics with unit subscriptions.
        GET_HAS_UNIT_SUB_TOPIC_LIST = 312,
        /// Of these, the ones that are no unit topics.
        GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST = 313,
        /// Copies a group's offsets to another.
        CLONE_GROUP_OFFSET = 314,
        /// One statistics item.
        VIEW_BROKER_STATS_DATA = 315,
        /// Deletes files of topics that are gone.
        CLEAN_UNUSED_TOPIC = 316,
        /// Offsets of all groups.
        GET_BROKER_CONSUME_STATS = 317,
        /// Changes configuration while running.
        UPDATE_NAMESRV_CONFIG = 318,
        /// The configuration in force.
        GET_NAMESRV_CONFIG = 319,
        /// Stores a batch; one-letter field names.
        SEND_BATCH_MESSAGE = 320,
        /// Shows units of a ConsumeQueue.
        QUERY_CONSUME_QUEUE = 321,
        /// Whether a broker must register anew.
        QUERY_DATA_VERSION = 322,
        /// Checks a half message again.
        RESUME_CHECK_HALF_MESSAGE = 323,
        /// A reply of request-reply; long field names.
        SEND_REPLY_MESSAGE = 324,
        /// The same with one-letter field names.
        SEND_REPLY_MESSAGE_V2 = 325,
        /// Broker hands a reply to the client that asked.
        PUSH_REPLY_MESSAGE_TO_CLIENT = 326,
        /// Undoes 205.
        ADD_WRITE_PERM_OF_BROKER = 327,
        /// All producers of a broker.
        GET_ALL_PRODUCER_INFO = 328,
        /// Deletes expired CommitLog files.
        DELETE_EXPIRED_COMMITLOG = 329,
        /// 5.x: one topic of a broker.
        GET_TOPIC_CONFIG = 351,
        /// 5.x: PULL_MESSAGE of a lite pull consumer.
        LITE_PULL_MESSAGE = 361,
    }
}

codes! {
    /// What became of a request.
    response {
        /// Done.
        SUCCESS = 0,
        /// Failed; the remark says why.
        SYSTEM_ERROR = 1,
        /// Too much to do; come again.
        SYSTEM_BUSY = 2,
        /// Unknown request code.
        REQUEST_CODE_NOT_SUPPORTED = 3,
        /// Not used.
        TRANSACTION_FAILED = 4,
        /// Stored, but not yet on disk.
        FLUSH_DISK_TIMEOUT = 10,
        /// Stored, but there is no slave.
        SLAVE_NOT_AVAILABLE = 11,
        /// Stored, but not yet on a slave.
        FLUSH_SLAVE_TIMEOUT = 12,
        /// Not stored: too long or malformed.
        MESSAGE_ILLEGAL = 13,
        /// Not stored: the store takes nothing now.
        SERVICE_NOT_AVAILABLE = 14,
        /// Not used.
        VERSION_NOT_SUPPORTED = 15,
        /// Forbidden by permission bits.
        NO_PERMISSION = 16,
        /// Unknown topic.
        TOPIC_NOT_EXIST = 17,
        /// Not used.
        TOPIC_EXIST_ALREADY = 18,
        /// No message yet.
        PULL_NOT_FOUND = 19,
        /// None that matches; go on at the next offset.
        PULL_RETRY_IMMEDIATELY = 20,
        /// The offset is not in the queue.
        PULL_OFFSET_MOVED = 21,
        /// Nothing found.
        QUERY_NOT_FOUND = 22,
        /// The expression is wrong.
        SUBSCRIPTION_PARSE_FAILED = 23,
        /// The group has no such subscription.
        SUBSCRIPTION_NOT_EXIST = 24,
        /// The broker knows only an older one.
        SUBSCRIPTION_NOT_LATEST = 25,
        /// Unknown group.
        SUBSCRIPTION_GROUP_NOT_EXIST = 26,
        /// The broker has no compiled expression.
        FILTER_DATA_NOT_EXIST = 27,
        /// Only an older one.
        FILTER_DATA_NOT_LATEST = 28,
        /// Not used.
        TRANSACTION_SHOULD_COMMIT = 200,
        /// Not used.
        TRANSACTION_SHOULD_ROLLBACK = 201,
        /// Not used.
        TRANSACTION_STATE_UNKNOW = 202,
        /// Not used.
        TRANSACTION_STATE_GROUP_WRONG = 203,
        /// Clients take it as worth a retry.
        NO_BUYER_ID = 204,
        /// Clients take it as worth a retry.
        NOT_IN_CURRENT_UNIT = 205,
        /// The group has no connection.
        CONSUMER_NOT_ONLINE = 206,
        /// The consumer did not answer.
        CONSUME_MSG_TIMEOUT = 207,
        /// Nothing to acknowledge (5.x).
        NO_MESSAGE = 208,
        /// Account not set.
        UPDATE_AND_CREATE_ACL_CONFIG_FAILED = 209,
        /// Account not deleted.
        DELETE_ACL_CONFIG_FAILED = 210,
        /// Addresses not set.
        UPDATE_GLOBAL_WHITE_ADDRS_CONFIG_FAILED = 211,
        /// A consumer waits a little before its next pull.
        FLOW_CONTROL = 215,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_ascending_and_named() {
        for table in [request::ALL, response::ALL] {
            assert!(table.is_sorted_by(|a, b| a.0 < b.0));
        }
        assert_eq!(request::name(310), Some("SEND_MESSAGE_V2"));
        assert_eq!(response::name(22), Some("QUERY_NOT_FOUND"));
        assert_eq!(request::name(-1), None);
    }
}
