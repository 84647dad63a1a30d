//! The table of all APIs that this broker serves. An API that is not in the table is not advertised.

use std::ops::RangeInclusive;

use super::context::RequestContext;
use super::dispatch::{Dispatched, Unhandled, run};
use super::handlers::*;
use crate::wire::codec::Reader;
use crate::wire::message::{Message, Request};

/// An API.
pub struct Row {
    pub key: i16,
    pub name: &'static str,
    pub versions: RangeInclusive<i16>,
    /// Maximum size of a frame that is handled on the thread that read it, in bytes; longer ones go to the work pool.
    pub small: usize,
    /// Whether a broker that is not the controller forwards the request to the controller, which decides it, and returns the
    /// response.
    pub forwarded: bool,
    pub is_flexible: fn(i16) -> bool,
    pub(super) handle: fn(&'static Self, RequestContext, Reader) -> Result<Dispatched, Unhandled>,
}

/// Size limit for frequent requests, which are handled within a millisecond up to this size.
const SMALL: usize = 16 << 10;
/// Size limit for requests whose elements are small but costly: lookups, groups, resources with all of their settings, new
/// partitions.
const COSTLY: usize = 1 << 10;
/// Size limit for Produce. A request is read once for its checksums; any further cost has an allowance (`produce.rs`). Clients
/// of all kinds send at most 1 MB by default.
const RECORDS: usize = 2 << 20;
/// No size limit, for Fetch: the partitions of a request are costly, not its bytes, so the number of elements decides alone. A
/// fetch on the work pool holds up later requests of its connection while it waits; a fetch on the connection's thread does
/// not.
const ELEMENTS: usize = usize::MAX;
/// For administrative requests whose cost depends on the number of partitions, groups, producers or transactions instead of the
/// request's size: always the work pool.
const ANY: usize = 0;
/// Marks requests that are forwarded to the controller.
const CONTROLLER: bool = true;

macro_rules! apis {
    ($($name:literal $versions:expr, $module:ident :: $request:ident => $handler:path $(, above $small:expr)? $(, to $forwarded:expr)?;)*) => {
        /// All rows, in the order of keys.
        pub static APIS: &[Row] = &[$(
            Row {
                key: crate::wire::message::$module::$request::KEY,
                name: $name,
                versions: $versions,
                small: [$($small,)? SMALL][0],
                forwarded: [$($forwarded,)? false][0],
                is_flexible: crate::wire::message::$module::$request::is_flexible,
                handle: |row, context, reader| {
                    run::<crate::wire::message::$module::$request>(row, context, reader, $handler)
                },
            },
        )*];
    };
}

apis! {
    "Produce" 0..=13, produce::ProduceRequest => produce::handle, above RECORDS;
    "Fetch" 0..=18, fetch::FetchRequest => fetch::handle, above ELEMENTS;
    "ListOffsets" 0..=11, list_offsets::ListOffsetsRequest => list_offsets::handle, above COSTLY;
    "Metadata" 0..=13, metadata::MetadataRequest => metadata::handle;
    "OffsetCommit" 0..=10, offset_commit::OffsetCommitRequest => offset_commit::handle;
    "OffsetFetch" 0..=10, offset_fetch::OffsetFetchRequest => offset_fetch::handle, above COSTLY;
    "FindCoordinator" 0..=6, find_coordinator::FindCoordinatorRequest => find_coordinator::handle;
    "JoinGroup" 0..=9, join_group::JoinGroupRequest => join_group::handle;
    "Heartbeat" 0..=4, heartbeat::HeartbeatRequest => heartbeat::handle;
    "LeaveGroup" 0..=5, leave_group::LeaveGroupRequest => leave_group::handle;
    "SyncGroup" 0..=5, sync_group::SyncGroupRequest => sync_group::handle;
    "DescribeGroups" 0..=6, describe_groups::DescribeGroupsRequest => describe_groups::handle, above COSTLY;
    "ListGroups" 0..=5, list_groups::ListGroupsRequest => list_groups::handle, above ANY;
    "SaslHandshake" 0..=1, sasl_handshake::SaslHandshakeRequest => sasl_handshake::handle;
    "ApiVersions" 0..=5, api_versions::ApiVersionsRequest => api_versions::handle;
    "CreateTopics" 0..=7, create_topics::CreateTopicsRequest => create_topics::handle, above COSTLY, to CONTROLLER;
    "DeleteTopics" 0..=6, delete_topics::DeleteTopicsRequest => delete_topics::handle, above COSTLY, to CONTROLLER;
    "DeleteRecords" 0..=2, delete_records::DeleteRecordsRequest => delete_records::handle, above COSTLY;
    "InitProducerId" 0..=5, init_producer_id::InitProducerIdRequest => init_producer_id::handle;
    "OffsetForLeaderEpoch" 0..=4, offset_for_leader_epoch::OffsetForLeaderEpochRequest => offset_for_leader_epoch::handle;
    "AddPartitionsToTxn" 0..=5, add_partitions_to_txn::AddPartitionsToTxnRequest => add_partitions_to_txn::handle, above COSTLY;
    "AddOffsetsToTxn" 0..=4, add_offsets_to_txn::AddOffsetsToTxnRequest => add_offsets_to_txn::handle;
    "EndTxn" 0..=5, end_txn::EndTxnRequest => end_txn::handle;
    "WriteTxnMarkers" 0..=2, write_txn_markers::WriteTxnMarkersRequest => write_txn_markers::handle, above COSTLY;
    "TxnOffsetCommit" 0..=6, txn_offset_commit::TxnOffsetCommitRequest => txn_offset_commit::handle;
    "DescribeAcls" 0..=3, describe_acls::DescribeAclsRequest => describe_acls::handle, above ANY;
    "CreateAcls" 0..=3, create_acls::CreateAclsRequest => create_acls::handle, above COSTLY, to CONTROLLER;
    "DeleteAcls" 0..=3, delete_acls::DeleteAclsRequest => delete_acls::handle, above COSTLY, to CONTROLLER;
    "DescribeConfigs" 0..=4, describe_configs::DescribeConfigsRequest => describe_configs::handle, above ANY;
    "AlterConfigs" 0..=2, alter_configs::AlterConfigsRequest => alter_configs::handle, above COSTLY, to CONTROLLER;
    "AlterReplicaLogDirs" 0..=2, alter_replica_log_dirs::AlterReplicaLogDirsRequest => alter_replica_log_dirs::handle, above COSTLY;
    "DescribeLogDirs" 0..=5, describe_log_dirs::DescribeLogDirsRequest => describe_log_dirs::handle, above ANY;
    "SaslAuthenticate" 0..=2, sasl_authenticate::SaslAuthenticateRequest => sasl_authenticate::handle;
    "CreatePartitions" 0..=3, create_partitions::CreatePartitionsRequest => create_partitions::handle, above COSTLY, to CONTROLLER;
    "CreateDelegationToken" 0..=3, create_delegation_token::CreateDelegationTokenRequest => create_delegation_token::handle, to CONTROLLER;
    "RenewDelegationToken" 0..=2, renew_delegation_token::RenewDelegationTokenRequest => renew_delegation_token::handle, to CONTROLLER;
    "ExpireDelegationToken" 0..=2, expire_delegation_token::ExpireDelegationTokenRequest => expire_delegation_token::handle, to CONTROLLER;
    "DescribeDelegationToken" 0..=3, describe_delegation_token::DescribeDelegationTokenRequest => describe_delegation_token::handle;
    "DeleteGroups" 0..=3, delete_groups::DeleteGroupsRequest => delete_groups::handle, above COSTLY;
    "ElectLeaders" 0..=2, elect_leaders::ElectLeadersRequest => elect_leaders::handle, above COSTLY, to CONTROLLER;
    "IncrementalAlterConfigs" 0..=1, incremental_alter_configs::IncrementalAlterConfigsRequest => incremental_alter_configs::handle, above COSTLY, to CONTROLLER;
    "AlterPartitionReassignments" 0..=1, alter_partition_reassignments::AlterPartitionReassignmentsRequest => alter_partition_reassignments::handle, above COSTLY, to CONTROLLER;
    "ListPartitionReassignments" 0..=0, list_partition_reassignments::ListPartitionReassignmentsRequest => list_partition_reassignments::handle, above ANY, to CONTROLLER;
    "OffsetDelete" 0..=0, offset_delete::OffsetDeleteRequest => offset_delete::handle, above COSTLY;
    "DescribeClientQuotas" 0..=1, describe_client_quotas::DescribeClientQuotasRequest => describe_client_quotas::handle, above ANY;
    "AlterClientQuotas" 0..=1, alter_client_quotas::AlterClientQuotasRequest => alter_client_quotas::handle, above COSTLY, to CONTROLLER;
    "DescribeUserScramCredentials" 0..=0, describe_user_scram_credentials::DescribeUserScramCredentialsRequest => describe_user_scram_credentials::handle, above ANY;
    "AlterUserScramCredentials" 0..=0, alter_user_scram_credentials::AlterUserScramCredentialsRequest => alter_user_scram_credentials::handle, above COSTLY, to CONTROLLER;
    "DescribeQuorum" 0..=2, describe_quorum::DescribeQuorumRequest => describe_quorum::handle, to CONTROLLER;
    "UpdateFeatures" 0..=2, update_features::UpdateFeaturesRequest => update_features::handle, to CONTROLLER;
    "DescribeCluster" 0..=2, describe_cluster::DescribeClusterRequest => describe_cluster::handle;
    "DescribeProducers" 0..=0, describe_producers::DescribeProducersRequest => describe_producers::handle, above ANY;
    "UnregisterBroker" 0..=0, unregister_broker::UnregisterBrokerRequest => unregister_broker::handle, to CONTROLLER;
    "DescribeTransactions" 0..=0, describe_transactions::DescribeTransactionsRequest => describe_transactions::handle, above COSTLY;
    "ListTransactions" 0..=2, list_transactions::ListTransactionsRequest => list_transactions::handle, above ANY;
    "ConsumerGroupHeartbeat" 0..=1, consumer_group_heartbeat::ConsumerGroupHeartbeatRequest => consumer_group_heartbeat::handle;
    "ConsumerGroupDescribe" 0..=1, consumer_group_describe::ConsumerGroupDescribeRequest => consumer_group_describe::handle, above COSTLY;
    "ListConfigResources" 0..=1, list_config_resources::ListConfigResourcesRequest => list_config_resources::handle, above ANY;
    "DescribeTopicPartitions" 0..=0, describe_topic_partitions::DescribeTopicPartitionsRequest => describe_topic_partitions::handle, above ANY;
    "ShareGroupHeartbeat" 1..=1, share_group_heartbeat::ShareGroupHeartbeatRequest => share_group_heartbeat::handle;
    "ShareGroupDescribe" 1..=1, share_group_describe::ShareGroupDescribeRequest => share_group_describe::handle, above COSTLY;
    "ShareFetch" 1..=2, share_fetch::ShareFetchRequest => share_fetch::handle;
    "ShareAcknowledge" 1..=2, share_acknowledge::ShareAcknowledgeRequest => share_acknowledge::handle;
    "InitializeShareGroupState" 0..=0, initialize_share_group_state::InitializeShareGroupStateRequest => initialize_share_group_state::handle, above COSTLY;
    "ReadShareGroupState" 0..=0, read_share_group_state::ReadShareGroupStateRequest => read_share_group_state::handle, above COSTLY;
    "WriteShareGroupState" 0..=1, write_share_group_state::WriteShareGroupStateRequest => write_share_group_state::handle, above COSTLY;
    "DeleteShareGroupState" 0..=0, delete_share_group_state::DeleteShareGroupStateRequest => delete_share_group_state::handle, above COSTLY;
    "ReadShareGroupStateSummary" 0..=1, read_share_group_state_summary::ReadShareGroupStateSummaryRequest => read_share_group_state_summary::handle, above COSTLY;
    "DescribeShareGroupOffsets" 0..=1, describe_share_group_offsets::DescribeShareGroupOffsetsRequest => describe_share_group_offsets::handle, above ANY;
    "AlterShareGroupOffsets" 0..=0, alter_share_group_offsets::AlterShareGroupOffsetsRequest => alter_share_group_offsets::handle, above COSTLY;
    "DeleteShareGroupOffsets" 0..=0, delete_share_group_offsets::DeleteShareGroupOffsetsRequest => delete_share_group_offsets::handle, above COSTLY;
}

/// The row of an API key.
pub fn find(key: i16) -> Option<&'static Row> {
    let index = APIS.binary_search_by_key(&key, |row| row.key).ok()?;
    APIS.get(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tools derive Kafka's version from the API keys that a broker offers. All of these were in 3.6; a broker without one of
    /// them is taken for an older version.
    #[test]
    fn whoever_guesses_the_version_finds_a_broker_of_today() {
        let removed_since = 4..=7;
        let clients = (0..=51).filter(|key| !removed_since.contains(key));
        for key in clients.chain([55, 57, 60, 61, 64, 65, 66, 68]) {
            assert!(find(key).is_some(), "{key}");
        }
    }

    /// APIs whose requests Apache Kafka's brokers forward to the controller in an Envelope, as far as they are served here.
    #[test]
    fn the_controller_decides_about_what_is_forwarded() {
        let forwarded = APIS.iter().filter(|row| row.forwarded).map(|row| row.key);
        let of_kafka = [
            19, 20, 30, 31, 33, 37, 38, 39, 40, 43, 44, 45, 46, 49, 51, 55, 57, 64, 80, 81,
        ];
        let served = of_kafka.into_iter().filter(|key| find(*key).is_some());
        assert_eq!(forwarded.collect::<Vec<_>>(), served.collect::<Vec<_>>());
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(APIS.is_sorted_by_key(|row| row.key));
        assert!(
            APIS.iter()
                .all(|row| find(row.key).is_some_and(|found| found.name == row.name))
        );
    }
}
