//! `server-start` and `server-stop`: start of a broker, also in the background, and stop of a broker that runs on this machine.
//!
//! `server-stop` only considers processes of the same user and PID namespace that run this program, and never stops more
//! brokers than requested. Data directories and ports of a broker are determined from the files and sockets that the process
//! has open, because these cannot be outdated.

use std::fmt;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::start::{self, Extra, Given};
use crate::base::plain::Plain;
use crate::config::parse::{Property, properties};

/// Run a broker, as kafka-server-start does
#[derive(Args, Debug)]
#[command(after_help = "Example:
  monedula server-start -daemon server.properties --override num.partitions=3")]
#[group(skip)]
pub struct ServerStart {
    /// Kafka's server.properties
    #[arg(value_name = "FILE")]
    config: PathBuf,
    /// A setting that goes over the file's; may be given several times
    #[arg(long = "override", value_name = "NAME=VALUE")]
    overrides: Vec<String>,
    /// Run in the background, with output in kafkaServer.out in the folder LOG_DIR
    #[arg(long)]
    daemon: bool,
}

/// Value of `process.roles` for a node whose settings do not have it.
const ROLES: &str = "broker,controller";

impl ServerStart {
    pub fn run(&self) -> ExitCode {
        if self.daemon {
            return self.in_background();
        }
        // The image's own settings file is that of a node for tests.
        let lenient = self.config.starts_with("/etc/kafka/");
        let given = Given::File(&self.config);
        start::run(
            given,
            &self.overrides,
            Extra {
                lenient,
                ..Extra::default()
            },
        )
    }

    /// Starts the broker in a process of its own, with output to a file, as Kafka's script does.
    fn in_background(&self) -> ExitCode {
        let dir = std::env::var_os("LOG_DIR").map_or_else(
            || {
                let usual = Path::new("/opt/kafka/logs");
                let dir = if usual.is_dir() {
                    usual
                } else {
                    Path::new(".")
                };
                dir.to_owned()
            },
            PathBuf::from,
        );
        let spawned = fs::create_dir_all(&dir)
            .and_then(|()| fs::File::create(dir.join("kafkaServer.out")))
            .and_then(|output| {
                let overrides = self.overrides.iter();
                Command::new(std::env::current_exe()?)
                    .arg("server-start")
                    .args(overrides.flat_map(|setting| ["--override", setting]))
                    .arg("--")
                    .arg(&self.config)
                    .stdin(Stdio::null())
                    .stdout(output.try_clone()?)
                    .stderr(output)
                    // Signals that the terminal sends to this process group must not end the broker.
                    .process_group(0)
                    .spawn()
            });
        match spawned {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!(
                    "cannot start in the background, with output in {}: {}",
                    dir.display(),
                    Plain(&error)
                );
                ExitCode::FAILURE
            }
        }
    }
}

/// Stop a broker that runs on this machine
#[derive(Args, Debug)]
#[command(
    visible_alias = "stop",
    long_about = "Stop a broker that runs on this machine, by SIGTERM. Only processes of the same user are looked at, and none in \
other containers.

Without options the only broker is stopped; where several brokers run, all are listed and none is stopped. Exit \
status: 0 if a broker was stopped, else 1.",
    after_help = "Examples:
  monedula server-stop
  monedula server-stop --node-id 2
  monedula server-stop --data-dir ./monedula-data"
)]
#[group(skip)]
pub struct ServerStop {
    /// Every broker that the other options select
    #[arg(long)]
    all: bool,
    /// The broker in this process
    #[arg(long, value_name = "PID")]
    pid: Option<i32>,
    /// The broker with this node.id
    #[arg(long, value_name = "ID")]
    node_id: Option<i32>,
    /// The brokers with these process.roles: broker, controller, or both with a comma
    #[arg(long, value_name = "ROLES")]
    process_role: Option<String>,
    /// The broker that listens on this port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The broker with this data directory
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

impl ServerStop {
    pub fn run(&self) -> ExitCode {
        let running = running(self.pid);
        let chosen: Vec<&Running> = running.iter().filter(|one| self.selects(one)).collect();
        if chosen.is_empty() {
            // This is the message of Kafka's script.
            println!("No kafka server to stop");
            if !running.is_empty() {
                println!("These run, but are not what was asked for:");
                list(&running);
            }
            return ExitCode::FAILURE;
        }
        // Kafka differs: its script stops all selected brokers.
        if chosen.len() > 1 && !self.all {
            println!(
                "{} brokers run, none was stopped. Choose one with --pid, --port, --node-id or --data-dir, or --all of them:",
                chosen.len()
            );
            list(chosen);
            return ExitCode::FAILURE;
        }
        let mut stopped = true;
        for one in chosen {
            match pidfd_send_signal(&one.process, Signal::TERM) {
                Ok(()) => println!("Stopping {one}"),
                Err(error) => {
                    eprintln!("cannot stop {one}: {}", Plain(&error.into()));
                    stopped = false;
                }
            }
        }
        if stopped {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn selects(&self, one: &Running) -> bool {
        let wanted_dir = self
            .data_dir
            .as_deref()
            .map(|dir| fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned()));
        self.node_id.is_none_or(|id| one.node_id == Some(id))
            && self.port.is_none_or(|port| one.ports.contains(&port))
            && self
                .process_role
                .as_deref()
                .is_none_or(|roles| sorted(roles) == sorted(&one.roles))
            && wanted_dir.is_none_or(|dir| one.dirs.contains(&dir))
    }
}

fn list<'a>(running: impl IntoIterator<Item = &'a Running>) {
    for one in running {
        println!("  {one}");
    }
}

fn sorted(roles: &str) -> Vec<&str> {
    let mut roles: Vec<&str> = roles.split(',').map(str::trim).collect();
    roles.sort_unstable();
    roles
}

/// A broker that runs on this machine.
#[derive(Debug)]
struct Running {
    pid: i32,
    /// Descriptor of the process, which stays valid for this process even if its process id is reused.
    process: OwnedFd,
    node_id: Option<i32>,
    roles: String,
    ports: Vec<u16>,
    dirs: Vec<PathBuf>,
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        if let Some(id) = self.node_id {
            write!(f, ", node {id}")?;
        }
        if !self.ports.is_empty() {
            let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
            write!(f, ", port {}", ports.join(" and "))?;
        }
        for dir in &self.dirs {
            write!(f, ", data in {}", dir.display())?;
        }
        Ok(())
    }
}

/// Brokers of this user and PID namespace, ordered by process id. A process that is named by its id may belong to any user.
fn running(named: Option<i32>) -> Vec<Running> {
    let own = fs::metadata("/proc/self").map(|own| own.uid()).ok();
    let namespace = fs::read_link("/proc/self/ns/pid").ok();
    let mut pids: Vec<i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| named.is_none_or(|named| named == *pid))
        .filter(|pid| u32::try_from(*pid) != Ok(std::process::id()))
        .collect();
    pids.sort_unstable();
    let found = pids.into_iter().filter_map(|pid| {
        // The process is opened before anything is read, so that everything read belongs to the same process.
        let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let same_user = fs::metadata(&dir).map(|meta| meta.uid()).ok() == own;
        let same_namespace = fs::read_link(dir.join("ns/pid")).ok() == namespace;
        if named.is_none() && !(same_user && same_namespace) {
            return None;
        }
        let line = fs::read(dir.join("cmdline")).ok()?;
        let words: Vec<String> = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let started = started(&words)?;
        let (dirs, sockets) = open_files(&dir);
        Some(Running {
            pid,
            process,
            node_id: dirs.iter().find_map(|dir| node_id(dir)),
            roles: roles(&dir, started),
            ports: ports(&dir, &sockets),
            dirs,
        })
    });
    found.collect()
}

/// Arguments of the command that runs a broker, if this is the command line of a broker.
fn started(words: &[String]) -> Option<&[String]> {
    let program = words.first()?.rsplit('/').next()?;
    let program = program.strip_suffix(".sh").unwrap_or(program);
    match (program, words.get(1).map(String::as_str)) {
        ("kafka-server-start", _) => words.get(1..),
        ("monedula", None | Some("")) => Some(&[]),
        ("monedula", Some("start" | "container" | "server-start")) => words.get(2..),
        _ => None,
    }
}

/// Data directories of a process, found by the `.lock` file that a broker holds open in each, and the inode numbers of its
/// sockets.
fn open_files(process: &Path) -> (Vec<PathBuf>, Vec<u64>) {
    let (mut dirs, mut sockets) = (Vec::new(), Vec::new());
    let open = fs::read_dir(process.join("fd"));
    for link in open.into_iter().flatten().flatten() {
        let Ok(target) = fs::read_link(link.path()) else {
            continue;
        };
        if target.file_name().is_some_and(|name| name == ".lock") {
            dirs.extend(target.parent().map(Path::to_owned));
        } else if let Some(number) = target.to_str().and_then(|text| {
            text.strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        }) {
            sockets.push(number);
        }
    }
    dirs.sort();
    dirs.dedup();
    (dirs, sockets)
}

fn node_id(dir: &Path) -> Option<i32> {
    let text = fs::read_to_string(dir.join("meta.properties")).ok()?;
    let given = properties(&text);
    let said = given
        .iter()
        .find(|one| one.key == "node.id" || one.key == "broker.id")?;
    said.value.trim().parse().ok()
}

/// Ports on which the process accepts connections.
fn ports(process: &Path, sockets: &[u64]) -> Vec<u16> {
    /// Code of the state LISTEN in the kernel's table.
    const LISTEN: &str = "0A";
    let mut ports = Vec::new();
    for table in ["net/tcp", "net/tcp6"] {
        let text = fs::read_to_string(process.join(table)).unwrap_or_default();
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(&LISTEN), Some(number)) =
                (columns.get(1), columns.get(3), columns.get(9))
            else {
                continue;
            };
            let own = number.parse().is_ok_and(|number| sockets.contains(&number));
            let port = local.rsplit(':').next();
            let port = port.and_then(|port| u16::from_str_radix(port, 16).ok());
            ports.extend(port.filter(|_| own));
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Value of `process.roles` in the settings with which a broker was started.
fn roles(process: &Path, arguments: &[String]) -> String {
    let mut settings = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let inline = argument.strip_prefix("--override=");
        if argument == "--override" || inline.is_some() {
            let setting = inline.or_else(|| rest.next().map(String::as_str));
            if let Some((key, value)) = setting.and_then(|setting| setting.split_once('=')) {
                settings.push(Property::given(key.trim(), value.trim()));
            }
        } else if !argument.starts_with('-') {
            // A relative path starts at the working directory of that process.
            let cwd = fs::read_link(process.join("cwd")).unwrap_or_default();
            let text = fs::read_to_string(cwd.join(argument)).unwrap_or_default();
            settings.splice(0..0, properties(&text));
        }
    }
    let said = settings.iter().rfind(|one| one.key == "process.roles");
    said.map_or_else(|| ROLES.to_owned(), |one| one.value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_that_run_a_broker_are_taken_for_one() {
        let check = |line: &str, expected: Option<&str>| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let found = started(&words).map(|rest| rest.join(" "));
            assert_eq!(found.as_deref(), expected, "{line}");
        };
        check("monedula", Some(""));
        check("./target/monedula start a.properties", Some("a.properties"));
        check("monedula container", Some(""));
        check("/opt/kafka/bin/kafka-server-start.sh a", Some("a"));
        check("monedula topics --list", None);
        check("monedula server-stop", None);
        check("vim monedula start", None);
        check("java kafka.Kafka a", None);
    }

    #[test]
    fn roles_are_those_of_the_settings_that_were_given() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("cwd")).unwrap();
        fs::write(dir.path().join("a"), "process.roles=broker\n").unwrap();
        let check = |arguments: &[&str], expected: &str| {
            let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(roles(dir.path(), &arguments), expected, "{arguments:?}");
        };
        check(&[], "broker,controller");
        check(&["a"], "broker");
        check(
            &["--override", "process.roles=controller", "a"],
            "controller",
        );
        check(&["a", "--override=process.roles=controller"], "controller");
        check(
            &["--override", "num.partitions=1", "gone"],
            "broker,controller",
        );
    }

    #[test]
    fn a_broker_is_chosen_by_all_that_is_said_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let one = Running {
            pid: 7,
            process: fs::File::open(dir.path()).unwrap().into(),
            node_id: Some(3),
            roles: "controller, broker".to_owned(),
            ports: vec![9092, 9093],
            dirs: vec![fs::canonicalize(dir.path()).unwrap()],
        };
        assert_eq!(
            one.to_string(),
            format!(
                "process 7, node 3, port 9092 and 9093, data in {}",
                one.dirs[0].display()
            )
        );
        let any = || ServerStop {
            all: false,
            pid: None,
            node_id: None,
            process_role: None,
            port: None,
            data_dir: None,
        };
        assert!(any().selects(&one));
        for (wanted, expected) in [
            (
                ServerStop {
                    node_id: Some(3),
                    ..any()
                },
                true,
            ),
            (
                ServerStop {
                    node_id: Some(4),
                    ..any()
                },
                false,
            ),
            (
                ServerStop {
                    port: Some(9093),
                    ..any()
                },
                true,
            ),
            (
                ServerStop {
                    port: Some(9094),
                    node_id: Some(3),
                    ..any()
                },
                false,
            ),
            (
                ServerStop {
                    process_role: Some("broker,controller".to_owned()),
                    ..any()
                },
                true,
            ),
            (
                ServerStop {
                    process_role: Some("broker".to_owned()),
                    ..any()
                },
                false,
            ),
            (
                ServerStop {
                    data_dir: Some(dir.path().to_owned()),
                    ..any()
                },
                true,
            ),
            (
                ServerStop {
                    data_dir: Some(dir.path().join("x")),
                    ..any()
                },
                false,
            ),
        ] {
            assert_eq!(wanted.selects(&one), expected, "{wanted:?}");
        }
    }
}
