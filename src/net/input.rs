//! Bytes on their way into one connection: read, cut into frames, decoded.

use std::io::{ErrorKind, Read};
use std::time::Instant;

use crate::base::error::IoContext;
use crate::base::{Error, Result};
use crate::protocol::{Command, frame};

/// First size of the own buffer of a long frame.
const LONG_START_BYTES: usize = 64 * 1024;

/// The beginning of a frame whose end has not arrived; empty between frames.
///
/// Frames are cut in the buffer that all connections of a reactor share; only what is left over at
/// the end of a turn is kept here. A frame too long for that gets a buffer of its own, which grows
/// with what arrives and never past the frame's end.
#[derive(Default)]
pub struct Input {
    half: Vec<u8>,
    /// Bytes of `half` that have arrived.
    have: usize,
    /// Length of the frame when it is read straight into `half`, else 0.
    want: usize,
    since: Option<Instant>,
}

/// What a read has left behind.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// The socket is empty; more will be announced.
    Drained,
    /// There may be more to read.
    More,
    /// The peer has sent all it will send.
    End,
}

impl Input {
    /// Bytes of memory held for a frame that is not complete.
    pub fn held(&self) -> usize {
        self.half.len()
    }

    /// Since when a frame is incomplete.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Reads once from `source` and gives `each` every frame that is complete now. `shared` is
    /// scratch. An error: the connection is of no use any more.
    pub fn read(
        &mut self,
        source: &mut impl Read,
        shared: &mut [u8],
        now: Instant,
        mut each: impl FnMut(Command),
    ) -> Result<Turn> {
        if self.want > 0 {
            return self.read_long(source, each);
        }
        let Some(count) = read_some(source, &mut shared[self.have..])? else {
            return Ok(Turn::Drained);
        };
        if count == 0 {
            return Ok(Turn::End);
        }
        shared[..self.have].copy_from_slice(&self.half);
        let filled = self.have + count;
        let mut used = 0;
        while let Some(len) = frame::cut(&shared[used..filled])? {
            each(frame::decode(&shared[used..used + len])?);
            used += len;
        }
        if used > 0 {
            self.since = None;
        }
        self.keep(&shared[used..filled], shared.len(), now);
        Ok(if filled < shared.len() { Turn::Drained } else { Turn::More })
    }

    fn keep(&mut self, rest: &[u8], shared_len: usize, now: Instant) {
        self.have = rest.len();
        self.half = rest.to_vec();
        self.want = 0;
        if rest.is_empty() {
            return;
        }
        self.since.get_or_insert(now);
        // Both length words are there, so `cut` has found them good.
        if let Some(&[a, b, c, d, ..]) = rest.first_chunk::<8>() {
            let len = u32::from_be_bytes([a, b, c, d]) as usize + 4;
            if len > shared_len / 2 {
                self.want = len;
            }
        }
    }

    /// Reads towards the end of a long frame, and not further.
    fn read_long(&mut self, source: &mut impl Read, mut each: impl FnMut(Command)) -> Result<Turn> {
        if self.have == self.half.len() {
            let len = (self.have * 2).max(LONG_START_BYTES).min(self.want);
            self.half.reserve_exact(len - self.have);
            self.half.resize(len, 0);
        }
        match read_some(source, &mut self.half[self.have..])? {
            None => return Ok(Turn::Drained),
            Some(0) => return Ok(Turn::End),
            Some(count) => self.have += count,
        }
        if self.have == self.want {
            let whole = std::mem::take(self).half;
            match frame::cut(&whole)? {
                Some(len) if len == whole.len() => each(frame::decode(&whole)?),
                _ => return Err(Error::Protocol("the length of a frame changed".to_string())),
            }
        }
        Ok(Turn::More)
    }
}

/// The bytes of one read; `None` when it would have to wait.
fn read_some(source: &mut impl Read, into: &mut [u8]) -> Result<Option<usize>> {
    loop {
        match source.read(into) {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).what(|| "read".to_string()),
        }
    }
}
