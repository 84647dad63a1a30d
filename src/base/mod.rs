//! Words everybody uses: identities, offsets, time, stretches of files, threads, memory, maps. Uses
//! nothing else of this crate but `host`.

pub mod disk_pool;
pub mod file_range;
pub mod ids;
pub mod memory;
pub mod plain;
pub mod small_map;
pub mod time;
pub mod work_pool;
