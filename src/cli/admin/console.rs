//! `kafka-console-producer` and `kafka-console-consumer`: lines to records and back.
//!
//! With `--group` the consumer begins at the group's offsets and commits to them, but it is no member of the group: it
//! reads every partition, and a group with members refuses its commits.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::client::{Cluster, Failure, WITHIN, name, run as run_work};
use super::groups;
use crate::base::ids::Uuid;
use crate::base::time::Clock;
use crate::cli::options::Takes::{Nothing, Value};
use crate::cli::options::{Options, Takes, parse};
use crate::peer::channel::Channel;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::compression::Compression;
use crate::wire::batch::header::BatchHeader;
use crate::wire::batch::record::{Record, decompressed, records};
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use crate::wire::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponseTopic,
};
use crate::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

const PRODUCER: &[(&str, Takes)] = &[
    ("bootstrap-server", Value),
    ("broker-list", Value),
    ("topic", Value),
    ("property", Value),
    ("reader-property", Value),
    ("producer-property", Value),
    ("command-property", Value),
    ("producer.config", Value),
    ("command-config", Value),
    ("compression-codec", Value),
    ("request-required-acks", Value),
    ("request-timeout-ms", Value),
    ("batch-size", Value),
    ("timeout", Value),
    ("sync", Nothing),
];

const CONSUMER: &[(&str, Takes)] = &[
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
];

/// Records of one request at most, and how long a line waits for others.
const LINES_MAX: usize = 10_000;
const BYTES_MAX: usize = 512 << 10;
/// What a batch may become when it is unpacked.
const UNPACKED_MAX: usize = 256 << 20;
/// The newest versions in which topics have names.
const PRODUCE_BY_NAME: i16 = 12;
const FETCH_BY_NAME: i16 = 12;

/// `key=value` of several options, later ones over earlier ones.
fn property<'a>(options: &'a Options, names: &[&str], key: &str) -> Option<&'a str> {
    names
        .iter()
        .flat_map(|name| options.values(name))
        .flat_map(|text| text.split(','))
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .next_back()
}

/// A topic with leaders for all its partitions, created where the broker does so by itself.
async fn topic(
    cluster: &Cluster,
    wanted: &str,
    create: bool,
) -> Result<MetadataResponseTopic, Failure> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(wanted.into()),
                ..Default::default()
            }]),
            allow_auto_topic_creation: create,
            ..Default::default()
        };
        let found = cluster.call(&request).await?.topics.into_iter().next();
        let Some(found) = found else {
            return Err("the broker does not answer for the topic".into());
        };
        let led = found
            .partitions
            .iter()
            .all(|partition| partition.leader_id >= 0);
        if found.error_code == 0 && led && !found.partitions.is_empty() {
            return Ok(found);
        }
        let retriable = ErrorCode::from_code(found.error_code)
            .is_none_or(|error| !error.is_error() || error.is_retriable());
        if !retriable || Instant::now() > deadline {
            return Err(format!("{wanted}: {}", name(found.error_code)).into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) fn produce(arguments: &[String]) -> ExitCode {
    run_work(async {
        let options = parse(arguments.iter().cloned(), PRODUCER)?;
        let wanted = options.required("topic")?.to_owned();
        let cluster = Cluster::connect(&options).await?;
        let reader = Lines::new(&options)?;
        let mut sender = Sender::new(&cluster, &options, wanted)?;
        let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        // Reading blocks, so it has a thread; the bound keeps a fast pipe from filling the memory.
        let (lines, mut incoming) = tokio::sync::mpsc::channel::<String>(LINES_MAX);
        std::thread::spawn(move || {
            if interactive {
                print!(">");
                drop(std::io::stdout().flush());
            }
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { break };
                if lines.blocking_send(line).is_err() {
                    break;
                }
                if interactive {
                    print!(">");
                    drop(std::io::stdout().flush());
                }
            }
        });
        while let Some(first) = incoming.recv().await {
            let mut size = first.len();
            let mut taken = vec![first];
            while size < BYTES_MAX && taken.len() < LINES_MAX {
                let Ok(line) = incoming.try_recv() else { break };
                size += line.len();
                taken.push(line);
            }
            let pairs = taken
                .iter()
                .map(|line| reader.read(line))
                .collect::<Result<Vec<_>, _>>()?;
            sender.send(&pairs).await?;
        }
        Ok(())
    })
}

/// How a line becomes key and value.
struct Lines {
    key_separator: Option<String>,
    null_marker: Option<String>,
    ignore_error: bool,
}

type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

impl Lines {
    fn new(options: &Options) -> Result<Self, Failure> {
        let said = |key| property(options, &["property", "reader-property"], key);
        if said("parse.headers") == Some("true") {
            return Err("parse.headers is not supported yet".into());
        }
        let parse_key = said("parse.key") == Some("true");
        // A comma cannot be told apart from the one between properties; it is one where nothing follows.
        Ok(Self {
            key_separator: parse_key.then(|| {
                said("key.separator")
                    .filter(|text| !text.is_empty())
                    .unwrap_or("\t")
                    .to_owned()
            }),
            null_marker: said("null.marker").map(str::to_owned),
            ignore_error: said("ignore.error") == Some("true"),
        })
    }

    fn read<'a>(&self, line: &'a str) -> Result<Pair<'a>, Failure> {
        let null =
            |text: &'a str| (self.null_marker.as_deref() != Some(text)).then_some(text.as_bytes());
        let Some(separator) = &self.key_separator else {
            return Ok((None, null(line)));
        };
        match line.split_once(separator.as_str()) {
            Some((key, value)) => Ok((null(key), null(value))),
            None if self.ignore_error => Ok((None, null(line))),
            None => Err(format!("No key separator found on line: '{line}'").into()),
        }
    }
}

/// Sends records to the leaders of one topic.
struct Sender<'a> {
    cluster: &'a Cluster,
    topic: String,
    compression: Compression,
    acks: i16,
    found: Option<Found>,
    /// Where records without a key go, in turn.
    turn: usize,
}

struct Found {
    partitions: usize,
    leaders: Vec<(Channel, Vec<(String, i32)>)>,
}

impl<'a> Sender<'a> {
    fn new(cluster: &'a Cluster, options: &Options, topic: String) -> Result<Self, Failure> {
        let said = |key| property(options, &["producer-property", "command-property"], key);
        let codec = options
            .value("compression-codec")
            .or_else(|| said("compression.type"));
        let compression = match codec.unwrap_or("none") {
            "none" => Compression::None,
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            other => return Err(format!("{other}: no such compression").into()),
        };
        let acks = match options
            .value("request-required-acks")
            .or_else(|| said("acks"))
        {
            None | Some("all" | "-1") => -1,
            // Without an answer a failure could not be told: the leader's word is the least.
            Some("0" | "1") => 1,
            Some(other) => return Err(format!("{other}: acks are 0, 1 or all").into()),
        };
        Ok(Self {
            cluster,
            topic,
            compression,
            acks,
            found: None,
            turn: 0,
        })
    }

    async fn send(&mut self, pairs: &[Pair<'_>]) -> Result<(), Failure> {
        let deadline = Instant::now() + WITHIN;
        loop {
            match self.try_send(pairs).await {
                Ok(()) => return Ok(()),
                Err(Refused::Again(_)) if Instant::now() < deadline => {
                    self.found = None;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(Refused::Again(failure) | Refused::For(failure)) => return Err(failure),
            }
        }
    }

    /// Nothing of `pairs` was taken when this says `Again`: requests to several leaders go out one by one and only the
    /// first may be tried again.
    async fn try_send(&mut self, pairs: &[Pair<'_>]) -> Result<(), Refused> {
        if self.found.is_none() {
            let topic = topic(self.cluster, &self.topic, true)
                .await
                .map_err(Refused::For)?;
            let all: Vec<_> = topic
                .partitions
                .iter()
                .map(|partition| (self.topic.clone(), partition.partition_index))
                .collect();
            let leaders = self.cluster.leaders(&all).await.map_err(Refused::Again)?;
            self.found = Some(Found {
                partitions: all.len(),
                leaders,
            });
        }
        let Some(found) = &self.found else {
            return Err(Refused::For("no leaders".into()));
        };
        let mut batches: BTreeMap<i32, BatchBuilder> = BTreeMap::new();
        let now = Clock.now();
        let unkeyed = (self.turn % found.partitions) as i32;
        for (key, value) in pairs {
            let partition = key.map_or(unkeyed, |key| {
                ((murmur2(key) & 0x7fff_ffff) as usize % found.partitions) as i32
            });
            batches
                .entry(partition)
                .or_insert_with(|| BatchBuilder::new(self.compression))
                .push(now, *key, *value);
        }
        let mut sent_before = false;
        for (leader, partitions) in &found.leaders {
            let data: Vec<PartitionProduceData> = partitions
                .iter()
                .filter_map(|(_, index)| Some((*index, batches.remove(index)?)))
                .map(|(index, batch)| PartitionProduceData {
                    index,
                    records: Some(Records::Bytes(batch.build())),
                })
                .collect();
            if data.is_empty() {
                continue;
            }
            let request = ProduceRequest {
                acks: self.acks,
                timeout_ms: WITHIN.as_millis() as i32,
                topic_data: vec![TopicProduceData {
                    name: self.topic.as_str().into(),
                    partition_data: data,
                    ..Default::default()
                }],
                ..Default::default()
            };
            let answer = leader
                .call_up_to(&request, PRODUCE_BY_NAME, WITHIN)
                .await
                .map_err(|error| Refused::For(error.into()))?;
            let answers = answer
                .responses
                .into_iter()
                .flat_map(|topic| topic.partition_responses);
            let refused: Vec<_> = answers
                .filter(|partition| partition.error_code != 0)
                .collect();
            if let Some(first) = refused.first() {
                let failure = Failure(format!(
                    "Error when sending message to topic {}: {}",
                    self.topic,
                    super::client::text(first.error_code, first.error_message.as_deref())
                ));
                let retriable =
                    ErrorCode::from_code(first.error_code).is_some_and(ErrorCode::is_retriable);
                let alone = refused.len()
                    == request
                        .topic_data
                        .iter()
                        .map(|topic| topic.partition_data.len())
                        .sum::<usize>();
                return Err(if retriable && alone && !sent_before {
                    Refused::Again(failure)
                } else {
                    Refused::For(failure)
                });
            }
            sent_before = true;
        }
        self.turn += 1;
        Ok(())
    }
}

enum Refused {
    Again(Failure),
    For(Failure),
}

/// The hash by which Kafka's clients choose a partition for a key.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ bytes.len() as u32;
    let mut chunks = bytes.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = chunk
            .iter()
            .rev()
            .fold(0, |word, byte| (word << 8) | u32::from(*byte));
        word = word.wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        hash ^= rest
            .iter()
            .rev()
            .fold(0, |word, byte| (word << 8) | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

pub(super) fn consume(arguments: &[String]) -> ExitCode {
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
    let format = Format::new(options);
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
        groups::commit(&coordinator, group, &positions).await?;
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
                format
                    .write(&mut out, partition, &record, header.is_log_append_time())
                    .map_err(|error| error.to_string())?;
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

/// Kafka's `DefaultMessageFormatter`.
struct Format {
    timestamp: bool,
    partition: bool,
    offset: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: String,
    line_separator: String,
    headers_separator: String,
    null: String,
}

impl Format {
    fn new(options: &Options) -> Self {
        let said = |key| property(options, &["property", "formatter-property"], key);
        let is = |key, default: bool| {
            said(key).map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
        };
        let text = |key, default: &str| said(key).unwrap_or(default).to_owned();
        Self {
            timestamp: is("print.timestamp", false),
            partition: is("print.partition", false),
            offset: is("print.offset", false),
            headers: is("print.headers", false),
            key: is("print.key", false),
            value: is("print.value", true),
            key_separator: text("key.separator", "\t"),
            line_separator: text("line.separator", "\n"),
            headers_separator: text("headers.separator", ","),
            null: text("null.literal", "null"),
        }
    }

    fn write(
        &self,
        out: &mut impl Write,
        partition: i32,
        record: &Record<'_>,
        append_time: bool,
    ) -> std::io::Result<()> {
        let null = self.null.as_bytes();
        let mut columns: Vec<Vec<u8>> = Vec::new();
        if self.timestamp {
            let kind = if append_time {
                "LogAppendTime"
            } else {
                "CreateTime"
            };
            columns.push(format!("{kind}:{}", record.timestamp).into());
        }
        if self.partition {
            columns.push(format!("Partition:{partition}").into());
        }
        if self.offset {
            columns.push(format!("Offset:{}", record.offset).into());
        }
        if self.headers {
            let pairs: Vec<Vec<u8>> = record
                .headers()
                .map(|(key, value)| [key, b":", value.unwrap_or(null)].concat())
                .collect();
            columns.push(if pairs.is_empty() {
                b"NO_HEADERS".to_vec()
            } else {
                pairs.join(self.headers_separator.as_bytes())
            });
        }
        if self.key {
            columns.push(record.key.unwrap_or(null).to_vec());
        }
        if self.value {
            columns.push(record.value.unwrap_or(null).to_vec());
        }
        out.write_all(&columns.join(self.key_separator.as_bytes()))?;
        out.write_all(self.line_separator.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes that Kafka's own `UtilsTest` states.
    #[test]
    fn keys_hash_as_in_kafkas_clients() {
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn a_line_is_a_value_or_a_key_and_a_value() {
        let check = |options: &str, line: &str, expected: &str| {
            let options = parse(options.split_whitespace().map(str::to_owned), PRODUCER).unwrap();
            let lines = Lines::new(&options).unwrap();
            let shown = match lines.read(line) {
                Ok((key, value)) => format!(
                    "{:?} {:?}",
                    key.map(String::from_utf8_lossy),
                    value.map(String::from_utf8_lossy)
                ),
                Err(Failure(text)) => text,
            };
            assert_eq!(shown, expected);
        };
        check("", "a:b", "None Some(\"a:b\")");
        check(
            "--property parse.key=true --property key.separator=:",
            "a:b:c",
            "Some(\"a\") Some(\"b:c\")",
        );
        check(
            "--property parse.key=true",
            "a\tb",
            "Some(\"a\") Some(\"b\")",
        );
        check(
            "--property parse.key=true",
            "ab",
            "No key separator found on line: 'ab'",
        );
        check(
            "--property parse.key=true --property key.separator=: --property null.marker=-",
            "a:-",
            "Some(\"a\") None",
        );
    }
}
