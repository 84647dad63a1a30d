//! A broker that leads, and a follower in the same process that fetches over a socket like another broker, and joins and leaves
//! ISRs.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::base::ids::BrokerId;
use crate::config::broker::BrokerSettings;
use crate::log::append::Origin;
use crate::log::manager::{LogManager, ManagerSettings};
use crate::log::partition_log::ReadEnd;
use crate::log::settings::LogSettings;
use crate::metadata::controller::brokers::Registration;
use crate::replica::fetcher::{Answering, Leader, Leaders, NoAnswer};
use crate::replica::manager::ReplicaManager;
use crate::replica::partition::{Acks, Partition, Terms, Uncommitted};
use crate::replica::produce::until_committed;
use crate::wire::message::create_topics::CreatableReplicaAssignment;
use crate::wire::message::fetch::{FetchRequest, FetchResponse};
use crate::wire::message::list_offsets::ListOffsetsResponse;

const PARTITIONS: i32 = 3;
const DIR: Uuid = Uuid([8; 16]);

/// Connection to the leader.
struct Line(Channel);

impl Leader for Line {
    fn fetch<'a>(
        &'a mut self,
        request: &'a FetchRequest,
        within: Duration,
    ) -> Answering<'a, FetchResponse> {
        Box::pin(async move {
            let answer = self.0.call(request, within).await;
            answer.map_err(|error| NoAnswer(error.to_string()))
        })
    }

    fn list_offsets<'a>(
        &'a mut self,
        request: &'a ListOffsetsRequest,
        within: Duration,
    ) -> Answering<'a, ListOffsetsResponse> {
        Box::pin(async move {
            let answer = self.0.call(request, within).await;
            answer.map_err(|error| NoAnswer(error.to_string()))
        })
    }
}

struct Address(String);

impl Leaders for Address {
    fn connect(&self, _: BrokerId, client_id: &str) -> Box<dyn Leader> {
        let address = self.0.clone();
        let identity = Identity::new(client_id);
        Box::new(Line(Channel::new(&Host::default(), address, identity)))
    }
}

/// Replicas of broker 2, and the task that fetches for them.
struct Follower {
    replicas: ReplicaManager,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Follower {
    fn start(dir: &TempDir, broker: &TemporaryBroker) -> Self {
        let dirs = vec![(dir.path().to_owned(), Ok(DIR))];
        let logs = LogManager::open(&Host::default(), dirs, ManagerSettings::default()).unwrap();
        logs.load(1, &|_| LogSettings::default(), 0).unwrap();
        let replicas = ReplicaManager::new(2, Arc::new(logs), BrokerSettings::default());
        let image = broker.services().image.load();
        replicas.set_broker_epoch(image.broker_epoch(2));
        replicas.install(&image);
        let (stop, mut stopping) = watch::channel(false);
        let (fetchers, leaders) = (
            replicas.fetchers().clone(),
            Arc::new(Address(broker.bootstrap_servers())),
        );
        let task = tokio::spawn(async move {
            let stop = async { drop(stopping.wait_for(|stop| *stop).await) };
            fetchers.run(leaders, stop).await;
        });
        Self {
            replicas,
            stop,
            task,
        }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        self.replicas.logs().close(1, -1);
    }
}

fn content(partition: &Partition) -> (i64, Vec<u8>) {
    let plan = partition.log().read(0, 1 << 20, ReadEnd::LogEnd, true);
    let plan = plan.unwrap();
    let records = plan.records.map(|range| range.read().unwrap());
    (
        plan.watermarks.high_watermark,
        records.unwrap_or_default().to_vec(),
    )
}

fn append(broker: &TemporaryBroker, index: i32) -> Uncommitted {
    let partition = broker.services().replicas.partition("t", index).unwrap();
    let epoch = partition.leads_in().unwrap();
    let mut builder = BatchBuilder::default();
    builder.push(1_000, Some(b"k"), Some(b"v"));
    let terms = Terms {
        epoch,
        acks: Acks::All,
        origin: Origin::Client,
    };
    let (appended, _) = partition.append(&builder.build(), terms, 2_000).unwrap();
    Uncommitted {
        end: appended.last_offset + 1,
        partition,
        epoch,
    }
}

async fn committed(broker: &TemporaryBroker, appends: &[Uncommitted]) {
    let waiters = broker.services().replicas.waiters();
    let deadline = tokio::time::Instant::now() + 3 * WITHIN;
    let outcomes = until_committed(waiters, appends, deadline).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

/// Waits until the ISR of every partition is `isr`.
async fn in_sync(broker: &TemporaryBroker, isr: &[BrokerId]) {
    let begun = Instant::now();
    loop {
        let image = broker.services().image.load();
        let topic = image.topics.by_name("t").unwrap();
        let isrs: Vec<_> = topic.partitions.iter().map(|one| one.isr.clone()).collect();
        if isrs.iter().all(|one| one == isr) {
            return;
        }
        assert!(begun.elapsed() < 3 * WITHIN, "{isrs:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_over_a_socket_joins_the_isr_leaves_it_and_comes_back() {
    let settings = [("replica.lag.time.max.ms", "1500")];
    let broker = TemporaryBroker::start(&settings).await.unwrap();
    let controller = &broker.services().controller;
    let registration = Registration {
        node_id: 2,
        incarnation: Uuid([2; 16]),
        endpoints: vec![("PLAINTEXT".into(), "127.0.0.1".into(), 1, 0)],
        controller: ("CONTROLLER".into(), "127.0.0.1".into(), 1),
        rack: None,
        log_dirs: vec![DIR],
    };
    controller.ask(registration).await.unwrap();
    let assignment = |partition_index| CreatableReplicaAssignment {
        partition_index,
        broker_ids: vec![1, 2],
    };
    let topic = CreatableTopic {
        name: "t".into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: (0..PARTITIONS).map(assignment).collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 10_000,
        ..Default::default()
    };
    let answer = client(&broker).call(&request, WITHIN).await.unwrap();
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");

    let dir = tempfile::tempdir().unwrap();
    for round in 0..2 {
        // Without the follower the leader continues alone.
        let alone: Vec<_> = (0..PARTITIONS)
            .map(|index| append(&broker, index))
            .collect();
        committed(&broker, &alone).await;
        in_sync(&broker, &[1]).await;
        let follower = Follower::start(&dir, &broker);
        in_sync(&broker, &[1, 2]).await;
        let both: Vec<_> = (0..PARTITIONS)
            .map(|index| append(&broker, index))
            .collect();
        committed(&broker, &both).await;
        let begun = Instant::now();
        loop {
            let contents = |replicas: &ReplicaManager| -> Vec<_> {
                let partitions = (0..PARTITIONS).map(|index| replicas.partition("t", index));
                partitions.map(|one| content(&one.unwrap())).collect()
            };
            let theirs = contents(&broker.services().replicas);
            let ours = contents(&follower.replicas);
            if ours == theirs {
                assert!(
                    ours.iter()
                        .all(|(committed, _)| *committed == 2 * (round + 1))
                );
                break;
            }
            assert!(begun.elapsed() < 3 * WITHIN, "{ours:?} {theirs:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        follower.end().await;
    }
    broker.stop().await;
}
