//! The sparse indexes of a segment: `.index`, `.timeindex` and `.txnindex`.
//!
//! Entries of the active segment are collected in memory and written in groups; a lookup sees both. Nothing is mapped:
//! a lookup in an old segment is some ten small reads from the page cache, and an idle segment costs no descriptor.

pub mod offset;
pub mod sparse;
pub mod time;
pub mod transaction;
