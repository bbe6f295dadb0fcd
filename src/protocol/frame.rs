//! Frames: where one ends in a buffer, and a Command from and to its bytes.
//!
//! length i32 (of all that follows) · codec u8 (0 JSON, 1 binary) · header length u24 · header ·
//! body

use crate::base::limits::FRAME_BYTES_MAX;
use crate::base::{Error, Result};
use crate::protocol::command::{self, Codec, Command};
use crate::protocol::{header_binary, header_json};

/// Bytes before the header.
pub const HEAD_BYTES: usize = 8;

/// Length of the complete frame that `buf` begins with; `None` when more bytes are needed.
///
/// `Err` as soon as the first 8 bytes cannot begin a frame: the connection is to be closed.
pub fn cut(buf: &[u8]) -> Result<Option<usize>> {
    let Some(length) = buf.first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    let frame = match usize::try_from(length) {
        Ok(length) if (4..=FRAME_BYTES_MAX - 4).contains(&length) => length + 4,
        _ => return Err(Error::Protocol(format!("frame length {length}"))),
    };
    if let Some(head) = buf.first_chunk::<HEAD_BYTES>() {
        head_of(head, frame)?;
    }
    Ok((buf.len() >= frame).then_some(frame))
}

/// Codec and header length of a frame of `frame` bytes.
fn head_of(head: &[u8; HEAD_BYTES], frame: usize) -> Result<(Codec, usize)> {
    let codec = match head[4] {
        0 => Codec::Json,
        1 => Codec::Binary,
        other => return Err(Error::Protocol(format!("unknown serialize type {other}"))),
    };
    let header = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
    if header > frame - HEAD_BYTES {
        return Err(Error::Protocol(format!("header length {header} in a frame of {frame} bytes")));
    }
    Ok((codec, header))
}

/// Reads one frame, of the length that `cut` gave; the body is copied once.
pub fn decode(frame: &[u8]) -> Result<Command> {
    let Some((head, rest)) = frame.split_first_chunk::<HEAD_BYTES>() else {
        return Err(Error::Protocol(format!("frame of {} bytes", frame.len())));
    };
    let (codec, header_len) = head_of(head, frame.len())?;
    let (header, body) = rest.split_at(header_len);
    let mut command = Command { codec, body: command::body_of(body), ..Command::default() };
    match codec {
        Codec::Json => header_json::decode(header, &mut command)?,
        Codec::Binary => header_binary::decode(header, &mut command)?,
    }
    Ok(command)
}

/// Reads what stands before the fields of a frame and behind them: enough to refuse it, for much
/// less.
pub fn decode_head(frame: &[u8]) -> Result<Command> {
    let Some((head, rest)) = frame.split_first_chunk::<HEAD_BYTES>() else {
        return Err(Error::Protocol(format!("frame of {} bytes", frame.len())));
    };
    let (codec, header_len) = head_of(head, frame.len())?;
    let mut command = Command { codec, ..Command::default() };
    match codec {
        Codec::Json => header_json::decode_head(&rest[..header_len], &mut command)?,
        Codec::Binary => header_binary::decode_head(&rest[..header_len], &mut command)?,
    }
    Ok(command)
}

/// Appends lengths, header and `body` to `out`; the command's slices are to follow.
///
/// A code or version that the binary form has no room for makes it a JSON header.
pub fn encode_head(command: &Command, out: &mut Vec<u8>) {
    let start = out.len();
    out.reserve(HEAD_BYTES + 256 + command.body.len());
    out.extend_from_slice(&[0; HEAD_BYTES]);
    let binary = command.codec == Codec::Binary && header_binary::has_room(command);
    if binary {
        header_binary::encode(command, out);
    } else {
        header_json::encode(command, out);
    }
    // A header of 16 MiB makes a frame that every receiver refuses; its length need not be right.
    let header = (out.len() - start - HEAD_BYTES) as u32;
    let length = header.wrapping_add(4).wrapping_add(command.body_len() as u32);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&(header & 0xFF_FFFF).to_be_bytes());
    out[start + 4] = u8::from(binary);
    out.extend_from_slice(&command.body);
}

/// The whole frame, slices included, in one piece.
pub fn encode(command: &Command) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + 256 + command.body_len());
    encode_head(command, &mut out);
    for slice in &command.slices {
        out.extend_from_slice(slice.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests;
