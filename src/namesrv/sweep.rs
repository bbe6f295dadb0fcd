//! The thread that removes brokers: those of closed connections at once, silent ones after 120 s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::Result;
use crate::base::clock;
use crate::base::thread::{self, Handle, Stop};

use super::State;

/// A broker that registered longer ago than this is gone.
const SILENCE_MS: i64 = 120_000;
/// From start to the first look for silent brokers.
const FIRST: Duration = Duration::from_secs(5);
/// Between looks: with `SILENCE_MS`, a silent broker is gone after 120 to 130 s.
const PERIOD: Duration = Duration::from_secs(10);

/// Starts the thread, which ends with `stop`.
pub fn start(state: Arc<State>, stop: Arc<Stop>) -> Result<Handle> {
    thread::spawn("sweep", move || {
        let mut next = Instant::now() + FIRST;
        while !stop.wait(next.saturating_duration_since(Instant::now())) {
            remove_closed(&state);
            if Instant::now() >= next {
                expire(&state, clock::now_ms());
                next = Instant::now() + PERIOD;
            }
        }
    })
}

fn remove_closed(state: &State) {
    let closed = std::mem::take(&mut state.registrars().closed);
    for conn in closed {
        let gone = state.routes_mut().remove_conn(conn);
        log::info!(target: "namesrv", "connection {conn} closed, brokers removed: {gone:?}");
    }
}

fn expire(state: &State, now_ms: i64) {
    let gone = state.routes_mut().expire(now_ms, SILENCE_MS);
    for (address, conn) in gone {
        log::warn!(target: "namesrv", "broker {address} silent for {SILENCE_MS} ms, removed");
        let conn = state.registrars().open.remove(&conn);
        if let Some(conn) = conn {
            conn.close();
        }
    }
}
