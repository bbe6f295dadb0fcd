//! Message ids in upper-case hex: the broker's (host and offset) and the client's (unique key).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The offset message id: address (4 or 16 bytes), port i32, CommitLog offset i64; 32 or 56 digits.
pub fn offset_id(host: SocketAddr, offset: i64) -> String {
    let mut id = String::with_capacity(56);
    push_offset_id(&mut id, host, offset);
    id
}

/// Appends an offset message id; those of a batch are joined with commas.
pub fn push_offset_id(out: &mut String, host: SocketAddr, offset: i64) {
    let mut bytes = [0; 28];
    let ip = match host.ip().to_canonical() {
        IpAddr::V4(ip) => put_at(&mut bytes, 0, ip.octets()),
        IpAddr::V6(ip) => put_at(&mut bytes, 0, ip.octets()),
    };
    let port = put_at(&mut bytes, ip, i32::from(host.port()).to_be_bytes());
    let end = put_at(&mut bytes, port, offset.to_be_bytes());
    push_hex(out, &bytes[..end]);
}

/// Takes an offset message id apart; `None` when it is none.
pub fn decode_offset_id(id: &str) -> Option<(SocketAddr, i64)> {
    let mut bytes = [0; 28];
    let bytes = from_hex(id, &mut bytes)?;
    let (ip, rest) = split_ip(bytes, 12)?;
    let port = u16::try_from(u32::from_be_bytes(rest[..4].try_into().ok()?)).ok()?;
    let offset = i64::from_be_bytes(rest[4..].try_into().ok()?);
    Some((SocketAddr::new(ip, port), offset))
}

/// What a client's unique key consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueKey {
    /// Address of the client.
    pub ip: IpAddr,
    /// Low 16 bits of its process id.
    pub pid: u16,
    /// A number of the process; Java takes a class loader's hash.
    pub process: u32,
    /// ms since the current month began in the client's zone.
    pub month_ms: u32,
    /// Counts messages, wrapping.
    pub counter: u16,
}

impl UniqueKey {
    /// 32 or 56 digits.
    pub fn encode(&self) -> String {
        let mut key = String::with_capacity(56);
        push_ip(&mut key, self.ip);
        push_hex(&mut key, &self.pid.to_be_bytes());
        push_hex(&mut key, &self.process.to_be_bytes());
        push_hex(&mut key, &self.month_ms.to_be_bytes());
        push_hex(&mut key, &self.counter.to_be_bytes());
        key
    }

    /// `None` when the text is no unique key.
    pub fn decode(key: &str) -> Option<UniqueKey> {
        let mut bytes = [0; 28];
        let bytes = from_hex(key, &mut bytes)?;
        let (ip, rest) = split_ip(bytes, 12)?;
        Some(UniqueKey {
            ip,
            pid: u16::from_be_bytes(rest[..2].try_into().ok()?),
            process: u32::from_be_bytes(rest[2..6].try_into().ok()?),
            month_ms: u32::from_be_bytes(rest[6..10].try_into().ok()?),
            counter: u16::from_be_bytes(rest[10..].try_into().ok()?),
        })
    }
}

/// Makes the unique keys of one process.
pub struct UniqueKeys {
    ip: IpAddr,
    pid: u16,
    process: u32,
    counter: AtomicU16,
}

impl UniqueKeys {
    /// `process` is any number that tells this process from an earlier one with the same pid.
    pub fn new(ip: IpAddr, pid: u32, process: u32) -> UniqueKeys {
        UniqueKeys { ip, pid: pid as u16, process, counter: AtomicU16::new(0) }
    }

    /// The next key; both times in ms, `month_start_ms` of the local month that `now_ms` is in.
    pub fn create(&self, now_ms: i64, month_start_ms: i64) -> String {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let month_ms = now_ms.wrapping_sub(month_start_ms) as u32;
        UniqueKey { ip: self.ip, pid: self.pid, process: self.process, month_ms, counter }.encode()
    }
}

fn push_ip(out: &mut String, ip: IpAddr) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => push_hex(out, &ip.octets()),
        IpAddr::V6(ip) => push_hex(out, &ip.octets()),
    }
}

/// Puts `part` at a position; returns where it ends.
fn put_at<const N: usize>(bytes: &mut [u8; 28], at: usize, part: [u8; N]) -> usize {
    bytes[at..at + N].copy_from_slice(&part);
    at + N
}

/// Appends the digits of at most 28 bytes.
fn push_hex(out: &mut String, bytes: &[u8]) {
    let mut digits = [0; 56];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out.push_str(std::str::from_utf8(&digits[..2 * bytes.len()]).unwrap_or_default());
}

/// The bytes of at most 56 hex digits.
fn from_hex<'a>(text: &str, bytes: &'a mut [u8; 28]) -> Option<&'a [u8]> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = (pair[0] as char).to_digit(16)?;
        let low = (pair[1] as char).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(&bytes[..digits.len() / 2])
}

/// The address before the last `rest` bytes, and those.
fn split_ip(bytes: &[u8], rest: usize) -> Option<(IpAddr, &[u8])> {
    let (address, rest) = bytes.split_at_checked(bytes.len().checked_sub(rest)?)?;
    let ip = match address.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?)),
        _ => return None,
    };
    Some((ip, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_ids_of_both_families() {
        let host = "127.0.0.1:10911".parse().unwrap();
        assert_eq!(offset_id(host, 5), "7F00000100002A9F0000000000000005");
        assert_eq!(decode_offset_id("7F00000100002A9F0000000000000005"), Some((host, 5)));
        let host = "[fd00::2]:10911".parse().unwrap();
        let id = offset_id(host, 1 << 40);
        assert_eq!(id.len(), 56);
        assert_eq!(decode_offset_id(&id.to_lowercase()), Some((host, 1 << 40)));
    }

    #[test]
    fn what_is_no_id_is_none() {
        for text in ["", "7F", "7F00000100002A9F00000000000000", "主题主题主题主题主题主题12"]
        {
            assert_eq!(decode_offset_id(text), None);
        }
        assert_eq!(decode_offset_id(&"G".repeat(32)), None);
        assert_eq!(decode_offset_id("7F000001FFFFFFFF0000000000000005"), None);
        assert_eq!(decode_offset_id(&"A".repeat(58)), None);
    }

    #[test]
    fn unique_keys_are_java_s() {
        let text = "FD00000000000000000000000000000276855FFD2B2766BB50F30000";
        let key = UniqueKey::decode(text).unwrap();
        assert_eq!(key.ip, "fd00::2".parse::<IpAddr>().unwrap());
        assert_eq!((key.pid, key.process), (0x7685, 0x5FFD_2B27));
        assert_eq!((key.month_ms, key.counter), (0x66BB_50F3, 0));
        assert_eq!(key.encode(), text);
        let keys = UniqueKeys::new(Ipv4Addr::LOCALHOST.into(), 0x12345, 7);
        assert_eq!(keys.create(1010, 1000), "7F0000012345000000070000000A0000");
        assert_eq!(keys.create(1010, 1000), "7F0000012345000000070000000A0001");
    }
}
