//! Lookups: the route of a topic, and the whole cluster.

use std::sync::Arc;

use crate::base::{Error, Result};
use crate::dispatch::Outcome;
use crate::net::Request;
use crate::protocol::code::response;
use crate::protocol::headers::namesrv::GetRouteInfo;

use super::State;
use super::kv::ORDER_TOPIC_CONFIG;

/// GET_ROUTEINFO_BY_TOPIC: in the JSON form the asking client can read.
pub fn route_by_topic(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let command = &request.command;
    let header = GetRouteInfo::decode(command)?;
    // A request without a topic asks for an unknown one.
    let topic = header.topic.unwrap_or("null");
    let route = state.routes().route(topic);
    let Some(mut route) = route else { return Err(no_route(topic)) };
    if state.config.get().order_message_enable {
        route.order_topic_conf = state.kv.get(ORDER_TOPIC_CONFIG, topic);
    }
    let standard_only = header.accept_standard_json_only.unwrap_or(false);
    Outcome::body(request, route.to_vec_for(command, standard_only))
}

fn no_route(topic: &str) -> Error {
    let remark = format!(
        "No topic route info in name server for the topic: {topic}\n\
         See http://rocketmq.apache.org/docs/faq/ for further details."
    );
    Error::refused(response::TOPIC_NOT_EXIST, remark)
}

/// GET_BROKER_CLUSTER_INFO: always in the legacy form, as Java answers it.
pub fn cluster_info(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let info = state.routes().cluster_info();
    Outcome::body(request, info.to_vec())
}
