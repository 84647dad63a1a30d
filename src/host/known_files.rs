//! Cache of index files in which an entry was looked up recently. Each keeps its descriptor and the first entries of its pages,
//! so that the next lookup in the file reads a single page.
//!
//! The cache is bounded in files and in bytes; the least recently used file is removed first. An index without lookups costs
//! nothing here: its owner has only a number, which fits into its padding.
//!
//! Index files are read, not mapped into memory. Access to a mapped page that is not in memory would block the serving thread
//! on the disk, and a file that someone shortens would kill the process. A read reports `WouldBlock` and the end of the file
//! instead.

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::descriptors::{Descriptors, Held, Share};
use super::file::File;

/// Limit on the bytes for first entries of all cached files. An index of Kafka's default size limit, 10 MiB, takes 40 KiB.
const BYTES_MAX: usize = 8 << 20;

/// The index files that one disk keeps open. See the module.
#[derive(Debug)]
pub struct KnownFiles {
    share: Share,
    known: Mutex<Known>,
}

impl Default for KnownFiles {
    fn default() -> Self {
        Self::new(&Descriptors::default())
    }
}

impl KnownFiles {
    pub fn new(descriptors: &Descriptors) -> Self {
        Self {
            share: descriptors.index_files.clone(),
            known: Mutex::default(),
        }
    }
}

/// A cached file, from [`Name::file`].
#[derive(Debug)]
pub struct KnownFile<E> {
    pub file: Arc<File>,
    /// First entry of each page, once a lookup has read it.
    firsts: Box<[OnceLock<E>]>,
    /// Number of entries of the file when it was opened.
    entries: usize,
    /// Reserved descriptor; `None` for a file that is used only once, because the limit is reached.
    _held: Option<Held>,
}

impl<E: Copy> KnownFile<E> {
    /// A file with `entries` in `pages`, none of which has been read.
    fn new(file: File, entries: usize, pages: usize, held: Option<Held>) -> Self {
        Self {
            file: Arc::new(file),
            firsts: (0..pages).map(|_| OnceLock::new()).collect(),
            entries,
            _held: held,
        }
    }

    /// First entry of a page. Calls `read` if no lookup has read it yet.
    pub fn first<F>(&self, page: usize, read: impl FnOnce() -> Result<E, F>) -> Result<E, F> {
        let Some(known) = self.firsts.get(page) else {
            return read();
        };
        match known.get() {
            Some(entry) => Ok(*entry),
            None => {
                let entry = read()?;
                // If another thread was faster, it has read the same entry.
                let _ = known.set(entry);
                Ok(entry)
            }
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.firsts)
    }
}

/// Key of an index file in the cache; 0 while it is not cached. The owner of the file holds it. The owner must call
/// [`Self::forget`] when existing content of the file changes, when the file is removed, and before the key is dropped.
#[derive(Debug, Default)]
pub struct Name(AtomicU32);

impl Name {
    /// The cached file, if it has the same number of entries; otherwise the file is opened with `open`.
    pub fn file<E: Copy + Send + Sync + 'static>(
        &self,
        among: &KnownFiles,
        entries: usize,
        pages: usize,
        open: impl FnOnce() -> io::Result<File>,
    ) -> io::Result<Arc<KnownFile<E>>> {
        let name = self.0.load(Ordering::Relaxed);
        if name != 0
            && let Some(known) = among.known.lock().get(name)
            && let Ok(known) = known.downcast::<KnownFile<E>>()
            && known.entries == entries
        {
            return Ok(known);
        }
        // The file has grown or is not cached. An older version is removed first, so that its descriptor is free again.
        self.forget(among);
        let file = open()?;
        let mut all = among.known.lock();
        let Some(held) = all.room(&among.share) else {
            return Ok(Arc::new(KnownFile::new(file, entries, pages, None)));
        };
        let known = Arc::new(KnownFile::new(file, entries, pages, Some(held)));
        let name = all.insert(Arc::clone(&known) as _, known.bytes());
        drop(all);
        // Of two concurrent lookups, the key of one is lost. Its file is never used again and so becomes the oldest.
        self.0.store(name, Ordering::Relaxed);
        Ok(known)
    }

    /// Removes the file from the cache. The next lookup opens it again.
    pub fn forget(&self, among: &KnownFiles) {
        let name = self.0.swap(0, Ordering::Relaxed);
        if name != 0 {
            among.known.lock().remove(name);
        }
    }
}

/// A cached file with entries of any type.
type AnyFile = Arc<dyn Any + Send + Sync>;

#[derive(Debug, Default)]
struct Known {
    files: HashMap<u32, Place>,
    bytes: usize,
    last_name: u32,
    /// Number of lookups, by which the age of files is measured.
    lookups: u64,
}

#[derive(Debug)]
struct Place {
    file: AnyFile,
    bytes: usize,
    last_used: u64,
}

impl Known {
    fn get(&mut self, name: u32) -> Option<AnyFile> {
        self.lookups += 1;
        let place = self.files.get_mut(&name)?;
        place.last_used = self.lookups;
        Some(Arc::clone(&place.file))
    }

    /// Reserves a descriptor for one more file. Removes the oldest files until there is room, or none is left.
    fn room(&mut self, share: &Share) -> Option<Held> {
        loop {
            if self.bytes < BYTES_MAX
                && let Some(held) = share.take()
            {
                return Some(held);
            }
            let oldest = self.files.iter().min_by_key(|(_, place)| place.last_used);
            let name = *oldest?.0;
            self.remove(name);
        }
    }

    fn insert(&mut self, file: AnyFile, bytes: usize) -> u32 {
        self.lookups += 1;
        loop {
            self.last_name = self.last_name.wrapping_add(1);
            if self.last_name != 0 && !self.files.contains_key(&self.last_name) {
                break;
            }
        }
        let place = Place {
            file,
            bytes,
            last_used: self.lookups,
        };
        self.bytes += bytes;
        self.files.insert(self.last_name, place);
        self.last_name
    }

    fn remove(&mut self, name: u32) {
        if let Some(place) = self.files.remove(&name) {
            self.bytes -= place.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> io::Result<File> {
        Ok(tempfile::tempfile()?.into())
    }

    fn never() -> io::Result<File> {
        panic!("the file is known")
    }

    #[test]
    fn a_file_is_opened_once_until_it_grows_or_is_forgotten() {
        let (all, name) = (KnownFiles::default(), Name::default());
        let first = name.file::<u64>(&all, 10, 1, open).unwrap();
        assert!(Arc::ptr_eq(&first, &name.file(&all, 10, 1, never).unwrap()));
        let grown = name.file::<u64>(&all, 11, 1, open).unwrap();
        assert!(!Arc::ptr_eq(&first, &grown));
        name.forget(&all);
        assert!(!Arc::ptr_eq(&grown, &name.file(&all, 11, 1, open).unwrap()));
    }

    #[test]
    fn the_first_entry_of_a_page_is_read_once() {
        let (all, name) = (KnownFiles::default(), Name::default());
        let file = name.file::<u64>(&all, 1_000, 2, open).unwrap();
        assert_eq!(file.first(1, || Ok::<_, ()>(7)), Ok(7));
        assert_eq!(file.first(1, || Err(())), Ok(7));
        assert_eq!(file.first(0, || Err(())), Err(()));
    }

    #[test]
    fn the_oldest_file_makes_room() {
        let share = Descriptors::default().index_files;
        let mut known = Known::default();
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(known.insert(Arc::new(()), BYTES_MAX / 3));
        }
        assert!(known.get(held[0]).is_some());
        // One byte below the limit there is room. Above it, the second file is removed, which is the least recently used one.
        assert!(known.room(&share).is_some());
        known.bytes += 3;
        assert!(known.room(&share).is_some());
        assert!(known.get(held[1]).is_none());
        assert!(known.get(held[0]).is_some() && known.get(held[2]).is_some());
    }
}
