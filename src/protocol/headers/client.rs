//! Clients and their groups: 35, 38, 40, 203, 204, 307, 309, and resets 220 to 223.

use crate::protocol::header::headers;

headers! {
    /// 35 UNREGISTER_CLIENT.
    UnregisterClient<'a> {
        client_id: &'a str, "clientID";
        producer_group: Option<&'a str>, "producerGroup";
        consumer_group: Option<&'a str>, "consumerGroup";
    }

    /// 38 GET_CONSUMER_LIST_BY_GROUP.
    GetConsumerList<'a> {
        consumer_group: &'a str, "consumerGroup";
    }

    /// 40 NOTIFY_CONSUMER_IDS_CHANGED.
    NotifyConsumerIdsChanged<'a> {
        consumer_group: &'a str, "consumerGroup";
    }

    /// 203 GET_CONSUMER_CONNECTION_LIST.
    GetConsumerConnectionList<'a> {
        consumer_group: &'a str, "consumerGroup";
    }

    /// 204 GET_PRODUCER_CONNECTION_LIST.
    GetProducerConnectionList<'a> {
        producer_group: &'a str, "producerGroup";
    }

    /// 307 GET_CONSUMER_RUNNING_INFO.
    GetConsumerRunningInfo<'a> {
        consumer_group: &'a str, "consumerGroup";
        client_id: &'a str, "clientId";
        jstack_enable: bool = false, "jstackEnable";
    }

    /// 309 CONSUME_MESSAGE_DIRECTLY.
    ConsumeMessageDirectly<'a> {
        consumer_group: &'a str, "consumerGroup";
        client_id: Option<&'a str>, "clientId";
        /// Offset message id.
        msg_id: Option<&'a str>, "msgId";
        broker_name: Option<&'a str>, "brokerName";
    }

    /// 220 RESET_CONSUMER_CLIENT_OFFSET and 222 INVOKE_BROKER_TO_RESET_OFFSET.
    ResetOffset<'a> {
        topic: &'a str, "topic";
        group: &'a str, "group";
        /// ms; −1 is the end of the queue.
        timestamp: i64, "timestamp";
        is_force: bool, "isForce";
    }

    /// 221 GET_CONSUMER_STATUS_FROM_CLIENT and 223 INVOKE_BROKER_TO_GET_CONSUMER_STATUS.
    GetConsumerStatus<'a> {
        topic: &'a str, "topic";
        group: &'a str, "group";
        /// A client id, despite its name.
        client_addr: Option<&'a str>, "clientAddr";
    }
}
