//! `verify-log`: checks a data directory offline, and prints one line for each fault with what the next start would do about
//! it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::host::disk::Disk;
use crate::log::verify::{Fault, Report, verify};

/// Check a data directory offline
#[derive(Args, Debug)]
#[command(
    long_about = "Check a data directory, or the directory of one partition, offline: checksums, offsets, indexes, leader epochs, \
snapshots of producers, checkpoints, and what interrupted work left. Prints a line for each fault with what the next start would \
do about it, and a last line of what was read. What is in order but may surprise, as the directory of a deleted topic that is \
not removed yet, is a line that begins with 'note: ' and no fault. Nothing is written.

Exit status: 0 without faults, 1 with faults, 2 if nothing could be checked.",
    after_help = "Examples:
  monedula verify-log ./monedula-data
  monedula verify-log --json ./monedula-data/orders-0"
)]
#[group(skip)]
pub struct VerifyLog {
    /// The directory
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// Print JSON objects, one on each line
    #[arg(long)]
    json: bool,
}

/// Exit status if nothing could be checked, so that it is unknown whether there are faults.
pub const UNCHECKED: u8 = 2;

impl VerifyLog {
    pub fn run(&self) -> ExitCode {
        let report = match verify(Disk::default().dir(&self.directory)) {
            Ok(report) => report,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(UNCHECKED);
            }
        };
        if !report.is_of_something() {
            eprintln!(
                "{}: nothing was checked: there is neither a log nor a meta.properties",
                self.directory.display()
            );
            return ExitCode::from(UNCHECKED);
        }
        // If this fails, the reader of the output has closed the pipe.
        let _ = print(&mut io::stdout().lock(), &report, self.json);
        if report.faults.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn print(out: &mut dyn Write, report: &Report, json: bool) -> io::Result<()> {
    for fault in &report.faults {
        if json {
            writeln!(out, "{}", line_json(fault, "fault"))?;
        } else {
            writeln!(out, "{fault}")?;
        }
    }
    for note in &report.notes {
        if json {
            writeln!(out, "{}", line_json(note, "note"))?;
        } else {
            writeln!(out, "note: {note}")?;
        }
    }
    let Report {
        logs,
        segments,
        batches,
        bytes,
        faults,
        ..
    } = report;
    let count = faults.len();
    if json {
        let total = json!({"logs": logs, "segments": segments, "batches": batches, "bytes": bytes, "faults": count});
        writeln!(out, "{total}")
    } else {
        writeln!(
            out,
            "{} in {}, {}, {}, {}",
            counted(count as u64, "fault", "faults"),
            counted(*logs as u64, "log", "logs"),
            counted(*segments as u64, "segment", "segments"),
            counted(*batches, "batch", "batches"),
            counted(*bytes, "byte", "bytes"),
        )
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn line_json(fault: &Fault, kind: &str) -> serde_json::Value {
    json!({
        "path": fault.path.to_string_lossy(),
        "position": fault.position,
        kind: fault.what,
        "recovery": fault.then.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::verify::Then;

    fn said(report: &Report, json: bool) -> String {
        let mut out = Vec::new();
        print(&mut out, report, json).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_is_no_several_and_a_note_is_no_fault() {
        let line = |what: &str| Fault {
            path: "t-0".into(),
            position: None,
            what: what.to_owned(),
            then: Then::RemoveLater,
        };
        let mut report = Report {
            logs: 1,
            segments: 2,
            batches: 1,
            bytes: 100,
            notes: vec![line("a deleted partition")],
            ..Report::default()
        };
        assert_eq!(
            said(&report, false),
            "note: t-0: a deleted partition; the next start removes it after file.delete.delay.ms\n\
             0 faults in 1 log, 2 segments, 1 batch, 100 bytes\n"
        );
        report.faults.push(line("x"));
        assert!(said(&report, false).contains("\n1 fault in 1 log,"));
        let json = said(&report, true);
        assert!(json.contains(r#""note":"a deleted partition""#), "{json}");
        assert!(json.contains(r#""faults":1"#), "{json}");
    }

    #[test]
    fn where_nothing_is_to_be_checked_nothing_is_called_good() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), "x").unwrap();
        assert!(
            !verify(Disk::default().dir(dir.path()))
                .unwrap()
                .is_of_something()
        );
        std::fs::create_dir(dir.path().join("t-0")).unwrap();
        assert!(
            verify(Disk::default().dir(dir.path()))
                .unwrap()
                .is_of_something()
        );
    }
}
