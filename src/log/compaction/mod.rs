//! Compaction: of all records with the same key, only the newest is kept. Kafka's `LogCleaner`.
//!
//! It rewrites sealed segments below the last stable offset without holding the log's lock: the old segments stay in use while
//! new ones are written.
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
