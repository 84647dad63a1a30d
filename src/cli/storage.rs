//! `storage`: identity of log directories. Kafka calls this `StorageTool`.

use std::process::ExitCode;

use super::options::Takes::{Nothing, Value};
use super::options::{Options, Takes, parse};
use crate::config::broker::{BrokerConfig, check};
use crate::config::parse::properties;
use crate::metadata::bootstrap::{self, Gaps};

const OPTIONS: &[(&str, Takes)] = &[
    ("cluster-id", Value),
    ("t", Value),
    ("config", Value),
    ("c", Value),
    ("ignore-formatted", Nothing),
    ("g", Nothing),
    ("standalone", Nothing),
    ("s", Nothing),
    ("no-initial-controllers", Nothing),
    ("initial-controllers", Value),
    ("release-version", Value),
    ("r", Value),
    ("feature", Value),
    ("f", Value),
    ("add-scram", Value),
    ("S", Value),
];

/// `random-uuid`, `format` or `info`.
pub fn run(arguments: &[String]) -> ExitCode {
    match answer(arguments) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn answer(arguments: &[String]) -> Result<String, String> {
    let options = parse(arguments.iter().cloned(), OPTIONS)?;
    match options.words.first().map(String::as_str) {
        Some("random-uuid") => match bootstrap::random_uuid() {
            Ok(id) => Ok(id.to_string()),
            Err(error) => Err(error.to_string()),
        },
        Some("format") => format(&options),
        Some("info") => info(&options),
        _ => Err(
            "usage: kafka-storage (info | format | random-uuid) [-c FILE] [-t CLUSTER_ID]"
                .to_owned(),
        ),
    }
}

fn format(options: &Options) -> Result<String, String> {
    for name in ["add-scram", "S"] {
        if options.has(name) {
            return Err("--add-scram: SCRAM credentials are not supported yet".to_owned());
        }
    }
    let wanted = either(options, "cluster-id", "t")
        .ok_or("kafka-storage format: argument --cluster-id/-t is required")?;
    let config = read(options)?;
    let formatted = bootstrap::format(
        &config.directories(),
        config.node_id,
        Some(wanted),
        Gaps::Fill,
    )
    .map_err(|error| format!("cannot {error}"))?;
    if let Some(error) = formatted.dirs.iter().find_map(|(_, id)| id.as_ref().err()) {
        return Err(format!("cannot {error}"));
    }
    if formatted.filled.is_empty() {
        // Kafka differs: formatting twice with the same id is never an error; nothing could be lost.
        return Ok("All of the log directories are already formatted.".to_owned());
    }
    let lines: Vec<String> = formatted
        .dirs
        .iter()
        .enumerate()
        .filter(|(_, (dir, _))| formatted.filled.contains(dir))
        .map(|(index, (dir, _))| {
            let kind = if index == 0 { "metadata" } else { "data" };
            format!(
                "Formatting {kind} directory {} with metadata.version 4.3-IV0.",
                dir.display()
            )
        })
        .collect();
    Ok(lines.join("\n"))
}

fn info(options: &Options) -> Result<String, String> {
    let config = read(options)?;
    let mut lines = vec!["Found log directories:".to_owned()];
    let dirs = config.directories();
    lines.extend(dirs.iter().map(|dir| format!("  {}", dir.display())));
    for dir in dirs {
        match std::fs::read_to_string(dir.join("meta.properties")) {
            Ok(text) => lines.push(format!("{}:\n{}", dir.display(), text.trim_end())),
            Err(_) => return Err(format!("{} is not formatted", dir.display())),
        }
    }
    Ok(lines.join("\n"))
}

fn either<'a>(options: &'a Options, long: &str, short: &str) -> Option<&'a str> {
    options.value(long).or_else(|| options.value(short))
}

fn read(options: &Options) -> Result<BrokerConfig, String> {
    let path = either(options, "config", "c").ok_or("argument --config/-c is required")?;
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let checked = check(path, &properties(&text)).map_err(|faults| faults.join("\n"))?;
    Ok(checked.config)
}
