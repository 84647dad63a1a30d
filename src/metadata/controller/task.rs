//! task: a thread that owns the controller's machine, the loader and this node's membership in the quorum, from start to stop.
//!
//! The thread takes requests in order of arrival, decides each on the image that the earlier ones left, and proposes the
//! resulting records to the quorum. One sync commits the records of all requests taken together. Committed records go through
//! the loader to the publishers; after that the answers are sent. So an answer is never seen before its records are durable and
//! known to every publisher. Publishers do not wait for logs: the logs of a new topic are created in the background, and code
//! that needs such a log waits for it (`replica/making.rs`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::elsewhere;
use super::machine::{Machine, Setup};
use super::request::{Answer, Ask, Asked, Request};
use crate::base::ids::{BrokerId, LeaderEpoch, Uuid};
use crate::base::time::Timestamp;
use crate::host::Host;
use crate::host::inbox::{Inbox, Outbox, Taken, Taker};
use crate::host::task::Halt;
use crate::log::error::{AppendError, StorageError, malformed};
use crate::metadata::bootstrap::{check_features, random_uuid};
use crate::metadata::image::Image;
use crate::metadata::loader::{ImageHandle, Loader, Publisher};
use crate::metadata::quorum::upkeep::Upkeep;
use crate::metadata::quorum::{ProposeError, Quorum};
use crate::metadata::record::Record;
use crate::metadata::record::schema::NoOpRecord;
use crate::metadata::remote::Remote;

/// Stack size of the controller's thread in bytes; nothing here recurses deeply.
const STACK_SIZE: usize = 512 << 10;
/// Limit of the requests that are decided before the next sync and their answers.
const GROUP_MAX: usize = 256;
/// Capacity of the request queue. A sender waits while the queue is full.
const QUEUE_MAX: usize = 4_096;

/// The controller is not available: the node is stopping, its metadata disk failed, or another node leads the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the controller is not available")]
pub struct ControllerGone;

enum Event {
    Asked(Request, oneshot::Sender<Answer>),
    /// More records may have been committed.
    Arrived,
    Stop(oneshot::Sender<()>),
}

/// Handle to send requests to the controller. It is cheap to clone.
#[derive(Clone)]
pub struct ControllerHandle {
    events: Outbox<Event>,
    /// The controllers, if they are other nodes.
    remote: Option<Remote>,
}

impl std::fmt::Debug for ControllerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ControllerHandle")
    }
}

impl ControllerHandle {
    /// Sends a request; returns the answer once its records are committed and published.
    pub async fn ask<R: Ask>(&self, request: R) -> Result<R::Answer, ControllerGone> {
        let answer = match &self.remote {
            Some(remote) => elsewhere::ask(remote, request.into()).await,
            None => {
                let (answer, answered) = oneshot::channel();
                self.send(Event::Asked(request.into(), answer)).await?;
                answered.await.ok()
            }
        };
        answer.and_then(R::answer_in).ok_or(ControllerGone)
    }

    /// Turns the handle into one to controllers on other nodes.
    pub fn of(self, remote: Remote) -> Self {
        Self {
            remote: Some(remote),
            ..self
        }
    }

    /// Makes the thread apply newly committed records whenever there may be some. Ends with the thread.
    pub async fn follow(self, arrivals: Arc<Notify>) {
        loop {
            arrivals.notified().await;
            if self.send(Event::Arrived).await.is_err() {
                return;
            }
        }
    }

    async fn send(&self, event: Event) -> Result<(), ControllerGone> {
        self.events.put(event).await.map_err(|_| ControllerGone)
    }

    /// Stops the thread after all earlier requests are answered; the metadata log is then closed cleanly.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.send(Event::Stop(done)).await.is_ok() {
            drop(stopped.await);
        }
    }
}

/// Sender of the answer to the waiting requester; `None` if the controller itself made the request.
type Waiting = Option<oneshot::Sender<Answer>>;

/// State of the controller's thread.
#[derive(Debug)]
pub struct Controller {
    node_id: BrokerId,
    quorum: Box<dyn Quorum>,
    /// Epoch in which this node leads and the machine decides; `None` while another node leads.
    leads: Option<LeaderEpoch>,
    machine: Machine<Waiting>,
    loader: Loader,
    upkeep: Upkeep,
    /// Time of the last NoOpRecord.
    idle_since: Timestamp,
    host: Host,
}

impl Controller {
    /// A controller that starts from `image`, the committed state when the quorum was opened.
    pub fn new(
        host: &Host,
        quorum: Box<dyn Quorum>,
        image: Image,
        setup: Setup,
        upkeep: Upkeep,
    ) -> Self {
        let mut this = Self {
            node_id: setup.node_id,
            quorum,
            leads: None,
            machine: Machine::new(setup, &image),
            loader: Loader::new(image),
            upkeep,
            idle_since: host.clock.now(),
            host: host.clone(),
        };
        this.notice_leadership();
        this
    }

    /// Handle of the newest committed image.
    pub fn image(&self) -> ImageHandle {
        self.loader.handle()
    }

    /// Notification for [`ControllerHandle::follow`].
    pub fn arrivals(&self) -> Option<Arc<Notify>> {
        self.quorum.arrivals()
    }

    /// Adds a publisher after the others.
    pub fn add(&mut self, publisher: Arc<dyn Publisher>) {
        self.loader.add(publisher);
    }

    /// Answers a request before the thread is started; returns once the records are committed and published.
    pub fn ask<R: Ask>(&mut self, request: R) -> Result<R::Answer, AppendError> {
        let (waiting, mut answer) = oneshot::channel();
        self.decide(request.into(), Some(waiting))?;
        self.commit()?;
        let answer = answer.try_recv().ok().and_then(R::answer_in);
        answer.ok_or_else(|| malformed("the metadata log", "this node does not lead").into())
    }

    /// Applies committed records until this node has everything that was committed when it last heard from the quorum, and
    /// `enough` accepts the image. Must be called before the thread is started.
    pub async fn follow_until(
        &mut self,
        enough: impl Fn(&Image) -> bool,
    ) -> Result<(), AppendError> {
        loop {
            self.commit()?;
            if self.quorum.is_caught_up() && enough(self.loader.image()) {
                return Ok(());
            }
            let Some(arrivals) = self.quorum.arrivals() else {
                return Ok(());
            };
            arrivals.notified().await;
        }
    }

    /// Starts the thread. The node halts after a panic and when the metadata log cannot be written any more, because nothing
    /// can be decided from then on.
    pub fn start(self, halt: &Halt) -> Result<(ControllerHandle, Taker), StorageError> {
        let threads = self.host.threads.clone();
        let (events, inbox) = Inbox::new(&threads, QUEUE_MAX);
        let failed = halt.clone();
        let work = halt.guard("controller", async move {
            if let Err(error) = self.run(inbox).await {
                failed.now(format!("the metadata log has failed: cannot {error}"));
            }
        });
        let taker = threads.start_taker("controller", STACK_SIZE, work);
        let taker = taker.map_err(|source| StorageError {
            doing: "start",
            path: "the controller thread".into(),
            source,
        })?;
        let handle = ControllerHandle {
            events,
            remote: None,
        };
        Ok((handle, taker))
    }

    async fn run(mut self, mut inbox: Inbox<Event>) -> Result<(), AppendError> {
        while let Some(first) = self.next_event(&mut inbox).await? {
            let mut stop = None;
            let mut next = Some(first);
            let mut decided = 0;
            while let Some(event) = next {
                match event {
                    Event::Asked(request, waiting) => self.decide(request, Some(waiting))?,
                    // Committed records are applied below.
                    Event::Arrived => {}
                    Event::Stop(done) => {
                        stop = Some(done);
                        break;
                    }
                }
                decided += 1;
                next = match decided < GROUP_MAX {
                    true => inbox.try_take(),
                    false => None,
                };
            }
            self.commit()?;
            if let Some(done) = stop {
                if let Err(error) = self.quorum.close() {
                    tracing::error!(%error, "the metadata log could not be closed");
                }
                // If this fails, the requester of the stop is no longer waiting.
                let _ = done.send(());
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for the next event, and writes snapshots and NoOpRecords when they are due. `None` when all senders are gone.
    async fn next_event(&mut self, inbox: &mut Inbox<Event>) -> Result<Option<Event>, AppendError> {
        let mut snapshots = true;
        loop {
            let now = self.host.clock.now();
            let snapshot = self.quorum.snapshot_wait(now).filter(|_| snapshots);
            let idle = self.upkeep.idle_wait(self.idle_since, now);
            let idle = idle.filter(|_| self.leads.is_some());
            let wait = snapshot.into_iter().chain(idle).min();
            match inbox.take(wait.map(Duration::from_millis)).await {
                Taken::One(event) => return Ok(Some(event)),
                Taken::Gone => return Ok(None),
                Taken::Nothing => {}
            }
            let now = self.host.clock.now();
            if snapshot == wait {
                if let Err(error) = self.quorum.snapshot(self.loader.image(), now) {
                    tracing::error!(%error, "a metadata snapshot failed");
                    // The snapshot is tried again after the next event.
                    snapshots = false;
                }
            } else {
                // A NoOpRecord advances the offset, as in Kafka's controller (KIP-835).
                self.idle_since = now;
                let records = vec![Record::NoOp(NoOpRecord {})];
                self.machine.fold(&records);
                self.propose(records)?;
                self.commit()?;
            }
        }
    }

    /// Decides a request and proposes its records. If another node leads, the requester is dropped without an answer.
    fn decide(&mut self, request: Request, waiting: Waiting) -> Result<(), AppendError> {
        if self.leads.is_none() {
            return Ok(());
        }
        // If the random source fails, no topic is created, and each topic gets its own error.
        let ids = (0..request.ids_max()).map_while(|_| random_uuid(&self.host.chance).ok());
        let ids: Vec<Uuid> = ids.collect();
        let asked = Asked {
            request,
            now: self.host.clock.now(),
            ids,
        };
        let records = self.machine.decide(&asked, waiting);
        self.propose(records)
    }

    /// Proposes records that the machine has just applied.
    fn propose(&mut self, records: Vec<Record>) -> Result<(), AppendError> {
        let Some(epoch) = self.leads.filter(|_| !records.is_empty()) else {
            return Ok(());
        };
        let count = records.len() as i64;
        match self.quorum.propose(epoch, records, self.host.clock.now()) {
            Ok(first) => {
                let next = self.machine.next_offset();
                assert_eq!(
                    first + count,
                    next,
                    "records are where the machine has them"
                );
                Ok(())
            }
            Err(ProposeError::NotLeader(_)) => {
                self.notice_leadership();
                Ok(())
            }
            Err(ProposeError::Append(error)) => Err(error),
        }
    }

    /// Takes newly committed records, publishes them, and sends the answers that waited for them.
    fn commit(&mut self) -> Result<(), AppendError> {
        self.publish()?;
        if self.leads.is_none() {
            // This node decides nothing now. The machine gets the new image, so that memory of older images is freed.
            drop(self.machine.resign(self.loader.image()));
        }
        for (waiting, answer) in self.machine.committed(self.loader.image()) {
            if let Some(waiting) = waiting {
                // The requester may have gone away.
                drop(waiting.send(answer));
            }
        }
        self.notice_leadership();
        Ok(())
    }

    fn publish(&mut self) -> Result<(), AppendError> {
        let committed = self.quorum.committed(self.host.clock.now())?;
        self.loader.take(committed);
        check_features(self.loader.image())
            .map_err(|what| malformed("the metadata of the cluster", what))?;
        Ok(())
    }

    /// Detects a change of leadership. A node that leads in a new epoch starts from the committed image; requests that still
    /// wait are dropped.
    fn notice_leadership(&mut self) {
        let leadership = self.quorum.leadership();
        let leads = (leadership.leader == Some(self.node_id)).then_some(leadership.epoch);
        if leads != self.leads {
            self.leads = leads;
            drop(self.machine.resign(self.loader.image()));
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::base::ids::Offset;
    use crate::config::broker::BrokerSettings;
    use crate::metadata::batches::Batch;
    use crate::metadata::bootstrap;
    use crate::metadata::controller::brokers::Activation;
    use crate::metadata::controller::tests::registration;
    use crate::metadata::loader::Committed;
    use crate::metadata::quorum::Leadership;
    use crate::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};

    /// A quorum whose results the test sets.
    #[derive(Clone, Debug)]
    struct Scripted(Arc<Mutex<Script>>);

    #[derive(Debug)]
    struct Script {
        leadership: Leadership,
        commits: bool,
        end: Offset,
        proposed: Vec<Batch>,
    }

    impl Scripted {
        fn leads(&self, epoch: LeaderEpoch, leader: Option<BrokerId>) {
            self.0.lock().leadership = Leadership { epoch, leader };
        }
    }

    impl Quorum for Scripted {
        fn leadership(&self) -> Leadership {
            self.0.lock().leadership
        }

        fn propose(
            &mut self,
            epoch: LeaderEpoch,
            records: Vec<Record>,
            _: Timestamp,
        ) -> Result<Offset, ProposeError> {
            let mut script = self.0.lock();
            let leader = Some(1);
            if script.leadership != (Leadership { epoch, leader }) {
                return Err(ProposeError::NotLeader(epoch));
            }
            let first = script.end;
            script.end += records.len() as Offset;
            script.proposed.push(Batch {
                first,
                epoch,
                records,
            });
            Ok(first)
        }

        fn committed(&mut self, _: Timestamp) -> Result<Committed, StorageError> {
            let mut script = self.0.lock();
            match script.commits {
                true => Ok(std::mem::take(&mut script.proposed).into()),
                false => Ok(Committed::default()),
            }
        }

        fn snapshot_wait(&self, _: Timestamp) -> Option<u64> {
            None
        }

        fn snapshot(&mut self, _: &Image, _: Timestamp) -> Result<(), StorageError> {
            Ok(())
        }

        fn close(&mut self) -> Result<(), StorageError> {
            Ok(())
        }
    }

    fn create(name: &str) -> CreateTopicsRequest {
        CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions: 1,
                replication_factor: 1,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn controller() -> (Controller, Scripted) {
        let scripted = Scripted(Arc::new(Mutex::new(Script {
            leadership: Leadership {
                epoch: 1,
                leader: Some(1),
            },
            commits: true,
            end: 0,
            proposed: Vec::new(),
        })));
        let settings = BrokerSettings::default();
        let setup = Setup {
            node_id: 1,
            settings: settings.clone(),
            clamp_replication: false,
        };
        let mut controller = Controller::new(
            &Host::default(),
            Box::new(scripted.clone()),
            Image::empty(),
            setup,
            Upkeep::new(&settings),
        );
        let records = bootstrap::records(false);
        controller.ask(Activation { records }).unwrap();
        assert_eq!(controller.ask(registration()).unwrap(), 8);
        (controller, scripted)
    }

    /// Outcome of a request: the error code of its answer, "waits" or "lost".
    fn outcome(answer: &mut oneshot::Receiver<Answer>) -> String {
        match answer.try_recv() {
            Ok(Answer::CreateTopics(answer)) => answer.topics[0].error_code.to_string(),
            Ok(other) => panic!("{other:?}"),
            Err(oneshot::error::TryRecvError::Empty) => "waits".to_owned(),
            Err(oneshot::error::TryRecvError::Closed) => "lost".to_owned(),
        }
    }

    fn ask(controller: &mut Controller, name: &str) -> oneshot::Receiver<Answer> {
        let (waiting, answer) = oneshot::channel();
        let request = create(name).into();
        controller.decide(request, Some(waiting)).unwrap();
        controller.commit().unwrap();
        answer
    }

    /// Records that are only proposed are neither published nor answered.
    #[test]
    fn answers_and_images_wait_for_the_commit() {
        let (mut controller, scripted) = controller();
        let image = controller.image();
        scripted.0.lock().commits = false;
        let mut first = ask(&mut controller, "t");
        let mut second = ask(&mut controller, "t");
        assert_eq!(
            (outcome(&mut first), outcome(&mut second)),
            ("waits".into(), "waits".into())
        );
        assert!(image.load().topics.is_empty());
        scripted.0.lock().commits = true;
        controller.commit().unwrap();
        assert_eq!(
            (outcome(&mut first), outcome(&mut second)),
            ("0".into(), "36".into())
        );
        assert_eq!(image.load().topics.len(), 1);
    }

    /// Requests whose records another leader may not have are not answered; a new leader starts from the committed image.
    #[test]
    fn with_the_leadership_goes_what_is_not_committed() {
        let (mut controller, scripted) = controller();
        scripted.0.lock().commits = false;
        let mut lost = ask(&mut controller, "t");
        assert_eq!(outcome(&mut lost), "waits");
        // The other leader's log has other records from this offset on.
        let end = controller.image().load().offset + 1;
        scripted.leads(2, Some(2));
        {
            let mut script = scripted.0.lock();
            script.proposed.clear();
            (script.end, script.commits) = (end, true);
        }
        controller.commit().unwrap();
        assert_eq!(outcome(&mut lost), "lost");
        let mut refused = ask(&mut controller, "t");
        assert_eq!(outcome(&mut refused), "lost");
        assert!(controller.image().load().topics.is_empty());
        scripted.leads(3, Some(1));
        controller.commit().unwrap();
        let mut again = ask(&mut controller, "t");
        assert_eq!(outcome(&mut again), "0");
        assert_eq!(controller.image().load().epoch, 3);
    }

    /// The quorum loses leadership first: records decided in the old epoch are not written in the new one.
    #[test]
    fn a_proposal_of_an_old_epoch_is_lost_with_its_answer() {
        let (mut controller, scripted) = controller();
        scripted.leads(2, Some(1));
        let mut lost = ask(&mut controller, "t");
        assert_eq!(outcome(&mut lost), "lost");
        assert!(controller.image().load().topics.is_empty());
        let mut again = ask(&mut controller, "t");
        assert_eq!(outcome(&mut again), "0");
    }
}
