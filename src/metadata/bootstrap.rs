//! Formatting: the identity of log directories and the first records of a new cluster.

use std::fs;
use std::path::{Path, PathBuf};

use bytestring::ByteString;

use crate::base::ids::{BrokerId, Uuid};
use crate::log::dir::MetaProperties;
use crate::log::error::{DiskContext, StorageError, malformed};
use crate::metadata::image::BROKER_RESOURCE;
use crate::metadata::record::Record;
use crate::metadata::record::schema::{ConfigRecord, FeatureLevelRecord};

/// The metadata level of Kafka 4.3.
pub const METADATA_VERSION: i16 = 30;
/// The oldest level that can be read.
pub const METADATA_VERSION_MIN: i16 = 7;

/// Features as a new cluster of 4.3 has them, `metadata.version` first.
pub const DEFAULT_FEATURES: &[(&str, i16)] = &[
    ("metadata.version", METADATA_VERSION),
    ("eligible.leader.replicas.version", 1),
    ("group.version", 1),
    ("share.version", 1),
    ("streams.version", 1),
    ("transaction.version", 2),
];

/// What nodes of 4.3 say that they can handle; written into registrations.
pub const SUPPORTED_FEATURES: &[(&str, i16, i16)] = &[
    ("eligible.leader.replicas.version", 0, 1),
    ("group.version", 0, 1),
    ("kraft.version", 0, 1),
    ("metadata.version", METADATA_VERSION_MIN, METADATA_VERSION),
    ("share.version", 0, 1),
    ("streams.version", 0, 1),
    ("transaction.version", 0, 2),
];

/// The records that a new cluster begins with.
pub fn records() -> Vec<Record> {
    DEFAULT_FEATURES
        .iter()
        .map(|(name, level)| {
            FeatureLevelRecord {
                name: (*name).into(),
                feature_level: *level,
            }
            .into()
        })
        .chain([min_insync_replicas()])
        .collect()
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
pub fn random_uuid() -> Result<Uuid, StorageError> {
    loop {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| malformed("the random source", error.to_string()))?;
        if let Some(id) = Uuid::from_random_bytes(bytes) {
            return Ok(id);
        }
    }
}

/// The log directories of a node, all formatted for the same cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formatted {
    pub cluster_id: String,
    pub dirs: Vec<(PathBuf, Uuid)>,
    /// No directory had been formatted before.
    pub new: bool,
}

/// Makes sure that every directory exists and carries the identity of this node and one cluster, formatting those that
/// are empty. Nothing is changed before everything was checked.
///
/// Errors name the directory: another node's or another cluster's, or one whose `meta.properties` cannot be read.
pub fn format(
    dirs: &[PathBuf],
    node_id: BrokerId,
    wanted_cluster: Option<&str>,
) -> Result<Formatted, StorageError> {
    let mut found = Vec::new();
    for dir in dirs {
        fs::create_dir_all(dir).at("create", dir)?;
        found.push(MetaProperties::read(dir)?);
    }
    let mut cluster_id = wanted_cluster.map(str::to_owned);
    for (dir, meta) in dirs.iter().zip(&found) {
        let Some(meta) = meta else { continue };
        if let Some(other) = meta.node_id.filter(|id| *id != node_id) {
            return Err(malformed(
                meta_path(dir),
                format!(
                    "it belongs to node {other}, but this is node {node_id}; set node.id={other} or choose another directory"
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
    let new = found.iter().all(Option::is_none);
    let cluster_id = match cluster_id {
        Some(id) => id,
        None => random_uuid()?.to_string(),
    };
    let mut formatted = Vec::new();
    for (dir, meta) in dirs.iter().zip(found) {
        let known = meta.as_ref().and_then(|meta| meta.directory_id);
        let directory_id = match known {
            Some(id) => id,
            None => random_uuid()?,
        };
        if known.is_none() {
            let meta = MetaProperties {
                version: meta.map_or(1, |meta| meta.version),
                cluster_id: Some(cluster_id.clone()),
                node_id: Some(node_id),
                directory_id: Some(directory_id),
            };
            meta.write(dir)?;
        }
        if formatted.iter().any(|(_, other)| *other == directory_id) {
            return Err(malformed(
                meta_path(dir),
                "another log directory has the same directory.id",
            ));
        }
        formatted.push((dir.clone(), directory_id));
    }
    Ok(Formatted {
        cluster_id,
        dirs: formatted,
        new,
    })
}

fn meta_path(dir: &Path) -> PathBuf {
    dir.join("meta.properties")
}
