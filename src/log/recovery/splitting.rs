//! Split of a segment whose offsets are further apart than its indexes can express.
//!
//! A log rolls before this can happen, and compaction does not create such segments; Apache Kafka before 1.1 did (KAFKA-5413),
//! and since then splits those that it finds, as this module does.
//!
//! ```text
//! 1. every part is written as `.cleaned`, with its indexes, and synced     crash: they are removed
//! 2. all but the first are renamed to `.swap`                              crash: the same, as one is still `.cleaned`
//! 3. the first is renamed to `.swap`                                       crash: the next start finishes 4
//! 4. `.swap` becomes the final name; the first takes the place of the whole
//! ```
//! The directory is synced between any two of these steps.
//!
//! Kafka differs: its first part is named after the first remaining batch. If that is not the base offset of the whole segment,
//! a crash between 3 and 4 leaves the whole segment beside its parts.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::scanner::{Expected, Flaw, Scanner};
use super::{list, remove_files};
use crate::base::ids::Offset;
use crate::base::time::Timestamp;
use crate::host::disk::{Dir, Named};
use crate::log::append::DECOMPRESSED_MAX;
use crate::log::error::{DiskContext, StorageError};
use crate::log::index::transaction::AbortedTransaction;
use crate::log::segment::{Segment, Span};
use crate::log::settings::LogSettings;
use crate::wire::batch::BatchError;
use crate::wire::batch::header::MAGIC_V2;
use crate::wire::batch::legacy;

/// Bytes that are copied at a time from the part that has no valid batches.
const COPY_BUFFER: usize = 1 << 20;

/// Whether the segment has a batch that is too far from its base offset, while this batch and those before it are valid.
/// Without the check of checksums any damage could look like such an offset.
pub fn is_too_wide(segment: &Segment, below: Option<Offset>) -> Result<bool, StorageError> {
    let mut expected = Expected {
        base: segment.base_offset,
        next: segment.base_offset,
        below,
    };
    let mut scanner = Scanner::open(segment.disk(), segment.path(), segment.size)?;
    while let Some((span, batch)) = scanner.next_batch()? {
        if let Some(flaw) = expected.judge(&span, Some(&batch)) {
            return Ok(flaw == Flaw::TooFar);
        }
        expected.next = span.last_offset + 1;
    }
    Ok(false)
}

/// Base offset of the segment that a batch begins: the offset of its first record, as far as it is known.
pub fn base_for(span: &Span, batch: &[u8]) -> Offset {
    if span.magic == MAGIC_V2 {
        return span.base_offset;
    }
    // A wrapper has the offset of its last message.
    let mut first = span.base_offset;
    if let Ok(message) = legacy::read_message(&mut &*batch) {
        let each = message.each_record(DECOMPRESSED_MAX, |record| {
            first = first.min(record.offset);
            Ok::<(), BatchError>(())
        });
        if each.is_err() {
            return span.base_offset;
        }
    }
    first.max(span.last_offset.saturating_sub(i64::from(i32::MAX)))
}

/// Splits a segment; see the module's documentation for the steps. Bytes that are no valid batch stay at the end of the last
/// part, where recovery finds them.
pub fn split(
    place: Dir<'_>,
    whole: &Segment,
    below: Option<Offset>,
    settings: &LogSettings,
    now: Timestamp,
) -> Result<(), StorageError> {
    let Dir { disk, path: dir } = place;
    let mut parts = Vec::new();
    let written = write_parts(place, whole, below, settings, now, &mut parts);
    if written.is_err() {
        for part in &parts {
            // Files that cannot be removed are removed by the next start.
            drop(remove_files(part));
        }
    }
    written?;
    let bases: Vec<Offset> = parts.iter().map(|part| part.base_offset).collect();
    tracing::warn!(path = %whole.path().display(), ?bases, "splitting a segment whose offsets lie too far apart");
    let sync = || disk.sync_dir(dir).at("sync", dir);
    let names = list(place)?;
    let rename = |part: &Segment, from: &str, to: &str| -> Result<(), StorageError> {
        for path in part.files() {
            let plain = path.with_extension("");
            let source = with_suffix(&plain, from);
            match disk.rename(&source, &with_suffix(&plain, to)) {
                // A part without aborted transactions has no transaction index.
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).at("rename", source);
                }
                _ => {}
            }
        }
        Ok(())
    };
    sync()?;
    let (first, others) = parts.split_first().expect("a segment has a first part");
    for part in others.iter().rev() {
        rename(part, ".cleaned", ".swap")?;
    }
    sync()?;
    rename(first, ".cleaned", ".swap")?;
    sync()?;
    // All aborted transactions of the segment may belong to later parts.
    let stale = whole.aborted.path();
    if first.aborted.is_empty() && names.iter().any(|name| stale.ends_with(name)) {
        disk.remove_file(&stale).at("remove", &*stale)?;
    }
    for part in &parts {
        rename(part, ".swap", "")?;
    }
    sync()
}

fn with_suffix(plain: &Path, suffix: &str) -> PathBuf {
    let mut name = plain.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Performs step 1.
fn write_parts(
    dir: Dir<'_>,
    whole: &Segment,
    below: Option<Offset>,
    settings: &LogSettings,
    now: Timestamp,
    parts: &mut Vec<Segment>,
) -> Result<(), StorageError> {
    let aborted = whole.aborted.all()?;
    let modified = whole.disk().modified(whole.path());
    let mut part = Segment::create_as(dir, whole.base_offset, ".cleaned", now)?;
    let mut expected = Expected {
        base: whole.base_offset,
        next: whole.base_offset,
        below,
    };
    let mut scanner = Scanner::open(whole.disk(), whole.path(), whole.size)?;
    let mut copied = 0;
    while let Some((span, batch)) = scanner.next_batch()? {
        match expected.judge(&span, None) {
            Some(Flaw::TooFar) => {
                expected.base = base_for(&span, &batch).max(expected.next);
                finish(&mut part, &aborted, expected.base)?;
                let next = Segment::create_as(dir, expected.base, ".cleaned", now)?;
                parts.push(std::mem::replace(&mut part, next));
            }
            Some(_) => break,
            None => {}
        }
        part.append_raw(&batch, &span, u64::from(settings.index_interval_bytes))?;
        expected.next = span.last_offset + 1;
        copied = span.end();
    }
    let zeros = copied == scanner.position() && scanner.flaw()? == Some(Flaw::Zeros);
    if !zeros {
        copy_rest(whole, copied, &mut part)?;
    }
    finish(&mut part, &aborted, below.unwrap_or(Offset::MAX))?;
    parts.push(part);
    if let Some(modified) = modified {
        for part in parts {
            // The file's modification time is the age of records without timestamps.
            drop(modified.give_to(&*part.file()?));
        }
    }
    Ok(())
}

/// Writes a part's aborted transactions, whose markers are below `end`, and makes the part durable.
fn finish(
    part: &mut Segment,
    aborted: &[AbortedTransaction],
    end: Offset,
) -> Result<(), StorageError> {
    let inside = part.base_offset..end;
    for one in aborted {
        if inside.contains(&one.last_offset) {
            part.aborted.push(*one)?;
        }
    }
    part.close()
}

/// Copies the bytes from position `from` on unchanged.
fn copy_rest(whole: &Segment, from: u64, part: &mut Segment) -> Result<(), StorageError> {
    let disk = whole.disk();
    let source = disk.open(whole.path()).at("open", whole.path())?;
    let target = part.file()?;
    let mut buffer = vec![0; COPY_BUFFER.min(whole.size.saturating_sub(from) as usize)];
    let mut at = from;
    while at < whole.size {
        let left = buffer.len().min((whole.size - at) as usize);
        let bytes = &mut buffer[..left];
        let read = disk
            .read_through(&source, whole.path(), bytes, at)
            .at("read", whole.path())?;
        if read == 0 {
            break;
        }
        let mut slices = [std::io::IoSlice::new(&bytes[..read])];
        disk.write_all_at(&target, part.path(), &mut slices, part.size + at - from)
            .at("append to", part.path())?;
        at += read as u64;
    }
    Ok(())
}
