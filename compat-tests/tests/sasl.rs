//! Clients authenticate as with Apache Kafka, and refused clients get the same responses.
//!
//! One script of frames is sent to both brokers. Compared are the responses to each frame, or that the connection is closed
//! instead. Random parts of SCRAM are left out, and mechanisms are sorted, because Kafka keeps them in a hash table.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use compat_tests::apache::{self, Apache, PRESENT, SETTINGS};
use compat_tests::exchange::Connection;
use compat_tests::node::{Node, free_port};
use compat_tests::programs::kcat;
use monedula::config::sasl::Mechanism;
use monedula::security::sasl::client::{Client, Credentials};
use monedula::security::scram::ScramMechanism;
use monedula::wire::codec::{Reader, Writer};
use monedula::wire::message::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, ScramCredentialUpsertion,
};
use monedula::wire::message::api_versions::ApiVersionsRequest;
use monedula::wire::message::metadata::MetadataRequest;
use monedula::wire::message::sasl_authenticate::SaslAuthenticateRequest;
use monedula::wire::message::sasl_handshake::SaslHandshakeRequest;
use monedula::wire::message::{Message, Request};

/// A listener without authentication, one whose sessions do not end, and one with sessions of an hour.
const LISTENERS: &str = "\
listeners=PLAINTEXT://127.0.0.1:{port},SAFE://127.0.0.1:{safe},SHORT://127.0.0.1:{short},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SAFE:SASL_PLAINTEXT,SHORT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.short.plain.connections.max.reauth.ms=3600000
listener.name.short.oauthbearer.connections.max.reauth.ms=3600000
";
const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";
const OAUTH: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required";

/// Time limit for a response during authentication.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings(safe: u16, short: u16) -> String {
    let own = ["listeners=", "listener.security.protocol.map="];
    let base = SETTINGS
        .lines()
        .filter(|line| !own.iter().any(|own| line.starts_with(own)));
    let mut text: String = base.map(|line| format!("{line}\n")).collect();
    text += &LISTENERS
        .replace("{safe}", &safe.to_string())
        .replace("{short}", &short.to_string());
    for listener in ["safe", "short"] {
        text += &format!(
            "listener.name.{listener}.plain.sasl.jaas.config={PLAIN} user_ann=\"a b\" user_bob=\"b\";\n"
        );
        // Kafka's broker also creates a token for itself.
        text += &format!(
            "listener.name.{listener}.oauthbearer.sasl.jaas.config={OAUTH} unsecuredLoginStringClaim_sub=\"broker\";\n"
        );
        for scram in ["scram-sha-256", "scram-sha-512"] {
            text += &format!("listener.name.{listener}.{scram}.sasl.jaas.config={SCRAM};\n");
        }
    }
    text
}

/// Creates SCRAM users through the listener without authentication.
fn add_users(address: &str) -> Result<()> {
    let upsertion = |mechanism: ScramMechanism, name: &str| {
        let salt = Bytes::from_static(b"salt of this user");
        ScramCredentialUpsertion {
            name: name.into(),
            mechanism: mechanism.number(),
            iterations: 4_096,
            salted_password: mechanism.salted_password("s,=cret", &salt, 4_096),
            salt,
        }
    };
    let request = AlterUserScramCredentialsRequest {
        upsertions: vec![
            upsertion(ScramMechanism::Sha256, "cid"),
            upsertion(ScramMechanism::Sha512, "dan"),
        ],
        ..Default::default()
    };
    let answer = Connection::open(address)?.answered(&request, 0)?;
    let good = answer.results.iter().all(|one| one.error_code == 0);
    ensure!(good, "{answer:?}");
    Ok(())
}

/// What a client sends.
#[derive(Clone, Debug)]
enum Sent {
    Versions(i16),
    Handshake(i16, &'static str),
    Token(i16, Vec<u8>),
    /// A token without a request header.
    Raw(Vec<u8>),
    Metadata,
    Frame(Vec<u8>),
    /// A whole SCRAM exchange, of which the last response is compared.
    Scram(Mechanism, &'static str, &'static str),
}

fn token(text: &str) -> Sent {
    Sent::Token(2, text.into())
}

/// Scenes: whether they use the listener with sessions of an hour, and what is sent.
fn scenes() -> Vec<(bool, Vec<Sent>)> {
    use Sent::{Frame, Handshake, Metadata, Raw, Scram, Token, Versions};
    const ANN: &str = "\0ann\0a b";
    let plain = Handshake(1, "PLAIN");
    let mut scenes = Vec::new();
    let mut scene = |sends: Vec<Sent>| scenes.push((false, sends));
    for version in 0..=2 {
        scene(vec![
            Versions(3),
            plain.clone(),
            Token(version, ANN.into()),
            Metadata,
            plain.clone(),
            token(ANN),
            Metadata,
        ]);
    }
    scene(vec![Handshake(0, "PLAIN"), Raw(ANN.into()), Metadata]);
    scene(vec![Handshake(0, "PLAIN"), Raw(b"\0ann\0x".to_vec())]);
    for text in [
        "\0ann\0x",
        "\0nobody\0x",
        "\0\0x",
        "\0ann\0",
        "",
        "x",
        "\0ann",
        "\0ann\0a b\0",
        "\0\0\0\0\0\0",
        "ann\0ann\0a b",
        "bob\0ann\0a b",
        "bob\0ann\0x",
    ] {
        scene(vec![plain.clone(), token(text), Metadata]);
    }
    for mechanism in ["GSSAPI", "plain", "", "SCRAM-SHA-1"] {
        scene(vec![Versions(0), Handshake(1, mechanism), plain.clone()]);
    }
    scene(vec![Metadata]);
    scene(vec![token(ANN)]);
    scene(vec![Versions(0), Metadata]);
    scene(vec![plain.clone(), plain.clone()]);
    scene(vec![plain.clone(), Versions(0)]);
    scene(vec![Versions(0), Versions(0)]);
    scene(vec![
        Versions(35),
        Versions(0),
        plain.clone(),
        token(ANN),
        Metadata,
    ]);
    scene(vec![Versions(35), plain.clone(), token(ANN)]);
    scene(vec![Handshake(2, "PLAIN")]);
    scene(vec![plain.clone(), Token(3, ANN.into())]);
    scene(vec![plain.clone(), Frame(vec![0; 3])]);
    scene(vec![Frame(
        b"\x60\x82\x01\x02\x03\x04\x05\x06\x07".to_vec(),
    )]);
    scene(vec![Frame(Vec::new())]);
    // The largest allowed frame, and one byte more.
    for len in [524_288, 524_289] {
        scene(vec![plain.clone(), Frame(of_length(len))]);
        scene(vec![Handshake(0, "PLAIN"), Raw(vec![b'x'; len])]);
    }
    for (mechanism, user, password) in [
        (Mechanism::ScramSha256, "cid", "s,=cret"),
        (Mechanism::ScramSha512, "dan", "s,=cret"),
        (Mechanism::ScramSha256, "cid", "wrong"),
        (Mechanism::ScramSha512, "cid", "s,=cret"),
        (Mechanism::ScramSha256, "nobody", "s,=cret"),
    ] {
        scene(vec![Scram(mechanism, user, password), Metadata]);
    }
    for text in [
        "",
        "n,,",
        "y,,n=cid,r=x",
        "p=x,,n=cid,r=x",
        "n,,n=cid",
        "n,a=bob,n=cid,r=x",
    ] {
        scene(vec![Handshake(1, "SCRAM-SHA-256"), token(text)]);
    }
    let mut short = |sends: Vec<Sent>| scenes.push((true, sends));
    let again = [plain.clone(), token(ANN)];
    short([&again[..], &again, &[Metadata]].concat());
    // The third authentication comes too soon after the second.
    short([&again[..], &again, &[plain.clone(), Metadata]].concat());
    for text in ["\0bob\0b", "\0ann\0x"] {
        short([&again[..], &[plain.clone(), token(text), Metadata]].concat());
    }
    short(
        [
            &again[..],
            &[Handshake(1, "SCRAM-SHA-256"), token("n,,n=cid,r=x")],
        ]
        .concat(),
    );
    short([&again[..], &[Handshake(1, "GSSAPI"), Metadata]].concat());
    short([&again[..], &[plain.clone(), Metadata]].concat());
    for shown in TOKENS {
        let oauth = Handshake(1, "OAUTHBEARER");
        let first = token(&format!("n,,\u{1}auth=Bearer {shown}\u{1}\u{1}"));
        short(vec![oauth, first, token("\u{1}"), Metadata]);
    }
    for text in [
        "",
        "\u{1}",
        "n,,\u{1}\u{1}",
        "n,,\u{1}auth=Basic a\u{1}\u{1}",
    ] {
        short(vec![Handshake(1, "OAUTHBEARER"), token(text)]);
    }
    let good = TOKENS[0];
    for id in ["zed", "ann"] {
        let text = format!("n,a={id},\u{1}auth=bearer  {good}\u{1}x=y\u{1}\u{1}");
        short(vec![Handshake(1, "OAUTHBEARER"), token(&text), Metadata]);
    }
    short(vec![
        Handshake(0, "PLAIN"),
        Raw(ANN.into()),
        Metadata,
        plain,
        token(ANN),
        Metadata,
    ]);
    scenes
}

/// Unsigned tokens: valid until 2100; expired; without a subject; issued in the future; with a text as its time; issued after
/// its expiration; signed with a shared secret; and texts that are not tokens.
const TOKENS: &[&str] = &[
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjF9.",
    "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9.",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsImlhdCI6NDEwMjQ0NDc5OX0.",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOiI0MTAyNDQ0ODAwIn0.",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsImlhdCI6NDEwMjQ0NDgwMX0.",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.c2ln",
    "a.b.",
    "a..b",
    "a",
];

/// A SaslAuthenticate request whose frame has `len` bytes.
fn of_length(len: usize) -> Vec<u8> {
    let head = frame(0, &SaslAuthenticateRequest::default()).len();
    let auth_bytes = Bytes::from(vec![b'x'; len - head]);
    frame(0, &SaslAuthenticateRequest { auth_bytes })
}

fn frame<R: Request>(version: i16, request: &R) -> Vec<u8> {
    // A request of an unknown version has the body of a known one.
    let body_version = version.clamp(*R::VERSIONS.start(), *R::VERSIONS.end());
    let mut writer = Writer::default();
    writer.i16(R::KEY);
    writer.i16(version);
    writer.i32(7);
    writer.i16(-1);
    if R::is_flexible(body_version) {
        writer.unsigned_varint(0);
    }
    request.write(&mut writer, body_version).unwrap_or_default();
    writer.into_bytes().to_vec()
}

fn read<R: Message>(version: i16, answer: &Bytes) -> Result<R> {
    let mut reader = Reader::new(answer.clone());
    ensure!(reader.i32()? == 7, "the answer is another request's");
    if R::is_flexible(version) {
        reader.tagged_section(|_, _| Ok(false))?;
    }
    Ok(R::read(&mut reader, version)?)
}

/// Responses to what is sent, until the connection is closed.
fn play(address: &str, sends: &[Sent]) -> Result<Vec<String>> {
    let mut connection = Connection::open(address)?;
    connection.be_patient(PATIENCE)?;
    let mut all = Vec::new();
    for send in sends {
        let told = match told(&mut connection, send) {
            Ok(Some(told)) => told,
            Ok(None) => "closed".to_owned(),
            // The connection was closed before the frame was written.
            Err(error) if error.downcast_ref::<std::io::Error>().is_some() => "closed".to_owned(),
            Err(error) => return Err(error),
        };
        let is_closed = told == "closed";
        all.push(told);
        if is_closed {
            return Ok(all);
        }
    }
    Ok(all)
}

/// The response to a request; `None` if the connection is closed instead.
fn asked<R: Request>(
    connection: &mut Connection,
    version: i16,
    request: &R,
) -> Result<Option<R::Response>> {
    let answer = connection.exchange(&frame(version, request))?;
    answer.map(|answer| read(version, &answer)).transpose()
}

fn told(connection: &mut Connection, send: &Sent) -> Result<Option<String>> {
    match send {
        Sent::Versions(version) => {
            let Some(answer) = connection.exchange(&frame(
                *version,
                &ApiVersionsRequest {
                    client_software_name: "x".into(),
                    client_software_version: "1".into(),
                    ..Default::default()
                },
            ))?
            else {
                return Ok(None);
            };
            let code = answer.get(4..6).context("no error")?;
            Ok(Some(format!("versions {code:?}")))
        }
        Sent::Handshake(version, mechanism) => {
            let mechanism = (*mechanism).into();
            let request = SaslHandshakeRequest { mechanism };
            let Some(mut answer) = asked(connection, *version, &request)? else {
                return Ok(None);
            };
            answer.mechanisms.sort();
            Ok(Some(format!(
                "{} {:?}",
                answer.error_code, answer.mechanisms
            )))
        }
        Sent::Token(version, token) => {
            let auth_bytes = Bytes::copy_from_slice(token);
            let request = SaslAuthenticateRequest { auth_bytes };
            let Some(answer) = asked(connection, *version, &request)? else {
                return Ok(None);
            };
            Ok(Some(format!(
                "{} {:?} {} bytes {} ms",
                answer.error_code,
                answer.error_message,
                answer.auth_bytes.len(),
                answer.session_lifetime_ms
            )))
        }
        Sent::Raw(token) => {
            let answer = connection.exchange(token)?;
            Ok(answer.map(|answer| format!("raw {answer:?}")))
        }
        Sent::Metadata => {
            let answer = connection.exchange(&frame(
                1,
                &MetadataRequest {
                    topics: Some(Vec::new()),
                    ..Default::default()
                },
            ))?;
            let Some(answer) = answer else {
                return Ok(None);
            };
            ensure!(!answer.is_empty(), "silence");
            Ok(Some("metadata".to_owned()))
        }
        Sent::Frame(frame) => {
            let answer = connection.exchange(frame)?;
            Ok(answer.map(|answer| format!("{answer:?}")))
        }
        Sent::Scram(mechanism, user, password) => {
            let credentials = Credentials::new(*mechanism, user, password);
            let (mut client, mut token) = Client::new(&credentials, "nonce");
            let mechanism = mechanism.name().into();
            let greeting = connection.exchange(&frame(1, &SaslHandshakeRequest { mechanism }))?;
            ensure!(greeting.is_some(), "the handshake was not answered");
            loop {
                let request = SaslAuthenticateRequest { auth_bytes: token };
                let Some(answer) = asked(connection, 2, &request)? else {
                    return Ok(None);
                };
                if answer.error_code != 0 {
                    let text = format!("{} {:?}", answer.error_code, answer.error_message);
                    return Ok(Some(text));
                }
                let next = client.step(&answer.auth_bytes);
                match next.map_err(anyhow::Error::msg)? {
                    Some(next) => token = next,
                    None => return Ok(Some("in".to_owned())),
                }
            }
        }
    }
}

/// Both brokers, each with the ports of its two SASL listeners.
struct Pair {
    ours: (Node, u16, u16),
    theirs: (Apache, u16, u16),
    _dir: tempfile::TempDir,
}

impl Pair {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (safe, short) = (free_port()?, free_port()?);
        let apache = Apache::start_with(
            PRESENT,
            &settings(safe, short),
            dir.path(),
            &dir.path().join("data"),
        )?;
        add_users(&apache.address())?;
        let theirs = (apache, safe, short);
        Ok(Self {
            ours: ours()?,
            theirs,
            _dir: dir,
        })
    }
}

fn ours() -> Result<(Node, u16, u16)> {
    let (safe, short) = (free_port()?, free_port()?);
    let text = settings(safe, short).replace("{controller}", &free_port()?.to_string());
    let node = Node::with_settings(&text)?;
    add_users(&node.address())?;
    Ok((node, safe, short))
}

/// Whether the responses of a scene differ on purpose; `DIFFERENCES.md` lists these scenes.
fn differs(sends: &[Sent]) -> bool {
    // Kafka answers a request during authentication with that request's own error.
    let amid = matches!(sends, [_, _, Sent::Handshake(1, "PLAIN"), Sent::Metadata]);
    // Kafka sends no response for an unknown scheme.
    let scheme = |text: &Vec<u8>| text.windows(5).any(|part| part == b"Basic");
    amid || matches!(sends, [_, Sent::Token(_, text)] if scheme(text))
}

#[test]
#[ignore = "needs Java"]
fn logins_are_answered_as_by_apache_kafka() -> Result<()> {
    let pair = Pair::start()?;
    let mut faults = Vec::new();
    for (short, sends) in scenes() {
        let at = |safe: u16, shorter: u16| {
            let port = if short { shorter } else { safe };
            play(&format!("127.0.0.1:{port}"), &sends)
        };
        let ours = at(pair.ours.1, pair.ours.2).with_context(|| format!("ours: {sends:?}"))?;
        let theirs =
            at(pair.theirs.1, pair.theirs.2).with_context(|| format!("theirs: {sends:?}"))?;
        if (ours == theirs) == differs(&sends) {
            let mut sent = format!("{sends:?}");
            sent.truncate(300);
            faults.push(format!("{sent}\n  ours   {ours:?}\n  theirs {theirs:?}"));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Runs a tool of Kafka's own client with a file of settings; returns whether it succeeded, and its output.
fn list_topics(dir: &Path, port: u16, settings: &str) -> Result<(bool, String)> {
    let file = dir.join("client.properties");
    std::fs::write(&file, settings)?;
    let address = format!("127.0.0.1:{port}");
    let finished = apache::tool(
        "org.apache.kafka.tools.TopicCommand",
        &[
            "--bootstrap-server",
            &address,
            "--command-config",
            &file.display().to_string(),
            "--list",
        ],
        "",
    )?;
    Ok((finished.success, finished.stdout + &finished.stderr))
}

fn client(mechanism: &str, module: &str, user: &str, password: &str) -> String {
    format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism={mechanism}\n\
         sasl.jaas.config={module} username=\"{user}\" password=\"{password}\";\n"
    )
}

#[test]
#[ignore = "needs Java"]
fn tools_of_apache_kafka_log_in() -> Result<()> {
    let (_node, safe, short) = ours()?;
    let dir = tempfile::tempdir()?;
    for (port, settings, good) in [
        (safe, client("PLAIN", PLAIN, "ann", "a b"), true),
        (short, client("PLAIN", PLAIN, "ann", "a b"), true),
        (safe, client("SCRAM-SHA-256", SCRAM, "cid", "s,=cret"), true),
        (safe, client("SCRAM-SHA-512", SCRAM, "dan", "s,=cret"), true),
        (safe, client("PLAIN", PLAIN, "ann", "a"), false),
        (
            safe,
            client("SCRAM-SHA-512", SCRAM, "cid", "s,=cret"),
            false,
        ),
    ] {
        let (success, said) = list_topics(dir.path(), port, &settings)?;
        ensure!(success == good, "{settings}{said}");
        let told = said.contains("Authentication failed");
        ensure!(good || told, "{said}");
    }
    Ok(())
}

#[test]
#[ignore = "needs kcat"]
fn librdkafka_logs_in() -> Result<()> {
    let (_node, safe, short) = ours()?;
    for (port, mechanism, user, password) in [
        (safe, "PLAIN", "ann", "a b"),
        (safe, "SCRAM-SHA-256", "cid", "s,=cret"),
        (short, "SCRAM-SHA-512", "dan", "s,=cret"),
    ] {
        let settings = [
            "security.protocol=SASL_PLAINTEXT".to_owned(),
            format!("sasl.mechanism={mechanism}"),
            format!("sasl.username={user}"),
            format!("sasl.password={password}"),
        ];
        let words: Vec<&str> = settings.iter().flat_map(|one| ["-X", one]).collect();
        let topic = ["-t", mechanism];
        kcat(port, &[&words[..], &["-P"], &topic].concat(), "one\ntwo\n")?;
        let read = [&words[..], &["-C", "-e", "-q", "-o", "beginning"], &topic].concat();
        let found = kcat(port, &read, "")?;
        ensure!(found == "one\ntwo\n", "{found}");
    }
    Ok(())
}

#[test]
#[ignore = "needs the broker's binary"]
fn a_file_of_jaas_has_the_users_of_plain() -> Result<()> {
    // `monedula start` converts KAFKA_OPTS into the setting below (`cli/start.rs`, with tests there).
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("jaas.conf");
    std::fs::write(
        &file,
        format!("KafkaServer {{\n  {PLAIN}\n  user_ann=\"a\";\n}};\n"),
    )?;
    let safe = free_port()?;
    let text = format!(
        "node.id=1\nlog.dirs={{dir}}\nlisteners=PLAINTEXT://127.0.0.1:{{port}},SASL_PLAINTEXT://127.0.0.1:{safe}\n\
         sasl.enabled.mechanisms=PLAIN\njava.security.auth.login.config={}\n",
        file.display()
    );
    let _node = Node::with_settings(&text)?;
    let address = format!("127.0.0.1:{safe}");
    let sends = [
        Sent::Handshake(1, "PLAIN"),
        token("\0ann\0a"),
        Sent::Metadata,
    ];
    let told = play(&address, &sends)?;
    ensure!(
        told.last().is_some_and(|last| last == "metadata"),
        "{told:?}"
    );
    Ok(())
}
