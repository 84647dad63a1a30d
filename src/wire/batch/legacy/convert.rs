//! pure: down, for clients that ask for messages of an older format than the log's. The way up is in `log::append`,
//! because a producer's messages become one batch that is checked like any other.

use super::{Message, SetBuilder, read_message};
use crate::base::ids::Offset;
use crate::wire::batch::compression::Compression;
use crate::wire::batch::header::{BatchHeader, MAGIC_END, MAGIC_V2};
use crate::wire::batch::record::{decompressed, records};
use crate::wire::batch::{BatchError, split_first};
use bytes::Bytes;

/// How a stretch of a log is converted.
#[derive(Clone, Copy, Debug)]
pub struct Downgrade {
    /// The newest format that the client reads: v0 or v1.
    pub magic: i8,
    /// Uncompressed records before are left out.
    pub from: Offset,
    /// Once so many bytes are there no more is converted.
    pub enough: usize,
    /// What the records of one batch may become when decompressed.
    pub decompressed_max: usize,
}

/// Converts the whole batches and messages in `log`; a cut one at its end is left out. Headers are lost, and control
/// batches left out: the old formats have neither.
///
/// Errors: `CompressionKind` for zstd, which no old client knows, if it is in the first batch; then whatever is wrong
/// with a batch. What follows good batches is left for the next request.
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

/// From format v1 to v0: only the time is lost.
fn downgrade_message(message: &[u8], how: Downgrade) -> Result<Vec<u8>, BatchError> {
    let message = read_message(&mut &*message)?;
    let mut set = SetBuilder::new(how.magic, message.compression, false);
    message.each_record(how.decompressed_max, |record: Message<'_>| {
        set.push(record.offset, record.timestamp, record.key, record.value);
        Ok::<(), BatchError>(())
    })?;
    Ok(set.build())
}
