//! The promise: the image is reachable without being told where it is. With no `advertised.listeners` the machine outside is
//! told `localhost`, a neighbour the address that it reached; explicit settings win; the log says who was told what.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::docker::{docker, image};
use compat_tests::node::free_port;
use compat_tests::programs::{eventually, kcat, succeed};

const LIMIT: Duration = Duration::from_secs(120);

fn done(words: &[&str], input: &str) -> Result<String> {
    let finished = docker(words, input)?;
    ensure!(
        finished.success,
        "docker {words:?}\n{}\n{}",
        finished.stdout,
        finished.stderr
    );
    Ok(finished.stdout.trim().to_owned())
}

/// A container or a network, removed when dropped.
struct Thing {
    kind: &'static str,
    id: String,
}

impl Thing {
    /// Starts a broker in a container and waits until it answers.
    fn broker(words: &[&str]) -> Result<Self> {
        let image = image();
        let run = [&["run", "--detach"], words, &[&image]].concat();
        let this = Self {
            kind: "container",
            id: done(&run, "")?,
        };
        let ready =
            || docker(&["exec", &this.id, "monedula", "ready"], "").is_ok_and(|f| f.success);
        ensure!(eventually(LIMIT, ready), "{}", this.log()?);
        Ok(this)
    }

    fn network() -> Result<Self> {
        let name = format!("monedula-{}", free_port()?);
        Ok(Self {
            kind: "network",
            id: done(&["network", "create", &name], "")?,
        })
    }

    fn log(&self) -> Result<String> {
        let said = docker(&["logs", &self.id], "")?;
        Ok(said.stdout + &said.stderr)
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        let words: &[&str] = match self.kind {
            "container" => &["rm", "--force", "--volumes", &self.id],
            _ => &["network", "rm", &self.id],
        };
        drop(docker(words, ""));
    }
}

#[test]
#[ignore = "needs docker and kcat"]
fn container_without_advertised_listeners() -> Result<()> {
    let port = free_port()?;
    let network = Thing::network()?;
    let broker = Thing::broker(&[
        "--network",
        &network.id,
        "--network-alias",
        "kafka",
        "--publish",
        &format!("127.0.0.1:{port}:{port}"),
        "--env",
        &format!("KAFKA_LISTENERS=PLAINTEXT://:{port}"),
        "--env",
        "MONEDULA_LOG=debug",
    ])?;

    // A client on the machine outside, by the mapped port.
    let told = kcat(port, &["-L"], "")?;
    let outside = format!("localhost:{port}");
    ensure!(told.contains(&outside), "{told}");
    kcat(port, &["-P", "-t", "t"], "from outside\n")?;

    // A neighbour, by the container's name in their network.
    let image = image();
    let neighbour = |words: &[&str], input: &str| {
        let run = [
            "run",
            "--rm",
            "--interactive",
            "--network",
            &network.id,
            &image,
        ];
        done(&[&run[..], words].concat(), input)
    };
    let address = format!("kafka:{port}");
    let of_t = ["--bootstrap-server", &address, "--topic", "t"];
    neighbour(
        &[&["kafka-console-producer"], &of_t[..]].concat(),
        "from a neighbour\n",
    )?;
    let both = ["--from-beginning", "--max-messages", "2"];
    let seen = neighbour(
        &[&["kafka-console-consumer"], &of_t[..], &both].concat(),
        "",
    )?;
    ensure!(
        seen.lines().collect::<Vec<_>>() == ["from outside", "from a neighbour"],
        "{seen}"
    );

    // Who was told what.
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let inside = done(&["inspect", "--format", format, &broker.id], "")?;
    let log = broker.log()?;
    for host in ["localhost", &inside] {
        let line = log
            .lines()
            .find(|line| line.contains("advertising") && line.contains(&format!("host={host} ")))
            .with_context(|| format!("nobody was told {host}:\n{log}"))?;
        ensure!(line.contains("peer="), "{line}");
        ensure!(line.contains(&format!("port={port}")), "{line}");
    }
    Ok(())
}

#[test]
#[ignore = "needs docker and kcat"]
fn container_with_advertised_listeners() -> Result<()> {
    let port = free_port()?;
    let _broker = Thing::broker(&[
        "--publish",
        &format!("127.0.0.1:{port}:9092"),
        "--env",
        "KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://somewhere.example:9092",
    ])?;
    let told = kcat(port, &["-L"], "")?;
    ensure!(told.contains("somewhere.example:9092"), "{told}");
    Ok(())
}

/// A restart of the container is a restart of the broker: same volume, same cluster, same records.
#[test]
#[ignore = "needs docker and kcat"]
fn container_that_is_restarted() -> Result<()> {
    let port = free_port()?;
    let broker = Thing::broker(&[
        "--publish",
        &format!("127.0.0.1:{port}:{port}"),
        "--env",
        &format!("KAFKA_LISTENERS=PLAINTEXT://:{port}"),
    ])?;
    kcat(port, &["-P", "-t", "t"], "kept\n")?;
    for how in [&["restart"][..], &["restart", "--time", "0"]] {
        done(&[how, &[&broker.id]].concat(), "")?;
        let seen = || kcat(port, &["-C", "-t", "t", "-e", "-q"], "").is_ok_and(|s| s == "kept\n");
        ensure!(eventually(LIMIT, seen), "{}", broker.log()?);
    }
    Ok(())
}

/// An impossible variable, a port in use, a volume that cannot be written or is another cluster's: one line and an end.
#[test]
#[ignore = "needs docker"]
fn container_mistakes() -> Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docker/mistakes.sh");
    succeed(
        Command::new("bash").arg(script).env("IMAGE", image()),
        2 * LIMIT,
    )
    .map(drop)
}
