//! Modification time of a file, in the resolution of the file system.

use std::fs::Metadata;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::file::File;

/// A modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileTime(SystemTime);

impl FileTime {
    /// Modification time in metadata.
    pub(super) fn among(facts: &Metadata) -> Option<Self> {
        facts.modified().ok().map(Self)
    }

    /// Milliseconds since 1970-01-01 UTC, a `Timestamp`; `None` for earlier times.
    pub fn millis(self) -> Option<i64> {
        let since = self.0.duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_millis() as i64)
    }

    /// Time earlier by a duration; `None` if it cannot be represented.
    pub fn earlier(self, by: Duration) -> Option<Self> {
        self.0.checked_sub(by).map(Self)
    }

    /// Test-only: a time from milliseconds since 1970.
    #[cfg(test)]
    pub fn at(millis: i64) -> Self {
        Self(UNIX_EPOCH + Duration::from_millis(millis as u64))
    }

    /// Sets the modification time of `file`.
    pub fn give_to(self, file: &File) -> io::Result<()> {
        file.file.set_modified(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_file_takes_the_time_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        std::fs::write(&old, "").unwrap();
        let of = |path: &Path| FileTime::among(&std::fs::metadata(path).unwrap());
        let own = of(&old).unwrap();
        let earlier = own.earlier(Duration::from_secs(3_600)).unwrap();
        assert!(earlier < own);
        let file = File::from(std::fs::File::create(&new).unwrap());
        earlier.give_to(&file).unwrap();
        assert_eq!(of(&new), Some(earlier));
        assert_eq!(own.millis().unwrap() - earlier.millis().unwrap(), 3_600_000);
    }
}
