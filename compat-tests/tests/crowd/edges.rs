//! The edges of a node: its log, its timers, its controller, its tools.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat_tests::admin;
use compat_tests::exchange::Connection;
use compat_tests::node::{Node, binary, free_port, listens};
use compat_tests::programs::{eventually, run};
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::delete_topics::DeleteTopicsRequest;
use monedula::wire::message::find_coordinator::FindCoordinatorRequest;
use monedula::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};

use crate::frames::{framed, head};
use crate::stage::{PATIENCE, Stage, WAIT_MAX};

const TOPIC: &str = "t";
/// Against a hang.
const LIMIT: Duration = Duration::from_secs(60);

/// Connections that each ask for an API that nobody knows.
fn flood(address: &str, connections: usize) {
    const CLIENTS: usize = 4;
    let unknown = framed(&head(999, 0)).unwrap_or_default();
    let unknown = &unknown;
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(move || {
                for _ in 0..connections / CLIENTS {
                    let Ok(mut client) = TcpStream::connect(address) else {
                        continue;
                    };
                    drop(client.set_read_timeout(Some(WAIT_MAX)));
                    drop(client.write_all(unknown));
                    // Where one is not answered, no more need be asked.
                    if matches!(client.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock) {
                        break;
                    }
                }
            });
        }
    });
}

/// The log does not grow by a line for each of them.
pub fn unknown_requests_flood_the_log(stage: &mut Stage) -> Result<()> {
    let connections = stage.size(5_000, 30_000);
    let before = stage.node().log()?.len();
    stage.attack(|crowd| {
        flood(crowd.address(), connections);
        crowd.sent_elsewhere(connections * 12);
        Ok(())
    })?;
    let lines = stage.node().log()?.len() - before;
    println!("{lines} lines for {connections} connections");
    stage.expect(lines < connections / 10, || {
        format!("{lines} lines in the log for {connections} connections")
    });
    Ok(())
}

/// Somebody else makes a topic meanwhile.
pub fn a_topic_of_many_partitions(stage: &mut Stage) -> Result<()> {
    let large = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: TOPIC.into(),
            num_partitions: stage.size(2_000, 5_000),
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 60_000,
        ..Default::default()
    };
    let mut waited = Duration::ZERO;
    stage.attack(|crowd| {
        let mut attacker = crowd.attacker()?;
        attacker.ask(&large, 4)?;
        let mut client = Connection::open(crowd.address())?;
        let began = Instant::now();
        admin::create(&mut client, &["small"], 1)?;
        waited = began.elapsed();
        attacker.answer(PATIENCE);
        Ok(())
    })?;
    // How long that takes is the disk's: each partition is synced.
    println!("another topic was made after {waited:?}");
    Ok(())
}

/// Kafka's type allows for an interval that ends after the last moment there is.
pub fn a_timer_that_is_never_due(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[])?;
    let find = FindCoordinatorRequest {
        key: "g".into(),
        ..Default::default()
    };
    stage.ask(&find, 1)?;
    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.into(),
            partitions: vec![OffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    stage.attack(|crowd| {
        let mut client = crowd.attacker()?;
        client.ask(&commit, 2)?;
        let outcome = client.answer(WAIT_MAX);
        ensure!(
            matches!(outcome, crate::stage::Outcome::Answered(_)),
            "a commit was answered by {outcome:?}"
        );
        Ok(())
    })
}

/// Nobody reads what the node prints; it hears SIGTERM all the same.
#[test]
#[ignore = "needs the binary"]
fn a_log_that_nobody_reads_holds_up_nobody() -> Result<()> {
    let (dir, port) = (tempfile::tempdir()?, free_port()?);
    let mut child = Command::new(binary())
        .args(["start", "--override"])
        .arg(format!("listeners=PLAINTEXT://localhost:{port}"))
        .arg("--override")
        .arg(format!("log.dirs={}", dir.path().join("data").display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let told = (|| {
        ensure!(eventually(LIMIT, || listens(port)), "it does not listen");
        flood(&format!("localhost:{port}"), 4_000);
        let mut client = Connection::open(&format!("localhost:{port}"))?;
        client.be_patient(LIMIT)?;
        client.versions().context("beside a full log")?;
        ensure!(
            Command::new("kill")
                .arg(child.id().to_string())
                .status()?
                .success()
        );
        let ended = eventually(LIMIT, || matches!(child.try_wait(), Ok(Some(_))));
        ensure!(ended, "SIGTERM was not heard");
        Ok(())
    })();
    drop(child.kill());
    drop(child.wait());
    told
}

#[test]
#[ignore = "needs the binary"]
fn a_directory_is_healthy_after_a_topic_was_deleted() -> Result<()> {
    let mut node = Node::start()?;
    let mut client = Connection::open(&node.address())?;
    admin::create(&mut client, &["deleted", "kept"], 2)?;
    let delete = DeleteTopicsRequest {
        topic_names: vec!["deleted".into()],
        timeout_ms: 60_000,
        ..Default::default()
    };
    client.ask(&delete, 4)?;
    node.stop()?;
    let mut command = Command::new(binary());
    command.arg("verify-log").arg(node.dir());
    let verified = run(&mut command, "", LIMIT)?;
    ensure!(verified.success, "{}\n{}", verified.stdout, verified.stderr);
    Ok(())
}
