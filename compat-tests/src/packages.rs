//! The programs of clients: where their sources are, and what they need from the registries of their languages. It is fetched
//! and built in `target/clients`, once per checkout; several tests may want the same at the same time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;

use crate::programs::succeed;

/// Registries may be slow, and compilers where much else runs.
const FETCH_LIMIT: Duration = Duration::from_secs(1_800);

/// The sources of a program, by their path in `clients`.
pub fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name)
}

/// A folder for what a program needs, which outlives the run.
pub fn packages(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/clients")
        .join(name);
    fs::create_dir_all(&path)?;
    Ok(fs::canonicalize(path)?)
}

/// Runs a command that fetches or builds; gives what it printed.
pub fn fetch(command: &mut Command) -> Result<String> {
    succeed(command, FETCH_LIMIT)
}

/// Works on a folder while no other test of this process does.
pub fn alone<T>(dir: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    static FOLDERS: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let folder = Arc::clone(FOLDERS.lock().entry(dir.to_owned()).or_default());
    let _guard = folder.lock();
    work()
}

/// Works on a folder once per checkout: a file in it says that it is complete.
pub fn once(dir: &Path, work: impl FnOnce() -> Result<()>) -> Result<()> {
    alone(dir, || {
        let complete = dir.join(".complete");
        if !complete.exists() {
            work()?;
            fs::write(complete, "")?;
        }
        Ok(())
    })
}

/// A Python of its own in a folder; gives the program.
pub fn python(dir: &Path) -> Result<PathBuf> {
    let python = dir.join("bin/python");
    alone(dir, || {
        if !python.exists() {
            fetch(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
        }
        Ok(())
    })?;
    Ok(python)
}

/// The same with what a program's requirements.txt names.
pub fn python_with_requirements(dir: &Path, program: &Path) -> Result<PathBuf> {
    let python = python(dir)?;
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(program.join("requirements.txt"));
    alone(dir, || fetch(&mut install))?;
    Ok(python)
}

/// Copies a program for Node to a folder and installs what its package.json names.
pub fn npm(dir: &Path, program: &Path, options: &[&str]) -> Result<()> {
    alone(dir, || {
        for file in ["package.json", "client.js"] {
            fs::copy(program.join(file), dir.join(file))?;
        }
        let mut install = Command::new("npm");
        install
            .args(["install", "--no-audit", "--no-fund"])
            .args(options)
            .current_dir(dir);
        fetch(&mut install).map(drop)
    })
}

/// A Node for Testcontainers' module, which wants 22.22 or later: the one of this machine, or for machines with an older one the
/// package that npm put into a folder.
pub fn recent_node(dir: &Path) -> Result<PathBuf> {
    let said = fetch(Command::new("node").arg("--version"))?;
    let numbers: Vec<u32> = said
        .trim()
        .trim_start_matches('v')
        .split('.')
        .filter_map(|number| number.parse().ok())
        .collect();
    if numbers >= vec![22, 22] {
        return Ok("node".into());
    }
    ["x64", "arm64"]
        .map(|kind| dir.join(format!("node_modules/node-linux-{kind}/bin/node")))
        .into_iter()
        .find(|node| node.exists())
        .context("npm brought no Node for this machine")
}

/// Builds a Go program; gives the binary.
pub fn go(dir: &Path, program: &Path) -> Result<PathBuf> {
    let binary = dir.join("client");
    let mut build = Command::new("go");
    build
        .args(["build", "-o"])
        .arg(&binary)
        .arg(".")
        .current_dir(program);
    alone(dir, || fetch(&mut build))?;
    Ok(binary)
}

/// Builds a Rust program; gives the folder of its binaries.
pub fn cargo(dir: &Path, program: &Path) -> Result<PathBuf> {
    let mut build = Command::new("cargo");
    build
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(program.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", dir);
    alone(dir, || fetch(&mut build))?;
    Ok(dir.join("debug"))
}
