//! `kafka-producer-perf-test`. Kafka's `ProducerPerformance`.
//!
//! As in Kafka's producer with default settings, records of a partition are collected until a batch is full or they have waited
//! for `linger.ms`, batches go to the partitions in turn, and up to five requests per connection may be unanswered. There is no
//! idempotence: nothing is sent twice.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{MB, per_second};
use crate::base::plain::Plain;
use crate::cli::admin::client::{self, Connection, Failure, WITHIN, run as run_work};
use crate::cli::admin::console::{compression, property, topic};
use crate::cli::admin::security::file_property;
use crate::host::clock::Clock;
use crate::peer::channel::Channel;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::compression::Compression;
use crate::wire::codec::Records;
use crate::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

/// Send records and print throughput and latency
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula producer-perf-test --bootstrap-server localhost:9092 --topic t --num-records 1000000 --record-size 100 --throughput -1
  monedula producer-perf-test --topic t --num-records 1000 --record-size 100 --throughput 100 \\
    --producer-props bootstrap.servers=localhost:9092 acks=1")]
#[group(skip)]
pub struct ProducerPerfTest {
    #[command(flatten)]
    connection: Connection,
    /// The topic
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// How many records to send
    #[arg(long, value_name = "COUNT")]
    num_records: u64,
    /// How many records to send in a second at most; -1 for no limit
    #[arg(long, value_name = "RECORDS")]
    throughput: f64,
    /// The bytes of each record
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["payload_file", "payload_monotonic"],
        required_unless_present_any = ["payload_file", "payload_monotonic"])]
    record_size: Option<usize>,
    /// A file from whose lines the records are drawn at random
    #[arg(long, value_name = "FILE", conflicts_with = "payload_monotonic")]
    payload_file: Option<PathBuf>,
    /// What stands between records of the file
    #[arg(long, value_name = "TEXT", default_value = "\\n")]
    payload_delimiter: String,
    /// Let each record be its number
    #[arg(long)]
    payload_monotonic: bool,
    /// Settings of the producer: bootstrap.servers, acks, compression.type, batch.size, linger.ms
    #[arg(long, value_name = "NAME=VALUE", num_args = 1.., alias = "producer-props")]
    command_property: Vec<String>,
    /// How often to print the progress
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    reporting_interval: u64,
    /// Taken for the sake of Kafka's tool; there are no metrics
    #[arg(long, hide = true)]
    print_metrics: bool,
}

/// Defaults of Kafka's producer.
const BATCH_SIZE: usize = 16 << 10;
const LINGER: Duration = Duration::from_millis(5);
const IN_FLIGHT_MAX: usize = 5;
/// Limit of `batch.size` in bytes: far above the largest batch that a broker accepts by default.
const BATCH_SIZE_MAX: usize = 100 << 20;
/// Limit of the latencies that are kept; of more records, only some are sampled.
const SAMPLES_MAX: u64 = 500_000;
/// Newest version of Produce that names topics instead of giving their ids.
const PRODUCE_BY_NAME: i16 = 12;
/// Limit of the size of a random record in bytes; the broker's own limit is lower.
const RECORD_SIZE_MAX: usize = 1 << 30;

impl ProducerPerfTest {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let payload = Payload::new(self)?;
            let mut connection = self.connection.clone();
            if connection.bootstrap_server.is_none() {
                connection.bootstrap_server = self.setting("bootstrap.servers")?;
            }
            let cluster = connection.connect().await?;
            let found = topic(&cluster, &self.topic, true).await?;
            let all: Vec<_> = found
                .partitions
                .iter()
                .map(|partition| (self.topic.clone(), partition.partition_index))
                .collect();
            let mut leaders = BTreeMap::new();
            for (leader, partitions) in cluster.leaders(&all).await? {
                let leader = Arc::new(Leader {
                    channel: leader,
                    room: Semaphore::new(IN_FLIGHT_MAX),
                });
                for (_, index) in partitions {
                    leaders.insert(index, Arc::clone(&leader));
                }
            }
            let acks = match self.setting("acks")?.as_deref() {
                None | Some("all" | "-1") => -1,
                // Without answers latency could not be measured, so acks=0 is sent as 1.
                Some("0" | "1") => 1,
                Some(other) => return Err(format!("{other}: acks are 0, 1 or all").into()),
            };
            let number = |name: &str, default: usize| -> Result<usize, Failure> {
                match self.setting(name)? {
                    None => Ok(default),
                    Some(text) => Ok(text
                        .parse()
                        .map_err(|_| format!("{name}={text} is not a number"))?),
                }
            };
            let run = Run {
                topic: self.topic.clone(),
                leaders: leaders.into_iter().collect(),
                acks,
                compression: compression(self.setting("compression.type")?.as_deref())?,
                batch_size: number("batch.size", BATCH_SIZE)?.clamp(1, BATCH_SIZE_MAX),
                linger: Duration::from_millis(
                    number("linger.ms", LINGER.as_millis() as usize)? as u64
                ),
                stats: Mutex::new(Stats::new(self.num_records, self.reporting_interval)),
            };
            Arc::new(run).send(self, payload).await
        })
    }

    /// A setting of the producer, from an option or the file.
    fn setting(&self, name: &str) -> Result<Option<String>, Failure> {
        match property(&self.command_property, name) {
            Some(value) => Ok(Some(value.to_owned())),
            None => file_property(self.connection.command_config.as_deref(), name),
        }
    }
}

/// A broker with a limit of its unanswered requests.
struct Leader {
    channel: Channel,
    room: Semaphore,
}

struct Run {
    topic: String,
    leaders: Vec<(i32, Arc<Leader>)>,
    acks: i16,
    compression: Compression,
    batch_size: usize,
    linger: Duration,
    stats: Mutex<Stats>,
}

/// Records that are collected for one request.
struct Open {
    batch: BatchBuilder,
    created: Vec<Instant>,
    bytes: usize,
}

impl Run {
    async fn send(
        self: Arc<Self>,
        options: &ProducerPerfTest,
        mut payload: Payload,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let mut open: Option<Open> = None;
        let mut turn = 0;
        let mut requests: JoinSet<Result<(), Failure>> = JoinSet::new();
        for number in 0..options.num_records {
            if options.throughput > 0.0 {
                let due = started + Duration::from_secs_f64(number as f64 / options.throughput);
                let first = open.as_ref().and_then(|open| open.created.first().copied());
                if first.is_some_and(|first| due > first + self.linger) {
                    tokio::time::sleep_until(
                        first.map_or(due, |first| first + self.linger).min(due),
                    )
                    .await;
                    self.dispatch(&mut open, &mut turn, &mut requests).await?;
                }
                tokio::time::sleep_until(due).await;
            }
            let value = payload.next(number);
            let size = value.len();
            let full = open
                .as_ref()
                .is_some_and(|open| open.batch.size() + size > self.batch_size);
            if full {
                self.dispatch(&mut open, &mut turn, &mut requests).await?;
            }
            let open = open.get_or_insert_with(|| Open {
                batch: BatchBuilder::new(self.compression),
                created: Vec::new(),
                bytes: 0,
            });
            open.batch.push(Clock::default().now(), None, Some(value));
            open.created.push(Instant::now());
            open.bytes += size;
        }
        self.dispatch(&mut open, &mut turn, &mut requests).await?;
        while let Some(done) = requests.join_next().await {
            done.map_err(|error| error.to_string())??;
        }
        self.stats.lock().print_total(started.elapsed());
        Ok(())
    }

    /// Sends the collected records once their leader may get another request.
    async fn dispatch(
        self: &Arc<Self>,
        open: &mut Option<Open>,
        turn: &mut usize,
        requests: &mut JoinSet<Result<(), Failure>>,
    ) -> Result<(), Failure> {
        // Answers that arrived meanwhile are checked; a failure ends the test.
        while let Some(done) = requests.try_join_next() {
            done.map_err(|error| error.to_string())??;
        }
        let Some(Open {
            batch,
            created,
            bytes,
        }) = open.take()
        else {
            return Ok(());
        };
        let Some((index, leader)) = self.leaders.get(*turn % self.leaders.len().max(1)).cloned()
        else {
            return Err("the topic has no partition".into());
        };
        *turn += 1;
        let permit = leader.room.acquire().await;
        permit.map_err(|error| error.to_string())?.forget();
        let run = Arc::clone(self);
        let request = ProduceRequest {
            acks: self.acks,
            timeout_ms: WITHIN.as_millis() as i32,
            topic_data: vec![TopicProduceData {
                name: self.topic.as_str().into(),
                partition_data: vec![PartitionProduceData {
                    index,
                    records: Some(Records::Bytes(batch.build())),
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        requests.spawn(async move {
            let answer = leader
                .channel
                .call_up_to(&request, PRODUCE_BY_NAME, WITHIN)
                .await;
            leader.room.add_permits(1);
            let answers = answer?.responses.into_iter();
            let mut partitions = answers.flat_map(|topic| topic.partition_responses);
            if let Some(refused) = partitions.find(|partition| partition.error_code != 0) {
                let why = client::text(refused.error_code, refused.error_message.as_deref());
                return Err(format!("{}-{index}: {why}", run.topic).into());
            }
            run.stats.lock().add(&created, bytes);
            Ok(())
        });
        tokio::task::yield_now().await;
        Ok(())
    }
}

/// Acknowledged records, in total and since the last report.
struct Stats {
    total: Window,
    window: Window,
    window_since: Instant,
    report_every: Duration,
    /// Latencies in milliseconds of one record out of `sampled_of`.
    latencies: Vec<u32>,
    sampled_of: u64,
}

#[derive(Default)]
struct Window {
    records: u64,
    bytes: u64,
    latency_sum: u64,
    latency_max: u64,
}

impl Window {
    /// The rate with `digits` digits; as in Kafka's tool, the last line has more digits.
    fn text(&self, ms: f64, digits: usize) -> String {
        format!(
            "{} records sent, {:.digits$} records/sec ({:.2} MB/sec)",
            self.records,
            per_second(self.records as f64, ms),
            per_second(self.bytes as f64, ms) / MB,
        )
    }

    fn average(&self) -> f64 {
        self.latency_sum as f64 / (self.records as f64).max(1.0)
    }
}

impl Stats {
    fn new(records: u64, reporting_interval_ms: u64) -> Self {
        Self {
            total: Window::default(),
            window: Window::default(),
            window_since: Instant::now(),
            report_every: Duration::from_millis(reporting_interval_ms),
            latencies: Vec::new(),
            sampled_of: records.div_ceil(SAMPLES_MAX).max(1),
        }
    }

    /// Counts an acknowledged batch of `bytes` bytes, whose records were created at these moments.
    fn add(&mut self, created: &[Instant], bytes: usize) {
        for window in [&mut self.total, &mut self.window] {
            window.bytes += bytes as u64;
        }
        for moment in created {
            let latency = moment.elapsed().as_millis() as u64;
            if self.total.records.is_multiple_of(self.sampled_of) {
                self.latencies.push(latency as u32);
            }
            for window in [&mut self.total, &mut self.window] {
                window.records += 1;
                window.latency_sum += latency;
                window.latency_max = window.latency_max.max(latency);
            }
        }
        let since = self.window_since.elapsed();
        if since >= self.report_every {
            println!(
                "{}, {:.1} ms avg latency, {:.1} ms max latency.",
                self.window.text(since.as_secs_f64() * 1000.0, 1),
                self.window.average(),
                self.window.latency_max as f64
            );
            self.window = Window::default();
            self.window_since = Instant::now();
        }
    }

    fn print_total(&mut self, elapsed: Duration) {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let index = (self.latencies.len() as f64 * share) as usize;
            self.latencies.get(index).copied().unwrap_or(0)
        };
        println!(
            "{}, {:.2} ms avg latency, {:.2} ms max latency, {} ms 50th, {} ms 95th, {} ms 99th, {} ms 99.9th.",
            self.total.text(elapsed.as_secs_f64() * 1000.0, 6),
            self.total.average(),
            self.total.latency_max as f64,
            at(0.5),
            at(0.95),
            at(0.99),
            at(0.999)
        );
    }
}

/// Source of the records.
enum Payload {
    Random { letters: Vec<u8>, chance: Chance },
    Lines { lines: Vec<Vec<u8>>, chance: Chance },
    Number(Vec<u8>),
}

impl Payload {
    fn new(options: &ProducerPerfTest) -> Result<Self, Failure> {
        let chance = Chance(0);
        if let Some(path) = &options.payload_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {}", path.display(), Plain(&error)))?;
            let delimiter = options.payload_delimiter.replace("\\n", "\n");
            let lines: Vec<Vec<u8>> = text
                .split(&delimiter)
                .filter(|line| !line.is_empty())
                .map(|line| line.as_bytes().to_vec())
                .collect();
            if lines.is_empty() {
                return Err(format!("{} has no records", path.display()).into());
            }
            return Ok(Self::Lines { lines, chance });
        }
        if options.payload_monotonic {
            return Ok(Self::Number(Vec::new()));
        }
        let size = options.record_size.unwrap_or_default();
        if size == 0 || size > RECORD_SIZE_MAX {
            return Err("--record-size should be greater than zero".into());
        }
        Ok(Self::Random {
            letters: vec![0; size],
            chance,
        })
    }

    fn next(&mut self, number: u64) -> &[u8] {
        match self {
            Self::Random { letters, chance } => {
                for letter in letters.iter_mut() {
                    *letter = b'A' + (chance.next() % 26) as u8;
                }
                letters
            }
            Self::Lines { lines, chance } => {
                let index = chance.next() as usize % lines.len();
                lines.get(index).map_or(&[], Vec::as_slice)
            }
            Self::Number(text) => {
                *text = number.to_string().into_bytes();
                text
            }
        }
    }
}

/// Random numbers that are the same in every run, as in Kafka's tool.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}
