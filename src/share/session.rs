//! pure: share sessions (KIP-932): the partitions that each member fetches, so that requests name only changes. A session
//! belongs to the connection of its member: when the connection closes, the member has left.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytestring::ByteString;
use indexmap::IndexSet;

use crate::base::ids::{PartitionIndex, Uuid};
use crate::wire::error_code::ErrorCode;

/// Epoch of a request that begins a session.
pub const BEGIN: i32 = 0;
/// Epoch of a request that ends a session.
pub const END: i32 = -1;
/// Limit of partitions over all sessions.
const PARTITIONS_MAX: usize = 1_000_000;
/// Limit of partitions of one session. A fetch looks at all of them.
const SESSION_PARTITIONS_MAX: usize = 100_000;

/// Owner of a session: a member of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    pub group: ByteString,
    pub member: ByteString,
}

/// A partition: topic id and index.
pub type Place = (Uuid, PartitionIndex);

#[derive(Debug)]
struct Session {
    connection: u64,
    /// Name of the member. Locks share this very value, so that the end of the session releases those that were acquired
    /// through it, and none of a later session.
    member: Arc<str>,
    /// Epoch of the next request.
    epoch: i32,
    partitions: IndexSet<Place>,
}

/// Result of finding or creating the session of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Partitions to fetch. The order rotates: the first partition of one fetch is the last one of the next.
    pub partitions: Vec<Place>,
    pub is_new: bool,
    pub member: Arc<str>,
    /// Whether the session ends with this request.
    pub ends: bool,
}

/// All share sessions of a node.
#[derive(Debug)]
pub struct Sessions {
    by_key: BTreeMap<SessionKey, Session>,
    by_connection: BTreeMap<u64, BTreeSet<SessionKey>>,
    /// Number of sessions of each group.
    groups: BTreeMap<ByteString, usize>,
    partitions: usize,
    sessions_max: usize,
}

impl Sessions {
    /// `sessions_max` is `group.share.max.share.sessions`.
    pub fn new(sessions_max: usize) -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            groups: BTreeMap::new(),
            partitions: 0,
            sessions_max,
        }
    }

    pub fn count(&self) -> usize {
        self.by_key.len()
    }

    /// Number of partitions in all sessions.
    pub fn places(&self) -> usize {
        self.partitions
    }

    /// Number of partitions of one session; 0 if there is none.
    pub fn places_of(&self, key: &SessionKey) -> usize {
        let session = self.by_key.get(key);
        session.map_or(0, |session| session.partitions.len())
    }

    pub fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// Handles a fetch that adds and forgets partitions.
    ///
    /// Errors: `ShareSessionNotFound`, `InvalidShareSessionEpoch`, `ShareSessionLimitReached`.
    pub fn fetch(
        &mut self,
        key: &SessionKey,
        epoch: i32,
        connection: u64,
        named: &[Place],
        forgotten: &[Place],
    ) -> Result<Begun, ErrorCode> {
        if epoch == BEGIN {
            return self.begin(key, connection, named);
        }
        let (ends, known) = self.go_on(key, epoch, connection)?;
        let Some(session) = self.by_key.get_mut(key) else {
            return Err(ErrorCode::ShareSessionNotFound);
        };
        let member = Arc::clone(&session.member);
        if ends {
            return Ok(Begun {
                partitions: Vec::new(),
                is_new: false,
                member,
                ends,
            });
        }
        let before = session.partitions.len();
        if !forgotten.is_empty() {
            let forgotten: BTreeSet<&Place> = forgotten.iter().collect();
            (session.partitions).retain(|place| !forgotten.contains(place));
        }
        self.partitions -= before - session.partitions.len();
        let mut added: IndexSet<Place> = named.iter().copied().collect();
        added.retain(|place| !session.partitions.contains(place));
        if session.partitions.len() + added.len() > SESSION_PARTITIONS_MAX
            || self.partitions + added.len() > PARTITIONS_MAX
        {
            return Err(ErrorCode::ShareSessionLimitReached);
        }
        self.partitions += added.len();
        session.partitions.extend(added);
        let mut partitions: Vec<Place> = session.partitions.iter().copied().collect();
        if !partitions.is_empty() {
            let by = known.unsigned_abs() as usize % partitions.len();
            partitions.rotate_left(by);
        }
        Ok(Begun {
            partitions,
            is_new: false,
            member,
            ends,
        })
    }

    /// Handles acknowledgements without a fetch. True if the session ends with the request. Errors: those of [`Self::fetch`].
    pub fn acknowledge(
        &mut self,
        key: &SessionKey,
        epoch: i32,
        connection: u64,
    ) -> Result<bool, ErrorCode> {
        if epoch == BEGIN {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        Ok(self.go_on(key, epoch, connection)?.0)
    }

    fn begin(
        &mut self,
        key: &SessionKey,
        connection: u64,
        named: &[Place],
    ) -> Result<Begun, ErrorCode> {
        let partitions: IndexSet<Place> = named.iter().copied().collect();
        let earlier = self.by_key.get(key);
        let others = self.by_key.len() - usize::from(earlier.is_some());
        let of_others = self.partitions - self.places_of(key);
        if others >= self.sessions_max
            || partitions.len() > SESSION_PARTITIONS_MAX
            || of_others + partitions.len() > PARTITIONS_MAX
        {
            return Err(ErrorCode::ShareSessionLimitReached);
        }
        // An earlier session of the member is dropped; the records acquired through it stay acquired.
        let member = self.end(key).unwrap_or_else(|| Arc::from(&*key.member));
        self.partitions += partitions.len();
        let begun = partitions.iter().copied().collect();
        // The ids are copied, so that they do not keep the request's frame alive.
        let key = SessionKey {
            group: ByteString::from(&*key.group),
            member: ByteString::from(&*key.member),
        };
        *self.groups.entry(key.group.clone()).or_default() += 1;
        let own = self.by_connection.entry(connection).or_default();
        own.insert(key.clone());
        let session = Session {
            connection,
            member: Arc::clone(&member),
            epoch: 1,
            partitions,
        };
        self.by_key.insert(key, session);
        Ok(Begun {
            partitions: begun,
            is_new: true,
            member,
            ends: false,
        })
    }

    /// Checks the epoch of a request and advances it. Returns whether the session ends, and its old epoch.
    fn go_on(
        &mut self,
        key: &SessionKey,
        epoch: i32,
        connection: u64,
    ) -> Result<(bool, i32), ErrorCode> {
        let session = self.by_key.get_mut(key);
        let session = session.ok_or(ErrorCode::ShareSessionNotFound)?;
        if epoch != END && epoch != session.epoch {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        if session.connection != connection {
            let before = std::mem::replace(&mut session.connection, connection);
            leave(&mut self.by_connection, before, key);
            let own = self.by_connection.entry(connection).or_default();
            own.insert(key.clone());
        }
        if epoch == END {
            return Ok((true, session.epoch));
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        Ok((false, epoch))
    }

    /// Ends a session, if it exists. Returns its member.
    pub fn end(&mut self, key: &SessionKey) -> Option<Arc<str>> {
        let session = self.by_key.remove(key)?;
        self.partitions -= session.partitions.len();
        leave(&mut self.by_connection, session.connection, key);
        if let Some(count) = self.groups.get_mut(&key.group) {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(&key.group);
            }
        }
        Some(session.member)
    }

    /// Ends the sessions of a connection, except for those that continued on another one. Returns their members by group.
    pub fn connection_closed(&mut self, connection: u64) -> BTreeMap<ByteString, Vec<Arc<str>>> {
        let own = self.by_connection.remove(&connection).unwrap_or_default();
        let mut gone: BTreeMap<ByteString, Vec<Arc<str>>> = BTreeMap::new();
        for key in own {
            if let Some(member) = self.end(&key) {
                gone.entry(key.group).or_default().push(member);
            }
        }
        gone
    }
}

fn leave(by: &mut BTreeMap<u64, BTreeSet<SessionKey>>, connection: u64, key: &SessionKey) {
    if let Entry::Occupied(mut own) = by.entry(connection) {
        own.get_mut().remove(key);
        if own.get().is_empty() {
            own.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: Uuid = Uuid([1; 16]);

    fn key(member: &str) -> SessionKey {
        SessionKey {
            group: "g".into(),
            member: member.into(),
        }
    }

    fn places(indexes: impl IntoIterator<Item = i32>) -> Vec<Place> {
        indexes.into_iter().map(|index| (TOPIC, index)).collect()
    }

    fn indexes(begun: Result<Begun, ErrorCode>) -> Vec<i32> {
        let partitions = begun.unwrap().partitions;
        partitions.iter().map(|(_, index)| *index).collect()
    }

    #[test]
    fn a_session_knows_its_partitions_and_which_request_comes_next() {
        let mut sessions = Sessions::new(2);
        let a = key("a");
        let gone = sessions.fetch(&a, 1, 7, &[], &[]);
        assert_eq!(gone, Err(ErrorCode::ShareSessionNotFound));
        assert_eq!(
            indexes(sessions.fetch(&a, 0, 7, &places(0..3), &[])),
            [0, 1, 2]
        );
        assert_eq!(indexes(sessions.fetch(&a, 1, 7, &[], &[])), [1, 2, 0]);
        let wrong = Err(ErrorCode::InvalidShareSessionEpoch);
        assert_eq!(sessions.fetch(&a, 1, 7, &[], &[]), wrong);
        assert_eq!(
            sessions.acknowledge(&a, 0, 7),
            Err(ErrorCode::InvalidShareSessionEpoch)
        );
        assert_eq!(sessions.acknowledge(&a, 2, 7), Ok(false));
        let fetched = sessions.fetch(&a, 3, 7, &places([5]), &places([0, 1]));
        assert_eq!(indexes(fetched), [5, 2]);
        assert_eq!(sessions.acknowledge(&a, END, 7), Ok(true));
        assert!(sessions.end(&a).is_some() && sessions.end(&a).is_none());
        assert!(!sessions.has_group("g"));
        assert_eq!(sessions.partitions, 0);
    }

    #[test]
    fn the_number_of_a_request_wraps() {
        let mut sessions = Sessions::new(2);
        let a = key("a");
        sessions.fetch(&a, 0, 7, &[], &[]).unwrap();
        sessions.by_key.get_mut(&a).unwrap().epoch = i32::MAX;
        sessions.fetch(&a, i32::MAX, 7, &[], &[]).unwrap();
        sessions.fetch(&a, 1, 7, &[], &[]).unwrap();
    }

    #[test]
    fn a_connection_takes_its_sessions_along_but_not_those_that_go_on_elsewhere() {
        let mut sessions = Sessions::new(9);
        for name in ["a", "b", "c"] {
            sessions.fetch(&key(name), 0, 1, &[], &[]).unwrap();
        }
        sessions.fetch(&key("b"), 0, 2, &[], &[]).unwrap();
        sessions.acknowledge(&key("c"), 1, 3).unwrap();
        // A request with a wrong epoch takes no session along.
        let wrong = sessions.acknowledge(&key("a"), 9, 3);
        assert_eq!(wrong, Err(ErrorCode::InvalidShareSessionEpoch));
        let gone = |gone: BTreeMap<ByteString, Vec<Arc<str>>>| -> String {
            gone.into_values()
                .flatten()
                .map(|name| name.to_string())
                .collect()
        };
        assert_eq!(gone(sessions.connection_closed(1)), "a");
        assert_eq!(gone(sessions.connection_closed(1)), "");
        assert_eq!(sessions.count(), 2);
        assert_eq!(gone(sessions.connection_closed(3)), "c");
        assert!(sessions.has_group("g"));
        sessions.connection_closed(2);
        assert!(sessions.by_connection.is_empty() && sessions.groups.is_empty());
    }

    /// A hundred thousand members that send one request each.
    #[test]
    fn there_are_no_more_sessions_than_may_be() {
        let mut sessions = Sessions::new(2_000);
        let mut refused = 0;
        for number in 0..100_000u64 {
            let name = format!("m{number}");
            match sessions.fetch(&key(&name), 0, number, &places(0..3), &[]) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error, ErrorCode::ShareSessionLimitReached);
                    refused += 1;
                }
            }
        }
        assert_eq!((sessions.count(), refused), (2_000, 98_000));
        assert_eq!(
            (sessions.by_connection.len(), sessions.partitions),
            (2_000, 6_000)
        );
        // A member with a session may begin a new one, with the same name; a refused one leaves the session as it was.
        let member = Arc::clone(&sessions.by_key[&key("m5")].member);
        let begun = sessions.fetch(&key("m5"), 0, 5, &[], &[]).unwrap();
        assert!(Arc::ptr_eq(&begun.member, &member));
        let most = places(0..SESSION_PARTITIONS_MAX as i32 + 1);
        let refused = sessions.fetch(&key("m5"), 0, 5, &most, &[]);
        assert_eq!(refused, Err(ErrorCode::ShareSessionLimitReached));
        sessions.fetch(&key("m5"), 1, 5, &[], &[]).unwrap();
    }

    #[test]
    fn there_are_no_more_partitions_than_may_be_and_none_is_counted_twice() {
        let mut sessions = Sessions::new(20);
        let full = Err(ErrorCode::ShareSessionLimitReached);
        let most = SESSION_PARTITIONS_MAX as i32;
        let names: Vec<String> = (0..10).map(|number| format!("m{number}")).collect();
        for name in &names {
            sessions.fetch(&key(name), 0, 1, &[], &[]).unwrap();
            let fetched = sessions.fetch(&key(name), 1, 1, &places(1..most), &[]);
            fetched.unwrap();
            let more = places(most..most + 2);
            assert_eq!(sessions.fetch(&key(name), 2, 1, &more, &[]), full);
        }
        assert_eq!(sessions.partitions, PARTITIONS_MAX - 10);
        assert_eq!(sessions.fetch(&key("b"), 0, 1, &places(0..11), &[]), full);
        sessions.fetch(&key("b"), 0, 1, &places(0..9), &[]).unwrap();
        assert_eq!(sessions.fetch(&key("b"), 1, 1, &places(9..11), &[]), full);
        // What a refused request forgets is forgotten.
        let fetched = sessions.fetch(&key("b"), 2, 1, &places(9..20), &places(0..9));
        assert_eq!(fetched, full);
        assert_eq!(sessions.partitions, PARTITIONS_MAX - 10);
        for name in names.iter().map(String::as_str).chain(["b"]) {
            assert!(sessions.end(&key(name)).is_some());
        }
        assert_eq!(sessions.partitions, 0);
    }

    /// Forgetting takes no time that grows with the square of the partitions: it happens under a lock of all sessions.
    #[test]
    fn a_session_forgets_all_its_partitions_at_once() {
        let mut sessions = Sessions::new(1);
        let most = places(0..SESSION_PARTITIONS_MAX as i32);
        let a = key("a");
        sessions.fetch(&a, 0, 1, &most, &[]).unwrap();
        for epoch in 1..100 {
            let fetched = match epoch % 2 {
                1 => sessions.fetch(&a, epoch, 1, &[], &most),
                _ => sessions.fetch(&a, epoch, 1, &most, &[]),
            };
            assert_eq!(indexes(fetched).is_empty(), epoch % 2 == 1);
        }
    }
}
