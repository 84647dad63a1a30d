//! Waiting requests: fetches that want more bytes than there are, and appends that are not committed yet. A waiter names an
//! offset and is woken when the partition has passed it or changes its role. There is no polling, and no waiter is woken for
//! others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::ids::Offset;
use crate::base::small_map::SmallMap;
use crate::base::work_pool::checkpoint;

/// Bytes of memory for a partition of a waiting fetch: its request, its result so far, and its entries in the lists of the
/// waiter and of the partition.
pub const PLACE_BYTES: usize = 128;

/// Source of waiter ids of this node.
#[derive(Debug, Default)]
pub struct Waiters {
    next: AtomicU64,
}

/// Position of a partition that a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// Used by consumers, and by appends with acks=all.
    HighWatermark,
    /// Used by followers, which get the high watermark with their next answer.
    LogEnd,
}

/// A partition that waiters can wait for.
pub trait Watched {
    fn list(&self) -> &WaitList;
    fn position(&self, mark: Mark) -> Offset;
}

/// Waiters of one partition.
#[derive(Debug, Default)]
pub struct WaitList {
    /// Waiters that were not woken since their last look. Most partitions have one waiting consumer, or none.
    waiting: Mutex<SmallMap<Key, Arc<Bell>>>,
    /// Number of times that all waiters were woken.
    turn: AtomicU32,
}

/// Key of a waiter, in the order in which a mark passes waiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    mark: Mark,
    /// The waiter is woken when the mark is greater.
    beyond: Offset,
    waiter: u64,
    /// Index of the partition in the waiter.
    place: u32,
}

impl Key {
    fn first_of(mark: Mark, beyond: Offset) -> Self {
        Self {
            mark,
            beyond,
            waiter: 0,
            place: 0,
        }
    }
}

/// Notification of a waiter.
#[derive(Debug, Default)]
struct Bell {
    notify: Notify,
    /// Places that have changed, each once.
    places: Mutex<Vec<u32>>,
}

impl Bell {
    fn ring(&self, place: u32) {
        self.places.lock().push(place);
        self.notify.notify_one();
    }
}

impl WaitList {
    /// Wakes the waiters that a moved mark has passed; the others are not touched. Must be called after the new mark is
    /// visible.
    pub fn moved(&self, mark: Mark, position: Offset) {
        let (first, end) = (
            Key::first_of(mark, Offset::MIN),
            Key::first_of(mark, position),
        );
        let passed = self.waiting.lock().take_between(&first, &end);
        for (key, bell) in passed {
            bell.ring(key.place);
        }
    }

    /// Wakes all waiters, because the partition has changed its role.
    pub fn wake_all(&self) {
        let all = {
            let mut waiting = self.waiting.lock();
            self.turn.fetch_add(1, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        for (key, bell) in all {
            bell.ring(key.place);
        }
    }

    /// A number that changes with each change of role. Read before a look at the partition, it tells a waiter that begins later
    /// whether a change was missed.
    pub fn turn(&self) -> u32 {
        self.turn.load(Ordering::Acquire)
    }
}

/// Offset that a waiter waits for at one partition.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The waiter is woken when the mark is greater.
    pub beyond: Offset,
    /// See [`WaitList::turn`].
    pub turn: u32,
}

/// A waiter for some partitions, until dropped.
#[derive(Debug)]
pub struct Waiter<T: Watched> {
    id: u64,
    mark: Mark,
    bell: Arc<Bell>,
    places: Vec<Place<T>>,
}

#[derive(Debug)]
struct Place<T> {
    watched: T,
    wish: Offset,
    /// Offset under which the waiter is in the list, if it was not woken since.
    beyond: Offset,
}

impl<T: Watched> Waiter<T> {
    /// Begins to wait. Changes are noticed from now on, and also those since the look at the partition that gave the wish.
    pub fn new(waiters: &Waiters, mark: Mark, wishes: Vec<(T, Wish)>) -> Self {
        let id = waiters.next.fetch_add(1, Ordering::Relaxed);
        let mut this = Self {
            id,
            mark,
            bell: Arc::new(Bell::default()),
            places: Vec::with_capacity(wishes.len()),
        };
        for ((watched, wish), place) in wishes.into_iter().zip(0..) {
            let key = this.key(place, wish.beyond);
            {
                let mut waiting = watched.list().waiting.lock();
                let is_late = watched.list().turn() != wish.turn;
                if is_late || watched.position(mark) > wish.beyond {
                    this.bell.ring(place);
                } else {
                    waiting.insert(key, Arc::clone(&this.bell));
                }
            }
            this.places.push(Place {
                watched,
                wish: wish.beyond,
                beyond: wish.beyond,
            });
            checkpoint();
        }
        this
    }

    fn key(&self, place: u32, beyond: Offset) -> Key {
        Key {
            mark: self.mark,
            beyond,
            waiter: self.id,
            place,
        }
    }

    /// Waits until a change has not been taken yet.
    pub async fn woken(&self) {
        self.bell.notify.notified().await;
    }

    /// Reports a place as changed, whether it has changed or not.
    pub fn look_again(&self, place: usize) {
        if self.leave(place) {
            self.bell.ring(place as u32);
        }
    }

    /// Ends the wait for a place.
    pub fn is_done(&self, place: usize) {
        self.leave(place);
    }

    /// Removes the waiter from the list of a place; returns whether it was there.
    fn leave(&self, place: usize) -> bool {
        let Some(at) = self.places.get(place) else {
            return false;
        };
        let key = self.key(place as u32, at.beyond);
        at.watched.list().waiting.lock().remove(&key).is_some()
    }

    /// Takes the changed places, each once and sorted. A look at them after this call misses no change.
    pub fn take(&mut self) -> Vec<usize> {
        let taken = std::mem::take(&mut *self.bell.places.lock());
        let mut places: Vec<usize> = taken.into_iter().map(|place| place as usize).collect();
        places.sort_unstable();
        for place in &places {
            let (id, mark) = (self.id, self.mark);
            let Some(at) = self.places.get_mut(*place) else {
                continue;
            };
            let mut waiting = at.watched.list().waiting.lock();
            at.beyond = at.watched.position(mark).max(at.wish);
            let key = Key {
                mark,
                beyond: at.beyond,
                waiter: id,
                place: *place as u32,
            };
            waiting.insert(key, Arc::clone(&self.bell));
        }
        places
    }
}

impl<T: Watched> Drop for Waiter<T> {
    fn drop(&mut self) {
        for place in 0..self.places.len() {
            self.leave(place);
            checkpoint();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    #[derive(Debug, Default)]
    struct Marks {
        list: WaitList,
        high_watermark: AtomicI64,
        log_end: AtomicI64,
    }

    #[derive(Clone, Debug, Default)]
    struct Partition(Arc<Marks>);

    impl Watched for Partition {
        fn list(&self) -> &WaitList {
            &self.0.list
        }

        fn position(&self, mark: Mark) -> Offset {
            self.of(mark).load(Ordering::Acquire)
        }
    }

    impl Partition {
        fn of(&self, mark: Mark) -> &AtomicI64 {
            match mark {
                Mark::HighWatermark => &self.0.high_watermark,
                Mark::LogEnd => &self.0.log_end,
            }
        }

        fn move_to(&self, mark: Mark, position: Offset) {
            self.of(mark).store(position, Ordering::Release);
            self.0.list.moved(mark, position);
        }

        fn wish(&self, beyond: Offset) -> (Self, Wish) {
            let turn = self.0.list.turn();
            (self.clone(), Wish { beyond, turn })
        }
    }

    const HW: Mark = Mark::HighWatermark;

    fn partitions(count: usize) -> Vec<Partition> {
        (0..count).map(|_| Partition::default()).collect()
    }

    fn wishes(partitions: &[Partition]) -> Vec<(Partition, Wish)> {
        partitions.iter().map(|one| one.wish(0)).collect()
    }

    fn is_listed(partition: &Partition) -> bool {
        !partition.0.list.waiting.lock().is_empty()
    }

    #[tokio::test]
    async fn a_wake_up_before_the_wait_is_not_lost_and_nothing_is_left_behind() {
        let partitions = partitions(4);
        let before = wishes(&partitions);
        partitions[2].move_to(HW, 1);
        partitions[3].0.list.wake_all();
        let mut waiter = Waiter::new(&Waiters::default(), HW, before);
        waiter.woken().await;
        assert_eq!(waiter.take(), [2, 3]);
        partitions[1].move_to(HW, 7);
        waiter.woken().await;
        assert_eq!(waiter.take(), [1]);
        drop(waiter);
        assert!(!partitions.iter().any(is_listed));
    }

    #[tokio::test]
    async fn a_waiter_hears_of_each_place_once_until_it_looks() {
        let partitions = partitions(1_000);
        let mut waiter = Waiter::new(&Waiters::default(), HW, wishes(&partitions));
        for position in 1..100 {
            partitions[7].move_to(HW, position);
            partitions[5].move_to(HW, position);
            waiter.look_again(5);
        }
        assert_eq!(waiter.bell.places.lock().len(), 2);
        waiter.woken().await;
        assert_eq!(waiter.take(), [5, 7]);
        assert!(waiter.take().is_empty());
        partitions[7].move_to(HW, 100);
        assert_eq!(waiter.take(), [7]);
        waiter.look_again(5);
        assert_eq!(waiter.take(), [5]);
    }

    /// Regression: each append of ten thousand clients woke all of them.
    #[test]
    fn whoever_waits_for_more_is_not_woken() {
        let partition = Partition::default();
        let numbers = Waiters::default();
        let wait = |mark, beyond| Waiter::new(&numbers, mark, vec![partition.wish(beyond)]);
        let mut waiters: Vec<_> = (0..10_000).map(|beyond| wait(HW, beyond)).collect();
        let mut follower = wait(Mark::LogEnd, 5);
        let is_rung = |waiter: &Waiter<Partition>| !waiter.bell.places.lock().is_empty();
        for position in [3, 4, 9_000] {
            partition.move_to(HW, position);
            let rung = waiters.iter().filter(|one| is_rung(one)).count();
            assert_eq!(rung as Offset, position);
        }
        assert!(!is_rung(&follower));
        partition.move_to(Mark::LogEnd, 6);
        assert_eq!(follower.take(), [0]);
        // Woken for another reason, the waiter waits for the same offset as before.
        partition.0.list.wake_all();
        assert_eq!(waiters[9_500].take(), [0]);
        partition.move_to(HW, 9_500);
        assert!(!is_rung(&waiters[9_500]));
        partition.move_to(HW, 9_501);
        assert!(is_rung(&waiters[9_500]));
        drop(waiters);
        follower.is_done(0);
        assert!(!is_listed(&partition));
    }

    #[test]
    fn many_wait_for_one_partition_and_go_in_any_order() {
        let partitions = partitions(1);
        let numbers = Waiters::default();
        let mut waiters: Vec<_> = (0..10_000)
            .map(|_| Waiter::new(&numbers, HW, wishes(&partitions)))
            .collect();
        // With a linear search these would be a hundred million steps.
        for place in (0..10_000).rev() {
            drop(waiters.swap_remove(place / 2));
        }
        assert!(!is_listed(&partitions[0]));
    }
}
