//! pure: enumerations of access control: resource types, pattern types, operations, permissions. Each has its numbers in the
//! ACL APIs and metadata records, and its names in tools and logs. KIP-11, KIP-290.

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
            /// All values, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            pub const fn code(self) -> i8 {
                self as i8
            }

            /// Value for a number; `None` if the number is unknown.
            pub fn of(code: i8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Name as Kafka's tools write it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $upper,)*
                }
            }

            /// Name for a number; UNKNOWN if the number is unknown, as in Kafka.
            pub fn name_of(code: i8) -> &'static str {
                Self::of(code).map_or("UNKNOWN", Self::name)
            }
        }
    };
}

words! {
    /// Type of a resource. `Any` occurs only in filters.
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
    /// Relation of the name in an access control entry to names of resources. `Any` and `Match` occur only in filters.
    PatternType {
        1 Any "ANY";
        2 Match "MATCH";
        3 Literal "LITERAL";
        4 Prefixed "PREFIXED";
    }
}

words! {
    /// Operation on a resource. `Any` occurs only in filters; `All` stands for every operation.
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
    /// Effect of an access control entry. `Any` occurs only in filters.
    Permission {
        1 Any "ANY";
        2 Deny "DENY";
        3 Allow "ALLOW";
    }
}

/// Name of the only resource of type Cluster.
pub const CLUSTER_NAME: &str = "kafka-cluster";
/// Resource name or host of an entry that applies to all of them.
pub const EVERYTHING: &str = "*";
/// Principal of an entry that applies to all clients.
pub const EVERYBODY: &str = "User:*";

impl ResourceType {
    /// Name in the authorizer's log, and in options of tools.
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

    /// Operations that exist for a resource of this type, in the order of their numbers.
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
    /// Whether an ALLOW entry for this operation also allows `other`. A DENY entry implies no other operation.
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

    /// Bit of this operation in answers that list authorized operations (KIP-430).
    pub fn bit(self) -> i32 {
        1 << self.code()
    }
}

/// Address as Java's `getHostAddress` writes it: IPv6 with all eight groups, and an IPv4-mapped address as IPv4.
pub fn host_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:x}"));
            groups.join(":")
        }
    }
}

/// Whether the host of an access control entry is this address. Names are not resolved, so an entry with a host name matches no
/// client.
///
/// Kafka differs: it compares texts, so an entry for `::1` matches no client there.
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
