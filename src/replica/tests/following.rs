//! Two brokers in one process: leaders answer like the handler of Fetch, and followers fetch through lanes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::base::ids::{BrokerEpoch, BrokerId, Offset, TopicPartition, Uuid};
use crate::config::broker::BrokerSettings;
use crate::host::Host;
use crate::host::chance::Chance;
use crate::host::file::Reach;
use crate::log::append::Origin;
use crate::log::manager::{LogManager, ManagerSettings};
use crate::log::partition_log::ReadEnd;
use crate::log::settings::LogSettings;
use crate::metadata::image::{Delta, Image};
use crate::metadata::loader::Publisher;
use crate::metadata::record::Record;
use crate::metadata::record::schema::{
    ConfigRecord, PartitionChangeRecord, PartitionRecord, RegisterBrokerRecord, RemoveTopicRecord,
    TopicRecord,
};
use crate::replica::fetch::{Limits, Outcome, Wanted, read};
use crate::replica::fetch_session::{FetchSessions, Said, SessionKey, SessionRequest};
use crate::replica::fetcher::{Answering, Leader, Leaders, NoAnswer};
use crate::replica::isr_changes::{self, Controller};
use crate::replica::manager::ReplicaManager;
use crate::replica::partition::{Acks, FollowerId, Partition, Terms, Uncommitted};
use crate::replica::produce::until_committed;
use crate::replica::purgatory::{Mark, Waiter};
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, AlterPartitionResponsePartitionData,
    AlterPartitionResponseTopicData,
};
use crate::wire::message::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use crate::wire::message::fuzz::{from_environment, seeds_from_environment};
use crate::wire::message::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};

const NOW: i64 = 1_000_000;
const TOPIC: Uuid = Uuid([3; 16]);
const PARTITIONS: i32 = 3;
/// Seconds of a simulated clock, so the speed of the machine does not matter.
const SOON: Duration = Duration::from_secs(120);

struct Node {
    _dir: TempDir,
    id: BrokerId,
    replicas: ReplicaManager,
    sessions: FetchSessions,
    is_cut_off: AtomicBool,
    /// Whether metadata come later.
    is_deaf: AtomicBool,
    /// Newest image that the node has applied.
    heard: Mutex<Image>,
    /// Number of partitions that fetches have named.
    named: AtomicUsize,
}

#[derive(Clone)]
struct Cluster {
    nodes: Arc<BTreeMap<BrokerId, Arc<Node>>>,
    image: Arc<Mutex<Image>>,
}

fn epoch_of(id: BrokerId) -> BrokerEpoch {
    BrokerEpoch::from(id) * 10
}

/// Broker 1 leads all partitions of the topic, and is the only one in sync.
fn first_image() -> Image {
    let broker = |broker_id: BrokerId| {
        Record::from(RegisterBrokerRecord {
            broker_id,
            broker_epoch: epoch_of(broker_id),
            fenced: false,
            ..Default::default()
        })
    };
    let topic = TopicRecord {
        name: "t".into(),
        topic_id: TOPIC,
    };
    let partition = |partition_id| {
        Record::from(PartitionRecord {
            partition_id,
            topic_id: TOPIC,
            replicas: vec![1, 2],
            isr: vec![1],
            leader: 1,
            leader_epoch: 4,
            partition_epoch: 7,
            directories: vec![Uuid([9; 16]); 2],
            ..Default::default()
        })
    };
    let mut image = Image::empty();
    let records = (1..=2).map(broker).chain([topic.into()]);
    for record in records.chain((0..PARTITIONS).map(partition)) {
        image.apply(&record, 0, &mut Delta::default());
    }
    image
}

fn node(id: BrokerId, settings: LogSettings) -> Arc<Node> {
    let dir = tempfile::tempdir().unwrap();
    let dirs = [9, 8].map(|id| {
        let path = dir.path().join(id.to_string());
        std::fs::create_dir(&path).unwrap();
        (path, Ok(Uuid([id; 16])))
    });
    let dirs = Vec::from(dirs);
    let host = Host::simulated(NOW, id as u64);
    let logs = LogManager::open(&host, dirs, ManagerSettings::default()).unwrap();
    logs.load(0, &|_| settings.clone(), NOW).unwrap();
    let logs = Arc::new(logs);
    let overrides = [("num.replica.fetchers".to_owned(), "2".to_owned())];
    let settings = BrokerSettings::new(overrides.into());
    let replicas = ReplicaManager::new(id, logs, settings);
    replicas.set_broker_epoch(epoch_of(id));
    Arc::new(Node {
        _dir: dir,
        id,
        replicas,
        sessions: FetchSessions::new(100, 7),
        is_cut_off: AtomicBool::new(false),
        is_deaf: AtomicBool::new(false),
        heard: Mutex::new(first_image()),
        named: AtomicUsize::new(0),
    })
}

impl Node {
    fn partition(&self, index: i32) -> Arc<Partition> {
        self.replicas.partition("t", index).unwrap()
    }

    fn append(&self, index: i32, value: &str) -> Uncommitted {
        let partition = self.partition(index);
        let epoch = partition.leads_in().unwrap();
        let mut builder = BatchBuilder::default();
        builder.push(NOW, None, Some(value.as_bytes()));
        let terms = Terms {
            epoch,
            acks: Acks::All,
            origin: Origin::Client,
        };
        let batch: Bytes = builder.build();
        let (appended, _) = partition.append(&batch, terms, NOW).unwrap();
        Uncommitted {
            end: appended.last_offset + 1,
            partition,
            epoch,
        }
    }

    async fn committed(&self, append: Uncommitted) -> Result<(), ErrorCode> {
        let deadline = Instant::now() + SOON;
        let waiters = self.replicas.waiters();
        until_committed(waiters, &[append], deadline)
            .await
            .pop()
            .unwrap()
    }

    fn content(&self, index: i32) -> Vec<u8> {
        let partition = self.partition(index);
        let log = partition.log();
        let start = log.watermarks().log_start;
        let plan = log.read(start, 1 << 20, ReadEnd::LogEnd, true).unwrap();
        let records = plan.records.map(|range| range.read().unwrap());
        records.unwrap_or_default().to_vec()
    }

    fn marks(&self, index: i32) -> (Offset, Offset, Offset) {
        let marks = self.partition(index).log().watermarks();
        (marks.log_start, marks.high_watermark, marks.log_end)
    }

    /// Makes and removes directories.
    fn work(&self) {
        while let Some((piece, place)) = self.replicas.next_piece() {
            self.replicas.work_on(&piece, place);
            if self.replicas.worked(&piece) {
                self.replicas.finish(&piece, true);
            }
        }
    }

    async fn serve(&self, request: &FetchRequest) -> FetchResponse {
        let mut wanted = Vec::new();
        for topic in &request.topics {
            for one in &topic.partitions {
                self.named.fetch_add(1, Ordering::Relaxed);
                wanted.push(Wanted {
                    topic: Arc::default(),
                    topic_id: topic.topic_id,
                    index: one.partition,
                    fetch_offset: one.fetch_offset,
                    current_leader_epoch: one.current_leader_epoch,
                    last_fetched_epoch: one.last_fetched_epoch,
                    max_bytes: one.partition_max_bytes as usize,
                    denied: None,
                });
            }
        }
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|index| SessionKey::new(topic.topic_id, &Arc::default(), *index))
        });
        let session = SessionRequest {
            id: request.session_id,
            epoch: request.session_epoch,
            by_id: true,
            wanted,
            forgotten: forgotten.collect::<HashSet<_>>(),
        };
        let begun = match self.sessions.begin(session, self.replicas.clock().now()) {
            Ok(begun) => begun,
            Err(code) => {
                return FetchResponse {
                    error_code: code.code(),
                    ..Default::default()
                };
            }
        };
        let limits = Limits {
            max_bytes: request.max_bytes as usize,
            read_committed: false,
            by_id: true,
            follower: Some(FollowerId {
                id: request.replica_state.replica_id,
                broker_epoch: request.replica_state.replica_epoch,
            }),
            hard_limit: false,
            reach: Reach::Disk,
        };
        let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms as u64);
        let fetched = loop {
            let fetched = read(&self.replicas, &begun.wanted, limits);
            let is_over = Instant::now() >= deadline;
            if fetched.bytes >= request.min_bytes as usize || fetched.urgent || is_over {
                break fetched;
            }
            let waiters = self.replicas.waiters();
            let waiter = Waiter::new(waiters, Mark::LogEnd, fetched.partitions);
            drop(timeout_at(deadline, waiter.woken()).await);
        };
        let data = begun.wanted.iter().zip(&fetched.outcomes);
        let data: Vec<_> = data
            .map(|(wanted, outcome)| data_of(wanted.index, outcome))
            .collect();
        let said: Vec<_> = data.iter().map(said).collect();
        let include = begun.finish(&said);
        let mut responses = Vec::new();
        for ((wanted, data), include) in begun.wanted.iter().zip(data).zip(include) {
            if include {
                responses.push(FetchableTopicResponse {
                    topic_id: wanted.topic_id,
                    partitions: vec![data],
                    ..Default::default()
                });
            }
        }
        FetchResponse {
            session_id: begun.session_id,
            responses,
            ..Default::default()
        }
    }

    fn offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topic = &request.topics[0];
        let partitions = topic.partitions.iter().map(|asked| {
            let partition = self.partition(asked.partition_index);
            let marks = partition.log().watermarks();
            let code = partition.check_epoch(asked.current_leader_epoch);
            ListOffsetsPartitionResponse {
                partition_index: asked.partition_index,
                error_code: code.err().map_or(0, ErrorCode::code),
                offset: match asked.timestamp {
                    -1 => marks.log_end,
                    _ => marks.log_start,
                },
                ..Default::default()
            }
        });
        let topic = ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: partitions.collect(),
        };
        ListOffsetsResponse {
            topics: vec![topic],
            ..Default::default()
        }
    }
}

fn data_of(partition_index: i32, outcome: &Outcome) -> PartitionData {
    let mut data = PartitionData {
        partition_index,
        ..Default::default()
    };
    match outcome {
        Outcome::Read(plan) => {
            data.high_watermark = plan.watermarks.high_watermark;
            data.log_start_offset = plan.watermarks.log_start;
            let records = plan.records.as_ref();
            data.records = records.map(|range| Records::Bytes(range.read().unwrap()));
        }
        Outcome::Diverged {
            epoch, end_offset, ..
        } => {
            // Values that the follower must ignore.
            data.high_watermark = 99;
            data.log_start_offset = 99;
            data.diverging_epoch = EpochEndOffset {
                epoch: *epoch,
                end_offset: *end_offset,
            };
        }
        Outcome::Failed(code, _) => data.error_code = code.code(),
        Outcome::Cold(_) => unreachable!("it may wait for the disk"),
    }
    data
}

fn said(data: &PartitionData) -> Said {
    Said {
        has_records: data
            .records
            .as_ref()
            .is_some_and(|records| !records.is_empty()),
        failed: data.error_code != 0,
        special: data.diverging_epoch.epoch >= 0,
        high_watermark: data.high_watermark,
        log_start: data.log_start_offset,
    }
}

/// A connection from one node to another.
struct Line {
    from: Arc<Node>,
    to: Arc<Node>,
}

impl Line {
    fn is_there(&self) -> Result<(), NoAnswer> {
        let is_cut = |node: &Node| node.is_cut_off.load(Ordering::Relaxed);
        match is_cut(&self.from) || is_cut(&self.to) {
            true => Err(NoAnswer("cut off".to_owned())),
            false => Ok(()),
        }
    }
}

impl Leader for Line {
    fn fetch<'a>(
        &'a mut self,
        request: &'a FetchRequest,
        within: Duration,
    ) -> Answering<'a, FetchResponse> {
        Box::pin(async move {
            self.is_there()?;
            let answer = timeout(within, self.to.serve(request)).await;
            self.is_there()?;
            answer.map_err(|_| NoAnswer("late".to_owned()))
        })
    }

    fn list_offsets<'a>(
        &'a mut self,
        request: &'a ListOffsetsRequest,
        _: Duration,
    ) -> Answering<'a, ListOffsetsResponse> {
        Box::pin(async move {
            self.is_there()?;
            Ok(self.to.offsets(request))
        })
    }
}

/// Connections of one node to the others.
struct Others {
    me: Arc<Node>,
    nodes: Arc<BTreeMap<BrokerId, Arc<Node>>>,
}

impl Leaders for Others {
    fn connect(&self, leader: BrokerId, client_id: &str) -> Box<dyn Leader> {
        assert!(client_id.starts_with(&format!("broker-{}-fetcher-", self.me.id)));
        Box::new(Line {
            from: Arc::clone(&self.me),
            to: Arc::clone(&self.nodes[&leader]),
        })
    }
}

impl Controller for Cluster {
    /// Accepts every change of the current leader.
    fn alter_partitions(
        &self,
        request: AlterPartitionRequest,
    ) -> Answering<'_, AlterPartitionResponse> {
        Box::pin(async move {
            let asked = &request.topics[0];
            assert_eq!(request.broker_epoch, epoch_of(request.broker_id));
            let mut partitions = Vec::new();
            for one in &asked.partitions {
                let isr: Vec<_> = one
                    .new_isr_with_epochs
                    .iter()
                    .map(|one| one.broker_id)
                    .collect();
                let epochs = one.new_isr_with_epochs.iter();
                assert!(
                    epochs
                        .clone()
                        .all(|one| one.broker_epoch == epoch_of(one.broker_id))
                );
                let current = {
                    let image = self.image.lock();
                    let topic = image.topics.by_name("t").unwrap();
                    let current = topic.partition(one.partition_index).unwrap();
                    (current.leader_epoch, current.partition_epoch)
                };
                if current != (one.leader_epoch, one.partition_epoch) {
                    partitions.push(AlterPartitionResponsePartitionData {
                        partition_index: one.partition_index,
                        error_code: ErrorCode::InvalidUpdateVersion.code(),
                        ..Default::default()
                    });
                    continue;
                }
                self.change(PartitionChangeRecord {
                    partition_id: one.partition_index,
                    topic_id: TOPIC,
                    isr: Some(isr.clone()),
                    ..Default::default()
                });
                partitions.push(AlterPartitionResponsePartitionData {
                    partition_index: one.partition_index,
                    leader_epoch: one.leader_epoch,
                    partition_epoch: one.partition_epoch + 1,
                    isr,
                    ..Default::default()
                });
            }
            let topic = AlterPartitionResponseTopicData {
                topic_id: asked.topic_id,
                partitions,
                ..Default::default()
            };
            Ok(AlterPartitionResponse {
                topics: vec![topic],
                ..Default::default()
            })
        })
    }
}

/// Tasks of the nodes.
struct Running {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    async fn end(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

impl Cluster {
    fn begin() -> (Self, Running) {
        Self::begin_with(LogSettings::default())
    }

    fn begin_with(settings: LogSettings) -> (Self, Running) {
        let nodes: BTreeMap<_, _> = (1..=2).map(|id| (id, node(id, settings.clone()))).collect();
        let image = first_image();
        let cluster = Self {
            nodes: Arc::new(nodes),
            image: Arc::new(Mutex::new(image.clone())),
        };
        let (stop, stopping) = watch::channel(false);
        let mut tasks = Vec::new();
        for me in cluster.nodes.values() {
            me.replicas.install(&Arc::new(image.clone()));
            let stopped = || {
                let mut stopping = stopping.clone();
                async move { drop(stopping.wait_for(|stop| *stop).await) }
            };
            let leaders = Arc::new(Others {
                me: Arc::clone(me),
                nodes: Arc::clone(&cluster.nodes),
            });
            let (fetchers, stop) = (me.replicas.fetchers().clone(), stopped());
            let threads = &me.replicas.logs().host().threads;
            tasks.push(threads.spawn(async move { fetchers.run(leaders, stop).await }));
            let controller = Arc::new(cluster.clone());
            let changes = isr_changes::run(me.replicas.clone(), controller, stopped());
            tasks.push(threads.spawn(changes));
        }
        (cluster, Running { stop, tasks })
    }

    fn node(&self, id: BrokerId) -> &Arc<Node> {
        &self.nodes[&id]
    }

    /// Applies a metadata record on all nodes, except on those that are deaf.
    fn change(&self, record: impl Into<Record>) {
        let record = record.into();
        (self.image.lock()).apply(&record, 0, &mut Delta::default());
        for node in self.nodes.values() {
            if !node.is_deaf.load(Ordering::Relaxed) {
                self.hear(node);
            }
        }
    }

    /// Applies at once all that a node has missed.
    fn hear(&self, node: &Node) {
        node.is_deaf.store(false, Ordering::Relaxed);
        let image = self.image.lock().clone();
        let before = std::mem::replace(&mut *node.heard.lock(), image.clone());
        let delta = Delta::between(&before, &image);
        node.replicas.on_update(&delta, &Arc::new(image));
    }

    /// Assigns partition 1 to other brokers; broker 1 leads.
    fn reassign(&self, replicas: &[BrokerId]) {
        self.change(PartitionChangeRecord {
            partition_id: 1,
            topic_id: TOPIC,
            replicas: Some(replicas.to_vec()),
            directories: Some(vec![Uuid([9; 16]); replicas.len()]),
            isr: Some(vec![1]),
            ..Default::default()
        });
    }

    fn elect(&self, leader: BrokerId) {
        for partition_id in 0..PARTITIONS {
            self.change(PartitionChangeRecord {
                partition_id,
                topic_id: TOPIC,
                leader,
                isr: Some(vec![leader]),
                ..Default::default()
            });
        }
    }

    fn isr(&self, index: i32) -> Vec<BrokerId> {
        let image = self.image.lock();
        let topic = image.topics.by_name("t").unwrap();
        topic.partition(index).unwrap().isr.clone()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < SOON, "{what}: {}", self.all_marks());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Log start, high watermark and log end of each log, and the ISRs.
    fn all_marks(&self) -> String {
        let marks = |node: &Arc<Node>| {
            let marks = (0..PARTITIONS).map(|index| node.marks(index));
            (node.id, marks.collect::<Vec<_>>())
        };
        let nodes: Vec<_> = self.nodes.values().map(marks).collect();
        let isrs: Vec<_> = (0..PARTITIONS).map(|index| self.isr(index)).collect();
        format!("{nodes:?}, in sync: {isrs:?}")
    }

    /// Waits until both nodes have the same committed records and are in sync.
    async fn until_equal(&self) {
        self.until("not equal", |this| {
            (0..PARTITIONS).all(|index| {
                let [one, two] = [1, 2].map(|id| this.node(id).marks(index));
                one == two && one.1 == one.2 && this.isr(index).len() == 2
            })
        })
        .await;
        for index in 0..PARTITIONS {
            assert_eq!(self.node(1).content(index), self.node(2).content(index));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_gets_what_the_leader_has_and_joins_the_isr() {
    let (cluster, running) = Cluster::begin();
    let leader = cluster.node(1);
    for index in 0..PARTITIONS {
        for value in 0..5 {
            leader.append(index, &format!("{index}-{value}"));
        }
    }
    cluster.until_equal().await;
    // The follower is in the ISR now: nothing is acknowledged without it.
    let append = leader.append(0, "acknowledged by both");
    assert_eq!(leader.marks(0), (0, 5, 6));
    assert_eq!(leader.committed(append).await, Ok(()));
    assert_eq!(cluster.node(2).marks(0).2, 6);
    cluster.until_equal().await;
    assert_eq!(cluster.node(2).replicas.fetchers().lanes(), 2);
    // Nothing changes, so fetches name no partitions.
    let named = leader.named.load(Ordering::Relaxed);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(leader.named.load(Ordering::Relaxed), named);
    running.end().await;
}

/// KIP-903: a process whose broker id another one has taken must not fetch in the other one's name, or the leader would count the
/// other one's empty logs as caught up.
#[tokio::test(start_paused = true)]
async fn the_registration_of_another_process_does_not_change_the_broker_epoch() {
    let (cluster, running) = Cluster::begin();
    cluster.change(RegisterBrokerRecord {
        broker_id: 2,
        broker_epoch: 900,
        incarnation_id: Uuid([7; 16]),
        fenced: false,
        ..Default::default()
    });
    let leader = cluster.node(1);
    assert_eq!(cluster.node(2).replicas.broker_epoch(), epoch_of(2));
    leader.append(0, "a");
    sleep(Duration::from_secs(20)).await;
    // The leader serves nobody of the older epoch, and does not ask for it to join the ISR.
    assert_eq!(cluster.node(2).marks(0).2, 0);
    assert_eq!(leader.marks(0), (0, 1, 1));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn leaders_change_and_logs_that_diverged_become_equal() {
    let (cluster, running) = Cluster::begin();
    for round in 0..6 {
        let (leader, other) = (1 + round % 2, 2 - round % 2);
        for index in 0..PARTITIONS {
            cluster
                .node(leader)
                .append(index, &format!("of round {round}"));
        }
        cluster.until_equal().await;
        // Records that do not reach the other broker are lost: it is elected without them.
        cluster
            .node(leader)
            .is_cut_off
            .store(true, Ordering::Relaxed);
        for index in 0..PARTITIONS {
            for _ in 0..=index {
                cluster
                    .node(leader)
                    .append(index, &format!("lost in round {round}"));
            }
        }
        sleep(Duration::from_secs(2)).await;
        cluster.elect(other);
        cluster.node(other).append(0, "of the new leader");
        cluster
            .node(leader)
            .is_cut_off
            .store(false, Ordering::Relaxed);
        cluster.until_equal().await;
    }
    let lost = b"lost in";
    for index in 0..PARTITIONS {
        let content = cluster.node(1).content(index);
        assert!(!content.windows(lost.len()).any(|at| at == lost));
    }
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_lags_leaves_the_isr_and_comes_back() {
    let (cluster, running) = Cluster::begin();
    let leader = cluster.node(1);
    leader.append(1, "v");
    cluster.until_equal().await;
    let follower = cluster.node(2);
    follower.is_cut_off.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    let append = leader.append(1, "acknowledged when the follower is given up");
    assert_eq!(leader.committed(append).await, Ok(()));
    let waited = begun.elapsed().as_secs();
    // replica.lag.time.max.ms is 30 s, and lag is checked every half of it.
    assert!((29..=46).contains(&waited), "{waited}");
    assert_eq!(cluster.isr(1), [1]);
    follower.is_cut_off.store(false, Ordering::Relaxed);
    cluster.until_equal().await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_leader_has_deleted_goes_and_a_follower_far_behind_begins_anew() {
    let (cluster, running) = Cluster::begin_with(LogSettings::default());
    let leader = cluster.node(1);
    for _ in 0..9 {
        leader.append(0, "v");
    }
    cluster.until_equal().await;
    leader.partition(0).log.advance_start(4, NOW).unwrap();
    cluster
        .until("the start", |this| this.node(2).marks(0) == (4, 9, 9))
        .await;
    let follower = cluster.node(2);
    follower.is_cut_off.store(true, Ordering::Relaxed);
    for _ in 0..19 {
        leader.append(0, "more");
    }
    let last = leader.append(0, "more");
    assert_eq!(leader.committed(last).await, Ok(()));
    leader.partition(0).log.advance_start(25, NOW).unwrap();
    follower.is_cut_off.store(false, Ordering::Relaxed);
    cluster.until_equal().await;
    assert_eq!(follower.marks(0), (25, 29, 29));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn lanes_end_with_what_they_fetch() {
    let (cluster, running) = Cluster::begin();
    cluster.node(1).append(0, "v");
    cluster.until_equal().await;
    let lanes = |id| cluster.node(id).replicas.fetchers().lanes();
    assert_eq!((lanes(1), lanes(2)), (0, 2));
    cluster.elect(2);
    assert_eq!((lanes(1), lanes(2)), (2, 0));
    cluster.node(2).append(0, "w");
    cluster.until_equal().await;
    cluster.change(RemoveTopicRecord { topic_id: TOPIC });
    assert_eq!((lanes(1), lanes(2)), (0, 0));
    running.end().await;
}

/// A reassignment takes the replica away while its directory is made.
#[tokio::test(start_paused = true)]
async fn a_replica_that_is_not_wanted_any_more_when_it_is_made_is_not_followed() {
    let (cluster, running) = Cluster::begin();
    let follower = cluster.node(2);
    let has_log = || {
        let logs = follower.replicas.logs();
        logs.get(&TopicPartition::new("t", 1)).is_some()
    };
    let followed = || follower.replicas.fetchers().followed();
    assert_eq!(followed(), 3);
    cluster.reassign(&[1]);
    follower.work();
    cluster.reassign(&[1, 2]);
    let (piece, place) = follower.replicas.next_piece().unwrap();
    follower.replicas.work_on(&piece, place);
    assert!(follower.replicas.worked(&piece));
    assert!(has_log());
    cluster.reassign(&[1]);
    follower.replicas.finish(&piece, true);
    assert_eq!(followed(), 2);
    follower.work();
    assert!(!has_log());
    running.end().await;
}

/// A reassignment takes the replica away from a node, and brings it back later.
#[tokio::test(start_paused = true)]
async fn a_replica_that_goes_to_other_nodes_is_deleted_here() {
    let (cluster, running) = Cluster::begin();
    for index in 0..PARTITIONS {
        cluster.node(1).append(index, "v");
    }
    cluster.until_equal().await;
    let follower = cluster.node(2);
    let name = TopicPartition::new("t", 1);
    let has_log = || follower.replicas.logs().get(&name).is_some();
    cluster.reassign(&[1]);
    follower.work();
    assert!(!has_log());
    let error = follower.replicas.partition("t", 1).unwrap_err();
    assert_eq!(error, ErrorCode::NotLeaderOrFollower);
    assert!(
        follower
            .replicas
            .logs()
            .get(&TopicPartition::new("t", 0))
            .is_some()
    );
    cluster.node(1).append(1, "w");
    cluster.reassign(&[1, 2]);
    follower.work();
    cluster.until_equal().await;
    running.end().await;
}

/// A story in which logs move between directories, lanes come and go, and leaders change at the same time, by a seed.
struct Story {
    cluster: Cluster,
    chance: Chance,
    leader: BrokerId,
    is_told: bool,
}

impl Story {
    fn below(&self, bound: usize) -> usize {
        let bytes = self.chance.bytes().unwrap();
        (u64::from_ne_bytes(bytes) % bound.max(1) as u64) as usize
    }

    fn node(&self) -> &Arc<Node> {
        self.cluster.node(1 + self.below(2) as BrokerId)
    }

    async fn pause(&self) {
        let most = [0, 3, 60, 1_500][self.below(4)];
        sleep(Duration::from_millis(self.below(most + 1) as u64)).await;
    }

    fn append(&self) {
        let index = self.below(PARTITIONS as usize) as i32;
        let leader = self.cluster.node(self.leader);
        for _ in 0..=self.below(5) {
            let value = format!("of {} {}", self.leader, self.below(1_000_000));
            // A leader whose log is still being cut is none yet.
            if leader.partition(index).leads_in().is_ok() {
                leader.append(index, &value);
            }
        }
    }

    /// Another leader is elected, which lacks the last records of this one.
    async fn elect(&mut self) {
        let before = Arc::clone(self.cluster.node(self.leader));
        if self.below(3) > 0 {
            before.is_cut_off.store(true, Ordering::Relaxed);
            (0..=self.below(4)).for_each(|_| self.append());
            self.pause().await;
        }
        self.leader = 3 - self.leader;
        self.cluster.elect(self.leader);
        (0..self.below(4)).for_each(|_| self.append());
        before.is_cut_off.store(false, Ordering::Relaxed);
    }

    fn set_lanes(&self) {
        let count = 1 + self.below(3);
        self.cluster.change(ConfigRecord {
            resource_type: 4,
            name: "num.replica.fetchers".into(),
            value: Some(count.to_string().into()),
            ..Default::default()
        });
    }

    fn begin_move(&self) {
        let node = self.node();
        let dirs = node.replicas.logs().dirs();
        let path = dirs[self.below(dirs.len())].path.to_str().unwrap();
        let image = self.cluster.image.lock().clone();
        let index = self.below(PARTITIONS as usize) as i32;
        node.replicas.alter_dir(&image, "t", index, path).unwrap();
    }

    fn copy(&self, node: &Node, max_bytes: usize) {
        let round = node.replicas.copy_round(max_bytes);
        for (copy, _) in round.caught_up {
            node.replicas.finish_move(&copy);
        }
    }

    async fn step(&mut self) {
        let what = self.below(18);
        if self.is_told {
            eprintln!(
                "{what}, {} leads: {}",
                self.leader,
                self.cluster.all_marks()
            );
        }
        match what {
            0..=3 => self.append(),
            4..=6 => self.elect().await,
            7..=8 => self.set_lanes(),
            9..=10 => self.begin_move(),
            13 => {
                // The metadata of a broker skip leader epochs.
                self.node().is_deaf.store(true, Ordering::Relaxed);
            }
            14..=15 => self.cluster.hear(self.node()),
            11..=12 => self.copy(self.node(), 1 << self.below(12)),
            _ => {}
        }
        self.pause().await;
    }

    async fn tell(seed: u64, is_told: bool) {
        let (cluster, running) = Cluster::begin_with(LogSettings {
            segment_bytes: 1_000,
            ..LogSettings::default()
        });
        let chance = Chance::seeded(seed);
        let mut story = Self {
            cluster,
            chance,
            leader: 1,
            is_told,
        };
        for _ in 0..60 {
            story.step().await;
        }
        for node in story.cluster.nodes.values() {
            story.cluster.hear(node);
        }
        story.cluster.until_equal().await;
        for node in story.cluster.nodes.values() {
            while !node.replicas.logs().futures().is_empty() {
                story.copy(node, 1 << 20);
            }
            assert!(
                node.replicas
                    .logs()
                    .dirs()
                    .iter()
                    .all(|dir| dir.is_online())
            );
        }
        story.append();
        story.cluster.until_equal().await;
        running.end().await;
    }
}

#[test]
fn logs_that_are_cut_while_they_move_and_lanes_change_become_equal() {
    let tell = |seed, is_told| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(Story::tell(seed, is_told));
    };
    if let Some(seed) = from_environment("MONEDULA_FOLLOW_SEED") {
        return tell(seed, true);
    }
    for seed in seeds_from_environment("MONEDULA_FOLLOW_SEEDS", 20) {
        if std::panic::catch_unwind(|| tell(seed, false)).is_err() {
            panic!("MONEDULA_FOLLOW_SEED={seed} tells what has failed");
        }
    }
}
