//! The wire: frames, both header codecs, codes, headers and bodies. Pure: bytes in, structs out.

pub mod body;
pub mod code;
pub mod command;
pub mod frame;
pub mod header;
mod header_binary;
mod header_json;
pub mod headers;

pub use command::{Codec, Command, Fields};
