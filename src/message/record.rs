//! The record of one message, as the CommitLog holds it and pull replies carry it.
//!
//! All numbers big-endian; H is 8 bytes for an IPv4 host, 20 for IPv6: address, then port as i32.
//!
//! | field | width | at | |
//! |---|---|---|---|
//! | total size | 4 | 0 | of the whole record |
//! | magic | 4 | 4 | |
//! | body CRC | 4 | 8 | CRC-32 of the body as stored, 31 bits |
//! | queue id | 4 | 12 | |
//! | flag | 4 | 16 | the application's |
//! | queue offset | 8 | 20 | given under the put lock |
//! | physical offset | 8 | 28 | position of this record in the CommitLog |
//! | sysFlag | 4 | 36 | says how wide the hosts are |
//! | born timestamp | 8 | 40 | |
//! | born host | H | 48 | |
//! | store timestamp | 8 | 48 + H | given under the put lock |
//! | store host | H | | |
//! | reconsume times | 4 | | |
//! | prepared transaction offset | 8 | | |
//! | body length, body | 4 + n | | |
//! | topic length, topic | 1 + n | | length 2 bytes wide in version 2 |
//! | properties length, properties | 2 + n | | |
//!
//! A file ends with a blank record: i32 bytes left in the file, i32 blank magic, anything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::bytes::text;
use crate::base::limits::{PROPERTIES_BYTES_MAX, RECORD_OVERHEAD_MAX, TOPIC_BYTES_MAX};
use crate::base::{Error, Result};
use crate::message::batch::Messages;
use crate::message::property::{NAME_VALUE_SEPARATOR, SEPARATOR_BYTE};
use crate::message::{Message, MessageRef, flags};

/// Magic of a message, version 1.
pub const MAGIC_V1: i32 = 0xDAA3_20A7_u32 as i32;
/// Magic of a message with a topic longer than 127 bytes (5.x). Read, never written here.
pub const MAGIC_V2: i32 = 0xDAA3_20AB_u32 as i32;
/// Magic of the filler at the end of a file.
pub const MAGIC_BLANK: i32 = 0xCBD4_3194_u32 as i32;
/// Bytes of a blank record that have a meaning.
pub const BLANK_BYTES: usize = 8;

const QUEUE_OFFSET: usize = 20;
const PHYSICAL_OFFSET: usize = 28;
const SYS_FLAG: usize = 36;
const BORN_HOST: usize = 48;
/// Bytes of a record around its body, topic, properties and the extra width of IPv6 hosts.
const FIXED_BYTES: usize = 91;
const HOST_V6_EXTRA: usize = 12;

/// Why a message cannot be stored; the store's statuses of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstorable {
    /// Topic, body or record too long, or a batch body that is none.
    MessageIllegal,
    /// More property bytes than their length field can say.
    PropertiesSizeExceeded,
}

/// Appends the record of `message` to `out`, both offsets zero (`patch`); returns its size.
///
/// `max_message_size` bounds the body. On `Err` nothing was appended. Allocates only to grow `out`.
pub fn encode(
    message: &MessageRef<'_>,
    max_message_size: usize,
    out: &mut Vec<u8>,
) -> std::result::Result<usize, Unstorable> {
    let hosts = Hosts::of(message);
    let parts = Parts::of(message, &hosts, max_message_size)?;
    parts.push(out);
    Ok(parts.size)
}

/// The same without the body, which `Encoded` takes as it is; returns where in `out` it belongs.
pub fn encode_around_body(
    message: &MessageRef<'_>,
    max_message_size: usize,
    out: &mut Vec<u8>,
) -> std::result::Result<usize, Unstorable> {
    let hosts = Hosts::of(message);
    let parts = Parts::of(message, &hosts, max_message_size)?;
    parts.push_front(out);
    let body_at = out.len();
    parts.push_back(out);
    Ok(body_at)
}

/// Appends the records of all messages of a batch, whose body is `message.body`; returns how many.
///
/// Each gets the batch's properties behind its own. On `Err` nothing was appended.
pub fn encode_batch(
    message: &MessageRef<'_>,
    max_message_size: usize,
    out: &mut Vec<u8>,
) -> std::result::Result<usize, Unstorable> {
    if message.body.len() > max_message_size || message.body.is_empty() {
        return Err(Unstorable::MessageIllegal);
    }
    let start = out.len();
    let hosts = Hosts::of(message);
    let mut count = 0;
    for inner in Messages::new(message.body) {
        let shared = message.properties.as_bytes();
        let parts = inner.map_err(|_| Unstorable::MessageIllegal).and_then(|inner| {
            let own = inner.properties;
            let joined = own.is_empty() || shared.is_empty() || own.ends_with(&[SEPARATOR_BYTE]);
            let between: &[u8] = if joined { b"" } else { &[SEPARATOR_BYTE] };
            let content = (inner.flag, inner.body, [own, between, shared]);
            Parts::new(message, &hosts, content, max_message_size)
        });
        match parts {
            Ok(parts) => parts.push(out),
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        }
        count += 1;
    }
    Ok(count)
}

/// What a record is made of.
struct Parts<'a> {
    message: &'a MessageRef<'a>,
    flag: i32,
    body: &'a [u8],
    /// The property string, in pieces.
    properties: [&'a [u8]; 3],
    /// Bytes of the record.
    size: usize,
    hosts: &'a Hosts,
}

impl<'a> Parts<'a> {
    fn of(
        message: &'a MessageRef<'a>,
        hosts: &'a Hosts,
        max_message_size: usize,
    ) -> std::result::Result<Parts<'a>, Unstorable> {
        // Java counts characters first and bytes later; the statuses differ.
        let properties = message.properties;
        if properties.len() > PROPERTIES_BYTES_MAX
            && properties.encode_utf16().count() > PROPERTIES_BYTES_MAX
        {
            return Err(Unstorable::MessageIllegal);
        }
        let content = (message.flag, message.body, [properties.as_bytes(), b"", b""]);
        Parts::new(message, hosts, content, max_message_size)
    }

    fn new(
        message: &'a MessageRef<'a>,
        hosts: &'a Hosts,
        (flag, body, properties): (i32, &'a [u8], [&'a [u8]; 3]),
        max_message_size: usize,
    ) -> std::result::Result<Parts<'a>, Unstorable> {
        if message.topic.len() > TOPIC_BYTES_MAX || body.len() > max_message_size {
            return Err(Unstorable::MessageIllegal);
        }
        let properties_len: usize = properties.iter().map(|part| part.len()).sum();
        if properties_len > PROPERTIES_BYTES_MAX {
            return Err(Unstorable::PropertiesSizeExceeded);
        }
        let size = FIXED_BYTES - 16 + hosts.born.len + hosts.store.len;
        let size = size + body.len() + message.topic.len() + properties_len;
        let most = max_message_size.saturating_add(RECORD_OVERHEAD_MAX).min(i32::MAX as usize);
        if size > most {
            return Err(Unstorable::MessageIllegal);
        }
        Ok(Parts { message, flag, body, properties, size, hosts })
    }

    fn push(&self, out: &mut Vec<u8>) {
        out.reserve(self.size);
        self.push_front(out);
        out.extend_from_slice(self.body);
        self.push_back(out);
    }

    /// All that stands before the body.
    fn push_front(&self, out: &mut Vec<u8>) {
        let (message, Hosts { born, store }) = (self.message, self.hosts);
        let mut sys_flag = message.sys_flag & !(flags::BORN_HOST_V6 | flags::STORE_HOST_V6);
        sys_flag |= if born.is_v6() { flags::BORN_HOST_V6 } else { 0 };
        sys_flag |= if store.is_v6() { flags::STORE_HOST_V6 } else { 0 };
        let mut fixed = [0; BORN_HOST];
        fixed[..4].copy_from_slice(&(self.size as i32).to_be_bytes());
        fixed[4..8].copy_from_slice(&MAGIC_V1.to_be_bytes());
        fixed[8..12].copy_from_slice(&body_crc(self.body).to_be_bytes());
        fixed[12..16].copy_from_slice(&message.queue_id.to_be_bytes());
        fixed[16..QUEUE_OFFSET].copy_from_slice(&self.flag.to_be_bytes());
        fixed[SYS_FLAG..40].copy_from_slice(&sys_flag.to_be_bytes());
        fixed[40..].copy_from_slice(&message.born_timestamp.to_be_bytes());
        out.extend_from_slice(&fixed);
        out.extend_from_slice(born.bytes());
        out.extend_from_slice(&message.store_timestamp.to_be_bytes());
        out.extend_from_slice(store.bytes());
        let mut fixed = [0; 16];
        fixed[..4].copy_from_slice(&message.reconsume_times.to_be_bytes());
        fixed[4..12].copy_from_slice(&message.prepared_transaction_offset.to_be_bytes());
        fixed[12..].copy_from_slice(&(self.body.len() as u32).to_be_bytes());
        out.extend_from_slice(&fixed);
    }

    /// All that stands behind the body.
    fn push_back(&self, out: &mut Vec<u8>) {
        let properties_len: usize = self.properties.iter().map(|part| part.len()).sum();
        out.push(self.message.topic.len() as u8);
        out.extend_from_slice(self.message.topic.as_bytes());
        out.extend_from_slice(&(properties_len as u16).to_be_bytes());
        for part in self.properties {
            out.extend_from_slice(part);
        }
    }
}

/// Encoded records that stand back to back, on their way into the log: but for the body of a single
/// one, which goes there straight from its request.
pub struct Encoded<'a> {
    pub bytes: &'a mut Vec<u8>,
    /// What belongs between `bytes[..body_at]` and the rest.
    pub body: &'a [u8],
    pub body_at: usize,
}

impl<'a> Encoded<'a> {
    /// Records with their bodies.
    pub fn whole(bytes: &'a mut Vec<u8>) -> Encoded<'a> {
        let body_at = bytes.len();
        Encoded { bytes, body: b"", body_at }
    }

    /// Bytes of all records.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.body.len()
    }

    /// The records, in pieces.
    pub fn pieces(&self) -> [&[u8]; 3] {
        let (front, back) = self.bytes.split_at(self.body_at);
        [front, self.body, back]
    }

    /// Adds a property to a single record without its body, of which `bytes` were so long as `bare`
    /// before, in place of what was added before. The property string must have room for it.
    pub fn add_property(&mut self, bare: usize, name: &str, value: &str) {
        let topic_len = usize::from(self.bytes[self.body_at]);
        let start = self.body_at + 1 + topic_len + 2;
        self.bytes.truncate(bare);
        if bare > start && !self.bytes.ends_with(&[SEPARATOR_BYTE]) {
            self.bytes.push(SEPARATOR_BYTE);
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(NAME_VALUE_SEPARATOR as u8);
        self.bytes.extend_from_slice(value.as_bytes());
        let properties = (self.bytes.len() - start) as u16;
        self.bytes[start - 2..start].copy_from_slice(&properties.to_be_bytes());
        let total = self.size() as i32;
        self.bytes[..4].copy_from_slice(&total.to_be_bytes());
    }
}

/// Fills in what is known only under the put lock; returns the size of the record.
///
/// `record` begins with one that `encode` wrote; panics when it does not.
pub fn patch(
    record: &mut [u8],
    queue_offset: i64,
    physical_offset: i64,
    store_timestamp: i64,
) -> usize {
    record[QUEUE_OFFSET..QUEUE_OFFSET + 8].copy_from_slice(&queue_offset.to_be_bytes());
    record[PHYSICAL_OFFSET..PHYSICAL_OFFSET + 8].copy_from_slice(&physical_offset.to_be_bytes());
    let at = BORN_HOST + host_len(i32_at(record, SYS_FLAG), flags::BORN_HOST_V6);
    record[at..at + 8].copy_from_slice(&store_timestamp.to_be_bytes());
    i32_at(record, 0) as usize
}

/// The bodyCRC field of a body.
pub fn body_crc(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7FFF_FFFF) as i32
}

/// The blank record that fills `left` bytes at the end of a file.
pub fn blank(left: i32) -> [u8; BLANK_BYTES] {
    let mut bytes = [0; BLANK_BYTES];
    bytes[..4].copy_from_slice(&left.to_be_bytes());
    bytes[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
    bytes
}

/// What stands at a position of the CommitLog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked<'a> {
    /// A good record.
    Record(RecordView<'a>),
    /// The filler at the end of a file; bytes left in the file as it says.
    Blank(i32),
    /// Nothing written, a broken record, or one that goes on behind the bytes given.
    Illegal,
    /// The parts are readable but do not add up to the total size, which is given.
    WrongSize(i32),
}

/// A record whose lengths have been checked; reading from it allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    bytes: &'a [u8],
    sys_flag: i32,
    body: (usize, usize),
    topic: &'a str,
    properties: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Looks at the record that `bytes` begins with; `check_crc` compares its body CRC.
    pub fn parse(bytes: &'a [u8], check_crc: bool) -> Checked<'a> {
        if bytes.len() < BLANK_BYTES {
            return Checked::Illegal;
        }
        let total = i32_at(bytes, 0);
        match i32_at(bytes, 4) {
            MAGIC_BLANK => Checked::Blank(total),
            MAGIC_V1 => RecordView::measure(bytes, total, 1, check_crc).unwrap_or(Checked::Illegal),
            MAGIC_V2 => RecordView::measure(bytes, total, 2, check_crc).unwrap_or(Checked::Illegal),
            _ => Checked::Illegal,
        }
    }

    /// The same, for a record that must be there.
    pub fn new(bytes: &'a [u8]) -> Option<RecordView<'a>> {
        match RecordView::parse(bytes, false) {
            Checked::Record(record) => Some(record),
            _ => None,
        }
    }

    fn measure(
        bytes: &'a [u8],
        total: i32,
        topic_width: usize,
        check_crc: bool,
    ) -> Option<Checked<'a>> {
        let sys_flag = i32::from_be_bytes(*bytes.get(SYS_FLAG..)?.first_chunk()?);
        let mut rest = Rest { bytes, at: body_at(sys_flag) };
        let body_len = rest.length::<4>()?;
        let body_start = rest.at;
        let body = rest.take(body_len)?;
        let topic_len = if topic_width == 1 { rest.length::<1>()? } else { rest.length::<2>()? };
        let topic = text(rest.take(topic_len)?).ok()?;
        let properties_len = rest.length::<2>()?;
        let properties = rest.take(properties_len)?;
        let end = rest.at;
        if check_crc && !body.is_empty() && body_crc(body) != i32_at(bytes, 8) {
            return None;
        }
        if usize::try_from(total) != Ok(end) {
            return Some(Checked::WrongSize(total));
        }
        let body = (body_start, body_start + body_len);
        let bytes = &bytes[..end];
        Some(Checked::Record(RecordView { bytes, sys_flag, body, topic, properties }))
    }

    /// Size of the whole record in bytes.
    pub fn total_size(&self) -> i32 {
        self.bytes.len() as i32
    }

    /// The record itself.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// CRC field.
    pub fn body_crc(&self) -> i32 {
        i32_at(self.bytes, 8)
    }

    /// Queue within the topic.
    pub fn queue_id(&self) -> i32 {
        i32_at(self.bytes, 12)
    }

    /// The application's own flag.
    pub fn flag(&self) -> i32 {
        i32_at(self.bytes, 16)
    }

    /// Position in its queue.
    pub fn queue_offset(&self) -> i64 {
        i64_at(self.bytes, QUEUE_OFFSET)
    }

    /// Position in the CommitLog, as the record says.
    pub fn physical_offset(&self) -> i64 {
        i64_at(self.bytes, PHYSICAL_OFFSET)
    }

    /// `flags`.
    pub fn sys_flag(&self) -> i32 {
        self.sys_flag
    }

    /// Client's clock, ms.
    pub fn born_timestamp(&self) -> i64 {
        i64_at(self.bytes, 40)
    }

    /// Where it came from.
    pub fn born_host(&self) -> SocketAddr {
        host_at(self.bytes, BORN_HOST, self.sys_flag & flags::BORN_HOST_V6 != 0)
    }

    /// Broker's clock, ms.
    pub fn store_timestamp(&self) -> i64 {
        i64_at(self.bytes, self.store_timestamp_at())
    }

    /// The broker that stored it.
    pub fn store_host(&self) -> SocketAddr {
        let at = self.store_timestamp_at() + 8;
        host_at(self.bytes, at, self.sys_flag & flags::STORE_HOST_V6 != 0)
    }

    /// How often it was consumed in vain.
    pub fn reconsume_times(&self) -> i32 {
        i32_at(self.bytes, body_at(self.sys_flag) - 12)
    }

    /// CommitLog offset of the half message, of a commit or rollback.
    pub fn prepared_transaction_offset(&self) -> i64 {
        i64_at(self.bytes, body_at(self.sys_flag) - 8)
    }

    /// Body as stored.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.body.0..self.body.1]
    }

    /// Topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Property string; a batch may have brought bytes that are no UTF-8, it ends before them.
    pub fn properties(&self) -> &'a str {
        match text(self.properties) {
            Ok(text) => text,
            Err(error) => {
                std::str::from_utf8(&self.properties[..error.valid_up_to()]).unwrap_or_default()
            }
        }
    }

    /// Length of the property string in bytes.
    pub fn properties_bytes(&self) -> usize {
        self.properties.len()
    }

    /// The message as one to be stored again.
    pub fn message(&self) -> MessageRef<'a> {
        MessageRef {
            topic: self.topic(),
            queue_id: self.queue_id(),
            flag: self.flag(),
            sys_flag: self.sys_flag(),
            born_timestamp: self.born_timestamp(),
            born_host: self.born_host(),
            store_timestamp: self.store_timestamp(),
            store_host: self.store_host(),
            reconsume_times: self.reconsume_times(),
            prepared_transaction_offset: self.prepared_transaction_offset(),
            body: self.body(),
            properties: self.properties(),
        }
    }

    /// The message with its own memory.
    pub fn to_message(&self) -> Message {
        Message {
            topic: self.topic().to_string(),
            queue_id: self.queue_id(),
            flag: self.flag(),
            sys_flag: self.sys_flag(),
            born_timestamp: self.born_timestamp(),
            born_host: self.born_host(),
            store_timestamp: self.store_timestamp(),
            store_host: self.store_host(),
            reconsume_times: self.reconsume_times(),
            prepared_transaction_offset: self.prepared_transaction_offset(),
            queue_offset: self.queue_offset(),
            physical_offset: self.physical_offset(),
            store_size: self.total_size(),
            body_crc: self.body_crc(),
            body: self.body().to_vec(),
            properties: String::from_utf8_lossy(self.properties).into_owned(),
        }
    }

    fn store_timestamp_at(&self) -> usize {
        BORN_HOST + host_len(self.sys_flag, flags::BORN_HOST_V6)
    }
}

/// Reads one record that must be good, CRC included.
pub fn decode(bytes: &[u8]) -> Result<Message> {
    match RecordView::parse(bytes, true) {
        Checked::Record(record) => Ok(record.to_message()),
        other => Err(Error::Protocol(format!("not a message record: {}", other.name()))),
    }
}

impl Checked<'_> {
    fn name(&self) -> &'static str {
        match self {
            Checked::Record(_) => "a record",
            Checked::Blank(_) => "the filler at the end of a file",
            Checked::Illegal => "unknown magic, wrong CRC or lengths beyond the bytes",
            Checked::WrongSize(_) => "its parts do not add up to its total size",
        }
    }
}

/// The messages of a body that holds records back to back, as pull and query replies do.
pub fn decode_all(mut body: &[u8]) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let message = decode(body)?;
        body = &body[message.store_size as usize..];
        messages.push(message);
    }
    Ok(messages)
}

/// A cursor that never reads behind its bytes.
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    /// A signed length of `N` bytes; `None` when it is negative.
    fn length<const N: usize>(&mut self) -> Option<usize> {
        let bytes = self.take(N)?;
        let value = bytes.iter().fold(0_usize, |value, &byte| value << 8 | usize::from(byte));
        (bytes[0] & 0x80 == 0).then_some(value)
    }
}

/// The hosts of a message as they stand in its record.
struct Hosts {
    born: Host,
    store: Host,
}

impl Hosts {
    fn of(message: &MessageRef<'_>) -> Hosts {
        Hosts { born: Host::new(message.born_host), store: Host::new(message.store_host) }
    }
}

struct Host {
    bytes: [u8; 20],
    len: usize,
}

impl Host {
    fn new(host: SocketAddr) -> Host {
        let mut bytes = [0; 20];
        let address = match host.ip().to_canonical() {
            IpAddr::V4(ip) => {
                bytes[..4].copy_from_slice(&ip.octets());
                4
            }
            IpAddr::V6(ip) => {
                bytes[..16].copy_from_slice(&ip.octets());
                16
            }
        };
        let port = i32::from(host.port()).to_be_bytes();
        bytes[address..address + 4].copy_from_slice(&port);
        Host { bytes, len: address + 4 }
    }

    fn is_v6(&self) -> bool {
        self.len == 20
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Position of the body length.
fn body_at(sys_flag: i32) -> usize {
    let hosts = host_len(sys_flag, flags::BORN_HOST_V6) + host_len(sys_flag, flags::STORE_HOST_V6);
    BORN_HOST + hosts + 8 + 4 + 8
}

fn host_len(sys_flag: i32, bit: i32) -> usize {
    if sys_flag & bit == 0 { 8 } else { 8 + HOST_V6_EXTRA }
}

/// The host at a position; of the port only the 16 bits that a port has.
fn host_at(bytes: &[u8], at: usize, v6: bool) -> SocketAddr {
    let (ip, port_at): (IpAddr, usize) = if v6 {
        let mut octets = [0; 16];
        octets.copy_from_slice(&bytes[at..at + 16]);
        (Ipv6Addr::from(octets).into(), at + 16)
    } else {
        let mut octets = [0; 4];
        octets.copy_from_slice(&bytes[at..at + 4]);
        (Ipv4Addr::from(octets).into(), at + 4)
    };
    SocketAddr::new(ip, i32_at(bytes, port_at) as u16)
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    i32::from_be_bytes(value)
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(value)
}

#[cfg(test)]
mod tests;
