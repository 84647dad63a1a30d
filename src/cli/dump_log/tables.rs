//! Output of indexes, producer snapshots and the small text files.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::line::{Line, Shown};
use super::{DumpLog, Failure, Printer};
use crate::base::ids::{LeaderEpoch, Offset};
use crate::log::index::offset::OffsetEntry;
use crate::log::index::sparse::Entry;
use crate::log::index::time::TimeEntry;
use crate::log::index::transaction::AbortedTransaction;
use crate::log::producer_state::ProducerStates;
use crate::log::segment::Span;

/// Largest text file in bytes that is read; Kafka's text files are smaller.
const TEXT_MAX: u64 = 64 << 20;
/// Bytes of a batch that are read to get its offsets.
const SPAN_SIZE: usize = 61;

/// The base offset in a file's name.
pub fn base_offset(path: &Path) -> Result<Offset, Failure> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.and_then(|stem| stem.parse().ok())
        .ok_or_else(|| Failure::damaged(path, 0, "its name is no offset"))
}

/// End offset and epoch in the name of a metadata snapshot.
pub fn snapshot_end(path: &Path) -> Option<(Offset, LeaderEpoch)> {
    let (end, epoch) = path.file_stem()?.to_str()?.split_once('-')?;
    Some((end.parse().ok()?, epoch.parse().ok()?))
}

fn entries<E: Entry>(path: &Path) -> Result<Vec<E>, Failure> {
    let bytes = fs::read(path)?;
    Ok(bytes.chunks_exact(E::SIZE).map(E::read).collect())
}

/// Reads the entries of a sparse index. If `--index-sanity-check` is given, checks them instead and returns `None`.
fn is_sane<E: Entry>(
    path: &Path,
    options: &DumpLog,
    printer: &mut Printer,
    sane: impl Fn(&[E]) -> bool,
) -> Result<Option<Vec<E>>, Failure> {
    let all: Vec<E> = entries(path)?;
    let size = fs::metadata(path)?.len();
    if !options.index_sanity_check {
        return Ok(Some(all));
    }
    if size % E::SIZE as u64 != 0 || !sane(&all) {
        return Err(Failure::damaged(
            path,
            0,
            "the index fails its sanity check",
        ));
    }
    printer.note(&format!("{} passed sanity check.", path.display()));
    Ok(None)
}

/// Removes trailing zero entries. A broker that preallocates its indexes leaves them while it runs and after it was killed.
fn without_zeros<E>(all: &mut Vec<E>, is_zero: impl Fn(&E) -> bool) {
    let end = all.iter().skip(1).position(is_zero);
    all.truncate(end.map_or(all.len(), |before| before + 1));
}

pub fn offset_index(path: &Path, options: &DumpLog, printer: &mut Printer) -> Result<(), Failure> {
    let base = base_offset(path)?;
    let rising = |all: &[OffsetEntry]| {
        all.windows(2)
            .all(|pair| pair[0].relative_offset < pair[1].relative_offset)
    };
    if fs::metadata(path)?.len() < OffsetEntry::SIZE as u64 {
        printer.note(&format!("{} is empty.", path.display()));
        return Ok(());
    }
    let Some(mut all) = is_sane(path, options, printer, rising)? else {
        return Ok(());
    };
    without_zeros(&mut all, |entry| {
        entry.relative_offset == 0 && entry.position == 0
    });
    let log = File::open(path.with_extension("log"));
    let mut mismatches = Vec::new();
    for entry in all {
        let offset = base + i64::from(entry.relative_offset);
        if let Some(found) = log
            .as_ref()
            .ok()
            .and_then(|log| last_offset(log, entry.position))
            && found != offset
        {
            mismatches.push(format!("  Index offset: {offset}, log offset: {found}"));
        }
        if !options.verify_index_only {
            printer.line(
                &Line::default()
                    .with("offset", offset)
                    .with("position", entry.position),
            );
        }
    }
    report(path, &mismatches)
}

fn last_offset(log: &File, position: u32) -> Option<Offset> {
    let mut head = [0; SPAN_SIZE];
    log.read_exact_at(&mut head, u64::from(position)).ok()?;
    Span::parse(&head, u64::from(position)).map(|span| span.last_offset)
}

pub fn time_index(path: &Path, options: &DumpLog, printer: &mut Printer) -> Result<(), Failure> {
    let base = base_offset(path)?;
    let rising = |all: &[TimeEntry]| {
        all.windows(2)
            .all(|pair| pair[0].timestamp <= pair[1].timestamp)
    };
    let Some(mut all) = is_sane(path, options, printer, rising)? else {
        return Ok(());
    };
    without_zeros(&mut all, |entry| {
        entry.relative_offset == 0 && entry.timestamp == 0
    });
    let mut mismatches = Vec::new();
    for pair in all.windows(2) {
        if pair[1].timestamp <= pair[0].timestamp {
            mismatches.push(format!(
                "  Index timestamp: {}, Previous indexed timestamp: {}",
                pair[1].timestamp, pair[0].timestamp
            ));
        }
    }
    for entry in all {
        if !options.verify_index_only {
            printer.line(
                &Line::default()
                    .with("timestamp", entry.timestamp)
                    .with("offset", base + i64::from(entry.relative_offset)),
            );
        }
    }
    report(path, &mismatches)
}

fn report(path: &Path, mismatches: &[String]) -> Result<(), Failure> {
    if mismatches.is_empty() {
        return Ok(());
    }
    let what = format!(
        "Mismatches in: {}\n{}",
        path.display(),
        mismatches.join("\n")
    );
    Err(Failure::damaged(path, 0, what))
}

pub fn transaction_index(path: &Path, printer: &mut Printer) -> Result<(), Failure> {
    for entry in entries::<AbortedTransaction>(path)? {
        printer.line(
            &Line::default()
                .with("version", 0)
                .with("producerId", entry.producer_id)
                .with("firstOffset", entry.first_offset)
                .with("lastOffset", entry.last_offset)
                .with("lastStableOffset", entry.last_stable_offset),
        );
    }
    Ok(())
}

pub fn producers(path: &Path, printer: &mut Printer) -> Result<(), Failure> {
    let states = ProducerStates::from_snapshot(&fs::read(path)?)
        .map_err(|what| Failure::damaged(path, 0, what))?;
    for (id, producer) in states.iter() {
        let mut line = Line::default()
            .with("producerId", id)
            .with("producerEpoch", producer.epoch)
            .with("coordinatorEpoch", producer.coordinator_epoch)
            .with(
                "currentTxnFirstOffset",
                Shown::Optional(producer.transaction_start),
            )
            .with("lastTimestamp", producer.last_timestamp);
        if let Some(batch) = producer.batches.front() {
            line = line
                .with("firstSequence", batch.first_sequence())
                .with("lastSequence", batch.last_sequence)
                .with("lastOffset", batch.last_offset)
                .with("offsetDelta", batch.offset_delta)
                .with("timestamp", batch.timestamp);
        }
        printer.line(&line);
    }
    Ok(())
}

/// Prints a checkpoint or properties file, which is text already.
pub fn text(path: &Path, printer: &mut Printer) -> Result<(), Failure> {
    if fs::metadata(path)?.len() > TEXT_MAX {
        return Err(Failure::damaged(
            path,
            0,
            "it is no file of a log directory",
        ));
    }
    let bytes = fs::read(path)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| io::Error::other("it is no file of a log directory"))?;
    for line in text.lines() {
        let shown = Shown::Bare(line.to_owned());
        printer.line(&Line::default().with("text", shown));
    }
    Ok(())
}
