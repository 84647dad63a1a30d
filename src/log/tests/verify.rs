//! The report of `verify-log` about damaged directories matches the repairs of the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};

use super::disk::Dice;
use crate::base::ids::{TopicPartition, Uuid};
use crate::host::Host;
use crate::host::disk::Disk;
use crate::log::append::Origin;
use crate::log::dir::MetaProperties;
use crate::log::manager::{LogManager, ManagerSettings};
use crate::log::producer_state::Admission;
use crate::log::settings::LogSettings;
use crate::log::verify::{Fault, Then, verify};
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::message::fuzz::seeds_from_environment;

const NOW: i64 = 1_000_000;

fn settings() -> LogSettings {
    LogSettings {
        segment_bytes: 1_000,
        index_interval_bytes: 100,
        ..LogSettings::default()
    }
}

fn load(dir: &Path) -> Result<LogManager, String> {
    let manager = LogManager::open(
        &Host::default(),
        vec![(dir.to_owned(), Ok(Uuid([9; 16])))],
        ManagerSettings::default(),
    )
    .map_err(|error| error.to_string())?;
    manager
        .load(1, &|_| settings(), NOW)
        .map_err(|error| error.to_string())?;
    Ok(manager)
}

/// A directory with a log of several segments, epochs, producers and an aborted transaction.
fn directory(clean: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let identity = MetaProperties {
        version: 1,
        cluster_id: Some("c".to_owned()),
        node_id: Some(1),
        directory_id: Some(Uuid([9; 16])),
    };
    identity.write(Disk::default().dir(dir.path())).unwrap();
    let manager = load(dir.path()).unwrap();
    let partition = TopicPartition::new("t", 0);
    let log = manager
        .get_or_create(&partition, Uuid([1; 16]), Uuid([9; 16]), &settings(), NOW)
        .unwrap();
    let mut sequence = 0;
    for n in 0..30 {
        let transactional = n % 10 < 3;
        let mut builder = BatchBuilder::default().producer(7, 0, sequence);
        if transactional {
            builder = builder.transactional();
        }
        for record in 0..2 {
            builder.push(
                NOW + n * 10 + record,
                Some(b"key"),
                Some(b"a value of some size"),
            );
        }
        sequence += 2;
        let origin = Origin::Admitted(Admission {
            last_marker: log.reader().last_marker(7),
            begins_at_zero: false,
            verified: true,
        });
        let epoch = if n < 12 { 1 } else { 4 };
        log.append_committed(&builder.build(), epoch, origin, NOW)
            .unwrap();
        if n % 10 == 2 {
            let mut marker = BatchBuilder::default()
                .producer(7, 0, -1)
                .transactional()
                .control();
            let abort = u8::from(n != 12);
            marker.push(NOW + n * 10, Some(&[0, 0, 0, abort]), Some(&[0; 6]));
            log.append_committed(&marker.build(), epoch, Origin::Internal, NOW)
                .unwrap();
        }
        if n == 20 && !clean {
            log.flush(NOW).unwrap();
            manager.write_checkpoints();
        }
    }
    if clean {
        manager.close(1, 1);
    }
    drop(log);
    drop(manager);
    dir
}

type Tree = BTreeMap<PathBuf, Vec<u8>>;

fn tree(dir: &Path) -> Tree {
    let mut found = Tree::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                found.insert(path, content);
            }
        }
    }
    found
}

fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.to_string_lossy().ends_with(suffix)
}

fn with_suffix(path: &Path, from: &str, to: &str) -> PathBuf {
    PathBuf::from(format!(
        "{}{to}",
        path.to_str().unwrap().strip_suffix(from).unwrap()
    ))
}

/// Returns the faults of a directory, and the differences between them and what a start does to the directory.
fn disagreement(dir: &Path) -> (Vec<Fault>, Vec<String>) {
    let before = tree(dir);
    let report = verify(Disk::default().dir(dir)).unwrap();
    let faults = [report.notes, report.faults].concat();
    assert!(tree(dir) == before, "verify-log wrote something");
    let clean = dir.join(".kafka_cleanshutdown").exists();
    let loaded = load(dir);
    if let Ok(logs) = &loaded {
        // Work that is delayed after a start is done in the first round.
        logs.flush_due(NOW);
    }
    let after = tree(dir);

    let mut wrong = Vec::new();
    let refused = faults
        .iter()
        .any(|fault| matches!(fault.then, Then::Refuse(_)));
    if refused != loaded.is_err() {
        wrong.push(format!("a start gave {:?}", loaded.as_ref().err()));
    }
    drop(loaded);
    if refused {
        return (faults, wrong);
    }
    // Leader epochs of records that are lost at the beginning of the log are lost too.
    let begins_later = faults
        .iter()
        .any(|fault| fault.what.contains("said to begin"));
    let mut going = BTreeSet::new();
    let mut coming = BTreeSet::new();
    let mut rebuilt = BTreeSet::new();
    let mut sizes = BTreeMap::new();
    let mut cut_dirs = BTreeSet::new();
    // The last part of each split segment so far, and its position in the original file.
    let mut parts: BTreeMap<PathBuf, (PathBuf, usize)> = BTreeMap::new();
    let plain = |path: &Path| PathBuf::from(path.to_string_lossy().trim_end_matches(".swap"));
    for fault in &faults {
        match &fault.then {
            Then::Remove => drop(going.insert(fault.path.clone())),
            Then::Finish => {
                going.insert(fault.path.clone());
                let plain = with_suffix(&fault.path, ".swap", "");
                going.remove(&plain);
                coming.insert(plain);
            }
            Then::Cut { later, .. } => {
                let path = plain(&fault.path);
                for base in later {
                    for suffix in [".log", ".index", ".timeindex", ".txnindex"] {
                        let name = super::file_name(*base, suffix);
                        going.insert(path.with_file_name(name));
                    }
                }
                cut_dirs.insert(path.parent().unwrap().to_owned());
                let (path, from) = parts.get(&path).cloned().unwrap_or((path, 0));
                sizes.insert(path, fault.position.unwrap() as usize - from);
            }
            Then::Split { base } => {
                let (whole, at) = (plain(&fault.path), fault.position.unwrap() as usize);
                let next = whole.with_file_name(super::file_name(*base, ".log"));
                let before = (whole.clone(), 0);
                let (before, from) = parts.insert(whole, (next.clone(), at)).unwrap_or(before);
                cut_dirs.insert(before.parent().unwrap().to_owned());
                sizes.insert(before, at - from);
                coming.insert(next);
            }
            Then::Rebuild => drop(rebuilt.insert(fault.path.clone())),
            Then::Stay(_) | Then::PutAside | Then::RemoveLater | Then::Refuse(_) => {}
        }
    }
    for path in &going {
        // The snapshot that the next start needs is rewritten.
        let anew = has_suffix(path, ".snapshot") && after.get(path) != before.get(path);
        let again = coming.contains(path) || rebuilt.contains(path) || anew;
        if !again && after.contains_key(path) {
            wrong.push(format!("{} is still there", path.display()));
        }
    }
    for (path, size) in &sizes {
        let found = after.get(path).map(Vec::len);
        if found != Some(*size) {
            wrong.push(format!(
                "{} has {found:?} bytes, not {size}",
                path.display()
            ));
        }
    }
    for path in &rebuilt {
        if after.get(path) == before.get(path) && !going.contains(path) {
            wrong.push(format!("{} was not made again", path.display()));
        }
    }
    for (path, content) in &before {
        let dir = path.parent().unwrap();
        let snapshot = has_suffix(path, ".snapshot");
        let index = ["index", ".snapshot", "leader-epoch-checkpoint"]
            .iter()
            .any(|suffix| has_suffix(path, suffix));
        match after.get(path) {
            None if going.contains(path) || has_suffix(path, ".kafka_cleanshutdown") => {}
            // Producer snapshots of segments that are recovered are removed.
            None if snapshot && (!clean || cut_dirs.contains(dir)) => {}
            // A snapshot without a segment is removed too, if there is a newer one.
            None if snapshot && !before.contains_key(&with_suffix(path, "snapshot", "log")) => {}
            None => wrong.push(format!("{} went", path.display())),
            Some(now) if now == content || sizes.contains_key(path) || coming.contains(path) => {}
            // The indexes of recovered segments are rewritten, damaged or not.
            Some(_) if index && (rebuilt.contains(path) || !clean || cut_dirs.contains(dir)) => {}
            // If an index of aborted transactions is rebuilt, all later ones are rebuilt too.
            Some(_) if index && rebuilt.iter().any(|other| is_aborted_before(other, path)) => {}
            // Both indexes of a segment are rebuilt if one is damaged.
            Some(_)
                if index
                    && rebuilt
                        .iter()
                        .any(|other| other.file_stem() == path.file_stem()) => {}
            Some(_) if begins_later && has_suffix(path, "leader-epoch-checkpoint") => {}
            // Checkpoints have the log end, which may be lower now.
            Some(_) if !faults.is_empty() && has_suffix(path, "-offset-checkpoint") => {}
            Some(now) => wrong.push(format!(
                "{} changed: {} bytes, now {}",
                path.display(),
                content.len(),
                now.len()
            )),
        }
    }
    for path in after.keys().filter(|path| !before.contains_key(*path)) {
        let index = has_suffix(path, "index");
        let dir = path.parent().unwrap();
        let made_again = !clean || cut_dirs.contains(dir);
        let foretold = coming.contains(path) || rebuilt.contains(path);
        let checkpoint = !faults.is_empty() && has_suffix(path, "-offset-checkpoint");
        let snapshot = made_again && has_suffix(path, ".snapshot");
        let lock = has_suffix(path, ".lock");
        if !(foretold || lock || snapshot || checkpoint || index && made_again) {
            wrong.push(format!("{} came", path.display()));
        }
    }
    (faults, wrong)
}

/// Whether `index` is the index of aborted transactions of the same segment as `other`, or of an earlier one.
fn is_aborted_before(index: &Path, other: &Path) -> bool {
    has_suffix(index, ".txnindex")
        && index.parent() == other.parent()
        && index.file_stem() <= other.file_stem()
}

struct Damage<'a> {
    dir: &'a Path,
}

impl Damage<'_> {
    fn file(&self, name: &str) -> PathBuf {
        match name.split_once('.') {
            Some((number, suffix)) if let Ok(number) = number.parse::<usize>() => {
                let mut found: Vec<PathBuf> = fs::read_dir(self.dir.join("t-0"))
                    .unwrap()
                    .map(|entry| entry.unwrap().path())
                    .filter(|path| has_suffix(path, ".log"))
                    .collect();
                found.sort();
                with_suffix(&found[number], "log", suffix)
            }
            _ => self.dir.join(name),
        }
    }

    /// Applies damages in the form `FILE: WHAT`; the file is named by the number of its segment, or by its path in the log
    /// directory.
    fn apply(&self, damage: &str) {
        for one in damage.split(", ") {
            let (name, what) = one.split_once(": ").unwrap();
            let path = self.file(name);
            let words: Vec<&str> = what.split(' ').collect();
            let open = || {
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(&path)
                    .unwrap()
            };
            match words.as_slice() {
                ["gone"] => fs::remove_file(&path).unwrap(),
                ["flip", at] => {
                    let (file, at) = (open(), at.parse().unwrap());
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, at).unwrap();
                    file.write_all_at(&[byte[0] ^ 0x41], at).unwrap();
                }
                ["cut", by] => {
                    let by: u64 = by.parse().unwrap();
                    let file = open();
                    file.set_len(file.metadata().unwrap().len() - by).unwrap();
                }
                ["zeros", more] => {
                    let file = open();
                    let len = file.metadata().unwrap().len();
                    file.set_len(len + more.parse::<u64>().unwrap()).unwrap();
                }
                ["text", ..] => fs::write(&path, what[5..].replace('|', "\n")).unwrap(),
                ["copy", to] => {
                    let _: u64 = fs::copy(&path, with_suffix(&path, &suffix(&path), to)).unwrap();
                }
                ["to", to] => fs::rename(&path, with_suffix(&path, &suffix(&path), to)).unwrap(),
                ["dir", to] => {
                    let to = self.dir.join(to);
                    fs::create_dir(&to).unwrap();
                    fs::copy(self.file("0.log"), to.join(super::file_name(0, ".log"))).unwrap();
                }
                _ => panic!("what is {what}?"),
            }
        }
    }
}

/// The part of a file name after the base offset.
fn suffix(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    name[20..].to_owned()
}

fn check(clean: bool, damage: &str, expected: &Expect) {
    let dir = directory(clean);
    let damaged = Damage { dir: dir.path() };
    if !damage.is_empty() {
        damaged.apply(damage);
    }
    let (faults, wrong) = disagreement(dir.path());
    let lines: Vec<String> = faults
        .iter()
        .map(|fault| {
            let line = fault.to_string();
            line.replace(&format!("{}/", dir.path().display()), "")
                .replace("00000000000000000", "")
        })
        .collect();
    expected.assert_eq(&lines.join("\n"));
    assert_eq!(
        wrong,
        Vec::<String>::new(),
        "{damage}\n{}",
        lines.join("\n")
    );
}

#[test]
fn a_stopped_or_killed_log_has_no_faults() {
    check(true, "", &expect![[""]]);
    check(false, "", &expect![[""]]);
}

#[test]
fn bad_batches_are_cut_off_where_they_are_read_again() {
    check(
        false,
        "4.log: flip 70",
        &expect![
            "t-0/061.log at 0: the checksum of the batch does not match; recovery cuts 121 bytes off here, and offset 61 follows"
        ],
    );
    check(
        false,
        "4.log: cut 10",
        &expect![
            "t-0/061.log at 0: the batch is longer than the file; recovery cuts 111 bytes off here, and offset 61 follows"
        ],
    );
    check(
        false,
        "4.log: zeros 5000",
        &expect![
            "t-0/061.log at 121: zeros up to the end of the file; recovery cuts 5000 bytes off here, and offset 63 follows"
        ],
    );
    check(
        false,
        "3.log: flip 200",
        &expect![[r#"
            t-0/046.log at 199: the offsets of the batch belong to the next segment; recovery cuts 726 bytes off here, removes the segment behind it, and offset 49 follows
            t-0/061.snapshot: it tells of records up to 61, but the log ends at 49; recovery removes it"#]],
    );
    check(
        false,
        "3.log: zeros 100",
        &expect![
            "t-0/046.log at 925: zeros up to the end of the file; recovery cuts 100 bytes off here, and offset 61 follows"
        ],
    );
    check(
        false,
        "0.log: flip 200",
        &expect![
            "t-0/000.log at 121: the checksum of the batch does not match; recovery leaves it: it does not read this segment, but consumers will"
        ],
    );
    check(
        false,
        "recovery-point-offset-checkpoint: gone, 0.log: flip 200",
        &expect![[r#"
            t-0/000.log at 121: the checksum of the batch does not match; recovery cuts 804 bytes off here, removes the 4 segments behind it, and offset 2 follows
            t-0/leader-epoch-checkpoint: epoch 4 begins at 25, but the log ends at 2; recovery makes it again from the log
            t-0/061.snapshot: it tells of records up to 61, but the log ends at 2; recovery removes it
            t-0/046.snapshot: it tells of records up to 46, but the log ends at 2; recovery removes it
            t-0/030.snapshot: it tells of records up to 30, but the log ends at 2; recovery removes it
            t-0/015.snapshot: it tells of records up to 15, but the log ends at 2; recovery removes it"#]],
    );
    check(
        false,
        "recovery-point-offset-checkpoint: text 0|1|t 0, 1.log: flip 8",
        &expect![[r#"
            recovery-point-offset-checkpoint: cannot read: line "t 0" is malformed; recovery leaves it: after an unclean stop every segment is read
            t-0/015.log at 0: the batch is longer than the file; recovery cuts 925 bytes off here, removes the 3 segments behind it, and offset 15 follows
            t-0/leader-epoch-checkpoint: epoch 4 begins at 25, but the log ends at 15; recovery makes it again from the log
            t-0/061.snapshot: it tells of records up to 61, but the log ends at 15; recovery removes it
            t-0/046.snapshot: it tells of records up to 46, but the log ends at 15; recovery removes it
            t-0/030.snapshot: it tells of records up to 30, but the log ends at 15; recovery removes it"#]],
    );
    check(
        true,
        "1.log: flip 200",
        &expect![
            "t-0/015.log at 121: the checksum of the batch does not match; recovery leaves it: it does not read this segment, but consumers will"
        ],
    );
    check(
        true,
        "1.log: flip 10",
        &expect![[r#"
            t-0/015.log at 0: the batch is longer than the file; recovery leaves it: it does not read this segment, but consumers will
            t-0/015.index at 0: offset 18 is not in a batch at position 121; recovery leaves it: it looks at the end of a closed index only, and lookups will be led astray"#]],
    );
    check(
        true,
        "4.log: cut 10",
        &expect![[r#"
            t-0/061.log at 0: the batch is longer than the file; recovery cuts 111 bytes off here, and offset 61 follows
            t-0/063.snapshot: it tells of records up to 63, but the log ends at 61; recovery removes it"#]],
    );
    check(
        true,
        "4.log: zeros 100",
        &expect![
            "t-0/061.log at 121: zeros up to the end of the file; recovery cuts 100 bytes off here, and offset 63 follows"
        ],
    );
}

#[test]
fn indexes_that_look_wrong_are_built_again() {
    check(
        true,
        "1.index: gone",
        &expect!["t-0/015.index: there is none; recovery makes it again from the log"],
    );
    check(
        false,
        "1.index: gone",
        &expect!["t-0/015.index: there is none; recovery makes it again from the log"],
    );
    check(
        true,
        "1.timeindex: cut 1",
        &expect!["t-0/015.timeindex: its last entry is cut; recovery makes it again from the log"],
    );
    check(
        false,
        "1.timeindex: cut 1",
        &expect!["t-0/015.timeindex: its last entry is cut; recovery makes it again from the log"],
    );
    check(
        true,
        "1.index: zeros 16",
        &expect![
            "t-0/015.index at 48: it goes on with zeros: it was not closed; recovery makes it again from the log"
        ],
    );
    check(
        false,
        "1.index: zeros 16",
        &expect![
            "t-0/015.index at 48: it goes on with zeros: it was not closed; recovery makes it again from the log"
        ],
    );
    check(
        true,
        "1.index: flip 3",
        &expect![
            "t-0/015.index at 0: offset 81 is not in a batch at position 121; recovery leaves it: it looks at the end of a closed index only, and lookups will be led astray"
        ],
    );
    check(
        true,
        "1.timeindex: flip 7",
        &expect![
            "t-0/015.timeindex at 12: its entries go back; recovery leaves it: it looks at the end of a closed index only, and lookups will be led astray"
        ],
    );
    check(
        true,
        "1.index: gone, 1.log: cut 3",
        &expect![[r#"
            t-0/015.log at 804: the batch is longer than the file; recovery cuts 118 bytes off here, and offset 28 follows
            t-0/015.index: there is none; recovery makes it again from the log"#]],
    );
    check(
        false,
        "3.index: text abc",
        &expect!["t-0/046.index: its last entry is cut; recovery makes it again from the log"],
    );
    check(
        true,
        "1.txnindex: gone",
        &expect![
            "t-0/015.txnindex: the aborted transaction of producer 7 from 21 to 27 is not in it; recovery leaves it: consumers of committed records may be told wrongly which to skip"
        ],
    );
    check(
        true,
        "1.txnindex: cut 1",
        &expect!["t-0/015.txnindex: its last entry is cut; recovery makes it again from the log"],
    );
    check(
        true,
        "1.txnindex: flip 33",
        &expect![
            "t-0/015.txnindex: its entry of producer 7 from 21 to 27 cannot be; recovery leaves it: consumers of committed records may be told wrongly which to skip"
        ],
    );
    check(
        false,
        "recovery-point-offset-checkpoint: gone, 1.txnindex: flip 33",
        &expect![
            "t-0/015.txnindex: its entry of producer 7 from 21 to 27 cannot be; recovery makes it again from the log"
        ],
    );
}

#[test]
fn what_interrupted_work_left_is_undone_or_finished() {
    check(
        true,
        "0.log: copy .log.deleted, 0.index: copy .index.cleaned",
        &expect![[r#"
            t-0/000.index.cleaned: a compaction that was cut short; recovery removes it
            t-0/000.log.deleted: a deleted file whose time had not come; recovery removes it"#]],
    );
    check(
        true,
        "1.log: copy .log.swap, 1.index: to .index.swap, 1.timeindex: to .timeindex.swap",
        &expect![[r#"
            t-0/015.log: compacted into the segment that begins at 15; recovery removes it
            t-0/015.txnindex: compacted into the segment that begins at 15; recovery removes it
            t-0/015.index.swap: a finished compaction that had not taken its place; recovery finishes the compaction with it
            t-0/015.log.swap: a finished compaction that had not taken its place; recovery finishes the compaction with it
            t-0/015.timeindex.swap: a finished compaction that had not taken its place; recovery finishes the compaction with it"#]],
    );
    check(
        false,
        "1.log: to .log.swap",
        &expect![[r#"
            t-0/015.index: compacted into the segment that begins at 15; recovery removes it
            t-0/015.timeindex: compacted into the segment that begins at 15; recovery removes it
            t-0/015.txnindex: compacted into the segment that begins at 15; recovery removes it
            t-0/015.log.swap: a finished compaction that had not taken its place; recovery finishes the compaction with it
            t-0/015.index: there is none; recovery makes it again from the log
            t-0/015.timeindex: there is none; recovery makes it again from the log"#]],
    );
    check(
        true,
        "1.log: copy .log.swap, 0.index: copy .index.cleaned",
        &expect![[r#"
            t-0/000.index.cleaned: a compaction that was cut short; recovery removes it
            t-0/015.log.swap: a finished file of a compaction that was cut short; recovery removes it"#]],
    );
    check(
        true,
        "2.log: gone",
        &expect![[r#"
            t-0/030.index: an index without a data file; recovery removes it
            t-0/030.timeindex: an index without a data file; recovery removes it
            t-0/015.log: offsets 30 to 45 are in no segment; recovery leaves it: consumers pass over them; if this log was never compacted, these records are lost"#]],
    );
    check(
        true,
        "1.log: gone, 1.index: gone, 1.timeindex: gone",
        &expect![[r#"
            t-0/015.index: an index without a data file; recovery removes it
            t-0/015.timeindex: an index without a data file; recovery removes it
            t-0/015.txnindex: an index without a data file; recovery removes it
            t-0/000.log: offsets 15 to 29 are in no segment; recovery leaves it: consumers pass over them; if this log was never compacted, these records are lost
            t-0/030.index: there is none; recovery makes it again from the log
            t-0/030.timeindex: there is none; recovery makes it again from the log"#]],
    );
    check(
        true,
        "x: dir t-1.0123456789abcdef0123456789abcdef-delete",
        &expect![
            "t-1.0123456789abcdef0123456789abcdef-delete: a deleted partition; the next start removes it after file.delete.delay.ms"
        ],
    );
    check(
        true,
        "x: dir t-1.0123456789abcdef0123456789abcdef-stray",
        &expect![
            "t-1.0123456789abcdef0123456789abcdef-stray: a partition that was put aside; recovery leaves it: remove it if nobody misses it"
        ],
    );
    check(
        false,
        "x: dir t-1.0123456789abcdef0123456789abcdef-future",
        &expect![[r#"
            t-1.0123456789abcdef0123456789abcdef-future: the copy of a replica that moves between log directories; recovery leaves it: the move goes on
            t-1.0123456789abcdef0123456789abcdef-future/000.index: there is none; recovery makes it again from the log
            t-1.0123456789abcdef0123456789abcdef-future/000.timeindex: there is none; recovery makes it again from the log
            t-1.0123456789abcdef0123456789abcdef-future/leader-epoch-checkpoint: offset 0 was written in epoch 1, which it does not say; recovery makes it again from the log
            t-1.0123456789abcdef0123456789abcdef-future: there is no partition.metadata, so it may be of any topic of its name; the next start removes it after file.delete.delay.ms"#]],
    );
}

#[test]
fn epochs_and_snapshots_are_held_against_the_log() {
    check(
        true,
        "t-0/leader-epoch-checkpoint: text 0|2|1 0|x",
        &expect![
            "t-0/leader-epoch-checkpoint: cannot read: line \"x\" is malformed; recovery makes it again from the log"
        ],
    );
    check(
        false,
        "t-0/leader-epoch-checkpoint: text 0|2|1 0|x",
        &expect![
            "t-0/leader-epoch-checkpoint: cannot read: line \"x\" is malformed; recovery makes it again from the log"
        ],
    );
    check(
        true,
        "t-0/leader-epoch-checkpoint: text 0|1|1 0",
        &expect![
            "t-0/leader-epoch-checkpoint: offset 25 was written in epoch 4, which it does not say; recovery leaves it: followers and clients may be told a wrong end of an epoch"
        ],
    );
    check(
        false,
        "t-0/leader-epoch-checkpoint: text 0|1|1 0",
        &expect![
            "t-0/leader-epoch-checkpoint: offset 25 was written in epoch 4, which it does not say; recovery makes it again from the log"
        ],
    );
    check(
        true,
        "t-0/leader-epoch-checkpoint: gone",
        &expect![[r#"
            t-0/leader-epoch-checkpoint: offset 0 was written in epoch 1, which it does not say; recovery leaves it: followers and clients may be told a wrong end of an epoch
            t-0/leader-epoch-checkpoint: offset 25 was written in epoch 4, which it does not say; recovery leaves it: followers and clients may be told a wrong end of an epoch"#]],
    );
    check(
        false,
        "t-0/leader-epoch-checkpoint: gone",
        &expect![[r#"
            t-0/leader-epoch-checkpoint: offset 0 was written in epoch 1, which it does not say; recovery makes it again from the log
            t-0/leader-epoch-checkpoint: offset 25 was written in epoch 4, which it does not say; recovery makes it again from the log"#]],
    );
    check(
        true,
        "t-0/leader-epoch-checkpoint: text 0|3|1 0|4 25|5 100",
        &expect![
            "t-0/leader-epoch-checkpoint: epoch 5 begins at 100, but the log ends at 63; recovery makes it again from the log"
        ],
    );
    check(
        false,
        "t-0/leader-epoch-checkpoint: text 0|3|1 0|4 25|5 100",
        &expect![
            "t-0/leader-epoch-checkpoint: epoch 5 begins at 100, but the log ends at 63; recovery makes it again from the log"
        ],
    );
    check(
        false,
        "recovery-point-offset-checkpoint: gone, t-0/leader-epoch-checkpoint: gone",
        &expect![[r#"
            t-0/leader-epoch-checkpoint: offset 0 was written in epoch 1, which it does not say; recovery makes it again from the log
            t-0/leader-epoch-checkpoint: offset 25 was written in epoch 4, which it does not say; recovery makes it again from the log"#]],
    );
    check(
        true,
        "1.snapshot: text ab",
        &expect!["t-0/015.snapshot: it is too short; recovery leaves it: a newer one is read"],
    );
    check(
        true,
        "t-0/00000000000000000063.snapshot: flip 3",
        &expect!["t-0/063.snapshot: its checksum does not match; recovery removes it"],
    );
    check(
        false,
        "2.snapshot: flip 3",
        &expect![
            "t-0/030.snapshot: its checksum does not match; recovery makes it again from the log"
        ],
    );
    check(
        false,
        "4.log: gone, 3.log: gone",
        &expect![[r#"
        t-0/046.index: an index without a data file; recovery removes it
        t-0/046.timeindex: an index without a data file; recovery removes it
        t-0/061.index: an index without a data file; recovery removes it
        t-0/061.timeindex: an index without a data file; recovery removes it
        t-0/061.snapshot: it tells of records up to 61, but the log ends at 46; recovery removes it"#]],
    );
    check(
        true,
        "4.log: gone, 3.log: gone",
        &expect![[r#"
        t-0/046.index: an index without a data file; recovery removes it
        t-0/046.timeindex: an index without a data file; recovery removes it
        t-0/061.index: an index without a data file; recovery removes it
        t-0/061.timeindex: an index without a data file; recovery removes it
        t-0/063.snapshot: it tells of records up to 63, but the log ends at 46; recovery removes it
        t-0/061.snapshot: it tells of records up to 61, but the log ends at 46; recovery removes it"#]],
    );
    for clean in [true, false] {
        check(
            clean,
            "t-0/partition.metadata: text version: 0",
            &expect![
                "t-0/partition.metadata: cannot read: there is no topic_id; recovery leaves it: the partition is that of the topic of its name, which is then written"
            ],
        );
        check(
            clean,
            "t-0/partition.metadata: text ",
            &expect![
                "t-0/partition.metadata: cannot read: there is no topic_id; recovery leaves it: the partition is that of the topic of its name, which is then written"
            ],
        );
        check(
            clean,
            "t-0/partition.metadata: cut 3",
            &expect![
                "t-0/partition.metadata: cannot read: 'AQEBAQEBAQEBAQEBAQE' is not an id: expected 22 characters of URL-safe base64; recovery leaves it: the partition is that of the topic of its name, which is then written"
            ],
        );
        check(
            clean,
            "t-0/partition.metadata: flip 30",
            &expect![
                "t-0/partition.metadata: cannot read: 'AQEBAQEBAEBAQEBAQEBAQ' is not an id: expected 22 characters of URL-safe base64; recovery leaves it: the partition is that of the topic of its name, which is then written"
            ],
        );
        check(
            clean,
            "t-0/partition.metadata: text version: 0|topic_id: AAAAAAAAAAAAAAAAAAAAAA",
            &expect![
                "t-0/partition.metadata: cannot read: its topic_id is zero; recovery leaves it: the partition is that of the topic of its name, which is then written"
            ],
        );
    }
    check(
        true,
        "t-0/partition.metadata: gone",
        &expect![
            "t-0: there is no partition.metadata, so it may be of any topic of its name; the next start puts it aside"
        ],
    );
    check(
        true,
        "log-start-offset-checkpoint: text 0|1|t 0",
        &expect![
            r#"log-start-offset-checkpoint: cannot read: line "t 0" is malformed; recovery leaves it: every log begins with its first segment, whatever was deleted of it"#
        ],
    );
    check(
        true,
        "t-0/leader-epoch-checkpoint: text 1|1|0 0",
        &expect![
            "t-0/leader-epoch-checkpoint: cannot read: its version 1 is unknown: a newer program wrote it; use that one, or remove the file; a start takes the log directory out of use"
        ],
    );
    check(
        true,
        "log-start-offset-checkpoint: text 7",
        &expect![
            "log-start-offset-checkpoint: cannot read: its version 7 is unknown: a newer program wrote it; use that one, or remove the file; a start takes the log directory out of use"
        ],
    );
    check(
        true,
        "cleaner-offset-checkpoint: text 7",
        &expect![
            "cleaner-offset-checkpoint: cannot read: its version 7 is unknown: a newer program wrote it; use that one, or remove the file; a start takes the log directory out of use"
        ],
    );
    check(
        true,
        "replication-offset-checkpoint: text 7",
        &expect![
            "replication-offset-checkpoint: cannot read: its version 7 is unknown: a newer program wrote it; use that one, or remove the file; a start takes the log directory out of use"
        ],
    );
    check(
        true,
        "log-start-offset-checkpoint: text 0|1|t 0 1000",
        &expect![
            "t-0: the log ends at 63, but is said to begin at 1000; recovery leaves it: the next record gets that offset"
        ],
    );
}

#[test]
fn a_bad_identity_is_told() {
    let dir = directory(true);
    fs::write(dir.path().join("meta.properties"), "version=7\n").unwrap();
    fs::write(dir.path().join("x-checkpoint.tmp"), "").unwrap();
    let told = |faults: Vec<Fault>| {
        faults
            .iter()
            .map(Fault::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let faults = told(verify(Disk::default().dir(dir.path())).unwrap().faults);
    let faults = faults.replace(&format!("{}/", dir.path().display()), "");
    expect![[r#"
        meta.properties: cannot read: its version 7 is unknown: a newer program wrote it; use that one, or another directory; a start refuses the directory
        x-checkpoint.tmp: what a crash left of a file that was being replaced; recovery leaves it: the next of its kind is written over it"#]].assert_eq(&faults);
    // For a partition's directory alone, the files of the log directory are used too.
    let report = verify(Disk::default().dir(&dir.path().join("t-0"))).unwrap();
    assert_eq!(
        (report.logs, report.segments, report.batches, report.faults),
        (1, 5, 33, vec![])
    );
}

/// Damages some files of a directory at random, and compares the report with the next start.
fn random_damage(seed: u64) {
    let mut dice = Dice(seed);
    let dir = directory(dice.one_in(2));
    let files: Vec<PathBuf> = tree(dir.path()).into_keys().collect();
    let mut story = String::new();
    for _ in 0..=dice.below(3) {
        let path = &files[dice.below(files.len() as u64) as usize];
        if !path.exists() || has_suffix(path, "meta.properties") {
            continue;
        }
        let mut content = fs::read(path).unwrap();
        let at = dice.below(content.len() as u64 + 1) as usize;
        let kind = dice.below(6);
        match kind {
            0 if !has_suffix(path, ".log") => {
                fs::remove_file(path).unwrap();
                story.push_str(&format!("{} gone\n", path.display()));
                continue;
            }
            1 => content.truncate(at),
            2 => content.extend(vec![0; at]),
            3 => content.extend((0..at).map(|_| dice.below(256) as u8)),
            4 => content[at..].fill(0),
            _ if at < content.len() => content[at] ^= 1 << dice.below(8),
            _ => {}
        }
        story.push_str(&format!("{} {kind} {at}\n", path.display()));
        fs::write(path, content).unwrap();
    }
    let (faults, wrong) = disagreement(dir.path());
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    assert_eq!(
        wrong,
        Vec::<String>::new(),
        "seed {seed}\n{story}\n{}",
        lines.join("\n")
    );
}

/// Seeds for which they once differed.
const LESSONS: [u64; 6] = [10_184, 11_341, 12_429, 13_505, 19_858, 29_957];

#[test]
fn a_start_does_what_was_foretold_whatever_the_damage() {
    LESSONS.into_iter().for_each(random_damage);
    for seed in seeds_from_environment("MONEDULA_VERIFY_SEEDS", 60) {
        random_damage(seed);
    }
}
