//! `kafka-consumer-perf-test`. Kafka's `ConsumerPerformance`.
//!
//! It does not join a group, so the time of rebalances is 0. Times are printed in UTC.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::{MB, per_second};
use crate::base::time::Timestamp;
use crate::cli::admin::client::{Cluster, Connection, Failure, run as run_work};
use crate::cli::admin::console::{Fetching, counted, fetch, matching, topic};
use crate::cli::admin::groups::Partition;
use crate::host::clock::Clock;

/// Read records and print the throughput
#[derive(Args, Debug)]
#[command(after_help = "Example:
  monedula consumer-perf-test --bootstrap-server localhost:9092 --topic t --num-records 1000000")]
#[group(skip)]
pub struct ConsumerPerfTest {
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
    /// How many records to read
    #[arg(long, value_name = "COUNT", required_unless_present = "messages")]
    num_records: Option<u64>,
    /// What `--num-records` was called before Kafka 4.2
    #[arg(
        long,
        value_name = "COUNT",
        hide = true,
        conflicts_with = "num_records"
    )]
    messages: Option<u64>,
    /// End when no record comes within this time
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    timeout: u64,
    /// Begin at the end
    #[arg(long)]
    from_latest: bool,
    /// The bytes to ask of a partition at once
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(i32).range(1..))]
    fetch_size: i32,
    /// Print a line for each reporting interval
    #[arg(long)]
    show_detailed_stats: bool,
    /// How often to print the progress
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    reporting_interval: u64,
    /// Leave the line of titles out
    #[arg(long)]
    hide_header: bool,
    /// Taken for the sake of Kafka's tool; no group is joined
    #[arg(long, hide = true)]
    group: Option<String>,
    #[arg(long, hide = true)]
    print_metrics: bool,
    #[arg(long, hide = true)]
    socket_buffer_size: Option<u64>,
    #[arg(long, hide = true)]
    date_format: Option<String>,
    #[arg(long, hide = true, alias = "consumer-property")]
    command_property: Vec<String>,
}

const FETCH_WAIT: Duration = Duration::from_millis(500);

impl ConsumerPerfTest {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            if self.messages.is_some() {
                println!("Warning: --messages is deprecated. Use --num-records instead.");
            }
            let cluster = self.connection.connect().await?;
            if !self.hide_header {
                println!("{}", self.header());
            }
            self.read(&cluster).await
        })
    }

    fn header(&self) -> &'static str {
        match self.show_detailed_stats {
            false => {
                "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"
            }
            true => {
                "time, threadId, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"
            }
        }
    }

    async fn partitions(&self, cluster: &Cluster) -> Result<Vec<Partition>, Failure> {
        if let Some(include) = &self.include {
            return matching(cluster, include).await;
        }
        let wanted = self.topic.as_deref().unwrap_or_default();
        let found = topic(cluster, wanted, true).await?;
        let indexes = found.partitions.iter().map(|one| one.partition_index);
        Ok(indexes.map(|index| (wanted.to_owned(), index)).collect())
    }

    async fn read(&self, cluster: &Cluster) -> Result<(), Failure> {
        let (began, started) = (Clock::default().now(), Instant::now());
        let partitions = self.partitions(cluster).await?;
        let from = if self.from_latest { -1 } else { -2 };
        let mut positions: BTreeMap<Partition, i64> = cluster.offsets(&partitions, from).await?;
        let leaders = cluster.leaders(&partitions).await?;
        let fetching = Fetching {
            committed: false,
            wait: FETCH_WAIT.min(Duration::from_millis(self.timeout.max(1))),
            partition_bytes_max: self.fetch_size,
        };
        let (mut bytes, mut records) = (0_u64, 0_u64);
        let mut heard = Instant::now();
        let mut reported = Reported {
            at: Instant::now(),
            bytes: 0,
            records: 0,
        };
        let wanted = self.num_records.or(self.messages).unwrap_or_default();
        'reading: while records < wanted {
            for (leader, partitions) in &leaders {
                for (partition, batches, _) in
                    fetch(leader, partitions, &positions, &fetching).await?
                {
                    let Some(position) = positions.get_mut(&partition) else {
                        continue;
                    };
                    let (more, size) = counted(&batches, position)?;
                    records += more;
                    bytes += size;
                    if more > 0 {
                        heard = Instant::now();
                    }
                    if self.show_detailed_stats
                        && reported.at.elapsed() >= Duration::from_millis(self.reporting_interval)
                    {
                        reported.print(bytes, records);
                    }
                    if records >= wanted {
                        break 'reading;
                    }
                }
            }
            if heard.elapsed() >= Duration::from_millis(self.timeout) {
                println!(
                    "WARNING: Exiting before consuming the expected number of records: timeout ({} ms) exceeded. You can use the --timeout option to increase the timeout.",
                    self.timeout
                );
                break;
            }
        }
        if !self.show_detailed_stats {
            let ms = started.elapsed().as_millis() as f64;
            let megabytes = bytes as f64 / MB;
            let (fast, many) = (per_second(megabytes, ms), per_second(records as f64, ms));
            println!(
                "{}, {}, {megabytes:.4}, {fast:.4}, {records}, {many:.4}, 0, {ms}, {fast:.4}, {many:.4}",
                date(began),
                date(Clock::default().now())
            );
        }
        Ok(())
    }
}

struct Reported {
    at: Instant,
    bytes: u64,
    records: u64,
}

impl Reported {
    fn print(&mut self, bytes: u64, records: u64) {
        let ms = self.at.elapsed().as_millis() as f64;
        let fast = per_second((bytes - self.bytes) as f64 / MB, ms);
        let many = per_second((records - self.records) as f64, ms);
        println!(
            "{}, 0, {:.4}, {fast:.4}, {records}, {many:.4}, 0, {ms}, {fast:.4}, {many:.4}",
            date(Clock::default().now()),
            bytes as f64 / MB,
        );
        *self = Self {
            at: Instant::now(),
            bytes,
            records,
        };
    }
}

/// A time in the format `yyyy-MM-dd HH:mm:ss:SSS`.
fn date(time: Timestamp) -> String {
    let (days, ms) = (time.div_euclid(86_400_000), time.rem_euclid(86_400_000));
    // Years begin in March here, so that the leap day is the last day of a year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}:{:03}",
        ms / 3_600_000,
        ms / 60_000 % 60,
        ms / 1000 % 60,
        ms % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_kafkas_tool_prints_them() {
        assert_eq!(date(0), "1970-01-01 00:00:00:000");
        assert_eq!(date(1_709_210_096_789), "2024-02-29 12:34:56:789");
        assert_eq!(date(4_102_444_799_999), "2099-12-31 23:59:59:999");
        assert_eq!(date(-1), "1969-12-31 23:59:59:999");
    }
}
