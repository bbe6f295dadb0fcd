//! Connections that do nothing, and pulls that wait: what each costs the broker.

use std::time::Duration;

use super::control;
use super::settings::Settings;
use super::usage::Usage;
use crate::base::Result;

/// The connections are closed by so many at a time, with a pause in between: 9,700 in one go are
/// 85 ms of the kernel's work, which other clients on this processor wait for.
const CLOSED_AT_A_TIME: usize = 2;
const CLOSING_PAUSE: Duration = Duration::from_micros(50);

/// What was found.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Connections that were open, or pulls that waited.
    pub count: usize,
    /// Resident memory of the broker before and with them, in bytes.
    pub before: u64,
    pub with: u64,
}

impl Idle {
    /// Memory that one of them costs, in bytes; the broker's may also have shrunk.
    pub fn bytes_each(&self) -> f64 {
        (self.with as f64 - self.before as f64) / self.count as f64
    }
}

/// Opens the connections, uses each of them once, and holds them for the time of the run. The
/// broker's memory is looked at after one connection was used, so that what it sets up once is not
/// counted.
pub fn hold(settings: &Settings) -> Result<Idle> {
    drop(control::used_connection(settings)?);
    let before = Usage::of(settings.pid)?.resident;
    let mut connections = Vec::with_capacity(settings.connections);
    for _ in 0..settings.connections {
        connections.push(control::used_connection(settings)?);
    }
    std::thread::sleep(Duration::from_secs_f64(settings.seconds));
    let with = Usage::of(settings.pid)?.resident;
    let count = connections.len();
    while !connections.is_empty() {
        connections.truncate(connections.len().saturating_sub(CLOSED_AT_A_TIME));
        std::thread::sleep(CLOSING_PAUSE);
    }
    Ok(Idle { count, before, with })
}
