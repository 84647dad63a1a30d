//! Where the work of a host runs: tasks, work that may block, threads that live long. Each has the name of what it does, for the
//! log line of a panic (`task.rs`).
//!
//! A simulated host has one thread, that of its runtime: work that may block is a task there, and several nodes take turns in
//! an order that repeats.

use std::io;
use std::thread::{JoinHandle as ThreadHandle, Scope};

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::task::{joined, under_the_same_name};

/// See the module. Cheap to clone. The default has as many threads as the runtime gives.
#[derive(Clone, Debug, Default)]
pub struct Threads(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Many,
    #[cfg(test)]
    One,
}

impl Threads {
    /// Test-only: those of a simulated host.
    #[cfg(test)]
    pub fn one() -> Self {
        Self(Source::One)
    }

    /// Test-only: whether there is one thread for everything.
    #[cfg(test)]
    pub fn is_one(&self) -> bool {
        matches!(self.0, Source::One)
    }

    /// Starts a task in the runtime that this is called in.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        tokio::spawn(task)
    }

    /// The same, among the tasks that one owner has.
    pub fn spawn_among<T: Send + 'static>(
        &self,
        tasks: &mut JoinSet<T>,
        task: impl Future<Output = T> + Send + 'static,
    ) -> AbortHandle {
        tasks.spawn(task)
    }

    /// The runtime that this is called in, for who starts tasks from a thread outside of it.
    pub fn runtime(&self) -> Handle {
        Handle::current()
    }

    /// Does `work` where it may block. A panic in it goes on in whoever waits.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        joined(self.start_blocking(work).await).await
    }

    /// The same for whoever has to look after something else meanwhile: hand what came of it to [`joined`].
    pub fn start_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let work = under_the_same_name(work);
        match &self.0 {
            Source::Many => tokio::task::spawn_blocking(work),
            #[cfg(test)]
            Source::One => tokio::spawn(async move { work() }),
        }
    }

    /// Starts a thread with a stack of so many bytes.
    ///
    /// Errors: the system has no thread to give.
    pub fn start(
        &self,
        name: &str,
        stack_bytes: usize,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<ThreadHandle<()>> {
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(stack_bytes)
            .spawn(work)
    }

    /// Of so many threads that somebody wants for one piece of work, those that there are; with none the work is the caller's.
    pub fn at_once(&self, wanted: usize) -> usize {
        match &self.0 {
            Source::Many => wanted,
            #[cfg(test)]
            Source::One => 0,
        }
    }
}

/// Threads that end before this returns.
pub fn scope<'env, T>(work: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T) -> T {
    std::thread::scope(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blocking_work_of_a_simulated_host_runs_on_the_thread_of_the_runtime() {
        let own = std::thread::current().id();
        let there = |threads: Threads| async move {
            threads.blocking(move || std::thread::current().id()).await
        };
        assert_eq!(there(Threads::one()).await, own);
        assert_ne!(there(Threads::default()).await, own);
        assert_eq!(
            (Threads::one().at_once(3), Threads::default().at_once(3)),
            (0, 3)
        );
    }

    #[tokio::test]
    async fn work_of_a_simulated_host_begins_in_the_order_of_the_calls() {
        let (threads, (told, heard)) = (Threads::one(), std::sync::mpsc::channel());
        let begun: Vec<_> = (0..9)
            .map(|number| {
                let told = told.clone();
                threads.start_blocking(move || told.send(number).unwrap())
            })
            .collect();
        for work in begun {
            work.await.unwrap();
        }
        drop(told);
        assert_eq!(heard.iter().collect::<Vec<_>>(), Vec::from_iter(0..9));
    }
}
