//! pure: the codecs of record data, with a ceiling on what decompression may produce.

use std::io::{self, Read, Write};

use super::BatchError;

/// How the records of a batch are compressed (attributes bits 0 to 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Levels of the codecs that have any (`compression.*.level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// 1 to 9, or -1 for the codec's own default.
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

/// Starts a stream of snappy blocks as the xerial library frames them; two version numbers follow.
const XERIAL_MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER: &[u8] = &[
    0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
];
const XERIAL_BLOCK_SIZE: usize = 32 * 1024;

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

    /// As `compression.type` spells it.
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
        match self {
            Self::None => Ok(plain.to_vec()),
            Self::Gzip => {
                let level = match levels.gzip {
                    1..=9 => flate2::Compression::new(levels.gzip as u32),
                    _ => flate2::Compression::default(),
                };
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(plain)?;
                encoder.finish()
            }
            Self::Snappy => {
                let mut out = XERIAL_HEADER.to_vec();
                let mut encoder = snap::raw::Encoder::new();
                for block in plain.chunks(XERIAL_BLOCK_SIZE) {
                    let block = encoder.compress_vec(block)?;
                    out.extend_from_slice(&(block.len() as u32).to_be_bytes());
                    out.extend_from_slice(&block);
                }
                Ok(out)
            }
            Self::Lz4 => {
                let mut encoder = lz4::EncoderBuilder::new()
                    .level(levels.lz4.clamp(1, 17) as u32)
                    .block_size(lz4::BlockSize::Max64KB)
                    .block_mode(lz4::BlockMode::Independent)
                    .checksum(lz4::ContentChecksum::NoChecksum)
                    .build(Vec::new())?;
                encoder.write_all(plain)?;
                let (out, result) = encoder.finish();
                result.map(|()| out)
            }
            Self::Zstd => zstd::bulk::compress(plain, levels.zstd),
        }
    }

    /// Decompresses into at most `limit` bytes.
    ///
    /// Errors: `DecompressedTooLarge` above the limit, `Decompression` for anything that the codec refuses.
    pub fn decompress(self, packed: &[u8], limit: usize) -> Result<Vec<u8>, BatchError> {
        match self {
            Self::None if packed.len() > limit => Err(BatchError::DecompressedTooLarge(limit)),
            Self::None => Ok(packed.to_vec()),
            Self::Gzip => drain(flate2::read::MultiGzDecoder::new(packed), limit),
            Self::Snappy => unsnappy(packed, limit),
            // The binding that compresses takes some cut frames for whole ones; this decoder does not.
            Self::Lz4 => drain(lz4_flex::frame::FrameDecoder::new(packed), limit),
            Self::Zstd => drain(
                zstd::stream::read::Decoder::new(packed).map_err(refused)?,
                limit,
            ),
        }
    }
}

fn refused(error: impl std::fmt::Display) -> BatchError {
    BatchError::Decompression(error.to_string())
}

/// Reads a decoder to its end, but never beyond `limit`.
fn drain(decoder: impl Read, limit: usize) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::new();
    decoder
        .take(limit as u64 + 1)
        .read_to_end(&mut out)
        .map_err(refused)?;
    if out.len() > limit {
        Err(BatchError::DecompressedTooLarge(limit))
    } else {
        Ok(out)
    }
}

/// Accepts xerial's stream of blocks and a single raw block.
fn unsnappy(packed: &[u8], limit: usize) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::new();
    if !packed.starts_with(XERIAL_MAGIC) {
        unsnappy_block(packed, &mut out, limit)?;
        return Ok(out);
    }
    let mut rest = packed
        .get(XERIAL_HEADER.len()..)
        .ok_or_else(|| refused("snappy header is cut"))?;
    while let Some((size, tail)) = rest.split_first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        let block = tail
            .get(..size)
            .ok_or_else(|| refused("snappy block is cut"))?;
        unsnappy_block(block, &mut out, limit)?;
        rest = tail.get(size..).unwrap_or_default();
    }
    if rest.is_empty() {
        Ok(out)
    } else {
        Err(refused("bytes after the last snappy block"))
    }
}

fn unsnappy_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), BatchError> {
    let size = snap::raw::decompress_len(block).map_err(refused)?;
    if size > limit.saturating_sub(out.len()) {
        return Err(BatchError::DecompressedTooLarge(limit));
    }
    let start = out.len();
    out.resize(start + size, 0);
    let filled = snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(refused)?;
    out.truncate(start + filled);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn cut_input_is_an_error() {
        let plain = vec![7_u8; 10_000];
        for codec in &ALL[1..] {
            let packed = codec.compress(&plain, Levels::default()).unwrap();
            let cut = &packed[..packed.len() / 2];
            assert!(
                codec.decompress(cut, plain.len()).is_err(),
                "{}",
                codec.name()
            );
        }
    }
}
