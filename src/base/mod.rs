//! Words everybody uses: identities, offsets, time, supervised tasks. Uses nothing else of this crate.

pub mod file_range;
pub mod ids;
pub mod time;
