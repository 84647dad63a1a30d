//! Pool of threads for long computations: large requests, batches that unpack to much data, messages of old formats. The
//! threads that serve clients stay free for short requests.
//!
//! ```text
//! serving thread          work pool (half of the processors run, in turns)
//!   request ──► allowance enough? ──► answered in place
//!                   └─ no ──► [job] [job] [job] …   each computes for a slice, then the next in line does
//! ```
//! A short job therefore waits for some slices and not for a job that computes for half a minute. Code gives up its turn in
//! calls of [`spend`] and [`checkpoint`]. It must call one of them every few hundred microseconds, and **never while it holds a
//! lock**. Both find the current job through a thread-local variable, as tokio's cooperative budget does, so pure code needs no
//! further argument. On other threads they cost one access to that variable.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::runtime::Handle;

use super::memory::Memory;
use crate::host::Host;
use crate::host::process::LARGE_WORK;

/// Number of jobs that take turns; further jobs wait until one of them ends. Each open job has a thread and the memory of a
/// codec, and a short job waits for up to this number of slices.
const OPEN_MAX: usize = 32;
/// Time for which a job computes while others wait. A shorter slice would cause more thread switches.
const SLICE: Duration = Duration::from_millis(10);
/// `nice` value of the pool's threads. Serving threads get a larger share of a processor where both compete for it.
const NICE: i32 = 10;
/// Time after which an idle thread ends.
const KEPT: Duration = Duration::from_secs(5);
/// Time for which a stop waits for open jobs. A job gives up when it calls [`spend`]; jobs that do not call it belong to
/// requests that change nothing.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Stack size of a thread, in bytes: the same as for threads of the runtime.
const STACK_SIZE: usize = 512 << 10;

/// The allowance is used up, or the node is stopping. The work has had no effect yet and is abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more work than it may take")]
pub struct Exhausted;

thread_local! {
    static ALLOWANCE: Cell<Option<usize>> = const { Cell::new(None) };
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
    /// Whether the thread is inside of [`alone`] or [`with_memory`].
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with an allowance of `cost` for its calls of [`spend`].
pub fn with_allowance<T>(cost: usize, work: impl FnOnce() -> T) -> T {
    /// Restores the outer allowance, also if `work` panics.
    struct Outer(Option<usize>);
    impl Drop for Outer {
        fn drop(&mut self) {
            ALLOWANCE.set(self.0);
        }
    }
    let _outer = Outer(ALLOWANCE.replace(Some(cost)));
    work()
}

/// Rest of the allowance, for a later part of the same work.
pub fn allowance_left() -> usize {
    ALLOWANCE.get().unwrap_or(usize::MAX)
}

/// Checks that the allowance covers a step that cannot be abandoned once it has begun.
pub fn affords(cost: usize) -> Result<(), Exhausted> {
    if cost > allowance_left() {
        return Err(Exhausted);
    }
    Ok(())
}

/// Charges the allowance for work, before or after it is done. The unit of `cost` is about the cost of copying a byte. Also a
/// [`checkpoint`].
///
/// Errors: the allowance is used up, or the node is stopping. Without an allowance the cost is unlimited.
pub fn spend(cost: usize) -> Result<(), Exhausted> {
    if let Some(left) = ALLOWANCE.get() {
        let left = left.checked_sub(cost);
        ALLOWANCE.set(Some(left.unwrap_or(0)));
        left.ok_or(Exhausted)?;
    }
    TURN.with_borrow_mut(|turn| match turn {
        Some(turn) => turn.pass_on(),
        None => Ok(()),
    })
}

/// Lets other jobs have their turn if the slice of the current job is over. For work that is completed whatever it costs.
pub fn checkpoint() {
    TURN.with_borrow_mut(|turn| {
        if let Some(turn) = turn {
            let _ = turn.pass_on();
        }
    });
}

/// Whether the current thread belongs to a pool.
pub fn is_here() -> bool {
    TURN.with_borrow(Option::is_some)
}

/// Runs `work`, which takes much memory, while no other job of the process does so. A job that waits for this gives up its
/// turn.
pub fn alone<T>(work: impl FnOnce() -> T) -> T {
    let _one = LARGE_WORK
        .try_lock()
        .unwrap_or_else(|| without_turn(|| LARGE_WORK.lock()));
    let _holds = Holds::begin();
    work()
}

/// Runs `work` once `bytes` of codec memory are available, or when no other job holds any. A job that waits for this gives up
/// its turn. Nested calls, and calls inside of [`alone`], are counted but do not wait, because two jobs could otherwise wait
/// for each other. On threads outside of a pool nothing is counted; an [allowance](with_allowance) limits the work there.
pub fn with_memory<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let memory = TURN.with_borrow(|turn| turn.as_ref().map(|turn| Arc::clone(&turn.pool.memory)));
    let Some(memory) = memory else {
        return work();
    };
    let _room = match HOLDS.get() {
        true => memory.more_for_codecs(bytes),
        false => memory
            .room_for_codecs(bytes)
            .unwrap_or_else(|| without_turn(|| memory.wait_for_codecs(bytes))),
    };
    let _holds = Holds::begin();
    work()
}

/// Waits for something and gives the job's turn to others meanwhile.
fn without_turn<T>(wait: impl FnOnce() -> T) -> T {
    TURN.with_borrow(|turn| {
        if let Some(turn) = turn {
            turn.pool.give_back();
        }
    });
    let done = wait();
    TURN.with_borrow_mut(|turn| {
        if let Some(turn) = turn {
            turn.take();
        }
    });
    done
}

/// Mark of a thread that is inside of [`alone`] or [`with_memory`].
struct Holds(bool);

impl Holds {
    fn begin() -> Self {
        Self(HOLDS.replace(true))
    }
}

impl Drop for Holds {
    fn drop(&mut self) {
        HOLDS.set(self.0);
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// See the module.
#[derive(Clone, Debug)]
pub struct WorkPool {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    state: Mutex<State>,
    /// Wakes idle threads.
    jobs: Condvar,
    /// Notified when a thread has become idle or has ended.
    quiet: Condvar,
    stopped: AtomicBool,
    runtime: Handle,
    /// Counter of the memory that codecs take.
    memory: Arc<Memory>,
}

struct State {
    /// Number of turns that no job has. Negative only while a test holds the pool.
    free: isize,
    /// Threads that wait for a turn, in order.
    line: VecDeque<Arc<Seat>>,
    /// Jobs without a thread, in order. A connection has at most one.
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// Place in the line, on which a thread waits for its turn.
#[derive(Default)]
struct Seat {
    called: Mutex<bool>,
    calls: Condvar,
}

/// State of a thread of the pool.
struct Turn {
    pool: Arc<Inner>,
    seat: Arc<Seat>,
    since: Instant,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkPool").finish_non_exhaustive()
    }
}

impl WorkPool {
    /// Creates a pool in which `at_once` jobs compute at the same time. Must be called within the runtime in which jobs may
    /// spawn tasks.
    pub fn new(host: &Host, at_once: usize, memory: &Arc<Memory>) -> Self {
        let state = State {
            free: at_once.max(1) as isize,
            line: VecDeque::new(),
            queue: VecDeque::new(),
            threads: 0,
            idle: 0,
        };
        Self {
            inner: Arc::new(Inner {
                host: host.clone(),
                state: Mutex::new(state),
                jobs: Condvar::new(),
                quiet: Condvar::new(),
                stopped: AtomicBool::new(false),
                runtime: host.threads.runtime(),
                memory: Arc::clone(memory),
            }),
        }
    }

    /// Runs `future` in the pool, starting at once and whether or not the result is polled. Each poll of the future is a job;
    /// while the future waits, it is none. The result is `None` if the future panicked or the node is stopping. Dropping the
    /// result drops the future; a job does that as well, because a fetch of many partitions has much to unregister.
    pub fn drive<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Driven<T> {
        let task = Arc::new(Task {
            pool: Arc::clone(&self.inner),
            stage: Mutex::new(Stage::Resting(Box::pin(future))),
            waiting: Mutex::new(None),
        });
        Arc::clone(&task).wake();
        Driven { task }
    }

    /// Starts no more jobs, makes open ones give up, and waits for them.
    pub fn stop(&self) {
        self.inner.stopped.store(true, Ordering::Release);
        let mut state = self.inner.state.lock();
        let refused = std::mem::take(&mut state.queue);
        self.inner.jobs.notify_all();
        drop(state);
        drop(refused);
        let deadline = self.inner.host.clock.steady() + STOP_PATIENCE;
        let mut state = self.inner.state.lock();
        while state.threads > state.idle {
            if self
                .inner
                .quiet
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                tracing::warn!("requests were still computed when the node stopped");
                break;
            }
        }
    }

    /// Test-only: no job computes until the returned value is dropped.
    #[cfg(test)]
    pub fn hold(&self) -> Pause {
        self.inner.state.lock().free -= HELD;
        Pause(self.clone())
    }

    /// Test-only: number of jobs that have begun and are not done.
    #[cfg(test)]
    pub fn open(&self) -> usize {
        let state = self.inner.state.lock();
        state.threads - state.idle
    }
}

#[cfg(test)]
const HELD: isize = 1_000;

/// See [`WorkPool::hold`].
#[cfg(test)]
pub struct Pause(WorkPool);

#[cfg(test)]
impl Drop for Pause {
    fn drop(&mut self) {
        let mut state = self.0.inner.state.lock();
        state.free += HELD;
        state.call();
    }
}

impl State {
    /// Gives free turns to the threads that have waited longest.
    fn call(&mut self) {
        while self.free > 0
            && let Some(seat) = self.line.pop_front()
        {
            self.free -= 1;
            *seat.called.lock() = true;
            seat.calls.notify_one();
        }
    }
}

impl Inner {
    fn submit(self: &Arc<Self>, job: Job) {
        if self.stopped.load(Ordering::Acquire) {
            return;
        }
        if self.host.threads.at_once(1) == 0 {
            // A host with a single thread, which runs everything in turn anyway.
            drop(self.host.threads.start_blocking(job));
            return;
        }
        let mut state = self.state.lock();
        state.queue.push_back(job);
        if state.idle >= state.queue.len() {
            self.jobs.notify_one();
            return;
        }
        if state.threads == OPEN_MAX {
            return;
        }
        state.threads += 1;
        drop(state);
        let pool = Arc::clone(self);
        let threads = &self.host.threads;
        let started = threads.start("work", STACK_SIZE, move || pool.work());
        if let Err(error) = started {
            let mut state = self.state.lock();
            state.threads -= 1;
            // Without any thread the queue would never be processed, so its jobs are dropped.
            let refused = match state.threads {
                0 => std::mem::take(&mut state.queue),
                _ => VecDeque::new(),
            };
            drop(state);
            drop(refused);
            tracing::error!(%error, "cannot start a thread for a request");
        }
    }

    /// Main loop of a thread of the pool.
    fn work(self: Arc<Self>) {
        // A thread may always lower its own priority. If the system refuses nevertheless, the thread keeps the normal one.
        let _ = rustix::process::setpriority_process(None, NICE);
        let _runtime = self.runtime.enter();
        TURN.set(Some(Turn {
            pool: Arc::clone(&self),
            seat: Arc::default(),
            since: self.host.clock.steady(),
        }));
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                TURN.with_borrow_mut(|turn| {
                    if let Some(turn) = turn {
                        turn.take();
                    }
                });
                // A panic belongs to the job. The receiver of its result learns of it.
                drop(catch_unwind(AssertUnwindSafe(job)));
                self.give_back();
                state = self.state.lock();
                continue;
            }
            if self.stopped.load(Ordering::Acquire) {
                break;
            }
            state.idle += 1;
            self.quiet.notify_all();
            let waited = self.jobs.wait_for(&mut state, KEPT);
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        self.quiet.notify_all();
    }

    fn give_back(&self) {
        let mut state = self.state.lock();
        state.free += 1;
        state.call();
    }
}

impl Turn {
    /// Waits in line for a turn.
    fn take(&mut self) {
        let mut state = self.pool.state.lock();
        state.line.push_back(Arc::clone(&self.seat));
        self.seat.wait(state);
        self.since = self.pool.host.clock.steady();
    }

    /// Passes the turn on to the line if the slice is over.
    fn pass_on(&mut self) -> Result<(), Exhausted> {
        if self.pool.host.clock.since(self.since) >= SLICE {
            let mut state = self.pool.state.lock();
            if state.line.is_empty() {
                self.since = self.pool.host.clock.steady();
            } else {
                state.line.push_back(Arc::clone(&self.seat));
                state.free += 1;
                self.seat.wait(state);
                self.since = self.pool.host.clock.steady();
            }
        }
        match self.pool.stopped.load(Ordering::Relaxed) {
            true => Err(Exhausted),
            false => Ok(()),
        }
    }
}

impl Seat {
    /// Waits until this seat, which is in the line, is called.
    fn wait(&self, mut state: MutexGuard<'_, State>) {
        state.call();
        drop(state);
        let mut called = self.called.lock();
        while !std::mem::take(&mut *called) {
            self.calls.wait(&mut called);
        }
    }
}

/// Result of a future that the pool computes.
#[derive(Debug)]
pub struct Driven<T: 'static> {
    task: Arc<Task<T>>,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Task<T> {
    pool: Arc<Inner>,
    stage: Mutex<Stage<T>>,
    /// Waker of the task that polls the result.
    waiting: Mutex<Option<Waker>>,
}

enum Stage<T> {
    /// The future waits to be woken.
    Resting(Boxed<T>),
    /// A job polls the future, or is about to. `woken` tells whether the future was woken meanwhile.
    Computing {
        woken: bool,
    },
    Done(Option<T>),
    /// The result was dropped.
    Abandoned,
}

impl<T> std::fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Wake for Task<T> {
    fn wake(self: Arc<Self>) {
        let mut stage = self.stage.lock();
        match &mut *stage {
            Stage::Computing { woken } => *woken = true,
            Stage::Resting(_) => {
                let resting = std::mem::replace(&mut *stage, Stage::Computing { woken: false });
                drop(stage);
                if let Stage::Resting(future) = resting {
                    let end = End {
                        task: Arc::clone(&self),
                        rests: false,
                    };
                    let pool = Arc::clone(&self.pool);
                    pool.submit(Box::new(move || end.compute(future)));
                }
            }
            Stage::Done(_) | Stage::Abandoned => {}
        }
    }
}

/// Guard of a job that finishes the task when it is dropped, even if the job panics or never begins.
struct End<T> {
    task: Arc<Task<T>>,
    /// Whether the future has gone back to waiting. Another job may run it before this guard is dropped.
    rests: bool,
}

impl<T: Send + 'static> End<T> {
    fn compute(mut self, mut future: Boxed<T>) {
        let waker = Waker::from(Arc::clone(&self.task));
        let mut context = Context::from_waker(&waker);
        loop {
            if matches!(*self.task.stage.lock(), Stage::Abandoned) {
                return;
            }
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                self.task.finish(Some(value));
                return;
            }
            let mut stage = self.task.stage.lock();
            match &mut *stage {
                Stage::Computing { woken: true } => *stage = Stage::Computing { woken: false },
                Stage::Computing { woken: false } => {
                    self.rests = true;
                    *stage = Stage::Resting(future);
                    return;
                }
                _ => return,
            }
            drop(stage);
            checkpoint();
        }
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        if !self.rests {
            self.task.finish(None);
        }
    }
}

impl<T> Task<T> {
    /// Stores the first result and wakes the receiver. Later results are ignored.
    fn finish(&self, value: Option<T>) {
        let mut stage = self.stage.lock();
        if matches!(*stage, Stage::Computing { .. }) {
            *stage = Stage::Done(value);
            drop(stage);
            if let Some(waker) = self.waiting.lock().take() {
                waker.wake();
            }
        }
    }
}

impl<T: 'static> Future for Driven<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        // The waker is stored first, so that a result that arrives before the check below wakes it.
        *self.task.waiting.lock() = Some(context.waker().clone());
        match &mut *self.task.stage.lock() {
            Stage::Done(value) => Poll::Ready(value.take()),
            _ => Poll::Pending,
        }
    }
}

impl<T: 'static> Drop for Driven<T> {
    fn drop(&mut self) {
        let abandoned = std::mem::replace(&mut *self.task.stage.lock(), Stage::Abandoned);
        // The destructor of the future may wake the task. A future that is being computed is dropped by its own job.
        if let Stage::Resting(future) = abandoned {
            self.task.pool.submit(Box::new(move || drop(future)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;
    use crate::base::memory::Purpose;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    }

    /// A pool with a mebibyte of memory for codecs.
    fn pool(at_once: usize) -> WorkPool {
        WorkPool::new(&Host::default(), at_once, &Memory::new(1 << 20))
    }

    #[test]
    fn an_allowance_covers_what_it_says_and_comes_back() {
        assert_eq!(spend(usize::MAX), Ok(()));
        with_allowance(10, || {
            assert_eq!(spend(4), Ok(()));
            assert_eq!(allowance_left(), 6);
            with_allowance(1, || assert_eq!(spend(2), Err(Exhausted)));
            assert_eq!(spend(6), Ok(()));
            assert_eq!(spend(1), Err(Exhausted));
            assert_eq!(spend(0), Ok(()));
        });
        assert_eq!(spend(usize::MAX), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_of_a_host_of_one_thread_are_tasks_there() {
        let pool = WorkPool::new(&Host::simulated(0, 1), 1, &Memory::new(1 << 20));
        let own = std::thread::current().id();
        let job = pool.drive(async move { std::thread::current().id() == own && !is_here() });
        assert_eq!(job.await, Some(true));
        pool.stop();
        assert_eq!(pool.drive(async {}).await, None);
    }

    /// The long job ends only when told to, and other jobs get turns beside it.
    #[test]
    fn a_long_job_lets_others_have_their_turn() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let pool = pool(1);
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let long = pool.drive(async move {
            while !until.load(Ordering::Relaxed) {
                checkpoint();
            }
            is_here()
        });
        for _ in 0..3 {
            let (tell, told) = mpsc::channel();
            let short = pool.drive(async move { tell.send(()) });
            told.recv_timeout(PATIENCE).expect("no turn");
            drop(short);
        }
        over.store(true, Ordering::Relaxed);
        assert_eq!(runtime.block_on(long), Some(true));
        assert!(!is_here());
    }

    #[test]
    fn no_more_jobs_compute_at_once_than_said() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let pool = pool(2);
        let now = Arc::new(AtomicUsize::new(0));
        let held = pool.hold();
        let jobs: Vec<_> = (0..OPEN_MAX * 2)
            .map(|_| {
                let now = Arc::clone(&now);
                pool.drive(async move {
                    let others = now.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                    others
                })
            })
            .collect();
        assert!(pool.open() <= OPEN_MAX);
        drop(held);
        for job in jobs {
            assert!(runtime.block_on(job).unwrap() < 2);
        }
    }

    /// An idle thread takes one job, so a second job must not wait for it.
    #[test]
    fn jobs_that_come_together_do_not_wait_for_each_other() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let pool = pool(2);
        assert_eq!(runtime.block_on(pool.drive(async { 1 })), Some(1));
        let arrived = Arc::new(AtomicUsize::new(0));
        let meet = || {
            let arrived = Arc::clone(&arrived);
            pool.drive(async move {
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < 2 {
                    checkpoint();
                }
            })
        };
        for met in [meet(), meet()] {
            let met = runtime.block_on(async { tokio::time::timeout(PATIENCE, met).await });
            assert_eq!(met, Ok(Some(())));
        }
    }

    #[test]
    fn what_waits_is_no_job_and_goes_on_when_woken() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let pool = pool(1);
        let (send, receive) = tokio::sync::oneshot::channel::<u8>();
        let waits = pool.drive(async move {
            let before = is_here();
            let got = receive.await.unwrap();
            (before && is_here(), got)
        });
        while pool.open() > 0 {
            std::thread::yield_now();
        }
        send.send(7).unwrap();
        assert_eq!(runtime.block_on(waits), Some((true, 7)));
    }

    /// Wakes the future again and again just when its job has put it back and is about to end.
    #[test]
    fn what_is_woken_while_its_job_ends_goes_on() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let pool = pool(1);
        let (tell, told) = mpsc::channel::<Waker>();
        let waking = std::thread::spawn(move || {
            // Polls in a busy loop, because the moment is short.
            loop {
                match told.try_recv() {
                    Ok(waker) => waker.wake(),
                    Err(mpsc::TryRecvError::Empty) => std::hint::spin_loop(),
                    Err(mpsc::TryRecvError::Disconnected) => break,
                }
            }
        });
        for _ in 0..1_000 {
            let tell = tell.clone();
            let mut left = 20;
            let woken = std::future::poll_fn(move |context| {
                if left == 0 {
                    return Poll::Ready(());
                }
                left -= 1;
                tell.send(context.waker().clone()).unwrap();
                Poll::Pending
            });
            assert_eq!(runtime.block_on(pool.drive(woken)), Some(()));
        }
        drop(tell);
        waking.join().unwrap();
    }

    #[test]
    fn a_panic_is_told_and_harms_nobody() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let pool = pool(1);
        let broken = pool.drive(async { panic!("of this test") });
        assert_eq!(runtime.block_on(broken), None::<()>);
        assert_eq!(runtime.block_on(pool.drive(async { 1 })), Some(1));
    }

    #[test]
    fn a_stop_ends_what_spends_and_begins_nothing() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let pool = pool(1);
        let (tell, told) = mpsc::channel();
        let long = pool.drive(async move {
            tell.send(()).unwrap();
            while spend(1).is_ok() {}
            "gave up"
        });
        told.recv_timeout(PATIENCE).expect("no turn");
        // These jobs have no turn, and one of them has no thread either.
        let held = pool.hold();
        let others: Vec<_> = (0..OPEN_MAX).map(|_| pool.drive(async {})).collect();
        drop(held);
        pool.stop();
        assert_eq!(pool.open(), 0);
        assert_eq!(runtime.block_on(long), Some("gave up"));
        for other in others {
            // The receiver learns of the end in any case.
            runtime.block_on(other);
        }
        assert_eq!(runtime.block_on(pool.drive(async {})), None);
    }

    #[test]
    fn an_abandoned_future_is_dropped_wherever_it_is() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let pool = pool(1);
        let kept = Arc::new(());
        let inside = Arc::clone(&kept);
        let waits = pool.drive(async move {
            std::future::pending::<()>().await;
            drop(inside);
        });
        while pool.open() > 0 {
            std::thread::yield_now();
        }
        // A thread of the pool drops the future, so it still exists here.
        let held = pool.hold();
        drop(waits);
        assert_eq!(Arc::strong_count(&kept), 2);
        let inside = Arc::clone(&kept);
        drop(pool.drive(async move { drop(inside) }));
        drop(held);
        while Arc::strong_count(&kept) > 1 {
            std::thread::yield_now();
        }
        // A stopped pool has no threads, so the future is dropped at once.
        let inside = Arc::clone(&kept);
        let waits = pool.drive(async move {
            std::future::pending::<()>().await;
            drop(inside);
        });
        while pool.open() > 0 {
            std::thread::yield_now();
        }
        pool.stop();
        drop(waits);
        assert_eq!(Arc::strong_count(&kept), 1);
    }

    /// The pool has a mebibyte for codecs. The test uses no clock: other jobs that run meanwhile show that a job waits.
    #[test]
    fn memory_for_codecs_is_counted_and_who_finds_none_waits_without_a_turn() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let memory = Memory::new(1 << 20);
        let pool = WorkPool::new(&Host::default(), 1, &memory);
        let held = || memory.held_for(Purpose::Codecs);
        let open = Arc::new(AtomicBool::new(false));
        let (begun, began) = mpsc::channel();
        let job = |bytes: usize, inner: usize| {
            let (open, begun) = (Arc::clone(&open), begun.clone());
            pool.drive(async move {
                with_memory(bytes, || {
                    // A nested call does not wait.
                    with_memory(inner, || {
                        begun.send(bytes).unwrap();
                        while !open.load(Ordering::Relaxed) {
                            checkpoint();
                        }
                    });
                });
            })
        };
        let first = job(700_000, 600_000);
        assert_eq!(began.recv_timeout(PATIENCE), Ok(700_000));
        assert_eq!(held(), 1_300_000);
        let more_than_there_is = job(5 << 20, 0);
        let second = job(800_000, 0);
        // Another job gets a turn, and the two waiting jobs have not begun.
        assert_eq!(runtime.block_on(pool.drive(async { 3 })), Some(3));
        assert_eq!(began.try_recv(), Err(mpsc::TryRecvError::Empty));
        assert_eq!(with_memory(usize::MAX, held), 1_300_000);
        open.store(true, Ordering::Relaxed);
        for job in [first, more_than_there_is, second] {
            assert_eq!(runtime.block_on(job), Some(()));
        }
        assert_eq!(held(), 0);
    }

    #[test]
    fn who_waits_for_memory_is_woken_by_a_job_of_another_pool_too() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let memory = Memory::new(1 << 20);
        let [one, other] = [1, 1].map(|at_once| WorkPool::new(&Host::default(), at_once, &memory));
        let open = Arc::new(AtomicBool::new(false));
        let (begun, began) = mpsc::channel();
        let until = Arc::clone(&open);
        let first = one.drive(async move {
            with_memory(1 << 20, || {
                begun.send(()).unwrap();
                while !until.load(Ordering::Relaxed) {
                    checkpoint();
                }
            });
        });
        began.recv_timeout(PATIENCE).expect("no turn");
        let second = other.drive(async { with_memory(1, is_here) });
        // Once another job of its pool has run, the second job has given up its turn.
        assert_eq!(runtime.block_on(other.drive(async { 3 })), Some(3));
        open.store(true, Ordering::Relaxed);
        assert_eq!(runtime.block_on(first), Some(()));
        let second = runtime.block_on(async { tokio::time::timeout(PATIENCE, second).await });
        assert_eq!(second, Ok(Some(true)));
    }

    #[test]
    fn one_large_job_waits_for_the_other_without_a_turn() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let pool = pool(1);
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let first = pool.drive(async move {
            alone(|| {
                while !until.load(Ordering::Relaxed) {
                    checkpoint();
                }
            });
        });
        let second = pool.drive(async { alone(is_here) });
        // A third job gets a turn although the second one cannot continue.
        assert_eq!(runtime.block_on(pool.drive(async { 3 })), Some(3));
        over.store(true, Ordering::Relaxed);
        assert_eq!(runtime.block_on(first), Some(()));
        assert_eq!(runtime.block_on(second), Some(true));
    }
}
