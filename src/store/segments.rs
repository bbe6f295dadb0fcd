//! A directory of equally long mapped files that together are one long queue of bytes.
//!
//! Each file is named by the offset of its first byte: 20 decimal digits.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::layout;
use super::mapped::{MappedFile, PAGE_BYTES};
use crate::base::error::IoContext;
use crate::base::{Error, Result};
use crate::sys;

type Files = VecDeque<Arc<MappedFile>>;

/// Contiguous files, oldest first. The directory is made when the first file is.
#[derive(Debug)]
pub struct Segments {
    dir: PathBuf,
    size: usize,
    files: RwLock<Files>,
}

impl Segments {
    /// No files yet, each to be `size` bytes long.
    pub fn new(dir: impl Into<PathBuf>, size: usize) -> Segments {
        assert!(size > 0, "segments of no bytes");
        Segments { dir: dir.into(), size, files: RwLock::new(Files::new()) }
    }

    /// The files found in `dir`, each taken as completely written. An empty last file, left by a
    /// crash while it was being made, is removed; a damaged one that is too short or too long gets
    /// its length back. Another name, a gap, or the length of another configuration is an error
    /// naming the file; directories are passed over.
    pub fn load(dir: impl Into<PathBuf>, size: usize) -> Result<Segments> {
        let segments = Segments::new(dir, size);
        let mut names = segments.names()?;
        names.sort_unstable();
        if let Some(&last) = names.last() {
            let path = segments.path(last);
            if fs::metadata(&path).is_ok_and(|meta| meta.len() == 0) {
                sys::file::remove(&path).what(|| format!("remove {}", path.display()))?;
                names.pop();
            }
        }
        segments.mend(&names)?;
        let mut files = Files::with_capacity(names.len());
        for start in names {
            let path = segments.path(start);
            if files.back().is_some_and(|last: &Arc<MappedFile>| last.end() != start) {
                return Err(Error::Corrupt(format!(
                    "{}: does not follow the file before it",
                    path.display()
                )));
            }
            files.push_back(Arc::new(MappedFile::open(&path, start, size)?));
        }
        *segments.write() = files;
        Ok(segments)
    }

    /// Gives files of a wrong length the right one: what is missing reads as zeros, as damage. Not
    /// when all may be files of another `size`.
    fn mend(&self, names: &[i64]) -> Result<()> {
        let length = |start: &i64| fs::metadata(self.path(*start)).map(|meta| meta.len()).ok();
        let size = self.size as u64;
        let known = names.iter().any(|start| length(start) == Some(size));
        let follow = names.windows(2).all(|pair| pair[0] + self.size as i64 == pair[1]);
        for start in names {
            let Some(length) = length(start).filter(|length| *length != size) else { continue };
            // One file alone, of so round a length, may have been made with that.
            if !follow || (!known && length.is_multiple_of(PAGE_BYTES as u64)) {
                continue;
            }
            let path = self.path(*start);
            log::error!(target: "store", "{}: {length} bytes long, gets its {size} back",
                path.display());
            sys::file::open(&path, fs::OpenOptions::new().write(true))
                .and_then(|file| sys::file::set_len(&file, &path, size))
                .what(|| format!("mend {}", path.display()))?;
        }
        Ok(())
    }

    /// Start offsets of the files in the directory, unsorted.
    fn names(&self) -> Result<Vec<i64>> {
        let what = || format!("read directory {}", self.dir.display());
        let mut names = Vec::new();
        for entry in sys::file::entries(&self.dir).what(what)? {
            // `lost+found` and the like.
            if entry.file_type().what(what)?.is_dir() {
                continue;
            }
            let name = entry.file_name();
            let start = name.to_str().and_then(layout::parse_segment);
            let start = start.filter(|start| start.checked_add(self.size as i64).is_some());
            names.push(start.ok_or_else(|| {
                let path = self.dir.join(&name);
                Error::Corrupt(format!("{}: not the name of a segment", path.display()))
            })?);
        }
        Ok(names)
    }

    /// Where the segment that begins at `start` lies.
    pub fn path(&self, start: i64) -> PathBuf {
        self.dir.join(layout::segment_name(start))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Length of each file in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The file that holds the byte at `offset`, written or not.
    pub fn find(&self, offset: i64) -> Option<Arc<MappedFile>> {
        let files = self.read();
        let first = files.front()?.start();
        let index = usize::try_from(offset.checked_sub(first)?).ok()? / self.size;
        files.get(index).cloned()
    }

    /// The oldest file.
    pub fn first(&self) -> Option<Arc<MappedFile>> {
        self.read().front().cloned()
    }

    /// The file being written.
    pub fn last(&self) -> Option<Arc<MappedFile>> {
        self.read().back().cloned()
    }

    /// All files, oldest first.
    pub fn files(&self) -> Vec<Arc<MappedFile>> {
        self.read().iter().cloned().collect()
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Offset of the first byte kept, `None` without files.
    pub fn min_offset(&self) -> Option<i64> {
        self.read().front().map(|file| file.start())
    }

    /// Offset just past the last byte written; 0 without files.
    pub fn max_offset(&self) -> i64 {
        self.read().back().map_or(0, |file| file.start() + file.wrote() as i64)
    }

    /// Adds a file made ready elsewhere; it must begin where the last one ends.
    pub fn push(&self, file: Arc<MappedFile>) {
        let mut files = self.write();
        if let Some(last) = files.back() {
            assert_eq!(last.end(), file.start(), "segment out of place: {}", file.path().display());
        }
        files.push_back(file);
    }

    /// Creates the next file here and now. `start` counts only when there are no files: the offset
    /// to begin the queue with, rounded down to a multiple of the file size.
    pub fn roll(&self, start: i64) -> Result<Arc<MappedFile>> {
        let start = self.last().map_or(start - start % self.size as i64, |last| last.end());
        sys::file::make_dirs(&self.dir).what(|| format!("create {}", self.dir.display()))?;
        let file = Arc::new(MappedFile::create(&self.path(start), start, self.size)?);
        self.push(file.clone());
        Ok(file)
    }

    /// Ends the queue at `offset`: the file that holds it is written up to there, later files are
    /// destroyed. For recovery, before anyone reads.
    pub fn truncate(&self, offset: i64) -> Result<()> {
        let mut files = self.write();
        let count = files.len();
        while let Some(last) = files.back() {
            if last.start() > offset {
                last.destroy()?;
                files.pop_back();
            } else {
                last.set_wrote(((offset - last.start()) as usize).min(self.size));
                break;
            }
        }
        if files.len() < count {
            // Or a power cut could bring them back, behind a log that was stopped in order since.
            sys::file::sync_dir(&self.dir)
                .what(|| format!("sync directory {}", self.dir.display()))?;
        }
        Ok(())
    }

    /// Takes the oldest file, but never the last one, out of the directory and then out of the
    /// queue: when the disk refuses, it stays. Readers keep what they hold. Only one thread may do
    /// this at a time.
    pub fn remove_oldest(&self) -> Result<Option<Arc<MappedFile>>> {
        let Some(first) = self.first().filter(|_| self.len() > 1) else { return Ok(None) };
        first.destroy()?;
        let mut files = self.write();
        if files.front().is_some_and(|file| Arc::ptr_eq(file, &first)) {
            files.pop_front();
        }
        Ok(Some(first))
    }

    /// The same with `count` files; how many went.
    pub fn drop_oldest(&self, count: usize) -> Result<usize> {
        let mut dropped = 0;
        while dropped < count && self.remove_oldest()?.is_some() {
            dropped += 1;
        }
        Ok(dropped)
    }

    /// Destroys every file and the directory.
    pub fn destroy(&self) -> Result<()> {
        let files = std::mem::take(&mut *self.write());
        for file in files {
            file.destroy()?;
        }
        match sys::file::remove_dir(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(e).what(|| format!("remove {}", self.dir.display()))
            }
            _ => Ok(()),
        }
    }

    /// Writes the bytes `from..to` to the disk.
    pub fn flush(&self, from: i64, to: i64) -> Result<()> {
        let mut at = from.max(self.min_offset().unwrap_or(to));
        while at < to {
            let Some(file) = self.find(at) else { break };
            let end = file.end().min(to);
            file.flush((at - file.start()) as usize, (end - file.start()) as usize)
                .what(|| format!("flush {}", file.path().display()))?;
            at = end;
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Files> {
        self.files.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Files> {
        self.files.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(dir: &Path, files: i64) -> Segments {
        let segments = Segments::new(dir, 4096);
        for i in 0..files {
            let file = segments.roll(0).unwrap();
            assert_eq!(file.start(), i * 4096);
            assert!(file.append(&[b'a' + i as u8; 4096]).unwrap());
        }
        segments
    }

    #[test]
    fn finds_by_offset() {
        let dir = tempfile::tempdir().unwrap();
        let segments = filled(dir.path(), 3);
        assert_eq!(segments.find(4096).unwrap().start(), 4096);
        assert_eq!(segments.find(12287).unwrap().start(), 8192);
        assert!(segments.find(12288).is_none() && segments.find(-1).is_none());
        assert_eq!((segments.min_offset(), segments.max_offset()), (Some(0), 12288));
        assert_eq!(segments.drop_oldest(1).unwrap(), 1);
        assert!(segments.find(4095).is_none());
        assert_eq!(segments.find(4096).unwrap().bytes(0, 1), Some(&b"b"[..]));
        assert_eq!(segments.drop_oldest(9).unwrap(), 1);
        assert_eq!(segments.min_offset(), Some(8192));
        segments.flush(0, 12288).unwrap();
    }

    #[test]
    fn loads_what_it_wrote_and_truncates() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path(), 3));
        fs::write(dir.path().join(layout::segment_name(12288)), b"").unwrap();
        let segments = Segments::load(dir.path(), 4096).unwrap();
        assert_eq!(segments.max_offset(), 12288);
        segments.truncate(5000).unwrap();
        assert_eq!((segments.len(), segments.max_offset()), (2, 5000));
        segments.truncate(4096).unwrap();
        assert_eq!((segments.len(), segments.max_offset()), (2, 4096));
        assert!(!dir.path().join(layout::segment_name(8192)).exists());
        segments.destroy().unwrap();
        assert!(!dir.path().exists());
    }

    #[test]
    fn starts_a_queue_in_the_middle() {
        let dir = tempfile::tempdir().unwrap();
        let segments = Segments::new(dir.path().join("q/0"), 4096);
        assert_eq!(segments.roll(10_000).unwrap().start(), 8192);
        assert_eq!(segments.max_offset(), 8192);
    }

    #[test]
    fn refuses_foreign_files_by_name() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path(), 2));
        let refused = |name: &str| {
            let text = Segments::load(dir.path(), 4096).unwrap_err().to_string();
            assert!(text.contains(name), "{text}");
        };
        let odd = dir.path().join("00000000000000020000");
        fs::write(&odd, [0; 4096]).unwrap();
        refused("00000000000000020000: does not follow");
        fs::remove_file(&odd).unwrap();
        let odd = dir.path().join(layout::segment_name(8192));
        for length in [100, 5000] {
            fs::write(&odd, vec![1; length]).unwrap();
            assert_eq!(Segments::load(dir.path(), 4096).unwrap().max_offset(), 12288);
        }
        fs::remove_file(&odd).unwrap();
        fs::write(dir.path().join("99999999999999999999"), [0; 4096]).unwrap();
        refused("99999999999999999999: not the name");
    }
}
