//! pure: identity of a client. Kafka's `KafkaPrincipal`.

use std::fmt;

use bytestring::ByteString;

/// Identity of a client. The authorizer decides what it may do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal {
    /// Type of the principal: `User` for all clients that this broker authenticates.
    pub kind: ByteString,
    pub name: ByteString,
    /// Whether the client authenticated with a delegation token.
    pub by_token: bool,
}

/// Type of the principals of clients.
pub const USER: &str = "User";
const ANONYMOUS: &str = "ANONYMOUS";

impl Principal {
    /// A user with the given name.
    pub fn user(name: impl Into<ByteString>) -> Self {
        Self {
            kind: ByteString::from_static(USER),
            name: name.into(),
            by_token: false,
        }
    }

    /// Principal of a client that was not authenticated.
    pub fn anonymous() -> Self {
        Self::user(ByteString::from_static(ANONYMOUS))
    }
}

/// `Type:name`, as in settings, ACLs and logs.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}
