//! Tests of SSL listeners with a rustls client and certificates made by the test: which clients are accepted and refused, and
//! that answers equal those of a plain listener.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};

use super::*;
use crate::wire::message::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use crate::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

/// Certificate authority.
type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its private key.
#[derive(Clone)]
struct Pair {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: Vec<u8>,
    key_pem: String,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Pair {
    fn by(authority: &Authority, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        Self::of(certificate, &key)
    }

    fn self_signed(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self::of(params.self_signed(&key).unwrap(), &key)
    }

    fn of(certificate: rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key: key.serialize_der(),
            key_pem: key.serialize_pem(),
        }
    }
}

struct Scene {
    authority: Authority,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            authority: authority("ca"),
            dir: tempfile::tempdir().unwrap(),
        };
        let own = Pair::by(&scene.authority, params("broker"));
        scene.write(
            "own.pem",
            &format!("{}{}", own.key_pem, own.certificate_pem),
        );
        scene.write("ca.pem", &scene.authority.pem());
        scene
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn settings(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = self.path("own.pem");
        let base = [
            ("listeners", "PLAINTEXT://127.0.0.1:0,SSL://127.0.0.1:0"),
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", own.as_str()),
        ];
        let all = base.iter().chain(more);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    async fn node(&self, more: &[(&str, &str)]) -> Node {
        let settings = self.settings(more);
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        Node::start(&settings).await
    }

    /// A node that verifies client certificates.
    async fn strict(&self, auth: &str, trusted: &str) -> Node {
        self.write("trusted.pem", trusted);
        let trusted = self.path("trusted.pem");
        self.node(&[
            ("ssl.client.auth", auth),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", &trusted),
        ])
        .await
    }

    fn config(
        &self,
        version: &'static SupportedProtocolVersion,
        own: Option<&Pair>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivatePkcs8KeyDer::from(own.key.clone()).into();
                builder
                    .with_client_auth_cert(vec![own.certificate.clone()], key)
                    .unwrap()
            }
        }
    }
}

/// A blocking TLS client.
struct Secured(StreamOwned<ClientConnection, TcpStream>);

impl Secured {
    fn connect(address: SocketAddr, config: ClientConfig) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        Self(StreamOwned::new(connection, tcp))
    }

    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    fn answer(&mut self) -> std::io::Result<(i32, Reader)> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body)?;
        let mut reader = Reader::new(Bytes::from(body));
        Ok((reader.i32().unwrap(), reader))
    }

    fn ask(&mut self) -> std::io::Result<i32> {
        self.send(&frame(77, 0, &ApiVersionsRequest::default()))?;
        Ok(self.answer()?.0)
    }
}

/// Result of one request over TLS.
///
/// Errors: the failure as the client reports it.
async fn outcome(node: &Node, config: ClientConfig) -> Result<i32, String> {
    let address = node.broker.addresses()[1];
    let asked = tokio::task::spawn_blocking(move || Secured::connect(address, config).ask());
    asked.await.unwrap().map_err(|error| error.to_string())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_through_tls_is_what_a_plain_listener_gives() {
    let scene = Scene::new();
    let node = scene.node(&[]).await;
    let mut plain = node.with_topics(&["t"]).await;
    let secured = node.broker.addresses()[1];
    for (turn, version) in VERSIONS.into_iter().enumerate() {
        let config = scene.config(version, None);
        let mut client = blocking(move || {
            let mut client = Secured::connect(secured, config);
            for value in 0..10 {
                client
                    .send(&frame(1, 7, &produce("t", -1, &[value; 90_001])))
                    .unwrap();
            }
            for _ in 0..10 {
                assert_eq!(produced(client.answer().unwrap().1).0, 0);
            }
            client
        })
        .await;
        let mut all = fetch("t", 0, Duration::ZERO);
        all.topics[0].partitions[0].partition_max_bytes = 10_000_000;
        let asks = frame(2, 4, &all);
        plain.send(&asks).await;
        let (_, mut expected) = plain.answer().await;
        let len = expected.remaining();
        assert!(len > 900_000 * (turn + 1));
        let expected = expected.take(len).unwrap();
        for evicted in [false, true] {
            if evicted {
                evict(&node._dir.path().join("data/t-0"));
            }
            let (asks, expected) = (asks.clone(), expected.clone());
            client = blocking(move || {
                // Several requests at once, so that answers wait for one another.
                for _ in 0..5 {
                    client.send(&asks).unwrap();
                }
                for _ in 0..5 {
                    let (_, mut body) = client.answer().unwrap();
                    assert!(body.take(body.remaining()).unwrap() == expected);
                }
                client
            })
            .await;
        }
    }
}

fn evict(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let file = std::fs::File::open(entry.unwrap().path()).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

/// The mapping of subjects to names is tested in `security/mapping_rules.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_which_there_is_no_rule_stands_for_nobody() {
    let scene = Scene::new();
    scene.write("trusted.pem", &scene.authority.pem());
    let trusted = scene.path("trusted.pem");
    let node = scene
        .node(&[
            ("ssl.client.auth", "requested"),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", &trusted),
            ("ssl.principal.mapping.rules", "RULE:^CN=(ann|bob)$/$1/"),
        ])
        .await;
    for (name, good) in [(Some("ann"), true), (Some("eve"), false), (None, true)] {
        let own = name.map(|name| Pair::by(&scene.authority, params(name)));
        let config = scene.config(VERSIONS[1], own.as_ref());
        assert_eq!(outcome(&node, config).await.is_ok(), good, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_verified() {
    let scene = Scene::new();
    let stranger = authority("somebody else");
    let mut old = params("old");
    (old.not_before, old.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    let mut early = params("early");
    (early.not_before, early.not_after) = (date_time_ymd(4000, 1, 1), date_time_ymd(4001, 1, 1));
    let mut server = params("server");
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let mut own_root = params("own root");
    own_root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pinned = Pair::self_signed(params("pinned"));
    let root = Pair::self_signed(own_root);
    let known = Pair::by(&scene.authority, params("known"));
    // A trusted certificate with a key that does not belong to it.
    let thief = Pair {
        key: Pair::self_signed(params("thief")).key,
        ..known.clone()
    };
    let own_key = KeyPair::generate().unwrap();
    let old_thief = Pair {
        key: thief.key.clone(),
        ..version_1(&scene.authority, &own_key, params("v1"))
    };
    let mut expired = params("v1");
    (expired.not_before, expired.not_after) =
        (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    let impostor = authority("ca");
    let old_clients = [
        (
            "v1",
            version_1(&scene.authority, &own_key, params("v1")),
            true,
        ),
        (
            "v1, expired",
            version_1(&scene.authority, &own_key, expired),
            false,
        ),
        (
            "v1, another's",
            version_1(&stranger, &own_key, params("v1")),
            false,
        ),
        (
            "v1, of the same name",
            version_1(&impostor, &own_key, params("v1")),
            false,
        ),
        ("v1, stolen", old_thief, false),
    ];
    let clients = [
        ("known", Some(known), true),
        ("pinned", Some(pinned.clone()), true),
        ("own root", Some(root.clone()), true),
        (
            "unsigned",
            Some(Pair::self_signed(params("unsigned"))),
            false,
        ),
        (
            "another's",
            Some(Pair::by(&stranger, params("another's"))),
            false,
        ),
        ("old", Some(Pair::by(&scene.authority, old)), false),
        ("early", Some(Pair::by(&scene.authority, early)), false),
        (
            "for servers",
            Some(Pair::by(&scene.authority, server)),
            false,
        ),
        ("nobody", None, false),
    ];
    let trusted = [
        scene.authority.pem(),
        pinned.certificate_pem,
        root.certificate_pem,
    ]
    .concat();
    for auth in ["required", "requested"] {
        let node = scene.strict(auth, &trusted).await;
        for version in VERSIONS {
            for (name, pair, served) in &clients {
                let got = outcome(&node, scene.config(version, pair.as_ref())).await;
                let served = *served || *name == "nobody" && auth == "requested";
                assert_eq!(got.is_ok(), served, "{auth} {version:?} {name}: {got:?}");
                if let Err(why) = got {
                    // The client learns the reason from an alert.
                    assert!(why.contains("received fatal alert"), "{name}: {why}");
                }
            }
            for (name, pair, served) in &old_clients {
                let got = with_any(&node, scene.config(version, None), pair).await;
                assert_eq!(got.is_ok(), *served, "{auth} {version:?} {name}: {got:?}");
            }
            let stolen = with_any(&node, scene.config(version, None), &thief).await;
            assert!(stolen.is_err(), "{auth} {version:?}: {stolen:?}");
        }
    }
}

/// An X.509 certificate of version 1, as `openssl x509 -req` makes it without extensions.
fn version_1(issuer: &Authority, key: &KeyPair, params: CertificateParams) -> Pair {
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut bytes = vec![tag, 0x82];
        bytes.extend((content.len() as u16).to_be_bytes());
        bytes.extend(content);
        // DER requires the shortest form of a length.
        let len = bytes.len() - 4;
        match len {
            0..=0x7f => drop(bytes.splice(1..4, [len as u8])),
            0x80..=0xff => drop(bytes.splice(1..4, [0x81, len as u8])),
            _ => {}
        }
        bytes
    }
    fn children(bytes: &[u8]) -> Vec<&[u8]> {
        let (mut rest, mut all) = (bytes, Vec::new());
        while !rest.is_empty() {
            let (header, len) = match rest[1] {
                short @ 0..=0x7f => (2, usize::from(short)),
                0x81 => (3, usize::from(rest[2])),
                _ => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            };
            all.push(&rest[..header + len]);
            rest = &rest[header + len..];
        }
        all
    }
    fn content(bytes: &[u8]) -> &[u8] {
        match bytes[1] {
            0..=0x7f => &bytes[2..],
            0x81 => &bytes[3..],
            _ => &bytes[4..],
        }
    }
    let new = params.signed_by(key, issuer).unwrap();
    let parts = children(content(new.der()));
    let of_new = children(content(parts[0]));
    // The signed part without the version at its front and the extensions at its end.
    let signed = der(0x30, &of_new[1..7]);
    let signature = rcgen::SigningKey::sign(issuer.key(), &signed).unwrap();
    let bits = der(0x03, &[&[0], &signature]);
    let old = der(0x30, &[&signed, parts[1], &bits]);
    Pair {
        certificate: CertificateDer::from(old),
        certificate_pem: String::new(),
        key: key.serialize_der(),
        key_pem: String::new(),
    }
}

/// A client that presents a certificate which rustls would not let it use: of version 1, or with a key that does not belong to
/// it.
async fn with_any(node: &Node, config: ClientConfig, thief: &Pair) -> Result<i32, String> {
    #[derive(Debug)]
    struct Stolen(Arc<rustls::sign::CertifiedKey>);
    impl rustls::client::ResolvesClientCert for Stolen {
        fn resolve(
            &self,
            _: &[&[u8]],
            _: &[SignatureScheme],
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
        fn has_certs(&self) -> bool {
            true
        }
    }
    let key = PrivatePkcs8KeyDer::from(thief.key.clone()).into();
    let key = ring::default_provider()
        .key_provider
        .load_private_key(key)
        .unwrap();
    let stolen = rustls::sign::CertifiedKey::new(vec![thief.certificate.clone()], key);
    let mut config = config;
    config.client_auth_cert_resolver = Arc::new(Stolen(Arc::new(stolen)));
    outcome(node, config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_the_listeners_language_is_shown_out() {
    let scene = Scene::new();
    let node = scene.node(&[("connections.max.idle.ms", "700")]).await;
    let [plain, secured] = [0, 1].map(|at| node.broker.addresses()[at]);
    let mut lost = Client {
        stream: tokio::net::TcpStream::connect(secured).await.unwrap(),
    };
    lost.send(&frame(1, 0, &ApiVersionsRequest::default()))
        .await;
    assert!(lost.is_closed().await);
    let config = scene.config(&rustls::version::TLS13, None);
    assert!(
        blocking(move || Secured::connect(plain, config).ask())
            .await
            .is_err()
    );
    // A client that sends nothing, and one that stops in the middle of a handshake, have the time of an idle connection.
    for begun in [&b""[..], &[22, 3, 1, 0, 200, 1]] {
        let mut silent = Client {
            stream: tokio::net::TcpStream::connect(secured).await.unwrap(),
        };
        silent.send(begun).await;
        assert!(silent.is_closed().await);
    }
    let nonsense: Vec<u8> = [22, 3, 1, 64, 0]
        .into_iter()
        .chain((0..40_000).map(|n| n as u8))
        .collect();
    let mut hostile = Client {
        stream: tokio::net::TcpStream::connect(secured).await.unwrap(),
    };
    let _ = hostile.stream.write_all(&nonsense).await;
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, hostile.stream.read_to_end(&mut rest)).await;
    end.unwrap().ok();
    assert_eq!(
        outcome(&node, scene.config(&rustls::version::TLS13, None)).await,
        Ok(77)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_change_its_keys_and_send_in_any_pieces() {
    let scene = Scene::new();
    let node = scene.node(&[]).await;
    let address = node.broker.addresses()[1];
    let config = scene.config(&rustls::version::TLS13, None);
    blocking(move || {
        let mut client = Secured::connect(address, config);
        assert_eq!(client.ask().unwrap(), 77);
        for _ in 0..3 {
            client.0.conn.refresh_traffic_keys().unwrap();
            assert_eq!(client.ask().unwrap(), 77);
        }
        // Each byte is a TLS record of its own, and each record arrives in pieces.
        let asks = frame(78, 0, &ApiVersionsRequest::default());
        let mut records = Vec::new();
        for byte in asks {
            client.0.conn.writer().write_all(&[byte]).unwrap();
            client.0.conn.write_tls(&mut records).unwrap();
        }
        for piece in records.chunks(7) {
            client.0.sock.write_all(piece).unwrap();
        }
        assert_eq!(client.answer().unwrap().0, 78);
        // The client closes its sending side and still gets its answer.
        client
            .0
            .conn
            .writer()
            .write_all(&frame(79, 0, &ApiVersionsRequest::default()))
            .unwrap();
        client.0.conn.send_close_notify();
        assert_eq!(client.answer().unwrap().0, 79);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_costs_one_chunk() {
    let scene = Scene::new();
    let node = scene.node(&[]).await;
    let mut plain = node.with_topics(&["t"]).await;
    plain
        .send(&frame(1, 7, &produce("t", -1, &[1; 900_000])))
        .await;
    plain.answer().await;
    let address = node.broker.addresses()[1];
    let config = scene.config(&rustls::version::TLS13, None);
    blocking(move || {
        let mut client = Secured::connect(address, config);
        client
            .0
            .sock
            .set_write_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let asks = frame(2, 4, &fetch("t", 0, Duration::ZERO));
        let mut sent = 0;
        while sent < 200_000 && client.send(&asks).is_ok() {
            sent += 1;
        }
        assert!(
            sent < 200_000,
            "it takes in requests whose answers nobody reads"
        );
    })
    .await;
    assert!(node.connect().await.is_alive().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn protocols_and_ciphers_are_those_of_the_settings() {
    let scene = Scene::new();
    let only = |name: &'static str| scene.settings(&[("ssl.enabled.protocols", name)]);
    for (name, served) in [("TLSv1.2", [true, false]), ("TLSv1.3", [false, true])] {
        let settings = only(name);
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let node = Node::start(&settings).await;
        for (version, served) in VERSIONS.into_iter().zip(served) {
            let got = outcome(&node, scene.config(version, None)).await;
            assert_eq!(got.is_ok(), served, "{name} {version:?}: {got:?}");
        }
    }
    let node = scene
        .node(&[(
            "ssl.cipher.suites",
            "TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        )])
        .await;
    let address = node.broker.addresses()[1];
    for (version, suite) in VERSIONS.into_iter().zip([
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS13_CHACHA20_POLY1305_SHA256",
    ]) {
        let config = scene.config(version, None);
        let used = blocking(move || {
            let mut client = Secured::connect(address, config);
            client.ask().unwrap();
            client.0.conn.negotiated_cipher_suite().unwrap().suite()
        });
        assert_eq!(format!("{:?}", used.await), suite);
    }
}

/// Description of a mistake, the settings that contain it, and the expected message.
type Mistake<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn a_start_tells_what_is_wrong_with_certificates() {
    let scene = Scene::new();
    let other = Pair::by(&scene.authority, params("other"));
    let own = std::fs::read_to_string(scene.path("own.pem")).unwrap();
    let (key, certificate) = own.split_at(own.find("-----BEGIN CERTIFICATE").unwrap());
    scene.write("key.pem", key);
    scene.write("certificate.pem", certificate);
    scene.write("mixed.pem", &format!("{}{certificate}", other.key_pem));
    scene.write("text.pem", "nothing");
    let dir = scene.dir.path().display().to_string();
    let cases: [Mistake<'_>; 8] = [
        (
            "no file",
            &[("ssl.keystore.location", "nowhere.pem")],
            "ssl.keystore.location: DIR/nowhere.pem: it cannot be read: no such file",
        ),
        (
            "a directory",
            &[("ssl.keystore.location", ".")],
            "ssl.keystore.location: DIR/.: it is no file",
        ),
        (
            "no key",
            &[("ssl.keystore.location", "certificate.pem")],
            "DIR/certificate.pem: there is no private key in it",
        ),
        (
            "no certificate",
            &[("ssl.keystore.location", "key.pem")],
            "DIR/key.pem: there is a private key in it, but no certificate",
        ),
        (
            "another's key",
            &[("ssl.keystore.location", "mixed.pem")],
            "DIR/mixed.pem: its private key is not its certificate's",
        ),
        (
            "no store",
            &[
                ("ssl.keystore.type", "JKS"),
                ("ssl.keystore.password", "hush"),
                ("ssl.keystore.location", "own.pem"),
            ],
            "it is no JKS or PKCS12 file but PEM",
        ),
        (
            "an old cipher",
            &[("ssl.cipher.suites", "TLS_RSA_WITH_AES_128_CBC_SHA")],
            "TLS_RSA_WITH_AES_128_CBC_SHA is not supported",
        ),
        (
            "two at once",
            &[
                ("ssl.keystore.location", "text.pem"),
                ("ssl.truststore.type", "PEM"),
                ("ssl.truststore.location", "text.pem"),
            ],
            "ssl.truststore.location: DIR/text.pem: there is no trusted certificate in it",
        ),
    ];
    for (name, changes, expected) in cases {
        let paths: Vec<_> = changes
            .iter()
            .map(|(key, value)| match key.ends_with("location") {
                true => (*key, format!("{dir}/{value}")),
                false => (*key, (*value).to_owned()),
            })
            .collect();
        let changes: Vec<_> = paths
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        let data = scene.path("data");
        let mut settings = scene.settings(&changes);
        settings.push(("log.dirs".to_owned(), data.clone()));
        let properties: Vec<_> = settings
            .iter()
            .map(|(key, value)| Property::given(key, value))
            .collect();
        let config = standalone(&properties).unwrap().config;
        let fault = Broker::start(config, Options::default()).await.unwrap_err();
        let StartError::Settings(text) = fault else {
            panic!("{name}: {fault:?}");
        };
        assert!(
            text.contains(&expected.replace("DIR", &dir)),
            "{name}: {text}"
        );
        assert!(!text.contains("hush"));
        assert!(!Path::new(&data).exists(), "{name}: nothing was touched");
    }
}

/// Changes a broker setting while the node runs. Gives the error code and message.
async fn set(client: &mut Client, name: &str, value: &str) -> (i16, String) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 4,
            resource_name: "1".into(),
            configs: vec![AlterableConfig {
                name: name.into(),
                config_operation: 0,
                value: Some(value.into()),
            }],
        }],
        validate_only: false,
    };
    client.send(&frame(5, 0, &request)).await;
    let (_, mut body) = client.answer().await;
    let answer = IncrementalAlterConfigsResponse::read(&mut body, 0).unwrap();
    let one = &answer.responses[0];
    let why = one.error_message.as_ref().map(ToString::to_string);
    (one.error_code, why.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_broker_takes_another_certificate() {
    const LOCATION: &str = "listener.name.ssl.ssl.keystore.location";
    let (old, new) = (Scene::new(), Scene::new());
    let node = old.node(&[]).await;
    let mut plain = node.connect().await;
    let version = &rustls::version::TLS13;
    // For the old and the new certificate: whether a new connection is served with it.
    let seen = async || {
        let got = [&old, &new].map(|scene| outcome(&node, scene.config(version, None)));
        let [by_old, by_new] = got;
        (by_old.await.is_ok(), by_new.await.is_ok())
    };
    let address = node.broker.addresses()[1];
    let config = old.config(version, None);
    let mut earlier = blocking(move || {
        let mut client = Secured::connect(address, config);
        assert_eq!(client.ask().unwrap(), 77);
        client
    })
    .await;
    assert_eq!(seen().await, (true, false));

    let own = Pair::by(&new.authority, params("somebody"));
    new.write(
        "somebody.pem",
        &format!("{}{}", own.key_pem, own.certificate_pem),
    );
    let somebody = new.path("somebody.pem");
    for (name, value, why) in [
        (LOCATION, "/nowhere", "cannot be read"),
        (
            LOCATION,
            &*somebody,
            "Keystore DistinguishedName does not match",
        ),
        (
            "ssl.keystore.location",
            "/x",
            "only per-listener using the listener prefix",
        ),
        (
            "listener.name.ssl.ssl.keystore.type",
            "BCFKS",
            "BCFKS is not supported",
        ),
        (
            "listener.name.ssl.ssl.principal.mapping.rules",
            "x",
            "Cannot update these configs dynamically",
        ),
    ] {
        let (code, said) = set(&mut plain, name, value).await;
        assert!(
            code == 42 && said.contains(why),
            "{name}={value}: {code} {said}"
        );
    }
    assert_eq!(seen().await, (true, false));

    assert_eq!(set(&mut plain, LOCATION, &new.path("own.pem")).await.0, 0);
    assert_eq!(seen().await, (false, true));
    assert_eq!(blocking(move || earlier.ask()).await.unwrap(), 77);
    // A file that was replaced under the same name is read when the setting is set again.
    let before = std::fs::read(old.path("own.pem")).unwrap();
    std::fs::write(new.path("own.pem"), [&before[..], b"\n"].concat()).unwrap();
    assert_eq!(set(&mut plain, LOCATION, &new.path("own.pem")).await.0, 0);
    assert_eq!(seen().await, (true, false));

    let hidden = set(&mut plain, "listener.name.ssl.ssl.key.password", "hush").await;
    assert_eq!(hidden.0, 0);
    let all = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: 4,
            resource_name: "1".into(),
            configuration_keys: None,
        }],
        include_synonyms: true,
        ..Default::default()
    };
    plain.send(&frame(6, 1, &all)).await;
    let (_, mut body) = plain.answer().await;
    let told = body.take(body.remaining()).unwrap();
    assert!(!told.windows(4).any(|four| four == b"hush"));
}
