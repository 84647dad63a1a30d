//! pure: registrations: this node's own, at every start, and those of others that are gone.

use super::Decision;
use crate::base::ids::{BrokerId, Offset, Uuid};
use crate::metadata::bootstrap::SUPPORTED_FEATURES;
use crate::metadata::image::{Image, Partition, Topic};
use crate::metadata::record::Record;
use crate::metadata::record::schema::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, ControllerEndpoint,
    ControllerFeature, PartitionChangeRecord, RegisterBrokerRecord, RegisterControllerRecord,
    UnregisterBrokerRecord,
};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::unregister_broker::UnregisterBrokerResponse;

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

/// The level of `metadata.version` from which on controllers are registered (3.7); older nodes stop at such a record.
const CONTROLLERS_SINCE: i16 = 15;

/// The records of a start: the controller, if `level` has such a record, the broker (fenced, as every registration is), and
/// its unfencing. `next` is the offset of the first of them; a broker's epoch is the offset of its registration.
pub fn register(registration: &Registration, next: Offset, level: i16) -> Vec<Record> {
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
    let controller = (level >= CONTROLLERS_SINCE).then(|| Record::from(controller));
    let broker_epoch = next + Offset::from(controller.is_some());
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
    let broker = [broker.into(), unfence.into()];
    controller.into_iter().chain(broker).collect()
}

/// UnregisterBroker: a broker that is gone for good is forgotten.
pub fn unregister(
    image: &Image,
    id: BrokerId,
    node_id: BrokerId,
) -> Decision<UnregisterBrokerResponse> {
    let refused = |code: ErrorCode, why: String| {
        Decision::only(UnregisterBrokerResponse {
            error_code: code.code(),
            error_message: Some(why.into()),
            ..Default::default()
        })
    };
    let Some(broker) = image.brokers.get(&id) else {
        let why = format!("Broker {id} is not registered.");
        return refused(ErrorCode::BrokerIdNotRegistered, why);
    };
    // Kafka differs: it does so, and the broker serves nobody until it is started again.
    if id == node_id {
        let why = format!("Broker {id} is running, and it is the only one.");
        return refused(ErrorCode::InvalidRequest, why);
    }
    let record = UnregisterBrokerRecord {
        broker_id: id,
        broker_epoch: broker.epoch,
    };
    Decision {
        records: vec![record.into()],
        answer: UnregisterBrokerResponse::default(),
    }
}

/// Where this node's replica of a partition stands when the node starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In this log directory.
    In(Uuid),
    /// The same, and what it had been given last may be lost, as the node did not stop cleanly.
    Recovered(Uuid),
    /// Nowhere: it may be made anew.
    Absent,
    /// Perhaps in a log directory that cannot be used.
    Unreachable,
}

/// What the metadata do not know yet when a node starts: in which directories the replicas lie (they may have been moved
/// by hand), which partitions this node can no longer lead because their directory is gone, and which it should lead but
/// that have no leader, or another one that is not alive: what a directory of a stopped cluster looks like. Whoever leads
/// where the end of the log may be lost does so in a new epoch: a consumer that has read what is lost finds out by it,
/// instead of passing over as many new records (KIP-320).
pub fn restore(
    image: &Image,
    node_id: BrokerId,
    standing: impl Fn(&Topic, i32, &Partition) -> Standing,
) -> Vec<Record> {
    let alive = |id: BrokerId| image.brokers.get(&id).is_some_and(|broker| !broker.fenced);
    let mut records = Vec::new();
    for topic in image.topics.iter() {
        for (index, partition) in (0..).zip(&topic.partitions) {
            if !partition.replicas.contains(&node_id) {
                continue;
            }
            let mut change = PartitionChangeRecord {
                partition_id: index,
                topic_id: topic.id,
                ..Default::default()
            };
            let unchanged = change.clone();
            match standing(topic, index, partition) {
                Standing::Unreachable => {
                    if partition.leader == node_id || partition.isr.contains(&node_id) {
                        step_down(image, partition, node_id, &mut change);
                    }
                }
                standing => {
                    if let Standing::In(directory) | Standing::Recovered(directory) = standing
                        && partition.directory_of(node_id) != directory
                    {
                        change.directories = Some(partition.directories_with(node_id, directory));
                    }
                    let goes_on =
                        partition.leader != node_id || matches!(standing, Standing::In(_));
                    if may_lead(partition, node_id) && !(goes_on && alive(partition.leader)) {
                        change.leader = node_id;
                        change.isr = partition.isr.is_empty().then(|| vec![node_id]);
                        change.eligible_leader_replicas =
                            (!partition.elr.is_empty()).then(Vec::new);
                        change.last_known_elr =
                            (!partition.last_known_elr.is_empty()).then(Vec::new);
                    }
                }
            }
            if change != unchanged {
                records.push(change.into());
            }
        }
    }
    records
}

/// A log directory of this node has failed: its replicas do not lead and are not in sync any more, and the registration
/// no longer names it. `lost` are partitions that the node knows to be there, whatever the metadata say.
///
/// Kafka calls this `handleDirectoriesOffline`.
pub fn directory_failed(
    image: &Image,
    node_id: BrokerId,
    directory: Uuid,
    lost: &[(Uuid, i32)],
) -> Vec<Record> {
    let Some(broker) = image.brokers.get(&node_id) else {
        return Vec::new();
    };
    let mut records = Vec::new();
    for topic in image.topics.iter() {
        for (index, partition) in (0..).zip(&topic.partitions) {
            let known = partition.directory_of(node_id) == directory;
            if !partition.replicas.contains(&node_id)
                || !known && !lost.contains(&(topic.id, index))
            {
                continue;
            }
            let mut change = PartitionChangeRecord {
                partition_id: index,
                topic_id: topic.id,
                directories: (!known).then(|| partition.directories_with(node_id, directory)),
                ..Default::default()
            };
            step_down(image, partition, node_id, &mut change);
            records.push(change.into());
        }
    }
    let remaining: Vec<Uuid> = broker
        .log_dirs
        .iter()
        .copied()
        .filter(|dir| *dir != directory)
        .collect();
    if remaining.len() < broker.log_dirs.len() && !remaining.is_empty() {
        let change = BrokerRegistrationChangeRecord {
            broker_id: node_id,
            broker_epoch: broker.epoch,
            log_dirs: remaining,
            ..Default::default()
        };
        records.push(change.into());
    }
    records
}

/// Takes a replica out of those in sync, and its leadership with it. The last one in sync is remembered as eligible
/// where that is kept (KIP-966), and stays in sync where it is not.
fn step_down(
    image: &Image,
    partition: &Partition,
    id: BrokerId,
    change: &mut PartitionChangeRecord,
) {
    let others: Vec<BrokerId> = partition
        .isr
        .iter()
        .copied()
        .filter(|other| *other != id)
        .collect();
    if partition.leader == id {
        let online = |other: &&BrokerId| image.is_online(partition, **other);
        change.leader = others.iter().find(online).copied().unwrap_or(-1);
    }
    if !partition.isr.contains(&id) {
        return;
    }
    let keeps_eligible = image.feature("eligible.leader.replicas.version") > 0;
    if !others.is_empty() {
        change.isr = Some(others);
    } else if keeps_eligible {
        change.isr = Some(Vec::new());
        change.eligible_leader_replicas = Some(vec![id]);
        change.last_known_elr = Some(vec![id]);
    }
}

/// A replica lies in another log directory than the metadata say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub topic_id: Uuid,
    pub partition: i32,
    pub directory: Uuid,
}

/// AssignReplicasToDirs, as a node tells it to its own controller: those that are news become records.
pub fn assign(image: &Image, node_id: BrokerId, assignments: &[Assignment]) -> Vec<Record> {
    let record = |assignment: &Assignment| {
        let topic = image.topics.by_id(assignment.topic_id)?;
        let partition = topic
            .partitions
            .get(usize::try_from(assignment.partition).ok()?)?;
        let news = partition.replicas.contains(&node_id)
            && partition.directory_of(node_id) != assignment.directory;
        news.then(|| {
            PartitionChangeRecord {
                partition_id: assignment.partition,
                topic_id: assignment.topic_id,
                directories: Some(partition.directories_with(node_id, assignment.directory)),
                ..Default::default()
            }
            .into()
        })
    };
    assignments.iter().filter_map(record).collect()
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
