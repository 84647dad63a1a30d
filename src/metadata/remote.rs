//! Requests to the controller of a cluster, if that is another node: to whoever leads the quorum now. Kafka calls this
//! `NodeToControllerChannelManager`.
//!
//! A request goes to the next leader when the one that was asked is none any more, or is gone. So it may be carried out twice, as with
//! Apache Kafka: whoever asks must be able to bear that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::base::ids::{BrokerId, LeaderEpoch};
use crate::host::Host;
use crate::peer::channel::Channel;
use crate::peer::connection::{Access, CallError, Identity, Target};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Request;
use crate::wire::message::allocate_producer_ids::AllocateProducerIdsRequest;
use crate::wire::message::alter_partition::AlterPartitionRequest;
use crate::wire::message::assign_replicas_to_dirs::AssignReplicasToDirsRequest;
use crate::wire::message::broker_heartbeat::BrokerHeartbeatRequest;
use crate::wire::message::broker_registration::BrokerRegistrationRequest;
use crate::wire::message::create_topics::CreateTopicsRequest;
use crate::wire::message::envelope::EnvelopeRequest;

/// How long to wait before it is looked again who leads.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The pause before the same controller is asked again that says that it does not lead.
const RETRY: Duration = Duration::from_millis(50);

/// Where the controller that leads is, for who has something to ask it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderAt {
    pub epoch: LeaderEpoch,
    /// `None` while there is none.
    pub leader: Option<BrokerId>,
    /// `host:port`; `None` while nobody knows.
    pub address: Option<String>,
}

/// A request that brokers have for the controller.
pub trait ToController: Request {
    /// What the answer says of the request as a whole.
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
    EnvelopeRequest;
}

impl ToController for CreateTopicsRequest {
    /// Whoever does not lead says so of every topic.
    fn error_code(answer: &Self::Response) -> i16 {
        answer.topics.first().map_or(0, |topic| topic.error_code)
    }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    shared: Arc<Shared>,
}

struct Shared {
    host: Host,
    identity: Identity,
    access: Access,
    leader_at: watch::Receiver<LeaderAt>,
    /// The channel to whoever led last.
    channel: Mutex<Option<(String, Channel)>>,
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
            }),
        }
    }

    /// Asks whoever leads, until it has answered.
    ///
    /// Errors: there was no answer in time, or asking again would not help.
    pub async fn ask<R: ToController>(
        &self,
        request: &R,
        within: Duration,
    ) -> Result<R::Response, CallError> {
        let deadline = Instant::now() + within;
        let mut last = CallError::NoAddress("the controller that leads".to_owned());
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
                // Who led may be silent for long.
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
                Err(error) => last = error,
            }
            sleep(RETRY).await;
        }
        Err(last)
    }

    /// Waits until another controller leads.
    async fn moved_from(&self, address: &str) {
        let mut leader_at = self.shared.leader_at.clone();
        let has_moved = |now: &LeaderAt| now.address.as_deref().is_some_and(|at| at != address);
        if leader_at.wait_for(has_moved).await.is_err() {
            // Nobody looks any more.
            std::future::pending::<()>().await;
        }
    }

    /// Where whoever leads now is, and the channel there, if that is known.
    fn channel(&self) -> Option<(String, Channel)> {
        let Shared {
            host,
            identity,
            access,
            leader_at,
            channel,
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
