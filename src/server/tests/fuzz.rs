//! Fuzz test: random and damaged requests of every API and version against a running node. No request may make a task of the
//! node panic or disturb another client. The same holds for a crowd of hostile clients (`compat_tests::generator`); the memory
//! that such a crowd takes is measured from outside the process (`compat-tests/tests/crowd`).
//!
//! `MONEDULA_FUZZ_SECONDS` makes the test run longer, `MONEDULA_FUZZ_SEED` repeats a run.

use std::sync::atomic::{AtomicUsize, Ordering};

use compat_tests::generator::Generator;

use super::*;
use crate::api::table;
use crate::every_api;
use crate::wire::codec::Layout;
use crate::wire::message::arbitrary::{Arbitrary, Dice};
use crate::wire::message::fuzz::{damaged, from_environment};
use crate::wire::message::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use crate::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};

/// Name of the threads of the node under test. Panics of other threads, which belong to other tests, are not counted.
const THREADS: &str = "fuzzed-node";
/// Number of damaged copies of each valid request.
const COPIES: u64 = 4;

static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() == Some(THREADS) {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
        before(info);
    }));
}

fn at_random<Q: Request + Arbitrary>(dice: &mut Dice) -> Option<Vec<u8>> {
    let versions = &table::find(Q::KEY)?.versions;
    let count = versions.clone().count() as u64;
    let version = versions.start() + dice.below(count) as i16;
    let layout = Layout::new(version, Q::is_flexible(version));
    Some(frame(1, version, &Q::arbitrary(dice, layout)))
}

macro_rules! one_of_every_api {
    ($($key:literal $module:ident $name:ident;)*) => { pastey::paste! {
        fn one_of_every_api(dice: &mut Dice) -> Vec<Vec<u8>> {
            use crate::wire::message::*;
            [$(at_random::<$module::[<$name Request>]>(dice)),*].into_iter().flatten().collect()
        }
    } };
}

every_api!(one_of_every_api);

/// Requests for an existing topic and group, which get beyond the checks of names.
fn of_known_names() -> Vec<Vec<u8>> {
    let join = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 6_000,
        rebalance_timeout_ms: 6_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"),
        }],
        ..Default::default()
    };
    let commit = OffsetCommitRequest {
        group_id: "h".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let list = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![ListOffsetsPartition {
                timestamp: 1,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    vec![
        frame(1, 3, &produce("t", -1, &[7; 300])),
        frame(1, 9, &produce("t", 0, &[7; 30])),
        frame(1, 4, &fetch("t", 0, Duration::ZERO)),
        frame(1, 12, &fetch("t", 1, Duration::from_millis(5))),
        frame(1, 4, &create(&["t", "u"])),
        frame(1, 3, &join),
        frame(1, 5, &join),
        frame(1, 6, &commit),
        frame(1, 1, &list),
        frame(1, 7, &list),
    ]
}

/// Sends each frame and damaged copies of it as fast as the socket takes them, without waiting for answers.
async fn send_all(node: &Node, dice: &mut Dice, frames: Vec<Vec<u8>>) {
    let mut client = node.connect().await;
    for good in frames {
        let mut copies = vec![good.clone()];
        copies.extend((0..COPIES).map(|_| framed(&damaged(dice, &good[4..]))));
        for frame in copies {
            // A connection that received a damaged request may rightly be closed.
            let sent = tokio::time::timeout(PATIENCE, client.stream.write_all(&frame)).await;
            if !matches!(sent, Ok(Ok(()))) || dice.below(4) == 0 {
                client = node.connect().await;
            }
        }
    }
}

async fn play(seed: &mut u64, limit: Duration) {
    let node = Node::start(&[]).await;
    let mut bystander = node.with_topics(&["t", "quiet"]).await;
    let began = Instant::now();
    let mut offset = 0;
    while began.elapsed() < limit {
        println!("MONEDULA_FUZZ_SEED={seed}");
        let mut dice = Dice::new(*seed);
        *seed = seed.wrapping_add(1);
        let requests = one_of_every_api(&mut dice);
        send_all(&node, &mut dice, requests).await;
        send_all(&node, &mut dice, of_known_names()).await;
        assert!(bystander.is_alive().await);
        bystander
            .send(&frame(2, 7, &produce("quiet", -1, b"value")))
            .await;
        assert_eq!(produced(bystander.answer().await.1), (0, offset));
        offset += 1;
        assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    }
}

/// Sends hostile requests from several clients that do not wait for answers.
async fn play_a_crowd(seed: &mut u64, limit: Duration) {
    const CLIENTS: usize = 4;
    const REQUESTS: usize = 20;
    const FRAME_MAX: usize = 128 << 10;
    let node = Node::start(&[]).await;
    let mut bystander = node.with_topics(&["t", "u", "quiet"]).await;
    let metadata = bystander.ask(12, &MetadataRequest::default()).await;
    let ids: Vec<_> = (metadata.topics.iter())
        .map(|topic| topic.topic_id.0)
        .collect();
    let is_served =
        |key, version| table::find(key).is_some_and(|row| row.versions.contains(&version));
    let began = Instant::now();
    let mut offset = 0;
    while began.elapsed() < limit {
        println!("MONEDULA_FUZZ_SEED={seed}");
        let mut generator = Generator::new(*seed, FRAME_MAX, &ids, is_served);
        *seed = seed.wrapping_add(1);
        for _ in 0..CLIENTS {
            let mut client = node.connect().await;
            for _ in 0..REQUESTS {
                let frame = generator.request().frame;
                let sent = tokio::time::timeout(PATIENCE, client.stream.write_all(&frame)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    client = node.connect().await;
                }
            }
        }
        bystander
            .send(&frame(2, 7, &produce("quiet", -1, b"value")))
            .await;
        assert_eq!(produced(bystander.answer().await.1), (0, offset));
        offset += 1;
        assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    }
}

fn block_on_fuzzed_threads(played: impl Future<Output = ()>) {
    count_panics();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(THREADS)
        .enable_all()
        .build()
        .unwrap()
        .block_on(played);
}

fn limit() -> Duration {
    Duration::from_secs(from_environment("MONEDULA_FUZZ_SECONDS").unwrap_or(3))
}

#[test]
fn no_request_disturbs_a_running_node() {
    let chance = || getrandom::u64().unwrap();
    let mut seed = from_environment("MONEDULA_FUZZ_SEED").unwrap_or_else(chance);
    block_on_fuzzed_threads(play(&mut seed, limit()));
}

/// The seed is fixed, so that a failure points to a change of the code. `cargo compat crowd_generator` runs with random seeds.
#[test]
fn a_crowd_of_hostile_requests_disturbs_nobody() {
    let mut seed = from_environment("MONEDULA_FUZZ_SEED").unwrap_or(1);
    block_on_fuzzed_threads(play_a_crowd(&mut seed, limit()));
}
