//! Reads of log files for callers that must not wait for a disk: data that is not in the page cache is reported, so that another
//! thread can load it.

use std::io;

use super::error::Cold;
use crate::base::file_range::FileRange;
use crate::host::disk::{Disk, Named};
use crate::host::file::Reach;

/// Reads at `position`, within a range of the file, until `out` is full or the file ends; returns the number of bytes.
///
/// Errors: with [`Reach::Cache`], `WouldBlock` with the range, as more of it will be needed next.
#[cfg_attr(test, track_caller)]
pub fn read_within(
    disk: &Disk,
    stretch: &FileRange,
    file: &(impl Named + ?Sized),
    out: &mut [u8],
    position: u64,
    reach: Reach,
) -> io::Result<usize> {
    let read = disk.read_within(&stretch.file, file, out, position, reach);
    read.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(error.kind(), Cold(stretch.clone())),
        _ => error,
    })
}
