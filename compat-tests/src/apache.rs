//! Apache Kafka from its Maven artifacts: its broker as a yardstick, its tools as clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::node::{free_port, listens};
use crate::programs::{Finished, eventually, run};

const FETCH_LIMIT: Duration = Duration::from_secs(600);
const TOOL_LIMIT: Duration = Duration::from_secs(90);
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

/// Where the jars are; fetched once per checkout.
pub fn jars() -> Result<&'static Path> {
    static JARS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match JARS.get_or_init(|| fetch().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Ok(path),
        Err(error) => anyhow::bail!("{error}"),
    }
}

fn fetch() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("../target/apache-kafka");
    let complete = target.join(".complete");
    if complete.exists() {
        return Ok(target);
    }
    // Several test processes may want them at the same time; each fetches into a folder of its own.
    let own = root.join(format!("../target/apache-kafka-{}", std::process::id()));
    let pom = root.join("clients/apache-kafka/pom.xml");
    let fetched = run(
        Command::new("mvn")
            .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
            .arg(pom)
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

fn java(class: &str) -> Result<Command> {
    let mut command = Command::new("java");
    command.args([
        "-Xmx256m",
        "-cp",
        &format!("{}/*", jars()?.display()),
        class,
    ]);
    Ok(command)
}

/// Runs one of Apache Kafka's tools by its class.
pub fn tool(class: &str, arguments: &[&str], input: &str) -> Result<Finished> {
    run(java(class)?.args(arguments), input, TOOL_LIMIT)
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
        let (port, controller) = (free_port()?, free_port()?);
        let settings = dir.join("apache.properties");
        let text = SETTINGS
            .replace("{port}", &port.to_string())
            .replace("{controller}", &controller.to_string())
            .replace("{dir}", &data.display().to_string());
        fs::write(&settings, text)?;
        let path = settings.display().to_string();
        if !data.join("meta.properties").exists() {
            let formatted = tool(
                "kafka.tools.StorageTool",
                &["format", "-t", CLUSTER_ID, "-c", &path],
                "",
            )?;
            ensure!(
                formatted.success,
                "format: {}{}",
                formatted.stdout,
                formatted.stderr
            );
        }
        let child = java("kafka.Kafka")?
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
