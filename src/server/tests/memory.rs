//! What clients make a node hold, by its own figures: it is counted, it is freed, and too much of it stops only those who hold it.

use super::*;
use crate::base::memory::{Memory, Purpose};
use crate::server::connection::OUTPUT_MAX;
use crate::wire::message::find_coordinator::FindCoordinatorRequest;
use crate::wire::message::heartbeat::HeartbeatRequest;
use crate::wire::message::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};

/// No answer in memory is larger, of those that are asked for here.
const ANSWER_MAX: usize = 100_000;

impl Node {
    fn memory(&self) -> &Memory {
        &self.broker.services().memory
    }

    /// Waits until what is held for `purpose` is as wanted.
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

/// A request with a client id and `padding` bytes in a tag that nobody knows, behind everything else.
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
    // The header's tags: none.
    bytes.push(0);
    // The body ends with the number of its tags.
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
    let mut client = node.with_topics(&["waited", "other"]).await;
    let mut other = node.connect().await;
    let waiting = fetch("waited", 0, PATIENCE * 2);
    let mut both = padded(1, 12, &waiting, 2_000_000);
    both.extend(frame(2, 7, &produce("other", -1, b"behind the fetch")));
    client.send(&both).await;
    other.send(&frame(3, 4, &fetch("other", 0, PATIENCE))).await;
    assert_eq!(other.answer().await.0, 3);
    node.until(Purpose::HalfRead, |bytes| bytes == 0).await;
    node.until(Purpose::Requests, |bytes| bytes == 0).await;
    // It did wait all the while.
    other
        .send(&frame(4, 7, &produce("waited", -1, b"wakes the fetch")))
        .await;
    assert_eq!(client.answer().await.0, 1);
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
    // The coordinator is ready when it knows that it knows nobody.
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
    node.until(Purpose::Members, |bytes| bytes == 1_500_005)
        .await;
    node.until(Purpose::Requests, |bytes| bytes == 0).await;
    // There is no room for another of that size.
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
    // As much as is read before there is too much.
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
    // Only for what it says.
    assert!(client.is_closed().await);
    node.until(Purpose::HalfRead, |bytes| bytes == 0).await;
}
