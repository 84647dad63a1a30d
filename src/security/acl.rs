//! pure: the words of access control: resources, patterns, operations, permissions, with the numbers that the ACL APIs and the
//! metadata records have for them, and the names by which tools and logs call them. KIP-11, KIP-290.

use std::net::IpAddr;

macro_rules! words {
    ($(#[$doc:meta])* $kind:ident { $($code:literal $name:ident $upper:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i8)]
        pub enum $kind {
            $($name = $code,)*
        }

        impl $kind {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            pub const fn code(self) -> i8 {
                self as i8
            }

            /// `None` for a number that this program does not know.
            pub fn of(code: i8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// As Kafka's tools write it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $upper,)*
                }
            }

            /// The same for a number; UNKNOWN for one that this program does not know, as in Kafka.
            pub fn name_of(code: i8) -> &'static str {
                Self::of(code).map_or("UNKNOWN", Self::name)
            }
        }
    };
}

words! {
    /// What something is done to.
    ResourceType {
        1 Any "ANY";
        2 Topic "TOPIC";
        3 Group "GROUP";
        4 Cluster "CLUSTER";
        5 TransactionalId "TRANSACTIONAL_ID";
        6 DelegationToken "DELEGATION_TOKEN";
        7 User "USER";
    }
}

words! {
    /// How the name in an access control entry stands for names of resources. `Any` and `Match` are words of filters.
    PatternType {
        1 Any "ANY";
        2 Match "MATCH";
        3 Literal "LITERAL";
        4 Prefixed "PREFIXED";
    }
}

words! {
    /// What is done. `Any` is a word of filters; `All` stands for every operation.
    Operation {
        1 Any "ANY";
        2 All "ALL";
        3 Read "READ";
        4 Write "WRITE";
        5 Create "CREATE";
        6 Delete "DELETE";
        7 Alter "ALTER";
        8 Describe "DESCRIBE";
        9 ClusterAction "CLUSTER_ACTION";
        10 DescribeConfigs "DESCRIBE_CONFIGS";
        11 AlterConfigs "ALTER_CONFIGS";
        12 IdempotentWrite "IDEMPOTENT_WRITE";
        13 CreateTokens "CREATE_TOKENS";
        14 DescribeTokens "DESCRIBE_TOKENS";
        15 TwoPhaseCommit "TWO_PHASE_COMMIT";
    }
}

words! {
    /// Whether an access control entry forbids or permits. `Any` is a word of filters.
    Permission {
        1 Any "ANY";
        2 Deny "DENY";
        3 Allow "ALLOW";
    }
}

/// The name of the one resource of type Cluster.
pub const CLUSTER_NAME: &str = "kafka-cluster";
/// Every name of a resource of the type, and every host.
pub const EVERYTHING: &str = "*";
/// Whoever it is.
pub const EVERYBODY: &str = "User:*";

impl ResourceType {
    /// The name in the lines of the authorizer's log, and of the options of tools.
    pub fn title(self) -> &'static str {
        match self {
            Self::Any => "Any",
            Self::Topic => "Topic",
            Self::Group => "Group",
            Self::Cluster => "Cluster",
            Self::TransactionalId => "TransactionalId",
            Self::DelegationToken => "DelegationToken",
            Self::User => "User",
        }
    }

    /// What may be done to a resource of this type, in the order of the numbers.
    pub fn operations(self) -> &'static [Operation] {
        use Operation::*;
        match self {
            Self::Topic => &[
                Read,
                Write,
                Create,
                Delete,
                Alter,
                Describe,
                DescribeConfigs,
                AlterConfigs,
            ],
            Self::Group => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
            Self::Cluster => &[
                Create,
                Alter,
                Describe,
                ClusterAction,
                DescribeConfigs,
                AlterConfigs,
                IdempotentWrite,
            ],
            Self::TransactionalId => &[Write, Describe, TwoPhaseCommit],
            Self::DelegationToken => &[Describe],
            Self::User => &[CreateTokens, DescribeTokens],
            Self::Any => &[],
        }
    }
}

impl Operation {
    /// Whether the permission to do this permits another operation. A prohibition implies nothing.
    pub fn permits(self, other: Self) -> bool {
        if self == Self::All || self == other {
            return true;
        }
        match other {
            Self::Describe => matches!(self, Self::Read | Self::Write | Self::Delete | Self::Alter),
            Self::DescribeConfigs => self == Self::AlterConfigs,
            _ => false,
        }
    }

    /// The bit for this operation where an answer says what a client may do (KIP-430).
    pub fn bit(self) -> i32 {
        1 << self.code()
    }
}

/// An address as Java's `getHostAddress` writes it: IPv6 with all eight groups, and one that stands for IPv4 as that.
pub fn host_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:x}"));
            groups.join(":")
        }
    }
}

/// Whether the host of an access control entry is this address. Nothing is resolved: a name is no address.
///
/// Kafka differs: it compares texts, so that `::1` is nobody there.
pub fn is_host(host: &str, address: IpAddr) -> bool {
    host == EVERYTHING
        || host
            .parse::<IpAddr>()
            .is_ok_and(|host| host.to_canonical() == address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_protocol() {
        for operation in Operation::ALL {
            assert_eq!(Operation::of(operation.code()), Some(*operation));
        }
        assert_eq!(Operation::of(15), Some(Operation::TwoPhaseCommit));
        assert_eq!((Operation::of(0), Operation::of(16)), (None, None));
        assert_eq!(ResourceType::of(7).map(ResourceType::name), Some("USER"));
        assert_eq!(PatternType::of(4).map(PatternType::name), Some("PREFIXED"));
        assert_eq!(Permission::of(2).map(Permission::name), Some("DENY"));
    }

    #[test]
    fn hosts_are_addresses() {
        for (host, address, matches) in [
            ("*", "1.2.3.4", true),
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4", "::ffff:1.2.3.4", true),
            ("::ffff:1.2.3.4", "1.2.3.4", true),
            ("::1", "::1", true),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("::1", "127.0.0.1", false),
            ("localhost", "127.0.0.1", false),
            ("", "127.0.0.1", false),
            ("1.2.3.0/24", "1.2.3.4", false),
        ] {
            assert_eq!(is_host(host, address.parse().unwrap()), matches, "{host}");
        }
    }

    #[test]
    fn hosts_are_spelled_as_java_does() {
        for (address, spelled) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("2001:db8::a", "2001:db8:0:0:0:0:0:a"),
        ] {
            assert_eq!(host_address(address.parse().unwrap()), spelled);
        }
    }
}
