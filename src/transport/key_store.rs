//! pure: keys and certificates from the kinds of file that Kafka reads: PEM, PKCS#12 and JKS.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Sequence};
use pkcs8::PrivateKeyInfoRef;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};

use super::sealed::{self, IterationsLeft, SealError, Sealed};
use super::{jks, pkcs12};

/// A private key, and the certificate chain that begins with its own certificate.
pub struct KeyEntry {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// Private key on an elliptic curve, RFC 5915.
#[derive(Sequence)]
struct EcPrivateKey<'a> {
    version: u8,
    secret: &'a OctetStringRef,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    curve: Option<AnyRef<'a>>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    public: Option<BitStringRef<'a>>,
}

impl KeyEntry {
    /// The key with its public key added. Java leaves the public key out of EC keys, but ring requires it. `public` is the
    /// public key in the certificate. `None` for a key of another kind.
    pub fn completed(key: &PrivateKeyDer<'_>, public: &[u8]) -> Option<PrivateKeyDer<'static>> {
        const EC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
        let info = PrivateKeyInfoRef::from_der(key.secret_der()).ok()?;
        if info.algorithm.oid != EC_KEY {
            return None;
        }
        let key = EcPrivateKey {
            // The algorithm identifier names the curve.
            curve: None,
            public: Some(BitStringRef::from_bytes(public).ok()?),
            ..EcPrivateKey::from_der(info.private_key.as_bytes()).ok()?
        };
        let key = key.to_der().ok()?;
        let info = PrivateKeyInfoRef::new(info.algorithm, OctetStringRef::new(&key).ok()?);
        Some(PrivatePkcs8KeyDer::from(info.to_der().ok()?).into())
    }
}

/// Content of a store.
#[derive(Default)]
pub struct KeyStore {
    pub keys: Vec<KeyEntry>,
    pub trusted: Vec<CertificateDer<'static>>,
}

impl KeyStore {
    /// Trust anchors: trusted certificates and, as in Java, the certificates of the store's own keys.
    pub fn into_trusted(mut self) -> Vec<CertificateDer<'static>> {
        let own = self
            .keys
            .into_iter()
            .filter_map(|entry| entry.chain.into_iter().next());
        self.trusted.extend(own);
        self.trusted
    }
}

/// Reason why a store cannot be read. No variant reveals any of its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyStoreError {
    #[error("the password is wrong, or the file is damaged")]
    WrongPassword,
    #[error(
        "the password of its key is wrong: it is that of ssl.key.password, or else that of the store"
    )]
    WrongKeyPassword,
    #[error("the key is encrypted, and ssl.key.password is not set")]
    KeyPasswordMissing,
    #[error("a PKCS12 file cannot be read without its password")]
    PasswordMissing,
    #[error("it is no JKS or PKCS12 file{0}")]
    NoStore(&'static str),
    #[error("{0}")]
    Damaged(String),
    #[error(
        "the encryption of its key is not supported ({0}); `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW` makes one that is"
    )]
    KeyEncryption(String),
}

impl From<der::Error> for KeyStoreError {
    fn from(error: der::Error) -> Self {
        Self::Damaged(format!("it is damaged: {error}"))
    }
}

impl From<SealError> for KeyStoreError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::WrongPassword => Self::WrongPassword,
            SealError::TooSlow => {
                Self::Damaged("it takes too much work to derive a key from its password".to_owned())
            }
            SealError::Unsupported(oid) => Self::Damaged(format!(
                "an algorithm in it is not supported ({oid}); `keytool -importkeystore -srckeystore OLD -destkeystore NEW -deststoretype PKCS12` makes a file of those that are"
            )),
            SealError::Damaged(error) => error.into(),
        }
    }
}

/// Reads a JKS or PKCS#12 file. The content decides which of the two it is.
pub fn java(
    bytes: &[u8],
    password: Option<&str>,
    key_password: Option<&str>,
) -> Result<KeyStore, KeyStoreError> {
    match bytes {
        _ if bytes.starts_with(&jks::MAGIC) => jks::open(bytes, password, key_password),
        [0x30, ..] => pkcs12::open(bytes, password, key_password),
        [0xce, 0xce, 0xce, 0xce, ..] => Err(KeyStoreError::NoStore(
            " but JCEKS; `keytool -importkeystore -srckeystore OLD -srcstoretype JCEKS -destkeystore NEW -deststoretype PKCS12` makes one of it",
        )),
        _ if bytes.starts_with(b"-----BEGIN") => Err(KeyStoreError::NoStore(
            " but PEM, for which the type must be PEM",
        )),
        _ => Err(KeyStoreError::NoStore("")),
    }
}

/// Reads PEM text: all certificates, and the first private key with these certificates as its chain. Text around the blocks is
/// ignored, and so are line breaks.
///
/// `PemObject` of rustls is not used: it skips encrypted keys and requires line breaks, which the value of a setting often
/// lacks.
pub fn pem(text: &str, key_password: Option<&str>) -> Result<KeyStore, KeyStoreError> {
    let mut certificates = Vec::new();
    let mut key = None;
    for block in blocks(text)? {
        match block.label {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                certificates.push(CertificateDer::from(block.content));
            }
            label if label.ends_with("PRIVATE KEY") && key.is_none() => {
                key = Some(private_key(label, block.content, key_password)?);
            }
            _ => {}
        }
    }
    Ok(match key {
        Some(key) => KeyStore {
            keys: vec![KeyEntry {
                chain: certificates,
                key,
            }],
            trusted: Vec::new(),
        },
        None => KeyStore {
            keys: Vec::new(),
            trusted: certificates,
        },
    })
}

struct Block<'a> {
    label: &'a str,
    content: Vec<u8>,
}

fn blocks(text: &str) -> Result<Vec<Block<'_>>, KeyStoreError> {
    const BEGIN: &str = "-----BEGIN ";
    const DASHES: &str = "-----";
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let block = after.split_once(DASHES).and_then(|(label, after)| {
            let (body, after) = after.split_once(&format!("-----END {label}{DASHES}"))?;
            Some((label, body, after))
        });
        let (label, body, after) =
            block.ok_or_else(|| KeyStoreError::Damaged("a BEGIN in it has no END".to_owned()))?;
        if body.contains("Proc-Type:") {
            return Err(KeyStoreError::KeyEncryption(format!(
                "the old one of a {label}"
            )));
        }
        let plain: String = body.split_whitespace().collect();
        let content = STANDARD
            .decode(plain)
            .map_err(|_| KeyStoreError::Damaged(format!("a {label} in it is no base64")))?;
        found.push(Block { label, content });
        rest = after;
    }
    Ok(found)
}

/// Reads a private key in one of the PEM forms.
///
/// Kafka differs: it accepts PKCS#8 only.
fn private_key(
    label: &str,
    content: Vec<u8>,
    password: Option<&str>,
) -> Result<PrivateKeyDer<'static>, KeyStoreError> {
    match label {
        "PRIVATE KEY" => Ok(PrivatePkcs8KeyDer::from(content).into()),
        "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(content).into()),
        "EC PRIVATE KEY" => Ok(PrivateSec1KeyDer::from(content).into()),
        "ENCRYPTED PRIVATE KEY" => {
            let password = password.ok_or(KeyStoreError::KeyPasswordMissing)?;
            let key = sealed::open(
                &Sealed::from_der(&content)?,
                password,
                &mut IterationsLeft::of_one_file(),
            );
            let key = key.map_err(|error| match error {
                SealError::WrongPassword => KeyStoreError::WrongKeyPassword,
                SealError::Unsupported(oid) => KeyStoreError::KeyEncryption(oid.to_string()),
                other => other.into(),
            })?;
            Ok(PrivatePkcs8KeyDer::from(key).into())
        }
        other => Err(KeyStoreError::Damaged(format!(
            "a {other} is not supported"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores for tests. `keytool` of Java 17 made `own` (with a key) and `trust` (with the certificate of own.jks as a trusted
    /// one). `openssl` 3.0 made `aes`, `legacy` (with `-legacy`; both from key.pem and certificate.pem), `chain` (with the
    /// certificates of two issuers) and `open` (like `chain`, but without any password).
    macro_rules! stored {
        ($name:literal) => {
            include_bytes!(concat!("stores/", $name)).as_slice()
        };
    }

    const PASSWORD: Option<&str> = Some("changeit");

    /// Number of certificates of each key, and number of trusted certificates.
    fn check(store: Result<KeyStore, KeyStoreError>) -> (Vec<usize>, usize) {
        let store = store.unwrap();
        let chains = store.keys.iter().map(|entry| entry.chain.len()).collect();
        (chains, store.trusted.len())
    }

    #[test]
    fn stores_of_keytool_and_openssl_are_read() {
        assert_eq!(
            check(java(stored!("own.jks"), PASSWORD, Some("keypass1"))),
            (vec![1], 0)
        );
        assert_eq!(
            check(java(stored!("trust.jks"), PASSWORD, None)),
            (vec![], 1)
        );
        assert_eq!(check(java(stored!("trust.jks"), None, None)), (vec![], 1));
        assert_eq!(
            check(java(stored!("own.p12"), PASSWORD, PASSWORD)),
            (vec![1], 0)
        );
        assert_eq!(
            check(java(stored!("trust.p12"), PASSWORD, None)),
            (vec![], 1)
        );
        let own = java(stored!("own.jks"), PASSWORD, Some("keypass1")).unwrap();
        let trusted = java(stored!("trust.jks"), PASSWORD, None).unwrap();
        assert_eq!(own.into_trusted(), trusted.into_trusted());
        assert_eq!(
            check(java(stored!("chain.p12"), PASSWORD, None)),
            (vec![3], 0)
        );
        for password in [PASSWORD, None] {
            let store = java(stored!("open.p12"), password, None).unwrap();
            let chain = java(stored!("chain.p12"), PASSWORD, None).unwrap();
            assert!(store.keys[0].chain == chain.keys[0].chain);
            assert!(store.keys[0].key == chain.keys[0].key);
        }
        for bytes in [stored!("aes.p12"), stored!("legacy.p12")] {
            let store = java(bytes, PASSWORD, None).unwrap();
            let text = [
                include_str!("stores/key.pem"),
                include_str!("stores/certificate.pem"),
            ]
            .concat();
            let plain = pem(&text, None).unwrap();
            assert!(store.keys[0].chain == plain.keys[0].chain);
            assert!(store.keys[0].key == plain.keys[0].key);
        }
    }

    #[test]
    fn texts_may_be_encrypted_and_in_one_line() {
        let plain = pem(include_str!("stores/key.pem"), None).unwrap();
        for encrypted in [
            include_str!("stores/encrypted.pem"),
            include_str!("stores/encrypted-pbes1.pem"),
        ] {
            assert!(pem(encrypted, PASSWORD).unwrap().keys[0].key == plain.keys[0].key);
        }
        let line = include_str!("stores/key.pem").replace('\n', " ");
        assert!(pem(&line, None).unwrap().keys[0].key == plain.keys[0].key);
    }

    #[test]
    fn whatever_cannot_be_read_is_told_by_reason() {
        let fault = |read: Result<KeyStore, KeyStoreError>| read.err().unwrap();
        let wrong = Some("wrong");
        for bytes in [
            stored!("own.jks"),
            stored!("own.p12"),
            stored!("aes.p12"),
            stored!("legacy.p12"),
        ] {
            assert_eq!(
                fault(java(bytes, wrong, None)),
                KeyStoreError::WrongPassword
            );
        }
        assert_eq!(
            fault(java(stored!("own.jks"), PASSWORD, None)),
            KeyStoreError::WrongKeyPassword
        );
        assert_eq!(
            fault(java(stored!("own.p12"), PASSWORD, wrong)),
            KeyStoreError::WrongKeyPassword
        );
        assert_eq!(
            fault(java(stored!("trust.p12"), None, None)),
            KeyStoreError::PasswordMissing
        );
        assert!(matches!(
            fault(java(b"nothing", PASSWORD, None)),
            KeyStoreError::NoStore(_)
        ));
        let encrypted = include_str!("stores/encrypted.pem");
        assert_eq!(
            fault(pem(encrypted, None)),
            KeyStoreError::KeyPasswordMissing
        );
        assert_eq!(
            fault(pem(encrypted, wrong)),
            KeyStoreError::WrongKeyPassword
        );
        // RC4 instead of triple DES.
        let old = include_str!("stores/encrypted-pbes1.pem").replace("DQEMAQMw", "DQEMAQEw");
        assert_eq!(
            fault(pem(&old, PASSWORD)),
            KeyStoreError::KeyEncryption("1.2.840.113549.1.12.1.1".to_owned())
        );
        assert!(matches!(
            fault(pem("-----BEGIN CERTIFICATE-----\nAA", None)),
            KeyStoreError::Damaged(_)
        ));
    }

    #[test]
    fn a_cut_or_changed_store_is_refused_in_words() {
        for bytes in [stored!("own.jks"), stored!("trust.jks"), stored!("aes.p12")] {
            for len in 0..bytes.len() {
                assert!(java(&bytes[..len], PASSWORD, Some("keypass1")).is_err());
                // Without a password there is no checksum, so that most damage goes unnoticed.
                let _ = java(&bytes[..len], None, None);
            }
        }
        let bytes = stored!("trust.jks");
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x81;
            assert!(java(&changed, PASSWORD, None).is_err(), "{at}");
            let _ = java(&changed, None, None);
        }
    }
}
