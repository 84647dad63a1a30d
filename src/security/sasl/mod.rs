//! SASL (RFC 4422): authentication of a client before its first request, and again while it is connected.
//!
//! `login` is the state machine of one connection; `plain`, `scram` and `oauth` are the mechanisms; `client` is the client's
//! side, for connections that this process opens.

pub mod client;
pub mod jwt;
pub mod keys;
pub mod login;
pub mod oauth;
pub mod plain;
pub mod provider;
pub mod scram;

use bytes::Bytes;
use bytestring::ByteString;

use self::scram::SaltSecret;
use super::scram::{Credential, ScramMechanism};
use crate::base::time::Timestamp;

/// Number of random bytes in the server's part of a nonce, too many to guess.
pub const NONCE_BYTES: usize = 18;

/// External inputs of a mechanism.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub wall: Timestamp,
    /// Source of random bytes; `None` if the system has none.
    pub random: &'a dyn Fn() -> Option<[u8; NONCE_BYTES]>,
    /// Stored SCRAM credential of a user.
    pub credential: &'a dyn Fn(&str, ScramMechanism) -> Option<Credential>,
    /// Secret from which the fake credentials of unknown users are made.
    pub salts: &'a SaltSecret,
}

/// Result of a client message.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Next message of the server.
    Challenge(Bytes),
    /// Last message of the server, and the identity of the client.
    Done(Bytes, Proven),
}

/// Authenticated identity of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    pub name: ByteString,
    /// Expiry of the credential itself, such as a token.
    pub until: Option<Timestamp>,
}

/// Reason why a login failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The reason is sent to the client.
    Told(String),
    /// The reason is only logged. The client gets the same text for all such reasons.
    Hidden(String),
}

impl Refusal {
    fn told(text: &str) -> Self {
        Self::Told(text.to_owned())
    }

    fn hidden(text: &str) -> Self {
        Self::Hidden(text.to_owned())
    }
}

/// Kafka's message, in both mechanisms that have an authorization id.
const OTHER_ID: &str =
    "Authentication failed: Client requested an authorization id that is different from username";
