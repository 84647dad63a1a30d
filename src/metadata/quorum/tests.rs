//! The files of the metadata, damaged at random: a start gives the whole cluster, or an error with the path; half of it never.

use std::fs;
use std::path::Path;

use super::single::{SingleQuorum, fold_snapshot};
use super::upkeep::Upkeep;
use crate::config::broker::standalone;
use crate::host::disk::Disk;
use crate::metadata::bootstrap;
use crate::metadata::image::Image;
use crate::metadata::record::schema::FeatureLevelRecord;
use crate::wire::message::arbitrary::Dice;
use crate::wire::message::fuzz::{damaged, most_memory, seeds_from_environment};

const NOW: i64 = 1_000_000;
const MEMORY_MAX: usize = 32 << 20;

fn recorded(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-tests/recordings");
    fs::read(root.join(name)).unwrap()
}

fn open(dir: &Path, clean: bool) -> Result<(SingleQuorum, Image), String> {
    let settings = standalone(&[]).unwrap().config.settings.clone();
    SingleQuorum::open(
        Disk::default().dir(dir),
        1,
        clean,
        Upkeep::new(&settings),
        NOW,
    )
    .map_err(|error| error.to_string())
}

/// A snapshot and a log behind it.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut quorum, image) = open(dir.path(), false).unwrap();
    assert_eq!(image.features.len(), 0);
    quorum.commit(&bootstrap::records(false), NOW).unwrap();
    quorum.sync(NOW).unwrap();
    drop(quorum);
    let (mut quorum, image) = open(dir.path(), false).unwrap();
    quorum.snapshot(&image, NOW).unwrap();
    quorum.idle(NOW).unwrap();
    quorum.close().unwrap();
    dir
}

/// What one file of the directory is spoiled to, and what a start makes of it.
fn spoiled(
    suffix: &str,
    content: impl Fn(Vec<u8>) -> Vec<u8>,
    clean: bool,
) -> Result<Image, String> {
    let dir = directory();
    let inside = dir.path().join("__cluster_metadata-0");
    let mut names: Vec<_> = fs::read_dir(&inside)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect();
    names.sort();
    let path = names.pop().unwrap();
    fs::write(&path, content(fs::read(&path).unwrap())).unwrap();
    let (opened, memory) = most_memory(|| open(dir.path(), clean));
    assert!(memory < MEMORY_MAX, "{memory} bytes for {suffix}");
    opened.map(|(_, image)| image).map_err(|error| {
        assert!(error.contains("__cluster_metadata-0"), "{error}");
        error
    })
}

#[test]
fn half_a_snapshot_is_no_cluster() {
    let whole = spoiled(".checkpoint", |content| content, true).unwrap();
    assert!(!whole.features.is_empty());
    let len = std::cell::Cell::new(0);
    let measure = |content: Vec<u8>| {
        len.set(content.len());
        content
    };
    spoiled(".checkpoint", measure, true).unwrap();
    let len = len.get();
    for cut in (0..len).step_by(len / 40 + 1) {
        let cut_short = |content: Vec<u8>| content[..cut].to_vec();
        let error = spoiled(".checkpoint", cut_short, true).unwrap_err();
        assert!(error.contains(".checkpoint"), "{error}");
    }
}

#[test]
fn damaged_metadata_are_whole_or_refused() {
    let names = [
        ".checkpoint",
        ".log",
        ".index",
        ".snapshot",
        "leader-epoch-checkpoint",
        "quorum-state",
    ];
    let whole = spoiled(".checkpoint", |content| content, true).unwrap();
    for seed in seeds_from_environment("MONEDULA_READERS", 60) {
        let name = names[Dice::new(seed).below(names.len() as u64) as usize];
        let content = |content: Vec<u8>| damaged(&mut Dice::new(seed), &content).to_vec();
        match spoiled(name, content, seed % 2 == 0) {
            Ok(image) => assert_eq!(image.features, whole.features, "seed {seed}: {name}"),
            Err(error) => assert!(
                [".checkpoint", ".log"].contains(&name),
                "seed {seed}: {error}"
            ),
        }
    }
}

/// The snapshot with which Apache Kafka formats a directory.
#[test]
fn a_damaged_snapshot_of_apache_kafka_is_refused() {
    let whole = recorded("directory/bootstrap.checkpoint");
    let dir = tempfile::tempdir().unwrap();
    let path = dir
        .path()
        .join("00000000000000000042-0000000003.checkpoint");
    let read = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let mut records = Vec::new();
        let (folded, memory) =
            most_memory(|| fold_snapshot(&path, |record, _| records.push(format!("{record:?}"))));
        assert!(memory < MEMORY_MAX, "{memory} bytes");
        folded.map(|()| records).map_err(|error| error.to_string())
    };
    let records = read(&whole).unwrap();
    assert!(records.len() > 3);
    for seed in seeds_from_environment("MONEDULA_READERS", 500) {
        match read(&damaged(&mut Dice::new(seed), &whole)) {
            Ok(found) => assert_eq!(found, records, "seed {seed}"),
            Err(error) => assert!(error.contains(".checkpoint"), "seed {seed}: {error}"),
        }
    }
    fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let (read, memory) = most_memory(|| fold_snapshot(&path, |_, _| {}));
    assert!(read.is_err() && memory < MEMORY_MAX, "{memory} bytes");
}

/// What a newer program made is left as it is.
#[test]
fn a_cluster_of_newer_features_is_refused_by_name_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let (mut quorum, _) = open(dir.path(), true).unwrap();
    quorum.commit(&bootstrap::records(false), NOW).unwrap();
    let newer = |name: &str, level| FeatureLevelRecord {
        name: name.into(),
        feature_level: level,
    };
    let records = [
        newer("share.version", 3).into(),
        newer("metadata.version", 34).into(),
    ];
    quorum.commit(&records, NOW).unwrap();
    quorum.sync(NOW).unwrap();
    drop(quorum);
    let files = || -> Vec<_> {
        let log = dir.path().join("__cluster_metadata-0");
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.unwrap().path();
            (path.clone(), fs::read(path).unwrap())
        };
        let mut all: Vec<_> = fs::read_dir(log).unwrap().map(read).collect();
        all.sort();
        all
    };
    let before = files();
    let refused = open(dir.path(), true).unwrap_err();
    for named in [
        "metadata.version has level 34, and levels 7 to 33 are supported",
        "share.version has level 3, and levels 0 to 2 are supported",
    ] {
        assert!(refused.contains(named), "{refused}");
    }
    assert_eq!(files(), before);
}
