//! pure: down-conversion for clients that read only older formats than the log's. Up-conversion is in `log::append`, because
//! the messages of a produce request become one batch, which is validated like any other.

use super::{Message, SetBuilder, read_message};
use crate::base::ids::Offset;
use crate::wire::batch::compression::Compression;
use crate::wire::batch::header::{BatchHeader, MAGIC_END, MAGIC_V2};
use crate::wire::batch::record::{decompressed, records};
use crate::wire::batch::{BatchError, split_first};
use bytes::Bytes;

/// Parameters of a down-conversion.
#[derive(Clone, Copy, Debug)]
pub struct Downgrade {
    /// The newest format that the client reads: v0 or v1.
    pub magic: i8,
    /// Offset before which uncompressed records are left out.
    pub from: Offset,
    /// Size of the output at which conversion stops, in bytes.
    pub enough: usize,
    /// Maximum decompressed size of one batch's records, in bytes.
    pub decompressed_max: usize,
}

/// Converts the complete batches and messages in `log`; an incomplete one at its end is left out. Record headers are lost and
/// control batches are left out, because the old formats have neither.
///
/// Errors: those of the first batch, such as `CompressionKind` for zstd, which no old client can read. An error of a later
/// batch ends the conversion before that batch, so that the client's next request begins with it.
pub fn downgrade(log: &Bytes, how: Downgrade) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::new();
    let mut rest = log.clone();
    while out.len() < how.enough
        && let Some(batch) = split_first(&mut rest)
    {
        match downgrade_batch(&batch, how) {
            Ok(set) => out.extend_from_slice(&set),
            Err(_) if !out.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(out)
}

fn downgrade_batch(batch: &Bytes, how: Downgrade) -> Result<Vec<u8>, BatchError> {
    let magic = batch.get(MAGIC_END - 1).map_or(-1, |magic| *magic as i8);
    if magic <= how.magic {
        return Ok(batch.to_vec());
    }
    if magic < MAGIC_V2 {
        return downgrade_message(batch, how);
    }
    let header = BatchHeader::parse(batch)?;
    header.verify(batch)?;
    if header.is_control() {
        return Ok(Vec::new());
    }
    let codec = header.compression()?;
    if codec == Compression::Zstd {
        return Err(BatchError::CompressionKind(codec.id()));
    }
    let body = decompressed(&header, batch, how.decompressed_max)?;
    let mut set = SetBuilder::new(how.magic, codec, header.is_log_append_time());
    for record in records(&header, &body) {
        let record = record?;
        if codec != Compression::None || record.offset >= how.from {
            set.push(record.offset, record.timestamp, record.key, record.value);
        }
    }
    Ok(set.build())
}

/// Converts a message from format v1 to v0, which has no timestamps.
fn downgrade_message(message: &[u8], how: Downgrade) -> Result<Vec<u8>, BatchError> {
    let message = read_message(&mut &*message)?;
    let mut set = SetBuilder::new(how.magic, message.compression, false);
    message.each_record(how.decompressed_max, |record: Message<'_>| {
        set.push(record.offset, record.timestamp, record.key, record.value);
        Ok::<(), BatchError>(())
    })?;
    Ok(set.build())
}
