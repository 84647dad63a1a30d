//! Fetches of a follower: the results, and the positions that the leader records.

use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use crate::base::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, Uuid};
use crate::config::broker::BrokerSettings;
use crate::host::Host;
use crate::host::file::Reach;
use crate::log::append::Origin;
use crate::log::manager::{LogManager, ManagerSettings};
use crate::log::settings::LogSettings;
use crate::metadata::image::{Delta, Image};
use crate::metadata::record::Record;
use crate::metadata::record::schema::{PartitionRecord, RegisterBrokerRecord, TopicRecord};
use crate::replica::fetch::{Limits, Outcome, Wanted, read};
use crate::replica::manager::ReplicaManager;
use crate::replica::partition::{Acks, FollowerId, Partition, Terms};
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::error_code::ErrorCode;

const NOW: i64 = 1_000_000;
const TOPIC: Uuid = Uuid([3; 16]);
/// Leader epoch in which broker 1, this node, leads.
const EPOCH: LeaderEpoch = 4;

struct Stage {
    _dir: TempDir,
    replicas: ReplicaManager,
    partition: Arc<Partition>,
}

/// Brokers 1 to 3; the epoch of each is ten times its id. Brokers 1 and 2 are replicas of the partition, and 1 is in sync.
fn image() -> Image {
    let broker = |broker_id: BrokerId| {
        Record::from(RegisterBrokerRecord {
            broker_id,
            broker_epoch: BrokerEpoch::from(broker_id) * 10,
            fenced: false,
            ..Default::default()
        })
    };
    let topic = TopicRecord {
        name: "t".into(),
        topic_id: TOPIC,
    };
    let partition = PartitionRecord {
        partition_id: 0,
        topic_id: TOPIC,
        replicas: vec![1, 2],
        isr: vec![1],
        leader: 1,
        leader_epoch: EPOCH,
        partition_epoch: 7,
        directories: vec![Uuid([9; 16]), Uuid([8; 16])],
        ..Default::default()
    };
    let records = [topic.into(), partition.into()];
    let (mut image, mut delta) = (Image::empty(), Delta::default());
    for (offset, record) in (0..).zip((1..=3).map(broker).chain(records)) {
        image.apply(&record, offset, &mut delta);
    }
    image
}

fn stage() -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let dirs = vec![(dir.path().to_owned(), Ok(Uuid([9; 16])))];
    let logs = LogManager::open(&Host::default(), dirs, ManagerSettings::default()).unwrap();
    logs.load(1, &|_| LogSettings::default(), NOW).unwrap();
    let replicas = ReplicaManager::new(1, Arc::new(logs), BrokerSettings::default());
    replicas.install(&Arc::new(image()));
    let partition = replicas.partition("t", 0).unwrap();
    let stage = Stage {
        _dir: dir,
        replicas,
        partition,
    };
    for _ in 0..3 {
        stage.append();
    }
    stage
}

/// Fetch of broker 2 from the second record on.
fn wanted() -> Wanted {
    Wanted {
        topic: "t".into(),
        topic_id: TOPIC,
        index: 0,
        fetch_offset: 1,
        current_leader_epoch: EPOCH,
        last_fetched_epoch: EPOCH,
        max_bytes: 1 << 20,
        denied: None,
    }
}

impl Stage {
    fn append(&self) {
        let mut builder = BatchBuilder::default();
        builder.push(NOW, None, Some(b"v"));
        let batch: Bytes = builder.build();
        let terms = Terms {
            epoch: EPOCH,
            acks: Acks::Leader,
            origin: Origin::Client,
        };
        self.partition.append(&batch, terms, NOW).unwrap();
    }

    fn read(&self, follower: Option<(BrokerId, BrokerEpoch)>, wanted: &Wanted) -> Outcome {
        let follower = follower.map(|(id, broker_epoch)| FollowerId { id, broker_epoch });
        let limits = Limits {
            max_bytes: 1 << 20,
            read_committed: false,
            by_id: true,
            follower,
            hard_limit: false,
            reach: Reach::Disk,
        };
        let mut fetched = read(&self.replicas, std::slice::from_ref(wanted), limits);
        fetched.outcomes.pop().unwrap()
    }

    fn error(&self, follower: (BrokerId, BrokerEpoch), wanted: &Wanted) -> ErrorCode {
        match self.read(Some(follower), wanted) {
            Outcome::Failed(error, _) => error,
            other => panic!("{other:?}"),
        }
    }

    /// ISRs that were proposed to the controller since the last call.
    fn proposed(&self) -> Vec<Vec<(BrokerId, BrokerEpoch)>> {
        let changes = self.replicas.isr_changes().take().into_iter();
        changes.map(|(_, proposal)| proposal.isr).collect()
    }
}

fn at(fetch_offset: Offset) -> Wanted {
    Wanted {
        fetch_offset,
        ..wanted()
    }
}

#[test]
fn a_follower_that_has_all_is_proposed_for_the_isr_and_counts_from_then_on() {
    let stage = stage();
    assert_eq!(stage.partition.high_watermark(), 3);
    let outcome = stage.read(Some((2, 20)), &at(1));
    assert!(
        matches!(&outcome, Outcome::Read(plan) if plan.records.is_some()),
        "{outcome:?}"
    );
    assert!(stage.proposed().is_empty());
    stage.read(Some((2, 20)), &at(3));
    assert_eq!(stage.proposed(), [[(1, -1), (2, 20)]]);
    // A follower reads beyond the high watermark.
    stage.append();
    assert_eq!(stage.partition.high_watermark(), 3);
    let outcome = stage.read(Some((2, 20)), &at(3));
    assert!(
        matches!(&outcome, Outcome::Read(plan) if plan.records.is_some()),
        "{outcome:?}"
    );
    let outcome = stage.read(None, &at(3));
    assert!(
        matches!(&outcome, Outcome::Read(plan) if plan.records.is_none()),
        "{outcome:?}"
    );
    stage.read(Some((2, 20)), &at(4));
    assert_eq!(stage.partition.high_watermark(), 4);
}

#[test]
fn who_is_no_replica_or_an_earlier_self_of_one_is_refused() {
    let stage = stage();
    let any = Wanted {
        current_leader_epoch: -1,
        ..wanted()
    };
    for id in [3, 1, 7] {
        assert_eq!(
            stage.error((id, -1), &wanted()),
            ErrorCode::UnknownLeaderEpoch
        );
        assert_eq!(stage.error((id, -1), &any), ErrorCode::NotLeaderOrFollower);
    }
    assert_eq!(stage.error((2, 19), &at(3)), ErrorCode::NotLeaderOrFollower);
    let older = Wanted {
        current_leader_epoch: EPOCH - 1,
        ..wanted()
    };
    assert_eq!(stage.error((2, 20), &older), ErrorCode::FencedLeaderEpoch);
    let newer = Wanted {
        current_leader_epoch: EPOCH + 1,
        ..wanted()
    };
    assert_eq!(stage.error((2, 20), &newer), ErrorCode::UnknownLeaderEpoch);
    assert!(stage.proposed().is_empty());
    // A broker whose registration is not in the metadata yet is served, but does not join the ISR.
    assert!(matches!(
        stage.read(Some((2, 21)), &at(3)),
        Outcome::Read(_)
    ));
    assert!(stage.proposed().is_empty());
}

#[test]
fn kafka_13141_what_a_diverging_follower_asks_for_is_not_noted() {
    let stage = stage();
    stage.read(Some((2, 20)), &at(3));
    stage.append();
    let diverging = Wanted {
        fetch_offset: 9,
        ..wanted()
    };
    let outcome = stage.read(Some((2, 20)), &diverging);
    let Outcome::Diverged {
        epoch, end_offset, ..
    } = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!((epoch, end_offset), (EPOCH, 4));
    assert_eq!(stage.partition.high_watermark(), 3);
    // A position beyond the log end is not recorded either, even if the follower names no epoch.
    let beyond = Wanted {
        last_fetched_epoch: -1,
        ..diverging
    };
    assert_eq!(stage.error((2, 20), &beyond), ErrorCode::OffsetOutOfRange);
    assert_eq!(stage.partition.high_watermark(), 3);
}

#[test]
fn an_offset_before_the_log_is_out_of_range_whatever_its_epoch() {
    let stage = stage();
    stage.partition.log.advance_start(2, NOW).unwrap();
    assert_eq!(stage.error((2, 20), &at(1)), ErrorCode::OffsetOutOfRange);
    let other = Wanted {
        last_fetched_epoch: 2,
        ..at(1)
    };
    assert_eq!(stage.error((2, 20), &other), ErrorCode::OffsetOutOfRange);
    // Nor does it learn where the logs diverge.
    stage.partition.log.note_epoch(EPOCH + 2);
    let diverging = Wanted {
        last_fetched_epoch: EPOCH + 1,
        ..at(1)
    };
    assert_eq!(
        stage.error((2, 20), &diverging),
        ErrorCode::OffsetOutOfRange
    );
}
