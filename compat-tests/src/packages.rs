//! Test programs of clients: their sources, and their dependencies from the registries of their languages. Dependencies are
//! fetched and built in `target/clients`, once per checkout. Several tests may need the same ones at the same time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;

use crate::programs::succeed;

/// Time limit for fetching and building: registries may be slow, and so are compilers on a busy machine.
const FETCH_LIMIT: Duration = Duration::from_secs(1_800);

/// Path of a program's sources in `clients`.
pub fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name)
}

/// Folder for the dependencies of a program, which is kept between runs.
pub fn packages(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/clients")
        .join(name);
    fs::create_dir_all(&path)?;
    Ok(fs::canonicalize(path)?)
}

/// Runs a command that fetches or builds; returns its output.
pub fn fetch(command: &mut Command) -> Result<String> {
    succeed(command, FETCH_LIMIT)
}

/// Runs `work` on a folder while no other test of this process works on it.
pub fn alone<T>(dir: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    static FOLDERS: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let folder = Arc::clone(FOLDERS.lock().entry(dir.to_owned()).or_default());
    let _guard = folder.lock();
    work()
}

/// Runs `work` on a folder once per checkout: the file `.complete` in it says that this is done.
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

/// Creates a Python environment in a folder; returns its interpreter.
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

/// Like [`python`], with the requirements.txt of a program installed.
pub fn python_with_requirements(dir: &Path, program: &Path) -> Result<PathBuf> {
    let python = python(dir)?;
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(program.join("requirements.txt"));
    alone(dir, || fetch(&mut install))?;
    Ok(python)
}

/// Copies a program for Node.js to a folder and installs the dependencies of its package.json.
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

/// A Node.js for Testcontainers' module, which needs 22.22 or later: the one of this machine if recent enough, otherwise the
/// package that npm has installed in the folder.
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

/// Builds a Go program; returns the path of its binary.
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

/// Builds a Rust program; returns the folder of its binaries.
pub fn cargo(dir: &Path, program: &Path) -> Result<PathBuf> {
    let mut build = Command::new("cargo");
    build
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(program.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", dir);
    alone(dir, || fetch(&mut build))?;
    Ok(dir.join("debug"))
}
