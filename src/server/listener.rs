//! Accepting connections: one loop per socket, with limits on how many there may be.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};

use super::connection::{Limits, serve};
use crate::api::context::ConnectionInfo;
use crate::api::services::Services;
use crate::config::broker::advertised;
use crate::config::listener::Endpoint;
use crate::metadata::controller::settings::ADVERTISED_LISTENERS;
use crate::metadata::image::BROKER_RESOURCE;

/// Pause after an accept that failed: usually the process is out of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How many connections there are and may be, over all listeners.
#[derive(Debug)]
pub struct Admission {
    total_max: usize,
    per_ip_max: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Admission {
    pub fn new(total_max: usize, per_ip_max: usize) -> Self {
        Self {
            total_max,
            per_ip_max,
            open: Mutex::default(),
        }
    }

    fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Admitted> {
        let mut open = self.open.lock();
        let total: usize = open.values().sum();
        let of_ip = open.get(&ip).copied().unwrap_or(0);
        if total >= self.total_max || of_ip >= self.per_ip_max {
            return None;
        }
        open.insert(ip, of_ip + 1);
        Some(Admitted {
            ip,
            admission: Arc::clone(self),
        })
    }
}

/// A place that a connection holds while it lives.
#[derive(Debug)]
struct Admitted {
    ip: IpAddr,
    admission: Arc<Admission>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock();
        if let Some(count) = open.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.ip);
            }
        }
    }
}

/// What all connections of a listener are served with.
#[derive(Clone, Debug)]
pub struct Acceptor {
    pub services: Arc<Services>,
    pub listener: Arc<str>,
    pub advertised: Option<Endpoint>,
    pub limits: Limits,
    pub admission: Arc<Admission>,
    /// Told to stop when the node stops.
    pub stopping: tokio::sync::watch::Receiver<bool>,
}

impl Acceptor {
    /// Accepts until the node stops; every connection then ends too.
    pub async fn run(self, socket: TcpListener) {
        let mut stopping = self.stopping.clone();
        loop {
            let accepted = tokio::select! {
                // Stopping is looked at first, so that a flood of connections cannot delay it.
                biased;
                _ = stopping.wait_for(|stop| *stop) => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer),
                Err(error) => {
                    tracing::warn!(listener = %self.listener, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(place) = self.admission.admit(peer.ip()) else {
            tracing::warn!(%peer, listener = %self.listener, "refusing a connection: there are too many");
            return;
        };
        let info = match self.greet(&stream, peer) {
            Ok(info) => Arc::new(info),
            Err(error) => {
                tracing::debug!(%peer, %error, "a connection was gone before it was served");
                return;
            }
        };
        let (host, port) = info.reachable();
        tracing::debug!(%peer, listener = %self.listener, %host, port, "advertising to a client");
        let services = Arc::clone(&self.services);
        let limits = self.limits.clone();
        let mut stopping = self.stopping.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => {}
                () = serve(stream, services, info, limits) => {}
            }
            drop(place);
        });
    }

    fn greet(&self, stream: &TcpStream, peer: SocketAddr) -> io::Result<ConnectionInfo> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let outside = super::container::gateway() == Some(peer.ip().to_canonical());
        let guessed = outside.then(|| Endpoint {
            name: self.listener.to_string(),
            host: "localhost".to_owned(),
            port: local.port(),
        });
        Ok(ConnectionInfo {
            listener: Arc::clone(&self.listener),
            peer,
            local,
            advertised: self
                .told_later()
                .or_else(|| self.advertised.clone())
                .or(guessed),
        })
    }

    /// What somebody said to the running broker.
    fn told_later(&self) -> Option<Endpoint> {
        let image = self.services.image.load();
        let own = image.overrides(BROKER_RESOURCE, &self.services.node_id.to_string())?;
        let told = advertised(
            &self.services.config.settings,
            own.get(ADVERTISED_LISTENERS)?,
        );
        told.ok()?
            .into_iter()
            .find(|endpoint| endpoint.name == *self.listener)
    }
}
