//! task: keeps a broker registered in a cluster whose controllers are other nodes, from its registration to its controlled
//! shutdown. It sends the requests of the machine in [`lifecycle`](super::lifecycle), and passes facts about the metadata and
//! the broker to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::lifecycle::{Facts, Lifecycle, Millis, NeverIn, State, Step};
use crate::base::ids::{BrokerEpoch, BrokerId, Uuid};
use crate::host::task::Halt;
use crate::metadata::loader::ImageHandle;
use crate::metadata::remote::Remote;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::broker_registration::BrokerRegistrationRequest;

/// Requests of the rest of the broker to its membership.
#[derive(Clone, Debug, Default)]
struct Wishes {
    is_ready: bool,
    leaves: bool,
    failed_dirs: Vec<Uuid>,
}

/// State of a broker in its cluster.
#[derive(Clone, Debug)]
pub struct Standing {
    pub state: State,
    /// `None` before the first registration.
    pub epoch: Option<BrokerEpoch>,
    /// Failed log directories that a controller knows.
    known_failed_dirs: Vec<Uuid>,
    /// Time since the last answer of a controller.
    unheard_for: Duration,
    never: Option<NeverIn>,
}

/// Handle of a broker's membership in its cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Membership {
    wishes: Arc<watch::Sender<Wishes>>,
    standing: watch::Receiver<Standing>,
}

/// State of the task; see the module.
#[derive(Debug)]
pub struct Member {
    remote: Remote,
    image: ImageHandle,
    broker_id: BrokerId,
    registration: BrokerRegistrationRequest,
    /// Time to wait for an answer: the interval of heartbeats.
    interval: Duration,
    lifecycle: Lifecycle,
    began: Instant,
    wishes: watch::Receiver<Wishes>,
    standing: watch::Sender<Standing>,
    halt: Halt,
    /// Whether the last registration was refused for a reason that will not change by itself. That is logged once.
    is_refused: bool,
}

/// Creates a membership and its task.
pub fn membership(
    remote: Remote,
    image: ImageHandle,
    registration: BrokerRegistrationRequest,
    interval: Duration,
    halt: Halt,
) -> (Membership, Member) {
    let broker_id = registration.broker_id;
    let (wishes, wished) = watch::channel(Wishes::default());
    let lifecycle = Lifecycle::new(broker_id, interval.as_millis() as Millis);
    let (standing, stands) = watch::channel(Standing {
        state: lifecycle.state(),
        epoch: None,
        known_failed_dirs: Vec::new(),
        unheard_for: Duration::ZERO,
        never: None,
    });
    let member = Member {
        remote,
        image,
        broker_id,
        registration,
        interval,
        lifecycle,
        began: Instant::now(),
        wishes: wished,
        standing,
        halt,
        is_refused: false,
    };
    let membership = Membership {
        wishes: Arc::new(wishes),
        standing: stands,
    };
    (membership, member)
}

impl Membership {
    /// Waits until the broker is registered; returns the broker epoch.
    ///
    /// Errors: the controllers have rejected the broker for good.
    pub async fn registered(&self) -> Result<BrokerEpoch, NeverIn> {
        let mut standing = self.standing.clone();
        let settled = |now: &Standing| now.epoch.is_some() || now.never.is_some();
        let gone = || NeverIn("the node stops".to_owned());
        let now = standing
            .wait_for(settled)
            .await
            .map_err(|_| gone())?
            .clone();
        match now.never {
            Some(never) => Err(never),
            None => now.epoch.ok_or_else(gone),
        }
    }

    /// Broker epoch of the newest registration; `None` before the first one.
    pub fn epoch(&self) -> Option<BrokerEpoch> {
        self.standing.borrow().epoch
    }

    /// Passes on the broker epoch of each later registration, until the membership ends.
    pub async fn follow_epoch(self, tell: impl Fn(BrokerEpoch)) {
        let mut standing = self.standing;
        let mut told = None;
        loop {
            let epoch = standing.borrow_and_update().epoch;
            if let Some(epoch) = epoch.filter(|_| epoch != told) {
                told = Some(epoch);
                tell(epoch);
            }
            if standing.changed().await.is_err() {
                return;
            }
        }
    }

    /// Reports that the broker is ready to serve its replicas, once the controllers unfence it.
    pub fn ready(&self) {
        self.wishes.send_modify(|wishes| wishes.is_ready = true);
    }

    /// Reports a failed log directory; waits until a controller knows it.
    pub async fn tell_of_failed(&self, directory: Uuid) {
        self.wishes.send_modify(|wishes| {
            if !wishes.failed_dirs.contains(&directory) {
                wishes.failed_dirs.push(directory);
            }
        });
        let mut standing = self.standing.clone();
        let is_known = |now: &Standing| now.known_failed_dirs.contains(&directory);
        if standing.wait_for(is_known).await.is_err() {
            // The node is stopping.
            std::future::pending::<()>().await;
        }
    }

    /// Leaves the cluster: waits until other brokers lead the partitions of this broker, or until no controller has answered
    /// for `silence`. Returns whether the controllers have allowed the shutdown.
    pub async fn leave(&self, silence: Duration) -> bool {
        self.wishes.send_modify(|wishes| wishes.leaves = true);
        let mut standing = self.standing.clone();
        let settled = |now: &Standing| now.state == State::Left || now.unheard_for >= silence;
        let settled = standing.wait_for(settled).await;
        settled.is_ok_and(|now| now.state == State::Left)
    }
}

impl Member {
    /// Runs until the broker may shut down, or the controllers have rejected it for good.
    pub async fn run(mut self) {
        loop {
            let facts = self.facts();
            if let Some(epoch) = facts.replaced_by {
                // Everything that this process still did as this broker would count as done by the other one.
                let why = format!(
                    "another process is registered as broker {} now, with epoch {epoch}",
                    self.broker_id
                );
                return self.halt.now(why);
            }
            let now = self.now();
            match self.lifecycle.next(&facts, now) {
                Step::Register => {
                    if let Err(never) = self.register().await {
                        let NeverIn(why) = &never;
                        if !self.is_refused {
                            tracing::error!("the controllers do not register this broker: {why}");
                        }
                        self.is_refused = true;
                        // Once the broker serves, the reason may be a mistake in rights or features that somebody mends.
                        if self.lifecycle.epoch().is_none() {
                            self.standing.send_modify(|now| now.never = Some(never));
                            return;
                        }
                    }
                }
                Step::Heartbeat(request) => {
                    let answered = self.remote.ask(&request, self.interval).await;
                    let now = self.now();
                    match answered {
                        Ok(answer) => {
                            self.lifecycle.heard(&request, &answer, now);
                            if answer.error_code != 0 {
                                let code = ErrorCode::from_code(answer.error_code);
                                tracing::warn!(?code, "the controller refuses a heartbeat");
                            }
                        }
                        Err(error) => {
                            tracing::warn!(%error, "no controller answers a heartbeat");
                            self.lifecycle.failed(Some(&request), now);
                        }
                    }
                }
                Step::Wait(until) => {
                    let until = self.began + Duration::from_millis(until);
                    tokio::select! {
                        biased;
                        changed = self.wishes.changed() => {
                            if changed.is_err() {
                                return;
                            }
                        }
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
                Step::Leave => {
                    self.tell();
                    return;
                }
            }
            self.tell();
        }
    }

    async fn register(&mut self) -> Result<(), NeverIn> {
        let before = self.lifecycle.epoch();
        let answered = self.remote.ask(&self.registration, self.interval).await;
        let now = self.now();
        match answered {
            Ok(answer) => {
                self.lifecycle.registered(&answer, now)?;
                match self
                    .lifecycle
                    .epoch()
                    .filter(|epoch| Some(*epoch) != before)
                {
                    Some(epoch) => {
                        tracing::info!(epoch, "registered with the controllers, and fenced");
                        self.is_refused = false;
                        // From now on the log directories are in use: a later registration does not follow a clean shutdown.
                        self.registration.previous_broker_epoch = -1;
                    }
                    None => tracing::warn!(
                        code = ?ErrorCode::from_code(answer.error_code),
                        "the controller does not register this broker yet"
                    ),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no controller answers the registration");
                self.lifecycle.failed(None, now);
            }
        }
        Ok(())
    }

    fn facts(&mut self) -> Facts {
        let image = self.image.load();
        let own = image.brokers.get(&self.broker_id);
        let wishes = self.wishes.borrow_and_update();
        Facts {
            published: image.offset,
            registered: own.map(|broker| broker.epoch),
            replaced_by: own
                .filter(|broker| broker.incarnation != self.registration.incarnation_id)
                .filter(|broker| self.lifecycle.epoch().is_some_and(|own| broker.epoch > own))
                .map(|broker| broker.epoch),
            is_ready: wishes.is_ready,
            leaves: wishes.leaves,
            failed_dirs: wishes.failed_dirs.clone(),
        }
    }

    fn now(&self) -> Millis {
        Instant::now().duration_since(self.began).as_millis() as Millis
    }

    fn tell(&self) {
        let unheard = self.now().saturating_sub(self.lifecycle.heard_at());
        let told = Standing {
            state: self.lifecycle.state(),
            epoch: self.lifecycle.epoch(),
            known_failed_dirs: self.lifecycle.known_failed_dirs().to_vec(),
            unheard_for: Duration::from_millis(unheard),
            never: None,
        };
        let before = self.standing.send_replace(told);
        if before.state != self.lifecycle.state() {
            tracing::info!(state = ?self.lifecycle.state(), "the broker's standing in its cluster");
        }
    }
}
