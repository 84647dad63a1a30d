//! `container`: what the image runs: settings from `KAFKA_` variables or a mounted file, the rules those of the images
//! of Apache Kafka and Confluent; then the broker in this very process.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use super::start;
use crate::config::broker::{ADMIN_LISTENER, check};
use crate::config::parse::properties;
use crate::metadata::bootstrap::{self, Gaps};

/// A file here is taken instead of settings of our own; variables go over it.
const MOUNTED: &str = "/mnt/shared/config/server.properties";
const WRITTEN: &str = "/opt/kafka/config/server.properties";
const DATA_DIR: &str = "/var/lib/kafka/data";

/// Variables that look like settings and are none.
const NO_SETTINGS: &[&str] = &[
    "KAFKA_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_VERSION",
    "KAFKA_HOME",
    "KAFKA_DEBUG",
];
const NO_SETTINGS_PREFIXES: &[&str] = &[
    "KAFKA_JMX_",
    "KAFKA_LOG4J_",
    "KAFKA_TOOLS_LOG4J_",
    "KAFKA_REST_",
    "KAFKA_CONFLUENT_",
];

/// Where the scripts of Confluent's layout put the settings.
const WRITTEN_BY_CONFIGURE: &str = "/etc/kafka/kafka.properties";

/// What a node for tests has where nobody says otherwise.
const COMFORTS: &[(&str, &str)] = &[
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("listeners", "PLAINTEXT://0.0.0.0:9092"),
    ("log.dirs", DATA_DIR),
    (ADMIN_LISTENER, "HTTP://0.0.0.0:9644"),
];

/// Runs the broker as the image does. `arguments` are `K=V` and go over the environment; `configure FILE` only writes
/// the settings.
pub fn run(arguments: &[String]) -> ExitCode {
    let mut variables: BTreeMap<String, String> = std::env::vars().collect();
    if let [command, path] = arguments
        && command == "configure"
    {
        let text = settings("", &variables);
        if let Err(faults) = accepted(&text) {
            return failed(&faults);
        }
        return match fs::write(path, text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format!("cannot write {path}: {error}")),
        };
    }
    for argument in arguments {
        match argument.split_once('=') {
            Some((name, value)) => {
                variables.insert(name.to_owned(), value.to_owned());
            }
            None => return failed(&format!("{argument}: expected NAME=value")),
        }
    }
    let mounted = fs::read_to_string(MOUNTED).unwrap_or_default();
    let text = settings(&mounted, &variables);
    if let Err(faults) = accepted(&text) {
        return failed(&faults);
    }
    if let Err(error) = fs::write(WRITTEN, &text) {
        return failed(&format!("cannot write {WRITTEN}: {error}"));
    }
    if let Some(id) = variables.get("CLUSTER_ID").filter(|id| !id.is_empty())
        && let Ok(checked) = check(WRITTEN, &properties(&text))
    {
        let dirs = checked.config.directories();
        if let Err(error) = bootstrap::format(&dirs, checked.config.node_id, Some(id), Gaps::Fill) {
            return failed(&format!("cannot {error}"));
        }
    }
    start::run(Some(Path::new(WRITTEN)), &[], mounted.is_empty())
}

/// Where the broker of this container accepts clients, by the settings that it was started with; else the usual port.
pub(super) fn own_addresses() -> Vec<String> {
    let newest = [WRITTEN, WRITTEN_BY_CONFIGURE]
        .into_iter()
        .filter_map(|path| {
            let changed = fs::metadata(path)
                .ok()
                .filter(|meta| meta.len() > 0)?
                .modified()
                .ok()?;
            Some((changed, path))
        })
        .max();
    let checked = newest
        .and_then(|(_, path)| fs::read_to_string(path).ok())
        .and_then(|text| check("", &properties(&text)).ok());
    let Some(checked) = checked else {
        return vec!["localhost:9092".to_owned()];
    };
    let listeners = checked.config.listeners.into_iter().map(|listener| {
        let host = if listener.endpoint.is_wildcard() {
            "localhost"
        } else {
            &listener.endpoint.host
        };
        format!("{host}:{}", listener.endpoint.port)
    });
    listeners.collect()
}

/// Whether a broker would take the settings. What it would not is told by the variable that said it.
fn accepted(text: &str) -> Result<(), String> {
    let Err(faults) = check("", &properties(text)) else {
        return Ok(());
    };
    let told = faults.iter().map(|fault| {
        let at = fault
            .strip_prefix(':')
            .and_then(|rest| rest.split_once(": "));
        let line = at.and_then(|(line, _)| {
            text.lines()
                .nth(line.parse::<usize>().ok()?.checked_sub(1)?)
        });
        match (line.and_then(|line| line.split_once('=')), at) {
            (Some((name, _)), Some((_, what))) => format!("{}: {what}", variable(name)),
            _ => fault.trim_start_matches(": ").to_owned(),
        }
    });
    Err(told.collect::<Vec<_>>().join("\nmonedula: "))
}

/// The variable of a setting.
fn variable(setting: &str) -> String {
    let name = setting
        .replace('_', "__")
        .replace('-', "___")
        .replace('.', "_");
    format!("KAFKA_{}", name.to_ascii_uppercase())
}

fn failed(text: &str) -> ExitCode {
    eprintln!("monedula: {text}");
    ExitCode::FAILURE
}

/// The text of a settings file: comforts, unless a file is mounted; then that file; then the variables.
fn settings(mounted: &str, variables: &BTreeMap<String, String>) -> String {
    let mut given: BTreeMap<String, &str> = variables
        .iter()
        .filter_map(|(name, value)| Some((setting(name)?, value.as_str())))
        .collect();
    let derived = given
        .get("advertised.listeners")
        .map(|advertised| everywhere(advertised));
    if let Some(derived) = &derived
        && mounted.is_empty()
        && !given.contains_key("listeners")
    {
        given.insert("listeners".to_owned(), derived);
    }
    let mut text = String::new();
    if mounted.is_empty() {
        for (name, value) in COMFORTS {
            // Old names that mean the same would be overruled by ours.
            let said = given.contains_key(*name)
                || *name == "log.dirs" && given.contains_key("log.dir")
                || *name == "listeners" && given.contains_key("port");
            if !said {
                text += &format!("{name}={value}\n");
            }
        }
    } else {
        text += mounted.trim_end();
        text += "\n";
    }
    for (name, value) in given {
        text += &format!(
            "{name}={}\n",
            value.replace("\\\n", "\n").replace('\n', "\\\n")
        );
    }
    text
}

/// The setting of a variable: `KAFKA_A_B` is `a.b`, `__` an underscore, `___` a dash. Names of listeners in
/// `KAFKA_LISTENER_NAME_…` keep to the same rule.
fn setting(variable: &str) -> Option<String> {
    // Bitnami's image has a prefix of its own.
    let name = variable
        .strip_prefix("KAFKA_CFG_")
        .or_else(|| variable.strip_prefix("KAFKA_"))
        .filter(|name| !name.is_empty())?;
    if NO_SETTINGS.contains(&variable)
        || NO_SETTINGS_PREFIXES
            .iter()
            .any(|prefix| variable.starts_with(prefix))
    {
        return None;
    }
    Some(
        name.to_ascii_lowercase()
            .replace("___", "-")
            .replace("__", "\u{1}")
            .replace('_', ".")
            .replace('\u{1}', "_"),
    )
}

/// Listeners on all addresses with the names and ports that are advertised: what Confluent's image does where nobody
/// says where to listen.
fn everywhere(advertised: &str) -> String {
    let endpoints: Vec<String> = advertised
        .split(',')
        .map(|endpoint| {
            let split = endpoint
                .split_once("://")
                .zip(endpoint.rsplit_once(':').map(|(_, port)| port));
            match split {
                Some(((name, _), port)) => format!("{}://0.0.0.0:{port}", name.trim()),
                None => endpoint.to_owned(),
            }
        })
        .collect();
    endpoints.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mounted: &str, variables: &[(&str, &str)], expected: &str) {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let text = settings(mounted, &variables);
        let found: Vec<&str> = text
            .lines()
            .filter(|line| {
                !line.contains("replication.factor=1")
                    && !line.contains("min.isr=1")
                    && !line.starts_with(ADMIN_LISTENER)
            })
            .collect();
        assert_eq!(found.join("\n"), expected);
    }

    #[test]
    fn nothing_said_is_a_node_for_tests() {
        check(
            "",
            &[
                ("PATH", "x"),
                ("KAFKA_HEAP_OPTS", "-Xmx1G"),
                ("KAFKA_JMX_PORT", "1"),
            ],
            "group.initial.rebalance.delay.ms=0\nlisteners=PLAINTEXT://0.0.0.0:9092\nlog.dirs=/var/lib/kafka/data",
        );
    }

    #[test]
    fn variables_become_settings() {
        check(
            "",
            &[
                ("KAFKA_LISTENERS", "A://:1"),
                ("KAFKA_LOG_DIR", "/d"),
                ("KAFKA_CFG_GROUP_INITIAL_REBALANCE_DELAY_MS", "3000"),
                ("KAFKA_LISTENER_NAME_A_SCRAM___SHA___512_X__Y", "z"),
            ],
            "group.initial.rebalance.delay.ms=3000\nlistener.name.a.scram-sha-512.x_y=z\nlisteners=A://:1\nlog.dir=/d",
        );
    }

    #[test]
    fn what_cannot_be_is_told_by_the_name_of_its_variable() {
        let variables = BTreeMap::from([
            ("KAFKA_NUM_PARTITIONS".to_owned(), "many".to_owned()),
            ("KAFKA_LISTENERS".to_owned(), "here".to_owned()),
        ]);
        let faults = accepted(&settings("", &variables)).unwrap_err();
        let mut names: Vec<&str> = faults
            .lines()
            .map(|line| {
                line.trim_start_matches("monedula: ")
                    .split(": ")
                    .next()
                    .unwrap()
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(
            names,
            ["KAFKA_LISTENERS", "KAFKA_NUM_PARTITIONS"],
            "{faults}"
        );
    }

    #[test]
    fn a_mounted_file_has_no_comforts_and_variables_go_over_it() {
        check(
            "node.id=4\nlog.dirs=/x\n",
            &[("KAFKA_NODE_ID", "5")],
            "node.id=4\nlog.dirs=/x\nnode.id=5",
        );
    }

    #[test]
    fn who_only_advertises_listens_everywhere_on_those_ports() {
        check(
            "",
            &[
                (
                    "KAFKA_ADVERTISED_LISTENERS",
                    "IN://kafka:29092,OUT://localhost:9092",
                ),
                ("KAFKA_LOG_DIRS", "/d"),
            ],
            "group.initial.rebalance.delay.ms=0\nadvertised.listeners=IN://kafka:29092,OUT://localhost:9092\n\
             listeners=IN://0.0.0.0:29092,OUT://0.0.0.0:9092\nlog.dirs=/d",
        );
    }
}
