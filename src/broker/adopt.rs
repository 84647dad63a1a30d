//! Start on a data directory without a metadata log: its topics are adopted. See [`adoption`].

use bytestring::ByteString;

use super::StartError;
use crate::api::handlers::create_topics::automatic;
use crate::base::time::Timestamp;
use crate::config::broker::BrokerConfig;
use crate::log::error::DiskContext;
use crate::log::manager::LogManager;
use crate::log::{dir, found};
use crate::metadata::adoption::{self, Replica};
use crate::metadata::bootstrap;
use crate::metadata::record::Record;

/// Metadata records for the topics in the log directories.
pub(super) fn topics_on_disk(
    logs: &LogManager,
    config: &BrokerConfig,
    now: Timestamp,
) -> Result<Vec<Record>, StartError> {
    let disk = &logs.host().disk;
    let mut replicas = Vec::new();
    for dir in logs.online() {
        replicas.extend(
            found::replicas(disk.dir(&dir.path))?
                .into_iter()
                .map(|replica| {
                    let path = replica.path;
                    Replica {
                        partition: replica.partition,
                        path,
                        directory: dir.id,
                        topic_id: replica.topic_id,
                        latest_epoch: replica.latest_epoch,
                        compacted: replica.compacted,
                    }
                }),
        );
    }
    let internal = |name: &str| {
        let topic = automatic(&ByteString::from(name), &config.settings);
        let own = |config: crate::wire::message::create_topics::CreatableTopicConfig| {
            Some((config.name.to_string(), config.value?.to_string()))
        };
        topic.configs.into_iter().filter_map(own).collect()
    };
    let new_id = || bootstrap::random_uuid(&logs.host().chance).ok();
    let adopted = adoption::adopt(&replicas, config.node_id, now, internal, new_id)
        .map_err(StartError::Adoption)?;
    for remark in &adopted.remarks {
        tracing::warn!("{remark}");
    }
    // Written before the records: a later start puts aside directories that do not name their topic.
    for (path, id) in &adopted.unnamed {
        dir::write_partition_metadata(disk.dir(path), *id)?;
    }
    for (path, _) in &adopted.unnamed {
        disk.sync_dir(path).at("sync", path)?;
    }
    if adopted.topics > 0 {
        tracing::info!(
            topics = adopted.topics,
            partitions = adopted.partitions,
            "took over the topics that are on disk without a metadata log; none of them is deleted from until its \
             retention.ms or cleanup.policy says so"
        );
    }
    Ok(adopted.records)
}
