//! Words everybody uses: identities, offsets, time, stretches of files, threads for disks, descriptors. Uses nothing else of this crate.

pub mod descriptors;
pub mod disk_pool;
pub mod file_range;
pub mod ids;
pub mod time;
