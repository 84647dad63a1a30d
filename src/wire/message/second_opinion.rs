//! Test-only: comparison with the `kafka-protocol` crate, which is generated from Apache Kafka's schema files. For every
//! message and version that both know, a message that we encode must be unchanged after the crate has decoded and encoded it.

use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};

use super::Message;
use super::arbitrary::{Arbitrary, Dice};
use crate::wire::codec::{Layout, Reader, Writer};

/// Number of messages per version and type.
const ROUNDS: u64 = 24;

fn agree<
    M: Message + Arbitrary + PartialEq + std::fmt::Debug,
    T: Encodable + Decodable + TheirMessage,
>() {
    let known = T::VERSIONS;
    for version in M::VERSIONS.filter(|version| (known.min..=known.max).contains(version)) {
        for seed in 0..ROUNDS {
            let layout = Layout::new(version, M::is_flexible(version));
            let message = M::arbitrary(&mut Dice::new(seed), layout);
            let place = format!("{} v{version} seed {seed}", M::NAME);
            let mut writer = Writer::default();
            message.write(&mut writer, version).unwrap();
            let ours = writer.into_bytes();
            let mut rest = ours.clone();
            let decoded = T::decode(&mut rest, version)
                .unwrap_or_else(|error| panic!("{place}: {error}\n{message:?}"));
            assert!(
                rest.is_empty(),
                "{place}: {} bytes are left over",
                rest.len()
            );
            let mut again = bytes::BytesMut::new();
            decoded
                .encode(&mut again, version)
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            let read = M::read(&mut Reader::new(again.freeze()), version).unwrap();
            assert_eq!(read, message, "{place}");
        }
    }
}

macro_rules! agree_on {
    ($($name:ident $module:ident;)*) => { pastey::paste! {
        $(
            #[test]
            fn [<$module _is_what_apache_means>]() {
                use crate::wire::message::$module::{[<$name Request>], [<$name Response>]};
                agree::<[<$name Request>], theirs::[<$name Request>]>();
                agree::<[<$name Response>], theirs::[<$name Response>]>();
            }
        )*
    } };
}

agree_on! {
    Produce produce;
    Fetch fetch;
    ListOffsets list_offsets;
    Metadata metadata;
    OffsetCommit offset_commit;
    OffsetFetch offset_fetch;
    FindCoordinator find_coordinator;
    JoinGroup join_group;
    Heartbeat heartbeat;
    LeaveGroup leave_group;
    SyncGroup sync_group;
    DescribeGroups describe_groups;
    ListGroups list_groups;
    SaslHandshake sasl_handshake;
    ApiVersions api_versions;
    CreateTopics create_topics;
    DeleteTopics delete_topics;
    DeleteRecords delete_records;
    InitProducerId init_producer_id;
    OffsetForLeaderEpoch offset_for_leader_epoch;
    AddPartitionsToTxn add_partitions_to_txn;
    AddOffsetsToTxn add_offsets_to_txn;
    EndTxn end_txn;
    WriteTxnMarkers write_txn_markers;
    TxnOffsetCommit txn_offset_commit;
    DescribeAcls describe_acls;
    CreateAcls create_acls;
    DeleteAcls delete_acls;
    DescribeConfigs describe_configs;
    AlterConfigs alter_configs;
    AlterReplicaLogDirs alter_replica_log_dirs;
    DescribeLogDirs describe_log_dirs;
    SaslAuthenticate sasl_authenticate;
    CreatePartitions create_partitions;
    CreateDelegationToken create_delegation_token;
    RenewDelegationToken renew_delegation_token;
    ExpireDelegationToken expire_delegation_token;
    DescribeDelegationToken describe_delegation_token;
    DeleteGroups delete_groups;
    ElectLeaders elect_leaders;
    IncrementalAlterConfigs incremental_alter_configs;
    AlterPartitionReassignments alter_partition_reassignments;
    ListPartitionReassignments list_partition_reassignments;
    OffsetDelete offset_delete;
    DescribeClientQuotas describe_client_quotas;
    AlterClientQuotas alter_client_quotas;
    DescribeUserScramCredentials describe_user_scram_credentials;
    AlterUserScramCredentials alter_user_scram_credentials;
    Vote vote;
    BeginQuorumEpoch begin_quorum_epoch;
    EndQuorumEpoch end_quorum_epoch;
    DescribeQuorum describe_quorum;
    AlterPartition alter_partition;
    UpdateFeatures update_features;
    Envelope envelope;
    FetchSnapshot fetch_snapshot;
    DescribeCluster describe_cluster;
    DescribeProducers describe_producers;
    BrokerRegistration broker_registration;
    BrokerHeartbeat broker_heartbeat;
    UnregisterBroker unregister_broker;
    DescribeTransactions describe_transactions;
    ListTransactions list_transactions;
    AllocateProducerIds allocate_producer_ids;
    ConsumerGroupHeartbeat consumer_group_heartbeat;
    ConsumerGroupDescribe consumer_group_describe;
    ControllerRegistration controller_registration;
    GetTelemetrySubscriptions get_telemetry_subscriptions;
    PushTelemetry push_telemetry;
    AssignReplicasToDirs assign_replicas_to_dirs;
    ListConfigResources list_config_resources;
    DescribeTopicPartitions describe_topic_partitions;
    ShareGroupHeartbeat share_group_heartbeat;
    ShareGroupDescribe share_group_describe;
    ShareFetch share_fetch;
    ShareAcknowledge share_acknowledge;
    AddRaftVoter add_raft_voter;
    RemoveRaftVoter remove_raft_voter;
    UpdateRaftVoter update_raft_voter;
    InitializeShareGroupState initialize_share_group_state;
    ReadShareGroupState read_share_group_state;
    WriteShareGroupState write_share_group_state;
    DeleteShareGroupState delete_share_group_state;
    ReadShareGroupStateSummary read_share_group_state_summary;
    DescribeShareGroupOffsets describe_share_group_offsets;
    AlterShareGroupOffsets alter_share_group_offsets;
    DeleteShareGroupOffsets delete_share_group_offsets;
}
