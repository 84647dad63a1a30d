//! pure: registrations: this node's own, at every start.

use std::sync::Arc;

use crate::base::ids::{BrokerId, Offset, Uuid};
use crate::metadata::bootstrap::SUPPORTED_FEATURES;
use crate::metadata::image::{Image, Partition};
use crate::metadata::record::Record;
use crate::metadata::record::schema::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, ControllerEndpoint,
    ControllerFeature, PartitionChangeRecord, RegisterBrokerRecord, RegisterControllerRecord,
};

/// What a node says about itself when it starts.
#[derive(Clone, Debug)]
pub struct Registration {
    pub node_id: BrokerId,
    pub incarnation: Uuid,
    /// Listener name, host, port, security protocol.
    pub endpoints: Vec<(String, String, u16, i16)>,
    pub controller: (String, String, u16),
    pub rack: Option<String>,
    pub log_dirs: Vec<Uuid>,
}

/// The records of a start: the controller, the broker (fenced, as every registration is), and its unfencing. `next` is
/// the offset of the first of them; a broker's epoch is the offset of its registration.
pub fn register(registration: &Registration, next: Offset) -> Vec<Record> {
    let (name, host, port) = &registration.controller;
    let controller = RegisterControllerRecord {
        controller_id: registration.node_id,
        incarnation_id: registration.incarnation,
        zk_migration_ready: false,
        end_points: vec![ControllerEndpoint {
            name: name.as_str().into(),
            host: host.as_str().into(),
            port: *port,
            security_protocol: 0,
        }],
        features: SUPPORTED_FEATURES
            .iter()
            .map(|(name, min, max)| ControllerFeature {
                name: (*name).into(),
                min_supported_version: *min,
                max_supported_version: *max,
            })
            .collect(),
    };
    let broker_epoch = next + 1;
    let broker = RegisterBrokerRecord {
        broker_id: registration.node_id,
        is_migrating_zk_broker: false,
        incarnation_id: registration.incarnation,
        broker_epoch,
        end_points: registration
            .endpoints
            .iter()
            .map(|(name, host, port, security_protocol)| BrokerEndpoint {
                name: name.as_str().into(),
                host: host.as_str().into(),
                port: *port,
                security_protocol: *security_protocol,
            })
            .collect(),
        features: SUPPORTED_FEATURES
            .iter()
            .map(|(name, min, max)| BrokerFeature {
                name: (*name).into(),
                min_supported_version: *min,
                max_supported_version: *max,
            })
            .collect(),
        rack: registration.rack.as_deref().map(Into::into),
        fenced: true,
        in_controlled_shutdown: false,
        log_dirs: registration.log_dirs.clone(),
        cordoned_log_dirs: Some(Vec::new()),
    };
    let unfence = BrokerRegistrationChangeRecord {
        broker_id: registration.node_id,
        broker_epoch,
        fenced: -1,
        ..Default::default()
    };
    vec![controller.into(), broker.into(), unfence.into()]
}

/// The partitions that this node should lead but that have no leader, or another one that is not alive: what a
/// directory of a stopped cluster looks like.
pub fn reclaim(image: &Image, node_id: BrokerId) -> Vec<Record> {
    let alive = |id: BrokerId| image.brokers.get(&id).is_some_and(|broker| !broker.fenced);
    let mut records = Vec::new();
    for topic in image.topics.iter() {
        for (index, partition) in topic.partitions.iter().enumerate() {
            if !may_lead(partition, node_id) || alive(partition.leader) {
                continue;
            }
            let emptied = partition.isr.is_empty();
            let change = PartitionChangeRecord {
                partition_id: index as i32,
                topic_id: topic.id,
                leader: node_id,
                isr: emptied.then(|| vec![node_id]),
                eligible_leader_replicas: (!partition.elr.is_empty()).then(Vec::new),
                last_known_elr: (!partition.last_known_elr.is_empty()).then(Vec::new),
                ..Default::default()
            };
            records.push(change.into());
        }
    }
    records
}

/// Whether a replica has everything that was committed: it is in sync, or was the last that was. Where eligible leader
/// replicas are kept (KIP-966), fencing the last member empties the set of those in sync and notes it beside.
fn may_lead(partition: &Partition, id: BrokerId) -> bool {
    let last = partition.elr.contains(&id)
        || partition.last_known_elr.contains(&id)
        || partition.replicas == [id];
    partition.isr.contains(&id) || partition.isr.is_empty() && last
}

/// The record with which a node that stops says that it is gone for now, so that its next start, or Apache Kafka's, need
/// not wait for its session to end.
pub fn fence(image: &Image, node_id: BrokerId) -> Vec<Record> {
    let Some(broker) = image.brokers.get(&node_id) else {
        return Vec::new();
    };
    let change = BrokerRegistrationChangeRecord {
        broker_id: node_id,
        broker_epoch: broker.epoch,
        fenced: 1,
        ..Default::default()
    };
    vec![change.into()]
}

/// The address of a broker on a listener.
pub fn endpoint(image: &Image, id: BrokerId, listener: &str) -> Option<(Arc<str>, u16)> {
    let broker = image.brokers.get(&id)?;
    let found = broker
        .endpoints
        .iter()
        .find(|(name, ..)| **name == *listener)?;
    Some((Arc::clone(&found.1), found.2))
}
