//! One attack on one node: the observations during the attack, and the assertions about them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use compat_tests::admin;
use compat_tests::cgroup::Cgroup;
use compat_tests::chance::from_environment;
use compat_tests::exchange::Connection;
use compat_tests::node::{Node, Surroundings, free_port};
use compat_tests::process;
use compat_tests::programs::eventually;
use monedula::wire::message::Request;
use monedula::wire::message::find_coordinator::FindCoordinatorRequest;

use crate::bystander::{Bystander, Seen, TOPIC};
use crate::frames::frame;

pub const MIB: usize = 1 << 20;
/// Maximum duration of a response to the bystander, on a busy machine.
pub const WAIT_MAX: Duration = Duration::from_secs(10);
/// Key types of FindCoordinator.
pub const GROUPS: i8 = 0;
pub const TRANSACTIONS: i8 = 1;
/// Time for which attackers hold what they have, so that the effect becomes visible.
pub const HELD: Duration = Duration::from_secs(1);
/// Up to this duration a wait as long as the attack proves nothing: the machine may have been suspended.
const WAIT_NOTED: Duration = Duration::from_secs(3);
/// Memory above the size of what the crowd sent: the target, and the limit at which a test fails.
const MEMORY_TARGET: usize = 64 * MIB;
const MEMORY_MAX: usize = 2 * MEMORY_TARGET;
/// Targets for a wait: during requests of up to a mebibyte together, and during larger ones.
const WAIT_TARGET_SMALL: Duration = Duration::from_millis(100);
const WAIT_TARGET: Duration = Duration::from_millis(500);
/// Memory of a small container, in bytes.
const SMALL_MEMORY: usize = 64 * MIB;
/// Time limit within which memory must be released.
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// Time after which an attacker no longer waits for a response.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Time after which an attacker no longer tries to send.
const INSISTENCE: Duration = Duration::from_secs(10);
/// Interval at which memory is measured.
const LOOK: Duration = Duration::from_millis(10);

const SETTINGS: &str = "\
node.id=1
listeners=PLAINTEXT://localhost:{port}
log.dirs={dir}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
";

/// Environment of a scene: a number of threads, or little memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Surrounded {
    ByThreads(usize),
    ByMemory,
}

/// A scene: prepares what its attack needs, then attacks once with [`Stage::attack`].
pub type Story = fn(&mut Stage) -> Result<()>;

/// A node under attack, and the results.
pub struct Stage {
    node: Node,
    name: &'static str,
    surrounded: Surrounded,
    admin: u16,
    attacked: Option<Attacked>,
    faults: Vec<String>,
}

/// Measurements of an attack.
struct Attacked {
    sent: usize,
    /// Memory that the node may hold during the attack (`due`), and the part that it may keep after the crowd is gone (`kept`).
    due: usize,
    kept: usize,
    took: Duration,
    idle: usize,
    peak: usize,
    later: usize,
    seen: Seen,
}

/// Runs a scene to its end. Errors: lists everything that went wrong.
pub fn play(
    name: &'static str,
    settings: &[&str],
    surrounded: Surrounded,
    story: Story,
) -> Result<()> {
    let mut stage = Stage::set(name, settings, surrounded)?;
    let told = story(&mut stage);
    if let Some(status) = stage.node.ended() {
        stage.print();
        bail!("the node ended with {status}\n{}", stage.node.last_words());
    }
    told?;
    stage.end()
}

impl Stage {
    pub fn set(name: &'static str, settings: &[&str], surrounded: Surrounded) -> Result<Self> {
        let admin = free_port()?;
        let settings =
            format!("{SETTINGS}{}\n", settings.join("\n")).replace("{admin}", &admin.to_string());
        let surroundings = match surrounded {
            Surrounded::ByThreads(threads) => Surroundings {
                worker_threads: Some(threads),
                ..Default::default()
            },
            Surrounded::ByMemory => Surroundings {
                worker_threads: Some(8),
                memory: Some(Cgroup::with_memory(SMALL_MEMORY)?),
                ..Default::default()
            },
        };
        let node = Node::within(surroundings, &settings)?;
        let stage = Self {
            node,
            name,
            surrounded,
            admin,
            attacked: None,
            faults: Vec::new(),
        };
        // The bystander's records are older than a week.
        stage.create(TOPIC, 1, &[("retention.ms", "-1")])?;
        Ok(stage)
    }

    /// `full` for runs by a person, `small` for runs with every change.
    pub fn size<T>(&self, small: T, full: T) -> T {
        if is_small() { small } else { full }
    }

    pub fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    pub fn admin_port(&self) -> u16 {
        self.admin
    }

    pub fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
        let mut client = Connection::open(&self.node.address())?;
        admin::create_with(&mut client, &[topic], partitions, settings)?;
        Ok(())
    }

    /// Sends a request as an honest client, which must get a response.
    pub fn ask<R: Request>(&self, request: &R, version: i16) -> Result<R::Response> {
        let mut client = Connection::open(&self.node.address())?;
        client.be_patient(PATIENCE)?;
        client.answered(request, version)
    }

    /// Makes the node find the coordinator of a group or of a transactional id, so that the internal topic exists.
    pub fn find_coordinator(&self, key: &str, key_type: i8) -> Result<()> {
        let find = FindCoordinatorRequest {
            key: key.into(),
            key_type,
            ..Default::default()
        };
        self.ask(&find, 1).map(drop)
    }

    /// Runs an attack beside the bystander. Connections that the attack leaves open are closed when it returns.
    pub fn attack(&mut self, attack: impl FnOnce(&Crowd) -> Result<()>) -> Result<()> {
        let pid = self.node.pid().context("the node is not running")?;
        let bystander = Bystander::start(&self.node.address());
        // The bystander is served a few times before memory is measured as idle.
        thread::sleep(Duration::from_millis(500));
        let idle = process::resident(pid)?;
        let memory = MemoryWatch::start(pid);
        let crowd = Crowd::new(self.node.address());
        let began = Instant::now();
        let told = attack(&crowd);
        let took = began.elapsed();
        let (sent, due, kept) = crowd.came_to();
        // The bystander finishes its current round.
        thread::sleep(Duration::from_millis(200));
        drop(crowd);
        let wait = if is_small() { 0 } else { 30 };
        thread::sleep(Duration::from_secs(
            from_environment("CROWD_WAIT").unwrap_or(wait),
        ));
        let seen = bystander.end()?;
        let peak = memory.end();
        let later = process::resident(pid).unwrap_or_default();
        self.attacked = Some(Attacked {
            sent,
            due,
            kept,
            took,
            idle,
            peak,
            later,
            seen,
        });
        told
    }

    /// Records the longest wait of a scene's own well-behaved client.
    pub fn also_waited(&mut self, longest: Duration, of: &'static str) {
        if let Some(attacked) = &mut self.attacked
            && longest > attacked.seen.longest
        {
            (attacked.seen.longest, attacked.seen.longest_of) = (longest, of);
        }
    }

    /// Records a failure if `holds` is false, in addition to the assertions of every scene.
    pub fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(otherwise());
        }
    }

    /// Prints the result of the last attack. Errors: the assertions that failed.
    pub fn holds(&mut self) -> Result<()> {
        self.print();
        self.bystander_was_served();
        self.memory_stayed_small();
        self.fails_with_faults()
    }

    fn fails_with_faults(&self) -> Result<()> {
        ensure!(
            self.faults.is_empty(),
            "{}, {}: {}",
            self.name,
            self.place(),
            self.faults.join("; ")
        );
        Ok(())
    }

    /// Stops the node and starts it again. Errors: lists everything that went wrong.
    pub fn end(mut self) -> Result<()> {
        self.print();
        self.bystander_was_served();
        self.memory_stayed_small();
        let pressed = Instant::now();
        self.node.stop()?;
        let stopped = pressed.elapsed();
        println!("stopped after {stopped:?}");
        let panics = self.node.log()?;
        let panics: Vec<_> = panics
            .into_iter()
            .filter(|line| line.contains("panicked"))
            .collect();
        self.expect(panics.is_empty(), || format!("panics: {panics:?}"));
        self.node.resume()?;
        if let Some(attacked) = &self.attacked {
            let missing = attacked.seen.missing(&self.node.address())?;
            self.expect(missing.is_empty(), || {
                format!("acknowledged but not there: {missing:?}")
            });
        }
        if std::env::var_os("CROWD_TARGETS").is_some() {
            let missed = self.missed_targets();
            self.faults.extend(missed);
        }
        self.fails_with_faults()
    }

    fn bystander_was_served(&mut self) {
        let Some(attacked) = &self.attacked else {
            return;
        };
        let (seen, took) = (&attacked.seen, attacked.took);
        let (longest, of) = (seen.longest, seen.longest_of);
        let mut faults = seen.errors.clone();
        faults.truncate(3);
        if seen.rounds == 0 {
            faults.push("the bystander was never served".to_owned());
        }
        if longest > WAIT_MAX {
            faults.push(format!("the bystander waited {longest:?} for {of}"));
        } else if longest > WAIT_NOTED && longest > took / 2 {
            faults.push(format!(
                "the bystander waited {longest:?} for {of} beside an attack of {took:?}"
            ));
        }
        self.faults.extend(faults);
    }

    fn memory_stayed_small(&mut self) {
        let Some(attacked) = &self.attacked else {
            return;
        };
        // In a cgroup the system enforces the limit.
        if self.surrounded == Surrounded::ByMemory {
            return;
        }
        let grown = attacked.peak.saturating_sub(attacked.idle);
        let (due, back) = (attacked.due, attacked.idle + attacked.kept + MEMORY_TARGET);
        self.expect(grown <= due + MEMORY_MAX, || {
            format!(
                "{} MiB of memory where {} are due",
                grown / MIB,
                due.div_ceil(MIB)
            )
        });
        let mut now = 0;
        let is_back = eventually(BACK_WITHIN, || {
            now = self.node.resident().unwrap_or(usize::MAX);
            now <= back
        });
        self.expect(is_back, || {
            format!(
                "{} MiB of memory after the attack, where {} are due",
                now / MIB,
                back / MIB
            )
        });
    }

    fn missed_targets(&self) -> Vec<String> {
        let Some(attacked) = &self.attacked else {
            return Vec::new();
        };
        let mut missed = Vec::new();
        let target = wait_target(attacked.sent);
        let longest = attacked.seen.longest;
        if longest > target {
            missed.push(format!(
                "a wait of {longest:?}, where the target is {target:?}"
            ));
        }
        let grown = attacked.peak.saturating_sub(attacked.idle);
        if grown > attacked.due + MEMORY_TARGET {
            missed.push(format!(
                "{} MiB, where the target is {}",
                grown / MIB,
                (attacked.due + MEMORY_TARGET) / MIB
            ));
        }
        missed
    }

    fn place(&self) -> String {
        match self.surrounded {
            Surrounded::ByThreads(threads) => format!("{threads} threads"),
            Surrounded::ByMemory => "64 MiB".to_owned(),
        }
    }

    /// Prints the line of the table: scene | where | sent, KB | took, s | longest wait, ms | of what | rounds | peak above
    /// idle, MiB | due, MiB | above idle later, MiB | misses a target.
    fn print(&self) {
        let Some(attacked) = &self.attacked else {
            println!("| {} | {} | never attacked |", self.name, self.place());
            return;
        };
        let mib = |bytes: usize| bytes as f64 / MIB as f64;
        println!(
            "| {} | {} | {} | {:.1} | {} | {} | {} | {:.1} | {:.1} | {:.1} | {} |",
            self.name,
            self.place(),
            attacked.sent.div_ceil(1_000),
            attacked.took.as_secs_f64(),
            attacked.seen.longest.as_millis(),
            attacked.seen.longest_of,
            attacked.seen.rounds,
            mib(attacked.peak.saturating_sub(attacked.idle)),
            mib(attacked.due),
            mib(attacked.later.saturating_sub(attacked.idle)),
            if self.missed_targets().is_empty() {
                ""
            } else {
                "misses"
            },
        );
    }
}

pub fn is_small() -> bool {
    std::env::var_os("COMPAT_FAST").is_some()
}

fn wait_target(sent: usize) -> Duration {
    if sent <= MIB {
        WAIT_TARGET_SMALL
    } else {
        WAIT_TARGET
    }
}

/// Watches the peak memory of a process.
struct MemoryWatch {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl MemoryWatch {
    fn start(pid: u32) -> Self {
        let counted_by_the_system = process::forget_peak(pid).is_ok();
        let ends = Arc::<AtomicBool>::default();
        let thread = thread::spawn({
            let ends = Arc::clone(&ends);
            move || {
                let mut most = 0;
                loop {
                    let last = ends.load(Ordering::Relaxed);
                    let seen = if counted_by_the_system {
                        process::peak(pid)
                    } else {
                        process::resident(pid)
                    };
                    most = most.max(seen.unwrap_or_default());
                    if last {
                        return most;
                    }
                    thread::sleep(LOOK);
                }
            }
        });
        Self { ends, thread }
    }

    fn end(self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// The attackers together: the size of what they sent, and the memory that the node may hold for it.
pub struct Crowd {
    address: String,
    sent: Arc<AtomicUsize>,
    /// Sum of the largest frames of all attackers, in bytes.
    held: Arc<AtomicUsize>,
    kept: AtomicUsize,
}

impl Crowd {
    pub fn new(address: String) -> Self {
        Self {
            address,
            sent: Arc::default(),
            held: Arc::default(),
            kept: AtomicUsize::new(0),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn attacker(&self) -> Result<Attacker> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(INSISTENCE))?;
        Ok(Attacker {
            stream,
            largest: 0,
            sent: Arc::clone(&self.sent),
            held: Arc::clone(&self.held),
        })
    }

    /// Each attacker sends a frame; then all wait for their responses.
    pub fn all_send(&self, attackers: usize, frame: &[u8]) -> Result<Vec<Outcome>> {
        thread::scope(|scope| {
            let begun: Vec<_> = (0..attackers)
                .map(|_| {
                    let mut attacker = self.attacker()?;
                    Ok(scope.spawn(move || {
                        attacker.send(frame);
                        attacker.answer(PATIENCE)
                    }))
                })
                .collect::<Result<_>>()?;
            let ended = begun.into_iter().map(|one| one.join());
            let outcomes: Vec<_> = ended.map(|one| one.unwrap_or(Outcome::Closed)).collect();
            println!("{outcomes:?}");
            Ok(outcomes)
        })
    }

    /// Each attacker sends a frame and holds its connection, until one cannot send its frame: the node need not accept it.
    pub fn hold(&self, attackers: usize, frame: &[u8]) -> Result<()> {
        let mut held = Vec::new();
        for _ in 0..attackers {
            let mut attacker = self.attacker()?;
            if !attacker.send(frame) {
                break;
            }
            held.push(attacker);
        }
        thread::sleep(HELD);
        Ok(())
    }

    /// Allows the node to keep so many bytes of memory for as long as it runs.
    pub fn leaves(&self, bytes: usize) {
        self.kept.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Allows the node to hold so many bytes of memory during the attack.
    pub fn may_take(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn sent_elsewhere(&self, bytes: usize) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    fn came_to(&self) -> (usize, usize, usize) {
        let kept = self.kept.load(Ordering::Relaxed);
        let held = self.held.load(Ordering::Relaxed);
        (self.sent.load(Ordering::Relaxed), held + kept, kept)
    }
}

/// Result of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Size of the response, in bytes.
    Answered(usize),
    Closed,
    Silence,
}

/// A hostile client. It ignores errors of its connection.
pub struct Attacker {
    stream: TcpStream,
    largest: usize,
    sent: Arc<AtomicUsize>,
    held: Arc<AtomicUsize>,
}

impl Attacker {
    /// Sends a frame, or part of one; returns whether the node accepted all of it.
    pub fn send(&mut self, frame: &[u8]) -> bool {
        let mut left = frame;
        while !left.is_empty() {
            match self.stream.write(left) {
                Ok(0) => break,
                Ok(taken) => left = &left[taken..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let taken = frame.len() - left.len();
        self.sent.fetch_add(taken, Ordering::Relaxed);
        self.held
            .fetch_add(taken.saturating_sub(self.largest), Ordering::Relaxed);
        self.largest = self.largest.max(taken);
        left.is_empty()
    }

    /// Sends a request; returns whether all of it could be sent.
    pub fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<bool> {
        Ok(self.send(&frame(request, version)?))
    }

    /// Reads a response and discards it.
    pub fn answer(&mut self, patience: Duration) -> Outcome {
        drop(self.stream.set_read_timeout(Some(patience)));
        let mut size = [0; 4];
        if let Err(error) = self.stream.read_exact(&mut size) {
            return match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Outcome::Silence,
                _ => Outcome::Closed,
            };
        }
        let size = u32::from_be_bytes(size);
        let mut rest = (&mut self.stream).take(size.into());
        match std::io::copy(&mut rest, &mut std::io::sink()) {
            Ok(read) if read == u64::from(size) => Outcome::Answered(size as usize),
            _ => Outcome::Closed,
        }
    }
}
