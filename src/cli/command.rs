//! The commands as clap parses them, and the groups in which `monedula --help` lists them.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

use super::admin::{
    acls, cluster, configs, console, delete_records, features, groups, leader_election, log_dirs,
    perf, reassign, reset, share_groups, topics, transactions, waiting,
};
use super::{container, dump_log, kafka_names, manual, server, start, storage, verify_log};

/// A broker that speaks Apache Kafka's protocol and keeps Kafka's own files
///
/// Without a command, monedula runs one node on port 9092 of this machine, with data in ./monedula-data.
#[derive(Debug, Parser)]
#[command(
    name = "monedula",
    version,
    infer_long_args = true,
    args_override_self = true,
    help_template = "{about-with-newline}\n{usage-heading} {usage}{after-help}\n\nOptions:\n{options}"
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one value of it in a process"
)]
pub enum Command {
    Start(start::Start),
    ServerStart(server::ServerStart),
    ServerStop(server::ServerStop),
    Ready(waiting::Ready),
    Reset(reset::Reset),
    Topics(topics::Topics),
    ConsoleProducer(console::ConsoleProducer),
    ConsoleConsumer(console::ConsoleConsumer),
    GetOffsets(cluster::GetOffsets),
    DeleteRecords(delete_records::DeleteRecords),
    ProducerPerfTest(perf::ProducerPerfTest),
    ConsumerPerfTest(perf::ConsumerPerfTest),
    ConsumerGroups(groups::ConsumerGroups),
    ShareGroups(share_groups::ShareGroups),
    Transactions(transactions::Transactions),
    Cluster(cluster::ClusterTool),
    Acls(acls::Acls),
    Configs(configs::Configs),
    Features(features::Features),
    MetadataQuorum(cluster::MetadataQuorum),
    BrokerApiVersions(cluster::BrokerApiVersions),
    LeaderElection(leader_election::LeaderElection),
    LogDirs(log_dirs::LogDirs),
    ReassignPartitions(reassign::ReassignPartitions),
    Storage(storage::Storage),
    Format(storage::Format),
    DumpLog(dump_log::DumpLog),
    VerifyLog(verify_log::VerifyLog),
    Completion(manual::Completion),
    Man(manual::Man),
    #[command(hide = true)]
    Container(container::Container),
    #[command(hide = true)]
    Connect(waiting::Connect),
    #[command(hide = true, alias = "ub")]
    Cub(waiting::Cub),
    /// Print the names of programs that the image links to this one
    #[command(hide = true)]
    ToolNames,
    /// Do nothing: no ZooKeeper is needed
    #[command(hide = true, alias = "zookeeper-server-stop")]
    ZookeeperServerStart {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        ignored: Vec<String>,
    },
}

/// Groups of commands that `monedula --help` lists, in order.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Broker",
        &["start", "server-start", "server-stop", "ready", "reset"],
    ),
    (
        "Topics and records",
        &[
            "topics",
            "console-producer",
            "console-consumer",
            "get-offsets",
            "delete-records",
            "producer-perf-test",
            "consumer-perf-test",
        ],
    ),
    (
        "Groups and transactions",
        &["consumer-groups", "share-groups", "transactions"],
    ),
    (
        "Cluster",
        &[
            "cluster",
            "acls",
            "configs",
            "features",
            "metadata-quorum",
            "broker-api-versions",
            "leader-election",
            "log-dirs",
            "reassign-partitions",
        ],
    ),
    (
        "Directories",
        &["storage", "format", "dump-log", "verify-log"],
    ),
    ("Other", &["completion", "man", "help"]),
];

/// Commands that accept `--broker-list` for `--bootstrap-server`, as older versions of Kafka's tools did.
const BROKER_LIST: &[&str] = &["console-producer", "get-offsets"];
/// Seconds for which Kafka's clients retry a connection that is refused; commands called by Kafka's script names do the same.
const KAFKAS_PATIENCE: &str = "60";

impl Command {
    pub fn run(&self) -> ExitCode {
        match self {
            Self::Start(command) => command.run(),
            Self::ServerStart(command) => command.run(),
            Self::ServerStop(command) => command.run(),
            Self::Ready(command) => command.run(),
            Self::Reset(command) => command.run(),
            Self::Topics(command) => command.run(),
            Self::ConsoleProducer(command) => command.run(),
            Self::ConsoleConsumer(command) => command.run(),
            Self::GetOffsets(command) => command.run(),
            Self::DeleteRecords(command) => command.run(),
            Self::ProducerPerfTest(command) => command.run(),
            Self::ConsumerPerfTest(command) => command.run(),
            Self::ConsumerGroups(command) => command.run(),
            Self::ShareGroups(command) => command.run(),
            Self::Transactions(command) => command.run(),
            Self::Cluster(command) => command.run(),
            Self::Acls(command) => command.run(),
            Self::Configs(command) => command.run(),
            Self::Features(command) => command.run(),
            Self::MetadataQuorum(command) => command.run(),
            Self::BrokerApiVersions(command) => command.run(),
            Self::LeaderElection(command) => command.run(),
            Self::LogDirs(command) => command.run(),
            Self::ReassignPartitions(command) => command.run(),
            Self::Storage(command) => command.run(),
            Self::Format(command) => command.run(),
            Self::DumpLog(command) => command.run(),
            Self::VerifyLog(command) => command.run(),
            Self::Completion(command) => command.run(),
            Self::Man(command) => command.run(),
            Self::Container(command) => command.run(),
            Self::Connect(command) => command.run(),
            Self::Cub(command) => command.run(),
            Self::ToolNames => {
                kafka_names::linked().for_each(|name| println!("{name}"));
                ExitCode::SUCCESS
            }
            Self::ZookeeperServerStart { .. } => {
                println!("monedula needs no ZooKeeper: nothing was started or stopped");
                ExitCode::SUCCESS
            }
        }
    }
}

/// The complete command line.
pub fn command() -> clap::Command {
    let mut command = Arguments::command();
    for name in BROKER_LIST {
        command = command.mut_subcommand(name, |tool| {
            tool.mut_arg("bootstrap_server", |arg| arg.alias("broker-list"))
        });
    }
    command = command
        .mut_subcommand("cluster", |tool| {
            tool.mut_arg("command_config", |arg| arg.alias("config"))
        })
        .mut_subcommands(prepared);
    let listed = listed(&command);
    command.after_help(listed)
}

/// Parses a command that is run often or has to be quick on its own: building the table of all commands takes as much time and
/// memory as the rest of a start. `None` for all other commands, and for invalid arguments, for which the complete command line
/// then reports the error.
pub fn alone(arguments: &[OsString]) -> Option<Command> {
    fn read<T: Args>(arguments: &[OsString]) -> Option<T> {
        let command = prepared(T::augment_args(clap::Command::new("monedula")));
        let matches = command.try_get_matches_from(arguments).ok()?;
        T::from_arg_matches(&matches).ok()
    }
    match arguments.first()?.to_str()? {
        "start" => read(arguments).map(Command::Start),
        "ready" => read(arguments).map(Command::Ready),
        "container" => read(arguments).map(Command::Container),
        _ => None,
    }
}

/// Applies the settings that all commands have.
fn prepared(command: clap::Command) -> clap::Command {
    command
        .infer_long_args(true)
        // If an option is repeated, the last one counts, as in Kafka's tools.
        .args_override_self(true)
        .mut_args(|arg| match arg.get_action() {
            ArgAction::Set | ArgAction::Append
                if !arg.is_positional() && kafka_names::has_value(&arg) =>
            {
                arg.allow_negative_numbers(true)
            }
            _ => arg,
        })
        .mut_subcommands(prepared)
}

/// Adapts a command that is called by the name of Kafka's script: its usage text, and the time to connect.
pub fn under_kafkas_name(command: clap::Command, name: &str, script: &str) -> clap::Command {
    command.mut_subcommand(name, |tool| {
        let rest = match tool.has_subcommands() {
            true => "[OPTIONS] <COMMAND>",
            false => "[OPTIONS]",
        };
        let usage = format!("{script} {rest}");
        let connects = tool
            .get_arguments()
            .any(|arg| arg.get_id() == "connect_timeout");
        let tool = tool.override_usage(usage);
        match connects {
            true => tool.mut_arg("connect_timeout", |arg| arg.default_value(KAFKAS_PATIENCE)),
            false => tool,
        }
    })
}

/// Text that lists the commands in groups, one per line.
fn listed(command: &clap::Command) -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        text += &format!("\n{title}:\n");
        for name in *names {
            let found = command.find_subcommand(name);
            let about = found.and_then(clap::Command::get_about);
            let about = about.map_or_else(
                || "Print help about a command".to_owned(),
                ToString::to_string,
            );
            text += &format!("  {name:<20} {about}\n");
        }
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::FromArgMatches as _;
    use expect_test::expect_file;

    use super::*;

    #[test]
    fn the_commands_are_sound() {
        command().debug_assert();
        under_kafkas_name(command(), "topics", "kafka-topics").debug_assert();
    }

    #[test]
    fn what_is_read_alone_is_read_as_in_the_whole_command_line() {
        for (line, is_read) in [
            ("start", true),
            ("start file --override a=b --override c=d", true),
            ("start --port 9192 --data-dir d", true),
            ("start --in-mem", true),
            ("ready --timeout-ms 300", true),
            ("container A=b configure", true),
            ("start --help", false),
            ("start --prot 9192", false),
            ("start file --port 9192", false),
            ("start --port 70000", false),
            ("topics --list", false),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let found = alone(&words);
            assert_eq!(found.is_some(), is_read, "{line}");
            if let Some(found) = found {
                let whole =
                    command().try_get_matches_from([vec!["monedula".into()], words].concat());
                let whole = Arguments::from_arg_matches(&whole.unwrap()).unwrap();
                assert_eq!(
                    format!("{found:?}"),
                    format!("{:?}", whole.command.unwrap())
                );
            }
        }
    }

    #[test]
    fn every_command_is_in_one_group() {
        let whole = command();
        let visible = whole.get_subcommands().filter(|one| !one.is_hide_set());
        let mut names: Vec<&str> = visible.map(clap::Command::get_name).collect();
        names.push("help");
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        names.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(names, grouped);
    }

    #[test]
    fn every_option_is_described() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                assert!(arg.get_help().is_some(), "{path}: {}", arg.get_id());
            }
            assert!(command.get_about().is_some(), "{path}");
            let visible = command.get_subcommands().filter(|one| !one.is_hide_set());
            visible.for_each(|one| check(one, &path));
        }
        let whole = command();
        check(&whole, "");
        for one in whole.get_subcommands().filter(|one| !one.is_hide_set()) {
            let examples = one.get_after_help().map(ToString::to_string);
            let examples = examples.unwrap_or_default();
            assert!(
                examples.contains("monedula "),
                "{}: {examples}",
                one.get_name()
            );
        }
    }

    /// The expected file is rewritten by `UPDATE_EXPECT=1 cargo test`.
    #[test]
    fn help_is_as_it_was_read_last() {
        let mut whole = command().term_width(100);
        whole.build();
        let mut text = whole.clone().render_long_help().to_string();
        fn add(command: &clap::Command, path: &str, text: &mut String) {
            for one in command.get_subcommands() {
                if one.is_hide_set() || one.get_name() == "help" {
                    continue;
                }
                let path = format!("{path} {}", one.get_name());
                let help = one.clone().render_long_help();
                *text += &format!("\n\n==== {path} --help\n\n{help}");
                add(one, &path, text);
            }
        }
        add(&whole, "monedula", &mut text);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        expect_file!["help.txt"].assert_eq(&(lines.join("\n") + "\n"));
    }

    #[test]
    fn options_of_one_kind_are_spelled_alike() {
        let whole = command();
        let tools = whole.get_subcommands();
        let odd: BTreeSet<String> = tools
            .flat_map(clap::Command::get_arguments)
            .filter_map(clap::Arg::get_long)
            .filter(|long| long.contains('_') || long.chars().any(char::is_uppercase))
            .map(str::to_owned)
            .collect();
        assert_eq!(odd, BTreeSet::new());
    }
}
