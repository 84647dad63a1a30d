//! Waiting: fetches that want more bytes than there are. A waiter is woken by an append to one of its partitions and
//! looks again; nobody polls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;

/// Most partitions have one consumer that waits, or none.
type Waiting = SmallVec<[(u64, Arc<Notify>); 1]>;

static NEXT_WAITER: AtomicU64 = AtomicU64::new(0);

/// Those who wait for one partition.
#[derive(Debug, Default)]
pub struct WaitList {
    waiting: Mutex<Waiting>,
}

impl WaitList {
    /// Wakes everybody: something was appended, or the partition changed its role.
    pub fn wake(&self) {
        for (_, waiter) in &*self.waiting.lock() {
            waiter.notify_one();
        }
    }
}

/// Somebody who waits for some partitions, until dropped.
#[derive(Debug)]
pub struct Waiter<T: AsRef<WaitList>> {
    id: u64,
    notify: Arc<Notify>,
    lists: Vec<T>,
}

impl<T: AsRef<WaitList>> Waiter<T> {
    /// From now on every wake-up of these lists is noticed, also one that comes before [`Self::woken`] is awaited.
    pub fn new(lists: Vec<T>) -> Self {
        let id = NEXT_WAITER.fetch_add(1, Ordering::Relaxed);
        let notify = Arc::new(Notify::new());
        for list in &lists {
            list.as_ref().waiting.lock().push((id, Arc::clone(&notify)));
        }
        Self { id, notify, lists }
    }

    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

impl<T: AsRef<WaitList>> Drop for Waiter<T> {
    fn drop(&mut self) {
        for list in &self.lists {
            list.as_ref()
                .waiting
                .lock()
                .retain(|(id, _)| *id != self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Partition(WaitList);

    impl AsRef<WaitList> for Partition {
        fn as_ref(&self) -> &WaitList {
            &self.0
        }
    }

    #[tokio::test]
    async fn a_wake_up_before_the_wait_is_not_lost_and_nothing_is_left_behind() {
        let partitions = [
            Arc::new(Partition::default()),
            Arc::new(Partition::default()),
        ];
        let shared: Vec<Arc<Partition>> = partitions.to_vec();
        struct Shared(Arc<Partition>);
        impl AsRef<WaitList> for Shared {
            fn as_ref(&self) -> &WaitList {
                &self.0.0
            }
        }
        let waiter = Waiter::new(shared.into_iter().map(Shared).collect());
        partitions[1].0.wake();
        waiter.woken().await;
        drop(waiter);
        assert!(
            partitions
                .iter()
                .all(|partition| partition.0.waiting.lock().is_empty())
        );
    }
}
