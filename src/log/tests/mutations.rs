//! Segments of Apache Kafka in every message format, damaged at random and opened: the result is a prefix of the contents or a
//! clear error; never a panic, and never a record that was not written.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::disk::Dice;
use super::watched::own_disk;
use crate::base::ids::{Offset, TopicPartition, Uuid};
use crate::log::append::Origin;
use crate::log::error::StorageError;
use crate::log::partition_log::lookup::Effort;
use crate::log::partition_log::{PartitionLog, ReadEnd};
use crate::log::recovery::{Known, Scanner};
use crate::log::segment::{Span, file_name};
use crate::log::settings::LogSettings;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::message::fuzz::seeds_from_environment;

const NOW: i64 = 1_000_000;
/// Position of the first byte that a checksum covers. Offsets and, in format v2, the leader epoch are before it.
const COVERED_FROM: usize = 16;

/// Recorded segments of every format and codec, with transactions, offsets of a group, and metadata.
fn recordings() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-tests/recordings");
    let mut found = Vec::new();
    for dir in ["message-sets/v0", "message-sets/v1", "batches"] {
        for entry in fs::read_dir(root.join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "log") {
                found.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    assert_eq!(found.len(), 17);
    found
}

pub(super) fn batches(path: &Path) -> Vec<(Span, Vec<u8>)> {
    let mut found = Vec::new();
    let (disk, size) = (own_disk(), fs::metadata(path).unwrap().len());
    let mut scanner = Scanner::open(&disk, path, size).unwrap();
    while let Some((span, batch)) = scanner.next_batch().unwrap() {
        found.push((span, batch.to_vec()));
    }
    found
}

/// Damages `content`; returns the position of the first changed byte.
pub(super) fn damage(dice: &mut Dice, content: &mut Vec<u8>, other: &[u8]) -> usize {
    let at = dice.below(content.len() as u64) as usize;
    let len = dice.below(200) as usize;
    let end = (at + len).min(content.len());
    match dice.below(8) {
        0 => content.truncate(at),
        1 => content[at..].fill(0),
        2 => content[at..end].fill(0xff),
        3 => drop(content.drain(at..end)),
        4 => {
            // Repeats a piece of the file, whose checksums are valid.
            let piece = content[dice.below(at as u64 + 1) as usize..].to_vec();
            content.splice(at..at, piece);
        }
        5 => {
            let from = dice.below(other.len() as u64) as usize;
            content.splice(at..end, other[from..].iter().copied());
        }
        6 => {
            let mut random = vec![0; len];
            random.fill_with(|| dice.below(256) as u8);
            content.splice(at..at, random);
        }
        _ => content[at] ^= 1 << dice.below(8),
    }
    at
}

fn open(dir: &Path, clean: bool) -> Result<PartitionLog, StorageError> {
    let known = Known {
        clean,
        recovery_point: 0,
        log_start: None,
    };
    let partition = TopicPartition::new("t", 0);
    let settings = LogSettings {
        index_interval_bytes: 100,
        ..LogSettings::default()
    };
    PartitionLog::open(
        own_disk().dir(dir),
        partition,
        Uuid([1; 16]),
        settings,
        known,
        Offset::MAX,
        NOW,
    )
}

/// All bytes that readers get, from the log start to the log end.
pub(super) fn everything(log: &PartitionLog) -> Vec<u8> {
    let mut content = Vec::new();
    let mut next = log.reader().watermarks().log_start;
    while next < log.reader().log_end() {
        let plan = log.reader().read(next, 1, ReadEnd::LogEnd, true).unwrap();
        let Some(range) = plan.records else { break };
        let bytes = range.read().unwrap();
        let span = Span::parse(&bytes, 0).unwrap();
        assert!(span.last_offset >= next, "a read at {next} gives {span:?}");
        next = span.last_offset + 1;
        content.extend_from_slice(&bytes);
    }
    content
}

fn tell(seed: u64, files: &[(String, Vec<u8>)]) {
    let mut dice = Dice(seed);
    let (name, original) = &files[dice.below(files.len() as u64) as usize];
    let (_, other) = &files[dice.below(files.len() as u64) as usize];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file_name(0, ".log"));
    fs::write(&path, original).unwrap();
    let whole = batches(&path);
    fs::write(&path, other).unwrap();
    let mut written: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (_, batch) in whole.iter().chain(&batches(&path)) {
        written.insert(batch[COVERED_FROM..].to_vec());
    }

    let mut content = original.clone();
    let mut intact = content.len();
    for _ in 0..=dice.below(2) {
        intact = intact.min(damage(&mut dice, &mut content, other));
        if content.is_empty() {
            break;
        }
    }
    fs::write(&path, &content).unwrap();
    let what = format!(
        "seed {seed}: {name}, {intact} of {} bytes are as they were",
        original.len()
    );
    // After a clean stop checksums are not verified: only robustness is tested.
    let clean = dice.one_in(4);
    let log = match open(dir.path(), clean) {
        Ok(log) => log,
        Err(error) => {
            assert!(
                error.to_string().contains("00000000000000000000"),
                "{what}: {error}"
            );
            return;
        }
    };
    let found =
        log.reader()
            .find_timestamp(dice.below(1 << 42) as i64, Offset::MAX, &Effort::any());
    assert!(clean || found.is_ok(), "{what}: {found:?}");
    let newest = log.reader().find_newest(&Effort::any());
    assert!(clean || newest.is_ok(), "{what}: {newest:?}");
    if clean {
        return;
    }
    let end = log.reader().log_end();
    let copy = dir.path().join("copy");
    fs::write(&copy, everything(&log)).unwrap();
    let kept = batches(&copy);
    let mut next = 0;
    for (span, batch) in &kept {
        assert!(
            span.base_offset >= next || span.magic < 2,
            "{what}: {span:?} after {next}"
        );
        assert!(span.last_offset >= next, "{what}: {span:?} after {next}");
        next = span.last_offset + 1;
        assert!(
            written.contains(&batch[COVERED_FROM..]),
            "{what}: nobody wrote {span:?}"
        );
    }
    assert!(next <= end, "{what}: {next} beyond the end {end}");
    let untouched = whole
        .iter()
        .take_while(|(span, _)| span.end() <= intact as u64);
    for (index, (span, batch)) in untouched.enumerate() {
        let same = kept.get(index).is_some_and(|(_, other)| other == batch);
        assert!(same, "{what}: {span:?} is lost");
    }
    // Appends continue.
    let mut builder = BatchBuilder::default();
    builder.push(NOW, None, Some(b"more"));
    let appended = log.append_committed(&builder.build(), 99, Origin::Client, NOW);
    assert_eq!(appended.unwrap().first_offset, end, "{what}");
    log.close().unwrap();
    drop(log);
    assert_eq!(
        open(dir.path(), true).unwrap().reader().log_end(),
        end + 1,
        "{what}"
    );
}

#[test]
fn damaged_segments_of_apache_kafka_give_a_prefix_or_an_error() {
    let files = recordings();
    for seed in seeds_from_environment("MONEDULA_MUTATIONS", 500) {
        tell(seed, &files);
    }
}
