//! The promise: the table of clients in the README. Every client is asked for every feature; `cargo compat` writes down
//! what came out. `COMPAT_FAST` runs one version per client.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::client::{demand, measure};
use compat_tests::matrix::{Cell, record};
use compat_tests::programs::run;

const FETCH_LIMIT: Duration = Duration::from_secs(900);
const JAVA_VERSIONS: [&str; 8] = [
    "0.9.0.1", "0.10.2.2", "0.11.0.3", "1.1.1", "2.8.2", "3.9.1", "4.1.1", "4.3.1",
];
const PYTHON: [&str; 3] = ["kafka-python", "confluent-kafka", "aiokafka"];
const GO: [&str; 4] = ["sarama", "segmentio", "franz-go", "confluent-kafka-go"];
const RUST: [&str; 2] = ["rdkafka", "rskafka"];

fn program(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients/matrix")
        .join(language)
}

/// A folder for what a client needs.
fn packages(language: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/clients/matrix")
        .join(language);
    std::fs::create_dir_all(&path)?;
    Ok(std::fs::canonicalize(path)?)
}

fn succeed(command: &mut Command) -> Result<String> {
    let finished = run(command, "", FETCH_LIMIT)?;
    ensure!(
        finished.success,
        "{command:?}\n{}\n{}",
        finished.stdout,
        finished.stderr
    );
    Ok(finished.stdout.trim().to_owned())
}

/// Writes down what was measured, then fails if something did not pass.
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
        if fast && version != "4.3.1" {
            continue;
        }
        let dir = packages("java")?.join(version);
        if !dir.join(".complete").exists() {
            succeed(
                Command::new("mvn")
                    .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
                    .arg(program("java").join("pom.xml"))
                    .arg(format!("-Dclients={version}"))
                    .arg(format!("-DoutputDirectory={}", dir.display())),
            )?;
            std::fs::write(dir.join(".complete"), "")?;
        }
        let jars = format!("{}/*", dir.display());
        let modern = !version.starts_with("0.9") && !version.starts_with("0.10");
        let sources: &[&str] = if modern {
            &["Matrix.java", "Modern.java"]
        } else {
            &["Matrix.java"]
        };
        succeed(
            Command::new("javac")
                .args(["-nowarn", "-cp", &jars, "-d"])
                .arg(dir.join("classes"))
                .args(sources)
                .current_dir(program("java")),
        )?;
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
    let python = dir.join("bin/python");
    if !python.exists() {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
    }
    succeed(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(program("python").join("requirements.txt")),
    )?;
    for library in PYTHON {
        let command = |words: &[&str]| {
            let mut command = Command::new(&python);
            command
                .arg(program("python").join("client.py"))
                .arg(library)
                .args(words);
            command
        };
        let version = succeed(&mut command(&["version"]))?;
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
    let binary = packages("go")?.join("client");
    succeed(
        Command::new("go")
            .args(["build", "-o"])
            .arg(&binary)
            .arg(".")
            .current_dir(program("go")),
    )?;
    for library in GO {
        let command = |words: &[&str]| {
            let mut command = Command::new(&binary);
            command.arg(library).args(words);
            command
        };
        let version = succeed(&mut command(&["version"]))?;
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
    for file in ["package.json", "client.js"] {
        std::fs::copy(program("node").join(file), dir.join(file))?;
    }
    succeed(
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund"])
            .current_dir(&dir),
    )?;
    let command = |words: &[&str]| {
        let mut command = Command::new("node");
        command.arg(dir.join("client.js")).args(words);
        command
    };
    let version = succeed(&mut command(&["version"]))?;
    settle("kafkajs (Node)", "node", &[(version, measure(command)?)])
}

#[test]
#[ignore = "needs node, npm and a C++ compiler"]
fn node_confluent() -> Result<()> {
    let dir = packages("node-confluent")?;
    for file in ["package.json", "client.js"] {
        std::fs::copy(program("node-confluent").join(file), dir.join(file))?;
    }
    // Its binary is on a server that is no package registry, but it carries its sources, and npm has Node's headers.
    let library = dir.join("node_modules/@confluentinc/kafka-javascript");
    if !dir.join(".complete").exists() {
        succeed(
            Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
                .current_dir(&dir),
        )?;
    }
    let home = ["x64", "arm64"]
        .map(|kind| dir.join(format!("node_modules/node-linux-{kind}")))
        .into_iter()
        .find(|home| home.exists())
        .context("npm brought no Node for this machine")?;
    if !dir.join(".complete").exists() {
        let makefile = library.join("deps/librdkafka.gyp");
        let unlimited = std::fs::read_to_string(&makefile)?;
        std::fs::write(&makefile, unlimited.replace(r#""-j""#, r#""-j2""#))?;
        for script in ["configure", "deps/librdkafka/configure"] {
            succeed(Command::new("chmod").arg("+x").arg(library.join(script)))?;
        }
        let output = library.join("build/Release");
        let path = std::env::var("PATH").unwrap_or_default();
        succeed(
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
                // With the libraries of this machine; otherwise it would fetch and build its own.
                .env("CKJS_LINKING", "dynamic")
                .env("PATH", format!("{}/bin:{path}", home.display()))
                .current_dir(&library),
        )?;
        std::fs::write(dir.join(".complete"), "")?;
    }
    let command = |words: &[&str]| {
        let mut command = Command::new(home.join("bin/node"));
        command
            .arg(dir.join("client.js"))
            .args(words)
            .env("LD_LIBRARY_PATH", library.join("build/deps"));
        command
    };
    let version = succeed(&mut command(&["version"]))?;
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
    succeed(
        Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--manifest-path"])
            .arg(program("rust").join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", &dir),
    )?;
    for library in RUST {
        let command = |words: &[&str]| {
            let mut command = Command::new(dir.join("debug/client"));
            command.arg(library).args(words);
            command
        };
        let version = succeed(&mut command(&["version"]))?;
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
    let said = run(Command::new("kcat").arg("-V"), "", FETCH_LIMIT)?.stdout;
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
