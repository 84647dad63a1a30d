//! Who may hold how many of the descriptors that the system gives the process. Connections must never take those that a log
//! needs to go on: a file that cannot be opened takes its whole log directory out of service.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit};

/// Where the system sets no limit.
const UNLIMITED: u64 = 1 << 20;

static LIMIT: LazyLock<usize> = LazyLock::new(|| {
    let limit = getrlimit(Resource::Nofile).current;
    limit.unwrap_or(UNLIMITED).min(UNLIMITED) as usize
});

/// Data files that stay open between their uses: with the index files half of all. What is left beside them and the
/// connections is for files that are open for a moment.
pub static KEPT_FILES: Share = Share::new(|limit| limit / 2 - index_files_max(limit));

/// Index files that stay open between two lookups.
pub static INDEX_FILES: Share = Share::new(index_files_max);

/// More than this many old segments are hardly read at the same time.
const INDEX_FILES_MAX: usize = 256;

fn index_files_max(limit: usize) -> usize {
    (limit / 16).min(INDEX_FILES_MAX)
}

/// Connections that clients may have.
pub fn connections_max() -> usize {
    *LIMIT * 3 / 8
}

/// A part of the descriptors that is counted.
#[derive(Debug)]
pub struct Share {
    held: AtomicUsize,
    of: fn(usize) -> usize,
}

impl Share {
    const fn new(of: fn(usize) -> usize) -> Self {
        Self {
            held: AtomicUsize::new(0),
            of,
        }
    }

    /// One of them, until it is dropped; `None` if all are held.
    pub fn take(&'static self) -> Option<Held> {
        let most = (self.of)(*LIMIT);
        let more = |held| (held < most).then_some(held + 1);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()
            .map(|_| Held(self))
    }

    pub fn is_used_up(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= (self.of)(*LIMIT)
    }
}

/// See [`Share::take`].
#[derive(Debug)]
pub struct Held(&'static Share);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TWO: Share = Share::new(|_| 2);

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let first = TWO.take().unwrap();
        let _second = TWO.take().unwrap();
        assert!(TWO.is_used_up());
        assert!(TWO.take().is_none());
        drop(first);
        assert!(TWO.take().is_some());
        assert!(!TWO.is_used_up());
    }
}
