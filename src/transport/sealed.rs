//! pure: decryption with a password: PBES2 of PKCS#5, and the older schemes of PKCS#12, which Java 8 and `openssl -legacy`
//! write.
//!
//! Deriving a key from a password is slow on purpose, and the file says how slow. All derivations for one file therefore share
//! a limit.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{ErrorKind, Sequence};
use des::TdesEde3;
use pkcs8::pkcs5::pbes2::{self, Kdf, PBES2_OID};
use pkcs8::{AlgorithmIdentifierRef, pkcs5};
use rc2::Rc2;
use sha1::digest::block_api::BlockSizeUser;
use sha1::{Digest, Sha1};

/// Limit on the iterations of all key derivations for one file. Java accepts up to 5,000,000 for a single derivation, and
/// `keytool` uses 10,000 for each entry.
const ITERATIONS_MAX: u64 = 10_000_000;
/// Limit on the memory of one scrypt derivation, in bytes. `openssl` uses 16 MiB.
const SCRYPT_BYTES_MAX: u64 = 64 << 20;

const PBE_SHA1_TRIPLE_DES: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");
const PBE_SHA1_RC2_128: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.5");
const PBE_SHA1_RC2_40: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.6");

/// Encrypted bytes with the scheme that decrypts them: `EncryptedPrivateKeyInfo` of PKCS#8.
#[derive(Sequence)]
pub(super) struct Sealed<'a> {
    pub(super) scheme: AlgorithmIdentifierRef<'a>,
    pub(super) content: &'a OctetStringRef,
}

impl<'a> Sealed<'a> {
    fn parameters(&self) -> Result<AnyRef<'a>, SealError> {
        let AlgorithmIdentifierRef { oid, parameters } = self.scheme;
        parameters.ok_or(SealError::Unsupported(oid))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum SealError {
    WrongPassword,
    /// The algorithm is not supported; its object identifier.
    Unsupported(ObjectIdentifier),
    TooSlow,
    Damaged(der::Error),
}

impl From<der::Error> for SealError {
    fn from(error: der::Error) -> Self {
        match error.kind() {
            ErrorKind::OidUnknown { oid } => Self::Unsupported(oid),
            _ => Self::Damaged(error),
        }
    }
}

impl From<pkcs5::Error> for SealError {
    fn from(error: pkcs5::Error) -> Self {
        match error {
            pkcs5::Error::UnsupportedAlgorithm { oid }
            | pkcs5::Error::AlgorithmParametersInvalid { oid } => Self::Unsupported(oid),
            // The padding is the only check that decryption with a block cipher has.
            _ => Self::WrongPassword,
        }
    }
}

/// Iterations left for the key derivations of one file.
pub(super) struct IterationsLeft(u64);

impl IterationsLeft {
    pub(super) fn of_one_file() -> Self {
        Self(ITERATIONS_MAX)
    }

    fn spend(&mut self, iterations: u64) -> Result<(), SealError> {
        self.0 = self.0.checked_sub(iterations).ok_or(SealError::TooSlow)?;
        Ok(())
    }
}

/// Decrypts with `password`.
pub(super) fn open(
    sealed: &Sealed<'_>,
    password: &str,
    left: &mut IterationsLeft,
) -> Result<Vec<u8>, SealError> {
    match sealed.scheme.oid {
        PBES2_OID => pbes2(sealed, password, left),
        PBE_SHA1_TRIPLE_DES => pbe::<TdesEde3>(sealed, password, 24, left),
        PBE_SHA1_RC2_128 => pbe::<Rc2>(sealed, password, 16, left),
        PBE_SHA1_RC2_40 => pbe::<Rc2>(sealed, password, 5, left),
        other => Err(SealError::Unsupported(other)),
    }
}

fn pbes2(
    sealed: &Sealed<'_>,
    password: &str,
    left: &mut IterationsLeft,
) -> Result<Vec<u8>, SealError> {
    let parameters = pbes2::Parameters::try_from(sealed.parameters()?)?;
    match &parameters.kdf {
        Kdf::Pbkdf2(slow) => left.spend(u64::from(slow.iteration_count).max(1))?,
        Kdf::Scrypt(slow) => {
            let blocks = slow
                .cost_parameter
                .saturating_mul(u64::from(slow.block_size));
            if blocks > SCRYPT_BYTES_MAX / 128 {
                return Err(SealError::TooSlow);
            }
            // `pkcs5` takes the logarithm of the cost before it checks that the cost is not zero.
            if blocks == 0 {
                return Err(SealError::Unsupported(parameters.kdf.oid()));
            }
            left.spend(blocks.saturating_mul(u64::from(slow.parallelization)))?;
        }
        other => return Err(SealError::Unsupported(other.oid())),
    }
    Ok(parameters.decrypt(password, sealed.content.as_bytes())?)
}

#[derive(Sequence)]
struct PbeParameters<'a> {
    salt: &'a OctetStringRef,
    iterations: u32,
}

/// Decryption by the schemes of PKCS#12 (RFC 7292, appendix C).
fn pbe<Cipher: BlockCipherDecrypt + KeyInit>(
    sealed: &Sealed<'_>,
    password: &str,
    key_len: usize,
    left: &mut IterationsLeft,
) -> Result<Vec<u8>, SealError> {
    let PbeParameters { salt, iterations } = sealed.parameters()?.decode_as()?;
    let mut derive =
        |purpose, len| derived::<Sha1>(password, salt.as_bytes(), purpose, iterations, len, left);
    let key = derive(Purpose::Key, key_len)?;
    let start = derive(Purpose::Start, Cipher::block_size())?;
    cbc::Decryptor::<Cipher>::new_from_slices(&key, &start)
        .map_err(|_| SealError::Unsupported(sealed.scheme.oid))?
        .decrypt_padded_vec::<Pkcs7>(sealed.content.as_bytes())
        .map_err(|_| SealError::WrongPassword)
}

/// Purpose of derived bytes; the value is the diversifier of RFC 7292, appendix B.3.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Key = 1,
    /// Initialization vector.
    Start = 2,
    Mac = 3,
}

/// Bytes derived from a password as in PKCS#12 (RFC 7292, appendix B.2).
pub(super) fn derived<Hash: Digest + BlockSizeUser>(
    password: &str,
    salt: &[u8],
    purpose: Purpose,
    iterations: u32,
    len: usize,
    left: &mut IterationsLeft,
) -> Result<Vec<u8>, SealError> {
    let rounds = len.div_ceil(<Hash as Digest>::output_size()) as u64;
    left.spend(u64::from(iterations).max(1).saturating_mul(rounds))?;
    let block = Hash::block_size();
    let filled = |bytes: &[u8]| -> Vec<u8> {
        let len = bytes.len().next_multiple_of(block);
        bytes.iter().copied().cycle().take(len).collect()
    };
    // The password ends with a zero character, which has two bytes like all characters of UTF-16.
    let password = [utf16(password), vec![0, 0]].concat();
    let mut input = [filled(salt), filled(&password)].concat();
    let mut output = Vec::new();
    loop {
        let mut sum = Hash::new()
            .chain_update(vec![purpose as u8; block])
            .chain_update(&input)
            .finalize();
        for _ in 1..iterations {
            sum = Hash::digest(&sum);
        }
        output.extend_from_slice(&sum);
        if output.len() >= len {
            output.truncate(len);
            return Ok(output);
        }
        // The hash plus one is added to each block of the input, both read as big-endian numbers.
        let addend: Vec<u8> = sum.iter().copied().cycle().take(block).collect();
        for number in input.chunks_mut(block) {
            let mut carry = 1;
            for (digit, other) in number.iter_mut().zip(&addend).rev() {
                carry += u16::from(*digit) + u16::from(*other);
                *digit = carry as u8;
                carry >>= 8;
            }
        }
    }
}

/// UTF-16 in big-endian order, in which Java's key stores hash a password.
pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

#[cfg(test)]
mod tests {
    use der::{Decode, Encode};
    use pbes2::{EncryptionScheme, Parameters, Pbkdf2Params, Salt, ScryptParams};

    use super::*;

    const CIPHER: EncryptionScheme = EncryptionScheme::Aes256Cbc { iv: [0; 16] };

    fn check(kdf: Kdf, left: u64) -> Result<Vec<u8>, SealError> {
        let encryption = CIPHER;
        let parameters = Parameters { kdf, encryption }.to_der().unwrap();
        let sealed = Sealed {
            scheme: AlgorithmIdentifierRef {
                oid: PBES2_OID,
                parameters: Some(AnyRef::from_der(&parameters).unwrap()),
            },
            content: OctetStringRef::new(&[7; 32]).unwrap(),
        };
        open(&sealed, "changeit", &mut IterationsLeft(left))
    }

    fn scrypt(cost_parameter: u64, block_size: u16, parallelization: u16) -> Kdf {
        Kdf::Scrypt(ScryptParams {
            salt: Salt::new([1; 8]).unwrap(),
            cost_parameter,
            block_size,
            parallelization,
            key_length: None,
        })
    }

    #[test]
    fn a_file_cannot_ask_for_much_time_or_memory() {
        let pbkdf2 =
            |iterations| Kdf::Pbkdf2(Pbkdf2Params::hmac_sha256(iterations, &[1; 8]).unwrap());
        assert_eq!(check(pbkdf2(1000), 1000), Err(SealError::WrongPassword));
        assert_eq!(check(pbkdf2(1001), 1000), Err(SealError::TooSlow));
        assert_eq!(check(scrypt(16, 1, 1), 16), Err(SealError::WrongPassword));
        assert_eq!(check(scrypt(16, 1, 2), 16), Err(SealError::TooSlow));
        for (cost, block) in [(1 << 20, 8), (1 << 63, 1), (u64::MAX, u16::MAX)] {
            let asked = check(scrypt(cost, block, 1), ITERATIONS_MAX);
            assert_eq!(asked, Err(SealError::TooSlow), "{cost} {block}");
        }
        for (cost, block, parallel) in [(0, 8, 1), (16, 0, 1), (17, 8, 1), (16, 8, 0)] {
            let asked = check(scrypt(cost, block, parallel), ITERATIONS_MAX);
            let unsupported = matches!(asked, Err(SealError::Unsupported(_)));
            assert!(unsupported, "{cost} {block} {parallel}: {asked:?}");
        }
        let mut left = IterationsLeft(5);
        let mut derive = |iterations, len| {
            derived::<Sha1>(
                "changeit",
                &[1; 8],
                Purpose::Key,
                iterations,
                len,
                &mut left,
            )
        };
        assert_eq!(derive(1, 24).unwrap().len(), 24);
        assert_eq!(derive(2, 24), Err(SealError::TooSlow));
        assert_eq!(derive(3, 20).unwrap().len(), 20);
        assert_eq!(derive(0, 20), Err(SealError::TooSlow));
    }
}
