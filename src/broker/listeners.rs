//! Open listeners: those of the settings at the start, and later those of the dynamic settings. Kafka's
//! `DynamicListenerConfig`.
//!
//! Kafka differs: there a listener that keeps its name keeps its address until the next start, and metadata requests on a new
//! listener are answered without brokers. Here both take effect at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::StartError;
use super::boot::listening;
use crate::api::services::Services;
use crate::base::ids::BrokerId;
use crate::config::broker::{BrokerSettings, Listener};
use crate::host::clock::Clock;
use crate::host::network::Listening;
use crate::host::task::Halt;
use crate::metadata::controller::settings::of_listeners;
use crate::metadata::image::{BROKER_RESOURCE, Delta, Image};
use crate::metadata::loader::Publisher;
use crate::security::listeners::Entries;
use crate::server::connection::Limits;
use crate::server::listener::{Acceptor, Admission};
use crate::transport::tls::TlsListeners;

/// Time for which connections of a closed listener live on. One of them may belong to the client that closed the listener,
/// whose answer is still under way.
const GRACE: Duration = Duration::from_secs(1);

/// Configuration that the open listeners follow. As a metadata publisher it sees a change before the change is answered.
#[derive(Debug)]
pub struct Wanted {
    pub settings: BrokerSettings,
    pub node_id: BrokerId,
    pub listeners: watch::Sender<Vec<Listener>>,
    pub tls: Arc<TlsListeners>,
    pub entries: Arc<Entries>,
    pub clock: Clock,
}

impl Wanted {
    /// Applies the broker's own settings in an image.
    pub fn install(&self, image: &Image) {
        let own = image.overrides(BROKER_RESOURCE, &self.node_id.to_string());
        let settings = of_listeners(&self.settings, own.map(|own| &**own));
        let prepared = self.tls.prepare(&settings).and_then(|(listeners, loaded)| {
            let entries = self
                .entries
                .prepare(&listeners, &settings, self.clock.now())?;
            Ok((listeners, loaded, entries))
        });
        match prepared {
            Ok((listeners, loaded, entries)) => {
                self.tls.install(loaded);
                self.entries.install(entries);
                self.listeners.send_if_modified(|current| {
                    let changed = *current != listeners;
                    *current = listeners;
                    changed
                });
            }
            // The settings were checked when they were set, but a file may have changed since.
            Err(faults) => {
                tracing::error!(faults, "listeners set on the running broker are left out")
            }
        }
    }
}

impl Publisher for Wanted {
    fn on_update(&self, delta: &Delta, image: &Arc<Image>) {
        let own = (BROKER_RESOURCE, Arc::from(self.node_id.to_string()));
        if delta.configs.contains(&own) {
            self.install(image);
        }
    }
}

/// The open listeners, owned by one task. See the module.
pub struct Listeners {
    pub services: Arc<Services>,
    pub wanted: watch::Receiver<Vec<Listener>>,
    pub limits: Limits,
    pub admission: Arc<Admission>,
    /// Becomes true when the node stops.
    pub stopping: watch::Receiver<bool>,
    /// Halts the node if an acceptor panics.
    pub halt: Halt,
    open: Vec<Open>,
    acceptors: JoinSet<()>,
}

/// A listener that accepts connections.
struct Open {
    listener: Listener,
    acceptors: Vec<AbortHandle>,
    /// Ends the listener's connections.
    close: watch::Sender<bool>,
}

impl Listeners {
    pub fn new(
        services: Arc<Services>,
        wanted: watch::Receiver<Vec<Listener>>,
        limits: Limits,
        stopping: watch::Receiver<bool>,
        halt: Halt,
    ) -> Self {
        Self {
            services,
            wanted,
            limits,
            admission: Arc::default(),
            stopping,
            halt,
            open: Vec::new(),
            acceptors: JoinSet::new(),
        }
    }

    /// Accepts connections on sockets that listen already. Gives their addresses.
    pub fn accept(&mut self, listener: Listener, sockets: Vec<Listening>) -> Vec<SocketAddr> {
        let (close, closed) = watch::channel(false);
        let addresses = sockets.iter().filter_map(|one| one.local_addr().ok());
        let addresses = addresses.collect();
        let acceptors = sockets
            .into_iter()
            .map(|socket| {
                let acceptor = Acceptor {
                    services: Arc::clone(&self.services),
                    listener: Arc::from(listener.endpoint.name.as_str()),
                    protocol: listener.protocol,
                    wanted: self.wanted.clone(),
                    limits: self.limits.clone(),
                    admission: Arc::clone(&self.admission),
                    stopping: closed.clone(),
                };
                let accepting = self.halt.guard("acceptor", acceptor.run(socket));
                let threads = &self.services.host.threads;
                threads.spawn_among(&mut self.acceptors, accepting)
            })
            .collect();
        self.open.push(Open {
            listener,
            acceptors,
            close,
        });
        addresses
    }

    /// Follows the configuration until the node stops.
    pub async fn run(mut self) {
        let mut stopping = self.stopping.clone();
        loop {
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => break,
                changed = self.wanted.changed() => if changed.is_err() { break },
            }
            self.follow().await;
        }
        for open in &self.open {
            open.close.send_replace(true);
        }
        while self.acceptors.join_next().await.is_some() {}
    }

    /// Opens new listeners before closing removed ones, so that a mistake does not lock out all clients. A listener that needs
    /// the port of a removed one is opened after that.
    pub async fn follow(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        let missing = |open: &[Open]| -> Vec<Listener> {
            let is_open = |one: &Listener| open.iter().any(|open| same(&open.listener, one));
            wanted.iter().filter(|one| !is_open(one)).cloned().collect()
        };
        for listener in missing(&self.open) {
            if let Ok(sockets) = self.sockets(&listener).await {
                self.opened(listener, sockets);
            }
        }
        let failed = missing(&self.open);
        // A listener whose new address cannot be opened yet stays at its old one.
        let stays = |open: &Open| {
            let name = &open.listener.endpoint.name;
            wanted.iter().any(|one| same(one, &open.listener))
                || failed.iter().any(|one| one.endpoint.name == *name)
        };
        let (keep, gone) = std::mem::take(&mut self.open).into_iter().partition(stays);
        self.open = keep;
        self.close(gone).await;
        for listener in failed {
            match self.sockets(&listener).await {
                Ok(sockets) => {
                    let name = listener.endpoint.name.clone();
                    let (gone, keep) = std::mem::take(&mut self.open)
                        .into_iter()
                        .partition(|open| open.listener.endpoint.name == name);
                    self.open = keep;
                    self.close(gone).await;
                    self.opened(listener, sockets);
                }
                Err(error) => tracing::error!("{error}; the listener is not opened"),
            }
        }
    }

    async fn sockets(&self, listener: &Listener) -> Result<Vec<Listening>, StartError> {
        let services = &self.services;
        listening(&services.host, &listener.endpoint, &services.config).await
    }

    fn opened(&mut self, listener: Listener, sockets: Vec<Listening>) {
        tracing::info!(listener = %listener.endpoint, "opened a listener");
        self.accept(listener, sockets);
    }

    /// Closes listeners. When this returns, their sockets are closed.
    async fn close(&self, gone: Vec<Open>) {
        for open in gone {
            tracing::info!(listener = %open.listener.endpoint, "closed a listener");
            for acceptor in &open.acceptors {
                acceptor.abort();
                while !acceptor.is_finished() {
                    tokio::task::yield_now().await;
                }
            }
            let mut stopping = self.stopping.clone();
            self.services.host.threads.spawn(async move {
                let stop = stopping.wait_for(|stop| *stop);
                drop(tokio::time::timeout(GRACE, stop).await);
                open.close.send_replace(true);
            });
        }
    }
}

/// Whether two configurations need the same sockets. Advertised addresses may differ.
fn same(one: &Listener, other: &Listener) -> bool {
    one.endpoint == other.endpoint && one.protocol == other.protocol
}
