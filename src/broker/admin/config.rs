//! The configuration: UPDATE_BROKER_CONFIG (25), GET_BROKER_CONFIG (26).

use std::sync::Arc;

use crate::base::{Error, Result, json};
use crate::broker::Broker;
use crate::config;
use crate::dispatch::Outcome;
use crate::net::Request;
use crate::protocol::code::response;
use crate::protocol::headers::admin::GetBrokerConfigReply;

/// Changes keys at run time, all or none, and writes them to the configuration file.
pub fn update(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let body = &request.command.body;
    let text = std::str::from_utf8(body)
        .map_err(|_| Error::refused(response::SYSTEM_ERROR, "string2Properties error"))?;
    let changes = config::update(&broker.config, text)?;
    if !changes.is_empty() {
        broker.config_changed();
    }
    let changed = |key: &str| changes.iter().any(|change| change.key == key);
    if changed("brokerPermission") {
        broker.topics.bump_version();
        broker.register.announce_all();
    }
    if changed("namesrvAddr") {
        broker.register.follow()?;
        broker.register.announce_all();
    }
    Ok(Outcome::Reply(request.command.reply(response::SUCCESS)))
}

/// `key=value` lines of all keys, unknown ones of the file too.
pub fn get(broker: &Arc<Broker>, request: &Request) -> Result<Outcome> {
    let mut outcome = Outcome::body(request, config::dump(&*broker.config.get()).into_bytes())?;
    if let Outcome::Reply(reply) = &mut outcome {
        let version = json::to_string(&broker.config_version());
        GetBrokerConfigReply { version: &version }.encode(reply);
    }
    Ok(outcome)
}
