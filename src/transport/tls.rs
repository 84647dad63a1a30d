//! TLS configuration of listeners of the protocols SSL and SASL_SSL: settings and the files that they name become a rustls
//! configuration, and a running broker keeps the newest one of each listener. Kafka's `SslFactory` and
//! `DefaultSslEngineFactory`.
//!
//! webpki verifies client certificates: the chain to a trusted certificate, the validity periods, and that the certificate may
//! be used by clients. As in Java, a client certificate that is itself in the truststore is trusted without further checks.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::key_store::{self, KeyEntry, KeyStore, KeyStoreError};
use super::old_certificate::OldCertificate;
use crate::base::plain::Plain;
use crate::config::broker::{BrokerSettings, Listener, running_listeners};
use crate::config::tls::{ClientAuth, Protocol, Source, Store, StoreKind, TlsFault, TlsSettings};
use crate::host::file_time::FileTime;
use crate::host::given;

/// Largest size of a store file, in bytes. A store with the root certificates of all browsers has about 200 KB.
const STORE_BYTES_MAX: u64 = 4 << 20;

/// Newest TLS configuration of each listener, by the listener's name in upper case. Acceptors read it for each connection.
#[derive(Debug, Default)]
pub struct TlsListeners {
    current: Mutex<Loaded>,
}

/// TLS configurations by listener name.
pub type Loaded = BTreeMap<String, LoadedListener>;

#[derive(Clone, Debug)]
pub struct LoadedListener {
    settings: TlsSettings,
    /// State of the store files when they were read.
    files: Vec<FileState>,
    /// Names in the certificates. A new certificate may not lack any of them (see [`TlsListeners::check_successor`]).
    identity: Vec<Identity>,
    pub config: Arc<ServerConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState {
    len: u64,
    modified: Option<FileTime>,
}

/// Subject and alternative names of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    subject: String,
    alternatives: Vec<String>,
}

impl TlsListeners {
    /// TLS configuration for the next connection of a listener.
    pub fn of(&self, listener: &str) -> Option<Arc<ServerConfig>> {
        let current = self.current.lock();
        Some(Arc::clone(&current.get(listener)?.config))
    }

    pub fn install(&self, loaded: Loaded) {
        *self.current.lock() = loaded;
    }

    /// Loads the TLS configuration of the given listeners. A listener whose settings and files are unchanged keeps its
    /// configuration, and with it the sessions that clients may resume.
    ///
    /// Reads files, so the call may block.
    ///
    /// Errors: every mistake, with the name of its setting.
    pub fn load(
        &self,
        listeners: &[Listener],
        settings: &BrokerSettings,
    ) -> Result<Loaded, Vec<TlsFault>> {
        let before = self.current.lock().clone();
        let (mut loaded, mut faults) = (Loaded::new(), Vec::new());
        for listener in listeners {
            if !listener.protocol.has_tls() {
                continue;
            }
            let name = &listener.endpoint.name;
            match TlsSettings::of(settings, name, listener.protocol) {
                Ok(wanted) => match before.get(name) {
                    Some(same) if same.settings == wanted && same.files == states(&wanted) => {
                        loaded.insert(name.clone(), same.clone());
                    }
                    _ => match load(wanted) {
                        Ok(one) => drop(loaded.insert(name.clone(), one)),
                        Err(found) => faults.extend(found),
                    },
                },
                Err(found) => faults.extend(found),
            }
        }
        faults.sort();
        faults.dedup();
        match faults.is_empty() {
            true => Ok(loaded),
            false => Err(faults),
        }
    }

    /// Listeners of a running broker with these settings, and the TLS configuration of those that need one.
    ///
    /// Reads files, as [`Self::load`] does.
    ///
    /// Errors: every mistake, in one line.
    pub fn prepare(&self, settings: &BrokerSettings) -> Result<(Vec<Listener>, Loaded), String> {
        let listeners = running_listeners(settings)?;
        let loaded = self.load(&listeners, settings).map_err(|faults| {
            let texts: Vec<_> = faults.into_iter().map(|(_, what)| what).collect();
            texts.join("; ")
        })?;
        Ok((listeners, loaded))
    }

    /// Checks that a running broker may change to `next`. Unless `ssl.allow.dn.changes` and `ssl.allow.san.changes` are set, a
    /// new certificate must have the subject and the alternative names of the old one. Kafka's `SslFactory.CertificateEntries`.
    pub fn check_successor(&self, next: &Loaded, settings: &BrokerSettings) -> Result<(), String> {
        let current = self.current.lock();
        for (name, next) in next {
            let Some(before) = current.get(name) else {
                continue;
            };
            for (old, new) in before.identity.iter().zip(&next.identity) {
                if old.subject != new.subject && !settings.boolean("ssl.allow.dn.changes") {
                    return Err(format!(
                        "Keystore DistinguishedName does not match: existing={}, new={}; ssl.allow.dn.changes allows it",
                        old.subject, new.subject
                    ));
                }
                let lost = old
                    .alternatives
                    .iter()
                    .find(|name| !new.alternatives.contains(name));
                if let Some(lost) = lost
                    && !settings.boolean("ssl.allow.san.changes")
                {
                    return Err(format!(
                        "Keystore SubjectAltNames do not match: the new ones lack {lost}; ssl.allow.san.changes allows it"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn load(settings: TlsSettings) -> Result<LoadedListener, Vec<TlsFault>> {
    let mut faults = Vec::new();
    let mut fault = |setting: &str, what: String| {
        faults.push((setting.to_owned(), format!("{setting}: {what}")));
    };
    let files = states(&settings);
    let provider = match provider(&settings.cipher_suites) {
        Ok(provider) => Some(Arc::new(provider)),
        Err(what) => {
            fault("ssl.cipher.suites", what);
            None
        }
    };
    let own = &settings.key_store;
    let keys = open(
        own,
        settings.key_password.as_ref().map(|secret| secret.reveal()),
    )
    .and_then(|store| {
        certified(store, &ring::default_provider()).map_err(|what| place(own, &what))
    });
    let keys = keys.map_err(|what| fault(&own.setting, what)).ok();
    let trusted = settings.trust_store.as_ref().map(|store| {
        let trusted =
            open(store, None).and_then(|opened| roots(opened).map_err(|what| place(store, &what)));
        trusted.map_err(|what| fault(&store.setting, what)).ok()
    });
    let (Some(provider), Some(keys)) = (provider, keys) else {
        return Err(faults);
    };
    let trusted = match trusted {
        Some(None) => return Err(faults),
        Some(trusted) => trusted,
        None => None,
    };
    let identity = keys
        .iter()
        .filter_map(|key| identity(key.cert.first()?))
        .collect();
    let versions: Vec<_> = settings
        .protocols
        .iter()
        .map(|protocol| match protocol {
            Protocol::Tls12 => &TLS12,
            Protocol::Tls13 => &TLS13,
        })
        .collect();
    let built = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| ("ssl.cipher.suites", error.to_string()))
        .and_then(|builder| {
            let clients = verifier(settings.client_auth, trusted, &provider)
                .map_err(|error| ("ssl.truststore.location", error))?;
            let mut config = builder
                .with_client_cert_verifier(clients)
                .with_cert_resolver(Arc::new(OwnKeys(keys)));
            config.ignore_client_order = true;
            Ok(config)
        });
    match built {
        Ok(config) => Ok(LoadedListener {
            settings,
            files,
            identity,
            config: Arc::new(config),
        }),
        Err((setting, what)) => Err(vec![(setting.to_owned(), format!("{setting}: {what}"))]),
    }
}

/// Cipher suites offered to clients: all that rustls supports, or those of `ssl.cipher.suites`.
pub(super) fn provider(names: &[String]) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if names.is_empty() {
        return Ok(provider);
    }
    let java = |suite: &rustls::SupportedCipherSuite| {
        format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
    };
    let known: Vec<String> = provider.cipher_suites.iter().map(java).collect();
    let unknown: Vec<&str> = (names.iter().filter(|name| !known.contains(name)))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        return Err(format!(
            "{} is not supported; these are: {}",
            unknown.join(", "),
            known.join(", ")
        ));
    }
    provider
        .cipher_suites
        .retain(|suite| names.contains(&java(suite)));
    Ok(provider)
}

fn verifier(
    auth: ClientAuth,
    trusted: Option<Trusted>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let (ClientAuth::Requested | ClientAuth::Required, Some(trusted)) = (auth, trusted) else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let roots = Arc::new(trusted.roots);
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
    if auth == ClientAuth::Requested {
        builder = builder.allow_unauthenticated();
    }
    let chains = builder.build().map_err(|error| error.to_string())?;
    Ok(Arc::new(Clients {
        chains,
        trusted: trusted.certificates,
        roots,
        known: provider.signature_verification_algorithms,
    }))
}

/// Verifier of client certificates. A certificate that is itself in the truststore needs no chain.
#[derive(Debug)]
struct Clients {
    chains: Arc<dyn ClientCertVerifier>,
    trusted: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    known: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.chains.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.trusted.iter().any(|trusted| trusted == own) {
            return Ok(ClientCertVerified::assertion());
        }
        if let Some(old) = OldCertificate::read(own) {
            old.verify(&self.roots.roots, &self.known, now)?;
            return Ok(ClientCertVerified::assertion());
        }
        self.chains.verify_client_cert(own, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match OldCertificate::read(own) {
            Some(old) => old.verify_tls12(message, signed, &self.known),
            None => self.chains.verify_tls12_signature(message, own, signed),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match OldCertificate::read(own) {
            Some(old) => old.verify_tls13(message, signed, &self.known),
            None => self.chains.verify_tls13_signature(message, own, signed),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Keys of the keystore. A client is served with the first key whose signature schemes it supports.
#[derive(Debug)]
struct OwnKeys(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for OwnKeys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let understood =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(understood).cloned()
    }
}

pub(super) fn certified(
    store: KeyStore,
    provider: &CryptoProvider,
) -> Result<Vec<Arc<CertifiedKey>>, String> {
    if store.keys.is_empty() {
        return Err("there is no private key in it that has a certificate".to_owned());
    }
    let one = |KeyEntry { chain, key }: KeyEntry| {
        let Some(own) = chain.first() else {
            return Err("there is a private key in it, but no certificate".to_owned());
        };
        let unreadable = |error| format!("its certificate cannot be read: {error}");
        let certificate = Certificate::from_der(own).map_err(unreadable)?;
        let public = certificate.tbs_certificate().subject_public_key_info();
        let completed = KeyEntry::completed(&key, public.subject_public_key.raw_bytes());
        let public = public.to_der().map_err(unreadable)?;
        let key = provider
            .key_provider
            .load_private_key(completed.unwrap_or(key))
            .map_err(|_| {
                "its private key is not its certificate's, or cannot be used: RSA from 2048 bits on, EC P-256 and P-384, and Ed25519 can"
            })?;
        if key.public_key().is_some_and(|of_key| *of_key != *public) {
            return Err("its private key does not belong to its certificate".to_owned());
        }
        Ok(Arc::new(CertifiedKey::new(chain, key)))
    };
    store.keys.into_iter().map(one).collect()
}

/// Certificates of a truststore, as trust anchors and as they are.
pub(super) struct Trusted {
    pub(super) roots: RootCertStore,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

pub(super) fn roots(store: KeyStore) -> Result<Trusted, String> {
    let certificates = store.into_trusted();
    if certificates.is_empty() {
        return Err("there is no trusted certificate in it; of PKCS12 files, those that keytool imported count".to_owned());
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("a certificate in it cannot be used: {error}"))?;
    }
    Ok(Trusted {
        roots,
        certificates,
    })
}

fn identity(own: &CertificateDer<'_>) -> Option<Identity> {
    let certificate = Certificate::from_der(own).ok()?;
    let certificate = certificate.tbs_certificate();
    let alternatives = certificate.get_extension::<SubjectAltName>();
    let alternatives = alternatives.ok().flatten().map(|(_, names)| names.0);
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => name.to_string(),
        other => format!("{other:?}"),
    };
    Some(Identity {
        subject: certificate.subject().to_string(),
        alternatives: alternatives.iter().flatten().map(text).collect(),
    })
}

/// Opens a store.
///
/// Errors: the reason, with the path if the store is a file.
pub(super) fn open(store: &Store, key_password: Option<&str>) -> Result<KeyStore, String> {
    let password = store.password.as_ref().map(|secret| secret.reveal());
    let read = match &store.source {
        Source::Inline(text) => key_store::pem(text.reveal(), key_password),
        Source::File(path) => {
            let bytes = read(path).map_err(|what| place(store, &what))?;
            match store.kind {
                StoreKind::Java => key_store::java(&bytes, password, key_password),
                StoreKind::Pem => match std::str::from_utf8(&bytes) {
                    Ok(text) => key_store::pem(text, key_password),
                    Err(_) => Err(KeyStoreError::Damaged(
                        "it is no PEM file; ssl.keystore.type and ssl.truststore.type tell PKCS12 and JKS".to_owned(),
                    )),
                },
            }
        }
    };
    read.map_err(|error| place(store, &error.to_string()))
}

pub(super) fn place(store: &Store, what: &str) -> String {
    match &store.source {
        Source::File(path) => format!("{}: {what}", path.display()),
        Source::Inline(_) => what.to_owned(),
    }
}

/// Content of a regular file of limited size. A path can be set over the network, so the file may be anything.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    given::read(path, STORE_BYTES_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => error.to_string(),
        _ => format!("it cannot be read: {}", Plain(&error)),
    })
}

fn states(settings: &TlsSettings) -> Vec<FileState> {
    [Some(&settings.key_store), settings.trust_store.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(|store| match &store.source {
            Source::File(path) => given::facts(path),
            Source::Inline(_) => None,
        })
        .map(|facts| FileState {
            len: facts.size,
            modified: facts.modified,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_keytool_are_taken_with_their_certificates() {
        let provider = ring::default_provider();
        let open = |bytes: &[u8], key: Option<&str>| {
            key_store::java(bytes, Some("changeit"), key).unwrap()
        };
        // Java stores EC keys without their public key.
        let mut own = open(include_bytes!("stores/own.jks"), Some("keypass1"));
        let mut other = open(include_bytes!("stores/aes.p12"), None);
        std::mem::swap(&mut own.keys[0].chain, &mut other.keys[0].chain);
        assert!(certified(own, &provider).is_err());
        assert!(certified(other, &provider).is_err());
        let own = open(include_bytes!("stores/own.jks"), Some("keypass1"));
        assert_eq!(certified(own, &provider).unwrap().len(), 1);
        let rsa = open(include_bytes!("stores/own.p12"), None);
        assert_eq!(certified(rsa, &provider).unwrap().len(), 1);
    }
}
