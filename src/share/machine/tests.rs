//! Scenes of one partition of one share group, and random clients compared with a model by offset.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const LOCK_MS: i64 = 100;
const LIMIT: i16 = 3;

fn terms() -> Terms {
    Terms {
        lock_ms: LOCK_MS,
        deliveries_max: LIMIT,
        window_max: 2_000,
        records_max: 500,
        is_strict: false,
    }
}

fn machine() -> Machine {
    Machine::new(&Known::default(), 0, 1).unwrap()
}

fn member(name: &str) -> Arc<str> {
    name.into()
}

/// Batches of ten records, up to an offset.
fn log(from: Offset, to: Offset) -> Vec<LogBatch> {
    (from / 10..to / 10)
        .map(|number| LogBatch {
            first: number * 10,
            last: number * 10 + 9,
            is_aborted: false,
        })
        .collect()
}

/// Acquires from a log that ends at `to`, and returns what the member gets.
fn take(
    machine: &mut Machine,
    now: i64,
    name: &str,
    terms: &Terms,
    end: Offset,
) -> Vec<(i64, i64, i16)> {
    let Some(from) = machine.next_offset(terms.window_max) else {
        return Vec::new();
    };
    let batches = log(from, end);
    let taken = machine.acquire(now, &member(name), terms, from, &batches);
    taken
        .iter()
        .map(|one| (one.first, one.last, one.count))
        .collect()
}

fn say(
    machine: &mut Machine,
    now: i64,
    name: &str,
    first: i64,
    last: i64,
    verdict: Verdict,
) -> Result<(), ErrorCode> {
    let said = [Said {
        first,
        last,
        verdict,
    }];
    if let Some(change) = machine.acknowledge(now, name, &said, &terms())? {
        machine.settle(&change, true, now, LIMIT);
    }
    Ok(())
}

fn written(change: &Change) -> Vec<(i64, i64, i8, i16)> {
    let batches = change.write.batches.iter();
    batches
        .map(|one| {
            (
                one.first_offset,
                one.last_offset,
                one.delivery_state,
                one.delivery_count,
            )
        })
        .collect()
}

#[test]
fn records_go_to_one_member_each_and_in_whole_batches() {
    let mut machine = machine();
    let few = Terms {
        records_max: 15,
        ..terms()
    };
    assert_eq!(take(&mut machine, 0, "a", &few, 100), [(0, 19, 1)]);
    assert_eq!(take(&mut machine, 0, "b", &few, 100), [(20, 39, 1)]);
    let strict = Terms {
        is_strict: true,
        ..few
    };
    assert_eq!(take(&mut machine, 0, "c", &strict, 100), [(40, 54, 1)]);
    assert_eq!(take(&mut machine, 0, "a", &few, 100), [(55, 69, 1)]);
}

#[test]
fn the_window_bounds_what_is_on_its_way() {
    let mut machine = machine();
    let narrow = Terms {
        window_max: 25,
        ..terms()
    };
    // The batch that reaches the limit is delivered whole.
    assert_eq!(take(&mut machine, 0, "a", &narrow, 100), [(0, 29, 1)]);
    assert_eq!(machine.next_offset(25), None);
    say(&mut machine, 0, "a", 10, 19, Verdict::Accept).unwrap();
    assert_eq!(machine.next_offset(25), None);
    // Released records may be acquired again even if the window is full.
    say(&mut machine, 0, "a", 20, 24, Verdict::Release).unwrap();
    assert_eq!(take(&mut machine, 0, "b", &narrow, 100), [(20, 24, 2)]);
    say(&mut machine, 0, "a", 0, 9, Verdict::Accept).unwrap();
    assert_eq!((machine.start, machine.next_offset(25)), (20, Some(30)));
}

#[test]
fn verdicts_that_lie_are_refused_and_change_nothing() {
    let mut machine = machine();
    take(&mut machine, 0, "a", &terms(), 20);
    take(&mut machine, 0, "b", &terms(), 40);
    let before = format!("{machine:?}");
    let said = |first, last| Said {
        first,
        last,
        verdict: Verdict::Accept,
    };
    let state = Err(ErrorCode::InvalidRecordState);
    let request = Err(ErrorCode::InvalidRequest);
    for (lies, error) in [
        (vec![said(0, 9), said(15, 20)], &state),
        (vec![said(20, 29)], &state),
        (vec![said(0, 5), said(5, 9)], &state),
        (vec![said(5, 9), said(0, 4)], &state),
        (vec![said(0, 40)], &request),
        (vec![said(i64::MAX, i64::MAX)], &request),
        (vec![said(0, i64::MAX)], &request),
        (vec![said(9, 0)], &request),
    ] {
        assert_eq!(
            &machine.acknowledge(0, "a", &lies, &terms()),
            error,
            "{lies:?}"
        );
        assert_eq!(format!("{machine:?}"), before);
    }
    // Acknowledgements below the start are accepted and ignored.
    say(&mut machine, 0, "a", 0, 9, Verdict::Accept).unwrap();
    say(&mut machine, 0, "a", 0, 9, Verdict::Reject).unwrap();
    say(&mut machine, 0, "b", i64::MIN, 5, Verdict::Accept).unwrap();
    say(&mut machine, 0, "a", 5, 12, Verdict::Accept).unwrap();
    assert_eq!(machine.start, 13);
}

#[test]
fn what_is_being_written_is_nobodys() {
    let mut machine = machine();
    take(&mut machine, 0, "a", &terms(), 20);
    let said = [Said {
        first: 0,
        last: 9,
        verdict: Verdict::Accept,
    }];
    let first = machine
        .acknowledge(0, "a", &said, &terms())
        .unwrap()
        .unwrap();
    assert_eq!(written(&first), [(0, 9, ACKNOWLEDGED, 1)]);
    assert_eq!(first.write.complete_count, 10);
    let again = machine.acknowledge(0, "a", &said, &terms());
    assert_eq!(again, Err(ErrorCode::InvalidRecordState));
    // The lock expires meanwhile: the pending write decides.
    let over = machine.expire(LOCK_MS, LIMIT).unwrap();
    assert_eq!(written(&over), [(10, 19, AVAILABLE, 1)]);
    machine.settle(&first, true, LOCK_MS, LIMIT);
    assert_eq!(machine.start, 10);
    assert_eq!(
        take(&mut machine, LOCK_MS, "b", &terms(), 20),
        [(10, 19, 2)]
    );
}

#[test]
fn a_write_that_fails_gives_the_record_back_to_whoever_had_it() {
    let mut machine = machine();
    take(&mut machine, 0, "a", &terms(), 10);
    let said = [Said {
        first: 0,
        last: 9,
        verdict: Verdict::Accept,
    }];
    let change = machine
        .acknowledge(0, "a", &said, &terms())
        .unwrap()
        .unwrap();
    machine.settle(&change, false, 1, LIMIT);
    assert_eq!(take(&mut machine, 1, "b", &terms(), 10), []);
    let change = machine
        .acknowledge(1, "a", &said, &terms())
        .unwrap()
        .unwrap();
    machine.settle(&change, false, LOCK_MS, LIMIT);
    assert_eq!(take(&mut machine, LOCK_MS, "b", &terms(), 10), [(0, 9, 2)]);
}

#[test]
fn a_lock_lasts_and_can_be_renewed() {
    let mut machine = machine();
    take(&mut machine, 0, "a", &terms(), 20);
    say(&mut machine, 60, "a", 10, 19, Verdict::Renew).unwrap();
    assert_eq!(machine.expire(LOCK_MS - 1, LIMIT), None);
    let over = machine.expire(LOCK_MS, LIMIT).unwrap();
    assert_eq!(written(&over), [(0, 9, AVAILABLE, 1)]);
    let late = say(&mut machine, LOCK_MS, "a", 0, 9, Verdict::Accept);
    assert_eq!(late, Err(ErrorCode::InvalidRecordState));
    assert_eq!(machine.next_deadline(), Some(160));
    say(&mut machine, 159, "a", 10, 19, Verdict::Accept).unwrap();
    assert_eq!(machine.expire(160, LIMIT), None);
    assert_eq!(machine.next_deadline(), None);
}

#[test]
fn after_its_last_delivery_a_record_is_archived() {
    let mut machine = machine();
    for delivery in 1..=LIMIT {
        let now = i64::from(delivery) * 1_000;
        let taken = take(&mut machine, now, "a", &terms(), 10);
        // The last delivery has only the first record, so that a failure does not affect others.
        let expected = if delivery < LIMIT {
            (0, 9, delivery)
        } else {
            (0, 0, delivery)
        };
        assert_eq!(taken, [expected]);
        machine.expire(now + LOCK_MS, LIMIT);
    }
    assert_eq!(machine.start, 1);
    let taken = take(&mut machine, 9_000, "a", &terms(), 10);
    assert_eq!(taken, [(1, 1, LIMIT)]);
    say(&mut machine, 9_000, "a", 1, 1, Verdict::Release).unwrap();
    assert_eq!(machine.start, 2);
}

#[test]
fn a_member_that_goes_without_a_word_releases_what_it_has() {
    let mut machine = machine();
    take(&mut machine, 0, "a", &terms(), 20);
    take(&mut machine, 0, "b", &terms(), 30);
    let change = machine.release(|name| &**name == "a", LIMIT).unwrap();
    assert_eq!(written(&change), [(0, 19, AVAILABLE, 1)]);
    assert_eq!(take(&mut machine, 0, "c", &terms(), 30), []);
    machine.settle(&change, true, 0, LIMIT);
    assert_eq!(take(&mut machine, 0, "c", &terms(), 30), [(0, 19, 2)]);
    assert_eq!(machine.release(|name| &**name == "a", LIMIT), None);
    // The last delivery: the records are archived.
    let change = machine.release(|name| &**name == "c", 2).unwrap();
    assert_eq!(written(&change), [(0, 19, ARCHIVED, 2)]);
}

#[test]
fn what_the_log_lacks_is_done_with() {
    let mut machine = machine();
    let batch = |first, last, is_aborted| LogBatch {
        first,
        last,
        is_aborted,
    };
    let batches = [
        batch(5, 9, false),
        batch(10, 19, true),
        batch(30, 34, false),
    ];
    let taken = machine.acquire(0, &member("a"), &terms(), 0, &batches);
    let taken: Vec<_> = taken.iter().map(|one| (one.first, one.last)).collect();
    assert_eq!(taken, [(5, 9), (30, 34)]);
    assert_eq!(machine.start, 5);
    say(&mut machine, 0, "a", 5, 9, Verdict::Accept).unwrap();
    assert_eq!(machine.start, 30);
    // The log start offset moves: a member keeps the records that it holds.
    take(&mut machine, 0, "b", &terms(), 60);
    say(&mut machine, 0, "b", 35, 59, Verdict::Release).unwrap();
    machine.log_starts_at(100);
    assert_eq!((machine.start, machine.next_offset(2_000)), (30, Some(100)));
    say(&mut machine, 0, "a", 30, 34, Verdict::Accept).unwrap();
    assert_eq!(machine.start, 100);
}

#[test]
fn a_state_that_was_written_is_where_the_next_leader_begins() {
    let batch = |first, last, state, count| StateBatch {
        first_offset: first,
        last_offset: last,
        delivery_state: state,
        delivery_count: count,
    };
    let known = |batches: Vec<StateBatch>| Known {
        state_epoch: 4,
        start_offset: 10,
        batches,
    };
    let batches = vec![
        batch(10, 14, ACKNOWLEDGED, 1),
        batch(20, 24, AVAILABLE, 2),
        batch(25, 29, ARCHIVED, 3),
    ];
    let mut machine = Machine::new(&known(batches), 10, 1).unwrap();
    assert_eq!(machine.start, 15);
    let forgiving = Terms {
        deliveries_max: 10,
        ..terms()
    };
    let taken = take(&mut machine, 0, "a", &forgiving, 40);
    assert_eq!(taken, [(15, 19, 1), (20, 24, 3), (30, 39, 1)]);
    for wrong in [
        vec![batch(5, 12, AVAILABLE, 1)],
        vec![batch(12, 11, AVAILABLE, 1)],
        vec![batch(12, 13, 1, 1)],
        vec![batch(12, i64::MAX, ACKNOWLEDGED, 1)],
        vec![batch(12, 13, AVAILABLE, 1), batch(13, 14, AVAILABLE, 1)],
    ] {
        assert!(Machine::new(&known(wrong), 10, 1).is_err());
    }
}

#[test]
fn single_verdicts_take_no_more_room_than_what_is_open() {
    let mut machine = machine();
    take(&mut machine, 0, "a", &terms(), 500);
    for offset in 1..500 {
        say(&mut machine, 0, "a", offset, offset, Verdict::Accept).unwrap();
        assert!(machine.runs() <= 3, "{offset}: {}", machine.runs());
    }
    say(&mut machine, 0, "a", 0, 0, Verdict::Accept).unwrap();
    assert_eq!((machine.start, machine.runs()), (500, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Take(usize, i64, bool),
    Say(usize, i64, i64, Verdict),
    Settle(usize, bool),
    Leave(usize),
    Wait(i64),
    LoadAgain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let verdict = prop_oneof![
        4 => Just(Verdict::Accept),
        2 => Just(Verdict::Release),
        1 => Just(Verdict::Reject),
        1 => Just(Verdict::Gap),
        1 => Just(Verdict::Renew),
    ];
    let step = prop_oneof![
        4 => (0..3usize, 1..30i64, any::<bool>()).prop_map(|(who, max, strict)| Step::Take(who, max, strict)),
        6 => (0..3usize, 0..80i64, 0..12i64, verdict).prop_map(|(who, first, more, verdict)| Step::Say(who, first, first + more, verdict)),
        6 => (0..3usize, prop::bool::weighted(0.8)).prop_map(|(which, written)| Step::Settle(which, written)),
        1 => (0..3usize).prop_map(Step::Leave),
        2 => (1..80i64).prop_map(Step::Wait),
        1 => Just(Step::LoadAgain),
    ];
    prop::collection::vec(step, 1..120)
}

/// State of an offset, as far as clients were told.
#[derive(Clone, Debug, Default)]
struct Fact {
    holder: Option<(usize, i64)>,
    deliveries: i16,
    is_done: bool,
}

const RECORDS: i64 = 80;
const NAMES: [&str; 3] = ["a", "b", "c"];

proptest! {
    /// A record that is done is not delivered again, no record is held by two members at a time, and none is delivered more
    /// often than allowed. In the end all records are done.
    #[test]
    fn whatever_clients_do(steps in steps()) {
        use crate::coordinator::share_state::batches::Batches;
        let mut machine = machine();
        let mut facts = vec![Fact::default(); RECORDS as usize];
        let mut pending: Vec<Change> = Vec::new();
        let mut stored = Batches::default();
        let mut stored_start = 0;
        let mut now = 0;
        let store = |change: &Change, stored: &mut Batches, start: &mut i64| {
            for batch in &change.write.batches {
                stored.put(batch.clone());
            }
            *start = change.write.start_offset.max(*start);
            stored.cut_below(*start);
        };
        for step in steps {
            match step {
                Step::Take(who, records_max, is_strict) => {
                    let terms = Terms { records_max, is_strict, window_max: 40, ..terms() };
                    for (first, last, count) in take(&mut machine, now, NAMES[who], &terms, RECORDS) {
                        for offset in first..=last {
                            let fact = &mut facts[offset as usize];
                            prop_assert!(!fact.is_done, "{offset} is done with");
                            prop_assert!(fact.holder.is_none_or(|(_, until)| until <= now), "{offset} has a holder");
                            prop_assert!(count <= LIMIT);
                            fact.holder = Some((who, now + LOCK_MS));
                            fact.deliveries = count;
                        }
                    }
                }
                Step::Say(who, first, last, verdict) => {
                    let said = [Said { first, last, verdict }];
                    let told = machine.acknowledge(now, NAMES[who], &said, &terms());
                    let start = machine.start;
                    for offset in first.max(start)..=last {
                        let is_his = facts.get(offset as usize).is_some_and(|fact| {
                            fact.holder.is_some_and(|(holder, _)| holder == who) && !fact.is_done
                        });
                        prop_assert!(is_his || told.is_err());
                        if told.is_ok() && verdict == Verdict::Renew {
                            facts[offset as usize].holder = Some((who, now + LOCK_MS));
                        }
                    }
                    pending.extend(told.ok().flatten());
                }
                Step::Settle(which, is_written) if !pending.is_empty() => {
                    let change = pending.remove(which % pending.len());
                    if is_written {
                        store(&change, &mut stored, &mut stored_start);
                    }
                    machine.settle(&change, is_written, now, LIMIT);
                    for batch in &change.write.batches {
                        for offset in batch.first_offset..=batch.last_offset {
                            let fact = &mut facts[offset as usize];
                            if is_written {
                                fact.is_done = batch.delivery_state != AVAILABLE;
                                fact.holder = None;
                            }
                        }
                    }
                }
                Step::Leave(who) => pending.extend(machine.release(|name| &**name == NAMES[who], LIMIT)),
                Step::Wait(ms) => {
                    now += ms;
                    if let Some(change) = machine.expire(now, LIMIT) {
                        store(&change, &mut stored, &mut stored_start);
                        for batch in &change.write.batches {
                            for offset in batch.first_offset..=batch.last_offset {
                                facts[offset as usize].is_done = batch.delivery_state != AVAILABLE;
                                facts[offset as usize].holder = None;
                            }
                        }
                    }
                }
                Step::LoadAgain => {
                    // A crash: unwritten changes and all locks are gone.
                    pending.clear();
                    let known = Known { state_epoch: 0, start_offset: stored_start, batches: stored.to_vec() };
                    machine = Machine::new(&known, stored_start, 1).unwrap();
                    for fact in &mut facts {
                        fact.holder = None;
                    }
                }
                Step::Settle(..) => {}
            }
            let mut at = machine.start;
            let mut done = 0;
            for (first, run) in &machine.runs {
                prop_assert_eq!(*first, at);
                prop_assert!(run.last >= *first);
                if run.is_done() {
                    done += run.last - first + 1;
                }
                at = run.last + 1;
            }
            prop_assert_eq!((at, done), (machine.end, machine.done));
        }
        // A remaining member acknowledges everything.
        for change in pending {
            machine.settle(&change, true, now, LIMIT);
        }
        now += 10 * LOCK_MS;
        machine.expire(now, LIMIT);
        let mut last = BTreeSet::new();
        for _ in 0..=RECORDS {
            for (first, until, _) in take(&mut machine, now, "z", &terms(), RECORDS) {
                last.extend(first..=until);
                say(&mut machine, now, "z", first, until, Verdict::Accept).unwrap();
            }
        }
        prop_assert_eq!(machine.start, RECORDS);
    }
}
