//! A file of fixed-size entries that only grows at its end, with the newest entries still in memory.

use std::borrow::Cow;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::file_range::FileRange;
use crate::host::disk::{Disk, Named};
use crate::host::file::{File, Reach};
use crate::host::known_files::{KnownFile, Name};
use crate::log::cold::read_within;
use crate::log::error::{DiskContext, StorageError};

/// Number of entries that are kept in memory before they are written together.
const PENDING_MAX: usize = 256;
/// Number of entries that are read at a time when entries are visited in order.
const READ_AT_ONCE: usize = 256;
/// Size of a page in bytes. A lookup first finds a page by the first entries of the pages, and then reads that page.
const PAGE: usize = 4 << 10;

/// An entry of a fixed size on disk.
pub trait Entry: Copy + Send + Sync + 'static {
    /// What the names of the files end with.
    const ENDING: &str;
    const SIZE: usize;

    fn read(bytes: &[u8]) -> Self;
    fn write(self, out: &mut Vec<u8>);
}

/// A file of sorted entries.
#[derive(Debug)]
pub struct SparseFile<E> {
    disk: Disk,
    place: Place,
    /// Number of entries on disk.
    written: usize,
    /// Bytes after the last complete entry on disk, from an entry that was cut off.
    rest: u8,
    /// Name under which lookups find the open file.
    known: Name,
    pending: Vec<E>,
}

/// Where the file is. A node has a hundred thousand logs with three indexes each, which do without paths of their own.
#[derive(Debug)]
enum Place {
    /// Beside the data file of this path: `0.log.swap` has `0.index.swap`.
    Beside(Arc<Path>),
    At(Box<Path>),
}

impl Place {
    fn path(&self, ending: &str) -> Cow<'_, Path> {
        match self {
            Self::At(path) => Cow::Borrowed(path),
            Self::Beside(data) => {
                let name = data.file_name().unwrap_or_default().to_string_lossy();
                let (stem, suffix) = name.rsplit_once(".log").unwrap_or((&name, ""));
                data.with_file_name(format!("{stem}{ending}{suffix}"))
                    .into()
            }
        }
    }
}

// An index without lookups only stores its path, its length and the entries that are not on disk yet.
const _: () = assert!(
    size_of::<SparseFile<super::offset::OffsetEntry>>()
        == size_of::<Disk>() + size_of::<Place>() + 2 * size_of::<usize>() + size_of::<Vec<()>>()
);

impl<E: Entry> SparseFile<E> {
    /// The index of a segment; `len` is the size of the file.
    pub fn new(disk: &Disk, path: PathBuf, len: u64) -> Self {
        Self::with(disk, Place::At(path.into()), len)
    }

    /// The index that lies beside the data file of a segment.
    pub fn beside(disk: &Disk, data: &Arc<Path>) -> Self {
        let place = Place::Beside(Arc::clone(data));
        let len = disk.size_of(&place.path(E::ENDING));
        Self::with(disk, place, len)
    }

    /// An index that is to lie there, with nothing in it.
    pub fn empty_beside(disk: &Disk, data: &Arc<Path>) -> Self {
        Self::with(disk, Place::Beside(Arc::clone(data)), 0)
    }

    fn with(disk: &Disk, place: Place, len: u64) -> Self {
        Self {
            disk: disk.clone(),
            place,
            written: len as usize / E::SIZE,
            rest: (len as usize % E::SIZE) as u8,
            known: Name::default(),
            pending: Vec::new(),
        }
    }

    /// Called after the file was renamed.
    pub fn has_moved(&mut self, data: &Arc<Path>) {
        self.known.forget(self.disk.known_files());
        self.place = Place::Beside(Arc::clone(data));
    }

    pub fn len(&self) -> usize {
        self.written + self.pending.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the file has only complete entries.
    pub fn is_whole(&self) -> bool {
        self.rest == 0
    }

    pub fn push(&mut self, entry: E) -> Result<(), StorageError> {
        self.pending.push(entry);
        if self.pending.len() >= PENDING_MAX {
            self.write_pending()
        } else {
            Ok(())
        }
    }

    pub fn last(&self) -> Result<Option<E>, StorageError> {
        self.last_within(Reach::Disk)
    }

    /// The last entry, if `reach` allows to read it.
    pub fn last_within(&self, reach: Reach) -> Result<Option<E>, StorageError> {
        match (self.pending.last(), self.written.checked_sub(1)) {
            (Some(entry), _) => Ok(Some(*entry)),
            (None, Some(index)) => Reading::once(self, reach)?.read_entry(index).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The last entry for which `before` holds; `before` is true for a prefix of the entries.
    pub fn last_where(
        &self,
        before: impl Fn(&E) -> bool,
        reach: Reach,
    ) -> Result<Option<E>, StorageError> {
        if let Some(index) = self.pending.partition_point(&before).checked_sub(1) {
            return Ok(Some(self.pending[index]));
        }
        if self.written == 0 {
            return Ok(None);
        }
        Ok(Lookup::new(self, reach)?.partition_point(before)?.last)
    }

    /// The first entry for which `before` does not hold; `before` is true for a prefix of the entries.
    pub fn first_where_not(
        &self,
        before: impl Fn(&E) -> bool,
        reach: Reach,
    ) -> Result<Option<E>, StorageError> {
        let pending = self.pending.partition_point(&before);
        if pending == 0 && self.written > 0 {
            let lookup = Lookup::new(self, reach)?;
            let index = lookup.partition_point(before)?.index;
            if index < self.written {
                return lookup.get(index).map(Some);
            }
        }
        Ok(self.pending.get(pending).copied())
    }

    /// Calls `each` for the entries from the first one on for which `before` does not hold, until `each` returns true; returns
    /// whether it did. `before` holds for a prefix of the entries.
    pub fn each_where_not(
        &self,
        before: impl Fn(&E) -> bool,
        reach: Reach,
        mut each: impl FnMut(E) -> bool,
    ) -> Result<bool, StorageError> {
        if self.written > 0 {
            let lookup = Lookup::new(self, reach)?;
            let mut next = lookup.partition_point(&before)?.index;
            let reading = &lookup.reading;
            let mut bytes = vec![0; READ_AT_ONCE.min(self.written - next) * E::SIZE];
            while next < self.written {
                bytes.truncate((self.written - next) * E::SIZE);
                reading.read(&mut bytes, (next * E::SIZE) as u64)?;
                if bytes.chunks_exact(E::SIZE).map(E::read).any(&mut each) {
                    return Ok(true);
                }
                next += bytes.len() / E::SIZE;
            }
        }
        let mut pending = self.pending.iter().skip_while(|entry| before(entry));
        Ok(pending.any(|entry| each(*entry)))
    }

    /// All entries, in order.
    pub fn all(&self) -> Result<Vec<E>, StorageError> {
        self.all_within(Reach::Disk)
    }

    /// All entries in order, if `reach` allows to read them.
    pub fn all_within(&self, reach: Reach) -> Result<Vec<E>, StorageError> {
        let mut entries = Vec::with_capacity(self.len());
        if self.written > 0 {
            let mut bytes = vec![0; self.written * E::SIZE];
            Reading::once(self, reach)?.read(&mut bytes, 0)?;
            entries.extend(bytes.chunks_exact(E::SIZE).map(E::read));
        }
        entries.extend_from_slice(&self.pending);
        Ok(entries)
    }

    /// Keeps only the entries for which `keep` holds; these must be a prefix.
    pub fn truncate_where(&mut self, keep: impl Fn(&E) -> bool) -> Result<(), StorageError> {
        let mut entries = self.all()?;
        entries.truncate(entries.partition_point(keep));
        self.reset(entries)
    }

    /// Replaces all entries by `entries`.
    pub fn reset(&mut self, entries: Vec<E>) -> Result<(), StorageError> {
        self.known.forget(self.disk.known_files());
        self.written = 0;
        self.rest = 0;
        self.pending = entries;
        let created = self.disk.create(&self.path());
        created.map(drop).at("truncate", &*self)?;
        self.write_pending()
    }

    /// Writes the entries that are in memory; the file then has all entries.
    pub fn write_pending(&mut self) -> Result<(), StorageError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.pending.len() * E::SIZE);
        for entry in &self.pending {
            entry.write(&mut bytes);
        }
        let write = || -> io::Result<()> {
            let path = self.path();
            let file = self.disk.open_or_create(&path)?;
            let position = (self.written * E::SIZE) as u64;
            self.disk
                .write_all_at(&file, &path, &mut [IoSlice::new(&bytes)], position)
        };
        write().at("write", &*self)?;
        self.written += self.pending.len();
        self.pending = Vec::new();
        Ok(())
    }

    /// Writes the entries that are in memory, and removes an incomplete entry at the end of the file. Apache Kafka would not
    /// open an index with an incomplete entry.
    pub fn complete(&mut self) -> Result<(), StorageError> {
        self.write_pending()?;
        if self.rest > 0
            && let Some(file) = open_index(&self.disk, &self.path())?
        {
            let whole = (self.written * E::SIZE) as u64;
            let cut = self.disk.set_len(&file, &self.path(), whole);
            cut.at("cut", &*self)?;
            self.rest = 0;
        }
        Ok(())
    }

    /// Completes the file as [`Self::complete`] does, and syncs it.
    pub fn close(&mut self) -> Result<(), StorageError> {
        self.complete()?;
        sync_index(&self.disk, &self.path())
    }
}

impl<E: Entry> Named for SparseFile<E> {
    fn path(&self) -> Cow<'_, Path> {
        self.place.path(E::ENDING)
    }
}

/// For errors, so that a path is made where there is one.
impl<E: Entry> From<&SparseFile<E>> for PathBuf {
    fn from(file: &SparseFile<E>) -> Self {
        file.path().into_owned()
    }
}

/// Syncs the file of an index, if it exists.
pub fn sync_index(disk: &Disk, path: &Path) -> Result<(), StorageError> {
    match open_index(disk, path)? {
        Some(file) => disk.sync(&file, path).at("sync", path),
        None => Ok(()),
    }
}

fn open_index(disk: &Disk, path: &Path) -> Result<Option<File>, StorageError> {
    match disk.open_to_write(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("open", path),
    }
}

impl<E> Drop for SparseFile<E> {
    fn drop(&mut self) {
        self.known.forget(self.disk.known_files());
    }
}

/// Access to the entries on disk.
struct Reading<'a, E> {
    file: Arc<File>,
    sparse: &'a SparseFile<E>,
    reach: Reach,
}

impl<'a, E: Entry> Reading<'a, E> {
    /// Opens the file for a single use.
    fn once(sparse: &'a SparseFile<E>, reach: Reach) -> Result<Self, StorageError> {
        let file = sparse.disk.open(&sparse.path()).at("open", sparse)?;
        Ok(Self {
            file: Arc::new(file),
            sparse,
            reach,
        })
    }

    fn read_entry(&self, index: usize) -> Result<E, StorageError> {
        let mut bytes = [0; 64];
        let bytes = &mut bytes[..E::SIZE];
        self.read(bytes, (index * E::SIZE) as u64)?;
        Ok(E::read(bytes))
    }

    fn read(&self, out: &mut [u8], position: u64) -> Result<(), StorageError> {
        // Other entries will be needed next, so a read that misses the page cache names the whole file as the range to load.
        let whole = FileRange {
            file: Arc::clone(&self.file),
            position: 0,
            len: self.sparse.written * E::SIZE,
        };
        let sparse = self.sparse;
        let read = read_within(&sparse.disk, &whole, sparse, out, position, self.reach)
            .at("read", sparse)?;
        let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
        (read == out.len())
            .then_some(())
            .ok_or_else(missing)
            .at("read", sparse)
    }
}

/// Search among the entries on disk. It reads one page of entries, and the first entries of other pages unless they are known.
struct Lookup<'a, E> {
    known: Arc<KnownFile<E>>,
    reading: Reading<'a, E>,
}

/// Result of a search for the end of the prefix for which a predicate holds.
struct Point<E> {
    /// Number of entries for which the predicate holds.
    index: usize,
    /// The last of these entries.
    last: Option<E>,
}

impl<'a, E: Entry> Lookup<'a, E> {
    const ENTRIES_PER_PAGE: usize = PAGE / E::SIZE;

    fn new(sparse: &'a SparseFile<E>, reach: Reach) -> Result<Self, StorageError> {
        let pages = sparse.written.div_ceil(Self::ENTRIES_PER_PAGE);
        let open = || sparse.disk.open(&sparse.path());
        let known = sparse
            .known
            .file(sparse.disk.known_files(), sparse.written, pages, open)
            .at("open", sparse)?;
        let reading = Reading {
            file: Arc::clone(&known.file),
            sparse,
            reach,
        };
        Ok(Self { known, reading })
    }

    fn first(&self, page: usize) -> Result<E, StorageError> {
        let read = || self.reading.read_entry(page * Self::ENTRIES_PER_PAGE);
        self.known.first(page, read)
    }

    fn get(&self, index: usize) -> Result<E, StorageError> {
        if index.is_multiple_of(Self::ENTRIES_PER_PAGE) {
            self.first(index / Self::ENTRIES_PER_PAGE)
        } else {
            self.reading.read_entry(index)
        }
    }

    /// Finds the end of the prefix of entries for which `before` holds.
    fn partition_point(&self, before: impl Fn(&E) -> bool) -> Result<Point<E>, StorageError> {
        let written = self.reading.sparse.written;
        let (mut low, mut high) = (0, written.div_ceil(Self::ENTRIES_PER_PAGE));
        while low < high {
            let middle = low.midpoint(high);
            if before(&self.first(middle)?) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        // The last page whose first entry is in the prefix: the prefix ends within this page or at its end.
        let Some(page) = low.checked_sub(1) else {
            return Ok(Point {
                index: 0,
                last: None,
            });
        };
        let begin = page * Self::ENTRIES_PER_PAGE;
        let count = (written - begin).min(Self::ENTRIES_PER_PAGE);
        let mut bytes = [0; PAGE];
        let bytes = &mut bytes[..count * E::SIZE];
        self.reading.read(bytes, (begin * E::SIZE) as u64)?;
        let entry = |at: usize| E::read(&bytes[at * E::SIZE..]);
        let (mut low, mut high) = (1, count);
        while low < high {
            let middle = low.midpoint(high);
            if before(&entry(middle)) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        Ok(Point {
            index: begin + low,
            last: Some(entry(low - 1)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::index::offset::OffsetEntry;
    use crate::log::index::time::TimeEntry;
    use crate::log::index::transaction::AbortedTransaction;

    /// Checks that every lookup in a file of `count` entries, with the last `pending` ones in memory, has the same result as a
    /// search in memory; also once the file is known.
    fn check<E: Entry + PartialEq + std::fmt::Debug>(
        count: usize,
        pending: usize,
        make: impl Fn(i64) -> E,
        key: impl Fn(&E) -> i64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut index = SparseFile::new(&Disk::default(), dir.path().join("index"), 0);
        let entries: Vec<E> = (0..count as i64).map(|n| make(3 * n)).collect();
        for (n, entry) in entries.iter().enumerate() {
            index.pending.push(*entry);
            if n + pending + 1 == count {
                index.write_pending().unwrap();
            }
        }
        let wanted = (-1..3 * count as i64 + 2).step_by(7);
        for wanted in wanted.clone().chain(wanted) {
            let before = |entry: &E| key(entry) < wanted;
            let point = entries.partition_point(before);
            let last = point.checked_sub(1).map(|at| entries[at]);
            let next = entries.get(point).copied();
            assert_eq!(index.last_where(before, Reach::Disk).unwrap(), last);
            assert_eq!(index.first_where_not(before, Reach::Disk).unwrap(), next);
            let mut some = Vec::new();
            let enough = index.each_where_not(before, Reach::Disk, |entry| {
                some.push(entry);
                some.len() == 3
            });
            let end = entries.len().min(point + 3);
            assert_eq!(some, entries[point..end]);
            assert_eq!(enough.unwrap(), some.len() == 3);
        }
        assert_eq!(index.all().unwrap(), entries);
        assert_eq!(index.last().unwrap(), entries.last().copied());
    }

    #[test]
    fn lookups_find_what_a_search_in_memory_finds() {
        for (count, pending) in [
            (0, 0),
            (1, 0),
            (1, 1),
            (511, 0),
            (512, 0),
            (513, 1),
            (1_600, 70),
        ] {
            let offset = |n| OffsetEntry {
                relative_offset: n as u32,
                position: 5,
            };
            check(count, pending, offset, |entry| {
                i64::from(entry.relative_offset)
            });
            let time = |timestamp| TimeEntry {
                timestamp,
                relative_offset: 1,
            };
            check(count, pending, time, |entry| entry.timestamp);
            let aborted = |last_offset| AbortedTransaction {
                producer_id: 1,
                first_offset: 2,
                last_offset,
                last_stable_offset: 3,
            };
            check(count, pending, aborted, |entry| entry.last_offset);
        }
    }

    #[test]
    fn an_index_lies_beside_its_data_file_under_the_name_of_the_same_kind() {
        for (data, index) in [
            ("t-0/00.log", "t-0/00.index"),
            ("a.log-0/00.log", "a.log-0/00.index"),
            ("t-0/00.log.cleaned", "t-0/00.index.cleaned"),
            ("t-0/00.log.swap", "t-0/00.index.swap"),
        ] {
            let beside =
                SparseFile::<OffsetEntry>::beside(&Disk::default(), &Path::new(data).into());
            assert_eq!(beside.path(), Path::new(index));
        }
    }

    #[test]
    fn an_index_that_was_looked_into_may_grow_and_be_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = SparseFile::new(&Disk::default(), dir.path().join("index"), 0);
        let entry = |n| OffsetEntry {
            relative_offset: n,
            position: n,
        };
        let last = |index: &SparseFile<OffsetEntry>| {
            let last = index.last_where(|entry| entry.relative_offset < 5_000, Reach::Disk);
            last.unwrap().map(|entry| entry.relative_offset)
        };
        for n in 0..4_000 {
            index.push(entry(n)).unwrap();
        }
        index.write_pending().unwrap();
        assert_eq!(last(&index), Some(3_999));
        for n in 4_000..6_000 {
            index.push(entry(n)).unwrap();
        }
        index.write_pending().unwrap();
        assert_eq!(last(&index), Some(4_999));
        index
            .truncate_where(|entry| entry.relative_offset < 700)
            .unwrap();
        assert_eq!(last(&index), Some(699));
        index.reset(vec![entry(1), entry(6_000)]).unwrap();
        assert_eq!(last(&index), Some(1));
    }

    #[test]
    fn a_file_that_somebody_shortened_is_an_error_and_no_signal() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = SparseFile::new(&Disk::default(), dir.path().join("index"), 0);
        for n in 0..5_000 {
            let entry = OffsetEntry {
                relative_offset: n,
                position: n,
            };
            index.push(entry).unwrap();
        }
        index.write_pending().unwrap();
        let look = |index: &SparseFile<OffsetEntry>| {
            index.last_where(|entry| entry.relative_offset < 4_000, Reach::Disk)
        };
        assert!(look(&index).unwrap().is_some());
        std::fs::File::create(index.path()).unwrap();
        assert!(look(&index).is_err());
    }
}
