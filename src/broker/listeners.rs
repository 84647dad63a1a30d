//! The listeners that are open: those of the settings at the start, afterwards whatever somebody says to the running
//! broker. Kafka's `DynamicListenerConfig`.
//!
//! Kafka differs: there a listener that keeps its name keeps its address until the next start, and clients of a new one
//! are told of no broker. Here both work at once.

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

/// How long the connections of a closed listener live on: one of them may be that of whoever closed it, whose answer is
/// still on its way.
const GRACE: Duration = Duration::from_secs(1);

/// What the listeners are to be; a change of metadata that says otherwise is seen here before it is answered.
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
    /// Takes over what an image says.
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
            // They were checked when they were set; the file may have changed since.
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

/// See the module. One task owns it.
pub struct Listeners {
    pub services: Arc<Services>,
    pub wanted: watch::Receiver<Vec<Listener>>,
    pub limits: Limits,
    pub admission: Arc<Admission>,
    /// Told to stop when the node stops.
    pub stopping: watch::Receiver<bool>,
    /// What a panic in an acceptor ends.
    pub halt: Halt,
    open: Vec<Open>,
    acceptors: JoinSet<()>,
}

/// One that accepts connections.
struct Open {
    listener: Listener,
    acceptors: Vec<AbortHandle>,
    /// Tells its connections to end.
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

    /// Accepts connections on sockets that listen already; gives their addresses.
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

    /// Follows what is wanted until the node stops.
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

    /// Opens what is new before it closes what is gone, so that a mistake does not shut everybody out; what needs the
    /// port of one that is gone is opened after that.
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
        // One that cannot move yet stays where it is.
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

    /// Nobody listens any more when this returns.
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

/// Whether nothing needs to be opened for one where the other is open; what clients are told may differ.
fn same(one: &Listener, other: &Listener) -> bool {
    one.endpoint == other.endpoint && one.protocol == other.protocol
}
