//! pure: validation of batches before an append, and the changes that a batch needs. Kafka's `LogValidator`.

use std::cell::RefCell;
use std::io::{self, Read, Write as _};

use bytes::{Bytes, BytesMut};

use super::error::{AppendError, RecordError, RecordFault};
use super::producer_state::{Admission, Marker, MarkerRules};
use super::settings::LogSettings;
use crate::base::time::Timestamp;
use crate::base::work_pool::spend;
use crate::wire::batch::BatchError;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::compression::{Compression, Packer};
use crate::wire::batch::header::{
    self, BatchHeader, HEADER_SIZE, LOG_OVERHEAD, MAGIC_END, MAGIC_V2,
};
use crate::wire::batch::legacy;
use crate::wire::batch::record::read_raw;
use crate::wire::batch::record_stream::{RecordStream, StreamFault, Window};
use crate::wire::error_code::ErrorCode;

/// Maximum size of the decompressed records of one batch, as a protection against decompression bombs.
pub const DECOMPRESSED_MAX: usize = 512 << 20;
/// Maximum size of the batch that is made of an old producer's messages. A legitimate producer stays below this: its plain
/// messages fit in one request.
const CONVERTED_MAX: usize = 100 << 20;
/// Length of the smallest message: in the oldest format, without key and value.
const LENGTH_MIN: i32 = 14;
/// Length of the largest message: with its offset and length, its size is the maximum of an i32.
const LENGTH_MAX: i32 = i32::MAX - LOG_OVERHEAD as i32;
/// Maximum number of refused records of one batch that are kept. A batch may have millions of them.
const FAULTS_MAX: usize = 10_000;
/// Cost of each record, in addition to its bytes.
const RECORD_COST: usize = 16;
/// Cost of each byte that is compressed again. Compression takes about ten times as long as decompression.
const PACKING_COST: usize = 8;
/// Number of records after which their common cost is counted.
const RECORDS_AT_ONCE: i32 = 1_024;

/// Origin of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A producer; the batch is fully validated.
    Client,
    /// A producer whose batch opens a transaction in the partition; the transaction coordinator was asked about it.
    Admitted(Admission),
    /// A producer that may send message sets (Produce before version 3), which are converted to a batch.
    OldClient,
    /// A coordinator or the controller of this process; only sizes are checked.
    Internal,
    /// A coordinator of this process that writes a transaction marker.
    Marker(MarkerRules),
}

/// A validated batch.
#[derive(Clone, Debug)]
pub struct Valid {
    pub header: BatchHeader,
    /// Bytes of the batch, changed as the topic's settings require.
    pub bytes: Bytes,
    /// Time that the broker gave the records, if it did (LogAppendTime).
    pub log_append_time: Option<Timestamp>,
    /// Set for a transaction marker.
    pub marker: Option<Marker>,
}

/// Validates the records of one partition in a Produce request: exactly one batch of format v2.
pub fn validate_client(
    records: &Bytes,
    settings: &LogSettings,
    now: Timestamp,
) -> Result<Valid, AppendError> {
    let header = match records.get(MAGIC_END - 1) {
        Some(&magic) if magic as i8 == MAGIC_V2 && records.len() >= HEADER_SIZE => {
            BatchHeader::parse(records).map_err(corrupt)?
        }
        Some(&magic) if !(0..=MAGIC_V2).contains(&(magic as i8)) => {
            return Err(corrupt(BatchError::Magic(magic as i8)));
        }
        Some(&magic) if magic as i8 == MAGIC_V2 => return Err(no_batch()),
        Some(_) => return Err(invalid("message formats before v2 need an older request")),
        None => return Err(no_batch()),
    };
    if header.size() > records.len() {
        return Err(no_batch());
    }
    let alone;
    let records = match records.get(header.size()..) {
        Some([]) | None => records,
        Some(rest) => {
            if whole_size(rest)?.is_some() {
                return Err(no_batch());
            }
            alone = records.slice(..header.size());
            &alone
        }
    };
    if header.base_offset != 0 {
        return Err(invalid(format!(
            "the base offset of a new batch is {} instead of 0",
            header.base_offset
        )));
    }
    check_len(records.len(), settings)?;
    header.verify(records).map_err(corrupt)?;
    validate_records(header, records, settings, now)
}

/// Size of the batch or message at the start of `bytes`; `None` if it is cut off. Kafka ignores a batch that is cut off after a
/// complete one.
fn whole_size(bytes: &[u8]) -> Result<Option<usize>, AppendError> {
    let Some(length) = bytes
        .get(LOG_OVERHEAD - 4..)
        .and_then(|rest| rest.first_chunk())
    else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*length);
    if !(LENGTH_MIN..=LENGTH_MAX).contains(&length) {
        return Err(corrupt(BatchError::Size(length)));
    }
    match bytes.get(MAGIC_END - 1).map(|magic| *magic as i8) {
        None => return Ok(None),
        Some(magic) if !(0..=MAGIC_V2).contains(&magic) => {
            return Err(corrupt(BatchError::Magic(magic)));
        }
        Some(_) => {}
    }
    let size = LOG_OVERHEAD + length as usize;
    Ok((size <= bytes.len()).then_some(size))
}

fn check_len(len: usize, settings: &LogSettings) -> Result<(), AppendError> {
    if len <= settings.max_message_bytes as usize {
        return Ok(());
    }
    Err(AppendError::refused(
        ErrorCode::MessageTooLarge,
        format!(
            "a batch of {len} bytes is larger than the {} allowed",
            settings.max_message_bytes
        ),
    ))
}

/// Validates the records of a producer of any version. A message set of format v0 or v1 is converted to one batch of format v2,
/// with the compression of the topic or of the producer.
pub fn validate_old_client(
    records: &Bytes,
    settings: &LogSettings,
    now: Timestamp,
) -> Result<Valid, AppendError> {
    if records
        .get(MAGIC_END - 1)
        .is_none_or(|magic| *magic as i8 >= MAGIC_V2)
    {
        return validate_client(records, settings, now);
    }
    // The last message determines the compression.
    spend(records.len())?;
    let mut codec = Compression::None;
    let mut rest = &records[..];
    if whole_size(rest)?.is_none() {
        return Err(no_batch());
    }
    while whole_size(rest)?.is_some() {
        let message = legacy::read_message(&mut rest).map_err(corrupt)?;
        if message.compression != Compression::None {
            codec = message.compression;
        }
    }
    let whole = &records[..records.len() - rest.len()];
    let target = settings.compression.unwrap_or(codec);
    target.with_room_to_compress(settings.compression_levels, || {
        let mut conversion = Conversion::new(target, settings, now)?;
        let mut rest = whole;
        while !rest.is_empty() {
            let message = legacy::read_message(&mut rest).map_err(corrupt)?;
            message.each_in_turn(CONVERTED_MAX, |record| conversion.push(&record))?;
        }
        conversion.end()
    })
}

/// Conversion of an old producer's messages to a batch, which is compressed incrementally.
struct Conversion<'a> {
    batch: BatchBuilder,
    packer: Packer,
    target: Compression,
    settings: &'a LogSettings,
    check: Check<'a>,
    plain_len: usize,
    claims_append_time: bool,
}

impl<'a> Conversion<'a> {
    fn new(
        target: Compression,
        settings: &'a LogSettings,
        now: Timestamp,
    ) -> Result<Self, AppendError> {
        let packer = Packer::new(target, settings.compression_levels);
        Ok(Self {
            batch: BatchBuilder::default(),
            packer: packer.map_err(codec_failed)?,
            target,
            settings,
            check: Check::new(settings, now),
            plain_len: 0,
            claims_append_time: false,
        })
    }

    fn push(&mut self, record: &legacy::Message<'_>) -> Result<(), AppendError> {
        let index = self.batch.count();
        self.check
            .record(index, index, record.timestamp, record.key.is_some())?;
        self.claims_append_time |= record.log_append_time;
        self.batch.push(record.timestamp, record.key, record.value);
        let len = self.batch.size() - HEADER_SIZE;
        self.plain_len += len;
        if self.plain_len > CONVERTED_MAX {
            return Err(corrupt(BatchError::DecompressedTooLarge(CONVERTED_MAX)));
        }
        spend(packing_cost(self.target, len))?;
        self.batch.spill(&mut self.packer).map_err(codec_failed)?;
        check_len(HEADER_SIZE + self.packer.packed_len(), self.settings)
    }

    fn end(self) -> Result<Valid, AppendError> {
        if self.claims_append_time && !self.settings.log_append_time {
            return Err(AppendError::refused(
                ErrorCode::InvalidTimestamp,
                "a client may not say that the broker set its timestamps",
            ));
        }
        if self.batch.is_empty() {
            return Err(invalid("a message set without messages"));
        }
        let now = self.check.now;
        self.check.end()?;
        let body = self.packer.finish().map_err(codec_failed)?;
        let bytes = BytesMut::from(&self.batch.build_around(self.target, &body)[..]);
        packed(bytes, self.settings, now)
    }
}

/// Checks the size of the batch that the broker compressed, which may be too large now.
fn packed(
    mut bytes: BytesMut,
    settings: &LogSettings,
    now: Timestamp,
) -> Result<Valid, AppendError> {
    check_len(bytes.len(), settings)?;
    if settings.log_append_time {
        header::stamp_append_time(&mut bytes, now);
    }
    let bytes = bytes.freeze();
    Ok(Valid {
        header: BatchHeader::parse(&bytes).map_err(corrupt)?,
        bytes,
        log_append_time: settings.log_append_time.then_some(now),
        marker: None,
    })
}

fn packing_cost(target: Compression, len: usize) -> usize {
    match target {
        Compression::None => len,
        _ => len * PACKING_COST,
    }
}

fn validate_records(
    header: BatchHeader,
    records: &Bytes,
    settings: &LogSettings,
    now: Timestamp,
) -> Result<Valid, AppendError> {
    if header.record_count <= 0
        || i64::from(header.last_offset_delta) + 1 != i64::from(header.record_count)
    {
        return Err(invalid(format!(
            "{} records cannot have a last offset delta of {}",
            header.record_count, header.last_offset_delta
        )));
    }
    if header.is_control() {
        return Err(invalid("clients may not write control batches"));
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return Err(invalid(format!(
            "sequence {} is negative although there is a producer id",
            header.base_sequence
        )));
    }
    if header.is_transactional() && !header.has_producer_id() {
        return Err(invalid("a transactional batch needs a producer id"));
    }
    let codec = header
        .compression()
        .map_err(|error| invalid(error.to_string()))?;
    let body = records.get(HEADER_SIZE..).unwrap_or_default();
    let target = settings.compression.unwrap_or(codec);
    if target != codec {
        return target.with_room_to_compress(settings.compression_levels, || {
            repack(&header, codec, records, target, settings, now)
        });
    }
    let newest = if codec == Compression::None {
        walk_plain(&header, body, settings, now)?
    } else {
        codec.unpack(body, DECOMPRESSED_MAX, |plain| {
            walk(&header, plain, settings, now)
        })?
    };
    if settings.log_append_time {
        let mut bytes = BytesMut::from(&records[..]);
        header::stamp_append_time(&mut bytes, now);
        let bytes = bytes.freeze();
        let header = BatchHeader::parse(&bytes).map_err(corrupt)?;
        return Ok(Valid {
            header,
            bytes,
            log_append_time: Some(now),
            marker: None,
        });
    }
    // A producer cannot know the broker's time; if its header claims to use that time, the header is used.
    let newest = if header.is_log_append_time() {
        header.max_timestamp
    } else {
        newest
    };
    if header.max_timestamp != newest || header.is_log_append_time() {
        // Kafka uses the timestamps of the records, not that of the header, and corrects the header.
        let mut bytes = BytesMut::from(&records[..]);
        header::set_max_timestamp(&mut bytes, newest);
        let bytes = bytes.freeze();
        let header = BatchHeader::parse(&bytes).map_err(corrupt)?;
        return Ok(Valid {
            header,
            bytes,
            log_append_time: None,
            marker: None,
        });
    }
    Ok(Valid {
        header,
        bytes: records.clone(),
        log_append_time: None,
        marker: None,
    })
}

/// Validates every record of an uncompressed batch in one pass; returns the latest timestamp.
fn walk_plain(
    header: &BatchHeader,
    body: &[u8],
    settings: &LogSettings,
    now: Timestamp,
) -> Result<Timestamp, AppendError> {
    let mut rest = body;
    let mut check = Check::new(settings, now);
    for index in 0..header.record_count {
        let raw = read_raw(&mut rest).map_err(|what| invalid(format!("record {index}: {what}")))?;
        check.record(
            index,
            raw.offset_delta,
            header.base_timestamp.saturating_add(raw.timestamp_delta),
            raw.key.is_some(),
        )?;
    }
    if !rest.is_empty() {
        return Err(invalid(format!(
            "{} bytes after the last record",
            rest.len()
        )));
    }
    check.end()
}

/// Validates every record of a compressed batch; only a window of the decompressed records is in memory.
fn walk(
    header: &BatchHeader,
    plain: impl Read,
    settings: &LogSettings,
    now: Timestamp,
) -> Result<Timestamp, AppendError> {
    let is_compressed = header.compression() != Ok(Compression::None);
    let mut check = Check::new(settings, now);
    WINDOW.with_borrow_mut(|window| {
        let mut stream = RecordStream::new(plain, window);
        for index in 0..header.record_count {
            let record = stream.outline().map_err(|fault| match fault {
                StreamFault::Record(what) => invalid(format!("record {index}: {what}")),
                StreamFault::Codec(error) => codec_failed(error),
            })?;
            if is_compressed && record.len > settings.max_decompressed_message_bytes as usize {
                return Err(invalid(format!(
                    "record {index} has {} bytes when decompressed, where {} are allowed",
                    record.len, settings.max_decompressed_message_bytes
                )));
            }
            check.record(
                index,
                record.offset_delta,
                header.base_timestamp.saturating_add(record.timestamp_delta),
                record.has_key,
            )?;
        }
        match stream.is_at_end() {
            Ok(true) => check.end(),
            Ok(false) => Err(invalid("bytes after the last record")),
            Err(error) => Err(codec_failed(error)),
        }
    })
}

thread_local! {
    /// A new window for each batch would cost more in page faults than the decompression.
    static WINDOW: RefCell<Window> = RefCell::new(Window::default());
}

/// Kafka's requirements on each record of a batch, and what is learnt from the records.
struct Check<'a> {
    settings: &'a LogSettings,
    now: Timestamp,
    newest: Timestamp,
    faults: Vec<RecordError>,
    fault_code: ErrorCode,
}

impl<'a> Check<'a> {
    fn new(settings: &'a LogSettings, now: Timestamp) -> Self {
        Self {
            settings,
            now,
            newest: -1,
            faults: Vec::new(),
            fault_code: ErrorCode::InvalidRecord,
        }
    }

    fn record(
        &mut self,
        index: i32,
        offset_delta: i32,
        timestamp: Timestamp,
        has_key: bool,
    ) -> Result<(), AppendError> {
        if index % RECORDS_AT_ONCE == 0 {
            spend(RECORDS_AT_ONCE as usize * RECORD_COST)?;
        }
        if offset_delta != index {
            return Err(invalid(format!(
                "record {index} has an offset delta of {offset_delta}"
            )));
        }
        if self.settings.cleanup_compact && !has_key {
            self.fault(index, RecordFault::NoKey);
        }
        let now = self.now;
        self.newest = self.newest.max(timestamp);
        if !self.settings.log_append_time
            && timestamp != -1
            && !self.settings.accepts_timestamp(timestamp, now)
        {
            self.fault_code = ErrorCode::InvalidTimestamp;
            self.fault(index, RecordFault::Time { timestamp, now });
        }
        Ok(())
    }

    fn fault(&mut self, batch_index: i32, fault: RecordFault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(RecordError { batch_index, fault });
        }
    }

    /// The latest timestamp, or the errors of the records.
    fn end(self) -> Result<Timestamp, AppendError> {
        if self.faults.is_empty() {
            return Ok(self.newest);
        }
        Err(AppendError::Refused {
            code: self.fault_code,
            message: "one or more records have been rejected".to_owned(),
            records: self.faults,
        })
    }
}

/// Compresses the same records with the compression of the topic. Records are validated and compressed in the same pass, through
/// the same window.
fn repack(
    header: &BatchHeader,
    codec: Compression,
    records: &[u8],
    target: Compression,
    settings: &LogSettings,
    now: Timestamp,
) -> Result<Valid, AppendError> {
    let (head, body) = records.split_first_chunk().ok_or_else(no_batch)?;
    let packer = Packer::new(target, settings.compression_levels);
    let mut packer = packer.map_err(codec_failed)?;
    let newest = codec.unpack(body, DECOMPRESSED_MAX, |plain| {
        let repacked = Repacked {
            plain,
            packer: &mut packer,
            target,
            settings,
        };
        walk(header, repacked, settings, now)
    })?;
    let newest = if header.is_log_append_time() {
        header.max_timestamp
    } else {
        newest
    };
    let body = packer.finish().map_err(codec_failed)?;
    packed(header::repacked(head, target, newest, &body), settings, now)
}

/// Reader that compresses everything that is read through it.
struct Repacked<'a, R> {
    plain: R,
    packer: &'a mut Packer,
    target: Compression,
    settings: &'a LogSettings,
}

impl<R: Read> Read for Repacked<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.plain.read(out)?;
        let through = |error: AppendError| io::Error::other(error);
        spend(packing_cost(self.target, len)).map_err(|exhausted| through(exhausted.into()))?;
        self.packer.write_all(out.get(..len).unwrap_or_default())?;
        // A batch that is already too large does not have to be finished.
        check_len(HEADER_SIZE + self.packer.packed_len(), self.settings).map_err(through)?;
        Ok(len)
    }
}

/// Validates a batch of this process: records of a coordinator, or a transaction marker.
pub fn validate_internal(records: &Bytes) -> Result<Valid, AppendError> {
    let header = BatchHeader::parse(records).map_err(corrupt)?;
    if header.size() != records.len() {
        return Err(corrupt(BatchError::Short(records.len())));
    }
    let marker = transaction_marker(&header, records);
    Ok(Valid {
        header,
        bytes: records.clone(),
        log_append_time: None,
        marker,
    })
}

/// Validates a batch with final offsets and leader epoch: from a leader, or from the original of a copy. Returns its header, and
/// its transaction marker if it has one.
pub fn validate_copied(batch: &[u8]) -> Result<(BatchHeader, Option<Marker>), AppendError> {
    let header = BatchHeader::parse(batch).map_err(corrupt)?;
    header.verify(batch).map_err(corrupt)?;
    let marker = transaction_marker(&header, batch);
    Ok((header, marker))
}

/// Type of the control record at the end of a metadata snapshot (KIP-630).
pub const SNAPSHOT_FOOTER: u8 = 4;

/// Type of a complete control batch; `None` for any other batch.
pub fn control_kind(batch: &[u8]) -> Option<u8> {
    BatchHeader::parse(batch)
        .ok()
        .filter(BatchHeader::is_control)?;
    let record = read_raw(&mut batch.get(HEADER_SIZE..)?).ok()?;
    match record.key?.get(2..4)? {
        [0, kind] => Some(*kind),
        _ => None,
    }
}

/// The transaction marker in a control batch; `None` for any other batch.
pub fn transaction_marker(header: &BatchHeader, batch: &[u8]) -> Option<Marker> {
    if !header.is_control() || !header.has_producer_id() {
        return None;
    }
    let mut rest = batch.get(HEADER_SIZE..)?;
    let record = read_raw(&mut rest).ok()?;
    // Key: version i16, type i16 (0 abort, 1 commit). Value: version i16, coordinator epoch i32.
    let kind = record.key?.get(2..4)?;
    let epoch: [u8; 4] = record.value?.get(2..6)?.try_into().ok()?;
    match kind {
        [0, 0] => Some(Marker {
            committed: false,
            coordinator_epoch: i32::from_be_bytes(epoch),
        }),
        [0, 1] => Some(Marker {
            committed: true,
            coordinator_epoch: i32::from_be_bytes(epoch),
        }),
        _ => None,
    }
}

/// Error for records without a complete batch: a batch that is cut off counts as none, as at the end of a log.
fn no_batch() -> AppendError {
    invalid("a produce request must have exactly one record batch")
}

fn invalid(message: impl Into<String>) -> AppendError {
    AppendError::refused(ErrorCode::InvalidRecord, message)
}

fn corrupt(error: BatchError) -> AppendError {
    let code = match error {
        BatchError::Exhausted(exhausted) => return exhausted.into(),
        BatchError::DecompressedTooLarge(_) => ErrorCode::MessageTooLarge,
        _ => ErrorCode::CorruptMessage,
    };
    AppendError::refused(code, error.to_string())
}

impl From<BatchError> for AppendError {
    fn from(error: BatchError) -> Self {
        corrupt(error)
    }
}

/// Error of decompression, or of the reader after it.
fn codec_failed(error: io::Error) -> AppendError {
    error
        .downcast()
        .unwrap_or_else(|error| corrupt(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::work_pool::with_allowance;
    use crate::wire::batch::record;

    fn batch(edit: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut builder = BatchBuilder::default();
        builder.push(1_000, Some(b"k"), Some(b"v"));
        builder.push(2_000, None, Some(b"w"));
        let mut bytes = BytesMut::from(&builder.build()[..]);
        edit(&mut bytes);
        bytes.freeze()
    }

    fn check(settings: &LogSettings, edit: impl FnOnce(&mut BytesMut), expected: &str) {
        let outcome = match validate_client(&batch(edit), settings, 3_000) {
            Ok(valid) => format!("ok max={}", valid.header.max_timestamp),
            Err(AppendError::Refused { code, records, .. }) => {
                let indexes: Vec<_> = records.iter().map(|record| record.batch_index).collect();
                format!("{code} {indexes:?}")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(outcome, expected);
    }

    #[test]
    fn each_fault_has_kafkas_error() {
        let plain = LogSettings::default();
        let compacted = LogSettings {
            cleanup_compact: true,
            ..plain.clone()
        };
        let strict = LogSettings {
            timestamp_before_max_ms: 1_500,
            ..plain.clone()
        };
        let small = LogSettings {
            max_message_bytes: 70,
            ..plain.clone()
        };
        let stamped = LogSettings {
            log_append_time: true,
            ..plain.clone()
        };
        let sealed = |at: usize, value: u8| {
            move |bytes: &mut BytesMut| {
                bytes[at] = value;
                header::seal(bytes);
            }
        };
        check(&plain, |_| {}, "ok max=2000");
        check(&stamped, |_| {}, "ok max=3000");
        check(&compacted, |_| {}, "INVALID_RECORD [1]");
        check(&strict, |_| {}, "INVALID_TIMESTAMP [0]");
        check(&small, |_| {}, "MESSAGE_TOO_LARGE []");
        check(&plain, |bytes| bytes[70] ^= 1, "CORRUPT_MESSAGE []");
        check(&plain, |bytes| bytes[7] = 1, "INVALID_RECORD []");
        check(&plain, sealed(60, 3), "INVALID_RECORD []");
        check(&plain, sealed(26, 2), "INVALID_RECORD []");
        check(&plain, sealed(22, 0x20), "INVALID_RECORD []");
        check(&plain, sealed(22, 0x08), "ok max=2000");
        check(&plain, |bytes| bytes.truncate(75), "INVALID_RECORD []");
        check(&plain, |bytes| bytes.truncate(10), "INVALID_RECORD []");
        check(
            &plain,
            |bytes| bytes.extend_from_slice(&batch(|_| {})),
            "INVALID_RECORD []",
        );
        check(&plain, sealed(42, 0), "ok max=2000");
        let dated = |time: i64| {
            move |bytes: &mut BytesMut| {
                let mut builder = BatchBuilder::default();
                builder.push(time, None, Some(b"v"));
                *bytes = BytesMut::from(&builder.build()[..]);
            }
        };
        check(&plain, dated(i64::MIN), "INVALID_TIMESTAMP [0]");
        check(&plain, dated(i64::MAX), "INVALID_TIMESTAMP [0]");
        check(&plain, dated(-2), "ok max=-1");
    }

    /// A client may have filled a buffer to its end: Kafka takes what is whole.
    #[test]
    fn a_cut_batch_behind_a_whole_one_is_passed_over() {
        let plain = LogSettings::default();
        let whole = batch(|_| {});
        let followed = |rest: &[u8]| {
            let rest = rest.to_vec();
            move |bytes: &mut BytesMut| bytes.extend_from_slice(&rest)
        };
        let of_length = |length: i32| {
            let mut rest = whole[..30].to_vec();
            rest[8..12].copy_from_slice(&length.to_be_bytes());
            rest
        };
        for cut in [1, 11, 12, 16, 17, whole.len() - 1] {
            check(&plain, followed(&whole[..cut]), "ok max=2000");
        }
        check(&plain, followed(&of_length(LENGTH_MAX)), "ok max=2000");
        check(&plain, followed(&of_length(i32::MAX)), "CORRUPT_MESSAGE []");
        check(&plain, followed(&[0; 12]), "CORRUPT_MESSAGE []");
        check(&plain, followed(&of_length(-1)), "CORRUPT_MESSAGE []");
        check(&plain, followed(&of_length(13)), "CORRUPT_MESSAGE []");
        check(&plain, followed(&of_length(14)), "INVALID_RECORD []");
        let mut strange = whole[..30].to_vec();
        strange[16] = 9;
        check(&plain, followed(&strange), "CORRUPT_MESSAGE []");
        let bytes = batch(followed(&whole[..20]));
        let valid = validate_client(&bytes, &plain, 3_000).unwrap();
        assert_eq!(valid.bytes, whole);
    }

    #[test]
    fn a_topic_with_its_own_codec_gets_it() {
        let settings = LogSettings {
            compression: Some(Compression::Zstd),
            ..LogSettings::default()
        };
        let valid = validate_client(&batch(|_| {}), &settings, 3_000).unwrap();
        assert_eq!(valid.header.compression().unwrap(), Compression::Zstd);
        let body = record::decompressed(&valid.header, &valid.bytes, 1_000).unwrap();
        assert_eq!(record::records(&valid.header, &body).flatten().count(), 2);
    }

    #[test]
    fn what_is_compressed_anew_says_the_same() {
        const ALL: [Compression; 5] = [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ];
        let large = vec![7; 200_000];
        for (from, to) in ALL.into_iter().flat_map(|from| ALL.map(|to| (from, to))) {
            let mut builder = BatchBuilder::new(from).producer(9, 2, 40).transactional();
            builder.push(1_000, Some(b"k"), Some(&large));
            let headers: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"1")), (b"h", None)];
            builder.push_with_headers(1, 900, None, None, headers.into_iter());
            builder.push(2_000, Some(b""), Some(b""));
            let sent = builder.build();
            let settings = LogSettings {
                compression: Some(to),
                ..LogSettings::default()
            };
            let valid = validate_client(&sent, &settings, 3_000).unwrap();
            let was = BatchHeader::parse(&sent).unwrap();
            let is = valid.header;
            is.verify(&valid.bytes).unwrap();
            assert_eq!((is.compression(), is.size()), (Ok(to), valid.bytes.len()));
            let told = |header: &BatchHeader| BatchHeader {
                length: 0,
                crc: 0,
                attributes: header.attributes & !7,
                ..*header
            };
            assert_eq!(told(&is), told(&was));
            let records = |header: &BatchHeader, batch: &Bytes| {
                let body = record::decompressed(header, batch, 1 << 20).unwrap();
                let all = record::records(header, &body).map(|record| format!("{record:?}"));
                all.collect::<Vec<_>>()
            };
            assert_eq!(records(&is, &valid.bytes), records(&was, &sent));
        }
    }

    /// As Apache Kafka 4.4.0 has it, measured byte for byte.
    #[test]
    fn a_record_has_its_own_limit_in_a_compressed_batch() {
        for (codec, value, expected) in [
            (Compression::Gzip, 993, ErrorCode::None),
            (Compression::Gzip, 994, ErrorCode::InvalidRecord),
            (Compression::Zstd, 300_000, ErrorCode::InvalidRecord),
            (Compression::None, 994, ErrorCode::None),
        ] {
            let mut builder = BatchBuilder::new(codec);
            builder.push(1_000, None, Some(b"short"));
            builder.push(1_000, None, Some(&vec![0; value]));
            let batch = builder.build();
            for compression in [None, Some(Compression::Lz4)] {
                let settings = LogSettings {
                    compression,
                    max_decompressed_message_bytes: 1_000,
                    ..LogSettings::default()
                };
                let outcome = validate_client(&batch, &settings, 3_000);
                let code = outcome.map_or_else(|error| error.code(), |_| ErrorCode::None);
                assert_eq!(code, expected, "{codec:?} {value}");
            }
        }
    }

    #[test]
    fn what_becomes_too_large_is_not_compressed_to_its_end() {
        let mut builder = BatchBuilder::new(Compression::Zstd);
        builder.push(1_000, None, Some(&vec![0; 50 << 20]));
        let bomb = builder.build();
        let settings = LogSettings {
            compression: Some(Compression::None),
            ..LogSettings::default()
        };
        // Enough for what it may become, not for what it is.
        let refused = with_allowance(4 << 20, || validate_client(&bomb, &settings, 3_000));
        assert_eq!(refused.unwrap_err().code(), ErrorCode::MessageTooLarge);
        let settings = LogSettings::default();
        let exhausted = with_allowance(4 << 20, || validate_client(&bomb, &settings, 3_000));
        assert!(matches!(exhausted, Err(AppendError::Exhausted(_))));
        assert!(validate_client(&bomb, &settings, 3_000).is_ok());
    }

    #[test]
    fn a_batch_must_be_small_enough_as_it_is_stored() {
        let mut builder = BatchBuilder::new(Compression::Gzip);
        builder.push(1_000, None, Some(&[0; 10_000]));
        let packed = builder.build();
        assert!(packed.len() < 1_000);
        for (compression, expected) in [
            (None, None),
            (Some(Compression::Lz4), None),
            (Some(Compression::None), Some(ErrorCode::MessageTooLarge)),
        ] {
            let settings = LogSettings {
                compression,
                max_message_bytes: 1_000,
                ..LogSettings::default()
            };
            let refused = validate_client(&packed, &settings, 3_000).err();
            assert_eq!(refused.map(|error| error.code()), expected);
        }
    }

    #[test]
    fn an_old_producers_messages_become_one_batch() {
        use crate::wire::batch::legacy::SetBuilder;
        for (magic, codec, stored, time) in [
            (0, Compression::None, Compression::None, -1),
            (0, Compression::Lz4, Compression::Lz4, -1),
            (1, Compression::None, Compression::None, 7),
            (1, Compression::Gzip, Compression::Gzip, 7),
        ] {
            let mut set = SetBuilder::new(magic, codec, false);
            set.push(0, 7, Some(b"k"), Some(b"v"));
            set.push(1, 7, None, None);
            let set = Bytes::from(set.build());
            let settings = LogSettings::default();
            let valid = validate_old_client(&set, &settings, 8).unwrap();
            assert_eq!(valid.header.compression(), Ok(stored));
            assert_eq!(
                (valid.header.record_count, valid.header.max_timestamp),
                (2, time)
            );
            let body = record::decompressed(&valid.header, &valid.bytes, 1_000).unwrap();
            let records: Vec<_> = record::records(&valid.header, &body).flatten().collect();
            assert_eq!(
                (records[0].key, records[0].value),
                (Some(&b"k"[..]), Some(&b"v"[..]))
            );
            assert_eq!((records[1].key, records[1].value), (None, None));

            let mut claiming = SetBuilder::new(magic, codec, true);
            claiming.push(0, 7, None, None);
            let claimed = validate_old_client(&claiming.build().into(), &settings, 8);
            let code = claimed.map_or_else(|refused| refused.code(), |_| ErrorCode::None);
            assert_eq!(code == ErrorCode::InvalidTimestamp, magic == 1);

            let cut = [&set[..], &set[..20]].concat();
            let valid = validate_old_client(&cut.into(), &settings, 8).unwrap();
            assert_eq!(valid.header.record_count, 2);
            let refused = validate_old_client(&set.slice(..20), &settings, 8);
            assert_eq!(refused.unwrap_err().code(), ErrorCode::InvalidRecord);
            let refused = validate_client(&set, &settings, 8).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::InvalidRecord);
            let mut damaged = set.to_vec();
            *damaged.last_mut().unwrap() ^= 1;
            let refused = validate_old_client(&damaged.into(), &settings, 8).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::CorruptMessage);
        }
    }
}
