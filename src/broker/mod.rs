//! Composition root: creates and connects all parts of the broker, in the order of start and stop.
//!
//! A test in Rust can start any number of brokers in one process, each on a free port and in a temporary directory; dropping a
//! broker ends it:
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
//! [`Broker::start`] starts a broker from settings and options instead, in the directories that the settings name.
//!
//! [`Broker::start`]: crate::broker::Broker::start

mod adopt;
pub mod boot;
mod cleaner;
mod cluster;
mod housekeeping;
mod isr;
mod leaders;
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
use crate::log::error::{AppendError, StorageError};
use crate::log::manager::LogManager;
use crate::metadata::loader::Publisher;
use crate::wire::message::broker_heartbeat::BrokerHeartbeatRequest;

/// Reason why a node does not start. The text is for its operator.
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
    Metadata(#[from] AppendError),
    #[error("this broker does not come into its cluster: {0}")]
    Cluster(String),
}

impl StartError {
    /// The mistakes in settings, each given with the name of its setting.
    fn settings(faults: Vec<(String, String)>) -> Self {
        let faults: Vec<_> = faults.into_iter().map(|(_, what)| what).collect();
        Self::Settings(faults.join("\nmonedula: "))
    }
}

/// A running node. Dropping it ends its connections and tasks at once, as a crash would; [`Self::shutdown`] stops it
/// cleanly.
#[derive(Debug)]
pub struct Broker {
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    services: Arc<Services>,
    logs: Arc<LogManager>,
    /// Lock of the metadata log's directory, if it is not one of `log.dirs`.
    _metadata_lock: Option<DirLock>,
    stop: watch::Sender<bool>,
    halt: Halt,
    /// Membership of a broker whose controllers are other nodes.
    cluster: Option<Cluster>,
    controller: Option<Taker>,
    tasks: tokio::task::JoinSet<()>,
    /// Tasks of the coordinators. They have timers, so they must end before the logs are closed.
    coordinators: Vec<tokio::task::JoinHandle<()>>,
    /// Coordinators, which get the metadata through the partitions.
    _followers: [Arc<dyn Publisher>; 3],
    /// Threads for long rounds of the coordinators.
    rounds: WorkPool,
}

impl Broker {
    /// Addresses of the listeners.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Address of the HTTP endpoint; see [`crate::console`].
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Waits until the node cannot continue, because its disks failed or one of its tasks panicked; returns the reason. The
    /// caller then ends the process without a clean shutdown.
    pub async fn failed(&self) -> String {
        self.halt.reason().await
    }

    /// Shuts down cleanly: leaves the cluster, stops serving requests, closes the metadata log, then every log with its
    /// checkpoints, and last writes the mark of a clean shutdown. Acknowledged records stay safe whatever happens in between.
    pub async fn shutdown(mut self) {
        if let Some(cluster) = &self.cluster {
            // The broker serves until other brokers lead its partitions.
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
        // Computations that are still running must not append to a closed log.
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
            // Without this the next start, or that of Apache Kafka, would wait until the session expires.
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
