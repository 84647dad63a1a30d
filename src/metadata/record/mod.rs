//! pure: the records of `__cluster_metadata`: framing, and an enum of all kinds.
//!
//! A record's value is: frame version 1, kind, version (all unsigned varints), body. No bytes may follow the body.

#[cfg(test)]
mod recordings;
pub mod schema;

use bytes::Bytes;

use crate::wire::codec::{DecodeError, EncodeError, Reader, Writer};
use crate::wire::message::Message;
use crate::wire::message::describe::{Describe, screaming_case};
use schema::*;

const FRAME_VERSION: u32 = 1;
/// Name of the feature whose level determines the versions of records.
pub const METADATA_VERSION: &str = "metadata.version";
/// Levels of `metadata.version` at which a kind got its versions 1, 2, …; kinds not listed have version 0 only. Older nodes
/// cannot read newer versions and stop if they find one. Kafka's `MetadataVersion`.
const VERSIONS_SINCE: &[(u32, &[i16])] = &[
    (0, &[7, 8, 17, 30]),
    (3, &[17, 23]),
    (5, &[17, 23]),
    (17, &[7, 17, 30]),
];

/// Reason why a record of the metadata log cannot be read. A node must stop at such a record: its image would be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("a metadata record of frame version {0}, which is unknown: a newer program wrote it")]
    FrameVersion(u32),
    #[error("a metadata record of kind {0}, which is unknown: a newer program wrote it")]
    Kind(u32),
    #[error(
        "a {name} of version {version}, where versions 0 to {newest} are known: a newer program wrote it"
    )]
    Version {
        name: &'static str,
        version: u32,
        newest: i16,
    },
    #[error(transparent)]
    Body(#[from] DecodeError),
}

impl Record {
    /// The level of `metadata.version` that this record sets, if it sets one.
    pub fn metadata_version(&self) -> Option<i16> {
        match self {
            Self::FeatureLevel(feature) if feature.name == METADATA_VERSION => {
                Some(feature.feature_level)
            }
            _ => None,
        }
    }
}

/// Version in which a kind is written at a level of `metadata.version`.
fn version_at(kind: u32, level: i16) -> i16 {
    let since = VERSIONS_SINCE.iter().find(|(of, _)| *of == kind);
    since.map_or(0, |(_, since)| {
        since.partition_point(|first| *first <= level) as i16
    })
}

macro_rules! metadata_records {
    ($($kind:literal $name:ident $record:ident;)*) => {
        /// A record of the metadata log.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Record {
            $($name($record),)*
        }

        impl Record {
            /// Encodes the record's value in the version for a level of `metadata.version`. Fields that the version does not
            /// have are left out: no node at that level knows them.
            pub fn encode(&self, level: i16) -> Result<Bytes, EncodeError> {
                let mut writer = Writer::for_answer(0);
                writer.unsigned_varint(FRAME_VERSION);
                match self {
                    $(Self::$name(record) => {
                        let version = version_at($kind, level);
                        writer.unsigned_varint($kind);
                        writer.unsigned_varint(version as u32);
                        record.write(&mut writer, version)?;
                    })*
                }
                Ok(writer.into_bytes())
            }

            /// Decodes a record's value.
            pub fn decode(value: Bytes) -> Result<Self, RecordError> {
                let mut reader = Reader::new(value);
                let frame = reader.unsigned_varint()?;
                if frame != FRAME_VERSION {
                    return Err(RecordError::FrameVersion(frame));
                }
                let kind = reader.unsigned_varint()?;
                let version = reader.unsigned_varint()?;
                let record = match kind {
                    $($kind => {
                        let (name, newest) = (stringify!($record), *$record::VERSIONS.end());
                        let known = i16::try_from(version).ok().filter(|version| *version <= newest);
                        let known = known.ok_or(RecordError::Version { name, version, newest })?;
                        Self::$name($record::read(&mut reader, known)?)
                    })*
                    other => return Err(RecordError::Kind(other)),
                };
                reader.finish()?;
                Ok(record)
            }

            /// The record as JSON: type, version, fields.
            pub fn describe(value: Bytes) -> Result<serde_json::Value, RecordError> {
                let mut reader = Reader::new(value.clone());
                let (_frame, _kind) = (reader.unsigned_varint()?, reader.unsigned_varint()?);
                let version = reader.unsigned_varint()? as i16;
                let (name, data) = match Self::decode(value)? {
                    $(Self::$name(record) => (stringify!($record), record.describe(version)),)*
                };
                Ok(serde_json::json!({"type": screaming_case(name), "version": version, "data": data}))
            }
        }

        $(
            impl From<$record> for Record {
                fn from(record: $record) -> Self {
                    Self::$name(record)
                }
            }
        )*

        #[cfg(test)]
        mod tests {
            use super::*;
            use crate::metadata::bootstrap::{METADATA_VERSION, METADATA_VERSION_MIN};
            use crate::wire::codec::Layout;
            use crate::wire::message::arbitrary::{Arbitrary, Dice};

            #[test]
            fn every_kind_survives() {
                for seed in 0..20 {
                    $(
                        let layout = Layout::new(*$record::VERSIONS.end(), true);
                        let record = Record::$name($record::arbitrary(&mut Dice::new(seed), layout));
                        let encoded = record.encode(METADATA_VERSION).unwrap();
                        assert_eq!(Record::decode(encoded).as_ref(), Ok(&record));
                    )*
                }
            }

            /// Versions of records at all supported levels of `metadata.version`; the newest level has the newest versions.
            #[test]
            fn old_levels_have_old_versions() {
                $(
                    assert_eq!(version_at($kind, METADATA_VERSION), *$record::VERSIONS.end());
                    for level in METADATA_VERSION_MIN..=METADATA_VERSION {
                        let layout = Layout::new(version_at($kind, level), true);
                        let record = Record::$name($record::arbitrary(&mut Dice::new(level as u64), layout));
                        let encoded = record.encode(level).unwrap();
                        assert_eq!(i16::from(encoded[2]), layout.version);
                        assert_eq!(Record::decode(encoded).as_ref(), Ok(&record));
                    }
                )*
                // These are the versions that Apache Kafka 3.9 writes.
                assert_eq!([0, 3, 5, 17].map(|kind| version_at(kind, 21)), [3, 1, 1, 2]);
            }

            #[test]
            fn strangers_and_trailing_bytes_are_refused() {
                assert_eq!(Record::decode(Bytes::from_static(&[1, 99, 0])), Err(RecordError::Kind(99)));
                assert_eq!(Record::decode(Bytes::from_static(&[0, 20, 0, 0])), Err(RecordError::FrameVersion(0)));
                assert!(Record::decode(Bytes::from_static(&[1, 20, 0, 0])).is_ok());
                assert!(Record::decode(Bytes::from_static(&[1, 20, 0, 0, 0])).is_err());
                let newer = Record::decode(Bytes::from_static(&[1, 20, 9, 0])).unwrap_err().to_string();
                assert!(newer.contains("a NoOpRecord of version 9"), "{newer}");
                // A version above 16 bits must not be truncated to a known one.
                assert!(Record::decode(Bytes::from_static(&[1, 20, 0x80, 0x80, 4, 0])).is_err());
            }
        }
    };
}

metadata_records! {
    0 RegisterBroker RegisterBrokerRecord;
    1 UnregisterBroker UnregisterBrokerRecord;
    2 Topic TopicRecord;
    3 Partition PartitionRecord;
    4 Config ConfigRecord;
    5 PartitionChange PartitionChangeRecord;
    7 FenceBroker FenceBrokerRecord;
    8 UnfenceBroker UnfenceBrokerRecord;
    9 RemoveTopic RemoveTopicRecord;
    10 DelegationToken DelegationTokenRecord;
    11 UserScramCredential UserScramCredentialRecord;
    12 FeatureLevel FeatureLevelRecord;
    14 ClientQuota ClientQuotaRecord;
    15 ProducerIds ProducerIdsRecord;
    17 BrokerRegistrationChange BrokerRegistrationChangeRecord;
    18 AccessControlEntry AccessControlEntryRecord;
    19 RemoveAccessControlEntry RemoveAccessControlEntryRecord;
    20 NoOp NoOpRecord;
    21 ZkMigrationState ZkMigrationStateRecord;
    22 RemoveUserScramCredential RemoveUserScramCredentialRecord;
    23 BeginTransaction BeginTransactionRecord;
    24 EndTransaction EndTransactionRecord;
    25 AbortTransaction AbortTransactionRecord;
    26 RemoveDelegationToken RemoveDelegationTokenRecord;
    27 RegisterController RegisterControllerRecord;
    28 ClearElr ClearElrRecord;
    29 UnregisterController UnregisterControllerRecord;
}
