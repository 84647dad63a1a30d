//! `dump-log`: what stands in a log directory's files, as text in the words of Kafka's tool or as a JSON object a line.

mod decode;
mod line;
mod segment;
mod tables;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::options::Takes::{Nothing, Value};
use super::options::{Options, Takes, parse};
use decode::Decoder;
use line::Line;
use segment::View;

const OPTIONS: &[(&str, Takes)] = &[
    ("files", Value),
    ("print-data-log", Nothing),
    ("deep-iteration", Nothing),
    ("skip-record-metadata", Nothing),
    ("max-bytes", Value),
    ("max-message-size", Value),
    ("offsets-decoder", Nothing),
    ("transaction-log-decoder", Nothing),
    ("cluster-metadata-decoder", Nothing),
    ("index-sanity-check", Nothing),
    ("verify-index-only", Nothing),
    ("json", Nothing),
    ("help", Nothing),
    ("key-decoder-class", Value),
    ("value-decoder-class", Value),
    ("remote-log-metadata-decoder", Nothing),
    ("share-group-state-decoder", Nothing),
];

/// Options of Kafka's tool that would need Java classes or topics that do not exist here.
const REFUSED: &[&str] = &[
    "key-decoder-class",
    "value-decoder-class",
    "remote-log-metadata-decoder",
    "share-group-state-decoder",
];

const USAGE: &str = "\
usage: monedula dump-log FILE|DIRECTORY… [--json]
       kafka-dump-log --files FILE,FILE… [--print-data-log] [--deep-iteration] [--skip-record-metadata]
           [--offsets-decoder | --transaction-log-decoder | --cluster-metadata-decoder]
           [--index-sanity-check | --verify-index-only] [--max-bytes SIZE] [--json]

Prints segments, indexes, snapshots and checkpoints. Files that are named without --files are shown with their records,
read as what their directory says they are.";

/// Why a file was not shown to its end.
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

/// Where lines go.
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

    /// A remark, which is no data.
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

/// Runs the tool.
pub fn run(arguments: &[String]) -> ExitCode {
    let options = match parse(arguments.iter().cloned(), OPTIONS) {
        Ok(options) => options,
        Err(error) => return refuse(&error),
    };
    if let Some(name) = REFUSED.iter().find(|name| options.has(name)) {
        return refuse(&format!("--{name} is not supported"));
    }
    if options.has("help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let listed = options.value("files").unwrap_or_default();
    let named = listed.split(',').filter(|name| !name.is_empty());
    let paths: Vec<PathBuf> = named
        .chain(options.words.iter().map(String::as_str))
        .map(PathBuf::from)
        .collect();
    if paths.is_empty() {
        return refuse("no file is named");
    }
    let mut printer = Printer {
        out: Box::new(BufWriter::new(io::stdout().lock())),
        json: options.has("json"),
        failed: None,
    };
    let mut success = true;
    for path in files(&paths) {
        printer.note(&format!("Dumping {}", path.display()));
        if let Err(error) = dump(&path, &options, &mut printer) {
            let _ = printer.out.flush();
            eprintln!("{}: {error}", path.display());
            success = false;
        }
        // Whoever closed the pipe has seen enough.
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

fn refuse(what: &str) -> ExitCode {
    eprintln!("{what}\n{USAGE}");
    ExitCode::FAILURE
}

/// The files named, and those in the directories named, in order.
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

fn dump(path: &Path, options: &Options, printer: &mut Printer) -> Result<(), Failure> {
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
        _ if options.words.is_empty() => {
            eprintln!("Ignoring unknown file {}", path.display());
            Ok(())
        }
        _ => tables::text(path, printer),
    }
}

/// What of a data file is shown.
fn view(path: &Path, options: &Options) -> View {
    let directory = path.parent().and_then(Path::file_name);
    let directory = directory.unwrap_or_default().to_string_lossy();
    let by_name = || match () {
        () if directory.starts_with("__consumer_offsets-") => Decoder::Offsets,
        () if directory.starts_with("__transaction_state-") => Decoder::Transactions,
        () if directory.starts_with("__cluster_metadata-") => Decoder::Metadata,
        () => Decoder::Text,
    };
    let records = if options.has("offsets-decoder") {
        Some(Decoder::Offsets)
    } else if options.has("transaction-log-decoder") {
        Some(Decoder::Transactions)
    } else if options.has("cluster-metadata-decoder") {
        Some(Decoder::Metadata)
    } else if options.has("print-data-log") {
        Some(Decoder::Text)
    } else if options.words.is_empty() {
        None
    } else {
        Some(by_name())
    };
    View {
        records,
        deep: options.has("deep-iteration"),
        skip_metadata: options.has("skip-record-metadata"),
        max_bytes: options
            .value("max-bytes")
            .and_then(|bytes| bytes.parse().ok())
            .unwrap_or(u64::MAX),
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

    /// What is printed of a file with this name and content, and whether it was read to its end.
    fn show(name: &str, content: &[u8], words: &[&str]) -> (String, bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let words = words.iter().map(|word| (*word).to_owned());
        let options = parse(words.chain(["named".to_owned()]), OPTIONS).unwrap();
        let page = Page::default();
        let mut printer = Printer {
            out: Box::new(page.clone()),
            json: options.has("json"),
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
