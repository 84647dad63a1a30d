//! Metrics of partitions: of this node's replicas from their logs, and of all replicas from the metadata. The names are those
//! of Kafka's `Log` and `Partition`, and of kafka_exporter.

use std::io;
use std::sync::Arc;

use super::Page;
use crate::api::services::Services;
use crate::console::exposition::Kind::Gauge;
use crate::console::exposition::Label;
use crate::metadata::image::{Image, Partition};
use crate::replica::partition::Partition as Replica;

/// Value of a metric, from this node's replica.
type OfReplica = fn(&Replica) -> i64;
const OF_REPLICA: [(&str, OfReplica, &str); 5] = [
    (
        "kafka_log_log_size",
        |replica| i64::try_from(replica.log().size()).unwrap_or(i64::MAX),
        "Bytes of the log's segments.",
    ),
    (
        "kafka_log_log_logendoffset",
        |replica| replica.log().log_end(),
        "Offset of the next record.",
    ),
    (
        "kafka_log_log_logstartoffset",
        |replica| replica.log().log_start(),
        "Offset of the first record.",
    ),
    (
        "kafka_topic_partition_current_offset",
        |replica| replica.high_watermark(),
        "High watermark: offset of the next record that consumers get.",
    ),
    (
        "kafka_topic_partition_oldest_offset",
        |replica| replica.log().log_start(),
        "Offset of the first record.",
    ),
];

/// Value of a metric, from the metadata.
type OfMetadata = fn(&Partition) -> i64;
const OF_METADATA: [(&str, OfMetadata, &str); 7] = [
    (
        "kafka_cluster_partition_replicascount",
        |partition| partition.replicas.len() as i64,
        "Replicas of the partition.",
    ),
    (
        "kafka_cluster_partition_insyncreplicascount",
        |partition| partition.isr.len() as i64,
        "In-sync replicas of the partition.",
    ),
    (
        "kafka_topic_partition_leader",
        |partition| i64::from(partition.leader),
        "Node that leads the partition; -1 for none.",
    ),
    (
        "kafka_topic_partition_leader_is_preferred",
        |partition| i64::from(partition.replicas.first() == Some(&partition.leader)),
        "1 if the partition is led by its preferred replica.",
    ),
    (
        "kafka_topic_partition_replicas",
        |partition| partition.replicas.len() as i64,
        "Replicas of the partition.",
    ),
    (
        "kafka_topic_partition_in_sync_replica",
        |partition| partition.isr.len() as i64,
        "In-sync replicas of the partition.",
    ),
    (
        "kafka_topic_partition_under_replicated_partition",
        |partition| i64::from(partition.isr.len() < partition.replicas.len()),
        "1 if not all replicas of the partition are in sync.",
    ),
];

pub(super) async fn tell(
    page: &mut Page<'_>,
    services: &Services,
    image: &Arc<Image>,
) -> io::Result<()> {
    page.text
        .family("kafka_topic_partitions", Gauge, "Partitions of the topic.");
    for topic in image.topics.iter() {
        page.text
            .sample(&[("topic", &topic.name)], topic.partitions.len());
        page.turn().await?;
    }
    for (name, figure, help) in OF_REPLICA {
        page.text.family(name, Gauge, help);
        for topic in image.topics.iter() {
            for index in (0..).take(topic.partitions.len()) {
                // This node has no replica, or its directory is being made or has failed.
                let Ok(replica) = services.replicas.partition(&topic.name, index) else {
                    continue;
                };
                let labels: [Label<'_>; 2] = [("topic", &topic.name), ("partition", &index)];
                page.text.sample(&labels, figure(&replica));
                page.turn().await?;
            }
        }
    }
    for (name, figure, help) in OF_METADATA {
        page.text.family(name, Gauge, help);
        for topic in image.topics.iter() {
            for (index, partition) in topic.partitions.iter().enumerate() {
                let labels: [Label<'_>; 2] = [("topic", &topic.name), ("partition", &index)];
                page.text.sample(&labels, figure(partition));
                page.turn().await?;
            }
        }
    }
    Ok(())
}
