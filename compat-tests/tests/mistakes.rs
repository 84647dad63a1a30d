//! The promise: who starts a broker wrongly reads one clear line and gets an exit code, at once.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use compat_tests::node::{Node, binary, free_port};
use compat_tests::programs::run;

/// Against a hang.
const LIMIT: Duration = Duration::from_secs(60);
/// At once is within so many times what the program takes for nothing but its help, asked for at the same moment, and a little
/// more: a broker that tried again would take seconds, however fast the machine is.
const AT_ONCE_TIMES: u32 = 10;
const AT_ONCE_MORE: Duration = Duration::from_secs(2);

/// Runs the program, which must fail at once and say all of `words` in a single line of its standard error.
fn fails(command: &mut Command, words: &[&str]) -> Result<()> {
    let began = Instant::now();
    run(Command::new(binary()).arg("--help"), "", LIMIT)?;
    let at_once = began.elapsed() * AT_ONCE_TIMES + AT_ONCE_MORE;
    let began = Instant::now();
    let finished = run(command, "", LIMIT)?;
    let took = began.elapsed();
    ensure!(took < at_once, "{took:?}, where at once is {at_once:?}");
    ensure!(!finished.success, "{command:?} succeeded");
    let lines: Vec<&str> = finished.stderr.lines().collect();
    ensure!(lines.len() == 1, "not one line: {lines:?}");
    for word in words {
        ensure!(lines.concat().contains(word), "no {word:?} in {lines:?}");
    }
    Ok(())
}

fn start(port: u16, data: &Path) -> Command {
    let mut command = Command::new(binary());
    command
        .args([
            "start",
            "--override",
            &format!("listeners=PLAINTEXT://localhost:{port}"),
        ])
        .args(["--override", &format!("log.dirs={}", data.display())]);
    command
}

#[test]
#[ignore = "needs the broker's binary"]
fn a_port_in_use() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let data = tempfile::tempdir()?;
    fails(
        &mut start(port, data.path()),
        &["in use", &port.to_string()],
    )
}

#[test]
#[ignore = "needs the broker's binary"]
fn a_volume_that_cannot_be_written() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // Root may write anywhere but into a file that is in the way.
    let file = dir.path().join("volume");
    fs::write(&file, "")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444))?;
    let path = file.join("data");
    fails(
        &mut start(free_port()?, &path),
        &[&path.display().to_string()],
    )
}

#[test]
#[ignore = "needs the broker's binary"]
fn a_directory_that_another_broker_uses() -> Result<()> {
    let node = Node::start()?;
    let dir = node.dir().display().to_string();
    fails(
        &mut start(free_port()?, node.dir()),
        &[&dir, "another process"],
    )
}

#[test]
#[ignore = "needs the broker's binary"]
fn a_volume_of_another_cluster() -> Result<()> {
    const OLD: &str = "5L6g3nShT-eMCtK--X86sw";
    const NEW: &str = "MkU3OEVBNTcwNTJENDM2Qk";
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("server.properties");
    let data = dir.path().join("data");
    fs::write(
        &file,
        format!(
            "listeners=PLAINTEXT://localhost:9092\nlog.dirs={}\n",
            data.display()
        ),
    )?;
    let format = |id: &str| {
        let mut command = Command::new(binary());
        command
            .args(["storage", "format", "--ignore-formatted", "-t", id, "-c"])
            .arg(&file);
        command
    };
    ensure!(run(&mut format(OLD), "", LIMIT)?.success);
    fails(&mut format(NEW), &[OLD, NEW])
}

#[test]
#[ignore = "needs the broker's binary"]
fn a_variable_that_cannot_be() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("server.properties");
    fails(
        Command::new(binary())
            .args(["container", "configure"])
            .arg(&file)
            .env("KAFKA_NUM_PARTITIONS", "many"),
        &["KAFKA_NUM_PARTITIONS", "many"],
    )?;
    ensure!(!file.exists(), "settings were written all the same");
    Ok(())
}

#[test]
#[ignore = "needs the broker's binary"]
fn a_setting_that_cannot_be() -> Result<()> {
    let data = tempfile::tempdir()?;
    fails(
        start(free_port()?, data.path()).args(["--override", "num.partitions=many"]),
        &["num.partitions", "many"],
    )
}

#[test]
#[ignore = "needs the broker's binary"]
fn a_broker_in_the_background_is_found_and_stopped() -> Result<()> {
    let (dir, port) = (tempfile::tempdir()?, free_port()?);
    let file = dir.path().join("server.properties");
    fs::write(
        &file,
        format!(
            "listeners=PLAINTEXT://localhost:{port}\nlog.dirs={}\n",
            dir.path().join("data").display()
        ),
    )?;
    let started = run(
        Command::new(binary())
            .args(["server-start", "-daemon"])
            .arg(&file)
            .env("LOG_DIR", dir.path()),
        "",
        LIMIT,
    )?;
    ensure!(started.success, "{}", started.stderr);
    ensure!(
        compat_tests::programs::eventually(LIMIT, || compat_tests::node::listens(port)),
        "{}",
        fs::read_to_string(dir.path().join("kafkaServer.out"))?
    );
    // kafka-server-stop would stop the brokers of other tests too: this one is found by its command line.
    let said = run(
        Command::new("pgrep").args(["-f", &format!("server-start {}", file.display())]),
        "",
        LIMIT,
    )?;
    ensure!(run(Command::new("kill").arg(said.stdout.trim()), "", LIMIT)?.success);
    let gone = || !compat_tests::node::listens(port);
    ensure!(
        compat_tests::programs::eventually(LIMIT, gone),
        "it still listens"
    );
    Ok(())
}
