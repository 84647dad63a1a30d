//! Formatting of log directories: their identity, and the first records of a new cluster.

use std::hash::Hasher;
use std::io::{Error, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytestring::ByteString;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::base::ids::{BrokerId, Uuid};
use crate::host::Host;
use crate::host::chance::Chance;
use crate::host::disk::Dir;
use crate::log::dir::{self, MetaProperties};
use crate::log::error::{DiskContext, StorageError, malformed};
use crate::log::manager::Identified;
use crate::metadata::features::ELIGIBLE_LEADER_REPLICAS;
use crate::metadata::image::{BROKER_RESOURCE, Image};
use crate::metadata::loader::write_formatted;
use crate::metadata::record::Record;
use crate::metadata::record::schema::{ConfigRecord, FeatureLevelRecord};

/// The metadata level of Kafka 4.4 (4.4-IV2).
pub const METADATA_VERSION: i16 = 33;
/// Name of [`METADATA_VERSION`].
pub const METADATA_VERSION_NAME: &str = "4.4-IV2";
/// Oldest supported level of `metadata.version`.
pub const METADATA_VERSION_MIN: i16 = 7;

/// Feature levels of a new cluster of Kafka 4.4, `metadata.version` first.
pub const DEFAULT_FEATURES: &[(&str, i16)] = &[
    ("metadata.version", METADATA_VERSION),
    ("eligible.leader.replicas.version", 1),
    ("group.version", 1),
    ("share.version", 2),
    ("streams.version", 1),
    ("transaction.version", 2),
];

/// Feature levels that nodes of Kafka 4.4 support, with minimum and maximum. They are written into registrations.
pub const SUPPORTED_FEATURES: &[(&str, i16, i16)] = &[
    ("eligible.leader.replicas.version", 0, 1),
    ("group.version", 0, 1),
    ("kraft.version", 0, 1),
    ("metadata.version", METADATA_VERSION_MIN, METADATA_VERSION),
    ("share.version", 0, 2),
    ("streams.version", 0, 1),
    ("transaction.version", 0, 2),
];

/// Features that are reported to clients and that clients may change: those that are implemented. Other features that a cluster
/// has finalized keep their levels, for an Apache Kafka that takes the directory over.
pub const SERVED_FEATURES: &[&str] = &[
    "eligible.leader.replicas.version",
    "group.version",
    "kraft.version",
    "metadata.version",
    "share.version",
    "transaction.version",
];

/// Checks that all features of the cluster are known at their levels. Files may depend on an unknown level anywhere, so a node
/// that went on would damage the cluster. Kafka refuses such a cluster too.
///
/// Errors: each unknown feature or level, with the supported levels.
pub fn check_features(image: &Image) -> Result<(), String> {
    let fault = |(name, level): (&Arc<str>, &i16)| {
        let known = SUPPORTED_FEATURES
            .iter()
            .find(|(known, ..)| *known == &**name);
        match known {
            Some((_, min, max)) if (min..=max).contains(&level) => None,
            Some((_, min, max)) => Some(format!(
                "{name} has level {level}, and levels {min} to {max} are supported"
            )),
            None => Some(format!("{name}, of level {level}, is not a known feature")),
        }
    };
    let faults: Vec<_> = image.features.iter().filter_map(fault).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the cluster uses features of a newer program: {}; start it with the newest program that it ran with",
        faults.join("; ")
    ))
}

/// Level of `transaction.version` for data that Kafka with ZooKeeper wrote. Such a broker cannot read the records of newer
/// levels, so the user has to raise the level explicitly; until then the directory can go back to that broker.
const TRANSACTIONS_OF_ZOOKEEPER: (&str, i16) = ("transaction.version", 0);

/// The first records of a new cluster; `of_zookeeper` if the cluster continues one that used ZooKeeper.
pub fn records(of_zookeeper: bool) -> Vec<Record> {
    let level_of = |(name, level): &(&str, i16)| {
        let (other, older) = TRANSACTIONS_OF_ZOOKEEPER;
        match of_zookeeper && *name == other {
            true => older,
            false => *level,
        }
    };
    DEFAULT_FEATURES
        .iter()
        .map(|feature| {
            FeatureLevelRecord {
                name: feature.0.into(),
                feature_level: level_of(feature),
            }
            .into()
        })
        .chain([min_insync_replicas()])
        .collect()
}

/// The first records of a cluster whose features were chosen when it was formatted.
pub fn completed(mut given: Vec<Record>) -> Vec<Record> {
    let has_elr = |record: &Record| match record {
        Record::FeatureLevel(feature) => {
            feature.name == ELIGIBLE_LEADER_REPLICAS && feature.feature_level > 0
        }
        _ => false,
    };
    if given.iter().any(has_elr) {
        given.push(min_insync_replicas());
    }
    given
}

/// The cluster-wide `min.insync.replicas`, which must be a record if eligible leader replicas (KIP-966) are enabled, so that
/// the file of a single broker cannot weaken it.
fn min_insync_replicas() -> Record {
    ConfigRecord {
        resource_type: BROKER_RESOURCE,
        resource_name: ByteString::new(),
        name: "min.insync.replicas".into(),
        value: Some("1".into()),
    }
    .into()
}

/// A random id that is not one of the reserved ones.
pub fn random_uuid(chance: &Chance) -> Result<Uuid, StorageError> {
    loop {
        let bytes = chance
            .bytes()
            .map_err(|error| malformed("the random source", error.to_string()))?;
        if let Some(id) = Uuid::from_random_bytes(bytes) {
            return Ok(id);
        }
    }
}

/// The log directories of a node, all formatted for the same cluster.
#[derive(Debug)]
pub struct Formatted {
    pub cluster_id: String,
    /// Directory ids in the order of the directories given, or the reason why a directory cannot be used.
    pub dirs: Vec<Identified>,
    /// Whether no directory had been formatted before.
    pub new: bool,
    /// Whether a directory was formatted by a Kafka that used ZooKeeper.
    pub of_zookeeper: bool,
    /// Directories that were formatted by this call.
    pub filled: Vec<PathBuf>,
}

/// Treatment of directories that are not formatted while others are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// Format them, at the user's request.
    Fill,
    /// Refuse to start, as Kafka does: most likely a disk is not mounted.
    Refuse,
}

/// Makes sure that every directory exists and has the identity of this node and of one cluster; formats directories that are
/// new. The first directory is that of the metadata log. Nothing is changed before everything is checked.
///
/// If the node is not new, a directory other than the first that cannot be read or written is reported in the result.
///
/// Errors name the directory: in use, of another node or cluster, not formatted though others are, or the first and unusable.
pub fn format(
    host: &Host,
    dirs: &[PathBuf],
    node_id: BrokerId,
    wanted_cluster: Option<&str>,
    gaps: Gaps,
) -> Result<Formatted, StorageError> {
    format_with(host, dirs, node_id, wanted_cluster, gaps, &[])
}

/// Like [`format()`]. If the first directory is new and `first` is not empty, the cluster begins with the records of `first`
/// instead of those of every new cluster.
pub fn format_with(
    host: &Host,
    dirs: &[PathBuf],
    node_id: BrokerId,
    wanted_cluster: Option<&str>,
    gaps: Gaps,
    first: &[Record],
) -> Result<Formatted, StorageError> {
    let mut found = Vec::new();
    for (index, dir) in dirs.iter().enumerate() {
        match look(host.disk.dir(dir)) {
            Err(error) if index == 0 || is_contradiction(&error) => return Err(error),
            looked => found.push(looked),
        }
    }
    let cluster_id = cluster_of(&host.chance, dirs, &found, node_id, wanted_cluster)?;
    let metas = || found.iter().flatten().flatten();
    let new = metas().next().is_none();
    let of_zookeeper = metas().any(|meta| meta.version == 0);
    if new && let Some(index) = found.iter().position(Result::is_err) {
        // A directory that is unusable at the first start of a node is a mistake in the settings.
        return Err(found
            .swap_remove(index)
            .err()
            .unwrap_or_else(|| malformed("log.dirs", "cannot be used")));
    }
    let formatted = || {
        dirs.iter()
            .zip(&found)
            .find(|(_, found)| matches!(found, Ok(Some(meta)) if meta.version > 0))
    };
    if gaps == Gaps::Refuse
        && let Some((other, _)) = formatted()
        && let Some((dir, _)) = dirs
            .iter()
            .zip(&found)
            .find(|(_, found)| matches!(found, Ok(None)))
    {
        return Err(malformed(
            dir,
            format!(
                "it is not formatted though {} is; mount its disk if it has one, or make it part of this node by \
                 'monedula storage format --ignore-formatted'",
                other.display()
            ),
        ));
    }
    let mut known: Vec<Uuid> = Vec::new();
    for (dir, found) in dirs.iter().zip(&found) {
        let Some(id) = found
            .as_ref()
            .ok()
            .and_then(|meta| meta.as_ref()?.directory_id)
        else {
            continue;
        };
        if known.contains(&id) {
            return Err(malformed(
                meta_path(dir),
                "another log directory has the same directory.id; one is a copy of the other: remove it from log.dirs",
            ));
        }
        known.push(id);
    }

    // Written before anything marks the directory as formatted: after a crash here it is formatted again.
    if !first.is_empty()
        && let (Some(dir), Some(Ok(None))) = (dirs.first(), found.first())
    {
        host.disk.create_dir(dir).at("create", dir)?;
        write_formatted(host.disk.dir(dir), first, host.clock.now())?;
    }

    let mut identified = Vec::new();
    let like = found
        .iter()
        .filter_map(|found| found.as_ref().ok()?.as_ref())
        .find(|meta| meta.directory_id.is_none())
        .cloned();
    let mut filled = Vec::new();
    for (dir, found) in dirs.iter().zip(found) {
        if matches!(found, Ok(None)) {
            filled.push(dir.clone());
        }
        let id =
            found.and_then(|meta| identify(host, dir, meta, like.as_ref(), &cluster_id, node_id));
        identified.push((dir.clone(), id));
    }
    Ok(Formatted {
        cluster_id,
        dirs: identified,
        new,
        of_zookeeper,
        filled,
    })
}

/// The identity of a directory; `None` if the directory is not formatted or does not exist.
fn look(place: Dir<'_>) -> Result<Option<MetaProperties>, StorageError> {
    let Dir { disk, path: dir } = place;
    let facts = match disk.facts(dir) {
        // A link without a target also means a disk that is not mounted.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        facts => facts.at("look at", dir)?,
    };
    if !facts.is_dir {
        return Err(Error::new(
            ErrorKind::NotADirectory,
            "it is not a directory",
        ))
        .at("use", dir);
    }
    dir::check_access(place)?;
    dir::check_free(place)?;
    MetaProperties::read(place)
}

/// Whether the error is a mistake of the operator and not a failing disk. Leaving the directory out would not help.
fn is_contradiction(error: &StorageError) -> bool {
    [ErrorKind::WouldBlock, ErrorKind::InvalidData].contains(&error.source.kind())
}

/// The cluster id that the directories agree on. Checks that all directories belong to this node.
fn cluster_of(
    chance: &Chance,
    dirs: &[PathBuf],
    found: &[Result<Option<MetaProperties>, StorageError>],
    node_id: BrokerId,
    wanted: Option<&str>,
) -> Result<String, StorageError> {
    let mut cluster_id = wanted.map(str::to_owned);
    for (dir, meta) in dirs.iter().zip(found) {
        let Ok(Some(meta)) = meta else { continue };
        let Some(owner) = meta.node_id else {
            return Err(malformed(meta_path(dir), "there is no node.id"));
        };
        if owner != node_id {
            return Err(malformed(
                meta_path(dir),
                format!(
                    "it belongs to node {owner}, but this is node {node_id}; set node.id={owner} or choose another directory"
                ),
            ));
        }
        match (&meta.cluster_id, &cluster_id) {
            (Some(theirs), Some(ours)) if theirs != ours => {
                return Err(malformed(
                    meta_path(dir),
                    format!(
                        "it belongs to cluster {theirs}, not to {ours}; choose another directory or remove its content"
                    ),
                ));
            }
            (Some(theirs), None) => cluster_id = Some(theirs.clone()),
            _ => {}
        }
    }
    match cluster_id {
        Some(id) => Ok(id),
        None => Ok(random_uuid(chance)?.to_string()),
    }
}

/// The id of a directory, written into `meta.properties` if it has none yet. It is not written if some directory was formatted
/// without an id (`like`): Apache Kafka before 3.7 refuses directories whose files differ, so there would be no way back. The
/// ids of such directories are derived from their paths; a start finds replicas in any of them.
fn identify(
    host: &Host,
    dir: &Path,
    meta: Option<MetaProperties>,
    like: Option<&MetaProperties>,
    cluster_id: &str,
    node_id: BrokerId,
) -> Result<Uuid, StorageError> {
    if let Some(known) = meta.as_ref().and_then(|meta| meta.directory_id) {
        return Ok(known);
    }
    host.disk.create_dir(dir).at("create", dir)?;
    let written = MetaProperties {
        version: meta.as_ref().or(like).map_or(1, |meta| meta.version),
        cluster_id: Some(cluster_id.to_owned()),
        node_id: Some(node_id),
        directory_id: like
            .is_none()
            .then(|| random_uuid(&host.chance))
            .transpose()?,
    };
    if meta.as_ref() != Some(&written) {
        written.write(host.disk.dir(dir))?;
    }
    written
        .directory_id
        .map_or_else(|| id_of_place(dir, cluster_id), Ok)
}

/// Directory id derived from the cluster id and the path: the same for each start.
fn id_of_place(dir: &Path, cluster_id: &str) -> Result<Uuid, StorageError> {
    let place = std::path::absolute(dir).at("look at", dir)?;
    let mut hasher = SipHasher13::new();
    hasher.write(cluster_id.as_bytes());
    hasher.write(place.as_os_str().as_bytes());
    loop {
        let hash = hasher.finish128();
        if let Some(id) = Uuid::from_random_bytes(hash.as_bytes()) {
            return Ok(id);
        }
        hasher.write_u8(0);
    }
}

fn meta_path(dir: &Path) -> PathBuf {
    dir.join("meta.properties")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn features_that_are_newer_are_named_with_their_levels() {
        let with = |features: &[(&str, i16)]| {
            let mut image = Image::empty();
            for (name, level) in features {
                image.features.insert(Arc::from(*name), *level);
            }
            check_features(&image)
        };
        assert_eq!(with(DEFAULT_FEATURES), Ok(()));
        assert_eq!(with(&[]), Ok(()));
        for (features, named) in [
            (
                &[("metadata.version", 34), ("share.version", 3)][..],
                "metadata.version has level 34, and levels 7 to 33 are supported; share.version has level 3, and levels 0 to 2 are supported;",
            ),
            (&[("metadata.version", 6)], "levels 7 to 33"),
            (
                &[("x.version", 1)],
                "x.version, of level 1, is not a known feature",
            ),
        ] {
            let refused = with(features).unwrap_err();
            assert!(refused.contains(named), "{refused}");
        }
    }

    /// Apache Kafka before 3.7 accepts the directories again only if their files agree.
    #[test]
    fn directories_without_ids_get_none() {
        let (root, host) = (tempfile::tempdir().unwrap(), Host::default());
        let dirs = ["a", "b", "new"].map(|name| root.path().join(name));
        let text = "#\n#Sat Nov 21 23:09:33 UTC 2026\nbroker.id=0\nversion=0\ncluster.id=z3S1sZCySgeBhkmxgd6hpg\n";
        for dir in &dirs[..2] {
            fs::create_dir(dir).unwrap();
            fs::write(meta_path(dir), text).unwrap();
        }
        let ids = || -> Vec<Uuid> {
            let formatted = format(&host, &dirs, 0, None, Gaps::Fill).unwrap();
            let ids = formatted.dirs.into_iter().map(|(_, id)| id.unwrap());
            ids.collect()
        };
        let first = ids();
        assert!(first[0] != first[1] && first[1] != first[2]);
        assert_eq!(ids(), first);
        for dir in &dirs[..2] {
            assert_eq!(fs::read_to_string(meta_path(dir)).unwrap(), text);
        }
        let added = MetaProperties::read(host.disk.dir(&dirs[2])).unwrap();
        assert_eq!(
            added,
            MetaProperties::read(host.disk.dir(&dirs[0])).unwrap()
        );
    }
}
