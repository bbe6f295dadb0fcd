//! The configuration while running: read and changed by mqadmin.

use std::sync::Arc;

use crate::base::Result;
use crate::config;
use crate::dispatch::Outcome;
use crate::net::Request;
use crate::protocol::code::response;

use super::State;

/// UPDATE_NAMESRV_CONFIG: all keys or none; those that move a path or that the operator closed are
/// refused.
pub fn update(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    let command = &request.command;
    if !command.body.is_empty() {
        let text = latin1(&command.body);
        for change in config::update(&state.config, &text)? {
            let when = if change.at_once { "at once" } else { "from the next start" };
            log::info!(
                target: "namesrv",
                "{} = {} {when}, set by {}",
                change.key, change.value, request.conn.peer()
            );
        }
    }
    Ok(Outcome::Reply(command.reply(response::SUCCESS)))
}

/// A body that is not UTF-8 is read as Java reads every one.
fn latin1(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        Ok(text) => text.to_owned(),
        Err(_) => body.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// GET_NAMESRV_CONFIG: a `key=value` line for each item.
pub fn get(state: &Arc<State>, request: &Request) -> Result<Outcome> {
    Outcome::body(request, config::dump(&*state.config.get()).into_bytes())
}
