//! pure: the records that an image consists of: the content of a snapshot. Kafka's `MetadataImage.write`.

use super::credentials::token_record;
use super::{Broker, Controller, Image, Partition, QuotaEntity, Topic};
use crate::base::ids::{BrokerId, Uuid};
use crate::metadata::record::Record;
use crate::metadata::record::schema::{
    AccessControlEntryRecord, BrokerEndpoint, BrokerFeature, ClientQuotaEntityData,
    ClientQuotaRecord, ConfigRecord, ControllerEndpoint, ControllerFeature, FeatureLevelRecord,
    PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord, RegisterControllerRecord,
    TopicRecord,
};

/// Records from which `image` can be rebuilt, in Kafka's order. The offsets of changes are not preserved.
pub fn records_of(image: &Image) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for (name, level) in &image.features {
        let feature = FeatureLevelRecord {
            name: (**name).into(),
            feature_level: *level,
        };
        records.push(feature.into());
    }
    // metadata.version comes first, because it determines the format of the other records.
    records.sort_by_key(|record| record.metadata_version().is_none());
    let brokers = image.brokers.values();
    records.extend(brokers.map(|broker| broker_record(broker).into()));
    let controllers = image.controllers.values();
    records.extend(controllers.map(|controller| controller_record(controller).into()));
    for topic in image.topics.iter() {
        topic_records(topic, &mut records);
    }
    for ((kind, name), overrides) in &image.configs {
        for (key, value) in &**overrides {
            let config = ConfigRecord {
                resource_type: *kind,
                resource_name: (**name).into(),
                name: key.as_str().into(),
                value: Some(value.as_str().into()),
            };
            records.push(config.into());
        }
    }
    for ((entity, key), value) in &image.quotas {
        let quota = ClientQuotaRecord {
            entity: entity_data(entity),
            key: (**key).into(),
            value: f64::from_bits(*value),
            remove: false,
        };
        records.push(quota.into());
    }
    if image.next_producer_id > 0 {
        let ids = ProducerIdsRecord {
            broker_id: -1,
            broker_epoch: -1,
            next_producer_id: image.next_producer_id,
        };
        records.push(ids.into());
    }
    let acls = image.acls.iter();
    records.extend(acls.map(|acl| AccessControlEntryRecord::from(&**acl).into()));
    records.extend(image.scram.records().map(Record::from));
    let tokens = image.tokens.iter();
    records.extend(tokens.map(|(id, token)| token_record(id, token).into()));
    records
}

/// Entity of a quota in the form of records and answers.
pub fn entity_data(entity: &QuotaEntity) -> Vec<ClientQuotaEntityData> {
    let parts = entity.iter();
    parts
        .map(|(kind, name)| ClientQuotaEntityData {
            entity_type: (**kind).into(),
            entity_name: name.as_deref().map(Into::into),
        })
        .collect()
}

fn topic_records(topic: &Topic, records: &mut Vec<Record>) {
    let record = TopicRecord {
        name: (*topic.name).into(),
        topic_id: topic.id,
    };
    records.push(record.into());
    for (index, partition) in (0..).zip(&topic.partitions) {
        records.push(partition_record(topic.id, index, partition).into());
    }
}

/// Record with all fields of a partition.
pub fn partition_record(topic_id: Uuid, index: i32, partition: &Partition) -> PartitionRecord {
    let optional = |ids: &Vec<BrokerId>| (!ids.is_empty()).then(|| ids.clone());
    PartitionRecord {
        partition_id: index,
        topic_id,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        removing_replicas: partition.removing.clone(),
        adding_replicas: partition.adding.clone(),
        leader: partition.leader,
        leader_recovery_state: partition.leader_recovery_state,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        directories: partition.directories.clone(),
        eligible_leader_replicas: optional(&partition.elr),
        last_known_elr: optional(&partition.last_known_elr),
    }
}

/// Endpoints of a registration in the form of its record.
macro_rules! endpoint_data {
    ($endpoints:expr, $data:ident) => {
        $endpoints
            .iter()
            .map(|(name, host, port, security_protocol)| $data {
                name: (**name).into(),
                host: (**host).into(),
                port: *port,
                security_protocol: *security_protocol,
            })
            .collect()
    };
}

/// Feature ranges of a registration in the form of its record.
macro_rules! feature_data {
    ($features:expr, $data:ident) => {
        $features
            .iter()
            .map(|(name, (min, max))| $data {
                name: (**name).into(),
                min_supported_version: *min,
                max_supported_version: *max,
            })
            .collect()
    };
}

fn broker_record(broker: &Broker) -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker_id: broker.id,
        is_migrating_zk_broker: broker.is_migrating_zk_broker,
        incarnation_id: broker.incarnation,
        broker_epoch: broker.epoch,
        end_points: endpoint_data!(broker.endpoints, BrokerEndpoint),
        features: feature_data!(broker.features, BrokerFeature),
        rack: broker.rack.as_deref().map(Into::into),
        fenced: broker.fenced,
        in_controlled_shutdown: broker.in_controlled_shutdown,
        log_dirs: broker.log_dirs.clone(),
        cordoned_log_dirs: broker.cordoned_log_dirs.clone(),
    }
}

fn controller_record(controller: &Controller) -> RegisterControllerRecord {
    RegisterControllerRecord {
        controller_id: controller.id,
        incarnation_id: controller.incarnation,
        zk_migration_ready: controller.zk_migration_ready,
        end_points: endpoint_data!(controller.endpoints, ControllerEndpoint),
        features: feature_data!(controller.features, ControllerFeature),
    }
}
