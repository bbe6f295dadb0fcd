//! What a client tells of itself: 34, 46.

use serde::{Deserialize, Serialize};

pub use crate::message::filter::Subscription as SubscriptionData;

java_enum! {
    /// Who starts the transfer of messages.
    ConsumeType {
        /// Pull consumers.
        Actively = "CONSUME_ACTIVELY",
        /// Push consumers.
        Passively = "CONSUME_PASSIVELY",
        /// 5.x.
        Pop = "CONSUME_POP",
    }
}

java_enum! {
    /// Whether a group's consumers share the messages.
    MessageModel {
        /// Each gets all.
        Broadcasting = "BROADCASTING",
        /// They share.
        Clustering = "CLUSTERING",
    }
}

java_enum! {
    /// Where a new group begins.
    ConsumeFromWhere {
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        LastOffsetAndFromMin = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// 34 HEART_BEAT: all groups of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeartbeatData {
    #[serde(rename = "clientID")]
    pub client_id: String,
    #[serde(rename = "consumerDataSet")]
    pub consumer_data_set: Vec<ConsumerData>,
    #[serde(rename = "producerDataSet")]
    pub producer_data_set: Vec<ProducerData>,
}

/// A producer group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    pub group_name: String,
}

/// A consumer group; of the enums `None` is a name that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    #[serde(deserialize_with = "ConsumeFromWhere::lenient")]
    pub consume_from_where: Option<ConsumeFromWhere>,
    #[serde(deserialize_with = "ConsumeType::lenient")]
    pub consume_type: Option<ConsumeType>,
    pub group_name: String,
    #[serde(deserialize_with = "MessageModel::lenient")]
    pub message_model: Option<MessageModel>,
    pub subscription_data_set: Vec<SubscriptionData>,
    pub unit_mode: bool,
}

/// 46 CHECK_CLIENT_CONFIG.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientConfig {
    pub client_id: String,
    pub group: String,
    pub subscription_data: Option<SubscriptionData>,
}

bodies!(HeartbeatData, ConsumerData, SubscriptionData, CheckClientConfig);
