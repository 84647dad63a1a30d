//! The command line. Each command parses its arguments, calls functions of other modules, and prints the result.
//!
//! If the program is called by the name of one of Kafka's scripts, it runs the corresponding command in Kafka's way: options
//! may have a single dash, and `--help` has the script's exit status.

mod admin;
mod command;
mod container;
mod dev_security;
mod dump_log;
mod kafka_names;
mod manual;
mod scram_users;
mod server;
mod start;
mod storage;
mod verify_log;

use std::ffi::OsString;
use std::panic;
use std::path::Path;
use std::process::{self, ExitCode};

use clap::FromArgMatches as _;
use clap::error::ErrorKind;

use command::{Arguments, Command};
use kafka_names::Meaning;

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    end_where_nobody_reads();
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default();
    let program = program.to_string_lossy();
    let rest = arguments.collect();
    match parse(&program, rest) {
        Ok(Some(command)) => command.run(),
        Ok(None) => start::Start::default().run(),
        Err(ended) => ended.print(),
    }
}

/// Ends a tool silently when the reader of its output has closed the pipe, as Kafka's tools end. By default Rust would print a
/// panic.
fn end_where_nobody_reads() {
    const CLOSED: &str = "Broken pipe";
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let said = info.payload().downcast_ref::<String>();
        match said.filter(|said| said.contains(CLOSED)) {
            Some(said) if said.starts_with("failed printing to stdout") => process::exit(0),
            Some(said) if said.starts_with("failed printing to stderr") => process::exit(1),
            _ => before(info),
        }
    }));
}

/// Output in place of running a command.
#[derive(Debug)]
enum Ended {
    Clap(Box<clap::Error>, ExitCode),
    Said(String),
    Refused(String),
}

impl Ended {
    fn print(self) -> ExitCode {
        match self {
            Self::Clap(error, code) => {
                // If this fails, the reader of the output is gone.
                let _ = error.print();
                code
            }
            Self::Said(text) => {
                println!("{text}");
                ExitCode::SUCCESS
            }
            Self::Refused(text) => {
                eprintln!("{text}");
                ExitCode::FAILURE
            }
        }
    }
}

/// The command for a program's name and arguments; `None` for a broker without settings.
fn parse(program: &str, mut arguments: Vec<OsString>) -> Result<Option<Command>, Ended> {
    let program = program.strip_suffix(".sh").unwrap_or(program);
    let script = match kafka_names::script(program) {
        Meaning::Absent => return Err(Ended::Refused(kafka_names::not_included(program))),
        Meaning::Command(name) => {
            arguments.insert(0, name.into());
            true
        }
        Meaning::Unknown => false,
    };
    if !script {
        if arguments.is_empty() {
            return Ok(None);
        }
        if let Some(command) = command::alone(&arguments) {
            return Ok(Some(command));
        }
    }
    if arguments.first().is_some_and(|word| word == "run-class") {
        arguments.remove(0);
        let class = arguments.first().map(|word| word.to_string_lossy());
        let class = class.unwrap_or_default().into_owned();
        let Some(name) = kafka_names::class(&class) else {
            return Err(Ended::Refused(format!(
                "{class} is not included: there is no Java, and no command does the same."
            )));
        };
        if let Some(first) = arguments.first_mut() {
            *first = name.into();
        }
    }
    let name = arguments.first().map(|word| word.to_string_lossy());
    let name = name.unwrap_or_default().into_owned();
    if let Some(absent) = kafka_names::absent(&name) {
        return Err(Ended::Refused(kafka_names::not_included(absent)));
    }
    let whole = command::command();
    let kafkas = kafka_names::script_of(&name);
    let whole = match kafkas {
        Some(kafkas) if script => command::under_kafkas_name(whole, &name, kafkas),
        _ => whole,
    };
    let typed: Vec<String> = arguments
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if let (Some(_), Some(tool)) = (kafkas, whole.find_subcommand(&name)) {
        if typed.iter().any(|word| word == "--version") {
            let own = env!("CARGO_PKG_VERSION");
            return Err(Ended::Said(format!(
                "{} (monedula {own})",
                kafka_names::LIKE
            )));
        }
        let rest = arguments.split_off(1);
        arguments.extend(kafka_names::spelled(tool, rest));
    }
    arguments.insert(0, "monedula".into());
    let parsed = whole
        .try_get_matches_from(arguments)
        .and_then(|matches| Ok((Arguments::from_arg_matches(&matches)?, matches)));
    match parsed {
        Ok((Arguments { mut command }, matches)) => {
            if let (Some(Command::Configs(configs)), Some((_, own))) =
                (&mut command, matches.subcommand())
            {
                configs.remember(&typed, own);
            }
            Ok(command)
        }
        Err(error) => {
            let code = match error.kind() {
                ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                // Exit status as that of the script's own option parser.
                ErrorKind::DisplayHelp => match kafkas {
                    Some(kafkas) if script && !kafka_names::helps_well(kafkas) => ExitCode::FAILURE,
                    _ => ExitCode::SUCCESS,
                },
                _ if name == "verify-log" => ExitCode::from(verify_log::UNCHECKED),
                _ => ExitCode::FAILURE,
            };
            Err(Ended::Clap(Box::new(error), code))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output and exit status of a command line; the program is `monedula` unless another is named.
    fn told(line: &str) -> String {
        let mut words = line.split(' ');
        let program = words.next().unwrap_or_default();
        let words = words.map(OsString::from).collect();
        match parse(program, words) {
            Ok(command) => format!("runs {}", command.is_some()),
            Err(Ended::Clap(error, code)) => {
                let failed = format!("{code:?}") != format!("{:?}", ExitCode::SUCCESS);
                format!("{} {}", u8::from(failed), error.render())
            }
            Err(Ended::Said(text)) => format!("0 {text}"),
            Err(Ended::Refused(text)) => format!("1 {text}"),
        }
    }

    fn check(line: &str, expected: &str) {
        let found = told(line);
        assert!(found.contains(expected), "{line}: {found}");
    }

    #[test]
    fn mistakes_are_answered_with_what_was_meant() {
        check(
            "monedula topcis --list",
            "1 error: unrecognized subcommand 'topcis'",
        );
        check("monedula topcis --list", "'topics'");
        check(
            "monedula topics --lits",
            "a similar argument exists: '--list'",
        );
        check(
            "monedula topics --topic",
            "a value is required for '--topic <NAME>'",
        );
        check(
            "monedula topics --partitions many",
            "invalid value 'many' for '--partitions <COUNT>'",
        );
        check(
            "monedula server-stop --hepl",
            "1 error: unexpected argument '--hepl'",
        );
        check(
            "monedula server-stop now",
            "1 error: unexpected argument 'now'",
        );
        check(
            "monedula start a.properties --port 9",
            "'[FILE]' cannot be used with '--port <PORT>'",
        );
        check(
            "monedula start --in-memory --data-dir d",
            "cannot be used with",
        );
        check(
            "monedula verify-log",
            "1 error: the following required arguments were not provided",
        );
        check(
            "monedula console-consumer --from-beginning",
            "--topic <NAME>",
        );
        check(
            "monedula groups --list",
            "1 kafka-groups is not included. Use Apache Kafka's kafka-groups; it works with this broker.",
        );
        check("kafka-groups.sh --list", "1 kafka-groups is not included.");
        check(
            "monedula run-class some.Thing",
            "1 some.Thing is not included",
        );
    }

    #[test]
    fn help_is_a_success_except_where_kafkas_is_not() {
        check("monedula --help", "0 A broker that speaks");
        check("monedula --help", "\nTopics and records:\n  topics ");
        check(
            "monedula help topics",
            "0 Create, change, describe and delete topics",
        );
        check("monedula topics --help", "Usage: monedula topics [OPTIONS]");
        check(
            "monedula server-stop --help",
            "0 Stop a broker that runs on this machine",
        );
        check(
            "kafka-topics.sh --help",
            "1 Create, change, describe and delete topics",
        );
        check("kafka-topics --help", "Usage: kafka-topics [OPTIONS]");
        check("kafka-metadata-quorum --help", "0 Describe the quorum");
        check(
            "kafka-topics --version",
            &format!("0 {} (monedula", kafka_names::LIKE),
        );
    }

    #[test]
    fn kafkas_ways_to_write_options_are_taken() {
        for line in [
            "monedula",
            "monedula topics --bootstrap-server a:1 --list",
            "monedula topics --bootstrap-server=a:1 -list",
            "kafka-topics.sh --bootstrap a:1 --create --topic t --partitions 1 --partitions 2 --config a=1 --config b=2",
            "kafka-topics --bootstrap-server a:1 --create --topic t --partitions -1",
            "monedula get-offsets --broker-list a:1 --time -2",
            "monedula console-producer --broker-list a:1 --topic t --property parse.key=true --sync",
            "kafka-console-consumer --bootstrap-server a:1 --topic t --offset -1 --consumer.config f",
            "kafka-console-consumer --bootstrap-server a:1 --include a|b --consumer-property group.id=g",
            "monedula consumer-groups --bootstrap-server a:1 --list --state",
            "monedula consumer-groups --bootstrap-server a:1 --list --state Empty,Stable",
            "monedula consumer-groups --bootstrap-server a:1 --reset-offsets --group g --shift-by -3 --topic t",
            "kafka-metadata-quorum --bootstrap-server a:1 describe --status",
            "kafka-acls --bootstrap-server a:1 --add --allow-principal User:a --topic t --topic u --operation Read --operation Write",
            "kafka-metadata-quorum --bootstrap-controller a:1 describe --replication",
            "kafka-cluster cluster-id --bootstrap-server a:1 --config f",
            "kafka-storage format -t id -c file -g",
            "kafka-storage format --cluster-id id --config file --ignore-formatted --standalone",
            "monedula format --cluster-id id --config file",
            "kafka-server-start.sh -daemon file --override a=b --override c=d",
            "kafka-server-stop --process-role=broker --node-id=3",
            "kafka-run-class kafka.admin.ConfigCommand --bootstrap-server a:1 --describe --broker-defaults",
            "zookeeper-server-start.sh -daemon file",
            "cub kafka-ready -b kafka:9092 1 20",
            "cub zk-ready zookeeper:2181 120",
            "monedula container A=b",
            "monedula container configure file",
            "monedula ready --timeout-ms 300",
            "monedula connect localhost 9092 1",
            "kafka-dump-log --files a.log,b.log --print-data-log",
            "monedula dump-log a b --json",
            "monedula start --port 9192 --data-dir d",
            "monedula start file --override=a=b",
        ] {
            assert!(told(line).starts_with("runs"), "{line}: {}", told(line));
        }
    }
}
