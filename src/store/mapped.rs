//! One mapped file: one appender, many readers, a published length. UNSAFE place 2 of the program.
//!
//! The bytes before `wrote` never change while the file is shared, so readers borrow them without a
//! lock; the bytes after it belong to whoever appends. Disk blocks are reserved before a page is
//! first written: storing to an unreserved page of a full disk would kill the process with SIGBUS.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering, compiler_fence};

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::base::error::IoContext;
use crate::base::limits::RESERVE_STEP_BYTES;
use crate::base::slice::{Region, Slice};
use crate::base::{Error, Result};
use crate::sys;
use crate::sys::faults::{Call, Change, check, done};

/// Size of a page of the mapping; files are locked, prefaulted and flushed by whole pages.
pub const PAGE_BYTES: usize = 4096;
/// Bytes at the front of what is appended that are stored last.
const HEAD_BYTES: usize = 8;
/// How many bytes are taken out of the map. Of fewer it costs more than it saves; more are in large
/// folios, which it divides (see tests/bench/NOTES.md).
const UNMAP_BYTES: RangeInclusive<usize> = 4 * PAGE_BYTES..=256 * 1024;

/// A file of fixed length, mapped whole.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    start: i64,
    map: MmapRaw,
    /// Bytes published to readers.
    wrote: AtomicUsize,
    /// Disk blocks exist for the bytes before this position.
    reserved: AtomicUsize,
    /// Held for the length of one `append`.
    appending: AtomicBool,
    /// There is a file.
    on_disk: bool,
}

impl MappedFile {
    /// A new file of `size` bytes, zero filled and sparse, with nothing written. `start` is the
    /// offset in its queue that its first byte has. Fails when the file exists.
    pub fn create(path: &Path, start: i64, size: usize) -> Result<MappedFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = sys::file::open(path, &options).what(|| format!("create {}", path.display()))?;
        let made = sys::file::set_len(&file, path, size as u64)
            .and_then(|()| Self::map(&file, path, start, size))
            .what(|| format!("size and map {}", path.display()));
        if made.is_err() {
            let _ = sys::file::remove(path);
        }
        made
    }

    /// An existing file, taken as completely written: recovery moves `wrote` back.
    pub fn open(path: &Path, start: i64, size: usize) -> Result<MappedFile> {
        let open = || format!("open {}", path.display());
        let file = sys::file::open(path, OpenOptions::new().read(true).write(true)).what(open)?;
        let meta = file.metadata().what(open)?;
        if meta.len() != size as u64 {
            return Err(Error::Corrupt(format!(
                "{}: {} bytes long, expected {size}",
                path.display(),
                meta.len()
            )));
        }
        let mapped = Self::map(&file, path, start, size).what(open)?;
        mapped.wrote.store(size, Ordering::Release);
        if meta.blocks() * 512 >= size as u64 {
            mapped.reserved.store(size, Ordering::Relaxed);
        }
        Ok(mapped)
    }

    /// Memory in place of a file, called `name` in messages.
    pub fn in_memory(name: &str, size: usize) -> io::Result<MappedFile> {
        let map = MmapOptions::new().len(size).map_anon()?;
        let memory = MappedFile::over(map.into(), Path::new(name), 0, false);
        memory.reserved.store(size, Ordering::Relaxed);
        Ok(memory)
    }

    fn map(file: &File, path: &Path, start: i64, size: usize) -> io::Result<MappedFile> {
        check(Call::Mmap, path)?;
        let map = MmapOptions::new().len(size).map_raw(file)?;
        Ok(MappedFile::over(map, path, start, true))
    }

    fn over(map: MmapRaw, path: &Path, start: i64, on_disk: bool) -> MappedFile {
        MappedFile {
            path: path.to_path_buf(),
            start,
            map,
            wrote: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            appending: AtomicBool::new(false),
            on_disk,
        }
    }

    /// Where it lies, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The offset in its queue of its first byte.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// Length of the file in bytes, which never changes.
    pub fn size(&self) -> usize {
        self.map.len()
    }

    /// The offset in its queue just past its last byte.
    pub fn end(&self) -> i64 {
        self.start + self.size() as i64
    }

    /// Bytes published to readers.
    pub fn wrote(&self) -> usize {
        self.wrote.load(Ordering::Acquire)
    }

    /// Where in memory a byte is, for a prefetch.
    pub fn address(&self, position: usize) -> usize {
        self.map.as_ptr().addr() + position
    }

    /// Whether no byte is left to append to.
    pub fn is_full(&self) -> bool {
        self.wrote() == self.size()
    }

    /// Moves the published length: to the end of the good bytes in recovery, to the end of the file
    /// when it is sealed. Moving it back is for a file that no one else reads or appends to.
    pub fn set_wrote(&self, wrote: usize) {
        assert!(wrote <= self.size(), "{}: wrote past the end", self.path.display());
        self.wrote.store(wrote, Ordering::Release);
    }

    /// Copies `bytes` behind the last published one and publishes them. `Ok(false)`: they do not
    /// fit, nothing is written. An error: the disk has no room. Only one thread may append at a
    /// time.
    ///
    /// The first 8 bytes, of a record its length and magic, are stored after all others: a process
    /// killed in the middle leaves nothing that looks like the record.
    pub fn append(&self, bytes: &[u8]) -> io::Result<bool> {
        self.append_pieces([bytes])
    }

    /// The same for bytes in pieces, the first of which has those 8 bytes.
    pub fn append_pieces<const N: usize>(&self, pieces: [&[u8]; N]) -> io::Result<bool> {
        assert!(!self.appending.swap(true, Ordering::Acquire), "two appenders of one file");
        let at = self.wrote.load(Ordering::Relaxed);
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let result = if len > self.size() - at {
            Ok(false)
        } else {
            self.reserve(at + len).map(|()| {
                let mut rest = pieces;
                let (head, first) = pieces[0].split_at(pieces[0].len().min(HEAD_BYTES));
                rest[0] = first;
                self.copy_in(at + head.len(), rest);
                compiler_fence(Ordering::SeqCst);
                self.copy_in(at, [head]);
                self.wrote.store(at + len, Ordering::Release);
                true
            })
        };
        self.appending.store(false, Ordering::Release);
        result
    }

    /// The same by a write: of much that is copied at once, each page would be a fault. A process
    /// killed in the middle leaves the first of the bytes.
    pub fn append_by_write(&self, bytes: &[u8]) -> io::Result<bool> {
        assert!(!self.appending.swap(true, Ordering::Acquire), "two appenders of one file");
        let at = self.wrote.load(Ordering::Relaxed);
        let result = if bytes.len() > self.size() - at {
            Ok(false)
        } else {
            self.reserve(at + bytes.len())
                .and_then(|()| sys::file::open(&self.path, OpenOptions::new().write(true)))
                .and_then(|file| sys::file::write_at(&file, &self.path, bytes, at as u64))
                .map(|()| {
                    self.wrote.store(at + bytes.len(), Ordering::Release);
                    true
                })
        };
        self.appending.store(false, Ordering::Release);
        result
    }

    /// Stores `bytes` at `position` without moving the published length: for files that are updated
    /// in place. The caller keeps reads and writes of the same bytes apart, and ends within the
    /// file.
    pub fn write_at(&self, position: usize, bytes: &[u8]) -> io::Result<()> {
        let end = position.checked_add(bytes.len()).filter(|end| *end <= self.size());
        self.reserve(end.expect("write_at past the end of the file"))?;
        self.copy_in(position, [bytes]);
        Ok(())
    }

    /// Copies the pieces to `at`, one behind the other.
    fn copy_in<const N: usize>(&self, at: usize, pieces: [&[u8]; N]) {
        let mut to = at;
        for piece in pieces {
            // SAFETY: both callers checked that `at` plus all lengths is within the mapping and
            // reserved on disk. The range is past the published length and owned through
            // `appending`, or kept from concurrent use by the caller of write_at.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    piece.as_ptr(),
                    self.map.as_mut_ptr().add(to),
                    piece.len(),
                );
            }
            to += piece.len();
        }
        if self.on_disk {
            done(|| Change::Write(self.path.clone(), at as u64, pieces.concat()));
        }
    }

    /// Copies bytes out of the whole file, published or not; the counterpart of `write_at`.
    /// `position` plus the length of `out` must be within the file.
    pub fn read_at(&self, position: usize, out: &mut [u8]) {
        let end = position.checked_add(out.len());
        assert!(end.is_some_and(|end| end <= self.size()), "read_at past the end of the file");
        // SAFETY: within the mapping by the assert; the caller keeps writers of these bytes away.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.map.as_ptr().add(position),
                out.as_mut_ptr(),
                out.len(),
            );
        }
    }

    /// Reads the big-endian i32 at `position`, a multiple of 4 within the file, while another
    /// thread may `store_i32` there.
    pub fn load_i32(&self, position: usize) -> i32 {
        i32::from_be(self.atomic(position).load(Ordering::Acquire))
    }

    /// Stores a big-endian i32 at `position`, a multiple of 4 within the file and below a byte that
    /// was written before, so that its disk block exists. Earlier stores are seen before it.
    pub fn store_i32(&self, position: usize, value: i32) {
        debug_assert!(position < self.reserved.load(Ordering::Relaxed));
        self.atomic(position).store(value.to_be(), Ordering::Release);
        done(|| Change::Write(self.path.clone(), position as u64, value.to_be_bytes().into()));
    }

    fn atomic(&self, position: usize) -> &AtomicI32 {
        assert!(position.is_multiple_of(4) && position + 4 <= self.size());
        // SAFETY: within the mapping and aligned by the assert (a mapping begins at a page), and
        // only accessed through this atomic while shared.
        unsafe { AtomicI32::from_ptr(self.map.as_mut_ptr().add(position).cast()) }
    }

    /// The published bytes `position..position + len`, `None` when not all of them are published.
    pub fn bytes(&self, position: usize, len: usize) -> Option<&[u8]> {
        if position.checked_add(len)? > self.wrote() {
            return None;
        }
        // SAFETY: published bytes are within the mapping and do not change while the file is
        // shared.
        Some(unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(position), len) })
    }

    /// Published bytes that keep the mapping alive, even past `destroy`.
    pub fn slice(self: &Arc<Self>, position: usize, len: usize) -> Option<Slice> {
        self.bytes(position, len)?;
        Some(Slice::new(self.clone(), position, len))
    }

    /// Makes sure that the disk has blocks for the bytes before `end`, and for some more, growing
    /// with the file, so that this seldom is a system call.
    pub fn reserve(&self, end: usize) -> io::Result<()> {
        let have = self.reserved.load(Ordering::Relaxed);
        if end <= have {
            return Ok(());
        }
        let step = end.clamp(PAGE_BYTES, RESERVE_STEP_BYTES);
        let until = (end + step).next_multiple_of(PAGE_BYTES).min(self.size());
        self.reserve_exact(have, until)
    }

    /// Has the length of the file on the disk.
    pub fn sync_length(&self) -> io::Result<()> {
        let file = sys::file::open(&self.path, OpenOptions::new().write(true))?;
        sys::file::sync_data(&file, &self.path)
    }

    /// Reserves the whole file at once.
    pub fn reserve_all(&self) -> io::Result<()> {
        match self.reserved.load(Ordering::Relaxed) {
            have if have == self.size() => Ok(()),
            have => self.reserve_exact(have, self.size()),
        }
    }

    fn reserve_exact(&self, from: usize, until: usize) -> io::Result<()> {
        let file = sys::file::open(&self.path, OpenOptions::new().write(true))?;
        match sys::file::reserve(&file, &self.path, from as u64, (until - from) as u64) {
            // A file system without fallocate cannot promise blocks; it is used as it is.
            Err(e) if e.raw_os_error() != Some(libc::EOPNOTSUPP) => return Err(e),
            _ => {}
        }
        self.reserved.fetch_max(until, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the bytes `from..to` to the disk (msync). An error means that they may be lost: the
    /// kernel reports it once, so a later success says nothing about them.
    pub fn flush(&self, from: usize, to: usize) -> io::Result<()> {
        if from >= to {
            return Ok(());
        }
        check(Call::Msync, &self.path)?;
        self.map.flush_range(from, to - from)?;
        done(|| Change::Sync(self.path.clone(), from as u64..to as u64));
        Ok(())
    }

    /// Takes the whole pages of `range` out of the map before they are flushed. The kernel forbids
    /// the storing to each page that it writes, which interrupts the other processors page by page;
    /// so they are interrupted once. Who reads the pages again gets many at a time.
    pub fn unmap(&self, range: Range<usize>) {
        let start = range.start.next_multiple_of(PAGE_BYTES);
        let end = range.end.min(self.size()) / PAGE_BYTES * PAGE_BYTES;
        if UNMAP_BYTES.contains(&end.saturating_sub(start)) {
            self.take_out(start..end);
        }
    }

    /// Takes the pages of `range` out of the map, however many: for a file that is not needed any
    /// more, in steps, since the kernel would have a processor for long to take out all of them.
    pub fn take_out(&self, range: Range<usize>) {
        let range = self.pages(range);
        if !self.on_disk {
            return;
        }
        // SAFETY: `pages` keeps the range within the mapping, and it is of a file that is mapped
        // shared: what the kernel drops is where the pages are, and not what is in them. Before
        // Linux 5.18 it refuses.
        unsafe {
            let at = self.map.as_mut_ptr().add(range.start).cast();
            libc::madvise(at, range.len(), libc::MADV_DONTNEED_LOCKED);
        }
    }

    /// Tells the kernel how the file will be read.
    pub fn advise(&self, advice: Advice) -> io::Result<()> {
        self.map.advise(advice)
    }

    /// Makes the pages of `range` writable without a fault, allocating and zeroing memory for them.
    /// Their blocks must be reserved, and the file read at random (`advise`), or the kernel would
    /// read ahead.
    ///
    /// The memory comes in folios of 2 MiB (on Linux from 5.18 on, where the file system has them):
    /// a third of the time that pages take, and without the kernel's read ahead, which where it is
    /// set to megabytes makes as much ready in one go, for 20 ms. But the kernel writes a folio
    /// whole when a byte of it was stored through a map, so a flush of one record then writes
    /// 2 MiB. With `single_pages` it does not.
    pub fn prefault(&self, range: Range<usize>, single_pages: bool) -> io::Result<()> {
        let range = self.pages(range);
        debug_assert!(range.end <= self.reserved.load(Ordering::Relaxed).max(PAGE_BYTES));
        let advise = |advice| self.map.advise_range(advice, range.start, range.len());
        // Refused by a kernel without huge pages, which then makes single ones.
        let _ = advise(if single_pages { Advice::NoHugePage } else { Advice::HugePage });
        check(Call::Madvise, &self.path)?;
        advise(Advice::PopulateWrite)
    }

    /// The file is only read from now on: takes back the large folios of `prefault`, which each
    /// later miss would read. Not for a file of another run: it may be mapped by folios it has.
    pub fn read_by_page(&self) {
        // Unknown to a kernel without huge pages.
        let _ = self.advise(Advice::NoHugePage);
    }

    /// Whether all pages of `range` are in memory, so that reading them waits for no disk.
    pub fn is_resident(&self, range: Range<usize>) -> bool {
        const PAGES: usize = 512;
        let range = self.pages(range);
        let mut found = [0u8; PAGES];
        range.clone().step_by(PAGES * PAGE_BYTES).all(|at| {
            let len = (range.end - at).min(PAGES * PAGE_BYTES);
            let pages = len.div_ceil(PAGE_BYTES);
            // SAFETY: `pages` keeps the range within the mapping; the kernel writes one byte a
            // page, at most `PAGES`.
            let told = unsafe {
                libc::mincore(self.map.as_mut_ptr().add(at).cast(), len, found.as_mut_ptr())
            };
            // What the kernel does not tell is taken to be there: reading finds out.
            told != 0 || found[..pages].iter().all(|page| page & 1 == 1)
        })
    }

    /// Has the disk begin to read what of `range` is not in memory.
    pub fn will_need(&self, range: Range<usize>) -> io::Result<()> {
        let range = self.pages(range);
        self.map.advise_range(Advice::WillNeed, range.start, range.len())
    }

    /// Waits until all of `range` is in memory, readable without a fault. An error, and no signal,
    /// when the disk cannot give it.
    pub fn read_in(&self, range: Range<usize>) -> io::Result<()> {
        let range = self.pages(range);
        match self.map.advise_range(Advice::PopulateRead, range.start, range.len()) {
            // Linux before 5.14: the reader will wait.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            result => result,
        }
    }

    /// Keeps every page of the file in memory from its first use on (mlock).
    pub fn lock(&self) -> io::Result<()> {
        check(Call::Mlock, &self.path)?;
        // SAFETY: the whole mapping, which lives as long as `self`.
        cvt(unsafe {
            libc::mlock2(self.map.as_ptr().cast(), self.size(), libc::MLOCK_ONFAULT as _)
        })
    }

    /// Undoes `lock` for the pages of `range`.
    pub fn unlock(&self, range: Range<usize>) -> io::Result<()> {
        let range = self.pages(range);
        // SAFETY: `pages` keeps the range within the mapping.
        cvt(unsafe { libc::munlock(self.map.as_ptr().add(range.start).cast(), range.len()) })
    }

    /// `range` widened to whole pages and cut to the file.
    fn pages(&self, range: Range<usize>) -> Range<usize> {
        let end = range.end.min(self.size());
        (range.start.min(end) / PAGE_BYTES * PAGE_BYTES)..end
    }

    /// Removes the file from its directory. Memory and disk blocks are given back when the last
    /// reader has dropped its slice.
    pub fn destroy(&self) -> Result<()> {
        sys::file::remove_if_there(&self.path).what(|| format!("remove {}", self.path.display()))
    }
}

impl Region for MappedFile {
    fn bytes(&self, start: usize, len: usize) -> &[u8] {
        MappedFile::bytes(self, start, len).expect("slice of unpublished bytes")
    }
}

fn cvt(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(size: usize) -> (tempfile::TempDir, Arc<MappedFile>) {
        let dir = tempfile::tempdir().unwrap();
        let file = MappedFile::create(&dir.path().join("f"), 100, size).unwrap();
        (dir, Arc::new(file))
    }

    #[test]
    fn appends_until_full_and_publishes() {
        let (_dir, file) = file(10);
        assert!(file.append(b"abcdef").unwrap());
        assert_eq!(file.wrote(), 6);
        assert!(!file.append(b"ghijk").unwrap());
        assert!(file.append(b"ghij").unwrap());
        assert!(file.is_full());
        assert_eq!(file.bytes(4, 6), Some(&b"efghij"[..]));
        assert_eq!(file.bytes(4, 7), None);
        assert_eq!(file.bytes(usize::MAX, 2), None);
        assert_eq!(file.end(), 110);
    }

    #[test]
    fn slices_outlive_the_file() {
        let (_dir, file) = file(8192);
        file.append(b"abc").unwrap();
        let slice = file.slice(1, 2).unwrap();
        assert!(file.slice(1, 3).is_none());
        file.destroy().unwrap();
        file.destroy().unwrap();
        assert!(!file.path().exists());
        drop(file);
        assert_eq!(slice.as_bytes(), b"bc");
    }

    #[test]
    fn reopens_with_the_right_length_only() {
        let (_dir, file) = file(8192);
        file.append(b"abc").unwrap();
        file.flush(0, 3).unwrap();
        let again = MappedFile::open(file.path(), 100, 8192).unwrap();
        assert_eq!(again.wrote(), 8192);
        again.set_wrote(3);
        assert_eq!(again.bytes(0, 3), Some(&b"abc"[..]));
        let text = MappedFile::open(file.path(), 100, 4096).unwrap_err().to_string();
        assert!(text.ends_with("/f: 8192 bytes long, expected 4096"), "{text}");
        assert!(MappedFile::create(file.path(), 100, 8192).is_err());
    }

    /// Which pages of the file are in this process's page table.
    fn in_map(file: &MappedFile) -> Vec<bool> {
        let map = File::open("/proc/self/pagemap").unwrap();
        let mut entries = vec![0; file.size() / PAGE_BYTES * 8];
        let first = file.address(0) / PAGE_BYTES * 8;
        std::os::unix::fs::FileExt::read_exact_at(&map, &mut entries, first as u64).unwrap();
        entries.chunks(8).map(|entry| entry[7] & 0x80 != 0).collect()
    }

    #[test]
    fn pages_out_of_the_map_keep_what_was_stored() {
        let (_dir, file) = file(16 * PAGE_BYTES);
        file.reserve_all().and_then(|()| file.advise(Advice::Random)).unwrap();
        file.lock().and_then(|()| file.prefault(0..file.size(), true)).unwrap();
        let stored: Vec<u8> = (0..9 * PAGE_BYTES + 10).map(|at| (at % 251) as u8).collect();
        file.append(&stored).unwrap();
        let slice = file.slice(0, stored.len()).unwrap();
        assert_eq!(in_map(&file), [true; 16]);
        // Three whole pages and parts of two.
        file.unmap(PAGE_BYTES - 1..PAGE_BYTES * 5 - 1);
        assert_eq!(in_map(&file), [true; 16], "too few to pay");
        file.unmap(1..stored.len());
        let left: Vec<bool> = (0..16).map(|page| !(1..9).contains(&page)).collect();
        assert_eq!(in_map(&file), left, "whole pages only, not the one that is written");
        file.take_out(10 * PAGE_BYTES..12 * PAGE_BYTES);
        let left: Vec<bool> =
            (0..16).map(|page| !(1..9).contains(&page) && page / 2 != 5).collect();
        assert_eq!(in_map(&file), left);
        file.flush(0, stored.len()).unwrap();
        assert_eq!(slice.as_bytes(), stored);
        file.append(b"more").unwrap();
        file.flush(stored.len(), stored.len() + 4).unwrap();
        let again = fs::read(file.path()).unwrap();
        assert!(again.starts_with(&[&stored[..], b"more"].concat()));
        file.unlock(0..file.size()).unwrap();
    }

    #[test]
    fn memory_without_a_file_stays_in_the_map() {
        let memory = MappedFile::in_memory("m", 8 * PAGE_BYTES).unwrap();
        memory.append(&[7; 8 * PAGE_BYTES]).unwrap();
        memory.unmap(0..memory.size());
        assert_eq!(memory.bytes(0, memory.size()), Some(&[7; 8 * PAGE_BYTES][..]));
    }

    #[test]
    fn in_place_writes_and_reservation() {
        let (_dir, file) = file(1 << 20);
        file.write_at(500_000, b"xy").unwrap();
        let mut out = [0; 3];
        file.read_at(499_999, &mut out);
        assert_eq!(&out, b"\0xy");
        assert_eq!(file.wrote(), 0);
        file.reserve_all().unwrap();
        file.prefault(0..1 << 19, false).unwrap();
        file.prefault(1 << 19..1 << 20, true).unwrap();
        file.lock().and_then(|()| file.unlock(4096..8192)).unwrap();
        assert!(fs::metadata(file.path()).unwrap().blocks() * 512 >= 1 << 20);
    }
}
