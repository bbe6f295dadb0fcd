//! Topics: lists, deletion, and the write permission of a broker.

use std::sync::Arc;

use crate::base::Result;
use crate::dispatch::Outcome;
use crate::message::flags;
use crate::net::Request;
use crate::protocol::body::topic::TopicList;
use crate::protocol::code::response;
use crate::protocol::headers::namesrv::{
    AddWritePermReply, DeleteTopic, TopicsByCluster, WipeWritePermReply, WritePerm,
};

use super::State;
use super::route_info::UnitTopics;

/// GET_ALL_TOPIC_LIST_FROM_NAMESERVER.
pub fn all(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let topics = state.routes().topics();
    answer_list(request, topics, None)
}

/// GET_TOPICS_BY_CLUSTER: an unknown cluster has none.
pub fn of_cluster(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let header = TopicsByCluster::decode(&request.command)?;
    let topics = state.routes().topics_of_cluster(header.cluster);
    answer_list(request, topics, None)
}

/// GET_SYSTEM_TOPIC_LIST_FROM_NS: cluster and broker names; the caller asks the broker for the
/// rest.
pub fn system(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let (topics, broker) = state.routes().system_topics();
    answer_list(request, topics, broker)
}

/// GET_UNIT_TOPIC_LIST.
pub fn unit(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let topics = state.routes().topics_of_unit(UnitTopics::Unit);
    answer_list(request, topics, None)
}

/// GET_HAS_UNIT_SUB_TOPIC_LIST.
pub fn unit_sub(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let topics = state.routes().topics_of_unit(UnitTopics::UnitSub);
    answer_list(request, topics, None)
}

/// GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST.
pub fn unit_sub_only(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let topics = state.routes().topics_of_unit(UnitTopics::UnitSubOnly);
    answer_list(request, topics, None)
}

fn answer_list(
    request: &Request,
    topics: Vec<String>,
    broker_addr: Option<String>,
) -> Result<Outcome> {
    Outcome::body(request, TopicList { topic_list: topics, broker_addr }.to_vec())
}

/// DELETE_TOPIC_IN_NAMESRV: an unknown topic or cluster is fine.
pub fn delete(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let header = DeleteTopic::decode(&request.command)?;
    let cluster = header.cluster_name.filter(|name| !name.is_empty());
    state.routes_mut().delete_topic(header.topic, cluster);
    log::info!(
        target: "namesrv",
        "topic {} deleted in {} by {}",
        header.topic, cluster.unwrap_or("all clusters"), request.conn.peer()
    );
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// WIPE_WRITE_PERM_OF_BROKER: lasts until the broker registers a changed data version.
pub fn wipe_write_perm(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let broker = WritePerm::decode(&request.command)?.broker_name;
    let count = state.routes_mut().change_perm(broker, |perm| perm & !flags::PERM_WRITE);
    log::info!(target: "namesrv", "broker {broker}: no write to {count} topics");
    let mut reply = request.command.reply(response::SUCCESS);
    WipeWritePermReply { wipe_topic_count: count }.encode(&mut reply);
    Ok(Outcome::Reply(reply))
}

/// ADD_WRITE_PERM_OF_BROKER: read and write, whatever the permission was.
pub fn add_write_perm(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let broker = WritePerm::decode(&request.command)?.broker_name;
    let both = flags::PERM_READ | flags::PERM_WRITE;
    let count = state.routes_mut().change_perm(broker, |_| both);
    log::info!(target: "namesrv", "broker {broker}: read and write of {count} topics");
    let mut reply = request.command.reply(response::SUCCESS);
    AddWritePermReply { add_topic_count: count }.encode(&mut reply);
    Ok(Outcome::Reply(reply))
}
