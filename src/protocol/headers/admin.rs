//! Administration of a broker: 26, 50 to 53, 315, 317, 321.

use crate::protocol::header::headers;

headers! {
    /// Answer to 26 GET_BROKER_CONFIG.
    GetBrokerConfigReply<'a> {
        /// DataVersion as JSON.
        version: &'a str, "version";
    }

    /// 315 VIEW_BROKER_STATS_DATA.
    ViewBrokerStatsData<'a> {
        stats_name: &'a str, "statsName";
        stats_key: &'a str, "statsKey";
    }

    /// 317 GET_BROKER_CONSUME_STATS.
    GetBrokerConsumeStats {
        is_order: bool, "isOrder";
    }

    /// 321 QUERY_CONSUME_QUEUE.
    QueryConsumeQueue<'a> {
        topic: Option<&'a str>, "topic";
        queue_id: i32 = 0, "queueId";
        /// First unit.
        index: i64 = 0, "index";
        count: i32 = 0, "count";
        consumer_group: Option<&'a str>, "consumerGroup";
    }

    /// 50 UPDATE_AND_CREATE_ACL_CONFIG.
    UpdateAclConfig<'a> {
        access_key: &'a str, "accessKey";
        secret_key: Option<&'a str>, "secretKey";
        white_remote_address: Option<&'a str>, "whiteRemoteAddress";
        admin: bool = false, "admin";
        default_topic_perm: Option<&'a str>, "defaultTopicPerm";
        default_group_perm: Option<&'a str>, "defaultGroupPerm";
        /// `name=PERM`, separated by commas.
        topic_perms: Option<&'a str>, "topicPerms";
        /// `name=PERM`, separated by commas.
        group_perms: Option<&'a str>, "groupPerms";
    }

    /// 51 DELETE_ACL_CONFIG.
    DeleteAclConfig<'a> {
        access_key: &'a str, "accessKey";
    }

    /// 53 UPDATE_GLOBAL_WHITE_ADDRS_CONFIG.
    UpdateGlobalWhiteAddrs<'a> {
        /// Separated by commas.
        global_white_addrs: &'a str, "globalWhiteAddrs";
        acl_file_full_path: Option<&'a str>, "aclFileFullPath";
    }

    /// Answer to 52 GET_BROKER_CLUSTER_ACL_INFO.
    AclInfoReply<'a> {
        /// DataVersion as JSON.
        version: &'a str, "version";
        all_acl_file_version: Option<&'a str>, "allAclFileVersion";
        broker_name: &'a str, "brokerName";
        broker_addr: &'a str, "brokerAddr";
        cluster_name: &'a str, "clusterName";
    }
}
