//! Queue locks of orderly consumers: 41, 42.

use serde::{Deserialize, Serialize};

use crate::protocol::body::MessageQueue;

/// 41 LOCK_BATCH_MQ, 42 UNLOCK_BATCH_MQ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatchRequest {
    pub client_id: String,
    pub consumer_group: String,
    pub mq_set: Vec<MessageQueue>,
}

/// Answer to 41: what the client has locked now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchReply {
    #[serde(rename = "lockOKMQSet")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

bodies!(LockBatchRequest, LockBatchReply);
