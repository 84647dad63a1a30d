//! Memory of a replica: a node may have a hundred thousand replicas.

use std::sync::Arc;

use crate::base::ids::{BrokerId, TopicPartition, Uuid};
use crate::host::Host;
use crate::log::manager::{LogManager, ManagerSettings};
use crate::log::settings::LogSettings;
use crate::replica::leader::{Alive, Assignment, Rules};
use crate::replica::partition::{News, Partition};
use crate::wire::message::fuzz::kept_memory;

const NOW: i64 = 1_000_000;
const REPLICAS: i32 = 100;

/// Bytes of a replica with an empty log: its log with one segment, its role, and its entry in the list of logs.
const REPLICA_BYTES_MAX: usize = 1_300;
/// Number of copies of its log directory's path that a replica keeps.
const PATHS: usize = 2;

fn alive(_: BrokerId) -> Option<Alive> {
    None
}

#[test]
fn an_idle_replica_takes_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = vec![(dir.path().to_owned(), Ok(Uuid([1; 16])))];
    let logs = LogManager::open(&Host::default(), dirs, ManagerSettings::default()).unwrap();
    let (topic, id): (Arc<str>, _) = ("topic".into(), Uuid([2; 16]));
    let settings = LogSettings::default();
    let news = News {
        assignment: Assignment {
            leader: 1,
            epoch: 5,
            partition_epoch: 5,
            replicas: &[1],
            isr: &[1],
        },
        rules: Rules {
            min_isr: 1,
            lag_max_ms: 30_000,
        },
        alive: &alive,
        now: NOW,
    };
    let make = |index| {
        let name = TopicPartition::new(Arc::clone(&topic), index);
        let log = logs.get_or_create(&name, id, Uuid::ZERO, &settings, NOW);
        let log = log.unwrap();
        Arc::new(Partition::new(Arc::clone(&topic), id, index, log, 1, &news))
    };
    let (replicas, bytes) = kept_memory(|| (0..REPLICAS).map(make).collect::<Vec<_>>());
    let each = bytes / replicas.len();
    let path = dir.path().as_os_str().len();
    assert!(
        each <= REPLICA_BYTES_MAX + PATHS * path,
        "{each} bytes with a path of {path}"
    );
}
