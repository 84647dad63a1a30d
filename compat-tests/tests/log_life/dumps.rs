//! Output of `dump-log` for every kind of file, compared with Apache Kafka's own tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use compat_tests::apache::tool;
use compat_tests::node::binary;
use compat_tests::programs::run;

const DUMP_LOG: &str = "org.apache.kafka.tools.DumpLogSegments";
const LIMIT: Duration = Duration::from_secs(120);
const INDEXES: &[&str] = &["index", "timeindex"];
const ALL: &[&str] = &["log", "index", "timeindex", "txnindex", "snapshot"];
/// Options of the tool, and the kinds of files that they are used for.
const VIEWS: &[(&[&str], &[&str])] = &[
    (&["--print-data-log"], ALL),
    (&["--deep-iteration"], &["log"]),
    (
        &[
            "--deep-iteration",
            "--print-data-log",
            "--skip-record-metadata",
        ],
        &["log"],
    ),
    (&[], &["log"]),
    (&["--index-sanity-check"], INDEXES),
    (&["--verify-index-only"], INDEXES),
];

/// Compares the output of both tools for the files of all partitions in these directories, and for some damaged files.
pub fn compare(data: &[&Path]) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut files = Vec::new();
    for data in data {
        for dir in fs::read_dir(data)? {
            let dir = dir?.path();
            let internal = dir
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("__"));
            if dir.is_dir() && !internal {
                files.extend(fs::read_dir(dir)?.flatten().map(|file| file.path()));
            }
        }
    }
    let index = files
        .iter()
        .find(|file| file.ends_with("indexed-0/00000000000000000000.index"));
    let damaged = index.map_or(Ok(Vec::new()), |index| damaged(index, scratch.path()))?;
    files.sort();
    for (options, kinds) in VIEWS {
        // Damaged files fail a sanity check, which each tool reports in its own words.
        let damaged = damaged.iter().filter(|_| options[..] == VIEWS[0].0[..]);
        let wanted = files.iter().chain(damaged).filter(|file| {
            let kind = file.extension().unwrap_or_default().to_string_lossy();
            kinds.contains(&&*kind)
        });
        let wanted: Vec<String> = wanted.map(|file| file.display().to_string()).collect();
        let listed = wanted.join(",");
        let words = [options, &["--files", &listed][..]].concat();
        let theirs = tool(DUMP_LOG, &words, "")?;
        ensure!(theirs.success, "{options:?}: {}", theirs.stderr);
        let mut command = Command::new(binary());
        let ours = run(command.arg("dump-log").args(&words), "", LIMIT)?;
        ensure!(ours.success, "{options:?}: {}", ours.stderr);
        for (ours, theirs) in sections(&ours.stdout)
            .into_iter()
            .zip(sections(&theirs.stdout))
        {
            ensure!(
                ours == theirs,
                "{options:?}\nours:   {ours:#?}\ntheirs: {theirs:#?}"
            );
        }
        ensure!(sections(&ours.stdout).len() == wanted.len());
    }
    Ok(())
}

/// The output lines of each file, sorted where producers come in the order of a hash table.
fn sections(said: &str) -> Vec<Vec<&str>> {
    let mut sections: Vec<Vec<&str>> = Vec::new();
    for line in said.lines() {
        match sections.last_mut() {
            Some(last) if !line.starts_with("Dumping ") => last.push(line),
            _ => sections.push(vec![line]),
        }
    }
    for section in &mut sections {
        if section[0].ends_with(".snapshot") {
            section.sort_unstable();
        }
    }
    sections
}

/// Copies of a segment in the states that a crash may leave: indexes with zeros at their ends or with an incomplete entry, and
/// data with an incomplete batch at its end.
fn damaged(index: &Path, scratch: &Path) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for (name, zeros, cut) in [("zeros", 120, 0), ("cut", 0, 5)] {
        let dir = scratch.join(format!("{name}-0"));
        fs::create_dir(&dir)?;
        for kind in ["log", "index", "timeindex"] {
            let source = index.with_extension(kind);
            let mut bytes = fs::read(&source)?;
            // Kafka's tool fails on data with zeros at its end.
            let zeros = if kind == "log" { 0 } else { zeros };
            bytes.resize(bytes.len() + zeros - cut, 0);
            let copy = dir.join(source.file_name().unwrap_or_default());
            fs::write(&copy, bytes)?;
            made.push(copy);
        }
    }
    Ok(made)
}
