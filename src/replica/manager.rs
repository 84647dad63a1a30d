//! Topic-partition -> [`Partition`]: follows the image, makes logs appear and disappear. Kafka's `ReplicaManager`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::partition::Partition;
use crate::base::ids::{BrokerId, PartitionIndex, TopicPartition, Uuid};
use crate::base::time::Clock;
use crate::config::broker::BrokerSettings;
use crate::config::topic::TopicSettings;
use crate::log::manager::LogManager;
use crate::log::settings::LogSettings;
use crate::metadata::controller::task::Publisher;
use crate::metadata::image::{BROKER_RESOURCE, Delta, Image, TOPIC_RESOURCE, Topic};
use crate::wire::error_code::ErrorCode;

/// All partitions of one topic that this node has.
#[derive(Debug)]
struct Hosted {
    id: Uuid,
    partitions: Vec<Option<Arc<Partition>>>,
}

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReplicaManager {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node_id: BrokerId,
    logs: Arc<LogManager>,
    settings: BrokerSettings,
    clock: Clock,
    topics: RwLock<Topics>,
}

#[derive(Debug, Default)]
struct Topics {
    by_name: HashMap<Arc<str>, Arc<Hosted>>,
    by_id: HashMap<Uuid, Arc<Hosted>>,
}

impl ReplicaManager {
    pub fn new(
        node_id: BrokerId,
        logs: Arc<LogManager>,
        settings: BrokerSettings,
        clock: Clock,
    ) -> Self {
        let topics = RwLock::default();
        Self {
            inner: Arc::new(Inner {
                node_id,
                logs,
                settings,
                clock,
                topics,
            }),
        }
    }

    pub fn logs(&self) -> &Arc<LogManager> {
        &self.inner.logs
    }

    /// The partition that this node leads. Errors: `UnknownTopicOrPartition`.
    pub fn partition(
        &self,
        topic: &str,
        index: PartitionIndex,
    ) -> Result<Arc<Partition>, ErrorCode> {
        let topics = self.inner.topics.read();
        pick(topics.by_name.get(topic), index).ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// As [`Self::partition`]. Errors: `UnknownTopicId` for the topic, `UnknownTopicOrPartition` for the index.
    pub fn partition_by_id(
        &self,
        id: Uuid,
        index: PartitionIndex,
    ) -> Result<Arc<Partition>, ErrorCode> {
        let topics = self.inner.topics.read();
        let hosted = topics.by_id.get(&id).ok_or(ErrorCode::UnknownTopicId)?;
        pick(Some(hosted), index).ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// The settings of a topic's logs under an image.
    pub fn log_settings(&self, image: &Image, topic: &str) -> LogSettings {
        let broker = self.inner.effective(image);
        let own = image.topic_overrides(topic).map(|own| &**own);
        LogSettings::from(&TopicSettings {
            own,
            broker: &broker,
        })
    }

    /// Takes in a whole image, at start; logs of partitions that it does not know are reported.
    pub fn install(&self, image: &Arc<Image>) {
        for topic in image.topics.iter() {
            self.host(topic, image);
        }
        let topics = self.inner.topics.read();
        for log in self.inner.logs.all() {
            let partition = log.partition();
            if !topics.by_name.contains_key(&partition.topic) {
                tracing::warn!(%partition, "a log on disk belongs to no topic of the metadata; it is left alone");
            }
        }
    }

    fn host(&self, topic: &Topic, image: &Image) {
        let inner = &self.inner;
        let known = inner.topics.read().by_id.get(&topic.id).cloned();
        let settings = self.log_settings(image, &topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (index, partition) in topic.partitions.iter().enumerate() {
            let existing = known
                .as_ref()
                .and_then(|known| known.partitions.get(index))
                .and_then(Option::as_ref);
            if !partition.replicas.contains(&inner.node_id) {
                partitions.push(None);
                continue;
            }
            if let Some(existing) = existing {
                existing.lead(partition.leader_epoch);
                partitions.push(Some(Arc::clone(existing)));
                continue;
            }
            let index = index as PartitionIndex;
            let name = TopicPartition {
                topic: Arc::clone(&topic.name),
                partition: index,
            };
            let now = inner.clock.now();
            match inner
                .logs
                .get_or_create(&name, topic.id, settings.clone(), now)
            {
                Ok(log) => {
                    // The only replica has all that was ever committed, whatever a checkpoint remembers: after a
                    // crash the newest records were acknowledged but are above it.
                    log.set_high_watermark(log.log_end());
                    let epoch = partition.leader_epoch;
                    let topic_name = Arc::clone(&topic.name);
                    partitions.push(Some(Arc::new(Partition::new(
                        topic_name, topic.id, index, log, epoch,
                    ))));
                }
                Err(error) => {
                    tracing::error!(partition = %name, %error, "a log cannot be opened; its partition is offline");
                    partitions.push(None);
                }
            }
        }
        let hosted = Arc::new(Hosted {
            id: topic.id,
            partitions,
        });
        let mut topics = inner.topics.write();
        topics
            .by_name
            .insert(Arc::clone(&topic.name), Arc::clone(&hosted));
        topics.by_id.insert(topic.id, hosted);
    }

    fn remove(&self, topic: &Topic) {
        let removed = {
            let mut topics = self.inner.topics.write();
            if topics
                .by_name
                .get(&topic.name)
                .is_some_and(|hosted| hosted.id == topic.id)
            {
                topics.by_name.remove(&topic.name);
            }
            topics.by_id.remove(&topic.id)
        };
        for partition in removed
            .iter()
            .flat_map(|hosted| hosted.partitions.iter().flatten())
        {
            partition.retire();
            if let Err(error) = self
                .inner
                .logs
                .delete(partition.log.partition(), self.inner.clock.now())
            {
                tracing::error!(partition = %partition.log.partition(), %error, "a log cannot be deleted");
            }
        }
    }

    fn update_settings(&self, image: &Image, topic: &str) {
        let hosted = self.inner.topics.read().by_name.get(topic).cloned();
        let settings = self.log_settings(image, topic);
        for partition in hosted
            .iter()
            .flat_map(|hosted| hosted.partitions.iter().flatten())
        {
            partition.log.update_settings(settings.clone());
        }
    }

    /// Every partition of this node.
    pub fn all(&self) -> Vec<Arc<Partition>> {
        let topics = self.inner.topics.read();
        topics
            .by_id
            .values()
            .flat_map(|hosted| hosted.partitions.iter().flatten().cloned())
            .collect()
    }
}

impl Inner {
    fn effective(&self, image: &Image) -> BrokerSettings {
        let mut settings = self.settings.clone();
        for name in ["", &self.node_id.to_string()] {
            if let Some(own) = image.overrides(BROKER_RESOURCE, name) {
                settings = settings.with(own);
            }
        }
        settings
    }
}

fn pick(hosted: Option<&Arc<Hosted>>, index: PartitionIndex) -> Option<Arc<Partition>> {
    hosted?
        .partitions
        .get(usize::try_from(index).ok()?)?
        .clone()
}

impl Publisher for ReplicaManager {
    fn on_update(&self, delta: &Delta, image: &Arc<Image>) {
        for topic in &delta.removed_topics {
            self.remove(topic);
        }
        for id in &delta.topics {
            if let Some(topic) = image.topics.by_id(*id) {
                self.host(topic, image);
            }
        }
        for (kind, name) in &delta.configs {
            if *kind == TOPIC_RESOURCE {
                self.update_settings(image, name);
            } else if *kind == BROKER_RESOURCE {
                for topic in image.topics.iter() {
                    self.update_settings(image, &topic.name);
                }
            }
        }
    }
}
