//! Bytes on their way into one connection: read and cut into frames.

use std::io::{ErrorKind, Read};
use std::time::Instant;

use crate::base::error::IoContext;
use crate::base::{Error, Result};
use crate::protocol::frame;

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

    /// It is read again after a while in which it was not: the frame has its time from now on.
    pub fn reads_on(&mut self, now: Instant) {
        self.since = self.since.map(|_| now);
    }

    /// Reads once from `source` and gives `each` every frame that is complete now. `shared` is
    /// scratch. An error: the connection is of no use any more.
    pub fn read(
        &mut self,
        source: &mut impl Read,
        shared: &mut [u8],
        now: Instant,
        mut each: impl FnMut(&[u8]) -> Result<()>,
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
            each(&shared[used..used + len])?;
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
    fn read_long(
        &mut self,
        source: &mut impl Read,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Turn> {
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
                Some(len) if len == whole.len() => each(&whole)?,
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;

    use super::*;
    use crate::protocol::Command;

    /// A socket that brings these pieces, one a read, then nothing more for now.
    struct Pieces(VecDeque<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some(first) = self.0.front_mut() else { return Err(ErrorKind::WouldBlock.into()) };
            let count = first.len().min(into.len());
            into[..count].copy_from_slice(&first[..count]);
            first.drain(..count);
            if first.is_empty() {
                self.0.pop_front();
            }
            Ok(count)
        }
    }

    fn frames(lens: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, len) in lens.iter().enumerate() {
            let mut command = Command::request(index as i32);
            command.body = vec![index as u8; *len];
            frame::encode_head(&command, &mut bytes);
        }
        bytes
    }

    /// Reads all pieces, as often as a reactor would; returns code and body length of what came.
    fn read_all(input: &mut Input, pieces: Vec<Vec<u8>>, room: usize) -> Vec<(i32, usize)> {
        let (mut source, mut shared) = (Pieces(pieces.into()), vec![0; room]);
        let mut got = Vec::new();
        while !source.0.is_empty() {
            let each = |bytes: &[u8]| {
                let command = frame::decode(bytes)?;
                assert!(command.body.iter().all(|byte| i32::from(*byte) == command.code));
                got.push((command.code, command.body.len()));
                Ok(())
            };
            input.read(&mut source, &mut shared, Instant::now(), each).unwrap();
        }
        got
    }

    #[test]
    fn frames_split_at_every_byte_are_whole() {
        let bytes = frames(&[0, 5, 300]);
        for cut in 1..bytes.len() {
            let (mut input, (first, second)) = (Input::default(), bytes.split_at(cut));
            let got = read_all(&mut input, vec![first.to_vec(), second.to_vec()], 4096);
            assert_eq!(got, [(0, 0), (1, 5), (2, 300)]);
            assert!(input.held() == 0 && input.since().is_none());
        }
        let single = bytes.iter().map(|byte| vec![*byte]).collect();
        assert_eq!(read_all(&mut Input::default(), single, 4096), [(0, 0), (1, 5), (2, 300)]);
    }

    #[test]
    fn frames_longer_than_the_shared_buffer_are_whole() {
        let lens = [200_000, 3, 1500, 500, 0, 90_000, 7];
        let bytes = frames(&lens);
        let expected: Vec<_> = lens.iter().enumerate().map(|(i, len)| (i as i32, *len)).collect();
        for (room, step) in [(1024, 50), (1024, 700), (1024, 1 << 20), (4096, 4095), (1 << 20, 999)]
        {
            let pieces = bytes.chunks(step).map(<[u8]>::to_vec).collect();
            let mut input = Input::default();
            assert_eq!(read_all(&mut input, pieces, room), expected, "{room} {step}");
            assert_eq!(input.held(), 0);
        }
    }

    #[test]
    fn half_a_frame_holds_what_has_come() {
        let bytes = frames(&[10_000_000]);
        let mut input = Input::default();
        assert_eq!(read_all(&mut input, vec![bytes[..100].to_vec()], 4096), []);
        assert!(input.held() == 100 && input.since().is_some());
        let since = input.since();
        assert_eq!(read_all(&mut input, vec![bytes[100..200_000].to_vec()], 4096), []);
        assert!(input.held() < 400_000, "{}", input.held());
        assert_eq!(input.since(), since);
        let rest = vec![bytes[200_000..].to_vec()];
        assert_eq!(read_all(&mut input, rest, 4096), [(0, 10_000_000)]);
        assert_eq!(input.held(), 0);
    }

    #[test]
    fn what_is_no_frame_is_an_error_after_the_frames_before_it() {
        let heads: [[u8; 8]; 5] = [
            [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 20, 0, 0, 0, 17],
            [0, 0, 0, 20, 9, 0, 0, 2],
        ];
        for head in heads {
            let mut bytes = frames(&[3]);
            bytes.extend(head);
            let (mut source, mut shared) = (Pieces([bytes].into()), vec![0; 4096]);
            let mut count = 0;
            let read = Input::default().read(&mut source, &mut shared, Instant::now(), |bytes| {
                frame::decode(bytes).map(|_| count += 1)
            });
            assert!(matches!(read, Err(Error::Protocol(_))), "{head:?}");
            assert_eq!(count, 1);
        }
    }

    #[test]
    fn the_end_is_seen() {
        let (mut source, mut shared) = (Pieces([vec![]].into()), vec![0; 64]);
        let turn = Input::default().read(&mut source, &mut shared, Instant::now(), |_| Ok(()));
        assert_eq!(turn.unwrap(), Turn::End);
        let turn = Input::default().read(&mut source, &mut shared, Instant::now(), |_| Ok(()));
        assert_eq!(turn.unwrap(), Turn::Drained);
    }
}
