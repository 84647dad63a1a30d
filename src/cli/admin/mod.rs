//! Kafka's command-line tools under their own names: called as `kafka-topics(.sh)`, or as `monedula topics`.
//!
//! Options, output and exit codes are those of Apache Kafka 4.3 for what scripts and health checks use; what is missing
//! is an error, never silence.

mod client;
mod cluster;
mod configs;
mod console;
mod group_offsets;
mod groups;
mod reset;
mod topics;
mod waiting;

use std::path::Path;
use std::process::ExitCode;

use super::{container, dump_log, start, storage, verify_log};

/// A tool: gets its arguments.
type Tool = fn(&[String]) -> ExitCode;

/// Name as `monedula NAME`, name of Kafka's script without `.sh`, what it does.
const TOOLS: &[(&str, &str, Tool)] = &[
    ("topics", "kafka-topics", topics::run),
    ("configs", "kafka-configs", configs::run),
    ("consumer-groups", "kafka-consumer-groups", groups::run),
    (
        "console-producer",
        "kafka-console-producer",
        console::produce,
    ),
    (
        "console-consumer",
        "kafka-console-consumer",
        console::consume,
    ),
    ("get-offsets", "kafka-get-offsets", cluster::get_offsets),
    (
        "broker-api-versions",
        "kafka-broker-api-versions",
        cluster::broker_api_versions,
    ),
    ("cluster", "kafka-cluster", cluster::cluster),
    (
        "metadata-quorum",
        "kafka-metadata-quorum",
        cluster::metadata_quorum,
    ),
    ("storage", "kafka-storage", storage::run),
    ("format", "format", format),
    ("dump-log", "kafka-dump-log", dump_log::run),
    ("verify-log", "verify-log", verify_log::run),
    ("server-start", "kafka-server-start", server_start),
    ("server-stop", "kafka-server-stop", server_stop),
    (
        "zookeeper-server-start",
        "zookeeper-server-start",
        no_zookeeper,
    ),
    (
        "zookeeper-server-stop",
        "zookeeper-server-stop",
        no_zookeeper,
    ),
    ("container", "container", container::run),
    ("ready", "ready", waiting::ready),
    ("connect", "connect", waiting::connect),
    ("cub", "cub", waiting::cub),
    ("ub", "ub", waiting::cub),
    ("run-class", "kafka-run-class", run_class),
    ("reset", "reset", reset::run),
    ("tool-names", "tool-names", tool_names),
];

/// The version of Apache Kafka whose options and output the tools have.
const LIKE: &str = "4.3.1";

/// Commands of Confluent's images that start scripts and health checks call, beside those that are named like Kafka's.
const OTHERS: &[&str] = &["cub", "ub"];

/// Scripts of Apache Kafka that are not here, so that whoever calls one reads why.
const ABSENT: &[&str] = &[
    "connect-distributed",
    "connect-standalone",
    "kafka-acls",
    "kafka-client-metrics",
    "kafka-consumer-perf-test",
    "kafka-delegation-tokens",
    "kafka-e2e-latency",
    "kafka-features",
    "kafka-groups",
    "kafka-leader-election",
    "kafka-log-dirs",
    "kafka-metadata-shell",
    "kafka-mirror-maker",
    "kafka-producer-perf-test",
    "kafka-reassign-partitions",
    "kafka-replica-verification",
    "kafka-share-groups",
    "kafka-streams-application-reset",
    "kafka-streams-groups",
    "kafka-transactions",
    "kafka-verifiable-consumer",
    "kafka-verifiable-producer",
    "zookeeper-shell",
];

/// Classes that scripts run by their names, by the last part, and the commands that they are.
const CLASSES: &[(&str, &str)] = &[
    ("BrokerApiVersionsCommand", "broker-api-versions"),
    ("ClusterTool", "cluster"),
    ("ConfigCommand", "configs"),
    ("ConsoleConsumer", "console-consumer"),
    ("ConsoleProducer", "console-producer"),
    ("ConsumerGroupCommand", "consumer-groups"),
    ("DumpLogSegments", "dump-log"),
    ("GetOffsetShell", "get-offsets"),
    ("Kafka", "server-start"),
    ("MetadataQuorumCommand", "metadata-quorum"),
    ("StorageTool", "storage"),
    ("TopicCommand", "topics"),
];

/// Runs the tool that the program was called as, or that its first argument names.
pub fn run_named(arguments: impl Iterator<Item = String>) -> Option<ExitCode> {
    let arguments: Vec<String> = arguments.collect();
    let program = Path::new(arguments.first()?).file_name()?.to_str()?;
    let program = program.strip_suffix(".sh").unwrap_or(program);
    if let Some(found) = TOOLS.iter().find(|(_, script, _)| *script == program) {
        return Some(run(found, arguments.get(1..)?));
    }
    if ABSENT.contains(&program) {
        eprintln!(
            "{program} is not here: the one of Apache Kafka, from another image, does its work on this broker \
             as far as the broker has what it asks for"
        );
        return Some(ExitCode::FAILURE);
    }
    let command = arguments.get(1)?;
    let found = TOOLS.iter().find(|(name, ..)| name == command)?;
    Some(run(found, arguments.get(2..)?))
}

/// Runs a tool, or says which version of Kafka's it is like.
fn run((_, script, tool): &(&str, &str, Tool), arguments: &[String]) -> ExitCode {
    if script.starts_with("kafka-") && arguments.iter().any(|argument| argument == "--version") {
        println!("{LIKE} (monedula {})", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    tool(arguments)
}

/// `kafka-run-class CLASS …`
fn run_class(arguments: &[String]) -> ExitCode {
    let class = arguments.first().map_or("", String::as_str);
    let last = class.rsplit('.').next().unwrap_or(class);
    let command = CLASSES.iter().find(|(name, _)| *name == last);
    let tool = command.and_then(|(_, command)| TOOLS.iter().find(|(name, ..)| name == command));
    match (tool, arguments.get(1..)) {
        (Some(found), Some(rest)) => run(found, rest),
        _ => {
            eprintln!(
                "'{class}' is not here: there is no Java, and no command of ours does the same"
            );
            ExitCode::FAILURE
        }
    }
}

/// `monedula format …` for those who do not think of it as a tool.
fn format(arguments: &[String]) -> ExitCode {
    let words: Vec<String> = std::iter::once("format".to_owned())
        .chain(arguments.iter().cloned())
        .collect();
    storage::run(&words)
}

/// The names that the image links to the program.
fn tool_names(_: &[String]) -> ExitCode {
    let scripts = TOOLS.iter().map(|(_, script, _)| *script);
    for script in scripts.chain(ABSENT.iter().copied()) {
        if ["kafka-", "connect-", "zookeeper-"]
            .iter()
            .any(|start| script.starts_with(start))
            || OTHERS.contains(&script)
        {
            println!("{script}");
        }
    }
    ExitCode::SUCCESS
}

/// `kafka-server-start [-daemon] FILE [--override k=v]…`
fn server_start(arguments: &[String]) -> ExitCode {
    let mut config = None;
    let mut overrides = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-daemon" => return in_background(arguments),
            "--override" => overrides.extend(rest.next().cloned()),
            path => config = Some(path),
        }
    }
    match config {
        // The image's own settings are those of a node for tests.
        Some(path) => start::run(
            start::Given::File(Path::new(path)),
            &overrides,
            path.starts_with("/etc/kafka/"),
            Vec::new(),
        ),
        None => {
            eprintln!("USAGE: kafka-server-start server.properties [--override property=value]*");
            ExitCode::FAILURE
        }
    }
}

/// The same without `-daemon`, in a process of its own whose output goes to `kafkaServer.out` in `LOG_DIR`, as Kafka's
/// script does it.
fn in_background(arguments: &[String]) -> ExitCode {
    use std::os::unix::process::CommandExt as _;
    let dir = std::env::var_os("LOG_DIR").map_or_else(
        || {
            let usual = Path::new("/opt/kafka/logs");
            if usual.is_dir() {
                usual
            } else {
                Path::new(".")
            }
            .to_owned()
        },
        std::path::PathBuf::from,
    );
    let spawned = std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::File::create(dir.join("kafkaServer.out")))
        .and_then(|output| {
            std::process::Command::new(std::env::current_exe()?)
                .arg("server-start")
                .args(arguments.iter().filter(|argument| *argument != "-daemon"))
                .stdin(std::process::Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output)
                // What the terminal sends to this group must not end the broker.
                .process_group(0)
                .spawn()
        });
    match spawned {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "cannot start in the background, with output in {}: {error}",
                dir.display()
            );
            ExitCode::FAILURE
        }
    }
}

/// Asks every other process of this program that runs a broker to stop.
fn server_stop(_: &[String]) -> ExitCode {
    let own = std::process::id();
    let mut asked = false;
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line
            .split(|byte| *byte == 0)
            .map(String::from_utf8_lossy)
            .collect();
        let program = words
            .first()
            .map_or("", |word| word.rsplit('/').next().unwrap_or(word));
        let command = words.get(1).map_or("", |word| word);
        let broker = program == "monedula"
            && ["start", "container", "server-start"].contains(&command)
            || program.starts_with("kafka-server-start");
        if broker
            && u32::try_from(pid) != Ok(own)
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            asked |= rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok();
        }
    }
    if asked {
        return ExitCode::SUCCESS;
    }
    println!("No kafka server to stop");
    ExitCode::FAILURE
}

/// Scripts of the ZooKeeper era start one first; nothing needs it, so nothing happens.
fn no_zookeeper(_: &[String]) -> ExitCode {
    println!("monedula needs no ZooKeeper: nothing was started or stopped");
    ExitCode::SUCCESS
}
