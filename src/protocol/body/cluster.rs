//! All brokers (106), and tables of texts (28, 103, 219).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::body::route::BrokerData;

/// Answer to 106; integer keys are never quoted in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// By broker name.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Broker names by cluster.
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}

/// Values by name: answers to 28, 103, 219.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KvTable {
    pub table: BTreeMap<String, String>,
}

bodies!(ClusterInfo, KvTable);
