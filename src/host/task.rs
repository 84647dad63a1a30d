//! Guards for tasks and threads. A panic in a task that lives as long as the node ends the node, because nothing else does its
//! work. A panic in the task of a connection ends that connection.
//!
//! Acknowledged data is then as safe as after kill -9: a node that halts does not mark its directories as cleanly stopped.

use std::any::Any;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::watch;
use tokio::task::JoinError;

thread_local! {
    /// Name of the work that this thread does now, for the log line of a panic.
    static AT_WORK: Cell<&'static str> = const { Cell::new("") };
}

/// Signal that the node cannot go on, with the first reason given. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Halt {
    reason: Arc<watch::Sender<String>>,
    /// Name of a task that is to panic.
    #[cfg(test)]
    planted: Option<&'static str>,
}

impl Halt {
    /// Reports that the node cannot go on.
    pub fn now(&self, why: String) {
        self.reason.send_if_modified(|reason| {
            let first = reason.is_empty();
            if first {
                *reason = why;
            }
            first
        });
    }

    /// Waits until the node cannot go on. Gives the reason.
    pub async fn reason(&self) -> String {
        let mut reason = self.reason.subscribe();
        match reason.wait_for(|why| !why.is_empty()).await {
            Ok(why) => why.clone(),
            Err(_) => "the node is gone".to_owned(),
        }
    }

    /// Wraps a task on which the node depends: a panic in it ends the node.
    pub fn guard<F>(&self, name: &'static str, task: F) -> impl Future<Output = ()> + use<F>
    where
        F: Future<Output = ()>,
    {
        let halt = self.clone();
        #[cfg(test)]
        let task = {
            let planted = self.planted;
            async move {
                assert!(planted != Some(name), "planted");
                task.await;
            }
        };
        guarded_or(name, task, move |what| halt.now(ended(name, &what)))
    }

    /// With a panic in the task of this name, as soon as it runs.
    #[cfg(test)]
    pub fn with_planted(planted: Option<&'static str>) -> Self {
        Self {
            planted,
            ..Self::default()
        }
    }
}

fn ended(name: &str, what: &str) -> String {
    format!("{name} ended in a panic: {what}")
}

pin_project! {
    /// Future that turns a panic of its task into an error.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Guarded<F> {
        name: &'static str,
        #[pin]
        task: F,
    }
}

/// See [`Guarded`].
pub fn guarded<F: Future>(name: &'static str, task: F) -> Guarded<F> {
    Guarded { name, task }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Result<F::Output, String>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match caught(this.name, || this.task.poll(cx)) {
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(what) => Poll::Ready(Err(what)),
        }
    }
}

pin_project! {
    /// Future that reports a panic of its task to a closure. An `async` block around a [`Guarded`] would do the same, but take
    /// twice the memory of the task, which matters for connections.
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct GuardedOr<F, T> {
        #[pin]
        task: Guarded<F>,
        tell: Option<T>,
    }
}

/// See [`GuardedOr`].
pub fn guarded_or<F, T>(name: &'static str, task: F, tell: T) -> GuardedOr<F, T>
where
    F: Future<Output = ()>,
    T: FnOnce(String),
{
    let (task, tell) = (guarded(name, task), Some(tell));
    GuardedOr { task, tell }
}

impl<F: Future<Output = ()>, T: FnOnce(String)> Future for GuardedOr<F, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.task.poll(cx).map(|done| {
            if let (Err(what), Some(tell)) = (done, this.tell.take()) {
                tell(what);
            }
        })
    }
}

/// Runs `work`. A panic becomes an error with its message.
fn caught<T>(name: &'static str, work: impl FnOnce() -> T) -> Result<T, String> {
    let before = AT_WORK.replace(name);
    // State that a panic leaves half done is dropped here, or belongs to a node that ends.
    let done = catch_unwind(AssertUnwindSafe(work));
    AT_WORK.set(before);
    done.map_err(|panic| message(&*panic).to_owned())
}

/// Wraps work so that a panic in it is logged under the name of the task that started it.
pub(super) fn under_the_same_name<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let name = AT_WORK.get();
    move || {
        let before = AT_WORK.replace(name);
        let done = catch_unwind(AssertUnwindSafe(work));
        AT_WORK.set(before);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Result of blocking work. A panic of the work continues here. If the runtime shut down before the work ran, this never
/// returns.
pub async fn joined<T>(done: Result<T, JoinError>) -> T {
    match done.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => poll_fn(|_| Poll::Pending).await,
    }
}

/// Logs every panic of the process with the task, the source location and the message. Rust's own message on standard error
/// appears in addition if backtraces are enabled.
pub fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        let location = panic.location().map(ToString::to_string);
        tracing::error!(
            task = AT_WORK.get(),
            thread = std::thread::current().name().unwrap_or_default(),
            location = location.unwrap_or_default(),
            message_of_panic = message(panic.payload()),
            "a fault of the program: a panic"
        );
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            before(panic);
        }
    }));
}

fn message(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else {
        panic.downcast_ref::<String>().map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::threads::Threads;

    #[tokio::test]
    async fn a_panic_in_a_guarded_task_is_the_reason_to_halt_and_the_first_counts() {
        let halt = Halt::default();
        halt.guard("fine", async {}).await;
        halt.guard("broken", async {
            tokio::task::yield_now().await;
            panic!("three of {}", 2);
        })
        .await;
        halt.guard("later", async { panic!("other") }).await;
        assert_eq!(halt.reason().await, "broken ended in a panic: three of 2");
    }

    #[tokio::test]
    async fn a_panic_on_a_blocking_thread_goes_on_in_whoever_waits() {
        let halt = Halt::default();
        halt.guard("cleaner", async {
            let threads = Threads::default();
            assert_eq!(threads.blocking(|| 3).await, 3);
            threads.blocking(|| panic!("on a thread")).await
        })
        .await;
        assert_eq!(halt.reason().await, "cleaner ended in a panic: on a thread");
    }

    #[tokio::test]
    async fn a_panic_on_a_thread_of_its_own_is_the_reason_too() {
        let (halt, threads) = (Halt::default(), Threads::default());
        let work = halt.guard("controller", async { assert_eq!(1, 2) });
        let taker = threads.start_taker("controller", 1 << 20, work).unwrap();
        taker.ended(&threads).await;
        assert!(
            halt.reason
                .borrow()
                .starts_with("controller ended in a panic: assertion")
        );
    }

    #[tokio::test]
    async fn a_task_that_is_aborted_is_no_panic() {
        let halt = Halt::default();
        let task = tokio::spawn(halt.guard("endless", std::future::pending()));
        tokio::task::yield_now().await;
        task.abort();
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(*halt.reason.borrow(), "");
    }
}
