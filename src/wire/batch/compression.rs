//! pure: the codecs of record data, with a ceiling on what decompression may produce.

use std::io::{self, BufRead, Read, Write};

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
/// No snappy block grows by more.
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
        let mut out = Vec::new();
        self.reader(packed)?
            .take(limit as u64 + 1)
            .read_to_end(&mut out)
            .map_err(refused)?;
        if out.len() > limit {
            Err(BatchError::DecompressedTooLarge(limit))
        } else {
            Ok(out)
        }
    }

    /// The plain bytes as a stream, for those who need not hold them all. Its memory is a block of the codec. `packed` may
    /// come from a file: it shows its first 16 bytes at once, if it has so many.
    pub fn reader<'a>(self, packed: impl BufRead + 'a) -> Result<Box<dyn Read + 'a>, BatchError> {
        Ok(match self {
            Self::None => Box::new(packed),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            Self::Snappy => Box::new(SnappyReader::new(packed)?),
            Self::Lz4 => Box::new(Lz4Reader::new(packed)?),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(packed).map_err(refused)?),
        })
    }
}

fn refused(error: impl std::fmt::Display) -> BatchError {
    BatchError::Decompression(error.to_string())
}

/// Reads one LZ4 frame to its end mark.
struct Lz4Reader<R> {
    /// `None` once the end mark was met.
    decoder: Option<lz4::Decoder<R>>,
}

impl<R: Read> Lz4Reader<R> {
    fn new(packed: R) -> Result<Self, BatchError> {
        let decoder = lz4::Decoder::new(packed).map_err(refused)?;
        Ok(Self {
            decoder: Some(decoder),
        })
    }
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
            // The decoder gives nothing more also where the frame was cut, and tells the difference only when it ends.
            let (_, whole) = decoder.finish();
            whole.map_err(|_| io::Error::other("an LZ4 frame is cut"))?;
        }
        Ok(read)
    }
}

/// Reads xerial's stream of blocks, or a single raw block.
struct SnappyReader<R> {
    /// What follows the block in `plain`, from the next block's size on.
    rest: R,
    /// Whether there are sizes; else all of `rest` is one block.
    framed: bool,
    plain: Vec<u8>,
    read: usize,
}

impl<R: BufRead> SnappyReader<R> {
    fn new(mut packed: R) -> Result<Self, BatchError> {
        let head = packed.fill_buf().map_err(refused)?;
        let framed = head.starts_with(XERIAL_MAGIC);
        if framed {
            if head.len() < XERIAL_HEADER.len() {
                return Err(refused("snappy header is cut"));
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
            this.unpack(None).map_err(refused)?;
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

    /// The next block has `size` bytes, or all that there are. Where they lie in one piece they are not copied.
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
    // A block says itself how large it becomes, and no element of three bytes gives more than 64.
    if size > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(io::Error::other("a snappy block promises too much"));
    }
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
                // A stream of snappy blocks has no end mark: without the later ones it is whole.
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
}
