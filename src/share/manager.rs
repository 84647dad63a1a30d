//! Share partitions that this node leads: one machine for each group and partition in use, and a task that expires locks.
//!
//! A machine is made from the state of the share coordinator when a group first fetches from the partition, and is dropped with
//! the last session of its group, because the durable state is with the coordinator. Writes run in tasks of their own, so that
//! they finish even if the client disconnects.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytestring::ByteString;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::machine::{Acquired, Change, Machine, Said, Terms};
use super::plan::{Bounds, Planned, plan};
use super::session::{Begun, Place, SessionKey, Sessions};
use crate::base::disk_pool::DiskPool;
use crate::base::file_range::FileRange;
use crate::base::ids::{LeaderEpoch, Offset, Uuid};
use crate::base::memory::{Held, Memory, Purpose};
use crate::base::time::millis;
use crate::base::work_pool::{WorkPool, checkpoint};
use crate::coordinator::group::settings::{Delivery, OffsetReset, ShareSettings};
use crate::coordinator::runtime::handle;
use crate::coordinator::runtime::timer::Timers;
use crate::coordinator::share_state::handle::ShareStateHandle;
use crate::coordinator::share_state::record::ShareKey;
use crate::coordinator::share_state::request::{Refusal, UNDECIDED};
use crate::host::Host;
use crate::host::file::Reach;
use crate::host::task::Halt;
use crate::log::partition_log::ReadEnd;
use crate::log::partition_log::lookup::Effort;
use crate::metadata::loader::ImageHandle;
use crate::replica::manager::ReplicaManager;
use crate::replica::partition::Partition;
use crate::replica::purgatory::{Mark, Waiter, Wish};
use crate::wire::error_code::ErrorCode;

/// Approximate bytes of memory that a session takes, and each of its partitions.
const SESSION_BYTES: usize = 600;
const PLACE_BYTES: usize = 64;
/// Approximate bytes of memory that a machine takes, with the task that loads it, and each of its runs.
const MACHINE_BYTES: usize = 2_000;
const RUN_BYTES: usize = 120;
/// Fetches of more partitions than this look at them in the work pool; smaller ones do so on the thread that serves the client.
/// Each partition may cost the reading of thousands of batch headers.
const PARTITIONS_IN_PLACE_MAX: usize = 20;
/// Number of machines of a group that are changed in a row on the thread that serves the client.
const MACHINES_IN_PLACE_MAX: usize = 16;
/// Pause before a state that could not be read is read again. Each further pause is twice as long, up to the second value, or to
/// the third if the group has no such state: nobody needs to be a member to fetch.
const LOAD_AGAIN: Duration = Duration::from_millis(100);
const LOAD_AGAIN_MAX: Duration = Duration::from_secs(2);
const UNINITIALISED_MAX: Duration = Duration::from_secs(30);
/// Number of states that are read at the same time. Acknowledgements wait behind no more than these.
const LOADS_MAX: usize = 64;
/// Number of bells at which those of ended fetches are removed for the first time.
const BELLS: usize = 32;

/// Share partitions of this node (see the module). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shares {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: Host,
    halt: Halt,
    started: Instant,
    replicas: ReplicaManager,
    states: ShareStateHandle,
    image: ImageHandle,
    settings: ShareSettings,
    memory: Arc<Memory>,
    sessions: Mutex<(Sessions, Held)>,
    partitions: Mutex<BTreeMap<ShareKey, Arc<SharePartition>>>,
    timers: Mutex<Timers<ShareKey>>,
    /// Permits to read a state; see [`LOADS_MAX`].
    loads: Semaphore,
    /// Notified when a timer may be due earlier than the task expects.
    alarm: Notify,
}

#[derive(Debug)]
struct SharePartition {
    key: ShareKey,
    replica: Arc<Partition>,
    leader_epoch: LeaderEpoch,
    state: Mutex<(State, Held)>,
    /// Bells of fetches that wait for available records.
    bells: Mutex<Bells>,
    /// Number of writes in progress.
    writes: AtomicUsize,
    /// Notified when the machine is no longer used, so that its loading ends.
    gone: Notify,
}

/// Bells by address. A bell that is listed keeps its address, even if its fetch has ended.
#[derive(Debug, Default)]
struct Bells {
    by_address: HashMap<usize, Weak<Notify>>,
    /// Number of bells at which those of ended fetches are removed.
    swept_at: usize,
}

#[derive(Debug)]
enum State {
    Loading,
    Ready(Box<Machine>),
    /// The state could not be read, or the machine is no longer used.
    Failed(ErrorCode),
}

/// Fetch of a member.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub group: ByteString,
    pub member: Arc<str>,
    pub places: Vec<Place>,
    pub max_bytes: usize,
    pub min_bytes: usize,
    pub records_max: i64,
    pub is_strict: bool,
    pub delivery: Delivery,
}

/// Result of a fetch for one partition.
#[derive(Clone, Debug)]
pub struct Given {
    pub place: Place,
    pub records: Result<(FileRange, Vec<Acquired>), ErrorCode>,
}

/// Result of acknowledgements.
#[derive(Debug)]
pub enum Told {
    Done(Result<(), ErrorCode>),
    /// The change is being written.
    Later(oneshot::Receiver<Result<(), ErrorCode>>),
}

impl Told {
    pub async fn result(self) -> Result<(), ErrorCode> {
        match self {
            Self::Done(result) => result,
            Self::Later(told) => told.await.unwrap_or(Err(ErrorCode::UnknownServerError)),
        }
    }
}

/// Result of one look at all partitions of a fetch.
#[derive(Default)]
struct Look {
    given: Vec<Given>,
    cold: Vec<FileRange>,
    wishes: Vec<(Arc<Partition>, Wish)>,
}

impl Look {
    fn fail(&mut self, place: Place, error: ErrorCode) {
        let records = Err(error);
        self.given.push(Given { place, records });
    }
}

/// Partition in which records may be available from an offset on.
struct Ready {
    place: Place,
    share: Arc<SharePartition>,
    from: Offset,
}

impl Wanted {
    /// Bounds of a read from one partition.
    fn bounds(&self, max_bytes: usize, at_least_one: bool, records_max: i64) -> Bounds {
        Bounds {
            max_bytes,
            // The number of offsets is limited whatever the client asks for: no more can be locked, and each batch costs reading
            // a header.
            records_max: records_max.min(self.delivery.locks_max.into()),
            end: match self.delivery.reads_committed {
                true => ReadEnd::LastStable,
                false => ReadEnd::HighWatermark,
            },
            at_least_one,
        }
    }
}

impl SharePartition {
    /// Wakes the fetches that wait for a change.
    fn ring(&self) {
        let bells = std::mem::take(&mut self.bells.lock().by_address);
        for bell in bells.into_values() {
            if let Some(bell) = bell.upgrade() {
                bell.notify_one();
            }
        }
    }

    fn tell(&self, bell: &Arc<Notify>) {
        let bells = &mut *self.bells.lock();
        let address = Arc::as_ptr(bell).addr();
        let is_new = bells.by_address.insert(address, Arc::downgrade(bell));
        if is_new.is_none() && bells.by_address.len() > bells.swept_at.max(BELLS) {
            bells.by_address.retain(|_, bell| bell.strong_count() > 0);
            bells.swept_at = 2 * bells.by_address.len();
        }
    }
}

impl Shares {
    pub fn new(
        host: &Host,
        halt: &Halt,
        replicas: ReplicaManager,
        states: ShareStateHandle,
        image: ImageHandle,
        settings: ShareSettings,
        memory: &Arc<Memory>,
    ) -> Self {
        let sessions = Sessions::new(settings.sessions_max);
        let held = memory.hold(Purpose::Shares, 0);
        Self {
            inner: Arc::new(Inner {
                host: host.clone(),
                halt: halt.clone(),
                started: Instant::now(),
                replicas,
                states,
                image,
                settings,
                memory: Arc::clone(memory),
                sessions: Mutex::new((sessions, held)),
                partitions: Mutex::default(),
                timers: Mutex::default(),
                loads: Semaphore::new(LOADS_MAX),
                alarm: Notify::new(),
            }),
        }
    }

    /// Expires locks until the node stops.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        loop {
            let next = self.inner.timers.lock().next();
            let next = next.map(|at| self.inner.started + millis(at));
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => self.expire().await,
                () = self.inner.alarm.notified() => {}
                _ = stopping.changed() => return,
            }
        }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Current delivery settings of a group.
    pub fn delivery(&self, group: &str) -> Delivery {
        let image = self.inner.image.load();
        self.inner.settings.delivery(image.group_overrides(group))
    }

    /// Begins or continues a session. Errors: those of [`Sessions::fetch`].
    pub fn begin(
        &self,
        key: &SessionKey,
        epoch: i32,
        connection: u64,
        named: &[Place],
        forgotten: &[Place],
    ) -> Result<Begun, ErrorCode> {
        let memory = &self.inner.memory;
        let is_new = epoch == super::session::BEGIN;
        let bytes = named.len() * PLACE_BYTES + if is_new { SESSION_BYTES } else { 0 };
        if bytes > 0 && !memory.has_room_for_shares(bytes) {
            return Err(ErrorCode::ShareSessionLimitReached);
        }
        self.with_sessions(|sessions| sessions.fetch(key, epoch, connection, named, forgotten))
    }

    /// Number of partitions of a session; 0 if there is none.
    pub fn places_of(&self, key: &SessionKey) -> usize {
        self.inner.sessions.lock().0.places_of(key)
    }

    /// Changes sessions, and counts the memory of those that are left.
    fn with_sessions<T>(&self, change: impl FnOnce(&mut Sessions) -> T) -> T {
        let (sessions, held) = &mut *self.inner.sessions.lock();
        let done = change(sessions);
        held.set(sessions.count() * SESSION_BYTES + sessions.places() * PLACE_BYTES);
        done
    }

    /// Continues a session without a fetch. Errors: those of [`Sessions::acknowledge`].
    pub fn go_on(&self, key: &SessionKey, epoch: i32, connection: u64) -> Result<bool, ErrorCode> {
        let mut sessions = self.inner.sessions.lock();
        sessions.0.acknowledge(key, epoch, connection)
    }

    /// Ends a session and releases the records of its member.
    pub fn end(&self, key: &SessionKey) {
        if let Some(member) = self.with_sessions(|sessions| sessions.end(key)) {
            self.release(BTreeMap::from([(key.group.clone(), vec![member])]));
        }
    }

    /// Ends the sessions of a closed connection and releases the records of their members.
    pub fn connection_closed(&self, connection: u64) {
        let gone = self.with_sessions(|sessions| sessions.connection_closed(connection));
        self.release(gone);
    }

    /// The next share partitions of a group, at most [`MACHINES_IN_PLACE_MAX`].
    fn some_of_group(
        &self,
        group: &ByteString,
        behind: Option<&ShareKey>,
    ) -> Vec<Arc<SharePartition>> {
        let first = key_of(group, (Uuid::ZERO, i32::MIN));
        let first = behind.map_or(Bound::Included(&first), Bound::Excluded);
        let partitions = self.inner.partitions.lock();
        let of_group = partitions.range((first, Bound::Unbounded));
        let of_group = of_group.take_while(|(key, _)| key.group == *group);
        let some = of_group.take(MACHINES_IN_PLACE_MAX);
        some.map(|(_, share)| Arc::clone(share)).collect()
    }

    /// Drops the machines of a group after an administrator has changed its state: they are made again from the new state.
    pub async fn begin_anew(&self, group: &ByteString) {
        let mut behind = None;
        loop {
            let some = self.some_of_group(group, behind.as_ref());
            let Some(last) = some.last() else { return };
            behind = Some(last.key.clone());
            for share in some {
                self.forget(&share);
                share.ring();
            }
            tokio::task::yield_now().await;
        }
    }

    /// Releases the records of members that have left, by group. The first partitions are done with when this returns; a task
    /// goes on with the others.
    fn release(&self, gone: BTreeMap<ByteString, Vec<Arc<str>>>) {
        let mut release = Release {
            shares: self.clone(),
            groups: gone.into_iter().collect(),
            behind: None,
        };
        if !release.step() {
            return;
        }
        let rest = async move {
            while release.step() {
                tokio::task::yield_now().await;
            }
        };
        let halt = &self.inner.halt;
        (self.inner.host.threads).spawn(halt.guard("release of records of share groups", rest));
    }

    /// Drops a machine whose group has no sessions.
    fn drop_if_unused(&self, share: &Arc<SharePartition>) {
        if share.writes.load(Ordering::Acquire) > 0 {
            return;
        }
        let sessions = self.inner.sessions.lock();
        if !sessions.0.has_group(&share.key.group) {
            self.forget(share);
        }
    }

    /// Removes a machine; the next request makes a new one. A machine whose changes are being written gives nothing out any more,
    /// and is removed after the last of them: a new one would not know of them.
    fn forget(&self, share: &Arc<SharePartition>) {
        let state = &mut share.state.lock().0;
        if !matches!(state, State::Failed(_)) {
            *state = State::Failed(ErrorCode::NotCoordinator);
        }
        if share.writes.load(Ordering::Acquire) > 0 {
            return;
        }
        let mut partitions = self.inner.partitions.lock();
        if (partitions.get(&share.key)).is_some_and(|known| Arc::ptr_eq(known, share)) {
            partitions.remove(&share.key);
            self.inner.timers.lock().cancel(&share.key);
            share.gone.notify_one();
        }
    }

    /// The share partition in the current leader epoch. A new one begins to load its state. `None` if there is no memory for a
    /// new one. Errors: those of the replica.
    fn share(
        &self,
        key: &ShareKey,
        delivery: &Delivery,
    ) -> Result<Option<Arc<SharePartition>>, ErrorCode> {
        let found = self
            .inner
            .replicas
            .partition_by_id(key.topic_id, key.partition);
        let found = found.and_then(|replica| Ok((replica.leads_in()?, replica)));
        let mut partitions = self.inner.partitions.lock();
        let (leader_epoch, replica) = match found {
            Ok(found) => found,
            Err(error) => {
                if let Some(gone) = partitions.remove(key) {
                    drop(partitions);
                    gone.ring();
                }
                return Err(error);
            }
        };
        if let Some(share) = partitions.get(key)
            && share.leader_epoch == leader_epoch
            && Arc::ptr_eq(&share.replica, &replica)
        {
            return Ok(Some(Arc::clone(share)));
        }
        if !self.inner.memory.has_room_for_shares(MACHINE_BYTES) {
            return Ok(None);
        }
        let share = Arc::new(SharePartition {
            key: key.clone(),
            replica,
            leader_epoch,
            state: Mutex::new((
                State::Loading,
                self.inner.memory.hold(Purpose::Shares, MACHINE_BYTES),
            )),
            bells: Mutex::default(),
            writes: AtomicUsize::new(0),
            gone: Notify::new(),
        });
        partitions.insert(key.clone(), Arc::clone(&share));
        drop(partitions);
        let (this, loaded) = (self.clone(), Arc::clone(&share));
        let reset = delivery.reset;
        let load = async move { this.load(loaded, reset).await };
        let halt = &self.inner.halt;
        (self.inner.host.threads).spawn(halt.guard("loading of a share partition", load));
        Ok(Some(share))
    }

    /// Loads the state of a machine, again and again until it can be read, or the machine is no longer used.
    async fn load(&self, share: Arc<SharePartition>, reset: OffsetReset) {
        let mut pause = LOAD_AGAIN;
        loop {
            let made = self.read(&share, reset).await;
            let error = made.as_ref().err().copied();
            {
                let state = &mut share.state.lock().0;
                // The machine may have been forgotten meanwhile.
                if !self.is_used(&share) {
                    return;
                }
                *state = match made {
                    Ok(machine) => State::Ready(Box::new(machine)),
                    Err(error) => State::Failed(error),
                };
            }
            let Some(error) = error else { break };
            tracing::debug!(
                group = %share.key.group, partition = %share.replica.name(), %error,
                "the state of a share group could not be read"
            );
            if !is_passing(error) {
                share.ring();
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = share.gone.notified() => return,
            }
            let longest = match error {
                ErrorCode::InvalidRequest => UNINITIALISED_MAX,
                _ => LOAD_AGAIN_MAX,
            };
            pause = (2 * pause).min(longest);
            self.drop_if_unused(&share);
            if !self.is_used(&share) {
                return;
            }
        }
        share.ring();
        self.drop_if_unused(&share);
    }

    /// Whether requests find this machine, and its partition is still led in the same epoch.
    fn is_used(&self, share: &Arc<SharePartition>) -> bool {
        let partitions = self.inner.partitions.lock();
        let known = partitions.get(&share.key);
        known.is_some_and(|known| Arc::ptr_eq(known, share))
    }

    async fn read(
        &self,
        share: &Arc<SharePartition>,
        reset: OffsetReset,
    ) -> Result<Machine, ErrorCode> {
        // The semaphore is never closed.
        let _one = self.inner.loads.acquire().await;
        // Boxed, because many thousands may wait for their turn, and what reads takes more memory than a machine.
        Box::pin(self.read_now(share, reset)).await
    }

    async fn read_now(
        &self,
        share: &Arc<SharePartition>,
        reset: OffsetReset,
    ) -> Result<Machine, ErrorCode> {
        let states = &self.inner.states;
        let known = states.read(share.key.clone(), share.leader_epoch).await;
        match known {
            Ok(known) => {
                let start = match known.start_offset {
                    UNDECIDED => self.first_offset(&share.replica, reset).await,
                    start => Ok(start),
                };
                start.and_then(|start| Machine::new(&known, start, share.leader_epoch))
            }
            // The group coordinator has not initialised the state yet, or is initialising it again.
            Err(refusal) if refusal.error == ErrorCode::InvalidRequest => Err(refusal.error),
            Err(refusal) => Err(told(&refusal)),
        }
    }

    async fn first_offset(
        &self,
        replica: &Arc<Partition>,
        reset: OffsetReset,
    ) -> Result<Offset, ErrorCode> {
        let marks = replica.log().watermarks();
        let ago = match reset {
            OffsetReset::Latest => return Ok(marks.high_watermark),
            OffsetReset::Earliest => return Ok(marks.log_start),
            OffsetReset::ByDuration(ago) => ago,
        };
        let since = self.inner.host.clock.now().saturating_sub(ago).max(0);
        let replica = Arc::clone(replica);
        let end = marks.high_watermark;
        let find = move || replica.log().find_timestamp(since, end, &Effort::any());
        match self.inner.host.threads.blocking(find).await {
            Ok(found) => Ok(found.map_or(end, |found| found.offset)),
            Err(_) => Err(ErrorCode::KafkaStorageError),
        }
    }

    /// Fetches: returns at once if there are records, otherwise waits for some until the deadline.
    pub async fn fetch(
        &self,
        wanted: Arc<Wanted>,
        (disk, work): (&DiskPool, &WorkPool),
        deadline: Instant,
    ) -> Vec<Given> {
        let bell = Arc::new(Notify::new());
        let mut is_over = Instant::now() >= deadline;
        loop {
            let mut look = self.look_somewhere(&wanted, &bell, is_over, work).await;
            if look.given.is_empty() && !look.cold.is_empty() {
                let (this, wanted, bell) = (self.clone(), Arc::clone(&wanted), Arc::clone(&bell));
                let again = move |reach| {
                    let look = this.look(&wanted, &bell, is_over, reach);
                    let cold = match look.given.is_empty() {
                        true => look.cold.clone(),
                        false => Vec::new(),
                    };
                    (look, cold)
                };
                let cold = std::mem::take(&mut look.cold);
                look = disk.patiently(cold, again).await.unwrap_or(look);
            }
            if !look.given.is_empty() || is_over {
                return look.given;
            }
            let waiters = self.inner.replicas.waiters();
            let waiter = Waiter::new(waiters, Mark::HighWatermark, look.wishes);
            tokio::select! {
                () = waiter.woken() => {}
                () = bell.notified() => {}
                () = tokio::time::sleep_until(deadline) => is_over = true,
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// The first look. For many partitions it runs in the work pool.
    async fn look_somewhere(
        &self,
        wanted: &Arc<Wanted>,
        bell: &Arc<Notify>,
        is_over: bool,
        work: &WorkPool,
    ) -> Look {
        if wanted.places.len() <= PARTITIONS_IN_PLACE_MAX {
            return self.look(wanted, bell, is_over, Reach::Cache);
        }
        let (this, wanted, bell) = (self.clone(), Arc::clone(wanted), Arc::clone(bell));
        let look = work.drive(async move { this.look(&wanted, &bell, is_over, Reach::Cache) });
        // The work pool returns nothing only while the node stops.
        look.await.unwrap_or_default()
    }

    /// Looks at all partitions and acquires records. Until the deadline nothing is acquired unless it satisfies the fetch's
    /// minimum.
    fn look(&self, wanted: &Wanted, bell: &Arc<Notify>, is_over: bool, reach: Reach) -> Look {
        let mut look = Look::default();
        let ready = self.ready(wanted, bell, &mut look);
        let max_bytes = (wanted.max_bytes / ready.len().max(1)).max(1);
        let needs_minimum = wanted.min_bytes > 1 && !is_over && look.given.is_empty();
        if !needs_minimum || has_minimum(wanted, &ready, max_bytes, reach, &mut look) {
            self.take_all(wanted, ready, max_bytes, reach, &mut look);
        }
        look
    }

    /// Partitions in which records may be available. Adds the errors of others to the look, and what the fetch waits for.
    fn ready(&self, wanted: &Wanted, bell: &Arc<Notify>, look: &mut Look) -> Vec<Ready> {
        let mut ready = Vec::new();
        for place in &wanted.places {
            checkpoint();
            let share = match self.share(&key_of(&wanted.group, *place), &wanted.delivery) {
                Ok(Some(share)) => share,
                Ok(None) => continue,
                Err(error) => {
                    look.fail(*place, error);
                    continue;
                }
            };
            share.tell(bell);
            let turn = share.replica.turn();
            let beyond = share.replica.high_watermark();
            let from = match &mut share.state.lock().0 {
                State::Ready(machine) => machine.next_offset(wanted.delivery.locks_max.into()),
                State::Loading => None,
                State::Failed(error) => {
                    // Passing errors of the coordinator are not shown to the client, which fetches again.
                    if !is_passing(*error) {
                        look.fail(*place, *error);
                    }
                    None
                }
            };
            let Some(from) = from else { continue };
            let wish = Wish { beyond, turn };
            look.wishes.push((Arc::clone(&share.replica), wish));
            let place = *place;
            ready.push(Ready { place, share, from });
        }
        ready
    }

    /// Acquires records of partitions, at most `max_bytes` of each.
    fn take_all(
        &self,
        wanted: &Wanted,
        ready: Vec<Ready>,
        max_bytes: usize,
        reach: Reach,
        look: &mut Look,
    ) {
        let mut terms = terms(&wanted.delivery, wanted.records_max, wanted.is_strict);
        let mut has_some = false;
        for Ready { place, share, from } in ready {
            checkpoint();
            if terms.records_max <= 0 {
                break;
            }
            let bounds = wanted.bounds(max_bytes, !has_some, terms.records_max);
            match self.take(wanted, &terms, &share, from, bounds, reach) {
                Taken::Records(range, acquired) => {
                    has_some = true;
                    let count: i64 = acquired.iter().map(|one| one.last - one.first + 1).sum();
                    terms.records_max -= count;
                    look.given.push(Given {
                        place,
                        records: Ok((range, acquired)),
                    });
                }
                Taken::Nothing => {}
                Taken::Cold(range) => look.cold.push(range),
                Taken::Failed(error) => look.fail(place, error),
            }
        }
    }

    fn take(
        &self,
        wanted: &Wanted,
        terms: &Terms,
        share: &Arc<SharePartition>,
        from: Offset,
        bounds: Bounds,
        reach: Reach,
    ) -> Taken {
        let planned = plan(&share.replica, from, bounds, reach);
        let mut state = share.state.lock();
        let (State::Ready(machine), held) = &mut *state else {
            return Taken::Nothing;
        };
        let plan = match planned {
            Planned::Read(plan) => plan,
            Planned::Nothing => return Taken::Nothing,
            Planned::Cold(range) => return Taken::Cold(range),
            Planned::Failed(error) => return Taken::Failed(error),
            Planned::Begins(log_start) => {
                machine.log_starts_at(log_start);
                drop(state);
                share.ring();
                return Taken::Nothing;
            }
        };
        if !self.inner.memory.has_room_for_shares(RUN_BYTES) {
            return Taken::Nothing;
        }
        let acquired = machine.acquire(self.now(), &wanted.member, terms, from, &plan.batches);
        held.set(MACHINE_BYTES + machine.runs() * RUN_BYTES);
        let deadline = machine.next_deadline();
        drop(state);
        match plan.stretch(&acquired) {
            Some(range) => {
                self.set_timer(share, deadline);
                Taken::Records(range, acquired)
            }
            None => {
                if !plan.batches.is_empty() {
                    // All of it was acquired by other members, or is not meant for the group: there may be more after it.
                    share.ring();
                }
                Taken::Nothing
            }
        }
    }

    fn set_timer(&self, share: &SharePartition, deadline: Option<i64>) {
        let Some(at) = deadline else { return };
        let mut timers = self.inner.timers.lock();
        let is_first = timers.next().is_none_or(|next| at < next);
        timers.set(share.key.clone(), at);
        drop(timers);
        if is_first {
            self.inner.alarm.notify_one();
        }
    }

    /// Expires locks.
    async fn expire(&self) {
        let now = self.now();
        for number in 1usize.. {
            if number.is_multiple_of(MACHINES_IN_PLACE_MAX) {
                tokio::task::yield_now().await;
            }
            let due = self.inner.timers.lock().pop_due(now);
            let Some(key) = due else { return };
            let share = self.inner.partitions.lock().get(&key).cloned();
            let Some(share) = share else { continue };
            let limit = self.delivery(&key.group).deliveries_max;
            let (change, deadline) = match &mut share.state.lock().0 {
                State::Ready(machine) => (machine.expire(now, limit), machine.next_deadline()),
                _ => (None, None),
            };
            self.set_timer(&share, deadline);
            if let Some(change) = change {
                share.ring();
                self.write(&share, change, None);
            }
        }
    }

    /// Applies the acknowledgements of a member. The machine has them when this returns; the answer waits for the share
    /// coordinator.
    pub fn acknowledge(&self, key: &SessionKey, place: Place, said: &[Said]) -> Told {
        let found = self.inner.replicas.partition_by_id(place.0, place.1);
        let epoch = match found.and_then(|replica| replica.leads_in()) {
            Ok(epoch) => epoch,
            Err(error) => return Told::Done(Err(error)),
        };
        let share_key = key_of(&key.group, place);
        let share = self.inner.partitions.lock().get(&share_key).cloned();
        let Some(share) = share.filter(|share| share.leader_epoch == epoch) else {
            // No member has got records of this partition from this leader.
            return Told::Done(Err(ErrorCode::UnknownTopicOrPartition));
        };
        // Each part of a batch becomes a run. An acknowledgement in one part adds few, and takes some away in the end.
        let parts = said.len().saturating_sub(1);
        if parts > 0 && !(self.inner.memory).has_room_for_shares(2 * parts * RUN_BYTES) {
            return Told::Done(Err(ErrorCode::CoordinatorNotAvailable));
        }
        let terms = terms(&self.delivery(&key.group), 0, false);
        let told = {
            let mut state = share.state.lock();
            let (State::Ready(machine), held) = &mut *state else {
                return Told::Done(Err(ErrorCode::InvalidRecordState));
            };
            let told = machine.acknowledge(self.now(), &key.member, said, &terms);
            held.set(MACHINE_BYTES + machine.runs() * RUN_BYTES);
            told
        };
        match told {
            Ok(Some(change)) => {
                let (tell, told) = oneshot::channel();
                self.write(&share, change, Some(tell));
                Told::Later(told)
            }
            Ok(None) => Told::Done(Ok(())),
            Err(error) => Told::Done(Err(error)),
        }
    }

    /// Writes a change, then applies it.
    fn write(
        &self,
        share: &Arc<SharePartition>,
        change: Change,
        tell: Option<oneshot::Sender<Result<(), ErrorCode>>>,
    ) {
        share.writes.fetch_add(1, Ordering::AcqRel);
        let (this, share) = (self.clone(), Arc::clone(share));
        let write = async move {
            let states = &this.inner.states;
            let written = states.write(share.key.clone(), change.write.clone()).await;
            let delivery = this.delivery(&share.key.group);
            let (deadline, has_news) = {
                let mut state = share.state.lock();
                match &mut *state {
                    (State::Ready(machine), held) => {
                        let window_max = delivery.locks_max.into();
                        let before = machine.next_offset(window_max);
                        let limit = delivery.deliveries_max;
                        machine.settle(&change, written.is_ok(), this.now(), limit);
                        held.set(MACHINE_BYTES + machine.runs() * RUN_BYTES);
                        // Fetches that saw another offset wait for records behind it.
                        let has_news = machine.next_offset(window_max) != before;
                        (machine.next_deadline(), has_news)
                    }
                    _ => (None, true),
                }
            };
            if let Err(refusal) = &written {
                tracing::debug!(
                    group = %share.key.group, partition = %share.replica.name(), error = %refusal.error,
                    "what became of records could not be written"
                );
                // A change that is too large is refused as often as it is written; the members keep their records.
                if !is_passing(refusal.error) && refusal.error != ErrorCode::RecordListTooLarge {
                    share.state.lock().0 = State::Failed(told(refusal));
                }
            }
            this.set_timer(&share, deadline);
            share.writes.fetch_sub(1, Ordering::AcqRel);
            let is_over = matches!(share.state.lock().0, State::Failed(_));
            if is_over {
                this.forget(&share);
            }
            if has_news || is_over {
                share.ring();
            }
            this.drop_if_unused(&share);
            if let Some(tell) = tell {
                // The receiver may be gone.
                let _ = tell.send(written.map_err(|refusal| told(&refusal)));
            }
        };
        let halt = &self.inner.halt;
        (self.inner.host.threads).spawn(halt.guard("writing of a share state", write));
    }
}

/// Release of the records of members that have left; see [`Shares::release`].
struct Release {
    shares: Shares,
    /// Groups that are left, with the members that have left them.
    groups: Vec<(ByteString, Vec<Arc<str>>)>,
    /// Last share partition of the last group that is done with.
    behind: Option<ShareKey>,
}

impl Release {
    /// Goes over the next partitions of a group. False if none is left.
    fn step(&mut self) -> bool {
        let Some((group, members)) = self.groups.last() else {
            return false;
        };
        let shares = &self.shares;
        let some = shares.some_of_group(group, self.behind.as_ref());
        let limit = shares.delivery(group).deliveries_max;
        let members: HashSet<*const u8> = members.iter().map(address).collect();
        for share in &some {
            let change = match &mut share.state.lock().0 {
                State::Ready(machine) => {
                    machine.release(|member| members.contains(&address(member)), limit)
                }
                _ => None,
            };
            match change {
                Some(change) => shares.write(share, change, None),
                None => shares.drop_if_unused(share),
            }
        }
        self.behind = some.last().map(|share| share.key.clone());
        if some.len() < MACHINES_IN_PLACE_MAX {
            self.behind = None;
            self.groups.pop();
        }
        !self.groups.is_empty()
    }
}

fn address(member: &Arc<str>) -> *const u8 {
    Arc::as_ptr(member).cast()
}

/// Whether the available records satisfy the fetch's minimum of bytes.
fn has_minimum(
    wanted: &Wanted,
    ready: &[Ready],
    max_bytes: usize,
    reach: Reach,
    look: &mut Look,
) -> bool {
    let bounds = wanted.bounds(max_bytes, true, i64::MAX);
    let mut bytes = 0;
    for Ready { share, from, .. } in ready {
        checkpoint();
        match plan(&share.replica, *from, bounds, reach) {
            Planned::Read(plan) => bytes += plan.bytes(),
            Planned::Cold(range) => look.cold.push(range),
            _ => {}
        }
        if bytes >= wanted.min_bytes {
            return true;
        }
    }
    false
}

fn terms(delivery: &Delivery, records_max: i64, is_strict: bool) -> Terms {
    Terms {
        lock_ms: delivery.lock_ms.into(),
        deliveries_max: delivery.deliveries_max,
        window_max: delivery.locks_max.into(),
        records_max,
        is_strict,
    }
}

fn key_of(group: &ByteString, (topic_id, partition): Place) -> ShareKey {
    ShareKey {
        group: group.clone(),
        topic_id,
        partition,
    }
}

/// Result of looking at one partition.
enum Taken {
    Records(FileRange, Vec<Acquired>),
    Nothing,
    Cold(FileRange),
    Failed(ErrorCode),
}

/// Whether an error of the share coordinator is temporary.
fn is_passing(error: ErrorCode) -> bool {
    // With `InvalidRequest` the group coordinator has not initialised the state yet, or is initialising it again.
    handle::is_passing(error) || error == ErrorCode::InvalidRequest
}

/// Converts an error of the share coordinator to one for members.
fn told(refusal: &Refusal) -> ErrorCode {
    match refusal.error {
        ErrorCode::FencedLeaderEpoch | ErrorCode::FencedStateEpoch => {
            ErrorCode::NotLeaderOrFollower
        }
        ErrorCode::NotCoordinator
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress => ErrorCode::CoordinatorNotAvailable,
        error @ (ErrorCode::GroupIdNotFound | ErrorCode::UnknownTopicOrPartition) => error,
        _ => ErrorCode::UnknownServerError,
    }
}
