//! Tests of starts on directories without a metadata log: segments that Apache Kafka 2.8 wrote with ZooKeeper, and a directory
//! that Apache Kafka only formatted.

use std::fs;
use std::path::Path;

use super::*;
use crate::wire::batch::legacy::recordings::{OFFSETS, RECORDS, SEGMENTS};
use crate::wire::message::fetch::FetchResponse;
use crate::wire::message::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestTopic, OffsetFetchResponse,
};

const CLUSTER: &str = "PbcZFLA4QUmt5b8XBMaqvA";

/// A directory as a broker with message format `v0` or `v1` left it.
fn left_behind(format: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let put = |partition: &str, segment: &[u8]| {
        let path = data.join(partition);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("00000000000000000000.log"), segment).unwrap();
    };
    for (name, segment) in SEGMENTS {
        if let Some(codec) = name.strip_prefix(format) {
            put(&format!("old-{}-0", &codec[1..]), segment);
        }
    }
    for (name, segment) in OFFSETS {
        if name.starts_with(format) {
            put("__consumer_offsets-2", segment);
        }
    }
    put("__consumer_offsets-0", &[]);
    put("__consumer_offsets-1", &[]);
    let meta = format!("#\nbroker.id=1\nversion=0\ncluster.id={CLUSTER}\n");
    fs::write(data.join("meta.properties"), meta).unwrap();
    dir
}

/// Record bytes that a fetch of `version` from `offset` returns.
async fn fetched(client: &mut Client, topic: &str, version: i16, offset: i64) -> Bytes {
    let request = fetch(topic, offset, Duration::ZERO);
    client.send(&frame(1, version, &request)).await;
    let response = FetchResponse::read(&mut client.answer().await.1, version).unwrap();
    let data = &response.responses[0].partitions[0];
    assert_eq!((data.error_code, data.high_watermark), (0, RECORDS));
    data.records.clone().unwrap_or_default().bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_the_zookeeper_years_is_taken_over() {
    for format in ["v0", "v1"] {
        let dir = left_behind(format);
        let data = dir.path().join("data");
        let node = Node::on(dir, &[("offsets.topic.num.partitions", "3")]).await;
        let mut client = node.connect().await;
        for (name, segment) in SEGMENTS {
            let Some(codec) = name.strip_prefix(format) else {
                continue;
            };
            let topic = format!("old-{}", &codec[1..]);
            // New clients get the bytes of the segment file unchanged.
            assert_eq!(fetched(&mut client, &topic, 4, 0).await, segment);
            assert!(
                !fetched(&mut client, &topic, 0, RECORDS - 1)
                    .await
                    .is_empty()
            );
            assert!(data.join(format!("{topic}-0/partition.metadata")).exists());
        }
        let request = OffsetFetchRequest {
            group_id: "group-a".into(),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: "old-lz4".into(),
                partition_indexes: vec![0],
            }]),
            ..Default::default()
        };
        // The coordinator may still be loading its partition.
        let mut committed = -1;
        for _ in 0..100 {
            client.send(&frame(1, 1, &request)).await;
            let response = OffsetFetchResponse::read(&mut client.answer().await.1, 1).unwrap();
            committed = response.topics[0].partitions[0].committed_offset;
            if committed >= 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(committed, RECORDS, "{format}");
        let meta = fs::read_to_string(data.join("meta.properties")).unwrap();
        assert!(
            meta.contains("version=0\n") && meta.contains(CLUSTER),
            "{meta}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_only_formatted_gets_the_features_that_it_was_formatted_with() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-tests/recordings/directory");
    for name in ["meta.properties", "bootstrap.checkpoint"] {
        fs::copy(recorded.join(name), data.join(name)).unwrap();
    }
    let node = Node::on(dir, &[]).await;
    let mut client = node.connect().await;
    let request = ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    client.send(&frame(1, 4, &request)).await;
    let response = ApiVersionsResponse::read(&mut client.answer().await.1, 4).unwrap();
    let finalized = response.finalized_features.iter();
    let mut levels: Vec<String> = finalized
        .map(|feature| format!("{}={}", feature.name, feature.max_version_level))
        .collect();
    levels.sort();
    // The feature levels of Apache Kafka 4.3, so that its broker can go on with the directory.
    assert_eq!(
        levels,
        [
            "eligible.leader.replicas.version=1",
            "group.version=1",
            "metadata.version=30",
            "share.version=1",
            "transaction.version=2"
        ]
    );
}
