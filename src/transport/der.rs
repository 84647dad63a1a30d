//! pure: the few words of DER that keys are wrapped in.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BITS: u8 = 0x03;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
const PUBLIC_KEY: u8 = 0xa1;

/// The content of a DER value with this tag, and what follows it.
pub(super) fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            let length = digits
                .iter()
                .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    (*first == tag)
        .then(|| rest.split_at_checked(length))
        .flatten()
}

/// A value of less than 64 KiB.
fn written(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut bytes = vec![tag];
    match content.len() {
        short @ 0..=0x7f => bytes.push(short as u8),
        long => {
            bytes.push(0x82);
            bytes.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    // The one form that is allowed has no zeros in front.
    if let [_, 0x82, 0, len] = bytes[..] {
        bytes.truncate(1);
        bytes.extend_from_slice(&[0x81, len]);
    }
    bytes.extend_from_slice(&content);
    bytes
}

/// The PKCS#8 of a key on an elliptic curve with its public key put in, which Java leaves out, and ring insists on. `None`
/// for any other key.
pub(super) fn with_public_key(pkcs8: &[u8], public: &[u8]) -> Option<Vec<u8>> {
    const PKCS8_VERSION: &[u8] = &[INTEGER, 1, 0];
    const EC_VERSION: &[u8] = &[INTEGER, 1, 1];
    const EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let (inside, _) = value(pkcs8, SEQUENCE)?;
    let (algorithm, rest) = value(inside.strip_prefix(PKCS8_VERSION)?, SEQUENCE)?;
    let (kind, _) = value(algorithm, OID)?;
    let (key, _) = value(rest, OCTETS)?;
    let (key, _) = value(key, SEQUENCE)?;
    let (secret, _) = value(key.strip_prefix(EC_VERSION)?, OCTETS)?;
    if kind != EC_KEY || public.len() > usize::from(u8::MAX) {
        return None;
    }
    let public = written(PUBLIC_KEY, &[&written(BITS, &[&[0], public])]);
    let key = written(
        SEQUENCE,
        &[EC_VERSION, &written(OCTETS, &[secret]), &public],
    );
    let parts = [
        PKCS8_VERSION,
        &written(SEQUENCE, &[algorithm]),
        &written(OCTETS, &[&key]),
    ];
    Some(written(SEQUENCE, &parts))
}
