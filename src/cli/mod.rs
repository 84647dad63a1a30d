//! Subcommands; each parses, calls one function below, prints.

pub mod admin;
mod container;
mod dump_log;
mod options;
pub mod start;
mod storage;
mod verify_log;

use std::panic;
use std::path::PathBuf;
use std::process::{self, ExitCode};

use clap::{Parser, Subcommand};

use start::Given;

/// A broker that speaks Apache Kafka's wire protocol and keeps Kafka's own files.
///
/// Kafka's tools are commands too: `monedula topics --list …` is what `kafka-topics` is in the image.
///
/// Without a command: one node on port 9092 of the loopback addresses, data in ./monedula-data.
#[derive(Debug, Parser)]
#[command(name = "monedula", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a node until SIGTERM or Ctrl-C.
    Start {
        /// Kafka's server.properties.
        config: Option<PathBuf>,
        /// A setting that goes over the file's.
        #[arg(long = "override", value_name = "key=value")]
        overrides: Vec<String>,
    },
}

/// Runs what the command line asks for.
pub fn run() -> ExitCode {
    end_where_nobody_reads();
    if let Some(code) = admin::run_named(std::env::args()) {
        return code;
    }
    match Arguments::parse().command {
        None => start::run(Given::Nothing, &[], true, Vec::new()),
        Some(Command::Start { config, overrides }) => {
            let given = config.as_deref().map_or(Given::Nothing, Given::File);
            start::run(given, &overrides, config.is_none(), Vec::new())
        }
    }
}

/// Ends a tool in silence when whoever read its output has closed the pipe, as Kafka's tools end: the work that is printed is
/// done. Rust would end it with the text of a panic.
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
