//! Tests that long requests are computed by the work pool and not by the threads that serve connections. The tests depend on no
//! clock: the work pool is held, so whatever is answered meanwhile cannot have waited for it.

use bytes::BytesMut;
use tokio::io::Interest;

use super::*;
use crate::base::work_pool::WorkPool;
use crate::wire::batch::compression::Compression;
use crate::wire::batch::legacy::SetBuilder;
use crate::wire::message::create_topics::CreatableTopicConfig;
use crate::wire::message::metadata::MetadataResponse;

/// Unpacked size of a batch, in bytes: more than a request may unpack on the connection's thread.
const BOMB: usize = 3 << 20;

fn batch_of(codec: Compression, values: impl Iterator<Item = Vec<u8>>) -> Bytes {
    let mut batch = BatchBuilder::new(codec);
    for value in values {
        batch.push(1_700_000_000_000, None, Some(&value));
    }
    batch.build()
}

fn bomb(codec: Compression) -> Bytes {
    batch_of(codec, [vec![0; BOMB]].into_iter())
}

fn old_bomb() -> Bytes {
    let mut set = SetBuilder::new(1, Compression::Gzip, false);
    for offset in 0..3 {
        set.push(offset, 1_700_000_000_000, None, Some(&[0; BOMB / 3]));
    }
    set.build().into()
}

fn produce_all(version: i16, batches: &[(&str, Bytes)]) -> Vec<u8> {
    let topic = |(name, batch): &(&str, Bytes)| TopicProduceData {
        name: (*name).into(),
        partition_data: vec![PartitionProduceData {
            index: 0,
            records: Some(Records::Bytes(batch.clone())),
        }],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1_000,
        topic_data: batches.iter().map(topic).collect(),
        ..Default::default()
    };
    frame(1, version, &request)
}

fn metadata(names: impl Iterator<Item = String>) -> Vec<u8> {
    let topic = |name: String| MetadataRequestTopic {
        name: Some(name.into()),
        ..Default::default()
    };
    let request = MetadataRequest {
        topics: Some(names.map(topic).collect()),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    frame(1, 4, &request)
}

/// Frames that are expensive, each for a different reason.
fn long_requests() -> Vec<(&'static str, Vec<u8>)> {
    let tiny = || batch_of(Compression::None, (0..80_000).map(|_| Vec::new()));
    let one = |topic, batch| produce_all(7, &[(topic, batch)]);
    vec![
        ("a batch of gzip", one("t", bomb(Compression::Gzip))),
        ("of snappy", one("t", bomb(Compression::Snappy))),
        ("of lz4", one("t", bomb(Compression::Lz4))),
        ("of zstd", one("t", bomb(Compression::Zstd))),
        (
            "messages of an old format",
            produce_all(2, &[("t", old_bomb())]),
        ),
        (
            "many records",
            produce_all(7, &[("t", tiny()), ("u", tiny())]),
        ),
        (
            "records to be compressed",
            one(
                "packed",
                batch_of(Compression::None, [vec![7; 300_000]].into_iter()),
            ),
        ),
        (
            "records to be compressed otherwise",
            one(
                "packed",
                batch_of(Compression::Lz4, [vec![7; 300_000]].into_iter()),
            ),
        ),
        (
            "what is too much behind what is not",
            produce_all(
                7,
                &[
                    ("t", batch_of(Compression::None, [vec![1]].into_iter())),
                    ("u", bomb(Compression::Zstd)),
                ],
            ),
        ),
        (
            "a long frame",
            metadata((0..3_000).map(|n| format!("no-such-topic-{n}"))),
        ),
        (
            "many elements",
            metadata((0..2_000).map(|n| format!("{}", n % 10))),
        ),
    ]
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE * 3, "never: {what}");
        tokio::task::yield_now().await;
    }
}

async fn others_are_answered_meanwhile() {
    let node = Node::start(&[("auto.create.topics.enable", "false")]).await;
    let mut packed = create(&["packed"]);
    packed.topics[0].configs = vec![CreatableTopicConfig {
        name: "compression.type".into(),
        value: Some("gzip".into()),
    }];
    let mut client = node.with_topics(&["t", "u"]).await;
    client.send(&frame(0, 4, &packed)).await;
    client.answer().await;
    let pool: WorkPool = node.broker.services().work.clone();
    for (what, long) in long_requests() {
        let held = pool.hold();
        let mut slow = node.connect().await;
        slow.send(&long).await;
        slow.send(&frame(2, 0, &ApiVersionsRequest::default()))
            .await;
        until(what, || pool.open() > 0).await;
        // New and existing connections are served, including an append.
        let mut other = node.connect().await;
        assert!(other.is_alive().await, "{what}");
        client.send(&frame(9, 7, &produce("u", -1, b"value"))).await;
        assert_eq!(produced(client.answer().await.1).0, 0, "{what}");
        let mut nothing = [0; 1];
        let early = slow
            .stream
            .try_io(Interest::READABLE, || slow.stream.try_read(&mut nothing));
        assert!(early.is_err(), "{what}: answered on a thread that serves");
        drop(held);
        let (id, mut body) = slow.answer().await;
        assert_eq!(id, 1, "{what}");
        if long[5] == 0 {
            let version = i16::from_be_bytes([long[6], long[7]]);
            let response = ProduceResponse::read(&mut body, version).unwrap();
            for topic in response.responses {
                assert_eq!(topic.partition_responses[0].error_code, 0, "{what}");
            }
        } else {
            let response = MetadataResponse::read(&mut body, 4).unwrap();
            assert!(response.topics.len() >= 10, "{what}");
        }
        assert_eq!(slow.answer().await.0, 2, "{what}");
        until(what, || pool.open() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_long_request_holds_up_nobody_where_one_thread_serves() {
    others_are_answered_meanwhile().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_long_request_holds_up_nobody_where_eight_threads_serve() {
    others_are_answered_meanwhile().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_short_request_needs_no_pool() {
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["t"]).await;
    let _held = node.broker.services().work.hold();
    let values = || (0..100).map(|n| vec![n; 1_000]);
    for codec in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let request = produce_all(7, &[("t", batch_of(codec, values()))]);
        client.send(&request).await;
        assert_eq!(produced(client.answer().await.1).0, 0);
    }
    let waits = fetch("t", 0, Duration::ZERO);
    client.send(&frame(2, 4, &waits)).await;
    assert_eq!(client.answer().await.0, 2);
    assert!(client.is_alive().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_request_of_too_many_elements_closes_its_connection() {
    let node = Node::start(&[]).await;
    let mut client = node.connect().await;
    // Metadata, version 1, with empty topic names.
    let count = 500_001_u32;
    let mut request = vec![0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff];
    request.extend_from_slice(&count.to_be_bytes());
    request.resize(request.len() + 2 * count as usize, 0);
    client.send(&framed(&request)).await;
    assert!(client.is_closed().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_request_without_acknowledgement_is_appended_where_it_takes_long_too() {
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["t"]).await;
    let mut request = produce("t", 0, b"");
    request.topic_data[0].partition_data[0].records = Some(Records::Bytes(bomb(Compression::Zstd)));
    client.send(&frame(1, 7, &request)).await;
    client
        .send(&frame(2, 7, &produce("t", -1, b"behind it")))
        .await;
    let (id, body) = client.answer().await;
    assert_eq!((id, produced(body)), (2, (0, 1)));
    // A long request that is malformed closes the connection.
    let mut damaged = BytesMut::from(&bomb(Compression::Zstd)[..]);
    let records = damaged.len();
    damaged[records - 1] ^= 1;
    crate::wire::batch::header::seal(&mut damaged);
    request.topic_data[0].partition_data[0].records = Some(Records::Bytes(damaged.freeze()));
    client.send(&frame(3, 7, &request)).await;
    assert!(client.is_closed().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_request_names_ten_thousand_refused_records_at_most() {
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["t", "u"]).await;
    let far = || {
        let mut batch = BatchBuilder::default();
        for _ in 0..6_000 {
            batch.push(i64::MAX / 2, None, Some(b""));
        }
        batch.build()
    };
    let request = produce_all(8, &[("t", far()), ("u", far())]);
    client.send(&request).await;
    let response = ProduceResponse::read(&mut client.answer().await.1, 8).unwrap();
    let told = response.responses.iter().map(|topic| {
        let partition = &topic.partition_responses[0];
        assert_eq!(partition.error_code, ErrorCode::InvalidTimestamp.code());
        partition.record_errors.len()
    });
    assert_eq!(told.collect::<Vec<_>>(), [6_000, 4_000]);
}
