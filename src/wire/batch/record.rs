//! pure: the records inside a batch of format v2, read in place.

use bytes::Bytes;

use super::header::{BatchHeader, HEADER_SIZE};
use super::{BatchError, varint};
use crate::base::ids::Offset;
use crate::base::time::Timestamp;

/// One record, which borrows from the decompressed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// Number of headers; `headers` is their encoded bytes.
    pub header_count: i32,
    pub headers: &'a [u8],
}

/// The decompressed records of a batch. Errors: `DecompressedTooLarge` above `limit` bytes, those of the codec, `Short`.
pub fn decompressed(
    header: &BatchHeader,
    batch: &Bytes,
    limit: usize,
) -> Result<Bytes, BatchError> {
    if batch.len() < HEADER_SIZE {
        return Err(BatchError::Short(batch.len()));
    }
    let body = batch.slice(HEADER_SIZE..);
    match header.compression()? {
        super::compression::Compression::None => Ok(body),
        codec => codec.decompress(&body, limit).map(Bytes::from),
    }
}

/// Iterates over the records of a batch. `body` is the result of [`decompressed`]. Iteration ends after the first error.
pub fn records<'a>(header: &BatchHeader, body: &'a [u8]) -> Records<'a> {
    Records {
        header: *header,
        rest: body,
        next: 0,
    }
}

/// Iterator of [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    rest: &'a [u8],
    next: i32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.header.record_count {
            let trailing = std::mem::take(&mut self.rest).len();
            return (trailing > 0).then_some(Err(BatchError::TrailingBytes(trailing)));
        }
        let index = self.next;
        self.next += 1;
        let parsed = read_raw(&mut self.rest).map(|raw| Record {
            offset: self
                .header
                .base_offset
                .saturating_add(i64::from(raw.offset_delta)),
            timestamp: self.header.time_of(raw.timestamp_delta),
            key: raw.key,
            value: raw.value,
            header_count: raw.header_count,
            headers: raw.headers,
        });
        Some(parsed.map_err(|what| {
            // The start of the next record is unknown.
            self.next = self.header.record_count;
            self.rest = &[];
            BatchError::Record { index, what }
        }))
    }
}

/// A record as encoded in the batch, with deltas instead of the absolute offset and timestamp.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub header_count: i32,
    pub headers: &'a [u8],
}

/// Reads one record from the front of `rest`. The error says what is wrong with the record.
pub fn read_raw<'a>(rest: &mut &'a [u8]) -> Result<RawRecord<'a>, &'static str> {
    let length = varint::read_i32(rest).ok_or("its length is cut")?;
    let length = usize::try_from(length).map_err(|_| "its length is negative")?;
    let (mut body, tail) = rest
        .split_at_checked(length)
        .ok_or("it is longer than the batch")?;
    *rest = tail;
    let (_attributes, after) = body.split_first().ok_or("it is empty")?;
    body = after;
    let timestamp_delta = varint::read_i64(&mut body).ok_or("its timestamp is cut")?;
    let offset_delta = varint::read_i32(&mut body).ok_or("its offset is cut")?;
    let key = read_bytes(&mut body).ok_or("its key does not fit")?;
    let value = read_bytes(&mut body).ok_or("its value does not fit")?;
    let header_count = varint::read_i32(&mut body).ok_or("its number of headers is cut")?;
    if header_count < 0 {
        return Err("its number of headers is negative");
    }
    let headers = body;
    for _ in 0..header_count {
        read_bytes(&mut body)
            .flatten()
            .ok_or("a header's key does not fit or is null")?;
        read_bytes(&mut body).ok_or("a header's value does not fit")?;
    }
    if !body.is_empty() {
        return Err("bytes remain after its headers");
    }
    Ok(RawRecord {
        timestamp_delta,
        offset_delta,
        key,
        value,
        header_count,
        headers,
    })
}

/// Reads a length and as many bytes. The inner `None` is null, the outer `None` means that the bytes are incomplete.
fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::read_i32(bytes)?;
    if length < 0 {
        return (length == -1).then_some(None);
    }
    let (head, tail) = bytes.split_at_checked(length as usize)?;
    *bytes = tail;
    Some(Some(head))
}

impl<'a> Record<'a> {
    /// The headers as pairs of key and value. [`read_raw`] has validated them, so none is left out.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let mut rest = self.headers;
        (0..self.header_count).map_while(move |_| {
            let key = read_bytes(&mut rest)??;
            let value = read_bytes(&mut rest)?;
            Some((key, value))
        })
    }
}
