//! pure: decides which controller an observer fetches the metadata log from, in which epoch, and how an answer is used.
//!
//! An answer that contradicts known facts is refused: the epoch never goes back, an epoch has one leader, records continue at
//! the end of the log, and committed records are neither truncated nor replaced.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::base::ids::{BrokerId, LeaderEpoch, Offset, Uuid};
use crate::config::listener::host_and_port;
use crate::metadata::quorum::Leadership;
use crate::metadata::quorum::upkeep::SnapshotId;
use crate::peer::backoff::Backoff;
use crate::wire::batch::header::{BatchHeader, HEADER_SIZE};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::fetch::{
    self, FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData, ReplicaState,
};
use crate::wire::message::fetch_snapshot::{
    self, FetchSnapshotRequest, FetchSnapshotRequestPartitionSnapshot,
    FetchSnapshotRequestTopicSnapshot, FetchSnapshotResponse,
};

/// Topic name of the metadata log.
const TOPIC: &str = "__cluster_metadata";
/// Longest time in milliseconds that a controller may hold a fetch without new records.
const WAIT_MS: i32 = 500;
/// Size limit of a snapshot in bytes. No metadata of a real cluster are larger, and a larger one would only fill the disk.
const SNAPSHOT_BYTES_MAX: i64 = 16 << 30;
/// Largest step from a known epoch to a newer one. An epoch is written down before its leader has proved anything, and whoever named
/// one near the end of all numbers would keep this node from its controllers for ever.
const EPOCHS_AT_ONCE_MAX: i64 = 1_000_000;
/// Largest offset at which a snapshot may end, for the same reason.
const SNAPSHOT_END_MAX: Offset = 1 << 62;
/// Longest pause after a failure.
const PAUSE_MAX_MS: u32 = 1_000;

/// Parameters that do not change while the node runs.
#[derive(Clone, Debug)]
pub struct Setup {
    pub cluster_id: String,
    pub node_id: BrokerId,
    /// Id of the metadata log's directory.
    pub directory_id: Uuid,
    /// Bootstrap servers as `host:port`, which know the leader; not empty.
    pub bootstrap: Vec<String>,
    /// Addresses of the controllers, if the settings have them (`controller.quorum.voters`).
    pub voters: BTreeMap<BrokerId, String>,
    /// `controller.quorum.fetch.max.bytes`: size limit of an answer with records, in bytes.
    pub fetch_bytes_max: i32,
    /// `controller.quorum.fetch.snapshot.max.bytes`: size limit of a piece of a snapshot, in bytes.
    pub snapshot_bytes_max: i32,
    /// `controller.quorum.retry.backoff.ms`: pause after the first failure.
    pub retry_ms: u32,
}

/// The end of the log and its epochs.
pub trait Tail {
    fn end(&self) -> Offset;

    /// Epoch of the last record; 0 if there is none.
    fn epoch(&self) -> LeaderEpoch;

    /// The largest epoch in the log that is at most `epoch`, and its end offset.
    fn end_of(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)>;
}

/// Action that the task carries out; its result is reported to the machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Errand {
    Pause(Duration),
    Fetch {
        to: String,
        request: FetchRequest,
    },
    FetchSnapshot {
        to: String,
        request: FetchSnapshotRequest,
    },
}

/// Effect of an answer on the files.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Append these whole batches, which continue at the end of the log. Afterwards all records below the high watermark are
    /// committed.
    Append {
        records: Bytes,
        high_watermark: Offset,
    },
    /// Truncate the log at this offset.
    Truncate(Offset),
    /// Begin to fetch a snapshot, which will replace the log.
    Begin(SnapshotId),
    /// Next piece of that snapshot.
    Piece { bytes: Bytes, is_last: bool },
}

/// Reason why an answer is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Expected failure: the controller is not the leader, or did not answer.
    Elsewhere(String),
    /// The answer contradicts known facts, or itself.
    Wrong(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Elsewhere(what) | Self::Wrong(what)) = self;
        f.write_str(what)
    }
}

/// State of a snapshot that is being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Download {
    id: SnapshotId,
    position: i64,
    /// Total size in bytes, from the first piece.
    size: Option<i64>,
}

/// State of an observer; see the module.
#[derive(Debug)]
pub struct Observer {
    setup: Setup,
    leadership: Leadership,
    /// Whether the leadership has changed and is not on disk yet.
    is_news: bool,
    leader_address: Option<String>,
    /// Whether the last answer has changed the leader's address.
    is_told: bool,
    /// The leader did not answer last time: bootstrap servers are asked whether there is a new one.
    doubted: bool,
    /// Index of the next bootstrap server.
    turn: usize,
    /// All records below this offset are committed.
    high_watermark: Offset,
    /// Whether a leader has sent a high watermark since the node started.
    heard_high_watermark: bool,
    download: Option<Download>,
    /// Number of consecutive failures.
    failures: u32,
    pause: Option<Duration>,
}

impl Observer {
    /// Continues from the files. `committed` is the end of the newest snapshot.
    pub fn new(setup: Setup, leadership: Leadership, committed: Offset) -> Self {
        assert!(!setup.bootstrap.is_empty(), "somebody can be asked");
        let mut this = Self {
            setup,
            leadership,
            is_news: false,
            leader_address: None,
            is_told: false,
            doubted: false,
            turn: 0,
            high_watermark: committed,
            heard_high_watermark: false,
            download: None,
            failures: 0,
            pause: None,
        };
        let leader = this.leadership.leader;
        this.leader_address = leader.and_then(|id| this.setup.voters.get(&id).cloned());
        this
    }

    pub fn leadership(&self) -> Leadership {
        self.leadership
    }

    /// The changed leadership, if there is one. It must be written to disk before the next errand.
    pub fn news(&mut self) -> Option<Leadership> {
        std::mem::take(&mut self.is_news).then_some(self.leadership)
    }

    /// Address of the leader; `None` if unknown.
    pub fn leader_address(&self) -> Option<&str> {
        self.leader_address.as_deref()
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The snapshot that is being fetched.
    pub fn fetches(&self) -> Option<SnapshotId> {
        self.download.map(|download| download.id)
    }

    /// Whether a leader has sent a high watermark.
    pub fn knows_high_watermark(&self) -> bool {
        self.heard_high_watermark
    }

    /// The next errand. Its result must be reported before `next` is called again.
    pub fn next(&mut self, tail: &impl Tail) -> Errand {
        if let Some(pause) = self.pause.take().filter(|pause| !pause.is_zero()) {
            return Errand::Pause(pause);
        }
        let leader = self.leader_address.as_ref().filter(|_| !self.doubted);
        let to = match leader {
            Some(leader) => leader.clone(),
            None => self.next_server(),
        };
        match self.download.filter(|_| !self.doubted) {
            Some(download) => Errand::FetchSnapshot {
                to,
                request: self.snapshot_request(download),
            },
            None => Errand::Fetch {
                to,
                request: self.fetch_request(tail),
            },
        }
    }

    fn next_server(&mut self) -> String {
        let servers = &self.setup.bootstrap;
        let server = servers[self.turn % servers.len()].clone();
        self.turn = (self.turn + 1) % servers.len();
        server
    }

    fn fetch_request(&self, tail: &impl Tail) -> FetchRequest {
        let setup = &self.setup;
        let partition = FetchPartition {
            partition: 0,
            current_leader_epoch: self.leadership.epoch,
            fetch_offset: tail.end(),
            last_fetched_epoch: tail.epoch(),
            replica_directory_id: setup.directory_id,
            high_watermark: match self.heard_high_watermark {
                true => self.high_watermark,
                false => -1,
            },
            ..Default::default()
        };
        FetchRequest {
            cluster_id: Some(setup.cluster_id.as_str().into()),
            replica_state: ReplicaState {
                replica_id: setup.node_id,
                replica_epoch: -1,
            },
            max_wait_ms: WAIT_MS,
            max_bytes: self.setup.fetch_bytes_max,
            topics: vec![FetchTopic {
                topic: TOPIC.into(),
                topic_id: Uuid::METADATA_TOPIC,
                partitions: vec![partition],
            }],
            ..Default::default()
        }
    }

    fn snapshot_request(&self, download: Download) -> FetchSnapshotRequest {
        let setup = &self.setup;
        let partition = FetchSnapshotRequestPartitionSnapshot {
            partition: 0,
            current_leader_epoch: self.leadership.epoch,
            snapshot_id: fetch_snapshot::SnapshotId {
                end_offset: download.id.end,
                epoch: download.id.epoch,
            },
            position: download.position,
            replica_directory_id: setup.directory_id,
        };
        FetchSnapshotRequest {
            cluster_id: Some(setup.cluster_id.as_str().into()),
            replica_id: setup.node_id,
            max_bytes: self.setup.snapshot_bytes_max,
            topics: vec![FetchSnapshotRequestTopicSnapshot {
                name: TOPIC.into(),
                partitions: vec![partition],
            }],
        }
    }

    /// Reports that there was no answer. `chance` is a random byte, here and in the functions below.
    pub fn failed(&mut self, what: String, chance: u8) -> Refused {
        self.refuse(Refused::Elsewhere(what), chance)
    }

    /// Handles an answer to Fetch.
    pub fn fetched(
        &mut self,
        answer: &FetchResponse,
        tail: &impl Tail,
        chance: u8,
    ) -> Result<Step, Refused> {
        let judged = self.judge(answer, tail);
        self.settle(judged, chance)
    }

    /// Handles an answer to FetchSnapshot.
    pub fn snapshot_fetched(
        &mut self,
        answer: &FetchSnapshotResponse,
        chance: u8,
    ) -> Result<Step, Refused> {
        let judged = self.judge_piece(answer);
        if judged.is_err() {
            // The leader may have removed the snapshot: the next fetch tells what is available.
            self.download = None;
        }
        self.settle(judged, chance)
    }

    /// Reports that the records of [`Step::Append`] are in the log, and the log's new end.
    pub fn appended(&mut self, high_watermark: Offset, end: Offset) {
        if high_watermark >= 0 {
            self.high_watermark = self.high_watermark.max(high_watermark.min(end));
            self.heard_high_watermark = true;
        }
    }

    /// Reports that the snapshot has replaced the log.
    pub fn installed(&mut self, id: SnapshotId) {
        self.download = None;
        self.high_watermark = self.high_watermark.max(id.end);
    }

    /// Reports that the fetched snapshot is invalid.
    pub fn spoiled(&mut self, chance: u8) {
        self.download = None;
        self.put_off(chance);
    }

    fn settle(&mut self, judged: Result<Step, Refused>, chance: u8) -> Result<Step, Refused> {
        match judged {
            Ok(step) => {
                self.failures = 0;
                self.doubted = false;
                self.is_told = false;
                Ok(step)
            }
            Err(why) => Err(self.refuse(why, chance)),
        }
    }

    /// Chooses another controller and a pause; there is no pause if the answer has just named the leader.
    fn refuse(&mut self, why: Refused, chance: u8) -> Refused {
        let is_told = std::mem::take(&mut self.is_told) && matches!(why, Refused::Elsewhere(_));
        if is_told && self.failures == 0 {
            self.failures = 1;
            self.doubted = false;
            return why;
        }
        // A newly named leader is asked next. A leader that did not answer is asked again only after a bootstrap server was
        // asked.
        self.doubted = !is_told && !self.doubted;
        self.put_off(chance);
        why
    }

    fn put_off(&mut self, chance: u8) {
        let retry = Backoff {
            first_ms: self.setup.retry_ms,
            longest_ms: PAUSE_MAX_MS.max(self.setup.retry_ms),
        };
        self.pause = Some(retry.pause(self.failures, chance));
        self.failures = self.failures.saturating_add(1);
    }

    fn judge(&mut self, answer: &FetchResponse, tail: &impl Tail) -> Result<Step, Refused> {
        accept(answer.error_code)?;
        let [topic] = &answer.responses[..] else {
            return Err(wrong(format!(
                "answers for {} topics",
                answer.responses.len()
            )));
        };
        let [partition] = &topic.partitions[..] else {
            return Err(wrong(format!(
                "answers for {} partitions",
                topic.partitions.len()
            )));
        };
        if topic.topic_id != Uuid::METADATA_TOPIC || partition.partition_index != 0 {
            return Err(wrong("answers for another partition".to_owned()));
        }
        let leader = &partition.current_leader;
        let mut endpoints = answer.node_endpoints.iter();
        let endpoint = endpoints.find(|node| node.node_id == leader.leader_id);
        let endpoint = endpoint.and_then(|node| address(&node.host, node.port));
        self.heed(leader.leader_id, leader.leader_epoch, endpoint)?;
        accept(partition.error_code)?;
        self.judge_records(partition, tail)
    }

    fn judge_records(&self, partition: &PartitionData, tail: &impl Tail) -> Result<Step, Refused> {
        let fetch::EpochEndOffset { epoch, end_offset } = partition.diverging_epoch;
        if epoch >= 0 || end_offset >= 0 {
            return self.judge_divergence(epoch, end_offset, tail);
        }
        let fetch::SnapshotId { end_offset, epoch } = partition.snapshot_id;
        if end_offset >= 0 || epoch >= 0 {
            let id = SnapshotId {
                end: end_offset,
                epoch,
            };
            return self.judge_snapshot(id);
        }
        let records = partition.records.as_ref().map(|records| records.bytes());
        let records = records.unwrap_or_default();
        let whole = whole_batches(&records, tail, self.leadership.epoch).map_err(wrong)?;
        Ok(Step::Append {
            records: records.slice(..whole),
            high_watermark: partition.high_watermark,
        })
    }

    /// Truncation for a diverging answer. Kafka: `KafkaRaftLog.truncateToEndOffset`.
    fn judge_divergence(
        &self,
        epoch: LeaderEpoch,
        end: Offset,
        tail: &impl Tail,
    ) -> Result<Step, Refused> {
        let cut = match tail.end_of(epoch) {
            Some((own, own_end)) if own == epoch => own_end.min(end),
            Some((_, own_end)) => own_end,
            None => end,
        };
        if cut < self.high_watermark {
            return Err(wrong(format!(
                "wants the log to be cut at {cut}, though it is committed up to {}: is this another cluster, or did the controllers lose records?",
                self.high_watermark
            )));
        }
        if cut >= tail.end() {
            let own = tail.end();
            return Err(wrong(format!(
                "wants the log to be cut at {cut}, and it ends at {own}"
            )));
        }
        Ok(Step::Truncate(cut))
    }

    fn judge_snapshot(&self, id: SnapshotId) -> Result<Step, Refused> {
        let SnapshotId { end, epoch } = id;
        if !(1..=SNAPSHOT_END_MAX).contains(&end) || !(0..=self.leadership.epoch).contains(&epoch) {
            return Err(wrong(format!("offers a snapshot that cannot be: {id}")));
        }
        if end < self.high_watermark {
            return Err(wrong(format!(
                "offers the snapshot {id}, though more is committed, up to {}",
                self.high_watermark
            )));
        }
        Ok(Step::Begin(id))
    }

    /// Reports that the files are ready for a snapshot.
    pub fn begun(&mut self, id: SnapshotId) {
        self.download = Some(Download {
            id,
            position: 0,
            size: None,
        });
    }

    fn judge_piece(&mut self, answer: &FetchSnapshotResponse) -> Result<Step, Refused> {
        accept(answer.error_code)?;
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let (Some(partition), None) = (partitions.next(), partitions.next()) else {
            return Err(wrong("answers for no partition, or for several".to_owned()));
        };
        let leader = &partition.current_leader;
        let mut endpoints = answer.node_endpoints.iter();
        let endpoint = endpoints.find(|node| node.node_id == leader.leader_id);
        let endpoint = endpoint.and_then(|node| address(&node.host, node.port.into()));
        // The field defaults to 0 and not to -1 when it is left out, so the leader is only taken from answers with an error.
        if partition.error_code != 0 {
            self.heed(leader.leader_id, leader.leader_epoch, endpoint)?;
        }
        accept(partition.error_code)?;
        let Some(download) = &mut self.download else {
            return Err(wrong("sends a snapshot that nobody asked for".to_owned()));
        };
        let (asked, sent) = (download.id, &partition.snapshot_id);
        if (asked.end, asked.epoch) != (sent.end_offset, sent.epoch)
            || partition.position != download.position
        {
            return Err(wrong(format!(
                "sends snapshot {}-{} from byte {}, and was asked for {asked} from byte {}",
                sent.end_offset, sent.epoch, partition.position, download.position
            )));
        }
        let size = *download.size.get_or_insert(partition.size);
        if size != partition.size || !(1..=SNAPSHOT_BYTES_MAX).contains(&size) {
            return Err(wrong(format!(
                "says that snapshot {asked} has {} bytes",
                partition.size
            )));
        }
        let bytes = partition.unaligned_records.bytes();
        let position = download.position + bytes.len() as i64;
        if bytes.is_empty() || position > size {
            return Err(wrong(format!(
                "sends {} bytes of snapshot {asked} from byte {} of {size} on",
                bytes.len(),
                download.position
            )));
        }
        download.position = position;
        Ok(Step::Piece {
            bytes,
            is_last: position == size,
        })
    }

    /// Applies the leader and epoch of an answer. Errors: the epoch is old or new, or contradicts the known leader.
    fn heed(
        &mut self,
        leader: BrokerId,
        epoch: LeaderEpoch,
        endpoint: Option<String>,
    ) -> Result<(), Refused> {
        if epoch < 0 {
            return Ok(());
        }
        let leader = (leader >= 0).then_some(leader);
        if leader == Some(self.setup.node_id) {
            // An observer is no voter: nobody can have elected it.
            return Err(wrong(format!("says that this node leads epoch {epoch}")));
        }
        let known = self.leadership;
        if epoch < known.epoch {
            return Err(Refused::Elsewhere(format!(
                "is in epoch {epoch}, and epoch {} has begun",
                known.epoch
            )));
        }
        if epoch == known.epoch
            && let (Some(one), Some(other)) = (known.leader, leader)
            && one != other
        {
            return Err(wrong(format!(
                "says that {other} leads epoch {epoch}, and {one} does"
            )));
        }
        if i64::from(epoch) - i64::from(known.epoch) > EPOCHS_AT_ONCE_MAX {
            return Err(wrong(format!(
                "says that epoch {epoch} has begun, and {} was the last one: no quorum holds so many elections",
                known.epoch
            )));
        }
        let is_new = epoch > known.epoch;
        if is_new {
            self.leader_address = None;
            // Controllers of the new epoch may have other snapshots.
            self.download = None;
        }
        if is_new || known.leader.is_none() && leader.is_some() {
            self.leadership = Leadership { epoch, leader };
            self.is_news = true;
        }
        let said = leader.and_then(|id| endpoint.or_else(|| self.setup.voters.get(&id).cloned()));
        if said.is_some() {
            self.is_told = said != self.leader_address;
            self.leader_address = said;
        }
        match is_new {
            // The answer belongs to an epoch that the request did not name.
            true => Err(Refused::Elsewhere(format!("is in epoch {epoch} already"))),
            false => Ok(()),
        }
    }
}

/// `host:port`, if host and port are valid.
fn address(host: &str, port: i32) -> Option<String> {
    const HOST_MAX: usize = 255;
    let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
    if host.is_empty() || host.len() > HOST_MAX {
        return None;
    }
    Some(host_and_port(host, port))
}

fn wrong(what: String) -> Refused {
    Refused::Wrong(what)
}

fn accept(code: i16) -> Result<(), Refused> {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::None) => Ok(()),
        Some(
            known @ (ErrorCode::NotLeaderOrFollower
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::BrokerNotAvailable
            | ErrorCode::SnapshotNotFound
            | ErrorCode::PositionOutOfRange),
        ) => Err(Refused::Elsewhere(format!("answers {known:?}"))),
        Some(ErrorCode::InconsistentClusterId) => {
            Err(wrong("is a controller of another cluster".to_owned()))
        }
        Some(known) => Err(wrong(format!("answers {known:?}"))),
        None => Err(wrong(format!("answers with the unknown error {code}"))),
    }
}

/// Length of the whole batches that may be appended to the log. The last batch may be cut off.
fn whole_batches(records: &[u8], tail: &impl Tail, newest: LeaderEpoch) -> Result<usize, String> {
    let (mut next, mut epoch) = (tail.end(), tail.epoch());
    let mut whole = 0;
    while let Some(rest) = records.get(whole..)
        && rest.len() >= HEADER_SIZE
    {
        let sent = |what: String| format!("sends at offset {next} what is no batch: {what}");
        let header = BatchHeader::parse(rest).map_err(|error| sent(error.to_string()))?;
        let Some(batch) = rest.get(..header.size()) else {
            break;
        };
        header
            .verify(batch)
            .map_err(|error| sent(error.to_string()))?;
        if header.base_offset != next || header.next_offset() <= next {
            return Err(format!(
                "sends offsets {} to {}, and the log ends at {next}",
                header.base_offset,
                header.last_offset()
            ));
        }
        if !(epoch..=newest).contains(&header.leader_epoch) {
            return Err(format!(
                "sends a batch of epoch {} at offset {next}, behind epoch {epoch} and in epoch {newest}",
                header.leader_epoch
            ));
        }
        (next, epoch) = (header.next_offset(), header.leader_epoch);
        whole += batch.len();
    }
    match whole {
        0 if !records.is_empty() => Err(format!(
            "sends {} bytes without a whole batch",
            records.len()
        )),
        whole => Ok(whole),
    }
}
