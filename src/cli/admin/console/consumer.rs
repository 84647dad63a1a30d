//! `kafka-console-consumer`: prints records. Kafka's `ConsoleConsumer`.
//!
//! With `--group` it begins at the group's offsets and commits to the group, but it does not join the group: it reads all
//! partitions, and its commits are refused if the group has members.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use regex::Regex;
use tokio::time::Instant;

use super::format::{Format, FormatOptions};
use super::{property, topic};
use crate::cli::admin::client::{Cluster, Connection, Failure, WITHIN, name, run as run_work};
use crate::cli::admin::groups::Partition;
use crate::cli::admin::{group_offsets, groups};
use crate::peer::channel::Channel;
use crate::wire::batch::header::BatchHeader;
use crate::wire::batch::record::{Record, decompressed, records};
use crate::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};

/// Print records of topics
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula console-consumer --bootstrap-server localhost:9092 --topic orders --from-beginning
  monedula console-consumer --bootstrap-server localhost:9092 --topic orders --partition 0 --offset 5 --max-messages 1 \\
    --formatter-property print.key=true --formatter-property print.offset=true")]
#[group(skip)]
pub struct ConsoleConsumer {
    #[command(flatten)]
    connection: Connection,
    /// The topic
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "include",
        conflicts_with = "include"
    )]
    topic: Option<String>,
    /// Every topic whose name this regular expression matches
    #[arg(long, value_name = "REGEX")]
    include: Option<String>,
    /// This partition only
    #[arg(long, value_name = "PARTITION", requires = "topic")]
    partition: Option<i32>,
    /// Where to begin: an offset, earliest or latest
    #[arg(long, value_name = "OFFSET")]
    offset: Option<String>,
    /// Begin with the first record, where the group has no offset
    #[arg(long)]
    from_beginning: bool,
    /// End after this number of records
    #[arg(long, value_name = "COUNT")]
    max_messages: Option<u64>,
    /// End when no record comes within this time
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    /// Begin at the offsets of this group, and commit to it
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// read_committed leaves out what transactions did not commit
    #[arg(long, value_name = "LEVEL")]
    isolation_level: Option<String>,
    /// Settings of the consumer: group.id, auto.offset.reset, isolation.level
    #[arg(long, value_name = "NAME=VALUE", alias = "consumer-property")]
    command_property: Vec<String>,
    #[command(flatten)]
    pub(super) format: FormatOptions,
    /// Taken for the sake of Kafka's tool
    #[arg(long, hide = true)]
    skip_message_on_error: bool,
    /// Taken for the sake of Kafka's tool
    #[arg(long, hide = true)]
    enable_systest_events: bool,
}

/// Limit of the decompressed size of a batch in bytes.
const UNPACKED_MAX: usize = 256 << 20;
/// Newest version of Fetch that names topics instead of giving their ids.
const FETCH_BY_NAME: i16 = 12;

impl ConsoleConsumer {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let format = Format::new(&self.format)?;
            let cluster = self.connection.connect().await?;
            let mut printed = 0;
            let done = read(&cluster, self, &format, &mut printed).await;
            eprintln!("Processed a total of {printed} messages");
            done
        })
    }

    /// The partitions to read. A topic named by `--topic` is created if the broker creates topics automatically.
    async fn partitions(&self, cluster: &Cluster) -> Result<Vec<Partition>, Failure> {
        if let Some(wanted) = &self.topic {
            let found = topic(cluster, wanted, true).await?;
            let indexes = found.partitions.iter().map(|one| one.partition_index);
            let partitions: Vec<Partition> = indexes
                .filter(|index| self.partition.is_none_or(|only| only == *index))
                .map(|index| (wanted.clone(), index))
                .collect();
            if partitions.is_empty() {
                let partition = self.partition.unwrap_or(0);
                return Err(format!("{wanted} has no partition {partition}").into());
            }
            return Ok(partitions);
        }
        matching(cluster, self.include.as_deref().unwrap_or_default()).await
    }
}

/// The partitions of all topics whose name matches the regular expression, except internal topics.
pub(in crate::cli::admin) async fn matching(
    cluster: &Cluster,
    include: &str,
) -> Result<Vec<Partition>, Failure> {
    let wanted = Regex::new(&format!("^(?:{include})$"))
        .map_err(|_| format!("{include} is an invalid regex."))?;
    let mut partitions = Vec::new();
    for topic in cluster.metadata(None).await?.topics {
        let name = topic.name.as_deref().unwrap_or_default();
        if !topic.is_internal && wanted.is_match(name) {
            let indexes = topic.partitions.iter().map(|one| one.partition_index);
            partitions.extend(indexes.map(|index| (name.to_owned(), index)));
        }
    }
    match partitions.is_empty() {
        true => Err(format!("no topic has a name that {include} matches").into()),
        false => Ok(partitions),
    }
}

async fn read(
    cluster: &Cluster,
    options: &ConsoleConsumer,
    format: &Format,
    printed: &mut u64,
) -> Result<(), Failure> {
    let max = options.max_messages;
    let patience = options.timeout_ms.map(Duration::from_millis);
    let said = |key| property(&options.command_property, key);
    let isolation = options.isolation_level.as_deref();
    let committed = isolation.or_else(|| said("isolation.level")) == Some("read_committed");
    let group = options.group.as_deref().or_else(|| said("group.id"));
    let partitions = options.partitions(cluster).await?;
    let beginning = options.from_beginning
        || options.offset.as_deref() == Some("earliest")
        || said("auto.offset.reset") == Some("earliest");
    let mut positions = cluster
        .offsets(&partitions, if beginning { -2 } else { -1 })
        .await?;
    let fixed = options.offset.as_deref();
    if let Some(offset) = fixed.and_then(|text| text.parse::<i64>().ok()) {
        positions
            .values_mut()
            .for_each(|position| *position = offset);
    }
    let coordinator = match group {
        Some(group) => {
            let (coordinator, offsets) = groups::group_offsets(cluster, group).await?;
            for (partition, committed) in offsets {
                if let Some(position) = positions.get_mut(&partition) {
                    *position = committed.offset;
                }
            }
            Some((coordinator, group))
        }
        None => None,
    };
    let leaders = cluster.leaders(&partitions).await?;
    let fetching = Fetching {
        committed,
        wait: patience.unwrap_or(WITHIN).min(Duration::from_millis(500)),
        partition_bytes_max: 1 << 20,
    };
    let mut heard = Instant::now();
    let mut failure = Ok(());
    'reading: loop {
        if max.is_some_and(|max| *printed >= max) {
            break;
        }
        let mut some = false;
        for (leader, partitions) in &leaders {
            let batches = match fetch(leader, partitions, &positions, &fetching).await {
                Ok(batches) => batches,
                Err(error) => {
                    failure = Err(error);
                    break 'reading;
                }
            };
            for (partition, bytes, aborted) in batches {
                let Some(position) = positions.get_mut(&partition) else {
                    continue;
                };
                some |= print(
                    &bytes,
                    partition.1,
                    position,
                    &aborted,
                    format,
                    max,
                    printed,
                )?;
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

/// Aborted transactions: producer id and first offset of each.
pub(in crate::cli::admin) type Aborted = Vec<(i64, i64)>;

/// Options of a fetch.
pub(in crate::cli::admin) struct Fetching {
    /// Whether records of aborted transactions are left out (read_committed).
    pub(in crate::cli::admin) committed: bool,
    pub(in crate::cli::admin) wait: Duration,
    pub(in crate::cli::admin) partition_bytes_max: i32,
}

/// Fetches from a leader, from the position of each partition on.
pub(in crate::cli::admin) async fn fetch(
    leader: &Channel,
    partitions: &[Partition],
    positions: &BTreeMap<Partition, i64>,
    fetching: &Fetching,
) -> Result<Vec<(Partition, Bytes, Aborted)>, Failure> {
    let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
    for partition in partitions {
        topics
            .entry(&partition.0)
            .or_default()
            .push(FetchPartition {
                partition: partition.1,
                fetch_offset: positions.get(partition).copied().unwrap_or(0),
                partition_max_bytes: fetching.partition_bytes_max,
                ..Default::default()
            });
    }
    let request = FetchRequest {
        max_wait_ms: fetching.wait.as_millis() as i32,
        min_bytes: 1,
        max_bytes: 50 << 20,
        isolation_level: i8::from(fetching.committed),
        topics: topics
            .into_iter()
            .map(|(topic, partitions)| FetchTopic {
                topic: topic.into(),
                partitions,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let answer = leader.call_up_to(&request, FETCH_BY_NAME, WITHIN).await?;
    if answer.error_code != 0 {
        return Err(name(answer.error_code).into());
    }
    let mut found = Vec::new();
    for topic in answer.responses {
        for partition in topic.partitions {
            let (topic, index) = (topic.topic.to_string(), partition.partition_index);
            if partition.error_code != 0 {
                return Err(format!("{topic}-{index}: {}", name(partition.error_code)).into());
            }
            let aborted = partition.aborted_transactions.unwrap_or_default();
            found.push((
                (topic, index),
                partition.records.unwrap_or_default().bytes(),
                aborted
                    .iter()
                    .map(|one| (one.producer_id, one.first_offset))
                    .collect(),
            ));
        }
    }
    Ok(found)
}

/// Prints the records from `position` on, and advances the position.
fn print(
    bytes: &Bytes,
    partition: i32,
    position: &mut i64,
    aborted: &Aborted,
    format: &Format,
    max: Option<u64>,
    printed: &mut u64,
) -> Result<bool, Failure> {
    let before = *printed;
    let mut out = std::io::stdout().lock();
    each_record(bytes, position, aborted, |header, record| {
        if max.is_some_and(|max| *printed >= max) {
            return Ok(false);
        }
        format.write(&mut out, partition, record, header.is_log_append_time())?;
        *printed += 1;
        Ok(true)
    })?;
    out.flush().map_err(|error| error.to_string())?;
    Ok(*printed > before)
}

/// Number of records from `position` on, and the size of their keys and values in bytes. Advances the position.
pub(in crate::cli::admin) fn counted(
    bytes: &Bytes,
    position: &mut i64,
) -> Result<(u64, u64), Failure> {
    let (mut count, mut size) = (0, 0);
    each_record(bytes, position, &Aborted::new(), |_, record| {
        count += 1;
        size += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        Ok(true)
    })?;
    Ok((count, size as u64))
}

/// Calls `wanted` for each record from `position` on until it returns false. Advances the position past the other records.
fn each_record(
    bytes: &Bytes,
    position: &mut i64,
    aborted: &Aborted,
    mut wanted: impl FnMut(&BatchHeader, &Record<'_>) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut at = 0;
    let mut undone = Undone::new(aborted);
    while let Some(rest) = bytes.get(at..)
        && rest.len() > 12
    {
        let Ok(header) = BatchHeader::parse(rest) else {
            break;
        };
        // The last batch of an answer may be incomplete.
        let Some(batch) = bytes.get(at..at + header.size()) else {
            break;
        };
        let batch = bytes.slice_ref(batch);
        at += header.size();
        let broken = |error: crate::wire::batch::BatchError| Failure(error.to_string());
        header.verify(&batch).map_err(broken)?;
        let is_undone = undone.has(&header);
        if !header.is_control() && !is_undone {
            let body = decompressed(&header, &batch, UNPACKED_MAX).map_err(broken)?;
            for record in records(&header, &body) {
                let record = record.map_err(broken)?;
                if record.offset < *position {
                    continue;
                }
                if !wanted(&header, &record)? {
                    return Ok(());
                }
                *position = record.offset + 1;
            }
        }
        *position = header.next_offset().max(*position);
    }
    Ok(())
}

/// Tracks aborted transactions while the batches of an answer are read in order. A producer may have many transactions in one
/// answer. Kafka's `CompletedFetch`.
struct Undone {
    /// Producer and first offset of the aborted transactions that have not begun yet, the next one last.
    to_come: Aborted,
    /// Producers whose current transaction is aborted.
    open: Vec<i64>,
}

impl Undone {
    fn new(aborted: &Aborted) -> Self {
        let mut to_come = aborted.clone();
        to_come.sort_unstable_by_key(|(_, first)| Reverse(*first));
        Self {
            to_come,
            open: Vec::new(),
        }
    }

    /// Whether the next batch belongs to an aborted transaction.
    fn has(&mut self, header: &BatchHeader) -> bool {
        while let Some((producer, _)) = self
            .to_come
            .pop_if(|(_, first)| *first <= header.last_offset())
        {
            self.open.push(producer);
        }
        let is_open = |producer: &i64| *producer == header.producer_id;
        let is_undone = header.is_transactional() && self.open.iter().any(is_open);
        if header.is_control() {
            // This is the marker that ends the transaction.
            self.open.retain(|producer| !is_open(producer));
        }
        is_undone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::batch::builder::BatchBuilder;
    use crate::wire::batch::compression::Compression;

    /// Batches of one record at consecutive offsets: the producer, and whether the batch is a marker.
    const BATCHES: [(i64, bool); 9] = [
        (7, false),
        (8, false),
        (7, true),
        (7, false),
        (7, true),
        (7, false),
        (8, true),
        (7, true),
        (7, false),
    ];

    /// The offsets printed if these transactions (by producer and first offset) were aborted.
    fn shown(aborted: &[(i64, i64)]) -> Vec<i64> {
        let mut bytes = Vec::new();
        for (offset, (producer, is_marker)) in (0..).zip(BATCHES) {
            let batch = BatchBuilder::new(Compression::None)
                .at(offset, 0)
                .producer(producer, 0, 0)
                .transactional();
            let mut batch = if is_marker { batch.control() } else { batch };
            batch.push(0, None, None);
            bytes.extend_from_slice(&batch.build());
        }
        let mut shown = Vec::new();
        let mut position = 0;
        each_record(
            &bytes.into(),
            &mut position,
            &aborted.to_vec(),
            |_, record| {
                shown.push(record.offset);
                Ok(true)
            },
        )
        .unwrap();
        assert_eq!(position, BATCHES.len() as i64);
        shown
    }

    #[test]
    fn each_aborted_transaction_of_a_producer_is_left_out_and_no_other() {
        assert_eq!(shown(&[]), [0, 1, 3, 5, 8]);
        assert_eq!(shown(&[(8, 1)]), [0, 3, 5, 8]);
        assert_eq!(shown(&[(7, 0), (7, 5)]), [1, 3, 8]);
        assert_eq!(shown(&[(7, 8), (7, 3)]), [0, 1, 5]);
    }
}
