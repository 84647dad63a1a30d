//! pure: registrations of brokers: of this node at every start, and of other brokers that are gone.

use super::Decision;
use crate::base::ids::{BrokerId, Offset, Uuid};
use crate::metadata::bootstrap::SUPPORTED_FEATURES;
use crate::metadata::image::{Broker, Image, Partition};
use crate::metadata::placement::{FoundTopic, Standing};
use crate::metadata::record::Record;
use crate::metadata::record::schema::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, ControllerEndpoint,
    ControllerFeature, PartitionChangeRecord, ProducerIdsRecord, RegisterBrokerRecord,
    RegisterControllerRecord, UnregisterBrokerRecord,
};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::allocate_producer_ids::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse,
};
use crate::wire::message::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse,
    AssignReplicasToDirsResponseDirectoryData, AssignReplicasToDirsResponsePartitionData,
    AssignReplicasToDirsResponseTopicData,
};
use crate::wire::message::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use crate::wire::message::unregister_broker::UnregisterBrokerResponse;

/// First records of a cluster: features, SCRAM users, and topics that are adopted from disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    pub records: Vec<Record>,
}

/// The first records of the cluster, if it has no records yet.
pub fn activate(image: &Image, activation: &Activation) -> Decision<()> {
    let records = match image.features.is_empty() {
        true => activation.records.clone(),
        false => Vec::new(),
    };
    Decision {
        records,
        answer: (),
    }
}

/// Registration of a node that starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    pub node_id: BrokerId,
    pub incarnation: Uuid,
    /// Listener name, host, port, security protocol.
    pub endpoints: Vec<(String, String, u16, i16)>,
    pub controller: (String, String, u16),
    pub rack: Option<String>,
    pub log_dirs: Vec<Uuid>,
}

/// Level of `metadata.version` from which on controllers are registered (3.7). Older nodes stop at such a record.
const CONTROLLERS_SINCE: i16 = 15;
/// Number of producer ids in a block that the controller hands out.
const PRODUCER_IDS_PER_BLOCK: i32 = 1_000;

/// BrokerRegistration and ControllerRegistration of a node that is both; the answer is the broker's epoch.
pub fn register(image: &Image, registration: &Registration) -> Decision<i64> {
    let (next, level) = (image.offset + 1, image.metadata_version());
    Decision {
        records: registration_records(registration, next, level),
        answer: next + Offset::from(level >= CONTROLLERS_SINCE),
    }
}

/// Records of a start: registration of the controller, if `level` has that record, registration of the broker (fenced, as all
/// registrations are), and unfencing of the broker. `next` is the offset of the first record; the broker's epoch is the offset
/// of its registration.
pub(super) fn registration_records(
    registration: &Registration,
    next: Offset,
    level: i16,
) -> Vec<Record> {
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

/// UnregisterBroker: removes the registration of a broker that is gone for good.
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
    // Kafka differs: it unregisters a running broker, which then serves no clients until it is started again.
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

/// States of a node's replicas when the node starts.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundReplicas {
    pub node_id: BrokerId,
    pub topics: Vec<FoundTopic>,
}

/// Brings the metadata up to date when a node starts:
/// - log directories of replicas that have changed, perhaps because an operator moved them;
/// - partitions that this node can no longer lead because their directory is gone;
/// - partitions that this node should lead because they have no live leader, as in the directory of a stopped cluster.
///
/// If the end of a log may be lost, its leader gets a new epoch. A consumer that has read the lost records then detects the
/// truncation and does not skip as many new records (KIP-320).
pub fn found(image: &Image, found: &FoundReplicas) -> Decision<()> {
    let node_id = found.node_id;
    let mut records = Vec::new();
    for FoundTopic { topic_id, replicas } in &found.topics {
        let Some(topic) = image.topics.by_id(*topic_id) else {
            continue;
        };
        for (index, standing) in replicas {
            let partition = topic.partition(*index);
            let Some(partition) = partition.filter(|one| one.replicas.contains(&node_id)) else {
                continue;
            };
            let unchanged = PartitionChangeRecord {
                partition_id: *index,
                topic_id: *topic_id,
                ..Default::default()
            };
            let mut change = unchanged.clone();
            stand(image, partition, node_id, *standing, &mut change);
            if change != unchanged {
                records.push(change.into());
            }
        }
    }
    Decision {
        records,
        answer: (),
    }
}

/// Fills in the change of one partition that follows from the state of the node's replica.
fn stand(
    image: &Image,
    partition: &Partition,
    node_id: BrokerId,
    standing: Standing,
    change: &mut PartitionChangeRecord,
) {
    if standing == Standing::Unreachable {
        if partition.leader == node_id || partition.isr.contains(&node_id) {
            step_down(image, partition, node_id, change);
        }
        return;
    }
    if let Standing::In(directory) | Standing::Recovered(directory) = standing
        && partition.directory_of(node_id) != directory
    {
        change.directories = Some(partition.directories_with(node_id, directory));
    }
    let goes_on = partition.leader != node_id || matches!(standing, Standing::In(_));
    if may_lead(partition, node_id) && !(goes_on && image.is_live(partition.leader)) {
        change.leader = node_id;
        change.eligible_leader_replicas = (!partition.elr.is_empty()).then(Vec::new);
        change.last_known_elr = (!partition.last_known_elr.is_empty()).then(Vec::new);
    }
    // If the cluster had several brokers, only this one is running, and records that others do not fetch would never be
    // committed. Apache Kafka removes the others from the ISR when their sessions end.
    let leads = change.leader == node_id || partition.leader == node_id;
    if leads && partition.isr != [node_id] {
        change.isr = Some(vec![node_id]);
    }
}

/// The registration of a broker, if `epoch` is its newest epoch. An older epoch was replaced by a later registration.
fn registered(image: &Image, id: BrokerId, epoch: i64) -> Result<&Broker, ErrorCode> {
    match image.brokers.get(&id) {
        None => Err(ErrorCode::BrokerIdNotRegistered),
        Some(broker) if broker.epoch != epoch => Err(ErrorCode::StaleBrokerEpoch),
        Some(broker) => Ok(broker),
    }
}

/// BrokerHeartbeat: reports failed log directories and whether the broker wants to be fenced.
///
/// Kafka differs: a fenced broker loses its leaderships to other brokers. Here there are no other brokers.
pub fn heartbeat(
    image: &Image,
    request: &BrokerHeartbeatRequest,
) -> Decision<BrokerHeartbeatResponse> {
    let broker = match registered(image, request.broker_id, request.broker_epoch) {
        Ok(broker) => broker,
        Err(code) => {
            return Decision::only(BrokerHeartbeatResponse {
                error_code: code.code(),
                ..Default::default()
            });
        }
    };
    let mut records = directories_failed(image, broker, &request.offline_log_dirs);
    if request.want_fence != broker.fenced {
        let change = BrokerRegistrationChangeRecord {
            broker_id: broker.id,
            broker_epoch: broker.epoch,
            fenced: if request.want_fence { 1 } else { -1 },
            ..Default::default()
        };
        records.push(change.into());
    }
    Decision {
        records,
        answer: BrokerHeartbeatResponse {
            is_caught_up: true,
            is_fenced: request.want_fence,
            should_shut_down: request.want_shut_down,
            ..Default::default()
        },
    }
}

/// Records for log directories of a broker that have failed: the broker's replicas in them lose leadership and leave the ISR,
/// and the registration no longer names the directories. Directories that the registration does not name were reported before.
///
/// Kafka's `handleDirectoriesOffline`.
fn directories_failed(image: &Image, broker: &Broker, told: &[Uuid]) -> Vec<Record> {
    let is_news = |dir: &&Uuid| broker.log_dirs.is_empty() || broker.log_dirs.contains(dir);
    let failed: Vec<Uuid> = told.iter().filter(is_news).copied().collect();
    if failed.is_empty() {
        return Vec::new();
    }
    let mut records = Vec::new();
    for topic in image.topics.iter() {
        for (index, partition) in (0..).zip(&topic.partitions) {
            if !partition.replicas.contains(&broker.id)
                || !failed.contains(&partition.directory_of(broker.id))
            {
                continue;
            }
            let mut change = PartitionChangeRecord {
                partition_id: index,
                topic_id: topic.id,
                ..Default::default()
            };
            step_down(image, partition, broker.id, &mut change);
            records.push(change.into());
        }
    }
    let mut remaining = broker.log_dirs.clone();
    remaining.retain(|dir| !failed.contains(dir));
    if remaining.len() < broker.log_dirs.len() && !remaining.is_empty() {
        let change = BrokerRegistrationChangeRecord {
            broker_id: broker.id,
            broker_epoch: broker.epoch,
            log_dirs: remaining,
            ..Default::default()
        };
        records.push(change.into());
    }
    records
}

/// Removes a replica from the ISR and from leadership. The last replica in sync is remembered as eligible leader if that
/// feature is on (KIP-966), and otherwise stays in the ISR.
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

/// AssignReplicasToDirs: assignments that differ from the metadata become records.
pub fn assign(
    image: &Image,
    request: &AssignReplicasToDirsRequest,
) -> Decision<AssignReplicasToDirsResponse> {
    let id = request.broker_id;
    if let Err(code) = registered(image, id, request.broker_epoch) {
        return Decision::only(AssignReplicasToDirsResponse {
            error_code: code.code(),
            ..Default::default()
        });
    }
    let mut records = Vec::new();
    let mut assign_one = |directory: Uuid, topic_id: Uuid, index: i32| {
        let topic = image.topics.by_id(topic_id);
        let topic = topic.ok_or(ErrorCode::UnknownTopicId)?;
        let partition = topic.partition(index);
        let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !partition.replicas.contains(&id) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if partition.directory_of(id) != directory {
            let change = PartitionChangeRecord {
                partition_id: index,
                topic_id,
                directories: Some(partition.directories_with(id, directory)),
                ..Default::default()
            };
            records.push(change.into());
        }
        Ok(())
    };
    let mut directories = Vec::with_capacity(request.directories.len());
    for directory in &request.directories {
        let mut topics = Vec::with_capacity(directory.topics.len());
        for topic in &directory.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let outcome = assign_one(directory.id, topic.topic_id, asked.partition_index);
                partitions.push(AssignReplicasToDirsResponsePartitionData {
                    partition_index: asked.partition_index,
                    error_code: outcome.err().unwrap_or(ErrorCode::None).code(),
                });
            }
            topics.push(AssignReplicasToDirsResponseTopicData {
                topic_id: topic.topic_id,
                partitions,
            });
        }
        directories.push(AssignReplicasToDirsResponseDirectoryData {
            id: directory.id,
            topics,
        });
    }
    let answer = AssignReplicasToDirsResponse {
        directories,
        ..Default::default()
    };
    Decision { records, answer }
}

/// AllocateProducerIds: hands out the next block of producer ids. A block is never handed out twice.
pub fn allocate_producer_ids(
    image: &Image,
    request: &AllocateProducerIdsRequest,
) -> Decision<AllocateProducerIdsResponse> {
    let refused = |code: ErrorCode| {
        Decision::only(AllocateProducerIdsResponse {
            error_code: code.code(),
            ..Default::default()
        })
    };
    if let Err(code) = registered(image, request.broker_id, request.broker_epoch) {
        return refused(code);
    }
    let first = image.next_producer_id;
    let Some(next_producer_id) = first.checked_add(i64::from(PRODUCER_IDS_PER_BLOCK)) else {
        return refused(ErrorCode::UnknownServerError);
    };
    let record = ProducerIdsRecord {
        broker_id: request.broker_id,
        broker_epoch: request.broker_epoch,
        next_producer_id,
    };
    Decision {
        records: vec![record.into()],
        answer: AllocateProducerIdsResponse {
            producer_id_start: first,
            producer_id_len: PRODUCER_IDS_PER_BLOCK,
            ..Default::default()
        },
    }
}

/// Whether a replica has all committed records: it is in the ISR, or was the last in it. With eligible leader replicas
/// (KIP-966) fencing the last member empties the ISR and moves the member to the eligible leader replicas.
fn may_lead(partition: &Partition, id: BrokerId) -> bool {
    let last = partition.elr.contains(&id)
        || partition.last_known_elr.contains(&id)
        || partition.replicas == [id];
    partition.isr.contains(&id) || partition.isr.is_empty() && last
}
