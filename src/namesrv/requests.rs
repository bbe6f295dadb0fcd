//! THE TABLE: every request the NameServer serves, its pool and its handler.

use std::sync::Arc;

use crate::base::{Result, limits};
use crate::config::ServerConfig;
use crate::dispatch::{Dispatcher, Guard, Handler, PoolId, PoolSpec, Ports, Row};
use crate::protocol::code::request::*;

use super::{State, config, kv_requests, register, route, topics};

#[derive(Clone, Copy)]
pub(super) enum Pool {
    Default,
    /// Changes of the KV configuration, each written to the disk before it is answered. They come
    /// one after the other anyway; here they keep nobody else waiting.
    KvChange,
}

impl PoolId for Pool {
    fn index(self) -> usize {
        self as usize
    }
}

fn row(code: i32, handler: Handler<State>) -> Row<State, Pool> {
    let pool = match code {
        PUT_KV_CONFIG | DELETE_KV_CONFIG => Pool::KvChange,
        _ => Pool::Default,
    };
    Row { code, pool, handler, ports: Ports::Both, guard: Guard::None }
}

fn rows() -> Vec<Row<State, Pool>> {
    vec![
        row(PUT_KV_CONFIG, kv_requests::put),
        row(GET_KV_CONFIG, kv_requests::get),
        row(DELETE_KV_CONFIG, kv_requests::delete),
        row(GET_KVLIST_BY_NAMESPACE, kv_requests::list),
        row(REGISTER_BROKER, register::register_broker),
        row(UNREGISTER_BROKER, register::unregister_broker),
        row(QUERY_DATA_VERSION, register::query_data_version),
        row(GET_ROUTEINFO_BY_TOPIC, route::route_by_topic),
        row(GET_BROKER_CLUSTER_INFO, route::cluster_info),
        row(GET_ALL_TOPIC_LIST_FROM_NAMESERVER, topics::all),
        row(GET_TOPICS_BY_CLUSTER, topics::of_cluster),
        row(GET_SYSTEM_TOPIC_LIST_FROM_NS, topics::system),
        row(GET_UNIT_TOPIC_LIST, topics::unit),
        row(GET_HAS_UNIT_SUB_TOPIC_LIST, topics::unit_sub),
        row(GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, topics::unit_sub_only),
        row(DELETE_TOPIC_IN_NAMESRV, topics::delete),
        row(WIPE_WRITE_PERM_OF_BROKER, topics::wipe_write_perm),
        row(ADD_WRITE_PERM_OF_BROKER, topics::add_write_perm),
        row(UPDATE_NAMESRV_CONFIG, config::update),
        row(GET_NAMESRV_CONFIG, config::get),
    ]
}

/// The codes of the table.
pub fn served() -> impl Iterator<Item = i32> {
    rows().into_iter().map(|row| row.code)
}

pub(super) fn dispatcher(
    state: Arc<State>,
    config: &ServerConfig,
) -> Result<Arc<Dispatcher<State, Pool>>> {
    let pool = |name, threads: i32| PoolSpec {
        name,
        threads: threads.max(1) as usize,
        helped: false,
        capacity: limits::NAMESRV_REQUESTS_MAX,
        wait_limit: None,
    };
    let pools = vec![pool("namesrv", config.server_worker_threads), pool("kv-change", 1)];
    Dispatcher::new(state, rows(), pools, |_, _, _| None, |state, conn| state.closed(conn))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn twenty_codes_each_once() {
        let codes: HashSet<i32> = served().collect();
        assert_eq!((codes.len(), served().count()), (20, 20));
    }
}
