//! Transport of connections that this process opens: plain, or through TLS. The settings are those of Kafka's clients.
//!
//! As in Java, a broker certificate that is itself in the truststore is trusted without further checks. The host name is
//! verified unless `ssl.endpoint.identification.algorithm` is empty.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::tls::{certified, open, place, provider, roots};
use crate::config::tls::{ClientTls, Protocol, Source, Store, StoreKind, TlsFault};
use crate::host::given;
use crate::host::socket::{ReadHalf, Socket, WriteHalf};

/// Paths of the system's root certificates, which are used if no truststore is set.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Transport of a connection to a broker.
#[derive(Clone, Default)]
pub enum Transport {
    #[default]
    Plain,
    Tls(Arc<ClientConfig>),
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

impl Transport {
    /// Reading and writing half of a connection to `address` (`host:port`), after the TLS handshake if there is one.
    ///
    /// Errors: a failed handshake is `InvalidData` with the reason.
    pub async fn open(&self, socket: Socket, address: &str) -> io::Result<(ReadHalf, WriteHalf)> {
        match self {
            Self::Plain => Ok(socket.into_halves()),
            Self::Tls(config) => {
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                let host = host
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .to_owned();
                let name = ServerName::try_from(host).map_err(io::Error::other)?;
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name, socket).await?;
                let (incoming, outgoing) = tokio::io::split(stream);
                Ok((Box::new(incoming), Box::new(outgoing)))
            }
        }
    }
}

/// Loads the stores that the settings name.
///
/// Errors: every mistake, with the name of its setting.
pub fn load(settings: &ClientTls) -> Result<Arc<ClientConfig>, Vec<TlsFault>> {
    let one =
        |setting: &str, what: String| vec![(setting.to_owned(), format!("{setting}: {what}"))];
    let provider =
        Arc::new(provider(&settings.cipher_suites).map_err(|what| one("ssl.cipher.suites", what))?);
    let key_password = settings.key_password.as_ref().map(|secret| secret.reveal());
    let keys = match &settings.key_store {
        None => Vec::new(),
        Some(store) => open(store, key_password)
            .and_then(|opened| {
                certified(opened, &ring::default_provider()).map_err(|what| place(store, &what))
            })
            .map_err(|what| one(&store.setting, what))?,
    };
    let system;
    let store = match &settings.trust_store {
        Some(store) => store,
        None => {
            system = system_roots().ok_or_else(|| {
                one(
                    "ssl.truststore.location",
                    "it is not set, and the system has no certificates".to_owned(),
                )
            })?;
            &system
        }
    };
    let trusted = open(store, None)
        .and_then(|opened| roots(opened).map_err(|what| place(store, &what)))
        .map_err(|what| one(&store.setting, what))?;
    let versions: Vec<_> = settings
        .protocols
        .iter()
        .map(|protocol| match protocol {
            Protocol::Tls12 => &TLS12,
            Protocol::Tls13 => &TLS13,
        })
        .collect();
    let chains =
        WebPkiServerVerifier::builder_with_provider(Arc::new(trusted.roots), Arc::clone(&provider))
            .build()
            .map_err(|error| one(&store.setting, error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| one("ssl.enabled.protocols", error.to_string()))?;
    let config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Brokers {
            chains,
            trusted: trusted.certificates,
            compare_names: settings.compare_names,
        }))
        .with_client_cert_resolver(Arc::new(OwnKeys(keys)));
    Ok(Arc::new(config))
}

fn system_roots() -> Option<Store> {
    let path = SYSTEM_ROOTS
        .iter()
        .map(Path::new)
        .find(|path| given::facts(path).is_some_and(|facts| facts.is_file))?;
    Some(Store {
        kind: StoreKind::Pem,
        source: Source::File(path.to_owned()),
        password: None,
        setting: "ssl.truststore.location".to_owned(),
    })
}

/// Keys of the keystore. A broker gets the certificate of the first key whose signature schemes it supports.
#[derive(Debug)]
struct OwnKeys(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for OwnKeys {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let understood = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        self.0.iter().find(understood).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Verifier of broker certificates. See the module.
#[derive(Debug)]
struct Brokers {
    chains: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
    compare_names: bool,
}

impl ServerCertVerifier for Brokers {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.trusted.iter().any(|trusted| trusted == own) {
            if self.compare_names {
                verify_server_name(&ParsedCertificate::try_from(own)?, name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self
            .chains
            .verify_server_cert(own, intermediates, name, ocsp, now);
        match verified {
            // webpki checks the name last, so everything else has been verified here.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.compare_names => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
