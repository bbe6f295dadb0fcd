//! The units of one queue file, a few of which are looked at.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

use super::consume_queue::{UNIT_BYTES, Unit};
use super::mapped::MappedFile;

/// Units that are read at once where only some are looked at.
const PEEK_UNITS: usize = 200;

/// The units of one file.
pub struct Peek {
    /// The file.
    pub source: Source,
    /// Offset in the queue of the file's first byte.
    pub start: i64,
    /// How many units are published.
    pub units: usize,
}

/// Where units are read from.
pub enum Source {
    Map(Arc<MappedFile>),
    File(Rc<File>),
}

impl Peek {
    /// The units of a file that is not mapped.
    pub fn of(file: Rc<File>, start: i64, units: usize) -> Peek {
        Peek { source: Source::File(file), start, units }
    }

    /// Unit `index` of the file; `None` when it cannot be read.
    pub fn unit(&self, index: usize) -> Option<Unit> {
        let mut bytes = [0; UNIT_BYTES];
        self.read(index, &mut bytes)?;
        Some(Unit::from_bytes(&bytes))
    }

    fn read(&self, index: usize, out: &mut [u8]) -> Option<()> {
        let at = index * UNIT_BYTES;
        if at + out.len() > self.units * UNIT_BYTES {
            return None;
        }
        match &self.source {
            Source::Map(file) => file.bytes(at, out.len()).map(|bytes| out.copy_from_slice(bytes)),
            Source::File(file) => file.read_exact_at(out, at as u64).ok(),
        }
    }

    /// How many units at the front have records below `min_physical`; 0 when they cannot be read.
    pub fn before(&self, min_physical: i64) -> usize {
        self.find_left(min_physical).unwrap_or(0)
    }

    /// Records lie in the order of their units. Where a damaged one has led astray, those before
    /// the place found tell.
    fn find_left(&self, min_physical: i64) -> Option<usize> {
        let (mut low, mut high) = (0, self.units);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.last_record(low..middle + 1)? {
                Some((index, unit)) if !unit.is_before(min_physical) => high = index,
                _ => low = middle + 1,
            }
        }
        match self.left(low.saturating_sub(PEEK_UNITS)..low, min_physical)? {
            None => Some(low),
            Some(_) => Some(self.left(0..self.units, min_physical)?.unwrap_or(self.units)),
        }
    }

    /// The first of these units that has no record below `min_physical`, if any has not; `None`
    /// when they cannot be read.
    fn left(&self, units: Range<usize>, min_physical: i64) -> Option<Option<usize>> {
        for start in units.clone().step_by(PEEK_UNITS) {
            let mut bytes = [0; PEEK_UNITS * UNIT_BYTES];
            let bytes = &mut bytes[..(units.end - start).min(PEEK_UNITS) * UNIT_BYTES];
            self.read(start, bytes)?;
            let mut found = bytes.chunks_exact(UNIT_BYTES).map(Unit::from_bytes);
            if let Some(index) = found.position(|unit| !unit.is_before(min_physical)) {
                return Some(Some(start + index));
            }
        }
        Some(None)
    }

    /// The last of these units that is of a record, if any is; `None` when they cannot be read.
    fn last_record(&self, units: Range<usize>) -> Option<Option<(usize, Unit)>> {
        let mut end = units.end;
        while end > units.start {
            let start = units.start.max(end.saturating_sub(PEEK_UNITS));
            let mut bytes = [0; PEEK_UNITS * UNIT_BYTES];
            let bytes = &mut bytes[..(end - start) * UNIT_BYTES];
            self.read(start, bytes)?;
            let mut found = (start..end).zip(bytes.chunks_exact(UNIT_BYTES).map(Unit::from_bytes));
            let is_record = |unit: Unit| unit.is_valid() && unit != Unit::BLANK;
            if let Some(last) = found.rfind(|(_, unit)| is_record(*unit)) {
                return Some(Some(last));
            }
            end = start;
        }
        Some(None)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn unit(n: i64) -> Unit {
        Unit { physical_offset: n * 100, size: 100, tags_code: n }
    }

    proptest! {
        /// Of a file that is not mapped as of one that is; some units never had a record.
        #[test]
        fn units_before_a_place_in_the_log(
            have in prop::collection::vec(prop::bool::weighted(0.5), 0..700),
            blank_front in 0..600usize,
            min in 1..1400i64,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("f");
            let of = |(at, has): (usize, &bool)| match has {
                true => unit(at as i64 + 1),
                false if at % 3 == 0 => Unit { physical_offset: 0, size: 0, tags_code: 0 },
                false => Unit::BLANK,
            };
            let front = vec![false; blank_front];
            let units: Vec<Unit> = front.iter().chain(&have).enumerate().map(of).collect();
            let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_bytes()).collect();
            fs::write(&path, bytes).unwrap();
            let peek = Peek::of(fs::File::open(&path).unwrap().into(), 0, units.len());
            let first = units.iter().position(|unit| !unit.is_before(min * 100));
            prop_assert_eq!(peek.before(min * 100), first.unwrap_or(units.len()));
        }
    }

    #[test]
    fn a_damaged_unit_hides_none_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let middle = 1000;
        for (gone, damaged) in [(0, middle), (10, middle), (1500, 100)] {
            let mut units: Vec<Unit> = (1..=2 * middle as i64).map(unit).collect();
            let min = units[gone].physical_offset;
            // Where a search by halves looks first.
            units[damaged].physical_offset = if damaged < gone { i64::MAX } else { 0 };
            let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_bytes()).collect();
            fs::write(&path, bytes).unwrap();
            let peek = Peek::of(fs::File::open(&path).unwrap().into(), 0, units.len());
            assert!(peek.before(min) <= gone, "{gone} are gone, {damaged} is damaged");
        }
    }
}
