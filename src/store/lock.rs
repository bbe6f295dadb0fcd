//! One broker for each store: the lock file.

use std::fs::{File, OpenOptions};
use std::path::Path;

use super::layout;
use crate::base::error::IoContext;
use crate::base::{Error, Result};
use crate::sys;

/// The lock on a store, held while this lives. Java's FileLock sees it and the other way round.
#[derive(Debug)]
pub struct StoreLock {
    /// Closing it gives the lock back.
    _file: Option<File>,
}

impl StoreLock {
    /// Fails when another process, or another store of this one, has it.
    pub fn take(root: &Path) -> Result<StoreLock> {
        let path = layout::lock_file(root);
        let what = || format!("lock {}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = sys::file::open(&path, &options).what(what)?;
        match sys::file::try_lock(&file) {
            Ok(true) => {}
            Ok(false) => {
                return Err(Error::Config(format!(
                    "Lock failed,MQ already started: {}",
                    path.display()
                )));
            }
            Err(e) => return Err(e).what(what),
        }
        sys::file::write_at(&file, &path, b"lock", 0).what(what)?;
        Ok(StoreLock { _file: Some(file) })
    }

    /// Keeps brokers away while this lives, without a change to the store. Fails when a broker has
    /// it. A store without the file, which no broker ever opened, is not locked.
    pub fn share(root: &Path) -> Result<StoreLock> {
        let path = layout::lock_file(root);
        let what = || format!("lock {}", path.display());
        let file = match sys::file::open_now(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            file => Some(file.what(what)?),
        };
        match file.as_ref().map_or(Ok(true), sys::file::try_lock_shared).what(what)? {
            true => Ok(StoreLock { _file: file }),
            false => {
                let path = path.display();
                Err(Error::Config(format!("a running broker has this store open: {path}")))
            }
        }
    }
}
