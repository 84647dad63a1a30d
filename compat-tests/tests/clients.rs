//! Client libraries of other languages work with this broker unmodified. Each client is a small program that fails if anything
//! differs from its behaviour with Apache Kafka. Its packages are fetched into `target/clients`.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use compat_tests::node::Node;
use compat_tests::packages::{go, npm, packages, program, python_with_requirements};
use compat_tests::programs::succeed;

const CLIENT_LIMIT: Duration = Duration::from_secs(300);

/// Runs a client with a fresh node.
fn passes(command: &mut Command) -> Result<()> {
    let node = Node::start()?;
    succeed(command.arg(node.address()), CLIENT_LIMIT).map(drop)
}

#[test]
#[ignore = "needs node and npm"]
fn kafkajs() -> Result<()> {
    let dir = packages("node")?;
    npm(&dir, &program("node"), &[])?;
    passes(Command::new("node").arg(dir.join("client.js")))
}

#[test]
#[ignore = "needs go"]
fn sarama_and_segmentio() -> Result<()> {
    let binary = go(&packages("go")?, &program("go"))?;
    passes(&mut Command::new(binary))
}

#[test]
#[ignore = "needs python"]
fn kafka_python() -> Result<()> {
    let program = program("python");
    let python = python_with_requirements(&packages("python")?, &program)?;
    passes(Command::new(python).arg(program.join("client.py")))
}
