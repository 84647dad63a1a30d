//! Files that the operator of a node provides, such as certificates and keys. They belong to the machine, are the same for all
//! nodes on it, and are never written.

use std::io;
use std::path::Path;

use super::disk::{Facts, read_small};

/// Content of a provided file.
///
/// Errors: `InvalidData` if it is not a regular file or is longer than `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_small(path, most)
}

/// Metadata of a provided file; `None` if it does not exist or may not be read.
pub fn facts(path: &Path) -> Option<Facts> {
    Facts::of(path).ok()
}
