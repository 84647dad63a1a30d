//! The promise: files as one finds them in repositories start with the image exchanged. Those of `docker/compose` are
//! brought up as they are, on the ports that they name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::node::listens;
use compat_tests::programs::{eventually, kcat, run, succeed};
use parking_lot::{Mutex, MutexGuard};

const LIMIT: Duration = Duration::from_secs(300);
/// The port that all of them give to the machine outside.
const PORT: u16 = 9092;

/// The services of a file; gone when dropped.
struct Project {
    file: PathBuf,
    _dir: tempfile::TempDir,
    /// They share a port.
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl Project {
    fn up(name: &str) -> Result<Self> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let guard = ONE_AT_A_TIME.lock();
        ensure!(!listens(PORT), "somebody listens on port {PORT}");
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/compose");
        let mut text = fs::read_to_string(text.join(name))?;
        if let Ok(image) = std::env::var("IMAGE") {
            text = text.replace("monedula:8.1.0", &image);
        }
        let dir = tempfile::tempdir()?;
        let file = dir.path().join(name);
        fs::write(&file, text)?;
        let this = Self {
            file,
            _dir: dir,
            _one_at_a_time: guard,
        };
        this.compose(&["up", "--detach"])?;
        Ok(this)
    }

    fn compose(&self, words: &[&str]) -> Result<String> {
        // The plug-in, or the program that came before it.
        let plug_in = run(
            Command::new("docker").args(["compose", "version"]),
            "",
            LIMIT,
        )?;
        let mut command = match plug_in.success {
            true => {
                let mut command = Command::new("docker");
                command.arg("compose");
                command
            }
            false => Command::new("docker-compose"),
        };
        command
            .args(["--project-name", "monedula-compose", "--file"])
            .arg(&self.file)
            .args(words);
        succeed(&mut command, LIMIT)
    }

    /// A record goes in and out from outside, as soon as the broker is there.
    fn exchange(&self) -> Result<()> {
        let there = || kcat(PORT, &["-L"], "").is_ok();
        ensure!(eventually(LIMIT, there), "{}", self.compose(&["logs"])?);
        kcat(PORT, &["-P", "-t", "t"], "hello\n")?;
        let seen = kcat(PORT, &["-C", "-t", "t", "-c", "1", "-o", "beginning"], "")?;
        ensure!(seen == "hello\n", "{seen}");
        Ok(())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if let Err(error) = self.compose(&["down", "--volumes"]) {
            eprintln!("{error:#}");
        }
    }
}

#[test]
#[ignore = "needs docker-compose and kcat"]
fn container_compose_single() -> Result<()> {
    let project = Project::up("single.yml")?;
    project.exchange()?;
    let healthy = || {
        let said = project.compose(&["ps"]).unwrap_or_default();
        said.contains("(healthy)")
    };
    ensure!(eventually(LIMIT, healthy), "{}", project.compose(&["ps"])?);
    Ok(())
}

#[test]
#[ignore = "needs docker-compose and kcat"]
fn container_compose_two_listeners() -> Result<()> {
    let project = Project::up("two-listeners.yml")?;
    project.exchange()?;
    // Made by a neighbour, once the broker was healthy.
    let partitions = || -> Result<usize> {
        let told = kcat(PORT, &["-L"], "")?;
        let topic = told
            .split("topic \"orders\" with ")
            .nth(1)
            .context("no topic")?;
        Ok(topic.split(' ').next().context("no partitions")?.parse()?)
    };
    let made = || partitions().is_ok_and(|count| count == 3);
    ensure!(eventually(LIMIT, made), "{}", project.compose(&["logs"])?);
    Ok(())
}

#[test]
#[ignore = "needs docker-compose and kcat"]
fn container_compose_zookeeper_era() -> Result<()> {
    Project::up("zookeeper-era.yml")?.exchange()
}
