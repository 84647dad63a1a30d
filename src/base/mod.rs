//! Words everybody uses: identities, offsets, time, stretches of files, threads, descriptors, memory, maps, tasks. Uses
//! nothing else of this crate.

pub mod descriptors;
pub mod disk_pool;
pub mod file_range;
pub mod ids;
pub mod machine;
pub mod memory;
pub mod plain;
pub mod small_map;
pub mod task;
pub mod time;
pub mod work_pool;
