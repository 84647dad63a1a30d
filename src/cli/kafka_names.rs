//! pure: names of Apache Kafka's scripts and classes, and the commands that implement them here.
//!
//! In the image the program is linked under the names of the scripts. Options, output and exit statuses of those commands are
//! Kafka's. Scripts that are not implemented print a message that says so.

use std::ffi::OsString;

/// Version of Apache Kafka whose options and output the tools follow.
pub const LIKE: &str = "4.4.0";

/// Scripts whose command is their name without `kafka-`.
const SCRIPTS: &[&str] = &[
    "kafka-acls",
    "kafka-broker-api-versions",
    "kafka-cluster",
    "kafka-configs",
    "kafka-console-consumer",
    "kafka-console-producer",
    "kafka-consumer-groups",
    "kafka-consumer-perf-test",
    "kafka-delete-records",
    "kafka-dump-log",
    "kafka-features",
    "kafka-get-offsets",
    "kafka-leader-election",
    "kafka-log-dirs",
    "kafka-metadata-quorum",
    "kafka-producer-perf-test",
    "kafka-reassign-partitions",
    "kafka-run-class",
    "kafka-server-start",
    "kafka-server-stop",
    "kafka-share-groups",
    "kafka-storage",
    "kafka-topics",
    "kafka-transactions",
];

/// Names of other programs that are commands: those from the time of ZooKeeper, and Confluent's programs that scripts and
/// health checks call.
const OTHERS: &[&str] = &[
    "cub",
    "ub",
    "zookeeper-server-start",
    "zookeeper-server-stop",
];

/// Scripts that are not implemented; calling one prints a message.
const ABSENT: &[&str] = &[
    "connect-distributed",
    "connect-mirror-maker",
    "connect-standalone",
    "kafka-client-metrics",
    "kafka-delegation-tokens",
    "kafka-e2e-latency",
    "kafka-groups",
    "kafka-metadata-shell",
    "kafka-mirror-maker",
    "kafka-replica-verification",
    "kafka-streams-application-reset",
    "kafka-streams-groups",
    "kafka-verifiable-consumer",
    "kafka-verifiable-producer",
    "zookeeper-shell",
];

/// Classes that scripts run by name (here the last part of the name), and the commands that implement them.
const CLASSES: &[(&str, &str)] = &[
    ("AclCommand", "acls"),
    ("BrokerApiVersionsCommand", "broker-api-versions"),
    ("ClusterTool", "cluster"),
    ("ConfigCommand", "configs"),
    ("ConsoleConsumer", "console-consumer"),
    ("ConsoleProducer", "console-producer"),
    ("ConsumerGroupCommand", "consumer-groups"),
    ("ConsumerPerformance", "consumer-perf-test"),
    ("DeleteRecordsCommand", "delete-records"),
    ("DumpLogSegments", "dump-log"),
    ("FeatureCommand", "features"),
    ("GetOffsetShell", "get-offsets"),
    ("Kafka", "server-start"),
    ("LeaderElectionCommand", "leader-election"),
    ("LogDirsCommand", "log-dirs"),
    ("MetadataQuorumCommand", "metadata-quorum"),
    ("ProducerPerformance", "producer-perf-test"),
    ("ReassignPartitionsCommand", "reassign-partitions"),
    ("ShareGroupCommand", "share-groups"),
    ("StorageTool", "storage"),
    ("TopicCommand", "topics"),
    ("TransactionsCommand", "transactions"),
];

/// Scripts whose `--help` exits with status 0. `--help` of the others exits with 1.
const WELL_HELPED: &[&str] = &["kafka-features", "kafka-metadata-quorum", "kafka-storage"];

/// Meaning of the name of a script or class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Command(&'static str),
    Absent,
    Unknown,
}

/// Meaning of a program's name, without `.sh`.
pub fn script(name: &str) -> Meaning {
    if let Some(script) = SCRIPTS.iter().find(|script| **script == name) {
        return Meaning::Command(script.trim_start_matches("kafka-"));
    }
    if let Some(other) = OTHERS.iter().find(|other| **other == name) {
        return Meaning::Command(other);
    }
    match ABSENT.contains(&name) {
        true => Meaning::Absent,
        false => Meaning::Unknown,
    }
}

/// The script that a command implements, if any.
pub fn script_of(command: &str) -> Option<&'static str> {
    let mut scripts = SCRIPTS.iter().copied();
    scripts.find(|script| script.trim_start_matches("kafka-") == command)
}

/// The script that is not implemented and that a command name after `monedula` refers to, if any.
pub fn absent(word: &str) -> Option<&'static str> {
    let mut scripts = ABSENT.iter().copied();
    scripts.find(|script| *script == word || script.strip_prefix("kafka-") == Some(word))
}

/// The command for `kafka-run-class CLASS`.
pub fn class(name: &str) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let found = CLASSES.iter().find(|(class, _)| *class == last);
    found.map(|(_, command)| *command)
}

/// Whether `--help` of a script exits with status 0.
pub fn helps_well(script: &str) -> bool {
    WELL_HELPED.contains(&script)
}

/// The names under which the image links the program.
pub fn linked() -> impl Iterator<Item = &'static str> {
    [SCRIPTS, OTHERS, ABSENT].into_iter().flatten().copied()
}

pub fn not_included(script: &str) -> String {
    format!("{script} is not included. Use Apache Kafka's {script}; it works with this broker.")
}

/// Converts arguments to clap's spelling: Kafka's parsers accept `-list` for `--list`. The value that follows an option is not
/// changed.
pub fn spelled(command: &clap::Command, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut value_follows = false;
    let mut ended = false;
    let spelled = arguments.into_iter().map(|argument| {
        let Some(text) = argument.to_str() else {
            value_follows = false;
            return argument;
        };
        if ended || std::mem::take(&mut value_follows) || !text.starts_with('-') {
            return argument;
        }
        ended = text == "--";
        let (dashes, rest) = match text.strip_prefix("--") {
            Some(rest) => ("--", rest),
            None => ("-", text.trim_start_matches('-')),
        };
        let (name, inline) = match rest.split_once('=') {
            Some((name, _)) => (name, true),
            None => (rest, false),
        };
        let Some(found) = long(command, name).filter(|_| name.len() > 1) else {
            // An option of one letter: those of Kafka's tools that take values are written `-t X`, `-c X` and so on.
            let short = name.chars().next().filter(|_| name.len() == 1);
            let found =
                short.and_then(|letter| all(command).find(|arg| arg.get_short() == Some(letter)));
            value_follows = dashes == "-" && found.is_some_and(has_value);
            return argument;
        };
        value_follows = !inline && has_value(found);
        format!("--{rest}").into()
    });
    spelled.collect()
}

/// Whether an option takes a value.
pub fn has_value(arg: &clap::Arg) -> bool {
    let may = arg
        .get_num_args()
        .is_none_or(|number| number.takes_values());
    may && arg.get_action().takes_values()
}

/// The options of a command and of its subcommands.
fn all(command: &clap::Command) -> Box<dyn Iterator<Item = &clap::Arg> + '_> {
    Box::new(
        command
            .get_arguments()
            .chain(command.get_subcommands().flat_map(all)),
    )
}

/// The option with this name, or the only one whose name begins with it.
fn long<'a>(command: &'a clap::Command, name: &str) -> Option<&'a clap::Arg> {
    let names = |arg: &'a clap::Arg| {
        let others = arg.get_all_aliases().unwrap_or_default();
        arg.get_long().into_iter().chain(others)
    };
    let exact = all(command).find(|arg| names(arg).any(|long| long == name));
    exact.or_else(|| {
        let mut similar: Vec<_> = all(command)
            .filter(|arg| names(arg).any(|long| long.starts_with(name)))
            .collect();
        similar.dedup_by_key(|arg| arg.get_id().clone());
        match similar[..] {
            [one] => Some(one),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command};

    use super::*;

    #[test]
    fn options_of_one_dash_are_kafkas_too() {
        let command = Command::new("t")
            .arg(Arg::new("list").long("list").action(ArgAction::SetTrue))
            .arg(Arg::new("topic").long("topic"))
            .arg(
                Arg::new("topics")
                    .long("topics-with")
                    .action(ArgAction::SetTrue),
            )
            .arg(Arg::new("config").long("config").short('c'));
        let check = |text: &str, expected: &str| {
            let words = text.split(' ').map(OsString::from).collect();
            let found = spelled(&command, words);
            assert_eq!(found.join(std::ffi::OsStr::new(" ")), expected);
        };
        check("-list --topic a", "--list --topic a");
        check("-topic -list", "--topic -list");
        check("-c -list", "-c -list");
        check("-topic=-list -list", "--topic=-list --list");
        check("-top a", "-top a");
        check("-li a -- -list", "--li a -- -list");
    }

    #[test]
    fn names_of_scripts_are_commands_or_said_to_be_absent() {
        assert_eq!(script("kafka-topics"), Meaning::Command("topics"));
        assert_eq!(script("cub"), Meaning::Command("cub"));
        assert_eq!(script("kafka-groups"), Meaning::Absent);
        assert_eq!(script("ls"), Meaning::Unknown);
        assert_eq!(absent("groups"), Some("kafka-groups"));
        assert_eq!(absent("topics"), None);
        assert_eq!(class("org.apache.kafka.tools.TopicCommand"), Some("topics"));
        assert_eq!(script_of("topics"), Some("kafka-topics"));
    }
}
