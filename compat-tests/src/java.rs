//! Java programs of this crate: jars by Maven, classes by javac.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::programs::run;

const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// The class path of a program: `sources` compiled, and the jars of `pom`, with its property `clients` set to `version`.
/// Kept in `target/clients/<name>`.
pub fn class_path(name: &str, pom: &Path, version: &str, sources: &[PathBuf]) -> Result<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/clients")
        .join(name);
    fs::create_dir_all(&dir)?;
    let dir = fs::canonicalize(dir)?;
    let jars = format!("{}/jars/*", dir.display());
    if !dir.join(".complete").exists() {
        succeed(
            Command::new("mvn")
                .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
                .arg(pom)
                .arg(format!("-Dclients={version}"))
                .arg(format!("-DoutputDirectory={}", dir.join("jars").display())),
        )?;
        fs::write(dir.join(".complete"), "")?;
    }
    let classes = dir.join("classes");
    succeed(
        Command::new("javac")
            .args(["-nowarn", "-cp", &jars, "-d"])
            .arg(&classes)
            .args(sources),
    )?;
    Ok(format!("{}:{jars}", classes.display()))
}

fn succeed(command: &mut Command) -> Result<()> {
    let finished = run(command, "", FETCH_LIMIT)?;
    ensure!(
        finished.success,
        "{command:?}\n{}\n{}",
        finished.stdout,
        finished.stderr
    );
    Ok(())
}
