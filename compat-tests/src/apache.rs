//! Apache Kafka from its Maven artifacts: its broker for comparison, its tools as clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use monedula::wire::message::metadata::MetadataRequest;

use crate::exchange::{Answer, Connection};
use crate::java::classes;
use crate::node::{free_port, listens};
use crate::packages::packages;
use crate::programs::{Finished, eventually, run};

const HEAP: &str = "-Xmx256m";
/// Options for programs that run for some seconds: optimizing compilation and several threads of garbage collection cost them
/// more than they gain.
const SHORT_LIVED: &[&str] = &["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
/// Heap size of Kafka's own start scripts. The log cleaner alone takes 128 MB.
const BROKER_HEAP: &str = "-Xmx1g";
const TOOL_LIMIT: Duration = Duration::from_secs(300);
const PROGRAM_LIMIT: Duration = Duration::from_secs(600);
const START_LIMIT: Duration = Duration::from_secs(180);
/// Number of attempts to start a broker that exits by itself.
const STARTS_MAX: usize = 3;
/// File with the broker's output, beside its settings.
const LOG: &str = "apache.log";
/// Settings of a minimal node. `{port}`, `{controller}` (another port) and `{dir}` are placeholders.
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
/// The cluster for which directories are formatted.
pub const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";

/// Version that monedula is compared with.
pub const PRESENT: &str = "4.4.0";
/// Version before it. Tests take over its data directories and give them back.
pub const BEFORE: &str = "4.3.1";

/// Folder with the jars of the present version, which are fetched once per checkout.
pub fn jars() -> Result<PathBuf> {
    jars_of(PRESENT)
}

/// Folder with the jars of a version.
pub fn jars_of(version: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join(format!("../target/apache-kafka-{version}"));
    let pom = crate::packages::program("apache-kafka/pom.xml");
    crate::java::jars(&target, &pom, &[("kafka.version", version)])?;
    Ok(target)
}

/// Java options that shorten the start, for runs of all suites (`COMPAT_FAST`); no options if a person compares or measures.
pub(crate) fn hurry() -> &'static [&'static str] {
    match std::env::var_os("COMPAT_FAST") {
        Some(_) => SHORT_LIVED,
        None => &[],
    }
}

/// A `java` command with the jars of a version of Apache Kafka, ready to run a class or a source file.
pub fn java(version: &str, class: &str) -> Result<Command> {
    java_with(HEAP, version, class)
}

fn java_with(heap: &str, version: &str, class: &str) -> Result<Command> {
    let jars = format!("{}/*", jars_of(version)?.display());
    Ok(java_at(heap, &jars, class))
}

fn java_at(heap: &str, class_path: &str, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(hurry()).args([heap, "-cp", class_path, class]);
    command
}

/// Runs one of Apache Kafka's tools by its class.
pub fn tool(class: &str, arguments: &[&str], input: &str) -> Result<Finished> {
    run(java(PRESENT, class)?.args(arguments), input, TOOL_LIMIT)
}

/// One run of a tool: its class, its arguments, its standard input.
pub type Run<'a> = (&'a str, Vec<&'a str>, &'a str);

/// Runs tools one after the other in one process, which takes a tenth of the time. Returns the output and exit code of each.
pub fn tools(runs: &[Run<'_>]) -> Result<Vec<(String, i32)>> {
    let line = |(class, words, input): &Run<'_>| {
        let mut line = [&[*class], &words[..]].concat().join("\t");
        if !input.is_empty() {
            let input = input.replace('\n', "|").replace('\t', "~");
            line.push_str(&format!("\t<{input}"));
        }
        line + "\n"
    };
    let script: String = runs.iter().map(line).collect();
    let file = crate::packages::program("java/Tools.java");
    let finished = run(&mut compiled(PRESENT, &file)?, &script, PROGRAM_LIMIT)?;
    ensure!(finished.success, "{}{}", finished.stdout, finished.stderr);
    let mut pages = Vec::new();
    let mut page = String::new();
    for line in finished.stdout.lines() {
        match line.strip_prefix("== ") {
            Some(code) => pages.push((std::mem::take(&mut page), code.parse()?)),
            None => page += &format!("{line}\n"),
        }
    }
    ensure!(
        pages.len() == runs.len(),
        "{} runs of {}",
        pages.len(),
        runs.len()
    );
    Ok(pages)
}

/// Runs a Java program of one file with the classes of the present version.
pub fn program(file: &Path, arguments: &[&str]) -> Result<Finished> {
    program_of(PRESENT, file, arguments)
}

/// Like [`program`], with the classes of any version.
pub fn program_of(version: &str, file: &Path, arguments: &[&str]) -> Result<Finished> {
    run(compiled(version, file)?.args(arguments), "", PROGRAM_LIMIT)
}

/// Command that runs a program of one file. The program is compiled once, because compilation takes longer than most runs.
fn compiled(version: &str, file: &Path) -> Result<Command> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let folder = packages(&format!("apache-kafka-{version}"))?.join(&*name);
    let jars = format!("{}/*", jars_of(version)?.display());
    classes(&folder, &jars, &[], &[file.to_owned()])?;
    let class_path = format!("{}:{jars}", folder.display());
    Ok(java_at(HEAP, &class_path, &name))
}

/// Whether a broker on this port answers Metadata requests and is registered.
pub(crate) fn answers(port: u16) -> bool {
    let ask = || {
        let mut connection = Connection::open(&format!("127.0.0.1:{port}"))?;
        connection.ask(&MetadataRequest::default(), 9)
    };
    let answer = listens(port).then(ask);
    matches!(answer, Some(Ok(Some(Answer::Response(answer)))) if !answer.brokers.is_empty())
}

/// A real Apache Kafka broker, a single node. Killed when dropped.
#[derive(Debug)]
pub struct Apache {
    child: Child,
    port: u16,
}

impl Apache {
    /// Starts a broker on a data directory, which is formatted if necessary. Its settings are written to `dir`.
    pub fn start(dir: &Path, data: &Path) -> Result<Self> {
        Self::start_version(PRESENT, dir, data)
    }

    /// Like [`Self::start`], with another version that runs without ZooKeeper.
    pub fn start_version(version: &str, dir: &Path, data: &Path) -> Result<Self> {
        Self::start_with(version, SETTINGS, dir, data)
    }

    /// Like [`Self::start_version`], with other settings, in which `{port}`, `{controller}` and `{dir}` are replaced.
    pub fn start_with(version: &str, settings: &str, dir: &Path, data: &Path) -> Result<Self> {
        let mut tries = 1;
        loop {
            let mut this = Self::launch(version, settings, dir, data)?;
            let mut ended = None;
            eventually(START_LIMIT, || {
                ended = this.child.try_wait().ok().flatten();
                ended.is_some() || this.answers()
            });
            match ended {
                None if this.answers() => return Ok(this),
                // Another process may have taken the port since it was free.
                Some(_) if tries < STARTS_MAX => tries += 1,
                _ => {
                    let said = fs::read_to_string(dir.join(LOG)).unwrap_or_default();
                    bail!("Apache Kafka does not serve: {ended:?}\n{said}");
                }
            }
        }
    }

    fn launch(version: &str, settings: &str, dir: &Path, data: &Path) -> Result<Self> {
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
        let log = fs::File::create(dir.join(LOG))?;
        let child = java_with(BROKER_HEAP, version, "kafka.Kafka")?
            .arg(&path)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start Apache Kafka")?;
        Ok(Self { child, port })
    }

    /// Whether the broker is ready. It listens some time before it answers, and answers some time before a broker is
    /// registered.
    fn answers(&self) -> bool {
        answers(self.port)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the broker.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops the broker cleanly.
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
