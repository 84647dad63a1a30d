//! Threads that wait for disks, so that those which serve clients need not, nor whoever holds a lock.

use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

use super::file_range::FileRange;
use crate::host::Host;
use crate::host::file::Reach;
use crate::host::threads::Threads;

/// How often something is looked for in the page cache before it is read from wherever it is.
const LOOKS_MAX: usize = 8;

/// Does `work`, which waits for a disk, on this thread; another takes over whatever else this one serves. For what hardly
/// anybody asks for, amidst something that would have to become asynchronous for everybody: what else the same task does
/// waits too.
#[expect(
    clippy::disallowed_methods,
    reason = "an append waits for a disk with flush.messages only"
)]
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// See the module. Blocking threads of the runtime, of which so many may wait at once.
#[derive(Clone, Debug)]
pub struct DiskPool {
    threads: Threads,
    permits: Arc<Semaphore>,
}

impl DiskPool {
    pub fn new(host: &Host, at_once: usize) -> Self {
        Self {
            threads: host.threads.clone(),
            permits: Arc::new(Semaphore::new(at_once.max(1))),
        }
    }

    /// Does `work` on such a thread. `None` when the runtime is ending. A panic in it is one of whoever waits for it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        // The thread goes on when nobody waits for it any more.
        let work = move || {
            let _permit = permit;
            work()
        };
        match self.threads.start_blocking(work).await {
            Ok(done) => Some(done),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }

    /// Brings stretches of files into the page cache.
    pub async fn warm(&self, ranges: Vec<FileRange>) {
        self.run(move || ranges.iter().for_each(FileRange::warm))
            .await;
    }

    /// The answer to `ask`, which tells besides what it would have had to read from a disk, `cold` at first: that is brought
    /// into the page cache, and `ask` is asked again.
    pub async fn patiently<T: Send + 'static>(
        &self,
        mut cold: Vec<FileRange>,
        ask: impl Fn(Reach) -> (T, Vec<FileRange>) + Send + Sync + 'static,
    ) -> Option<T> {
        for _ in 0..LOOKS_MAX {
            self.warm(cold).await;
            let (answer, still) = ask(Reach::Cache);
            if still.is_empty() {
                return Some(answer);
            }
            cold = still;
        }
        // What is read here goes as fast as it came.
        self.run(move || ask(Reach::Disk).0).await
    }
}
