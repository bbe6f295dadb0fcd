//! Power cuts: a store works, what it does to the disk is recorded, and for some moments of the
//! recording the disk is built as a cut at that moment may leave it. The store opens on it and has
//! what it had said to be there.

mod check;
mod disk;
mod run;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use disk::{Disk, Loss, Numbers};
use run::{Run, Told};

use super::fixture;
use crate::base::clock;
use crate::sys::faults;

/// Cuts in the recording of one run.
const CUTS: usize = 12;
/// Runs one after the other, each on a disk that a cut of the one before has left.
const RUNS: usize = 4;
/// Seeds of a test run, `CUTS * RUNS` disks each.
const SEEDS: u64 = 45;
const BEGAN: i64 = 1_700_000_000_000;

/// Removes what is in `dir`.
fn empty(dir: &Path) {
    if dir.exists() {
        fs::remove_dir_all(dir).unwrap();
    }
    fs::create_dir(dir).unwrap();
}

/// All cuts of one seed. A failure names run and cut.
struct Seed {
    numbers: Numbers,
    sync: bool,
    index_safe: bool,
    /// Most units wait in memory before they are written.
    far: bool,
    dirs: [PathBuf; 2],
}

impl Seed {
    fn new(seed: u64, place: &Path) -> Seed {
        let mut numbers = Numbers::new(seed);
        let (sync, index_safe) = (numbers.one_in(2), numbers.one_in(3));
        let far = seed.is_multiple_of(2);
        Seed { numbers, sync, index_safe, far, dirs: ["a", "b"].map(|name| place.join(name)) }
    }

    fn config(&self, disk: &Path) -> crate::config::BrokerConfig {
        let mut config = run::config(&disk.join("store"), self.sync, self.index_safe);
        if self.far {
            config.store.consume_queue_files_mapped_max = 1;
        }
        config
    }

    fn go(&mut self) {
        let mut told = Told::default();
        let mut now = BEGAN;
        let mut kept: Option<Disk> = None;
        empty(&self.dirs[0]);
        for number in 0..RUNS {
            let here = self.dirs[0].clone();
            let mut disk = kept.take().unwrap_or_else(|| Disk::of(&here));
            disk.move_to(&here);
            faults::record();
            let config = self.config(&here);
            let root = here.join("store");
            let mut run = Run::open(&root, config, &mut self.numbers, told, now);
            now = run.work();
            told = run.told;
            let changes = faults::recording();
            let moments: BTreeSet<usize> =
                (0..CUTS).map(|_| self.numbers.below(changes.len() + 1)).collect();
            let mut done = 0;
            let last = *moments.last().expect("cuts");
            let mut next = None;
            for moment in moments {
                changes[done..moment].iter().for_each(|change| disk.apply(change));
                done = moment;
                let loss = match self.numbers.below(8) {
                    0 => Loss::Nothing,
                    1 => Loss::Everything,
                    _ => Loss::Some,
                };
                let context = format!("run {number}, after {moment} changes, loss {loss:?}");
                next = Some((loss, self.cut(&disk, loss, &told, moment, &context)));
            }
            let (loss, present) = next.expect("cuts");
            told = self.after(told, last, present, loss);
            if loss == Loss::Nothing {
                kept = Some(disk);
            }
            self.dirs.swap(0, 1);
        }
    }

    /// Builds a disk in the second directory, in which it stays, and checks it.
    fn cut(
        &mut self,
        disk: &Disk,
        loss: Loss,
        told: &Told,
        moment: usize,
        context: &str,
    ) -> Vec<run::Sent> {
        let there = self.dirs[1].clone();
        let at = self.numbers.below(usize::MAX) as u64;
        let build = || {
            empty(&there);
            disk.cut(loss, &mut Numbers::new(at), &there);
        };
        build();
        let root = there.join("store");
        let store = run::open(self.config(&there)).unwrap_or_else(|e| panic!("{context}: {e}"));
        let present = check::check(&store, &root, told, moment);
        drop(store);
        // As it was before it was opened, for the next run.
        build();
        present.unwrap_or_else(|e| panic!("{context}: {e}"))
    }

    /// What is known of a disk after a cut.
    fn after(&self, told: Told, moment: usize, present: Vec<run::Sent>, loss: Loss) -> Told {
        let json = run::load_json(&self.dirs[1].join("store"));
        // When only the process ended, what it was doing is there, but may not be on the disk.
        let saved = if loss == Loss::Nothing { Told::at(&told.saved, moment) } else { json };
        let unsure = told.unsure_at(moment);
        // What was cleaned away may come back with the name of its file.
        let first = present.first().map_or(i64::MAX, |sent| sent.physical_offset);
        let cleaned = Told::at(&told.cleaned, moment).min(first);
        // Whole pages may be on disk whose last record is not whole.
        let end = present.last().map_or(0, |sent| sent.end);
        let gone = told.sent.into_iter().filter(|sent| sent.end <= cleaned);
        let settled = |sent: run::Sent| {
            let deleted = sent.is_deleted(moment).unwrap_or(true).then_some(0..0);
            run::Sent { deleted, ..sent }
        };
        Told {
            sent: gone.chain(present).map(settled).collect(),
            durable: vec![(0, Told::at(&told.durable, moment).min(end))],
            cleaned: vec![(0, Told::at(&told.cleaned, moment))],
            unsure,
            saving: vec![(0, json)],
            saved: vec![(0, saved)],
        }
    }
}

fn number(name: &str, other: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(other)
}

/// `scripts/crash-images` sets the first seed and their number.
#[test]
fn every_cut_leaves_what_was_promised() {
    let first = number("CRASH_SEED", 1);
    let next = AtomicU64::new(first);
    let end = first + number("CRASH_SEEDS", SEEDS);
    let failed = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let place = fixture::in_memory();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failed.load(Ordering::Relaxed) != u64::MAX {
                        return;
                    }
                    clock::set_present(BEGAN);
                    let go = || Seed::new(seed, place.path()).go();
                    if catch_unwind(AssertUnwindSafe(go)).is_err() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert!(failed == u64::MAX, "seed {failed}: again by scripts/crash-images --seed {failed}");
}
