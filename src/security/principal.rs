//! pure: who a client is. Kafka's `KafkaPrincipal`.

use std::fmt;

use bytestring::ByteString;

/// See the module. What it may do, an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal {
    /// `User` for everybody whom this program lets in.
    pub kind: ByteString,
    pub name: ByteString,
    /// Whether a delegation token stood for the user.
    pub by_token: bool,
}

/// The kind of principals that log in.
pub const USER: &str = "User";
const ANONYMOUS: &str = "ANONYMOUS";

impl Principal {
    /// Somebody by name.
    pub fn user(name: impl Into<ByteString>) -> Self {
        Self {
            kind: ByteString::from_static(USER),
            name: name.into(),
            by_token: false,
        }
    }

    /// Whoever did not say who it is, where nobody has to.
    pub fn anonymous() -> Self {
        Self::user(ByteString::from_static(ANONYMOUS))
    }
}

/// As settings, ACLs and logs write it.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}
