//! The promise: Java clients of ten years ago and of today share topics and groups. Before 0.11 they know message formats
//! v0 and v1 only; what they send becomes batches, and what they get is converted back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use compat_tests::node::Node;
use compat_tests::programs::run;

const FETCH_LIMIT: Duration = Duration::from_secs(300);
const CLIENT_LIMIT: Duration = Duration::from_secs(120);
const OLD: &str = "0.10.2.2";
const NEW: &str = "4.1.1";
const VERSIONS: [&str; 7] = ["0.9.0.1", OLD, "0.11.0.3", "1.1.1", "2.8.2", "3.9.1", NEW];
const CODECS: [&str; 4] = ["none", "gzip", "snappy", "lz4"];
const EACH: usize = 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/java")
}

/// A folder with the jars of kafka-clients of `version`.
fn jars(version: &str) -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/clients/java")
        .join(version);
    if !target.join(".complete").exists() {
        let fetched = run(
            Command::new("mvn")
                .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
                .arg(folder().join("pom.xml"))
                .arg(format!("-Dclients={version}"))
                .arg(format!("-DoutputDirectory={}", target.display())),
            "",
            FETCH_LIMIT,
        )?;
        ensure!(
            fetched.success,
            "Maven: {}{}",
            fetched.stdout,
            fetched.stderr
        );
        std::fs::write(target.join(".complete"), "")?;
    }
    Ok(target)
}

/// Runs the program against one version of the library; gives what it printed.
fn client(version: &str, words: &[&str]) -> Result<Vec<String>> {
    let finished = run(
        Command::new("java")
            .args([
                "-Xmx128m",
                "-cp",
                &format!("{}/*", jars(version)?.display()),
            ])
            .arg(folder().join("Client.java"))
            .args(words),
        "",
        CLIENT_LIMIT,
    )?;
    ensure!(
        finished.success,
        "{version} {words:?}\n{}\n{}",
        finished.stdout,
        finished.stderr
    );
    Ok(finished.stdout.lines().map(str::to_owned).collect())
}

fn fill(node: &Node, versions: &[&str], topic: &str) -> Result<BTreeSet<String>> {
    let mut sent = BTreeSet::new();
    for version in versions {
        for codec in CODECS {
            let prefix = format!("{version}/{codec}/");
            let count = EACH.to_string();
            client(
                version,
                &["produce", &node.address(), topic, codec, &count, &prefix],
            )?;
            sent.extend((0..EACH).map(|index| format!("{prefix}{index}={prefix}{index}")));
        }
    }
    Ok(sent)
}

#[test]
#[ignore = "needs java and maven"]
fn every_version_reads_what_every_version_wrote() -> Result<()> {
    let node = Node::start()?;
    let sent = fill(&node, &VERSIONS, "shared")?;
    for version in VERSIONS {
        let (group, count) = (format!("group-{version}"), sent.len().to_string());
        let seen = client(
            version,
            &["consume", &node.address(), "shared", &group, &count, "30"],
        )?;
        ensure!(
            seen.len() == sent.len(),
            "{version} saw {} of {}",
            seen.len(),
            sent.len()
        );
        ensure!(
            seen.into_iter().collect::<BTreeSet<_>>() == sent,
            "{version} saw other records"
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn an_old_and_a_new_consumer_share_a_group() -> Result<()> {
    let node = Node::start()?;
    let created = node.kcat(&["-L", "-t", "divided"], "")?;
    ensure!(created.success, "{}", created.stderr);
    let address = node.address();
    let member = |version: &'static str| {
        let address = address.clone();
        thread::spawn(move || {
            client(
                version,
                &["consume", &address, "divided", "both", "9999", "45"],
            )
        })
    };
    let members = [member(OLD), member(NEW)];
    let sent = fill(&node, &[OLD, NEW], "divided")?;
    let mut seen = Vec::new();
    for member in members {
        seen.extend(
            member
                .join()
                .map_err(|_| anyhow::anyhow!("a consumer's thread ended"))??,
        );
    }
    seen.sort();
    ensure!(seen == Vec::from_iter(sent), "the two of them saw {seen:?}");
    Ok(())
}
