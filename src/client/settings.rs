//! What every client is given: where the name servers are, how long to wait, how often to refresh.

use std::time::Duration;

/// Settings common to producers, consumers and admin clients. `Settings::default()` is RocketMQ's.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port;host:port`. By default the environment variable `NAMESRV_ADDR`.
    pub namesrv: String,
    /// Last part of the client id; by default unique to the process and the client.
    pub instance_name: Option<String>,
    /// For one request to a name server, a heartbeat and other small ones.
    pub timeout: Duration,
    /// Between two refreshes of the routes.
    pub poll_period: Duration,
    /// Between two heartbeats.
    pub heartbeat_period: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            namesrv: std::env::var("NAMESRV_ADDR").unwrap_or_default(),
            instance_name: None,
            timeout: Duration::from_secs(3),
            poll_period: Duration::from_secs(30),
            heartbeat_period: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// The defaults with these name servers, `host:port;host:port`.
    pub fn namesrv(addresses: impl Into<String>) -> Settings {
        Settings { namesrv: addresses.into(), ..Settings::default() }
    }
}
