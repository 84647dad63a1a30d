//! Checkpoint files: small text files with a version, the number of lines, and the lines. They are always replaced as a whole.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use super::error::{DiskContext, StorageError};
use crate::base::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::host::disk::Disk;
use crate::host::file::File;

/// Names of the files in a log directory with an offset per partition.
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub const CLEANED: &str = "cleaner-offset-checkpoint";
/// Name of the file of leader epochs in a partition's directory.
pub const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";

/// Replaces `path` so that a reader finds either the old content or the new one:
/// 1. `<path>.tmp` is written and synced; 2. it is renamed to `path`; 3. the directory is synced.
///
/// After a crash before step 2 the `.tmp` file remains and is ignored. Without `sync` step 3 is omitted, and a power failure may
/// bring back the old content. Without step 1 a power failure could leave the new name without content.
pub fn replace(disk: &Disk, path: &Path, content: &[u8], sync: bool) -> Result<(), StorageError> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = Path::new(&tmp);
    let write = || -> io::Result<()> {
        let file = disk.write(tmp, content)?;
        disk.sync(&file, tmp)?;
        disk.rename(tmp, path)?;
        match path.parent() {
            Some(parent) if sync => disk.sync_dir(parent),
            _ => Ok(()),
        }
    };
    write().at("replace", path)
}

/// Reads a file with an offset per partition; a missing or empty file has none.
pub fn read_offsets(
    disk: &Disk,
    path: &Path,
) -> Result<Vec<(TopicPartition, Offset)>, StorageError> {
    read(disk, path, |fields| match fields {
        [topic, partition, offset] => Some((
            TopicPartition::new(*topic, partition.parse().ok()?),
            offset.parse().ok()?,
        )),
        _ => None,
    })
}

pub fn write_offsets<'a>(
    disk: &Disk,
    path: &Path,
    offsets: impl ExactSizeIterator<Item = (&'a TopicPartition, Offset)>,
) -> Result<(), StorageError> {
    let mut text = format!("0\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        let _ = writeln!(text, "{} {} {offset}", partition.topic, partition.partition);
    }
    replace(disk, path, text.as_bytes(), true)
}

/// Reads the leader epochs of a partition and their start offsets; a missing or empty file has none.
///
/// Errors: `Unsupported` for a later version, whose file we must not replace.
pub fn read_epochs(disk: &Disk, path: &Path) -> Result<Vec<(LeaderEpoch, Offset)>, StorageError> {
    read(disk, path, |fields| match fields {
        [epoch, offset] => Some((epoch.parse().ok()?, offset.parse().ok()?)),
        _ => None,
    })
}

pub fn write_epochs(
    disk: &Disk,
    path: &Path,
    epochs: &[(LeaderEpoch, Offset)],
    sync: bool,
) -> Result<(), StorageError> {
    let mut text = format!("0\n{}\n", epochs.len());
    for (epoch, offset) in epochs {
        let _ = writeln!(text, "{epoch} {offset}");
    }
    replace(disk, path, text.as_bytes(), sync)
}

fn read<T>(
    disk: &Disk,
    path: &Path,
    line: impl Fn(&[&str]) -> Option<T>,
) -> Result<Vec<T>, StorageError> {
    let file = match disk.open_small(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).at("read", path),
    };
    let lines = Lines {
        file: BufReader::new(file),
        line: Vec::new(),
    };
    parse(lines, line).at("read", path)
}

fn parse<T>(mut lines: Lines, line: impl Fn(&[&str]) -> Option<T>) -> io::Result<Vec<T>> {
    match lines.next()? {
        None => return Ok(Vec::new()),
        Some("0") => {}
        Some(version) if version.parse().is_ok_and(|version: u32| version > 0) => {
            let what = format!(
                "its version {version} is unknown: a newer program wrote it; use that one, or remove the file"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        Some(version) => return wrong(format!("version {version:?} is unknown")),
    }
    let count = lines.next()?.and_then(|count| count.trim().parse().ok());
    let Some(expected) = count else {
        return wrong("the second line is not a number of entries");
    };
    let mut entries = Vec::new();
    while let Some(text) = lines.next()? {
        if text.trim().is_empty() {
            continue;
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        match line(&fields) {
            Some(_) if entries.len() == expected => {
                return wrong(format!("there are more entries than {expected}"));
            }
            Some(entry) => entries.push(entry),
            None => return wrong(format!("line {text:?} is malformed")),
        }
    }
    if entries.len() < expected {
        let what = format!("{} entries where {expected} were announced", entries.len());
        return wrong(what);
    }
    Ok(entries)
}

fn wrong<T>(what: impl Into<String>) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidData, what.into()))
}

/// Lines of a file, with a limit on the length of a line.
struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
}

/// Maximum length of a line: twice the length of the longest topic name with two numbers.
const LINE_MAX: u64 = 600;

impl Lines {
    fn next(&mut self) -> io::Result<Option<&str>> {
        self.line.clear();
        let read = (&mut self.file)
            .take(LINE_MAX)
            .read_until(b'\n', &mut self.line)?;
        if read as u64 == LINE_MAX {
            return wrong("it has a line that is longer than any of such a file");
        }
        match str::from_utf8(&self.line) {
            Ok(line) => Ok((read > 0).then(|| line.trim_end_matches(['\r', '\n']))),
            Err(_) => wrong("it is not text in UTF-8"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn offsets_survive_and_faults_are_named() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
        let path = dir.path().join(RECOVERY_POINTS);
        assert_eq!(read_offsets(&disk, &path).unwrap(), []);
        let entries = [
            (TopicPartition::new("a-b", 3), 17),
            (TopicPartition::new("c", 0), 0),
        ];
        write_offsets(
            &disk,
            &path,
            entries
                .iter()
                .map(|(partition, offset)| (partition, *offset)),
        )
        .unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "0\n2\na-b 3 17\nc 0 0\n"
        );
        assert_eq!(read_offsets(&disk, &path).unwrap(), entries);
        for broken in ["1\n0\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\nx\n"] {
            fs::write(&path, broken).unwrap();
            assert!(read_offsets(&disk, &path).is_err(), "{broken:?}");
        }
    }
}
