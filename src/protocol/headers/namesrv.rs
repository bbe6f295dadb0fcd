//! The name server's: 100 to 105, 205, 216, 219, 224, 322, 327.

use crate::protocol::header::headers;

headers! {
    /// 100 PUT_KV_CONFIG.
    PutKvConfig<'a> {
        namespace: &'a str, "namespace";
        key: &'a str, "key";
        value: &'a str, "value";
    }

    /// 101 GET_KV_CONFIG, 102 DELETE_KV_CONFIG.
    KvKey<'a> {
        namespace: &'a str, "namespace";
        key: &'a str, "key";
    }

    /// Answer to 101.
    GetKvConfigReply<'a> {
        value: Option<&'a str>, "value";
    }

    /// 103 REGISTER_BROKER.
    RegisterBroker<'a> {
        broker_name: &'a str, "brokerName";
        /// `ip:port`
        broker_addr: &'a str, "brokerAddr";
        cluster_name: &'a str, "clusterName";
        /// `ip:port`
        ha_server_addr: &'a str, "haServerAddr";
        /// 0 is the master.
        broker_id: i64, "brokerId";
        compressed: bool = false, "compressed";
        /// Of the body as sent; 0 is not checked.
        body_crc32: i32 = 0, "bodyCrc32";
    }

    /// Answer to 103.
    RegisterBrokerReply<'a> {
        /// The master's, for a slave.
        ha_server_addr: Option<&'a str>, "haServerAddr";
        master_addr: Option<&'a str>, "masterAddr";
    }

    /// 104 UNREGISTER_BROKER.
    UnregisterBroker<'a> {
        broker_name: &'a str, "brokerName";
        broker_addr: &'a str, "brokerAddr";
        cluster_name: &'a str, "clusterName";
        broker_id: i64, "brokerId";
    }

    /// 105 GET_ROUTEINFO_BY_TOPIC. Without topic it asks for an unknown one.
    GetRouteInfo<'a> {
        topic: Option<&'a str>, "topic";
        accept_standard_json_only: Option<bool>, "acceptStandardJsonOnly";
    }

    /// 205 WIPE_WRITE_PERM_OF_BROKER, 327 ADD_WRITE_PERM_OF_BROKER.
    WritePerm<'a> {
        broker_name: &'a str, "brokerName";
    }

    /// Answer to 205.
    WipeWritePermReply {
        wipe_topic_count: i32, "wipeTopicCount";
    }

    /// Answer to 327.
    AddWritePermReply {
        add_topic_count: i32, "addTopicCount";
    }

    /// 216 DELETE_TOPIC_IN_NAMESRV.
    DeleteTopic<'a> {
        topic: &'a str, "topic";
        /// Nothing: of every cluster.
        cluster_name: Option<&'a str>, "clusterName";
    }

    /// 219 GET_KVLIST_BY_NAMESPACE.
    KvNamespace<'a> {
        namespace: &'a str, "namespace";
    }

    /// 224 GET_TOPICS_BY_CLUSTER.
    TopicsByCluster<'a> {
        cluster: &'a str, "cluster";
    }

    /// 322 QUERY_DATA_VERSION.
    QueryDataVersion<'a> {
        broker_name: &'a str, "brokerName";
        broker_addr: &'a str, "brokerAddr";
        cluster_name: &'a str, "clusterName";
        broker_id: i64, "brokerId";
    }

    /// Answer to 322.
    QueryDataVersionReply {
        changed: bool, "changed";
    }
}
