//! The small text files next to the logs: version, number of lines, lines. Replaced whole, never in place.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::disk;
use super::error::{DiskContext, StorageError, malformed};
use crate::base::ids::{LeaderEpoch, Offset, TopicPartition};

/// Where a log directory's files keep an offset per partition.
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub const CLEANED: &str = "cleaner-offset-checkpoint";
/// In a partition's own directory.
pub const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";

/// Replaces `path` so that a reader finds the old content or the new one, whatever happens:
/// 1. `<path>.tmp` is written and synced; 2. it is renamed over `path`; 3. the directory is synced.
///
/// After a crash before 2 the `.tmp` file remains and is ignored. Without `sync` step 3 is left out: a power cut may bring
/// the old content back. Without step 1 it could leave the new name with no content at all.
pub fn replace(path: &Path, content: &[u8], sync: bool) -> Result<(), StorageError> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = Path::new(&tmp);
    let write = || -> io::Result<()> {
        let file = disk::write(tmp, content)?;
        disk::sync(&file, tmp)?;
        disk::rename(tmp, path)?;
        match path.parent() {
            Some(parent) if sync => disk::sync_dir(parent),
            _ => Ok(()),
        }
    };
    write().at("replace", path)
}

/// Reads a file of offsets per partition; a missing or empty file has none.
pub fn read_offsets(path: &Path) -> Result<Vec<(TopicPartition, Offset)>, StorageError> {
    read(path, |fields| match fields {
        [topic, partition, offset] => Some((
            TopicPartition::new(*topic, partition.parse().ok()?),
            offset.parse().ok()?,
        )),
        _ => None,
    })
}

pub fn write_offsets<'a>(
    path: &Path,
    offsets: impl ExactSizeIterator<Item = (&'a TopicPartition, Offset)>,
) -> Result<(), StorageError> {
    let mut text = format!("0\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        let _ = writeln!(text, "{} {} {offset}", partition.topic, partition.partition);
    }
    replace(path, text.as_bytes(), true)
}

/// Reads the epochs of a partition and where each starts; a missing or empty file has none.
pub fn read_epochs(path: &Path) -> Result<Vec<(LeaderEpoch, Offset)>, StorageError> {
    read(path, |fields| match fields {
        [epoch, offset] => Some((epoch.parse().ok()?, offset.parse().ok()?)),
        _ => None,
    })
}

pub fn write_epochs(
    path: &Path,
    epochs: &[(LeaderEpoch, Offset)],
    sync: bool,
) -> Result<(), StorageError> {
    let mut text = format!("0\n{}\n", epochs.len());
    for (epoch, offset) in epochs {
        let _ = writeln!(text, "{epoch} {offset}");
    }
    replace(path, text.as_bytes(), sync)
}

fn read<T>(path: &Path, line: impl Fn(&[&str]) -> Option<T>) -> Result<Vec<T>, StorageError> {
    let text = match disk::open(path).and_then(io::read_to_string) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).at("read", path),
    };
    parse(&text, line).map_err(|what| malformed(path, what))
}

fn parse<T>(text: &str, line: impl Fn(&[&str]) -> Option<T>) -> Result<Vec<T>, String> {
    let mut lines = text.lines();
    match lines.next() {
        None => return Ok(Vec::new()),
        Some("0") => {}
        Some(version) => return Err(format!("version '{version}' is unknown")),
    }
    let expected: usize = lines
        .next()
        .and_then(|count| count.trim().parse().ok())
        .ok_or("the second line is not a number of entries")?;
    let mut entries = Vec::new();
    for text in lines.filter(|text| !text.trim().is_empty()) {
        let fields: Vec<&str> = text.split_whitespace().collect();
        entries.push(line(&fields).ok_or_else(|| format!("line '{text}' is malformed"))?);
    }
    if entries.len() == expected {
        Ok(entries)
    } else {
        Err(format!(
            "{} entries where {expected} were announced",
            entries.len()
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn offsets_survive_and_faults_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RECOVERY_POINTS);
        assert_eq!(read_offsets(&path).unwrap(), []);
        let entries = [
            (TopicPartition::new("a-b", 3), 17),
            (TopicPartition::new("c", 0), 0),
        ];
        write_offsets(
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
        assert_eq!(read_offsets(&path).unwrap(), entries);
        for broken in ["1\n0\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\nx\n"] {
            fs::write(&path, broken).unwrap();
            assert!(read_offsets(&path).is_err(), "{broken:?}");
        }
    }
}
