//! pure: client certificates of X.509 version 1, which `openssl x509 -req` makes where nobody asks for extensions, as many
//! instructions for Kafka do. webpki, which verifies all others, does not read them; Java, and so Apache Kafka, does.
//!
//! Such a certificate cannot say what it is for, nor that it may sign others. So one is taken only if a certificate of the
//! truststore signed it, without any between them.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{SubjectPublicKeyInfoDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::der::{BITS, INTEGER, SEQUENCE, value};

/// Its parts, as they lie in its bytes.
#[derive(Debug)]
pub(super) struct OldCertificate<'a> {
    /// What is signed.
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    /// Seconds since 1970.
    valid_from: u64,
    valid_to: u64,
    /// With its tag and length.
    key_info: &'a [u8],
    key: Key<'a>,
}

/// A public key.
#[derive(Debug)]
struct Key<'a> {
    algorithm: &'a [u8],
    bits: &'a [u8],
}

impl<'a> Key<'a> {
    fn read(mut info: &'a [u8]) -> Option<Self> {
        Some(Self {
            algorithm: take(&mut info, SEQUENCE)?.content,
            bits: bits(take(&mut info, BITS)?.content)?,
        })
    }
}

impl<'a> OldCertificate<'a> {
    /// `None` for a certificate of a later version, and for what is none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut certificate = take(&mut rest, SEQUENCE)?.content;
        let signed = take(&mut certificate, SEQUENCE)?;
        let algorithm = take(&mut certificate, SEQUENCE)?.content;
        let signature = bits(take(&mut certificate, BITS)?.content)?;
        let mut parts = signed.content;
        // Of a later version, that stands before the serial number.
        take(&mut parts, INTEGER)?;
        let same_algorithm = take(&mut parts, SEQUENCE)?.content;
        let issuer = take(&mut parts, SEQUENCE)?.content;
        let [_validity, _subject] = [take(&mut parts, SEQUENCE)?, take(&mut parts, SEQUENCE)?];
        let key_info = take(&mut parts, SEQUENCE)?;
        if !(rest.is_empty() && certificate.is_empty() && parts.is_empty())
            || same_algorithm != algorithm
        {
            return None;
        }
        let parsed = Certificate::from_der(bytes).ok()?;
        let validity = parsed.tbs_certificate().validity();
        Some(Self {
            signed: signed.whole,
            algorithm,
            signature,
            issuer,
            valid_from: validity.not_before.to_unix_duration().as_secs(),
            valid_to: validity.not_after.to_unix_duration().as_secs(),
            key_info: key_info.whole,
            key: Key::read(key_info.content)?,
        })
    }

    /// Whether it is valid now, and one of these signed it.
    pub(super) fn verify(
        &self,
        anchors: &[TrustAnchor<'_>],
        known: &WebPkiSupportedAlgorithms,
        now: UnixTime,
    ) -> Result<(), Error> {
        if now.as_secs() < self.valid_from {
            return Err(CertificateError::NotValidYet.into());
        }
        if now.as_secs() > self.valid_to {
            return Err(CertificateError::Expired.into());
        }
        // Which names somebody may give away is not looked at here.
        let mut issuers = anchors
            .iter()
            .filter(|anchor| *anchor.subject == *self.issuer && anchor.name_constraints.is_none())
            .peekable();
        if issuers.peek().is_none() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let signed_by = |anchor: &TrustAnchor<'_>| {
            let Some(key) = Key::read(&anchor.subject_public_key_info) else {
                return false;
            };
            known.all.iter().any(|one| {
                *one.public_key_alg_id() == *key.algorithm
                    && *one.signature_alg_id() == *self.algorithm
                    && one
                        .verify_signature(key.bits, self.signed, self.signature)
                        .is_ok()
            })
        };
        match issuers.any(signed_by) {
            true => Ok(()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    /// Whether its owner made a signature of the handshake of TLS 1.2.
    pub(super) fn verify_tls12(
        &self,
        message: &[u8],
        signed: &DigitallySignedStruct,
        known: &WebPkiSupportedAlgorithms,
    ) -> Result<HandshakeSignatureValid, Error> {
        let of_scheme = known
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == signed.scheme)
            .flat_map(|(_, algorithms)| algorithms.iter());
        let mut of_key = of_scheme.filter(|one| *one.public_key_alg_id() == *self.key.algorithm);
        let is_own = of_key.any(|one| {
            one.verify_signature(self.key.bits, message, signed.signature())
                .is_ok()
        });
        match is_own {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    /// The same for TLS 1.3.
    pub(super) fn verify_tls13(
        &self,
        message: &[u8],
        signed: &DigitallySignedStruct,
        known: &WebPkiSupportedAlgorithms,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(self.key_info);
        verify_tls13_signature_with_raw_key(message, &key, signed, known)
    }
}

/// A value, and the same with its tag and length.
#[derive(Clone, Copy)]
struct Taken<'a> {
    content: &'a [u8],
    whole: &'a [u8],
}

fn take<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<Taken<'a>> {
    let all = *bytes;
    let (content, rest) = value(all, tag)?;
    *bytes = rest;
    Some(Taken {
        content,
        whole: all.get(..all.len() - rest.len())?,
    })
}

/// A string of bits that is one of bytes.
fn bits(content: &[u8]) -> Option<&[u8]> {
    match content.split_first()? {
        (0, bytes) => Some(bytes),
        _ => None,
    }
}
