//! Where a topic's queues are: 105.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::json;
use crate::protocol::Command;

/// Requests of this version on get the strict form: V4_9_4.
pub const STRICT_JSON_VERSION: i32 = 401;

/// The queues of a topic on a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    pub broker_name: String,
    /// `message::flags::PERM_…`
    pub perm: i32,
    pub read_queue_nums: i32,
    /// `message::flags::TOPIC_…`
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

/// The addresses of a master and its slaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// `ip:port` by broker id; 0 is the master.
    pub broker_addrs: BTreeMap<i64, String>,
    pub broker_name: String,
    pub cluster: String,
}

/// Answer to 105.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRouteData {
    pub broker_datas: Vec<BrokerData>,
    /// Filter servers by broker address.
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `brokerName:queueCount`, separated by semicolons.
    pub order_topic_conf: Option<String>,
    pub queue_datas: Vec<QueueData>,
}

bodies!(TopicRouteData);

impl TopicRouteData {
    /// The answer to a request: standard JSON for those that can read it, else with integer keys
    /// that are not quoted.
    pub fn to_vec_for(&self, request: &Command, accept_standard_json_only: bool) -> Vec<u8> {
        if request.version >= STRICT_JSON_VERSION || accept_standard_json_only {
            json::to_vec_strict(self)
        } else {
            json::to_vec(self)
        }
    }
}
