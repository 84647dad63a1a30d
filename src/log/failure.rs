//! Failed log directories: code that meets a disk error reports it here, and one listener acts on it. Kafka's
//! `LogDirFailureChannel`.
//!
//! After the first error nothing more is written to the directory, not even by code that has not heard of the error yet: what a
//! failed write or sync left behind is handled by the recovery of the next start. A directory does not come back while the node
//! runs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::error::{AppendError, ReadError, StorageError};

/// Queue of directories that have just failed, for their listener.
#[derive(Default)]
pub struct FailureChannel {
    fresh: Mutex<Vec<PathBuf>>,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for FailureChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FailureChannel").field(&self.fresh).finish()
    }
}

impl FailureChannel {
    /// Sets the function that is called after each failure. It is called with locks held, and must only wake somebody. Set once.
    pub fn listen(&self, wake: impl Fn() + Send + Sync + 'static) {
        if self.wake.set(Box::new(wake)).is_ok() && !self.fresh.lock().is_empty() {
            self.rouse();
        }
    }

    /// Directories that failed since the last call.
    pub fn take(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.fresh.lock())
    }

    fn rouse(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }
}

/// State of one log directory, shared by everything that has files in it.
#[derive(Debug)]
pub struct DirHealth {
    path: PathBuf,
    failed: AtomicBool,
    channel: Arc<FailureChannel>,
}

impl DirHealth {
    pub fn new(path: PathBuf, channel: Arc<FailureChannel>) -> Self {
        Self {
            path,
            failed: AtomicBool::new(false),
            channel,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_online(&self) -> bool {
        !self.failed.load(Ordering::Acquire)
    }

    /// Fails if the directory has failed.
    pub fn check(&self) -> Result<(), StorageError> {
        if self.is_online() {
            return Ok(());
        }
        Err(StorageError {
            doing: "use",
            path: self.path.clone(),
            source: io::Error::other("the log directory is offline because of an earlier error"),
        })
    }

    /// Takes the directory offline if `result` is a disk error.
    pub fn watch<T, E: Failure>(&self, result: Result<T, E>) -> Result<T, E> {
        if let Err(error) = &result
            && let Some(error) = error.of_disk()
        {
            self.fail(error);
        }
        result
    }

    /// Takes the directory offline; only the first error is reported.
    pub fn fail(&self, error: &StorageError) {
        if self.failed.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::error!(dir = %self.path.display(), %error, "a log directory failed and goes offline");
        self.channel.fresh.lock().push(self.path.clone());
        self.channel.rouse();
    }
}

/// Errors that may be disk errors.
pub trait Failure {
    /// The error if it is a disk error. Wrong content of a file, a refused batch, and a read that would have to wait for the disk
    /// are no disk errors.
    fn of_disk(&self) -> Option<&StorageError>;
}

impl Failure for StorageError {
    fn of_disk(&self) -> Option<&StorageError> {
        let kind = self.source.kind();
        let of_disk = kind != io::ErrorKind::InvalidData && self.cold().is_none();
        of_disk.then_some(self)
    }
}

impl Failure for AppendError {
    fn of_disk(&self) -> Option<&StorageError> {
        match self {
            Self::Storage(error) => error.of_disk(),
            Self::Refused { .. } | Self::Exhausted(_) => None,
        }
    }
}

impl Failure for ReadError {
    fn of_disk(&self) -> Option<&StorageError> {
        match self {
            Self::Storage(error) => error.of_disk(),
            Self::OutOfRange { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::log::error::malformed;

    #[test]
    fn the_first_error_of_a_disk_is_news_and_the_last_word() {
        let channel = Arc::new(FailureChannel::default());
        let health = DirHealth::new("d".into(), Arc::clone(&channel));
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&woken);
        channel.listen(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });

        let wrong: Result<(), _> = health.watch(Err(malformed("d/x", "cut short")));
        assert!(wrong.is_err() && health.is_online() && health.check().is_ok());

        let full = || StorageError {
            doing: "append to",
            path: "d/x".into(),
            source: io::Error::from_raw_os_error(28),
        };
        for _ in 0..2 {
            let failed: Result<(), _> = health.watch(Err(AppendError::Storage(full())));
            assert!(failed.is_err() && !health.is_online());
        }
        assert!(health.check().unwrap_err().to_string().contains("offline"));
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!(channel.take(), [PathBuf::from("d")]);
        assert!(channel.take().is_empty());
    }
}
