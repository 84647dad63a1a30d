//! `verify-log`: checks a data directory offline and says in one line per fault what the next start would do about it.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::options::Takes::Nothing;
use super::options::{Takes, parse};
use crate::log::verify::{Fault, Report, verify};

const OPTIONS: &[(&str, Takes)] = &[("json", Nothing), ("help", Nothing)];

const USAGE: &str = "\
usage: monedula verify-log DIRECTORY [--json]

Checks a data directory, or the directory of one partition: checksums, offsets, indexes, leader epochs, snapshots of
producers, checkpoints, and what interrupted work left. Prints a line for each fault with what the next start would do
about it, and a last line of what was read. Nothing is written.

Exit status: 0 without faults, 1 with faults, 2 if nothing could be checked.";

const UNCHECKED: u8 = 2;

/// Runs the tool.
pub fn run(arguments: &[String]) -> ExitCode {
    let options = match parse(arguments.iter().cloned(), OPTIONS) {
        Ok(options) => options,
        Err(error) => return refuse(&error),
    };
    if options.has("help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let [dir] = options.words.as_slice() else {
        return refuse("one directory is to be named");
    };
    let report = match verify(Path::new(dir)) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(UNCHECKED);
        }
    };
    // Whoever closed the pipe has seen enough.
    let _ = print(&mut io::stdout().lock(), &report, options.has("json"));
    if report.faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn refuse(what: &str) -> ExitCode {
    eprintln!("{what}\n{USAGE}");
    ExitCode::from(UNCHECKED)
}

fn print(out: &mut dyn Write, report: &Report, json: bool) -> io::Result<()> {
    for fault in &report.faults {
        if json {
            writeln!(out, "{}", fault_json(fault))?;
        } else {
            writeln!(out, "{fault}")?;
        }
    }
    let Report {
        logs,
        segments,
        batches,
        bytes,
        faults,
    } = report;
    let count = faults.len();
    if json {
        let total = json!({"logs": logs, "segments": segments, "batches": batches, "bytes": bytes, "faults": count});
        writeln!(out, "{total}")
    } else {
        writeln!(
            out,
            "{count} faults in {logs} logs, {segments} segments, {batches} batches, {bytes} bytes"
        )
    }
}

fn fault_json(fault: &Fault) -> serde_json::Value {
    json!({
        "path": fault.path.to_string_lossy(),
        "position": fault.position,
        "fault": fault.what,
        "recovery": fault.then.to_string(),
    })
}
