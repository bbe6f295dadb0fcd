use std::path::Path;

use super::*;
use crate::base::thread::{self, Handle};
use crate::config::FlushDiskType;
use crate::message::record::{Checked, RecordView};

const FILE: usize = 64 * 1024;

struct Log {
    log: Arc<CommitLog>,
    allocate: Arc<Allocate>,
    thread: Option<Handle>,
}

impl Log {
    fn open(dir: &Path) -> Log {
        let segments = Arc::new(Segments::load(dir, FILE).unwrap());
        let allocate = Allocate::new(segments.clone(), FlushDiskType::AsyncFlush, 1 << 20);
        let thread = Some(allocate.start().unwrap());
        let log = Arc::new(CommitLog::new(segments, allocate.clone(), 0, None));
        Log { log, allocate, thread }
    }

    /// Offset, as `number` would give it, of each record, and its queue offset; checks the chain.
    fn records(&self) -> Vec<(i64, i64)> {
        let mut found = Vec::new();
        for file in self.log.segments().files() {
            let bytes = file.bytes(0, file.wrote()).unwrap();
            let mut at = 0;
            while at < bytes.len() {
                match RecordView::parse(&bytes[at..], true) {
                    Checked::Record(record) => {
                        let offset = file.start() + at as i64;
                        assert_eq!(record.physical_offset(), offset);
                        found.push((offset, record.queue_offset()));
                        at += record.total_size() as usize;
                    }
                    Checked::Blank(len) => {
                        assert_eq!(len as usize, bytes.len() - at);
                        break;
                    }
                    _ => panic!("no record at {at} of {}", file.path().display()),
                }
            }
        }
        found
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.allocate.stop();
        self.thread.take().unwrap().join();
    }
}

fn record(body: usize) -> Vec<u8> {
    crate::store::tests::record("T", 0, &vec![b'x'; body])
}

#[test]
fn rolls_over_with_a_blank_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path());
    let queue = AtomicI64::new(7);
    let mut expected = 0;
    for i in 0..200 {
        let mut bytes = record(1000 + i);
        let size = bytes.len() as i64;
        let left = FILE as i64 - expected % FILE as i64;
        if size + BLANK_BYTES as i64 > left {
            expected += left;
        }
        let done = log.log.append(Encoded::whole(&mut bytes), Some(&queue), &[]).unwrap();
        assert_eq!((done.physical_offset, done.queue_offset), (expected, 7 + i as i64));
        expected += size;
        assert_eq!(done.end(), expected);
    }
    assert_eq!(log.log.max_offset(), expected);
    assert_eq!(queue.into_inner(), 207);
    let records = log.records();
    assert_eq!(records.len(), 200);
    assert!(records.iter().map(|(_, queue)| *queue).eq(7..207));
}

#[test]
fn exact_fits_leave_room_for_the_blank_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path());
    let overhead = record(0).len();
    let queue = AtomicI64::new(0);
    let mut fits = record(FILE - BLANK_BYTES - overhead);
    assert_eq!(
        log.log.append(Encoded::whole(&mut fits), Some(&queue), &[]).unwrap().physical_offset,
        0
    );
    let mut one = record(1);
    assert_eq!(
        log.log.append(Encoded::whole(&mut one), Some(&queue), &[]).unwrap().physical_offset,
        FILE as i64
    );
    let mut too_long = record(FILE - BLANK_BYTES - overhead + 1);
    assert_eq!(
        log.log.append(Encoded::whole(&mut too_long), Some(&queue), &[]),
        Err(PutStatus::MessageIllegal)
    );
    assert_eq!(log.records(), [(0, 0), (FILE as i64, 1)]);
}

#[test]
fn a_batch_stays_in_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path());
    let queue = AtomicI64::new(0);
    let batch: Vec<u8> = (0..10).flat_map(|i| record(2000 + i)).collect();
    for round in 0..7 {
        let done = log.log.append(Encoded::whole(&mut batch.clone()), Some(&queue), &[]).unwrap();
        assert_eq!((done.queue_offset, done.count), (round * 10, 10));
        let last = done.end() - 1;
        assert_eq!(done.physical_offset / FILE as i64, last / FILE as i64);
    }
    assert_eq!(log.records().len(), 70);
    let mut half = record(10);
    assert_eq!(log.log.append(Encoded::whole(&mut half), None, &[]).unwrap().queue_offset, 0);
    assert_eq!(queue.into_inner(), 70);
}

#[test]
fn many_appenders_get_offsets_in_log_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path());
    let queue = Arc::new(AtomicI64::new(0));
    let threads: Vec<Handle> = (0..4)
        .map(|i| {
            let (log, queue) = (log.log.clone(), queue.clone());
            let work = move || {
                for _ in 0..300 {
                    log.append(Encoded::whole(&mut record(900 + i)), Some(&queue), &[]).unwrap();
                }
            };
            thread::spawn("appender", work).unwrap()
        })
        .collect();
    threads.into_iter().for_each(Handle::join);
    let records = log.records();
    assert_eq!(records.len(), 1200);
    assert!(records.iter().map(|(_, queue)| *queue).eq(0..1200));
    assert_eq!(log.log.lock_held_ms(), 0);
}

#[test]
fn the_unused_next_file_goes_at_stop() {
    let dir = tempfile::tempdir().unwrap();
    let count = || std::fs::read_dir(dir.path()).unwrap().count();
    let log = Log::open(dir.path());
    log.log.append(Encoded::whole(&mut record(10)), None, &[]).unwrap();
    log.allocate.wait_for(FILE as i64, Instant::now() + NEXT_FILE_WAIT).unwrap();
    assert_eq!(count(), 2);
    drop(log);
    assert_eq!(count(), 1);
    drop(Log::open(dir.path()));
    assert_eq!(count(), 1);
}

#[test]
fn no_next_file_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let blocker = dir.path().join("log");
    std::fs::write(&blocker, "").unwrap();
    let segments = Arc::new(Segments::new(&blocker, FILE));
    let allocate = Allocate::new(segments.clone(), FlushDiskType::AsyncFlush, 1 << 20);
    let thread = allocate.start().unwrap();
    let log = CommitLog::new(segments, allocate.clone(), 0, None);
    let refused = log.append(Encoded::whole(&mut record(10)), None, &[]);
    assert_eq!(refused, Err(PutStatus::CreateMapedFileFailed));
    std::fs::remove_file(&blocker).unwrap();
    let give_up = Instant::now() + Duration::from_secs(60);
    while log.append(Encoded::whole(&mut record(10)), None, &[]).is_err() {
        assert!(Instant::now() < give_up, "never recovered");
        std::thread::sleep(Duration::from_millis(10));
    }
    allocate.stop();
    thread.join();
}
