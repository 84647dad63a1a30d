//! pure: client certificates of X.509 version 1, which `openssl x509 -req` makes where nobody asks for extensions, as many
//! instructions for Kafka do. webpki, which verifies all others, does not read them; Java, and so Apache Kafka, does.
//!
//! Such a certificate cannot say what it is for, nor that it may sign others. So one is taken only if a certificate of the
//! truststore signed it, without any between them.

use der::asn1::{AnyRef, BitStringRef};
use der::{Reader, SliceReader, Tag, Tagged};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{SubjectPublicKeyInfoDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error};
use x509_cert::time::Validity;

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
    /// Out of what a `SubjectPublicKeyInfo` contains.
    fn read(info: &'a [u8]) -> Option<Self> {
        let mut reader = SliceReader::new(info).ok()?;
        Some(Self {
            algorithm: sequence(&mut reader).ok()?,
            bits: bits(&mut reader).ok()?,
        })
    }
}

impl<'a> OldCertificate<'a> {
    /// `None` for a certificate of a later version, and for what is none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        Self::parts(bytes).ok().flatten()
    }

    fn parts(bytes: &'a [u8]) -> der::Result<Option<Self>> {
        let mut reader = SliceReader::new(bytes)?;
        let (signed, algorithm, signature) = reader.sequence(|parts| {
            Ok::<_, der::Error>((parts.tlv_bytes()?, sequence(parts)?, bits(parts)?))
        })?;
        reader.finish()?;
        SliceReader::new(signed)?.sequence(|parts| {
            // A later version stands before the serial number.
            let serial: AnyRef<'_> = parts.decode()?;
            serial.tag().assert_eq(Tag::Integer)?;
            let same_algorithm = sequence(parts)?;
            let issuer = sequence(parts)?;
            let validity: Validity = parts.decode()?;
            let _subject = sequence(parts)?;
            let key_info = parts.tlv_bytes()?;
            let key = Key::read(sequence(&mut SliceReader::new(key_info)?)?);
            let key = key.filter(|_| same_algorithm == algorithm);
            Ok(key.map(|key| Self {
                signed,
                algorithm,
                signature,
                issuer,
                valid_from: validity.not_before.to_unix_duration().as_secs(),
                valid_to: validity.not_after.to_unix_duration().as_secs(),
                key_info,
                key,
            }))
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

/// The content of a sequence.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let value: AnyRef<'a> = reader.decode()?;
    value.tag().assert_eq(Tag::Sequence)?;
    Ok(value.value())
}

/// A string of bits that is one of bytes.
fn bits<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let bits: BitStringRef<'a> = reader.decode()?;
    let bytes = bits.as_bytes();
    bytes.ok_or_else(|| Tag::BitString.value_error().into())
}
