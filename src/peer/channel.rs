//! A channel to one node, shared by whoever asks it: many requests in flight, a deadline for each, and a fresh connection
//! after a failure.
//!
//! Kafka calls this `NetworkClient`. Requests go out in the order of their calls and are answered in that order; one
//! that times out breaks the connection. When as many wait for answers as may, the next request waits for a place. Handles are
//! cheap to clone; the socket goes when the last one does.

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

/// Requests that may wait for answers on one connection.
const IN_FLIGHT_MAX: usize = 64;

/// What answers may take. A lane of a fetcher gets answers of `replica.fetch.response.max.bytes`, 10 MiB, one after the other,
/// and uses the memory again.
const LIMITS: Limits = Limits {
    answer_bytes_max: 256 << 20,
    answer_bytes_kept: 12 << 20,
};

/// A node that can be asked. See the module.
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
    /// Of the node, for messages.
    name: String,
    /// As many places as there may be requests in flight.
    places: Arc<Semaphore>,
    /// One caller connects while the others wait for it.
    connection: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<Connection>,
    failures: u32,
    not_before: Option<Instant>,
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Of the request, in which the answer is, too.
    pub version: i16,
    /// The answer without its header.
    pub body: Bytes,
}

impl Raw {
    /// Reads the answer to a request of this kind.
    pub fn read<R: Request>(self) -> Result<R::Response, CallError> {
        let mut reader = Reader::new(self.body);
        Ok(R::Response::read(&mut reader, self.version)?)
    }
}

impl Channel {
    /// A channel to `host:port`. Nothing is connected before the first call.
    pub fn new(host: &Host, address: impl Into<String>, identity: Identity) -> Self {
        Self::through(host, address, identity, Access::default())
    }

    /// The same by TLS or as somebody, where brokers want that.
    pub fn through(
        host: &Host,
        address: impl Into<String>,
        identity: Identity,
        access: Access,
    ) -> Self {
        Self::to(host, Target::Address(address.into()), identity, access)
    }

    /// The same to whoever is meant.
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

    /// `host:port`, or which node it is.
    pub fn address(&self) -> &str {
        &self.shared.name
    }

    /// Asks in the newest version that both sides know.
    pub async fn call<R: Request>(
        &self,
        request: &R,
        within: Duration,
    ) -> Result<R::Response, CallError> {
        self.call_up_to(request, *R::VERSIONS.end(), within).await
    }

    /// Asks in the newest version that both sides know and that is not above `newest`.
    ///
    /// Errors: `NoVersion` when there is none. Whatever else goes wrong, the next call connects again; a call is never
    /// repeated by itself, for only its owner knows whether that is harmless.
    pub async fn call_up_to<R: Request>(
        &self,
        request: &R,
        newest: i16,
        within: Duration,
    ) -> Result<R::Response, CallError> {
        self.ask(request, newest, within).await?.read::<R>()
    }

    /// The same, and gives the answer as it came.
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
        // A caller that goes away now leaves half of a request on a connection that goes with it.
        let mut open = state.open.take().ok_or_else(closed)?;
        let coming = open.send(frame, Some(place)).await?;
        state.open = Some(open);
        Ok((version, coming))
    }

    /// What the broker says that it serves.
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
    /// The connection, made anew where there is none or it broke. Whoever drops this future before its end drops the connection
    /// that it had in hand.
    async fn opened(&mut self, setup: &Setup) -> Result<&Connection, CallError> {
        let mut open = self.open.take().filter(Connection::is_whole);
        match &mut open {
            Some(open) => open.refresh(setup).await?,
            None => {
                if let Some(moment) = self.not_before {
                    tokio::time::sleep_until(moment).await;
                }
                // So it is also for who is gone before it is known.
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

    /// Puts off the next attempt.
    fn failed(&mut self, setup: &Setup) {
        // Without chance everybody waits equally long.
        let [chance] = setup.host.chance.bytes::<1>().unwrap_or([u8::MAX / 2]);
        let pause = Backoff::RECONNECT.pause(self.failures, chance);
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

    /// Answers ApiVersions, then as many Metadata requests as `answers`, then falls silent or closes.
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
        // A new connection, without being asked for.
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
