//! Tools that only ask: `kafka-broker-api-versions`, `kafka-cluster`, `kafka-get-offsets`, `kafka-metadata-quorum`.

use std::process::ExitCode;

use super::client::{Cluster, Failure, WITHIN, name, run as run_work};
use crate::cli::options::Takes::{Nothing, Value};
use crate::cli::options::{Takes, parse};
use crate::peer::channel::{Channel, Identity};
use crate::wire::message::describe_cluster::DescribeClusterRequest;
use crate::wire::message::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestPartitionData, DescribeQuorumRequestTopicData,
    ReplicaState,
};

const OPTIONS: &[(&str, Takes)] = &[
    ("bootstrap-server", Value),
    ("broker-list", Value),
    ("command-config", Value),
    ("config", Value),
    ("topic", Value),
    ("partitions", Value),
    ("time", Value),
    ("exclude-internal-topics", Nothing),
    ("status", Nothing),
    ("replication", Nothing),
];

/// Every broker with the versions that it serves.
pub(super) fn broker_api_versions(arguments: &[String]) -> ExitCode {
    run_work(async {
        let options = parse(arguments.iter().cloned(), OPTIONS)?;
        let cluster = Cluster::connect(&options).await?;
        for broker in cluster.metadata(Some(&[])).await?.brokers {
            let address = format!("{}:{}", broker.host, broker.port);
            let channel = Channel::new(&address, Identity::new("monedula-tool"));
            let served = channel.versions(WITHIN).await?;
            let rows: Vec<String> = served
                .iter()
                .map(|api| {
                    let known = known(api.api_key);
                    let name = known.map_or("UNKNOWN", |(name, _)| name);
                    let range = if api.min_version == api.max_version {
                        api.min_version.to_string()
                    } else {
                        format!("{} to {}", api.min_version, api.max_version)
                    };
                    let usable = known
                        .map(|(_, newest)| api.max_version.min(newest))
                        .filter(|version| *version >= api.min_version)
                        .map_or_else(
                            || "unusable: node too new".to_owned(),
                            |version| format!("usable: {version}"),
                        );
                    format!("\t{name}({}): {range} [{usable}]", api.api_key)
                })
                .collect();
            let rack = broker.rack.as_deref().unwrap_or("null");
            println!(
                "{address} (id: {} rack: {rack} isFenced: false) -> (\n{}\n)",
                broker.node_id,
                rows.join(",\n")
            );
        }
        Ok(())
    })
}

macro_rules! known {
    ($($key:literal $module:ident $name:ident;)*) => { pastey::paste! {
        /// The name of an API and the newest version that we can write.
        fn known(key: i16) -> Option<(&'static str, i16)> {
            use crate::wire::message::Message;
            match key {
                $($key => Some((
                    stringify!($name),
                    *crate::wire::message::$module::[<$name Request>]::VERSIONS.end(),
                )),)*
                _ => None,
            }
        }
    } };
}

crate::every_api!(known);

/// `kafka-cluster cluster-id`.
pub(super) fn cluster(arguments: &[String]) -> ExitCode {
    run_work(async {
        let options = parse(arguments.iter().cloned(), OPTIONS)?;
        match options.words.first().map(String::as_str) {
            Some("cluster-id") => {
                let answer = Cluster::connect(&options)
                    .await?
                    .call(&DescribeClusterRequest::default())
                    .await?;
                println!("Cluster ID: {}", answer.cluster_id);
                Ok(())
            }
            Some("list-endpoints") => {
                let answer = Cluster::connect(&options)
                    .await?
                    .call(&DescribeClusterRequest::default())
                    .await?;
                println!(
                    "{:<10} {:<20} {:<10} {:<10} ENDPOINT_TYPE",
                    "ID", "HOST", "PORT", "RACK"
                );
                for broker in answer.brokers {
                    let rack = broker.rack.as_deref().unwrap_or("null");
                    println!(
                        "{:<10} {:<20} {:<10} {rack:<10} broker",
                        broker.broker_id, broker.host, broker.port
                    );
                }
                Ok(())
            }
            _ => Err(
                "usage: kafka-cluster (cluster-id | list-endpoints) --bootstrap-server HOST:PORT"
                    .into(),
            ),
        }
    })
}

/// `topic:partition:offset`, a line each.
pub(super) fn get_offsets(arguments: &[String]) -> ExitCode {
    run_work(async {
        let options = parse(arguments.iter().cloned(), OPTIONS)?;
        let time = match options.value("time").unwrap_or("latest") {
            "latest" | "-1" => -1,
            "earliest" | "-2" => -2,
            "max-timestamp" | "-3" => -3,
            text => text
                .parse()
                .map_err(|_| format!("Malformed time argument {text}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp, or a timestamp in ms"))?,
        };
        let partitions: Option<Vec<i32>> = options.value("partitions").map(|text| {
            text.split(',')
                .filter_map(|id| id.trim().parse().ok())
                .collect()
        });
        let cluster = Cluster::connect(&options).await?;
        let mut wanted = Vec::new();
        for topic in cluster.metadata(None).await?.topics {
            let name = topic.name.as_deref().unwrap_or_default();
            if options.value("topic").is_some_and(|only| only != name)
                || topic.is_internal && options.has("exclude-internal-topics")
            {
                continue;
            }
            for partition in &topic.partitions {
                let index = partition.partition_index;
                if partitions.as_ref().is_none_or(|only| only.contains(&index)) {
                    wanted.push((name.to_owned(), index));
                }
            }
        }
        if wanted.is_empty() {
            return Err("Could not match any topic-partitions with the specified filters".into());
        }
        let mut lines: Vec<(String, i32, i64)> = Vec::new();
        for ((topic, partition), offset) in cluster.offsets(&wanted, time).await? {
            lines.push((topic, partition, offset));
        }
        // As strings: Kafka's tool sorts `t:10` before `t:2` only by topic; partitions are numbers.
        lines.sort();
        for (topic, partition, offset) in lines {
            println!(
                "{topic}:{partition}:{}",
                if offset < 0 {
                    String::new()
                } else {
                    offset.to_string()
                }
            );
        }
        Ok(())
    })
}

/// `kafka-metadata-quorum describe --status | --replication`.
pub(super) fn metadata_quorum(arguments: &[String]) -> ExitCode {
    run_work(async {
        let options = parse(arguments.iter().cloned(), OPTIONS)?;
        let cluster = Cluster::connect(&options).await?;
        let request = DescribeQuorumRequest {
            topics: vec![DescribeQuorumRequestTopicData {
                topic_name: "__cluster_metadata".into(),
                partitions: vec![DescribeQuorumRequestPartitionData { partition_index: 0 }],
            }],
        };
        let answer = cluster.call(&request).await?;
        let Some(quorum) = answer
            .topics
            .first()
            .and_then(|topic| topic.partitions.first())
        else {
            return Err(Failure(name(answer.error_code)));
        };
        let leader_end = quorum
            .current_voters
            .iter()
            .find(|voter| voter.replica_id == quorum.leader_id)
            .map_or(quorum.high_watermark, |voter| voter.log_end_offset);
        if options.has("replication") {
            println!(
                "NodeId\tDirectoryId           \tLogEndOffset\tLag\tLastFetchTimestamp\tLastCaughtUpTimestamp\tStatus\t"
            );
            let voters = quorum
                .current_voters
                .iter()
                .map(|state| (state, "Follower"));
            let observers = quorum.observers.iter().map(|state| (state, "Observer"));
            for (state, status) in voters.chain(observers) {
                let status = if state.replica_id == quorum.leader_id {
                    "Leader"
                } else {
                    status
                };
                println!(
                    "{:<6}\t{:<22}\t{:<12}\t{:<3}\t{:<18}\t{:<21}\t{status:<6}\t",
                    state.replica_id,
                    state.replica_directory_id.to_string(),
                    state.log_end_offset,
                    leader_end - state.log_end_offset,
                    state.last_fetch_timestamp,
                    state.last_caught_up_timestamp,
                );
            }
            return Ok(());
        }
        let lag = quorum
            .current_voters
            .iter()
            .map(|voter| leader_end - voter.log_end_offset)
            .max()
            .unwrap_or(0);
        let cluster_id = cluster
            .call(&DescribeClusterRequest::default())
            .await?
            .cluster_id;
        let listed = |states: &[ReplicaState]| {
            let nodes: Vec<String> = states
                .iter()
                .map(|state| {
                    let endpoints: Vec<String> = answer
                        .nodes
                        .iter()
                        .filter(|node| node.node_id == state.replica_id)
                        .flat_map(|node| &node.listeners)
                        .map(|at| format!("\"{}://{}:{}\"", at.name, at.host, at.port))
                        .collect();
                    format!(
                        "{{\"id\": {}, \"endpoints\": [{}]}}",
                        state.replica_id,
                        endpoints.join(", ")
                    )
                })
                .collect();
            format!("[{}]", nodes.join(", "))
        };
        for (title, value) in [
            ("ClusterId:", cluster_id.to_string()),
            ("LeaderId:", quorum.leader_id.to_string()),
            ("LeaderEpoch:", quorum.leader_epoch.to_string()),
            ("HighWatermark:", quorum.high_watermark.to_string()),
            ("MaxFollowerLag:", lag.to_string()),
            ("MaxFollowerLagTimeMs:", "0".to_owned()),
            ("CurrentVoters:", listed(&quorum.current_voters)),
            ("CurrentObservers:", listed(&quorum.observers)),
        ] {
            println!("{title:<24}{value}");
        }
        Ok(())
    })
}
