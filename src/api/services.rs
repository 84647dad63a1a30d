//! The handles that handlers work with; `broker` fills them in.

use std::sync::Arc;

use super::handlers::fetch_conversion::ConversionBudget;
use crate::base::disk_pool::DiskPool;
use crate::base::ids::BrokerId;
use crate::base::memory::Memory;
use crate::base::work_pool::WorkPool;
use crate::config::broker::{BrokerConfig, BrokerSettings, InForce};
use crate::coordinator::group::handle::GroupHandle;
use crate::coordinator::txn::handle::TxnHandle;
use crate::host::Host;
use crate::metadata::authorizer::Authorizer;
use crate::metadata::controller::task::ControllerHandle;
use crate::metadata::image::{BROKER_RESOURCE, Image};
use crate::metadata::loader::ImageHandle;
use crate::metadata::placement::{Assignment, assign_request};
use crate::replica::fetch_session::FetchSessions;
use crate::replica::manager::ReplicaManager;
use crate::security::listeners::Entries;
use crate::security::sasl::scram::SaltSecret;
use crate::security::scram::{Credential, ScramMechanism};
use crate::telemetry::meters::Meters;
use crate::transport::tls::TlsListeners;
use crate::wire::message::allocate_producer_ids::AllocateProducerIdsRequest;

/// See the module.
#[derive(Debug)]
pub struct Services {
    pub node_id: BrokerId,
    pub cluster_id: String,
    pub config: Arc<BrokerConfig>,
    pub image: ImageHandle,
    pub controller: ControllerHandle,
    pub replicas: ReplicaManager,
    pub sessions: FetchSessions,
    pub conversions: ConversionBudget,
    pub producer_ids: ProducerIds,
    pub groups: GroupHandle,
    pub txns: TxnHandle,
    /// Who waits for a disk, waits there.
    pub disk: DiskPool,
    /// Where handshakes are computed.
    pub handshakes: DiskPool,
    /// Where requests are computed that take long.
    pub work: WorkPool,
    /// Certificates and keys of the listeners.
    pub tls: Arc<TlsListeners>,
    /// How each listener authenticates its clients.
    pub entries: Arc<Entries>,
    /// What clients may do; `None` for everything.
    pub authorizer: Option<Authorizer>,
    /// Secret from which the salt of an unknown SCRAM user follows, so that clients cannot tell which users exist.
    pub salts: SaltSecret,
    /// What clients may take of it, and what they do.
    pub memory: Arc<Memory>,
    pub host: Host,
}

impl Services {
    /// What is kept of a user's password.
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

    /// The broker's settings in force, to look one up.
    pub fn in_force<'a>(&'a self, image: &'a Image) -> InForce<'a> {
        let of = |name: &str| image.overrides(BROKER_RESOURCE, name).map(|all| &**all);
        InForce {
            own: of(&self.node_id.to_string()),
            cluster: of(""),
            file: &self.config.settings,
        }
    }

    /// A copy of all of them: static ones, then the cluster's default, then this broker's own.
    pub fn settings(&self, image: &Image) -> BrokerSettings {
        image.broker_settings(self.node_id, &self.config.settings)
    }
}

/// Producer ids that the controller gave to this broker and that nobody has yet.
#[derive(Debug, Default)]
pub struct ProducerIds {
    block: tokio::sync::Mutex<std::ops::Range<i64>>,
}

impl Services {
    /// The epoch of this broker's registration.
    pub fn broker_epoch(&self) -> i64 {
        let image = self.image.load();
        let broker = image.brokers.get(&self.node_id);
        broker.map_or(-1, |broker| broker.epoch)
    }

    /// What clients did, in numbers.
    pub fn meters(&self) -> &Meters {
        self.replicas.meters()
    }

    /// Tells the controller in which log directories replicas of this node are; whether it knows now.
    pub async fn are_told(&self, assignments: &[Assignment]) -> bool {
        let request = assign_request(self.node_id, self.broker_epoch(), assignments);
        let told = self.controller.ask(request).await;
        told.is_ok_and(|answer| answer.error_code == 0)
    }

    /// A producer id that was never given before: `None` when the controller is gone.
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
