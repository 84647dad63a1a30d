//! The image under test, and the engine.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::programs::{Finished, run};

const LIMIT: Duration = Duration::from_secs(120);

/// The image under test: `IMAGE`, or what `docker/build.sh` made. Some of Testcontainers' modules read its tag as a Confluent
/// version.
pub fn image() -> String {
    std::env::var("IMAGE").unwrap_or_else(|_| "monedula:8.1.0".to_owned())
}

/// A command of the engine.
pub fn docker(words: &[&str], input: &str) -> Result<Finished> {
    run(Command::new("docker").args(words), input, LIMIT)
}
