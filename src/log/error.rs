//! Errors of a log: refusals, which are answers to clients, and disk errors.

use std::io;
use std::path::PathBuf;

use crate::base::file_range::FileRange;
use crate::base::ids::Offset;
use crate::base::plain::Plain;
use crate::base::time::Timestamp;
use crate::base::work_pool::Exhausted;
use crate::wire::error_code::ErrorCode;

/// A record of a refused batch, by its index in the batch (KIP-467).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordError {
    pub batch_index: i32,
    pub fault: RecordFault,
}

/// Error of a record. A batch may have a million of them, so the message is made only when it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    #[error("a compacted topic cannot accept a message without a key")]
    NoKey,
    #[error("timestamp {timestamp} is out of the range that the topic accepts at {now}")]
    Time {
        timestamp: Timestamp,
        now: Timestamp,
    },
}

/// Reason why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("{message}")]
    Refused {
        code: ErrorCode,
        message: String,
        records: Vec<RecordError>,
    },
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Checking the records takes more work than the caller may do; nothing is known to be wrong.
    #[error("records are {0}")]
    Exhausted(#[from] Exhausted),
}

impl AppendError {
    pub fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Refused {
            code,
            message: message.into(),
            records: Vec::new(),
        }
    }

    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Storage(_) => ErrorCode::KafkaStorageError,
            Self::Exhausted(_) => ErrorCode::MessageTooLarge,
        }
    }

    /// The error as a storage error, for a log that refuses nothing unless the file at `path` has invalid content.
    pub fn into_storage(self, path: impl Into<PathBuf>) -> StorageError {
        match self {
            Self::Storage(error) => error,
            refused => malformed(path, refused.to_string()),
        }
    }
}

/// Reason why nothing can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("offset {offset} is outside of {log_start} to {log_end}")]
    OutOfRange {
        offset: Offset,
        log_start: Offset,
        log_end: Offset,
    },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ReadError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Storage(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// A disk error, or invalid content of a file.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {}", path.display(), Plain(source))]
pub struct StorageError {
    pub doing: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl StorageError {
    /// Range that must be read from a disk first, if the page cache does not contain it.
    pub fn cold(&self) -> Option<&FileRange> {
        let inner = self.source.get_ref()?;
        inner.downcast_ref().map(|Cold(range)| range)
    }
}

/// Errors that may mean that a disk would have to be waited for.
pub trait MayBeCold {
    /// See [`StorageError::cold`].
    fn cold(&self) -> Option<&FileRange>;
}

impl MayBeCold for StorageError {
    fn cold(&self) -> Option<&FileRange> {
        self.cold()
    }
}

impl MayBeCold for ReadError {
    fn cold(&self) -> Option<&FileRange> {
        match self {
            Self::Storage(error) => error.cold(),
            Self::OutOfRange { .. } => None,
        }
    }
}

/// Range that is not in the page cache, while waiting for a disk is not allowed. The inner error of a `WouldBlock`.
#[derive(Debug, thiserror::Error)]
#[error("not in the page cache")]
pub(super) struct Cold(pub FileRange);

/// Adds the operation and the path to an I/O error.
pub trait DiskContext<T> {
    fn at(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T, StorageError>;
}

impl<T> DiskContext<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T, StorageError> {
        self.map_err(|source| StorageError {
            doing,
            path: path.into(),
            source,
        })
    }
}

/// Error for a file with invalid content.
pub fn malformed(path: impl Into<PathBuf>, what: impl Into<String>) -> StorageError {
    let what = match what.into() {
        // The message may contain content of the file, which may be anything.
        long if long.chars().count() > WHAT_MAX => long.chars().take(WHAT_MAX).collect(),
        what => what,
    };
    StorageError {
        doing: "read",
        path: path.into(),
        source: io::Error::new(io::ErrorKind::InvalidData, what),
    }
}

/// Maximum length of the message, which is longer than any of our messages including their paths.
const WHAT_MAX: usize = 1_000;
