//! Metadata files with random damage: a start returns the complete cluster or an error with the path, never a part of the
//! cluster.

use std::fs;
use std::path::Path;

use super::single::SingleQuorum;
use super::upkeep::Upkeep;
use super::{ProposeError, Quorum};
use crate::base::ids::Uuid;
use crate::config::broker::{BrokerSettings, standalone};
use crate::host::disk::Disk;
use crate::metadata::bootstrap;
use crate::metadata::image::Image;
use crate::metadata::loader::{Committed, Loader};
use crate::metadata::record::Record;
use crate::metadata::record::schema::{FeatureLevelRecord, NoOpRecord, TopicRecord};
use crate::metadata::snapshots;
use crate::wire::message::arbitrary::Dice;
use crate::wire::message::fuzz::{damaged, most_memory, seeds_from_environment};

const NOW: i64 = 1_000_000;
const MEMORY_MAX: usize = 32 << 20;

fn recorded(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-tests/recordings");
    fs::read(root.join(name)).unwrap()
}

/// A quorum of one node, and the image of its committed records.
pub(crate) struct Member {
    pub(crate) quorum: SingleQuorum,
    loader: Loader,
}

impl Member {
    pub(crate) fn open(dir: &Path, clean: bool, upkeep: Upkeep) -> Result<Self, String> {
        let opened = SingleQuorum::open(Disk::default().dir(dir), 1, clean, upkeep, NOW);
        let (quorum, image) = opened.map_err(|error| error.to_string())?;
        let loader = Loader::new(image);
        Ok(Self { quorum, loader })
    }

    pub(crate) fn image(&self) -> &Image {
        self.loader.image()
    }

    pub(crate) fn commit(&mut self, records: &[Record]) {
        let epoch = self.quorum.leadership().epoch;
        let first = self.loader.image().offset + 1;
        let proposed = self.quorum.propose(epoch, records.to_vec(), NOW);
        assert_eq!(proposed.unwrap(), first);
        self.loader.take(self.quorum.committed(NOW).unwrap());
    }

    pub(crate) fn snapshot(&mut self) {
        self.quorum.snapshot(self.loader.image(), NOW).unwrap();
    }
}

pub(crate) fn upkeep() -> Upkeep {
    Upkeep::new(&BrokerSettings::default())
}

fn open(dir: &Path, clean: bool) -> Result<Member, String> {
    let settings = standalone(&[]).unwrap().config.settings.clone();
    Member::open(dir, clean, Upkeep::new(&settings))
}

/// A directory with a snapshot and a log after it.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut member = open(dir.path(), false).unwrap();
    assert_eq!(member.image().features.len(), 0);
    member.commit(&bootstrap::records(false));
    drop(member);
    let mut member = open(dir.path(), false).unwrap();
    member.snapshot();
    member.commit(&[NoOpRecord {}.into()]);
    member.quorum.close().unwrap();
    dir
}

/// Result of a start after one file of the directory was changed by `content`.
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
    opened
        .map(|member| member.image().clone())
        .map_err(|error| {
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

/// The snapshot that Apache Kafka writes when it formats a directory.
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
        let (folded, memory) = most_memory(|| {
            snapshots::read(&Disk::default(), &path, |record, _| {
                records.push(format!("{record:?}"))
            })
        });
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
    let (read, memory) = most_memory(|| snapshots::read(&Disk::default(), &path, |_, _| {}));
    assert!(read.is_err() && memory < MEMORY_MAX, "{memory} bytes");
}

/// Files of a newer program are not changed.
#[test]
fn a_cluster_of_newer_features_is_refused_by_name_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let mut member = open(dir.path(), true).unwrap();
    member.commit(&bootstrap::records(false));
    let newer = |name: &str, level| FeatureLevelRecord {
        name: name.into(),
        feature_level: level,
    };
    let records = [
        newer("share.version", 3).into(),
        newer("metadata.version", 34).into(),
    ];
    member.commit(&records);
    drop(member);
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
    let refused = open(dir.path(), true).err().unwrap();
    for named in [
        "metadata.version has level 34, and levels 7 to 33 are supported",
        "share.version has level 3, and levels 0 to 2 are supported",
    ] {
        assert!(refused.contains(named), "{refused}");
    }
    assert_eq!(files(), before);
}

/// Decisions of an older epoch were made without knowledge of what another leader has done since.
#[test]
fn records_of_another_epoch_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut member = open(dir.path(), true).unwrap();
    let epoch = member.quorum.leadership().epoch;
    let end = member.image().offset;
    let refused = member
        .quorum
        .propose(epoch - 1, bootstrap::records(false), NOW);
    assert!(matches!(refused, Err(ProposeError::NotLeader(_))));
    assert_eq!(member.quorum.committed(NOW).unwrap(), Committed::default());
    member.commit(&bootstrap::records(false));
    assert_eq!(member.image().offset, end + 7);
}

/// NoOpRecords are not synced, and a power loss removes them although a snapshot includes them. Records committed afterwards
/// must have offsets above those in the snapshot.
#[test]
fn a_topic_made_after_a_power_loss_is_there_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut member = open(dir.path(), true).unwrap();
    member.commit(&bootstrap::records(false));
    let inside = dir.path().join("__cluster_metadata-0");
    let segment = inside.join("00000000000000000000.log");
    let synced = fs::metadata(&segment).unwrap().len();
    for _ in 0..10 {
        member.commit(&[NoOpRecord {}.into()]);
    }
    member.snapshot();
    drop(member);
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(synced).unwrap();

    let mut member = open(dir.path(), false).unwrap();
    let topic = TopicRecord {
        name: "t".into(),
        topic_id: Uuid([3; 16]),
    };
    member.commit(&[topic.into()]);
    drop(member);
    let member = open(dir.path(), false).unwrap();
    assert!(member.image().topics.by_name("t").is_some());
    drop(member);

    // A power loss does not remove this many records.
    let far = inside.join("00000000000000900000-0000000001.checkpoint");
    let snapshots = fs::read_dir(&inside).unwrap();
    let snapshot = snapshots
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|kind| kind == "checkpoint"));
    fs::copy(snapshot.unwrap(), far).unwrap();
    let refused = open(dir.path(), false).err().unwrap();
    assert!(
        refused.contains("the newest snapshot at 900000"),
        "{refused}"
    );
}
