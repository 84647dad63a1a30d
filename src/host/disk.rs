//! The disk of a host, as far as files stay open: data files between their uses, index files between two lookups.

use std::path::Path;
use std::sync::Arc;

use super::descriptors::{Descriptors, Held};
use super::known_files::KnownFiles;

/// See the module. Cheap to clone: every segment of a log has one.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Files>);

#[derive(Debug, Default)]
struct Files {
    descriptors: Descriptors,
    known: KnownFiles,
}

impl Disk {
    pub fn new(descriptors: &Descriptors) -> Self {
        Self(Arc::new(Files {
            descriptors: descriptors.clone(),
            known: KnownFiles::new(descriptors),
        }))
    }

    /// A directory of this disk.
    pub fn dir<'a>(&'a self, path: &'a Path) -> Dir<'a> {
        Dir { disk: self, path }
    }

    /// Room for a data file that stays open; `None` where as many do as may.
    pub fn keep_file(&self) -> Option<Held> {
        self.0.descriptors.kept_files.take()
    }

    /// Whether as many data files are open as may stay so.
    pub fn keeps_all_it_may(&self) -> bool {
        self.0.descriptors.kept_files.is_used_up()
    }

    /// Index files in which an entry was looked up lately.
    pub fn known_files(&self) -> &KnownFiles {
        &self.0.known
    }
}

/// See [`Disk::dir`].
#[derive(Clone, Copy, Debug)]
pub struct Dir<'a> {
    pub disk: &'a Disk,
    pub path: &'a Path,
}
