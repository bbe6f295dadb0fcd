//! RocketMQ's own binary header.
//!
//! code i16 · language u8 · version i16 · opaque i32 · flag i32 · remark length i32, remark ·
//! ext fields length i32, then per field: name length i16, name, value length i32, value.
//! An empty remark, name or value is the same as none.

use std::ops::Range;

use crate::base::{Error, Result, json};
use crate::protocol::command::language_of_number;
use crate::protocol::command::{Command, Fields, LANGUAGE_OTHER, Pair};

/// Reads the header of a frame into a new command.
pub fn decode(header: &[u8], command: &mut Command) -> Result<()> {
    read(header, command).ok_or_else(|| too_short(header))
}

/// Reads only what stands before remark and ext fields.
pub fn decode_head(header: &[u8], command: &mut Command) -> Result<()> {
    read_head(&mut &*header, command).ok_or_else(|| too_short(header))
}

fn too_short(header: &[u8]) -> Error {
    Error::Protocol(format!("binary header of {} bytes: lengths beyond its end", header.len()))
}

fn read_head(rest: &mut &[u8], command: &mut Command) -> Option<()> {
    command.code = i32::from(i16::from_be_bytes(take(rest)?));
    let [language] = take(rest)?;
    command.language = language_of_number(i64::from(language)).unwrap_or(LANGUAGE_OTHER);
    command.version = i32::from(i16::from_be_bytes(take(rest)?));
    command.opaque = i32::from_be_bytes(take(rest)?);
    command.flag = i32::from_be_bytes(take(rest)?);
    Some(())
}

fn read(mut header: &[u8], command: &mut Command) -> Option<()> {
    let rest = &mut header;
    read_head(rest, command)?;
    let len = usize::try_from(i32::from_be_bytes(take(rest)?)).ok()?;
    let remark = split(rest, len)?;
    command.remark = (!remark.is_empty()).then(|| json::lossy(remark).into_owned());
    let len = usize::try_from(i32::from_be_bytes(take(rest)?)).ok()?;
    let ext = split(rest, len)?;
    command.fields = if ext.is_empty() { None } else { Some(read_fields(ext)?) };
    Some(())
}

/// The fields become parts of a copy of all of them, in which the lengths are blanked out: then it
/// is a text if each of them is one.
fn read_fields(ext: &[u8]) -> Option<Fields> {
    let (mut copy, mut pairs) = Fields::buffers(ext.len());
    copy.extend_from_slice(ext);
    let mut at = 0;
    while at < ext.len() {
        let name = blank(&mut copy, at, |len: [u8; 2]| i16::from_be_bytes(len).into())?;
        let value = blank(&mut copy, name.end, i32::from_be_bytes)?;
        at = value.end;
        if !name.is_empty() && !value.is_empty() {
            pairs.push(Pair::new(name, value));
        }
    }
    Some(Fields::found(copy, pairs))
}

/// Where the text behind the length at `at` stands. The length is overwritten with zeros.
#[inline]
fn blank<const N: usize>(
    ext: &mut [u8],
    at: usize,
    read: impl Fn([u8; N]) -> i32,
) -> Option<Range<usize>> {
    let length = ext.get_mut(at..)?.first_chunk_mut()?;
    let len = usize::try_from(read(*length)).ok()?;
    *length = [0; N];
    let start = at + N;
    (len <= ext.len() - start).then_some(start..start + len)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

fn split<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
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
