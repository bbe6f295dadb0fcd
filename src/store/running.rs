//! Whether the store takes writes, and if not, why.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::Error;

/// RocketMQ's running flags; each one set refuses puts. Reads go on.
#[derive(Debug, Default)]
pub struct RunningFlags {
    bits: AtomicU32,
    /// What was said when each bit was set.
    why: Mutex<BTreeMap<u32, String>>,
}

/// A reason to refuse puts, with RocketMQ's bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The commit log could not be written to the disk; until restart.
    NotWriteable = 2,
    /// A consume queue could not be written; cleared when dispatch has caught up.
    QueueError = 4,
    /// An index file could not be written; cleared when dispatch has caught up.
    IndexError = 8,
    /// The disk is full; cleared when there is room again.
    DiskFull = 16,
}

impl RunningFlags {
    /// Sets a reason, and what to tell an operator about it. Returns whether it is new.
    pub fn set(&self, refusal: Refusal, why: impl Display) -> bool {
        let bit = refusal as u32;
        let mut all = self.why();
        let is_new = self.bits.fetch_or(bit, Ordering::AcqRel) & bit == 0;
        if is_new {
            all.insert(bit, why.to_string());
        }
        is_new
    }

    /// The commit log could not be written: no more writes until restart.
    pub fn give_up(&self, error: &Error) {
        let why = format!("{error}; the store takes no more messages until restart");
        if self.set(Refusal::NotWriteable, &why) {
            log::error!(target: "store", "{why}");
        }
    }

    /// Takes a reason back. Returns whether it was set.
    pub fn clear(&self, refusal: Refusal) -> bool {
        self.why().remove(&(refusal as u32));
        self.bits.fetch_and(!(refusal as u32), Ordering::AcqRel) & refusal as u32 != 0
    }

    /// Whether puts are accepted.
    pub fn is_writeable(&self) -> bool {
        self.bits.load(Ordering::Acquire) == 0
    }

    /// Whether this reason is set.
    pub fn has(&self, refusal: Refusal) -> bool {
        self.bits.load(Ordering::Acquire) & refusal as u32 != 0
    }

    /// All that was said about reasons that are set.
    pub fn reasons(&self) -> Vec<String> {
        self.why().values().cloned().collect()
    }

    fn why(&self) -> MutexGuard<'_, BTreeMap<u32, String>> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_while_it_holds() {
        let flags = RunningFlags::default();
        assert!(flags.set(Refusal::DiskFull, "full"));
        assert!(!flags.set(Refusal::DiskFull, "fuller"));
        assert!(flags.set(Refusal::NotWriteable, "broken"));
        assert_eq!(flags.reasons(), ["broken", "full"]);
        assert!(flags.clear(Refusal::DiskFull) && !flags.clear(Refusal::DiskFull));
        assert_eq!((flags.reasons(), flags.is_writeable()), (vec!["broken".to_owned()], false));
    }
}
