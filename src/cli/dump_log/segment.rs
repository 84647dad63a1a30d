//! Output of the batches and records of a data file, in the format of Kafka's tool.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use serde_json::Value;

use super::decode::{Decoder, control};
use super::line::{Line, Shown};
use super::{Failure, Printer};
use crate::log::append::DECOMPRESSED_MAX;
use crate::wire::batch::BatchError;
use crate::wire::batch::header::{
    BatchHeader, LOG_OVERHEAD, MAGIC_END, MAGIC_V2, advance_sequence,
};
use crate::wire::batch::legacy;
use crate::wire::batch::record::{Record, decompressed, records};

/// Parts of a data file to print.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Decoder for keys and values; `None` leaves them out.
    pub records: Option<Decoder>,
    /// Whether records are printed, with or without keys and values; otherwise only batches are.
    pub deep: bool,
    /// Whether only keys and values are printed.
    pub skip_metadata: bool,
    pub max_bytes: u64,
}

/// Prints a segment or a snapshot of the metadata log.
pub fn dump(path: &Path, view: View, printer: &mut Printer) -> Result<(), Failure> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut position = 0;
    while position < view.max_bytes {
        let Some(batch) = batch_at(&file, position, size)? else {
            break;
        };
        let next = position + batch.len() as u64;
        if let Err(error) = dump_batch(&batch, position, view, printer) {
            return Err(Failure::damaged(path, position, error));
        }
        position = next;
    }
    if position < size && position < view.max_bytes {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        printer.note(&format!(
            "Found {} invalid bytes at the end of {name}",
            size - position
        ));
    }
    Ok(())
}

fn batch_at(file: &File, position: u64, size: u64) -> Result<Option<Bytes>, Failure> {
    let left = size.saturating_sub(position);
    if left < MAGIC_END as u64 {
        return Ok(None);
    }
    let mut head = [0; MAGIC_END];
    file.read_exact_at(&mut head, position)?;
    let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    let whole = length.saturating_add(LOG_OVERHEAD as u64);
    if length < (MAGIC_END - LOG_OVERHEAD) as u64
        || whole > left
        || !(0..=MAGIC_V2).contains(&(head[MAGIC_END - 1] as i8))
    {
        return Ok(None);
    }
    let mut batch = vec![0; whole as usize];
    file.read_exact_at(&mut batch, position)?;
    Ok(Some(batch.into()))
}

fn dump_batch(
    batch: &Bytes,
    position: u64,
    view: View,
    printer: &mut Printer,
) -> Result<(), String> {
    let wrong = |error: BatchError| error.to_string();
    if batch.get(MAGIC_END - 1).map(|magic| *magic as i8) != Some(MAGIC_V2) {
        return dump_message(batch, position, view, printer).map_err(wrong);
    }
    let header = BatchHeader::parse(batch).map_err(wrong)?;
    let codec = header.compression().map_err(wrong)?;
    printer.line(
        &Line::default()
            .with("baseOffset", header.base_offset)
            .with("lastOffset", header.last_offset())
            .with("count", header.record_count)
            .with("baseSequence", header.base_sequence)
            .with("lastSequence", header.last_sequence())
            .with("producerId", header.producer_id)
            .with("producerEpoch", header.producer_epoch)
            .with("partitionLeaderEpoch", header.leader_epoch)
            .with("isTransactional", header.is_transactional())
            .with("isControl", header.is_control())
            .with("deleteHorizonMs", Shown::Optional(header.delete_horizon()))
            .with("position", position)
            .with(time_name(header.is_log_append_time()), header.max_timestamp)
            .with("size", batch.len())
            .with("magic", header.magic)
            .with("compresscodec", codec.name())
            .with("crc", header.crc)
            .with("isvalid", header.verify(batch).is_ok()),
    );
    if view.records.is_none() && !view.deep {
        return Ok(());
    }
    let body = decompressed(&header, batch, DECOMPRESSED_MAX).map_err(wrong)?;
    for record in records(&header, &body) {
        dump_record(&header, &record.map_err(wrong)?, view, printer)?;
    }
    Ok(())
}

fn dump_record(
    header: &BatchHeader,
    record: &Record<'_>,
    view: View,
    printer: &mut Printer,
) -> Result<(), String> {
    let mut line = Line::inset();
    if !view.skip_metadata {
        let delta = (record.offset - header.base_offset) as i32;
        let sequence = match header.base_sequence {
            ..0 => -1,
            first => advance_sequence(first, delta),
        };
        let keys: Vec<Value> = record
            .headers()
            .map(|(key, _)| Value::from(String::from_utf8_lossy(key)))
            .collect();
        line = sized(
            line.with("offset", record.offset)
                .with(time_name(header.is_log_append_time()), record.timestamp),
            record.key,
            record.value,
        )
        .with("sequence", sequence)
        .with("headerKeys", keys);
    }
    if header.is_control() {
        if !view.skip_metadata {
            line.push("control", Shown::Bare(control(record.key, record.value)?));
        }
    } else if let Some(decoder) = view.records {
        said(&mut line, decoder, record.key, record.value)?;
    }
    printer.line(&line);
    Ok(())
}

fn dump_message(
    set: &Bytes,
    position: u64,
    view: View,
    printer: &mut Printer,
) -> Result<(), BatchError> {
    let message = legacy::read_message(&mut &set[..]);
    let valid = !matches!(message, Err(BatchError::Checksum { .. }));
    let crc = set.get(12..16).and_then(|crc| crc.first_chunk());
    let offset = set
        .first_chunk()
        .map_or(-1, |bytes| i64::from_be_bytes(*bytes));
    let mut line = Line::default()
        .with("offset", offset)
        .with("position", position);
    if let Ok(message) = &message {
        line = line
            .with(old_time_name(message), message.timestamp)
            .with("size", set.len())
            .with("magic", message.magic)
            .with("compresscodec", message.compression.name());
    }
    printer.line(
        &line
            .with("crc", crc.map_or(0, |crc| u32::from_be_bytes(*crc)))
            .with("isvalid", valid),
    );
    if view.records.is_none() && !view.deep {
        return Ok(());
    }
    message?.each_record(DECOMPRESSED_MAX, |record| {
        let mut line = Line::inset();
        if !view.skip_metadata {
            line = sized(
                line.with("offset", record.offset)
                    .with(old_time_name(&record), record.timestamp),
                record.key,
                record.value,
            );
        }
        if let Some(decoder) = view.records {
            said(&mut line, decoder, record.key, record.value)
                .map_err(|_| BatchError::Message("its key or value is not what it should be"))?;
        }
        printer.line(&line);
        Ok(())
    })
}

fn said(
    line: &mut Line,
    decoder: Decoder,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<(), String> {
    let (key, payload) = decoder.decode(key, value)?;
    if let Some(key) = key {
        line.push("key", key);
    }
    if let Some(payload) = payload {
        line.push("payload", payload);
    }
    Ok(())
}

fn sized(line: Line, key: Option<&[u8]>, value: Option<&[u8]>) -> Line {
    let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
    line.with("keySize", size(key))
        .with("valueSize", size(value))
}

fn time_name(log_append_time: bool) -> &'static str {
    if log_append_time {
        "LogAppendTime"
    } else {
        "CreateTime"
    }
}

fn old_time_name(message: &legacy::Message<'_>) -> &'static str {
    if message.magic == legacy::MAGIC_V0 {
        "NoTimestampType"
    } else {
        time_name(message.log_append_time)
    }
}
