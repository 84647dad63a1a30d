//! Small files of Apache Kafka, damaged at random and read: the result is in the file, or the error names the file. No reader
//! panics, hangs, or allocates memory because a file claims to be large.

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::disk::Dice;
use super::mutations::{batches, damage, everything};
use super::*;
use crate::log::checkpoint;
use crate::log::dir::{self, MetaProperties};
use crate::log::error::StorageError;
use crate::log::recovery::read_snapshot;
use crate::wire::message::fuzz::{most_memory, seeds_from_environment};

/// Memory limit of a reader in bytes: more than the recorded files need, less than a sparse file would need.
const MEMORY_MAX: usize = 8 << 20;
const SPARSE: u64 = 1 << 30;
const OFFSETS: [&str; 3] = [
    checkpoint::RECOVERY_POINTS,
    checkpoint::LOG_STARTS,
    checkpoint::HIGH_WATERMARKS,
];
const ZOOKEEPERS: &str =
    "#\n#Mon Jan 06 09:11:12 UTC 2020\nbroker.id=3\nversion=0\ncluster.id=5L6g3nShT-eMCtK--X86sw\n";
/// Name of the log file in the partition's directory.
const LOG: &str = "00000000000000000000.log";

fn recorded(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-tests/recordings/directory");
    fs::read(root.join(name)).unwrap()
}

fn partition(dir: &Path) -> PathBuf {
    let path = dir.join("transactional-0");
    fs::create_dir(&path).unwrap();
    for name in inside() {
        fs::write(
            path.join(&name),
            recorded(&format!("transactional-0/{name}")),
        )
        .unwrap();
    }
    path
}

fn inside() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = root.join("compat-tests/recordings/directory/transactional-0");
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> = names
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 7);
    names
}

/// Damages bytes as in any other file, or lines as in a text file.
fn spoil(dice: &mut Dice, content: &mut Vec<u8>, other: &[u8]) {
    let at = dice.below(content.len() as u64 + 1) as usize;
    let mut lines: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
    let (one, two) = (
        dice.below(lines.len() as u64) as usize,
        dice.below(lines.len() as u64) as usize,
    );
    match dice.below(12) {
        0 => {
            lines.swap(one, two);
            *content = lines.join(&b'\n');
        }
        1 => *content = lines.join(&b"\r\n"[..]),
        2 => {
            lines.remove(one);
            *content = lines.join(&b'\n');
        }
        3 => {
            lines.insert(one, lines[two]);
            *content = lines.join(&b'\n');
        }
        4 => {
            lines[one] = b"9223372036854775807";
            *content = lines.join(&b'\n');
        }
        5 => {
            let words: Vec<_> = lines[one].split(|byte| *byte == b' ').collect();
            let mut words: Vec<&[u8]> = words;
            let word = dice.below(words.len() as u64) as usize;
            let odd: [&[u8]; 5] = [
                b"9223372036854775807",
                b"-9223372036854775808",
                b"18446744073709551616",
                b"\xff\xfe",
                b"-1",
            ];
            words[word] = odd[dice.below(5) as usize];
            let line = words.join(&b' ');
            lines[one] = &line;
            *content = lines.join(&b'\n');
        }
        6 => drop(content.splice(at..at, [0; 3])),
        7 => content.extend(vec![b'7'; 1 << dice.below(14)]),
        _ if content.is_empty() => {}
        _ => drop(damage(dice, content, other)),
    }
}

/// Reads a file with every reader for its name; `Err` if all of them fail. Results are returned as words.
fn read(path: &Path) -> Result<Vec<String>, StorageError> {
    let disk = &own_disk();
    let name = path.file_name().unwrap().to_str().unwrap();
    Ok(match name {
        "meta.properties" => {
            let meta = MetaProperties::read(disk.dir(path.parent().unwrap()))?.unwrap();
            let mut found = vec![];
            found.extend(meta.cluster_id);
            found.extend(meta.node_id.map(|id| id.to_string()));
            found.extend(meta.directory_id.map(|id| id.to_string()));
            found
        }
        "partition.metadata" => {
            let id = dir::read_partition_metadata(disk.dir(path.parent().unwrap()))?;
            vec![id.unwrap().to_string()]
        }
        checkpoint::LEADER_EPOCHS => {
            let epochs = checkpoint::read_epochs(disk, path)?.into_iter();
            epochs
                .flat_map(|(epoch, start)| [epoch.to_string(), start.to_string()])
                .collect()
        }
        name if name.ends_with(".snapshot") => {
            let states = read_snapshot(disk, path)?.map_err(|what| malformed(path, what))?;
            states.iter().map(|(id, _)| id.to_string()).collect()
        }
        _ => {
            let offsets = checkpoint::read_offsets(disk, path)?.into_iter();
            offsets
                .flat_map(|(name, offset)| {
                    [
                        name.topic.to_string(),
                        name.partition.to_string(),
                        offset.to_string(),
                    ]
                })
                .collect()
        }
    })
}

fn malformed(path: &Path, what: &str) -> StorageError {
    crate::log::error::malformed(path, what)
}

/// Whether a text contains a word; numbers may be formatted differently.
fn stands_in(word: &str, text: &str) -> bool {
    let same = |number: i64| {
        let mut words = text.split(|one: char| one.is_whitespace() || one == '=');
        words.any(|other| other.parse().is_ok_and(|other: i64| other == number))
    };
    text.contains(word) || word.parse().is_ok_and(same)
}

fn alone(seed: u64) {
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<(&str, Vec<u8>)> = [
        ("meta.properties", recorded("meta.properties")),
        ("meta.properties", ZOOKEEPERS.as_bytes().to_vec()),
        (
            "partition.metadata",
            recorded("transactional-0/partition.metadata"),
        ),
        (
            checkpoint::LEADER_EPOCHS,
            b"0\n3\n0 0\n2 17\n5 40\n".to_vec(),
        ),
        (
            "00000000000000000008.snapshot",
            recorded("transactional-0/00000000000000000008.snapshot"),
        ),
    ]
    .into_iter()
    .chain(OFFSETS.map(|name| (name, recorded(name))))
    .collect();
    let (name, original) = &files[dice.below(files.len() as u64) as usize];
    let other = &files[dice.below(files.len() as u64) as usize].1;
    let path = dir.path().join(name);
    fs::write(&path, original).unwrap();
    let whole = read(&path).unwrap();
    assert!(!whole.is_empty(), "nothing in {name}");

    let mut content = original.clone();
    for _ in 0..=dice.below(2) {
        spoil(&mut dice, &mut content, other);
    }
    fs::write(&path, &content).unwrap();
    let (found, memory) = most_memory(|| read(&path));
    assert!(
        memory < MEMORY_MAX,
        "seed {seed}: {memory} bytes for {name}"
    );
    match found {
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains(name), "seed {seed}: {said}");
            assert!(said.len() < 2_000, "seed {seed}: {} bytes", said.len());
        }
        // Producer snapshots have a checksum.
        Ok(found) if name.ends_with(".snapshot") => assert_eq!(found, whole, "seed {seed}"),
        Ok(found) => {
            let written = String::from_utf8_lossy(&content);
            for word in found {
                let there = stands_in(&word, &written);
                assert!(there, "seed {seed}: {word} does not stand in {name}");
            }
        }
    }
}

#[test]
fn a_damaged_small_file_gives_what_stands_in_it_or_an_error() {
    for seed in seeds_from_environment("MONEDULA_READERS", 1_000) {
        alone(seed);
    }
}

/// Opens the recorded partition with one or two damaged files beside its log.
fn together(seed: u64) {
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir_in(crashes::scratch()).unwrap();
    let path = partition(dir.path());
    let whole = batches(&path.join(LOG));
    let names: Vec<_> = inside().into_iter().filter(|name| name != LOG).collect();
    for _ in 0..=dice.below(2) {
        let name = &names[dice.below(names.len() as u64) as usize];
        let other = recorded(&format!(
            "transactional-0/{}",
            names[dice.below(names.len() as u64) as usize]
        ));
        let mut content = fs::read(path.join(name)).unwrap();
        spoil(&mut dice, &mut content, &other);
        fs::write(path.join(name), content).unwrap();
    }
    let clean = dice.one_in(2);
    let (log, memory) = most_memory(|| try_open(&path, clean));
    assert!(memory < MEMORY_MAX, "seed {seed}: {memory} bytes");
    let log = match log {
        Ok(log) => log,
        // An unknown version is an error that must not be repaired.
        Err(error) if error.source.kind() == ErrorKind::Unsupported => {
            let epochs = path.join(checkpoint::LEADER_EPOCHS);
            let version = fs::read(&epochs).unwrap();
            let version = String::from_utf8_lossy(&version);
            let version: u32 = version.lines().next().unwrap().parse().unwrap();
            assert!(version > 0 && error.path == epochs, "seed {seed}: {error}");
            return;
        }
        Err(error) => panic!("seed {seed}: {error}"),
    };
    // The records are not damaged, so all of them must be there.
    fs::write(dir.path().join("read"), everything(&log)).unwrap();
    assert_eq!(batches(&dir.path().join("read")), whole, "seed {seed}");
    assert_eq!(log.reader().log_end(), 8, "seed {seed}");
    let aborted = log
        .reader()
        .read(0, 1_000, ReadEnd::LastStable, true)
        .unwrap()
        .aborted;
    if !clean {
        let aborted = aborted.unwrap_or_default();
        assert_eq!(aborted.len(), 1, "seed {seed}");
        assert_eq!((aborted[0].first_offset, aborted[0].last_offset), (0, 2));
        assert_eq!(log.reader().latest_epoch(), Some(0), "seed {seed}");
    }
    log.close().unwrap();
}

fn try_open(path: &Path, clean: bool) -> Result<PartitionLog, StorageError> {
    let disk = own_disk();
    let topic_id = dir::topic_id(disk.dir(path))?.unwrap_or_default();
    let known = Known {
        clean,
        recovery_point: 0,
        log_start: None,
    };
    let name = TopicPartition::new("transactional", 0);
    PartitionLog::open(
        disk.dir(path),
        name,
        topic_id,
        small(),
        known,
        Offset::MAX,
        NOW,
    )
}

#[test]
fn damaged_files_around_a_log_cost_no_record() {
    for seed in seeds_from_environment("MONEDULA_READERS", 400) {
        together(seed);
    }
}

type Make = fn(&Path);

/// Replaces each file by something else: a gigabyte without contents, a directory, a pipe, links.
#[test]
fn what_is_no_file_keeps_nobody_waiting() {
    let kinds: [(&str, Make); 6] = [
        ("a gigabyte", |path| {
            File::create(path).unwrap().set_len(SPARSE).unwrap();
        }),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a pipe", |path| {
            let (kind, mode) = (rustix::fs::FileType::Fifo, 0o644.into());
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
        }),
        ("a link to nowhere", |path| {
            std::os::unix::fs::symlink("/nowhere/at all", path).unwrap();
        }),
        ("a link to itself", |path| {
            std::os::unix::fs::symlink(path, path).unwrap();
        }),
        ("a link to a device", |path| {
            std::os::unix::fs::symlink("/dev/zero", path).unwrap();
        }),
    ];
    for (kind, make) in kinds {
        let names = ["meta.properties", checkpoint::RECOVERY_POINTS];
        for name in names.into_iter().chain(OFFSETS) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            make(&path);
            let disk = own_disk();
            let nothing = || match name {
                "meta.properties" => {
                    MetaProperties::read(disk.dir(dir.path())).map(|found| found.is_none())
                }
                _ => checkpoint::read_offsets(&disk, &path).map(|found| found.is_empty()),
            };
            let (read, memory) = most_memory(nothing);
            assert!(memory < MEMORY_MAX, "{memory} bytes for {kind} as {name}");
            match read {
                Ok(empty) => assert!(empty && kind == "a link to nowhere", "{kind} as {name}"),
                Err(error) => assert!(error.to_string().contains(name), "{error}"),
            }
        }
        for name in inside() {
            for clean in [true, false] {
                let big = name == LOG && kind == "a gigabyte";
                if big {
                    // Zeros at the end of an index are normal for a preallocated segment, and are tested elsewhere.
                    continue;
                }
                let dir = tempfile::tempdir().unwrap();
                let path = partition(dir.path());
                fs::remove_file(path.join(&name)).unwrap();
                make(&path.join(&name));
                let (log, memory) = most_memory(|| try_open(&path, clean));
                assert!(memory < MEMORY_MAX, "{memory} bytes for {kind} as {name}");
                match log {
                    Ok(log) => assert_eq!(log.reader().log_end(), 8, "{kind} as {name}"),
                    Err(error) => {
                        assert!(error.to_string().contains(&name), "{kind}: {error}");
                    }
                }
            }
        }
    }
}
