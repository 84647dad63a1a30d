//! task: takes log directories that fail while the node runs out of service, and tells the controller. Kafka's
//! `LogDirFailureHandler`.
//!
//! The node cannot go on without the directory of its metadata log, nor without any, nor when the controller does not
//! hear of a failure in time: then it halts, so that nobody is told that it leads what it cannot read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::base::ids::BrokerId;
use crate::host::task::Halt;
use crate::metadata::controller::Decision;
use crate::metadata::controller::brokers::directory_failed;
use crate::metadata::controller::task::ControllerHandle;
use crate::replica::manager::ReplicaManager;

/// Time for the answers that tell clients of the failure to leave before the process ends.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct LogDirs {
    pub(super) replicas: ReplicaManager,
    pub(super) controller: ControllerHandle,
    pub(super) node_id: BrokerId,
    pub(super) metadata_dir: PathBuf,
    /// `log.dir.failure.timeout.ms`.
    pub(super) report_limit: Duration,
    pub(super) halt: Halt,
}

impl LogDirs {
    pub(super) async fn run(self, mut stopping: watch::Receiver<bool>) {
        let failed = Arc::new(Notify::new());
        let wake = Arc::clone(&failed);
        self.replicas
            .logs()
            .failures()
            .listen(move || wake.notify_one());
        loop {
            tokio::select! {
                biased;
                () = async { drop(stopping.wait_for(|stop| *stop).await) } => return,
                () = failed.notified() => {
                    for dir in self.replicas.logs().failures().take() {
                        self.failed(&dir).await;
                    }
                }
            }
        }
    }

    async fn failed(&self, path: &Path) {
        let lost = self.replicas.directory_failed(path);
        tracing::warn!(
            dir = %path.display(),
            partitions = lost.len(),
            "the partitions of a failed log directory are offline until the node starts with it again"
        );
        let logs = self.replicas.logs();
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
        let (node_id, id) = (self.node_id, dir.id);
        let told = self.controller.decide(0, move |image, _| Decision {
            records: directory_failed(image, node_id, id, &lost),
            answer: (),
        });
        if !matches!(
            tokio::time::timeout(self.report_limit, told).await,
            Ok(Ok(()))
        ) {
            let why = format!(
                "the log directory {} has failed, and the controller was not told within log.dir.failure.timeout.ms",
                path.display()
            );
            self.halt(why).await;
        }
    }

    async fn halt(&self, why: String) {
        tokio::time::sleep(LAST_WORDS).await;
        self.halt.now(why);
    }
}
