//! Public test suites of client libraries: the tests that pass on Apache Kafka and on monedula, shown in `PUBLIC_SUITES.md`.
//!
//! Each suite has a section there, which the run that measured it has written. The section's last line is a digest of the
//! section, so that it cannot be changed by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;

use crate::apache::{Apache, PRESENT};
use crate::matrix::{recording, sum};
use crate::node::{Node, binary, free_port};
use crate::programs;

/// Result of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Passed,
    Failed,
    Skipped,
    /// No result: the suite was cut short, or the suite does not contain the test on this broker.
    Silent,
}

impl Ended {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Silent => "-",
        }
    }
}

/// Results of tests, by name.
pub type Results = BTreeMap<String, Ended>;

/// A public test suite.
#[derive(Debug)]
pub struct Suite {
    pub name: &'static str,
    pub version: &'static str,
    /// Source of the tests, and the changes made to them.
    pub origin: &'static str,
    /// Settings added to those of a minimal node, for both brokers.
    pub settings: &'static str,
    /// Tests that pass on Apache Kafka but not here, with the reason; a name may end with `*`.
    pub missing: &'static [(&'static str, &'static str)],
}

/// Ports of the broker that a suite runs against.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub plain: u16,
    /// Listener with SASL, for the users of [`SECURED`] and [`SCRAM_USERS`].
    pub sasl: u16,
}

/// Settings of both brokers beside those of a minimal node: ACLs work, everybody may use what has none, and there is a listener
/// with SASL at the port `{sasl}`.
const SECURED: &str = "\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username=\"adminplain\" password=\"admin-secret\" user_adminplain=\"admin-secret\";
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
";
/// Users that log in with SCRAM, with mechanism and password. Apache Kafka takes one mechanism of a user in a request.
pub const SCRAM_USERS: [(&str, &str); 3] = [
    ("adminscram", "SCRAM-SHA-256=[password=admin-secret-256]"),
    ("adminscram256", "SCRAM-SHA-256=[password=admin-secret-256]"),
    ("adminscram512", "SCRAM-SHA-512=[password=admin-secret-512]"),
];
const TOOL_LIMIT: Duration = Duration::from_secs(60);

const DOCUMENT: &str = "PUBLIC_SUITES.md";
const FRESH: &str = "run `cargo compat public_suite`, which measures and writes it";
const DIGEST: &str = "<!-- digest ";

impl Suite {
    /// Runs the suite against Apache Kafka, then against monedula, and records both results. `run` gets the broker's ports and a
    /// file for its output.
    ///
    /// Errors: a test passed only on Apache Kafka and is not in `missing`.
    pub fn measure(&self, mut run: impl FnMut(Ports, &Path) -> Result<Results>) -> Result<()> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _one = ONE_AT_A_TIME.lock();
        let notes = notes(self.name)?;
        let there = {
            let dir = tempfile::tempdir()?;
            let sasl = free_port()?;
            let settings = self.settings(sasl);
            let apache =
                Apache::start_with(PRESENT, &settings, dir.path(), &dir.path().join("data"))?;
            let plain = apache.port();
            add_users(plain)?;
            let there = run(Ports { plain, sasl }, &notes.join("apache"));
            apache.stop()?;
            there.with_context(|| format!("{} on Apache Kafka", self.name))?
        };
        let here = {
            let sasl = free_port()?;
            let settings = self.settings(sasl);
            let settings = settings.replace("{controller}", &free_port()?.to_string());
            let node = Node::with_settings(&settings)?;
            let plain = node.port();
            add_users(plain)?;
            let here = run(Ports { plain, sasl }, &notes.join("ours"));
            here.with_context(|| format!("{} on ours", self.name))?
        };
        ensure!(
            there.values().any(|ended| *ended == Ended::Passed),
            "{}: nothing passed on Apache Kafka",
            self.name
        );
        record(self.name, &self.section(&there, &here)?)?;
        self.demand(&there, &here)
    }

    fn settings(&self, sasl: u16) -> String {
        let minimal = crate::apache::SETTINGS
            .replace(
                "\ncontroller.listener",
                ",SASL_PLAINTEXT://127.0.0.1:{sasl}\ncontroller.listener",
            )
            .replace(
                "CONTROLLER:PLAINTEXT",
                "CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
            );
        format!("{minimal}{SECURED}{}", self.settings).replace("{sasl}", &sasl.to_string())
    }

    fn known(&self, test: &str) -> Option<&'static str> {
        let fits = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => test.starts_with(start),
            None => test == pattern,
        };
        let known = self.missing.iter().find(|(pattern, _)| fits(pattern));
        known.map(|(_, why)| *why)
    }

    fn demand(&self, there: &Results, here: &Results) -> Result<()> {
        let passed = |results: &Results, test: &str| results.get(test) == Some(&Ended::Passed);
        let lost: Vec<&String> = there
            .keys()
            .filter(|test| passed(there, test) && !passed(here, test))
            .filter(|test| self.known(test).is_none())
            .collect();
        ensure!(lost.is_empty(), "{} passed only there: {lost:?}", self.name);
        Ok(())
    }

    fn section(&self, there: &Results, here: &Results) -> Result<String> {
        let today = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
        let count = |results: &Results| {
            let passed = results.values().filter(|ended| **ended == Ended::Passed);
            passed.count()
        };
        let mut text = format!(
            "## {} {}\n\n{}. Measured {}; passed on Apache Kafka {PRESENT}: {}, on monedula: {}.\n\n",
            self.name,
            self.version,
            self.origin,
            String::from_utf8_lossy(&today.stdout).trim(),
            count(there),
            count(here)
        );
        let of = |results: &Results, test: &str| {
            let ended = results.get(test).copied();
            ended.unwrap_or(Ended::Silent)
        };
        let tests: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
        let (both, others): (Vec<&String>, Vec<&String>) = tests
            .iter()
            .partition(|test| of(there, test) == Ended::Passed && of(here, test) == Ended::Passed);
        if !others.is_empty() {
            text += "| not passed on both | Apache Kafka | monedula | |\n|---|---|---|---|\n";
            for test in others {
                let (there, here) = (of(there, test), of(here, test));
                let why = match there {
                    Ended::Passed => self.known(test).unwrap_or("to be looked into"),
                    _ => "",
                };
                let _ = writeln!(
                    text,
                    "| `{test}` | {} | {} | {why} |",
                    there.word(),
                    here.word()
                );
            }
            text += "\n";
        }
        let names: Vec<String> = both.iter().map(|test| format!("`{test}`")).collect();
        let _ = writeln!(text, "Passed on both: {}.\n", names.join(", "));
        let digest = sum(text.as_bytes());
        let _ = writeln!(text, "{DIGEST}{digest} -->\n");
        Ok(text)
    }
}

/// Makes [`SCRAM_USERS`] with this project's own tool, on either broker.
fn add_users(port: u16) -> Result<()> {
    for (user, passwords) in SCRAM_USERS {
        let mut command = Command::new(binary());
        command
            .args(["configs", "--bootstrap-server"])
            .arg(format!("127.0.0.1:{port}"))
            .args(["--alter", "--user", user, "--add-config", passwords]);
        let added = programs::run(&mut command, "", TOOL_LIMIT)?;
        ensure!(added.success, "{user}: {}{}", added.stdout, added.stderr);
    }
    Ok(())
}

/// Folder for the output of suites, which is kept between runs.
fn notes(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/suites/notes");
    let path = path.join(name.replace([' ', '/'], "-"));
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT)
}

fn record(name: &str, section: &str) -> Result<()> {
    if recording() {
        let text = fs::read_to_string(document())?;
        fs::write(document(), replaced(&text, name, section))?;
    }
    Ok(())
}

/// Replaces a suite's section; sections are in alphabetical order.
fn replaced(text: &str, name: &str, section: &str) -> String {
    let (head, mut sections) = split(text);
    sections.insert(name.to_owned(), section.to_owned());
    head + &sections.into_values().collect::<String>()
}

/// The text before the sections, and the sections by the names of their suites.
fn split(text: &str) -> (String, BTreeMap<String, String>) {
    let mut parts = text.split("\n## ");
    let head = format!("{}\n", parts.next().unwrap_or_default().trim_end());
    let sections = parts.filter_map(|part| {
        let title = part.lines().next()?;
        let (name, _version) = title.rsplit_once(' ')?;
        Some((name.to_owned(), format!("## {}\n\n", part.trim_end())))
    });
    (head + "\n", sections.collect())
}

/// Checks that every section is as a run wrote it.
pub fn check() -> Result<()> {
    let text = fs::read_to_string(document())?;
    let (_, sections) = split(&text);
    ensure!(!sections.is_empty(), "{DOCUMENT} is empty; {FRESH}");
    for (name, section) in sections {
        let Some((body, digest)) = section.split_once(DIGEST) else {
            bail!("{DOCUMENT}: {name} has no digest; {FRESH}");
        };
        ensure!(
            digest.trim() == format!("{} -->", sum(body.as_bytes())),
            "{DOCUMENT}: {name} was changed by hand; {FRESH}"
        );
    }
    Ok(())
}

/// Reads the results of top-level tests from the output of `go test -v`, without those of subtests.
pub fn read_go(text: &str) -> Results {
    let ended = [
        ("--- PASS: ", Ended::Passed),
        ("--- FAIL: ", Ended::Failed),
        ("--- SKIP: ", Ended::Skipped),
    ];
    let mut results = Results::new();
    for line in text.lines() {
        // Output of a test without a newline at its end may stand before the mark.
        for (mark, ended) in ended {
            let Some((before, rest)) = line.split_once(mark) else {
                continue;
            };
            if !before.starts_with(' ')
                && let Some(name) = rest.split(' ').next()
            {
                results.insert(name.to_owned(), ended);
            }
        }
        // A test without a result: it timed out, or it ended the whole program.
        if let Some(name) = line.strip_prefix("=== RUN   ")
            && !name.contains('/')
        {
            results.entry(name.to_owned()).or_insert(Ended::Silent);
        }
    }
    results
}

/// Reads the results from the output of pytest with `-rA --no-fold-skipped`.
pub fn read_pytest(text: &str) -> Results {
    let ended = [
        ("PASSED ", Ended::Passed),
        ("FAILED ", Ended::Failed),
        ("ERROR ", Ended::Failed),
        ("SKIPPED ", Ended::Skipped),
    ];
    let mut results = Results::new();
    for line in text.lines() {
        for (mark, ended) in ended {
            if let Some(rest) = line.strip_prefix(mark)
                && let Some((file, name)) = rest.split_once(".py::")
                && !file.contains(' ')
            {
                let name = name.split(" - ").next().unwrap_or(name);
                let name = name.replace('|', " ");
                results.insert(name, ended);
            }
        }
    }
    results
}

/// Reads the results from the output of librdkafka's test runner.
pub fn read_librdkafka(text: &str) -> Results {
    let mut results = Results::new();
    for line in text.lines() {
        let Some((_, rest)) = line.split_once("= Test ") else {
            continue;
        };
        let mut words = rest.split(' ');
        let (Some(name), Some(word)) = (words.next(), words.next()) else {
            continue;
        };
        let ended = match word {
            "PASSED" => Ended::Passed,
            "FAILED" => Ended::Failed,
            "SKIPPED" => Ended::Skipped,
            _ => continue,
        };
        results.insert(name.to_owned(), ended);
    }
    // A test that aborts prints only this line.
    for rest in text.split("### Test \"").skip(1) {
        let name = rest.split(['"', ' ']).next().unwrap_or_default();
        // The runner itself has a name of this form.
        if !name.starts_with('<') {
            results.insert(name.to_owned(), Ended::Failed);
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITE: Suite = Suite {
        name: "some suite",
        version: "1.0",
        origin: "From somewhere",
        settings: "",
        missing: &[("TestAcl*", "no ACLs")],
    };

    #[test]
    fn a_section_takes_the_place_of_the_old_one() {
        let there =
            read_go("--- PASS: TestA (0.1s)\n    --- PASS: TestA/part\n--- PASS: TestAclB (0s)\n");
        let here = read_go("=== RUN   TestA\nsaid--- PASS: TestA (0s)\n--- FAIL: TestAclB (0s)\n");
        let section = SUITE.section(&there, &here).unwrap();
        assert!(
            section.contains("| `TestAclB` | passed | failed | no ACLs |"),
            "{section}"
        );
        assert!(section.contains("Passed on both: `TestA`."), "{section}");
        SUITE.demand(&there, &here).unwrap();
        let text = replaced("# Title\n", "some suite", &section);
        assert_eq!(replaced(&text, "some suite", &section), text);
        let more = replaced(&text, "another", "## another 2\n\nx\n\n");
        assert!(more.find("another") < more.find("some suite"), "{more}");
    }

    #[test]
    fn what_is_lost_is_an_error() {
        let there =
            read_pytest("PASSED test/a.py::test_b[gzip]\nSKIPPED test/a.py::test_c - why\n");
        let here = read_pytest("FAILED test/a.py::test_b[gzip] - Error: x\n");
        let error = SUITE.demand(&there, &here).unwrap_err().to_string();
        assert!(error.contains("test_b[gzip]"), "{error}");
        assert_eq!(there.get("test_c"), Some(&Ended::Skipped));
        let c = read_librdkafka(
            "[0m[32m===== Test 0001_a PASSED =====[0m\n[31m### Test \"0081_admin (do:1)\" failed at x.c:1\n",
        );
        assert_eq!(c.get("0001_a"), Some(&Ended::Passed));
        assert_eq!(c.get("0081_admin"), Some(&Ended::Failed));
    }
}
