//! pure: records of `__share_group_state`, in Kafka's format.

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::coordinator::runtime::shard::{RawRecord, RecordError, read_value, versioned};
use crate::wire::codec::{EncodeError, Reader};
use crate::wire::message::Message;
use crate::wire::message::describe::described;
use crate::wire::message::macros::message;

described! {
    message ShareStateKey, versions 0..=1, flexible None;
    {
        group_id: ByteString [0..];
        topic_id: Uuid [0..];
        partition: i32 [0..];
    }

    message ShareSnapshotValue, versions 0..=0, flexible Some(0);
    {
        snapshot_epoch: i32 [0..];
        state_epoch: i32 [0..];
        leader_epoch: i32 [0..];
        start_offset: i64 [0..];
        delivery_complete_count: i32 [0..] tag 0 = -1;
        create_timestamp: i64 [0..];
        write_timestamp: i64 [0..];
        state_batches: Vec<StateBatch> [0..];
    }

    message ShareUpdateValue, versions 0..=0, flexible Some(0);
    {
        snapshot_epoch: i32 [0..];
        leader_epoch: i32 [0..];
        start_offset: i64 [0..];
        delivery_complete_count: i32 [0..] tag 0 = -1;
        state_batches: Vec<StateBatch> [0..];
    }

    struct StateBatch {
        first_offset: i64 [0..];
        last_offset: i64 [0..];
        delivery_state: i8 [0..];
        delivery_count: i16 [0..];
    }
}

/// Key of a state: a share group and a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareKey {
    pub group: ByteString,
    pub topic_id: Uuid,
    pub partition: i32,
}

impl ShareKey {
    /// String whose hash chooses the partition of `__share_group_state` that keeps the state.
    pub fn coordinator_key(&self) -> String {
        format!("{}:{}:{}", self.group, self.topic_id, self.partition)
    }
}

/// Record of `__share_group_state`.
#[derive(Clone, Debug, PartialEq)]
pub enum ShareStateRecord {
    /// The whole state. `None` is a tombstone, which deletes the state.
    Snapshot {
        key: ShareKey,
        value: Option<ShareSnapshotValue>,
    },
    /// A change since the last snapshot.
    Update {
        key: ShareKey,
        value: ShareUpdateValue,
    },
}

const SNAPSHOT: i16 = 0;
const UPDATE: i16 = 1;
const VALUE_VERSION: i16 = 0;

impl ShareStateRecord {
    pub fn key(&self) -> &ShareKey {
        match self {
            Self::Snapshot { key, .. } | Self::Update { key, .. } => key,
        }
    }

    pub fn decode(raw: RawRecord) -> Result<Option<Self>, RecordError> {
        let size = raw.key.len();
        let mut key = Reader::new(raw.key);
        let kind = key.i16().map_err(|_| RecordError::ShortKey(size))?;
        if kind != SNAPSHOT && kind != UPDATE {
            return Ok(None);
        }
        let key = ShareStateKey::read(&mut key, kind)?;
        let key = ShareKey {
            group: key.group_id,
            topic_id: key.topic_id,
            partition: key.partition,
        };
        Ok(match (kind, raw.value) {
            (SNAPSHOT, value) => Some(Self::Snapshot {
                key,
                value: value.map(read_value).transpose()?,
            }),
            (_, Some(value)) => Some(Self::Update {
                key,
                value: read_value(value)?,
            }),
            // Tombstones of updates are never written, so they are ignored.
            (_, None) => None,
        })
    }

    pub fn encode(&self) -> Result<RawRecord, EncodeError> {
        let kind = match self {
            Self::Snapshot { .. } => SNAPSHOT,
            Self::Update { .. } => UPDATE,
        };
        let key = self.key();
        let key = ShareStateKey {
            group_id: key.group.clone(),
            topic_id: key.topic_id,
            partition: key.partition,
        };
        Ok(RawRecord {
            key: versioned(&key, kind)?,
            value: match self {
                Self::Snapshot { value, .. } => value
                    .as_ref()
                    .map(|value| versioned(value, VALUE_VERSION))
                    .transpose()?,
                Self::Update { value, .. } => Some(versioned(value, VALUE_VERSION)?),
            },
        })
    }
}
