//! Known losses of records in Kafka, by the numbers of their issues. Each story must fail if the rule that prevents the loss is
//! removed. Each of these rules was broken once, and the story beside it failed; "a seed" means that a seed of
//! [`schedules`](super::schedules) below 90 failed too.
//!
//! | rule | stories that fail without it |
//! |---|---|
//! | a fetch names the last fetched epoch | `kafka_15510`, `kafka_10432`, `kip_101_b`, `kip_279`; a seed |
//! | an answer to an older fetch is ignored | `an_answer_to_a_question_of_before` |
//! | a new epoch does not truncate to the high watermark | `kip_101_a` |
//! | a truncation uses the smaller of the two ends of an epoch | `kip_279_a_log_is_cut` |
//! | a truncation removes epochs that begin at the end | `kafka_10706`; a seed |
//! | batches of later epochs are not appended | `kafka_18723` |
//! | after such batches the follower waits | `kafka_18723` |
//! | an empty log may begin with a batch that contains its start | `kafka_6975` |
//! | a follower's high watermark does not go back; is within its log | `a_leader_that_knows_less`, `a_high_watermark_lies_within`; a seed |
//! | an offset out of range leads to a truncation; to a log that begins anew | `what_is_out_of_range`, `kafka_9491`; a seed |
//! | a fenced follower waits; so does one that gets the same answer again | `a_follower_that_is_refused_waits` |
//! | the positions of followers are those of the epoch before, and of no earlier one | `a_leader_that_missed_an_epoch` |
//! | a replica that may have joined counts | `kafka_14154` |
//! | a replica that may leave still counts | `who_leaves_the_isr` |
//! | no joining below the epoch's start; below the high watermark; while lagging | `kafka_7128`, `nobody_joins_the_isr_below`, `kafka_19996`; a seed |
//! | fenced brokers, those that shut down, and old registrations do not join | `kip_841`, `kafka_15021`, `kafka_15221` |
//! | old registrations and brokers without a replica may not fetch | `kafka_15221`, and `who_is_no_replica` of `fetches` |
//! | the high watermark waits for followers about to join; not for ineligible ones | `kafka_4485`, `kafka_15021` |
//! | the high watermark stands still below min ISR; a leader's does not go back | `acks_all_needs_enough`, `kafka_19996`; a seed |
//! | stale answers of the controller are ignored; partition epochs are applied; refusals do not undo a change | `kafka_14154`, `kafka_12367` |
//! | one change at a time; a refused change ends | `kafka_12367`, `kip_903` |
//! | acks=all needs enough replicas, before and after the append | `acks_all_needs_enough` |
//! | the position of a diverging follower is not recorded; below the log start it gets an error | `kafka_13141` and `an_offset_before_the_log` of `fetches` |
//! | offsets in a diverging answer are ignored | `kafka_14704` of [`fetcher`](crate::replica::fetcher) |
//! | a high watermark of another epoch does not acknowledge; roles do not change during a truncation | `kafka_20634` and `a_role_waits` of `partitions` |

use super::model::{LAG_MAX_MS, Letter, Metadata, Model, Record, Role};
use crate::base::ids::{BrokerId, LeaderEpoch, Offset};
use crate::log::leader_epoch::LeaderEpochs;
use crate::replica::follower::{
    BatchSpan, Fetch, FetchAnswer, FollowerState, LogView, Next as FollowerNext, Verdict,
};
use crate::replica::leader::{
    Acknowledged, Alive, Answer, Assignment, FollowerFetch, LeaderState, Next, Proposal, Rules,
};
use crate::wire::error_code::ErrorCode;

const NOW: i64 = 1_000_000;

fn assignment<'a>(
    (epoch, partition_epoch): (LeaderEpoch, i32),
    replicas: &'a [BrokerId],
    isr: &'a [BrokerId],
) -> Assignment<'a> {
    Assignment {
        leader: 1,
        epoch,
        partition_epoch,
        replicas,
        isr,
    }
}

/// Broker 9 is fenced, and broker 8 shuts down; the epoch of every other broker is its id.
fn alive(id: BrokerId) -> Option<Alive> {
    (id != 9).then(|| Alive {
        epoch: i64::from(id),
        shuts_down: id == 8,
    })
}

/// A leader state: broker 1 leads in epoch 5.
fn leader(
    replicas: &[BrokerId],
    isr: &[BrokerId],
    min_isr: usize,
    ends: (Offset, Offset),
) -> LeaderState {
    let rules = Rules {
        min_isr,
        lag_max_ms: LAG_MAX_MS,
    };
    let assignment = assignment((5, 7), replicas, isr);
    LeaderState::new(1, &assignment, rules, ends, None, alive, NOW)
}

fn fetch_at(
    leader: &mut LeaderState,
    replica: BrokerId,
    log_end: Offset,
    now: i64,
) -> Option<Proposal> {
    let fetch = FollowerFetch {
        replica,
        broker_epoch: i64::from(replica),
        log_end,
        leader_log_end: leader.log_end(),
    };
    leader.fetched(fetch, now)
}

fn members(proposal: Option<Proposal>) -> Option<Vec<BrokerId>> {
    proposal.map(|one| one.isr.into_iter().map(|(id, _)| id).collect())
}

fn accepted(partition_epoch: i32, isr: &[BrokerId]) -> Answer {
    Answer::Accepted {
        leader_epoch: 5,
        partition_epoch,
        isr: isr.to_vec(),
    }
}

/// Broker 1 leads in an epoch, and its log has records of the epochs `theirs`; broker 2 follows with records of `ours`.
fn diverged(epoch: LeaderEpoch, theirs: &[LeaderEpoch], ours: &[LeaderEpoch]) -> Model {
    let mut model = Model::new(2, 1);
    let (mut value, common) = (100, theirs.iter().zip(ours));
    let common = common.take_while(|(a, b)| a == b).count();
    for (id, epochs) in [(1, theirs), (2, ours)] {
        for (place, epoch) in epochs.iter().enumerate() {
            value += 1;
            let value = if place < common { place as u32 } else { value };
            let epoch = *epoch;
            model.at(id).append(Record { epoch, value });
        }
    }
    model.metadata = Metadata {
        epoch,
        partition_epoch: 10,
        isr: vec![1],
        ..model.metadata.clone()
    };
    model.all_learn();
    model
}

fn assert_equal(model: &Model) {
    assert_eq!(model.replicas[&1].records, model.replicas[&2].records);
}

#[test]
fn kip_101_a_a_new_epoch_does_not_cut_to_the_high_watermark() {
    let mut model = Model::new(2, 1);
    model.append(1).unwrap();
    model.fetch(2);
    model.fetch(2);
    assert_eq!(model.acked.len(), 1);
    assert_eq!(model.at(2).high_watermark, 0);
    model.elect(1);
    model.learn(2);
    model.poll(2);
    assert_eq!(model.at(2).log_end(), 1);
    model.elect(2);
    model.all_learn();
}

#[test]
fn kip_101_b_logs_that_diverged_become_equal() {
    let mut model = Model::new(2, 1);
    model.append(1).unwrap();
    model.fetch(2);
    model.fetch(2);
    model.append(1).unwrap();
    model.elect(2);
    model.learn(2);
    model.append(2).unwrap();
    model.append(2).unwrap();
    model.learn(1);
    for _ in 0..3 {
        model.fetch(1);
    }
    assert_equal(&model);
    assert_eq!(model.at(1).values(), [0, 2, 3]);
}

#[test]
fn kip_279_an_epoch_that_the_other_side_does_not_know_is_gone_back_over_step_by_step() {
    let mut model = diverged(4, &[0, 0, 2, 2, 2, 2, 4], &[0, 0, 1, 1, 1, 3, 3]);
    for _ in 0..6 {
        model.fetch(2);
    }
    assert_equal(&model);
    // No more was truncated than necessary.
    let mut model = diverged(4, &[0, 0, 0, 2, 4], &[0, 0, 0, 2, 3, 3]);
    model.poll(2);
    model.deliver(0);
    model.deliver(0);
    assert_eq!(model.at(2).log_end(), 4);
}

#[test]
fn kip_320_a_follower_with_more_than_an_unclean_leader_is_cut() {
    let mut model = Model::new(2, 1);
    for _ in 0..4 {
        model.append(1).unwrap();
    }
    model.fetch(2);
    model.crash(1);
    model.fence(1);
    model.elect_unclean(2);
    model.learn(2);
    assert_eq!(model.at(2).log_end(), 3);
    model.start(1);
    model.unfence(1);
    model.learn(1);
    for _ in 0..3 {
        model.fetch(1);
    }
    assert_equal(&model);
}

#[test]
fn kafka_10706_epochs_that_begin_at_the_end_go_with_a_cut_there() {
    let mut model = diverged(6, &[0, 0], &[0, 0]);
    // Broker 2 led in epoch 5, in which no record was appended.
    model.at(2).epochs.assign(5, 2);
    let before = model.at(2).records.clone();
    for _ in 0..3 {
        model.fetch(2);
    }
    assert_eq!(model.at(2).records, before);
    assert_equal(&model);
    model.append(1).unwrap();
    model.fetch(2);
    assert_equal(&model);
}

#[test]
fn kafka_9491_a_log_that_begins_anew_is_committed_up_to_its_start() {
    let mut model = diverged(1, &[0; 9], &[0, 0]);
    model.delete_records(1);
    assert_eq!(model.at(1).log_start, 9);
    for _ in 0..4 {
        model.fetch(2);
    }
    let replica = model.at(2);
    let marks = (replica.log_start, replica.high_watermark, replica.log_end());
    assert_eq!(marks, (9, 9, 9));
    model.append(1).unwrap();
    model.fetch(2);
    assert_eq!(model.at(2).values(), [0]);
}

#[test]
fn kafka_13141_a_diverging_fetch_says_nothing_of_what_the_follower_has() {
    let mut model = diverged(4, &[0, 0, 4], &[0, 0, 2, 2, 2]);
    model.acked.clear();
    model.metadata.isr = vec![1, 2];
    model.metadata.partition_epoch += 1;
    model.learn(1);
    model.at(1).leader().appended(3, true, NOW);
    let before = model.at(1).high_watermark;
    model.fetch(2);
    assert_eq!(model.at(1).high_watermark, before);
    assert!(matches!(model.at(2).role, Role::Follower(_)));
    assert_eq!(model.at(2).log_end(), 2);
}

#[test]
fn kafka_15510_an_empty_answer_leaves_the_last_fetched_epoch() {
    let mut model = diverged(4, &[0, 3], &[0, 3]);
    model.fetch(2);
    let replica = model.at(2);
    let next = replica.follower().next(&replica.view(), NOW);
    assert!(
        matches!(next, FollowerNext::Fetch(fetch) if fetch.last_fetched_epoch == 3),
        "{next:?}"
    );
}

/// A follower in leader epoch 5, with an empty log or records of epoch 0.
fn follower(log: &LogView<'_>) -> FollowerState {
    let mut assignment = assignment((5, 7), &[1, 2], &[1, 2]);
    assignment.leader = 1;
    FollowerState::new(&assignment, 0, log)
}

fn next_fetch(follower: &FollowerState, log: &LogView<'_>) -> Fetch {
    match follower.next(log, NOW) {
        FollowerNext::Fetch(fetch) => fetch,
        other => panic!("{other:?}"),
    }
}

fn judge(log: &LogView<'_>, batches: &[(Offset, Offset, LeaderEpoch)]) -> Verdict {
    let mut follower = follower(log);
    let span = |(base_offset, next_offset, epoch): &(Offset, Offset, LeaderEpoch)| BatchSpan {
        base_offset: *base_offset,
        next_offset: *next_offset,
        epoch: *epoch,
    };
    let answer = FetchAnswer::Records {
        batches: batches.iter().map(span).collect(),
        high_watermark: 0,
        log_start: 0,
    };
    let asked = next_fetch(&follower, log);
    follower.fetched(&asked, &answer, log, 1_000, NOW)
}

#[test]
fn kafka_18723_records_of_an_epoch_after_the_fetch_are_not_taken() {
    let epochs = LeaderEpochs::from_entries([(0, 0)]);
    let log = LogView {
        log_start: 0,
        log_end: 2,
        epochs: &epochs,
    };
    let verdict = judge(&log, &[(2, 4, 4), (4, 6, 5), (6, 7, 6), (7, 8, 5)]);
    assert_eq!(verdict, Verdict::Append(2));
    // Gaps in offsets are left by compaction.
    assert_eq!(judge(&log, &[(3, 4, 5), (9, 10, 5)]), Verdict::Append(2));
    // If all batches are of a later epoch, the follower waits for metadata: the leader would send the same batches again.
    assert_eq!(judge(&log, &[(2, 4, 6), (4, 6, 6)]), Verdict::Nothing);
    for nonsense in [
        [(1, 4, 5), (4, 5, 5)],
        [(2, 4, 5), (3, 5, 5)],
        [(2, 2, 5), (4, 5, 5)],
    ] {
        assert_eq!(judge(&log, &nonsense), Verdict::Nothing, "{nonsense:?}");
    }
}

#[test]
fn kafka_6975_an_empty_log_begins_with_a_batch_that_holds_its_start() {
    let epochs = LeaderEpochs::default();
    let log = |log_start| LogView {
        log_start,
        log_end: 7,
        epochs: &epochs,
    };
    assert_eq!(
        judge(&log(7), &[(5, 9, 5), (9, 10, 5)]),
        Verdict::StartAnewAt(5)
    );
    // A batch that ends at the log end has nothing new.
    assert_eq!(judge(&log(7), &[(5, 7, 5)]), Verdict::Nothing);
}

#[test]
fn kafka_10432_epoch_0_is_an_epoch() {
    let epochs = LeaderEpochs::from_entries([(0, 0)]);
    let log = LogView {
        log_start: 0,
        log_end: 3,
        epochs: &epochs,
    };
    assert_eq!(next_fetch(&follower(&log), &log).last_fetched_epoch, 0);
    // A log without epochs is truncated to the high watermark.
    let none = LeaderEpochs::default();
    let log = LogView {
        log_start: 0,
        log_end: 3,
        epochs: &none,
    };
    assert_eq!(follower(&log).next(&log, NOW), FollowerNext::Cut(0));
}

#[test]
fn a_leader_that_knows_less_of_what_is_committed_takes_nothing_back() {
    let epochs = LeaderEpochs::from_entries([(0, 0)]);
    let log = LogView {
        log_start: 0,
        log_end: 5,
        epochs: &epochs,
    };
    let mut follower = follower(&log);
    assert_eq!(follower.appended(&log, 9, 0), (5, 0));
    assert_eq!(follower.appended(&log, 2, 0), (5, 0));
    assert_eq!(follower.appended(&log, 5, 9), (5, 5));
}

#[test]
fn an_answer_to_a_question_of_before_counts_for_nothing() {
    let epochs = LeaderEpochs::from_entries([(0, 0)]);
    let at = |log_end| LogView {
        log_start: 0,
        log_end,
        epochs: &epochs,
    };
    let mut follower = follower(&at(5));
    let asked = next_fetch(&follower, &at(5));
    let diverging = FetchAnswer::Diverging {
        epoch: 0,
        end_offset: 2,
    };
    let late = follower.fetched(&asked, &diverging, &at(6), 1_000, NOW);
    assert_eq!(late, Verdict::Nothing);
    let older = Fetch {
        current_leader_epoch: 4,
        ..asked
    };
    let late = follower.fetched(&older, &diverging, &at(5), 1_000, NOW);
    assert_eq!(late, Verdict::Nothing);
    // The answer is for an older log that ended at the same offset and was truncated since (seed 80651).
    let other = Fetch {
        last_fetched_epoch: -1,
        ..asked
    };
    let late = follower.fetched(&other, &diverging, &at(5), 1_000, NOW);
    assert_eq!(late, Verdict::Nothing);
    let verdict = follower.fetched(&asked, &diverging, &at(5), 1_000, NOW);
    assert_eq!(verdict, Verdict::Cut(2));
}

/// A follower with this log, whose fetch offset the leader has called out of range.
fn out_of_range(log: &LogView<'_>) -> FollowerState {
    let mut follower = follower(log);
    let asked = next_fetch(&follower, log);
    let failed = FetchAnswer::Failed(ErrorCode::OffsetOutOfRange);
    follower.fetched(&asked, &failed, log, 1_000, NOW);
    follower
}

#[test]
fn what_is_out_of_range_is_cut_or_begun_anew_or_neither() {
    let epochs = LeaderEpochs::from_entries([(0, 2)]);
    let log = LogView {
        log_start: 2,
        log_end: 5,
        epochs: &epochs,
    };
    for (end, verdict) in [(4, Verdict::Cut(4)), (1, Verdict::StartAnewAt(1))] {
        let mut follower = out_of_range(&log);
        assert_eq!(follower.leader_ends_at(4, end, &log), Verdict::Nothing);
        assert_eq!(follower.leader_ends_at(5, end, &log), verdict);
        next_fetch(&follower, &log);
    }
    for (start, verdict) in [(5, Verdict::Nothing), (6, Verdict::StartAnewAt(6))] {
        let mut follower = out_of_range(&log);
        assert_eq!(follower.leader_ends_at(5, 9, &log), Verdict::Nothing);
        assert_eq!(follower.next(&log, NOW), FollowerNext::AskStart);
        assert_eq!(follower.leader_starts_at(5, start, &log), verdict);
        next_fetch(&follower, &log);
    }
}

#[test]
fn a_high_watermark_lies_within_its_log() {
    let epochs = LeaderEpochs::from_entries([(0, 0)]);
    let at = |log_start, log_end| LogView {
        log_start,
        log_end,
        epochs: &epochs,
    };
    let mut follower = follower(&at(0, 5));
    assert_eq!(follower.appended(&at(0, 5), 5, 0), (5, 0));
    assert_eq!(follower.cut(&at(0, 3)), 3);
    assert_eq!(follower.cut(&at(9, 9)), 9);
}

#[test]
fn kip_279_a_log_is_cut_where_both_sides_agree() {
    let epochs = LeaderEpochs::from_entries([(0, 0), (1, 2), (3, 3)]);
    let log = LogView {
        log_start: 0,
        log_end: 5,
        epochs: &epochs,
    };
    let verdict = |epoch, end_offset| {
        let mut follower = follower(&log);
        let asked = next_fetch(&follower, &log);
        let answer = FetchAnswer::Diverging { epoch, end_offset };
        follower.fetched(&asked, &answer, &log, 1_000, NOW)
    };
    // Both logs have records of the epoch: the smaller end counts.
    assert_eq!(verdict(1, 4), Verdict::Cut(3));
    assert_eq!(verdict(0, 1), Verdict::Cut(1));
    // The follower has no records of the epoch: the next fetch names the epoch before it.
    assert_eq!(verdict(2, 1), Verdict::Cut(3));
    // The logs have nothing in common.
    assert_eq!(verdict(4, 2), Verdict::Cut(2));
    assert_eq!(verdict(-1, -1), Verdict::Cut(0));
}

#[test]
fn a_follower_that_is_refused_waits() {
    let epochs = LeaderEpochs::from_entries([(0, 0)]);
    let log = LogView {
        log_start: 0,
        log_end: 5,
        epochs: &epochs,
    };
    let next_after = |code| {
        let mut follower = follower(&log);
        let asked = next_fetch(&follower, &log);
        let verdict = follower.fetched(&asked, &FetchAnswer::Failed(code), &log, 1_000, NOW);
        assert_eq!(verdict, Verdict::Nothing);
        follower.next(&log, NOW)
    };
    for (code, next) in [
        (ErrorCode::FencedLeaderEpoch, FollowerNext::WaitForMetadata),
        (
            ErrorCode::UnknownLeaderEpoch,
            FollowerNext::WaitUntil(NOW + 1_000),
        ),
        (
            ErrorCode::NotLeaderOrFollower,
            FollowerNext::WaitUntil(NOW + 1_000),
        ),
        (ErrorCode::OffsetOutOfRange, FollowerNext::AskEnd),
    ] {
        assert_eq!(next_after(code), next, "{code}");
    }
    // A leader that repeats its answer does not put the follower into a loop.
    let mut follower = follower(&log);
    let asked = next_fetch(&follower, &log);
    let nonsense = FetchAnswer::Diverging {
        epoch: 0,
        end_offset: 99,
    };
    let verdict = follower.fetched(&asked, &nonsense, &log, 1_000, NOW);
    assert_eq!(verdict, Verdict::Nothing);
    assert_eq!(
        follower.next(&log, NOW),
        FollowerNext::WaitUntil(NOW + 1_000)
    );
}

#[test]
fn kafka_7128_nobody_joins_the_isr_below_the_start_of_the_epoch() {
    // 3 has not fetched yet, so the high watermark does not move.
    let mut leader = leader(&[1, 2, 3], &[1, 3], 1, (10, 4));
    assert_eq!(leader.high_watermark(), 4);
    assert_eq!(fetch_at(&mut leader, 2, 9, NOW), None);
    assert_eq!(
        members(fetch_at(&mut leader, 2, 10, NOW)),
        Some(vec![1, 2, 3])
    );
}

#[test]
fn nobody_joins_the_isr_below_the_high_watermark() {
    let mut leader = leader(&[1, 2], &[1], 1, (3, 3));
    leader.appended(9, true, NOW);
    assert_eq!(fetch_at(&mut leader, 2, 8, NOW), None);
    assert_eq!(members(fetch_at(&mut leader, 2, 9, NOW)), Some(vec![1, 2]));
}

#[test]
fn kafka_4485_a_follower_joins_while_others_append() {
    let mut leader = leader(&[1, 2], &[1], 1, (0, 0));
    let mut joined = None;
    for end in 1..6 {
        leader.appended(end, true, NOW + end);
        let offered = members(fetch_at(&mut leader, 2, end - 1, NOW + end));
        joined = joined.or(offered);
    }
    assert_eq!(joined, Some(vec![1, 2]));
}

#[test]
fn kafka_15221_a_fetch_of_an_earlier_process_is_refused() {
    let mut leader = leader(&[1, 2], &[1], 1, (3, 3));
    let check = |leader: &LeaderState, replica, broker_epoch, knows_epoch| {
        leader.check_follower(replica, broker_epoch, knows_epoch)
    };
    assert_eq!(
        check(&leader, 2, 1, true),
        Err(ErrorCode::NotLeaderOrFollower)
    );
    for broker_epoch in [-1, 2, 3] {
        assert_eq!(check(&leader, 2, broker_epoch, true), Ok(()));
    }
    assert_eq!(
        check(&leader, 4, 4, true),
        Err(ErrorCode::UnknownLeaderEpoch)
    );
    assert_eq!(
        check(&leader, 4, 4, false),
        Err(ErrorCode::NotLeaderOrFollower)
    );
    // A broker whose registration is not in the metadata yet is served, but does not join the ISR.
    let fetch = |broker_epoch| FollowerFetch {
        replica: 2,
        broker_epoch,
        log_end: 3,
        leader_log_end: 3,
    };
    assert_eq!(leader.fetched(fetch(3), NOW), None);
    assert_eq!(members(leader.fetched(fetch(2), NOW)), Some(vec![1, 2]));
}

#[test]
fn kip_903_a_replica_that_lost_its_disk_does_not_come_back_by_an_old_fetch() {
    let mut model = Model::new(2, 1);
    model.append(1).unwrap();
    model.fetch(2);
    model.fence(2);
    model.unfence(2);
    model.all_learn();
    // Broker 2 fetches enough to join the ISR, and loses its disk meanwhile.
    model.poll(2);
    model.deliver(0);
    let is_change = |letter: &Letter| matches!(letter, Letter::Alter { .. });
    let change = model.letters.iter().position(is_change).unwrap();
    model.start_empty(2);
    model.unfence(2);
    model.deliver(change);
    assert_eq!(model.metadata.isr, [1]);
    model.deliver_all();
    assert!(!model.leader().is_changing());
    model.heal();
}

#[test]
fn kip_841_a_broker_that_is_fenced_or_shuts_down_does_not_join() {
    let mut leader = leader(&[1, 2, 8, 9], &[1], 1, (3, 3));
    for id in [8, 9] {
        assert_eq!(fetch_at(&mut leader, id, 3, NOW), None, "{id}");
    }
    assert_eq!(members(fetch_at(&mut leader, 2, 3, NOW)), Some(vec![1, 2]));
}

#[test]
fn kafka_15021_a_broker_that_shuts_down_does_not_hold_up_the_high_watermark() {
    let mut leader = leader(&[1, 2, 3], &[1, 2, 3], 1, (3, 3));
    for id in [2, 3] {
        fetch_at(&mut leader, id, 3, NOW);
    }
    // 3 leaves the ISR. It has caught up recently, so it is about to join again.
    leader.update(&assignment((5, 8), &[1, 2, 3], &[1, 2]), alive, NOW);
    leader.appended(4, true, NOW);
    fetch_at(&mut leader, 2, 4, NOW);
    assert_eq!(leader.high_watermark(), 3);
    let shuts_down = |id| {
        alive(id).map(|one| Alive {
            shuts_down: id == 3,
            ..one
        })
    };
    leader.set_alive(shuts_down, NOW);
    assert_eq!(leader.high_watermark(), 4);
}

#[test]
fn a_follower_that_is_about_to_join_is_waited_for_until_it_lags() {
    let mut leader = leader(&[1, 2], &[1], 1, (3, 3));
    fetch_at(&mut leader, 2, 3, NOW).unwrap();
    leader.answered(
        &Proposal {
            leader_epoch: 5,
            partition_epoch: 7,
            isr: vec![(1, -1), (2, 2)],
        },
        &Answer::Refused(ErrorCode::IneligibleReplica),
        NOW,
    );
    leader.appended(4, true, NOW + LAG_MAX_MS);
    assert_eq!(leader.high_watermark(), 3);
    leader.appended(5, true, NOW + LAG_MAX_MS + 1);
    assert_eq!(leader.high_watermark(), 5);
}

#[test]
fn kafka_19996_too_small_an_isr_takes_in_nobody_who_lags() {
    let mut leader = leader(&[1, 2, 3], &[1], 2, (3, 3));
    leader.appended(9, true, NOW);
    assert_eq!(leader.high_watermark(), 3);
    assert_eq!(fetch_at(&mut leader, 2, 3, NOW), None);
    assert_eq!(members(fetch_at(&mut leader, 2, 9, NOW)), Some(vec![1, 2]));
}

#[test]
fn kafka_12367_the_answer_of_the_controller_is_taken_over_with_its_partition_epoch() {
    let mut leader = leader(&[1, 2, 3], &[1], 1, (3, 3));
    let sent = fetch_at(&mut leader, 2, 3, NOW).unwrap();
    assert_eq!((sent.leader_epoch, sent.partition_epoch), (5, 7));
    assert_eq!(sent.isr, [(1, -1), (2, 2)]);
    // One change at a time.
    assert_eq!(fetch_at(&mut leader, 3, 3, NOW), None);
    assert_eq!(
        leader.answered(&sent, &accepted(8, &[1, 2]), NOW),
        Next::Done
    );
    assert_eq!((leader.isr(), leader.partition_epoch()), (vec![1, 2], 8));
    let next = fetch_at(&mut leader, 3, 3, NOW).unwrap();
    assert_eq!(next.partition_epoch, 8);
    // A repeated answer to the first change.
    assert_eq!(leader.answered(&sent, &accepted(9, &[1]), NOW), Next::Done);
    assert_eq!(leader.isr(), [1, 2]);
}

#[test]
fn kafka_14154_an_answer_of_before_does_not_undo_what_is_known() {
    let mut leader = leader(&[1, 2], &[1], 1, (3, 3));
    let sent = fetch_at(&mut leader, 2, 3, NOW).unwrap();
    for stale in [
        accepted(6, &[1]),
        Answer::Accepted {
            leader_epoch: 4,
            partition_epoch: 8,
            isr: vec![1],
        },
        Answer::Refused(ErrorCode::InvalidUpdateVersion),
        Answer::Refused(ErrorCode::FencedLeaderEpoch),
    ] {
        assert_eq!(leader.answered(&sent, &stale, NOW), Next::Done);
        assert!(leader.is_changing(), "{stale:?}");
    }
    // A broker that may have been added counts until the metadata shows that it was not.
    leader.appended(4, true, NOW + 2 * LAG_MAX_MS);
    assert_eq!(leader.high_watermark(), 3);
    let behind = Answer::Refused(ErrorCode::NotController);
    assert_eq!(leader.answered(&sent, &behind, NOW), Next::SendAgain);
    let now = NOW + 2 * LAG_MAX_MS;
    leader.update(&assignment((5, 7), &[1, 2], &[1]), alive, now);
    assert!(leader.is_changing(), "another partition's news");
    leader.update(&assignment((5, 8), &[1, 2], &[1]), alive, now);
    assert_eq!((leader.is_changing(), leader.high_watermark()), (false, 4));
}

#[test]
fn who_leaves_the_isr_counts_until_the_controller_has_said_so() {
    let mut leader = leader(&[1, 2, 3], &[1, 2, 3], 1, (0, 0));
    for id in [2, 3] {
        fetch_at(&mut leader, id, 0, NOW);
    }
    leader.appended(5, true, NOW);
    let late = NOW + LAG_MAX_MS + 1;
    fetch_at(&mut leader, 2, 5, late);
    assert_eq!(leader.shrink(NOW + LAG_MAX_MS), None);
    let sent = leader.shrink(late).unwrap();
    assert_eq!(members(Some(sent.clone())), Some(vec![1, 2]));
    assert_eq!(leader.shrink(late), None);
    leader.appended(6, true, late);
    assert_eq!(leader.high_watermark(), 0);
    leader.answered(&sent, &accepted(8, &[1, 2]), late);
    assert_eq!((leader.isr(), leader.high_watermark()), (vec![1, 2], 5));
}

#[test]
fn acks_all_needs_enough_replicas_before_and_after() {
    let mut leader = leader(&[1, 2], &[1, 2], 2, (0, 0));
    assert_eq!(leader.check_isr(), Ok(()));
    leader.appended(1, true, NOW);
    assert_eq!(leader.acknowledged(1), Acknowledged::Waits);
    fetch_at(&mut leader, 2, 1, NOW);
    assert_eq!(leader.acknowledged(1), Acknowledged::Yes);
    leader.appended(2, true, NOW);
    leader.update(&assignment((5, 8), &[1, 2], &[1]), alive, NOW);
    assert_eq!(leader.check_isr(), Err(ErrorCode::NotEnoughReplicas));
    assert_eq!(leader.acknowledged(1), Acknowledged::ByTooFew);
    assert_eq!(leader.acknowledged(2), Acknowledged::Waits);
    leader.appended(3, true, NOW + 2 * LAG_MAX_MS);
    assert_eq!(leader.high_watermark(), 1);
    // The setting is lowered.
    let rules = Rules {
        min_isr: 1,
        lag_max_ms: LAG_MAX_MS,
    };
    leader.set_rules(rules, NOW + 2 * LAG_MAX_MS);
    assert_eq!(leader.acknowledged(3), Acknowledged::Yes);
}

#[test]
fn a_partition_of_one_replica_is_in_sync_with_itself() {
    let mut leader = leader(&[1], &[1], 3, (7, 2));
    assert_eq!((leader.check_isr(), leader.high_watermark()), (Ok(()), 7));
    // flush.messages: the leader's own replica counts when the records are on disk.
    leader.appended(8, false, NOW);
    assert_eq!((leader.log_end(), leader.high_watermark()), (8, 7));
    leader.set_alive(alive, NOW);
    assert_eq!(leader.high_watermark(), 7);
    leader.made_durable(8, NOW);
    assert_eq!(leader.acknowledged(8), Acknowledged::Yes);
}

#[test]
fn metadata_of_the_same_partition_epoch_may_have_other_replicas() {
    let mut leader = leader(&[1, 2, 3], &[1, 2], 1, (3, 3));
    let sent = fetch_at(&mut leader, 3, 3, NOW).unwrap();
    // The change ends a reassignment: 2 is not a replica any more.
    leader.answered(&sent, &accepted(8, &[1, 3]), NOW);
    leader.update(&assignment((5, 8), &[1, 3], &[1, 3]), alive, NOW);
    let foreign = leader.check_follower(2, 2, true);
    assert_eq!(foreign, Err(ErrorCode::UnknownLeaderEpoch));
    assert_eq!(leader.isr(), [1, 3]);
}

/// The new epoch keeps the positions of followers, and gives those in sync the whole lag time.
#[test]
fn a_leader_that_stays_one_knows_its_followers() {
    let mut before = leader(&[1, 2, 3], &[1, 2], 1, (3, 3));
    fetch_at(&mut before, 2, 3, NOW);
    before.appended(4, true, NOW);
    let later = NOW + 2 * LAG_MAX_MS;
    let rules = Rules {
        min_isr: 1,
        lag_max_ms: LAG_MAX_MS,
    };
    let next = assignment((6, 9), &[1, 2, 3], &[1, 2]);
    let mut leader = LeaderState::new(1, &next, rules, (4, 3), Some(&before), alive, later);
    assert_eq!(leader.shrink(later), None);
    assert_eq!(leader.high_watermark(), 3);
    let late = later + LAG_MAX_MS + 1;
    assert_eq!(members(leader.shrink(late)), Some(vec![1]));
}

/// Several epochs of the metadata may come at once: the leader of epoch 0 hears of epoch 2 and not of epoch 1.
#[test]
fn a_leader_that_missed_an_epoch_does_not_know_where_its_followers_end() {
    let mut model = Model::new(3, 1);
    model.append(1).unwrap();
    for _ in 0..2 {
        (2..=3).for_each(|id| model.fetch(id));
    }
    assert_eq!(model.at(1).high_watermark, 1);
    for _ in 0..2 {
        model.append(1).unwrap();
        model.fetch(3);
    }
    model.fetch(3);
    assert_eq!((model.at(1).high_watermark, model.at(3).log_end()), (1, 3));
    // Broker 2 leads without these records, and broker 3 gives them up.
    model.elect(2);
    (2..=3).for_each(|id| model.learn(id));
    model.fetch(3);
    assert_eq!(model.at(3).log_end(), 1);
    model.fence(2);
    assert_eq!((model.metadata.leader, model.metadata.epoch), (1, 2));
    model.learn(1);
    assert_eq!(model.at(1).high_watermark, 1);
    model.learn(3);
    for _ in 0..3 {
        model.fetch(3);
    }
    assert_eq!((model.at(1).high_watermark, model.at(3).log_end()), (3, 3));
}
