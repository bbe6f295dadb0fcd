//! Calls from the broker to its clients.

use std::sync::Arc;

use super::clients::Clients;
use crate::net::Conn;
use crate::protocol::Command;
use crate::protocol::code::request;
use crate::protocol::command::FLAG_ONEWAY;
use crate::protocol::headers::client::NotifyConsumerIdsChanged;

/// Tells every client of a group, the one that caused it too, that members or topics changed.
pub fn consumer_ids_changed(clients: &Clients<Arc<Conn>>, group: &str) {
    for conn in clients.connections(group) {
        let mut command = Command::request(request::NOTIFY_CONSUMER_IDS_CHANGED);
        command.flag = FLAG_ONEWAY;
        NotifyConsumerIdsChanged { consumer_group: group }.encode(&mut command);
        conn.send(command);
    }
}
