//! pure: compression codecs of record data, with a limit on the size of decompressed data.

use std::io::{self, BufRead, Read, Write};

use super::BatchError;
use crate::base::work_pool::{affords, alone, spend, with_memory};
use crate::host::process::look_back_max;

/// Compression codec of a batch's records (attribute bits 0 to 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Compression levels of the codecs that have levels (`compression.*.level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// 1 to 9, or -1 for the codec's default.
    pub gzip: i32,
    pub lz4: i32,
    pub zstd: i32,
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            gzip: -1,
            lz4: 9,
            zstd: 3,
        }
    }
}

/// Magic bytes of a stream of snappy blocks in the framing of the xerial library. Two version numbers follow.
const XERIAL_MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER: &[u8] = &[
    0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
];
const XERIAL_BLOCK_SIZE: usize = 32 * 1024;
/// Cost per compressed byte that is spent from the allowance before decompression. Plain text decompresses to about four times
/// its compressed size, so decompression rarely starts without an allowance that covers it.
const PACKED_COST: usize = 4;
/// Cost of each further member of a gzip stream, which may be empty: the decoder makes new tables.
const GZIP_MEMBER_COST: usize = 16 << 10;
/// Base-2 logarithm of zstd's maximum window up to level 19, which is 8 MiB.
const USUAL_WINDOW_LOG: u32 = 23;
/// Maximum zstd window, in bytes, at higher levels or when it is set explicitly. The decoder holds all of the window.
const LARGE_WINDOW: usize = 128 << 20;
/// Level from which zstd's compression tables take about 100 MB.
const LARGE_ZSTD_LEVEL: i32 = 10;
/// Base-2 logarithm of the size of these tables, as far as zstd lets it be chosen; larger ones are of no use for a batch.
const ZSTD_TABLES_LOG: u32 = 23;
/// Maximum size of zstd's compression tables at lower levels, in bytes.
const ZSTD_TABLES: usize = 32 << 20;
/// Maximum ratio of a snappy block's decompressed to its compressed size.
const SNAPPY_RATIO_MAX: usize = 64;

impl Compression {
    pub fn from_id(id: u8) -> Result<Self, BatchError> {
        match id {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            _ => Err(BatchError::CompressionKind(id)),
        }
    }

    pub fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The codec's name in the setting `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Compresses `plain` in the framing that Kafka's clients expect.
    pub fn compress(self, plain: &[u8], levels: Levels) -> io::Result<Vec<u8>> {
        if self == Self::Zstd {
            return zstd::bulk::compress(plain, levels.zstd);
        }
        let mut packer = Packer::new(self, levels)?;
        packer.write_all(plain)?;
        packer.finish()
    }

    /// Runs `compress`, which creates a [`Packer`] of this codec and level. If that takes much memory, it waits until no other
    /// work of that kind runs.
    pub fn with_room_to_compress<T, E: From<BatchError>>(
        self,
        levels: Levels,
        compress: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if self == Self::Zstd && levels.zstd >= LARGE_ZSTD_LEVEL {
            affords(LARGE_WINDOW).map_err(BatchError::from)?;
            return alone(|| with_memory(LARGE_WINDOW, compress));
        }
        if self == Self::Zstd {
            // The tables, and the window of a decoder, because the data may come from a zstd stream.
            return with_memory(ZSTD_TABLES + (1 << USUAL_WINDOW_LOG), compress);
        }
        compress()
    }

    /// Decompresses into at most `limit` bytes.
    ///
    /// Errors: `DecompressedTooLarge` above the limit, `Decompression` for anything that the codec refuses.
    pub fn decompress(self, packed: &[u8], limit: usize) -> Result<Vec<u8>, BatchError> {
        let mut out = Vec::new();
        self.reader(packed)?
            .take(limit as u64 + 1)
            .read_to_end(&mut out)?;
        if out.len() > limit {
            Err(BatchError::DecompressedTooLarge(limit))
        } else {
            Ok(out)
        }
    }

    /// Reader of the decompressed bytes, for callers that need not hold them all. It holds one block of the codec, or zstd's
    /// window. `packed` may come from a file; its first `fill_buf` must show at least 16 bytes, or all bytes if there are fewer.
    pub fn reader<'a>(self, packed: impl BufRead + 'a) -> Result<Box<dyn Read + 'a>, BatchError> {
        Ok(match self {
            Self::None => Box::new(packed),
            Self::Gzip => Box::new(GzipReader {
                member: Some(flate2::bufread::GzDecoder::new(packed)),
            }),
            Self::Snappy => Box::new(SnappyReader::new(packed)?),
            Self::Lz4 => Box::new(Lz4Reader {
                decoder: Some(lz4::Decoder::new(packed)?),
            }),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
        })
    }

    /// Passes a reader of at most `limit` decompressed bytes to `read`, and [spends](spend) for them: first for the compressed
    /// size, then for the decompressed bytes beyond that. A stream that takes much memory waits until no other work of that
    /// kind runs.
    ///
    /// Errors: `Exhausted`, `DecompressedTooLarge`, `Decompression`, or those of `read`.
    pub fn unpack<T, E: From<BatchError>>(
        self,
        packed: &[u8],
        limit: usize,
        read: impl FnOnce(&mut Unpacked<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let spent = packed.len().saturating_mul(PACKED_COST);
        spend(spent).map_err(BatchError::from)?;
        let unpack = |plain: Box<dyn Read + '_>, limit| {
            read(&mut Unpacked {
                plain,
                limit,
                left: limit,
                spent,
            })
        };
        if self != Self::Zstd {
            return unpack(self.reader(packed)?, limit);
        }
        let mut plain =
            zstd::stream::read::Decoder::with_buffer(packed).map_err(BatchError::from)?;
        let window = zstd_window(packed);
        if window.is_some_and(|window| window > 1 << USUAL_WINDOW_LOG) {
            affords(LARGE_WINDOW).map_err(BatchError::from)?;
            // The window grows with its content, up to this size.
            let most = limit.min(look_back_max().max(1 << USUAL_WINDOW_LOG));
            return alone(|| with_memory(most.min(LARGE_WINDOW), || unpack(Box::new(plain), most)));
        }
        // A later frame may declare a larger window than the first one; the decoder then refuses it.
        plain
            .window_log_max(USUAL_WINDOW_LOG)
            .map_err(BatchError::from)?;
        let window = window.map_or(usize::MAX, |window| window as usize);
        with_memory(window.min(limit).min(1 << USUAL_WINDOW_LOG), || {
            unpack(Box::new(plain), limit)
        })
    }
}

/// Window size of the first frame of a zstd stream, in bytes (RFC 8878, 3.1.1.1); `None` if there is no frame.
fn zstd_window(packed: &[u8]) -> Option<u64> {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    const SINGLE_SEGMENT: u8 = 0x20;
    let [descriptor, rest @ ..] = packed.strip_prefix(&MAGIC)? else {
        return None;
    };
    if descriptor & SINGLE_SEGMENT == 0 {
        let window = *rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // A single-segment frame has no window descriptor: the size of its content is the window.
    let dictionary_id = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = rest.get(dictionary_id..)?;
    match descriptor >> 6 {
        0 => size.first().map(|size| u64::from(*size)),
        1 => size
            .first_chunk()
            .map(|size| 256 + u64::from(u16::from_le_bytes(*size))),
        2 => size
            .first_chunk()
            .map(|size| u64::from(u32::from_le_bytes(*size))),
        _ => size.first_chunk().map(|size| u64::from_le_bytes(*size)),
    }
}

/// Reader of decompressed bytes that spends for them and enforces a limit; see [`Compression::unpack`].
pub struct Unpacked<'a> {
    plain: Box<dyn Read + 'a>,
    limit: usize,
    left: usize,
    /// Decompressed bytes that the cost spent so far still covers.
    spent: usize,
}

impl Read for Unpacked<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.plain.read(out)?;
        let covered = len.min(self.spent);
        self.spent -= covered;
        spend(len - covered).map_err(own)?;
        match self.left.checked_sub(len) {
            Some(left) => self.left = left,
            None => return Err(own(BatchError::DecompressedTooLarge(self.limit))),
        }
        Ok(len)
    }
}

/// Wraps a [`BatchError`] in the `io::Error` of a reader; `From<io::Error>` of [`BatchError`] unwraps it.
fn own(error: impl Into<BatchError>) -> io::Error {
    io::Error::other(error.into())
}

/// Reader of all members of a gzip stream, one after the other.
struct GzipReader<R> {
    member: Option<flate2::bufread::GzDecoder<R>>,
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let len = member.read(out)?;
            if len > 0 || out.is_empty() {
                return Ok(len);
            }
            if !member.get_mut().fill_buf()?.is_empty() {
                spend(GZIP_MEMBER_COST).map_err(own)?;
                let ended = self.member.take();
                self.member =
                    ended.map(|ended| flate2::bufread::GzDecoder::new(ended.into_inner()));
                continue;
            }
            self.member = None;
        }
        Ok(0)
    }
}

/// Compressor in the framing that Kafka's clients expect. It holds the compressed output and one block of the codec.
pub struct Packer {
    kind: PackerKind,
}

enum PackerKind {
    None(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Snappy {
        block: Vec<u8>,
        encoder: Box<snap::raw::Encoder>,
        packed: Vec<u8>,
    },
    Lz4(lz4::Encoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Packer {
    pub fn new(codec: Compression, levels: Levels) -> io::Result<Self> {
        let kind = match codec {
            Compression::None => PackerKind::None(Vec::new()),
            Compression::Gzip => {
                let level = match levels.gzip {
                    1..=9 => flate2::Compression::new(levels.gzip as u32),
                    _ => flate2::Compression::default(),
                };
                PackerKind::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
            Compression::Snappy => PackerKind::Snappy {
                block: Vec::new(),
                encoder: Box::new(snap::raw::Encoder::new()),
                packed: XERIAL_HEADER.to_vec(),
            },
            Compression::Lz4 => PackerKind::Lz4(
                lz4::EncoderBuilder::new()
                    .level(levels.lz4.clamp(1, 17) as u32)
                    .block_size(lz4::BlockSize::Max64KB)
                    .block_mode(lz4::BlockMode::Independent)
                    .checksum(lz4::ContentChecksum::NoChecksum)
                    .build(Vec::new())?,
            ),
            Compression::Zstd => {
                use zstd::zstd_safe::CParameter;
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), levels.zstd)?;
                if levels.zstd >= LARGE_ZSTD_LEVEL {
                    // The encoder does not know that a batch is small, and a high level alone would make it allocate larger
                    // tables.
                    encoder.set_parameter(CParameter::WindowLog(ZSTD_TABLES_LOG))?;
                    encoder.set_parameter(CParameter::HashLog(ZSTD_TABLES_LOG))?;
                    encoder.set_parameter(CParameter::ChainLog(ZSTD_TABLES_LOG))?;
                }
                PackerKind::Zstd(encoder)
            }
        };
        Ok(Self { kind })
    }

    /// Number of compressed bytes so far, without those that the codec still buffers.
    pub fn packed_len(&self) -> usize {
        match &self.kind {
            PackerKind::None(packed) | PackerKind::Snappy { packed, .. } => packed.len(),
            PackerKind::Gzip(encoder) => encoder.get_ref().len(),
            PackerKind::Lz4(encoder) => encoder.writer().len(),
            PackerKind::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    /// All compressed bytes.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self.kind {
            PackerKind::None(packed) => Ok(packed),
            PackerKind::Gzip(encoder) => encoder.finish(),
            PackerKind::Snappy {
                block,
                mut encoder,
                mut packed,
            } => {
                put_snappy_block(&mut encoder, &block, &mut packed)?;
                Ok(packed)
            }
            PackerKind::Lz4(encoder) => {
                let (packed, result) = encoder.finish();
                result.map(|()| packed)
            }
            PackerKind::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for Packer {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            PackerKind::None(packed) => packed.write(plain),
            PackerKind::Gzip(encoder) => encoder.write(plain),
            PackerKind::Snappy {
                block,
                encoder,
                packed,
            } => {
                let len = plain.len().min(XERIAL_BLOCK_SIZE - block.len());
                block.extend_from_slice(&plain[..len]);
                if block.len() == XERIAL_BLOCK_SIZE {
                    put_snappy_block(encoder, block, packed)?;
                    block.clear();
                }
                Ok(len)
            }
            PackerKind::Lz4(encoder) => encoder.write(plain),
            PackerKind::Zstd(encoder) => encoder.write(plain),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // A flush would end the codec's block early.
        Ok(())
    }
}

/// Compresses `block` and appends it to `packed`, unless it is empty.
fn put_snappy_block(
    encoder: &mut snap::raw::Encoder,
    block: &[u8],
    packed: &mut Vec<u8>,
) -> io::Result<()> {
    if !block.is_empty() {
        let block = encoder.compress_vec(block)?;
        packed.extend_from_slice(&(block.len() as u32).to_be_bytes());
        packed.extend_from_slice(&block);
    }
    Ok(())
}

/// Reader of one LZ4 frame, up to its end mark.
struct Lz4Reader<R> {
    /// `None` after the end mark.
    decoder: Option<lz4::Decoder<R>>,
}

impl<R: Read> Read for Lz4Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(0);
        };
        let read = decoder.read(out)?;
        if read == 0
            && !out.is_empty()
            && let Some(decoder) = self.decoder.take()
        {
            // The decoder also returns 0 where the frame is cut short. Only `finish` tells that from the end mark.
            let (_, whole) = decoder.finish();
            whole.map_err(|_| io::Error::other("an LZ4 frame is cut"))?;
        }
        Ok(read)
    }
}

/// Reader of a stream of snappy blocks in xerial's framing, or of a single raw block.
struct SnappyReader<R> {
    /// The bytes after the block in `plain`; in a framed stream they begin with the next block's size.
    rest: R,
    /// Whether blocks are preceded by their size. Otherwise all of `rest` is one block.
    framed: bool,
    plain: Vec<u8>,
    read: usize,
}

impl<R: BufRead> SnappyReader<R> {
    fn new(mut packed: R) -> Result<Self, BatchError> {
        let head = packed.fill_buf()?;
        let framed = head.starts_with(XERIAL_MAGIC);
        if framed {
            if head.len() < XERIAL_HEADER.len() {
                let cut = "a snappy header is cut".to_owned();
                return Err(BatchError::Decompression(cut));
            }
            packed.consume(XERIAL_HEADER.len());
        }
        let mut this = Self {
            rest: packed,
            framed,
            plain: Vec::new(),
            read: 0,
        };
        if !framed {
            this.unpack(None)?;
        }
        Ok(this)
    }

    fn next_block(&mut self) -> io::Result<bool> {
        if !self.framed || self.rest.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let mut size = [0; 4];
        self.rest.read_exact(&mut size).map_err(|_| cut())?;
        self.unpack(Some(u32::from_be_bytes(size) as usize))?;
        Ok(true)
    }

    /// Decompresses the next block, which has `size` bytes, or all remaining ones. A block that lies in the source's buffer in
    /// one piece is not copied.
    fn unpack(&mut self, size: Option<usize>) -> io::Result<()> {
        let ahead = self.rest.fill_buf()?;
        if let Some(size) = size
            && let Some(block) = ahead.get(..size)
        {
            unpack_block(block, &mut self.plain)?;
            self.rest.consume(size);
        } else {
            let mut block = Vec::new();
            let limit = size.map_or(u64::MAX, |size| size as u64);
            (&mut self.rest).take(limit).read_to_end(&mut block)?;
            if size.is_some_and(|size| block.len() < size) {
                return Err(cut());
            }
            unpack_block(&block, &mut self.plain)?;
        }
        self.read = 0;
        Ok(())
    }
}

fn cut() -> io::Error {
    io::Error::other("a snappy block is cut")
}

fn unpack_block(block: &[u8], plain: &mut Vec<u8>) -> io::Result<()> {
    let size = snap::raw::decompress_len(block)?;
    // A block declares its decompressed size. No element of three bytes yields more than 64.
    if size > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(io::Error::other("a snappy block promises too much"));
    }
    // A block is decompressed as a whole, so its cost must be covered in advance.
    affords(size).map_err(own)?;
    plain.resize(size, 0);
    let filled = snap::raw::Decoder::new().decompress(block, plain)?;
    plain.truncate(filled);
    Ok(())
}

impl<R: BufRead> Read for SnappyReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.read == self.plain.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let ready = self.plain.get(self.read..).unwrap_or_default();
        let len = ready.len().min(out.len());
        out[..len].copy_from_slice(&ready[..len]);
        self.read += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::work_pool::{Exhausted, with_allowance};

    const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    #[test]
    fn every_codec_gives_back_what_it_got() {
        let plain: Vec<u8> = (0..100_000_u32)
            .flat_map(|n| (n / 7).to_be_bytes())
            .collect();
        for codec in ALL {
            let packed = codec.compress(&plain, Levels::default()).unwrap();
            assert_eq!(
                codec.decompress(&packed, plain.len()).unwrap(),
                plain,
                "{}",
                codec.name()
            );
        }
    }

    #[test]
    fn a_bomb_stops_at_the_ceiling() {
        let plain = vec![0_u8; 1_000_000];
        for codec in ALL {
            let packed = codec.compress(&plain, Levels::default()).unwrap();
            assert_eq!(
                codec.decompress(&packed, 10_000),
                Err(BatchError::DecompressedTooLarge(10_000)),
                "{}",
                codec.name()
            );
        }
    }

    #[test]
    fn a_raw_snappy_block_is_accepted() {
        let packed = snap::raw::Encoder::new().compress_vec(b"hello").unwrap();
        assert_eq!(
            Compression::Snappy.decompress(&packed, 100).unwrap(),
            b"hello"
        );
    }

    #[test]
    fn input_cut_anywhere_is_an_error() {
        let mut plain = vec![7_u8; 10_000];
        plain.extend((0..70_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8));
        for codec in &ALL[1..] {
            let packed = codec.compress(&plain, Levels::default()).unwrap();
            let steps = (0..packed.len()).step_by(97);
            for len in (1..packed.len().min(40))
                .chain(steps)
                .chain([packed.len() - 1])
            {
                let whole = codec.decompress(&packed[..len], plain.len());
                // A stream of snappy blocks has no end mark: cut between two blocks, it is valid but shorter.
                assert!(
                    whole.is_err() || (*codec == Compression::Snappy && whole != Ok(plain.clone())),
                    "{} cut at {len}",
                    codec.name()
                );
            }
        }
    }

    #[test]
    fn bytes_behind_an_lz4_frame_are_not_looked_at() {
        let mut packed = Compression::Lz4
            .compress(b"hello", Levels::default())
            .unwrap();
        packed.extend_from_slice(b"more");
        assert_eq!(Compression::Lz4.decompress(&packed, 100).unwrap(), b"hello");
    }

    /// Result of `unpack` within an allowance.
    fn unpacked(
        codec: Compression,
        packed: &[u8],
        allowance: usize,
    ) -> Result<Vec<u8>, BatchError> {
        with_allowance(allowance, || {
            codec.unpack(packed, 1 << 30, |plain| {
                let mut out = Vec::new();
                plain.read_to_end(&mut out)?;
                Ok(out)
            })
        })
    }

    #[test]
    fn unpacking_ends_with_the_allowance() {
        let plain = vec![0; 1_000_000];
        for codec in ALL {
            let packed = codec.compress(&plain, Levels::default()).unwrap();
            let name = codec.name();
            assert_eq!(
                unpacked(codec, &packed, usize::MAX).as_ref(),
                Ok(&plain),
                "{name}"
            );
            assert_eq!(
                unpacked(codec, &packed, 999_999),
                Err(Exhausted.into()),
                "{name}"
            );
            let limited: Result<(), BatchError> = codec.unpack(&packed, 999_999, |plain| {
                io::copy(plain, &mut io::sink())?;
                Ok(())
            });
            assert_eq!(
                limited,
                Err(BatchError::DecompressedTooLarge(999_999)),
                "{name}"
            );
        }
    }

    #[test]
    fn empty_members_of_a_gzip_stream_are_not_for_nothing() {
        let empty = Compression::Gzip.compress(&[], Levels::default()).unwrap();
        let mut packed = empty.repeat(100);
        packed.extend(
            Compression::Gzip
                .compress(b"hello", Levels::default())
                .unwrap(),
        );
        assert_eq!(
            unpacked(Compression::Gzip, &packed, usize::MAX),
            Ok(b"hello".to_vec())
        );
        let little = 50 * GZIP_MEMBER_COST;
        assert_eq!(
            unpacked(Compression::Gzip, &packed, little),
            Err(Exhausted.into())
        );
        packed.push(1);
        assert!(unpacked(Compression::Gzip, &packed, usize::MAX).is_err());
    }

    #[test]
    fn a_stream_that_looks_far_back_takes_more_than_little() {
        let plain = vec![1; 10 << 20];
        let far = {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(27).unwrap();
            encoder.write_all(&plain).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(zstd_window(&far), Some(1 << 27));
        assert_eq!(
            unpacked(Compression::Zstd, &far, usize::MAX).as_ref(),
            Ok(&plain)
        );
        assert_eq!(
            unpacked(Compression::Zstd, &far, LARGE_WINDOW),
            Err(Exhausted.into())
        );
        // The large window is declared by the second frame only.
        let mut both = zstd::bulk::compress(b"near", 1).unwrap();
        both.extend_from_slice(&far);
        assert!(unpacked(Compression::Zstd, &both, usize::MAX).is_err());
    }

    #[test]
    fn how_far_zstd_looks_back_is_known_from_its_first_bytes() {
        for len in [0, 1, 255, 256, 300, 65_791, 65_792, 1 << 20] {
            let packed = zstd::bulk::compress(&vec![0; len], 3).unwrap();
            assert_eq!(zstd_window(&packed), Some(len as u64));
        }
        assert_eq!(
            zstd_window(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x69]),
            Some((1 << 23) + (1 << 20))
        );
        for cut in [
            &[][..],
            &[0x28, 0xb5, 0x2f, 0xfd],
            &[0x28, 0xb5, 0x2f, 0xfd, 0],
            b"other",
        ] {
            assert_eq!(zstd_window(cut), None);
        }
    }

    #[test]
    fn what_is_packed_in_pieces_is_what_was_written() {
        let plain: Vec<u8> = (0..300_000_u32)
            .map(|n| (n.wrapping_mul(n) >> 9) as u8)
            .collect();
        let highest = Levels {
            gzip: 9,
            lz4: 17,
            zstd: 22,
        };
        for (codec, levels) in ALL
            .into_iter()
            .flat_map(|codec| [(codec, Levels::default()), (codec, highest)])
        {
            let mut packer = Packer::new(codec, levels).unwrap();
            for piece in plain.chunks(7_777) {
                packer.write_all(piece).unwrap();
            }
            let packed = packer.finish().unwrap();
            assert_eq!(
                codec.decompress(&packed, plain.len()).as_ref(),
                Ok(&plain),
                "{}",
                codec.name()
            );
            let window = zstd_window(&packed).unwrap_or(0);
            assert!(window <= 1 << USUAL_WINDOW_LOG, "{window}");
        }
    }
}
