//! Tests of the memory that clients make a node hold, by the node's own meters: the memory is counted and freed, and too much
//! of it stops only the clients that cause it.

use std::sync::atomic::Ordering;

use super::*;
use crate::base::memory::{Memory, Purpose};
use crate::coordinator::group::settings::MEMBER_BYTES;
use crate::replica::purgatory::PLACE_BYTES;
use crate::server::connection::{IN_FLIGHT_MAX, OUTPUT_MAX};
use crate::wire::message::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use crate::wire::message::fetch::FetchResponse;
use crate::wire::message::find_coordinator::FindCoordinatorRequest;
use crate::wire::message::heartbeat::HeartbeatRequest;
use crate::wire::message::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};

/// Upper limit on the size of an answer in memory, for all requests of these tests.
const ANSWER_MAX: usize = 100_000;

impl Node {
    fn memory(&self) -> &Memory {
        &self.broker.services().memory
    }

    /// Waits until the bytes held for `purpose` satisfy `wanted`.
    async fn until(&self, purpose: Purpose, wanted: impl Fn(usize) -> bool) {
        let held = || self.memory().held_for(purpose);
        let reached = async {
            while !wanted(held()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "{} bytes for {purpose:?}", held());
    }
}

/// A request with a client id and `padding` bytes in an unknown tagged field at the end.
fn padded<Q: Request>(correlation_id: i32, version: i16, request: &Q, padding: usize) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.i16(Q::KEY);
    writer.i16(version);
    writer.i32(correlation_id);
    writer.i16(6);
    let mut body = Writer::default();
    request.write(&mut body, version).unwrap();
    let body = body.into_bytes();
    let mut bytes = writer.into_bytes().to_vec();
    bytes.extend_from_slice(b"client");
    // Number of tagged fields in the header: none.
    bytes.push(0);
    // The last byte of the body is the number of its tagged fields; it is replaced.
    bytes.extend_from_slice(&body[..body.len() - 1]);
    let mut tag = Writer::default();
    for number in [1, 99, padding as u32] {
        tag.unsigned_varint(number);
    }
    bytes.extend_from_slice(&tag.into_bytes());
    bytes.resize(bytes.len() + padding, 0);
    framed(&bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_holds_none_of_its_bytes() {
    let node = Node::start(&[]).await;
    let mut other = node.with_topics(&["waited"]).await;
    // The first request is handled on the connection's thread, the second one by the work pool.
    for (offset, padding) in [(0, 20_000), (1, 2_000_000)] {
        let mut client = node.connect().await;
        let waiting = fetch("waited", offset, PATIENCE * 2);
        client.send(&padded(1, 12, &waiting, padding)).await;
        node.until(Purpose::WaitingFetches, |bytes| bytes > 0).await;
        node.until(Purpose::HalfRead, |bytes| bytes == 0).await;
        node.until(Purpose::Requests, |bytes| bytes == 0).await;
        // The fetch was waiting all the time.
        other
            .send(&frame(4, 7, &produce("waited", -1, b"wakes the fetch")))
            .await;
        assert_eq!(client.answer().await.0, 1);
        node.until(Purpose::WaitingFetches, |bytes| bytes == 0)
            .await;
        other.answer().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_says_of_itself_is_held_once_while_it_waits_and_as_long_as_it_is_a_member() {
    let settings = [
        ("group.initial.rebalance.delay.ms", "600000"),
        ("queued.max.request.bytes", "4000000"),
        ("offsets.topic.num.partitions", "1"),
    ];
    let node = Node::start(&settings).await;
    let join = |group: &str| JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 600_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: vec![0; 1_500_000].into(),
        }],
        ..Default::default()
    };
    let mut member = node.connect().await;
    let find = FindCoordinatorRequest {
        key: "g".into(),
        ..Default::default()
    };
    let heartbeat = HeartbeatRequest {
        group_id: "g".into(),
        ..Default::default()
    };
    // The coordinator has loaded its partition once it answers that the member is unknown.
    loop {
        member.send(&frame(1, 0, &find)).await;
        member.answer().await;
        member.send(&frame(1, 0, &heartbeat)).await;
        let error = member.answer().await.1.i16().unwrap();
        if ErrorCode::from_code(error) == Some(ErrorCode::UnknownMemberId) {
            break;
        }
    }
    member.send(&frame(1, 3, &join("g"))).await;
    node.until(Purpose::Members, |bytes| bytes == 1_500_005 + MEMBER_BYTES)
        .await;
    node.until(Purpose::Requests, |bytes| bytes == 0).await;
    // A second request of this size does not fit.
    let mut next = node.connect().await;
    next.send(&frame(2, 3, &join("h"))).await;
    let (_, mut answer) = next.answer().await;
    let _throttle_time = answer.i32().unwrap();
    let error = ErrorCode::from_code(answer.i16().unwrap());
    assert_eq!(error, Some(ErrorCode::CoordinatorNotAvailable));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_behind_one_that_waits_are_counted_and_bounded() {
    let node = Node::start(&[("num.partitions", "1000")]).await;
    let mut client = node.with_topics(&["waited"]).await;
    let ask = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("large".into()),
            ..Default::default()
        }]),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    client.send(&frame(0, 4, &ask)).await;
    client.answer().await;
    let mut all = frame(1, 4, &fetch("waited", 0, PATIENCE * 2));
    for id in 2..100 {
        all.extend(frame(id, 4, &ask));
    }
    client.send(&all).await;
    node.until(Purpose::Answers, |bytes| bytes >= OUTPUT_MAX)
        .await;
    let held = node.memory().held_for(Purpose::Answers);
    assert!(held <= OUTPUT_MAX + ANSWER_MAX, "{held}");
    let mut other = node.connect().await;
    other
        .send(&frame(1, 7, &produce("waited", -1, b"wakes the fetch")))
        .await;
    for id in 1..100 {
        assert_eq!(client.answer().await.0, id);
    }
    node.until(Purpose::Answers, |bytes| bytes == 0).await;
}

/// Two clients: one with a session of the largest number of partitions that is planned on the connection's thread, and one with
/// one partition more.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_short_fetch_of_a_large_session_is_planned_by_a_thread_that_serves_nobody() {
    let node = Node::start(&[("num.partitions", "1001")]).await;
    make_many(&node).await;
    let (mut small, of_small) = with_session(&node, 1_000).await;
    let (mut large, of_large) = with_session(&node, 1_001).await;
    let pool = node.broker.services().work.clone();
    let held = pool.hold();
    let mut goes_on = of_session(of_large, 1, 0, 0);
    goes_on.max_wait_ms = 0;
    large.send(&frame(2, 7, &goes_on)).await;
    goes_on.session_id = of_small;
    small.send(&frame(2, 7, &goes_on)).await;
    assert_eq!(small.answer().await.0, 2);
    // There is one serving thread, and it has handled the earlier request by now.
    assert!(pool.open() > 0);
    drop(held);
    let (_, mut body) = large.answer().await;
    let response = FetchResponse::read(&mut body, 7).unwrap();
    assert_eq!((response.error_code, response.session_id), (0, of_large));
}

/// When the line of waiting answers is full, nothing more is read from a client.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_gone_waits_no_longer_however_many_of_its_requests_do() {
    let node = Node::start(&[]).await;
    node.with_topics(&["waited", "other"]).await;
    let waits = frame(1, 4, &fetch("waited", 0, PATIENCE * 100));
    let behind = frame(2, 7, &produce("other", -1, &[7]));
    for requests in [0, IN_FLIGHT_MAX - 1, IN_FLIGHT_MAX, IN_FLIGHT_MAX + 300] {
        for behind in [&waits, &behind] {
            let mut client = node.connect().await;
            client
                .send(&[&*waits, &behind.repeat(requests)].concat())
                .await;
            node.until(Purpose::WaitingFetches, |bytes| bytes == PLACE_BYTES)
                .await;
            drop(client);
            node.until(Purpose::WaitingFetches, |bytes| bytes == 0)
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_requests_have_their_turn_when_memory_is_used_up() {
    let node = Node::start(&[("queued.max.request.bytes", "300000")]).await;
    let mut first = node.with_topics(&["t"]).await;
    let request = frame(1, 7, &produce("t", -1, &[7; 280_000]));
    let (begun, rest) = request.split_at(200_000);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = node.connect().await;
        client.send(begun).await;
        clients.push(client);
    }
    // As much as is read before memory runs short.
    node.until(Purpose::HalfRead, |bytes| bytes > 300_000).await;
    assert!(first.is_alive().await && node.connect().await.is_alive().await);
    for client in &mut clients {
        client.send(rest).await;
    }
    for client in &mut clients {
        assert_eq!(produced(client.answer().await.1).0, 0);
    }
    node.until(Purpose::HalfRead, |bytes| bytes == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_beyond_the_memory_for_requests_closes_its_connection() {
    let node = Node::start(&[("queued.max.request.bytes", "300000")]).await;
    let mut client = node.connect().await;
    client.send(&300_001_u32.to_be_bytes()).await;
    assert!(client.is_closed().await);
    let mut client = node.connect().await;
    client.send(&300_000_u32.to_be_bytes()).await;
    client.send(&[0xff; 300_000]).await;
    // Closed because of the content of its bytes.
    assert!(client.is_closed().await);
    node.until(Purpose::HalfRead, |bytes| bytes == 0).await;
}

/// Creates the topic of the sessions, with `num.partitions` partitions.
async fn make_many(node: &Node) {
    let ask = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("many".into()),
            ..Default::default()
        }]),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    let mut client = node.connect().await;
    client.send(&frame(0, 4, &ask)).await;
    client.answer().await;
}

/// Fetch request of a session (version 7): all partitions of the topic from offset 0 in the first request of the session, no
/// partitions later.
fn of_session(session: i32, epoch: i32, partitions: i32, min_bytes: i32) -> FetchRequest {
    let one = |index| FetchPartition {
        partition: index,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic {
        topic: "many".into(),
        partitions: (0..partitions).map(one).collect(),
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: 60_000,
        min_bytes,
        max_bytes: 50 << 20,
        session_id: session,
        session_epoch: epoch,
        topics: if partitions > 0 { vec![topic] } else { vec![] },
        ..Default::default()
    }
}

/// A client with a fetch session of `partitions` empty partitions.
async fn with_session(node: &Node, partitions: i32) -> (Client, i32) {
    let mut client = node.connect().await;
    let first = of_session(0, 0, partitions, 0);
    client.send(&frame(1, 7, &first)).await;
    let (_, mut body) = client.answer().await;
    let response = FetchResponse::read(&mut body, 7).unwrap();
    (client, response.session_id)
}

/// Number of times that the node has looked at a partition for a fetch.
fn looks_of(node: &Node) -> usize {
    let replicas = &node.broker.services().replicas;
    replicas.looks().load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_many_partitions_looks_only_where_something_changes() {
    const PARTITIONS: usize = 200;
    let node = Node::start(&[("num.partitions", "200")]).await;
    let mut producer = node.connect().await;
    let topic = CreatableTopic {
        name: "many".into(),
        num_partitions: PARTITIONS as i32,
        replication_factor: 1,
        ..Default::default()
    };
    let create = CreateTopicsRequest {
        topics: vec![topic],
        ..Default::default()
    };
    producer.send(&frame(0, 4, &create)).await;
    producer.answer().await;
    let (mut client, session) = with_session(&node, PARTITIONS as i32).await;
    let waits = of_session(session, 1, 0, 1_000);
    client.send(&frame(2, 7, &waits)).await;
    node.until(Purpose::WaitingFetches, |bytes| bytes > 0).await;
    let looks = || looks_of(&node);
    let before = looks();
    let grows = CreatePartitionsTopic {
        name: "many".into(),
        count: PARTITIONS as i32 + 1,
        ..Default::default()
    };
    let grow = CreatePartitionsRequest {
        topics: vec![grows],
        timeout_ms: 10_000,
        ..Default::default()
    };
    producer.send(&frame(4, 1, &grow)).await;
    let (_, mut body) = producer.answer().await;
    let grown = CreatePartitionsResponse::read(&mut body, 1).unwrap();
    assert_eq!(grown.results[0].error_code, 0);
    let mut wrote = produce("many", -1, &[7; 300]);
    for (times, index) in [(1, 3), (2, 150)] {
        wrote.topic_data[0].partition_data[0].index = index;
        for _ in 0..times {
            producer.send(&frame(3, 7, &wrote)).await;
            assert_eq!(produced(producer.answer().await.1).0, 0);
        }
    }
    let (_, mut body) = client.answer().await;
    let response = FetchResponse::read(&mut body, 7).unwrap();
    let said: Vec<i32> = response.responses[0]
        .partitions
        .iter()
        .map(|one| one.partition_index)
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.contains(&3) && said.contains(&150));
    // One look for each of three appends, and one more for each partition in the answer; not 200 per append.
    assert!(looks() - before <= 5, "{}", looks() - before);
    node.until(Purpose::WaitingFetches, |bytes| bytes == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_behind_one_that_waits_has_no_place_until_its_turn() {
    const FETCHES: i32 = 100;
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["waited", "other"]).await;
    let mut all = Vec::new();
    for id in 0..FETCHES {
        all.extend(frame(id, 4, &fetch("waited", 0, PATIENCE * 2)));
    }
    client.send(&all).await;
    node.until(Purpose::WaitingFetches, |bytes| bytes > 0).await;
    let before = looks_of(&node);
    let mut producer = node.connect().await;
    producer
        .send(&frame(0, 7, &produce("waited", -1, &[7])))
        .await;
    for id in 0..FETCHES {
        assert_eq!(client.answer().await.0, id);
    }
    // One look for the first fetch when it is woken, and one for the answer of each fetch.
    assert_eq!(looks_of(&node) - before, 1 + FETCHES as usize);
    node.until(Purpose::WaitingFetches, |bytes| bytes == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_that_wait_for_too_much_together_are_answered_early() {
    // A quarter of the memory is for waiting fetches: about 390 partitions.
    let settings = [
        ("num.partitions", "300"),
        ("queued.max.request.bytes", "200000"),
    ];
    let node = Node::start(&settings).await;
    node.with_topics(&["few"]).await;
    make_many(&node).await;
    let (mut first, of_first) = with_session(&node, 300).await;
    let (mut second, of_second) = with_session(&node, 300).await;
    first
        .send(&frame(2, 7, &of_session(of_first, 1, 0, 1)))
        .await;
    node.until(Purpose::WaitingFetches, |bytes| bytes > 0).await;
    second
        .send(&frame(2, 7, &of_session(of_second, 1, 0, 1)))
        .await;
    let (_, mut body) = second.answer().await;
    let response = FetchResponse::read(&mut body, 7).unwrap();
    assert_eq!(
        (response.session_id, response.responses.len()),
        (of_second, 0)
    );
    // The first fetch still waits, and a fetch of few partitions may wait beside it.
    let mut third = node.connect().await;
    let waits = frame(3, 4, &fetch("few", 0, PATIENCE * 2));
    let held = node.memory().held_for(Purpose::WaitingFetches);
    third.send(&waits).await;
    node.until(Purpose::WaitingFetches, |bytes| bytes > held)
        .await;
}
