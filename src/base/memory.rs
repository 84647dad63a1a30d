//! Accounting of memory that clients cause, by purpose, until it is sent or freed; and the decision which connections must wait
//! when too much is in use.
//!
//! The limit is Kafka's `queued.max.request.bytes`.
//!
//! Kafka differs: it counts the announced length of a request, so that a few announcements can stop all connections; here only
//! bytes that have arrived count. Kafka counts a request until it is handled; here it counts as long as anything holds on to
//! its bytes, and answers that the client has not taken count, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

/// Default limit as a fraction (one quarter) of the memory that the process may have. Actual use can exceed the limit by
/// connections that hold little, and by one request of at most the limit's size that is read nevertheless.
const PART_OF_MEMORY: u64 = 4;
/// Upper bound on the default limit, in bytes.
const LIMIT_MAX: u64 = 1 << 30;
/// Lower bound on the default limit, in bytes: some requests of the size that clients send by default.
const LIMIT_MIN: u64 = 4 << 20;
/// Bytes that a connection may hold without waiting while the limit is exceeded.
const MUCH: usize = 64 << 10;
/// Fraction (one quarter) of the limit by which it may be exceeded before connections that hold more than [`LITTLE`] must wait,
/// too: many connections may each hold little.
const PART_OVER_LIMIT: usize = 4;
const LITTLE: usize = 4 << 10;
/// Fraction (one half) of the limit for what group members send about themselves. This memory is not part of the limit.
const PART_OF_MEMBERS: usize = 2;
/// Fraction (one quarter) of the limit for share sessions, and for records on their way to share groups.
const PART_OF_SHARES: usize = 4;
/// Fraction (one quarter) of the limit for what the share coordinator keeps. This memory is not part of the limit.
const PART_OF_SHARE_STATES: usize = 4;
/// Fraction (one quarter) of the limit for fetches that wait for records, which is at most [`WAITING_MAX`].
const PART_OF_WAITING: usize = 4;
/// Upper bound on the memory of waiting fetches, in bytes: a million partitions in all.
const WAITING_MAX: usize = 128_000_000;
/// Upper bound on the memory of codecs and long requests, in bytes. Further ones wait, however much memory the machine has.
const CODECS_MAX: usize = 64 << 20;
/// Size in bytes up to which requests are not counted. Most requests are that small, and counting one would cost more than the
/// request itself.
const UNCOUNTED_MAX: usize = 4 << 10;
/// Time for which one connection is read from while the limit is exceeded. See [`Account::may_read`].
const TURN: Duration = Duration::from_secs(10);

/// Purpose that memory is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Requests that have not arrived completely.
    HalfRead,
    /// Requests that are being handled, or whose bytes are still in use.
    Requests,
    /// Answers in memory that the client has not taken.
    Answers,
    /// State of fetches that wait for records.
    WaitingFetches,
    /// Data that group members send about themselves.
    Members,
    /// Share sessions, and records on their way to share groups.
    Shares,
    /// What share groups have done with records, as far as the share coordinator keeps it.
    ShareStates,
    /// Buffers with which the work pool unpacks and compresses batches: the window of zstd and its tables; other codecs have
    /// windows of 64 KiB. Also decoded requests with many elements.
    Codecs,
    /// Key map of the log cleaner.
    Cleaner,
}

const PURPOSES: [(Purpose, &str); 9] = [
    (Purpose::HalfRead, "half-read-requests"),
    (Purpose::Requests, "requests"),
    (Purpose::Answers, "answers"),
    (Purpose::WaitingFetches, "waiting-fetches"),
    (Purpose::Members, "group-members"),
    (Purpose::Shares, "share-groups"),
    (Purpose::ShareStates, "share-states"),
    (Purpose::Codecs, "codecs"),
    (Purpose::Cleaner, "cleaner"),
];
/// Purposes whose sum the limit applies to. Serving a connection frees memory of these purposes, and nothing else does. The
/// other purposes have limits of their own.
const OF_CONNECTIONS: [Purpose; 4] = [
    Purpose::HalfRead,
    Purpose::Requests,
    Purpose::Answers,
    Purpose::WaitingFetches,
];

/// Memory counters of a node. See the module.
#[derive(Debug)]
pub struct Memory {
    held: [AtomicUsize; PURPOSES.len()],
    limit: usize,
    next_account: AtomicU64,
    /// Account that may be read from although the limit is exceeded, and the start of its turn.
    turn: Mutex<Option<(u64, Instant)>>,
    /// Held during the check whether codec memory is available.
    codecs: Mutex<()>,
    codecs_given_back: Condvar,
}

/// Whether a connection may be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Goes,
    /// Not before other connections have given memory back.
    Waits,
    /// Its turn is over and its request is still incomplete.
    TooSlow,
}

impl Memory {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            held: Default::default(),
            limit,
            next_account: AtomicU64::new(0),
            turn: Mutex::new(None),
            codecs: Mutex::new(()),
            codecs_given_back: Condvar::new(),
        })
    }

    /// Limit from `queued.max.request.bytes`, or else from the memory that the process may have.
    pub fn limit_of(setting: i64, may_have: Option<u64>) -> usize {
        if setting > 0 {
            return usize::try_from(setting).unwrap_or(usize::MAX);
        }
        let part = may_have.map_or(LIMIT_MAX, |bytes| bytes / PART_OF_MEMORY);
        part.clamp(LIMIT_MIN, LIMIT_MAX) as usize
    }

    /// Limit on the bytes that all connections hold together, and on the length of a request.
    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn held_for(&self, purpose: Purpose) -> usize {
        self.held[purpose as usize].load(Ordering::Relaxed)
    }

    /// Name of each purpose, and the bytes held for it.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, usize)> {
        PURPOSES
            .map(|(purpose, name)| (name, self.held_for(purpose)))
            .into_iter()
    }

    /// Bytes that connections may still take before the limit is reached, but at least what a connection may hold beyond the
    /// limit.
    pub fn room(&self) -> usize {
        let held: usize = OF_CONNECTIONS.iter().map(|of| self.held_for(*of)).sum();
        self.limit.saturating_sub(held).max(MUCH)
    }

    /// Bytes that a connection may hold now without waiting.
    fn free_share(&self) -> usize {
        let held: usize = OF_CONNECTIONS.iter().map(|of| self.held_for(*of)).sum();
        if held <= self.limit {
            usize::MAX
        } else if held <= self.limit + self.limit / PART_OVER_LIMIT {
            MUCH
        } else {
            LITTLE
        }
    }

    /// Whether there is room for `bytes` that a group member sends about itself.
    pub fn has_room_for_member(&self, bytes: usize) -> bool {
        self.has_room(Purpose::Members, bytes, self.limit / PART_OF_MEMBERS)
    }

    /// Whether there is room for `bytes` more of share sessions and of records on their way to share groups.
    pub fn has_room_for_shares(&self, bytes: usize) -> bool {
        self.has_room(Purpose::Shares, bytes, self.limit / PART_OF_SHARES)
    }

    /// Whether the share coordinator has room for `bytes` more.
    pub fn has_room_for_share_states(&self, bytes: usize) -> bool {
        self.has_room(
            Purpose::ShareStates,
            bytes,
            self.limit / PART_OF_SHARE_STATES,
        )
    }

    /// Whether there is room for a waiting fetch whose state takes `bytes`.
    pub fn has_room_for_waiting(&self, bytes: usize) -> bool {
        let limit = (self.limit / PART_OF_WAITING).min(WAITING_MAX);
        self.has_room(Purpose::WaitingFetches, bytes, limit)
    }

    /// Reserves codec memory. All reservations together may take the limit, but at most `CODECS_MAX`; this memory is not part
    /// of the limit. A first reservation may have any size. `None` if others must give memory back first.
    pub fn room_for_codecs(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let _one = self.codecs.lock();
        self.fits_codecs(bytes).then(|| self.more_for_codecs(bytes))
    }

    /// Reserves codec memory, and blocks until it is available.
    pub fn wait_for_codecs(self: &Arc<Self>, bytes: usize) -> Room {
        let mut one = self.codecs.lock();
        while !self.fits_codecs(bytes) {
            self.codecs_given_back.wait(&mut one);
        }
        self.more_for_codecs(bytes)
    }

    /// Reserves codec memory without any check, for work that already has a reservation: if such work waited, two jobs could
    /// wait for each other.
    pub fn more_for_codecs(self: &Arc<Self>, bytes: usize) -> Room {
        Room {
            memory: Arc::clone(self),
            held: Some(self.hold(Purpose::Codecs, bytes)),
        }
    }

    fn fits_codecs(&self, bytes: usize) -> bool {
        let held = self.held_for(Purpose::Codecs);
        held == 0 || held.saturating_add(bytes) <= self.limit.min(CODECS_MAX)
    }

    /// Whether `bytes` more fit into `limit`. Small amounts may exceed it by a quarter.
    fn has_room(&self, purpose: Purpose, bytes: usize, limit: usize) -> bool {
        let over = if bytes <= LITTLE {
            limit / PART_OVER_LIMIT
        } else {
            0
        };
        self.held_for(purpose).saturating_add(bytes) <= limit + over
    }

    /// Counts memory that belongs to no connection.
    pub fn hold(self: &Arc<Self>, purpose: Purpose, bytes: usize) -> Held {
        Account::of(self).hold(purpose, bytes)
    }
}

/// Memory of one connection.
#[derive(Debug)]
pub struct Account {
    memory: Arc<Memory>,
    id: u64,
    held: AtomicUsize,
    has_turn: AtomicBool,
}

impl Account {
    pub fn of(memory: &Arc<Memory>) -> Arc<Self> {
        Arc::new(Self {
            id: memory.next_account.fetch_add(1, Ordering::Relaxed),
            memory: Arc::clone(memory),
            held: AtomicUsize::new(0),
            has_turn: AtomicBool::new(false),
        })
    }

    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Number of the account: no other connection of this process has the same.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Counts `bytes` until the returned value is dropped.
    pub fn hold(self: &Arc<Self>, purpose: Purpose, bytes: usize) -> Held {
        let mut held = Held {
            account: Arc::clone(self),
            purpose,
            bytes: 0,
        };
        held.set(bytes);
        held
    }

    /// Counts the bytes of a request until their last slice is dropped, wherever it is.
    pub fn count(self: &Arc<Self>, request: Bytes) -> Bytes {
        struct Counted(
            Bytes,
            #[expect(dead_code, reason = "counts while it lives")] Held,
        );
        impl AsRef<[u8]> for Counted {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        if request.len() <= UNCOUNTED_MAX {
            return request;
        }
        let held = self.hold(Purpose::Requests, request.len());
        Bytes::from_owner(Counted(request, held))
    }

    /// Whether the limit is exceeded and this connection holds more than its share.
    pub fn must_wait(&self) -> bool {
        let share = self.memory.free_share();
        share != usize::MAX && self.held.load(Ordering::Relaxed) > share
    }

    /// Whether more of an incomplete request may be read at `now`. While the limit is exceeded, connections that hold much must
    /// wait, except for one at a time. Without these turns, incomplete requests could all wait for one another.
    pub fn may_read(&self, now: Instant) -> Reading {
        if !self.must_wait() {
            // If the limit is exceeded again later, a new turn begins.
            self.has_read();
            return Reading::Goes;
        }
        let mut turn = self.memory.turn.lock();
        match *turn {
            Some((id, since)) if id == self.id => match now.duration_since(since) < TURN {
                true => Reading::Goes,
                false => Reading::TooSlow,
            },
            Some(_) => Reading::Waits,
            None => {
                *turn = Some((self.id, now));
                self.has_turn.store(true, Ordering::Relaxed);
                Reading::Goes
            }
        }
    }

    /// Ends the turn of this connection: its request is complete, or never will be.
    pub fn has_read(&self) {
        if self.has_turn.swap(false, Ordering::Relaxed) {
            *self.memory.turn.lock() = None;
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.has_read();
    }
}

/// Number of bytes that count until the value is dropped.
#[derive(Debug)]
pub struct Held {
    account: Arc<Account>,
    purpose: Purpose,
    bytes: usize,
}

impl Held {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the number of bytes.
    pub fn set(&mut self, bytes: usize) {
        let counts = [
            &self.account.held,
            &self.account.memory.held[self.purpose as usize],
        ];
        for count in counts {
            if bytes > self.bytes {
                count.fetch_add(bytes - self.bytes, Ordering::Relaxed);
            } else if bytes < self.bytes {
                count.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            }
        }
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Reservation of codec memory, until it is dropped. See [`Memory::room_for_codecs`].
#[derive(Debug)]
pub struct Room {
    memory: Arc<Memory>,
    held: Option<Held>,
}

impl Drop for Room {
    fn drop(&mut self) {
        let _one = self.memory.codecs.lock();
        drop(self.held.take());
        self.memory.codecs_given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_adds_up_and_comes_back() {
        let memory = Memory::new(1_000_000);
        let account = Account::of(&memory);
        let mut half = account.hold(Purpose::HalfRead, 300);
        let answers = account.hold(Purpose::Answers, 40);
        half.set(100);
        let figures: Vec<_> = memory.figures().filter(|(_, bytes)| *bytes > 0).collect();
        assert_eq!(figures, [("half-read-requests", 100), ("answers", 40)]);
        drop((half, answers));
        assert!(memory.figures().all(|(_, bytes)| bytes == 0));
        for (index, (purpose, _)) in PURPOSES.iter().enumerate() {
            assert_eq!(index, *purpose as usize);
        }
    }

    #[test]
    fn a_request_counts_until_its_last_slice_is_gone() {
        let memory = Memory::new(1_000_000);
        let request = Account::of(&memory).count(Bytes::from(vec![7; 50_000]));
        let slice = request.slice(10..20);
        drop(request);
        assert_eq!(memory.held_for(Purpose::Requests), 50_000);
        drop(slice);
        assert_eq!(memory.held_for(Purpose::Requests), 0);
    }

    #[test]
    fn over_the_limit_those_that_hold_much_wait_and_one_after_the_other_has_its_turn() {
        let memory = Memory::new(1_000_000);
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let holder = |bytes| {
            let account = Account::of(&memory);
            let held = account.hold(Purpose::HalfRead, bytes);
            (account, held)
        };
        let (small, _) = (holder(MUCH), ());
        let (first, second) = (holder(600_000), holder(300_000));
        assert_eq!(second.0.may_read(start), Reading::Goes);
        let third = holder(200_000);
        assert_eq!(small.0.may_read(start), Reading::Goes);
        assert_eq!(first.0.may_read(start), Reading::Goes);
        assert_eq!(second.0.may_read(start), Reading::Waits);
        assert_eq!(first.0.may_read(later(9)), Reading::Goes);
        first.0.has_read();
        assert_eq!(third.0.may_read(later(9)), Reading::Goes);
        assert_eq!(first.0.may_read(later(9)), Reading::Waits);
        assert_eq!(third.0.may_read(later(19)), Reading::TooSlow);
        // A dropped account passes on its turn and gives back its memory.
        drop(third);
        assert_eq!(first.0.may_read(later(20)), Reading::Goes);
        drop(first);
        assert_eq!(second.0.may_read(later(40)), Reading::Goes);
    }

    #[test]
    fn where_many_hold_little_who_holds_little_waits_too() {
        let memory = Memory::new(1_000_000);
        let crowd: Vec<_> = (0..20)
            .map(|_| Account::of(&memory).hold(Purpose::HalfRead, MUCH))
            .collect();
        let now = Instant::now();
        let (one, two) = (&crowd[0].account, &crowd[1].account);
        assert_eq!(one.may_read(now), Reading::Goes);
        assert_eq!(two.may_read(now), Reading::Waits);
        let newcomer = Account::of(&memory);
        let _held = newcomer.hold(Purpose::HalfRead, LITTLE);
        assert_eq!(newcomer.may_read(now), Reading::Goes);
    }

    #[test]
    fn the_limit_is_a_part_of_the_memory_that_the_process_may_have() {
        let members = Memory::new(1_000_000);
        assert!(members.has_room_for_member(500_000) && !members.has_room_for_member(500_001));
        let _held = members.hold(Purpose::Members, 500_000);
        assert!(members.has_room_for_member(LITTLE) && !members.has_room_for_member(LITTLE + 1));
        let large = Memory::new(1 << 30);
        let first = large.room_for_codecs(CODECS_MAX).unwrap();
        assert!(large.room_for_codecs(1).is_none());
        drop(first);
        assert!(large.room_for_codecs(CODECS_MAX + 1).is_some());
        for (setting, may_have, limit) in [
            (-1, Some(64 << 20), 16 << 20),
            (-1, Some(512 << 20), 128 << 20),
            (0, Some(1 << 40), 1 << 30),
            (-1, Some(8 << 20), 4 << 20),
            (-1, None, 1 << 30),
            (300_000, Some(64 << 20), 300_000),
        ] {
            assert_eq!(Memory::limit_of(setting, may_have), limit);
        }
    }
}
