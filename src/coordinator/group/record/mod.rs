//! pure: what stands in `__consumer_offsets`, byte for byte as Kafka writes it.

pub mod group_metadata;
pub mod offset_commit;

use bytes::Bytes;
use bytestring::ByteString;

use self::group_metadata::{GroupMetadataKey, GroupMetadataValue};
use self::offset_commit::{OffsetCommitKey, OffsetCommitValue};
use crate::coordinator::runtime::shard::{RawRecord, RecordError};
use crate::wire::codec::{EncodeError, Reader, Writer};
use crate::wire::message::Message;

/// A record of a kind that this coordinator keeps; no value means that the key is taken back.
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
}

const LEGACY_OFFSET: i16 = 0;
const OFFSET: i16 = 1;
const GROUP: i16 = 2;

/// Kafka's since 4.1, when it learned topic ids; every broker since 3.5 reads it.
const OFFSET_VALUE_VERSION: i16 = 4;
/// The only version with a time of expiry of its own.
const EXPIRING_OFFSET_VALUE_VERSION: i16 = 1;
const GROUP_VALUE_VERSION: i16 = 3;
/// A value without a time of expiry of its own.
const NO_EXPIRY: i64 = -1;

impl GroupRecord {
    /// Reads a record; `None` for the kinds of other group types, which stay in the log untouched.
    pub fn decode(raw: RawRecord) -> Result<Option<Self>, RecordError> {
        let size = raw.key.len();
        let mut key = Reader::new(raw.key);
        let kind = key.i16().map_err(|_| RecordError::ShortKey(size))?;
        Ok(match kind {
            LEGACY_OFFSET | OFFSET => Some(Self::Offset {
                key: OffsetCommitKey::read(&mut key, kind)?,
                value: raw.value.map(value).transpose()?,
            }),
            GROUP => Some(Self::Group {
                group: GroupMetadataKey::read(&mut key, kind)?.group,
                value: raw.value.map(value).transpose()?,
            }),
            _ => None,
        })
    }

    pub fn encode(&self) -> Result<RawRecord, EncodeError> {
        Ok(match self {
            Self::Offset { key, value } => RawRecord {
                key: bytes(key, OFFSET, OFFSET)?,
                value: value
                    .as_ref()
                    .map(|value| {
                        let version = if value.expire_timestamp != NO_EXPIRY {
                            EXPIRING_OFFSET_VALUE_VERSION
                        } else {
                            OFFSET_VALUE_VERSION
                        };
                        bytes(value, version, version)
                    })
                    .transpose()?,
            },
            Self::Group { group, value } => {
                let key = GroupMetadataKey {
                    group: group.clone(),
                };
                RawRecord {
                    key: bytes(&key, GROUP, GROUP)?,
                    value: value
                        .as_ref()
                        .map(|value| bytes(value, GROUP_VALUE_VERSION, GROUP_VALUE_VERSION))
                        .transpose()?,
                }
            }
        })
    }
}

fn value<M: Message>(bytes: Bytes) -> Result<M, RecordError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    Ok(M::read(&mut reader, version)?)
}

fn bytes(message: &impl Message, prefix: i16, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::default();
    writer.i16(prefix);
    message.write(&mut writer, version)?;
    Ok(writer.into_bytes())
}

#[cfg(test)]
mod tests {
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
        let consumer_group = RawRecord {
            key: hex("0003 000167"),
            value: None,
        };
        assert_eq!(GroupRecord::decode(consumer_group), Ok(None));
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
}
