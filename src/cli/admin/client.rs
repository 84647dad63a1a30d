//! What the tools share: the options that say which brokers to ask, a runtime, and errors for whoever typed the command.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::groups::Partition;
use super::security;
use crate::base::plain::Plain;
use crate::host::Host;
use crate::peer::channel::{Access, CallError, Channel, Identity};
use crate::transport::client::Transport;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Request;
use crate::wire::message::find_coordinator::FindCoordinatorRequest;
use crate::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::wire::message::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

/// As long as Kafka's admin client waits.
pub(super) const WITHIN: Duration = Duration::from_secs(30);
/// As long as a broker that accepts a connection may take to say what it serves.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_millis(200);
/// Kinds of coordinators, as FindCoordinator knows them.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const CLIENT_ID: &str = "monedula-tool";

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

/// An error of a connection to a broker that the cluster's metadata named.
impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self(match error {
            CallError::Connect { address, source } => {
                let what = match is_unknown_host(&source) {
                    true => "unknown host".to_owned(),
                    false => Plain(&source).to_string(),
                };
                format!(
                    "cannot connect to {address}: {what}. The cluster names this address; the broker's advertised.listeners say which"
                )
            }
            other => other.to_string(),
        })
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

/// The options of every tool that asks a broker.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Connection {
    /// The brokers to ask first, with commas between them
    #[arg(long, value_name = "HOST:PORT", global = true, alias = "bootstrap-controller", help_heading = CONNECTION)]
    pub(super) bootstrap_server: Option<String>,
    /// A file of client settings: security.protocol, ssl.truststore.location, sasl.mechanism, sasl.jaas.config, ...
    #[arg(
        long, value_name = "FILE", global = true, help_heading = CONNECTION,
        aliases = ["consumer.config", "producer.config", "admin.config"],
    )]
    pub(super) command_config: Option<PathBuf>,
    /// How long to try again while nobody listens
    #[arg(long, value_name = "SECONDS", global = true, default_value_t = 0, help_heading = CONNECTION)]
    connect_timeout: u64,
}

const CONNECTION: &str = "Connection";

impl Connection {
    pub(super) fn access(&self) -> Result<Access, Failure> {
        match &self.command_config {
            Some(path) => security::access(path),
            None => Ok(Access::default()),
        }
    }

    /// The first broker that answers.
    pub(super) async fn connect(&self) -> Result<Cluster, Failure> {
        let servers = self.bootstrap_server.as_deref().ok_or(
            "--bootstrap-server is missing, for example --bootstrap-server localhost:9092",
        )?;
        let access = self.access()?;
        Cluster::at(servers, &access, Duration::from_secs(self.connect_timeout)).await
    }
}

/// Leaders, and the partitions that each of them leads.
type Led = Vec<(Channel, Vec<Partition>)>;

/// A cluster, found through one of its brokers.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) any: Channel,
    access: Access,
}

impl Cluster {
    /// The first of the addresses, with commas between them, that answers. While nobody listens there it is tried again for
    /// `patience`, as Kafka's tools do: a broker that is just starting will be there soon.
    pub(super) async fn at(
        servers: &str,
        access: &Access,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let addresses: Vec<&str> = servers
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .collect();
        for address in &addresses {
            let port = address
                .rsplit_once(':')
                .map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                return Err(format!("'{address}' is not HOST:PORT, as localhost:9092 is").into());
            }
        }
        let deadline = Instant::now() + patience;
        let (host, mut said) = (Host::default(), false);
        loop {
            let mut faults = Vec::new();
            let mut again = false;
            for address in &addresses {
                let channel =
                    Channel::through(&host, *address, Identity::new(CLIENT_ID), access.clone());
                match channel.versions(ANSWER_WITHIN).await {
                    Ok(_) => {
                        return Ok(Self {
                            any: channel,
                            access: access.clone(),
                        });
                    }
                    Err(error) => {
                        again |= is_passing(&error);
                        faults.push(explained(address, access, &error));
                    }
                }
            }
            let fault = faults.join("\n");
            if !again || Instant::now() >= deadline {
                return Err(fault.into());
            }
            if !said {
                eprintln!("{fault}\ntrying again for {} s", patience.as_secs());
                said = true;
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    /// One broker of the cluster.
    pub(super) fn channel(&self, host: &str, port: i32) -> Channel {
        let address = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let identity = Identity::new(CLIENT_ID);
        Channel::through(&Host::default(), address, identity, self.access.clone())
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

/// Whether a broker that is just starting fails so.
fn is_passing(error: &CallError) -> bool {
    match error {
        CallError::Connect { source, .. } => !is_unknown_host(source),
        CallError::Timeout(_) | CallError::Closed(_) => true,
        _ => false,
    }
}

/// Resolving a name fails with an error of the C library, which has no kind of its own.
fn is_unknown_host(error: &std::io::Error) -> bool {
    error.raw_os_error().is_none()
        && error
            .to_string()
            .starts_with("failed to lookup address information")
}

/// What went wrong, and what the likely cause is.
pub(super) fn explained(address: &str, access: &Access, error: &CallError) -> String {
    const SPEAK_TLS: &str = "use --command-config with a file that has security.protocol=SSL";
    let plain = matches!(access.transport, Transport::Plain);
    match error {
        CallError::Connect { source, .. } if is_unknown_host(source) => {
            format!("cannot connect to {address}: unknown host")
        }
        CallError::Connect { source, .. } => {
            let hint = match source.kind() {
                ErrorKind::ConnectionRefused => "; is the broker running?",
                _ => "",
            };
            format!("cannot connect to {address}: {}{hint}", Plain(source))
        }
        CallError::Tls { .. } if plain => {
            format!("{address} speaks TLS: {SPEAK_TLS}")
        }
        CallError::Tls { what, .. } => format!("cannot connect to {address} by TLS: {what}"),
        CallError::Closed(_) if plain => {
            format!("{address} closed the connection. If the listener speaks TLS, {SPEAK_TLS}")
        }
        CallError::Closed(_) => format!(
            "{address} closed the connection. It may want a certificate (ssl.keystore.location), or not speak TLS"
        ),
        CallError::Timeout(_) => format!(
            "{address} did not answer within {} s; is it a listener for Kafka clients?",
            ANSWER_WITHIN.as_secs()
        ),
        CallError::NotKafka(_) => {
            format!("{address} is not a listener for Kafka clients: its answer is not Kafka's")
        }
        CallError::Login { what, .. } => format!("cannot log in to {address}: {what}"),
        other => format!("{address}: {other}"),
    }
}

/// The text of an error: the broker's own, else the name of its code.
pub(super) fn text(code: i16, message: Option<&str>) -> String {
    message
        .filter(|message| !message.is_empty())
        .map_or_else(|| name(code), str::to_owned)
}

/// Nothing, or the error of an answer.
pub(super) fn accepted(code: i16, message: Option<&str>) -> Result<(), Failure> {
    match code {
        0 => Ok(()),
        _ => Err(text(code, message).into()),
    }
}

pub(super) fn name(code: i16) -> String {
    ErrorCode::from_code(code)
        .map_or_else(|| format!("error {code}"), |error| error.name().to_owned())
}

impl Cluster {
    /// The broker that answers for a group.
    pub(super) async fn coordinator(&self, group: &str) -> Result<Channel, Failure> {
        Ok(self.coordinator_of(group, GROUP).await?.1)
    }

    /// The broker that answers for a transactional id, with its own.
    pub(super) async fn transaction_coordinator(
        &self,
        id: &str,
    ) -> Result<(i32, Channel), Failure> {
        self.coordinator_of(id, TRANSACTION).await
    }

    async fn coordinator_of(&self, key: &str, key_type: i8) -> Result<(i32, Channel), Failure> {
        let request = FindCoordinatorRequest {
            key_type,
            coordinator_keys: vec![key.into()],
            ..Default::default()
        };
        let deadline = Instant::now() + WITHIN;
        loop {
            let answer = self.call(&request).await?;
            let Some(found) = answer.coordinators.first() else {
                return Err("the broker named no coordinator".into());
            };
            if found.error_code == 0 {
                return Ok((found.node_id, self.channel(&found.host, found.port)));
            }
            // The topic of the coordinators may be on its way.
            let retriable =
                ErrorCode::from_code(found.error_code).is_some_and(ErrorCode::is_retriable);
            if !retriable || Instant::now() > deadline {
                return Err(text(found.error_code, found.error_message.as_deref()).into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// One channel for each partition's leader.
    pub(super) async fn leaders(&self, partitions: &[Partition]) -> Result<Led, Failure> {
        let (leaders, without) = self.leaders_where_known(partitions).await?;
        match without.into_iter().next() {
            None => Ok(leaders),
            Some((topic, index)) => Err(format!("{topic}-{index} has no leader").into()),
        }
    }

    /// The same, and the partitions that have none or do not exist.
    pub(super) async fn leaders_where_known(
        &self,
        partitions: &[Partition],
    ) -> Result<(Led, Vec<Partition>), Failure> {
        let mut names: Vec<String> = partitions.iter().map(|(topic, _)| topic.clone()).collect();
        names.sort();
        names.dedup();
        let metadata = self.metadata(Some(&names)).await?;
        let mut by_leader: BTreeMap<i32, Vec<Partition>> = BTreeMap::new();
        let mut without = Vec::new();
        for (topic, index) in partitions {
            let topics = metadata.topics.iter();
            let leader = topics
                .filter(|found| found.name.as_deref() == Some(topic))
                .flat_map(|found| &found.partitions)
                .find(|partition| partition.partition_index == *index)
                .map(|partition| partition.leader_id)
                .filter(|leader| *leader >= 0);
            match leader {
                Some(leader) => by_leader
                    .entry(leader)
                    .or_default()
                    .push((topic.clone(), *index)),
                None => without.push((topic.clone(), *index)),
            }
        }
        let mut found = Vec::new();
        for (leader, partitions) in by_leader {
            let Some(broker) = metadata
                .brokers
                .iter()
                .find(|broker| broker.node_id == leader)
            else {
                return Err(format!("broker {leader} is not in the cluster").into());
            };
            found.push((self.channel(&broker.host, broker.port), partitions));
        }
        Ok((found, without))
    }

    /// The brokers with these ids, or all of them.
    pub(super) async fn brokers(
        &self,
        wanted: Option<&[i32]>,
    ) -> Result<Vec<(i32, Channel)>, Failure> {
        let mut brokers = self.metadata(Some(&[])).await?.brokers;
        brokers.sort_by_key(|broker| broker.node_id);
        let found = brokers
            .iter()
            .filter(|broker| wanted.is_none_or(|ids| ids.contains(&broker.node_id)))
            .map(|broker| (broker.node_id, self.channel(&broker.host, broker.port)));
        Ok(found.collect())
    }

    /// The offset of a time in each partition: -1 for the end, -2 for the start; -1 where there is none.
    pub(super) async fn offsets(
        &self,
        partitions: &[Partition],
        time: i64,
    ) -> Result<BTreeMap<Partition, i64>, Failure> {
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
