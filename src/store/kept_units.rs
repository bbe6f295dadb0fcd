//! Some units of a queue file that is not mapped, kept in memory so that the file need not be
//! opened for each use: those read last, or those at the queue's end, of which the last ones may
//! wait to be written together. The log is the truth: a crash loses nothing with them.

use std::ops::Range;

use super::consume_queue::UNIT_BYTES;

/// At most so many bytes of a file.
pub const KEPT_BYTES: usize = 32 * UNIT_BYTES;
/// Where what is read begins is a multiple of this; so much stays when there is no more room.
pub const STEP_BYTES: usize = KEPT_BYTES / 2;

/// Contiguous bytes of one file.
pub struct Kept {
    /// Position in the file of the first.
    start: usize,
    len: usize,
    /// So many of the last ones are not in the file yet.
    waiting: usize,
    bytes: [u8; KEPT_BYTES],
}

impl Kept {
    /// None so far.
    pub fn new() -> Box<Kept> {
        Box::new(Kept { start: 0, len: 0, waiting: 0, bytes: [0; KEPT_BYTES] })
    }

    fn end(&self) -> usize {
        self.start + self.len
    }

    /// These bytes of the file, when all of them are here.
    pub fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        let here = range.start >= self.start && range.end <= self.end();
        here.then(|| &self.bytes[range.start - self.start..range.end - self.start])
    }

    /// Where in memory bytes that are added go, for a prefetch.
    pub fn end_address(&self) -> usize {
        self.bytes.as_ptr().addr() + self.len
    }

    /// Adds bytes for `position`, which wait then; false: they do not follow, or have no room.
    pub fn push(&mut self, position: usize, bytes: &[u8]) -> bool {
        if position != self.end() || bytes.len() > KEPT_BYTES - self.len {
            return false;
        }
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self.waiting += bytes.len();
        true
    }

    /// Makes room behind `position`, the file's end, when nothing waits. Of what ends there the
    /// last part stays.
    pub fn make_room(&mut self, position: usize) {
        debug_assert_eq!(self.waiting, 0, "what waits would be lost");
        if position != self.end() {
            (self.start, self.len) = (position, 0);
        } else if self.len > STEP_BYTES {
            self.bytes.copy_within(self.len - STEP_BYTES..self.len, 0);
            (self.start, self.len) = (position - STEP_BYTES, STEP_BYTES);
        }
    }

    /// What was read from the file, at most `KEPT_BYTES`, takes the place of what is here. While
    /// some of that waits, it comes before it where both follow one another and have room.
    pub fn replace(&mut self, start: usize, bytes: &[u8]) {
        if self.waiting == 0 {
            self.bytes[..bytes.len()].copy_from_slice(bytes);
            (self.start, self.len) = (start, bytes.len());
        } else if (start..=start + bytes.len()).contains(&self.start)
            && self.end() - start <= KEPT_BYTES
        {
            let more = self.start - start;
            self.bytes.copy_within(0..self.len, more);
            self.bytes[..more].copy_from_slice(&bytes[..more]);
            (self.start, self.len) = (start, self.len + more);
        }
    }

    /// What is not in the file yet, and where it belongs.
    pub fn waiting(&self) -> (usize, &[u8]) {
        (self.end() - self.waiting, &self.bytes[self.len - self.waiting..self.len])
    }

    /// It is now.
    pub fn written(&mut self) {
        self.waiting = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_comes_before_what_waits() {
        let mut kept = Kept::new();
        kept.make_room(60);
        assert!(kept.push(60, &[3; 20]) && kept.push(80, &[4; 20]));
        let read: Vec<u8> = (0..4).flat_map(|unit| [unit; 20]).collect();
        kept.replace(0, &read[..40]);
        assert_eq!(kept.get(40..60), None, "a gap");
        kept.replace(0, &read);
        assert_eq!(kept.get(0..100), Some(&[&read[..], &[4; 20]].concat()[..]));
        assert_eq!((kept.waiting().0, kept.waiting().1.len()), (60, 40));
        assert!(kept.push(100, &[5; 20]));
        assert_eq!(kept.get(20..40), Some(&[1; 20][..]));
        let mut kept = Kept::new();
        kept.make_room(KEPT_BYTES);
        assert!(kept.push(KEPT_BYTES, &[9; 20]));
        kept.replace(0, &[1; KEPT_BYTES]);
        assert_eq!(kept.get(0..20), None, "no room");
        assert_eq!(kept.waiting(), (KEPT_BYTES, &[9; 20][..]));
    }

    #[test]
    fn the_last_bytes_stay_and_wait_until_written() {
        let mut kept = Kept::new();
        kept.make_room(100);
        assert!(!kept.push(120, &[0; 20]) && !kept.push(100, &[0; KEPT_BYTES + 1]));
        for n in 0..32 {
            assert!(kept.push(100 + n * 20, &[n as u8; 20]));
        }
        assert!(!kept.push(740, &[0; 20]), "no room");
        assert_eq!((kept.waiting().0, kept.waiting().1.len()), (100, KEPT_BYTES));
        kept.replace(0, &[9; 20]);
        assert_eq!(kept.get(100..120), Some(&[0; 20][..]), "what waits stays");
        kept.written();
        kept.make_room(740);
        assert!(kept.push(740, &[32; 20]));
        assert_eq!(kept.waiting(), (740, &[32; 20][..]));
        assert_eq!((kept.get(400..440), kept.get(740..780)), (None, None));
        assert_eq!(kept.get(420..440), Some(&[16; 20][..]));
        kept.written();
        kept.replace(0, &[9; 20]);
        assert_eq!((kept.get(0..20), kept.get(740..760)), (Some(&[9; 20][..]), None));
        kept.make_room(800);
        assert!(kept.get(0..20).is_none() && kept.push(800, &[1; 20]));
    }
}
