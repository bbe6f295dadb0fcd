//! Whether the store takes writes, and if not, why.

use std::sync::atomic::{AtomicU32, Ordering};

/// RocketMQ's running flags; each one set refuses puts. Reads go on.
#[derive(Debug, Default)]
pub struct RunningFlags(AtomicU32);

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
    /// Sets a reason. Returns whether it is new.
    pub fn set(&self, refusal: Refusal) -> bool {
        self.0.fetch_or(refusal as u32, Ordering::AcqRel) & refusal as u32 == 0
    }

    /// Takes a reason back. Returns whether it was set.
    pub fn clear(&self, refusal: Refusal) -> bool {
        self.0.fetch_and(!(refusal as u32), Ordering::AcqRel) & refusal as u32 != 0
    }

    /// Whether puts are accepted.
    pub fn is_writeable(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    /// Whether this reason is set.
    pub fn has(&self, refusal: Refusal) -> bool {
        self.0.load(Ordering::Acquire) & refusal as u32 != 0
    }
}
