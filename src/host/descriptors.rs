//! Who may hold how many of the descriptors that the system gives the process. Connections must never take those that a log
//! needs to go on: a file that cannot be opened takes its whole log directory out of service.
//!
//! The limit is the process's, so all nodes on the machine that the process runs on share it. A simulated host has its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use rustix::process::{Resource, getrlimit};

/// Where the system sets no limit.
const UNLIMITED: u64 = 1 << 20;
/// More than this many old segments are hardly read at the same time.
const INDEX_FILES_MAX: usize = 256;

/// The process's, from the first use on: a program may raise its limit before.
static LIMIT: LazyLock<usize> = LazyLock::new(|| {
    let limit = getrlimit(Resource::Nofile).current;
    limit.unwrap_or(UNLIMITED).min(UNLIMITED) as usize
});

static OF_PROCESS: LazyLock<Descriptors> = LazyLock::new(|| Descriptors::with(Limit::OfProcess));

/// See the module. Cheap to clone. The default is the process's.
#[derive(Clone, Debug)]
pub struct Descriptors {
    limit: Limit,
    /// Data files that stay open between their uses: with the index files half of all. What is left beside them and the
    /// connections is for files that are open for a moment.
    pub kept_files: Share,
    /// Index files that stay open between two lookups.
    pub index_files: Share,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    OfProcess,
    #[cfg(test)]
    Of(usize),
}

impl Limit {
    fn get(self) -> usize {
        match self {
            Self::OfProcess => *LIMIT,
            #[cfg(test)]
            Self::Of(limit) => limit,
        }
    }
}

impl Default for Descriptors {
    fn default() -> Self {
        OF_PROCESS.clone()
    }
}

impl Descriptors {
    fn with(limit: Limit) -> Self {
        Self {
            limit,
            kept_files: Share::new(limit, |limit| limit / 2 - index_files_max(limit)),
            index_files: Share::new(limit, index_files_max),
        }
    }

    /// Test-only: so many, which nobody else takes from.
    #[cfg(test)]
    pub fn of(limit: usize) -> Self {
        Self::with(Limit::Of(limit))
    }

    /// Connections that clients may have.
    pub fn connections_max(&self) -> usize {
        self.limit.get() * 3 / 8
    }
}

fn index_files_max(limit: usize) -> usize {
    (limit / 16).min(INDEX_FILES_MAX)
}

/// A part of the descriptors that is counted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Share(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    held: AtomicUsize,
    limit: Limit,
    of: fn(usize) -> usize,
}

impl Counted {
    fn most(&self) -> usize {
        (self.of)(self.limit.get())
    }
}

impl Share {
    fn new(limit: Limit, of: fn(usize) -> usize) -> Self {
        Self(Arc::new(Counted {
            held: AtomicUsize::new(0),
            limit,
            of,
        }))
    }

    /// One of them, until it is dropped; `None` if all are held.
    pub fn take(&self) -> Option<Held> {
        let most = self.0.most();
        let more = |held| (held < most).then_some(held + 1);
        self.0
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()
            .map(|_| Held(Arc::clone(&self.0)))
    }

    pub fn is_used_up(&self) -> bool {
        self.0.held.load(Ordering::Relaxed) >= self.0.most()
    }
}

/// See [`Share::take`].
#[derive(Debug)]
pub struct Held(Arc<Counted>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        // A sixteenth of them is for index files.
        let two = Descriptors::of(32).index_files;
        let first = two.take().unwrap();
        let _second = two.take().unwrap();
        assert!(two.is_used_up());
        assert!(two.take().is_none());
        drop(first);
        assert!(two.clone().take().is_some());
        assert!(!two.is_used_up());
    }

    #[test]
    fn hosts_of_the_process_share_its_descriptors_and_simulated_ones_do_not() {
        let is_shared = |one: &Share, other: &Share| Arc::ptr_eq(&one.0, &other.0);
        let (process, other) = (Descriptors::default(), Descriptors::default());
        assert!(is_shared(&process.kept_files, &other.kept_files));
        assert!(is_shared(&process.index_files, &other.index_files));
        let (one, other) = (Descriptors::of(1_600), Descriptors::of(1_600));
        assert!(!is_shared(&one.kept_files, &other.kept_files));
        assert_eq!((one.connections_max(), one.kept_files.0.most()), (600, 700));
    }
}
