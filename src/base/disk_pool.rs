//! Pool of threads for disk access, so that neither the threads that serve clients nor the holder of a lock must wait for a
//! disk.

use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

use super::file_range::FileRange;
use crate::host::Host;
use crate::host::file::Reach;
use crate::host::threads::Threads;

/// Number of attempts to serve a request from the page cache before it may read from the disk.
const LOOKS_MAX: usize = 8;

/// Runs `work`, which blocks on a disk, on the current thread; the runtime moves the thread's other tasks to another thread.
/// For rare cases inside of code that would otherwise have to become asynchronous for all callers. The rest of the current task
/// waits meanwhile.
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

/// Limited number of blocking threads of the runtime. See the module.
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

    /// Runs `work` on a thread of the pool. `None` if the runtime is shutting down. A panic of `work` continues in the caller.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        // The work goes on even if the caller stops waiting, so the permit moves into it.
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

    /// Reads parts of files into the page cache.
    pub async fn warm(&self, ranges: Vec<FileRange>) {
        self.run(move || ranges.iter().for_each(FileRange::warm))
            .await;
    }

    /// Result of `ask`, which must also return the file parts that it needs but did not find in the page cache; `cold` are
    /// those of a first attempt by the caller. The parts are read into the page cache, then `ask` is called again.
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
        // The page cache loses pages as fast as they are read, so `ask` may now read from the disk.
        self.run(move || ask(Reach::Disk).0).await
    }
}
