//! What the tools share: options of every tool, a runtime, the brokers to ask, errors as Kafka words them.

use std::collections::BTreeMap;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::options::Options;
use crate::peer::channel::{CallError, Channel, Identity};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Request;
use crate::wire::message::find_coordinator::FindCoordinatorRequest;
use crate::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::wire::message::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

/// As long as Kafka's admin client waits.
pub(super) const WITHIN: Duration = Duration::from_secs(30);

/// Why a tool ends with an exit code other than 0: the text for whoever typed it.
#[derive(Debug)]
pub(super) struct Failure(pub(super) String);

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self(error.to_string())
    }
}

/// Runs a tool's work on one thread.
pub(super) fn run(work: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(Failure(error.to_string())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(text)) => {
            if !text.is_empty() {
                eprintln!("{text}");
            }
            ExitCode::FAILURE
        }
    }
}

/// A cluster, found through the addresses of `--bootstrap-server`.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) any: Channel,
}

impl Cluster {
    /// The first address that answers. Settings of `--command-config` other than plain text are refused.
    pub(super) async fn connect(options: &Options) -> Result<Self, Failure> {
        check_command_config(options)?;
        let servers = options
            .value("bootstrap-server")
            .or_else(|| options.value("broker-list"))
            .ok_or("Missing required argument \"[bootstrap-server]\"")?;
        Self::at(servers).await
    }

    /// The same for addresses with commas between them.
    pub(super) async fn at(servers: &str) -> Result<Self, Failure> {
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            let mut last = None;
            for address in servers
                .split(',')
                .map(str::trim)
                .filter(|text| !text.is_empty())
            {
                let channel = Channel::new(address, Identity::new("monedula-tool"));
                match channel.versions(Duration::from_secs(10)).await {
                    Ok(_) => return Ok(Self { any: channel }),
                    Err(error) => last = Some(error),
                }
            }
            // As Kafka's tools do: a broker that is just starting will be there soon.
            if tokio::time::Instant::now() > deadline {
                return Err(last.map_or_else(|| "no address".into(), Failure::from));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) async fn call<R: Request>(&self, request: &R) -> Result<R::Response, Failure> {
        Ok(self.any.call(request, WITHIN).await?)
    }

    /// Topics by name, or all of them; nothing is created.
    pub(super) async fn metadata(
        &self,
        topics: Option<&[String]>,
    ) -> Result<MetadataResponse, Failure> {
        let request = MetadataRequest {
            topics: topics.map(|names| {
                names
                    .iter()
                    .map(|name| MetadataRequestTopic {
                        name: Some(name.as_str().into()),
                        ..Default::default()
                    })
                    .collect()
            }),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        self.call(&request).await
    }
}

fn check_command_config(options: &Options) -> Result<(), Failure> {
    for name in ["command-config", "consumer.config", "producer.config"] {
        let Some(path) = options.value(name) else {
            continue;
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {path}: {error}"))?;
        for property in crate::config::parse::properties(&text) {
            if property.key == "security.protocol" && property.value != "PLAINTEXT" {
                return Err(format!(
                    "{path}: security.protocol={} is not supported yet",
                    property.value
                )
                .into());
            }
        }
    }
    Ok(())
}

/// The text of an error: the broker's own, else the name of its code.
pub(super) fn text(code: i16, message: Option<&str>) -> String {
    message
        .filter(|message| !message.is_empty())
        .map_or_else(|| name(code), str::to_owned)
}

pub(super) fn name(code: i16) -> String {
    ErrorCode::from_code(code)
        .map_or_else(|| format!("error {code}"), |error| error.name().to_owned())
}

impl Cluster {
    /// The broker that answers for a group.
    pub(super) async fn coordinator(&self, group: &str) -> Result<Channel, Failure> {
        let request = FindCoordinatorRequest {
            coordinator_keys: vec![group.into()],
            ..Default::default()
        };
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            let answer = self.call(&request).await?;
            let Some(found) = answer.coordinators.first() else {
                return Err("the broker named no coordinator".into());
            };
            if found.error_code == 0 {
                return Ok(channel(&found.host, found.port));
            }
            // The topic of the groups may be on its way.
            let retriable =
                ErrorCode::from_code(found.error_code).is_some_and(ErrorCode::is_retriable);
            if !retriable || tokio::time::Instant::now() > deadline {
                return Err(text(found.error_code, found.error_message.as_deref()).into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// One channel for each partition's leader.
    pub(super) async fn leaders(
        &self,
        partitions: &[(String, i32)],
    ) -> Result<Vec<(Channel, Vec<(String, i32)>)>, Failure> {
        let mut names: Vec<String> = partitions.iter().map(|(topic, _)| topic.clone()).collect();
        names.sort();
        names.dedup();
        let metadata = self.metadata(Some(&names)).await?;
        let mut by_leader: BTreeMap<i32, Vec<(String, i32)>> = BTreeMap::new();
        for (topic, index) in partitions {
            let leader = metadata
                .topics
                .iter()
                .find(|found| found.name.as_deref() == Some(topic))
                .and_then(|found| {
                    found
                        .partitions
                        .iter()
                        .find(|partition| partition.partition_index == *index)
                })
                .map(|partition| partition.leader_id)
                .filter(|leader| *leader >= 0)
                .ok_or_else(|| format!("{topic}-{index} has no leader"))?;
            by_leader
                .entry(leader)
                .or_default()
                .push((topic.clone(), *index));
        }
        let mut found = Vec::new();
        for (leader, partitions) in by_leader {
            let Some(broker) = metadata
                .brokers
                .iter()
                .find(|broker| broker.node_id == leader)
            else {
                return Err(format!("broker {leader} is not there").into());
            };
            found.push((channel(&broker.host, broker.port), partitions));
        }
        Ok(found)
    }

    /// The offset of a time in each partition: -1 for the end, -2 for the start; -1 where there is none.
    pub(super) async fn offsets(
        &self,
        partitions: &[(String, i32)],
        time: i64,
    ) -> Result<BTreeMap<(String, i32), i64>, Failure> {
        let mut offsets = BTreeMap::new();
        for (leader, partitions) in self.leaders(partitions).await? {
            let request = ListOffsetsRequest {
                replica_id: -1,
                topics: partitions
                    .iter()
                    .map(|(topic, index)| ListOffsetsTopic {
                        name: topic.as_str().into(),
                        partitions: vec![ListOffsetsPartition {
                            partition_index: *index,
                            timestamp: time,
                            ..Default::default()
                        }],
                    })
                    .collect(),
                timeout_ms: WITHIN.as_millis() as i32,
                ..Default::default()
            };
            for topic in leader.call(&request, WITHIN).await?.topics {
                for partition in topic.partitions {
                    if partition.error_code != 0 {
                        return Err(name(partition.error_code).into());
                    }
                    offsets.insert(
                        (topic.name.to_string(), partition.partition_index),
                        partition.offset,
                    );
                }
            }
        }
        Ok(offsets)
    }
}

pub(super) fn channel(host: &str, port: i32) -> Channel {
    let address = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    Channel::new(address, Identity::new("monedula-tool"))
}
