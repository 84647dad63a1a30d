//! Files that whoever runs a node gives it to read, as certificates and keys. They are the machine's, the same for all nodes on
//! it, and no node writes to them.

use std::io;
use std::path::Path;

use super::disk::{Facts, read_small};

/// The content of such a file.
///
/// Errors: `InvalidData` if it is no file, or has more than `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_small(path, most)
}

/// What is known of such a file; `None` where it is not there, or nobody may know.
pub fn facts(path: &Path) -> Option<Facts> {
    Facts::of(path).ok()
}
