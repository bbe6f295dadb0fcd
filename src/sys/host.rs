//! What this machine is: its name, processors, memory and the address it tells others.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::net::{Interface, interfaces};

/// The host name, `None` when it has none or it is not text.
pub fn name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_string()).filter(|name| !name.is_empty() && name != "(none)")
}

/// Processors this process may use, at least 1 (`n` of RocketMQ's thread count formulas).
pub fn processors() -> i32 {
    std::thread::available_parallelism().map_or(1, |n| i32::try_from(n.get()).unwrap_or(i32::MAX))
}

/// Physical memory in bytes, 0 when unknown.
pub fn memory_bytes() -> u64 {
    super::process::kib_line("/proc/meminfo", "MemTotal:").unwrap_or(0) * 1024
}

/// Mappings that a process may have, `None` when unknown.
pub fn maps_max() -> Option<usize> {
    fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// An address for others to connect to, and why this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// IPv6 stands in brackets.
    pub address: String,
    /// Ends the sentence "the address is ... because it is ...".
    pub reason: String,
}

/// RocketMQ's choice among the addresses of this machine.
pub fn advertised() -> Advertised {
    choose(&interfaces().unwrap_or_default(), is_bridge)
}

/// Whether `name` is a bridge, as container engines make them.
pub fn is_bridge(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).join("bridge").is_dir()
}

/// The last IPv4 address that is neither loopback nor 192.168.*; else the first other IPv4 address;
/// else the last IPv6 address. Bridges and point-to-point links are passed over. (In RocketMQ first
/// and last are the other way round: Java lists addresses backwards.)
fn choose(all: &[Interface], is_bridge: impl Fn(&str) -> bool) -> Advertised {
    let usable =
        |i: &&Interface| !i.point_to_point && !i.address.is_loopback() && !is_bridge(&i.name);
    let (v4, v6): (Vec<_>, Vec<_>) = all.iter().filter(usable).partition(|i| i.address.is_ipv4());
    let is_private = |i: &Interface| i.address.to_string().starts_with("192.168");
    let chosen = |i: &Interface, why: &str| Advertised {
        address: match i.address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        },
        reason: format!("{why} (interface {})", i.name),
    };
    if let Some(last) = v4.iter().rfind(|i| !is_private(i)) {
        chosen(last, "the last IPv4 address that is neither loopback nor 192.168.*")
    } else if let Some(first) = v4.first() {
        chosen(first, "the first IPv4 address that is not loopback")
    } else if let Some(last) = v6.last() {
        chosen(last, "the last IPv6 address, there being no IPv4 address but loopback")
    } else {
        Advertised {
            address: "127.0.0.1".to_string(),
            reason: "loopback, this machine having no other address".to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(list: &[(&str, &str)]) -> String {
        let all: Vec<_> = list
            .iter()
            .map(|(name, address)| Interface {
                name: name.to_string(),
                address: address.parse().unwrap(),
                point_to_point: name.starts_with("tun"),
            })
            .collect();
        choose(&all, |name| name.starts_with("docker")).address
    }

    #[test]
    fn the_address_is_chosen_as_rocketmq_does() {
        let lo = ("lo", "127.0.0.1");
        let bridge = ("docker0", "172.17.0.1");
        assert_eq!(chosen(&[lo, bridge, ("eth0", "10.0.0.5")]), "10.0.0.5");
        assert_eq!(chosen(&[("a", "10.0.0.5"), ("b", "10.0.1.5"), bridge]), "10.0.1.5");
        assert_eq!(chosen(&[("e", "172.16.0.3"), ("w", "192.168.1.2")]), "172.16.0.3");
        assert_eq!(chosen(&[("w", "192.168.1.2"), ("e", "192.168.1.3")]), "192.168.1.2");
        assert_eq!(chosen(&[("tun0", "10.8.0.1"), ("e", "fe80::1")]), "[fe80::1]");
        assert_eq!(chosen(&[lo, bridge]), "127.0.0.1");
    }
}
