//! The wire: frames, both header codecs, codes, headers and bodies. Pure: bytes in, structs out.

pub mod command;

pub use command::{Codec, Command, Fields};
