//! pure: subject of a certificate as text in Java's form (`X500Principal.getName`, RFC 2253). ACLs and mapping rules are
//! written for this form, including its peculiarities.

use std::fmt::Write as _;

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _};

/// Attribute types that have a keyword in RFC 2253.
const KEYWORDS: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];

/// Characters that are escaped with a backslash. RFC 2253 does not ask for `=` and `#`, but Java escapes them.
const ESCAPED: &str = ",=+<>#;\"\\";

/// Number of elements between version and subject in a certificate: serial number, algorithm, issuer, validity.
const BEFORE_SUBJECT: usize = 4;

/// Subject of a certificate in DER; empty if the certificate has none.
///
/// Errors: the bytes are not a certificate.
pub fn subject(certificate: &[u8]) -> der::Result<String> {
    let whole = AnyRef::from_der(certificate)?;
    let body = first(whole.value())?;
    let mut parts = parts(body.value())?.into_iter();
    let version = |part: &AnyRef<'_>| matches!(part.tag(), Tag::ContextSpecific { .. });
    let skipped = match parts.as_slice().first() {
        Some(part) if version(part) => BEFORE_SUBJECT + 1,
        _ => BEFORE_SUBJECT,
    };
    let subject = parts.nth(skipped).ok_or(der::ErrorKind::Failed)?;
    written(subject.value())
}

/// Text of a name. The last relative name comes first.
fn written(name: &[u8]) -> der::Result<String> {
    let mut texts = Vec::new();
    for relative in parts(name)? {
        let mut pairs = Vec::new();
        for pair in parts(relative.value())? {
            let pair = parts(pair.value())?;
            let [kind, value] = pair[..] else {
                return Err(der::ErrorKind::Failed.into());
            };
            pairs.push(attribute(kind.decode_as()?, value)?);
        }
        texts.push(pairs.join("+"));
    }
    texts.reverse();
    Ok(texts.join(","))
}

fn attribute(kind: ObjectIdentifier, value: AnyRef<'_>) -> der::Result<String> {
    let kind = kind.to_string();
    let keyword = KEYWORDS.iter().find(|(number, _)| *number == kind);
    match (keyword, text(value)) {
        (Some((_, keyword)), Some(text)) => Ok(format!("{keyword}={}", escaped(&text))),
        (keyword, _) => {
            let name = keyword.map_or(kind.as_str(), |(_, keyword)| keyword);
            let mut all = format!("{name}=#");
            for byte in value.to_der()? {
                // Writing to a string does not fail.
                let _ = write!(all, "{byte:02x}");
            }
            Ok(all)
        }
    }
}

/// Text of an attribute value. `None` for types that Java does not treat as text, which include IA5String.
fn text(value: AnyRef<'_>) -> Option<String> {
    let bytes = value.value();
    let latin = || bytes.iter().map(|byte| char::from(*byte)).collect();
    Some(match value.tag() {
        Tag::Utf8String => String::from_utf8_lossy(bytes).into_owned(),
        Tag::PrintableString => bytes
            .iter()
            .map(|byte| {
                if byte.is_ascii() {
                    char::from(*byte)
                } else {
                    char::REPLACEMENT_CHARACTER
                }
            })
            .collect(),
        Tag::TeletexString | Tag::GeneralString => latin(),
        Tag::BmpString => {
            let units = bytes.chunks(2);
            let units =
                units.map(|two| u16::from_be_bytes([two[0], two.get(1).copied().unwrap_or(0)]));
            String::from_utf16_lossy(&units.collect::<Vec<u16>>())
        }
        _ => return None,
    })
}

fn escaped(text: &str) -> String {
    let is_blank = |letter: char| matches!(letter, ' ' | '\r');
    let inner = text.trim_matches(is_blank);
    // In a text of blanks only, all blanks count as leading.
    let (front, behind) = match inner.is_empty() {
        true => (text.len(), 0),
        false => {
            let front = text.len() - text.trim_start_matches(is_blank).len();
            (front, front + inner.len())
        }
    };
    let mut all = String::with_capacity(text.len());
    for (at, letter) in text.char_indices() {
        if letter == '\0' {
            all.push_str("\\00");
            continue;
        }
        if ESCAPED.contains(letter) || is_blank(letter) && (at < front || at >= behind) {
            all.push('\\');
        }
        all.push(letter);
    }
    all
}

/// Elements of a sequence or set, in their order.
fn parts(bytes: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(bytes)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(AnyRef::decode(&mut reader)?);
    }
    Ok(found)
}

fn first(bytes: &[u8]) -> der::Result<AnyRef<'_>> {
    AnyRef::decode(&mut SliceReader::new(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let mut all = vec![tag];
        match u8::try_from(bytes.len()) {
            Ok(short) if short < 0x80 => all.push(short),
            _ => {
                all.push(0x82);
                all.extend((bytes.len() as u16).to_be_bytes());
            }
        }
        all.extend(bytes);
        all
    }

    fn pair(kind: &str, tag: u8, value: &[u8]) -> Vec<u8> {
        let kind = ObjectIdentifier::new_unwrap(kind);
        any(0x30, &[any(6, kind.as_bytes()), any(tag, value)].concat())
    }

    const UTF8: u8 = 12;
    const PRINTABLE: u8 = 19;
    const IA5: u8 = 22;
    const CN: &str = "2.5.4.3";
    const MAIL: &str = "1.2.840.113549.1.9.1";

    /// Text of a name with the given relative names, each of one or more attributes.
    fn name(relative: &[Vec<Vec<u8>>]) -> String {
        let sets: Vec<Vec<u8>> = relative
            .iter()
            .map(|pairs| any(0x31, &pairs.concat()))
            .collect();
        written(&sets.concat()).unwrap()
    }

    #[test]
    fn names_are_written_as_java_writes_them() {
        assert_eq!(name(&[]), "");
        assert_eq!(
            name(&[
                vec![pair("2.5.4.6", PRINTABLE, b"DE")],
                vec![pair("2.5.4.10", UTF8, "Bücher".as_bytes())],
                vec![pair(CN, UTF8, b"a b"), pair("2.5.4.11", UTF8, b"x")],
            ]),
            "CN=a b+OU=x,O=Bücher,C=DE"
        );
        // Java does not treat an IA5String as text, and has no keyword for an e-mail address.
        assert_eq!(
            name(&[vec![pair(MAIL, IA5, b"a@b")]]),
            "1.2.840.113549.1.9.1=#1603614062"
        );
        assert_eq!(
            name(&[vec![pair("0.9.2342.19200300.100.1.25", IA5, b"com")]]),
            "DC=#1603636f6d"
        );
        assert_eq!(
            name(&[vec![pair(MAIL, UTF8, b"a")]]),
            "1.2.840.113549.1.9.1=#0c0161"
        );
        assert_eq!(name(&[vec![pair(CN, 30, &[0, b'a', 0x20, 0xac])]]), "CN=a€");
    }

    #[test]
    fn some_letters_have_a_backslash() {
        for (text, expected) in [
            ("a,b=c", "CN=a\\,b\\=c"),
            ("#a\"\\", "CN=\\#a\\\"\\\\"),
            ("  a b ", "CN=\\ \\ a b\\ "),
            (" ", "CN=\\ "),
            ("a\0b", "CN=a\\00b"),
            ("", "CN="),
        ] {
            assert_eq!(name(&[vec![pair(CN, UTF8, text.as_bytes())]]), expected);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_subject() {
        for bytes in [
            &b""[..],
            b"\x30",
            b"\x30\x00",
            b"\x30\x03\x30\x01\x00",
            &[0x30; 40],
        ] {
            assert!(subject(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn the_subject_of_a_certificate_is_found() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in [
            (rcgen::DnType::CountryName, "DE"),
            (rcgen::DnType::OrganizationName, "house"),
            (rcgen::DnType::CommonName, "alice"),
        ] {
            params.distinguished_name.push(kind, value);
        }
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(subject(certificate.der()).unwrap(), "CN=alice,O=house,C=DE");
    }
}
