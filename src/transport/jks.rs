//! pure: JKS, Java's own key store format. `keytool` wrote it by default until Java 8, and still does with `-storetype JKS`.
//!
//! A file has a header, entries, and a SHA-1 sum over the password and the content. A private key is XORed with a stream of
//! SHA-1 sums that starts from its password and a salt. A sum over password and key follows it.

use der::Decode;
use der::asn1::ObjectIdentifier;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha1::{Digest, Sha1};

use super::key_store::{KeyEntry, KeyStore, KeyStoreError};
use super::sealed::{Sealed, utf16};

pub(super) const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];

const PRIVATE_KEY: u32 = 1;
const TRUSTED: u32 = 2;
/// Constant text that is hashed between the password and the content.
const WHITENER: &[u8] = b"Mighty Aphrodite";
const SUM: usize = 20;
/// Algorithm identifier of Sun's key protector.
const PROTECTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.42.2.17.1.1");

/// Reads a store. Without a password the checksum is not verified, as in Java, and keys are skipped.
pub(super) fn open(
    bytes: &[u8],
    password: Option<&str>,
    key_password: Option<&str>,
) -> Result<KeyStore, KeyStoreError> {
    let damaged = || KeyStoreError::Damaged("it ends too early or is damaged".to_owned());
    let (content, sum) = bytes.split_last_chunk::<SUM>().ok_or_else(damaged)?;
    if let Some(password) = password {
        let mut digest = Sha1::new();
        digest.update(utf16(password));
        digest.update(WHITENER);
        digest.update(content);
        if digest.finalize()[..] != sum[..] {
            return Err(KeyStoreError::WrongPassword);
        }
    }
    let mut cursor = Cursor(content.get(MAGIC.len()..).ok_or_else(damaged)?);
    let mut store = KeyStore::default();
    let version = cursor.u32().ok_or_else(damaged)?;
    if !(1..=2).contains(&version) {
        return Err(KeyStoreError::Damaged(format!(
            "version {version} of JKS is not known"
        )));
    }
    for _ in 0..cursor.u32().ok_or_else(damaged)? {
        match cursor.u32().ok_or_else(damaged)? {
            PRIVATE_KEY => {
                let hidden = cursor.entry().ok_or_else(damaged)?;
                let mut chain = Vec::new();
                for _ in 0..cursor.u32().ok_or_else(damaged)? {
                    chain.push(cursor.certificate(version).ok_or_else(damaged)?);
                }
                let Some(password) = key_password.or(password) else {
                    continue;
                };
                let key = PrivatePkcs8KeyDer::from(uncover(hidden, password)?).into();
                store.keys.push(KeyEntry { chain, key });
            }
            TRUSTED => {
                cursor.alias().ok_or_else(damaged)?;
                store
                    .trusted
                    .push(cursor.certificate(version).ok_or_else(damaged)?);
            }
            other => {
                return Err(KeyStoreError::Damaged(format!(
                    "an entry of kind {other} is not known"
                )));
            }
        }
    }
    Ok(store)
}

fn uncover(hidden: &[u8], password: &str) -> Result<Vec<u8>, KeyStoreError> {
    let sealed = Sealed::from_der(hidden).ok();
    let sealed = sealed.filter(|sealed| sealed.scheme.oid == PROTECTOR);
    let sealed = sealed.ok_or_else(|| {
        KeyStoreError::Damaged("its key is hidden in a way that is not known".to_owned())
    })?;
    let covered = sealed.content.as_bytes();
    let password = utf16(password);
    let damaged = || KeyStoreError::Damaged("its key is too short".to_owned());
    let (salt, rest) = covered.split_first_chunk::<SUM>().ok_or_else(damaged)?;
    let (body, sum) = rest.split_last_chunk::<SUM>().ok_or_else(damaged)?;
    let mut key = body.to_vec();
    let mut last = *salt;
    for block in key.chunks_mut(SUM) {
        last = Sha1::new()
            .chain_update(&password)
            .chain_update(last)
            .finalize()
            .into();
        for (byte, cover) in block.iter_mut().zip(last) {
            *byte ^= cover;
        }
    }
    let expected = Sha1::new()
        .chain_update(&password)
        .chain_update(&key)
        .finalize();
    match expected[..] == sum[..] {
        true => Ok(key),
        false => Err(KeyStoreError::WrongKeyPassword),
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    /// Bytes with a length of four bytes before them.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(usize::try_from(len).ok()?)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        self.take(usize::from(u16::from_be_bytes(*len)))
    }

    /// Skips an alias and a date.
    fn alias(&mut self) -> Option<()> {
        self.text()?;
        self.take(size_of::<u64>()).map(drop)
    }

    fn entry(&mut self) -> Option<&'a [u8]> {
        self.alias()?;
        self.bytes()
    }

    /// Certificate. Since version 2 of the format, its type (always X.509) comes first.
    fn certificate(&mut self, version: u32) -> Option<CertificateDer<'static>> {
        if version > 1 {
            self.text()?;
        }
        Some(CertificateDer::from(self.bytes()?.to_vec()))
    }
}
