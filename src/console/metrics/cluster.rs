//! Metrics of the cluster and of this node, from the metadata. The names are those of Kafka's `ReplicaManager`,
//! `KafkaController` and `RaftMetrics`.

use std::io;

use super::Page;
use crate::api::services::Services;
use crate::base::ids::BrokerId;
use crate::console::exposition::Kind::{Counter, Gauge};
use crate::metadata::image::{Image, Partition};

/// Number of partitions that are counted before the task yields.
const TURN: usize = 256;

/// Counts over all partitions.
#[derive(Debug, Default)]
struct Census {
    partitions: usize,
    offline: usize,
    not_preferred: usize,
    /// From here on, only partitions with a replica on this node are counted.
    hosted: usize,
    led: usize,
    under_replicated: usize,
    under_min_isr: usize,
    at_min_isr: usize,
    offline_replicas: usize,
}

impl Census {
    fn count(&mut self, image: &Image, node: BrokerId, partition: &Partition, min_isr: i64) {
        self.partitions += 1;
        self.offline += usize::from(partition.leader == -1);
        let preferred = partition.replicas.first();
        self.not_preferred += usize::from(preferred != Some(&partition.leader));
        if !partition.replicas.contains(&node) {
            return;
        }
        self.hosted += 1;
        self.offline_replicas += usize::from(!image.is_online(partition, node));
        if partition.leader == node {
            self.led += 1;
            let in_sync = partition.isr.len();
            self.under_replicated += usize::from(in_sync < partition.replicas.len());
            self.under_min_isr += usize::from((in_sync as i64) < min_isr);
            self.at_min_isr += usize::from(in_sync as i64 == min_isr);
        }
    }
}

pub(super) async fn tell(
    page: &mut Page<'_>,
    services: &Services,
    image: &Image,
) -> io::Result<()> {
    let mut census = Census::default();
    let broker = services.settings(image);
    for topic in image.topics.iter() {
        let settings = image.topic_settings(&topic.name, &broker);
        let min_isr = settings.long("min.insync.replicas");
        for partition in &topic.partitions {
            census.count(image, services.node_id, partition, min_isr);
            if census.partitions.is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
        }
    }
    let fenced = image.brokers.values().filter(|broker| broker.fenced);
    let fenced = fenced.count();
    let logs = services.replicas.logs();
    let offline_dirs = logs.dirs().len() - logs.online().count();
    let gauges: [(&'static str, usize, &str); 17] = [
        (
            "kafka_server_replicamanager_partitioncount",
            census.hosted,
            "Partitions of which this node has a replica.",
        ),
        (
            "kafka_server_replicamanager_leadercount",
            census.led,
            "Partitions that this node leads.",
        ),
        (
            "kafka_server_replicamanager_underreplicatedpartitions",
            census.under_replicated,
            "Partitions that this node leads, and of which not all replicas are in sync.",
        ),
        (
            "kafka_server_replicamanager_underminisrpartitioncount",
            census.under_min_isr,
            "Partitions that this node leads with fewer in-sync replicas than min.insync.replicas.",
        ),
        (
            "kafka_server_replicamanager_atminisrpartitioncount",
            census.at_min_isr,
            "Partitions that this node leads with as many in-sync replicas as min.insync.replicas.",
        ),
        (
            "kafka_server_replicamanager_offlinereplicacount",
            census.offline_replicas,
            "Replicas of this node in log directories that failed.",
        ),
        (
            "kafka_log_logmanager_offlinelogdirectorycount",
            offline_dirs,
            "Log directories that failed.",
        ),
        (
            "kafka_controller_kafkacontroller_activecontrollercount",
            1,
            "1 on the node whose controller is active.",
        ),
        (
            "kafka_controller_kafkacontroller_offlinepartitionscount",
            census.offline,
            "Partitions without a leader.",
        ),
        (
            "kafka_controller_kafkacontroller_globaltopiccount",
            image.topics.len(),
            "Topics.",
        ),
        (
            "kafka_controller_kafkacontroller_globalpartitioncount",
            census.partitions,
            "Partitions of all topics.",
        ),
        (
            "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
            census.not_preferred,
            "Partitions that are not led by their preferred replica.",
        ),
        (
            "kafka_controller_kafkacontroller_activebrokercount",
            image.brokers.len() - fenced,
            "Brokers that take part.",
        ),
        (
            "kafka_controller_kafkacontroller_fencedbrokercount",
            fenced,
            "Brokers that are registered and fenced.",
        ),
        (
            "kafka_brokers",
            image.brokers.len() - fenced,
            "Brokers that take part.",
        ),
        (
            "kafka_server_fetchsessioncache_numincrementalfetchsessions",
            services.sessions.len(),
            "Incremental fetch sessions.",
        ),
        (
            "kafka_server_raftmetrics_number_of_voters",
            image.controllers.len().max(1),
            "Voters of the metadata quorum.",
        ),
    ];
    for (name, value, help) in gauges {
        page.text.family(name, Gauge, help).sample(&[], value);
    }
    let counters: [(&'static str, &str); 3] = [
        (
            "kafka_server_replicamanager_isrshrinks_total",
            "How often an in-sync replica fell behind.",
        ),
        (
            "kafka_server_replicamanager_isrexpands_total",
            "How often a replica was in sync again.",
        ),
        (
            "kafka_controller_controllerstats_uncleanleaderelections_total",
            "Leaders that were not in sync.",
        ),
    ];
    for (name, help) in counters {
        // With one replica per partition, none of these events can happen.
        page.text.family(name, Counter, help).sample(&[], 0);
    }
    let raft: [(&'static str, i64, &str); 3] = [
        (
            "kafka_server_raftmetrics_current_leader",
            i64::from(services.node_id),
            "Node that leads the metadata quorum.",
        ),
        (
            "kafka_server_raftmetrics_high_watermark",
            image.offset + 1,
            "High watermark of the metadata log.",
        ),
        (
            "kafka_server_raftmetrics_current_epoch",
            i64::from(image.epoch),
            "Epoch of the metadata quorum.",
        ),
    ];
    for (name, value, help) in raft {
        page.text.family(name, Gauge, help).sample(&[], value);
    }
    page.turn().await
}
