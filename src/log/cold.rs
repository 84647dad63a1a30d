//! Reads of the files of a log by somebody who may not wait for the disk: what the page cache lacks is named, so that another
//! thread brings it there.

use std::io;

use super::error::Cold;
use crate::base::file_range::FileRange;
use crate::host::disk::{Disk, Named};
use crate::host::file::Reach;

/// Reads at `position`, within a stretch of the file, until `out` is full or the file ends; gives how much that was.
///
/// Errors: with [`Reach::Cache`], `WouldBlock` with the stretch in it: more of it will be asked for next.
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
