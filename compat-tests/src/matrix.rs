//! The matrix of clients: measured results, stored in `matrix.tsv` and shown in `README.md` of this crate's folder.
//!
//! A row is a cell: client, version, feature, outcome, note, date, version of the broker, program that measured it, and that
//! program's digest. The last line of the file is a digest of all rows, so that results change only by another run of the
//! suite.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;

/// Features that are measured of a client library, in the order of the table's columns.
pub const FEATURES: [&str; 9] = [
    "produce",
    "consume",
    "group",
    "compression",
    "headers",
    "timestamps",
    "admin",
    "idempotence",
    "transactions",
];

/// Clients that could not be measured here, with the reason.
const NOT_HAD: [&str; 1] = [
    "Confluent.Kafka for .NET: NuGet, which has it, was out of reach. Its source 2.0.2, compiled by hand with Mono 6.8 and on \
     librdkafka 2.0.2, did on 2026-11-21 all that is asked above, but for the death of a member, which was not tried",
];

const DIGEST: &str = "# digest ";
const FRESH: &str = "run `cargo compat` for this client, which measures and writes both";

/// Result of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    Fail,
    /// The client library does not have the feature.
    NotApplicable,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotApplicable => "n/a",
        }
    }

    fn read(word: &str) -> Option<Self> {
        [Self::Pass, Self::Fail, Self::NotApplicable]
            .into_iter()
            .find(|outcome| outcome.word() == word)
    }
}

/// Result of one feature. The note names the kinds that passed, or the reason of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub feature: String,
    pub outcome: Outcome,
    pub note: String,
}

impl Cell {
    /// Reads `cell FEATURE OUTCOME NOTE…`, as the test programs of the clients print it.
    pub fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("cell ")?.splitn(3, ' ');
        Some(Self {
            feature: words.next()?.to_owned(),
            outcome: Outcome::read(words.next()?)?,
            note: words.next().unwrap_or_default().trim().replace('\t', " "),
        })
    }
}

#[derive(Clone, Debug)]
struct Row {
    client: String,
    version: String,
    cell: Cell,
    date: String,
    broker: String,
    /// File or folder of the test program, relative to the crate, with its digest.
    program: String,
    digest: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether this run records its measurements.
pub fn recording() -> bool {
    std::env::var_os("COMPAT_RECORD").is_some()
}

/// Replaces all rows of a client by those of the given versions. Does nothing unless [`recording`].
pub fn record(client: &str, program: &str, measured: &[(String, Vec<Cell>)]) -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if !recording() {
        return Ok(());
    }
    let _guard = ONE_AT_A_TIME.lock();
    let path = root().join("matrix.tsv");
    let mut rows = read(&fs::read_to_string(&path).unwrap_or_default())?;
    rows.retain(|row| row.client != client);
    let said = Command::new(crate::node::binary())
        .arg("--version")
        .output()?;
    let broker = String::from_utf8_lossy(&said.stdout)
        .trim()
        .replace("monedula ", "");
    let today = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
    let date = String::from_utf8_lossy(&today.stdout).trim().to_owned();
    for (version, cells) in measured {
        rows.extend(cells.iter().map(|cell| Row {
            client: client.to_owned(),
            version: version.clone(),
            cell: cell.clone(),
            date: date.clone(),
            broker: broker.clone(),
            program: program.to_owned(),
            digest: digest_of(program),
        }));
    }
    let written = write(&rows);
    fs::write(&path, &written)?;
    let readme = root().join("README.md");
    let text = fs::read_to_string(&readme)?;
    // Rows in the order of the file, which is the order in which `check` reads them.
    fs::write(&readme, replaced(&text, &table(&read(&written)?))?)?;
    Ok(())
}

/// Checks that file, README and test programs are consistent. Errors: what is not.
pub fn check() -> Result<()> {
    let rows = read(&fs::read_to_string(root().join("matrix.tsv"))?)?;
    for row in &rows {
        ensure!(
            row.digest == digest_of(&row.program),
            "matrix.tsv: {} changed after {} {} was measured; {FRESH}",
            row.program,
            row.client,
            row.version
        );
    }
    let readme = fs::read_to_string(root().join("README.md"))?;
    ensure!(
        replaced(&readme, &table(&rows))? == readme,
        "compat-tests/README.md: the table of clients is not what matrix.tsv says; {FRESH}"
    );
    Ok(())
}

fn read(text: &str) -> Result<Vec<Row>> {
    let Some((body, digest)) = text.split_once(DIGEST) else {
        ensure!(text.is_empty(), "matrix.tsv has no digest; {FRESH}");
        return Ok(Vec::new());
    };
    ensure!(
        digest.trim() == sum(body.as_bytes()),
        "matrix.tsv was changed by hand; {FRESH}"
    );
    body.lines()
        .map(|line| row(line).with_context(|| format!("matrix.tsv: {line}")))
        .collect()
}

fn row(line: &str) -> Option<Row> {
    let mut words = line.split('\t').map(str::to_owned);
    let mut next = || words.next();
    Some(Row {
        client: next()?,
        version: next()?,
        cell: Cell {
            feature: next()?,
            outcome: Outcome::read(&next()?)?,
            note: next()?,
        },
        date: next()?,
        broker: next()?,
        program: next()?,
        digest: next()?,
    })
}

fn write(rows: &[Row]) -> String {
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| {
            [
                &row.client,
                &row.version,
                &row.cell.feature,
                row.cell.outcome.word(),
                &row.cell.note,
                &row.date,
                &row.broker,
                &row.program,
                &row.digest,
            ]
            .join("\t")
                + "\n"
        })
        .collect();
    lines.sort();
    let body = lines.concat();
    format!("{body}{DIGEST}{}\n", sum(body.as_bytes()))
}

/// Digest of a file, or of all files in a folder in the order of their paths.
fn digest_of(program: &str) -> String {
    let mut files = Vec::new();
    let mut left = vec![root().join(program)];
    while let Some(path) = left.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => left.extend(
                entries
                    .flatten()
                    .map(|entry| entry.path())
                    .filter(|path| !path.ends_with("target")),
            ),
            Err(_) => files.push(path),
        }
    }
    files.sort();
    let bytes: Vec<u8> = files
        .iter()
        .flat_map(|path: &PathBuf| fs::read(path).unwrap_or_default())
        .collect();
    sum(&bytes)
}

/// FNV-1a hash, which suffices to notice a change.
pub(crate) fn sum(bytes: &[u8]) -> String {
    let mixed = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{mixed:016x}")
}

fn replaced(readme: &str, table: &str) -> Result<String> {
    let (Some((before, rest)), Some((_, after))) = (
        readme.split_once("<!-- matrix -->\n"),
        readme.split_once("<!-- /matrix -->"),
    ) else {
        bail!("compat-tests/README.md has no place for the matrix");
    };
    debug_assert!(rest.ends_with(after));
    Ok(format!(
        "{before}<!-- matrix -->\n{table}<!-- /matrix -->{after}"
    ))
}

fn table(rows: &[Row]) -> String {
    let mut text = format!("| client | version | {} | date |\n", FEATURES.join(" | "));
    text += &"|---".repeat(FEATURES.len() + 3);
    text += "|\n";
    let mut clients: BTreeMap<(&str, Vec<u32>, &str), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let numbers = row
            .version
            .split(['.', '-'])
            .map(|part| part.parse().unwrap_or(0));
        clients
            .entry((&row.client, numbers.collect(), &row.version))
            .or_default()
            .push(row);
    }
    let mut programs =
        String::from("\n| program | version | what it did | date |\n|---|---|---|---|\n");
    let mut failures = String::new();
    for ((client, _, version), rows) in clients {
        let date = rows.first().map_or("", |row| &row.date);
        for row in rows.iter().filter(|row| row.cell.outcome == Outcome::Fail) {
            let _ = writeln!(
                failures,
                "- {client} {version}, {}: {}",
                row.cell.feature, row.cell.note
            );
        }
        if rows
            .iter()
            .all(|row| row.program.starts_with("clients/programs"))
        {
            let done: Vec<String> = rows
                .iter()
                .map(|row| {
                    format!(
                        "{}: {}",
                        row.cell.feature.replace('_', " "),
                        row.cell.outcome.word()
                    )
                })
                .collect();
            let _ = writeln!(
                programs,
                "| {client} | {version} | {} | {date} |",
                done.join(", ")
            );
            continue;
        }
        let cells = FEATURES.map(|feature| {
            let cell = rows
                .iter()
                .find(|row| row.cell.feature == feature)
                .map(|row| &row.cell);
            match cell {
                None => "not run".to_owned(),
                Some(cell) if feature == "compression" && cell.outcome == Outcome::Pass => {
                    cell.note.clone()
                }
                Some(cell) => cell.outcome.word().to_owned(),
            }
        });
        let _ = writeln!(
            text,
            "| {client} | {version} | {} | {date} |",
            cells.join(" | ")
        );
    }
    text += &programs;
    text += "\nFailed:\n\n";
    text += if failures.is_empty() {
        "- nothing\n"
    } else {
        &failures
    };
    text += "\nNot run:\n\n";
    for missing in NOT_HAD {
        let _ = writeln!(text, "- {missing}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Row> {
        let cell = Cell::read("cell compression pass gzip zstd").unwrap();
        vec![Row {
            client: "c".to_owned(),
            version: "1.10.0".to_owned(),
            cell,
            date: "2026-01-01".to_owned(),
            broker: "0.1.0".to_owned(),
            program: "Cargo.toml".to_owned(),
            digest: digest_of("Cargo.toml"),
        }]
    }

    #[test]
    fn what_is_written_is_read_again_and_a_changed_file_is_not() {
        let text = write(&sample());
        assert_eq!(write(&read(&text).unwrap()), text);
        let error = read(&text.replace("pass", "fail")).unwrap_err();
        assert!(error.to_string().contains("by hand"), "{error}");
    }

    #[test]
    fn another_table_is_noticed() {
        let table = table(&sample());
        assert!(table.contains("| c | 1.10.0 | not run |"), "{table}");
        let readme = format!("a\n<!-- matrix -->\n{table}<!-- /matrix -->\nb");
        assert_eq!(replaced(&readme, &table).unwrap(), readme);
        let edited = readme.replace("gzip zstd", "gzip lz4");
        assert_ne!(replaced(&edited, &table).unwrap(), edited);
    }
}
