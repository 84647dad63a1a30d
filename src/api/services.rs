//! The handles that handlers work with; `broker` fills them in.

use std::collections::BTreeMap;
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
use crate::metadata::controller::task::{ControllerHandle, ImageHandle};
use crate::metadata::image::{BROKER_RESOURCE, Image};
use crate::replica::fetch_session::FetchSessions;
use crate::replica::manager::ReplicaManager;
use crate::transport::tls::TlsListeners;

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
    /// What clients may take of it, and what they do.
    pub memory: Arc<Memory>,
    pub host: Host,
}

impl Services {
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
        let in_force = self.in_force(image);
        let mut over = BTreeMap::new();
        for some in [in_force.cluster, in_force.own].into_iter().flatten() {
            over.extend(some.clone());
        }
        self.config.settings.with(&over)
    }
}

/// Producer ids that the controller gave to this broker and that nobody has yet.
#[derive(Debug, Default)]
pub struct ProducerIds {
    block: tokio::sync::Mutex<std::ops::Range<i64>>,
}

/// Ids in a block that the controller hands out.
const PRODUCER_IDS_PER_BLOCK: i64 = 1_000;

impl ProducerIds {
    /// The next id, never given before: `None` when the controller is gone.
    pub async fn next(&self, controller: &ControllerHandle) -> Option<i64> {
        let mut block = self.block.lock().await;
        if block.is_empty() {
            *block = controller
                .decide(0, |image, context| {
                    use crate::metadata::record::schema::ProducerIdsRecord;
                    let first = image.next_producer_id;
                    let broker_epoch = image
                        .brokers
                        .get(&context.node_id)
                        .map_or(-1, |broker| broker.epoch);
                    let record = ProducerIdsRecord {
                        broker_id: context.node_id,
                        broker_epoch,
                        next_producer_id: first + PRODUCER_IDS_PER_BLOCK,
                    };
                    crate::metadata::controller::Decision {
                        records: vec![record.into()],
                        answer: first..first + PRODUCER_IDS_PER_BLOCK,
                    }
                })
                .await
                .ok()?;
        }
        block.next()
    }
}
