//! Tests of consumers of the message formats v0 and v1: control records, which these formats cannot show, neither stop such a
//! consumer nor make it poll in a busy loop.

use super::*;
use crate::wire::batch::legacy::{MAGIC_V0, MAGIC_V1, read_message};
use crate::wire::message::fetch::FetchResponse;
use crate::wire::message::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};

/// Offset and value of every message of a fetch answer. The message format is the one that `version` asks for.
async fn fetched(client: &mut Client, version: i16, request: &FetchRequest) -> Vec<(i64, Vec<u8>)> {
    client.send(&frame(1, version, request)).await;
    received(client, version).await
}

/// Like [`fetched`], for a fetch that was sent before.
async fn received(client: &mut Client, version: i16) -> Vec<(i64, Vec<u8>)> {
    let (_, mut body) = client.answer().await;
    let response = FetchResponse::read(&mut body, version).unwrap();
    let data = &response.responses[0].partitions[0];
    assert_eq!(data.error_code, 0);
    let set = data.records.clone().unwrap_or_default().bytes();
    let mut rest = &set[..];
    let mut found = Vec::new();
    while let Ok(message) = read_message(&mut rest) {
        assert_eq!(message.magic, if version < 2 { MAGIC_V0 } else { MAGIC_V1 });
        found.push((message.offset, message.value.unwrap_or_default().to_vec()));
    }
    found
}

async fn append(client: &mut Client, value: &[u8]) {
    client.send(&frame(1, 7, &produce("t", -1, value))).await;
    assert_eq!(produced(client.answer().await.1).0, 0);
}

async fn mark(client: &mut Client, count: usize) {
    let marker = |id: usize| WritableTxnMarker {
        producer_id: id as i64,
        transaction_result: true,
        topics: vec![WritableTxnMarkerTopic {
            name: "t".into(),
            partition_indexes: vec![0],
        }],
        ..Default::default()
    };
    let request = WriteTxnMarkersRequest {
        markers: (0..count).map(marker).collect(),
    };
    client.send(&frame(1, 1, &request)).await;
    client.answer().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_consumer_gets_past_markers_and_does_not_spin_at_the_last() {
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["t", "other"]).await;
    append(&mut client, b"before").await;
    mark(&mut client, 40).await;
    let wait = Duration::from_millis(300);
    for version in 0..4 {
        let before = [(0, b"before".to_vec())];
        assert_eq!(
            fetched(&mut client, version, &fetch("t", 0, wait)).await,
            before
        );
        // There are only control records, so the fetch waits as if the log had ended.
        let began = Instant::now();
        let none = fetched(&mut client, version, &fetch("t", 1, wait)).await;
        assert!(none.is_empty() && began.elapsed() >= wait, "{version}");
    }
    // A record behind the control records is found, even by a client whose size limit allows one control record at a time, and
    // it wakes a waiting fetch.
    let mut other = node.connect().await;
    let mut small = fetch("t", 1, PATIENCE);
    small.topics[0].partitions[0].partition_max_bytes = 10;
    // The request behind the fetch is appended once the fetch waits.
    let mut both = frame(1, 3, &small);
    both.extend(frame(2, 7, &produce("other", -1, b"sent behind the fetch")));
    other.send(&both).await;
    let appended = fetched(&mut client, 3, &fetch("other", 0, PATIENCE)).await;
    assert_eq!(appended.len(), 1);
    append(&mut client, b"behind").await;
    let behind = [(41, b"behind".to_vec())];
    assert_eq!(received(&mut other, 3).await, behind);
    let mut small = fetch("t", 1, wait);
    small.topics[0].partitions[0].partition_max_bytes = 10;
    for version in 0..4 {
        assert_eq!(fetched(&mut client, version, &small).await, behind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_answers_that_nobody_takes_do_not_stop_other_old_consumers() {
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["t"]).await;
    for _ in 0..18 {
        append(&mut client, &vec![7; 900_000]).await;
    }
    let mut greedy = fetch("t", 0, Duration::from_millis(100));
    greedy.topics[0].partitions[0].partition_max_bytes = i32::MAX;
    // At most one or two answers per connection are built before the client takes them. These fetches wait for their turn
    // however long others hold the budget, and then hold it themselves.
    let mut patient = fetch("t", 0, PATIENCE);
    patient.topics[0].partitions[0].partition_max_bytes = i32::MAX;
    let mut lazy = Vec::new();
    for _ in 0..8 {
        let mut one = node.connect().await;
        let both: Vec<u8> = (0..2).flat_map(|id| frame(id, 2, &patient)).collect();
        one.send(&both).await;
        lazy.push(one);
    }
    // Once the budget is used up, another client still gets an answer in time, but an empty one.
    let began = Instant::now();
    while !fetched(&mut client, 2, &greedy).await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "the budget is never used up");
    }
    // When the slow clients read, the budget becomes free again.
    let mut readers = tokio::task::JoinSet::new();
    for mut one in lazy {
        readers.spawn(async move {
            for _ in 0..2 {
                one.answer().await;
            }
        });
    }
    readers.join_all().await;
    assert!(fetched(&mut client, 2, &greedy).await.len() > 10);
}
