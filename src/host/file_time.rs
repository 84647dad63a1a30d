//! When a file was written to last, as exactly as its file system knows.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileTime(SystemTime);

impl FileTime {
    /// Of a file that is there, where the file system tells.
    pub fn of(path: &Path) -> Option<Self> {
        Self::among(&std::fs::metadata(path).ok()?)
    }

    /// Among what is known of a file already.
    pub fn among(facts: &Metadata) -> Option<Self> {
        facts.modified().ok().map(Self)
    }

    /// Milliseconds since 1970-01-01 UTC, which is a `Timestamp`; `None` before.
    pub fn millis(self) -> Option<i64> {
        let since = self.0.duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_millis() as i64)
    }

    /// The time that was so long before; `None` where no file system can name it.
    pub fn earlier(self, by: Duration) -> Option<Self> {
        self.0.checked_sub(by).map(Self)
    }

    /// Has `file` look as if it was written to last at this time.
    pub fn give_to(self, file: &File) -> io::Result<()> {
        file.set_modified(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_the_time_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        std::fs::write(&old, "").unwrap();
        let own = FileTime::of(&old).unwrap();
        let earlier = own.earlier(Duration::from_secs(3_600)).unwrap();
        assert!(earlier < own);
        let file = File::create(&new).unwrap();
        earlier.give_to(&file).unwrap();
        assert_eq!(FileTime::of(&new), Some(earlier));
        assert_eq!(own.millis().unwrap() - earlier.millis().unwrap(), 3_600_000);
        assert_eq!(FileTime::of(dir.path().join("none").as_path()), None);
    }
}
