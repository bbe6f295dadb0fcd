//! Samples of everything that is read from a peer or the disk, changed at random (the same in every
//! run). `scripts/fuzz` searches further through the same functions.

mod entries;

use entries::{ENTRIES, Entry};

use crate::child::Numbers;
use crate::mutants::mutate_bytes;

/// Changed samples of what needs no files, and of what does.
const CASES: usize = 4000;
const CASES_WITH_FILES: usize = 150;

fn mutants(entry: &Entry, count: usize) {
    let samples = (entry.samples)();
    let mut numbers = Numbers::new(7);
    samples.iter().for_each(|sample| (entry.read)(sample));
    for case in 0..count {
        let mut bytes = samples[case % samples.len()].clone();
        mutate_bytes(&mut numbers, &mut bytes);
        let read = std::panic::AssertUnwindSafe(|| (entry.read)(&bytes));
        if let Err(panic) = std::panic::catch_unwind(read) {
            eprintln!("{} case {case}: {}", entry.name, bytes.escape_ascii());
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn changed_bytes_are_read_or_refused() {
    let in_memory = |entry: &&Entry| !["index", "json"].contains(&entry.name);
    ENTRIES.iter().filter(in_memory).for_each(|entry| mutants(entry, CASES));
}

#[test]
fn changed_files_are_read_or_refused() {
    let with_files = |entry: &&Entry| ["index", "json"].contains(&entry.name);
    ENTRIES.iter().filter(with_files).for_each(|entry| mutants(entry, CASES_WITH_FILES));
}
