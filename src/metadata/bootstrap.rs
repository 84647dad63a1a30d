//! Formatting: the identity of log directories and the first records of a new cluster.

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
/// The name of that level.
pub const METADATA_VERSION_NAME: &str = "4.4-IV2";
/// The oldest level that can be read.
pub const METADATA_VERSION_MIN: i16 = 7;

/// Features as a new cluster of 4.4 has them, `metadata.version` first.
pub const DEFAULT_FEATURES: &[(&str, i16)] = &[
    ("metadata.version", METADATA_VERSION),
    ("eligible.leader.replicas.version", 1),
    ("group.version", 1),
    ("share.version", 2),
    ("streams.version", 1),
    ("transaction.version", 2),
];

/// What nodes of 4.4 say that they can handle; written into registrations.
pub const SUPPORTED_FEATURES: &[(&str, i16, i16)] = &[
    ("eligible.leader.replicas.version", 0, 1),
    ("group.version", 0, 1),
    ("kraft.version", 0, 1),
    ("metadata.version", METADATA_VERSION_MIN, METADATA_VERSION),
    ("share.version", 0, 2),
    ("streams.version", 0, 1),
    ("transaction.version", 0, 2),
];

/// Features that clients are told of and may change: those whose capability is there. A cluster may have finalized others, which
/// stay as they are for the Apache Kafka that goes on with it.
pub const SERVED_FEATURES: &[&str] = &[
    "eligible.leader.replicas.version",
    "group.version",
    "kraft.version",
    "metadata.version",
    "transaction.version",
];

/// The features of a cluster that this program does not know, or not at their levels. What follows from such a level may be
/// in every file: a node that went on would damage the cluster. Kafka refuses too.
///
/// Errors: each of them, with its level and those that are known.
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

/// What a broker of the ZooKeeper years reads of transactions: the level that asks for other records has to be asked for,
/// or there would be no way back to it.
const TRANSACTIONS_OF_ZOOKEEPER: (&str, i16) = ("transaction.version", 0);

/// The records that a new cluster begins with; `of_zookeeper` if one of the ZooKeeper years goes on with it.
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

/// The first records of a cluster whose features a formatter chose.
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

/// With eligible leader replicas (KIP-966) the cluster-wide minimum must be a record, so that a broker's own file cannot
/// weaken it.
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
    /// In the order given: the id, or why the directory cannot be used.
    pub dirs: Vec<Identified>,
    /// No directory had been formatted before.
    pub new: bool,
    /// One was formatted by a broker of the ZooKeeper years.
    pub of_zookeeper: bool,
    /// The directories that were formatted now.
    pub filled: Vec<PathBuf>,
}

/// What to do with directories that are not formatted while others are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// Format them: somebody asked for it.
    Fill,
    /// Stop, as Kafka does: the likeliest reason is a disk that is not mounted.
    Refuse,
}

/// Makes sure that every directory exists and carries the identity of this node and one cluster, formatting those that
/// are new. The first one is that of the metadata log. Nothing is changed before everything was checked.
///
/// A directory that cannot be read or written is reported in its place if it is not the first and the node is not new.
/// Errors name the directory: in use, another node's or another cluster's, not formatted though others are, or the first
/// one cannot be used.
pub fn format(
    host: &Host,
    dirs: &[PathBuf],
    node_id: BrokerId,
    wanted_cluster: Option<&str>,
    gaps: Gaps,
) -> Result<Formatted, StorageError> {
    format_with(host, dirs, node_id, wanted_cluster, gaps, &[])
}

/// The same; a first directory that is new begins with these records, if there are any, in the place of those of every new
/// cluster.
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
        // A directory that fails on the very first day is a mistake in the settings.
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

    // Before anything says that the directory is formatted: after a crash it is formatted anew.
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

/// The identity in a directory; `None` when it is not formatted, or not there.
fn look(place: Dir<'_>) -> Result<Option<MetaProperties>, StorageError> {
    let Dir { disk, path: dir } = place;
    let facts = match disk.facts(dir) {
        // A link that leads nowhere is a disk that is not mounted, too.
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

/// Not a disk that fails, but somebody's mistake, which would not be a smaller one with the directory left out.
fn is_contradiction(error: &StorageError) -> bool {
    [ErrorKind::WouldBlock, ErrorKind::InvalidData].contains(&error.source.kind())
}

/// The cluster that the directories agree on, after a look at whose they are.
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

/// The id of a directory, written into it if it has none yet. Not where one was formatted without, which `like` is: before
/// 3.7 Apache Kafka refuses directories whose files say different things, so that there would be no way back from several
/// of them. Their ids follow from where they are; a start finds replicas wherever they lie.
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

/// The same for the same place, whoever asks.
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

    /// Apache Kafka before 3.7 goes back to them only if they say the same.
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
