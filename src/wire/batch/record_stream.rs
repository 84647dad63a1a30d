//! pure: stream over the records of a compressed batch, through a window of fixed size.
//!
//! Appending a batch requires a check of each record, but not the records' keys and values. The window bounds the memory for
//! that, even of a batch that decompresses to gigabytes.

use std::io::{self, Read};

use super::record::read_raw;
use super::varint;

/// Size of the window, in bytes. Longer records are skipped field by field instead of being held.
const WINDOW_SIZE: usize = 64 * 1024;
/// Maximum size of a varlong, in bytes.
const VARINT_MAX: usize = 10;

/// Buffer of a [`RecordStream`], reusable by the next stream.
#[derive(Debug, Default)]
pub struct Window {
    bytes: Vec<u8>,
}

/// The properties of a record that appending checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Size of the record without the length before it, in bytes.
    pub len: usize,
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub has_key: bool,
    pub is_tombstone: bool,
}

/// Receiver of the bytes of records, for callers that need more than outlines. Pieces are of any size.
pub trait Sink {
    /// Starts a record. `rest` is the number of bytes after its timestamp.
    fn begin(&mut self, _timestamp_delta: i64, _rest: usize) -> io::Result<()> {
        Ok(())
    }

    /// Receives bytes of the record's key.
    fn key(&mut self, _piece: &[u8]) {}

    /// Receives all bytes after the record's timestamp, including those of the key.
    fn rest(&mut self, _piece: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// A sink that ignores everything.
impl Sink for () {}

/// Reason why a stream of records ends early.
#[derive(Debug)]
pub enum StreamFault {
    /// The record is malformed; the text says how.
    Record(&'static str),
    /// Reading the source failed.
    Codec(io::Error),
}

impl From<io::Error> for StreamFault {
    fn from(error: io::Error) -> Self {
        Self::Codec(error)
    }
}

/// Reader of the records of one batch; see the module.
#[derive(Debug)]
pub struct RecordStream<'w, R> {
    source: R,
    window: &'w mut Vec<u8>,
    /// Range of the window that has been read from the source but not yet consumed: `start..end`.
    start: usize,
    end: usize,
}

/// Source that reports the number of bytes of each read to `count`, which may end reading with an error.
#[derive(Debug)]
pub struct Counted<R, F> {
    pub source: R,
    pub count: F,
}

impl<R: Read, F: FnMut(usize) -> io::Result<()>> Read for Counted<R, F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(out)?;
        (self.count)(read)?;
        Ok(read)
    }
}

impl<'w, R: Read> RecordStream<'w, R> {
    pub fn new(source: R, window: &'w mut Window) -> Self {
        window.bytes.resize(WINDOW_SIZE, 0);
        Self {
            source,
            window: &mut window.bytes,
            start: 0,
            end: 0,
        }
    }

    /// Reads the next record. The caller knows the number of records.
    pub fn outline(&mut self) -> Result<Outline, StreamFault> {
        self.show(&mut ())
    }

    /// Like [`Self::outline`], and passes the record's bytes to `sink`.
    pub fn show<S: Sink>(&mut self, sink: &mut S) -> Result<Outline, StreamFault> {
        self.fill(VARINT_MAX)?;
        let mut peeked = self.unseen();
        let length =
            varint::read_i32(&mut peeked).ok_or(StreamFault::Record("its length is cut"))?;
        let length =
            usize::try_from(length).map_err(|_| StreamFault::Record("its length is negative"))?;
        let prefix = self.unseen().len() - peeked.len();
        if prefix + length > WINDOW_SIZE {
            self.start += prefix;
            return self.skim(length, sink);
        }
        self.fill(prefix + length)?;
        let mut rest = self.unseen();
        let before = rest.len();
        let raw = read_raw(&mut rest).map_err(StreamFault::Record)?;
        let outline = Outline {
            len: length,
            timestamp_delta: raw.timestamp_delta,
            offset_delta: raw.offset_delta,
            has_key: raw.key.is_some(),
            is_tombstone: raw.value.is_none(),
        };
        let whole = before - rest.len();
        let mut tail = self.unseen().get(prefix + 1..whole).unwrap_or_default();
        let _timestamp = varint::read_i64(&mut tail);
        sink.begin(raw.timestamp_delta, tail.len())?;
        sink.key(raw.key.unwrap_or_default());
        sink.rest(tail)?;
        self.start += whole;
        Ok(outline)
    }

    /// Whether the source has no more bytes.
    pub fn is_at_end(&mut self) -> io::Result<bool> {
        self.fill(1)?;
        Ok(self.unseen().is_empty())
    }

    /// Reads a record that does not fit into the window, with the same checks as [`read_raw`].
    fn skim<S: Sink>(&mut self, length: usize, sink: &mut S) -> Result<Outline, StreamFault> {
        let mut left = length;
        self.skip(&mut left, 1, "it is empty", |_| Ok(()))?;
        let what = "its timestamp is cut";
        let timestamp_delta = self.number(&mut left, varint::read_i64, what, &mut ())?;
        sink.begin(timestamp_delta, left)?;
        let what = "its offset is cut";
        let offset_delta = self.number(&mut left, varint::read_i32, what, sink)?;
        let has_key = self.skip_bytes(&mut left, "its key does not fit", sink, S::key)?;
        let has_value = self.skip_bytes(&mut left, "its value does not fit", sink, |_, _| {})?;
        let what = "its number of headers is cut";
        let headers = self.number(&mut left, varint::read_i32, what, sink)?;
        if headers < 0 {
            return Err(StreamFault::Record("its number of headers is negative"));
        }
        for _ in 0..headers {
            const KEY: &str = "a header's key does not fit or is null";
            if !self.skip_bytes(&mut left, KEY, sink, |_, _| {})? {
                return Err(StreamFault::Record(KEY));
            }
            self.skip_bytes(&mut left, "a header's value does not fit", sink, |_, _| {})?;
        }
        if left > 0 {
            return Err(StreamFault::Record("bytes remain after its headers"));
        }
        Ok(Outline {
            len: length,
            timestamp_delta,
            offset_delta,
            has_key,
            is_tombstone: !has_value,
        })
    }

    fn number<N>(
        &mut self,
        left: &mut usize,
        read: impl Fn(&mut &[u8]) -> Option<N>,
        otherwise: &'static str,
        sink: &mut impl Sink,
    ) -> Result<N, StreamFault> {
        self.fill(VARINT_MAX)?;
        let unseen = self.unseen();
        let within = unseen.len().min(*left);
        let mut rest = unseen.get(..within).unwrap_or_default();
        let number = read(&mut rest).ok_or(StreamFault::Record(otherwise))?;
        let taken = within - rest.len();
        sink.rest(unseen.get(..taken).unwrap_or_default())?;
        self.start += taken;
        *left -= taken;
        Ok(number)
    }

    /// Skips a length and as many bytes; `true` for bytes, `false` for null.
    fn skip_bytes<S: Sink>(
        &mut self,
        left: &mut usize,
        otherwise: &'static str,
        sink: &mut S,
        see: impl Fn(&mut S, &[u8]),
    ) -> Result<bool, StreamFault> {
        let length = self.number(left, varint::read_i32, otherwise, sink)?;
        let mut show = |piece: &[u8]| {
            see(sink, piece);
            sink.rest(piece)
        };
        match usize::try_from(length) {
            Ok(length) => self.skip(left, length, otherwise, &mut show).map(|()| true),
            Err(_) if length == -1 => Ok(false),
            Err(_) => Err(StreamFault::Record(otherwise)),
        }
    }

    fn skip(
        &mut self,
        left: &mut usize,
        count: usize,
        otherwise: &'static str,
        mut see: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), StreamFault> {
        *left = left
            .checked_sub(count)
            .ok_or(StreamFault::Record(otherwise))?;
        let mut remaining = count;
        while remaining > 0 {
            self.fill(1)?;
            let step = self.unseen().len().min(remaining);
            if step == 0 {
                return Err(StreamFault::Record("it is longer than the batch"));
            }
            see(self.unseen().get(..step).unwrap_or_default())?;
            self.start += step;
            remaining -= step;
        }
        Ok(())
    }

    /// Reads until `wanted` bytes are in the window, which are at most its size. Fewer are there only at the source's end.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if self.end - self.start >= wanted {
            return Ok(());
        }
        self.window.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < wanted {
            let Some(free) = self.window.get_mut(self.end..) else {
                break;
            };
            match self.source.read(free) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn unseen(&self) -> &[u8] {
        self.window.get(self.start..self.end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::batch::builder::BatchBuilder;
    use crate::wire::batch::header::HEADER_SIZE;

    /// A reader that returns its bytes in small and uneven pieces.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 * 7 % 1013 + 1;
            let len = self.0.len().min(out.len()).min(self.1);
            out[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    /// Checks that streaming a body of `count` records gives the same outlines, or fails just as, reading it in place.
    fn check(body: &[u8], count: usize) {
        let mut rest = body;
        let mut expected: Result<Vec<Outline>, &str> = (0..count)
            .map(|_| {
                let len = varint::read_i32(&mut &*rest).unwrap_or(-1) as usize;
                read_raw(&mut rest).map(|raw| Outline {
                    len,
                    timestamp_delta: raw.timestamp_delta,
                    offset_delta: raw.offset_delta,
                    has_key: raw.key.is_some(),
                    is_tombstone: raw.value.is_none(),
                })
            })
            .collect();
        if expected.is_ok() && !rest.is_empty() {
            expected = Err("trailing");
        }
        let mut window = Window::default();
        let mut stream = RecordStream::new(Trickle(body, 3), &mut window);
        let mut got: Result<Vec<Outline>, StreamFault> =
            (0..count).map(|_| stream.outline()).collect();
        if got.is_ok() && !stream.is_at_end().unwrap() {
            got = Err(StreamFault::Record("trailing"));
        }
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected),
            (Err(_), Err(_)) => {}
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }

    fn body(values: &[Option<usize>]) -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        for (index, size) in values.iter().enumerate() {
            let value = size.map(|size| vec![index as u8; size]);
            let key = value.as_deref().filter(|_| index % 2 == 0);
            builder.push_with_headers(
                index as i32,
                1_000 + index as i64,
                key,
                value.as_deref(),
                [(&b"h"[..], value.as_deref()), (b"", None)].into_iter(),
            );
        }
        builder.build()[HEADER_SIZE..].to_vec()
    }

    #[test]
    fn records_of_every_size_are_seen() {
        let sizes = [0, 1, 100, 21_000, 21_900, 65_400, 65_536, 200_000];
        let values: Vec<_> = std::iter::once(None).chain(sizes.map(Some)).collect();
        check(&body(&values), values.len());
        check(&body(&values), values.len() - 1);
        check(&body(&values), values.len() + 1);
    }

    proptest! {
        #[test]
        fn damage_is_seen_as_it_is_in_place(
            sizes in prop::collection::vec(prop::option::of(0_usize..70_000), 1..6),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = body(&sizes);
            let at = at.index(bytes.len().min(64));
            bytes[at] = byte;
            check(&bytes, sizes.len());
            bytes.truncate(cut.index(bytes.len()));
            check(&bytes, sizes.len());
        }
    }
}
