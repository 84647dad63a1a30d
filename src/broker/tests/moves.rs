//! Tests of replicas that move between log directories while they are written to and read.

use std::fs;
use std::path::{Path, PathBuf};

use super::log_dirs::{Node, three};
use super::*;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};

impl Node {
    async fn alter(&self, dir: &Path, topic: &str, partition: i32) -> ErrorCode {
        let request = AlterReplicaLogDirsRequest {
            dirs: vec![AlterReplicaLogDir {
                path: dir.display().to_string().into(),
                topics: vec![AlterReplicaLogDirTopic {
                    name: topic.into(),
                    partitions: vec![partition],
                }],
            }],
        };
        let answer = self.client.call(&request, WITHIN).await.unwrap();
        ErrorCode::from_code(answer.results[0].partitions[0].error_code).unwrap()
    }

    /// Waits until no move is in progress.
    async fn settled(&self) {
        let end = Instant::now() + WITHIN;
        while !self.broker.services().replicas.logs().futures().is_empty() {
            assert!(Instant::now() < end, "it still moves");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Directory of a partition in the metadata.
    fn assigned(&self, topic: &str, index: usize) -> Uuid {
        let image = self.broker.services().image.load();
        image.topics.by_name(topic).unwrap().partitions[index].directories[0]
    }

    fn dir_id(&self, index: usize) -> Uuid {
        self.broker.services().replicas.logs().dirs()[index].id
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("t-"))
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_moves_while_it_is_written_to() {
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    let topic = node.create("t", 3).await;
    for expected in 0..50 {
        assert_eq!(node.produce(topic, 1).await, Ok(expected));
    }
    assert_eq!(node.alter(&dirs[2], "t", 1).await, ErrorCode::None);
    let mut next = 50;
    while !node.broker.services().replicas.logs().futures().is_empty() || next < 100 {
        assert_eq!(node.produce(topic, 1).await, Ok(next));
        next += 1;
    }
    node.settled().await;
    assert!(dirs[2].join("t-1").exists() && !dirs[1].join("t-1").exists());
    assert_eq!(node.assigned("t", 1), node.dir_id(2));
    let seen = node.dirs().await;
    assert_eq!((seen[1].1.as_slice(), seen[2].1.len()), ([].as_slice(), 2));
    // The move back, with a restart in between.
    node.broker.shutdown().await;
    let node = Node::start(&dirs).await;
    assert_eq!(node.produce(topic, 1).await, Ok(next));
    assert_eq!(node.alter(&dirs[1], "t", 1).await, ErrorCode::None);
    node.settled().await;
    assert_eq!(node.produce(topic, 1).await, Ok(next + 1));
    assert!(dirs[1].join("t-1").exists());
    node.broker.shutdown().await;
}

/// Otherwise Apache Kafka would promote the next copy in the directory that the metadata name to the partition's log, complete
/// or not.
///
/// The move is reversed at about the moment at which the copy replaces the log. The time is adjusted after each turn: earlier
/// if the copy was faster, later if it was not.
#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_have_a_replica_that_turned_round_where_it_is() {
    const TURNS: u32 = 100;
    /// Required number of reversals before the copy replaced the log, and also after it.
    const MET_MIN: u32 = 10;
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    node.create("t", 3).await;
    let (mut wait, mut met) = (Duration::from_micros(100), [0, 0]);
    let end = Instant::now() + WITHIN;
    while met[0] + met[1] < TURNS || met.iter().any(|met| *met < MET_MIN) {
        assert!(
            Instant::now() < end,
            "before the end of the move and after it: {met:?}"
        );
        assert_eq!(node.alter(&dirs[2], "t", 1).await, ErrorCode::None);
        let began = Instant::now();
        while began.elapsed() < wait {
            tokio::task::yield_now().await;
        }
        let has_moved = node.broker.services().replicas.logs().futures().is_empty();
        assert_eq!(node.alter(&dirs[1], "t", 1).await, ErrorCode::None);
        met[usize::from(has_moved)] += 1;
        wait = match has_moved {
            true => wait * 7 / 8,
            false => wait * 8 / 7 + Duration::from_micros(1),
        };
    }
    node.settled().await;
    let end = Instant::now() + WITHIN;
    while node.assigned("t", 1) != node.dir_id(1) {
        assert!(
            Instant::now() < end,
            "the metadata have it elsewhere, the disk in {:?}",
            dirs.iter()
                .filter(|dir| dir.join("t-1").exists())
                .collect::<Vec<_>>()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(dirs[1].join("t-1").exists());
    node.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_moved_is_told_as_kafka_does() {
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    node.create("t", 3).await;
    let long = "x".repeat(249);
    for (dir, topic, partition, expected) in [
        (Path::new("/nope"), "t", 0, ErrorCode::LogDirNotFound),
        (&dirs[1], "zz", 2, ErrorCode::UnknownTopicOrPartition),
        (&dirs[1], "t", 9, ErrorCode::UnknownTopicOrPartition),
        (&dirs[1], &long, 0, ErrorCode::InvalidTopicException),
        // The replica is in this directory already.
        (&dirs[0], "t", 0, ErrorCode::None),
    ] {
        assert_eq!(node.alter(dir, topic, partition).await, expected, "{topic}");
    }
    assert_eq!(node.broker.services().replicas.logs().futures().len(), 0);
    // The directory is remembered for the time when the partition is created.
    node.create("zz", 3).await;
    assert!(dirs[1].join("zz-2").exists());
    node.broker.shutdown().await;
}

/// Stops a node during a move, changes its files with `cut` and starts it again. Checks in which directory the partition is
/// then, and its records.
async fn check(cut: impl FnOnce(&[PathBuf], &Path), expected: usize) {
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    let topic = node.create("t", 3).await;
    for record in 0..20 {
        assert_eq!(node.produce(topic, 1).await, Ok(record));
    }
    let replicas = node.broker.services().replicas.clone();
    // The move begins, but its copy is not complete when the node stops.
    let log = replicas
        .logs()
        .get(&crate::base::ids::TopicPartition::new("t", 1))
        .unwrap();
    let to = replicas
        .logs()
        .find_dir(&dirs[2].display().to_string())
        .unwrap();
    replicas.logs().begin_move(&log, to, 0).unwrap();
    assert_eq!(replicas.copy_round(1 << 20).caught_up.len(), 0);
    let copy = replicas.logs().futures()[0].dir();
    drop((log, replicas));
    node.broker.shutdown().await;
    cut(&dirs, &copy);
    let node = Node::start(&dirs).await;
    node.settled().await;
    assert_eq!(node.produce(topic, 1).await, Ok(20));
    assert!(dirs[expected].join("t-1").exists());
    assert_eq!(node.assigned("t", 1), node.dir_id(expected));
    node.broker.shutdown().await;
    let left: Vec<String> = dirs.iter().flat_map(|dir| entries(dir)).collect();
    assert_eq!(
        left.iter().filter(|name| name.ends_with("-future")).count(),
        0,
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_cut_short_goes_on() {
    check(|_, _| {}, 2).await;
    // A copy that lost its end.
    let torn = |_: &[PathBuf], copy: &Path| {
        let path = copy.join("00000000000000000000.log");
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(fs::metadata(&path).unwrap().len() / 2 - 7)
            .unwrap();
        fs::remove_file(copy.parent().unwrap().join(".kafka_cleanshutdown")).unwrap();
    };
    check(torn, 2).await;
    // A copy of which only the directory exists.
    let empty = |_: &[PathBuf], copy: &Path| {
        for entry in fs::read_dir(copy).unwrap() {
            let path = entry.unwrap().path();
            if !path.ends_with("partition.metadata") {
                fs::remove_file(path).unwrap();
            }
        }
    };
    check(empty, 2).await;
    // A copy that is gone.
    check(|_, copy| fs::remove_dir_all(copy).unwrap(), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_two_renames_leaves_a_whole_copy() {
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    let topic = node.create("t", 3).await;
    for record in 0..20 {
        assert_eq!(node.produce(topic, 1).await, Ok(record));
    }
    let services = node.broker.services().clone();
    let logs = services.replicas.logs();
    let log = logs
        .get(&crate::base::ids::TopicPartition::new("t", 1))
        .unwrap();
    let to = logs.find_dir(&dirs[2].display().to_string()).unwrap();
    logs.begin_move(&log, to, 0).unwrap();
    while services.replicas.copy_round(1 << 20).bytes > 0 {}
    let told = crate::metadata::placement::Assignment {
        topic_id: topic,
        partition: 1,
        directory: to.id,
    };
    let (node_id, epoch) = (services.node_id, services.broker_epoch());
    let request = crate::metadata::placement::assign_request(node_id, epoch, &[told]);
    let told = services.controller.ask(request).await.unwrap();
    assert_eq!(told.error_code, 0);
    drop((log, services));
    node.broker.shutdown().await;
    let doomed = dirs[1].join(format!("t-1.{}-delete", "0".repeat(32)));
    fs::rename(dirs[1].join("t-1"), doomed).unwrap();
    // Without the file, the directory's name tells the partition, and the metadata tell the topic id.
    let copy = fs::read_dir(&dirs[2]).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        path.to_string_lossy().ends_with("-future").then_some(path)
    });
    fs::write(copy.unwrap().join("partition.metadata"), "version: 0\n").unwrap();

    let node = Node::start(&dirs).await;
    assert_eq!(node.produce(topic, 1).await, Ok(20));
    assert!(dirs[2].join("t-1").exists());
    node.broker.shutdown().await;
}
