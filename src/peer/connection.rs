//! A connection to one node: a socket, optionally with TLS and SASL, with versions negotiated once. Requests are sent in order
//! and answered in that order.

use std::collections::VecDeque;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::base::ids::BrokerId;
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

/// Size of the steps in which an answer is read: memory grows with the bytes received, not with the size that the peer claims.
const READ_BYTES: usize = 1 << 20;

/// Fraction of a session's lifetime after which the connection reauthenticates, as in librdkafka.
const LOG_IN_AGAIN_AT: f64 = 0.9;

const API_VERSIONS: i16 = 18;
/// Version that brokers of 2.4 and later support. Older brokers answer in version 0 and are asked again in that version.
const API_VERSIONS_FIRST: i16 = 3;

/// Error of a call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("it is not known where {0} is")]
    NoAddress(String),
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
    #[error("the broker answered with error {0}")]
    Answered(i16),
}

/// Client id and software name that are sent to the peer.
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

/// Transport and credentials of a connection.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub transport: Transport,
    /// SASL credentials, if the listener requires SASL.
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

/// Addresses of the nodes on one listener, from the metadata.
pub trait AddressBook: Send + Sync {
    /// `host:port` of a node; `None` if the node is unknown or does not have the listener.
    fn address(&self, node: BrokerId) -> Option<String>;
}

/// Target of a connection.
#[derive(Clone)]
pub enum Target {
    /// The node at `host:port`.
    Address(String),
    /// A node by its id. The address is looked up in the address book when a connection is opened.
    Node(BrokerId, Arc<dyn AddressBook>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => f.write_str(address),
            Self::Node(node, _) => write!(f, "node {node}"),
        }
    }
}

impl Target {
    fn address(&self) -> Result<String, CallError> {
        match self {
            Self::Address(address) => Ok(address.clone()),
            Self::Node(node, book) => {
                let address = book.address(*node);
                address.ok_or_else(|| CallError::NoAddress(self.to_string()))
            }
        }
    }
}

/// Memory limits of answers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size of the largest answer that is accepted, in bytes; a larger one breaks the connection.
    pub answer_bytes_max: usize,
    /// Size of the largest answer whose buffer is kept for the next one, in bytes.
    pub answer_bytes_kept: usize,
}

/// Parameters of a new connection.
#[derive(Clone)]
pub struct Setup {
    pub host: Host,
    pub target: Target,
    pub identity: Identity,
    pub access: Access,
    pub limits: Limits,
}

/// An open connection; see the module. Dropping it closes the socket, and pending requests fail.
pub struct Connection {
    /// Address of the node when the connection was opened.
    address: String,
    writer: WriteHalf,
    waiting: Arc<Waiting>,
    reader: tokio::task::AbortHandle,
    pub versions: Arc<[ApiVersion]>,
    next_correlation: i32,
    /// Time of the next reauthentication.
    log_in_at: Option<Instant>,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Asked {
    correlation: i32,
    answer: oneshot::Sender<Bytes>,
    /// Permit of the request among those in flight.
    _place: Option<OwnedSemaphorePermit>,
}

/// Pending requests in order, or the reason why no more answers arrive.
#[derive(Debug)]
struct Waiting(Mutex<Result<VecDeque<Asked>, Broken>>);

/// Reason why a connection is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Closed,
    /// The peer sent a TLS alert: it expects TLS, and this connection is plain text.
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

/// Pending answer to a request that was sent.
#[derive(Debug)]
pub struct Coming {
    address: String,
    waiting: Arc<Waiting>,
    answer: oneshot::Receiver<Bytes>,
}

impl Coming {
    /// Waits for the answer; returns it without the correlation id.
    pub async fn arrive(&mut self) -> Result<Bytes, CallError> {
        let answer = (&mut self.answer).await;
        answer.map_err(|_| self.waiting.error(&self.address))
    }

    /// Gives up waiting. The connection becomes unusable: a late answer would have to be tracked for an unlimited time.
    pub fn give_up(self) {
        self.waiting.fail(Broken::Closed);
    }
}

impl Waiting {
    fn broken(&self) -> Option<Broken> {
        self.0.lock().as_ref().err().copied()
    }

    /// Error of a pending answer that did not arrive.
    fn error(&self, address: &str) -> CallError {
        self.broken().unwrap_or(Broken::Closed).at(address)
    }

    /// Fails all pending requests. The first reason is kept.
    fn fail(&self, why: Broken) {
        let mut asked = self.0.lock();
        if asked.is_ok() {
            *asked = Err(why);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Connection {
    /// Connects, authenticates if necessary, and negotiates versions.
    pub async fn open(setup: &Setup) -> Result<Self, CallError> {
        let address = setup.target.address()?;
        let failed = |source| CallError::Connect {
            address: address.clone(),
            source,
        };
        let network = &setup.host.network;
        let socket = network.connect(&address).await.map_err(failed)?;
        socket.set_nodelay().map_err(failed)?;
        let opened = setup.access.transport.open(socket, &address).await;
        let (incoming, writer) = opened.map_err(|error| match error.kind() {
            ErrorKind::InvalidData | ErrorKind::Other => CallError::Tls {
                address: address.clone(),
                what: error.to_string(),
            },
            _ => CallError::Closed(address.clone()),
        })?;
        let waiting = Arc::new(Waiting(Mutex::new(Ok(VecDeque::new()))));
        let frames = Frames {
            incoming,
            buffer: BytesMut::new(),
            limits: setup.limits,
            last: 0,
        };
        let reading = read_answers(frames, Arc::clone(&waiting));
        let reader = setup.host.threads.spawn(reading);
        let mut connection = Self {
            address,
            writer,
            waiting,
            reader: reader.abort_handle(),
            versions: Arc::from([]),
            next_correlation: 0,
            log_in_at: None,
        };
        connection.versions = connection.negotiate(setup).await?;
        connection.log_in(setup).await?;
        Ok(connection)
    }

    /// Whether the connection is usable.
    pub fn is_whole(&self) -> bool {
        self.waiting.broken().is_none()
    }

    /// Reauthenticates if the session ends soon (KIP-368).
    pub async fn refresh(&mut self, setup: &Setup) -> Result<(), CallError> {
        match self.log_in_at.is_some_and(|at| Instant::now() >= at) {
            true => self.log_in(setup).await,
            false => Ok(()),
        }
    }

    /// Authenticates if the listener requires SASL. Pending requests are not affected.
    async fn log_in(&mut self, setup: &Setup) -> Result<(), CallError> {
        let Some(credentials) = &setup.access.login else {
            return Ok(());
        };
        let address = self.address.clone();
        let refused = |what: String| CallError::Login {
            address: address.clone(),
            what,
        };
        let handshake = SaslHandshakeRequest {
            mechanism: credentials.mechanism.name().into(),
        };
        // In handshake version 0 the SASL tokens that follow are not wrapped in requests.
        let version = self.version::<SaslHandshakeRequest>(1)?;
        if version < 1 {
            return Err(CallError::NoVersion {
                name: SaslHandshakeRequest::NAME,
            });
        }
        let answer = self.exchange(&handshake, version, setup).await?;
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
        let nonce = setup.host.chance.bytes::<NONCE_BYTES>();
        let nonce = nonce.map_err(|error| refused(error.to_string()))?;
        let (mut client, mut token) = Client::new(credentials, &STANDARD.encode(nonce));
        let version = self.version::<SaslAuthenticateRequest>(i16::MAX)?;
        loop {
            let request = SaslAuthenticateRequest { auth_bytes: token };
            let answer = self.exchange(&request, version, setup).await?;
            if answer.error_code != 0 {
                let what = answer.error_message.unwrap_or_default();
                return Err(refused(what.to_string()));
            }
            let lifetime = answer.session_lifetime_ms;
            // Hashing a password can take milliseconds.
            let stepping = move || {
                let next = client.step(&answer.auth_bytes);
                (client, next)
            };
            let (again, next) = setup.host.threads.blocking(stepping).await;
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

    /// Sends a request and waits for the answer.
    async fn exchange<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        setup: &Setup,
    ) -> Result<R::Response, CallError> {
        let frame = self.frame(request, version, &setup.identity)?;
        let mut coming = self.send(frame, None).await?;
        decode::<R>(coming.arrive().await?, version)
    }

    /// Negotiates versions. A peer that does not support our version of ApiVersions answers in version 0 (KIP-511).
    async fn negotiate(&mut self, setup: &Setup) -> Result<Arc<[ApiVersion]>, CallError> {
        let mut version = API_VERSIONS_FIRST;
        loop {
            let request = ApiVersionsRequest {
                client_software_name: "monedula".into(),
                client_software_version: setup.identity.software_version.into(),
                ..Default::default()
            };
            let frame = self.frame(&request, version, &setup.identity)?;
            let answer = self.send(frame, None).await?.arrive().await?;
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

    /// Newest version of a request that both sides support, but no newer than `newest`.
    pub fn version<R: Request>(&self, newest: i16) -> Result<i16, CallError> {
        self.versions
            .iter()
            .find(|api| api.api_key == R::KEY)
            .and_then(|api| {
                let version = api.max_version.min(*R::VERSIONS.end()).min(newest);
                (version >= api.min_version.max(*R::VERSIONS.start())).then_some(version)
            })
            .ok_or(CallError::NoVersion { name: R::NAME })
    }

    /// Encodes a request for [`Self::send`], which must be called before the next request is encoded.
    pub fn frame<R: Request>(
        &self,
        request: &R,
        version: i16,
        identity: &Identity,
    ) -> Result<Bytes, CallError> {
        let mut writer = Writer::with_capacity(256);
        // Placeholder of the size, which is known last.
        writer.i32(0);
        writer.i16(R::KEY);
        writer.i16(version);
        writer.i32(self.next_correlation);
        let client_id = identity.client_id.as_bytes();
        writer.i16(client_id.len() as i16);
        writer.put(client_id);
        if R::is_flexible(version) {
            writer.unsigned_varint(0);
        }
        request.write(&mut writer, version)?;
        let mut frame = BytesMut::from(writer.into_bytes());
        let size = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&size.to_be_bytes());
        Ok(frame.freeze())
    }

    /// Sends a request. If this future is dropped before it completes, the connection holds half of a request and must be
    /// dropped too.
    pub async fn send(
        &mut self,
        frame: Bytes,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Coming, CallError> {
        let correlation = self.next_correlation;
        self.next_correlation = self.next_correlation.wrapping_add(1);
        let (sender, receiver) = oneshot::channel();
        let asked = Asked {
            correlation,
            answer: sender,
            _place: place,
        };
        match self.waiting.0.lock().as_mut() {
            Err(why) => return Err(why.at(&self.address)),
            Ok(waiting) => waiting.push_back(asked),
        }
        if self.writer.write_all(&frame).await.is_err() || self.writer.flush().await.is_err() {
            // The peer may have sent a reason before it closed the connection.
            self.waiting.fail(Broken::Closed);
            return Err(self.waiting.error(&self.address));
        }
        Ok(Coming {
            address: self.address.clone(),
            waiting: Arc::clone(&self.waiting),
            answer: receiver,
        })
    }
}

/// Decodes an answer that follows its correlation id.
pub fn decode<R: Request>(body: Bytes, version: i16) -> Result<R::Response, CallError> {
    let mut reader = Reader::new(body);
    skip_header::<R>(&mut reader, version)?;
    Ok(R::Response::read(&mut reader, version)?)
}

/// Skips the rest of an answer's header. ApiVersions has the short header in every version.
pub fn skip_header<R: Request>(reader: &mut Reader, version: i16) -> Result<(), DecodeError> {
    if R::KEY != API_VERSIONS && R::is_flexible(version) {
        reader.tagged_section(|_, _| Ok(false))?;
    }
    Ok(())
}

/// Passes each answer to the oldest pending request, until the connection ends or a correlation id does not match.
async fn read_answers(mut frames: Frames, waiting: Arc<Waiting>) {
    let why = loop {
        let mut answer = match frames.next().await {
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
            // A receiver that gave up is ignored.
            Some(asked) if asked.correlation == correlation => drop(asked.answer.send(answer)),
            _ => break Broken::NotKafka,
        }
    };
    waiting.fail(why);
}

/// Reads frames into a buffer that is reused once all earlier frames are dropped.
struct Frames {
    incoming: ReadHalf,
    buffer: BytesMut,
    limits: Limits,
    /// Size of the previous frame.
    last: usize,
}

impl Frames {
    /// The next frame without its size field.
    async fn next(&mut self) -> Result<Bytes, Broken> {
        /// First two bytes of a TLS alert, in all versions of TLS.
        const ALERT: [u8; 2] = [0x15, 0x03];
        // If the memory of the previous frame is free, this frame is read into it and is not moved later.
        let _ = self.buffer.try_reclaim(self.last);
        self.fill(4).await?;
        if self.buffer.starts_with(&ALERT) {
            return Err(Broken::SpeaksTls);
        }
        let size = usize::try_from(self.buffer.get_i32())
            .ok()
            .filter(|size| *size <= self.limits.answer_bytes_max)
            .ok_or(Broken::NotKafka)?;
        let _ = self
            .buffer
            .try_reclaim(size.saturating_sub(self.buffer.len()));
        self.fill(size).await?;
        let frame = self.buffer.split_to(size).freeze();
        self.last = size;
        if size > self.limits.answer_bytes_kept {
            self.last = 0;
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        Ok(frame)
    }

    /// Reads until the buffer has `size` bytes.
    async fn fill(&mut self, size: usize) -> Result<(), Broken> {
        while self.buffer.len() < size {
            if self.buffer.len() == self.buffer.capacity() {
                let missing = size - self.buffer.len();
                self.buffer.reserve(missing.min(READ_BYTES));
            }
            match self.incoming.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(Broken::Closed),
                Ok(_) => {}
            }
        }
        Ok(())
    }
}
