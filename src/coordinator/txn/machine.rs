//! pure: state machine of one transactional id: its producer, the partitions of its transaction, and how the transaction ends.
//! Kafka's `TransactionMetadata`.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;

use super::record::{PartitionsSchema, TransactionLogValue};
use crate::base::ids::{ProducerEpoch, ProducerId};
use crate::base::time::Timestamp;
use crate::wire::error_code::ErrorCode;

/// Outcome of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Commit,
    Abort,
}

/// Partitions by topic.
pub type Partitions = BTreeMap<ByteString, BTreeSet<i32>>;

/// State of a transactional id, with the data that belongs to the state.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Empty,
    Ongoing {
        since: Timestamp,
        partitions: Partitions,
    },
    /// The outcome is recorded; markers are being written to these partitions.
    Prepared {
        outcome: Outcome,
        since: Timestamp,
        partitions: Partitions,
    },
    Complete {
        outcome: Outcome,
        since: Timestamp,
    },
}

/// A transactional id.
#[derive(Clone, Debug, PartialEq)]
pub struct Txn {
    pub producer_id: ProducerId,
    /// Producer id before the last transition; differs from `producer_id` if its epochs were exhausted.
    pub previous_producer_id: ProducerId,
    /// Producer id to use once the transaction is complete, because the epochs of the current one are exhausted; -1 for none.
    pub next_producer_id: ProducerId,
    /// Producer epoch; -1 before the first producer.
    pub epoch: ProducerEpoch,
    /// Producer epoch before the last bump, for a producer that did not receive the answer. Only kept in memory.
    pub last_epoch: ProducerEpoch,
    pub timeout_ms: i32,
    pub updated: Timestamp,
    /// Transaction version of the client: 2 if it bumps its epoch with every end (KIP-890).
    pub client_version: i16,
    pub state: State,
}

/// Last epoch that a producer gets. The epoch above it is reserved for fencing the producer.
pub const EPOCH_MAX: ProducerEpoch = i16::MAX - 1;
/// Transaction version from which on every end bumps the epoch.
pub const BUMPING: i16 = 2;

const EMPTY: i8 = 0;
const ONGOING: i8 = 1;
const PREPARE_COMMIT: i8 = 2;
const PREPARE_ABORT: i8 = 3;
const COMPLETE_COMMIT: i8 = 4;
const COMPLETE_ABORT: i8 = 5;

/// Result of an InitProducerId request.
#[derive(Clone, Debug, PartialEq)]
pub enum Initialised {
    /// The new state to record; the producer may begin.
    Ready(Txn),
    /// The new state to record: the previous producer's transaction is aborted first, and the client has to retry.
    Aborting(Txn),
    /// Epochs are exhausted; the request must be repeated with a new producer id.
    NeedsProducerId,
}

/// Result of an EndTxn request.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// The new state to record; then markers are written.
    Prepared(Txn),
    /// The transaction had ended already; the producer continues with this id and epoch.
    Already(ProducerId, ProducerEpoch),
    NeedsProducerId,
}

impl Txn {
    pub fn new(producer_id: ProducerId, timeout_ms: i32, now: Timestamp) -> Self {
        Self {
            producer_id,
            previous_producer_id: -1,
            next_producer_id: -1,
            epoch: -1,
            last_epoch: -1,
            timeout_ms,
            updated: now,
            client_version: 0,
            state: State::Empty,
        }
    }

    fn is_exhausted(&self) -> bool {
        self.epoch >= EPOCH_MAX
    }

    /// Initializes a producer, for the first time or again. `expected` is the id and epoch that the producer believes to have
    /// (KIP-360), `fresh` an unused producer id if one was requested, `version` the cluster's transaction version.
    pub fn init(
        &self,
        expected: Option<(ProducerId, ProducerEpoch)>,
        fresh: Option<ProducerId>,
        timeout_ms: i32,
        version: i16,
        now: Timestamp,
    ) -> Result<Initialised, ErrorCode> {
        if let Some((id, epoch)) = expected {
            let known = self.epoch == -1
                || id == self.producer_id
                // A retry of the bump by which the id changed.
                || (id == self.previous_producer_id && epoch >= EPOCH_MAX);
            if !known {
                return Err(ErrorCode::ProducerFenced);
            }
        }
        match &self.state {
            State::Prepared { .. } => Err(ErrorCode::ConcurrentTransactions),
            State::Ongoing { .. } => Ok(Initialised::Aborting(self.fenced(version, now))),
            State::Empty | State::Complete { .. } => {
                let expected_epoch = expected.map(|(_, epoch)| epoch);
                let mut next = Self {
                    state: State::Empty,
                    timeout_ms,
                    updated: now,
                    next_producer_id: -1,
                    previous_producer_id: self.producer_id,
                    ..self.clone()
                };
                if self.is_exhausted() && expected_epoch.is_none_or(|epoch| epoch == self.epoch) {
                    let Some(fresh) = fresh else {
                        return Ok(Initialised::NeedsProducerId);
                    };
                    next.producer_id = fresh;
                    next.epoch = 0;
                    next.last_epoch = if expected.is_some() { self.epoch } else { -1 };
                    return Ok(Initialised::Ready(next));
                }
                match expected_epoch {
                    None => (next.epoch, next.last_epoch) = (self.epoch + 1, -1),
                    Some(epoch) if self.epoch == -1 || epoch == self.epoch => {
                        (next.epoch, next.last_epoch) = (self.epoch + 1, self.epoch);
                    }
                    // The producer did not receive the answer to the last bump; it gets the same answer again.
                    Some(epoch) if epoch == self.last_epoch => {}
                    Some(_) => return Err(ErrorCode::ProducerFenced),
                }
                Ok(Initialised::Ready(next))
            }
        }
    }

    /// Aborts an ongoing transaction on behalf of another than its producer, and fences the producer with a higher epoch.
    pub fn fenced(&self, version: i16, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.epoch = self.epoch.saturating_add(1);
        next.last_epoch = if version >= BUMPING { self.epoch } else { -1 };
        next.client_version = version;
        next.prepare(Outcome::Abort, now);
        next
    }

    /// Checks that a request comes from the current producer, and that the state allows requests now.
    fn check(&self, id: ProducerId, epoch: ProducerEpoch) -> Result<(), ErrorCode> {
        if id != self.producer_id {
            Err(ErrorCode::InvalidProducerIdMapping)
        } else if epoch != self.epoch {
            Err(ErrorCode::ProducerFenced)
        } else if matches!(self.state, State::Prepared { .. }) {
            Err(ErrorCode::ConcurrentTransactions)
        } else {
            Ok(())
        }
    }

    /// Adds partitions to the transaction; the first ones begin it. `None` if all are part of it already.
    pub fn add(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        added: &Partitions,
        client_version: i16,
        now: Timestamp,
    ) -> Result<Option<Self>, ErrorCode> {
        self.check(id, epoch)?;
        let (since, mut partitions) = match &self.state {
            State::Ongoing { since, partitions } => {
                if contains(partitions, added) {
                    return Ok(None);
                }
                (*since, partitions.clone())
            }
            _ => (now, Partitions::new()),
        };
        for (topic, some) in added {
            partitions.entry(topic.clone()).or_default().extend(some);
        }
        Ok(Some(Self {
            state: State::Ongoing { since, partitions },
            updated: now,
            client_version,
            previous_producer_id: self.producer_id,
            ..self.clone()
        }))
    }

    /// Checks that a partition is part of the transaction (KIP-890, part 1).
    pub fn verify(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        topic: &str,
        partition: i32,
    ) -> Result<(), ErrorCode> {
        self.check(id, epoch)?;
        match &self.state {
            State::Ongoing { partitions, .. }
                if partitions
                    .get(topic)
                    .is_some_and(|some| some.contains(&partition)) =>
            {
                Ok(())
            }
            _ => Err(ErrorCode::TransactionAbortable),
        }
    }

    /// Ends the producer's transaction. `client_version` is 2 for clients that bump their epoch with every end.
    pub fn end(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        outcome: Outcome,
        client_version: i16,
        fresh: Option<ProducerId>,
        now: Timestamp,
    ) -> Result<Ended, ErrorCode> {
        if client_version < BUMPING {
            return self.end_without_bump(id, epoch, outcome, client_version, now);
        }
        // A retry: the last request bumped the epoch, or changed the id because epochs were exhausted, and its answer was lost.
        let bumped = id == self.producer_id && self.epoch > 0 && epoch == self.epoch - 1;
        let overflowed = id == self.previous_producer_id && epoch == EPOCH_MAX && self.epoch == 0;
        let retry = bumped || overflowed;
        if id != self.producer_id && !overflowed {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        let valid = match self.state {
            State::Empty | State::Ongoing { .. } => epoch == self.epoch,
            State::Prepared { .. } => retry,
            State::Complete { .. } => retry || epoch == self.epoch,
        };
        if !valid {
            return Err(ErrorCode::ProducerFenced);
        }
        match &self.state {
            State::Prepared { outcome: is, .. } if *is == outcome => {
                return Err(ErrorCode::ConcurrentTransactions);
            }
            State::Prepared { .. } => return Err(ErrorCode::InvalidTxnState),
            State::Complete { outcome: was, .. } if retry => {
                return if *was == outcome {
                    Ok(Ended::Already(self.producer_id, self.epoch))
                } else {
                    Err(ErrorCode::InvalidTxnState)
                };
            }
            // There is nothing to commit. Aborting nothing is allowed: a client that does not know whether its transaction
            // began gets a clean epoch.
            State::Empty | State::Complete { .. } if outcome == Outcome::Commit => {
                return Err(ErrorCode::InvalidTxnState);
            }
            State::Empty | State::Complete { .. } | State::Ongoing { .. } => {}
        }
        let mut next = self.clone();
        if self.is_exhausted() {
            let Some(fresh) = fresh else {
                return Ok(Ended::NeedsProducerId);
            };
            next.next_producer_id = fresh;
        }
        next.last_epoch = self.epoch;
        next.epoch = self.epoch.saturating_add(1);
        next.client_version = client_version;
        next.prepare(outcome, now);
        Ok(Ended::Prepared(next))
    }

    fn end_without_bump(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        outcome: Outcome,
        client_version: i16,
        now: Timestamp,
    ) -> Result<Ended, ErrorCode> {
        if id != self.producer_id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if epoch != self.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        match &self.state {
            State::Ongoing { .. } => {
                let mut next = self.clone();
                next.client_version = client_version;
                next.prepare(outcome, now);
                Ok(Ended::Prepared(next))
            }
            State::Complete { outcome: was, .. } if *was == outcome => {
                Ok(Ended::Already(self.producer_id, self.epoch))
            }
            State::Prepared { outcome: is, .. } if *is == outcome => {
                Err(ErrorCode::ConcurrentTransactions)
            }
            State::Empty | State::Complete { .. } | State::Prepared { .. } => {
                Err(ErrorCode::InvalidTxnState)
            }
        }
    }

    fn prepare(&mut self, outcome: Outcome, now: Timestamp) {
        let (since, partitions) = match std::mem::replace(&mut self.state, State::Empty) {
            State::Ongoing { since, partitions } => (since, partitions),
            // No partition was added, so there is no start time.
            _ => (now, Partitions::new()),
        };
        self.updated = now;
        self.previous_producer_id = self.producer_id;
        self.state = State::Prepared {
            outcome,
            since,
            partitions,
        };
    }

    /// Completes the transaction once all markers are written. `None` if the markers belong to another transaction.
    pub fn complete(&self, epoch: ProducerEpoch, now: Timestamp) -> Option<Self> {
        let State::Prepared { outcome, since, .. } = self.state else {
            return None;
        };
        if epoch != self.epoch {
            return None;
        }
        let mut next = self.clone();
        next.previous_producer_id = self.producer_id;
        if self.client_version >= BUMPING && self.next_producer_id >= 0 {
            next.producer_id = self.next_producer_id;
            next.epoch = 0;
        }
        next.next_producer_id = -1;
        next.updated = now;
        next.state = State::Complete { outcome, since };
        Some(next)
    }

    /// Producer id and epoch that a producer uses after its prepared transaction is complete.
    pub fn after_completion(&self) -> (ProducerId, ProducerEpoch) {
        match self.complete(self.epoch, self.updated) {
            Some(next) => (next.producer_id, next.epoch),
            None => (self.producer_id, self.epoch),
        }
    }

    pub fn value(&self) -> TransactionLogValue {
        let (status, since, partitions) = match &self.state {
            State::Empty => (EMPTY, -1, None),
            State::Ongoing { since, partitions } => (ONGOING, *since, Some(partitions)),
            State::Prepared {
                outcome,
                since,
                partitions,
            } => (
                match outcome {
                    Outcome::Commit => PREPARE_COMMIT,
                    Outcome::Abort => PREPARE_ABORT,
                },
                *since,
                Some(partitions),
            ),
            State::Complete { outcome, since } => (
                match outcome {
                    Outcome::Commit => COMPLETE_COMMIT,
                    Outcome::Abort => COMPLETE_ABORT,
                },
                *since,
                Some(const { &Partitions::new() }),
            ),
        };
        TransactionLogValue {
            producer_id: self.producer_id,
            previous_producer_id: self.previous_producer_id,
            next_producer_id: self.next_producer_id,
            producer_epoch: self.epoch,
            next_producer_epoch: -1,
            transaction_timeout_ms: self.timeout_ms,
            transaction_status: status,
            transaction_partitions: partitions.map(|partitions| {
                partitions
                    .iter()
                    .map(|(topic, some)| PartitionsSchema {
                        topic: topic.clone(),
                        partition_ids: some.iter().copied().collect(),
                    })
                    .collect()
            }),
            transaction_last_update_timestamp_ms: self.updated,
            transaction_start_timestamp_ms: since,
            client_transaction_version: self.client_version,
        }
    }

    /// The state in a record's value. `None` for a state that is never written.
    pub fn from_value(value: &TransactionLogValue, last_epoch: ProducerEpoch) -> Option<Self> {
        let since = value.transaction_start_timestamp_ms;
        let partitions = || {
            let mut partitions = Partitions::new();
            for topic in value.transaction_partitions.iter().flatten() {
                partitions
                    .entry(topic.topic.clone())
                    .or_default()
                    .extend(&topic.partition_ids);
            }
            partitions
        };
        let prepared = |outcome| State::Prepared {
            outcome,
            since,
            partitions: partitions(),
        };
        let complete = |outcome| State::Complete { outcome, since };
        let state = match value.transaction_status {
            EMPTY => State::Empty,
            ONGOING => State::Ongoing {
                since,
                partitions: partitions(),
            },
            PREPARE_COMMIT => prepared(Outcome::Commit),
            PREPARE_ABORT => prepared(Outcome::Abort),
            COMPLETE_COMMIT => complete(Outcome::Commit),
            COMPLETE_ABORT => complete(Outcome::Abort),
            _ => return None,
        };
        Some(Self {
            producer_id: value.producer_id,
            previous_producer_id: value.previous_producer_id,
            next_producer_id: value.next_producer_id,
            epoch: value.producer_epoch,
            last_epoch,
            timeout_ms: value.transaction_timeout_ms,
            updated: value.transaction_last_update_timestamp_ms,
            client_version: value.client_transaction_version,
            state,
        })
    }

    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Empty => "Empty",
            State::Ongoing { .. } => "Ongoing",
            State::Prepared {
                outcome: Outcome::Commit,
                ..
            } => "PrepareCommit",
            State::Prepared {
                outcome: Outcome::Abort,
                ..
            } => "PrepareAbort",
            State::Complete {
                outcome: Outcome::Commit,
                ..
            } => "CompleteCommit",
            State::Complete {
                outcome: Outcome::Abort,
                ..
            } => "CompleteAbort",
        }
    }

    /// Start time of the transaction, -1 if there is none.
    pub fn since(&self) -> Timestamp {
        match self.state {
            State::Empty => -1,
            State::Ongoing { since, .. }
            | State::Prepared { since, .. }
            | State::Complete { since, .. } => since,
        }
    }

    pub fn partitions(&self) -> Option<&Partitions> {
        match &self.state {
            State::Ongoing { partitions, .. } | State::Prepared { partitions, .. } => {
                Some(partitions)
            }
            State::Empty | State::Complete { .. } => None,
        }
    }
}

/// Names of all states by their number in records (Kafka's `TransactionState`). This coordinator never uses `Dead` and
/// `PrepareEpochFence`, but records of Kafka and requests may.
pub const STATE_NAMES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

fn contains(partitions: &Partitions, some: &Partitions) -> bool {
    some.iter().all(|(topic, indexes)| {
        partitions
            .get(topic)
            .is_some_and(|there| there.is_superset(indexes))
    })
}
