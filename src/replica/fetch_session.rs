//! pure: incremental fetch sessions (KIP-227): what a client asked for last time need not be said again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;

use super::fetch::Wanted;
use crate::base::ids::{Offset, PartitionIndex, Uuid};
use crate::base::time::{Timestamp, elapsed_ms};
use crate::wire::error_code::ErrorCode;

/// A session that was not used for so long may give way to a new one.
const IDLE_EVICTION_MS: i64 = 120_000;
/// Partitions of all sessions together, some 150 bytes each. Whoever asks for more goes on without a session.
const PARTITIONS_MAX: usize = 1_000_000;
const NO_SESSION: i32 = 0;
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// A partition of a session: its topic by id, or by name where ids are not used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    topic_id: Uuid,
    /// Empty with an id: the name of an id comes and goes with its topic.
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

/// What was last sent for a partition: unchanged ones are left out of the next answer.
#[derive(Clone, Debug)]
struct Cached {
    wanted: Wanted,
    high_watermark: Offset,
    log_start: Offset,
    /// Failed last time: it is sent again whatever it says.
    dirty: bool,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    by_id: bool,
    last_used: Timestamp,
    partitions: IndexMap<SessionKey, Cached>,
    /// Where the next answer begins, so that the first partitions do not starve the others.
    rotation: usize,
    busy: bool,
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

/// How a fetch goes on.
#[derive(Debug)]
pub struct Begun {
    /// The session whose changes alone are answered, if it is incremental.
    pub incremental: Option<i32>,
    /// What the answer carries: 0 for no session.
    pub session_id: i32,
    /// Everything to read, in order. Of an incremental fetch that has waited, what has changed.
    pub wanted: Vec<Wanted>,
}

/// What a partition has to say in an answer.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub has_records: bool,
    pub failed: bool,
    pub special: bool,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// All sessions of this broker.
#[derive(Debug)]
pub struct FetchSessions {
    slots: usize,
    sessions: BTreeMap<i32, Session>,
    /// Of all sessions.
    partitions: usize,
    next_id: i32,
}

impl FetchSessions {
    /// At most `slots` sessions; `seed` makes ids of different starts differ.
    pub fn new(slots: usize, seed: i32) -> Self {
        Self {
            slots,
            sessions: BTreeMap::new(),
            partitions: 0,
            next_id: seed.max(1),
        }
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Finds or makes the session of a request.
    ///
    /// Errors: `FetchSessionIdNotFound`, `InvalidFetchSessionEpoch`, `FetchSessionTopicIdError`.
    pub fn begin(&mut self, request: SessionRequest, now: Timestamp) -> Result<Begun, ErrorCode> {
        if request.epoch == INITIAL_EPOCH || request.epoch == FINAL_EPOCH {
            if request.id != NO_SESSION {
                self.remove(request.id);
            }
            let wanted = distinct(request.wanted);
            let session_id = if request.epoch == INITIAL_EPOCH {
                self.create(request.by_id, &wanted, now)
            } else {
                NO_SESSION
            };
            return Ok(Begun {
                incremental: None,
                session_id,
                wanted,
            });
        }
        let session = self
            .sessions
            .get_mut(&request.id)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != request.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != request.by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.last_used = now;
        session.epoch = next_epoch(session.epoch);
        session.busy = true;
        let before = session.partitions.len();
        let mut last = Vec::new();
        for wanted in distinct(request.wanted) {
            let key = SessionKey::of(&wanted);
            if request.forgotten.contains(&key) {
                last.push(wanted.clone());
            }
            match session.partitions.get_mut(&key) {
                Some(cached) => cached.wanted = wanted,
                None => drop(session.partitions.insert(key, Cached::new(wanted))),
            }
        }
        // As Kafka does it: what is named twice, to be added and to be forgotten, is forgotten.
        if !request.forgotten.is_empty() {
            let forgotten = &request.forgotten;
            session.partitions.retain(|key, _| !forgotten.contains(key));
        }
        let count = session.partitions.len();
        self.partitions = self.partitions - before + count;
        if count == 0 || self.partitions > PARTITIONS_MAX {
            // One without partitions is of no use; one of too many is told by a session id of 0 that it is none any more.
            let gone = self.remove(request.id);
            let left = gone.into_iter().flat_map(|session| session.partitions);
            let wanted = left.map(|(_, cached)| cached.wanted).chain(last);
            return Ok(Begun {
                incremental: None,
                session_id: NO_SESSION,
                wanted: wanted.collect(),
            });
        }
        let start = session.rotation % count;
        session.rotation = start + 1;
        let rotated = session.partitions[start..]
            .values()
            .chain(session.partitions[..start].values());
        let wanted = rotated.map(|cached| cached.wanted.clone()).collect();
        Ok(Begun {
            incremental: Some(request.id),
            session_id: request.id,
            wanted,
        })
    }

    /// Of which partitions an incremental answer would say something.
    pub fn news(&self, begun: &Begun, said: &[Said]) -> Vec<bool> {
        let Some(session) = self.sessions.get(&begun.session_id) else {
            return vec![true; said.len()];
        };
        let news = |(wanted, said)| {
            let cached = session.partitions.get(&SessionKey::of(wanted));
            cached.is_none_or(|cached| cached.is_news(said))
        };
        begun.wanted.iter().zip(said).map(news).collect()
    }

    /// Notes what an answer says, and gives which partitions belong into it: all of them in a full answer, only those
    /// with news in an incremental one.
    pub fn finish(&mut self, begun: &Begun, said: &[Said]) -> Vec<bool> {
        let full = begun.incremental.is_none();
        let Some(session) = self.sessions.get_mut(&begun.session_id) else {
            return vec![true; said.len()];
        };
        session.busy = false;
        let mut include = Vec::with_capacity(said.len());
        for (wanted, said) in begun.wanted.iter().zip(said) {
            let Some(cached) = session.partitions.get_mut(&SessionKey::of(wanted)) else {
                include.push(full);
                continue;
            };
            let news = cached.is_news(said);
            cached.high_watermark = said.high_watermark;
            cached.log_start = said.log_start;
            cached.dirty = said.failed;
            include.push(full || news);
        }
        // Who sent records goes to the end of the next round.
        if !said.iter().any(|said| said.has_records) {
            session.rotation = session.rotation.saturating_sub(1);
        }
        include
    }

    fn remove(&mut self, id: i32) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.partitions -= session.partitions.len();
        Some(session)
    }

    fn create(&mut self, by_id: bool, wanted: &[Wanted], now: Timestamp) -> i32 {
        if !self.make_room(wanted.len(), now) {
            return NO_SESSION;
        }
        while self.sessions.contains_key(&self.next_id) || self.next_id <= 0 {
            self.next_id = self.next_id.wrapping_add(1).max(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let partitions: IndexMap<_, _> = wanted
            .iter()
            .map(|wanted| (SessionKey::of(wanted), Cached::new(wanted.clone())))
            .collect();
        self.partitions += partitions.len();
        let session = Session {
            epoch: next_epoch(INITIAL_EPOCH),
            by_id,
            last_used: now,
            partitions,
            rotation: 0,
            busy: false,
        };
        self.sessions.insert(id, session);
        id
    }

    /// A session that is idle gives way, and so does a smaller one that is not in use.
    fn make_room(&mut self, size: usize, now: Timestamp) -> bool {
        let room = PARTITIONS_MAX.saturating_sub(self.partitions);
        if size > room {
            return false;
        }
        if self.sessions.len() < self.slots {
            return true;
        }
        let oldest = self
            .sessions
            .iter()
            .min_by_key(|(_, session)| session.last_used);
        let idle = oldest
            .filter(|(_, session)| elapsed_ms(session.last_used, now) > IDLE_EVICTION_MS)
            .map(|(id, _)| *id);
        let smallest = || {
            let free = self.sessions.iter().filter(|(_, session)| !session.busy);
            let smallest = free.min_by_key(|(_, session)| session.partitions.len());
            smallest
                .filter(|(_, session)| session.partitions.len() < size)
                .map(|(id, _)| *id)
        };
        match idle.or_else(smallest) {
            Some(id) => self.remove(id).is_some(),
            None => false,
        }
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

/// Of a partition that is named twice the later wish counts, at the place of the first.
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
        let mut sessions = FetchSessions::new(10, 7);
        let begun = sessions.begin(request(0, 0, &[0, 1]), 0).unwrap();
        assert_eq!((begun.session_id, begun.incremental), (7, None));
        assert_eq!(sessions.finish(&begun, &[quiet(), quiet()]), [true, true]);
        let begun = sessions.begin(request(7, 1, &[]), 0).unwrap();
        assert_eq!(begun.wanted.len(), 2);
        assert_eq!(sessions.finish(&begun, &[quiet(), quiet()]), [false, false]);
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
        let include = sessions.finish(&begun, &said);
        assert!(include[at_one] && include[at_two]);
        assert_eq!(include.iter().filter(|include| **include).count(), 2);
    }

    #[test]
    fn wrong_ids_and_epochs_are_refused() {
        let mut sessions = FetchSessions::new(10, 7);
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
        let mut sessions = FetchSessions::new(10, 7);
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
        // The topic was deleted: nobody knows its name.
        let forgets = |epoch, index| SessionRequest {
            by_id: true,
            forgotten: HashSet::from([SessionKey::new(id, &"".into(), index)]),
            ..request(7, epoch, &[])
        };
        assert_eq!(sessions.begin(forgets(1, 0), 0).unwrap().wanted.len(), 1);
        let empty = sessions.begin(forgets(2, 1), 0).unwrap();
        assert_eq!((empty.session_id, empty.wanted.len()), (0, 0));
        assert!(sessions.is_empty());
        assert_eq!(sessions.partitions, 0);
    }

    #[test]
    fn sessions_have_so_many_partitions_in_all() {
        let mut sessions = FetchSessions::new(10, 7);
        let many: Vec<_> = (0..PARTITIONS_MAX as PartitionIndex / 2).collect();
        let all = |sessions: &mut FetchSessions| {
            let begun = sessions.begin(request(0, 0, &many), 0).unwrap();
            begun.session_id
        };
        assert_eq!(all(&mut sessions), 7);
        assert_eq!(all(&mut sessions), 8);
        assert_eq!(all(&mut sessions), 0);
        let grown = request(8, 1, &[PARTITIONS_MAX as PartitionIndex]);
        let grown = sessions.begin(grown, 0).unwrap();
        assert_eq!((grown.session_id, grown.wanted.len()), (0, many.len() + 1));
        assert_eq!(all(&mut sessions), 9);
    }

    #[test]
    fn a_full_cache_lets_idle_and_smaller_sessions_go() {
        let mut sessions = FetchSessions::new(1, 7);
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
