//! Record batches: a zero-copy view of their headers, the records in them, a builder, and the compression codecs.
//!
//! The layout is that of message format v2 (KIP-98). `legacy` implements the formats v0 and v1.

pub mod builder;
pub mod compression;
pub mod header;
pub mod legacy;
pub mod record;
pub mod record_stream;
pub mod varint;

use bytes::Bytes;

use crate::base::work_pool::Exhausted;

/// Splits the first batch, or message of format v0 or v1, off `bytes`; `None` if it is incomplete.
pub fn split_first(bytes: &mut Bytes) -> Option<Bytes> {
    let length = i32::from_be_bytes(*bytes.get(8..header::LOG_OVERHEAD)?.first_chunk()?);
    let size = usize::try_from(length)
        .ok()?
        .checked_add(header::LOG_OVERHEAD)?;
    (size >= header::MAGIC_END && size <= bytes.len()).then(|| bytes.split_to(size))
}

/// Reason why bytes are not a record batch, or do not contain the records that the batch's header declares.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("{0} bytes are too few for a record batch")]
    Short(usize),
    #[error("a batch size of {0} is below the smallest")]
    Size(i32),
    #[error("message format {0} is unknown")]
    Magic(i8),
    #[error("checksum {found:08x} where the header says {stored:08x}")]
    Checksum { stored: u32, found: u32 },
    #[error("compression kind {0} is unknown")]
    CompressionKind(u8),
    #[error("records cannot be decompressed: {0}")]
    Decompression(String),
    #[error("records grow beyond {0} bytes when decompressed")]
    DecompressedTooLarge(usize),
    #[error("record {index}: {what}")]
    Record { index: i32, what: &'static str },
    #[error("a message of the old format: {0}")]
    Message(&'static str),
    #[error("{0} bytes after the last record")]
    TrailingBytes(usize),
    /// The batch is not known to be invalid: examining it takes more than the caller's allowance.
    #[error("records are {0}")]
    Exhausted(#[from] Exhausted),
}

impl From<std::io::Error> for BatchError {
    /// Converts an error of a codec, or the `BatchError` that a reader around the codec wrapped in an `io::Error`.
    fn from(error: std::io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(error) => Self::Decompression(error.to_string()),
        }
    }
}
