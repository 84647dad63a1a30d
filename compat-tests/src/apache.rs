//! Apache Kafka from its Maven artifacts: its broker as a yardstick, its tools as clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::node::{free_port, listens};
use crate::programs::{Finished, eventually, run};

const FETCH_LIMIT: Duration = Duration::from_secs(600);
const TOOL_LIMIT: Duration = Duration::from_secs(90);
const PROGRAM_LIMIT: Duration = Duration::from_secs(180);
const START_LIMIT: Duration = Duration::from_secs(60);
/// A node as small as it gets; `{port}`, `{controller}` (another port) and `{dir}` are to be filled in.
pub const SETTINGS: &str = "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={dir}
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
";
const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";

/// The version that is the yardstick.
pub const PRESENT: &str = "4.3.1";

/// Where the jars of the present version are; fetched once per checkout.
pub fn jars() -> Result<PathBuf> {
    jars_of(PRESENT)
}

/// Where the jars of a version are.
pub fn jars_of(version: &str) -> Result<PathBuf> {
    // One at a time in this process; `fetch` minds the others.
    static FETCHING: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    let _one = FETCHING.lock();
    fetch(version)
}

fn fetch(version: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = if version == PRESENT {
        "apache-kafka".to_owned()
    } else {
        format!("apache-kafka-{version}")
    };
    let target = root.join("../target").join(&folder);
    let complete = target.join(".complete");
    if complete.exists() {
        return Ok(target);
    }
    // Several test processes may want them at the same time; each fetches into a folder of its own.
    let own = root.join(format!("../target/{folder}-{}", std::process::id()));
    let pom = root.join("clients/apache-kafka/pom.xml");
    let fetched = run(
        Command::new("mvn")
            .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
            .arg(pom)
            .arg(format!("-Dkafka.version={version}"))
            .arg(format!("-DoutputDirectory={}", own.display())),
        "",
        FETCH_LIMIT,
    )?;
    ensure!(
        fetched.success,
        "Maven: {}{}",
        fetched.stdout,
        fetched.stderr
    );
    fs::write(own.join(".complete"), "")?;
    if fs::rename(&own, &target).is_err() && complete.exists() {
        fs::remove_dir_all(&own)?;
    }
    ensure!(
        complete.exists(),
        "{} could not be filled",
        target.display()
    );
    Ok(target)
}

/// Java with the jars of Apache Kafka in one version, about to run a class or a source file.
pub fn java(version: &str, class: &str) -> Result<Command> {
    let mut command = Command::new("java");
    command.args([
        "-Xmx256m",
        "-cp",
        &format!("{}/*", jars_of(version)?.display()),
        class,
    ]);
    Ok(command)
}

/// Runs one of Apache Kafka's tools by its class.
pub fn tool(class: &str, arguments: &[&str], input: &str) -> Result<Finished> {
    run(java(PRESENT, class)?.args(arguments), input, TOOL_LIMIT)
}

/// Runs a Java program of one file with the classes of the present version.
pub fn program(file: &Path, arguments: &[&str]) -> Result<Finished> {
    let file = file.display().to_string();
    run(java(PRESENT, &file)?.args(arguments), "", PROGRAM_LIMIT)
}

/// A real Apache Kafka, one node. Killed when dropped.
#[derive(Debug)]
pub struct Apache {
    child: Child,
    port: u16,
}

impl Apache {
    /// Starts it on a data directory, which is formatted if it was not; settings are written to `dir`.
    pub fn start(dir: &Path, data: &Path) -> Result<Self> {
        Self::start_version(PRESENT, dir, data)
    }

    /// The same with another version that needs no ZooKeeper.
    pub fn start_version(version: &str, dir: &Path, data: &Path) -> Result<Self> {
        Self::start_with(version, SETTINGS, dir, data)
    }

    /// The same with other settings, in which `{port}`, `{controller}` and `{dir}` are filled in.
    pub fn start_with(version: &str, settings: &str, dir: &Path, data: &Path) -> Result<Self> {
        let (port, controller) = (free_port()?, free_port()?);
        let file = dir.join("apache.properties");
        let text = settings
            .replace("{port}", &port.to_string())
            .replace("{controller}", &controller.to_string())
            .replace("{dir}", &data.display().to_string());
        fs::write(&file, text)?;
        let path = file.display().to_string();
        if !data.join("meta.properties").exists() {
            let formatted = run(
                java(version, "kafka.tools.StorageTool")?
                    .args(["format", "-t", CLUSTER_ID, "-c", &path]),
                "",
                TOOL_LIMIT,
            )?;
            ensure!(
                formatted.success,
                "format: {}{}",
                formatted.stdout,
                formatted.stderr
            );
        }
        let child = java(version, "kafka.Kafka")?
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start Apache Kafka")?;
        let this = Self { child, port };
        ensure!(
            eventually(START_LIMIT, || listens(port)),
            "Apache Kafka does not listen"
        );
        Ok(this)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it cleanly.
    pub fn stop(mut self) -> Result<()> {
        Command::new("kill")
            .arg(self.child.id().to_string())
            .status()?;
        let mut ended = false;
        eventually(START_LIMIT, || {
            ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            ended
        });
        ensure!(ended, "Apache Kafka did not stop");
        Ok(())
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
