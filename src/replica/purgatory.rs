//! Waiting: fetches that want more bytes than there are. A waiter is woken by an append to one of its partitions and
//! looks at that one again; nobody polls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::small_map::SmallMap;
use crate::base::work_pool::checkpoint;

/// Bytes of memory that a partition of a fetch takes while the fetch waits: what is wanted of it, what is ready, and its
/// places in the lists of both sides.
pub const PLACE_BYTES: usize = 128;

/// Numbers for those who wait at one node.
#[derive(Debug, Default)]
pub struct Waiters {
    next: AtomicU64,
}

/// Those who wait for one partition.
#[derive(Debug, Default)]
pub struct WaitList {
    /// By their ids. Most partitions have one consumer that waits, or none.
    waiting: Mutex<SmallMap<u64, Entry>>,
    /// How many times somebody was to be woken.
    changes: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    bell: Arc<Bell>,
    /// The waiter's own number of the partition.
    place: u32,
    /// The waiter knows already that there is something.
    rung: bool,
}

impl Entry {
    fn ring(&mut self) {
        if !self.rung {
            self.rung = true;
            self.bell.places.lock().push(self.place);
            self.bell.notify.notify_one();
        }
    }
}

/// What a waiter hears.
#[derive(Debug, Default)]
struct Bell {
    notify: Notify,
    /// Where something has changed; each place once.
    places: Mutex<Vec<u32>>,
}

impl WaitList {
    /// Wakes everybody: something was appended, or the partition changed its role.
    pub fn wake(&self) {
        let mut waiting = self.waiting.lock();
        self.changes.fetch_add(1, Ordering::Release);
        waiting.values_mut().for_each(Entry::ring);
    }

    /// A number that is another one after each wake-up. Asked for before a partition is looked at, it tells a waiter that begins
    /// later whether it missed something.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

/// Somebody who waits for some partitions, until dropped.
#[derive(Debug)]
pub struct Waiter<T: AsRef<WaitList>> {
    id: u64,
    bell: Arc<Bell>,
    lists: Vec<T>,
}

impl<T: AsRef<WaitList>> Waiter<T> {
    /// From now on every wake-up of these lists is noticed, and any since the number of changes beside them was asked for.
    pub fn new(waiters: &Waiters, seen: Vec<(T, u64)>) -> Self {
        let id = waiters.next.fetch_add(1, Ordering::Relaxed);
        let bell = Arc::new(Bell::default());
        let mut lists = Vec::with_capacity(seen.len());
        for ((list, changes), place) in seen.into_iter().zip(0..) {
            let mut entry = Entry {
                bell: Arc::clone(&bell),
                place,
                rung: false,
            };
            let mut waiting = list.as_ref().waiting.lock();
            if list.as_ref().changes() != changes {
                entry.ring();
            }
            waiting.insert(id, entry);
            drop(waiting);
            lists.push(list);
            checkpoint();
        }
        Self { id, bell, lists }
    }

    /// Waits until something has changed that was not taken yet.
    pub async fn woken(&self) {
        self.bell.notify.notified().await;
    }

    /// Has a place looked at, whether it has changed or not.
    pub fn look_again(&self, place: usize) {
        let Some(list) = self.lists.get(place) else {
            return;
        };
        if let Some(entry) = list.as_ref().waiting.lock().get_mut(&self.id) {
            entry.ring();
        }
    }

    /// Takes the places where something has changed, each once and in their order: whoever looks there now misses nothing.
    pub fn take(&self) -> Vec<usize> {
        let taken = std::mem::take(&mut *self.bell.places.lock());
        let mut places: Vec<usize> = taken.into_iter().map(|place| place as usize).collect();
        places.sort_unstable();
        for list in places.iter().filter_map(|place| self.lists.get(*place)) {
            if let Some(entry) = list.as_ref().waiting.lock().get_mut(&self.id) {
                entry.rung = false;
            }
        }
        places
    }
}

impl<T: AsRef<WaitList>> Drop for Waiter<T> {
    fn drop(&mut self) {
        for list in &self.lists {
            list.as_ref().waiting.lock().remove(&self.id);
            checkpoint();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Partition(Arc<WaitList>);

    impl AsRef<WaitList> for Partition {
        fn as_ref(&self) -> &WaitList {
            &self.0
        }
    }

    fn partitions(count: usize) -> Vec<Partition> {
        (0..count).map(|_| Partition::default()).collect()
    }

    fn seen(partitions: &[Partition]) -> Vec<(Partition, u64)> {
        let seen = |one: &Partition| (one.clone(), one.0.changes());
        partitions.iter().map(seen).collect()
    }

    #[tokio::test]
    async fn a_wake_up_before_the_wait_is_not_lost_and_nothing_is_left_behind() {
        let partitions = partitions(3);
        let before = seen(&partitions);
        partitions[2].0.wake();
        let waiter = Waiter::new(&Waiters::default(), before);
        waiter.woken().await;
        assert_eq!(waiter.take(), [2]);
        partitions[1].0.wake();
        waiter.woken().await;
        assert_eq!(waiter.take(), [1]);
        drop(waiter);
        assert!(partitions.iter().all(|one| one.0.waiting.lock().is_empty()));
    }

    #[tokio::test]
    async fn a_waiter_hears_of_each_place_once_until_it_looks() {
        let partitions = partitions(1_000);
        let waiter = Waiter::new(&Waiters::default(), seen(&partitions));
        for _ in 0..100 {
            partitions[7].0.wake();
            partitions[5].0.wake();
        }
        assert_eq!(waiter.bell.places.lock().len(), 2);
        waiter.woken().await;
        assert_eq!(waiter.take(), [5, 7]);
        assert!(waiter.take().is_empty());
        partitions[7].0.wake();
        assert_eq!(waiter.take(), [7]);
    }

    #[test]
    fn many_wait_for_one_partition_and_go_in_any_order() {
        let partitions = partitions(1);
        let numbers = Waiters::default();
        let mut waiters: Vec<_> = (0..10_000)
            .map(|_| Waiter::new(&numbers, seen(&partitions)))
            .collect();
        // With a search through all of them this would be a hundred million steps.
        for place in (0..10_000).rev() {
            drop(waiters.swap_remove(place / 2));
        }
        assert!(partitions[0].0.waiting.lock().is_empty());
    }
}
