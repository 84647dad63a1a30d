//! Bytes that no client library would send.

use anyhow::Result;
use bytes::Bytes;
use monedula::host::clock::Clock;
use monedula::wire::batch::compression::{Compression, Levels};
use monedula::wire::batch::legacy::{MAGIC_V1, SetBuilder};
use monedula::wire::codec::Writer;
use monedula::wire::message::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use monedula::wire::message::{Message, Request};

use crate::stage::MIB;

/// Maximum size of a zstd block, in bytes.
const BLOCK_MAX: usize = 128 << 10;
/// Type of a zstd block that repeats one byte (RLE block).
const REPEATED: usize = 1;
const CODEC_ZSTD: i16 = 4;
/// Base-2 logarithm of a window of 128 KiB, the smallest one for such blocks.
pub const WINDOW: u8 = 17;
/// Decompressed size of a batch of [`bomb`], in bytes.
pub const UNPACKED: usize = 500 * MIB;

/// A JoinGroup request for the group "g", which then waits for its members for minutes. `metadata` is the member's metadata.
pub fn joining(metadata: Bytes) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 300_000,
        rebalance_timeout_ms: 300_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata,
        }],
        ..Default::default()
    }
}

/// A batch of about 16 KB with one record, whose value has `unpacked` zero bytes.
pub fn bomb(unpacked: usize, key: Option<&[u8]>, window: u8) -> Bytes {
    let mut head = vec![0];
    varint(&mut head, 0);
    varint(&mut head, 0);
    match key {
        Some(key) => {
            varint(&mut head, key.len() as i64);
            head.extend_from_slice(key);
        }
        None => varint(&mut head, -1),
    }
    varint(&mut head, unpacked as i64);
    let mut record = Vec::new();
    // The value is followed by a zero for the number of headers.
    varint(&mut record, (head.len() + unpacked + 1) as i64);
    record.extend_from_slice(&head);
    batch(CODEC_ZSTD, 1, &zstd(&record, unpacked + 1, window))
}

/// A batch of format v2 around compressed records.
pub fn batch(codec: i16, count: i32, records: &[u8]) -> Bytes {
    let now = Clock::default().now();
    let mut checked = codec.to_be_bytes().to_vec();
    checked.extend((count - 1).to_be_bytes());
    checked.extend(now.to_be_bytes());
    checked.extend(now.to_be_bytes());
    checked.extend((-1_i64).to_be_bytes());
    checked.extend((-1_i16).to_be_bytes());
    checked.extend((-1_i32).to_be_bytes());
    checked.extend(count.to_be_bytes());
    checked.extend_from_slice(records);
    let mut batch = 0_i64.to_be_bytes().to_vec();
    // The length also counts leader epoch, magic and checksum.
    batch.extend((checked.len() as i32 + 9).to_be_bytes());
    batch.extend(0_i32.to_be_bytes());
    batch.push(2);
    batch.extend(crc32c::crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch.into()
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// A zstd frame: `head` followed by zero bytes, with a window of two to the power of `window`.
fn zstd(head: &[u8], mut zeros: usize, window: u8) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (window - 10) << 3];
    let mut block = |kind: usize, size: usize, last: bool, bytes: &[u8]| {
        let head = usize::from(last) | kind << 1 | size << 3;
        out.extend_from_slice(&(head as u32).to_le_bytes()[..3]);
        out.extend_from_slice(bytes);
    };
    block(0, head.len(), zeros == 0, head);
    while zeros > 0 {
        let size = zeros.min(BLOCK_MAX);
        zeros -= size;
        block(REPEATED, size, zeros == 0, &[0]);
    }
    out
}

/// Wrappers of format v1 of about 97 KB each, that decompress to 95 messages of a mebibyte.
pub fn wrappers(count: usize) -> Result<Vec<u8>> {
    const MESSAGES: i64 = 95;
    let mut plain = SetBuilder::new(MAGIC_V1, Compression::None, false);
    plain.push(0, Clock::default().now(), None, Some(&vec![0; MIB]));
    let message = plain.build();
    let (head, value) = message.split_at(message.len() - MIB);
    let packed = Compression::Gzip.compress(value, Levels::default())?;
    let mut messages = Vec::new();
    for offset in 0..MESSAGES {
        // The checksum does not cover the offset, and a gzip stream may have several members.
        let mut head = head.to_vec();
        head[..8].copy_from_slice(&offset.to_be_bytes());
        messages.extend(Compression::Gzip.compress(&head, Levels::default())?);
        messages.extend_from_slice(&packed);
    }
    let mut wrapper = SetBuilder::new(MAGIC_V1, Compression::None, false);
    wrapper.push(MESSAGES - 1, Clock::default().now(), None, Some(&messages));
    let mut wrapper = wrapper.build();
    // The attributes contain the codec of the value, and the checksum covers them.
    const CHECKSUM: usize = 12;
    const CHECKED: usize = 16;
    const ATTRIBUTES: usize = 17;
    wrapper[ATTRIBUTES] = Compression::Gzip.id();
    let checksum = checksum_of(&wrapper[CHECKED..])?;
    wrapper[CHECKSUM..CHECKED].copy_from_slice(&checksum);
    Ok(wrapper.repeat(count))
}

/// CRC-32 of `bytes`, taken from the end of a gzip member.
fn checksum_of(bytes: &[u8]) -> Result<[u8; 4]> {
    let packed = Compression::Gzip.compress(bytes, Levels::default())?;
    let mut checksum: [u8; 4] = packed[packed.len() - 8..packed.len() - 4].try_into()?;
    checksum.reverse();
    Ok(checksum)
}

/// A request of an old version, whose one array has `count` elements.
pub fn swollen(
    (key, version): (i16, i16),
    before: &[u8],
    count: usize,
    element: impl Fn(usize) -> Vec<u8>,
    after: &[u8],
) -> Result<Vec<u8>> {
    let mut body = head(key, version);
    body.extend_from_slice(before);
    body.extend(i32::try_from(count)?.to_be_bytes());
    let size = element(0).len();
    body.reserve_exact(count * size + after.len());
    for index in 0..count {
        body.extend(element(index));
    }
    body.extend_from_slice(after);
    framed(&body)
}

/// A request with its header and length.
pub fn frame<R: Request>(request: &R, version: i16) -> Result<Vec<u8>> {
    let mut frame = head(R::KEY, version);
    if <R as Message>::is_flexible(version) {
        frame.push(0);
    }
    let mut writer = Writer::default();
    request.write(&mut writer, version)?;
    frame.extend_from_slice(&writer.into_bytes());
    framed(&frame)
}

/// `body` with its length before it.
pub fn framed(body: &[u8]) -> Result<Vec<u8>> {
    Ok([&u32::try_from(body.len())?.to_be_bytes()[..], body].concat())
}

/// The header of a non-flexible request. It has a client id, because a broker that keeps the id might keep the whole frame with
/// it.
pub fn head(key: i16, version: i16) -> Vec<u8> {
    let mut head = key.to_be_bytes().to_vec();
    head.extend(version.to_be_bytes());
    head.extend(1_i32.to_be_bytes());
    head.extend(string("crowd"));
    head
}

/// A string as non-flexible versions encode it.
pub fn string(text: &str) -> Vec<u8> {
    let mut out = (text.len() as i16).to_be_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    out
}

/// A frame of a flexible version, in which an unknown tagged field of `bytes` bytes replaces the empty tagged fields at its
/// end.
pub fn padded(frame: &[u8], bytes: usize) -> Result<Vec<u8>> {
    let mut body = frame[4..frame.len() - 1].to_vec();
    // One tagged field with the tag 100, which no message has.
    body.extend([1, 100]);
    let mut left = bytes;
    while left >= 0x80 {
        body.push(left as u8 | 0x80);
        left >>= 7;
    }
    body.push(left as u8);
    body.resize(body.len() + bytes, 0);
    framed(&body)
}
