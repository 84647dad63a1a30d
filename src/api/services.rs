//! The parts of the broker that handlers use; `broker` creates them.

use std::sync::Arc;

use super::handlers::fetch_conversion::ConversionBudget;
use crate::base::disk_pool::DiskPool;
use crate::base::ids::{BrokerEpoch, BrokerId};
use crate::base::memory::Memory;
use crate::base::work_pool::WorkPool;
use crate::config::broker::{BrokerConfig, BrokerSettings, InForce};
use crate::coordinator::group::handle::GroupHandle;
use crate::coordinator::share_state::handle::ShareStateHandle;
use crate::coordinator::txn::handle::TxnHandle;
use crate::host::Host;
use crate::metadata::authorizer::Authorizer;
use crate::metadata::controller::task::ControllerHandle;
use crate::metadata::image::{BROKER_RESOURCE, Image};
use crate::metadata::loader::ImageHandle;
use crate::metadata::placement::{Assignment, assign_request};
use crate::metadata::remote::Remote;
use crate::quota::quotas::Quotas;
use crate::replica::fetch_session::FetchSessions;
use crate::replica::manager::ReplicaManager;
use crate::security::listeners::Entries;
use crate::security::sasl::scram::SaltSecret;
use crate::security::scram::{Credential, ScramMechanism};
use crate::share::manager::Shares;
use crate::telemetry::meters::Meters;
use crate::transport::tls::TlsListeners;
use crate::wire::message::allocate_producer_ids::AllocateProducerIdsRequest;

/// Shared state and handles of the broker, as handlers use them.
#[derive(Debug)]
pub struct Services {
    pub node_id: BrokerId,
    pub cluster_id: String,
    pub config: Arc<BrokerConfig>,
    pub image: ImageHandle,
    pub controller: ControllerHandle,
    /// The controllers, if they are other nodes; for requests of clients.
    pub remote: Option<Remote>,
    pub replicas: ReplicaManager,
    pub sessions: FetchSessions,
    pub conversions: ConversionBudget,
    pub producer_ids: ProducerIds,
    pub groups: GroupHandle,
    pub txns: TxnHandle,
    pub share_states: ShareStateHandle,
    pub shares: Shares,
    /// Blocking threads for work that waits for a disk.
    pub disk: DiskPool,
    /// Threads that compute TLS and SASL handshakes.
    pub handshakes: DiskPool,
    /// Threads for requests that take long to compute.
    pub work: WorkPool,
    /// Certificates and keys of the listeners.
    pub tls: Arc<TlsListeners>,
    /// How each listener authenticates its clients.
    pub entries: Arc<Entries>,
    /// Authorizer of requests; `None` if every client may do everything.
    pub authorizer: Option<Authorizer>,
    pub quotas: Arc<Quotas>,
    /// Secret from which the salt of an unknown SCRAM user follows, so that clients cannot tell which users exist.
    pub salts: SaltSecret,
    /// Memory limits of clients, and the memory that clients take now.
    pub memory: Arc<Memory>,
    pub host: Host,
}

impl Services {
    /// The stored SCRAM credential of a user; `None` if the user has none for this mechanism.
    pub fn scram_credential(&self, user: &str, mechanism: ScramMechanism) -> Option<Credential> {
        let image = self.image.load();
        let found = image.scram.get(user, mechanism.number())?;
        Some(Credential {
            salt: found.salt.clone(),
            iterations: found.iterations,
            stored_key: found.stored_key.clone(),
            server_key: found.server_key.clone(),
        })
    }

    /// The broker's settings in force, for looking up single ones.
    pub fn in_force<'a>(&'a self, image: &'a Image) -> InForce<'a> {
        let of = |name: &str| image.overrides(BROKER_RESOURCE, name).map(|all| &**all);
        InForce {
            own: of(&self.node_id.to_string()),
            cluster: of(""),
            file: &self.config.settings,
        }
    }

    /// A copy of all broker settings in force. Sources in ascending precedence: static settings, the cluster's dynamic
    /// defaults, this broker's own dynamic settings.
    pub fn settings(&self, image: &Image) -> BrokerSettings {
        image.broker_settings(self.node_id, &self.config.settings)
    }
}

/// Producer ids that the controller allocated to this broker and that no producer has yet.
#[derive(Debug, Default)]
pub struct ProducerIds {
    block: tokio::sync::Mutex<std::ops::Range<i64>>,
}

impl Services {
    /// The epoch of this process's registration.
    pub fn broker_epoch(&self) -> BrokerEpoch {
        self.replicas.broker_epoch()
    }

    /// Controller id for clients. In a cluster with separate controllers any unfenced broker will do, because each forwards
    /// requests.
    pub fn controller_id(&self, image: &Image) -> BrokerId {
        if self.remote.is_none() || image.is_live(self.node_id) {
            return self.node_id;
        }
        image.live_brokers().next().map_or(-1, |broker| broker.id)
    }

    /// Counters and meters of the clients' requests.
    pub fn meters(&self) -> &Meters {
        self.replicas.meters()
    }

    /// Tells the controller in which log directories replicas of this node are. Returns whether the controller has recorded it.
    pub async fn are_told(&self, assignments: &[Assignment]) -> bool {
        let request = assign_request(self.node_id, self.broker_epoch(), assignments);
        let told = self.controller.ask(request).await;
        told.is_ok_and(|answer| answer.error_code == 0)
    }

    /// A producer id that was never given out before; `None` if the controller is not available.
    pub async fn next_producer_id(&self) -> Option<i64> {
        let mut block = self.producer_ids.block.lock().await;
        if block.is_empty() {
            let request = AllocateProducerIdsRequest {
                broker_id: self.node_id,
                broker_epoch: self.broker_epoch(),
            };
            let given = self.controller.ask(request).await.ok()?;
            if given.error_code != 0 {
                tracing::error!(
                    error_code = given.error_code,
                    "the controller gives out no producer ids"
                );
                return None;
            }
            let first = given.producer_id_start;
            *block = first..first + i64::from(given.producer_id_len);
        }
        block.next()
    }
}
