//! `GET /metrics`: metrics of a node in the format of Prometheus. Their names are those that common rules of the JMX exporter
//! give to Apache Kafka's MBeans, and those of kafka_exporter for the lag of groups.
//!
//! The page is sent while it is made. `?partitions=false` omits the metrics of single partitions.

mod cluster;
mod groups;
mod partitions;

use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::exposition::Kind::{Counter, Gauge};
use super::exposition::{Exposition, Label};
use super::{PATIENCE, farewell};
use crate::api::services::Services;
use crate::api::table;
use crate::host::process;
use crate::host::socket::Socket;
use crate::host::threads::Threads;
use crate::quota::limits::Kind;
use crate::quota::quotas::Figure;
use crate::telemetry::histogram::Histogram;
use crate::telemetry::meters::{self, ApiMeter, ListenerMeter, TopicCounts};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
/// Size in bytes from which on the text is sent.
const PIECE: usize = 16 << 10;
/// Quantiles of request times.
const QUANTILES: [f64; 6] = [0.5, 0.75, 0.95, 0.98, 0.99, 0.999];
const QUANTILE_NAMES: [&str; 6] = ["0.50", "0.75", "0.95", "0.98", "0.99", "0.999"];
/// Shortest period over which the idle share of the workers is measured.
const IDLE_WITHIN: Duration = Duration::from_secs(1);
/// Value of Kafka's `kafka.server:type=KafkaServer,name=BrokerState` for a running broker.
const RUNNING: i8 = 3;

/// Parameters of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    partitions: bool,
}

impl Wanted {
    /// Reads the parameters of a request.
    ///
    /// Errors: an unknown parameter.
    pub(super) fn of(query: &[(String, String)]) -> Result<Self, String> {
        let mut wanted = Self { partitions: true };
        for (name, value) in query {
            match (&**name, &**value) {
                ("partitions", "true") => wanted.partitions = true,
                ("partitions", "false") => wanted.partitions = false,
                _ => {
                    return Err(format!(
                        "{name}={value} is unknown; there is partitions=false"
                    ));
                }
            }
        }
        Ok(wanted)
    }
}

/// Last measurement of the runtime's workers.
#[derive(Debug)]
pub(super) struct Workers {
    last: Mutex<Looked>,
}

#[derive(Clone, Copy, Debug)]
struct Looked {
    at: Instant,
    busy: Duration,
    idle: f64,
}

impl Workers {
    pub(super) fn new() -> Self {
        let looked = Looked {
            at: Instant::now(),
            busy: Duration::ZERO,
            idle: 1.0,
        };
        Self {
            last: Mutex::new(looked),
        }
    }

    /// Share of the time since the last measurement in which the workers were idle.
    fn idle(&self, threads: &Threads) -> f64 {
        let workers = threads.runtime().metrics();
        let count = workers.num_workers();
        let busy = (0..count).map(|worker| workers.worker_total_busy_duration(worker));
        let busy: Duration = busy.sum();
        let mut last = self.last.lock();
        let elapsed = last.at.elapsed();
        if elapsed >= IDLE_WITHIN {
            let share = busy.saturating_sub(last.busy).as_secs_f64()
                / (elapsed.as_secs_f64() * count.max(1) as f64);
            *last = Looked {
                at: Instant::now(),
                busy,
                idle: (1.0 - share).clamp(0.0, 1.0),
            };
        }
        last.idle
    }
}

/// Page that is sent while it is made.
struct Page<'a> {
    stream: &'a mut Socket,
    /// Called when the client has taken a piece.
    progress: &'a (dyn Fn() + Sync),
    text: Exposition,
}

impl Page<'_> {
    /// Sends the text if it is large enough for a piece.
    async fn turn(&mut self) -> io::Result<()> {
        if self.text.len() >= PIECE {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> io::Result<()> {
        let text = self.text.take();
        if !text.is_empty() {
            let piece = format!("{:x}\r\n{text}\r\n", text.len());
            timeout(PATIENCE, self.stream.write_all(piece.as_bytes())).await??;
            (self.progress)();
        }
        tokio::task::yield_now().await;
        Ok(())
    }
}

/// Sends the whole page.
pub(super) async fn respond(
    stream: &mut Socket,
    services: &Services,
    workers: &Workers,
    wanted: Wanted,
    has_body: bool,
    progress: &(dyn Fn() + Sync),
) -> io::Result<()> {
    timeout(PATIENCE, stream.write_all(HEAD.as_bytes())).await??;
    if has_body {
        let mut page = Page {
            stream,
            progress,
            text: Exposition::default(),
        };
        let image = services.image.load();
        process(&mut page.text, workers.idle(&services.host.threads));
        memory(&mut page.text, services);
        connections(&mut page.text, services);
        requests(&mut page, services).await?;
        quotas(&mut page, services).await?;
        topics(&mut page, services).await?;
        cluster::tell(&mut page, services, &image).await?;
        if wanted.partitions {
            partitions::tell(&mut page, services, &image).await?;
        }
        groups::tell(&mut page, services, wanted.partitions).await?;
        page.send().await?;
        timeout(PATIENCE, stream.write_all(b"0\r\n\r\n")).await??;
    }
    farewell(stream).await
}

/// Writes metrics of the process. `idle` is the share of the time in which the workers were idle.
fn process(text: &mut Exposition, idle: f64) {
    let usage = process::usage();
    text.family(
        "process_cpu_seconds_total",
        Counter,
        "User and system time of the process, in seconds.",
    )
    .sample(&[], usage.cpu.as_secs_f64());
    let figures = [
        (
            "process_resident_memory_bytes",
            usage.resident_bytes,
            "Memory of the process that is in use.",
        ),
        (
            "process_open_fds",
            usage.open_files,
            "Open file descriptors.",
        ),
        (
            "process_start_time_seconds",
            usage.started_seconds,
            "When the process started, in seconds since 1970.",
        ),
    ];
    for (name, value, help) in figures {
        if let Some(value) = value {
            text.family(name, Gauge, help).sample(&[], value);
        }
    }
    text.family(
        "kafka_server_kafkaserver_brokerstate",
        Gauge,
        "State of the broker: 3 while it serves.",
    )
    .sample(&[], RUNNING);
    text.family("kafka_server_app_info", Gauge, "Version of the broker.")
        .sample(&[("version", &env!("CARGO_PKG_VERSION"))], 1);
    for name in [
        "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
        "kafka_network_socketserver_networkprocessoravgidle_percent",
    ] {
        let help =
            "Part of the time in which the threads that serve clients were idle, from 0 to 1.";
        text.family(name, Gauge, help).sample(&[], idle);
    }
}

fn memory(text: &mut Exposition, services: &Services) {
    text.family(
        "monedula_memory_held_bytes",
        Gauge,
        "Memory that clients cause, by what it is held for.",
    );
    for (purpose, bytes) in services.memory.figures() {
        text.sample(&[("purpose", &purpose)], bytes);
    }
    text.family(
        "monedula_memory_limit_bytes",
        Gauge,
        "Memory for requests and answers of all connections (queued.max.request.bytes).",
    )
    .sample(&[], services.memory.limit());
}

fn connections(text: &mut Exposition, services: &Services) {
    type Figure = fn(&ListenerMeter) -> u64;
    let figures: [(&'static str, _, Figure, &str); 4] = [
        (
            "kafka_server_socket_server_metrics_connection_count",
            Gauge,
            |meter| meter.opened.get().saturating_sub(meter.closed.get()),
            "Open connections.",
        ),
        (
            "kafka_server_socket_server_metrics_connection_creation_total",
            Counter,
            |meter| meter.opened.get(),
            "Connections that were accepted.",
        ),
        (
            "kafka_server_socket_server_metrics_successful_authentication_total",
            Counter,
            |meter| meter.authenticated.get(),
            "Logins, and TLS handshakes of listeners without SASL, that ended well.",
        ),
        (
            "kafka_server_socket_server_metrics_failed_authentication_total",
            Counter,
            |meter| meter.refused.get(),
            "Logins and TLS handshakes that failed.",
        ),
    ];
    let listeners = services.meters().listeners();
    for (name, kind, figure, help) in figures {
        text.family(name, kind, help);
        for (listener, meter) in &listeners {
            let labels: [Label<'_>; 2] = [("listener", listener), ("networkprocessor", &0)];
            text.sample(&labels, figure(meter));
        }
    }
}

/// Clients that are held to quotas.
async fn quotas(page: &mut Page<'_>, services: &Services) -> io::Result<()> {
    /// Value of a client in a family; `None` if the family has none of this kind of quota.
    type Value = fn(&Figure) -> Option<f64>;
    let families: [(&str, &str, Value); 3] = [
        (
            "kafka_server_quota_byte_rate",
            "Bytes per second of clients with a quota.",
            |figure| matches!(figure.kind, Kind::Produce | Kind::Fetch).then_some(figure.rate),
        ),
        (
            "kafka_server_quota_request_time",
            "Time of threads for clients with a quota, in percent of one.",
            |figure| (figure.kind == Kind::Request).then_some(figure.rate),
        ),
        (
            "kafka_server_quota_throttle_time",
            "The last time that clients with a quota had to wait, in milliseconds.",
            |figure| Some(figure.throttle_ms as f64),
        ),
    ];
    let figures = services.quotas.figures();
    for (name, help, value) in families {
        page.text.family(name, Gauge, help);
        let of_family = figures.iter().filter_map(|one| Some((one, value(one)?)));
        for (figure, value) in of_family {
            let resource = format!("{:?}", figure.kind);
            let mut labels: Vec<Label<'_>> = vec![("resource", &resource)];
            labels.extend(figure.key.user.as_ref().map(|user| ("user", user as _)));
            let client = figure.key.client.as_ref();
            labels.extend(client.map(|client| ("clientid", client as _)));
            page.text.sample(&labels, value);
            page.turn().await?;
        }
    }
    Ok(())
}

/// Names under which Kafka counts the requests of an API.
fn names_of(key: i16) -> impl Iterator<Item = &'static str> {
    let row = table::find(key);
    let consumers = (key == 1).then_some("FetchConsumer");
    row.map(|row| row.name).into_iter().chain(consumers)
}

async fn requests(page: &mut Page<'_>, services: &Services) -> io::Result<()> {
    let meters = services.meters();
    page.text.family(
        "kafka_network_requestmetrics_requests_total",
        Counter,
        "Requests that were answered.",
    );
    for (key, api) in meters.apis() {
        for name in names_of(key) {
            for (version, count) in api.versions() {
                page.text
                    .sample(&[("request", &name), ("version", &version)], count);
            }
        }
    }
    type Times = fn(&ApiMeter) -> &Histogram;
    let figures: [(&'static str, Times, &str); 3] = [
        (
            "kafka_network_requestmetrics_totaltimems",
            |api| &api.total,
            "Time from the last byte of a request to its answer, in milliseconds, of the last minutes.",
        ),
        (
            "kafka_network_requestmetrics_localtimems",
            |api| &api.local,
            "Of that, the time on a thread that serves clients.",
        ),
        (
            "kafka_network_requestmetrics_remotetimems",
            |api| &api.remote,
            "Of that, the time in which the request waited for records, a disk, the work pool or others.",
        ),
    ];
    let now = meters.at(Instant::now().into_std());
    for (family, times, help) in figures {
        page.text.family(family, Gauge, help);
        for (key, api) in meters.apis() {
            let values = times(api).quantiles(QUANTILES, now);
            for name in names_of(key) {
                for (quantile, value) in QUANTILE_NAMES.iter().zip(values) {
                    let labels: [Label<'_>; 2] = [("request", &name), ("quantile", quantile)];
                    page.text.sample(&labels, value);
                }
                let count = times(api).count();
                page.text.sample_of("_count", &[("request", &name)], count);
            }
        }
        page.turn().await?;
    }
    Ok(())
}

/// Writes Kafka's `BrokerTopicMetrics`. Samples without a topic count all topics.
async fn topics(page: &mut Page<'_>, services: &Services) -> io::Result<()> {
    type Count = fn(&TopicCounts) -> &meters::Counter;
    let figures: [(&str, Count, &str); 8] = [
        (
            "kafka_server_brokertopicmetrics_messagesin_total",
            |counts| &counts.messages_in,
            "Records that were appended.",
        ),
        (
            "kafka_server_brokertopicmetrics_bytesin_total",
            |counts| &counts.bytes_in,
            "Bytes of records from producers.",
        ),
        (
            "kafka_server_brokertopicmetrics_bytesout_total",
            |counts| &counts.bytes_out,
            "Bytes of records to consumers.",
        ),
        (
            "kafka_server_brokertopicmetrics_bytesrejected_total",
            |counts| &counts.bytes_rejected,
            "Bytes of records that were too large.",
        ),
        (
            "kafka_server_brokertopicmetrics_totalproducerequests_total",
            |counts| &counts.produce_requests,
            "Partitions in Produce requests.",
        ),
        (
            "kafka_server_brokertopicmetrics_totalfetchrequests_total",
            |counts| &counts.fetch_requests,
            "Partitions in Fetch requests, each time that one is read.",
        ),
        (
            "kafka_server_brokertopicmetrics_failedproducerequests_total",
            |counts| &counts.failed_produce_requests,
            "Partitions in Produce requests that were refused.",
        ),
        (
            "kafka_server_brokertopicmetrics_failedfetchrequests_total",
            |counts| &counts.failed_fetch_requests,
            "Partitions in Fetch requests that could not be read.",
        ),
    ];
    let (all, topics) = (services.meters().all_topics(), services.meters().topics());
    for (name, count, help) in figures {
        page.text.family(name, Counter, help);
        page.text.sample(&[], count(all).get());
        for (topic, meter) in &topics {
            page.text
                .sample(&[("topic", topic)], count(meter.own()).get());
            page.turn().await?;
        }
    }
    Ok(())
}
