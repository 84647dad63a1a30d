//! Tests of clients that are held to quotas.

use super::*;
use crate::wire::message::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntryData, EntityData, OpData,
};
use crate::wire::message::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use crate::wire::message::create_topics::CreateTopicsResponse;
use crate::wire::message::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use crate::wire::message::produce::ProduceResponse;

const THROTTLED: i16 = ErrorCode::ThrottlingQuotaExceeded.code();

/// A client with an id and a connection of its own.
fn named(broker: &TemporaryBroker, id: &str) -> Channel {
    let address = broker.bootstrap_servers();
    Channel::new(&Host::default(), address, Identity::new(id))
}

/// Sets a quota, or removes it; a kind without a name is the default.
async fn set(client: &Channel, kind: &str, name: Option<&str>, key: &str, value: Option<f64>) {
    let request = AlterClientQuotasRequest {
        entries: vec![AlterClientQuotasRequestEntryData {
            entity: vec![EntityData {
                entity_type: kind.into(),
                entity_name: name.map(Into::into),
            }],
            ops: vec![OpData {
                key: key.into(),
                value: value.unwrap_or_default(),
                remove: value.is_none(),
            }],
        }],
        validate_only: false,
    };
    let answer = client.call(&request, WITHIN).await.unwrap();
    assert_eq!(answer.entries[0].error_code, 0);
}

async fn append(client: &Channel, topic: Uuid, bytes: usize) -> ProduceResponse {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(1, None, Some(&vec![b'v'; bytes]));
    let request = production(topic, 0, batch);
    let answer = client.call(&request, WITHIN).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    answer
}

async fn fetch(client: &Channel, topic: Uuid, session: (i32, i32)) -> FetchResponse {
    let request = FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_id: session.0,
        session_epoch: session.1,
        topics: vec![FetchTopic {
            topic_id: topic,
            partitions: vec![FetchPartition {
                partition: 0,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    client.call(&request, WITHIN).await.unwrap()
}

async fn make(client: &Channel, name: &str, partitions: i32) -> CreateTopicsResponse {
    let request = creation(name, partitions);
    client.call(&request, WITHIN).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_over_its_quota_is_answered_at_once_and_served_late() {
    let broker = TemporaryBroker::start(&[]).await.unwrap();
    let (admin, slow, other) = (client(&broker), named(&broker, "slow"), client(&broker));
    let topic = create(&admin, &["t".to_owned()]).await[0];
    assert_eq!(append(&slow, topic, 60_000).await.throttle_time_ms, 0);
    let rate = "producer_byte_rate";
    set(&admin, "client-id", Some("slow"), rate, Some(50_000.0)).await;
    assert_eq!(append(&slow, topic, 400_000).await.throttle_time_ms, 0);
    let began = Instant::now();
    let throttled = append(&slow, topic, 160_000).await.throttle_time_ms;
    assert!((1..=1300).contains(&throttled), "{throttled}");
    // The next request of this connection waits, and one of another client does not.
    assert_eq!(append(&other, topic, 60_000).await.throttle_time_ms, 0);
    append(&slow, topic, 1).await;
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_millis(throttled as u64),
        "{waited:?}"
    );
    // Without the quota nobody waits for long any more.
    set(&admin, "client-id", Some("slow"), rate, None).await;
    assert_eq!(append(&slow, topic, 900_000).await.throttle_time_ms, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_over_its_quota_gets_an_empty_answer() {
    let broker = TemporaryBroker::start(&[]).await.unwrap();
    let (admin, slow) = (client(&broker), named(&broker, "slow"));
    let topic = create(&admin, &["t".to_owned()]).await[0];
    append(&admin, topic, 60_000).await;
    let whole = fetch(&slow, topic, (0, 0)).await;
    assert!(whole.session_id > 0 && whole.responses.len() == 1);
    let rate = "consumer_byte_rate";
    set(&admin, "user", None, rate, Some(5_900.0)).await;
    let next = fetch(&slow, topic, (whole.session_id, 1)).await;
    assert!(
        (1..3_000).contains(&next.throttle_time_ms),
        "{}",
        next.throttle_time_ms
    );
    assert_eq!((next.error_code, next.session_id), (0, whole.session_id));
    assert!(next.responses.is_empty());
    set(&admin, "user", None, rate, Some(3_000.0)).await;
    // No session is made by an answer without records.
    let empty = fetch(&named(&broker, "another"), topic, (0, 0)).await;
    assert!(empty.throttle_time_ms > 0 && empty.responses.is_empty());
    assert_eq!((empty.error_code, empty.session_id), (0, 0));
    // The epoch of the session has moved on, and the records are still there.
    set(&admin, "user", None, rate, None).await;
    let again = fetch(&slow, topic, (whole.session_id, 2)).await;
    assert_eq!((again.throttle_time_ms, again.responses.len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_makes_too_many_partitions_is_refused_until_later() {
    let broker = TemporaryBroker::start(&[]).await.unwrap();
    let admin = client(&broker);
    let rate = "controller_mutation_rate";
    set(&admin, "client-id", None, rate, Some(0.1)).await;
    let maker = named(&broker, "maker");
    let made = make(&maker, "a", 6).await;
    assert_eq!((made.topics[0].error_code, made.throttle_time_ms), (0, 0));
    // A refused client is not served for long, so each request comes from a client of its own.
    let refused = make(&maker, "b", 1).await;
    assert_eq!(refused.topics[0].error_code, THROTTLED);
    assert_eq!(refused.topics[0].num_partitions, -1);
    assert!((1..=49_000).contains(&refused.throttle_time_ms));
    let deleter = named(&broker, "deleter");
    make(&deleter, "c", 4).await;
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some("a".into()),
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    };
    let refused = deleter.call(&request, WITHIN).await.unwrap();
    assert_eq!(refused.responses[0].error_code, THROTTLED);
    assert!(refused.throttle_time_ms > 0);
    let grower = named(&broker, "grower");
    // What is not there takes nothing.
    let unknown = make(&grower, "a", 9).await;
    assert_eq!(
        unknown.topics[0].error_code,
        ErrorCode::TopicAlreadyExists.code()
    );
    let grow = |count| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: "a".into(),
            count,
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    };
    let grown = grower.call(&grow(12), WITHIN).await.unwrap();
    assert_eq!(grown.results[0].error_code, 0);
    let refused = grower.call(&grow(13), WITHIN).await.unwrap();
    assert_eq!(refused.results[0].error_code, THROTTLED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_over_its_quota_is_closed_without_an_answer() {
    let broker = TemporaryBroker::start(&[]).await.unwrap();
    let admin = client(&broker);
    create(&admin, &["t".to_owned()]).await;
    let rate = "connection_creation_rate";
    set(&admin, "ip", None, rate, Some(1.0)).await;
    let mut served = 0;
    loop {
        let one = named(&broker, "many");
        let asked = one.call(&MetadataRequest::default(), WITHIN).await;
        if asked.is_err() {
            break;
        }
        served += 1;
        assert!(served < 100);
    }
    set(&admin, "ip", None, rate, None).await;
    assert_eq!(names(&named(&broker, "free")).await, ["t"]);
}
