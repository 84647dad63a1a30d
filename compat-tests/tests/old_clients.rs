//! Java clients of ten years ago and of today share topics and groups. Clients before 0.11 know only the message formats v0 and
//! v1: what they send is converted to record batches, and what they get is converted back.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use compat_tests::java::class_path;
use compat_tests::node::Node;
use compat_tests::packages::program;
use compat_tests::programs::{Running, eventually, succeed};

const CLIENT_LIMIT: Duration = Duration::from_secs(300);
const OLD: &str = "0.10.2.2";
const NEW: &str = "4.1.1";
const VERSIONS: [&str; 7] = ["0.9.0.1", OLD, "0.11.0.3", "1.1.1", "2.8.2", "3.9.1", NEW];
const CODECS: [&str; 4] = ["none", "gzip", "snappy", "lz4"];
const EACH: usize = 10;

/// The client's program with one version of the library.
fn java(version: &str, words: &[&str]) -> Result<Command> {
    let class_path = class_path(
        &format!("java/{version}"),
        &program("java/pom.xml"),
        version,
        &[program("java/Client.java")],
    )?;
    let mut command = Command::new("java");
    command
        .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &class_path])
        .arg("Client")
        .args(words);
    Ok(command)
}

/// Runs the program with one version of the library; returns its output.
fn client(version: &str, words: &[&str]) -> Result<Vec<String>> {
    let said = succeed(&mut java(version, words)?, CLIENT_LIMIT)?;
    Ok(said.lines().map(str::to_owned).collect())
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
            &["consume", &node.address(), "shared", &group, &count, "200"],
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
    let member = |version: &str| {
        let forever = ["9999", "9999"];
        let words = [&["consume", &address, "divided", "both"][..], &forever].concat();
        Running::start(&mut java(version, &words)?)
    };
    let members = [member(OLD)?, member(NEW)?];
    let sent = fill(&node, &[OLD, NEW], "divided")?;
    let seen = || {
        let lines = members.iter().flat_map(Running::lines);
        // The output also contains the library's log lines. Records are those lines whose key equals the value.
        let is_record = |line: &String| matches!(line.split_once('='), Some((k, v)) if k == v);
        let mut seen: Vec<String> = lines.filter(is_record).collect();
        seen.sort();
        seen
    };
    eventually(CLIENT_LIMIT, || seen().len() >= sent.len());
    ensure!(
        seen() == Vec::from_iter(sent),
        "the two of them saw {:?}",
        seen()
    );
    Ok(())
}
