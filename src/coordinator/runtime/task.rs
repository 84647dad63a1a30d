//! task: owns the shards of the partitions that this node leads; no other code touches them.
//!
//! One round: take requests from the queue, let the shards decide, append each shard's records as one batch, and send the
//! answers whose records are committed. Batches grow by themselves when requests arrive faster than appends complete.
//!
//! A long round, such as one with a request that names thousands of partitions, is run by a thread of a pool. The coordinator's
//! other partitions wait for it meanwhile, but other tasks of the runtime do not. The pool is for coordinators only: behind the
//! long requests of clients a round would have to wait for its turn, and with it all groups.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::loader::{self, LoadError, Loaded};
use super::log::{Append, RecordLog, Wake};
use super::shard::{IN_PLACE_MAX, Marker, Moment, Output, RawRecord, Shard, Ticket, total_cost};
use crate::base::ids::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId};
use crate::base::time::millis;
use crate::base::work_pool::WorkPool;
use crate::host::Host;
use crate::host::task::{Halt, guarded};
use crate::metadata::image::{Delta, Image};
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::compression::Compression;
use crate::wire::batch::header::HEADER_SIZE;
use crate::wire::error_code::ErrorCode;

/// Limit of the requests in one round: enough to fill a batch, few enough that the first request does not wait long for the
/// last.
const ROUND_MAX: usize = 256;
/// Cost at which a round takes no more requests, so that many small requests do not make a long round.
const FULL: usize = IN_PLACE_MAX / 2;
/// Cost of a round after which the task yields its thread to other tasks.
const YIELDED: usize = IN_PLACE_MAX / 8;
/// Factor by which compression raises the cost of records.
const COMPRESSED: usize = 8;
/// Delay until a partition that could not be loaded is loaded again.
const RELOAD_AFTER: Duration = Duration::from_secs(1);

/// Function that runs the errands of shards once their records are committed. Its arguments are the shard's partition, the
/// errand, and the [`Halt`] to use if the errand panics.
pub type Errands<S> = Arc<dyn Fn(PartitionIndex, <S as Shard>::Answer, &Halt) + Send + Sync>;

pub type Reply<S> = oneshot::Sender<Result<<S as Shard>::Answer, ErrorCode>>;

/// Event that wakes the task.
pub enum Event<S: Shard> {
    Request {
        partition: PartitionIndex,
        request: S::Request,
        reply: Reply<S>,
    },
    /// Asks which partitions are loaded and loading.
    Slots(oneshot::Sender<Slots>),
    Told(Told),
    Loaded {
        partition: PartitionIndex,
        epoch: LeaderEpoch,
        result: Result<(Box<S>, Loaded), LoadError>,
    },
}

/// Metadata change for the task.
#[derive(Clone, Debug)]
pub enum Told {
    /// This node leads the partition in this epoch.
    Leads(PartitionIndex, LeaderEpoch),
    /// This node no longer leads the partition.
    NoMore(PartitionIndex),
    /// New metadata: the whole image and the changes.
    Image(Arc<Image>, Arc<Delta>),
}

/// Channels of a task: its own sender for results of loaders, the request queue, and the queue of metadata changes.
type Ends<S> = (
    mpsc::WeakSender<Event<S>>,
    mpsc::Receiver<Event<S>>,
    mpsc::UnboundedReceiver<Told>,
);

/// The partitions that this node leads.
#[derive(Debug, Default)]
pub struct Slots {
    pub active: Vec<PartitionIndex>,
    /// Whether some partitions are loading and cannot answer yet.
    pub is_loading: bool,
}

/// Function that makes an empty shard for a partition in a leader epoch.
pub type MakeShard<S> = Arc<dyn Fn(PartitionIndex, LeaderEpoch) -> S + Send + Sync>;

#[expect(
    clippy::large_enum_variant,
    reason = "nearly every slot is active, and there are few"
)]
enum Slot<S: Shard> {
    Loading(LeaderEpoch),
    Active(Active<S>),
}

struct Active<S: Shard> {
    epoch: LeaderEpoch,
    shard: S,
    /// Requests that the shard has not answered yet.
    replies: BTreeMap<Ticket, Reply<S>>,
    batch: Option<Pending>,
    /// Answers of this round; the offset that they wait for is known after the append.
    answered: Vec<(Ticket, S::Answer)>,
    /// Answers whose records are not committed yet, with their deadlines.
    parked: VecDeque<Parked<S>>,
    /// Offset after the last record appended.
    end: Offset,
}

struct Parked<S: Shard> {
    until: Offset,
    give_up: Instant,
    answers: Vec<(To<S>, S::Answer)>,
}

/// Recipient of an answer.
enum To<S: Shard> {
    Client(Reply<S>),
    Errand,
}

/// Batch that is being filled. Records of different producers and transactions are not mixed in a batch.
struct Pending {
    builder: BatchBuilder,
    producer: Option<(ProducerId, ProducerEpoch)>,
}

pub struct Task<S: Shard> {
    name: &'static str,
    log: Arc<dyn RecordLog>,
    make: MakeShard<S>,
    queue: mpsc::Receiver<Event<S>>,
    /// Metadata changes. They are taken before requests, which may be for a partition that was just elected.
    told: mpsc::UnboundedReceiver<Told>,
    /// The newest metadata received.
    image: Arc<Image>,
    /// Events taken for the current round.
    round: Vec<Event<S>>,
    /// Sender for results of loaders.
    itself: mpsc::WeakSender<Event<S>>,
    slots: BTreeMap<PartitionIndex, Slot<S>>,
    committed: Arc<Notify>,
    next_ticket: u64,
    host: Host,
    started: Instant,
    commit_timeout: Duration,
    compression: Compression,
    errands: Option<Errands<S>>,
    halt: Halt,
    /// Pool that runs long rounds, for coordinators only.
    pool: WorkPool,
    /// Totals of the partitions loaded since the last log message about loading.
    loaded: AllLoaded,
}

/// Totals of several loaded partitions.
#[derive(Default)]
struct AllLoaded {
    partitions: usize,
    records: u64,
    skipped: u64,
}

impl<S: Shard> Task<S> {
    pub fn new(
        name: &'static str,
        (host, pool): (&Host, WorkPool),
        log: Arc<dyn RecordLog>,
        make: MakeShard<S>,
        (itself, queue, told): Ends<S>,
        commit_timeout: Duration,
        compression: Compression,
    ) -> Self {
        let committed = Arc::new(Notify::new());
        Self {
            name,
            log,
            make,
            queue,
            told,
            image: Arc::new(Image::empty()),
            round: Vec::new(),
            itself,
            slots: BTreeMap::new(),
            committed,
            next_ticket: 0,
            host: host.clone(),
            started: Instant::now(),
            commit_timeout,
            compression,
            errands: None,
            halt: Halt::default(),
            pool,
            loaded: AllLoaded::default(),
        }
    }

    /// Sets the function that runs the errands of shards.
    pub fn on_errand(mut self, errands: Errands<S>) -> Self {
        self.errands = Some(errands);
        self
    }

    /// Sets the [`Halt`] to use when a loader or an errand panics.
    pub fn watched_by(mut self, halt: &Halt) -> Self {
        self.halt = halt.clone();
        self
    }

    /// Runs until the last handle is dropped.
    pub async fn run(self) {
        let mut task = Box::new(self);
        loop {
            let wake_at = task.next_wake();
            let mut cost = 0;
            tokio::select! {
                // Requests have precedence over timers: a timer that is a little late does no harm.
                biased;
                Some(told) = task.told.recv() => cost = task.gather(Event::Told(told)),
                event = task.queue.recv() => match event {
                    None => return,
                    Some(event) => cost = task.gather(event),
                },
                () = task.committed.notified() => {}
                () = sleep_until(wake_at) => {}
            }
            let began = task.now();
            cost += task.wake_cost(began);
            if cost > IN_PLACE_MAX {
                task = task.work_elsewhere(began).await;
            } else {
                task.work(began);
            }
            if cost > YIELDED {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes an event and the events after it into the round, until the round has many events or a high cost; returns the cost.
    fn gather(&mut self, first: Event<S>) -> usize {
        let mut cost = self.cost(&first);
        self.round.push(first);
        while self.round.len() < ROUND_MAX
            && cost < FULL
            && let Some(event) = self.next_event()
        {
            cost += self.cost(&event);
            self.round.push(event);
        }
        cost
    }

    fn next_event(&mut self) -> Option<Event<S>> {
        match self.told.try_recv() {
            Ok(told) => Some(Event::Told(told)),
            Err(_) => self.queue.try_recv().ok(),
        }
    }

    /// Approximate cost of an event, in units of [`Shard::cost`].
    fn cost(&self, event: &Event<S>) -> usize {
        let cost = match event {
            Event::Request {
                partition, request, ..
            } => match self.slots.get(partition) {
                Some(Slot::Active(active)) => active.shard.cost(request),
                _ => 1,
            },
            // Each loaded partition processes the changes.
            Event::Told(Told::Image(_, delta)) => {
                total_cost(self.slots.values().map(|slot| match slot {
                    Slot::Active(active) => active.shard.image_cost(delta),
                    Slot::Loading(_) => 0,
                }))
            }
            // A loaded shard sets its timers, about one for each record.
            Event::Loaded {
                result: Ok((_, loaded)),
                ..
            } => loaded.records as usize,
            _ => 1,
        };
        match self.compression {
            Compression::None => cost,
            _ => cost.saturating_mul(COMPRESSED),
        }
    }

    /// Cost of waking the shards that are due.
    fn wake_cost(&self, now: Moment) -> usize {
        let due = |slot: &Slot<S>| match slot {
            Slot::Active(active) if active.is_due(now) => active.shard.wake_cost(now),
            _ => 0,
        };
        self.slots.values().map(due).sum()
    }

    /// Runs a round that began at `began`, with the timers that were due then. Timers that become due meanwhile wait for the
    /// next round, because the cost of this round does not include them.
    fn work(&mut self, began: Moment) {
        let mut round = std::mem::take(&mut self.round);
        for event in round.drain(..) {
            self.on(event);
        }
        self.round = round;
        self.finish_round(began);
    }

    /// Runs a round on a thread of the pool.
    async fn work_elsewhere(self: Box<Self>, began: Moment) -> Box<Self> {
        let pool = self.pool.clone();
        let name = self.name;
        let place = Arc::new(Mutex::new(Some(self)));
        let taken = Arc::clone(&place);
        let worked = pool.drive(guarded(name, async move {
            let mut task = taken.lock().take()?;
            task.work(began);
            Some(task)
        }));
        match worked.await {
            Some(Ok(Some(task))) => return task,
            Some(Err(what)) => resume_unwind(Box::new(what)),
            // The pool has no thread; the round runs in place.
            Some(Ok(None)) | None => {}
        }
        let task = place.lock().take();
        match task {
            Some(mut task) => {
                task.work(began);
                task
            }
            // The node is stopping and has dropped the task.
            None => pending().await,
        }
    }

    fn now(&self) -> Moment {
        Moment {
            wall: self.host.clock.now(),
            steady: self.started.elapsed().as_millis() as i64,
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for slot in self.slots.values() {
            let Slot::Active(active) = slot else { continue };
            let timer = active.shard.next_wake().map(|at| self.started + millis(at));
            let give_up = active.parked.front().map(|parked| parked.give_up);
            next = [next, timer, give_up].into_iter().flatten().min();
        }
        next
    }

    fn on(&mut self, event: Event<S>) {
        match event {
            Event::Request {
                partition,
                request,
                reply,
            } => self.on_request(partition, request, reply),
            Event::Slots(reply) => {
                let active: Vec<PartitionIndex> = self
                    .slots
                    .iter()
                    .filter(|(_, slot)| matches!(slot, Slot::Active(_)))
                    .map(|(partition, _)| *partition)
                    .collect();
                let is_loading = active.len() < self.slots.len();
                // If this fails, the requester is no longer waiting.
                let _ = reply.send(Slots { active, is_loading });
            }
            Event::Told(Told::Leads(partition, epoch)) => self.on_elected(partition, epoch),
            Event::Told(Told::Image(image, delta)) => {
                for slot in self.slots.values_mut() {
                    if let Slot::Active(active) = slot {
                        active.shard.on_image(&image, &delta);
                    }
                }
                self.image = image;
            }
            Event::Told(Told::NoMore(partition)) => {
                if let Some(Slot::Active(active)) = self.slots.remove(&partition) {
                    tracing::debug!(coordinator = self.name, partition, "partition given up");
                    active.abandon(ErrorCode::NotCoordinator);
                }
            }
            Event::Loaded {
                partition,
                epoch,
                result,
            } => self.on_loaded(partition, epoch, result),
        }
    }

    fn on_request(&mut self, partition: PartitionIndex, request: S::Request, reply: Reply<S>) {
        let now = self.now();
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let active = match self.slots.get_mut(&partition) {
            Some(Slot::Active(active)) => active,
            slot => {
                let error = if slot.is_some() {
                    ErrorCode::CoordinatorLoadInProgress
                } else {
                    ErrorCode::NotCoordinator
                };
                let _ = reply.send(Err(error));
                return;
            }
        };
        active.replies.insert(ticket, reply);
        let mut out = Output::new(self.log.batch_bytes_max() - HEADER_SIZE);
        let condition = S::condition(&request);
        let met = condition.map_or(Ok(()), |condition| self.log.check(partition, &condition));
        active.shard.handle(now, ticket, request, met, &mut out);
        self.take(partition, now, out);
    }

    fn on_elected(&mut self, partition: PartitionIndex, epoch: LeaderEpoch) {
        match self.slots.get(&partition) {
            Some(Slot::Loading(current)) if *current >= epoch => return,
            Some(Slot::Active(active)) if active.epoch >= epoch => return,
            _ => {}
        }
        if let Some(Slot::Active(active)) = self.slots.insert(partition, Slot::Loading(epoch)) {
            active.abandon(ErrorCode::NotCoordinator);
        }
        // Most partitions are empty; they become active at once and can answer the next request in the queue.
        if self
            .log
            .bounds(partition, epoch)
            .is_ok_and(|(start, end)| start == end)
        {
            let shard = Box::new((self.make)(partition, epoch));
            self.on_loaded(partition, epoch, Ok((shard, Loaded::default())));
        } else {
            self.load(partition, epoch, Duration::ZERO);
        }
    }

    fn load(&self, partition: PartitionIndex, epoch: LeaderEpoch, after: Duration) {
        let log = Arc::clone(&self.log);
        let mut shard = Box::new((self.make)(partition, epoch));
        let itself = self.itself.clone();
        let threads = self.host.threads.clone();
        let load = async move {
            tokio::time::sleep(after).await;
            let result = threads
                .blocking(move || {
                    loader::load(&*log, partition, epoch, &mut *shard).map(|loaded| (shard, loaded))
                })
                .await;
            let Some(itself) = itself.upgrade() else {
                return;
            };
            let _ = itself
                .send(Event::Loaded {
                    partition,
                    epoch,
                    result,
                })
                .await;
        };
        let threads = &self.host.threads;
        threads.spawn(self.halt.guard("loader of a coordinator", load));
    }

    fn on_loaded(
        &mut self,
        partition: PartitionIndex,
        epoch: LeaderEpoch,
        result: Result<(Box<S>, Loaded), LoadError>,
    ) {
        if !matches!(self.slots.get(&partition), Some(Slot::Loading(current)) if *current == epoch)
        {
            return;
        }
        let end = self.log.bounds(partition, epoch).map(|(_, end)| end);
        let result = result.and_then(|loaded| Ok((loaded, end.map_err(LoadError::Log)?)));
        match result {
            Err(LoadError::Log(ErrorCode::NotLeaderOrFollower)) => {
                tracing::debug!(
                    coordinator = self.name,
                    partition,
                    epoch,
                    "partition is not led yet"
                );
                self.load(partition, epoch, RELOAD_AFTER);
            }
            Err(error) => {
                tracing::error!(coordinator = self.name, partition, %error, "partition cannot be loaded");
                self.load(partition, epoch, RELOAD_AFTER);
            }
            Ok(((mut shard, loaded), end)) => {
                tracing::debug!(
                    coordinator = self.name,
                    partition,
                    epoch,
                    records = loaded.records,
                    skipped = loaded.skipped,
                    "partition loaded"
                );
                self.loaded.partitions += 1;
                self.loaded.records += loaded.records;
                self.loaded.skipped += loaded.skipped;
                let now = self.now();
                let mut out = Output::new(self.log.batch_bytes_max() - HEADER_SIZE);
                shard.on_image(&self.image, &Delta::default());
                shard.loaded(now, &mut out);
                self.slots.insert(
                    partition,
                    Slot::Active(Active {
                        epoch,
                        shard: *shard,
                        replies: BTreeMap::new(),
                        batch: None,
                        answered: Vec::new(),
                        parked: VecDeque::new(),
                        end,
                    }),
                );
                self.take(partition, now, out);
                self.report_loaded();
            }
        }
    }

    /// Logs one message for all partitions once none is loading any more.
    fn report_loaded(&mut self) {
        let is_loading = |slot: &Slot<S>| matches!(slot, Slot::Loading(_));
        if self.slots.values().any(is_loading) {
            return;
        }
        let AllLoaded {
            partitions,
            records,
            skipped,
        } = std::mem::take(&mut self.loaded);
        if records > 0 {
            tracing::info!(
                coordinator = self.name,
                partitions,
                records,
                skipped,
                "loaded"
            );
        }
    }

    /// Adds the output of a shard to its batch of this round.
    fn take(&mut self, partition: PartitionIndex, now: Moment, out: Output<S::Answer>) {
        let limit = self.log.batch_bytes_max();
        let compression = self.compression;
        let Some(Slot::Active(active)) = self.slots.get_mut(&partition) else {
            return;
        };
        let size: usize = out.records.iter().map(size_of).sum();
        let must_flush = active.batch.as_ref().is_some_and(|batch| {
            (!out.records.is_empty()
                && (batch.producer != out.producer || batch.builder.size() + size > limit))
                || out.marker.is_some()
        });
        if must_flush && !self.flush(partition, now) {
            // The shard is gone, and all its waiting requests have been answered with errors.
            return;
        }
        let Some(Slot::Active(active)) = self.slots.get_mut(&partition) else {
            return;
        };
        if !out.records.is_empty() {
            let pending = active.batch.get_or_insert_with(|| {
                let builder = BatchBuilder::new(compression);
                let builder = match out.producer {
                    Some((id, epoch)) => builder
                        .producer(id, epoch, S::BASE_SEQUENCE)
                        .transactional(),
                    None => builder.producer(-1, -1, S::BASE_SEQUENCE),
                };
                Pending {
                    builder,
                    producer: out.producer,
                }
            });
            for record in &out.records {
                pending
                    .builder
                    .push(now.wall, Some(&record.key), record.value.as_deref());
            }
        }
        active.answered.extend(out.answers);
        if let Some(marker) = out.marker {
            active.batch = Some(marker_batch(marker, now));
            self.flush(partition, now);
        }
    }

    /// Appends the batch of a shard. If that fails, the shard is loaded from its log again, and false is returned.
    fn flush(&mut self, partition: PartitionIndex, now: Moment) -> bool {
        let Some(Slot::Active(active)) = self.slots.get_mut(&partition) else {
            return false;
        };
        let Some(pending) = active.batch.take() else {
            return true;
        };
        let batch = pending.builder.build();
        match self.log.append(partition, active.epoch, &batch, now.wall) {
            Ok(end) => {
                active.end = end;
                true
            }
            Err(error) => {
                tracing::error!(coordinator = self.name, partition, %error, "append failed; the partition is loaded again");
                let epoch = active.epoch;
                if let Some(Slot::Active(active)) =
                    self.slots.insert(partition, Slot::Loading(epoch))
                {
                    active.abandon(coordinator_error(error));
                }
                self.load(partition, epoch, RELOAD_AFTER);
                false
            }
        }
    }

    fn finish_round(&mut self, began: Moment) {
        let now = self.now();
        let at = Instant::now();
        let partitions: Vec<PartitionIndex> = self.slots.keys().copied().collect();
        for partition in partitions {
            if let Some(Slot::Active(active)) = self.slots.get_mut(&partition)
                && active.is_due(began)
            {
                let mut out = Output::new(self.log.batch_bytes_max() - HEADER_SIZE);
                active.shard.wake(now, &mut out);
                self.take(partition, now, out);
            }
            if !self.flush(partition, now) {
                continue;
            }
            if let Some(Slot::Active(active)) = self.slots.get_mut(&partition) {
                let errands = self.errands.as_ref().map(|errands| (errands, &self.halt));
                let within = self.commit_timeout;
                if active.release(&*self.log, partition, at, within, errands) {
                    let append = Append {
                        partition,
                        leader_epoch: active.epoch,
                        until: active.end,
                    };
                    let committed = Arc::clone(&self.committed);
                    let wake: Wake = Arc::new(move || committed.notify_one());
                    self.log.watch(append, within, wake);
                }
            }
        }
    }
}

impl<S: Shard> Active<S> {
    fn is_due(&self, now: Moment) -> bool {
        self.shard.next_wake().is_some_and(|due| due <= now.steady)
    }

    /// Sends answers whose records are committed and parks the others, in order. Returns whether there are new answers to wait
    /// for.
    fn release(
        &mut self,
        log: &dyn RecordLog,
        partition: PartitionIndex,
        at: Instant,
        commit_timeout: Duration,
        errands: Option<(&Errands<S>, &Halt)>,
    ) -> bool {
        let send = |to: To<S>, answer: S::Answer| match (to, errands) {
            // If this fails, the requester is no longer waiting.
            (To::Client(reply), _) => drop(reply.send(Ok(answer))),
            (To::Errand, Some((errands, halt))) => errands(partition, answer, halt),
            (To::Errand, None) => {}
        };
        let mut answers = Vec::with_capacity(self.answered.len());
        for (ticket, answer) in self.answered.drain(..) {
            if ticket == Ticket::ERRAND {
                answers.push((To::Errand, answer));
            } else if let Some(reply) = self.replies.remove(&ticket) {
                answers.push((To::Client(reply), answer));
            }
        }
        if answers.is_empty() && self.parked.is_empty() {
            return false;
        }
        let committed = log.high_watermark(partition, self.epoch);
        while self
            .parked
            .front()
            .is_some_and(|first| first.until <= committed)
        {
            for (to, answer) in self.parked.pop_front().into_iter().flat_map(|p| p.answers) {
                send(to, answer);
            }
        }
        while self.parked.front().is_some_and(|first| first.give_up <= at) {
            let Some(late) = self.parked.pop_front() else {
                break;
            };
            for (to, answer) in late.answers {
                match to {
                    To::Client(reply) => {
                        drop(reply.send(Err(ErrorCode::CoordinatorNotAvailable)));
                    }
                    // Errands have no deadline; they keep waiting, after the answers that have one.
                    To::Errand => answers.push((To::Errand, answer)),
                }
            }
        }
        if answers.is_empty() {
            return false;
        }
        let is_committed = self.end <= committed;
        if is_committed {
            for (to, answer) in answers {
                send(to, answer);
            }
        } else {
            self.parked.push_back(Parked {
                until: self.end,
                give_up: at + commit_timeout,
                answers,
            });
        }
        !is_committed
    }

    fn abandon(self, error: ErrorCode) {
        let parked = self.parked.into_iter().flat_map(|parked| parked.answers);
        for (to, _) in parked {
            if let To::Client(reply) = to {
                drop(reply.send(Err(error)));
            }
        }
        for reply in self.replies.into_values() {
            drop(reply.send(Err(error)));
        }
    }
}

fn size_of(record: &RawRecord) -> usize {
    // The overhead of a record is a few varints.
    record.key.len() + record.value.as_ref().map_or(0, |value| value.len()) + 36
}

fn marker_batch(marker: Marker, now: Moment) -> Pending {
    let producer = (marker.producer_id, marker.producer_epoch);
    let mut builder = BatchBuilder::new(Compression::None)
        .producer(producer.0, producer.1, -1)
        .transactional()
        .control();
    let key = [0, 0, 0, u8::from(marker.commit)];
    let mut value = [0u8; 6];
    value[2..].copy_from_slice(&marker.coordinator_epoch.to_be_bytes());
    builder.push(now.wall, Some(&key), Some(&value));
    Pending {
        builder,
        producer: Some(producer),
    }
}

/// The error that a client gets for a failed append.
fn coordinator_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
        _ => ErrorCode::UnknownServerError,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}
