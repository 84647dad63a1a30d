//! pure: state machine of the SASL login of one connection, for the first login and for re-authentication. Kafka's
//! `SaslServerAuthenticator`, with the parts of `KafkaChannel` and `Selector` that concern sessions (KIP-152, KIP-368).
//!
//! The connection passes every frame to [`Login::take`] before anything else sees it, and carries out the [`Reaction`]. Frames
//! come in the order of the wire. The answer to a frame is sent before the next frame is passed.
//!
//! Kafka differs: Kafka answers an unexpected request during a login with an error of that request's API; here only
//! SaslHandshake and ApiVersions are answered. Either way the connection is closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;

use super::plain::Users;
use super::{Facts, Proven, Refusal, Step, oauth, plain, scram};
use crate::config::sasl::Mechanism;
use crate::security::listeners::{Proof, SaslListener, Served, Tokens};
use crate::security::principal::Principal;
use crate::security::scram::ScramMechanism;
use crate::wire::codec::{Field, Layout, Reader, Writer};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::message::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use crate::wire::message::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use crate::wire::message::{Message, Request};

/// Shortest time between two re-authentications. An earlier one is treated as an ordinary request, whose answer is an error.
const RENEWAL_MIN: Duration = Duration::from_secs(1);
/// Initial capacity of the buffer for an answer, in bytes.
const ANSWER_CAPACITY: usize = 256;

/// State of a login. See the module.
#[derive(Debug)]
pub struct Login {
    listener: Arc<SaslListener>,
    state: State,
    session: Option<Session>,
    /// Start of the last re-authentication.
    renewed: Option<Instant>,
}

#[derive(Debug)]
enum State {
    /// No frame of the login has come, except for refused ApiVersions requests.
    Start,
    /// ApiVersions has been answered.
    Versions,
    Exchange(Box<Running>),
    /// The client is logged in.
    Done,
    /// The login has failed. No more frames are answered.
    Refused,
}

/// Exchange of a mechanism in progress.
#[derive(Debug)]
struct Running {
    mechanism: Mechanism,
    /// See [`Served::session_max`].
    session_max: Option<Duration>,
    exchange: Exchange,
    /// Whether tokens come without a request around them (SaslHandshake version 0).
    raw: bool,
}

/// Mechanism with the evidence that it asks for and its state.
#[derive(Debug)]
enum Exchange {
    Plain(Users),
    Scram(ScramMechanism, scram::Exchange),
    Token(Tokens, oauth::Exchange),
    /// Exchange after the client has asked for another mechanism than that of its session; the reason of the failure. At the
    /// next message the connection ends without an answer, after the delay of failed logins.
    Refused(String),
}

/// Session of a client that is logged in.
#[derive(Debug)]
struct Session {
    principal: Principal,
    mechanism: Mechanism,
    /// End of the session; `None` for as long as the connection lives.
    ends: Option<Instant>,
}

/// What the connection must do about a frame. Answers include their length.
#[derive(Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Handle the frame like any request.
    Request,
    /// Handle the frame, which is ApiVersions, like any request, and report the result to [`Login::versions_told`].
    Versions,
    Answer(Bytes),
    /// Send the answer. The client has logged in, or has logged in again.
    Entered(Bytes, Principal),
    Refused(Farewell),
}

/// End of a connection whose login failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Farewell {
    pub answer: Option<Bytes>,
    /// Whether the answer and the end are delayed by `connection.failed.authentication.delay.ms`.
    pub delayed: bool,
    /// Reason, for the log.
    pub reason: String,
}

impl Farewell {
    fn silent(reason: impl Into<String>) -> Self {
        Self {
            answer: None,
            delayed: false,
            reason: reason.into(),
        }
    }
}

/// Name of the API with a key.
pub type ApiName = fn(i16) -> Option<&'static str>;

impl Login {
    pub fn new(listener: Arc<SaslListener>) -> Self {
        Self {
            listener,
            state: State::Start,
            session: None,
            renewed: None,
        }
    }

    /// Limit on the next frame during a login, in bytes; `None` if only the limit for requests applies.
    pub fn frame_bytes_max(&self) -> Option<usize> {
        match self.state {
            State::Done => None,
            _ => Some(self.listener.receive_bytes_max),
        }
    }

    /// Whether the client is logged in for as long as it is connected. No more frames need to be passed then.
    pub fn is_over(&self) -> bool {
        let forever = |session: &Session| session.ends.is_none();
        matches!(self.state, State::Done) && self.session.as_ref().is_some_and(forever)
    }

    /// Delay of the answer to a failed login.
    pub fn failure_delay(&self) -> Duration {
        self.listener.failure_delay
    }

    /// Notes the result of ApiVersions. A client that got an error may ask again.
    pub fn versions_told(&mut self, error_code: i16) {
        if matches!(self.state, State::Start) && error_code == 0 {
            self.state = State::Versions;
        }
    }

    /// Processes the next frame.
    pub fn take(
        &mut self,
        frame: &Bytes,
        facts: &Facts<'_>,
        now: Instant,
        name: ApiName,
    ) -> Reaction {
        let taken = match &self.state {
            State::Done => self.request(frame, now, name),
            State::Start | State::Versions => self.hello(frame, name),
            State::Exchange(running) if running.raw => self.token(None, frame, facts, now),
            State::Exchange(_) => self.wrapped(frame, facts, now, name),
            State::Refused => Err(Farewell::silent("a frame after the end")),
        };
        taken.unwrap_or_else(|farewell| {
            self.state = State::Refused;
            Reaction::Refused(farewell)
        })
    }

    /// Processes a frame of a client that is logged in.
    fn request(
        &mut self,
        frame: &Bytes,
        now: Instant,
        name: ApiName,
    ) -> Result<Reaction, Farewell> {
        let Some(Session {
            ends: Some(ends), ..
        }) = self.session
        else {
            return Ok(Reaction::Request);
        };
        let is_handshake = frame.starts_with(&SaslHandshakeRequest::KEY.to_be_bytes());
        let is_soon = |last: Instant| now.saturating_duration_since(last) < RENEWAL_MIN;
        if is_handshake && !self.renewed.is_some_and(is_soon) {
            self.renewed = Some(now);
            return self.hello(frame, name);
        }
        match now > ends {
            true => Err(Farewell::silent(
                "its session has ended, and it did not log in again",
            )),
            false => Ok(Reaction::Request),
        }
    }

    /// Processes a frame before the exchange: ApiVersions or SaslHandshake.
    fn hello(&mut self, frame: &Bytes, name: ApiName) -> Result<Reaction, Farewell> {
        let (header, mut reader) = Header::read(frame)?;
        if header.key == ApiVersionsRequest::KEY {
            return match self.state {
                State::Start => Ok(Reaction::Versions),
                _ => Err(Farewell::silent(
                    "Unexpected ApiVersions request during SASL handshake",
                )),
            };
        }
        if header.key != SaslHandshakeRequest::KEY {
            return Err(header.unexpected(name, "SASL handshake"));
        }
        let request = header.body::<SaslHandshakeRequest>(&mut reader)?;
        let mut served = self.listener.served.iter();
        let Some(served) = served.find(|one| *request.mechanism == *one.mechanism.name()) else {
            // A client in re-authentication gets no answer, as with Kafka.
            let answer = match self.session {
                Some(_) => None,
                None => Some(header.answer(&SaslHandshakeResponse {
                    error_code: ErrorCode::UnsupportedSaslMechanism.code(),
                    mechanisms: names(&self.listener.served),
                })?),
            };
            return Err(Farewell {
                answer,
                delayed: false,
                reason: format!("Unsupported SASL mechanism {}", request.mechanism),
            });
        };
        let exchange = match &self.session {
            Some(session) if session.mechanism != served.mechanism => Exchange::Refused(format!(
                "SASL mechanism '{}' requested by client is not supported for re-authentication of mechanism '{}'",
                request.mechanism,
                session.mechanism.name()
            )),
            _ => Exchange::of(&served.proof),
        };
        let running = Running {
            mechanism: served.mechanism,
            session_max: served.session_max,
            exchange,
            raw: header.version == 0,
        };
        let answer = header.answer(&SaslHandshakeResponse {
            error_code: ErrorCode::None.code(),
            mechanisms: names(&self.listener.served),
        })?;
        self.state = State::Exchange(Box::new(running));
        Ok(Reaction::Answer(answer))
    }

    /// Processes a frame that should be SaslAuthenticate.
    fn wrapped(
        &mut self,
        frame: &Bytes,
        facts: &Facts<'_>,
        now: Instant,
        name: ApiName,
    ) -> Result<Reaction, Farewell> {
        let (header, mut reader) = Header::read(frame)?;
        if header.key == SaslAuthenticateRequest::KEY {
            let request = header.body::<SaslAuthenticateRequest>(&mut reader)?;
            return self.token(Some(&header), &request.auth_bytes, facts, now);
        }
        let error_code = ErrorCode::IllegalSaslState.code();
        let answer = match header.key {
            SaslHandshakeRequest::KEY if header.version <= 1 => {
                Some(header.answer(&SaslHandshakeResponse {
                    error_code,
                    mechanisms: Vec::new(),
                })?)
            }
            ApiVersionsRequest::KEY if ApiVersionsRequest::VERSIONS.contains(&header.version) => {
                Some(header.answer(&ApiVersionsResponse {
                    error_code,
                    ..Default::default()
                })?)
            }
            _ => None,
        };
        Err(Farewell {
            answer,
            ..header.unexpected(name, "SASL authentication")
        })
    }

    /// Processes a message of the mechanism, and the header of the request that contained it.
    fn token(
        &mut self,
        header: Option<&Header>,
        token: &[u8],
        facts: &Facts<'_>,
        now: Instant,
    ) -> Result<Reaction, Farewell> {
        let State::Exchange(running) = &mut self.state else {
            return Err(Farewell::silent("a token without an exchange"));
        };
        let (mechanism, session_max) = (running.mechanism, running.session_max);
        let step = match &mut running.exchange {
            Exchange::Plain(users) => plain::step(users, token),
            Exchange::Scram(scram, exchange) => exchange.step(*scram, facts, token),
            Exchange::Token(tokens, exchange) => {
                exchange.step(|shown| tokens.validate(shown, facts.wall), token)
            }
            Exchange::Refused(why) => {
                return Err(Farewell {
                    delayed: true,
                    ..Farewell::silent(failed(why))
                });
            }
        };
        match step {
            Ok(Step::Challenge(answer)) => Ok(Reaction::Answer(told(header, answer, None)?)),
            Ok(Step::Done(answer, proven)) => {
                match self.enter(mechanism, session_max, &proven, facts, now) {
                    Ok((principal, lifetime)) => {
                        let answer = told(header, answer, lifetime)?;
                        Ok(Reaction::Entered(answer, principal))
                    }
                    Err(refusal) => Err(self.refused(header, mechanism, refusal)?),
                }
            }
            Err(refusal) => Err(self.refused(header, mechanism, refusal)?),
        }
    }

    /// Logs the client in. Gives its principal and the length of the session.
    fn enter(
        &mut self,
        mechanism: Mechanism,
        session_max: Option<Duration>,
        proven: &Proven,
        facts: &Facts<'_>,
        now: Instant,
    ) -> Result<(Principal, Option<Duration>), Refusal> {
        let principal = Principal::user(proven.name.clone());
        if let Some(before) = &self.session
            && before.principal != principal
        {
            return Err(Refusal::Told(format!(
                "Cannot change principals during re-authentication from {}.{}: {}.{}",
                before.principal.kind, before.principal.name, principal.kind, principal.name
            )));
        }
        let until = proven.until.map(|until| {
            let left = until.saturating_sub(facts.wall).max(0);
            Duration::from_millis(left.unsigned_abs())
        });
        let lifetime = match (until, session_max) {
            (Some(until), Some(most)) => Some(until.min(most)),
            (until, most) => until.or(most),
        };
        self.session = Some(Session {
            principal: principal.clone(),
            mechanism,
            ends: lifetime.and_then(|lifetime| now.checked_add(lifetime)),
        });
        self.state = State::Done;
        Ok((principal, lifetime))
    }

    fn refused(
        &self,
        header: Option<&Header>,
        mechanism: Mechanism,
        refusal: Refusal,
    ) -> Result<Farewell, Farewell> {
        let (text, reason) = match refusal {
            Refusal::Told(text) => (text.clone(), text),
            Refusal::Hidden(reason) => {
                let when = match self.session {
                    Some(_) => "re-authentication",
                    None => "authentication",
                };
                let text = format!(
                    "Authentication failed during {when} due to invalid credentials with SASL mechanism {}",
                    mechanism.name()
                );
                (text, reason)
            }
        };
        let answer = match header {
            // A client that sends bare tokens gets no answer.
            None => None,
            Some(header) => Some(header.answer(&SaslAuthenticateResponse {
                error_code: ErrorCode::SaslAuthenticationFailed.code(),
                error_message: Some(text.into()),
                ..Default::default()
            })?),
        };
        Ok(Farewell {
            answer,
            delayed: true,
            reason: failed(&reason),
        })
    }
}

impl Exchange {
    fn of(proof: &Proof) -> Self {
        match proof {
            Proof::Password(users) => Self::Plain(users.clone()),
            Proof::Scram(scram) => Self::Scram(*scram, scram::Exchange::First),
            Proof::Token(tokens) => Self::Token(tokens.clone(), oauth::Exchange::default()),
        }
    }
}

fn failed(reason: &str) -> String {
    format!("Failed authentication ({reason})")
}

fn names(served: &[Served]) -> Vec<ByteString> {
    let names = served.iter().map(|one| one.mechanism.name());
    names.map(ByteString::from_static).collect()
}

/// Message of the mechanism for the client. The last one also tells the length of the session.
fn told(
    header: Option<&Header>,
    token: Bytes,
    lifetime: Option<Duration>,
) -> Result<Bytes, Farewell> {
    let Some(header) = header else {
        let mut writer = Writer::with_capacity(4 + token.len());
        // The length fits: a token exceeds the message that it answers by some hundred bytes at most.
        writer.i32(token.len() as i32);
        writer.put(&token);
        return Ok(writer.into_bytes());
    };
    header.answer(&SaslAuthenticateResponse {
        // An empty text and not null, as in Kafka.
        error_message: Some(ByteString::new()),
        auth_bytes: token,
        session_lifetime_ms: lifetime.map_or(0, |lifetime| lifetime.as_millis() as i64),
        ..Default::default()
    })
}

/// Header of a request.
struct Header {
    key: i16,
    version: i16,
    correlation_id: i32,
}

impl Header {
    fn read(frame: &Bytes) -> Result<(Self, Reader), Farewell> {
        let mut reader = Reader::new(frame.clone());
        let mut read = || {
            Ok::<_, crate::wire::codec::DecodeError>(Self {
                key: reader.i16()?,
                version: reader.i16()?,
                correlation_id: reader.i32()?,
            })
        };
        match read() {
            Ok(header) => Ok((header, reader)),
            Err(error) => Err(Farewell::silent(format!(
                "a malformed request header: {error}"
            ))),
        }
    }

    fn body<R: Request>(&self, reader: &mut Reader) -> Result<R, Farewell> {
        if !R::VERSIONS.contains(&self.version) {
            return Err(Farewell::silent(format!(
                "{} version {}, which is not between {} and {}",
                R::NAME,
                self.version,
                R::VERSIONS.start(),
                R::VERSIONS.end()
            )));
        }
        let mut read = || {
            let layout = Layout::new(0, false).nullable(true);
            Option::<ByteString>::decode(reader, layout)?;
            if R::is_flexible(self.version) {
                reader.tagged_section(|_, _| Ok(false))?;
            }
            R::read(reader, self.version)
        };
        read().map_err(|error| Farewell::silent(format!("a malformed {}: {error}", R::NAME)))
    }

    fn answer<R: Message>(&self, response: &R) -> Result<Bytes, Farewell> {
        let mut body = Writer::for_answer(ANSWER_CAPACITY);
        body.i32(self.correlation_id);
        if R::is_flexible(self.version) && self.key != ApiVersionsRequest::KEY {
            body.unsigned_varint(0);
        }
        response
            .write(&mut body, self.version)
            .map_err(|error| Farewell::silent(format!("an answer cannot be written: {error}")))?;
        let body = body.into_bytes();
        let mut whole = Writer::with_capacity(4 + body.len());
        // The length fits: an answer exceeds the frame that it answers by some hundred bytes at most.
        whole.i32(body.len() as i32);
        whole.put(&body);
        Ok(whole.into_bytes())
    }

    fn unexpected(&self, name: ApiName, during: &str) -> Farewell {
        let name = match name(self.key) {
            Some(name) => name.to_owned(),
            None => format!("with key {}", self.key),
        };
        Farewell::silent(format!(
            "Unexpected Kafka request of type {name} during {during}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::NONCE_BYTES;
    use super::super::scram::SaltSecret;
    use super::*;
    use crate::security::sasl::client::{Client, Credentials};
    use crate::security::scram::Credential;
    use crate::wire::message::metadata::MetadataRequest;

    /// A connection with a clock that the test moves.
    struct Scene {
        login: Login,
        now: Instant,
    }

    fn served(mechanism: Mechanism, session_max: Option<u64>) -> Served {
        let users = [("user_ann", "a"), ("user_bob", "b")];
        let users = users.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Served {
            mechanism,
            session_max: session_max.map(Duration::from_secs),
            proof: match mechanism {
                Mechanism::Plain => Proof::Password(Users::of(&BTreeMap::from(users))),
                _ => Proof::Scram(ScramMechanism::Sha256),
            },
        }
    }

    /// PLAIN and SCRAM-SHA-256 with sessions of `session_max` seconds.
    fn scene(session_max: Option<u64>) -> Scene {
        let listener = SaslListener {
            served: vec![
                served(Mechanism::Plain, session_max),
                served(Mechanism::ScramSha256, session_max),
            ],
            receive_bytes_max: 1_000,
            failure_delay: Duration::from_millis(100),
        };
        Scene {
            login: Login::new(Arc::new(listener)),
            now: Instant::now(),
        }
    }

    fn known(name: &str, mechanism: ScramMechanism) -> Option<Credential> {
        let salted = mechanism.salted_password("a", b"salt", 4_096);
        let (stored_key, server_key) = mechanism.keys(&salted)?;
        (name == "ann").then(|| Credential {
            salt: Bytes::from_static(b"salt"),
            iterations: 4_096,
            stored_key,
            server_key,
        })
    }

    fn frame<Q: Request>(version: i16, request: &Q) -> Bytes {
        let mut writer = Writer::default();
        writer.i16(Q::KEY);
        writer.i16(version);
        writer.i32(7);
        writer.i16(-1);
        if Q::is_flexible(version) {
            writer.unsigned_varint(0);
        }
        request.write(&mut writer, version).unwrap();
        writer.into_bytes()
    }

    fn handshake(version: i16, mechanism: &str) -> Bytes {
        frame(
            version,
            &SaslHandshakeRequest {
                mechanism: mechanism.into(),
            },
        )
    }

    fn authenticate(version: i16, token: &[u8]) -> Bytes {
        let auth_bytes = Bytes::copy_from_slice(token);
        frame(version, &SaslAuthenticateRequest { auth_bytes })
    }

    fn read<R: Message>(version: i16, answer: &Bytes) -> R {
        let mut reader = Reader::new(answer.clone());
        assert_eq!(reader.i32().unwrap() as usize, answer.len() - 4);
        assert_eq!(reader.i32().unwrap(), 7);
        if R::is_flexible(version) {
            reader.tagged_section(|_, _| Ok(false)).unwrap();
        }
        let read = R::read(&mut reader, version).unwrap();
        reader.finish().unwrap();
        read
    }

    impl Scene {
        fn take(&mut self, frame: &Bytes) -> Reaction {
            let facts = Facts {
                wall: 1_000_000,
                random: &|| Some([1; NONCE_BYTES]),
                credential: &known,
                salts: &SaltSecret::new(b"x"),
            };
            self.login.take(frame, &facts, self.now, |key| {
                (key == MetadataRequest::KEY).then_some("Metadata")
            })
        }

        /// Sends SaslHandshake. Gives the error, the mechanisms, and the end of the connection if there is one.
        fn handshake(&mut self, version: i16, mechanism: &str) -> String {
            let (answer, end) = match self.take(&handshake(version, mechanism)) {
                Reaction::Answer(answer) => (answer, String::new()),
                Reaction::Refused(farewell) => {
                    let end = format!(" {} {}", farewell.delayed, farewell.reason);
                    match farewell.answer {
                        Some(answer) => (answer, end),
                        None => return end,
                    }
                }
                other => return format!("{other:?}"),
            };
            let answer = read::<SaslHandshakeResponse>(version, &answer);
            format!("{} {}{end}", answer.error_code, answer.mechanisms.join(","))
        }

        /// Sends SaslAuthenticate. Gives the error, text and session length, and the principal or the end of the connection.
        fn authenticate(&mut self, version: i16, token: &[u8]) -> String {
            let (answer, end) = match self.take(&authenticate(version, token)) {
                Reaction::Answer(answer) => (answer, String::new()),
                Reaction::Entered(answer, principal) => (answer, format!(" {principal}")),
                Reaction::Refused(farewell) => {
                    let end = match farewell.delayed {
                        true => " late".to_owned(),
                        false => " at once".to_owned(),
                    };
                    match farewell.answer {
                        Some(answer) => (answer, end),
                        None => return format!("{}{end}", farewell.reason),
                    }
                }
                other => return format!("{other:?}"),
            };
            let answer = read::<SaslAuthenticateResponse>(version, &answer);
            let text = answer.error_message.unwrap_or_default();
            format!(
                "{} {text}{}{end}",
                answer.error_code, answer.session_lifetime_ms
            )
        }

        fn wait(&mut self, ms: u64) {
            self.now += Duration::from_millis(ms);
        }
    }

    const BOTH: &str = "0 PLAIN,SCRAM-SHA-256";
    const ANN: &[u8] = b"\0ann\0a";

    fn metadata() -> Bytes {
        frame(1, &MetadataRequest::default())
    }

    fn refused(reaction: Reaction) -> (Option<Bytes>, bool, String) {
        match reaction {
            Reaction::Refused(Farewell {
                answer,
                delayed,
                reason,
            }) => (answer, delayed, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_logs_in_by_handshake_and_token() {
        for version in 0..=2 {
            let mut scene = scene(None);
            assert_eq!(scene.login.frame_bytes_max(), Some(1_000));
            assert_eq!(scene.handshake(1, "PLAIN"), BOTH);
            assert_eq!(scene.authenticate(version, ANN), "0 0 User:ann");
            assert_eq!(scene.login.frame_bytes_max(), None);
            assert!(scene.login.is_over());
            // From here on every frame is an ordinary request, SaslHandshake included.
            assert_eq!(scene.take(&metadata()), Reaction::Request);
            assert_eq!(scene.take(&handshake(1, "PLAIN")), Reaction::Request);
        }
    }

    #[test]
    fn old_clients_send_tokens_alone() {
        let mut first = scene(None);
        assert_eq!(first.handshake(0, "PLAIN"), BOTH);
        let entered = first.take(&Bytes::from_static(ANN));
        let expected = Reaction::Entered(Bytes::from_static(&[0; 4]), Principal::user("ann"));
        assert_eq!(entered, expected);
        // A failed login gets no answer.
        let mut second = scene(None);
        assert_eq!(second.handshake(0, "PLAIN"), BOTH);
        let (answer, delayed, reason) = refused(second.take(&Bytes::from_static(b"\0ann\0b")));
        assert_eq!((answer, delayed), (None, true));
        assert!(reason.contains("Invalid username or password"), "{reason}");
    }

    #[test]
    fn the_steps_of_scram_are_answered_one_by_one() {
        for (user, password, expected) in [
            ("ann", "a", "0 0 User:ann"),
            (
                "ann",
                "b",
                "58 Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-2560 late",
            ),
            (
                "bob",
                "b",
                "58 Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-2560 late",
            ),
        ] {
            let mut scene = scene(None);
            assert_eq!(scene.handshake(1, "SCRAM-SHA-256"), BOTH);
            let credentials = Credentials::new(Mechanism::ScramSha256, user, password);
            let (mut client, first) = Client::new(&credentials, "nonce");
            let Reaction::Answer(answer) = scene.take(&authenticate(2, &first)) else {
                panic!("{user}")
            };
            let challenge = read::<SaslAuthenticateResponse>(2, &answer).auth_bytes;
            let last = client.step(&challenge).unwrap().unwrap();
            assert_eq!(scene.authenticate(2, &last), expected, "{user} {password}");
        }
    }

    #[test]
    fn versions_may_be_asked_for_once() {
        let mut scene = scene(None);
        let versions = frame(0, &ApiVersionsRequest::default());
        for error in [35, 42] {
            assert_eq!(scene.take(&versions), Reaction::Versions);
            scene.login.versions_told(error);
        }
        assert_eq!(scene.take(&versions), Reaction::Versions);
        scene.login.versions_told(0);
        let (answer, delayed, _) = refused(scene.take(&versions));
        assert_eq!((answer, delayed), (None, false));
    }

    #[test]
    fn what_is_no_login_ends_the_connection() {
        let unknown = " false Unsupported SASL mechanism ";
        for mechanism in ["GSSAPI", "plain", "SCRAM-SHA-512", ""] {
            let found = scene(None).handshake(1, mechanism);
            assert_eq!(found, format!("33 PLAIN,SCRAM-SHA-256{unknown}{mechanism}"));
        }
        for (frame, expected) in [
            (
                metadata(),
                "Unexpected Kafka request of type Metadata during SASL handshake",
            ),
            (
                authenticate(2, ANN),
                "Unexpected Kafka request of type with key 36",
            ),
            (
                Bytes::from_static(b"\x60\x82\x01\x02\x03\x04\x05\x06\x07"),
                "Unexpected Kafka request",
            ),
            (
                Bytes::from_static(b"GET / HTTP/1.1"),
                "Unexpected Kafka request",
            ),
            (Bytes::new(), "a malformed request header"),
            (
                handshake(1, "PLAIN").slice(..9),
                "a malformed SaslHandshake",
            ),
        ] {
            let (answer, delayed, reason) = refused(scene(None).take(&frame));
            assert_eq!((answer, delayed), (None, false));
            assert!(reason.starts_with(expected), "{reason}");
        }
        let mut strange = handshake(1, "PLAIN").to_vec();
        strange[3] = 2;
        let (answer, ..) = refused(scene(None).take(&strange.into()));
        assert_eq!(answer, None);
    }

    #[test]
    fn a_request_amid_a_login_ends_the_connection() {
        let mut first = scene(None);
        assert_eq!(first.handshake(1, "PLAIN"), BOTH);
        let again = first.handshake(1, "PLAIN");
        assert!(again.starts_with("34  false Unexpected"), "{again}");
        let mut second = scene(None);
        second.handshake(1, "PLAIN");
        let (answer, delayed, reason) = refused(second.take(&metadata()));
        assert_eq!((answer, delayed), (None, false));
        assert!(
            reason.contains("Metadata during SASL authentication"),
            "{reason}"
        );
        // After the end nothing is answered.
        assert_eq!(refused(second.take(&authenticate(2, ANN))).0, None);
    }

    #[test]
    fn a_wrong_password_is_told_late() {
        let mut scene = scene(None);
        scene.handshake(1, "PLAIN");
        assert_eq!(
            scene.authenticate(0, b"\0ann\0b"),
            "58 Authentication failed: Invalid username or password0 late"
        );
        assert!(!scene.login.is_over());
    }

    #[test]
    fn a_session_ends_unless_the_client_logs_in_again() {
        let mut scene = scene(Some(10));
        scene.handshake(1, "PLAIN");
        assert_eq!(scene.authenticate(1, ANN), "0 10000 User:ann");
        assert!(!scene.login.is_over());
        scene.wait(9_000);
        assert_eq!(scene.take(&metadata()), Reaction::Request);
        assert_eq!(scene.handshake(1, "PLAIN"), BOTH);
        assert_eq!(scene.authenticate(1, ANN), "0 10000 User:ann");
        // Too soon after the last login: treated as an ordinary request.
        scene.wait(999);
        assert_eq!(scene.take(&handshake(1, "PLAIN")), Reaction::Request);
        scene.wait(9_001);
        assert_eq!(scene.take(&metadata()), Reaction::Request);
        scene.wait(1);
        // The session has ended, but the client may still log in again.
        assert_eq!(scene.handshake(1, "PLAIN"), BOTH);
        assert_eq!(scene.authenticate(1, ANN), "0 10000 User:ann");
        scene.wait(10_001);
        let (answer, delayed, reason) = refused(scene.take(&metadata()));
        assert_eq!((answer, delayed), (None, false));
        assert!(reason.contains("session has ended"), "{reason}");
    }

    #[test]
    fn a_second_login_keeps_user_and_mechanism() {
        let mut other_user = scene(Some(10));
        other_user.handshake(1, "PLAIN");
        other_user.authenticate(1, ANN);
        other_user.handshake(1, "PLAIN");
        assert_eq!(
            other_user.authenticate(1, b"\0bob\0b"),
            "58 Cannot change principals during re-authentication from User.ann: User.bob0 late"
        );
        let mut other_mechanism = scene(Some(10));
        other_mechanism.handshake(1, "PLAIN");
        other_mechanism.authenticate(1, ANN);
        assert_eq!(other_mechanism.handshake(1, "SCRAM-SHA-256"), BOTH);
        let found = other_mechanism.authenticate(1, b"n,,n=ann,r=x");
        assert!(
            found.contains("is not supported for re-authentication") && found.ends_with("late")
        );
        let mut unknown = scene(Some(10));
        unknown.handshake(1, "PLAIN");
        unknown.authenticate(1, ANN);
        assert_eq!(
            unknown.handshake(1, "GSSAPI"),
            " false Unsupported SASL mechanism GSSAPI"
        );
        let mut wrong = scene(Some(10));
        wrong.handshake(1, "SCRAM-SHA-256");
        let (mut client, first) = Client::new(
            &Credentials::new(Mechanism::ScramSha256, "ann", "a"),
            "nonce",
        );
        let Reaction::Answer(answer) = wrong.take(&authenticate(2, &first)) else {
            panic!()
        };
        let challenge = read::<SaslAuthenticateResponse>(2, &answer).auth_bytes;
        let last = client.step(&challenge).unwrap().unwrap();
        wrong.authenticate(2, &last);
        wrong.handshake(1, "SCRAM-SHA-256");
        assert_eq!(
            wrong.authenticate(2, b"x"),
            "58 Authentication failed during re-authentication due to invalid credentials with SASL mechanism SCRAM-SHA-2560 late"
        );
    }
}
