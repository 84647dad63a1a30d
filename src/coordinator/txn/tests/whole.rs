//! Atomicity: producers, their coordinator, and the partitions that they write to, in any order of events. The outcomes known
//! to the producers are compared with the records that a read_committed consumer sees.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Stage, speaker};
use crate::base::ids::{Offset, ProducerEpoch, ProducerId};
use crate::coordinator::txn::machine::{Outcome, Partitions, State};
use crate::coordinator::txn::request::{Markers, TxnAnswer, TxnRequest};
use crate::log::producer_state::{Admission, Checked, Marker, MarkerRules, ProducerStates};
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::header::BatchHeader;
use crate::wire::error_code::ErrorCode;

const PARTITIONS: usize = 3;
/// Two producers with the same transactional id, and a third one.
const NAMES: [&str; 3] = ["x", "x", "y"];
/// Value of a record, unique for each.
type Value = u32;

/// A partition: its state of producers, and the log that the state is derived from.
#[derive(Default)]
struct Place {
    states: ProducerStates,
    log: Vec<(BatchHeader, Content)>,
}

#[derive(Clone, Copy)]
enum Content {
    Data(Value),
    End(Marker),
}

impl Place {
    fn header(&self, id: ProducerId, epoch: ProducerEpoch, sequence: i32) -> BatchHeader {
        let mut builder = BatchBuilder::default()
            .producer(id, epoch, sequence)
            .transactional()
            .at(self.log.len() as Offset, 0);
        builder.push(1, None, Some(b"v"));
        BatchHeader::parse(&builder.build()).unwrap()
    }

    fn append(&mut self, sent: &Sent, admission: Option<Admission>) -> Result<(), ErrorCode> {
        let header = self.header(sent.producer.0, sent.producer.1, sent.sequence);
        match self.states.check(&header).map_err(|error| error.code())? {
            Checked::Duplicate(_) => return Ok(()),
            Checked::New => {}
        }
        self.states
            .check_opening(&header, admission)
            .map_err(|error| error.code())?;
        self.put(header, Content::Data(sent.value));
        Ok(())
    }

    fn end(&mut self, errand: &Markers) {
        let marker = Marker {
            committed: errand.outcome == Outcome::Commit,
            coordinator_epoch: 0,
        };
        let (id, epoch) = (errand.speaker.producer_id, errand.speaker.epoch);
        let rules = MarkerRules::of(errand.transaction_version);
        // A refusal means that there is no transaction to end.
        if self.states.check_marker(id, epoch, marker, rules).is_ok() {
            self.put(self.header(id, epoch, -1), Content::End(marker));
        }
    }

    fn put(&mut self, header: BatchHeader, content: Content) {
        match content {
            Content::Data(_) => self.states.apply(&header),
            Content::End(marker) => drop(self.states.apply_marker(&header, marker)),
        }
        self.log.push((header, content));
    }

    /// Restores the state as after a crash: from a snapshot, or batch by batch.
    fn reopen(&mut self, from_snapshot: bool) {
        let open = |states: &ProducerStates| -> Vec<(ProducerId, Offset)> {
            let starts = states.iter();
            starts
                .filter_map(|(id, producer)| Some((id, producer.transaction_start?)))
                .collect()
        };
        let before = open(&self.states);
        if from_snapshot {
            self.states = ProducerStates::from_snapshot(&self.states.to_snapshot()).unwrap();
        } else {
            self.states = ProducerStates::default();
            for (header, content) in std::mem::take(&mut self.log) {
                self.put(header, content);
            }
        }
        assert_eq!(open(&self.states), before);
    }

    /// Records that a read_committed consumer eventually sees.
    fn committed(&self) -> BTreeSet<Value> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<(ProducerId, Value)> = Vec::new();
        for (header, content) in &self.log {
            match content {
                Content::Data(value) => open.push((header.producer_id, *value)),
                Content::End(marker) => open.retain(|(id, value)| {
                    if *id != header.producer_id {
                        return true;
                    }
                    if marker.committed {
                        seen.insert(*value);
                    }
                    false
                }),
            }
        }
        seen
    }
}

/// A batch on its way to the broker.
#[derive(Clone, Debug)]
struct Sent {
    client: usize,
    producer: (ProducerId, ProducerEpoch),
    partition: usize,
    sequence: i32,
    value: Value,
}

/// A producer like Kafka's clients: it waits for its answers, and begins again after an error that it cannot recover from.
#[derive(Default)]
struct Client {
    me: Option<(ProducerId, ProducerEpoch)>,
    sequences: [i32; PARTITIONS],
    joined: BTreeSet<usize>,
    /// Values acknowledged in the current transaction.
    values: Vec<Value>,
    waiting: Option<Sent>,
    /// Outcome that the client requested without receiving an answer.
    asked: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Committed,
    Aborted,
    /// The answer to the commit was lost.
    Unknown,
}

struct World {
    version: i16,
    stage: Stage,
    places: [Place; PARTITIONS],
    clients: [Client; NAMES.len()],
    /// Batches without an answer, with the admission that the coordinator's verification gave.
    network: Vec<(Sent, Option<Option<Admission>>)>,
    /// For each errand of the stage, the partitions that have their marker.
    marked: Vec<BTreeSet<usize>>,
    fates: Vec<(Vec<Value>, Fate)>,
    next_value: Value,
}

fn one(partition: usize) -> Partitions {
    Partitions::from([("t".into(), [partition as i32].into())])
}

impl World {
    fn new(version: i16) -> Self {
        Self {
            version,
            stage: Stage::new(version),
            places: Default::default(),
            clients: Default::default(),
            network: Vec::new(),
            marked: Vec::new(),
            fates: Vec::new(),
            next_value: 0,
        }
    }

    fn client_version(&self) -> i16 {
        if self.version >= 2 { 2 } else { 0 }
    }

    /// The client drops its transaction.
    fn close(&mut self, client: usize) {
        let client = &mut self.clients[client];
        let mut values = std::mem::take(&mut client.values);
        // The batch may have arrived, or arrive later.
        values.extend(client.waiting.take().map(|sent| sent.value));
        let fate = match client.asked {
            Some(Outcome::Commit) => Fate::Unknown,
            _ => Fate::Aborted,
        };
        *client = Client::default();
        self.fates.push((values, fate));
    }

    fn begin(&mut self, client: usize, recovers: bool, lost: bool) {
        let expected = self.clients[client].me.filter(|_| recovers);
        self.close(client);
        if let TxnAnswer::Producer(id, epoch) = self.stage.init(NAMES[client], expected)
            && !lost
        {
            self.clients[client].me = Some((id, epoch));
        }
    }

    fn send(&mut self, client: usize, partition: usize) {
        let this = &self.clients[client];
        let Some(producer) = this.me else { return };
        if this.waiting.is_some() || this.asked.is_some() {
            return;
        }
        if self.version < 2 && !this.joined.contains(&partition) {
            match self.stage.ask(TxnRequest::Add {
                speaker: speaker(NAMES[client], producer.0, producer.1),
                partitions: one(partition),
                client_version: 0,
            }) {
                TxnAnswer::Done => {}
                TxnAnswer::Refused(ErrorCode::ConcurrentTransactions) => return,
                _ => return self.close(client),
            }
        }
        let this = &mut self.clients[client];
        this.joined.insert(partition);
        self.next_value += 1;
        let sent = Sent {
            client,
            producer,
            partition,
            sequence: this.sequences[partition],
            value: self.next_value,
        };
        this.waiting = Some(sent.clone());
        self.network.push((sent, None));
    }

    /// The broker verifies a batch with the coordinator, unless the partition has the open transaction already.
    fn arrive(&mut self, index: usize) {
        let Some((sent, None)) = self.network.get(index).cloned() else {
            return;
        };
        let states = &self.places[sent.partition].states;
        if states.has_open_transaction(sent.producer.0, sent.producer.1) {
            self.network[index].1 = Some(None);
            return;
        }
        let admission = Admission {
            last_marker: states.last_marker(sent.producer.0),
            begins_at_zero: self.version >= 2,
            verified: self.version < 2,
        };
        let who = speaker(NAMES[sent.client], sent.producer.0, sent.producer.1);
        let told = if self.version >= 2 {
            self.stage.ask(TxnRequest::Add {
                speaker: who,
                partitions: one(sent.partition),
                client_version: 2,
            })
        } else {
            self.stage.ask(TxnRequest::Verify {
                speaker: who,
                partitions: one(sent.partition),
            })
        };
        let error = match told {
            TxnAnswer::Done => ErrorCode::None,
            TxnAnswer::Verified(verdicts) => verdicts[0].2,
            TxnAnswer::Refused(error) => error,
            other => panic!("{other:?}"),
        };
        if error == ErrorCode::None {
            self.network[index].1 = Some(Some(admission));
        } else {
            self.network.remove(index);
            self.answer(sent, Err(error));
        }
    }

    fn append(&mut self, index: usize) {
        let Some((sent, Some(admission))) = self.network.get(index).cloned() else {
            return;
        };
        self.network.remove(index);
        let result = self.places[sent.partition].append(&sent, admission);
        self.answer(sent, result);
    }

    fn answer(&mut self, sent: Sent, result: Result<(), ErrorCode>) {
        let client = &mut self.clients[sent.client];
        if client.waiting.as_ref().map(|waiting| waiting.value) != Some(sent.value) {
            return;
        }
        match result {
            Ok(()) => {
                client.waiting = None;
                client.values.push(sent.value);
                client.sequences[sent.partition] += 1;
            }
            Err(ErrorCode::ConcurrentTransactions) => self.network.push((sent, None)),
            Err(_) => self.close(sent.client),
        }
    }

    /// The connection broke: the batch is sent again, while the first one may still arrive.
    fn resend(&mut self, client: usize) {
        if let Some(sent) = self.clients[client].waiting.clone() {
            self.network.push((sent, None));
        }
    }

    fn end(&mut self, client: usize, outcome: Outcome, lost: bool) {
        let this = &self.clients[client];
        let Some((id, epoch)) = this.me else { return };
        if this.waiting.is_some() || this.joined.is_empty() {
            return;
        }
        let outcome = this.asked.unwrap_or(outcome);
        let version = self.client_version();
        let told = self
            .stage
            .end(speaker(NAMES[client], id, epoch), outcome, version);
        let this = &mut self.clients[client];
        match told {
            TxnAnswer::Producer(..) if lost => this.asked = Some(outcome),
            TxnAnswer::Producer(id, epoch) => {
                let fate = match outcome {
                    Outcome::Commit => Fate::Committed,
                    Outcome::Abort => Fate::Aborted,
                };
                let values = std::mem::take(&mut this.values);
                this.me = Some((id, epoch));
                this.asked = None;
                this.joined.clear();
                if version >= 2 {
                    this.sequences = [0; PARTITIONS];
                }
                self.fates.push((values, fate));
            }
            TxnAnswer::Refused(ErrorCode::ConcurrentTransactions) => {}
            _ => self.close(client),
        }
    }

    /// A batch times out: the client aborts without it and begins again, while the batch may still arrive.
    fn give_up(&mut self, client: usize) {
        let this = &self.clients[client];
        let (Some((id, epoch)), Some(_)) = (this.me, &this.waiting) else {
            return;
        };
        let version = self.client_version();
        self.stage
            .end(speaker(NAMES[client], id, epoch), Outcome::Abort, version);
        self.close(client);
    }

    /// Delivers a marker to its partition; `newest` counts errands from the newest. Each marker may be delivered any number of
    /// times, but before version 2 not after its transaction is complete: it could not be told from the next transaction's
    /// marker.
    fn mark(&mut self, newest: usize, partition: usize) {
        self.marked
            .resize(self.stage.errands.len(), BTreeSet::new());
        let Some(index) = self.stage.errands.len().checked_sub(newest + 1) else {
            return;
        };
        let errand = self.stage.errands[index].clone();
        let wanted: BTreeSet<usize> = errand
            .partitions
            .values()
            .flatten()
            .map(|index| *index as usize)
            .collect();
        let marked = &mut self.marked[index];
        if self.version < 2 && *marked == wanted {
            return;
        }
        if wanted.contains(&partition) {
            marked.insert(partition);
            self.places[partition].end(&errand);
        }
        if *marked == wanted {
            self.stage.deliver(index);
        }
    }

    fn crash(&mut self, from_snapshot: bool) {
        self.stage.crash();
        self.network.clear();
        self.marked.clear();
        for place in &mut self.places {
            place.reopen(from_snapshot);
        }
    }

    /// All clients stop, and everything that is due is done.
    fn rest(&mut self) {
        for client in 0..self.clients.len() {
            self.close(client);
        }
        self.stage.advance(80_000);
        for newest in 0..self.stage.errands.len() {
            for partition in 0..PARTITIONS {
                self.mark(newest, partition);
            }
        }
        // Batches may arrive even now.
        for index in 0..self.network.len() {
            self.arrive(index);
        }
        while !self.network.is_empty() {
            self.append(0);
            if matches!(self.network.first(), Some((_, None))) {
                self.network.remove(0);
            }
        }
        // If such a batch has begun a transaction, its timeout ends it.
        self.stage.advance(80_000);
        for newest in 0..self.stage.errands.len() {
            for partition in 0..PARTITIONS {
                self.mark(newest, partition);
            }
        }
    }

    fn judge(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for (index, place) in self.places.iter().enumerate() {
            let mut producers = place.states.iter();
            if let Some((id, _)) = producers.find(|(_, one)| one.transaction_start.is_some()) {
                return Err(format!("partition {index} is open for producer {id}"));
            }
            seen.extend(place.committed());
        }
        for (id, txn) in self.stage.shard.txns() {
            if !matches!(txn.state, State::Empty | State::Complete { .. }) {
                return Err(format!("{id} hangs: {:?}", txn.state));
            }
        }
        for (values, fate) in &self.fates {
            let count = values.iter().filter(|value| seen.contains(value)).count();
            let fine = match fate {
                Fate::Committed => count == values.len(),
                Fate::Aborted => count == 0,
                Fate::Unknown => count == 0 || count == values.len(),
            };
            if !fine {
                return Err(format!("{fate:?}, but {count} of {values:?} are seen"));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Move {
    Begin(usize, bool, bool),
    Send(usize, usize),
    Resend(usize),
    GiveUp(usize),
    /// A batch is sent, arrives and is appended.
    Work(usize, usize),
    Arrive(usize),
    Append(usize),
    End(usize, bool, bool),
    Mark(usize, usize),
    MarkAll(usize),
    Wait(i64),
    Crash(bool),
}

fn a_move() -> impl Strategy<Value = Move> {
    let client = 0..NAMES.len();
    let rarely = || prop_oneof![4 => Just(false), 1 => Just(true)];
    prop_oneof![
        4 => (client.clone(), rarely(), rarely()).prop_map(|(c, r, l)| Move::Begin(c, r, l)),
        5 => (client.clone(), 0..PARTITIONS).prop_map(|(c, p)| Move::Send(c, p)),
        12 => (client.clone(), 0..PARTITIONS).prop_map(|(c, p)| Move::Work(c, p)),
        3 => client.clone().prop_map(Move::GiveUp),
        1 => client.clone().prop_map(Move::Resend),
        6 => (0..3usize).prop_map(Move::Arrive),
        6 => (0..3usize).prop_map(Move::Append),
        8 => (client, any::<bool>(), rarely()).prop_map(|(c, o, l)| Move::End(c, o, l)),
        6 => (0..4usize, 0..PARTITIONS).prop_map(|(k, p)| Move::Mark(k, p)),
        6 => (0..3usize).prop_map(Move::MarkAll),
        1 => (0..40_000i64).prop_map(Move::Wait),
        1 => any::<bool>().prop_map(Move::Crash),
    ]
}

fn play(version: i16, moves: &[Move]) -> World {
    let mut world = World::new(version);
    for one in moves {
        match *one {
            Move::Begin(client, recovers, lost) => world.begin(client, recovers, lost),
            Move::Send(client, partition) => world.send(client, partition),
            Move::Resend(client) => world.resend(client),
            Move::GiveUp(client) => world.give_up(client),
            Move::Work(client, partition) => {
                let index = world.network.len();
                world.send(client, partition);
                world.arrive(index);
                world.append(index);
            }
            Move::Arrive(index) => world.arrive(index),
            Move::Append(index) => world.append(index),
            Move::End(client, commits, lost) => {
                let outcome = if commits {
                    Outcome::Commit
                } else {
                    Outcome::Abort
                };
                world.end(client, outcome, lost);
            }
            Move::Mark(newest, partition) => world.mark(newest, partition),
            Move::MarkAll(newest) => {
                for partition in 0..PARTITIONS {
                    world.mark(newest, partition);
                }
            }
            Move::Wait(ms) => world.stage.advance(ms),
            Move::Crash(from_snapshot) => world.crash(from_snapshot),
        }
    }
    world
}

#[test]
fn what_was_committed_is_seen_and_what_was_aborted_is_not() {
    for version in [0, 2] {
        for (commits, crash) in [(true, false), (false, false), (true, true), (false, true)] {
            let mut moves = vec![Move::Begin(0, false, false)];
            for partition in 0..2 {
                moves.extend([Move::Send(0, partition), Move::Arrive(0), Move::Append(0)]);
            }
            moves.push(Move::End(0, commits, false));
            moves.push(Move::Mark(0, 0));
            moves.extend(crash.then_some(Move::Crash(true)));
            let mut world = play(version, &moves);
            let fate = if commits {
                Fate::Committed
            } else {
                Fate::Aborted
            };
            assert_eq!(world.fates.last(), Some(&(vec![1, 2], fate)));
            world.rest();
            world.judge().unwrap();
            let seen = world.places[1].committed();
            assert_eq!(seen.contains(&2), commits);
        }
    }
}

#[test]
fn a_batch_that_nobody_waits_for_any_more_opens_nothing() {
    for version in [0, 2] {
        let moves = [
            Move::Begin(0, false, false),
            Move::Send(0, 0),
            Move::Arrive(0),
            Move::GiveUp(0),
            Move::MarkAll(0),
            Move::Append(0),
        ];
        let mut world = play(version, &moves);
        assert_eq!(world.fates.last(), Some(&(vec![1], Fate::Aborted)));
        assert_eq!(world.places[0].log.len(), 1, "the marker");
        world.rest();
        world.judge().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_transaction_is_seen_whole_or_not_at_all(version in prop_oneof![Just(0i16), Just(1), Just(2)],
                                                 moves in prop::collection::vec(a_move(), 1..200)) {
        let mut world = play(version, &moves);
        world.rest();
        prop_assert_eq!(world.judge(), Ok(()));
    }
}
