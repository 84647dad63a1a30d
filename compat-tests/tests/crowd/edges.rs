//! Attacks on a node's log output, timers, controller and tools.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat_tests::admin;
use compat_tests::exchange::Connection;
use compat_tests::node::{Node, binary, free_port, listens};
use compat_tests::programs::{eventually, run};
use monedula::wire::message::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntryData, EntityData, OpData,
};
use monedula::wire::message::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::delete_topics::DeleteTopicsRequest;
use monedula::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use monedula::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};

use crate::frames::{frame, framed, head};
use crate::stage::{Crowd, GROUPS, PATIENCE, Stage, WAIT_MAX};

const TOPIC: &str = "t";
/// Time limit against a hang.
const LIMIT: Duration = Duration::from_secs(60);

/// Opens connections that each send a request of an unknown API.
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
                    // If the node does not answer one, the remaining ones need not be sent.
                    if matches!(client.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock) {
                        break;
                    }
                }
            });
        }
    });
}

/// The log does not get a line for each of the requests.
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

/// Sends requests one after the other, while another client administers a topic of its own. Returns that client's rounds before
/// the first request is answered, and its longest wait.
fn beside_an_administrator(crowd: &Crowd, requests: &[Vec<u8>]) -> Result<(usize, Duration)> {
    let first = &AtomicBool::new(false);
    thread::scope(|scope| {
        let mut attacker = crowd.attacker()?;
        let (mut rounds, mut longest) = (0, Duration::ZERO);
        let attack = scope.spawn(move || {
            for request in requests {
                let began = Instant::now();
                attacker.send(request);
                println!(
                    "{:?} after {:?}",
                    attacker.answer(PATIENCE),
                    began.elapsed()
                );
                first.store(true, Ordering::Relaxed);
            }
        });
        let mut client = Connection::open(crowd.address())?;
        client.be_patient(PATIENCE)?;
        while !attack.is_finished() {
            longest = longest.max(administered(&mut client)?);
            rounds += usize::from(!first.load(Ordering::Relaxed));
        }
        Ok((rounds, longest))
    })
}

/// Another client administers a topic of its own meanwhile.
pub fn a_topic_of_many_partitions(stage: &mut Stage) -> Result<()> {
    let partitions = stage.size(2_000, 9_000);
    let requests = [
        frame(&created([(TOPIC.to_owned(), partitions)]), 4)?,
        frame(&deleted([TOPIC.to_owned()]), 4)?,
    ];
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    stage.attack(|crowd| {
        (rounds, longest) = beside_an_administrator(crowd, &requests)?;
        Ok(())
    })?;
    println!("{rounds} rounds beside it");
    stage.also_waited(longest, "a topic of its own");
    // One round may have come before the large topic. The others waited only for their own topics.
    stage.expect(rounds >= 3, || {
        format!("{rounds} small topics were made beside a large one")
    });
    Ok(())
}

/// While the controller decides one request, decisions about all other requests wait.
pub fn long_decisions(stage: &mut Stage) -> Result<()> {
    const A_GROUP: i8 = 32;
    let count = stage.size(1_000, 5_000);
    let names = |letter: char| (0..count).map(move |number| format!("a{letter}{number}"));
    let one_each = |letter: char| created(names(letter).map(|name| (name, 1)));
    let grown = CreatePartitionsRequest {
        topics: names('_')
            .map(|name| CreatePartitionsTopic {
                name: name.into(),
                count: 10_000,
                ..Default::default()
            })
            .collect(),
        timeout_ms: 60_000,
        ..Default::default()
    };
    let settings = IncrementalAlterConfigsRequest {
        resources: (0..20 * count)
            .map(|number| {
                let name = format!("g{number}");
                changed(A_GROUP, &name, "consumer.session.timeout.ms", "50000")
            })
            .collect(),
        ..Default::default()
    };
    let quotas = AlterClientQuotasRequest {
        entries: (0..2 * count)
            .map(|number| AlterClientQuotasRequestEntryData {
                entity: vec![EntityData {
                    entity_type: "user".into(),
                    entity_name: Some(format!("u{number}").into()),
                }],
                ops: vec![OpData {
                    key: "producer_byte_rate".into(),
                    value: 1.0,
                    ..Default::default()
                }],
            })
            .collect(),
        ..Default::default()
    };
    let requests = [
        frame(&one_each('_'), 4)?,
        // Topic names that differ only in '.' and '_' collide in metric names, which the controller checks for each new topic.
        frame(&one_each('.'), 4)?,
        frame(&grown, 1)?,
        frame(&settings, 0)?,
        frame(&quotas, 0)?,
        frame(&deleted(names('_')), 4)?,
    ];
    let mut longest = Duration::ZERO;
    stage.attack(|crowd| {
        (_, longest) = beside_an_administrator(crowd, &requests)?;
        // Memory of topics and quotas, which stay.
        crowd.leaves(count << 12);
        Ok(())
    })?;
    stage.also_waited(longest, "a topic of its own");
    Ok(())
}

fn created(topics: impl IntoIterator<Item = (String, i32)>) -> CreateTopicsRequest {
    let topic = |(name, num_partitions): (String, i32)| CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor: 1,
        ..Default::default()
    };
    CreateTopicsRequest {
        topics: topics.into_iter().map(topic).collect(),
        timeout_ms: 60_000,
        ..Default::default()
    }
}

fn deleted(topics: impl IntoIterator<Item = String>) -> DeleteTopicsRequest {
    DeleteTopicsRequest {
        topic_names: topics.into_iter().map(Into::into).collect(),
        timeout_ms: 60_000,
        ..Default::default()
    }
}

fn changed(resource_type: i8, resource: &str, name: &str, value: &str) -> AlterConfigsResource {
    AlterConfigsResource {
        resource_type,
        resource_name: resource.into(),
        configs: vec![AlterableConfig {
            name: name.into(),
            config_operation: 0,
            value: Some(value.into()),
        }],
    }
}

/// Creates a topic, alters a setting of it, and deletes it; returns the longest duration of the three.
fn administered(client: &mut Connection) -> Result<Duration> {
    const SMALL: &str = "small";
    const A_TOPIC: i8 = 2;
    let change = IncrementalAlterConfigsRequest {
        resources: vec![changed(A_TOPIC, SMALL, "retention.ms", "-1")],
        ..Default::default()
    };
    let mut longest = Duration::ZERO;
    let mut began = Instant::now();
    let mut took = || {
        longest = longest.max(began.elapsed());
        began = Instant::now();
    };
    let made = client.answered(&created([(SMALL.to_owned(), 1)]), 4)?;
    took();
    let set = client.answered(&change, 0)?;
    took();
    let gone = client.answered(&deleted([SMALL.to_owned()]), 4)?;
    took();
    let codes = [
        made.topics[0].error_code,
        set.responses[0].error_code,
        gone.responses[0].error_code,
    ];
    ensure!(codes == [0; 3], "{codes:?}");
    Ok(longest)
}

/// The type of the interval in Kafka's protocol allows values that end after the last representable time.
pub fn a_timer_that_is_never_due(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[])?;
    stage.find_coordinator("g", GROUPS)?;
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

/// No one reads the node's output; the node must still react to SIGTERM.
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
    client.ask(&deleted(["deleted".to_owned()]), 4)?;
    node.stop()?;
    let mut command = Command::new(binary());
    command.arg("verify-log").arg(node.dir());
    let verified = run(&mut command, "", LIMIT)?;
    ensure!(verified.success, "{}\n{}", verified.stdout, verified.stderr);
    Ok(())
}
