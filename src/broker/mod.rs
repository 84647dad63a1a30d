//! The composition root: builds every part, wires them, owns the order of start and stop.
//!
//! A test in Rust may hold brokers of its own, as many as it likes in one process, each on a free port and in a directory
//! that goes with it; dropping one ends it:
//!
//! ```
//! use monedula::broker::temporary::TemporaryBroker;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let broker = TemporaryBroker::start(&[("num.partitions", "3")]).await.unwrap();
//! let bootstrap_servers = broker.bootstrap_servers();
//! # assert!(std::net::TcpStream::connect(bootstrap_servers).is_ok());
//! # });
//! ```
//!
//! [`Broker::start`] with settings and options is the same without the directory.

mod adopt;
pub mod boot;
mod cleaner;
mod cluster;
mod housekeeping;
mod isr;
mod lifecycle;
mod listeners;
mod log_dirs;
mod maker;
mod membership;
mod mover;
pub mod temporary;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use self::cluster::Cluster;
use crate::api::services::Services;
use crate::base::plain::Plain;
use crate::base::work_pool::WorkPool;
use crate::host::inbox::Taker;
use crate::host::task::Halt;
use crate::log::dir::DirLock;
use crate::log::error::StorageError;
use crate::log::manager::LogManager;
use crate::metadata::loader::Publisher;
use crate::wire::message::broker_heartbeat::BrokerHeartbeatRequest;

/// Why a node does not start. The text is meant for whoever started it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {}", Plain(source))]
    Listen {
        address: String,
        source: std::io::Error,
    },
    #[error("{0}")]
    Settings(String),
    #[error("cannot {0}")]
    Storage(#[from] StorageError),
    #[error("the topics in the log directories cannot be taken over: {0}")]
    Adoption(String),
    #[error("the metadata log refused a record: {0}")]
    Metadata(String),
    #[error("this broker does not come into its cluster: {0}")]
    Cluster(String),
}

/// A running node. Dropping it ends its connections and tasks at once, as a crash would; [`Self::shutdown`] stops it
/// cleanly.
#[derive(Debug)]
pub struct Broker {
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    services: Arc<Services>,
    logs: Arc<LogManager>,
    /// Of the metadata log's directory, where it is none of `log.dirs`.
    _metadata_lock: Option<DirLock>,
    stop: watch::Sender<bool>,
    halt: Halt,
    /// Of a broker whose controllers are other nodes.
    cluster: Option<Cluster>,
    controller: Option<Taker>,
    tasks: tokio::task::JoinSet<()>,
    /// They have timers of their own, so they must be gone before the logs are closed.
    coordinators: Vec<tokio::task::JoinHandle<()>>,
    /// They hear of the metadata through the partitions.
    _followers: [Arc<dyn Publisher>; 3],
    /// Where their long rounds are worked off.
    rounds: WorkPool,
}

impl Broker {
    /// Where the node listens for clients.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where plain HTTP is answered; see [`crate::console`].
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Waits until the node cannot go on, because its disks failed or one of its tasks ended in a panic; gives the reason.
    /// Whoever hears it ends the process, without a clean stop.
    pub async fn failed(&self) -> String {
        self.halt.reason().await
    }

    /// Stops cleanly: out of the cluster, no more requests, then the metadata log, then every log with its checkpoints, and last the mark
    /// that says so. What was acknowledged is on disk whatever happens in between.
    pub async fn shutdown(mut self) {
        if let Some(cluster) = &self.cluster {
            // It serves until others lead what it led.
            let leaving = cluster.membership.leave(cluster::SILENCE_MAX);
            let left = tokio::time::timeout(cluster::LEAVE_WITHIN, leaving).await;
            if left != Ok(true) {
                tracing::warn!(
                    "the controllers have not let this broker go; it stops all the same"
                );
            }
        }
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        // What is still computed must append nothing to a log that is closed.
        let work = self.services.work.clone();
        let threads = self.services.host.threads.clone();
        drop(threads.start_blocking(move || work.stop()).await);
        for task in self.coordinators.drain(..) {
            task.abort();
            drop(task.await);
        }
        let rounds = self.rounds.clone();
        drop(threads.start_blocking(move || rounds.stop()).await);
        if self.cluster.is_none() {
            // Its next start, or Apache Kafka's, need not wait for its session to end.
            let fence = BrokerHeartbeatRequest {
                broker_id: self.services.node_id,
                broker_epoch: self.services.broker_epoch(),
                want_fence: true,
                want_shut_down: true,
                ..Default::default()
            };
            if self.services.controller.ask(fence).await.is_err() {
                tracing::error!("the controller was gone before the node stopped");
            }
        }
        self.services.controller.stop().await;
        if let Some(taker) = self.controller.take() {
            taker.ended(&threads).await;
        }
        let of_cluster = self.cluster.as_ref().and_then(Cluster::epoch);
        let epoch = of_cluster.unwrap_or_else(|| self.services.broker_epoch());
        let logs = Arc::clone(&self.logs);
        let image = self.services.image.load();
        let each = self.services.replicas.recovery_threads(&image);
        match threads
            .start_blocking(move || logs.close(each, epoch))
            .await
        {
            Ok(()) => tracing::info!("Shutdown completed"),
            Err(error) => tracing::error!(%error, "the logs were not closed cleanly"),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
