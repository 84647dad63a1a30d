//! `start`: runs a node until a signal arrives.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::dev_security::{DEFAULT_FOLDER, DEFAULT_PORT, DevSecurity};
use crate::base::ids::BrokerId;
use crate::base::plain::Plain;
use crate::broker::Broker;
use crate::broker::boot::Options;
use crate::broker::temporary::TemporaryDirectory;
use crate::config::broker::{Checked, check, standalone};
use crate::config::parse::{Property, properties};
use crate::config::sasl::JAAS_FILE;
use crate::host::Host;
use crate::host::process::give_large_blocks_back;
use crate::host::task::{guarded, log_panics};
use crate::peer::channel::Channel;
use crate::peer::connection::Identity;
use crate::telemetry::logging::{self, complain};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};

/// Stack size of threads in bytes; nothing here recurses deeply.
const STACK_SIZE: usize = 512 << 10;
/// Time limit for the creation of topics, the same as that of Kafka's clients.
const CREATE_WITHIN: Duration = Duration::from_secs(60);

/// Run a broker until SIGTERM or Ctrl-C
#[derive(Args, Debug, Default)]
#[command(
    long_about = "Run a broker until SIGTERM or Ctrl-C.

Without a settings file the broker is one node for this machine alone, with port 9092 of the loopback addresses and data \
in ./monedula-data.",
    after_help = "Examples:
  monedula start
  monedula start --port 9192 --in-memory
  monedula start --dev-security
  monedula start server.properties --override num.partitions=3"
)]
#[group(skip)]
pub struct Start {
    /// Kafka's server.properties
    #[arg(value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting that goes over the file's; may be given several times
    #[arg(long = "override", value_name = "NAME=VALUE")]
    overrides: Vec<String>,
    /// The port for clients on the loopback addresses; 0 chooses a free one
    #[arg(long, value_name = "PORT", conflicts_with = "config")]
    port: Option<u16>,
    /// Where data is kept
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "config")]
    data_dir: Option<PathBuf>,
    /// Keep data in memory, where the system has such a directory, and remove it at the end
    #[arg(long, conflicts_with_all = ["config", "data_dir"])]
    in_memory: bool,
    /// Open listeners with TLS and SASL beside the plain one, with certificates and users that are made for them, and log what
    /// clients need; certificates and settings of clients go into the folder, ./monedula-security if none is given. The ports
    /// are 9092 and the three behind it. For development only: the passwords are known to everybody
    #[arg(long, value_name = "FOLDER", conflicts_with = "config", num_args = 0..=1, require_equals = true,
        default_missing_value = DEFAULT_FOLDER)]
    dev_security: Option<PathBuf>,
}

/// Settings that conflict with `--port` and `--dev-security`.
const LISTENING: &[&str] = &["listeners", "port", "host.name"];
/// Settings that conflict with `--data-dir` and `--in-memory`.
const DATA: &[&str] = &["log.dirs", "log.dir", "metadata.log.dir"];

impl Start {
    pub fn run(&self) -> ExitCode {
        self.run_checked().unwrap_or_else(|fault| {
            eprintln!("monedula: {fault}");
            ExitCode::FAILURE
        })
    }

    /// Errors: options that do not go together, or a folder that cannot be made.
    fn run_checked(&self) -> Result<ExitCode, String> {
        self.check()?;
        let mut overrides = self.overrides.clone();
        // The directory is removed when this value is dropped, after the broker has ended.
        let memory = self.in_memory.then(TemporaryDirectory::create).transpose();
        let memory = memory.map_err(|error| error.to_string())?;
        let data_dir = memory.as_ref().map(TemporaryDirectory::path);
        if let Some(dir) = data_dir.or(self.data_dir.as_deref()) {
            overrides.push(format!("log.dirs={}", dir.display()));
        }
        let mut extra = Extra {
            lenient: self.config.is_none(),
            ..Extra::default()
        };
        if let Some(folder) = &self.dev_security {
            let security = DevSecurity::prepare(folder, &Host::default(), &[])?;
            overrides.extend(security.settings("localhost", self.port.unwrap_or(DEFAULT_PORT)));
            extra.security = Some(security);
        } else if let Some(port) = self.port {
            overrides.push(format!("listeners=PLAINTEXT://localhost:{port}"));
        }
        let given = self.config.as_deref().map_or(Given::Nothing, Given::File);
        Ok(run(given, &overrides, extra))
    }

    /// Refuses overrides of settings that an option sets too.
    fn check(&self) -> Result<(), String> {
        let data = match self.in_memory {
            true => "--in-memory",
            false => "--data-dir",
        };
        let options = [
            ("--port", self.port.is_some(), LISTENING),
            ("--dev-security", self.dev_security.is_some(), LISTENING),
            (data, self.in_memory || self.data_dir.is_some(), DATA),
        ];
        for (option, given, settings) in options {
            for text in &self.overrides {
                let key = text.split_once('=').map_or(text.as_str(), |(key, _)| key);
                if given && settings.contains(&key.trim()) {
                    return Err(format!("{option} cannot be used with --override {text}"));
                }
            }
        }
        Ok(())
    }
}

/// Source of the settings.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    Nothing,
    File(&'a Path),
    /// Name of the source for messages, and the text of a settings file.
    Text(&'a str, &'a str),
}

/// What a start does besides running a broker with its settings.
#[derive(Debug, Default)]
pub struct Extra {
    /// Whether replication factors above the number of brokers are reduced instead of refused, which suits tests.
    pub lenient: bool,
    /// Topics to create before the node logs that it has started.
    pub topics: Vec<CreatableTopic>,
    pub security: Option<DevSecurity>,
}

/// Runs a node until a signal arrives.
pub fn run(config: Given<'_>, overrides: &[String], extra: Extra) -> ExitCode {
    give_large_blocks_back();
    logging::start();
    log_panics();
    let code = run_logged(config, overrides, extra);
    logging::finish();
    code
}

fn run_logged(config: Given<'_>, overrides: &[String], extra: Extra) -> ExitCode {
    let host = Host::default();
    let began = host.clock.steady();
    let checked = match read(config, overrides) {
        Ok(checked) => checked,
        Err(faults) => {
            for fault in faults {
                complain(fault);
            }
            return ExitCode::FAILURE;
        }
    };
    for note in &checked.notes {
        if note.warning {
            tracing::warn!("{}", note.text);
        } else {
            tracing::info!("{}", note.text);
        }
    }
    let listeners = &checked.config.listeners;
    if matches!(config, Given::Nothing) && listeners.iter().all(|one| one.endpoint.is_loopback()) {
        tracing::info!(
            "no settings file: listening on loopback addresses only; to serve a network, give a file with listeners"
        );
    }
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_SIZE)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("cannot start threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let served = guarded("main", serve(host, checked, began, extra));
    // Boxed, because the runtime would contain the code of an unboxed future several times.
    let ended = runtime.block_on(Box::pin(served)).unwrap_or_else(|what| {
        complain(format_args!("halted: a panic: {what}"));
        ExitCode::FAILURE
    });
    // After a failure of the disks, tasks that may hang on them are not waited for.
    runtime.shutdown_background();
    ended
}

async fn serve(host: Host, checked: Checked, began: Instant, extra: Extra) -> ExitCode {
    // As the first process of a container this process inherits all orphans; health checks leave some.
    if std::process::id() == 1 {
        host.threads.spawn(bury_orphans());
    }
    let (mut terminate, mut interrupt) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => {
            complain(format_args!("cannot wait for signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let node_id = checked.config.node_id;
    let broker = match Broker::start(
        checked.config,
        Options {
            host: host.clone(),
            clamp_replication: extra.lenient,
            ..Options::default()
        },
    )
    .await
    {
        Ok(broker) => broker,
        Err(error) => {
            complain(error);
            return ExitCode::FAILURE;
        }
    };
    for address in broker.addresses() {
        tracing::info!(%address, "listening");
    }
    let mut prepared = create(&broker, extra.topics).await;
    if let (Ok(()), Some(security)) = (&prepared, extra.security) {
        prepared = security.finish(&broker, &host).await;
    }
    if let Err(reason) = prepared {
        complain(format_args!("cannot create {reason}"));
        broker.shutdown().await;
        return ExitCode::FAILURE;
    }
    tracing::info!("ready after {} ms", host.clock.since(began).as_millis());
    // Users who watch a terminal do not need these lines.
    if !std::io::stdout().is_terminal() {
        let services = broker.services();
        let image = services.image.load();
        let own = image.brokers.get(&node_id);
        log_as_kafka(node_id, own.is_none_or(|broker| broker.fenced));
    }
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
        _ = interrupt.recv() => tracing::info!("interrupted: shutting down"),
        why = broker.failed() => {
            complain(format_args!("halted: {why}"));
            return ExitCode::FAILURE;
        }
    }
    broker.shutdown().await;
    ExitCode::SUCCESS
}

/// Logs the lines that programs wait for as the sign that Kafka has started, for all versions of Kafka. Some programs match the
/// end of the line.
fn log_as_kafka(node_id: BrokerId, is_fenced: bool) {
    tracing::info!(
        "the lines below are those by which programs know that Apache Kafka has started"
    );
    if !is_fenced {
        tracing::info!(
            target: "kafka.server.BrokerLifecycleManager",
            "[BrokerLifecycleManager id={node_id}] The broker has been unfenced. Transitioning from RECOVERY to RUNNING."
        );
    }
    tracing::info!(target: "kafka.server.KafkaServer", "[KafkaServer id={node_id}] started");
    tracing::info!(
        target: "kafka.server.KafkaRaftServer",
        "[KafkaRaftServer nodeId={node_id}] Kafka Server started"
    );
    // Programs that wait for Confluent's image with ZooKeeper look for this line of ZooKeeper.
    tracing::info!("Creating new log file: none, there is no ZooKeeper");
}

/// Waits for every child process that ends, including inherited ones.
async fn bury_orphans() {
    use rustix::process::{WaitOptions, wait};
    let Ok(mut ended) = signal(SignalKind::child()) else {
        return;
    };
    while ended.recv().await.is_some() {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}

/// Creates topics that do not exist yet, as a client of this broker.
async fn create(broker: &Broker, topics: Vec<CreatableTopic>) -> Result<(), String> {
    let Some(address) = broker.addresses().first().filter(|_| !topics.is_empty()) else {
        return Ok(());
    };
    let at = if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    };
    let request = CreateTopicsRequest {
        topics,
        timeout_ms: CREATE_WITHIN.as_millis() as i32,
        ..Default::default()
    };
    let answer = Channel::new(&Host::default(), at, Identity::new("monedula-start"))
        .call(&request, CREATE_WITHIN)
        .await
        .map_err(|error| format!("topics: {error}"))?;
    for topic in answer.topics {
        match ErrorCode::from_code(topic.error_code) {
            Some(ErrorCode::None) => tracing::info!(topic = %topic.name, "created"),
            Some(ErrorCode::TopicAlreadyExists) => {}
            _ => {
                let why = topic.error_message.as_deref().unwrap_or_default();
                return Err(format!("topic {}: {why}", topic.name));
            }
        }
    }
    Ok(())
}

fn read(config: Given<'_>, overrides: &[String]) -> Result<Checked, Vec<String>> {
    let mut faults = Vec::new();
    let mut given = Vec::new();
    let options = std::env::var("KAFKA_OPTS").unwrap_or_default();
    given.extend(jaas_file(&options).map(|path| Property::given(JAAS_FILE, &path)));
    for text in overrides {
        match text.split_once('=') {
            Some((key, value)) => {
                given.push(Property::given(key.trim(), value.trim()));
            }
            None => faults.push(format!("--override {text}: expected NAME=VALUE")),
        }
    }
    let file;
    let (name, text) = match config {
        Given::Nothing if faults.is_empty() => return standalone(&given),
        Given::Nothing => return Err(faults),
        Given::Text(name, text) => (name.to_owned(), text),
        Given::File(path) => match fs::read_to_string(path) {
            Ok(text) => {
                file = text;
                (path.display().to_string(), file.as_str())
            }
            Err(error) => {
                faults.push(format!("cannot read {}: {}", path.display(), Plain(&error)));
                return Err(faults);
            }
        },
    };
    let mut all = properties(text);
    all.extend(given);
    match check(&name, &all) {
        Ok(checked) if faults.is_empty() => Ok(checked),
        Ok(_) => Err(faults),
        Err(found) => {
            faults.extend(found);
            Err(faults)
        }
    }
}

/// Path of the JAAS file in the JVM options of `KAFKA_OPTS`. As in Java, the last occurrence counts; quotes are not supported.
fn jaas_file(options: &str) -> Option<String> {
    let mut named = options.split_whitespace().filter_map(|word| {
        let (option, path) = word.strip_prefix("-D")?.split_once('=')?;
        (option == JAAS_FILE).then_some(path)
    });
    // Java also allows a second equals sign, which makes the file the only one, and URLs.
    let path = named.next_back()?.trim_start_matches('=');
    let path = path.strip_prefix("file:").unwrap_or(path);
    let path = path.strip_prefix("//").unwrap_or(path);
    (!path.is_empty()).then(|| path.to_owned())
}

/// Raises the limit of open files to the maximum that the system allows, because every segment in use holds a descriptor.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_jaas_is_found_among_the_options_of_a_jvm() {
        let option = "-Djava.security.auth.login.config=";
        for (options, expected) in [
            (String::new(), None),
            ("-Xmx1G -Dx=y".to_owned(), None),
            (option.to_owned(), None),
            (
                format!("-Dx=y {option}/etc/jaas.conf -Xmx1G"),
                Some("/etc/jaas.conf"),
            ),
            (format!("{option}/a {option}/b"), Some("/b")),
            (format!("{option}=/a"), Some("/a")),
            (format!("{option}file:///a"), Some("/a")),
            (format!("{option}file:a=b"), Some("a=b")),
        ] {
            assert_eq!(jaas_file(&options).as_deref(), expected, "{options}");
        }
    }

    #[test]
    fn what_an_option_says_no_setting_says_too() {
        let check = |start: Start, expected: Option<&str>| {
            assert_eq!(start.check().err().as_deref(), expected);
        };
        let overridden = |text: &str| Start {
            overrides: vec!["num.partitions=3".to_owned(), text.to_owned()],
            ..Start::default()
        };
        let listeners = "listeners=PLAINTEXT://:1";
        check(overridden(listeners), None);
        check(
            Start {
                port: Some(1),
                ..overridden(listeners)
            },
            Some("--port cannot be used with --override listeners=PLAINTEXT://:1"),
        );
        check(
            Start {
                data_dir: Some("d".into()),
                ..overridden("log.dirs=e")
            },
            Some("--data-dir cannot be used with --override log.dirs=e"),
        );
        check(
            Start {
                in_memory: true,
                ..overridden("log.dir = e")
            },
            Some("--in-memory cannot be used with --override log.dir = e"),
        );
        check(
            Start {
                in_memory: true,
                port: Some(1),
                ..overridden("log.retention.ms=1")
            },
            None,
        );
    }
}
