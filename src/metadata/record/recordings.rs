//! Test-only: metadata records written by Apache Kafka's own Java classes are decoded and encoded again without a change.

use super::schema::*;
use super::{FRAME_VERSION, Record};
use crate::metadata::bootstrap::METADATA_VERSION;
use crate::wire::codec::Writer;
use crate::wire::message::Message;
use crate::wire::message::recordings::{METADATA_RECORD, Recording, fault, records};

macro_rules! fault_by_kind {
    ($($kind:literal $record:ident;)*) => {
        /// The difference, if any, between a recorded body and the same body decoded and encoded again, and the newest version
        /// of its kind.
        fn fault_of(recording: &Recording) -> (Option<String>, i16) {
            let Recording { version, bytes, .. } = recording;
            match recording.key {
                $($kind => (fault::<$record>(*version, bytes), *$record::VERSIONS.end()),)*
                kind => (Some(format!("kind {kind} is unknown here")), 0),
            }
        }
    };
}

fault_by_kind! {
    0 RegisterBrokerRecord;
    1 UnregisterBrokerRecord;
    2 TopicRecord;
    3 PartitionRecord;
    4 ConfigRecord;
    5 PartitionChangeRecord;
    7 FenceBrokerRecord;
    8 UnfenceBrokerRecord;
    9 RemoveTopicRecord;
    10 DelegationTokenRecord;
    11 UserScramCredentialRecord;
    12 FeatureLevelRecord;
    14 ClientQuotaRecord;
    15 ProducerIdsRecord;
    17 BrokerRegistrationChangeRecord;
    18 AccessControlEntryRecord;
    19 RemoveAccessControlEntryRecord;
    20 NoOpRecord;
    21 ZkMigrationStateRecord;
    22 RemoveUserScramCredentialRecord;
    23 BeginTransactionRecord;
    24 EndTransactionRecord;
    25 AbortTransactionRecord;
    26 RemoveDelegationTokenRecord;
    27 RegisterControllerRecord;
    28 ClearElrRecord;
}

#[test]
fn what_apache_kafka_wrote_comes_out_as_it_went_in() {
    let records = records(METADATA_RECORD);
    assert!(records.len() > 200, "{}", records.len());
    for recording in &records {
        let (fault, newest) = fault_of(recording);
        assert_eq!(fault, None, "kind {}", recording.key);
        let mut framed = Writer::default();
        framed.unsigned_varint(FRAME_VERSION);
        framed.unsigned_varint(recording.key as u32);
        framed.unsigned_varint(recording.version as u32);
        framed.put(&recording.bytes);
        let framed = framed.into_bytes();
        let record = Record::decode(framed.clone()).unwrap();
        if recording.version == newest {
            assert_eq!(
                record.encode(METADATA_VERSION).unwrap(),
                framed,
                "{record:?}"
            );
        }
    }
}
