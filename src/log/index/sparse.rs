//! A file of fixed-size entries that only grows at its end, with the newest entries still in memory.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::file_range::{FileRange, Reach};
use crate::log::disk;
use crate::log::error::{DiskContext, StorageError};

/// Entries kept in memory before they are written in one go.
const PENDING_MAX: usize = 256;
/// Entries read at a time where one after the other is looked at.
const READ_AT_ONCE: usize = 256;

/// An entry with a fixed form on disk.
pub trait Entry: Copy {
    const SIZE: usize;

    fn read(bytes: &[u8]) -> Self;
    fn write(self, out: &mut Vec<u8>);
}

/// See the module.
#[derive(Debug)]
pub struct SparseFile<E> {
    path: PathBuf,
    /// Entries on disk.
    written: usize,
    /// Bytes behind them, of an entry that was cut.
    rest: u8,
    pending: Vec<E>,
}

impl<E: Entry> SparseFile<E> {
    /// The index of a segment of which `len` bytes are on disk.
    pub fn new(path: PathBuf, len: u64) -> Self {
        Self {
            path,
            written: len as usize / E::SIZE,
            rest: (len as usize % E::SIZE) as u8,
            pending: Vec::new(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn len(&self) -> usize {
        self.written + self.pending.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the file holds whole entries only.
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

    /// The same as far as `reach` allows.
    pub fn last_within(&self, reach: Reach) -> Result<Option<E>, StorageError> {
        match (self.pending.last(), self.written.checked_sub(1)) {
            (Some(entry), _) => Ok(Some(*entry)),
            (None, Some(index)) => Reading::open(self, reach)?.get(index).map(Some),
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
        let reading = Reading::open(self, reach)?;
        reading
            .partition_point(before)?
            .checked_sub(1)
            .map(|index| reading.get(index))
            .transpose()
    }

    /// The first entry for which `before` does not hold; `before` is true for a prefix of the entries.
    pub fn first_where_not(
        &self,
        before: impl Fn(&E) -> bool,
        reach: Reach,
    ) -> Result<Option<E>, StorageError> {
        let pending = self.pending.partition_point(&before);
        if pending == 0 && self.written > 0 {
            let reading = Reading::open(self, reach)?;
            let index = reading.partition_point(before)?;
            if index < self.written {
                return reading.get(index).map(Some);
            }
        }
        Ok(self.pending.get(pending).copied())
    }

    /// Gives the entries to `each` from the first on for which `before` does not hold, until it says that it has enough;
    /// whether it did. `before` is true for a prefix of the entries.
    pub fn each_where_not(
        &self,
        before: impl Fn(&E) -> bool,
        reach: Reach,
        mut each: impl FnMut(E) -> bool,
    ) -> Result<bool, StorageError> {
        if self.written > 0 {
            let reading = Reading::open(self, reach)?;
            let mut next = reading.partition_point(&before)?;
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

    /// Every entry, in order.
    pub fn all(&self) -> Result<Vec<E>, StorageError> {
        self.all_within(Reach::Disk)
    }

    /// The same as far as `reach` allows.
    pub fn all_within(&self, reach: Reach) -> Result<Vec<E>, StorageError> {
        let mut entries = Vec::with_capacity(self.len());
        if self.written > 0 {
            let mut bytes = vec![0; self.written * E::SIZE];
            Reading::open(self, reach)?.read(&mut bytes, 0)?;
            entries.extend(bytes.chunks_exact(E::SIZE).map(E::read));
        }
        entries.extend_from_slice(&self.pending);
        Ok(entries)
    }

    /// Keeps the entries for which `keep` holds: a prefix of them.
    pub fn truncate_where(&mut self, keep: impl Fn(&E) -> bool) -> Result<(), StorageError> {
        let mut entries = self.all()?;
        entries.truncate(entries.partition_point(keep));
        self.reset(entries)
    }

    /// Replaces everything by `entries`.
    pub fn reset(&mut self, entries: Vec<E>) -> Result<(), StorageError> {
        self.written = 0;
        self.rest = 0;
        self.pending = entries;
        disk::create(&self.path)
            .map(drop)
            .at("truncate", &self.path)?;
        self.write_pending()
    }

    /// Writes what is still in memory; the file then holds exactly the entries.
    pub fn write_pending(&mut self) -> Result<(), StorageError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.pending.len() * E::SIZE);
        for entry in &self.pending {
            entry.write(&mut bytes);
        }
        let write = || -> io::Result<()> {
            let file = disk::open_or_create(&self.path)?;
            let position = (self.written * E::SIZE) as u64;
            disk::write_all_at(&file, &self.path, &mut [IoSlice::new(&bytes)], position)
        };
        write().at("write", &self.path)?;
        self.written += self.pending.len();
        self.pending = Vec::new();
        Ok(())
    }

    /// Writes and syncs the file, and cuts off the part of an entry at its end, with which Apache Kafka would not open it.
    pub fn close(&mut self) -> Result<(), StorageError> {
        self.write_pending()?;
        match disk::open_to_write(&self.path) {
            Ok(file) => {
                let mut trim = || -> io::Result<()> {
                    if self.rest > 0 {
                        disk::set_len(&file, &self.path, (self.written * E::SIZE) as u64)?;
                        self.rest = 0;
                    }
                    disk::sync(&file, &self.path)
                };
                trim().at("sync", &self.path)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).at("open", &self.path),
        }
    }
}

/// The entries on disk, looked up without reading them all.
struct Reading<'a, E> {
    file: Arc<File>,
    sparse: &'a SparseFile<E>,
    reach: Reach,
}

impl<'a, E: Entry> Reading<'a, E> {
    fn open(sparse: &'a SparseFile<E>, reach: Reach) -> Result<Self, StorageError> {
        let file = disk::open(&sparse.path).at("open", &sparse.path)?;
        Ok(Self {
            file: Arc::new(file),
            sparse,
            reach,
        })
    }

    /// How many of the entries `before` holds for.
    fn partition_point(&self, before: impl Fn(&E) -> bool) -> Result<usize, StorageError> {
        let (mut low, mut high) = (0, self.sparse.written);
        while low < high {
            let middle = low.midpoint(high);
            if before(&self.get(middle)?) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        Ok(low)
    }

    fn get(&self, index: usize) -> Result<E, StorageError> {
        let mut bytes = [0; 64];
        let bytes = &mut bytes[..E::SIZE];
        self.read(bytes, (index * E::SIZE) as u64)?;
        Ok(E::read(bytes))
    }

    fn read(&self, out: &mut [u8], position: u64) -> Result<(), StorageError> {
        // Other entries will be asked for next.
        let whole = FileRange {
            file: Arc::clone(&self.file),
            position: 0,
            len: self.sparse.written * E::SIZE,
        };
        let path = &self.sparse.path;
        let read = disk::read_within(&whole, path, out, position, self.reach).at("read", path)?;
        let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
        (read == out.len())
            .then_some(())
            .ok_or_else(missing)
            .at("read", path)
    }
}
