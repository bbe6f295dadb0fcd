//! Brokers: registration, its data version query, and leaving.

use std::sync::Arc;

use crate::base::{Error, Result, clock, limits};
use crate::dispatch::Outcome;
use crate::net::Request;
use crate::protocol::body::cluster::KvTable;
use crate::protocol::body::register::{RegisterBrokerBody, body_crc};
use crate::protocol::body::topic::DataVersion;
use crate::protocol::code::response;
use crate::protocol::headers::namesrv::{
    QueryDataVersion, QueryDataVersionReply, RegisterBroker, RegisterBrokerReply, UnregisterBroker,
};

use super::State;
use super::kv::ORDER_TOPIC_CONFIG;
use super::route_info::Registration;

/// REGISTER_BROKER: answers a slave its master, and everyone the order topics.
pub fn register_broker(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let command = &request.command;
    let header = RegisterBroker::decode(command)?;
    for (field, text) in [
        ("brokerName", header.broker_name),
        ("clusterName", header.cluster_name),
        ("brokerAddr", header.broker_addr),
        ("haServerAddr", header.ha_server_addr),
    ] {
        check_name(field, text)?;
    }
    if header.body_crc32 != 0 && header.body_crc32 != body_crc(&command.body) {
        return Err(Error::refused(response::SYSTEM_ERROR, "crc32 not match"));
    }
    let body = RegisterBrokerBody::decode(&command.body, command.version, header.compressed)?;
    check_body(&body)?;
    let table = body.topic_config_serialize_wrapper;
    let registration = Registration {
        cluster: header.cluster_name.to_owned(),
        broker_name: header.broker_name.to_owned(),
        broker_id: header.broker_id,
        address: header.broker_addr.to_owned(),
        ha_address: header.ha_server_addr.to_owned(),
        version: table.data_version,
        topics: table.topic_config_table,
        filter_servers: body.filter_server_list,
        conn: request.conn.id(),
    };
    log_news(state, &registration);
    let answer = state.routes_mut().register(clock::now_ms(), &registration)?;
    watch(state, request);
    let mut reply = command.reply(response::SUCCESS);
    let header = RegisterBrokerReply {
        ha_server_addr: answer.ha_address.as_deref(),
        master_addr: answer.master_address.as_deref(),
    };
    header.encode(&mut reply);
    if let Some(table) = state.kv.namespace(ORDER_TOPIC_CONFIG) {
        reply.body = KvTable { table }.to_vec();
    }
    Ok(Outcome::Reply(reply))
}

fn check_name(field: &str, text: &str) -> Result<()> {
    if text.is_empty() || text.len() > limits::NAMESRV_NAME_BYTES_MAX {
        let max = limits::NAMESRV_NAME_BYTES_MAX;
        let remark = format!("{field} has {} bytes: 1 to {max} are possible", text.len());
        return Err(Error::refused(response::SYSTEM_ERROR, remark));
    }
    Ok(())
}

fn check_body(body: &RegisterBrokerBody) -> Result<()> {
    for name in body.topic_config_serialize_wrapper.topic_config_table.keys() {
        check_name("a topic name", name)?;
    }
    let filters = &body.filter_server_list;
    let bytes: usize = filters.iter().map(String::len).sum();
    let (most, most_bytes) = (limits::FILTER_SERVERS_MAX, limits::FILTER_SERVERS_BYTES_MAX);
    if filters.len() > most || bytes > most_bytes {
        let remark = format!(
            "{} filter servers in {bytes} bytes: at most {most} in {most_bytes} are possible",
            filters.len()
        );
        return Err(Error::refused(response::SYSTEM_ERROR, remark));
    }
    Ok(())
}

fn log_news(state: &State, new: &Registration) {
    if state.routes().data_version(&new.address).is_none() {
        log::info!(
            target: "namesrv",
            "new broker {} of cluster {}: {} id {} HA {}",
            new.address, new.cluster, new.broker_name, new.broker_id, new.ha_address
        );
    }
}

/// Has the close of this connection remove its brokers, even when it closed before we came here.
fn watch(state: &State, request: &Request) {
    let conn = &request.conn;
    state.registrars().open.insert(conn.id(), Arc::clone(conn));
    if conn.is_closed() {
        state.closed(conn);
    }
}

/// UNREGISTER_BROKER: unknown names are fine.
pub fn unregister_broker(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let header = UnregisterBroker::decode(&request.command)?;
    let (name, id, address) = (&header.broker_name, header.broker_id, header.broker_addr);
    state.routes_mut().unregister(name, id, address);
    log::info!(target: "namesrv", "broker {address} unregistered: {name} id {id}");
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// QUERY_DATA_VERSION: whether what a broker would register is new; when not, a sign of life.
pub fn query_data_version(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let command = &request.command;
    let header = QueryDataVersion::decode(command)?;
    if command.body.is_empty() {
        return Err(Error::refused(response::SYSTEM_ERROR, "no DataVersion in the body"));
    }
    let asked = DataVersion::from_slice(&command.body)?;
    let mut routes = state.routes_mut();
    let known = routes.data_version(header.broker_addr).cloned();
    let changed = known.as_ref() != Some(&asked);
    if !changed {
        routes.touch(clock::now_ms(), header.broker_addr);
    }
    drop(routes);
    let mut reply = command.reply(response::SUCCESS);
    QueryDataVersionReply { changed }.encode(&mut reply);
    if let Some(known) = known {
        reply.body = known.to_vec();
    }
    Ok(Outcome::Reply(reply))
}
