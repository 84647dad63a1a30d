//! Queue with a single consumer that has a thread of its own ([`Threads::start_taker`]) and may therefore block. On a simulated
//! host the consumer is an ordinary task.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, TrySendError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle as ThreadHandle;
use std::time::Duration;

use super::threads::Threads;

/// Pause before the next attempt to put an element into a full queue.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// Sending end of the queue. Cheap to clone. A thread's queue allocates its capacity at once; boxed elements keep it small.
#[derive(Debug)]
pub enum Outbox<T> {
    OfThread(mpsc::SyncSender<Box<T>>),
    #[cfg(test)]
    OfTask(tokio::sync::mpsc::Sender<T>),
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        match self {
            Self::OfThread(sender) => Self::OfThread(sender.clone()),
            #[cfg(test)]
            Self::OfTask(sender) => Self::OfTask(sender.clone()),
        }
    }
}

/// Receiving end of the queue.
#[derive(Debug)]
pub enum Inbox<T> {
    OfThread(mpsc::Receiver<Box<T>>),
    #[cfg(test)]
    OfTask(tokio::sync::mpsc::Receiver<T>),
}

/// The other end of the queue is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Result of [`Inbox::take`].
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    One(T),
    /// No element came in time.
    Nothing,
    /// All senders are gone.
    Gone,
}

impl<T> Outbox<T> {
    /// Puts an element into the queue. Waits while the queue is full.
    pub async fn put(&self, one: T) -> Result<(), Gone> {
        match self {
            Self::OfThread(sender) => {
                let mut one = Box::new(one);
                loop {
                    match sender.try_send(one) {
                        Ok(()) => return Ok(()),
                        Err(TrySendError::Disconnected(_)) => return Err(Gone),
                        Err(TrySendError::Full(back)) => one = back,
                    }
                    tokio::time::sleep(FULL_PAUSE).await;
                }
            }
            #[cfg(test)]
            Self::OfTask(sender) => sender.send(one).await.map_err(|_| Gone),
        }
    }
}

impl<T> Inbox<T> {
    /// Creates a queue with room for `most` elements.
    pub fn new(threads: &Threads, most: usize) -> (Outbox<T>, Self) {
        #[cfg(test)]
        if threads.is_one() {
            let (sender, receiver) = tokio::sync::mpsc::channel(most);
            return (Outbox::OfTask(sender), Self::OfTask(receiver));
        }
        let _ = threads;
        let (sender, receiver) = mpsc::sync_channel(most);
        (Outbox::OfThread(sender), Self::OfThread(receiver))
    }

    /// Waits for the next element, at most for `within`. A consumer with a thread blocks its thread.
    pub async fn take(&mut self, within: Option<Duration>) -> Taken<T> {
        match self {
            Self::OfThread(receiver) => {
                let taken = match within {
                    Some(within) => receiver.recv_timeout(within),
                    None => receiver.recv().map_err(RecvTimeoutError::from),
                };
                match taken {
                    Ok(one) => Taken::One(*one),
                    Err(RecvTimeoutError::Timeout) => Taken::Nothing,
                    Err(RecvTimeoutError::Disconnected) => Taken::Gone,
                }
            }
            #[cfg(test)]
            Self::OfTask(receiver) => {
                let next = receiver.recv();
                let taken = match within {
                    Some(within) => tokio::time::timeout(within, next).await,
                    None => Ok(next.await),
                };
                match taken {
                    Ok(Some(one)) => Taken::One(one),
                    Err(_) => Taken::Nothing,
                    Ok(None) => Taken::Gone,
                }
            }
        }
    }

    /// Next element, if there is one now.
    pub fn try_take(&mut self) -> Option<T> {
        match self {
            Self::OfThread(receiver) => receiver.try_recv().ok().map(|one| *one),
            #[cfg(test)]
            Self::OfTask(receiver) => receiver.try_recv().ok(),
        }
    }
}

/// A running consumer.
#[derive(Debug)]
pub enum Taker {
    OfThread(ThreadHandle<()>),
    #[cfg(test)]
    OfTask(tokio::task::JoinHandle<()>),
}

impl Taker {
    /// Waits until the consumer has ended.
    pub async fn ended(self, threads: &Threads) {
        match self {
            Self::OfThread(thread) => drop(threads.start_blocking(move || thread.join()).await),
            #[cfg(test)]
            Self::OfTask(task) => drop(task.await),
        }
    }
}

impl Threads {
    /// Starts the consumer of an [`Inbox`] on a thread with the given stack size. The future may await nothing but its inbox.
    ///
    /// Errors: the system cannot start a thread.
    pub fn start_taker(
        &self,
        name: &str,
        stack_bytes: usize,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Taker> {
        #[cfg(test)]
        if self.is_one() {
            return Ok(Taker::OfTask(self.spawn(work)));
        }
        let work = move || {
            let work = std::pin::pin!(work);
            let done = work.poll(&mut Context::from_waker(Waker::noop()));
            // The thread polls the future once. A future that waits for anything but its inbox would never be polled again.
            assert!(matches!(done, Poll::Ready(())), "a taker waits for others");
        };
        self.start(name, stack_bytes, work).map(Taker::OfThread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of a consumer that adds up numbers and sends the sum each time that no number came.
    async fn told_by(threads: Threads) -> Vec<String> {
        let (outbox, mut inbox) = Inbox::<u32>::new(&threads, 2);
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let work = async move {
            let mut sum = 0;
            loop {
                match inbox.take(Some(Duration::from_millis(20))).await {
                    Taken::One(one) => {
                        sum += one;
                        while let Some(one) = inbox.try_take() {
                            sum += one;
                        }
                    }
                    Taken::Nothing => tell.send(sum.to_string()).unwrap(),
                    Taken::Gone => return tell.send("gone".to_owned()).unwrap(),
                }
            }
        };
        let taker = threads.start_taker("taker", 1 << 20, work).unwrap();
        for one in 1..=10 {
            outbox.put(one).await.unwrap();
        }
        let mut all = Vec::new();
        while all.last().is_none_or(|last| last != "55") {
            all.extend(told.recv().await);
        }
        drop(outbox);
        taker.ended(&threads).await;
        while let Some(line) = told.recv().await {
            all.push(line);
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn a_taker_is_a_task_on_a_host_of_one_thread() {
        assert_eq!(told_by(Threads::one()).await, ["55", "gone"]);
    }

    #[tokio::test]
    async fn a_taker_has_a_thread_otherwise() {
        let told = told_by(Threads::default()).await;
        assert_eq!(told.last().map(String::as_str), Some("gone"));
    }
}
