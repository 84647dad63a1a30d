//! Requests of `compat_tests::generator` from many clients at once, batch after batch, until the time is over.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat_tests::chance::{from_environment, seed};
use compat_tests::exchange::Connection;
use compat_tests::generator::{Generator, ID_BYTES, TOPICS};
use monedula::wire::message::metadata::{MetadataRequest, MetadataRequestTopic};

use crate::stage::{MIB, Stage, Surrounded, is_small};

const CLIENTS: usize = 4;
/// Number of requests of one client in one batch.
const REQUESTS: usize = 100;
/// Memory that the effects of a batch may take: topics, groups with their members, offsets with their metadata.
const LEFT: usize = 64 * MIB;
/// Time after which an attacker no longer waits for a response.
const PATIENCE: Duration = Duration::from_millis(300);

fn topic_ids(stage: &Stage) -> Result<Vec<[u8; ID_BYTES]>> {
    let names = TOPICS.map(|name| MetadataRequestTopic {
        name: Some(name.into()),
        ..Default::default()
    });
    let request = MetadataRequest {
        topics: Some(names.into()),
        ..Default::default()
    };
    let topics = stage.ask(&request, 12)?.topics.into_iter();
    Ok(topics.map(|topic| topic.topic_id.0).collect())
}

#[test]
#[ignore = "needs the binary"]
fn crowd_generator() -> Result<()> {
    let (usual, frame_max) = if is_small() { (5, MIB) } else { (60, 8 * MIB) };
    let limit = Duration::from_secs(from_environment("CROWD_SECONDS").unwrap_or(usual));
    let first = if is_small() && std::env::var_os("CROWD_SEED").is_none() {
        1
    } else {
        seed("CROWD_SEED")
    };
    let mut stage = Stage::set("generator", &[], Surrounded::ByThreads(2))?;
    for topic in TOPICS {
        stage.create(topic, 3, &[])?;
    }
    let ids = topic_ids(&stage)?;
    let offered = Connection::open(&stage.node().address())?.versions()?;
    let is_served = |key, version| {
        let row = offered.api_keys.iter().find(|row| row.api_key == key);
        row.is_some_and(|row| (row.min_version..=row.max_version).contains(&version))
    };
    let began = Instant::now();
    for seed in first.. {
        if began.elapsed() >= limit {
            break;
        }
        println!("CROWD_SEED={seed}");
        let batches: Vec<_> = (0..CLIENTS as u64)
            .map(|client| {
                let seed = seed.wrapping_mul(CLIENTS as u64).wrapping_add(client);
                let mut generator = Generator::new(seed, frame_max, &ids, is_served);
                let requests = (0..REQUESTS).map(|_| generator.request());
                requests.collect::<Vec<_>>()
            })
            .collect();
        stage.attack(|crowd| {
            thread::scope(|scope| {
                for batch in &batches {
                    scope.spawn(move || {
                        let mut client = crowd.attacker().ok()?;
                        for (index, made) in batch.iter().enumerate() {
                            let taken = client.send(&made.frame);
                            // Some clients send on without waiting. A client whose connection was closed connects again.
                            if !taken || index % 4 == 3 {
                                client.answer(PATIENCE);
                                client = crowd.attacker().ok()?;
                            }
                        }
                        Some(())
                    });
                }
            });
            crowd.leaves(LEFT);
            Ok(())
        })?;
        if let Some(status) = stage.node().ended() {
            for made in batches.iter().flatten() {
                println!("{}", made.what);
            }
            anyhow::bail!(
                "the node ended with {status} after CROWD_SEED={seed}\n{}",
                stage.node().last_words()
            );
        }
        stage
            .holds()
            .with_context(|| format!("after CROWD_SEED={seed}"))?;
    }
    ensure!(stage.node().ended().is_none(), "the node ended");
    stage.end()
}
