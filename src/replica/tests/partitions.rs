//! A partition with a real log: what its role allows, what it publishes, and which waiters it wakes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::base::ids::{BrokerId, LeaderEpoch, Offset, TopicPartition, Uuid};
use crate::host::Host;
use crate::log::append::Origin;
use crate::log::error::AppendError;
use crate::log::manager::Cut;
use crate::log::partition_log::following::Replicated;
use crate::log::partition_log::{PartitionLog, ReadEnd};
use crate::log::settings::LogSettings;
use crate::replica::follower::Fetch;
use crate::replica::leader::{Acknowledged, Alive, Assignment, FollowerFetch, Rules};
use crate::replica::partition::following::{Chore, LeaderAnswer, Step};
use crate::replica::partition::{Acks, News, Partition, Terms, Uncommitted};
use crate::replica::produce::until_committed;
use crate::replica::purgatory::Waiters;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::error_code::ErrorCode;

const NOW: i64 = 1_000_000;

struct Stage {
    _dir: TempDir,
    partition: Arc<Partition>,
}

fn alive(id: BrokerId) -> Option<Alive> {
    Some(Alive {
        epoch: i64::from(id),
        shuts_down: false,
    })
}

/// The leader of the epoch is broker 1 (this node) or 2; all replicas are in sync.
fn tell<T>(
    (leader, epoch): (BrokerId, LeaderEpoch),
    replicas: &[BrokerId],
    told: impl FnOnce(&News<'_>) -> T,
) -> T {
    told(&News {
        assignment: Assignment {
            leader,
            epoch,
            partition_epoch: epoch,
            replicas,
            isr: replicas,
        },
        rules: Rules {
            min_isr: 1,
            lag_max_ms: 30_000,
        },
        alive: &alive,
        now: NOW,
    })
}

fn stage(replicas: &[BrokerId], settings: LogSettings) -> Stage {
    let (dir, host) = (tempfile::tempdir().unwrap(), Host::default());
    let path = dir.path().join("t-0");
    let name = TopicPartition::new("t", 0);
    let id = Uuid([1; 16]);
    let log = PartitionLog::create(host.disk.dir(&path), name, id, settings, NOW).unwrap();
    let partition = tell((1, 5), replicas, |news| {
        Partition::new("t".into(), id, 0, Arc::new(log), 1, news)
    });
    Stage {
        _dir: dir,
        partition: Arc::new(partition),
    }
}

fn batch() -> Bytes {
    let mut builder = BatchBuilder::default();
    builder.push(NOW, None, Some(b"v"));
    builder.build()
}

impl Stage {
    fn append(&self, epoch: LeaderEpoch) -> Result<(Offset, Acknowledged), ErrorCode> {
        let terms = Terms {
            epoch,
            acks: Acks::All,
            origin: Origin::Client,
        };
        let appended = self.partition.append(&batch(), terms, NOW);
        let appended = appended.map_err(|error: AppendError| error.code())?;
        Ok((appended.0.last_offset + 1, appended.1))
    }

    fn follower_has(&self, id: BrokerId, log_end: Offset) {
        let leader_log_end = self.partition.log().log_end();
        let fetch = FollowerFetch {
            replica: id,
            broker_epoch: i64::from(id),
            log_end,
            leader_log_end,
        };
        let epoch = self.partition.leader_epoch();
        self.partition.followed(epoch, fetch, NOW).unwrap();
    }

    /// Tells the node of a leader.
    fn learn(&self, leader: BrokerId, epoch: LeaderEpoch, replicas: &[BrokerId]) {
        tell((leader, epoch), replicas, |news| {
            self.partition.update(news)
        });
    }

    async fn committed(&self, epoch: LeaderEpoch, end: Offset) -> Result<(), ErrorCode> {
        let append = Uncommitted {
            partition: Arc::clone(&self.partition),
            epoch,
            end,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut results = until_committed(&Waiters::default(), &[append], deadline).await;
        results.pop().unwrap()
    }
}

#[test]
fn a_partition_of_one_replica_acknowledges_at_once() {
    let stage = stage(&[1], LogSettings::default());
    assert_eq!(stage.append(5), Ok((1, Acknowledged::Yes)));
    assert_eq!(stage.partition.high_watermark(), 1);
}

#[test]
fn an_append_of_an_epoch_that_is_over_is_refused() {
    let stage = stage(&[1], LogSettings::default());
    stage.append(5).unwrap();
    stage.learn(1, 6, &[1]);
    assert_eq!(stage.append(5), Err(ErrorCode::FencedLeaderEpoch));
    stage.append(6).unwrap();
    // Older metadata arrives late.
    stage.learn(2, 5, &[1, 2]);
    assert_eq!(stage.partition.leads_in(), Ok(6));
    stage.learn(2, 7, &[1, 2]);
    assert_eq!(stage.append(6), Err(ErrorCode::NotLeaderOrFollower));
    stage.learn(1, 8, &[1, 2]);
    stage.partition.retire();
    assert_eq!(stage.append(8), Err(ErrorCode::NotLeaderOrFollower));
    stage.learn(1, 9, &[1, 2]);
    assert_eq!(stage.append(9), Err(ErrorCode::NotLeaderOrFollower));
    assert_eq!(stage.partition.log().log_end(), 2);
}

#[test]
fn consumers_see_what_the_isr_has() {
    let stage = stage(&[1, 2], LogSettings::default());
    assert_eq!(stage.append(5), Ok((1, Acknowledged::Waits)));
    let visible = || {
        let log = stage.partition.log();
        let plan = log.read(0, 1_000, ReadEnd::HighWatermark, true).unwrap();
        plan.records.is_some()
    };
    assert!(!visible());
    stage.follower_has(2, 0);
    assert!(!visible());
    stage.follower_has(2, 1);
    assert!(visible());
}

#[tokio::test(start_paused = true)]
async fn a_produce_waits_for_its_own_offset_and_no_longer() {
    let stage = stage(&[1, 2], LogSettings::default());
    for _ in 0..3 {
        stage.append(5).unwrap();
    }
    let follow = async {
        stage.follower_has(2, 1);
        tokio::task::yield_now().await;
        stage.follower_has(2, 2);
    };
    let (second, ()) = tokio::join!(stage.committed(5, 2), follow);
    assert_eq!(second, Ok(()));
    assert_eq!(stage.committed(5, 1).await, Ok(()));
    let late = stage.committed(5, 3).await;
    assert_eq!(late, Err(ErrorCode::RequestTimedOut));
}

#[tokio::test(start_paused = true)]
async fn kafka_20634_a_high_watermark_of_another_epoch_acknowledges_nothing() {
    let stage = stage(&[1, 2], LogSettings::default());
    stage.append(5).unwrap();
    let resign = async {
        tokio::task::yield_now().await;
        // The records are truncated, others are appended, and the high watermark passes the old offsets.
        stage.learn(2, 6, &[1, 2]);
        stage.partition.log.truncate_to(0).unwrap();
        stage.learn(1, 7, &[1]);
        assert_eq!(stage.append(7), Ok((1, Acknowledged::Yes)));
    };
    let (outcome, ()) = tokio::join!(stage.committed(5, 1), resign);
    assert_eq!(outcome, Err(ErrorCode::NotLeaderOrFollower));
    // Later calls get the same error.
    let asked = stage.partition.high_watermark_in(5);
    assert_eq!(asked, Err(ErrorCode::NotLeaderOrFollower));
    assert_eq!(stage.partition.high_watermark_in(7), Ok(1));
    let late = stage.committed(5, 1).await;
    assert_eq!(late, Err(ErrorCode::NotLeaderOrFollower));
}

#[test]
fn what_must_be_on_disk_first_is_not_shown_before() {
    let settings = LogSettings {
        flush_messages: 2,
        ..LogSettings::default()
    };
    let stage = stage(&[1], settings);
    for end in 1..6 {
        assert_eq!(stage.append(5), Ok((end, Acknowledged::Yes)));
        let unflushed = stage.partition.high_watermark() - stage.partition.log.recovery_point();
        assert!(unflushed < 2, "{unflushed}");
    }
}

/// Records that a leader has appended from `base` on in its epoch.
fn led(base: Offset, epoch: LeaderEpoch, count: i64) -> LeaderAnswer {
    let mut records = Vec::new();
    for offset in base..base + count {
        let mut builder = BatchBuilder::default().at(offset, epoch);
        builder.push(NOW, None, Some(b"w"));
        records.extend_from_slice(&builder.build());
    }
    LeaderAnswer::Records {
        records: Replicated::check(records.into()).unwrap(),
        high_watermark: base,
        log_start: 0,
    }
}

impl Stage {
    fn next_fetch(&self, epoch: LeaderEpoch) -> Fetch {
        match self.partition.next_step(epoch, NOW) {
            Step::Fetch(fetch) => fetch,
            other => panic!("{other:?}"),
        }
    }

    fn take_in(&self, asked: &Fetch, answer: &LeaderAnswer) -> Vec<Chore> {
        self.partition.take_in(asked, answer, 1_000, NOW).unwrap()
    }
}

#[test]
fn a_follower_appends_what_it_asked_for_in_this_epoch_and_nothing_else() {
    let stage = stage(&[1, 2], LogSettings::default());
    stage.append(5).unwrap();
    stage.learn(2, 6, &[1, 2]);
    assert_eq!(stage.partition.follows(), Some((2, 6)));
    let asked = stage.next_fetch(6);
    assert_eq!((asked.offset, asked.last_fetched_epoch), (1, 5));
    assert_eq!(stage.take_in(&asked, &led(1, 6, 2)), []);
    let marks = stage.partition.log().watermarks();
    assert_eq!((marks.high_watermark, marks.log_end), (1, 3));
    // The same answer again, an answer to an older fetch, and one after a change of role.
    assert_eq!(stage.take_in(&asked, &led(1, 6, 2)), []);
    let asked = stage.next_fetch(6);
    stage.learn(2, 7, &[1, 2]);
    assert_eq!(stage.take_in(&asked, &led(3, 6, 2)), []);
    assert_eq!(stage.partition.next_step(6, NOW), Step::Wait);
    stage.learn(1, 8, &[1, 2]);
    assert_eq!(stage.take_in(&asked, &led(3, 6, 2)), []);
    assert_eq!(stage.partition.log().log_end(), 3);
    assert_eq!(stage.partition.follows(), None);
}

/// A leader that appends during a truncation would lose acknowledged records.
#[test]
fn a_role_waits_until_a_log_is_cut() {
    let stage = stage(&[1, 2], LogSettings::default());
    for _ in 0..3 {
        stage.append(5).unwrap();
    }
    stage.learn(2, 6, &[1, 2]);
    let asked = stage.next_fetch(6);
    let diverging = LeaderAnswer::Diverging {
        epoch: 5,
        end_offset: 1,
    };
    assert_eq!(stage.take_in(&asked, &diverging), [Chore::Cut(Cut::At(1))]);
    assert_eq!(stage.partition.next_step(6, NOW), Step::Wait);
    stage.learn(1, 7, &[1, 2]);
    assert!(stage.partition.leads_in().is_err());
    assert_eq!(stage.append(7), Err(ErrorCode::NotLeaderOrFollower));
    stage.partition.log.truncate_to(1).unwrap();
    assert!(stage.partition.was_cut(NOW), "there is news");
    assert_eq!(stage.partition.leads_in(), Ok(7));
    assert_eq!(stage.append(7), Ok((2, Acknowledged::Waits)));
    // Without new metadata following continues.
    stage.learn(2, 8, &[1, 2]);
    let asked = stage.next_fetch(8);
    let diverging = LeaderAnswer::Diverging {
        epoch: 5,
        end_offset: 1,
    };
    assert_eq!(stage.take_in(&asked, &diverging), [Chore::Cut(Cut::At(1))]);
    stage.partition.log.truncate_to(1).unwrap();
    assert!(!stage.partition.was_cut(NOW));
    assert_eq!(stage.next_fetch(8).offset, 1);
}

#[test]
fn what_a_follower_must_have_on_disk_is_flushed_before_it_asks_for_more() {
    let settings = LogSettings {
        flush_messages: 2,
        ..LogSettings::default()
    };
    let stage = stage(&[1, 2], settings);
    stage.learn(2, 6, &[1, 2]);
    let asked = stage.next_fetch(6);
    assert_eq!(stage.take_in(&asked, &led(0, 6, 1)), []);
    let asked = stage.next_fetch(6);
    assert_eq!(stage.take_in(&asked, &led(1, 6, 1)), [Chore::Flush(2)]);
    // A lane that does not know of this chore must not fetch either, in this epoch or the next one.
    stage.learn(2, 7, &[1, 2]);
    let step = stage.partition.next_step(7, NOW);
    assert_eq!(step, Step::Do(Chore::Flush(2)));
    stage.partition.log.flush_up_to(2, NOW).unwrap();
    stage.learn(2, 8, &[1, 2]);
    let asked = stage.next_fetch(8);
    let deleted = LeaderAnswer::Records {
        records: Replicated::check(Bytes::new()).unwrap(),
        high_watermark: 2,
        log_start: 1,
    };
    let chores = stage.take_in(&asked, &deleted);
    assert_eq!(chores, [Chore::DeleteBefore(1)]);
}
