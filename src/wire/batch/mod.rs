//! Record batches: a zero-copy view, the records in them, a builder, and the codecs they are compressed with.
//!
//! The layout is that of message format v2 (KIP-98); `legacy` knows the two formats before it.

pub mod builder;
pub mod compression;
pub mod header;
pub mod legacy;
pub mod record;
pub mod record_stream;
pub mod varint;

use bytes::Bytes;

use crate::base::work_pool::Exhausted;

/// Takes the first batch, or message of an old format, off `bytes`; `None` when it is cut.
pub fn split_first(bytes: &mut Bytes) -> Option<Bytes> {
    let length = i32::from_be_bytes(*bytes.get(8..header::LOG_OVERHEAD)?.first_chunk()?);
    let size = usize::try_from(length)
        .ok()?
        .checked_add(header::LOG_OVERHEAD)?;
    (size >= header::MAGIC_END && size <= bytes.len()).then(|| bytes.split_to(size))
}

/// Why bytes are not a record batch, or not the records that its header promises.
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
    /// Nothing is wrong with it: looking at it takes more than whoever asks may take.
    #[error("records are {0}")]
    Exhausted(#[from] Exhausted),
}

impl From<std::io::Error> for BatchError {
    /// Of a codec, or of the reader around it.
    fn from(error: std::io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(error) => Self::Decompression(error.to_string()),
        }
    }
}
