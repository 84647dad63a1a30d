//! SASL (RFC 4422): how a client proves who it is, before its first request and again while it is connected.
//!
//! `login` is the machine of one connection, `plain`, `scram` and `oauth` are the mechanisms, and `client` is the other side, for
//! connections that this process opens.

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

/// Random bytes that go into the server's part of a nonce: as many as nobody guesses.
pub const NONCE_BYTES: usize = 18;

/// What a mechanism asks of the world around it.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub wall: Timestamp,
    /// Fresh random bytes, if there are any to be had.
    pub random: &'a dyn Fn() -> Option<[u8; NONCE_BYTES]>,
    /// What is kept of a user's password.
    pub credential: &'a dyn Fn(&str, ScramMechanism) -> Option<Credential>,
    /// What users who are not there get in the place of a credential.
    pub salts: &'a SaltSecret,
}

/// What a message of the client leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next message of the server.
    Challenge(Bytes),
    /// The last one, and who the client is.
    Done(Bytes, Proven),
}

/// Who somebody is, and for how long that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    pub name: ByteString,
    /// When the credential itself ends.
    pub until: Option<Timestamp>,
}

/// Why a client is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// In words that the client may read.
    Told(String),
    /// For the log alone; the client reads the same words whatever it is.
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

/// Kafka's words in both mechanisms that have an authorization id.
const OTHER_ID: &str =
    "Authentication failed: Client requested an authorization id that is different from username";
