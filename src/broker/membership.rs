//! task: has a broker take part in a cluster whose controllers are other nodes, from its registration to the moment at which it may go. It
//! sends what the machine of [`lifecycle`](super::lifecycle) says, and tells it of the metadata and of the broker.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::lifecycle::{Facts, Lifecycle, Millis, NeverIn, State, Step};
use crate::base::ids::{BrokerEpoch, BrokerId, Uuid};
use crate::metadata::loader::ImageHandle;
use crate::metadata::remote::Remote;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::broker_registration::BrokerRegistrationRequest;

/// What the rest of the broker wants of its membership.
#[derive(Clone, Debug, Default)]
struct Wishes {
    is_ready: bool,
    leaves: bool,
    failed_dirs: Vec<Uuid>,
}

/// Where the broker stands in its cluster.
#[derive(Clone, Debug)]
pub struct Standing {
    pub state: State,
    /// `None` before the first registration.
    pub epoch: Option<BrokerEpoch>,
    /// The failed log directories that a controller knows of.
    known_failed_dirs: Vec<Uuid>,
    /// How long no controller has answered.
    unheard_for: Duration,
    never: Option<NeverIn>,
}

/// A broker's membership of its cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Membership {
    wishes: Arc<watch::Sender<Wishes>>,
    standing: watch::Receiver<Standing>,
}

/// See the module.
#[derive(Debug)]
pub struct Member {
    remote: Remote,
    image: ImageHandle,
    broker_id: BrokerId,
    registration: BrokerRegistrationRequest,
    /// How long an answer is waited for: until the next heartbeat is due.
    interval: Duration,
    lifecycle: Lifecycle,
    began: Instant,
    wishes: watch::Receiver<Wishes>,
    standing: watch::Sender<Standing>,
}

/// A membership, and the task that keeps it up.
pub fn membership(
    remote: Remote,
    image: ImageHandle,
    registration: BrokerRegistrationRequest,
    interval: Duration,
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
    };
    let membership = Membership {
        wishes: Arc::new(wishes),
        standing: stands,
    };
    (membership, member)
}

impl Membership {
    /// Waits until the broker is registered; gives the epoch.
    ///
    /// Errors: the controllers will never have it.
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

    /// The epoch of the newest registration; `None` before the first.
    pub fn epoch(&self) -> Option<BrokerEpoch> {
        self.standing.borrow().epoch
    }

    /// The broker serves its replicas from now on, if it is let.
    pub fn ready(&self) {
        self.wishes.send_modify(|wishes| wishes.is_ready = true);
    }

    /// Tells the controllers of a log directory that has failed; waits until they know.
    pub async fn tell_of_failed(&self, directory: Uuid) {
        self.wishes.send_modify(|wishes| {
            if !wishes.failed_dirs.contains(&directory) {
                wishes.failed_dirs.push(directory);
            }
        });
        let mut standing = self.standing.clone();
        let is_known = |now: &Standing| now.known_failed_dirs.contains(&directory);
        if standing.wait_for(is_known).await.is_err() {
            // The node stops.
            std::future::pending::<()>().await;
        }
    }

    /// Leaves the cluster: waits until others lead what this broker led. Gives up when no controller has answered for `silence`.
    /// Whether the controllers have let it go.
    pub async fn leave(&self, silence: Duration) -> bool {
        self.wishes.send_modify(|wishes| wishes.leaves = true);
        let mut standing = self.standing.clone();
        let settled = |now: &Standing| now.state == State::Left || now.unheard_for >= silence;
        let settled = standing.wait_for(settled).await;
        settled.is_ok_and(|now| now.state == State::Left)
    }
}

impl Member {
    /// Ends when the broker may go, or when the controllers will never have it.
    pub async fn run(mut self) {
        loop {
            let facts = self.facts();
            let now = self.now();
            match self.lifecycle.next(&facts, now) {
                Step::Register => {
                    if let Err(never) = self.register().await {
                        let NeverIn(why) = &never;
                        tracing::error!("the controllers do not register this broker: {why}");
                        self.standing.send_modify(|now| now.never = Some(never));
                        return;
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
