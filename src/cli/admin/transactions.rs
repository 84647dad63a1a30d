//! `kafka-transactions`. Kafka's `TransactionsCommand`.
//!
//! A transaction is hanging if it is open in a partition but unknown to its coordinator. It blocks read_committed consumers of
//! the partition until it is aborted.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{Cluster, Connection, Failure, WITHIN, name, run as run_work, text};
use super::groups::Partition;
use crate::base::time::Timestamp;
use crate::host::clock::Clock;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::describe_producers::{
    DescribeProducersRequest, PartitionResponse, ProducerState, TopicRequest,
};
use crate::wire::message::describe_transactions::DescribeTransactionsRequest;
use crate::wire::message::init_producer_id::InitProducerIdRequest;
use crate::wire::message::list_transactions::ListTransactionsRequest;
use crate::wire::message::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};

/// List, describe and abort transactions
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula transactions --bootstrap-server localhost:9092 list
  monedula transactions --bootstrap-server localhost:9092 find-hanging --broker-id 1
  monedula transactions --bootstrap-server localhost:9092 abort --topic orders --partition 0 --start-offset 42")]
#[group(skip)]
pub struct Transactions {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the transactional ids
    List {
        /// Only those whose transaction has been open for longer
        #[arg(long, value_name = "MS", default_value_t = -1)]
        duration_filter: i64,
        /// Only those that this regular expression matches
        #[arg(long, value_name = "REGEX")]
        transactional_id_pattern: Option<String>,
    },
    /// Print the transaction of a transactional id
    Describe {
        /// The transactional id
        #[arg(long, value_name = "ID")]
        transactional_id: String,
    },
    /// Print the producers of a partition
    DescribeProducers {
        /// The topic
        #[arg(long, value_name = "NAME")]
        topic: String,
        /// The partition
        #[arg(long, value_name = "PARTITION")]
        partition: i32,
        /// Ask this broker instead of the leader
        #[arg(long, value_name = "ID")]
        broker_id: Option<i32>,
    },
    /// Print transactions that are open in partitions and unknown to their coordinator
    FindHanging {
        /// Look at the partitions that this broker leads
        #[arg(long, value_name = "ID")]
        broker_id: Option<i32>,
        /// Look at this topic
        #[arg(long, value_name = "NAME")]
        topic: Option<String>,
        /// Look at this partition of the topic
        #[arg(long, value_name = "PARTITION", requires = "topic")]
        partition: Option<i32>,
        /// How long a transaction may take
        #[arg(long, value_name = "MINUTES", default_value_t = 15)]
        max_transaction_timeout: i64,
    },
    /// Abort a transaction that hangs in a partition
    Abort {
        /// The topic
        #[arg(long, value_name = "NAME")]
        topic: String,
        /// The partition
        #[arg(long, value_name = "PARTITION")]
        partition: i32,
        /// The offset at which the transaction begins
        #[arg(long, value_name = "OFFSET", required_unless_present = "producer_id")]
        start_offset: Option<i64>,
        /// The producer, for brokers before 3.0
        #[arg(long, value_name = "ID", requires_all = ["producer_epoch", "coordinator_epoch"], conflicts_with = "start_offset")]
        producer_id: Option<i64>,
        /// The epoch of the producer
        #[arg(long, value_name = "EPOCH", requires = "producer_id")]
        producer_epoch: Option<i16>,
        /// The epoch of the coordinator
        #[arg(long, value_name = "EPOCH", requires = "producer_id")]
        coordinator_epoch: Option<i32>,
    },
    /// Abort the transaction of a transactional id, and fence its producer
    #[command(name = "forceTerminateTransaction")]
    ForceTerminate {
        /// The transactional id
        #[arg(
            long = "transactionalId",
            alias = "transactional-id",
            value_name = "ID"
        )]
        transactional_id: String,
    },
}

impl Transactions {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            if let Action::FindHanging {
                broker_id: None,
                topic: None,
                ..
            } = &self.action
            {
                return Err("The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search".into());
            }
            let cluster = self.connection.connect().await?;
            match &self.action {
                Action::List {
                    duration_filter,
                    transactional_id_pattern,
                } => {
                    list(
                        &cluster,
                        *duration_filter,
                        transactional_id_pattern.as_deref(),
                    )
                    .await
                }
                Action::Describe { transactional_id } => describe(&cluster, transactional_id).await,
                Action::DescribeProducers {
                    topic,
                    partition,
                    broker_id,
                } => {
                    let partition = (topic.clone(), *partition);
                    describe_producers(&cluster, &partition, *broker_id).await
                }
                Action::FindHanging {
                    broker_id,
                    topic,
                    partition,
                    max_transaction_timeout,
                } => {
                    let timeout_ms = max_transaction_timeout.saturating_mul(60_000);
                    let wanted = Scope {
                        broker: *broker_id,
                        topic: topic.as_deref(),
                        partition: *partition,
                    };
                    find_hanging(&cluster, &wanted, timeout_ms).await
                }
                Action::Abort {
                    topic,
                    partition,
                    start_offset,
                    producer_id,
                    producer_epoch,
                    coordinator_epoch,
                } => {
                    let partition = (topic.clone(), *partition);
                    let producer = match (start_offset, producer_id) {
                        (Some(offset), _) => by_start_offset(&cluster, &partition, *offset).await?,
                        (None, id) => ProducerState {
                            producer_id: id.unwrap_or(-1),
                            producer_epoch: producer_epoch.unwrap_or(-1).into(),
                            coordinator_epoch: coordinator_epoch.unwrap_or(-1),
                            ..Default::default()
                        },
                    };
                    abort(&cluster, &partition, &producer).await
                }
                Action::ForceTerminate { transactional_id } => {
                    force_terminate(&cluster, transactional_id).await
                }
            }
        })
    }
}

/// Prints a table whose columns are as wide as their longest cell, as Kafka's tool does.
fn table<const COLUMNS: usize>(titles: [&str; COLUMNS], rows: &[[String; COLUMNS]]) {
    let widths: Vec<usize> = (0..COLUMNS)
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].len());
            cells.max().unwrap_or(0).max(titles[column].len())
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths);
        let text: String = cells
            .map(|(cell, width)| format!("{cell:<width$}\t"))
            .collect();
        println!("{text}");
    };
    line(&mut titles.into_iter());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}

async fn list(
    cluster: &Cluster,
    duration_filter: i64,
    pattern: Option<&str>,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for (id, broker) in cluster.brokers(None).await? {
        let request = ListTransactionsRequest {
            duration_filter,
            transactional_id_pattern: pattern.map(Into::into),
            ..Default::default()
        };
        let answer = broker.call(&request, WITHIN).await?;
        if answer.error_code != 0 {
            return Err(name(answer.error_code).into());
        }
        rows.extend(answer.transaction_states.iter().map(|state| {
            [
                state.transactional_id.to_string(),
                id.to_string(),
                state.producer_id.to_string(),
                state.transaction_state.to_string(),
            ]
        }));
    }
    table(
        [
            "TransactionalId",
            "Coordinator",
            "ProducerId",
            "TransactionState",
        ],
        &rows,
    );
    Ok(())
}

async fn describe(cluster: &Cluster, id: &str) -> Result<(), Failure> {
    let (node, coordinator) = cluster.transaction_coordinator(id).await?;
    let request = DescribeTransactionsRequest {
        transactional_ids: vec![id.into()],
    };
    let answer = coordinator.call(&request, WITHIN).await?;
    let Some(state) = answer.transaction_states.first() else {
        return Err("the broker does not answer for the transactional id".into());
    };
    match ErrorCode::from_code(state.error_code) {
        Some(ErrorCode::None) => {}
        Some(ErrorCode::TransactionalIdNotFound) => {
            return Err(format!(
                "Failed to describe transaction state of transactional-id `{id}`: DescribeTransactions request for transactionalId `{id}` failed because the ID could not be found. Enable debug logging for additional detail."
            )
            .into());
        }
        _ => return Err(name(state.error_code).into()),
    }
    let start = Some(state.transaction_start_time_ms).filter(|start| *start >= 0);
    let shown =
        |value: Option<i64>| value.map_or_else(|| "None".to_owned(), |value| value.to_string());
    let partitions: Vec<String> = state
        .topics
        .iter()
        .flat_map(|topic| {
            let indexes = topic.partitions.iter();
            indexes.map(|index| format!("{}-{index}", topic.topic))
        })
        .collect();
    table(
        [
            "CoordinatorId",
            "TransactionalId",
            "ProducerId",
            "ProducerEpoch",
            "TransactionState",
            "TransactionTimeoutMs",
            "CurrentTransactionStartTimeMs",
            "TransactionDurationMs",
            "TopicPartitions",
        ],
        &[[
            node.to_string(),
            id.to_owned(),
            state.producer_id.to_string(),
            state.producer_epoch.to_string(),
            state.transaction_state.to_string(),
            state.transaction_timeout_ms.to_string(),
            shown(start),
            shown(start.map(|start| Clock::default().now() - start)),
            partitions.join(","),
        ]],
    );
    Ok(())
}

/// State of the producers of a partition, from a given broker or from the leader.
async fn producers(
    cluster: &Cluster,
    partition: &Partition,
    broker: Option<i32>,
) -> Result<Vec<ProducerState>, Failure> {
    let channel = match broker {
        Some(id) => cluster
            .brokers(Some(&[id]))
            .await?
            .pop()
            .map(|(_, broker)| broker)
            .ok_or_else(|| format!("broker {id} is not in the cluster"))?,
        None => cluster
            .leaders(std::slice::from_ref(partition))
            .await?
            .pop()
            .map(|(leader, _)| leader)
            .ok_or("the partition has no leader")?,
    };
    let request = DescribeProducersRequest {
        topics: vec![TopicRequest {
            name: partition.0.as_str().into(),
            partition_indexes: vec![partition.1],
        }],
    };
    let answer = channel.call(&request, WITHIN).await?;
    let mut found = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    match found.next() {
        Some(PartitionResponse {
            error_code: 0,
            active_producers,
            ..
        }) => Ok(active_producers),
        Some(refused) => Err(text(refused.error_code, refused.error_message.as_deref()).into()),
        None => Err("the broker does not answer for the partition".into()),
    }
}

async fn describe_producers(
    cluster: &Cluster,
    partition: &Partition,
    broker: Option<i32>,
) -> Result<(), Failure> {
    let mut found = producers(cluster, partition, broker).await?;
    found.sort_by_key(|producer| producer.producer_id);
    let rows: Vec<[String; 6]> = found
        .iter()
        .map(|producer| {
            let start = producer.current_txn_start_offset;
            [
                producer.producer_id.to_string(),
                producer.producer_epoch.to_string(),
                producer.coordinator_epoch.to_string(),
                producer.last_sequence.to_string(),
                producer.last_timestamp.to_string(),
                match start {
                    ..0 => "None".to_owned(),
                    start => start.to_string(),
                },
            ]
        })
        .collect();
    table(
        [
            "ProducerId",
            "ProducerEpoch",
            "LatestCoordinatorEpoch",
            "LastSequence",
            "LastTimestamp",
            "CurrentTransactionStartOffset",
        ],
        &rows,
    );
    Ok(())
}

/// Partitions in which hanging transactions are searched.
struct Scope<'a> {
    broker: Option<i32>,
    topic: Option<&'a str>,
    partition: Option<i32>,
}

async fn find_hanging(
    cluster: &Cluster,
    wanted: &Scope<'_>,
    timeout_ms: i64,
) -> Result<(), Failure> {
    let topics = wanted.topic.map(|topic| vec![topic.to_owned()]);
    let metadata = cluster.metadata(topics.as_deref()).await?;
    let now = Clock::default().now();
    let mut open: Vec<(Partition, ProducerState)> = Vec::new();
    for topic in &metadata.topics {
        let topic_name = topic.name.as_deref().unwrap_or_default();
        if topic.error_code != 0 {
            return Err(format!("{topic_name}: {}", name(topic.error_code)).into());
        }
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let leads = wanted.broker.is_none_or(|id| id == partition.leader_id);
            if !leads || wanted.partition.is_some_and(|only| only != index) {
                continue;
            }
            let place = (topic_name.to_owned(), index);
            let found = producers(cluster, &place, wanted.broker).await?;
            let old = found.into_iter().filter(|producer| {
                producer.current_txn_start_offset >= 0 && age(producer, now) > timeout_ms
            });
            open.extend(old.map(|producer| (place.clone(), producer)));
        }
    }
    let known = known_partitions(cluster, &open).await?;
    let rows: Vec<[String; 8]> = open
        .iter()
        .filter(|(place, producer)| !known.contains(&(producer.producer_id, place.clone())))
        .map(|((topic, index), producer)| {
            [
                topic.clone(),
                index.to_string(),
                producer.producer_id.to_string(),
                producer.producer_epoch.to_string(),
                producer.coordinator_epoch.to_string(),
                producer.current_txn_start_offset.to_string(),
                producer.last_timestamp.to_string(),
                (age(producer, now) / 60_000).to_string(),
            ]
        })
        .collect();
    table(
        [
            "Topic",
            "Partition",
            "ProducerId",
            "ProducerEpoch",
            "CoordinatorEpoch",
            "StartOffset",
            "LastTimestamp",
            "Duration(min)",
        ],
        &rows,
    );
    Ok(())
}

fn age(producer: &ProducerState, now: Timestamp) -> i64 {
    now.saturating_sub(producer.last_timestamp)
}

/// Partitions that coordinators have in transactions of these producers.
async fn known_partitions(
    cluster: &Cluster,
    open: &[(Partition, ProducerState)],
) -> Result<BTreeSet<(i64, Partition)>, Failure> {
    let mut known = BTreeSet::new();
    if open.is_empty() {
        return Ok(known);
    }
    let producers: BTreeSet<i64> = open.iter().map(|(_, one)| one.producer_id).collect();
    for (_, broker) in cluster.brokers(None).await? {
        let request = ListTransactionsRequest {
            producer_id_filters: producers.iter().copied().collect(),
            duration_filter: -1,
            ..Default::default()
        };
        let listed = broker.call(&request, WITHIN).await?;
        if listed.error_code != 0 {
            return Err(name(listed.error_code).into());
        }
        let ids = listed.transaction_states.into_iter();
        let request = DescribeTransactionsRequest {
            transactional_ids: ids.map(|state| state.transactional_id).collect(),
        };
        if request.transactional_ids.is_empty() {
            continue;
        }
        for state in broker.call(&request, WITHIN).await?.transaction_states {
            for topic in state.topics {
                let places = topic.partitions.into_iter();
                known.extend(
                    places.map(|index| (state.producer_id, (topic.topic.to_string(), index))),
                );
            }
        }
    }
    Ok(known)
}

/// The producer whose transaction begins at an offset.
async fn by_start_offset(
    cluster: &Cluster,
    partition: &Partition,
    offset: i64,
) -> Result<ProducerState, Failure> {
    let found = producers(cluster, partition, None).await?;
    let mut found = found
        .into_iter()
        .filter(|producer| producer.current_txn_start_offset == offset);
    found.next().ok_or_else(|| {
        Failure(format!(
            "Could not find any open transactions starting at offset {offset} on partition {}-{}",
            partition.0, partition.1
        ))
    })
}

async fn abort(
    cluster: &Cluster,
    partition: &Partition,
    producer: &ProducerState,
) -> Result<(), Failure> {
    let leaders = cluster.leaders(std::slice::from_ref(partition)).await?;
    let (leader, _) = leaders.first().ok_or("the partition has no leader")?;
    let request = WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: producer.producer_id,
            producer_epoch: i16::try_from(producer.producer_epoch).unwrap_or(-1),
            transaction_result: false,
            topics: vec![WritableTxnMarkerTopic {
                name: partition.0.as_str().into(),
                partition_indexes: vec![partition.1],
            }],
            coordinator_epoch: producer.coordinator_epoch.max(0),
            ..Default::default()
        }],
    };
    let answer = leader.call(&request, WITHIN).await?;
    let refused = answer
        .markers
        .iter()
        .flat_map(|marker| &marker.topics)
        .flat_map(|topic| &topic.partitions)
        .find(|partition| partition.error_code != 0);
    match refused {
        None => Ok(()),
        Some(refused) => Err(format!(
            "Failed to abort transaction of producer {} in {}-{}: {}",
            producer.producer_id,
            partition.0,
            partition.1,
            name(refused.error_code)
        )
        .into()),
    }
}

async fn force_terminate(cluster: &Cluster, id: &str) -> Result<(), Failure> {
    let (_, coordinator) = cluster.transaction_coordinator(id).await?;
    let request = InitProducerIdRequest {
        transactional_id: Some(id.into()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let answer = coordinator.call_up_to(&request, 5, WITHIN).await?;
    match answer.error_code {
        0 => Ok(()),
        code => Err(format!(
            "Failed to force terminate transactionalId `{id}`: {}",
            name(code)
        )
        .into()),
    }
}
