//! Tests of SASL_PLAINTEXT listeners with a client that speaks raw bytes: logins that succeed and fail, the reasons that
//! clients are told, and requests that are not served before a login. The answer to each single frame is tested in
//! `security/sasl/login.rs`.

use super::*;
use crate::config::sasl::Mechanism;
use crate::security::sasl::client::{Client as Exchange, Credentials};
use crate::security::scram::ScramMechanism;
use crate::wire::message::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use crate::wire::message::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use crate::wire::message::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_ann=\"a\" user_bob=\"b\";";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";

/// Frame limit of the nodes in these tests (`sasl.server.max.receive.size`).
const FRAME_MAX: usize = 1_000;

async fn node(more: &[(&str, &str)]) -> Node {
    let base = [
        (
            "listeners",
            "SASL_PLAINTEXT://127.0.0.1:0,PLAINTEXT://127.0.0.1:0",
        ),
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256"),
        ("listener.name.sasl_plaintext.plain.sasl.jaas.config", PLAIN),
        (
            "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config",
            SCRAM,
        ),
        ("sasl.server.max.receive.size", "1000"),
    ];
    let all: Vec<_> = base.iter().chain(more).copied().collect();
    Node::start(&all).await
}

impl Client {
    /// Error code of a SaslHandshake.
    async fn handshake(&mut self, version: i16, mechanism: &str) -> i16 {
        let request = SaslHandshakeRequest {
            mechanism: mechanism.into(),
        };
        self.send(&frame(1, version, &request)).await;
        let (_, mut body) = self.answer().await;
        let answer = SaslHandshakeResponse::read(&mut body, version).unwrap();
        answer.error_code
    }

    async fn authenticate(&mut self, token: &[u8]) -> SaslAuthenticateResponse {
        let auth_bytes = Bytes::copy_from_slice(token);
        self.send(&frame(2, 2, &SaslAuthenticateRequest { auth_bytes }))
            .await;
        let (_, mut body) = self.answer().await;
        body.tagged_section(|_, _| Ok(false)).unwrap();
        SaslAuthenticateResponse::read(&mut body, 2).unwrap()
    }

    /// Logs in.
    ///
    /// Errors: the message of the broker.
    pub(super) async fn log_in(
        &mut self,
        mechanism: Mechanism,
        user: &str,
        password: &str,
    ) -> Result<i64, String> {
        assert_eq!(self.handshake(1, mechanism.name()).await, 0);
        let credentials = Credentials::new(mechanism, user, password);
        let (mut exchange, mut token) = Exchange::new(&credentials, "nonce");
        loop {
            let answer = self.authenticate(&token).await;
            if answer.error_code != 0 {
                assert_eq!(
                    answer.error_code,
                    ErrorCode::SaslAuthenticationFailed.code()
                );
                return Err(answer.error_message.unwrap().to_string());
            }
            match exchange.step(&answer.auth_bytes).unwrap() {
                Some(next) => token = next,
                None => return Ok(answer.session_lifetime_ms),
            }
        }
    }

    /// Whether a request is answered.
    async fn is_served(&mut self) -> bool {
        let request = frame(9, 1, &MetadataRequest::default());
        self.stream.write_all(&request).await.is_ok() && self.try_answer().await.is_some()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_password_is_served() {
    let node = node(&[]).await;
    let mut client = node.connect().await;
    assert!(client.is_alive().await);
    assert_eq!(client.log_in(Mechanism::Plain, "ann", "a").await, Ok(0));
    assert!(client.is_served().await);
    // A handshake after the login is answered as on any listener, and the connection stays open.
    assert_eq!(
        client.handshake(1, "PLAIN").await,
        ErrorCode::IllegalSaslState.code()
    );
    let late = client.authenticate(b"\0ann\0a").await;
    assert_eq!(late.error_code, ErrorCode::IllegalSaslState.code());
    assert!(client.is_served().await);
    // All frames of a login and a request behind them, sent at once.
    let mut client = node.connect().await;
    let mut all = frame(1, 0, &ApiVersionsRequest::default());
    let mechanism = "PLAIN".into();
    all.extend(frame(2, 1, &SaslHandshakeRequest { mechanism }));
    let auth_bytes = Bytes::from_static(b"\0bob\0b");
    all.extend(frame(3, 0, &SaslAuthenticateRequest { auth_bytes }));
    all.extend(frame(4, 1, &MetadataRequest::default()));
    client.send(&all).await;
    for id in 1..=4 {
        assert_eq!(client.answer().await.0, id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_before() {
    let node = node(&[]).await;
    for request in [
        frame(1, 1, &MetadataRequest::default()),
        frame(1, 7, &produce("t", -1, b"x")),
        frame(1, 0, &SaslAuthenticateRequest::default()),
        framed(b"\x60\x00"),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let mut client = node.connect().await;
        client.send(&request).await;
        assert!(client.is_closed().await, "{request:?}");
    }
    let mut client = node.connect().await;
    assert_eq!(client.handshake(1, "PLAIN").await, 0);
    assert!(!client.is_served().await);
    let mut client = node.connect().await;
    assert_eq!(
        client.handshake(1, "GSSAPI").await,
        ErrorCode::UnsupportedSaslMechanism.code()
    );
    assert!(client.is_closed().await);
    // None of those requests was carried out.
    let plain = node.broker.addresses()[1];
    let mut other = Client {
        stream: TcpStream::connect(plain).await.unwrap(),
    };
    other
        .send(&frame(1, 4, &fetch("t", 0, Duration::ZERO)))
        .await;
    let (_, mut body) = other.answer().await;
    let answer = crate::wire::message::fetch::FetchResponse::read(&mut body, 4).unwrap();
    let error = answer.responses[0].partitions[0].error_code;
    assert_eq!(error, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_has_to_wait() {
    let delay = Duration::from_millis(250);
    let node = node(&[("connection.failed.authentication.delay.ms", "250")]).await;
    for (mechanism, expected) in [
        (
            Mechanism::Plain,
            "Authentication failed: Invalid username or password",
        ),
        (
            Mechanism::ScramSha256,
            "Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256",
        ),
    ] {
        let mut client = node.connect().await;
        let began = Instant::now();
        let refused = client.log_in(mechanism, "ann", "b").await;
        assert!(began.elapsed() >= delay);
        assert_eq!(refused.unwrap_err(), expected);
        assert!(client.is_closed().await);
    }
    // A client of handshake version 0 gets no reason, and its connection is closed after the delay, too.
    let mut client = node.connect().await;
    assert_eq!(client.handshake(0, "PLAIN").await, 0);
    let began = Instant::now();
    client.send(&framed(b"\0ann\0b")).await;
    assert!(client.is_closed().await);
    assert!(began.elapsed() >= delay);
    let mut client = node.connect().await;
    assert_eq!(client.handshake(0, "PLAIN").await, 0);
    client.send(&framed(b"\0ann\0a")).await;
    assert_eq!(client.stream.read_u32().await.unwrap(), 0);
    assert!(client.is_served().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_a_login_have_a_limit() {
    let node = node(&[("connection.failed.authentication.delay.ms", "0")]).await;
    let token = |frame_len: usize| {
        let head = frame(2, 0, &SaslAuthenticateRequest::default()).len() - 4;
        let auth_bytes = Bytes::from(vec![b'x'; frame_len - head]);
        frame(2, 0, &SaslAuthenticateRequest { auth_bytes })
    };
    for (len, answered) in [(FRAME_MAX, true), (FRAME_MAX + 1, false)] {
        let mut client = node.connect().await;
        assert_eq!(client.handshake(1, "PLAIN").await, 0);
        client.send(&token(len)).await;
        assert_eq!(client.try_answer().await.is_some(), answered, "{len}");
    }
    let mut client = node.connect().await;
    client.send(&(FRAME_MAX as u32 + 1).to_be_bytes()).await;
    assert!(client.is_closed().await);
    // A client that has logged in may send longer frames.
    let mut client = node.connect().await;
    client.log_in(Mechanism::Plain, "ann", "a").await.unwrap();
    client
        .send(&frame(1, 7, &produce("t", -1, &[0; 2 * FRAME_MAX])))
        .await;
    assert_eq!(client.answer().await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_does_not_come_to_an_end_is_cut_short() {
    let node = node(&[("connections.max.idle.ms", "300")]).await;
    let mut silent = node.connect().await;
    assert_eq!(silent.handshake(1, "PLAIN").await, 0);
    assert!(silent.is_closed().await);
    // A client that sends a byte now and then is not idle, but has no more time for its login than others.
    let mut slow = node.connect().await;
    assert_eq!(slow.handshake(1, "PLAIN").await, 0);
    let (mut incoming, mut outgoing) = slow.stream.into_split();
    let drip = tokio::spawn(async move {
        let mut bytes = (FRAME_MAX as u32).to_be_bytes().to_vec();
        while outgoing.write_all(&bytes).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            bytes = vec![b'x'];
        }
    });
    let end = tokio::time::timeout(PATIENCE, incoming.read(&mut [0])).await;
    assert!(!matches!(end.unwrap(), Ok(1..)));
    drip.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_made_on_the_running_broker_logs_in_at_once() {
    let node = node(&[]).await;
    let mut admin = node.connect().await;
    admin.log_in(Mechanism::Plain, "ann", "a").await.unwrap();
    let mechanism = ScramMechanism::Sha256;
    let salted = mechanism.salted_password("p", b"salt", 4_096);
    let set = AlterUserScramCredentialsRequest {
        upsertions: vec![ScramCredentialUpsertion {
            name: "eve".into(),
            mechanism: mechanism.number(),
            iterations: 4_096,
            salt: Bytes::from_static(b"salt"),
            salted_password: salted,
        }],
        ..Default::default()
    };
    admin.send(&frame(1, 0, &set)).await;
    admin.answer().await;
    let mut client = node.connect().await;
    assert_eq!(
        client.log_in(Mechanism::ScramSha256, "eve", "p").await,
        Ok(0)
    );
    assert!(client.is_served().await);
    let wrong = node
        .connect()
        .await
        .log_in(Mechanism::ScramSha256, "eve", "q")
        .await;
    assert!(wrong.is_err());
    let gone = AlterUserScramCredentialsRequest {
        deletions: vec![ScramCredentialDeletion {
            name: "eve".into(),
            mechanism: mechanism.number(),
        }],
        ..Default::default()
    };
    admin.send(&frame(1, 0, &gone)).await;
    admin.answer().await;
    let gone = node
        .connect()
        .await
        .log_in(Mechanism::ScramSha256, "eve", "p")
        .await;
    assert!(gone.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_and_its_end_is_the_sessions() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    const OAUTH: &str =
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;";
    let node = node(&[
        ("sasl.enabled.mechanisms", "OAUTHBEARER"),
        (
            "listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config",
            OAUTH,
        ),
        ("connections.max.reauth.ms", "60000"),
    ])
    .await;
    let token = |claims: &str| {
        let header = BASE64.encode("{\"alg\":\"none\"}");
        format!("{header}.{}.", BASE64.encode(claims))
    };
    // The token expires in the year 2100.
    let good = token("{\"sub\":\"ann\",\"exp\":4102444800}");
    let mut client = node.connect().await;
    let lifetime = client.log_in(Mechanism::OAuthBearer, "", &good).await;
    assert_eq!(lifetime, Ok(60_000));
    assert!(client.is_served().await);
    let old = token("{\"sub\":\"ann\",\"exp\":1}");
    let mut client = node.connect().await;
    assert_eq!(client.handshake(1, "OAUTHBEARER").await, 0);
    let first = format!("n,,\u{1}auth=Bearer {old}\u{1}\u{1}");
    let told = client.authenticate(first.as_bytes()).await;
    assert_eq!(
        (told.error_code, &told.auth_bytes[..]),
        (0, &b"{\"status\":\"invalid_token\"}"[..])
    );
    let told = client.authenticate(b"\x01").await;
    assert_eq!(told.error_code, ErrorCode::SaslAuthenticationFailed.code());
    assert_eq!(
        told.error_message.as_deref(),
        Some("{\"status\":\"invalid_token\"}")
    );
    assert!(client.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_is_cut_at_the_next_request() {
    let node = node(&[("connections.max.reauth.ms", "1500")]).await;
    let mut client = node.connect().await;
    assert_eq!(client.log_in(Mechanism::Plain, "ann", "a").await, Ok(1_500));
    let began = Instant::now();
    // Requests in flight are answered before the new login behind them.
    let mut both = frame(1, 1, &MetadataRequest::default());
    let mechanism = "PLAIN".into();
    both.extend(frame(2, 1, &SaslHandshakeRequest { mechanism }));
    client.send(&both).await;
    assert_eq!(client.answer().await.0, 1);
    assert_eq!(client.answer().await.0, 2);
    let again = client.authenticate(b"\0ann\0a").await;
    assert_eq!((again.error_code, again.session_lifetime_ms), (0, 1_500));
    while client.is_served().await {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(1_500));
    // A client that changes its user in a new login is told so and disconnected.
    let mut client = node.connect().await;
    client.log_in(Mechanism::Plain, "ann", "a").await.unwrap();
    let refused = client
        .log_in(Mechanism::Plain, "bob", "b")
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        "Cannot change principals during re-authentication from User.ann: User.bob"
    );
    assert!(client.is_closed().await);
}
