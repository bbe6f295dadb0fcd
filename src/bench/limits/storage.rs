//! What memory and disk can do at most for a commit log.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::base::Result;
use crate::base::error::IoContext;
use crate::bench::outcome::{Latencies, latencies};
use crate::store::mapped::{MappedFile, PAGE_BYTES};

const WARM_BYTES: usize = 64 * 1024 * 1024;
const COLD_BYTES: usize = 512 * 1024 * 1024;
const WRITE_BYTES: usize = 512 * 1024 * 1024;
const CHUNK_BYTES: usize = 1024 * 1024;

/// Bytes a second of appending `record` to a mapped file whose pages are all there.
pub fn append_warm(dir: &Path, record: &[u8], time: Duration) -> Result<f64> {
    let (path, file) = mapped(dir, "warm", WARM_BYTES)?;
    let result = touch(&file).and_then(|_| {
        let began = Instant::now();
        let mut bytes = 0;
        while began.elapsed() < time {
            file.set_wrote(0);
            while file.append(record).what(|| format!("append to {}", path.display()))? {
                bytes += record.len();
            }
        }
        Ok(bytes as f64 / began.elapsed().as_secs_f64())
    });
    remove(&path);
    result
}

/// Bytes a second of storing into each page of a new mapped file for the first time, its disk space
/// reserved before.
pub fn first_touch(dir: &Path) -> Result<f64> {
    let (path, file) = mapped(dir, "cold", COLD_BYTES)?;
    let result = touch(&file);
    remove(&path);
    result
}

/// Latencies of writing `record` behind the last and having it on the disk.
pub fn data_sync(dir: &Path, record: &[u8], time: Duration) -> Result<Latencies> {
    let path = name(dir, "sync");
    let what = || format!("write and sync {}", path.display());
    let result = (|| {
        let file = File::create(&path).what(what)?;
        crate::sys::file::reserve(&file, &path, 0, WARM_BYTES as u64).what(what)?;
        let mut found = latencies()?;
        let (began, mut at) = (Instant::now(), 0);
        while began.elapsed() < time {
            let start = Instant::now();
            file.write_all_at(record, at).what(what)?;
            file.sync_data().what(what)?;
            found.saturating_record(start.elapsed().as_nanos() as u64);
            at = (at + record.len() as u64) % (WARM_BYTES - record.len()) as u64;
        }
        Ok(found)
    })();
    remove(&path);
    result
}

/// Bytes a second of writing a file in one go until it is on the disk.
pub fn write_through(dir: &Path) -> Result<f64> {
    let path = name(dir, "write");
    let what = || format!("write {}", path.display());
    let result = (|| {
        let mut file = File::create(&path).what(what)?;
        // Not zeros, which a disk may be clever about.
        let chunk: Vec<u8> =
            (0..CHUNK_BYTES as u32).map(|at| (at.wrapping_mul(2_654_435) >> 7) as u8).collect();
        let began = Instant::now();
        for _ in 0..WRITE_BYTES / CHUNK_BYTES {
            file.write_all(&chunk).what(what)?;
        }
        file.sync_data().what(what)?;
        Ok(WRITE_BYTES as f64 / began.elapsed().as_secs_f64())
    })();
    remove(&path);
    result
}

/// Stores one byte into each page; bytes a second.
fn touch(file: &MappedFile) -> Result<f64> {
    let what = || format!("touch {}", file.path().display());
    file.reserve_all().what(what)?;
    let began = Instant::now();
    for page in (0..file.size()).step_by(PAGE_BYTES) {
        file.write_at(page, &[1]).what(what)?;
    }
    Ok(file.size() as f64 / began.elapsed().as_secs_f64())
}

fn mapped(dir: &Path, what: &str, size: usize) -> Result<(PathBuf, MappedFile)> {
    let path = name(dir, what);
    let file = MappedFile::create(&path, 0, size)?;
    Ok((path, file))
}

fn name(dir: &Path, what: &str) -> PathBuf {
    dir.join(format!("mqbench-{}-{what}", std::process::id()))
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let time = Duration::from_millis(1);
        assert!(append_warm(dir.path(), &[7; 1280], time).unwrap() > 0.0);
        assert!(!data_sync(dir.path(), &[7; 1280], time).unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(first_touch(&dir.path().join("no")).is_err());
    }
}
