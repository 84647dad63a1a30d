//! Requests to the controller of a cluster if it is another node: to the current leader of the quorum. Kafka calls this
//! `NodeToControllerChannelManager`.
//!
//! A request is sent again to the next leader if the one that was asked is not the leader any more, or does not answer. So it
//! may be carried out twice, as with Apache Kafka: callers must tolerate that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::base::ids::{BrokerId, LeaderEpoch};
use crate::host::Host;
use crate::peer::channel::Channel;
use crate::peer::connection::{Access, CallError, Identity, Target};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Request;
use crate::wire::message::allocate_producer_ids::AllocateProducerIdsRequest;
use crate::wire::message::alter_partition::AlterPartitionRequest;
use crate::wire::message::api_versions::ApiVersion;
use crate::wire::message::assign_replicas_to_dirs::AssignReplicasToDirsRequest;
use crate::wire::message::broker_heartbeat::BrokerHeartbeatRequest;
use crate::wire::message::broker_registration::BrokerRegistrationRequest;
use crate::wire::message::create_topics::CreateTopicsRequest;
use crate::wire::message::envelope::EnvelopeRequest;

/// Interval of checks for a leader while none is known.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Pause before a controller is asked again that has answered that it does not lead.
const RETRY: Duration = Duration::from_millis(50);

/// Time limit for asking a leader for its API versions, and the pause after a failure.
const VERSIONS_WITHIN: Duration = Duration::from_secs(30);
const ASK_VERSIONS_AGAIN: Duration = Duration::from_secs(1);

/// Address of the leader of the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderAt {
    pub epoch: LeaderEpoch,
    /// `None` while there is no leader.
    pub leader: Option<BrokerId>,
    /// `host:port`; `None` if unknown.
    pub address: Option<String>,
}

/// A request of brokers to the controller.
pub trait ToController: Request {
    /// Number of times that the same controller may close the connection in place of an answer.
    const CLOSED_MAX: usize = usize::MAX;

    /// Error code of the request as a whole.
    fn error_code(answer: &Self::Response) -> i16;
}

macro_rules! to_controller {
    ($($request:ty;)*) => {
        $(
            impl ToController for $request {
                fn error_code(answer: &Self::Response) -> i16 {
                    answer.error_code
                }
            }
        )*
    };
}

to_controller! {
    AllocateProducerIdsRequest;
    AlterPartitionRequest;
    AssignReplicasToDirsRequest;
    BrokerHeartbeatRequest;
    BrokerRegistrationRequest;
}

impl ToController for EnvelopeRequest {
    /// The request of a client in it may be the reason, and may have been carried out.
    const CLOSED_MAX: usize = 1;

    fn error_code(answer: &Self::Response) -> i16 {
        answer.error_code
    }
}

impl ToController for CreateTopicsRequest {
    /// A controller that does not lead reports that as the error of every topic.
    fn error_code(answer: &Self::Response) -> i16 {
        answer.topics.first().map_or(0, |topic| topic.error_code)
    }
}

/// Sends requests to the leader (see the module). Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    shared: Arc<Shared>,
}

struct Shared {
    host: Host,
    identity: Identity,
    access: Access,
    leader_at: watch::Receiver<LeaderAt>,
    /// Address of the last leader, and the channel to it.
    channel: Mutex<Option<(String, Channel)>>,
    /// API versions of the last leader that was asked for them.
    versions: Mutex<Option<Arc<[ApiVersion]>>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({:?})", self.shared.leader_at.borrow())
    }
}

impl Remote {
    pub fn new(
        host: &Host,
        identity: Identity,
        access: Access,
        leader_at: watch::Receiver<LeaderAt>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                host: host.clone(),
                identity,
                access,
                leader_at,
                channel: Mutex::default(),
                versions: Mutex::default(),
            }),
        }
    }

    /// API versions of the controllers; `None` before [`Self::learn_versions`] knows them.
    pub fn versions(&self) -> Option<Arc<[ApiVersion]>> {
        self.shared.versions.lock().clone()
    }

    /// task: asks each leader of the quorum for its API versions. Ends with the observer.
    pub async fn learn_versions(self) {
        let mut leader_at = self.shared.leader_at.clone();
        loop {
            leader_at.borrow_and_update();
            let found = match self.channel() {
                Some((_, channel)) => channel.versions(VERSIONS_WITHIN).await.ok(),
                None => None,
            };
            let changed = leader_at.changed();
            let changed = match found {
                Some(found) => {
                    *self.shared.versions.lock() = Some(found);
                    changed.await
                }
                None => timeout(ASK_VERSIONS_AGAIN, changed).await.unwrap_or(Ok(())),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Sends a request to the leader until it is answered.
    ///
    /// Errors: there was no answer in time, or a repetition would not help.
    pub async fn ask<R: ToController>(
        &self,
        request: &R,
        within: Duration,
    ) -> Result<R::Response, CallError> {
        let deadline = Instant::now() + within;
        let mut last = CallError::NoAddress("the controller that leads".to_owned());
        let mut closed = (String::new(), 0);
        while Instant::now() < deadline {
            let Some((address, channel)) = self.channel() else {
                let look = sleep(LOOK_AGAIN);
                if timeout_at(deadline, look).await.is_err() {
                    break;
                }
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let answered = tokio::select! {
                biased;
                answered = channel.call(request, left) => answered,
                // The previous leader may stay silent for long.
                () = self.moved_from(&address) => continue,
            };
            match answered {
                Ok(answer) if !is_elsewhere(R::error_code(&answer)) => return Ok(answer),
                Ok(answer) => last = CallError::Answered(R::error_code(&answer)),
                Err(
                    error @ (CallError::NoVersion { .. }
                    | CallError::Encode(_)
                    | CallError::Decode(_)),
                ) => return Err(error),
                Err(error) => {
                    if matches!(error, CallError::Closed(_)) {
                        closed = match closed.0 == address {
                            true => (address, closed.1 + 1),
                            false => (address, 1),
                        };
                        if closed.1 > R::CLOSED_MAX {
                            return Err(error);
                        }
                    }
                    last = error;
                }
            }
            sleep(RETRY).await;
        }
        Err(last)
    }

    /// Waits until the leader has another address.
    async fn moved_from(&self, address: &str) {
        let mut leader_at = self.shared.leader_at.clone();
        let has_moved = |now: &LeaderAt| now.address.as_deref().is_some_and(|at| at != address);
        if leader_at.wait_for(has_moved).await.is_err() {
            // The observer has ended, so no change will be seen.
            std::future::pending::<()>().await;
        }
    }

    /// Address of the leader and the channel to it, if the address is known.
    fn channel(&self) -> Option<(String, Channel)> {
        let Shared {
            host,
            identity,
            access,
            leader_at,
            channel,
            ..
        } = &*self.shared;
        let address = leader_at.borrow().address.clone()?;
        let mut channel = channel.lock();
        if let Some((of, open)) = &*channel
            && *of == address
        {
            return Some((address, open.clone()));
        }
        let target = Target::Address(address.clone());
        let fresh = Channel::to(host, target, identity.clone(), access.clone());
        *channel = Some((address.clone(), fresh.clone()));
        Some((address, fresh))
    }
}

fn is_elsewhere(code: i16) -> bool {
    ErrorCode::from_code(code) == Some(ErrorCode::NotController)
}
