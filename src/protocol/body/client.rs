//! Who is connected (38, 203, 204, 328), and what a consumer did with a message (309).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::body::heartbeat::{
    ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData,
};

/// Answer to 38.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerIdList {
    pub consumer_id_list: Vec<String>,
}

/// A connection of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// `ip:port`
    pub client_addr: String,
    pub client_id: String,
    /// Name of a LanguageCode.
    pub language: String,
    pub version: i32,
}

/// Answer to 203.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnection {
    pub connection_set: Vec<Connection>,
    #[serde(deserialize_with = "ConsumeFromWhere::lenient")]
    pub consume_from_where: Option<ConsumeFromWhere>,
    #[serde(deserialize_with = "ConsumeType::lenient")]
    pub consume_type: Option<ConsumeType>,
    #[serde(deserialize_with = "MessageModel::lenient")]
    pub message_model: Option<MessageModel>,
    /// By topic.
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// Answer to 204.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnection {
    pub connection_set: Vec<Connection>,
}

/// A producer, as 328 shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerInfo {
    pub client_id: String,
    pub language: String,
    /// Last heartbeat, ms.
    pub last_update_timestamp: i64,
    /// `/ip:port`
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    pub version: i32,
}

/// Answer to 328.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerTable {
    /// By group.
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

java_enum! {
    /// What became of a message that a consumer was told to consume.
    ConsumeResult {
        Success = "CR_SUCCESS",
        Later = "CR_LATER",
        Rollback = "CR_ROLLBACK",
        Commit = "CR_COMMIT",
        ThrowException = "CR_THROW_EXCEPTION",
        ReturnNull = "CR_RETURN_NULL",
    }
}

/// A consumer's answer to 309.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeMessageDirectlyResult {
    pub auto_commit: bool,
    #[serde(deserialize_with = "ConsumeResult::lenient")]
    pub consume_result: Option<ConsumeResult>,
    pub order: bool,
    pub remark: Option<String>,
    /// ms
    pub spent_time_mills: i64,
}

bodies!(
    ConsumerIdList,
    ConsumerConnection,
    ProducerConnection,
    ProducerTable,
    ConsumeMessageDirectlyResult,
);
