//! The broker's keys (RocketMQ's BrokerConfig), with those of its store and its connections.

use std::path::{Path, PathBuf};

use super::row::section;
use super::{ClientConfig, Config, Origin, Section, ServerConfig, StoreConfig, env, in_home};
use crate::sys::host::{self, processors};

section! {
    /// Everything a broker can be told.
    pub struct BrokerConfig {
        /// Installation folder; access control files are looked for in its conf folder.
        rocketmq_home: Option<String> = env("ROCKETMQ_HOME"),
            "rocketmqHome" usually("$ROCKETMQ_HOME") fixed;
        /// The NameServers as host:port, with a semicolon between two. The command line wins.
        namesrv_addr: Option<String> = env("NAMESRV_ADDR"),
            "namesrvAddr" usually("$NAMESRV_ADDR") star live;
        /// Address that clients are told to connect to; a host name is resolved at start.
        broker_ip1: String = host::advertised().address,
            "brokerIP1" usually("an address of this machine") star;
        /// Address that slaves are told to connect to; a host name is resolved at start.
        broker_ip2: String = host::advertised().address,
            "brokerIP2" usually("an address of this machine");
        /// Name of the group of one master and its slaves.
        broker_name: String = host::name().unwrap_or_else(|| "DEFAULT_BROKER".to_string()),
            "brokerName" usually("host name") star;
        /// Name of the cluster that the group belongs to.
        broker_cluster_name: String = "DefaultCluster".to_string(), "brokerClusterName" star;
        /// 0 is a master, more a slave.
        broker_id: i64 = 0, "brokerId" star;
        /// What clients may do with all topics here: 2 write, 4 read, 6 both.
        broker_permission: i32 = 6, "brokerPermission" within(0, 7) live;
        /// Queues of the topic that new topics are copied from (TBW102).
        default_topic_queue_nums: i32 = 8, "defaultTopicQueueNums" at_least(1);
        /// Create a topic when the first message for it arrives.
        auto_create_topic_enable: bool = true, "autoCreateTopicEnable" star live;
        /// Clients may use the topic named like the cluster.
        cluster_topic_enable: bool = true, "clusterTopicEnable";
        /// Clients may use the topic named like the broker.
        broker_topic_enable: bool = true, "brokerTopicEnable";
        /// Create a consumer group when its first consumer arrives.
        auto_create_subscription_group: bool = true, "autoCreateSubscriptionGroup" star live;
        /// Java classes around the store.
        message_store_plug_in: String = String::new(), "messageStorePlugIn" fixed unused;
        /// Topic for message traces.
        msg_trace_topic_name: String = "RMQ_SYS_TRACE_TOPIC".to_string(), "msgTraceTopicName" star;
        /// Create that topic at start.
        trace_topic_enable: bool = false, "traceTopicEnable" star;
        /// Threads that serve sends.
        send_message_thread_pool_nums: i32 = processors().min(4),
            "sendMessageThreadPoolNums" usually("number of processors, 4 at most") at_least(1);
        /// Threads that finish sends that waited for disk or slave.
        put_message_future_thread_pool_nums: i32 = processors().min(4),
            "putMessageFutureThreadPoolNums" usually("number of processors, 4 at most") unused;
        /// Threads that serve pulls.
        pull_message_thread_pool_nums: i32 = 16 + processors() * 2,
            "pullMessageThreadPoolNums" usually("16 + 2 * number of processors") at_least(1);
        /// Threads that serve replies of request-reply.
        process_reply_message_thread_pool_nums: i32 = 16 + processors() * 2,
            "processReplyMessageThreadPoolNums"
            usually("16 + 2 * number of processors") at_least(1);
        /// Threads that serve queries of messages.
        query_message_thread_pool_nums: i32 = 8 + processors(),
            "queryMessageThreadPoolNums" usually("8 + number of processors") at_least(1);
        /// Threads that serve everything that has no pool of its own.
        admin_broker_thread_pool_nums: i32 = 16, "adminBrokerThreadPoolNums" at_least(1);
        /// Threads that serve clients that leave or check their subscription.
        client_manage_thread_pool_nums: i32 = 32, "clientManageThreadPoolNums" at_least(1);
        /// Threads that serve consumer lists and offsets.
        consumer_manage_thread_pool_nums: i32 = 32, "consumerManageThreadPoolNums" at_least(1);
        /// Threads that serve heartbeats.
        heartbeat_thread_pool_nums: i32 = processors().min(32),
            "heartbeatThreadPoolNums" usually("number of processors, 32 at most") at_least(1);
        /// Threads that serve ends of transactions.
        end_transaction_thread_pool_nums: i32 = (8 + processors() * 2).max(processors().min(4) * 4),
            "endTransactionThreadPoolNums"
            usually("8 + 2 * number of processors, or 4 for each send thread if more")
            at_least(1);
        /// Pause between two saves of consumer offsets.
        flush_consumer_offset_interval: i32 = 5000,
            "flushConsumerOffsetInterval" unit("ms") at_least(1);
        /// Never read by RocketMQ either.
        flush_consumer_offset_history_interval: i32 = 60_000,
            "flushConsumerOffsetHistoryInterval" unit("ms") unused;
        /// Refuse half messages.
        reject_transaction_message: bool = false, "rejectTransactionMessage" star live;
        /// Ask an HTTP server for the NameServers.
        fetch_namesrv_addr_by_address_server: bool = false,
            "fetchNamesrvAddrByAddressServer" star later;
        /// Sends that may wait for a thread.
        send_thread_pool_queue_capacity: i32 = 10_000, "sendThreadPoolQueueCapacity" at_least(1);
        /// Ends of sends that may wait for a thread.
        put_thread_pool_queue_capacity: i32 = 10_000, "putThreadPoolQueueCapacity" unused;
        /// Pulls that may wait for a thread.
        pull_thread_pool_queue_capacity: i32 = 100_000, "pullThreadPoolQueueCapacity" at_least(1);
        /// Replies that may wait for a thread.
        reply_thread_pool_queue_capacity: i32 = 10_000, "replyThreadPoolQueueCapacity" at_least(1);
        /// Queries that may wait for a thread.
        query_thread_pool_queue_capacity: i32 = 20_000, "queryThreadPoolQueueCapacity" at_least(1);
        /// Requests of leaving clients that may wait for a thread.
        client_manager_thread_pool_queue_capacity: i32 = 1_000_000,
            "clientManagerThreadPoolQueueCapacity" at_least(1);
        /// Requests about consumers that may wait for a thread.
        consumer_manager_thread_pool_queue_capacity: i32 = 1_000_000,
            "consumerManagerThreadPoolQueueCapacity" at_least(1);
        /// Heartbeats that may wait for a thread.
        heartbeat_thread_pool_queue_capacity: i32 = 50_000,
            "heartbeatThreadPoolQueueCapacity" at_least(1);
        /// Ends of transactions that may wait for a thread.
        end_transaction_pool_queue_capacity: i32 = 100_000,
            "endTransactionPoolQueueCapacity" at_least(1);
        /// Filter servers no longer exist in RocketMQ.
        filter_server_nums: i32 = 0, "filterServerNums" fixed unused;
        /// Hold a pull that finds nothing for as long as its client asks.
        long_polling_enable: bool = true, "longPollingEnable" live;
        /// How long such a pull is held otherwise.
        short_polling_time_mills: i64 = 1000, "shortPollingTimeMills" unit("ms") at_least(0) live;
        /// Tell consumers when others of their group come or go.
        notify_consumer_ids_changed_enable: bool = true, "notifyConsumerIdsChangedEnable" live;
        /// Never read by RocketMQ either.
        high_speed_mode: bool = false, "highSpeedMode" unused;
        /// Billing; only for its vendor.
        commercial_enable: bool = true, "commercialEnable" unused;
        /// Billing; only for its vendor.
        commercial_timer_count: i32 = 1, "commercialTimerCount" unused;
        /// Billing; only for its vendor.
        commercial_trans_count: i32 = 1, "commercialTransCount" unused;
        /// Billing; only for its vendor.
        commercial_big_count: i32 = 1, "commercialBigCount" unused;
        /// Billing; only for its vendor.
        commercial_base_count: i32 = 1, "commercialBaseCount" unused;
        /// Copy bodies of a pull answer to the heap. Here they are always sent from the mapped
        /// file.
        transfer_msg_by_heap: bool = true, "transferMsgByHeap" unused;
        /// Never read by RocketMQ either.
        max_delay_time: i32 = 40, "maxDelayTime" unused;
        /// Name of the region, told to producers.
        region_id: String = "DefaultRegion".to_string(), "regionId" live;
        /// Longest wait for a NameServer's answer to a registration.
        register_broker_timeout_mills: i32 = 6000,
            "registerBrokerTimeoutMills" unit("ms") at_least(1) live;
        /// Send consumers that are far behind to a slave.
        slave_read_enable: bool = false, "slaveReadEnable" live;
        /// Disable a group whose last read of a queue was too far behind the end of the log, until
        /// an operator enables it. Looked at every three minutes.
        disable_consume_if_consumer_read_slowly: bool = false,
            "disableConsumeIfConsumerReadSlowly" live;
        /// How far behind is too far.
        consumer_fallbehind_threshold: i64 = 17_179_869_184,
            "consumerFallbehindThreshold" unit("bytes") live;
        /// Answer requests that waited too long for a thread as busy.
        broker_fast_failure_enable: bool = true, "brokerFastFailureEnable";
        /// Longest wait of a send for a thread.
        wait_time_mills_in_send_queue: i64 = 200, "waitTimeMillsInSendQueue" unit("ms") at_least(1);
        /// Longest wait of a pull for a thread.
        wait_time_mills_in_pull_queue: i64 = 5000,
            "waitTimeMillsInPullQueue" unit("ms") at_least(1);
        /// Longest wait of a heartbeat for a thread.
        wait_time_mills_in_heartbeat_queue: i64 = 31_000,
            "waitTimeMillsInHeartbeatQueue" unit("ms") at_least(1);
        /// Longest wait of an end of a transaction for a thread.
        wait_time_mills_in_transaction_queue: i64 = 3000,
            "waitTimeMillsInTransactionQueue" unit("ms") at_least(1);
        /// Sends before this time are refused.
        start_accept_send_request_time_stamp: i64 = 0,
            "startAcceptSendRequestTimeStamp" unit("ms since 1970") live;
        /// Tell producers to trace messages.
        trace_on: bool = true, "traceOn" live;
        /// Note, with enableConsumeQueueExt, which SQL92 filters each message passes when it is
        /// dispatched, so that pulls need not look at its properties.
        enable_calc_filter_bit_map: bool = false, "enableCalcFilterBitMap" live;
        /// Consumers that those bit maps are made for: with the next key, their shape. A change
        /// forgets the filters of consumerFilter.json.
        expect_consumer_num_use_filter: i32 = 32,
            "expectConsumerNumUseFilter" within(1, 1_048_576);
        /// Wrong hits that are tolerated in them.
        max_error_rate_of_bloom_filter: i32 = 20,
            "maxErrorRateOfBloomFilter" unit("%") within(1, 99);
        /// How long filter data of consumers that left is kept.
        filter_data_clean_time_span: i64 = 86_400_000,
            "filterDataCleanTimeSpan" unit("ms") at_least(0) live;
        /// Hold retried messages to the SQL92 filter on the topic they came from.
        filter_support_retry: bool = false, "filterSupportRetry" live;
        /// Allow SQL92 filters.
        enable_property_filter: bool = false, "enablePropertyFilter" live;
        /// Compress registrations.
        compressed_register: bool = false, "compressedRegister" live;
        /// Register even when nothing has changed.
        force_register: bool = true, "forceRegister" live;
        /// Pause between two registrations with the NameServers; 10 s at least, 60 s at most.
        register_name_server_period: i32 = 30_000, "registerNameServerPeriod" unit("ms");
        /// Age at which the producer of a half message is asked first.
        transaction_time_out: i64 = 6000, "transactionTimeOut" unit("ms") star live;
        /// How often it is asked.
        transaction_check_max: i32 = 15, "transactionCheckMax" star live;
        /// Pause between two rounds of asking.
        transaction_check_interval: i64 = 60_000,
            "transactionCheckInterval" unit("ms") star at_least(1) live;
        /// Check signature and permissions of every request.
        acl_enable: bool = false, "aclEnable" star later;
        /// Store replies of request-reply as well.
        store_reply_message_enable: bool = true, "storeReplyMessageEnable" live;
        /// Keep statistics for each queue.
        enable_detail_stat: bool = true, "enableDetailStat" later;
        /// Drop statistics of topics and groups that were deleted.
        auto_delete_unused_stats: bool = false, "autoDeleteUnusedStats" later;
        /// Write logs to a folder of this broker's name and id.
        isolate_log_enable: bool = false, "isolateLogEnable";
        /// Keys that cannot be changed at run time, with a semicolon between two.
        config_black_list: String = "configBlackList;brokerConfigPath".to_string(),
            "configBlackList" fixed;
    }
    parts {
        /// Its ports and the connections that clients make.
        server: ServerConfig = ServerConfig::new(10911);
        /// The connections that it makes.
        client: ClientConfig = ClientConfig::new();
        /// Its files.
        store: StoreConfig = StoreConfig::new();
        /// Where all this came from.
        origin: Origin = Origin::default();
    }
}

impl BrokerConfig {
    /// Every key at its default on this machine.
    pub fn new() -> BrokerConfig {
        BrokerConfig::defaults()
    }

    /// Files below `root`, ports of the system's choice on the loopback address, no NameServer.
    pub fn for_test(root: &Path) -> BrokerConfig {
        BrokerConfig {
            rocketmq_home: Some(root.to_string_lossy().into_owned()),
            namesrv_addr: None,
            broker_ip1: "127.0.0.1".to_string(),
            broker_ip2: "127.0.0.1".to_string(),
            broker_name: "broker-a".to_string(),
            pull_message_thread_pool_nums: 2,
            query_message_thread_pool_nums: 1,
            admin_broker_thread_pool_nums: 1,
            client_manage_thread_pool_nums: 1,
            consumer_manage_thread_pool_nums: 1,
            server: ServerConfig { server_selector_threads: 1, ..ServerConfig::new(0) },
            store: StoreConfig::for_test(root),
            ..BrokerConfig::new()
        }
    }
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig::new()
    }
}

impl Config for BrokerConfig {
    const NAME: &'static str = "broker";

    fn sections(&self) -> Vec<&dyn Section> {
        vec![self, &self.server, &self.client, &self.store]
    }

    fn sections_mut(&mut self, visit: &mut dyn FnMut(&mut dyn Section)) {
        visit(self);
        visit(&mut self.server);
        visit(&mut self.client);
        visit(&mut self.store);
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn origin_mut(&mut self) -> &mut Origin {
        &mut self.origin
    }

    fn black_list(&self) -> &str {
        &self.config_black_list
    }

    fn default_store(&self) -> PathBuf {
        PathBuf::from(in_home("store/config/broker.properties"))
    }
}
