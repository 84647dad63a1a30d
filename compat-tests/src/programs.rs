//! Execution of other programs with a time limit.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;

const KCAT_LIMIT: Duration = Duration::from_secs(120);

/// Output of a program, and whether it succeeded.
#[derive(Debug)]
pub struct Finished {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end with `input` as its standard input. Errors: it is killed after `limit`.
pub fn run(command: &mut Command, input: &str, limit: Duration) -> Result<Finished> {
    let name = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_owned();
    // A program may end before it has read all of its input.
    let writer = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let status = wait(&mut child, limit);
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    drop(writer.join());
    let text = |thread: thread::JoinHandle<String>| thread.join().unwrap_or_default();
    let (stdout, stderr) = (text(stdout), text(stderr));
    match status {
        Some(success) => Ok(Finished {
            success,
            stdout,
            stderr,
        }),
        None => bail!("{name} did not end within {limit:?}\n{stdout}\n{stderr}"),
    }
}

/// Runs a program that must succeed; returns its output.
pub fn succeed(command: &mut Command, limit: Duration) -> Result<String> {
    let finished = run(command, "", limit)?;
    ensure!(
        finished.success,
        "{command:?}\n{}\n{}",
        finished.stdout,
        finished.stderr
    );
    Ok(finished.stdout.trim().to_owned())
}

/// Runs kcat with the broker on a port of this machine; it must succeed.
pub fn kcat(port: u16, words: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new("kcat");
    command
        .args(["-b", &format!("localhost:{port}")])
        .args(words);
    let finished = run(&mut command, input, KCAT_LIMIT)?;
    ensure!(finished.success, "kcat {words:?}: {}", finished.stderr);
    Ok(finished.stdout)
}

/// A program in the background. The lines of its standard output and standard error are kept. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let lines = Arc::<Mutex<Vec<String>>>::default();
        keep(child.stdout.take(), &lines);
        keep(child.stderr.take(), &lines);
        Ok(Self { child, lines })
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn keep(pipe: Option<impl Read + Send + 'static>, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        let read = pipe
            .into_iter()
            .flat_map(|pipe| BufReader::new(pipe).lines());
        read.map_while(Result::ok)
            .for_each(|line| lines.lock().push(line));
    });
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            drop(pipe.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, limit: Duration) -> Option<bool> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status.success());
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Calls `seen` repeatedly until it returns true, for at most `limit`; returns whether it did.
pub fn eventually(limit: Duration, mut seen: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if seen() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
