//! Tests of share groups over connections: members join, fetch, acknowledge records, send invalid acknowledgements, and leave.

use super::*;
use crate::base::ids::Uuid;
use crate::metadata::image::GROUP_RESOURCE;
use crate::wire::message::alter_share_group_offsets::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition,
    AlterShareGroupOffsetsRequestTopic,
};
use crate::wire::message::delete_groups::DeleteGroupsRequest;
use crate::wire::message::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
};
use crate::wire::message::find_coordinator::FindCoordinatorRequest;
use crate::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::wire::message::share_acknowledge::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch as Batch, ShareAcknowledgeRequest,
};
use crate::wire::message::share_fetch::{
    AcknowledgementBatch, FetchPartition as SharePartition, FetchTopic as ShareTopic,
    ShareFetchRequest, ShareFetchResponse,
};
use crate::wire::message::share_group_describe::ShareGroupDescribeRequest;
use crate::wire::message::share_group_heartbeat::ShareGroupHeartbeatRequest;

const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;

/// Sets `share.auto.offset.reset` of a group: it begins with the first record.
async fn begin_early(client: &mut Client, group: &str) {
    let config = AlterableConfig {
        name: "share.auto.offset.reset".into(),
        config_operation: 0,
        value: Some("earliest".into()),
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: GROUP_RESOURCE,
            resource_name: group.into(),
            configs: vec![config],
        }],
        validate_only: false,
    };
    let answer = client.ask(1, &request).await;
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

/// Member of a share group with its own connection.
struct Sharer {
    client: Client,
    id: &'static str,
    topic: Uuid,
    member_epoch: i32,
    session_epoch: i32,
}

impl Sharer {
    /// Joins and waits until the topic's partition is assigned.
    async fn join(node: &Node, id: &'static str) -> Self {
        let mut client = node.connect().await;
        let mut request = ShareGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: id.into(),
            subscribed_topic_names: Some(vec!["t".into()]),
            ..Default::default()
        };
        let began = Instant::now();
        loop {
            let answer = client.ask(1, &request).await;
            if answer.error_code == ErrorCode::CoordinatorLoadInProgress.code() {
                continue;
            }
            assert_eq!(answer.error_code, 0, "{answer:?}");
            request.member_epoch = answer.member_epoch;
            request.subscribed_topic_names = None;
            let topics = answer.assignment.map(|some| some.topic_partitions);
            if let Some(topic) = topics.unwrap_or_default().first() {
                return Self {
                    client,
                    id,
                    topic: topic.topic_id,
                    member_epoch: answer.member_epoch,
                    session_epoch: 0,
                };
            }
            assert!(began.elapsed() < PATIENCE, "nothing is assigned");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn request(&mut self, said: &[(i64, i64, i8)], wait: Duration) -> ShareFetchRequest {
        let batches = said.iter().map(|(first, last, kind)| AcknowledgementBatch {
            first_offset: *first,
            last_offset: *last,
            acknowledge_types: vec![*kind],
        });
        let request = ShareFetchRequest {
            group_id: Some("g".into()),
            member_id: Some(self.id.into()),
            share_session_epoch: self.session_epoch,
            max_wait_ms: wait.as_millis() as i32,
            min_bytes: 1,
            max_bytes: 1 << 20,
            max_records: 500,
            batch_size: 500,
            topics: vec![ShareTopic {
                topic_id: self.topic,
                partitions: vec![SharePartition {
                    partition_index: 0,
                    acknowledgement_batches: batches.collect(),
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        self.session_epoch += 1;
        request
    }

    /// Fetches, with acknowledgements. Returns the error of the acknowledgements, and the acquired offsets with their delivery
    /// counts.
    async fn fetch(&mut self, said: &[(i64, i64, i8)]) -> (ErrorCode, Vec<(i64, i64, i16)>) {
        let request = self.request(said, Duration::from_secs(5));
        let answer = self.client.ask(2, &request).await;
        outcome(&answer)
    }

    /// Fetches without acknowledgements and without waiting.
    async fn look(&mut self) -> Vec<(i64, i64, i16)> {
        let request = self.request(&[], Duration::ZERO);
        outcome(&self.client.ask(2, &request).await).1
    }

    async fn acknowledge(&mut self, said: &[(i64, i64, i8)]) -> ErrorCode {
        let epoch = self.session_epoch;
        self.session_epoch += 1;
        self.acknowledge_in(epoch, said).await
    }

    async fn acknowledge_in(&mut self, epoch: i32, said: &[(i64, i64, i8)]) -> ErrorCode {
        let batches = said.iter().map(|(first, last, kind)| Batch {
            first_offset: *first,
            last_offset: *last,
            acknowledge_types: vec![*kind],
        });
        let request = ShareAcknowledgeRequest {
            group_id: Some("g".into()),
            member_id: Some(self.id.into()),
            share_session_epoch: epoch,
            topics: vec![AcknowledgeTopic {
                topic_id: self.topic,
                partitions: vec![AcknowledgePartition {
                    partition_index: 0,
                    acknowledgement_batches: batches.collect(),
                }],
            }],
            ..Default::default()
        };
        let answer = self.client.ask(2, &request).await;
        let of_partition = answer
            .responses
            .first()
            .map(|topic| topic.partitions[0].error_code);
        let code = if answer.error_code != 0 {
            answer.error_code
        } else {
            of_partition.unwrap_or(0)
        };
        ErrorCode::from_code(code).unwrap()
    }
}

fn outcome(answer: &ShareFetchResponse) -> (ErrorCode, Vec<(i64, i64, i16)>) {
    if answer.error_code != 0 {
        return (ErrorCode::from_code(answer.error_code).unwrap(), Vec::new());
    }
    let Some(topic) = answer.responses.first() else {
        return (ErrorCode::None, Vec::new());
    };
    let data = &topic.partitions[0];
    assert_eq!(data.error_code, 0, "{data:?}");
    let acquired = data.acquired_records.iter();
    let acquired: Vec<_> = acquired
        .map(|one| (one.first_offset, one.last_offset, one.delivery_count))
        .collect();
    let has_bytes = data
        .records
        .as_ref()
        .is_some_and(|records| !records.is_empty());
    assert_eq!(has_bytes, !acquired.is_empty());
    (
        ErrorCode::from_code(data.acknowledge_error_code).unwrap(),
        acquired,
    )
}

async fn fill(client: &mut Client, count: usize) {
    for number in 0..count {
        let value = format!("record {number}");
        client
            .send(&frame(1, 7, &produce("t", -1, value.as_bytes())))
            .await;
        assert_eq!(produced(client.answer().await.1).0, 0);
    }
}

async fn node_with(records: usize) -> (Node, Client) {
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["t"]).await;
    begin_early(&mut client, "g").await;
    fill(&mut client, records).await;
    // FindCoordinator creates the topic of the coordinator.
    let find = FindCoordinatorRequest {
        coordinator_keys: vec!["g".into()],
        ..Default::default()
    };
    let found = client.ask(4, &find).await;
    assert_eq!(found.coordinators[0].error_code, 0);
    (node, client)
}

/// Start offset and lag of the group.
async fn lag(client: &mut Client) -> (i64, i64) {
    let request = DescribeShareGroupOffsetsRequest {
        groups: vec![DescribeShareGroupOffsetsRequestGroup {
            group_id: "g".into(),
            topics: None,
        }],
    };
    let answer = client.ask(1, &request).await;
    let partition = &answer.groups[0].topics[0].partitions[0];
    (partition.start_offset, partition.lag)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_the_records_of_a_partition() {
    let (node, mut client) = node_with(10).await;
    let (mut a, mut b) = (
        Sharer::join(&node, "a").await,
        Sharer::join(&node, "b").await,
    );
    assert_eq!(a.fetch(&[]).await.1, [(0, 9, 1)]);
    assert_eq!(b.look().await, []);
    // A waiting fetch gets released records, with a higher delivery count.
    let request = b.request(&[], Duration::from_secs(9));
    b.client.send(&frame(7, 2, &request)).await;
    let said = [(0, 4, ACCEPT), (5, 6, RELEASE), (7, 7, REJECT)];
    assert_eq!(a.acknowledge(&said).await, ErrorCode::None);
    let answer = b.client.response::<ShareFetchRequest>(2).await;
    assert_eq!(outcome(&answer).1, [(5, 6, 2)]);
    let (error, _) = {
        let request = b.request(&[(5, 6, ACCEPT)], Duration::ZERO);
        outcome(&b.client.ask(2, &request).await)
    };
    assert_eq!(error, ErrorCode::None);
    assert_eq!(a.acknowledge(&[(8, 9, ACCEPT)]).await, ErrorCode::None);
    assert_eq!(lag(&mut client).await.1, 0);
    // New records wake a waiting fetch.
    let request = a.request(&[], Duration::from_secs(9));
    a.client.send(&frame(7, 2, &request)).await;
    fill(&mut client, 1).await;
    let answer = a.client.response::<ShareFetchRequest>(2).await;
    assert_eq!(outcome(&answer).1, [(10, 10, 1)]);
    assert_eq!(lag(&mut client).await.1, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_goes_away_gives_back_what_it_has() {
    let (node, _client) = node_with(5).await;
    let mut a = Sharer::join(&node, "a").await;
    let mut b = Sharer::join(&node, "b").await;
    assert_eq!(a.fetch(&[]).await.1, [(0, 4, 1)]);
    drop(a);
    assert_eq!(b.fetch(&[]).await.1, [(0, 4, 2)]);
    // The last acknowledgement of a session ends it and releases the other records.
    assert_eq!(
        b.acknowledge_in(-1, &[(0, 1, ACCEPT)]).await,
        ErrorCode::None
    );
    assert_eq!(
        b.acknowledge_in(-1, &[]).await,
        ErrorCode::ShareSessionNotFound
    );
    let mut c = Sharer::join(&node, "c").await;
    let (_, taken) = c.fetch(&[]).await;
    assert_eq!((taken[0].0, taken[0].2), (2, 3));
}

/// Headers are read one by one, or many small batches at once.
#[tokio::test(flavor = "multi_thread")]
async fn small_and_large_batches_stand_in_any_order() {
    let (node, mut client) = node_with(0).await;
    let mut a = Sharer::join(&node, "a").await;
    let count = 150;
    for number in 0..count {
        let size = if number % 40 > 35 { 5_000 } else { number % 90 };
        let value = vec![b'v'; size];
        client.send(&frame(1, 7, &produce("t", -1, &value))).await;
        assert_eq!(produced(client.answer().await.1).0, 0);
    }
    assert_eq!(a.fetch(&[]).await.1, [(0, count as i64 - 1, 1)]);
}

/// What comes while a fetch waits is not for a client that has gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_waits_acquires_nothing_for_a_client_that_has_gone() {
    let (node, mut client) = node_with(0).await;
    let mut a = Sharer::join(&node, "a").await;
    let mut b = Sharer::join(&node, "b").await;
    assert_eq!(a.look().await, []);
    let request = a.request(&[], 10 * PATIENCE);
    a.client.send(&frame(7, 2, &request)).await;
    drop(a);
    // The session of a member ends when its connection is seen to be closed.
    let mut other = Sharer {
        client: node.connect().await,
        id: "a",
        topic: b.topic,
        member_epoch: 0,
        session_epoch: 0,
    };
    let began = Instant::now();
    while other.acknowledge_in(9, &[]).await != ErrorCode::ShareSessionNotFound {
        assert!(began.elapsed() < PATIENCE, "the session goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fill(&mut client, 3).await;
    let (_, taken) = b.fetch(&[]).await;
    assert!(taken.iter().all(|(.., count)| *count == 1), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_get_errors_and_change_nothing() {
    let (node, _client) = node_with(5).await;
    let (mut a, mut b) = (
        Sharer::join(&node, "a").await,
        Sharer::join(&node, "b").await,
    );
    assert_eq!(
        a.acknowledge(&[(0, 0, ACCEPT)]).await,
        ErrorCode::InvalidShareSessionEpoch
    );
    a.session_epoch = 3;
    assert_eq!(a.fetch(&[]).await.0, ErrorCode::ShareSessionNotFound);
    a.session_epoch = 0;
    assert_eq!(
        a.fetch(&[(0, 0, ACCEPT)]).await.0,
        ErrorCode::InvalidRequest
    );
    a.session_epoch = 0;
    assert_eq!(a.fetch(&[]).await.1, [(0, 4, 1)]);
    assert_eq!(b.look().await, []);
    let state = ErrorCode::InvalidRecordState;
    let invalid = ErrorCode::InvalidRequest;
    assert_eq!(b.acknowledge(&[(0, 4, ACCEPT)]).await, state);
    for (said, error) in [
        (&[(0, 5, ACCEPT)][..], invalid),
        (&[(0, i64::MAX, ACCEPT)], invalid),
        (&[(3, 2, ACCEPT)], invalid),
        (&[(0, 4, 5)], invalid),
        (&[(0, 4, -1)], invalid),
        (&[(0, 4, 4)], invalid),
        (&[(3, 4, ACCEPT), (0, 1, ACCEPT)], invalid),
        (&[(0, 2, ACCEPT), (2, 4, ACCEPT)], state),
    ] {
        assert_eq!(a.acknowledge(said).await, error, "{said:?}");
    }
    a.session_epoch = 99;
    assert_eq!(
        a.acknowledge(&[]).await,
        ErrorCode::InvalidShareSessionEpoch
    );
    a.session_epoch = 9;
    assert_eq!(a.acknowledge(&[(0, 4, ACCEPT)]).await, ErrorCode::None);
    assert_eq!(a.acknowledge(&[(0, 4, ACCEPT)]).await, ErrorCode::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_stays_so_after_a_start() {
    let (mut node, _) = node_with(6).await;
    let mut a = Sharer::join(&node, "a").await;
    assert_eq!(a.fetch(&[]).await.1, [(0, 5, 1)]);
    assert_eq!(
        a.acknowledge(&[(0, 1, ACCEPT), (3, 3, REJECT)]).await,
        ErrorCode::None
    );
    assert_eq!(a.acknowledge(&[(4, 4, RELEASE)]).await, ErrorCode::None);
    node.broker.shutdown().await;
    node = Node::on(node._dir, &[]).await;
    let (epoch, member) = (a.session_epoch, a.member_epoch);
    let mut a = Sharer::join(&node, "a").await;
    a.session_epoch = epoch;
    assert!(a.member_epoch >= member);
    assert_eq!(
        a.fetch(&[(2, 2, ACCEPT)]).await.0,
        ErrorCode::ShareSessionNotFound
    );
    a.session_epoch = 0;
    assert_eq!(a.fetch(&[]).await.1, [(2, 2, 1), (4, 4, 2), (5, 5, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_reset_and_delete_a_share_group() {
    let (node, mut client) = node_with(8).await;
    let mut a = Sharer::join(&node, "a").await;
    assert_eq!(a.fetch(&[]).await.1, [(0, 7, 1)]);
    assert_eq!(a.acknowledge(&[(0, 7, ACCEPT)]).await, ErrorCode::None);
    let describe = ShareGroupDescribeRequest {
        group_ids: vec!["g".into()],
        ..Default::default()
    };
    let described = client.ask(1, &describe).await;
    let group = &described.groups[0];
    assert_eq!(
        (&*group.group_state, &*group.assignor_name),
        ("Stable", "simple")
    );
    assert_eq!(
        group.members[0].assignment.topic_partitions[0].partitions,
        [0]
    );
    let alter = AlterShareGroupOffsetsRequest {
        group_id: "g".into(),
        topics: vec![AlterShareGroupOffsetsRequestTopic {
            topic_name: "t".into(),
            partitions: vec![AlterShareGroupOffsetsRequestPartition {
                partition_index: 0,
                start_offset: 5,
            }],
        }],
    };
    let refused = client.ask(0, &alter).await;
    assert_eq!(refused.error_code, ErrorCode::NonEmptyGroup.code());
    let delete = DeleteGroupsRequest {
        groups_names: vec!["g".into()],
    };
    let refused = client.ask(2, &delete).await;
    assert_eq!(
        refused.results[0].error_code,
        ErrorCode::NonEmptyGroup.code()
    );
    let leave = ShareGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "a".into(),
        member_epoch: -1,
        ..Default::default()
    };
    assert_eq!(a.client.ask(1, &leave).await.error_code, 0);
    let altered = client.ask(0, &alter).await;
    assert_eq!(
        altered.responses[0].partitions[0].error_code, 0,
        "{altered:?}"
    );
    assert_eq!(lag(&mut client).await, (5, 3));
    let mut b = Sharer::join(&node, "b").await;
    assert_eq!(b.fetch(&[]).await.1, [(5, 7, 1)]);
    let leave = ShareGroupHeartbeatRequest {
        member_id: "b".into(),
        ..leave
    };
    assert_eq!(b.client.ask(1, &leave).await.error_code, 0);
    let deleted = client.ask(2, &delete).await;
    assert_eq!(deleted.results[0].error_code, 0);
    let described = client.ask(1, &describe).await;
    assert_eq!(
        described.groups[0].error_code,
        ErrorCode::GroupIdNotFound.code()
    );
}
