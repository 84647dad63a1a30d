//! Tasks and threads of a host: async tasks, blocking work, long-lived threads. The log line of a panic names the work that
//! caused it (`task.rs`).
//!
//! A simulated host has a single thread, the one of its runtime. Blocking work is a task there, and several nodes take turns in
//! a reproducible order.

use std::io;
use std::thread::{JoinHandle as ThreadHandle, Scope};

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::task::{joined, under_the_same_name};

/// Access to tasks and threads. Cheap to clone. The default uses the threads of the runtime.
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
    /// Test-only: the single thread of a simulated host.
    #[cfg(test)]
    pub fn one() -> Self {
        Self(Source::One)
    }

    /// Test-only: whether a single thread does everything.
    #[cfg(test)]
    pub fn is_one(&self) -> bool {
        matches!(self.0, Source::One)
    }

    /// Starts a task in the current runtime.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        tokio::spawn(task)
    }

    /// Starts a task that belongs to `tasks`.
    pub fn spawn_among<T: Send + 'static>(
        &self,
        tasks: &mut JoinSet<T>,
        task: impl Future<Output = T> + Send + 'static,
    ) -> AbortHandle {
        tasks.spawn(task)
    }

    /// Current runtime, for code that starts tasks from a thread outside of it.
    pub fn runtime(&self) -> Handle {
        Handle::current()
    }

    /// Runs `work` on a thread that may block. A panic in it continues in the caller.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        joined(self.start_blocking(work).await).await
    }

    /// Starts `work` on a thread that may block, for a caller that has other things to do meanwhile. The result goes through
    /// [`joined`].
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

    /// Starts a thread with the given stack size.
    ///
    /// Errors: the system cannot start a thread.
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

    /// Number of threads to use for a piece of work if `wanted` are wished for. With 0 the caller does the work.
    pub fn at_once(&self, wanted: usize) -> usize {
        match &self.0 {
            Source::Many => wanted,
            #[cfg(test)]
            Source::One => 0,
        }
    }
}

/// Runs threads that end before this function returns.
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
