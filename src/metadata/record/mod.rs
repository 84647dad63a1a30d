//! pure: the records of `__cluster_metadata`: framing and the union of all kinds.
//!
//! A record's value is: frame version 1, kind, version (all unsigned varints), body. Nothing may follow the body.

#[cfg(test)]
mod recordings;
pub mod schema;

use bytes::Bytes;

use crate::wire::codec::{DecodeError, EncodeError, Reader, Writer};
use crate::wire::message::Message;
use crate::wire::message::describe::{Describe, screaming_case};
use schema::*;

const FRAME_VERSION: u32 = 1;
/// The feature whose level says in which versions records are written.
pub const METADATA_VERSION: &str = "metadata.version";
/// The levels of `metadata.version` at which a kind got its versions 1, 2, …; all others have version 0 only. Older nodes do
/// not read newer versions, and finding one is fatal to them. Kafka: `MetadataVersion`.
const VERSIONS_SINCE: &[(u32, &[i16])] = &[
    (0, &[7, 8, 17, 30]),
    (3, &[17, 23]),
    (5, &[17, 23]),
    (17, &[7, 17, 30]),
];

/// Why a record of the metadata log cannot be read. A node that meets one must not go on: its image would be wrong.
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
    /// The level of `metadata.version` from this record on, if it says so.
    pub fn metadata_version(&self) -> Option<i16> {
        match self {
            Self::FeatureLevel(feature) if feature.name == METADATA_VERSION => {
                Some(feature.feature_level)
            }
            _ => None,
        }
    }
}

/// The version in which a kind is written at a level of `metadata.version`.
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
            /// The record's value, in the version of a level of `metadata.version`. What that version has no field for is
            /// left out: nobody at that level knows of it.
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

            /// Reads a record's value.
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

            /// The record as JSON: kind, version, fields.
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

            /// Between the oldest level that is read and the newest, versions grow from one that there is to the newest.
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
                // As Apache Kafka 3.9 writes them.
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
                // It is no small version when it is cut to 16 bits.
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
