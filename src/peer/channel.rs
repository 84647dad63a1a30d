//! A connection to one broker: negotiated versions, many requests in flight, a deadline for each, and a fresh socket
//! after a failure.
//!
//! Kafka calls this `NetworkClient`. Requests go out in the order of their calls and are answered in that order; one
//! that times out breaks the connection, because the answers behind it could no longer be told apart from late ones in
//! bounded time. Handles are cheap to clone; the socket goes when the last one does.

use std::collections::VecDeque;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::base::time::millis;
use crate::host::Host;
use crate::host::socket::{ReadHalf, WriteHalf};
use crate::security::sasl::NONCE_BYTES;
use crate::security::sasl::client::{Client, Credentials};
use crate::transport::client::Transport;
use crate::wire::codec::{DecodeError, EncodeError, Reader, Writer};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::api_versions::{ApiVersion, ApiVersionsRequest};
use crate::wire::message::sasl_authenticate::SaslAuthenticateRequest;
use crate::wire::message::sasl_handshake::SaslHandshakeRequest;
use crate::wire::message::{Message, Request};

/// The largest answer that is read; a broker that promises more is not one.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Requests that may wait for answers on one connection.
const IN_FLIGHT_MAX: usize = 64;
/// The first pause before a connection is tried again, and the longest; it doubles in between.
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
const _: () = assert!(BACKOFF.as_millis() <= BACKOFF_MAX.as_millis());

/// The part of a session after which we log in again, as librdkafka does.
const LOG_IN_AGAIN_AT: f64 = 0.9;

const API_VERSIONS: i16 = 18;
/// What brokers of 2.4 and later know; older ones answer in version 0 and are asked again in it.
const API_VERSIONS_FIRST: i16 = 3;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("cannot connect to {address}: {source}")]
    Connect {
        address: String,
        source: std::io::Error,
    },
    #[error("no TLS with {address}: {what}")]
    Tls { address: String, what: String },
    #[error("cannot log in to {address}: {what}")]
    Login { address: String, what: String },
    #[error("the connection to {0} was closed")]
    Closed(String),
    #[error("{0} does not answer as a broker of Kafka")]
    NotKafka(String),
    #[error("{0} did not answer in time")]
    Timeout(String),
    #[error("the broker knows no version of {name} that we know")]
    NoVersion { name: &'static str },
    #[error("the answer is not readable: {0}")]
    Decode(#[from] DecodeError),
    #[error("the request cannot be written: {0}")]
    Encode(#[from] EncodeError),
    #[error("{0} requests wait for answers already")]
    TooManyInFlight(usize),
    #[error("the broker answered with error {0}")]
    Answered(i16),
}

/// Who we say that we are.
#[derive(Clone, Debug)]
pub struct Identity {
    pub client_id: ByteString,
    pub software_version: &'static str,
}

impl Identity {
    pub fn new(client_id: &str) -> Self {
        Self {
            client_id: client_id.into(),
            software_version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// By what, and as whom, brokers are asked.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub transport: Transport,
    /// With SASL.
    pub login: Option<Arc<Credentials>>,
}

impl From<Transport> for Access {
    fn from(transport: Transport) -> Self {
        Self {
            transport,
            login: None,
        }
    }
}

/// A broker that can be asked. See the module.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({})", self.shared.address)
    }
}

struct Shared {
    host: Host,
    address: String,
    identity: Identity,
    access: Access,
    /// One caller connects while the others wait for it.
    connection: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<Connection>,
    failures: u32,
    not_before: Option<Instant>,
}

struct Connection {
    writer: WriteHalf,
    waiting: Arc<Waiting>,
    reader: tokio::task::AbortHandle,
    versions: Arc<[ApiVersion]>,
    next_correlation: i32,
    /// When it has to be said again who we are.
    log_in_at: Option<Instant>,
}

/// Correlation ids in the order of their requests, and who gets each answer.
type Asked = VecDeque<(i32, oneshot::Sender<Bytes>)>;

/// Who waits for the next answers, in their order, or why there are no more of them.
#[derive(Debug)]
struct Waiting(Mutex<Result<Asked, Broken>>);

/// Why a connection gives no answers any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Closed,
    /// What came are the first bytes of TLS: an alert, because what we sent is none.
    SpeaksTls,
    NotKafka,
}

impl Broken {
    fn at(self, address: &str) -> CallError {
        let address = address.to_owned();
        match self {
            Self::Closed => CallError::Closed(address),
            Self::NotKafka => CallError::NotKafka(address),
            Self::SpeaksTls => CallError::Tls {
                address,
                what: "the other side speaks TLS".to_owned(),
            },
        }
    }
}

impl Waiting {
    fn broken(&self) -> Option<Broken> {
        self.0.lock().as_ref().err().copied()
    }

    /// The error of an answer that did not come.
    fn error(&self, address: &str) -> CallError {
        self.broken().unwrap_or(Broken::Closed).at(address)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
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
        Self {
            shared: Arc::new(Shared {
                host: host.clone(),
                address: address.into(),
                identity,
                access,
                connection: tokio::sync::Mutex::default(),
            }),
        }
    }

    pub fn address(&self) -> &str {
        &self.shared.address
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
        let deadline = Instant::now() + within;
        match timeout_at(deadline, self.ask(request, newest)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.shared.connection.lock().await.open = None;
                Err(CallError::Timeout(self.shared.address.clone()))
            }
        }
    }

    async fn ask<R: Request>(&self, request: &R, newest: i16) -> Result<R::Response, CallError> {
        let (version, answer) = {
            let mut state = self.shared.connection.lock().await;
            let connection = state.opened(&self.shared).await?;
            let version = connection.version::<R>(newest)?;
            let sent = connection
                .send(request, version, &self.shared.identity)
                .await;
            if matches!(sent, Err(CallError::Closed(_))) {
                state.open = None;
                return Err(CallError::Closed(self.shared.address.clone()));
            }
            (version, sent?)
        };
        let body = answer
            .await
            .map_err(|_| CallError::Closed(self.shared.address.clone()))?;
        decode::<R>(body, version)
    }

    /// What the broker says that it serves.
    pub async fn versions(&self, within: Duration) -> Result<Arc<[ApiVersion]>, CallError> {
        let connected = async {
            let mut state = self.shared.connection.lock().await;
            Ok(Arc::clone(&state.opened(&self.shared).await?.versions))
        };
        timeout(within, connected)
            .await
            .unwrap_or_else(|_| Err(CallError::Timeout(self.shared.address.clone())))
    }
}

impl State {
    /// The connection, made anew where there is none or it broke.
    async fn opened(&mut self, shared: &Shared) -> Result<&mut Connection, CallError> {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.waiting.broken().is_some())
        {
            self.open = None;
        }
        if let Some(open) = &mut self.open
            && open.log_in_at.is_some_and(|at| Instant::now() >= at)
            && let Err(error) = open.log_in(shared).await
        {
            self.open = None;
            return Err(error);
        }
        if self.open.is_none() {
            if let Some(moment) = self.not_before {
                tokio::time::sleep_until(moment).await;
            }
            match Connection::open(shared).await {
                Ok(open) => {
                    self.open = Some(open);
                    self.failures = 0;
                    self.not_before = None;
                }
                Err(error) => {
                    let pause = BACKOFF.saturating_mul(1 << self.failures.min(10));
                    self.not_before = Some(Instant::now() + pause.min(BACKOFF_MAX));
                    self.failures = self.failures.saturating_add(1);
                    return Err(error);
                }
            }
        }
        self.open
            .as_mut()
            .ok_or_else(|| CallError::Closed(shared.address.clone()))
    }
}

impl Connection {
    async fn open(shared: &Shared) -> Result<Self, CallError> {
        let failed = |source| CallError::Connect {
            address: shared.address.clone(),
            source,
        };
        let network = &shared.host.network;
        let socket = network.connect(&shared.address).await.map_err(failed)?;
        socket.set_nodelay().map_err(failed)?;
        let opened = shared.access.transport.open(socket, &shared.address).await;
        let (incoming, writer) = opened.map_err(|error| match error.kind() {
            ErrorKind::InvalidData | ErrorKind::Other => CallError::Tls {
                address: shared.address.clone(),
                what: error.to_string(),
            },
            _ => CallError::Closed(shared.address.clone()),
        })?;
        let waiting = Arc::new(Waiting(Mutex::new(Ok(VecDeque::new()))));
        let reading = read_answers(incoming, Arc::clone(&waiting));
        let reader = shared.host.threads.spawn(reading);
        let mut connection = Self {
            writer,
            waiting,
            reader: reader.abort_handle(),
            versions: Arc::from([]),
            next_correlation: 0,
            log_in_at: None,
        };
        connection.versions = connection.negotiate(shared).await?;
        connection.log_in(shared).await?;
        Ok(connection)
    }

    /// Says who we are, where somebody is told. Requests that wait for answers go on.
    async fn log_in(&mut self, shared: &Shared) -> Result<(), CallError> {
        let Some(credentials) = &shared.access.login else {
            return Ok(());
        };
        let refused = |what: String| CallError::Login {
            address: shared.address.clone(),
            what,
        };
        let handshake = SaslHandshakeRequest {
            mechanism: credentials.mechanism.name().into(),
        };
        // In version 0 what follows would be no requests.
        let version = self.version::<SaslHandshakeRequest>(1)?;
        if version < 1 {
            return Err(CallError::NoVersion {
                name: SaslHandshakeRequest::NAME,
            });
        }
        let answer = self.exchange(&handshake, version, shared).await?;
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::UnsupportedSaslMechanism) => {
                return Err(refused(format!(
                    "the listener has {}, not {}",
                    answer.mechanisms.join(", "),
                    credentials.mechanism.name()
                )));
            }
            Some(ErrorCode::IllegalSaslState) => {
                return Err(refused("the listener has no SASL".to_owned()));
            }
            _ => return Err(CallError::Answered(answer.error_code)),
        }
        let nonce = shared.host.chance.bytes::<NONCE_BYTES>();
        let nonce = nonce.map_err(|error| refused(error.to_string()))?;
        let (mut client, mut token) = Client::new(credentials, &STANDARD.encode(nonce));
        let version = self.version::<SaslAuthenticateRequest>(i16::MAX)?;
        loop {
            let request = SaslAuthenticateRequest { auth_bytes: token };
            let answer = self.exchange(&request, version, shared).await?;
            if answer.error_code != 0 {
                let what = answer.error_message.unwrap_or_default();
                return Err(refused(what.to_string()));
            }
            let lifetime = answer.session_lifetime_ms;
            // It may take milliseconds to hash a password.
            let stepping = move || {
                let next = client.step(&answer.auth_bytes);
                (client, next)
            };
            let (again, next) = shared.host.threads.blocking(stepping).await;
            client = again;
            match next.map_err(refused)? {
                Some(next) => token = next,
                None => {
                    let lifetime = millis(lifetime).mul_f64(LOG_IN_AGAIN_AT);
                    self.log_in_at = (!lifetime.is_zero()).then(|| Instant::now() + lifetime);
                    return Ok(());
                }
            }
        }
    }

    /// Asks and waits for the answer.
    async fn exchange<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        shared: &Shared,
    ) -> Result<R::Response, CallError> {
        let gone = |waiting: &Waiting| waiting.error(&shared.address);
        let sent = self.send(request, version, &shared.identity).await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(CallError::Closed(_)) => return Err(gone(&self.waiting)),
            Err(error) => return Err(error),
        };
        let answer = answer.await.map_err(|_| gone(&self.waiting))?;
        decode::<R>(answer, version)
    }

    /// KIP-511: whoever does not know our version of ApiVersions answers in version 0.
    async fn negotiate(&mut self, shared: &Shared) -> Result<Arc<[ApiVersion]>, CallError> {
        let mut version = API_VERSIONS_FIRST;
        loop {
            let request = ApiVersionsRequest {
                client_software_name: "monedula".into(),
                client_software_version: shared.identity.software_version.into(),
                ..Default::default()
            };
            let answer = self
                .send(&request, version, &shared.identity)
                .await
                .map_err(|error| match error {
                    CallError::Closed(_) => self.waiting.error(&shared.address),
                    other => other,
                })?
                .await
                .map_err(|_| self.waiting.error(&shared.address))?;
            let code = answer
                .first_chunk::<2>()
                .and_then(|code| ErrorCode::from_code(i16::from_be_bytes(*code)));
            if code == Some(ErrorCode::UnsupportedVersion) && version > 0 {
                version = 0;
                continue;
            }
            let answer = decode::<ApiVersionsRequest>(answer, version)?;
            if answer.error_code != 0 {
                return Err(CallError::Answered(answer.error_code));
            }
            return Ok(answer.api_keys.into());
        }
    }

    fn version<R: Request>(&self, newest: i16) -> Result<i16, CallError> {
        self.versions
            .iter()
            .find(|api| api.api_key == R::KEY)
            .and_then(|api| {
                let version = api.max_version.min(*R::VERSIONS.end()).min(newest);
                (version >= api.min_version.max(*R::VERSIONS.start())).then_some(version)
            })
            .ok_or(CallError::NoVersion { name: R::NAME })
    }

    async fn send<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        identity: &Identity,
    ) -> Result<oneshot::Receiver<Bytes>, CallError> {
        let correlation = self.next_correlation;
        self.next_correlation = self.next_correlation.wrapping_add(1);
        let frame = frame(request, version, correlation, identity)?;
        let (sender, receiver) = oneshot::channel();
        match self.waiting.0.lock().as_mut() {
            Err(_) => return Err(CallError::Closed(String::new())),
            Ok(waiting) if waiting.len() >= IN_FLIGHT_MAX => {
                return Err(CallError::TooManyInFlight(IN_FLIGHT_MAX));
            }
            Ok(waiting) => waiting.push_back((correlation, sender)),
        }
        self.writer
            .write_all(&frame)
            .await
            .map_err(|_| CallError::Closed(String::new()))?;
        Ok(receiver)
    }
}

/// Size, header and body.
fn frame<R: Request>(
    request: &R,
    version: i16,
    correlation: i32,
    identity: &Identity,
) -> Result<Bytes, CallError> {
    let mut writer = Writer::with_capacity(256);
    writer.i16(R::KEY);
    writer.i16(version);
    writer.i32(correlation);
    let client_id = identity.client_id.as_bytes();
    writer.i16(client_id.len() as i16);
    writer.put(client_id);
    if R::is_flexible(version) {
        writer.unsigned_varint(0);
    }
    request.write(&mut writer, version)?;
    let body = writer.into_bytes();
    let mut frame = BytesMut::with_capacity(body.len() + 4);
    frame.extend_from_slice(&(body.len() as i32).to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame.freeze())
}

/// Reads an answer behind its correlation id. That of ApiVersions has the short header in every version.
fn decode<R: Request>(body: Bytes, version: i16) -> Result<R::Response, CallError> {
    let mut reader = Reader::new(body);
    if R::KEY != API_VERSIONS && R::is_flexible(version) {
        reader.tagged_section(|_, _| Ok(false))?;
    }
    Ok(R::Response::read(&mut reader, version)?)
}

/// Hands every answer to the one that waits longest, until the connection ends or an answer is not that one's.
async fn read_answers(mut incoming: ReadHalf, waiting: Arc<Waiting>) {
    let why = loop {
        let mut answer = match read_frame(&mut incoming).await {
            Ok(answer) => answer,
            Err(why) => break why,
        };
        if answer.len() < 4 {
            break Broken::NotKafka;
        }
        let correlation = answer.get_i32();
        let next = match waiting.0.lock().as_mut() {
            Ok(asked) => asked.pop_front(),
            Err(why) => break *why,
        };
        match next {
            // Whoever gave up does not mind.
            Some((expected, sender)) if expected == correlation => drop(sender.send(answer)),
            _ => break Broken::NotKafka,
        }
    };
    // Dropping the senders tells everybody who waits.
    *waiting.0.lock() = Err(why);
}

async fn read_frame(incoming: &mut ReadHalf) -> Result<Bytes, Broken> {
    /// An alert of TLS, of any of its versions.
    const ALERT: [u8; 2] = [0x15, 0x03];
    let mut size = [0; 4];
    let read = incoming.read_exact(&mut size).await;
    read.map_err(|_| Broken::Closed)?;
    if size.starts_with(&ALERT) {
        return Err(Broken::SpeaksTls);
    }
    let size = usize::try_from(i32::from_be_bytes(size))
        .ok()
        .filter(|size| *size <= ANSWER_BYTES_MAX)
        .ok_or(Broken::NotKafka)?;
    // Grows with what really arrives, whatever was promised.
    let mut body = Vec::with_capacity(size.min(1 << 20));
    let read = incoming.take(size as u64).read_to_end(&mut body).await;
    match read {
        Ok(read) if read == size => Ok(body.into()),
        _ => Err(Broken::Closed),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
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
            if key == API_VERSIONS {
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
