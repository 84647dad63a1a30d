//! Memory that clients cause, counted until it is sent or freed, by what it is for; and who has to wait when there is too much
//! of it.
//!
//! Kafka's `queued.max.request.bytes`, with two differences. Kafka counts what a client promised, so that some promises stop
//! everybody; here only bytes that came are counted. Kafka counts requests until they are handled; here also what waits
//! behind them: whatever still holds on to the bytes of a request, and answers that nobody has taken yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

/// The limit is this part of the memory that the process may have. Over it come what those take who hold little, and one
/// request that is read all the same, of no more than the limit.
const PART_OF_MEMORY: u64 = 4;
/// The limit is never higher without a setting.
const LIMIT_MAX: u64 = 1 << 30;
/// Nor lower: some requests of the size that clients send by default.
const LIMIT_MIN: u64 = 4 << 20;
/// Over the limit, who holds more than this has to wait.
const MUCH: usize = 64 << 10;
/// Over the limit and this part of it, who holds more than [`LITTLE`] has to wait: many may hold little.
const PART_OVER_LIMIT: usize = 4;
const LITTLE: usize = 4 << 10;
/// What members of groups say of themselves is kept up to this part of the limit, besides what the limit is of.
const PART_OF_MEMBERS: usize = 2;
/// Fetches that wait for records may take this part of the limit, and no more than [`WAITING_MAX`].
const PART_OF_WAITING: usize = 4;
/// A million partitions, in all fetches that wait.
const WAITING_MAX: usize = 128_000_000;
/// Codecs and long requests together: more of them wait, however much memory there is.
const CODECS_MAX: usize = 64 << 20;
/// Requests up to this size are handled without being counted: most requests, and the count would cost more than they do.
const UNCOUNTED_MAX: usize = 4 << 10;
/// How long one connection is read from although there is too much. See [`Account::may_read`].
const TURN: Duration = Duration::from_secs(10);

/// What memory is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Requests that are only half there.
    HalfRead,
    /// Requests that are handled, or that something holds on to.
    Requests,
    /// Answers that are in memory and that the client has not taken.
    Answers,
    /// What fetches that wait for records need to know meanwhile.
    WaitingFetches,
    /// What the members of groups said of themselves.
    Members,
    /// What threads of the work pool unpack and compress batches with: what zstd looks back, and its tables; other codecs look
    /// back 64 KiB. Also what requests of many elements are decoded to.
    Codecs,
    /// The cleaner's map of keys.
    Cleaner,
}

const PURPOSES: [(Purpose, &str); 7] = [
    (Purpose::HalfRead, "half-read-requests"),
    (Purpose::Requests, "requests"),
    (Purpose::Answers, "answers"),
    (Purpose::WaitingFetches, "waiting-fetches"),
    (Purpose::Members, "group-members"),
    (Purpose::Codecs, "codecs"),
    (Purpose::Cleaner, "cleaner"),
];
/// What a connection can give back by being served, and nothing else does: the limit is of these together. The others have
/// limits of their own.
const OF_CONNECTIONS: [Purpose; 4] = [
    Purpose::HalfRead,
    Purpose::Requests,
    Purpose::Answers,
    Purpose::WaitingFetches,
];

/// See the module. One for all that a node does.
#[derive(Debug)]
pub struct Memory {
    held: [AtomicUsize; PURPOSES.len()],
    limit: usize,
    next_account: AtomicU64,
    /// Whose turn it is to be read from although there is too much, and since when.
    turn: Mutex<Option<(u64, Instant)>>,
    /// Held while somebody looks whether there is room for codecs.
    codecs: Mutex<()>,
    codecs_given_back: Condvar,
}

/// Whether somebody may be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Goes,
    /// Not before others have given back what they hold.
    Waits,
    /// Its turn is over, and what it sends is still not whole.
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

    /// The limit by `queued.max.request.bytes`; where that is not given, by the memory that the process may have.
    pub fn limit_of(setting: i64, may_have: Option<u64>) -> usize {
        if setting > 0 {
            return usize::try_from(setting).unwrap_or(usize::MAX);
        }
        let part = may_have.map_or(LIMIT_MAX, |bytes| bytes / PART_OF_MEMORY);
        part.clamp(LIMIT_MIN, LIMIT_MAX) as usize
    }

    /// Bytes that all connections together should hold at most; and no request may be longer.
    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn held_for(&self, purpose: Purpose) -> usize {
        self.held[purpose as usize].load(Ordering::Relaxed)
    }

    /// The name of each purpose, and the bytes that are held for it.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, usize)> {
        PURPOSES
            .map(|(purpose, name)| (name, self.held_for(purpose)))
            .into_iter()
    }

    /// Bytes that connections may still take before there is too much; never less than what one may hold even then.
    pub fn room(&self) -> usize {
        let held: usize = OF_CONNECTIONS.iter().map(|of| self.held_for(*of)).sum();
        self.limit.saturating_sub(held).max(MUCH)
    }

    /// What one may hold for now and need not wait.
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

    /// Whether a member of a group may say so much of itself.
    pub fn has_room_for_member(&self, bytes: usize) -> bool {
        self.has_room(Purpose::Members, bytes, self.limit / PART_OF_MEMBERS)
    }

    /// Whether a fetch may wait that needs so much meanwhile.
    pub fn has_room_for_waiting(&self, bytes: usize) -> bool {
        let limit = (self.limit / PART_OF_WAITING).min(WAITING_MAX);
        self.has_room(Purpose::WaitingFetches, bytes, limit)
    }

    /// So much for codecs, up to the limit in all and no more than [`CODECS_MAX`], besides what the limit is of; whatever it is
    /// where nobody has any. `None` where others have to give some back first.
    pub fn room_for_codecs(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let _one = self.codecs.lock();
        self.fits_codecs(bytes).then(|| self.more_for_codecs(bytes))
    }

    /// The same once others have given it back. Blocks.
    pub fn wait_for_codecs(self: &Arc<Self>, bytes: usize) -> Room {
        let mut one = self.codecs.lock();
        while !self.fits_codecs(bytes) {
            self.codecs_given_back.wait(&mut one);
        }
        self.more_for_codecs(bytes)
    }

    /// The same whatever there is, for work that has room already: if it waited, two such could wait for each other.
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

    /// Little is taken longer than much.
    fn has_room(&self, purpose: Purpose, bytes: usize, limit: usize) -> bool {
        let over = if bytes <= LITTLE {
            limit / PART_OVER_LIMIT
        } else {
            0
        };
        self.held_for(purpose).saturating_add(bytes) <= limit + over
    }

    /// Memory of no connection.
    pub fn hold(self: &Arc<Self>, purpose: Purpose, bytes: usize) -> Held {
        Account::of(self).hold(purpose, bytes)
    }
}

/// What one connection holds.
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

    /// So many bytes more, until what this gives is dropped.
    pub fn hold(self: &Arc<Self>, purpose: Purpose, bytes: usize) -> Held {
        let mut held = Held {
            account: Arc::clone(self),
            purpose,
            bytes: 0,
        };
        held.set(bytes);
        held
    }

    /// The bytes of a request, which count until the last slice of them is gone, whoever has it.
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

    /// Whether there is too much, and the connection holds much of it.
    pub fn must_wait(&self) -> bool {
        let share = self.memory.free_share();
        share != usize::MAX && self.held.load(Ordering::Relaxed) > share
    }

    /// Whether more may be read at `now` of a request that is half there. While there is too much, those that hold much have to
    /// wait, but for one of them: each has its turn, or requests that are all half there would wait for each other.
    pub fn may_read(&self, now: Instant) -> Reading {
        if !self.must_wait() {
            // Should there be too much again, the time of a new turn counts.
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

    /// The request is whole, or will never be: the next one has its turn.
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

/// Bytes that are counted until this is dropped.
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

    /// From now on it is so many.
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

/// Memory that codecs may take, until this is dropped. See [`Memory::room_for_codecs`].
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
        // Who goes gives the turn to another, and what it held to all.
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
