//! THE TABLE: every code this broker serves, in which pool, by which handler, on which ports.

use std::time::Duration;

use super::{Broker, admin, client, consumer, pull, query, relay, reply, send, send_back, txn};
use crate::base::limits::{COLD_READ_THREADS, COLD_READS_MAX};
use crate::config::BrokerConfig;
use crate::dispatch::{Guard, PoolId, PoolSpec, Ports, Row};
use crate::net::Request;
use crate::protocol::Command;
use crate::protocol::code::request::*;
use crate::protocol::code::response;

/// The pools of threads, one for each family of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    Send,
    Pull,
    Reply,
    Query,
    Heartbeat,
    Client,
    Consumer,
    EndTransaction,
    Admin,
    /// Of no code: what waits for the disk to give old messages.
    Cold,
}

impl PoolId for Pool {
    fn index(self) -> usize {
        self as usize
    }
}

/// The pools in the order of `Pool`: threads, queue capacity, and how long a request may wait at
/// the head of the queue before it is answered SYSTEM_BUSY.
pub fn pools(config: &BrokerConfig) -> Vec<PoolSpec> {
    let c = config;
    let pool = |name, threads: i32, capacity: i32, wait_ms: Option<i64>| PoolSpec {
        name,
        threads: threads.max(1) as usize,
        // With one thread, requests are handled in their order.
        helped: threads > 1 && matches!(name, "send" | "pull"),
        capacity: capacity.max(1) as usize,
        wait_limit: wait_ms
            .filter(|_| c.broker_fast_failure_enable)
            .map(|ms| Duration::from_millis(ms.max(0) as u64)),
    };
    vec![
        pool(
            "send",
            c.send_message_thread_pool_nums,
            c.send_thread_pool_queue_capacity,
            Some(c.wait_time_mills_in_send_queue),
        ),
        pool(
            "pull",
            c.pull_message_thread_pool_nums,
            c.pull_thread_pool_queue_capacity,
            Some(c.wait_time_mills_in_pull_queue),
        ),
        pool(
            "reply",
            c.process_reply_message_thread_pool_nums,
            c.reply_thread_pool_queue_capacity,
            None,
        ),
        pool("query", c.query_message_thread_pool_nums, c.query_thread_pool_queue_capacity, None),
        pool(
            "heartbeat",
            c.heartbeat_thread_pool_nums,
            c.heartbeat_thread_pool_queue_capacity,
            Some(c.wait_time_mills_in_heartbeat_queue),
        ),
        pool(
            "client",
            c.client_manage_thread_pool_nums,
            c.client_manager_thread_pool_queue_capacity,
            None,
        ),
        pool(
            "consumer",
            c.consumer_manage_thread_pool_nums,
            c.consumer_manager_thread_pool_queue_capacity,
            None,
        ),
        pool(
            "endTransaction",
            c.end_transaction_thread_pool_nums,
            c.end_transaction_pool_queue_capacity,
            Some(c.wait_time_mills_in_transaction_queue),
        ),
        pool("admin", c.admin_broker_thread_pool_nums, ADMIN_QUEUE_CAPACITY, None),
        pool("cold", COLD_READ_THREADS, COLD_READS_MAX, None),
    ]
}

/// Admin requests that may wait; RocketMQ 4 has no bound here, 5 has this one.
const ADMIN_QUEUE_CAPACITY: i32 = 10_000;

/// The rows of the table.
pub fn rows() -> Vec<Row<Broker, Pool>> {
    use Guard::{None, Read, Write};
    use Pool::*;
    use Ports::*;
    use admin::{config, conn, consume, group, group_offset, lock, offset, runtime, store, topic};
    let row = |code, pool, handler, ports, guard| Row { code, pool, handler, ports, guard };
    vec![
        // code, pool, handler, ports, guard
        row(SEND_MESSAGE, Send, send::message, Both, Write),
        row(SEND_MESSAGE_V2, Send, send::message, Both, Write),
        row(SEND_BATCH_MESSAGE, Send, send::message, Both, Write),
        row(CONSUMER_SEND_MSG_BACK, Send, send_back::message, Both, Write),
        row(PULL_MESSAGE, Pull, pull::message, Main, Read),
        row(LITE_PULL_MESSAGE, Pull, pull::message, Main, Read),
        row(SEND_REPLY_MESSAGE, Reply, reply::message, Both, Write),
        row(SEND_REPLY_MESSAGE_V2, Reply, reply::message, Both, Write),
        row(END_TRANSACTION, Pool::EndTransaction, txn::end, Both, Write),
        row(QUERY_MESSAGE, Query, query::by_key, Both, Read),
        row(VIEW_MESSAGE_BY_ID, Query, query::by_offset, Both, Read),
        row(HEART_BEAT, Heartbeat, client::heart_beat, Both, None),
        row(UNREGISTER_CLIENT, Client, client::unregister, Both, None),
        row(CHECK_CLIENT_CONFIG, Client, client::check_config, Both, None),
        row(GET_CONSUMER_LIST_BY_GROUP, Consumer, consumer::list, Both, None),
        row(QUERY_CONSUMER_OFFSET, Consumer, consumer::query_offset, Both, None),
        row(UPDATE_CONSUMER_OFFSET, Consumer, consumer::update_offset, Both, None),
        row(RESUME_CHECK_HALF_MESSAGE, Admin, txn::resume_check, Both, Guard::Admin),
        row(LOCK_BATCH_MQ, Admin, lock::lock, Both, None),
        row(UNLOCK_BATCH_MQ, Admin, lock::unlock, Both, None),
        row(SEARCH_OFFSET_BY_TIMESTAMP, Admin, offset::by_time, Both, None),
        row(GET_MAX_OFFSET, Admin, offset::max, Both, None),
        row(GET_MIN_OFFSET, Admin, offset::min, Both, None),
        row(GET_EARLIEST_MSG_STORETIME, Admin, offset::earliest_time, Both, None),
        row(GET_CONSUME_STATS, Admin, consume::stats, Both, None),
        row(GET_BROKER_CONSUME_STATS, Admin, consume::broker_stats, Both, None),
        row(QUERY_CONSUME_TIME_SPAN, Admin, consume::time_span, Both, None),
        row(GET_ALL_CONSUMER_OFFSET, Admin, group_offset::all, Both, None),
        row(GET_ALL_DELAY_OFFSET, Admin, group_offset::delays, Both, None),
        row(QUERY_CORRECTION_OFFSET, Admin, group_offset::correction, Both, None),
        row(CLONE_GROUP_OFFSET, Admin, group_offset::copy, Both, Guard::Admin),
        row(QUERY_CONSUME_QUEUE, Admin, store::show_queue, Both, None),
        row(CLEAN_EXPIRED_CONSUMEQUEUE, Admin, store::clean_queues, Both, Guard::Admin),
        row(CLEAN_UNUSED_TOPIC, Admin, store::clean_topics, Both, Guard::Admin),
        row(DELETE_EXPIRED_COMMITLOG, Admin, store::delete_expired, Both, Guard::Admin),
        row(UPDATE_AND_CREATE_TOPIC, Admin, topic::update, Both, Guard::Admin),
        row(DELETE_TOPIC_IN_BROKER, Admin, topic::delete, Both, Guard::Admin),
        row(GET_ALL_TOPIC_CONFIG, Admin, topic::all, Both, None),
        row(GET_TOPIC_CONFIG, Admin, topic::get, Both, None),
        row(GET_SYSTEM_TOPIC_LIST_FROM_BROKER, Admin, topic::system, Both, None),
        row(GET_TOPIC_STATS_INFO, Admin, topic::stats, Both, None),
        row(QUERY_TOPIC_CONSUME_BY_WHO, Admin, topic::consumed_by, Both, None),
        row(UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, Admin, group::update, Both, Guard::Admin),
        row(DELETE_SUBSCRIPTIONGROUP, Admin, group::delete, Both, Guard::Admin),
        row(GET_ALL_SUBSCRIPTIONGROUP_CONFIG, Admin, group::all, Both, None),
        row(GET_CONSUMER_CONNECTION_LIST, Admin, conn::consumers, Both, None),
        row(GET_PRODUCER_CONNECTION_LIST, Admin, conn::producers, Both, None),
        row(INVOKE_BROKER_TO_RESET_OFFSET, Admin, relay::reset_offset, Both, Guard::Admin),
        row(INVOKE_BROKER_TO_GET_CONSUMER_STATUS, Admin, relay::consumer_status, Both, None),
        row(GET_CONSUMER_RUNNING_INFO, Admin, relay::running_info, Both, None),
        row(CONSUME_MESSAGE_DIRECTLY, Admin, relay::consume_directly, Both, Guard::Admin),
        row(GET_ALL_PRODUCER_INFO, Admin, conn::all_producers, Both, None),
        row(UPDATE_BROKER_CONFIG, Admin, config::update, Both, Guard::Admin),
        row(GET_BROKER_CONFIG, Admin, config::get, Both, None),
        row(GET_BROKER_RUNTIME_INFO, Admin, runtime::info, Both, None),
        row(VIEW_BROKER_STATS_DATA, Admin, runtime::statistic, Both, None),
    ]
}

const RESERVED: &str = "a constant of RocketMQ without a handler";
const TO_CLIENTS: &str = "sent by brokers, served by clients";
const ACCESS_CONTROL: &str = "access control is not built yet";

/// Codes of RocketMQ that this broker answers with REQUEST_CODE_NOT_SUPPORTED, and why. Those of
/// the NameServer are not among them.
pub const NOT_SERVED: &[(i32, &str)] = &[
    (QUERY_BROKER_OFFSET, RESERVED),
    (GET_TOPIC_CONFIG_LIST, RESERVED),
    (GET_TOPIC_NAME_LIST, RESERVED),
    (TRIGGER_DELETE_FILES, RESERVED),
    (SUSPEND_CONSUMER, RESERVED),
    (RESUME_CONSUMER, RESERVED),
    (RESET_CONSUMER_OFFSET_IN_CONSUMER, RESERVED),
    (RESET_CONSUMER_OFFSET_IN_BROKER, RESERVED),
    (ADJUST_CONSUMER_THREAD_POOL, RESERVED),
    (WHO_CONSUME_THE_MESSAGE, RESERVED),
    (REGISTER_FILTER_SERVER, RESERVED),
    (REGISTER_MESSAGE_FILTER_CLASS, RESERVED),
    (CHECK_TRANSACTION_STATE, TO_CLIENTS),
    (NOTIFY_CONSUMER_IDS_CHANGED, TO_CLIENTS),
    (RESET_CONSUMER_CLIENT_OFFSET, TO_CLIENTS),
    (GET_CONSUMER_STATUS_FROM_CLIENT, TO_CLIENTS),
    (PUSH_REPLY_MESSAGE_TO_CLIENT, TO_CLIENTS),
    (UPDATE_AND_CREATE_ACL_CONFIG, ACCESS_CONTROL),
    (DELETE_ACL_CONFIG, ACCESS_CONTROL),
    (GET_BROKER_CLUSTER_ACL_INFO, ACCESS_CONTROL),
    (UPDATE_GLOBAL_WHITE_ADDRS_CONFIG, ACCESS_CONTROL),
    (GET_BROKER_CLUSTER_ACL_CONFIG, ACCESS_CONTROL),
];

/// Refuses a request before it is queued: sends, while the log does not keep up.
pub fn refuse(broker: &Broker, row: &Row<Broker, Pool>, request: &Request) -> Option<Command> {
    let busy = (row.pool == Pool::Send).then(|| broker.store.refused_as_busy())??;
    let remark = "[REJECTREQUEST]system busy, start flow control for a while";
    Some(request.command.refusal(response::SYSTEM_BUSY, format!("{remark}, {}", busy.text())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const OF_THE_NAMESERVER: [i32; 20] = [
        PUT_KV_CONFIG,
        GET_KV_CONFIG,
        DELETE_KV_CONFIG,
        REGISTER_BROKER,
        UNREGISTER_BROKER,
        GET_ROUTEINFO_BY_TOPIC,
        GET_BROKER_CLUSTER_INFO,
        WIPE_WRITE_PERM_OF_BROKER,
        GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
        DELETE_TOPIC_IN_NAMESRV,
        GET_KVLIST_BY_NAMESPACE,
        GET_TOPICS_BY_CLUSTER,
        GET_SYSTEM_TOPIC_LIST_FROM_NS,
        GET_UNIT_TOPIC_LIST,
        GET_HAS_UNIT_SUB_TOPIC_LIST,
        GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST,
        UPDATE_NAMESRV_CONFIG,
        GET_NAMESRV_CONFIG,
        QUERY_DATA_VERSION,
        ADD_WRITE_PERM_OF_BROKER,
    ];

    #[test]
    fn every_code_is_served_here_or_has_a_reason_why_not() {
        let mut seen = BTreeSet::new();
        let served = rows().into_iter().map(|row| row.code);
        let not_served = NOT_SERVED.iter().map(|&(code, _)| code);
        for code in served.chain(not_served).chain(OF_THE_NAMESERVER) {
            assert!(seen.insert(code), "code {code} is listed twice");
        }
        let all: BTreeSet<i32> = ALL.iter().map(|&(code, _)| code).collect();
        assert_eq!(seen, all);
    }

    #[test]
    fn the_pools_stand_in_the_order_of_their_enum() {
        let names: Vec<_> = pools(&BrokerConfig::new()).iter().map(|pool| pool.name).collect();
        let families = ["send", "pull", "reply", "query", "heartbeat", "client", "consumer"];
        assert_eq!(names[..7], families);
        assert_eq!(names[7..], ["endTransaction", "admin", "cold"]);
        assert_eq!(Pool::Cold.index(), 9);
    }
}
