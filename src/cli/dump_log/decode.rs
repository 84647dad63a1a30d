//! pure: decoding of the keys and values of records.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::coordinator::group::record::consumer_group::*;
use crate::coordinator::group::record::group_metadata::{GroupMetadataKey, GroupMetadataValue};
use crate::coordinator::group::record::keys::{GroupKey, MemberKey, RegularExpressionKey};
use crate::coordinator::group::record::offset_commit::{OffsetCommitKey, OffsetCommitValue};
use crate::coordinator::group::record::share_group::{
    ShareGroupCurrentMemberAssignmentValue, ShareGroupMemberMetadataValue, ShareGroupMetadataValue,
    ShareGroupStatePartitionMetadataValue, ShareGroupTargetAssignmentMemberValue,
    ShareGroupTargetAssignmentMetadataValue,
};
use crate::coordinator::group::record::streams_group::{
    StreamsGroupCurrentMemberAssignmentValue, StreamsGroupMemberMetadataValue,
    StreamsGroupMetadataValue, StreamsGroupTargetAssignmentMemberValue,
    StreamsGroupTargetAssignmentMetadataValue, StreamsGroupTopologyValue,
};
use crate::coordinator::share_state::record::{
    ShareSnapshotValue, ShareStateKey, ShareUpdateValue,
};
use crate::coordinator::txn::machine::STATE_NAMES;
use crate::coordinator::txn::record::{TransactionLogKey, TransactionLogValue};
use crate::metadata::record::Record as MetadataRecord;
use crate::wire::codec::{DecodeError, Reader};
use crate::wire::message::Message;
use crate::wire::message::describe::Describe;
use crate::wire::message::embedded::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, KRaftVersionRecord,
    LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
};

/// Format of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoder {
    Text,
    Offsets,
    Transactions,
    ShareStates,
    Metadata,
}

/// Key and payload; `None` is not printed.
pub type Decoded = (Option<Value>, Option<Value>);

impl Decoder {
    /// Decodes a data record.
    ///
    /// Errors: a message that says what is wrong with the record.
    pub fn decode(self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Decoded, String> {
        let own = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
        match self {
            Self::Text => Ok((key.map(text), value.map(text))),
            Self::Metadata => {
                let value = own(value).ok_or("a metadata record without a value")?;
                let payload = MetadataRecord::describe(value).map_err(|error| error.to_string())?;
                Ok((None, Some(payload)))
            }
            Self::Offsets | Self::Transactions | Self::ShareStates => {
                let key = own(key).ok_or("a coordinator's record without a key")?;
                self.coordinator(key, own(value))
                    .map_err(|error| error.to_string())
            }
        }
    }

    fn coordinator(self, key: Bytes, value: Option<Bytes>) -> Result<Decoded, DecodeError> {
        let mut reader = Reader::new(key);
        let kind = reader.i16()?;
        let (key, payload) = match (self, kind) {
            (Self::Transactions, 0) => (
                keyed::<TransactionLogKey>(&mut reader, kind)?,
                versioned::<TransactionLogValue>(value)?.map(|mut payload| {
                    name_status(&mut payload);
                    payload
                }),
            ),
            (Self::ShareStates, 0) => (
                keyed::<ShareStateKey>(&mut reader, kind)?,
                versioned::<ShareSnapshotValue>(value)?,
            ),
            (Self::ShareStates, 1) => (
                keyed::<ShareStateKey>(&mut reader, kind)?,
                versioned::<ShareUpdateValue>(value)?,
            ),
            (Self::Offsets, 0 | 1) => (
                keyed::<OffsetCommitKey>(&mut reader, kind)?,
                versioned::<OffsetCommitValue>(value)?,
            ),
            (Self::Offsets, 2) => (
                keyed::<GroupMetadataKey>(&mut reader, kind)?,
                match versioned::<GroupMetadataValue>(value)? {
                    Some(mut payload) => {
                        open_members(&mut payload);
                        Some(payload)
                    }
                    None => None,
                },
            ),
            (Self::Offsets, kind) if MODERN.contains(&kind) => {
                let key = match kind {
                    5 | 7 | 8 | 10 | 13 | 14 | 19 | 21 | 22 => {
                        keyed::<MemberKey>(&mut reader, kind)?
                    }
                    16 => keyed::<RegularExpressionKey>(&mut reader, kind)?,
                    _ => keyed::<GroupKey>(&mut reader, kind)?,
                };
                (key, modern(kind, value)?)
            }
            _ => {
                let stranger = format!("Unknown record type {kind}, skipping");
                return Ok((Some(Value::from(stranger)), None));
            }
        };
        let payload = payload.unwrap_or_else(|| Value::from("<DELETE>"));
        Ok((Some(key), Some(payload)))
    }
}

/// Kinds of records since Kafka 4.0. Kind 9 was removed before 4.0, and kind 18 is never written.
const MODERN: [i16; 19] = [
    3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 22, 23,
];

fn modern(kind: i16, value: Option<Bytes>) -> Result<Option<Value>, DecodeError> {
    match kind {
        3 => versioned::<ConsumerGroupMetadataValue>(value),
        4 => versioned::<ConsumerGroupPartitionMetadataValue>(value),
        5 => Ok(
            versioned::<ConsumerGroupMemberMetadataValue>(value)?.map(|mut payload| {
                // Kafka prints null for this field if it is absent, but for no other field.
                let field = &mut payload["data"]["classicMemberMetadata"];
                *field = field.take();
                payload
            }),
        ),
        6 => versioned::<ConsumerGroupTargetAssignmentMetadataValue>(value),
        7 => versioned::<ConsumerGroupTargetAssignmentMemberValue>(value),
        8 => versioned::<ConsumerGroupCurrentMemberAssignmentValue>(value),
        10 => versioned::<ShareGroupMemberMetadataValue>(value),
        11 => versioned::<ShareGroupMetadataValue>(value),
        12 => versioned::<ShareGroupTargetAssignmentMetadataValue>(value),
        13 => versioned::<ShareGroupTargetAssignmentMemberValue>(value),
        14 => versioned::<ShareGroupCurrentMemberAssignmentValue>(value),
        15 => versioned::<ShareGroupStatePartitionMetadataValue>(value),
        16 => versioned::<ConsumerGroupRegularExpressionValue>(value),
        17 => versioned::<StreamsGroupMetadataValue>(value),
        19 => versioned::<StreamsGroupMemberMetadataValue>(value),
        20 => versioned::<StreamsGroupTargetAssignmentMetadataValue>(value),
        21 => versioned::<StreamsGroupTargetAssignmentMemberValue>(value),
        22 => versioned::<StreamsGroupCurrentMemberAssignmentValue>(value),
        _ => versioned::<StreamsGroupTopologyValue>(value),
    }
}

fn text(bytes: &[u8]) -> Value {
    Value::from(String::from_utf8_lossy(bytes))
}

fn keyed<M: Message + Describe>(reader: &mut Reader, kind: i16) -> Result<Value, DecodeError> {
    let key = M::read(reader, kind)?;
    Ok(json!({"type": kind.to_string(), "data": key.describe(kind)}))
}

fn versioned<M: Message + Describe>(value: Option<Bytes>) -> Result<Option<Value>, DecodeError> {
    let Some(value) = value else { return Ok(None) };
    let mut reader = Reader::new(value);
    let version = reader.i16()?;
    let value = M::read(&mut reader, version)?;
    Ok(Some(
        json!({"version": version.to_string(), "data": value.describe(version)}),
    ))
}

/// Replaces the state of a transaction by its name, as Kafka does since 4.4. Unknown numbers are not replaced.
fn name_status(payload: &mut Value) {
    let status = &mut payload["data"]["transactionStatus"];
    let number = status
        .as_u64()
        .and_then(|number| usize::try_from(number).ok());
    if let Some(name) = number.and_then(|number| STATE_NAMES.get(number)) {
        *status = Value::from(*name);
    }
}

/// Decodes the subscriptions and assignments of members, which are bytes of the consumer protocol.
fn open_members(payload: &mut Value) {
    if payload["data"]["protocolType"] != "consumer" {
        return;
    }
    let Some(members) = payload["data"]["members"].as_array_mut() else {
        return;
    };
    for member in members {
        open::<ConsumerProtocolSubscription>(&mut member["subscription"]);
        open::<ConsumerProtocolAssignment>(&mut member["assignment"]);
    }
}

fn open<M: Message + Describe>(field: &mut Value) {
    use base64::Engine as _;
    let bytes = field
        .as_str()
        .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    let mut reader = Reader::new(bytes.unwrap_or_default().into());
    if let Ok(version) = reader.i16() {
        let version = version.clamp(*M::VERSIONS.start(), *M::VERSIONS.end());
        if let Ok(message) = M::read(&mut reader, version) {
            *field = message.describe(version);
        }
    }
}

/// A control record as text, with its name.
pub fn control(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<String, String> {
    let kind = key
        .and_then(|key| key.get(2..4))
        .and_then(|kind| kind.first_chunk())
        .map(|kind| i16::from_be_bytes(*kind))
        .ok_or("a control record without a kind")?;
    let value = Bytes::copy_from_slice(value.unwrap_or_default());
    let marker = |name| -> Result<String, String> {
        let epoch = value.get(2..6).and_then(|epoch| epoch.first_chunk());
        let epoch = i32::from_be_bytes(*epoch.ok_or("a marker without a coordinator epoch")?);
        Ok(format!("endTxnMarker: {name} coordinatorEpoch: {epoch}"))
    };
    match kind {
        0 => marker("ABORT"),
        1 => marker("COMMIT"),
        2 => named::<LeaderChangeMessage>("LeaderChange", value),
        3 => named::<SnapshotHeaderRecord>("SnapshotHeader", value),
        4 => named::<SnapshotFooterRecord>("SnapshotFooter", value),
        5 => named::<KRaftVersionRecord>("KRaftVersion", value),
        6 => named::<VotersRecord>("KRaftVoters", value),
        other => Ok(format!("controlType: UNKNOWN({other})")),
    }
}

/// A control record of the quorum as text. The record's first field is its version.
fn named<M: Message + Describe>(name: &str, value: Bytes) -> Result<String, String> {
    let version = value
        .first_chunk()
        .map(|version| i16::from_be_bytes(*version))
        .ok_or("a control record without a version")?;
    let message = M::read(&mut Reader::new(value), version).map_err(|error| error.to_string())?;
    Ok(format!("{name}: {}", message.describe(version)))
}
