//! Limits on the use of file descriptors. Connections must never take descriptors that a log needs: a file that cannot be
//! opened takes its whole log directory offline.
//!
//! The limit belongs to the process, so all nodes in the process share it. A simulated host has a limit of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use rustix::process::{Resource, getrlimit};

/// Descriptor limit that is assumed if the system sets none.
const UNLIMITED: u64 = 1 << 20;
/// Upper bound on cached index files. More old segments are rarely read at the same time.
const INDEX_FILES_MAX: usize = 256;

/// Descriptor limit of the process, read at the first use, so that a program may raise it before.
static LIMIT: LazyLock<usize> = LazyLock::new(|| {
    let limit = getrlimit(Resource::Nofile).current;
    limit.unwrap_or(UNLIMITED).min(UNLIMITED) as usize
});

static OF_PROCESS: LazyLock<Descriptors> = LazyLock::new(|| Descriptors::with(Limit::OfProcess));

/// Shares of the descriptor limit. Cheap to clone. The default is the limit of the process.
#[derive(Clone, Debug)]
pub struct Descriptors {
    limit: Limit,
    /// Data files that stay open between uses. Together with index files, these are half of all descriptors. The rest, beside
    /// connections, is for files that are open for a moment.
    pub kept_files: Share,
    /// Index files that stay open between lookups.
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

    /// Test-only: shares of a limit of its own.
    #[cfg(test)]
    pub fn of(limit: usize) -> Self {
        Self::with(Limit::Of(limit))
    }

    /// Largest number of client connections.
    pub fn connections_max(&self) -> usize {
        self.limit.get() * 3 / 8
    }
}

fn index_files_max(limit: usize) -> usize {
    (limit / 16).min(INDEX_FILES_MAX)
}

/// A counted share of the descriptors. Cheap to clone.
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

    /// Reserves a descriptor until the returned value is dropped. `None` if the share is used up.
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

/// A reserved descriptor. See [`Share::take`].
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
        // A sixteenth of the limit is for index files.
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
