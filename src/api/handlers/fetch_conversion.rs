//! What a fetch before version 4 gets: the older message formats, converted in memory, within bounds. KIP-31, KIP-98.

use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};

use crate::base::file_range::FileRange;
use crate::base::ids::Offset;
use crate::log::append::DECOMPRESSED_MAX;
use crate::wire::batch::BatchError;
use crate::wire::batch::legacy::{Downgrade, MAGIC_V0, MAGIC_V1, downgrade};
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::fetch::PartitionData;

/// Before it, clients know no batches.
pub const BATCHES_SINCE: i16 = 4;
const TIMESTAMPS_SINCE: i16 = 2;
const SOFT_LIMIT_SINCE: i16 = 3;
/// Bytes of log that one request has converted; the rest comes with the next.
pub const CONVERTED_MAX: usize = 16 << 20;

/// Replaces the stretch of the log in `data` by what a client of `api_version` can read.
pub fn convert(data: &mut PartitionData, api_version: i16, from: Offset, partition_max: usize) {
    let Some(Records::File(range)) = &data.records else {
        return;
    };
    let how = Downgrade {
        magic: if api_version < TIMESTAMPS_SINCE {
            MAGIC_V0
        } else {
            MAGIC_V1
        },
        from,
        enough: partition_max,
        decompressed_max: DECOMPRESSED_MAX,
    };
    let converted = match read(range) {
        Ok(log) => downgrade(&log, how),
        Err(error) => {
            tracing::error!(partition = data.partition_index, %error, "records to convert cannot be read");
            refuse(data, ErrorCode::KafkaStorageError);
            return;
        }
    };
    match converted {
        Ok(mut set) => {
            if api_version < SOFT_LIMIT_SINCE {
                // A message that does not fit is cut: the client sees that it must ask for more.
                set.truncate(partition_max);
            }
            data.records = Some(Records::Bytes(set.into()));
        }
        Err(BatchError::CompressionKind(_)) => refuse(data, ErrorCode::UnsupportedCompressionType),
        Err(error) => {
            tracing::error!(partition = data.partition_index, %error, "records cannot be converted");
            refuse(data, ErrorCode::CorruptMessage);
        }
    }
}

fn read(range: &FileRange) -> std::io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(range.len);
    range.file.read_exact_at(&mut bytes, range.position)?;
    Ok(bytes.freeze())
}

fn refuse(data: &mut PartitionData, error: ErrorCode) {
    *data = PartitionData {
        partition_index: data.partition_index,
        error_code: error.code(),
        high_watermark: -1,
        records: Some(Records::default()),
        ..Default::default()
    };
}
