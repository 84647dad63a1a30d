//! pure: PKCS#12 key stores (RFC 7292), which `keytool` and `openssl` write.
//!
//! A file holds safes, which may be encrypted with the password, and a MAC over all of them. A safe holds bags: a private key,
//! which may be encrypted once more with the password of the key, or a certificate. Attributes of a bag tell which certificate
//! belongs to a key and, since Java 8, which certificates are trusted. As in Java, any other certificate is used only as an
//! issuer in a chain.

use std::collections::BTreeMap;

use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Reader, Sequence, SliceReader, Tag, Tagged};
use hmac::{KeyInit, Mac, SimpleHmac};
use pkcs8::{AlgorithmIdentifierRef, PrivateKeyInfoRef};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha1::digest::block_api::BlockSizeUser;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512};
use x509_cert::Certificate;

use super::key_store::{KeyEntry, KeyStore, KeyStoreError};
use super::sealed::{self, IterationsLeft, Purpose, SealError, Sealed, derived};

/// Largest number of certificates in the chain of a key. TLS accepts no longer chains.
const CHAIN_MAX: usize = 10;
/// Limit on the total size of the chains of all keys, in bytes. One certificate may be part of every chain.
const CHAINS_BYTES_MAX: usize = 16 << 20;

const fn oid(numbers: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(numbers)
}

const DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.6");
const KEY_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.1");
const SEALED_KEY_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.2");
const CERTIFICATE_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.3");
const X509: ObjectIdentifier = oid("1.2.840.113549.1.9.22.1");
const LOCAL_KEY_ID: ObjectIdentifier = oid("1.2.840.113549.1.9.21");
/// Java's attribute of trusted certificates.
const TRUSTED_KEY_USAGE: ObjectIdentifier = oid("2.16.840.1.113894.746875.1.1");
const SHA1: ObjectIdentifier = oid("1.3.14.3.2.26");
const SHA224: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.4");
const SHA256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.3");

#[derive(Sequence)]
struct Pfx<'a> {
    version: u8,
    safes: ContentInfo<'a>,
    #[asn1(optional = "true")]
    mac: Option<MacData<'a>>,
}

#[derive(Sequence)]
struct ContentInfo<'a> {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: AnyRef<'a>,
}

#[derive(Sequence)]
struct EncryptedData<'a> {
    version: u8,
    content: EncryptedContent<'a>,
}

#[derive(Sequence)]
struct EncryptedContent<'a> {
    kind: ObjectIdentifier,
    scheme: AlgorithmIdentifierRef<'a>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    content: Option<&'a OctetStringRef>,
}

#[derive(Sequence)]
struct MacData<'a> {
    sum: DigestInfo<'a>,
    salt: &'a OctetStringRef,
    #[asn1(default = "once")]
    iterations: u32,
}

fn once() -> u32 {
    1
}

#[derive(Sequence)]
struct DigestInfo<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    digest: &'a OctetStringRef,
}

#[derive(Sequence)]
struct Bag<'a> {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    value: AnyRef<'a>,
    #[asn1(optional = "true")]
    attributes: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct Attribute<'a> {
    kind: ObjectIdentifier,
    values: AnyRef<'a>,
}

#[derive(Sequence)]
struct CertificateBag<'a> {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    certificate: &'a OctetStringRef,
}

/// Reads a store. Without a password the MAC is not verified, as in Java, and an encrypted part is an error.
pub(super) fn open(
    bytes: &[u8],
    password: Option<&str>,
    key_password: Option<&str>,
) -> Result<KeyStore, KeyStoreError> {
    let mut left = IterationsLeft::of_one_file();
    let pfx = Pfx::from_der(bytes)?;
    let safes = pfx.safes.data()?;
    if let (Some(password), Some(mac)) = (password, &pfx.mac) {
        mac.check(safes, password, &mut left)?;
    }
    let mut found = Found {
        // With a MAC that is right, or with a password given for the key, only the password of the key can be wrong.
        key_fault: match pfx.mac.is_some() || key_password.is_some() {
            true => KeyStoreError::WrongKeyPassword,
            false => KeyStoreError::WrongPassword,
        },
        key_password: key_password.or(password),
        keys: Vec::new(),
        certificates: Vec::new(),
    };
    for safe in Vec::<ContentInfo<'_>>::from_der(safes)? {
        match safe.kind {
            DATA => found.read(safe.data()?, &mut left)?,
            ENCRYPTED_DATA => {
                let EncryptedContent {
                    scheme, content, ..
                } = safe.content.decode_as::<EncryptedData<'_>>()?.content;
                let Some(content) = content else { continue };
                let password = password.ok_or(KeyStoreError::PasswordMissing)?;
                let opened = sealed::open(&Sealed { scheme, content }, password, &mut left)?;
                found.read(&opened, &mut left)?;
            }
            other => {
                return Err(KeyStoreError::Damaged(format!(
                    "a part of it is closed in a way that is not supported ({other})"
                )));
            }
        }
    }
    found.into_store()
}

impl<'a> ContentInfo<'a> {
    fn data(&self) -> Result<&'a [u8], KeyStoreError> {
        Ok(self.content.decode_as::<&OctetStringRef>()?.as_bytes())
    }
}

impl MacData<'_> {
    fn check(
        &self,
        content: &[u8],
        password: &str,
        left: &mut IterationsLeft,
    ) -> Result<(), KeyStoreError> {
        let is_right = match self.sum.algorithm.oid {
            SHA1 => self.is_sum::<Sha1>(content, password, left)?,
            SHA224 => self.is_sum::<Sha224>(content, password, left)?,
            SHA256 => self.is_sum::<Sha256>(content, password, left)?,
            SHA384 => self.is_sum::<Sha384>(content, password, left)?,
            SHA512 => self.is_sum::<Sha512>(content, password, left)?,
            other => return Err(SealError::Unsupported(other).into()),
        };
        match is_right {
            true => Ok(()),
            false => Err(KeyStoreError::WrongPassword),
        }
    }

    fn is_sum<Hash: Digest + BlockSizeUser>(
        &self,
        content: &[u8],
        password: &str,
        left: &mut IterationsLeft,
    ) -> Result<bool, SealError> {
        let (salt, len) = (self.salt.as_bytes(), <Hash as Digest>::output_size());
        let key = derived::<Hash>(password, salt, Purpose::Mac, self.iterations, len, left)?;
        let mac = SimpleHmac::<Hash>::new_from_slice(&key);
        let mac = mac.map(|mac| mac.chain_update(content));
        Ok(mac.is_ok_and(|mac| mac.verify_slice(self.sum.digest.as_bytes()).is_ok()))
    }
}

/// Keys and certificates found in the bags.
struct Found<'a> {
    key_password: Option<&'a str>,
    /// Error to report if `key_password` does not decrypt a key.
    key_fault: KeyStoreError,
    keys: Vec<FoundKey>,
    certificates: Vec<FoundCertificate>,
}

struct FoundKey {
    id: Option<Vec<u8>>,
    key: PrivateKeyDer<'static>,
}

struct FoundCertificate {
    id: Option<Vec<u8>>,
    is_trusted: bool,
    certificate: CertificateDer<'static>,
    /// Subject and issuer, in DER.
    names: Option<(Vec<u8>, Vec<u8>)>,
}

impl Found<'_> {
    /// Reads the bags of one safe. Bags of other kinds, such as secret keys, are ignored.
    fn read(&mut self, safe: &[u8], left: &mut IterationsLeft) -> Result<(), KeyStoreError> {
        for bag in Vec::<Bag<'_>>::from_der(safe)? {
            let (id, is_trusted) = bag.attributes()?;
            match bag.kind {
                KEY_BAG => {
                    let key = bag.value.to_der()?;
                    PrivateKeyInfoRef::from_der(&key)?;
                    let key = PrivatePkcs8KeyDer::from(key).into();
                    self.keys.push(FoundKey { id, key });
                }
                SEALED_KEY_BAG => {
                    let sealed = bag.value.decode_as()?;
                    let key = self.open_key(&sealed, left)?;
                    self.keys.push(FoundKey { id, key });
                }
                CERTIFICATE_BAG => {
                    let CertificateBag { kind, certificate } = bag.value.decode_as()?;
                    if kind == X509 {
                        self.certificates.push(FoundCertificate {
                            id,
                            is_trusted,
                            names: names(certificate.as_bytes()),
                            certificate: certificate.as_bytes().to_vec().into(),
                        });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn open_key(
        &self,
        sealed: &Sealed<'_>,
        left: &mut IterationsLeft,
    ) -> Result<PrivateKeyDer<'static>, KeyStoreError> {
        let password = self.key_password.ok_or(KeyStoreError::PasswordMissing)?;
        let key = match sealed::open(sealed, password, left) {
            Err(SealError::WrongPassword) => return Err(self.key_fault.clone()),
            opened => opened?,
        };
        match PrivateKeyInfoRef::from_der(&key) {
            Ok(_) => Ok(PrivatePkcs8KeyDer::from(key).into()),
            // Decryption with a wrong password can yield valid padding by chance.
            Err(_) => Err(self.key_fault.clone()),
        }
    }

    fn into_store(self) -> Result<KeyStore, KeyStoreError> {
        let certificates = &self.certificates;
        let by_subject: BTreeMap<&[u8], &FoundCertificate> = certificates
            .iter()
            .filter_map(|one| Some((one.names.as_ref()?.0.as_slice(), one)))
            .collect();
        let untrusted = || certificates.iter().filter(|one| !one.is_trusted);
        let (mut keys, mut size) = (Vec::new(), 0);
        let only_key = self.keys.len() == 1;
        for FoundKey { id, key } in self.keys {
            let own = match id {
                Some(id) => untrusted().find(|one| one.id.as_deref() == Some(&id)),
                // As in Java, the first certificate belongs to the only key.
                None if only_key => untrusted().next(),
                None => None,
            };
            let Some(own) = own else { continue };
            let chain = chain_of(own, &by_subject);
            size += chain.iter().map(|one| one.len()).sum::<usize>();
            if size > CHAINS_BYTES_MAX {
                return Err(KeyStoreError::Damaged(format!(
                    "the certificates of its keys have more than {CHAINS_BYTES_MAX} bytes"
                )));
            }
            keys.push(KeyEntry { chain, key });
        }
        let trusted = self.certificates.into_iter().filter(|one| one.is_trusted);
        Ok(KeyStore {
            keys,
            trusted: trusted.map(|one| one.certificate).collect(),
        })
    }
}

impl Bag<'_> {
    /// Identifier that a key and its certificate share, and whether the bag is marked as trusted.
    fn attributes(&self) -> der::Result<(Option<Vec<u8>>, bool)> {
        let (mut id, mut is_trusted) = (None, false);
        let Some(attributes) = self.attributes else {
            return Ok((id, is_trusted));
        };
        attributes.tag().assert_eq(Tag::Set)?;
        // Some programs do not sort a set as DER requires.
        let mut rest = SliceReader::new(attributes.value())?;
        while !rest.is_finished() {
            let Attribute { kind, values } = rest.decode()?;
            match kind {
                LOCAL_KEY_ID => {
                    let mut values = SliceReader::new(values.value())?;
                    let first: &OctetStringRef = values.decode()?;
                    id = Some(first.as_bytes().to_vec());
                }
                TRUSTED_KEY_USAGE => is_trusted = true,
                _ => {}
            }
        }
        Ok((id, is_trusted))
    }
}

/// Subject and issuer of a certificate. `None` if it cannot be read; the user of the certificate reports that.
fn names(certificate: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let certificate = certificate.tbs_certificate();
    let names = (
        certificate.subject().to_der(),
        certificate.issuer().to_der(),
    );
    Some((names.0.ok()?, names.1.ok()?))
}

/// A certificate and its issuers up to a self-signed one, as far as they are in the store.
fn chain_of(
    own: &FoundCertificate,
    by_subject: &BTreeMap<&[u8], &FoundCertificate>,
) -> Vec<CertificateDer<'static>> {
    let (mut chain, mut last) = (vec![own.certificate.clone()], own);
    while chain.len() < CHAIN_MAX
        && let Some((subject, issuer)) = &last.names
        && subject != issuer
        && let Some(next) = by_subject.get(issuer.as_slice())
        && !chain.contains(&next.certificate)
    {
        chain.push(next.certificate.clone());
        last = next;
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes every byte of the decrypted safes in turn. In a complete file, the MAC would detect such a change.
    #[test]
    fn whatever_is_in_a_safe_is_read_or_refused() {
        let bytes = include_bytes!("stores/chain.p12");
        let safes = Pfx::from_der(bytes).unwrap().safes;
        let mut read = 0;
        for safe in Vec::<ContentInfo<'_>>::from_der(safes.data().unwrap()).unwrap() {
            let opened = match safe.kind {
                DATA => safe.data().unwrap().to_vec(),
                _ => {
                    let data: EncryptedData<'_> = safe.content.decode_as().unwrap();
                    let EncryptedContent {
                        scheme, content, ..
                    } = data.content;
                    let content = content.unwrap();
                    let sealed = Sealed { scheme, content };
                    sealed::open(&sealed, "changeit", &mut IterationsLeft::of_one_file()).unwrap()
                }
            };
            for at in 0..opened.len() {
                let mut changed = opened.clone();
                changed[at] ^= 0x81;
                let mut found = Found {
                    // No key is decrypted here: that is slow, and tested elsewhere.
                    key_password: None,
                    key_fault: KeyStoreError::WrongPassword,
                    keys: Vec::new(),
                    certificates: Vec::new(),
                };
                let is_read = found
                    .read(&changed, &mut IterationsLeft::of_one_file())
                    .is_ok();
                read += u32::from(is_read && found.into_store().is_ok());
            }
        }
        assert!(read > 0);
    }
}
