//! A shared channel to one node: many requests in flight, a deadline for each, and a new connection after a failure.
//!
//! Kafka calls this `NetworkClient`. Requests are sent in the order of their calls and answered in that order. A request that
//! times out breaks the connection. When the limit of requests in flight is reached, the next request waits. Handles are cheap
//! to clone; the socket is closed with the last one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::backoff::Backoff;
use super::connection::{
    Access, CallError, Coming, Connection, Identity, Limits, Setup, Target, skip_header,
};
use crate::host::Host;
use crate::wire::codec::Reader;
use crate::wire::message::api_versions::ApiVersion;
use crate::wire::message::{Message, Request};

/// Limit of requests in flight on one connection.
const IN_FLIGHT_MAX: usize = 64;

/// Memory limits of answers. A lane of a fetcher gets one answer of up to `replica.fetch.response.max.bytes` (10 MiB) after the
/// other, and reuses their buffer.
const LIMITS: Limits = Limits {
    answer_bytes_max: 256 << 20,
    answer_bytes_kept: 12 << 20,
};

/// Handle of a channel to a node; see the module.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({})", self.shared.name)
    }
}

struct Shared {
    setup: Setup,
    /// Name of the node for messages.
    name: String,
    /// Permits for requests in flight.
    places: Arc<Semaphore>,
    /// One caller connects while the others wait on this lock.
    connection: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<Connection>,
    failures: u32,
    not_before: Option<Instant>,
}

/// An undecoded answer.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Version of the request and of the answer.
    pub version: i16,
    /// Body of the answer, without the header.
    pub body: Bytes,
}

impl Raw {
    /// Decodes the answer to a request of this type.
    pub fn read<R: Request>(self) -> Result<R::Response, CallError> {
        let mut reader = Reader::new(self.body);
        Ok(R::Response::read(&mut reader, self.version)?)
    }
}

impl Channel {
    /// Creates a channel to `host:port`. The first call connects.
    pub fn new(host: &Host, address: impl Into<String>, identity: Identity) -> Self {
        Self::through(host, address, identity, Access::default())
    }

    /// Creates a channel to `host:port` with TLS or SASL.
    pub fn through(
        host: &Host,
        address: impl Into<String>,
        identity: Identity,
        access: Access,
    ) -> Self {
        Self::to(host, Target::Address(address.into()), identity, access)
    }

    /// Creates a channel to any target.
    pub fn to(host: &Host, target: Target, identity: Identity, access: Access) -> Self {
        Self {
            shared: Arc::new(Shared {
                name: target.to_string(),
                setup: Setup {
                    host: host.clone(),
                    target,
                    identity,
                    access,
                    limits: LIMITS,
                },
                places: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
                connection: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Address of the node (`host:port`), or its description if it is named by its id.
    pub fn address(&self) -> &str {
        &self.shared.name
    }

    /// Sends a request in the newest version that both sides support.
    pub async fn call<R: Request>(
        &self,
        request: &R,
        within: Duration,
    ) -> Result<R::Response, CallError> {
        self.call_up_to(request, *R::VERSIONS.end(), within).await
    }

    /// Sends a request in the newest version that both sides support, but no newer than `newest`.
    ///
    /// Errors: `NoVersion` if there is no such version. After any other error the next call connects again. A call is never
    /// repeated automatically, because only the caller knows whether that is safe.
    pub async fn call_up_to<R: Request>(
        &self,
        request: &R,
        newest: i16,
        within: Duration,
    ) -> Result<R::Response, CallError> {
        self.ask(request, newest, within).await?.read::<R>()
    }

    /// Like [`Self::call_up_to`], but returns the undecoded answer.
    pub async fn ask<R: Request>(
        &self,
        request: &R,
        newest: i16,
        within: Duration,
    ) -> Result<Raw, CallError> {
        let deadline = Instant::now() + within;
        let late = |_| CallError::Timeout(self.shared.name.clone());
        let sending = timeout_at(deadline, self.send(request, newest));
        let (version, mut coming) = sending.await.map_err(late)??;
        match timeout_at(deadline, coming.arrive()).await {
            Ok(answer) => {
                let mut reader = Reader::new(answer?);
                skip_header::<R>(&mut reader, version)?;
                let body = reader.rest().clone();
                Ok(Raw { version, body })
            }
            Err(elapsed) => {
                coming.give_up();
                Err(late(elapsed))
            }
        }
    }

    async fn send<R: Request>(&self, request: &R, newest: i16) -> Result<(i16, Coming), CallError> {
        let Shared {
            setup,
            name,
            places,
            connection,
        } = &*self.shared;
        let closed = || CallError::Closed(name.clone());
        let place = Arc::clone(places).acquire_owned().await;
        let place = place.map_err(|_| closed())?;
        let mut state = connection.lock().await;
        let open = state.opened(setup).await?;
        let version = open.version::<R>(newest)?;
        let frame = open.frame(request, version, &setup.identity)?;
        // A caller that is cancelled here leaves half of a request on the connection: both are dropped together.
        let mut open = state.open.take().ok_or_else(closed)?;
        let coming = open.send(frame, Some(place)).await?;
        state.open = Some(open);
        Ok((version, coming))
    }

    /// API versions that the broker supports.
    pub async fn versions(&self, within: Duration) -> Result<Arc<[ApiVersion]>, CallError> {
        let connected = async {
            let mut state = self.shared.connection.lock().await;
            let open = state.opened(&self.shared.setup).await?;
            Ok(Arc::clone(&open.versions))
        };
        let late = |_| CallError::Timeout(self.shared.name.clone());
        let connected = timeout_at(Instant::now() + within, connected).await;
        connected.map_err(late)?
    }
}

impl State {
    /// Returns the connection; opens a new one if there is none or it is broken. A cancelled call drops the connection that it
    /// was opening.
    async fn opened(&mut self, setup: &Setup) -> Result<&Connection, CallError> {
        let mut open = self.open.take().filter(Connection::is_whole);
        match &mut open {
            Some(open) => open.refresh(setup).await?,
            None => {
                if let Some(moment) = self.not_before {
                    tokio::time::sleep_until(moment).await;
                }
                // The attempt counts as failed before its result is known, so that a cancelled attempt counts too.
                self.failed(setup);
                open = Some(Connection::open(setup).await?);
                self.failures = 0;
                self.not_before = None;
            }
        }
        let closed = || CallError::Closed(setup.target.to_string());
        self.open = open;
        self.open.as_ref().ok_or_else(closed)
    }

    /// Delays the next connection attempt.
    fn failed(&mut self, setup: &Setup) {
        let pause = Backoff::RECONNECT.pause(self.failures, setup.host.chance.jitter());
        self.not_before = Some(Instant::now() + pause);
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::wire::codec::Writer;
    use crate::wire::message::api_versions::ApiVersionsRequest;
    use crate::wire::message::api_versions::ApiVersionsResponse;
    use crate::wire::message::metadata::{MetadataRequest, MetadataResponse};

    const SECOND: Duration = Duration::from_secs(5);

    /// Answers ApiVersions, then `answers` Metadata requests, then stops answering or closes the connection.
    async fn serve(stream: &mut TcpStream, answers: usize, old: bool) {
        let mut left = answers;
        loop {
            let Ok(size) = stream.read_i32().await else {
                return;
            };
            let mut frame = vec![0; size as usize];
            stream.read_exact(&mut frame).await.unwrap();
            let (key, version) = (
                i16::from_be_bytes([frame[0], frame[1]]),
                i16::from_be_bytes([frame[2], frame[3]]),
            );
            let mut writer = Writer::with_capacity(64);
            writer.put(&frame[4..8]);
            if key == ApiVersionsRequest::KEY {
                let refused = old && version > 0;
                let answer = ApiVersionsResponse {
                    error_code: if refused { 35 } else { 0 },
                    api_keys: vec![ApiVersion {
                        api_key: 3,
                        min_version: 0,
                        max_version: 8,
                    }],
                    ..Default::default()
                };
                answer
                    .write(&mut writer, if refused { 0 } else { version })
                    .unwrap();
            } else {
                if left == 0 {
                    return;
                }
                left -= 1;
                assert_eq!(version, 8);
                let answer = MetadataResponse {
                    controller_id: left as i32,
                    ..Default::default()
                };
                answer.write(&mut writer, version).unwrap();
            }
            let body = writer.into_bytes();
            stream.write_i32(body.len() as i32).await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
    }

    async fn check(old: bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            for answers in [3, 1] {
                let (mut stream, _) = listener.accept().await.unwrap();
                serve(&mut stream, answers, old).await;
            }
        });
        let channel = Channel::new(&Host::default(), address, Identity::new("t"));
        let request = MetadataRequest::default();
        let call = || channel.call(&request, SECOND);
        let (a, b, c) = tokio::join!(call(), call(), call());
        let order: Vec<_> = [a, b, c].map(|answer| answer.unwrap().controller_id).into();
        assert_eq!(order, [2, 1, 0]);
        assert!(matches!(call().await, Err(CallError::Closed(_))));
        // The next call opens a new connection.
        assert_eq!(call().await.unwrap().controller_id, 0);
        drop(channel);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn calls_overlap_and_a_broken_connection_is_replaced() {
        check(false).await;
    }

    #[tokio::test]
    async fn a_broker_that_knows_only_the_first_api_versions_is_understood() {
        check(true).await;
    }

    #[tokio::test]
    async fn a_silent_broker_is_a_timeout_and_a_closed_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let channel = Channel::new(&Host::default(), address.clone(), Identity::new("t"));
        let short = Duration::from_millis(50);
        let answer = channel.call(&MetadataRequest::default(), short).await;
        assert!(matches!(answer, Err(CallError::Timeout(_))), "{answer:?}");
        drop(listener);
        let channel = Channel::new(&Host::default(), address, Identity::new("t"));
        let answer = channel.call(&MetadataRequest::default(), SECOND).await;
        assert!(
            matches!(answer, Err(CallError::Connect { .. })),
            "{answer:?}"
        );
    }
}
