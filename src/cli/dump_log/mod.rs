//! `dump-log`: prints the content of a log directory's files, as text in the format of Kafka's tool or as one JSON object per
//! line.

pub(in crate::cli) mod decode;
mod line;
mod segment;
mod tables;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use decode::Decoder;
use line::Line;
use segment::View;

/// Print segments, indexes, snapshots and checkpoints
#[derive(Args, Debug, Default)]
#[command(
    long_about = "Print segments, indexes, snapshots and checkpoints. Files that are named without --files are printed with their \
records, read as what their directory says they are.",
    after_help = "Examples:
  monedula dump-log ./monedula-data/orders-0
  monedula dump-log --files orders-0/00000000000000000000.log --print-data-log"
)]
#[group(skip)]
pub struct DumpLog {
    /// Files, and directories whose files are printed
    #[arg(value_name = "FILE|DIRECTORY", required_unless_present = "files")]
    paths: Vec<PathBuf>,
    /// Files, with commas between them
    #[arg(long, value_name = "FILE,...")]
    files: Option<String>,
    /// Print records too
    #[arg(long)]
    print_data_log: bool,
    /// Look into compressed batches
    #[arg(long)]
    deep_iteration: bool,
    /// Print keys and values of records alone
    #[arg(long)]
    skip_record_metadata: bool,
    /// Read at most this number of bytes of each segment
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Read records as those of __consumer_offsets
    #[arg(long)]
    offsets_decoder: bool,
    /// Read records as those of __transaction_state
    #[arg(long)]
    transaction_log_decoder: bool,
    /// Read records as those of __share_group_state
    #[arg(long)]
    share_group_state_decoder: bool,
    /// Read records as those of __cluster_metadata
    #[arg(long)]
    cluster_metadata_decoder: bool,
    /// Check indexes and print nothing of them
    #[arg(long)]
    index_sanity_check: bool,
    /// Compare indexes with their segments and print nothing of them
    #[arg(long)]
    verify_index_only: bool,
    /// Print JSON objects, one on each line
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    max_message_size: Option<u64>,
    #[command(flatten)]
    refused: Refused,
}

/// Options of Kafka's tool that would need Java classes or topics that do not exist here.
#[derive(Args, Debug, Default)]
#[group(skip)]
struct Refused {
    #[arg(long, hide = true)]
    key_decoder_class: Option<String>,
    #[arg(long, hide = true)]
    value_decoder_class: Option<String>,
    #[arg(long, hide = true)]
    remote_log_metadata_decoder: bool,
}

impl Refused {
    fn given(&self) -> Option<&'static str> {
        match self {
            _ if self.key_decoder_class.is_some() => Some("key-decoder-class"),
            _ if self.value_decoder_class.is_some() => Some("value-decoder-class"),
            _ if self.remote_log_metadata_decoder => Some("remote-log-metadata-decoder"),
            _ => None,
        }
    }
}

/// Reason why a file was not printed to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{path} at position {position}: {what}")]
    Damaged {
        path: PathBuf,
        position: u64,
        what: String,
    },
}

impl Failure {
    fn damaged(path: &Path, position: u64, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            position,
            what: what.into(),
        }
    }
}

/// Output for lines.
pub struct Printer {
    out: Box<dyn Write>,
    json: bool,
    failed: Option<io::Error>,
}

impl Printer {
    fn line(&mut self, line: &Line) {
        let text = if self.json { line.json() } else { line.text() };
        self.print(&text);
    }

    /// Prints a remark, which is left out of JSON.
    fn note(&mut self, text: &str) {
        if !self.json {
            self.print(text);
        }
    }

    fn print(&mut self, text: &str) {
        if self.failed.is_none() {
            self.failed = writeln!(self.out, "{text}").err();
        }
    }
}

impl DumpLog {
    pub fn run(&self) -> ExitCode {
        if let Some(name) = self.refused.given() {
            eprintln!("--{name} is not supported");
            return ExitCode::FAILURE;
        }
        let listed = self.files.as_deref().unwrap_or_default();
        let named = listed.split(',').filter(|name| !name.is_empty());
        let paths: Vec<PathBuf> = named
            .map(PathBuf::from)
            .chain(self.paths.iter().cloned())
            .collect();
        let mut printer = Printer {
            out: Box::new(BufWriter::new(io::stdout().lock())),
            json: self.json,
            failed: None,
        };
        let mut success = true;
        for path in files(&paths) {
            printer.note(&format!("Dumping {}", path.display()));
            if let Err(error) = dump(&path, self, &mut printer) {
                let _ = printer.out.flush();
                eprintln!("{}: {error}", path.display());
                success = false;
            }
            // The reader of the output has closed the pipe.
            if printer.failed.is_some() {
                break;
            }
        }
        let _ = printer.out.flush();
        if success {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// The files named and the files in the directories named, in order.
fn files(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        match fs::read_dir(path) {
            Ok(entries) => {
                let mut inside: Vec<PathBuf> =
                    entries.flatten().map(|entry| entry.path()).collect();
                inside.sort();
                found.extend(files(&inside));
            }
            Err(_) => found.push(path.clone()),
        }
    }
    found
}

fn dump(path: &Path, options: &DumpLog, printer: &mut Printer) -> Result<(), Failure> {
    let suffix = path.extension().and_then(|suffix| suffix.to_str());
    match suffix {
        Some("log") => {
            let start = tables::base_offset(path)?;
            printer.note(&format!("Log starting offset: {start}"));
            segment::dump(path, view(path, options), printer)
        }
        Some("checkpoint") if tables::snapshot_end(path).is_some() => {
            let (end, epoch) = tables::snapshot_end(path).unwrap_or_default();
            printer.note(&format!("Snapshot end offset: {end}, epoch: {epoch}"));
            segment::dump(path, view(path, options), printer)
        }
        Some("index") => tables::offset_index(path, options, printer),
        Some("timeindex") => tables::time_index(path, options, printer),
        Some("txnindex") => tables::transaction_index(path, printer),
        Some("snapshot") => tables::producers(path, printer),
        _ if options.paths.is_empty() => {
            eprintln!("Ignoring unknown file {}", path.display());
            Ok(())
        }
        _ => tables::text(path, printer),
    }
}

/// Parts of a data file to print.
fn view(path: &Path, options: &DumpLog) -> View {
    let directory = path.parent().and_then(Path::file_name);
    let directory = directory.unwrap_or_default().to_string_lossy();
    let by_name = || match () {
        () if directory.starts_with("__consumer_offsets-") => Decoder::Offsets,
        () if directory.starts_with("__transaction_state-") => Decoder::Transactions,
        () if directory.starts_with("__share_group_state-") => Decoder::ShareStates,
        () if directory.starts_with("__cluster_metadata-") => Decoder::Metadata,
        () => Decoder::Text,
    };
    let records = if options.offsets_decoder {
        Some(Decoder::Offsets)
    } else if options.transaction_log_decoder {
        Some(Decoder::Transactions)
    } else if options.share_group_state_decoder {
        Some(Decoder::ShareStates)
    } else if options.cluster_metadata_decoder {
        Some(Decoder::Metadata)
    } else if options.print_data_log {
        Some(Decoder::Text)
    } else if options.paths.is_empty() {
        None
    } else {
        Some(by_name())
    };
    View {
        records,
        deep: options.deep_iteration,
        skip_metadata: options.skip_record_metadata,
        max_bytes: options.max_bytes.unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::wire::batch::builder::BatchBuilder;
    use crate::wire::batch::compression::Compression;
    use crate::wire::batch::legacy::SetBuilder;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Output for a file with this name and content, and whether it was read to its end.
    fn show(name: &str, content: &[u8], words: &[&str]) -> (String, bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let options = DumpLog {
            paths: vec![path.clone()],
            json: words.contains(&"--json"),
            ..DumpLog::default()
        };
        let page = Page::default();
        let mut printer = Printer {
            out: Box::new(page.clone()),
            json: options.json,
            failed: None,
        };
        let success = dump(&path, &options, &mut printer).is_ok();
        let text = String::from_utf8(page.0.lock().clone()).unwrap();
        (text, success)
    }

    fn batch() -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::Gzip);
        builder.push(5, Some(b"k"), Some(b"v"));
        builder.push(6, None, None);
        builder.build().to_vec()
    }

    #[test]
    fn json_is_an_object_a_line() {
        let (text, success) = show("t-0/00000000000000000000.log", &batch(), &["--json"]);
        assert!(success);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            (&lines[0]["count"], &lines[0]["isvalid"]),
            (&2.into(), &true.into())
        );
        assert_eq!(
            (&lines[1]["key"], &lines[1]["payload"]),
            (&"k".into(), &"v".into())
        );
        assert_eq!(
            (&lines[2]["offset"], &lines[2]["payload"]),
            (&1.into(), &serde_json::Value::Null)
        );
    }

    #[test]
    fn messages_of_old_formats_are_shown() {
        let mut set = SetBuilder::new(1, Compression::Gzip, false);
        set.push(7, 5, Some(b"k"), Some(b"v"));
        set.push(8, 6, None, Some(b"w"));
        let (text, success) = show("t-0/00000000000000000000.log", &set.build(), &[]);
        assert!(success);
        assert!(
            text.contains("offset: 8 position: 0 CreateTime: 6"),
            "{text}"
        );
        assert!(
            text.contains("| offset: 7 CreateTime: 5 keySize: 1 valueSize: 1 key: k payload: v"),
            "{text}"
        );
    }

    #[test]
    fn damage_is_said_where_it_is() {
        let name = "t-0/00000000000000000000.log";
        let good = batch();
        let cut = [&good[..], &good[..30]].concat();
        let (text, success) = show(name, &cut, &[]);
        assert!(
            success
                && text
                    .ends_with("Found 30 invalid bytes at the end of 00000000000000000000.log\n"),
            "{text}"
        );
        for at in 17..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let (text, success) = show(name, &bad, &[]);
            assert!(
                !success || text.contains("isvalid: false"),
                "byte {at}: {text}"
            );
        }
        for (name, content) in [
            ("t-0/00000000000000000000.snapshot", &b"garbage"[..]),
            ("t-0/name.log", b""),
            ("__consumer_offsets-0/00000000000000000000.log", &good),
            ("t-0/something", &[0xff, 0xfe]),
        ] {
            assert!(!show(name, content, &[]).1, "{name}");
        }
        let (text, success) = show("leader-epoch-checkpoint", b"0\n1\n5 6\n", &[]);
        assert_eq!((text.as_str(), success), ("0\n1\n5 6\n", true));
    }
}
