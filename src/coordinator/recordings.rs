//! Test-only: keys and values of the coordinators' topics that Apache Kafka's own Java classes wrote are decoded and encoded
//! again without a change.

use bytes::Bytes;

use super::group::record::GroupRecord;
use super::group::record::group_metadata::{GroupMetadataKey, GroupMetadataValue};
use super::group::record::offset_commit::{OffsetCommitKey, OffsetCommitValue};
use super::runtime::shard::RawRecord;
use super::txn::record::{TransactionLogKey, TransactionLogValue, TxnRecord};
use crate::wire::codec::Writer;
use crate::wire::message::recordings::{
    GROUP_KEY, GROUP_VALUE, Recording, TRANSACTION_KEY, TRANSACTION_VALUE, fault, records,
};

/// A key after its kind or a value after its version, as in the topic.
fn prefixed(prefix: i16, bytes: &Bytes) -> Bytes {
    let mut writer = Writer::default();
    writer.i16(prefix);
    writer.put(bytes);
    writer.into_bytes()
}

fn each(of: u8, count: usize, check: impl Fn(&Recording) -> Option<String>) -> Vec<Recording> {
    let records = records(of);
    assert!(records.len() >= count, "{}", records.len());
    for recording in &records {
        assert_eq!(check(recording), None, "kind {}", recording.key);
    }
    records
}

#[test]
fn groups_of_apache_kafka_come_out_as_they_went_in() {
    // The kind is also the key's version. Keys are recorded in every version that Kafka's classes know; one of them is the
    // version for the kind.
    let keys = each(GROUP_KEY, 18, |it| match it.key {
        0 | 1 => fault::<OffsetCommitKey>(it.key, &it.bytes),
        _ => fault::<GroupMetadataKey>(it.key, &it.bytes),
    });
    let values = each(GROUP_VALUE, 60, |it| match it.key {
        0 | 1 => fault::<OffsetCommitValue>(it.version, &it.bytes),
        _ => fault::<GroupMetadataValue>(it.version, &it.bytes),
    });
    for value in &values {
        let key = keys.iter().find(|key| key.key == value.key).unwrap();
        let raw = RawRecord {
            key: prefixed(key.key, &key.bytes),
            value: Some(prefixed(value.version, &value.bytes)),
        };
        let record = GroupRecord::decode(raw.clone()).unwrap().unwrap();
        let again = record.encode().unwrap();
        // An encoded record has the newest version that is written here; it must stay the same when it is decoded and encoded
        // once more.
        if again.value != raw.value {
            let record = GroupRecord::decode(again.clone()).unwrap().unwrap();
            assert_eq!(record.encode().unwrap(), again);
        }
    }
}

#[test]
fn transactions_of_apache_kafka_come_out_as_they_went_in() {
    let keys = each(TRANSACTION_KEY, 6, |it| {
        fault::<TransactionLogKey>(it.version, &it.bytes)
    });
    let values = each(TRANSACTION_VALUE, 12, |it| {
        fault::<TransactionLogValue>(it.version, &it.bytes)
    });
    for (value, key) in values.iter().zip(keys.iter().cycle()) {
        let raw = RawRecord {
            key: prefixed(0, &key.bytes),
            value: Some(prefixed(value.version, &value.bytes)),
        };
        let record = TxnRecord::decode(raw.clone()).unwrap().unwrap();
        assert_eq!(record.encode().unwrap(), raw);
    }
}
