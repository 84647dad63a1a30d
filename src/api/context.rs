//! Input and output of handlers: the request's context and the reply.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytestring::ByteString;

use super::charges::{Bill, Mute};
use super::services::Services;
use crate::base::memory::Account;
use crate::base::time::Timestamp;
use crate::config::listener::{Endpoint, SecurityProtocol};
use crate::metadata::image::Broker;
use crate::security::acl::host_address;
use crate::security::principal::Principal;

/// State that all requests of one connection share.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Name of the listener, in upper case.
    pub listener: Arc<str>,
    pub protocol: SecurityProtocol,
    /// Principal of the client. A connection that has not authenticated yet is anonymous, and may only send ApiVersions
    /// requests and authenticate.
    pub principal: Arc<Principal>,
    pub peer: SocketAddr,
    /// Local address that the client connected to.
    pub local: SocketAddr,
    /// Advertised endpoint of the listener; `None` means the address that the client connected to.
    pub advertised: Option<Endpoint>,
    /// Account of the memory that the connection takes.
    pub account: Arc<Account>,
    /// Time for which the connection is not read from, because its client is over its quota.
    pub mute: Arc<Mute>,
}

impl ConnectionInfo {
    /// Host and port at which this client can reach this broker again.
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

/// Context of one request. Cheap to clone into a future.
#[derive(Clone, Debug)]
pub struct RequestContext {
    pub services: Arc<Services>,
    pub connection: Arc<ConnectionInfo>,
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    /// Copied from the request: waiting requests keep the context, and must not keep the whole frame in memory.
    pub client_id: Option<ByteString>,
    /// Time of the request's arrival.
    pub now: Timestamp,
    /// What the request costs; `None` if there are no client quotas.
    pub bill: Option<Arc<Bill>>,
}

impl RequestContext {
    /// Principal of the client.
    pub fn principal(&self) -> &Principal {
        &self.connection.principal
    }

    /// Address of the client as Java prints it: `/127.0.0.1`.
    pub fn client_host(&self) -> ByteString {
        format!("/{}", host_address(self.connection.peer.ip())).into()
    }

    /// Host and port at which this client can reach `broker`; `None` if the broker does not have the client's listener.
    pub fn address_of(&self, broker: &Broker) -> Option<(ByteString, u16)> {
        if broker.id == self.services.node_id {
            return Some(self.connection.reachable());
        }
        let mut endpoints = broker.endpoints.iter();
        let (_, host, port, _) = endpoints.find(|(name, ..)| *name == self.connection.listener)?;
        Some(((**host).into(), *port))
    }
}

/// A response that is computed later.
pub type Later<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// Reply of a handler.
pub enum Reply<R> {
    Ready(R),
    Later(Later<R>),
    /// Like `Later`, but the connection's next request is not handled before this response is complete. For appends, which must
    /// not overtake each other.
    Alone(Later<R>),
    /// Like `Alone`, for a future that yields another reply.
    Then(Later<Self>),
    /// Like `Then`, for a future that takes long to compute: it runs on the work pool.
    Long(Later<Self>),
    /// No response (Produce with acks=0).
    Nothing,
    /// The connection must be closed; the reason is logged.
    Close(String),
}

impl<R> Reply<R> {
    /// A response that has to wait for something. See [`Self::Later`].
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
