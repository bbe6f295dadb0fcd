//! Talking to one of several name servers: the same one until it fails, then the next.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::base::{Error, Result};
use crate::net::Client;
use crate::protocol::Command;

/// The client error for a missing name server address, RocketMQ's own number.
pub const NO_NAME_SERVER: i32 = 10004;

/// The addresses and the one in use.
pub(crate) struct NameServers {
    addresses: Vec<String>,
    chosen: AtomicUsize,
}

impl NameServers {
    /// From `host:port;host:port`, beginning at the entry that `start` picks.
    pub fn new(list: &str, start: usize) -> NameServers {
        let addresses = list.split(';').map(str::trim).filter(|address| !address.is_empty());
        NameServers {
            addresses: addresses.map(str::to_owned).collect(),
            chosen: AtomicUsize::new(start),
        }
    }

    /// Every address.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Asks the chosen one, and when it cannot be reached or is silent the next, each once. The
    /// error of the last one when all fail.
    pub fn call(&self, net: &Client, request: &Command, timeout: Duration) -> Result<Command> {
        let mut last = Error::refused(NO_NAME_SERVER, "No name server address");
        for _ in 0..self.addresses.len() {
            let chosen = self.chosen.load(Ordering::Relaxed);
            let address = &self.addresses[chosen % self.addresses.len()];
            match net.call(address, request.clone(), timeout) {
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    log::debug!(target: "client", "name server {address}: {error}");
                    last = error;
                }
            }
            // Only who failed with this one moves on: another thread may have done so already.
            let next = chosen.wrapping_add(1);
            let _ =
                self.chosen.compare_exchange(chosen, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_leniently() {
        let list = NameServers::new(" a:1; b:2 ;;", 7);
        assert_eq!(list.addresses(), ["a:1", "b:2"]);
        assert!(NameServers::new("", 0).addresses().is_empty());
    }
}
