//! Tools that only read: `kafka-broker-api-versions`, `kafka-cluster`, `kafka-get-offsets`, `kafka-metadata-quorum`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{Connection, Failure, WITHIN, name, run as run_work};
use crate::wire::message::describe_cluster::DescribeClusterRequest;
use crate::wire::message::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestPartitionData, DescribeQuorumRequestTopicData,
    ReplicaState,
};

/// Print which APIs each broker serves, and in which versions
#[derive(Args, Debug)]
#[command(after_help = "Example:
  monedula broker-api-versions --bootstrap-server localhost:9092")]
#[group(skip)]
pub struct BrokerApiVersions {
    #[command(flatten)]
    connection: Connection,
}

/// Print the id or the brokers of the cluster
#[derive(Args, Debug)]
#[command(after_help = "Example:
  monedula cluster cluster-id --bootstrap-server localhost:9092")]
#[group(skip)]
pub struct ClusterTool {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: ClusterAction,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum ClusterAction {
    /// Print the id of the cluster
    ClusterId,
    /// Print the brokers and where they listen
    ListEndpoints,
}

/// Print offsets of partitions by time
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula get-offsets --bootstrap-server localhost:9092 --topic orders
  monedula get-offsets --bootstrap-server localhost:9092 --topic orders --time earliest")]
#[group(skip)]
pub struct GetOffsets {
    #[command(flatten)]
    connection: Connection,
    /// The topic; without this option, every topic
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Some partitions of the topic
    #[arg(long, value_name = "PARTITION,...")]
    partitions: Option<String>,
    /// latest (-1), earliest (-2), max-timestamp (-3), or milliseconds since 1970
    #[arg(long, value_name = "TIME", default_value = "latest")]
    time: String,
    /// Leave internal topics out
    #[arg(long)]
    exclude_internal_topics: bool,
}

/// Describe the quorum of controllers
#[derive(Args, Debug)]
#[command(after_help = "Example:
  monedula metadata-quorum --bootstrap-server localhost:9092 describe --status")]
#[group(skip)]
pub struct MetadataQuorum {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: QuorumAction,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum QuorumAction {
    /// Print the leader, the voters and their offsets
    Describe {
        /// Print a summary
        #[arg(long, required_unless_present = "replication")]
        status: bool,
        /// Print a line for each replica of the metadata log
        #[arg(long, conflicts_with = "status")]
        replication: bool,
    },
}

impl BrokerApiVersions {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let cluster = self.connection.connect().await?;
            for broker in cluster.metadata(Some(&[])).await?.brokers {
                let channel = cluster.channel(&broker.host, broker.port);
                let address = channel.address();
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
}

macro_rules! known {
    ($($key:literal $module:ident $name:ident;)*) => { pastey::paste! {
        /// Name of an API, and the newest version of its request that this program can write.
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

impl ClusterTool {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let cluster = self.connection.connect().await?;
            let answer = cluster.call(&DescribeClusterRequest::default()).await?;
            match self.action {
                ClusterAction::ClusterId => println!("Cluster ID: {}", answer.cluster_id),
                ClusterAction::ListEndpoints => {
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
                }
            }
            Ok(())
        })
    }
}

impl GetOffsets {
    /// Prints a line `topic:partition:offset` for each partition.
    pub fn run(&self) -> ExitCode {
        let options = self;
        run_work(async {
            let time = match options.time.as_str() {
            "latest" | "-1" => -1,
            "earliest" | "-2" => -2,
            "max-timestamp" | "-3" => -3,
            text => text
                .parse()
                .map_err(|_| format!("Malformed time argument {text}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp, or a timestamp in ms"))?,
        };
            let partitions: Option<Vec<i32>> = options.partitions.as_deref().map(|text| {
                text.split(',')
                    .filter_map(|id| id.trim().parse().ok())
                    .collect()
            });
            let cluster = options.connection.connect().await?;
            let mut wanted = Vec::new();
            for topic in cluster.metadata(None).await?.topics {
                let name = topic.name.as_deref().unwrap_or_default();
                if options.topic.as_deref().is_some_and(|only| only != name)
                    || topic.is_internal && options.exclude_internal_topics
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
                return Err(
                    "Could not match any topic-partitions with the specified filters".into(),
                );
            }
            let mut lines: Vec<(String, i32, i64)> = Vec::new();
            for ((topic, partition), offset) in cluster.offsets(&wanted, time).await? {
                lines.push((topic, partition, offset));
            }
            // Sorted by topic name and then by partition number.
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
}

impl MetadataQuorum {
    pub fn run(&self) -> ExitCode {
        let QuorumAction::Describe { replication, .. } = self.action;
        run_work(async {
            let cluster = self.connection.connect().await?;
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
            if replication {
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
}
