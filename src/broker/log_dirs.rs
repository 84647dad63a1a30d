//! task: takes log directories out of service that fail while the node runs, and reports them to the controller. Kafka's
//! `LogDirFailureHandler`.
//!
//! The node halts if the directory of its metadata log fails, if no directory is left, or if the controller does not learn of a
//! failure in time. Otherwise clients would be told that this node leads partitions that it cannot read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::membership::Membership;
use crate::api::services::Services;
use crate::base::ids::{PartitionIndex, Uuid};
use crate::host::task::Halt;
use crate::metadata::placement::Assignment;
use crate::wire::message::broker_heartbeat::BrokerHeartbeatRequest;

/// Time before a halt in which error answers can reach clients.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Task that handles failed log directories. See the module.
pub(super) struct LogDirs {
    pub(super) services: Arc<Services>,
    pub(super) metadata_dir: PathBuf,
    /// `log.dir.failure.timeout.ms`.
    pub(super) report_limit: Duration,
    pub(super) halt: Halt,
    /// Membership of a broker whose controllers are other nodes: its heartbeats report failed directories.
    pub(super) membership: Option<Membership>,
}

impl LogDirs {
    pub(super) async fn run(self, mut stopping: watch::Receiver<bool>) {
        let failed = Arc::new(Notify::new());
        let wake = Arc::clone(&failed);
        self.services
            .replicas
            .logs()
            .failures()
            .listen(move || wake.notify_one());
        loop {
            tokio::select! {
                biased;
                () = async { drop(stopping.wait_for(|stop| *stop).await) } => return,
                () = failed.notified() => {
                    for dir in self.services.replicas.logs().failures().take() {
                        self.failed(&dir).await;
                    }
                }
            }
        }
    }

    async fn failed(&self, path: &Path) {
        let lost = self.services.replicas.directory_failed(path);
        tracing::warn!(
            dir = %path.display(),
            partitions = lost.len(),
            "the partitions of a failed log directory are offline until the node starts with it again"
        );
        let logs = self.services.replicas.logs();
        if path == self.metadata_dir {
            let why = format!(
                "the log directory {} has failed; the metadata log is in it",
                path.display()
            );
            return self.halt(why).await;
        }
        if logs.online().next().is_none() {
            return self
                .halt(format!(
                    "every log directory has failed, {} last",
                    path.display()
                ))
                .await;
        }
        let Some(dir) = logs
            .dirs()
            .iter()
            .find(|dir| dir.path == path && !dir.id.is_zero())
        else {
            return;
        };
        let told = tokio::time::timeout(self.report_limit, self.tell(dir.id, &lost));
        if !matches!(told.await, Ok(true)) {
            let why = format!(
                "the log directory {} has failed, and the controller was not told within log.dir.failure.timeout.ms",
                path.display()
            );
            self.halt(why).await;
        }
    }

    /// Reports a failed directory to the controller: first which partitions are in it, whatever the metadata say, then that it
    /// is offline. Gives whether the controller has accepted both.
    async fn tell(&self, directory: Uuid, lost: &[(Uuid, PartitionIndex)]) -> bool {
        let lost = lost.iter().map(|(topic_id, partition)| Assignment {
            topic_id: *topic_id,
            partition: *partition,
            directory,
        });
        let lost: Vec<_> = lost.collect();
        let are_told = self.services.are_told(&lost).await;
        if let Some(membership) = &self.membership {
            membership.tell_of_failed(directory).await;
            return are_told;
        }
        let heartbeat = BrokerHeartbeatRequest {
            broker_id: self.services.node_id,
            broker_epoch: self.services.broker_epoch(),
            offline_log_dirs: vec![directory],
            ..Default::default()
        };
        let heard = self.services.controller.ask(heartbeat).await;
        are_told && heard.is_ok_and(|heard| heard.error_code == 0)
    }

    async fn halt(&self, why: String) {
        tokio::time::sleep(LAST_WORDS).await;
        self.halt.now(why);
    }
}
