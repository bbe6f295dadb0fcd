//! Bytes that live elsewhere (a mapped file) and are kept alive while a reply is under way.

use std::sync::Arc;

/// Memory that can lend parts of itself.
pub trait Region: Send + Sync {
    /// The bytes `start..start + len`; panics when they are not all readable.
    fn bytes(&self, start: usize, len: usize) -> &[u8];
}

/// A part of a region, which it keeps alive.
#[derive(Clone)]
pub struct Slice {
    region: Arc<dyn Region>,
    start: usize,
    len: usize,
}

impl Slice {
    /// `start` and `len` in bytes; they must be readable in `region`.
    pub fn new(region: Arc<dyn Region>, start: usize, len: usize) -> Slice {
        Slice { region, start, len }
    }

    /// The bytes themselves.
    pub fn as_bytes(&self) -> &[u8] {
        self.region.bytes(self.start, self.len)
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
