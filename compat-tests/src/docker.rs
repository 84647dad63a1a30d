//! Docker and the image under test.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::programs::{Finished, run};

const LIMIT: Duration = Duration::from_secs(120);

/// Name of the image under test: `IMAGE`, or the image of `docker/build.sh`. Some modules of Testcontainers parse its tag as a
/// Confluent version.
pub fn image() -> String {
    std::env::var("IMAGE").unwrap_or_else(|_| "monedula:8.1.0".to_owned())
}

/// Runs a `docker` command.
pub fn docker(words: &[&str], input: &str) -> Result<Finished> {
    run(Command::new("docker").args(words), input, LIMIT)
}
