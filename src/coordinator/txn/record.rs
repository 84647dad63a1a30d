//! pure: records of `__transaction_state`, byte for byte as Kafka writes them.

use bytestring::ByteString;

use crate::coordinator::runtime::shard::{RawRecord, RecordError, versioned};
use crate::wire::codec::{EncodeError, Reader};
use crate::wire::message::Message;
use crate::wire::message::describe::described;
use crate::wire::message::macros::message;

described! {
    message TransactionLogKey, versions 0..=0, flexible None;
    {
        transactional_id: ByteString [0..];
    }

    message TransactionLogValue, versions 0..=1, flexible Some(1);
    {
        producer_id: i64 [0..];
        #[ignorable] previous_producer_id: i64 [1..] tag 0 = -1;
        #[ignorable] next_producer_id: i64 [1..] tag 1 = -1;
        producer_epoch: i16 [0..];
        #[ignorable] next_producer_epoch: i16 [1..] tag 3 = -1;
        transaction_timeout_ms: i32 [0..];
        transaction_status: i8 [0..];
        transaction_partitions: Option<Vec<PartitionsSchema>> [0..] null [0..];
        transaction_last_update_timestamp_ms: i64 [0..];
        transaction_start_timestamp_ms: i64 [0..];
        #[ignorable] client_transaction_version: i16 [1..] tag 2;
    }

    struct PartitionsSchema {
        topic: ByteString [0..];
        partition_ids: Vec<i32> [0..];
    }
}

/// State of a transactional id; a record without a value removes the id.
#[derive(Clone, Debug, PartialEq)]
pub struct TxnRecord {
    pub transactional_id: ByteString,
    pub value: Option<TransactionLogValue>,
    /// Version of the value: 0 below `transaction.version` 1.
    pub version: i16,
}

const KIND: i16 = 0;

impl TxnRecord {
    pub fn decode(raw: RawRecord) -> Result<Option<Self>, RecordError> {
        let size = raw.key.len();
        let mut key = Reader::new(raw.key);
        let kind = key.i16().map_err(|_| RecordError::ShortKey(size))?;
        if kind != KIND {
            return Ok(None);
        }
        let transactional_id = TransactionLogKey::read(&mut key, KIND)?.transactional_id;
        let mut version = 0;
        let value = match raw.value {
            None => None,
            Some(value) => {
                let mut reader = Reader::new(value);
                version = reader.i16()?;
                Some(TransactionLogValue::read(&mut reader, version)?)
            }
        };
        Ok(Some(Self {
            transactional_id,
            value,
            version,
        }))
    }

    pub fn encode(&self) -> Result<RawRecord, EncodeError> {
        let key = TransactionLogKey {
            transactional_id: self.transactional_id.clone(),
        };
        Ok(RawRecord {
            key: versioned(&key, KIND)?,
            value: self
                .value
                .as_ref()
                .map(|value| versioned(value, self.version))
                .transpose()?,
        })
    }
}
