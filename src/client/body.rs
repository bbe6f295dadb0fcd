//! Message bodies as clients compress them, and records as they come back.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::base::error::IoContext;
use crate::base::limits;
use crate::base::{Error, Result};
use crate::message::flags;

/// Java's default `compressLevel`.
const LEVEL: Compression = Compression::new(5);

/// One zlib stream, as Java's default compression.
pub(crate) fn compress(body: &[u8]) -> Result<Vec<u8>> {
    let mut out = ZlibEncoder::new(Vec::with_capacity(body.len() / 2), LEVEL);
    out.write_all(body).and_then(|()| out.finish()).what(|| "compress a body".into())
}

/// The body behind the compression that `sys_flag` names. Fails naming a kind that is not built,
/// and when more than `limits::INFLATED_BODY_BYTES_MAX` come out.
pub(crate) fn decompress(body: Vec<u8>, sys_flag: i32) -> Result<Vec<u8>> {
    if sys_flag & flags::COMPRESSED == 0 {
        return Ok(body);
    }
    match sys_flag & flags::COMPRESSION_MASK {
        0 | flags::COMPRESSION_ZLIB => inflate(&body, limits::INFLATED_BODY_BYTES_MAX),
        flags::COMPRESSION_LZ4 => Err(not_built("LZ4")),
        flags::COMPRESSION_ZSTD => Err(not_built("ZSTD")),
        other => Err(not_built(&format!("type {other:#x}"))),
    }
}

fn not_built(kind: &str) -> Error {
    Error::Protocol(format!("a body compressed by {kind}, which this client cannot read"))
}

fn inflate(body: &[u8], max: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut stream = ZlibDecoder::new(body).take(max as u64 + 1);
    let read = stream.read_to_end(&mut out);
    read.map_err(|error| Error::Protocol(format!("a compressed body: {error}")))?;
    if out.len() > max {
        return Err(Error::Protocol(format!("a body of more than {max} bytes after inflating")));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zlib_both_ways() {
        let body = b"0123456789".repeat(500);
        let small = compress(&body).expect("compressed");
        assert!(small.len() < 100);
        for kind in [0, flags::COMPRESSION_ZLIB] {
            let read = decompress(small.clone(), flags::COMPRESSED | kind).expect("readable");
            assert_eq!(read, body);
        }
        assert_eq!(decompress(small.clone(), 0).expect("as it is"), small);
    }

    #[test]
    fn other_kinds_are_named() {
        let flag = flags::COMPRESSED | flags::COMPRESSION_ZSTD;
        let error = decompress(vec![1], flag).expect_err("not built").to_string();
        assert!(error.contains("ZSTD"), "{error}");
    }

    #[test]
    fn inflating_is_bounded() {
        let bomb = compress(&[0; 1001]).expect("compressed");
        assert_eq!(inflate(&bomb, 1001).expect("just fits").len(), 1001);
        inflate(&bomb, 1000).expect_err("too large");
        decompress(vec![1, 2, 3], flags::COMPRESSED).expect_err("not zlib");
    }
}
