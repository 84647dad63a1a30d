//! What a handler gets and what it gives back.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytestring::ByteString;

use super::services::Services;
use crate::base::memory::Account;
use crate::base::time::Timestamp;
use crate::config::listener::{Endpoint, SecurityProtocol};
use crate::metadata::image::Broker;
use crate::security::acl::host_address;
use crate::security::principal::Principal;

/// What all requests of one connection share.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The name of the listener, in upper case.
    pub listener: Arc<str>,
    pub protocol: SecurityProtocol,
    /// Who the client is. A client that has not logged in yet is nobody in particular, and gets no further than ApiVersions.
    pub principal: Arc<Principal>,
    pub peer: SocketAddr,
    /// The address that the client reached us at.
    pub local: SocketAddr,
    /// What the listener advertises; `None` for the address that the client reached.
    pub advertised: Option<Endpoint>,
    /// The memory that it takes.
    pub account: Arc<Account>,
}

impl ConnectionInfo {
    /// The host and port at which this client can reach this broker again.
    pub fn reachable(&self) -> (ByteString, u16) {
        match &self.advertised {
            Some(endpoint) => (endpoint.host.as_str().into(), endpoint.port),
            None => (
                self.local.ip().to_canonical().to_string().into(),
                self.local.port(),
            ),
        }
    }
}

/// One request's surroundings. Cheap to clone into a future.
#[derive(Clone, Debug)]
pub struct RequestContext {
    pub services: Arc<Services>,
    pub connection: Arc<ConnectionInfo>,
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    /// A copy: requests wait with it, and must not hold on to all of their bytes.
    pub client_id: Option<ByteString>,
    /// When the request arrived.
    pub now: Timestamp,
}

impl RequestContext {
    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.connection.principal
    }

    /// The client's address as Java prints it: `/127.0.0.1`.
    pub fn client_host(&self) -> ByteString {
        format!("/{}", host_address(self.connection.peer.ip())).into()
    }

    /// The host and port at which this client can reach a broker; `None` for one without the client's listener.
    pub fn address_of(&self, broker: &Broker) -> Option<(ByteString, u16)> {
        if broker.id == self.services.node_id {
            return Some(self.connection.reachable());
        }
        let mut endpoints = broker.endpoints.iter();
        let (_, host, port, _) = endpoints.find(|(name, ..)| *name == self.connection.listener)?;
        Some(((**host).into(), *port))
    }
}

/// A response that is not there yet.
pub type Later<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// What a handler gives back.
pub enum Reply<R> {
    Ready(R),
    Later(Later<R>),
    /// As `Later`, and the connection's next request is not looked at before this one is done: for appends that must
    /// not overtake each other.
    Alone(Later<R>),
    /// As `Alone`, for a reply that is to be had then.
    Then(Later<Self>),
    /// As `Then`, where it takes long to have it: the work pool computes it.
    Long(Later<Self>),
    /// There is no response to this request (Produce with acks=0).
    Nothing,
    /// The connection must be closed; the reason goes to the log.
    Close(String),
}

impl<R> Reply<R> {
    /// A response that has to wait for something.
    pub fn later(future: impl Future<Output = R> + Send + 'static) -> Self {
        Self::Later(Box::pin(future))
    }

    /// See [`Self::Alone`].
    pub fn alone(future: impl Future<Output = R> + Send + 'static) -> Self {
        Self::Alone(Box::pin(future))
    }

    /// See [`Self::Then`].
    pub fn then(future: impl Future<Output = Self> + Send + 'static) -> Self {
        Self::Then(Box::pin(future))
    }

    /// See [`Self::Long`].
    pub fn long(future: impl Future<Output = Self> + Send + 'static) -> Self {
        Self::Long(Box::pin(future))
    }
}

impl<R> From<R> for Reply<R> {
    fn from(response: R) -> Self {
        Self::Ready(response)
    }
}
