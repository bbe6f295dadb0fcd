//! What this machine is: its name, processors and memory.

use std::fs;

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
