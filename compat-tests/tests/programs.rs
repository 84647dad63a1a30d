//! Programs that build on Kafka work, not only client libraries: Kafka Streams, Kafka Connect, Spring, syslog daemons.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use compat_tests::apache::Apache;
use compat_tests::client::demand;
use compat_tests::java::{classes, jars};
use compat_tests::matrix::{Cell, Outcome, record};
use compat_tests::node::{Node, free_port};
use compat_tests::packages::{self, fetch, once};
use compat_tests::programs::run;

const PROGRAM_LIMIT: Duration = Duration::from_secs(900);

fn program(name: &str) -> PathBuf {
    packages::program(&format!("programs/{name}"))
}

fn packages(name: &str) -> Result<PathBuf> {
    packages::packages(&format!("programs/{name}"))
}

/// Class path of a program: the jars of its pom.xml, and its classes if it has sources.
fn java(name: &str) -> Result<(PathBuf, String)> {
    let dir = packages(name)?;
    let jars = jars(&dir.join("jars"), &program(name).join("pom.xml"), &[])?;
    let sources: Vec<PathBuf> = std::fs::read_dir(program(name))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "java"))
        .collect();
    let compiled = dir.join("classes");
    if !sources.is_empty() {
        classes(&compiled, &jars, &["-parameters"], &sources)?;
    }
    Ok((dir, format!("{}:{jars}", compiled.display())))
}

/// Version of an artifact among the jars.
fn version_of(dir: &Path, artifact: &str) -> String {
    let names = std::fs::read_dir(dir.join("jars"))
        .into_iter()
        .flatten()
        .flatten();
    names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(
                name.strip_prefix(artifact)?
                    .strip_prefix('-')?
                    .strip_suffix(".jar")?
                    .to_owned(),
            )
        })
        .next()
        .unwrap_or_default()
}

/// Runs a program that prints the cells `expected`; records them, then fails if one did not pass.
fn measure(
    title: &str,
    name: &str,
    version: &str,
    expected: &[&str],
    command: &mut Command,
) -> Result<()> {
    let (mut cells, why): (Vec<Cell>, String) = match run(command, "", PROGRAM_LIMIT) {
        Ok(finished) => (
            finished.stdout.lines().filter_map(Cell::read).collect(),
            finished.stderr,
        ),
        Err(error) => (Vec::new(), format!("{error:#}")),
    };
    for feature in expected {
        if !cells.iter().any(|cell| cell.feature == *feature) {
            let why: Vec<&str> = why.split_whitespace().take(40).collect();
            cells.push(Cell {
                feature: (*feature).to_owned(),
                outcome: Outcome::Fail,
                note: format!("no result: {}", why.join(" ")),
            });
        }
    }
    record(
        title,
        &format!("clients/programs/{name}"),
        &[(version.to_owned(), cells.clone())],
    )?;
    demand(title, version, &cells)
}

#[test]
#[ignore = "needs java and maven"]
fn kafka_streams() -> Result<()> {
    let (dir, classes) = java("streams")?;
    let (node, state) = (Node::start()?, tempfile::tempdir()?);
    measure(
        "Kafka Streams",
        "streams",
        &version_of(&dir, "kafka-streams"),
        &["word_count", "join", "repartition"],
        Command::new("java")
            .args([
                "-Xmx256m",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                &classes,
                "Streams",
            ])
            .arg(node.address())
            .arg(state.path()),
    )
}

#[test]
#[ignore = "needs java, maven and curl"]
fn kafka_connect() -> Result<()> {
    let (dir, _) = java("connect")?;
    let (node, work) = (Node::start()?, tempfile::tempdir()?);
    measure(
        "Kafka Connect, distributed",
        "connect",
        &version_of(&dir, "connect-runtime"),
        &["file_source_and_sink", "restart_from_its_topics"],
        Command::new("bash")
            .arg(program("connect").join("run.sh"))
            .arg(node.address())
            .arg(dir.join("jars"))
            .arg(work.path())
            .arg(free_port()?.to_string()),
    )
}

#[test]
#[ignore = "needs java, maven and kcat"]
fn mirror_maker() -> Result<()> {
    let (dir, _) = java("mirror")?;
    let (node, work) = (Node::start()?, tempfile::tempdir()?);
    let apache = Apache::start(work.path(), &work.path().join("apache"))?;
    measure(
        "MirrorMaker 2, from Apache Kafka",
        "mirror",
        &version_of(&dir, "connect-mirror"),
        &[
            "records_each_once",
            "goes_on_after_a_restart",
            "the_group_goes_on",
        ],
        Command::new("bash")
            .arg(program("mirror").join("run.sh"))
            .args([apache.address(), node.address()])
            .arg(dir.join("jars"))
            .arg(work.path()),
    )?;
    apache.stop()
}

#[test]
#[ignore = "needs java and maven"]
fn spring_kafka() -> Result<()> {
    let (dir, classes) = java("spring")?;
    let node = Node::start()?;
    measure(
        "Spring for Apache Kafka",
        "spring",
        &version_of(&dir, "spring-kafka"),
        &["listener_and_reply", "transactions"],
        Command::new("java")
            .args([
                "-Xmx256m",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                &classes,
                "Spring",
            ])
            .arg(node.address()),
    )
}

#[test]
#[ignore = "needs apt-get and kcat"]
fn syslog_daemons() -> Result<()> {
    const PACKAGES: [&str; 11] = [
        "rsyslog",
        "rsyslog-kafka",
        "libestr0",
        "libfastjson4",
        "liblognorm5",
        "syslog-ng-core",
        "syslog-ng-mod-rdkafka",
        "libivykis0",
        "libnet1",
        "libpcre3",
        "librdkafka1",
    ];
    let dir = packages("syslog")?;
    once(&dir, || {
        fetch(
            Command::new("apt-get")
                .args(["download", "-q"])
                .args(PACKAGES)
                .current_dir(&dir),
        )?;
        for entry in std::fs::read_dir(&dir)?.flatten() {
            if entry.path().extension().is_some_and(|kind| kind == "deb") {
                fetch(
                    Command::new("dpkg-deb")
                        .arg("-x")
                        .arg(entry.path())
                        .arg(dir.join("root")),
                )?;
            }
        }
        Ok(())
    })?;
    for name in ["rsyslog", "syslog-ng"] {
        let command = |address: &str| {
            let mut command = Command::new("bash");
            command
                .arg(program("syslog").join("run.sh"))
                .arg(name)
                .arg(dir.join("root"))
                .arg(address);
            command
        };
        let version = fetch(&mut command("version"))?;
        let node = Node::start()?;
        measure(
            name,
            "syslog",
            &version,
            &["twenty_lines_of_a_file"],
            &mut command(&node.address()),
        )?;
    }
    Ok(())
}
