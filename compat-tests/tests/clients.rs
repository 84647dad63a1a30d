//! The promise: the client libraries of other languages work on us as they are. Each client is a small program that fails
//! when something is not as it would be on Apache Kafka; its packages are fetched into `target/clients`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use compat_tests::node::Node;
use compat_tests::programs::run;

const FETCH_LIMIT: Duration = Duration::from_secs(400);
const CLIENT_LIMIT: Duration = Duration::from_secs(120);

/// A folder for a client's packages, and the folder of its program.
fn folders(language: &str) -> Result<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("../target/clients").join(language);
    std::fs::create_dir_all(&packages)?;
    Ok((packages, root.join("clients").join(language)))
}

fn succeed(command: &mut Command, limit: Duration) -> Result<()> {
    let finished = run(command, "", limit)?;
    ensure!(
        finished.success,
        "{command:?}\n{}\n{}",
        finished.stdout,
        finished.stderr
    );
    Ok(())
}

#[test]
#[ignore = "needs node and npm"]
fn kafkajs() -> Result<()> {
    let (packages, program) = folders("node")?;
    std::fs::copy(program.join("package.json"), packages.join("package.json"))?;
    std::fs::copy(program.join("client.js"), packages.join("client.js"))?;
    succeed(
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund"])
            .current_dir(&packages),
        FETCH_LIMIT,
    )?;
    let node = Node::start()?;
    succeed(
        Command::new("node")
            .arg(packages.join("client.js"))
            .arg(node.address()),
        CLIENT_LIMIT,
    )
}

#[test]
#[ignore = "needs go"]
fn sarama_and_segmentio() -> Result<()> {
    let (packages, program) = folders("go")?;
    let binary = packages.join("client");
    succeed(
        Command::new("go")
            .args(["build", "-o"])
            .arg(&binary)
            .arg(".")
            .current_dir(program),
        FETCH_LIMIT,
    )?;
    let node = Node::start()?;
    succeed(Command::new(binary).arg(node.address()), CLIENT_LIMIT)
}

#[test]
#[ignore = "needs python"]
fn kafka_python() -> Result<()> {
    let (packages, program) = folders("python")?;
    succeed(
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
            .arg(&packages)
            .arg("--requirement")
            .arg(program.join("requirements.txt")),
        FETCH_LIMIT,
    )?;
    let node = Node::start()?;
    succeed(
        Command::new("python3")
            .env("PYTHONPATH", &packages)
            .arg(program.join("client.py"))
            .arg(node.address()),
        CLIENT_LIMIT,
    )
}
