//! pure: records of `__consumer_offsets`, in Kafka's format.

pub mod consumer_group;
pub mod group_metadata;
pub mod keys;
pub mod offset_commit;
pub mod share_group;
pub mod streams_group;

use bytes::Bytes;
use bytestring::ByteString;

use self::consumer_group::*;
use self::group_metadata::{GroupMetadataKey, GroupMetadataValue};
use self::keys::{GroupKey, MemberKey, RegularExpressionKey};
use self::offset_commit::{OffsetCommitKey, OffsetCommitValue};
use self::share_group::{
    ShareGroupCurrentMemberAssignmentValue, ShareGroupMemberMetadataValue, ShareGroupMetadataValue,
    ShareGroupStatePartitionMetadataValue, ShareGroupTargetAssignmentMemberValue,
    ShareGroupTargetAssignmentMetadataValue,
};
use self::streams_group::{
    StreamsGroupCurrentMemberAssignmentValue, StreamsGroupMemberMetadataValue,
    StreamsGroupMetadataValue, StreamsGroupTargetAssignmentMemberValue,
    StreamsGroupTargetAssignmentMetadataValue, StreamsGroupTopologyValue,
};
use crate::coordinator::runtime::shard::{RawRecord, RecordError, read_value, versioned};
use crate::wire::codec::{DecodeError, EncodeError, Reader};
use crate::wire::message::Message;

/// Record of a type that this coordinator keeps. A record without a value is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupRecord {
    Offset {
        key: OffsetCommitKey,
        value: Option<OffsetCommitValue>,
    },
    Group {
        group: ByteString,
        value: Option<GroupMetadataValue>,
    },
    /// Record of a group of the consumer, share or streams protocol.
    Modern(Modern),
}

/// Key and value of a record of a group, of one of its members, or of one of its regular expressions. Without a value the
/// record is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<V> {
    pub group: ByteString,
    /// Member id or regular expression; empty if the record concerns the whole group.
    pub of: ByteString,
    pub value: Option<V>,
}

impl<V> Entry<V> {
    pub fn new(group: &ByteString, of: &ByteString, value: V) -> Self {
        Self {
            group: group.clone(),
            of: of.clone(),
            value: Some(value),
        }
    }

    pub fn gone(group: &ByteString, of: &ByteString) -> Self {
        Self {
            group: group.clone(),
            of: of.clone(),
            value: None,
        }
    }
}

/// Protocol of a group, as given by the type of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Consumer,
    Share,
    Streams,
}

macro_rules! modern {
    ($($name:ident = $kind:literal of $protocol:ident, $value:ty;)*) => {
        /// Record types that exist since Kafka 4.0.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Modern {
            $($name(Entry<$value>),)*
        }

        impl Modern {
            /// Number of the record type, as in the key.
            pub fn kind(&self) -> i16 {
                match self {
                    $(Self::$name(_) => $kind,)*
                }
            }

            pub fn protocol(&self) -> Protocol {
                match self {
                    $(Self::$name(_) => Protocol::$protocol,)*
                }
            }

            pub fn group(&self) -> &ByteString {
                match self {
                    $(Self::$name(entry) => &entry.group,)*
                }
            }

            /// See [`Entry::of`].
            pub fn of(&self) -> &ByteString {
                match self {
                    $(Self::$name(entry) => &entry.of,)*
                }
            }

            /// Whether the record removes its key.
            pub fn is_tombstone(&self) -> bool {
                match self {
                    $(Self::$name(entry) => entry.value.is_none(),)*
                }
            }

            /// Tombstone of a key of this type; `None` for unknown types.
            pub fn tombstone(kind: i16, group: &ByteString, of: &ByteString) -> Option<Self> {
                match kind {
                    $($kind => Some(Self::$name(Entry::gone(group, of))),)*
                    _ => None,
                }
            }

            fn decode(kind: i16, key: &mut Reader, bytes: Option<Bytes>) -> Result<Option<Self>, RecordError> {
                match kind {
                    $($kind => {
                        let (group, of) = read_key(kind, key)?;
                        let value = bytes.map(read_value::<$value>).transpose()?;
                        Ok(Some(Self::$name(Entry { group, of, value })))
                    })*
                    _ => Ok(None),
                }
            }

            fn encode(&self) -> Result<RawRecord, EncodeError> {
                match self {
                    $(Self::$name(entry) => Ok(RawRecord {
                        key: key_bytes($kind, &entry.group, &entry.of)?,
                        value: entry
                            .value
                            .as_ref()
                            .map(|value| versioned(value, MODERN_VALUE_VERSION))
                            .transpose()?,
                    }),)*
                }
            }
        }
    };
}

modern! {
    ConsumerEpoch = 3 of Consumer, ConsumerGroupMetadataValue;
    // Written by Kafka 4.0 only.
    ConsumerPartitions = 4 of Consumer, ConsumerGroupPartitionMetadataValue;
    ConsumerMember = 5 of Consumer, ConsumerGroupMemberMetadataValue;
    ConsumerTargetEpoch = 6 of Consumer, ConsumerGroupTargetAssignmentMetadataValue;
    ConsumerTarget = 7 of Consumer, ConsumerGroupTargetAssignmentMemberValue;
    ConsumerCurrent = 8 of Consumer, ConsumerGroupCurrentMemberAssignmentValue;
    ShareMember = 10 of Share, ShareGroupMemberMetadataValue;
    ShareEpoch = 11 of Share, ShareGroupMetadataValue;
    ShareTargetEpoch = 12 of Share, ShareGroupTargetAssignmentMetadataValue;
    ShareTarget = 13 of Share, ShareGroupTargetAssignmentMemberValue;
    ShareCurrent = 14 of Share, ShareGroupCurrentMemberAssignmentValue;
    SharePartitions = 15 of Share, ShareGroupStatePartitionMetadataValue;
    ConsumerRegex = 16 of Consumer, ConsumerGroupRegularExpressionValue;
    StreamsEpoch = 17 of Streams, StreamsGroupMetadataValue;
    StreamsMember = 19 of Streams, StreamsGroupMemberMetadataValue;
    StreamsTargetEpoch = 20 of Streams, StreamsGroupTargetAssignmentMetadataValue;
    StreamsTarget = 21 of Streams, StreamsGroupTargetAssignmentMemberValue;
    StreamsCurrent = 22 of Streams, StreamsGroupCurrentMemberAssignmentValue;
    StreamsTopology = 23 of Streams, StreamsGroupTopologyValue;
}

/// Record types whose key holds a member id.
const OF_MEMBERS: [i16; 9] = [5, 7, 8, 10, 13, 14, 19, 21, 22];
/// Record type whose key holds a regular expression.
const OF_EXPRESSIONS: i16 = 16;

fn read_key(kind: i16, key: &mut Reader) -> Result<(ByteString, ByteString), DecodeError> {
    if OF_MEMBERS.contains(&kind) {
        let key = MemberKey::read(key, kind)?;
        Ok((key.group_id, key.member_id))
    } else if kind == OF_EXPRESSIONS {
        let key = RegularExpressionKey::read(key, kind)?;
        Ok((key.group_id, key.regular_expression))
    } else {
        let key = GroupKey::read(key, kind)?;
        Ok((key.group_id, ByteString::new()))
    }
}

fn key_bytes(kind: i16, group: &ByteString, of: &ByteString) -> Result<Bytes, EncodeError> {
    let (group_id, of) = (group.clone(), of.clone());
    if OF_MEMBERS.contains(&kind) {
        let member_id = of;
        let key = MemberKey {
            group_id,
            member_id,
        };
        versioned(&key, kind)
    } else if kind == OF_EXPRESSIONS {
        let regular_expression = of;
        let key = RegularExpressionKey {
            group_id,
            regular_expression,
        };
        versioned(&key, kind)
    } else {
        versioned(&GroupKey { group_id }, kind)
    }
}

const LEGACY_OFFSET: i16 = 0;
const OFFSET: i16 = 1;
const GROUP: i16 = 2;

/// Version that Kafka writes since 4.1, which added topic ids. Every broker since 3.5 can read it.
const OFFSET_VALUE_VERSION: i16 = 4;
/// The only version with an expiry time.
const EXPIRING_OFFSET_VALUE_VERSION: i16 = 1;
const GROUP_VALUE_VERSION: i16 = 3;
/// Version of the values of all types that exist since Kafka 4.0.
const MODERN_VALUE_VERSION: i16 = 0;
/// Expiry time of an offset that has none of its own.
const NO_EXPIRY: i64 = -1;

impl GroupRecord {
    /// Decodes a record. Returns `None` for types that this coordinator does not know; such records stay in the log.
    pub fn decode(raw: RawRecord) -> Result<Option<Self>, RecordError> {
        let size = raw.key.len();
        let mut key = Reader::new(raw.key);
        let kind = key.i16().map_err(|_| RecordError::ShortKey(size))?;
        Ok(match kind {
            LEGACY_OFFSET | OFFSET => Some(Self::Offset {
                key: OffsetCommitKey::read(&mut key, kind)?,
                value: raw.value.map(read_value).transpose()?,
            }),
            GROUP => Some(Self::Group {
                group: GroupMetadataKey::read(&mut key, kind)?.group,
                value: raw.value.map(read_value).transpose()?,
            }),
            _ => Modern::decode(kind, &mut key, raw.value)?.map(Self::Modern),
        })
    }

    pub fn encode(&self) -> Result<RawRecord, EncodeError> {
        Ok(match self {
            Self::Modern(record) => record.encode()?,
            Self::Offset { key, value } => RawRecord {
                key: versioned(key, OFFSET)?,
                value: value
                    .as_ref()
                    .map(|value| {
                        let version = if value.expire_timestamp != NO_EXPIRY {
                            EXPIRING_OFFSET_VALUE_VERSION
                        } else {
                            OFFSET_VALUE_VERSION
                        };
                        versioned(value, version)
                    })
                    .transpose()?,
            },
            Self::Group { group, value } => {
                let key = GroupMetadataKey {
                    group: group.clone(),
                };
                RawRecord {
                    key: versioned(&key, GROUP)?,
                    value: value
                        .as_ref()
                        .map(|value| versioned(value, GROUP_VALUE_VERSION))
                        .transpose()?,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::consumer_group::ClassicMemberMetadata;
    use super::group_metadata::MemberMetadata;
    use super::*;
    use crate::base::ids::Uuid;

    fn hex(text: &str) -> Bytes {
        text.split_whitespace()
            .flat_map(|word| {
                (0..word.len() / 2).map(move |i| u8::from_str_radix(&word[2 * i..2 * i + 2], 16))
            })
            .collect::<Result<Vec<u8>, _>>()
            .unwrap()
            .into()
    }

    #[test]
    fn an_offset_has_kafkas_bytes() {
        let record = GroupRecord::Offset {
            key: OffsetCommitKey {
                group: "g".into(),
                topic: "t".into(),
                partition: 3,
            },
            value: Some(OffsetCommitValue {
                offset: 42,
                leader_epoch: 7,
                metadata: "m".into(),
                commit_timestamp: 1,
                topic_id: Uuid([9; 16]),
                ..Default::default()
            }),
        };
        let raw = record.encode().unwrap();
        assert_eq!(raw.key, hex("0001 000167 000174 00000003"));
        assert_eq!(
            raw.value,
            Some(hex(
                "0004 000000000000002a 00000007 026d 0000000000000001 01 00 10 09090909090909090909090909090909"
            ))
        );
        assert_eq!(GroupRecord::decode(raw).unwrap(), Some(record));
    }

    #[test]
    fn a_group_has_kafkas_bytes() {
        let record = GroupRecord::Group {
            group: "g".into(),
            value: Some(GroupMetadataValue {
                protocol_type: "consumer".into(),
                generation: 1,
                protocol: Some("range".into()),
                leader: Some("m".into()),
                current_state_timestamp: 5,
                members: vec![MemberMetadata {
                    member_id: "m".into(),
                    group_instance_id: None,
                    client_id: "c".into(),
                    client_host: "/h".into(),
                    rebalance_timeout: 9,
                    session_timeout: 8,
                    subscription: Bytes::from_static(b"s"),
                    assignment: Bytes::from_static(b"a"),
                }],
            }),
        };
        let raw = record.encode().unwrap();
        assert_eq!(raw.key, hex("0002 000167"));
        assert_eq!(
            raw.value,
            Some(hex(
                "0003 0008636f6e73756d6572 00000001 000572616e6765 00016d 0000000000000005 00000001
                 00016d ffff 000163 00022f68 00000009 00000008 0000000173 0000000161"
            ))
        );
        assert_eq!(GroupRecord::decode(raw).unwrap(), Some(record));
    }

    #[test]
    fn old_new_and_unknown_kinds() {
        let legacy = RawRecord {
            key: hex("0000 000167 000174 00000000"),
            value: Some(hex("0000 0000000000000001 0000 0000000000000002")),
        };
        assert!(matches!(
            GroupRecord::decode(legacy),
            Ok(Some(GroupRecord::Offset { value: Some(value), .. })) if value.offset == 1
        ));
        let flexible = RawRecord {
            key: hex("0001 000167 000174 00000000"),
            value: Some(hex("0004 0000000000000001 ffffffff 01 0000000000000002 00")),
        };
        assert!(matches!(GroupRecord::decode(flexible), Ok(Some(_))));
        let retired = RawRecord {
            key: hex("0009 000167"),
            value: None,
        };
        assert_eq!(GroupRecord::decode(retired), Ok(None));
        let from_the_future = RawRecord {
            key: hex("0002 000167"),
            value: Some(hex("0005 00")),
        };
        assert!(GroupRecord::decode(from_the_future).is_err());
        let short = RawRecord {
            key: hex("00"),
            value: None,
        };
        assert_eq!(GroupRecord::decode(short), Err(RecordError::ShortKey(1)));
    }

    /// Record as Apache Kafka 4.4.0 wrote it. The metadata of a classic member is in a tagged field. It is written as null,
    /// because a missing field would mean an empty struct.
    #[test]
    fn a_member_of_the_consumer_protocol_has_kafkas_bytes() {
        let raw = RawRecord {
            key: hex("0005 000167 00016d"),
            value: Some(hex(
                "0000 00 00 0574657374 0b2f3132372e302e302e31 020b7368617265642d6f7574 01 00000000 00 01 00 01 00",
            )),
        };
        let record = GroupRecord::decode(raw.clone()).unwrap().unwrap();
        let GroupRecord::Modern(Modern::ConsumerMember(Entry {
            value: Some(value), ..
        })) = &record
        else {
            panic!("{record:?}");
        };
        assert_eq!(value.classic_member_metadata, None);
        assert_eq!(value.subscribed_topic_regex.as_deref(), Some(""));
        assert_eq!(record.encode().unwrap(), raw);

        let mut classic = value.clone();
        classic.classic_member_metadata = Some(ClassicMemberMetadata {
            session_timeout_ms: 45_000,
            supported_protocols: Vec::new(),
        });
        let group = ByteString::from_static("g");
        let entry = Entry::new(&group, &ByteString::from_static("m"), classic.clone());
        let raw = GroupRecord::Modern(Modern::ConsumerMember(entry));
        let raw = raw.encode().unwrap();
        let end = hex("01 00 07 01 0000afc8 01 00");
        assert!(raw.value.as_ref().unwrap().ends_with(&end), "{raw:?}");
        let again = GroupRecord::decode(raw).unwrap().unwrap();
        assert_eq!(
            again,
            GroupRecord::Modern(Modern::ConsumerMember(Entry::new(
                &group,
                &ByteString::from_static("m"),
                classic
            )))
        );
    }
}
