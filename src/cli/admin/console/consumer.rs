//! `kafka-console-consumer`: prints records. Kafka calls this `ConsoleConsumer`.
//!
//! With `--group` it begins at the group's offsets and commits to them, but it is no member of the group: it reads every
//! partition, and a group with members refuses its commits.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::format::Format;
use super::{property, topic};
use crate::base::ids::Uuid;
use crate::cli::admin::client::{Cluster, Failure, WITHIN, name, run as run_work};
use crate::cli::admin::{group_offsets, groups};
use crate::cli::options::Takes::{Nothing, Value};
use crate::cli::options::{Options, Takes, parse};
use crate::peer::channel::Channel;
use crate::wire::batch::header::BatchHeader;
use crate::wire::batch::record::{decompressed, records};
use crate::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};

pub(super) const CONSUMER: &[(&str, Takes)] = &[
    ("bootstrap-server", Value),
    ("topic", Value),
    ("partition", Value),
    ("offset", Value),
    ("from-beginning", Nothing),
    ("max-messages", Value),
    ("timeout-ms", Value),
    ("group", Value),
    ("property", Value),
    ("formatter-property", Value),
    ("consumer-property", Value),
    ("command-property", Value),
    ("consumer.config", Value),
    ("command-config", Value),
    ("isolation-level", Value),
    ("skip-message-on-error", Nothing),
    ("formatter", Value),
    ("key-deserializer", Value),
    ("value-deserializer", Value),
];

/// What a batch may become when it is unpacked.
const UNPACKED_MAX: usize = 256 << 20;
/// The newest version in which topics have names.
const FETCH_BY_NAME: i16 = 12;

pub(in crate::cli::admin) fn consume(arguments: &[String]) -> ExitCode {
    run_work(async {
        let options = parse(arguments.iter().cloned(), CONSUMER)?;
        let wanted = options.required("topic")?.to_owned();
        let cluster = Cluster::connect(&options).await?;
        let mut printed = 0;
        let done = read(&cluster, &options, &wanted, &mut printed).await;
        eprintln!("Processed a total of {printed} messages");
        done
    })
}

async fn read(
    cluster: &Cluster,
    options: &Options,
    wanted: &str,
    printed: &mut u64,
) -> Result<(), Failure> {
    let max: Option<u64> = options.number("max-messages")?;
    let patience = options.number("timeout-ms")?.map(Duration::from_millis);
    let said = |key| property(options, &["consumer-property", "command-property"], key);
    let committed = options
        .value("isolation-level")
        .or_else(|| said("isolation.level"))
        == Some("read_committed");
    let group = options.value("group").or_else(|| said("group.id"));
    let format = Format::new(options)?;
    let found = topic(cluster, wanted, true).await?;
    let only: Option<i32> = options.number("partition")?;
    let partitions: Vec<_> = found
        .partitions
        .iter()
        .map(|partition| partition.partition_index)
        .filter(|index| only.is_none_or(|only| only == *index))
        .map(|index| (wanted.to_owned(), index))
        .collect();
    if partitions.is_empty() {
        return Err(format!("{wanted} has no partition {}", only.unwrap_or(0)).into());
    }
    let beginning = options.has("from-beginning")
        || options.value("offset") == Some("earliest")
        || said("auto.offset.reset") == Some("earliest");
    let mut positions = cluster
        .offsets(&partitions, if beginning { -2 } else { -1 })
        .await?;
    if let Some(offset) = options
        .value("offset")
        .and_then(|text| text.parse::<i64>().ok())
    {
        positions
            .values_mut()
            .for_each(|position| *position = offset);
    }
    let coordinator = match group {
        Some(group) => {
            let (coordinator, offsets) = groups::group_offsets(cluster, group).await?;
            for (partition, offset) in offsets {
                if let Some(position) = positions.get_mut(&partition) {
                    *position = offset;
                }
            }
            Some((coordinator, group))
        }
        None => None,
    };
    let leaders = cluster.leaders(&partitions).await?;
    let mut heard = Instant::now();
    let mut failure = Ok(());
    'reading: loop {
        if max.is_some_and(|max| *printed >= max) {
            break;
        }
        let mut some = false;
        for (leader, partitions) in &leaders {
            let batches = match fetch(
                leader,
                wanted,
                found.topic_id,
                partitions,
                &positions,
                committed,
                patience,
            )
            .await
            {
                Ok(batches) => batches,
                Err(error) => {
                    failure = Err(error);
                    break 'reading;
                }
            };
            for (index, bytes, aborted) in batches {
                let Some(position) = positions.get_mut(&(wanted.to_owned(), index)) else {
                    continue;
                };
                some |= print(&bytes, index, position, &aborted, &format, max, printed)?;
                if max.is_some_and(|max| *printed >= max) {
                    break 'reading;
                }
            }
        }
        if some {
            heard = Instant::now();
        } else if patience.is_some_and(|patience| heard.elapsed() >= patience) {
            eprintln!(
                "ERROR Error processing message, terminating consumer process: \norg.apache.kafka.common.errors.TimeoutException"
            );
            break;
        }
    }
    std::io::stdout()
        .flush()
        .map_err(|error| error.to_string())?;
    if let Some((coordinator, group)) = coordinator {
        group_offsets::commit(&coordinator, group, &positions).await?;
    }
    failure
}

/// Where a producer's transaction begins that came to nothing.
type Aborted = Vec<(i64, i64)>;

async fn fetch(
    leader: &Channel,
    topic: &str,
    topic_id: Uuid,
    partitions: &[(String, i32)],
    positions: &BTreeMap<(String, i32), i64>,
    committed: bool,
    patience: Option<Duration>,
) -> Result<Vec<(i32, Bytes, Aborted)>, Failure> {
    let wait = patience.unwrap_or(WITHIN).min(Duration::from_millis(500));
    let request = FetchRequest {
        max_wait_ms: wait.as_millis() as i32,
        min_bytes: 1,
        max_bytes: 50 << 20,
        isolation_level: i8::from(committed),
        topics: vec![FetchTopic {
            topic: topic.into(),
            topic_id,
            partitions: partitions
                .iter()
                .map(|partition| FetchPartition {
                    partition: partition.1,
                    fetch_offset: positions.get(partition).copied().unwrap_or(0),
                    partition_max_bytes: 1 << 20,
                    ..Default::default()
                })
                .collect(),
        }],
        ..Default::default()
    };
    let answer = leader.call_up_to(&request, FETCH_BY_NAME, WITHIN).await?;
    if answer.error_code != 0 {
        return Err(name(answer.error_code).into());
    }
    let mut found = Vec::new();
    for partition in answer
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions)
    {
        if partition.error_code != 0 {
            return Err(format!(
                "{topic}-{}: {}",
                partition.partition_index,
                name(partition.error_code)
            )
            .into());
        }
        let aborted = partition.aborted_transactions.unwrap_or_default();
        found.push((
            partition.partition_index,
            partition.records.unwrap_or_default().bytes(),
            aborted
                .iter()
                .map(|one| (one.producer_id, one.first_offset))
                .collect(),
        ));
    }
    Ok(found)
}

/// Prints the records from `position` on and moves it behind them.
fn print(
    bytes: &Bytes,
    partition: i32,
    position: &mut i64,
    aborted: &Aborted,
    format: &Format,
    max: Option<u64>,
    printed: &mut u64,
) -> Result<bool, Failure> {
    let mut at = 0;
    let mut some = false;
    let mut ended: Vec<i64> = Vec::new();
    let mut out = std::io::stdout().lock();
    while let Some(rest) = bytes.get(at..)
        && rest.len() > 12
    {
        let Ok(header) = BatchHeader::parse(rest) else {
            break;
        };
        // The last batch of an answer may be cut off.
        let Some(batch) = bytes.get(at..at + header.size()) else {
            break;
        };
        let batch = bytes.slice_ref(batch);
        at += header.size();
        let broken = |error: crate::wire::batch::BatchError| Failure(error.to_string());
        header.verify(&batch).map_err(broken)?;
        let undone = header.is_transactional()
            && aborted
                .iter()
                .any(|(id, first)| *id == header.producer_id && *first <= header.base_offset)
            && !ended.contains(&header.producer_id);
        if header.is_control() {
            if undone {
                ended.push(header.producer_id);
            }
        } else if !undone {
            let body = decompressed(&header, &batch, UNPACKED_MAX).map_err(broken)?;
            for record in records(&header, &body) {
                let record = record.map_err(broken)?;
                if record.offset < *position {
                    continue;
                }
                if max.is_some_and(|max| *printed >= max) {
                    return Ok(some);
                }
                format.write(&mut out, partition, &record, header.is_log_append_time())?;
                *printed += 1;
                some = true;
                *position = record.offset + 1;
            }
        }
        *position = header.next_offset().max(*position);
    }
    out.flush().map_err(|error| error.to_string())?;
    Ok(some)
}
