//! The sparse indexes of a segment: `.index`, `.timeindex` and `.txnindex`.
//!
//! New entries of the active segment are collected in memory and written in groups; lookups see both. A lookup in an old
//! segment reads a page from the page cache (`host/known_files.rs`); an idle segment holds no descriptor.

pub mod offset;
pub mod sparse;
pub mod time;
pub mod transaction;
