//! pure: schema of the records of the metadata log, as Kafka declares them.

use bytes::Bytes;
use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::describe::described;
use crate::wire::message::macros::message;

described! {
    message RegisterBrokerRecord, versions 0..=4, flexible Some(0);
    {
        broker_id: i32 [0..];
        is_migrating_zk_broker: bool [2..];
        incarnation_id: Uuid [0..];
        broker_epoch: i64 [0..];
        end_points: Vec<BrokerEndpoint> [0..];
        features: Vec<BrokerFeature> [0..];
        rack: Option<ByteString> [0..] null [0..];
        fenced: bool [0..] = true;
        in_controlled_shutdown: bool [1..];
        log_dirs: Vec<Uuid> [3..] tag 0;
        cordoned_log_dirs: Option<Vec<Uuid>> [4..] null [4..] tag 1;
    }

    struct BrokerEndpoint {
        name: ByteString [0..];
        host: ByteString [0..];
        port: u16 [0..];
        security_protocol: i16 [0..];
    }

    struct BrokerFeature {
        name: ByteString [0..];
        min_supported_version: i16 [0..];
        max_supported_version: i16 [0..];
    }

    message UnregisterBrokerRecord, versions 0..=0, flexible Some(0);
    {
        broker_id: i32 [0..];
        broker_epoch: i64 [0..];
    }

    message TopicRecord, versions 0..=0, flexible Some(0);
    {
        name: ByteString [0..];
        topic_id: Uuid [0..];
    }

    message PartitionRecord, versions 0..=2, flexible Some(0);
    {
        partition_id: i32 [0..] = -1;
        topic_id: Uuid [0..];
        replicas: Vec<i32> [0..];
        isr: Vec<i32> [0..];
        removing_replicas: Vec<i32> [0..];
        adding_replicas: Vec<i32> [0..];
        leader: i32 [0..] = -1;
        leader_recovery_state: i8 [0..] tag 0;
        leader_epoch: i32 [0..] = -1;
        partition_epoch: i32 [0..] = -1;
        directories: Vec<Uuid> [1..];
        eligible_leader_replicas: Option<Vec<i32>> [2..] null [2..] tag 1;
        last_known_elr: Option<Vec<i32>> [2..] null [2..] tag 2;
    }

    message ConfigRecord, versions 0..=0, flexible Some(0);
    {
        resource_type: i8 [0..];
        resource_name: ByteString [0..];
        name: ByteString [0..];
        value: Option<ByteString> [0..] null [0..];
    }

    message PartitionChangeRecord, versions 0..=2, flexible Some(0);
    {
        partition_id: i32 [0..] = -1;
        topic_id: Uuid [0..];
        isr: Option<Vec<i32>> [0..] null [0..] tag 0;
        leader: i32 [0..] tag 1 = -2;
        replicas: Option<Vec<i32>> [0..] null [0..] tag 2;
        removing_replicas: Option<Vec<i32>> [0..] null [0..] tag 3;
        adding_replicas: Option<Vec<i32>> [0..] null [0..] tag 4;
        leader_recovery_state: i8 [0..] tag 5 = -1;
        directories: Option<Vec<Uuid>> [1..] null [1..] tag 8;
        eligible_leader_replicas: Option<Vec<i32>> [2..] null [2..] tag 6;
        last_known_elr: Option<Vec<i32>> [2..] null [2..] tag 7;
    }

    message FenceBrokerRecord, versions 0..=0, flexible Some(0);
    {
        id: i32 [0..];
        epoch: i64 [0..];
    }

    message UnfenceBrokerRecord, versions 0..=0, flexible Some(0);
    {
        id: i32 [0..];
        epoch: i64 [0..];
    }

    message RemoveTopicRecord, versions 0..=0, flexible Some(0);
    {
        topic_id: Uuid [0..];
    }

    message DelegationTokenRecord, versions 0..=0, flexible Some(0);
    {
        owner: ByteString [0..];
        requester: ByteString [0..];
        renewers: Vec<ByteString> [0..];
        issue_timestamp: i64 [0..];
        max_timestamp: i64 [0..];
        expiration_timestamp: i64 [0..];
        token_id: ByteString [0..];
    }

    message UserScramCredentialRecord, versions 0..=0, flexible Some(0);
    {
        name: ByteString [0..];
        mechanism: i8 [0..];
        salt: Bytes [0..];
        stored_key: Bytes [0..];
        server_key: Bytes [0..];
        iterations: i32 [0..];
    }

    message FeatureLevelRecord, versions 0..=0, flexible Some(0);
    {
        name: ByteString [0..];
        feature_level: i16 [0..];
    }

    message ClientQuotaRecord, versions 0..=0, flexible Some(0);
    {
        entity: Vec<ClientQuotaEntityData> [0..];
        key: ByteString [0..];
        value: f64 [0..];
        remove: bool [0..];
    }

    struct ClientQuotaEntityData {
        entity_type: ByteString [0..];
        entity_name: Option<ByteString> [0..] null [0..];
    }

    message ProducerIdsRecord, versions 0..=0, flexible Some(0);
    {
        broker_id: i32 [0..];
        broker_epoch: i64 [0..] = -1;
        next_producer_id: i64 [0..];
    }

    message BrokerRegistrationChangeRecord, versions 0..=3, flexible Some(0);
    {
        broker_id: i32 [0..];
        broker_epoch: i64 [0..];
        fenced: i8 [0..] tag 0;
        in_controlled_shutdown: i8 [1..] tag 1;
        log_dirs: Vec<Uuid> [2..] tag 2;
        cordoned_log_dirs: Option<Vec<Uuid>> [3..] null [3..] tag 3;
    }

    message AccessControlEntryRecord, versions 0..=0, flexible Some(0);
    {
        id: Uuid [0..];
        resource_type: i8 [0..];
        resource_name: ByteString [0..];
        pattern_type: i8 [0..];
        principal: ByteString [0..];
        host: ByteString [0..];
        operation: i8 [0..];
        permission_type: i8 [0..];
    }

    message RemoveAccessControlEntryRecord, versions 0..=0, flexible Some(0);
    {
        id: Uuid [0..];
    }

    message NoOpRecord, versions 0..=0, flexible Some(0);
    {
    }

    message ZkMigrationStateRecord, versions 0..=0, flexible Some(0);
    {
        zk_migration_state: i8 [0..];
    }

    message RemoveUserScramCredentialRecord, versions 0..=0, flexible Some(0);
    {
        name: ByteString [0..];
        mechanism: i8 [0..];
    }

    message BeginTransactionRecord, versions 0..=0, flexible Some(0);
    {
        name: Option<ByteString> [0..] null [0..] tag 0;
    }

    message EndTransactionRecord, versions 0..=0, flexible Some(0);
    {
    }

    message AbortTransactionRecord, versions 0..=0, flexible Some(0);
    {
        reason: Option<ByteString> [0..] null [0..] tag 0;
    }

    message RemoveDelegationTokenRecord, versions 0..=0, flexible Some(0);
    {
        token_id: ByteString [0..];
    }

    message RegisterControllerRecord, versions 0..=0, flexible Some(0);
    {
        controller_id: i32 [0..];
        incarnation_id: Uuid [0..];
        zk_migration_ready: bool [0..];
        end_points: Vec<ControllerEndpoint> [0..];
        features: Vec<ControllerFeature> [0..];
    }

    struct ControllerEndpoint {
        name: ByteString [0..];
        host: ByteString [0..];
        port: u16 [0..];
        security_protocol: i16 [0..];
    }

    struct ControllerFeature {
        name: ByteString [0..];
        min_supported_version: i16 [0..];
        max_supported_version: i16 [0..];
    }

    message ClearElrRecord, versions 0..=0, flexible Some(0);
    {
        topic_name: ByteString [0..];
    }

    message UnregisterControllerRecord, versions 0..=0, flexible Some(0);
    {
        controller_id: i32 [0..];
    }
}
