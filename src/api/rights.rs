//! Authorization of requests: one table of the rights that each API asks for, and the checks that handlers call.
//!
//! A handler takes the client's [`Rights`] once, with the current metadata image. It checks them before it looks whether a
//! resource exists, so that a client without the right to describe a resource does not learn of it. Decisions are not cached
//! between requests: a permission that is removed has no effect on later ones. Without an authorizer a check is one comparison.
//!
//! Each denial is logged as Kafka's authorizer logs it, unless the request did not name the resource: lists leave out what the
//! client may not see, without a log line.

use std::net::IpAddr;
use std::sync::Arc;

use bytestring::ByteString;

use super::context::RequestContext;
use super::table;
use crate::metadata::authorizer::{Action, Authorizer, Rule, Who};
use crate::metadata::image::{GROUP_RESOURCE, Image, TOPIC_RESOURCE};
use crate::security::acl::Operation::{self, *};
use crate::security::acl::ResourceType::{self, *};
use crate::security::acl::{CLUSTER_NAME, host_address};
use crate::wire::error_code::ErrorCode;

/// An operation on a type of resource.
pub type Right = (Operation, ResourceType);

macro_rules! rights {
    ($($key:literal $name:ident: $($operation:ident $resource:ident),*;)*) => {
        /// Rights that each API asks the authorizer for, in the order of keys. An API without rights is open to every client.
        pub const RIGHTS: &[(i16, &[Right])] = &[$(($key, &[$(($operation, $resource),)*]),)*];

        #[cfg(test)]
        const NAMES: &[&str] = &[$(stringify!($name),)*];
    };
}

rights! {
    0 Produce: Write Topic, Write TransactionalId;
    1 Fetch: Read Topic, ClusterAction Cluster;
    2 ListOffsets: Describe Topic;
    3 Metadata: Describe Topic, Create Topic, Create Cluster, Describe Cluster;
    8 OffsetCommit: Read Group, Read Topic;
    9 OffsetFetch: Describe Group, Describe Topic;
    10 FindCoordinator: Describe Group, Describe TransactionalId, ClusterAction Cluster;
    11 JoinGroup: Read Group;
    12 Heartbeat: Read Group;
    13 LeaveGroup: Read Group;
    14 SyncGroup: Read Group;
    15 DescribeGroups: Describe Group;
    16 ListGroups: Describe Cluster, Describe Group;
    17 SaslHandshake: ;
    18 ApiVersions: ;
    19 CreateTopics: Create Cluster, Create Topic, DescribeConfigs Topic;
    20 DeleteTopics: Delete Cluster, Delete Topic, Describe Topic;
    21 DeleteRecords: Delete Topic;
    22 InitProducerId: Write TransactionalId, IdempotentWrite Cluster, Write Topic;
    23 OffsetForLeaderEpoch: ClusterAction Cluster, Describe Topic;
    24 AddPartitionsToTxn: Write TransactionalId, Write Topic, ClusterAction Cluster;
    25 AddOffsetsToTxn: Write TransactionalId, Read Group;
    26 EndTxn: Write TransactionalId;
    27 WriteTxnMarkers: Alter Cluster, ClusterAction Cluster;
    28 TxnOffsetCommit: Write TransactionalId, Read Group, Read Topic;
    29 DescribeAcls: Describe Cluster;
    30 CreateAcls: Alter Cluster;
    31 DeleteAcls: Alter Cluster;
    32 DescribeConfigs: DescribeConfigs Topic, DescribeConfigs Group, DescribeConfigs Cluster;
    33 AlterConfigs: AlterConfigs Topic, AlterConfigs Group, AlterConfigs Cluster;
    34 AlterReplicaLogDirs: Alter Cluster;
    35 DescribeLogDirs: Describe Cluster;
    36 SaslAuthenticate: ;
    37 CreatePartitions: Alter Topic;
    38 CreateDelegationToken: ;
    39 RenewDelegationToken: ;
    40 ExpireDelegationToken: ;
    41 DescribeDelegationToken: ;
    42 DeleteGroups: Delete Group;
    43 ElectLeaders: Alter Cluster;
    44 IncrementalAlterConfigs: AlterConfigs Topic, AlterConfigs Group, AlterConfigs Cluster;
    45 AlterPartitionReassignments: Alter Cluster;
    46 ListPartitionReassignments: Describe Cluster;
    47 OffsetDelete: Delete Group, Read Topic;
    48 DescribeClientQuotas: DescribeConfigs Cluster;
    49 AlterClientQuotas: AlterConfigs Cluster;
    50 DescribeUserScramCredentials: Describe Cluster;
    51 AlterUserScramCredentials: Alter Cluster;
    55 DescribeQuorum: Describe Cluster;
    57 UpdateFeatures: Alter Cluster;
    60 DescribeCluster: Describe Cluster;
    61 DescribeProducers: Read Topic;
    64 UnregisterBroker: Alter Cluster;
    65 DescribeTransactions: Describe TransactionalId, Describe Topic;
    66 ListTransactions: Describe TransactionalId;
    68 ConsumerGroupHeartbeat: Read Group, Describe Topic;
    69 ConsumerGroupDescribe: Describe Group, Describe Topic;
    74 ListConfigResources: DescribeConfigs Cluster;
    75 DescribeTopicPartitions: Describe Topic;
    76 ShareGroupHeartbeat: Read Group, Describe Topic;
    77 ShareGroupDescribe: Describe Group, Describe Topic;
    78 ShareFetch: Read Group, Read Topic;
    79 ShareAcknowledge: Read Group, Read Topic;
    83 InitializeShareGroupState: ClusterAction Cluster;
    84 ReadShareGroupState: ClusterAction Cluster;
    85 WriteShareGroupState: ClusterAction Cluster;
    86 DeleteShareGroupState: ClusterAction Cluster;
    87 ReadShareGroupStateSummary: ClusterAction Cluster;
    90 DescribeShareGroupOffsets: Describe Group, Describe Topic;
    91 AlterShareGroupOffsets: Read Group, Read Topic;
    92 DeleteShareGroupOffsets: Delete Group, Read Topic;
}

/// Rights that the API with this key asks for.
pub fn of(key: i16) -> &'static [Right] {
    let found = RIGHTS.iter().find(|(own, _)| *own == key);
    found.map_or(&[], |(_, rights)| rights)
}

/// Error of a client that lacks a right on a resource of this type.
pub fn refusal(resource: ResourceType) -> ErrorCode {
    match resource {
        Topic => ErrorCode::TopicAuthorizationFailed,
        Group => ErrorCode::GroupAuthorizationFailed,
        TransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
        DelegationToken | User => ErrorCode::DelegationTokenAuthorizationFailed,
        Cluster | ResourceType::Any => ErrorCode::ClusterAuthorizationFailed,
    }
}

/// The resource whose rights cover the settings of a config resource. Settings of brokers and of client metrics belong to the
/// cluster.
pub fn of_settings(kind: i8, name: &str) -> (ResourceType, &str) {
    match kind {
        TOPIC_RESOURCE => (Topic, name),
        GROUP_RESOURCE => (Group, name),
        _ => (Cluster, CLUSTER_NAME),
    }
}

/// Error message of an authorization error. Kafka differs if the cluster is refused: its message quotes the request with the
/// ids of its connection.
pub fn words(error: ErrorCode) -> Option<ByteString> {
    let words = match error {
        ErrorCode::TopicAuthorizationFailed => "Topic authorization failed.",
        ErrorCode::GroupAuthorizationFailed => "Group authorization failed.",
        ErrorCode::TransactionalIdAuthorizationFailed => "Transactional Id authorization failed.",
        ErrorCode::ClusterAuthorizationFailed => "Cluster authorization failed.",
        _ => return None,
    };
    Some(ByteString::from_static(words))
}

/// Rights of a request's client, by one metadata image.
#[derive(Debug)]
pub struct Rights<'a> {
    /// `None` without an authorizer: every client may do everything.
    asking: Option<Asking<'a>>,
}

#[derive(Debug)]
struct Asking<'a> {
    authorizer: &'a Authorizer,
    context: &'a RequestContext,
    image: Arc<Image>,
    principal: String,
    host: IpAddr,
}

/// Whether a denial is logged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Denial {
    Logged,
    Quiet,
}

impl RequestContext {
    /// Rights of the client, by the newest metadata image.
    pub fn rights(&self) -> Rights<'_> {
        let asking = self.services.authorizer.as_ref();
        let asking = asking.map(|authorizer| Asking {
            authorizer,
            context: self,
            image: self.services.image.load(),
            principal: self.principal().to_string(),
            host: self.connection.peer.ip(),
        });
        Rights { asking }
    }

    /// Checks the client's right to an operation on the cluster.
    pub fn requires_of_cluster(&self, operation: Operation) -> Result<(), ErrorCode> {
        self.rights().require(operation, Cluster, CLUSTER_NAME)
    }
}

impl Rights<'_> {
    /// Whether there is an authorizer.
    pub fn are_checked(&self) -> bool {
        self.asking.is_some()
    }

    /// Checks the client's right to an operation on a resource, and logs a denial.
    ///
    /// Errors: the resource type's authorization error.
    pub fn require(
        &self,
        operation: Operation,
        resource: ResourceType,
        name: &str,
    ) -> Result<(), ErrorCode> {
        match self.allow(operation, resource, name, Denial::Logged) {
            true => Ok(()),
            false => Err(refusal(resource)),
        }
    }

    /// Like [`Self::require`] without the log line, for denials that are no failure: another right may suffice, or a list
    /// leaves the resource out.
    pub fn has(&self, operation: Operation, resource: ResourceType, name: &str) -> bool {
        self.allow(operation, resource, name, Denial::Quiet)
    }

    pub fn has_of_cluster(&self, operation: Operation) -> bool {
        self.has(operation, Cluster, CLUSTER_NAME)
    }

    /// Whether the client has the right to the operation on at least one resource of the type.
    pub fn has_any(&self, operation: Operation, resource: ResourceType) -> bool {
        self.asking.as_ref().is_none_or(|asking| {
            let (acls, who) = (&asking.image.acls, asking.who());
            let rule = asking.authorizer.decide_any(acls, who, operation, resource);
            rule.allows()
        })
    }

    /// Operations that the client may do on a resource, as a bit field (KIP-430).
    pub fn operations(&self, resource: ResourceType, name: &str) -> i32 {
        let all = resource.operations().iter();
        let allowed = all.filter(|operation| match &self.asking {
            Some(asking) => asking.rule(**operation, resource, name).allows(),
            None => true,
        });
        allowed.map(|operation| operation.bit()).sum()
    }

    /// Like [`Self::operations`] for the cluster; 0 for a client that may not describe the cluster.
    pub fn operations_of_cluster(&self) -> i32 {
        match self.require(Describe, Cluster, CLUSTER_NAME) {
            Ok(()) => self.operations(Cluster, CLUSTER_NAME),
            Err(_) => 0,
        }
    }

    fn allow(
        &self,
        operation: Operation,
        resource: ResourceType,
        name: &str,
        denial: Denial,
    ) -> bool {
        let Some(asking) = &self.asking else {
            return true;
        };
        debug_assert!(
            of(asking.context.api_key).contains(&(operation, resource)),
            "RIGHTS lacks {operation:?} {resource:?} of API {}",
            asking.context.api_key
        );
        let rule = asking.rule(operation, resource, name);
        let allowed = rule.allows();
        if !allowed && denial == Denial::Logged {
            let peer = asking.context.connection.peer;
            let words = asking.words(operation, resource, name, &rule);
            tracing::info!(target: AUDIT, %peer, "{words}");
        } else if allowed && tracing::enabled!(target: AUDIT, tracing::Level::DEBUG) {
            let words = asking.words(operation, resource, name, &rule);
            tracing::debug!(target: AUDIT, "{words}");
        }
        allowed
    }
}

/// Target of the authorizer's log lines: the name of Kafka's logger.
const AUDIT: &str = "kafka.authorizer.logger";

impl Asking<'_> {
    fn who(&self) -> Who<'_> {
        Who {
            principal: &self.principal,
            host: self.host,
        }
    }

    fn rule(&self, operation: Operation, resource: ResourceType, name: &str) -> Rule {
        let action = Action {
            operation,
            resource,
            name,
        };
        self.authorizer.decide(&self.image.acls, self.who(), action)
    }

    /// The log line of Kafka's authorizer, without its count of how often the request refers to the resource.
    fn words(
        &self,
        operation: Operation,
        resource: ResourceType,
        name: &str,
        rule: &Rule,
    ) -> String {
        let outcome = match rule.allows() {
            true => "Allowed",
            false => "Denied",
        };
        format!(
            "Principal = {} is {outcome} operation = {} from host = {} on resource = {}:LITERAL:{name} for request = {} based on rule {rule}",
            self.principal,
            operation.name(),
            host_address(self.host),
            resource.title(),
            table::find(self.context.api_key).map_or("", |row| row.name),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_rights_of_every_api() {
        let served: Vec<_> = table::APIS.iter().map(|row| (row.key, row.name)).collect();
        let keys = RIGHTS.iter().map(|(key, _)| *key);
        let listed: Vec<_> = keys.zip(NAMES.iter().copied()).collect();
        assert_eq!(listed, served);
    }

    #[test]
    fn a_right_is_about_what_can_be_done() {
        // As in Kafka, the right to Delete on the cluster allows the deletion of every topic.
        let odd = (Delete, Cluster);
        for (key, rights) in RIGHTS {
            for (operation, resource) in rights.iter().filter(|right| **right != odd) {
                assert!(
                    resource.operations().contains(operation),
                    "{key} {operation:?}"
                );
            }
        }
    }
}
