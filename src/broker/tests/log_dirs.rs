//! Tests of brokers with several log directories: placement, failures while running and before, and refused starts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::broker::boot::Options;
use crate::broker::{Broker, StartError};
use crate::config::broker::standalone;
use crate::config::parse::Property;
use crate::host::Host;
use crate::metadata::bootstrap::{self, Gaps};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_topics::CreateTopicsResponse;
use crate::wire::message::describe_log_dirs::DescribeLogDirsRequest;
use crate::wire::message::produce::ProduceResponse;

pub(super) struct Node {
    pub(super) broker: Broker,
    pub(super) client: Channel,
}

pub(super) async fn try_start(dirs: &[PathBuf]) -> Result<Node, StartError> {
    start_with(dirs, None).await
}

async fn start_with(dirs: &[PathBuf], metadata: Option<&Path>) -> Result<Node, StartError> {
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let dirs = dirs.join(",");
    let metadata = metadata.map(|dir| dir.display().to_string());
    let mut given = vec![
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", &*dirs),
    ];
    given.extend(metadata.as_deref().map(|dir| ("metadata.log.dir", dir)));
    let properties: Vec<Property> = given
        .into_iter()
        .map(|(key, value)| Property::given(key, value))
        .collect();
    let config = standalone(&properties).unwrap().config;
    let broker = Broker::start(config, Options::default()).await?;
    let address = broker.addresses()[0].to_string();
    Ok(Node {
        broker,
        client: Channel::new(&Host::default(), address, Identity::new("test")),
    })
}

impl Node {
    pub(super) async fn start(dirs: &[PathBuf]) -> Self {
        try_start(dirs).await.unwrap()
    }

    pub(super) async fn create(&self, name: &str, partitions: i32) -> Uuid {
        let request = creation(name, partitions);
        let answer: CreateTopicsResponse = self.client.call(&request, WITHIN).await.unwrap();
        assert_eq!(answer.topics[0].error_code, 0);
        answer.topics[0].topic_id
    }

    /// Appends a record to one partition. Gives its offset.
    pub(super) async fn produce(&self, topic: Uuid, index: i32) -> Result<i64, ErrorCode> {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(1, None, Some(b"v"));
        let request = production(topic, index, batch);
        let answer: ProduceResponse = self.client.call(&request, WITHIN).await.unwrap();
        let answer = &answer.responses[0].partition_responses[0];
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) => Ok(answer.base_offset),
            code => Err(code.unwrap()),
        }
    }

    /// Leader and offline replicas of each partition.
    async fn leaders(&self, topic: &str) -> Vec<(i32, Vec<i32>)> {
        let answer = self.client.call(&MetadataRequest::default(), WITHIN).await;
        let topics = answer.unwrap().topics;
        let found = topics
            .iter()
            .find(|found| found.name.as_deref() == Some(topic));
        let mut partitions = found.unwrap().partitions.clone();
        partitions.sort_by_key(|partition| partition.partition_index);
        let seen = |one: crate::wire::message::metadata::MetadataResponsePartition| {
            (one.leader_id, one.offline_replicas)
        };
        partitions.into_iter().map(seen).collect()
    }

    /// Error code and partitions (`topic-partition`) of each log directory, in order.
    pub(super) async fn dirs(&self) -> Vec<(i16, Vec<String>)> {
        let answer = self
            .client
            .call(&DescribeLogDirsRequest::default(), WITHIN)
            .await;
        let described = |dir: crate::wire::message::describe_log_dirs::DescribeLogDirsResult| {
            let named = dir.topics.iter().flat_map(|topic| {
                let name =
                    |one: &crate::wire::message::describe_log_dirs::DescribeLogDirsPartition| {
                        format!("{}-{}", topic.name, one.partition_index)
                    };
                topic.partitions.iter().map(name).collect::<Vec<_>>()
            });
            let mut named: Vec<String> = named.collect();
            named.sort();
            (dir.error_code, named)
        };
        answer.unwrap().results.into_iter().map(described).collect()
    }

    /// Waits until the metadata show no leader for a partition.
    async fn until_leaderless(&self, topic: &str, index: usize) {
        let end = Instant::now() + WITHIN;
        while self.leaders(topic).await[index].0 >= 0 {
            assert!(Instant::now() < end, "it is still led");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(super) fn three() -> (tempfile::TempDir, Vec<PathBuf>) {
    let root = tempfile::tempdir().unwrap();
    let dirs = ["a", "b", "c"].map(|name| root.path().join(name));
    (root, dirs.to_vec())
}

/// Whether a partition has no leader and its only replica is offline.
fn is_gone((leader, offline): &(i32, Vec<i32>)) -> bool {
    *leader == -1 && offline.len() == 1
}

/// Replaces a directory with a file, so that every access to its content fails. Gives the path that the directory was moved to.
fn break_dir(dir: &Path) -> PathBuf {
    let aside = dir.with_extension("aside");
    fs::rename(dir, &aside).unwrap();
    fs::write(dir, "").unwrap();
    aside
}

fn mend(dir: &Path, aside: &Path) {
    fs::remove_file(dir).unwrap();
    fs::rename(aside, dir).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_fails_takes_only_its_own_partitions_along() {
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    let topic = node.create("t", 6).await;
    let named = |indexes: [i32; 2]| indexes.map(|index| format!("t-{index}")).to_vec();
    let placed = [(0, named([0, 3])), (0, named([1, 4])), (0, named([2, 5]))];
    assert_eq!(node.dirs().await, placed);
    for index in 0..6 {
        assert_eq!(node.produce(topic, index).await, Ok(0));
    }

    // The failure is noticed only when a new partition is to be made there, which is then placed elsewhere.
    let aside = break_dir(&dirs[1]);
    let other = node.create("u", 3).await;
    node.until_leaderless("t", 1).await;
    let storage = ErrorCode::KafkaStorageError.code();
    let u = node.dirs().await;
    assert_eq!(u[1], (storage, Vec::new()));
    assert_eq!(u[0].1.len() + u[2].1.len(), 4 + 3);
    for index in 0..3 {
        assert_eq!(node.produce(other, index).await, Ok(0));
    }
    for (index, seen) in (0..).zip(node.leaders("t").await) {
        let lost = [1, 4].contains(&index);
        assert_eq!(is_gone(&seen), lost, "{index}: {seen:?}");
        let produced = node.produce(topic, index).await;
        let expected = if lost {
            Err(ErrorCode::KafkaStorageError)
        } else {
            Ok(1)
        };
        assert_eq!(produced, expected);
    }
    node.broker.shutdown().await;

    // While the directory is broken, a start goes on without it and changes nothing in it.
    let node = Node::start(&dirs).await;
    assert!(is_gone(&node.leaders("t").await[4]));
    assert_eq!(node.dirs().await[1], (storage, Vec::new()));
    assert_eq!(
        node.produce(topic, 1).await,
        Err(ErrorCode::KafkaStorageError)
    );
    assert_eq!(node.produce(topic, 0).await, Ok(2));
    node.broker.shutdown().await;

    // With the directory restored, every acknowledged record is back.
    mend(&dirs[1], &aside);
    let node = Node::start(&dirs).await;
    assert_eq!(node.dirs().await[1], placed[1]);
    for index in 0..6 {
        let kept = if [1, 4].contains(&index) {
            1
        } else {
            3 - i64::from(index > 0)
        };
        assert_eq!(node.produce(topic, index).await, Ok(kept), "t-{index}");
    }
    node.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_metadata_or_any_directory_the_node_says_why_and_ends() {
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    node.create("t", 3).await;
    break_dir(&dirs[0]);
    // The node may halt before it answers.
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "u".into(),
            num_partitions: 3,
            replication_factor: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    let (_, why) = tokio::join!(
        node.client.call(&request, Duration::from_secs(2)),
        tokio::time::timeout(WITHIN, node.broker.failed())
    );
    let why = why.unwrap();
    assert!(
        why.contains(&*dirs[0].to_string_lossy()) && why.contains("metadata"),
        "{why}"
    );
}

/// Starts a node after `spoil` has changed a directory. Checks the message of a refused start, or the error codes of the three
/// directories. Directories that are refused must not be changed.
async fn check(spoil: impl FnOnce(&[PathBuf]), expected: Result<[i16; 3], &[&str]>) {
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    let topic = node.create("t", 3).await;
    for index in 0..3 {
        node.produce(topic, index).await.unwrap();
    }
    node.broker.shutdown().await;
    spoil(&dirs);
    let before = contents(&dirs);
    match (try_start(&dirs).await, expected) {
        (Ok(node), Ok(expected)) => {
            let codes: Vec<i16> = node.dirs().await.iter().map(|dir| dir.0).collect();
            assert_eq!(codes, expected);
            node.broker.shutdown().await;
            for (dir, code) in dirs.iter().zip(expected) {
                if code != 0 {
                    let its_own = |all: &BTreeMap<PathBuf, Vec<u8>>| {
                        all.range(dir.clone()..)
                            .take_while(|(path, _)| path.starts_with(dir))
                            .map(|(path, bytes)| (path.clone(), bytes.clone()))
                            .collect::<Vec<_>>()
                    };
                    assert_eq!(its_own(&contents(&dirs)), its_own(&before));
                }
            }
        }
        (Err(error), Err(words)) => {
            let text = error.to_string();
            for word in words {
                assert!(text.contains(word), "no {word:?} in {text}");
            }
            assert_eq!(contents(&dirs), before);
        }
        (Ok(_), Err(words)) => panic!("it started, where {words:?} was expected"),
        (Err(error), Ok(_)) => panic!("{error}"),
    }
}

/// Content of every file in the directories.
fn contents(dirs: &[PathBuf]) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut left = dirs.to_vec();
    while let Some(path) = left.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => left.extend(entries.map(|entry| entry.unwrap().path())),
            Err(_) => drop(all.insert(path.clone(), fs::read(&path).unwrap_or_default())),
        }
    }
    all
}

fn edit(dir: &Path, from: &str, to: &str) {
    let path = dir.join("meta.properties");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_what_it_should_be_is_named() {
    // Apache Kafka 4.3.1 behaves the same unless noted; `compat-tests` checks that.
    check(|_| {}, Ok([0, 0, 0])).await;
    check(
        |dirs| edit(&dirs[1], "cluster.id=", "cluster.id=x"),
        Err(&["b/meta.properties", "cluster x", "choose another directory"]),
    )
    .await;
    check(
        |dirs| edit(&dirs[1], "node.id=", "node.id=7"),
        Err(&["b/meta.properties", "node 7", "set node.id=7"]),
    )
    .await;
    let copy = |dirs: &[PathBuf]| {
        fs::copy(
            dirs[1].join("meta.properties"),
            dirs[2].join("meta.properties"),
        )
        .unwrap();
    };
    check(copy, Err(&["c/meta.properties", "same directory.id"])).await;
    let garbage = |dirs: &[PathBuf]| {
        fs::write(dirs[1].join("meta.properties"), [0xff; 100]).unwrap();
    };
    check(garbage, Err(&["b/meta.properties"])).await;
    // Written by a newer version. The node starts without the directory, if it is not the one of the metadata log.
    check(
        |dirs| edit(&dirs[1], "version=1", "version=7"),
        Ok([0, 56, 0]),
    )
    .await;
    check(
        |dirs| edit(&dirs[0], "version=1", "version=7"),
        Err(&["a/meta.properties", "version 7"]),
    )
    .await;
    // A disk that is not mounted.
    let empty = |dirs: &[PathBuf]| {
        fs::remove_dir_all(&dirs[1]).unwrap();
        fs::create_dir(&dirs[1]).unwrap();
    };
    check(empty, Err(&["/b", "not formatted", "mount its disk"])).await;
    let empty_first = |dirs: &[PathBuf]| {
        fs::remove_dir_all(&dirs[0]).unwrap();
        fs::create_dir(&dirs[0]).unwrap();
    };
    check(empty_first, Err(&["/a", "not formatted"])).await;
    let missing = |dirs: &[PathBuf]| fs::remove_dir_all(&dirs[1]).unwrap();
    check(missing, Err(&["/b", "not formatted"])).await;
    // A file in place of a directory.
    check(|dirs| drop(break_dir(&dirs[1])), Ok([0, 56, 0])).await;
    check(
        |dirs| drop(break_dir(&dirs[0])),
        Err(&["/a", "not a directory"]),
    )
    .await;
    // Symbolic links are followed.
    let link = |dirs: &[PathBuf]| {
        let aside = dirs[1].with_extension("aside");
        fs::rename(&dirs[1], &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &dirs[1]).unwrap();
    };
    check(link, Ok([0, 0, 0])).await;
    let dangling = |dirs: &[PathBuf]| {
        fs::remove_dir_all(&dirs[1]).unwrap();
        std::os::unix::fs::symlink("/nowhere", &dirs[1]).unwrap();
    };
    check(dangling, Err(&["/b", "mount its disk"])).await;
    let nobodys = |dirs: &[PathBuf]| {
        fs::write(dirs[1].join("meta.properties"), "version=1\n").unwrap();
    };
    check(nobodys, Ok([0, 56, 0])).await;
    // The same partition in two directories.
    let twice = |dirs: &[PathBuf]| {
        let from = dirs[1].join("t-1");
        let to = dirs[2].join("t-1");
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    node.create("t", 3).await;
    node.broker.shutdown().await;
    twice(&dirs);
    let error = try_start(&dirs).await.map(|_| ()).unwrap_err().to_string();
    for word in ["c/t-1", "b/t-1", "remove one of the two"] {
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_left_alone() {
    let (root, dirs) = three();
    let node = Node::start(&dirs).await;
    let new = root.path().join("new");
    let error = try_start(&[new.clone(), dirs[2].clone()])
        .await
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("c/.lock") && error.contains("another process"),
        "{error}"
    );
    assert!(!new.exists());
    node.broker.shutdown().await;

    // The metadata log may have a directory of its own.
    let metadata = root.path().join("metadata");
    let node = start_with(std::slice::from_ref(&new), Some(&metadata))
        .await
        .unwrap();
    let another = root.path().join("another");
    let error = start_with(std::slice::from_ref(&another), Some(&metadata)).await;
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("metadata/.lock"), "{error}");
    assert!(!another.exists());
    node.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_left_the_settings_may_come_back() {
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    let topic = node.create("t", 3).await;
    for index in 0..3 {
        node.produce(topic, index).await.unwrap();
    }
    node.broker.shutdown().await;
    let node = Node::start(&[dirs[0].clone(), dirs[2].clone()]).await;
    assert_eq!(node.leaders("t").await[1].0, -1);
    assert_eq!(
        node.produce(topic, 1).await,
        Err(ErrorCode::KafkaStorageError)
    );
    node.broker.shutdown().await;
    // Moved by hand, as operators do.
    let moved = dirs[2].join("t-1");
    fs::rename(dirs[1].join("t-1"), &moved).unwrap();
    let node = Node::start(&dirs).await;
    assert_eq!(node.produce(topic, 1).await, Ok(1));
    let image = node.broker.services().image.load();
    let partition = &image.topics.by_name("t").unwrap().partitions[1];
    let c = node.broker.services().replicas.logs().dirs()[2].id;
    assert_eq!(partition.directories, [c]);
    node.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_no_topic_is_put_aside() {
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    node.create("t", 3).await;
    node.broker.shutdown().await;
    let stranger = dirs[0].join("gone-4");
    fs::create_dir(&stranger).unwrap();
    let id = Uuid([9; 16]);
    fs::write(
        stranger.join("partition.metadata"),
        format!("version: 0\ntopic_id: {id}"),
    )
    .unwrap();
    let node = Node::start(&dirs).await;
    assert!(!stranger.exists());
    let aside = fs::read_dir(&dirs[0]).unwrap().any(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.starts_with("gone-4.") && name.ends_with("-stray")
    });
    assert!(aside);
    node.broker.shutdown().await;
}

/// Content of `partition.metadata` in a partition's directory, if there is one, and the number of directories that were put
/// aside.
fn told(dir: &Path) -> (Option<String>, usize) {
    let aside = fs::read_dir(dir.parent().unwrap()).unwrap();
    let aside = aside.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().ends_with("-stray")
    });
    let told = fs::read_to_string(dir.join("partition.metadata"));
    (told.ok(), aside.count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_about_a_partition_costs_neither_it_nor_others_anything() {
    for killed in [false, true] {
        let (_root, dirs) = three();
        let node = Node::start(&dirs).await;
        let topic = node.create("t", 3).await;
        for index in 0..3 {
            assert_eq!(node.produce(topic, index).await, Ok(0));
        }
        node.broker.shutdown().await;
        if killed {
            for dir in &dirs {
                fs::remove_file(dir.join(".kafka_cleanshutdown")).unwrap();
            }
        }
        let file = dirs[1].join("t-1/partition.metadata");
        let whole = told(&dirs[1].join("t-1"));
        fs::write(&file, &whole.0.as_ref().unwrap()[..30]).unwrap();
        let metadata = dirs[0].join("__cluster_metadata-0");
        let of_metadata = told(&metadata);
        fs::write(metadata.join("partition.metadata"), "").unwrap();
        let node = Node::start(&dirs).await;
        for index in 0..3 {
            assert_eq!(node.produce(topic, index).await, Ok(1));
        }
        assert_eq!(told(&dirs[1].join("t-1")), whole);
        assert_eq!(told(&metadata), of_metadata);
        node.broker.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_a_topic_of_its_name_cannot_have_written_is_put_aside() {
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    let topic = node.create("t", 3).await;
    for expected in 0..2 {
        assert_eq!(node.produce(topic, 1).await, Ok(expected));
    }
    node.broker.shutdown().await;
    // A flipped bit: an unknown topic id.
    let dir = dirs[1].join("t-1");
    let file = dir.join("partition.metadata");
    let other = format!("version: 0\ntopic_id: {}", Uuid([9; 16]));
    fs::write(&file, other).unwrap();
    let node = Node::start(&dirs).await;
    assert_eq!(node.produce(topic, 1).await, Ok(0));
    assert_eq!(told(&dir).1, 1);
    node.broker.shutdown().await;
    // The leader epoch is later than any that the topic has had.
    fs::write(&file, "").unwrap();
    fs::write(dir.join("leader-epoch-checkpoint"), "0\n1\n70 0\n").unwrap();
    let node = Node::start(&dirs).await;
    assert_eq!(node.produce(topic, 1).await, Ok(0));
    assert_eq!(told(&dir).1, 2);
    node.broker.shutdown().await;
    // The file is missing, as after a power cut.
    fs::remove_file(&file).unwrap();
    let node = Node::start(&dirs).await;
    assert_eq!(node.produce(topic, 1).await, Ok(0));
    assert_eq!(told(&dir).1, 3);
    node.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_directory_is_taken_in_when_somebody_says_so() {
    let (_root, dirs) = three();
    let node = Node::start(&dirs[..2]).await;
    node.create("t", 2).await;
    let id = node.broker.services().node_id;
    let cluster = node.broker.services().cluster_id.clone();
    node.broker.shutdown().await;
    assert!(try_start(&dirs).await.is_err());
    let formatted =
        bootstrap::format(&Host::default(), &dirs, id, Some(&cluster), Gaps::Fill).unwrap();
    assert_eq!(formatted.filled, dirs[2..]);
    let node = Node::start(&dirs).await;
    node.create("u", 1).await;
    assert!(dirs[2].join("u-0").exists());
    node.broker.shutdown().await;
}
