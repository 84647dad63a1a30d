//! Common parts of the tools: options that name the brokers to connect to, an async runtime, and errors for the user.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::groups::Partition;
use super::security;
use crate::base::plain::Plain;
use crate::config::listener::host_and_port;
use crate::host::Host;
use crate::peer::channel::Channel;
use crate::peer::connection::{Access, CallError, Identity};
use crate::transport::client::Transport;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Request;
use crate::wire::message::find_coordinator::FindCoordinatorRequest;
use crate::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::wire::message::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

/// Time limit for requests, as in Kafka's admin client.
pub(super) const WITHIN: Duration = Duration::from_secs(30);
/// Time limit for the ApiVersions answer of a broker that has accepted a connection.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_millis(200);
/// Types of coordinators in FindCoordinator.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const CLIENT_ID: &str = "monedula-tool";

/// Error that ends a tool with an exit status other than 0, with the message for the user.
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

/// Error of a connection to a broker whose address the cluster's metadata gave.
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

/// Runs a tool on the current thread.
pub(super) fn run(work: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        // One type for all commands: the runtime contains its code once for each type of future, and several times at that.
        Ok(runtime) => runtime.block_on(Box::pin(work) as Pin<Box<dyn Future<Output = _>>>),
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

    /// Connects to the first bootstrap server that answers.
    pub(super) async fn connect(&self) -> Result<Cluster, Failure> {
        let servers = self.bootstrap_server.as_deref().ok_or(
            "--bootstrap-server is missing, for example --bootstrap-server localhost:9092",
        )?;
        let access = self.access()?;
        Cluster::at(servers, &access, Duration::from_secs(self.connect_timeout)).await
    }
}

/// Leaders, each with the partitions that it leads.
type Led = Vec<(Channel, Vec<Partition>)>;

/// A cluster, reached through one of its brokers.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) any: Channel,
    access: Access,
}

impl Cluster {
    /// Connects to the first of the addresses (separated by commas) that answers. Refused connections are retried for
    /// `patience`, as in Kafka's tools, because the broker may just be starting.
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

    /// Channel to one broker of the cluster.
    pub(super) fn channel(&self, host: &str, port: i32) -> Channel {
        let address = host_and_port(host, port);
        let identity = Identity::new(CLIENT_ID);
        Channel::through(&Host::default(), address, identity, self.access.clone())
    }

    pub(super) async fn call<R: Request>(&self, request: &R) -> Result<R::Response, Failure> {
        Ok(self.any.call(request, WITHIN).await?)
    }

    /// Metadata of topics by name, or of all topics. No topic is created.
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

/// Whether an error may be that of a broker that is just starting.
fn is_passing(error: &CallError) -> bool {
    match error {
        CallError::Connect { source, .. } => !is_unknown_host(source),
        CallError::Timeout(_) | CallError::Closed(_) => true,
        _ => false,
    }
}

/// Whether an error is that of a failed name lookup. It comes from the C library and has no error kind of its own.
fn is_unknown_host(error: &std::io::Error) -> bool {
    error.raw_os_error().is_none()
        && error
            .to_string()
            .starts_with("failed to lookup address information")
}

/// Message for an error, with its likely cause.
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

/// Text of an error: the broker's message, or the name of the error code.
pub(super) fn text(code: i16, message: Option<&str>) -> String {
    message
        .filter(|message| !message.is_empty())
        .map_or_else(|| name(code), str::to_owned)
}

/// Converts the error code of an answer to a result.
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
    /// Channel to the coordinator of a group.
    pub(super) async fn coordinator(&self, group: &str) -> Result<Channel, Failure> {
        Ok(self.coordinator_of(group, GROUP).await?.1)
    }

    /// Broker id of the coordinator of a transactional id, and a channel to it.
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
            // The topic of the coordinators may not have been created yet.
            let retriable =
                ErrorCode::from_code(found.error_code).is_some_and(ErrorCode::is_retriable);
            if !retriable || Instant::now() > deadline {
                return Err(text(found.error_code, found.error_message.as_deref()).into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Channels to the leaders of the partitions, one for each leader.
    pub(super) async fn leaders(&self, partitions: &[Partition]) -> Result<Led, Failure> {
        let (leaders, without) = self.leaders_where_known(partitions).await?;
        match without.into_iter().next() {
            None => Ok(leaders),
            Some((topic, index)) => Err(format!("{topic}-{index} has no leader").into()),
        }
    }

    /// Like `leaders`, with the partitions that have no leader or do not exist.
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

    /// The brokers with these ids, or all brokers.
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

    /// Offset for a timestamp in each partition; -1 as the timestamp is the end, -2 the start. An offset of -1 means that there
    /// is none.
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
