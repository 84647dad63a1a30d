//! Clients that are over their quotas: which answers they get, and that they are not served for a while. How long exactly depends
//! on when each request comes, so times are compared only by whether there are any.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use compat_tests::apache::{Apache, PRESENT, SETTINGS};
use compat_tests::exchange::{Answer, Connection, produce};
use compat_tests::node::{Node, free_port};
use compat_tests::programs::eventually;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::batch::compression::Compression;
use monedula::wire::message::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntryData, EntityData, OpData,
};
use monedula::wire::message::api_versions::ApiVersionsRequest;
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::delete_topics::DeleteTopicsRequest;
use monedula::wire::message::describe_client_quotas::{ComponentData, DescribeClientQuotasRequest};
use monedula::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};

const WITHIN: Duration = Duration::from_secs(30);
/// Client id of the connections of these tests.
const CLIENT: &str = "test";
/// Connections after which one must have been refused.
const CONNECTIONS_MAX: usize = 40;

#[test]
#[ignore = "needs java and maven"]
fn clients_over_their_quotas_are_answered_as_by_apache_kafka() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("apache");
    let apache = Apache::start_with(PRESENT, SETTINGS, dir.path(), &data)?;
    let node = Node::with_settings(&SETTINGS.replace("{controller}", &free_port()?.to_string()))?;
    let theirs = story(&apache.address())?;
    let ours = story(&node.address().replace("localhost", "127.0.0.1"))?;
    println!("{theirs:#?}");
    ensure!(
        ours == theirs,
        "{ours:#?} where Apache Kafka has {theirs:#?}"
    );
    Ok(())
}

/// Exceeds each quota once; gives what was answered.
fn story(address: &str) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    let mut tell = |what: &str, code: i16, throttle_ms: i32, more: String| {
        let throttled = if throttle_ms > 0 {
            "throttled"
        } else {
            "served"
        };
        seen.push(format!("{what}: code {code}, {throttled}{more}"));
    };
    let mut admin = Connection::open(address)?;
    admin.answered(&creation("t", 1), 6)?;
    let append = |client: &mut Connection| {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(1, None, Some(&[b'v'; 60_000]));
        let answer = client.answered(&produce("t", 0, batch.build()), 9)?;
        let code = answer.responses[0].partition_responses[0].error_code;
        Ok::<_, anyhow::Error>((code, answer.throttle_time_ms))
    };
    let led = eventually(WITHIN, || matches!(append(&mut admin), Ok((0, _))));
    ensure!(led, "t has no leader");

    set(
        &mut admin,
        "client-id",
        "producer_byte_rate",
        Some(10_000.0),
    )?;
    let mut client = Connection::open(address)?;
    // Apache Kafka counts what was appended before the quota was set, too, if there was any quota; so the first may be throttled.
    append(&mut client)?;
    let began = Instant::now();
    let (code, throttle_ms) = append(&mut client)?;
    client.answered(&ApiVersionsRequest::default(), 0)?;
    let is_late = began.elapsed() >= Duration::from_millis(throttle_ms.max(0) as u64);
    tell(
        "Produce",
        code,
        throttle_ms,
        format!(", next one late: {is_late}"),
    );
    set(&mut admin, "client-id", "producer_byte_rate", None)?;

    set(&mut admin, "client-id", "consumer_byte_rate", Some(1_000.0))?;
    let fetched = Connection::open(address)?.answered(&fetch(), 12)?;
    let more = format!(
        ", session {}, topics {}",
        fetched.session_id,
        fetched.responses.len()
    );
    tell("Fetch", fetched.error_code, fetched.throttle_time_ms, more);
    set(&mut admin, "client-id", "consumer_byte_rate", None)?;

    set(
        &mut admin,
        "client-id",
        "controller_mutation_rate",
        Some(0.5),
    )?;
    for (name, partitions, version) in [("a", 20, 6), ("b", 1, 6), ("a", 1, 6), ("c", 2, 4)] {
        // A throttled connection is not served for long.
        let mut client = Connection::open(address)?;
        let answer = client.answered(&creation(name, partitions), version)?;
        let topic = &answer.topics[0];
        let what = format!("CreateTopics {version}, {name}");
        let more = format!(", partitions {}", topic.num_partitions);
        tell(&what, topic.error_code, answer.throttle_time_ms, more);
    }
    for version in [5, 4] {
        let request = DeleteTopicsRequest {
            topic_names: vec!["a".into()],
            timeout_ms: 10_000,
            ..Default::default()
        };
        let answer = Connection::open(address)?.answered(&request, version)?;
        let what = format!("DeleteTopics {version}");
        let code = answer.responses[0].error_code;
        tell(&what, code, answer.throttle_time_ms, String::new());
    }
    set(&mut admin, "client-id", "controller_mutation_rate", None)?;

    set(&mut admin, "ip", "connection_creation_rate", Some(1.0))?;
    let mut served = 0;
    let held = loop {
        let began = Instant::now();
        let mut client = Connection::open(address)?;
        match client.ask(&ApiVersionsRequest::default(), 0) {
            Ok(Some(Answer::Response(_))) => served += 1,
            Ok(Some(Answer::Closed)) | Err(_) => break began.elapsed(),
            other => bail!("{other:?}"),
        }
        ensure!(served < CONNECTIONS_MAX, "no connection is refused");
    };
    tell("connection", 0, held.as_millis() as i32, String::new());
    set(&mut admin, "ip", "connection_creation_rate", None)?;
    Ok(seen)
}

fn creation(name: &str, partitions: i32) -> CreateTopicsRequest {
    CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    }
}

fn fetch() -> FetchRequest {
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: "t".into(),
            partitions: vec![FetchPartition {
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Sets a quota of these clients, or removes it, and waits until the broker holds them to it. A broker that shows the second of
/// two changes has applied the first.
fn set(admin: &mut Connection, kind: &str, key: &str, value: Option<f64>) -> Result<()> {
    let name = match kind {
        "ip" => "127.0.0.1",
        _ => CLIENT,
    };
    alter(admin, (kind, name), key, value)?;
    // A quota of the user "nobody", whom no client has, with another value each time.
    let shown = |admin: &mut Connection| {
        let request = DescribeClientQuotasRequest {
            components: vec![ComponentData {
                entity_type: "user".into(),
                match_type: 0,
                r#match: Some("nobody".into()),
            }],
            strict: true,
        };
        let answer = admin.answered(&request, 1)?;
        let entries = answer.entries.unwrap_or_default();
        let value = entries.first().map_or(0.0, |entry| entry.values[0].value);
        Ok::<_, anyhow::Error>(value)
    };
    for _ in 0..2 {
        let mark = shown(admin)? + 1e6;
        alter(admin, ("user", "nobody"), "producer_byte_rate", Some(mark))?;
        let settled = eventually(WITHIN, || shown(admin).is_ok_and(|value| value == mark));
        ensure!(settled, "a quota is not shown");
    }
    Ok(())
}

fn alter(
    admin: &mut Connection,
    (kind, name): (&str, &str),
    key: &str,
    value: Option<f64>,
) -> Result<()> {
    let request = AlterClientQuotasRequest {
        entries: vec![AlterClientQuotasRequestEntryData {
            entity: vec![EntityData {
                entity_type: kind.into(),
                entity_name: Some(name.into()),
            }],
            ops: vec![OpData {
                key: key.into(),
                value: value.unwrap_or_default(),
                remove: value.is_none(),
            }],
        }],
        validate_only: false,
    };
    let answer = admin.answered(&request, 1)?;
    ensure!(answer.entries[0].error_code == 0, "{:?}", answer.entries);
    Ok(())
}
