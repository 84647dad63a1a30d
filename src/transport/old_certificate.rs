//! pure: client certificates of X.509 version 1. `openssl x509 -req` makes them unless it is told to add extensions, and many
//! instructions for Kafka use it that way. webpki, which verifies all other certificates, does not read them. Java, and so
//! Apache Kafka, does.
//!
//! Such a certificate cannot state its purpose, nor that it may sign others. It is therefore accepted only if a certificate of
//! the truststore signed it directly.

use der::asn1::{AnyRef, BitStringRef};
use der::{Reader, SliceReader, Tag, Tagged};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{SubjectPublicKeyInfoDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error};
use x509_cert::time::Validity;

/// X.509 certificate of version 1, as slices of its DER bytes.
#[derive(Debug)]
pub(super) struct OldCertificate<'a> {
    /// Signed part (`TBSCertificate`).
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    /// Beginning of the validity period, in seconds since 1970.
    valid_from: u64,
    valid_to: u64,
    /// Complete `SubjectPublicKeyInfo`, with tag and length.
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
    /// Reads the content of a `SubjectPublicKeyInfo`.
    fn read(info: &'a [u8]) -> Option<Self> {
        let mut reader = SliceReader::new(info).ok()?;
        Some(Self {
            algorithm: sequence(&mut reader).ok()?,
            bits: bits(&mut reader).ok()?,
        })
    }
}

impl<'a> OldCertificate<'a> {
    /// Reads a certificate. `None` for later versions, and for bytes that are not a certificate.
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
            // In later versions, the version number comes before the serial number.
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

    /// Checks that the certificate is valid at `now` and signed by one of `anchors`.
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
        // Name constraints of an issuer are not evaluated here, so issuers that have any are excluded.
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

    /// Verifies a TLS 1.2 handshake signature made with the certificate's key.
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

    /// Verifies a TLS 1.3 handshake signature made with the certificate's key.
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

/// Content of a sequence.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let value: AnyRef<'a> = reader.decode()?;
    value.tag().assert_eq(Tag::Sequence)?;
    Ok(value.value())
}

/// Content of a bit string whose length is a whole number of bytes.
fn bits<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let bits: BitStringRef<'a> = reader.decode()?;
    let bytes = bits.as_bytes();
    bytes.ok_or_else(|| Tag::BitString.value_error().into())
}
