//! Kafka's command-line tools under their own names: called as `kafka-topics(.sh)`, or as `monedula topics`.
//!
//! Options, output and exit codes are those of Apache Kafka 4.3 for what scripts and health checks use; what is missing
//! is an error, never silence.

mod client;
mod cluster;
mod configs;
mod console;
mod groups;
mod reset;
mod topics;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::options::Takes::Value;
use super::options::parse;
use super::{container, dump_log, start, storage, verify_log};
use crate::peer::channel::{Channel, Identity};

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
    ("ready", "ready", ready),
    ("reset", "reset", reset::run),
    ("tool-names", "tool-names", tool_names),
];

/// Runs the tool that the program was called as, or that its first argument names.
pub fn run_named(arguments: impl Iterator<Item = String>) -> Option<ExitCode> {
    let arguments: Vec<String> = arguments.collect();
    let program = Path::new(arguments.first()?).file_name()?.to_str()?;
    let program = program.strip_suffix(".sh").unwrap_or(program);
    if let Some((.., tool)) = TOOLS.iter().find(|(_, script, _)| *script == program) {
        return Some(tool(arguments.get(1..)?));
    }
    let command = arguments.get(1)?;
    let (.., tool) = TOOLS.iter().find(|(name, ..)| name == command)?;
    Some(tool(arguments.get(2..)?))
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
    for (_, script, _) in TOOLS {
        if script.starts_with("kafka-") || script.starts_with("zookeeper-") {
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
            Some(Path::new(path)),
            &overrides,
            path.starts_with("/etc/kafka/"),
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

/// `ready [--bootstrap-server HOST:PORT] [--timeout-ms N]`: success once a broker answers.
fn ready(arguments: &[String]) -> ExitCode {
    const OPTIONS: &[(&str, super::options::Takes)] =
        &[("bootstrap-server", Value), ("timeout-ms", Value)];
    let options = match parse(arguments.iter().cloned(), OPTIONS) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("{fault}");
            return ExitCode::FAILURE;
        }
    };
    let within = match options.number("timeout-ms") {
        Ok(given) => Duration::from_millis(given.unwrap_or(3000)),
        Err(fault) => {
            eprintln!("{fault}");
            return ExitCode::FAILURE;
        }
    };
    let addresses = match options.value("bootstrap-server") {
        Some(address) => vec![address.to_owned()],
        None => container::own_addresses(),
    };
    client::run(async {
        let mut last = String::from("no listener is known");
        for address in addresses {
            let channel = Channel::new(address, Identity::new("ready"));
            match channel.versions(within).await {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last.into())
    })
}
