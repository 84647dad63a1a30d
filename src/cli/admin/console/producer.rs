//! `kafka-console-producer`: sends lines of the standard input as records. Kafka's `ConsoleProducer`.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::lines::{Line, Lines};
use super::{property, topic};
use crate::cli::admin::client::{self, Cluster, Connection, Failure, WITHIN, run as run_work};
use crate::host::clock::Clock;
use crate::peer::channel::Channel;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::compression::Compression;
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

/// Send each line of the standard input as a record
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  echo hello | monedula console-producer --bootstrap-server localhost:9092 --topic orders
  echo key:value | monedula console-producer --bootstrap-server localhost:9092 --topic orders \\
    --reader-property parse.key=true --reader-property key.separator=:")]
#[group(skip)]
pub struct ConsoleProducer {
    #[command(flatten)]
    connection: Connection,
    /// The topic
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// How lines are read: parse.key, key.separator, parse.headers, headers.delimiter, headers.separator,
    /// headers.key.separator, null.marker, ignore.error
    #[arg(long, value_name = "NAME=VALUE", alias = "property")]
    pub(super) reader_property: Vec<String>,
    /// Settings of the producer: acks, compression.type
    #[arg(long, value_name = "NAME=VALUE", alias = "producer-property")]
    command_property: Vec<String>,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(long, value_name = "CODEC", num_args = 0..=1, default_missing_value = "gzip")]
    compression_codec: Option<String>,
    /// 0, 1 or all
    #[arg(long, value_name = "ACKS")]
    request_required_acks: Option<String>,
    #[command(flatten)]
    unused: Unused,
}

/// How the Java client works inside: there is nothing of the kind here.
#[derive(Args, Debug)]
#[group(skip)]
struct Unused {
    #[arg(long, hide = true)]
    sync: bool,
    #[arg(long, hide = true)]
    request_timeout_ms: Option<String>,
    #[arg(long, hide = true)]
    batch_size: Option<String>,
    #[arg(long, hide = true)]
    timeout: Option<String>,
    #[arg(long, hide = true)]
    max_block_ms: Option<String>,
    #[arg(long, hide = true)]
    max_memory_bytes: Option<String>,
    #[arg(long, hide = true)]
    max_partition_memory_bytes: Option<String>,
    #[arg(long, hide = true)]
    message_send_max_retries: Option<String>,
    #[arg(long, hide = true)]
    metadata_expiry_ms: Option<String>,
    #[arg(long, hide = true)]
    retry_backoff_ms: Option<String>,
    #[arg(long, hide = true)]
    socket_buffer_size: Option<String>,
}

/// Limits of one request: the number of records and their bytes.
const LINES_MAX: usize = 10_000;
const BYTES_MAX: usize = 512 << 10;
/// Newest version of Produce that names topics instead of giving their ids.
const PRODUCE_BY_NAME: i16 = 12;

impl ConsoleProducer {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let cluster = self.connection.connect().await?;
            let reader = Lines::new(&self.reader_property);
            let mut sender = Sender::new(&cluster, self)?;
            let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
            // Reading blocks, so it has its own thread. The channel is bounded so that a fast pipe does not fill the memory.
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
                let records = taken
                    .iter()
                    .map(|line| reader.read(line))
                    .collect::<Result<Vec<_>, _>>()?;
                sender.send(&records).await?;
            }
            Ok(())
        })
    }
}

/// Sends records to the leaders of one topic.
struct Sender<'a> {
    cluster: &'a Cluster,
    topic: String,
    compression: Compression,
    acks: i16,
    found: Option<Found>,
    /// Counter that distributes records without a key over the partitions.
    turn: usize,
}

struct Found {
    partitions: usize,
    leaders: Vec<(Channel, Vec<(String, i32)>)>,
}

impl<'a> Sender<'a> {
    fn new(cluster: &'a Cluster, options: &ConsoleProducer) -> Result<Self, Failure> {
        let said = |key| property(&options.command_property, key);
        let codec = options
            .compression_codec
            .as_deref()
            .or_else(|| said("compression.type"));
        let compression = compression(codec)?;
        let acks = match options
            .request_required_acks
            .as_deref()
            .or_else(|| said("acks"))
        {
            None | Some("all" | "-1") => -1,
            // With acks=0 there is no answer and failures would go unnoticed, so 0 is sent as 1.
            Some("0" | "1") => 1,
            Some(other) => return Err(format!("{other}: acks are 0, 1 or all").into()),
        };
        Ok(Self {
            cluster,
            topic: options.topic.clone(),
            compression,
            acks,
            found: None,
            turn: 0,
        })
    }

    async fn send(&mut self, records: &[Line<'_>]) -> Result<(), Failure> {
        let deadline = Instant::now() + WITHIN;
        loop {
            match self.try_send(records).await {
                Ok(()) => return Ok(()),
                Err(Refused::Again(_)) if Instant::now() < deadline => {
                    self.found = None;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(Refused::Again(failure) | Refused::For(failure)) => return Err(failure),
            }
        }
    }

    /// Sends records. If it returns `Again`, no record was accepted: requests to several leaders are sent one by one, and only
    /// a failure of the first one allows a retry.
    async fn try_send(&mut self, records: &[Line<'_>]) -> Result<(), Refused> {
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
        let now = Clock::default().now();
        let unkeyed = (self.turn % found.partitions) as i32;
        for record in records {
            let partition = record.key.map_or(unkeyed, |key| {
                ((murmur2(key) & 0x7fff_ffff) as usize % found.partitions) as i32
            });
            let batch = batches
                .entry(partition)
                .or_insert_with(|| BatchBuilder::new(self.compression));
            batch.push_with_headers(
                batch.count(),
                now,
                record.key,
                record.value,
                record.headers.iter().copied(),
            );
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
                    client::text(first.error_code, first.error_message.as_deref())
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

/// Compression codec by name; no compression without a name.
pub(in crate::cli::admin) fn compression(codec: Option<&str>) -> Result<Compression, Failure> {
    match codec.unwrap_or("none") {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "snappy" => Ok(Compression::Snappy),
        "lz4" => Ok(Compression::Lz4),
        "zstd" => Ok(Compression::Zstd),
        other => Err(format!("{other}: no such compression").into()),
    }
}

enum Refused {
    Again(Failure),
    For(Failure),
}

/// Murmur2 hash, by which Kafka's clients choose the partition of a key.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected hashes are those in Kafka's `UtilsTest`.
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
}
