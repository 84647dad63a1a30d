//! pure: credentials of clients: SCRAM users and delegation tokens. Kafka's `ScramImage` and `DelegationTokenImage`.
//!
//! All data is copied out of the records: a key of 32 bytes must not keep the buffer of megabytes alive from which it was read.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use crate::metadata::record::schema::{DelegationTokenRecord, UserScramCredentialRecord};

/// Credential of a user for one SCRAM mechanism (RFC 5802), derived from the password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    pub salt: Bytes,
    pub stored_key: Bytes,
    pub server_key: Bytes,
    pub iterations: i32,
}

/// `Debug` omits salt and keys, so that they do not get into logs.
impl fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramCredential")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// Name of a user and number of a mechanism.
type ScramUser = (Arc<str>, i8);

/// Credentials of all SCRAM users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScramCredentials {
    by_user: OrdMap<ScramUser, Arc<ScramCredential>>,
}

impl ScramCredentials {
    pub fn get(&self, user: &str, mechanism: i8) -> Option<&Arc<ScramCredential>> {
        self.by_user.get(&(Arc::from(user), mechanism))
    }

    /// User, number of the mechanism and credential, ordered by user and mechanism.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i8, &Arc<ScramCredential>)> {
        let all = self.by_user.iter();
        all.map(|((user, mechanism), credential)| (user, *mechanism, credential))
    }

    pub fn len(&self) -> usize {
        self.by_user.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_user.is_empty()
    }

    pub(super) fn insert(&mut self, record: &UserScramCredentialRecord) {
        let credential = ScramCredential {
            salt: Bytes::copy_from_slice(&record.salt),
            stored_key: Bytes::copy_from_slice(&record.stored_key),
            server_key: Bytes::copy_from_slice(&record.server_key),
            iterations: record.iterations,
        };
        let user = (Arc::from(&*record.name), record.mechanism);
        self.by_user.insert(user, Arc::new(credential));
    }

    pub(super) fn remove(&mut self, user: &str, mechanism: i8) {
        self.by_user.remove(&(Arc::from(user), mechanism));
    }

    pub(super) fn records(&self) -> impl Iterator<Item = UserScramCredentialRecord> {
        self.iter()
            .map(|(user, mechanism, credential)| UserScramCredentialRecord {
                name: (**user).into(),
                mechanism,
                salt: credential.salt.clone(),
                stored_key: credential.stored_key.clone(),
                server_key: credential.server_key.clone(),
                iterations: credential.iterations,
            })
    }
}

/// A delegation token (KIP-48). Its secret is not in the record: it is derived from the id and `delegation.token.secret.key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationToken {
    pub owner: Arc<str>,
    pub requester: Arc<str>,
    pub renewers: Vec<Arc<str>>,
    pub issue_timestamp: i64,
    pub max_timestamp: i64,
    pub expiration_timestamp: i64,
}

impl From<&DelegationTokenRecord> for DelegationToken {
    fn from(record: &DelegationTokenRecord) -> Self {
        Self {
            owner: Arc::from(&*record.owner),
            requester: Arc::from(&*record.requester),
            renewers: record
                .renewers
                .iter()
                .map(|one| Arc::from(&**one))
                .collect(),
            issue_timestamp: record.issue_timestamp,
            max_timestamp: record.max_timestamp,
            expiration_timestamp: record.expiration_timestamp,
        }
    }
}

/// The record of the token with this id.
pub(super) fn token_record(id: &str, token: &DelegationToken) -> DelegationTokenRecord {
    DelegationTokenRecord {
        owner: (*token.owner).into(),
        requester: (*token.requester).into(),
        renewers: token.renewers.iter().map(|one| (**one).into()).collect(),
        issue_timestamp: token.issue_timestamp,
        max_timestamp: token.max_timestamp,
        expiration_timestamp: token.expiration_timestamp,
        token_id: id.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(user: &str, mechanism: i8, iterations: i32) -> UserScramCredentialRecord {
        UserScramCredentialRecord {
            name: user.into(),
            mechanism,
            salt: Bytes::from_static(b"salt"),
            stored_key: Bytes::from_static(b"stored"),
            server_key: Bytes::from_static(b"server"),
            iterations,
        }
    }

    #[test]
    fn a_user_has_a_credential_for_each_mechanism() {
        let mut all = ScramCredentials::default();
        for (user, mechanism, iterations) in [("b", 1, 1), ("a", 2, 2), ("a", 1, 3), ("a", 1, 4)] {
            all.insert(&record(user, mechanism, iterations));
        }
        let listed: Vec<_> = all
            .iter()
            .map(|(user, mechanism, one)| (&**user, mechanism, one.iterations))
            .collect();
        assert_eq!(listed, [("a", 1, 4), ("a", 2, 2), ("b", 1, 1)]);
        assert_eq!(all.get("a", 2).unwrap().iterations, 2);
        all.remove("a", 2);
        assert_eq!(all.get("a", 2), None);
        assert_eq!(all.get("a", 1).unwrap().iterations, 4);
    }

    #[test]
    fn keys_are_not_printed() {
        let mut all = ScramCredentials::default();
        all.insert(&record("a", 1, 4_096));
        let text = format!("{all:?}");
        assert!(text.contains("4096") && !text.contains("stored"), "{text}");
    }
}
