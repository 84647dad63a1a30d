//! task: a thread that owns the newest image and the quorum, from start to stop.
//!
//! It takes requests in the order in which they came, decides each on the image that the ones before it left, commits
//! what they decided with one sync for all that waited, shows the new image to the publishers in their fixed order, and
//! then answers. So an answer is never seen before its records are durable and its logs are there.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::request::{Answer, Ask, Request};
use super::{Context, Decision};
use crate::base::ids::{BrokerId, Uuid};
use crate::config::broker::BrokerSettings;
use crate::host::Host;
use crate::host::task::Halt;
use crate::log::error::{AppendError, StorageError, malformed};
use crate::metadata::bootstrap::random_uuid;
use crate::metadata::image::{Delta, Image};
use crate::metadata::placement::{Assignment, assign_request};
use crate::metadata::quorum::single::SingleQuorum;
use crate::metadata::record::Record;
use crate::metadata::record::schema::NoOpRecord;

/// The stack of the controller's thread: nothing here recurses deeply.
const STACK_SIZE: usize = 512 << 10;
/// Requests taken together before they are synced and answered.
const GROUP_MAX: usize = 256;
/// Requests that may wait; more are refused by the channel's back-pressure on the sender.
const QUEUE_MAX: usize = 4_096;

/// Somebody who acts on metadata: told of every change, in a fixed order, before it is answered.
pub trait Publisher: Send + Sync {
    fn on_update(&self, delta: &Delta, image: &Arc<Image>);

    /// The log directories that it chose for new replicas. The controller is told of them, and the metadata name them, before
    /// the change is answered.
    fn take_assignments(&self) -> Vec<Assignment> {
        Vec::new()
    }
}

/// The newest committed image. Cheap to clone and to read.
#[derive(Clone, Debug)]
pub struct ImageHandle {
    current: Arc<ArcSwap<Image>>,
}

impl ImageHandle {
    pub fn new(image: Arc<Image>) -> Self {
        Self {
            current: Arc::new(ArcSwap::new(image)),
        }
    }

    pub fn load(&self) -> Arc<Image> {
        self.current.load_full()
    }
}

/// The controller is gone: the node is stopping or its metadata disk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the controller is not available")]
pub struct ControllerGone;

enum Event {
    Asked(Request, oneshot::Sender<Answer>),
    Stop(oneshot::Sender<()>),
}

/// Where requests to the controller go. Cheap to clone.
#[derive(Clone)]
pub struct ControllerHandle {
    events: mpsc::SyncSender<Event>,
}

impl std::fmt::Debug for ControllerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ControllerHandle")
    }
}

impl ControllerHandle {
    /// The answer to a request, once its records are committed and published.
    pub async fn ask<R: Ask>(&self, request: R) -> Result<R::Answer, ControllerGone> {
        let (answer, answered) = oneshot::channel();
        self.send(Event::Asked(request.into(), answer)).await?;
        let answer = answered.await.map_err(|_| ControllerGone)?;
        R::answer_in(answer).ok_or(ControllerGone)
    }

    async fn send(&self, event: Event) -> Result<(), ControllerGone> {
        let mut event = event;
        loop {
            match self.events.try_send(event) {
                Ok(()) => return Ok(()),
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(ControllerGone),
                Err(mpsc::TrySendError::Full(back)) => event = back,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends the thread after everything that was asked before; the metadata log is then closed cleanly.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.send(Event::Stop(done)).await.is_ok() {
            drop(stopped.await);
        }
    }
}

/// Everything that the thread owns.
pub struct Controller {
    pub quorum: SingleQuorum,
    pub image: Image,
    pub handle: ImageHandle,
    pub publishers: Vec<Arc<dyn Publisher>>,
    pub settings: BrokerSettings,
    pub node_id: BrokerId,
    pub clamp_replication: bool,
    pub host: Host,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("quorum", &self.quorum)
            .finish_non_exhaustive()
    }
}

impl Controller {
    /// Decides about a request, commits and publishes at once: before the thread is started.
    pub fn ask<R: Ask>(&mut self, request: R) -> Result<R::Answer, AppendError> {
        let mut delta = Delta::default();
        let (answer, wrote) = self.execute(request.into(), &mut delta)?;
        if wrote {
            self.quorum.sync(self.host.clock.now())?;
            self.publish(&delta);
        }
        let answer = R::answer_in(answer);
        answer.ok_or_else(|| malformed("the controller", "an answer to another request").into())
    }

    /// Starts the thread. The node halts when the metadata log cannot be written any more, or after a panic: nothing can be
    /// decided from then on.
    pub fn start(self, halt: &Halt) -> Result<(ControllerHandle, JoinHandle<()>), StorageError> {
        let halt = halt.clone();
        let (events, inbox) = mpsc::sync_channel(QUEUE_MAX);
        let threads = self.host.threads.clone();
        let thread = threads
            .start("controller", STACK_SIZE, move || {
                if let Some(Err(error)) = halt.guard_thread("controller", || self.run(&inbox)) {
                    halt.now(format!("the metadata log has failed: cannot {error}"));
                }
            })
            .map_err(|source| StorageError {
                doing: "start",
                path: "the controller thread".into(),
                source,
            })?;
        Ok((ControllerHandle { events }, thread))
    }

    fn run(mut self, inbox: &mpsc::Receiver<Event>) -> Result<(), AppendError> {
        while let Some(first) = self.next_event(inbox)? {
            let mut answers = Vec::new();
            let mut delta = Delta::default();
            let mut stop = None;
            let mut next = Some(first);
            let mut dirty = false;
            while let Some(event) = next {
                match event {
                    Event::Asked(request, waiting) => {
                        let (answer, wrote) = self.execute(request, &mut delta)?;
                        answers.push((waiting, answer));
                        dirty |= wrote;
                    }
                    Event::Stop(done) => {
                        stop = Some(done);
                        break;
                    }
                }
                next = if answers.len() < GROUP_MAX {
                    inbox.try_recv().ok()
                } else {
                    None
                };
            }
            if dirty {
                self.quorum.sync(self.host.clock.now())?;
                self.publish(&delta);
                self.follow_up()?;
            }
            for (waiting, answer) in answers {
                // Whoever asked may have gone away.
                drop(waiting.send(answer));
            }
            if let Some(done) = stop {
                if let Err(error) = self.quorum.close() {
                    tracing::error!(%error, "the metadata log could not be closed");
                }
                // Nobody waits any more if this fails.
                let _ = done.send(());
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for the next event, and meanwhile does what is due by time. `None` when nobody can send any more.
    fn next_event(&mut self, inbox: &mpsc::Receiver<Event>) -> Result<Option<Event>, AppendError> {
        let mut snapshots = true;
        loop {
            let now = self.host.clock.now();
            let snapshot = self.quorum.snapshot_wait(now).filter(|_| snapshots);
            let idle = self.quorum.idle_wait(now);
            let Some(wait) = snapshot.into_iter().chain(idle).min() else {
                return Ok(inbox.recv().ok());
            };
            match inbox.recv_timeout(Duration::from_millis(wait)) {
                Ok(event) => return Ok(Some(event)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if snapshot == Some(wait) {
                if let Err(error) = self.quorum.snapshot(&self.image, self.host.clock.now()) {
                    tracing::error!(%error, "a metadata snapshot failed");
                    // It is tried again after the next event.
                    snapshots = false;
                }
            } else {
                self.idle()?;
            }
        }
    }

    /// Moves the offset on, as Kafka's controller does (`NoOpRecord`, KIP-835). No publisher has to hear of it.
    fn idle(&mut self) -> Result<(), AppendError> {
        let offset = self.quorum.idle(self.host.clock.now())?;
        let record = Record::NoOp(NoOpRecord {});
        self.image.apply(&record, offset, &mut Delta::default());
        self.handle.current.store(Arc::new(self.image.clone()));
        Ok(())
    }

    fn execute(
        &mut self,
        request: Request,
        delta: &mut Delta,
    ) -> Result<(Answer, bool), AppendError> {
        // Without random numbers no topic is created; each then gets an error of its own.
        let ids = (0..request.ids_max()).map_while(|_| random_uuid(&self.host.chance).ok());
        let ids: Vec<Uuid> = ids.collect();
        let context = Context {
            now: self.host.clock.now(),
            node_id: self.node_id,
            settings: &self.settings,
            ids: &ids,
            clamp_replication: self.clamp_replication,
        };
        let Decision { records, answer } = request.decide(&self.image, &context);
        self.append(&records, delta)?;
        Ok((answer, !records.is_empty()))
    }

    fn append(&mut self, records: &[Record], delta: &mut Delta) -> Result<(), AppendError> {
        if records.is_empty() {
            return Ok(());
        }
        let first = self.quorum.commit(records, self.host.clock.now())?;
        for (index, record) in records.iter().enumerate() {
            self.image.apply(record, first + index as i64, delta);
        }
        Ok(())
    }

    /// Asks for what the publishers did to be in the metadata as well.
    fn follow_up(&mut self) -> Result<(), AppendError> {
        let publishers = self.publishers.iter();
        let placed: Vec<Assignment> = publishers
            .flat_map(|publisher| publisher.take_assignments())
            .collect();
        if placed.is_empty() {
            return Ok(());
        }
        let own = self.image.brokers.get(&self.node_id);
        let epoch = own.map_or(-1, |broker| broker.epoch);
        let told = self.ask(assign_request(self.node_id, epoch, &placed))?;
        if told.error_code != 0 {
            tracing::error!(
                error_code = told.error_code,
                "the controller does not take the log directories of new replicas"
            );
        }
        Ok(())
    }

    fn publish(&self, delta: &Delta) {
        let image = Arc::new(self.image.clone());
        for publisher in &self.publishers {
            publisher.on_update(delta, &image);
        }
        self.handle.current.store(image);
    }
}
