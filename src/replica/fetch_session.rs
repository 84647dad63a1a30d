//! Incremental fetch sessions (KIP-227): a client names only the partitions that have changed since its last fetch.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indexmap::IndexMap;
use parking_lot::Mutex;

use super::fetch::Wanted;
use crate::base::ids::{Offset, PartitionIndex, Uuid};
use crate::base::time::{Timestamp, elapsed_ms};
use crate::wire::error_code::ErrorCode;

/// Time without a fetch after which a session may be evicted for a new one.
const IDLE_EVICTION_MS: i64 = 120_000;
/// Limit of partitions over all sessions, about 150 bytes each. A client that needs more is served without a session.
const PARTITIONS_MAX: usize = 1_000_000;
const NO_SESSION: i32 = 0;
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// A partition of a session: its topic by id, or by name where ids are not used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    topic_id: Uuid,
    /// Empty for a topic with an id: the name can change while the id stays.
    topic: Arc<str>,
    index: PartitionIndex,
}

impl SessionKey {
    pub fn new(topic_id: Uuid, topic: &Arc<str>, index: PartitionIndex) -> Self {
        let topic = if topic_id.is_zero() {
            Arc::clone(topic)
        } else {
            Arc::default()
        };
        Self {
            topic_id,
            topic,
            index,
        }
    }

    fn of(wanted: &Wanted) -> Self {
        Self::new(wanted.topic_id, &wanted.topic, wanted.index)
    }
}

/// State of a partition as it was last sent. A partition without changes is left out of the next answer.
#[derive(Clone, Debug)]
struct Cached {
    wanted: Wanted,
    high_watermark: Offset,
    log_start: Offset,
    /// The last answer had an error: the partition is part of the next one even if nothing has changed.
    dirty: bool,
}

/// One session. Its contents have a lock of their own, so that work on a large session does not block the others.
#[derive(Debug)]
pub struct Session {
    /// Whether a fetch of the session is being answered.
    busy: AtomicBool,
    contents: Mutex<Contents>,
}

#[derive(Debug)]
struct Contents {
    partitions: IndexMap<SessionKey, Cached>,
    /// Index of the partition that the next answer begins with, so that the first partitions do not starve the others.
    rotation: usize,
}

/// Entry of the session cache: everything that is checked or compared under the lock of the cache.
#[derive(Debug)]
struct Entry {
    epoch: i32,
    by_id: bool,
    last_used: Timestamp,
    /// Number of partitions in the session.
    len: usize,
    session: Arc<Session>,
}

/// The session part of a request.
#[derive(Debug)]
pub struct SessionRequest {
    pub id: i32,
    pub epoch: i32,
    pub by_id: bool,
    pub wanted: Vec<Wanted>,
    pub forgotten: HashSet<SessionKey>,
}

/// A fetch whose session was found or created.
#[derive(Debug)]
pub struct Begun {
    /// Id of the session if the fetch is incremental: the answer then has only what has changed.
    pub incremental: Option<i32>,
    /// Session id of the answer: 0 for no session.
    pub session_id: i32,
    session: Option<Arc<Session>>,
    /// Session that was evicted for this one. It can be large, so the caller decides when it is dropped.
    pub gone: Option<Arc<Session>>,
    /// All partitions to read, in order. For an incremental fetch that has waited: only those that have changed.
    pub wanted: Vec<Wanted>,
}

/// What an answer says about one partition.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub has_records: bool,
    pub failed: bool,
    pub special: bool,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// All sessions of this broker. Their lock is held only briefly, however large the sessions are.
#[derive(Debug)]
pub struct FetchSessions {
    slots: usize,
    cache: Mutex<Cache>,
}

#[derive(Debug)]
struct Cache {
    sessions: BTreeMap<i32, Entry>,
    /// Number of partitions in all sessions.
    partitions: usize,
    next_id: i32,
}

impl FetchSessions {
    /// `slots` is the largest number of sessions. `seed` is the first session id, so that ids differ between starts of the
    /// broker.
    pub fn new(slots: usize, seed: i32) -> Self {
        Self {
            slots,
            cache: Mutex::new(Cache {
                sessions: BTreeMap::new(),
                partitions: 0,
                next_id: seed.max(1),
            }),
        }
    }

    pub fn len(&self) -> usize {
        self.cache.lock().sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of partitions of a session; 0 for an unknown session.
    pub fn partitions_of(&self, id: i32) -> usize {
        let cache = self.cache.lock();
        cache.sessions.get(&id).map_or(0, |entry| entry.len)
    }

    /// Finds or creates the session of a request.
    ///
    /// Errors: `FetchSessionIdNotFound`, `InvalidFetchSessionEpoch`, `FetchSessionTopicIdError`.
    pub fn begin(&self, request: SessionRequest, now: Timestamp) -> Result<Begun, ErrorCode> {
        if request.epoch == INITIAL_EPOCH || request.epoch == FINAL_EPOCH {
            // The session is dropped after the lock is released.
            let closed = self.cache.lock().remove(request.id);
            drop(closed);
            let mut begun = Begun::without_session(distinct(request.wanted));
            if request.epoch == INITIAL_EPOCH {
                self.create(request.by_id, &mut begun, now);
            }
            return Ok(begun);
        }
        let session = self.cache.lock().go_on(&request, now)?;
        let mut contents = session.contents.lock();
        let mut last = Vec::new();
        for wanted in distinct(request.wanted) {
            let key = SessionKey::of(&wanted);
            if request.forgotten.contains(&key) {
                last.push(wanted.clone());
            }
            match contents.partitions.get_mut(&key) {
                Some(cached) => cached.wanted = wanted,
                None => drop(contents.partitions.insert(key, Cached::new(wanted))),
            }
        }
        // As in Kafka, a partition that is both added and forgotten by one request is forgotten.
        if !request.forgotten.is_empty() {
            let forgotten = &request.forgotten;
            contents
                .partitions
                .retain(|key, _| !forgotten.contains(key));
        }
        let count = contents.partitions.len();
        let has_room = self.cache.lock().resize(request.id, &session, count);
        if count == 0 || !has_room {
            // An empty session is of no use, and one that is too large cannot be kept. Session id 0 in the answer tells the
            // client that the session is closed.
            drop(self.cache.lock().remove(request.id));
            let left = std::mem::take(&mut contents.partitions);
            let wanted = left.into_values().map(|cached| cached.wanted).chain(last);
            return Ok(Begun::without_session(wanted.collect()));
        }
        let start = contents.rotation % count;
        contents.rotation = start + 1;
        let rotated = contents.partitions[start..]
            .values()
            .chain(contents.partitions[..start].values());
        let wanted = rotated.map(|cached| cached.wanted.clone()).collect();
        drop(contents);
        Ok(Begun {
            incremental: Some(request.id),
            session_id: request.id,
            session: Some(session),
            gone: None,
            wanted,
        })
    }

    /// Ends a fetch whose answer has no partitions. The client asks for the same once more. Returns the session id of the
    /// answer: a session that would have been made by this answer is given up.
    pub fn give_up(&self, begun: &Begun) -> i32 {
        let Some(session) = &begun.session else {
            return begun.session_id;
        };
        session.busy.store(false, Ordering::Relaxed);
        if begun.incremental.is_some() {
            let mut contents = session.contents.lock();
            contents.rotation = contents.rotation.saturating_sub(1);
            return begun.session_id;
        }
        let mut cache = self.cache.lock();
        let entry = cache.sessions.get(&begun.session_id);
        let is_own = entry.is_some_and(|entry| Arc::ptr_eq(&entry.session, session));
        let closed = is_own.then(|| cache.remove(begun.session_id));
        drop(cache);
        drop(closed);
        NO_SESSION
    }

    /// Creates a session from the partitions of a full fetch, if there is room.
    fn create(&self, by_id: bool, begun: &mut Begun, now: Timestamp) {
        let partitions: IndexMap<_, _> = begun
            .wanted
            .iter()
            .map(|wanted| (SessionKey::of(wanted), Cached::new(wanted.clone())))
            .collect();
        let len = partitions.len();
        let session = Arc::new(Session {
            busy: AtomicBool::new(false),
            contents: Mutex::new(Contents {
                partitions,
                rotation: 0,
            }),
        });
        let mut cache = self.cache.lock();
        match cache.room_for(len, self.slots, now) {
            Room::There => {}
            Room::Of(id) => begun.gone = cache.remove(id),
            Room::None => return,
        }
        let entry = Entry {
            epoch: next_epoch(INITIAL_EPOCH),
            by_id,
            last_used: now,
            len,
            session: Arc::clone(&session),
        };
        begun.session_id = cache.add(entry);
        begun.session = Some(session);
    }
}

/// Whether there is room for another session.
enum Room {
    There,
    /// There is room if the session with this id is evicted.
    Of(i32),
    None,
}

impl Cache {
    /// Returns the session of an incremental request after checking its epoch, and moves the session to the next epoch.
    fn go_on(
        &mut self,
        request: &SessionRequest,
        now: Timestamp,
    ) -> Result<Arc<Session>, ErrorCode> {
        let entry = self
            .sessions
            .get_mut(&request.id)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if entry.epoch != request.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if entry.by_id != request.by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        entry.last_used = now;
        entry.epoch = next_epoch(entry.epoch);
        entry.session.busy.store(true, Ordering::Relaxed);
        Ok(Arc::clone(&entry.session))
    }

    /// Records the new number of partitions of a session. Returns whether the limit of all sessions still holds.
    fn resize(&mut self, id: i32, session: &Arc<Session>, len: usize) -> bool {
        let entry = self.sessions.get_mut(&id);
        // A session that was evicted meanwhile takes no room. The next request of its client fails with
        // FETCH_SESSION_ID_NOT_FOUND.
        let Some(entry) = entry.filter(|entry| Arc::ptr_eq(&entry.session, session)) else {
            return true;
        };
        self.partitions = self.partitions - entry.len + len;
        entry.len = len;
        self.partitions <= PARTITIONS_MAX
    }

    fn remove(&mut self, id: i32) -> Option<Arc<Session>> {
        let entry = self.sessions.remove(&id)?;
        self.partitions -= entry.len;
        Some(entry.session)
    }

    fn add(&mut self, entry: Entry) -> i32 {
        while self.sessions.contains_key(&self.next_id) || self.next_id <= 0 {
            self.next_id = self.next_id.wrapping_add(1).max(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.partitions += entry.len;
        self.sessions.insert(id, entry);
        id
    }

    /// Chooses the session to evict: one that is idle, or else a smaller one that is not in use.
    fn room_for(&self, size: usize, slots: usize, now: Timestamp) -> Room {
        if size > PARTITIONS_MAX.saturating_sub(self.partitions) {
            return Room::None;
        }
        if self.sessions.len() < slots {
            return Room::There;
        }
        let oldest = self
            .sessions
            .iter()
            .min_by_key(|(_, entry)| entry.last_used);
        let idle = oldest
            .filter(|(_, entry)| elapsed_ms(entry.last_used, now) > IDLE_EVICTION_MS)
            .map(|(id, _)| *id);
        let smallest = || {
            let free = |entry: &Entry| !entry.session.busy.load(Ordering::Relaxed);
            let free = self.sessions.iter().filter(|(_, entry)| free(entry));
            let smallest = free.min_by_key(|(_, entry)| entry.len);
            smallest
                .filter(|(_, entry)| entry.len < size)
                .map(|(id, _)| *id)
        };
        idle.or_else(smallest).map_or(Room::None, Room::Of)
    }
}

impl Begun {
    fn without_session(wanted: Vec<Wanted>) -> Self {
        Self {
            incremental: None,
            session_id: NO_SESSION,
            session: None,
            gone: None,
            wanted,
        }
    }

    /// For each partition, whether an incremental answer would contain it.
    pub fn news(&self, said: &[Said]) -> Vec<bool> {
        let Some(session) = &self.session else {
            return vec![true; said.len()];
        };
        let contents = session.contents.lock();
        let news = |(wanted, said)| {
            let cached = contents.partitions.get(&SessionKey::of(wanted));
            cached.is_none_or(|cached| cached.is_news(said))
        };
        self.wanted.iter().zip(said).map(news).collect()
    }

    /// Records what an answer says. Returns for each partition whether the answer contains it: always in a full answer, only
    /// with changes in an incremental one.
    pub fn finish(&self, said: &[Said]) -> Vec<bool> {
        let full = self.incremental.is_none();
        let Some(session) = &self.session else {
            return vec![true; said.len()];
        };
        session.busy.store(false, Ordering::Relaxed);
        let mut contents = session.contents.lock();
        let mut include = Vec::with_capacity(said.len());
        for (wanted, said) in self.wanted.iter().zip(said) {
            let Some(cached) = contents.partitions.get_mut(&SessionKey::of(wanted)) else {
                include.push(full);
                continue;
            };
            let news = cached.is_news(said);
            cached.high_watermark = said.high_watermark;
            cached.log_start = said.log_start;
            cached.dirty = said.failed;
            include.push(full || news);
        }
        // The next answer begins with the next partition, unless no partition sent records: then the order stays.
        if !said.iter().any(|said| said.has_records) {
            contents.rotation = contents.rotation.saturating_sub(1);
        }
        include
    }
}

impl Session {
    pub fn len(&self) -> usize {
        self.contents.lock().partitions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Cached {
    fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            high_watermark: -1,
            log_start: -1,
            dirty: false,
        }
    }

    fn is_news(&self, said: &Said) -> bool {
        said.has_records
            || said.failed
            || said.special
            || self.dirty
            || self.high_watermark != said.high_watermark
            || self.log_start != said.log_start
    }
}

/// Removes repeated partitions: the last request for a partition counts, at the place of the first.
fn distinct(wanted: Vec<Wanted>) -> Vec<Wanted> {
    if wanted.len() < 2 {
        return wanted;
    }
    let by_key = wanted.into_iter().map(|one| (SessionKey::of(&one), one));
    by_key.collect::<IndexMap<_, _>>().into_values().collect()
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(index: PartitionIndex) -> Wanted {
        Wanted {
            topic: "t".into(),
            topic_id: Uuid::ZERO,
            index,
            fetch_offset: 0,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            max_bytes: 100,
            denied: None,
        }
    }

    fn request(id: i32, epoch: i32, indexes: &[PartitionIndex]) -> SessionRequest {
        let wanted = indexes.iter().map(|index| wanted(*index)).collect();
        SessionRequest {
            id,
            epoch,
            by_id: false,
            wanted,
            forgotten: HashSet::new(),
        }
    }

    fn quiet() -> Said {
        Said {
            has_records: false,
            failed: false,
            special: false,
            high_watermark: 5,
            log_start: 0,
        }
    }

    #[test]
    fn an_incremental_answer_has_only_news() {
        let sessions = FetchSessions::new(10, 7);
        let begun = sessions.begin(request(0, 0, &[0, 1]), 0).unwrap();
        assert_eq!((begun.session_id, begun.incremental), (7, None));
        assert_eq!(begun.finish(&[quiet(), quiet()]), [true, true]);
        let begun = sessions.begin(request(7, 1, &[]), 0).unwrap();
        assert_eq!(begun.wanted.len(), 2);
        assert_eq!(begun.finish(&[quiet(), quiet()]), [false, false]);
        let begun = sessions.begin(request(7, 2, &[2]), 0).unwrap();
        assert_eq!(begun.wanted.len(), 3);
        let moved = Said {
            high_watermark: 6,
            ..quiet()
        };
        let at_one = begun
            .wanted
            .iter()
            .position(|wanted| wanted.index == 1)
            .unwrap();
        let at_two = begun
            .wanted
            .iter()
            .position(|wanted| wanted.index == 2)
            .unwrap();
        let mut said = [quiet(); 3];
        said[at_one] = moved;
        let include = begun.finish(&said);
        assert!(include[at_one] && include[at_two]);
        assert_eq!(include.iter().filter(|include| **include).count(), 2);
    }

    #[test]
    fn an_answer_that_is_given_up_makes_no_session_and_keeps_an_old_one() {
        let sessions = FetchSessions::new(10, 7);
        let begun = sessions.begin(request(0, 0, &[0]), 0).unwrap();
        assert_eq!(sessions.give_up(&begun), 0);
        assert!(sessions.is_empty());
        let begun = sessions.begin(request(0, 0, &[0]), 0).unwrap();
        begun.finish(&[quiet()]);
        let id = begun.session_id;
        let begun = sessions.begin(request(id, 1, &[]), 0).unwrap();
        assert_eq!(sessions.give_up(&begun), id);
        // The epoch has moved on, and what was not told is still news.
        assert!(sessions.begin(request(id, 1, &[]), 0).is_err());
        let begun = sessions.begin(request(id, 2, &[]), 0).unwrap();
        assert_eq!(begun.wanted.len(), 1);
    }

    #[test]
    fn wrong_ids_and_epochs_are_refused() {
        let sessions = FetchSessions::new(10, 7);
        sessions.begin(request(0, 0, &[0]), 0).unwrap();
        assert_eq!(
            sessions.begin(request(8, 1, &[]), 0).unwrap_err(),
            ErrorCode::FetchSessionIdNotFound
        );
        assert_eq!(
            sessions.begin(request(7, 2, &[]), 0).unwrap_err(),
            ErrorCode::InvalidFetchSessionEpoch
        );
        let by_id = SessionRequest {
            by_id: true,
            ..request(7, 1, &[])
        };
        assert_eq!(
            sessions.begin(by_id, 0).unwrap_err(),
            ErrorCode::FetchSessionTopicIdError
        );
        let closed = sessions.begin(request(7, -1, &[0]), 0).unwrap();
        assert_eq!(closed.session_id, 0);
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_partition_is_forgotten_by_its_id_whatever_its_topic_is_called_by_then() {
        let sessions = FetchSessions::new(10, 7);
        let id = Uuid([1; 16]);
        let named = |topic: &str, index| Wanted {
            topic: topic.into(),
            topic_id: id,
            ..wanted(index)
        };
        let first = SessionRequest {
            by_id: true,
            wanted: vec![named("t", 0), named("t", 1)],
            ..request(0, 0, &[])
        };
        sessions.begin(first, 0).unwrap();
        // The topic was deleted, so its name is unknown.
        let forgets = |epoch, index| SessionRequest {
            by_id: true,
            forgotten: HashSet::from([SessionKey::new(id, &"".into(), index)]),
            ..request(7, epoch, &[])
        };
        assert_eq!(sessions.begin(forgets(1, 0), 0).unwrap().wanted.len(), 1);
        let empty = sessions.begin(forgets(2, 1), 0).unwrap();
        assert_eq!((empty.session_id, empty.wanted.len()), (0, 0));
        assert!(sessions.is_empty());
        assert_eq!(sessions.cache.lock().partitions, 0);
    }

    #[test]
    fn sessions_have_so_many_partitions_in_all() {
        let sessions = FetchSessions::new(10, 7);
        let many: Vec<_> = (0..PARTITIONS_MAX as PartitionIndex / 2).collect();
        let all = || {
            let begun = sessions.begin(request(0, 0, &many), 0).unwrap();
            begun.session_id
        };
        assert_eq!(all(), 7);
        assert_eq!(all(), 8);
        assert_eq!(all(), 0);
        let grown = request(8, 1, &[PARTITIONS_MAX as PartitionIndex]);
        let grown = sessions.begin(grown, 0).unwrap();
        assert_eq!((grown.session_id, grown.wanted.len()), (0, many.len() + 1));
        assert_eq!(all(), 9);
    }

    #[test]
    fn a_full_cache_lets_idle_and_smaller_sessions_go() {
        let sessions = FetchSessions::new(1, 7);
        sessions.begin(request(0, 0, &[0, 1]), 0).unwrap();
        assert_eq!(
            sessions.begin(request(0, 0, &[0]), 1).unwrap().session_id,
            0
        );
        assert_ne!(
            sessions
                .begin(request(0, 0, &[0, 1, 2]), 1)
                .unwrap()
                .session_id,
            0
        );
        assert_ne!(
            sessions
                .begin(request(0, 0, &[0]), 200_000)
                .unwrap()
                .session_id,
            0
        );
        assert_eq!(sessions.len(), 1);
    }
}
