//! Equally long mapped files that are one long queue of bytes, in one directory or in several.
//!
//! Each file is named by the offset of its first byte: 20 decimal digits.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::layout;
use super::mapped::{MappedFile, PAGE_BYTES};
use crate::base::error::IoContext;
use crate::base::{Error, Result};
use crate::sys;

type Files = VecDeque<Arc<MappedFile>>;

/// Contiguous files, oldest first. A directory is made when its first file is.
#[derive(Debug)]
pub struct Segments {
    /// Sorted; file number n goes into the one of number n modulo their count.
    dirs: Vec<PathBuf>,
    /// No file is made in these.
    read_only: Vec<PathBuf>,
    /// No file is made in these while there are others.
    full: RwLock<Vec<PathBuf>>,
    size: usize,
    files: RwLock<Files>,
}

impl Segments {
    /// No files yet, each to be `size` bytes long.
    pub fn new(dir: impl Into<PathBuf>, size: usize) -> Segments {
        Segments::spread(vec![dir.into()], Vec::new(), size)
    }

    fn spread(mut dirs: Vec<PathBuf>, read_only: Vec<PathBuf>, size: usize) -> Segments {
        assert!(size > 0, "segments of no bytes");
        dirs.sort_unstable();
        Segments { dirs, read_only, full: RwLock::default(), size, files: RwLock::default() }
    }

    /// The files found in `dir`, each taken as completely written. An empty last file, left by a
    /// crash while it was being made, is removed; a damaged one that is too short or too long gets
    /// its length back. Another name, a gap, or the length of another configuration is an error
    /// naming the file; directories are passed over.
    pub fn load(dir: impl Into<PathBuf>, size: usize) -> Result<Segments> {
        Segments::load_spread(vec![dir.into()], Vec::new(), size)
    }

    /// The same, of the files in all these directories; new ones go into `dirs` in turn.
    pub fn load_spread(
        dirs: Vec<PathBuf>,
        read_only: Vec<PathBuf>,
        size: usize,
    ) -> Result<Segments> {
        let segments = Segments::spread(dirs, read_only, size);
        let mut found = segments.found()?;
        found.sort_unstable();
        if let Some((_, path)) = found.last()
            && fs::metadata(path).is_ok_and(|meta| meta.len() == 0)
        {
            sys::file::remove(path).what(|| format!("remove {}", path.display()))?;
            found.pop();
        }
        segments.mend(&found)?;
        let mut files = Files::with_capacity(found.len());
        for (start, path) in found {
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
    fn mend(&self, found: &[(i64, PathBuf)]) -> Result<()> {
        let length = |path: &Path| fs::metadata(path).map(|meta| meta.len()).ok();
        let size = self.size as u64;
        let known = found.iter().any(|(_, path)| length(path) == Some(size));
        let follow = found.windows(2).all(|pair| pair[0].0 + self.size as i64 == pair[1].0);
        for (_, path) in found {
            let Some(length) = length(path).filter(|length| *length != size) else { continue };
            // One file alone, of so round a length, may have been made with that.
            if !follow || (!known && length.is_multiple_of(PAGE_BYTES as u64)) {
                continue;
            }
            log::error!(target: "store", "{}: {length} bytes long, gets its {size} back",
                path.display());
            sys::file::open(path, fs::OpenOptions::new().write(true))
                .and_then(|file| sys::file::set_len(&file, path, size))
                .what(|| format!("mend {}", path.display()))?;
        }
        Ok(())
    }

    /// Start offset and path of the files in the directories, unsorted.
    fn found(&self) -> Result<Vec<(i64, PathBuf)>> {
        let mut found = Vec::new();
        for dir in self.dirs.iter().chain(&self.read_only) {
            let what = || format!("read directory {}", dir.display());
            for entry in sys::file::entries(dir).what(what)? {
                // `lost+found` and the like.
                if entry.file_type().what(what)?.is_dir() {
                    continue;
                }
                let start = entry.file_name().to_str().and_then(layout::parse_segment);
                let start = start.filter(|start| start.checked_add(self.size as i64).is_some());
                let start = start.ok_or_else(|| {
                    let path = entry.path();
                    Error::Corrupt(format!("{}: not the name of a segment", path.display()))
                })?;
                found.push((start, entry.path()));
            }
        }
        Ok(found)
    }

    /// Where the segment that begins at `start` is to be made.
    pub fn path(&self, start: i64) -> PathBuf {
        let full = self.full.read().unwrap_or_else(PoisonError::into_inner);
        let mut usable: Vec<_> = self.dirs.iter().filter(|dir| !full.contains(dir)).collect();
        if usable.is_empty() {
            usable = self.dirs.iter().collect();
        }
        let number = usize::try_from(start).unwrap_or(0) / self.size;
        usable[number % usable.len()].join(layout::segment_name(start))
    }

    /// Says which directories are full: no file is made there while another has room.
    pub fn set_full(&self, dirs: Vec<PathBuf>) {
        *self.full.write().unwrap_or_else(PoisonError::into_inner) = dirs;
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

    /// Offset just past the last byte written behind which none is missing; 0 without files.
    pub fn max_offset(&self) -> i64 {
        let files = self.read();
        let mut newest = files.iter().rev();
        let Some(mut end) = newest.next() else { return 0 };
        // Of those before it the last may yet be copied from a `TransientStorePool`.
        for file in newest.take_while(|file| !file.is_full()) {
            end = file;
        }
        end.start() + end.wrote() as i64
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
        let path = self.path(start);
        let dir = path.parent().unwrap_or(Path::new("."));
        sys::file::make_dirs(dir).what(|| format!("create {}", dir.display()))?;
        let file = Arc::new(MappedFile::create(&path, start, self.size)?);
        self.push(file.clone());
        Ok(file)
    }

    /// Ends the queue at `offset`: the file that holds it is written up to there, later files are
    /// destroyed. For recovery, before anyone reads.
    pub fn truncate(&self, offset: i64) -> Result<()> {
        let mut files = self.write();
        while let Some(last) = files.back() {
            if last.start() > offset {
                last.destroy()?;
                // Or a power cut could bring it back, behind a log that was stopped in order since.
                sync_dir_of(last)?;
                files.pop_back();
            } else {
                last.set_wrote(((offset - last.start()) as usize).min(self.size));
                break;
            }
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
        self.dirs.iter().try_for_each(|dir| match sys::file::remove_dir(dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(e).what(|| format!("remove {}", dir.display()))
            }
            _ => Ok(()),
        })
    }

    /// Writes the bytes `from..to` to the disk.
    pub fn flush(&self, from: i64, to: i64) -> Result<()> {
        self.parts(from, to).into_iter().try_for_each(|(file, range)| {
            file.flush(range.start, range.end).what(|| format!("flush {}", file.path().display()))
        })
    }

    /// The files that hold the bytes `from..to`, and where they do.
    pub fn parts(&self, from: i64, to: i64) -> Vec<(Arc<MappedFile>, Range<usize>)> {
        let mut parts = Vec::new();
        let mut at = from.max(self.min_offset().unwrap_or(to));
        while at < to {
            let Some(file) = self.find(at) else { break };
            let end = file.end().min(to);
            let range = (at - file.start()) as usize..(end - file.start()) as usize;
            parts.push((file, range));
            at = end;
        }
        parts
    }

    fn read(&self) -> RwLockReadGuard<'_, Files> {
        self.files.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Files> {
        self.files.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Makes the removal of a file survive a power cut.
pub fn sync_dir_of(file: &MappedFile) -> Result<()> {
    let dir = file.path().parent().unwrap_or(Path::new("."));
    sys::file::sync_dir(dir).what(|| format!("sync directory {}", dir.display()))
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
    fn several_directories_are_one_queue() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c, old] = ["a", "b", "c", "old"].map(|name| dir.path().join(name));
        let dirs = || vec![c.clone(), a.clone(), b.clone()];
        let load = || Segments::load_spread(dirs(), vec![old.clone()], 4096);
        let segments = load().unwrap();
        let roll = || {
            let file = segments.roll(0).unwrap();
            assert!(file.append(&[1; 4096]).unwrap());
            file.path().parent().unwrap().to_owned()
        };
        assert_eq!([roll(), roll(), roll(), roll()], [&*a, &*b, &*c, &*a]);
        // As RocketMQ counts: file 4, 5, 6 of the two that have room.
        segments.set_full(vec![b.clone()]);
        assert_eq!([roll(), roll(), roll()], [&*a, &*c, &*a]);
        segments.set_full(dirs());
        assert_eq!(roll(), b);
        drop(segments);
        fs::create_dir(&old).unwrap();
        let first = layout::segment_name(0);
        fs::rename(a.join(&first), old.join(&first)).unwrap();
        let segments = load().unwrap();
        assert_eq!((segments.len(), segments.max_offset()), (8, 8 * 4096));
        assert_eq!(segments.drop_oldest(2).unwrap(), 2);
        assert!(!old.join(&first).exists() && !b.join(layout::segment_name(4096)).exists());
        fs::copy(b.join(layout::segment_name(7 * 4096)), a.join(layout::segment_name(7 * 4096)))
            .unwrap();
        let twice = load().unwrap_err().to_string();
        assert!(twice.contains("00000000000000028672: does not follow"), "{twice}");
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
