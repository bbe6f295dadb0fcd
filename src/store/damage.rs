//! Damage met while reading: a record is checked before it is served, and a unit that does not name
//! its record is made again from the log.
//!
//! Checked are records that this process has not written, and those so old that their pages have
//! surely come back from the disk since: for those written lately it would be work for nothing.

use super::Store;
use super::consume_queue::{Queue, Unit};
use super::recover;
use super::segments::Segments;
use crate::base::limits::REPAIR_READ_BYTES_MAX;
use crate::message::record::{Checked, RecordView};

/// How many units before and behind a damaged one are looked at for a whole one.
const NEIGHBOURS: i64 = 1000;

impl Store {
    /// The unit of the message at `offset` of the queue, whose record is whole: `unit`, or, when
    /// that is damaged, a new one, which is written to the queue. `None`: the message is lost.
    pub(super) fn checked(&self, queue: &Queue, offset: i64, unit: Unit) -> Option<Unit> {
        if unit == Unit::BLANK || self.is_whole(queue, offset, unit) {
            return Some(unit).filter(|unit| *unit != Unit::BLANK);
        }
        let segments = self.log.segments();
        let min = segments.min_offset().unwrap_or(0);
        let is_gone = |unit: Unit| unit.physical_offset < min;
        // The last one that went stands behind one before it; a damaged one would seldom.
        let follows = |before: Unit| before.end() <= unit.physical_offset;
        let after_gone = || queue.unit(offset - 1).is_some_and(follows);
        if is_gone(unit) && (queue.unit(offset + 1).is_none_or(is_gone) || after_gone()) {
            return None;
        }
        match self.look_for(queue, offset) {
            Some(found) if found == unit => Some(found),
            Some(found) => {
                self.stats.repaired_units.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                log::error!(target: "store", "{queue}: the unit of {offset} was damaged, {unit:?}, \
                    and is made again from the log");
                if let Err(e) = queue.repair(offset, found) {
                    log::error!(target: "store", "{e}");
                }
                Some(found)
            }
            None => {
                self.stats.damaged_messages.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                log::error!(target: "store", "{queue}: message {offset} is lost, its record at {} \
                    is damaged", unit.physical_offset);
                None
            }
        }
    }

    fn is_whole(&self, queue: &Queue, offset: i64, unit: Unit) -> bool {
        let (topic, id) = (queue.topic(), queue.queue_id());
        recover::stands(self.log.segments(), topic, id, offset, unit)
            .is_some_and(|record| record.is_whole())
    }

    /// Looks in the log, between the records of the units around, for the record.
    fn look_for(&self, queue: &Queue, offset: i64) -> Option<Unit> {
        let whole = |at: i64| queue.unit(at).filter(|unit| self.is_whole(queue, at, *unit));
        let segments = self.log.segments();
        let before = (1..=NEIGHBOURS).find_map(|n| whole(offset - n)).map(Unit::end);
        let behind = (1..=NEIGHBOURS).find_map(|n| whole(offset + n));
        let from = before.or(segments.min_offset())?;
        let to = behind.map_or(self.reput.position(), |unit| unit.physical_offset);
        let to = to.min(from.saturating_add(REPAIR_READ_BYTES_MAX));
        let mut found = None;
        each_record(segments, from, to, |record, position| {
            let here = record.queue_id() == queue.queue_id() && record.topic() == &**queue.topic();
            if here && record.queue_offset() == offset {
                found = Some(self.reput.unit(record, position));
            }
            found.is_none()
        });
        found
    }
}

/// Calls `take` with every whole record from `from` to `to` until it says false.
fn each_record(
    segments: &Segments,
    from: i64,
    to: i64,
    mut take: impl FnMut(&RecordView<'_>, i64) -> bool,
) {
    let mut position = from;
    while position < to {
        let Some(file) = segments.find(position) else { return };
        let bytes = file.bytes(0, file.wrote()).unwrap_or_default();
        let mut at = (position - file.start()) as usize;
        while at < bytes.len() && file.start() + (at as i64) < to {
            let here = file.start() + at as i64;
            at = match RecordView::parse(&bytes[at..], true) {
                Checked::Record(record) if record.physical_offset() == here => {
                    if !take(&record, here) {
                        return;
                    }
                    at + record.total_size() as usize
                }
                Checked::Blank(left) if recover::fills(left, file.size() - at) => file.size(),
                _ => {
                    recover::next_record(bytes, at, file.start(), usize::MAX).unwrap_or(bytes.len())
                }
            };
        }
        if at < file.size() {
            return;
        }
        position = file.end();
    }
}

#[cfg(test)]
mod tests;
