//! What stands beside a consume queue with `enableConsumeQueueExt`: for each message a unit with
//! its tags code, its store time and the bit map of the filters that it passes.
//!
//! A unit is, big-endian: size i16 (of all of it), tags code i64, store time i64 in ms, length of
//! the bit map i16, the bit map. Units never span files: a file that has no room for the next one
//! and four bytes more ends with the size -1. The queue's own unit holds, in place of a tags code,
//! the address of this one: its offset in these files, from `i64::MIN` on.
//!
//! A unit that is lost costs a look at the message's properties, never a message.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering::*};

use super::mapped::MappedFile;
use super::segments::Segments;
use crate::base::Result;
use crate::base::error::IoContext;

/// Bytes of a unit without a bit map.
const UNIT_BYTES_MIN: usize = 20;
/// Bytes that stay free behind the last unit of a file.
const END_BYTES: usize = 4;
/// The size that ends a file.
const END: i16 = -1;
/// Addresses are at most this; every hash of a tag is greater.
const ADDRESS_MAX: i64 = i32::MIN as i64 - 1;

/// Whether what a queue's unit holds as its tags code is the address of a unit here.
pub fn is_address(tags_code: i64) -> bool {
    tags_code <= ADDRESS_MAX
}

/// What is known of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtUnit<'a> {
    pub tags_code: i64,
    /// In ms.
    pub store_timestamp: i64,
    /// Empty when none was computed.
    pub bit_map: &'a [u8],
}

impl<'a> ExtUnit<'a> {
    /// Bytes it takes.
    pub fn size(&self) -> usize {
        UNIT_BYTES_MIN + self.bit_map.len()
    }

    /// From the unit that `bytes` begin with, and its size.
    fn read(bytes: &'a [u8]) -> Option<(ExtUnit<'a>, usize)> {
        let size = usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
        let unit = bytes.get(..size.max(UNIT_BYTES_MIN))?;
        let (head, rest) = unit.split_first_chunk::<UNIT_BYTES_MIN>()?;
        let word = |at: usize| head[at..at + 8].try_into().map_or(0, i64::from_be_bytes);
        let bits = i16::from_be_bytes([head[18], head[19]]);
        let bit_map = rest.get(..usize::try_from(bits).unwrap_or(0))?;
        let whole = size == UNIT_BYTES_MIN + bit_map.len() && size <= i16::MAX as usize;
        let unit = ExtUnit { tags_code: word(2), store_timestamp: word(10), bit_map };
        whole.then_some((unit, size))
    }

    /// `None` for one that is too long.
    fn to_bytes(self) -> Option<Vec<u8>> {
        let size = i16::try_from(self.size()).ok()?;
        let mut out = Vec::with_capacity(self.size());
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&self.tags_code.to_be_bytes());
        out.extend_from_slice(&self.store_timestamp.to_be_bytes());
        out.extend_from_slice(&(self.bit_map.len() as i16).to_be_bytes());
        out.extend_from_slice(self.bit_map);
        Some(out)
    }
}

/// The units beside one queue. One thread appends, the one that appends to the queue.
pub struct Ext {
    files: Segments,
    /// Bytes of units, from offset 0.
    end: AtomicI64,
    flushed: AtomicI64,
}

impl Ext {
    /// The files found in `dir`, each `file_bytes` long; `recover` finds their end.
    pub fn load(dir: &Path, file_bytes: usize) -> Result<Ext> {
        let files = Segments::load(dir, file_bytes)?;
        let end = files.max_offset();
        Ok(Ext { files, end: AtomicI64::new(end), flushed: AtomicI64::new(end) })
    }

    /// Shows `look` the unit at an address; `None` when it is not there.
    pub fn get<R>(&self, address: i64, look: impl FnOnce(ExtUnit<'_>) -> R) -> Option<R> {
        self.unit_at(offset_of(address)?, |unit, _| look(unit))
    }

    /// Shows `look` the unit at an offset, and its size.
    fn unit_at<R>(&self, offset: i64, look: impl FnOnce(ExtUnit<'_>, usize) -> R) -> Option<R> {
        let file = self.files.find(offset)?;
        let position = usize::try_from(offset - file.start()).ok()?;
        let rest = file.bytes(position, file.wrote().checked_sub(position)?)?;
        ExtUnit::read(rest).map(|(unit, size)| look(unit, size))
    }

    /// Appends a unit and returns its address; `None` for one that no file has room for. Errors:
    /// no file, or no disk space for it.
    pub fn put(&self, unit: &ExtUnit<'_>) -> Result<Option<i64>> {
        let Some(bytes) = unit.to_bytes() else { return Ok(None) };
        if bytes.len() + END_BYTES > self.files.size() {
            return Ok(None);
        }
        let fits = |file: &MappedFile| bytes.len() + END_BYTES <= file.size() - file.wrote();
        let last = self.files.last();
        let file = match last {
            Some(file) if fits(&file) => file,
            last => {
                if let Some(full) = last {
                    seal(&full)?;
                }
                self.files.roll(0)?
            }
        };
        let offset = file.start() + file.wrote() as i64;
        if offset + bytes.len() as i64 > ADDRESS_MAX - i64::MIN {
            return Ok(None);
        }
        append(&file, &bytes)?;
        self.end.store(offset + bytes.len() as i64, Release);
        Ok(Some(offset + i64::MIN))
    }

    /// Ends the files behind the unit at `last`, the last address that the queue holds, or, when it
    /// holds none, behind the last unit. The place of units that are lost is not used again: the
    /// queue's addresses of them must not lead to others. Files that do not reach that far hold
    /// nothing that can be relied on.
    pub fn recover(&self, last: Option<i64>) -> Result<()> {
        let end = match last.and_then(offset_of) {
            Some(offset) => offset + self.size_at(offset).unwrap_or(UNIT_BYTES_MIN) as i64,
            None => self.last_end(),
        };
        if self.files.last().map_or(last.is_some(), |file| file.end() < end) {
            self.files.destroy()?;
            self.files.roll(end)?;
        }
        self.files.truncate(end)?;
        self.end.store(end, Release);
        self.flushed.store(end, Release);
        Ok(())
    }

    fn size_at(&self, offset: i64) -> Option<usize> {
        self.unit_at(offset, |_, size| size)
    }

    /// Just past the last unit of the last file.
    fn last_end(&self) -> i64 {
        let Some(file) = self.files.last() else { return 0 };
        let mut end = file.start();
        while let Some(size) = self.size_at(end) {
            end += size as i64;
        }
        end
    }

    /// Deletes the files that end before the unit at `address`, the first that the queue needs.
    pub fn drop_before(&self, address: i64) -> Result<()> {
        let Some(offset) = offset_of(address) else { return Ok(()) };
        let gone = self.files.files().iter().take_while(|file| file.end() <= offset).count();
        self.files.drop_oldest(gone).map(|_| ())
    }

    /// Writes what is new to the disk.
    pub fn flush(&self) -> Result<()> {
        let (from, to) = (self.flushed.load(Acquire), self.end.load(Acquire));
        self.files.flush(from, to)?;
        self.flushed.fetch_max(to, AcqRel);
        Ok(())
    }

    /// Deletes the files.
    pub fn destroy(&self) -> Result<()> {
        self.files.destroy()
    }
}

/// The offset in these files that a tags code stands for, when it is an address.
pub(super) fn offset_of(address: i64) -> Option<i64> {
    is_address(address).then(|| address.wrapping_sub(i64::MIN))
}

fn append(file: &MappedFile, bytes: &[u8]) -> Result<()> {
    let room = file.append(bytes).what(|| format!("extend {}", file.path().display()))?;
    debug_assert!(room, "room was looked for");
    Ok(())
}

/// Ends a file that has no room for the next unit.
fn seal(file: &MappedFile) -> Result<()> {
    if file.size() - file.wrote() >= size_of_val(&END) {
        append(file, &END.to_be_bytes())?;
    }
    file.set_wrote(file.size());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for two units with a bit map of 14 bytes, and the four bytes.
    const FILE: usize = 80;

    fn unit(n: i64) -> ExtUnit<'static> {
        ExtUnit { tags_code: n, store_timestamp: n * 10, bit_map: &[7; 14] }
    }

    fn filled(dir: &Path, count: i64) -> (Ext, Vec<i64>) {
        let ext = Ext::load(dir, FILE).unwrap();
        let addresses = (0..count).map(|n| ext.put(&unit(n)).unwrap().unwrap()).collect();
        (ext, addresses)
    }

    fn tags(ext: &Ext, addresses: &[i64]) -> Vec<Option<i64>> {
        addresses.iter().map(|address| ext.get(*address, |unit| unit.tags_code)).collect()
    }

    #[test]
    fn a_unit_has_javas_bytes() {
        let unit = ExtUnit { tags_code: -2, store_timestamp: 258, bit_map: &[1, 128] };
        let bytes = unit.to_bytes().unwrap();
        assert_eq!(bytes[..10], [0, 22, 255, 255, 255, 255, 255, 255, 255, 254]);
        assert_eq!(bytes[10..], [0, 0, 0, 0, 0, 0, 1, 2, 0, 2, 1, 128]);
        assert_eq!(ExtUnit::read(&bytes), Some((unit, 22)));
        let long = vec![0; 32_748];
        assert_eq!(ExtUnit { bit_map: &long, ..unit }.to_bytes(), None);
        for size in [[0, 0], [0, 19], [0, 23], [255, 255]] {
            let broken = [&size, &bytes[2..], &[0; 9]].concat();
            assert_eq!(ExtUnit::read(&broken), None, "{size:?}");
        }
        assert_eq!(ExtUnit::read(&bytes[..21]), None);
        assert!(is_address(i64::MIN) && is_address(-2_147_483_649) && !is_address(-2_147_483_648));
    }

    #[test]
    fn units_fill_file_after_file() {
        let dir = tempfile::tempdir().unwrap();
        let (ext, addresses) = filled(dir.path(), 5);
        let offsets: Vec<i64> = addresses.iter().map(|at| at.wrapping_sub(i64::MIN)).collect();
        assert_eq!(offsets, [0, 34, 80, 114, 160]);
        let all = [Some(0), Some(1), Some(2), Some(3), Some(4)];
        assert_eq!(tags(&ext, &addresses), all);
        assert_eq!(tags(&ext, &[5, i64::MIN + 194, i64::MIN + 999, ADDRESS_MAX]), [None; 4]);
        let first = std::fs::read(dir.path().join("00000000000000000000")).unwrap();
        assert_eq!(first[68..], [255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        ext.flush().unwrap();
        ext.drop_before(addresses[3]).unwrap();
        assert_eq!(tags(&ext, &addresses), [None, None, Some(2), Some(3), Some(4)]);
        ext.destroy().unwrap();
        assert!(!dir.path().exists());
    }

    #[test]
    fn the_end_is_where_the_queue_says() {
        let dir = tempfile::tempdir().unwrap();
        let (_, addresses) = filled(dir.path(), 5);
        let reopened = |last: Option<i64>| {
            let ext = Ext::load(dir.path(), FILE).unwrap();
            ext.recover(last).unwrap();
            ext
        };
        assert_eq!(reopened(None).put(&unit(5)).unwrap(), Some(i64::MIN + 194));
        let ext = reopened(Some(addresses[2]));
        assert_eq!(tags(&ext, &addresses[2..]), [Some(2), None, None]);
        assert_eq!(ext.put(&unit(9)).unwrap(), Some(addresses[3]));
        assert_eq!(tags(&ext, &addresses[1..]), [Some(1), Some(2), Some(9), None]);
        drop(ext);
        let again = reopened(Some(addresses[3]));
        assert_eq!(tags(&again, &addresses[1..4]), [Some(1), Some(2), Some(9)]);
    }

    /// A crash of the machine may lose what stands here and keep the queue.
    #[test]
    fn the_place_of_lost_units_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (_, addresses) = filled(dir.path(), 5);
        std::fs::remove_file(dir.path().join("00000000000000000160")).unwrap();
        let ext = Ext::load(dir.path(), FILE).unwrap();
        ext.recover(Some(addresses[4])).unwrap();
        assert_eq!(ext.put(&unit(7)).unwrap(), Some(addresses[4] + 20));
        assert_eq!(tags(&ext, &addresses), [None; 5]);
        drop(ext);
        let ext = Ext::load(dir.path(), FILE).unwrap();
        ext.recover(Some(addresses[4] + 20)).unwrap();
        assert_eq!(tags(&ext, &[addresses[4] + 20]), [Some(7)]);
        // An address that no file can have, of a queue that was damaged.
        ext.recover(Some(ADDRESS_MAX)).unwrap();
        assert_eq!(ext.put(&unit(8)).unwrap(), None);
    }
}
