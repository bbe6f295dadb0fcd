//! Consumer offsets: 43, 45, 220 to 223, 308, and their files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::body::MessageQueue;

/// All offsets of all groups: 43, and `consumerOffset.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerOffsetTable {
    /// Of groups that read light queues, by `topic@group`; only with `enableLmq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lmq_offset_table: Option<BTreeMap<String, i64>>,
    /// By `topic@group`, then by queue id.
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// Offsets of the delay levels: 45, and `delayOffset.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DelayOffsetTable {
    /// By level.
    pub offset_table: BTreeMap<i32, i64>,
}

/// New offsets: body of 220, answer to 222.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBody {
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

/// One entry of `ResetOffsetList`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueOffset {
    pub broker_name: String,
    pub offset: i64,
    pub queue_id: i32,
    pub topic: String,
}

/// `ResetOffsetBody` as C++ clients want it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetList {
    pub offset_table: Vec<QueueOffset>,
}

/// A consumer's answer to 221, and the answer to 223.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStatusBody {
    /// By client id.
    pub consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}

/// Answer to 308.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CorrectionOffsets {
    /// By queue id.
    pub correction_offsets: BTreeMap<i32, i64>,
}

bodies!(
    ConsumerOffsetTable,
    DelayOffsetTable,
    ResetOffsetBody,
    ResetOffsetList,
    ConsumerStatusBody,
    CorrectionOffsets,
);
