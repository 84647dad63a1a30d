//! Lock of the state of a log. When the lock is released, the invariants of the state are checked, and the start and end of the
//! log are published for readers without the lock.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::State;
use crate::base::ids::Offset;

/// State of a log with its lock.
#[derive(Debug)]
pub(super) struct Locked {
    state: Mutex<State>,
    log_start: AtomicI64,
    log_end: AtomicI64,
}

/// Access to the locked state.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    state: MutexGuard<'a, State>,
    shown: &'a Locked,
}

impl Locked {
    pub(super) fn new(state: State) -> Self {
        Self {
            log_start: AtomicI64::new(state.log_start),
            log_end: AtomicI64::new(state.log_end),
            state: Mutex::new(state),
        }
    }

    pub(super) fn lock(&self) -> Guard<'_> {
        Guard {
            state: self.state.lock(),
            shown: self,
        }
    }

    /// Log start offset when the lock was released last.
    pub(super) fn log_start(&self) -> Offset {
        self.log_start.load(Ordering::Acquire)
    }

    /// Log end offset when the lock was released last.
    pub(super) fn log_end(&self) -> Offset {
        self.log_end.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(super) fn is_locked(&self) -> bool {
        self.state.is_locked()
    }
}

impl Deref for Guard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.state.invariants();
        show(&self.shown.log_start, self.state.log_start);
        show(&self.shown.log_end, self.state.log_end);
    }
}

/// Publishes an offset. Most holders of the lock do not move it; then nothing is stored, so that the caches of other processors
/// stay valid.
fn show(shown: &AtomicI64, offset: Offset) {
    if shown.load(Ordering::Relaxed) != offset {
        shown.store(offset, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::base::ids::{TopicPartition, Uuid};
    use crate::host::disk::Disk;
    use crate::log::partition_log::PartitionLog;
    use crate::log::settings::LogSettings;

    fn log(dir: &Path) -> PartitionLog {
        let (path, disk) = (dir.join("t-0"), Disk::default());
        let name = TopicPartition::new("t", 0);
        let settings = LogSettings::default();
        PartitionLog::create(disk.dir(&path), name, Uuid([1; 16]), settings, 0).unwrap()
    }

    #[test]
    fn the_ends_are_shown_when_the_lock_is_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        let mut state = log.state.lock();
        (state.log_start, state.log_end) = (3, 5);
        let shown = || (log.reader().log_start(), log.reader().log_end());
        assert_eq!(shown(), (0, 0));
        drop(state);
        assert_eq!(shown(), (3, 5));
    }

    #[test]
    #[should_panic(expected = "log_start: 1")]
    fn a_log_that_begins_behind_its_end_goes_no_further() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path()).state.lock().log_start = 1;
    }
}
