//! A broker that is started wrongly prints one clear line and exits with an error code, at once.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use compat_tests::node::{Node, binary, free_port, listens};
use compat_tests::programs::{eventually, run};

/// Time limit against a hang.
const LIMIT: Duration = Duration::from_secs(60);
/// Factor of the time limit for "at once": this many times the duration of `--help`, measured just before, plus `AT_ONCE_MORE`.
/// A broker that retried would take seconds, however fast the machine is.
const AT_ONCE_TIMES: u32 = 10;
const AT_ONCE_MORE: Duration = Duration::from_secs(2);

/// Runs the program, which must fail at once with all of `words` in a single line of its standard error.
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
    // Root may write anywhere, except into a file that is in the place of the directory.
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
        eventually(LIMIT, || listens(port)),
        "{}",
        fs::read_to_string(dir.path().join("kafkaServer.out"))?
    );
    // Other tests run brokers at the same time, so this one is named by its data directory.
    let said = run(
        Command::new(binary())
            .arg("server-stop")
            .arg("--data-dir")
            .arg(dir.path().join("data")),
        "",
        LIMIT,
    )?;
    ensure!(said.success, "{}{}", said.stdout, said.stderr);
    ensure!(
        said.stdout.contains(&format!("port {port}")),
        "{}",
        said.stdout
    );
    let gone = || !listens(port);
    ensure!(eventually(LIMIT, gone), "it still listens");
    Ok(())
}

#[test]
#[ignore = "needs the broker's binary"]
fn of_two_brokers_only_the_one_that_is_named_is_stopped() -> Result<()> {
    let (one, other) = (Node::start()?, Node::start()?);
    let stop = |words: &[&str]| {
        let mut command = Command::new(binary());
        run(command.arg("server-stop").args(words), "", LIMIT)
    };
    // Without an option, all running brokers are listed and none is stopped.
    let said = stop(&[])?;
    ensure!(!said.success, "{}", said.stdout);
    for node in [&one, &other] {
        let pid = node.pid().context("it runs")?;
        let dir = fs::canonicalize(node.dir())?;
        let line = said.stdout.lines().find(|line| {
            line.contains(&format!("process {pid},"))
                && line.contains(&format!("port {}", node.port()))
                && line.contains(&dir.display().to_string())
        });
        ensure!(line.is_some(), "{}", said.stdout);
    }
    for words in [
        &["--help"][..],
        &["--hepl"],
        &["now"],
        &["--pid", "1"],
        &["--node-id", "987654"],
        &["--process-role=controller", "--node-id=987654"],
        &["--port", "1"],
        &["--data-dir", "/nowhere"],
    ] {
        let said = stop(words)?;
        ensure!(
            said.success == (words == ["--help"]),
            "{words:?}: {}",
            said.stdout
        );
    }
    ensure!(listens(one.port()) && listens(other.port()));
    let said = stop(&["--port", &one.port().to_string()])?;
    ensure!(said.success, "{}{}", said.stdout, said.stderr);
    ensure!(eventually(LIMIT, || !listens(one.port())));
    ensure!(listens(other.port()));
    Ok(())
}

/// Like `monedula start 2>&1 | head -1`.
#[test]
#[ignore = "needs the broker's binary"]
fn whoever_closes_the_pipe_of_a_log_is_no_reason_to_fail() -> Result<()> {
    let (port, data) = (free_port()?, tempfile::tempdir()?);
    let (reader, writer) = std::io::pipe()?;
    let mut command = start(port, data.path());
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut broker = command.spawn()?;
    drop(command);
    let mut first = String::new();
    BufReader::new(reader).read_line(&mut first)?;
    ensure!(first.starts_with('['), "no line of a log: {first}");
    let begun = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            // A client that does not speak Kafka's protocol causes a log line.
            Ok(mut client) => break client.write_all(b"GET / HTTP/1.1\r\n\r\n")?,
            Err(_) if begun.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.into()),
        }
    }
    ends_well(&mut broker)
}

/// A pipe that no one reads holds 64 KiB.
#[test]
#[ignore = "needs the broker's binary"]
fn whoever_does_not_read_a_log_holds_up_nobody() -> Result<()> {
    let (port, data) = (free_port()?, tempfile::tempdir()?);
    let (reader, writer) = std::io::pipe()?;
    let mut command = start(port, data.path());
    command.env("MONEDULA_LOG", "debug").stdout(writer);
    let mut broker = command.spawn()?;
    drop(command);
    let begun = Instant::now();
    let mut clients = 0;
    while clients < 2_000 {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => clients += 1,
            Err(_) if begun.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.into()),
        }
    }
    let ended = ends_well(&mut broker);
    drop(reader);
    ended
}

fn ends_well(broker: &mut Child) -> Result<()> {
    let terminated = Command::new("kill").arg(broker.id().to_string()).status()?;
    ensure!(terminated.success());
    let begun = Instant::now();
    let status = loop {
        match broker.try_wait()? {
            Some(status) => break status,
            None if begun.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(10)),
            None => {
                broker.kill()?;
                bail!("it did not hear SIGTERM");
            }
        }
    };
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
#[ignore = "needs the broker's binary"]
fn nobody_waits_for_a_broker_that_is_not_there() -> Result<()> {
    let port = free_port()?;
    let at = format!("localhost:{port}");
    let check = |words: &[&str], expected: &str| -> Result<()> {
        let said = run(Command::new(binary()).args(words), "", LIMIT)?;
        ensure!(
            !said.success && said.stderr.contains(expected),
            "{words:?}: {}{}",
            said.stdout,
            said.stderr
        );
        Ok(())
    };
    let refused = format!("cannot connect to {at}: connection refused; is the broker running?");
    check(&["topics", "--bootstrap-server", &at, "--list"], &refused)?;
    check(
        &["ready", "--bootstrap-server", &at, "--timeout", "0"],
        &refused,
    )?;
    check(
        &["reset", "--admin", &at],
        &format!("admin listener at {at}: connection refused"),
    )?;
    check(
        &[
            "topics",
            "--bootstrap-server",
            "host.invalid:9092",
            "--list",
        ],
        "cannot connect to host.invalid:9092: unknown host",
    )?;
    check(
        &["topics", "--bootstrap-server", "localhost", "--list"],
        "'localhost' is not HOST:PORT",
    )?;
    check(&["topics", "--list"], "--bootstrap-server is missing")?;
    check(
        &["start", "nowhere.properties"],
        "cannot read nowhere.properties: no such file or directory",
    )
}

#[test]
#[ignore = "needs the broker's binary"]
fn a_tool_whose_output_nobody_reads_ends_in_silence() -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let output = Command::new(binary())
        .arg("tool-names")
        .stdout(writer)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.is_empty() && output.status.success(), "{said}");
    Ok(())
}
