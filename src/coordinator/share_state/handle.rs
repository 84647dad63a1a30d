//! Handle of the share coordinator for the rest of the broker. It sends requests about states of share groups to the shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::record::ShareKey;
use super::remote;
use super::request::{Known, Refusal, ShareStateAnswer, ShareStateRequest, Summary, Write};
use super::shard::{ShareStateSettings, ShareStateShard};
use crate::base::ids::{LeaderEpoch, Offset, PartitionIndex};
use crate::base::work_pool::WorkPool;
use crate::coordinator::elsewhere::Elsewhere;
use crate::coordinator::hash::partition_of;
use crate::coordinator::runtime::handle::Coordinator;
use crate::coordinator::runtime::log::RecordLog;
use crate::coordinator::runtime::task::Task;
use crate::coordinator::topic::SHARE_STATE_TOPIC;
use crate::host::Host;
use crate::wire::batch::compression::Compression;
use crate::wire::error_code::ErrorCode;

/// Share coordinator of this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ShareStateHandle {
    coordinator: Coordinator<ShareStateShard>,
    /// Number of partitions of `__share_group_state`, from the setting until the topic exists.
    partitions: Arc<AtomicI32>,
    log: Arc<Log>,
    /// The share coordinators of other brokers; `None` if there are none.
    elsewhere: Option<Elsewhere>,
}

/// Log of `__share_group_state`, and the host whose threads may block on its disk.
struct Log {
    log: Arc<dyn RecordLog>,
    host: Host,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

/// Interval between two attempts to delete old records. Kafka uses the same value and does not list it in its table of
/// settings.
const PRUNE_INTERVAL: Duration = Duration::from_secs(300);

impl ShareStateHandle {
    /// `partitions` is `share.coordinator.state.topic.num.partitions`, which counts until the topic exists.
    pub fn new(
        host: &Host,
        log: Arc<dyn RecordLog>,
        settings: ShareStateSettings,
        partitions: i32,
        commit_timeout: Duration,
        compression: Compression,
        pool: WorkPool,
    ) -> (Self, Task<ShareStateShard>) {
        let make = Arc::new(move |_, _| ShareStateShard::new(settings.clone()));
        let (coordinator, task) = Coordinator::new(
            "share states",
            host,
            Arc::clone(&log),
            make,
            commit_timeout,
            compression,
            pool,
        );
        let handle = Self {
            coordinator,
            partitions: Arc::new(AtomicI32::new(partitions)),
            log: Arc::new(Log {
                log,
                host: host.clone(),
            }),
            elsewhere: None,
        };
        (handle, task)
    }

    /// Lets requests about states go to the brokers that have them.
    pub fn with_others(self, elsewhere: Option<Elsewhere>) -> Self {
        Self { elsewhere, ..self }
    }

    /// The coordinator of this node alone, for requests of other brokers: those look for another coordinator themselves.
    pub fn here(&self) -> Self {
        self.clone().with_others(None)
    }

    pub fn coordinator(&self) -> &Coordinator<ShareStateShard> {
        &self.coordinator
    }

    /// Sets the number of partitions that the existing topic has, which may differ from the setting.
    pub fn set_partitions(&self, partitions: i32) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    async fn ask(
        &self,
        key: &ShareKey,
        request: ShareStateRequest,
    ) -> Result<ShareStateAnswer, Refusal> {
        let partitions = self.partitions.load(Ordering::Relaxed);
        let partition = partition_of(&key.coordinator_key(), partitions);
        if let Some(elsewhere) = &self.elsewhere
            && let Some(broker) = elsewhere.leader(SHARE_STATE_TOPIC, partition)
        {
            return remote::ask(elsewhere, broker, request).await;
        }
        match self.coordinator.ask(partition, request).await? {
            ShareStateAnswer::Refused(refusal) => Err(refusal),
            answer => Ok(answer),
        }
    }

    /// Creates a state. If one exists, it is replaced with `replaces`, and stays as it is otherwise: two heartbeats may have the
    /// same state initialised, and the second initialisation must not undo acknowledgements that came after the first. Delivery
    /// starts at `start_offset`; if that is [`UNDECIDED`](super::request::UNDECIDED), the first leader that reads the state
    /// decides.
    pub async fn initialise(
        &self,
        key: ShareKey,
        state_epoch: i32,
        start_offset: Offset,
        replaces: bool,
    ) -> Result<(), Refusal> {
        let request = ShareStateRequest::Initialise {
            key: key.clone(),
            state_epoch,
            start_offset,
            replaces,
        };
        self.ask(&key, request).await.map(|_| ())
    }

    /// Reads a state for the leader with this epoch. Requests of leaders with earlier epochs are refused from then on.
    pub async fn read(&self, key: ShareKey, leader_epoch: LeaderEpoch) -> Result<Known, Refusal> {
        let request = ShareStateRequest::Read {
            key: key.clone(),
            leader_epoch,
        };
        match self.ask(&key, request).await? {
            ShareStateAnswer::Known(known) => Ok(known),
            _ => Err(ErrorCode::UnknownServerError.into()),
        }
    }

    /// Writes a change of a state. Returns once the write is committed.
    pub async fn write(&self, key: ShareKey, write: Write) -> Result<(), Refusal> {
        let request = ShareStateRequest::Write {
            key: key.clone(),
            write,
        };
        self.ask(&key, request).await.map(|_| ())
    }

    /// Deletes a state that was initialised in an epoch up to `epoch_max`. Succeeds if there is no such state.
    pub async fn delete(&self, key: ShareKey, epoch_max: i32) -> Result<(), Refusal> {
        let request = ShareStateRequest::Delete {
            key: key.clone(),
            epoch_max,
        };
        self.ask(&key, request).await.map(|_| ())
    }

    pub async fn summarise(&self, key: ShareKey) -> Result<Summary, Refusal> {
        match self
            .ask(&key, ShareStateRequest::Summarise(key.clone()))
            .await?
        {
            ShareStateAnswer::Summary(summary) => Ok(summary),
            _ => Err(ErrorCode::UnknownServerError.into()),
        }
    }

    /// Deletes old records at regular intervals until the node stops.
    pub async fn prune_until(self, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PRUNE_INTERVAL) => self.prune().await,
                _ = stopping.changed() => return,
            }
        }
    }

    /// Writes snapshots of all states of partitions with many records, then deletes the records before the snapshots.
    pub async fn prune(&self) {
        for partition in self.coordinator.active().await {
            if let Err(error) = self.prune_one(partition).await {
                tracing::debug!(partition, %error, "records of share states are deleted later");
            }
        }
    }

    async fn prune_one(&self, partition: PartitionIndex) -> Result<(), ErrorCode> {
        // Topics may have been deleted while the partition was loading, or shortly before a crash.
        self.forget_deleted(partition).await?;
        // All snapshots requested below are appended at or after this offset.
        let (epoch, before) = self.log.log.leads_from(partition)?;
        let mut behind = None;
        loop {
            let request = ShareStateRequest::Snapshot(behind);
            match self.coordinator.ask(partition, request).await? {
                ShareStateAnswer::MoreBehind(last) => behind = Some(last),
                ShareStateAnswer::Done => break,
                ShareStateAnswer::Refused(refusal) => return Err(refusal.error),
                _ => return Ok(()),
            }
        }
        let (log, now) = (Arc::clone(&self.log), self.log.host.clock.now());
        let delete = move || log.log.delete_before(partition, epoch, before, now);
        self.log.host.threads.blocking(delete).await
    }

    /// Deletes the states of deleted topics. Partitions that are loading, and those where that fails, do so with the next
    /// [`Self::prune`].
    pub async fn topics_deleted(&self) {
        for partition in self.coordinator.active().await {
            if let Err(error) = self.forget_deleted(partition).await {
                tracing::debug!(partition, %error, "share states of deleted topics are deleted later");
            }
        }
    }

    async fn forget_deleted(&self, partition: PartitionIndex) -> Result<(), ErrorCode> {
        let mut behind = None;
        loop {
            let request = ShareStateRequest::ForgetDeleted(behind);
            match self.coordinator.ask(partition, request).await? {
                ShareStateAnswer::MoreBehind(last) => behind = Some(last),
                ShareStateAnswer::Refused(refusal) => return Err(refusal.error),
                _ => return Ok(()),
            }
        }
    }
}
