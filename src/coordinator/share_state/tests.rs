//! Tests of one partition of `__share_group_state`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::batches::{ACKNOWLEDGED, ARCHIVED, AVAILABLE};
use super::handle::ShareStateHandle;
use super::record::*;
use super::request::*;
use super::shard::*;
use crate::base::ids::Uuid;
use crate::base::memory::{Memory, Purpose};
use crate::base::work_pool::WorkPool;
use crate::coordinator::runtime::log::RecordLog;
use crate::coordinator::runtime::log::memory::MemoryLog;
use crate::coordinator::runtime::shard::{Moment, Origin, Output, RawRecord, Shard, Ticket};
use crate::host::Host;
use crate::metadata::image::{Delta, Image};
use crate::metadata::record::Record;
use crate::metadata::record::schema::{PartitionRecord, TopicRecord};
use crate::wire::batch::compression::Compression;
use crate::wire::error_code::ErrorCode;

const TOPIC: Uuid = Uuid([7; 16]);

fn key() -> ShareKey {
    ShareKey {
        group: "g".into(),
        topic_id: TOPIC,
        partition: 1,
    }
}

fn image() -> Arc<Image> {
    let mut image = Image::empty();
    let mut delta = Delta::default();
    let mut apply = |record: Record| image.apply(&record, 0, &mut delta);
    apply(Record::Topic(TopicRecord {
        name: "t".into(),
        topic_id: TOPIC,
    }));
    for partition_id in 0..2 {
        apply(Record::Partition(PartitionRecord {
            partition_id,
            topic_id: TOPIC,
            ..Default::default()
        }));
    }
    Arc::new(image)
}

/// A shard with all records that it has written.
struct Stage {
    shard: ShareStateShard,
    written: Vec<ShareStateRecord>,
}

impl Stage {
    fn new(updates_per_snapshot: u32) -> Self {
        let mut shard = ShareStateShard::new(ShareStateSettings {
            updates_per_snapshot,
            memory: Memory::new(1 << 30),
        });
        shard.on_image(&image(), &Delta::default());
        Self {
            shard,
            written: Vec::new(),
        }
    }

    fn ask(&mut self, request: ShareStateRequest) -> ShareStateAnswer {
        self.ask_within(1 << 20, request)
    }

    /// Sends a request whose records have to fit into a batch of `bytes`.
    fn ask_within(&mut self, bytes: usize, request: ShareStateRequest) -> ShareStateAnswer {
        let mut out = Output::new(bytes);
        let now = Moment {
            wall: 1_000,
            steady: 0,
        };
        self.shard.handle(now, Ticket(1), request, Ok(()), &mut out);
        for raw in out.records {
            self.written
                .push(ShareStateRecord::decode(raw).unwrap().unwrap());
        }
        out.answers.pop().unwrap().1
    }

    fn initialise(&mut self, state_epoch: i32, start_offset: i64) -> ShareStateAnswer {
        self.ask(ShareStateRequest::Initialise {
            key: key(),
            state_epoch,
            start_offset,
            replaces: true,
        })
    }

    fn write(
        &mut self,
        epochs: (i32, i32),
        start: i64,
        batches: &[StateBatch],
    ) -> ShareStateAnswer {
        self.ask(ShareStateRequest::Write {
            key: key(),
            write: Write {
                state_epoch: epochs.0,
                leader_epoch: epochs.1,
                start_offset: start,
                complete_count: 3,
                batches: batches.to_vec(),
            },
        })
    }

    fn read(&mut self, leader_epoch: i32) -> ShareStateAnswer {
        self.ask(ShareStateRequest::Read {
            key: key(),
            leader_epoch,
        })
    }

    /// A new shard with the records that this one has written.
    fn again(&self) -> ShareStateShard {
        let mut shard = Self::new(0).shard;
        for record in &self.written {
            shard.apply(Origin::Plain, record);
        }
        shard
    }
}

pub(super) fn batch(first: i64, last: i64, state: i8, count: i16) -> StateBatch {
    StateBatch {
        first_offset: first,
        last_offset: last,
        delivery_state: state,
        delivery_count: count,
    }
}

fn refused(answer: ShareStateAnswer) -> ErrorCode {
    match answer {
        ShareStateAnswer::Refused(refusal) => refusal.error,
        _ => ErrorCode::None,
    }
}

fn known(answer: ShareStateAnswer) -> Known {
    match answer {
        ShareStateAnswer::Known(known) => known,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_written_is_read_by_the_next_leader() {
    let mut stage = Stage::new(500);
    assert_eq!(refused(stage.read(1)), ErrorCode::InvalidRequest);
    assert_eq!(
        refused(stage.write((1, 1), 0, &[])),
        ErrorCode::InvalidRequest
    );
    assert_eq!(stage.initialise(2, -1), ShareStateAnswer::Done);
    assert_eq!(known(stage.read(1)).start_offset, UNDECIDED);
    stage.write((2, 1), 0, &[batch(0, 9, AVAILABLE, 1)]);
    stage.write((2, 1), 5, &[batch(5, 6, ACKNOWLEDGED, 2)]);
    let expected = Known {
        state_epoch: 2,
        start_offset: 5,
        batches: vec![batch(5, 6, ACKNOWLEDGED, 2), batch(7, 9, AVAILABLE, 1)],
    };
    assert_eq!(known(stage.read(2)), expected);
    // Requests of the former leader are refused, and so are initialisations with an older state epoch.
    let late = stage.write((2, 1), 9, &[]);
    assert_eq!(refused(late), ErrorCode::FencedLeaderEpoch);
    assert_eq!(refused(stage.read(1)), ErrorCode::FencedLeaderEpoch);
    assert_eq!(refused(stage.initialise(1, 0)), ErrorCode::FencedStateEpoch);
    let summary = stage.ask(ShareStateRequest::Summarise(key()));
    let expected = Summary {
        state_epoch: 2,
        leader_epoch: 2,
        start_offset: 5,
        complete_count: 3,
    };
    assert_eq!(summary, ShareStateAnswer::Summary(expected));
    assert_eq!(stage.initialise(3, 40), ShareStateAnswer::Done);
    let late = stage.write((2, 3), 9, &[]);
    assert_eq!(refused(late), ErrorCode::FencedStateEpoch);
    assert_eq!(known(stage.read(0)).batches, []);
}

#[test]
fn a_write_that_is_late_moves_nothing_back() {
    let mut stage = Stage::new(500);
    stage.initialise(1, 0);
    stage.write((1, 0), 20, &[batch(20, 29, ARCHIVED, 3)]);
    stage.write((1, 0), 10, &[batch(10, 29, AVAILABLE, 2)]);
    let known = known(stage.read(0));
    assert_eq!(known.start_offset, 20);
    assert_eq!(known.batches, [batch(20, 29, ARCHIVED, 3)]);
}

#[test]
fn a_snapshot_comes_after_so_many_updates_and_a_restart_finds_the_same() {
    let mut stage = Stage::new(3);
    stage.initialise(1, 0);
    for round in 0..9 {
        stage.write((1, 4), round, &[batch(round, round, ACKNOWLEDGED, 1)]);
        let mut again = Stage::new(3);
        again.shard = stage.again();
        again.shard.on_image(&image(), &Delta::default());
        assert_eq!(known(again.read(4)), known(stage.read(4)), "{round}");
    }
    let kinds: String = stage
        .written
        .iter()
        .map(|record| match record {
            ShareStateRecord::Snapshot { .. } => 's',
            ShareStateRecord::Update { .. } => 'u',
        })
        .collect();
    assert_eq!(kinds, "suuusuuusu");
}

#[test]
fn what_is_deleted_is_gone_and_may_be_deleted_again() {
    let mut stage = Stage::new(500);
    stage.initialise(1, 0);
    let delete = || ShareStateRequest::Delete {
        key: key(),
        epoch_max: i32::MAX,
    };
    assert_eq!(stage.ask(delete()), ShareStateAnswer::Done);
    assert_eq!(stage.ask(delete()), ShareStateAnswer::Done);
    assert_eq!(stage.written.len(), 2);
    let summary = stage.ask(ShareStateRequest::Summarise(key()));
    assert_eq!(summary, ShareStateAnswer::Summary(Summary::NOTHING));
    stage.initialise(1, 0);
    let empty = Arc::new(Image::empty());
    stage.shard.on_image(&empty, &Delta::default());
    stage.ask(ShareStateRequest::ForgetDeleted(None));
    assert_eq!(refused(stage.read(0)), ErrorCode::InvalidRequest);
}

#[test]
fn a_topic_that_is_not_there_and_hostile_batches_are_refused() {
    let mut stage = Stage::new(500);
    for (partition, error) in [
        (2, ErrorCode::UnknownTopicOrPartition),
        (-1, ErrorCode::InvalidRequest),
    ] {
        let answer = stage.ask(ShareStateRequest::Initialise {
            key: ShareKey { partition, ..key() },
            state_epoch: 0,
            start_offset: 0,
            replaces: true,
        });
        assert_eq!(refused(answer), error);
    }
    let sentinel = stage.initialise(-1, 0);
    assert_eq!(refused(sentinel), ErrorCode::InvalidRequest);
    stage.initialise(0, 0);
    assert_eq!(refused(stage.read(-1)), ErrorCode::InvalidRequest);
    for epochs in [(-1, 0), (0, -1)] {
        let answer = stage.write(epochs, 0, &[]);
        assert_eq!(refused(answer), ErrorCode::InvalidRequest);
    }
    for wrong in [
        batch(5, 4, 0, 1),
        batch(-1, 4, 0, 1),
        batch(9, i64::MIN, 0, 1),
    ] {
        let answer = stage.write((0, 0), 0, &[wrong]);
        assert_eq!(refused(answer), ErrorCode::InvalidRequest);
    }
    let widest = batch(0, i64::MAX, ACKNOWLEDGED, i16::MAX);
    stage.write((0, 0), i64::MAX, &[widest]);
    assert_eq!(known(stage.read(0)).start_offset, i64::MAX);
}

fn start(log: &Arc<MemoryLog>) -> ShareStateHandle {
    let host = Host::default();
    let pool = WorkPool::new(&host, 1, &Memory::new(1 << 20));
    let settings = ShareStateSettings {
        updates_per_snapshot: 500,
        memory: Memory::new(1 << 30),
    };
    let log = Arc::clone(log) as Arc<dyn RecordLog>;
    let limit = Duration::from_secs(5);
    let none = Compression::None;
    let (states, task) = ShareStateHandle::new(&host, log, settings, 1, limit, none, pool);
    tokio::spawn(task.run());
    states.coordinator().on_image(&image(), &Delta::default());
    states
}

#[tokio::test]
async fn what_later_snapshots_say_too_is_deleted_and_a_start_finds_the_same() {
    let log = Arc::new(MemoryLog::default());
    let states = start(&log);
    states.coordinator().elected(0, 1);
    let other = ShareKey {
        partition: 0,
        ..key()
    };
    for key in [key(), other.clone()] {
        states.initialise(key, 1, 0, true).await.unwrap();
    }
    let write = |round: i64| Write {
        state_epoch: 1,
        leader_epoch: 1,
        start_offset: round / 2,
        complete_count: UNCHANGED,
        batches: vec![batch(round, round, ACKNOWLEDGED, 1)],
    };
    for round in 0..998 {
        states.write(key(), write(round)).await.unwrap();
    }
    states.prune().await;
    assert_eq!(log.batches(0), 1_000, "that is not much");
    for round in 998..1_010 {
        states.write(key(), write(round)).await.unwrap();
    }
    states.prune().await;
    assert_eq!(log.batches(0), 1);
    let (known, nothing) = (
        states.read(key(), 1).await.unwrap(),
        states.read(other.clone(), 1).await.unwrap(),
    );
    assert_eq!(known.start_offset, 504);
    let again = start(&log);
    again.coordinator().elected(0, 2);
    let mut loaded = again.read(key(), 1).await;
    while loaded.is_err() {
        tokio::task::yield_now().await;
        loaded = again.read(key(), 1).await;
    }
    assert_eq!(loaded.unwrap(), known);
    assert_eq!(again.read(other, 1).await.unwrap(), nothing);
}

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).unwrap();
        u8::from_str_radix(text, 16).unwrap()
    };
    digits.chunks(2).map(pair).collect()
}

#[test]
fn records_have_kafkas_bytes() {
    let snapshot = ShareStateRecord::Snapshot {
        key: key(),
        value: Some(ShareSnapshotValue {
            snapshot_epoch: 1,
            state_epoch: 2,
            leader_epoch: 3,
            start_offset: 4,
            delivery_complete_count: 5,
            create_timestamp: 6,
            write_timestamp: 7,
            state_batches: vec![batch(8, 9, 2, 1)],
        }),
    };
    let raw = snapshot.encode().unwrap();
    let id = "07070707070707070707070707070707";
    assert_eq!(raw.key, hex(&format!("0000 0001 67 {id} 00000001")));
    let value = "0000 00000001 00000002 00000003 0000000000000004 0000000000000006 0000000000000007
        02 0000000000000008 0000000000000009 02 0001 00 01 00 04 00000005";
    assert_eq!(raw.value, Some(hex(value)));
    assert_eq!(ShareStateRecord::decode(raw).unwrap(), Some(snapshot));
    let update = ShareStateRecord::Update {
        key: key(),
        value: ShareUpdateValue {
            snapshot_epoch: 1,
            leader_epoch: 3,
            start_offset: -1,
            delivery_complete_count: -1,
            state_batches: Vec::new(),
        },
    };
    let raw = update.encode().unwrap();
    assert_eq!(raw.key, hex(&format!("0001 0001 67 {id} 00000001")));
    let value = "0000 00000001 00000003 ffffffffffffffff 01 00";
    assert_eq!(raw.value, Some(hex(value)));
    assert_eq!(ShareStateRecord::decode(raw).unwrap(), Some(update));
    let unknown = RawRecord {
        key: hex("0002 0001 67"),
        value: None,
    };
    assert_eq!(ShareStateRecord::decode(unknown), Ok(None));
}

#[test]
fn a_snapshot_that_fits_into_no_batch_ends_the_series_of_snapshots() {
    let mut stage = Stage::new(500);
    stage.initialise(1, 0);
    let behind = ShareKey {
        partition: 0,
        ..key()
    };
    let asked = || ShareStateRequest::Snapshot(Some(behind.clone()));
    let refused = stage.ask_within(50, asked());
    assert!(
        matches!(&refused, ShareStateAnswer::Refused(refusal) if refusal.error == ErrorCode::RecordListTooLarge),
        "{refused:?}"
    );
    assert_eq!(stage.ask(asked()), ShareStateAnswer::Done);
}

#[test]
fn a_state_that_is_there_is_replaced_only_on_purpose() {
    let mut stage = Stage::new(500);
    stage.initialise(1, 5);
    let mut initialise = |replaces, start_offset| {
        stage.ask(ShareStateRequest::Initialise {
            key: key(),
            state_epoch: 2,
            start_offset,
            replaces,
        });
        match stage.ask(ShareStateRequest::Summarise(key())) {
            ShareStateAnswer::Summary(summary) => summary.start_offset,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([initialise(false, 9), initialise(true, 9)], [5, 9]);
}

#[test]
fn a_deletion_spares_what_was_begun_anew_since() {
    let mut stage = Stage::new(500);
    stage.initialise(4, 5);
    for (epoch_max, start_offset) in [(3, 5), (4, UNDECIDED)] {
        let key = key();
        stage.ask(ShareStateRequest::Delete { key, epoch_max });
        let summary = stage.ask(ShareStateRequest::Summarise(self::key()));
        let ShareStateAnswer::Summary(summary) = summary else {
            panic!("{summary:?}");
        };
        assert_eq!(summary.start_offset, start_offset);
    }
}

#[test]
fn a_state_never_becomes_larger_than_its_snapshot_may_be() {
    let mut stage = Stage::new(2);
    stage.initialise(1, 0);
    let bytes = 10_000;
    let mut written = 0;
    for round in 0..20 {
        let batches =
            (0..100).map(|at| batch(1_000 * round + 2 * at, 1_000 * round + 2 * at, 2, 1));
        let write = Write {
            state_epoch: 1,
            leader_epoch: 1,
            start_offset: 0,
            complete_count: 0,
            batches: batches.collect(),
        };
        let answer = stage.ask_within(bytes, ShareStateRequest::Write { key: key(), write });
        match refused(answer) {
            ErrorCode::None => written += 1,
            error => assert_eq!(error, ErrorCode::RecordListTooLarge),
        }
    }
    assert_eq!(written, 4);
    let snapshot = stage.ask_within(
        bytes,
        ShareStateRequest::Snapshot(Some(ShareKey {
            partition: 0,
            ..key()
        })),
    );
    assert_eq!(snapshot, ShareStateAnswer::Done);
}

#[test]
fn states_take_no_more_memory_than_they_may_and_give_it_back() {
    let memory = Memory::new(40_000);
    let mut stage = Stage::new(500);
    stage.shard = ShareStateShard::new(ShareStateSettings {
        updates_per_snapshot: 500,
        memory: Arc::clone(&memory),
    });
    stage.shard.on_image(&image(), &Delta::default());
    let of = |number: usize| ShareKey {
        group: format!("g{number:03}").into(),
        ..key()
    };
    let refused: Vec<bool> = (0..100)
        .map(|number| {
            let answer = stage.ask(ShareStateRequest::Initialise {
                key: of(number),
                state_epoch: 1,
                start_offset: 0,
                replaces: true,
            });
            refused(answer) == ErrorCode::PolicyViolation
        })
        .collect();
    assert!(!refused[30] && refused[50]);
    let held = memory.held_for(Purpose::ShareStates);
    assert!(held <= 12_500, "{held}");
    // The topic is deleted; the tombstones do not fit into one batch.
    let empty = Arc::new(Image::empty());
    stage.shard.on_image(&empty, &Delta::default());
    let mut behind = None;
    let mut asked = 0;
    while let ShareStateAnswer::MoreBehind(last) =
        stage.ask_within(500, ShareStateRequest::ForgetDeleted(behind))
    {
        behind = Some(last);
        asked += 1;
    }
    assert!(asked > 3);
    assert_eq!(memory.held_for(Purpose::ShareStates), 0);
}
