//! The table of clients in the README. Every client is tested for every feature, and `cargo compat` records the results.
//! `COMPAT_FAST` runs one version per client.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use compat_tests::apache::PRESENT;
use compat_tests::client::{demand, measure};
use compat_tests::java::{classes, jars};
use compat_tests::matrix::{Cell, record};
use compat_tests::packages::{self, fetch, once};

const JAVA_VERSIONS: [&str; 9] = [
    "0.9.0.1", "0.10.2.2", "0.11.0.3", "1.1.1", "2.8.2", "3.9.1", "4.1.1", "4.3.1", "4.4.0",
];
const PYTHON: [&str; 3] = ["kafka-python", "confluent-kafka", "aiokafka"];
const GO: [&str; 4] = ["sarama", "segmentio", "franz-go", "confluent-kafka-go"];
const RUST: [&str; 2] = ["rdkafka", "rskafka"];

fn program(language: &str) -> PathBuf {
    packages::program(&format!("matrix/{language}"))
}

/// Folder for the dependencies of a client.
fn packages(language: &str) -> Result<PathBuf> {
    packages::packages(&format!("matrix/{language}"))
}

/// Records the results, then fails if a feature did not pass.
fn settle(client: &str, language: &str, measured: &[(String, Vec<Cell>)]) -> Result<()> {
    record(client, &format!("clients/matrix/{language}"), measured)?;
    for (version, cells) in measured {
        demand(client, version, cells)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn java() -> Result<()> {
    let fast = std::env::var_os("COMPAT_FAST").is_some();
    let mut measured = Vec::new();
    for version in JAVA_VERSIONS {
        if fast && version != PRESENT {
            continue;
        }
        let dir = packages(&format!("java/{version}"))?;
        let pom = program("java").join("pom.xml");
        let jars = jars(&dir.join("jars"), &pom, &[("clients", version)])?;
        let modern = !version.starts_with("0.9") && !version.starts_with("0.10");
        let sources: &[&str] = if modern {
            &["Matrix.java", "Modern.java"]
        } else {
            &["Matrix.java"]
        };
        let sources: Vec<PathBuf> = sources
            .iter()
            .map(|source| program("java").join(source))
            .collect();
        classes(&dir.join("classes"), &jars, &[], &sources)?;
        let cells = measure(|words| {
            let mut command = Command::new("java");
            command
                .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp"])
                .arg(format!("{}/classes:{jars}", dir.display()))
                .arg("Matrix")
                .args(words);
            command
        })?;
        measured.push((version.to_owned(), cells));
    }
    settle("kafka-clients (Java)", "java", &measured)
}

#[test]
#[ignore = "needs python"]
fn python() -> Result<()> {
    let dir = packages("python")?;
    let python = packages::python_with_requirements(&dir, &program("python"))?;
    for library in PYTHON {
        let command = |words: &[&str]| {
            let mut command = Command::new(&python);
            command
                .arg(program("python").join("client.py"))
                .arg(library)
                .args(words);
            command
        };
        let version = fetch(&mut command(&["version"]))?;
        settle(
            &format!("{library} (Python)"),
            "python",
            &[(version, measure(command)?)],
        )?;
    }
    Ok(())
}

#[test]
#[ignore = "needs go and a C compiler"]
fn go() -> Result<()> {
    let binary = packages::go(&packages("go")?, &program("go"))?;
    for library in GO {
        let command = |words: &[&str]| {
            let mut command = Command::new(&binary);
            command.arg(library).args(words);
            command
        };
        let version = fetch(&mut command(&["version"]))?;
        settle(
            &format!("{library} (Go)"),
            "go",
            &[(version, measure(command)?)],
        )?;
    }
    Ok(())
}

#[test]
#[ignore = "needs node and npm"]
fn node() -> Result<()> {
    let dir = packages("node")?;
    packages::npm(&dir, &program("node"), &[])?;
    let command = |words: &[&str]| {
        let mut command = Command::new("node");
        command.arg(dir.join("client.js")).args(words);
        command
    };
    let version = fetch(&mut command(&["version"]))?;
    settle("kafkajs (Node)", "node", &[(version, measure(command)?)])
}

/// Folder of the Node.js that npm installed.
fn home_of_node(dir: &Path) -> Result<PathBuf> {
    ["x64", "arm64"]
        .map(|kind| dir.join(format!("node_modules/node-linux-{kind}")))
        .into_iter()
        .find(|home| home.exists())
        .context("npm brought no Node for this machine")
}

fn build_for_node(dir: &Path, library: &Path) -> Result<()> {
    let makefile = library.join("deps/librdkafka.gyp");
    let unlimited = std::fs::read_to_string(&makefile)?;
    std::fs::write(&makefile, unlimited.replace(r#""-j""#, r#""-j2""#))?;
    for script in ["configure", "deps/librdkafka/configure"] {
        fetch(Command::new("chmod").arg("+x").arg(library.join(script)))?;
    }
    let (home, output) = (home_of_node(dir)?, library.join("build/Release"));
    let path = std::env::var("PATH").unwrap_or_default();
    fetch(
        Command::new(home.join("bin/node"))
            .arg(dir.join("node_modules/node-gyp/bin/node-gyp.js"))
            .arg("rebuild")
            .arg(format!("--nodedir={}", home.display()))
            .arg("--module_name=confluent-kafka-javascript")
            .arg(format!("--module_path={}", output.display()))
            .arg(format!(
                "--module={}",
                output.join("confluent-kafka-javascript.node").display()
            ))
            // Links with the libraries of this machine; otherwise the build would fetch and compile its own.
            .env("CKJS_LINKING", "dynamic")
            .env("PATH", format!("{}/bin:{path}", home.display()))
            .current_dir(library),
    )
    .map(drop)
}

#[test]
#[ignore = "needs node, npm and a C++ compiler"]
fn node_confluent() -> Result<()> {
    let dir = packages("node-confluent")?;
    // The package's binary is on a server that is not a package registry. The package contains its sources, and npm has Node's
    // headers.
    let library = dir.join("node_modules/@confluentinc/kafka-javascript");
    packages::npm(&dir, &program("node-confluent"), &["--ignore-scripts"])?;
    once(&dir, || build_for_node(&dir, &library))?;
    let home = home_of_node(&dir)?;
    let command = |words: &[&str]| {
        let mut command = Command::new(home.join("bin/node"));
        command
            .arg(dir.join("client.js"))
            .args(words)
            .env("LD_LIBRARY_PATH", library.join("build/deps"));
        command
    };
    let version = fetch(&mut command(&["version"]))?;
    settle(
        "@confluentinc/kafka-javascript (Node)",
        "node-confluent",
        &[(version, measure(command)?)],
    )
}

#[test]
#[ignore = "needs cargo and a C compiler"]
fn rust() -> Result<()> {
    let dir = packages("rust")?;
    let binaries = packages::cargo(&dir, &program("rust"))?;
    for library in RUST {
        let command = |words: &[&str]| {
            let mut command = Command::new(binaries.join("client"));
            command.arg(library).args(words);
            command
        };
        let version = fetch(&mut command(&["version"]))?;
        settle(
            &format!("{library} (Rust)"),
            "rust",
            &[(version, measure(command)?)],
        )?;
    }
    Ok(())
}

#[test]
#[ignore = "needs kcat"]
fn kcat() -> Result<()> {
    let said = fetch(Command::new("kcat").arg("-V"))?;
    let version = said
        .split_whitespace()
        .skip_while(|word| *word != "Version")
        .nth(1)
        .context("kcat tells no version")?;
    let script = program("kcat").join("client.sh");
    let cells = measure(|words| {
        let mut command = Command::new("bash");
        command.arg(&script).args(words);
        command
    })?;
    settle(
        "kcat (C, librdkafka)",
        "kcat",
        &[(version.to_owned(), cells)],
    )
}
