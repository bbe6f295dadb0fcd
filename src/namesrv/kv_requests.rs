//! The four requests on the KV configuration.

use std::sync::Arc;

use crate::base::{Error, Result};
use crate::dispatch::Outcome;
use crate::net::Request;
use crate::protocol::body::cluster::KvTable;
use crate::protocol::code::response;
use crate::protocol::headers::namesrv::{GetKvConfigReply, KvKey, KvNamespace, PutKvConfig};

use super::State;

/// PUT_KV_CONFIG: answered when the value is on disk.
pub fn put(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let command = &request.command;
    if command.field("namespace").is_none() || command.field("key").is_none() {
        return Err(Error::refused(response::SYSTEM_ERROR, "namespace or key is null"));
    }
    let header = PutKvConfig::decode(command)?;
    state.kv.put(header.namespace, header.key, header.value)?;
    log::info!(
        target: "namesrv",
        "KV {} {} = {} by {}",
        header.namespace, header.key, header.value, request.conn.peer()
    );
    Ok(Outcome::Reply(command.reply(response::SUCCESS)))
}

/// GET_KV_CONFIG.
pub fn get(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let header = KvKey::decode(&request.command)?;
    let Some(value) = state.kv.get(header.namespace, header.key) else {
        let remark = format!("No config item, Namespace: {} Key: {}", header.namespace, header.key);
        return Err(Error::refused(response::QUERY_NOT_FOUND, remark));
    };
    let mut reply = request.command.reply(response::SUCCESS);
    GetKvConfigReply { value: Some(&value) }.encode(&mut reply);
    Ok(Outcome::Reply(reply))
}

/// DELETE_KV_CONFIG: an absent key is fine.
pub fn delete(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let header = KvKey::decode(&request.command)?;
    state.kv.delete(header.namespace, header.key)?;
    log::info!(
        target: "namesrv",
        "KV {} {} deleted by {}",
        header.namespace, header.key, request.conn.peer()
    );
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// GET_KVLIST_BY_NAMESPACE.
pub fn list(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let header = KvNamespace::decode(&request.command)?;
    let Some(table) = state.kv.namespace(header.namespace) else {
        let remark = format!("No config item, Namespace: {}", header.namespace);
        return Err(Error::refused(response::QUERY_NOT_FOUND, remark));
    };
    Outcome::body(request, KvTable { table }.to_vec())
}
