//! Moving replicas between the log directories of this node. Kafka's `ReplicaAlterLogDirsManager` and KIP-113.

use std::sync::Arc;

use super::manager::ReplicaManager;
use crate::base::ids::{PartitionIndex, TopicPartition, Uuid};
use crate::log::error::AppendError;
use crate::log::partition_log::PartitionLog;
use crate::metadata::image::Image;
use crate::metadata::placement::Assignment;
use crate::wire::error_code::ErrorCode;

/// Longest name of a copy's directory: `<topic>-<partition>.<32 digits>-future`.
const FUTURE_NAME_MAX: usize = 255;
const FUTURE_SUFFIX: usize = 1 + 32 + "-future".len();

/// Result of one round of copying.
#[derive(Debug, Default)]
pub struct Round {
    pub bytes: u64,
    /// Copies that have caught up with their logs, and their directories.
    pub caught_up: Vec<(Arc<PartitionLog>, Assignment)>,
}

impl ReplicaManager {
    /// Moves the replica of a partition to the log directory with this absolute path. A move in progress may be redirected. A
    /// replica that does not exist yet will be made there. Errors are those of Apache Kafka, in its order.
    pub fn alter_dir(
        &self,
        image: &Image,
        topic: &str,
        index: PartitionIndex,
        path: &str,
    ) -> Result<(), ErrorCode> {
        let name = TopicPartition::new(topic, index);
        if name.to_string().len() + FUTURE_SUFFIX > FUTURE_NAME_MAX {
            return Err(ErrorCode::InvalidTopicException);
        }
        let logs = self.logs();
        let dir = logs.find_dir(path).ok_or(ErrorCode::LogDirNotFound)?;
        if !dir.is_online() {
            return Err(ErrorCode::KafkaStorageError);
        }
        let failed = |what: &dyn std::fmt::Display| {
            tracing::error!(partition = %name, to = path, error = %what, "a replica cannot be moved to another log directory");
            ErrorCode::KafkaStorageError
        };
        let now = self.clock().now();
        let partition = match self.partition(topic, index) {
            Ok(partition) => partition,
            // The partition does not exist, or is not made yet.
            Err(ErrorCode::UnknownTopicOrPartition | ErrorCode::NotLeaderOrFollower) => {
                logs.prefer(&name, dir);
                let topic = image.topics.by_name(topic);
                let known = topic.and_then(|topic| topic.partition(index));
                return Err(match known {
                    Some(_) => ErrorCode::ReplicaNotAvailable,
                    None => ErrorCode::UnknownTopicOrPartition,
                });
            }
            Err(error) => return Err(error),
        };
        let _one = self.moving();
        if let Some(copy) = logs.future(&name) {
            if copy.dir().starts_with(&dir.path) {
                return Ok(());
            }
            logs.cancel_move(&name, now)
                .map_err(|error| failed(&error))?;
        }
        if partition.log.dir().starts_with(&dir.path) {
            return Ok(());
        }
        logs.begin_move(&partition.log, dir, now)
            .map_err(|error| failed(&error))?;
        tracing::info!(partition = %name, to = path, "moving a replica to another log directory");
        self.wake_mover();
        Ok(())
    }

    /// Copies about `max_bytes` of each replica that moves. Blocks on disks.
    pub fn copy_round(&self, max_bytes: usize) -> Round {
        let mut round = Round::default();
        let logs = self.logs();
        for copy in logs.futures() {
            let _one = self.moving();
            let partition = copy.partition();
            match logs.copy(&copy, max_bytes, self.clock().now()) {
                Ok(0) => {
                    let dir = logs.dir_of(&copy.dir()).map(|dir| dir.id);
                    let lacks_log = logs.get(partition).is_none();
                    if let Some(directory) = dir.filter(|_| !lacks_log) {
                        let assignment = Assignment {
                            topic_id: copy.topic_id(),
                            partition: partition.partition,
                            directory,
                        };
                        round.caught_up.push((copy, assignment));
                    }
                }
                Ok(bytes) => round.bytes += bytes as u64,
                Err(error) => self.give_up(&copy, &error),
            }
        }
        round
    }

    /// Replaces a log by its copy. Blocks on disks.
    pub fn finish_move(&self, copy: &Arc<PartitionLog>) {
        let _one = self.moving();
        if let Err(error) = self.logs().finish_move(copy, self.clock().now()) {
            self.give_up(copy, &error);
        }
    }

    /// Directory of a replica whose move has ended without success; `None` if the copy took its place.
    pub fn stays(&self, copy: &PartitionLog) -> Option<Assignment> {
        let _one = self.moving();
        let log = self.logs().get(copy.partition())?;
        let directory = self.logs().dir_of(&log.dir())?;
        let moved = copy.dir().parent() == Some(&directory.path);
        (!moved && log.topic_id() == copy.topic_id()).then(|| Assignment {
            topic_id: log.topic_id(),
            partition: log.partition().partition,
            directory: directory.id,
        })
    }

    /// Cancels a copy after an error, which would occur again; a failed disk takes its copies along. A copy that was cancelled
    /// before its turn fails too: a newer copy of the same partition must not be cancelled for that.
    fn give_up(&self, copy: &Arc<PartitionLog>, error: &AppendError) {
        let partition = copy.partition();
        let current = self.logs().future(partition);
        if !current.is_some_and(|current| Arc::ptr_eq(&current, copy)) {
            return;
        }
        tracing::error!(%partition, %error, "the move of a replica to another log directory is given up");
        if let Err(error) = self.logs().cancel_move(partition, self.clock().now()) {
            tracing::debug!(%partition, %error, "its copy stays");
        }
    }

    /// Finishes moves at a start: a crash between the two renames of a move leaves a copy without its log. The metadata then
    /// has the replica in the directory of the copy.
    pub fn settle_moves(&self, image: &Image) {
        let logs = self.logs();
        for copy in logs.futures() {
            let name = copy.partition();
            if logs.get(name).is_some() {
                continue;
            }
            let dir = logs.dir_of(&copy.dir()).map_or(Uuid::ZERO, |dir| dir.id);
            let all = logs.dirs().iter().all(|dir| dir.is_online());
            let topic = image.topics.by_id(copy.topic_id());
            let partition = topic.and_then(|topic| topic.partition(name.partition));
            let its_own =
                partition.is_some_and(|partition| partition.directory_of(self.node_id()) == dir);
            if all
                && its_own
                && let Err(error) = logs.settle(name)
            {
                tracing::error!(partition = %name, %error, "the move of a replica cannot be finished");
            }
        }
        if !logs.futures().is_empty() {
            self.wake_mover();
        }
    }
}
