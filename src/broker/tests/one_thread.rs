//! Test of three separate brokers on one thread with simulated clocks, disks and network. A run with the same seed is the same
//! to the millisecond.

use std::path::Path;

use super::*;
use crate::broker::Broker;
use crate::broker::boot::Options;
use crate::config::broker::standalone;
use crate::config::parse::Property;
use crate::host::lan::Lan;

const NODES: u64 = 3;
/// Number of requests of each client.
const DEEDS: usize = 30;

async fn start(host: &Host, dir: &Path, more: &[(&str, &str)]) -> Broker {
    let (listener, data) = (
        format!("PLAINTEXT://{}:9092", host.network.own_name()),
        dir.display().to_string(),
    );
    let own = [
        ("listeners", &*listener),
        ("log.dirs", &data),
        ("log.retention.ms", "60000"),
        ("offsets.topic.num.partitions", "3"),
        ("transaction.state.log.num.partitions", "2"),
    ];
    let own = own.iter().chain(more);
    let own: Vec<_> = own
        .map(|(key, value)| Property::given(key, value))
        .collect();
    let options = Options {
        host: host.clone(),
        ..Options::default()
    };
    let config = standalone(&own).unwrap().config;
    Broker::start(config, options).await.unwrap()
}

/// Result of one request of a client.
async fn heard(client: &Channel, deed: u8, topic: Uuid) -> String {
    match deed % 8 {
        0 => format!("{:?}", names(client).await),
        1 => {
            let request = InitProducerIdRequest {
                transaction_timeout_ms: 1_000,
                producer_id: -1,
                producer_epoch: -1,
                ..Default::default()
            };
            format!("{:?}", client.call(&request, WITHIN).await.unwrap())
        }
        2 => {
            let request = JoinGroupRequest {
                group_id: "g".into(),
                session_timeout_ms: 6_000,
                rebalance_timeout_ms: 1_000,
                protocol_type: "consumer".into(),
                protocols: vec![JoinGroupRequestProtocol {
                    name: "range".into(),
                    ..Default::default()
                }],
                ..Default::default()
            };
            format!("{:?}", client.call(&request, WITHIN).await.unwrap())
        }
        3 => {
            let request = OffsetCommitRequest {
                group_id: "other".into(),
                generation_id_or_member_epoch: -1,
                topics: vec![OffsetCommitRequestTopic {
                    name: "t".into(),
                    topic_id: topic,
                    partitions: vec![OffsetCommitRequestPartition {
                        partition_index: 0,
                        committed_offset: i64::from(deed),
                        ..Default::default()
                    }],
                }],
                ..Default::default()
            };
            format!("{:?}", client.call(&request, WITHIN).await.unwrap())
        }
        4 => {
            let name = format!("t{deed}");
            let request = CreateTopicsRequest {
                topics: vec![CreatableTopic {
                    name: name.as_str().into(),
                    num_partitions: 2,
                    replication_factor: 1,
                    ..Default::default()
                }],
                timeout_ms: 10_000,
                ..Default::default()
            };
            format!("{:?}", client.call(&request, WITHIN).await.unwrap())
        }
        _ => {
            produce(client, &[topic], None).await;
            "produced".to_owned()
        }
    }
}

/// Runs three clients, each with its own broker, which is restarted in the middle. Gives all results in order.
async fn told(seed: u64) -> Vec<String> {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let lan = Lan::new(seed);
    let mut clients = tokio::task::JoinSet::new();
    for node in 0..NODES {
        let name = format!("broker-{node}");
        let wall = 1_700_000_000_000 + node as i64 * 777;
        let host = Host::simulated_in(&lan, &name, wall, seed.wrapping_add(node));
        let own = Host::simulated_in(&lan, &format!("client-{node}"), wall, seed ^ node);
        let sender = sender.clone();
        clients.spawn(async move {
            let dir = tempfile::tempdir().unwrap();
            let mut broker = start(&host, dir.path(), &[]).await;
            let client = Channel::new(&own, format!("{name}:9092"), Identity::new("test"));
            let topic = create(&client, &["t".to_owned()]).await[0];
            for number in 0..DEEDS {
                let [deed, pause] = own.chance.bytes().unwrap();
                tokio::time::sleep(Duration::from_millis(u64::from(pause) * 10)).await;
                if number == DEEDS / 2 {
                    broker.shutdown().await;
                    broker = start(&host, dir.path(), &[]).await;
                    // The old connection is closed, so the first request fails.
                    let _ = client.call(&MetadataRequest::default(), WITHIN).await;
                }
                let heard = heard(&client, deed, topic).await;
                let now = own.clock.now();
                sender.send(format!("{now} {name}: {heard}")).unwrap();
            }
            broker.shutdown().await;
        });
    }
    drop(sender);
    let mut trace = Vec::new();
    while let Some(line) = seen.recv().await {
        trace.push(line);
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    trace
}

#[test]
fn three_brokers_on_one_thread_tell_the_same_story_from_the_same_seed() {
    let told = |seed| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // The runtime has no socket driver, so opening a system socket would panic.
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(told(seed))
    };
    let trace = told(5);
    assert_eq!(trace.len(), NODES as usize * DEEDS);
    for word in ["produced", "broker-2", "member_id", "producer_id"] {
        assert!(trace.iter().any(|line| line.contains(word)), "{word}");
    }
    assert_eq!(trace, told(5));
    assert_ne!(trace, told(6));
}

/// The name is resolved without delaying connections, and its limit applies to its address.
#[tokio::test(start_paused = true)]
async fn a_host_that_is_named_in_the_settings_has_a_limit_of_its_own() {
    let (lan, dir) = (Lan::new(1), tempfile::tempdir().unwrap());
    let [host, other, third] = ["broker", "other", "third"]
        .map(|name| Host::simulated_in(&lan, name, 1_700_000_000_000, 1));
    let limit = [("max.connections.per.ip.overrides", "other:1,nobody:7")];
    let broker = start(&host, dir.path(), &limit).await;
    let connect = async |from: &Host| {
        let channel = Channel::new(from, "broker:9092", Identity::new("test"));
        let is_open = channel.versions(WITHIN).await.is_ok();
        (channel, is_open)
    };
    let (_first, is_open) = connect(&other).await;
    assert!(is_open);
    assert!(!connect(&other).await.1);
    let (_one, is_open) = connect(&third).await;
    assert!(is_open);
    let (_two, is_open) = connect(&third).await;
    assert!(is_open);
    broker.shutdown().await;
}
