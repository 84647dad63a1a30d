//! Tests of `GET /metrics`.

use std::collections::BTreeMap;

use super::*;
use crate::wire::message::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;

const SETTINGS: [(&str, &str); 1] = [("monedula.admin.listener", "HTTP://127.0.0.1:0")];

/// Body of an answer in chunked encoding.
fn unchunked(answer: &str) -> String {
    let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    let mut body = String::new();
    loop {
        let (length, chunk) = rest.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            assert_eq!(chunk, "\r\n");
            return body;
        }
        body += &chunk[..length];
        rest = chunk[length..].strip_prefix("\r\n").unwrap();
    }
}

/// Samples of a page by name and labels. Checks that each family occurs once and has its type before its samples.
async fn samples(broker: &TemporaryBroker, target: &str) -> BTreeMap<String, f64> {
    let page = unchunked(&http(broker, target).await);
    let (mut samples, mut families) = (BTreeMap::new(), Vec::new());
    for line in page.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert!(!families.contains(&name), "{name} comes twice");
            families.push(name);
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = families.last().unwrap();
            let rest = name
                .strip_prefix(family)
                .unwrap_or_else(|| panic!("{line}"));
            assert!(rest.is_empty() || rest.starts_with(['{', '_']), "{line}");
            let before = samples.insert(name.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "{name} comes twice");
        }
    }
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_its_counts_under_the_names_of_kafkas_dashboards() {
    let broker = TemporaryBroker::start(&SETTINGS).await.unwrap();
    let client = client(&broker);
    let ids = create(&client, &["t".to_owned()]).await;
    for _ in 0..3 {
        produce(&client, &ids, None).await;
    }
    find_coordinator(&client, 0).await;
    let (member_id, generation) = join(&client).await;
    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        member_id,
        generation_id_or_member_epoch: generation,
        topics: vec![OffsetCommitRequestTopic {
            topic_id: ids[0],
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: 1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    client.call(&commit, WITHIN).await.unwrap();
    for member in ["a", "b"] {
        let joins = ConsumerGroupHeartbeatRequest {
            group_id: "modern".into(),
            member_id: member.into(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec!["t".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        let joined = client.call(&joins, WITHIN).await.unwrap();
        assert_eq!(joined.error_code, 0, "{:?}", joined.error_message);
    }

    let found = samples(&broker, "GET /metrics").await;
    let offsets = crate::coordinator::topic::GROUP_TOPIC;
    let of_offsets = format!("kafka_topic_partitions{{topic=\"{offsets}\"}}");
    let partitions = 1.0 + found[&of_offsets];
    for (name, value) in [
        ("kafka_server_kafkaserver_brokerstate", 3.0),
        ("kafka_brokers", 1.0),
        (
            "kafka_controller_kafkacontroller_activecontrollercount",
            1.0,
        ),
        ("kafka_controller_kafkacontroller_globaltopiccount", 2.0),
        (
            "kafka_controller_kafkacontroller_globalpartitioncount",
            partitions,
        ),
        ("kafka_server_replicamanager_leadercount", partitions),
        ("kafka_server_replicamanager_underreplicatedpartitions", 0.0),
        (
            r#"kafka_network_requestmetrics_requests_total{request="Produce",version="13"}"#,
            3.0,
        ),
        (
            r#"kafka_network_requestmetrics_totaltimems_count{request="Produce"}"#,
            3.0,
        ),
        (
            "kafka_server_brokertopicmetrics_totalproducerequests_total",
            3.0,
        ),
        (
            r#"kafka_server_brokertopicmetrics_messagesin_total{topic="t"}"#,
            3.0,
        ),
        (
            r#"kafka_server_brokertopicmetrics_failedproducerequests_total{topic="t"}"#,
            0.0,
        ),
        (
            r#"kafka_log_log_logendoffset{topic="t",partition="0"}"#,
            3.0,
        ),
        (
            r#"kafka_topic_partition_current_offset{topic="t",partition="0"}"#,
            3.0,
        ),
        (
            r#"kafka_topic_partition_oldest_offset{topic="t",partition="0"}"#,
            0.0,
        ),
        (
            r#"kafka_topic_partition_leader{topic="t",partition="0"}"#,
            1.0,
        ),
        (
            "kafka_coordinator_group_groupmetadatamanager_numgroups",
            1.0,
        ),
        (r#"kafka_consumergroup_members{consumergroup="g"}"#, 1.0),
        (
            r#"kafka_consumergroup_members{consumergroup="modern"}"#,
            2.0,
        ),
        (
            r#"kafka_server_group_coordinator_metrics_group_count{protocol="classic"}"#,
            1.0,
        ),
        (
            r#"kafka_server_group_coordinator_metrics_group_count{protocol="consumer"}"#,
            1.0,
        ),
        (
            r#"kafka_server_group_coordinator_metrics_consumer_group_count{state="reconciling"}"#,
            0.0,
        ),
        (
            r#"kafka_consumergroup_current_offset{consumergroup="g",topic="t",partition="0"}"#,
            1.0,
        ),
        (
            r#"kafka_consumergroup_lag{consumergroup="g",topic="t",partition="0"}"#,
            2.0,
        ),
        (
            r#"kafka_consumergroup_lag_sum{consumergroup="g",topic="t"}"#,
            2.0,
        ),
        (
            r#"kafka_server_socket_server_metrics_connection_count{listener="PLAINTEXT",networkprocessor="0"}"#,
            1.0,
        ),
        (r#"monedula_memory_held_bytes{purpose="answers"}"#, 0.0),
    ] {
        assert_eq!(found.get(name), Some(&value), "{name}: {found:#?}");
    }
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        r#"kafka_network_requestmetrics_totaltimems{request="Produce",quantile="0.99"}"#,
        r#"kafka_log_log_size{topic="t",partition="0"}"#,
        r#"kafka_server_brokertopicmetrics_bytesin_total{topic="t"}"#,
    ] {
        assert!(found[name] > 0.0, "{name}");
    }
    let idle = found["kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent"];
    assert!((0.0..=1.0).contains(&idle), "{idle}");

    let short = samples(&broker, "GET /metrics?partitions=false").await;
    assert!(short.keys().all(|name| !name.contains("partition=")));
    assert_eq!(
        short[r#"kafka_consumergroup_lag_sum{consumergroup="g",topic="t"}"#],
        2.0
    );
    let refused = http(&broker, "GET /metrics?topics=t").await;
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    let head = http(&broker, "HEAD /metrics").await;
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

/// A page of several megabytes is sent in pieces, and a connection whose client reads nothing gives way to others.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nobody_takes_keeps_nobody_from_an_answer() {
    let broker = TemporaryBroker::start(&SETTINGS).await.unwrap();
    let client = client(&broker);
    let names: Vec<String> = (0..500).map(|index| format!("topic-{index}")).collect();
    create(&client, &names).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(broker.admin().unwrap()).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    let answer = tokio::time::timeout(Duration::from_secs(4), http(&broker, "GET /ready"));
    let answer = answer
        .await
        .expect("an answer beside pages that nobody takes");
    assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
    let found = samples(&broker, "GET /metrics").await;
    assert_eq!(
        found["kafka_controller_kafkacontroller_globaltopiccount"],
        500.0
    );
}
