//! The message store's keys (RocketMQ's MessageStoreConfig).

use std::path::{Path, PathBuf};

use super::in_home;
use super::row::section;
use super::value::names;

names! {
    /// What a broker is within its group.
    pub enum BrokerRole {
        /// A master that answers a send without waiting for its slaves.
        AsyncMaster = "ASYNC_MASTER",
        /// A master that answers a send when a slave has the message.
        SyncMaster = "SYNC_MASTER",
        /// Copies a master.
        Slave = "SLAVE"
    }
}

names! {
    /// When a send is answered.
    pub enum FlushDiskType {
        /// When the message is in memory; it is on disk a little later.
        AsyncFlush = "ASYNC_FLUSH",
        /// When the message is on disk.
        SyncFlush = "SYNC_FLUSH"
    }
}

section! {
    /// The files of a broker and how they are kept.
    pub struct StoreConfig {
        /// Folder of all state of this broker; no two brokers may share it.
        store_path_root_dir: String = in_home("store"),
            "storePathRootDir" usually("$HOME/store") star fixed;
        /// Folder of the CommitLog, or several with commas between them: they get its files in
        /// turn, but no new one while they are fuller than diskSpaceCleanForciblyRatio.
        store_path_commit_log: Option<String> = None,
            "storePathCommitLog" usually("<storePathRootDir>/commitlog") star fixed;
        /// Folder of the log of DLedger mode.
        store_path_d_ledger_commit_log: Option<String> = None,
            "storePathDLedgerCommitLog" star fixed later;
        /// Further CommitLog folders, with commas between them; no file is made there.
        read_only_commit_log_store_paths: Option<String> = None,
            "readOnlyCommitLogStorePaths" fixed;
        /// Length of one CommitLog file. A store keeps the length that it was made with.
        mapped_file_size_commit_log: i32 = 1_073_741_824,
            "mappedFileSizeCommitLog" unit("bytes") at_least(4096);
        /// Length of one ConsumeQueue file; rounded up to whole units of 20 bytes.
        mapped_file_size_consume_queue: i32 = 6_000_000,
            "mappedFileSizeConsumeQueue" unit("bytes") at_least(20);
        /// Keep tags code, store time and filter bit map of each message beside its ConsumeQueue.
        enable_consume_queue_ext: bool = false, "enableConsumeQueueExt";
        /// Length of one of these files.
        mapped_file_size_consume_queue_ext: i32 = 50_331_648,
            "mappedFileSizeConsumeQueueExt" unit("bytes") at_least(1024);
        /// Length of a filter bit map; RocketMQ, too, calculates it from
        /// expectConsumerNumUseFilter and maxErrorRateOfBloomFilter, whatever is set.
        bit_map_length_consume_queue_ext: i32 = 64,
            "bitMapLengthConsumeQueueExt" unit("bits") unused;
        /// Pause between two flushes of the CommitLog under ASYNC_FLUSH.
        flush_interval_commit_log: i32 = 500, "flushIntervalCommitLog" unit("ms") at_least(1) star;
        /// Pause between two copies from the pool of transientStorePoolEnable to the file.
        commit_interval_commit_log: i32 = 200,
            "commitIntervalCommitLog" unit("ms") at_least(1) star;
        /// Which lock RocketMQ puts messages under.
        use_reentrant_lock_when_put_message: bool = true, "useReentrantLockWhenPutMessage" unused;
        /// Flush at fixed times instead of soon after each message; it is always done at fixed
        /// times.
        flush_commit_log_timed: bool = true, "flushCommitLogTimed" star unused;
        /// Pause between two flushes of the ConsumeQueues.
        flush_interval_consume_queue: i32 = 1000,
            "flushIntervalConsumeQueue" unit("ms") at_least(1);
        /// Pause between two looks for expired files.
        clean_resource_interval: i32 = 10_000, "cleanResourceInterval" unit("ms") at_least(1);
        /// Pause between two removals of CommitLog files.
        delete_commit_log_files_interval: i32 = 100,
            "deleteCommitLogFilesInterval" unit("ms") at_least(0) live;
        /// Pause between two removals of ConsumeQueue files.
        delete_consume_queue_files_interval: i32 = 100,
            "deleteConsumeQueueFilesInterval" unit("ms") at_least(0) live;
        /// How long the space of a removed file waits for those who still read it, to be given
        /// back in steps; later it comes back at once, when the last of them is done.
        destroy_maped_file_interval_forcibly: i32 = 120_000,
            "destroyMapedFileIntervalForcibly" unit("ms") at_least(0) live;
        /// Pause until a file that could not be removed is tried again.
        redelete_hanged_file_interval: i32 = 120_000,
            "redeleteHangedFileInterval" unit("ms") at_least(0) live;
        /// Hours of the day at which expired files are removed, with a semicolon between two.
        delete_when: String = "04".to_string(), "deleteWhen" star live;
        /// Expired files are removed at any hour when the disk is fuller than this.
        disk_max_used_space_ratio: i32 = 75, "diskMaxUsedSpaceRatio" unit("%") within(0, 100) live;
        /// Age after which a CommitLog file is expired.
        file_reserved_time: i32 = 72, "fileReservedTime" unit("hours") at_least(0) star live;
        /// Never read by RocketMQ either.
        put_msg_index_hight_water: i32 = 600_000, "putMsgIndexHightWater" unused;
        /// Longest message body.
        max_message_size: i32 = 4_194_304, "maxMessageSize" unit("bytes") at_least(1) live;
        /// Check the CRC of each body when the store is read after a crash.
        check_crc_on_recover: bool = true, "checkCRCOnRecover";
        /// Pages that must have been written before a flush under ASYNC_FLUSH does anything.
        flush_commit_log_least_pages: i32 = 4, "flushCommitLogLeastPages" at_least(0);
        /// The same of a copy from the pool of transientStorePoolEnable.
        commit_commit_log_least_pages: i32 = 4, "commitCommitLogLeastPages" at_least(0);
        /// Pages between two flushes while RocketMQ warms a whole file. Here a file is warmed in
        /// small steps, none of which leaves much to be flushed.
        flush_least_pages_when_warm_maped_file: i32 = 4096,
            "flushLeastPagesWhenWarmMapedFile" unused;
        /// Pages that must have been written before a ConsumeQueue is flushed.
        flush_consume_queue_least_pages: i32 = 2, "flushConsumeQueueLeastPages" at_least(0);
        /// Longest time between two whole flushes of the CommitLog.
        flush_commit_log_thorough_interval: i32 = 10_000,
            "flushCommitLogThoroughInterval" unit("ms") at_least(1);
        /// Longest time between two whole copies from the pool of transientStorePoolEnable.
        commit_commit_log_thorough_interval: i32 = 200,
            "commitCommitLogThoroughInterval" unit("ms") at_least(1);
        /// Longest time between two whole flushes of the ConsumeQueues.
        flush_consume_queue_thorough_interval: i32 = 60_000,
            "flushConsumeQueueThoroughInterval" unit("ms") at_least(1);
        /// Largest pull answer while the messages are in memory.
        max_transfer_bytes_on_message_in_memory: i32 = 262_144,
            "maxTransferBytesOnMessageInMemory" unit("bytes") at_least(1) star live;
        /// Most messages of a pull answer while they are in memory.
        max_transfer_count_on_message_in_memory: i32 = 32,
            "maxTransferCountOnMessageInMemory" at_least(1) star live;
        /// Largest pull answer when the messages are only on disk.
        max_transfer_bytes_on_message_in_disk: i32 = 65_536,
            "maxTransferBytesOnMessageInDisk" unit("bytes") at_least(1) star live;
        /// Most messages of a pull answer when they are only on disk.
        max_transfer_count_on_message_in_disk: i32 = 8,
            "maxTransferCountOnMessageInDisk" at_least(1) star live;
        /// Messages within this part of physical memory from the end of the log count as in memory.
        access_message_in_memory_max_ratio: i32 = 40,
            "accessMessageInMemoryMaxRatio" unit("%") within(0, 100) star live;
        /// Keep an index of message keys.
        message_index_enable: bool = true, "messageIndexEnable" star;
        /// Hash slots of one index file.
        max_hash_slot_num: i32 = 5_000_000, "maxHashSlotNum" at_least(1);
        /// Entries of one index file.
        max_index_num: i32 = 20_000_000, "maxIndexNum" at_least(2);
        /// Most messages that a query by key answers.
        max_msgs_num_batch: i32 = 64, "maxMsgsNumBatch" at_least(1) live;
        /// Take the index into account for the point from which a crashed store is read.
        message_index_safe: bool = false, "messageIndexSafe" star;
        /// Port for slaves: always listenPort + 1, whatever the file says.
        ha_listen_port: i32 = 10912,
            "haListenPort" usually("listenPort + 1") within(0, 65535) later;
        /// Pause between two heartbeats between master and slave.
        ha_send_heartbeat_interval: i32 = 5000, "haSendHeartbeatInterval" unit("ms") later;
        /// Silence after which the link between master and slave is closed.
        ha_housekeeping_interval: i32 = 20_000, "haHousekeepingInterval" unit("ms") later;
        /// Most bytes a master sends to a slave at a time.
        ha_transfer_batch_size: i32 = 32_768, "haTransferBatchSize" unit("bytes") later;
        /// The master's address for its slave; otherwise the NameServer tells it.
        ha_master_address: Option<String> = None, "haMasterAddress" star later;
        /// A slave further behind than this does not count for SYNC_MASTER.
        ha_slave_fallbehind_max: i32 = 268_435_456, "haSlaveFallbehindMax" unit("bytes") later;
        /// What this broker is within its group.
        broker_role: BrokerRole = BrokerRole::AsyncMaster, "brokerRole" star;
        /// When a send is answered: with the message in memory or on disk.
        flush_disk_type: FlushDiskType = FlushDiskType::AsyncFlush, "flushDiskType" star;
        /// Longest wait of a send for the disk under SYNC_FLUSH.
        sync_flush_timeout: i32 = 5000, "syncFlushTimeout" unit("ms") at_least(1) live;
        /// Longest wait of a send for a slave under SYNC_MASTER.
        slave_timeout: i32 = 3000, "slaveTimeout" unit("ms") later;
        /// The delay levels from 1 on, with a blank between two; s, m, h and d are the units.
        message_delay_level: String =
            "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h".to_string(),
            "messageDelayLevel";
        /// Pause between two saves of the offsets of delayed messages.
        flush_delay_offset_interval: i64 = 10_000,
            "flushDelayOffsetInterval" unit("ms") at_least(1);
        /// Remove the oldest files, expired or not, when the disk is nearly full.
        clean_file_forcibly_enable: bool = true, "cleanFileForciblyEnable" star live;
        /// Touch every page of the CommitLog file being written ahead of need and lock it in
        /// memory, not only the next commitLogWarmAheadBytes. In small steps.
        warm_maped_file_enable: bool = false, "warmMapedFileEnable";
        /// How much of the CommitLog ahead of the writer is in memory, and locked there as far as
        /// the system permits. Not RocketMQ's.
        commit_log_warm_ahead_bytes: i32 = 33_554_432,
            "commitLogWarmAheadBytes" unit("bytes") within(1_048_576, 1_073_741_824);
        /// Most consume-queue files that are mapped at a time, but no more than half of what the
        /// system lets a process map; others are opened for each use, and the last units of such
        /// wait in memory. Each mapped one takes some 8 KiB. Not RocketMQ's.
        consume_queue_files_mapped_max: i32 = 32_768,
            "consumeQueueFilesMappedMax" within(1, 1_048_576);
        /// Let a slave correct the offset of a pull.
        offset_check_in_slave: bool = false, "offsetCheckInSlave" live;
        /// Sends are refused when the disk is fuller than this; 35 to 90 count. RocketMQ 5's key.
        disk_space_warning_level_ratio: i32 = 90,
            "diskSpaceWarningLevelRatio" unit("%") within(0, 100) live;
        /// The oldest files are removed, expired or not, when the disk is fuller than this; 30 to
        /// 85 count. RocketMQ 5's key.
        disk_space_clean_forcibly_ratio: i32 = 85,
            "diskSpaceCleanForciblyRatio" unit("%") within(0, 100) live;
        /// Most CommitLog files that one round of cleaning removes. RocketMQ 5's key.
        delete_file_batch_max: i32 = 10, "deleteFileBatchMax" at_least(1) live;
        /// Sends are refused, too, when less than this is free; 0 for no such limit. Not
        /// RocketMQ's.
        disk_warning_free_bytes: i64 = 0, "diskWarningFreeBytes" unit("bytes") at_least(0) live;
        /// The oldest files are removed, expired or not, also when less than this is free; 0 for
        /// no such limit. Not RocketMQ's.
        disk_clean_forcibly_free_bytes: i64 = 0,
            "diskCleanForciblyFreeBytes" unit("bytes") at_least(0) live;
        /// Expired files are removed at any hour also when less than this is free; 0 for no such
        /// limit. Not RocketMQ's.
        disk_clean_free_bytes: i64 = 0, "diskCleanFreeBytes" unit("bytes") at_least(0) live;
        /// Remove files with messages that a group has yet to consume, or that are yet to be
        /// delivered. When not, they stay, whatever their age, and sends are refused once the disk
        /// is full. Not RocketMQ's.
        delete_unconsumed_messages: bool = true, "deleteUnconsumedMessages" live;
        /// A debugging aid of RocketMQ.
        debug_lock_enable: bool = false, "debugLockEnable" unused;
        /// Dispatch only what another process confirmed (never used by RocketMQ).
        duplication_enable: bool = false, "duplicationEnable" unused;
        /// Record how far behind the end of the log consumers read: slow ones can be disabled.
        disk_fall_recorded: bool = true, "diskFallRecorded" live;
        /// A put that holds its lock for longer makes other sends be refused as busy.
        os_page_cache_busy_time_out_mills: i64 = 1000,
            "osPageCacheBusyTimeOutMills" unit("ms") at_least(1) live;
        /// Most messages that a query by unique key answers.
        default_query_max_num: i32 = 32, "defaultQueryMaxNum" at_least(1) live;
        /// Write to a pool of locked memory first and copy that to the CommitLog file later, so
        /// that sends do not wait for the page cache. What is in the pool when the process is
        /// killed is lost, and a message is not seen before it is copied. Only under ASYNC_FLUSH.
        transient_store_pool_enable: bool = false, "transientStorePoolEnable" star;
        /// Buffers of that pool, each as long as a CommitLog file; their memory is taken at start.
        transient_store_pool_size: i32 = 5, "transientStorePoolSize" at_least(1);
        /// Refuse sends when a CommitLog file is begun and no buffer of that pool is free; else
        /// they go to the file itself then.
        fast_fail_if_no_buffer_in_store_pool: bool = false, "fastFailIfNoBufferInStorePool";
        /// DLedger mode: the log is a Raft log.
        enable_d_leger_commit_log: bool = false, "enableDLegerCommitLog" later;
        /// DLedger mode: name of the group.
        d_leger_group: Option<String> = None, "dLegerGroup" later;
        /// DLedger mode: members as id-host:port, with a semicolon between two.
        d_leger_peers: Option<String> = None, "dLegerPeers" later;
        /// DLedger mode: which of them this is.
        d_leger_self_id: Option<String> = None, "dLegerSelfId" later;
        /// DLedger mode: which of them should lead.
        preferred_leader_id: Option<String> = None, "preferredLeaderId" later;
        /// DLedger mode: push entries in batches.
        enable_batch_push: bool = false, "enableBatchPush" listed_as("isEnableBatchPush") later;
        /// Count what the delay levels do.
        enable_schedule_message_stats: bool = true, "enableScheduleMessageStats" later;
        /// Light queues, whose names begin with %LMQ%: topics of one queue without a configuration.
        /// The offsets of all groups are in lmqConsumerOffset.json then.
        enable_lmq: bool = false, "enableLmq" fixed;
        /// Put a message also into the queues that its property INNER_MULTI_DISPATCH names.
        enable_multi_dispatch: bool = false, "enableMultiDispatch" live;
        /// Most light queues; a message that names a further one is refused.
        max_lmq_consume_queue_num: i32 = 20_000, "maxLmqConsumeQueueNum" at_least(0) live;
        /// Deliver delayed messages without waiting for each put.
        enable_schedule_async_deliver: bool = false, "enableScheduleAsyncDeliver" later;
        /// Most of them under way at a time.
        schedule_async_deliver_max_pending_limit: i32 = 2000,
            "scheduleAsyncDeliverMaxPendingLimit" later;
        /// Tries after which such a delivery holds up its level.
        schedule_async_deliver_max_resend_num2_blocked: i32 = 3,
            "scheduleAsyncDeliverMaxResendNum2Blocked" later;
    }
}

impl StoreConfig {
    /// Every key at its default on this machine.
    pub fn new() -> StoreConfig {
        StoreConfig::defaults()
    }

    /// Folder of all state.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(&self.store_path_root_dir)
    }

    /// Folders of the CommitLog.
    pub fn commit_log_dirs(&self) -> Vec<PathBuf> {
        match &self.store_path_commit_log {
            Some(paths) => paths_of(paths),
            None => vec![self.root().join("commitlog")],
        }
    }

    /// Those that get files.
    pub fn writable_commit_log_dirs(&self) -> Vec<PathBuf> {
        let read_only = self.read_only_commit_log_dirs();
        self.commit_log_dirs().into_iter().filter(|dir| !read_only.contains(dir)).collect()
    }

    /// Folders of the CommitLog that are only read.
    pub fn read_only_commit_log_dirs(&self) -> Vec<PathBuf> {
        self.read_only_commit_log_store_paths.as_deref().map(paths_of).unwrap_or_default()
    }

    /// Small files below `root`: a CommitLog of 1 MiB files.
    pub fn for_test(root: &Path) -> StoreConfig {
        StoreConfig {
            store_path_root_dir: root.to_string_lossy().into_owned(),
            mapped_file_size_commit_log: 1024 * 1024,
            mapped_file_size_consume_queue: 20 * 1000,
            max_hash_slot_num: 1000,
            max_index_num: 4000,
            ..StoreConfig::new()
        }
    }
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig::new()
    }
}

/// The paths of a list with commas.
fn paths_of(list: &str) -> Vec<PathBuf> {
    list.split(',').map(str::trim).filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}
