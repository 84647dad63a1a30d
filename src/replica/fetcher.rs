//! Following: which partitions are fetched from which broker, and the tasks that fetch them. Kafka's `ReplicaFetcherManager`
//! and `ReplicaFetcherThread`.
//!
//! ```text
//! metadata ──► ReplicaManager ──► Fetchers::assign ──► mailbox of a lane ──► task of the lane
//!                                                                              │ fetches, appends, truncates
//!                                                        Partition ◄───────────┘
//! ```
//! A lane is a connection to one leader with a share of its partitions (`num.replica.fetchers`). Its task never waits for a
//! disk: work that may wait ([`Chore`]) is done on a blocking thread, for all partitions of a round together.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytestring::ByteString;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::follower::Fetch;
use super::lane::{Ask, Key, Lane, Want};
use super::manager::new_throttle;
use super::partition::Partition;
use super::partition::following::{Chore, LeaderAnswer, Step};
use super::throttle::Throttle;
use crate::base::ids::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex};
use crate::base::time::{Timestamp, millis};
use crate::config::broker::BrokerSettings;
use crate::host::task::joined;
use crate::log::error::AppendError;
use crate::log::manager::{Cut, LogManager};
use crate::log::partition_log::PartitionLog;
use crate::log::partition_log::following::Replicated;
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, PartitionData,
    ReplicaState,
};
use crate::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};

/// Timestamps of ListOffsets that ask for the log end offset and for the log start offset.
const LATEST: Timestamp = -1;
const EARLIEST: Timestamp = -2;

/// Setting: bytes per second for all lagging replicas that are throttled on this broker.
const RATE: &str = "follower.replication.throttled.rate";

/// Reason why a leader has not answered.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// Future of an answer.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, NoAnswer>> + Send + 'a>>;

/// A connection to a leader, for one request at a time. After a failure the next request connects again.
pub trait Leader: Send {
    fn fetch<'a>(
        &'a mut self,
        request: &'a FetchRequest,
        within: Duration,
    ) -> Answering<'a, FetchResponse>;

    fn list_offsets<'a>(
        &'a mut self,
        request: &'a ListOffsetsRequest,
        within: Duration,
    ) -> Answering<'a, ListOffsetsResponse>;
}

/// Makes connections to leaders.
pub trait Leaders: Send + Sync {
    /// Returns a connection that is opened by its first request.
    fn connect(&self, leader: BrokerId, client_id: &str) -> Box<dyn Leader>;
}

/// Settings of the broker for fetching from leaders.
#[derive(Clone, Copy, Debug)]
struct Terms {
    lanes: usize,
    wait_max: Duration,
    min_bytes: i32,
    partition_bytes_max: i32,
    response_bytes_max: i32,
    backoff_ms: i64,
    socket_timeout: Duration,
}

impl Terms {
    fn of(settings: &BrokerSettings) -> Self {
        let int = |name| i32::try_from(settings.long(name)).unwrap_or(i32::MAX);
        Self {
            lanes: settings.int("num.replica.fetchers").max(1) as usize,
            wait_max: millis(settings.long("replica.fetch.wait.max.ms")),
            min_bytes: int("replica.fetch.min.bytes"),
            partition_bytes_max: int("replica.fetch.max.bytes"),
            response_bytes_max: int("replica.fetch.response.max.bytes"),
            backoff_ms: settings.long("replica.fetch.backoff.ms"),
            socket_timeout: millis(settings.long("replica.socket.timeout.ms")),
        }
    }
}

/// Assigns partitions to lanes and starts the lanes (see the module). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fetchers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node_id: BrokerId,
    /// Broker epoch of this process's newest registration.
    broker_epoch: AtomicI64,
    logs: Arc<LogManager>,
    state: Mutex<State>,
    /// Throttle of lagging replicas.
    throttle: Mutex<Throttle>,
    /// Notified when a lane must be started.
    bell: Notify,
}

#[derive(Debug)]
struct State {
    terms: Terms,
    lanes: BTreeMap<Route, Assigned>,
    /// Lanes that have no task yet.
    new: Vec<(Route, Arc<Mailbox>)>,
    places: BTreeMap<Key, Place>,
    stopped: bool,
}

/// Id of a leader, and the number of a lane among the lanes to that leader.
type Route = (BrokerId, usize);

#[derive(Debug)]
struct Place {
    partition: Arc<Partition>,
    route: Route,
    epoch: LeaderEpoch,
}

#[derive(Debug)]
struct Assigned {
    mailbox: Arc<Mailbox>,
    /// Number of partitions in the lane.
    count: usize,
}

#[derive(Debug, Default)]
struct Mailbox {
    letters: Mutex<Letters>,
    bell: Notify,
    /// Notified once, when the lane ends.
    end: Notify,
}

#[derive(Debug, Default)]
struct Letters {
    /// Newest change of each partition: the partition and the leader epoch in which it is followed, or `None` if it is not
    /// followed any more.
    changes: BTreeMap<Key, Option<(Arc<Partition>, LeaderEpoch)>>,
    is_closed: bool,
}

impl Mailbox {
    fn put(&self, key: Key, change: Option<(Arc<Partition>, LeaderEpoch)>) {
        self.letters.lock().changes.insert(key, change);
        self.bell.notify_one();
    }

    fn close(&self) {
        self.letters.lock().is_closed = true;
        self.bell.notify_one();
        self.end.notify_one();
    }

    async fn closed(&self) {
        self.end.notified().await;
    }
}

impl Fetchers {
    pub fn new(node_id: BrokerId, logs: Arc<LogManager>, settings: &BrokerSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                node_id,
                broker_epoch: AtomicI64::new(-1),
                logs,
                state: Mutex::new(State {
                    terms: Terms::of(settings),
                    lanes: BTreeMap::new(),
                    new: Vec::new(),
                    places: BTreeMap::new(),
                    stopped: false,
                }),
                throttle: Mutex::new(new_throttle(settings, RATE)),
                bell: Notify::new(),
            }),
        }
    }

    /// Broker epoch that fetches carry (KIP-903); -1 before the first registration.
    pub fn broker_epoch(&self) -> BrokerEpoch {
        self.inner.broker_epoch.load(Ordering::Relaxed)
    }

    pub fn set_broker_epoch(&self, epoch: BrokerEpoch) {
        self.inner.broker_epoch.store(epoch, Ordering::Relaxed);
    }

    /// Updates the assignment after roles of partitions may have changed: adds partitions to lanes, moves them and removes them
    /// in one pass, then closes empty lanes.
    pub fn assign<'a>(&self, partitions: impl IntoIterator<Item = &'a Arc<Partition>>) {
        let mut state = self.inner.state.lock();
        for partition in partitions {
            state.assign(partition);
        }
        state.close_empty();
        if !state.new.is_empty() {
            self.inner.bell.notify_one();
        }
    }

    /// Makes the lane of a partition ask the partition again for its next step, unless it is the lane `but`. That lane may not
    /// have read yet that the partition has left it.
    fn again_elsewhere(&self, partition: &Arc<Partition>, but: &Arc<Mailbox>) {
        let state = self.inner.state.lock();
        if let Some(place) = state.places.get(&partition.key())
            && Arc::ptr_eq(&place.partition, partition)
            && let Some(lane) = state.lanes.get(&place.route)
            && !Arc::ptr_eq(&lane.mailbox, but)
        {
            let follows = (Arc::clone(partition), place.epoch);
            lane.mailbox.put(partition.key(), Some(follows));
        }
    }

    /// Applies the settings of the broker that may change while it runs.
    pub fn set_settings(&self, settings: &BrokerSettings) {
        self.inner.throttle.lock().set_rate(settings.long(RATE));
        let mut state = self.inner.state.lock();
        let before = std::mem::replace(&mut state.terms, Terms::of(settings));
        if before.lanes == state.terms.lanes {
            return;
        }
        let all: Vec<_> = state
            .places
            .values()
            .map(|place| Arc::clone(&place.partition))
            .collect();
        drop(state);
        self.assign(&all);
    }

    /// Number of partitions that are followed.
    #[cfg(test)]
    pub fn followed(&self) -> usize {
        self.inner.state.lock().places.len()
    }

    #[cfg(test)]
    pub fn lanes(&self) -> usize {
        self.inner.state.lock().lanes.len()
    }

    /// task: starts lanes; ends with all of them when `stop` completes.
    pub async fn run(&self, leaders: Arc<dyn Leaders>, stop: impl Future<Output = ()>) {
        let mut tasks = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let new = std::mem::take(&mut self.inner.state.lock().new);
            for ((leader, number), mailbox) in new {
                let client_id = format!("broker-{}-fetcher-{number}", self.inner.node_id);
                let connection = leaders.connect(leader, &client_id);
                let work = Work::new(self, leader, connection, mailbox);
                let threads = &self.inner.logs.host().threads;
                threads.spawn_among(&mut tasks, work.run());
            }
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(done) = tasks.join_next() => joined(done).await,
                () = self.inner.bell.notified() => {}
            }
        }
        {
            let mut state = self.inner.state.lock();
            state.stopped = true;
            state.places.clear();
            state.new.clear();
            for lane in std::mem::take(&mut state.lanes).into_values() {
                lane.mailbox.close();
            }
        }
        // Truncations in progress must finish before the logs are closed.
        while let Some(done) = tasks.join_next().await {
            joined(done).await;
        }
    }

    fn terms(&self) -> Terms {
        self.inner.state.lock().terms
    }

    fn now(&self) -> Timestamp {
        self.inner.logs.host().clock.now()
    }
}

impl State {
    fn assign(&mut self, partition: &Arc<Partition>) {
        if self.stopped {
            return;
        }
        let key = partition.key();
        let lanes = self.terms.lanes;
        let target = partition
            .follows()
            .map(|(leader, epoch)| ((leader, number_of(key, lanes)), epoch));
        let before = self.places.get(&key).map(|place| {
            let is_same = Arc::ptr_eq(&place.partition, partition)
                && Some((place.route, place.epoch)) == target;
            (place.route, is_same)
        });
        match before {
            Some((_, true)) => return,
            None if target.is_none() => return,
            _ => {}
        }
        if let Some((route, _)) = before {
            self.places.remove(&key);
            if let Some(lane) = self.lanes.get_mut(&route) {
                lane.count -= 1;
                lane.mailbox.put(key, None);
            }
        }
        let Some((route, epoch)) = target else {
            return;
        };
        let lane = self.lanes.entry(route).or_insert_with(|| {
            let mailbox = Arc::new(Mailbox::default());
            self.new.push((route, Arc::clone(&mailbox)));
            Assigned { mailbox, count: 0 }
        });
        lane.count += 1;
        let partition = Arc::clone(partition);
        lane.mailbox.put(key, Some((Arc::clone(&partition), epoch)));
        let place = Place {
            partition,
            route,
            epoch,
        };
        self.places.insert(key, place);
    }

    fn close_empty(&mut self) {
        self.lanes.retain(|_, lane| {
            if lane.count == 0 {
                lane.mailbox.close();
            }
            lane.count > 0
        });
    }
}

/// Number of a partition's lane among the lanes to its leader.
fn number_of((topic_id, index): Key, lanes: usize) -> usize {
    let hash = crc32c::crc32c_append(crc32c::crc32c(&topic_id.0), &index.to_be_bytes());
    hash as usize % lanes.max(1)
}

/// State of a lane's task.
struct Work {
    fetchers: Fetchers,
    leader_id: BrokerId,
    leader: Box<dyn Leader>,
    mailbox: Arc<Mailbox>,
    lane: Lane,
    partitions: BTreeMap<Key, (Arc<Partition>, LeaderEpoch)>,
    chores: Vec<(Arc<Partition>, Chore)>,
    /// Partitions that need the log end offset or log start offset of the leader, with the timestamp for ListOffsets.
    questions: Vec<(Key, Timestamp)>,
    /// Partitions that have reached the leader's high watermark, according to the last answers. They are not throttled.
    in_step: BTreeSet<Key>,
    /// Whether the last request got no answer. The failure is logged only once.
    is_lost: bool,
}

impl Work {
    fn new(
        fetchers: &Fetchers,
        leader_id: BrokerId,
        leader: Box<dyn Leader>,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        Self {
            fetchers: fetchers.clone(),
            leader_id,
            leader,
            mailbox,
            lane: Lane::default(),
            partitions: BTreeMap::new(),
            chores: Vec::new(),
            questions: Vec::new(),
            in_step: BTreeSet::new(),
            is_lost: false,
        }
    }

    async fn run(mut self) {
        loop {
            if !self.read_letters() {
                // A truncation that has begun must end: until then the partition takes no step and no role.
                return self.do_chores().await;
            }
            for key in self.lane.due(self.fetchers.now()) {
                self.look(key);
            }
            if !self.chores.is_empty() {
                self.do_chores().await;
                continue;
            }
            let mailbox = Arc::clone(&self.mailbox);
            tokio::select! {
                biased;
                // The next turn reads that the lane has ended.
                () = mailbox.closed() => {}
                () = self.round() => {}
            }
        }
    }

    /// Applies the changes in the mailbox. False if the lane has ended: then it has no partitions, but may have chores.
    fn read_letters(&mut self) -> bool {
        let (changes, is_closed) = {
            let mut letters = self.mailbox.letters.lock();
            (std::mem::take(&mut letters.changes), letters.is_closed)
        };
        if is_closed {
            self.partitions.clear();
            return false;
        }
        for (key, change) in changes {
            match change {
                Some(follows) => {
                    self.partitions.insert(key, follows);
                    self.look(key);
                }
                None => self.leave(key),
            }
        }
        true
    }

    fn leave(&mut self, key: Key) {
        self.partitions.remove(&key);
        self.in_step.remove(&key);
        self.lane.remove(key);
    }

    /// Time until which a throttled partition is not fetched; `None` if it may be fetched now.
    fn held_back(&self, key: Key, partition: &Partition, now: Timestamp) -> Option<Timestamp> {
        if !partition.is_fetched_slowly() || self.in_step.contains(&key) {
            return None;
        }
        self.fetchers.inner.throttle.lock().closed_until(now)
    }

    /// Asks a partition for its next step and queues it.
    fn look(&mut self, key: Key) {
        let Some((partition, epoch)) = self.partitions.get(&key) else {
            return;
        };
        let now = self.fetchers.now();
        let want = match partition.next_step(*epoch, now) {
            Step::Fetch(fetch) => match self.held_back(key, partition, now) {
                Some(until) => Want::WaitUntil(until),
                None => Want::Fetch(fetch),
            },
            Step::WaitUntil(until) => Want::WaitUntil(until),
            Step::Wait => Want::Nothing,
            Step::Do(chore) => {
                self.chores.push((Arc::clone(partition), chore));
                Want::Nothing
            }
            Step::AskEnd => {
                self.questions.push((key, LATEST));
                Want::Nothing
            }
            Step::AskStart => {
                self.questions.push((key, EARLIEST));
                Want::Nothing
            }
        };
        self.lane.set(key, want);
    }

    /// Sends one request to the leader, or waits until there is something to send.
    async fn round(&mut self) {
        if !self.questions.is_empty() {
            return self.ask_offsets().await;
        }
        let now = self.fetchers.now();
        if let Some(ask) = self.lane.ask(now) {
            return self.fetch(ask).await;
        }
        let woken = self.mailbox.bell.notified();
        match self.lane.deadline() {
            Some(deadline) => drop(timeout(millis(deadline.saturating_sub(now)), woken).await),
            None => woken.await,
        }
    }

    async fn fetch(&mut self, ask: Ask) {
        let terms = self.fetchers.terms();
        let request = self.request(&ask, &terms);
        let answer = self.leader.fetch(&request, terms.socket_timeout).await;
        let now = self.fetchers.now();
        let Some(answer) = self.heard(answer) else {
            return self.lane.lost(terms.backoff_ms, now);
        };
        if answer.error_code != 0 {
            let code = code_of(answer.error_code);
            return self.lane.refused(&ask, code, terms.backoff_ms, now);
        }
        let mut parts = Vec::new();
        for topic in answer.responses {
            let id = topic.topic_id;
            let all = topic.partitions.into_iter();
            parts.extend(all.map(|part| ((id, part.partition_index), part)));
        }
        let keys: BTreeSet<Key> = parts.iter().map(|(key, _)| *key).collect();
        let asked: Vec<_> = parts.iter().map(|(key, _)| self.lane.asked(*key)).collect();
        if keys.len() < parts.len() || !self.lane.answered(&ask, answer.session_id, &keys) {
            tracing::warn!(
                leader = self.leader_id,
                "the answer to a fetch does not fit the request"
            );
            return self.lane.lost(terms.backoff_ms, now);
        }
        for ((key, part), asked) in parts.into_iter().zip(asked) {
            if let Some(asked) = asked {
                self.take_in(key, &asked, part, &terms);
            }
            // Many partitions, or large ones, take long: other tasks get a turn.
            tokio::task::consume_budget().await;
        }
    }

    /// Unwraps an answer. The first of several failures in a row is logged, and so is the first answer after them.
    fn heard<T>(&mut self, answer: Result<T, NoAnswer>) -> Option<T> {
        let was_lost = std::mem::replace(&mut self.is_lost, answer.is_err());
        match answer {
            Ok(answer) => {
                if was_lost {
                    tracing::info!(leader = self.leader_id, "the leader answers again");
                }
                Some(answer)
            }
            Err(error) => {
                if !was_lost {
                    tracing::warn!(leader = self.leader_id, %error, "nothing can be fetched from a leader");
                }
                None
            }
        }
    }

    fn request(&self, ask: &Ask, terms: &Terms) -> FetchRequest {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for ((topic_id, index), fetch) in &ask.named {
            let partition = FetchPartition {
                partition: *index,
                current_leader_epoch: fetch.current_leader_epoch,
                fetch_offset: fetch.offset,
                last_fetched_epoch: fetch.last_fetched_epoch,
                log_start_offset: fetch.log_start,
                partition_max_bytes: terms.partition_bytes_max,
                ..Default::default()
            };
            match topics.last_mut() {
                Some(topic) if topic.topic_id == *topic_id => topic.partitions.push(partition),
                _ => topics.push(FetchTopic {
                    topic_id: *topic_id,
                    partitions: vec![partition],
                    ..Default::default()
                }),
            }
        }
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        for (topic_id, index) in &ask.forgotten {
            match forgotten.last_mut() {
                Some(topic) if topic.topic_id == *topic_id => topic.partitions.push(*index),
                _ => forgotten.push(ForgottenTopic {
                    topic_id: *topic_id,
                    partitions: vec![*index],
                    ..Default::default()
                }),
            }
        }
        let inner = &self.fetchers.inner;
        FetchRequest {
            replica_state: ReplicaState {
                replica_id: inner.node_id,
                replica_epoch: self.fetchers.broker_epoch(),
            },
            max_wait_ms: i32::try_from(terms.wait_max.as_millis()).unwrap_or(i32::MAX),
            min_bytes: terms.min_bytes,
            max_bytes: terms.response_bytes_max,
            session_id: ask.session_id,
            session_epoch: ask.session_epoch,
            topics,
            forgotten_topics_data: forgotten,
            ..Default::default()
        }
    }

    fn take_in(&mut self, key: Key, asked: &Fetch, part: PartitionData, terms: &Terms) {
        let Some((partition, _)) = self.partitions.get(&key) else {
            return;
        };
        let bytes = part.records.as_ref().map_or(0, Records::len);
        let committed = part.high_watermark;
        let now = self.fetchers.now();
        let answer = answer_of(part).unwrap_or_else(|error| {
            tracing::warn!(partition = %partition.name(), leader = self.leader_id, %error, "a leader sends records that are damaged");
            LeaderAnswer::Failed(ErrorCode::CorruptMessage)
        });
        let taken = partition.take_in(asked, &answer, terms.backoff_ms, now);
        if partition.is_fetched_slowly() {
            self.fetchers.inner.throttle.lock().note(bytes, now);
            match committed <= partition.log().log_end() {
                true => self.in_step.insert(key),
                false => self.in_step.remove(&key),
            };
        }
        match taken {
            Ok(chores) if chores.is_empty() => self.look(key),
            Ok(chores) => {
                self.lane.set(key, Want::Nothing);
                let partition = Arc::clone(partition);
                let chores = chores.into_iter();
                self.chores
                    .extend(chores.map(|chore| (Arc::clone(&partition), chore)));
            }
            Err(error) => {
                let partition = Arc::clone(partition);
                self.fail(&partition, true, &error);
            }
        }
    }

    /// Stops following a partition, if it is of this lane, until the metadata has a newer epoch for it. The other partitions of
    /// the lane continue.
    fn fail(&mut self, partition: &Partition, is_ours: bool, error: &AppendError) {
        tracing::error!(partition = %partition.name(), %error, "a replica cannot follow its leader any more");
        if is_ours {
            self.leave(partition.key());
        }
    }

    /// Asks for log end offsets and log start offsets (ListOffsets).
    async fn ask_offsets(&mut self) {
        let terms = self.fetchers.terms();
        let mut questions = std::mem::take(&mut self.questions);
        questions.retain(|(key, _)| self.partitions.contains_key(key));
        let mut topics: BTreeMap<Arc<str>, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for ((_, index), timestamp, partition, epoch) in self.asking(&questions) {
            let topic = topics.entry(Arc::clone(&partition.topic)).or_default();
            topic.push(ListOffsetsPartition {
                partition_index: index,
                current_leader_epoch: epoch,
                timestamp,
                ..Default::default()
            });
        }
        if topics.is_empty() {
            return;
        }
        let topics = topics
            .into_iter()
            .map(|(name, partitions)| ListOffsetsTopic {
                name: (*name).into(),
                partitions,
            });
        let request = ListOffsetsRequest {
            replica_id: self.fetchers.inner.node_id,
            topics: topics.collect(),
            ..Default::default()
        };
        let answer = self
            .leader
            .list_offsets(&request, terms.socket_timeout)
            .await;
        let answer = self.heard(answer);
        let now = self.fetchers.now();
        let mut found = BTreeMap::new();
        for topic in answer.into_iter().flat_map(|answer| answer.topics) {
            for part in topic.partitions {
                let offset = match code_of(part.error_code) {
                    ErrorCode::None if part.offset >= 0 => Ok(part.offset),
                    ErrorCode::None => Err(ErrorCode::UnknownServerError),
                    code => Err(code),
                };
                found.insert((topic.name.clone(), part.partition_index), offset);
            }
        }
        let mut chores = Vec::new();
        for ((_, index), timestamp, partition, epoch) in self.asking(&questions) {
            let place: (ByteString, PartitionIndex) = ((*partition.topic).into(), index);
            let chore = match found.get(&place).copied() {
                Some(Ok(end)) if timestamp == LATEST => partition.leader_ends_at(epoch, end),
                Some(Ok(start)) => partition.leader_starts_at(epoch, start),
                refused => {
                    let code = refused.and_then(Result::err);
                    let code = code.unwrap_or(ErrorCode::NetworkException);
                    partition.was_refused(epoch, code, terms.backoff_ms, now);
                    None
                }
            };
            chores.extend(chore.map(|chore| (Arc::clone(partition), chore)));
        }
        let at_work: BTreeSet<Key> = chores
            .iter()
            .map(|(partition, _)| partition.key())
            .collect();
        self.chores.extend(chores);
        for (key, _) in questions {
            if !at_work.contains(&key) {
                self.look(key);
            }
        }
    }

    fn asking<'a>(
        &'a self,
        questions: &'a [(Key, Timestamp)],
    ) -> impl Iterator<Item = (Key, Timestamp, &'a Arc<Partition>, LeaderEpoch)> {
        questions.iter().filter_map(|(key, timestamp)| {
            let (partition, epoch) = self.partitions.get(key)?;
            Some((*key, *timestamp, partition, *epoch))
        })
    }

    /// Does the pending chores on a blocking thread, then asks the partitions for their next steps.
    async fn do_chores(&mut self) {
        let chores = std::mem::take(&mut self.chores);
        if chores.is_empty() {
            return;
        }
        let (inner, now) = (Arc::clone(&self.fetchers.inner), self.fetchers.now());
        let threads = &self.fetchers.inner.logs.host().threads;
        let work = move || do_all(&inner.logs, chores, now);
        let done = threads.blocking(work).await;
        for Done {
            partition,
            result,
            has_news,
        } in done
        {
            let key = partition.key();
            let is_ours = self
                .partitions
                .get(&key)
                .is_some_and(|(one, _)| Arc::ptr_eq(one, &partition));
            if has_news {
                self.fetchers.assign([&partition]);
            }
            match result {
                Err(error) => self.fail(&partition, is_ours, &error),
                Ok(()) if is_ours => self.look(key),
                Ok(()) => {}
            }
            // The partition may have moved to another lane, which waits for the end of this chore.
            self.fetchers.again_elsewhere(&partition, &self.mailbox);
        }
    }
}

/// Result of a partition's chore.
struct Done {
    partition: Arc<Partition>,
    result: Result<(), AppendError>,
    /// The metadata changed the partition's role during a truncation; the change takes effect now.
    has_news: bool,
}

fn do_all(logs: &LogManager, chores: Vec<(Arc<Partition>, Chore)>, now: Timestamp) -> Vec<Done> {
    let cut = |(partition, chore): &(Arc<Partition>, Chore)| match chore {
        Chore::Cut(cut) => Some((Arc::clone(&partition.log), *cut)),
        Chore::Flush(_) | Chore::DeleteBefore(_) => None,
    };
    let cuts: Vec<(Arc<PartitionLog>, Cut)> = chores.iter().filter_map(cut).collect();
    for (log, cut) in &cuts {
        tracing::info!(partition = %log.partition(), end = log.reader().log_end(), ?cut, "a replica gives up what its leader does not have");
    }
    let mut results = logs.cut(&cuts).into_iter();
    let done = chores.into_iter().map(|(partition, chore)| {
        let log = &partition.log;
        let mut has_news = false;
        let result = match chore {
            Chore::Cut(_) => {
                let result = results.next().unwrap_or(Ok(())).map_err(AppendError::from);
                has_news = partition.was_cut(now);
                result
            }
            Chore::Flush(end) => log.flush_up_to(end, now),
            Chore::DeleteBefore(start) => log
                .advance_start(start, now)
                .map(drop)
                .map_err(AppendError::from),
        };
        Done {
            partition,
            result,
            has_news,
        }
    });
    done.collect()
}

fn code_of(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError)
}

/// Converts a leader's answer for one partition. Records are checked.
fn answer_of(part: PartitionData) -> Result<LeaderAnswer, AppendError> {
    if part.error_code != 0 {
        return Ok(LeaderAnswer::Failed(code_of(part.error_code)));
    }
    // All other fields of a diverging answer belong to another history and are ignored (KAFKA-14704).
    if part.diverging_epoch.epoch >= 0 {
        return Ok(LeaderAnswer::Diverging {
            epoch: part.diverging_epoch.epoch,
            end_offset: part.diverging_epoch.end_offset,
        });
    }
    let records = part.records.map(|records| records.bytes());
    let records = Replicated::check(records.unwrap_or_default())?;
    if records.is_cut_off() {
        return Err(AppendError::refused(
            ErrorCode::CorruptMessage,
            "an answer without a whole batch",
        ));
    }
    Ok(LeaderAnswer::Records {
        records,
        high_watermark: part.high_watermark,
        log_start: part.log_start_offset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{Offset, TopicPartition, Uuid};
    use crate::host::Host;
    use crate::log::manager::ManagerSettings;
    use crate::log::settings::LogSettings;
    use crate::replica::leader::{Assignment, Rules};
    use crate::replica::partition::News;
    use crate::wire::batch::builder::BatchBuilder;
    use crate::wire::message::fetch::EpochEndOffset;

    fn part(records: Vec<u8>) -> PartitionData {
        PartitionData {
            high_watermark: 7,
            log_start_offset: 2,
            records: Some(Records::Bytes(records.into())),
            ..Default::default()
        }
    }

    fn batch() -> Vec<u8> {
        let mut builder = BatchBuilder::default().at(3, 1);
        builder.push(1_000, None, Some(b"v"));
        builder.build().to_vec()
    }

    #[test]
    fn kafka_14704_of_an_answer_that_says_where_logs_part_nothing_else_is_used() {
        let answer = answer_of(PartitionData {
            diverging_epoch: EpochEndOffset {
                epoch: 0,
                end_offset: 5,
            },
            ..part(batch())
        });
        let diverging = LeaderAnswer::Diverging {
            epoch: 0,
            end_offset: 5,
        };
        assert_eq!(format!("{:?}", answer.unwrap()), format!("{diverging:?}"));
    }

    #[test]
    fn records_that_are_damaged_or_not_whole_are_refused() {
        let marks = |answer| match answer {
            LeaderAnswer::Records {
                records,
                high_watermark,
                log_start,
            } => (records.batches().len(), high_watermark, log_start),
            other => panic!("{other:?}"),
        };
        let cut_off = batch()[..65].to_vec();
        let two_and_a_half = [batch(), batch(), cut_off.clone()].concat();
        assert_eq!(marks(answer_of(part(two_and_a_half)).unwrap()), (2, 7, 2));
        assert_eq!(marks(answer_of(part(Vec::new())).unwrap()), (0, 7, 2));
        let mut damaged = batch();
        damaged[65] ^= 1;
        for records in [damaged, cut_off, vec![7; 100]] {
            let error = answer_of(part(records)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::CorruptMessage);
        }
    }

    struct NoLeader;

    impl Leader for NoLeader {
        fn fetch<'a>(
            &'a mut self,
            _: &'a FetchRequest,
            _: Duration,
        ) -> Answering<'a, FetchResponse> {
            Box::pin(std::future::pending())
        }

        fn list_offsets<'a>(
            &'a mut self,
            _: &'a ListOffsetsRequest,
            _: Duration,
        ) -> Answering<'a, ListOffsetsResponse> {
            Box::pin(std::future::pending())
        }
    }

    /// A partition that follows broker 2 in epoch 6, with two records of epoch 5 and a lane for it.
    struct Stage {
        _dir: tempfile::TempDir,
        fetchers: Fetchers,
        partition: Arc<Partition>,
    }

    const NOW: Timestamp = 1_000_000;

    fn lanes(count: i32) -> BrokerSettings {
        let overrides = [("num.replica.fetchers".to_owned(), count.to_string())];
        BrokerSettings::new(overrides.into())
    }

    impl Stage {
        fn new(settings: LogSettings) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let id = Uuid([9; 16]);
            let dirs = vec![(dir.path().to_owned(), Ok(id))];
            let host = Host::simulated(NOW, 1);
            let logs = LogManager::open(&host, dirs, ManagerSettings::default()).unwrap();
            // With two lanes the partition is in the second one, with a single one in the first.
            let index = (0..).find(|index| number_of((id, *index), 2) == 1).unwrap();
            let name = TopicPartition::new("t", index);
            let log = logs.get_or_create(&name, id, id, &settings, NOW).unwrap();
            let mut records = Vec::new();
            for offset in 0..2 {
                let mut builder = BatchBuilder::default().at(offset, 5);
                builder.push(NOW, None, Some(b"v"));
                records.extend_from_slice(&builder.build());
            }
            let records = Replicated::check(records.into()).unwrap();
            log.append_as_follower(&records, 2, NOW).unwrap().unwrap();
            let news = News {
                assignment: Assignment {
                    leader: 2,
                    epoch: 6,
                    partition_epoch: 6,
                    replicas: &[1, 2],
                    isr: &[1, 2],
                },
                rules: Rules {
                    min_isr: 1,
                    lag_max_ms: 30_000,
                },
                alive: &|_| None,
                now: NOW,
            };
            let partition = Partition::new("t".into(), id, index, log, 1, &news);
            let fetchers = Fetchers::new(1, Arc::new(logs), &lanes(2));
            let partition = Arc::new(partition);
            fetchers.assign([&partition]);
            Self {
                _dir: dir,
                fetchers,
                partition,
            }
        }

        /// The only lane that has no task yet.
        fn lane(&self) -> Work {
            let (_, mailbox) = self.fetchers.inner.state.lock().new.pop().unwrap();
            Work::new(&self.fetchers, 2, Box::new(NoLeader), mailbox)
        }

        fn fetches_from(&self) -> Option<Offset> {
            match self.partition.next_step(6, NOW) {
                Step::Fetch(fetch) => Some(fetch.offset),
                _ => None,
            }
        }

        /// A lane whose last answer says that the log is to be cut at 1.
        fn about_to_cut(&self) -> Work {
            let mut work = self.lane();
            assert!(work.read_letters());
            let Step::Fetch(asked) = self.partition.next_step(6, NOW) else {
                panic!("{:?}", self.partition);
            };
            let diverging = PartitionData {
                partition_index: self.partition.index,
                diverging_epoch: EpochEndOffset {
                    epoch: 5,
                    end_offset: 1,
                },
                ..Default::default()
            };
            let (key, terms) = (self.partition.key(), self.fetchers.terms());
            work.take_in(key, &asked, diverging, &terms);
            assert!(!work.chores.is_empty());
            work
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_truncation_that_has_begun_ends_though_its_lane_is_closed() {
        let stage = Stage::new(LogSettings::default());
        let work = stage.about_to_cut();
        stage.fetchers.set_settings(&lanes(1));
        assert_eq!(stage.fetches_from(), None);
        work.run().await;
        assert_eq!(stage.fetches_from(), Some(1));
        let mut other = stage.lane();
        assert!(other.read_letters());
        assert_eq!(other.lane.ask(NOW).unwrap().named.len(), 1);
    }

    /// The new lane was told to wait, and the old one has not read yet that it has lost the partition.
    #[tokio::test(start_paused = true)]
    async fn a_lane_that_waits_for_a_truncation_in_another_one_hears_of_its_end() {
        let stage = Stage::new(LogSettings::default());
        let mut work = stage.about_to_cut();
        stage.fetchers.set_settings(&lanes(1));
        let mut other = stage.lane();
        assert!(other.read_letters());
        assert_eq!(other.lane.ask(NOW), None);
        work.do_chores().await;
        assert!(other.read_letters());
        let ask = other.lane.ask(NOW).unwrap();
        assert_eq!(ask.named[0].1.offset, 1);
    }
}
