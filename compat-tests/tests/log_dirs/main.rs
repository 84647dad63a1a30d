//! With several log directories the broker behaves like Apache Kafka, also if one of them fails, fills up, or has unexpected
//! content. A replica that moves between directories loses nothing, whenever the process is killed.

mod broker;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use broker::{Broker, DIRS, Kind, Start};
use compat_tests::apache::tool;
use compat_tests::chance::{Chance, from_environment, seed};
use compat_tests::programs::{eventually, succeed};
use monedula::wire::batch::header::BatchHeader;
use monedula::wire::message::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, TopicRequest,
};
use parking_lot::Mutex;

const SOON: Duration = Duration::from_secs(120);
const STORAGE_ERROR: i16 = 56;

/// Replaces a directory by a file; returns the path that the directory was moved to.
fn break_dir(dir: &Path) -> Result<PathBuf> {
    let aside = dir.with_extension("aside");
    fs::rename(dir, &aside)?;
    fs::write(dir, "")?;
    Ok(aside)
}

/// Observations of the partitions whose directory `lost` has failed, and of the others, one line each. Each broker assigns
/// directories in its own order, so partitions are named by their directories.
fn failed(broker: &mut Broker, lost: usize, placed: &[(i16, Vec<i32>)]) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    let gone = &placed[lost].1;
    let leaderless = eventually(SOON, || {
        broker.partitions("t").is_ok_and(|partitions| {
            gone.iter()
                .all(|index| partitions[*index as usize].leader_id == -1)
        })
    });
    ensure!(leaderless, "the lost partitions still have a leader");
    for (dir, (_, indexes)) in placed.iter().enumerate() {
        for index in indexes {
            let produced = broker.produce("t", *index, b"later")?;
            seen.push(format!("in d{dir}: produce {produced:?}"));
            for version in [4, 5, 6, 12] {
                let (error, high_watermark, _) = broker.fetch("t", *index, 0, version)?;
                let high_watermark = if error == 0 { 0 } else { high_watermark };
                seen.push(format!(
                    "in d{dir}: fetch v{version} {error} {high_watermark}"
                ));
            }
            seen.push(format!("in d{dir}: end {:?}", broker.end("t", *index)?.0));
            let mut one = broker.partitions("t")?[*index as usize].clone();
            one.partition_index = 0;
            seen.push(format!("in d{dir}: {one:?}"));
            let asked = DescribeTopicPartitionsRequest {
                topics: vec![TopicRequest { name: "t".into() }],
                response_partition_limit: 100,
                ..Default::default()
            };
            let mut one = broker.ask(&asked, 0)?.topics[0].partitions[*index as usize].clone();
            one.partition_index = 0;
            seen.push(format!("in d{dir}: {one:?}"));
        }
    }
    let codes: Vec<i16> = broker.placed("t")?.iter().map(|dir| dir.0).collect();
    seen.push(format!("directories {codes:?}"));
    broker.create("v", 4)?;
    let counts: Vec<usize> = broker.placed("v")?.iter().map(|dir| dir.1.len()).collect();
    seen.push(format!("a new topic {counts:?}"));
    let other = (lost + 1) % DIRS;
    let (healthy, moved) = (placed[other].1[0], broker.dir((lost + 2) % DIRS));
    for (what, dir, topic, partition) in [
        ("to the lost directory", broker.dir(lost), "t", healthy),
        ("of a lost partition", broker.dir(other), "t", gone[0]),
        ("of another", moved, "t", healthy),
        ("to where it is", broker.dir(other), "t", healthy),
        ("to nowhere", PathBuf::from("/nope"), "t", healthy),
        ("of no topic", broker.dir(other), "nope", 0),
        ("of no partition", broker.dir(other), "t", 99),
    ] {
        seen.push(format!(
            "a move {what}: {}",
            broker.alter(&dir, topic, partition)?
        ));
    }
    Ok(seen)
}

/// Creates six partitions with a record each; returns their placement.
fn begin(broker: &mut Broker) -> Result<Vec<(i16, Vec<i32>)>> {
    broker.create("t", 6)?;
    let placed = broker.placed("t")?;
    let counts: Vec<usize> = placed.iter().map(|dir| dir.1.len()).collect();
    ensure!(counts == [2, 2, 2], "{:?} placed {counts:?}", broker.kind);
    for index in 0..6 {
        ensure!(broker.produce("t", index, b"first")? == (0, 0));
    }
    Ok(placed)
}

fn compare(story: impl Fn(Kind) -> Result<Vec<String>>) -> Result<()> {
    let (ours, theirs) = (story(Kind::Ours)?, story(Kind::Apache)?);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        if ours != theirs {
            println!("ours:   {ours}\ntheirs: {theirs}");
        }
    }
    ensure!(ours == theirs, "the answers differ");
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn a_directory_that_fails_is_answered_for_as_apache_kafka_does() -> Result<()> {
    compare(|kind| {
        let mut broker = Broker::new(kind)?;
        broker.format()?;
        broker.start()?;
        let placed = begin(&mut broker)?;
        let aside = break_dir(&broker.dir(1))?;
        // The failure is noticed when something is to be created in the directory.
        broker.create("u", 3)?;
        let mut seen = failed(&mut broker, 1, &placed)?;
        broker.stop()?;
        // Starts without the directory, then with it again.
        broker.start()?;
        let codes: Vec<i16> = broker.placed("t")?.iter().map(|dir| dir.0).collect();
        seen.push(format!("started without it: {codes:?}"));
        broker.stop()?;
        fs::remove_file(broker.dir(1))?;
        fs::rename(aside, broker.dir(1))?;
        broker.start()?;
        let back = eventually(SOON, || {
            broker
                .partitions("t")
                .is_ok_and(|all| all.iter().all(|one| one.leader_id == 1))
        });
        ensure!(back, "{kind:?}: partitions have no leader");
        for index in &placed[1].1 {
            let leader = eventually(SOON, || broker.end("t", *index).is_ok_and(|end| end.0 == 0));
            ensure!(leader, "{kind:?}: a partition is not back");
            seen.push(format!("again: {:?}", broker.end("t", *index)?));
        }
        Ok(seen)
    })
}

/// A damage of a directory, and its effect on a start.
struct Spoiled {
    name: &'static str,
    spoil: fn(&Broker) -> Result<()>,
    /// Error codes of the directories, or the words of our error message. Apache Kafka must behave the same, with its own
    /// message.
    expected: Result<[i16; DIRS], &'static [&'static str]>,
}

fn edit(broker: &Broker, dir: usize, from: &str, to: &str) -> Result<()> {
    let path = broker.dir(dir).join("meta.properties");
    let text = fs::read_to_string(&path)?;
    ensure!(text.contains(from), "{text}");
    Ok(fs::write(&path, text.replace(from, to))?)
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Name of the data file of a partition with few records.
const SEGMENT: &str = "00000000000000000000.log";

/// Directories of the partitions of topic `t` in a log directory.
fn partitions_in(broker: &Broker, dir: usize) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(broker.dir(dir))?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<Result<Vec<_>>>()?;
    paths.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("t-"))
    });
    paths.sort();
    ensure!(paths.len() == 2, "{paths:?}");
    Ok(paths)
}

fn move_behind_a_link(path: &Path, to: &Path) -> Result<()> {
    fs::rename(path, to)?;
    Ok(symlink(to, path)?)
}

/// Sets a byte of a file in each of the partitions' directories; missing bytes before it are filled with zeros.
fn spoil_byte(partitions: &[PathBuf], name: &str, at: usize, byte: u8) -> Result<()> {
    for partition in partitions {
        let path = partition.join(name);
        let mut content = fs::read(&path)?;
        content.resize(content.len().max(at + 1), 0);
        content[at] = byte;
        fs::write(path, content)?;
    }
    Ok(())
}

const SPOILED: &[Spoiled] = &[
    Spoiled {
        name: "another cluster's",
        spoil: |broker| edit(broker, 1, "cluster.id=5", "cluster.id=6"),
        expected: Err(&["d1/meta.properties", "another directory"]),
    },
    Spoiled {
        name: "another node's",
        spoil: |broker| edit(broker, 1, "node.id=1", "node.id=2"),
        expected: Err(&["d1/meta.properties", "set node.id=2"]),
    },
    Spoiled {
        name: "a copy of another one",
        spoil: |broker| {
            let from = broker.dir(1).join("meta.properties");
            fs::copy(from, broker.dir(2).join("meta.properties"))?;
            Ok(())
        },
        expected: Err(&["d2/meta.properties", "remove it from log.dirs"]),
    },
    Spoiled {
        name: "a newer version",
        spoil: |broker| edit(broker, 1, "version=1", "version=7"),
        expected: Ok([0, STORAGE_ERROR, 0]),
    },
    Spoiled {
        name: "a newer version, of the metadata's",
        spoil: |broker| edit(broker, 0, "version=1", "version=7"),
        expected: Err(&["d0/meta.properties", "version 7"]),
    },
    Spoiled {
        name: "no identity in it",
        spoil: |broker| {
            Ok(fs::write(
                broker.dir(1).join("meta.properties"),
                "version=1\n",
            )?)
        },
        expected: Ok([0, STORAGE_ERROR, 0]),
    },
    Spoiled {
        name: "not mounted",
        spoil: |broker| {
            fs::rename(broker.dir(1), broker.dir(1).with_extension("aside"))?;
            Ok(fs::create_dir(broker.dir(1))?)
        },
        expected: Err(&["d1", "mount its disk"]),
    },
    Spoiled {
        name: "not mounted, of the metadata's",
        spoil: |broker| {
            fs::rename(broker.dir(0), broker.dir(0).with_extension("aside"))?;
            Ok(fs::create_dir(broker.dir(0))?)
        },
        expected: Err(&["d0", "mount its disk"]),
    },
    Spoiled {
        name: "a file",
        spoil: |broker| break_dir(&broker.dir(1)).map(drop),
        expected: Ok([0, STORAGE_ERROR, 0]),
    },
    Spoiled {
        name: "a file, of the metadata's",
        spoil: |broker| break_dir(&broker.dir(0)).map(drop),
        expected: Err(&["d0", "not a directory"]),
    },
    Spoiled {
        name: "a link",
        spoil: |broker| {
            let aside = broker.dir(1).with_extension("aside");
            fs::rename(broker.dir(1), &aside)?;
            Ok(symlink(aside, broker.dir(1))?)
        },
        expected: Ok([0, 0, 0]),
    },
    Spoiled {
        name: "a link that leads nowhere",
        spoil: |broker| {
            fs::rename(broker.dir(1), broker.dir(1).with_extension("aside"))?;
            Ok(symlink("/nowhere", broker.dir(1))?)
        },
        expected: Err(&["d1", "mount its disk"]),
    },
    Spoiled {
        name: "links inside of it, files that are made anew, and one of a newer version",
        spoil: |broker| {
            let partitions = partitions_in(broker, 1)?;
            spoil_byte(&partitions, "00000000000000000001.snapshot", 1, 2)?;
            // One and a half entries.
            spoil_byte(&partitions, "00000000000000000000.index", 11, 1)?;
            move_behind_a_link(&partitions[0], &broker.root().join("elsewhere"))?;
            move_behind_a_link(&partitions[1].join(SEGMENT), &broker.root().join("file"))?;
            let newer = partitions_in(broker, 2)?[0].join("leader-epoch-checkpoint");
            Ok(fs::write(newer, "1\n1\n0 0\n")?)
        },
        // Just as with offset checkpoints of a newer version, and data files that are links to nowhere or to themselves.
        expected: Ok([0, 0, STORAGE_ERROR]),
    },
    Spoiled {
        name: "a partition twice",
        spoil: |broker| {
            let (from, to) = (broker.dir(1), broker.dir(2));
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with("t-") {
                    copy_all(&entry.path(), &to.join(entry.file_name()))?;
                }
            }
            Ok(())
        },
        expected: Err(&["d1/t-", "d2/t-", "remove one of the two"]),
    },
];

#[test]
#[ignore = "needs java and maven"]
fn a_spoiled_directory_is_accepted_or_refused_as_apache_kafka_does() -> Result<()> {
    let mut wrong = Vec::new();
    for kind in [Kind::Ours, Kind::Apache] {
        for case in SPOILED {
            let mut broker = Broker::new(kind)?;
            broker.format()?;
            broker.start()?;
            begin(&mut broker)?;
            broker.stop()?;
            (case.spoil)(&broker)?;
            let before = broker.contents(0..DIRS);
            let refused = match (broker.try_start()?, case.expected) {
                (Start::Serves, Ok(codes)) => {
                    let found: Vec<i16> = broker.placed("t")?.iter().map(|dir| dir.0).collect();
                    if found != codes {
                        println!("{}: {found:?}", case.name);
                    }
                    found != codes
                }
                (Start::Ended(said), Err(words)) => {
                    // The message names the cause. A partition in two directories is found only after the metadata log was
                    // opened.
                    let ours = kind == Kind::Ours;
                    let silent = ours && !words.iter().all(|word| said.contains(word));
                    let status = broker.ended()?.flatten() != Some(1);
                    let touched = ours && words.len() < 3 && broker.contents(0..DIRS) != before;
                    if silent || status || touched {
                        println!("{}: {said}", case.name);
                    }
                    silent || status || touched
                }
                (Start::Serves, Err(_)) => {
                    println!("{}: {:?}", case.name, broker.placed("t")?);
                    true
                }
                (Start::Ended(said), Ok(_)) => {
                    println!("{}: {said}", case.name);
                    true
                }
            };
            if refused {
                wrong.push(format!("{kind:?}: {}", case.name));
            }
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// A mounted directory. Unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// Bind-mounts `from` on `dir`.
    fn bind(from: &Path, dir: &Path) -> Result<Self> {
        done("mount", &["--bind", &from.display().to_string()], dir)?;
        Ok(Self(dir.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Apache Kafka 4.3.1 does the same.
#[test]
#[ignore = "needs root"]
fn mounted_in_part_or_not_for_writing_a_directory_is_refused() -> Result<()> {
    let mut broker = Broker::new(Kind::Ours)?;
    broker.format()?;
    broker.start()?;
    begin(&mut broker)?;
    broker.stop()?;
    let (first, second) = (broker.dir(0), broker.dir(1));
    let before = broker.contents(0..DIRS);
    let refused = |broker: &mut Broker, words: &[&str]| {
        let Start::Ended(said) = broker.try_start()? else {
            anyhow::bail!("it started without {words:?}");
        };
        let told = words.iter().all(|word| said.contains(word));
        ensure!(told, "no {words:?} in {said}");
        Ok(())
    };
    let part = Mounted::bind(&partitions_in(&broker, 1)?[0], &second)?;
    refused(&mut broker, &["d1", "mount its disk"])?;
    drop(part);
    let read_only = |dir: &Path| {
        let mounted = Mounted::bind(dir, dir)?;
        done("mount", &["-o", "remount,bind,ro"], dir).map(|()| mounted)
    };
    let mounted = read_only(&first)?;
    refused(&mut broker, &["d0", "mount it for writing"])?;
    drop(mounted);
    ensure!(broker.contents(0..DIRS) == before, "something was changed");
    let mounted = read_only(&second)?;
    broker.start()?;
    let codes: Vec<i16> = broker.placed("t")?.iter().map(|dir| dir.0).collect();
    ensure!(codes == [0, STORAGE_ERROR, 0], "{codes:?}");
    broker.stop()?;
    drop(mounted);
    let after = broker.contents([1]);
    let same = after
        .iter()
        .all(|(path, content)| before.get(path) == Some(content));
    ensure!(same, "something was changed in {second:?}");
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn a_directory_that_apache_kafka_holds_is_left_alone_and_the_other_way_round() -> Result<()> {
    for (holder, other) in [(Kind::Apache, Kind::Ours), (Kind::Ours, Kind::Apache)] {
        let mut broker = Broker::new(holder)?;
        broker.format()?;
        broker.start()?;
        let mut second = Broker::new(other)?;
        for index in 0..DIRS {
            symlink(broker.dir(index), second.dir(index))?;
        }
        // All contents except for files that the running broker itself writes from time to time.
        let quiet = |broker: &Broker| {
            let mut all = broker.contents(0..DIRS);
            all.retain(|path, _| {
                let path = path.to_string_lossy();
                ![
                    "checkpoint",
                    "__cluster_metadata-0",
                    "/d0",
                    "/d1",
                    "/d2",
                    ".tmp",
                ]
                .iter()
                .any(|end| path.ends_with(end))
                    && !path.contains("__cluster_metadata-0/")
            });
            all
        };
        broker.create("t", 6)?;
        let before = quiet(&broker);
        ensure!(before.len() > 20, "only {before:?}");
        let Start::Ended(said) = second.try_start()? else {
            anyhow::bail!("{other:?} started in directories of {holder:?}");
        };
        // Apache Kafka writes this message to a log that is not kept here.
        let told = said.contains(".lock") && said.contains("another process");
        ensure!(told || other == Kind::Apache, "{said}");
        ensure!(second.ended()?.flatten() == Some(1));
        ensure!(quiet(&broker) == before, "{other:?} changed something");
        broker.stop()?;
    }
    Ok(())
}

/// A file system of limited size in the place of a directory. Unmounted when dropped.
struct Small {
    dir: PathBuf,
    /// Image file of an ext4 file system; `None` for a tmpfs.
    image: Option<PathBuf>,
}

impl Small {
    /// Mounts a tmpfs.
    fn mount(dir: &Path, megabytes: usize) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let size = format!("size={megabytes}m");
        done("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            image: None,
        })
    }

    /// Mounts an ext4 file system with its image in a file beside the directory.
    fn mount_ext4(dir: &Path, megabytes: u64) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let image = dir.with_extension("ext4");
        fs::File::create(&image)?.set_len(megabytes << 20)?;
        done("mkfs.ext4", &["-q", "-F"], &image)?;
        let this = Self {
            dir: dir.to_owned(),
            image: Some(image),
        };
        this.mount_image().map(|()| this)
    }

    fn mount_image(&self) -> Result<()> {
        if let Some(image) = &self.image {
            let from = image.display().to_string();
            done("mount", &["-o", "loop", &from], &self.dir)?;
            // The file system's own folder is not a partition.
            drop(fs::remove_dir(self.dir.join("lost+found")));
        }
        Ok(())
    }

    /// Enlarges the file system.
    fn enlarge(&self, megabytes: u64) -> Result<()> {
        let Some(image) = &self.image else {
            let size = format!("remount,size={megabytes}m");
            return done("mount", &["-o", &size], &self.dir);
        };
        done("umount", &[], &self.dir)?;
        fs::OpenOptions::new()
            .write(true)
            .open(image)?
            .set_len(megabytes << 20)?;
        // e2fsck reports the missing folder in its exit status, which is therefore ignored; resize2fs checks the file system
        // again.
        drop(done("e2fsck", &["-p", "-f"], image));
        done("resize2fs", &[], image)?;
        self.mount_image()
    }
}

fn done(program: &str, words: &[&str], path: &Path) -> Result<()> {
    let mut command = Command::new(program);
    succeed(command.args(words).arg(path), SOON).map(drop)
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.dir).status());
    }
}

/// Offset and value of every record of a partition. Timestamp and header must be those derived from the value.
fn records(broker: &mut Broker, topic: &str, index: i32) -> Result<BTreeMap<i64, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let (_, end) = broker.end(topic, index)?;
    let mut next = 0;
    while next < end {
        let (error, _, bytes) = broker.fetch(topic, index, next, 12)?;
        ensure!(error == 0, "a fetch from {next} failed: {error}");
        let mut rest = bytes::Bytes::from(bytes);
        while let Ok(header) = BatchHeader::parse(&rest)
            && header.size() <= rest.len()
        {
            let batch = rest.split_to(header.size());
            header.verify(&batch)?;
            let body = monedula::wire::batch::record::decompressed(&header, &batch, 1 << 24)?;
            for record in monedula::wire::batch::record::records(&header, &body) {
                let record = record?;
                let value = record.value.unwrap_or_default().to_vec();
                let (timestamp, header) = broker::around(&value);
                let headers: Vec<_> = record.headers().collect();
                ensure!(
                    record.timestamp == timestamp
                        && headers == [(&b"around"[..], Some(&header[..]))],
                    "{topic}-{index}: the record at {} has {} and {headers:?}",
                    record.offset,
                    record.timestamp
                );
                if record.offset >= next {
                    ensure!(
                        found.insert(record.offset, value).is_none(),
                        "an offset twice"
                    );
                }
            }
            next = next.max(header.next_offset());
        }
    }
    Ok(found)
}

/// Checks that all acknowledged records are there, and no record twice.
fn kept(broker: &mut Broker, index: i32, acknowledged: &BTreeMap<i64, Vec<u8>>) -> Result<()> {
    let found = records(broker, "t", index)?;
    let distinct: BTreeSet<_> = found.values().collect();
    ensure!(distinct.len() == found.len(), "t-{index}: a record twice");
    for (offset, value) in acknowledged {
        let there = found.get(offset) == Some(value);
        ensure!(
            there,
            "{:?}: t-{index} lost offset {offset} of {}",
            broker.kind,
            found.len()
        );
    }
    Ok(())
}

/// Fills a small disk until the producer gets an error; returns the error code.
fn fill(broker: &mut Broker, index: i32, acknowledged: &mut BTreeMap<i64, Vec<u8>>) -> Result<i16> {
    for number in 0..1_000_u32 {
        let value = [&number.to_be_bytes()[..], &[b'x'; 100_000]].concat();
        match broker.produce("t", index, &value) {
            Ok((0, offset)) => drop(acknowledged.insert(offset, value)),
            Ok((error, _)) => return Ok(error),
            Err(error) => anyhow::bail!("not told: {error}"),
        }
    }
    anyhow::bail!("the disk is not small")
}

#[test]
#[ignore = "needs root, java and maven"]
fn disk_full_in_one_of_several_directories() -> Result<()> {
    full(|dir| Small::mount(dir, 4))
}

#[test]
#[ignore = "needs root, loop devices, java and maven"]
fn disk_full_on_ext4() -> Result<()> {
    full(|dir| Small::mount_ext4(dir, 8))
}

fn full(mount: impl Fn(&Path) -> Result<Small>) -> Result<()> {
    compare(|kind| {
        let mut broker = Broker::new(kind)?;
        let small = mount(&broker.dir(1))?;
        broker.format()?;
        broker.start()?;
        let placed = begin(&mut broker)?;
        let victim = placed[1].1[0];
        let mut acknowledged = BTreeMap::new();
        let error = fill(&mut broker, victim, &mut acknowledged)?;
        let mut seen = vec![format!("full: {error}")];
        seen.extend(failed(&mut broker, 1, &placed)?);
        broker.kill()?;
        small.enlarge(40)?;
        broker.start()?;
        let back = eventually(SOON, || broker.end("t", victim).is_ok_and(|end| end.0 == 0));
        ensure!(back, "{kind:?}: the partition is not back");
        kept(&mut broker, victim, &acknowledged)?;
        broker.kill()?;
        Ok(seen)
    })
}

#[test]
#[ignore = "needs root, java and maven"]
fn disk_full_where_the_metadata_are() -> Result<()> {
    for kind in [Kind::Ours, Kind::Apache] {
        let mut broker = Broker::new(kind)?;
        let small = Small::mount(&broker.dir(0), 4)?;
        broker.format()?;
        broker.start()?;
        let placed = begin(&mut broker)?;
        let victim = placed[0].1[0];
        let mut acknowledged = BTreeMap::new();
        let told = fill(&mut broker, victim, &mut acknowledged);
        // Apache Kafka's last response may be lost when the process exits.
        let told = kind == Kind::Apache || told.is_ok_and(|error| error == STORAGE_ERROR);
        ensure!(told, "the producer was not told");
        halts(&mut broker)?;
        small.enlarge(40)?;
        broker.start()?;
        let back = eventually(SOON, || broker.end("t", victim).is_ok_and(|end| end.0 == 0));
        ensure!(back, "{kind:?}: the partition is not back");
        kept(&mut broker, victim, &acknowledged)?;
        broker.kill()?;
    }
    Ok(())
}

/// Checks that the process exits by itself with status 1, within the time limit.
fn halts(broker: &mut Broker) -> Result<()> {
    let mut code = None;
    let ended = eventually(SOON, || {
        code = broker.ended().ok().flatten();
        code.is_some()
    });
    ensure!(
        ended && code == Some(Some(1)),
        "{:?}: {code:?}",
        broker.kind
    );
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn without_the_directory_of_the_metadata_the_process_halts() -> Result<()> {
    for kind in [Kind::Ours, Kind::Apache] {
        let mut broker = Broker::new(kind)?;
        broker.format()?;
        broker.start()?;
        begin(&mut broker)?;
        break_dir(&broker.dir(0))?;
        drop(broker.create("u", 6));
        halts(&mut broker)?;
    }
    Ok(())
}

/// Offset and value of the acknowledged records of each partition.
type Acknowledged = Arc<Mutex<Vec<BTreeMap<i64, Vec<u8>>>>>;

/// Number of rounds with `kill -9` under load, and the minimum of moves and records in each of them.
const ROUNDS: u64 = 20;
const MOVES_MIN: usize = 2;
const RECORDS_MIN: usize = 50;
/// Maximum time after which a start is killed, too, in milliseconds.
const START_MAX: usize = 120;

#[test]
#[ignore = "needs the broker's binary"]
fn what_was_acknowledged_survives_kill_9_also_of_replicas_that_move() -> Result<()> {
    let seed = seed("KILL_SEED");
    let mut broker = Broker::new(Kind::Ours)?;
    let told = killed_under_load(&mut broker, &mut Chance::new(seed));
    if told.is_err() {
        println!("KILL_SEED={seed}; files in {:?}", broker.keep());
    }
    told
}

fn killed_under_load(broker: &mut Broker, chance: &mut Chance) -> Result<()> {
    let rounds = from_environment("KILL_ROUNDS").unwrap_or(ROUNDS);
    broker.format()?;
    broker.start()?;
    broker.create("t", 6)?;
    let acknowledged: Acknowledged = Arc::new(Mutex::new(vec![BTreeMap::new(); 6]));
    let (mut moved, mut starts_killed) = (0, 0);
    for round in 0..rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let producers: Vec<_> = (0..6_i32)
            .map(|index| {
                let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
                let address = broker.address();
                std::thread::spawn(move || {
                    produce_until(&stop, &address, index, round, &acknowledged)
                })
            })
            .collect();
        let began = Instant::now();
        let length = Duration::from_millis(100 + chance.below(500) as u64);
        // In one of four rounds nothing moves.
        let moves_min = chance.one_of(&[0, MOVES_MIN, MOVES_MIN, MOVES_MIN]);
        // On a busy machine a round lasts until a minimum of work has been done.
        let (moves, records) = (moved + moves_min, count(&acknowledged) + RECORDS_MIN);
        let done = |moved| moved >= moves && count(&acknowledged) >= records;
        while began.elapsed() < length || !done(moved) {
            ensure!(began.elapsed() < SOON, "{moved} moves in {SOON:?}");
            if moves_min > 0 {
                let to = broker.dir(chance.below(DIRS));
                let partition = chance.below(6) as i32;
                moved += usize::from(broker.alter(&to, "t", partition)? == 0);
            }
            std::thread::sleep(Duration::from_micros(chance.below(15_000) as u64));
        }
        broker.kill()?;
        stop.store(true, Ordering::Relaxed);
        for producer in producers {
            // A producer ends when its connection does, or fails because it got an offset that must not occur.
            if let Ok(Err(error)) = producer.join() {
                ensure!(!error.to_string().contains("offset"), "{error}");
            }
        }
        while chance.below(3) == 0 {
            broker.spawn()?;
            std::thread::sleep(Duration::from_millis(chance.below(START_MAX) as u64));
            broker.kill()?;
            starts_killed += 1;
        }
        broker.start()?;
        for (index, expected) in (0..).zip(&*acknowledged.lock()) {
            kept(broker, index, expected).with_context(|| format!("round {round}"))?;
        }
    }
    let settled = eventually(SOON, || {
        broker.describe().is_ok_and(|described| {
            let mut partitions = described
                .results
                .iter()
                .flat_map(|dir| dir.topics.iter().flat_map(|topic| &topic.partitions));
            partitions.all(|partition| !partition.is_future_key)
        })
    });
    ensure!(settled, "a move does not end");
    let total = count(&acknowledged);
    println!(
        "{rounds} rounds, {moved} moves asked for, {starts_killed} starts killed, {total} records acknowledged and found"
    );
    broker.stop()
}

fn count(acknowledged: &Acknowledged) -> usize {
    acknowledged.lock().iter().map(BTreeMap::len).sum()
}

fn produce_until(
    stop: &AtomicBool,
    address: &str,
    index: i32,
    round: u64,
    acknowledged: &Acknowledged,
) -> Result<()> {
    let mut client = broker::Producer::open(address)?;
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let value = format!("{round}-{number}-{}", "x".repeat(2_000)).into_bytes();
        number += 1;
        let (error, offset) = client.produce("t", index, &value)?;
        ensure!(error == 0, "an error under load: {error}");
        let mut acknowledged = acknowledged.lock();
        let mine = &mut acknowledged[index as usize];
        let after = mine.last_key_value().is_none_or(|(last, _)| *last < offset);
        ensure!(after, "offset {offset} was given before");
        mine.insert(offset, value);
    }
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn directories_with_moved_replicas_go_to_apache_kafka_and_back() -> Result<()> {
    let mut broker = Broker::new(Kind::Ours)?;
    broker.format()?;
    let mut expected: Vec<BTreeMap<i64, Vec<u8>>> = vec![BTreeMap::new(); 6];
    for (round, kind) in [
        Kind::Ours,
        Kind::Apache,
        Kind::Ours,
        Kind::Apache,
        Kind::Ours,
    ]
    .into_iter()
    .enumerate()
    {
        broker.kind = kind;
        broker.start()?;
        if round == 0 {
            broker.create("t", 6)?;
        }
        for (index, known) in (0..).zip(&mut expected) {
            let led = eventually(SOON, || broker.end("t", index).is_ok_and(|end| end.0 == 0));
            ensure!(led, "round {round}: {kind:?} does not lead t-{index}");
            kept(&mut broker, index, known)?;
            for number in 0..20 {
                let value = format!("{round}-{number}").into_bytes();
                let (error, offset) = broker.produce("t", index, &value)?;
                ensure!(error == 0, "round {round}: {error}");
                known.insert(offset, value);
            }
            let to = broker.dir((round + index as usize) % DIRS);
            ensure!(broker.alter(&to, "t", index)? == 0);
        }
        // Some of the moves are not finished.
        if round % 2 == 0 {
            broker.kill()?;
        } else {
            broker.stop()?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn apache_kafkas_tools_move_replicas_of_both() -> Result<()> {
    const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
    const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
    compare(|kind| {
        let mut broker = Broker::new(kind)?;
        broker.format()?;
        broker.start()?;
        let placed = begin(&mut broker)?;
        let partition = placed[0].1[0];
        let to = broker.dir(2).display().to_string();
        let plan = broker.root().join("plan.json");
        let text = format!(
            r#"{{"version":1,"partitions":[{{"topic":"t","partition":{partition},"replicas":[1],"log_dirs":["{to}"]}}]}}"#
        );
        fs::write(&plan, text)?;
        let (address, plan) = (broker.address(), plan.display().to_string());
        let root = broker.root().display().to_string();
        let steady = |text: &str| {
            let text = text
                .replace(&root, "ROOT")
                .replace(&format!("t-{partition}"), "t-P");
            text.replace(&format!(r#""partition":{partition}"#), r#""partition":P"#)
        };
        let mut seen = Vec::new();
        let base = [
            "--bootstrap-server",
            &address,
            "--reassignment-json-file",
            &plan,
        ];
        let executed = tool(REASSIGN, &[&base[..], &["--execute"]].concat(), "")?;
        seen.push(format!("{} {}", executed.success, steady(&executed.stdout)));
        let moved = eventually(SOON, || {
            broker
                .placed("t")
                .is_ok_and(|placed| placed[2].1.contains(&partition))
        });
        ensure!(moved, "{kind:?}: it is not moved");
        let verified = tool(REASSIGN, &[&base[..], &["--verify"]].concat(), "")?;
        seen.push(format!("{} {}", verified.success, steady(&verified.stdout)));
        let described = tool(
            LOG_DIRS,
            &[
                "--bootstrap-server",
                &address,
                "--describe",
                "--topic-list",
                "t",
            ],
            "",
        )?;
        // The order within the output is that of hash tables.
        seen.push(format!(
            "{} {}",
            described.success,
            described.stdout.matches("\"partition\":\"t-").count()
        ));
        ensure!(broker.produce("t", partition, b"after")? == (0, 1));
        Ok(seen)
    })
}
