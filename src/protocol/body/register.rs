//! The body of 103 REGISTER_BROKER, by the sender's version plain or compressed.
//!
//! Compressed it is one zlib stream over: data version (i32 length, JSON) · i32 number of topics ·
//! each topic (i32 length, `name readNums writeNums perm FILTERTYPE`, 5.x adds a sixth part) ·
//! filter servers (i32 length, JSON list).

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use crate::base::limits::REGISTER_BODY_BYTES_MAX;
use crate::base::{Error, Result, json};
use crate::protocol::body::topic::{DataVersion, TopicConfig, TopicConfigTable, TopicFilterType};
use crate::protocol::code::response::SYSTEM_ERROR;

/// Requests of this version on carry filter servers too: V3_0_11.
pub const FILTER_SERVER_VERSION: i32 = 37;

/// A broker's topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    pub filter_server_list: Vec<String>,
    pub topic_config_serialize_wrapper: TopicConfigTable,
}

/// The bodyCrc32 field of a body as it is sent.
pub fn body_crc(body: &[u8]) -> i32 {
    crate::message::record::body_crc(body)
}

impl RegisterBrokerBody {
    /// Reads what a sender of `version` wrote; `Refused` when it cannot be read.
    pub fn decode(body: &[u8], version: i32, compressed: bool) -> Result<RegisterBrokerBody> {
        if body.is_empty() {
            Ok(RegisterBrokerBody::default())
        } else if version < FILTER_SERVER_VERSION {
            let topic_config_serialize_wrapper = TopicConfigTable::from_slice(body)?;
            Ok(RegisterBrokerBody { topic_config_serialize_wrapper, ..Default::default() })
        } else if compressed {
            read(&inflate(body)?).ok_or_else(|| refused("its lengths or topics are broken"))
        } else {
            super::read(body, "RegisterBrokerBody")
        }
    }

    /// Writes it for the name servers of today.
    pub fn encode(&self, compressed: bool) -> Vec<u8> {
        if compressed { deflate(&self.parts()) } else { json::to_vec(self) }
    }

    /// The content of the compressed form.
    fn parts(&self) -> Vec<u8> {
        let table = &self.topic_config_serialize_wrapper;
        let mut out = Vec::new();
        push(&mut out, &table.data_version.to_vec());
        out.extend_from_slice(&(table.topic_config_table.len() as u32).to_be_bytes());
        for topic in table.topic_config_table.values() {
            let (read, write) = (topic.read_queue_nums, topic.write_queue_nums);
            let kind = topic.topic_filter_type.name();
            let line = format!("{} {read} {write} {} {kind}", topic.topic_name, topic.perm);
            push(&mut out, line.as_bytes());
        }
        push(&mut out, &json::to_vec(&self.filter_server_list));
        out
    }
}

fn refused(what: &str) -> Error {
    Error::refused(SYSTEM_ERROR, format!("compressed body: {what}"))
}

fn push(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u32).to_be_bytes());
    out.extend_from_slice(part);
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}

fn inflate(body: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    let limit = REGISTER_BODY_BYTES_MAX as u64;
    let mut decoder = ZlibDecoder::new(body).take(limit + 1);
    decoder.read_to_end(&mut plain).map_err(|error| refused(&error.to_string()))?;
    if plain.len() > REGISTER_BODY_BYTES_MAX {
        return Err(refused(&format!("more than {REGISTER_BODY_BYTES_MAX} bytes")));
    }
    Ok(plain)
}

fn read(mut rest: &[u8]) -> Option<RegisterBrokerBody> {
    let mut body = RegisterBrokerBody::default();
    let table = &mut body.topic_config_serialize_wrapper;
    table.data_version = DataVersion::from_slice(part(&mut rest)?).ok()?;
    for _ in 0..length(&mut rest)? {
        let topic = topic(std::str::from_utf8(part(&mut rest)?).ok()?)?;
        table.topic_config_table.insert(topic.topic_name.clone(), topic);
    }
    body.filter_server_list = json::from_slice(part(&mut rest)?).unwrap_or_default();
    Some(body)
}

fn topic(line: &str) -> Option<TopicConfig> {
    let mut words = line.split(' ');
    Some(TopicConfig {
        topic_name: words.next()?.to_string(),
        read_queue_nums: words.next()?.parse().ok()?,
        write_queue_nums: words.next()?.parse().ok()?,
        perm: words.next()?.parse().ok()?,
        topic_filter_type: TopicFilterType::from_text(words.next()?)?,
        ..TopicConfig::default()
    })
}

fn length(rest: &mut &[u8]) -> Option<usize> {
    let (length, left) = rest.split_first_chunk()?;
    *rest = left;
    usize::try_from(i32::from_be_bytes(*length)).ok()
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = length(rest)?;
    let (part, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(part)
}
