//! Threads that compute what takes long, so that those which serve clients need not: large requests, batches that unpack to
//! much, messages of old formats.
//!
//! ```text
//! serving thread          work pool (half of the processors run, in turns)
//!   request ──► allowance enough? ──► answered in place
//!                   └─ no ──► [job] [job] [job] …   each computes for a slice, then the next in line does
//! ```
//! A job that computes for half a minute so keeps a small one waiting for some slices, not for half a minute. Code gives its
//! turn away where it calls [`spend`] or [`checkpoint`], which it must do every few hundred microseconds, and **never with a
//! lock in hand**. Both find the job through the thread they run on, as tokio's own budget does, so that pure code needs no
//! further argument; on any other thread they cost a look at a thread-local.

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

/// Jobs that are computed in turns; the others wait for one of them to end. Each has a thread and the memory of a codec,
/// and the smallest of them waits for as many slices.
const OPEN_MAX: usize = 32;
/// How long a job computes while others wait. Shorter ones cost more changes between threads.
const SLICE: Duration = Duration::from_millis(10);
/// How much less of a processor these threads get than those which serve, where both want it (`nice`).
const NICE: i32 = 10;
/// A thread that has nothing to do ends after this time.
const KEPT: Duration = Duration::from_secs(5);
/// How long a stop waits for jobs. They give up where they spend; others are of requests that change nothing.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// A thread's stack, as the runtime's threads have it.
const STACK_SIZE: usize = 512 << 10;

/// The allowance is used up, or the node stops: what was begun has had no effect yet and is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more work than it may take")]
pub struct Exhausted;

thread_local! {
    static ALLOWANCE: Cell<Option<usize>> = const { Cell::new(None) };
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
    /// Whether the thread does work that takes much memory.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, which may [`spend`] so much.
pub fn with_allowance<T>(cost: usize, work: impl FnOnce() -> T) -> T {
    /// Puts the outer allowance back, also when `work` panics.
    struct Outer(Option<usize>);
    impl Drop for Outer {
        fn drop(&mut self) {
            ALLOWANCE.set(self.0);
        }
    }
    let _outer = Outer(ALLOWANCE.replace(Some(cost)));
    work()
}

/// What is left of the allowance, for a later part of the same work.
pub fn allowance_left() -> usize {
    ALLOWANCE.get().unwrap_or(usize::MAX)
}

/// Whether the allowance covers a step that cannot be given up once it has begun.
pub fn affords(cost: usize) -> Result<(), Exhausted> {
    if cost > allowance_left() {
        return Err(Exhausted);
    }
    Ok(())
}

/// Notes work whose cost is about that of copying so many bytes, before or after it is done; a [`checkpoint`] too.
///
/// Errors: the allowance does not cover it. Without an allowance there is no error.
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

/// In a job whose slice is over: others have their turn first. For work that is finished whatever it costs.
pub fn checkpoint() {
    TURN.with_borrow_mut(|turn| {
        if let Some(turn) = turn {
            let _ = turn.pass_on();
        }
    });
}

/// Whether this is a thread of a pool.
pub fn is_here() -> bool {
    TURN.with_borrow(Option::is_some)
}

/// Runs `work`, which takes much memory, while no other job does such. Whoever waits for that has no turn meanwhile.
pub fn alone<T>(work: impl FnOnce() -> T) -> T {
    let _one = LARGE_WORK
        .try_lock()
        .unwrap_or_else(|| without_turn(|| LARGE_WORK.lock()));
    let _holds = Holds::begin();
    work()
}

/// Runs `work`, which takes so much memory, once there is room beside that of other jobs, or none that takes any. Whoever waits
/// for that has no turn meanwhile. What is within such work, or is done [alone], does not wait, or two would wait for each
/// other. It is counted where a pool computes; elsewhere an [allowance](with_allowance) bounds it.
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

/// Waits for something while other jobs have this one's turn.
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

/// While this lives, the thread does work that takes much memory.
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
    /// Wakes threads that have nothing to do.
    jobs: Condvar,
    /// Wakes whoever waits for the last job.
    quiet: Condvar,
    stopped: AtomicBool,
    runtime: Handle,
    /// Where what codecs take is counted.
    memory: Arc<Memory>,
}

struct State {
    /// Turns that nobody has.
    free: isize,
    /// Jobs that wait for a turn, in this order.
    line: VecDeque<Arc<Seat>>,
    /// Jobs without a thread, in this order. A connection has no more than one.
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// Where a thread waits for its turn.
#[derive(Default)]
struct Seat {
    called: Mutex<bool>,
    calls: Condvar,
}

/// What a thread of the pool has while it computes.
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
    /// `at_once` jobs run at the same time. Called within the runtime that jobs may start tasks in.
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

    /// Computes `future` here, from now on and whether or not somebody polls the result: each poll of it is a job, and while
    /// it waits it is none. The result is `None` if it panicked, or if the node stops. Who drops the result has the future
    /// dropped, by a job too: a fetch of very many partitions waits for each of them.
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

    /// Begins nothing more, has what is open give up, and waits until it did.
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

    /// Test-only: no job computes until what this gives is dropped.
    #[cfg(test)]
    pub fn hold(&self) -> Pause {
        self.inner.state.lock().free -= HELD;
        Pause(self.clone())
    }

    /// Test-only: jobs that have begun and are not done.
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
    /// Gives free turns to those who wait longest.
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
            // A host with one thread, which computes everything in turn as it is.
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
            // With no thread at all nobody would ever look.
            let refused = match state.threads {
                0 => std::mem::take(&mut state.queue),
                _ => VecDeque::new(),
            };
            drop(state);
            drop(refused);
            tracing::error!(%error, "cannot start a thread for a request");
        }
    }

    /// What a thread of the pool does.
    fn work(self: Arc<Self>) {
        // A thread may always have less of a processor; where the system says otherwise, it has as much as the others.
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
                // A panic is the job's: whoever waits for its result is told.
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
    /// Waits in line.
    fn take(&mut self) {
        let mut state = self.pool.state.lock();
        state.line.push_back(Arc::clone(&self.seat));
        self.seat.wait(state);
        self.since = self.pool.host.clock.steady();
    }

    /// Lets those in line have their turn, if this one's slice is over.
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
    /// Waits until this one, which stands in line, is called.
    fn wait(&self, mut state: MutexGuard<'_, State>) {
        state.call();
        drop(state);
        let mut called = self.called.lock();
        while !std::mem::take(&mut *called) {
            self.calls.wait(&mut called);
        }
    }
}

/// A future that the pool computes; this one waits for its result.
#[derive(Debug)]
pub struct Driven<T: 'static> {
    task: Arc<Task<T>>,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Task<T> {
    pool: Arc<Inner>,
    stage: Mutex<Stage<T>>,
    /// Who wants the result.
    waiting: Mutex<Option<Waker>>,
}

enum Stage<T> {
    /// Waits to be woken.
    Resting(Boxed<T>),
    /// A job polls the future, or will; perhaps it was woken meanwhile.
    Computing {
        woken: bool,
    },
    Done(Option<T>),
    /// Nobody wants the result any more.
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

/// Sees to it that whoever waits is told, also of a job that panics or never begins.
struct End<T> {
    task: Arc<Task<T>>,
    /// The future waits to be woken. Another job may have it by the time at which this one is over.
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
    /// The first result counts.
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
        // The waker first: a result that comes between the two finds it.
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
        // Its destructor may wake it. What computes just then is dropped by its own job.
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

    /// With a mebibyte for codecs.
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

    /// A job that never ends by itself, beside which another one is computed all the same.
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

    /// A thread that has nothing to do takes one job, and no more are kept for it.
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

    /// Woken again and again at the moment at which a job has put it aside and is not quite over.
    #[test]
    fn what_is_woken_while_its_job_ends_goes_on() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let pool = pool(1);
        let (tell, told) = mpsc::channel::<Waker>();
        let waking = std::thread::spawn(move || {
            // Waits for nothing: the moment is short.
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
        // These have no thread, and one of them has not even a place in line.
        let held = pool.hold();
        let others: Vec<_> = (0..OPEN_MAX).map(|_| pool.drive(async {})).collect();
        drop(held);
        pool.stop();
        assert_eq!(pool.open(), 0);
        assert_eq!(runtime.block_on(long), Some("gave up"));
        for other in others {
            // Told in any case.
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
        // By a thread of the pool, and so not here and now.
        let held = pool.hold();
        drop(waits);
        assert_eq!(Arc::strong_count(&kept), 2);
        let inside = Arc::clone(&kept);
        drop(pool.drive(async move { drop(inside) }));
        drop(held);
        while Arc::strong_count(&kept) > 1 {
            std::thread::yield_now();
        }
        // Of a pool that stops there is nobody else.
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

    /// With a mebibyte for codecs. No clock: what waits is seen by what others may do meanwhile.
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
                    // What is within does not wait.
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
        // Others have turns, and see that the two have not begun.
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
        // The second has given its turn back by the time at which another job of its pool is over.
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
        // A third one finds a turn although the second cannot go on.
        assert_eq!(runtime.block_on(pool.drive(async { 3 })), Some(3));
        over.store(true, Ordering::Relaxed);
        assert_eq!(runtime.block_on(first), Some(()));
        assert_eq!(runtime.block_on(second), Some(true));
    }
}
