//! pure: computations of SCRAM (RFC 5802, RFC 7677): the stored credential of a password, and the proofs of both sides.
//!
//! A stored credential suffices to verify a client. It cannot be used to log in as the client.

use std::ops::RangeInclusive;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// Allowed number of iterations. Fewer are weak, and more cost clients too much work at each login.
pub const ITERATIONS: RangeInclusive<i32> = 4_096..=16_384;

/// SCRAM mechanism, with its number in requests and records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramMechanism {
    Sha256 = 1,
    Sha512 = 2,
}

/// Stored credential of a password. Whoever has it can impersonate the broker, so `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub salt: Bytes,
    pub iterations: i32,
    pub stored_key: Bytes,
    pub server_key: Bytes,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

impl ScramMechanism {
    const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Mechanism with the given number.
    pub fn of(number: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.number() == number)
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    pub fn number(self) -> i8 {
        self as i8
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// SaltedPassword of RFC 5802, which the controller receives in place of the password. Takes milliseconds on purpose.
    pub fn salted_password(self, password: &str, salt: &[u8], iterations: i32) -> Bytes {
        let (password, iterations) = (password.as_bytes(), iterations.unsigned_abs());
        match self {
            Self::Sha256 => {
                let mut salted = [0; 32];
                pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
                Bytes::copy_from_slice(&salted)
            }
            Self::Sha512 => {
                let mut salted = [0; 64];
                pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut salted);
                Bytes::copy_from_slice(&salted)
            }
        }
    }

    /// StoredKey and ServerKey; `None` if the salted password is empty.
    pub fn keys(self, salted_password: &[u8]) -> Option<(Bytes, Bytes)> {
        if salted_password.is_empty() {
            return None;
        }
        let stored = self.digest(&self.mac(salted_password, &[b"Client Key"]));
        let server = self.mac(salted_password, &[b"Server Key"]);
        Some((stored, server))
    }

    /// HMAC of the concatenated texts.
    pub fn mac(self, key: &[u8], texts: &[&[u8]]) -> Bytes {
        match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, texts),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, texts),
        }
    }

    fn digest(self, text: &[u8]) -> Bytes {
        match self {
            Self::Sha256 => Bytes::copy_from_slice(&Sha256::digest(text)),
            Self::Sha512 => Bytes::copy_from_slice(&Sha512::digest(text)),
        }
    }

    /// Whether a client's proof is valid for a credential. Takes the same time for wrong and right proofs.
    pub fn is_proof(self, credential: &Credential, message: &[&[u8]], proof: &[u8]) -> bool {
        let signature = self.mac(&credential.stored_key, message);
        let mut key = vec![0; signature.len()];
        for (key, (a, b)) in key.iter_mut().zip(signature.iter().zip(proof)) {
            *key = a ^ b;
        }
        let stored = self.digest(&key);
        let same = stored[..].ct_eq(&credential.stored_key);
        bool::from(same) && proof.len() == signature.len()
    }

    /// ClientProof of RFC 5802, by which a client shows that it knows the password.
    pub fn proof(self, salted_password: &[u8], message: &[&[u8]]) -> Bytes {
        let key = self.mac(salted_password, &[b"Client Key"]);
        let signature = self.mac(&self.digest(&key), message);
        let proof: Vec<u8> = key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        proof.into()
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], texts: &[&[u8]]) -> Bytes {
    // HMAC accepts keys of any length, so there is no error.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
        return Bytes::new();
    };
    for text in texts {
        mac.update(text);
    }
    Bytes::copy_from_slice(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// The example of RFC 7677, and the same with SHA-512.
    #[test]
    fn what_is_kept_proves_the_password() {
        let hex = |text: &str| -> Vec<u8> {
            let digits = text.as_bytes().chunks(2);
            digits
                .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
                .collect()
        };
        for (mechanism, salted, stored, server) in [
            (ScramMechanism::Sha256, SALTED_256, STORED_256, SERVER_256),
            (ScramMechanism::Sha512, SALTED_512, STORED_512, SERVER_512),
        ] {
            let (stored_key, server_key) = mechanism.keys(&hex(salted)).unwrap();
            assert_eq!(STANDARD.encode(stored_key), stored);
            assert_eq!(STANDARD.encode(server_key), server);
        }
    }
    const SALTED_256: &str = "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d";
    const STORED_256: &str = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=";
    const SERVER_256: &str = "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    const SALTED_512: &str = "f16efe1be67f1d09502ebd5ed9262fddffba5a377ab4f0b687e5ed5ba0f50686b8a4ae166476da8ab3b951d2fa9238b63998f45461bc33a464814949cec9631d";
    const STORED_512: &str =
        "6AAub3065EYRmyFpM2RNwqK+eGnrkYuEWbXn19LsEmBqzu8QaCXNc1FwpnX9NhH2hK/60dzj9DoO5DvVkOHbvg==";
    const SERVER_512: &str =
        "jZHbYjC1aHh0/hKbxyBuGFjDrgjgKTT1esA7awWiKcRZ0o/0b1yWEebBeSVkkCFewf91nLDfKF24mvD5nmE6rA==";

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn a_proof_is_that_of_the_rfc() {
        let mechanism = ScramMechanism::Sha256;
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let salted = mechanism.salted_password("pencil", &salt, 4_096);
        let message: &[&[u8]] = &[
            b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,",
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        ];
        let proof = mechanism.proof(&salted, message);
        assert_eq!(
            STANDARD.encode(&proof),
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let (stored_key, server_key) = mechanism.keys(&salted).unwrap();
        let credential = Credential {
            salt: salt.into(),
            iterations: 4_096,
            stored_key,
            server_key,
        };
        assert!(mechanism.is_proof(&credential, message, &proof));
        assert!(!mechanism.is_proof(&credential, &message[..1], &proof));
        assert!(!mechanism.is_proof(&credential, message, &proof[1..]));
        assert!(!mechanism.is_proof(&credential, message, b""));
        let longer = [&proof[..], b"x"].concat();
        assert!(!mechanism.is_proof(&credential, message, &longer));
        assert_eq!(
            STANDARD.encode(mechanism.mac(&credential.server_key, message)),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }
}
