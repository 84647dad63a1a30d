//! pure: state of a broker in a cluster whose controllers are other nodes: it registers, is fenced until it may serve, serves,
//! and leaves. Kafka's `BrokerLifecycleManager`.
//!
//! ```text
//! Starting ──registered──► Fenced ──caught up and ready────► Joining ──unfenced──► Serving
//!     ▲                      │                                  │                    │
//!     └──── forgotten ───────┴──────────── leaves ──────────────┴────────────────────┴──► Leaving ──► Left
//! ```
//! One request is in flight at a time. The broker does not ask to be unfenced before it has applied its own registration, and
//! every heartbeat names all failed log directories.

use crate::base::ids::{BrokerEpoch, BrokerId, Offset, Uuid};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use crate::wire::message::broker_registration::BrokerRegistrationResponse;

/// Milliseconds on a monotonic clock.
pub type Millis = u64;

/// Time until the next heartbeat after the controller has seen that the broker is caught up.
const SOON_MS: Millis = 10;
/// Time until the controller is asked for the second time whether the broker may shut down.
const LEAVE_SOON_MS: Millis = 50;

/// State of a broker in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not registered.
    Starting,
    /// Registered; leads no partitions.
    Fenced,
    /// Caught up, and asks to be unfenced.
    Joining,
    Serving,
    /// In a controlled shutdown; serves until it is allowed to stop.
    Leaving,
    /// Allowed to stop.
    Left,
}

/// Facts for the next heartbeat that the machine does not have itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Offset of the newest metadata that all parts of the broker have applied.
    pub published: Offset,
    /// Epoch of this broker's registration in the metadata, if there is one.
    pub registered: Option<BrokerEpoch>,
    /// Epoch of another process's newer registration as this broker, if the metadata has one.
    pub replaced_by: Option<BrokerEpoch>,
    /// Whether the broker is ready to serve.
    pub is_ready: bool,
    /// Whether the broker is shutting down.
    pub leaves: bool,
    /// Log directories that have failed since the start.
    pub failed_dirs: Vec<Uuid>,
}

/// Next action.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Register,
    Heartbeat(BrokerHeartbeatRequest),
    /// Wait until this time, or until the facts change.
    Wait(Millis),
    Leave,
}

/// Reason why this broker is rejected for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeverIn(pub String);

/// State machine of a broker's membership; see the module.
#[derive(Debug)]
pub struct Lifecycle {
    broker_id: BrokerId,
    /// `broker.heartbeat.interval.ms`.
    interval_ms: Millis,
    state: State,
    epoch: BrokerEpoch,
    /// Whether the registration has been seen in the metadata.
    was_seen: bool,
    /// Whether the last answer said that the broker is caught up.
    is_caught_up: bool,
    /// Time until the controller is asked again whether the broker may shut down.
    leave_again_ms: Millis,
    /// Contents of the last heartbeat that was sent.
    tried: Option<Said>,
    /// Contents of the last heartbeat that was accepted.
    said: Option<Said>,
    next_at: Millis,
    /// Time of the last answer of a controller.
    heard_at: Millis,
}

/// Contents of a heartbeat whose change makes the next one due at once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    wants_fence: bool,
    leaves: bool,
    failed_dirs: Vec<Uuid>,
}

impl Lifecycle {
    pub fn new(broker_id: BrokerId, interval_ms: Millis) -> Self {
        Self {
            broker_id,
            interval_ms: interval_ms.max(1),
            state: State::Starting,
            epoch: -1,
            was_seen: false,
            is_caught_up: false,
            leave_again_ms: LEAVE_SOON_MS,
            tried: None,
            said: None,
            next_at: 0,
            heard_at: 0,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Broker epoch of the registration; `None` before there is one.
    pub fn epoch(&self) -> Option<BrokerEpoch> {
        (self.epoch >= 0).then_some(self.epoch)
    }

    /// Time of the last answer of a controller.
    pub fn heard_at(&self) -> Millis {
        self.heard_at
    }

    /// Failed log directories that a controller knows.
    pub fn known_failed_dirs(&self) -> &[Uuid] {
        self.said.as_ref().map_or(&[], |said| &said.failed_dirs)
    }

    pub fn next(&mut self, facts: &Facts, now: Millis) -> Step {
        if self.state == State::Left {
            return Step::Leave;
        }
        if self.state == State::Starting {
            return match (facts.leaves, now < self.next_at) {
                (true, _) => self.left(),
                (false, true) => Step::Wait(self.next_at),
                (false, false) => Step::Register,
            };
        }
        self.was_seen |= facts.registered == Some(self.epoch);
        if self.was_seen && facts.registered.is_none() {
            // The broker was unregistered by an administrator (`BrokerRegistrationTracker`).
            self.state = State::Starting;
            return Step::Register;
        }
        if facts.leaves {
            self.state = State::Leaving;
        } else if self.state == State::Fenced && self.is_caught_up && facts.is_ready {
            self.state = State::Joining;
        }
        let say = Said {
            wants_fence: matches!(self.state, State::Fenced)
                || self.state == State::Leaving && !facts.is_ready,
            leaves: facts.leaves,
            failed_dirs: facts.failed_dirs.clone(),
        };
        let is_news = self.tried.as_ref() != Some(&say);
        if now < self.next_at && !is_news {
            return Step::Wait(self.next_at);
        }
        Step::Heartbeat(BrokerHeartbeatRequest {
            broker_id: self.broker_id,
            broker_epoch: self.epoch,
            current_metadata_offset: facts.published,
            want_fence: say.wants_fence,
            want_shut_down: say.leaves,
            offline_log_dirs: say.failed_dirs,
            cordoned_log_dirs: None,
        })
    }

    fn left(&mut self) -> Step {
        self.state = State::Left;
        Step::Leave
    }

    /// Handles the answer to a registration.
    pub fn registered(
        &mut self,
        answer: &BrokerRegistrationResponse,
        now: Millis,
    ) -> Result<(), NeverIn> {
        self.heard_at = now;
        self.next_at = now + self.interval_ms;
        let never = |what: &str| Err(NeverIn(what.to_owned()));
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) => {
                self.epoch = answer.broker_epoch;
                self.state = State::Fenced;
                self.was_seen = false;
                self.is_caught_up = false;
                self.tried = None;
                self.said = None;
                self.next_at = now;
                Ok(())
            }
            Some(ErrorCode::InconsistentClusterId) => {
                never("the controllers are of another cluster than the log directories")
            }
            Some(ErrorCode::UnsupportedVersion) => never(
                "the cluster has finalized a feature that this program does not serve at its level",
            ),
            Some(ErrorCode::InvalidRegistration) => never(
                "the controllers refuse the registration: a log directory may be another broker's, or no metadata.version of the cluster is supported",
            ),
            Some(ErrorCode::ClusterAuthorizationFailed) => {
                never("this broker's user may not do ClusterAction on the cluster")
            }
            // For example the broker was killed, and its previous session has not expired yet.
            _ => Ok(()),
        }
    }

    /// Handles the answer to a heartbeat.
    pub fn heard(
        &mut self,
        request: &BrokerHeartbeatRequest,
        answer: &BrokerHeartbeatResponse,
        now: Millis,
    ) {
        self.heard_at = now;
        self.failed(Some(request), now);
        if answer.error_code != 0 {
            // As in Kafka, the broker retries: if the cluster has forgotten it, the metadata shows that.
            return;
        }
        self.said = self.tried.clone();
        match self.state {
            State::Fenced if answer.is_caught_up && !self.is_caught_up => {
                self.is_caught_up = true;
                self.next_at = now + SOON_MS;
            }
            State::Joining if !request.want_fence && !answer.is_fenced => {
                self.state = State::Serving;
            }
            State::Leaving if request.want_shut_down && answer.should_shut_down => {
                self.state = State::Left;
            }
            State::Leaving => {
                // Kafka asks after 50 ms, and then at the interval of heartbeats: a stop may take 2 s longer.
                self.next_at = now + self.leave_again_ms;
                self.leave_again_ms = (self.leave_again_ms * 2).min(self.interval_ms);
            }
            _ => {}
        }
    }

    /// Reports that there was no answer to a registration or to this heartbeat.
    pub fn failed(&mut self, request: Option<&BrokerHeartbeatRequest>, now: Millis) {
        self.next_at = now + self.interval_ms;
        if let Some(request) = request {
            self.tried = Some(Said {
                wants_fence: request.want_fence,
                leaves: request.want_shut_down,
                failed_dirs: request.offline_log_dirs.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Millis = 2_000;

    struct Scene {
        life: Lifecycle,
        facts: Facts,
        now: Millis,
    }

    fn registered(epoch: BrokerEpoch) -> BrokerRegistrationResponse {
        BrokerRegistrationResponse {
            broker_epoch: epoch,
            ..Default::default()
        }
    }

    fn answer(is_caught_up: bool, is_fenced: bool) -> BrokerHeartbeatResponse {
        BrokerHeartbeatResponse {
            is_caught_up,
            is_fenced,
            ..Default::default()
        }
    }

    impl Scene {
        fn registered() -> Self {
            let mut scene = Self {
                life: Lifecycle::new(5, INTERVAL),
                facts: Facts {
                    published: 40,
                    ..Default::default()
                },
                now: 1_000,
            };
            assert_eq!(scene.next(), Step::Register);
            scene.life.registered(&registered(42), scene.now).unwrap();
            scene
        }

        fn next(&mut self) -> Step {
            self.life.next(&self.facts, self.now)
        }

        /// Sends a heartbeat, answers it, and returns the time until the next one.
        fn beat(&mut self, answer: &BrokerHeartbeatResponse) -> (BrokerHeartbeatRequest, Millis) {
            let Step::Heartbeat(request) = self.next() else {
                panic!("{:?}", self.life);
            };
            self.life.heard(&request, answer, self.now);
            let due = match self.next() {
                Step::Wait(due) => due - self.now,
                _ => 0,
            };
            (request, due)
        }
    }

    #[test]
    fn a_broker_is_unfenced_once_it_is_caught_up_and_ready() {
        let mut scene = Scene::registered();
        let (first, due) = scene.beat(&answer(false, true));
        assert_eq!(
            (first.broker_epoch, first.current_metadata_offset),
            (42, 40)
        );
        assert!(first.want_fence && !first.want_shut_down);
        assert_eq!(due, INTERVAL);
        scene.now += INTERVAL;
        scene.facts.published = 42;
        scene.facts.registered = Some(42);
        let (_, due) = scene.beat(&answer(true, true));
        assert_eq!(due, SOON_MS);
        // While the broker is not ready it stays fenced, with heartbeats at the usual interval.
        scene.now += SOON_MS;
        let (second, due) = scene.beat(&answer(true, true));
        assert_eq!((second.want_fence, due), (true, INTERVAL));
        assert_eq!(scene.life.state(), State::Fenced);
        // When it is ready it says so at once.
        scene.facts.is_ready = true;
        let (third, _) = scene.beat(&answer(true, false));
        assert!(!third.want_fence);
        assert_eq!(scene.life.state(), State::Serving);
        scene.now += INTERVAL;
        let (fourth, due) = scene.beat(&answer(true, false));
        assert_eq!((fourth.want_fence, due), (false, INTERVAL));
    }

    #[test]
    fn a_failed_directory_is_told_at_once_and_in_every_heartbeat() {
        let mut scene = Scene::registered();
        scene.beat(&answer(true, true));
        scene.facts.failed_dirs.push(Uuid([7; 16]));
        let (request, _) = scene.beat(&answer(true, true));
        assert_eq!(request.offline_log_dirs, [Uuid([7; 16])]);
        assert_eq!(scene.life.known_failed_dirs(), [Uuid([7; 16])]);
        scene.now += INTERVAL;
        let (request, _) = scene.beat(&answer(true, true));
        assert_eq!(request.offline_log_dirs, [Uuid([7; 16])]);
    }

    #[test]
    fn a_broker_leaves_when_it_is_let_go() {
        let mut scene = Scene::registered();
        scene.facts.is_ready = true;
        scene.beat(&answer(true, true));
        scene.beat(&answer(true, false));
        assert_eq!(scene.life.state(), State::Serving);
        scene.facts.leaves = true;
        let (request, due) = scene.beat(&answer(true, false));
        assert!(request.want_shut_down && !request.want_fence);
        assert_eq!(due, LEAVE_SOON_MS);
        // Other brokers take over, which may take long: then the broker asks at the usual interval.
        scene.now += due;
        let mut last = due;
        for _ in 0..10 {
            let (_, due) = scene.beat(&answer(true, false));
            assert!(due > last || due == INTERVAL, "{due} ms after {last} ms");
            scene.now += due;
            last = due;
        }
        assert_eq!(last, INTERVAL);
        let goes = BrokerHeartbeatResponse {
            should_shut_down: true,
            ..Default::default()
        };
        scene.beat(&goes);
        assert_eq!(scene.next(), Step::Leave);
        let mut early = Scene {
            life: Lifecycle::new(5, INTERVAL),
            facts: Facts {
                leaves: true,
                ..Default::default()
            },
            now: 0,
        };
        assert_eq!(early.next(), Step::Leave);
    }

    #[test]
    fn a_broker_that_was_forgotten_registers_again() {
        let mut scene = Scene::registered();
        scene.facts.registered = Some(42);
        scene.beat(&answer(true, true));
        // A heartbeat with an old epoch is only retried: the metadata shows whether the broker must register again.
        scene.now += INTERVAL;
        let stale = BrokerHeartbeatResponse {
            error_code: ErrorCode::StaleBrokerEpoch.code(),
            ..Default::default()
        };
        let (_, due) = scene.beat(&stale);
        assert_eq!(due, INTERVAL);
        scene.facts.registered = None;
        assert_eq!(scene.next(), Step::Register);
        scene.life.registered(&registered(77), scene.now).unwrap();
        // The metadata does not have the new registration yet.
        assert!(matches!(scene.next(), Step::Heartbeat(request) if request.broker_epoch == 77));
    }

    #[test]
    fn what_will_not_change_is_not_tried_again() {
        let refused = |code: ErrorCode| {
            let mut life = Lifecycle::new(5, INTERVAL);
            let answer = BrokerRegistrationResponse {
                error_code: code.code(),
                ..Default::default()
            };
            let refused = life.registered(&answer, 10).is_err();
            (refused, life.next(&Facts::default(), 10))
        };
        assert!(refused(ErrorCode::InconsistentClusterId).0);
        assert!(refused(ErrorCode::UnsupportedVersion).0);
        assert!(refused(ErrorCode::InvalidRegistration).0);
        let asked = Lifecycle::new(5, INTERVAL).next(&Facts::default(), 10);
        assert_eq!(asked, Step::Register);
        // A caller that goes on all the same does so at the interval of heartbeats.
        let again = refused(ErrorCode::UnsupportedVersion).1;
        assert_eq!(again, Step::Wait(10 + INTERVAL));
        let killed = refused(ErrorCode::DuplicateBrokerRegistration);
        assert_eq!(killed, (false, Step::Wait(10 + INTERVAL)));
    }

    #[test]
    fn nobody_is_asked_all_the_time_while_nobody_answers() {
        let mut scene = Scene::registered();
        scene.facts.failed_dirs.push(Uuid([7; 16]));
        let Step::Heartbeat(request) = scene.next() else {
            panic!("{:?}", scene.life);
        };
        scene.life.failed(Some(&request), scene.now);
        assert_eq!(scene.next(), Step::Wait(scene.now + INTERVAL));
        // A failed directory counts as known only after an answer.
        assert!(scene.life.known_failed_dirs().is_empty());
        let mut new = Lifecycle::new(5, INTERVAL);
        new.failed(None, 7);
        let next = new.next(&Facts::default(), 7);
        assert_eq!(next, Step::Wait(7 + INTERVAL));
    }
}
