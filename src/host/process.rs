//! What belongs to the process and is found without a host, because pure code asks for it amidst its work: the memory that all
//! nodes of the process share. Nothing else of this crate but its log is shared by all nodes.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::ReentrantMutex;

/// A codec may look back so far in this part of the memory that the process may have.
const PART_OF_LOOK_BACK: u64 = 4;

/// How far a codec may look back, in bytes; see [`look_back_max`].
static LOOK_BACK_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Held by the one who does work that takes much memory (`base/work_pool.rs`).
pub static LARGE_WORK: ReentrantMutex<()> = ReentrantMutex::new(());

/// Bytes of a batch that are unpacked where the codec holds on to all of them: `usize::MAX`, or as many as fit into the memory
/// that the process may have.
pub fn look_back_max() -> usize {
    LOOK_BACK_MAX.load(Ordering::Relaxed)
}

/// From now on the process may have so much memory.
pub fn may_have(bytes: Option<u64>) {
    let part = bytes.and_then(|bytes| usize::try_from(bytes / PART_OF_LOOK_BACK).ok());
    LOOK_BACK_MAX.store(part.unwrap_or(usize::MAX), Ordering::Relaxed);
}
