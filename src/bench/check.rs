//! Whether answers are what they must be (`--verify`).

use super::answer::Answer;
use crate::message::record::{Checked, RecordView};

/// What was found wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub count: u64,
    /// The first of them, in words.
    pub first: Option<String>,
}

impl Faults {
    /// One more.
    pub fn add(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(what);
    }

    /// Those of another thread.
    pub fn merge(&mut self, other: &Faults) {
        self.count += other.count;
        if self.first.is_none() {
            self.first.clone_from(&other.first);
        }
    }
}

/// The offsets that a queue gave to the messages of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    answers: u64,
    min: u64,
    max: u64,
    sum: u128,
}

impl Stored {
    /// One answer; `offset` is that of the first message of the request.
    pub fn add(&mut self, offset: u64) {
        self.min = if self.answers == 0 { offset } else { self.min.min(offset) };
        self.max = self.max.max(offset);
        self.answers += 1;
        self.sum += u128::from(offset);
    }

    /// Those of another thread.
    pub fn merge(&mut self, other: &Stored) {
        if other.answers > 0 {
            self.min = if self.answers == 0 { other.min } else { self.min.min(other.min) };
            self.max = self.max.max(other.max);
            self.answers += other.answers;
            self.sum += other.sum;
        }
    }

    /// Whether the requests, of `step` messages each, got every offset once: so many answers as
    /// there are steps from the first to the last, and a sum as if each step had one.
    pub fn is_continuous(&self, step: u64) -> bool {
        let ends = u128::from(self.min) + u128::from(self.max);
        self.answers == 0
            || (u128::from(self.answers - 1) * u128::from(step) == u128::from(self.max - self.min)
                && self.sum * 2 == ends * u128::from(self.answers))
    }
}

/// Checks the answer to a send to `queue` and notes its offset.
pub fn send(answer: &Answer, queue: usize, stored: &mut Stored, faults: &mut Faults) {
    match answer.offset {
        Some(offset) => stored.add(offset),
        // A refused request was not stored.
        None if answer.code != 0 => return,
        None => faults.add(|| "an answer to a send without queueOffset".into()),
    }
    if answer.queue != Some(queue as u64) {
        faults.add(|| format!("sent to queue {queue}, stored in {:?}", answer.queue));
    }
}

/// What one answer of a pull must fit.
pub struct Asked<'a> {
    pub topic: &'a str,
    pub queue: usize,
    pub offset: u64,
}

/// Checks the records of a pull, calls `each` with every body, and returns how many there were.
pub fn records(
    mut body: &[u8],
    asked: &Asked<'_>,
    next: Option<u64>,
    faults: &mut Faults,
    mut each: impl FnMut(&[u8]),
) -> u64 {
    let mut count = 0;
    while !body.is_empty() {
        let Checked::Record(record) = RecordView::parse(body, true) else {
            faults
                .add(|| format!("a broken record or body behind offset {}", asked.offset + count));
            return count;
        };
        let expected = asked.offset + count;
        if record.topic() != asked.topic || record.queue_id() as usize != asked.queue {
            faults.add(|| format!("a record of {} {}", record.topic(), record.queue_id()));
        }
        if record.queue_offset() as u64 != expected {
            faults.add(|| format!("offset {}, expected {expected}", record.queue_offset()));
        }
        each(record.body());
        count += 1;
        body = &body[record.bytes().len()..];
    }
    if next != Some(asked.offset + count) {
        faults.add(|| format!("next offset {next:?} after {count} from {}", asked.offset));
    }
    count
}

/// Calls `each` with every body of a pull, unchecked, and returns how many there were.
pub fn bodies(mut body: &[u8], mut each: impl FnMut(&[u8])) -> u64 {
    let mut count = 0;
    while let Some(record) = RecordView::new(body) {
        each(record.body());
        count += 1;
        body = &body[record.bytes().len()..];
    }
    count
}

/// Number of stored records in the body of a pull answer, by their sizes alone.
pub fn count_records(mut body: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(size) = body.first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        match body.get(size..) {
            Some(rest) if size >= 4 => body = rest,
            _ => break,
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::super::limits::record;
    use super::*;
    use crate::message::record::patch;

    fn stored(offsets: &[u64]) -> Stored {
        let (mut all, mut half) = (Stored::default(), Stored::default());
        for (index, offset) in offsets.iter().enumerate() {
            if index % 2 == 0 { &mut all } else { &mut half }.add(*offset);
        }
        all.merge(&half);
        all
    }

    #[test]
    fn offsets_of_sends_in_any_order_are_continuous() {
        assert!(stored(&[]).is_continuous(1));
        assert!(stored(&[7]).is_continuous(3));
        assert!(stored(&[9, 7, 8, 10]).is_continuous(1));
        assert!(stored(&[3, 9, 6]).is_continuous(3));
        assert!(!stored(&[7, 8, 10]).is_continuous(1), "one is missing");
        assert!(!stored(&[7, 8, 8, 10]).is_continuous(1), "one twice instead of another");
    }

    #[test]
    fn counts_records_by_their_sizes() {
        let body = [0, 0, 0, 5, 9, 0, 0, 0, 4, 0, 0, 0, 9];
        assert_eq!(count_records(&body), 2);
    }

    #[test]
    fn a_pull_is_checked_to_the_last_byte() {
        let mut body = Vec::new();
        for offset in 5..8 {
            let mut one = record("T", 3, b"hello");
            patch(&mut one, offset, 0, 0);
            body.extend_from_slice(&one);
        }
        let checked = |body: &[u8], topic, queue, offset, next| {
            let (mut faults, mut seen) = (Faults::default(), 0);
            let asked = Asked { topic, queue, offset };
            let count = records(body, &asked, Some(next), &mut faults, |body| seen += body.len());
            assert_eq!(seen as u64, count * 5);
            (count, faults.count)
        };
        assert_eq!(checked(&body, "T", 3, 5, 8), (3, 0));
        assert_eq!(checked(&body, "T", 3, 5, 9), (3, 1));
        assert_eq!(checked(&body, "T", 3, 4, 7), (3, 3));
        assert_eq!(checked(&body, "U", 3, 5, 8), (3, 3));
        assert_eq!(checked(&body[..body.len() - 1], "T", 3, 5, 7), (2, 1));
        let at = body.windows(5).rposition(|window| window == b"hello").unwrap();
        body[at] ^= 1;
        assert_eq!(checked(&body, "T", 3, 5, 7), (2, 1));
        assert_eq!(bodies(&body, |_| ()), 3);
    }
}
