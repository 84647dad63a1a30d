//! Compaction: of all records with one key, the newest remains. Kafka's `LogCleaner`.
//!
//! Works on sealed segments below everything that is still undecided, without the log's lock: the old segments stay in
//! use while new ones are written beside them.
//!
//! ```text
//! 1. `<base>.log.cleaned` and its indexes are written and synced     crash: they are removed
//! 2. they are renamed to `.swap`                                     crash: the start finishes 3 and 4
//! 3. the segments that they replace are renamed to `.deleted`        crash: the start finishes 4
//! 4. `.swap` becomes the final name
//! ```

pub mod budget;
pub mod key_map;
mod large;
pub mod plan;
mod rewrite;

pub use budget::Budget;
pub use rewrite::{LastWord, Sources, rewrite};
