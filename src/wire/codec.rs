//! pure: encoding and decoding of the protocol's primitive types, and the bounded [`Reader`] and [`Writer`] that they use.
//!
//! A reader slices strings, bytes and records out of the frame instead of copying them. It checks every count against the bytes
//! that remain, and it has a memory budget: no frame makes it allocate more than a small multiple of the frame's size. A writer
//! collects bytes and, between them, record data that is sent straight from its file: see [`Part`].

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use crate::base::file_range::FileRange;
use crate::base::ids::Uuid;
use crate::base::work_pool::checkpoint;

/// Memory that decoding may take per byte of input, in bytes. An empty compact string is one byte on the wire and 32 in memory.
const MEMORY_PER_BYTE_MAX: usize = 32;
/// Memory that decoding may take for any frame, in bytes, so that tiny frames are not refused because of rounding.
const MEMORY_MIN: usize = 4096;
/// Maximum number of elements and tagged fields of a request, over all of its arrays: enough for 100,000 partitions with
/// several fields each. An element of one byte costs about a hundred times its size in memory and time.
pub const REQUEST_ELEMENTS_MAX: usize = 500_000;
/// Number of elements that are read or written between two checkpoints of the work pool.
const ELEMENTS_PER_CHECKPOINT: usize = 1_024;
/// Maximum size of the part of a response that is in memory, in bytes. A response with a hundred thousand partitions takes a
/// tenth of it, and clients in C refuse larger responses.
pub const ANSWER_MEMORY_MAX: usize = 100 << 20;
/// Maximum size of a response, in bytes, including the records that are sent from files: the largest value of its 4-byte
/// length.
pub const ANSWER_BYTES_MAX: usize = i32::MAX as usize;
/// Number of elements for which an array allocates memory before any of them has been read.
const PREALLOCATED_ELEMENTS_MAX: usize = 64;
/// Size up to which records are copied into the response, in bytes; longer records become a part of their own.
const COPIED_RECORDS_MAX: usize = 512;

/// Reason why bytes cannot be decoded as the expected message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{needed} more bytes were promised where {remaining} remain")]
    Short { needed: usize, remaining: usize },
    #[error("a length of {0} where none below -1 is allowed")]
    NegativeLength(i64),
    #[error("null where version {version} has none")]
    UnexpectedNull { version: i16 },
    #[error("a string of {0} bytes where 32767 are allowed")]
    StringTooLong(i64),
    #[error("a string that is not UTF-8")]
    NotUtf8,
    #[error("a variable-length number of more than {0} bytes")]
    VarintTooLong(usize),
    #[error("tagged field {0} does not fill its size")]
    TaggedFieldSize(u32),
    #[error("tagged field {0} twice")]
    TaggedFieldTwice(u32),
    #[error("more elements than its size makes plausible, or than a request may have")]
    TooManyElements,
    #[error("version {0} does not exist")]
    UnknownVersion(i16),
    #[error("{0} bytes after the end")]
    TrailingBytes(usize),
}

/// Reason why a message cannot be encoded in a version. Always a mistake of the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{field} is set but does not exist in version {version}")]
    FieldNotInVersion { field: &'static str, version: i16 },
    #[error("null where version {version} has none")]
    UnexpectedNull { version: i16 },
    #[error("{0} bytes or elements are too many for their length field")]
    TooLong(usize),
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    #[error("version {0} does not exist")]
    UnknownVersion(i16),
}

/// Properties of the surrounding message that a field's encoding depends on.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub version: i16,
    /// Whether the version uses compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
    /// Whether the field may be null in this version.
    pub nullable: bool,
    /// Whether the field is in a section of tagged fields.
    pub tagged: bool,
}

impl Layout {
    /// The layout of a whole message, which is not nullable.
    pub fn new(version: i16, flexible: bool) -> Self {
        Self {
            version,
            flexible,
            nullable: false,
            tagged: false,
        }
    }

    pub fn nullable(self, nullable: bool) -> Self {
        Self { nullable, ..self }
    }

    pub fn tagged(self, tagged: bool) -> Self {
        Self { tagged, ..self }
    }
}

/// A type with an encoding on the wire. Implemented by the primitives here and, through `message!`, by every message.
pub trait Field: Sized {
    fn decode(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError>;
    fn encode(&self, writer: &mut Writer, layout: Layout) -> Result<(), EncodeError>;
}

/// Decoder over the unread rest of a frame.
#[derive(Clone, Debug)]
pub struct Reader {
    rest: Bytes,
    memory_left: usize,
    elements_left: usize,
}

impl Reader {
    pub fn new(frame: Bytes) -> Self {
        let memory_left = frame
            .len()
            .saturating_mul(MEMORY_PER_BYTE_MAX)
            .saturating_add(MEMORY_MIN);
        Self {
            rest: frame,
            memory_left,
            elements_left: usize::MAX,
        }
    }

    /// A reader that decodes at most `elements_left` array elements and tagged fields.
    pub fn with_elements(frame: Bytes, elements_left: usize) -> Self {
        Self {
            elements_left,
            ..Self::new(frame)
        }
    }

    /// Whether the reader may decode another element. `false` after a `TooManyElements` error that this limit caused.
    pub fn has_elements_left(&self) -> bool {
        self.elements_left > 0
    }

    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The unread bytes, shared with the frame.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }

    /// The next `len` bytes, shared with the frame.
    pub fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.rest.len() {
            return Err(DecodeError::Short {
                needed: len,
                remaining: self.rest.len(),
            });
        }
        Ok(self.rest.split_to(len))
    }

    /// Checks that the whole frame has been read. Errors: `TrailingBytes` if bytes remain.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes(self.rest.len()))
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((head, _)) = self.rest.split_first_chunk::<N>() else {
            return Err(DecodeError::Short {
                needed: N,
                remaining: self.rest.len(),
            });
        };
        let head = *head;
        bytes::Buf::advance(&mut self.rest, N);
        Ok(head)
    }

    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Reads an unsigned varint of at most 5 bytes. As in Kafka's `ByteUtils`, bits above the 32nd are dropped.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong(5))
    }

    /// Reads a length or count; `None` for null. The value is not yet checked against the bytes that remain.
    fn length(&mut self, flexible: bool, wide: bool) -> Result<Option<usize>, DecodeError> {
        let length = match (flexible, wide) {
            (true, _) => i64::from(self.unsigned_varint()?) - 1,
            (false, true) => i64::from(self.i32()?),
            (false, false) => i64::from(self.i16()?),
        };
        match length {
            -1 => Ok(None),
            // Kafka refuses longer strings in flexible versions, too: responses of older versions could not carry them.
            0.. if !wide && length > i64::from(i16::MAX) => Err(DecodeError::StringTooLong(length)),
            0.. => Ok(Some(length as usize)),
            _ => Err(DecodeError::NegativeLength(length)),
        }
    }

    /// Subtracts one element that takes `memory` bytes from the reader's budgets.
    fn charge(&mut self, memory: usize) -> Result<(), DecodeError> {
        let left = |left: usize, taken| left.checked_sub(taken).ok_or(DecodeError::TooManyElements);
        self.memory_left = left(self.memory_left, memory)?;
        self.elements_left = left(self.elements_left, 1)?;
        if self.elements_left.is_multiple_of(ELEMENTS_PER_CHECKPOINT) {
            checkpoint();
        }
        Ok(())
    }

    /// Reads a section of tagged fields. `field` gets each tag with a reader of exactly its payload, and returns whether the
    /// tag is known.
    pub fn tagged_section(
        &mut self,
        mut field: impl FnMut(u32, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        for _ in 0..count {
            self.charge(0)?;
            let tag = self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            let mut payload = Self {
                rest: self.take(size)?,
                ..*self
            };
            let known = field(tag, &mut payload);
            self.memory_left = payload.memory_left;
            self.elements_left = payload.elements_left;
            if known? && payload.remaining() > 0 {
                return Err(DecodeError::TaggedFieldSize(tag));
            }
        }
        Ok(())
    }
}

/// Piece of an encoded message: bytes in memory, or record data that is sent from its file.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Bytes(Bytes),
    File(FileRange),
}

impl Part {
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(range) => range.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Encoder of a message.
#[derive(Debug)]
pub struct Writer {
    parts: Vec<Part>,
    /// Total length of `parts`, in bytes; `parts_memory` counts only those parts that are in memory.
    parts_len: usize,
    parts_memory: usize,
    tail: BytesMut,
    leaves_out_newer_fields: bool,
    memory_max: usize,
    elements: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            parts_len: 0,
            parts_memory: 0,
            tail: BytesMut::new(),
            leaves_out_newer_fields: false,
            memory_max: usize::MAX,
            elements: 0,
        }
    }
}

impl Writer {
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            tail: BytesMut::with_capacity(capacity),
            ..Self::default()
        }
    }

    /// A writer for a response. Fields that do not exist in the client's version are left out, whatever their values, and the
    /// response may be at most `ANSWER_MEMORY_MAX` bytes in memory.
    pub fn for_answer(capacity: usize) -> Self {
        Self {
            leaves_out_newer_fields: true,
            memory_max: ANSWER_MEMORY_MAX,
            ..Self::with_capacity(capacity)
        }
    }

    /// A writer for the payload of a tagged field in this writer's message, with the same memory limit.
    pub fn for_tagged_field(&self) -> Self {
        Self {
            memory_max: self.memory_max,
            ..Self::default()
        }
    }

    pub fn leaves_out_newer_fields(&self) -> bool {
        self.leaves_out_newer_fields
    }

    /// Number of bytes written so far, including record data.
    pub fn len(&self) -> usize {
        self.parts_len + self.tail.len()
    }

    /// Counts a written element. Errors: `TooLarge` as soon as the message exceeds its limit, so that encoding ends early.
    fn count_element(&mut self) -> Result<(), EncodeError> {
        self.elements += 1;
        if self.elements.is_multiple_of(ELEMENTS_PER_CHECKPOINT) {
            checkpoint();
        }
        self.check_size()
    }

    /// Errors: `TooLarge` if the message is larger than this writer's memory limit or than `ANSWER_BYTES_MAX`.
    pub fn check_size(&self) -> Result<(), EncodeError> {
        if self.parts_memory + self.tail.len() > self.memory_max {
            return Err(EncodeError::TooLarge(self.memory_max));
        }
        if self.len() > ANSWER_BYTES_MAX {
            return Err(EncodeError::TooLarge(ANSWER_BYTES_MAX));
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoded message, as parts in order.
    pub fn into_parts(mut self) -> Vec<Part> {
        if !self.tail.is_empty() {
            self.parts.push(Part::Bytes(self.tail.freeze()));
        }
        self.parts
    }

    /// The encoded message without its file ranges, for messages that have none.
    pub fn into_bytes(self) -> Bytes {
        if self.parts.is_empty() {
            return self.tail.freeze();
        }
        let mut all = BytesMut::with_capacity(self.len());
        for part in self.into_parts() {
            if let Part::Bytes(bytes) = part {
                all.put(bytes);
            }
        }
        all.freeze()
    }

    pub fn put(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
    }

    pub fn u8(&mut self, value: u8) {
        self.tail.put_u8(value);
    }

    pub fn i16(&mut self, value: i16) {
        self.tail.put_i16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.tail.put_i32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.tail.put_i64(value);
    }

    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.tail.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(value as u8);
    }

    /// Appends `part` without copying it.
    fn splice(&mut self, part: Part) {
        let before = self.tail.split().freeze();
        for part in [Part::Bytes(before), part] {
            self.parts_len += part.len();
            if let Part::Bytes(bytes) = &part {
                self.parts_memory += bytes.len();
            }
            if !part.is_empty() {
                self.parts.push(part);
            }
        }
    }

    fn length(
        &mut self,
        length: Option<usize>,
        layout: Layout,
        wide: bool,
    ) -> Result<(), EncodeError> {
        if length.is_none() && !layout.nullable {
            return Err(EncodeError::UnexpectedNull {
                version: layout.version,
            });
        }
        let limit = if layout.flexible || wide {
            i32::MAX as usize
        } else {
            i16::MAX as usize
        };
        if let Some(length) = length.filter(|length| *length > limit) {
            return Err(EncodeError::TooLong(length));
        }
        match (layout.flexible, wide) {
            (true, _) => self.unsigned_varint(length.map_or(0, |length| length as u32 + 1)),
            (false, true) => self.i32(length.map_or(-1, |length| length as i32)),
            (false, false) => self.i16(length.map_or(-1, |length| length as i16)),
        }
        Ok(())
    }

    /// Writes a section of tagged fields. `fields` are already encoded and may come in any order.
    pub fn tagged_section(&mut self, mut fields: Vec<(u32, Bytes)>) {
        fields.sort_unstable_by_key(|(tag, _)| *tag);
        self.unsigned_varint(fields.len() as u32);
        for (tag, payload) in fields {
            self.unsigned_varint(tag);
            self.unsigned_varint(payload.len() as u32);
            self.put(&payload);
        }
    }
}

/// The protocol's `records` type: record batches inside a message. Decoded records are bytes; responses of the broker hold file
/// ranges.
#[derive(Clone, Debug, PartialEq)]
pub enum Records {
    Bytes(Bytes),
    File(FileRange),
}

impl Default for Records {
    fn default() -> Self {
        Self::Bytes(Bytes::new())
    }
}

impl Records {
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(range) => range.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of decoded records; empty for a file range.
    pub fn bytes(&self) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::File(_) => Bytes::new(),
        }
    }
}

macro_rules! number {
    ($($ty:ty),*) => {$(
        impl Field for $ty {
            fn decode(reader: &mut Reader, _: Layout) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(reader.array()?))
            }

            fn encode(&self, writer: &mut Writer, _: Layout) -> Result<(), EncodeError> {
                writer.put(&self.to_be_bytes());
                Ok(())
            }
        }
    )*};
}

number!(i8, i16, i32, i64, u16, u32, f64);

impl Field for bool {
    fn decode(reader: &mut Reader, _: Layout) -> Result<Self, DecodeError> {
        Ok(reader.u8()? != 0)
    }

    fn encode(&self, writer: &mut Writer, _: Layout) -> Result<(), EncodeError> {
        writer.u8(u8::from(*self));
        Ok(())
    }
}

impl Field for Uuid {
    fn decode(reader: &mut Reader, _: Layout) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }

    fn encode(&self, writer: &mut Writer, _: Layout) -> Result<(), EncodeError> {
        writer.put(&self.0);
        Ok(())
    }
}

/// A type that is preceded by its length, where -1 is null; the type encodes and decodes itself as an `Option`.
trait Lengthed: Sized {
    fn decode_option(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError>;
    fn encode_option(
        this: Option<&Self>,
        writer: &mut Writer,
        layout: Layout,
    ) -> Result<(), EncodeError>;
}

macro_rules! lengthed {
    ($({$($generics:tt)*})? $ty:ty) => {
        impl $(<$($generics)*>)? Field for $ty {
            fn decode(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError> {
                <$ty>::decode_option(reader, layout)?
                    .ok_or(DecodeError::UnexpectedNull { version: layout.version })
            }

            fn encode(&self, writer: &mut Writer, layout: Layout) -> Result<(), EncodeError> {
                <$ty>::encode_option(Some(self), writer, layout)
            }
        }

        impl $(<$($generics)*>)? Field for Option<$ty> {
            fn decode(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError> {
                let value = <$ty>::decode_option(reader, layout)?;
                if value.is_none() && !layout.nullable {
                    return Err(DecodeError::UnexpectedNull { version: layout.version });
                }
                Ok(value)
            }

            fn encode(&self, writer: &mut Writer, layout: Layout) -> Result<(), EncodeError> {
                <$ty>::encode_option(self.as_ref(), writer, layout)
            }
        }
    };
}

lengthed!(ByteString);
lengthed!(Bytes);
lengthed!(Records);
lengthed!({T: Field} Vec<T>);

impl Lengthed for ByteString {
    fn decode_option(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError> {
        let Some(length) = reader.length(layout.flexible, false)? else {
            return Ok(None);
        };
        let bytes = reader.take(length)?;
        Self::try_from(bytes)
            .map(Some)
            .map_err(|_| DecodeError::NotUtf8)
    }

    fn encode_option(
        this: Option<&Self>,
        writer: &mut Writer,
        layout: Layout,
    ) -> Result<(), EncodeError> {
        writer.length(this.map(|text| text.len()), layout, false)?;
        if let Some(text) = this {
            writer.put(text.as_bytes());
        }
        Ok(())
    }
}

impl Lengthed for Bytes {
    fn decode_option(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError> {
        let Some(length) = reader.length(layout.flexible, true)? else {
            return Ok(None);
        };
        reader.take(length).map(Some)
    }

    fn encode_option(
        this: Option<&Self>,
        writer: &mut Writer,
        layout: Layout,
    ) -> Result<(), EncodeError> {
        writer.length(this.map(Self::len), layout, true)?;
        if let Some(bytes) = this {
            writer.put(bytes);
        }
        Ok(())
    }
}

impl Lengthed for Records {
    fn decode_option(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError> {
        Ok(Bytes::decode_option(reader, layout)?.map(Self::Bytes))
    }

    fn encode_option(
        this: Option<&Self>,
        writer: &mut Writer,
        layout: Layout,
    ) -> Result<(), EncodeError> {
        writer.length(this.map(Self::len), layout, true)?;
        match this {
            Some(Self::Bytes(bytes)) if bytes.len() <= COPIED_RECORDS_MAX => writer.put(bytes),
            Some(Self::Bytes(bytes)) => writer.splice(Part::Bytes(bytes.clone())),
            Some(Self::File(range)) => writer.splice(Part::File(range.clone())),
            None => {}
        }
        Ok(())
    }
}

impl<T: Field> Lengthed for Vec<T> {
    fn decode_option(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError> {
        let Some(count) = reader.length(layout.flexible, true)? else {
            return Ok(None);
        };
        // Every element takes at least one byte: even an empty struct of a flexible version has its section of tagged fields.
        if count > reader.remaining() {
            return Err(DecodeError::Short {
                needed: count,
                remaining: reader.remaining(),
            });
        }
        let mut elements = Self::with_capacity(count.min(PREALLOCATED_ELEMENTS_MAX));
        for _ in 0..count {
            reader.charge(size_of::<T>())?;
            elements.push(T::decode(reader, layout.nullable(false))?);
        }
        Ok(Some(elements))
    }

    fn encode_option(
        this: Option<&Self>,
        writer: &mut Writer,
        layout: Layout,
    ) -> Result<(), EncodeError> {
        writer.length(this.map(Self::len), layout, true)?;
        for element in this.into_iter().flatten() {
            element.encode(writer, layout.nullable(false))?;
            writer.count_element()?;
        }
        Ok(())
    }
}

/// Decodes a nullable struct, for `message!`. A marker precedes the struct in the versions where it may be null: a byte that is
/// -1 for null, or in a tagged section a varint that is 0 for null.
pub fn decode_nullable_struct<T: Field>(
    reader: &mut Reader,
    layout: Layout,
) -> Result<Option<T>, DecodeError> {
    let is_null = match layout {
        Layout {
            nullable: false, ..
        } => false,
        Layout { tagged: true, .. } => reader.unsigned_varint()? == 0,
        _ => reader.u8()? as i8 == -1,
    };
    if is_null {
        return Ok(None);
    }
    T::decode(reader, layout.nullable(false)).map(Some)
}

/// Encodes a nullable struct, for `message!`. See [`decode_nullable_struct`].
pub fn encode_nullable_struct<T: Field>(
    value: Option<&T>,
    writer: &mut Writer,
    layout: Layout,
) -> Result<(), EncodeError> {
    match value {
        Some(value) => {
            if layout.nullable {
                // A varint of 1 is the same byte.
                writer.u8(1);
            }
            value.encode(writer, layout.nullable(false))
        }
        None if layout.nullable => {
            writer.u8(if layout.tagged { 0 } else { 0xff });
            Ok(())
        }
        None => Err(EncodeError::UnexpectedNull {
            version: layout.version,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::*;

    fn decode<T: Field>(bytes: &[u8], elements: usize) -> (Result<T, DecodeError>, Reader) {
        let mut reader = Reader::with_elements(Bytes::copy_from_slice(bytes), elements);
        let decoded = T::decode(&mut reader, Layout::new(0, true));
        (decoded, reader)
    }

    #[test]
    fn elements_and_tagged_fields_are_counted_over_all_arrays() {
        let nested = [3, 3, 1, 2, 3, 1, 2];
        let (decoded, reader) = decode::<Vec<Vec<i8>>>(&nested, 6);
        assert_eq!(decoded, Ok(vec![vec![1, 2], vec![1, 2]]));
        assert!(!reader.has_elements_left());
        let (decoded, reader) = decode::<Vec<Vec<i8>>>(&nested, 5);
        assert_eq!(decoded, Err(DecodeError::TooManyElements));
        assert!(!reader.has_elements_left());
        let tags = [2, 0, 0, 1, 0];
        for (elements, expected) in [(2, Ok(())), (1, Err(DecodeError::TooManyElements))] {
            let mut reader = Reader::with_elements(Bytes::copy_from_slice(&tags), elements);
            assert_eq!(reader.tagged_section(|_, _| Ok(false)), expected);
        }
    }

    #[test]
    fn an_answer_that_becomes_too_large_is_not_written_to_its_end() {
        let layout = Layout::new(0, false);
        let mut writer = Writer {
            memory_max: 1_000,
            ..Writer::for_answer(0)
        };
        let part = Bytes::from_static(&[7; 300]);
        let parts = vec![part.clone(); 1_000_000];
        let written = parts.encode(&mut writer, layout);
        assert_eq!(written, Err(EncodeError::TooLarge(1_000)));
        assert!(writer.len() < 2_000);
        // The writer of a tagged field has the same limit as the writer of its message.
        let mut field = writer.for_tagged_field();
        let written = parts.encode(&mut field, layout);
        assert_eq!(written, Err(EncodeError::TooLarge(1_000)));
    }

    #[test]
    fn records_in_files_count_for_the_length_of_an_answer_only() {
        let records = Records::File(FileRange {
            file: Arc::new(File::open(env!("CARGO_MANIFEST_DIR")).unwrap().into()),
            position: 0,
            len: 1 << 30,
        });
        let mut writer = Writer::for_answer(0);
        for (count, expected) in [
            (1, Ok(())),
            (2, Err(EncodeError::TooLarge(ANSWER_BYTES_MAX))),
        ] {
            records.encode(&mut writer, Layout::new(0, false)).unwrap();
            assert_eq!(writer.check_size(), expected, "{count} GiB");
        }
    }
}
