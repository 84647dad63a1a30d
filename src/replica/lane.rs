//! pure: fetch state of one connection from a follower to a leader: its partitions, its fetch session (KIP-227), and pauses.
//! Kafka's `AbstractFetcherThread` and `FetchSessionHandler`.
//!
//! Owner: a task of [`fetcher`](super::fetcher). The task tells the lane what each partition wants, and gets requests that name
//! only what has changed since the last one: partitions without new records cost nothing. One request is in flight at a time.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::follower::Fetch;
use crate::base::ids::{PartitionIndex, Uuid};
use crate::base::time::Timestamp;
use crate::wire::error_code::ErrorCode;

/// Key of a partition: topic id and index.
pub type Key = (Uuid, PartitionIndex);

/// Session epoch that asks the leader to create a session.
const FIRST_EPOCH: i32 = 0;
const NO_SESSION: i32 = 0;

/// What a partition wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Fetch(Fetch),
    /// The task asks the partition again at this time.
    WaitUntil(Timestamp),
    /// The partition wants no fetch until [`Lane::set`] is called again.
    Nothing,
}

/// Contents of a fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub session_id: i32,
    pub session_epoch: i32,
    /// All wanted partitions in a full request, only changed ones in an incremental request.
    pub named: Vec<(Key, Fetch)>,
    /// Partitions of the session that are not wanted any more.
    pub forgotten: Vec<Key>,
}

/// State of a lane; see the module.
#[derive(Debug, Default)]
pub struct Lane {
    partitions: IndexMap<Key, Want>,
    /// Number of partitions that want a fetch.
    wanting: usize,
    session_id: i32,
    session_epoch: i32,
    /// Partitions of the session, as they were last named.
    in_session: BTreeMap<Key, Fetch>,
    /// Partitions whose entry in the session may differ from what is wanted.
    changed: BTreeSet<Key>,
    waiting: BTreeSet<(Timestamp, Key)>,
    /// End of the pause after a failure; no request is sent before.
    not_before: Option<Timestamp>,
    /// Index of the partition that the next full request begins with.
    rotation: usize,
}

impl Lane {
    /// Sets what a partition wants. The partition may be new.
    pub fn set(&mut self, key: Key, want: Want) {
        let before = self.partitions.insert(key, want);
        self.was(key, before);
        match want {
            Want::Fetch(_) => self.wanting += 1,
            Want::WaitUntil(until) => {
                self.waiting.insert((until, key));
            }
            Want::Nothing => {}
        }
    }

    /// Removes a partition.
    pub fn remove(&mut self, key: Key) {
        let before = self.partitions.swap_remove(&key);
        self.was(key, before);
    }

    fn was(&mut self, key: Key, before: Option<Want>) {
        match before {
            Some(Want::Fetch(_)) => self.wanting -= 1,
            Some(Want::WaitUntil(until)) => {
                self.waiting.remove(&(until, key));
            }
            Some(Want::Nothing) | None => {}
        }
        self.changed.insert(key);
    }

    fn fetch_of(&self, key: Key) -> Option<Fetch> {
        match self.partitions.get(&key)? {
            Want::Fetch(fetch) => Some(*fetch),
            Want::WaitUntil(_) | Want::Nothing => None,
        }
    }

    /// Takes the partitions whose wait is over. Each wants nothing until [`set`](Self::set) is called for it.
    pub fn due(&mut self, now: Timestamp) -> Vec<Key> {
        let mut due = Vec::new();
        while let Some((until, key)) = self.waiting.first().copied()
            && until <= now
        {
            self.set(key, Want::Nothing);
            due.push(key);
        }
        due
    }

    /// Time of the next action that needs no call of [`set`](Self::set): the end of a wait or of the pause.
    pub fn deadline(&self) -> Option<Timestamp> {
        let first = self.waiting.first().map(|(until, _)| *until);
        let pause = self.not_before.filter(|_| self.wanting > 0);
        first.into_iter().chain(pause).min()
    }

    /// The next request; `None` if nothing is wanted, or during the pause after a failure.
    pub fn ask(&mut self, now: Timestamp) -> Option<Ask> {
        if self.wanting == 0 || self.not_before.is_some_and(|moment| now < moment) {
            return None;
        }
        self.not_before = None;
        let mut ask = Ask {
            session_id: self.session_id,
            session_epoch: self.session_epoch,
            named: Vec::new(),
            forgotten: Vec::new(),
        };
        if self.session_epoch == FIRST_EPOCH {
            self.in_session.clear();
            self.changed.clear();
            let keys = self.partitions.keys().copied();
            let mut keys: Vec<_> = keys.collect();
            // Without a session the first partitions would fill every answer.
            let start = self.rotation % keys.len().max(1);
            keys.rotate_left(start);
            self.rotation = start + 1;
            let named = keys.into_iter();
            ask.named = named
                .filter_map(|key| Some((key, self.fetch_of(key)?)))
                .collect();
        } else {
            for key in std::mem::take(&mut self.changed) {
                let (wanted, known) = (self.fetch_of(key), self.in_session.get(&key).copied());
                match (wanted, known) {
                    (Some(wanted), known) if known != Some(wanted) => ask.named.push((key, wanted)),
                    (None, Some(_)) => ask.forgotten.push(key),
                    _ => {}
                }
            }
            for key in &ask.forgotten {
                self.in_session.remove(key);
            }
        }
        self.in_session.extend(ask.named.iter().copied());
        Some(ask)
    }

    /// The fetch that was last sent for a partition; `None` if the session does not have it.
    pub fn asked(&self, key: Key) -> Option<Fetch> {
        self.in_session.get(&key).copied()
    }

    /// Handles an answer with these partitions. False if the answer does not fit the request: it must not be used, and the next
    /// request is a full one.
    pub fn answered(&mut self, ask: &Ask, session_id: i32, answered: &BTreeSet<Key>) -> bool {
        let was_asked = |key: &Key| self.in_session.contains_key(key);
        if !answered.iter().all(was_asked) {
            self.begin_anew(ask.session_id);
            return false;
        }
        if ask.session_epoch == FIRST_EPOCH {
            let is_whole = ask.named.iter().all(|(key, _)| answered.contains(key));
            if !is_whole {
                self.begin_anew(session_id);
                return false;
            }
            // Session id 0: the leader has no room for a session.
            (self.session_id, self.session_epoch) = match session_id {
                NO_SESSION => (NO_SESSION, FIRST_EPOCH),
                id => (id, FIRST_EPOCH + 1),
            };
            return true;
        }
        match session_id == ask.session_id {
            true => self.session_epoch = self.session_epoch.checked_add(1).unwrap_or(1),
            // The leader has closed the session. The answer itself is valid.
            false => self.begin_anew(NO_SESSION),
        }
        true
    }

    /// Handles an error of the whole request.
    pub fn refused(&mut self, ask: &Ask, code: ErrorCode, backoff_ms: i64, now: Timestamp) {
        let id = match code {
            ErrorCode::FetchSessionIdNotFound => NO_SESSION,
            _ => self.session_id,
        };
        self.begin_anew(id);
        // The leader does not know the session, or its epoch: the lane needs no pause before a full request. A full request
        // has no session that could be unknown, and would be repeated without a pause for ever.
        let is_of_session = ask.session_epoch != FIRST_EPOCH
            && matches!(
                code,
                ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch
            );
        if !is_of_session {
            self.not_before = Some(now.saturating_add(backoff_ms));
        }
    }

    /// Handles a request without an answer.
    pub fn lost(&mut self, backoff_ms: i64, now: Timestamp) {
        self.begin_anew(self.session_id);
        self.not_before = Some(now.saturating_add(backoff_ms));
    }

    /// Makes the next request a full one, which closes the session `session_id`.
    fn begin_anew(&mut self, session_id: i32) {
        (self.session_id, self.session_epoch) = (session_id, FIRST_EPOCH);
        self.in_session.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: i64 = 1_000;
    const NOW: Timestamp = 50_000;

    fn key(index: PartitionIndex) -> Key {
        (Uuid([7; 16]), index)
    }

    fn fetch(offset: i64) -> Fetch {
        Fetch {
            current_leader_epoch: 3,
            offset,
            last_fetched_epoch: 3,
            log_start: 0,
        }
    }

    fn keys(range: std::ops::Range<i32>) -> BTreeSet<Key> {
        range.map(key).collect()
    }

    fn lane(count: i32) -> Lane {
        let mut lane = Lane::default();
        for index in 0..count {
            lane.set(key(index), Want::Fetch(fetch(0)));
        }
        lane
    }

    fn named(ask: &Ask) -> Vec<(i32, i64)> {
        let named = ask.named.iter();
        named
            .map(|((_, index), fetch)| (*index, fetch.offset))
            .collect()
    }

    fn forgotten(ask: &Ask) -> Vec<i32> {
        ask.forgotten.iter().map(|(_, index)| *index).collect()
    }

    /// The leader answers the next request with an error.
    fn refuse(lane: &mut Lane, code: ErrorCode) {
        let ask = lane.ask(NOW).unwrap();
        lane.refused(&ask, code, BACKOFF, NOW);
    }

    /// A lane with a session that contains all of its partitions.
    fn with_session(count: i32) -> Lane {
        let mut lane = lane(count);
        let ask = lane.ask(NOW).unwrap();
        assert_eq!((ask.session_id, ask.session_epoch), (0, 0));
        assert_eq!(ask.named.len(), count as usize);
        assert!(lane.answered(&ask, 77, &keys(0..count)));
        lane
    }

    #[test]
    fn a_session_is_told_what_has_changed_and_nothing_else() {
        let mut lane = with_session(1_000);
        let ask = lane.ask(NOW).unwrap();
        assert_eq!((ask.session_id, ask.session_epoch), (77, 1));
        assert_eq!((ask.named.len(), ask.forgotten.len()), (0, 0));
        assert!(lane.answered(&ask, 77, &keys(4..6)));
        lane.set(key(4), Want::Fetch(fetch(9)));
        // The partition wants the same as before.
        lane.set(key(5), Want::Fetch(fetch(0)));
        lane.set(key(6), Want::WaitUntil(NOW + 5));
        lane.remove(key(7));
        lane.set(key(2_000), Want::Fetch(fetch(1)));
        let ask = lane.ask(NOW).unwrap();
        assert_eq!(ask.session_epoch, 2);
        assert_eq!(named(&ask), [(4, 9), (2_000, 1)]);
        assert_eq!(forgotten(&ask), [6, 7]);
        assert!(lane.answered(&ask, 77, &BTreeSet::new()));
        assert_eq!(lane.asked(key(4)), Some(fetch(9)));
        assert_eq!(lane.asked(key(6)), None);
        // Partitions 6 and 7 are added again.
        assert_eq!(lane.due(NOW + 4), []);
        assert_eq!(lane.due(NOW + 5), [key(6)]);
        lane.set(key(6), Want::Fetch(fetch(2)));
        lane.set(key(7), Want::Fetch(fetch(0)));
        let ask = lane.ask(NOW).unwrap();
        assert_eq!(named(&ask), [(6, 2), (7, 0)]);
    }

    #[test]
    fn without_a_session_everything_is_named_and_another_one_is_first() {
        let mut lane = lane(3);
        let ask = lane.ask(NOW).unwrap();
        assert_eq!(named(&ask), [(0, 0), (1, 0), (2, 0)]);
        assert!(lane.answered(&ask, 0, &keys(0..3)));
        lane.set(key(2), Want::Nothing);
        let ask = lane.ask(NOW).unwrap();
        assert_eq!((ask.session_id, ask.session_epoch), (0, 0));
        assert_eq!(
            (named(&ask), forgotten(&ask)),
            (vec![(1, 0), (0, 0)], vec![])
        );
    }

    #[test]
    fn a_session_that_is_lost_begins_anew() {
        type Loss = fn(&mut Lane);
        let losses: [(Loss, i32, Option<Timestamp>); 5] = [
            (
                |lane| refuse(lane, ErrorCode::FetchSessionIdNotFound),
                0,
                None,
            ),
            (
                |lane| refuse(lane, ErrorCode::InvalidFetchSessionEpoch),
                77,
                None,
            ),
            (
                |lane| refuse(lane, ErrorCode::FetchSessionTopicIdError),
                77,
                Some(NOW + BACKOFF),
            ),
            (|lane| lane.lost(BACKOFF, NOW), 77, Some(NOW + BACKOFF)),
            (
                |lane| {
                    // The leader closes the session with its answer.
                    let ask = lane.ask(NOW).unwrap();
                    assert!(lane.answered(&ask, 0, &keys(0..1)));
                },
                0,
                None,
            ),
        ];
        for (lose, id, deadline) in losses {
            let mut lane = with_session(3);
            lose(&mut lane);
            assert_eq!(lane.deadline(), deadline);
            if let Some(deadline) = deadline {
                assert_eq!(lane.ask(deadline - 1), None);
            }
            let ask = lane.ask(deadline.unwrap_or(NOW)).unwrap();
            assert_eq!((ask.session_id, ask.session_epoch), (id, 0));
            assert_eq!(named(&ask).len(), 3);
        }
    }

    #[test]
    fn a_full_request_that_is_refused_is_not_repeated_at_once() {
        for code in [
            ErrorCode::FetchSessionIdNotFound,
            ErrorCode::InvalidFetchSessionEpoch,
        ] {
            for mut lane in [lane(3), with_session(3)] {
                let id = lane.session_id;
                lane.lost(BACKOFF, NOW - BACKOFF);
                refuse(&mut lane, code);
                assert_eq!(lane.ask(NOW + BACKOFF - 1), None, "{code} {id}");
                assert_eq!(lane.ask(NOW + BACKOFF).unwrap().session_epoch, 0);
            }
        }
    }

    #[test]
    fn an_answer_that_does_not_fit_is_not_used() {
        let mut lane = lane(3);
        let ask = lane.ask(NOW).unwrap();
        assert!(!lane.answered(&ask, 77, &keys(0..2)), "one is missing");
        let ask = lane.ask(NOW).unwrap();
        assert_eq!((ask.session_id, ask.session_epoch), (77, 0));
        let mut lane = with_session(3);
        let ask = lane.ask(NOW).unwrap();
        assert!(
            !lane.answered(&ask, 77, &keys(2..4)),
            "one was not asked for"
        );
        assert_eq!(lane.ask(NOW).unwrap().session_epoch, 0);
    }

    /// A partition that is removed while its answer is in flight was still asked for.
    #[test]
    fn a_partition_that_went_meanwhile_spoils_no_answer() {
        let mut lane = with_session(3);
        let ask = lane.ask(NOW).unwrap();
        lane.remove(key(1));
        assert!(lane.answered(&ask, 77, &keys(0..3)));
        let ask = lane.ask(NOW).unwrap();
        assert_eq!(forgotten(&ask), [1]);
        assert_eq!(lane.partitions.len(), 2);
    }

    #[test]
    fn the_epoch_of_a_session_wraps_to_one() {
        let mut lane = with_session(1);
        lane.session_epoch = i32::MAX;
        let ask = lane.ask(NOW).unwrap();
        assert!(lane.answered(&ask, 77, &BTreeSet::new()));
        assert_eq!(lane.ask(NOW).unwrap().session_epoch, 1);
    }

    #[test]
    fn nothing_is_asked_where_nothing_is_wanted() {
        let mut lane = with_session(2);
        lane.set(key(0), Want::WaitUntil(NOW + 7));
        lane.set(key(1), Want::WaitUntil(NOW + 3));
        assert_eq!((lane.ask(NOW), lane.deadline()), (None, Some(NOW + 3)));
        assert_eq!(lane.due(NOW + 9), [key(1), key(0)]);
        assert_eq!((lane.ask(NOW), lane.deadline()), (None, None));
        lane.remove(key(0));
        lane.remove(key(1));
        assert!(lane.partitions.is_empty());
        // A pause without wanted partitions has no deadline.
        lane.lost(BACKOFF, NOW);
        assert_eq!(lane.deadline(), None);
    }
}
