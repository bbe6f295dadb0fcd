//! The entries of the consume queues, against the log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::log_files::Log;
use super::{Plan, Report, Segment, Window, entries, segments};
use crate::base::limits::CHECK_FILES_OPEN;
use crate::base::{Result, error::IoContext};
use crate::message::record::RecordView;
use crate::message::{property, topic};
use crate::store::consume_queue::{UNIT_BYTES, Unit};
use crate::store::consume_queue_ext::offset_of;
use crate::store::{layout, multi};
use crate::sys;

const UNIT: u64 = UNIT_BYTES as u64;
/// Bytes of an ext unit that are looked at: its size, tags code and store time.
const EXT_HEAD_BYTES: usize = 18;

/// What a queue knows of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Same,
    /// Its place in the queue is taken by another, or empty.
    Other,
    NoQueue,
}

/// All queues below `consumequeue`.
pub(super) struct Queues {
    by_topic: HashMap<String, BTreeMap<i32, Queue>>,
    open: OpenFiles,
    /// Of `topics.json`, when that can be read.
    topics: Option<HashSet<String>>,
}

struct Queue {
    dir: PathBuf,
    files: Vec<Segment>,
    ext: Vec<Segment>,
    /// Records whose entry is in its place.
    matched: u64,
    /// Records whose place is before the first file: how many, and the last one's physical offset.
    before: (u64, i64),
    /// Records whose place is empty: how many, and the last one's physical offset.
    behind: (u64, i64),
    /// The same of records in whose place another is.
    other: (u64, i64),
    /// Queue offset after the last entry.
    max: i64,
}

impl Queues {
    /// Lists the queues.
    pub fn find(plan: &Plan, topics: Option<HashSet<String>>, report: &mut Report) -> Queues {
        let mut by_topic: HashMap<String, BTreeMap<i32, Queue>> = HashMap::new();
        let root = layout::consume_queue_dir(&plan.root);
        let ext_root = layout::consume_queue_ext_dir(&plan.root);
        for topic_dir in report.entries(&root) {
            let Ok(topic) = topic_dir.file_name().into_string() else { continue };
            for dir in entries(&topic_dir.path()).unwrap_or_default() {
                let id = dir.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
                let Some(id) = id else { continue };
                let dirs = [dir.path()];
                let files = segments(&dirs, plan.queue_file_bytes, report);
                let ext_dir = ext_root.join(&topic).join(id.to_string());
                let ext = segments(&[ext_dir], None, report);
                let [dir] = dirs;
                let none = (0, i64::MIN);
                let queue = Queue {
                    dir,
                    files,
                    ext,
                    matched: 0,
                    before: none,
                    behind: none,
                    other: none,
                    max: 0,
                };
                by_topic.entry(topic.clone()).or_default().insert(id, queue);
            }
        }
        Queues { by_topic, open: OpenFiles::default(), topics }
    }

    /// Queue offset after the last entry of a queue, after `walk`.
    pub fn max_offset(&self, topic: &str, queue_id: i32) -> Option<i64> {
        self.by_topic.get(topic)?.get(&queue_id).map(|queue| queue.max)
    }

    /// What the record's queue knows of it; counts nothing.
    pub fn entry(&mut self, record: &RecordView<'_>) -> Entry {
        let place = (record.topic(), record.queue_id(), record.queue_offset());
        match self.unit(place) {
            None => Entry::NoQueue,
            Some(Some((unit, ..))) if unit.physical_offset == record.physical_offset() => {
                Entry::Same
            }
            Some(_) => Entry::Other,
        }
    }

    /// Looks the record up in its queue, and in those that it was dispatched to besides.
    pub fn compare(&mut self, record: &RecordView<'_>, report: &mut Report) -> Entry {
        let (mut names, mut offsets, mut tags, mut delay) = (None, None, None, None);
        for (name, value) in property::iter(record.properties()) {
            match name {
                property::INNER_MULTI_DISPATCH => names = Some(value),
                property::INNER_MULTI_QUEUE_OFFSET => offsets = Some(value),
                property::TAGS => tags = Some(value),
                property::DELAY => delay = value.parse::<i32>().ok().filter(|level| *level > 0),
                _ => {}
            }
        }
        let delayed = record.topic() == topic::SCHEDULE && delay.is_some();
        let tags = (!delayed).then(|| topic::tags_code(tags));
        for (name, offset) in multi::entries(names, offsets) {
            let id = if topic::is_lmq(name) { 0 } else { record.queue_id() };
            self.compare_at((name, id, offset), record, tags, report);
        }
        let place = (record.topic(), record.queue_id(), record.queue_offset());
        self.compare_at(place, record, tags, report)
    }

    fn compare_at(
        &mut self,
        place: (&str, i32, i64),
        record: &RecordView<'_>,
        tags: Option<i64>,
        report: &mut Report,
    ) -> Entry {
        let Some(found) = self.unit(place) else { return Entry::NoQueue };
        let physical = record.physical_offset();
        let queue = self.by_topic.get_mut(place.0).and_then(|ids| ids.get_mut(&place.1));
        let Some(queue) = queue else { return Entry::NoQueue };
        // Of a record that the log has the queue's file was not deleted; and a topic that was made
        // again began with the first file.
        let first = queue.files.first().map_or(0, |file| file.start / UNIT as i64);
        if (0..first).contains(&place.2) {
            queue.before = (queue.before.0 + 1, physical);
            return Entry::Other;
        }
        let Some((unit, file, at)) = found.filter(|(unit, ..)| unit.size > 0) else {
            queue.behind = (queue.behind.0 + 1, physical);
            return Entry::Other;
        };
        if unit.physical_offset != physical {
            queue.other = (queue.other.0 + 1, physical);
            return Entry::Other;
        }
        queue.matched += 1;
        let path = &queue.files[file].path;
        if unit.size != record.total_size() {
            let (says, is) = (unit.size, record.total_size());
            let what = format_args!("the entry says {says} bytes, the record has {is}");
            report.fault_at(path, at, what);
        }
        let mut code = unit.tags_code;
        if let Some(at_ext) = offset_of(code) {
            let Some(of_ext) = ext_code(queue, &mut self.open, at_ext, record) else {
                report.fault_at(path, at, "the entry names no ext unit of its record");
                return Entry::Same;
            };
            code = of_ext;
        }
        // Of a delayed message it is when to deliver it.
        let good = tags.map_or(code >= record.store_timestamp(), |tags| tags == code);
        if !good {
            report.fault_at(path, at, format_args!("{code} is not the record's tags code"));
        }
        Entry::Same
    }

    /// The unit at a place, with the number of its file and the position there: `None` without
    /// that queue, `Some(None)` where it has no file.
    fn unit(&mut self, place: (&str, i32, i64)) -> Option<Option<(Unit, usize, u64)>> {
        let queue = self.by_topic.get(place.0)?.get(&place.1)?;
        let mut bytes = [0; UNIT_BYTES];
        let found = place.2.checked_mul(UNIT as i64).and_then(|at| find(&queue.files, at));
        let Some((file, at)) = found else { return Some(None) };
        let read = self.open.read(&queue.files[file].path, at, &mut bytes);
        Some(read.is_ok().then(|| (Unit::from_bytes(&bytes), file, at)))
    }

    /// Looks for entries that belong to no record, and says what else the queues have.
    pub fn walk(&mut self, log: &Log, crashed: bool, report: &mut Report) -> Result<()> {
        let mut totals = Totals::default();
        for queue in self.by_topic.values_mut().flat_map(BTreeMap::values_mut) {
            queue.walk(log, crashed, &mut totals, report)?;
        }
        let queues: usize = self.by_topic.values().map(BTreeMap::len).sum();
        let Totals { entries, expired, behind, ahead, superseded } = totals;
        report.say(format_args!(
            "consume queues: {queues} of {} topics, {entries} entries, {expired} of them of \
             records that were deleted",
            self.by_topic.len()
        ));
        if behind + ahead > 0 {
            report.say(format_args!(
                "{behind} records wait for their entries, {ahead} entries for the next start, \
                 which removes them"
            ));
        }
        let mut gone = superseded;
        let mut without: Vec<_> = log.without_queue.iter().collect();
        without.sort();
        for ((topic, id), count) in without {
            if self.topics.as_ref().is_none_or(|topics| topics.contains(topic)) && !crashed {
                let dir = layout::consume_queue_dir(Path::new("")).join(topic).join(id.to_string());
                report.fault(&dir, format_args!("no such queue, {count} records belong there"));
            } else {
                gone += count;
            }
        }
        if gone > 0 {
            report.say(format_args!("{gone} records are of topics deleted or not known yet"));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Totals {
    entries: u64,
    expired: u64,
    behind: u64,
    ahead: u64,
    superseded: u64,
}

/// What the units of one queue are.
#[derive(Default)]
struct Seen {
    /// Of records in the log.
    inside: u64,
    /// Of records behind the end of the log: how many, and where the first one is.
    ahead: u64,
    first_ahead: Option<(usize, u64)>,
    /// Physical offset of the first entry inside.
    first: Option<i64>,
    before: i64,
}

impl Queue {
    fn walk(
        &mut self,
        log: &Log,
        crashed: bool,
        totals: &mut Totals,
        report: &mut Report,
    ) -> Result<()> {
        let mut seen = Seen { before: -1, ..Seen::default() };
        let mut ended = false;
        for (number, segment) in self.files.iter().enumerate() {
            let mut window = open(&segment.path)?;
            let mut at = 0;
            while at + UNIT <= window.bytes {
                let Some(unit) = next_unit(&mut window, at, &segment.path, report) else { break };
                if !unit.is_valid() {
                    break;
                }
                if ended {
                    report.fault_at(&segment.path, at, "an entry behind the end of its queue");
                    break;
                }
                if unit != Unit::BLANK {
                    totals.entries += 1;
                    seen.unit(unit, (number, at), log, totals, segment, report);
                } else if seen.before >= 0 {
                    report.fault_at(&segment.path, at, "a filler between entries");
                }
                at += UNIT;
            }
            if !ended {
                self.max = (segment.start + at as i64) / UNIT as i64;
            }
            ended = ended || at + UNIT <= window.bytes;
        }
        if let Some((number, at)) = seen.first_ahead {
            if crashed {
                totals.ahead += seen.ahead;
            } else {
                let count = seen.ahead;
                let what = format_args!("{count} entries point behind the end of the log");
                report.fault_at(&self.files[number].path, at, what);
            }
        }
        let (count, last) = self.before;
        if count > 0 {
            let what = format_args!(
                "{count} records are older than its files, the last one at \
                {last}"
            );
            report.fault(&self.dir, what);
        }
        let (behind, other) = (self.behind, self.other);
        if seen.inside != self.matched || behind.0 > 0 || other.0 > 0 {
            let wrong = self.name_wrong(log, report)?;
            self.missing(&seen, wrong, crashed, totals, report);
        }
        Ok(())
    }

    /// Names each entry in the log's range behind which its record does not stand; their number.
    fn name_wrong(&self, log: &Log, report: &mut Report) -> Result<u64> {
        let (mut bytes, mut wrong) = (Vec::new(), 0);
        for segment in &self.files {
            let mut window = open(&segment.path)?;
            let mut at = 0;
            while at + UNIT <= window.bytes {
                let Ok(held) = window.get(at, UNIT_BYTES) else { break };
                let unit = Unit::from_bytes(held);
                if !unit.is_valid() {
                    break;
                }
                let offset = (segment.start + at as i64) / UNIT as i64;
                let inside = (log.min..log.end).contains(&unit.physical_offset);
                if inside && unit != Unit::BLANK {
                    let found = log.record_at(unit.physical_offset, &mut bytes).unwrap_or(false);
                    let record = RecordView::new(&bytes).filter(|_| found);
                    if !record.is_some_and(|record| self.is_of(&record, offset)) {
                        wrong += 1;
                        let place = unit.physical_offset;
                        let what = format_args!("no record of this entry at offset {place}");
                        report.fault_at(&segment.path, at, what);
                    }
                }
                at += UNIT;
            }
        }
        Ok(wrong)
    }

    /// Whether a record belongs at this queue offset. One that was dispatched to several queues is
    /// not looked at more closely.
    fn is_of(&self, record: &RecordView<'_>, offset: i64) -> bool {
        let multi = property::get(record.properties(), property::INNER_MULTI_DISPATCH).is_some();
        let dir = Path::new(record.topic()).join(record.queue_id().to_string());
        multi || (record.queue_offset() == offset && self.dir.ends_with(dir))
    }

    /// Records without an entry. Those older than the queue's first entry are of a topic of the
    /// same name that was deleted.
    fn missing(
        &self,
        seen: &Seen,
        wrong: u64,
        crashed: bool,
        totals: &mut Totals,
        report: &mut Report,
    ) {
        for ((count, last), is_behind) in [(self.behind, true), (self.other, false)] {
            if count == 0 {
                continue;
            }
            if seen.first.is_some_and(|first| last < first) {
                totals.superseded += count;
            } else if is_behind && crashed {
                totals.behind += count;
            } else if is_behind || wrong == 0 {
                let what = format_args!("{count} records have no entry, the last one at {last}");
                report.fault(&self.dir, what);
            }
        }
    }
}

impl Seen {
    fn unit(
        &mut self,
        unit: Unit,
        place: (usize, u64),
        log: &Log,
        totals: &mut Totals,
        segment: &Segment,
        report: &mut Report,
    ) {
        let physical = unit.physical_offset;
        if physical <= self.before {
            let what = format_args!("{physical} is not behind the entry before it");
            report.fault_at(&segment.path, place.1, what);
        }
        self.before = physical;
        if physical < log.min {
            totals.expired += 1;
        } else if physical >= log.end {
            self.ahead += 1;
            self.first_ahead.get_or_insert(place);
        } else {
            self.inside += 1;
            self.first.get_or_insert(physical);
        }
    }
}

fn open(path: &Path) -> Result<Window> {
    Window::open(path).what(|| format!("open {}", path.display()))
}

fn next_unit(window: &mut Window, at: u64, path: &Path, report: &mut Report) -> Option<Unit> {
    match window.get(at, UNIT_BYTES) {
        Ok(bytes) => Some(Unit::from_bytes(bytes)),
        Err(e) => {
            report.fault_at(path, at, e);
            None
        }
    }
}

/// The number of the file that holds the byte at `offset`, and its position there.
fn find(files: &[Segment], offset: i64) -> Option<(usize, u64)> {
    let index = files.partition_point(|segment| segment.end() <= offset);
    let segment = files.get(index)?;
    Some((index, u64::try_from(offset - segment.start).ok()?))
}

/// The tags code in the ext unit at an offset; `None` when none of this record is there.
fn ext_code(
    queue: &Queue,
    open: &mut OpenFiles,
    offset: i64,
    record: &RecordView<'_>,
) -> Option<i64> {
    let (file, at) = find(&queue.ext, offset)?;
    let mut head = [0; EXT_HEAD_BYTES];
    open.read(&queue.ext[file].path, at, &mut head).ok()?;
    let long = |at: usize| head[at..at + 8].try_into().map_or(0, i64::from_be_bytes);
    let size = i16::from_be_bytes([head[0], head[1]]);
    (size >= 20 && long(10) == record.store_timestamp()).then(|| long(2))
}

/// Files that are read here and there; forgotten when there are many.
#[derive(Default)]
struct OpenFiles(HashMap<PathBuf, File>);

impl OpenFiles {
    fn read(&mut self, path: &Path, at: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(file) = self.0.get(path) {
            return file.read_exact_at(out, at);
        }
        if self.0.len() >= CHECK_FILES_OPEN {
            self.0.clear();
        }
        let file = sys::file::open_now(path)?;
        file.read_exact_at(out, at)?;
        self.0.insert(path.to_owned(), file);
        Ok(())
    }
}
