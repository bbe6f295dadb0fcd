//! What brokers ask of a client.

use std::sync::Arc;

use crate::base::thread::Stop;
use crate::net::{Conn, Request, Service, Taken};
use crate::protocol::code::{request, response};

/// A client that serves nothing: every request is answered as not supported.
pub(crate) struct Refuse;

/// A consumer: a changed group membership has it share the queues anew.
pub(crate) struct Notify {
    pub rebalance: Arc<Stop>,
}

impl Service for Refuse {
    fn requests(&self, batch: Vec<Request>, _: bool) -> Taken {
        batch.into_iter().for_each(refuse);
        Taken::default()
    }

    fn connected(&self, _: &Arc<Conn>) {}

    fn closed(&self, _: &Arc<Conn>) {}
}

impl Service for Notify {
    fn requests(&self, batch: Vec<Request>, _: bool) -> Taken {
        for request in batch {
            match request.command.code {
                request::NOTIFY_CONSUMER_IDS_CHANGED => {
                    self.rebalance.wake();
                    request.responder().silent();
                }
                _ => refuse(request),
            }
        }
        Taken::default()
    }

    fn connected(&self, _: &Arc<Conn>) {}

    fn closed(&self, _: &Arc<Conn>) {}
}

fn refuse(request: Request) {
    let code = request.command.code;
    let remark = format!(" request type {code} not supported");
    let reply = request.command.refusal(response::REQUEST_CODE_NOT_SUPPORTED, remark);
    request.responder().send(reply);
}
