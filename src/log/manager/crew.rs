//! Threads that process the logs of a directory. Each thread takes the next log as soon as it is free, so that a large log does
//! not delay the others. Kafka's recovery pools. The caller waits, and is told the progress at intervals.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::host::threads::scope;
use crate::log::error::StorageError;

/// Progress of the work.
#[derive(Debug)]
pub struct Progress<'a, T> {
    pub done: usize,
    pub total: usize,
    /// Items that are being processed.
    pub at: Vec<&'a T>,
}

/// Calls `work` for every item on `threads` threads, or on the caller's thread if `threads` is 0. The first error ends the
/// work. `tell` is called with the progress at intervals of `every`.
pub fn in_parallel<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    every: Duration,
    work: impl Fn(&T) -> Result<R, StorageError> + Sync,
    tell: impl Fn(&Progress<'_, T>),
) -> Result<Vec<R>, StorageError> {
    if threads == 0 || items.is_empty() {
        return items.iter().map(work).collect();
    }
    let crew = Crew {
        items,
        next: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
        at: (0..threads.min(items.len()))
            .map(|_| AtomicUsize::new(usize::MAX))
            .collect(),
    };
    let (crew, work) = (&crew, &work);
    scope(|scope| {
        let (at_work, over) = mpsc::channel::<()>();
        let workers: Vec<_> = (0..crew.at.len())
            .map(|number| {
                let at_work = at_work.clone();
                scope.spawn(move || {
                    let results = crew.work(number, work);
                    drop(at_work);
                    results
                })
            })
            .collect();
        drop(at_work);
        // Nothing is sent on this channel: it is closed when the last thread has dropped its sender, even in a panic.
        while let Err(RecvTimeoutError::Timeout) = over.recv_timeout(every) {
            tell(&crew.progress());
        }
        let mut results = Vec::with_capacity(items.len());
        for worker in workers {
            match worker.join() {
                Ok(part) => results.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(results)
    })
}

struct Crew<'a, T> {
    items: &'a [T],
    next: AtomicUsize,
    done: AtomicUsize,
    stopped: AtomicBool,
    /// Index of the current item of each thread.
    at: Vec<AtomicUsize>,
}

impl<T: Sync> Crew<'_, T> {
    fn work<R>(
        &self,
        number: usize,
        work: &impl Fn(&T) -> Result<R, StorageError>,
    ) -> Result<Vec<R>, StorageError> {
        let mut results = Vec::new();
        while !self.stopped.load(Ordering::Relaxed) {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            self.at[number].store(index, Ordering::Relaxed);
            let Some(item) = self.items.get(index) else {
                break;
            };
            let result = work(item).inspect_err(|_| self.stopped.store(true, Ordering::Relaxed));
            results.push(result?);
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(results)
    }

    fn progress(&self) -> Progress<'_, T> {
        let at = self.at.iter().map(|index| index.load(Ordering::Relaxed));
        Progress {
            done: self.done.load(Ordering::Relaxed),
            total: self.items.len(),
            at: at.filter_map(|index| self.items.get(index)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use parking_lot::{Condvar, Mutex};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A board of notes on which threads wait until the notes of all threads fulfil a condition.
    #[derive(Default)]
    struct Board {
        notes: Mutex<Vec<usize>>,
        changed: Condvar,
    }

    impl Board {
        fn note(&self, item: usize) {
            self.notes.lock().push(item);
            self.changed.notify_all();
        }

        fn wait(&self, wanted: impl Fn(&[usize]) -> bool) {
            let mut notes = self.notes.lock();
            while !wanted(&notes) {
                let waited = self.changed.wait_for(&mut notes, LONG);
                assert!(!waited.timed_out(), "{notes:?}");
            }
        }
    }

    #[test]
    fn one_large_log_holds_up_nobody() {
        let (board, items) = (Board::default(), Vec::from_iter(0..10));
        let work = |item: &usize| {
            if *item == 0 {
                // With a fixed share for each thread, other items would wait for this one.
                board.wait(|done| done.len() == 9);
            }
            board.note(*item);
            Ok(*item)
        };
        let mut results = in_parallel(2, &items, LONG, work, |_| {}).unwrap();
        results.sort_unstable();
        assert_eq!(results, items);
    }

    #[test]
    fn so_many_work_at_once_and_no_more() {
        for threads in 1..5 {
            let (board, items) = (Board::default(), Vec::from_iter(0..threads * 3));
            let (busy, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let work = |item: &usize| {
                most.fetch_max(1 + busy.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
                board.note(*item);
                board.wait(|begun| begun.len() >= threads);
                busy.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            };
            in_parallel(threads, &items, LONG, work, |_| {}).unwrap();
            assert_eq!(most.into_inner(), threads);
        }
    }

    #[test]
    fn who_waits_long_hears_what_is_worked_on() {
        let told = Board::default();
        let work = |item: &&str| {
            if *item == "large" {
                told.wait(|told| told.contains(&1));
            }
            Ok(())
        };
        let tell = |progress: &Progress<'_, &str>| {
            assert_eq!(progress.total, 2);
            if progress.at == [&"large"] {
                told.note(progress.done);
            }
        };
        in_parallel(2, &["large", "small"], Duration::from_millis(1), work, tell).unwrap();
    }

    #[test]
    fn who_does_not_wait_long_hears_nothing() {
        let told = Mutex::new(0);
        let items = Vec::from_iter(0..100);
        in_parallel(3, &items, LONG, |_| Ok(()), |_| *told.lock() += 1).unwrap();
        assert_eq!(told.into_inner(), 0);
    }

    #[test]
    fn the_first_error_ends_it() {
        let seen = Mutex::new(HashSet::new());
        let work = |item: &usize| {
            seen.lock().insert(*item);
            match item {
                3 => Err(crate::log::error::malformed("path", "broken")),
                _ => Ok(()),
            }
        };
        let items = Vec::from_iter(0..1_000_000);
        assert!(in_parallel(1, &items, LONG, work, |_| {}).is_err());
        assert_eq!(seen.into_inner().len(), 4);
    }
}
