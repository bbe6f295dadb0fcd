//! RocketMQ's own binary header.
//!
//! code i16 · language u8 · version i16 · opaque i32 · flag i32 · remark length i32, remark ·
//! ext fields length i32, then per field: name length i16, name, value length i32, value.
//! An empty remark, name or value is the same as none.

use std::borrow::Cow;

use crate::base::{Error, Result, json};
use crate::protocol::command::{Command, Fields, LANGUAGE_OTHER, language_of_number};

/// Reads the header of a frame.
pub fn decode(header: &[u8]) -> Result<Command> {
    read(header).ok_or_else(|| {
        Error::Protocol(format!("binary header of {} bytes: lengths beyond its end", header.len()))
    })
}

fn read(mut header: &[u8]) -> Option<Command> {
    let rest = &mut header;
    let code = i32::from(i16::from_be_bytes(take(rest)?));
    let [language] = take(rest)?;
    let version = i32::from(i16::from_be_bytes(take(rest)?));
    let opaque = i32::from_be_bytes(take(rest)?);
    let flag = i32::from_be_bytes(take(rest)?);
    let remark = text(rest)?;
    let len = i32::from_be_bytes(take(rest)?);
    let (ext, _) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    Some(Command {
        code,
        language: language_of_number(i64::from(language)).unwrap_or(LANGUAGE_OTHER),
        version,
        opaque,
        flag,
        remark: (!remark.is_empty()).then(|| remark.into_owned()),
        fields: if ext.is_empty() { None } else { Some(read_fields(ext)?) },
        ..Command::default()
    })
}

fn read_fields(mut ext: &[u8]) -> Option<Fields> {
    let mut fields = Fields::new();
    fields.reserve(ext.len());
    let rest = &mut ext;
    while !rest.is_empty() {
        let len = usize::try_from(i16::from_be_bytes(take(rest)?)).ok()?;
        let name = split(rest, len)?;
        let value = text(rest)?;
        if !name.is_empty() && !value.is_empty() {
            fields.push(&name, &value);
        }
    }
    Some(fields)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

/// A text behind its length.
fn text<'a>(rest: &mut &'a [u8]) -> Option<Cow<'a, str>> {
    let len = usize::try_from(i32::from_be_bytes(take(rest)?)).ok()?;
    split(rest, len)
}

fn split<'a>(rest: &mut &'a [u8], len: usize) -> Option<Cow<'a, str>> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(json::lossy(taken))
}

/// Whether the numbers of a command fit this form.
pub fn has_room(command: &Command) -> bool {
    i16::try_from(command.code).is_ok() && i16::try_from(command.version).is_ok()
}

/// Appends the header of a command that `has_room`.
pub fn encode(command: &Command, out: &mut Vec<u8>) {
    out.extend_from_slice(&(command.code as i16).to_be_bytes());
    out.push(command.language);
    out.extend_from_slice(&(command.version as i16).to_be_bytes());
    out.extend_from_slice(&command.opaque.to_be_bytes());
    out.extend_from_slice(&command.flag.to_be_bytes());
    push(out, command.remark.as_deref().unwrap_or_default());
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    for (name, value) in command.fields.iter().flat_map(Fields::iter) {
        let Ok(len) = i16::try_from(name.len()) else { continue };
        if len > 0 && !value.is_empty() {
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(name.as_bytes());
            push(out, value);
        }
    }
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
