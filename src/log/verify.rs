//! `verify-log`: reports what the next start would do with a data directory, without doing it. Nothing is written, and no file
//! is opened for writing.
//!
//! Decisions of recovery are made by the same functions as in recovery ([`recovery::plan`], [`Leftovers`], [`Expected`]), and
//! files are read by the log's own readers. In addition the verification checks what recovery trusts: batches below the
//! recovery point, the entries of closed indexes, and leader epochs.
//!
//! [`Leftovers`]: super::recovery::Leftovers
//! [`Expected`]: super::recovery::Expected

mod partition;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::checkpoint;
use super::dir::{self, DirName, MetaProperties};
use super::error::StorageError;
use super::manager::METADATA_LOG;
use super::recovery::{self, Known};
use crate::base::ids::{Offset, TopicPartition};
use crate::host::disk::Dir;
use partition::Checked;

/// Deviation from the state after a clean stop, and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub path: PathBuf,
    /// Position in the file in bytes.
    pub position: Option<u64>,
    pub what: String,
    pub then: Then,
}

/// Effect of the next start on a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// The file is removed.
    Remove,
    /// The file is renamed to its final name, without `.swap`.
    Finish,
    /// The file is cut at the fault, and the segments with base offsets `later` are removed. The log ends at `end`, if this is
    /// then its last segment.
    Cut {
        bytes: u64,
        end: Offset,
        later: Vec<Offset>,
    },
    /// The segment is split: a new segment begins here.
    Split { base: Offset },
    /// The file is rebuilt from the log's batches.
    Rebuild,
    /// The directory is renamed and ignored from then on.
    PutAside,
    /// Nothing happens; the text says what this means.
    Stay(&'static str),
    /// The directory is removed once `file.delete.delay.ms` have passed.
    RemoveLater,
    /// No start is possible; the text says why.
    Refuse(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(position) = self.position {
            write!(f, " at {position}")?;
        }
        write!(f, ": {}; {}", self.what, self.then)
    }
}

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remove => f.write_str("recovery removes it"),
            Self::Finish => f.write_str("recovery finishes the compaction with it"),
            Self::Cut { bytes, end, later } => {
                write!(f, "recovery cuts {bytes} bytes off here")?;
                match later.len() {
                    0 => {}
                    1 => f.write_str(", removes the segment behind it")?,
                    count => write!(f, ", removes the {count} segments behind it")?,
                }
                write!(f, ", and offset {end} follows")
            }
            Self::Split { base } => write!(f, "recovery begins a segment at offset {base} here"),
            Self::Rebuild => f.write_str("recovery makes it again from the log"),
            Self::PutAside => f.write_str("the next start puts it aside"),
            Self::Stay(meaning) => write!(f, "recovery leaves it: {meaning}"),
            Self::RemoveLater => {
                f.write_str("the next start removes it after file.delete.delay.ms")
            }
            Self::Refuse(what) => write!(f, "{what}"),
        }
    }
}

/// Result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub logs: usize,
    pub segments: usize,
    pub batches: u64,
    pub bytes: u64,
    pub faults: Vec<Fault>,
    /// Remarks on things that are valid but may surprise somebody who inspects the directory.
    pub notes: Vec<Fault>,
    /// Whether the directory has a valid `meta.properties`.
    pub is_formatted: bool,
}

impl Report {
    /// Whether the directory had anything to check.
    pub fn is_of_something(&self) -> bool {
        self.is_formatted || self.logs > 0
    }

    fn note(&mut self, path: impl Into<PathBuf>, what: impl Into<String>, then: Then) {
        self.notes.push(Fault {
            path: path.into(),
            position: None,
            what: what.into(),
            then,
        });
    }

    fn fault(&mut self, path: impl Into<PathBuf>, what: impl Into<String>, then: Then) {
        self.fault_at(path, None, what, then);
    }

    fn fault_at(
        &mut self,
        path: impl Into<PathBuf>,
        position: Option<u64>,
        what: impl Into<String>,
        then: Then,
    ) {
        self.faults.push(Fault {
            path: path.into(),
            position,
            what: what.into(),
            then,
        });
    }

    /// Adds a fault for a file that cannot be read.
    fn unreadable(&mut self, error: &StorageError, then: Then) {
        let what = format!("cannot {}: {}", error.doing, error.source);
        self.fault(&error.path, what, then);
    }
}

/// Content of the checkpoint files of a log directory.
#[derive(Debug, Default)]
struct Checkpoints {
    clean: bool,
    /// Whether logs have a `partition.metadata` with the topic id. Logs of Kafka with ZooKeeper may not, until they are
    /// adopted.
    named: bool,
    recovery_points: HashMap<TopicPartition, Offset>,
    log_starts: HashMap<TopicPartition, Offset>,
    /// Offset up to which each log was compacted, for logs that were compacted at all.
    cleaned: HashMap<TopicPartition, Offset>,
}

impl Checkpoints {
    fn known(&self, partition: Option<&TopicPartition>) -> Known {
        let of = |offsets: &HashMap<_, _>| partition.and_then(|name| offsets.get(name)).copied();
        Known {
            clean: self.clean,
            recovery_point: of(&self.recovery_points).unwrap_or(0),
            log_start: of(&self.log_starts),
        }
    }
}

/// Checks a log directory, or the directory of one partition.
///
/// Errors: the directory cannot be listed.
pub fn verify(place: Dir<'_>) -> Result<Report, StorageError> {
    let Dir { disk, path } = place;
    let names = recovery::list(place)?;
    let mut report = Report::default();
    // Needed because "." has no file name.
    let absolute = disk.canonical(path).unwrap_or_else(|_| path.to_owned());
    let name = absolute.file_name().and_then(|name| name.to_str());
    let is_partition = names.iter().any(|name| name.ends_with(".log"))
        || names.iter().any(|name| name == checkpoint::LEADER_EPOCHS);
    if is_partition {
        let mut around = Report::default();
        let checkpoints = absolute
            .parent()
            .map(|parent| read_checkpoints(disk.dir(parent), &mut around))
            .unwrap_or_default();
        verify_log(place, name.unwrap_or_default(), &checkpoints, &mut report);
        return Ok(report);
    }
    verify_identity(place, &mut report);
    let checkpoints = read_checkpoints(place, &mut report);
    for name in names {
        let inside = path.join(&name);
        if disk.is_dir(&inside) {
            verify_log(disk.dir(&inside), &name, &checkpoints, &mut report);
        } else if name.ends_with(".tmp") {
            report.fault(
                inside,
                "what a crash left of a file that was being replaced",
                Then::Stay("the next of its kind is written over it"),
            );
        }
    }
    Ok(report)
}

fn verify_identity(dir: Dir<'_>, report: &mut Report) {
    match MetaProperties::read(dir) {
        Ok(Some(_)) => report.is_formatted = true,
        Ok(None) => report.fault(
            dir.join(dir::META_PROPERTIES),
            "there is none",
            Then::Stay("a start takes the directory for one that is not formatted"),
        ),
        Err(error) => {
            report.is_formatted = true;
            report.unreadable(&error, Then::Refuse("a start refuses the directory"));
        }
    }
    if let Err(error) = dir::check_unused(dir) {
        report.note(
            &error.path,
            "a broker is running with the directory, so what is found here may be under way",
            Then::Refuse("a second start refuses the directory"),
        );
    }
}

fn read_checkpoints(dir: Dir<'_>, report: &mut Report) -> Checkpoints {
    let mut read = |name: &str, meaning: &'static str| match checkpoint::read_offsets(
        dir.disk,
        &dir.join(name),
    ) {
        Ok(entries) => entries.into_iter().collect(),
        Err(error) => {
            let then = match error.source.kind() {
                io::ErrorKind::Unsupported => OFFLINE,
                _ => Then::Stay(meaning),
            };
            report.unreadable(&error, then);
            HashMap::new()
        }
    };
    let recovery_points = read(
        checkpoint::RECOVERY_POINTS,
        "after an unclean stop every segment is read",
    );
    let log_starts = read(
        checkpoint::LOG_STARTS,
        "every log begins with its first segment, whatever was deleted of it",
    );
    read(
        checkpoint::HIGH_WATERMARKS,
        "high watermarks begin at the log starts",
    );
    let cleaned = read(
        checkpoint::CLEANED,
        "every compacted log is compacted from its beginning",
    );
    let of_zookeeper = matches!(MetaProperties::read(dir), Ok(Some(meta)) if meta.version == 0);
    Checkpoints {
        clean: dir::was_stopped_cleanly(dir),
        named: !of_zookeeper || dir.disk.is_dir(&dir.join(METADATA_LOG)),
        recovery_points,
        log_starts,
        cleaned,
    }
}

/// Checks a directory inside of a log directory.
fn verify_log(place: Dir<'_>, name: &str, checkpoints: &Checkpoints, report: &mut Report) {
    let path = place.path;
    let partition = match DirName::parse(name) {
        _ if name == METADATA_LOG => None,
        DirName::Partition(partition) => Some(partition),
        DirName::Future(partition) => {
            report.note(
                path,
                "the copy of a replica that moves between log directories",
                Then::Stay("the move goes on"),
            );
            Some(partition)
        }
        DirName::Delete => {
            report.note(path, "a deleted partition", Then::RemoveLater);
            return;
        }
        DirName::Stray => {
            let meaning = "remove it if nobody misses it";
            report.fault(path, "a partition that was put aside", Then::Stay(meaning));
            return;
        }
        DirName::Other => return,
    };
    let topic_id = dir::read_partition_metadata(place);
    if let Err(error) = &topic_id {
        let then = match error.source.kind() {
            io::ErrorKind::InvalidData if partition.is_none() => Then::Stay("it is written anew"),
            io::ErrorKind::InvalidData => {
                Then::Stay("the partition is that of the topic of its name, which is then written")
            }
            _ => OFFLINE,
        };
        report.unreadable(error, then);
    }
    let known = match &partition {
        Some(partition) => checkpoints.known(Some(partition)),
        // The start of the metadata log is given by its snapshots.
        None => checkpoints.known(None),
    };
    let compacted = partition
        .as_ref()
        .is_some_and(|partition| checkpoints.cleaned.contains_key(partition));
    let mut checked = Checked::new(place, known, partition.is_none(), compacted, report);
    match checked.check() {
        Ok(log_end) => {
            let nameless = checkpoints.named && matches!(topic_id, Ok(None));
            if nameless && partition.is_some() && log_end > 0 {
                let what = "there is no partition.metadata, so it may be of any topic of its name";
                let is_copy = matches!(DirName::parse(name), DirName::Future(_));
                let then = if is_copy {
                    Then::RemoveLater
                } else {
                    Then::PutAside
                };
                report.fault(path, what, then);
            }
        }
        Err(error) => report.unreadable(&error, OFFLINE),
    }
    report.logs += 1;
}

/// Effect of a disk error.
const OFFLINE: Then = Then::Refuse("a start takes the log directory out of use");
