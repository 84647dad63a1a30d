//! A monedula process on a free port, with a data directory of its own.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use monedula::wire::message::api_versions::ApiVersionsRequest;

use crate::cgroup::Cgroup;
use crate::exchange::{Answer, Connection};
use crate::process;
use crate::programs::{Finished, eventually, run};

/// Time limit for the start of a node, even on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
const CLIENT_LIMIT: Duration = Duration::from_secs(300);
/// Lowest port that tests use.
const PORTS_BEGIN: u16 = 15_000;
/// Number of lines of a node's log that an error message repeats.
const LOG_LINES: usize = 30;

/// A monedula process. Killed when dropped.
#[derive(Debug)]
pub struct Node {
    child: Option<Child>,
    port: u16,
    dir: PathBuf,
    settings: Option<PathBuf>,
    surroundings: Surroundings,
    own: Option<tempfile::TempDir>,
}

/// Environment of a node, beside its settings.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Limit of open file descriptors, as in `ulimit -n`.
    pub descriptors: Option<usize>,
    /// Number of threads that serve clients; by default the number of processors.
    pub worker_threads: Option<usize>,
    /// Memory cgroup of the process.
    pub memory: Option<Cgroup>,
}

impl Surroundings {
    /// Commands of the shell that then executes the node.
    fn script(&self) -> String {
        let descriptors = self.descriptors.map(|most| format!("ulimit -n {most}"));
        let threads = self
            .worker_threads
            .map(|threads| format!("export TOKIO_WORKER_THREADS={threads}"));
        let memory = self
            .memory
            .as_ref()
            .map(|cgroup| format!("echo $$ > {}", cgroup.members().display()));
        let steps = [descriptors, threads, memory].into_iter().flatten();
        steps.map(|step| step + " && ").collect()
    }
}

/// Path of the binary under test: `MONEDULA_BIN`, or the result of `cargo build --profile compat`.
pub fn binary() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/compat/monedula");
    std::env::var_os("MONEDULA_BIN").map_or(built, PathBuf::from)
}

/// A port that is free now and that this process has not used before. It lies below the system's ephemeral ports: a client
/// could be given one of those while a node is down between two starts, and a client that tries to connect there could even be
/// connected to itself.
pub fn free_port() -> Result<u16> {
    static GIVEN: parking_lot::Mutex<BTreeSet<u16>> = parking_lot::Mutex::new(BTreeSet::new());
    let chosen_by_the_system = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768_u16);
    ensure!(
        chosen_by_the_system > PORTS_BEGIN,
        "the system gives all ports from {chosen_by_the_system} to clients"
    );
    let ports = u64::from(chosen_by_the_system - PORTS_BEGIN);
    // Tests of another process may look for free ports at the same time.
    let chance = RandomState::new().build_hasher().finish();
    let mut given = GIVEN.lock();
    (0..ports)
        .map(|step| PORTS_BEGIN + (chance.wrapping_add(step) % ports) as u16)
        .find(|port| {
            !given.contains(port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok()
        })
        .inspect(|port| {
            given.insert(*port);
        })
        .context("no port is free")
}

/// Whether a process listens on the port.
pub fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

impl Node {
    /// Starts a node with an empty data directory.
    pub fn start() -> Result<Self> {
        let own = tempfile::tempdir()?;
        let dir = own.path().join("data");
        Self::first(free_port()?, &dir, Some(own), None, Surroundings::default())
    }

    /// Starts a node with an empty data directory and a limit of open file descriptors.
    pub fn with_descriptors(most: usize) -> Result<Self> {
        let own = tempfile::tempdir()?;
        let dir = own.path().join("data");
        let surroundings = Surroundings {
            descriptors: Some(most),
            ..Default::default()
        };
        Self::first(free_port()?, &dir, Some(own), None, surroundings)
    }

    /// Starts a node on an existing data directory.
    pub fn on(dir: &Path) -> Result<Self> {
        Self::first(free_port()?, dir, None, None, Surroundings::default())
    }

    /// Starts a node with the text of a `server.properties`, in which `{port}` and `{dir}` are replaced by its port and data
    /// directory.
    pub fn with_settings(settings: &str) -> Result<Self> {
        Self::within(Surroundings::default(), settings)
    }

    /// The same, with directories that are formatted for a cluster first.
    pub fn of_cluster(cluster_id: &str, settings: &str) -> Result<Self> {
        let new = Self::written(settings, Surroundings::default())?;
        let mut format = Command::new(binary());
        format.args(["storage", "format", "--cluster-id", cluster_id, "--config"]);
        format.args(&new.settings);
        let formatted = run(&mut format, "", CLIENT_LIMIT)?;
        ensure!(
            formatted.success,
            "format: {}{}",
            formatted.stdout,
            formatted.stderr
        );
        new.started()
    }

    /// Like [`Self::with_settings`], with an environment.
    pub fn within(surroundings: Surroundings, settings: &str) -> Result<Self> {
        Self::written(settings, surroundings)?.started()
    }

    /// A node that is not started yet, with its settings in a file.
    fn written(settings: &str, surroundings: Surroundings) -> Result<Self> {
        let own = tempfile::tempdir()?;
        let (port, dir) = (free_port()?, own.path().join("data"));
        let file = own.path().join("server.properties");
        let settings = settings
            .replace("{port}", &port.to_string())
            .replace("{dir}", &dir.display().to_string());
        std::fs::write(&file, settings)?;
        Ok(Self {
            child: None,
            port,
            dir,
            settings: Some(file),
            surroundings,
            own: Some(own),
        })
    }

    fn started(mut self) -> Result<Self> {
        self.resume()?;
        Ok(self)
    }

    fn first(
        port: u16,
        dir: &Path,
        own: Option<tempfile::TempDir>,
        settings: Option<PathBuf>,
        surroundings: Surroundings,
    ) -> Result<Self> {
        let mut node = Self {
            child: None,
            port,
            dir: dir.to_owned(),
            settings,
            surroundings,
            own,
        };
        node.resume()?;
        Ok(node)
    }

    /// Starts the process again, on the same port and data directory.
    pub fn resume(&mut self) -> Result<()> {
        let binary = binary();
        ensure!(
            binary.exists(),
            "{} is not there: cargo build --profile compat",
            binary.display()
        );
        let mut command = Command::new("sh");
        let script = self.surroundings.script() + "exec \"$0\" \"$@\"";
        command.args(["-c", &script]).arg(binary).arg("start");
        match &self.settings {
            Some(file) => command.arg(file),
            None => command
                .args([
                    "--override",
                    &format!("listeners=PLAINTEXT://localhost:{}", self.port),
                ])
                .args(["--override", &format!("log.dirs={}", self.dir.display())]),
        };
        let log = match self.log_file() {
            Some(file) => OpenOptions::new()
                .create(true)
                .append(true)
                .open(file)?
                .into(),
            None => Stdio::null(),
        };
        let child = command.stdout(log).spawn()?;
        self.child = Some(child);
        // The node listens before it is ready. A failure in between is reported here instead of in the test.
        let mut ended = None;
        let settled = eventually(START_LIMIT, || {
            ended = self.ended();
            ended.is_some() || self.answers()
        });
        match ended.or_else(|| self.ended()) {
            Some(status) => bail!("the node ended with {status}\n{}", self.last_words()),
            None if settled => Ok(()),
            None => bail!(
                "the node does not answer on {}\n{}",
                self.port,
                self.last_words()
            ),
        }
    }

    /// Exit status of the process, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// Whether a broker answers on the node's port.
    fn answers(&self) -> bool {
        listens(self.port)
            && Connection::open(&self.address())
                .and_then(|mut connection| connection.ask(&ApiVersionsRequest::default(), 0))
                .is_ok_and(|answer| matches!(answer, Some(Answer::Response(_))))
    }

    /// The last lines of the node's log, for error messages.
    pub fn last_words(&self) -> String {
        let lines = self.log().unwrap_or_default();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps the node's files and log for inspection. Returns their folder, or `None` if the data directory belongs to the
    /// caller.
    pub fn keep(&mut self) -> Option<PathBuf> {
        self.own.as_mut().map(|own| {
            own.disable_cleanup(true);
            own.path().to_owned()
        })
    }

    fn log_file(&self) -> Option<PathBuf> {
        Some(self.own.as_ref()?.path().join("log"))
    }

    /// Lines of the log since the data directory was created; empty if the data directory belongs to the caller.
    pub fn log(&self) -> Result<Vec<String>> {
        let Some(file) = self.log_file() else {
            return Ok(Vec::new());
        };
        let text = std::fs::read_to_string(file)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Process id, while the process runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> Result<usize> {
        process::resident(self.pid().context("the node is not running")?)
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the node is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Stops the process with SIGTERM; it must exit successfully.
    pub fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the node is not running")?;
        let sent = Command::new("kill").arg(child.id().to_string()).status()?;
        ensure!(sent.success(), "no process {} to stop", child.id());
        let mut status = None;
        eventually(START_LIMIT, || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        ensure!(
            status.is_some_and(|status| status.success()),
            "the node ended with {status:?}"
        );
        Ok(())
    }

    /// Runs kcat with this node's address.
    pub fn kcat(&self, arguments: &[&str], input: &str) -> Result<Finished> {
        run(
            Command::new("kcat")
                .args(["-b", &self.address()])
                .args(arguments),
            input,
            CLIENT_LIMIT,
        )
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
