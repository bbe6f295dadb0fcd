//! Frames on their way out of one connection: encoded once, mapped bodies lent instead of copied.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};

use crate::base::slice::Slice;
use crate::protocol::{Command, frame};

/// Encoded frames share one buffer until it is this long.
const JOIN_BYTES: usize = 64 * 1024;
/// A buffer that grew longer is freed when it has been sent.
const SPARE_BYTES: usize = 64 * 1024;
/// Parts handed to the kernel in one `writev`.
const PARTS_PER_WRITE: usize = 64;

/// What has not left yet, in order.
#[derive(Default)]
pub struct Outbox {
    parts: VecDeque<Part>,
    /// Bytes of the first part that have left.
    gone: usize,
    /// Bytes still to leave.
    left: usize,
    /// Bytes of memory held for them; of a mapped slice only the entry here.
    held: usize,
}

thread_local! {
    /// A buffer that has been sent, to be used again for any connection: an idle one holds none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

enum Part {
    Bytes(Vec<u8>),
    Slice(Slice),
}

impl Part {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Part::Bytes(bytes) => bytes,
            Part::Slice(slice) => slice.as_bytes(),
        }
    }

    fn held(&self) -> usize {
        match self {
            Part::Bytes(bytes) => bytes.len(),
            Part::Slice(_) => size_of::<Part>(),
        }
    }
}

impl Outbox {
    /// Bytes still to leave.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Bytes of memory held for them.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Adds a frame at the end.
    pub fn push(&mut self, mut command: Command) {
        let joins = matches!(self.parts.back(), Some(Part::Bytes(b)) if b.len() < JOIN_BYTES);
        if !joins {
            self.parts.push_back(Part::Bytes(SPARE.take()));
        }
        if let Some(Part::Bytes(bytes)) = self.parts.back_mut() {
            let before = bytes.len();
            frame::encode_head(&command, bytes);
            self.left += bytes.len() - before;
            self.held += bytes.len() - before;
        }
        for slice in command.slices.drain(..).filter(|slice| !slice.is_empty()) {
            self.left += slice.len();
            self.held += size_of::<Part>();
            self.parts.push_back(Part::Slice(slice));
        }
        command.reuse();
    }

    /// Writes until nothing is left (true) or the socket takes no more (false).
    pub fn write_to(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while !self.is_empty() {
            match self.write_once(socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn write_once(&self, socket: &mut impl Write) -> io::Result<usize> {
        if let [Part::Bytes(only)] = self.parts.as_slices().0
            && self.parts.len() == 1
        {
            return socket.write(&only[self.gone..]);
        }
        let mut list = [IoSlice::new(&[]); PARTS_PER_WRITE];
        let mut count = 0;
        for (entry, part) in list.iter_mut().zip(&self.parts) {
            let skip = if count == 0 { self.gone } else { 0 };
            *entry = IoSlice::new(&part.as_bytes()[skip..]);
            count += 1;
        }
        socket.write_vectored(&list[..count])
    }

    /// Takes note that `count` bytes have left.
    fn advance(&mut self, count: usize) {
        self.left -= count;
        self.gone += count;
        while let Some(first) = self.parts.front() {
            let len = first.as_bytes().len();
            if self.gone < len {
                break;
            }
            self.held -= first.held();
            self.gone -= len;
            if let Some(Part::Bytes(mut bytes)) = self.parts.pop_front()
                && bytes.capacity() <= SPARE_BYTES
            {
                bytes.clear();
                SPARE.set(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::slice::Region;
    use std::sync::Arc;

    struct Bytes(Vec<u8>);

    impl Region for Bytes {
        fn bytes(&self, start: usize, len: usize) -> &[u8] {
            &self.0[start..start + len]
        }
    }

    /// A socket that takes `room` bytes and then no more, at most `step` at a time.
    struct Narrow {
        got: Vec<u8>,
        room: usize,
        step: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.step).min(self.room);
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.got.extend_from_slice(&bytes[..count]);
            self.room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn with_slices() -> Command {
        let region = Arc::new(Bytes((0..200u8).collect()));
        let mut command = Command::request(11);
        command.body = b"head".to_vec();
        for (start, len) in [(0, 7), (9, 0), (50, 100)] {
            command.slices.push(Slice::new(region.clone(), start, len));
        }
        command
    }

    fn expected(commands: &[Command]) -> Vec<u8> {
        let mut all = Vec::new();
        for command in commands {
            frame::encode_head(command, &mut all);
            command.slices.iter().for_each(|slice| all.extend_from_slice(slice.as_bytes()));
        }
        all
    }

    #[test]
    fn every_width_of_socket_gets_the_same_bytes() {
        let commands = [Command::request(1), with_slices(), with_slices(), Command::request(2)];
        let expected = expected(&commands);
        for step in 1..expected.len() {
            let mut outbox = Outbox::default();
            commands.iter().for_each(|command| outbox.push(command.clone()));
            assert_eq!(outbox.left(), expected.len());
            let mut socket = Narrow { got: Vec::new(), room: 10, step };
            while !outbox.write_to(&mut socket).unwrap() {
                assert_eq!(outbox.left(), expected.len() - socket.got.len());
                socket.room = 10;
            }
            assert_eq!(socket.got, expected);
            assert!(outbox.parts.is_empty() && outbox.held() == 0 && outbox.gone == 0);
        }
    }

    #[test]
    fn mapped_bytes_are_not_held() {
        let mut outbox = Outbox::default();
        outbox.push(with_slices());
        let mut head = Vec::new();
        frame::encode_head(&with_slices(), &mut head);
        assert_eq!(outbox.left(), head.len() + 107);
        assert_eq!(outbox.held(), head.len() + 2 * size_of::<Part>());
    }
}
