//! An observer with a small simulated controller: the answers that it accepts, its files, and its images.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, mpsc};

use super::machine::{Errand, Observer, Refused, Setup, Step, Tail};
use super::member::ObserverQuorum;
use super::task::{Heard, Line};
use crate::base::ids::{BrokerId, LeaderEpoch, Offset, Uuid};
use crate::host::chance::Chance;
use crate::host::disk::Disk;
use crate::metadata::batches::{control_batch, data_batch};
use crate::metadata::bootstrap::{self, METADATA_VERSION};
use crate::metadata::image::Image;
use crate::metadata::loader::{Loader, read_snapshot};
use crate::metadata::quorum::tests::upkeep;
use crate::metadata::quorum::upkeep::{SnapshotId, Upkeep};
use crate::metadata::quorum::voters::{KRAFT_VERSION, VOTERS, VoterSet};
use crate::metadata::quorum::{Leadership, Quorum, state};
use crate::metadata::record::Record;
use crate::metadata::record::schema::{
    AbortTransactionRecord, BeginTransactionRecord, EndTransactionRecord, NoOpRecord, TopicRecord,
};
use crate::metadata::remote::LeaderAt;
use crate::metadata::snapshots;
use crate::wire::batch::header::stamp;
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::embedded::{KRaftVersionRecord, VotersRecord, VotersVoter};
use crate::wire::message::fetch::{
    self, FetchRequest, FetchResponse, FetchableTopicResponse, NodeEndpoint, PartitionData,
};
use crate::wire::message::fetch_snapshot::{
    self, FetchSnapshotRequest, FetchSnapshotResponse, FetchSnapshotResponsePartitionSnapshot,
    FetchSnapshotResponseTopicSnapshot,
};

const NOW: i64 = 1_000_000;
const SERVER: &str = "boot:9093";

fn topic(number: u8) -> Record {
    let record = TopicRecord {
        name: format!("t{number}").into(),
        topic_id: Uuid([number; 16]),
    };
    record.into()
}

fn no_op() -> Record {
    NoOpRecord {}.into()
}

fn stamped(batch: Bytes, base: Offset, epoch: LeaderEpoch) -> Bytes {
    let mut batch = BytesMut::from(&batch[..]);
    stamp(&mut batch, base, epoch);
    batch.freeze()
}

/// A simulated controller that leads, with its log in memory.
struct Leader {
    id: BrokerId,
    epoch: LeaderEpoch,
    /// Base offset, epoch and bytes of each batch.
    log: Vec<(Offset, LeaderEpoch, Bytes)>,
    end: Offset,
    high_watermark: Offset,
    snapshot: Option<(SnapshotId, Bytes)>,
}

impl Leader {
    fn new(id: BrokerId, epoch: LeaderEpoch) -> Self {
        Self {
            id,
            epoch,
            log: Vec::new(),
            end: 0,
            high_watermark: -1,
            snapshot: None,
        }
    }

    fn append(&mut self, records: &[Record]) {
        let (batch, _) = data_batch(records, METADATA_VERSION, NOW).unwrap();
        self.push(batch, records.len());
    }

    fn push(&mut self, batch: Bytes, count: usize) {
        let batch = stamped(batch, self.end, self.epoch);
        self.log.push((self.end, self.epoch, batch));
        self.end += count as Offset;
    }

    fn commit(&mut self, records: &[Record]) {
        self.append(records);
        self.high_watermark = self.end;
    }

    fn cut(&mut self, end: Offset) {
        self.log.retain(|(base, ..)| *base < end);
        self.end = end;
    }

    /// The largest epoch that is at most `epoch`, and its end offset.
    fn end_of(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let later = self.log.iter().find(|(_, of, _)| *of > epoch);
        let known = self.log.iter().filter(|(_, of, _)| *of <= epoch);
        let end = later.map_or(self.end, |(base, ..)| *base);
        (known.map(|(_, of, _)| *of).max().unwrap_or(0), end)
    }

    fn fetch(&self, request: &FetchRequest) -> FetchResponse {
        let asked = &request.topics[0].partitions[0];
        let mut partition = PartitionData {
            high_watermark: self.high_watermark,
            ..Default::default()
        };
        partition.current_leader = fetch::LeaderIdAndEpoch {
            leader_id: self.id,
            leader_epoch: self.epoch,
        };
        let (known, end) = self.end_of(asked.last_fetched_epoch);
        if asked.current_leader_epoch < self.epoch {
            partition.error_code = ErrorCode::FencedLeaderEpoch.code();
        } else if let Some((id, _)) = &self.snapshot
            && asked.fetch_offset < id.end
        {
            partition.snapshot_id = fetch::SnapshotId {
                end_offset: id.end,
                epoch: id.epoch,
            };
        } else if known != asked.last_fetched_epoch && asked.fetch_offset > 0
            || end < asked.fetch_offset
        {
            partition.diverging_epoch = fetch::EpochEndOffset {
                epoch: known,
                end_offset: end,
            };
        } else {
            let wanted = self
                .log
                .iter()
                .filter(|(base, ..)| *base >= asked.fetch_offset);
            let bytes: Vec<u8> = wanted.flat_map(|(_, _, bytes)| bytes.to_vec()).collect();
            partition.records = Some(Records::Bytes(bytes.into()));
        }
        answer(partition, &[(self.id, &format!("c{}", self.id), 9_093)])
    }

    fn fetch_snapshot(&self, request: &FetchSnapshotRequest) -> FetchSnapshotResponse {
        let asked = &request.topics[0].partitions[0];
        let mut partition = FetchSnapshotResponsePartitionSnapshot {
            snapshot_id: fetch_snapshot::SnapshotId {
                end_offset: asked.snapshot_id.end_offset,
                epoch: asked.snapshot_id.epoch,
            },
            position: asked.position,
            ..Default::default()
        };
        match &self.snapshot {
            Some((id, bytes)) if id.end == asked.snapshot_id.end_offset => {
                let from = asked.position as usize;
                let to = bytes.len().min(from + bytes.len() / 3 + 1);
                partition.size = bytes.len() as i64;
                partition.unaligned_records = Records::Bytes(bytes.slice(from..to));
            }
            _ => partition.error_code = ErrorCode::SnapshotNotFound.code(),
        }
        FetchSnapshotResponse {
            topics: vec![FetchSnapshotResponseTopicSnapshot {
                name: "__cluster_metadata".into(),
                partitions: vec![partition],
            }],
            ..Default::default()
        }
    }
}

fn answer(partition: PartitionData, nodes: &[(BrokerId, &str, i32)]) -> FetchResponse {
    let nodes = nodes.iter().map(|(node_id, host, port)| NodeEndpoint {
        node_id: *node_id,
        host: (*host).into(),
        port: *port,
        rack: None,
    });
    FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic_id: Uuid::METADATA_TOPIC,
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: nodes.collect(),
        ..Default::default()
    }
}

fn setup() -> Setup {
    Setup {
        cluster_id: "a-cluster".to_owned(),
        node_id: 5,
        directory_id: Uuid([9; 16]),
        bootstrap: vec![SERVER.to_owned()],
        voters: Default::default(),
        fetch_bytes_max: 1 << 20,
        snapshot_bytes_max: 1 << 20,
        retry_ms: 20,
    }
}

/// An observer and the task's ends of its channels.
struct Scene {
    quorum: ObserverQuorum,
    loader: Loader,
    errands: mpsc::Receiver<Errand>,
    heard: mpsc::Sender<Heard>,
}

impl Scene {
    fn open(dir: &Path) -> Self {
        Self::try_open(dir, upkeep()).unwrap()
    }

    fn try_open(dir: &Path, upkeep: Upkeep) -> Result<Self, String> {
        let (errands, to_carry) = mpsc::channel(1);
        let (tell, heard) = mpsc::channel(1);
        let line = Line {
            errands,
            heard,
            arrivals: Arc::new(Notify::new()),
        };
        let chance = Chance::seeded(1);
        let disk = Disk::default();
        let opened = ObserverQuorum::open(disk.dir(dir), setup(), line, chance, false, upkeep, NOW);
        let (quorum, image) = opened.map_err(|error| error.to_string())?;
        Ok(Self {
            quorum,
            loader: Loader::new(image),
            errands: to_carry,
            heard: tell,
        })
    }

    /// Carries one errand to the leader; returns the address that it was for.
    fn turn(&mut self, leader: &Leader) -> String {
        let errand = self.errands.try_recv().unwrap();
        let (from, heard) = match errand {
            Errand::Pause(_) => (String::new(), Heard::Nothing),
            Errand::Fetch { to, request } => {
                let answer = leader.fetch(&request);
                (to.clone(), Heard::Fetched { from: to, answer })
            }
            Errand::FetchSnapshot { to, request } => {
                let answer = leader.fetch_snapshot(&request);
                (to.clone(), Heard::SnapshotFetched { from: to, answer })
            }
        };
        self.hear(heard);
        from
    }

    fn hear(&mut self, heard: Heard) {
        self.heard.try_send(heard).unwrap();
        self.loader.take(self.quorum.committed(NOW).unwrap());
    }

    /// Carries errands until the observer has everything that the leader has committed.
    fn follow(&mut self, leader: &Leader) {
        for _ in 0..20 {
            self.turn(leader);
            if self.quorum.is_caught_up() && self.loader.image().offset + 1 >= leader.high_watermark
            {
                return;
            }
        }
        panic!("{:?}", self.quorum);
    }

    fn image(&self) -> &Image {
        self.loader.image()
    }

    fn topics(&self) -> Vec<String> {
        let topics = self.image().topics.iter();
        topics.map(|topic| topic.name.to_string()).collect()
    }
}

/// A leader with one topic, and an observer that has the topic.
fn followed(dir: &Path) -> (Leader, Scene) {
    let mut leader = Leader::new(1, 3);
    leader.commit(&[topic(1)]);
    let mut scene = Scene::open(dir);
    scene.follow(&leader);
    (leader, scene)
}

#[test]
fn the_leader_is_found_and_only_what_is_committed_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let mut leader = Leader::new(1, 3);
    leader.commit(&bootstrap::records(false));
    leader.commit(&[topic(1)]);
    leader.append(&[topic(2)]);
    let mut scene = Scene::open(dir.path());
    let whereabouts = scene.quorum.leader_at();
    assert_eq!(scene.turn(&leader), SERVER);
    // The refusal had the leader's address. The new epoch is on disk before any controller is asked in it.
    let at = LeaderAt {
        epoch: 3,
        leader: Some(1),
        address: Some("c1:9093".to_owned()),
    };
    assert_eq!(*whereabouts.borrow(), at);
    let inside = dir.path().join("__cluster_metadata-0");
    let written = state::read(&Disk::default(), &inside).unwrap();
    assert_eq!((written.epoch, written.leader), (3, Some(1)));
    assert_eq!(scene.turn(&leader), "c1:9093");
    assert!(scene.quorum.is_caught_up());
    assert_eq!(scene.topics(), ["t1"]);
    assert_eq!(scene.image().metadata_version(), METADATA_VERSION);
    leader.high_watermark = leader.end;
    scene.turn(&leader);
    assert_eq!(scene.topics(), ["t1", "t2"]);
    assert_eq!(
        (scene.image().offset, scene.image().epoch),
        (leader.end - 1, 3)
    );
}

#[test]
fn what_another_leader_does_not_have_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut leader = Leader::new(1, 3);
    leader.commit(&[topic(1)]);
    leader.append(&[topic(2), topic(3)]);
    let mut scene = Scene::open(dir.path());
    scene.follow(&leader);
    assert_eq!(scene.topics(), ["t1"]);
    // The leader dies together with records that only it and the observer had.
    leader.cut(1);
    (leader.id, leader.epoch) = (2, 4);
    leader.commit(&[topic(4)]);
    for _ in 0..4 {
        scene.turn(&leader);
    }
    assert_eq!(scene.topics(), ["t1", "t4"]);
    assert_eq!(scene.image().offset, 1);
    // Committed records are never truncated, whatever a leader says.
    let wants = PartitionData {
        diverging_epoch: fetch::EpochEndOffset {
            epoch: 3,
            end_offset: 0,
        },
        ..Default::default()
    };
    drop(scene.errands.try_recv());
    scene.hear(Heard::Fetched {
        from: "liar".to_owned(),
        answer: answer(wants, &[]),
    });
    assert_eq!(scene.topics(), ["t1", "t4"]);
    scene.turn(&leader);
    scene.turn(&leader);
    leader.commit(&[topic(5)]);
    scene.follow(&leader);
    assert_eq!(scene.topics(), ["t1", "t4", "t5"]);
}

#[test]
fn a_restart_goes_on_where_the_log_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (mut leader, mut scene) = followed(dir.path());
    scene.quorum.close().unwrap();
    drop(scene);
    leader.commit(&[topic(2)]);
    let mut scene = Scene::open(dir.path());
    // No record counts as committed before a leader confirms it.
    assert!(scene.topics().is_empty() && !scene.quorum.is_caught_up());
    let errand = scene.errands.try_recv().unwrap();
    let Errand::Fetch { request, to } = errand else {
        panic!("{errand:?}");
    };
    let asked = &request.topics[0].partitions[0];
    assert_eq!((asked.fetch_offset, asked.last_fetched_epoch), (1, 3));
    assert_eq!((asked.current_leader_epoch, asked.high_watermark), (3, -1));
    let answer = leader.fetch(&request);
    scene.hear(Heard::Fetched { from: to, answer });
    assert_eq!(scene.topics(), ["t1", "t2"]);
}

fn snapshot_of(records: &[Record], id: SnapshotId) -> Bytes {
    let mut image = Image::empty();
    for record in records {
        image.apply(record, 0, &mut Default::default());
    }
    let voters = VoterSet {
        kraft_version: Some(KRaftVersionRecord {
            k_raft_version: 1,
            ..Default::default()
        }),
        voters: Some(voters(1)),
    };
    (image.offset, image.epoch) = (id.end - 1, id.epoch);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.checkpoint");
    snapshots::write(&Disk::default(), &path, &image, &voters, NOW).unwrap();
    fs::read(path).unwrap().into()
}

fn voters(id: BrokerId) -> VotersRecord {
    VotersRecord {
        voters: vec![VotersVoter {
            voter_id: id,
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Voters in a snapshot.
fn voters_in(dir: &Path, id: SnapshotId) -> VoterSet {
    let inside = dir.join("__cluster_metadata-0");
    let path = inside.join(format!("{id}.checkpoint"));
    let (_, found, read) = read_snapshot(&Disk::default(), &path, id);
    read.unwrap();
    found
}

fn names_in(dir: &Path) -> Vec<String> {
    let inside = dir.join("__cluster_metadata-0");
    let entries = fs::read_dir(inside).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains(".checkpoint")).collect();
    names.sort();
    names
}

#[test]
fn a_snapshot_takes_the_place_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut leader, mut scene) = followed(dir.path());
    // The observer's topic is deleted, and the leader's log begins much later.
    let id = SnapshotId { end: 500, epoch: 3 };
    let mut records = bootstrap::records(false);
    records.extend([topic(7), topic(8)]);
    leader.snapshot = Some((id, snapshot_of(&records, id)));
    leader.cut(0);
    leader.end = 500;
    leader.commit(&[topic(9)]);
    scene.turn(&leader);
    assert_eq!(names_in(dir.path()), [format!("{id}.checkpoint.part")]);
    assert_eq!(scene.topics(), ["t1"]);
    for _ in 0..3 {
        scene.turn(&leader);
    }
    assert_eq!(names_in(dir.path()), [format!("{id}.checkpoint")]);
    assert_eq!(scene.topics(), ["t7", "t8"]);
    assert_eq!(scene.image().offset, 499);
    scene.follow(&leader);
    assert_eq!(scene.topics(), ["t7", "t8", "t9"]);
    drop(scene);
    // After a crash the snapshot and the log behind it are found.
    let mut scene = Scene::open(dir.path());
    assert_eq!(scene.topics(), ["t7", "t8"]);
    scene.follow(&leader);
    assert_eq!(scene.topics(), ["t7", "t8", "t9"]);
    // A snapshot that the observer writes has the voters too.
    scene.quorum.snapshot(scene.loader.image(), NOW).unwrap();
    let found = voters_in(dir.path(), SnapshotId { end: 501, epoch: 3 });
    assert_eq!((found.is_dynamic(), found.voters), (true, Some(voters(1))));
}

/// The snapshot is complete, and the log still has its old end.
#[test]
fn a_crash_before_the_log_begins_anew_is_mended_by_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (mut leader, scene) = followed(dir.path());
    drop(scene);
    let id = SnapshotId { end: 500, epoch: 3 };
    let inside = dir.path().join("__cluster_metadata-0");
    let snapshot = snapshot_of(&[topic(7)], id);
    fs::write(inside.join(format!("{id}.checkpoint")), &snapshot).unwrap();
    let unfinished = SnapshotId { end: 600, epoch: 3 };
    fs::write(
        inside.join(format!("{unfinished}.checkpoint.part")),
        b"half",
    )
    .unwrap();
    leader.cut(0);
    leader.end = 500;
    leader.commit(&[topic(9)]);
    let mut scene = Scene::open(dir.path());
    assert_eq!(names_in(dir.path()), [format!("{id}.checkpoint")]);
    assert_eq!(scene.topics(), ["t7"]);
    scene.follow(&leader);
    assert_eq!(scene.topics(), ["t7", "t9"]);
}

#[test]
fn a_snapshot_that_is_none_is_fetched_again_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut leader, mut scene) = followed(dir.path());
    let id = SnapshotId { end: 500, epoch: 3 };
    let good = snapshot_of(&[topic(7)], id);
    let mut bad = good.to_vec();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    leader.snapshot = Some((id, bad.into()));
    leader.end = 500;
    leader.high_watermark = 500;
    for _ in 0..4 {
        scene.turn(&leader);
    }
    assert!(names_in(dir.path()).is_empty());
    assert_eq!(
        (scene.topics(), scene.image().offset),
        (vec!["t1".to_owned()], 0)
    );
    leader.snapshot = Some((id, good));
    scene.follow(&leader);
    assert_eq!(scene.topics(), ["t7"]);
}

/// The temporary file of a snapshot can be large.
#[test]
fn a_snapshot_that_is_not_fetched_to_its_end_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let (mut leader, mut scene) = followed(dir.path());
    // The leader has a newer snapshot before the first is complete.
    leader.commit(&[topic(2)]);
    let log = leader.log.clone();
    for end in [500, 600] {
        let id = SnapshotId { end, epoch: 3 };
        leader.snapshot = Some((id, snapshot_of(&[topic(7)], id)));
        leader.end = end;
        for _ in 0..10 {
            if names_in(dir.path()) == [format!("{id}.checkpoint.part")] {
                break;
            }
            scene.turn(&leader);
        }
        assert_eq!(names_in(dir.path()), [format!("{id}.checkpoint.part")]);
    }
    // The next leader needs no snapshot.
    (leader.id, leader.epoch, leader.snapshot) = (2, 4, None);
    (leader.log, leader.end) = (log, 2);
    scene.follow(&leader);
    assert_eq!(scene.topics(), ["t1", "t2"]);
    assert!(names_in(dir.path()).is_empty());
}

#[test]
fn a_metadata_transaction_counts_as_a_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut leader = Leader::new(1, 3);
    let mut scene = Scene::open(dir.path());
    leader.commit(&[topic(1)]);
    leader.commit(&[BeginTransactionRecord::default().into(), topic(2)]);
    leader.commit(&[topic(3)]);
    scene.turn(&leader);
    scene.turn(&leader);
    assert_eq!(
        (scene.topics(), scene.image().offset),
        (vec!["t1".to_owned()], 0)
    );
    // A snapshot during a transaction has the state from before it; the records after it are read again.
    scene.quorum.snapshot(scene.loader.image(), NOW).unwrap();
    drop(scene);
    let mut scene = Scene::open(dir.path());
    assert_eq!(scene.topics(), ["t1"]);
    leader.commit(&[EndTransactionRecord {}.into(), topic(4)]);
    scene.turn(&leader);
    assert_eq!(scene.topics(), ["t1", "t2", "t3", "t4"]);
    leader.commit(&[BeginTransactionRecord::default().into(), topic(5)]);
    leader.commit(&[AbortTransactionRecord::default().into(), no_op()]);
    scene.turn(&leader);
    assert_eq!(scene.topics(), ["t1", "t2", "t3", "t4"]);
    assert_eq!(scene.image().offset, leader.end - 1);
}

#[test]
fn voters_in_the_log_are_kept_in_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let mut leader = Leader::new(1, 3);
    let version = KRaftVersionRecord {
        k_raft_version: 1,
        ..Default::default()
    };
    let version = control_batch(KRAFT_VERSION, &version, NOW).unwrap();
    leader.push(version.build(), 1);
    let set = control_batch(VOTERS, &voters(4), NOW).unwrap();
    leader.push(set.build(), 1);
    leader.commit(&[topic(1)]);
    let mut scene = Scene::open(dir.path());
    scene.follow(&leader);
    assert_eq!(scene.topics(), ["t1"]);
    scene.quorum.snapshot(scene.loader.image(), NOW).unwrap();
    let found = voters_in(dir.path(), SnapshotId { end: 3, epoch: 3 });
    assert_eq!(found.voters, Some(voters(4)));
}

#[test]
fn a_snapshot_of_its_own_is_due_by_what_was_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let upkeep = Upkeep {
        snapshot_bytes: 200,
        snapshot_ms: 0,
        retention_bytes: 1,
        segment_bytes: 1_000,
        ..upkeep()
    };
    let mut leader = Leader::new(1, 3);
    leader.append(&[topic(1), topic(2), topic(3), topic(4), topic(5), topic(6)]);
    let mut scene = Scene::try_open(dir.path(), upkeep).unwrap();
    scene.turn(&leader);
    scene.turn(&leader);
    // No new record is committed, so no snapshot is due.
    assert_eq!(scene.quorum.snapshot_wait(NOW), None);
    leader.high_watermark = leader.end;
    scene.turn(&leader);
    assert_eq!(scene.quorum.snapshot_wait(NOW), Some(0));
    scene.quorum.snapshot(scene.loader.image(), NOW).unwrap();
    assert_eq!(scene.quorum.snapshot_wait(NOW), None);
    assert_eq!(names_in(dir.path()).len(), 1);
}

/// A log end for tests of the machine alone.
struct Plain {
    end: Offset,
    epoch: LeaderEpoch,
}

impl Tail for Plain {
    fn end(&self) -> Offset {
        self.end
    }

    fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    fn end_of(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        (epoch <= self.epoch).then_some((self.epoch.min(epoch), self.end))
    }
}

const TAIL: Plain = Plain { end: 10, epoch: 3 };

/// An observer in epoch 3 of leader 1; 8 of 10 records are committed.
fn observer() -> Observer {
    let leadership = Leadership {
        epoch: 3,
        leader: Some(1),
    };
    let mut observer = Observer::new(setup(), leadership, 0);
    observer.appended(8, 10);
    observer
}

fn batch(base: Offset, epoch: LeaderEpoch) -> Vec<u8> {
    let (batch, _) = data_batch(&[topic(1)], METADATA_VERSION, NOW).unwrap();
    stamped(batch, base, epoch).to_vec()
}

fn good() -> PartitionData {
    let mut good = PartitionData {
        high_watermark: 9,
        records: Some(Records::Bytes([batch(10, 3), batch(11, 3)].concat().into())),
        ..Default::default()
    };
    good.current_leader = fetch::LeaderIdAndEpoch {
        leader_id: 1,
        leader_epoch: 3,
    };
    good
}

/// Checks that a modified answer is refused with a message, and that it changes nothing.
#[track_caller]
fn check(change: impl Fn(&mut FetchResponse), expected: &str) {
    let mut observer = observer();
    let mut lie = answer(good(), &[(1, "c1", 9_093)]);
    change(&mut lie);
    let refused = observer.fetched(&lie, &TAIL, 0).unwrap_err();
    assert!(matches!(refused, Refused::Wrong(_)), "{refused:?}");
    assert!(refused.to_string().contains(expected), "{refused}");
    assert_eq!(observer.high_watermark(), 8);
    assert_eq!(
        (observer.leadership().epoch, observer.leadership().leader),
        (3, Some(1))
    );
    // Another controller is asked after a pause.
    assert!(matches!(observer.next(&TAIL), Errand::Pause(_)));
}

fn partition(answer: &mut FetchResponse) -> &mut PartitionData {
    &mut answer.responses[0].partitions[0]
}

#[test]
fn a_controller_that_lies_is_not_believed() {
    let mut observer = observer();
    let step = observer.fetched(&answer(good(), &[]), &TAIL, 0).unwrap();
    assert!(
        matches!(
            step,
            Step::Append {
                high_watermark: 9,
                ..
            }
        ),
        "{step:?}"
    );

    check(|lie| lie.error_code = 104, "of another cluster");
    check(|lie| lie.error_code = -1, "UnknownServerError");
    check(|lie| lie.error_code = 12_345, "unknown error 12345");
    check(|lie| lie.responses.clear(), "answers for 0 topics");
    check(
        |lie| lie.responses[0].partitions.clear(),
        "for 0 partitions",
    );
    check(
        |lie| lie.responses[0].topic_id = Uuid([4; 16]),
        "another partition",
    );
    check(
        |lie| partition(lie).partition_index = 1,
        "another partition",
    );
    // Two leaders in one epoch.
    check(
        |lie| partition(lie).current_leader.leader_id = 2,
        "2 leads epoch 3, and 1 does",
    );
    check(
        |lie| {
            partition(lie).current_leader = fetch::LeaderIdAndEpoch {
                leader_id: setup().node_id,
                leader_epoch: 4,
            };
        },
        "says that this node leads epoch 4",
    );
    let epoch = |leader_epoch| {
        move |lie: &mut FetchResponse| {
            partition(lie).current_leader = fetch::LeaderIdAndEpoch {
                leader_id: 2,
                leader_epoch,
            };
        }
    };
    check(epoch(i32::MAX), "no quorum holds so many elections");
    check(epoch(1_000_004), "no quorum holds so many elections");
    let diverging = |epoch, end_offset| {
        move |lie: &mut FetchResponse| {
            partition(lie).diverging_epoch = fetch::EpochEndOffset { epoch, end_offset };
        }
    };
    check(diverging(3, 7), "cut at 7, though it is committed up to 8");
    check(diverging(3, -1), "cut at -1");
    check(diverging(3, i64::MAX), "and it ends at 10");
    check(diverging(i32::MAX, 11), "and it ends at 10");
    let snapshot = |end_offset, epoch| {
        move |lie: &mut FetchResponse| {
            partition(lie).snapshot_id = fetch::SnapshotId { end_offset, epoch };
        }
    };
    check(snapshot(7, 3), "though more is committed, up to 8");
    check(snapshot(20, 4), "cannot be");
    check(snapshot(20, -1), "cannot be");
    check(snapshot(-1, 3), "cannot be");
    check(snapshot((1 << 62) + 1, 3), "cannot be");
    let records = |bytes: Vec<u8>| {
        move |lie: &mut FetchResponse| {
            partition(lie).records = Some(Records::Bytes(bytes.clone().into()));
        }
    };
    let changed = |at: usize, bytes: &[u8]| {
        let mut batch = batch(10, 3);
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        batch
    };
    check(records(changed(70, b"x")), "no batch");
    check(records(changed(16, &[1])), "no batch");
    check(
        records(changed(8, &i32::MAX.to_be_bytes())),
        "without a whole batch",
    );
    check(records(changed(8, &[0xff; 4])), "no batch");
    check(
        records(batch(11, 3)),
        "offsets 11 to 11, and the log ends at 10",
    );
    check(records(batch(9, 3)), "offsets 9 to 9");
    check(
        records(batch(10, 2)),
        "epoch 2 at offset 10, behind epoch 3",
    );
    check(records(batch(10, 4)), "epoch 4 at offset 10");
    check(
        records([batch(10, 3), batch(10, 3)].concat()),
        "the log ends at 11",
    );
    check(records(vec![0; 20]), "without a whole batch");
}

#[test]
fn the_high_watermark_never_goes_back_nor_beyond_the_log() {
    let mut observer = observer();
    observer.appended(3, 10);
    assert_eq!(observer.high_watermark(), 8);
    observer.appended(-1, 10);
    assert_eq!(observer.high_watermark(), 8);
    observer.appended(i64::MAX, 10);
    assert_eq!(observer.high_watermark(), 10);
}

#[test]
fn a_newer_epoch_counts_and_an_older_one_does_not() {
    let said = |leader_id, leader_epoch| {
        let mut partition = good();
        partition.error_code = ErrorCode::NotLeaderOrFollower.code();
        partition.current_leader = fetch::LeaderIdAndEpoch {
            leader_id,
            leader_epoch,
        };
        answer(partition, &[(2, "c2", 9_093)])
    };
    let mut observer = observer();
    let old = observer.fetched(&said(2, 2), &TAIL, 0).unwrap_err();
    assert!(matches!(old, Refused::Elsewhere(_)), "{old}");
    assert_eq!(observer.news(), None);
    drop(observer.next(&TAIL));
    drop(observer.fetched(&said(2, 4), &TAIL, 0).unwrap_err());
    let news = observer.news().unwrap();
    assert_eq!((news.epoch, news.leader), (4, Some(2)));
    assert_eq!(observer.leader_address(), Some("c2:9093"));
    // Without an address in the answer, a bootstrap server is asked for it.
    let mut observer = self::observer();
    drop(observer.fetched(&said(7, 9), &TAIL, 0).unwrap_err());
    assert_eq!(observer.leader_address(), None);
    assert_eq!(observer.news().unwrap().epoch, 9);
    let next = std::iter::repeat_with(|| observer.next(&TAIL)).find_map(|errand| match errand {
        Errand::Fetch { to, request } => Some((to, request)),
        _ => None,
    });
    let (to, request) = next.unwrap();
    assert_eq!(to, SERVER);
    assert_eq!(request.topics[0].partitions[0].current_leader_epoch, 9);
}

#[test]
fn a_leader_that_does_not_answer_is_not_the_only_one_who_is_asked() {
    let mut observer = observer();
    let mut asked = Vec::new();
    let mut known = answer(good(), &[(1, "c1", 9_093)]);
    partition(&mut known).error_code = ErrorCode::NotLeaderOrFollower.code();
    for _ in 0..8 {
        let to = match observer.next(&TAIL) {
            Errand::Pause(_) => continue,
            Errand::Fetch { to, .. } | Errand::FetchSnapshot { to, .. } => to,
        };
        match &*to {
            SERVER => drop(observer.fetched(&known, &TAIL, 0).unwrap_err()),
            _ => drop(observer.failed("silence".to_owned(), 0)),
        }
        asked.push(to);
    }
    assert_eq!(asked, [SERVER, "c1:9093", SERVER, "c1:9093", SERVER]);
}

#[test]
fn a_snapshot_that_does_not_go_together_is_not_believed() {
    let id = SnapshotId { end: 20, epoch: 3 };
    let piece = |size: i64, position: i64, len: usize, end: Offset| FetchSnapshotResponse {
        topics: vec![FetchSnapshotResponseTopicSnapshot {
            name: "__cluster_metadata".into(),
            partitions: vec![FetchSnapshotResponsePartitionSnapshot {
                snapshot_id: fetch_snapshot::SnapshotId {
                    end_offset: end,
                    epoch: 3,
                },
                size,
                position,
                unaligned_records: Records::Bytes(vec![0; len].into()),
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let begun = || {
        let mut observer = observer();
        observer.begun(id);
        observer
    };
    let mut observer = begun();
    let step = observer
        .snapshot_fetched(&piece(100, 0, 60, 20), 0)
        .unwrap();
    assert!(matches!(step, Step::Piece { is_last: false, .. }));
    let step = observer
        .snapshot_fetched(&piece(100, 60, 40, 20), 0)
        .unwrap();
    assert!(matches!(step, Step::Piece { is_last: true, .. }));
    for (first, then, expected) in [
        (
            piece(100, 0, 60, 21),
            None,
            "was asked for 00000000000000000020",
        ),
        (piece(100, 5, 60, 20), None, "from byte 5"),
        (piece(0, 0, 60, 20), None, "has 0 bytes"),
        (piece(-1, 0, 60, 20), None, "has -1 bytes"),
        (piece(i64::MAX, 0, 60, 20), None, "bytes"),
        (piece(50, 0, 60, 20), None, "sends 60 bytes"),
        (piece(100, 0, 0, 20), None, "sends 0 bytes"),
        (
            piece(100, 0, 60, 20),
            Some(piece(90, 60, 30, 20)),
            "has 90 bytes",
        ),
    ] {
        let mut observer = begun();
        let mut judged = observer.snapshot_fetched(&first, 0);
        if let Some(then) = then {
            judged.unwrap();
            judged = observer.snapshot_fetched(&then, 0);
        }
        let refused = judged.unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
        // The next fetch asks what is available.
        assert!(matches!(observer.next(&TAIL), Errand::Pause(_)));
        assert!(matches!(observer.next(&TAIL), Errand::Fetch { .. }));
    }
}

/// The directory belongs to another cluster, or the controllers have lost their log.
#[test]
fn a_log_that_the_leader_does_not_have_is_not_thrown_away_below_its_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut leader = Leader::new(1, 3);
    leader.commit(&[topic(1), topic(2)]);
    let mut scene = Scene::open(dir.path());
    scene.follow(&leader);
    scene.quorum.snapshot(scene.loader.image(), NOW).unwrap();
    drop(scene);
    let mut scene = Scene::open(dir.path());
    let mut other = Leader::new(1, 9);
    other.commit(&[topic(5)]);
    for _ in 0..6 {
        scene.turn(&other);
    }
    assert_eq!(scene.topics(), ["t1", "t2"]);
    assert!(!scene.quorum.is_caught_up());
}
