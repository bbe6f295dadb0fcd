//! Rules between keys, applied once after file and command line, before a daemon starts.

use std::net::{IpAddr, ToSocketAddrs};

use super::{BrokerConfig, BrokerRole};
use crate::base::{Error, Result};
use crate::sys::{host, net};

impl BrokerConfig {
    /// Applies RocketMQ's rules: a master has id 0, a slave another, the HA port follows the main
    /// port. Host names of brokerIP1 and brokerIP2 are resolved. The error is RocketMQ's text, or
    /// says what is not built yet and must not be taken for granted.
    pub fn settle(&mut self) -> Result<()> {
        if let Some(list) = &self.namesrv_addr {
            check_namesrv_addr(list)?;
        }
        match self.store.broker_role {
            BrokerRole::Slave if self.broker_id <= 0 => {
                return Err(Error::Config("Slave's brokerId must be > 0".to_string()));
            }
            BrokerRole::Slave => (),
            BrokerRole::AsyncMaster | BrokerRole::SyncMaster => self.broker_id = 0,
        }
        self.refuse_what_is_not_built()?;
        self.store.ha_listen_port = match self.server.listen_port {
            0 => 0,
            port => port + 1,
        };
        self.broker_ip1 = resolved("brokerIP1", &self.broker_ip1)?;
        self.broker_ip2 = resolved("brokerIP2", &self.broker_ip2)?;
        Ok(())
    }

    /// Switches that someone's data or safety would rest on.
    fn refuse_what_is_not_built(&self) -> Result<()> {
        let refused = [
            (self.acl_enable, "aclEnable=true: access control is not built yet"),
            (self.store.enable_d_leger_commit_log, "enableDLegerCommitLog=true: not built yet"),
            (
                self.store.broker_role == BrokerRole::Slave,
                "brokerRole=SLAVE: replication is not built yet",
            ),
        ];
        match refused.iter().find(|(set, _)| *set) {
            Some((_, text)) => Err(Error::Config(text.to_string())),
            None => Ok(()),
        }
    }

    /// Sentences about the address that clients will be told: what it is and why, and what may be
    /// wrong with it (`true`: a warning).
    pub fn address_notes(&self) -> Vec<(bool, String)> {
        let default = host::advertised();
        let why = if default.address == self.broker_ip1 {
            default.reason
        } else {
            "brokerIP1 says so".to_string()
        };
        let address = format!("{}:{}", self.broker_ip1, self.server.listen_port);
        let mut notes = vec![(false, format!("The broker advertises {address}: {why}"))];
        if let Some(problem) = address_problem(&self.broker_ip1) {
            notes.push((true, format!("brokerIP1 {}: {problem}", self.broker_ip1)));
        }
        notes
    }
}

/// The `;`-separated list of NameServers: each `host:port`.
fn check_namesrv_addr(list: &str) -> Result<()> {
    let is_good = |address: &str| {
        address.trim().rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    if list.trim_end_matches(';').split(';').all(is_good) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "The Name Server Address[{list}] illegal, please set it as follows, \
         \"127.0.0.1:9876;192.168.0.1:9876\""
    )))
}

/// An address stays, a host name becomes its first IPv4 address, or else its first address. IPv6
/// stands in brackets.
fn resolved(key: &str, name: &str) -> Result<String> {
    let bare = name.trim().trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(name.trim().to_string());
    }
    let bad = |why: String| Error::Config(format!("{key}: {name:?} is no address: {why}"));
    let found: Vec<IpAddr> = match (bare, 0).to_socket_addrs() {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(e) => return Err(bad(e.to_string())),
    };
    match found.iter().find(|ip| ip.is_ipv4()).or(found.first()) {
        Some(IpAddr::V4(v4)) => Ok(v4.to_string()),
        Some(IpAddr::V6(v6)) => Ok(format!("[{v6}]")),
        None => Err(bad("the name has none".to_string())),
    }
}

/// Why clients may not reach an address.
fn address_problem(address: &str) -> Option<String> {
    let ip: IpAddr = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    if ip.is_loopback() {
        return Some("loopback, clients on other machines cannot reach it".to_string());
    }
    if ip.is_unspecified() {
        return Some("not an address that a client can connect to".to_string());
    }
    let interfaces = net::interfaces().unwrap_or_default();
    let bridge = interfaces.iter().find(|i| i.address == ip && host::is_bridge(&i.name));
    if let Some(bridge) = bridge {
        return Some(format!("address of the bridge {}, only containers reach it", bridge.name));
    }
    matches!(ip, IpAddr::V4(v4) if v4.octets()[..2] == [172, 17]).then(|| {
        "usually a container network; clients outside need the address of the host".to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn broker() -> BrokerConfig {
        BrokerConfig::for_test(Path::new("/nonexistent"))
    }

    fn settled(
        change: impl FnOnce(&mut BrokerConfig),
    ) -> std::result::Result<BrokerConfig, String> {
        let mut config = broker();
        change(&mut config);
        config.settle().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn ids_follow_roles_and_ports_follow_each_other() {
        let config = settled(|c| {
            c.broker_id = 7;
            c.server.listen_port = 20911;
            c.store.ha_listen_port = 5;
        });
        let config = config.unwrap();
        assert_eq!((config.broker_id, config.store.ha_listen_port), (0, 20912));
        let slave = settled(|c| c.store.broker_role = BrokerRole::Slave);
        assert_eq!(slave.unwrap_err(), "Slave's brokerId must be > 0");
        let open = settled(|c| c.acl_enable = true);
        assert_eq!(open.unwrap_err(), "aclEnable=true: access control is not built yet");
    }

    #[test]
    fn name_servers_are_host_and_port() {
        for good in ["a:1", "a:1;b:2;", "[::1]:9876"] {
            assert!(check_namesrv_addr(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "a:", ":1", "a:1;b", "a:0", "a:99999", ";"] {
            let text = check_namesrv_addr(bad).unwrap_err().to_string();
            let start = format!("The Name Server Address[{bad}] illegal, please set");
            assert!(text.starts_with(&start), "{text}");
        }
    }

    #[test]
    fn addresses_may_be_names() {
        assert_eq!(settled(|c| c.broker_ip1 = "localhost".into()).unwrap().broker_ip1, "127.0.0.1");
        assert_eq!(settled(|c| c.broker_ip2 = "[::1]".into()).unwrap().broker_ip2, "[::1]");
        let text = settled(|c| c.broker_ip2 = "no such.invalid".into()).unwrap_err();
        assert!(text.starts_with("brokerIP2: \"no such.invalid\" is no address: "), "{text}");
    }

    #[test]
    fn doubtful_addresses_are_told() {
        let notes = broker().address_notes();
        assert!(notes[0].1.starts_with("The broker advertises 127.0.0.1:0: "), "{notes:?}");
        assert!(notes[1].0 && notes[1].1.contains("loopback"), "{notes:?}");
        assert_eq!(address_problem("10.1.2.3"), None);
        assert!(address_problem("172.17.0.2").unwrap().contains("container"));
    }
}
