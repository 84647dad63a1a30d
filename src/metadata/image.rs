//! pure: image of the cluster's metadata: the result of all committed records. Kafka's `MetadataImage`.
//!
//! A published image is never changed; clones share everything that did not change. `apply` cannot fail: a record that
//! contradicts the image (such as a change of a partition that does not exist) changes nothing.

pub mod acls;
pub mod credentials;
pub mod partitions;
pub mod records;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use self::acls::{Acl, Acls};
use self::credentials::{DelegationToken, ScramCredentials};
use self::partitions::Partitions;
use super::record::schema::{
    BrokerRegistrationChangeRecord, ClearElrRecord, ClientQuotaRecord, ConfigRecord,
    PartitionChangeRecord, PartitionRecord, RegisterBrokerRecord, RegisterControllerRecord,
    TopicRecord,
};
use super::record::{METADATA_VERSION, Record};
use crate::base::ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerId, Uuid,
};
use crate::config::broker::BrokerSettings;
use crate::config::topic::{Overrides, TopicSettings};

/// A partition's replicas and leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub replicas: Vec<BrokerId>,
    pub directories: Vec<Uuid>,
    pub isr: Vec<BrokerId>,
    pub removing: Vec<BrokerId>,
    pub adding: Vec<BrokerId>,
    pub elr: Vec<BrokerId>,
    pub last_known_elr: Vec<BrokerId>,
    /// Leader, or -1 if there is none.
    pub leader: BrokerId,
    pub leader_recovery_state: i8,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: Arc<str>,
    pub id: Uuid,
    pub partitions: Partitions,
}

impl Topic {
    /// The partition of this index, or `None`. Any number is valid as an index, because clients and files may give any.
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// All topics, by name and by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    by_id: OrdMap<Uuid, Arc<Topic>>,
    ids: OrdMap<Arc<str>, Uuid>,
}

impl Topics {
    pub fn by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_id.get(self.ids.get(name)?)
    }

    pub fn by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// All topics in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.ids.values().filter_map(|id| self.by_id.get(id))
    }

    /// Topics from `name` on, in the order of their names.
    pub fn iter_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        let from: Arc<str> = name.into();
        self.ids
            .range(from..)
            .filter_map(|(_, id)| self.by_id.get(id))
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

/// Minimum and maximum level of a feature that a broker supports.
pub type FeatureRange = (i16, i16);

/// Listener name, host, port, security protocol.
pub type Endpoint = (Arc<str>, Arc<str>, u16, i16);

/// A broker's registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: BrokerId,
    pub epoch: BrokerEpoch,
    pub incarnation: Uuid,
    pub is_migrating_zk_broker: bool,
    pub endpoints: Vec<Endpoint>,
    pub features: BTreeMap<Arc<str>, FeatureRange>,
    pub rack: Option<Arc<str>>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub log_dirs: Vec<Uuid>,
    /// Cordoned log directories, which get no new replicas (KIP-1066); `None` if the broker does not know the field.
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

/// A controller's registration (KIP-919).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    pub id: BrokerId,
    pub incarnation: Uuid,
    pub zk_migration_ready: bool,
    pub endpoints: Vec<Endpoint>,
    pub features: BTreeMap<Arc<str>, FeatureRange>,
}

impl Broker {
    /// Whether a replica in this directory can be served. An unassigned directory counts as online (KIP-858).
    pub fn has_online_dir(&self, directory: Uuid) -> bool {
        self.log_dirs.is_empty()
            || directory.is_zero()
            || directory == Uuid::UNASSIGNED_DIR
            || self.log_dirs.contains(&directory)
    }
}

impl Partition {
    /// Log directory of a broker's replica, or `UNASSIGNED_DIR` if it is unknown.
    pub fn directory_of(&self, id: BrokerId) -> Uuid {
        let place = self.replicas.iter().position(|replica| *replica == id);
        place
            .and_then(|place| self.directories.get(place))
            .copied()
            .unwrap_or(Uuid::UNASSIGNED_DIR)
    }

    /// Directories of all replicas, with that of `id` replaced.
    pub fn directories_with(&self, id: BrokerId, directory: Uuid) -> Vec<Uuid> {
        let of = |replica: &BrokerId| {
            if *replica == id {
                directory
            } else {
                self.directory_of(*replica)
            }
        };
        self.replicas.iter().map(of).collect()
    }
}

/// Kind and name of a resource with settings. Kinds: 2 topic, 4 broker (empty name: all brokers), 16 client metrics, 32 group.
pub type ConfigResource = (i8, Arc<str>);

pub const TOPIC_RESOURCE: i8 = 2;
pub const BROKER_RESOURCE: i8 = 4;
pub const BROKER_LOGGER_RESOURCE: i8 = 8;
pub const CLIENT_METRICS_RESOURCE: i8 = 16;
pub const GROUP_RESOURCE: i8 = 32;

/// Entity of a quota: pairs of kind and name, in order; a name of `None` is the default of the kind.
pub type QuotaEntity = Vec<(Arc<str>, Option<Arc<str>>)>;

/// Image of the cluster's metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Offset of the last record applied, -1 for an empty image; `epoch` is the record's leader epoch.
    pub offset: Offset,
    pub epoch: LeaderEpoch,
    pub topics: Topics,
    pub brokers: OrdMap<BrokerId, Arc<Broker>>,
    pub controllers: OrdMap<BrokerId, Arc<Controller>>,
    pub configs: OrdMap<ConfigResource, Arc<Overrides>>,
    pub features: OrdMap<Arc<str>, i16>,
    /// Offset of the last change of features.
    pub features_epoch: Offset,
    pub next_producer_id: ProducerId,
    pub quotas: OrdMap<(QuotaEntity, Arc<str>), u64>,
    pub acls: Acls,
    pub scram: ScramCredentials,
    /// Delegation tokens by token id.
    pub tokens: OrdMap<Arc<str>, Arc<DelegationToken>>,
}

/// Changes made by a batch of records.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    /// Topics that are new or have new or changed partitions.
    pub topics: BTreeSet<Uuid>,
    /// Partitions that are new or changed, of topics that still exist.
    pub partitions: BTreeSet<(Uuid, PartitionIndex)>,
    pub removed_topics: Vec<Arc<Topic>>,
    pub configs: BTreeSet<ConfigResource>,
    pub brokers: BTreeSet<BrokerId>,
    pub features: bool,
    pub quotas: bool,
    pub acls: bool,
    pub scram: bool,
    pub tokens: bool,
}

impl Delta {
    /// Indexes of the new or changed partitions of a topic, in order.
    pub fn partitions_of(&self, topic: Uuid) -> impl Iterator<Item = PartitionIndex> {
        let all = (topic, PartitionIndex::MIN)..=(topic, PartitionIndex::MAX);
        self.partitions.range(all).map(|(_, index)| *index)
    }

    /// Differences between two images.
    pub fn between(before: &Image, after: &Image) -> Self {
        let mut delta = Self {
            features: before.features != after.features,
            quotas: before.quotas != after.quotas,
            acls: before.acls != after.acls,
            scram: before.scram != after.scram,
            tokens: before.tokens != after.tokens,
            configs: changed_keys(&before.configs, &after.configs),
            brokers: changed_keys(&before.brokers, &after.brokers),
            ..Self::default()
        };
        for topic in before.topics.by_id.values() {
            if !after.topics.by_id.contains_key(&topic.id) {
                delta.removed_topics.push(Arc::clone(topic));
            }
        }
        for (id, topic) in &after.topics.by_id {
            let old = before.topics.by_id.get(id);
            if old == Some(topic) {
                continue;
            }
            delta.topics.insert(*id);
            for (index, partition) in (0..).zip(&topic.partitions) {
                if old.and_then(|old| old.partition(index)) != Some(partition) {
                    delta.partition(*id, index);
                }
            }
        }
        delta
    }

    fn partition(&mut self, topic: Uuid, index: PartitionIndex) {
        self.topics.insert(topic);
        self.partitions.insert((topic, index));
    }
}

impl Image {
    /// An image of no records.
    pub fn empty() -> Self {
        Self {
            offset: -1,
            epoch: 0,
            topics: Topics::default(),
            brokers: OrdMap::new(),
            controllers: OrdMap::new(),
            configs: OrdMap::new(),
            features: OrdMap::new(),
            features_epoch: -1,
            next_producer_id: 0,
            quotas: OrdMap::new(),
            acls: Acls::default(),
            scram: ScramCredentials::default(),
            tokens: OrdMap::new(),
        }
    }

    /// Explicit settings of a topic.
    pub fn topic_overrides(&self, name: &str) -> Option<&Arc<Overrides>> {
        self.configs.get(&(TOPIC_RESOURCE, Arc::from(name)))
    }

    /// Explicit settings of a group. Each heartbeat and fetch asks for them, so a key is made only if there are settings at all.
    pub fn group_overrides(&self, group: &str) -> Option<&Overrides> {
        let own = match self.configs.is_empty() {
            true => None,
            false => self.overrides(GROUP_RESOURCE, group),
        };
        own.map(|own| &**own)
    }

    /// Settings that all brokers override.
    pub fn cluster_overrides(&self) -> Option<&Overrides> {
        let all = match self.configs.is_empty() {
            true => None,
            false => self.overrides(BROKER_RESOURCE, ""),
        };
        all.map(|all| &**all)
    }

    pub fn overrides(&self, resource: i8, name: &str) -> Option<&Arc<Overrides>> {
        self.configs.get(&(resource, Arc::from(name)))
    }

    /// Settings in force for a broker: its dynamic ones over those of all brokers over the static ones (`fixed`).
    pub fn broker_settings(&self, id: BrokerId, fixed: &BrokerSettings) -> BrokerSettings {
        let mut settings = fixed.clone();
        for name in ["", &id.to_string()] {
            if let Some(own) = self.overrides(BROKER_RESOURCE, name) {
                settings = settings.with(own);
            }
        }
        settings
    }

    /// Settings in force for a topic, with those of a broker as defaults.
    pub fn topic_settings<'a>(
        &'a self,
        topic: &str,
        broker: &'a BrokerSettings,
    ) -> TopicSettings<'a> {
        TopicSettings {
            own: self.topic_overrides(topic).map(|own| &**own),
            broker,
        }
    }

    /// Epoch of a broker's registration; -1 if the broker is not registered.
    pub fn broker_epoch(&self, id: BrokerId) -> BrokerEpoch {
        self.brokers.get(&id).map_or(-1, |broker| broker.epoch)
    }

    /// Whether a broker is registered and not fenced.
    pub fn is_live(&self, id: BrokerId) -> bool {
        self.brokers.get(&id).is_some_and(|broker| !broker.fenced)
    }

    /// Brokers that are registered and not fenced.
    pub fn live_brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// Whether a broker can serve its replica of a partition: it is not fenced, and the replica's log directory is online.
    pub fn is_online(&self, partition: &Partition, id: BrokerId) -> bool {
        self.brokers.get(&id).is_some_and(|broker| {
            !broker.fenced && broker.has_online_dir(partition.directory_of(id))
        })
    }

    /// Replicas of a partition that are offline.
    pub fn offline_replicas(&self, partition: &Partition) -> Vec<BrokerId> {
        let offline = |id: &BrokerId| !self.is_online(partition, *id);
        partition.replicas.iter().copied().filter(offline).collect()
    }

    /// The level of `metadata.version`.
    pub fn metadata_version(&self) -> i16 {
        self.feature(METADATA_VERSION)
    }

    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// Applies one record and adds its changes to `delta`.
    pub fn apply(&mut self, record: &Record, offset: Offset, delta: &mut Delta) {
        match record {
            Record::Topic(topic) => self.add_topic(topic, delta),
            Record::RemoveTopic(topic) => self.remove_topic(topic.topic_id, delta),
            Record::Partition(partition) => self.put_partition(partition, delta),
            Record::PartitionChange(change) => self.change_partition(change, delta),
            Record::ClearElr(clear) => self.clear_elr(clear, delta),
            Record::Config(config) => self.set_config(config, delta),
            Record::RegisterBroker(broker) => {
                self.brokers
                    .insert(broker.broker_id, Arc::new(registration(broker)));
                delta.brokers.insert(broker.broker_id);
            }
            Record::UnregisterBroker(broker) => {
                self.brokers.remove(&broker.broker_id);
                delta.brokers.insert(broker.broker_id);
            }
            Record::BrokerRegistrationChange(change) => self.change_registration(change, delta),
            Record::FenceBroker(fence) => {
                self.change_broker(fence.id, delta, |broker| broker.fenced = true);
            }
            Record::UnfenceBroker(fence) => {
                self.change_broker(fence.id, delta, |broker| broker.fenced = false);
            }
            Record::RegisterController(controller) => {
                let registration = Arc::new(controller_registration(controller));
                self.controllers
                    .insert(controller.controller_id, registration);
            }
            Record::UnregisterController(controller) => {
                self.controllers.remove(&controller.controller_id);
            }
            Record::FeatureLevel(feature) => {
                let name: Arc<str> = Arc::from(&*feature.name);
                if feature.feature_level == 0 {
                    self.features.remove(&name);
                } else {
                    self.features.insert(name, feature.feature_level);
                }
                self.features_epoch = offset;
                delta.features = true;
            }
            Record::ProducerIds(ids) => self.next_producer_id = ids.next_producer_id,
            Record::ClientQuota(quota) => {
                self.apply_quota(quota);
                delta.quotas = true;
            }
            Record::AccessControlEntry(entry) => {
                self.acls.insert(Acl::from(entry));
                delta.acls = true;
            }
            Record::RemoveAccessControlEntry(entry) => {
                self.acls.remove(entry.id);
                delta.acls = true;
            }
            Record::UserScramCredential(user) => {
                self.scram.insert(user);
                delta.scram = true;
            }
            Record::RemoveUserScramCredential(user) => {
                self.scram.remove(&user.name, user.mechanism);
                delta.scram = true;
            }
            Record::DelegationToken(token) => {
                let kept = Arc::new(DelegationToken::from(token));
                self.tokens.insert(Arc::from(&*token.token_id), kept);
                delta.tokens = true;
            }
            Record::RemoveDelegationToken(token) => {
                self.tokens.remove(&*token.token_id);
                delta.tokens = true;
            }
            Record::NoOp(_)
            | Record::ZkMigrationState(_)
            | Record::BeginTransaction(_)
            | Record::EndTransaction(_)
            | Record::AbortTransaction(_) => {}
        }
        self.offset = self.offset.max(offset);
    }

    fn add_topic(&mut self, topic: &TopicRecord, delta: &mut Delta) {
        let name: Arc<str> = Arc::from(&*topic.name);
        let added = Topic {
            name: Arc::clone(&name),
            id: topic.topic_id,
            partitions: Partitions::default(),
        };
        self.topics.ids.insert(name, topic.topic_id);
        self.topics.by_id.insert(topic.topic_id, Arc::new(added));
        delta.topics.insert(topic.topic_id);
    }

    fn remove_topic(&mut self, id: Uuid, delta: &mut Delta) {
        let Some(removed) = self.topics.by_id.remove(&id) else {
            return;
        };
        self.topics.ids.remove(&removed.name);
        self.configs
            .remove(&(TOPIC_RESOURCE, Arc::clone(&removed.name)));
        delta.topics.remove(&removed.id);
        for (index, _) in (0..).zip(&removed.partitions) {
            delta.partitions.remove(&(id, index));
        }
        delta.removed_topics.push(removed);
    }

    fn set_config(&mut self, config: &ConfigRecord, delta: &mut Delta) {
        let resource = (config.resource_type, Arc::from(&*config.resource_name));
        match &config.value {
            Some(value) => {
                let own = self.configs.entry(resource.clone()).or_default();
                Arc::make_mut(own).insert(config.name.to_string(), value.to_string());
            }
            None => {
                if let Some(own) = self.configs.get_mut(&resource) {
                    Arc::make_mut(own).remove(&*config.name);
                    if own.is_empty() {
                        self.configs.remove(&resource);
                    }
                }
            }
        }
        delta.configs.insert(resource);
    }

    fn change_registration(&mut self, change: &BrokerRegistrationChangeRecord, delta: &mut Delta) {
        self.change_broker(change.broker_id, delta, |broker| {
            match change.fenced {
                1 => broker.fenced = true,
                -1 => broker.fenced = false,
                _ => {}
            }
            broker.in_controlled_shutdown |= change.in_controlled_shutdown == 1;
            if !change.log_dirs.is_empty() {
                broker.log_dirs.clone_from(&change.log_dirs);
            }
            if let Some(cordoned) = &change.cordoned_log_dirs {
                broker.cordoned_log_dirs = Some(cordoned.clone());
            }
        });
    }

    fn change_broker(&mut self, id: BrokerId, delta: &mut Delta, change: impl FnOnce(&mut Broker)) {
        if let Some(broker) = self.brokers.get_mut(&id) {
            change(Arc::make_mut(broker));
            delta.brokers.insert(id);
        }
    }

    fn put_partition(&mut self, record: &PartitionRecord, delta: &mut Delta) {
        let Some(topic) = self.topics.by_id.get_mut(&record.topic_id) else {
            return;
        };
        let partition = Partition {
            replicas: record.replicas.clone(),
            directories: record.directories.clone(),
            isr: record.isr.clone(),
            removing: record.removing_replicas.clone(),
            adding: record.adding_replicas.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            leader: record.leader,
            leader_recovery_state: record.leader_recovery_state,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        };
        let index = usize::try_from(record.partition_id).unwrap_or(usize::MAX);
        if Arc::make_mut(topic).partitions.put(index, partition) {
            delta.partition(record.topic_id, record.partition_id);
        }
    }

    fn change_partition(&mut self, change: &PartitionChangeRecord, delta: &mut Delta) {
        let Some(topic) = self.topics.by_id.get_mut(&change.topic_id) else {
            return;
        };
        let Some(partition) = Arc::make_mut(topic)
            .partitions
            .get_mut(change.partition_id as usize)
        else {
            return;
        };
        if let Some(isr) = &change.isr {
            partition.isr.clone_from(isr);
        }
        if let Some(replicas) = &change.replicas {
            partition.replicas.clone_from(replicas);
        }
        if let Some(removing) = &change.removing_replicas {
            partition.removing.clone_from(removing);
        }
        if let Some(adding) = &change.adding_replicas {
            partition.adding.clone_from(adding);
        }
        if let Some(directories) = &change.directories {
            partition.directories.clone_from(directories);
        }
        if let Some(elr) = &change.eligible_leader_replicas {
            partition.elr.clone_from(elr);
        }
        if let Some(elr) = &change.last_known_elr {
            partition.last_known_elr.clone_from(elr);
        }
        if change.leader_recovery_state != -1 {
            partition.leader_recovery_state = change.leader_recovery_state;
        }
        // A leader of -2 means no change; any other value is an election, even if the leader stays the same.
        if change.leader != -2 {
            partition.leader = change.leader;
            partition.leader_epoch += 1;
        }
        partition.partition_epoch += 1;
        delta.partition(change.topic_id, change.partition_id);
    }

    /// Clears the eligible leader replicas (KIP-966) of the named topic, or of all topics if the name is empty.
    fn clear_elr(&mut self, clear: &ClearElrRecord, delta: &mut Delta) {
        let topics: Vec<Arc<Topic>> = match &*clear.topic_name {
            "" => self.topics.iter().cloned().collect(),
            name => self.topics.by_name(name).cloned().into_iter().collect(),
        };
        for topic in topics {
            for (index, partition) in (0..).zip(&topic.partitions) {
                if partition.elr.is_empty() && partition.last_known_elr.is_empty() {
                    continue;
                }
                let change = PartitionChangeRecord {
                    partition_id: index,
                    topic_id: topic.id,
                    eligible_leader_replicas: Some(Vec::new()),
                    last_known_elr: Some(Vec::new()),
                    ..Default::default()
                };
                self.change_partition(&change, delta);
            }
        }
    }

    fn apply_quota(&mut self, quota: &ClientQuotaRecord) {
        let mut entity: QuotaEntity = quota
            .entity
            .iter()
            .map(|part| {
                (
                    Arc::from(&*part.entity_type),
                    part.entity_name.as_deref().map(Arc::from),
                )
            })
            .collect();
        // Sorted, because entities that differ only in order are the same.
        entity.sort();
        let key = (entity, Arc::from(&*quota.key));
        if quota.remove {
            self.quotas.remove(&key);
        } else {
            self.quotas.insert(key, quota.value.to_bits());
        }
    }
}

/// Keys that have different values in the two maps, or are in only one of them.
fn changed_keys<K: Clone + Ord, V: Clone + PartialEq>(
    before: &OrdMap<K, V>,
    after: &OrdMap<K, V>,
) -> BTreeSet<K> {
    let differs = |key: &&K| before.get(*key) != after.get(*key);
    let keys = before.keys().chain(after.keys());
    keys.filter(differs).cloned().collect()
}

/// Names of all resources of a kind that have explicit settings.
pub fn configured(image: &Image, kind: i8) -> OrdSet<Arc<str>> {
    image
        .configs
        .keys()
        .filter(|(of, _)| *of == kind)
        .map(|(_, name)| Arc::clone(name))
        .collect()
}

/// Supported feature ranges by name, from a registration record.
macro_rules! feature_ranges {
    ($features:expr) => {
        $features
            .iter()
            .map(|feature| {
                let range = (feature.min_supported_version, feature.max_supported_version);
                (Arc::from(&*feature.name), range)
            })
            .collect()
    };
}

macro_rules! endpoints {
    ($endpoints:expr) => {
        $endpoints
            .iter()
            .map(|end| {
                let (name, host) = (Arc::from(&*end.name), Arc::from(&*end.host));
                (name, host, end.port, end.security_protocol)
            })
            .collect()
    };
}

fn registration(record: &RegisterBrokerRecord) -> Broker {
    Broker {
        id: record.broker_id,
        epoch: record.broker_epoch,
        incarnation: record.incarnation_id,
        is_migrating_zk_broker: record.is_migrating_zk_broker,
        endpoints: endpoints!(record.end_points),
        features: feature_ranges!(record.features),
        rack: record.rack.as_deref().map(Arc::from),
        fenced: record.fenced,
        in_controlled_shutdown: record.in_controlled_shutdown,
        log_dirs: record.log_dirs.clone(),
        cordoned_log_dirs: record.cordoned_log_dirs.clone(),
    }
}

fn controller_registration(record: &RegisterControllerRecord) -> Controller {
    Controller {
        id: record.controller_id,
        incarnation: record.incarnation_id,
        zk_migration_ready: record.zk_migration_ready,
        endpoints: endpoints!(record.end_points),
        features: feature_ranges!(record.features),
    }
}
