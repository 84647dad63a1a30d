//! Transactions on a stage: a shard, its log, and markers that are delivered late, twice or never.

mod whole;

use std::sync::Arc;

use bytestring::ByteString;
use expect_test::expect;
use proptest::prelude::*;
use regex::Regex;

use super::machine::{EPOCH_MAX, Outcome, Partitions, State, Txn};
use super::record::{TransactionLogValue, TxnRecord};
use super::request::{Markers, Speaker, TxnAnswer, TxnRequest};
use super::shard::{TxnSettings, TxnShard};
use crate::coordinator::runtime::shard::{
    IN_PLACE_MAX, Moment, Origin, Output, RawRecord, Shard, Ticket,
};
use crate::metadata::image::{Delta, Image};

struct Stage {
    shard: TxnShard,
    log: Vec<RawRecord>,
    errands: Vec<Markers>,
    settings: TxnSettings,
    version: i16,
    now: i64,
    next_id: i64,
}

impl Stage {
    fn new(version: i16) -> Self {
        let settings = TxnSettings {
            timeout_ms_max: 900_000,
            id_expiration_ms: 604_800_000,
            abort_check_ms: 10_000,
            expire_check_ms: 3_600_000,
        };
        let mut stage = Self {
            shard: TxnShard::new(settings.clone(), 0),
            version,
            log: Vec::new(),
            errands: Vec::new(),
            settings,
            now: 1_000_000,
            next_id: 100,
        };
        stage.crash();
        stage
    }

    fn moment(&self) -> Moment {
        Moment {
            wall: self.now,
            steady: self.now,
        }
    }

    fn take(&mut self, out: Output<TxnAnswer>) -> Option<TxnAnswer> {
        self.log.extend(out.records);
        let mut told = None;
        for (ticket, answer) in out.answers {
            match answer {
                TxnAnswer::WriteMarkers(markers) if ticket == Ticket::ERRAND => {
                    self.errands.push(*markers);
                }
                answer => told = Some(answer),
            }
        }
        told
    }

    fn ask(&mut self, request: TxnRequest) -> TxnAnswer {
        let mut out = Output::new(1 << 20);
        self.shard
            .handle(self.moment(), Ticket(1), request, Ok(()), &mut out);
        self.take(out).expect("every request has an answer")
    }

    fn init(&mut self, id: &str, expected: Option<(i64, i16)>) -> TxnAnswer {
        let mut request = TxnRequest::Init {
            transactional_id: id.to_owned().into(),
            timeout_ms: 60_000,
            expected,
            fresh: None,
        };
        loop {
            match (self.ask(request.clone()), &mut request) {
                (TxnAnswer::NeedsProducerId, TxnRequest::Init { fresh, .. }) => {
                    *fresh = Some(self.next_id);
                    self.next_id += 1;
                }
                (answer, _) => return answer,
            }
        }
    }

    fn end(&mut self, speaker: Speaker, outcome: Outcome, client_version: i16) -> TxnAnswer {
        let mut request = TxnRequest::End {
            speaker,
            outcome,
            client_version,
            fresh: None,
        };
        loop {
            match (self.ask(request.clone()), &mut request) {
                (TxnAnswer::NeedsProducerId, TxnRequest::End { fresh, .. }) => {
                    *fresh = Some(self.next_id);
                    self.next_id += 1;
                }
                (answer, _) => return answer,
            }
        }
    }

    fn advance(&mut self, ms: i64) {
        let until = self.now + ms;
        while let Some(at) = self.shard.next_wake().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let mut out = Output::new(1 << 20);
            self.shard.wake(self.moment(), &mut out);
            self.take(out);
        }
        self.now = until;
    }

    fn replayed(&self) -> TxnShard {
        let mut shard = TxnShard::new(self.settings.clone(), 1);
        for raw in &self.log {
            let record = TxnShard::decode(raw.clone())
                .expect("we wrote it")
                .expect("we know it");
            shard.apply(Origin::Plain, &record);
        }
        shard
    }

    fn crash(&mut self) {
        self.shard = self.replayed();
        self.errands.clear();
        let mut image = Image::empty();
        image
            .features
            .insert("transaction.version".into(), self.version);
        self.shard.on_image(&Arc::new(image), &Delta::default());
        let mut out = Output::new(1 << 20);
        self.shard.loaded(self.moment(), &mut out);
        self.take(out);
    }

    fn deliver(&mut self, index: usize) {
        if let Some(errand) = self.errands.get(index).cloned() {
            self.ask(TxnRequest::MarkersWritten(errand.speaker));
        }
    }
}

fn speaker(id: &str, producer_id: i64, epoch: i16) -> Speaker {
    Speaker {
        transactional_id: id.to_owned().into(),
        producer_id,
        epoch,
    }
}

fn partitions(index: i32) -> Partitions {
    Partitions::from([("t".into(), [index].into())])
}

fn tell(answer: &TxnAnswer) -> String {
    match answer {
        TxnAnswer::Producer(id, epoch) => format!("producer {id} epoch {epoch}"),
        TxnAnswer::Refused(error) => error.to_string(),
        TxnAnswer::Verified(verdicts) => verdicts
            .iter()
            .map(|(topic, index, error)| format!("{topic}-{index} {error}"))
            .collect(),
        TxnAnswer::Done => "ok".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Runs a script for one transactional id: `init [ID EPOCH]`, `add ID EPOCH PARTITION`, `verify ID EPOCH PARTITION`,
/// `commit|abort ID EPOCH`, `marked N`, `+MS`, `crash`.
fn check(version: i16, script: &str, expected: expect_test::Expect) {
    let mut stage = Stage::new(version);
    let mut told = String::new();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| -> i64 { words[index].parse().expect("a number") };
        let who = |words: &[&str]| {
            speaker(
                "x",
                words[1].parse().expect("an id"),
                words[2].parse().expect("an epoch"),
            )
        };
        let answer = match words[0] {
            "init" => {
                let expected = (words.len() > 1).then(|| (number(1), number(2) as i16));
                Some(stage.init("x", expected))
            }
            "add" => Some(stage.ask(TxnRequest::Add {
                speaker: who(&words),
                partitions: partitions(number(3) as i32),
                client_version: version,
            })),
            "verify" => Some(stage.ask(TxnRequest::Verify {
                speaker: who(&words),
                partitions: partitions(number(3) as i32),
            })),
            "commit" => Some(stage.end(who(&words), Outcome::Commit, version)),
            "abort" => Some(stage.end(who(&words), Outcome::Abort, version)),
            "marked" => {
                stage.deliver(number(1) as usize);
                None
            }
            "crash" => {
                stage.crash();
                None
            }
            wait => {
                stage.advance(wait.trim_start_matches('+').parse().expect("milliseconds"));
                None
            }
        };
        let state = stage.shard.txns().get("x").map_or("gone", Txn::state_name);
        told += &match answer {
            Some(answer) => format!("{line}: {} [{state}]\n", tell(&answer)),
            None => format!("{line} [{state}]\n"),
        };
    }
    expected.assert_eq(&told);
}

#[test]
fn a_transaction_begins_is_committed_and_completes_with_its_markers() {
    check(
        0,
        "init
         add 100 0 1
         add 100 0 1
         verify 100 0 1
         verify 100 0 2
         commit 100 0
         add 100 0 1
         commit 100 0
         abort 100 0
         marked 0
         commit 100 0
         abort 100 0
         add 100 0 3
         abort 100 0
         crash
         marked 0",
        expect![[r#"
            init: producer 100 epoch 0 [Empty]
            add 100 0 1: ok [Ongoing]
            add 100 0 1: ok [Ongoing]
            verify 100 0 1: t-1 NONE [Ongoing]
            verify 100 0 2: t-2 TRANSACTION_ABORTABLE [Ongoing]
            commit 100 0: producer 100 epoch 0 [PrepareCommit]
            add 100 0 1: CONCURRENT_TRANSACTIONS [PrepareCommit]
            commit 100 0: CONCURRENT_TRANSACTIONS [PrepareCommit]
            abort 100 0: INVALID_TXN_STATE [PrepareCommit]
            marked 0 [CompleteCommit]
            commit 100 0: producer 100 epoch 0 [CompleteCommit]
            abort 100 0: INVALID_TXN_STATE [CompleteCommit]
            add 100 0 3: ok [Ongoing]
            abort 100 0: producer 100 epoch 0 [PrepareAbort]
            crash [PrepareAbort]
            marked 0 [CompleteAbort]
        "#]],
    );
}

#[test]
fn every_end_bumps_the_epoch_in_version_two() {
    check(
        2,
        "init
         add 100 0 1
         commit 100 0
         commit 100 0
         marked 0
         commit 100 0
         abort 100 0
         add 100 0 1
         add 100 1 1
         abort 100 1
         marked 1
         abort 100 2
         marked 2
         commit 100 3",
        expect![[r#"
            init: producer 100 epoch 0 [Empty]
            add 100 0 1: ok [Ongoing]
            commit 100 0: producer 100 epoch 1 [PrepareCommit]
            commit 100 0: CONCURRENT_TRANSACTIONS [PrepareCommit]
            marked 0 [CompleteCommit]
            commit 100 0: producer 100 epoch 1 [CompleteCommit]
            abort 100 0: INVALID_TXN_STATE [CompleteCommit]
            add 100 0 1: PRODUCER_FENCED [CompleteCommit]
            add 100 1 1: ok [Ongoing]
            abort 100 1: producer 100 epoch 2 [PrepareAbort]
            marked 1 [CompleteAbort]
            abort 100 2: producer 100 epoch 3 [PrepareAbort]
            marked 2 [CompleteAbort]
            commit 100 3: INVALID_TXN_STATE [CompleteAbort]
        "#]],
    );
}

#[test]
fn a_second_producer_fences_the_first_and_aborts_what_it_did() {
    check(
        0,
        "init
         add 100 0 1
         init
         init
         marked 0
         init
         add 100 0 1
         commit 100 0
         add 100 2 1
         commit 100 2",
        expect![[r#"
            init: producer 100 epoch 0 [Empty]
            add 100 0 1: ok [Ongoing]
            init: CONCURRENT_TRANSACTIONS [PrepareAbort]
            init: CONCURRENT_TRANSACTIONS [PrepareAbort]
            marked 0 [CompleteAbort]
            init: producer 100 epoch 2 [Empty]
            add 100 0 1: PRODUCER_FENCED [Empty]
            commit 100 0: PRODUCER_FENCED [Empty]
            add 100 2 1: ok [Ongoing]
            commit 100 2: producer 100 epoch 2 [PrepareCommit]
        "#]],
    );
}

#[test]
fn a_producer_recovers_with_its_own_epoch_and_a_stranger_does_not() {
    check(
        2,
        "init
         init 100 0
         init 100 0
         init 100 7
         init 55 0
         init 100 1",
        expect![[r#"
            init: producer 100 epoch 0 [Empty]
            init 100 0: producer 100 epoch 1 [Empty]
            init 100 0: producer 100 epoch 1 [Empty]
            init 100 7: PRODUCER_FENCED [Empty]
            init 55 0: PRODUCER_FENCED [Empty]
            init 100 1: producer 100 epoch 2 [Empty]
        "#]],
    );
}

#[test]
fn what_takes_too_long_is_aborted_and_its_producer_fenced() {
    check(
        2,
        "init
         add 100 0 1
         +59000
         verify 100 0 1
         +15000
         commit 100 0
         marked 0
         commit 100 0
         commit 100 1
         init",
        expect![[r#"
            init: producer 100 epoch 0 [Empty]
            add 100 0 1: ok [Ongoing]
            +59000 [Ongoing]
            verify 100 0 1: t-1 NONE [Ongoing]
            +15000 [PrepareAbort]
            commit 100 0: INVALID_TXN_STATE [PrepareAbort]
            marked 0 [CompleteAbort]
            commit 100 0: INVALID_TXN_STATE [CompleteAbort]
            commit 100 1: INVALID_TXN_STATE [CompleteAbort]
            init: producer 100 epoch 2 [Empty]
        "#]],
    );
}

#[test]
fn an_idle_id_is_forgotten_after_a_week() {
    check(
        2,
        "init
         +604000000
         add 100 0 1
         commit 100 0
         marked 0
         +604000000
         +8000000
         add 100 1 1
         init",
        expect![[r#"
            init: producer 100 epoch 0 [Empty]
            +604000000 [Empty]
            add 100 0 1: ok [Ongoing]
            commit 100 0: producer 100 epoch 1 [PrepareCommit]
            marked 0 [CompleteCommit]
            +604000000 [CompleteCommit]
            +8000000 [gone]
            add 100 1 1: INVALID_PRODUCER_ID_MAPPING [gone]
            init: producer 101 epoch 0 [Empty]
        "#]],
    );
}

#[test]
fn bad_requests_are_refused() {
    check(
        0,
        "add 100 0 1
         commit 100 0
         init
         commit 100 0
         abort 100 0
         add 99 0 1
         add 100 1 1
         commit 99 0",
        expect![[r#"
            add 100 0 1: INVALID_PRODUCER_ID_MAPPING [gone]
            commit 100 0: INVALID_PRODUCER_ID_MAPPING [gone]
            init: producer 100 epoch 0 [Empty]
            commit 100 0: INVALID_TXN_STATE [Empty]
            abort 100 0: INVALID_TXN_STATE [Empty]
            add 99 0 1: INVALID_PRODUCER_ID_MAPPING [Empty]
            add 100 1 1: PRODUCER_FENCED [Empty]
            commit 99 0: INVALID_PRODUCER_ID_MAPPING [Empty]
        "#]],
    );
    let mut stage = Stage::new(2);
    for timeout_ms in [0, -1, 900_001] {
        let answer = stage.ask(TxnRequest::Init {
            transactional_id: "x".into(),
            timeout_ms,
            expected: None,
            fresh: Some(1),
        });
        assert_eq!(tell(&answer), "INVALID_TRANSACTION_TIMEOUT");
    }
}

#[test]
fn the_id_changes_when_epochs_run_out() {
    let mut stage = Stage::new(2);
    stage.init("x", None);
    let last = TxnRecord {
        transactional_id: "x".into(),
        value: Some(TransactionLogValue {
            producer_id: 100,
            producer_epoch: EPOCH_MAX,
            transaction_timeout_ms: 60_000,
            ..TransactionLogValue::default()
        }),
        version: 1,
    };
    stage.log.push(last.encode().expect("it has a form"));
    stage.crash();
    stage.ask(TxnRequest::Add {
        speaker: speaker("x", 100, EPOCH_MAX),
        partitions: partitions(1),
        client_version: 2,
    });
    let ended = stage.end(speaker("x", 100, EPOCH_MAX), Outcome::Commit, 2);
    assert_eq!(tell(&ended), "producer 101 epoch 0");
    // The markers still have the old id.
    assert_eq!(stage.errands[0].speaker, speaker("x", 100, i16::MAX));
    stage.crash();
    stage.deliver(0);
    let again = stage.end(speaker("x", 100, EPOCH_MAX), Outcome::Commit, 2);
    assert_eq!(tell(&again), "producer 101 epoch 0");
    let other = stage.end(speaker("x", 100, EPOCH_MAX), Outcome::Abort, 2);
    assert_eq!(tell(&other), "INVALID_TXN_STATE");
    assert_eq!(tell(&stage.init("x", None)), "producer 101 epoch 1");
}

#[test]
fn a_transaction_has_kafkas_bytes() {
    let value = |version, value| {
        let record = TxnRecord {
            transactional_id: "x".into(),
            value: Some(value),
            version,
        };
        let raw = record.encode().unwrap();
        assert_eq!(TxnRecord::decode(raw.clone()).unwrap(), Some(record));
        assert_eq!(&raw.key[..], [0, 0, 0, 1, b'x']);
        let hex = |byte: &u8| format!("{byte:02x}");
        raw.value.unwrap().iter().map(hex).collect::<String>()
    };
    let mut txn = Txn::new(7, 1000, 5);
    txn.epoch = 1;
    assert_eq!(
        value(0, txn.value()),
        "00000000000000000007 0001 000003e8 00 ffffffff 0000000000000005 ffffffffffffffff"
            .replace(' ', "")
    );
    txn.state = State::Ongoing {
        since: 6,
        partitions: partitions(3),
    };
    txn.client_version = 2;
    assert_eq!(
        value(1, txn.value()),
        "00010000000000000007 0001 000003e8 01 02 0274 02 00000003 00 0000000000000005 0000000000000006 01 02 02 0002"
            .replace(' ', "")
    );
}

#[derive(Clone, Debug)]
enum Step {
    Init(Option<(i64, i16)>),
    /// Epochs are relative to the current one, so that most requests are valid.
    Add(i16, i32),
    End(i16, bool),
    Deliver(usize),
    Wait(i64),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let lag = prop_oneof![8 => Just(0i16), 1 => Just(1), 1 => Just(-1)];
    prop_oneof![
        2 => proptest::option::of((99..104i64, 0..6i16)).prop_map(Step::Init),
        4 => (lag.clone(), 0..4i32).prop_map(|(lag, p)| Step::Add(lag, p)),
        4 => (lag, any::<bool>()).prop_map(|(lag, commit)| Step::End(lag, commit)),
        4 => (0..4usize).prop_map(Step::Deliver),
        2 => (0..40_000i64).prop_map(Step::Wait),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_outcome_stands_whatever_happens(version in prop_oneof![Just(0i16), Just(1), Just(2)],
                                          steps in prop::collection::vec(step(), 1..150)) {
        let mut stage = Stage::new(version);
        let client = if version == 2 { 2 } else { 0 };
        for step in &steps {
            let (id, epoch) = stage.shard.txns().get("x").map_or((1, 0), |txn| (txn.producer_id, txn.epoch));
            match step {
                Step::Init(expected) => { stage.init("x", *expected); }
                Step::Add(lag, partition) => {
                    stage.ask(TxnRequest::Add {
                        speaker: speaker("x", id, epoch.wrapping_sub(*lag)),
                        partitions: partitions(*partition),
                        client_version: client,
                    });
                }
                Step::End(lag, commit) => {
                    let outcome = if *commit { Outcome::Commit } else { Outcome::Abort };
                    stage.end(speaker("x", id, epoch.wrapping_sub(*lag)), outcome, client);
                }
                // Errands are kept, so that markers may be reported twice.
                Step::Deliver(index) => stage.deliver(*index),
                Step::Wait(ms) => stage.advance(*ms),
                Step::Crash => stage.crash(),
            }

            // The log and the shard have the same state.
            let durable = |shard: &TxnShard| {
                let mut txns = shard.txns().clone();
                for txn in txns.values_mut() {
                    txn.last_epoch = -1;
                    if version == 0 {
                        txn.previous_producer_id = -1;
                    }
                }
                txns
            };
            let (live, replayed) = (durable(&stage.shard), durable(&stage.replayed()));
            prop_assert_eq!(live, replayed);
            // No transaction is open for longer than its timeout and the interval of checks.
            for txn in stage.shard.txns().values() {
                if let State::Ongoing { since, .. } = txn.state {
                    prop_assert!(stage.now - since <= i64::from(txn.timeout_ms) + 10_001);
                }
            }
        }

        // Every transition in the log is valid in Kafka, epochs never fall, and an outcome never changes.
        let mut before: Option<Txn> = None;
        for raw in &stage.log {
            let record = TxnShard::decode(raw.clone()).unwrap().unwrap();
            let txn = Txn::from_value(&record.value.unwrap(), -1).unwrap();
            if let Some(before) = &before {
                if before.producer_id == txn.producer_id {
                    prop_assert!(txn.epoch >= before.epoch);
                }
                let fine = match (&before.state, &txn.state) {
                    (State::Prepared { outcome: was, .. }, State::Complete { outcome: is, .. }) => was == is,
                    (State::Prepared { .. }, _) | (_, State::Complete { .. }) => false,
                    (State::Ongoing { .. }, State::Empty) => false,
                    (State::Ongoing { partitions: was, .. }, State::Prepared { partitions: is, .. }) => was == is,
                    _ => true,
                };
                prop_assert!(fine, "{:?} to {:?}", before.state, txn.state);
            }
            before = Some(txn);
        }

        // With markers delivered and enough time, all transactions complete.
        stage.advance(80_000);
        for index in 0..stage.errands.len() {
            stage.deliver(index);
        }
        for txn in stage.shard.txns().values() {
            prop_assert!(matches!(txn.state, State::Empty | State::Complete { .. }), "{:?}", txn.state);
        }
    }
}

#[test]
fn listing_filters_by_state_id_and_age() {
    let mut stage = Stage::new(2);
    stage.init("a", None);
    stage.init("b", None);
    stage.ask(TxnRequest::Add {
        speaker: speaker("b", 101, 0),
        partitions: partitions(0),
        client_version: 2,
    });
    stage.advance(5_000);
    let mut list =
        |states: &[&'static str], producer_ids: &[i64], duration_ms, pattern: Option<&str>| {
            let request = TxnRequest::List {
                states: (!states.is_empty())
                    .then(|| states.iter().map(|s| ByteString::from_static(s)).collect()),
                producer_ids: Arc::new(producer_ids.iter().copied().collect()),
                duration_ms,
                pattern: pattern.map(|text| Regex::new(text).unwrap()),
            };
            match stage.ask(request) {
                TxnAnswer::Listed(all) => all
                    .iter()
                    .map(|one| one.speaker.transactional_id.to_string())
                    .collect::<String>(),
                other => tell(&other),
            }
        };
    assert_eq!(list(&[], &[], -1, None), "ab");
    assert_eq!(list(&["Ongoing"], &[], -1, None), "b");
    assert_eq!(list(&[], &[100], -1, None), "a");
    assert_eq!(list(&[], &[], 4_000, None), "ab");
    assert_eq!(list(&[], &[], 6_000, None), "a");
    assert_eq!(list(&[], &[], -1, Some("[bc]")), "b");
}

/// A record has the transaction with all its partitions, however small the request.
#[test]
fn a_transaction_of_many_partitions_and_many_ids_cost_much() {
    const MANY: i32 = IN_PLACE_MAX as i32 + 1;
    let mut stage = Stage::new(2);
    stage.init("x", None);
    let speaks = speaker("x", 100, 0);
    let many = || Partitions::from([("t".into(), (0..MANY).collect())]);
    let add = |partitions| TxnRequest::Add {
        speaker: speaks.clone(),
        partitions,
        client_version: 2,
    };
    let verify = |partitions| TxnRequest::Verify {
        speaker: speaks.clone(),
        partitions,
    };
    let list = || TxnRequest::List {
        states: None,
        producer_ids: Arc::default(),
        duration_ms: -1,
        pattern: None,
    };
    let of_it = [
        TxnRequest::Init {
            transactional_id: "x".into(),
            timeout_ms: 60_000,
            expected: None,
            fresh: None,
        },
        add(partitions(0)),
        TxnRequest::End {
            speaker: speaks.clone(),
            outcome: Outcome::Commit,
            client_version: 2,
            fresh: None,
        },
        TxnRequest::MarkersWritten(speaks.clone()),
        TxnRequest::Describe("x".into()),
        list(),
    ];
    for request in of_it.iter().chain([&verify(partitions(0))]) {
        assert!(stage.shard.cost(request) <= IN_PLACE_MAX, "{request:?}");
    }
    for request in [add(many()), verify(many())] {
        assert!(stage.shard.cost(&request) > IN_PLACE_MAX);
    }
    assert_eq!(stage.ask(add(many())), TxnAnswer::Done);
    for request in of_it {
        assert!(stage.shard.cost(&request) > IN_PLACE_MAX, "{request:?}");
    }
    assert!(stage.shard.cost(&verify(partitions(0))) <= IN_PLACE_MAX);

    let mut stage = Stage::new(2);
    let due = |stage: &Stage| Moment {
        wall: stage.now,
        steady: stage.now + stage.settings.abort_check_ms,
    };
    stage.init("x", None);
    assert!(stage.shard.wake_cost(due(&stage)) <= IN_PLACE_MAX);
    for number in 0..MANY {
        stage.init(&number.to_string(), None);
    }
    assert!(stage.shard.wake_cost(due(&stage)) > IN_PLACE_MAX);
    assert!(stage.shard.cost(&list()) > IN_PLACE_MAX);
}
