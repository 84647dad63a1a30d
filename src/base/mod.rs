//! Types and tools that all modules use: ids, offsets, time, parts of files, thread pools, memory limits, maps. Imports only
//! `host` from this crate.

pub mod disk_pool;
pub mod file_range;
pub mod ids;
pub mod memory;
pub mod plain;
pub mod small_map;
pub mod time;
pub mod work_pool;
