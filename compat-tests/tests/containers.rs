//! Clients reach the image without configured addresses. Without `advertised.listeners`, clients on the host get `localhost`,
//! and clients in other containers the address that they connected to. Explicit settings take precedence. The log says which
//! client got which address.

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

/// A container or a network. Removed when dropped.
struct Thing {
    kind: &'static str,
    id: String,
}

impl Thing {
    /// Starts a broker in a container and waits until it is ready.
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

    // A client on the host, by the mapped port.
    let told = kcat(port, &["-L"], "")?;
    let outside = format!("localhost:{port}");
    ensure!(told.contains(&outside), "{told}");
    kcat(port, &["-P", "-t", "t"], "from outside\n")?;

    // A client in another container of the same network, by the broker's container name.
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

    // The log says which client got which address.
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

/// A restarted container restarts the broker with the same volume, the same cluster id and the same records.
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

/// Commands of health checks and start scripts in public repositories, and whether they must succeed.
const CHECKS: &[(&str, bool)] = &[
    (
        "kafka-topics.sh --create --if-not-exists --topic t --bootstrap-server localhost:9092 --replication-factor 3",
        true,
    ),
    (
        "kafka-topics.sh --bootstrap-server localhost:9092 --list",
        true,
    ),
    (
        "kafka-topics --bootstrap-server=$(hostname):9092 --list",
        true,
    ),
    (
        "/opt/kafka/bin/kafka-broker-api-versions.sh --bootstrap-server localhost:9092",
        true,
    ),
    (
        "kafka-run-class kafka.tools.GetOffsetShell --bootstrap-server localhost:9092",
        true,
    ),
    (
        "kafka-cluster cluster-id --bootstrap-server localhost:9092",
        true,
    ),
    ("unset JMX_PORT; kafka-topics --version", true),
    ("nc -z localhost 9092", true),
    ("nc -zv -w 2 localhost 9092", true),
    ("netcat -z localhost 9092", true),
    ("nc -z -w1 localhost 9999", false),
    ("echo > /dev/tcp/localhost/9092", true),
    ("cub kafka-ready -b localhost:9092 1 20", true),
    ("ub kafka-ready 1 20", true),
    ("cub kafka-ready -b localhost:9092 2 1", false),
    ("netstat -an | grep 9092 | grep LISTEN", true),
    ("wget -qO- localhost:9644/ready", true),
    ("kafka-groups --list", false),
    ("kafka-acls --bootstrap-server localhost:9092 --list", false),
];

#[test]
#[ignore = "needs docker"]
fn container_checks_that_people_write() -> Result<()> {
    let broker = Thing::broker(&[])?;
    let exec = |words: &str| docker(&["exec", &broker.id, "sh", "-c", words], "");
    for (words, liked) in CHECKS {
        let said = exec(words)?;
        ensure!(
            said.success == *liked,
            "{words}\n{}{}",
            said.stdout,
            said.stderr
        );
    }
    // A process that a check leaves behind becomes a child of the broker, which is process 1 here, and must not remain as a
    // zombie.
    exec("(sleep 0.1 &) ; exit 0")?;
    let zombies = "for at in /proc/[0-9]*; do sed -n '/^State:.*Z/p' $at/status 2>/dev/null; done";
    let gone = || exec(zombies).is_ok_and(|said| said.success && said.stdout.is_empty());
    let sleeping = || exec("ps | grep -q '[s]leep 0.1'").is_ok_and(|said| said.success);
    ensure!(
        eventually(LIMIT, || !sleeping() && gone()),
        "{:?}",
        exec("ps")
    );
    // Some scripts wait for a line of Apache Kafka's log, and match it to its end.
    let log = broker.log()?;
    for line in [
        "[KafkaServer id=1] started (kafka.server.KafkaServer)",
        "[KafkaRaftServer nodeId=1] Kafka Server started (kafka.server.KafkaRaftServer)",
        "Transitioning from RECOVERY to RUNNING. (kafka.server.BrokerLifecycleManager)",
    ] {
        ensure!(log.contains(line), "no {line}:\n{log}");
    }
    Ok(())
}

/// A read-only root file system, another user, variables that a platform adds, and variables of other images.
#[test]
#[ignore = "needs docker"]
fn container_as_platforms_run_it() -> Result<()> {
    let broker = Thing::broker(&[
        "--read-only",
        "--user",
        "2000:2000",
        "--tmpfs",
        "/data:mode=1777",
        "--env",
        "KAFKA_LOG_DIRS=/data/kafka",
        "--env",
        "KAFKA_LISTENERS=PLAINTEXT://:7777",
        "--env",
        "KAFKA_PORT=tcp://10.0.0.1:9092",
        "--env",
        "KAFKA_SERVICE_HOST=10.0.0.1",
        "--env",
        "KAFKA_KRAFT_CLUSTER_ID=5L6g3nShT-eMCtK--X86sw",
        "--env",
        "KAFKA_CREATE_TOPICS=a:3:1,b:1:3:compact",
    ])?;
    let exec = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        done(&[&["exec", &broker.id], &words[..]].concat(), "")
    };
    let told = exec("kafka-topics --bootstrap-server localhost:7777 --describe")?;
    ensure!(
        told.contains("Topic: a\t") && told.contains("PartitionCount: 3"),
        "{told}"
    );
    ensure!(told.contains("cleanup.policy=compact"), "{told}");
    let id = exec("kafka-cluster cluster-id --bootstrap-server localhost:7777")?;
    ensure!(id.contains("5L6g3nShT-eMCtK--X86sw"), "{id}");
    Ok(())
}

/// Starts Apache Kafka's scripts by hand, as users of its image do.
#[test]
#[ignore = "needs docker"]
fn container_started_by_hand() -> Result<()> {
    let image = image();
    let words = "kafka-storage.sh format --standalone -t $(kafka-storage.sh random-uuid) \
        -c /opt/kafka/config/kraft/server.properties && \
        exec /opt/kafka/bin/kafka-server-start.sh /opt/kafka/config/server.properties";
    let id = done(
        &[
            "run",
            "--detach",
            "--entrypoint",
            "/__cacert_entrypoint.sh",
            &image,
            "bash",
            "-c",
            words,
        ],
        "",
    )?;
    let broker = Thing {
        kind: "container",
        id,
    };
    let ready = || docker(&["exec", &broker.id, "monedula", "ready"], "").is_ok_and(|f| f.success);
    ensure!(eventually(LIMIT, ready), "{}", broker.log()?);
    Ok(())
}

/// An invalid variable, a port in use, a volume that is not writable or belongs to another cluster: one log line, then exit.
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
