//! A log directory: names, lock, `meta.properties`, and the marker of a clean shutdown.

use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint;
use super::error::{DiskContext, StorageError, malformed};
use crate::base::ids::{BrokerEpoch, BrokerId, TopicPartition, Uuid};
use crate::host::disk::Dir;
use crate::host::file::File;

pub const META_PROPERTIES: &str = "meta.properties";
const LOCK: &str = ".lock";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const PARTITION_METADATA: &str = "partition.metadata";
/// Maximum size in bytes of `meta.properties` or `partition.metadata` that is read. Files that we write have less than two
/// hundred bytes.
const TEXT_MAX: u64 = 64 << 10;

/// Identity of a log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// Version; 0 in a directory from the ZooKeeper years, which keeps it, so that such a broker can use the directory again.
    pub version: u8,
    pub cluster_id: Option<String>,
    pub node_id: Option<BrokerId>,
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    /// Reads the file; `None` if the directory was never formatted.
    pub fn read(dir: Dir<'_>) -> Result<Option<Self>, StorageError> {
        let path = dir.join(META_PROPERTIES);
        let text = match dir.disk.read_text(&path, TEXT_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("read", path),
        };
        let get = |wanted: &str| {
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .rev()
                .find_map(|line| {
                    let (key, value) = line.split_once('=')?;
                    (key.trim() == wanted).then(|| value.trim().replace("\\:", ":"))
                })
        };
        let version = get("version").unwrap_or_else(|| "0".to_owned());
        let (version, node_key) = match version.as_str() {
            "0" => (0, "broker.id"),
            "1" => (1, "node.id"),
            other => {
                let other: String = other.chars().take(20).collect();
                let what = format!(
                    "its version {other} is unknown: a newer program wrote it; use that one, or another directory"
                );
                return Err(io::Error::new(io::ErrorKind::Unsupported, what)).at("read", path);
            }
        };
        let node_id = match get(node_key) {
            Some(text) => Some(
                text.parse()
                    .map_err(|_| malformed(&path, format!("{node_key}={text} is not a number")))?,
            ),
            None => None,
        };
        if version == 1 && node_id.is_none() {
            let what = "it has no node.id: it is not whole";
            return Err(io::Error::new(io::ErrorKind::Unsupported, what)).at("read", path);
        }
        let directory_id = match get("directory.id") {
            Some(text) => Some(
                text.parse()
                    .map_err(|error| malformed(&path, format!("{error}")))?,
            ),
            None => None,
        };
        Ok(Some(Self {
            version,
            cluster_id: get("cluster.id"),
            node_id,
            directory_id,
        }))
    }

    /// Replaces the file.
    pub fn write(&self, dir: Dir<'_>) -> Result<(), StorageError> {
        let mut text = String::from("#\n");
        if let Some(cluster_id) = &self.cluster_id {
            text.push_str(&format!("cluster.id={cluster_id}\n"));
        }
        if let Some(directory_id) = &self.directory_id {
            text.push_str(&format!("directory.id={directory_id}\n"));
        }
        if let Some(node_id) = self.node_id {
            let key = if self.version == 0 {
                "broker.id"
            } else {
                "node.id"
            };
            text.push_str(&format!("{key}={node_id}\n"));
        }
        text.push_str(&format!("version={}\n", self.version));
        checkpoint::replace(dir.disk, &dir.join(META_PROPERTIES), text.as_bytes(), true)
    }
}

/// Checks that this process may read and write a directory and all of its content, by owner and mount options: a broker may have
/// run there as another user for a while. Nothing is changed.
pub fn check_access(dir: Dir<'_>) -> Result<(), StorageError> {
    // Owners do not restrict root, and the check takes ten microseconds per partition.
    check_each(
        dir,
        !rustix::process::geteuid().is_root(),
        &|path, as_dir| dir.disk.check_use(path, as_dir),
    )
}

fn check_each(
    place: Dir<'_>,
    inside: bool,
    may: &dyn Fn(&Path, bool) -> io::Result<()>,
) -> Result<(), StorageError> {
    let Dir { disk, path: dir } = place;
    let check = |path: &Path, as_dir: bool| {
        let allowed = may(path, as_dir).or_else(|error| match error.kind() {
            // Dangling links, and entries that disappear meanwhile, are not checked here.
            io::ErrorKind::NotFound if path != dir => Ok(()),
            kind => {
                let advice = match kind {
                    io::ErrorKind::ReadOnlyFilesystem => "mount it for writing".to_owned(),
                    _ => format!(
                        "give it to the user of this process, whose number is {}",
                        rustix::process::geteuid().as_raw()
                    ),
                };
                Err(io::Error::new(kind, format!("{error}; {advice}")))
            }
        });
        allowed.at("write to", path)
    };
    check(dir, true)?;
    if !inside {
        return Ok(());
    }
    for entry in disk.list(dir).at("list", dir)? {
        let path = entry.path();
        let name = entry.text().unwrap_or_default();
        // Other entries, such as `lost+found` of a file system, are ignored.
        match DirName::parse(name) {
            DirName::Partition(_) | DirName::Future(_) if entry.is_a_dir() => {
                check(&path, true)?;
                for file in disk.list(&path).at("list", &path)? {
                    check(&file.path(), false)?;
                }
            }
            _ if name == LOCK || name == META_PROPERTIES || name.ends_with("-checkpoint") => {
                check(&path, false)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Fails if another process holds the directory. Nothing is changed, and nothing is held afterwards.
pub fn check_free(dir: Dir<'_>) -> Result<(), StorageError> {
    let path = dir.join(LOCK);
    match dir.disk.open_to_change(&path) {
        Ok(file) => try_lock(&file, &path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).at("open", path),
    }
}

/// Fails if another process holds the directory, without opening anything for writing.
pub fn check_unused(dir: Dir<'_>) -> Result<(), StorageError> {
    let path = dir.join(LOCK);
    let file = match dir.disk.open_small(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).at("open", path),
    };
    match file.is_locked_by_others() {
        true => Err(io::Error::from(io::ErrorKind::WouldBlock)).at("lock", path),
        false => Ok(()),
    }
}

/// Lock of a log directory, held while the process uses it.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Takes the lock of a directory, which Apache Kafka takes too, and which exists only once per process.
pub fn lock(dir: Dir<'_>) -> Result<DirLock, StorageError> {
    let path = dir.join(LOCK);
    let file = dir.disk.open_lock(&path).at("open", &path)?;
    try_lock(&file, &path)?;
    Ok(DirLock { _file: file })
}

fn try_lock(file: &File, path: &Path) -> Result<(), StorageError> {
    let locked = file.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(
            error.kind(),
            "another process uses this log directory; stop it, or choose another log.dirs",
        ),
        _ => error,
    });
    locked.at("lock", path)
}

/// Whether the last shutdown was clean; the marker is removed, because a crash is possible from now on. The removal is synced: if
/// a power failure brought the marker back, everything written since would be trusted.
pub fn take_clean_shutdown(dir: Dir<'_>) -> Result<bool, StorageError> {
    let path = dir.join(CLEAN_SHUTDOWN);
    match dir.disk.remove_file(&path) {
        Ok(()) => {
            let synced = dir.disk.sync_dir(dir.path);
            synced.at("sync", dir.path).map(|()| true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at("remove", path),
    }
}

/// Whether the last shutdown was clean, without removing the marker.
pub fn was_stopped_cleanly(dir: Dir<'_>) -> bool {
    dir.disk
        .exists(&dir.join(CLEAN_SHUTDOWN))
        .unwrap_or_default()
}

/// The epoch of the broker's registration, as its clean stop has left it here. None after any other stop, and from a broker that did
/// not write it down.
pub fn clean_shutdown_epoch(dir: Dir<'_>) -> Option<BrokerEpoch> {
    let text = dir
        .disk
        .read_text(&dir.join(CLEAN_SHUTDOWN), TEXT_MAX)
        .ok()?;
    let said: serde_json::Value = serde_json::from_str(&text).ok()?;
    said.get("brokerEpoch")?
        .as_i64()
        .filter(|epoch| *epoch >= 0)
}

pub fn write_clean_shutdown(dir: Dir<'_>, broker_epoch: BrokerEpoch) -> Result<(), StorageError> {
    let text = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
    checkpoint::replace(dir.disk, &dir.join(CLEAN_SHUTDOWN), text.as_bytes(), true)
}

pub fn write_partition_metadata(dir: Dir<'_>, topic_id: Uuid) -> Result<(), StorageError> {
    let text = format!("version: 0\ntopic_id: {topic_id}");
    checkpoint::replace(
        dir.disk,
        &dir.join(PARTITION_METADATA),
        text.as_bytes(),
        false,
    )
}

/// Whether the directory has a `partition.metadata` file, damaged or not.
pub fn has_partition_metadata(dir: Dir<'_>) -> Result<bool, StorageError> {
    let path = dir.join(PARTITION_METADATA);
    dir.disk.exists(&path).at("look at", path)
}

/// Topic id of a partition's directory; `None` if it is older than topic ids.
pub fn read_partition_metadata(dir: Dir<'_>) -> Result<Option<Uuid>, StorageError> {
    let path = dir.join(PARTITION_METADATA);
    let text = match dir.disk.read_text(&path, TEXT_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("read", path),
    };
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id:"));
    let id = id.ok_or_else(|| malformed(&path, "there is no topic_id"))?;
    let id: Uuid = id
        .trim()
        .parse()
        .map_err(|error| malformed(&path, format!("{error}")))?;
    if id.is_zero() {
        return Err(malformed(&path, "its topic_id is zero"));
    }
    Ok(Some(id))
}

/// Topic id for a start, which continues without the id if the file is damaged. Kafka differs: its process ends because of one
/// damaged file.
pub fn topic_id(dir: Dir<'_>) -> Result<Option<Uuid>, StorageError> {
    match read_partition_metadata(dir) {
        Err(error) if error.source.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(%error, "a damaged file; the partition is taken for one of the topic of its name");
            Ok(None)
        }
        read => read,
    }
}

/// Kind of a directory inside a log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirName {
    Partition(TopicPartition),
    /// Directory that waits for its removal.
    Delete,
    /// Future replica: a copy that moves to this log directory.
    Future(TopicPartition),
    /// Stray replica: the metadata does not have it here.
    Stray,
    /// Not a partition.
    Other,
}

/// Maximum length of a directory entry.
const NAME_MAX: usize = 255;

impl DirName {
    pub fn parse(name: &str) -> Self {
        if name.ends_with("-delete") {
            return Self::Delete;
        }
        if name.ends_with("-stray") {
            return Self::Stray;
        }
        if let Some(rest) = name.strip_suffix("-future") {
            let partition = rest
                .rsplit_once('.')
                .and_then(|(name, _)| parse_partition(name));
            return partition.map_or(Self::Other, Self::Future);
        }
        parse_partition(name).map_or(Self::Other, Self::Partition)
    }
}

fn parse_partition(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let number = !partition.is_empty() && partition.bytes().all(|byte| byte.is_ascii_digit());
    (number && !topic.is_empty()).then_some(())?;
    Some(TopicPartition::new(topic, partition.parse().ok()?))
}

/// Name of a renamed partition directory; `kind` is `delete`, `stray` or `future`.
pub fn renamed(partition: &TopicPartition, unique: [u8; 16], kind: &str) -> PathBuf {
    let unique: String = unique.iter().map(|byte| format!("{byte:02x}")).collect();
    let suffix = format!("-{}.{unique}-{kind}", partition.partition);
    let topic_len = partition.topic.len().min(NAME_MAX - suffix.len());
    PathBuf::from(format!("{}{suffix}", &partition.topic[..topic_len]))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::host::disk::Disk;

    #[test]
    fn names_are_told_apart() {
        let partition = DirName::Partition(TopicPartition::new("a-b.c", 12));
        assert_eq!(DirName::parse("a-b.c-12"), partition);
        assert_eq!(DirName::parse("remote-log-index-cache"), DirName::Other);
        assert_eq!(DirName::parse("-1"), DirName::Other);
        let doomed = renamed(
            &TopicPartition::new("t".repeat(249), 3),
            [0xab; 16],
            "delete",
        );
        assert!(doomed.as_os_str().len() <= NAME_MAX);
        assert_eq!(DirName::parse(doomed.to_str().unwrap()), DirName::Delete);
        let future = DirName::Future(TopicPartition::new("t", 0));
        assert_eq!(
            DirName::parse("t-0.0123456789abcdef0123456789abcdef-future"),
            future
        );
    }

    #[test]
    fn what_belongs_to_somebody_else_is_named_before_anything_is_done() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
        let inside = |name: &str| dir.path().join(name);
        for made in [
            "t-0",
            "lost+found",
            "t-1.0123456789abcdef0123456789abcdef-delete",
        ] {
            fs::create_dir(inside(made)).unwrap();
            fs::write(inside(made).join("file"), "").unwrap();
        }
        fs::write(inside(LOCK), "").unwrap();
        std::os::unix::fs::symlink("/nowhere", inside("t-0/link")).unwrap();
        let without = |name: &str| {
            check_each(disk.dir(dir.path()), true, &|path, as_dir| {
                if path == dir.path().join(name) {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                disk.check_use(path, as_dir)
            })
        };
        for name in ["", LOCK, "t-0", "t-0/file"] {
            let error = without(name).unwrap_err().to_string();
            let told = error.contains(name) && error.contains("give it to the user");
            assert!(told, "{error}");
        }
        for name in ["lost+found", "lost+found/file", "nothing"] {
            without(name).unwrap();
        }
        check_access(disk.dir(dir.path())).unwrap();
    }

    #[test]
    fn both_versions_of_the_identity_are_read() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
        let place = disk.dir(dir.path());
        assert_eq!(MetaProperties::read(place).unwrap(), None);
        let path = dir.path().join(META_PROPERTIES);
        fs::write(&path, "#x\nversion=0\nbroker.id=3\ncluster.id=abc\n").unwrap();
        let old = MetaProperties::read(place).unwrap().unwrap();
        assert_eq!(
            (old.node_id, old.cluster_id.as_deref()),
            (Some(3), Some("abc"))
        );
        let new = MetaProperties {
            version: 1,
            cluster_id: Some("c".to_owned()),
            node_id: Some(1),
            directory_id: Some(Uuid([7; 16])),
        };
        old.write(place).unwrap();
        assert_eq!(MetaProperties::read(place).unwrap(), Some(old));
        new.write(place).unwrap();
        assert_eq!(MetaProperties::read(place).unwrap(), Some(new));
        fs::write(&path, "version=2\n").unwrap();
        assert!(MetaProperties::read(place).is_err());
    }

    #[test]
    fn a_second_user_of_a_directory_is_told_so() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
        let place = disk.dir(dir.path());
        let first = lock(place).unwrap();
        assert!(
            lock(place)
                .unwrap_err()
                .to_string()
                .contains("another process")
        );
        drop(first);
        lock(place).unwrap();
    }

    #[test]
    fn a_clean_stop_counts_once() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
        let place = disk.dir(dir.path());
        assert!(!take_clean_shutdown(place).unwrap());
        assert_eq!(clean_shutdown_epoch(place), None);
        write_clean_shutdown(place, 5).unwrap();
        assert_eq!(clean_shutdown_epoch(place), Some(5));
        assert!(take_clean_shutdown(place).unwrap());
        assert!(!take_clean_shutdown(place).unwrap());
    }
}
